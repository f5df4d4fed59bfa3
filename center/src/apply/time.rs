//! What is due happens: no-answer time-outs, the longest wait, wrap-ups, pauses, graces.

use std::sync::Arc;

use super::Turn;
use super::end::End;
use crate::agent::{After, reasons};
use crate::directory::Staffing;
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
                Due::Queue(id) => self.leave_deserted(turn, &id),
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
            Phase::Queued { queue, offers, until, .. } if offers.is_empty() => match until {
                Some(until) if *until <= turn.at => self.waited_too_long(turn, id, queue),
                Some(_) | None => self.widen(turn, id),
            },
            Phase::Queued { .. } | Phase::Direct { .. } => self.offers_are_due(turn, id),
            Phase::Bridged { consultation: Some(_), .. } if call.offers().is_empty() => {
                self.consultation_ends(turn, id, Cause::NoAnswer);
            }
            Phase::Bridged { consultation: Some(_), .. } => self.offers_are_due(turn, id),
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

    /// Nobody answered in time.
    fn offers_are_due(&mut self, turn: &mut Turn, id: CallId) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        let now = turn.at;
        for offer in call.offers().iter().filter(|offer| offer.until <= now) {
            self.return_offer(turn, id, &offer.agent, Returned::NoAnswer);
        }
    }

    /// More agents may take a call than before: not only the one who was waited for, or those of
    /// the next ring.
    fn widen(&mut self, turn: &mut Turn, id: CallId) {
        self.edit_call(turn, id, |call| {
            if let Phase::Queued { wanted, .. } = &mut call.phase {
                *wanted = None;
            }
        });
        self.settle_ring(turn, id);
    }

    /// Puts a waiting call into the ring that its time of waiting gives.
    pub(super) fn settle_ring(&mut self, turn: &mut Turn, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let Phase::Queued { queue, since, wanted: None, ring: before, .. } = &call.phase else {
            return;
        };
        let Some(config) = self.directory.queues.get(queue) else { return };
        let (now, next) = config.distribution.ring_at(*since, turn.at);
        let (queue, is_wider) = (queue.clone(), now > *before);
        self.edit_call(turn, id, |call| {
            if let Phase::Queued { ring, widens, .. } = &mut call.phase {
                (*ring, *widens) = (now, next);
            }
        });
        if is_wider {
            self.note(turn, id, What::Widened { queue, ring: now });
        }
    }

    /// Callers who wait where too few agents are left are due to be sent on.
    pub(super) fn note_deserted(&mut self, turn: &mut Turn) {
        let directory = Arc::clone(&self.directory);
        let mut changed = std::mem::take(&mut turn.restaffed);
        changed.extend(turn.opened.keys().cloned());
        for id in changed {
            let (config, queue) = (directory.queues.get(&id), self.queues.get_mut(&id));
            let (Some(config), Some(queue)) = (config, queue) else { continue };
            let is_deserted = !queue.staff.meets(config.distribution.stay_needs);
            if is_deserted && queue.unoffered() > 0 && queue.memory.deserted.is_none() {
                queue.memory.deserted = Some(turn.at);
                self.deadlines.insert((turn.at, Due::Queue(id.clone())));
                turn.outcome.touched.queues.insert(id);
            }
        }
    }

    /// Sends on the first who waits in a queue that lacks agents. The others are due as well: a
    /// queue of any length is left in steps that one tick bounds.
    fn leave_deserted(&mut self, turn: &mut Turn, id: &QueueId) {
        let directory = Arc::clone(&self.directory);
        let (config, queue) = (directory.queues.get(id), self.queues.get_mut(id));
        let Some(queue) = queue else { return };
        let needs = config.map_or(Staffing::Nothing, |config| config.distribution.stay_needs);
        let first = queue.lines.values().filter_map(|places| places.first()).min();
        let first = first.filter(|_| !queue.staff.meets(needs)).map(|place| place.call);
        let (Some(call), Some(config)) = (first, config) else {
            if let Some(at) = queue.memory.deserted.take() {
                self.deadlines.remove(&(at, Due::Queue(id.clone())));
            }
            turn.outcome.touched.queues.insert(id.clone());
            return;
        };
        turn.routes = 0;
        self.note(turn, call, What::NoAgents { queue: id.clone() });
        let way = config.distribution.detours.empty.as_ref().or(config.overflow.as_ref());
        self.overflow(turn, call, way, CallResult::WaitedTooLong);
    }

    fn waited_too_long(&mut self, turn: &mut Turn, id: CallId, queue: &QueueId) {
        self.note(turn, id, What::WaitedTooLong { queue: queue.clone() });
        let directory = Arc::clone(&self.directory);
        let config = directory.queues.get(queue);
        let overflow = config.and_then(|config| {
            config.distribution.detours.wait.as_ref().or(config.overflow.as_ref())
        });
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
