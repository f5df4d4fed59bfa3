//! Several trunks lead to a number: the next is tried when one fails, and what they may carry is kept.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use support::inside::Inside;

const FLOW: &str = "start = \"out\"\n[steps.out]\ndo = \"transfer\"\nnumber = \"94711\"\n";

/// A node with two trunks to what begins with 9: `main` at port 5091, then `spare` at 5092. More
/// keys are for `main`.
fn node_at(ip: &str, more: &str) -> Inside {
    let entries = format!(
        "[[number]]\nnumber = \"out\"\nflow = \"out\"\n\
         [[number]]\nnumber = \"echo\"\necho = true\n\
         [[trunk]]\nname = \"main\"\naddress = \"sip:{ip}:5091\"\nprefix = \"9\"\n\
         strip_prefix = true\npriority = 1\nresponse_seconds = 1\n{more}\n\
         [[trunk]]\nname = \"spare\"\naddress = \"sip:{ip}:5092\"\nprefix = \"9\"\n\
         strip_prefix = true\nadd_prefix = \"+49\"\n"
    );
    Inside::start(ip, &entries, &[("out", FLOW)])
}

#[test]
fn a_trunk_that_takes_no_calls_is_stood_in_for_and_left_alone_as_long_as_it_asks_21_5_4() {
    let node = node_at("127.0.0.61", "");
    let (mut caller, mut main, mut spare) =
        (node.phone(), node.phone_at(5091), node.phone_at(5092));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "out", &offer);
    assert_eq!(main.is_invited().target(), "sip:4711@127.0.0.61:5091");
    main.answers(503, "Retry-After: 60\r\n", "");
    main.is_acked();
    assert_eq!(spare.is_invited().target(), "sip:+494711@127.0.0.61:5092");
    let answer = spare.sdp("sendrecv");
    spare.answers(200, "", &answer);
    caller.is_told(200);
    caller.acks("");
    spare.is_acked();
    caller.hangs_up();
    spare.is_hung_up();
    // The next call does not even ask.
    let mut other = node.phone();
    let offer = other.sdp("sendrecv");
    other.calls("bob", "out", &offer);
    spare.is_invited();
    spare.answers(503, "", "");
    spare.is_acked();
    // What the caller gets is no 503: we are not overloaded (RFC 3261 §16.7).
    other.is_told(500);
    assert!(main.unasked().is_empty());
}

#[test]
fn a_trunk_that_says_nothing_is_given_up_and_cancelled_should_it_wake() {
    let node = node_at("127.0.0.62", "");
    let (mut caller, mut main, mut spare) =
        (node.phone(), node.phone_at(5091), node.phone_at(5092));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "out", &offer);
    main.is_invited();
    spare.is_invited();
    let answer = spare.sdp("sendrecv");
    spare.answers(180, "", "");
    caller.is_told(180);
    main.answers(100, "", "");
    main.is_cancelled();
    main.is_acked();
    spare.answers(200, "", &answer);
    caller.is_told(200);
    caller.acks("");
    spare.is_acked();
    caller.hangs_up();
    spare.is_hung_up();
}

#[test]
fn a_trunk_that_tries_is_waited_for() {
    let node = node_at("127.0.0.63", "");
    let (mut caller, mut main, mut spare) =
        (node.phone(), node.phone_at(5091), node.phone_at(5092));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "out", &offer);
    main.is_invited();
    main.answers(100, "", "");
    // Longer than it may say nothing.
    assert!(!caller.hears_within(180, std::time::Duration::from_millis(1_500)));
    main.answers(180, "", "");
    caller.is_told(180);
    caller.cancels();
    main.is_cancelled();
    caller.is_told(487);
    assert!(spare.unasked().is_empty());
}

#[test]
fn a_trunk_that_brings_more_than_it_may_is_told_503_with_a_retry_after_and_others_are_not() {
    let node = node_at("127.0.0.64", "sources = [\"127.0.0.64:5091\"]\ncalls_in_max = 1");
    let mut main = node.phone_at(5091);
    let offer = main.sdp("sendrecv");
    main.calls("100", "echo", &offer);
    main.is_told(200);
    main.acks("");
    assert_eq!(node.looks_at(|center| center.trunk_calls("main").incoming), 1);
    main.calls("101", "echo", &offer);
    let refusal = main.is_told(503);
    assert_eq!(refusal.header("Retry-After"), "5");
    main.acks_refusal();
    let mut other = node.phone();
    let offer = other.sdp("sendrecv");
    other.calls("102", "echo", &offer);
    other.is_told(200);
    other.acks("");
    other.hangs_up();
}

#[test]
fn a_trunk_that_carries_what_it_may_is_passed_over() {
    let node = node_at("127.0.0.65", "calls_out_max = 1");
    let (mut first, mut second) = (node.phone(), node.phone());
    let (mut main, mut spare) = (node.phone_at(5091), node.phone_at(5092));
    let offer = first.sdp("sendrecv");
    first.calls("alice", "out", &offer);
    main.is_invited();
    main.answers(100, "", "");
    let offer = second.sdp("sendrecv");
    second.calls("bob", "out", &offer);
    spare.is_invited();
    spare.answers(486, "", "");
    spare.is_acked();
    second.is_told(486);
    first.cancels();
    main.is_cancelled();
    first.is_told(487);
}
