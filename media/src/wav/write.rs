//! The headers of PCM16 files: of plain ones, and of the parts of a recording, which say where they
//! belong on the time line and can be repaired after a crash.

use std::io::Write as _;

/// The bytes before the samples of a plain file.
pub const HEADER_BYTES: usize = 44;

/// Bytes of the text that a part carries, padded with zeros.
const STAMP_BYTES: usize = 80;

/// The bytes before the samples of a part.
pub const PART_HEADER_BYTES: usize = HEADER_BYTES + 20 + STAMP_BYTES;

/// What a part says of itself, in an `ICMT` comment that players show or pass over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The node that wrote it.
    pub node: u64,
    /// The call's epoch.
    pub epoch: u32,
    /// When its first sample was heard, in Unix milliseconds.
    pub began_ms: u64,
}

/// A part, from its first bytes and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHeader {
    /// What it says of itself.
    pub stamp: Stamp,
    /// Samples a second of each channel.
    pub rate_hz: u32,
    /// Channels.
    pub channels: u16,
    /// Bytes of audio in whole frames that the file really holds.
    pub data_bytes: u64,
}

/// The header of a file with so many bytes of PCM16 behind it. A length past 4 GiB is written
/// as the most that the format can say.
pub fn header(rate_hz: u32, channels: u16, data_bytes: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    assemble(&mut header, (rate_hz, channels), data_bytes, &[]);
    header
}

/// As [`header`], with a comment for people and tools before the samples.
pub fn commented_header(rate_hz: u32, channels: u16, data_bytes: u64, comment: &str) -> Vec<u8> {
    let mut text = comment.as_bytes().to_vec();
    text.push(0);
    text.resize(text.len().next_multiple_of(2), 0);
    let mut header = vec![0; HEADER_BYTES + 20 + text.len()];
    assemble(&mut header, (rate_hz, channels), data_bytes, &text);
    header
}

/// The header of a part.
pub fn part_header(
    rate_hz: u32,
    channels: u16,
    data_bytes: u64,
    stamp: &Stamp,
) -> [u8; PART_HEADER_BYTES] {
    let Stamp { node, epoch, began_ms } = stamp;
    let mut text = [0; STAMP_BYTES];
    // The longest numbers make 79 bytes, so it fits.
    let _ = write!(&mut text[..], "tandem node={node} epoch={epoch} began_ms={began_ms}");
    let mut header = [0; PART_HEADER_BYTES];
    assemble(&mut header, (rate_hz, channels), data_bytes, &text);
    header
}

/// What a part is, from its beginning and the length of its file; none if it is no part, or too
/// little of one. The lengths in the header are not believed: a crash leaves them behind.
pub fn read_part(found: &[u8], file_bytes: u64) -> Option<PartHeader> {
    let found: &[u8; PART_HEADER_BYTES] = found.first_chunk()?;
    let channels = u16::from_le_bytes([found[22], found[23]]);
    let rate_hz = u32::from_le_bytes([found[24], found[25], found[26], found[27]]);
    if !(1..=8).contains(&channels) || rate_hz > 192_000 {
        return None;
    }
    let text = &found[HEADER_BYTES + 12..][..STAMP_BYTES];
    let stamp = read_stamp(std::str::from_utf8(text).ok()?.trim_end_matches('\0'))?;
    let frame_bytes = u64::from(channels) * 2;
    let data_bytes = file_bytes.checked_sub(PART_HEADER_BYTES as u64)? / frame_bytes * frame_bytes;
    let right = part_header(rate_hz, channels, data_bytes, &stamp);
    let lengths = [4..8, PART_HEADER_BYTES - 4..PART_HEADER_BYTES];
    let differs = (0..right.len())
        .any(|at| right[at] != found[at] && !lengths.iter().any(|l| l.contains(&at)));
    (!differs).then_some(PartHeader { stamp, rate_hz, channels, data_bytes })
}

impl PartHeader {
    /// The header that the file should have.
    pub fn bytes(&self) -> [u8; PART_HEADER_BYTES] {
        part_header(self.rate_hz, self.channels, self.data_bytes, &self.stamp)
    }

    /// The length that the file should have: a torn frame at its end is no audio.
    pub fn file_bytes(&self) -> u64 {
        PART_HEADER_BYTES as u64 + self.data_bytes
    }
}

fn read_stamp(text: &str) -> Option<Stamp> {
    let mut words = text.strip_prefix("tandem node=")?.split(' ');
    let node = words.next()?.parse().ok()?;
    let epoch = words.next()?.strip_prefix("epoch=")?.parse().ok()?;
    let began_ms = words.next()?.strip_prefix("began_ms=")?.parse().ok()?;
    words.next().is_none().then_some(Stamp { node, epoch, began_ms })
}

/// Fills `header`, which has room for exactly this. Recordings come here once a second, so nothing
/// is allocated.
fn assemble(header: &mut [u8], (rate_hz, channels): (u32, u16), data_bytes: u64, comment: &[u8]) {
    let frame_bytes = channels * 2;
    let list = if comment.is_empty() { 0 } else { 20 + comment.len() };
    let before = 36 + list as u32;
    let data = data_bytes.min(u64::from(u32::MAX - before)) as u32;
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&(data + before).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    put(&1_u16.to_le_bytes()); // PCM
    put(&channels.to_le_bytes());
    put(&rate_hz.to_le_bytes());
    put(&(rate_hz * u32::from(frame_bytes)).to_le_bytes());
    put(&frame_bytes.to_le_bytes());
    put(&16_u16.to_le_bytes());
    if !comment.is_empty() {
        put(b"LIST");
        put(&(12 + comment.len() as u32).to_le_bytes());
        put(b"INFOICMT");
        put(&(comment.len() as u32).to_le_bytes());
        put(comment);
    }
    put(b"data");
    put(&data.to_le_bytes());
}
