//! A media port: what one leg of a call hears and says, as a machine.
//!
//! Joins the machines of [`crate::session`], [`crate::telephone_event`], [`crate::jitter`] and
//! the codecs by a [`PortPlan`]. Holds no socket and no other port: a packet that arrives at one
//! port becomes a [`Heard`], which the engine offers to the ports that relay it. The packet path
//! works in the caller's buffers and, for a relay within one codec, touches nothing but the
//! header.
//!
//! Read `plan`, then this file, then `hear` (what arrives), `say` (what leaves), `playing`,
//! `translate` and `seat`.

mod hear;
mod plan;
mod playing;
mod say;
mod seat;
mod translate;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use hear::{Heard, Refused, What};
pub use plan::{
    CodecSpec, Detect, Direction, PortKey, PortPlan, PortState, RecordTap, SendDigits, Source,
};
pub use say::PACKET_BYTES_MAX;

use crate::codec::CodecKind;
use crate::frame::Rate;
use crate::session::{Latch, Receiver, Reception, Sender, SenderState};
use crate::telephone_event::{Keypad, Listener};

use self::hear::Ears;
use self::playing::Playing;
use self::seat::Seat;
use self::translate::Translator;

/// Outputs that wait to be polled. The engine polls after every input, of which none makes more
/// than a few; past it new ones are dropped.
const OUTPUTS_MAX: usize = 32;

/// One leg's media.
#[derive(Debug)]
pub struct Port {
    plan: PortPlan,
    latch: Latch,
    receiver: Receiver,
    sender: Sender,
    listener: Listener,
    /// A telephone-event has arrived: tones are not listened for any more.
    events_heard: bool,
    /// Decoders and the tone detector, while something needs samples.
    ears: Option<Box<Ears>>,
    /// The encoder and its framing, while the source speaks another codec.
    translator: Option<Box<Translator>>,
    playing: Option<Box<Playing>>,
    seat: Option<Box<Seat>>,
    keypad: Option<Box<Keys>>,
    /// Where RTCP of the peer comes from.
    rtcp_source: Option<SocketAddr>,
    silence: Silence,
    outputs: VecDeque<Output>,
}

/// What a port tells its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The peer pressed a key.
    Digit(char),
    /// The playing with this number is over.
    Played(u64),
    /// Nothing has arrived for so long.
    Quiet(Duration),
}

/// The peer's silence and ours.
#[derive(Debug)]
struct Silence {
    /// When the peer was last heard, or could first have been.
    heard: Instant,
    told: bool,
    /// When we last sent something.
    sent: Option<Instant>,
    reported: Option<Instant>,
}

/// Digits being sent.
#[derive(Debug)]
struct Keys {
    seq: u64,
    keypad: Keypad,
    /// The timestamp of the press in progress.
    timestamp: u32,
}

impl Port {
    /// A port that follows `plan`. Its output stream begins after `stream`: random numbers, or
    /// those of the node that had the port before.
    pub fn new(plan: PortPlan, stream: SenderState, now: Instant) -> Self {
        let clock_hz = plan.codec.kind.rtp_clock_hz();
        let mut port = Self {
            latch: Latch::new(plan.remote),
            receiver: Receiver::new(clock_hz),
            sender: Sender::new(stream, clock_hz),
            listener: Listener::default(),
            events_heard: false,
            ears: None,
            translator: None,
            playing: None,
            seat: None,
            keypad: None,
            rtcp_source: None,
            silence: Silence { heard: now, told: false, sent: None, reported: None },
            outputs: VecDeque::new(),
            plan,
        };
        port.begin_source();
        port.take_seat();
        port.begin_digits();
        port
    }

    /// Continues where another node's port left off. Before the first packet.
    pub fn resume(&mut self, state: &PortState) {
        self.sender = Sender::new(state.stream(), self.clock_hz());
        self.latch.resume(state.latched);
    }

    /// Replaces the plan. What is the same in both goes on untouched.
    pub fn apply(&mut self, plan: PortPlan, now: Instant) {
        let before = std::mem::replace(&mut self.plan, plan);
        if before.codec != self.plan.codec {
            self.receiver.set_clock(self.clock_hz());
            self.sender.set_clock(self.clock_hz());
            (self.ears, self.translator, self.seat) = (None, None, None);
        }
        if before.remote != self.plan.remote || before.negotiation != self.plan.negotiation {
            self.latch.renegotiate(self.plan.remote);
            self.rtcp_source = None;
        }
        if before.direction.receives() != self.plan.direction.receives() {
            (self.silence.heard, self.silence.told) = (now, false);
        }
        if before.source.differs(&self.plan.source) {
            self.sender.interrupt();
            self.translator = None;
            self.begin_source();
        }
        self.take_seat();
        self.begin_digits();
    }

    /// What the port is to do.
    pub fn plan(&self) -> &PortPlan {
        &self.plan
    }

    /// Where packets go; `None` while there is nowhere.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.latch.destination()
    }

    /// What another node needs to continue this port.
    pub fn state(&self) -> PortState {
        let SenderState { ssrc, sequence, timestamp } = self.sender.state();
        PortState { ssrc, sequence, timestamp, latched: self.latch.peer() }
    }

    /// What has arrived.
    pub fn reception(&self) -> Reception {
        self.receiver.reception()
    }

    /// The next thing to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The PCM rate at which this port would take audio from a port that speaks another codec:
    /// no higher than either needs.
    pub fn rate_from(&self, other: CodecKind) -> Rate {
        self.plan.codec.kind.natural_rate().min(other.natural_rate())
    }

    fn begin_source(&mut self) {
        self.playing = Playing::begin(&self.plan.source);
    }

    /// Takes a seat where one is wanted, and leaves it where none is.
    fn take_seat(&mut self) {
        match (self.plan.conference(), &self.seat) {
            (Some(_), None) => self.seat = Seat::new(self.plan.codec.kind),
            (None, Some(_)) => self.seat = None,
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    fn begin_digits(&mut self) {
        let Some(send) = &self.plan.digits else {
            return;
        };
        let keys = self.keypad.get_or_insert_with(|| {
            let seq = send.seq.wrapping_sub(1);
            Box::new(Keys { seq, keypad: Keypad::default(), timestamp: 0 })
        });
        if keys.seq != send.seq {
            keys.seq = send.seq;
            keys.keypad.press(&send.digits);
        }
    }

    fn clock_hz(&self) -> u32 {
        self.plan.codec.kind.rtp_clock_hz()
    }

    fn tell(&mut self, output: Output) {
        if self.outputs.len() < OUTPUTS_MAX {
            self.outputs.push_back(output);
        }
    }
}

#[cfg(test)]
mod tests;
