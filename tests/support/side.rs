//! Phones in one call, each with a sample of its own: who hears whom.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tandem_center::CallId;

use super::inside::Inside;
use super::line::{Line, PATIENCE};
use super::wait_until;

/// A phone, where the node takes its audio, and the sample that it speaks.
pub struct Side {
    pub line: Line,
    pub audio: SocketAddr,
    pub voice: u8,
}

pub fn is_over(node: &Inside, call: CallId) {
    wait_until("the call is over", PATIENCE, || {
        node.looks_at(|center| center.call(call).is_none_or(|call| call.has_ended()))
    });
}

/// Where the node takes the audio of a phone that is invited and answers.
pub fn picks_up(line: &mut Line) -> (SocketAddr, String) {
    let invite = line.is_invited();
    let answer = line.sdp("sendrecv");
    line.answers(200, "", &answer);
    line.is_acked();
    (invite.audio(), invite.header("From").to_owned())
}

/// A phone whose leg has moved is told where it is now, and goes on there.
pub fn follows(side: &mut Side) {
    let invite = side.line.is_told_another_address();
    let answer = side.line.sdp("sendrecv");
    side.line.answers(200, "", &answer);
    side.line.is_acked();
    side.audio = invite.audio();
}

/// A caller who talks through the queue `sales` with ana, whose phone is at port 5070: the call, and
/// both sides of it.
pub fn talks_through_sales(node: &Inside, caller_says: u8, ana_says: u8) -> (CallId, Side, Side) {
    let (mut caller, mut ana) = (node.phone(), node.phone_at(5070));
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "sales", &offer);
    let answered = caller.is_told(200);
    caller.acks("");
    let (ana_audio, _) = picks_up(&mut ana);
    let call = node.looks_at(|center| center.calls().next().unwrap().id);
    let mut caller = Side { line: caller, audio: answered.audio(), voice: caller_says };
    let mut ana = Side { line: ana, audio: ana_audio, voice: ana_says };
    both_hear(&mut caller, &mut ana);
    (call, caller, ana)
}

pub fn both_hear(one: &mut Side, other: &mut Side) {
    one.line.speaks_until(one.audio, one.voice, || other.line.has_heard(one.voice));
    other.line.speaks_until(other.audio, other.voice, || one.line.has_heard(other.voice));
}

/// Nothing of what `one` says gets through to `other`; both must be in a call that is settled.
pub fn is_kept_from(one: &mut Side, other: &mut Side) {
    while other.line.hears().is_some() {}
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        one.line.speaks(one.audio, one.voice);
        assert!(!other.line.has_heard(one.voice), "what is said aside is heard");
    }
}

/// Each says something alone, and both others hear just that. A mix goes through a jitter buffer:
/// who does not send in time is not heard as it was said.
pub fn all_hear_each_other(sides: &mut [Side; 3]) {
    for speaker in 0..3 {
        let deaf: Vec<usize> = (0..3).filter(|hearer| *hearer != speaker).collect();
        is_heard_by(sides, speaker, &deaf);
    }
}

/// What one says reaches these others, who need not hear anybody else at the time.
pub fn is_heard_by(sides: &mut [Side; 3], speaker: usize, hearers: &[usize]) {
    let (voice, deadline) = (sides[speaker].voice, Instant::now() + PATIENCE);
    let mut deaf = hearers.to_vec();
    while !deaf.is_empty() {
        assert!(Instant::now() < deadline, "{deaf:?} do not hear {speaker}");
        let side = &mut sides[speaker];
        side.line.speaks(side.audio, voice);
        std::thread::sleep(Duration::from_millis(20));
        let heard = sides.each_ref().map(|side| side.line.has_come(voice));
        deaf.retain(|hearer| !heard[*hearer]);
    }
}

/// What one says reaches these others, and nobody else.
pub fn only_is_heard_by(sides: &mut [Side; 3], speaker: usize, hearers: &[usize]) {
    is_heard_by(sides, speaker, hearers);
    let voice = sides[speaker].voice;
    for side in sides.iter() {
        side.line.has_come(voice);
    }
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        let side = &mut sides[speaker];
        side.line.speaks(side.audio, voice);
        std::thread::sleep(Duration::from_millis(20));
        let heard = sides.each_ref().map(|side| side.line.has_come(voice));
        for other in (0..3).filter(|other| *other != speaker && !hearers.contains(other)) {
            assert!(!heard[other], "{other} hears {speaker}");
        }
    }
}
