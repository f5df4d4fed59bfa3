//! Short failover drills through the command line: a node with calls in every phase is lost.
//!
//! Needs root for the namespace in which a node is cut off, and does not pass without it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Not the addresses that a person's drill takes, nor those of another test.
const FIRST_ADDRESS: &str = "61";

/// Each drill measures gaps of audio, which another one beside it would make.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn no_call_is_lost_when_its_node_is_killed() {
    passes("node-killed");
}

#[test]
fn no_call_is_lost_when_its_node_leads_and_is_frozen() {
    passes("leading-node-frozen");
}

#[test]
fn no_call_is_lost_when_its_node_is_cut_off() {
    passes("node-cut-off");
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

fn passes(drill: &str) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["drill", drill, "--calls", "24", "--rounds", "1", "--first", FIRST_ADDRESS])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (says, complains) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{says}\n{complains}", output.status);
    assert!(says.contains("passed") && !says.contains("skipped"), "{says}\n{complains}");
}
