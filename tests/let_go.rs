//! A call's actor is told to let go while something of it is being committed, and while its port
//! is still held: the races of a takeover, each driven on purpose and many times.
//!
//! Nothing is applied as long as somebody looks at the state, so a test that looks decides what
//! comes first. The state says that the call is this node's all along: what is let go is taken up
//! again, by another actor from the committed value, and the caller hears nothing of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::time::Duration;

use support::inside::Inside;
use support::line::Line;
use support::wait_until;
use tandem::actors::call::Message;
use tandem_center::CallId;

const SOON: Duration = Duration::from_secs(10);

const ECHO: &str = "[[number]]\nnumber = \"echo\"\necho = true\n";

const ROUNDS: u64 = 20;

#[test]
fn a_call_that_is_let_go_while_its_arrival_is_committed_is_answered_once() {
    let inside = Inside::start("127.0.0.95", ECHO, &[]);
    for _ in 0..ROUNDS {
        let mut caller = inside.phone();
        let sdp = caller.sdp("sendrecv");
        let known = newest(&inside);
        quietly(&inside);
        let id = inside.looks_at(|_| {
            caller.calls("alice", "echo", &sdp);
            let id = proposes(&inside, |id| Some(id) > known);
            lets_go(&inside, id);
            id
        });
        let audio = caller.is_told(200).audio();
        caller.acks("");
        caller.hears_itself(audio, 0x20);
        caller.hangs_up();
        ends(&inside, id);
    }
    assert_eq!(records(&inside), ROUNDS, "each call has one record");
}

#[test]
fn a_call_that_is_let_go_while_its_end_is_committed_ends_once() {
    let inside = Inside::start("127.0.0.96", ECHO, &[]);
    for _ in 0..ROUNDS {
        let (mut caller, _) = talks(&inside);
        let id = newest(&inside).unwrap();
        quietly(&inside);
        inside.looks_at(|_| {
            caller.says_bye();
            assert_eq!(proposes(&inside, |of| of == id), id);
            lets_go(&inside, id);
        });
        // Who heard the BYE is gone; its repetition is answered by whoever has the call, or by the
        // node when nobody has it any more. Either ends it (RFC 3261 §15.1.1).
        caller.repeats_until(&[200, 481], SOON);
        ends(&inside, id);
    }
    assert_eq!(records(&inside), ROUNDS, "each call has one record");
}

/// What is committed of a caller's dialog may be older than the 200 that the caller has: whoever
/// takes the call up when it is over has to say the 200 again before the BYE means anything.
#[test]
fn who_is_to_be_hung_up_on_when_the_call_is_let_go_gets_the_bye_all_the_same() {
    let target = "[[number]]\nnumber = \"bob\"\ntarget = \"sip:bob@127.0.0.98:5070\"\n";
    let inside = Inside::start("127.0.0.98", target, &[]);
    let (mut caller, mut called) = (inside.phone(), inside.phone_at(5070));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "bob", &offer);
    called.is_invited();
    let answer = called.sdp("sendrecv");
    called.answers(200, "", &answer);
    caller.is_told(200);
    caller.acks("");
    called.is_acked();
    let id = newest(&inside).unwrap();
    called.hangs_up();
    caller.hears_bye();
    lets_go(&inside, id);
    // Nobody has answered that BYE, and another actor has the call: the 200 comes, then a BYE.
    caller.is_told(200);
    caller.acks("");
    caller.is_hung_up();
    ends(&inside, id);
    assert_eq!(inside.looks_at(|center| center.counts().ended), 1, "and it ended once");
}

#[test]
fn a_call_that_is_let_go_and_taken_up_again_keeps_its_port_and_its_audio() {
    let inside = Inside::start("127.0.0.97", ECHO, &[]);
    let (mut caller, audio) = talks(&inside);
    let id = newest(&inside).unwrap();
    let actor = || inside.node().router.call(id).map(|actor| actor.get_id());
    for round in 0..ROUNDS {
        let before = actor();
        inside.node().router.call(id).unwrap().send_message(Message::Forsake).unwrap();
        wait_until("another actor has the call", SOON, || {
            actor().is_some_and(|now| Some(now) != before)
        });
        caller.hears_itself(audio, 0x30 + round as u8);
        // A node alone does not commit that it was acknowledged: it says the 200 again.
        caller.is_told(200);
        caller.acks("");
    }
    let sdp = caller.sdp("sendonly");
    caller.reinvites(&sdp);
    let answer = caller.is_told(200);
    assert_eq!(answer.audio(), audio, "the call is where it was");
    caller.acks("");
    caller.hangs_up();
    ends(&inside, id);
    assert_eq!(records(&inside), 1, "the call has one record");
}

/// A caller who is connected to the echo, and where its audio goes.
fn talks(inside: &Inside) -> (Line, std::net::SocketAddr) {
    quietly(inside);
    let mut caller = inside.phone();
    let sdp = caller.sdp("sendrecv");
    caller.calls("alice", "echo", &sdp);
    let audio = caller.is_told(200).audio();
    caller.acks("");
    caller.hears_itself(audio, 0x20);
    (caller, audio)
}

fn newest(inside: &Inside) -> Option<CallId> {
    inside.node().router.call_ids().into_iter().max()
}

/// Nothing is on its way to be applied: it would wait for who looks, and others for it. And those
/// who waited the last time are not late any more.
fn quietly(inside: &Inside) {
    let node = inside.node();
    wait_until("nothing waits", SOON, || {
        node.replica.proposals_waiting() == 0 && node.admit().is_ok()
    });
}

/// Such a call has proposed something, which is not applied.
fn proposes(inside: &Inside, is_it: impl Fn(CallId) -> bool) -> CallId {
    let node = inside.node();
    wait_until("the call proposes", SOON, || {
        node.replica.proposals_waiting() > 0 && newest(inside).is_some_and(&is_it)
    });
    newest(inside).unwrap()
}

fn lets_go(inside: &Inside, id: CallId) {
    let router = &inside.node().router;
    let before = router.call(id).map(|actor| actor.get_id());
    router.call(id).unwrap().send_message(Message::Forsake).unwrap();
    // Another one may have the call at once, from what is committed so far.
    wait_until("the actor has let go", SOON, || {
        router.call(id).map(|actor| actor.get_id()) != before
    });
}

/// The call has ended for the cluster.
fn ends(inside: &Inside, id: CallId) {
    wait_until("the call has ended", SOON, || {
        inside.looks_at(|center| center.call(id).is_none_or(|call| call.has_ended()))
    });
}

fn records(inside: &Inside) -> u64 {
    let results = &inside.node().metrics.call_results_total;
    results.with_label_values(&["ivr-completed"]).get()
}
