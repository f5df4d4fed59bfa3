//! Messages that we make: RFC 3261 §8.1.1, §8.2.6.

use super::{parsed, request, text};
use crate::wire::{
    HeaderName, Method, NameAddr, Request, RequestBuilder, RequestParts, Response, Uri, Via,
};

fn invite() -> RequestBuilder {
    let uri: Uri = "sip:bob@example.com?subject=x".parse().unwrap();
    let via: Via = "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1".parse().unwrap();
    let from: NameAddr = "<sip:alice@example.com>;tag=1".parse().unwrap();
    RequestBuilder::new(RequestParts {
        method: &Method::Invite,
        uri: &uri,
        via: &via,
        from: &from,
        to: &NameAddr::new(&uri.without_headers()),
        call_id: "c1@192.0.2.1",
        cseq: 1,
    })
}

/// What is built is what would be parsed.
fn check(request: &Request) -> Request {
    let back = parsed(request.as_bytes()).into_request().unwrap();
    assert_eq!(back, *request);
    assert_eq!((back.method(), back.uri().as_str()), (request.method(), request.uri().as_str()));
    assert_eq!(
        (back.from(), back.to(), back.via_top()),
        (request.from(), request.to(), request.via_top())
    );
    assert_eq!(
        (back.call_id(), back.cseq(), back.body()),
        (request.call_id(), request.cseq(), request.body())
    );
    back
}

#[test]
fn a_request_must_have_its_six_headers_and_no_headers_in_its_uri() {
    let request = invite().body("application/sdp", b"v=0\r\n").build();
    assert_eq!(
        String::from_utf8_lossy(request.as_bytes()),
        "INVITE sip:bob@example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n\
         Call-ID: c1@192.0.2.1\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\
         Content-Length: 5\r\n\r\nv=0\r\n"
    );
    check(&request);
}

#[test]
fn values_cannot_break_out_of_their_line() {
    let built = invite()
        .header(HeaderName::Subject, "a\r\nRoute: <sip:evil>\r\n\r\nbody")
        .header_named("X-Y\r\nRoute", "x")
        .header_named("X-Z", "z\n")
        .build();
    let back = check(&built);
    assert_eq!(back.routes().len(), 0);
    assert_eq!(back.header_named("X-Z"), Some(&b"z"[..]));
    assert_eq!(back.body(), b"");
}

#[test]
fn what_would_make_it_unreadable_is_left_out() {
    let built = invite()
        .header(HeaderName::From, "<sip:eve@h>;tag=2")
        .header(HeaderName::Contact, "nonsense")
        .header(HeaderName::Route, "<sip:a>, nonsense")
        .header(HeaderName::Via, "nonsense")
        .header(HeaderName::CSeq, "9 BYE")
        .header(HeaderName::ContentLength, "9")
        .header(HeaderName::MaxForwards, "300")
        .header(HeaderName::Contact, "<sip:alice@192.0.2.1>")
        .build();
    let back = check(&built);
    assert_eq!(back.from_tag(), Some("1"));
    assert_eq!((back.contacts().len(), back.routes().len(), back.vias().count()), (1, 0, 1));
    assert_eq!((back.cseq().number, back.max_forwards()), (1, Some(70)));
}

#[test]
fn a_request_is_sent_again_with_another_via_and_cseq() {
    let first =
        invite().header(HeaderName::Subject, "s").body("application/sdp", b"v=0\r\n").build();
    let via: Via = "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK2".parse().unwrap();
    let again = RequestBuilder::again(&first, &via, 2)
        .header(HeaderName::Authorization, "Digest x=1")
        .build();
    let back = check(&again);
    assert_eq!((back.branch(), back.cseq().number), (Some("z9hG4bK2"), 2));
    assert_eq!((back.call_id(), back.from_tag()), (first.call_id(), first.from_tag()));
    assert_eq!((back.header_str(HeaderName::Subject), back.body()), (Some("s"), &b"v=0\r\n"[..]));
    assert_eq!(back.lines_of(HeaderName::ContentLength).count(), 1);
}

#[test]
fn a_header_is_replaced() {
    let built = invite()
        .header(HeaderName::Supported, "timer")
        .header(HeaderName::Contact, "<sip:a@h>")
        .replace(HeaderName::Supported, "100rel")
        .replace(HeaderName::MaxForwards, "69")
        .replace(HeaderName::To, "<sip:bob@example.com>;tag=9")
        .build();
    let back = check(&built);
    assert_eq!(back.values(HeaderName::Supported).collect::<Vec<_>>(), [b"100rel"]);
    assert_eq!((back.max_forwards(), back.to_tag()), (Some(69), Some("9")));
    assert_eq!(back.contacts().len(), 1);
}

#[test]
fn a_response_must_repeat_vias_from_to_call_id_and_cseq() {
    let request = request(
        "INVITE sip:bob@example.com",
        "Via: SIP/2.0/TCP p.example.com;branch=z9hG4bK2, SIP/2.0/UDP q.example.com\r\n\
         Record-Route: <sip:p.example.com;lr>\r\nTimestamp: 5\r\n",
        "",
    )
    .with_source("203.0.113.1:1024".parse().unwrap());
    let ok = Response::to_request(&request, 200, Some("ours"))
        .header(HeaderName::Contact, "<sip:us@192.0.2.9>")
        .body("application/sdp", b"v=0\r\n")
        .build();
    assert_eq!(
        text(&ok),
        "SIP/2.0 200 OK\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;received=203.0.113.1;rport=1024\r\n\
         Via: SIP/2.0/TCP p.example.com;branch=z9hG4bK2\r\nVia: SIP/2.0/UDP q.example.com\r\n\
         Record-Route: <sip:p.example.com;lr>\r\nFrom: <sip:alice@example.com>;tag=a1\r\n\
         To: <sip:bob@example.com>;tag=ours\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n\
         Contact: <sip:us@192.0.2.9>\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    );
    let back = parsed(ok.as_bytes()).into_response().unwrap();
    assert_eq!((back.status(), back.reason(), back.to_tag()), (200, "OK".into(), Some("ours")));
    assert_eq!((&back, ok.via_count(), ok.cseq()), (&ok, 3, back.cseq()));
}

#[test]
fn a_100_repeats_the_timestamp_and_has_no_tag_of_ours() {
    let request = request("INVITE sip:b@h", "Timestamp: 54.2\r\nRecord-Route: <sip:p;lr>\r\n", "");
    let trying = Response::to_request(&request, 100, None).build();
    assert_eq!(trying.header(HeaderName::Timestamp), Some(&b"54.2"[..]));
    assert_eq!((trying.to_tag(), trying.record_routes().len()), (None, 0));
}

#[test]
fn the_tag_of_a_dialog_is_kept() {
    let text = request("BYE sip:b@h", "", "").to_bytes();
    let text = String::from_utf8(text)
        .unwrap()
        .replace("To: <sip:bob@example.com>", "To: <sip:b@h>;tag=first");
    let bye = parsed(text.as_bytes()).into_request().unwrap();
    assert_eq!(Response::to_request(&bye, 200, Some("second")).build().to_tag(), Some("first"));
}

#[test]
fn a_reason_phrase_is_ours_to_choose() {
    let request = request("INVITE sip:b@h", "", "");
    let build =
        |phrase: &str| Response::to_request(&request, 486, Some("t")).reason(phrase).build();
    assert_eq!(build("Besetzt: Ärger").reason(), "Besetzt: Ärger");
    assert_eq!(build("a\r\nVia: x").reason(), "aVia: x");
    assert_eq!(Response::to_request(&request, 699, None).build().reason(), "Unknown");
}

#[test]
fn a_header_that_must_be_there_is_not_replaced_by_nonsense() {
    for name in
        [HeaderName::From, HeaderName::To, HeaderName::Via, HeaderName::CallId, HeaderName::CSeq]
    {
        assert_eq!(
            check(&invite().replace(name, "no n\tsense <").build()),
            invite().build(),
            "{name}"
        );
    }
}

#[test]
fn the_largest_request_can_be_answered_and_sent_again() {
    let record_routes = "Record-Route: <sip:a.very.long.host.name.example.com;lr>\r\n".repeat(120);
    let vias = vec!["SIP/2.0/UDP h;branch=z9hG4bKx"; 120].join(",");
    let name = "n".repeat(2_000);
    let lines = format!(
        "v: {vias}\r\n{record_routes}X: {}\r\nContact: \"{name}\" <sip:{}@h>\r\n",
        "x".repeat(33_000),
        "u".repeat(2_000),
    );
    let request = request("INVITE sip:b@h", &lines, &"b".repeat(9_000));
    assert!(request.as_bytes().len() > 55_000);
    let source = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap();
    let long = "r".repeat(70_000);
    let response = Response::to_request(&request.clone().with_source(source), 200, Some("ours"))
        .reason(&long)
        .header(HeaderName::Server, &long)
        .copy(&request, HeaderName::Contact)
        .body("text/plain", long.as_bytes())
        .build();
    let back = parsed(response.as_bytes()).into_response().unwrap();
    assert_eq!(
        (back.via_count(), back.record_routes().len(), back.to_tag()),
        (121, 120, Some("ours"))
    );
    let via: Via = "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK2".parse().unwrap();
    check(&RequestBuilder::again(&request, &via, 2).build());
    let target = request.contact().unwrap().uri();
    let bye = RequestBuilder::new(RequestParts {
        method: &Method::Bye,
        uri: &target,
        via: &via,
        from: &request.contact().unwrap().with_tag("f"),
        to: &request.contact().unwrap().with_tag("t"),
        call_id: &"i".repeat(4_096),
        cseq: u32::MAX,
    });
    check(&bye.addresses(HeaderName::Route, &request.record_routes()).build());
}

#[test]
fn what_does_not_fit_is_left_out() {
    let long = "x".repeat(40_000);
    let built =
        invite().header(HeaderName::Subject, &long).header(HeaderName::Organization, &long).build();
    assert_eq!(check(&built).header(HeaderName::Organization), None);
    let built =
        invite().header(HeaderName::Subject, &long).body("text/plain", long.as_bytes()).build();
    assert_eq!(check(&built).body(), b"");
}
