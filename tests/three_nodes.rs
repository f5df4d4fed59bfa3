//! Three nodes: a call enters one, its agent sits at another, its record is read from the third;
//! and one of them dies.
//!
//! The death of the node that carries the call is in `takeover`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::time::Duration;

use support::Sipp;
use support::cluster::{Cluster, others};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// How long a desk may be without its socket.
const GRACE_SECONDS: u64 = 5;

#[test]
fn calls_cross_three_nodes_and_survive_the_death_of_the_others() {
    let mut cluster = Cluster::start("127.0.0.2", GRACE_SECONDS);
    let _phone = Sipp::start("uas_agent.xml", &["-p", "5085", "-cp", "8895", "-d", "800"]);
    let _desk = cluster.desk_at(2);

    // The call enters node 1, ana sits at node 2, the record is read from node 3.
    cluster.caller_is_served_at(1);
    cluster.records_are(3, 1);

    // A node that neither carries the call nor leads dies, and comes back.
    let leader = cluster.leader();
    let [carrier, bystander] = others(leader);
    let talking = cluster.talks_at(carrier);
    cluster.nodes[bystander - 1].kill();
    talking.finishes(HALF_A_MINUTE);
    cluster.restart(bystander);
    cluster.records_are(bystander, 2);

    // The leader dies: the call elsewhere goes on, and the next caller is served.
    let leader = cluster.leader();
    let [carrier, survivor] = others(leader);
    let talking = cluster.talks_at(carrier);
    cluster.nodes[leader - 1].kill();
    talking.finishes(HALF_A_MINUTE);
    cluster.caller_is_served_at(survivor);
    cluster.records_are(carrier, 4);
    // Longer than the grace of a lost socket: an election is no reason to sign anybody out.
    cluster.desk_stays_signed_in(survivor, GRACE_SECONDS + 4);
}
