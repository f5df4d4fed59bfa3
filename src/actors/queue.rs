//! One actor per queue: what the operator should know of a queue between commits.
//!
//! Owns a warning: somebody has been waiting for long. Places, offers and deadlines are replicated
//! in [`tandem_center`]; losing this actor loses nothing, its successor looks at the queue again.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tandem_center::QueueId;

use crate::node::Node;

/// How often a queue is looked at while somebody waits in it.
const OBSERVED_EVERY: Duration = Duration::from_secs(10);

/// A wait that deserves a look in the morning: five minutes lose most callers.
const WAIT_WARNED: Duration = Duration::from_secs(300);

/// What a queue's actor is told.
#[derive(Debug)]
pub enum Message {
    /// A commit changed who waits or who is ready.
    Changed,
    /// The longest wait has grown.
    Observe,
    /// A test of the supervision: die.
    Panic,
}

/// The behaviour of a queue.
#[derive(Debug)]
pub struct QueueActor;

/// What it holds.
#[derive(Debug)]
pub struct State {
    node: Arc<Node>,
    queue: QueueId,
    /// A [`Message::Observe`] is on its way.
    observing: bool,
}

impl Actor for QueueActor {
    type Msg = Message;
    type State = State;
    type Arguments = (Arc<Node>, QueueId);

    async fn pre_start(
        &self,
        me: ActorRef<Message>,
        (node, queue): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        drop(me.send_message(Message::Changed));
        Ok(State { node, queue, observing: false })
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // A burst of commits costs one look: the next one is a second away.
            Message::Changed if state.observing => (),
            Message::Changed => {
                state.observe();
                state.observing = true;
                drop(me.send_after(OBSERVED_EVERY, || Message::Observe));
            }
            Message::Observe => {
                state.observing = state.observe();
                if state.observing {
                    drop(me.send_after(OBSERVED_EVERY, || Message::Observe));
                }
            }
            #[expect(clippy::panic, reason = "the hook that tests of the supervision pull")]
            Message::Panic => panic!("the test hook was pulled"),
        }
        Ok(())
    }
}

impl State {
    /// Warns of a long wait; true while somebody waits.
    fn observe(&self) -> bool {
        let Some(longest) = self.node.longest_wait(&self.queue) else { return false };
        if longest > WAIT_WARNED {
            tracing::warn!(queue = %self.queue, seconds = longest.as_secs(), "a caller waits long");
        }
        true
    }
}
