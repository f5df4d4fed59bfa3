//! Recordings of calls over good and bad networks, and of calls that a crash ended.

use super::*;
use crate::testing::{Random, Signal, correlation};

const STAMP: wav::Stamp = wav::Stamp { node: 1, epoch: 0, began_ms: 1_780_000_000_000 };

const START_TIMESTAMP: u32 = 0xFFFF_F000; // Wraps in the first second.

/// A call that is recorded into a file in memory.
struct Call {
    recording: Recording,
    started: Instant,
    file: Vec<u8>,
    writes: usize,
}

impl Call {
    fn begins() -> Self {
        let started = Instant::now_for_tests();
        let mut call = Self {
            recording: Recording::new(Rate::Khz8, STAMP, started),
            started,
            file: Vec::new(),
            writes: 0,
        };
        call.drain();
        call
    }

    fn at(&self, ms: f64) -> Instant {
        self.started + Duration::from_micros((ms * 1_000.0) as u64)
    }

    fn hears(&mut self, ms: f64, side: Side, timestamp: Option<u32>, pcm: &[i16]) {
        let timestamp = timestamp.map(|value| Timestamp { value, clock_hz: 8_000 });
        let now = self.at(ms);
        self.recording.handle_frame(side, timestamp, pcm, now);
        self.drain();
    }

    fn waits_until(&mut self, ms: f64) {
        while let Some(due) = self.recording.poll_timeout().filter(|due| *due <= self.at(ms)) {
            self.recording.handle_timeout(due);
            self.drain();
        }
    }

    fn ends(mut self, ms: f64) -> wav::Audio {
        let now = self.at(ms);
        self.recording.finish(now);
        self.drain();
        assert_eq!(self.recording.poll_timeout(), None);
        wav::read(&self.file).unwrap()
    }

    fn drain(&mut self) {
        while let Some(write) = self.recording.poll_output() {
            let offset = write.offset as usize;
            assert!(offset <= self.file.len(), "audio comes without a gap");
            self.file.resize(self.file.len().max(offset + write.bytes.len()), 0xEE);
            self.file[offset..offset + write.bytes.len()].copy_from_slice(write.bytes);
            self.writes += 1;
        }
    }
}

trait ForTests {
    fn now_for_tests() -> Self;
}

impl ForTests for Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant serves as the start of time")]
    fn now_for_tests() -> Self {
        Self::now()
    }
}

fn voices(seconds: f64) -> [Vec<i16>; 2] {
    // Neither repeats itself, so only the right place correlates.
    [
        Signal::rate(8_000).sweep(200.0, 3_000.0, 8_000.0).noise(1_000.0, 1).seconds(seconds),
        Signal::rate(8_000).sweep(2_800.0, 300.0, 8_000.0).noise(1_000.0, 2).seconds(seconds),
    ]
}

fn timestamp(frame: usize) -> u32 {
    START_TIMESTAMP.wrapping_add(frame as u32 * 160)
}

const SIDES: [Side; 2] = [Side::Left, Side::Right];

#[test]
fn both_voices_are_in_the_file_sample_by_sample() {
    let voices = voices(5.0);
    let mut call = Call::begins();
    for frame in 0..250 {
        for side in SIDES {
            let pcm = &voices[side as usize][frame * 160..][..160];
            call.hears(frame as f64 * 20.0, side, Some(timestamp(frame)), pcm);
        }
    }
    let audio = call.ends(5_000.0);
    assert_eq!((audio.rate_hz(), audio.channels(), audio.frames()), (8_000, 2, 40_000));
    for side in SIDES {
        assert!(audio.channel(side as usize).eq(voices[side as usize].iter().copied()));
    }
}

#[test]
fn loss_is_silence_and_reordering_is_put_right() {
    let voices = voices(4.0);
    let mut call = Call::begins();
    let mut random = Random::new(4);
    let mut packets: Vec<(f64, Side, usize)> = Vec::new();
    for frame in 0..200 {
        for side in SIDES {
            // Up to 150 ms of jitter, so up to seven packets overtake one. The first comes on
            // time.
            let jitter = if frame == 0 { 0.0 } else { (random.signed() + 1.0) * 75.0 };
            packets.push((frame as f64 * 20.0 + jitter, side, frame));
        }
    }
    packets.retain(|(_, _, frame)| frame % 10 != 7);
    packets.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (ms, side, frame) in packets {
        let pcm = &voices[side as usize][frame * 160..][..160];
        call.hears(ms, side, Some(timestamp(frame)), pcm);
    }
    let audio = call.ends(4_000.0);
    for side in SIDES {
        let heard: Vec<i16> = audio.channel(side as usize).collect();
        let mut expected = voices[side as usize].clone();
        for frame in (0..200).filter(|frame| frame % 10 == 7) {
            expected[frame * 160..][..160].fill(0);
        }
        // The mean jitter of 75 ms is a drift to the machine, which nudges; most frames stay.
        let alike = correlation(&heard[..16_000], &expected[..16_000]);
        assert!(alike > 0.99, "{side:?}: {alike}");
    }
}

#[test]
fn a_side_that_is_silent_leaves_silence_of_the_right_length() {
    let [voice, _] = voices(1.0);
    let mut call = Call::begins();
    for (frame, pcm) in voice.chunks(160).enumerate() {
        call.hears(frame as f64 * 20.0, Side::Left, Some(timestamp(frame)), pcm);
    }
    call.waits_until(120_000.0); // On hold.
    for (frame, pcm) in voice.chunks(160).enumerate() {
        let ms = 120_000.0 + frame as f64 * 20.0;
        call.hears(ms, Side::Left, Some(timestamp(frame + 6_000)), pcm);
    }
    let audio = call.ends(121_000.0);
    assert_eq!(audio.frames(), 121 * 8_000);
    let left: Vec<i16> = audio.channel(0).collect();
    assert!(left[..8_000] == voice && left[120 * 8_000..] == voice);
    assert!(left[8_000..120 * 8_000].iter().all(|sample| *sample == 0));
    assert!(audio.channel(1).all(|sample| sample == 0));
}

#[test]
fn a_sender_whose_clock_is_off_stays_within_a_tenth_of_a_second() {
    for parts_per_million in [-300.0, 300.0] {
        let mut call = Call::begins();
        let minutes = 20;
        let frames = minutes * 60 * 50;
        // A click each second, by the sender's clock.
        let mut click = [0; 160];
        click[0] = 20_000;
        for frame in 0..frames {
            let ms = frame as f64 * 20.0 * (1.0 + parts_per_million / 1e6);
            let pcm = if frame % 50 == 0 { &click } else { &[0; 160] };
            call.hears(ms, Side::Right, Some(timestamp(frame)), pcm);
        }
        let audio = call.ends(f64::from(minutes as u32) * 60_000.0);
        let clicks: Vec<usize> = audio
            .channel(1)
            .enumerate()
            .filter(|(_, sample)| *sample > 10_000)
            .map(|(position, _)| position)
            .collect();
        assert!(clicks.len().abs_diff(minutes * 60) <= 1, "{}", clicks.len());
        for (second, position) in clicks.iter().enumerate() {
            let arrived = second as f64 * 8_000.0 * (1.0 + parts_per_million / 1e6);
            assert!((*position as f64 - arrived).abs() < 800.0, "second {second}: {position}");
        }
    }
}

#[test]
fn a_new_stream_continues_at_its_arrival() {
    let [voice, other] = voices(1.0);
    let mut call = Call::begins();
    for (frame, pcm) in voice.chunks(160).enumerate() {
        call.hears(frame as f64 * 20.0, Side::Left, Some(timestamp(frame)), pcm);
    }
    // A transfer: another SSRC, timestamps from elsewhere, half a second later.
    for (frame, pcm) in other.chunks(160).enumerate() {
        let ms = 1_500.0 + frame as f64 * 20.0;
        call.hears(ms, Side::Left, Some(timestamp(frame) ^ 0x5555_0000), pcm);
    }
    let audio = call.ends(2_500.0);
    let left: Vec<i16> = audio.channel(0).collect();
    assert!(left[..8_000] == voice && left[12_000..] == other);
    assert!(left[8_000..12_000].iter().all(|sample| *sample == 0));
}

#[test]
fn a_burst_after_a_stall_loses_nothing() {
    let [voice, _] = voices(1.0);
    let mut call = Call::begins();
    for (frame, pcm) in voice.chunks(160).enumerate() {
        // Frames 10 to 24 all arrive when 25 does.
        let ms = if (10..25).contains(&frame) { 500.0 } else { frame as f64 * 20.0 };
        call.hears(ms, Side::Left, Some(timestamp(frame)), pcm);
    }
    let audio = call.ends(1_000.0);
    assert!(audio.channel(0).eq(voice));
}

#[test]
fn frames_without_timestamps_follow_each_other_and_pauses_stay() {
    let [voice, _] = voices(1.0);
    let mut call = Call::begins();
    for (frame, pcm) in voice.chunks(160).enumerate() {
        call.hears(frame as f64 * 20.0 + (frame % 3) as f64, Side::Left, None, pcm);
    }
    call.hears(3_000.0, Side::Left, None, &voice[..160]);
    let audio = call.ends(3_020.0);
    let left: Vec<i16> = audio.channel(0).collect();
    assert!(left[..8_000] == voice && left[24_000..] == voice[..160]);
}

/// The file as a crash leaves it: the header tells what it holds.
fn left(file: &[u8]) -> wav::Audio {
    let part = wav::read_part(file, file.len() as u64).unwrap();
    assert_eq!(part.bytes(), file[..wav::PART_HEADER_BYTES], "nothing needs repair");
    wav::read(file).unwrap()
}

#[test]
fn a_checkpoint_keeps_what_was_said_and_changes_nothing_of_the_outcome() {
    let voices = voices(4.32);
    let mut call = Call::begins();
    for frame in 0..216 {
        // The agent's frames come three at a time, the last one first.
        let late = if frame < 3 { frame } else { frame + 2 - frame % 3 * 2 };
        for (side, frame) in [(Side::Left, frame), (Side::Right, late)] {
            let pcm = &voices[side as usize][frame * 160..][..160];
            call.hears(frame as f64 * 20.0, side, Some(timestamp(frame)), pcm);
        }
        if frame % 7 == 6 {
            call.recording.checkpoint();
            call.drain();
            let (audio, said) = (left(&call.file), (frame + 1) * 160);
            assert!(audio.frames() >= said, "all that the caller said");
            let caller = audio.channel(0).take(said);
            assert!(caller.eq(voices[0][..said].iter().copied()));
        }
    }
    let audio = call.ends(4_320.0);
    assert_eq!(audio.frames(), 34_560);
    for side in SIDES {
        assert!(audio.channel(side as usize).eq(voices[side as usize].iter().copied()));
    }
}

#[test]
fn a_checkpoint_without_news_writes_nothing() {
    let mut call = Call::begins();
    call.hears(0.0, Side::Left, Some(timestamp(0)), &[5; 160]);
    call.recording.checkpoint();
    call.drain();
    let writes = call.writes;
    call.recording.checkpoint();
    call.drain();
    assert_eq!(call.writes, writes);
}

#[test]
fn a_file_left_by_a_crash_plays_up_to_the_last_second() {
    let voices = voices(4.0);
    let mut call = Call::begins();
    for frame in 0..200 {
        for side in SIDES {
            let pcm = &voices[side as usize][frame * 160..][..160];
            call.hears(frame as f64 * 20.0, side, Some(timestamp(frame)), pcm);
        }
        // The node dies here: the file is what was written so far.
        let ms = frame * 20;
        let audio = left(&call.file);
        let seconds = (ms.max(400) - 400) / 1_000;
        assert_eq!(audio.frames(), seconds * 8_000, "after {ms} ms");
        assert!(audio.channel(1).eq(voices[1][..seconds * 8_000].iter().copied()));
    }
    // One second is one write of audio and one of the header.
    assert_eq!(call.writes, 1 + 2 * 3);
}

#[test]
fn frames_far_from_any_sense_are_bounded() {
    let mut call = Call::begins();
    let mut random = Random::new(6);
    for n in 0..20_000 {
        let timestamp = Timestamp { value: random.next() as u32, clock_hz: random.next() as u32 };
        let pcm = vec![1; random.next() as usize % 6_000];
        let now = call.at(f64::from(n) + random.signed() * 900.0);
        let side = SIDES[random.next() as usize % 2];
        let timestamp = Some(timestamp).filter(|_| !random.next().is_multiple_of(3));
        call.recording.handle_frame(side, timestamp, &pcm, now);
        call.drain();
    }
    let audio = call.ends(20_000.0);
    assert!(audio.frames().abs_diff(160_000) < 16_000);
}

#[test]
fn the_first_frame_after_a_sleep_waits_until_the_silence_before_it_went_out() {
    let mut call = Call::begins();
    call.hears(10_000.0, Side::Left, Some(timestamp(0)), &[5; 160]);
    call.hears(10_020.0, Side::Left, Some(timestamp(1)), &[6; 160]);
    assert_eq!(call.recording.frames_dropped(), 0);
    let audio = call.ends(10_040.0);
    let expected = [[5; 160], [6; 160]].concat();
    assert!(audio.channel(0).skip(80_000).eq(expected));
    assert_eq!(audio.channel(0).filter(|sample| *sample != 0).count(), 320);
}

#[test]
fn outputs_that_nobody_drains_are_bounded() {
    let mut call = Call::begins();
    for second in 10..20 {
        let now = call.at(f64::from(second) * 1_000.0);
        call.recording.handle_frame(Side::Left, None, &[5; 160], now);
    }
    assert_eq!(call.recording.frames_dropped(), 9);
    call.drain();
    assert_eq!(call.ends(20_000.0).frames(), 160_000);
}
