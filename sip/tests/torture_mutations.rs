//! Mutations of the messages of RFC 4475: whatever comes, nothing panics, and what is read can
//! be answered, written and read again. Seeded, so that a failure repeats.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, net::SocketAddr, path::PathBuf};

use tandem_sip::{
    auth::{Authenticator, challenges},
    registrar::{Arrival, Registrar, Rules},
    sdp,
    wire::{
        Abilities, HeaderName, Message, Method, Peer, Request, RequestBuilder, Response,
        StreamFramer, Transport, Via, validate_request,
    },
};

/// Mutants of each message: all 49 in about two seconds without optimisation. Set
/// `TANDEM_MUTANTS` for more.
const MUTANTS: usize = 400;

const ABILITIES: Abilities = Abilities {
    methods: &[Method::Invite, Method::Ack, Method::Options, Method::Register],
    extensions: &["100rel"],
    content_types: &["application/sdp"],
};

/// Bytes that mean something somewhere.
const SYNTAX: &[u8] = b" \t\r\n:;,<>\"\\/@?=&%*[]().0z\x00\x7f\x80\xff";

#[test]
fn no_mutant_panics() {
    let mutants = std::env::var("TANDEM_MUTANTS").ok().and_then(|text| text.parse().ok());
    let messages = messages();
    let mut registrar = Registrar::new(Rules::default());
    for (name, message) in &messages {
        let mut random = Random(name.bytes().fold(1, |seed, byte| seed * 31 + u64::from(byte)));
        for number in 0..mutants.unwrap_or(MUTANTS) {
            let mutant = mutated(message, &messages, &mut random);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                use_all(&mutant, &mut registrar);
            }));
            assert!(
                outcome.is_ok(),
                "{name}, mutant {number}: {:?}",
                String::from_utf8_lossy(&mutant)
            );
        }
    }
}

#[test]
fn no_mutated_stream_panics_or_hoards() {
    let messages = messages();
    let mut random = Random(7);
    for _ in 0..MUTANTS {
        let mut framer = StreamFramer::new();
        for _ in 0..4 {
            let (_, message) = &messages[random.below(messages.len())];
            let mutant = mutated(message, &messages, &mut random);
            for chunk in mutant.chunks(random.below(700) + 1) {
                framer.push(chunk);
                // Each step consumes a message or ends: it cannot spin.
                let spun = (0..100).all(|_| !matches!(framer.next(), Ok(None)));
                assert!(!spun, "{:?}", String::from_utf8_lossy(&mutant));
                assert!(framer.buffered_bytes() <= 61_000);
            }
        }
    }
}

/// Reads a message, asks it everything, and answers it.
fn use_all(bytes: &[u8], registrar: &mut Registrar) {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(malformed) => {
            if let Some(reply) = malformed.reply(source()) {
                assert!(reply.starts_with(b"SIP/2.0 4") || reply.starts_with(b"SIP/2.0 5"));
                assert!(reply.ends_with(b"\r\n\r\n"));
            }
            return;
        }
    };
    ask(&message);
    let again = Message::parse(message.head().as_bytes()).unwrap();
    assert_eq!(again.head().as_bytes(), message.head().as_bytes());
    match message {
        Message::Request(request) => answer(&request.with_source(source()), registrar),
        Message::Response(response) => {
            let _ = (response.reason(), response.via_count(), challenges(&response));
        }
    }
}

fn ask(message: &Message) {
    let head = message.head();
    for address in [head.from(), head.to()].into_iter().chain(head.contacts()).chain(head.routes())
    {
        let uri = address.uri();
        let _ =
            (address.display(), address.tag(), address.with_tag("t"), address.with_display("d"));
        let _ =
            (uri.user(), uri.password(), uri.host(), uri.host_ip(), uri.port(), uri.param("lr"));
        let _ = (uri.headers().count(), uri.params().count(), uri.address_of_record());
        let _ = (uri.with_param("x", Some("y")), uri.without_headers(), uri.user_unescaped());
    }
    for via in head.vias() {
        let via = Via::parse(via).unwrap();
        let _ = (via.transport(), via.sent_by(), via.branch(), via.received(), via.rport());
        let _ = via.reply_address(source());
    }
    for (_, name, value) in head.headers() {
        assert!(head.header_named(name).is_some(), "{value:?}");
    }
    let _ = (head.cseq(), head.call_id(), head.max_forwards(), head.expires(), head.content_type());
}

fn answer(request: &Request, registrar: &mut Registrar) {
    if let Err(refusal) = validate_request(request, &ABILITIES) {
        assert!(Message::parse(refusal.response(request, "ours").as_bytes()).is_ok());
    }
    let ok =
        Response::to_request(request, 200, Some("ours")).copy(request, HeaderName::Contact).build();
    let back = Message::parse(ok.as_bytes()).unwrap().into_response().unwrap();
    assert_eq!((back.call_id(), back.cseq()), (request.call_id(), request.cseq()));
    assert_eq!(back.via_top().branch(), request.branch());
    let again = RequestBuilder::again(request, &request.via_top(), 9).build();
    let back = Message::parse(again.as_bytes()).unwrap().into_request().unwrap();
    assert_eq!((back.method(), back.body()), (request.method(), request.body()));
    let mut authenticator = Authenticator::new("example.com", b"key");
    let _ = authenticator.verify(request, 1, |_| None);
    let peer =
        Peer { transport: Transport::Udp, remote: source(), local: source(), connection: None };
    let arrival = Arrival { now_ms: 1, peer, user: None, to_tag: "ours" };
    let registered = registrar.handle_register(request, arrival);
    assert!(Message::parse(registered.as_bytes()).is_ok());
    let local = sdp::Local {
        ip: source().ip(),
        rtp_port: 40_000,
        session_id: 1,
        version: 1,
        direction: sdp::Direction::SendRecv,
    };
    let _ = sdp::answer(request.body(), &sdp::Capabilities::default(), &local);
}

fn mutated(message: &[u8], all: &[(String, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut out = message.to_vec();
    for _ in 0..=random.below(4) {
        if out.is_empty() {
            return out;
        }
        let at = random.below(out.len());
        let end = (at + random.below(40)).min(out.len());
        match random.below(7) {
            0 => out[at] = random.below(256) as u8,
            1 => out[at] = SYNTAX[random.below(SYNTAX.len())],
            2 => out.insert(at, SYNTAX[random.below(SYNTAX.len())]),
            3 => drop(out.drain(at..end)),
            4 => {
                let copy = out[at..end].to_vec();
                drop(out.splice(at..at, copy));
            }
            5 => {
                let (_, other) = &all[random.below(all.len())];
                let from = random.below(other.len());
                let to = (from + random.below(200)).min(other.len());
                drop(out.splice(at..end, other[from..to].iter().copied()));
            }
            _ => out.truncate(at),
        }
    }
    out
}

fn messages() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "dat"));
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

fn source() -> SocketAddr {
    "203.0.113.7:5070".parse().unwrap()
}

/// A linear congruential generator: enough to shuffle bytes.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
