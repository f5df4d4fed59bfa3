//! Agents and calls find each other: an offer is made, accepted, returned or withdrawn, and a
//! connected pair is bridged.

use super::Turn;
use super::arrive::Invitation;
use super::end::End;
use crate::agent::{ALWAYS_READY_PAUSE_SECONDS, After, LastCall, reasons};
use crate::call::{LEG_NUMBERS_MAX, LegState, Offer, Stage};
use crate::directory::AnswersOn;
use crate::event::{Happened, OfferEnd};
use crate::record::{SegmentKind, Stint};
use crate::timeline::{Returned, What, Why};
use crate::{
    AgentId, AgentState, Call, CallId, CallResult, Cause, Center, Direction, LegNumber, Millis,
    Phase, Record, RecordingId, Role, Side,
};

/// How long a phone that answers by itself may take to do so after the desk accepted, in
/// seconds. A registered phone needs well under one; ten cover a phone that re-registers.
pub(super) const CONNECT_SECONDS: u32 = 10;

/// How long an agent rings whose queue is not configured any more or whose own number was
/// dialled, in seconds.
pub(super) const RING_SECONDS: u32 = 20;

impl Center {
    /// Offers a waiting call to a ready agent.
    pub(crate) fn offer(&mut self, turn: &mut Turn, id: CallId, agent: &AgentId, why: Why) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.next_leg >= LEG_NUMBERS_MAX {
            self.end_call(turn, id, End(Side::System, Cause::Failed, CallResult::Failed));
            return;
        }
        let asking = call.queue.clone();
        let config = asking.as_ref().and_then(|queue| self.directory.queues.get(queue));
        let ring_seconds = config.map_or(RING_SECONDS, |config| config.ring_seconds);
        self.note(turn, id, What::Offered { agent: agent.clone(), why });
        let offer = self.make_offer(turn, id, agent, ring_seconds);
        self.edit_call(turn, id, |call| {
            if let Phase::Queued { offers, .. } = &mut call.phase {
                offers.push(offer);
            }
        });
        if let Some(queue) = asking.and_then(|queue| self.queues.get_mut(&queue)) {
            queue.memory.last_offered = Some(agent.clone());
        }
        self.hold_agent_for(turn, id, agent);
    }

    /// Offers a call to the agent whose number was dialled, if that agent is free.
    pub(super) fn offer_directly(&mut self, turn: &mut Turn, id: CallId, agent: &AgentId) {
        let Some(found) = self.agents.get(agent) else {
            self.refuse(turn, id, 404);
            return;
        };
        let status = match &found.state {
            AgentState::Ready { .. } | AgentState::NotReady { .. }
                if self.can_be_offered(found) =>
            {
                None
            }
            // RFC 3261 §21.4.18: unavailable now; §21.4.24: busy here.
            AgentState::Ready { .. }
            | AgentState::NotReady { .. }
            | AgentState::LoggedOut { .. } => Some((480, CallResult::NoAnswer)),
            AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. }
            | AgentState::WrapUp { .. } => Some((486, CallResult::Busy)),
        };
        if let Some((status, result)) = status {
            self.end_call(turn, id, End(Side::System, Cause::Refused { status }, result));
            return;
        }
        self.note(turn, id, What::Offered { agent: agent.clone(), why: Why::Called });
        let offer = self.make_offer(turn, id, agent, RING_SECONDS);
        self.enter(turn, id, SegmentKind::Ringing, |_| Phase::Direct { offer });
        self.hold_agent_for(turn, id, agent);
    }

    /// Invites the phone, or rings the desk. An agent without a desk has only the phone.
    pub(super) fn make_offer(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        agent: &AgentId,
        ring_seconds: u32,
    ) -> Offer {
        let until = turn.at.plus_seconds(ring_seconds);
        let has_desk = self.agents.get(agent).is_some_and(|agent| agent.session.is_some());
        let answers_on = self.config_of(agent).map(|config| config.answers_on);
        let stage = match answers_on {
            Some(AnswersOn::Desk) if has_desk => Stage::Desk,
            Some(AnswersOn::Desk | AnswersOn::Phone) | None => {
                Stage::Phone(self.invite_phone(turn, id, agent, ring_seconds))
            }
        };
        Offer { agent: agent.clone(), since: turn.at, until, stage }
    }

    /// Adds the agent's phone to a call.
    pub(super) fn invite_phone(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        agent: &AgentId,
        ring_seconds: u32,
    ) -> LegNumber {
        let target = self.config_of(agent).map_or_else(|| "".into(), |c| c.device.clone());
        let mut invitation = Invitation::to(Role::Agent(agent.clone()), target);
        invitation.ring_seconds = ring_seconds;
        self.invite(turn, id, invitation)
    }

    /// The agent belongs to the call that was just offered.
    pub(super) fn hold_agent_for(&mut self, turn: &mut Turn, id: CallId, agent: &AgentId) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        let Some(offer) = call.offer_to(agent) else { return };
        let since = turn.at;
        let (state, at_phone) = match offer.stage {
            Stage::Desk => (AgentState::Ringing { since, call: id }, false),
            Stage::Accepted(_) | Stage::Phone(_) => {
                (AgentState::Reserved { since, call: id }, true)
            }
        };
        self.edit_agent(turn, agent, |agent| agent.after = After::following(&agent.state));
        self.set_agent(turn, agent, state);
        let (agent, until) = (agent.clone(), offer.until);
        let screen = self.screen(turn, &call);
        turn.tell(
            &agent,
            Happened::Offered { agent: agent.clone(), call: screen, at_phone, until },
        );
    }

    /// Changes an agent's state and says so.
    pub(super) fn set_agent(&mut self, turn: &mut Turn, id: &AgentId, state: AgentState) {
        turn.tell(id, Happened::AgentChanged { agent: id.clone(), state: state.clone() });
        self.end_stint(turn, id);
        let at = turn.at;
        self.edit_agent(turn, id, |agent| {
            agent.state = state;
            agent.entered = at;
        });
    }

    /// Records the state that an agent leaves, unless they were not there.
    pub(super) fn end_stint(&self, turn: &mut Turn, id: &AgentId) {
        let Some(agent) = self.agents.get(id).filter(|agent| turn.at > agent.entered) else {
            return;
        };
        if matches!(agent.state, AgentState::LoggedOut { .. }) {
            return;
        }
        let (state, began, ended) = (agent.state.clone(), agent.entered, turn.at);
        let stint = Stint { agent: id.clone(), state, began, ended };
        turn.outcome.records.push(Record::Stint(Box::new(stint)));
    }

    /// Takes an offer back from an agent who did not take the call, and lets the call go on: the
    /// queue keeps its place, a call that wanted just this agent ends.
    pub(super) fn return_offer(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        agent: &AgentId,
        why: Returned,
    ) {
        let Some(offer) = self.calls.get(&id).and_then(|call| call.offer_to(agent)).cloned() else {
            return;
        };
        let agent = offer.agent;
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            if matches!(call.phase, Phase::Queued { .. }) && call.offers().len() == 1 {
                // While others are asked it rings on; of other calls, what follows books it.
                call.close_ring(at);
            }
            call.redirects = call.redirects.saturating_add(1);
            call.timeline.note(at, What::OfferReturned { agent: agent.clone(), why });
            if let Some(leg) = offer.stage.leg() {
                call.drop_leg(leg, why.cause());
            }
            if let Phase::Queued { offers, .. } = &mut call.phase {
                offers.retain(|offer| offer.agent != agent);
            }
        });
        let what = OfferEnd::Returned(why);
        turn.tell(&agent, Happened::OfferEnded { agent: agent.clone(), call: id, why: what });
        self.release_returned(turn, id, &agent, why);
        if self.calls.get(&id).is_some_and(|call| call.conversation().is_some()) {
            self.consultation_ends(turn, id, why.cause());
        }
        if let Some(Phase::Direct { .. }) = self.calls.get(&id).map(|call| &call.phase) {
            let (by, cause, result) = match why {
                Returned::NoAnswer => (Side::System, Cause::NoAnswer, CallResult::NoAnswer),
                Returned::Refused { status } => {
                    (Side::Called, Cause::Refused { status }, result_of(status))
                }
                Returned::Declined => {
                    (Side::Agent, Cause::Refused { status: 603 }, CallResult::Rejected)
                }
                Returned::SignedOut | Returned::Reconfigured => {
                    (Side::System, Cause::Refused { status: 480 }, CallResult::NoAnswer)
                }
            };
            self.end_call(turn, id, End(by, cause, result));
        }
    }

    /// Takes all open offers of a call back.
    pub(super) fn return_offers(&mut self, turn: &mut Turn, id: CallId, why: Returned) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        for offer in call.offers() {
            self.return_offer(turn, id, &offer.agent, why);
        }
    }

    /// What becomes of an agent whose offer came back: not ready, so that the call does not come
    /// back at once and the supervisor sees why.
    fn release_returned(&mut self, turn: &mut Turn, call: CallId, id: &AgentId, why: Returned) {
        if why == Returned::NoAnswer
            && let Some(penalty) = self.no_answer_penalty(call)
        {
            self.edit_agent(turn, id, |agent| {
                agent.shift.penalty = agent.shift.penalty.saturating_add(penalty);
            });
            self.release_agent(turn, id, None);
            return;
        }

        let reason = match why {
            Returned::NoAnswer => reasons::NO_ANSWER,
            Returned::Refused { status: 408 | 480 } => reasons::NO_ANSWER,
            Returned::Declined | Returned::Refused { status: 603 } => reasons::DECLINED,
            Returned::Refused { .. } => reasons::PHONE_FAILED,
            Returned::SignedOut | Returned::Reconfigured => {
                self.release_agent(turn, id, None);
                return;
            }
        };
        let has_desk = self.agents.get(id).is_some_and(|agent| agent.session.is_some());
        let is_always_ready = self.config_of(id).is_some_and(|config| config.always_ready);
        if !has_desk && !is_always_ready {
            self.release_agent(turn, id, None);
            return;
        }
        let until = (!has_desk).then(|| turn.at.plus_seconds(ALWAYS_READY_PAUSE_SECONDS));
        let state = AgentState::NotReady { since: turn.at, reason: reason.into(), until };
        self.set_agent(turn, id, state);
    }

    /// What the queue in which a call waits puts on agents who do not answer.
    fn no_answer_penalty(&self, id: CallId) -> Option<u8> {
        match &self.calls.get(&id)?.phase {
            Phase::Queued { queue, .. } => {
                self.directory.queues.get(queue)?.distribution.no_answer_penalty
            }
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        }
    }

    /// Of several agents who were asked at once, this one takes the call: the others need not.
    pub(super) fn withdraw_others(&mut self, turn: &mut Turn, id: CallId, taken_by: &AgentId) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        for offer in call.offers().iter().filter(|offer| offer.agent != *taken_by) {
            let agent = offer.agent.clone();
            self.edit_call(turn, id, |call| {
                if let Some(leg) = offer.stage.leg() {
                    call.drop_leg(leg, Cause::Withdrawn);
                }
                if let Phase::Queued { offers, .. } = &mut call.phase {
                    offers.retain(|offer| offer.agent != agent);
                }
            });
            let why = OfferEnd::TakenByAnother;
            turn.tell(&agent, Happened::OfferEnded { agent: agent.clone(), call: id, why });
            self.release_agent(turn, &agent, None);
        }
    }

    /// Lets an agent go whom nothing holds any more: into wrap-up, to what they wished for, or
    /// out, if their desk is gone.
    pub(super) fn release_agent(&mut self, turn: &mut Turn, id: &AgentId, wrap_up: Option<WrapUp>) {
        let Some(agent) = self.agents.get(id).cloned() else { return };
        let Some(config) = self.config_of(id) else {
            self.forget_agent(turn, id);
            return;
        };
        let since = turn.at;
        if agent.session.is_none() {
            if !config.always_ready {
                let reason = reasons::CONNECTION_LOST.into();
                self.set_agent(turn, id, AgentState::LoggedOut { since, reason });
                return;
            }
            // Nobody is there to end what they wished for.
            self.edit_agent(turn, id, |agent| agent.after = After::Ready);
        }
        if let Some(WrapUp { until, call }) = wrap_up {
            self.set_agent(turn, id, AgentState::WrapUp { since, until, call });
            return;
        }
        self.go_after(turn, id);
    }

    /// To what the agent wished for.
    pub(super) fn go_after(&mut self, turn: &mut Turn, id: &AgentId) {
        let Some(agent) = self.agents.get(id).cloned() else { return };
        let state = match &agent.after {
            // An offer that the caller withdrew costs no place among the idle.
            After::Ready => AgentState::Ready { since: agent.idle_since },
            After::NotReady { reason } => {
                AgentState::NotReady { since: turn.at, reason: reason.clone(), until: None }
            }
        };
        self.set_agent(turn, id, state);
    }

    /// Two legs talk now.
    pub(super) fn bridge(&mut self, turn: &mut Turn, id: CallId, a: LegNumber, b: LegNumber) {
        self.answer(turn, id);
        if let Some(taken_by) = self.calls.get(&id).and_then(|call| call.offer_at(b)).cloned() {
            self.withdraw_others(turn, id, &taken_by.agent);
        }
        let Some(call) = self.calls.get(&id).cloned() else { return };
        let agents = call.agents_of([b, a].iter());
        let from_queue = match &call.phase {
            Phase::Queued { queue, .. } => Some(queue.clone()),
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        };
        let is_recorded = self.is_recorded(&call, b);
        let at = turn.at;
        let talker = agents.first().cloned();
        self.enter(turn, id, SegmentKind::Talk(talker.clone()), |call| {
            call.timeline.note(at, What::Bridged { a, b });
            if is_recorded && call.recording.is_none() {
                call.recording = Some(RecordingId(call.id.to_string().into()));
            }
            if call.direction == Direction::Outbound && call.answered.is_none() {
                call.answered = Some(at);
            }
            if talker.is_some() {
                call.agent = talker;
            }
            call.recall = None;
            call.parties_most = call.parties_most.max(2);
            Phase::Bridged { parties: vec![a, b], held_since: None, consultation: None }
        });
        if let Some(live) = from_queue.and_then(|queue| self.queues.get_mut(&queue)) {
            live.totals.answered_wait_ms += call.wait_ms(at);
        }
        for agent in &agents {
            self.begin_talk(turn, id, agent);
        }
        self.settle_holds(turn, id);
    }

    pub(super) fn begin_talk(&mut self, turn: &mut Turn, id: CallId, agent: &AgentId) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        let since = turn.at;
        self.edit_agent(turn, agent, |agent| {
            agent.calls = agent.calls.saturating_add(1);
            agent.shift.calls = agent.shift.calls.saturating_add(1);
            // A phone that was transferred to goes from one conversation into the next.
            agent.shift.ends_talk(since);
            agent.shift.talks_since = Some(since);
            agent.shift.penalty = 0;
            agent.last_call = Some(LastCall { call: id, queue: call.queue.clone() });
        });
        self.set_agent(turn, agent, AgentState::Talking { since, call: id });
        self.remember_served(turn, &call, agent);
        let what = Happened::Established {
            agent: agent.clone(),
            call: self.screen(turn, &call),
            recording: call.recording.clone(),
        };
        turn.tell(agent, what);
    }

    /// Whether the queue that the call came from, or the trunk that it left by, is recorded.
    fn is_recorded(&self, call: &Call, b: LegNumber) -> bool {
        match call.legs.get(&b).map(|leg| &leg.role) {
            Some(Role::Trunk(trunk)) => {
                self.directory.trunks.get(trunk).is_some_and(|trunk| trunk.record)
            }
            Some(Role::Agent(_)) => {
                let queue = call.queue.as_ref().and_then(|id| self.directory.queues.get(id));
                queue.is_some_and(|queue| queue.record)
            }
            Some(Role::Caller | Role::Target) | None => false,
        }
    }
}

/// How long an agent is left alone after a call.
pub(super) struct WrapUp {
    pub(super) until: Millis,
    pub(super) call: CallId,
}

impl After {
    /// What an agent in this state goes back to after a call.
    pub(super) fn following(state: &AgentState) -> Self {
        match state {
            AgentState::NotReady { reason, until: None, .. } => {
                Self::NotReady { reason: reason.clone() }
            }
            AgentState::LoggedOut { .. }
            | AgentState::NotReady { until: Some(_), .. }
            | AgentState::Ready { .. }
            | AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. }
            | AgentState::WrapUp { .. } => Self::Ready,
        }
    }
}

impl Returned {
    /// Why the agent's leg is ended.
    fn cause(self) -> Cause {
        match self {
            Self::NoAnswer => Cause::NoAnswer,
            Self::Refused { status } => Cause::Refused { status },
            Self::Declined | Self::SignedOut | Self::Reconfigured => Cause::Withdrawn,
        }
    }
}

impl Call {
    /// The agents of these legs, in this order.
    pub(super) fn agents_of<'a>(&self, legs: impl Iterator<Item = &'a LegNumber>) -> Vec<AgentId> {
        let roles = legs.filter_map(|number| Some(&self.legs.get(number)?.role));
        roles.filter_map(Role::agent).cloned().collect()
    }

    /// Lets the node end a leg, if it is not over already.
    pub(super) fn drop_leg(&mut self, number: LegNumber, cause: Cause) {
        let Some(leg) = self.legs.get_mut(&number) else { return };
        match leg.state {
            LegState::Dialing | LegState::Ringing | LegState::Answered { .. } => {
                leg.state = LegState::Ending { cause };
            }
            LegState::Arriving | LegState::Answering => {
                leg.state = LegState::Refusing { status: cause.sip_status() };
            }
            LegState::Refusing { .. } | LegState::Ending { .. } | LegState::Ended { .. } => {}
        }
    }
}

/// What a refusal of the called says of the call.
pub(super) fn result_of(status: u16) -> CallResult {
    match status {
        486 | 600 => CallResult::Busy,
        408 | 480 | 487 => CallResult::NoAnswer,
        403 | 404 | 410 | 484 | 603 | 604 | 606..=608 => CallResult::Rejected,
        _ => CallResult::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::directory::{AgentConfig, PasswordHash, QueueConfig, Role as Duty};
    use crate::{Arrived, Command, Directory, NodeId, Party, QueueId, Route, Wire};

    #[test]
    fn a_call_that_was_offered_too_often_is_given_up() {
        let (queue, bot) = (QueueId::parse("q").unwrap(), AgentId::parse("bot").unwrap());
        let config = AgentConfig {
            name: "Bot".into(),
            role: Duty::Agent,
            password: PasswordHash::default(),
            device: "sip:bot@127.0.0.1".into(),
            answers_on: AnswersOn::Phone,
            always_ready: true,
            queues: vec![queue.clone()],
            shows: None,
            skills: BTreeMap::new(),
            supervises: Vec::new(),
        };
        let directory = Directory {
            numbers: BTreeMap::from([("q".into(), Route::Queue(queue.clone()))]),
            queues: BTreeMap::from([(queue, QueueConfig::default())]),
            agents: BTreeMap::from([(bot, config)]),
            ..Directory::default()
        };
        let mut center = Center::new();
        center.apply(1, Millis(1), Command::Configure(Box::new(directory))).unwrap();
        let id = CallId(7);
        let arrived = Arrived {
            call: id,
            salt: 1,
            owner: NodeId(1),
            home: None,
            trunk: None,
            phone: None,
            caller: Party::default(),
            called: "q".into(),
            wire: Wire::default(),
            answer_ready: true,
        };
        center.apply(2, Millis(2), Command::Arrived(Box::new(arrived))).unwrap();
        // As if it had been offered that often already.
        Arc::make_mut(center.calls.get_mut(&id).unwrap()).next_leg = LEG_NUMBERS_MAX;
        let failed = Command::LegFailed { call: id, leg: LegNumber(1), status: 503 };
        center.apply(3, Millis(3), failed).unwrap();
        assert!(!center.calls[&id].has_ended(), "the agent rests");
        let later = Millis(3).plus_seconds(ALWAYS_READY_PAUSE_SECONDS);
        let outcome = center.apply(4, later, Command::Tick).unwrap();
        assert!(center.calls[&id].has_ended());
        assert_eq!(outcome.records.len(), 3, "its record, its timeline, and the rest of the agent");
    }
}
