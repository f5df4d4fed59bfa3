//! One actor per agent: what the outside sees of an agent's state.
//!
//! Owns the log line of a change. The desk's socket is served by the API and the state is
//! replicated in [`tandem_center`]; losing this actor loses nothing.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tandem_center::{Agent, AgentId};

use crate::node::Node;

/// What an agent's actor is told.
#[derive(Debug)]
pub enum Message {
    /// A commit changed the agent.
    Changed(Arc<Agent>),
    /// A test of the supervision: die.
    Panic,
}

/// The behaviour of an agent.
#[derive(Debug)]
pub struct AgentActor;

/// What it holds.
#[derive(Debug)]
pub struct State {
    agent: AgentId,
    /// The name of the state that was logged last.
    shown: Option<&'static str>,
}

impl Actor for AgentActor {
    type Msg = Message;
    type State = State;
    type Arguments = (Arc<Node>, AgentId);

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        (node, agent): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let value = node.replica.read_local(|machine| machine.center().agent(&agent).cloned());
        let mut state = State { agent, shown: None };
        if let Some(value) = value {
            state.changed(&value);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Changed(agent) => state.changed(&agent),
            #[expect(clippy::panic, reason = "the hook that tests of the supervision pull")]
            Message::Panic => panic!("the test hook was pulled"),
        }
        Ok(())
    }
}

impl State {
    fn changed(&mut self, agent: &Agent) {
        let name = agent.state.name();
        if self.shown == Some(name) {
            return;
        }
        tracing::debug!(agent = %self.agent, state = name, "agent changed");
        self.shown = Some(name);
    }
}
