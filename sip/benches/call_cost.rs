//! What the SIP work of one B2BUA call costs: two legs from INVITE to BYE, every message parsed
//! and built, both legs exported at the two moments at which they are committed.
//!
//! Prints microseconds of one core a call, and the bytes of an exported leg.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails says so")]

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tandem_sip::{
    leg::{Identity, Leg, Outgoing, Output, Settings},
    wire::{HeaderName, Message, Peer, Request, Response, Transport},
};

const CALLS: u32 = 20_000;

const SDP: &str = "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n\
    t=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";

fn main() {
    let far = Far::new();
    let settings = Arc::new(Settings::default());
    let now = clock();
    (0..1_000).for_each(|_| {
        black_box(call(&far, &settings, now));
    });
    let start = cpu_ns();
    let mut bytes = [0; 4];
    for _ in 0..CALLS {
        bytes = black_box(call(&far, &settings, now));
    }
    let us = (cpu_ns() - start) as f64 / 1e3 / f64::from(CALLS);
    println!("sip work of one B2BUA call: {us:.1} µs");
    println!(
        "exported bytes: arrived {}, ringing {}, answered {} and {}",
        bytes[0], bytes[1], bytes[2], bytes[3]
    );
}

/// What this process has used of a core, nanoseconds: on a busy machine the time on the wall says
/// nothing.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn clock() -> Instant {
    Instant::now()
}

/// What the two far ends send. Made once: it is not our work.
struct Far {
    invite: Vec<u8>,
    trying: Vec<u8>,
    ringing: Vec<u8>,
    ok: Vec<u8>,
    ack: Vec<u8>,
    bye: Vec<u8>,
    bye_ok: Vec<u8>,
}

fn request(method: &str, cseq: u32, to_tag: &str, sdp: &str) -> Vec<u8> {
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:b2b@127.0.0.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-21-1-{cseq}{method}\r\n\
         From: sipp <sip:sipp@127.0.0.1:5061>;tag=21SIPpTag001\r\n\
         To: b2b <sip:b2b@127.0.0.1:5060>{to_tag}\r\nCall-ID: 1-21@127.0.0.1\r\n\
         CSeq: {cseq} {method}\r\nContact: sip:sipp@127.0.0.1:5061\r\nMax-Forwards: 70\r\n\
         Subject: Performance Test\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
    .into_bytes()
}

fn peer(remote: &str) -> Peer {
    let remote: SocketAddr = remote.parse().unwrap();
    let local = "127.0.0.1:5060".parse().unwrap();
    Peer { transport: Transport::Udp, remote, local, connection: None }
}

fn identity(name: &str, settings: &Arc<Settings>) -> Identity {
    Identity {
        tag: format!("{name}-0001-4a5b6c7d8e9f"),
        branch_seed: format!("{name}-0001-4a5b6c7d8e9f"),
        contact: format!("sip:{name}@127.0.0.1:5060"),
        sent_by: "127.0.0.1:5060".into(),
        settings: settings.clone(),
    }
}

fn outgoing(settings: &Arc<Settings>) -> Outgoing {
    Outgoing {
        identity: identity("out", settings),
        call_id: "72057594037927936.1@tandem".into(),
        target: "sip:x@127.0.0.1:5171".into(),
        from: "\"sipp\" <sip:sipp@127.0.0.1>".into(),
        to: "<sip:x@127.0.0.1:5171>".into(),
        routes: Vec::new(),
        peer: peer("127.0.0.1:5171"),
        sdp: SDP.into(),
        credentials: None,
        headers: Vec::new(),
        max_forwards: 69,
    }
}

impl Far {
    fn new() -> Self {
        let mut leg = Leg::outgoing(clock(), &outgoing(&Arc::new(Settings::default())));
        let invite = first(&mut leg);
        let answer = |status: u16| {
            let out = Response::to_request(&invite, status, Some("sipp-uas-1"));
            out.header(HeaderName::Contact, "<sip:127.0.0.1:5171;transport=UDP>")
        };
        let ok = answer(200).body("application/sdp", SDP.as_bytes()).build();
        leg.handle_response(clock(), &ok);
        drain(&mut leg);
        leg.hang_up(clock());
        let bye = first(&mut leg);
        Self {
            invite: request("INVITE", 1, "", SDP),
            trying: answer(100).build().to_bytes(),
            ringing: answer(180).build().to_bytes(),
            ok: ok.to_bytes(),
            ack: request("ACK", 1, ";tag=in-0001-4a5b6c7d8e9f", ""),
            bye: request("BYE", 2, ";tag=in-0001-4a5b6c7d8e9f", ""),
            bye_ok: Response::to_request(&bye, 200, None).build().to_bytes(),
        }
    }
}

fn first(leg: &mut Leg) -> Request {
    let Some(Output::Send { bytes, .. }) = leg.poll_output() else { panic!("nothing sent") };
    Message::parse(&bytes).unwrap().into_request().unwrap()
}

/// As the shell does: every output is taken.
fn drain(leg: &mut Leg) -> usize {
    let mut count = 0;
    while let Some(output) = leg.poll_output() {
        black_box(output);
        count += 1;
    }
    black_box(leg.poll_timeout());
    count
}

fn requests(leg: &mut Leg, now: Instant, bytes: &[u8], from: Peer) {
    let request = Message::parse(bytes).unwrap().into_request().unwrap();
    assert!(leg.owns(&request));
    leg.handle_request(now, &request, from);
    assert!(drain(leg) > 0);
}

fn responds(leg: &mut Leg, now: Instant, bytes: &[u8]) {
    let response = Message::parse(bytes).unwrap().into_response().unwrap();
    leg.handle_response(now, &response);
    drain(leg);
}

fn commits(leg: &Leg, now: Instant) -> usize {
    black_box(postcard::to_allocvec(&leg.export(now)).unwrap()).len()
}

fn call(far: &Far, settings: &Arc<Settings>, mut now: Instant) -> [usize; 4] {
    let caller = peer("127.0.0.1:5061");
    let invite = Message::parse(&far.invite).unwrap().into_request().unwrap();
    let mut one = Leg::incoming(now, &invite, caller, identity("in", settings)).unwrap();
    let arrived = commits(&one, now);
    one.trying(now).unwrap();
    drain(&mut one);
    let mut two = Leg::outgoing(now, &outgoing(settings));
    drain(&mut two);
    responds(&mut two, now, &far.trying);
    responds(&mut two, now, &far.ringing);
    let ringing = commits(&two, now);
    one.ring(now, None).unwrap();
    drain(&mut one);
    responds(&mut two, now, &far.ok);
    one.answer(now, SDP.into()).unwrap();
    let answered = [commits(&one, now), commits(&two, now)];
    drain(&mut one);
    requests(&mut one, now, &far.ack, caller);
    requests(&mut one, now, &far.bye, caller);
    one.accept_bye(now).unwrap();
    two.hang_up(now);
    drain(&mut one);
    drain(&mut two);
    responds(&mut two, now, &far.bye_ok);
    // Until nothing is left of either.
    for leg in [&mut one, &mut two] {
        while let Some(at) = leg.poll_timeout() {
            now = at.max(now + Duration::from_millis(1));
            leg.handle_timeout(now);
            drain(leg);
        }
    }
    [arrived, ringing, answered[0], answered[1]]
}
