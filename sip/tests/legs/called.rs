//! Calls that come in (RFC 3261 §8.2, §9.2, §13.3, §17.2.1; RFC 3581; RFC 6026).

use tandem_sip::{
    leg::answer_stray,
    wire::{HeaderName, Message, Transport},
};

use crate::script::{
    ANSWER, OFFER, Script, each_way, on_one_machine, peer, settings, stateless, udp,
};

#[test]
fn a_call_rings_is_answered_and_hung_up_by_the_caller() {
    each_way(|way| {
        let mut call = way.callee();
        call.does(|leg, now| leg.trying(now).unwrap()).gives(&["100 INVITE"]);
        call.rings().gives(&["180 INVITE"]);
        call.answers().gives(&["200 INVITE+sdp"]);
        call.far_acks("").gives(&["Acked"]);
        call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
        call.accepts_bye().gives(&["200 BYE", "Ended TheyHungUp"]);
        call.ends(&["Terminated"]);
    });
}

#[test]
fn nothing_is_sent_before_a_command_says_so() {
    each_way(|way| {
        let mut call = way.callee();
        call.far_repeats().is_silent();
        call.after_ms(10_000).is_silent();
    });
}

#[test]
fn an_invite_sent_again_gets_the_last_provisional_response_17_2_1() {
    each_way(|way| {
        let mut call = way.callee();
        call.rings().gives(&["180 INVITE"]);
        call.far_repeats().gives(&["180 INVITE"]);
        call.rings().is_silent();
    });
}

#[test]
fn the_2xx_is_repeated_by_the_dialog_until_the_ack_13_3_1_4() {
    each_way(|way| {
        let mut call = way.callee();
        call.answers().gives(&["200 INVITE+sdp"]);
        call.after_ms(500).gives(&["200 INVITE+sdp"]); // T1
        call.after_ms(1_000).gives(&["200 INVITE+sdp"]);
        call.after_ms(2_000).gives(&["200 INVITE+sdp"]);
        call.after_ms(4_000).gives(&["200 INVITE+sdp"]); // T2
        call.after_ms(4_000).gives(&["200 INVITE+sdp"]);
        // RFC 6026 §7.1: the INVITE that comes again is absorbed, not answered.
        call.far_repeats().is_silent();
        call.far_acks("").gives(&["Acked"]);
        call.far_acks("").is_silent();
        call.after_ms(60_000).is_silent();
    });
}

#[test]
fn the_2xx_is_repeated_over_a_reliable_transport_too_13_3_1_4() {
    each_way(|way| {
        let mut call = way.callee_over(peer(Transport::Tcp), "", Some(OFFER), settings());
        call.answers().gives(&["200 INVITE+sdp"]);
        call.after_ms(500).gives(&["200 INVITE+sdp"]);
    });
}

#[test]
fn a_call_whose_ack_never_comes_is_ended_with_a_bye_13_3_1_4() {
    on_one_machine(|way| {
        let mut call = way.callee();
        call.answers().after_ms(31_999);
        call.gives(&["200 INVITE+sdp"; 11]);
        call.after_ms(1).gives(&["Ended NoAck", "BYE"]);
        call.far_says("BYE", 200, "", "").is_silent();
        call.ends(&["Terminated"]);
    });
}

#[test]
fn a_callee_must_not_send_bye_before_the_ack_15() {
    each_way(|way| {
        let mut call = way.callee();
        call.answers().gives(&["200 INVITE+sdp"]);
        call.hangs_up().hangs_up().is_silent();
        call.far_acks("").gives(&["Acked", "BYE"]);
        call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
        call.ends(&["Terminated"]);
    });
}

#[test]
fn a_callee_may_send_bye_when_the_ack_never_comes_15() {
    each_way(|way| {
        let mut call = way.callee();
        call.answers().hangs_up().after_ms(31_999).gives(&["200 INVITE+sdp"; 11]);
        call.after_ms(1).gives(&["BYE"]);
        call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
        call.ends(&["Terminated"]);
    });
}

#[test]
fn a_refusal_is_repeated_until_its_ack_17_2_1() {
    each_way(|way| {
        let mut call = way.callee();
        call.does(|leg, now| leg.refuse(now, 486, "", &[]).unwrap());
        call.gives(&["486 INVITE", "Ended WeRefused"]);
        call.after_ms(500).gives(&["486 INVITE"]);
        call.after_ms(1_000).gives(&["486 INVITE"]);
        call.far_repeats().gives(&["486 INVITE"]);
        call.far_acks_failure().is_silent();
        call.far_acks_failure().is_silent();
        call.after_ms(4_999).is_silent();
        call.ends(&["Terminated"]); // I = T4
    });
}

#[test]
fn a_refusal_without_an_ack_is_given_up_after_timer_h_17_2_1() {
    each_way(|way| {
        let mut call = way.callee();
        call.does(|leg, now| leg.refuse(now, 503, "Full", &[("Retry-After", "5")]).unwrap());
        assert_eq!(call.last_response().header(HeaderName::RetryAfter), Some(&b"5"[..]));
        assert_eq!(call.last_response().reason(), "Full");
        call.after_ms(31_999);
        assert!(call.leg.poll_timeout().is_some());
        call.after_ms(1);
        assert!(call.leg.poll_timeout().is_none());
    });
}

#[test]
fn a_refusal_over_a_reliable_transport_is_not_repeated_17_2_1() {
    each_way(|way| {
        let mut call = way.callee_over(peer(Transport::Tcp), "", Some(OFFER), settings());
        call.does(|leg, now| leg.refuse(now, 404, "", &[]).unwrap());
        call.gives(&["404 INVITE", "Ended WeRefused"]);
        call.after_ms(10_000).is_silent();
        call.far_acks_failure().gives(&["Terminated"]);
    });
}

#[test]
fn a_cancel_is_answered_and_ends_the_invite_with_487_9_2() {
    each_way(|way| {
        let mut call = way.callee();
        call.rings().gives(&["180 INVITE"]);
        call.far_cancels().gives(&["200 CANCEL", "487 INVITE", "Cancelled"]);
        call.far_repeats().gives(&["200 CANCEL"]);
        call.far_acks_failure().is_silent();
        assert!(call.leg.answer(call.now, ANSWER.into()).is_err());
        call.ends(&["Terminated"]);
    });
}

#[test]
fn a_cancel_after_the_2xx_has_no_effect_9_2() {
    each_way(|way| {
        let mut call = way.callee();
        call.answers().gives(&["200 INVITE+sdp"]);
        call.far_cancels().gives(&["200 CANCEL"]);
        call.far_acks("").gives(&["Acked"]);
        call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
    });
}

#[test]
fn a_cancel_of_another_request_gets_200_and_has_no_effect_9_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
        let cancel = call.cancel_of_last();
        call.far_sends(cancel).gives(&["200 CANCEL"]);
        call.accepts_bye().gives(&["200 BYE", "Ended TheyHungUp"]);
    });
}

#[test]
fn the_tag_of_the_200_to_a_cancel_is_that_of_the_invites_response_9_2() {
    each_way(|way| {
        let mut call = way.callee();
        call.far_cancels();
        let tags: Vec<_> = call.sent.iter().map(|(_, m)| m.head().to_tag().unwrap()).collect();
        assert_eq!(tags, ["ours", "ours"]);
    });
}

#[test]
fn hanging_up_an_unanswered_call_refuses_it() {
    each_way(|way| {
        let mut call = way.callee();
        call.rings().gives(&["180 INVITE"]);
        call.hangs_up().gives(&["487 INVITE", "Ended WeHungUp"]);
        call.hangs_up().is_silent();
        call.far_acks_failure().is_silent();
        call.ends(&["Terminated"]);
    });
}

#[test]
fn a_bye_in_the_early_dialog_ends_the_invite_with_487_15_1_2() {
    each_way(|way| {
        let mut call = way.callee();
        call.rings().gives(&["180 INVITE"]);
        call.far_asks("BYE", "", "").gives(&["200 BYE", "487 INVITE", "Cancelled"]);
    });
}

#[test]
fn the_response_repeats_via_from_call_id_cseq_and_adds_our_tag_8_2_6_2() {
    each_way(|way| {
        let headers = "Via: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bKother\r\n\
                       Record-Route: <sip:p2.example.com;lr>\r\nRecord-Route: <sip:p1.example.com;lr>\r\n\
                       Timestamp: 54\r\n";
        let mut call = way.callee_with(headers, Some(OFFER), settings());
        call.does(|leg, now| leg.trying(now).unwrap());
        assert_eq!(call.last_response().header(HeaderName::Timestamp), Some(&b"54"[..]));
        call.answers();
        let (response, invite) = (call.last_response(), call.invite.as_ref().unwrap());
        let vias: Vec<_> = response.vias().map(String::from_utf8_lossy).collect();
        assert_eq!(
            vias,
            [
                "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKfar-1",
                "SIP/2.0/UDP 203.0.113.5;branch=z9hG4bKother"
            ]
        );
        assert_eq!(response.header(HeaderName::From), invite.header(HeaderName::From));
        assert_eq!(response.call_id(), invite.call_id());
        assert_eq!(response.cseq(), invite.cseq());
        assert_eq!(
            response.header(HeaderName::To),
            Some(&b"<sip:tandem@example.com>;tag=ours"[..])
        );
        let routes: Vec<_> = response.values(HeaderName::RecordRoute).collect();
        assert_eq!(routes, invite.values(HeaderName::RecordRoute).collect::<Vec<_>>());
        assert_eq!(response.contact().unwrap().uri().as_str(), "sip:leg@198.51.100.9:5060");
    });
}

#[test]
fn every_response_to_an_invite_must_have_the_same_tag_8_2_6_2() {
    each_way(|way| {
        let mut call = way.callee();
        call.rings().does(|leg, now| leg.ring(now, Some(ANSWER.into())).unwrap()).answers();
        call.gives(&["180 INVITE", "183 INVITE+sdp", "200 INVITE+sdp"]);
        assert!(call.sent.iter().all(|(_, message)| message.head().to_tag() == Some("ours")));
    });
}

#[test]
fn equal_requests_must_get_equal_stateless_answers_8_2_7() {
    let headers = "Require: teleport\r\n";
    let refused = || stateless(headers, Some(OFFER), settings());
    assert_eq!(refused(), refused());
    let text = crate::script::invite_text(Transport::Udp, "", None).replace("INVITE", "BYE");
    let stray = || answer_stray(&crate::script::request(&text), udp()).unwrap();
    assert_eq!(stray(), stray());
    // Another call gets another tag (§19.3).
    let tag = |text: &str| {
        let answer = answer_stray(&crate::script::request(text), udp()).unwrap();
        Message::parse(&answer.bytes).unwrap().head().to_tag().unwrap().to_owned()
    };
    assert_ne!(tag(&text), tag(&text.replace("call@test", "other@test")));
}

#[test]
fn an_ack_must_never_be_answered_17() {
    let text = crate::script::invite_text(Transport::Udp, "", None).replace("INVITE", "ACK");
    assert_eq!(answer_stray(&crate::script::request(&text), udp()), None);
}

#[test]
fn a_caller_without_a_tag_must_be_served_12_1_1() {
    let without = |text: &str| text.replace(";tag=far", "");
    let text = without(&crate::script::invite_text(Transport::Udp, "", Some(OFFER)));
    let mut call = Script::called_by(&text);
    call.answers().gives(&["200 INVITE+sdp"]);
    let bye = call.request_text("BYE", "", "");
    call.far_sends(without(&String::from_utf8(bye).unwrap()).into_bytes());
    call.gives(&["ByeReceived"]);
}

/// RFC 3261 §8.1.3.5: a caller that was refused tries again with the same Call-ID, a new branch,
/// a higher CSeq and no To tag.
#[test]
fn a_refused_caller_that_tries_again_begins_another_call_8_1_3_5() {
    each_way(|way| {
        for status in [401, 407, 503] {
            let mut call = way.callee();
            let first = call.invite.clone().unwrap();
            let text = String::from_utf8(first.to_bytes()).unwrap();
            let anew = text.replace("far-1", "far-9").replace("CSeq: 1", "CSeq: 2");
            let anew = crate::script::request(&anew);
            call.does(|leg, now| leg.refuse(now, status, "", &[]).unwrap());
            assert!(call.leg.begins_another(&anew) && !call.leg.owns(&anew));
            // The refused INVITE itself, and what belongs to it, do not.
            assert!(!call.leg.begins_another(&first) && call.leg.owns(&first));
            call.far_acks_failure();
            assert!(call.leg.begins_another(&anew));
            let refused = format!("{status} INVITE");
            call.gives(&[&refused, "Ended WeRefused"]);
            call.does(|leg, now| leg.handle_request(now, &anew, udp())).gives(&["481 INVITE"]);
            let elsewhere = crate::script::request(&text.replace("call@test", "other@test"));
            assert!(!call.leg.begins_another(&elsewhere));
        }
        // By another way it is the same call (§8.2.2.2), and with our tag it is in its dialog.
        let call = way.callee();
        let text = String::from_utf8(call.invite.as_ref().unwrap().to_bytes()).unwrap();
        let merged = text.replace("far-1", "far-9");
        let inside = merged.replace("example.com>\r\nCall", "example.com>;tag=ours\r\nCall");
        for known in [merged, inside] {
            assert!(!call.leg.begins_another(&crate::script::request(&known)), "{known}");
        }
    });
}

#[test]
fn the_response_must_leave_from_where_the_request_came_3581_4() {
    each_way(|way| {
        let mut second = udp();
        second.local = "198.51.100.77:5070".parse().unwrap();
        let mut call = way.callee_over(second, "", Some(OFFER), settings());
        call.rings().answers();
        assert!(call.sent.iter().all(|(peer, _)| peer.local == second.local));
    });
}

#[test]
fn the_response_goes_to_received_and_rport_3581_4() {
    each_way(|way| {
        let headers = "";
        let mut source = udp();
        source.remote = "203.0.113.77:31337".parse().unwrap();
        let mut call = way.callee_over(source, headers, Some(OFFER), settings());
        call.rings();
        // Without rport: the source's address, the sent-by's port (RFC 3261 §18.2.2).
        assert_eq!(call.sent[0].0.remote, "203.0.113.77:5060".parse().unwrap());
        let via = call.last().head().via_top();
        assert_eq!(via.received(), Some("203.0.113.77".parse().unwrap()));

        let mut asked = Script::behind_nat(way, source);
        asked.rings();
        assert_eq!(asked.sent[0].0.remote, source.remote);
        let via = asked.last().head().via_top();
        assert_eq!((via.received(), via.rport()), (Some(source.remote.ip()), Some(31337)));
    });
}

#[test]
fn a_provisional_response_is_said_again_each_minute_13_3_1_1() {
    each_way(|way| {
        let mut call = way.callee();
        call.rings().gives(&["180 INVITE"]);
        call.after_ms(59_999).is_silent();
        call.after_ms(1).gives(&["180 INVITE"]);
        call.after_ms(60_000).gives(&["180 INVITE"]);
    });
}

#[test]
fn an_invite_whose_expires_passes_gets_487_13_3_1() {
    each_way(|way| {
        let mut call = way.callee_with("Expires: 30\r\n", Some(OFFER), settings());
        call.rings().gives(&["180 INVITE"]);
        call.after_ms(30_000).gives(&["487 INVITE", "Ended Expired"]);
    });
}

#[test]
fn a_leg_knows_the_hops_that_are_left_behind_it_16_6() {
    each_way(|way| {
        assert_eq!(way.callee().rings().leg.hops_left(), 69);
    });
}

#[test]
fn the_same_request_by_another_way_gets_482_8_2_2_2() {
    each_way(|way| {
        let mut call = way.callee();
        let text = String::from_utf8(call.invite.as_ref().unwrap().to_bytes()).unwrap();
        call.far_sends(text.replace("far-1", "far-fork").into_bytes()).gives(&["482 INVITE"]);
        call.answers().gives(&["200 INVITE+sdp"]);
    });
}

#[test]
fn an_unknown_extension_gets_420_and_is_named_8_2_2_3() {
    let refused = stateless("Require: 100rel, teleport\r\n", Some(OFFER), settings());
    assert_eq!(refused.status, 420);
    assert!(String::from_utf8_lossy(&refused.bytes).contains("Unsupported: teleport\r\n"));
    assert_eq!(refused.peer, udp());
}

#[test]
fn a_body_that_is_no_sdp_gets_415_and_what_is_accepted_8_2_3() {
    let headers = "Content-Type: text/plain\r\nContent-Disposition: session\r\n";
    let text = crate::script::invite_text(Transport::Udp, headers, Some("hello"));
    let text = text.replacen("Content-Type: application/sdp\r\n", "", 1);
    let invite = crate::script::request(&text);
    let refused = tandem_sip::leg::Leg::incoming(
        crate::script::some_instant(),
        &invite,
        udp(),
        crate::script::identity(settings()),
    )
    .unwrap_err();
    assert_eq!(refused.status, 415);
    assert!(String::from_utf8_lossy(&refused.bytes).contains("Accept: application/sdp\r\n"));
}

#[test]
fn an_invite_in_an_unknown_dialog_gets_481_12_2_2() {
    let text = crate::script::invite_text(Transport::Udp, "", Some(OFFER))
        .replace("To: <sip:tandem@example.com>", "To: <sip:tandem@example.com>;tag=gone");
    let invite = crate::script::request(&text);
    let identity = crate::script::identity(settings());
    let now = crate::script::some_instant();
    let refused = tandem_sip::leg::Leg::incoming(now, &invite, udp(), identity).unwrap_err();
    assert_eq!(refused.status, 481);
    let stray = answer_stray(&invite, udp()).unwrap();
    assert_eq!(stray.status, 481);
}

#[test]
fn a_late_offer_is_ours_in_the_200_and_answered_in_the_ack_13_2_1() {
    each_way(|way| {
        let mut call = way.callee_with("", None, settings());
        assert!(call.leg.wants_our_offer());
        call.rings().gives(&["180 INVITE"]);
        // An offer may not go into an unreliable response.
        call.does(|leg, now| leg.ring(now, Some(OFFER.into())).unwrap()).gives(&["183 INVITE"]);
        call.answers().gives(&["200 INVITE+sdp"]);
        call.far_acks(ANSWER).gives(&["Acked+sdp"]);
    });
}

#[test]
fn another_invite_before_the_answer_gets_500_and_retry_after_14_2() {
    each_way(|way| {
        let mut call = way.callee();
        call.rings().gives(&["180 INVITE"]);
        call.far_asks("INVITE", "", OFFER).gives(&["500 INVITE"]);
        assert!(call.last_response().header(HeaderName::RetryAfter).is_some());
    });
}
