//! What a queue says of its distribution beyond the strategy: members, rings, ageing, patience.
//!
//! Only what the operator configured; how a choice follows from it is in `acd`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{NumberPattern, Route};
use crate::ids::{AgentId, Millis, QueueId};

/// Rings of one queue. Each is an ordered set of agents that every change of an agent's state
/// keeps up to date; more are refused.
pub const RINGS_MAX: usize = 8;

/// Skills that a ring or a caller may ask for, and that an agent may have. More are refused.
pub const SKILLS_MAX: usize = 32;

/// The highest level of a skill. 100 reads as a percentage; telephone systems use 3 to 100.
pub const LEVEL_MAX: u8 = 100;

/// The largest weight of a member. With weights up to 1,000 and 10,000 members a sum fits by far.
pub const WEIGHT_MAX: u16 = 1_000;

/// Skills by name with a level, from 1 to [`LEVEL_MAX`]: of an agent the level reached, of a ring
/// or a caller the level that is needed at least.
pub type Skills = BTreeMap<Arc<str>, u8>;

/// How a queue distributes its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// What is special about some of those who serve the queue; the others are
    /// [`Member::default`].
    pub members: BTreeMap<AgentId, Member>,
    /// Who may take a caller, by how long the caller has waited; the first counts from the
    /// beginning. Empty: everybody who serves the queue, at once.
    pub rings: Vec<Ring>,
    /// A caller gains one step of priority for so many seconds of waiting. 0: never.
    pub age_seconds: u32,
    /// How long a caller who returns waits for the agent who talked with them last, in seconds.
    /// 0: not at all.
    pub last_agent_seconds: u32,
    /// What is added to the penalty of an agent who does not answer, until they take a call or
    /// sign in anew. None: such an agent becomes not ready instead.
    pub no_answer_penalty: Option<u8>,
    /// Who must be there for a caller to enter.
    pub join_needs: Staffing,
    /// Who must be there for callers to stay.
    pub stay_needs: Staffing,
    /// Where callers go whom the queue cannot take or keep.
    pub detours: Detours,
}

/// Which of the agents who serve a queue must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Staffing {
    /// Nobody.
    #[default]
    Nothing,
    /// One who is signed in.
    SignedIn,
    /// One who is signed in, and neither on a break nor otherwise not ready.
    Available,
}

/// Where callers go whom a queue cannot take or keep. None: where the queue overflows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detours {
    /// Who find it full.
    pub full: Option<Route>,
    /// Who waited too long.
    pub wait: Option<Route>,
    /// Who would have nobody to wait for.
    pub empty: Option<Route>,
}

impl Detours {
    /// All that are given.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        [&self.full, &self.wait, &self.empty].into_iter().flatten()
    }
}

/// How an agent stands in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Nobody with a higher penalty is asked while somebody with a lower one is ready.
    pub penalty: u8,
    /// The place in the order of [`super::Strategy::Linear`] and
    /// [`super::Strategy::RoundRobin`]; the lower number first.
    pub rank: u16,
    /// The share in [`super::Strategy::WeightedRandom`], from 1 to [`WEIGHT_MAX`].
    pub weight: u16,
    /// Which of their queues' callers the agent takes first: those of the queue with the highest
    /// number here, whatever the callers' priority.
    pub preference: u8,
}

/// Who may take a caller from some time of waiting on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// From how many seconds of waiting on. The first ring's is 0, and each is later than the one
    /// before.
    pub after_seconds: u32,
    /// What an agent must know, in place of what the ring before asked for.
    pub skills: Skills,
    /// Whose agents may take the caller as well.
    pub queues: Vec<QueueId>,
    /// What the caller asks for in person (by class or flow) is asked for no more.
    pub waives_caller: bool,
}

/// A kind of callers, who are served with a priority or by agents of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerClass {
    /// What timelines call it.
    pub name: Arc<str>,
    /// The numbers that they call from. Empty: any.
    pub callers: Vec<NumberPattern>,
    /// The numbers that they dial. Empty: any.
    pub called: Vec<NumberPattern>,
    /// Added to their priority in every queue.
    pub priority: u8,
    /// What an agent must know for them, beside what the queue asks for.
    pub skills: Skills,
}

impl CallerClass {
    /// Whether such a call is of this class.
    #[must_use]
    pub fn is_of(&self, caller: &str, called: &str) -> bool {
        let any = |patterns: &[NumberPattern], number: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(number))
        };
        any(&self.callers, caller) && any(&self.called, called)
    }
}

impl Default for Member {
    fn default() -> Self {
        Self { penalty: 0, rank: 0, weight: 1, preference: 0 }
    }
}

impl Distribution {
    /// How an agent stands in the queue.
    #[must_use]
    pub fn member(&self, agent: &AgentId) -> Member {
        self.members.get(agent).copied().unwrap_or_default()
    }

    /// How many rings there are, 1 at least.
    #[must_use]
    pub fn ring_count(&self) -> usize {
        self.rings.len().max(1)
    }

    /// The ring of a caller who has waited since then, and when the next one begins.
    #[must_use]
    pub fn ring_at(&self, since: Millis, at: Millis) -> (u8, Option<Millis>) {
        let begins = |ring: &Ring| since.plus_seconds(ring.after_seconds);
        let later = self.rings.iter().skip(1);
        let passed = later.take_while(|ring| begins(ring) <= at).count();
        let ring = u8::try_from(passed).unwrap_or(u8::MAX);
        (ring, self.rings.get(passed + 1).map(begins))
    }
}

/// Whether an agent who knows `known` meets what is asked for.
#[must_use]
pub fn meets(known: &Skills, needed: &Skills) -> bool {
    needed.iter().all(|(skill, level)| known.get(skill).is_some_and(|reached| reached >= level))
}
