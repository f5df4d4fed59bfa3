//! The journal of the wire: what is written of a call, that repetitions and floods do no harm,
//! and what is found when it and the records differ.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tandem::audit::journal::{FILE_BYTES_MAX, FILES_MAX, Journal, hashed, names};
use tandem::audit::wire::{Recorded, SETTLE_MS, Wire};
use tandem_center::{
    CallId, CallResult, Cause, Cdr, Direction, LegNumber, Millis, NodeId, Party, Side,
};
use tandem_sip::wire::{Message, Request};

const BEGAN: u64 = 1_764_000_000_000;
const FIRST: LegNumber = LegNumber::FIRST;

fn call(counter: u16) -> CallId {
    CallId::new(NodeId(1), Millis(BEGAN), counter)
}

fn request(method: &str) -> Request {
    let text = format!(
        "{method} sip:sales@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\
         From: <sip:100@127.0.0.1>;tag=a\r\nTo: <sip:sales@127.0.0.1>\r\nCall-ID: secret@home\r\n\
         CSeq: 1 {method}\r\nContact: <sip:100@127.0.0.1>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    );
    match Message::parse(text.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn response(status: u16, method: &str) -> Vec<u8> {
    format!("SIP/2.0 {status} X\r\nCall-ID: secret@home\r\nCSeq: 1 {method}\r\n\r\n").into_bytes()
}

/// The words of every line behind its time.
fn lines(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(names(folder).unwrap().pop().unwrap()).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned());
    lines.collect()
}

#[test]
fn a_call_is_three_lines_and_holds_no_customers_data() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::start(folder.path(), 1).unwrap();
    journal.invited(call(1), &request("INVITE"));
    for status in [100, 180, 180, 200, 200] {
        journal.sent(call(1), FIRST, &response(status, "INVITE"));
    }
    journal.sent(call(1), LegNumber(1), b"BYE sip:agent SIP/2.0\r\n\r\n");
    journal.received(call(1), FIRST, &request("BYE"));
    journal.sent(call(1), FIRST, &response(200, "BYE"));
    journal.received(call(1), FIRST, &request("BYE"));
    journal.stop();
    let (id, hash) = (call(1), hashed("secret@home"));
    let expected = [
        "1 node 1".to_owned(),
        "start".to_owned(),
        format!("accepted {id} {hash} 100"),
        format!("final {id} 200"),
        format!("bye {id} seen"),
        "stop".to_owned(),
    ];
    assert_eq!(lines(folder.path()), expected);
    let wire = Wire::read(folder.path()).unwrap();
    assert_eq!((wire.node, wire.gaps.len(), wire.unreadable), (1, 0, 0));
    assert!(wire.calls[&id].has_bye);
}

#[test]
fn a_refusal_before_the_call_is_one_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::start(folder.path(), 1).unwrap();
    journal.invited(call(1), &request("INVITE"));
    journal.uncommitted(call(1));
    journal.sent(call(1), FIRST, &response(503, "INVITE"));
    journal.stop();
    let wire = Wire::read(folder.path()).unwrap();
    assert_eq!(wire.calls[&call(1)].refused.map(|(_, status)| status), Some(503));
    assert_eq!(wire.compare(&BTreeSet::new(), &BTreeMap::new()), []);
    let found = wire.compare(&BTreeSet::from([call(1)]), &BTreeMap::new());
    assert!(found[0].what.contains("as no call, and is one"), "{found:?}");
}

#[test]
fn a_torn_line_and_a_death_are_gaps_and_the_next_process_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    Journal::start(folder.path(), 1).unwrap().stop();
    let file = names(folder.path()).unwrap().pop().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{}99 fin", text.trim_end_matches("stop\n"))).unwrap();
    Journal::start(folder.path(), 1).unwrap().stop();
    let wire = Wire::read(folder.path()).unwrap();
    assert_eq!(names(folder.path()).unwrap().len(), 1);
    assert_eq!(wire.unreadable, 1);
    assert!(wire.gaps[0].2.contains("without notice"), "{:?}", wire.gaps);
}

#[test]
fn files_are_bounded_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..FILES_MAX + 3 {
        let full = vec![b'\n'; FILE_BYTES_MAX as usize];
        fs::write(folder.path().join(format!("{number:020}.journal")), full).unwrap();
    }
    Journal::start(folder.path(), 1).unwrap().stop();
    let left = names(folder.path()).unwrap();
    assert_eq!(left.len(), FILES_MAX);
    assert!(left[0].ends_with(format!("{:020}.journal", 4)), "{left:?}");
}

/// A journal of these lines from `BEGAN` to long after.
fn wire(lines: &[String]) -> Wire {
    let folder = tempfile::tempdir().unwrap();
    let (start, end) = (format!("{BEGAN} start"), format!("{} stop", BEGAN + 60_000));
    let all = [&["tandem-journal 1 node 1".to_owned(), start], lines, &[end]].concat();
    fs::write(folder.path().join("1.journal"), all.join("\n") + "\n").unwrap();
    Wire::read(folder.path()).unwrap()
}

fn record(answered: bool, change: impl FnOnce(&mut Cdr)) -> Recorded {
    let mut cdr = Cdr {
        call: call(1),
        direction: Direction::Inbound,
        from: Party::default(),
        to: "sales".into(),
        flow: None,
        queue: None,
        agent: None,
        arrived: Millis(BEGAN),
        answered: answered.then_some(Millis(BEGAN + 5)),
        ended: Millis(BEGAN + 1_000),
        wait_ms: 0,
        talk_ms: 0,
        hold_ms: 0,
        result: CallResult::IvrCompleted,
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
        supervisors: Vec::new(),
    };
    change(&mut cdr);
    Recorded::of(&cdr)
}

fn found(lines: &[String], record: Option<Recorded>) -> String {
    let records = record.map(|record| (call(1), record)).into_iter().collect();
    let found = wire(lines).compare(&BTreeSet::new(), &records);
    found.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_the_wire_and_the_records_say_must_fit() {
    let id = call(1);
    let at = BEGAN + 5;
    let accepted = format!("{at} accepted {id} 00 100");
    let answered = format!("{at} final {id} 200");
    let busy = format!("{at} final {id} 486");
    let bye = format!("{at} bye {id} sent");
    let good = [accepted.clone(), answered.clone(), bye.clone()];
    let calm = |_: &mut Cdr| {};
    assert_eq!(found(&good, Some(record(true, calm))), "");
    assert!(found(&good, None).contains("it is lost, or its record is missing"));
    assert!(found(&good, Some(record(false, calm))).contains("nobody answered"));
    assert!(found(&[], Some(record(true, calm))).contains("no caller was ever answered"));
    assert!(found(&good[..1], Some(record(true, calm))).contains("no final response"));
    assert!(found(&good[..2], Some(record(true, calm))).contains("no BYE was seen or sent"));
    let twice = [&good[..], &[busy]].concat();
    assert!(found(&twice, Some(record(true, calm))).contains("several final responses"));
}

#[test]
fn the_wire_accuses_nobody_where_it_saw_only_a_part() {
    let dropped = [format!("{} dropped 3", BEGAN + 500)];
    assert_eq!(found(&dropped, Some(record(true, |_| {}))), "", "events were dropped");
    assert_eq!(found(&[], Some(record(true, |cdr| cdr.takeovers = 1))), "", "taken over");
    assert_eq!(found(&[], Some(record(true, |cdr| cdr.direction = Direction::Outbound))), "");
    let fresh = Millis(BEGAN + 60_000 - SETTLE_MS + 1);
    assert_eq!(found(&[], Some(record(true, |cdr| cdr.ended = fresh))), "", "too fresh to judge");
}
