//! What arrives: sequence numbers that wrap, losses, duplicates, jitter (RFC 3550 appendix A).
//!
//! Does not hold packets; the jitter buffer does. A stream counts from its first packet, not
//! from its second as in appendix A.1: whose packet it is, the latch has decided before.

use std::time::{Duration, Instant};

use crate::rtcp::ReportBlock;
use crate::rtp::{Header, sequence_distance};

/// A jump forward of fewer numbers is loss (RFC 3550 appendix A.1: MAX_DROPOUT).
const DROPOUT_MAX: i16 = 3_000;
/// A jump back of fewer numbers is reordering (appendix A.1: MAX_MISORDER is 100; the window of
/// remembered numbers makes it 64).
const MISORDER_MAX: i16 = 64;
/// How long packets of the SSRC before are refused after a change, so that two interleaved
/// streams do not make the port flap.
const FORMER_SSRC: Duration = Duration::from_millis(500);

/// Follows the packets of one peer.
#[derive(Clone, Debug)]
pub struct Receiver {
    clock_hz: u32,
    stream: Option<Stream>,
    former: Option<(u32, Instant)>,
    streams: u32,
    reception: Reception,
}

/// What a packet is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A stream begins: the first packet, a new SSRC, or a peer that counts anew.
    First,
    /// The newest so far; `lost` numbers before it have not been seen.
    Newest {
        /// Numbers skipped.
        lost: u16,
    },
    /// Older than the newest, and not seen before.
    Late,
    /// Seen before.
    Duplicate,
    /// Of a stream that has ended, or a jump that a second packet has not confirmed.
    Refused,
}

/// What has arrived since the port was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// Packets taken.
    pub packets: u64,
    /// Packets missed that did not come late.
    pub lost: u64,
    /// Packets seen twice.
    pub duplicates: u64,
    /// Interarrival jitter, in microseconds (RFC 3550 §6.4.1).
    pub jitter_us: u64,
}

#[derive(Clone, Debug)]
struct Stream {
    ssrc: u32,
    began: Instant,
    newest: u16,
    /// Times that the sequence number has wrapped.
    cycles: u16,
    /// Bit n: `newest − n` has been seen.
    seen: u64,
    /// Where a jump would go on if it is real (appendix A.1: bad_seq).
    jump: Option<u16>,
    timestamp: u32,
    transit: u32,
    /// Sixteen times the jitter in clock units (appendix A.8).
    jitter_16: u32,
    first: u32,
    received: u32,
    reported: Reported,
    last_sender_report: Option<(u32, Instant)>,
}

/// The counts at the last report (appendix A.3).
#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    expected: u32,
    received: u32,
}

impl Receiver {
    /// Nothing has arrived. `clock_hz` is the clock of the timestamps.
    pub fn new(clock_hz: u32) -> Self {
        Self { clock_hz, stream: None, former: None, streams: 0, reception: Reception::default() }
    }

    /// The codec changed to one with another clock: jitter is measured anew.
    pub fn set_clock(&mut self, clock_hz: u32) {
        if self.clock_hz != clock_hz {
            self.clock_hz = clock_hz;
            self.stream = None;
        }
    }

    /// A packet of the peer.
    pub fn receive(&mut self, header: &Header, now: Instant) -> Arrival {
        let arrival = match &mut self.stream {
            Some(stream) if stream.ssrc == header.ssrc => stream.receive(header),
            Some(stream) => match self.former {
                Some((former, until)) if former == header.ssrc && now < until => Arrival::Refused,
                Some(_) | None => {
                    self.former = Some((stream.ssrc, now + FORMER_SSRC));
                    Arrival::First
                }
            },
            None => Arrival::First,
        };
        match arrival {
            Arrival::First => {
                self.stream = Some(Stream::new(header, now));
                self.streams = self.streams.wrapping_add(1);
            }
            Arrival::Newest { lost } => self.reception.lost += u64::from(lost),
            Arrival::Late => self.reception.lost = self.reception.lost.saturating_sub(1),
            Arrival::Duplicate => self.reception.duplicates += 1,
            Arrival::Refused => (),
        }
        if matches!(arrival, Arrival::First | Arrival::Newest { .. } | Arrival::Late) {
            self.reception.packets += 1;
            self.measure(header, now);
        }
        arrival
    }

    /// The sequence number continued past 65,535, of a packet that has just been received.
    pub fn extended(&self, sequence: u16) -> u32 {
        self.stream.as_ref().map_or(u32::from(sequence), |stream| stream.extended(sequence))
    }

    /// Changes whenever a stream begins.
    pub fn streams(&self) -> u32 {
        self.streams
    }

    /// The SSRC of the peer.
    pub fn ssrc(&self) -> Option<u32> {
        self.stream.as_ref().map(|stream| stream.ssrc)
    }

    /// What has arrived so far.
    pub fn reception(&self) -> Reception {
        let jitter = self.stream.as_ref().map_or(0, |stream| u64::from(stream.jitter_16 >> 4));
        Reception { jitter_us: jitter * 1_000_000 / u64::from(self.clock_hz), ..self.reception }
    }

    /// The peer's sender report, whose time our next report gives back (RFC 3550 §6.4.1: LSR).
    pub fn sender_report(&mut self, ssrc: u32, ntp: u64, now: Instant) {
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == ssrc) {
            stream.last_sender_report = Some(((ntp >> 16) as u32, now));
        }
    }

    /// The report block on the peer's stream, counting from the last one.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        self.stream.as_mut().map(|stream| stream.report(now))
    }

    fn measure(&mut self, header: &Header, now: Instant) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let first = stream.received == 0;
        stream.received = stream.received.wrapping_add(1);
        // The packets of one telephone-event share a timestamp and would read as jitter.
        if !first && stream.timestamp == header.timestamp {
            return;
        }
        stream.timestamp = header.timestamp;
        let micros = (now - stream.began).as_micros() as u64;
        let arrival = (micros * u64::from(self.clock_hz) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(header.timestamp);
        let moved = (transit.wrapping_sub(stream.transit) as i32).unsigned_abs();
        stream.transit = transit;
        // A leap of more than a second is a peer that set its clock anew, not jitter.
        if !first && moved < self.clock_hz {
            stream.jitter_16 += moved;
            stream.jitter_16 -= (stream.jitter_16 + 8) >> 4;
        }
    }
}

impl Stream {
    fn new(header: &Header, now: Instant) -> Self {
        Self {
            ssrc: header.ssrc,
            began: now,
            newest: header.sequence,
            cycles: 0,
            seen: 1,
            jump: None,
            timestamp: header.timestamp,
            transit: 0,
            jitter_16: 0,
            first: u32::from(header.sequence),
            received: 0,
            reported: Reported::default(),
            last_sender_report: None,
        }
    }

    fn receive(&mut self, header: &Header) -> Arrival {
        let distance = sequence_distance(self.newest, header.sequence);
        if distance > 0 && distance < DROPOUT_MAX {
            self.jump = None;
            if header.sequence < self.newest {
                self.cycles = self.cycles.wrapping_add(1);
            }
            self.newest = header.sequence;
            self.seen = self.seen.checked_shl(u32::from(distance.unsigned_abs())).unwrap_or(0) | 1;
            return Arrival::Newest { lost: distance.unsigned_abs() - 1 };
        }
        if distance <= 0 && distance > -MISORDER_MAX {
            let bit = 1 << distance.unsigned_abs();
            let arrival = if self.seen & bit == 0 { Arrival::Late } else { Arrival::Duplicate };
            self.seen |= bit;
            return arrival;
        }
        // Two in a row make a peer that restarted; one is a stray or very late.
        if self.jump == Some(header.sequence) {
            return Arrival::First;
        }
        self.jump = Some(header.sequence.wrapping_add(1));
        Arrival::Refused
    }

    fn extended(&self, sequence: u16) -> u32 {
        let newest = u32::from(self.cycles) << 16 | u32::from(self.newest);
        let distance = i32::from(sequence_distance(self.newest, sequence));
        newest.wrapping_add_signed(distance)
    }

    fn report(&mut self, now: Instant) -> ReportBlock {
        let highest = self.extended(self.newest);
        let expected = highest.wrapping_sub(self.first).wrapping_add(1);
        let lost = expected.wrapping_sub(self.received) as i32;
        let expected_interval = expected.wrapping_sub(self.reported.expected);
        let received_interval = self.received.wrapping_sub(self.reported.received);
        self.reported = Reported { expected, received: self.received };
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = u64::from(lost_interval) * 256 / u64::from(expected_interval.max(1));
        let (last_sender_report, delay) = match self.last_sender_report {
            Some((middle, at)) => (middle, ((now - at).as_micros() * 65_536 / 1_000_000) as u32),
            None => (0, 0),
        };
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            // 24 bits, signed (appendix A.3 clamps).
            cumulative_lost: lost.clamp(-0x80_0000, 0x7F_FFFF),
            highest_sequence: highest,
            jitter: self.jitter_16 >> 4,
            last_sender_report,
            delay_since_sender_report: delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::epoch;

    #[test]
    fn numbers_that_wrap_count_on() {
        let mut peer = Script::new();
        peer.packet(65_534).is(Arrival::First);
        peer.packet(65_535).is(Arrival::Newest { lost: 0 });
        peer.packet(1).is(Arrival::Newest { lost: 1 });
        assert_eq!(peer.receiver.extended(1), 65_537);
        peer.packet(0).is(Arrival::Late);
        assert_eq!(peer.receiver.extended(0), 65_536);
        peer.packet(0).is(Arrival::Duplicate);
        let reception = peer.receiver.reception();
        assert_eq!((reception.packets, reception.lost, reception.duplicates), (4, 0, 1));
    }

    #[test]
    fn a_new_ssrc_is_a_new_stream_and_the_old_one_does_not_flap_back() {
        let mut peer = Script::new();
        peer.packet(10).is(Arrival::First);
        peer.ssrc = 2;
        peer.packet(5_000).is(Arrival::First);
        peer.ssrc = 1;
        peer.packet(11).is(Arrival::Refused);
        peer.ssrc = 2;
        peer.packet(5_001).is(Arrival::Newest { lost: 0 });
        assert_eq!(peer.receiver.streams(), 2);
        peer.now += FORMER_SSRC;
        peer.ssrc = 1;
        peer.packet(12).is(Arrival::First);
    }

    #[test]
    fn a_jump_is_believed_at_its_second_packet() {
        let mut peer = Script::new();
        peer.packet(10).is(Arrival::First);
        peer.packet(30_000).is(Arrival::Refused);
        peer.packet(11).is(Arrival::Newest { lost: 0 });
        peer.packet(30_000).is(Arrival::Refused);
        peer.packet(30_001).is(Arrival::First);
    }

    #[test]
    fn jitter_is_nothing_on_time_and_grows_towards_the_deviation() {
        let mut peer = Script::new();
        for sequence in 0..100 {
            peer.packet(sequence);
        }
        assert_eq!(peer.receiver.reception().jitter_us, 0);
        for sequence in 100..400 {
            // Every other packet is 5 ms late, so each differs from the one before by 5 ms.
            let late = Duration::from_millis(if sequence % 2 == 0 { 5 } else { 0 });
            peer.now += late;
            peer.packet(sequence);
            peer.now -= late;
        }
        let jitter = peer.receiver.reception().jitter_us;
        assert!((4_500..=5_000).contains(&jitter), "{jitter} µs");
    }

    #[test]
    fn the_packets_of_one_telephone_event_are_not_jitter() {
        let mut peer = Script::new();
        peer.packet(0);
        peer.frozen = true;
        for sequence in 1..20 {
            peer.packet(sequence);
        }
        assert_eq!(peer.receiver.reception().jitter_us, 0);
    }

    #[test]
    fn a_report_tells_the_losses_since_the_last_one() {
        let mut peer = Script::new();
        for sequence in (0..100).filter(|sequence| sequence % 4 != 3) {
            peer.packet(sequence);
        }
        peer.packet(100);
        let now = peer.now;
        peer.receiver.sender_report(1, 0x0001_0002_0003_0004, now);
        let report = peer.receiver.report(now + Duration::from_millis(500)).unwrap();
        let expected = ReportBlock {
            ssrc: 1,
            fraction_lost: (25 * 256 / 101) as u8,
            cumulative_lost: 25,
            highest_sequence: 100,
            jitter: 0,
            last_sender_report: 0x0002_0003,
            delay_since_sender_report: 32_768,
        };
        assert_eq!(report, expected);
        peer.packet(101);
        let report = peer.receiver.report(peer.now).unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 25));
    }

    #[test]
    fn two_thousand_wraps_of_any_order_stay_consistent() {
        let mut peer = Script::new();
        for sequence in 0..200_000_u32 {
            peer.packet(sequence as u16);
        }
        let report = peer.receiver.report(peer.now).unwrap();
        assert_eq!((report.highest_sequence, report.cumulative_lost), (199_999, 0));
    }

    struct Script {
        receiver: Receiver,
        now: Instant,
        ssrc: u32,
        frozen: bool,
        arrival: Option<Arrival>,
    }

    impl Script {
        fn new() -> Self {
            let receiver = Receiver::new(8_000);
            Self { receiver, now: epoch(), ssrc: 1, frozen: false, arrival: None }
        }

        /// A packet with this number, 20 ms after the one before, with a timestamp to match.
        fn packet(&mut self, sequence: u16) -> &mut Self {
            self.now += Duration::from_millis(20);
            let since =
                if self.frozen { 20 } else { (self.now - epoch()).as_millis() as u32 / 20 * 20 };
            let header = Header {
                marker: false,
                payload_type: 0,
                sequence,
                timestamp: since * 8,
                ssrc: self.ssrc,
            };
            self.arrival = Some(self.receiver.receive(&header, self.now));
            self
        }

        fn is(&mut self, arrival: Arrival) {
            assert_eq!(self.arrival.take(), Some(arrival));
        }
    }
}
