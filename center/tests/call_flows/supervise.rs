//! Supervisors listen, whisper, barge in and take over; they set states and move those who wait.

use std::collections::BTreeSet;

use tandem_center::directory::{AnswersOn, QueueConfig, Role as Duty};
use tandem_center::event::SessionEnd;
use tandem_center::record::SegmentKind;
use tandem_center::supervision::{SupervisionMode, SupervisionMode::*};
use tandem_center::{
    CallId, CallResult, Cause, Command, Happened, Hears, LegWant, Rejected, Reply, Route,
    WantedState,
};

use crate::script::{Script, agent, directory, invited, leg, not_ready, person, queue};

/// Sue supervises everybody, tom only those of `quiet`, and ron is the administrator.
fn script() -> Script {
    let mut directory = directory();
    for (name, role, supervises) in [
        ("sue", Duty::Supervisor, vec![]),
        ("tom", Duty::Supervisor, vec![queue("quiet")]),
        ("ron", Duty::Administrator, vec![]),
    ] {
        let mut config = person(AnswersOn::Desk, &[]);
        (config.role, config.supervises) = (role, supervises);
        directory.agents.insert(agent(name), config);
    }
    let mut script = Script::with(directory);
    for (session, name) in (81..).zip(["sue", "tom", "ron"]) {
        script.signs_in(name, session);
    }
    script
}

impl Script {
    fn supervises(&mut self, by: &str, of: &str, mode: SupervisionMode) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Supervise { agent: agent(by), of: agent(of), mode, command })
    }

    fn takes_over(&mut self, by: &str, of: &str) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::TakeOver { agent: agent(by), of: agent(of), command })
    }

    fn forces(&mut self, by: &str, of: &str, state: WantedState) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::ForceState { agent: agent(by), of: agent(of), state, command })
    }

    fn forces_out(&mut self, by: &str, of: &str) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::ForceLogOut { agent: agent(by), of: agent(of), command })
    }

    fn prioritises(
        &mut self,
        by: &str,
        call: CallId,
        priority: Option<u8>,
    ) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Prioritise { agent: agent(by), call, priority, command })
    }

    fn moves(&mut self, by: &str, call: CallId, to: &str) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::MoveToQueue { agent: agent(by), call, queue: queue(to), command })
    }

    fn waiting(&self, of: &str) -> Vec<CallId> {
        let queue = self.center.queue(&queue(of)).expect("the queue is there");
        queue.waiting().map(|waiting| waiting.call).collect()
    }
}

/// The caller talks with ana, and sue's phone has answered.
fn sue_is_there(mode: SupervisionMode) -> (Script, CallId) {
    let mut script = script();
    let call = script.talks_with("ana");
    assert_eq!(script.supervises("sue", "ana", mode), Ok(Reply::Done));
    script.answers(call, 2);
    assert_eq!(script.state("sue"), "talking");
    (script, call)
}

fn hears(script: &Script, call: CallId) -> [Option<Hears>; 3] {
    [0, 1, 2].map(|number| script.hears(call, number))
}

fn one(number: u16) -> Option<Hears> {
    Some(Hears::Leg(leg(number)))
}

fn both(one: u16, other: u16) -> Option<Hears> {
    Some(Hears::Mix([leg(one), leg(other)].into()))
}

#[test]
fn a_supervisor_listens_and_nobody_hears_or_is_told() {
    let mut script = script();
    let call = script.talks_with("ana");
    assert_eq!(script.supervises("sue", "ana", Listen), Ok(Reply::Done));
    assert_eq!(script.told("ana"), Vec::<&Happened>::new());
    assert_eq!(invited(script.wants(call, 2)), ("sip:phone@127.0.0.1".into(), true));
    assert_eq!(script.state("sue"), "reserved");
    assert_eq!(hears(&script, call), [one(1), one(0), Some(Hears::Nothing)]);
    script.rings(call, 2);
    script.answers(call, 2);
    assert_eq!(script.told("ana"), Vec::<&Happened>::new());
    assert!(matches!(script.told("sue")[..], [Happened::Supervising { mode: Listen, .. }]));
    assert_eq!(hears(&script, call), [one(1), one(0), both(0, 1)]);
    let wants = script.call(call).wants();
    assert!(wants.record.is_some());
    assert_eq!(wants.off_record, BTreeSet::from([leg(2)]));
    // Holding at her own phone is no hold of the call.
    script.phone_holds(call, 2, true);
    assert_eq!(
        (script.state("ana"), hears(&script, call)[2].clone()),
        ("talking", Some(Hears::Nothing))
    );
    assert_eq!(script.told("ana"), Vec::<&Happened>::new());
    script.phone_holds(call, 2, false);
    script.ends(call, 2);
    assert_eq!(script.told("ana"), Vec::<&Happened>::new());
    assert_eq!(hears(&script, call), [one(1), one(0), None]);
    assert_eq!(script.state("sue"), "not ready");
    script.caller_hangs_up(call);
    assert_eq!(script.cdr().supervisors, [agent("sue")]);
    let story = script.story(call);
    assert!(story.contains(&"sue supervises ana: listen".to_owned()), "{story:?}");
    assert!(story.contains(&"sue supervises no more: hung up".to_owned()), "{story:?}");
}

#[test]
fn the_way_in_which_a_supervisor_is_heard_changes_on_the_fly() {
    let (mut script, call) = sue_is_there(Listen);
    assert_eq!(script.supervises("sue", "ana", Whisper), Ok(Reply::Done));
    assert_eq!(hears(&script, call), [one(1), both(0, 2), both(0, 1)]);
    assert_eq!(
        script.call(call).wants().off_record,
        BTreeSet::from([leg(2)]),
        "not for the caller"
    );
    assert_eq!(script.supervises("sue", "ana", Barge), Ok(Reply::Done));
    assert_eq!(hears(&script, call), [both(1, 2), both(0, 2), both(0, 1)]);
    assert_eq!(script.call(call).wants().off_record, BTreeSet::new());
    assert_eq!(script.supervises("sue", "ana", Barge), Ok(Reply::Already));
    assert_eq!(script.supervises("sue", "ana", Listen), Ok(Reply::Done));
    assert_eq!(hears(&script, call), [one(1), one(0), both(0, 1)]);
}

#[test]
fn a_supervisor_hears_what_the_agent_says_aside_and_the_caller_does_not_hear_her() {
    let (mut script, call) = sue_is_there(Barge);
    script.signs_in("cyd", 77);
    script.consults("ana", call, "cyd").unwrap();
    script.answers(call, 3);
    assert_eq!(hears(&script, call), [Some(Hears::Music), both(2, 3), both(1, 3)]);
    assert_eq!(script.hears(call, 3), both(1, 2));
    script.holds("ana", call).unwrap();
    assert_eq!(hears(&script, call)[1..], [Some(Hears::Nothing), one(1)]);
}

#[test]
fn a_supervision_ends_with_the_conversation_of_its_agent() {
    let (mut script, call) = sue_is_there(Listen);
    script.transfers("ana", call, Some("sales")).unwrap();
    assert_eq!(script.wants(call, 2), Some(LegWant::Gone { cause: Cause::PeerGone }));
    assert_eq!((script.state("sue"), script.call(call).supervision.is_none()), ("not ready", true));
    let (mut script, call) = sue_is_there(Whisper);
    script.caller_hangs_up(call);
    assert_eq!(script.cdr().result, CallResult::Answered);
    assert_eq!((script.state("ana"), script.state("sue")), ("in wrap-up", "not ready"));
    // The phone is never lifted, or is busy.
    let mut script = self::script();
    let call = script.talks_with("ana");
    script.supervises("sue", "ana", Listen).unwrap();
    script.after_seconds(10);
    assert_eq!((script.state("ana"), script.state("sue")), ("talking", "not ready"));
    script.ends(call, 2);
    script.supervises("sue", "ana", Listen).unwrap();
    script.fails(call, 3, 486);
    assert_eq!((script.state("ana"), script.state("sue")), ("talking", "not ready"));
    assert!(script.wants(call, 3).is_none());
    script.supervises("sue", "ana", Listen).unwrap();
    script.hangs_up("sue", call).unwrap();
    assert_eq!((script.state("ana"), script.state("sue")), ("talking", "not ready"));
}

#[test]
fn a_supervisor_takes_a_call_over_and_the_agent_is_let_go() {
    let (mut script, call) = sue_is_there(Listen);
    script.now = script.now.plus_seconds(7);
    assert_eq!(script.takes_over("sue", "ana"), Ok(Reply::Done));
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::Transferred }));
    assert_eq!((script.state("ana"), script.state("sue")), ("in wrap-up", "talking"));
    assert_eq!(hears(&script, call), [one(2), None, one(0)]);
    assert_eq!(script.call(call).wants().off_record, BTreeSet::new());
    assert!(script.story(call).contains(&"sue takes the call over from ana".to_owned()));
    script.holds("sue", call).unwrap();
    assert_eq!(script.state("sue"), "held");
    script.retrieves("sue", call).unwrap();
    script.caller_hangs_up(call);
    let cdr = script.cdr();
    let kinds: Vec<_> = cdr.segments.iter().map(|segment| segment.kind.clone()).collect();
    let talk = |name| SegmentKind::Talk(Some(agent(name)));
    assert_eq!(kinds, [SegmentKind::Queue(queue("sales")), talk("ana"), talk("sue")]);
    assert_eq!(
        (cdr.agent.clone(), cdr.supervisors.clone()),
        (Some(agent("sue")), vec![agent("sue")])
    );
}

#[test]
fn a_call_in_the_middle_of_a_consultation_is_taken_over_and_the_one_who_was_asked_let_go() {
    let (mut script, call) = sue_is_there(Listen);
    script.signs_in("cyd", 77);
    script.consults("ana", call, "cyd").unwrap();
    script.answers(call, 3);
    script.takes_over("sue", "ana").unwrap();
    assert_eq!(script.wants(call, 3), Some(LegWant::Gone { cause: Cause::Withdrawn }));
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (one(2), one(0)));
}

#[test]
fn who_may_not_supervise_is_refused() {
    let mut script = script();
    let call = script.talks_with("ana");
    let refused = |result: Result<Reply, Rejected>| {
        assert!(matches!(result, Err(Rejected::NotYourAgent { .. })), "{result:?}");
    };
    script.signs_in("cyd", 77);
    refused(script.supervises("cyd", "ana", Listen));
    refused(script.supervises("ana", "ana", Listen));
    refused(script.supervises("tom", "ana", Listen));
    refused(script.takes_over("tom", "ana"));
    refused(script.forces("ana", "cyd", WantedState::Ready));
    refused(script.forces("sue", "tom", WantedState::Ready));
    refused(script.forces_out("tom", "cyd"));
    assert!(matches!(script.prioritises("tom", call, None), Err(Rejected::WrongPhase { .. })));
    let nobody = Err(Rejected::NoSuchAgent { agent: agent("eve") });
    assert_eq!(script.supervises("sue", "eve", Listen), nobody);

    let wrong_phase = |result| assert!(matches!(result, Err(Rejected::WrongPhase { .. })));
    let wrong_state = |result| assert!(matches!(result, Err(Rejected::WrongState { .. })));
    wrong_state(script.supervises("sue", "cyd", Listen));
    wrong_phase(script.takes_over("sue", "ana"));
    script.supervises("sue", "ana", Listen).unwrap();
    wrong_phase(script.takes_over("sue", "ana"));
    wrong_phase(script.supervises("ron", "ana", Listen));
    wrong_phase(script.holds("sue", call));
    script.answers(call, 2);
    wrong_state(script.supervises("ron", "sue", Listen));
}

#[test]
fn a_supervisor_sets_states_and_ends_sessions() {
    let mut script = script();
    script.is_ready("ana");
    assert_eq!(script.forces("sue", "ana", not_ready("training")), Ok(Reply::Done));
    let forced = Happened::StateForced { agent: agent("ana"), by: agent("sue") };
    assert_eq!(script.told("ana"), [&forced]);
    assert_eq!(script.reason("ana"), "training");
    assert_eq!(script.forces("sue", "ana", not_ready("training")), Ok(Reply::Already));
    assert_eq!(script.forces_out("ron", "ana"), Ok(Reply::Done));
    assert!(matches!(
        script.told("ana")[..],
        [Happened::StateForced { .. }, Happened::SessionEnded { why: SessionEnd::ForcedOut, .. }]
    ));
    assert_eq!(script.reason("ana"), "signed out by a supervisor");
    assert!(matches!(script.forces_out("ron", "ana"), Err(Rejected::WrongState { .. })));
    // A conversation goes on at the phone.
    let call = script.talks_with("ana");
    script.forces_out("sue", "ana").unwrap();
    assert_eq!(script.state("ana"), "talking");
    script.caller_hangs_up(call);
    assert_eq!(script.state("ana"), "logged out");
}

#[test]
fn those_who_wait_are_put_first_and_into_another_queue() {
    let mut script = script();
    let [a, b, c] = [(); 3].map(|()| script.dials("sales"));
    assert_eq!(script.prioritises("sue", c, None), Ok(Reply::Done));
    assert_eq!(script.waiting("sales"), [c, a, b]);
    assert_eq!(script.prioritises("sue", c, None), Ok(Reply::Already));
    assert_eq!(script.prioritises("sue", b, Some(9)), Ok(Reply::Done));
    assert_eq!(script.waiting("sales"), [b, c, a]);
    assert_eq!(script.prioritises("sue", b, Some(0)), Ok(Reply::Done));
    assert_eq!(script.waiting("sales"), [c, a, b], "and its place among equals is its own");
    let entered = script.center.queue(&queue("sales")).unwrap().totals.entered;
    assert_eq!(entered, 3, "nobody has left and come again");

    let nowhere = Err(Rejected::NoSuchQueue { queue: queue("none") });
    assert_eq!(script.moves("sue", a, "none"), nowhere);
    assert!(matches!(script.moves("tom", a, "quiet"), Err(Rejected::NotYourQueue { .. })));
    assert!(matches!(script.moves("ana", a, "quiet"), Err(Rejected::NotYourQueue { .. })));
    script.is_ready("bob");
    assert!(matches!(script.moves("sue", c, "quiet"), Err(Rejected::WrongPhase { .. })), "offered");
    // Bot is always ready for quiet.
    assert_eq!(script.moves("sue", a, "quiet"), Ok(Reply::Done));
    assert_eq!((script.offered_to(a), script.waiting("sales")), (Some("bot".into()), vec![c, b]));
    assert!(script.story(a).contains(&"sue moves it to queue quiet".to_owned()));
}

#[test]
fn who_is_put_first_or_moved_among_callers_who_age_stands_as_one_who_came_then() {
    let mut directory = directory();
    let mut sue = person(AnswersOn::Desk, &[]);
    sue.role = Duty::Supervisor;
    directory.agents.insert(agent("sue"), sue);
    directory.queues.insert(queue("support"), QueueConfig::default());
    directory.numbers.insert("support".into(), Route::Queue(queue("support")));
    for config in directory.queues.values_mut() {
        (config.distribution.age_seconds, config.max_wait_seconds) = (10, 0);
    }
    let mut script = Script::with(directory);
    script.signs_in("sue", 81);
    let a = script.dials("sales");
    script.after_seconds(5);
    let elsewhere = script.dials("support");
    script.after_seconds(60);
    let b = script.dials("sales");
    assert_eq!(script.prioritises("sue", b, None), Ok(Reply::Done));
    assert_eq!(script.waiting("sales"), [b, a], "65 s of waiting are six steps and a half");
    assert_eq!(script.call(b).priority, script.call(a).priority + 7);
    assert_eq!(script.prioritises("sue", a, Some(script.call(b).priority)), Ok(Reply::Done));
    assert_eq!(script.waiting("sales"), [a, b], "of one priority, by when they came");
    assert_eq!(script.prioritises("sue", b, Some(0)), Ok(Reply::Done));
    assert_eq!(script.prioritises("sue", a, Some(0)), Ok(Reply::Done));
    assert_eq!(script.moves("sue", elsewhere, "sales"), Ok(Reply::Done));
    assert_eq!(script.waiting("sales"), [a, elsewhere, b], "moved last, but came before");
}
