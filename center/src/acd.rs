//! Automatic call distribution: which ready agent gets which waiting call.
//!
//! Policy: the call with the highest priority, then the one that entered first; for it, the
//! agent whom the queue's strategy ranks best, then the lowest name, so that every replica
//! chooses the same. A strategy is no more than a rank that an agent has while ready: the queue
//! keeps its ready agents in that order, so a choice costs a look at the first.
//!
//! Before each command no queue has both a ready agent and a call that is offered to nobody;
//! so after it only the queues that gained one of the two need a look.

use std::collections::BTreeSet;

use crate::apply::Turn;
use crate::directory::Strategy;
use crate::queue::{Place, Rank};
use crate::timeline::{Candidate, NEXT_MAX, Why};
use crate::{AgentId, CallId, Center, Millis, Queue, QueueId};

/// How good a choice an agent is who has been idle since then. Lower is better.
#[must_use]
pub(crate) fn rank(strategy: Strategy, idle_since: Millis) -> Rank {
    match strategy {
        Strategy::LongestIdle => Rank::earliest(idle_since),
    }
}

/// Why the best-ranked agent is the best.
fn why(strategy: Strategy, rank: Rank, queue: &Queue) -> Why {
    match strategy {
        // The one who is alone took what was there; there was nobody to be chosen among.
        Strategy::LongestIdle if queue.ready.len() == 1 && queue.unoffered.len() > 1 => {
            Why::FirstWaiting { waiting: count(queue.unoffered.len()) }
        }
        Strategy::LongestIdle => {
            let next = queue.ready.iter().skip(1).take(NEXT_MAX);
            let next = next.map(|(rank, agent)| {
                let (agent, since) = (agent.clone(), Millis(rank.0));
                Candidate { agent, since }
            });
            let (since, ready) = (Millis(rank.0), count(queue.ready.len()));
            Why::LongestIdle { since, ready, next: next.collect() }
        }
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// A call and the agent to whom it is to be offered.
struct Match {
    call: CallId,
    agent: AgentId,
    why: Why,
}

impl Center {
    /// Offers calls until no queue has both a caller and an agent to spare.
    pub(crate) fn distribute(&mut self, turn: &mut Turn) {
        let unmatched = std::mem::take(&mut turn.unmatched);
        let mut first: BTreeSet<(Place, QueueId)> = BTreeSet::new();
        first.extend(unmatched.into_iter().filter_map(|queue| Some((self.head(&queue)?, queue))));
        while let Some((_, queue)) = first.pop_first() {
            // An agent of two queues may have been taken by the other one meanwhile.
            let Some(found) = self.find(&queue) else { continue };
            self.offer(turn, found.call, &found.agent, found.why);
            first.extend(self.head(&queue).map(|place| (place, queue)));
        }
        // Offering takes calls and agents away from queues; it gives none back.
        debug_assert!(turn.unmatched.is_empty());
    }

    /// The first place that is offered to nobody, of a queue that has a ready agent.
    fn head(&self, queue: &QueueId) -> Option<Place> {
        let queue = self.queues.get(queue)?;
        queue.ready.first()?;
        queue.unoffered.first().copied()
    }

    fn find(&self, id: &QueueId) -> Option<Match> {
        let queue = self.queues.get(id)?;
        let strategy = self.directory.queues.get(id)?.strategy;
        let (rank, agent) = queue.ready.first()?;
        let place = queue.unoffered.first()?;
        let why = why(strategy, *rank, queue);
        Some(Match { call: place.call, agent: agent.clone(), why })
    }
}
