//! A short failover drill through the command line: a node with calls in every phase is killed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use std::process::{Command, Stdio};

/// Not the addresses that a person's drill takes, nor those of another test.
const FIRST_ADDRESS: &str = "61";

#[test]
fn no_call_is_lost_when_its_node_is_killed() {
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["drill", "node-killed", "--calls", "24", "--rounds", "1", "--first", FIRST_ADDRESS])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (says, complains) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{says}\n{complains}", output.status);
}
