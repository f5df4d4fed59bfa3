//! What an agent does with a call at the desk: accept, decline, hold, retrieve, hang up,
//! dispose.

use std::sync::Arc;

use super::offer::CONNECT_SECONDS;
use super::{Turn, at_most};
use crate::agent::WORDS_BYTES_MAX;
use crate::call::{LegState, Offer, Stage};
use crate::event::Happened;
use crate::record::Disposition;
use crate::timeline::{Returned, What};
use crate::{
    AgentId, AgentState, Call, CallId, Cause, Center, LegNumber, Record, Rejected, Reply, Side,
};

/// What an agent says about a call.
pub(super) struct Words {
    pub(super) agent: AgentId,
    pub(super) call: CallId,
    pub(super) disposition: Arc<str>,
    pub(super) note: Option<Arc<str>>,
}

impl Center {
    /// The offer of this call to this agent.
    pub(super) fn offer_to(&self, agent: &AgentId, id: CallId) -> Result<Offer, Rejected> {
        self.agent_of(agent)?;
        let call = self.looked_up(id)?;
        match call.offer_to(agent) {
            Some(offer) => Ok(offer.clone()),
            None => Err(Rejected::NotYourCall { call: id, agent: agent.clone() }),
        }
    }

    pub(super) fn accept_offer(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        if self.looked_up(id)?.talking_leg_of(agent).is_some() {
            return Ok(Reply::Already);
        }
        match self.offer_to(agent, id)?.stage {
            Stage::Accepted(_) => return Ok(Reply::Already),
            Stage::Phone(_) => {
                let (is, needs) = ("ringing at the phone", "the phone to be picked up");
                return Err(Rejected::WrongPhase { call: id, is, needs });
            }
            Stage::Desk => {}
        }
        let at = turn.at;
        self.note(turn, id, What::Accepted { agent: agent.clone() });
        self.withdraw_others(turn, id, agent);
        let leg = self.invite_phone(turn, id, agent, CONNECT_SECONDS);
        self.edit_call(turn, id, |call| {
            if let Some(leg) = call.legs.get_mut(&leg) {
                leg.auto_answer = true;
            }
            if let Some(offer) = call.offer_to_mut(agent) {
                offer.stage = Stage::Accepted(leg);
                offer.until = at.plus_seconds(CONNECT_SECONDS);
            }
        });
        self.set_agent(turn, agent, AgentState::Reserved { since: at, call: id });
        Ok(Reply::Done)
    }

    pub(super) fn decline_offer(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        self.offer_to(agent, id)?;
        self.return_offer(turn, id, agent, Returned::Declined);
        Ok(Reply::Done)
    }

    /// The leg of an agent who is in a conversation in this call.
    pub(super) fn talking_leg(&self, agent: &AgentId, id: CallId) -> Result<LegNumber, Rejected> {
        self.agent_of(agent)?;
        let call = self.looked_up(id)?;
        match (call.leg_of(agent), call.talking_leg_of(agent)) {
            (_, Some(leg)) => Ok(leg),
            (Some(_), None) => {
                let (is, needs) = (call.phase_name(), "a conversation");
                Err(Rejected::WrongPhase { call: id, is, needs })
            }
            (None, _) => Err(Rejected::NotYourCall { call: id, agent: agent.clone() }),
        }
    }

    pub(super) fn hold(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        let leg = self.talking_leg(agent, id)?;
        if self.looked_up(id)?.legs[&leg].holds() {
            return Ok(Reply::Already);
        }
        self.set_hold(turn, id, leg, true);
        Ok(Reply::Done)
    }

    pub(super) fn retrieve(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        let number = self.talking_leg(agent, id)?;
        let leg = &self.looked_up(id)?.legs[&number];
        if leg.held {
            return Err(Rejected::HeldAtPhone { call: id, agent: agent.clone() });
        }
        if !leg.held_at_desk {
            return Ok(Reply::Already);
        }
        self.set_hold(turn, id, number, false);
        Ok(Reply::Done)
    }

    fn set_hold(&mut self, turn: &mut Turn, id: CallId, number: LegNumber, held: bool) {
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            if let Some(leg) = call.legs.get_mut(&number) {
                leg.held_at_desk = held;
            }
            let what = if held {
                What::Held { leg: number, by_phone: false }
            } else {
                What::Retrieved { leg: number }
            };
            call.timeline.note(at, what);
        });
        self.tell_hold(turn, id, number, held);
        self.settle_holds(turn, id);
    }

    pub(super) fn hang_up(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        self.agent_of(agent)?;
        let call = self.looked_up(id)?;
        if call.has_ended() && call.was_of(agent) {
            return Ok(Reply::Already);
        }
        if call.offer_to(agent).is_some() {
            let (is, needs) = ("offered", "a conversation; an offer is declined");
            return Err(Rejected::WrongPhase { call: id, is, needs });
        }
        let Some(leg) = call.leg_of(agent) else {
            return Err(Rejected::NotYourCall { call: id, agent: agent.clone() });
        };
        let is_answered = call.legs[&leg].state.is_answered();
        let cause = if is_answered { Cause::HungUp } else { Cause::Cancelled };
        self.edit_call(turn, id, |call| {
            call.set_leg(leg, LegState::Ending { cause: Cause::HungUp });
        });
        self.left(turn, id, leg, (Side::Agent, cause));
        Ok(Reply::Done)
    }

    pub(super) fn dispose(&mut self, turn: &mut Turn, words: Words) -> Result<Reply, Rejected> {
        let Words { agent: id, call, disposition, note } = words;
        let agent = self.agent_of(&id)?;
        let Some(last) = agent.last_call.as_ref().filter(|last| last.call == call) else {
            return Err(Rejected::NotYourCall { call, agent: id });
        };
        at_most("disposition", disposition.len(), WORDS_BYTES_MAX)?;
        at_most("note", note.as_ref().map_or(0, |note| note.len()), WORDS_BYTES_MAX)?;
        let queue = last.queue.clone();
        let config = queue.as_ref().and_then(|queue| self.directory.queues.get(queue));
        if let (Some(queue), Some(config)) = (&queue, config)
            && !config.dispositions.is_empty()
            && !config.dispositions.contains_key(&disposition)
        {
            return Err(Rejected::NoSuchDisposition { disposition, queue: queue.clone() });
        }
        let at = turn.at;
        let said = disposition.clone();
        turn.tell(&id, Happened::Disposed { agent: id.clone(), call, disposition: said });
        let row = Disposition { call, agent: id, queue, disposition, note, at };
        turn.outcome.records.push(Record::Disposition(row));
        Ok(Reply::Done)
    }
}

impl Call {
    /// Whether the agent was a party of it.
    fn was_of(&self, agent: &AgentId) -> bool {
        self.agent.as_ref() == Some(agent)
            || self.legs.values().any(|leg| leg.role.agent() == Some(agent))
    }
}
