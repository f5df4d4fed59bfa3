//! The header of a PCM16 file, and its repair after a crash.

/// The bytes before the samples.
pub const HEADER_BYTES: usize = 44;

/// The header of a file with so many bytes of PCM16 behind it. A length past 4 GiB is written
/// as the most that the format can say.
pub fn header(rate_hz: u32, channels: u16, data_bytes: u64) -> [u8; HEADER_BYTES] {
    let frame_bytes = channels * 2;
    let data = data_bytes.min(u64::from(u32::MAX) - 36) as u32;
    let mut header = [0; HEADER_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&(data + 36).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    put(&1_u16.to_le_bytes()); // PCM
    put(&channels.to_le_bytes());
    put(&rate_hz.to_le_bytes());
    put(&(rate_hz * u32::from(frame_bytes)).to_le_bytes());
    put(&frame_bytes.to_le_bytes());
    put(&16_u16.to_le_bytes());
    put(b"data");
    put(&data.to_le_bytes());
    header
}

/// The header that a file of ours should have, from the one that it has and its length; none
/// if it is no file of ours or needs no repair. For files that a crash left behind.
pub fn repair(found: &[u8], file_bytes: u64) -> Option<[u8; HEADER_BYTES]> {
    let found: &[u8; HEADER_BYTES] = found.get(..HEADER_BYTES)?.try_into().ok()?;
    let channels = u16::from_le_bytes([found[22], found[23]]);
    let rate_hz = u32::from_le_bytes([found[24], found[25], found[26], found[27]]);
    if !(1..=8).contains(&channels) || rate_hz > 192_000 {
        return None;
    }
    let frame_bytes = u64::from(channels) * 2;
    let data = file_bytes.checked_sub(HEADER_BYTES as u64)? / frame_bytes * frame_bytes;
    let right = header(rate_hz, channels, data);
    let same_but_for_lengths = found[..4] == right[..4] && found[8..40] == right[8..40];
    (same_but_for_lengths && *found != right).then_some(right)
}
