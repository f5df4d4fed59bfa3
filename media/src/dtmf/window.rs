//! One window of 16 ms: does it hold the two tones of a digit, and nothing else?
//!
//! Both halves of the window are correlated with the eight tones. The phase that a tone gains
//! from one half to the other tells its true frequency, far more sharply than 16 ms could
//! otherwise. A good window is loud enough; has one tone in each group well above the others;
//! both close to their frequency, and balanced (twist); together they hold nearly all of the
//! energy, without the second harmonics that a voice has. And it sounds as the window before it
//! did. Speech meets each of these now and then, and all of them for 32 ms hardly ever.

use super::{COLUMNS_HZ, Digit, KEYPAD, ROWS_HZ};
use std::f32::consts::TAU;
use std::sync::LazyLock;

/// The rate that is listened at.
const HZ: f32 = 8_000.0;
/// Half a window, in samples, and the step to the next one.
pub(super) const HOP: usize = 64;

/// The least mean square of half a window: −36 dBm0, well below the −25 dBm for each tone that
/// Q.24 §2.2 wants found.
const POWER_MIN: f32 = 6.5e4;
/// The most of the energy that is neither tone. Noise 15 dB below them is 0.03; a vowel
/// spreads more.
const IMPURITY_MAX: f32 = 0.05;
/// The most that the stronger of the two tones may have, 8 dB: ±5 with room for filters.
const TWIST_MAX: f32 = 6.3;
/// How far the strongest of a group stands above the others: 6 dB.
const PEAK_RATIO: f32 = 4.0;
/// How far each tone stands above its second harmonic: 12 dB. A vowel's harmonics are closer.
const HARMONIC_RATIO: f32 = 16.0;
/// A column this close, in Hz, hides the harmonic of a row in a window of 16 ms.
const HARMONIC_CLEAR_HZ: f64 = 100.0;
/// How far a tone may be off its frequency: Q.24 §2.1 wants 1.5 % accepted and 3.5 % refused.
const DEVIATION_MAX: f32 = 0.02;
/// How far the two may be off against each other. The third and fourth harmonic of a voice at
/// 310 Hz are near to `*`, but 3.7 % too far apart.
const SPREAD_MAX: f32 = 0.035;
/// The most that a tone's power changes between neighbouring windows: 3 dB.
const STEADY_RATIO: f32 = 2.0;
/// The most that its frequency changes, in Hz. Noise 15 dB below moves the measure by 1.3, a
/// voice's melody by more.
const STEADY_HZ: f32 = 6.0;

/// The tones: four rows, then four columns.
const TONES: usize = 8;

/// What half a window correlates to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    real: [f32; TONES],
    imaginary: [f32; TONES],
    energy: f32,
}

impl Half {
    pub(super) const SILENCE: Self =
        Self { real: [0.0; TONES], imaginary: [0.0; TONES], energy: 0.0 };

    fn at(&self, tone: usize) -> Complex {
        Complex { re: self.real[tone], im: self.imaginary[tone] }
    }
}

/// The digit of a good window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) digit: Digit,
    row: Tone,
    column: Tone,
}

/// One of the two tones of a window.
#[derive(Clone, Copy, Debug)]
struct Tone {
    /// At the start of each half. A sine of peak 2 has the amplitude 1.
    amplitudes: [Complex; 2],
    /// The square of the sum of both.
    power: f32,
    hz: f32,
    /// How far it is off, in parts of its frequency.
    off: f32,
}

impl Candidate {
    /// Whether this is the same sound as in the window before.
    pub(super) fn continues(self, before: Self) -> bool {
        self.digit == before.digit
            && self.row.continues(before.row)
            && self.column.continues(before.column)
    }
}

impl Tone {
    fn continues(self, before: Self) -> bool {
        self.power < before.power * STEADY_RATIO
            && before.power < self.power * STEADY_RATIO
            && (self.hz - before.hz).abs() < STEADY_HZ
    }

    /// What is assumed before anything is measured.
    fn nominal(tone: usize) -> Self {
        let amplitudes = [Complex { re: 0.0, im: 0.0 }; 2];
        Self { amplitudes, power: 0.0, hz: tone_hz(tone) as f32, off: 0.0 }
    }

    /// The tone by its amplitude in both halves. The phase that it gains says how far off it
    /// is.
    fn of(tone: usize, before: Complex, now: Complex) -> Self {
        let gained = (now * TURNS[tone] * before.conjugate()).angle();
        let nominal_hz = tone_hz(tone) as f32;
        let off_hz = gained * HZ / (TAU * HOP as f32);
        Self {
            amplitudes: [before, now],
            power: (before.power().sqrt() + now.power().sqrt()).powi(2),
            hz: nominal_hz + off_hz,
            off: off_hz / nominal_hz,
        }
    }
}

/// Measures a row and a column. Half a window does not separate them by itself: each leaks
/// into the other's correlation, by how much depends on their true frequencies, and these are
/// known only afterwards. The second round is exact to a tenth of a percent.
fn measure(before: &Half, now: &Half, low: usize, high: usize) -> (Tone, Tone) {
    let (mut row, mut column) = (Tone::nominal(low), Tone::nominal(high));
    for _ in 0..2 {
        let [low_hz, high_hz] = [low, high].map(|tone| tone_hz(tone) as f32);
        let (low_row, low_column) = (leak(row.hz - low_hz), leak(column.hz - low_hz));
        let (high_row, high_column) = (leak(row.hz - high_hz), leak(column.hz - high_hz));
        let whole = (low_row * high_column - low_column * high_row).inverse();
        let [then, later] = [before, now].map(|half| {
            let (in_low, in_high) = (half.at(low), half.at(high));
            let of_row = in_low * high_column - in_high * low_column;
            let of_column = in_high * low_row - in_low * high_row;
            (of_row * whole, of_column * whole)
        });
        row = Tone::of(low, then.0, later.0);
        column = Tone::of(high, then.1, later.1);
    }
    (row, column)
}

/// What a wave of amplitude 1 that is off by `hz` adds to a correlation over half a window.
fn leak(hz: f32) -> Complex {
    let half_turn = TAU / 2.0 * hz / HZ;
    let magnitude = if half_turn.abs() < 1e-5 {
        HOP as f32
    } else {
        (half_turn * HOP as f32).sin() / half_turn.sin()
    };
    let (im, re) = (half_turn * (HOP - 1) as f32).sin_cos();
    Complex { re, im }.scaled(magnitude)
}

/// Correlates half a window with all tones, unless it is too quiet to matter.
pub(super) fn correlate(samples: &[f32]) -> Half {
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

/// The digit of a window, if it is a good one. `samples` are those of both halves.
pub(super) fn recognise(before: &Half, now: &Half, samples: &[f32]) -> Option<Candidate> {
    let least = POWER_MIN * HOP as f32;
    if before.energy < least || now.energy < least {
        return None;
    }
    let powers: [f32; TONES] = std::array::from_fn(|tone| {
        let whole = before.at(tone) + now.at(tone) * TURNS[tone];
        whole.power()
    });
    let (low, high) = (strongest(&powers[..4])?, strongest(&powers[4..])?);
    let (row, column) = measure(before, now, low, high + 4);
    let is_near = row.off.abs() < DEVIATION_MAX
        && column.off.abs() < DEVIATION_MAX
        && (row.off - column.off).abs() < SPREAD_MAX;
    let is_balanced = row.power < column.power * TWIST_MAX && column.power < row.power * TWIST_MAX;
    if !is_near || !is_balanced {
        return None;
    }
    let energy = before.energy + now.energy;
    if energy_without(samples, row, column) > IMPURITY_MAX * energy {
        return None;
    }
    let hidden = COLUMNS_HZ[high] - HARMONIC_CLEAR_HZ..COLUMNS_HZ[high] + HARMONIC_CLEAR_HZ;
    let is_bare = |tone: Tone| tone.power > HARMONIC_RATIO * goertzel(samples, 2.0 * tone.hz);
    let is_bare = (hidden.contains(&(2.0 * ROWS_HZ[low])) || is_bare(row)) && is_bare(column);
    is_bare.then_some(Candidate { digit: KEYPAD[low][high], row, column })
}

/// The energy that is left when both tones are taken out of the window.
fn energy_without(samples: &[f32], row: Tone, column: Tone) -> f32 {
    let [low_step, high_step] = [row, column].map(|tone| Complex::turned(f64::from(tone.hz), 1.0));
    let mut left = 0.0;
    for (half, samples) in samples.chunks_exact(HOP).enumerate() {
        let (mut low, mut high) = (row.amplitudes[half], column.amplitudes[half]);
        for sample in samples {
            left += (sample - 2.0 * (low.re + high.re)).powi(2);
            (low, high) = (low * low_step, high * high_step);
        }
    }
    left
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

/// The power of one frequency over the whole window, as that of a [`Tone`], by Goertzel's
/// recursion.
fn goertzel(samples: &[f32], hz: f32) -> f32 {
    let factor = 2.0 * (TAU * hz / HZ).cos();
    let (mut last, mut before_last) = (0.0, 0.0);
    for sample in samples {
        (last, before_last) = (sample + factor * last - before_last, last);
    }
    let power = last * last + before_last * before_last - factor * last * before_last;
    power / (HOP * HOP) as f32
}

fn tone_hz(tone: usize) -> f64 {
    if tone < 4 { ROWS_HZ[tone] } else { COLUMNS_HZ[tone - 4] }
}

/// The cosines and sines of the tones over half a window.
static WAVES: LazyLock<[([f32; TONES], [f32; TONES]); HOP]> = LazyLock::new(|| {
    std::array::from_fn(|n| {
        let wave: [Complex; TONES] =
            std::array::from_fn(|tone| Complex::turned(tone_hz(tone), n as f64));
        (wave.map(|value| value.re), wave.map(|value| value.im))
    })
});

/// What takes a correlation of the later half back to the phase at the earlier half's start.
static TURNS: LazyLock<[Complex; TONES]> =
    LazyLock::new(|| std::array::from_fn(|tone| Complex::turned(tone_hz(tone), -(HOP as f64))));

#[derive(Clone, Copy, Debug)]
struct Complex {
    re: f32,
    im: f32,
}

impl Complex {
    /// Where a wave of a frequency stands after so many samples.
    fn turned(hz: f64, samples: f64) -> Self {
        let angle = std::f64::consts::TAU * hz * samples / f64::from(HZ);
        Self { re: angle.cos() as f32, im: angle.sin() as f32 }
    }

    fn conjugate(self) -> Self {
        Self { re: self.re, im: -self.im }
    }

    fn scaled(self, factor: f32) -> Self {
        Self { re: self.re * factor, im: self.im * factor }
    }

    fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }

    fn inverse(self) -> Self {
        self.conjugate().scaled(1.0 / self.power())
    }

    fn angle(self) -> f32 {
        self.im.atan2(self.re)
    }
}

impl std::ops::Add for Complex {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
}

impl std::ops::Sub for Complex {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}

impl std::ops::Mul for Complex {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }
}
