//! One file out of the parts of a recording: where each byte of it comes from.
//!
//! Parts lie on the time line of the first: where one begins later than the one before ended,
//! there is silence of that length, and the file's comment names it. A part of 8 kHz in a file of
//! 16 kHz is doubled. Only arithmetic; whoever serves the file reads the bytes.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_media::wav::{self, PART_HEADER_BYTES};

use super::part::Part;

/// Two channels of two bytes.
pub(super) const FRAME_BYTES: u64 = 4;

/// The longest silence that is put between two parts. A longer one is a clock that was set.
const SILENCE_MS_MAX: u64 = 24 * 3_600_000;

/// The lengths in a WAV header have 32 bits.
const AUDIO_BYTES_MAX: u64 = u32::MAX as u64 - (1 << 20);

/// Why nothing was recorded between two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The node that wrote died, and another one took the call over.
    Takeover,
    /// The call was not recorded, or its node was restarted.
    Pause,
    /// A part is lost: the node that had it is not a member of the cluster any more.
    Lost,
}

/// Silence that stands for what was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// Where it begins in the joined file.
    pub at_ms: u64,
    /// How long it is.
    pub length_ms: u64,
    /// Why.
    pub reason: GapReason,
}

/// Where a piece of the joined file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The header of the joined file.
    Header(Vec<u8>),
    /// So many bytes of zeros.
    Silence(u64),
    /// Bytes of audio from behind the header of a part, by its position among the parts.
    Audio {
        /// Which part.
        part: usize,
        /// Bytes of audio in it, whole frames.
        bytes: u64,
        /// Each frame stands for two.
        is_doubled: bool,
    },
}

impl Piece {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Header(bytes) => bytes.len() as u64,
            Self::Silence(bytes) => *bytes,
            Self::Audio { bytes, is_doubled, .. } => bytes << u32::from(*is_doubled),
        }
    }
}

/// How the joined file is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) pieces: Vec<Piece>,
    pub(super) gaps: Vec<Gap>,
    pub(super) rate_hz: u32,
    pub(super) bytes: u64,
}

impl Layout {
    /// Joins the parts, which are in their order. Those at the positions in `lost` have no bytes
    /// any more: silence stands for them.
    pub(super) fn of(parts: &[Part], lost: &[usize]) -> Self {
        let present = || (0..parts.len()).filter(|at| !lost.contains(at));
        let rate_hz = present().map(|at| parts[at].rate_hz).max().unwrap_or(8_000);
        let began_ms = present().map(|at| parts[at].began_ms).next().unwrap_or_default();
        let (mut pieces, mut gaps, mut audio) = (Vec::new(), Vec::new(), 0);
        let mut before: Option<usize> = None;
        for at in present() {
            let part = &parts[at];
            let offset_ms = part.began_ms.saturating_sub(began_ms);
            let due = (offset_ms * u64::from(rate_hz) / 1_000).saturating_mul(FRAME_BYTES);
            let silence_max = SILENCE_MS_MAX * u64::from(rate_hz) / 1_000 * FRAME_BYTES;
            let room = AUDIO_BYTES_MAX.saturating_sub(audio) / FRAME_BYTES * FRAME_BYTES;
            let silence = due.saturating_sub(audio).min(silence_max).min(room);
            let ms = |bytes: u64| bytes / FRAME_BYTES * 1_000 / u64::from(rate_hz);
            if let (Some(before), true) = (before, silence > 0) {
                let reason = if (before + 1..at).any(|between| lost.contains(&between)) {
                    GapReason::Lost
                } else if parts[before].id.epoch == part.id.epoch {
                    GapReason::Pause
                } else {
                    GapReason::Takeover
                };
                gaps.push(Gap { at_ms: ms(audio), length_ms: ms(silence), reason });
                pieces.push(Piece::Silence(silence));
                audio += silence;
            }
            let is_doubled = part.rate_hz * 2 == rate_hz;
            let held = part.bytes.saturating_sub(PART_HEADER_BYTES as u64);
            let room = AUDIO_BYTES_MAX.saturating_sub(audio) >> u32::from(is_doubled);
            let bytes = held.min(room) / FRAME_BYTES * FRAME_BYTES;
            let piece = Piece::Audio { part: at, bytes, is_doubled };
            audio += piece.bytes();
            pieces.push(piece);
            before = Some(at);
        }
        let header = wav::commented_header(rate_hz, 2, audio, &comment(began_ms, &gaps));
        let bytes = header.len() as u64 + audio;
        pieces.insert(0, Piece::Header(header));
        Self { pieces, gaps, rate_hz, bytes }
    }

    /// The piece at an offset of the joined file, and how far into it that is.
    pub(super) fn piece(&self, at: u64) -> Option<(&Piece, u64)> {
        let mut begin = 0;
        for piece in &self.pieces {
            let end = begin + piece.bytes();
            if at < end {
                return Some((piece, at - begin));
            }
            begin = end;
        }
        None
    }
}

fn comment(began_ms: u64, gaps: &[Gap]) -> String {
    let mut text = format!("tandem began_ms={began_ms}");
    for Gap { at_ms, length_ms, reason } in gaps {
        let reason = match reason {
            GapReason::Takeover => "takeover",
            GapReason::Pause => "pause",
            GapReason::Lost => "lost",
        };
        text.push_str(&format!(" gap={at_ms}+{length_ms}:{reason}"));
    }
    text
}

/// The frames of a part that are needed for bytes of a piece made by doubling: one more than what
/// is covered, for the middle between the last two.
pub(super) fn frames_to_double(bytes: &Range<u64>) -> Range<u64> {
    let frames = bytes.start / FRAME_BYTES..bytes.end.div_ceil(FRAME_BYTES);
    frames.start / 2..frames.end.div_ceil(2) + 1
}

/// Those bytes, from the audio of [`frames_to_double`]. At the end of a part the last frame stands
/// twice.
pub(super) fn double(bytes: &Range<u64>, audio: &[u8]) -> Vec<u8> {
    let first = frames_to_double(bytes).start;
    let sample = |frame: u64, channel: usize| {
        let frame = (frame.saturating_sub(first) as usize).min((audio.len() / 4).saturating_sub(1));
        let at = frame * 4 + channel * 2;
        audio.get(at..at + 2).map_or(0, |bytes| i16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let frames = bytes.start / FRAME_BYTES..bytes.end.div_ceil(FRAME_BYTES);
    let skipped = (bytes.start - frames.start * FRAME_BYTES) as usize;
    let mut doubled = Vec::with_capacity(((frames.end - frames.start) * FRAME_BYTES) as usize);
    for frame in frames {
        for channel in [0, 1] {
            let here = sample(frame / 2, channel);
            let value = if frame % 2 == 0 {
                here
            } else {
                let next = sample(frame / 2 + 1, channel);
                ((i32::from(here) + i32::from(next)) / 2) as i16
            };
            doubled.extend_from_slice(&value.to_le_bytes());
        }
    }
    doubled.drain(..skipped);
    doubled.truncate((bytes.end - bytes.start) as usize);
    doubled
}
