//! Who talked with which caller last, so that a caller who returns can get the same agent.
//!
//! Kept only for calls of queues that ask for it, by the caller's number, and only so many.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::apply::Turn;
use crate::{AgentId, Call, Center, Direction, Index};

/// Callers who are remembered. Full: the one whose conversation is the longest ago is forgotten,
/// and gets any agent.
pub const SERVED_MAX: usize = 100_000;

/// Who talked with a caller last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The agent.
    pub by: AgentId,
    /// The commit that began their conversation.
    pub at: Index,
}

impl Center {
    /// Remembers that an agent talks with a caller now.
    pub(crate) fn remember_served(&mut self, turn: &mut Turn, call: &Call, agent: &AgentId) {
        let queue = call.queue.as_ref().and_then(|queue| self.directory.queues.get(queue));
        let wants = queue.is_some_and(|queue| queue.distribution.last_agent_seconds > 0);
        let number = &call.caller.number;
        // RFC 3323 §4.1.1.3: callers who hide use this user part.
        let is_hidden = number.is_empty() || number.eq_ignore_ascii_case("anonymous");
        if !wants || is_hidden || call.direction != Direction::Inbound {
            return;
        }
        if let Some(before) = self.served.get(number) {
            self.served_order.remove(&(before.at, number.clone()));
        } else if self.served.len() >= SERVED_MAX
            && let Some((_, oldest)) = self.served_order.pop_first()
        {
            self.served.remove(&oldest);
            turn.outcome.touched.served.insert(oldest);
        }
        self.served.insert(number.clone(), Served { by: agent.clone(), at: turn.index });
        self.served_order.insert((turn.index, number.clone()));
        turn.outcome.touched.served.insert(number.clone());
    }

    /// The agent whom a caller who enters this queue waits for: who talked with them last, if that
    /// one serves the queue and is signed in.
    pub(crate) fn last_agent(&self, number: &Arc<str>, queue: &crate::QueueId) -> Option<AgentId> {
        let agent = &self.served.get(number)?.by;
        let serves = self.config_of(agent)?.queues.contains(queue);
        let is_there = self.agents.get(agent).is_some_and(|agent| agent.is_signed_in());
        (serves && is_there).then(|| agent.clone())
    }
}
