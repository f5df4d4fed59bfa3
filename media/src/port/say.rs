//! What leaves a port: relayed packets, clips, digits, the mix, reports.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::hear::{Heard, What};
use super::playing::Played;
use super::translate::Translator;
use super::{Output, Port, Source};
use crate::clip::Clip;
use crate::codec::CodecKind;
use crate::frame::{FRAME_MS, FRAME_SAMPLES_8K, PAYLOAD_BYTES_MAX, Rate};
use crate::rtcp::{REPORT_BYTES_MAX, REPORT_INTERVAL, Report, SenderInfo};
use crate::rtp::{HEADER_BYTES, Header};
use crate::telephone_event::{Event, Step};

/// The bytes of the longest packet that a port makes.
pub const PACKET_BYTES_MAX: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;

/// How often a port that says nothing sends a frame of silence: often enough for the NATs that
/// forget a path after 30 s (RFC 6263 §4 recommends 15 s; RFC 4787 §4.3 sets 2 minutes).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Frames of silence after which an adaptive encoder has come to rest.
const REST_FRAMES: usize = 25;

impl Port {
    /// Passes a packet of another port on, its header rewritten in place; what to send of the
    /// datagram. `None` for what does not pass: the peer is on hold, has no such payload type,
    /// speaks another codec (see [`Port::translate`]), or digits are being sent.
    pub fn relay(
        &mut self,
        heard: &Heard,
        datagram: &mut [u8],
        now: Instant,
    ) -> Option<Range<usize>> {
        if !self.plan.direction.sends() || self.is_pressing() {
            return None;
        }
        let own = self.plan.codec;
        let payload_type = match heard.what {
            What::Audio | What::LateAudio if heard.codec == own.kind => own.send_payload_type,
            What::Audio | What::LateAudio => return None,
            What::Event => self.plan.dtmf?,
            What::Comfort if heard.codec.rtp_clock_hz() == own.kind.rtp_clock_hz() => {
                heard.header.payload_type
            }
            What::Comfort => return None,
        };
        let from_hz = heard.codec.rtp_clock_hz();
        let header = Header { payload_type, ..heard.header };
        let header = self.sender.relay(heard.origin, &header, from_hz, now)?;
        if what_needs_scaling(heard.what, from_hz, own.kind) {
            scale_event(&mut datagram[heard.payload.clone()], from_hz, own.kind.rtp_clock_hz());
        }
        self.sent(heard.payload.len(), now);
        Some(header.rewrite(datagram, heard.payload.clone()))
    }

    /// Takes samples of a port that speaks another codec. Then [`Port::poll_translated`] until
    /// it has no more. `rate` is [`Port::rate_from`] that port's codec.
    pub fn translate(&mut self, heard: &Heard, pcm: &[i16], rate: Rate) {
        let kind = self.plan.codec.kind;
        if !self.translator.as_ref().is_some_and(|held| held.fits(kind, rate, heard.origin)) {
            let clock_hz = heard.codec.rtp_clock_hz();
            self.translator = Translator::new(kind, rate, clock_hz, heard.origin).map(Box::new);
        }
        if let Some(translator) = &mut self.translator {
            let payload_ms = heard.payload.len() / 8;
            let own = match heard.codec {
                CodecKind::Pcmu | CodecKind::Pcma | CodecKind::G722 => {
                    rate.samples(payload_ms as u32)
                }
                // What an Opus packet lasts is not in its length; concealed frames are as long.
                CodecKind::Opus => pcm.len() / (usize::from(heard.lost.min(3)) + 1),
            };
            translator.push(pcm, heard.header.timestamp, pcm.len().saturating_sub(own));
        }
    }

    /// The next packet of what was translated, into `out`.
    pub fn poll_translated(
        &mut self,
        heard: &Heard,
        out: &mut [u8; PACKET_BYTES_MAX],
        now: Instant,
    ) -> Option<usize> {
        let (room, payload) = split(out);
        let (header, bytes) = self.translator.as_mut()?.next(payload)?;
        if !self.plan.direction.sends() || self.is_pressing() {
            return None;
        }
        let header = Header { payload_type: self.plan.codec.send_payload_type, ..header };
        let from_hz = heard.codec.rtp_clock_hz();
        self.sender.relay(heard.origin, &header, from_hz, now)?.write(room);
        self.sent(bytes, now);
        Some(HEADER_BYTES + bytes)
    }

    /// Whether [`Port::handle_tick`] has something to do every 20 ms.
    pub fn needs_ticks(&self) -> bool {
        self.is_pressing() || self.playing.as_ref().is_some_and(|playing| !playing.is_over())
    }

    /// 20 ms passed: the packet that the port makes itself, into `out`.
    pub fn handle_tick(&mut self, out: &mut [u8; PACKET_BYTES_MAX], now: Instant) -> Option<usize> {
        if self.is_pressing() {
            return self.press(out, now);
        }
        let (room, payload) = split(out);
        let Source::Play { clips, repeat, .. } = &self.plan.source else {
            return None;
        };
        let playing = self.playing.as_mut()?;
        let frames = playing.wait(self.plan.codec.frames_in_packet())?;
        let mut filled = 0;
        for _ in 0..frames {
            match playing.next(clips, *repeat, self.plan.codec.kind, &mut payload[filled..]) {
                Played::Frame(bytes) => filled += bytes,
                Played::Over(seq) => {
                    self.outputs.push_back(Output::Played(seq));
                    break;
                }
                Played::Nothing => break,
            }
        }
        if filled == 0 {
            return None;
        }
        self.say(filled, u32::from(frames) * FRAME_MS, room, now)
    }

    /// A frame of silence when nothing has been sent for a while, into `out`.
    pub fn keep_alive(&mut self, out: &mut [u8; PACKET_BYTES_MAX], now: Instant) -> Option<usize> {
        if self.silence.sent.is_some_and(|sent| now - sent < KEEP_ALIVE) || self.needs_ticks() {
            return None;
        }
        let (room, payload) = split(out);
        let bytes = silence(self.plan.codec.kind, payload)?;
        self.sender.interrupt();
        self.say(bytes, FRAME_MS, room, now)
    }

    /// A packet of this port for the conference that it sits in.
    pub fn handle_voice(&mut self, heard: &Heard, payload: &[u8], now: Instant) {
        let sequence = self.receiver.extended(heard.header.sequence);
        if let (Some(seat), What::Audio | What::LateAudio) = (&mut self.seat, heard.what) {
            seat.insert(sequence, heard.header.timestamp, payload, now);
        }
    }

    /// What the port says in the conference in these 20 ms; nothing if it has no seat.
    pub fn take_voice(&mut self, now: Instant) -> Option<&[i16; FRAME_SAMPLES_8K]> {
        self.seat.as_mut().map(|seat| seat.take(now))
    }

    /// What the port said, see [`Port::take_voice`].
    pub fn voice(&self) -> Option<&[i16; FRAME_SAMPLES_8K]> {
        self.seat.as_ref().map(|seat| seat.said())
    }

    /// The packet with what the others in the conference say, into `out`.
    pub fn hear_mix(
        &mut self,
        pcm: &[i16],
        out: &mut [u8; PACKET_BYTES_MAX],
        now: Instant,
    ) -> Option<usize> {
        let (room, payload) = split(out);
        let bytes = self.seat.as_mut()?.encode(pcm, payload)?;
        if self.is_pressing() {
            return None;
        }
        self.say(bytes, FRAME_MS, room, now)
    }

    /// The report that is due, if any, into `out`. `ntp` is the time as NTP writes it; `bye`
    /// says that the stream ends, which is told to those who have had a report.
    pub fn poll_report(
        &mut self,
        out: &mut [u8; REPORT_BYTES_MAX],
        ntp: u64,
        bye: bool,
        now: Instant,
    ) -> Option<usize> {
        let due = match self.silence.reported {
            Some(last) => bye || now - last >= REPORT_INTERVAL,
            None => !bye && (self.silence.sent.is_some() || self.receiver.ssrc().is_some()),
        };
        let (packets, octets) = self.sender.counts();
        if !due || self.rtcp_destination().is_none() {
            return None;
        }
        let last = self.silence.reported.replace(now);
        let sends = self.silence.sent > last;
        let sender = sends.then(|| SenderInfo {
            ntp,
            timestamp: self.sender.timestamp_at(now),
            packets,
            octets,
        });
        let ssrc = self.sender.state().ssrc;
        let block = self.receiver.report(now);
        let report = Report { ssrc, sender, block, goodbye: bye };
        // Short and without a name of the machine (RFC 7022 §4.2).
        Some(report.write(&format!("{ssrc:08x}"), out))
    }

    /// Where reports go.
    pub fn rtcp_destination(&self) -> Option<SocketAddr> {
        let above = || {
            let peer = self.destination()?;
            Some(SocketAddr::new(peer.ip(), peer.port().checked_add(1)?))
        };
        self.destination()?;
        self.rtcp_source.or(self.plan.remote_rtcp).or_else(above)
    }

    fn is_pressing(&self) -> bool {
        self.plan.dtmf.is_some() && self.keypad.as_ref().is_some_and(|keys| !keys.keypad.is_idle())
    }

    /// The next packet of the digits.
    fn press(&mut self, out: &mut [u8; PACKET_BYTES_MAX], now: Instant) -> Option<usize> {
        let payload_type = self.plan.dtmf?;
        let clock_hz = self.clock_hz();
        let keys = self.keypad.as_mut()?;
        let Step::Packet { first, event } = keys.keypad.step(clock_hz)? else {
            return None;
        };
        if first {
            keys.timestamp = self.sender.switched(now);
        }
        if !self.plan.direction.sends() {
            return None;
        }
        let (room, payload) = split(out);
        let event = event.write();
        payload[..event.len()].copy_from_slice(&event);
        self.sender.place(payload_type, keys.timestamp, now).write(room);
        self.sent(event.len(), now);
        Some(HEADER_BYTES + event.len())
    }

    /// Puts the header in front of a payload of ours.
    fn say(
        &mut self,
        bytes: usize,
        ms: u32,
        room: &mut [u8; HEADER_BYTES],
        now: Instant,
    ) -> Option<usize> {
        if !self.plan.direction.sends() || self.destination().is_none() {
            return None;
        }
        let codec = self.plan.codec;
        let step = codec.kind.rtp_timestamp_step(ms);
        self.sender.generate(codec.send_payload_type, step, now).write(room);
        self.sent(bytes, now);
        Some(HEADER_BYTES + bytes)
    }

    fn sent(&mut self, payload_bytes: usize, now: Instant) {
        self.sender.count(payload_bytes);
        self.silence.sent = Some(now);
    }
}

/// The room for the header and that for the payload.
fn split(out: &mut [u8; PACKET_BYTES_MAX]) -> (&mut [u8; HEADER_BYTES], &mut [u8]) {
    out.split_first_chunk_mut().expect("a packet is longer than its header")
}

/// Writes 20 ms of silence, as an encoder makes it that has come to rest.
fn silence(kind: CodecKind, payload: &mut [u8]) -> Option<usize> {
    static SILENCE: LazyLock<Option<Clip>> =
        LazyLock::new(|| Clip::from_pcm(&[0; REST_FRAMES * FRAME_SAMPLES_8K]).ok());
    let clip = SILENCE.as_ref()?;
    clip.prepare(kind).ok()?;
    let frame = clip.frames(kind)?.get(REST_FRAMES - 1)?;
    payload.get_mut(..frame.len())?.copy_from_slice(frame);
    Some(frame.len())
}

fn what_needs_scaling(what: What, from_hz: u32, to: CodecKind) -> bool {
    what == What::Event && from_hz != to.rtp_clock_hz()
}

/// Tells an event's duration on another clock (RFC 4733 §2.3.5).
fn scale_event(payload: &mut [u8], from_hz: u32, to_hz: u32) {
    if let (Some(event), [_, _, duration @ ..]) = (Event::read(payload), &mut *payload) {
        let scaled = u64::from(event.duration) * u64::from(to_hz) / u64::from(from_hz);
        let scaled = scaled.min(u64::from(u16::MAX)) as u16;
        duration[..2].copy_from_slice(&scaled.to_be_bytes());
    }
}
