//! The 20 ms path allocates nothing: every machine is driven for a second and the allocator
//! is asked afterwards.
//!
//! One test only, since the counter is the process's.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::time::{Duration, Instant};
use tandem_media::clip::Clip;
use tandem_media::codec::{CodecKind, Decoder, Encoder};
use tandem_media::conceal::Concealer;
use tandem_media::dtmf::{self, Digit, DtmfDetector};
use tandem_media::frame::{FRAME_SAMPLES_MAX, PAYLOAD_BYTES_MAX, Rate};
use tandem_media::mix::Mixer;
use tandem_media::recording::{Recording, Side, Timestamp};
use tandem_media::tone::{Country, Signal, Tone};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RATES: [Rate; 3] = [Rate::Khz8, Rate::Khz16, Rate::Khz48];

fn allocates_nothing(what: &str, mut frame: impl FnMut(u32)) {
    frame(0); // What is made once, on first use, is made here.
    let region = Region::new(GLOBAL);
    (1..100).for_each(&mut frame);
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{what}: {change:?}");
}

#[test]
fn nothing_on_the_packet_path_allocates() {
    let mut pcm = [0; FRAME_SAMPLES_MAX];
    for kind in CodecKind::ALL {
        for rate in RATES {
            codec(kind, rate, &mut pcm);
        }
    }
    let pcm = &mut pcm[..160];
    dtmf::render(Digit::Five, Rate::Khz8, pcm);
    let mut detector = DtmfDetector::new();
    allocates_nothing("digits", |_| {
        detector.handle_pcm(pcm);
        let _ = detector.poll_digit();
    });
    let mut concealer = Concealer::new(Rate::Khz8);
    allocates_nothing("concealment", |frame| match frame % 3 {
        0 => concealer.conceal(pcm),
        _ => concealer.handle_frame(pcm),
    });
    let mut mixer = Mixer::new();
    let mut heard = [0; 160];
    allocates_nothing("mixing", |_| {
        mixer.begin(160);
        (0..5).for_each(|_| mixer.add(pcm));
        (0..5).for_each(|_| assert_eq!(mixer.hear(&[pcm], &mut heard), 160));
    });
    let mut tone = Tone::new(Signal::Ringback, Country::Cn, Rate::Khz8);
    allocates_nothing("tones", |_| tone.fill(&mut heard));
    let clip = Clip::from_tone(Signal::Ringback, Country::Us);
    clip.prepare(CodecKind::Pcma).expect("A-law is always there");
    allocates_nothing("clips", |frame| {
        let frames = clip.frames(CodecKind::Pcma).expect("prepared");
        assert!(frames.get(frame as usize).is_some());
    });
    record(pcm);
}

fn codec(kind: CodecKind, rate: Rate, pcm: &mut [i16]) {
    let samples = rate.frame_samples();
    dtmf::render(Digit::One, rate, &mut pcm[..samples]);
    let mut encoder = Encoder::new(kind, rate).expect("every rate is taken");
    let mut decoder = Decoder::new(kind, rate).expect("every rate is taken");
    let mut payload = [0; PAYLOAD_BYTES_MAX];
    let mut bytes = 0;
    allocates_nothing(&format!("{kind} at {rate:?}, encoding"), |_| {
        bytes = encoder.encode(&pcm[..samples], &mut payload).expect("a frame of 20 ms");
    });
    allocates_nothing(&format!("{kind} at {rate:?}, decoding"), |frame| {
        if frame % 4 == 3 {
            decoder.recover(Some(&payload[..bytes]), &mut pcm[..samples]);
        } else {
            assert_eq!(decoder.decode(&payload[..bytes], pcm), Ok(samples));
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "any instant serves as the start of time")]
fn record(pcm: &[i16]) {
    let started = Instant::now();
    let mut recording = Recording::new(
        Rate::Khz8,
        tandem_media::wav::Stamp { node: 1, epoch: 0, began_ms: 0 },
        started,
    );
    allocates_nothing("recording", |frame| {
        let now = started + Duration::from_millis(u64::from(frame) * 20);
        for side in [Side::Left, Side::Right] {
            let timestamp = Timestamp { value: frame * 160, clock_hz: 8_000 };
            recording.handle_frame(side, Some(timestamp), pcm, now);
            while recording.poll_output().is_some() {}
        }
    });
}
