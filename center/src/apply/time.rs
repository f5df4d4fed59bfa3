//! What is due happens: no-answer time-outs, the longest wait, wrap-ups, pauses, graces.

use std::sync::Arc;

use super::Turn;
use super::end::End;
use crate::agent::{After, reasons};
use crate::event::SessionEnd;
use crate::state::Due;
use crate::supervision::Supervision;
use crate::timeline::{Returned, What};
use crate::{AgentId, AgentState, CallId, CallResult, Cause, Center, Phase, QueueId, Reply, Side};

/// Things that one tick does. What is left is still due: the leader ticks again at once.
const DUE_MAX: usize = 1024;

impl Center {
    pub(super) fn tick(&mut self, turn: &mut Turn) -> Reply {
        let mut reply = Reply::Already;
        for _ in 0..DUE_MAX {
            let Some((_, due)) = self.deadlines.first().filter(|(at, _)| *at <= turn.at) else {
                break;
            };
            reply = Reply::Done;
            match due.clone() {
                Due::Call(id) => self.call_is_due(turn, id),
                Due::Agent(id) => self.agent_is_due(turn, &id),
                Due::Session(id) => {
                    let why = SessionEnd::ConnectionLost;
                    self.log_out(turn, id, why, reasons::CONNECTION_LOST);
                }
            }
        }
        reply
    }

    fn call_is_due(&mut self, turn: &mut Turn, id: CallId) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        turn.routes = 0;
        let supervision = call.supervision.as_ref().and_then(Supervision::deadline);
        if supervision.is_some_and(|until| until <= turn.at) {
            return self.supervision_ends(turn, id, Cause::NoAnswer);
        }
        match &call.phase {
            Phase::Queued { offer: Some(_), .. } | Phase::Direct { .. } => {
                self.return_offer(turn, id, Returned::NoAnswer);
            }
            Phase::Queued { queue, offer: None, .. } => self.waited_too_long(turn, id, queue),
            Phase::Bridged { consultation: Some(_), .. } => match call.offer() {
                Some(_) => self.return_offer(turn, id, Returned::NoAnswer),
                None => self.consultation_ends(turn, id, Cause::NoAnswer),
            },
            Phase::Dialing { .. } => {
                self.end_call(turn, id, End(Side::System, Cause::NoAnswer, CallResult::NoAnswer));
            }
            Phase::Parked { .. } => self.parked_too_long(turn, id),
            Phase::Ended { .. } => self.remove_call(turn, id),
            Phase::Ivr { .. } => self.act_is_due(turn, id),
            // None of them has a deadline.
            Phase::Arriving | Phase::Bridged { consultation: None, .. } | Phase::Echo => {}
        }
    }

    fn waited_too_long(&mut self, turn: &mut Turn, id: CallId, queue: &QueueId) {
        self.note(turn, id, What::WaitedTooLong { queue: queue.clone() });
        let directory = Arc::clone(&self.directory);
        let config = directory.queues.get(queue);
        let overflow = config.and_then(|config| config.overflow.as_ref());
        self.overflow(turn, id, overflow, CallResult::WaitedTooLong);
    }

    fn agent_is_due(&mut self, turn: &mut Turn, id: &AgentId) {
        let Some(agent) = self.agents.get(id).cloned() else { return };
        match &agent.state {
            AgentState::NotReady { .. } => {
                self.edit_agent(turn, id, |agent| agent.after = After::Ready);
                self.become_ready(turn, id);
            }
            AgentState::WrapUp { .. } => self.become_ready(turn, id),
            // None of them has a deadline.
            AgentState::LoggedOut { .. }
            | AgentState::Ready { .. }
            | AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. } => {}
        }
    }
}
