//! Callers go through flows: menus, queues with data, transfers, versions, failures.

use std::collections::BTreeMap;

use tandem_center::call::Act;
use tandem_center::flow::{Action, IvrResult};
use tandem_center::{
    CallId, CallResult, Cause, Command, Directory, Happened, Hears, LegWant, NodeId, Phase,
    Rejected, Reply, Role, Route,
};

use crate::script::{Script, directory, leg, queue};

const FLOW: &str = r#"
title = "Test line"
start = "pick_up"
language = "en"

[steps.pick_up]
do = "answer"
next = "menu"

[steps.menu]
do = "menu"
prompts = "One for sales, two for your account."
retries = 1
choices = { 1 = "sales", 2 = "account", 3 = "outside", 4 = "target", 5 = "circle", 6 = "nowhere" }
on_failure = "bye"

[steps.account]
do = "collect"
prompts = "Your number?"
digits_min = 4
digits_max = 4
variable = "account"
next = "vip"
on_failure = "bye"

[steps.vip]
do = "enqueue"
queue = "sales"
priority = 5
data = { account = "{account}" }

[steps.sales]
do = "enqueue"
queue = "sales"

[steps.outside]
do = "transfer"
number = "0123"

[steps.target]
do = "transfer"
number = "service"

[steps.circle]
do = "transfer"
number = "circle"

[steps.nowhere]
do = "transfer"
number = "9999"

[steps.bye]
do = "hang_up"
"#;

/// A flow that refuses without answering.
const CLOSED: &str = r#"
title = "Closed"
start = "refuse"
[steps.refuse]
do = "hang_up"
cause = "busy"
"#;

/// A flow that leads to itself through its own number.
const CIRCLE: &str = r#"
title = "Circle"
start = "again"
[steps.again]
do = "transfer"
number = "circle"
"#;

fn with_flows() -> Directory {
    let mut directory = directory();
    for (name, text) in [("menu", FLOW), ("closed", CLOSED), ("circle", CIRCLE)] {
        directory.flows.insert(name.into(), text.into());
        directory.numbers.insert(name.into(), Route::Flow(name.into()));
    }
    directory
}

fn act(script: &Script, call: CallId) -> Act {
    script.call(call).wants().act.expect("the call is in a flow")
}

fn reports(script: &mut Script, call: CallId, result: IvrResult) -> Reply {
    let seq = act(script, call).seq;
    script.gives(Command::Ivr { call, seq, result })
}

fn presses(script: &mut Script, call: CallId, digits: &str) -> Reply {
    reports(script, call, IvrResult::Digits { digits: digits.to_owned() })
}

#[test]
fn a_caller_is_answered_by_the_commit_of_the_arrival_and_hears_the_menu() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered));
    assert_eq!(script.call(call).answered, Some(script.now));
    let Act { seq, action } = act(&script, call);
    assert!(matches!(action, Action::Collect { digits_max: 1, .. }), "{action:?}");
    assert_eq!(script.hears(call, 0), Some(Hears::Prompts { seq }));
}

#[test]
fn what_the_caller_typed_pops_up_with_the_offer_and_is_recorded() {
    let mut script = Script::with(with_flows());
    script.is_ready("ana");
    let call = script.dials("menu");
    script.now = script.now.plus_seconds(5);
    presses(&mut script, call, "2");
    presses(&mut script, call, "1234");
    let [Happened::Offered { call: screen, .. }] = script.told("ana")[..] else { panic!() };
    assert_eq!(screen.variables, [("account".to_owned(), "1234".to_owned())]);
    assert_eq!((screen.priority, &screen.queue), (5, &Some(queue("sales"))));
    script.accepts("ana", call).unwrap();
    script.answers(call, 1);
    script.hangs_up("ana", call).unwrap();
    let variables: BTreeMap<_, _> = script.cdr().variables.iter().cloned().collect();
    assert_eq!(variables["account"], "1234");
    assert_eq!(variables["caller_number"], "100");
    assert_eq!(script.cdr().flow.as_deref(), Some("menu"));
}

#[test]
fn a_repeated_or_late_report_of_an_action_does_nothing() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    let first = act(&script, call).seq;
    presses(&mut script, call, "2");
    let hash = script.center.state_hash();
    let digits = || IvrResult::Digits { digits: "1".into() };
    let again = Command::Ivr { call, seq: first, result: digits() };
    assert_eq!(script.gives(again), Reply::Already);
    assert_eq!(script.center.state_hash(), hash);
    presses(&mut script, call, "1234");
    let seq = first + 1;
    assert_eq!(script.gives(Command::Ivr { call, seq, result: digits() }), Reply::Already);
    script.caller_hangs_up(call);
    assert_eq!(script.gives(Command::Ivr { call, seq, result: digits() }), Reply::Already);
}

#[test]
fn a_flow_that_ends_completes_the_call() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    reports(&mut script, call, IvrResult::NoInput);
    reports(&mut script, call, IvrResult::NoInput);
    assert_eq!(script.cdr().result, CallResult::IvrCompleted);
    assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::FlowEnded }));
    assert_eq!(script.call(call).wants().act, None);
}

#[test]
fn a_flow_may_refuse_without_answering() {
    let mut script = Script::with(with_flows());
    let call = script.dials("closed");
    assert_eq!(script.wants(call, 0), Some(LegWant::Refused { status: 486 }));
    assert_eq!((script.cdr().result, script.cdr().answered), (CallResult::Busy, None));
}

#[test]
fn a_caller_who_leaves_the_menu_is_recorded_as_abandoned() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    script.caller_hangs_up(call);
    assert_eq!(script.cdr().result, CallResult::Abandoned);
}

#[test]
fn a_flow_transfers_through_a_trunk_and_the_caller_hears_ringing() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    presses(&mut script, call, "3");
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered), "it was before");
    assert_eq!(script.hears(call, 0), Some(Hears::Ringback));
    let Some(LegWant::Invited { role, target, .. }) = script.wants(call, 1) else { panic!() };
    assert_eq!((role, &*target), (Role::Trunk("carrier".into()), "+123"));
    script.fails(call, 1, 486);
    assert_eq!(script.cdr().result, CallResult::Busy);
    assert_eq!(
        script.wants(call, 0),
        Some(LegWant::Gone { cause: Cause::Refused { status: 486 } })
    );
}

#[test]
fn a_flow_transfers_to_a_number_of_ours() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    presses(&mut script, call, "4");
    script.answers(call, 1);
    assert_eq!(script.hears(call, 0), Some(Hears::Leg(leg(1))));
}

#[test]
fn a_circle_of_flows_and_a_number_that_leads_nowhere_end_the_call() {
    for key in ["5", "6"] {
        let mut script = Script::with(with_flows());
        let call = script.dials("menu");
        presses(&mut script, call, key);
        assert_eq!((script.cdr().result, script.cdr().cause), (CallResult::Failed, Cause::Failed));
        assert_eq!(script.wants(call, 0), Some(LegWant::Gone { cause: Cause::Failed }));
    }
}

#[test]
fn a_call_finishes_on_the_version_that_it_began_with() {
    let mut script = Script::with(with_flows());
    let old = script.dials("menu");
    let mut changed = with_flows();
    let text =
        FLOW.replace("choices = { 1 = \"sales\",", "choices = { 7 = \"sales\", 1 = \"vip\",");
    changed.flows.insert("menu".into(), text.into());
    script.gives(Command::Configure(Box::new(changed)));
    let new = script.dials("menu");
    let key = |script: &Script, call| {
        let Phase::Ivr { flow, .. } = &script.call(call).phase else { panic!() };
        flow.clone()
    };
    let (old_key, new_key) = (key(&script, old), key(&script, new));
    assert_ne!(old_key, new_key);
    presses(&mut script, new, "1");
    assert_eq!(script.call(new).priority, 5, "vip");
    presses(&mut script, old, "1");
    assert_eq!(script.call(old).priority, 0, "sales");
    assert!(script.center.flow(&old_key).is_none(), "nobody needs it any more");
    assert!(script.center.flow(&new_key).is_some());
    assert!(script.last.touched.flows.contains(&old_key));
}

#[test]
fn a_flow_that_names_an_unknown_queue_is_rejected() {
    let mut script = Script::new();
    let mut directory = with_flows();
    let text = FLOW.replace("queue = \"sales\"", "queue = \"nowhere\"");
    directory.flows.insert("menu".into(), text.into());
    let rejected = script.tries(Command::Configure(Box::new(directory)));
    assert!(matches!(rejected, Err(Rejected::Flow { .. })), "{rejected:?}");
}

#[test]
fn playing_goes_on_elsewhere_where_it_was_heard_last() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    let seq = act(&script, call).seq;
    script.gives(Command::IvrProgress { call, seq, offset_ms: 1500 });
    let late = Command::IvrProgress { call, seq, offset_ms: 1000 };
    assert_eq!(script.gives(late), Reply::Already);
    let Phase::Ivr { position, .. } = &script.call(call).phase else { panic!() };
    assert_eq!(position.offset_ms, 1500);
}

#[test]
fn a_prompt_goes_on_where_the_node_that_played_it_fell_silent() {
    let mut script = Script::with(with_flows());
    script.gives(up(crate::script::NODE));
    script.gives(up(NodeId(2)));
    let call = script.dials("menu");
    script.now = script.now.plus_ms(7_300);
    // It played for 6.5 s; then nothing came for 0.8 s, and it was missed.
    script.gives(Command::NodeLost { node: crate::script::NODE, silent_ms: 800 });
    assert_eq!(offset_ms(&script, call), 6_500);
    // What is played from here on counts from now.
    script.now = script.now.plus_ms(1_000);
    script.gives(up(crate::script::NODE));
    script.gives(Command::NodeLost { node: NodeId(2), silent_ms: 0 });
    assert_eq!(offset_ms(&script, call), 7_500);
}

#[test]
fn a_prompt_that_began_late_is_counted_from_when_it_began() {
    let mut script = Script::with(with_flows());
    script.gives(up(crate::script::NODE));
    script.gives(up(NodeId(2)));
    let call = script.dials("menu");
    let seq = act(&script, call).seq;
    script.now = script.now.plus_ms(2_000);
    script.gives(Command::IvrProgress { call, seq, offset_ms: 0 });
    script.now = script.now.plus_ms(300);
    script.gives(Command::NodeLost { node: crate::script::NODE, silent_ms: 100 });
    assert_eq!(offset_ms(&script, call), 200);
}

fn up(node: NodeId) -> Command {
    Command::NodeUp { node, homes: Vec::new(), sockets_are_lost: true }
}

fn offset_ms(script: &Script, call: CallId) -> u32 {
    let Phase::Ivr { position, .. } = &script.call(call).phase else { panic!() };
    position.offset_ms
}

#[test]
fn an_action_whose_end_is_never_reported_counts_as_failed() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    let seq = act(&script, call).seq;
    script.after_seconds(600);
    script.gives(Command::IvrProgress { call, seq, offset_ms: 600_000 });
    script.after_seconds(899);
    assert_eq!(act(&script, call).seq, seq, "as long as it goes on it is left alone");
    script.after_seconds(1);
    assert_eq!(act(&script, call).seq, seq + 1, "asked again");
    script.after_seconds(900);
    assert_eq!(script.cdr().result, CallResult::IvrCompleted, "the flow's own way out");
}

#[test]
fn a_call_whose_answer_is_not_ready_waits_with_its_menu() {
    let mut script = Script::with(with_flows());
    let mut arrived = script.arrived("menu");
    arrived.answer_ready = false;
    let call = arrived.call;
    script.gives(Command::Arrived(Box::new(arrived)));
    assert_eq!(script.wants(call, 0), Some(LegWant::Answered));
    assert_eq!(script.call(call).answered, None);
    script.answers(call, 0);
    assert_eq!(script.call(call).answered, Some(script.now));
    presses(&mut script, call, "1");
    assert_eq!(script.call(call).queue, Some(queue("sales")));
}

#[test]
fn an_action_that_failed_is_noted_and_the_flow_goes_on() {
    let mut script = Script::with(with_flows());
    let call = script.dials("menu");
    let reason = "é".repeat(500);
    reports(&mut script, call, IvrResult::Failed { reason });
    let failed = script.story(call).into_iter().find(|note| note.starts_with("the action failed"));
    assert_eq!(failed.map(|note| note.chars().count()), Some("the action failed: ".len() + 200));
    assert!(!script.call(call).has_ended());
}
