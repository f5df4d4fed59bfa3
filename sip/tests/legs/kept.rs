//! Answers that are acknowledged only when they are kept (RFC 3261 §13.2.2.4).

use crate::script::{ANSWER, Way};

#[test]
fn an_answer_that_has_to_be_kept_is_acknowledged_when_it_is() {
    // Not rebuilt: a value is what was kept, and holds nothing back.
    let mut call = Way::Straight.caller();
    call.gives(&["INVITE+sdp"]);
    call.does(|leg, _| leg.hold_ack()).is_silent();
    call.far_says("INVITE", 200, "", ANSWER).gives(&["Answered+sdp"]);
    call.far_says("INVITE", 200, "", ANSWER).is_silent();
    call.does(|leg, _| leg.answer_is_kept()).gives(&["ACK"]);
    call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK"]);
    call.does(|leg, _| leg.answer_is_kept()).is_silent();
    call.hangs_up().gives(&["BYE"]);
}

#[test]
fn an_answer_that_nobody_keeps_is_acknowledged_before_the_bye() {
    let mut call = Way::Straight.caller();
    call.gives(&["INVITE+sdp"]);
    call.does(|leg, _| leg.hold_ack()).is_silent();
    call.far_says("INVITE", 200, "", ANSWER).gives(&["Answered+sdp"]);
    call.hangs_up().gives(&["ACK", "BYE"]);
}
