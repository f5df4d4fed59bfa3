//! What a port should do: the full description that the call's actor hands down.
//!
//! A plan is complete, so applying the same plan twice changes nothing, and a port that died
//! is rebuilt from it. One-shot things (clips, digits to send) carry a sequence number; a
//! number that was seen before does not start them again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clip::Clip;
use crate::codec::CodecKind;
use crate::session::SenderState;

/// Names a port: one leg of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortKey {
    /// The call's id.
    pub call: u64,
    /// The leg's number in its call.
    pub leg: u16,
}

/// Everything that a port is to do, replaced as a whole.
#[derive(Clone, Debug)]
pub struct PortPlan {
    /// Where the peer's SDP says that it receives RTP; `None` while no SDP is known.
    pub remote: Option<SocketAddr>,
    /// Where it receives RTCP; `None` is the port above the one that RTP goes to.
    pub remote_rtcp: Option<SocketAddr>,
    /// The number of offer/answer exchanges so far. When it changes, the peer may send from a
    /// new address (symmetric RTP latches anew).
    pub negotiation: u32,
    /// The codec that the last offer/answer agreed on.
    pub codec: CodecSpec,
    /// The payload type of telephone-event (RFC 4733), if agreed on.
    pub dtmf: Option<u8>,
    /// Who may send.
    pub direction: Direction,
    /// What the peer hears.
    pub source: Source,
    /// The conference in which its voice is heard. A port of it that hears something else, as a
    /// relay, is only listened to there.
    pub speaks_in: Option<u64>,
    /// Which digits are listened for.
    pub detect: Detect,
    /// Where what the peer says is recorded.
    pub record: Option<RecordTap>,
    /// Digits to send to the peer as telephone-events.
    pub digits: Option<SendDigits>,
}

impl PortPlan {
    /// A port that knows its codec but has no peer yet, says nothing and listens for no digits.
    pub fn new(codec: CodecSpec) -> Self {
        Self {
            remote: None,
            remote_rtcp: None,
            negotiation: 0,
            codec,
            dtmf: None,
            direction: Direction::SendReceive,
            source: Source::Silence,
            speaks_in: None,
            detect: Detect::default(),
            record: None,
            digits: None,
        }
    }
}

/// A negotiated codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecSpec {
    /// Which codec.
    pub kind: CodecKind,
    /// The payload type that the peer wants in what we send.
    pub send_payload_type: u8,
    /// The payload type that the peer uses in what it sends.
    pub receive_payload_type: u8,
    /// Milliseconds of audio that the peer would like in a packet (SDP's `a=ptime`). What we
    /// make ourselves comes in the next lower of 20, 40 and 60 ms, Opus always in 20.
    pub ptime_ms: u16,
}

impl PortPlan {
    /// The conference that the port takes part in, as a speaker, a hearer, or both.
    pub fn conference(&self) -> Option<u64> {
        match &self.source {
            Source::Mix { conference, .. } => Some(*conference),
            Source::Silence | Source::Relay(_) | Source::Play { .. } | Source::Echo => {
                self.speaks_in
            }
        }
    }
}

impl CodecSpec {
    /// The frames of 20 ms in a packet that we make.
    pub(super) fn frames_in_packet(&self) -> u8 {
        match self.kind {
            CodecKind::Pcmu | CodecKind::Pcma | CodecKind::G722 => {
                (self.ptime_ms / 20).clamp(1, 3) as u8
            }
            CodecKind::Opus => 1,
        }
    }
}

/// Who may send, seen from us (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both sides.
    #[default]
    SendReceive,
    /// Only we: the peer listens, as when it was put on hold.
    SendOnly,
    /// Only the peer: it put us on hold.
    ReceiveOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// Whether we may send.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::SendOnly)
    }

    /// Whether we take what arrives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::ReceiveOnly)
    }
}

/// What the peer of a port hears.
#[derive(Clone, Debug)]
pub enum Source {
    /// Nothing. A packet of silence now and then keeps the path through a NAT open.
    Silence,
    /// What arrives at another port of the same call.
    Relay(PortKey),
    /// Clips, one after the other.
    Play {
        /// Names this playing: the same number goes on where it is, another one starts anew.
        seq: u64,
        /// What to play, in order. A clip that was not prepared for the port's codec
        /// ([`Clip::prepare`]) is encoded frame by frame.
        clips: Vec<Clip>,
        /// From the start again at the end, as music on hold; there is no `Played` then.
        repeat: bool,
        /// Where to begin, in milliseconds from the start of the first clip.
        from_ms: u64,
    },
    /// Its own voice.
    Echo,
    /// All other ports that speak in a conference, but for some.
    Mix {
        /// The conference.
        conference: u64,
        /// Who is not heard though they speak there.
        without: Vec<PortKey>,
    },
}

/// Which digits a port listens for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detect {
    /// Telephone-events.
    pub rfc4733: bool,
    /// Tones in the audio. Costs a decoder and a filter bank; a port on which a telephone-event
    /// has arrived stops listening for tones, so that no digit counts twice.
    pub in_band: bool,
}

/// Where what the peer of a port says is recorded. The ports of a call name the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordTap {
    /// The WAV file.
    pub path: PathBuf,
    /// The channel: 0 left, 1 right.
    pub channel: u8,
    /// The call's epoch, for the file's stamp.
    pub epoch: u32,
}

impl Source {
    /// Whether going from one to the other begins something new. A playing with the same
    /// number goes on.
    pub(super) fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Silence, Self::Silence) | (Self::Echo, Self::Echo) => false,
            (Self::Relay(one), Self::Relay(other)) => one != other,
            (Self::Play { seq: one, .. }, Self::Play { seq: other, .. })
            | (Self::Mix { conference: one, .. }, Self::Mix { conference: other, .. }) => {
                one != other
            }
            (
                Self::Silence | Self::Relay(_) | Self::Play { .. } | Self::Echo | Self::Mix { .. },
                _,
            ) => true,
        }
    }
}

/// Digits to send to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendDigits {
    /// Names this sending: the same number is not sent again.
    pub seq: u64,
    /// The digits: `0`–`9`, `*`, `#`, `A`–`D`; others are passed over.
    pub digits: Arc<str>,
}

/// What another node needs to continue a port: its output stream and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    /// The SSRC that we send.
    pub ssrc: u32,
    /// The sequence number of the last packet sent.
    pub sequence: u16,
    /// Its timestamp.
    pub timestamp: u32,
    /// The address that the peer was found to send from.
    pub latched: Option<SocketAddr>,
}

impl PortState {
    pub(super) fn stream(&self) -> SenderState {
        SenderState { ssrc: self.ssrc, sequence: self.sequence, timestamp: self.timestamp }
    }
}
