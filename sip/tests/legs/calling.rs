//! Calls that go out (RFC 3261 §8.1, §9.1, §13.2, §17.1, §22; RFC 3262 §4; RFC 6026).

use tandem_sip::{
    leg::{Leg, LegEvent, Outgoing, Output},
    wire::{HeaderName, Message, Transport},
};

use crate::script::{ANSWER, OFFER, Script, Way, credentials, each_way, outgoing, peer, settings};

#[test]
fn a_call_rings_is_answered_and_we_hang_up() {
    each_way(|way| {
        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        call.far_says("INVITE", 100, "", "").is_silent();
        call.far_says("INVITE", 180, "", "").gives(&["Ringing 180"]);
        call.far_says("INVITE", 183, "", ANSWER).gives(&["Ringing 183+sdp"]);
        call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "Answered+sdp"]);
        call.hangs_up().gives(&["BYE"]);
        call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
        call.ends(&["Terminated"]);
    });
}

#[test]
fn the_invite_has_what_8_1_1_asks_for() {
    each_way(|way| {
        let mut wanted = outgoing(settings());
        wanted.routes = vec!["<sip:192.0.2.200;lr>".into()];
        wanted.headers = vec![
            ("Alert-Info".into(), "<http://example.com/ring>".into()),
            ("Via".into(), "SIP/2.0/UDP evil".into()),
            ("X-Split".into(), "a\r\nEvil: yes".into()),
        ];
        let call = way.caller_with(&wanted);
        let invite = call.last_request("INVITE");
        assert_eq!(invite.uri().as_str(), "sip:bob@192.0.2.1");
        assert_eq!(
            invite.via_top().as_bytes(),
            b"SIP/2.0/UDP 198.51.100.9:5060;rport;branch=z9hG4bKseed-0"
        );
        assert_eq!(invite.vias().count(), 1);
        assert_eq!(invite.max_forwards(), Some(70));
        assert_eq!(
            invite.header(HeaderName::From),
            Some(&b"\"Ana\" <sip:ana@example.com>;tag=ours"[..])
        );
        assert_eq!(invite.to_tag(), None);
        assert_eq!(invite.call_id(), "call@test");
        assert_eq!(invite.header(HeaderName::Route), Some(&b"<sip:192.0.2.200;lr>"[..]));
        assert_eq!(invite.contacts().len(), 1);
        assert!(invite.header(HeaderName::Allow).is_some());
        assert!(invite.lists(HeaderName::Supported, "100rel"));
        assert!(invite.header(HeaderName::AlertInfo).is_some());
        assert_eq!(invite.header_named("Evil"), None);
    });
}

#[test]
fn the_invite_is_repeated_until_a_response_and_given_up_after_timer_b_17_1_1_2() {
    each_way(|way| {
        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        for ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000] {
            call.after_ms(ms - 1).is_silent();
            call.after_ms(1).gives(&["INVITE+sdp"]);
        }
        call.after_ms(500).gives(&["Refused 408", "Terminated"]);
    });
}

#[test]
fn a_provisional_response_stops_the_repetition_17_1_1_2() {
    each_way(|way| {
        let mut call = way.caller();
        call.far_says("INVITE", 100, "", "").after_ms(170_000).gives(&["INVITE+sdp"]);
        call.far_says("INVITE", 486, "", "").gives(&["ACK", "Refused 486"]);
    });
}

#[test]
fn over_a_reliable_transport_the_invite_is_not_repeated_17_1_1_2() {
    each_way(|way| {
        let wanted = Outgoing { peer: peer(Transport::Tcp), ..outgoing(settings()) };
        let mut call = way.caller_with(&wanted);
        call.gives(&["INVITE+sdp"]);
        call.after_ms(31_999).is_silent();
        call.after_ms(1).gives(&["Refused 408", "Terminated"]);
    });
}

#[test]
fn a_failure_is_acknowledged_each_time_it_comes_17_1_1_2() {
    each_way(|way| {
        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        call.far_says("INVITE", 486, "Retry-After: 30\r\nReason: Q.850;cause=17", "");
        call.gives(&["ACK", "Refused 486"]);
        call.far_repeats().gives(&["ACK"]);
        call.after_ms(31_999).far_repeats().gives(&["ACK"]);
        call.ends(&["Terminated"]); // D
    });
}

#[test]
fn the_ack_of_a_failure_looks_like_its_invite_17_1_1_3() {
    each_way(|way| {
        let wanted =
            Outgoing { routes: vec!["<sip:192.0.2.200;lr>".into()], ..outgoing(settings()) };
        let mut call = way.caller_with(&wanted);
        call.far_says("INVITE", 404, "", "");
        let (ack, invite) = (call.last_request("ACK"), call.last_request("INVITE"));
        assert_eq!(ack.uri(), invite.uri());
        assert_eq!(ack.via_top(), invite.via_top());
        assert_eq!(ack.header(HeaderName::From), invite.header(HeaderName::From));
        assert_eq!(ack.call_id(), invite.call_id());
        assert_eq!(ack.cseq().number, invite.cseq().number);
        assert_eq!(ack.header(HeaderName::Route), invite.header(HeaderName::Route));
        assert_eq!(ack.to_tag(), Some("far"));
    });
}

#[test]
fn a_2xx_that_comes_again_is_acknowledged_again_13_2_2_4() {
    each_way(|way| {
        let mut call = way.connected();
        call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK"]);
        call.after_ms(31_999).far_repeats().gives(&["ACK"]);
        let acks: Vec<_> = call
            .sent
            .iter()
            .filter(|(_, m)| m.head().cseq().to_string().ends_with("ACK"))
            .collect();
        assert_eq!(acks.len(), 3);
        assert!(
            acks.windows(2).all(|two| two[0].1.head().as_bytes() == two[1].1.head().as_bytes())
        );
        // M is over: the transaction is forgotten.
        call.after_ms(1).far_repeats().is_silent();
    });
}

#[test]
fn the_ack_of_a_2xx_has_the_invites_cseq_and_a_branch_of_its_own_13_2_2_4() {
    each_way(|way| {
        let call = way.connected();
        let (ack, invite) = (call.last_request("ACK"), call.last_request("INVITE"));
        assert_eq!(ack.cseq().number, invite.cseq().number);
        assert_ne!(ack.branch(), invite.branch());
        assert_eq!(ack.uri().as_str(), "sip:bob@192.0.2.1:5060");
        assert_eq!(ack.to_tag(), Some("far"));
    });
}

#[test]
fn a_2xx_of_another_fork_is_acknowledged_and_ended_13_2_2_4() {
    each_way(|way| {
        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        call.far_tag("one").far_says("INVITE", 180, "", "").gives(&["Ringing 180"]);
        call.far_tag("two").far_says("INVITE", 180, "", "").gives(&["Ringing 180"]);
        call.far_tag("one").far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "Answered+sdp"]);
        call.far_tag("two").far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "BYE"]);
        assert_eq!(call.last_request("BYE").to_tag(), Some("two"));
        call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK"]);
        call.far_says("BYE", 200, "", "").is_silent();
        call.hangs_up().gives(&["BYE"]);
        assert_eq!(call.last_request("BYE").to_tag(), Some("one"));
    });
}

#[test]
fn a_fork_that_answers_after_we_hung_up_is_ended_too() {
    each_way(|way| {
        let mut call = way.connected();
        call.hangs_up().gives(&["BYE"]);
        call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
        call.far_tag("two").far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "BYE"]);
        call.far_says("BYE", 481, "", "").is_silent();
        call.ends(&["Terminated"]);
    });
}

#[test]
fn a_late_offer_is_answered_in_the_ack_13_2_2_4() {
    each_way(|way| {
        let mut call = way.caller_with(&Outgoing { sdp: Vec::new(), ..outgoing(settings()) });
        call.gives(&["INVITE"]);
        call.far_says("INVITE", 200, "", OFFER).gives(&["Answered+sdp"]);
        call.far_repeats().is_silent();
        call.does(|leg, now| leg.acknowledge(now, ANSWER.into()).unwrap()).gives(&["ACK+sdp"]);
        call.far_says("INVITE", 200, "", OFFER).gives(&["ACK+sdp"]);
        assert!(call.leg.acknowledge(call.now, ANSWER.into()).is_err());
    });
}

#[test]
fn hanging_up_before_the_late_offer_is_answered_acknowledges_first() {
    each_way(|way| {
        let mut call = way.caller_with(&Outgoing { sdp: Vec::new(), ..outgoing(settings()) });
        call.far_says("INVITE", 200, "", OFFER).gives(&["INVITE", "Answered+sdp"]);
        call.hangs_up().gives(&["ACK", "BYE"]);
    });
}

#[test]
fn a_response_with_two_vias_is_dropped_8_1_3_3() {
    each_way(|way| {
        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        call.far_says("INVITE", 486, "Via: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKx", "");
        call.is_silent();
    });
}

#[test]
fn a_redirection_names_its_contacts_8_1_3_4() {
    let mut leg = Leg::outgoing(crate::script::some_instant(), &outgoing(settings()));
    drop(leg.poll_output());
    each_way(|way| {
        let mut call = way.caller();
        call.far_says("INVITE", 302, "Contact: <sip:one@192.0.2.3>, <sip:two@192.0.2.4>;q=0.5", "");
        call.gives(&["INVITE+sdp", "ACK", "Refused 302"]);
    });
}

#[test]
fn an_invite_that_cannot_be_sent_must_count_as_503_8_1_3_1() {
    each_way(|way| {
        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        call.does(|leg, now| leg.handle_unreachable(now, peer(Transport::Udp)));
        call.gives(&["Refused 503", "Terminated"]);
    });
}

#[test]
fn a_re_invite_that_cannot_be_sent_leaves_the_session_as_it_was_8_1_3_1() {
    each_way(|way| {
        let mut call = way.connected();
        call.does(|leg, now| leg.reoffer(now, OFFER.into()).unwrap()).gives(&["INVITE+sdp"]);
        call.does(|leg, now| leg.handle_unreachable(now, peer(Transport::Udp)));
        call.gives(&["ReofferRefused 503"]);
        call.hangs_up().gives(&["BYE"]);
    });
}

#[test]
fn an_unknown_response_must_count_as_its_class_8_1_3_2() {
    each_way(|way| {
        let mut call = way.caller();
        call.far_says("INVITE", 199, "", "").gives(&["INVITE+sdp", "Ringing 199"]);
        call.far_says("INVITE", 299, "", ANSWER).gives(&["ACK", "Answered+sdp"]);
        let mut call = way.caller();
        call.far_says("INVITE", 499, "", "").gives(&["INVITE+sdp", "ACK", "Refused 499"]);
    });
}

/// A response to the INVITE, with something in it replaced.
fn altered(call: &Script, status: u16, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(call.response_to(0, status, ("far", "", ""))).unwrap();
    assert!(text.contains(from), "{text}");
    text.replace(from, to).into_bytes()
}

#[test]
fn a_response_with_the_via_of_somebody_else_must_be_discarded_18_1_2() {
    each_way(|way| {
        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        for other in ["198.51.100.8:5060", "198.51.100.9:5062", "198.51.100.9", "pbx.example.com"] {
            let stray = altered(&call, 486, "UDP 198.51.100.9:5060", &format!("UDP {other}"));
            call.far_sends(stray).is_silent();
        }
        call.far_says("INVITE", 486, "", "").gives(&["ACK", "Refused 486"]);
    });
    let mut six = outgoing(settings());
    six.identity.sent_by = "[2001:db8::9]:5060".into();
    let mut call = Way::Straight.caller_with(&six);
    let anew = altered(&call, 486, "[2001:db8::9]", "[2001:DB8:0:0::9]");
    call.far_sends(anew).gives(&["INVITE+sdp", "ACK", "Refused 486"]);
}

#[test]
fn a_response_must_have_the_method_and_the_number_of_the_request_17_1_3() {
    each_way(|way| {
        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        for other in ["CSeq: 1 BYE", "CSeq: 2 INVITE", "CSeq: 2147483647 INVITE"] {
            let stray = altered(&call, 200, "CSeq: 1 INVITE", other);
            call.far_sends(stray).is_silent();
        }
        let mut call = way.connected();
        call.hangs_up().gives(&["BYE"]);
        let bye = call.last_request("BYE").cseq().to_string();
        let at = call.sent.len() - 1;
        let text = String::from_utf8(call.response_to(at, 200, ("far", "", ""))).unwrap();
        let stray = text.replace(&bye, &bye.replace("BYE", "OPTIONS"));
        call.far_sends(stray.into_bytes()).is_silent();
        call.far_sends(text.into_bytes()).gives(&["Ended WeHungUp"]);
    });
}

#[test]
fn ack_and_cancel_must_go_where_the_invite_went_9_1() {
    each_way(|way| {
        let mut wanted = outgoing(settings());
        wanted.peer.remote = "203.0.113.4:5099".parse().unwrap();
        let mut call = way.caller_with(&wanted);
        call.far_says("INVITE", 180, "", "").hangs_up();
        call.far_says("INVITE", 487, "", "");
        call.gives(&["INVITE+sdp", "Ringing 180", "CANCEL", "ACK", "Ended WeHungUp"]);
        assert!(call.sent.iter().all(|(peer, _)| *peer == wanted.peer));
    });
}

#[test]
fn every_request_must_have_its_six_headers_and_a_branch_of_its_own_8_1_1() {
    each_way(|way| {
        let mut call = way.caller();
        call.far_says("INVITE", 183, "Require: 100rel\r\nRSeq: 1", ANSWER);
        call.far_says("INVITE", 200, "", "");
        call.does(|leg, now| leg.reoffer(now, OFFER.into()).unwrap());
        call.far_says("INVITE", 200, "", ANSWER);
        call.far_asks("REFER", "Refer-To: <sip:c@192.0.2.9>\r\n", "");
        call.does(|leg, now| leg.accept_refer(now).unwrap()).hangs_up();
        let mut branches = Vec::new();
        for (_, message) in &call.sent {
            // Without it a stream has no frames (§18.3).
            assert!(message.head().header(HeaderName::ContentLength).is_some());
            let Message::Request(request) = message else { continue };
            // Via, From, To, Call-ID and CSeq are there, or it could not be read.
            assert_eq!(request.max_forwards(), Some(70), "{request:?}");
            assert_eq!(request.from_tag(), Some("ours"));
            assert!(request.via_top().has_unique_branch() && request.vias().count() == 1);
            branches.push(request.branch().unwrap().to_owned());
        }
        assert_eq!(branches.len(), 7, "INVITE, PRACK, ACK, INVITE, ACK, NOTIFY, BYE");
        branches.sort();
        branches.dedup();
        assert_eq!(branches.len(), 7);
    });
}

#[test]
fn the_first_reliable_answer_must_count_13_2_1() {
    let mut call = Way::Straight.caller();
    call.far_says("INVITE", 183, "Require: 100rel\r\nRSeq: 1", ANSWER);
    call.gives(&["INVITE+sdp", "PRACK", "Ringing 183 reliably+sdp"]);
    let other = ANSWER.replace("5000", "6000");
    let second = call.response_to(0, 200, ("far", "", &other));
    let second = Message::parse(&second).unwrap().into_response().unwrap();
    call.leg.handle_response(call.now, &second);
    let answered = std::iter::from_fn(|| call.leg.poll_output())
        .find(|output| matches!(output, Output::Event(_)));
    let sdp = Some(ANSWER.as_bytes().to_vec());
    assert_eq!(answered, Some(Output::Event(LegEvent::Answered { sdp })));
}

#[test]
fn addresses_that_are_none_are_refused_at_once() {
    each_way(|way| {
        let mut call =
            way.caller_with(&Outgoing { target: "no uri".into(), ..outgoing(settings()) });
        call.gives(&["Refused 400", "Terminated"]);
    });
}

mod cancelling {
    use super::*;

    #[test]
    fn a_cancel_waits_for_a_provisional_response_9_1() {
        each_way(|way| {
            let mut call = way.caller();
            call.gives(&["INVITE+sdp"]);
            call.hangs_up().hangs_up().is_silent();
            call.far_says("INVITE", 100, "", "").gives(&["CANCEL"]);
            call.far_says("CANCEL", 200, "", "").is_silent();
            call.far_says("INVITE", 487, "", "").gives(&["ACK", "Ended WeHungUp"]);
            call.ends(&["Terminated"]);
        });
    }

    #[test]
    fn the_cancel_looks_like_its_invite_9_1() {
        each_way(|way| {
            let wanted =
                Outgoing { routes: vec!["<sip:192.0.2.200;lr>".into()], ..outgoing(settings()) };
            let mut call = way.caller_with(&wanted);
            call.far_says("INVITE", 180, "", "").hangs_up();
            let (cancel, invite) = (call.last_request("CANCEL"), call.last_request("INVITE"));
            assert_eq!(cancel.uri(), invite.uri());
            assert_eq!(cancel.via_top(), invite.via_top());
            assert_eq!(cancel.header(HeaderName::To), invite.header(HeaderName::To));
            assert_eq!(cancel.header(HeaderName::From), invite.header(HeaderName::From));
            assert_eq!(cancel.cseq().number, invite.cseq().number);
            assert_eq!(cancel.header(HeaderName::Route), invite.header(HeaderName::Route));
            assert_eq!(cancel.header(HeaderName::Require), None);
        });
    }

    #[test]
    fn an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() {
        each_way(|way| {
            let mut call = way.caller();
            call.far_says("INVITE", 180, "", "").gives(&["INVITE+sdp", "Ringing 180"]);
            call.hangs_up().gives(&["CANCEL"]);
            call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "BYE"]);
            call.far_says("CANCEL", 481, "", "").is_silent();
            call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
            call.ends(&["Terminated"]);
        });
    }

    #[test]
    fn an_answer_without_any_provisional_response_is_hung_up_too() {
        each_way(|way| {
            let mut call = way.caller();
            call.hangs_up().gives(&["INVITE+sdp"]);
            call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "BYE"]);
        });
    }

    #[test]
    fn without_a_final_response_the_cancelled_call_is_forgotten_after_64_t1_9_1() {
        each_way(|way| {
            let mut call = way.caller();
            call.far_says("INVITE", 180, "", "").gives(&["INVITE+sdp", "Ringing 180"]);
            call.hangs_up().gives(&["CANCEL"]);
            call.far_says("CANCEL", 200, "", "").is_silent();
            call.after_ms(31_999).is_silent();
            call.after_ms(1).gives(&["Ended WeHungUp", "Terminated"]);
        });
    }

    #[test]
    fn ringing_is_not_told_any_more() {
        each_way(|way| {
            let mut call = way.caller();
            call.far_says("INVITE", 180, "", "").hangs_up();
            call.gives(&["INVITE+sdp", "Ringing 180", "CANCEL"]);
            call.far_says("INVITE", 183, "", ANSWER).is_silent();
        });
    }
}

mod reliable_3262 {
    use super::*;

    const RELIABLE: &str = "Require: 100rel\r\nRSeq: 41";

    #[test]
    fn a_reliable_response_is_acknowledged_with_a_prack_4() {
        each_way(|way| {
            let mut call = way.caller();
            call.far_says("INVITE", 183, RELIABLE, ANSWER);
            call.gives(&["INVITE+sdp", "PRACK", "Ringing 183 reliably+sdp"]);
            let prack = call.last_request("PRACK");
            assert_eq!(prack.header(HeaderName::RAck), Some(&b"41 1 INVITE"[..]));
            assert_eq!(prack.to_tag(), Some("far"));
            assert!(prack.cseq().number > 1);
            call.far_says("PRACK", 200, "", "").is_silent();
            // The answer is told with the 2xx, wherever it came.
            call.far_says("INVITE", 200, "", "").gives(&["ACK", "Answered+sdp"]);
        });
    }

    #[test]
    fn one_that_comes_again_is_dropped_4() {
        each_way(|way| {
            let mut call = way.caller();
            call.far_says("INVITE", 180, RELIABLE, "");
            call.gives(&["INVITE+sdp", "PRACK", "Ringing 180 reliably"]);
            call.far_repeats().is_silent();
            call.after_ms(500).gives(&["PRACK"]);
        });
    }

    #[test]
    fn one_out_of_order_is_not_acknowledged_4() {
        each_way(|way| {
            let mut call = way.caller();
            call.far_says("INVITE", 180, RELIABLE, "");
            call.gives(&["INVITE+sdp", "PRACK", "Ringing 180 reliably"]);
            call.far_says("PRACK", 200, "", "");
            call.far_says("INVITE", 183, "Require: 100rel\r\nRSeq: 43", ANSWER).is_silent();
            call.far_says("INVITE", 183, "Require: 100rel\r\nRSeq: 42", ANSWER);
            call.gives(&["PRACK", "Ringing 183 reliably+sdp"]);
        });
    }

    #[test]
    fn each_fork_has_its_own_sequence_4() {
        each_way(|way| {
            let mut call = way.caller();
            call.gives(&["INVITE+sdp"]);
            call.far_tag("one").far_says("INVITE", 180, RELIABLE, "");
            call.gives(&["PRACK", "Ringing 180 reliably"]);
            let one = call.last_request("PRACK").branch().unwrap().to_owned();
            call.far_tag("two").far_says("INVITE", 180, "Require: 100rel\r\nRSeq: 7", "");
            call.gives(&["PRACK", "Ringing 180 reliably"]);
            assert_ne!(call.last_request("PRACK").branch(), Some(&*one));
        });
    }

    #[test]
    fn without_an_offer_we_do_not_support_it_5() {
        each_way(|way| {
            let call = way.caller_with(&Outgoing { sdp: Vec::new(), ..outgoing(settings()) });
            assert!(!call.last_request("INVITE").lists(HeaderName::Supported, "100rel"));
        });
    }
}

mod authentication_22 {
    use super::*;

    const ASKS: &str = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\"";

    fn with_credentials() -> Outgoing {
        Outgoing { credentials: Some(credentials()), ..outgoing(settings()) }
    }

    #[test]
    fn a_challenged_invite_goes_again_with_credentials_and_a_higher_cseq_22_2() {
        each_way(|way| {
            let mut call = way.caller_with(&with_credentials());
            call.far_says("INVITE", 407, ASKS, "").gives(&["INVITE+sdp", "ACK", "INVITE+sdp"]);
            let invite = call.last_request("INVITE");
            let header = invite.header_str(HeaderName::ProxyAuthorization).unwrap().to_owned();
            assert!(header.contains("username=\"ana\"") && header.contains("nonce=\"n1\""));
            assert!(invite.cseq().number >= 2);
            assert_eq!(invite.call_id(), "call@test");
            assert_eq!(invite.from_tag(), Some("ours"));
            assert_eq!(invite.body(), OFFER.as_bytes());
            call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "Answered+sdp"]);
            // RFC 3261 §22.1: the ACK has the credentials of its INVITE.
            let ack = call.last_request("ACK");
            assert_eq!(ack.header_str(HeaderName::ProxyAuthorization), Some(&*header));
            call.hangs_up().gives(&["BYE"]);
            call.far_says("BYE", 401, &ASKS.replace("Proxy-Auth", "WWW-Auth"), "").gives(&["BYE"]);
            assert!(call.last_request("BYE").header(HeaderName::Authorization).is_some());
            call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
        });
    }

    #[test]
    fn refused_credentials_are_not_tried_again_22_2() {
        each_way(|way| {
            let mut call = way.caller_with(&with_credentials());
            call.far_says("INVITE", 407, ASKS, "").gives(&["INVITE+sdp", "ACK", "INVITE+sdp"]);
            call.far_says("INVITE", 407, &ASKS.replace("n1", "n2"), "");
            call.gives(&["ACK", "Refused 407"]);
        });
    }

    #[test]
    fn a_stale_nonce_is_tried_again_22_2() {
        each_way(|way| {
            let mut call = way.caller_with(&with_credentials());
            call.far_says("INVITE", 407, ASKS, "").gives(&["INVITE+sdp", "ACK", "INVITE+sdp"]);
            let stale = format!("{}, stale=true", ASKS.replace("n1", "n2"));
            call.far_says("INVITE", 407, &stale, "").gives(&["ACK", "INVITE+sdp"]);
        });
    }

    #[test]
    fn without_credentials_a_challenge_is_a_refusal() {
        each_way(|way| {
            let mut call = way.caller();
            call.far_says("INVITE", 407, ASKS, "").gives(&["INVITE+sdp", "ACK", "Refused 407"]);
        });
    }

    #[test]
    fn a_cancelled_call_is_not_tried_again() {
        each_way(|way| {
            let mut call = way.caller_with(&with_credentials());
            call.hangs_up();
            call.far_says("INVITE", 407, ASKS, "").gives(&["INVITE+sdp", "ACK", "Ended WeHungUp"]);
        });
    }
}
