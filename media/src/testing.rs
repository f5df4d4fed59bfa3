//! Signals for the tests of this crate, and measures of what became of them.
//!
//! Everything is seeded and computed; no file and no clock.

use std::f64::consts::TAU;

/// A small generator (xorshift64*), so that every run hears the same noise.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// Evenly from −1 to 1.
    pub(crate) fn signed(&mut self) -> f64 {
        (self.next() & 0xFFFF_FFFF) as f64 / f64::from(u32::MAX) * 2.0 - 1.0
    }
}

/// A sum of parts, rendered at a rate.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    rate: f64,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Tone { hz: f64, peak: f64 },
    Sweep { from_hz: f64, to_hz: f64, peak: f64 },
    Noise { peak: f64, seed: u64 },
    Voice { hz: f64, peak: f64 },
}

impl Signal {
    pub(crate) fn rate(rate: u32) -> Self {
        Self { rate: f64::from(rate), parts: Vec::new() }
    }

    pub(crate) fn tone(self, hz: f64, peak: f64) -> Self {
        self.with(Part::Tone { hz, peak })
    }

    pub(crate) fn sweep(self, from_hz: f64, to_hz: f64, peak: f64) -> Self {
        self.with(Part::Sweep { from_hz, to_hz, peak })
    }

    pub(crate) fn noise(self, peak: f64, seed: u64) -> Self {
        self.with(Part::Noise { peak, seed })
    }

    /// A buzz with the formants of an open vowel: what pitch-based code works on.
    pub(crate) fn voice(self, hz: f64, peak: f64) -> Self {
        self.with(Part::Voice { hz, peak })
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    pub(crate) fn seconds(&self, seconds: f64) -> Vec<i16> {
        let samples = (self.rate * seconds) as usize;
        let mut sum = vec![0.0; samples];
        for part in &self.parts {
            part.add_to(&mut sum, self.rate);
        }
        sum.into_iter().map(|value: f64| value.round() as i16).collect()
    }

    /// Everything that a codec should be fed once, at 16 kHz.
    pub(crate) fn zoo_16k() -> Vec<(&'static str, Vec<i16>)> {
        let at = || Self::rate(16_000);
        vec![
            ("silence", at().seconds(0.5)),
            ("quiet tone", at().tone(1_000.0, 40.0).seconds(0.5)),
            ("full tone", at().tone(300.0, 32_767.0).seconds(0.5)),
            ("overload", at().tone(300.0, 60_000.0).seconds(0.5)),
            ("sweep", at().sweep(50.0, 7_900.0, 20_000.0).seconds(2.0)),
            ("noise", at().noise(32_767.0, 3).seconds(1.0)),
            ("voice", at().voice(120.0, 12_000.0).noise(100.0, 5).seconds(1.0)),
        ]
    }
}

impl Part {
    fn add_to(&self, sum: &mut [f64], rate: f64) {
        let seconds = sum.len() as f64 / rate;
        match *self {
            Self::Tone { hz, peak } => {
                for (n, value) in sum.iter_mut().enumerate() {
                    *value += peak * (TAU * hz * n as f64 / rate).sin();
                }
            }
            Self::Sweep { from_hz, to_hz, peak } => {
                for (n, value) in sum.iter_mut().enumerate() {
                    let t = n as f64 / rate;
                    let turns = from_hz * t + (to_hz - from_hz) * t * t / (2.0 * seconds);
                    *value += peak * (TAU * turns).sin();
                }
            }
            Self::Noise { peak, seed } => {
                let mut random = Random::new(seed);
                for value in sum.iter_mut() {
                    *value += peak * random.signed();
                }
            }
            Self::Voice { hz, peak } => {
                for harmonic in 1..=(rate * 0.45 / hz) as u32 {
                    let f = hz * f64::from(harmonic);
                    let formant =
                        |center: f64, width: f64| 1.0 / (1.0 + ((f - center) / width).powi(2));
                    let level = formant(700.0, 130.0)
                        + 0.5 * formant(1_220.0, 150.0)
                        + 0.2 * formant(2_600.0, 250.0)
                        + 0.02;
                    let phase = f64::from(harmonic * harmonic) * 0.7;
                    for (n, value) in sum.iter_mut().enumerate() {
                        *value += peak * 0.3 * level * (TAU * f * n as f64 / rate + phase).sin();
                    }
                }
            }
        }
    }
}

/// The signal-to-noise ratio of what was heard against what was sent, in decibels.
pub(crate) fn snr_db(sent: &[i16], heard: &[i16]) -> f64 {
    assert_eq!(sent.len(), heard.len());
    let noise: f64 =
        sent.iter().zip(heard).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (energy(sent) / noise.max(1e-9)).log10()
}

/// How alike two signals are, whatever their level: 1 is the same, 0 unrelated.
pub(crate) fn correlation(a: &[i16], b: &[i16]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    product / (energy(a) * energy(b)).sqrt().max(1e-9)
}

/// The root of the mean square.
pub(crate) fn rms(pcm: &[i16]) -> f64 {
    (energy(pcm) / pcm.len() as f64).sqrt()
}

fn energy(pcm: &[i16]) -> f64 {
    pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}
