//! The adaptive jitter buffer: packets in by arrival, frames out by time.
//!
//! Holds payloads between the network and whoever needs audio at a steady pace: a conference, a
//! recogniser. The delay follows the measured jitter: it grows by a concealed frame when a
//! packet is late, and shrinks by a dropped one when packets have waited longer than needed for
//! a second. Knows nothing of codecs; concealing is the caller's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::timestamp_distance;

/// The packets held at most: 400 ms of 10 ms packets. Past it the oldest are dropped.
const PACKETS_MAX: usize = 40;
/// The least and the greatest delay that is aimed at. Above 200 ms people talk over each other
/// (G.114 puts the limit of comfort at 150 ms one way).
const DELAY_MIN: Duration = Duration::from_millis(20);
const DELAY_MAX: Duration = Duration::from_millis(200);
/// Frames concealed in a row before the buffer fills up anew: beyond 100 ms a concealment is
/// noise.
const STARVED_MAX: u32 = 5;
/// Frames over which the buffer must have been too full before one is dropped.
const SURPLUS_FRAMES: u32 = 50;
/// A gap of more numbers than this is not concealed one by one.
const GAP_MAX: u32 = 10;

/// How long the fastest packet is the measure for the others: between one and two windows.
const WAY_WINDOW: Duration = Duration::from_secs(5);
/// A packet that is later than this is one of a clock that was set anew.
const LEAP: Duration = Duration::from_secs(1);

/// Holds the packets of one stream.
#[derive(Debug)]
pub struct JitterBuffer {
    clock_hz: u32,
    /// In the order of their numbers.
    held: VecDeque<Held>,
    /// Buffers of packets that were taken, for those to come.
    spare: Vec<Vec<u8>>,
    state: State,
    delay: Delay,
    /// Frames taken since the buffer last held no more than it aims at.
    surplus_frames: u32,
    counts: Counts,
}

#[derive(Debug)]
struct Held {
    sequence: u32,
    timestamp: u32,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Waiting for the first packet, or for the first to have waited long enough.
    Filling {
        until: Option<Instant>,
    },
    Playing {
        next: u32,
        starved: u32,
    },
}

/// What is due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The payload of the next packet was written to the caller's buffer.
    Payload,
    /// It is lost or late: conceal it.
    Lost,
    /// The stream has not begun, or it paused.
    Silence,
}

/// What became of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Played.
    pub played: u64,
    /// Arrived after their time.
    pub late: u64,
    /// Arrived twice.
    pub duplicate: u64,
    /// Frames concealed.
    pub concealed: u64,
    /// Dropped to shorten the delay, or because the buffer was full.
    pub dropped: u64,
}

impl JitterBuffer {
    /// An empty buffer for a stream whose timestamps count `clock_hz`.
    pub fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz,
            held: VecDeque::new(),
            spare: Vec::new(),
            state: State::Filling { until: None },
            delay: Delay::default(),
            surplus_frames: 0,
            counts: Counts::default(),
        }
    }

    /// A stream begins: whatever is held belongs to another one.
    pub fn restart(&mut self) {
        while let Some(held) = self.held.pop_front() {
            self.recycle(held.payload);
        }
        self.state = State::Filling { until: None };
        self.delay.ways = None;
    }

    /// Takes a packet. `sequence` counts past 65,535, see [`crate::session::Receiver::extended`].
    pub fn insert(&mut self, sequence: u32, timestamp: u32, payload: &[u8], now: Instant) {
        self.delay.measure(timestamp, self.clock_hz, now);
        match &mut self.state {
            State::Playing { next, .. } if sequence.wrapping_sub(*next) as i32 <= -1 => {
                self.counts.late += 1;
                return;
            }
            State::Filling { until } if until.is_none() => *until = Some(now + self.delay.target),
            State::Playing { .. } | State::Filling { .. } => (),
        }
        let behind = self
            .held
            .iter()
            .rev()
            .take_while(|held| sequence.wrapping_sub(held.sequence) as i32 <= 0)
            .count();
        let at = self.held.len() - behind;
        if self.held.get(at).is_some_and(|held| held.sequence == sequence) {
            self.counts.duplicate += 1;
            return;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(payload);
        self.held.insert(at, Held { sequence, timestamp, payload: buffer });
        if self.held.len() > PACKETS_MAX {
            self.drop_oldest();
        }
    }

    /// The next frame, whose payload replaces the contents of `out`. Called once for each frame
    /// of the output clock.
    pub fn pop(&mut self, now: Instant, out: &mut Vec<u8>) -> Frame {
        out.clear();
        if let (State::Filling { until: Some(until) }, Some(first)) =
            (self.state, self.held.front())
            && until <= now
        {
            self.state = State::Playing { next: first.sequence, starved: 0 };
        }
        self.shorten();
        let State::Playing { next, starved } = self.state else {
            return Frame::Silence;
        };
        match self.held.front() {
            Some(first) if first.sequence == next => {
                if let Some(held) = self.held.pop_front() {
                    out.extend_from_slice(&held.payload);
                    self.recycle(held.payload);
                }
                self.state = State::Playing { next: next.wrapping_add(1), starved: 0 };
                self.counts.played += 1;
                Frame::Payload
            }
            Some(_) if starved < STARVED_MAX && self.depth() + DELAY_MIN < self.delay.target => {
                self.stretch(next, starved);
                Frame::Lost
            }
            Some(first) => {
                // A hole: what is after it is here. A wide one is a pause of the sender.
                let gap = first.sequence.wrapping_sub(next);
                let next = if gap > GAP_MAX { first.sequence } else { next.wrapping_add(1) };
                self.state = State::Playing { next, starved: 0 };
                self.counts.concealed += 1;
                Frame::Lost
            }
            None if starved < STARVED_MAX => {
                self.stretch(next, starved);
                Frame::Lost
            }
            None => {
                self.state = State::Filling { until: None };
                Frame::Silence
            }
        }
    }

    /// The delay that the buffer aims at.
    pub fn target(&self) -> Duration {
        self.delay.target
    }

    /// How much audio is held.
    pub fn depth(&self) -> Duration {
        match (self.held.front(), self.held.back()) {
            (Some(first), Some(last)) => {
                let ticks = timestamp_distance(first.timestamp, last.timestamp).max(0);
                Duration::from_micros(ticks as u64 * 1_000_000 / u64::from(self.clock_hz))
            }
            (None, _) | (_, None) => Duration::ZERO,
        }
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The packet may only be late: the delay grows by a concealed frame.
    fn stretch(&mut self, next: u32, starved: u32) {
        self.state = State::Playing { next, starved: starved + 1 };
        self.counts.concealed += 1;
    }

    /// Drops a frame when more has been held than needed for a second.
    fn shorten(&mut self) {
        let surplus = self.depth() > self.delay.target + DELAY_MIN;
        self.surplus_frames = if surplus { self.surplus_frames + 1 } else { 0 };
        if self.surplus_frames >= SURPLUS_FRAMES {
            self.surplus_frames = 0;
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(held) = self.held.pop_front() {
            if let State::Playing { next, .. } = &mut self.state {
                *next = held.sequence.wrapping_add(1);
            }
            self.counts.dropped += 1;
            self.recycle(held.payload);
        }
    }

    fn recycle(&mut self, mut payload: Vec<u8>) {
        payload.clear();
        self.spare.push(payload);
    }
}

/// The delay that the jitter asks for: a peak, which falls slowly, of how much later the packets
/// are than the fastest of the last seconds.
#[derive(Debug)]
struct Delay {
    target: Duration,
    peak: Duration,
    ways: Option<Ways>,
}

/// How long packets were under way, in microseconds more than the first one.
#[derive(Debug)]
struct Ways {
    arrived: Instant,
    timestamp: u32,
    /// The shortest way in this window and in the one before: clocks drift and routes change,
    /// so what was fast a minute ago says nothing.
    shortest: [i64; 2],
    window_until: Instant,
}

impl Default for Delay {
    fn default() -> Self {
        Self { target: DELAY_MIN, peak: Duration::ZERO, ways: None }
    }
}

impl Delay {
    fn measure(&mut self, timestamp: u32, clock_hz: u32, now: Instant) {
        let way = self.ways.as_mut().and_then(|ways| ways.measure(timestamp, clock_hz, now));
        let Some(late) = way else {
            self.ways = Some(Ways {
                arrived: now,
                timestamp,
                shortest: [0, i64::MAX],
                window_until: now + WAY_WINDOW,
            });
            return;
        };
        if late >= self.peak {
            self.peak = late;
        } else {
            self.peak -= (self.peak - late) / 256;
        }
        self.target = (self.peak + DELAY_MIN).clamp(DELAY_MIN, DELAY_MAX);
    }
}

impl Ways {
    /// How much later a packet is than the fastest; `None` when a clock leapt.
    fn measure(&mut self, timestamp: u32, clock_hz: u32, now: Instant) -> Option<Duration> {
        let ticks = i64::from(timestamp_distance(self.timestamp, timestamp));
        let sent_us = ticks * 1_000_000 / i64::from(clock_hz);
        let way = (now - self.arrived).as_micros() as i64 - sent_us;
        if now >= self.window_until {
            self.window_until = now + WAY_WINDOW;
            self.shortest = [way, self.shortest[0]];
            // Timestamps wrap; the distance to a packet of long ago would, too.
            self.advance(timestamp, now, way);
            return Some(Duration::ZERO);
        }
        self.shortest[0] = self.shortest[0].min(way);
        let late = (way - self.shortest[0].min(self.shortest[1])) as u64;
        (late < LEAP.as_micros() as u64).then(|| Duration::from_micros(late))
    }

    /// Measures from this packet on.
    fn advance(&mut self, timestamp: u32, now: Instant, way: i64) {
        (self.arrived, self.timestamp) = (now, timestamp);
        self.shortest = self.shortest.map(|shortest| shortest.saturating_sub(way));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::epoch;

    #[test]
    fn a_steady_stream_plays_after_one_frame_and_never_stumbles() {
        let mut line = Script::new();
        line.runs(500, |_| Some(0));
        assert_eq!(line.buffer.counts(), Counts { played: 499, ..Counts::default() });
        assert_eq!(line.buffer.target(), DELAY_MIN);
    }

    #[test]
    fn reordered_packets_are_played_in_order() {
        let mut line = Script::new();
        line.runs(300, |packet| Some(if packet % 10 == 3 { 25 } else { 0 }));
        line.plays_in_order();
        let counts = line.buffer.counts();
        assert!(counts.late == 0 && counts.concealed <= 2, "{counts:?}");
    }

    #[test]
    fn a_lost_packet_is_concealed_once() {
        let mut line = Script::new();
        // 45 ms of jitter first, so that what follows a loss is there in time.
        line.runs(
            500,
            |packet| {
                if packet > 100 && packet % 50 == 0 { None } else { Some(packet % 2 * 45) }
            },
        );
        line.plays_in_order();
        let counts = line.buffer.counts();
        let lost = (101..500).filter(|packet| packet % 50 == 0).count() as u64;
        assert!((lost..=lost + 5).contains(&counts.concealed), "{counts:?}");
        assert!(counts.late <= 1, "one at most, before the jitter was known: {counts:?}");
    }

    #[test]
    fn the_delay_grows_with_the_jitter_and_shrinks_after_it() {
        let mut line = Script::new();
        line.runs(1_000, |packet| Some(packet * 7 % 80));
        let grown = line.buffer.target();
        assert!((80..=110).contains(&grown.as_millis()), "{grown:?}");
        let before = line.buffer.counts();
        line.runs(3_000, |packet| Some(packet * 7 % 80));
        let after = line.buffer.counts();
        let missed = after.late + after.concealed - before.late - before.concealed;
        assert!(missed <= 3, "{missed} of 3,000");

        line.runs(6_000, |_| Some(0));
        let counts = line.buffer.counts();
        assert!(line.buffer.target() < Duration::from_millis(40), "{:?}", line.buffer.target());
        assert!(line.buffer.depth() <= Duration::from_millis(60), "{:?}", line.buffer.depth());
        assert!(counts.dropped >= 1, "{counts:?}");
    }

    #[test]
    fn a_packet_after_its_time_is_counted_and_not_played() {
        let mut line = Script::new();
        line.runs(100, |packet| if packet == 50 { None } else { Some(0) });
        let played = line.buffer.counts().played;
        line.buffer.insert(50, 50 * 160, b"late", line.now);
        let counts = line.buffer.counts();
        assert_eq!((counts.late, counts.played), (1, played));
    }

    #[test]
    fn a_packet_that_comes_twice_is_played_once() {
        let mut line = Script::new();
        line.buffer.insert(7, 0, b"7", line.now);
        line.buffer.insert(7, 0, b"7", line.now);
        assert_eq!(line.buffer.counts().duplicate, 1);
        line.now += DELAY_MIN;
        assert_eq!(line.pops(), (Frame::Payload, b"7".to_vec()));
        assert_eq!(line.pops().0, Frame::Lost);
    }

    #[test]
    fn a_pause_of_the_sender_is_silence_and_then_begins_anew() {
        let mut line = Script::new();
        line.runs(20, |_| Some(0));
        let frames: Vec<Frame> = (0..8).map(|_| line.pops().0).collect();
        assert_eq!(frames[0], Frame::Payload);
        assert_eq!(frames[1..6], [Frame::Lost; 5]);
        assert_eq!(frames[6..], [Frame::Silence; 2]);
        line.buffer.insert(900, 900 * 160, b"again", line.now);
        assert_eq!(line.pops().0, Frame::Silence);
        line.now += DELAY_MAX;
        assert_eq!(line.pops(), (Frame::Payload, b"again".to_vec()));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut line = Script::new();
        for packet in 0..100_000 {
            line.buffer.insert(packet, packet * 160, &[0; 160], line.now);
        }
        assert_eq!(line.buffer.held.len(), PACKETS_MAX);
        assert!(line.buffer.spare.len() <= 1);
    }

    struct Script {
        buffer: JitterBuffer,
        now: Instant,
        sent: u32,
        /// Under way, with the time of arrival.
        flying: Vec<(Instant, u32)>,
        heard: Vec<u32>,
    }

    impl Script {
        fn new() -> Self {
            Self {
                buffer: JitterBuffer::new(8_000),
                now: epoch(),
                sent: 0,
                flying: Vec::new(),
                heard: Vec::new(),
            }
        }

        /// Sends packets one each 20 ms, each late by the given milliseconds or lost, and takes a
        /// frame each 20 ms.
        fn runs(&mut self, packets: u32, late_ms: impl Fn(u32) -> Option<u32>) {
            for _ in 0..packets {
                if let Some(late) = late_ms(self.sent) {
                    let late = Duration::from_millis(u64::from(late));
                    self.flying.push((self.now + late, self.sent));
                }
                self.sent += 1;
                self.flying.sort();
                let end = self.now + Duration::from_millis(20);
                let landed = self.flying.iter().take_while(|(at, _)| *at < end).count();
                for (at, packet) in self.flying.drain(..landed) {
                    self.buffer.insert(packet, packet * 160, &packet.to_be_bytes(), at);
                }
                if let (Frame::Payload, payload) = self.pops() {
                    self.heard.push(u32::from_be_bytes(payload.try_into().unwrap()));
                }
                self.now = end;
            }
        }

        fn pops(&mut self) -> (Frame, Vec<u8>) {
            let mut out = Vec::new();
            let frame = self.buffer.pop(self.now, &mut out);
            (frame, out)
        }

        fn plays_in_order(&self) {
            assert!(self.heard.is_sorted() && self.heard.len() > 100);
        }
    }
}
