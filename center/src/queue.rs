//! A queue as it is now: who waits, who is ready, and its totals.
//!
//! Who waits and who is ready is an index over calls and agents, rebuilt when a state is
//! loaded; only the totals are the queue's own. Ordered sets: a queue of 50,000 callers or
//! 10,000 agents costs a few comparisons for each change.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CallId, Index, Millis, QueueId};

/// A queue as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The name in the directory.
    pub id: QueueId,
    /// What it counted since it was configured.
    pub totals: Totals,
    /// Every caller in it, in the order of service.
    pub(crate) waiting: BTreeMap<Place, Waiting>,
    /// The places of callers who are offered to nobody.
    pub(crate) unoffered: BTreeSet<Place>,
    /// How many callers wait, by the first part of their places.
    pub(crate) by_priority: BTreeMap<u8, u32>,
    /// Agents who can be offered a call, best first.
    pub(crate) ready: BTreeSet<(Rank, AgentId)>,
}

/// What a queue counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Calls that entered.
    pub entered: u64,
    /// Calls that an agent answered.
    pub answered: u64,
    /// Callers who left while they waited.
    pub abandoned: u64,
    /// Calls that were sent on or let go: full, or waited too long.
    pub overflowed: u64,
    /// Milliseconds that the answered ones waited, together.
    pub answered_wait_ms: u64,
}

/// A caller's place: higher priority first, then the earlier commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// 255 − priority, so that the natural order is the order of service.
    pub(crate) after: u8,
    /// The commit that put the call into the queue.
    pub(crate) ticket: Index,
    /// The call: one commit can put several into a queue.
    pub(crate) call: CallId,
}

impl Place {
    /// The place of a call with this priority that entered with this commit.
    #[must_use]
    pub fn new(priority: u8, ticket: Index, call: CallId) -> Self {
        Self { after: u8::MAX - priority, ticket, call }
    }
}

/// One who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The call.
    pub call: CallId,
    /// Since when.
    pub since: Millis,
}

/// How good a choice an agent is by the queue's strategy: lower is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u64);

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(id: QueueId) -> Self {
        Self {
            id,
            totals: Totals::default(),
            waiting: BTreeMap::new(),
            unoffered: BTreeSet::new(),
            by_priority: BTreeMap::new(),
            ready: BTreeSet::new(),
        }
    }

    /// Callers in it, offered ones too, in the order of service.
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// How many callers are in it, offered ones too.
    #[must_use]
    pub fn length(&self) -> usize {
        self.waiting.len()
    }

    /// Since when the first in the order of service waits. With priorities this need not be the
    /// longest wait.
    #[must_use]
    pub fn first_since(&self) -> Option<Millis> {
        self.waiting.values().next().map(|first| first.since)
    }

    /// How many callers are served before one who enters now with this priority.
    #[must_use]
    pub fn ahead_of_new(&self, priority: u8) -> u32 {
        self.by_priority.range(..=u8::MAX - priority).map(|(_, count)| count).sum()
    }

    pub(crate) fn enter(&mut self, place: Place, waiting: Waiting) {
        self.waiting.insert(place, waiting);
        *self.by_priority.entry(place.after).or_default() += 1;
    }

    pub(crate) fn leave(&mut self, place: &Place) {
        self.unoffered.remove(place);
        if self.waiting.remove(place).is_some()
            && let Some(count) = self.by_priority.get_mut(&place.after)
        {
            *count -= 1;
            if *count == 0 {
                self.by_priority.remove(&place.after);
            }
        }
    }

    /// How many callers are served before `place`. Linear in the answer.
    #[must_use]
    pub fn ahead_of(&self, place: Place) -> usize {
        self.waiting.range(..place).count()
    }

    /// Agents who could be offered a call now, best first.
    pub fn ready(&self) -> impl Iterator<Item = &AgentId> {
        self.ready.iter().map(|(_, agent)| agent)
    }

    /// How many agents could be offered a call now.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.ready.len()
    }
}
