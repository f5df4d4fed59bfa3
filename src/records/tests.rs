//! Records through the tables and back: what was written is what is found, counted and listed.

use std::path::PathBuf;
use std::sync::Arc;

use tandem_center::record::{Segment, SegmentKind, Stint};
use tandem_center::{
    AgentId, AgentState, CallResult, Cause, Direction, Millis, NodeId, Party, QueueId, Record,
    RecordingId, Side,
};
use tandem_cluster::records::Records;

use super::condition::{CONDITIONS_MAX, Condition, TooMuch};
use super::reports::{Interval, agents, queues};
use super::*;

/// 2025-11-24, 12:00 UTC.
pub(crate) const NOON: u64 = 1_763_985_600_000;

/// A call that came in at noon plus so many minutes and waits for nobody.
pub(crate) fn cdr(number: u64) -> Cdr {
    let arrived = Millis(NOON + number * 60_000);
    Cdr {
        supervisors: Vec::new(),
        call: CallId(number),
        direction: Direction::Inbound,
        from: Party { number: format!("0100{number}").into(), name: None },
        to: "sales".into(),
        flow: None,
        queue: None,
        agent: None,
        arrived,
        answered: Some(arrived),
        ended: arrived,
        wait_ms: 0,
        talk_ms: 0,
        hold_ms: 0,
        result: CallResult::Abandoned,
        ended_by: Side::Caller,
        cause: Cause::HungUp,
        status: None,
        variables: Vec::new(),
        recording: None,
        redirects: 0,
        node: NodeId(1),
        takeovers: 0,
        trunk: None,
        transfers: 0,
        parties: 0,
        segments: Vec::new(),
    }
}

fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

/// Adds so many seconds of something to a call.
fn then(mut cdr: Cdr, kind: SegmentKind, seconds: u64) -> Cdr {
    let (began, ms) = (cdr.ended, seconds * 1_000);
    cdr.ended = Millis(began.0 + ms);
    match &kind {
        SegmentKind::Queue(queue) => {
            cdr.wait_ms += ms;
            cdr.queue = Some(queue.clone());
        }
        SegmentKind::Talk(with) => {
            cdr.talk_ms += ms;
            cdr.result = CallResult::Answered;
            cdr.agent = with.clone();
        }
        SegmentKind::Ivr(_) | SegmentKind::Ringing | SegmentKind::Park | SegmentKind::Echo => {}
    }
    let ended = Some(cdr.ended);
    cdr.segments.push(Segment { kind, began, ended, held_ms: 0, rang_ms: 0 });
    cdr
}

fn waits(number: u64, queue: &str, seconds: u64) -> Cdr {
    then(cdr(number), SegmentKind::Queue(QueueId::parse(queue).unwrap()), seconds)
}

fn talks(call: Cdr, with: &str, seconds: u64) -> Cdr {
    then(call, SegmentKind::Talk(Some(agent(with))), seconds)
}

fn stint(name: &str, state: AgentState, began: u64, seconds: u64) -> Record {
    let (began, ended) = (Millis(began), Millis(began + seconds * 1_000));
    Record::Stint(Box::new(Stint { agent: agent(name), state, began, ended }))
}

/// The example of `docs/reports.md`.
fn example() -> Vec<Record> {
    let refused = Cdr {
        result: CallResult::WaitedTooLong,
        ended_by: Side::System,
        cause: Cause::WaitedTooLong,
        ..waits(7, "sales", 60)
    };
    let on = then(waits(6, "sales", 45), SegmentKind::Queue(QueueId::parse("rest").unwrap()), 15);
    let calls = [
        talks(waits(1, "sales", 10), "ana", 100),
        talks(waits(2, "sales", 20), "ana", 200),
        talks(waits(3, "sales", 30), "ben", 300),
        waits(4, "sales", 3),
        waits(5, "sales", 40),
        on,
        refused,
    ];
    let mut records: Vec<_> = calls.into_iter().map(|cdr| Record::Cdr(Box::new(cdr))).collect();
    let since = Millis(NOON);
    let until = since;
    let of = |call: u64, seconds: u64| {
        (AgentState::WrapUp { since, until, call: CallId(call) }, seconds)
    };
    for (name, (state, seconds)) in [("ana", of(1, 20)), ("ana", of(2, 10)), ("ben", of(3, 0))] {
        records.push(stint(name, state, NOON + 900_000, seconds));
    }
    let talking = |call| AgentState::Talking { since, call: CallId(call) };
    records.push(stint("ana", AgentState::Ready { since }, NOON, 70));
    records.push(stint("ana", talking(1), NOON + 70_000, 100));
    records.push(stint("ana", talking(2), NOON + 200_000, 200));
    records
}

/// The records of a node that applied these, in a folder of their own.
pub(crate) fn kept(records: &[Record]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.sqlite");
    let rows: Vec<_> =
        (1..).zip(records).map(|(index, record)| (index, vec![Row::encode(record)])).collect();
    let mut all = Records::open(&path, Box::new(CallRecords)).unwrap();
    all.write(&rows, rows.len() as u64).unwrap();
    (folder, path)
}

fn rounded(figure: Option<f64>) -> Option<String> {
    figure.map(|figure| format!("{figure:.1}"))
}

#[test]
fn the_report_of_queues_is_the_worked_example_and_its_sums_are_what_entered() {
    let (_folder, path) = kept(&example());
    let from = Reader::new(&path).connect().unwrap();
    let report = queues(&from, &Interval::default()).unwrap();
    let [rest, sales] = &report[..] else { panic!("{report:?}") };
    assert_eq!((rest.offered, rest.abandoned), (1, 1));
    for of in [rest, sales] {
        assert_eq!(of.offered, of.answered + of.abandoned + of.flowed_out + of.refused);
    }
    assert_eq!((sales.offered, sales.answered, sales.abandoned), (7, 3, 2));
    assert_eq!((sales.flowed_out, sales.refused), (1, 1));
    assert_eq!((sales.answered_in_time, sales.abandoned_short), (2, 1));
    let figures = [
        rounded(sales.service_level_percent),
        rounded(sales.abandonment_percent),
        rounded(sales.asa_seconds),
        rounded(sales.aht_seconds),
    ];
    assert_eq!(figures, ["33.3", "16.7", "20.0", "210.0"].map(|figure| Some(figure.to_owned())));
    assert_eq!(sales.longest_wait_ms, 60_000);
    // The document says the same.
    let text = std::fs::read_to_string("docs/reports.md").unwrap();
    for figure in ["= 33.3 %", "= 16.7 %", "= 20.0 s", "= 210.0 s", "= 82.5 %"] {
        assert!(text.contains(figure), "{figure}");
    }
    let earlier = Interval { to: Some(NOON), ..Interval::default() };
    assert_eq!(queues(&from, &earlier).unwrap(), []);
}

#[test]
fn the_report_of_agents_cuts_their_time_at_the_interval() {
    let (_folder, path) = kept(&example());
    let from = Reader::new(&path).connect().unwrap();
    let report = agents(&from, &Interval::default()).unwrap();
    let ana = report.iter().find(|row| row.agent == "ana").unwrap();
    assert_eq!((ana.talks, ana.talk_ms, ana.wrap_up_ms), (2, 300_000, 30_000));
    assert_eq!((ana.available_ms, ana.not_ready_ms), (70_000, 0));
    assert_eq!(rounded(ana.occupancy_percent).unwrap(), "82.5");
    let half = Interval { from: NOON + 60_000, to: Some(NOON + 120_000), ..Interval::default() };
    let report = agents(&from, &half).unwrap();
    assert_eq!((report[0].available_ms, report[0].talk_ms), (10_000, 50_000));
}

#[test]
fn who_left_or_was_not_served_is_listed_until_somebody_talks_with_them() {
    let mut all = example();
    let (_folder, path) = kept(&all);
    let list = |path: &Path| {
        let from = Reader::new(path).connect().unwrap();
        let rows = callbacks(&from, (NOON, NOON + 3_600_000)).unwrap();
        rows.into_iter().map(|row| format!("{} {} {}", row.number, row.queue, row.why)).collect()
    };
    let rows: Vec<String> = list(&path);
    assert_eq!(
        rows,
        [
            "01007 sales congested",
            "01006 rest abandoned",
            "01005 sales abandoned",
            "01004 sales abandoned"
        ]
    );
    let mut again = talks(waits(20, "sales", 1), "ana", 9);
    again.from.number = "01005".into();
    let mut back = talks(cdr(21), "ana", 9);
    (back.direction, back.to) = (Direction::Outbound, "01007".into());
    all.extend([again, back].map(|cdr| Record::Cdr(Box::new(cdr))));
    let (_folder, path) = kept(&all);
    let rows: Vec<String> = list(&path);
    assert_eq!(rows, ["01006 rest abandoned", "01004 sales abandoned"]);
}

#[test]
fn a_condition_means_the_same_in_memory_and_in_the_tables() {
    let mut records = example();
    for (number, record) in records.iter_mut().enumerate() {
        let Record::Cdr(cdr) = record else { continue };
        cdr.recording = (number % 2 == 0).then(|| RecordingId(cdr.call.to_string().into()));
        cdr.transfers = u16::from(number == 2);
        cdr.trunk = (number == 1).then(|| Arc::from("carrier"));
    }
    let said = tandem_center::record::Disposition {
        call: CallId(2),
        agent: agent("ana"),
        queue: None,
        disposition: "sold".into(),
        note: None,
        at: Millis(NOON),
    };
    records.push(Record::Disposition(said));
    let (_folder, path) = kept(&records);
    let from = Reader::new(&path).connect().unwrap();
    let text = |text: &str| text.to_owned();
    let one = [
        Condition::From(NOON + 180_000),
        Condition::To(NOON + 180_000),
        Condition::AtLeastMs(60_000),
        Condition::ShorterMs(60_000),
        Condition::TalkAtLeastMs(200_000),
        Condition::WaitAtLeastMs(30_000),
        Condition::Number(text("01003")),
        Condition::Number(text("0100*")),
        Condition::Number(text("01%")),
        Condition::Agent(text("ana")),
        Condition::Queue(text("rest")),
        Condition::Queue(text("' OR 1 --")),
        Condition::Direction(crate::api::words::CallDirection::Inbound),
        Condition::Outcome(crate::api::words::Outcome::Abandoned),
        Condition::Disposition(text("sold")),
        Condition::Trunk(text("carrier")),
        Condition::Recorded(true),
        Condition::Transferred(true),
    ];
    let mut all: Vec<Condition> = one.to_vec();
    for (a, b) in one.iter().zip(one.iter().skip(1).chain(&one)) {
        let not = Condition::Not(Box::new(a.clone()));
        all.push(Condition::Any(vec![not.clone(), b.clone()]));
        all.push(Condition::All(vec![b.clone(), not.clone()]));
        all.push(not);
    }
    all.extend([Condition::All(Vec::new()), Condition::Any(Vec::new())]);
    let mut sizes = std::collections::BTreeSet::new();
    for condition in all {
        let query =
            CdrQuery { condition: Some(condition.clone()), limit: 100, ..CdrQuery::default() };
        let found: Vec<_> = cdrs(&from, &query).unwrap().iter().map(|row| row.cdr.call).collect();
        let meant = records.iter().rev().filter_map(|record| match record {
            Record::Cdr(cdr) => {
                let said = (cdr.call == CallId(2)).then_some("sold");
                query.matches(cdr, said).then_some(cdr.call)
            }
            Record::Disposition(_) | Record::Timeline(_) | Record::Stint(_) => None,
        });
        assert_eq!(found, meant.collect::<Vec<_>>(), "{condition:?}");
        sizes.insert(found.len());
    }
    assert!(sizes.len() > 4, "the conditions tell records apart: {sizes:?}");
}

#[test]
fn a_question_that_is_too_large_or_too_deep_is_not_asked() {
    let leaf = || Condition::Recorded(true);
    assert_eq!(Condition::All(vec![leaf(); CONDITIONS_MAX - 1]).check(), Ok(()));
    assert_eq!(Condition::All(vec![leaf(); CONDITIONS_MAX]).check(), Err(TooMuch::Conditions));
    let deep = (0..20).fold(leaf(), |inner, _| Condition::Not(Box::new(inner)));
    assert_eq!(deep.check(), Err(TooMuch::Depth));
    assert_eq!(Condition::Agent("x".repeat(513)).check(), Err(TooMuch::Text));
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_stopped() {
    let (_folder, path) = kept(&[]);
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   SELECT max(i) FROM n";
    let reader = Reader::new(&path);
    let ask = |from: &Connection| from.query_row(endless, [], |row| row.get::<_, i64>(0));
    assert_eq!(reader.ask_within(Duration::from_millis(50), ask).await, Err(Unavailable::Slow));
}

#[test]
fn records_of_another_version_are_refused_and_left_alone() {
    let (_folder, path) = kept(&example());
    let other = Connection::open(&path).unwrap();
    assert_eq!(other.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)), Ok(2));
    other.pragma_update(None, "user_version", 1).unwrap();
    drop(other);
    let refused = Records::open(&path, Box::new(CallRecords)).unwrap_err();
    assert!(refused.to_string().contains("version 1"), "{refused}");
}

#[test]
fn whatever_is_recorded_every_queue_balances_in_every_interval_and_segments_fill_the_call() {
    let mut seed = 7_u64;
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut entered = std::collections::BTreeMap::<String, u64>::new();
    let mut records = Vec::new();
    for number in 0..400 {
        let mut call = cdr(number);
        for _ in 0..below(6) {
            let queue = ["sales", "rest", "extra"][below(3) as usize];
            let kind = match below(6) {
                0 => SegmentKind::Ivr("menu".into()),
                1 => SegmentKind::Ringing,
                2 => SegmentKind::Talk((below(3) > 0).then(|| agent("ana"))),
                _ => {
                    *entered.entry(queue.to_owned()).or_default() += 1;
                    SegmentKind::Queue(QueueId::parse(queue).unwrap())
                }
            };
            call = then(call, kind, below(60));
        }
        call.ended_by = [Side::Caller, Side::System, Side::Agent][below(3) as usize];
        records.push(Record::Cdr(Box::new(call)));
    }
    let (_folder, path) = kept(&records);
    let from = Reader::new(&path).connect().unwrap();
    let mut offered = std::collections::BTreeMap::<String, u64>::new();
    let quarter = 900_000;
    for number in 0..40 {
        let begins = NOON + number * quarter;
        let over = Interval { from: begins, to: Some(begins + quarter), ..Interval::default() };
        for of in queues(&from, &over).unwrap() {
            assert_eq!(
                of.offered,
                of.answered + of.abandoned + of.flowed_out + of.refused,
                "{of:?}"
            );
            assert!(of.answered_in_time <= of.answered && of.abandoned_short <= of.abandoned);
            *offered.entry(of.queue).or_default() += of.offered;
        }
    }
    assert_eq!(offered, entered);
    let count = |text: &str| from.query_row(text, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        (count("SELECT count(*) FROM cdr"), count("SELECT count(*) FROM doubles")),
        (400, 0)
    );
    let unfilled = "SELECT count(*) FROM cdr WHERE ended_ms - arrived_ms <> (SELECT
        coalesce(sum(ended_ms - began_ms), 0) FROM segment WHERE segment.call = cdr.call)";
    assert_eq!(count(unfilled), 0);
}
