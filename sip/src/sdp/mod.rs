//! Offer and answer (RFC 3264) for one audio stream: which codec, from where to where.
//!
//! [`answer`] answers an offer, [`offer`] makes one, [`reoffer`] changes what was agreed, and
//! [`accept`] reads the answer. All are functions of what was said: what was agreed is a value
//! ([`Negotiated`]) that any machine can go on from.
//!
//! One audio stream is taken; other streams of an offer are answered with port 0, as are those
//! of a profile that we do not speak (SRTP). ICE, rtcp-mux (RFC 5761) and bundles are offers of
//! more that an answer without them declines.

mod answer;
mod codec;
mod description;
mod direction;
mod offer;
#[cfg(test)]
mod tests;
mod versions;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use answer::{accept, answer};
pub use codec::{Codec, CodecKind, TelephoneEvent};
pub use direction::Direction;
pub use offer::{offer, reoffer};
pub use versions::Versions;

use description::Description;

/// The largest SDP that is read, in bytes. A browser's offer with all its candidates has 8,000;
/// what is longer is [`SdpError::TooLarge`].
pub const SDP_BYTES_MAX: usize = 32 * 1024;

/// The most media streams that are read; more are [`SdpError::TooLarge`].
pub const STREAMS_MAX: usize = 16;

/// How much audio a packet has where nobody says otherwise (RFC 3551 §4.2).
pub const PTIME_MS_USUAL: u16 = 20;

/// What we take and send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Codecs, the best first. An answer keeps the offerer's order.
    pub codecs: Vec<CodecKind>,
    /// Whether DTMF goes as events (RFC 4733).
    pub telephone_event: bool,
    /// How much audio we want in a packet.
    pub ptime_ms: u16,
}

impl Capabilities {
    /// One codec only: for a leg whose other side has it already.
    pub fn only(kind: CodecKind) -> Self {
        Self { codecs: vec![kind], ..Self::default() }
    }
}

impl Default for Capabilities {
    /// All that this crate knows.
    fn default() -> Self {
        Self {
            codecs: vec![CodecKind::Opus, CodecKind::G722, CodecKind::Pcma, CodecKind::Pcmu],
            telephone_event: true,
            ptime_ms: PTIME_MS_USUAL,
        }
    }
}

/// Our end of the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Local {
    /// Where audio comes to.
    pub ip: IpAddr,
    /// The RTP port; RTCP is the next one.
    pub rtp_port: u16,
    /// The session's number: the same from its first SDP to its last (RFC 3264 §8).
    pub session_id: u64,
    /// One more than the last time, unless nothing changed (RFC 3264 §8).
    pub version: u64,
    /// What we want: `SendOnly` or `Inactive` puts the other side on hold.
    pub direction: Direction,
}

/// What offer and answer agreed on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Negotiated {
    /// Where our audio goes. The address is unspecified (`0.0.0.0`) when a peer puts us on hold
    /// as RFC 2543 did.
    pub remote_rtp: SocketAddr,
    /// Where our RTCP goes (RFC 3605); none when there is no such port.
    pub remote_rtcp: Option<SocketAddr>,
    /// The codec both ways.
    pub codec: Codec,
    /// DTMF events; none when digits are tones in the audio.
    pub telephone_event: Option<TelephoneEvent>,
    /// What we may do.
    pub direction: Direction,
    /// How much audio the other side wants in a packet.
    pub ptime_ms: u16,
}

impl Negotiated {
    /// The payload type that DTMF events are sent with.
    pub fn dtmf_payload_type(&self) -> Option<u8> {
        self.telephone_event.map(|event| event.send_payload_type)
    }
}

/// Why there is no session.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SdpError {
    /// Not SDP at all: 400.
    #[error("malformed SDP: {0}")]
    Malformed(String),
    /// More than [`SDP_BYTES_MAX`] or [`STREAMS_MAX`]: 488.
    #[error("SDP too large")]
    TooLarge,
    /// No audio stream that could be used, because of its profile, or because it is disabled: 488.
    #[error("no usable audio stream")]
    NoAudio,
    /// Nothing that both can: 488.
    #[error("no common codec")]
    NoCommonCodec,
    /// The other side's address is a name or a group, or missing: 488.
    #[error("no unicast address for audio")]
    NoAddress,
    /// An answer that does not fit its offer: the call is ended.
    #[error("the answer does not fit the offer: {0}")]
    Mismatch(&'static str),
}

impl SdpError {
    /// The status that refuses an offer for it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::TooLarge
            | Self::NoAudio
            | Self::NoCommonCodec
            | Self::NoAddress
            | Self::Mismatch(_) => 488,
        }
    }
}

/// The codecs of an offer's audio stream that we know, in its order: what the other leg of a
/// call may be offered so that nothing need be transcoded.
pub fn offered_codecs(offer: &[u8]) -> Result<Vec<CodecKind>, SdpError> {
    let description = Description::parse(offer)?;
    let (_, stream) = description.audio().ok_or(SdpError::NoAudio)?;
    let mut kinds: Vec<CodecKind> = Vec::new();
    for format in stream.formats() {
        if let Some(kind) = format.kind().filter(|kind| !kinds.contains(kind)) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}
