//! What a call wants in each phase, as a whole: legs, media, action and recording.

use std::collections::{BTreeMap, BTreeSet};

use tandem_center::{CallId, Cause, Hears, LegWant, Party, RecordingId, Role, Wants};

use crate::script::{Script, agent, leg};

fn wants<const L: usize, const M: usize>(
    legs: [(u16, LegWant); L],
    media: [(u16, Hears); M],
) -> Wants {
    let legs: BTreeMap<_, _> = legs.into_iter().map(|(n, want)| (leg(n), want)).collect();
    let media = media.into_iter().map(|(n, hears)| (leg(n), hears)).collect();
    Wants {
        legs,
        media,
        act: None,
        record: None,
        off_record: BTreeSet::new(),
        keys: BTreeMap::new(),
        moved: None,
    }
}

fn alice() -> Party {
    Party { number: "100".into(), name: Some("Alice".into()) }
}

fn phone(name: &str, auto_answer: bool, ring_seconds: u32) -> LegWant {
    let (role, target) = (Role::Agent(agent(name)), "sip:phone@127.0.0.1".into());
    LegWant::Invited { role, target, shows: alice(), auto_answer, ring_seconds }
}

fn all(script: &Script, call: CallId) -> Wants {
    let wants = script.call(call).wants();
    assert_eq!(wants, script.call(call).wants(), "the same value wants the same");
    wants
}

#[test]
fn dialing_before_the_answer() {
    let mut script = Script::new();
    let call = script.dials("service");
    let target = LegWant::Invited {
        role: Role::Target,
        target: "sip:x@127.0.0.1:5070".into(),
        shows: alice(),
        auto_answer: false,
        ring_seconds: 60,
    };
    let expected = wants(
        [(0, LegWant::RingWithPeer(leg(1))), (1, target)],
        [(0, Hears::Ringback), (1, Hears::Nothing)],
    );
    assert_eq!(all(&script, call), expected);
    // That it rings needs no commit, and changes nothing when it has one.
    script.rings(call, 1);
    assert_eq!(all(&script, call), expected);
}

#[test]
fn bridged_without_recording() {
    let mut script = Script::new();
    let call = script.dials("service");
    script.answers(call, 1);
    let expected = wants(
        [(0, LegWant::Answered), (1, LegWant::Answered)],
        [(0, Hears::Leg(leg(1))), (1, Hears::Leg(leg(0)))],
    );
    assert_eq!(all(&script, call), expected);
}

#[test]
fn queued_without_an_offer_offered_at_the_desk_and_accepted() {
    let mut script = Script::new();
    let call = script.dials("sales");
    let waiting = wants([(0, LegWant::Answered)], [(0, Hears::Music)]);
    assert_eq!(all(&script, call), waiting);
    script.is_ready("ana");
    assert_eq!(all(&script, call), waiting);
    script.accepts("ana", call).unwrap();
    let accepted = wants(
        [(0, LegWant::Answered), (1, phone("ana", true, 10))],
        [(0, Hears::Music), (1, Hears::Nothing)],
    );
    assert_eq!(all(&script, call), accepted);
}

#[test]
fn queued_and_ringing_at_the_phone() {
    let mut script = Script::new();
    script.is_ready("cyd");
    let call = script.dials("sales");
    let expected = wants(
        [(0, LegWant::Answered), (1, phone("cyd", false, 15))],
        [(0, Hears::Music), (1, Hears::Nothing)],
    );
    assert_eq!(all(&script, call), expected);
}

#[test]
fn recorded_through_a_hold_until_the_end() {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    let record = Some(RecordingId(call.to_string().into()));
    let legs = || [(0, LegWant::Answered), (1, LegWant::Answered)];
    let talking = wants(legs(), [(0, Hears::Leg(leg(1))), (1, Hears::Leg(leg(0)))]);
    assert_eq!(all(&script, call), Wants { record: record.clone(), ..talking });
    script.holds("ana", call).unwrap();
    let held = wants(legs(), [(0, Hears::Music), (1, Hears::Nothing)]);
    assert_eq!(all(&script, call), Wants { record, ..held });
    script.hangs_up("ana", call).unwrap();
    let over = [
        (0, LegWant::Gone { cause: Cause::PeerGone }),
        (1, LegWant::Gone { cause: Cause::HungUp }),
    ];
    assert_eq!(all(&script, call), wants(over, []));
}

#[test]
fn direct_before_and_after_the_answer() {
    let mut script = Script::new();
    script.is_ready("cyd");
    let call = script.dials("cyd");
    let expected = wants(
        [(0, LegWant::Ring), (1, phone("cyd", false, 20))],
        [(0, Hears::Ringback), (1, Hears::Nothing)],
    );
    assert_eq!(all(&script, call), expected);
}

#[test]
fn the_echo() {
    let mut script = Script::new();
    let call = script.dials("echo");
    assert_eq!(all(&script, call), wants([(0, LegWant::Answered)], [(0, Hears::Echo)]));
}

#[test]
fn the_first_leg_of_an_outbound_call() {
    let mut script = Script::new();
    script.is_ready("ana");
    let call = script.agent_dials("ana", "0123").unwrap();
    let shows = Party { number: "0123".into(), name: None };
    let own = LegWant::Invited {
        role: Role::Agent(agent("ana")),
        target: "sip:phone@127.0.0.1".into(),
        shows,
        auto_answer: true,
        ring_seconds: 10,
    };
    assert_eq!(all(&script, call), wants([(0, own)], [(0, Hears::Nothing)]));
}

#[test]
fn an_offer_that_went_on_leaves_the_first_phone_to_be_ended() {
    let mut script = Script::new();
    script.is_ready("cyd");
    let call = script.dials("sales");
    script.is_ready("bob");
    script.after_seconds(15);
    assert_eq!(script.offered_to(call).as_deref(), Some("bob"));
    let expected = wants(
        [(0, LegWant::Answered), (1, LegWant::Gone { cause: Cause::NoAnswer })],
        [(0, Hears::Music)],
    );
    assert_eq!(all(&script, call), expected);
    // Gone from the wire: nobody asks any more.
    script.fails(call, 1, 487);
    assert_eq!(all(&script, call), wants([(0, LegWant::Answered)], [(0, Hears::Music)]));
}

#[test]
fn the_legs_of_a_call_that_goes_from_agent_to_agent_stay_bounded() {
    let mut script = Script::new();
    let call = script.dials("quiet");
    for _ in 0..100 {
        script.after_seconds(15); // bot does not answer
        script.after_seconds(5); // and is asked again
    }
    assert!(script.call(call).next_leg >= 100);
    assert!(script.call(call).legs.len() <= tandem_center::call::LEGS_MAX);
    assert!(script.call(call).legs.contains_key(&leg(0)));
}
