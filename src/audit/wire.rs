//! What the journal says, and what must follow from it: a caller who was answered is a call, a
//! call that is recorded was answered, once.
//!
//! Trusts the journal only where it is whole: what happened around a start of the process or a
//! dropped event proves nothing, and is said to be a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use tandem_center::{CallId, Cdr, Direction, NodeId};

use super::journal::{HEADER, names};
use super::report::Finding;

/// How long after the end of a call its last message may still be on its way to the journal.
pub const SETTLE_MS: u64 = 5_000;

/// Gaps that are kept one by one. More are one gap from the first to the last of them.
const GAPS_MAX: usize = 1_024;

/// What the journal says of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireCall {
    /// When it was first answered, and with which status.
    pub accepted: Option<(u64, u16)>,
    /// When it was refused before it was a call, and with which status.
    pub refused: Option<(u64, u16)>,
    /// The final responses to its INVITE; one, if all is well.
    pub finals: BTreeSet<u16>,
    /// A BYE was seen or sent.
    pub has_bye: bool,
}

/// What the journal says.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    /// The node that wrote it.
    pub node: u64,
    /// The times of the first and last line.
    pub range: Option<(u64, u64)>,
    /// The calls.
    pub calls: BTreeMap<CallId, WireCall>,
    /// From when to when something may be missing, and why.
    pub gaps: Vec<(u64, u64, String)>,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// The last line said that the process ends in order.
    was_stop: bool,
}

/// What records say of a call that first arrived at the journal's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    ended: u64,
    answered: bool,
    inbound: bool,
    stayed: bool,
}

impl Recorded {
    /// The facts of a record.
    #[must_use]
    pub fn of(cdr: &Cdr) -> Self {
        Self {
            ended: cdr.ended.0,
            answered: cdr.answered.is_some(),
            inbound: cdr.direction == Direction::Inbound,
            stayed: cdr.takeovers == 0 && cdr.node == cdr.call.first_node(),
        }
    }
}

impl Wire {
    /// Reads every file of a journal.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut wire = Self::default();
        for path in names(folder)? {
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                // The oldest one made room for a new one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let text = String::from_utf8_lossy(&bytes);
            // What follows the last line end is being written.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().filter(|line| !line.is_empty()).for_each(|line| wire.line(line));
        }
        Ok(wire)
    }

    /// Nothing happened from its last line to this time, at which it was read.
    #[must_use]
    pub fn until(mut self, at: u64) -> Self {
        self.range = self.range.map(|(first, last)| (first, last.max(at)));
        self
    }

    fn line(&mut self, line: &str) {
        if let Some(node) = line.strip_prefix(HEADER) {
            self.node = node.trim().parse().unwrap_or_default();
        } else if self.event(line).is_none() {
            self.unreadable += 1;
        }
    }

    fn event(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let at: u64 = words.next()?.parse().ok()?;
        let what = words.next()?;
        let last = self.range.map_or(at, |(_, last)| last);
        match what {
            "start" if self.range.is_some() => {
                let in_order = if self.was_stop { "in order" } else { "without notice" };
                self.gap(last, at, format!("the process had ended {in_order}"));
            }
            "start" | "stop" => {}
            "dropped" => {
                let count = words.next()?;
                self.gap(last, at, format!("{count} events were dropped"));
            }
            "accepted" | "refused" => {
                let call = self.calls.entry(CallId::parse(words.next()?).ok()?).or_default();
                let status = words.nth(1)?.parse().ok()?;
                let seen = if what == "accepted" { &mut call.accepted } else { &mut call.refused };
                seen.get_or_insert((at, status));
            }
            "final" => {
                let call = self.calls.entry(CallId::parse(words.next()?).ok()?).or_default();
                call.finals.insert(words.next()?.parse().ok()?);
            }
            "bye" => {
                let call = CallId::parse(words.next()?).ok()?;
                self.calls.entry(call).or_default().has_bye = true;
            }
            _ => return None,
        }
        self.was_stop = what == "stop";
        self.range = Some((self.range.map_or(at, |(first, _)| first), last.max(at)));
        Some(())
    }

    fn gap(&mut self, from: u64, to: u64, why: String) {
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push((from, to, why));
        } else if let Some(last) = self.gaps.last_mut() {
            last.1 = to;
        }
    }

    /// Whether all that happened between the two times is in it.
    fn is_whole(&self, from: u64, to: u64) -> bool {
        let Some((first, last)) = self.range else { return false };
        from >= first && to <= last && !self.gaps.iter().any(|gap| gap.0 <= to && from <= gap.1)
    }

    /// Compares with what the cluster knows: the calls that are alive, and the records of calls
    /// that arrived at this node. Both have to be newer than the journal was when it was read.
    #[must_use]
    pub fn compare(
        &self,
        alive: &BTreeSet<CallId>,
        records: &BTreeMap<CallId, Recorded>,
    ) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut say = |call: CallId, what: String| found.push(Finding::wire(call, what));
        for (&id, call) in &self.calls {
            let is_known = alive.contains(&id) || records.contains_key(&id);
            if let (Some((at, status)), false) = (call.accepted, is_known) {
                say(
                    id,
                    format!(
                        "its caller was told {status} at {at}, and neither the state nor the records \
                     know it: it is lost, or its record is missing"
                    ),
                );
            }
            // Nobody knew whether its arrival would be committed. If it was, it ended with that.
            let went_on = records.get(&id).map_or(is_known, |record| record.answered);
            if let (Some((at, status)), true) = (call.refused, went_on) {
                say(id, format!("was refused with {status} at {at} as no call, and is one"));
            }
            if call.finals.len() > 1 {
                say(id, format!("its INVITE got several final responses: {:?}", call.finals));
            }
        }
        for (&id, record) in records.iter().filter(|(_, record)| record.inbound && record.stayed) {
            if let Some(what) = self.contradicts(id, record) {
                say(id, what);
            }
        }
        found
    }

    /// What the journal has against a record of a call that lived at this node only.
    fn contradicts(&self, id: CallId, record: &Recorded) -> Option<String> {
        let call = self.calls.get(&id);
        let was_answered = call.is_some_and(|call| call.finals.contains(&200));
        if was_answered && !record.answered {
            return Some("its caller got 200, its record says that nobody answered".to_owned());
        }
        let began = when(id, record.ended);
        if !self.is_whole(began, record.ended.max(began) + SETTLE_MS) {
            return None;
        }
        let ended = record.ended;
        match call {
            None => Some(format!(
                "its record says that it ended at {ended}, but no caller was \
                                  ever answered"
            )),
            Some(call) if call.finals.is_empty() => {
                Some(format!("it ended at {ended}, but its INVITE got no final response"))
            }
            Some(call) if was_answered && !call.has_bye => {
                Some(format!("it ended at {ended}, but no BYE was seen or sent"))
            }
            Some(_) => None,
        }
    }
}

/// The time in a call's id, of which it has the lower 40 bits: 34 years.
fn when(call: CallId, near: u64) -> u64 {
    const MASK: u64 = (1 << 40) - 1;
    let low = (call.0 >> 16) & MASK;
    let full = (near & !MASK) | low;
    // The id is older than the end, give or take a clock.
    if full > near + (1 << 39) { full.saturating_sub(1 << 40) } else { full }
}

/// Whether records of this call belong to the journal of this node.
#[must_use]
pub fn is_of(call: CallId, node: u64) -> bool {
    call.first_node() == NodeId(node)
}
