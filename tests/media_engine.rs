//! The media engine over loopback sockets: what phones hear of each other.
//!
//! Each test is a call between [`Phone`]s, which are plain sockets that speak RTP. What the
//! machines do in detail is tested in `media/`, under virtual time; here is only what needs
//! threads, sockets or files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use tandem::media_engine::{
    Clip, CodecKind, CodecSpec, Detect, Engine, EngineConfig, PortEvent, PortKey, PortPlan,
    PortState, RecordTap, ReserveError, Source,
};
use tandem_media::codec::{Decoder, Encoder};
use tandem_media::dtmf::{self, Digit};
use tandem_media::frame::Rate;
use tandem_media::rtp::{Header, Packet};
use tandem_media::wav;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CALLER: PortKey = PortKey { call: 1, leg: 0 };
const AGENT: PortKey = PortKey { call: 1, leg: 1 };
const THIRD: PortKey = PortKey { call: 1, leg: 2 };
/// How long something may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn two_legs_with_one_codec_hear_each_other_unchanged() {
    let site = Site::on(41_000..=41_009);
    let mut caller = site.phone(CALLER, CodecKind::Pcma, Source::Relay(AGENT));
    let mut agent = site.phone(AGENT, CodecKind::Pcma, Source::Relay(CALLER));
    for number in 0..50_u8 {
        caller.sends(&[number; 160]);
        agent.sends(&[100 + number; 160]);
        std::thread::sleep(Duration::from_millis(5));
    }
    let heard = agent.hears(50);
    assert!(heard.iter().zip(0..50_u8).all(|(packet, number)| packet.payload == [number; 160]));
    assert!(heard.windows(2).all(|pair| {
        pair[1].header.sequence == pair[0].header.sequence.wrapping_add(1)
            && pair[1].header.timestamp == pair[0].header.timestamp.wrapping_add(160)
            && pair[1].header.ssrc == pair[0].header.ssrc
    }));
    assert_ne!(heard[0].header.ssrc, caller.ssrc, "each leg has its own stream");
    assert_eq!(caller.hears(50)[49].payload, [149; 160]);
    wait_until(|| site.engine.stats().packets_in == 100);
    assert_eq!(site.engine.stats().ports_open, 2);
}

#[test]
fn legs_with_different_codecs_understand_each_other() {
    let site = Site::on(41_010..=41_019);
    let voice = voice(300.0, 2.0);
    for (one, other) in [(CodecKind::Pcmu, CodecKind::G722), (CodecKind::Opus, CodecKind::Pcma)] {
        let mut caller = site.phone(CALLER, one, Source::Relay(AGENT));
        let mut agent = site.phone(AGENT, other, Source::Relay(CALLER));
        caller.says(&voice);
        let heard = agent.hears_pcm(95);
        assert!(alike(&voice, &heard) > 0.9, "{one} to {other}: {}", alike(&voice, &heard));
        site.engine.close(CALLER);
        site.engine.close(AGENT);
        wait_until(|| site.engine.stats().ports_open == 0);
    }
}

#[test]
fn an_echo_comes_back() {
    let site = Site::on(41_020..=41_029);
    let mut caller = site.phone(CALLER, CodecKind::Pcmu, Source::Echo);
    for number in 0..5 {
        caller.sends(&[number; 160]);
    }
    let heard = caller.hears(5);
    assert_eq!(heard[4].payload, [4; 160]);
}

#[test]
fn a_prompt_is_played_at_its_pace_and_its_end_is_told() {
    let site = Site::on(41_030..=41_039);
    let clip = Clip::from_pcm(&voice(400.0, 0.5)).unwrap();
    clip.prepare(CodecKind::Pcmu).unwrap();
    let source = Source::Play { seq: 9, clips: vec![clip.clone()], repeat: false, from_ms: 100 };
    let began = Instant::now();
    let mut caller = site.phone(CALLER, CodecKind::Pcmu, source);
    let heard = caller.hears(20);
    assert_eq!(heard[0].payload, clip.frames(CodecKind::Pcmu).unwrap().get(5).unwrap());
    site.tells(&PortEvent::Played { key: CALLER, seq: 9 });
    assert!(began.elapsed() >= Duration::from_millis(380), "{:?}", began.elapsed());
}

#[test]
fn digits_are_told_once_whether_they_come_as_events_or_as_tones() {
    let site = Site::on(41_040..=41_049);
    let mut plan = site.plan(CodecKind::Pcma, Source::Silence);
    plan.dtmf = Some(101);
    plan.detect = Detect { rfc4733: true, in_band: true };
    let mut caller = site.phone_with(CALLER, plan);
    let mut tone = voice(0.0, 0.2);
    dtmf::render(Digit::Pound, Rate::Khz8, &mut tone[400..1_200]);
    caller.says(&tone);
    site.tells(&PortEvent::Digit { key: CALLER, digit: '#' });
    for (duration, end) in [(160_u16, 0), (320, 0), (480, 0x80), (480, 0x80), (480, 0x80)] {
        let [high, low] = duration.to_be_bytes();
        caller.sends_event(&[7, end | 10, high, low]);
    }
    site.tells(&PortEvent::Digit { key: CALLER, digit: '7' });
    assert_eq!(site.events.try_recv().ok(), None);
}

#[test]
fn three_parties_hear_each_other_and_not_themselves() {
    let site = Site::on(41_050..=41_059);
    let parties = [CALLER, AGENT, THIRD];
    let mut phones = parties.map(|key| {
        let source = Source::Mix { conference: 77, without: Vec::new() };
        let plan = PortPlan { speaks_in: Some(77), ..site.plan(CodecKind::Pcma, source) };
        site.phone_with(key, plan)
    });
    let voices = [300.0, 700.0, 1_300.0].map(|hz| voice(hz, 1.5));
    all_say(&mut phones, &voices);
    hear_as_they_should(&mut phones, &voices, |one, other| one != other);
}

/// The caller and the agent talk, the third listens to both and is heard by the agent only.
#[test]
fn who_whispers_to_one_is_not_heard_by_the_other() {
    let site = Site::on(41_070..=41_079);
    let mix = || Source::Mix { conference: 78, without: Vec::new() };
    let plan = |source| PortPlan { speaks_in: Some(78), ..site.plan(CodecKind::Pcma, source) };
    let mut phones = [
        site.phone_with(CALLER, plan(Source::Relay(AGENT))),
        site.phone_with(AGENT, plan(mix())),
        site.phone_with(THIRD, plan(mix())),
    ];
    let voices = [300.0, 700.0, 1_300.0].map(|hz| voice(hz, 1.5));
    all_say(&mut phones, &voices);
    hear_as_they_should(&mut phones, &voices, |one, other| {
        [(0, 1), (1, 0), (1, 2), (2, 0), (2, 1)].contains(&(one, other))
    });
}

/// Three are in one conference, and the last is left out for the first.
#[test]
fn who_is_left_out_of_a_mix_is_not_in_it() {
    let site = Site::on(41_080..=41_089);
    let parties = [CALLER, AGENT, THIRD];
    let mut phones = parties.map(|key| {
        let without = if key == CALLER { vec![THIRD] } else { Vec::new() };
        let source = Source::Mix { conference: 79, without };
        site.phone_with(key, PortPlan { speaks_in: Some(79), ..site.plan(CodecKind::Pcma, source) })
    });
    let voices = [300.0, 700.0, 1_300.0].map(|hz| voice(hz, 1.5));
    all_say(&mut phones, &voices);
    hear_as_they_should(&mut phones, &voices, |one, other| one != other && (one, other) != (0, 2));
}

fn all_say(phones: &mut [Phone; 3], voices: &[Vec<i16>; 3]) {
    for frame in 0..75 {
        for (phone, voice) in phones.iter_mut().zip(voices) {
            phone.says_frame(&voice[frame * 160..][..160]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn hear_as_they_should(
    phones: &mut [Phone; 3],
    voices: &[Vec<i16>; 3],
    hears: impl Fn(usize, usize) -> bool,
) {
    for (own, phone) in phones.iter_mut().enumerate() {
        let heard = phone.hears_pcm(60);
        for (other, voice) in voices.iter().enumerate() {
            let power = power_at([300.0, 700.0, 1_300.0][other], &heard[4_000..8_000]);
            let reference = power_at([300.0, 700.0, 1_300.0][other], &voice[..4_000]);
            if !hears(own, other) {
                assert!(power < reference / 100.0, "{own} hears {other}");
            } else {
                assert!(power > reference / 4.0, "{own} does not hear {other}: {power}");
            }
        }
    }
}

#[test]
fn a_port_that_panics_is_told_dead_and_the_call_goes_on() {
    let site = Site::on(41_060..=41_069);
    let mut caller = site.phone(CALLER, CodecKind::Pcma, Source::Relay(AGENT));
    let mut agent = site.phone(AGENT, CodecKind::Pcma, Source::Relay(CALLER));
    caller.sends(&[1; 160]);
    let before = agent.hears(1)[0].header;
    site.engine.panic_port(CALLER);
    site.state_of(CALLER);
    caller.sends(&[2; 160]);
    site.tells(&PortEvent::Died { key: CALLER });
    caller.sends(&[3; 160]);
    let after = &agent.hears(1)[0];
    assert_eq!((after.payload[0], after.header.ssrc), (3, before.ssrc));
    agent.sends(&[4; 160]);
    assert_eq!(caller.hears(1)[0].payload, [4; 160]);
    wait_until(|| site.engine.stats().deaths == 1);
}

#[test]
fn a_recording_holds_both_voices() {
    let site = Site::on(41_070..=41_079);
    let directory = std::env::temp_dir().join(format!("tandem-recording-{}", std::process::id()));
    let path = directory.join("call.wav");
    let tap = |channel| Some(RecordTap { path: PathBuf::from(&path), channel, epoch: 0 });
    let mut plan = site.plan(CodecKind::Pcma, Source::Relay(AGENT));
    plan.record = tap(0);
    let mut caller = site.phone_with(CALLER, plan);
    let mut plan = site.plan(CodecKind::Pcmu, Source::Relay(CALLER));
    plan.record = tap(1);
    let mut agent = site.phone_with(AGENT, plan);
    let voices = [voice(300.0, 1.0), voice(700.0, 1.0)];
    for frame in 0..50 {
        caller.says_frame(&voices[0][frame * 160..][..160]);
        agent.says_frame(&voices[1][frame * 160..][..160]);
        std::thread::sleep(Duration::from_millis(20));
    }
    agent.hears(1);
    assert!(site.engine.stats().recording_sync_micros > 0, "it is on the disk already");
    site.engine.close(CALLER);
    site.engine.close(AGENT);
    drop(site);
    let audio = wav::read(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((audio.channels(), audio.rate_hz()), (2, 8_000));
    let sides: [Vec<i16>; 2] =
        [0, 1].map(|side| audio.samples().iter().skip(side).step_by(2).copied().collect());
    for (side, voice) in sides.iter().zip(&voices) {
        assert!(alike(voice, side) > 0.9, "{}", alike(voice, side));
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_stranger_cannot_steal_a_stream() {
    let site = Site::on(41_080..=41_089);
    let mut caller = site.phone(CALLER, CodecKind::Pcma, Source::Echo);
    caller.sends(&[1; 160]);
    caller.hears(1);
    let mut stranger = Phone::new(CodecKind::Pcma);
    stranger.peer = caller.peer;
    for _ in 0..20 {
        stranger.sends(&[6; 160]);
    }
    caller.sends(&[2; 160]);
    assert_eq!(caller.hears(1)[0].payload, [2; 160]);
    stranger.hears_nothing();
    wait_until(|| site.engine.stats().strays == 20);
}

#[test]
fn a_port_that_an_adopted_call_will_ask_for_goes_to_no_new_call() {
    let site = Site::on(41_190..=41_197);
    site.engine.promise(HERE, &[41_190, 41_194]);
    let new = [site.engine.reserve(HERE).unwrap(), site.engine.reserve(HERE).unwrap()];
    assert_eq!(new.each_ref().map(|reservation| reservation.rtp_port()), [41_192, 41_196]);
    assert!(matches!(site.engine.reserve(HERE), Err(ReserveError::NoPorts { .. })));
    assert!(site.engine.reserve_exact(HERE, 41_190).is_ok());
    assert!(site.engine.reserve_exact(HERE, 41_194).is_ok());
}

#[test]
fn ports_are_reserved_to_the_last_and_all_come_back() {
    let site = Site::on(41_090..=41_097);
    let reserved: Vec<_> = (0..4).map(|_| site.engine.reserve(HERE).unwrap()).collect();
    let ports: Vec<u16> = reserved.iter().map(|reservation| reservation.rtp_port()).collect();
    assert_eq!(ports, [41_090, 41_092, 41_094, 41_096]);
    assert!(matches!(site.engine.reserve(HERE), Err(ReserveError::NoPorts { in_use: 4, .. })));
    assert!(matches!(
        site.engine.reserve_exact(HERE, 41_092),
        Err(ReserveError::Taken { port: 41_092, .. })
    ));
    drop(reserved);
    assert_eq!(site.engine.stats().pairs_in_use, 0);
    let exact = site.engine.reserve_exact(HERE, 41_092).unwrap();
    assert_eq!(exact.rtp_port(), 41_092);
    drop(exact);
    for turn in 0..1_000_u64 {
        let key = PortKey { call: turn, leg: 0 };
        let reservation = loop {
            // The packet thread closes ports when it comes to it.
            match site.engine.reserve(HERE) {
                Ok(reservation) => break reservation,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        site.engine.attach(key, reservation);
        site.engine.apply(key, site.plan(CodecKind::Pcma, Source::Silence));
        site.engine.close(key);
    }
    wait_until(|| site.engine.stats().pairs_in_use == 0);
    wait_until(|| site.engine.stats().ports_open == 0);
}

#[test]
fn calls_of_two_threads_do_not_mix() {
    let (told, events) = mpsc::channel();
    let config = EngineConfig { ports: 41_110..=41_119, threads: 2, ..EngineConfig::default() };
    let engine = Engine::start(config, move |event| told.send(event).unwrap()).unwrap();
    let site = Site { engine, events };
    for call in [1, 2] {
        let keys = [0, 1].map(|leg| PortKey { call, leg });
        let mut one = site.phone(keys[0], CodecKind::Pcma, Source::Relay(keys[1]));
        let mut other = site.phone(keys[1], CodecKind::Pcma, Source::Relay(keys[0]));
        one.sends(&[call as u8; 160]);
        assert_eq!(other.hears(1)[0].payload, [call as u8; 160]);
        other.sends(&[10; 160]);
        assert_eq!(one.hears(1)[0].payload, [10; 160]);
    }
}

#[test]
fn an_exported_stream_goes_on_at_another_engine() {
    let site = Site::on(41_100..=41_109);
    let mut caller = site.phone(CALLER, CodecKind::Pcma, Source::Echo);
    caller.sends(&[1; 160]);
    let before = caller.hears(1)[0].header;
    let state = site.state_of(CALLER);
    let port = caller.peer.unwrap().port();
    drop(site);

    let site = Site::on(41_100..=41_109);
    let reservation = site.engine.reserve_exact(HERE, port).unwrap();
    site.engine.resume(CALLER, state);
    site.engine.attach(CALLER, reservation);
    let mut plan = site.plan(CodecKind::Pcma, Source::Echo);
    plan.remote = Some(caller.address());
    site.engine.apply(CALLER, plan);
    wait_until(|| site.engine.stats().ports_open == 1);
    caller.sends(&[2; 160]);
    let after = caller.hears(1)[0].header;
    assert_eq!((after.ssrc, after.sequence), (before.ssrc, before.sequence.wrapping_add(1)));
}

/// An engine, and what it tells.
struct Site {
    engine: Engine,
    events: Receiver<PortEvent>,
}

impl Site {
    fn on(ports: std::ops::RangeInclusive<u16>) -> Self {
        let (told, events) = mpsc::channel();
        let config = EngineConfig { ports, ..EngineConfig::default() };
        let engine = Engine::start(config, move |event| {
            let _ = told.send(event);
        });
        Self { engine: engine.unwrap(), events }
    }

    fn plan(&self, kind: CodecKind, source: Source) -> PortPlan {
        PortPlan { source, ..PortPlan::new(spec(kind)) }
    }

    /// A phone on a port of this engine.
    fn phone(&self, key: PortKey, kind: CodecKind, source: Source) -> Phone {
        self.phone_with(key, self.plan(kind, source))
    }

    fn phone_with(&self, key: PortKey, mut plan: PortPlan) -> Phone {
        let mut phone = Phone::new(plan.codec.kind);
        let open = self.engine.stats().ports_open;
        let reservation = self.engine.reserve(HERE).unwrap();
        phone.peer = Some(reservation.local());
        plan.remote = Some(phone.address());
        self.engine.attach(key, reservation);
        self.engine.apply(key, plan);
        wait_until(|| self.engine.stats().ports_open == open + 1);
        phone
    }

    /// What another engine needs to continue a port; what was asked before has been done then.
    fn state_of(&self, key: PortKey) -> PortState {
        let (told, state) = mpsc::channel();
        self.engine.export(key, move |state| told.send(state).unwrap());
        state.recv_timeout(PATIENCE).unwrap().unwrap()
    }

    fn tells(&self, event: &PortEvent) {
        assert_eq!(self.events.recv_timeout(PATIENCE).as_ref(), Ok(event));
    }
}

/// What a phone received.
struct Received {
    header: Header,
    payload: Vec<u8>,
}

/// A plain RTP end point.
struct Phone {
    socket: UdpSocket,
    kind: CodecKind,
    peer: Option<SocketAddr>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    encoder: Encoder,
}

impl Phone {
    fn new(kind: CodecKind) -> Self {
        let socket = UdpSocket::bind((HERE, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let ssrc = u32::from(socket.local_addr().unwrap().port());
        let encoder = Encoder::new(kind, Rate::Khz8).unwrap();
        Self { socket, kind, peer: None, ssrc, sequence: 65_530, timestamp: 0, encoder }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn sends(&mut self, payload: &[u8]) {
        self.timestamp = self.timestamp.wrapping_add(self.kind.rtp_timestamp_step(20));
        self.packet(spec(self.kind).send_payload_type, payload);
    }

    fn sends_event(&mut self, payload: &[u8]) {
        self.packet(101, payload);
    }

    fn packet(&mut self, payload_type: u8, payload: &[u8]) {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header {
            marker: false,
            payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let mut packet = vec![0; 12];
        header.write(packet.first_chunk_mut().unwrap());
        packet.extend(payload);
        self.socket.send_to(&packet, self.peer.unwrap()).unwrap();
    }

    fn says_frame(&mut self, pcm: &[i16]) {
        let mut payload = [0; 1_275];
        let bytes = self.encoder.encode(pcm, &mut payload).unwrap();
        self.sends(&payload[..bytes]);
    }

    /// Speaks at four times the pace of life.
    fn says(&mut self, pcm: &[i16]) {
        for frame in pcm.chunks_exact(160) {
            self.says_frame(frame);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn hears(&mut self, count: usize) -> Vec<Received> {
        let mut datagram = [0; 2_048];
        (0..count)
            .map(|_| {
                loop {
                    let bytes = self.socket.recv(&mut datagram).unwrap();
                    let packet = Packet::parse(&datagram[..bytes]).unwrap();
                    let payload = datagram[packet.payload].to_vec();
                    // Not the frame of silence that opens the path through a NAT.
                    if !is_silence(&payload) {
                        break Received { header: packet.header, payload };
                    }
                }
            })
            .collect()
    }

    fn hears_pcm(&mut self, packets: usize) -> Vec<i16> {
        let mut decoder = Decoder::new(self.kind, Rate::Khz8).unwrap();
        let mut pcm = [0; 960];
        let heard = self.hears(packets);
        heard
            .iter()
            .flat_map(|packet| {
                let samples = decoder.decode(&packet.payload, &mut pcm).unwrap();
                pcm[..samples].to_vec()
            })
            .collect()
    }

    fn hears_nothing(&self) {
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(self.socket.recv(&mut [0; 2_048]).is_err());
    }
}

fn is_silence(payload: &[u8]) -> bool {
    payload.len() == 3 || payload.iter().all(|byte| matches!(byte, 0xD5 | 0xFF | 0xFA))
}

fn spec(kind: CodecKind) -> CodecSpec {
    let payload_type = kind.static_payload_type().unwrap_or(111);
    CodecSpec {
        kind,
        send_payload_type: payload_type,
        receive_payload_type: payload_type,
        ptime_ms: 20,
    }
}

/// A tone with a slowly changing loudness, so that a shift in time shows; at 0 Hz silence.
fn voice(hz: f64, seconds: f64) -> Vec<i16> {
    let samples = (seconds * 8_000.0) as usize;
    (0..samples)
        .map(|n| {
            let t = n as f64 / 8_000.0;
            let loudness = 0.6 + 0.4 * (t * 9.0).sin();
            (8_000.0 * loudness * (std::f64::consts::TAU * hz * t).sin()) as i16
        })
        .collect()
}

/// The best correlation of a voice with what was heard of it, over delays of up to 200 ms.
fn alike(said: &[i16], heard: &[i16]) -> f64 {
    let length = said.len().min(heard.len()).saturating_sub(1_600);
    (0..1_600)
        .map(|delay| {
            let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
            for (a, b) in said[..length].iter().zip(&heard[delay..]) {
                let (a, b) = (f64::from(*a), f64::from(*b));
                both += a * b;
                one += a * a;
                other += b * b;
            }
            both / (one * other).sqrt().max(1.0)
        })
        .fold(-1.0, f64::max)
}

/// The power at a frequency.
fn power_at(hz: f64, pcm: &[i16]) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let angle = std::f64::consts::TAU * hz * n as f64 / 8_000.0;
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
    }
    (re * re + im * im) / (pcm.len() as f64).powi(2)
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}
