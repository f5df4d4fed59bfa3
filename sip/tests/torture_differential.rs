//! The wire layer against rsip, on messages that rsip reads right: built from plain parts
//! (known methods and headers, no folding, no commas, no IPv6, UTF-8), seeded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rsip::prelude::{HasHeaders, HeadersExt, ToTypedHeader, UntypedHeader};
use tandem_sip::wire::{HeaderName, Message, Request, Response};

const MESSAGES: usize = 2_000;

#[test]
fn requests_are_read_as_rsip_reads_them() {
    for seed in 0..MESSAGES {
        let text = Writer(seed as u64).request();
        let ours = Message::parse(text.as_bytes()).unwrap().into_request().unwrap();
        let theirs = rsip::Request::try_from(text.as_bytes()).unwrap();
        assert_eq!(ours.method().as_str(), theirs.method.to_string(), "{text}");
        compare_uris(&ours.uri(), &theirs.uri);
        compare_heads(&ours, &theirs, &text);
        assert_eq!(ours.body(), theirs.body, "{text}");
        let contact = theirs.contact_header().unwrap().typed().unwrap();
        compare_uris(&ours.contact().unwrap().uri(), &contact.uri);
        assert_eq!(
            ours.expires(),
            theirs.expires_header().map(|expires| expires.seconds().unwrap())
        );
    }
}

#[test]
fn our_responses_are_read_by_rsip() {
    for seed in 0..MESSAGES {
        let mut writer = Writer(seed as u64);
        let text = writer.request();
        let request = Message::parse(text.as_bytes()).unwrap().into_request().unwrap();
        let ours = response(&request, writer.pick(&[100, 180, 200, 302, 401, 486, 503, 603]));
        let text = String::from_utf8(ours.to_bytes()).unwrap();
        let theirs = rsip::Response::try_from(text.as_bytes()).unwrap();
        assert_eq!(ours.status(), theirs.status_code().code(), "{text}");
        assert_eq!(ours.body(), theirs.body, "{text}");
        compare_heads(&ours, &theirs, &text);
    }
}

#[test]
fn reason_phrases_are_rsips_but_for_case() {
    let plain = |phrase: &str| phrase.to_lowercase().replace([' ', '-', '/', '_'], "");
    for code in [
        100, 180, 181, 182, 183, 200, 202, 300, 301, 302, 305, 380, 400, 401, 402, 403, 404, 405,
        406, 407, 408, 410, 412, 413, 414, 415, 416, 420, 421, 423, 480, 481, 482, 483, 484, 485,
        486, 487, 488, 489, 491, 493, 500, 501, 502, 503, 504, 505, 513, 600, 603, 604,
    ] {
        let theirs = rsip::StatusCode::from(code).to_string();
        let theirs =
            theirs.split_once(' ').map_or(theirs.as_str(), |(_, phrase)| phrase).to_owned();
        // Codes that came after RFC 3261 are unknown to it.
        if plain(&theirs) == "other" {
            continue;
        }
        let ours = tandem_sip::wire::reason_phrase(code);
        assert_eq!(plain(ours), plain(&theirs), "{code}");
    }
}

fn response(request: &Request, status: u16) -> Response {
    Response::to_request(request, status, Some("ours"))
        .header(HeaderName::Contact, "<sip:us@192.0.2.1:5060>")
        .header(HeaderName::Server, "Tandem")
        .body("application/sdp", b"v=0\r\n")
        .build()
}

fn compare_heads(ours: &tandem_sip::wire::Head, theirs: &impl HasHeadersOfRsip, text: &str) {
    let theirs = theirs.parts();
    assert_eq!(ours.call_id(), theirs.call_id, "{text}");
    assert_eq!(
        (ours.cseq().number, ours.cseq().method.as_str()),
        (theirs.cseq.0, theirs.cseq.1.as_str())
    );
    assert_eq!(ours.from_tag().map(str::to_owned), theirs.from.1, "{text}");
    assert_eq!(ours.to_tag().map(str::to_owned), theirs.to.1, "{text}");
    compare_uris(&ours.from().uri(), &theirs.from.0);
    compare_uris(&ours.to().uri(), &theirs.to.0);
    assert_eq!(ours.branch().map(str::to_owned), theirs.branch, "{text}");
    assert_eq!(ours.via_top().sent_by(), theirs.sent_by, "{text}");
    assert_eq!(ours.via_top().transport_name(), theirs.transport, "{text}");
    assert_eq!(ours.headers().count(), theirs.count, "{text}");
}

fn compare_uris(ours: &tandem_sip::wire::Uri, theirs: &rsip::Uri) {
    assert_eq!(ours.scheme_str(), theirs.scheme.as_ref().unwrap().to_string());
    assert_eq!(ours.user(), theirs.auth.as_ref().map(|auth| auth.user.as_str()));
    assert_eq!(ours.password(), theirs.auth.as_ref().and_then(|auth| auth.password.as_deref()));
    assert_eq!(ours.host(), theirs.host_with_port.host.to_string());
    assert_eq!(ours.port(), theirs.host_with_port.port.as_ref().map(|port| *port.value()));
    assert_eq!(ours.params().count(), theirs.params.len());
}

/// What rsip says of a head.
struct Parts {
    call_id: String,
    cseq: (u32, String),
    from: (rsip::Uri, Option<String>),
    to: (rsip::Uri, Option<String>),
    branch: Option<String>,
    sent_by: String,
    transport: String,
    count: usize,
}

trait HasHeadersOfRsip {
    fn parts(&self) -> Parts;
}

impl<T: HeadersExt + HasHeaders> HasHeadersOfRsip for T {
    fn parts(&self) -> Parts {
        let (from, to) = (
            self.from_header().unwrap().typed().unwrap(),
            self.to_header().unwrap().typed().unwrap(),
        );
        let (via, cseq) = (
            self.via_header().unwrap().typed().unwrap(),
            self.cseq_header().unwrap().typed().unwrap(),
        );
        Parts {
            call_id: self.call_id_header().unwrap().value().to_owned(),
            cseq: (cseq.seq, cseq.method.to_string()),
            from: (from.uri.clone(), from.tag().map(|tag| tag.value().to_owned())),
            to: (to.uri.clone(), to.tag().map(|tag| tag.value().to_owned())),
            branch: via.branch().map(|branch| branch.value().to_owned()),
            sent_by: via.sent_by().to_string(),
            transport: via.transport.to_string(),
            count: self.headers().iter().count(),
        }
    }
}

/// Writes messages out of plain parts.
struct Writer(u64);

impl Writer {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[(self.0 >> 33) as usize % from.len()]
    }

    fn uri(&mut self) -> String {
        let scheme = self.pick(&["sip", "sips"]);
        let user = self.pick(&["", "alice@", "agent001@", "bob:secret@", "13800138000@"]);
        let host = self.pick(&["example.com", "192.0.2.7", "pbx-1.example.org", "localhost"]);
        let port = self.pick(&["", ":5060", ":65535"]);
        let params = self.pick(&["", ";transport=tcp", ";lr", ";user=phone;lr"]);
        format!("{scheme}:{user}{host}{port}{params}")
    }

    fn request(&mut self) -> String {
        let method = self.pick(&[
            "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "UPDATE", "PRACK",
            "REFER",
        ]);
        let uri = self.uri();
        let mut out = format!("{method} {uri} SIP/2.0\r\n");
        let transport = self.pick(&["UDP", "TCP", "TLS"]);
        let sent_by =
            self.pick(&["192.0.2.9", "192.0.2.9:5070", "h.example.com", "h.example.com:5061"]);
        let branch = self.pick(&["z9hG4bK1", "z9hG4bK-77-x.y", "z9hG4bKabcdef0123456789"]);
        let rport = self.pick(&["", ";received=192.0.2.1"]);
        out += &format!("Via: SIP/2.0/{transport} {sent_by};branch={branch}{rport}\r\n");
        let name = self.pick(&["", "\"Alice Lee\" ", "Bob "]);
        let (from, to) = (self.uri(), self.uri());
        let tag = self.pick(&["", ";tag=77x"]);
        out += &format!("From: {name}<{from}>;tag=a1b2\r\nTo: <{to}>{tag}\r\n");
        let call_id =
            self.pick(&["1-4711@127.0.0.1", "abc", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6@h"]);
        let cseq = self.pick(&[1, 314_159, 2_147_483_647_u32]);
        out += &format!("Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n");
        let contact = self.uri();
        out +=
            &format!("Contact: <{contact}>\r\nMax-Forwards: {}\r\n", self.pick(&[0, 1, 70, 255]));
        out += self.pick(&[
            "",
            "Expires: 3600\r\n",
            "User-Agent: phone/1.0\r\n",
            "X-Own: a;b=\"c\"\r\n",
        ]);
        let body = self.pick(&["", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n"]);
        out + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }
}
