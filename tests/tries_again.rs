//! A caller who was refused tries again as the same attempt (RFC 3261 §8.1.3.5).

mod support;

use std::time::Duration;

use support::inside::Inside;
use support::wait_until;

const ENTRIES: &str = "[[number]]\nnumber = \"bob\"\ntarget = \"sip:bob@127.0.0.30:5070\"\n\
                       [[number]]\nnumber = \"echo\"\necho = true\n\
                       [[number]]\nnumber = \"full\"\nreject = 503\n";

#[test]
fn a_second_try_after_a_refusal_is_a_call_like_any_other() {
    let node = Inside::start("127.0.0.25", ENTRIES, &[]);
    for acknowledges in [true, false] {
        let mut caller = node.phone();
        let offer = caller.sdp("sendrecv");
        caller.calls("alice", "full", &offer);
        caller.is_told(503);
        for number in ["full", "nobody"] {
            if acknowledges {
                caller.acks_refusal();
            }
            caller.tries_again(number, &offer);
            caller.is_told(if number == "full" { 503 } else { 404 });
        }
        // Refused without a commit.
        caller.tries_again("echo", "v=0\r\nno SDP\r\n");
        caller.is_told(400);
        caller.tries_again("echo", &offer);
        caller.is_told(200);
        caller.acks("");
        assert_eq!(node.node().router.calls_active(), 1, "nothing waits for an old ACK");
        caller.hangs_up();
        // A BYE that comes again within Timer J is answered without an actor.
        wait_until("the calls are gone", Duration::from_secs(8), || {
            node.node().router.calls_active() == 0 && node.node().router.dialogs_bound() == 0
        });
    }
}

#[test]
fn a_second_try_right_after_a_cancel_waits_for_the_end_of_the_first() {
    let node = Inside::start("127.0.0.30", ENTRIES, &[]);
    let mut bob = node.phone_at(5070);
    for _ in 0..10 {
        let mut caller = node.phone();
        let offer = caller.sdp("sendrecv");
        caller.calls("alice", "bob", &offer);
        bob.is_invited();
        bob.answers(180, "", "");
        caller.is_told(180);
        caller.cancels();
        caller.is_told(487);
        caller.tries_again("echo", &offer);
        caller.is_told(200);
        caller.acks("");
        caller.hangs_up();
        bob.is_cancelled();
    }
}
