//! DTMF in the audio itself: the digits, their tones, their detection (ITU-T Q.23, Q.24).
//!
//! [`Digit`] is what a caller pressed, however it arrived; the RTP events of RFC 4733 are in
//! [`crate::telephone_event`].

mod detector;
mod window;

pub use detector::DtmfDetector;

use crate::frame::{Rate, saturate_f32};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The frequencies of the rows and columns of a keypad, in Hz (Q.23).
const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];

/// The keypad, row by row.
const KEYPAD: [[Digit; 4]; 4] = [
    [Digit::One, Digit::Two, Digit::Three, Digit::A],
    [Digit::Four, Digit::Five, Digit::Six, Digit::B],
    [Digit::Seven, Digit::Eight, Digit::Nine, Digit::C],
    [Digit::Star, Digit::Zero, Digit::Pound, Digit::D],
];

/// A key of a telephone, in the order of the event codes of RFC 4733 §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Digit {
    Zero,
    One,
    Two,
    Three,
    Four,
    Five,
    Six,
    Seven,
    Eight,
    Nine,
    Star,
    Pound,
    A,
    B,
    C,
    D,
}

impl Digit {
    /// All, by event code.
    pub const ALL: [Self; 16] = [
        Self::Zero,
        Self::One,
        Self::Two,
        Self::Three,
        Self::Four,
        Self::Five,
        Self::Six,
        Self::Seven,
        Self::Eight,
        Self::Nine,
        Self::Star,
        Self::Pound,
        Self::A,
        Self::B,
        Self::C,
        Self::D,
    ];

    /// The event code of RFC 4733 §3.2, 0 to 15.
    pub const fn event_code(self) -> u8 {
        self as u8
    }

    /// The digit of an event code; other events than digits have none.
    pub fn from_event_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// `0` to `9`, `*`, `#`, `A` to `D`.
    pub const fn as_char(self) -> char {
        b"0123456789*#ABCD"[self as usize] as char
    }

    /// The digit of a character, in either case.
    pub fn from_char(character: char) -> Option<Self> {
        let upper = character.to_ascii_uppercase();
        Self::ALL.into_iter().find(|digit| digit.as_char() == upper)
    }

    /// The frequencies of its row and its column, in Hz.
    pub fn frequencies_hz(self) -> (f64, f64) {
        for (row, digits) in KEYPAD.iter().enumerate() {
            if let Some(column) = digits.iter().position(|digit| *digit == self) {
                return (ROWS_HZ[row], COLUMNS_HZ[column]);
            }
        }
        unreachable!("the keypad holds every digit")
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// The peak of each of the two tones that we make, of 32,767: −9 dBm0 together is what Q.23
/// users send, and speech codecs do not clip it.
const TONE_PEAK: f64 = 5_600.0;
/// The rise and fall of a tone, so that it does not click.
const RAMP_MS: u32 = 2;

/// Makes the tone of a digit, for legs without telephone events. Fills `pcm`, which is the
/// whole tone; for one of 100 ms give 100 ms of buffer.
pub fn render(digit: Digit, rate: Rate, pcm: &mut [i16]) {
    let (low, high) = digit.frequencies_hz();
    let ramp = rate.samples(RAMP_MS);
    let samples = pcm.len();
    for (n, sample) in pcm.iter_mut().enumerate() {
        let turns = n as f64 / f64::from(rate.hz()) * std::f64::consts::TAU;
        let edge = (n + 1).min(samples - n).min(ramp) as f64 / ramp as f64;
        let value = edge * TONE_PEAK * ((low * turns).sin() + (high * turns).sin());
        *sample = saturate_f32(value as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4733_event_codes_and_characters_name_every_digit_once() {
        for (code, digit) in (0..).zip(Digit::ALL) {
            assert_eq!(digit.event_code(), code);
            assert_eq!(Digit::from_event_code(code), Some(digit));
            assert_eq!(Digit::from_char(digit.as_char()), Some(digit));
            assert_eq!(Digit::from_char(digit.as_char().to_ascii_lowercase()), Some(digit));
        }
        assert_eq!(Digit::from_event_code(16), None); // 16 is the hook flash.
        assert_eq!(Digit::from_char('x'), None);
    }

    #[test]
    fn q23_frequencies_of_the_corners() {
        assert_eq!(Digit::One.frequencies_hz(), (697.0, 1_209.0));
        assert_eq!(Digit::A.frequencies_hz(), (697.0, 1_633.0));
        assert_eq!(Digit::Star.frequencies_hz(), (941.0, 1_209.0));
        assert_eq!(Digit::D.frequencies_hz(), (941.0, 1_633.0));
    }
}
