//! Agents dial: their own phone first, then the number, through a trunk or inside.

use tandem_center::{
    CallResult, Cause, Command, Direction, Happened, Hears, LegWant, Rejected, Reply, Role, Side,
    WantedState,
};

use crate::script::{Script, agent, directory, invited, leg, not_ready};

#[test]
fn an_agent_calls_through_a_trunk() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.agent_dials("ana", "0123").unwrap();
    assert_eq!(script.last.reply, Reply::Dialing { call });
    assert_eq!(invited(script.wants(call, 0)), ("sip:phone@127.0.0.1".to_owned(), true));
    assert_eq!(script.state("ana"), "reserved");

    script.answers(call, 0);
    assert_eq!(script.told("ana"), [&Happened::Delivered { agent: agent("ana"), call }]);
    let Some(LegWant::Invited { role, target, shows, ring_seconds, .. }) = script.wants(call, 1)
    else {
        panic!("{:?}", script.call(call).wants())
    };
    assert_eq!((role, &*target), (Role::Trunk("carrier".into()), "+123"));
    assert_eq!((&*shows.number, ring_seconds), ("555000", 40));
    assert_eq!(script.hears(call, 0), Some(Hears::Ringback));

    script.now = script.now.plus_seconds(8);
    script.answers(call, 1);
    assert_eq!(script.hears(call, 0), Some(Hears::Leg(leg(1))));
    assert!(script.call(call).wants().record.is_some(), "the trunk is recorded");
    script.now = script.now.plus_seconds(30);
    script.ends(call, 1);
    let cdr = script.cdr();
    assert_eq!((cdr.direction, cdr.result), (Direction::Outbound, CallResult::Answered));
    assert_eq!((cdr.ended_by, cdr.talk_ms), (Side::Called, 30_000));
    assert_eq!((&*cdr.to, &cdr.agent), ("0123", &Some(agent("ana"))));
    assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::PeerGone }));
    assert_eq!(script.state("ana"), "in wrap-up");
    script.after_seconds(5);
    assert_eq!(script.state("ana"), "ready");
}

#[test]
fn an_agent_with_a_number_of_their_own_shows_it() {
    let mut directory = directory();
    directory.agents.get_mut(&agent("ana")).unwrap().shows = Some("555123".into());
    let mut script = Script::with(directory);
    script.is_ready("ana");
    let call = script.agent_dials("ana", "0123").unwrap();
    assert_eq!(&*script.call(call).caller.number, "555123");
    script.answers(call, 0);
    assert_eq!(&*script.call(call).legs[&leg(1)].shows.number, "555123");
}

#[test]
fn a_number_that_does_not_answer_frees_the_agent() {
    let mut script = Script::new();
    script.signs_in("ana", 1);
    script.becomes("ana", not_ready("calling back"));
    let call = script.agent_dials("ana", "0123").unwrap();
    script.answers(call, 0);
    script.after_seconds(40);
    assert_eq!((script.cdr().result, script.cdr().ended_by), (CallResult::NoAnswer, Side::System));
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::NoAnswer }));
    assert_eq!(script.state("ana"), "in wrap-up", "there is something to note");
    let (disposition, command) = ("not there".into(), script.next_command());
    let agent = agent("ana");
    let dispose = Command::Dispose { agent, call, disposition, note: None, command };
    assert_eq!(script.gives(dispose), Reply::Done);
    script.after_seconds(5);
    assert_eq!(script.reason("ana"), "calling back");
}

#[test]
fn a_busy_number_frees_the_agent() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.agent_dials("ana", "0123").unwrap();
    script.answers(call, 0);
    script.fails(call, 1, 486);
    assert_eq!((script.cdr().result, script.cdr().ended_by), (CallResult::Busy, Side::Called));
    assert_eq!(
        script.wants(call, 0),
        Some(LegWant::Gone { cause: Cause::Refused { status: 486 } })
    );
    assert_eq!(script.state("ana"), "in wrap-up");
}

#[test]
fn an_own_phone_that_fails_ends_the_attempt() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.agent_dials("ana", "0123").unwrap();
    script.fails(call, 0, 480);
    assert_eq!((script.cdr().result, script.cdr().ended_by), (CallResult::Failed, Side::System));
    assert_eq!((script.wants(call, 1), script.state("ana")), (None, "ready"));

    let _call = script.agent_dials("ana", "0123").unwrap();
    script.after_seconds(10);
    assert_eq!(script.cdr().result, CallResult::NoAnswer);
    assert_eq!(script.state("ana"), "ready");
}

#[test]
fn an_agent_gives_up_dialling() {
    for own_phone_answered in [false, true] {
        let mut script = Script::new();
        script.is_ready("ana");
        let call = script.agent_dials("ana", "0123").unwrap();
        if own_phone_answered {
            script.answers(call, 0);
        }
        assert_eq!(script.hangs_up("ana", call), Ok(Reply::Done));
        assert_eq!(
            (script.cdr().result, script.cdr().ended_by),
            (CallResult::Abandoned, Side::Agent)
        );
        assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::HungUp }));
        let expected = if own_phone_answered { "in wrap-up" } else { "ready" };
        assert_eq!(script.state("ana"), expected);
    }
}

#[test]
fn the_own_phone_hangs_up_while_the_number_rings() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.agent_dials("ana", "0123").unwrap();
    script.answers(call, 0);
    script.ends(call, 0);
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::PeerGone }));
    assert_eq!(script.cdr().result, CallResult::Abandoned);
}

#[test]
fn nobody_dials_in_a_call_or_without_a_desk() {
    let mut script = Script::new();
    let rejected = script.agent_dials("bob", "0123");
    assert!(matches!(rejected, Err(Rejected::WrongState { is: "logged out", .. })));
    script.talks_with("ana");
    let rejected = script.agent_dials("ana", "0123");
    assert!(matches!(rejected, Err(Rejected::WrongState { is: "talking", .. })));
}

#[test]
fn a_number_that_no_rule_knows_is_rejected() {
    let mut script = Script::new();
    script.is_ready("ana");
    let rejected = script.agent_dials("ana", "9123");
    assert_eq!(rejected, Err(Rejected::NoWayTo { number: "9123".into() }));
}

#[test]
fn one_agent_calls_another() {
    let mut script = Script::new();
    script.is_ready("bob");
    script.is_ready("cyd");
    let call = script.agent_dials("bob", "cyd").unwrap();
    script.answers(call, 0);
    assert_eq!((script.state("cyd"), script.hears(call, 0)), ("reserved", Some(Hears::Ringback)));
    script.answers(call, 1);
    assert_eq!((script.state("bob"), script.state("cyd")), ("talking", "talking"));
    // Either may hold.
    script.holds("cyd", call).unwrap();
    assert_eq!((script.state("bob"), script.state("cyd")), ("talking", "held"));
    script.holds("bob", call).unwrap();
    assert_eq!(script.state("bob"), "held");
    script.hangs_up("cyd", call).unwrap();
    assert_eq!((script.state("bob"), script.state("cyd")), ("ready", "ready"));
}

#[test]
fn an_agent_who_dials_from_wrap_up_goes_back_to_what_they_wished_for() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.becomes("ana", not_ready("lunch"));
    script.hangs_up("ana", call).unwrap();
    assert_eq!(script.state("ana"), "in wrap-up");
    let call = script.agent_dials("ana", "0123").unwrap();
    script.answers(call, 0);
    script.fails(call, 1, 503);
    script.after_seconds(5);
    assert_eq!(script.reason("ana"), "lunch");
    assert_eq!(script.becomes("ana", WantedState::Ready), Reply::Done);
}
