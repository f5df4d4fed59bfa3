//! A stretch of the log, applied again: what began, what ended with which record, what is left.
//!
//! Whoever applies the commands shows the outcome of each; the ledger keeps its own account of
//! the calls. Its size is bounded by the log, which is compacted behind snapshots.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use crate::invariants::check_balance;
use crate::{CallId, Cdr, Center, Index, Outcome, Record};

/// A row of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where in the log it says that the call ended.
    pub index: Index,
    /// The record.
    pub cdr: Cdr,
}

/// The account of the calls.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    from: Index,
    through: Index,
    alive: BTreeSet<CallId>,
    /// Ended, and perhaps not cleared yet.
    closed: BTreeSet<CallId>,
    ended: BTreeMap<CallId, Row>,
    begun: u64,
    faults: Vec<Fault>,
}

impl Ledger {
    /// Begins behind the last command that this state has applied.
    #[must_use]
    pub fn behind(center: &Center) -> Self {
        let ids = |has_ended: bool| {
            let calls = center.calls().filter(move |call| call.has_ended() == has_ended);
            calls.map(|call| call.id).collect()
        };
        let (from, through) = (center.index(), center.index());
        Self { from, through, alive: ids(false), closed: ids(true), ..Self::default() }
    }

    /// A command was applied: `center` is the state after it. Called for rejected ones too, with
    /// an empty outcome.
    pub fn applied(&mut self, center: &Center, outcome: &Outcome) {
        let index = center.index();
        self.through = index;
        for record in &outcome.records {
            if let Record::Cdr(cdr) = record {
                self.record(index, cdr);
            }
        }
        for &call in &outcome.touched.calls {
            self.look_at(center, call);
        }
        for queue in &outcome.touched.queues {
            let wrong = center.queue(queue).map(check_balance).and_then(Result::err);
            self.faults.extend(wrong.map(|violation| Fault::State { call: None, violation }));
        }
    }

    fn record(&mut self, index: Index, cdr: &Cdr) {
        let row = Row { index, cdr: cdr.clone() };
        if let Some(first) = self.ended.get(&cdr.call) {
            let (call, first) = (cdr.call, first.index);
            return self.faults.push(Fault::TwoRecords { call, first, second: index });
        }
        self.ended.insert(cdr.call, row);
        self.faults.extend(super::check_record(cdr));
    }

    fn look_at(&mut self, center: &Center, id: CallId) {
        let index = center.index();
        let Some(call) = center.call(id) else {
            if self.alive.remove(&id) {
                self.faults.push(Fault::Vanished { call: id, index });
            }
            self.closed.remove(&id);
            return;
        };
        if let Err(violation) = center.check_agents_of(call) {
            self.faults.push(Fault::State { call: Some(id), violation });
        }
        if !call.has_ended() {
            if self.closed.remove(&id) {
                self.faults.push(Fault::Resurrected { call: id, index });
            }
            self.begun += u64::from(self.alive.insert(id));
        } else if self.closed.insert(id) {
            let was_alive = self.alive.remove(&id);
            self.begun += u64::from(!was_alive);
            if self.ended.get(&id).is_none_or(|row| row.index != index) {
                self.faults.push(Fault::EndedWithoutRecord { call: id, index });
            }
        }
    }

    /// Compares with the records of the stretch up to `through`. A call may have several rows
    /// here, which is a fault.
    pub fn compare(&mut self, rows: &[Row], through: Index) {
        let mut known: BTreeMap<CallId, &Row> = BTreeMap::new();
        for row in rows.iter().filter(|row| self.from < row.index && row.index <= through) {
            let call = row.cdr.call;
            if let Some(first) = known.insert(call, row) {
                let (first, second) = (first.index, row.index);
                self.faults.push(Fault::TwoRecords { call, first, second });
            }
            if !self.ended.contains_key(&call) {
                self.faults.push(Fault::RowInvented { call, index: row.index });
            }
        }
        for (&call, of_log) in self.ended.iter().filter(|(_, row)| row.index <= through) {
            let index = of_log.index;
            match known.get(&call) {
                None => self.faults.push(Fault::RowMissing { call, index }),
                Some(row) if *row == of_log => {}
                Some(row) => {
                    let what = difference(row, of_log);
                    self.faults.push(Fault::RowDiffers { call, index, what });
                }
            }
        }
    }

    /// What it covers: behind the first index, up to the second.
    #[must_use]
    pub fn range(&self) -> (Index, Index) {
        (self.from, self.through)
    }

    /// Calls that began, that ended, and that are alive at the end.
    #[must_use]
    pub fn calls(&self) -> (u64, u64, u64) {
        (self.begun, self.ended.len() as u64, self.alive.len() as u64)
    }

    /// The calls that ended in it.
    pub fn ended(&self) -> impl Iterator<Item = &Row> {
        self.ended.values()
    }

    /// What is wrong.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

/// The first thing that differs, without the texts that callers gave.
fn difference(row: &Row, of_log: &Row) -> String {
    let (a, b) = (&row.cdr, &of_log.cdr);
    let words = [
        ("log index", row.index.to_string(), of_log.index.to_string()),
        ("arrived", a.arrived.to_string(), b.arrived.to_string()),
        ("answered", format!("{:?}", a.answered), format!("{:?}", b.answered)),
        ("ended", a.ended.to_string(), b.ended.to_string()),
        ("wait", a.wait_ms.to_string(), b.wait_ms.to_string()),
        ("talk", a.talk_ms.to_string(), b.talk_ms.to_string()),
        ("hold", a.hold_ms.to_string(), b.hold_ms.to_string()),
        ("outcome", a.result.name().to_owned(), b.result.name().to_owned()),
        ("queue", format!("{:?}", a.queue), format!("{:?}", b.queue)),
        ("agent", format!("{:?}", a.agent), format!("{:?}", b.agent)),
        ("node", a.node.to_string(), b.node.to_string()),
    ];
    match words.into_iter().find(|(_, row, log)| row != log) {
        Some((what, row, log)) => format!("{what} is {row}, the log says {log}"),
        None => "numbers, texts or segments".to_owned(),
    }
}
