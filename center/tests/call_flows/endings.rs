//! Every phase can end from every side: no leg is left alive, no agent is left bound, and one
//! record says who did it.

use tandem_center::timeline::NOTES_MAX;
use tandem_center::{CallId, CallResult, Cause, Command, LegNumber, LegState, Side};

use crate::script::{Script, agent};

/// Brings a call into a phase.
type Begins = fn(&mut Script) -> CallId;

/// Every phase that a call from outside can be in with agents about.
const INBOUND: [(&str, Begins); 9] = [
    ("dialling", |script| script.dials("service")),
    ("connected", |script| {
        let call = script.dials("service");
        script.answers(call, 1);
        call
    }),
    ("waiting", |script| script.dials("sales")),
    ("offered", |script| {
        script.is_ready("ana");
        script.dials("sales")
    }),
    ("offered", |script| {
        script.is_ready("ana");
        let call = script.dials("sales");
        assert!(script.accepts("ana", call).is_ok());
        call
    }),
    ("offered", |script| {
        script.is_ready("cyd");
        let call = script.dials("sales");
        script.rings(call, 1);
        call
    }),
    ("offered", |script| {
        script.is_ready("ana");
        script.dials("ana")
    }),
    ("connected", |script| script.talks_with("ana")),
    ("in the echo", |script| script.dials("echo")),
];

fn nobody_is_left(script: &Script, call: CallId) {
    assert!(script.call(call).has_ended());
    for (number, leg) in &script.call(call).legs {
        assert!(!leg.state.is_alive(), "leg {number} is {:?}", leg.state);
    }
    for agent in script.center.agents() {
        assert_eq!(agent.state.call(), None, "{}", agent.id);
    }
}

#[test]
fn the_caller_leaves_in_every_phase() {
    for (phase, begins) in INBOUND {
        let mut script = Script::new();
        let call = begins(&mut script);
        assert_eq!(script.call(call).phase_name(), phase);
        script.caller_hangs_up(call);
        assert_eq!(script.cdr().ended_by, Side::Caller);
        nobody_is_left(&script, call);
    }
}

#[test]
fn an_end_that_is_reported_late_is_recorded_as_when_it_was_seen() {
    for (phase, begins) in INBOUND {
        let mut script = Script::new();
        let call = begins(&mut script);
        script.after_seconds(2);
        let (now, leg) = (script.now, LegNumber::FIRST);
        let cause = Cause::HungUp;
        script.gives(Command::LegEndedBefore { call, leg, cause, ago_ms: 1_500 });
        let cdr = script.cdr().clone();
        assert_eq!(cdr.ended.0, now.0 - 1_500, "{phase}");
        assert_eq!(tandem_center::audit::check_record(&cdr), [], "{phase}");
        assert_eq!(tandem_center::audit::check_state(&script.center), [], "{phase}");
        nobody_is_left(&script, call);
        // Its node has its time to clear it away, whenever it ended.
        script.after_seconds(1);
        assert!(script.center.call(call).is_some(), "{phase}");
    }
}

#[test]
fn an_end_is_never_before_what_is_known_of_its_call() {
    for (phase, begins) in INBOUND {
        let mut script = Script::new();
        let call = begins(&mut script);
        let (leg, cause) = (LegNumber::FIRST, Cause::Lost);
        script.gives(Command::LegEndedBefore { call, leg, cause, ago_ms: u32::MAX });
        let cdr = script.cdr().clone();
        assert_eq!(tandem_center::audit::check_record(&cdr), [], "{phase}");
        nobody_is_left(&script, call);
    }
}

#[test]
fn the_callers_line_is_lost_in_every_phase() {
    for (_, begins) in INBOUND {
        let mut script = Script::new();
        let call = begins(&mut script);
        let leg = LegNumber::FIRST;
        script.gives(Command::LegEnded { call, leg, cause: Cause::Lost });
        assert_eq!(script.cdr().cause, Cause::Lost);
        nobody_is_left(&script, call);
    }
}

#[test]
fn the_other_leg_ends_or_fails_in_every_phase_that_has_one() {
    for (phase, begins) in INBOUND {
        for fails in [false, true] {
            let mut script = Script::new();
            let call = begins(&mut script);
            let Some(other) = script.call(call).legs.keys().nth(1).map(|leg| leg.0) else {
                continue;
            };
            if fails {
                script.fails(call, other, 500);
            } else {
                script.ends(call, other);
            }
            let state = script.call(call).legs[&LegNumber::FIRST].state;
            match (phase, fails) {
                // A leg in a conversation cannot fail; the report is late.
                ("connected", true) => assert!(state.is_answered()),
                // The queue goes on without this agent.
                ("offered", _) if script.call(call).queue.is_some() => {
                    assert_eq!(script.call(call).phase_name(), "waiting");
                    assert_eq!(script.call(call).redirects, 1);
                }
                _ => nobody_is_left(&script, call),
            }
        }
    }
}

#[test]
fn an_outbound_call_ends_from_either_side_in_every_phase() {
    let phases: [fn(&mut Script, CallId); 3] = [
        |_, _| {},
        |script, call| {
            script.answers(call, 0);
        },
        |script, call| {
            script.answers(call, 0);
            script.answers(call, 1);
        },
    ];
    for reaches in phases {
        for ends in 0..4 {
            let mut script = Script::new();
            script.is_ready("ana");
            let Ok(call) = script.agent_dials("ana", "0123") else { panic!() };
            reaches(&mut script, call);
            let has_second = script.call(call).legs.contains_key(&LegNumber(1));
            match ends {
                0 => drop(script.hangs_up("ana", call)),
                1 => drop(script.ends(call, 0)),
                2 if has_second => drop(script.ends(call, 1)),
                _ => drop(script.fails(call, u16::from(has_second), 500)),
            }
            let is_talking = script.call(call).talking_leg_of(&agent("ana")).is_some();
            if is_talking {
                assert_eq!(ends, 3, "only a late report of a failure ends nothing");
                continue;
            }
            nobody_is_left(&script, call);
            assert_eq!(script.last.records.len(), 2);
        }
    }
}

#[test]
fn hundreds_of_failed_offers_leave_a_bounded_call() {
    let mut script = Script::new();
    let call = script.dials("quiet");
    for offers in 1..=300 {
        let offer = script.call(call).offers().first().and_then(|offer| offer.stage.leg());
        script.fails(call, offer.expect("bot is asked").0, 503);
        assert_eq!(script.call(call).redirects, offers);
        script.after_seconds(5);
    }
    let call = script.call(call);
    assert_eq!((call.legs.len(), call.timeline.notes().count()), (2, NOTES_MAX));
    assert!(call.timeline.dropped() > 300);
}

#[test]
fn an_answered_caller_is_hung_up_and_an_unanswered_one_refused() {
    for (answer_ready, called, expected) in [
        (true, "sales", LegState::Ending { cause: Cause::WaitedTooLong }),
        (false, "sales", LegState::Refusing { status: 480 }),
    ] {
        let mut script = Script::new();
        let mut arrived = script.arrived(called);
        arrived.answer_ready = answer_ready;
        let call = arrived.call;
        script.gives(Command::Arrived(Box::new(arrived)));
        script.after_seconds(120);
        assert_eq!(script.cdr().result, CallResult::WaitedTooLong);
        assert_eq!(script.call(call).legs[&LegNumber::FIRST].state, expected);
    }
}
