//! Mute, keys, a pause of the recording, deflection and parking.

use tandem_center::record::SegmentKind;
use tandem_center::{
    CallId, CallResult, Cause, Command, Happened, Hears, LegWant, Rejected, Reply,
};

use crate::script::{NODE, Script, agent, invited, leg, not_ready, queue};

impl Script {
    fn mutes(&mut self, name: &str, call: CallId, muted: bool) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Mute { agent: agent(name), call, muted, command })
    }

    fn presses(&mut self, name: &str, call: CallId, keys: &str) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::SendKeys { agent: agent(name), call, keys: keys.into(), command })
    }

    fn pauses(&mut self, name: &str, call: CallId, paused: bool) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::PauseRecording { agent: agent(name), call, paused, command })
    }

    fn deflects(&mut self, name: &str, call: CallId, to: &str) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Deflect { agent: agent(name), call, to: to.into(), command })
    }

    fn parks(&mut self, name: &str, call: CallId) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::Park { agent: agent(name), call, command })
    }

    fn picks_up(&mut self, name: &str, slot: u16) -> Result<Reply, Rejected> {
        let command = self.next_command();
        self.tries(Command::PickUp { agent: agent(name), slot, command })
    }
}

fn one(number: u16) -> Option<Hears> {
    Some(Hears::Leg(leg(number)))
}

#[test]
fn who_is_muted_is_not_heard_and_not_recorded() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    assert_eq!(script.mutes("ana", call, true), Ok(Reply::Done));
    let muted = Happened::Muted { agent: agent("ana"), call, muted: true };
    assert_eq!(script.told("ana"), [&muted]);
    assert_eq!((script.hears(call, 0), script.hears(call, 1)), (Some(Hears::Nothing), one(0)));
    assert_eq!(script.call(call).wants().off_record, [leg(1)].into());
    assert_eq!(script.state("ana"), "talking", "that is no hold");
    assert_eq!(script.mutes("ana", call, true), Ok(Reply::Already));
    script.signs_in("cyd", 77);
    script.consults("ana", call, "cyd").unwrap();
    script.answers(call, 2);
    script.conferences("ana", call).unwrap();
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (one(2), one(0)));
    assert_eq!(script.mutes("ana", call, false), Ok(Reply::Done));
    assert_eq!(script.hears(call, 0), Some(Hears::Mix([leg(1), leg(2)].into())));
    assert!(matches!(script.mutes("bob", call, true), Err(Rejected::NotYourCall { .. })));
}

#[test]
fn keys_are_pressed_once_for_those_who_hear_the_agent() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    assert_eq!(script.presses("ana", call, "12#"), Ok(Reply::Done));
    let wants = script.call(call).wants();
    let pressed: Vec<_> = wants.keys.iter().map(|(leg, keys)| (leg.0, &*keys.keys)).collect();
    assert_eq!(pressed, [(0, "12#")]);
    assert_eq!(wants.keys[&leg(0)].seq, script.index);
    assert!(script.story(call).contains(&"leg 1 presses 3 keys".to_owned()), "and not which");
    for wrong in ["", "1a", "12 3", &"1".repeat(33)] {
        assert_eq!(
            script.presses("ana", call, wrong),
            Err(Rejected::NotKeys { max: 32 }),
            "{wrong}"
        );
    }
    // Another node that takes the call over does not press them again.
    script.gives(Command::NodeLost { node: NODE, silent_ms: 0 });
    let other = tandem_center::NodeId(2);
    script.gives(Command::NodeUp { node: other, homes: Vec::new(), sockets_are_lost: true });
    assert_eq!((script.call(call).owner, script.call(call).epoch), (other, 1));
    assert!(script.call(call).wants().keys.is_empty());
    script.holds("ana", call).unwrap();
    assert!(matches!(script.presses("ana", call, "1"), Err(Rejected::WrongPhase { .. })));
}

#[test]
fn a_recording_is_interrupted_and_goes_on() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let before = script.call(call).wants().record;
    assert!(before.is_some());
    assert_eq!(script.pauses("ana", call, true), Ok(Reply::Done));
    assert_eq!(script.call(call).wants().record, None);
    assert_eq!(script.pauses("ana", call, true), Ok(Reply::Already));
    assert_eq!(script.pauses("ana", call, false), Ok(Reply::Done));
    assert_eq!(script.call(call).wants().record, before);
    assert!(script.story(call).contains(&"ana pauses the recording".to_owned()));
    script.ends(call, 1);
    let call = script.agent_dials("ana", "service").unwrap();
    script.answers(call, 0);
    script.answers(call, 1);
    assert!(
        matches!(script.pauses("ana", call, true), Err(Rejected::WrongPhase { .. })),
        "no recording"
    );
}

#[test]
fn a_call_that_rings_is_deflected_and_comes_back_if_nobody_takes_it() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.dials("sales");
    assert_eq!(script.deflects("ana", call, "service"), Ok(Reply::Done));
    assert_eq!(script.state("ana"), "ready", "and not punished");
    assert_eq!(invited(script.wants(call, 1)), ("sip:x@127.0.0.1:5070".into(), false));
    assert_eq!(script.hears(call, 0), Some(Hears::Ringback));
    script.fails(call, 1, 486);
    assert_eq!(script.offered_to(call), Some("ana".into()));
    script.accepts("ana", call).unwrap();
    script.answers(call, 2);
    script.caller_hangs_up(call);
    assert_eq!(script.cdr().result, CallResult::Answered);

    let call = script.dials("ana");
    assert!(script.offered_to(call).is_none(), "in wrap-up");
    script.after_seconds(10);
    let call = script.dials("ana");
    let refused = Err(Rejected::NoWayTo { number: "x".into() });
    assert_eq!(script.deflects("ana", call, "x"), refused);
    assert!(matches!(script.deflects("bob", call, "service"), Err(Rejected::NotYourCall { .. })));
    // The caller was not answered, and nobody else is there: the refusal is theirs.
    script.deflects("ana", call, "closed").unwrap();
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 480 }));
    let call = script.dials("ana");
    script.accepts("ana", call).unwrap();
    assert!(matches!(script.deflects("ana", call, "service"), Err(Rejected::WrongPhase { .. })));
}

#[test]
fn a_parked_call_hears_music_and_is_picked_up_by_another() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.signs_in("bob", 66);
    script.now = script.now.plus_seconds(3);
    assert_eq!(script.parks("ana", call), Ok(Reply::Parked { slot: 1 }));
    assert!(matches!(script.told("ana")[0], Happened::Parked { slot: 1, .. }));
    assert_eq!((script.state("ana"), script.hears(call, 0)), ("in wrap-up", Some(Hears::Music)));
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::Transferred }));
    assert_eq!(script.picks_up("bob", 2), Err(Rejected::EmptySlot { slot: 2 }));
    script.after_seconds(30);
    assert_eq!(script.picks_up("bob", 1), Ok(Reply::Done));
    assert_eq!(script.state("bob"), "reserved");
    assert_eq!(invited(script.wants(call, 2)), ("sip:phone@127.0.0.1".into(), true));
    script.answers(call, 2);
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (one(2), one(0)));
    assert_eq!(script.picks_up("bob", 1), Err(Rejected::EmptySlot { slot: 1 }));
    script.caller_hangs_up(call);
    let kinds: Vec<_> = script.cdr().segments.iter().map(|segment| segment.kind.clone()).collect();
    let talk = |name| SegmentKind::Talk(Some(agent(name)));
    let (queued, ringing) = (SegmentKind::Queue(queue("sales")), SegmentKind::Ringing);
    assert_eq!(kinds, [queued, talk("ana"), SegmentKind::Park, ringing, talk("bob")]);
}

#[test]
fn a_parked_call_goes_back_to_who_parked_it_when_that_is_possible() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.parks("ana", call).unwrap();
    // Ana talks with somebody else when it is due, so it stays.
    let other = script.dials("sales");
    script.after_seconds(10);
    script.accepts("ana", other).unwrap();
    script.answers(other, 1);
    let second = script.parks("ana", call);
    assert!(matches!(second, Err(Rejected::NotYourCall { .. })), "{second:?}");
    script.after_seconds(115);
    assert_eq!(script.call(call).phase_name(), "parked");
    script.caller_hangs_up(other);
    script.after_seconds(115);
    assert_eq!(script.offered_to(call), Some("ana".into()));
    // Nobody is there: then it is over.
    script.after_seconds(60);
    assert_eq!(script.state("ana"), "not ready");
    assert!(script.center.call(call).is_none_or(|call| call.has_ended()));
    // Who gives up in a slot has talked.
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.parks("ana", call).unwrap();
    script.caller_hangs_up(call);
    assert_eq!(script.cdr().result, CallResult::Answered);
}

#[test]
fn slots_are_given_from_the_lowest_and_freed() {
    let mut script = Script::new();
    let first = script.talks_with("ana");
    script.parks("ana", first).unwrap();
    script.becomes("ana", not_ready("lunch"));
    let second = script.talks_with("bob");
    assert_eq!(script.parks("bob", second), Ok(Reply::Parked { slot: 2 }));
    script.caller_hangs_up(first);
    script.becomes("bob", not_ready("lunch"));
    let third = script.talks_with("ana");
    assert_eq!(script.parks("ana", third), Ok(Reply::Parked { slot: 1 }));
}
