//! Key presses from the events of a stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Event;
use crate::rtp::{Header, timestamp_distance};

/// How long after the last packet a press whose end was lost is over: three packets of the
/// longest usual distance, 50 ms (RFC 4733 §2.5.2.2).
const END_LOST: Duration = Duration::from_millis(150);

/// Follows the telephone-events of one stream.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    state: State,
    outputs: VecDeque<Press>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// It went down. Once for each press, even if only its end arrived.
    Down {
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        key: char,
    },
    /// It went up, or its end was lost.
    Up {
        /// The key.
        key: char,
        /// How long it was down.
        ms: u32,
    },
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Quiet,
    Down {
        pressed: Pressed,
        until: Instant,
    },
    /// Its further packets are repetitions.
    Up {
        timestamp: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Pressed {
    key: char,
    timestamp: u32,
    /// Ticks of the segments before this one (RFC 4733 §2.5.1.3).
    before: u32,
    duration: u16,
    clock_hz: u32,
}

impl Listener {
    /// A stream begins: timestamps of the one before mean nothing in it.
    pub fn restart(&mut self) {
        self.end();
        self.state = State::Quiet;
    }

    /// A packet of the telephone-event payload type.
    pub fn handle_event(&mut self, header: &Header, payload: &[u8], clock_hz: u32, now: Instant) {
        let Some(event) = Event::read(payload) else {
            return;
        };
        let Some(key) = event.key() else {
            return;
        };
        let timestamp = header.timestamp;
        match &mut self.state {
            State::Up { timestamp: over } if timestamp_distance(*over, timestamp) <= 0 => return,
            State::Down { pressed, .. } if timestamp_distance(pressed.timestamp, timestamp) < 0 => {
                return;
            }
            State::Down { pressed, until } if pressed.goes_on(key, header) => {
                pressed.advance(timestamp, event.duration);
                *until = now + END_LOST;
            }
            State::Down { .. } | State::Up { .. } | State::Quiet => {
                self.end();
                self.outputs.push_back(Press::Down { key });
                let pressed =
                    Pressed { key, timestamp, before: 0, duration: event.duration, clock_hz };
                self.state = State::Down { pressed, until: now + END_LOST };
            }
        }
        if event.end {
            self.end();
        }
    }

    /// Ends a press whose end was lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|until| until <= now) {
            self.end();
        }
    }

    /// When [`Listener::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Down { until, .. } => Some(until),
            State::Quiet | State::Up { .. } => None,
        }
    }

    /// What happened.
    pub fn poll_output(&mut self) -> Option<Press> {
        self.outputs.pop_front()
    }

    fn end(&mut self) {
        if let State::Down { pressed, .. } = self.state {
            self.outputs.push_back(Press::Up { key: pressed.key, ms: pressed.ms() });
            self.state = State::Up { timestamp: pressed.timestamp };
        }
    }
}

impl Pressed {
    /// Whether a packet continues this press: the same timestamp, or the next segment of a long
    /// press, which has a timestamp of its own but no marker. (Some gateways give every packet
    /// a new timestamp; the marker still tells their presses apart.)
    fn goes_on(&self, key: char, header: &Header) -> bool {
        self.key == key && (self.timestamp == header.timestamp || !header.marker)
    }

    fn advance(&mut self, timestamp: u32, duration: u16) {
        if self.timestamp == timestamp {
            // Reordered packets do not shorten it.
            self.duration = self.duration.max(duration);
        } else {
            self.before = self.before.wrapping_add(timestamp.wrapping_sub(self.timestamp));
            self.timestamp = timestamp;
            self.duration = duration;
        }
    }

    fn ms(&self) -> u32 {
        let ticks = u64::from(self.before) + u64::from(self.duration);
        (ticks * 1_000 / u64::from(self.clock_hz.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtmf::Digit;
    use crate::session::epoch;

    #[test]
    fn one_press_is_told_once_however_often_its_packets_come() {
        let mut line = Script::new();
        line.event('5', 1_000, 160).says(&[Press::Down { key: '5' }]);
        line.event('5', 1_000, 320).event('5', 1_000, 640).is_silent();
        line.end('5', 1_000, 800).says(&[Press::Up { key: '5', ms: 100 }]);
        line.end('5', 1_000, 800).end('5', 1_000, 800).event('5', 1_000, 320).is_silent();
    }

    #[test]
    fn the_same_key_twice_is_two_presses() {
        let mut line = Script::new();
        line.event('1', 1_000, 160).end('1', 1_000, 320);
        line.says(&[Press::Down { key: '1' }, Press::Up { key: '1', ms: 40 }]);
        line.marked('1', 3_000, 160).says(&[Press::Down { key: '1' }]);
    }

    #[test]
    fn a_press_of_which_only_the_end_arrived_counts() {
        let mut line = Script::new();
        line.end('#', 1_000, 800);
        line.says(&[Press::Down { key: '#' }, Press::Up { key: '#', ms: 100 }]);
    }

    #[test]
    fn a_lost_end_is_made_up_by_time_or_by_the_next_press() {
        let mut line = Script::new();
        line.event('7', 1_000, 160).says(&[Press::Down { key: '7' }]);
        line.after_ms(149).is_silent();
        line.after_ms(1).says(&[Press::Up { key: '7', ms: 20 }]);
        line.event('7', 1_000, 320).is_silent();
        line.marked('8', 5_000, 160).says(&[Press::Down { key: '8' }]);
        line.marked('9', 6_000, 160);
        line.says(&[Press::Up { key: '8', ms: 20 }, Press::Down { key: '9' }]);
    }

    #[test]
    fn a_press_in_segments_is_one_press() {
        // RFC 4733 §2.5.1.3: a new segment begins where the one before ran out of duration.
        let mut line = Script::new();
        line.event('0', 0, 65_520).says(&[Press::Down { key: '0' }]);
        line.event('0', 65_520, 160).is_silent();
        line.end('0', 65_520, 480).says(&[Press::Up { key: '0', ms: 8_250 }]);
    }

    #[test]
    fn a_packet_that_was_overtaken_is_not_a_press() {
        let mut line = Script::new();
        line.marked('1', 1_000, 160).end('1', 1_000, 320).marked('2', 2_000, 160);
        line.outputs();
        line.end('1', 1_000, 320).is_silent();
    }

    #[test]
    fn a_new_stream_may_count_from_anywhere() {
        let mut line = Script::new();
        line.marked('1', 1_000_000, 160).end('1', 1_000_000, 320).outputs();
        line.listener.restart();
        line.marked('2', 5, 160).says(&[Press::Down { key: '2' }]);
    }

    #[test]
    fn what_is_not_a_key_is_passed_over() {
        let mut line = Script::new();
        let header = line.header(0, true);
        for payload in [&[] as &[u8], &[1, 2, 3], &[16, 0, 0, 160], &[255; 4]] {
            line.listener.handle_event(&header, payload, 8_000, line.now);
        }
        line.is_silent();
    }

    struct Script {
        listener: Listener,
        now: Instant,
    }

    impl Script {
        fn new() -> Self {
            Self { listener: Listener::default(), now: epoch() }
        }

        fn event(&mut self, key: char, timestamp: u32, duration: u16) -> &mut Self {
            self.packet(false, key, timestamp, (duration, false))
        }

        fn marked(&mut self, key: char, timestamp: u32, duration: u16) -> &mut Self {
            self.packet(true, key, timestamp, (duration, false))
        }

        fn end(&mut self, key: char, timestamp: u32, duration: u16) -> &mut Self {
            self.packet(false, key, timestamp, (duration, true))
        }

        fn packet(
            &mut self,
            marker: bool,
            key: char,
            timestamp: u32,
            (duration, end): (u16, bool),
        ) -> &mut Self {
            let code = Digit::from_char(key).unwrap().event_code();
            let payload = Event { code, end, duration }.write();
            let header = self.header(timestamp, marker);
            self.listener.handle_event(&header, &payload, 8_000, self.now);
            self
        }

        fn header(&self, timestamp: u32, marker: bool) -> Header {
            Header { marker, payload_type: 101, sequence: 0, timestamp, ssrc: 1 }
        }

        fn after_ms(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self.listener.handle_timeout(self.now);
            self
        }

        fn outputs(&mut self) -> Vec<Press> {
            std::iter::from_fn(|| self.listener.poll_output()).collect()
        }

        fn says(&mut self, presses: &[Press]) {
            assert_eq!(self.outputs(), presses);
        }

        fn is_silent(&mut self) {
            self.says(&[]);
        }
    }
}
