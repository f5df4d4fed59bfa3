//! The auditor finds what is wrong. Each test is a mutant: evidence of a sound run, doctored.

use std::collections::BTreeMap;

use tandem_center::audit::{Fault, Ledger, Row, check_record, check_state};
use tandem_center::timeline::{Candidate, What, Why};
use tandem_center::{
    Agent, AgentState, Call, CallId, Cdr, Center, Command, Outcome, Record, Reply, Role, Route,
};

use crate::script::{START, Script, agent, directory, queue};

/// A state with what one pair of its store says changed.
fn doctored(center: &Center, doctor: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) -> Center {
    let pairs = center.changed(&center.everything()).into_iter();
    let mut pairs: BTreeMap<_, _> = pairs.filter_map(|(key, value)| Some((key, value?))).collect();
    doctor(&mut pairs);
    Center::from_pairs(&pairs).expect("the pairs can be read")
}

fn call_key(call: CallId) -> Vec<u8> {
    [b"c".to_vec(), call.0.to_be_bytes().to_vec()].concat()
}

fn change_call(center: &Center, id: CallId, change: impl FnOnce(&mut Call)) -> Center {
    doctored(center, |pairs| {
        let mut call = Call::clone(center.call(id).expect("the call is there"));
        change(&mut call);
        pairs.insert(call_key(id), postcard::to_allocvec(&call).expect("a value"));
    })
}

fn change_agent(center: &Center, name: &str, change: impl FnOnce(&mut Agent)) -> Center {
    doctored(center, |pairs| {
        let mut agent = Agent::clone(center.agent(&agent(name)).expect("the agent is there"));
        change(&mut agent);
        let key = [b"a", name.as_bytes()].concat();
        pairs.insert(key, postcard::to_allocvec(&agent).expect("a value"));
    })
}

/// A call of 20 s in the queue and 30 s of talk, and the ledger that saw it end.
fn ended() -> (Script, CallId, Row) {
    let mut script = Script::new();
    let call = script.dials("sales");
    script.now = script.now.plus_seconds(20);
    script.is_ready("ana");
    assert_eq!(script.accepts("ana", call), Ok(Reply::Done));
    script.answers(call, 1);
    script.now = script.now.plus_seconds(30);
    script.caller_hangs_up(call);
    let row = Row { index: script.index, cdr: script.cdr().clone() };
    (script, call, row)
}

#[test]
fn a_sound_run_has_no_faults_and_its_account_is_that_of_the_records() {
    let (mut script, call, row) = ended();
    script.dials("sales");
    script.ledger.compare(std::slice::from_ref(&row), script.index);
    assert_eq!(script.ledger.faults(), []);
    assert_eq!(script.ledger.calls(), (2, 1, 1));
    assert_eq!(script.ledger.range(), (0, script.index));
    assert_eq!(script.ledger.ended().collect::<Vec<_>>(), [&row]);
    let counts = script.center.counts();
    assert_eq!((counts.begun, counts.ended, counts.since), (2, 1, 0));
    assert_eq!(row.cdr.call, call);
}

#[test]
fn a_call_that_ends_without_a_record_is_found() {
    let mut script = Script::new();
    let call = script.dials("sales");
    let mut ledger = Ledger::behind(&script.center);
    script.caller_cancels(call);
    ledger.applied(&script.center, &Outcome { records: Vec::new(), ..script.last.clone() });
    assert_eq!(ledger.faults(), [Fault::EndedWithoutRecord { call, index: script.index }]);
}

#[test]
fn a_second_record_of_a_call_is_found() {
    let (mut script, call, row) = ended();
    script.gives(Command::Tick);
    let again = Record::Cdr(Box::new(row.cdr));
    let outcome = Outcome { records: vec![again], ..Outcome::default() };
    script.ledger.applied(&script.center, &outcome);
    let (first, second) = (row.index, script.index);
    assert_eq!(script.ledger.faults(), [Fault::TwoRecords { call, first, second }]);
}

#[test]
fn a_row_that_is_missing_double_changed_or_invented_is_found() {
    let (script, call, row) = ended();
    let faults = |rows: &[Row]| {
        let mut ledger = script.ledger.clone();
        ledger.compare(rows, script.index);
        ledger.faults().to_vec()
    };
    let index = row.index;
    assert_eq!(faults(&[]), [Fault::RowMissing { call, index }]);
    let twice = [row.clone(), row.clone()];
    assert_eq!(faults(&twice), [Fault::TwoRecords { call, first: index, second: index }]);
    let mut longer = row.clone();
    longer.cdr.talk_ms += 1;
    let what = "talk is 30001, the log says 30000".to_owned();
    assert_eq!(faults(&[longer]), [Fault::RowDiffers { call, index, what }]);
    let invented = CallId(99);
    let other = Row { index, cdr: Cdr { call: invented, ..row.cdr.clone() } };
    assert_eq!(faults(&[row, other]), [Fault::RowInvented { call: invented, index }]);
}

#[test]
fn records_are_compared_only_where_the_log_is() {
    let (script, _, row) = ended();
    let mut ledger = Ledger::behind(&script.center);
    ledger.compare(std::slice::from_ref(&row), script.index);
    assert_eq!(ledger.faults(), [], "it ended before the ledger began");
    let mut ledger = script.ledger.clone();
    ledger.compare(&[], row.index - 1);
    assert_eq!(ledger.faults(), [], "the records are not so far yet");
}

#[test]
fn a_call_that_disappears_is_found() {
    let mut script = Script::new();
    let call = script.dials("sales");
    let mut ledger = Ledger::behind(&script.center);
    let without = doctored(&script.center, |pairs| {
        pairs.remove(&call_key(call));
    });
    script.gives(Command::Tick);
    let mut outcome = Outcome::default();
    outcome.touched.calls.insert(call);
    ledger.applied(&without, &outcome);
    assert_eq!(ledger.faults(), [Fault::Vanished { call, index: without.index() }]);
    // And without a history: by the counts, and by the balance of its queue.
    let faults: Vec<String> = check_state(&without).iter().map(ToString::to_string).collect();
    let [queue, calls] = &faults[..] else { panic!("{faults:?}") };
    assert!(queue.starts_with("queue sales: 1 entered, but 0 were answered"), "{queue}");
    assert_eq!(calls, "1 calls began, but 0 ended and 0 are alive");
}

#[test]
fn an_agent_in_two_calls_is_found() {
    let mut script = Script::new();
    let first = script.talks_with("ana");
    script.is_ready("bob");
    let second = script.dials("sales");
    assert_eq!(script.accepts("bob", second), Ok(Reply::Done));
    script.answers(second, 1);
    let wrong = change_call(&script.center, second, |call| {
        let leg = call.legs.values_mut().find(|leg| leg.role.agent().is_some()).unwrap();
        leg.role = Role::Agent(agent("ana"));
    });
    let (ana, calls) = (agent("ana"), vec![first, second]);
    let faults = check_state(&wrong);
    assert!(faults.contains(&Fault::AgentInTwoCalls { agent: ana, calls }), "{faults:?}");
}

#[test]
fn a_call_in_two_places_is_found() {
    let mut script = Script::new();
    let call = script.dials("sales");
    let since = script.now;
    let claimed = change_agent(&script.center, "bob", |bob| {
        bob.state = AgentState::Talking { since, call };
    });
    let faults = check_state(&claimed);
    let places = faults.iter().find_map(|fault| {
        let Fault::CallInTwoPlaces { call: of, places } = fault else { return None };
        (*of == call).then_some(places.len())
    });
    assert_eq!(places, Some(2), "{faults:?}");

    let copied = doctored(&script.center, |pairs| {
        let value = pairs[&call_key(call)].clone();
        pairs.insert(call_key(CallId(1)), value);
    });
    let faults = check_state(&copied);
    let is_told =
        |fault: &Fault| matches!(fault, Fault::CallInTwoPlaces { call: of, .. } if *of == call);
    assert!(faults.iter().any(is_told), "{faults:?}");
}

#[test]
fn times_that_do_not_add_up_are_found() {
    let (_, _, row) = ended();
    assert_eq!(check_record(&row.cdr), []);
    let faults = |change: &dyn Fn(&mut Cdr)| {
        let mut cdr = row.cdr.clone();
        change(&mut cdr);
        check_record(&cdr).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let says = "its record does not add up: ";
    assert_eq!(
        faults(&|cdr| cdr.wait_ms += 1),
        format!("{says}it says waited 20001 ms, its segments 20000 ms")
    );
    assert_eq!(
        faults(&|cdr| cdr.ended = cdr.ended.plus_ms(5)),
        format!(
            "{says}its segments end at {}, the call at {}",
            START.plus_seconds(50),
            START.plus_ms(50_005)
        )
    );
    assert_eq!(
        faults(&|cdr| cdr.segments[1].began = START),
        format!(
            "{says}segment 1 begins at {START}, the one before ended at {}; {says}it says talked \
             and held 30000 ms, its segments 50000 ms",
            START.plus_seconds(20)
        )
    );
    assert!(faults(&|cdr| cdr.answered = Some(cdr.ended.plus_ms(1))).contains("answered"));
    assert!(faults(&|cdr| cdr.status = Some(486)).contains("refused with Some(486)"));
}

#[test]
fn who_is_sent_on_by_the_centre_has_left_the_queue() {
    // The full queue that the call overflows into lets it go: one way out of each of the two.
    let mut directory = directory();
    let sales = directory.queues.get_mut(&queue("sales")).unwrap();
    (sales.max_wait_seconds, sales.overflow) = (5, Some(Route::Queue(queue("quiet"))));
    directory.queues.get_mut(&queue("quiet")).unwrap().max_length = 1;
    let mut script = Script::with(directory);
    let busy = script.dials("quiet");
    script.answers(busy, 1);
    let waits = script.dials("quiet");
    let call = script.dials("sales");
    script.after_seconds(6);
    assert!(script.call(call).has_ended() && !script.call(waits).has_ended());
    let totals = |name| script.center.queue(&queue(name)).unwrap().totals;
    assert_eq!((totals("sales").entered, totals("sales").overflowed), (1, 1));
    let quiet = totals("quiet");
    assert_eq!((quiet.entered, quiet.answered, quiet.overflowed), (3, 1, 1));
}

#[test]
fn the_timeline_of_an_ended_call_says_where_in_the_log_and_who_else_was_ready() {
    let mut script = Script::new();
    script.is_ready("bob");
    script.now = script.now.plus_seconds(1);
    script.is_ready("ana");
    let call = script.dials("sales");
    let arrived = script.index;
    script.caller_hangs_up(call);
    let ended = script.index;
    let [Record::Cdr(_), Record::Timeline(story)] = script.of_calls()[..] else { panic!() };
    let notes: Vec<_> = story.timeline.notes().collect();
    assert!(notes.iter().all(|note| note.index == arrived || note.index == ended));
    assert_eq!(notes.last().map(|note| note.index), Some(ended));
    let offered = notes.iter().find_map(|note| {
        let What::Offered { agent, why } = &note.what else { return None };
        Some((agent, why))
    });
    let next = vec![Candidate { agent: agent("ana"), since: START.plus_seconds(1) }];
    let why = Why::LongestIdle { since: START, ready: 2, next };
    assert_eq!(offered, Some((&agent("bob"), &why)));
}
