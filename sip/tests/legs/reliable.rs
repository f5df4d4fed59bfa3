//! Reliable provisional responses of ours (RFC 3262 §3, §5).

use tandem_sip::wire::HeaderName;

use crate::script::{
    ANSWER, OFFER, Script, Way, each_way, eager_settings, on_one_machine, settings,
};

const REQUIRED: &str = "Require: 100rel\r\n";
const RACK: &str = "RAck: 1 1 INVITE\r\n";

#[test]
fn a_provisional_response_is_reliable_when_the_caller_requires_it_3() {
    on_one_machine(|way| {
        let mut call = way.callee_with(REQUIRED, Some(OFFER), settings());
        call.rings().gives(&["180 INVITE"]);
        let response = call.last_response();
        assert!(response.lists(HeaderName::Require, "100rel"));
        assert_eq!(response.header(HeaderName::RSeq), Some(&b"1"[..]));
        call.after_ms(500).gives(&["180 INVITE"]);
        call.after_ms(1_000).gives(&["180 INVITE"]);
        call.far_asks("PRACK", RACK, "").gives(&["200 PRACK"]);
        call.after_ms(50_000).is_silent();
        call.answers().gives(&["200 INVITE+sdp"]);
    });
}

#[test]
fn it_is_not_reliable_when_the_caller_does_not_support_it_3() {
    each_way(|way| {
        let mut call = way.callee_with("", Some(OFFER), eager_settings());
        call.rings().gives(&["180 INVITE"]);
        assert_eq!(call.last_response().header(HeaderName::RSeq), None);
        call.after_ms(30_000).is_silent();
    });
}

#[test]
fn it_is_reliable_when_supported_and_the_settings_say_so_3() {
    on_one_machine(|way| {
        let mut call = way.callee_with("Supported: 100rel\r\n", Some(OFFER), eager_settings());
        call.rings().gives(&["180 INVITE"]);
        assert_eq!(call.last_response().header(HeaderName::RSeq), Some(&b"1"[..]));
    });
}

#[test]
fn a_100_is_never_reliable_3() {
    each_way(|way| {
        let mut call = way.callee_with(REQUIRED, Some(OFFER), settings());
        call.does(|leg, now| leg.trying(now).unwrap()).gives(&["100 INVITE"]);
        assert_eq!(call.last_response().header(HeaderName::RSeq), None);
    });
}

#[test]
fn a_second_one_waits_for_the_prack_of_the_first_3() {
    on_one_machine(|way| {
        let mut call = way.callee_with(REQUIRED, Some(OFFER), settings());
        call.rings().gives(&["180 INVITE"]);
        call.does(|leg, now| leg.ring(now, Some(ANSWER.into())).unwrap()).is_silent();
        call.far_asks("PRACK", RACK, "").gives(&["200 PRACK", "183 INVITE+sdp"]);
        assert_eq!(call.last_response().header(HeaderName::RSeq), Some(&b"2"[..]));
    });
}

#[test]
fn a_leg_knows_whether_its_caller_has_heard_a_description_13_2_1() {
    for headers in ["", REQUIRED] {
        on_one_machine(|way| {
            let mut call = way.callee_with(headers, Some(OFFER), settings());
            call.does(|leg, now| {
                leg.ring(now, None).unwrap();
                assert!(!leg.has_said_sdp());
            });
            call.gives(&["180 INVITE"]);
            if headers == REQUIRED {
                call.far_asks("PRACK", RACK, "").gives(&["200 PRACK"]);
            }
            call.does(|leg, now| {
                leg.ring(now, Some(ANSWER.into())).unwrap();
                assert!(leg.has_said_sdp());
            });
            call.gives(&["183 INVITE+sdp"]);
        });
    }
}

#[test]
fn the_2xx_waits_for_the_prack_of_our_sdp_and_does_not_repeat_it_3() {
    on_one_machine(|way| {
        let mut call = way.callee_with(REQUIRED, Some(OFFER), settings());
        call.does(|leg, now| leg.ring(now, Some(ANSWER.into())).unwrap());
        call.gives(&["183 INVITE+sdp"]);
        call.answers().is_silent();
        call.far_asks("PRACK", RACK, "").gives(&["200 PRACK", "200 INVITE"]);
        call.far_acks("").gives(&["Acked"]);
    });
}

#[test]
fn the_2xx_does_not_wait_for_a_prack_without_sdp_3() {
    let mut call = Way::Straight.callee_with(REQUIRED, Some(OFFER), settings());
    call.rings().gives(&["180 INVITE"]);
    call.answers().gives(&["200 INVITE+sdp"]);
    // It must be answered, though the final response has overtaken it; but once only.
    call.far_asks("PRACK", RACK, "").gives(&["200 PRACK"]);
    call.far_asks("PRACK", RACK, "").gives(&["481 PRACK"]);
    call.far_acks("").gives(&["Acked"]);
}

#[test]
fn a_prack_that_a_refusal_overtook_must_be_answered_3() {
    let refusals: [fn(&mut Script); 3] = [
        |call| {
            call.does(|leg, now| leg.refuse(now, 486, "", &[]).unwrap());
            call.gives(&["486 INVITE", "Ended WeRefused"]);
        },
        |call| {
            call.far_cancels().gives(&["200 CANCEL", "487 INVITE", "Cancelled"]);
        },
        |call| {
            call.hangs_up().gives(&["487 INVITE", "Ended WeHungUp"]);
        },
    ];
    for refuses in refusals {
        // Only here: who takes the leg over does not know what was outstanding.
        let mut call = Way::Straight.callee_with(REQUIRED, Some(OFFER), settings());
        call.rings().gives(&["180 INVITE"]);
        refuses(&mut call);
        call.far_asks("PRACK", "RAck: 2 1 INVITE\r\n", "").gives(&["481 PRACK"]);
        call.far_asks("PRACK", RACK, "").gives(&["200 PRACK"]);
        call.far_asks("PRACK", RACK, "").gives(&["481 PRACK"]);
    }
}

#[test]
fn a_reliable_response_must_be_said_again_before_a_proxy_gives_up_13_3_1_1() {
    let mut call = Way::Straight.callee_with(REQUIRED, Some(OFFER), settings());
    call.does(|leg, now| leg.ring(now, Some(ANSWER.into())).unwrap());
    call.gives(&["183 INVITE+sdp"]);
    call.far_asks("PRACK", RACK, "").gives(&["200 PRACK"]);
    call.after_ms(149_999).is_silent();
    call.after_ms(1).gives(&["183 INVITE"]);
    assert_eq!(call.last_response().header(HeaderName::RSeq), Some(&b"2"[..]));
    call.far_asks("PRACK", "RAck: 2 1 INVITE\r\n", "").gives(&["200 PRACK"]);
    call.after_ms(150_000).gives(&["183 INVITE"]);
    call.answers().gives(&["200 INVITE"]);
}

#[test]
fn a_prack_of_nothing_gets_481_3() {
    on_one_machine(|way| {
        let mut call = way.callee_with(REQUIRED, Some(OFFER), settings());
        call.far_asks("PRACK", RACK, "").gives(&["481 PRACK"]);
        call.rings().gives(&["180 INVITE"]);
        call.far_asks("PRACK", "RAck: 2 1 INVITE\r\n", "").gives(&["481 PRACK"]);
        call.far_asks("PRACK", "RAck: 1 9 INVITE\r\n", "").gives(&["481 PRACK"]);
        call.far_asks("PRACK", "RAck: 1 1 UPDATE\r\n", "").gives(&["481 PRACK"]);
        call.far_asks("PRACK", RACK, "").gives(&["200 PRACK"]);
    });
}

#[test]
fn without_a_prack_the_call_is_refused_with_5xx_3() {
    on_one_machine(|way| {
        let mut call = way.callee_with(REQUIRED, Some(OFFER), settings());
        call.rings().after_ms(31_999).gives(&["180 INVITE"; 7]);
        call.after_ms(1).gives(&["504 INVITE", "Ended NoPrack"]);
    });
}

#[test]
fn a_late_offer_may_be_answered_in_the_prack_5() {
    on_one_machine(|way| {
        let mut call = way.callee_with(REQUIRED, None, settings());
        // The first reliable response must carry the offer: without one it is not sent.
        call.rings().is_silent();
        call.does(|leg, now| leg.ring(now, Some(OFFER.into())).unwrap());
        call.gives(&["183 INVITE+sdp"]);
        call.far_asks("PRACK", RACK, ANSWER).gives(&["200 PRACK", "Acked+sdp"]);
        call.answers().gives(&["200 INVITE"]);
        call.far_acks("").gives(&["Acked"]);
    });
}

#[test]
fn the_reliable_response_goes_again_with_the_invite() {
    on_one_machine(|way| {
        let mut call = way.callee_with(REQUIRED, Some(OFFER), settings());
        call.rings().gives(&["180 INVITE"]);
        call.far_repeats().gives(&["180 INVITE"]);
    });
}
