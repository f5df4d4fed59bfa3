//! A call that leaves by a trunk: the trunk asks who we are, and speaks before it answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use support::inside::Inside;
use support::line::Message;

/// The trunk's challenge, and what it is answered with.
const NONCE: &str = "dcd98b7102dd2f0e";
const CHALLENGE: &str = "Proxy-Authenticate: Digest realm=\"exchange\", \
                         nonce=\"dcd98b7102dd2f0e\", algorithm=MD5, qop=\"auth\"\r\n";

/// What the trunk says before its answer, and what the caller says after it.
const ANNOUNCEMENT: u8 = 0x33;
const CALLER: u8 = 0x44;

const FLOW: &str = "start = \"out\"\n[steps.out]\ndo = \"transfer\"\nnumber = \"94711\"\n";

const ANSWERED_FLOW: &str = "start = \"pick_up\"\n[steps.pick_up]\ndo = \"answer\"\n\
                             next = \"out\"\n[steps.out]\ndo = \"transfer\"\n\
                             number = \"94711\"\n";

fn node_at(ip: &str) -> Inside {
    let entries = format!(
        "[[number]]\nnumber = \"out\"\nflow = \"out\"\n\
         [[number]]\nnumber = \"answered\"\nflow = \"answered\"\n\
         [[trunk]]\nname = \"exchange\"\naddress = \"sip:{ip}:5090\"\nprefix = \"9\"\n\
         strip_prefix = true\nuser = \"tandem\"\npassword = \"secret\"\n"
    );
    Inside::start(ip, &entries, &[("out", FLOW), ("answered", ANSWERED_FLOW)])
}

#[test]
fn the_trunks_challenge_is_answered_and_the_caller_hears_it_before_it_answers() {
    let node = node_at("127.0.0.21");
    let (mut caller, mut trunk) = (node.phone(), node.phone_at(5090));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "out", &offer);
    let invite = trunk.is_invited();
    assert_eq!(invite.target(), "sip:4711@127.0.0.21:5090");
    assert_eq!(invite.header("Proxy-Authorization"), "", "no password before it is asked for");
    trunk.answers(407, CHALLENGE, "");
    trunk.is_acked();
    let invite = trunk.is_reinvited();
    assert_eq!(parameter(&invite, "username"), "tandem");
    assert_eq!(parameter(&invite, "response"), expected_response(&invite));

    let answer = trunk.sdp("sendrecv");
    trunk.answers(183, "", &answer);
    let early = caller.is_told(183);
    trunk.speaks_until(invite.audio(), ANNOUNCEMENT, || caller.has_heard(ANNOUNCEMENT));
    trunk.answers(200, "", &answer);
    let answered = caller.is_told(200);
    caller.acks("");
    trunk.is_acked();
    assert_eq!(early.body(), answered.body(), "the answer is the one that was heard early");
    caller.speaks_until(answered.audio(), CALLER, || trunk.has_heard(CALLER));
    trunk.speaks_until(invite.audio(), ANNOUNCEMENT, || caller.has_heard(ANNOUNCEMENT));
    trunk.hangs_up();
    caller.is_hung_up();
}

#[test]
fn a_caller_who_was_answered_before_hears_the_trunk_before_it_answers() {
    let node = node_at("127.0.0.31");
    let (mut caller, mut trunk) = (node.phone(), node.phone_at(5090));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "answered", &offer);
    let answered = caller.is_told(200);
    caller.acks("");
    let invite = trunk.is_invited();
    let answer = trunk.sdp("sendrecv");
    trunk.answers(183, "", &answer);
    trunk.speaks_until(invite.audio(), ANNOUNCEMENT, || caller.has_heard(ANNOUNCEMENT));
    trunk.answers(200, "", &answer);
    trunk.is_acked();
    caller.speaks_until(answered.audio(), CALLER, || trunk.has_heard(CALLER));
    caller.hangs_up();
    trunk.is_hung_up();
}

#[test]
fn a_caller_gets_the_answer_that_it_heard_early_whatever_the_far_end_says_then_13_2_1() {
    let node = node_at("127.0.0.51");
    let (mut caller, mut trunk) = (node.phone(), node.phone_at(5090));
    let offer = caller.sdp("sendrecv").replace("RTP/AVP 0", "RTP/AVP 0 8");
    caller.calls("alice", "out", &offer);
    trunk.is_invited();
    let a_law = trunk.sdp("sendrecv").replace("AVP 0", "AVP 8").replace("0 PCMU", "8 PCMA");
    trunk.answers(183, "", &a_law);
    let early = caller.is_told(183);
    assert!(early.says("a=rtpmap:8 PCMA/8000"), "{early:?}");
    let u_law = trunk.sdp("sendrecv");
    trunk.answers(200, "", &u_law);
    let answered = caller.is_told(200);
    assert_eq!(early.body(), answered.body());
    caller.acks("");
    trunk.is_acked();
    caller.hangs_up();
    trunk.is_hung_up();
}

#[test]
fn a_trunk_that_does_not_take_our_password_is_no_fault_of_the_caller() {
    let node = node_at("127.0.0.22");
    let (mut caller, mut trunk) = (node.phone(), node.phone_at(5090));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "out", &offer);
    trunk.is_invited();
    trunk.answers(407, CHALLENGE, "");
    trunk.is_acked();
    trunk.is_reinvited();
    trunk.answers(407, CHALLENGE, "");
    trunk.is_acked();
    // Not the 407: the caller has no password of our trunk (RFC 3261 §22.3).
    caller.is_told(502);
}

/// RFC 7616 §3.4.1 with MD5, by a program that is not ours.
fn expected_response(invite: &Message) -> String {
    let [nc, cnonce, uri] = ["nc", "cnonce", "uri"].map(|name| parameter(invite, name));
    assert_eq!(uri, invite.target(), "the Request-URI is what is signed");
    let who = md5("tandem:exchange:secret");
    let what = md5(&format!("INVITE:{uri}"));
    md5(&format!("{who}:{NONCE}:{nc}:{cnonce}:auth:{what}"))
}

fn parameter(invite: &Message, name: &str) -> String {
    let credentials = invite.header("Proxy-Authorization").trim_start_matches("Digest ");
    let mut pairs = credentials.split(',').filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'));
    value.unwrap_or_else(|| panic!("no {name} in {credentials:?}")).to_owned()
}

fn md5(text: &str) -> String {
    let mut child = Command::new("md5sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("md5sum is part of coreutils");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..32].to_owned()
}
