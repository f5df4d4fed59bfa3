//! Opus by libopus, set up for speech between telephones and browsers (RFC 6716, RFC 7587).
//!
//! libopus converts to and from any of our rates itself, so no resampler is before or behind
//! it. On the wire the clock is 48 kHz whatever the rate here (RFC 7587 §4.1).

use super::{CodecError, DecodeError};
use crate::frame::{FRAME_MS_MAX, Rate};
use std::fmt;

/// Wide-band speech is transparent to most listeners from here on (RFC 7587 §3.1.1 names
/// 16–20 kbit/s); with forward error correction on top.
const BITS_A_SECOND: i32 = 24_000;
/// Of 0–10. 5 sounds the same as 10 at this rate and costs about half.
const COMPLEXITY: i32 = 5;
/// The loss that we prepare for, in percent: it decides how much goes into forward error
/// correction. Below 5 libopus leaves it out at this rate.
const LOSS_PERCENT: i32 = 10;

/// The encoder of one stream.
pub(super) struct Encoder {
    inner: opus::Encoder,
}

impl Encoder {
    pub(super) fn new(rate: Rate) -> Result<Self, CodecError> {
        let mut inner =
            opus::Encoder::new(rate.hz(), opus::Channels::Mono, opus::Application::Voip)?;
        inner.set_bitrate(opus::Bitrate::Bits(BITS_A_SECOND))?;
        inner.set_complexity(COMPLEXITY)?;
        inner.set_inband_fec(true)?;
        inner.set_packet_loss_perc(LOSS_PERCENT)?;
        inner.set_signal(opus::Signal::Voice)?;
        Ok(Self { inner })
    }

    /// Encodes one frame of 2.5, 5, 10, 20, 40 or 60 ms; returns the bytes written.
    pub(super) fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> Result<usize, CodecError> {
        Ok(self.inner.encode(pcm, payload)?)
    }
}

/// The decoder of one stream.
pub(super) struct Decoder {
    inner: opus::Decoder,
    rate: Rate,
}

impl Decoder {
    pub(super) fn new(rate: Rate) -> Result<Self, CodecError> {
        Ok(Self { inner: opus::Decoder::new(rate.hz(), opus::Channels::Mono)?, rate })
    }

    /// Decodes one packet; returns the samples written.
    pub(super) fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, DecodeError> {
        let samples = self.inner.get_nb_samples(payload).map_err(|_| DecodeError::Corrupt)?;
        let samples_max = pcm.len().min(self.rate.samples(FRAME_MS_MAX));
        if samples > samples_max {
            return Err(DecodeError::TooLong { samples, samples_max });
        }
        self.inner.decode(payload, pcm, false).map_err(|_| DecodeError::Corrupt)
    }

    /// Fills `pcm`, the time of one lost packet, from the redundancy in the packet after it,
    /// or by libopus' concealment without one.
    pub(super) fn recover(&mut self, next: Option<&[u8]>, pcm: &mut [i16]) {
        let decoded = match next {
            Some(payload) if !payload.is_empty() => self.inner.decode(payload, pcm, true),
            Some(_) | None => self.inner.decode(&[], pcm, false),
        };
        let written = decoded.unwrap_or(0);
        pcm[written..].fill(0);
    }
}

impl From<opus::Error> for CodecError {
    fn from(error: opus::Error) -> Self {
        Self::Opus { what: error.description() }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("opus::Encoder")
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("opus::Decoder").field("rate", &self.rate).finish_non_exhaustive()
    }
}
