//! The one stream that a port sends: its SSRC, sequence numbers and timestamps go on without a
//! break whether a prompt, another leg or music feeds it.
//!
//! A relayed packet keeps its distance to the packets before it, so that the peer sees the
//! losses of the far side as losses. When the feed changes, numbers go on at the next one and
//! timestamps by the time that has passed, with the marker set (RFC 3550 §5.1).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::rtp::{Header, sequence_distance, timestamp_distance};

/// The shortest step of the timestamp from one feed to the next: a packet's usual length, so
/// that the new feed does not overlap the last packet of the old one.
const STEP_MIN: Duration = Duration::from_millis(20);

/// Where a packet that is passed on comes from: a stream of a port. When it differs from that
/// of the packet before, the stream continues from a new feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The SSRC that the far peer uses.
    pub ssrc: u32,
    /// Counts its streams, see [`super::Receiver::streams`].
    pub streams: u32,
}

/// Writes the headers of an outgoing stream.
#[derive(Clone, Debug)]
pub struct Sender {
    state: SenderState,
    clock_hz: u32,
    /// When the first packet with the last timestamp was sent.
    last: Option<Instant>,
    feed: Feed,
    packets: u32,
    octets: u32,
}

/// What another node needs to continue the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderState {
    /// The SSRC.
    pub ssrc: u32,
    /// The sequence number of the last packet.
    pub sequence: u16,
    /// Its timestamp.
    pub timestamp: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    /// Nothing has been sent, or the source was changed.
    None,
    Relayed {
        origin: Origin,
        sequence_offset: u16,
        /// The feed's first timestamp on either side.
        incoming: u32,
        outgoing: u32,
        /// The newest number of the feed, and how many numbers it is after the first.
        newest: u16,
        span: u32,
    },
    /// `next` is the timestamp that follows the last packet.
    Generated { next: u32 },
}

impl Sender {
    /// A stream that begins after `state`, which is random for a new one.
    pub fn new(state: SenderState, clock_hz: u32) -> Self {
        Self { state, clock_hz, last: None, feed: Feed::None, packets: 0, octets: 0 }
    }

    /// What another node needs to continue.
    pub fn state(&self) -> SenderState {
        self.state
    }

    /// Packets and payload bytes sent, which wrap (RFC 3550 §6.4.1).
    pub fn counts(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// The codec changed to one with another clock (RFC 7160 §4.1 would have a new SSRC; peers
    /// follow a timestamp that only changes its pace better).
    pub fn set_clock(&mut self, clock_hz: u32) {
        if self.clock_hz != clock_hz {
            self.clock_hz = clock_hz;
            self.feed = Feed::None;
        }
    }

    /// The source of the port changed: the next packet begins a new feed.
    pub fn interrupt(&mut self) {
        self.feed = Feed::None;
    }

    /// The timestamp of `now`, for a sender report.
    pub fn timestamp_at(&self, now: Instant) -> u32 {
        match self.last {
            Some(last) => self.state.timestamp.wrapping_add(self.ticks(now - last)),
            None => self.state.timestamp,
        }
    }

    /// The header for a packet of another port's peer, whose timestamps count `clock_hz`.
    /// `None`: it is older than the feed's first packet, whose numbers are taken.
    pub fn relay(
        &mut self,
        origin: Origin,
        header: &Header,
        clock_hz: u32,
        now: Instant,
    ) -> Option<Header> {
        let (sequence, timestamp, marker) = match &mut self.feed {
            Feed::Relayed { origin: same, sequence_offset, incoming, outgoing, newest, span }
                if *same == origin =>
            {
                let distance = sequence_distance(*newest, header.sequence);
                if distance > 0 {
                    *newest = header.sequence;
                    *span = span.saturating_add(u32::from(distance.unsigned_abs()));
                } else if u32::from(distance.unsigned_abs()) > *span {
                    return None;
                }
                let passed = timestamp_distance(*incoming, header.timestamp);
                let passed = scale(passed, clock_hz, self.clock_hz);
                // Bases that follow keep the distance short of a wrap.
                if distance > 0 {
                    *incoming = header.timestamp;
                    *outgoing = outgoing.wrapping_add_signed(passed);
                    (header.sequence.wrapping_add(*sequence_offset), *outgoing, header.marker)
                } else {
                    let timestamp = outgoing.wrapping_add_signed(passed);
                    (header.sequence.wrapping_add(*sequence_offset), timestamp, header.marker)
                }
            }
            Feed::Relayed { .. } | Feed::Generated { .. } | Feed::None => {
                let sequence = self.state.sequence.wrapping_add(1);
                let timestamp = self.switched(now);
                self.feed = Feed::Relayed {
                    origin,
                    sequence_offset: sequence.wrapping_sub(header.sequence),
                    incoming: header.timestamp,
                    outgoing: timestamp,
                    newest: header.sequence,
                    span: 0,
                };
                (sequence, timestamp, true)
            }
        };
        let payload_type = header.payload_type;
        let ssrc = self.state.ssrc;
        self.sent(sequence, timestamp, now);
        Some(Header { marker, payload_type, sequence, timestamp, ssrc })
    }

    /// The header for the next packet of audio that we make ourselves; it lasts `step` ticks of
    /// the clock.
    pub fn generate(&mut self, payload_type: u8, step: u32, now: Instant) -> Header {
        let sequence = self.state.sequence.wrapping_add(1);
        let (timestamp, marker) = match self.feed {
            Feed::Generated { next } => (next, false),
            Feed::Relayed { .. } | Feed::None => (self.switched(now), true),
        };
        self.feed = Feed::Generated { next: timestamp.wrapping_add(step) };
        self.sent(sequence, timestamp, now);
        Header { marker, payload_type, sequence, timestamp, ssrc: self.state.ssrc }
    }

    /// The header for a packet that stands at a given time of the clock, as those of one
    /// telephone-event do; the first of them has the marker (RFC 4733 §2.5.1.1).
    pub fn place(&mut self, payload_type: u8, timestamp: u32, now: Instant) -> Header {
        let sequence = self.state.sequence.wrapping_add(1);
        let marker = self.state.timestamp != timestamp;
        self.feed = Feed::None;
        self.sent(sequence, timestamp, now);
        Header { marker, payload_type, sequence, timestamp, ssrc: self.state.ssrc }
    }

    /// Counts the payload of a packet whose header was written.
    pub fn count(&mut self, payload_bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload_bytes as u32);
    }

    /// The timestamp with which a new feed begins.
    pub fn switched(&self, now: Instant) -> u32 {
        match self.last {
            Some(last) => {
                let passed = (now - last).max(STEP_MIN);
                self.state.timestamp.wrapping_add(self.ticks(passed))
            }
            None => self.state.timestamp,
        }
    }

    fn sent(&mut self, sequence: u16, timestamp: u32, now: Instant) {
        let first = self.last.is_none();
        if first || sequence_distance(self.state.sequence, sequence) > 0 {
            self.state.sequence = sequence;
            // The packets of one telephone-event stand at its beginning.
            if first || self.state.timestamp != timestamp {
                self.state.timestamp = timestamp;
                self.last = Some(now);
            }
        }
    }

    fn ticks(&self, passed: Duration) -> u32 {
        (passed.as_micros() as u64 * u64::from(self.clock_hz) / 1_000_000) as u32
    }
}

/// A distance on one clock as a distance on another.
fn scale(distance: i32, from_hz: u32, to_hz: u32) -> i32 {
    if from_hz == to_hz {
        return distance;
    }
    (i64::from(distance) * i64::from(to_hz) / i64::from(from_hz)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::epoch;

    #[test]
    fn relayed_packets_keep_their_distances() {
        let mut port = Script::new();
        port.relays(1, 65_535, 1_000).sends(101, 5_000, true);
        port.relays(1, 0, 1_160).sends(102, 5_160, false);
        port.relays(1, 3, 1_640).sends(105, 5_640, false);
        port.relays(1, 2, 1_480).sends(104, 5_480, false);
        port.relays(1, 4, 1_800).sends(106, 5_800, false);
    }

    #[test]
    fn a_prompt_then_a_leg_then_music_is_one_stream() {
        let mut port = Script::new();
        port.generates().sends(101, 5_000, true);
        port.generates().sends(102, 5_160, false);
        port.after_ms(3_000).relays(1, 7, 99).sends(103, 5_160 + 24_160, true);
        port.relays(1, 8, 259).sends(104, 29_480, false);
        port.after_ms(100).generates().sends(105, 29_480 + 960, true);
    }

    #[test]
    fn after_a_telephone_event_the_clock_has_moved_by_its_duration() {
        let mut port = Script::new();
        port.generates().sends(101, 5_000, true);
        port.places(5_160).sends(102, 5_160, true);
        port.places(5_160).sends(103, 5_160, false);
        port.places(5_160).sends(104, 5_160, false);
        port.generates().sends(105, 5_160 + 480, true);
    }

    #[test]
    fn a_new_stream_of_the_far_peer_goes_on_where_the_old_one_was() {
        let mut port = Script::new();
        port.relays(1, 10, 1_000).sends(101, 5_000, true);
        port.relays(2, 60_000, 77).sends(102, 5_160, true);
        port.relays(2, 60_001, 237).sends(103, 5_320, false);
    }

    #[test]
    fn a_packet_from_before_the_switch_is_not_sent_under_a_number_in_use() {
        let mut port = Script::new();
        port.generates().sends(101, 5_000, true);
        port.relays(1, 50, 1_000).sends(102, 5_160, true);
        port.relays(1, 49, 840).is_silent();
        port.relays(1, 51, 1_160).sends(103, 5_320, false);
        port.relays(1, 50, 1_000).sends(102, 5_160, false);
    }

    #[test]
    fn another_clock_is_scaled() {
        let mut port = Script::new();
        port.clock_hz = 48_000;
        port.relays(1, 0, 0).sends(101, 5_000, true);
        port.relays(1, 1, 960).sends(102, 5_160, false);
        port.relays(1, 2, 1_920).sends(103, 5_320, false);
    }

    #[test]
    fn hours_of_one_feed_do_not_lose_the_clock() {
        let mut port = Script::new();
        for packet in 0..30_000_000_u32 / 160 {
            port.relays(1, packet as u16, packet.wrapping_mul(160_000));
        }
        let last = 30_000_000_u32 / 160 - 1;
        port.sends(
            101_u16.wrapping_add(last as u16),
            5_000_u32.wrapping_add(last.wrapping_mul(160_000)),
            false,
        );
    }

    struct Script {
        sender: Sender,
        now: Instant,
        clock_hz: u32,
        sent: Option<Header>,
    }

    impl Script {
        fn new() -> Self {
            let state = SenderState { ssrc: 0xABCD, sequence: 100, timestamp: 5_000 };
            let sender = Sender::new(state, 8_000);
            Self { sender, now: epoch(), clock_hz: 8_000, sent: None }
        }

        fn relays(&mut self, ssrc: u32, sequence: u16, timestamp: u32) -> &mut Self {
            let header = Header { marker: false, payload_type: 8, sequence, timestamp, ssrc };
            let origin = Origin { ssrc, streams: ssrc };
            self.sent = self.sender.relay(origin, &header, self.clock_hz, self.now);
            self.after_ms(20)
        }

        fn generates(&mut self) -> &mut Self {
            self.sent = Some(self.sender.generate(8, 160, self.now));
            self.after_ms(20)
        }

        fn places(&mut self, timestamp: u32) -> &mut Self {
            self.sent = Some(self.sender.place(8, timestamp, self.now));
            self.after_ms(20)
        }

        fn after_ms(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        fn sends(&mut self, sequence: u16, timestamp: u32, marker: bool) {
            let sent = Header { marker, payload_type: 8, sequence, timestamp, ssrc: 0xABCD };
            assert_eq!(self.sent.take(), Some(sent));
        }

        fn is_silent(&mut self) {
            assert_eq!(self.sent.take(), None);
        }
    }
}
