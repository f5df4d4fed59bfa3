//! Two of three machines are lost for good: an operator makes the third one the cluster, and it goes
//! on with its calls and records.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::process::Command;
use std::time::Duration;

use support::cluster::{Cluster, others};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

#[test]
fn a_node_that_is_left_for_good_goes_on_with_its_calls_and_records() {
    let mut cluster = Cluster::start("127.0.0.7", 5);
    let left = others(cluster.leader())[0];
    cluster.dials_echo_at(left).finishes(HALF_A_MINUTE);
    cluster.records_are(left, 1);

    // A call is under way when all three end, and two of them for good.
    let talking = cluster.talks_at(left);
    for lost in others(left) {
        cluster.nodes[lost - 1].kill();
    }
    cluster.nodes[left - 1].kill();
    cluster.recover(left);
    cluster.restart(left);
    talking.finishes(HALF_A_MINUTE);
    cluster.records_are(left, 2);

    // It takes new calls, also at the address of a lost node.
    cluster.dials_echo_at(left).finishes(HALF_A_MINUTE);
    let [lost, _] = others(left);
    support::wait_until("the address is taken over", HALF_A_MINUTE, || {
        std::net::TcpStream::connect(cluster.sip(lost)).is_ok()
    });
    cluster.dials_echo_at(lost).finishes(HALF_A_MINUTE);
    cluster.records_are(left, 4);

    // The log of before and after is one.
    cluster.nodes[left - 1].end();
    let audit = Command::new(support::program())
        .args(["audit", "--data"])
        .arg(&cluster.nodes[left - 1].data)
        .output()
        .unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
}
