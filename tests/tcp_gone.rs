//! A far end behind TCP that is not there, or goes away: the call goes on at once, and not when
//! Timer B ends it after 32 s (RFC 3261 §8.1.3.1). And one that is there, to see who calls.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::inside::Inside;

/// Nothing listens on 5998. Of two agents who are ready as long, the first by name is offered the
/// call first.
fn entries(ip: &str) -> String {
    format!(
        "[[number]]\nnumber = \"nobody\"\ntarget = \"sip:x@{ip}:5998;transport=tcp\"\n\
         [[number]]\nnumber = \"leaves\"\ntarget = \"sip:x@{ip}:5999;transport=tcp\"\n\
         [[number]]\nnumber = \"queue\"\nqueue = \"queue\"\n\
         [[queue]]\nid = \"queue\"\n\
         [[agent]]\nid = \"ana\"\nqueues = [\"queue\"]\nalways_ready = true\n\
         device = \"sip:ana@{ip}:5998;transport=tcp\"\n\
         [[agent]]\nid = \"ben\"\nqueues = [\"queue\"]\nalways_ready = true\n\
         device = \"sip:ben@{ip}:5070\"\n"
    )
}

/// Well below Timer B.
const SOON: Duration = Duration::from_secs(3);

#[test]
fn a_target_that_refuses_the_connection_is_a_call_that_failed_at_once() {
    let node = Inside::start("127.0.0.26", &entries("127.0.0.26"), &[]);
    let mut caller = node.phone();
    let offer = caller.sdp("sendrecv");
    let began = Instant::now();
    caller.calls("alice", "nobody", &offer);
    // The 503 of the far side says nothing of us (RFC 3261 §16.7).
    caller.is_told(500);
    let took = began.elapsed();
    assert!(took < SOON, "refused after {took:?}");
}

#[test]
fn a_target_whose_connection_ends_before_it_answers_is_a_call_that_failed_at_once() {
    let node = Inside::start("127.0.0.27", &entries("127.0.0.27"), &[]);
    let listener = TcpListener::bind("127.0.0.27:5999").unwrap();
    let mut caller = node.phone();
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "leaves", &offer);
    let (mut stream, _) = listener.accept().unwrap();
    let mut invite = [0; 6];
    stream.read_exact(&mut invite).unwrap();
    assert_eq!(&invite, b"INVITE");
    let began = Instant::now();
    drop(stream);
    caller.is_told(500);
    let took = began.elapsed();
    assert!(took < SOON, "refused after {took:?}");
}

#[test]
fn a_call_that_leaves_by_tcp_leaves_from_the_address_that_it_lives_on() {
    let node = Inside::start("127.0.0.52", &entries("127.0.0.52"), &[]);
    let listener = TcpListener::bind("127.0.0.52:5999").unwrap();
    let mut caller = node.phone();
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "leaves", &offer);
    let (_stream, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), node.sip().ip());
}

#[test]
fn a_call_goes_to_the_next_agent_when_the_first_ones_phone_is_not_there() {
    let node = Inside::start("127.0.0.28", &entries("127.0.0.28"), &[]);
    let (mut caller, mut ben) = (node.phone(), node.phone_at(5070));
    let offer = caller.sdp("sendrecv");
    let began = Instant::now();
    caller.calls("alice", "queue", &offer);
    caller.is_told(200);
    caller.acks("");
    ben.is_invited();
    let took = began.elapsed();
    assert!(took < SOON, "offered to ben after {took:?}");
    let story = node.looks_at(|center| {
        let call = center.calls().next().map(|call| format!("{:?}", call.timeline));
        call.unwrap_or_default()
    });
    assert!(story.contains("LegFailed"), "ana was asked first: {story}");
    let answer = ben.sdp("sendrecv");
    ben.answers(200, "", &answer);
    ben.is_acked();
    caller.hangs_up();
    ben.is_hung_up();
}
