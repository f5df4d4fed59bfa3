//! Codecs and their payload types (RFC 3551 §6, RFC 4733, RFC 7587).

use serde::{Deserialize, Serialize};

/// A codec that we know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum CodecKind {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722 at 64 kbit/s.
    G722,
    /// Opus.
    Opus,
}

impl CodecKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus];

    /// The name in rtpmap.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// The rate of RTP timestamps. G.722 samples at 16,000 Hz and says 8,000, an error kept for
    /// ever (RFC 3551 §4.5.2).
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
            Self::Opus => 48_000,
        }
    }

    /// What rtpmap says: name, rate, and for Opus always two channels (RFC 7587 §7).
    pub(super) fn encoding(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::G722 => "G722/8000",
            Self::Opus => "opus/48000/2",
        }
    }

    /// The payload type that we offer: RFC 3551's where there is one, else what most use.
    pub(super) fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
            Self::Opus => 111,
        }
    }

    /// What we tell about ourselves in fmtp. Opus: mono is enough, and packets may say again
    /// what was lost.
    pub(super) fn own_fmtp(self) -> Option<&'static str> {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => None,
            Self::Opus => Some("minptime=10;useinbandfec=1"),
        }
    }

    /// Reads rtpmap's encoding, in any case.
    pub(super) fn from_encoding(encoding: &str) -> Option<Self> {
        let mut parts = encoding.split('/');
        let (name, rate) = (parts.next()?, parts.next()?.trim().parse::<u32>().ok()?);
        let kind = Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))?;
        // Some say what G.722 really samples at.
        let rate_fits = rate == kind.clock_rate() || kind == Self::G722 && rate == 16_000;
        let channels_fit = match (kind, parts.next()) {
            (Self::Opus, channels) => matches!(channels, None | Some("2")),
            (Self::Pcmu | Self::Pcma | Self::G722, channels) => {
                matches!(channels, None | Some("1"))
            }
        };
        (rate_fits && channels_fit).then_some(kind)
    }

    /// The static payload types (RFC 3551 table 4).
    pub(super) fn from_static(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Pcmu),
            8 => Some(Self::Pcma),
            9 => Some(Self::G722),
            _ => None,
        }
    }
}

/// A codec as agreed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Codec {
    /// Which.
    pub kind: CodecKind,
    /// The payload type that the other side expects.
    pub send_payload_type: u8,
    /// The payload type that we expect.
    pub receive_payload_type: u8,
    /// The rate of RTP timestamps.
    pub clock_rate: u32,
    /// What the other side told about itself; empty when nothing.
    pub fmtp: String,
}

/// DTMF events as agreed (RFC 4733).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TelephoneEvent {
    /// The payload type that the other side expects.
    pub send_payload_type: u8,
    /// The payload type that we expect.
    pub receive_payload_type: u8,
    /// The rate of its timestamps: the codec's, where the other side offers that.
    pub clock_rate: u32,
}
