//! What phones ask for by REFER: transfers to a number, and to whom they have reached in another call.

use tandem_center::directory::{Ring, Skills};
use tandem_center::record::SegmentKind;
use tandem_center::{
    Arrived, CallId, CallResult, Cause, Command, Happened, Hears, LegWant, NodeId, Party, Phase,
    Rejected, Reply, Role, Side, Wire,
};

use crate::script::{NODE, Script, agent, directory, leg, queue};

impl Script {
    fn refers(&mut self, call: CallId, number: u16, to: &str) -> Result<Reply, Rejected> {
        self.tries(Command::Referred { call, leg: leg(number), to: to.into() })
    }

    fn refers_with(&mut self, call: CallId, number: u16, other: CallId) -> Result<Reply, Rejected> {
        self.tries(Command::ReferredWith { call, leg: leg(number), other })
    }

    /// The phone of an agent calls by itself.
    fn phone_dials(&mut self, name: &str, called: &str) -> CallId {
        let caller = Party { number: name.into(), name: None };
        let phone = Some(agent(name));
        let arrived = Arrived { phone, caller, ..self.arrived(called) };
        let call = arrived.call;
        self.gives(Command::Arrived(Box::new(arrived)));
        call
    }
}

/// The caller talks with ana, whose phone has reached cyd in another call.
fn ana_has_reached_cyd() -> (Script, CallId, CallId) {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.signs_in("cyd", 77);
    script.now = script.now.plus_seconds(10);
    script.phone_holds(call, 1, true);
    let other = script.phone_dials("ana", "cyd");
    script.answers(other, 1);
    script.now = script.now.plus_seconds(20);
    (script, call, other)
}

fn one(number: u16) -> Option<Hears> {
    Some(Hears::Leg(leg(number)))
}

#[test]
fn an_agents_phone_transfers_by_refer_and_no_other_does() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let refused = Err(Rejected::MayNotRefer { call, leg: leg(0) });
    assert_eq!(script.refers(call, 0, "0123"), refused, "a caller does not dial out at our cost");
    let refused = Err(Rejected::NoWayTo { number: "x".into() });
    assert_eq!(script.refers(call, 1, "x"), refused);
    assert_eq!(script.refers(call, 1, "0123"), Ok(Reply::Done));
    assert_eq!(script.refers(call, 1, "0123"), Ok(Reply::Already), "it comes again");
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::Transferred }));
    assert_eq!(script.state("ana"), "in wrap-up");
    script.fails(call, 2, 503);
    assert_eq!(script.offered_to(call), Some("ana".into()), "nobody there: it comes back");
}

#[test]
fn whom_the_phone_has_reached_goes_on_with_the_caller_in_the_first_call() {
    let (mut script, call, other) = ana_has_reached_cyd();
    assert_eq!((script.state("ana"), script.state("cyd")), ("held", "talking"));
    assert_eq!(script.refers_with(call, 1, other), Ok(Reply::Done));
    assert_eq!((script.state("ana"), script.state("cyd")), ("in wrap-up", "talking"));
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (one(2), one(0)));
    let gone = Some(LegWant::Gone { cause: Cause::Transferred });
    assert_eq!((script.wants(call, 1), script.wants(other, 0)), (gone.clone(), gone));
    // The dialog goes with the leg, and whoever has it in the other call leaves it alone.
    assert_eq!(script.wants(call, 2), Some(LegWant::Answered));
    let moved = &script.call(call).legs[&leg(2)];
    let (wire, lives) = (moved.wire.clone(), moved.lives_elsewhere);
    assert_eq!((wire, lives), (Wire::from(&b"answer"[..]), 1));
    let wants = script.call(other).wants();
    assert_eq!((wants.moved, wants.legs.contains_key(&leg(1))), (Some(leg(1)), false));

    let cdr = script.cdr();
    assert_eq!(
        (cdr.call, cdr.result, cdr.cause),
        (other, CallResult::Answered, Cause::Transferred)
    );
    let to = None;
    let told = Happened::Transferred { agent: agent("ana"), call, to };
    assert_eq!(script.told("ana")[0], &told);
    let [Happened::Cleared { call: cleared, .. }, Happened::Established { call: screen, .. }] =
        script.told("cyd")[..]
    else {
        panic!("{:?}", script.told("cyd"))
    };
    assert_eq!((*cleared, screen.call), (other, call));

    assert_eq!(script.refers_with(call, 1, other), Ok(Reply::Already), "it comes again");
    script.now = script.now.plus_seconds(5);
    script.caller_hangs_up(call);
    let cdr = script.cdr();
    let kinds: Vec<_> = cdr.segments.iter().map(|segment| segment.kind.clone()).collect();
    let talk = |name| SegmentKind::Talk(Some(agent(name)));
    assert_eq!(kinds, [SegmentKind::Queue(queue("sales")), talk("ana"), talk("cyd")]);
    assert_eq!((cdr.hold_ms, cdr.transfers), (20_000, 1));
    assert_eq!((cdr.agent.clone(), cdr.ended_by), (Some(agent("cyd")), Side::Caller));
    assert_eq!(script.state("cyd"), "in wrap-up");
}

#[test]
fn who_does_not_follow_to_the_first_call_lets_it_come_back_to_the_agent() {
    let (mut script, call, other) = ana_has_reached_cyd();
    script.refers_with(call, 1, other).unwrap();
    script.gives(Command::LegEnded { call, leg: leg(2), cause: Cause::Lost });
    assert_eq!(script.offered_to(call), Some("ana".into()));
    assert_eq!(script.hears(call, 0), Some(Hears::Ringback));
    // Who has followed and hangs up later ends it.
    let (mut script, call, other) = ana_has_reached_cyd();
    script.refers_with(call, 1, other).unwrap();
    script.gives(Command::WireChanged { call, leg: leg(2), wire: Wire::from(&b"here"[..]) });
    assert_eq!(script.call(call).legs[&leg(2)].lives_elsewhere, 0);
    script.ends(call, 2);
    assert_eq!(script.cdr().result, CallResult::Answered);
}

#[test]
fn the_nodes_of_both_calls_may_be_lost_behind_the_transfer() {
    let (mut script, call, other) = ana_has_reached_cyd();
    script.refers_with(call, 1, other).unwrap();
    script.gives(Command::NodeLost { node: NODE, silent_ms: 0 });
    let second = NodeId(2);
    script.gives(Command::NodeUp { node: second, homes: Vec::new(), sockets_are_lost: true });
    assert_eq!((script.call(call).owner, script.call(call).epoch), (second, 1));
    let moved = &script.call(call).legs[&leg(2)];
    assert_eq!(moved.lives_elsewhere, 1, "the new owner tells the far end where it is");
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::Transferred }));
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (one(2), one(0)));
    script.caller_hangs_up(call);
    assert_eq!(script.cdr().result, CallResult::Answered);
}

#[test]
fn a_number_behind_a_trunk_moves_with_its_place_on_the_trunk() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    // A phone dials what callers may; a target stands for a number outside.
    let other = script.phone_dials("ana", "service");
    script.answers(other, 1);
    assert_eq!(script.refers_with(call, 1, other), Ok(Reply::Done));
    assert_eq!(script.call(call).legs[&leg(2)].role, Role::Target);
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (one(2), one(0)));
    script.ends(call, 2);
    assert!(script.center.call(call).is_some());
}

#[test]
fn the_caller_takes_the_phones_place_in_a_queue() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let other = script.phone_dials("ana", "sales");
    let behind = script.dials("sales");
    let ticket = script.ticket(other);
    script.now = script.now.plus_seconds(7);
    assert_eq!(script.refers_with(call, 1, other), Ok(Reply::Done));
    assert_eq!(script.ticket(call), ticket);
    let ends: Vec<_> = script.cdr().ends();
    assert_eq!(ends, [tandem_center::record::SegmentEnd::FlowedOut], "and nobody gave up");
    let totals = script.center.queue(&queue("sales")).unwrap().totals;
    assert_eq!((totals.entered, totals.abandoned, totals.overflowed), (4, 0, 1));
    assert_eq!(script.hears(call, 0), Some(Hears::Music));
    script.is_ready("bob");
    assert_eq!(script.offered_to(call), Some("bob".into()), "before who came later");
    assert!(script.offered_to(behind).is_none());
}

#[test]
fn the_caller_is_in_the_ring_to_which_the_phone_had_waited() {
    let mut directory = directory();
    let sales = directory.queues.get_mut(&queue("sales")).unwrap();
    let later = Ring { after_seconds: 10, ..Ring::default() };
    let first = Ring { skills: Skills::from([("tax".into(), 1)]), ..Ring::default() };
    sales.distribution.rings = vec![first, later];
    directory.agents.get_mut(&agent("ana")).unwrap().skills = Skills::from([("tax".into(), 1)]);
    let mut script = Script::with(directory);
    let call = script.talks_with("ana");
    let other = script.phone_dials("ana", "sales");
    script.after_seconds(12);
    assert_eq!(script.refers_with(call, 1, other), Ok(Reply::Done));
    script.is_ready("bob");
    assert_eq!(script.offered_to(call), Some("bob".into()), "who knows nothing of taxes");
}

#[test]
fn who_is_moved_into_another_call_has_talked_in_both() {
    let (mut script, call, other) = ana_has_reached_cyd();
    script.refers_with(call, 1, other).unwrap();
    script.now = script.now.plus_seconds(30);
    script.caller_hangs_up(call);
    let (ana, cyd) = (script.agent("ana").shift, script.agent("cyd").shift);
    assert_eq!((ana.talk_ms, cyd.talk_ms), (30_000, 50_000));
    assert_eq!((ana.talks_since, cyd.talks_since), (None, None));
}

#[test]
fn the_caller_gets_the_number_that_the_phone_had_dialled_when_nobody_talks_there() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let other = script.phone_dials("ana", "echo");
    assert_eq!(script.refers_with(call, 1, other), Ok(Reply::Done));
    assert!(script.call(other).has_ended());
    assert!(matches!(script.call(call).phase, Phase::Echo));
    assert_eq!(script.state("ana"), "in wrap-up");
}

#[test]
fn a_transfer_to_another_call_is_refused_when_that_is_not_the_phones_or_not_answered() {
    let (mut script, call, other) = ana_has_reached_cyd();
    let not_hers = |other| Err(Rejected::NotYourCall { call: other, agent: agent("ana") });
    assert_eq!(
        script.refers_with(call, 1, CallId(9)),
        Err(Rejected::NoSuchCall { call: CallId(9) })
    );
    assert_eq!(script.refers_with(call, 1, call), not_hers(call));
    let of_bob = script.phone_dials("bob", "service");
    assert_eq!(script.refers_with(call, 1, of_bob), not_hers(of_bob));
    let of_a_caller = script.dials("echo");
    assert_eq!(script.refers_with(call, 1, of_a_caller), not_hers(of_a_caller));
    let early = script.phone_dials("ana", "service");
    assert!(matches!(script.refers_with(call, 1, early), Err(Rejected::WrongPhase { .. })));
    let refused = Err(Rejected::MayNotRefer { call, leg: leg(0) });
    assert_eq!(script.refers_with(call, 0, other), refused);
    script.ends(other, 1);
    assert!(matches!(script.refers_with(call, 1, other), Err(Rejected::WrongPhase { .. })));
    assert_eq!((script.hears(call, 0), script.state("ana")), (Some(Hears::Music), "held"));
}
