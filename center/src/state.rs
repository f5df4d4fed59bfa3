//! The state as one value, and what may be read of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    Agent, AgentId, Call, CallId, Command, Directory, Index, Millis, Outcome, Queue, QueueId,
    Rejected, Session, SessionId,
};

/// The replicated contact centre.
#[derive(Clone, Debug, Default)]
pub struct Center {
    pub(crate) index: Index,
    pub(crate) at: Millis,
    pub(crate) directory: Arc<Directory>,
    pub(crate) calls: BTreeMap<CallId, Arc<Call>>,
    pub(crate) agents: BTreeMap<AgentId, Arc<Agent>>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) queues: BTreeMap<QueueId, Queue>,
}

impl Center {
    /// A centre that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one committed command.
    pub fn apply(
        &mut self,
        index: Index,
        at: Millis,
        command: Command,
    ) -> Result<Outcome, Rejected> {
        self.index = index;
        self.at = self.at.max(at);
        drop(command);
        Ok(Outcome::default())
    }

    /// The index of the last command that was applied.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// The time of the last command that was applied.
    #[must_use]
    pub fn at(&self) -> Millis {
        self.at
    }

    /// When [`Command::Tick`] is to be proposed next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }

    /// A call, also one that ended and is not cleared.
    #[must_use]
    pub fn call(&self, id: CallId) -> Option<&Arc<Call>> {
        self.calls.get(&id)
    }

    /// All calls by id.
    pub fn calls(&self) -> impl Iterator<Item = &Arc<Call>> {
        self.calls.values()
    }

    /// An agent.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<Agent>> {
        self.agents.get(id)
    }

    /// All agents by name.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// A queue.
    #[must_use]
    pub fn queue(&self, id: &QueueId) -> Option<&Queue> {
        self.queues.get(id)
    }

    /// All queues by name.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// A session.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All sessions by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// The directory that holds.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }
}
