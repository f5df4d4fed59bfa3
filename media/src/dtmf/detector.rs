//! The detector of digits in speech: correlation with the eight tones, and guards.
//!
//! Windows of 16 ms every 8 ms. A digit needs three good windows in a row, 32 ms, so a tone of
//! 40 ms is always found and one of 20 ms never (Q.24 leaves the range between open). It is
//! reported once, as soon as it is sure, and again only after a pause.
//!
//! A good window is loud enough; has one tone in each group well above the others; both within
//! 2.5 % of their frequency, and balanced (twist); together they hold nearly all of the energy,
//! without the second harmonics that a voice has. And it sounds as the window before it did.
//! Speech meets each of these now and then, and all of them for 32 ms hardly ever.

use super::{COLUMNS_HZ, Digit, KEYPAD, ROWS_HZ};
use std::f32::consts::TAU;

/// The rate that the detector listens at.
const HZ: f32 = 8_000.0;
/// From one window to the next, and half a window.
const HOP: usize = 64;
/// Good windows in a row that make a digit.
const HITS: u8 = 3;
/// Bad windows in a row that end it: a gap of 10 ms in a tone does not (Q.24 §2.4), a pause of
/// 30 ms does.
const MISSES: u8 = 4;
/// Digits found and not yet polled. Only a caller who pushes seconds of audio without polling
/// fills it; then the newest are dropped.
const FOUND_MAX: usize = 32;

/// The least mean square of half a window: −36 dBm0, well below the −25 dBm for each tone that
/// Q.24 §2.2 wants found.
const POWER_MIN: f32 = 6.5e4;
/// The least part of the energy that the two tones hold. With noise 15 dB below them it is
/// 0.97; a vowel spreads more.
const PURITY_MIN: f32 = 0.85;
/// The most that the stronger of the two tones may have, 8 dB: ±5 with room for filters.
const TWIST_MAX: f32 = 6.3;
/// How far the strongest of a group stands above the others: 6 dB.
const PEAK_RATIO: f32 = 4.0;
/// How far each tone stands above its second harmonic: 12 dB. A vowel's harmonics are closer.
const HARMONIC_RATIO: f32 = 16.0;
/// A column this close, in Hz, hides the harmonic of a row in a window of 16 ms.
const HARMONIC_CLEAR_HZ: f64 = 100.0;
/// How far a tone may be off its frequency: Q.24 §2.1 wants 1.5 % accepted and 3.5 % refused.
const DEVIATION_MAX: f32 = 0.025;
/// The most that a tone's power changes between neighbouring windows: 3 dB.
const STEADY_RATIO: f32 = 2.0;

/// The tones: four rows, then four columns.
const TONES: usize = 8;

/// Finds digits in one direction of a stream of 8 kHz PCM.
#[derive(Clone, Debug)]
pub struct DtmfDetector {
    /// The samples of the half window before, and of the one that fills.
    samples: [f32; 2 * HOP],
    filled: usize,
    before: Half,
    rising: Option<Rising>,
    held: Option<Held>,
    found: [Option<Digit>; FOUND_MAX],
}

/// What half a window correlates to.
#[derive(Clone, Copy, Debug)]
struct Half {
    real: [f32; TONES],
    imaginary: [f32; TONES],
    energy: f32,
}

impl Half {
    const SILENCE: Self = Self { real: [0.0; TONES], imaginary: [0.0; TONES], energy: 0.0 };
}

/// The digit of a good window.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    digit: Digit,
    row: Tone,
    column: Tone,
}

/// One of the two tones of a window.
#[derive(Clone, Copy, Debug)]
struct Tone {
    /// As that of a correlation over the whole window.
    power: f32,
    hz: f32,
}

impl Candidate {
    fn continues(self, before: Self) -> bool {
        self.digit == before.digit
            && self.row.continues(before.row)
            && self.column.continues(before.column)
    }
}

impl Tone {
    fn continues(self, before: Self) -> bool {
        self.power < before.power * STEADY_RATIO && before.power < self.power * STEADY_RATIO
    }
}

/// Good windows that may become a digit.
#[derive(Clone, Copy, Debug)]
struct Rising {
    last: Candidate,
    hits: u8,
}

/// A digit that was reported and still sounds.
#[derive(Clone, Copy, Debug)]
struct Held {
    digit: Digit,
    misses: u8,
}

impl Default for DtmfDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl DtmfDetector {
    /// A detector for a new stream.
    pub fn new() -> Self {
        Self {
            samples: [0.0; 2 * HOP],
            filled: 0,
            before: Half::SILENCE,
            rising: None,
            held: None,
            found: [None; FOUND_MAX],
        }
    }

    /// Listens to a piece of the stream, of any length.
    pub fn handle_pcm(&mut self, pcm: &[i16]) {
        let mut rest = pcm;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(HOP - self.filled));
            for (slot, sample) in self.samples[HOP + self.filled..].iter_mut().zip(now) {
                *slot = f32::from(*sample);
            }
            self.filled += now.len();
            rest = later;
            if self.filled == HOP {
                self.handle_window();
                self.samples.copy_within(HOP.., 0);
                self.filled = 0;
            }
        }
    }

    /// The next digit that was found.
    pub fn poll_digit(&mut self) -> Option<Digit> {
        let first = self.found[0].take()?;
        self.found.rotate_left(1);
        Some(first)
    }

    fn handle_window(&mut self) {
        let now = correlate(&self.samples[HOP..]);
        let candidate = recognise(&self.before, &now, &self.samples);
        self.before = now;
        if let (Some(held), Some(candidate)) = (&mut self.held, candidate)
            && held.digit == candidate.digit
        {
            held.misses = 0;
            self.rising = None;
            return;
        }
        if let Some(held) = &mut self.held {
            held.misses += 1;
            if held.misses == MISSES {
                self.held = None;
            }
        }
        let Some(candidate) = candidate else {
            self.rising = None;
            return;
        };
        let hits = match self.rising {
            Some(rising) if candidate.continues(rising.last) => rising.hits + 1,
            Some(_) | None => 1,
        };
        if hits < HITS {
            self.rising = Some(Rising { last: candidate, hits });
            return;
        }
        self.rising = None;
        self.held = Some(Held { digit: candidate.digit, misses: 0 });
        if let Some(slot) = self.found.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(candidate.digit);
        }
    }
}

/// Correlates half a window with all tones, unless it is too quiet to matter.
fn correlate(samples: &[f32]) -> Half {
    let energy: f32 = samples.iter().map(|sample| sample * sample).sum();
    if energy < POWER_MIN * HOP as f32 {
        return Half { energy, ..Half::SILENCE };
    }
    let (mut real, mut imaginary) = ([0.0; TONES], [0.0; TONES]);
    for (sample, (cosines, sines)) in samples.iter().zip(&*WAVES) {
        for tone in 0..TONES {
            real[tone] += sample * cosines[tone];
            imaginary[tone] -= sample * sines[tone];
        }
    }
    Half { real, imaginary, energy }
}

/// The cosines and sines of the tones over half a window.
static WAVES: std::sync::LazyLock<[([f32; TONES], [f32; TONES]); HOP]> =
    std::sync::LazyLock::new(|| {
        std::array::from_fn(|n| {
            let angles: [f64; TONES] = std::array::from_fn(|tone| {
                std::f64::consts::TAU * tone_hz(tone) * n as f64 / f64::from(HZ)
            });
            (angles.map(|angle| angle.cos() as f32), angles.map(|angle| angle.sin() as f32))
        })
    });

/// How far each tone turns in half a window, as cosine and sine.
static TURNS: std::sync::LazyLock<[(f32, f32); TONES]> = std::sync::LazyLock::new(|| {
    std::array::from_fn(|tone| {
        let angle = std::f64::consts::TAU * tone_hz(tone) * HOP as f64 / f64::from(HZ);
        (angle.cos() as f32, -angle.sin() as f32)
    })
});

fn tone_hz(tone: usize) -> f64 {
    if tone < 4 { ROWS_HZ[tone] } else { COLUMNS_HZ[tone - 4] }
}

/// The digit of a window, if it is a good one.
fn recognise(before: &Half, now: &Half, samples: &[f32]) -> Option<Candidate> {
    let least = POWER_MIN * HOP as f32;
    if before.energy < least || now.energy < least {
        return None;
    }
    let powers: [f32; TONES] = std::array::from_fn(|tone| coherent_power(before, now, tone));
    let row = strongest(&powers[..4])?;
    let column = strongest(&powers[4..])?;
    let digit = KEYPAD[row][column];
    let hidden = COLUMNS_HZ[column] - HARMONIC_CLEAR_HZ..COLUMNS_HZ[column] + HARMONIC_CLEAR_HZ;
    let row_harmonic_is_hidden = hidden.contains(&(2.0 * ROWS_HZ[row]));
    let row = tone(before, now, row)?;
    let column = tone(before, now, column + 4)?;
    if row.power > column.power * TWIST_MAX || column.power > row.power * TWIST_MAX {
        return None;
    }
    // A sine of amplitude A correlates to A·n/2 and has the energy A²·n/2.
    let of_tones = (row.power + column.power) / HOP as f32;
    if of_tones < PURITY_MIN * (before.energy + now.energy) {
        return None;
    }
    let is_bare = |tone: Tone| tone.power > HARMONIC_RATIO * goertzel(samples, 2.0 * tone.hz);
    let bare = (row_harmonic_is_hidden || is_bare(row)) && is_bare(column);
    bare.then_some(Candidate { digit, row, column })
}

/// The power of a tone over the whole window.
fn coherent_power(before: &Half, now: &Half, tone: usize) -> f32 {
    let (real, imaginary) = turned(now, tone);
    (before.real[tone] + real).powi(2) + (before.imaginary[tone] + imaginary).powi(2)
}

/// The later half's correlation, with its phase counted from the earlier half's start.
fn turned(now: &Half, tone: usize) -> (f32, f32) {
    let (cosine, sine) = TURNS[tone];
    let (real, imaginary) = (now.real[tone], now.imaginary[tone]);
    (real * cosine - imaginary * sine, real * sine + imaginary * cosine)
}

/// Which of a group stands out.
fn strongest(powers: &[f32]) -> Option<usize> {
    let best = (0..powers.len()).max_by(|a, b| powers[*a].total_cmp(&powers[*b]))?;
    powers
        .iter()
        .enumerate()
        .all(|(other, power)| other == best || power * PEAK_RATIO < powers[best])
        .then_some(best)
}

/// The power and the true frequency of a tone, if it is near enough to the nominal one.
///
/// The phase that it gains from one half to the other says how far it is off; what the
/// correlation loses by that is put back, so that the tone's power can be compared with the
/// energy of all.
fn tone(before: &Half, now: &Half, tone: usize) -> Option<Tone> {
    let (a, b) = (before.real[tone], before.imaginary[tone]);
    let (c, d) = turned(now, tone);
    let gained = (a * d - b * c).atan2(a * c + b * d);
    let off_hz = gained * HZ / (TAU * HOP as f32);
    let nominal_hz = tone_hz(tone) as f32;
    if off_hz.abs() > nominal_hz * DEVIATION_MAX {
        return None;
    }
    let amplitude = a.hypot(b) + c.hypot(d);
    // sin(x)/x for x = gained/2 up to 0.7 rad, off by less than 0.1 %.
    let x2 = gained * gained / 4.0;
    let loss = 1.0 - x2 / 6.0 + x2 * x2 / 120.0;
    Some(Tone { power: (amplitude / loss).powi(2), hz: nominal_hz + off_hz })
}

/// The power of one frequency over the whole window, by Goertzel's recursion.
fn goertzel(samples: &[f32], hz: f32) -> f32 {
    let factor = 2.0 * (TAU * hz / HZ).cos();
    let (mut last, mut before_last) = (0.0, 0.0);
    for sample in samples {
        (last, before_last) = (sample + factor * last - before_last, last);
    }
    last * last + before_last * before_last - factor * last * before_last
}

#[cfg(test)]
mod tests;
