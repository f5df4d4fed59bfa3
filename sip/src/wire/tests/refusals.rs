//! What is answered to bad requests: RFC 3261 §8.2, §21.4, §21.5.

use super::{parsed, request};
use crate::wire::{
    Abilities, Fault, HeaderName, Message, Method, Refusal, onward_max_forwards, validate_request,
};

const CAN: Abilities = Abilities {
    methods: &[Method::Invite, Method::Ack, Method::Bye, Method::Cancel, Method::Options],
    extensions: &["100rel", "timer"],
    content_types: &["application/sdp"],
};

fn checked(start: &str, lines: &str, body: &str) -> Result<(), u16> {
    validate_request(&request(start, lines, body), &CAN).map_err(|refusal| refusal.status)
}

fn refusal(start: &str, lines: &str, body: &str) -> Refusal {
    validate_request(&request(start, lines, body), &CAN).unwrap_err()
}

#[test]
fn a_good_request_passes() {
    let lines = "Require: timer\r\nAccept: application/sdp\r\nContent-Type: application/sdp\r\n";
    assert_eq!(checked("INVITE sip:b@h", lines, "v=0\r\n"), Ok(()));
    assert_eq!(checked("INVITE tel:10086", "", ""), Ok(()));
}

#[test]
fn a_method_must_be_refused_with_what_is_allowed() {
    let allow = vec![(HeaderName::Allow, "INVITE, ACK, BYE, CANCEL, OPTIONS".to_owned())];
    assert_eq!(
        refusal("SUBSCRIBE sip:b@h", "", ""),
        Refusal { status: 405, headers: allow.clone() }
    );
    assert_eq!(refusal("FETCH sip:b@h", "", ""), Refusal { status: 501, headers: allow });
}

#[test]
fn an_unknown_scheme_is_416() {
    assert_eq!(checked("OPTIONS http://example.com/", "", ""), Err(416));
}

#[test]
fn an_unknown_extension_must_be_refused_with_its_name() {
    let refusal = refusal("INVITE sip:b@h", "Require: 100rel, x-one\r\nRequire: x-two\r\n", "");
    let headers = vec![(HeaderName::Unsupported, "x-one, x-two".to_owned())];
    assert_eq!(refusal, Refusal { status: 420, headers });
}

#[test]
fn require_must_be_ignored_in_ack_and_cancel() {
    for method in ["ACK", "CANCEL"] {
        assert_eq!(
            checked(&format!("{method} sip:b@h"), "Require: x-one\r\n", ""),
            Ok(()),
            "{method}"
        );
    }
}

#[test]
fn a_body_that_is_not_read_must_be_refused_with_what_is() {
    let refusal = refusal("INVITE sip:b@h", "Content-Type: text/plain\r\n", "hello");
    let headers = vec![(HeaderName::Accept, "application/sdp".to_owned())];
    assert_eq!(refusal, Refusal { status: 415, headers });
    assert_eq!(checked("INVITE sip:b@h", "", "no type"), Err(415));
    let optional =
        "Content-Type: text/plain\r\nContent-Disposition: render; handling = optional\r\n";
    assert_eq!(checked("INVITE sip:b@h", optional, "hello"), Ok(()));
}

#[test]
fn an_encoded_body_must_be_refused_with_what_is_read() {
    let refusal = refusal("INVITE sip:b@h", "c: application/sdp\r\ne: gzip\r\n", "x");
    let headers = vec![(HeaderName::AcceptEncoding, "identity".to_owned())];
    assert_eq!(refusal, Refusal { status: 415, headers });
    assert_eq!(checked("INVITE sip:b@h", "c: application/sdp\r\ne: Identity\r\n", "x"), Ok(()));
}

#[test]
fn an_answer_that_is_not_accepted_is_406() {
    assert_eq!(checked("INVITE sip:b@h", "Accept: text/plain\r\n", ""), Err(406));
    assert_eq!(checked("INVITE sip:b@h", "Accept:\r\n", ""), Err(406));
    for accept in ["text/plain, application/sdp;level=1", "application/*", "*/*;q=0.1"] {
        assert_eq!(
            checked("INVITE sip:b@h", &format!("Accept: {accept}\r\n"), ""),
            Ok(()),
            "{accept}"
        );
    }
    assert_eq!(checked("OPTIONS sip:b@h", "Accept: text/plain\r\n", ""), Ok(()));
}

#[test]
fn max_forwards_must_become_one_less_and_zero_must_not_go_on() {
    let onward = |lines: &str| onward_max_forwards(&request("INVITE sip:b@h", lines, ""));
    assert_eq!(onward("Max-Forwards: 70\r\n"), Ok(69));
    assert_eq!(onward("Max-Forwards: 1\r\n"), Ok(0));
    assert_eq!(onward(""), Ok(70));
    assert_eq!(onward("Max-Forwards: 0\r\n").map_err(|refusal| refusal.status), Err(483));
}

#[test]
fn the_refusal_is_an_answer() {
    let request = request("INVITE sip:b@h", "Require: x\r\n", "");
    let response = validate_request(&request, &CAN).unwrap_err().response(&request, "ours");
    assert_eq!((response.status(), response.to_tag()), (420, Some("ours")));
    assert_eq!(response.header(HeaderName::Unsupported), Some(&b"x"[..]));
}

#[test]
fn a_malformed_request_is_answered_to_where_it_came_from() {
    let text = "INVITE sip:b@h;x y SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1\r\n\
        Via: SIP/2.0/UDP p\r\nFrom: <sip:a@h>;tag=1\r\nt: <sip:b@h>\r\ni: c\r\nCSeq: 1 INVITE\r\n\r\n";
    let malformed = Message::parse(text.as_bytes()).unwrap_err();
    let reply = malformed.reply("192.0.2.1:1024".parse().unwrap()).unwrap();
    let response = parsed(&reply).into_response().unwrap();
    assert_eq!((response.status(), response.reason()), (400, "Bad Request".into()));
    assert_eq!(
        response.via_top().to_string(),
        "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1;received=192.0.2.1;rport=1024"
    );
    assert_eq!(response.via_count(), 2);
    assert_eq!((response.call_id(), response.from_tag()), ("c", Some("1")));
    assert_eq!(response.to_tag().map(str::len), Some(16));
}

#[test]
fn a_bad_line_does_not_hide_what_the_answer_needs() {
    for bad in ["no colon", "Subject: a\nb", "Subject: a\rb", ": x", "Sub ject: x"] {
        let text = format!(
            "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n{bad}\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let malformed = Message::parse(text.as_bytes()).unwrap_err();
        assert_eq!(malformed.fault(), Fault::HeaderLine, "{bad:?}");
        let reply = malformed.reply("192.0.2.1:1024".parse().unwrap()).unwrap();
        let response = parsed(&reply).into_response().unwrap();
        assert_eq!((response.status(), response.call_id()), (400, "c"), "{bad:?}");
    }
}

#[test]
fn a_truncated_request_must_get_400_and_a_truncated_response_must_be_discarded_18_3() {
    let lines = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
        To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 BYE\r\nContent-Length: 5\r\n\r\nfour";
    let status = |start: &str| {
        let malformed = Message::parse(format!("{start}\r\n{lines}").as_bytes()).unwrap_err();
        assert_eq!(malformed.fault(), Fault::Truncated);
        malformed.status()
    };
    assert_eq!(status("BYE sip:b@h SIP/2.0"), Some(400));
    assert_eq!(status("SIP/2.0 200 OK"), None);
}

#[test]
fn no_answer_is_sent_to_an_ack_a_response_or_noise() {
    let silent = |text: &str| {
        let malformed = Message::parse(text.as_bytes()).unwrap_err();
        assert_eq!(malformed.status(), None, "{text}");
        assert_eq!(malformed.reply("192.0.2.1:1024".parse().unwrap()), None, "{text}");
    };
    silent("ACK sip:b@h;x y SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n");
    silent("SIP/2.0 999 x\r\nVia: SIP/2.0/UDP h\r\n\r\n");
    silent("INVITE sip:b@h SIP/2.0\r\nFrom: <sip:a@h>\r\n\r\n");
    silent("GET / HTTP/1.1\r\nVia: x\r\n\r\n");
    silent("\r\n\r\n");
    silent("\0\0\0\0");
    silent("");
}
