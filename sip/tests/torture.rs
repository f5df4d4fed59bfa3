//! The messages of RFC 4475, each with what must happen to it. The files are as they are sent;
//! `expected.tsv` says in words what these tests check.
//!
//! Here a message is read, and a request checked as a user agent server checks it before it
//! looks at what is wanted. Registrar and transactions have the rest in their own tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf};

use tandem_sip::wire::{
    Abilities, Fault, HeaderName, Malformed, Message, Method, Request, Response, Scheme,
    StreamFramer, Transport, validate_request,
};

/// What a user agent server does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Reads it and goes on.
    Accepts,
    /// Answers a request with this status.
    Answers(u16),
    /// Discards it.
    Discards,
}

use Outcome::{Accepts, Answers, Discards};

const OUTCOMES: [(&str, Outcome); 49] = [
    ("wsinv", Accepts),
    ("intmeth", Answers(501)),
    ("esc01", Accepts),
    ("escnull", Accepts),
    ("esc02", Answers(501)),
    ("lwsdisp", Accepts),
    ("longreq", Accepts),
    ("dblreq", Accepts),
    ("semiuri", Accepts),
    ("transports", Accepts),
    // A MESSAGE with a multipart body: readable, and of a type that we do not take.
    ("mpart01", Answers(415)),
    ("unreason", Accepts),
    ("noreason", Accepts),
    ("badinv01", Answers(400)),
    ("clerr", Answers(400)),
    ("ncl", Answers(400)),
    ("scalar02", Answers(400)),
    ("scalarlg", Discards),
    ("quotbal", Answers(400)),
    ("ltgtruri", Answers(400)),
    ("lwsruri", Answers(400)),
    ("lwsstart", Answers(400)),
    ("trws", Answers(400)),
    ("escruri", Answers(400)),
    ("baddate", Accepts),
    ("regbadct", Answers(400)),
    ("badaspec", Answers(400)),
    // Its display name would be taken; but its headers have no end.
    ("baddn", Answers(400)),
    ("badvers", Answers(505)),
    ("mismatch01", Answers(400)),
    ("mismatch02", Answers(400)),
    ("bigcode", Discards),
    ("badbranch", Accepts),
    ("insuf", Answers(400)),
    ("unkscm", Answers(416)),
    ("novelsc", Answers(416)),
    // The registrar's: its To is no address-of-record.
    ("unksm2", Accepts),
    ("bext01", Answers(420)),
    ("invut", Answers(415)),
    // The registrar's: it challenges.
    ("regaut01", Accepts),
    ("multi01", Answers(400)),
    ("mcl01", Answers(400)),
    // The transactions': no client transaction has it.
    ("bcast", Accepts),
    ("zeromf", Accepts),
    ("cparam01", Accepts),
    ("cparam02", Accepts),
    ("regescrt", Accepts),
    ("sdp01", Answers(406)),
    ("inv2543", Accepts),
];

const ABILITIES: Abilities = Abilities {
    methods: &[
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Options,
        Method::Register,
        Method::Message,
    ],
    extensions: &["100rel", "timer", "replaces"],
    content_types: &["application/sdp"],
};

#[test]
fn every_message_of_the_rfc_has_its_outcome() {
    for (name, outcome) in OUTCOMES {
        assert_eq!(outcome_of(&bytes(name)), outcome, "{name}");
    }
}

#[test]
fn the_outcomes_are_those_of_the_table() {
    let table = fs::read_to_string(folder().join("expected.tsv")).unwrap();
    let rows: BTreeMap<&str, &str> = table
        .lines()
        .skip(1)
        .map(|row| row.split('\t').collect::<Vec<_>>())
        .map(|cells| (cells[0], cells[2]))
        .collect();
    assert_eq!(rows.len(), OUTCOMES.len());
    for (name, outcome) in OUTCOMES {
        let row = rows[name];
        match outcome {
            // Well-formed and refused for what it asks: mpart01 only says "well-formed".
            Answers(415) if name == "mpart01" => assert!(row.contains("well-formed"), "{name}"),
            Answers(status) => assert!(row.contains(&status.to_string()), "{name}: {row}"),
            Discards => assert!(row.contains("discard"), "{name}: {row}"),
            Accepts => assert!(
                [
                    "accept",
                    "well-formed",
                    "first request",
                    "answer it",
                    "401",
                    "4xx",
                    "sent to nobody"
                ]
                .iter()
                .any(|word| row.contains(word)),
                "{name}: {row}"
            ),
        }
    }
}

#[test]
fn every_answer_reaches_the_sender_of_the_bad_message() {
    for (name, outcome) in OUTCOMES {
        let bytes = bytes(name);
        let (Answers(status), Err(malformed)) = (outcome, Message::parse(&bytes)) else { continue };
        let reply = malformed.reply(source()).unwrap();
        let text = String::from_utf8_lossy(&reply).into_owned();
        assert!(text.starts_with(&format!("SIP/2.0 {status} ")), "{name}: {text}");
        assert!(text.contains("Via: "), "{name}: {text}");
        assert!(text.ends_with("\r\nContent-Length: 0\r\n\r\n"), "{name}: {text}");
        assert_eq!(malformed.reply(source()), Some(reply), "{name}: the tag is the same");
    }
}

#[test]
fn an_options_is_answered_after_each_of_them_on_one_stream() {
    let options =
        b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKx\r\nFrom: <sip:a@b>;\
        tag=1\r\nTo: <sip:b@b>\r\nCall-ID: after\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    for (name, _) in OUTCOMES {
        // On a datagram a bad message can never harm the next; on a stream it either leaves the
        // frame whole or closes the connection.
        let mut framer = StreamFramer::new();
        framer.push(&bytes(name));
        framer.push(options);
        let mut answered = false;
        for _ in 0..8 {
            match framer.next() {
                Ok(None) => break,
                Ok(Some(message)) => answered = message.head().call_id() == "after",
                Err(_) => (),
            }
        }
        // A Content-Length beyond the message waits for bytes that come with the next ones.
        let swallowed = name == "clerr";
        assert!(answered || framer.is_broken() || swallowed, "{name}");
    }
}

#[test]
fn wsinv_odd_white_space_and_folding_are_read() {
    let request = request("wsinv");
    assert_eq!(request.to().uri().as_str(), "sip:vivekg@chair-dnrc.example.com");
    assert_eq!(request.to_tag(), Some("1918181833n"));
    assert_eq!(request.from().display().unwrap(), "J Rosenberg \\\"");
    assert_eq!(request.from_tag(), Some("98asjd8"));
    assert_eq!(request.max_forwards(), Some(68));
    assert_eq!((request.cseq().number, &request.cseq().method), (9, &Method::Invite));
    assert_eq!(request.vias().count(), 3);
    let via = request.via_top();
    assert_eq!((via.transport(), via.host()), (Some(Transport::Udp), "192.0.2.2"));
    assert_eq!(via.branch(), Some("390skdjuw"));
    assert!(!via.has_unique_branch());
    assert_eq!(request.header(HeaderName::Subject), Some(&b""[..]));
    let folded = request.header_named("newfangledheader").unwrap();
    assert_eq!(folded, b"newfangled value   continued newfangled value");
    assert_eq!(request.header_named("UnknownHeaderWithUnusualValue"), Some(&b";;,,;;,;"[..]));
    let contact = request.contact().unwrap();
    assert_eq!(contact.display().unwrap(), "Quoted string \"\"");
    assert_eq!((contact.param("newparam"), contact.param("q")), (Some("newvalue"), Some("0.33")));
    assert_eq!(contact.param("secondparam"), Some(""));
    assert_eq!(request.routes()[0].uri().param("unknownwith"), Some("value"));
    assert_eq!(request.body().len(), 150);
}

#[test]
fn intmeth_every_allowed_character_is_kept() {
    let request = request("intmeth");
    assert_eq!(request.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    let uri = request.uri();
    assert_eq!(uri.user(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.password(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(uri.host(), "example.com");
    assert_eq!(request.to().display().unwrap(), "BEL:\u{7} NUL:\0 DEL:\u{7f}");
    assert_eq!(request.from().display().unwrap(), "token1~` token2'+_ token3*%!.-");
    assert_eq!(request.from().param("fromParam''~+*_!.-%"), Some("работающий"));
    assert_eq!(request.from_tag(), Some("_token~1'+`*%!-."));
    assert_eq!(request.call_id(), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert_eq!(request.branch(), Some("z9hG4bK-.!%66*_+`'~"));
    assert_eq!(request.max_forwards(), Some(255));
    let unknown = request.header_named("extensionHeader-!.%*+_`'~").unwrap();
    assert_eq!(std::str::from_utf8(unknown).unwrap(), "\u{feff}大停電");
}

#[test]
fn esc01_escapes_are_kept_and_compare_as_what_they_mean() {
    let request = request("esc01");
    assert_eq!(request.uri().user(), Some("sips%3Auser%40example.com"));
    assert_eq!(request.uri().host(), "example.net");
    assert_eq!(request.to().uri(), "sip:user@example.com".parse().unwrap());
    assert_eq!(request.from().uri().user_unescaped().unwrap(), b"I have spaces");
    // `%6C%72` is another spelling of `lr`, as a name of a parameter.
    let contact = request.contact().unwrap().uri();
    assert_eq!(contact.as_str(), "sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31");
}

#[test]
fn escnull_a_nul_in_a_user_is_kept() {
    let contacts = request("escnull").contacts();
    let users: Vec<_> = contacts.iter().map(|c| c.uri().user_unescaped().unwrap()).collect();
    assert_eq!(users, [vec![0], vec![0, 0]]);
    assert_ne!(contacts[0].uri(), contacts[1].uri());
}

#[test]
fn esc02_an_escaped_method_or_header_name_is_another_name() {
    let request = request("esc02");
    assert_eq!(request.method(), &Method::Other("RE%47IST%45R".into()));
    assert_eq!(request.contacts().len(), 2);
    assert_eq!(request.header_named("C%6Fntact"), Some(&b"<sip:alias2@host2.example.com>"[..]));
    assert_eq!(request.to().display().unwrap(), "%Z%45");
}

#[test]
fn lwsdisp_needs_no_space_behind_the_display_name() {
    assert_eq!(request("lwsdisp").from().display().unwrap(), "caller");
}

#[test]
fn longreq_long_values_are_whole() {
    let request = request("longreq");
    assert_eq!(request.vias().count(), 34);
    assert_eq!(request.via_top().host(), "sip33.example.com");
    assert_eq!(request.to().uri().port(), Some(6000));
    assert!(request.header_named(
        "Unknown-LongLongLongLongLongLongLongLongLongLongLongLongLongLongLongLongLongLongLongLong-Name"
    ).unwrap().len() > 100);
    assert!(request.from().uri().user().unwrap().len() > 100);
}

#[test]
fn dblreq_only_the_first_request_of_a_datagram_is_read() {
    let request = request("dblreq");
    assert_eq!((request.method(), request.body()), (&Method::Register, &b""[..]));
}

#[test]
fn dblreq_on_a_stream_is_two_requests() {
    let mut framer = StreamFramer::new();
    framer.push(&bytes("dblreq"));
    let methods: Vec<_> = std::iter::from_fn(|| framer.next().unwrap())
        .map(|message| message.into_request().unwrap().method().clone())
        .take(2)
        .collect();
    assert_eq!(methods, [Method::Register, Method::Invite]);
}

#[test]
fn semiuri_semicolons_are_the_users() {
    let uri = request("semiuri").uri();
    assert_eq!(uri.user(), Some("user;par=u%40example.net"));
    assert_eq!((uri.host(), uri.params().count()), ("example.com", 0));
}

#[test]
fn transports_unknown_ones_are_kept() {
    let request = request("transports");
    let words: Vec<String> = request
        .vias()
        .map(|via| tandem_sip::wire::Via::parse(via).unwrap().transport_name().to_owned())
        .collect();
    assert_eq!(words, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

#[test]
fn mpart01_a_binary_body_is_kept_byte_for_byte() {
    let (request, file) = (request("mpart01"), bytes("mpart01"));
    assert_eq!(request.body().len(), 553);
    assert!(file.ends_with(request.body()));
    assert!(std::str::from_utf8(request.body()).is_err());
}

#[test]
fn unreason_and_noreason_keep_the_phrase() {
    let unreason = response("unreason");
    assert_eq!(unreason.reason(), "= 2**3 * 5**2 но сто девяносто девять - простое");
    assert!(unreason.is_success());
    let noreason = response("noreason");
    assert_eq!((noreason.status(), noreason.reason()), (100, String::new()));
}

#[test]
fn faults_say_where_they_are() {
    for (name, fault) in [
        ("badinv01", Fault::Header(HeaderName::Via)),
        ("clerr", Fault::Truncated),
        ("ncl", Fault::Header(HeaderName::ContentLength)),
        ("scalar02", Fault::Header(HeaderName::CSeq)),
        ("scalarlg", Fault::Header(HeaderName::CSeq)),
        ("quotbal", Fault::Header(HeaderName::To)),
        ("ltgtruri", Fault::RequestUri),
        ("lwsruri", Fault::StartLine),
        ("lwsstart", Fault::StartLine),
        ("trws", Fault::StartLine),
        ("escruri", Fault::RequestUri),
        ("regbadct", Fault::Header(HeaderName::Contact)),
        ("badaspec", Fault::Header(HeaderName::To)),
        ("badvers", Fault::Version),
        ("mismatch01", Fault::CSeqMethod),
        ("mismatch02", Fault::CSeqMethod),
        ("bigcode", Fault::StatusCode),
        ("baddn", Fault::Unfinished),
        ("insuf", Fault::Missing(HeaderName::From)),
        ("multi01", Fault::Repeated(HeaderName::CSeq)),
        ("mcl01", Fault::Repeated(HeaderName::ContentLength)),
    ] {
        assert_eq!(malformed(name).fault(), fault, "{name}");
    }
}

#[test]
fn ncl_and_mcl01_close_a_stream() {
    for name in ["ncl", "mcl01"] {
        let mut framer = StreamFramer::new();
        framer.push(&bytes(name));
        let malformed = framer.next().unwrap_err();
        assert_eq!(malformed.status(), Some(400), "{name}");
        assert!(framer.is_broken(), "{name}");
        framer.push(&bytes("zeromf"));
        assert!(framer.next().unwrap().is_none(), "{name}: nothing behind it is read");
    }
}

#[test]
fn baddn_names_without_quotes_are_taken() {
    let whole = [bytes("baddn"), b"\r\n".to_vec()].concat();
    let message = Message::parse(&whole).unwrap();
    assert_eq!(message.head().from().display().unwrap(), "Bell, Alexander");
}

#[test]
fn badbranch_the_cookie_alone_is_no_transaction() {
    let request = request("badbranch");
    assert_eq!(request.branch(), Some("z9hG4bK"));
    assert!(!request.via_top().has_unique_branch());
}

#[test]
fn refusals_say_what_would_be_accepted() {
    let header = |name: &str, header| refused(name).header_str(header).unwrap().to_owned();
    assert_eq!(
        header("bext01", HeaderName::Unsupported),
        "nothingSupportsThis, nothingSupportsThisEither"
    );
    assert_eq!(header("invut", HeaderName::Accept), "application/sdp");
    assert_eq!(
        header("intmeth", HeaderName::Allow),
        "INVITE, ACK, BYE, CANCEL, OPTIONS, REGISTER, MESSAGE"
    );
}

#[test]
fn unknown_schemes_are_kept() {
    assert_eq!(request("unkscm").uri().as_str(), "nobodyKnowsThisScheme:totallyopaquecontent");
    assert_eq!(request("novelsc").uri().scheme_str(), "soap.beep");
    let unksm2 = request("unksm2");
    assert_eq!(unksm2.to().uri().scheme(), Scheme::Other);
    assert_eq!(unksm2.contact().unwrap().uri().as_str(), "name:John_Smith");
}

#[test]
fn bcast_has_a_via_that_is_not_ours() {
    let response = response("bcast");
    assert_eq!(response.via_count(), 2);
    assert_eq!(response.via_top().host(), "192.0.2.198");
}

#[test]
fn zeromf_is_answered_where_it_ends() {
    let request = request("zeromf");
    assert_eq!((request.method(), request.max_forwards()), (&Method::Options, Some(0)));
}

#[test]
fn cparam01_and_cparam02_keep_what_is_whose() {
    let (header, uri) = (request("cparam01"), request("cparam02"));
    let (header, uri) = (header.contact().unwrap(), uri.contact().unwrap());
    assert_eq!(
        (header.param("unknownparam"), header.uri().param("unknownparam")),
        (Some(""), None)
    );
    assert_eq!((uri.param("unknownparam"), uri.uri().param("unknownparam")), (None, Some("")));
}

#[test]
fn regescrt_the_headers_of_a_contact_are_kept() {
    let uri = request("regescrt").contact().unwrap().uri();
    assert_eq!(uri.headers().collect::<Vec<_>>(), [("Route", "%3Csip:sip.example.com%3E")]);
}

#[test]
fn inv2543_an_old_invite_is_read() {
    let request = request("inv2543");
    assert_eq!((request.branch(), request.from_tag(), request.max_forwards()), (None, None, None));
    assert_eq!(request.body().len(), bytes("inv2543").len() - body_start(&bytes("inv2543")));
    assert!(!request.body().is_empty());
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.dat"))).unwrap()
}

fn body_start(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4
}

fn source() -> SocketAddr {
    "203.0.113.7:5070".parse().unwrap()
}

fn outcome_of(bytes: &[u8]) -> Outcome {
    match Message::parse(bytes) {
        Ok(Message::Request(request)) => match validate_request(&request, &ABILITIES) {
            Ok(()) => Accepts,
            Err(refusal) => Answers(refusal.status),
        },
        Ok(Message::Response(_)) => Accepts,
        Err(malformed) => malformed.status().map_or(Discards, Answers),
    }
}

fn malformed(name: &str) -> Malformed {
    Message::parse(&bytes(name)).unwrap_err()
}

fn request(name: &str) -> Request {
    let message =
        Message::parse(&bytes(name)).unwrap_or_else(|malformed| panic!("{}", malformed.fault()));
    message.into_request().unwrap()
}

fn response(name: &str) -> Response {
    Message::parse(&bytes(name)).unwrap().into_response().unwrap()
}

fn refused(name: &str) -> Response {
    let request = request(name);
    validate_request(&request, &ABILITIES).unwrap_err().response(&request, "ours")
}
