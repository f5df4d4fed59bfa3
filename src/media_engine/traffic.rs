//! What a packet thread does with packets and beats.
//!
//! The path of a relayed packet: one read, the port's machine, the header rewritten in place by
//! the machine of the port that hears it, one write. Decoding happens for those who need
//! samples only: a listener with another codec, the tone detector, a conference.

use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use tandem_media::frame::{FRAME_SAMPLES_8K, FRAME_SAMPLES_MAX, Rate};
use tandem_media::mix::Mixer;
use tandem_media::port::{Heard, PACKET_BYTES_MAX, Refused, What};
use tandem_media::rtcp::REPORT_BYTES_MAX;
use tandem_media::rtp::DATAGRAM_BYTES_MAX;
use tandem_media::telephone_event::EVENT_BYTES;

use super::Source;
use super::slot::BATCH_AGE;
use super::wheel::Beat;
use super::worker::{Worker, slot_mut};

/// How long the housekeeping takes to visit every port: reports, keep-alives, silent peers.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// The pieces in which it does so.
const HOUSEKEEPING_STEPS: u32 = 20;

/// The rates at which somebody may want samples.
const RATES: [Rate; 3] = [Rate::Khz8, Rate::Khz16, Rate::Khz48];

/// What a thread works in.
#[derive(Debug)]
pub(super) struct Buffers {
    /// One byte more than is taken, so that a longer datagram is seen to be longer.
    pub(super) datagram: [u8; DATAGRAM_BYTES_MAX + 1],
    packet: [u8; PACKET_BYTES_MAX],
    report: [u8; REPORT_BYTES_MAX],
    pcm: Box<[i16; FRAME_SAMPLES_MAX]>,
    mixer: Mixer,
    beats: Vec<Beat>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            datagram: [0; DATAGRAM_BYTES_MAX + 1],
            packet: [0; PACKET_BYTES_MAX],
            report: [0; REPORT_BYTES_MAX],
            pcm: Box::new([0; FRAME_SAMPLES_MAX]),
            mixer: Mixer::new(),
            beats: Vec::new(),
        }
    }
}

/// A packet's samples.
#[derive(Clone, Copy)]
struct Sound<'a> {
    heard: &'a Heard,
    pcm: &'a [i16],
    rate: Rate,
}

impl Worker {
    /// A socket is readable.
    pub(super) fn handle_ready(&mut self, index: u32, rtcp: bool, buffers: &mut Buffers) {
        let received = self.slot(index).and_then(|slot| slot.receive(rtcp, &mut buffers.datagram));
        let Some((bytes, source)) = received else {
            return;
        };
        self.guard(index, |worker| {
            if rtcp {
                worker.handle_rtcp(index, &buffers.datagram[..bytes], source);
            } else {
                worker.handle_rtp(index, bytes, source, buffers);
            }
        });
    }

    /// Those whose 20 ms are over speak.
    pub(super) fn handle_beats(&mut self, buffers: &mut Buffers) {
        let mut beats = mem::take(&mut buffers.beats);
        while self.wheel.take_due(self.now, &mut beats) {
            for beat in &beats {
                match *beat {
                    Beat::Port(index) => {
                        self.guard(index, |worker| worker.tick(index, buffers));
                    }
                    Beat::Conference(conference) => self.mix(conference, buffers),
                }
            }
        }
        buffers.beats = beats;
    }

    /// Hands over what was heard of recorded ports, those too whose peers have fallen silent.
    fn flush_recordings(&mut self) {
        if self.flush_due > self.now {
            return;
        }
        self.flush_due = self.now + BATCH_AGE;
        let Self { recorded, slots, recorder, .. } = self;
        recorded.retain(|index| {
            let slot = slot_mut(slots, *index).filter(|slot| slot.is_recorded());
            slot.map(|slot| slot.flush_recording(recorder)).is_some()
        });
    }

    /// Visits some ports: reports, keep-alives, silent peers; and all that are recorded.
    pub(super) fn keep_house(&mut self, buffers: &mut Buffers) {
        self.flush_recordings();
        if self.visit_due > self.now {
            return;
        }
        self.visit_due = self.now + HOUSEKEEPING / HOUSEKEEPING_STEPS;
        let slots = self.slots.len();
        for _ in 0..slots.div_ceil(HOUSEKEEPING_STEPS as usize) {
            self.visited = (self.visited + 1) % slots;
            let index = self.visited as u32;
            if self.slot(index).is_some() {
                self.guard(index, |worker| worker.visit(index, buffers));
            }
        }
    }

    /// Tells the peer's RTCP that the stream ends.
    pub(super) fn say_goodbye(&mut self, index: u32) {
        let (ntp, now) = (self.ntp(), self.now);
        self.guard(index, |worker| {
            let mut report = [0; REPORT_BYTES_MAX];
            if let Some(slot) = worker.slot(index)
                && let Some(bytes) = slot.port.poll_report(&mut report, ntp, true, now)
            {
                slot.send_rtcp(&report[..bytes]);
            }
        });
    }

    fn handle_rtp(&mut self, index: u32, bytes: usize, source: SocketAddr, buffers: &mut Buffers) {
        let datagram = &buffers.datagram[..bytes];
        let Some(slot) = slot_mut(&mut self.slots, index) else {
            return;
        };
        slot.trip();
        let heard = match slot.port.handle_rtp(datagram, source, self.now) {
            Ok(heard) => heard,
            Err(Refused::Rtcp) => return self.handle_rtcp(index, datagram, source),
            Err(Refused::Stray) => return self.round.strays += 1,
            Err(Refused::Malformed) => return self.round.malformed += 1,
            Err(Refused::Stale | Refused::Unwanted) => return,
        };
        self.round.packets_in += 1;
        self.round.lost += u64::from(heard.lost);
        slot.record(&heard, datagram, &self.recorder, self.now);
        slot.port.handle_voice(&heard, &datagram[heard.payload.clone()], self.now);
        let tones = slot.port.listens_for_tones() && heard.what == What::Audio;
        // Back in place below; after a panic the call is linked anew.
        let listeners = mem::take(&mut slot.listeners);
        let mut wanted = [tones, false, false];
        for listener in &listeners {
            self.working = *listener;
            self.relay(*listener, &heard, &mut buffers.datagram[..bytes], &mut wanted);
        }
        if wanted.contains(&true) {
            self.working = index;
            self.decode(&heard, &listeners, &wanted, buffers);
        }
        self.working = index;
        if let Some(slot) = self.slot(index) {
            slot.listeners = listeners;
        }
    }

    /// Passes a packet on to a port that hears it, or notes the rate at which it wants samples.
    fn relay(
        &mut self,
        listener: u32,
        heard: &Heard,
        datagram: &mut [u8],
        wanted: &mut [bool; RATES.len()],
    ) {
        let Some(slot) = slot_mut(&mut self.slots, listener) else {
            return;
        };
        if heard.what == What::Audio && heard.codec != slot.port.plan().codec.kind {
            let rate = slot.port.rate_from(heard.codec);
            wanted[RATES.iter().position(|other| *other == rate).unwrap_or(0)] = true;
            return;
        }
        // An event's duration may be told on another clock: only this listener's business.
        let event: Option<[u8; EVENT_BYTES]> = match heard.what {
            What::Event => datagram[heard.payload.clone()].first_chunk().copied(),
            What::Audio | What::LateAudio | What::Comfort => None,
        };
        if let Some(packet) = slot.port.relay(heard, datagram, self.now) {
            let sent = slot.send(&datagram[packet], self.now);
            self.count_sent(sent);
        }
        if let Some(event) = event {
            datagram[heard.payload.start..][..EVENT_BYTES].copy_from_slice(&event);
        }
    }

    /// Decodes a packet of the working port once for each rate that somebody wants.
    fn decode(
        &mut self,
        heard: &Heard,
        listeners: &[u32],
        wanted: &[bool; RATES.len()],
        buffers: &mut Buffers,
    ) {
        let Buffers { datagram, packet, pcm, .. } = buffers;
        let payload = &datagram[heard.payload.clone()];
        let index = self.working;
        for (rate, _) in RATES.into_iter().zip(wanted).filter(|(_, wanted)| **wanted) {
            self.working = index;
            let Some(slot) = self.slot(index) else {
                return;
            };
            let Some(pcm) = slot.port.decode(heard, payload, rate, pcm) else {
                continue;
            };
            if rate == Rate::Khz8 && slot.port.listens_for_tones() {
                slot.port.handle_pcm(pcm);
            }
            for listener in listeners {
                self.working = *listener;
                self.translate(*listener, &Sound { heard, pcm, rate }, packet);
            }
        }
    }

    /// Encodes samples for a port that speaks another codec and wants them at this rate.
    fn translate(&mut self, listener: u32, sound: &Sound<'_>, packet: &mut [u8; PACKET_BYTES_MAX]) {
        let Sound { heard, pcm, rate } = *sound;
        let now = self.now;
        let Some(slot) = self.slot(listener) else {
            return;
        };
        if slot.port.plan().codec.kind == heard.codec || slot.port.rate_from(heard.codec) != rate {
            return;
        }
        slot.port.translate(heard, pcm, rate);
        while let Some(slot) = self.slot(listener)
            && let Some(bytes) = slot.port.poll_translated(heard, packet, now)
        {
            let sent = slot.send(&packet[..bytes], now);
            self.count_sent(sent);
        }
    }

    fn handle_rtcp(&mut self, index: u32, datagram: &[u8], source: SocketAddr) {
        let now = self.now;
        if let Some(slot) = self.slot(index)
            && !slot.port.handle_rtcp(datagram, source, now)
        {
            self.round.malformed += 1;
        }
    }

    /// A port makes its packet of 20 ms.
    fn tick(&mut self, index: u32, buffers: &mut Buffers) {
        let now = self.now;
        let Some(slot) = self.slot(index) else {
            return;
        };
        slot.trip();
        if let Some(bytes) = slot.port.handle_tick(&mut buffers.packet, now) {
            let sent = slot.send(&buffers.packet[..bytes], now);
            self.count_sent(sent);
        }
        if let Some(slot) = self.slot(index)
            && !slot.port.needs_ticks()
        {
            slot.ticking = false;
            self.wheel.remove(Beat::Port(index));
        }
    }

    /// A conference makes its packets of 20 ms.
    fn mix(&mut self, conference: u64, buffers: &mut Buffers) {
        let now = self.now;
        let parties = self.links.parties(conference).to_vec();
        let Buffers { mixer, packet, .. } = buffers;
        mixer.begin(FRAME_SAMPLES_8K);
        for party in &parties {
            self.guard(*party, |worker| {
                if let Some(slot) = worker.slot(*party) {
                    slot.trip();
                    let speaks = slot.port.plan().speaks_in == Some(conference);
                    if let Some(voice) = slot.port.take_voice(now).filter(|_| speaks) {
                        mixer.add(voice);
                    }
                }
            });
        }
        for party in &parties {
            self.guard(*party, |worker| {
                let Some(slot) = worker.slot(*party) else {
                    return;
                };
                let Source::Mix { without, .. } = slot.port.plan().source.clone() else {
                    return;
                };
                let left_out = without.iter().filter_map(|key| worker.links.index(*key));
                let left_out: Vec<u32> = left_out.chain([*party]).collect();
                let voices = worker.voices(conference, &left_out);
                let voices: Vec<&[i16]> = voices.iter().map(|voice| &voice[..]).collect();
                let mut pcm = [0; FRAME_SAMPLES_8K];
                mixer.hear(&voices, &mut pcm);
                let Some(slot) = worker.slot(*party) else {
                    return;
                };
                if let Some(bytes) = slot.port.hear_mix(&pcm, packet, now) {
                    let sent = slot.send(&packet[..bytes], now);
                    worker.count_sent(sent);
                }
            });
        }
    }

    /// What those of these ports said that speak in a conference.
    fn voices(&self, conference: u64, ports: &[u32]) -> Vec<[i16; FRAME_SAMPLES_8K]> {
        let ports = ports.iter().filter_map(|index| self.slots.get(*index as usize)?.as_ref());
        let speakers = ports.filter(|slot| slot.port.plan().speaks_in == Some(conference));
        speakers.filter_map(|slot| slot.port.voice().copied()).collect()
    }

    fn visit(&mut self, index: u32, buffers: &mut Buffers) {
        let (now, ntp) = (self.now, self.ntp());
        let Some(slot) = slot_mut(&mut self.slots, index) else {
            return;
        };
        slot.port.handle_timeout(self.quiet, now);
        if let Some(bytes) = slot.port.poll_report(&mut buffers.report, ntp, false, now) {
            slot.send_rtcp(&buffers.report[..bytes]);
        }
        if let Some(bytes) = slot.port.keep_alive(&mut buffers.packet, now) {
            let sent = slot.send(&buffers.packet[..bytes], now);
            self.count_sent(sent);
        }
    }

    fn count_sent(&mut self, sent: bool) {
        if sent {
            self.round.packets_out += 1;
        } else {
            self.round.unsent += 1;
        }
    }
}
