//! Addresses and Vias: RFC 3261 §20.10, §20.42, §18.2, RFC 3581.

use std::net::SocketAddr;

use crate::wire::{NameAddr, Transport, Uri, Via};

fn address(text: &str) -> NameAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn via(text: &str) -> Via {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn source(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn without_brackets_parameters_must_be_the_headers() {
    let bare = address("sip:bob@example.com;tag=x;transport=tcp");
    assert_eq!((bare.tag(), bare.uri().param("transport")), (Some("x"), None));
    let bracketed = address("<sip:bob@example.com;transport=tcp>;tag=x");
    assert_eq!((bracketed.tag(), bracketed.uri().param("transport")), (Some("x"), Some("tcp")));
}

#[test]
fn a_uri_with_a_comma_or_question_mark_must_be_in_brackets() {
    for text in ["sip:a@h?x=1", "sip:a,b@h", "tel:1,2"] {
        assert!(text.parse::<NameAddr>().is_err(), "{text}");
        assert!(format!("<{text}>").parse::<NameAddr>().is_ok(), "{text}");
    }
}

#[test]
fn display_names_are_unquoted() {
    let display = |text: &str| address(text).display();
    assert_eq!(display(r#""A \"B\" \\ <C>" <sip:h>"#).unwrap(), r#"A "B" \ <C>"#);
    assert_eq!(display("Anna Lee <sip:h>").unwrap(), "Anna Lee");
    assert_eq!(display("\"\" <sip:h>").unwrap(), "");
    assert_eq!((display("<sip:h>"), display("sip:h")), (None, None));
}

#[test]
fn bytes_that_are_not_utf8_are_kept() {
    let text = b"\"\xc4\xe3\xba\xc3\" <sip:10086@example.com>;tag=1";
    let address = NameAddr::parse(text).unwrap();
    assert_eq!(address.as_bytes(), text);
    assert_eq!(address.display_raw().unwrap(), b"\"\xc4\xe3\xba\xc3\"");
    assert_eq!((address.uri().user(), address.tag()), (Some("10086"), Some("1")));
    let bare = NameAddr::parse(b"\xc4\xe3\xba\xc3 <sip:10086@example.com>").unwrap();
    assert_eq!(bare.display_raw().unwrap(), b"\xc4\xe3\xba\xc3");
}

#[test]
fn what_is_no_address_is_refused() {
    for text in [
        "",
        " ",
        "<",
        "<>",
        "<sip:h",
        "sip:h>",
        "\"a <sip:h>",
        "\"a\"b <sip:h>",
        "a \"b\" <sip:h>",
        "<sip:h>x",
        "<sip:h>,<sip:h>",
        "< sip:h>",
        "<sip:h >",
        "<sip:h>;",
        "<sip:h>;;a",
        "\"a\"",
        "\"a\" sip:h",
        "*",
        "a\u{1} <sip:h>",
    ] {
        assert!(text.parse::<NameAddr>().is_err(), "{text:?}");
    }
}

#[test]
fn addresses_are_built_so_that_they_are_read_back() {
    let uri: Uri = "sip:bob@h;lr".parse().unwrap();
    let built = NameAddr::new(&uri).with_tag("x1");
    assert_eq!(built.to_string(), "<sip:bob@h;lr>;tag=x1");
    let named = built.with_display("B\"o\\b\r\n");
    assert_eq!(named.to_string(), r#""B\"o\\b" <sip:bob@h;lr>;tag=x1"#);
    assert_eq!(named.display().unwrap(), "B\"o\\b");
    assert_eq!(named.with_tag("y").to_string(), r#""B\"o\\b" <sip:bob@h;lr>;tag=y"#);
    assert_eq!(
        address("sip:bob@h;a=\"1;2\"").with_tag("z").to_string(),
        "sip:bob@h;a=\"1;2\";tag=z"
    );
    assert_eq!(built.with_param("x", "a b"), built, "what would break it changes nothing");
}

#[test]
fn a_via_has_its_parts() {
    let odd = via(
        "SIP / 2.0 / UDP first.example.com: 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1",
    );
    assert_eq!(
        (odd.transport(), odd.host(), odd.port()),
        (Some(Transport::Udp), "first.example.com", Some(4000))
    );
    assert_eq!((odd.param("ttl"), odd.branch()), (Some("16"), Some("z9hG4bKa7c6a8dlze.1")));
    assert!(odd.has_unique_branch());
    let six = via("SIP/2.0/tls [2001:db8::9:1];received=[2001:db8::9:255];rport=5061");
    assert_eq!((six.transport(), six.sent_by()), (Some(Transport::Tls), "[2001:db8::9:1]".into()));
    assert_eq!((six.received(), six.rport()), ("2001:db8::9:255".parse().ok(), Some(5061)));
    assert_eq!(via("SIP/2.0/SCTP h").transport(), None);
}

#[test]
fn what_is_no_via_is_refused() {
    for text in [
        "",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/3.0/UDP h",
        "HTTP/2.0/UDP h",
        "SIP/2.0/ h",
        "SIP/2.0/UDP ;branch=x",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:70000",
        "SIP/2.0/UDP h h",
        "SIP/2.0/UDP h;;",
        "SIP/2.0/UDP h;branch=",
        "SIP/2.0/UDP ::1;branch=x",
        "SIP/2.0/UDP [::1]x",
        "SIP/2.0/U/P h",
    ] {
        assert!(text.parse::<Via>().is_err(), "{text:?}");
    }
}

#[test]
fn received_must_be_added_where_the_sender_names_itself_otherwise() {
    let seen = |text: &str, from: &str| via(text).with_source(source(from)).to_string();
    assert_eq!(
        seen("SIP/2.0/UDP bobspc.biloxi.com:5060;branch=z9hG4bKx", "192.0.2.4:5060"),
        "SIP/2.0/UDP bobspc.biloxi.com:5060;branch=z9hG4bKx;received=192.0.2.4"
    );
    let same = "SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bKx";
    assert_eq!(seen(same, "192.0.2.4:5060"), same);
    assert_eq!(seen("SIP/2.0/UDP h", "[2001:db8::1]:5060"), "SIP/2.0/UDP h;received=2001:db8::1");
    assert_eq!(
        seen("SIP/2.0/UDP h;received=9.9.9.9;x", "192.0.2.4:5060"),
        "SIP/2.0/UDP h;x;received=192.0.2.4",
        "what the sender claims of it is not believed"
    );
}

#[test]
fn rport_must_be_filled_in_together_with_received() {
    let via = via("SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff");
    let seen = via.with_source(source("192.0.2.1:9988"));
    assert_eq!(
        seen.to_string(),
        "SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bKkjshdyff;received=192.0.2.1;rport=9988"
    );
    assert_eq!((seen.received(), seen.rport()), ("192.0.2.1".parse().ok(), Some(9988)));
    let same_address = "SIP/2.0/UDP 192.0.2.1:4540;rport".parse::<Via>().unwrap();
    let seen = same_address.with_source(source("192.0.2.1:9988"));
    assert_eq!(seen.received(), "192.0.2.1".parse().ok());
}

#[test]
fn responses_go_to_the_source_or_to_the_port_of_sent_by() {
    let to = |text: &str| via(text).reply_address(source("192.0.2.1:9988")).to_string();
    assert_eq!(to("SIP/2.0/UDP 10.1.1.1:4540;rport"), "192.0.2.1:9988");
    assert_eq!(to("SIP/2.0/UDP 10.1.1.1:4540"), "192.0.2.1:4540");
    assert_eq!(to("SIP/2.0/UDP 10.1.1.1"), "192.0.2.1:5060");
    assert_eq!(to("SIP/2.0/UDP 10.1.1.1;maddr=203.0.113.1"), "192.0.2.1:5060");
    assert_eq!(to("SIP/2.0/TCP 10.1.1.1:4540"), "192.0.2.1:9988");
}

#[test]
fn our_via_asks_for_rport() {
    let ours = Via::new(Transport::Tcp, source("[2001:db8::1]:5060"), "z9hG4bKabc");
    assert_eq!(ours.to_string(), "SIP/2.0/TCP [2001:db8::1]:5060;rport;branch=z9hG4bKabc");
    assert!(ours.has_unique_branch());
    let scoped = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 5060, 0, 3).into();
    assert_eq!(Via::new(Transport::Udp, scoped, "z9hG4bKa").sent_by(), "[fe80::1]:5060");
    assert_eq!((ours.param("rport"), ours.rport()), (Some(""), None));
}

#[test]
fn addresses_and_vias_survive_serialisation() {
    let one = NameAddr::parse(b"\"\xff\" <sip:h>;tag=1").unwrap();
    let back: NameAddr = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!(back, one);
    let one = via("SIP/2.0/UDP h;branch=z9hG4bK1");
    let back: Via = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!(back, one);
}
