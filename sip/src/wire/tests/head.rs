//! Headers and bodies: RFC 3261 §7.3, §7.4, §18.3.

use super::{parsed, request};
use crate::wire::{
    Fault, HEAD_BYTES_MAX, HEADER_LINES_MAX, HeaderName, MESSAGE_BYTES_MAX, Message, Method,
    VIAS_MAX,
};

const LEAST: &str = "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
    From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n";

fn fault(text: &str) -> Fault {
    Message::parse(text.as_bytes()).unwrap_err().fault()
}

#[test]
fn header_names_must_be_compared_without_case_and_in_compact_form() {
    let text = "OPTIONS sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP h\r\nf: <sip:a@h>;tag=1\r\n\
        T: <sip:b@h>\r\nI: c\r\ncseq: 1 OPTIONS\r\nM: <sip:a@h>\r\nk: 100rel\r\nl: 0\r\n\r\n";
    let request = parsed(text.as_bytes()).into_request().unwrap();
    assert_eq!(request.contact().unwrap().to_string(), "<sip:a@h>");
    assert!(request.lists(HeaderName::Supported, "100REL"));
    assert_eq!(request.call_id(), "c");
}

#[test]
fn lines_of_one_name_are_one_list_in_their_order() {
    let request = request(
        "INVITE sip:b@h",
        "Route: <sip:1.h;lr>, <sip:2.h;lr>\r\nSubject: x\r\nRoute: \"c, d\" <sip:3.h;lr>\r\n",
        "",
    );
    let hosts: Vec<_> =
        request.routes().iter().map(|route| route.uri().host().to_owned()).collect();
    assert_eq!(hosts, ["1.h", "2.h", "3.h"]);
    assert_eq!(request.lines_of(HeaderName::Route).count(), 2);
}

#[test]
fn a_folded_value_is_one_value() {
    let request =
        request("INVITE sip:b@h", "Subject: I know\r\n \tyou're there,\r\n  pick up\r\n", "");
    let subject = request.header_str(HeaderName::Subject).unwrap();
    assert_eq!(
        subject.split_whitespace().collect::<Vec<_>>().join(" "),
        "I know you're there, pick up"
    );
}

#[test]
fn unknown_headers_and_bytes_are_kept() {
    let mut text = LEAST.as_bytes().to_vec();
    text.extend(b"X-Queue: \xc4\xe3\xba\xc3\r\nX-queue: 2\r\n\r\n");
    let message = parsed(&text);
    assert_eq!(message.head().header_named("x-QUEUE"), Some(&b"\xc4\xe3\xba\xc3"[..]));
    let all: Vec<_> = message.head().headers().map(|(_, name, _)| name).collect();
    assert_eq!(&all[5..], ["X-Queue", "X-queue"]);
}

#[test]
fn lines_must_end_with_cr_lf() {
    for line in ["Subject: a\nb\r\n", "Subject: a\rb\r\n", "Subject: a\n"] {
        assert_eq!(fault(&format!("{LEAST}{line}\r\n")), Fault::HeaderLine, "{line:?}");
    }
    assert_eq!(fault(&LEAST.replace("\r\n", "\n")), Fault::NotSip);
}

#[test]
fn a_line_must_be_a_name_and_a_value() {
    for line in ["Subject", ": x", "Sub ject: x", " folded: x", "Subj\u{e9}ct: x", "<x>: y"] {
        let lines = format!("OPTIONS sip:b@h SIP/2.0\r\n{line}\r\n\r\n");
        assert_eq!(fault(&lines), Fault::HeaderLine, "{line:?}");
    }
    assert!(Message::parse(format!("{LEAST}Subject:\r\n\r\n").as_bytes()).is_ok());
}

#[test]
fn the_headers_must_end_with_an_empty_line() {
    assert_eq!(fault(LEAST), Fault::Unfinished);
    assert_eq!(fault(&format!("{LEAST}\r")), Fault::Unfinished);
    assert_eq!(fault(&format!("{LEAST}Subject: x")), Fault::Unfinished);
}

#[test]
fn bytes_behind_content_length_must_be_ignored_in_a_datagram() {
    let message = parsed(format!("{LEAST}Content-Length: 2\r\n\r\nabcdef").as_bytes());
    assert_eq!(message.head().body(), b"ab");
    assert!(message.head().as_bytes().ends_with(b"\r\n\r\nab"));
}

#[test]
fn without_content_length_the_body_must_be_the_rest_of_the_datagram() {
    assert_eq!(parsed(format!("{LEAST}\r\nabc").as_bytes()).head().body(), b"abc");
}

#[test]
fn a_body_shorter_than_content_length_must_be_refused() {
    assert_eq!(fault(&format!("{LEAST}Content-Length: 4\r\n\r\nabc")), Fault::Truncated);
}

#[test]
fn content_length_is_digits() {
    for value in ["-1", "+1", "1.0", "0x1", "1 1", "", "99999999999999999999", "4294967296"] {
        let fault = fault(&format!("{LEAST}Content-Length: {value}\r\n\r\nabc"));
        assert_eq!(fault, Fault::Header(HeaderName::ContentLength), "{value:?}");
    }
}

#[test]
fn cr_lf_before_the_start_line_must_be_ignored() {
    assert!(Message::parse(format!("\r\n\r\n{LEAST}\r\n").as_bytes()).is_ok());
}

#[test]
fn the_mandatory_headers_must_be_there_once() {
    for (name, line) in [
        (HeaderName::Via, "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"),
        (HeaderName::From, "From: <sip:a@h>;tag=1\r\n"),
        (HeaderName::To, "To: <sip:b@h>\r\n"),
        (HeaderName::CallId, "Call-ID: c\r\n"),
        (HeaderName::CSeq, "CSeq: 1 OPTIONS\r\n"),
    ] {
        assert_eq!(fault(&format!("{}\r\n", LEAST.replace(line, ""))), Fault::Missing(name));
        let twice = Message::parse(format!("{LEAST}{line}\r\n").as_bytes());
        if name == HeaderName::Via {
            assert!(twice.is_ok());
        } else {
            assert_eq!(twice.unwrap_err().fault(), Fault::Repeated(name));
        }
    }
}

#[test]
fn numbers_must_be_in_their_range() {
    let replaced = |from: &str, to: &str| {
        Message::parse(format!("{}\r\n", LEAST.replace(from, to)).as_bytes()).is_ok()
    };
    assert!(replaced("CSeq: 1 ", "CSeq: 2147483647 "));
    for cseq in ["2147483648", "-1", "1.0", "", "x"] {
        assert!(!replaced("CSeq: 1 ", &format!("CSeq: {cseq} ")), "{cseq}");
    }
    let max_forwards = |value: &str| replaced("CSeq", &format!("Max-Forwards: {value}\r\nCSeq"));
    assert!(max_forwards("0") && max_forwards("255") && max_forwards("0070"));
    assert!(!max_forwards("256") && !max_forwards("-1") && !max_forwards("") && !max_forwards("x"));
}

#[test]
fn the_cseq_method_must_be_the_requests() {
    assert_eq!(
        fault(&format!("{}\r\n", LEAST.replace("1 OPTIONS", "1 INVITE"))),
        Fault::CSeqMethod
    );
    assert_eq!(
        fault(&format!("{}\r\n", LEAST.replace("1 OPTIONS", "1 options"))),
        Fault::CSeqMethod
    );
}

#[test]
fn start_lines_are_exact() {
    let start = |line: &str| {
        Message::parse(LEAST.replace("OPTIONS sip:b@h SIP/2.0", line).as_bytes())
            .map(|_| ())
            .map_err(|malformed| malformed.fault())
    };
    assert_eq!(start("OPTIONS sip:b@h SIP/3.0"), Err(Fault::Version));
    assert_eq!(start("OPTIONS sip:b@h SIP/2.1"), Err(Fault::Version));
    assert_eq!(start("OPTIONS sip:b@h HTTP/1.1"), Err(Fault::NotSip));
    assert_eq!(start("OPTIONS sip:b@h"), Err(Fault::NotSip));
    assert_eq!(start("OPT<ONS sip:b@h SIP/2.0"), Err(Fault::StartLine));
    assert_eq!(start(" OPTIONS sip:b@h SIP/2.0"), Err(Fault::StartLine));
    assert_eq!(start("OPTIONS  SIP/2.0"), Err(Fault::RequestUri));
    assert_eq!(start("OPTIONS b SIP/2.0"), Err(Fault::RequestUri));
    for (line, fault) in [
        ("SIP/2.0 099 x", Fault::StatusCode),
        ("SIP/2.0 700 x", Fault::StatusCode),
        ("SIP/2.0 20 x", Fault::StatusCode),
        ("SIP/2.0 0200 x", Fault::StatusCode),
        ("SIP/2.0  200 x", Fault::StatusCode),
        ("SIP/2.0", Fault::StatusCode),
        ("SIP/3.0 200 x", Fault::Version),
    ] {
        assert_eq!(start(line), Err(fault), "{line}");
    }
}

#[test]
fn the_version_is_compared_without_case() {
    assert!(
        Message::parse(
            format!("{}\r\n", LEAST.replace("SIP/2.0\r\nVia", "sip/2.0\r\nVia")).as_bytes()
        )
        .is_ok()
    );
}

#[test]
fn methods_are_compared_with_case_and_kept() {
    let text = LEAST.replace("OPTIONS", "options");
    let request = parsed(format!("{text}\r\n").as_bytes()).into_request().unwrap();
    assert_eq!(request.method(), &Method::Other("options".into()));
}

#[test]
fn too_large_is_answered_with_513() {
    let lines = "X: y\r\n".repeat(HEADER_LINES_MAX);
    let malformed = Message::parse(format!("{LEAST}{lines}\r\n").as_bytes()).unwrap_err();
    assert_eq!((malformed.fault(), malformed.status()), (Fault::TooLarge, Some(513)));
    for text in [
        format!("{LEAST}\r\n{}", "x".repeat(MESSAGE_BYTES_MAX)),
        format!("{LEAST}X: {}\r\n\r\n", "x".repeat(MESSAGE_BYTES_MAX)),
        format!(
            "{LEAST}Content-Length: {MESSAGE_BYTES_MAX}\r\n\r\n{}",
            "x".repeat(MESSAGE_BYTES_MAX)
        ),
    ] {
        let malformed = Message::parse(text.as_bytes()).unwrap_err();
        assert_eq!((malformed.fault(), malformed.status()), (Fault::TooLarge, Some(513)));
    }
    let body = "x".repeat(MESSAGE_BYTES_MAX - LEAST.len() - 2);
    assert!(Message::parse(format!("{LEAST}\r\n{body}").as_bytes()).is_ok());
}

#[test]
fn the_largest_datagram_must_be_read_18_1_1() {
    // 65,535 bytes with the headers of IPv4 and UDP.
    let text = format!("{LEAST}\r\n{}", "x".repeat(65_507 - LEAST.len() - 2));
    assert_eq!(text.len(), 65_507);
    let message = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(message.head().body().len(), 65_507 - LEAST.len() - 2);
    // Headers have a limit of their own, so that an answer has room for them.
    let long = format!("{LEAST}X: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX - LEAST.len()));
    assert_eq!(Message::parse(long.as_bytes()).unwrap_err().status(), Some(513));
}

#[test]
fn a_star_contact_is_known() {
    let request = request("REGISTER sip:h", "Contact: *\r\nExpires: 0\r\n", "");
    assert!(request.has_star_contact());
    assert_eq!((request.contacts().len(), request.expires()), (0, Some(0)));
}

#[test]
fn content_types_compare_without_case_and_parameters() {
    let request = request("INVITE sip:h", "c: Application / SDP ;charset=utf-8\r\n", "v=0\r\n");
    assert!(request.has_content_type("application/sdp"));
    assert!(
        !request.has_content_type("application/sdpx") && !request.has_content_type("application")
    );
}

#[test]
fn a_message_survives_serialisation() {
    let one =
        request("INVITE sip:b@h", "", "v=0\r\n").with_source("192.0.2.1:5060".parse().unwrap());
    let back: crate::wire::Request =
        serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!((&back, back.source()), (&one, one.source()));
}

#[test]
fn vias_are_bounded_however_they_are_written() {
    let with = |count: usize| {
        let vias = vec!["SIP/2.0/U h"; count].join(",");
        Message::parse(format!("{LEAST}v:{vias}\r\n\r\n").as_bytes())
            .map(|_| ())
            .map_err(|m| m.status())
    };
    assert_eq!(with(VIAS_MAX - 1), Ok(()));
    assert_eq!(with(VIAS_MAX), Err(Some(513)));
    assert_eq!(with(5_000), Err(Some(513)));
}

#[test]
fn what_answers_repeat_is_bounded() {
    let long = "x".repeat(5_000);
    for (from, to) in [
        ("From: ", format!("From: \"{long}\"")),
        ("To: ", format!("To: \"{long}\"")),
        ("Call-ID: ", format!("Call-ID: {long}")),
    ] {
        let malformed =
            Message::parse(format!("{}\r\n", LEAST.replace(from, &to)).as_bytes()).unwrap_err();
        assert_eq!(malformed.status(), Some(513), "{from}");
    }
    let uri = format!("OPTIONS sip:{long}{long}@h ");
    let malformed = Message::parse(LEAST.replace("OPTIONS sip:b@h ", &uri).as_bytes()).unwrap_err();
    assert_eq!((malformed.fault(), malformed.status()), (Fault::UriTooLong, Some(414)));
}
