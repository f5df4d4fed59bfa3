//! Reading a WAV file that someone made somewhere: PCM, A-law and µ-law, any usual rate.
//!
//! Garbage is refused with a reason. A data chunk that claims more than the file holds, as
//! players leave it after a crash, is read as far as it goes.

use crate::codec::g711;
use crate::frame::{Rate, saturate};
use crate::resample::{Resampler, UnsupportedRates};

/// The largest file that is read: 23 minutes of 48 kHz stereo, and no prompt is like that. A
/// larger one is refused and should be converted first.
pub const FILE_BYTES_MAX: usize = 128 << 20;
/// Channels that are mixed down.
const CHANNELS_MAX: u16 = 8;
const HZ: std::ops::RangeInclusive<u32> = 4_000..=192_000;
/// Chunks before the data that are skipped: enough for tags of any tool.
const CHUNKS_MAX: usize = 64;

/// Why a file was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// Longer than [`FILE_BYTES_MAX`].
    #[error("the file has {bytes} bytes, at most {bytes_max} are read")]
    TooLarge {
        /// The file's length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// No `RIFF` … `WAVE` at the start.
    #[error("not a WAV file: it does not begin with RIFF and WAVE")]
    NotWave,
    /// The file ends, or the chunks never do, before this one.
    #[error("no {chunk:?} chunk")]
    Missing {
        /// `fmt ` or `data`.
        chunk: &'static str,
    },
    /// A coding that is not read.
    #[error(
        "format {tag:#06x} with {bits} bits is not read: PCM with 8, 16, 24 or 32, A-law, µ-law are"
    )]
    Format {
        /// The format tag.
        tag: u16,
        /// Bits a sample.
        bits: u16,
    },
    /// A number of channels that is not read.
    #[error("{channels} channels, 1 to 8 are read")]
    Channels {
        /// What the file says.
        channels: u16,
    },
    /// A rate that is not read.
    #[error("{hz} samples a second, 4,000 to 192,000 are read")]
    Hz {
        /// What the file says.
        hz: u32,
    },
    /// A rate that cannot be converted to the wanted one.
    #[error(transparent)]
    Rates(#[from] UnsupportedRates),
}

/// The audio of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    rate_hz: u32,
    channels: usize,
    /// Channels interleaved; a whole number of frames.
    samples: Vec<i16>,
}

#[derive(Clone, Copy, Debug)]
enum Coding {
    U8,
    S16,
    S24,
    S32,
    Alaw,
    Ulaw,
}

impl Coding {
    fn of(tag: u16, bits: u16) -> Result<Self, WavError> {
        match (tag, bits) {
            (1, 8) => Ok(Self::U8),
            (1, 16) => Ok(Self::S16),
            (1, 24) => Ok(Self::S24),
            (1, 32) => Ok(Self::S32),
            (6, 8) => Ok(Self::Alaw),
            (7, 8) => Ok(Self::Ulaw),
            _ => Err(WavError::Format { tag, bits }),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::Alaw | Self::Ulaw => 1,
            Self::S16 => 2,
            Self::S24 => 3,
            Self::S32 => 4,
        }
    }

    /// The sample in exactly [`Self::bytes`] bytes.
    fn sample(self, bytes: &[u8]) -> i16 {
        match self {
            Self::U8 => i16::from(bytes[0] ^ 0x80) << 8,
            Self::Alaw => g711::alaw_decode(bytes[0]),
            Self::Ulaw => g711::ulaw_decode(bytes[0]),
            // The two most significant bytes come last.
            Self::S16 | Self::S24 | Self::S32 => {
                i16::from_le_bytes([bytes[bytes.len() - 2], bytes[bytes.len() - 1]])
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Format {
    coding: Coding,
    channels: u16,
    hz: u32,
}

/// Reads a whole file.
pub fn read(file: &[u8]) -> Result<Audio, WavError> {
    let bytes = file.len();
    if bytes > FILE_BYTES_MAX {
        return Err(WavError::TooLarge { bytes, bytes_max: FILE_BYTES_MAX });
    }
    if file.get(..4) != Some(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
        return Err(WavError::NotWave);
    }
    let mut rest = &file[12..];
    let mut format = None;
    for _ in 0..CHUNKS_MAX {
        let Some((head, after)) = rest.split_at_checked(8) else { break };
        let claimed = u32_at(head, 4) as usize;
        let body = &after[..claimed.min(after.len())];
        match &head[..4] {
            b"fmt " => format = Some(read_format(body)?),
            b"data" => {
                let format = format.ok_or(WavError::Missing { chunk: "fmt " })?;
                return Ok(decode(format, body));
            }
            _ => {}
        }
        // Chunks begin at even offsets.
        rest = after.get(claimed.next_multiple_of(2)..).unwrap_or_default();
    }
    Err(WavError::Missing { chunk: if format.is_some() { "data" } else { "fmt " } })
}

fn read_format(body: &[u8]) -> Result<Format, WavError> {
    if body.len() < 16 {
        return Err(WavError::Missing { chunk: "fmt " });
    }
    let (tag, channels, hz, bits) =
        (u16_at(body, 0), u16_at(body, 2), u32_at(body, 4), u16_at(body, 14));
    // WAVE_FORMAT_EXTENSIBLE: the tag proper is the start of the sub-format.
    let tag = if tag == 0xFFFE && body.len() >= 26 { u16_at(body, 24) } else { tag };
    if !(1..=CHANNELS_MAX).contains(&channels) {
        return Err(WavError::Channels { channels });
    }
    if !HZ.contains(&hz) {
        return Err(WavError::Hz { hz });
    }
    Ok(Format { coding: Coding::of(tag, bits)?, channels, hz })
}

fn decode(format: Format, data: &[u8]) -> Audio {
    let channels = usize::from(format.channels);
    let frame_bytes = format.coding.bytes() * channels;
    let whole = data.len() / frame_bytes * frame_bytes;
    let samples = data[..whole]
        .chunks_exact(format.coding.bytes())
        .map(|bytes| format.coding.sample(bytes))
        .collect();
    Audio { rate_hz: format.hz, channels, samples }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Audio {
    /// Samples a second.
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// How many channels are interleaved.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Samples of each channel.
    pub fn frames(&self) -> usize {
        self.samples.len() / self.channels
    }

    /// All samples, channels interleaved.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// The samples of one channel, from 0.
    pub fn channel(&self, number: usize) -> impl Iterator<Item = i16> + '_ {
        self.samples.iter().skip(number).step_by(self.channels).copied()
    }

    /// The mean of all channels, at a rate of ours.
    pub fn to_mono(&self, rate: Rate) -> Result<Vec<i16>, WavError> {
        let mono: Vec<i16> = self
            .samples
            .chunks_exact(self.channels)
            .map(|frame| {
                let sum: i32 = frame.iter().map(|sample| i32::from(*sample)).sum();
                saturate(sum / self.channels as i32)
            })
            .collect();
        if self.rate_hz == rate.hz() {
            return Ok(mono);
        }
        let mut resampler = Resampler::new(self.rate_hz, rate.hz())?;
        let mut out = vec![0; resampler.output_samples_max(mono.len())];
        let progress = resampler.process(&mono, &mut out);
        out.truncate(progress.written);
        Ok(out)
    }
}
