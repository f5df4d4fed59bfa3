//! Prompts and music: PCM kept once, encoded once for each codec.
//!
//! A clip is shared by all calls that play it. Before it is played on a codec it is prepared
//! for it, away from the packet path; from then on sending a frame is copying bytes.

use crate::codec::{CodecError, CodecKind, Encoder};
use crate::frame::{FRAME_MS, FRAME_SAMPLES_8K, PAYLOAD_BYTES_MAX, Rate};
use crate::tone::{Country, Signal, Tone};
use crate::wav::{self, WavError};
use std::sync::{Arc, OnceLock};

/// The longest clip. Half an hour of music is 29 MB of PCM, and the codecs' copies on top;
/// what is longer is refused where it is loaded.
pub const CLIP_MS_MAX: u32 = 30 * 60 * 1_000;

/// Audio to play: 8 kHz, mono. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Clip {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Whole frames; the last one ends in silence.
    pcm: Box<[i16]>,
    /// By the order of [`CodecKind::ALL`].
    encoded: [OnceLock<Frames>; CodecKind::ALL.len()],
}

/// Why a clip was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// Nothing to play.
    #[error("the clip is empty")]
    Empty,
    /// Longer than [`CLIP_MS_MAX`].
    #[error("the clip lasts {ms} ms, at most {ms_max} are taken")]
    TooLong {
        /// Its length.
        ms: u64,
        /// The bound.
        ms_max: u32,
    },
    /// The file is no WAV that we read.
    #[error(transparent)]
    Wav(#[from] WavError),
}

impl Clip {
    /// A clip of 8 kHz PCM.
    pub fn from_pcm(pcm: &[i16]) -> Result<Self, ClipError> {
        if pcm.is_empty() {
            return Err(ClipError::Empty);
        }
        let ms = pcm.len() as u64 / 8;
        if ms > u64::from(CLIP_MS_MAX) {
            return Err(ClipError::TooLong { ms, ms_max: CLIP_MS_MAX });
        }
        let mut whole = pcm.to_vec();
        whole.resize(pcm.len().next_multiple_of(FRAME_SAMPLES_8K), 0);
        let inner = Inner { pcm: whole.into(), encoded: Default::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A clip of a WAV file's bytes, mixed to mono and converted to 8 kHz.
    pub fn from_wav(file: &[u8]) -> Result<Self, ClipError> {
        let audio = wav::read(file)?;
        let ms = audio.frames() as u64 * 1_000 / u64::from(audio.rate_hz());
        if ms > u64::from(CLIP_MS_MAX) {
            return Err(ClipError::TooLong { ms, ms_max: CLIP_MS_MAX });
        }
        Self::from_pcm(&audio.to_mono(Rate::Khz8)?)
    }

    /// One period of a call progress tone, to be played repeatedly. Where a period is no
    /// whole number of frames, several of them.
    pub fn from_tone(signal: Signal, country: Country) -> Self {
        let mut tone = Tone::new(signal, country, Rate::Khz8);
        let period = tone.period_samples();
        let mut samples = period;
        while !samples.is_multiple_of(FRAME_SAMPLES_8K) {
            samples += period;
        }
        let mut pcm = vec![0; samples];
        tone.fill(&mut pcm);
        Self::from_pcm(&pcm).expect("a period of a tone lasts seconds, not minutes")
    }

    /// The length in frames of 20 ms.
    pub fn frame_count(&self) -> usize {
        self.inner.pcm.len() / FRAME_SAMPLES_8K
    }

    /// The length in milliseconds.
    pub fn ms(&self) -> u32 {
        self.frame_count() as u32 * FRAME_MS
    }

    /// All samples, 8 kHz.
    pub fn pcm(&self) -> &[i16] {
        &self.inner.pcm
    }

    /// The samples of one frame, 8 kHz.
    pub fn pcm_frame(&self, number: usize) -> Option<&[i16]> {
        self.inner.pcm.chunks_exact(FRAME_SAMPLES_8K).nth(number)
    }

    /// Encodes the clip for a codec unless that is done. Takes milliseconds for each minute of
    /// audio in G.711, about half a second in Opus: not for the packet path.
    pub fn prepare(&self, kind: CodecKind) -> Result<(), CodecError> {
        let slot = self.slot(kind);
        if slot.get().is_none() {
            // Two callers at once encode twice and keep one: harmless, and without a lock.
            let _ = slot.set(Frames::encode(kind, &self.inner.pcm)?);
        }
        Ok(())
    }

    /// The payloads for a codec, if the clip was prepared for it.
    pub fn frames(&self, kind: CodecKind) -> Option<&Frames> {
        self.slot(kind).get()
    }

    fn slot(&self, kind: CodecKind) -> &OnceLock<Frames> {
        let index = CodecKind::ALL.iter().position(|other| *other == kind);
        &self.inner.encoded[index.expect("ALL holds every codec")]
    }
}

/// Two clips are equal if they are the same one, not if they sound the same.
impl PartialEq for Clip {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Clip {}

/// The payloads of a clip in one codec.
#[derive(Clone, Debug)]
pub struct Frames {
    bytes: Box<[u8]>,
    /// Where each payload ends.
    ends: Box<[u32]>,
}

impl Frames {
    fn encode(kind: CodecKind, pcm: &[i16]) -> Result<Self, CodecError> {
        let mut encoder = Encoder::new(kind, Rate::Khz8)?;
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for frame in pcm.chunks_exact(FRAME_SAMPLES_8K) {
            let written = encoder.encode(frame, &mut payload)?;
            bytes.extend_from_slice(&payload[..written]);
            // Half an hour of the longest payloads is 115 MB, well within 32 bits.
            ends.push(bytes.len() as u32);
        }
        Ok(Self { bytes: bytes.into(), ends: ends.into() })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The payload of a frame.
    pub fn get(&self, number: usize) -> Option<&[u8]> {
        let end = *self.ends.get(number)? as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.bytes.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Decoder;
    use crate::testing;

    #[test]
    fn a_prepared_clip_plays_what_was_put_in_on_every_codec() {
        let pcm = testing::Signal::rate(8_000).voice(130.0, 9_000.0).seconds(1.0);
        let clip = Clip::from_pcm(&pcm).unwrap();
        for kind in CodecKind::ALL {
            assert!(clip.frames(kind).is_none());
            clip.prepare(kind).unwrap();
            let frames = clip.frames(kind).unwrap();
            assert_eq!((frames.count(), frames.get(50)), (50, None));
            let mut decoder = Decoder::new(kind, Rate::Khz8).unwrap();
            let mut heard = vec![0; pcm.len()];
            for (number, out) in heard.chunks_exact_mut(160).enumerate() {
                decoder.decode(frames.get(number).unwrap(), out).unwrap();
            }
            let alike = (0..200)
                .map(|delay| testing::correlation(&pcm[..7_000], &heard[delay..][..7_000]))
                .fold(-1.0, f64::max);
            assert!(alike > 0.95, "{kind}: {alike}");
        }
    }

    #[test]
    fn a_wav_file_of_any_rate_becomes_a_clip_and_garbage_does_not() {
        let pcm = testing::Signal::rate(16_000).tone(500.0, 9_000.0).seconds(1.0);
        let mut file = wav::header(16_000, 1, pcm.len() as u64 * 2).to_vec();
        file.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes()));
        assert_eq!(Clip::from_wav(&file).unwrap().ms(), 1_000);
        let empty = wav::header(16_000, 1, 0);
        assert_eq!(Clip::from_wav(&empty).unwrap_err(), ClipError::Empty);
        let garbage = Clip::from_wav(b"#!/bin/sh").unwrap_err();
        assert_eq!(garbage, ClipError::Wav(WavError::NotWave));
    }

    #[test]
    fn the_last_frame_ends_in_silence() {
        let clip = Clip::from_pcm(&[1_000; 200]).unwrap();
        assert_eq!((clip.frame_count(), clip.ms()), (2, 40));
        assert_eq!(clip.pcm_frame(1).unwrap()[40..], [0; 120]);
        assert_eq!(clip.pcm_frame(2), None);
    }

    #[test]
    fn a_clip_of_nothing_or_of_hours_is_refused() {
        assert_eq!(Clip::from_pcm(&[]).unwrap_err(), ClipError::Empty);
        let hours = vec![0; CLIP_MS_MAX as usize * 8 + 8];
        assert_eq!(
            Clip::from_pcm(&hours).unwrap_err(),
            ClipError::TooLong { ms: u64::from(CLIP_MS_MAX) + 1, ms_max: CLIP_MS_MAX }
        );
    }

    #[test]
    fn a_tone_clip_loops_without_a_seam() {
        let clip = Clip::from_tone(Signal::Busy, Country::Cn); // 700 ms: 35 frames.
        assert_eq!(clip.ms(), 700);
        let clip = Clip::from_tone(Signal::Congestion, Country::Us); // 500 ms.
        assert_eq!(clip.ms(), 500);
    }

    #[test]
    fn clones_share_what_was_encoded() {
        let clip = Clip::from_tone(Signal::Dial, Country::Eu);
        let other = clip.clone();
        clip.prepare(CodecKind::Pcma).unwrap();
        assert!(other.frames(CodecKind::Pcma).is_some());
        assert!(clip == other && clip != Clip::from_tone(Signal::Dial, Country::Eu));
    }
}
