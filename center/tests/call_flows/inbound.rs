//! Calls to a target, an agent, the echo, and calls that are not let in.

use tandem_center::directory::{Blocked, NumberPattern};
use tandem_center::{
    CallResult, Cause, Command, Hears, LegNumber, LegWant, Phase, Rejected, Reply, Side, Wire,
};

use crate::script::{NODE, Script, directory, invited, leg};

#[test]
fn a_caller_reaches_a_target_and_hangs_up() {
    let mut script = Script::new();
    let call = script.dials("service");
    assert_eq!(script.wants(call, 0), Some(LegWant::RingWithPeer(leg(1))));
    assert_eq!(invited(script.wants(call, 1)), ("sip:x@127.0.0.1:5070".to_owned(), false));

    script.now = script.now.plus_ms(300);
    script.answers(call, 1);
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered));
    assert_eq!(script.wants(call, 1), Some(LegWant::Answered));
    assert_eq!(script.hears(call, 0), Some(Hears::Leg(leg(1))));
    assert_eq!(script.hears(call, 1), Some(Hears::Leg(leg(0))));

    script.now = script.now.plus_ms(60_000);
    script.caller_hangs_up(call);
    assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::HungUp }));
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::PeerGone }));
    assert_eq!(script.call(call).wants().media.len(), 0);
    let cdr = script.cdr();
    assert_eq!(
        (cdr.result, cdr.ended_by, cdr.cause),
        (CallResult::Answered, Side::Caller, Cause::HungUp)
    );
    assert_eq!((cdr.talk_ms, cdr.wait_ms, cdr.hold_ms), (60_000, 0, 0));
    assert_eq!((&*cdr.from.number, &*cdr.to, cdr.node), ("100", "service", NODE));
    assert_eq!(cdr.answered.map(|at| at.since_ms(cdr.arrived)), Some(300));
    assert_eq!(cdr.status, None);

    script.gives(Command::Cleared { calls: vec![call] });
    assert_eq!(script.center.calls().len(), 0);
    assert!(script.last.touched.calls.contains(&call));
}

#[test]
fn a_call_whose_answer_is_not_ready_waits_for_the_commit_of_it() {
    let mut script = Script::new();
    let mut arrived = script.arrived("service");
    arrived.answer_ready = false;
    let call = arrived.call;
    script.gives(Command::Arrived(Box::new(arrived.clone())));
    script.answers(call, 1);
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered));
    assert_eq!(script.call(call).answered, None);
    assert_eq!(script.answers(call, 0), Reply::Done);
    assert_eq!(script.call(call).answered, Some(script.now));
    assert_eq!(&*script.call(call).legs[&leg(0)].wire.0, b"answer");

    // Or both dialogs come at once.
    arrived.call = script.new_call();
    let call = arrived.call;
    script.gives(Command::Arrived(Box::new(arrived)));
    let wires = vec![(leg(1), Wire::default()), (leg(0), Wire::default())];
    script.gives(Command::LegAnswered { call, leg: leg(1), wires });
    assert_eq!(script.call(call).answered, Some(script.now));
}

#[test]
fn the_target_hangs_up() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.answers(call, 1);
    script.ends(call, 1);
    assert_eq!((script.cdr().result, script.cdr().ended_by), (CallResult::Answered, Side::Called));
    assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::PeerGone }));
}

#[test]
fn a_refusal_of_the_target_is_the_callers() {
    for (status, result) in [
        (486, CallResult::Busy),
        (480, CallResult::NoAnswer),
        (404, CallResult::Rejected),
        (503, CallResult::Failed),
    ] {
        let mut script = Script::new();
        let call = script.dials("service");
        script.fails(call, 1, status);
        assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status }));
        let gone = LegWant::Gone { cause: Cause::Refused { status } };
        assert_eq!(script.wants(call, 1), Some(gone));
        assert_eq!((script.cdr().result, script.cdr().status), (result, Some(status)));
        assert_eq!(script.cdr().ended_by, Side::Called);
    }
}

#[test]
fn a_target_that_never_answers_is_given_up_after_a_minute() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.after_seconds(59);
    assert!(!script.call(call).has_ended());
    script.after_seconds(1);
    assert_eq!(script.cdr().result, CallResult::NoAnswer);
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 480 }));
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::NoAnswer }));
}

#[test]
fn a_caller_who_cancels_takes_the_targets_leg_along() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.caller_cancels(call);
    assert_eq!((script.cdr().result, script.cdr().ended_by), (CallResult::Abandoned, Side::Caller));
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::PeerGone }));
}

#[test]
fn a_target_that_answers_when_the_caller_has_just_left_is_hung_up() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.caller_cancels(call);
    assert_eq!(script.answers(call, 1), Reply::Already);
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::PeerGone }));
    // What it became on the wire is needed for the BYE.
    assert_eq!(&*script.call(call).legs[&leg(1)].wire.0, b"answer");
    assert!(script.last.touched.calls.contains(&call));
    assert_eq!(script.last.records, []);
}

#[test]
fn repeated_reports_change_nothing() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.answers(call, 1);
    let hash = script.center.state_hash();
    assert_eq!(script.answers(call, 1), Reply::Already);
    assert_eq!(script.rings(call, 1), Reply::Already);
    assert_eq!(script.fails(call, 1, 500), Reply::Already);
    assert_eq!(script.fails(call, 9, 500), Reply::Already);
    assert_eq!(script.center.state_hash(), hash);
    script.caller_hangs_up(call);
    let hash = script.center.state_hash();
    assert_eq!(script.ends(call, 0), Reply::Already);
    assert_eq!(script.ends(call, 1), Reply::Already);
    assert_eq!(script.last.records, []);
    assert_eq!(script.center.state_hash(), hash);
}

#[test]
fn a_repeated_invite_is_told_that_its_call_is_there() {
    let mut script = Script::new();
    let arrived = script.arrived("service");
    let call = arrived.call;
    script.gives(Command::Arrived(Box::new(arrived.clone())));
    let again = script.tries(Command::Arrived(Box::new(arrived)));
    assert_eq!(again, Err(Rejected::CallExists { call }));
}

#[test]
fn reports_about_a_forgotten_call_are_told_so() {
    let mut script = Script::new();
    let call = script.dials("closed");
    script.gives(Command::Cleared { calls: vec![call] });
    let answered = Command::LegAnswered { call, leg: leg(1), wires: vec![] };
    assert_eq!(script.tries(answered), Err(Rejected::NoSuchCall { call }));
}

#[test]
fn a_live_call_is_not_cleared() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.gives(Command::Cleared { calls: vec![call] });
    assert_eq!(script.center.calls().len(), 1);
}

#[test]
fn unknown_and_closed_numbers_are_refused_and_recorded() {
    for (number, status) in [("nobody", 404), ("closed", 480)] {
        let mut script = Script::new();
        let call = script.dials(number);
        assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status }));
        assert_eq!(
            (script.cdr().result, script.cdr().status),
            (CallResult::Rejected, Some(status))
        );
    }
}

#[test]
fn screening_refuses_the_blocked_unless_they_are_allowed() {
    let mut directory = directory();
    let blocked = |pattern, status| Blocked { pattern, status };
    directory.screening.blocked = vec![
        blocked(NumberPattern::Exact("1".into()), 403),
        blocked(NumberPattern::Prefix("1".into()), 486),
        blocked(NumberPattern::Prefix("10".into()), 603),
    ];
    let mut script = Script::with(directory.clone());
    let call = script.dials("sales");
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 486 }));
    assert_eq!(script.cdr().result, CallResult::Rejected);
    assert_eq!(script.story(call)[1], "refused by screening with 486");

    directory.screening.allowed = vec![NumberPattern::Exact("100".into())];
    script.gives(Command::Configure(Box::new(directory.clone())));
    let call = script.dials("service");
    assert!(!script.call(call).has_ended());

    directory.screening.allowed = vec![NumberPattern::Anonymous];
    directory.screening.blocked = vec![];
    directory.screening.allowed_only = true;
    directory.screening.status = 403;
    script.gives(Command::Configure(Box::new(directory)));
    let call = script.dials("service");
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 403 }));
}

#[test]
fn a_caller_whom_the_node_cannot_answer_is_refused() {
    for answer_ready in [false, true] {
        let mut script = Script::new();
        let mut arrived = script.arrived("service");
        arrived.answer_ready = answer_ready;
        let call = arrived.call;
        script.gives(Command::Arrived(Box::new(arrived)));
        script.fails(call, 0, 488);
        assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 488 }));
        assert_eq!(
            (script.cdr().result, script.cdr().ended_by),
            (CallResult::Failed, Side::System)
        );
        let gone = LegWant::Gone { cause: Cause::Refused { status: 488 } };
        assert_eq!(script.wants(call, 1), Some(gone));
    }
}

#[test]
fn an_ended_call_that_nobody_clears_is_forgotten_after_ten_minutes() {
    let mut script = Script::new();
    let call = script.dials("closed");
    script.after_seconds(599);
    assert!(script.center.call(call).is_some());
    script.after_seconds(1);
    assert!(script.center.call(call).is_none());
}

#[test]
fn the_echo_answers_at_once() {
    let mut script = Script::new();
    let call = script.dials("echo");
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered));
    assert_eq!(script.hears(call, 0), Some(Hears::Echo));
    assert_eq!(script.call(call).phase, Phase::Echo);
    script.caller_hangs_up(call);
    assert_eq!(script.cdr().result, CallResult::IvrCompleted);
}

#[test]
fn either_phone_may_hold_the_other() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.answers(call, 1);
    script.phone_holds(call, 0, true);
    assert_eq!(script.hears(call, 0), Some(Hears::Nothing));
    assert_eq!(script.hears(call, 1), Some(Hears::Music));
    assert_eq!(script.phone_holds(call, 0, true), Reply::Already);
    script.now = script.now.plus_seconds(5);
    script.phone_holds(call, 1, true);
    assert_eq!(script.hears(call, 1), Some(Hears::Nothing));
    script.now = script.now.plus_seconds(5);
    script.phone_holds(call, 0, false);
    script.phone_holds(call, 1, false);
    assert_eq!(script.hears(call, 1), Some(Hears::Leg(leg(0))));
    script.now = script.now.plus_seconds(5);
    script.ends(call, 1);
    assert_eq!((script.cdr().talk_ms, script.cdr().hold_ms), (5_000, 10_000));
}

#[test]
fn parts_that_are_too_large_are_rejected() {
    let mut script = Script::new();
    let mut arrived = script.arrived("service");
    arrived.wire = Wire::from(vec![0; tandem_center::call::WIRE_BYTES_MAX + 1]);
    let rejected = script.tries(Command::Arrived(Box::new(arrived)));
    assert!(matches!(rejected, Err(Rejected::TooLarge { what: "wire of a leg", .. })));
    let mut arrived = script.arrived("service");
    arrived.called = "9".repeat(1000).into();
    let rejected = script.tries(Command::Arrived(Box::new(arrived)));
    assert!(matches!(rejected, Err(Rejected::TooLarge { size: 1000, .. })));
    let calls = vec![script.new_call(); 5000];
    assert!(matches!(script.tries(Command::Cleared { calls }), Err(Rejected::TooLarge { .. })));
}

#[test]
fn a_changed_dialog_is_kept() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.gives(Command::WireChanged {
        call,
        leg: LegNumber::FIRST,
        wire: Wire::from(&b"new"[..]),
    });
    assert_eq!(&*script.call(call).legs[&LegNumber::FIRST].wire.0, b"new");
}
