//! Several trunks lead to a number: one stands in for the other, and none carries more than it may.

use std::sync::Arc;

use tandem_center::call::Attempt;
use tandem_center::directory::{Limits, OutboundRule, TrunkConfig};
use tandem_center::{
    CallId, CallResult, Cause, Command, Directory, LegWant, NodeId, Rejected, Reply, Role, Route,
};

use crate::script::{NODE, Script, agent, directory, leg};

/// `first` before `second` and `third`, which are equals; all lead to what begins with 0.
fn trunks() -> Directory {
    let mut all = directory();
    let trunk = |priority: u8, shows: &str| TrunkConfig {
        priority,
        weight: 10,
        failover: vec![408, 503],
        shows: Some(shows.into()),
        ..TrunkConfig::default()
    };
    all.trunks = [("first", 1, "1"), ("second", 2, "2"), ("third", 2, "3")]
        .map(|(name, priority, shows)| (name.into(), trunk(priority, shows)))
        .into();
    let rule = |name: &str, add: &str| OutboundRule {
        prefix: "0".into(),
        trunk: name.into(),
        strip: 1,
        add: add.into(),
    };
    all.outbound = vec![rule("first", "+"), rule("second", "00"), rule("third", "")];
    all.numbers.insert("out".into(), Route::Target("sip:x@127.0.0.1".into()));
    all
}

/// Only `first`, with these bounds, and calls that come by it to `echo`.
fn limited(incoming: Limits, outgoing: Limits) -> Directory {
    let mut all = trunks();
    all.outbound.truncate(1);
    let first = all.trunks.get_mut("first").expect("one of the three");
    (first.incoming, first.outgoing) = (incoming, outgoing);
    all
}

fn no_more_than(calls: u32, per_second: u32) -> Limits {
    Limits { calls, per_second }
}

/// The trunk that a leg goes by, and as which number.
fn goes_by(script: &Script, call: CallId, number: u16) -> Option<(Arc<str>, Arc<str>)> {
    let Some(LegWant::Invited { role: Role::Trunk(name), target, .. }) = script.wants(call, number)
    else {
        return None;
    };
    Some((name, target))
}

fn trunk_fails(script: &mut Script, call: CallId, number: u16, status: u16, retry: Option<u32>) {
    let (leg, relayed) = (leg(number), if status == 503 { 500 } else { status });
    script.gives(Command::TrunkFailed { call, leg, status, relayed, retry_after_seconds: retry });
}

/// Ana dials 0123 and her own phone answers: leg 1 is on its way.
fn ana_calls(script: &mut Script) -> CallId {
    let call = script.agent_dials("ana", "0123").expect("she is ready");
    script.answers(call, 0);
    call
}

fn comes_by(script: &mut Script, trunk: &str, number: &str) -> CallId {
    let arrived = script.arrived("echo");
    let call = arrived.call;
    let mut arrived = tandem_center::Arrived { trunk: Some(trunk.into()), ..arrived };
    arrived.caller.number = number.into();
    script.gives(Command::Arrived(Box::new(arrived)));
    call
}

#[test]
fn a_trunk_that_fails_is_followed_by_the_next_until_one_answers() {
    let mut script = Script::with(trunks());
    script.is_ready("ana");
    let call = ana_calls(&mut script);
    assert_eq!(goes_by(&script, call, 1), Some(("first".into(), "+123".into())));
    trunk_fails(&mut script, call, 1, 503, None);
    assert_eq!(script.wants(call, 1), None, "the leg is over");
    let (second, number) = goes_by(&script, call, 2).unwrap();
    let rewritten = if &*second == "second" { "00123" } else { "123" };
    assert_eq!(&*number, rewritten, "each trunk gets the number as it needs it");
    let shown = &script.call(call).legs[&leg(2)].shows.number;
    assert_eq!(&**shown, if &*second == "second" { "2" } else { "3" });
    trunk_fails(&mut script, call, 2, 408, None);
    let (third, _) = goes_by(&script, call, 3).unwrap();
    assert_ne!(second, third);
    script.answers(call, 3);
    assert_eq!(script.state("ana"), "talking");
    script.ends(call, 3);
    assert_eq!(script.cdr().result, CallResult::Answered);
}

#[test]
fn when_the_last_one_fails_the_call_has_failed_and_the_caller_is_told_no_503_of_ours() {
    let mut script = Script::with(trunks());
    script.is_ready("ana");
    let call = ana_calls(&mut script);
    for number in 1..=3 {
        trunk_fails(&mut script, call, number, 503, None);
    }
    assert_eq!(goes_by(&script, call, 4), None);
    assert_eq!(script.cdr().result, CallResult::Failed);
    assert_eq!(script.cdr().cause, Cause::Refused { status: 500 });
}

#[test]
fn busy_speaks_of_who_was_called_and_no_other_trunk_is_tried() {
    let mut script = Script::with(trunks());
    script.is_ready("ana");
    let call = ana_calls(&mut script);
    trunk_fails(&mut script, call, 1, 486, None);
    assert_eq!(script.cdr().result, CallResult::Busy);
}

#[test]
fn who_adopts_a_call_goes_on_with_the_next_trunk() {
    let mut script = Script::with(trunks());
    let other = NodeId(2);
    script.gives(Command::NodeUp { node: other, homes: Vec::new(), sockets_are_lost: true });
    script.is_ready("ana");
    let call = ana_calls(&mut script);
    script.gives(Command::NodeLost { node: NODE, silent_ms: 0 });
    assert_eq!(script.call(call).owner, other);
    // What the dead node was doing with the first one nobody knows.
    script.fails(call, 1, 503);
    let tried = |script: &Script| {
        let attempt: Option<&Attempt> = script.call(call).legs[&leg(2)].attempt.as_deref();
        attempt.unwrap().tried.clone()
    };
    assert_eq!(tried(&script).len(), 2);
    assert_eq!(&*tried(&script)[0], "first");
    script.answers(call, 2);
    assert_eq!(script.call(call).phase_name(), "connected");
}

#[test]
fn who_is_consulted_is_reached_by_the_next_trunk_too() {
    let mut script = Script::with(trunks());
    let call = script.talks_with("ana");
    let command = script.next_command();
    let consult = Command::Consult { agent: agent("ana"), call, to: "0123".into(), command };
    assert_eq!(script.gives(consult), Reply::Done);
    let asked = script.call(call).next_leg - 1;
    assert_eq!(goes_by(&script, call, asked).unwrap().0, "first".into());
    trunk_fails(&mut script, call, asked, 503, None);
    assert_ne!(goes_by(&script, call, asked + 1).unwrap().0, "first".into());
    script.answers(call, asked + 1);
    assert_eq!(script.call(call).phase_name(), "consulting");
}

#[test]
fn equals_share_calls_by_weight() {
    let mut all = trunks();
    all.trunks.remove("first");
    all.outbound.remove(0);
    all.trunks.get_mut("third").unwrap().weight = 30;
    let mut script = Script::with(all);
    script.is_ready("ana");
    let mut by_third = 0;
    for _ in 0..400 {
        let call = ana_calls(&mut script);
        by_third += u32::from(goes_by(&script, call, 1).unwrap().0 == "third".into());
        script.hangs_up("ana", call).unwrap();
        script.after_seconds(1);
    }
    // 300 are expected; five standard deviations of a fair draw are 43.
    assert!((257..=343).contains(&by_third), "{by_third}");
}

#[test]
fn a_trunk_that_asks_to_be_left_alone_is_until_its_time_is_over_21_5_4() {
    let mut script = Script::with(trunks());
    script.is_ready("ana");
    let call = ana_calls(&mut script);
    trunk_fails(&mut script, call, 1, 503, Some(60));
    assert!(script.center.trunk_rests_until("first").is_some());
    script.hangs_up("ana", call).unwrap();
    script.after_seconds(30);
    let call = ana_calls(&mut script);
    assert_ne!(goes_by(&script, call, 1).unwrap().0, "first".into());
    script.hangs_up("ana", call).unwrap();
    script.after_seconds(31);
    let call = ana_calls(&mut script);
    assert_eq!(goes_by(&script, call, 1).unwrap().0, "first".into());
}

#[test]
fn a_full_trunk_takes_no_call_out_and_one_after_that_ended() {
    let mut script = Script::with(limited(Limits::default(), no_more_than(1, 0)));
    script.is_ready("ana");
    script.is_ready("bob");
    let call = ana_calls(&mut script);
    script.answers(call, 1);
    assert_eq!(script.center.trunk_calls("first").outgoing, 1);
    let other = script.agent_dials("bob", "0123").unwrap();
    script.answers(other, 0);
    assert_eq!(script.cdr().cause, Cause::Refused { status: 503 });
    // Who asks is told, and stays where they are.
    script.hangs_up("ana", call).unwrap();
    assert_eq!(script.center.trunk_calls("first").outgoing, 0);
    script.after_seconds(20);
    let call = ana_calls(&mut script);
    assert!(goes_by(&script, call, 1).is_some());
}

#[test]
fn a_full_trunk_is_said_to_who_wants_to_consult() {
    let mut script = Script::with(limited(Limits::default(), no_more_than(1, 0)));
    let talks = script.talks_with("ana");
    script.is_ready("bob");
    let other = script.agent_dials("bob", "0123").unwrap();
    script.answers(other, 0);
    let command = script.next_command();
    let consult = Command::Consult { agent: agent("ana"), call: talks, to: "0123".into(), command };
    assert_eq!(script.tries(consult), Err(Rejected::NoTrunkFree { number: "0123".into() }));
    assert_eq!(script.state("ana"), "talking");
}

#[test]
fn calls_leave_no_faster_than_their_trunk_takes_them() {
    let mut script = Script::with(limited(Limits::default(), no_more_than(0, 2)));
    for name in ["ana", "bob", "cyd"] {
        script.is_ready(name);
    }
    let mut dials = |name: &str| {
        let call = script.agent_dials(name, "0123").unwrap();
        script.answers(call, 0);
        let goes = goes_by(&script, call, 1).is_some();
        if goes {
            script.hangs_up(name, call).unwrap();
        }
        script.now = tandem_center::Millis(script.now.0 + 100);
        goes
    };
    assert_eq!([dials("ana"), dials("bob"), dials("cyd")], [true, true, false]);
}

#[test]
fn a_trunk_brings_no_more_calls_than_it_may_and_is_told_503() {
    let mut script = Script::with(limited(no_more_than(2, 0), Limits::default()));
    let first = comes_by(&mut script, "first", "100");
    comes_by(&mut script, "first", "101");
    let third = comes_by(&mut script, "first", "102");
    assert_eq!(script.wants(third, 0), Some(LegWant::Refused { status: 503 }));
    assert_eq!((script.cdr().result, script.cdr().status), (CallResult::Rejected, Some(503)));
    assert_eq!(script.center.trunk_calls("first").incoming, 2);
    let elsewhere = comes_by(&mut script, "second", "103");
    assert_eq!(script.call(elsewhere).phase_name(), "in the echo");
    script.caller_hangs_up(first);
    let again = comes_by(&mut script, "first", "102");
    assert_eq!(script.call(again).phase_name(), "in the echo");
}

#[test]
fn a_trunk_brings_calls_no_faster_than_it_may() {
    let mut script = Script::with(limited(no_more_than(0, 1), Limits::default()));
    let first = comes_by(&mut script, "first", "100");
    let second = comes_by(&mut script, "first", "100");
    assert_eq!(script.call(first).phase_name(), "in the echo");
    assert_eq!(script.call(second).phase_name(), "over");
    script.after_seconds(1);
    let third = comes_by(&mut script, "first", "100");
    assert_eq!(script.call(third).phase_name(), "in the echo");
}

#[test]
fn a_trunk_that_a_node_does_not_reach_is_passed_over_there_as_long_as_another_is_reached() {
    let mut script = Script::with(trunks());
    let other = NodeId(2);
    for node in [NODE, other] {
        script.gives(Command::NodeUp { node, homes: Vec::new(), sockets_are_lost: true });
    }
    let sees = |script: &mut Script, node, trunk: &str, reached| {
        script.gives(Command::TrunkSeen { node, trunk: trunk.into(), reached })
    };
    assert_eq!(sees(&mut script, NODE, "first", false), Reply::Done);
    assert_eq!(sees(&mut script, NODE, "first", false), Reply::Already);
    assert_eq!(sees(&mut script, NODE, "nobody's", false), Reply::Already);
    script.is_ready("ana");
    let first_choice = |script: &mut Script| {
        let call = ana_calls(script);
        let (trunk, _) = goes_by(script, call, 1).expect("a way out");
        script.hangs_up("ana", call).unwrap();
        script.after_seconds(10);
        trunk
    };
    assert_ne!(first_choice(&mut script), "first".into());
    // The other node has a network of its own, and its calls go on as they did.
    assert!(script.center.trunk_is_reached("first", other));
    let command = script.next_command();
    let dial = tandem_center::Dial {
        agent: agent("ana"),
        call: CallId(900),
        salt: 1,
        to: "0123".into(),
        owner: other,
        command,
    };
    script.gives(Command::Dial(Box::new(dial)));
    script.answers(CallId(900), 0);
    assert_eq!(goes_by(&script, CallId(900), 1).unwrap().0, "first".into());
    script.hangs_up("ana", CallId(900)).unwrap();
    script.after_seconds(10);
    // Where nothing is reached, what is configured counts.
    sees(&mut script, NODE, "second", false);
    sees(&mut script, NODE, "third", false);
    assert_eq!(first_choice(&mut script), "first".into());
    let loaded = tandem_center::Center::load(&script.center.save()).unwrap();
    assert!(!loaded.trunk_is_reached("first", NODE));
    assert_eq!(sees(&mut script, NODE, "second", true), Reply::Done);
    assert_eq!(first_choice(&mut script), "second".into());
    // A process that is started again knows nothing yet.
    script.gives(Command::NodeUp { node: NODE, homes: Vec::new(), sockets_are_lost: true });
    assert!(script.center.trunk_is_reached("first", NODE));
    assert_eq!(script.center.trunk("first").unwrap().went.begun, 2);
}

#[test]
fn what_trunks_carried_and_which_rest_is_kept_in_a_snapshot() {
    let mut script = Script::with(limited(no_more_than(0, 1), no_more_than(5, 5)));
    script.is_ready("ana");
    comes_by(&mut script, "first", "100");
    let call = ana_calls(&mut script);
    trunk_fails(&mut script, call, 1, 503, Some(60));
    let loaded = tandem_center::Center::load(&script.center.save()).unwrap();
    assert_eq!(loaded.state_hash(), script.center.state_hash());
    assert_eq!(loaded.trunk_rests_until("first"), script.center.trunk_rests_until("first"));
    assert_eq!(loaded.trunk_calls("first").incoming, 1);
    // A trunk that is not configured any more is forgotten.
    script.gives(Command::Configure(Box::new(directory())));
    assert_eq!(script.center.trunk_rests_until("first"), None);
}
