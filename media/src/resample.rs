//! Sample rate conversion of a stream.
//!
//! A polyphase low-pass with a Kaiser window: flat to 85 % of the narrower band, 60 dB down
//! from its edge on. The delay is 24 samples of the lower rate, 3 ms at 8 kHz. State is kept
//! between frames, so a stream cut anywhere sounds like one piece; with whole frames at rates
//! that divide evenly each frame gives exactly one frame.

use crate::frame::saturate_f32;

/// Taps for each sample of the lower rate. 48 give a transition of 600 Hz at 8 kHz, from
/// 3,400 Hz, the telephone's upper edge, to 4,000 Hz.
const TAPS: usize = 48;
/// The middle of the transition as a part of the lower rate's half.
const CUTOFF: f64 = 0.925;
/// Kaiser's shape parameter for 60 dB.
const KAISER_BETA: f64 = 5.65;
/// Coefficients kept at most. 44,100 to 8,000 Hz needs 21,000; rates with no common divisor
/// would need millions and are refused.
const COEFFICIENTS_MAX: usize = 100_000;
/// The rates that are taken at all.
const HZ_MIN: u32 = 4_000;
const HZ_MAX: u32 = 192_000;
/// Samples of input converted at once.
const CHUNK: usize = 480;
/// Sums kept side by side, so that the compiler may use vector registers.
const LANES: usize = 8;

/// Converts one stream.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Output and input samples of one turn of the phases: the ratio in lowest terms.
    up: usize,
    down: usize,
    /// `taps` coefficients for each phase, oldest sample first.
    coefficients: Box<[f32]>,
    taps: usize,
    /// The last `taps − 1` samples, then a chunk of new ones.
    history: Box<[f32]>,
    phase: usize,
    /// Input samples to pass before the next output.
    skip: usize,
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Input samples taken.
    pub read: usize,
    /// Output samples written.
    pub written: usize,
}

/// Why a rate cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no conversion from {from_hz} to {to_hz} samples a second")]
pub struct UnsupportedRates {
    /// The input's rate.
    pub from_hz: u32,
    /// The output's rate.
    pub to_hz: u32,
}

impl Resampler {
    /// Prepares a conversion between two rates, in samples a second.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, UnsupportedRates> {
        let refused = UnsupportedRates { from_hz, to_hz };
        let known = HZ_MIN..=HZ_MAX;
        if !known.contains(&from_hz) || !known.contains(&to_hz) {
            return Err(refused);
        }
        let divisor = greatest_common_divisor(from_hz, to_hz);
        let (up, down) = ((to_hz / divisor) as usize, (from_hz / divisor) as usize);
        let taps = (TAPS * down.max(up)).div_ceil(up).next_multiple_of(LANES);
        if taps * up > COEFFICIENTS_MAX {
            return Err(refused);
        }
        let coefficients = coefficients(up, down, taps);
        let history = vec![0.0; taps - 1 + CHUNK].into();
        Ok(Self { up, down, coefficients, taps, history, phase: 0, skip: 0 })
    }

    /// The samples that `input` samples become at most.
    pub fn output_samples_max(&self, input: usize) -> usize {
        (input * self.up).div_ceil(self.down) + 1
    }

    /// Converts until the input is used up or the output is full.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> Progress {
        let mut progress = Progress { read: 0, written: 0 };
        while progress.read < input.len() && progress.written < output.len() {
            let rest = &mut output[progress.written..];
            let step = self.process_chunk(&input[progress.read..], rest);
            progress.read += step.read;
            progress.written += step.written;
        }
        progress
    }

    fn process_chunk(&mut self, input: &[i16], output: &mut [i16]) -> Progress {
        let kept = self.taps - 1;
        // Only as much input as surely fits, so that an output is never computed and lost.
        let fitting = (output.len() * self.down / self.up + self.skip).max(1);
        let read = input.len().min(CHUNK).min(fitting);
        for (slot, sample) in self.history[kept..].iter_mut().zip(&input[..read]) {
            *slot = f32::from(*sample);
        }
        let mut written = 0;
        while self.skip < read && written < output.len() {
            let phase = &self.coefficients[self.phase * self.taps..][..self.taps];
            let samples = &self.history[self.skip..][..self.taps];
            output[written] = saturate_f32(dot(phase, samples));
            written += 1;
            self.phase += self.down;
            self.skip += self.phase / self.up;
            self.phase %= self.up;
        }
        // With the output full, input before the next output's sample is all that is taken.
        let read = read.min(self.skip);
        self.skip -= read;
        self.history.copy_within(read..read + kept, 0);
        Progress { read, written }
    }

    /// Forgets the past, as for a new stream.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
        (self.phase, self.skip) = (0, 0);
    }
}

fn dot(weights: &[f32], samples: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for (weights, samples) in weights.chunks_exact(LANES).zip(samples.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += weights[lane] * samples[lane];
        }
    }
    sums.iter().sum()
}

/// The prototype, a windowed sinc of `taps · up` points, dealt out by phase.
fn coefficients(up: usize, down: usize, taps: usize) -> Box<[f32]> {
    let length = taps * up;
    let center = (length - 1) as f64 / 2.0;
    let cutoff = CUTOFF * 0.5 / up.max(down) as f64;
    let mut table = vec![0.0; length];
    for phase in 0..up {
        let row = &mut table[phase * taps..][..taps];
        for (tap, weight) in row.iter_mut().enumerate() {
            // The newest sample meets the start of the prototype.
            let t = ((taps - 1 - tap) * up + phase) as f64 - center;
            *weight = sinc(2.0 * cutoff * t) * kaiser(t / (center + 1.0));
        }
        // Each phase passes a constant unchanged: else the output hums at the phases' rate.
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|weight| *weight /= sum);
    }
    table.into_iter().map(|weight| weight as f32).collect()
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle }
}

/// Kaiser's window at `x` from −1 to 1.
fn kaiser(x: f64) -> f64 {
    bessel_i0(KAISER_BETA * (1.0 - x * x).max(0.0).sqrt()) / bessel_i0(KAISER_BETA)
}

fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    // For the arguments of a window, below 6, twenty terms are exact to double precision.
    for k in 1..=20 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Signal, rms, snr_db};

    const PAIRS: [(u32, u32); 8] = [
        (8_000, 16_000),
        (16_000, 8_000),
        (8_000, 48_000),
        (48_000, 8_000),
        (16_000, 48_000),
        (48_000, 16_000),
        (22_050, 8_000),
        (44_100, 16_000),
    ];

    fn convert(from: u32, to: u32, pcm: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut out = vec![0; resampler.output_samples_max(pcm.len())];
        let progress = resampler.process(pcm, &mut out);
        assert_eq!(progress.read, pcm.len());
        out.truncate(progress.written);
        out
    }

    /// The tone that `hz` became: level of the fitted sine and ratio of it to all else.
    fn fit(pcm: &[i16], rate: u32, hz: f64) -> (f64, f64) {
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, sample) in pcm.iter().enumerate() {
            sine += f64::from(*sample) * (step * n as f64).sin();
            cosine += f64::from(*sample) * (step * n as f64).cos();
        }
        let scale = 2.0 / pcm.len() as f64;
        let (sine, cosine) = (sine * scale, cosine * scale);
        let model: Vec<i16> = (0..pcm.len())
            .map(|n| {
                let angle = step * n as f64;
                (sine * angle.sin() + cosine * angle.cos()).round() as i16
            })
            .collect();
        (sine.hypot(cosine), snr_db(&model, pcm))
    }

    #[test]
    fn tones_in_the_band_keep_level_and_purity() {
        for (from, to) in PAIRS {
            for part in [0.05, 0.25, 0.5, 0.8] {
                let hz = f64::from(from.min(to)) / 2.0 * part;
                // Whole periods in whole windows, so that the fit is exact.
                let hz = (hz / 10.0).round() * 10.0;
                let out = convert(from, to, &Signal::rate(from).tone(hz, 12_000.0).seconds(1.0));
                let window = to as usize / 10;
                let (level, purity) = fit(&out[window..window * 6], to, hz);
                assert!((level / 12_000.0 - 1.0).abs() < 0.02, "{from}→{to} {hz} Hz: {level}");
                assert!(purity > 55.0, "{from}→{to} {hz} Hz: {purity} dB");
            }
        }
    }

    #[test]
    fn tones_above_the_band_are_gone() {
        for (from, to) in PAIRS.into_iter().filter(|(from, to)| from > to) {
            for part in [1.02, 1.2, 1.6] {
                let hz = f64::from(to) / 2.0 * part;
                if hz >= f64::from(from) / 2.0 {
                    continue;
                }
                let out = convert(from, to, &Signal::rate(from).tone(hz, 12_000.0).seconds(0.5));
                let left = rms(&out[200..]);
                assert!(left < 12.0, "{from}→{to} {hz} Hz: {left}"); // 12 is −57 dB.
            }
        }
    }

    #[test]
    fn no_image_appears_when_the_rate_rises() {
        for (from, to) in PAIRS.into_iter().filter(|(from, to)| from < to) {
            let hz = f64::from(from) / 2.0 * 0.8;
            let out = convert(from, to, &Signal::rate(from).tone(hz, 12_000.0).seconds(1.0));
            let window = to as usize / 10;
            let (image, _) = fit(&out[window..window * 6], to, f64::from(from) - hz);
            assert!(image < 12.0, "{from}→{to}: {image}");
        }
    }

    #[test]
    fn a_stream_cut_anywhere_is_the_same_stream() {
        let mut random = crate::testing::Random::new(11);
        for (from, to) in PAIRS {
            let pcm = Signal::rate(from).noise(20_000.0, 1).seconds(0.5);
            let whole = convert(from, to, &pcm);
            let mut resampler = Resampler::new(from, to).unwrap();
            let (mut pieces, mut rest) = (Vec::new(), &pcm[..]);
            while !rest.is_empty() {
                let input = rest.len().min(random.next() as usize % 700);
                let mut out = vec![0; random.next() as usize % 900];
                let progress = resampler.process(&rest[..input], &mut out);
                pieces.extend_from_slice(&out[..progress.written]);
                rest = &rest[progress.read..];
            }
            assert!(pieces == whole, "{from}→{to}: {} {}", pieces.len(), whole.len());
        }
    }

    #[test]
    fn each_frame_gives_exactly_one_frame() {
        for (from, to) in &PAIRS[..6] {
            let mut resampler = Resampler::new(*from, *to).unwrap();
            let input = vec![0; *from as usize / 50];
            let mut output = vec![0; *to as usize / 50];
            for _ in 0..100 {
                let progress = resampler.process(&input, &mut output);
                assert_eq!((progress.read, progress.written), (input.len(), output.len()));
            }
        }
    }

    #[test]
    fn rates_that_nobody_uses_are_refused() {
        for (from, to) in [(0, 8_000), (8_000, 0), (7_999, 48_000), (8_000, 400_000)] {
            assert_eq!(
                Resampler::new(from, to).unwrap_err(),
                UnsupportedRates { from_hz: from, to_hz: to }
            );
        }
    }

    #[test]
    fn full_scale_saturates() {
        let square: Vec<i16> =
            (0..8_000).map(|n| if n / 10 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let out = convert(8_000, 48_000, &square);
        assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
    }
}
