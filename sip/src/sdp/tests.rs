//! Offer and answer as the sections of RFC 3264 say, and what real offers contain.

use std::net::SocketAddr;

use super::*;

const PLAIN: &str = "v=0\r\no=load 12 34 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 30000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

fn local() -> Local {
    Local {
        ip: "127.0.0.1".parse().unwrap(),
        rtp_port: 40000,
        session_id: 7,
        version: 1,
        direction: Direction::SendRecv,
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An offer with these media lines.
fn with_media(media: &str) -> Vec<u8> {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n{media}")
        .into()
}

fn answered(offer: &[u8]) -> (String, Negotiated) {
    let (sdp, negotiated) = answer(offer, &Capabilities::default(), &local()).unwrap();
    (String::from_utf8(sdp).unwrap(), negotiated)
}

fn refused(offer: &[u8]) -> SdpError {
    answer(offer, &Capabilities::default(), &local()).unwrap_err()
}

fn direction_of_answer(offered: &str, wanted: Direction) -> Direction {
    let offer = with_media(&format!("m=audio 30000 RTP/AVP 0\r\na={offered}\r\n"));
    let local = Local { direction: wanted, ..local() };
    let (sdp, negotiated) = answer(&offer, &Capabilities::default(), &local).unwrap();
    let line = format!("a={}\r\n", negotiated.direction.as_str());
    assert!(String::from_utf8(sdp).unwrap().ends_with(&line));
    negotiated.direction
}

#[test]
fn an_offer_is_answered_with_the_first_codec_that_both_have() {
    let (sdp, negotiated) = answered(PLAIN.as_bytes());
    assert_eq!(
        sdp,
        "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    assert_eq!(
        negotiated,
        Negotiated {
            remote_rtp: address("192.0.2.9:30000"),
            remote_rtcp: Some(address("192.0.2.9:30001")),
            codec: Codec {
                kind: CodecKind::Pcmu,
                send_payload_type: 0,
                receive_payload_type: 0,
                clock_rate: 8_000,
                fmtp: String::new(),
            },
            telephone_event: Some(TelephoneEvent {
                send_payload_type: 101,
                receive_payload_type: 101,
                clock_rate: 8_000,
            }),
            direction: Direction::SendRecv,
            ptime_ms: 20,
        }
    );
}

#[test]
fn an_answer_must_have_as_many_streams_in_the_same_order() {
    let (sdp, _) = answered(&with_media(
        "m=video 5000 RTP/AVP 31\r\nm=audio 0 RTP/AVP 0\r\nm=audio 30000 RTP/SAVP 0\r\n\
         m=audio 30002 RTP/AVP 8\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
         m=audio 30004 RTP/AVP 0\r\n",
    ));
    let streams: Vec<&str> = sdp.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        streams,
        [
            "m=video 0 RTP/AVP 31",
            "m=audio 0 RTP/AVP 0",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 40000 RTP/AVP 8",
            "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
            "m=audio 0 RTP/AVP 0",
        ]
    );
}

#[test]
fn a_stream_offered_with_port_zero_must_be_answered_with_port_zero() {
    assert_eq!(refused(&with_media("m=audio 0 RTP/AVP 0\r\n")), SdpError::NoAudio);
}

#[test]
fn the_times_of_an_answer_must_be_those_of_the_offer() {
    let offer = PLAIN.replace("t=0 0", "t=2873397496 2873404696");
    assert!(answered(offer.as_bytes()).0.contains("\r\nt=2873397496 2873404696\r\n"));
}

#[test]
fn sendonly_must_be_answered_recvonly_or_inactive() {
    assert_eq!(direction_of_answer("sendonly", Direction::SendRecv), Direction::RecvOnly);
    assert_eq!(direction_of_answer("sendonly", Direction::SendOnly), Direction::Inactive);
}

#[test]
fn recvonly_must_be_answered_sendonly_or_inactive() {
    assert_eq!(direction_of_answer("recvonly", Direction::SendRecv), Direction::SendOnly);
}

#[test]
fn inactive_must_be_answered_inactive() {
    assert_eq!(direction_of_answer("inactive", Direction::SendRecv), Direction::Inactive);
}

#[test]
fn a_held_offerer_gets_what_we_want() {
    assert_eq!(direction_of_answer("sendrecv", Direction::SendOnly), Direction::SendOnly);
}

#[test]
fn the_direction_of_the_session_holds_where_a_stream_has_none() {
    let offer = PLAIN.replace("a=sendrecv\r\n", "").replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n");
    assert_eq!(answered(offer.as_bytes()).1.direction, Direction::RecvOnly);
}

#[test]
fn an_unspecified_address_is_hold_as_in_rfc_2543() {
    let offer = PLAIN.replace("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0");
    let (_, negotiated) = answered(offer.as_bytes());
    assert_eq!(negotiated.direction, Direction::RecvOnly);
    assert!(negotiated.remote_rtp.ip().is_unspecified());
}

#[test]
fn dynamic_payload_types_are_the_offerers() {
    let (sdp, negotiated) = answered(&with_media(
        "m=audio 30000 RTP/AVP 96 120 100 98 0\r\na=rtpmap:96 OPUS/48000/2\r\n\
         a=fmtp:96 useinbandfec=1;maxplaybackrate=16000\r\na=rtpmap:98 telephone-event/8000\r\n\
         a=rtpmap:100 telephone-event/48000\r\na=rtpmap:120 opus/48000/2\r\n",
    ));
    assert!(sdp.contains("m=audio 40000 RTP/AVP 96 100\r\na=rtpmap:96 opus/48000/2\r\n"));
    assert_eq!(negotiated.codec.fmtp, "useinbandfec=1;maxplaybackrate=16000");
    let event = negotiated.telephone_event.unwrap();
    assert_eq!((event.send_payload_type, event.clock_rate), (100, 48_000));
    assert_eq!(negotiated.dtmf_payload_type(), Some(100));
}

#[test]
fn events_at_another_rate_are_better_than_none() {
    let (_, negotiated) = answered(&with_media(
        "m=audio 30000 RTP/AVP 111 101\r\na=rtpmap:111 opus/48000/2\r\n\
         a=rtpmap:101 telephone-event/8000\r\n",
    ));
    assert_eq!(negotiated.telephone_event.unwrap().clock_rate, 8_000);
}

#[test]
fn rtpmap_says_more_than_the_static_table() {
    let offer = with_media("m=audio 30000 RTP/AVP 0 9\r\na=rtpmap:0 speex/8000\r\n");
    assert_eq!(answered(&offer).1.codec.kind, CodecKind::G722);
}

#[test]
fn nothing_in_common_is_refused_with_488() {
    let error = refused(&with_media("m=audio 30000 RTP/AVP 18 4\r\na=rtpmap:18 G729/8000\r\n"));
    assert_eq!((error.status(), error), (488, SdpError::NoCommonCodec));
}

#[test]
fn no_audio_is_refused_with_488() {
    for media in ["", "m=video 5000 RTP/AVP 31\r\n", "m=audio 30000 RTP/SAVP 0\r\n"] {
        let error = refused(&with_media(media));
        assert_eq!((error.status(), error), (488, SdpError::NoAudio), "{media}");
    }
}

#[test]
fn what_is_no_sdp_is_refused_with_400() {
    for text in ["", "hello", "v=1\r\n", "o=- 1 1 IN IP4 h\r\n", "v=0\r\nm=audio x RTP/AVP 0\r\n"] {
        let error = refused(text.as_bytes());
        assert!(matches!(error, SdpError::Malformed(_)), "{text}: {error:?}");
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn too_much_is_refused_before_it_is_read() {
    assert_eq!(refused(&vec![b'v'; SDP_BYTES_MAX + 1]), SdpError::TooLarge);
    let streams = "m=audio 30000 RTP/AVP 0\r\n".repeat(STREAMS_MAX + 1);
    assert_eq!(refused(&with_media(&streams)), SdpError::TooLarge);
}

#[test]
fn an_address_must_be_one_of_a_host() {
    for host in ["pbx.example.com", "224.2.1.1/127", "239.1.1.1", ""] {
        let offer = PLAIN.replace("c=IN IP4 192.0.2.9", &format!("c=IN IP4 {host}"));
        let error = refused(offer.as_bytes());
        assert!(matches!(error, SdpError::NoAddress | SdpError::Malformed(_)), "{host}: {error:?}");
    }
    let missing = PLAIN.replace("c=IN IP4 192.0.2.9\r\n", "");
    assert_eq!(refused(missing.as_bytes()), SdpError::NoAddress);
}

#[test]
fn ipv6_and_the_address_of_a_stream_are_read() {
    let offer = with_media("m=audio 30000 RTP/AVP 0\r\nc=IN IP6 2001:db8::9\r\n");
    assert_eq!(answered(&offer).1.remote_rtp, address("[2001:db8::9]:30000"));
    let local = Local { ip: "2001:db8::1".parse().unwrap(), ..local() };
    let (sdp, _) = answer(&offer, &Capabilities::default(), &local).unwrap();
    assert!(String::from_utf8(sdp).unwrap().contains("c=IN IP6 2001:db8::1\r\n"));
}

#[test]
fn rtcp_goes_where_its_attribute_says() {
    let rtcp = |line: &str| answered(&with_media(&format!("m=audio 30000 RTP/AVP 0\r\n{line}"))).1;
    assert_eq!(rtcp("a=rtcp:53020\r\n").remote_rtcp, Some(address("192.0.2.9:53020")));
    let elsewhere = rtcp("a=rtcp:53020 IN IP4 126.16.64.4\r\n").remote_rtcp;
    assert_eq!(elsewhere, Some(address("126.16.64.4:53020")));
    assert_eq!(rtcp("a=rtcp:x\r\n").remote_rtcp, Some(address("192.0.2.9:30001")));
    let last = with_media("m=audio 65535 RTP/AVP 0\r\n");
    assert_eq!(answered(&last).1.remote_rtcp, None);
}

#[test]
fn rtcp_mux_and_ice_are_declined_by_not_answering_them() {
    let (sdp, _) = answered(&with_media(
        "a=ice-ufrag:x\r\nm=audio 30000 RTP/AVP 0\r\na=rtcp-mux\r\na=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n",
    ));
    assert!(!sdp.contains("mux") && !sdp.contains("ice") && !sdp.contains("candidate"));
}

#[test]
fn ptime_is_what_the_other_side_wants_within_reason() {
    let ptime = |lines: &str| {
        answered(&with_media(&format!("m=audio 30000 RTP/AVP 0\r\n{lines}"))).1.ptime_ms
    };
    assert_eq!(ptime(""), 20);
    assert_eq!(ptime("a=ptime:30\r\n"), 30);
    assert_eq!(ptime("a=ptime:40\r\na=maxptime:20\r\n"), 20);
    assert_eq!((ptime("a=ptime:0\r\n"), ptime("a=ptime:x\r\n")), (20, 20));
    assert_eq!((ptime("a=ptime:5\r\n"), ptime("a=ptime:60000\r\n")), (10, 60));
}

#[test]
fn text_that_is_not_utf8_is_no_reason_to_refuse() {
    let mut offer = PLAIN.as_bytes().to_vec();
    let name = offer.windows(4).position(|four| four == b"s=-\r").unwrap() + 2;
    offer.splice(name..=name, *b"\xc4\xe3\xba\xc3");
    assert_eq!(answered(&offer).1.codec.kind, CodecKind::Pcmu);
}

#[test]
fn our_offer_has_all_that_we_can() {
    let sdp = String::from_utf8(offer(&Capabilities::default(), &local())).unwrap();
    assert_eq!(
        sdp,
        "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 111 9 8 0 101 96\r\na=rtpmap:111 opus/48000/2\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=rtpmap:96 telephone-event/48000\r\na=fmtp:96 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
}

#[test]
fn both_sides_of_an_exchange_agree() {
    let caps = Capabilities::default();
    for kind in CodecKind::ALL {
        let ours = offer(&caps, &local());
        let their_local = Local { ip: "127.0.0.2".parse().unwrap(), rtp_port: 50000, ..local() };
        let (sdp, theirs) = answer(&ours, &Capabilities::only(kind), &their_local).unwrap();
        let mine = accept(&ours, &sdp, &local()).unwrap();
        assert_eq!((mine.codec.kind, theirs.codec.kind), (kind, kind));
        assert_eq!(mine.codec.send_payload_type, theirs.codec.receive_payload_type);
        assert_eq!(mine.codec.receive_payload_type, theirs.codec.send_payload_type);
        assert_eq!(mine.telephone_event.unwrap().clock_rate, kind.clock_rate());
        assert_eq!(mine.telephone_event, theirs.telephone_event);
        assert_eq!(mine.remote_rtp, address("127.0.0.2:50000"));
        assert_eq!(theirs.remote_rtp, address("127.0.0.1:40000"));
    }
}

#[test]
fn payload_types_are_those_of_who_receives() {
    let ours = offer(&Capabilities::only(CodecKind::Opus), &local());
    let theirs = with_media(
        "m=audio 30000 RTP/AVP 120 121\r\na=rtpmap:120 opus/48000/2\r\n\
         a=rtpmap:121 telephone-event/48000\r\n",
    );
    let agreed = accept(&ours, &theirs, &local()).unwrap();
    assert_eq!((agreed.codec.send_payload_type, agreed.codec.receive_payload_type), (120, 111));
    let event = agreed.telephone_event.unwrap();
    assert_eq!((event.send_payload_type, event.receive_payload_type), (121, 101));
}

#[test]
fn an_answer_that_does_not_fit_is_an_error() {
    let ours = offer(&Capabilities::default(), &local());
    let accepted = |media: &str| accept(&ours, &with_media(media), &local());
    assert!(matches!(accepted(""), Err(SdpError::Mismatch(_))));
    let two = "m=audio 30000 RTP/AVP 0\r\n".repeat(2);
    assert!(matches!(accepted(&two), Err(SdpError::Mismatch(_))));
    assert!(matches!(accepted("m=video 30000 RTP/AVP 0\r\n"), Err(SdpError::Mismatch(_))));
    assert_eq!(accepted("m=audio 0 RTP/AVP 0\r\n"), Err(SdpError::NoCommonCodec));
    assert_eq!(accepted("m=audio 30000 RTP/AVP 18\r\n"), Err(SdpError::NoCommonCodec));
}

#[test]
fn a_later_offer_keeps_the_streams_and_payload_types() {
    let first = with_media(
        "m=video 5000 RTP/AVP 31\r\nm=audio 30000 RTP/AVP 111 101\r\n\
         a=rtpmap:111 G722/8000\r\na=rtpmap:101 opus/48000/2\r\n",
    );
    let (last, _) = answer(&first, &Capabilities::default(), &local()).unwrap();
    let hold = Local { direction: Direction::SendOnly, version: 2, ..local() };
    let sdp = String::from_utf8(reoffer(&last, &Capabilities::default(), &hold).unwrap()).unwrap();
    assert!(sdp.contains("o=- 7 2 IN IP4 127.0.0.1\r\n"), "same id, next version: {sdp}");
    assert!(
        sdp.contains("m=video 0 RTP/AVP 31\r\nm=audio 40000 RTP/AVP 96 111 8 0 101 97\r\n"),
        "{sdp}"
    );
    assert!(
        sdp.contains("a=rtpmap:111 G722/8000\r\n") && sdp.contains("a=rtpmap:96 opus/48000/2\r\n")
    );
    assert!(sdp.ends_with("a=sendonly\r\n"));
}

#[test]
fn a_hold_and_its_end_by_re_invite() {
    let caps = Capabilities::default();
    let (ours, _) = answered(PLAIN.as_bytes());
    let hold = Local { direction: Direction::SendOnly, version: 2, ..local() };
    let held = reoffer(ours.as_bytes(), &caps, &hold).unwrap();
    let (their_answer, theirs) = answer(&held, &caps, &local()).unwrap();
    assert_eq!(theirs.direction, Direction::RecvOnly);
    assert_eq!(accept(&held, &their_answer, &hold).unwrap().direction, Direction::SendOnly);
    let back = reoffer(&held, &caps, &Local { version: 3, ..local() }).unwrap();
    let (their_answer, _) = answer(&back, &caps, &local()).unwrap();
    assert_eq!(accept(&back, &their_answer, &local()).unwrap().direction, Direction::SendRecv);
}

#[test]
fn the_offered_codecs_are_told_in_their_order() {
    assert_eq!(offered_codecs(PLAIN.as_bytes()), Ok(vec![CodecKind::Pcmu, CodecKind::Pcma]));
}

#[test]
fn mutated_offers_never_panic() {
    let mut seed = 7_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let ours = offer(&Capabilities::default(), &local());
    for _ in 0..4_000 {
        let mut text = PLAIN.as_bytes().to_vec();
        for _ in 0..=random(4) {
            let at = random(text.len());
            match random(3) {
                0 => text[at] = random(256) as u8,
                1 => drop(text.drain(at..(at + random(9)).min(text.len()))),
                _ => text.insert(at, b"0123456789=/: \r\n"[random(16)]),
            }
        }
        let _ = answer(&text, &Capabilities::default(), &local());
        let _ = accept(&ours, &text, &local());
        let _ = reoffer(&text, &Capabilities::default(), &local());
        let _ = offered_codecs(&text);
    }
}
