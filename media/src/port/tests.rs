//! Ports as call flows, under virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::clip::Clip;
use crate::codec::{CodecKind, Decoder};
use crate::rtcp::{self, Part, REPORT_BYTES_MAX, REPORT_INTERVAL};
use crate::rtp::{Header, Packet};
use crate::session::epoch;

const QUIET: Duration = Duration::from_secs(10);
const PEER: PortKey = PortKey { call: 1, leg: 1 };

#[test]
fn a_relayed_packet_gets_a_header_of_the_leg_that_it_leaves_by() {
    let mut agent = Leg::new(Source::Relay(PEER));
    let mut caller = Leg::new(Source::Silence);
    let packet = caller.hears(audio(0, b"hello")).unwrap();
    let sent = agent.relays(&packet).unwrap();
    let header = Header { marker: true, payload_type: 8, sequence: 101, timestamp: 7_000, ssrc: 9 };
    assert_eq!(sent, (header, b"hello".to_vec()));
}

#[test]
fn prompt_leg_and_music_are_one_stream() {
    let mut leg = Leg::new(play(1, &[clip(3)], false));
    let mut far = Leg::new(Source::Silence);
    let prompt = [leg.ticks().unwrap(), leg.ticks().unwrap(), leg.ticks().unwrap()];
    assert_eq!(leg.ticks(), None);
    leg.tells(&[Output::Played(1)]);
    leg.applies(|plan| plan.source = Source::Relay(PEER));
    let voice = leg.relays(&far.hears(audio(0, b"voice")).unwrap()).unwrap();
    leg.applies(|plan| plan.source = play(2, &[clip(3)], true));
    leg.after_ms(20);
    let music = leg.ticks().unwrap();
    let headers: Vec<Header> =
        prompt.into_iter().chain([voice, music]).map(|(header, _)| header).collect();
    let marked: Vec<bool> = headers.iter().map(|header| header.marker).collect();
    assert_eq!(marked, [true, false, false, true, true]);
    assert!(headers.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
    let times: Vec<u32> = headers.iter().map(|header| header.timestamp - 7_000).collect();
    assert_eq!(times, [0, 160, 320, 640, 800]);
}

#[test]
fn who_is_on_hold_hears_and_says_nothing() {
    let mut far = Leg::new(Source::Silence);
    let packet = far.hears(audio(0, b"x")).unwrap();
    for (direction, hears, says) in [
        (Direction::SendReceive, true, true),
        (Direction::SendOnly, false, true),
        (Direction::ReceiveOnly, true, false),
        (Direction::Inactive, false, false),
    ] {
        let mut leg = Leg::new(Source::Relay(PEER));
        leg.applies(|plan| plan.direction = direction);
        assert_eq!(leg.hears(audio(0, b"x")).is_ok(), hears, "{direction:?}");
        assert_eq!(leg.relays(&packet).is_some(), says, "{direction:?}");
    }
}

#[test]
fn a_key_passes_under_the_payload_type_of_the_other_leg() {
    let mut caller = Leg::new(Source::Silence);
    let mut agent = Leg::new(Source::Relay(PEER));
    agent.applies(|plan| plan.dtmf = Some(96));
    let packet = caller.hears(key(0, [5, 10, 0, 160])).unwrap();
    caller.tells(&[Output::Digit('5')]);
    let (header, payload) = agent.relays(&packet).unwrap();
    assert_eq!((header.payload_type, payload), (96, vec![5, 10, 0, 160]));
    agent.applies(|plan| plan.dtmf = None);
    assert_eq!(agent.relays(&packet), None);
}

#[test]
fn a_key_passes_to_another_clock_with_its_duration() {
    let mut caller = Leg::new(Source::Silence);
    let mut agent = Leg::new(Source::Relay(PEER));
    agent.applies(|plan| plan.codec = codec(CodecKind::Opus));
    let packet = caller.hears(key(0, [5, 0x8A, 0x03, 0x20])).unwrap();
    let (_, payload) = agent.relays(&packet).unwrap();
    assert_eq!(payload, [5, 0x8A, 0x12, 0xC0], "800 ticks of 8 kHz are 4,800 of 48 kHz");
}

#[test]
fn keys_are_pressed_once_and_the_voice_waits_for_them() {
    let mut leg = Leg::new(Source::Relay(PEER));
    let mut far = Leg::new(Source::Silence);
    leg.applies(|plan| plan.digits = Some(SendDigits { seq: 4, digits: "1".into() }));
    assert_eq!(leg.relays(&far.hears(audio(0, b"x")).unwrap()), None);
    let mut sent = Vec::new();
    while leg.port.needs_ticks() {
        sent.extend(leg.ticks());
    }
    assert_eq!(sent.len(), 7, "five updates of which the last is the end, and two more ends");
    assert!(sent.iter().all(|(header, _)| header.timestamp == 7_000));
    assert_eq!(sent[6].1, [1, 0x8A, 0x03, 0x20]);
    leg.applies(|plan| plan.negotiation = 0);
    assert!(!leg.port.needs_ticks(), "the same number is not sent again");
    let (header, _) = leg.relays(&far.hears(audio(1, b"x")).unwrap()).unwrap();
    assert_eq!(header.sequence, 108);
    leg.applies(|plan| plan.digits = Some(SendDigits { seq: 5, digits: "1".into() }));
    assert!(leg.port.needs_ticks());
}

#[test]
fn the_same_playing_goes_on_and_another_begins_anew() {
    let mut leg = Leg::new(play(1, &[clip(5)], false));
    let first = leg.ticks().unwrap().1;
    leg.applies(|plan| plan.source = play(1, &[clip(5)], false));
    assert_ne!(leg.ticks().unwrap().1, first);
    leg.applies(|plan| plan.source = play(2, &[clip(5)], false));
    assert_eq!(leg.ticks().unwrap().1, first);
}

#[test]
fn a_playing_begins_where_it_is_told_and_repeats_without_an_end() {
    let whole: Vec<Vec<u8>> = {
        let mut leg = Leg::new(play(1, &[clip(2), clip(3)], false));
        std::iter::from_fn(|| leg.ticks()).map(|(_, payload)| payload).collect()
    };
    assert_eq!(whole.len(), 5);
    let from = |from_ms, repeat| {
        let Source::Play { seq, clips, .. } = play(1, &[clip(2), clip(3)], false) else {
            unreachable!("play() makes a playing")
        };
        Leg::new(Source::Play { seq, clips, repeat, from_ms })
    };
    assert_eq!(from(60, false).ticks().unwrap().1, whole[3]);
    assert_eq!(from(1_000, false).ticks(), None);
    let mut music = from(5 * 20 + 20, true);
    for turn in 0..12 {
        assert_eq!(music.ticks().unwrap().1, whole[(turn + 1) % 5]);
    }
    music.tells(&[]);
}

#[test]
fn one_clip_repeats_as_well_as_many() {
    let mut music = Leg::new(play(1, &[clip(3)], true));
    let first: Vec<_> = (0..3).map(|_| music.ticks().unwrap().1).collect();
    for turn in 0..10 {
        assert_eq!(music.ticks().unwrap().1, first[turn % 3]);
    }
}

#[test]
fn a_clip_that_was_not_prepared_sounds_the_same() {
    let pcm: Vec<i16> = (0..480).map(|n| n * 60).collect();
    let prepared = Clip::from_pcm(&pcm).unwrap();
    prepared.prepare(CodecKind::Pcma).unwrap();
    let mut one = Leg::new(play(1, &[prepared], false));
    let mut other = Leg::new(play(1, &[Clip::from_pcm(&pcm).unwrap()], false));
    for _ in 0..3 {
        assert_eq!(one.ticks(), other.ticks());
    }
}

#[test]
fn a_peer_that_asks_for_longer_packets_gets_them() {
    let mut leg = Leg::new(play(1, &[clip(5)], false));
    leg.applies(|plan| plan.codec.ptime_ms = 40);
    let sent: Vec<Option<(usize, u32)>> = (0..7)
        .map(|_| leg.ticks().map(|(header, payload)| (payload.len(), header.timestamp - 7_000)))
        .collect();
    let packets = [Some((320, 0)), None, Some((320, 320)), None, Some((160, 640)), None, None];
    assert_eq!(sent, packets);
    leg.tells(&[Output::Played(1)]);
}

#[test]
fn a_silent_peer_is_told_once_for_each_silence() {
    let mut leg = Leg::new(Source::Silence);
    leg.hears(audio(0, b"x")).unwrap();
    leg.after_ms(9_999).tells(&[]);
    leg.after_ms(1).tells(&[Output::Quiet(QUIET)]);
    leg.after_ms(60_000).tells(&[]);
    leg.hears(audio(1, b"x")).unwrap();
    leg.after_ms(10_000).tells(&[Output::Quiet(QUIET)]);
    leg.hears(audio(2, b"x")).unwrap();
    leg.applies(|plan| plan.direction = Direction::SendOnly);
    leg.after_ms(20_000).tells(&[]);
}

#[test]
fn the_codec_may_change_in_the_middle_of_the_stream() {
    let mut leg = Leg::new(Source::Relay(PEER));
    let mut far = Leg::new(Source::Silence);
    let (before, _) = leg.relays(&far.hears(audio(0, b"x")).unwrap()).unwrap();
    for port in [&mut leg, &mut far] {
        port.applies(|plan| {
            plan.codec = codec(CodecKind::Pcmu);
            plan.negotiation += 1;
        });
    }
    let mut packet = audio(1, b"y");
    packet[1] = 0;
    let (after, _) = leg.relays(&far.hears(packet).unwrap()).unwrap();
    assert_eq!((after.ssrc, after.sequence, after.payload_type), (9, before.sequence + 1, 0));
}

#[test]
fn what_is_not_of_the_negotiated_types_is_not_passed_on() {
    let mut leg = Leg::new(Source::Silence);
    let mut packet = audio(0, b"x");
    packet[1] = 18;
    assert_eq!(leg.hears(packet).unwrap_err(), Refused::Unwanted);
    assert_eq!(leg.hears(vec![0x80, 200, 0, 1]).unwrap_err(), Refused::Malformed);
    let (report, _) = (vec![0x80, 201, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0], ());
    assert_eq!(leg.hears(report).unwrap_err(), Refused::Rtcp);
    leg.hears(audio(1, b"x")).unwrap();
    assert_eq!(leg.hears(audio(1, b"x")).unwrap_err(), Refused::Stale);
}

#[test]
fn tones_are_not_listened_for_once_events_have_come() {
    let mut leg = Leg::new(Source::Silence);
    leg.applies(|plan| plan.detect.in_band = true);
    assert!(leg.port.listens_for_tones());
    leg.hears(key(0, [5, 10, 0, 160])).unwrap();
    assert!(!leg.port.listens_for_tones());
}

#[test]
fn a_silent_port_keeps_the_path_open() {
    let mut leg = Leg::new(Source::Silence);
    let first = leg.keeps_alive().unwrap();
    assert_eq!(first.1, [0xD5; 160]);
    leg.after_ms(14_900);
    assert_eq!(leg.keeps_alive(), None);
    leg.after_ms(100);
    let (header, _) = leg.keeps_alive().unwrap();
    assert_eq!(header.timestamp - first.0.timestamp, 15_000 * 8);
    leg.applies(|plan| plan.source = play(1, &[clip(1)], true));
    leg.after_ms(60_000);
    assert_eq!(leg.keeps_alive(), None);
}

#[test]
fn our_silence_is_silent_in_every_codec() {
    for kind in CodecKind::ALL {
        let mut leg = Leg::new(Source::Silence);
        leg.applies(|plan| plan.codec = codec(kind));
        let mut decoder = Decoder::new(kind, Rate::Khz8).unwrap();
        let mut pcm = [0; crate::frame::FRAME_SAMPLES_MAX];
        for _ in 0..5 {
            let (_, payload) = leg.keeps_alive().unwrap();
            let samples = decoder.decode(&payload, &mut pcm).unwrap();
            assert_eq!(samples, 160, "{kind}");
            let loudest = pcm[..samples].iter().map(|sample| sample.unsigned_abs()).max();
            assert!(loudest <= Some(80), "{kind}: {loudest:?}"); // −52 dBFS
            leg.after_ms(15_000);
        }
    }
}

#[test]
fn reports_go_out_every_interval_and_a_goodbye_follows_them() {
    let mut leg = Leg::new(Source::Relay(PEER));
    let mut far = Leg::new(Source::Silence);
    assert_eq!(leg.reports(false), None, "nothing has been sent or heard");
    assert_eq!(leg.reports(true), None, "nobody to take leave of");
    leg.hears(audio(0, b"x")).unwrap();
    leg.relays(&far.hears(audio(0, b"x")).unwrap()).unwrap();
    let parts = leg.reports(false).unwrap();
    assert!(matches!(parts[..], [Part::SenderReport { ssrc: 9, ntp: 42 }, Part::Block(_)]));
    assert_eq!(leg.reports(false), None);
    leg.now += REPORT_INTERVAL;
    let parts = leg.reports(false).unwrap();
    assert!(matches!(parts[..], [Part::Block(_)]), "nothing was sent since: {parts:?}");
    let parts = leg.reports(true).unwrap();
    assert_eq!(parts.last(), Some(&Part::Goodbye { ssrc: 9 }));
}

#[test]
fn reports_are_believed_from_the_peers_host_only_and_answered_where_they_come_from() {
    let mut leg = Leg::new(Source::Silence);
    leg.hears(audio(0, b"x")).unwrap();
    assert_eq!(leg.port.rtcp_destination(), Some("192.0.2.1:4001".parse().unwrap()));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let now = leg.now;
    let mut from = |source: &str| leg.port.handle_rtcp(&report, source.parse().unwrap(), now);
    assert!(!from("198.51.100.66:4001"));
    assert!(from("192.0.2.1:5555"));
    assert_eq!(leg.port.rtcp_destination(), Some("192.0.2.1:5555".parse().unwrap()));
}

#[test]
fn samples_of_one_codec_become_packets_of_another() {
    let mut caller = Leg::new(Source::Silence);
    let mut agent = Leg::new(Source::Relay(PEER));
    agent.applies(|plan| plan.codec = codec(CodecKind::G722));
    let mut sent = Vec::new();
    for number in [0, 1, 3, 4, 5] {
        let packet = caller.hears(audio(number, &[0x55; 160])).unwrap();
        let rate = agent.port.rate_from(packet.heard.codec);
        let mut pcm = [0; crate::frame::FRAME_SAMPLES_MAX];
        let payload = &packet.datagram[packet.heard.payload.clone()];
        let pcm = caller.port.decode(&packet.heard, payload, rate, &mut pcm).unwrap();
        agent.port.translate(&packet.heard, pcm, rate);
        let mut out = [0; PACKET_BYTES_MAX];
        while let Some(bytes) = agent.port.poll_translated(&packet.heard, &mut out, agent.now) {
            sent.push(read(&out[..bytes]));
        }
        agent.after_ms(20);
    }
    let numbers: Vec<u16> = sent.iter().map(|(header, _)| header.sequence).collect();
    assert_eq!(numbers, [101, 102, 103, 104, 105, 106], "the lost one was made up");
    assert!(sent.windows(2).all(|pair| pair[1].0.timestamp == pair[0].0.timestamp + 160));
    assert!(sent.iter().all(|(header, payload)| header.payload_type == 9 && payload.len() == 160));
}

#[test]
fn a_resumed_port_goes_on_with_the_stream_and_the_address() {
    let mut leg = Leg::new(Source::Silence);
    let nat: SocketAddr = "203.0.113.9:61000".parse().unwrap();
    leg.keeps_alive().unwrap();
    let state = PortState { latched: Some(nat), ..leg.port.state() };
    let mut other = Leg::new(Source::Silence);
    other.port.resume(&state);
    assert_eq!(other.port.destination(), Some(nat));
    let (header, _) = other.keeps_alive().unwrap();
    assert_eq!((header.ssrc, header.sequence), (state.ssrc, state.sequence + 1));
}

/// A port and its clock. Its peer is 192.0.2.1:4000 and speaks A-law with SSRC 1.
struct Leg {
    port: Port,
    now: Instant,
}

/// What a port took.
#[derive(Debug)]
struct Taken {
    heard: Heard,
    datagram: Vec<u8>,
}

impl Leg {
    fn new(source: Source) -> Self {
        let mut plan = PortPlan::new(codec(CodecKind::Pcma));
        plan.remote = Some("192.0.2.1:4000".parse().unwrap());
        plan.dtmf = Some(101);
        plan.detect.rfc4733 = true;
        plan.source = source;
        let stream = SenderState { ssrc: 9, sequence: 100, timestamp: 7_000 };
        Self { port: Port::new(plan, stream, epoch()), now: epoch() }
    }

    fn applies(&mut self, change: impl FnOnce(&mut PortPlan)) {
        let mut plan = self.port.plan().clone();
        change(&mut plan);
        self.port.apply(plan, self.now);
    }

    fn hears(&mut self, datagram: Vec<u8>) -> Result<Taken, Refused> {
        let source = "192.0.2.1:4000".parse().unwrap();
        let heard = self.port.handle_rtp(&datagram, source, self.now)?;
        Ok(Taken { heard, datagram })
    }

    fn relays(&mut self, taken: &Taken) -> Option<(Header, Vec<u8>)> {
        let mut datagram = taken.datagram.clone();
        let sent = self.port.relay(&taken.heard, &mut datagram, self.now)?;
        Some(read(&datagram[sent]))
    }

    fn ticks(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut out = [0; PACKET_BYTES_MAX];
        let bytes = self.port.handle_tick(&mut out, self.now);
        self.now += Duration::from_millis(20);
        bytes.map(|bytes| read(&out[..bytes]))
    }

    fn keeps_alive(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut out = [0; PACKET_BYTES_MAX];
        let bytes = self.port.keep_alive(&mut out, self.now)?;
        Some(read(&out[..bytes]))
    }

    fn reports(&mut self, bye: bool) -> Option<Vec<Part>> {
        let mut out = [0; REPORT_BYTES_MAX];
        let bytes = self.port.poll_report(&mut out, 42, bye, self.now)?;
        Some(rtcp::parts(&out[..bytes]).unwrap().collect())
    }

    fn after_ms(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self.port.handle_timeout(QUIET, self.now);
        self
    }

    fn tells(&mut self, outputs: &[Output]) {
        let told: Vec<Output> = std::iter::from_fn(|| self.port.poll_output()).collect();
        assert_eq!(told, outputs);
    }
}

fn codec(kind: CodecKind) -> CodecSpec {
    let payload_type = kind.static_payload_type().unwrap_or(111);
    CodecSpec {
        kind,
        send_payload_type: payload_type,
        receive_payload_type: payload_type,
        ptime_ms: 20,
    }
}

fn play(seq: u64, clips: &[Clip], repeat: bool) -> Source {
    Source::Play { seq, clips: clips.to_vec(), repeat, from_ms: 0 }
}

/// A clip whose frames all differ.
fn clip(frames: i16) -> Clip {
    let pcm: Vec<i16> = (0..frames).flat_map(|frame| [(frame * 7 + frames) * 300; 160]).collect();
    Clip::from_pcm(&pcm).unwrap()
}

fn audio(number: u16, payload: &[u8]) -> Vec<u8> {
    packet(8, number, u32::from(number) * 160, payload)
}

fn key(number: u16, payload: [u8; 4]) -> Vec<u8> {
    packet(101, number, 0, &payload)
}

fn packet(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 12];
    let header = Header { marker: false, payload_type, sequence, timestamp, ssrc: 1 };
    header.write(datagram.first_chunk_mut().unwrap());
    datagram.extend(payload);
    datagram
}

fn read(packet: &[u8]) -> (Header, Vec<u8>) {
    let Packet { header, payload } = Packet::parse(packet).unwrap();
    (header, packet[payload].to_vec())
}
