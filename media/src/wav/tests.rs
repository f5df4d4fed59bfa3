//! Files that tools write, files that crashes leave, and files that are none.

use super::*;
use crate::codec::g711;
use crate::frame::Rate;
use crate::testing::{Random, Signal, correlation};

/// A file of the chunks that a tool might write.
struct File {
    bytes: Vec<u8>,
}

impl File {
    fn new() -> Self {
        Self { bytes: b"RIFF\0\0\0\0WAVE".to_vec() }
    }

    fn chunk(mut self, name: &[u8; 4], body: &[u8]) -> Self {
        self.bytes.extend(name);
        self.bytes.extend((body.len() as u32).to_le_bytes());
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(2), 0);
        let riff = self.bytes.len() as u32 - 8;
        self.bytes[4..8].copy_from_slice(&riff.to_le_bytes());
        self
    }

    fn format(self, tag: u16, channels: u16, hz: u32, bits: u16) -> Self {
        self.chunk(b"fmt ", &format(tag, channels, hz, bits))
    }
}

fn format(tag: u16, channels: u16, hz: u32, bits: u16) -> Vec<u8> {
    let frame = channels.wrapping_mul(bits / 8);
    let mut body = Vec::new();
    body.extend(tag.to_le_bytes());
    body.extend(channels.to_le_bytes());
    body.extend(hz.to_le_bytes());
    body.extend(hz.wrapping_mul(u32::from(frame)).to_le_bytes());
    body.extend(frame.to_le_bytes());
    body.extend(bits.to_le_bytes());
    body
}

fn bytes_of(pcm: &[i16]) -> Vec<u8> {
    pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

#[test]
fn what_we_write_we_read() {
    let pcm = Signal::rate(8_000).noise(30_000.0, 1).seconds(0.1);
    let mut file = header(8_000, 2, pcm.len() as u64 * 2).to_vec();
    file.extend(bytes_of(&pcm));
    let audio = read(&file).unwrap();
    assert_eq!((audio.rate_hz(), audio.channels(), audio.frames()), (8_000, 2, 400));
    assert_eq!(audio.samples(), pcm);
    assert!(audio.channel(1).eq(pcm.iter().copied().skip(1).step_by(2)));
}

#[test]
fn every_coding_gives_the_same_audio() {
    let pcm = Signal::rate(8_000).voice(150.0, 12_000.0).seconds(0.5);
    let wide = |bytes: usize| -> Vec<u8> {
        pcm.iter()
            .flat_map(|sample| {
                let mut wide = vec![0x7F; bytes - 2];
                wide.extend(sample.to_le_bytes());
                wide
            })
            .collect()
    };
    let cases = [
        (1, 8, pcm.iter().map(|sample| (sample >> 8) as u8 ^ 0x80).collect()),
        (1, 16, wide(2)),
        (1, 24, wide(3)),
        (1, 32, wide(4)),
        (6, 8, pcm.iter().map(|sample| g711::alaw_encode(*sample)).collect::<Vec<u8>>()),
        (7, 8, pcm.iter().map(|sample| g711::ulaw_encode(*sample)).collect()),
    ];
    for (tag, bits, data) in cases {
        let file = File::new().format(tag, 1, 8_000, bits).chunk(b"data", &data);
        let audio = read(&file.bytes).unwrap();
        assert_eq!(audio.frames(), pcm.len(), "{tag} {bits}");
        assert!(correlation(audio.samples(), &pcm) > 0.998, "{tag} {bits}");
    }
}

#[test]
fn extensible_formats_odd_chunks_and_tags_before_the_data_are_read() {
    let mut body = format(0xFFFE, 1, 16_000, 16);
    body.extend([22, 0, 16, 0, 4, 0, 0, 0]); // Extension: size, bits, channel mask.
    body.extend(b"\x01\0\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71"); // PCM
    let file = File::new()
        .chunk(b"LIST", b"INFOodd")
        .chunk(b"fmt ", &body)
        .chunk(b"fact", &[0; 4])
        .chunk(b"data", &bytes_of(&[1, -2, 3]));
    assert_eq!(read(&file.bytes).unwrap().samples(), [1, -2, 3]);
}

#[test]
fn other_rates_and_channels_become_8_khz_mono() {
    for hz in [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000] {
        let pcm = Signal::rate(hz).tone(600.0, 9_000.0).seconds(1.0);
        let stereo: Vec<i16> = pcm.iter().flat_map(|sample| [*sample, 0]).collect();
        let file = File::new().format(1, 2, hz, 16).chunk(b"data", &bytes_of(&stereo));
        let mono = read(&file.bytes).unwrap().to_mono(Rate::Khz8).unwrap();
        assert!(mono.len().abs_diff(8_000) <= 1, "{hz}: {}", mono.len());
        let expected = Signal::rate(8_000).tone(600.0, 4_500.0).seconds(1.0);
        let alike = (0..40)
            .map(|delay| correlation(&expected[..7_900], &mono[delay..delay + 7_900]))
            .fold(-1.0, f64::max);
        assert!(alike > 0.99, "{hz}: {alike}");
    }
}

#[test]
fn a_data_chunk_that_claims_too_much_is_read_as_far_as_it_goes() {
    // As espeak-ng writes to a pipe, and as a crash leaves it.
    let mut file = File::new().format(1, 1, 22_050, 16).chunk(b"data", &bytes_of(&[7; 10])).bytes;
    file[40..44].copy_from_slice(&0x7FFF_F000_u32.to_le_bytes());
    file.push(9); // Half a sample.
    assert_eq!(read(&file).unwrap().samples(), [7; 10]);
}

#[test]
fn garbage_is_refused_with_a_reason() {
    let data = |file: File| file.chunk(b"data", &[0; 8]).bytes;
    let cases = [
        (Vec::new(), WavError::NotWave),
        (b"ID3\x04 an mp3 by another name".to_vec(), WavError::NotWave),
        (File::new().bytes, WavError::Missing { chunk: "fmt " }),
        (data(File::new()), WavError::Missing { chunk: "fmt " }),
        (data(File::new().chunk(b"fmt ", &[1, 0])), WavError::Missing { chunk: "fmt " }),
        (File::new().format(1, 1, 8_000, 16).bytes, WavError::Missing { chunk: "data" }),
        (data(File::new().format(2, 1, 8_000, 4)), WavError::Format { tag: 2, bits: 4 }),
        (data(File::new().format(3, 1, 8_000, 32)), WavError::Format { tag: 3, bits: 32 }),
        (data(File::new().format(1, 0, 8_000, 16)), WavError::Channels { channels: 0 }),
        (data(File::new().format(1, 99, 8_000, 16)), WavError::Channels { channels: 99 }),
        (data(File::new().format(1, 1, 0, 16)), WavError::Hz { hz: 0 }),
        (data(File::new().format(1, 1, 4_000_000, 16)), WavError::Hz { hz: 4_000_000 }),
    ];
    for (file, error) in cases {
        assert_eq!(read(&file), Err(error));
    }
    let bytes = FILE_BYTES_MAX + 1;
    let huge = vec![0; bytes];
    assert_eq!(read(&huge), Err(WavError::TooLarge { bytes, bytes_max: FILE_BYTES_MAX }));
    let odd = File::new().format(1, 1, 44_101, 16).chunk(b"data", &[0; 8]).bytes;
    assert!(matches!(read(&odd).unwrap().to_mono(Rate::Khz8), Err(WavError::Rates(_))));
}

#[test]
fn no_mutation_of_a_file_panics() {
    let pcm = Signal::rate(8_000).noise(20_000.0, 2).seconds(0.01);
    let whole = File::new()
        .chunk(b"LIST", b"INFO")
        .format(1, 2, 8_000, 16)
        .chunk(b"data", &bytes_of(&pcm))
        .bytes;
    let mut random = Random::new(77);
    let mut read_well = 0;
    for _ in 0..50_000 {
        let mut file = whole.clone();
        for _ in 0..1 + random.next() % 4 {
            let at = random.next() as usize % file.len().min(70);
            file[at] = random.next() as u8;
        }
        file.truncate(random.next() as usize % (file.len() * 2));
        if let Ok(audio) = read(&file) {
            read_well += usize::from(audio.to_mono(Rate::Khz8).is_ok());
        }
    }
    assert!(read_well > 1_000, "{read_well}");
}

#[test]
fn a_part_cut_anywhere_keeps_every_whole_frame_before_the_cut() {
    let stamp = Stamp { node: 2, epoch: 3, began_ms: 1_780_000_000_123 };
    let pcm = Signal::rate(8_000).noise(20_000.0, 3).seconds(0.05);
    // The header lags behind what was written, as it does when the power goes.
    let mut file = part_header(8_000, 2, 64, &stamp).to_vec();
    file.extend(bytes_of(&pcm));
    for cut in 0..=file.len() {
        let mut left = file[..cut].to_vec();
        let Some(part) = read_part(&left, cut as u64) else {
            assert!(cut < PART_HEADER_BYTES, "{cut}");
            continue;
        };
        assert_eq!(part.stamp, stamp);
        left.truncate(part.file_bytes() as usize);
        left[..PART_HEADER_BYTES].copy_from_slice(&part.bytes());
        let audio = read(&left).unwrap();
        let frames = (cut - PART_HEADER_BYTES) / 4;
        assert_eq!((audio.rate_hz(), audio.channels(), audio.frames()), (8_000, 2, frames));
        assert_eq!(audio.samples(), &pcm[..frames * 2]);
    }
}

#[test]
fn only_a_part_is_taken_for_one() {
    let stamp = Stamp { node: u64::MAX, epoch: u32::MAX, began_ms: u64::MAX };
    let right = part_header(8_000, 2, 32_000, &stamp);
    assert_eq!(read_part(&right, 144 + 32_000).unwrap().bytes(), right);
    assert_eq!(read_part(&[0; 144], 144 + 32_000), None);
    assert_eq!(read_part(&header(8_000, 2, 32_000), 44 + 32_000), None);
    let mut foreign = right;
    foreign[20] = 6; // A-law: not ours.
    assert_eq!(read_part(&foreign, 144 + 32_000), None);
}

#[test]
fn a_comment_is_passed_over_by_readers() {
    for comment in ["odd", "even", "a gap of 740 ms at 12,000 ms"] {
        let mut file = commented_header(16_000, 2, 8, comment);
        file.extend(bytes_of(&[1, 2, 3, 4]));
        assert_eq!(read(&file).unwrap().samples(), [1, 2, 3, 4]);
        assert_eq!(u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize, file.len() - 8);
    }
}

#[test]
fn a_length_past_4_gib_is_the_most_that_a_header_can_say() {
    let header = header(8_000, 2, 1 << 40);
    assert_eq!(header[4..8], u32::MAX.to_le_bytes());
    assert_eq!(header[40..44], (u32::MAX - 36).to_le_bytes());
}
