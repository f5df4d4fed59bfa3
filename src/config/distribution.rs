//! The entries that say who takes which caller when: members, rings, skills and classes of callers.
//!
//! What they mean is said in `docs/queues.md`; they become parts of the replicated directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::directory::{
    self as center, CallerClass, Detours, Distribution, NumberPattern, Skills,
};
use tandem_center::{AgentId, QueueId, Route};

use super::Config;
use super::entries::Queue;
use super::types::{Dialled, Level, Name, Pattern, Penalty, Priority, WaitSeconds, Weight};

/// What is special about an agent in a queue.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The agent, whose `queues` name this queue.
    pub agent: Name,
    /// Nobody with a higher penalty is asked while somebody with a lower one is ready.
    #[serde(default)]
    pub penalty: Penalty,
    /// The place in the order of the strategies `linear` and `round_robin`; the lower number
    /// first.
    #[serde(default)]
    pub rank: u16,
    /// The share of calls with the strategy `weighted_random`.
    #[serde(default = "weight")]
    pub weight: Weight,
    /// Which queue's callers the agent takes first: those of the queue with the highest number
    /// here, whatever the callers' priority.
    #[serde(default = "none")]
    pub preference: Priority,
}

/// Who may take a caller from some time of waiting on.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// From how many seconds of waiting on. The first ring's is 0, and each is later than the one
    /// before.
    pub after_seconds: WaitSeconds,
    /// What an agent must know, and how well at least.
    #[serde(default)]
    pub skills: BTreeMap<Name, Level>,
    /// Queues whose agents may take the caller as well.
    #[serde(default)]
    pub queues: Vec<Name>,
    /// Whether the skills that the caller asks for in person, by class or flow, do not count any
    /// more.
    #[serde(default)]
    pub waives_caller: bool,
}

/// A kind of callers, who are served first or by agents of their own. The first class that a
/// caller belongs to counts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name in timelines.
    pub name: Name,
    /// The numbers that they call from: whole ones, beginnings followed by `*`, or `anonymous`.
    /// Empty: any.
    #[serde(default)]
    pub callers: Vec<Pattern>,
    /// The numbers that they dial, written in the same way. Empty: any.
    #[serde(default)]
    pub called: Vec<Pattern>,
    /// Added to their priority in every queue.
    #[serde(default = "none")]
    pub priority: Priority,
    /// What an agent must know for them, and how well at least, beside what the queue asks for.
    #[serde(default)]
    pub skills: BTreeMap<Name, Level>,
}

const fn weight() -> Weight {
    Weight::of::<1>()
}

const fn none() -> Priority {
    Priority::of::<0>()
}

pub(super) fn skills(of: &BTreeMap<Name, Level>) -> Skills {
    of.iter().map(|(skill, level)| (skill.as_str().into(), level.get())).collect()
}

/// A number, its beginning, or callers who hide theirs.
pub(super) fn pattern(of: &Pattern) -> NumberPattern {
    match of.as_str() {
        "anonymous" => NumberPattern::Anonymous,
        text => match text.strip_suffix('*') {
            Some(beginning) => NumberPattern::Prefix(beginning.into()),
            None => NumberPattern::Exact(text.into()),
        },
    }
}

/// Which of a queue's agents must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Staffing {
    /// Nobody.
    #[default]
    Nothing,
    /// One who is signed in.
    SignedIn,
    /// One who is signed in and not set not ready: ready, in a call or in wrap-up.
    Available,
}

impl Staffing {
    fn of_directory(self) -> center::Staffing {
        match self {
            Self::Nothing => center::Staffing::Nothing,
            Self::SignedIn => center::Staffing::SignedIn,
            Self::Available => center::Staffing::Available,
        }
    }
}

impl Class {
    pub(super) fn of_directory(&self) -> CallerClass {
        CallerClass {
            name: self.name.as_str().into(),
            callers: self.callers.iter().map(pattern).collect(),
            called: self.called.iter().map(pattern).collect(),
            priority: self.priority.get(),
            skills: skills(&self.skills),
        }
    }
}

impl Queue {
    pub(super) fn distribution(&self, numbers: &BTreeMap<Arc<str>, Route>) -> Distribution {
        let way = |to: Option<&Dialled>| numbers.get(to?.as_str()).cloned();
        let id = |name: &Name| QueueId::parse(name.as_str()).ok();
        let member = |member: &Member| {
            let of = center::Member {
                penalty: member.penalty.get(),
                rank: member.rank,
                weight: member.weight.get(),
                preference: member.preference.get(),
            };
            Some((AgentId::parse(member.agent.as_str()).ok()?, of))
        };
        let ring = |ring: &Ring| center::Ring {
            after_seconds: ring.after_seconds.get(),
            skills: skills(&ring.skills),
            queues: ring.queues.iter().filter_map(id).collect(),
            waives_caller: ring.waives_caller,
        };
        Distribution {
            members: self.member.iter().filter_map(member).collect(),
            rings: self.ring.iter().map(ring).collect(),
            age_seconds: self.age_seconds.get(),
            last_agent_seconds: self.last_agent_seconds.get(),
            no_answer_penalty: self.no_answer_penalty.map(Penalty::get),
            join_needs: self.join_needs.of_directory(),
            stay_needs: self.stay_needs.of_directory(),
            detours: Detours {
                full: way(self.overflow_full.as_ref()),
                wait: way(self.overflow_wait.as_ref()),
                empty: way(self.overflow_empty.as_ref()),
            },
        }
    }
}

impl Config {
    /// What is wrong with the distribution of each queue, by its number in the file: the key, and
    /// what is wrong with it.
    pub(super) fn distribution_problems(&self) -> Vec<(usize, &'static str, String)> {
        let people: Vec<_> = self.people().into_iter().map(|agent| agent.id).collect();
        let mut problems = Vec::new();
        for (number, queue) in self.queue.iter().enumerate() {
            for member in queue.member.iter().filter(|member| !people.contains(&member.agent)) {
                problems.push((number, "member", format!("there is no agent {}", member.agent)));
            }
            let mut earliest = 0;
            for (place, ring) in queue.ring.iter().enumerate() {
                let after = ring.after_seconds.get();
                if after < earliest || (place == 0 && after > 0) {
                    let message = format!(
                        "ring {} begins after {after} s: the first must begin after 0 s, and each \
                         later than the one before",
                        place + 1
                    );
                    problems.push((number, "ring", message));
                }
                earliest = after + 1;
                let known = |name: &&Name| self.queue.iter().any(|queue| queue.id == **name);
                for name in ring.queues.iter().filter(|name| !known(name)) {
                    problems.push((number, "ring", format!("there is no queue {name}")));
                }
            }
            let ways = [
                ("overflow_full", &queue.overflow_full),
                ("overflow_wait", &queue.overflow_wait),
                ("overflow_empty", &queue.overflow_empty),
            ];
            for (key, way) in ways {
                let known = |to: &Dialled| self.number.iter().any(|entry| entry.number == *to);
                if let Some(to) = way.as_ref().filter(|to| !known(to)) {
                    problems.push((number, key, format!("there is no number {to}")));
                }
            }
            let needs =
                queue.join_needs != Staffing::Nothing || queue.stay_needs != Staffing::Nothing;
            if needs && queue.overflow_empty.is_none() && queue.overflow.is_none() {
                let message = "nothing says where callers go when agents are missing: give \
                               overflow_empty or overflow";
                problems.push((number, "overflow_empty", message.to_owned()));
            }
            let asks = queue.ring.first().is_some_and(|ring| !ring.skills.is_empty());
            if queue.strategy == super::entries::Strategy::HighestLevel && !asks {
                let message = "there is no level to choose by: the first ring must ask for skills";
                problems.push((number, "strategy", message.to_owned()));
            }
        }
        problems
    }

    pub(super) fn classes(&self) -> Vec<CallerClass> {
        self.class.iter().map(Class::of_directory).collect()
    }
}
