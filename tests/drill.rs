//! Short failover drills through the command line: about five minutes of those that `make drill`
//! plays for longer.
//!
//! Needs root for the namespaces in which a node is cut off, loses packets or has a small disk, and
//! does not pass without it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Not the addresses that a person's drill takes, nor those of another test.
const FIRST_ADDRESS: &str = "61";

/// Each drill measures gaps of audio, which another one beside it would make.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn no_call_is_lost_with_its_node() {
    passes(&["node-killed=2", "node-frozen", "node-cut-off"]);
}

#[test]
fn no_call_is_lost_with_its_node_that_leads() {
    passes(&["leading-node-killed", "leading-node-frozen", "leading-node-cut-off"]);
}

#[test]
fn nobody_hears_that_a_leader_is_lost() {
    passes(&["leader-killed", "leader-frozen"]);
}

#[test]
fn a_rolling_upgrade_without_another_build_is_skipped_and_says_why() {
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["drill", "rolling-upgrade"])
        .env_remove("TANDEM_OTHER")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{says}");
    assert!(says.contains("skipped") && says.contains("--other"), "{says}");
}

/// A frozen node keeps the address for two seconds: the announcement of its adopter must win.
#[test]
fn no_call_is_lost_when_its_node_is_frozen_and_its_address_goes_to_another_machine() {
    passes(&["interface-frozen"]);
}

#[test]
fn no_answered_call_is_lost_when_its_node_is_killed_and_its_address_stays_dead() {
    passes(&["reinvite-killed"]);
}

#[test]
fn an_acknowledged_command_is_done_once_whoever_leads() {
    passes(&["commands"]);
}

#[test]
fn nobody_is_lost_on_a_lossy_network_or_beside_a_full_disk() {
    passes(&["lossy-network", "full-disk"]);
}

fn passes(drills: &[&str]) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("drill-{}", drills[0]));
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .arg("drill")
        .args(drills)
        .args(["--calls", "24", "--first", FIRST_ADDRESS, "--output"])
        .arg(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (says, complains) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{says}\n{complains}", output.status);
    let results = std::fs::read_to_string(folder.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let kinds = results["kinds"].as_array().unwrap();
    assert_eq!(kinds.len(), drills.len(), "{says}");
    for kind in kinds {
        assert_eq!((&kind["verdict"], &kind["skipped"]), (&"passed".into(), &0.into()), "{says}");
        assert!(kind["calls"].as_u64().is_some_and(|calls| calls > 0), "{says}");
    }
}
