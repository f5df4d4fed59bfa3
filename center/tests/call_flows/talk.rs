//! Conversations that grow and shrink: consultation, conference, transfer and its return.

use tandem_center::record::SegmentKind;
use tandem_center::{CallResult, Cause, Happened, Hears, LegWant, Phase, Rejected, Reply, Side};

use crate::script::{Script, agent, invited, leg, queue};

/// The caller talks with ana; cyd, whose phone rings by itself, is there too.
fn ana_talks() -> (Script, tandem_center::CallId) {
    let mut script = Script::new();
    let call = script.talks_with("ana");
    script.signs_in("cyd", 77);
    (script, call)
}

/// The same, and ana asks cyd, who has answered.
fn ana_asks_cyd() -> (Script, tandem_center::CallId) {
    let (mut script, call) = ana_talks();
    assert_eq!(script.consults("ana", call, "cyd"), Ok(Reply::Done));
    script.answers(call, 2);
    (script, call)
}

fn hears(script: &Script, call: tandem_center::CallId, legs: [u16; 3]) -> [Option<Hears>; 3] {
    legs.map(|number| script.hears(call, number))
}

/// Each hears both others.
fn all_three() -> [Option<Hears>; 3] {
    [[1, 2], [0, 2], [0, 1]].map(|others| Some(Hears::Mix(others.map(leg).into())))
}

fn other(number: u16) -> Option<Hears> {
    Some(Hears::Leg(leg(number)))
}

#[test]
fn an_agent_asks_another_while_the_caller_hears_music() {
    let (mut script, call) = ana_talks();
    script.now = script.now.plus_seconds(10);
    assert_eq!(script.consults("ana", call, "cyd"), Ok(Reply::Done));
    let to = "cyd".into();
    assert_eq!(script.told("ana"), [&Happened::Consulting { agent: agent("ana"), call, to }]);
    assert!(matches!(script.told("cyd")[..], [Happened::Offered { at_phone: true, .. }]));
    assert_eq!(script.offered_to(call), Some("cyd".into()));
    assert_eq!(invited(script.wants(call, 2)), ("sip:phone@127.0.0.1".into(), false));
    script.rings(call, 2);
    assert_eq!(script.state("cyd"), "ringing");
    assert_eq!(
        hears(&script, call, [0, 1, 2]),
        [Some(Hears::Music), Some(Hears::Ringback), Some(Hears::Nothing)]
    );
    assert_eq!(script.call(call).wants().record, None, "what is said aside is not recorded");
    script.answers(call, 2);
    let answered = Happened::ConsultationAnswered { agent: agent("ana"), call };
    assert_eq!(script.told("ana"), [&answered]);
    assert_eq!((script.state("ana"), script.state("cyd")), ("talking", "talking"));
    assert_eq!(hears(&script, call, [0, 1, 2]), [Some(Hears::Music), other(2), other(1)]);
}

#[test]
fn an_agent_goes_to_and_fro_between_the_two() {
    let (mut script, call) = ana_asks_cyd();
    assert_eq!(script.alternates("ana", call), Ok(Reply::Done));
    assert_eq!(hears(&script, call, [0, 1, 2]), [other(1), other(0), Some(Hears::Music)]);
    assert!(script.call(call).wants().record.is_some());
    assert_eq!(script.alternates("ana", call), Ok(Reply::Done));
    assert_eq!(hears(&script, call, [0, 1, 2]), [Some(Hears::Music), other(2), other(1)]);
    assert_eq!(script.reconnects("ana", call), Ok(Reply::Done));
    assert_eq!(script.wants(call, 2), Some(LegWant::Gone { cause: Cause::Withdrawn }));
    assert_eq!(hears(&script, call, [0, 1, 2]), [other(1), other(0), None]);
    assert_ne!(script.state("cyd"), "talking");
    assert_eq!(script.reconnects("ana", call), Ok(Reply::Already));
}

#[test]
fn three_talk_and_go_on_whoever_leaves() {
    for leaves in 0..3 {
        let (mut script, call) = ana_asks_cyd();
        assert_eq!(script.conferences("ana", call), Ok(Reply::Done));
        let (agent, parties) = (agent("cyd"), 3);
        assert_eq!(script.told("cyd"), [&Happened::Conferenced { agent, call, parties }]);
        assert_eq!(hears(&script, call, [0, 1, 2]), all_three());
        script.ends(call, leaves);
        let left: Vec<u16> = (0..3).filter(|number| *number != leaves).collect();
        assert_eq!(script.hears(call, left[0]), other(left[1]));
        assert_eq!(script.hears(call, left[1]), other(left[0]));
        assert!(script.wants(call, leaves).is_none(), "who left is not kept");
        script.ends(call, left[0]);
        assert_eq!(script.cdr().result, CallResult::Answered);
        assert!(!matches!(script.state("ana"), "talking" | "held"));
        assert!(!matches!(script.state("cyd"), "talking" | "held"));
    }
}

#[test]
fn who_holds_in_a_conference_leaves_the_others_talking() {
    let (mut script, call) = ana_asks_cyd();
    script.conferences("ana", call).unwrap();
    script.holds("ana", call).unwrap();
    assert_eq!((script.state("ana"), script.state("cyd")), ("held", "talking"));
    assert_eq!(hears(&script, call, [0, 1, 2]), [other(2), Some(Hears::Nothing), other(0)]);
    script.retrieves("ana", call).unwrap();
    assert_eq!(hears(&script, call, [0, 1, 2]), all_three());
}

#[test]
fn an_agent_leaves_the_caller_to_whom_they_asked() {
    let (mut script, call) = ana_asks_cyd();
    script.now = script.now.plus_seconds(5);
    assert_eq!(script.transfers("ana", call, None), Ok(Reply::Done));
    assert_eq!(script.wants(call, 1), Some(LegWant::Gone { cause: Cause::Transferred }));
    let to = None;
    let told = Happened::Transferred { agent: agent("ana"), call, to };
    assert_eq!(script.told("ana")[0], &told);
    assert!(matches!(script.told("ana")[1], Happened::Cleared { cause: Cause::Transferred, .. }));
    assert_eq!((script.state("ana"), script.state("cyd")), ("in wrap-up", "talking"));
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (other(2), other(0)));
    script.ends(call, 1);
    assert!(script.wants(call, 1).is_none(), "it is forgotten when it is gone from the wire");
    script.now = script.now.plus_seconds(20);
    script.caller_hangs_up(call);
    let cdr = script.cdr();
    assert_eq!((cdr.agent.clone(), cdr.hold_ms, cdr.talk_ms), (Some(agent("cyd")), 5_000, 20_000));
    let kinds: Vec<_> = cdr.segments.iter().map(|segment| segment.kind.clone()).collect();
    let talk = |name| SegmentKind::Talk(Some(agent(name)));
    assert_eq!(kinds, [SegmentKind::Queue(queue("sales")), talk("ana"), talk("cyd")]);
    assert_eq!(script.state("cyd"), "in wrap-up");
}

#[test]
fn hanging_up_during_a_consultation_transfers() {
    let (mut script, call) = ana_asks_cyd();
    script.ends(call, 1);
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (other(2), other(0)));
    assert!(script.wants(call, 1).is_none());

    let (mut script, call) = ana_talks();
    script.consults("ana", call, "cyd").unwrap();
    script.hangs_up("ana", call).unwrap();
    assert_eq!(script.hears(call, 0), Some(Hears::Ringback), "the caller waits for cyd");
    assert_eq!(script.state("ana"), "in wrap-up");
    script.answers(call, 2);
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (other(2), other(0)));
}

#[test]
fn who_was_asked_and_vanishes_leaves_the_agent_with_the_caller() {
    let (mut script, call) = ana_asks_cyd();
    script.ends(call, 2);
    let ended = Happened::ConsultationEnded { agent: agent("ana"), call, cause: Cause::HungUp };
    assert_eq!(script.told("ana"), [&ended]);
    assert_eq!(hears(&script, call, [0, 1, 2]), [other(1), other(0), None]);

    let (mut script, call) = ana_talks();
    script.consults("ana", call, "cyd").unwrap();
    script.fails(call, 2, 486);
    assert_eq!(hears(&script, call, [0, 1, 2]), [other(1), other(0), None]);

    script.consults("ana", call, "0777").unwrap();
    script.after_seconds(60);
    assert_eq!(hears(&script, call, [0, 1, 3]), [other(1), other(0), None]);
    assert_eq!(script.wants(call, 3), Some(LegWant::Gone { cause: Cause::NoAnswer }));
}

#[test]
fn whom_an_agent_asks_and_does_not_want_any_more_is_free_again() {
    let (mut script, call) = ana_talks();
    script.transfers("ana", call, Some("cyd")).unwrap();
    script.answers(call, 2);
    assert_eq!(script.consults("cyd", call, "ana"), Ok(Reply::Done));
    assert_eq!(script.state("ana"), "ringing", "at the desk: there is no leg yet");
    script.reconnects("cyd", call).unwrap();
    assert_eq!(script.state("ana"), "ready");
    assert!(matches!(script.told("ana")[..], [Happened::OfferEnded { .. }]));
}

#[test]
fn a_caller_who_leaves_during_a_consultation_leaves_two_talking() {
    let (mut script, call) = ana_asks_cyd();
    script.caller_hangs_up(call);
    assert_eq!((script.hears(call, 1), script.hears(call, 2)), (other(2), other(1)));
    script.hangs_up("cyd", call).unwrap();
    assert!(script.call(call).has_ended());

    let (mut script, call) = ana_talks();
    script.consults("ana", call, "cyd").unwrap();
    script.caller_hangs_up(call);
    assert!(script.call(call).has_ended(), "nobody had answered yet");
    assert_eq!(script.offered_to(call), None);
}

#[test]
fn a_blind_transfer_goes_to_numbers_queues_and_agents() {
    let (mut script, call) = ana_talks();
    assert_eq!(script.transfers("ana", call, Some("service")), Ok(Reply::Done));
    assert_eq!(invited(script.wants(call, 2)).0, "sip:x@127.0.0.1:5070");
    assert_eq!(script.hears(call, 0), Some(Hears::Ringback));
    script.answers(call, 2);
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (other(2), other(0)));

    let (mut script, call) = ana_talks();
    script.transfers("ana", call, Some("sales")).unwrap();
    assert!(
        matches!(script.call(call).phase, Phase::Queued { ref offers, .. } if offers.is_empty())
    );
    script.caller_hangs_up(call);
    assert_eq!(script.cdr().result, CallResult::Answered, "somebody had talked with the caller");

    let (mut script, call) = ana_talks();
    script.transfers("ana", call, Some("cyd")).unwrap();
    script.answers(call, 2);
    assert_eq!(script.state("cyd"), "talking");
}

#[test]
fn a_transfer_to_nowhere_leaves_or_returns_the_caller() {
    let (mut script, call) = ana_talks();
    let nowhere = Rejected::NoWayTo { number: "nowhere".into() };
    assert_eq!(script.transfers("ana", call, Some("nowhere")), Err(nowhere));
    assert_eq!(script.hears(call, 0), other(1));

    script.transfers("ana", call, Some("closed")).unwrap();
    assert_eq!(script.offered_to(call), Some("ana".into()), "it comes back at once");
    assert_eq!(script.state("ana"), "ringing");
    script.accepts("ana", call).unwrap();
    script.answers(call, 2);
    assert_eq!((script.hears(call, 0), script.hears(call, 2)), (other(2), other(0)));

    script.transfers("ana", call, Some("service")).unwrap();
    script.fails(call, 3, 486);
    assert_eq!(script.offered_to(call), Some("ana".into()));
    script.declines("ana", call).unwrap();
    assert!(script.call(call).has_ended(), "it comes back only once");
    assert_eq!(script.cdr().result, CallResult::Answered);
}

#[test]
fn a_transfer_that_nobody_answers_comes_back_unless_the_agent_is_busy() {
    let (mut script, call) = ana_talks();
    script.transfers("ana", call, Some("service")).unwrap();
    script.after_seconds(120);
    let story = script.story(call);
    assert!(story.iter().any(|note| note.contains("came back to ana")), "{story:?}");

    let (mut script, call) = ana_talks();
    script.transfers("ana", call, Some("cyd")).unwrap();
    script.after_seconds(11);
    let second = script.dials("sales");
    script.accepts("ana", second).unwrap();
    script.fails(call, 2, 486);
    assert!(script.call(call).has_ended());
}

#[test]
fn the_customer_of_an_outbound_call_is_transferred_too() {
    let mut script = Script::new();
    script.is_ready("ana");
    script.signs_in("cyd", 77);
    let call = script.agent_dials("ana", "0123").unwrap();
    script.answers(call, 0);
    script.answers(call, 1);
    script.transfers("ana", call, Some("sales")).unwrap();
    assert_eq!(script.hears(call, 1), Some(Hears::Music));
    assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::Transferred }));
    script.ends(call, 0);
    assert!(script.wants(call, 0).is_none());
    script.is_ready("bob");
    script.accepts("bob", call).unwrap();
    script.answers(call, 2);
    assert_eq!((script.hears(call, 1), script.hears(call, 2)), (other(2), other(1)));
    script.ends(call, 1);
    assert_eq!(script.cdr().ended_by, Side::Called);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let (mut script, call) = ana_talks();
    let refused = |result: Result<Reply, Rejected>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Rejected::WrongPhase { .. }), "{error}");
    };
    refused(script.alternates("ana", call));
    refused(script.conferences("ana", call));
    refused(script.transfers("ana", call, None));
    let queue = Rejected::NotAPerson { number: "sales".into() };
    assert_eq!(script.consults("ana", call, "sales"), Err(queue));
    let busy = script.consults("ana", call, "ana").unwrap_err();
    assert!(matches!(busy, Rejected::WrongState { .. }), "{busy}");
    let stranger = Rejected::NotYourCall { call, agent: agent("cyd") };
    assert_eq!(script.transfers("cyd", call, Some("service")), Err(stranger));

    script.consults("ana", call, "cyd").unwrap();
    refused(script.consults("ana", call, "service"));
    refused(script.conferences("ana", call));
    refused(script.transfers("ana", call, Some("service")));
    script.answers(call, 2);
    refused(script.consults("cyd", call, "service"));
    refused(script.transfers("cyd", call, None));
}
