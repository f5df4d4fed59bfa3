//! A phone holds and retrieves by re-INVITE, whichever side of the call it is on.

mod support;

use std::net::SocketAddr;

use support::inside::Inside;
use support::line::Line;

const CALLER: u8 = 0x11;
const CALLED: u8 = 0x22;

/// A phone, where the node takes its audio, and the sample that it speaks.
struct Side {
    line: Line,
    audio: SocketAddr,
    voice: u8,
}

#[test]
fn who_holds_hears_nobody_the_other_hears_music_and_the_audio_is_back_after() {
    let entries = "[[number]]\nnumber = \"bob\"\ntarget = \"sip:bob@127.0.0.20:5070\"\n";
    let node = Inside::start("127.0.0.20", entries, &[]);
    let (mut caller, mut called) = (node.phone(), node.phone_at(5070));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "bob", &offer);
    let invite = called.is_invited();
    let answer = called.sdp("sendrecv");
    called.answers(200, "", &answer);
    let answered = caller.is_told(200);
    caller.acks("");
    called.is_acked();

    let mut caller = Side { line: caller, audio: answered.audio(), voice: CALLER };
    let mut called = Side { line: called, audio: invite.audio(), voice: CALLED };
    both_hear(&mut caller, &mut called);
    holds_and_retrieves(&mut caller, &mut called);
    holds_and_retrieves(&mut called, &mut caller);
    caller.line.hangs_up();
    called.line.is_hung_up();
}

fn both_hear(one: &mut Side, other: &mut Side) {
    one.line.speaks_until(one.audio, one.voice, || other.line.has_heard(one.voice));
    other.line.speaks_until(other.audio, other.voice, || one.line.has_heard(other.voice));
}

fn holds_and_retrieves(holder: &mut Side, held: &mut Side) {
    let hold = holder.line.sdp("sendonly");
    holder.line.reinvites(&hold);
    assert!(holder.line.is_told(200).says("a=recvonly"), "the answer to sendonly");
    holder.line.acks("");
    // Music is no constant, and what the holder says does not get through.
    let mut heard = Vec::new();
    holder.line.speaks_until(holder.audio, holder.voice, || {
        heard = held.line.hears().unwrap_or_default();
        heard.iter().any(|sample| *sample != heard[0])
    });
    while holder.line.hears().is_some() {}
    for _ in 0..25 {
        held.line.speaks(held.audio, held.voice);
        assert!(holder.line.hears().is_none(), "who holds hears something");
        assert!(!held.line.has_heard(holder.voice), "who is held hears the holder");
    }

    let retrieve = holder.line.sdp("sendrecv");
    holder.line.reinvites(&retrieve);
    let answer = holder.line.is_told(200);
    assert!(answer.says("a=sendrecv"), "the answer to sendrecv");
    holder.line.acks("");
    assert_eq!(answer.audio(), holder.audio, "the audio goes where it went");
    both_hear(holder, held);
}
