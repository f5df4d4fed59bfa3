//! Call progress tones: dial, busy, ringback.
//!
//! Frequencies and cadences as in the annex to ITU Operational Bulletin 781 (2003), "Various
//! tones used in national networks". The European ones are those of ETSI TR 101 041-2.

use crate::frame::{Rate, saturate_f32};
use serde::{Deserialize, Serialize};

/// What a tone tells the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Dial now.
    Dial,
    /// The other end rings.
    Ringback,
    /// The other end is busy.
    Busy,
    /// The network is busy, or the number does not exist.
    Congestion,
}

/// Whose telephone network the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Country {
    /// China: 450 Hz.
    Cn,
    /// The United States and Canada: pairs of tones.
    Us,
    /// Most of Europe: 425 Hz.
    Eu,
}

/// On and off, in milliseconds; an off of 0 is a tone without end.
#[derive(Clone, Copy, Debug)]
struct Cadence {
    hz: (f64, f64),
    on_ms: u32,
    off_ms: u32,
}

impl Cadence {
    const fn of(signal: Signal, country: Country) -> Self {
        let (hz, on_ms, off_ms) = match (country, signal) {
            (Country::Cn, Signal::Dial) => ((450.0, 0.0), 1_000, 0),
            (Country::Cn, Signal::Ringback) => ((450.0, 0.0), 1_000, 4_000),
            (Country::Cn, Signal::Busy) => ((450.0, 0.0), 350, 350),
            (Country::Cn, Signal::Congestion) => ((450.0, 0.0), 700, 700),
            (Country::Us, Signal::Dial) => ((350.0, 440.0), 1_000, 0),
            (Country::Us, Signal::Ringback) => ((440.0, 480.0), 2_000, 4_000),
            (Country::Us, Signal::Busy) => ((480.0, 620.0), 500, 500),
            (Country::Us, Signal::Congestion) => ((480.0, 620.0), 250, 250),
            (Country::Eu, Signal::Dial) => ((425.0, 0.0), 1_000, 0),
            (Country::Eu, Signal::Ringback) => ((425.0, 0.0), 1_000, 4_000),
            (Country::Eu, Signal::Busy) => ((425.0, 0.0), 500, 500),
            (Country::Eu, Signal::Congestion) => ((425.0, 0.0), 250, 250),
        };
        Self { hz, on_ms, off_ms }
    }
}

/// The peak of a tone, both frequencies together: −10 dBm0 (Q.35 §2 recommends −10 ± 5).
const PEAK: f64 = 7_190.0;
/// The rise and fall at each edge, so that the tone does not click.
const RAMP_MS: u32 = 5;

/// A tone being played, without end.
#[derive(Clone, Debug)]
pub struct Tone {
    cadence: Cadence,
    rate: Rate,
    /// Samples since the start of the period.
    position: usize,
}

impl Tone {
    /// The tone of a signal, from its beginning.
    pub fn new(signal: Signal, country: Country, rate: Rate) -> Self {
        Self { cadence: Cadence::of(signal, country), rate, position: 0 }
    }

    /// The samples after which the tone repeats exactly: what a looped clip must hold. All
    /// frequencies are multiples of 5 Hz and all cadences of 10 ms, so a period of seconds
    /// has whole waves.
    pub fn period_samples(&self) -> usize {
        self.rate.samples(self.cadence.on_ms + self.cadence.off_ms)
    }

    /// Writes the next samples.
    pub fn fill(&mut self, pcm: &mut [i16]) {
        let period = self.period_samples();
        let on = self.rate.samples(self.cadence.on_ms);
        for sample in pcm {
            *sample = if self.position < on { self.sample(on) } else { 0 };
            self.position = (self.position + 1) % period;
        }
    }

    fn sample(&self, on: usize) -> i16 {
        let (first, second) = self.cadence.hz;
        let turns = self.position as f64 / f64::from(self.rate.hz()) * std::f64::consts::TAU;
        let wave = if second == 0.0 {
            (first * turns).sin()
        } else {
            ((first * turns).sin() + (second * turns).sin()) / 2.0
        };
        let ramp = self.rate.samples(RAMP_MS);
        let edge = if self.cadence.off_ms == 0 {
            ramp
        } else {
            (self.position + 1).min(on - self.position).min(ramp)
        };
        saturate_f32((wave * PEAK * edge as f64 / ramp as f64) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{correlation, rms};

    const SIGNALS: [Signal; 4] = [Signal::Dial, Signal::Ringback, Signal::Busy, Signal::Congestion];
    const COUNTRIES: [Country; 3] = [Country::Cn, Country::Us, Country::Eu];

    /// Lengths of sound and silence, in ms, over two periods in frames of 20 ms.
    fn heard(signal: Signal, country: Country) -> Vec<(bool, usize)> {
        let mut tone = Tone::new(signal, country, Rate::Khz8);
        let mut pcm = vec![0; tone.period_samples() * 2];
        pcm.chunks_mut(160).for_each(|frame| tone.fill(frame));
        let mut parts: Vec<(bool, usize)> = Vec::new();
        for piece in pcm.chunks(80) {
            let sounds = rms(piece) > 500.0;
            match parts.last_mut() {
                Some((same, ms)) if *same == sounds => *ms += 10,
                Some(_) | None => parts.push((sounds, 10)),
            }
        }
        parts
    }

    #[test]
    fn ringback_and_busy_have_their_country_s_cadence() {
        let cases = [
            (Signal::Ringback, Country::Cn, 1_000, 4_000),
            (Signal::Busy, Country::Cn, 350, 350),
            (Signal::Ringback, Country::Us, 2_000, 4_000),
            (Signal::Busy, Country::Us, 500, 500),
            (Signal::Ringback, Country::Eu, 1_000, 4_000),
            (Signal::Busy, Country::Eu, 500, 500),
        ];
        for (signal, country, on, off) in cases {
            assert_eq!(
                heard(signal, country),
                [(true, on), (false, off), (true, on), (false, off)]
            );
        }
    }

    #[test]
    fn a_dial_tone_never_pauses() {
        for country in COUNTRIES {
            assert_eq!(heard(Signal::Dial, country), [(true, 2_000)]);
        }
    }

    #[test]
    fn a_period_repeats_exactly() {
        for signal in SIGNALS {
            for country in COUNTRIES {
                for rate in [Rate::Khz8, Rate::Khz16, Rate::Khz48] {
                    let mut tone = Tone::new(signal, country, rate);
                    let mut first = vec![0; tone.period_samples()];
                    let mut second = first.clone();
                    tone.fill(&mut first);
                    tone.fill(&mut second);
                    assert!(first == second);
                    // The seam of a dial tone is no jump.
                    let jump = (i32::from(first[0]) - i32::from(first[first.len() - 1])).abs();
                    assert!(jump < 5_000, "{signal:?} {country:?}: {jump}");
                }
            }
        }
    }

    #[test]
    fn chinese_tones_are_450_hz_at_minus_10_dbm0() {
        let mut pcm = [0; 8_000];
        Tone::new(Signal::Dial, Country::Cn, Rate::Khz8).fill(&mut pcm);
        let pure = crate::testing::Signal::rate(8_000).tone(450.0, PEAK).seconds(1.0);
        assert!(correlation(&pcm, &pure) > 0.9999);
        // A full-scale sine, rms 23,170, is +3.17 dBm0 (G.711 table 5).
        let dbm0 = 20.0 * (rms(&pcm) / 16_080.0).log10();
        assert!((dbm0 + 10.0).abs() < 0.5, "{dbm0}");
    }
}
