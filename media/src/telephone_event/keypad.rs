//! Presses keys: the packets of telephone-events, one each 20 ms.

use std::collections::VecDeque;

use super::Event;
use crate::dtmf::Digit;

/// How long a key is pressed. Q.24 asks receivers to take 40 ms; 100 ms is what telephones send.
const PRESS_MS: u32 = 100;
/// The least pause between two keys (Q.24 asks for 40 ms).
const PAUSE_MS: u32 = 60;
/// How often the end of a press is sent (RFC 4733 §2.5.1.4).
const ENDS: u32 = 3;
/// Digits that wait to be sent; further ones are dropped. No number or code is longer.
const DIGITS_MAX: usize = 64;
/// The time from one packet to the next.
const STEP_MS: u32 = 20;

/// Presses the keys that it is given, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Keypad {
    waiting: VecDeque<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Idle,
    Pressing {
        code: u8,
        ms: u32,
        ends: u32,
    },
    Pausing {
        ms: u32,
    },
}

/// What to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An event packet; `first` has the timestamp of now and the marker, the others the same
    /// timestamp without the marker.
    Packet {
        /// The first of its press.
        first: bool,
        /// Its payload.
        event: Event,
    },
    /// Nothing: the pause between two keys.
    Pause,
}

impl Keypad {
    /// Adds digits; what is not on a keypad is passed over.
    pub fn press(&mut self, digits: &str) {
        let codes = digits.chars().filter_map(Digit::from_char).map(Digit::event_code);
        let room = DIGITS_MAX - self.waiting.len();
        self.waiting.extend(codes.take(room));
    }

    /// Whether no key is left to press.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle) && self.waiting.is_empty()
    }

    /// The next 20 ms; `None` when all keys have been pressed. `clock_hz` is that of the stream.
    pub fn step(&mut self, clock_hz: u32) -> Option<Step> {
        match self.state {
            State::Idle => self.begin(clock_hz),
            State::Pausing { ms } if ms >= PAUSE_MS => self.begin(clock_hz),
            State::Pausing { ms } => {
                self.state = State::Pausing { ms: ms + STEP_MS };
                Some(Step::Pause)
            }
            State::Pressing { code, ms, ends } => {
                let ms = (ms + STEP_MS).min(PRESS_MS);
                let end = ms == PRESS_MS;
                let ends = ends + u32::from(end);
                self.state = if ends == ENDS {
                    // The repeated ends already took their time.
                    State::Pausing { ms: STEP_MS * ENDS }
                } else {
                    State::Pressing { code, ms, ends }
                };
                Some(packet(code, ms, end, clock_hz))
            }
        }
    }

    fn begin(&mut self, clock_hz: u32) -> Option<Step> {
        let Some(code) = self.waiting.pop_front() else {
            self.state = State::Idle;
            return None;
        };
        self.state = State::Pressing { code, ms: STEP_MS, ends: 0 };
        Some(packet(code, STEP_MS, false, clock_hz))
    }
}

fn packet(code: u8, ms: u32, end: bool, clock_hz: u32) -> Step {
    let duration = (clock_hz / 1_000 * ms).min(u32::from(u16::MAX)) as u16;
    Step::Packet { first: ms == STEP_MS, event: Event { code, end, duration } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Header;
    use crate::session::epoch;
    use crate::telephone_event::{Listener, Press};
    use std::time::Duration;

    #[test]
    fn a_key_is_updated_every_20_ms_and_ends_three_times() {
        let mut keypad = Keypad::default();
        keypad.press("#");
        let event = |duration, end| Event { code: 11, end, duration };
        let steps: Vec<_> = std::iter::from_fn(|| keypad.step(8_000)).collect();
        assert_eq!(
            steps,
            [
                Step::Packet { first: true, event: event(160, false) },
                Step::Packet { first: false, event: event(320, false) },
                Step::Packet { first: false, event: event(480, false) },
                Step::Packet { first: false, event: event(640, false) },
                Step::Packet { first: false, event: event(800, true) },
                Step::Packet { first: false, event: event(800, true) },
                Step::Packet { first: false, event: event(800, true) },
            ]
        );
    }

    #[test]
    fn a_listener_hears_what_was_pressed() {
        let mut keypad = Keypad::default();
        keypad.press("0123 456789*#abcdX");
        let mut listener = Listener::default();
        let (mut now, mut timestamp, mut start) = (epoch(), 0_u32, 0);
        while let Some(step) = keypad.step(8_000) {
            if let Step::Packet { first, event } = step {
                start = if first { timestamp } else { start };
                let header = Header {
                    marker: first,
                    payload_type: 101,
                    sequence: 0,
                    timestamp: start,
                    ssrc: 1,
                };
                listener.handle_event(&header, &event.write(), 8_000, now);
            }
            timestamp += 160;
            now += Duration::from_millis(20);
        }
        let heard: String = std::iter::from_fn(|| listener.poll_output())
            .filter_map(|press| match press {
                Press::Down { key } => Some(key),
                Press::Up { ms, .. } => {
                    assert_eq!(ms, 100);
                    None
                }
            })
            .collect();
        assert_eq!(heard, "0123456789*#ABCD");
    }

    #[test]
    fn more_digits_than_any_number_has_are_dropped() {
        let mut keypad = Keypad::default();
        keypad.press(&"1".repeat(1_000));
        assert_eq!(keypad.waiting.len(), DIGITS_MAX);
    }
}
