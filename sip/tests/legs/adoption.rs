//! Legs that another machine takes over as they were when they were exported, though the far end
//! has gone on since: what may have come to the machine that is gone is not insisted on.

use tandem_sip::{
    leg::{Leg, LegExport, LegStatus, RestoreError},
    wire::HeaderName,
};

use crate::script::{ANSWER, HELD, OFFER, Script, Way, settings};

const REQUIRED: &str = "Require: 100rel\r\n";
const RACK: &str = "RAck: 1 1 INVITE\r\n";

fn export(call: &Script) -> LegExport {
    call.leg.export(call.now)
}

fn called() -> Script {
    Way::Straight.callee()
}

#[test]
fn an_unanswered_call_is_answered_by_the_other_machine() {
    let mut call = called();
    let arrived = export(&call);
    call.rings().gives(&["180 INVITE"]);
    call.is_adopted(arrived).is_silent();
    call.rings().answers().gives(&["180 INVITE", "200 INVITE+sdp"]);
    call.far_acks("").gives(&["Acked"]);
}

#[test]
fn an_invite_that_comes_again_gets_the_last_response_of_the_machine_that_is_gone() {
    let mut call = called();
    call.rings().gives(&["180 INVITE"]);
    let ringing = export(&call);
    call.is_adopted(ringing).far_repeats().gives(&["180 INVITE"]);
}

#[test]
fn a_2xx_is_repeated_until_its_ack() {
    let mut call = called();
    call.answers().gives(&["200 INVITE+sdp"]);
    let answered = export(&call);
    call.is_adopted(answered).after_ms(500).gives(&["200 INVITE+sdp"]);
    call.far_acks("").gives(&["Acked"]);
    call.after_ms(60_000).is_silent();
}

#[test]
fn a_call_whose_ack_came_to_the_machine_that_is_gone_goes_on() {
    let mut call = called();
    call.answers().gives(&["200 INVITE+sdp"]);
    let answered = export(&call);
    call.far_acks("").gives(&["Acked"]);
    call.is_adopted(answered);
    // The far end has forgotten the INVITE and does not acknowledge again.
    call.after_ms(100_000).gives(&["200 INVITE+sdp"; 10]);
    assert_eq!(call.leg.status(), LegStatus::Talking);
    call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
}

#[test]
fn a_re_invite_waits_two_seconds_for_an_ack_that_may_have_come() {
    let mut call = called();
    call.answers().gives(&["200 INVITE+sdp"]);
    let answered = export(&call);
    call.is_adopted(answered);
    call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).is_silent();
    call.after_ms(1_999).gives(&["200 INVITE+sdp"; 2]);
    call.after_ms(1).gives(&["INVITE+sdp"]);
    call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "ReofferAnswered+sdp"]);
    call.after_ms(60_000).is_silent();
}

#[test]
fn a_re_invite_follows_an_ack_at_once() {
    let mut call = called();
    call.answers().gives(&["200 INVITE+sdp"]);
    let answered = export(&call);
    call.is_adopted(answered);
    call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).is_silent();
    call.far_acks("").gives(&["Acked", "INVITE+sdp"]);
}

#[test]
fn the_answer_to_a_re_invite_of_the_machine_that_is_gone_is_acknowledged() {
    let mut call = Way::Straight.connected();
    let answered = export(&call);
    call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
    call.is_adopted(answered);
    for _ in 0..2 {
        call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK"]);
        assert_eq!(call.last_request("ACK").cseq().number, 2);
    }
    call.hangs_up().gives(&["BYE"]);
}

#[test]
fn our_cseq_is_far_above_what_was_committed() {
    let mut call = Way::Straight.connected();
    let answered = export(&call);
    for _ in 0..3 {
        call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap()).gives(&["INVITE+sdp"]);
        call.far_says("INVITE", 488, "", "").gives(&["ACK", "ReofferRefused 488"]);
    }
    let last = call.last_request("INVITE").clone();
    call.is_adopted(answered).hangs_up().gives(&["BYE"]);
    let bye = call.last_request("BYE");
    assert!(bye.cseq().number > last.cseq().number + 900);
    assert_ne!(bye.branch(), last.branch());
    assert_eq!(
        (bye.call_id(), bye.from_tag(), bye.to_tag()),
        (last.call_id(), last.from_tag(), last.to_tag())
    );
}

#[test]
fn a_ringing_call_of_ours_goes_on_by_the_same_branch() {
    let mut call = Way::Straight.caller();
    call.gives(&["INVITE+sdp"]);
    let calling = export(&call);
    let branch = call.last_request("INVITE").branch().unwrap().to_owned();
    call.far_says("INVITE", 180, "", "").gives(&["Ringing 180"]);
    call.is_adopted(calling).after_ms(500).gives(&["INVITE+sdp"]);
    assert_eq!(call.last_request("INVITE").branch(), Some(&*branch));
    call.far_says("INVITE", 180, "", "").gives(&["Ringing 180"]);
    call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "Answered+sdp"]);
    assert_eq!(call.last_request("ACK").cseq().number, 1);
    call.hangs_up();
    assert!(call.last_request("BYE").cseq().number > 1_000);
}

#[test]
fn a_ringing_call_of_ours_is_cancelled_by_the_other_machine() {
    let mut call = Way::Straight.caller();
    call.far_says("INVITE", 180, "", "").gives(&["INVITE+sdp", "Ringing 180"]);
    let ringing = export(&call);
    call.is_adopted(ringing).hangs_up().gives(&["CANCEL"]);
    let (cancel, invite) = (call.last_request("CANCEL"), call.last_request("INVITE"));
    assert_eq!(cancel.via_top(), invite.via_top());
    call.far_says("INVITE", 487, "", "").gives(&["ACK", "Ended WeHungUp"]);
}

#[test]
fn a_cancel_goes_on() {
    let mut call = Way::Straight.caller();
    call.far_says("INVITE", 180, "", "").hangs_up();
    call.gives(&["INVITE+sdp", "Ringing 180", "CANCEL"]);
    let cancelling = export(&call);
    call.is_adopted(cancelling).after_ms(500).gives(&["CANCEL"]);
    call.far_says("CANCEL", 200, "", "").is_silent();
    call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "BYE"]);
    call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
}

#[test]
fn a_bye_of_ours_goes_on_as_it_was() {
    let mut call = Way::Straight.connected();
    call.hangs_up().gives(&["BYE"]);
    let (leaving, bye) = (export(&call), call.last_request("BYE").clone());
    call.is_adopted(leaving).after_ms(500).gives(&["BYE"]);
    assert_eq!(*call.last_request("BYE"), bye);
    call.far_says("BYE", 200, "", "").gives(&["Ended WeHungUp"]);
    call.ends(&["Terminated"]);
}

#[test]
fn a_bye_of_theirs_is_accepted_by_the_other_machine() {
    let mut call = Way::Straight.answered();
    call.far_asks("BYE", "", "").gives(&["ByeReceived"]);
    let received = export(&call);
    call.is_adopted(received).far_repeats().is_silent();
    call.accepts_bye().gives(&["200 BYE", "Ended TheyHungUp"]);
}

#[test]
fn a_re_invite_of_theirs_is_answered_by_the_other_machine() {
    let mut call = Way::Straight.answered();
    assert!(!call.leg.awaits_reanswer());
    call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
    let asked = export(&call);
    call.is_adopted(asked);
    assert!(call.leg.awaits_reanswer());
    call.does(|leg, now| leg.answer_reoffer(now, ANSWER.into()).unwrap());
    call.gives(&["200 INVITE+sdp"]);
    assert!(!call.leg.awaits_reanswer());
}

#[test]
fn reliable_responses_are_not_continued_since_their_number_is_not_known_3262() {
    let mut call = Way::Straight.callee_with(REQUIRED, Some(OFFER), settings());
    let arrived = export(&call);
    call.rings().gives(&["180 INVITE"]);
    call.far_asks("PRACK", RACK, "").gives(&["200 PRACK"]);
    call.is_adopted(arrived).rings().is_silent();
    call.answers().gives(&["200 INVITE+sdp"]);
    assert_eq!(call.last_response().header(HeaderName::RSeq), None);
}

#[test]
fn an_answer_that_waited_for_a_prack_goes_at_once_with_its_sdp_3262() {
    let mut call = Way::Straight.callee_with(REQUIRED, Some(OFFER), settings());
    call.does(|leg, now| leg.ring(now, Some(ANSWER.into())).unwrap());
    call.answers().gives(&["183 INVITE+sdp"]);
    let waiting = export(&call);
    call.is_adopted(waiting).gives(&["200 INVITE+sdp"]);
    call.far_acks("").gives(&["Acked"]);
}

#[test]
fn a_newer_export_is_refused_and_says_so() {
    let call = called();
    let mut bytes = postcard::to_allocvec(&export(&call)).unwrap();
    bytes[0] = 99;
    let newer = postcard::from_bytes(&bytes).unwrap();
    let refused = Leg::restore(call.now, newer, 0).unwrap_err();
    assert_eq!(refused, RestoreError::Newer { found: 99, reads: 1 });
}

#[test]
fn an_offer_that_waits_for_theirs_does_not_keep_the_timer_due() {
    let mut call = called();
    call.answers().gives(&["200 INVITE+sdp"]);
    let answered = export(&call);
    call.is_adopted(answered).after_ms(2_000).gives(&["200 INVITE+sdp"; 2]);
    call.far_asks("INVITE", "", HELD).gives(&["Reoffered+sdp"]);
    call.does(|leg, now| leg.reoffer(now, HELD.into()).unwrap());
    call.after_ms(1_000).gives(&["100 INVITE"]);
    call.does(|leg, now| leg.refuse_reoffer(now, 488).unwrap())
        .gives(&["488 INVITE", "INVITE+sdp"]);
}

#[test]
fn a_password_is_not_in_an_export() {
    let mut with = crate::script::outgoing(settings());
    with.credentials = Some(crate::script::credentials());
    let mut call = Way::Straight.caller_with(&with);
    let asks = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"";
    call.far_says("INVITE", 401, asks, "").gives(&["INVITE+sdp", "ACK", "INVITE+sdp"]);
    let bytes = postcard::to_allocvec(&export(&call)).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
}
