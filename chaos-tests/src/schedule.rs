//! What goes wrong and who calls, each at its time: explicit, so that it can be written down,
//! played again, and made smaller.
//!
//! A storm draws its schedule from its seed while it goes on; played from the schedule alone, the
//! same world comes out. What a schedule does not say follows from its seed, in streams of chance
//! that know nothing of each other. One line of text for each step; a file of it is a test.
//!
//! To add a fault: a variant here with its line in `Display` and in `parse`, what it does in
//! `faults`, and how often it comes in `nemesis`.

use std::collections::BTreeSet;
use std::fmt;

use crate::Micros;
use crate::directory::PEOPLE;
use crate::mutants::Mutant;
use crate::network::Ways;

mod text;

/// A storm, written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Whatever the steps do not say follows from it.
    pub seed: u64,
    /// Voters.
    pub nodes: u64,
    /// How long until all faults end.
    pub time: Micros,
    /// What is built in wrongly.
    pub mutant: Option<Mutant>,
    /// Orders and reports that are lost, of a thousand.
    pub lost: u64,
    /// The people who are at their desks, by their place in the directory.
    pub desks: BTreeSet<usize>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// The claim that it breaks, or broke once.
    pub breaks: Option<String>,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Micros,
    /// What.
    pub what: What,
}

/// See [`Step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A caller dials a number at a node.
    Call { caller: u32, node: u64, number: String },
    /// Something goes wrong, or is well again.
    Fault(Fault),
}

/// Whom a fault hits. Who leads or is the busiest is looked up when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// This node.
    Node(u64),
    /// Who leads, or else node 1.
    Leader,
    /// Who serves the most calls.
    Busiest,
}

/// How a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its process is killed: the machine refuses connections, and has what was written.
    Process,
    /// Its power is cut, and what was not synced is lost, but for the first `left` writes, which
    /// the disk happened to write; the next one is torn. The disposable cache is kept or not.
    Power { left: u64, cache: bool },
}

/// What goes wrong. Times are how long it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node ends, and starts again after a while.
    End { node: Whom, how: Ending, down: Micros },
    /// It does after so many outputs of its driver.
    EndAfter { node: Whom, outputs: u64, how: Ending, down: Micros },
    /// The power of all nodes is cut.
    EndAll { how: Ending, down: Micros },
    /// A node is cut off from all others, or from one, both ways or one way.
    Part { node: Whom, from: Option<u64>, ways: Ways },
    /// Nothing is cut any more.
    Join,
    /// Messages are lost and repeated, so many of a thousand, and take up to so long.
    Weather { lost: u64, repeated: u64, delay: Micros },
    /// A node's clock of the day is set, so far from the right time.
    Clock { node: Whom, ahead_ms: i64 },
    /// A process stands still; its clock and its sockets do not.
    Freeze { node: Whom, time: Micros },
    /// A whole machine stands still, with the clock of its processes: nothing reaches it.
    Suspend { node: Whom, time: Micros },
    /// Every write to a node's disk takes so long.
    SlowDisk { node: Whom, write: Micros, time: Micros },
    /// A node's disk is full: it proposes nothing.
    FullDisk { node: Whom, time: Micros },
    /// The next write to a node's disk fails and ends the process; if `late`, it may be on the disk.
    BreakDisk { node: Whom, late: bool, left: u64, down: Micros },
    /// Leadership is handed over.
    HandOver { to: u64 },
    /// There is another directory.
    Configure,
    /// The next step of the spare node's life: it is added, promoted, or removed.
    Members,
}

impl Schedule {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        text::parse(text)
    }

    /// So many of its steps are faults.
    pub fn faults(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.what, What::Fault(_))).count()
    }

    /// So many of its steps are calls.
    pub fn calls(&self) -> usize {
        self.steps.len() - self.faults()
    }

    pub(crate) fn all_desks() -> BTreeSet<usize> {
        (0..PEOPLE.len()).collect()
    }
}

/// A line of a schedule that says nothing known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the schedule: {why}")]
pub struct Unreadable {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, f)
    }
}
