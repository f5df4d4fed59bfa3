//! A queue as it is now: who waits, who is ready, and its totals.
//!
//! Who waits and who is ready is an index over calls and agents, rebuilt when a state is
//! loaded; only the totals and a memory are the queue's own. Ordered sets: a queue of 50,000
//! callers or 10,000 agents costs a few comparisons for each change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::directory::{Skills, Staffing};
use crate::ids::{AgentId, CallId, Index, Millis, QueueId};
use crate::ranked::Ranked;

/// A queue as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The name in the directory.
    pub id: QueueId,
    /// What it counted since it was configured.
    pub totals: Totals,
    /// What its strategy and its estimates remember.
    pub(crate) memory: Memory,
    /// Every caller in it, in the order of service.
    pub(crate) waiting: BTreeMap<Place, Waiting>,
    /// The same places, to be counted.
    pub(crate) places: Ranked<Place>,
    /// The places of callers who are offered to nobody, by who may take them. None is empty.
    pub(crate) lines: BTreeMap<Line, BTreeSet<Place>>,
    /// How many callers are in lines.
    pub(crate) in_lines: usize,
    /// Who is there to serve it.
    pub(crate) staff: Staff,
    /// Agents who can be offered a call, best first, for each ring.
    pub(crate) pools: Vec<Pool>,
}

/// Ready agents of one ring by rank, with their weights.
pub(crate) type Pool = Ranked<(Rank, AgentId)>;

/// Callers whom the same agents may take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    /// Only this agent, who talked with them last.
    Wanted(AgentId),
    /// The agents of this ring who know this much.
    Ring(u8, Arc<Skills>),
}

/// What a queue remembers of its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The agent to whom a call was offered last.
    pub last_offered: Option<AgentId>,
    /// Since when the next departure is waited for: the last one, or when the first caller came.
    /// None while nobody waits.
    pub(crate) next_since: Option<Millis>,
    /// Milliseconds from one departure to the next while somebody waits, smoothed. 0: none was
    /// seen yet.
    pub(crate) pace_ms: u64,
    /// Since when those who wait are to be sent on because too few agents are there.
    pub(crate) deserted: Option<Millis>,
}

/// Agents who serve a queue, whether or not they know what its rings ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staff {
    /// Signed in.
    pub signed_in: u32,
    /// Signed in, and neither on a break nor otherwise not ready: ready, in a call or in wrap-up.
    pub available: u32,
}

impl Staff {
    /// Whether it is what a queue needs.
    #[must_use]
    pub fn meets(self, needed: Staffing) -> bool {
        match needed {
            Staffing::Nothing => true,
            Staffing::SignedIn => self.signed_in > 0,
            Staffing::Available => self.available > 0,
        }
    }
}

/// A longer time between two departures counts as this: the night is over.
const PACE_MS_MAX: u64 = 3_600_000;

impl Memory {
    /// Somebody left, and others are left or not. The smoothing takes an eighth of the new gap, as
    /// TCP does for its round trips (RFC 6298 §2): eight departures make a new pace.
    fn departed(&mut self, at: Millis, others_wait: bool) {
        if let Some(since) = self.next_since {
            let gap = at.since_ms(since).min(PACE_MS_MAX);
            let old = if self.pace_ms == 0 { gap } else { self.pace_ms };
            self.pace_ms = (7 * old + gap) / 8;
        }
        self.next_since = others_wait.then_some(at);
    }
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

/// A caller's place in the order of service.
///
/// Without ageing: higher priority first, then the earlier commit. With it a step of priority is
/// worth a time of waiting, so a caller stands as if they had entered that much earlier for each
/// step: the order between two callers never changes while both wait, and two of one priority
/// stand in the order of their commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// 255 − priority; with ageing in milliseconds, and the time of entry added.
    pub(crate) after: u64,
    /// The commit that put the call into the queue.
    pub(crate) ticket: Index,
    /// The call: one commit can put several into a queue.
    pub(crate) call: CallId,
}

impl Place {
    /// The place of a call with this priority that entered with this commit.
    #[must_use]
    pub fn new(priority: u8, ticket: Index, call: CallId) -> Self {
        Self { after: (u8::MAX - priority).into(), ticket, call }
    }

    /// The same, where a step of priority is worth so many seconds of waiting. 0: any number.
    #[must_use]
    pub fn aged(self, since: Millis, age_seconds: u32) -> Self {
        match u64::from(age_seconds) * 1_000 {
            0 => self,
            step => Self { after: since.0.saturating_add(self.after * step), ..self },
        }
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
pub struct Rank {
    /// What the queue and unanswered offers put on the agent.
    pub penalty: u16,
    /// What the strategy compares first.
    pub by: u64,
    /// What it compares among equals.
    pub then: u64,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(id: QueueId) -> Self {
        Self {
            id,
            totals: Totals::default(),
            memory: Memory::default(),
            waiting: BTreeMap::new(),
            places: Ranked::default(),
            lines: BTreeMap::new(),
            in_lines: 0,
            staff: Staff::default(),
            pools: Vec::new(),
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

    /// Who is there to serve it.
    #[must_use]
    pub fn staff(&self) -> Staff {
        self.staff
    }

    /// How long a caller with so many ahead is expected to wait from now on, in milliseconds: one
    /// smoothed time between two departures for each of them and one for the caller. Nothing when
    /// an agent is ready, or when nobody has left yet, so that there is nothing to go by.
    ///
    /// Departures of every kind move the others on, so abandoned calls need no model of patience
    /// of their own, as they would in an estimate from service times (Whitt, "Predicting Queueing
    /// Delays", Management Science 45, 1999).
    #[must_use]
    pub fn expected_wait_ms(&self, ahead: usize) -> Option<u64> {
        let has_seen = self.memory.pace_ms > 0 && self.ready_count() == 0;
        has_seen.then(|| (ahead as u64 + 1).saturating_mul(self.memory.pace_ms))
    }

    /// The same for who enters now, behind all others: 0 while an agent is ready and everybody
    /// before is offered to somebody.
    #[must_use]
    pub fn wait_of_next_ms(&self) -> Option<u64> {
        if self.ready_count() > 0 && self.unoffered() == 0 {
            return Some(0);
        }
        self.expected_wait_ms(self.length())
    }

    /// Somebody left for good; `others_wait` is read from the queue as it is now.
    pub(crate) fn departed(&mut self, at: Millis) {
        self.memory.departed(at, !self.waiting.is_empty());
    }

    pub(crate) fn enter(&mut self, place: Place, waiting: Waiting, line: Option<Line>) {
        self.waiting.insert(place, waiting);
        self.places.insert(place, 1);
        if let Some(line) = line
            && self.lines.entry(line).or_default().insert(place)
        {
            self.in_lines += 1;
        }
    }

    pub(crate) fn leave(&mut self, place: &Place, line: Option<&Line>) {
        self.waiting.remove(place);
        self.places.remove(place);
        let Some(line) = line else { return };
        let Some(places) = self.lines.get_mut(line) else { return };
        if places.remove(place) {
            self.in_lines -= 1;
        }
        if places.is_empty() {
            self.lines.remove(line);
        }
    }

    /// How many callers are served before `place`, which need not be taken.
    #[must_use]
    pub fn ahead_of(&self, place: Place) -> usize {
        self.places.before(&place).0 as usize
    }

    /// How many callers are offered to nobody.
    pub(crate) fn unoffered(&self) -> usize {
        self.in_lines
    }

    /// The first place that an agent of this ring may take.
    pub(crate) fn first_for(
        &self,
        agent: &AgentId,
        ring: u8,
        meets: impl Fn(&Skills) -> bool,
    ) -> Option<Place> {
        let wanting = self.lines.get(&Line::Wanted(agent.clone())).filter(|_| ring == 0);
        let in_ring = self.lines.range(Line::Ring(ring, Arc::default())..);
        let in_ring = in_ring.map_while(|(line, places)| match line {
            Line::Ring(of, needs) if *of == ring => Some((needs, places)),
            Line::Ring(..) | Line::Wanted(_) => None,
        });
        let admitted = in_ring.filter(|(needs, _)| meets(needs)).map(|(_, places)| places);
        wanting.into_iter().chain(admitted).filter_map(BTreeSet::first).min().copied()
    }

    pub(crate) fn pool(&self, ring: u8) -> Option<&Pool> {
        self.pools.get(usize::from(ring))
    }

    pub(crate) fn pool_mut(&mut self, ring: u8) -> Option<&mut Pool> {
        self.pools.get_mut(usize::from(ring))
    }

    /// Agents who could be offered a call that just entered, best first.
    pub fn ready(&self) -> impl Iterator<Item = &AgentId> {
        self.pool(0).into_iter().flat_map(Ranked::iter).map(|((_, agent), _)| agent)
    }

    /// How many agents could be offered a call that just entered.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.pool(0).map_or(0, Ranked::len)
    }
}
