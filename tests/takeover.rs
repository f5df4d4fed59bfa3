//! The node that carries a call dies, and the call goes on at another: its far end sees nothing
//! but a gap.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use support::cluster::{Cluster, others};
use support::line::Line;
use support::wait_until;

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// How soon another node serves the calls of one whose process is gone.
const ADOPTED_WITHIN: Duration = Duration::from_secs(2);

/// A 200 without an ACK is given up after 64·T1.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(34);

/// The callers of all tests here use the same ports.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_call_goes_on_when_the_node_that_carries_it_is_killed() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start("127.0.0.5", 15);
    let leader = cluster.leader();
    let [carrier, other] = others(leader);
    let talking = cluster.talks_at(carrier);
    cluster.nodes[carrier - 1].kill();
    wait_until("the call is adopted", ADOPTED_WITHIN, || {
        [leader, other].iter().any(|node| cluster.metric(*node, "tandem_calls_owned") == Some(1.0))
    });
    // SIPp's BYE goes to the address that it knows, and is answered there.
    talking.finishes(HALF_A_MINUTE);
    cluster.records_are(other, 1);
    // New callers are served at the address, too; and the node gets it back.
    let next = cluster.dials_echo_at(carrier);
    cluster.wait_for_owned_call(&[leader, other]);
    cluster.restart(carrier);
    wait_until("the call is back", HALF_A_MINUTE, || {
        cluster.metric(carrier, "tandem_calls_owned") == Some(1.0)
    });
    next.finishes(HALF_A_MINUTE);
    cluster.records_are(carrier, 2);
}

/// RFC 3261 §13.2.2.4: who called acknowledges a repeated 200 for 32 s, and then has forgotten it.
#[test]
fn a_call_of_long_ago_goes_on_though_nobody_acknowledges_its_200_again() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start("127.0.0.16", 15);
    let leader = cluster.leader();
    let [carrier, other] = others(leader);
    let mut alice = Line::new("127.0.0.201", cluster.sip(carrier));
    let offer = alice.sdp("sendrecv");
    alice.calls("alice", "echo", &offer);
    let ok = alice.is_told(200);
    alice.acks("");
    alice.hears_itself(ok.audio(), 0x21);
    cluster.nodes[carrier - 1].kill();
    cluster.wait_for_owned_call(&[leader, other]);
    let adopted = Instant::now();
    while adopted.elapsed() < GIVEN_UP_AFTER {
        let sample = 0x30 + u8::try_from(adopted.elapsed().as_secs()).unwrap();
        alice.hears_itself(ok.audio(), sample);
    }
    alice.hangs_up();
    cluster.records_are(other, 1);
}

#[test]
fn a_call_goes_on_when_the_leader_that_carries_it_is_killed() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start("127.0.0.6", 15);
    let leader = cluster.leader();
    let talking = cluster.talks_at(leader);
    cluster.nodes[leader - 1].kill();
    talking.finishes(HALF_A_MINUTE);
    cluster.records_are(others(leader)[0], 1);
}

#[test]
fn a_hold_while_nobody_leads_is_answered_when_somebody_does() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start("127.0.0.19", 15);
    let leader = cluster.leader();
    let [carrier, _] = others(leader);
    let mut alice = Line::new("127.0.0.201", cluster.sip(carrier));
    let offer = alice.sdp("sendrecv");
    alice.calls("alice", "echo", &offer);
    alice.is_told(200);
    alice.acks("");
    cluster.wait_for_owned_call(&[carrier]);
    cluster.nodes[leader - 1].kill();
    let hold = alice.sdp("sendonly");
    alice.reinvites(&hold);
    let ok = alice.is_told(200);
    assert!(ok.says("a=recvonly"), "{ok:?}");
    alice.acks("");
    alice.hangs_up();
    cluster.records_are(carrier, 1);
}

#[test]
fn a_call_goes_on_when_the_node_that_carries_it_is_frozen_and_wakes_again() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start("127.0.0.7", 15);
    let leader = cluster.leader();
    let [carrier, other] = others(leader);
    let talking = cluster.talks_at(carrier);
    cluster.nodes[carrier - 1].freeze();
    cluster.wait_for_owned_call(&[leader, other]);
    // It wakes in the middle of the call, learns that it was missed, and gets its address back.
    cluster.nodes[carrier - 1].thaw();
    cluster.wait_for_owned_call(&[carrier]);
    talking.finishes(HALF_A_MINUTE);
    for node in 1..=3 {
        cluster.records_are(node, 1);
    }
}

#[test]
fn who_called_a_frozen_node_is_answered_by_the_adopter_and_not_refused_when_it_wakes() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (cluster, carrier, mut alice) = calls_a_frozen_node("127.0.0.19");
    // It is said until the ACK comes.
    alice.is_told(200);
    alice.acks("");
    cluster.nodes[carrier - 1].thaw();
    cluster.wait_for_owned_call(&[carrier]);
    assert!(!alice.hears_within(503, Duration::from_secs(1)), "one has answered");
    ends_as_one_call(&cluster, &mut alice);
}

/// While a node wakes up its address is closed, comes back, and its calls after it. At no moment of
/// that may a repetition be taken for a new call.
#[test]
fn an_invite_repeated_while_its_node_wakes_begins_no_second_call() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (cluster, carrier, mut alice) = calls_a_frozen_node("127.0.0.22");
    cluster.nodes[carrier - 1].thaw();
    alice.repeats_for(Duration::from_secs(1));
    alice.is_told(200);
    alice.acks("");
    cluster.wait_for_owned_call(&[carrier]);
    ends_as_one_call(&cluster, &mut alice);
}

/// Alice's INVITE waits at a frozen node; another one has answered it, and she has not acknowledged
/// that yet.
fn calls_a_frozen_node(addresses: &str) -> (Cluster, usize, Line) {
    let cluster = Cluster::start(addresses, 15);
    let [carrier, _] = others(cluster.leader());
    let mut alice = Line::new("127.0.0.201", cluster.sip(carrier));
    let offer = alice.sdp("sendrecv");
    cluster.nodes[carrier - 1].freeze();
    alice.calls("alice", "echo", &offer);
    let told = alice.repeats_until(&[200, 503], HALF_A_MINUTE);
    assert_eq!(told.status(), 200, "{told:?}");
    (cluster, carrier, alice)
}

fn ends_as_one_call(cluster: &Cluster, alice: &mut Line) {
    alice.hangs_up();
    for node in 1..=3 {
        cluster.records_are(node, 1);
    }
}
