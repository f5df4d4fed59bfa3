//! Encoders and decoders of one stream each, behind one type.
//!
//! Each works at a PCM rate that the caller chooses and converts on the way when the codec's
//! own differs, so two legs are joined by choosing one rate for both. State belongs to a
//! stream and a direction; buffers are the caller's; nothing allocates after construction.

pub mod g711;
pub mod g722;
mod opus;

use crate::conceal::Concealer;
use crate::frame::{FRAME_MS_MAX, Rate};
use crate::resample::{Resampler, UnsupportedRates};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The codecs that a call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CodecKind {
    /// G.711 µ-law: North America, Japan.
    Pcmu,
    /// G.711 A-law: the rest of the world.
    Pcma,
    /// G.722: wide band on desk phones.
    G722,
    /// Opus: browsers and soft phones.
    Opus,
}

impl CodecKind {
    /// All, in the order in which we would rather speak them where the rate is free.
    pub const ALL: [Self; 4] = [Self::Opus, Self::G722, Self::Pcma, Self::Pcmu];

    /// The name in an `a=rtpmap` line.
    pub const fn encoding_name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// The codec of an `a=rtpmap` name, which is compared without case (RFC 4855 §3).
    pub fn from_encoding_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.encoding_name().eq_ignore_ascii_case(name))
    }

    /// The payload type that needs no `a=rtpmap` (RFC 3551 table 4).
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            Self::Opus => None,
        }
    }

    /// The codec of a static payload type.
    pub fn from_static_payload_type(payload_type: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.static_payload_type() == Some(payload_type))
    }

    /// The clock of RTP timestamps, in Hz. That of G.722 is 8,000 although it samples at
    /// 16,000: an error of RFC 1890 kept on purpose (RFC 3551 §4.5.2).
    pub const fn rtp_clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
            Self::Opus => 48_000,
        }
    }

    /// How far the RTP timestamp moves in `ms` milliseconds.
    pub const fn rtp_timestamp_step(self, ms: u32) -> u32 {
        self.rtp_clock_hz() / 1_000 * ms
    }

    /// The rate at which nothing is lost and nothing converted.
    pub const fn natural_rate(self) -> Rate {
        match self {
            Self::Pcmu | Self::Pcma => Rate::Khz8,
            Self::G722 => Rate::Khz16,
            Self::Opus => Rate::Khz48,
        }
    }

    /// The bytes of `ms` milliseconds, where that is fixed.
    pub const fn payload_bytes(self, ms: u32) -> Option<usize> {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => Some(8 * ms as usize),
            Self::Opus => None,
        }
    }
}

impl fmt::Display for CodecKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoding_name())
    }
}

/// Why an encoder or decoder could not be made, or could not encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The codec's rate cannot be converted to the wanted one.
    #[error(transparent)]
    Rates(#[from] UnsupportedRates),
    /// libopus refused: out of memory, or a frame of a length that Opus does not have.
    #[error("opus: {what}")]
    Opus {
        /// In libopus' words.
        what: &'static str,
    },
    /// The payload buffer is shorter than the encoded frame.
    #[error("a payload of {bytes} bytes does not fit into {bytes_max}")]
    Overflow {
        /// The bytes of the encoded frame.
        bytes: usize,
        /// The bytes of the caller's buffer.
        bytes_max: usize,
    },
}

/// Why a payload was not decoded. The frame is then as good as lost: conceal it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The payload is empty.
    #[error("empty payload")]
    Empty,
    /// The payload would decode to more than the buffer or [`FRAME_MS_MAX`] holds.
    #[error("payload of {samples} samples, at most {samples_max} are taken")]
    TooLong {
        /// What it would decode to.
        samples: usize,
        /// What is taken.
        samples_max: usize,
    },
    /// The payload is no packet of its codec.
    #[error("corrupt payload")]
    Corrupt,
}

/// Encodes one stream.
#[derive(Debug)]
pub struct Encoder {
    kind: CodecKind,
    state: EncoderState,
    bridge: Option<Bridge>,
}

#[derive(Debug)]
enum EncoderState {
    Pcmu,
    Pcma,
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
}

impl Encoder {
    /// An encoder that is fed PCM at `rate`.
    pub fn new(kind: CodecKind, rate: Rate) -> Result<Self, CodecError> {
        let (state, own) = match kind {
            CodecKind::Pcmu => (EncoderState::Pcmu, Rate::Khz8),
            CodecKind::Pcma => (EncoderState::Pcma, Rate::Khz8),
            CodecKind::G722 => (EncoderState::G722(Box::default()), Rate::Khz16),
            CodecKind::Opus => (EncoderState::Opus(opus::Encoder::new(rate)?), rate),
        };
        Ok(Self { kind, state, bridge: Bridge::between(rate, own)? })
    }

    /// The codec.
    pub fn kind(&self) -> CodecKind {
        self.kind
    }

    /// Encodes a frame; returns the bytes written to `payload`. [`PAYLOAD_BYTES_MAX`] bytes
    /// always suffice for one of our frames. Opus takes 2.5, 5, 10, 20, 40 and 60 ms only.
    ///
    /// [`PAYLOAD_BYTES_MAX`]: crate::frame::PAYLOAD_BYTES_MAX
    pub fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> Result<usize, CodecError> {
        let pcm = match &mut self.bridge {
            None => pcm,
            Some(bridge) => bridge.convert(pcm),
        };
        let bytes = match self.state {
            EncoderState::Pcmu | EncoderState::Pcma => pcm.len(),
            EncoderState::G722(_) => pcm.len() / 2,
            EncoderState::Opus(_) => 0, // libopus bounds it itself.
        };
        let bytes_max = payload.len();
        if bytes > bytes_max {
            return Err(CodecError::Overflow { bytes, bytes_max });
        }
        match &mut self.state {
            EncoderState::Pcmu => map(pcm, payload, g711::ulaw_encode),
            EncoderState::Pcma => map(pcm, payload, g711::alaw_encode),
            EncoderState::G722(state) => return Ok(state.encode(pcm, payload)),
            EncoderState::Opus(state) => return state.encode(pcm, payload),
        }
        Ok(bytes)
    }
}

/// Decodes one stream, and invents what was lost of it.
#[derive(Debug)]
pub struct Decoder {
    kind: CodecKind,
    state: DecoderState,
    bridge: Option<Bridge>,
    rate: Rate,
}

#[derive(Debug)]
enum DecoderState {
    Pcmu(Box<Concealer>),
    Pcma(Box<Concealer>),
    G722(Box<g722::Decoder>, Box<Concealer>),
    Opus(opus::Decoder),
}

impl Decoder {
    /// A decoder that gives PCM at `rate`.
    pub fn new(kind: CodecKind, rate: Rate) -> Result<Self, CodecError> {
        let concealer = || Box::new(Concealer::new(rate));
        let (state, own) = match kind {
            CodecKind::Pcmu => (DecoderState::Pcmu(concealer()), Rate::Khz8),
            CodecKind::Pcma => (DecoderState::Pcma(concealer()), Rate::Khz8),
            CodecKind::G722 => (DecoderState::G722(Box::default(), concealer()), Rate::Khz16),
            CodecKind::Opus => (DecoderState::Opus(opus::Decoder::new(rate)?), rate),
        };
        Ok(Self { kind, state, bridge: Bridge::between(own, rate)?, rate })
    }

    /// The codec.
    pub fn kind(&self) -> CodecKind {
        self.kind
    }

    /// The rate of the PCM.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Decodes a payload; returns the samples written to `pcm`.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, DecodeError> {
        if payload.is_empty() {
            return Err(DecodeError::Empty);
        }
        if let DecoderState::Opus(state) = &mut self.state {
            return state.decode(payload, pcm);
        }
        // One byte is an eighth of a millisecond in G.711 and in G.722.
        let samples = payload.len() * self.rate.samples(1) / 8;
        let samples_max = pcm.len().min(self.rate.samples(FRAME_MS_MAX));
        if samples > samples_max {
            return Err(DecodeError::TooLong { samples, samples_max });
        }
        let coded = match &mut self.bridge {
            None => &mut *pcm,
            Some(bridge) => &mut bridge.scratch[..],
        };
        let decoded = match &mut self.state {
            DecoderState::Pcmu(_) => map_samples(payload, coded, g711::ulaw_decode),
            DecoderState::Pcma(_) => map_samples(payload, coded, g711::alaw_decode),
            DecoderState::G722(state, _) => state.decode(payload, coded),
            DecoderState::Opus(_) => 0, // Returned above.
        };
        let written = match &mut self.bridge {
            None => decoded,
            Some(bridge) => bridge.convert_into(decoded, pcm),
        };
        if let Some(concealer) = self.state.concealer() {
            concealer.handle_frame(&mut pcm[..written]);
        }
        Ok(written)
    }

    /// Fills `pcm` with what a lost frame probably said.
    pub fn conceal(&mut self, pcm: &mut [i16]) {
        self.recover(None, pcm);
    }

    /// As [`Self::conceal`], with the payload after the lost one at hand: Opus carries a copy
    /// of the frame before in it. That payload is still to be decoded afterwards.
    pub fn recover(&mut self, next: Option<&[u8]>, pcm: &mut [i16]) {
        match &mut self.state {
            DecoderState::Pcmu(concealer)
            | DecoderState::Pcma(concealer)
            | DecoderState::G722(_, concealer) => concealer.conceal(pcm),
            DecoderState::Opus(state) => state.recover(next, pcm),
        }
    }
}

impl DecoderState {
    fn concealer(&mut self) -> Option<&mut Concealer> {
        match self {
            Self::Pcmu(concealer) | Self::Pcma(concealer) | Self::G722(_, concealer) => {
                Some(concealer)
            }
            Self::Opus(_) => None, // It conceals by itself.
        }
    }
}

/// Joins the caller's rate and the codec's.
#[derive(Debug)]
struct Bridge {
    resampler: Resampler,
    /// A frame at the codec's rate.
    scratch: Box<[i16]>,
}

impl Bridge {
    fn between(from: Rate, to: Rate) -> Result<Option<Self>, CodecError> {
        if from == to {
            return Ok(None);
        }
        let resampler = Resampler::new(from.hz(), to.hz())?;
        // No codec with a bridge is faster than 16 kHz; one sample is for a ragged frame.
        let scratch = vec![0; Rate::Khz16.samples(FRAME_MS_MAX) + 1].into();
        Ok(Some(Self { resampler, scratch }))
    }

    /// Into the scratch; what is longer than the longest frame is cut.
    fn convert(&mut self, pcm: &[i16]) -> &[i16] {
        let progress = self.resampler.process(pcm, &mut self.scratch);
        &self.scratch[..progress.written]
    }

    /// From the scratch.
    fn convert_into(&mut self, samples: usize, pcm: &mut [i16]) -> usize {
        self.resampler.process(&self.scratch[..samples], pcm).written
    }
}

fn map(pcm: &[i16], payload: &mut [u8], encode: fn(i16) -> u8) {
    for (sample, byte) in pcm.iter().zip(payload) {
        *byte = encode(*sample);
    }
}

fn map_samples(payload: &[u8], pcm: &mut [i16], decode: fn(u8) -> i16) -> usize {
    for (byte, sample) in payload.iter().zip(&mut *pcm) {
        *sample = decode(*byte);
    }
    payload.len().min(pcm.len())
}

#[cfg(test)]
mod tests;
