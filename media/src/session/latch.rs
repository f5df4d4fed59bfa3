//! Symmetric RTP: which source address is the peer's (RFC 4961, and the usual latching of
//! peers behind a NAT).
//!
//! The SDP's address always counts. Another address counts when nothing has been settled yet
//! and it keeps sending one stream, or when the peer that was settled has fallen silent and the
//! same stream goes on from elsewhere (a NAT that rebinds). Everybody else is a stray and
//! changes nothing, so a late packet of an earlier call, or a guess, cannot steal the audio.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Packets in a row from an address that the SDP does not name before it is believed. Below, a
/// single forged or late packet would do; each costs 20 ms at the beginning of the call.
const CANDIDATE_PACKETS: u8 = 3;
/// How long the settled peer must have been silent before the same stream may go on from
/// another address.
const REBIND_SILENCE: Duration = Duration::from_millis(500);

/// Follows the peer's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latch {
    /// Where the SDP says that the peer receives.
    expected: Option<SocketAddr>,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has arrived that we believe. `last` is where the peer was before a
    /// re-negotiation that kept its address.
    Open {
        candidate: Option<Candidate>,
        last: Option<SocketAddr>,
    },
    Settled {
        peer: SocketAddr,
        ssrc: u32,
        heard: Instant,
        candidate: Option<Candidate>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    packets: u8,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the peer's.
    Accept,
    /// It is not, or not yet.
    Stray,
}

impl Latch {
    /// A latch that expects the SDP's address, if there is one yet.
    pub fn new(expected: Option<SocketAddr>) -> Self {
        Self { expected, state: State::Open { candidate: None, last: None } }
    }

    /// Goes on sending to where another node sent.
    pub fn resume(&mut self, peer: Option<SocketAddr>) {
        self.state = State::Open { candidate: None, last: peer };
    }

    /// The offer/answer was repeated: the peer may have moved.
    pub fn renegotiate(&mut self, expected: Option<SocketAddr>) {
        let last = if expected == self.expected { self.peer() } else { None };
        self.expected = expected;
        self.state = State::Open { candidate: None, last };
    }

    /// Where our packets go.
    pub fn destination(&self) -> Option<SocketAddr> {
        // 0.0.0.0 was how RFC 2543 put a call on hold; port 0 refuses the stream (RFC 3264 §6).
        self.peer()
            .or(self.expected)
            .filter(|address| !address.ip().is_unspecified() && address.port() != 0)
    }

    /// The address that the peer was found at, for another node.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self.state {
            State::Open { last, .. } => last,
            State::Settled { peer, .. } => Some(peer),
        }
    }

    /// Judges the source of a packet.
    pub fn judge(&mut self, source: SocketAddr, ssrc: u32, now: Instant) -> Verdict {
        match &mut self.state {
            State::Settled { peer, ssrc: settled, heard, candidate } if *peer == source => {
                (*settled, *heard, *candidate) = (ssrc, now, None);
                Verdict::Accept
            }
            State::Settled { ssrc: settled, heard, candidate, .. } => {
                let rebound = now - *heard >= REBIND_SILENCE && *settled == ssrc;
                let confirmed = rebound && confirm(candidate, source, ssrc);
                self.settle_if(confirmed || self.expected == Some(source), source, ssrc, now)
            }
            State::Open { candidate, last } => {
                let known = self.expected == Some(source) || *last == Some(source);
                // Before any SDP there is nobody to believe.
                let confirmed = self.expected.is_some() && confirm(candidate, source, ssrc);
                self.settle_if(known || confirmed, source, ssrc, now)
            }
        }
    }

    fn settle_if(&mut self, yes: bool, peer: SocketAddr, ssrc: u32, now: Instant) -> Verdict {
        if !yes {
            return Verdict::Stray;
        }
        self.state = State::Settled { peer, ssrc, heard: now, candidate: None };
        Verdict::Accept
    }
}

/// Counts a packet of a candidate; true when it has sent enough in a row.
fn confirm(candidate: &mut Option<Candidate>, source: SocketAddr, ssrc: u32) -> bool {
    let packets = match candidate {
        Some(same) if same.source == source && same.ssrc == ssrc => same.packets + 1,
        Some(_) | None => 1,
    };
    *candidate = Some(Candidate { source, ssrc, packets });
    packets >= CANDIDATE_PACKETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::epoch;

    const SDP: &str = "192.0.2.1:4000";
    const NAT: &str = "203.0.113.9:61000";
    const STRANGER: &str = "198.51.100.66:666";

    #[test]
    fn the_address_of_the_sdp_is_believed_at_once() {
        let mut peer = Script::expecting(SDP);
        peer.sends_to(SDP).hears(SDP, 1, Verdict::Accept);
        peer.hears(STRANGER, 2, Verdict::Stray).hears(STRANGER, 2, Verdict::Stray);
        peer.hears(STRANGER, 2, Verdict::Stray).sends_to(SDP);
    }

    #[test]
    fn a_peer_behind_a_nat_is_believed_at_its_third_packet() {
        let mut peer = Script::expecting(SDP);
        peer.hears(NAT, 1, Verdict::Stray).hears(NAT, 1, Verdict::Stray).sends_to(SDP);
        peer.hears(NAT, 1, Verdict::Accept).sends_to(NAT);
    }

    #[test]
    fn a_stranger_in_between_starts_the_count_again() {
        let mut peer = Script::expecting(SDP);
        peer.hears(NAT, 1, Verdict::Stray).hears(NAT, 1, Verdict::Stray);
        peer.hears(STRANGER, 2, Verdict::Stray).hears(NAT, 1, Verdict::Stray);
    }

    #[test]
    fn the_address_of_the_sdp_takes_the_stream_back_from_a_stranger() {
        let mut peer = Script::expecting(SDP);
        for verdict in [Verdict::Stray, Verdict::Stray, Verdict::Accept] {
            peer.hears(STRANGER, 2, verdict);
        }
        peer.sends_to(STRANGER).hears(SDP, 1, Verdict::Accept).sends_to(SDP);
        peer.hears(STRANGER, 2, Verdict::Stray);
    }

    #[test]
    fn a_nat_that_rebinds_is_followed_when_the_same_stream_goes_on() {
        let mut peer = Script::expecting(SDP);
        let moved = "203.0.113.9:61001";
        peer.hears(SDP, 1, Verdict::Accept).after_ms(600);
        peer.hears(STRANGER, 2, Verdict::Stray).hears(STRANGER, 2, Verdict::Stray);
        peer.hears(STRANGER, 2, Verdict::Stray);
        peer.hears(moved, 1, Verdict::Stray).hears(moved, 1, Verdict::Stray);
        peer.hears(moved, 1, Verdict::Accept).sends_to(moved);
    }

    #[test]
    fn the_same_stream_from_elsewhere_is_a_stray_while_the_peer_talks() {
        let mut peer = Script::expecting(SDP);
        for _ in 0..10 {
            peer.hears(SDP, 1, Verdict::Accept).after_ms(20).hears(STRANGER, 1, Verdict::Stray);
        }
        peer.sends_to(SDP);
    }

    #[test]
    fn a_renegotiation_opens_the_latch_and_keeps_the_way_back() {
        let mut peer = Script::expecting(SDP);
        for verdict in [Verdict::Stray, Verdict::Stray, Verdict::Accept] {
            peer.hears(NAT, 1, verdict);
        }
        peer.latch.renegotiate(Some(SDP.parse().unwrap()));
        peer.sends_to(NAT).hears(NAT, 9, Verdict::Accept);

        peer.latch.renegotiate(Some(STRANGER.parse().unwrap()));
        peer.sends_to(STRANGER).hears(NAT, 9, Verdict::Stray).hears(STRANGER, 7, Verdict::Accept);
    }

    #[test]
    fn nobody_is_believed_before_there_is_an_sdp() {
        let mut latch = Latch::new(None);
        let now = epoch();
        for _ in 0..10 {
            assert_eq!(latch.judge(STRANGER.parse().unwrap(), 1, now), Verdict::Stray);
        }
        assert_eq!(latch.destination(), None);
    }

    #[test]
    fn nothing_is_sent_to_an_address_that_says_hold() {
        for held in ["0.0.0.0:4000", "192.0.2.1:0"] {
            assert_eq!(Latch::new(Some(held.parse().unwrap())).destination(), None);
        }
    }

    struct Script {
        latch: Latch,
        now: Instant,
    }

    impl Script {
        fn expecting(address: &str) -> Self {
            Self { latch: Latch::new(Some(address.parse().unwrap())), now: epoch() }
        }

        fn hears(&mut self, source: &str, ssrc: u32, verdict: Verdict) -> &mut Self {
            assert_eq!(self.latch.judge(source.parse().unwrap(), ssrc, self.now), verdict);
            self
        }

        fn after_ms(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        fn sends_to(&mut self, address: &str) -> &mut Self {
            assert_eq!(self.latch.destination(), Some(address.parse().unwrap()));
            self
        }
    }
}
