//! IPv6 in SIP as RFC 5118 §4 has it: one test a section, in messages of our own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use tandem_sip::{
    sdp,
    wire::{Message, Request, Response, Uri, Via},
};

/// A request with this Request-URI, Via and Contact.
fn request(uri: &str, via: &str, contact: &str) -> Request {
    let text = format!(
        "REGISTER {uri} SIP/2.0\r\nVia: {via}\r\nFrom: <sip:user@example.com>;tag=81x2\r\n\
         To: <sip:user@example.com>\r\nCall-ID: six@2001:db8::10\r\nCSeq: 98176 REGISTER\r\n\
         Max-Forwards: 70\r\nContact: {contact}\r\nContent-Length: 0\r\n\r\n"
    );
    let parsed = Message::parse(text.as_bytes());
    parsed.unwrap_or_else(|malformed| panic!("{}", malformed.fault())).into_request().unwrap()
}

#[test]
fn section_4_1_a_reference_in_brackets_is_a_host_everywhere() {
    let request = request(
        "sip:[2001:db8::10]",
        "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111",
        "\"Caller\" <sip:caller@[2001:db8::1]>",
    );
    assert_eq!(request.uri().host(), "[2001:db8::10]");
    assert_eq!(request.uri().host_ip(), "2001:db8::10".parse().ok());
    assert_eq!(request.via_top().sent_by_ip(), "2001:db8::9:1".parse().ok());
    assert_eq!(request.contact().unwrap().uri().host_ip(), "2001:db8::1".parse().ok());
}

#[test]
fn section_4_2_a_request_uri_without_brackets_is_refused() {
    let text = "REGISTER sip:2001:db8::10 SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::9:1]\r\n\
        From: <sip:user@example.com>;tag=1\r\nTo: <sip:user@example.com>\r\nCall-ID: c\r\n\
        CSeq: 1 REGISTER\r\n\r\n";
    assert_eq!(Message::parse(text.as_bytes()).unwrap_err().status(), Some(400));
}

#[test]
fn section_4_3_a_last_group_in_brackets_is_no_port() {
    let inside: Uri = "sip:[2001:db8::10:5070]".parse().unwrap();
    assert_eq!((inside.port(), inside.host_ip()), (None, "2001:db8::10:5070".parse().ok()));
}

#[test]
fn section_4_4_a_port_stands_behind_the_brackets() {
    let outside: Uri = "sip:[2001:db8::10]:5070".parse().unwrap();
    assert_eq!((outside.port(), outside.host_ip()), (Some(5070), "2001:db8::10".parse().ok()));
    let inside: Uri = "sip:[2001:db8::10:5070]".parse().unwrap();
    assert_ne!(inside, outside);
}

#[test]
fn section_4_5_received_is_read_with_brackets_and_without() {
    for received in ["2001:db8::9:255", "[2001:db8::9:255]"] {
        let via: Via = format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3")
            .parse()
            .unwrap();
        assert_eq!(via.received(), "2001:db8::9:255".parse().ok());
        assert_eq!(via.branch(), Some("z9hG4bKas3"));
    }
}

#[test]
fn section_4_5_received_is_written_without_brackets() {
    let source = "[2001:db8::9:255]:5060".parse().unwrap();
    let via = "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3";
    let request = request("sip:[2001:db8::10]", via, "<sip:a@[2001:db8::1]>").with_source(source);
    let response = Response::to_request(&request, 200, None).build();
    assert_eq!(response.via_top().to_string(), format!("{via};received=2001:db8::9:255"));
}

#[test]
fn section_4_6_addresses_in_sdp_have_no_brackets() {
    let offer = |address: &str| {
        format!(
            "v=0\r\no=assistant 971731711378798081 0 IN IP6 {address}\r\ns=Live\r\n\
             c=IN IP6 {address}\r\nt=3338481189 3370017201\r\nm=audio 6000 RTP/AVP 0\r\n"
        )
    };
    let answer =
        |offer: String| sdp::answer(offer.as_bytes(), &sdp::Capabilities::default(), &local());
    let (answered, negotiated) = answer(offer("2001:db8::20")).unwrap();
    assert_eq!(negotiated.remote_rtp, "[2001:db8::20]:6000".parse().unwrap());
    assert!(String::from_utf8(answered).unwrap().contains("c=IN IP6 2001:db8::1\r\n"));
    assert_eq!(answer(offer("[2001:db8::20]")).unwrap_err(), sdp::SdpError::NoAddress);
}

#[test]
fn section_4_7_both_families_in_one_message() {
    let text = "REGISTER sip:[2001:db8::10] SIP/2.0\r\n\
        Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144\r\n\
        Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200\r\n\
        From: <sip:user@example.com>;tag=1\r\nTo: <sip:user@example.com>\r\nCall-ID: c\r\n\
        CSeq: 1 REGISTER\r\n\r\n";
    let message = Message::parse(text.as_bytes()).unwrap();
    let vias: Vec<Via> = message.head().vias().map(|via| Via::parse(via).unwrap()).collect();
    assert_eq!((vias[0].port(), vias[1].sent_by_ip()), (Some(6050), "192.0.2.1".parse().ok()));
    assert_eq!(vias[2].received(), "192.0.2.200".parse().ok());
}

#[test]
fn section_4_8_two_streams_of_two_families() {
    let offer = "v=0\r\no=bob 280744730 28977631 IN IP4 host.example.com\r\ns=\r\nt=0 0\r\n\
        m=audio 22334 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\nm=video 6024 RTP/AVP 107\r\n\
        c=IN IP6 2001:db8::1\r\na=rtpmap:107 H263-1998/90000\r\n";
    let caps = sdp::Capabilities::default();
    let (_, negotiated) = sdp::answer(offer.as_bytes(), &caps, &local()).unwrap();
    assert_eq!(negotiated.remote_rtp, "192.0.2.1:22334".parse().unwrap());
}

#[test]
fn section_4_9_mapped_addresses_are_read() {
    let uri: Uri = "sip:user@[::ffff:192.0.2.10]:5070".parse().unwrap();
    assert_eq!(uri.host_ip(), "::ffff:192.0.2.10".parse().ok());
    let offer = "v=0\r\no=bob 1 1 IN IP6 ::ffff:192.0.2.2\r\ns=-\r\nc=IN IP6 ::ffff:192.0.2.2\r\n\
        t=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
    let caps = sdp::Capabilities::default();
    let (_, negotiated) = sdp::answer(offer.as_bytes(), &caps, &local()).unwrap();
    assert_eq!(negotiated.remote_rtp, "[::ffff:192.0.2.2]:6000".parse().unwrap());
}

#[test]
fn section_4_10_three_colons_are_no_address() {
    assert!("sip:user@[2001:db8:::192.0.2.1]".parse::<Uri>().is_err());
    assert!("sip:user@[2001:db8::192.0.2.1]".parse::<Uri>().is_ok());
}

fn local() -> sdp::Local {
    sdp::Local {
        ip: "2001:db8::1".parse().unwrap(),
        rtp_port: 40_000,
        session_id: 1,
        version: 1,
        direction: sdp::Direction::SendRecv,
    }
}
