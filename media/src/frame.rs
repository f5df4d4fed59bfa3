//! The units of audio: sample rates and frames.
//!
//! A frame is what one packet carries, 20 ms unless the peer chose otherwise. Buffers of one
//! frame are sized here once, so that nothing on the packet path allocates.

/// The length of a frame that we send.
pub const FRAME_MS: u32 = 20;

/// The longest frame that we take from a peer: Opus allows 120 ms (RFC 6716 §2.1.4), and no
/// G.711 peer is known to send more than 60 ms. What is longer is refused by the decoder.
pub const FRAME_MS_MAX: u32 = 120;

/// The samples of the longest frame at the highest rate.
pub const FRAME_SAMPLES_MAX: usize = 48 * FRAME_MS_MAX as usize;

/// The samples of one of our frames at 8 kHz.
pub const FRAME_SAMPLES_8K: usize = 160;

/// The bytes of the longest payload that an [`crate::codec::Encoder`] writes: libopus' own
/// recommendation for a frame (RFC 6716 §3.4 bounds one at 1,275 bytes). G.711 at 120 ms needs
/// 960.
pub const PAYLOAD_BYTES_MAX: usize = 1_275;

/// A sample rate at which PCM passes through a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// 8,000 samples a second: the telephone's.
    Khz8,
    /// 16,000 samples a second: G.722's, and what speech recognition wants.
    Khz16,
    /// 48,000 samples a second: the browser's.
    Khz48,
}

impl Rate {
    /// Samples a second.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Khz8 => 8_000,
            Self::Khz16 => 16_000,
            Self::Khz48 => 48_000,
        }
    }

    /// The samples of `ms` milliseconds.
    pub const fn samples(self, ms: u32) -> usize {
        (self.hz() / 1_000 * ms) as usize
    }

    /// The samples of one of our frames, of 20 ms.
    pub const fn frame_samples(self) -> usize {
        self.samples(FRAME_MS)
    }
}

/// Brings a sum or a filter's output back into the range of a sample.
pub(crate) fn saturate(value: i32) -> i16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// As [`saturate`], rounding to the nearest.
pub(crate) fn saturate_f32(value: f32) -> i16 {
    // `as` saturates and turns a NaN into 0.
    value.round_ties_even() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_at_each_rate_is_20_ms() {
        assert_eq!(
            [Rate::Khz8, Rate::Khz16, Rate::Khz48].map(Rate::frame_samples),
            [160, 320, 960]
        );
        assert_eq!(FRAME_SAMPLES_MAX, Rate::Khz48.samples(FRAME_MS_MAX));
    }

    #[test]
    fn samples_saturate_instead_of_wrapping() {
        assert_eq!([saturate(40_000), saturate(-40_000), saturate(5)], [i16::MAX, i16::MIN, 5]);
        assert_eq!(
            [saturate_f32(1e9), saturate_f32(-1e9), saturate_f32(f32::NAN)],
            [i16::MAX, i16::MIN, 0]
        );
    }
}
