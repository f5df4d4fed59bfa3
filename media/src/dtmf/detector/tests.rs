//! What Q.24 asks of a receiver of digits, and what must not be taken for one.

use super::*;
use crate::codec::g711;
use crate::testing::{Random, Signal};

/// A line on which digits are pressed.
struct Line {
    pcm: Vec<i16>,
    random: Random,
}

/// How a key is pressed.
#[derive(Clone, Copy)]
struct Press {
    ms: f64,
    /// The column's level over the row's, in decibels.
    twist_db: f64,
    /// The stronger tone's peak.
    peak: f64,
    /// How far the row's and the column's frequencies are off, in parts of one.
    off: (f64, f64),
}

const PRESS: Press = Press { ms: 40.0, twist_db: 0.0, peak: 6_000.0, off: (0.0, 0.0) };

impl Line {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let lead = random.next() as usize % 128;
        Self { pcm: vec![0; lead], random }
    }

    fn press(&mut self, digit: Digit, press: Press) -> &mut Self {
        let (row, column) = digit.frequencies_hz();
        let ratio = 10_f64.powf(press.twist_db / 20.0);
        let (row_peak, column_peak) = if ratio < 1.0 {
            (press.peak, press.peak * ratio)
        } else {
            (press.peak / ratio, press.peak)
        };
        let phases = (self.random.signed() * 3.0, self.random.signed() * 3.0);
        for n in 0..(press.ms * 8.0) as usize {
            let t = std::f64::consts::TAU * n as f64 / 8_000.0;
            let (low, high) = (row * (1.0 + press.off.0), column * (1.0 + press.off.1));
            let value =
                row_peak * (low * t + phases.0).sin() + column_peak * (high * t + phases.1).sin();
            self.pcm.push(value.round() as i16);
        }
        self
    }

    fn pause(&mut self, ms: f64) -> &mut Self {
        self.pcm.extend(std::iter::repeat_n(0, (ms * 8.0) as usize));
        self
    }

    fn noise(&mut self, peak: f64) -> &mut Self {
        for sample in &mut self.pcm {
            *sample = (f64::from(*sample) + peak * self.random.signed()) as i16;
        }
        self
    }

    fn heard(&self) -> String {
        heard(&self.pcm)
    }
}

fn heard(pcm: &[i16]) -> String {
    let mut detector = DtmfDetector::new();
    let mut digits = String::new();
    for frame in pcm.chunks(160) {
        detector.handle_pcm(frame);
        digits.extend(std::iter::from_fn(|| detector.poll_digit()).map(Digit::as_char));
    }
    digits
}

/// Every digit so often, each from another phase of the window; how many were found once.
fn found_of_all(press: Press, noise: f64) -> (u32, u32) {
    let (mut found, mut pressed) = (0, 0);
    for digit in Digit::ALL {
        for seed in 0..40 {
            let mut line = Line::new(seed);
            line.press(digit, press).pause(60.0).noise(noise);
            pressed += 1;
            found += u32::from(line.heard() == digit.to_string());
        }
    }
    (found, pressed)
}

#[test]
fn q24_every_digit_of_40_ms_is_found_once_at_any_twist_up_to_5_db() {
    for twist_db in [-5.0, -2.5, 0.0, 2.5, 5.0] {
        let (found, pressed) = found_of_all(Press { twist_db, ..PRESS }, 2.0);
        assert_eq!(found, pressed, "{twist_db} dB");
    }
}

#[test]
fn q24_digits_1_5_percent_off_are_found() {
    for off in [(-0.015, -0.015), (0.015, 0.015), (-0.015, 0.015), (0.015, -0.015)] {
        for twist_db in [-5.0, 0.0, 5.0] {
            let (found, pressed) = found_of_all(Press { off, twist_db, ..PRESS }, 2.0);
            assert_eq!(found, pressed, "{off:?} {twist_db} dB");
        }
    }
}

#[test]
fn q24_digits_3_5_percent_off_are_refused() {
    for off in [(-0.035, -0.035), (0.035, 0.035), (0.0, 0.035), (-0.035, 0.0)] {
        assert_eq!(found_of_all(Press { off, ms: 100.0, ..PRESS }, 2.0).0, 0);
    }
}

#[test]
fn q24_faint_and_loud_digits_are_found() {
    // −25 dBm0 a tone is a peak of 1,278; both tones at 16,000 nearly clip.
    for peak in [1_278.0, 16_000.0] {
        let (found, pressed) = found_of_all(Press { peak, ..PRESS }, 2.0);
        assert_eq!(found, pressed, "{peak}");
    }
}

#[test]
fn digits_are_found_15_db_above_noise() {
    // Even noise of peak p has an rms of p/√3; two tones of peak a have one of a.
    let noise = PRESS.peak / 10_f64.powf(15.0 / 20.0) * 3_f64.sqrt();
    let (found, pressed) = found_of_all(Press { ms: 60.0, ..PRESS }, noise);
    assert_eq!(found, pressed);
}

#[test]
fn q24_tones_of_20_ms_are_no_digits() {
    assert_eq!(found_of_all(Press { ms: 20.0, ..PRESS }, 2.0).0, 0);
}

#[test]
fn a_long_press_is_one_digit_even_with_a_gap_of_10_ms() {
    let mut line = Line::new(1);
    line.press(Digit::Seven, Press { ms: 2_000.0, ..PRESS });
    line.pause(10.0).press(Digit::Seven, Press { ms: 300.0, ..PRESS }).pause(50.0);
    assert_eq!(line.heard(), "7");
}

#[test]
fn the_same_digit_after_a_pause_of_40_ms_is_another() {
    for seed in 0..50 {
        let mut line = Line::new(seed);
        for _ in 0..5 {
            line.press(Digit::Five, PRESS).pause(40.0);
        }
        assert_eq!(line.heard(), "55555", "seed {seed}");
    }
}

#[test]
fn digits_right_behind_each_other_are_all_found() {
    let mut line = Line::new(3);
    for digit in Digit::ALL {
        line.press(digit, Press { ms: 60.0, ..PRESS });
    }
    assert_eq!(line.heard(), "0123456789*#ABCD");
}

#[test]
fn digits_survive_g711() {
    for (encode, decode) in [
        (g711::ulaw_encode as fn(i16) -> u8, g711::ulaw_decode as fn(u8) -> i16),
        (g711::alaw_encode, g711::alaw_decode),
    ] {
        for digit in Digit::ALL {
            let mut line = Line::new(5);
            line.press(digit, Press { twist_db: -5.0, ..PRESS }).pause(50.0);
            line.pcm.iter_mut().for_each(|sample| *sample = decode(encode(*sample)));
            assert_eq!(line.heard(), digit.to_string());
        }
    }
}

#[test]
fn our_own_tones_are_found() {
    for digit in Digit::ALL {
        let mut pcm = vec![0; 1_000];
        super::super::render(digit, crate::frame::Rate::Khz8, &mut pcm[100..900]);
        assert_eq!(heard(&pcm), digit.to_string());
    }
}

#[test]
fn sweeps_hold_no_digits() {
    for seconds in [0.2, 0.5, 1.0, 3.0, 10.0, 60.0] {
        for peak in [500.0, 8_000.0, 30_000.0] {
            let up = Signal::rate(8_000).sweep(100.0, 3_900.0, peak).seconds(seconds);
            assert_eq!(heard(&up), "", "up in {seconds} s at {peak}");
            // Two at once pass through pairs of rows and columns; slower ones rest there as
            // long as a key is pressed.
            let two = Signal::rate(8_000)
                .sweep(300.0, 1_500.0, peak / 2.0)
                .sweep(1_800.0, 900.0, peak / 2.0)
                .seconds(seconds.min(0.5));
            assert_eq!(heard(&two), "", "two in {seconds} s at {peak}");
        }
    }
}

#[test]
fn voices_noise_and_call_progress_tones_hold_no_digits() {
    for hz in 60..400 {
        let voice = Signal::rate(8_000).voice(f64::from(hz), 15_000.0).seconds(0.3);
        assert_eq!(heard(&voice), "", "{hz} Hz");
    }
    assert_eq!(heard(&Signal::rate(8_000).noise(30_000.0, 9).seconds(60.0)), "");
    for (a, b) in
        [(350.0, 440.0), (440.0, 480.0), (480.0, 620.0), (697.0, 697.0), (1_209.0, 1_477.0)]
    {
        let tone = Signal::rate(8_000).tone(a, 8_000.0).tone(b, 8_000.0).seconds(3.0);
        assert_eq!(heard(&tone), "", "{a} + {b}");
    }
}

#[test]
fn pieces_of_any_length_give_the_same_digits() {
    let mut line = Line::new(8);
    for digit in Digit::ALL {
        line.press(digit, PRESS).pause(40.0);
    }
    let mut detector = DtmfDetector::new();
    let mut rest = &line.pcm[..];
    let mut digits = String::new();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(line.random.next() as usize % 400));
        detector.handle_pcm(now);
        digits.extend(std::iter::from_fn(|| detector.poll_digit()).map(Digit::as_char));
        rest = later;
    }
    assert_eq!(digits, "0123456789*#ABCD");
}

#[test]
fn digits_that_nobody_polls_are_bounded() {
    let mut line = Line::new(2);
    for _ in 0..FOUND_MAX + 5 {
        line.press(Digit::One, PRESS).pause(40.0);
    }
    let mut detector = DtmfDetector::new();
    detector.handle_pcm(&line.pcm);
    assert_eq!(std::iter::from_fn(|| detector.poll_digit()).count(), FOUND_MAX);
}
