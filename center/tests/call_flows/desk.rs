//! What agents do with a conversation: hold, retrieve, hang up, dispose, wrap up.

use tandem_center::{
    CallResult, Cause, Center, Command, CommandId, Happened, Hears, LegWant, Record, Rejected,
    Reply, Side, WantedState,
};

use crate::script::{Script, agent, leg, not_ready, queue};

#[test]
fn an_agent_holds_and_retrieves() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.now = script.now.plus_seconds(10);
    assert_eq!(script.holds("ana", call), Ok(Reply::Done));
    assert_eq!(script.hears(call, 0), Some(Hears::Music));
    assert_eq!(script.hears(call, 1), Some(Hears::Nothing));
    assert!(script.call(call).wants().record.is_some());
    assert_eq!(script.state("ana"), "held");
    let told = Happened::Held { agent: agent("ana"), call, by: Side::Agent };
    assert_eq!(script.told("ana"), [&told]);
    assert_eq!(script.holds("ana", call), Ok(Reply::Already));
    script.now = script.now.plus_seconds(7);
    assert_eq!(script.retrieves("ana", call), Ok(Reply::Done));
    assert_eq!(script.retrieves("ana", call), Ok(Reply::Already));
    assert_eq!((script.state("ana"), script.hears(call, 0)), ("talking", Some(Hears::Leg(leg(1)))));
    script.now = script.now.plus_seconds(3);
    script.hangs_up("ana", call).unwrap();
    assert_eq!((script.cdr().talk_ms, script.cdr().hold_ms), (13_000, 7_000));
}

#[test]
fn a_hold_at_the_phone_is_seen_and_only_the_phone_ends_it() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.phone_holds(call, 1, true);
    assert_eq!((script.state("ana"), script.hears(call, 0)), ("held", Some(Hears::Music)));
    let held = Rejected::HeldAtPhone { call, agent: agent("ana") };
    assert_eq!(script.retrieves("ana", call), Err(held));
    script.phone_holds(call, 1, false);
    assert_eq!(script.state("ana"), "talking");
}

#[test]
fn a_caller_who_holds_is_shown_but_the_agent_still_talks() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.phone_holds(call, 0, true);
    let told = Happened::Held { agent: agent("ana"), call, by: Side::Caller };
    assert_eq!((script.told("ana"), script.state("ana")), (vec![&told], "talking"));
    assert_eq!(script.hears(call, 1), Some(Hears::Music));
}

#[test]
fn an_agent_hangs_up_from_a_hold() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.holds("ana", call).unwrap();
    assert_eq!(script.hangs_up("ana", call), Ok(Reply::Done));
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::HungUp }));
    assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::PeerGone }));
    assert_eq!(script.cdr().ended_by, Side::Agent);
    assert_eq!(script.hangs_up("ana", call), Ok(Reply::Already));
    assert_eq!(script.state("ana"), "in wrap-up");
}

#[test]
fn the_agents_phone_hangs_up() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.ends(call, 1);
    assert_eq!((script.cdr().result, script.cdr().ended_by), (CallResult::Answered, Side::Agent));
    let until = Some(script.now.plus_seconds(10));
    let (by, cause) = (Side::Agent, Cause::HungUp);
    let told = Happened::Cleared { agent: agent("ana"), call, by, cause, wrap_up_until: until };
    assert_eq!(script.told("ana"), [&told]);
}

#[test]
fn commands_about_other_peoples_calls_are_rejected() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let not_yours = Rejected::NotYourCall { call, agent: agent("bob") };
    assert_eq!(script.accepts("bob", call), Err(not_yours.clone()));
    assert_eq!(script.declines("bob", call), Err(not_yours.clone()));
    assert_eq!(script.holds("bob", call), Err(not_yours.clone()));
    assert_eq!(script.retrieves("bob", call), Err(not_yours.clone()));
    assert_eq!(script.hangs_up("bob", call), Err(not_yours));
    let nobody = Rejected::NoSuchAgent { agent: agent("zed") };
    assert_eq!(script.hangs_up("zed", call), Err(nobody));
    assert_eq!(script.accepts("ana", call), Ok(Reply::Already), "she has it");
}

#[test]
fn an_offer_is_declined_not_hung_up() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.dials("sales");
    let rejected = script.hangs_up("ana", call);
    assert!(matches!(rejected, Err(Rejected::WrongPhase { is: "offered", .. })));
}

#[test]
fn a_repeated_command_returns_its_first_result_and_does_nothing() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let command = script.next_command();
    let hold = Command::Hold { agent: agent("ana"), call, command: command.clone() };
    assert_eq!(script.gives(hold.clone()), Reply::Done);
    script.retrieves("ana", call).unwrap();
    let hash = script.center.state_hash();
    assert_eq!(script.gives(hold), Reply::Done);
    assert!(script.last.touched.is_empty());
    assert_eq!(script.center.state_hash(), hash);
    // Even when the call is long gone.
    script.hangs_up("ana", call).unwrap();
    script.gives(Command::Cleared { calls: vec![call] });
    let hold = Command::Hold { agent: agent("ana"), call, command };
    assert_eq!(script.gives(hold), Reply::Done);
}

#[test]
fn only_the_last_results_are_remembered() {
    let mut script = Script::new();
    script.is_ready("ana");
    let command = script.next_command();
    let state = WantedState::Ready;
    let first = Command::SetState { agent: agent("ana"), state, command };
    assert_eq!(script.gives(first.clone()), Reply::Already);
    for round in 0..tandem_center::agent::RESULTS_MAX {
        assert_eq!(script.gives(first.clone()), Reply::Already);
        assert!(script.last.touched.is_empty(), "remembered in round {round}");
        script.becomes("ana", WantedState::Ready);
    }
    script.gives(first);
    assert!(!script.last.touched.results.is_empty(), "done again");
}

#[test]
fn a_repetition_that_comes_when_its_first_result_is_forgotten_is_refused() {
    let mut script = Script::new();
    script.is_ready("ana");
    // Read by a node that is frozen then, and given again at another.
    let command = CommandId::new("frozen", script.center.index()).unwrap();
    let state = WantedState::NotReady { reason: "lunch".into() };
    let frozen = Command::SetState { agent: agent("ana"), state, command };
    assert_eq!(script.gives(frozen.clone()), Reply::Done);
    for _ in 0..tandem_center::agent::RESULTS_MAX {
        script.becomes("ana", WantedState::Ready);
    }
    // The first node goes on. Ana is not at lunch any more.
    let late = Err(Rejected::Late { agent: agent("ana") });
    assert_eq!(script.tries(frozen.clone()), late);
    let restored = Center::load(&script.center.save()).unwrap();
    script.center = restored;
    assert_eq!(script.tries(frozen), late, "also where the state was loaded");
    let state = WantedState::NotReady { reason: "lunch".into() };
    let command = CommandId::new("new", script.center.index()).unwrap();
    assert_eq!(
        script.gives(Command::SetState { agent: agent("ana"), state, command }),
        Reply::Done
    );
}

#[test]
fn what_an_agent_says_of_a_call_becomes_a_record() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let dispose = |script: &mut Script, disposition: &str| {
        let (agent, disposition) = (agent("ana"), disposition.into());
        let (note, command) = (Some("two of them".into()), script.next_command());
        script.tries(Command::Dispose { agent, call, disposition, note, command })
    };
    assert_eq!(dispose(&mut script, "sold"), Ok(Reply::Done));
    let wrong = Rejected::NoSuchDisposition { disposition: "lost".into(), queue: queue("sales") };
    assert_eq!(dispose(&mut script, "lost"), Err(wrong));
    script.hangs_up("ana", call).unwrap();
    script.after_seconds(60);
    script.gives(Command::Cleared { calls: vec![call] });
    assert_eq!(dispose(&mut script, "sold"), Ok(Reply::Done), "after wrap-up, too");
    let [Record::Disposition(row)] = &script.last.records[..] else { panic!() };
    assert_eq!(
        (&*row.disposition, &row.queue, row.at),
        ("sold", &Some(queue("sales")), script.now)
    );
}

#[test]
fn wrap_up_ends_early_by_command_or_by_a_state() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.hangs_up("ana", call).unwrap();
    let command = script.next_command();
    assert_eq!(script.gives(Command::EndWrapUp { agent: agent("ana"), command }), Reply::Done);
    assert_eq!(script.state("ana"), "ready");
    let command = script.next_command();
    let rejected = script.tries(Command::EndWrapUp { agent: agent("ana"), command });
    assert!(matches!(rejected, Err(Rejected::WrongState { is: "ready", needs: "wrap-up", .. })));

    let call = script.dials("sales");
    script.accepts("ana", call).unwrap();
    script.answers(call, 1);
    script.hangs_up("ana", call).unwrap();
    assert_eq!(script.becomes("ana", not_ready("lunch")), Reply::Done);
    assert_eq!(script.reason("ana"), "lunch");
    script.after_seconds(60);
    assert_eq!(script.reason("ana"), "lunch", "the wrap-up's end does not undo it");
}

#[test]
fn a_state_that_is_asked_for_in_a_call_holds_afterwards() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    assert_eq!(script.becomes("ana", not_ready("lunch")), Reply::Afterwards);
    assert_eq!(script.state("ana"), "talking");
    script.caller_hangs_up(call);
    assert_eq!(script.state("ana"), "in wrap-up");
    script.after_seconds(10);
    assert_eq!(script.reason("ana"), "lunch");
}
