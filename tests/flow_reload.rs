//! A flow is changed while a caller is in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::time::Duration;

use support::inside::Inside;
use support::line::Line;
use support::wait_until;

const NUMBER: &str = "[[number]]\nnumber = \"shop\"\nflow = \"shop\"\n\
                      [[number]]\nnumber = \"echo\"\necho = true\n";
const VOICE: u8 = 0x55;

/// Waits for one key; then `last`.
fn flow(last: &str) -> String {
    format!(
        "start = \"pick_up\"\n[steps.pick_up]\ndo = \"answer\"\nnext = \"key\"\n\
         [steps.key]\ndo = \"collect\"\nprompts = {{ file = \"silence_100ms.wav\" }}\n\
         digits_min = 1\ndigits_max = 1\nterminator = \"\"\nfirst_digit_ms = 30000\n\
         variable = \"key\"\nnext = \"last\"\non_failure = \"last\"\n[steps.last]\n{last}\n"
    )
}

#[test]
fn a_call_finishes_on_the_version_that_it_began_with_and_the_next_takes_the_new_one() {
    let old = flow("do = \"transfer\"\nnumber = \"echo\"");
    let new = flow("do = \"hang_up\"");
    let node = Inside::start("127.0.0.24", NUMBER, &[("shop", &old)]);
    let (mut first, mut second) = (node.phone(), node.phone());
    let audio = calls_the_shop(&mut first);

    fs::write(node.flows.join("shop.toml"), &new).unwrap();
    wait_until("the new version holds", Duration::from_secs(10), || {
        node.looks_at(|center| center.directory().flows.values().any(|text| **text == *new))
    });
    calls_the_shop(&mut second);

    first.presses('1');
    // The old version leads to the echo.
    first.hears_itself(audio, VOICE);
    second.presses('1');
    second.is_hung_up();
    first.hangs_up();
}

/// Where the node takes the caller's audio.
fn calls_the_shop(caller: &mut Line) -> std::net::SocketAddr {
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "shop", &offer);
    let answered = caller.is_told(200);
    caller.acks("");
    answered.audio()
}
