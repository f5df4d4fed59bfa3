//! What a frame of 20 ms costs in each machine, in nanoseconds of one core.
//!
//! `cargo bench -p tandem-media`. Prints the least and the median of many batches: the first is
//! the machine's, the second shows what else it was doing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};
use tandem_media::clip::Clip;
use tandem_media::codec::{CodecKind, Decoder, Encoder};
use tandem_media::conceal::Concealer;
use tandem_media::dtmf::{self, Digit, DtmfDetector};
use tandem_media::frame::{FRAME_SAMPLES_MAX, PAYLOAD_BYTES_MAX, Rate};
use tandem_media::mix::Mixer;
use tandem_media::recording::{Recording, Side, Timestamp};
use tandem_media::resample::Resampler;
use tandem_media::tone::{Country, Signal, Tone};

const BATCHES: usize = 60;
const BATCH: Duration = Duration::from_millis(4);

fn main() {
    // `cargo test --all-targets` starts benchmarks too; then there is nothing to say.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("{:<44} {:>10} {:>10}", "a frame of 20 ms, in ns", "least", "median");
    codecs();
    listening();
    playing();
    together();
}

fn measure(name: &str, mut frame: impl FnMut()) {
    let started = Instant::now();
    let mut frames = 0_u32;
    while started.elapsed() < BATCH {
        frame();
        frames += 1;
    }
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let started = Instant::now();
            (0..frames).for_each(|_| frame());
            started.elapsed().as_nanos() as f64 / f64::from(frames)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    println!("{name:<44} {:>10.0} {:>10.0}", batches[0], batches[BATCHES / 2]);
}

/// A buzz with noise: what speech costs, not what silence does.
fn voice(rate: Rate) -> Vec<i16> {
    let mut noise = 1_u32;
    (0..rate.frame_samples())
        .map(|n| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let t = n as f64 / f64::from(rate.hz()) * std::f64::consts::TAU;
            let buzz: f64 = (1..20).map(|k| (150.0 * f64::from(k) * t).sin() / f64::from(k)).sum();
            (buzz * 5_000.0) as i16 + (noise >> 22) as i16 - 512
        })
        .collect()
}

fn codecs() {
    let cases = [
        (CodecKind::Pcma, Rate::Khz8),
        (CodecKind::Pcmu, Rate::Khz8),
        (CodecKind::G722, Rate::Khz16),
        (CodecKind::G722, Rate::Khz8),
        (CodecKind::Opus, Rate::Khz8),
        (CodecKind::Opus, Rate::Khz16),
        (CodecKind::Opus, Rate::Khz48),
    ];
    for (kind, rate) in cases {
        let voice = voice(rate);
        let mut encoder = Encoder::new(kind, rate).expect("every rate is taken");
        let mut decoder = Decoder::new(kind, rate).expect("every rate is taken");
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let mut pcm = [0; FRAME_SAMPLES_MAX];
        let mut bytes = 0;
        let hz = rate.hz();
        measure(&format!("{kind} encode, {hz} Hz PCM"), || {
            bytes = encoder.encode(black_box(&voice), &mut payload).expect("a frame of 20 ms");
        });
        measure(&format!("{kind} decode, {hz} Hz PCM"), || {
            black_box(decoder.decode(black_box(&payload[..bytes]), &mut pcm).expect("just made"));
        });
    }
    for (from, to) in [(8, 16), (16, 8), (8, 48), (48, 8), (16, 48), (48, 16)] {
        let mut resampler = Resampler::new(from * 1_000, to * 1_000).expect("usual rates");
        let input = vec![1_000; from as usize * 20];
        let mut output = vec![0; to as usize * 20];
        measure(&format!("resample {from} to {to} kHz"), || {
            black_box(resampler.process(black_box(&input), &mut output));
        });
    }
}

fn listening() {
    let voice = voice(Rate::Khz8);
    let mut detector = DtmfDetector::new();
    measure("digit detection, voice", || {
        detector.handle_pcm(black_box(&voice));
        black_box(detector.poll_digit());
    });
    let mut digit = vec![0; 160];
    dtmf::render(Digit::Five, Rate::Khz8, &mut digit);
    measure("digit detection, digit", || {
        detector.handle_pcm(black_box(&digit));
        black_box(detector.poll_digit());
    });
    measure("digit detection, silence", || {
        detector.handle_pcm(black_box(&[0; 160]));
        black_box(detector.poll_digit());
    });
    let mut pcm = voice.clone();
    let mut concealer = Concealer::new(Rate::Khz8);
    measure("concealment, frame heard", || concealer.handle_frame(black_box(&mut pcm)));
    measure("concealment, frame lost and frame heard", || {
        pcm.copy_from_slice(&voice);
        concealer.handle_frame(black_box(&mut pcm));
        concealer.conceal(black_box(&mut pcm));
    });
}

fn playing() {
    let mut pcm = [0; 160];
    let mut tone = Tone::new(Signal::Dial, Country::Us, Rate::Khz8);
    measure("tone, made", || tone.fill(black_box(&mut pcm)));
    let clip = Clip::from_tone(Signal::Dial, Country::Us);
    clip.prepare(CodecKind::Pcma).expect("A-law is always there");
    let mut number = 0;
    measure("clip, prepared", || {
        let frames = clip.frames(CodecKind::Pcma).expect("prepared");
        black_box(frames.get(number % frames.count()));
        number += 1;
    });
}

fn together() {
    let voice = voice(Rate::Khz8);
    let mut heard = [0; 160];
    let mut mixer = Mixer::new();
    for parties in [3, 10] {
        measure(&format!("mixing, all of {parties} parties"), || {
            mixer.begin(160);
            (0..parties).for_each(|_| mixer.add(black_box(&voice)));
            (0..parties).for_each(|_| {
                black_box(mixer.hear(&[&voice], &mut heard));
            });
        });
    }
    let mut now = Instant::now();
    let mut recording = Recording::new(
        Rate::Khz8,
        tandem_media::wav::Stamp { node: 1, epoch: 0, began_ms: 0 },
        now,
    );
    let mut value = 0_u32;
    measure("recording, a frame of each side", || {
        for side in [Side::Left, Side::Right] {
            let timestamp = Timestamp { value, clock_hz: 8_000 };
            recording.handle_frame(side, Some(timestamp), black_box(&voice), now);
            while let Some(write) = recording.poll_output() {
                black_box(write);
            }
        }
        value = value.wrapping_add(160);
        now += Duration::from_millis(20);
    });
}
