//! The audit: proves from several kinds of evidence that no call is lost or double.
//!
//! The claims: every accepted INVITE has one final outcome and one record; who entered a queue was
//! answered, left, was sent on or waits; nobody is in two calls; the times of a call add up.
//! [`tandem_center::audit`] holds the rules of the state, the log and one record; [`rows`] those
//! of the records together, [`wire`] those of the journal, which [`journal`] writes. [`offline`]
//! gathers the evidence of a data directory, [`online`] that of a running node. [`story`] tells
//! one call. Changes nothing of what it reads.

pub mod journal;
pub mod offline;
pub mod online;
pub mod report;
pub mod rows;
pub mod story;
pub mod wire;

use std::collections::BTreeSet;

use tandem_center::audit::{Ledger, check_state};
use tandem_center::{CallId, Center, Counts, Index};

use report::{Evidence, Finding, Report};
use rows::{Answer, Question};
use wire::Wire;

/// What is judged together.
#[derive(Debug)]
pub struct Case<'a> {
    /// The node.
    pub node: u64,
    /// The state, at the index that everything is judged at.
    pub center: &'a Center,
    /// The log behind a snapshot, applied again up to that state.
    pub ledger: Option<Ledger>,
    /// The journal, read before the state.
    pub wire: Option<Wire>,
    /// Up to where the records were when they were read, the state's count of calls there, and
    /// the calls that were alive there.
    pub marked: Marked,
}

/// The state's account of calls at the point up to which the records are looked at.
#[derive(Clone, Debug, Default)]
pub struct Marked {
    /// The command.
    pub index: Index,
    /// The count.
    pub counts: Counts,
    /// The calls.
    pub alive: BTreeSet<CallId>,
}

impl Marked {
    /// The account of a state.
    #[must_use]
    pub fn of(center: &Center) -> Self {
        Self { index: center.index(), counts: center.counts(), alive: alive(center) }
    }
}

fn alive(center: &Center) -> BTreeSet<CallId> {
    center.calls().filter(|call| !call.has_ended()).map(|call| call.id).collect()
}

impl Case<'_> {
    /// What is to be asked of the records.
    #[must_use]
    pub fn question(&self) -> Question<'_> {
        Question {
            through: self.marked.index,
            whole_behind: self.ledger.as_ref().map_or(Index::MAX, |ledger| ledger.range().0),
            counts: Some(self.marked.counts),
            alive: &self.marked.alive,
            node: self.node,
        }
    }

    /// Judges all of it.
    #[must_use]
    pub fn judge(mut self, answer: Answer) -> Report {
        let mut report = Report {
            node: self.node,
            index: self.center.index(),
            state_hash: format!("{:016x}", self.center.state_hash()),
            good: true,
            ..Report::default()
        };
        let faults = check_state(self.center);
        report.add(faults.iter().map(|fault| Finding::of(Evidence::State, fault)));
        report.covers.push(state_covers(self.center));
        if let Some(ledger) = &mut self.ledger {
            ledger.compare(&answer.whole, self.marked.index);
            report.add(ledger.faults().iter().map(|fault| Finding::of(Evidence::Log, fault)));
            let ((from, through), (begun, ended, alive)) = (ledger.range(), ledger.calls());
            report.covers.push(format!(
                "from the log, commands {} to {through} applied again: {begun} calls began, \
                 {ended} ended with one record each, which the records hold, {alive} are alive",
                from + 1
            ));
        }
        let mut known = self.marked.alive.clone();
        known.extend(alive(self.center));
        records_covers(&mut report, &answer, &self.marked);
        report.add(answer.findings.iter().cloned());
        match &self.wire {
            Some(wire) => {
                // What the log ends and the records do not have yet is known all the same.
                let ended = self.ledger.iter().flat_map(Ledger::ended);
                let late = ended.filter(|row| row.index > self.marked.index);
                known.extend(late.map(|row| row.cdr.call));
                report.add(wire.compare(&known, &answer.recorded));
                wire_covers(&mut report, wire);
            }
            None => report.gaps.push("there is no journal of the wire".to_owned()),
        }
        report
    }
}

fn state_covers(center: &Center) -> String {
    let (calls, agents) = (alive(center).len(), center.agents().len());
    let Counts { begun, ended, since } = center.counts();
    format!(
        "from the state at command {}, time {}: {calls} calls alive, {begun} begun and {ended} \
         ended since command {since}; {} queues in balance, none of {agents} agents in two calls",
        center.index(),
        center.at(),
        center.queues().len()
    )
}

fn records_covers(report: &mut Report, answer: &Answer, marked: &Marked) {
    let when = answer.range.map_or_else(String::new, |(first, last)| {
        format!(", calls that ended from {first} to {last}")
    });
    report.covers.push(format!(
        "from the records up to command {}: {} rows{when}; each adds up, and as many as the state \
         has seen end since command {}",
        marked.index, answer.rows, marked.counts.since
    ));
    if answer.unread > 0 {
        report.gaps.push(format!("{} rows of another build could not be read", answer.unread));
    }
}

fn wire_covers(report: &mut Report, wire: &Wire) {
    let Some((first, last)) = wire.range else {
        return report.gaps.push("the journal of the wire is empty".to_owned());
    };
    let accepted = wire.calls.values().filter(|call| call.accepted.is_some()).count();
    report.covers.push(format!(
        "from the wire, from {first} to {last}: {accepted} callers were answered, each is alive or \
         recorded, with one final response"
    ));
    let gaps = wire.gaps.iter();
    report.gaps.extend(gaps.map(|(from, to, why)| format!("wire from {from} to {to}: {why}")));
    if wire.unreadable > 0 {
        report.gaps.push(format!("{} lines of the journal cannot be read", wire.unreadable));
    }
}
