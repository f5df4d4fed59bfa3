//! What else the far end may ask within a dialog: OPTIONS, INFO, UPDATE, REFER and the unknown
//! (RFC 3261 §8.2.1, §11.2; RFC 3311; RFC 3515; RFC 3891; RFC 6086).

use tandem_sip::{
    leg::{InfoDigit, LegEvent, Output, Replaces, replaces_of},
    wire::{HeaderName, Message, Transport},
};

use crate::script::{ANSWER, HELD, OFFER, Script, each_way, invite_text, request, settings};

const RELAY: &str = "Content-Type: application/dtmf-relay\r\n";

#[test]
fn options_in_a_dialog_gets_200_and_what_we_can_11_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("OPTIONS", "", "").gives(&["200 OPTIONS"]);
        let response = call.last_response();
        for name in [HeaderName::Allow, HeaderName::Accept, HeaderName::Supported] {
            assert!(response.header(name).is_some(), "{name}");
        }
        call.far_repeats().gives(&["200 OPTIONS"]);
    });
}

#[test]
fn a_key_in_an_info_is_told() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INFO", RELAY, "Signal=5\r\nDuration=160\r\n")
            .gives(&["200 INFO", "Digit 5"]);
        call.far_repeats().gives(&["200 INFO"]);
        call.far_asks("INFO", RELAY, "Signal= #\n").gives(&["200 INFO", "Digit #"]);
        call.far_asks("INFO", RELAY, "Signal=10\r\n").gives(&["200 INFO", "Digit *"]);
        call.far_asks("INFO", "Content-Type: application/dtmf\r\n", "7");
        call.gives(&["200 INFO", "Digit 7"]);
        call.far_asks("INFO", RELAY, "Signal=12345\r\n").gives(&["200 INFO"]);
        call.far_asks("INFO", "", "").gives(&["200 INFO"]);
    });
}

#[test]
fn a_key_says_how_long_it_was_pressed() {
    each_way(|way| {
        let mut call = way.answered();
        let mut digits = Vec::new();
        for body in ["Signal=1\r\nDuration=400\r\n", "Signal=2\r\n"] {
            let text = call.request_text("INFO", RELAY, body);
            let info = Message::parse(&text).unwrap().into_request().unwrap();
            call.leg.handle_request(call.now, &info, crate::script::udp());
            while let Some(output) = call.leg.poll_output() {
                if let Output::Event(LegEvent::Digit(InfoDigit { digit, duration_ms })) = output {
                    digits.push((digit, duration_ms));
                }
            }
        }
        assert_eq!(digits, [('1', 400), ('2', 250)]);
    });
}

#[test]
fn an_info_of_another_type_gets_415_8_2_3() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("INFO", "Content-Type: application/media_control+xml\r\n", "<x/>");
        call.gives(&["415 INFO"]);
        assert!(call.last_response().header(HeaderName::Accept).is_some());
    });
}

#[test]
fn an_info_of_a_package_that_we_did_not_ask_for_must_get_469_6086_4_2_2() {
    each_way(|way| {
        let mut call = way.answered();
        for kind in [RELAY, "Content-Type: application/keys\r\n"] {
            let headers = format!("Info-Package: keys\r\n{kind}");
            call.far_asks("INFO", &headers, "Signal=5\r\n").gives(&["469 INFO"]);
        }
        assert_eq!(call.last_response().header(HeaderName::RecvInfo), Some(&b""[..]));
    });
}

#[test]
fn an_unknown_method_gets_501_a_known_one_405_and_allow_8_2_1() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("TELEPORT", "", "").gives(&["501 TELEPORT"]);
        call.far_asks("SUBSCRIBE", "", "").gives(&["405 SUBSCRIBE"]);
        let allow = call.last_response().header_str(HeaderName::Allow).unwrap();
        assert!(allow.contains("INVITE") && !allow.contains("SUBSCRIBE"));
        call.far_asks("NOTIFY", "", "").gives(&["405 NOTIFY"]);
    });
}

#[test]
fn allow_must_name_what_is_served_and_nothing_else_8_2_1_20_5() {
    each_way(|way| {
        let mut call = way.answered();
        let allow = call.invite_answer().header_str(HeaderName::Allow).unwrap().to_owned();
        for method in allow.split(", ").filter(|method| !matches!(*method, "ACK" | "CANCEL")) {
            call.far_asks(method, "", "");
            let refused = |(_, message): &(_, Message)| match message {
                Message::Response(response) => matches!(response.status(), 405 | 501),
                Message::Request(_) => false,
            };
            assert!(!call.sent.iter().any(refused), "{method} is in Allow and refused");
            if method == "BYE" {
                call = way.answered();
            }
        }
        for method in ["NOTIFY", "SUBSCRIBE", "MESSAGE", "PUBLISH", "REGISTER"] {
            assert!(!allow.contains(method), "{allow}");
            call.far_asks(method, "", "");
            assert_eq!(call.last_response().status(), 405, "{method}");
        }
    });
}

#[test]
fn replaces_must_not_be_claimed_while_nothing_is_replaced_3891_3() {
    let headers = "Require: replaces\r\nReplaces: x;to-tag=a;from-tag=b\r\n";
    let refused = crate::script::stateless(headers, Some(OFFER), settings());
    assert_eq!(refused.status, 420);
    assert!(String::from_utf8_lossy(&refused.bytes).contains("Unsupported: replaces\r\n"));
    each_way(|way| {
        for call in [way.caller(), way.answered()] {
            let supported = |(_, message): &(_, Message)| {
                message.head().lists(HeaderName::Supported, "replaces")
            };
            assert!(!call.sent.iter().any(supported));
        }
    });
}

#[test]
fn an_unknown_extension_in_a_dialog_gets_420_8_2_2_3() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_asks("OPTIONS", "Require: teleport\r\n", "").gives(&["420 OPTIONS"]);
        assert_eq!(call.last_response().header(HeaderName::Unsupported), Some(&b"teleport"[..]));
        // Whatever a BYE requires, the far end is gone.
        call.far_asks("BYE", "Require: teleport\r\n", "").gives(&["ByeReceived"]);
    });
}

#[test]
fn update_without_sdp_gets_200_and_refreshes_the_target_3311_5_2() {
    each_way(|way| {
        let mut call = way.answered();
        call.far_contact("<sip:new@192.0.2.55:5099>").far_asks("UPDATE", "", "");
        call.gives(&["200 UPDATE"]);
        call.far_asks("UPDATE", "", HELD).gives(&["488 UPDATE"]);
        call.hangs_up();
        assert_eq!(call.last_request("BYE").uri().as_str(), "sip:new@192.0.2.55:5099");
    });
}

#[test]
fn requests_in_the_early_dialog_are_answered_too() {
    each_way(|way| {
        let mut call = way.callee();
        call.rings().gives(&["180 INVITE"]);
        call.far_asks("OPTIONS", "", "").gives(&["200 OPTIONS"]);
        call.far_asks("UPDATE", "", "").gives(&["200 UPDATE"]);
        call.far_asks("REFER", "Refer-To: <sip:x@192.0.2.9>\r\n", "").gives(&["603 REFER"]);

        let mut call = way.caller();
        call.gives(&["INVITE+sdp"]);
        call.far_asks("OPTIONS", "", "").gives(&["481 OPTIONS"]);
        call.far_says("INVITE", 180, "", "").gives(&["Ringing 180"]);
        call.far_asks("OPTIONS", "", "").gives(&["200 OPTIONS"]);
        call.far_asks("INVITE", "", HELD).gives(&["491 INVITE"]);
    });
}

#[test]
fn more_requests_at_once_than_any_dialog_has_are_not_answered() {
    each_way(|way| {
        let mut call = way.answered();
        for _ in 0..16 {
            call.far_asks("OPTIONS", "", "").gives(&["200 OPTIONS"]);
        }
        call.far_asks("OPTIONS", "", "").is_silent();
        call.after_ms(32_000);
        call.far_asks("OPTIONS", "", "").gives(&["200 OPTIONS"]);
    });
}

mod transfer_3515 {
    use super::*;

    const REFER_TO: &str = "Refer-To: <sip:carol@192.0.2.9:5060>\r\n";

    fn news(call: &Script) -> (String, String) {
        let notify = call.last_request("NOTIFY");
        assert_eq!(notify.header(HeaderName::Event), Some(&b"refer"[..]));
        assert!(notify.has_content_type("message/sipfrag"));
        let state = notify.header_str(HeaderName::SubscriptionState).unwrap();
        (state.into(), String::from_utf8_lossy(notify.body()).trim().into())
    }

    #[test]
    fn a_transfer_is_accepted_and_its_outcome_told_2_4_4() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("REFER", REFER_TO, "").gives(&["Refer sip:carol@192.0.2.9:5060"]);
            call.far_repeats().is_silent();
            call.does(|leg, now| leg.accept_refer(now).unwrap()).gives(&["202 REFER", "NOTIFY"]);
            assert_eq!(news(&call), ("active;expires=60".into(), "SIP/2.0 100 Trying".into()));
            call.far_says("NOTIFY", 200, "", "").is_silent();
            call.does(|leg, now| leg.notify_refer(now, 180).unwrap()).gives(&["NOTIFY"]);
            call.far_says("NOTIFY", 200, "", "").is_silent();
            call.does(|leg, now| leg.notify_refer(now, 200).unwrap()).gives(&["NOTIFY"]);
            let done = ("terminated;reason=noresource".into(), "SIP/2.0 200 OK".into());
            assert_eq!(news(&call), done);
            assert!(call.leg.notify_refer(call.now, 200).is_err());
        });
    }

    #[test]
    fn who_does_not_want_to_know_what_becomes_of_it_is_not_told_4488() {
        each_way(|way| {
            let mut call = way.answered();
            let headers = format!("{REFER_TO}Refer-Sub: false\r\n");
            call.far_asks("REFER", &headers, "").gives(&["Refer sip:carol@192.0.2.9:5060"]);
            call.does(|leg, now| leg.accept_refer(now).unwrap()).gives(&["202 REFER"]);
            assert!(call.leg.notify_refer(call.now, 200).is_err());
        });
    }

    #[test]
    fn a_transfer_is_refused() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("REFER", REFER_TO, "").gives(&["Refer sip:carol@192.0.2.9:5060"]);
            call.does(|leg, now| leg.refuse_refer(now, 603).unwrap()).gives(&["603 REFER"]);
            assert!(call.leg.accept_refer(call.now).is_err());
        });
    }

    #[test]
    fn there_is_exactly_one_refer_to_2_4_2() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("REFER", "", "").gives(&["400 REFER"]);
            call.far_asks("REFER", &REFER_TO.repeat(2), "").gives(&["400 REFER"]);
            let torn = "Refer-To: <sip:carol@192.0.2.9?Replaces=12%40x%3Bto-tag%3Da>\r\n";
            call.far_asks("REFER", torn, "").gives(&["400 REFER"]);
        });
    }

    #[test]
    fn a_transfer_that_waits_is_refused_when_the_call_ends() {
        each_way(|way| {
            let mut call = way.answered();
            call.far_asks("REFER", REFER_TO, "").gives(&["Refer sip:carol@192.0.2.9:5060"]);
            call.far_asks("BYE", "", "").gives(&["487 REFER", "ByeReceived"]);
        });
    }

    #[test]
    fn an_attended_transfer_names_the_dialog_that_it_replaces_3891() {
        each_way(|way| {
            let mut call = way.answered();
            let headers = "Refer-To: <sip:carol@192.0.2.9?Replaces=12%40x%3Bto-tag%3Da%3B\
                           from-tag%3Db%3Bearly-only>\r\nReferred-By: <sip:bob@example.com>\r\n";
            let text = call.request_text("REFER", headers, "");
            let refer = Message::parse(&text).unwrap().into_request().unwrap();
            call.leg.handle_request(call.now, &refer, crate::script::udp());
            let Some(Output::Event(LegEvent::Refer(refer))) = call.leg.poll_output() else {
                panic!("no transfer");
            };
            assert_eq!(refer.target, "sip:carol@192.0.2.9");
            assert_eq!(refer.referred_by.as_deref(), Some("<sip:bob@example.com>"));
            assert_eq!(
                refer.replaces,
                Some(Replaces {
                    call_id: "12@x".into(),
                    to_tag: "a".into(),
                    from_tag: "b".into(),
                    early_only: true
                })
            );
        });
    }

    #[test]
    fn an_invite_says_which_dialog_it_replaces_3891() {
        let headers = "Replaces: abc;from-tag=f ; to-tag = t\r\n";
        let invite = request(&invite_text(Transport::Udp, headers, Some(OFFER)));
        let replaces = replaces_of(&invite).unwrap();
        assert_eq!((&*replaces.call_id, &*replaces.to_tag, &*replaces.from_tag), ("abc", "t", "f"));
        assert!(!replaces.early_only);
        let _ = (ANSWER, settings());
    }
}
