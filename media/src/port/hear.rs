//! What arrives at a port: whose it is, what it is, and the digits in it.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Output, Port};
use crate::codec::{CodecKind, Decoder};
use crate::dtmf::DtmfDetector;
use crate::frame::{FRAME_SAMPLES_MAX, Rate};
use crate::rtcp::{self, Part};
use crate::rtp::{Header, NotRtp, Packet};
use crate::session::{Arrival, Origin, Verdict};
use crate::telephone_event::Press;

/// The payload type of comfort noise (RFC 3389 §4).
const COMFORT_NOISE: u8 = 13;

/// The most frames that are concealed for one gap; beyond 60 ms it is noise.
const CONCEALED_MAX: u16 = 3;

/// A packet that a port took from its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its header.
    pub header: Header,
    /// Its payload in the datagram.
    pub payload: Range<usize>,
    /// What it carries.
    pub what: What,
    /// The stream that it belongs to.
    pub origin: Origin,
    /// The codec of the port.
    pub codec: CodecKind,
    /// Packets lost directly before it.
    pub lost: u16,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Audio in the port's codec, in order.
    Audio,
    /// Audio that a later packet overtook: good for a relay and a recording, too late for a
    /// decoder.
    LateAudio,
    /// A telephone-event.
    Event,
    /// Comfort noise.
    Comfort,
}

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Neither RTP nor RTCP.
    Malformed,
    /// RTCP, for [`Port::handle_rtcp`].
    Rtcp,
    /// Not from the peer.
    Stray,
    /// A duplicate, or of a stream that has ended.
    Stale,
    /// The peer should not send (the direction), or not with this payload type.
    Unwanted,
}

/// Decoders by rate, and the tone detector.
#[derive(Debug)]
pub(super) struct Ears {
    decoders: Vec<Decoder>,
    detector: DtmfDetector,
    /// The samples of the last frame at 8 kHz, for the length of what is lost.
    frame_ms: u32,
}

impl Port {
    /// A datagram at the RTP socket.
    pub fn handle_rtp(
        &mut self,
        datagram: &[u8],
        source: SocketAddr,
        now: Instant,
    ) -> Result<Heard, Refused> {
        let Packet { header, payload } = Packet::parse(datagram).map_err(|not| match not {
            NotRtp::Rtcp => Refused::Rtcp,
            NotRtp::Version { .. } | NotRtp::Length { .. } => Refused::Malformed,
        })?;
        match self.latch.judge(source, header.ssrc, now) {
            Verdict::Accept => (),
            Verdict::Stray => return Err(Refused::Stray),
        }
        let arrival = self.receiver.receive(&header, now);
        let lost = match arrival {
            Arrival::Duplicate | Arrival::Refused => return Err(Refused::Stale),
            Arrival::First => {
                self.restart_hearing();
                0
            }
            Arrival::Newest { lost } => lost,
            Arrival::Late => 0,
        };
        if !self.plan.direction.receives() {
            return Err(Refused::Unwanted);
        }
        (self.silence.heard, self.silence.told) = (now, false);
        let what = self.what(header.payload_type, arrival).ok_or(Refused::Unwanted)?;
        if what == What::Event {
            let clock_hz = self.clock_hz();
            self.listener.handle_event(&header, &datagram[payload.clone()], clock_hz, now);
            self.collect_presses();
        }
        let origin = Origin { ssrc: header.ssrc, streams: self.receiver.streams() };
        Ok(Heard { header, payload, what, origin, codec: self.plan.codec.kind, lost })
    }

    /// Whether the port listens for tones, so that [`Port::decode`] at 8 kHz is needed.
    pub fn listens_for_tones(&self) -> bool {
        self.plan.detect.in_band && !self.events_heard
    }

    /// The samples of a packet, what was lost before it included, into `pcm`; `None` when it
    /// cannot be decoded. At most once for each packet and rate.
    pub fn decode<'a>(
        &mut self,
        heard: &Heard,
        payload: &[u8],
        rate: Rate,
        pcm: &'a mut [i16; FRAME_SAMPLES_MAX],
    ) -> Option<&'a [i16]> {
        let ears = self.ears.get_or_insert_with(|| {
            Box::new(Ears { decoders: Vec::new(), detector: DtmfDetector::new(), frame_ms: 20 })
        });
        let at = match ears.decoders.iter().position(|decoder| decoder.rate() == rate) {
            Some(at) => at,
            None => {
                ears.decoders.push(Decoder::new(heard.codec, rate).ok()?);
                ears.decoders.len() - 1
            }
        };
        let decoder = &mut ears.decoders[at];
        let frame = rate.samples(ears.frame_ms);
        let mut at = 0;
        for _ in 0..heard.lost.min(CONCEALED_MAX) {
            if at + 2 * frame <= pcm.len() {
                decoder.conceal(&mut pcm[at..at + frame]);
                at += frame;
            }
        }
        let decoded = decoder.decode(payload, &mut pcm[at..]).ok()?;
        ears.frame_ms = (decoded / rate.samples(1)) as u32;
        Some(&pcm[..at + decoded])
    }

    /// Listens for tones in samples at 8 kHz.
    pub fn handle_pcm(&mut self, pcm: &[i16]) {
        let Some(ears) = &mut self.ears else {
            return;
        };
        ears.detector.handle_pcm(pcm);
        while let Some(digit) = self.ears.as_mut().and_then(|ears| ears.detector.poll_digit()) {
            self.tell(Output::Digit(digit.as_char()));
        }
    }

    /// A datagram at the RTCP socket, or RTCP at the RTP socket. False when it is not the peer's.
    pub fn handle_rtcp(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) -> bool {
        // Reports may come from another port than RTP, but not from another host.
        if self.destination().is_none_or(|peer| peer.ip() != source.ip()) {
            return false;
        }
        let Ok(parts) = rtcp::parts(datagram) else {
            return false;
        };
        self.rtcp_source = Some(source);
        for part in parts {
            match part {
                Part::SenderReport { ssrc, ntp } => self.receiver.sender_report(ssrc, ntp, now),
                // What the peer reports of our stream has no reader yet.
                Part::Block(_) | Part::Goodbye { .. } => (),
            }
        }
        true
    }

    /// Whether the peer was heard within so long. A new port counts as heard when it began.
    pub fn was_heard(&self, within: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.silence.heard) <= within
    }

    /// Ends what time ends: a key press whose end was lost, the patience with a silent peer.
    pub fn handle_timeout(&mut self, quiet: Duration, now: Instant) {
        self.listener.handle_timeout(now);
        self.collect_presses();
        let silent = now - self.silence.heard;
        let expected = self.plan.direction.receives() && self.plan.remote.is_some();
        if expected && silent >= quiet && !self.silence.told {
            self.silence.told = true;
            self.tell(Output::Quiet(silent));
        }
    }

    fn what(&self, payload_type: u8, arrival: Arrival) -> Option<What> {
        if payload_type == self.plan.codec.receive_payload_type {
            Some(if arrival == Arrival::Late { What::LateAudio } else { What::Audio })
        } else if Some(payload_type) == self.plan.dtmf {
            Some(What::Event)
        } else {
            (payload_type == COMFORT_NOISE).then_some(What::Comfort)
        }
    }

    fn restart_hearing(&mut self) {
        self.listener.restart();
        self.collect_presses();
        self.ears = None;
        if let Some(seat) = &mut self.seat {
            seat.restart();
        }
    }

    fn collect_presses(&mut self) {
        while let Some(press) = self.listener.poll_output() {
            match press {
                Press::Down { key } => {
                    self.events_heard = true;
                    if self.plan.detect.rfc4733 {
                        self.tell(Output::Digit(key));
                    }
                }
                Press::Up { .. } => (),
            }
        }
    }
}
