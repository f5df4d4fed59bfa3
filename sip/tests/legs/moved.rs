//! Legs that another machine takes over at an address of its own: what the far end sends goes to
//! the old one until a re-INVITE has told it the new one, so that this waits for nothing.

use tandem_sip::leg::{LegExport, LegStatus};

use crate::script::{ANSWER, HELD, Script, Way};

const NEW_HOST: &str = "198.51.100.10";

fn export(call: &Script) -> LegExport {
    call.leg.export(call.now)
}

impl Script {
    /// The leg goes on at another address.
    pub(crate) fn moves(&mut self) -> &mut Self {
        let host = "198.51.100.10:5060";
        let local = host.parse().unwrap();
        self.does(|leg, now| leg.move_to(now, format!("sip:leg@{host}"), host.into(), local))
    }
}

fn offers(call: &mut Script) -> &mut Script {
    call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap())
}

#[test]
fn a_2xx_goes_again_with_the_new_contact_and_the_re_invite_does_not_wait_for_its_ack() {
    let mut call = Way::Straight.callee();
    call.answers().gives(&["200 INVITE+sdp"]);
    let answered = export(&call);
    call.is_adopted(answered).moves().gives(&["200 INVITE+sdp"]);
    let contact = call.invite_answer().contact().unwrap();
    assert_eq!(contact.uri().as_str(), "sip:leg@198.51.100.10:5060");
    offers(&mut call).gives(&["INVITE+sdp"]);
    call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "ReofferAnswered+sdp"]);
    // The ACK of the first one went to the old address.
    call.after_ms(100_000).is_silent();
    assert_eq!(call.leg.status(), LegStatus::Talking);
}

#[test]
fn a_call_that_was_answered_long_ago_is_answered_again_and_goes_on_without_an_ack() {
    let mut call = Way::Straight.callee();
    let arrived = export(&call);
    call.answers().gives(&["200 INVITE+sdp"]);
    call.far_acks("").gives(&["Acked"]);
    call.is_adopted(arrived);
    call.does(|leg, now| leg.answer_again(now, ANSWER.into()).unwrap());
    // The far end has forgotten the INVITE and does not acknowledge again.
    call.after_ms(100_000).gives(&["200 INVITE+sdp"; 11]);
    assert_eq!(call.leg.status(), LegStatus::Talking);
    call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
}

#[test]
fn an_answer_that_is_given_again_holds_up_no_re_invite_from_another_address() {
    let mut call = Way::Straight.callee();
    let arrived = export(&call);
    call.answers().far_acks("").gives(&["200 INVITE+sdp", "Acked"]);
    call.is_adopted(arrived).moves().is_silent();
    call.does(|leg, now| leg.answer_again(now, ANSWER.into()).unwrap());
    call.gives(&["200 INVITE+sdp"]);
    offers(&mut call).gives(&["INVITE+sdp"]);

    let mut call = Way::Straight.answered();
    call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
    let asked = export(&call);
    call.is_adopted(asked).moves().is_silent();
    call.does(|leg, now| leg.answer_reoffer_again(now, ANSWER.into()).unwrap());
    call.gives(&["200 INVITE+sdp"]);
    offers(&mut call).gives(&["INVITE+sdp"]);
}

#[test]
fn a_far_end_that_refuses_the_re_invite_is_let_go_at_once() {
    let mut call = Way::Straight.callee();
    let arrived = export(&call);
    call.answers().far_acks("").gives(&["200 INVITE+sdp", "Acked"]);
    call.is_adopted(arrived).moves().is_silent();
    call.does(|leg, now| leg.answer_again(now, ANSWER.into()).unwrap());
    offers(&mut call).gives(&["200 INVITE+sdp", "INVITE+sdp"]);
    call.far_says("INVITE", 488, "", "").gives(&["ACK", "ReofferRefused 488"]);
    call.hangs_up().gives(&["BYE"]);
    // Nor does a BYE wait when nothing has been said to the re-INVITE yet.
    let mut call = Way::Straight.callee();
    call.answers().gives(&["200 INVITE+sdp"]);
    let answered = export(&call);
    call.is_adopted(answered).moves().gives(&["200 INVITE+sdp"]);
    offers(&mut call).hangs_up().gives(&["INVITE+sdp", "BYE"]);
}

#[test]
fn a_call_that_was_held_long_ago_goes_on_without_an_ack() {
    let mut call = Way::Straight.answered();
    call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
    let asked = export(&call);
    call.is_adopted(asked);
    call.does(|leg, now| leg.answer_reoffer_again(now, ANSWER.into()).unwrap());
    call.after_ms(100_000).gives(&["200 INVITE+sdp"; 11]);
    assert_eq!(call.leg.status(), LegStatus::Talking);
}

#[test]
fn a_re_invite_of_the_machine_that_is_gone_is_not_waited_for() {
    let mut call = Way::Straight.answered();
    offers(&mut call).gives(&["INVITE+sdp"]);
    let asking = export(&call);
    call.is_adopted(asking).moves().is_silent();
    offers(&mut call).gives(&["INVITE+sdp"]);
    assert_eq!(call.last_request("INVITE").via_top().host(), NEW_HOST);
    call.after_ms(400).is_silent();
    call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "ReofferAnswered+sdp"]);
}

/// RFC 3261 §9.2: a CANCEL is matched by the INVITE's Via; §18.2.2: it is answered to its source.
#[test]
fn an_invite_without_a_final_response_is_cancelled_and_not_repeated() {
    for rings in [false, true] {
        let mut call = Way::Straight.caller();
        if rings {
            call.far_says("INVITE", 180, "", "").gives(&["INVITE+sdp", "Ringing 180"]);
        } else {
            call.gives(&["INVITE+sdp"]);
        }
        let calling = export(&call);
        let via = call.last_request("INVITE").via_top().to_string();
        call.is_adopted(calling).moves().gives(&["CANCEL"]);
        let cancel = call.last_request("CANCEL");
        assert_eq!(cancel.via_top().to_string(), via, "it would cancel nothing");
        assert_eq!(call.sent.last().unwrap().0.local.ip().to_string(), NEW_HOST);
        assert_eq!(call.leg.status(), LegStatus::Cancelling);
        call.far_says("CANCEL", 200, "", "").is_silent();
        call.after_ms(100_000).gives(&["Ended WeHungUp", "Terminated"]);
    }
}

#[test]
fn the_answer_to_a_bye_of_the_machine_that_is_gone_is_heard() {
    let mut call = Way::Straight.answered();
    call.hangs_up().gives(&["BYE"]);
    let leaving = export(&call);
    call.is_adopted(leaving).moves().after_ms(500).gives(&["BYE"]);
    call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
    call.ends(&["Terminated"]);
}

#[test]
fn a_far_end_that_does_not_know_the_dialog_or_says_nothing_has_lost_the_call() {
    for status in [481, 408] {
        let mut call = Way::Straight.answered();
        let answered = export(&call);
        call.is_adopted(answered).moves().is_silent();
        offers(&mut call).gives(&["INVITE+sdp"]);
        call.far_says("INVITE", status, "", "").gives(&["ACK", "Ended Lost", "BYE"]);
    }
    let mut call = Way::Straight.answered();
    let answered = export(&call);
    call.is_adopted(answered).moves().is_silent();
    offers(&mut call).gives(&["INVITE+sdp"]);
    call.after_ms(31_900).gives(&["INVITE+sdp"; 6]);
    call.after_ms(100).gives(&["Ended Lost", "BYE"]);
}

#[test]
fn a_re_invite_that_meets_theirs_is_tried_again_and_then_told() {
    let mut call = Way::Straight.answered();
    let answered = export(&call);
    call.is_adopted(answered).moves().is_silent();
    offers(&mut call).gives(&["INVITE+sdp"]);
    for _ in 0..4 {
        call.far_says("INVITE", 491, "", "").gives(&["ACK"]);
        // RFC 3261 §14.1: 2.1 to 4 s for who owns the Call-ID, up to 2 s for the other.
        call.until_it_acts(4_000).gives(&["INVITE+sdp"]);
    }
    call.far_says("INVITE", 491, "", "").gives(&["ACK", "ReofferRefused 491"]);
}
