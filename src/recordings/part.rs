//! The parts of recordings: how they are named, and what nodes tell each other of them.
//!
//! The node that owns a call in epoch E writes `<recording>.<E>.wav`. When it stops and begins
//! again in the same epoch (the caller went back to a queue, the process was restarted), the next
//! file is `<recording>.<E>.2.wav`. So no two nodes ever write the same name.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tandem_center::RecordingId;
use tandem_media::wav::PART_HEADER_BYTES;
use thiserror::Error;

/// Bytes of the name of a recording.
const NAME_BYTES_MAX: usize = 64;

/// Which part. Its order is that of the time line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PartId {
    /// The recording.
    pub recording: Arc<str>,
    /// The epoch of the call in which it was written.
    pub epoch: u32,
    /// Which of the epoch, from 1.
    pub number: u32,
}

/// Not the name of a part.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not the name of a part of a recording")]
pub struct NotAPart(String);

impl PartId {
    /// The first part of an epoch.
    pub fn first(recording: &RecordingId, epoch: u32) -> Self {
        Self { recording: Arc::clone(&recording.0), epoch, number: 1 }
    }

    /// The part that a file is, by its name. Nothing in it leads to another folder.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(file: &str) -> Result<Self, NotAPart> {
        let read = || {
            let mut words = file.strip_suffix(".wav")?.split('.');
            let (recording, epoch) = (words.next()?, words.next()?.parse().ok()?);
            let number = words.next().map_or(Some(1), |number| number.parse().ok())?;
            let is_name = (1..=NAME_BYTES_MAX).contains(&recording.len())
                && recording.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            let id = Self { recording: recording.into(), epoch, number };
            // One part has one name.
            (is_name && words.next().is_none() && id.to_string() == file).then_some(id)
        };
        read().ok_or_else(|| NotAPart(file.to_owned()))
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recording, epoch, number } = self;
        match number {
            1 => write!(f, "{recording}.{epoch}.wav"),
            _ => write!(f, "{recording}.{epoch}.{number}.wav"),
        }
    }
}

impl From<PartId> for String {
    fn from(id: PartId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for PartId {
    type Error = NotAPart;

    fn try_from(file: String) -> Result<Self, NotAPart> {
        Self::parse(&file)
    }
}

/// What is known of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which.
    pub id: PartId,
    /// The node that writes or wrote it.
    pub node: u64,
    /// When its first sample was heard, in Unix milliseconds.
    pub began_ms: u64,
    /// Samples a second of each of its two channels.
    pub rate_hz: u32,
    /// Bytes of the file; of one that is still written, what is there.
    pub bytes: u64,
    /// The checksum of the file in hexadecimal, once it is complete.
    pub sha256: Option<String>,
    /// The nodes that are known to have the file.
    pub places: BTreeSet<u64>,
}

impl Part {
    /// How long it is, as far as it is written.
    pub fn length_ms(&self) -> u64 {
        let frames = self.bytes.saturating_sub(PART_HEADER_BYTES as u64) / 4;
        frames * 1_000 / u64::from(self.rate_hz.max(1))
    }

    /// Takes over what another node knows of the same part: the complete beats the begun.
    pub fn learn(&mut self, other: Self) {
        self.places.extend(&other.places);
        if self.sha256.is_none() && (other.sha256.is_some() || other.bytes > self.bytes) {
            let places = std::mem::take(&mut self.places);
            *self = Self { places, ..other };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_one_name_and_each_name_one_part() {
        let first = PartId::first(&RecordingId("00ab".into()), 0);
        assert_eq!(first.to_string(), "00ab.0.wav");
        for name in ["00ab.0.wav", "00ab.12.wav", "00ab.12.2.wav", "a_b-c.4294967295.wav"] {
            assert_eq!(PartId::parse(name).unwrap().to_string(), name);
        }
        for name in [
            "",
            "00ab.wav",
            "00ab.0",
            "00ab.00.wav",
            "00ab.0.1.wav",
            "00ab.0.2.3.wav",
            ".0.wav",
            "../x.0.wav",
            "a/b.0.wav",
            "00ab.-1.wav",
            "00ab.+1.wav",
            "00ab.4294967296.wav",
        ] {
            assert_eq!(PartId::parse(name), Err(NotAPart(name.into())));
        }
        assert!(PartId::parse(&format!("{}.0.wav", "x".repeat(65))).is_err());
    }

    #[test]
    fn parts_are_ordered_by_epoch_and_number() {
        let mut names = ["r.10.wav", "r.2.2.wav", "r.2.10.wav", "r.2.wav"].map(PartId::parse);
        names.sort_by(|a, b| a.as_ref().unwrap().cmp(b.as_ref().unwrap()));
        let names = names.map(|id| id.unwrap().to_string());
        assert_eq!(names, ["r.2.wav", "r.2.2.wav", "r.2.10.wav", "r.10.wav"]);
    }
}
