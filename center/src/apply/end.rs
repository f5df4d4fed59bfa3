//! Calls end: every leg is let go, every agent is freed, one record is written.

use super::Turn;
use super::offer::WrapUp;
use crate::event::{Happened, OfferEnd};
use crate::record::{RECORD_VARIABLES_BYTES_MAX, SegmentKind};
use crate::supervision::Supervision;
use crate::timeline::What;
use crate::{
    AgentId, AgentState, Call, CallId, CallResult, Cause, Cdr, Center, Direction, LegNumber,
    Millis, Phase, Record, Role, Side,
};

/// Who ends a call, why, and what it came to.
pub(super) struct End(pub(super) Side, pub(super) Cause, pub(super) CallResult);

impl Center {
    /// Ends a call. Whoever ended it has had their leg changed before. Nothing if it is over.
    pub(super) fn end_call(&mut self, turn: &mut Turn, id: CallId, end: End) {
        let End(by, cause, result) = end;
        let Some(call) = self.calls.get(&id).filter(|call| !call.has_ended()).cloned() else {
            return;
        };
        if self.comes_back(turn, &call, cause) {
            return;
        }
        let result = if call.has_talked() { CallResult::Answered } else { result };
        let at = call.seen_to_end(turn);
        let known = turn.at;
        let offered: Vec<LegNumber> =
            call.offers().iter().filter_map(|offer| offer.stage.leg()).collect();
        let ended = self.edit_call(turn, id, |call| {
            call.close_hold(at);
            call.close_ring(at);
            call.end_segment(at);
            if let Some(Supervision { by, .. }) = call.supervision.take() {
                call.timeline.note(at, What::SupervisionEnded { by, cause });
            }
            let legs: Vec<LegNumber> = call.legs.keys().copied().collect();
            for number in legs {
                let cause =
                    if offered.contains(&number) { Cause::Withdrawn } else { cause.to_peer() };
                call.drop_leg(number, cause);
            }
            // Its node has to clear it away from now on, however long ago it ended.
            call.phase = Phase::Ended { at: known, by, cause, result };
            call.timeline.note(at, What::Ended { by, cause, result });
            call.clone()
        });
        self.counts.ended += 1;
        turn.outcome.records.push(Record::Cdr(Box::new(ended.cdr(at))));
        turn.announce(Happened::CallEnded { call: id, result, by, cause });
        self.free_agents(turn, &call, by, cause);
    }

    /// Frees everybody whom a call held before it ended.
    fn free_agents(&mut self, turn: &mut Turn, call: &Call, by: Side, cause: Cause) {
        let mut agents: Vec<AgentId> =
            call.legs.values().filter_map(|leg| leg.role.agent()).cloned().collect();
        agents.extend(call.offers().iter().map(|offer| offer.agent.clone()));
        for id in &agents {
            self.free_agent(turn, call, id, (by, cause));
        }
    }

    /// Frees an agent from a call that ended, or that they left; `call` is what it was before.
    pub(super) fn free_agent(
        &mut self,
        turn: &mut Turn,
        call: &Call,
        id: &AgentId,
        (by, cause): (Side, Cause),
    ) {
        let Some(agent) = self.agents.get(id) else { return };
        if agent.state.call() != Some(call.id) {
            return;
        }
        if call.offer_to(id).is_some() {
            let why = if by == Side::System { OfferEnd::CallEnded } else { OfferEnd::CallerLeft };
            turn.tell(id, Happened::OfferEnded { agent: id.clone(), call: call.id, why });
            self.release_agent(turn, id, None);
            return;
        }
        let supervises = call.supervision.as_ref().is_some_and(|one| one.by == *id);
        let has_talked = !supervises
            && matches!(agent.state, AgentState::Talking { .. } | AgentState::Held { .. });
        let seconds = if has_talked { self.wrap_up_seconds(call) } else { 0 };
        let until = (seconds > 0).then(|| turn.at.plus_seconds(seconds));
        let agent = id.clone();
        turn.tell(id, Happened::Cleared { agent, call: call.id, by, cause, wrap_up_until: until });
        let at = turn.at;
        self.edit_agent(turn, id, |agent| {
            agent.idle_since = at;
            agent.shift.ends_talk(at);
        });
        self.release_agent(turn, id, until.map(|until| WrapUp { until, call: call.id }));
    }

    /// How long the agents of a call are left alone after it: as its queue says, or the trunk that
    /// they dialled by, also when the called did not answer.
    fn wrap_up_seconds(&self, call: &Call) -> u32 {
        if call.conversation().is_none() && !matches!(call.phase, Phase::Dialing { .. }) {
            return 0;
        }
        if let Some(queue) = call.queue.as_ref().and_then(|id| self.directory.queues.get(id)) {
            return queue.wrap_up_seconds;
        }
        let trunks = call.legs.values().filter_map(|leg| match &leg.role {
            Role::Trunk(trunk) => self.directory.trunks.get(trunk),
            Role::Caller | Role::Agent(_) | Role::Target => None,
        });
        trunks.map(|trunk| trunk.wrap_up_seconds).max().unwrap_or(0)
    }
}

impl Cause {
    /// What the other party is told when one ends a call.
    fn to_peer(self) -> Self {
        match self {
            Self::HungUp | Self::Cancelled | Self::Lost => Self::PeerGone,
            Self::Refused { .. }
            | Self::NoAnswer
            | Self::PeerGone
            | Self::Withdrawn
            | Self::FlowEnded
            | Self::WaitedTooLong
            | Self::Reconfigured
            | Self::Failed
            | Self::Transferred => self,
        }
    }
}

impl Call {
    /// Two parties of it have talked.
    pub(super) fn has_talked(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment.kind, SegmentKind::Talk(_)))
    }

    /// When it ended: now, or when its node saw it and could not say so; but not before anything
    /// that is known of it.
    pub(super) fn seen_to_end(&self, turn: &Turn) -> Millis {
        let Some(seen) = turn.seen else { return turn.at };
        let held =
            if let Phase::Bridged { held_since, .. } = &self.phase { *held_since } else { None };
        let known = [
            Some(self.arrived),
            self.answered,
            self.segments.last().map(|segment| segment.began),
            self.timeline.notes().last().map(|note| note.at),
            held,
        ];
        known.into_iter().flatten().fold(seen, Millis::max).min(turn.at)
    }

    /// Books the time on hold until now.
    pub(super) fn close_hold(&mut self, at: Millis) {
        let Phase::Bridged { held_since, .. } = &mut self.phase else { return };
        let Some(since) = held_since.take() else { return };
        if let Some(last) = self.segments.last_mut() {
            last.held_ms += at.since_ms(since);
        }
    }

    /// Books the time of the open offers until now; several at once are one time. What is asked
    /// aside is part of a conversation.
    pub(super) fn close_ring(&mut self, at: Millis) {
        if self.conversation().is_some() {
            return;
        }
        let Some(since) = self.offers().iter().map(|offer| offer.since).min() else { return };
        if let Some(last) = self.segments.last_mut() {
            last.rang_ms += at.since_ms(since.max(last.began));
        }
    }

    /// The record of a call that just ended.
    fn cdr(&self, at: Millis) -> Cdr {
        let (by, cause, result) = match &self.phase {
            Phase::Ended { by, cause, result, .. } => (*by, *cause, *result),
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo => (Side::System, Cause::Failed, CallResult::Failed),
        };
        let talks = || self.segments.iter().filter(|s| matches!(s.kind, SegmentKind::Talk(_)));
        let hold_ms = talks().map(|segment| segment.held_ms).sum();
        let talk_ms: u64 = talks().map(|segment| segment.length_ms(at)).sum();
        let is_refused = self.answered.is_none() && self.direction == Direction::Inbound;
        Cdr {
            call: self.id,
            direction: self.direction,
            from: self.caller.clone(),
            to: self.called.clone(),
            flow: self.flow.clone(),
            queue: self.queue.clone(),
            agent: self.agent.clone(),
            arrived: self.arrived,
            answered: self.answered,
            ended: at,
            wait_ms: self.wait_ms(at),
            talk_ms: talk_ms.saturating_sub(hold_ms),
            hold_ms,
            result,
            ended_by: by,
            cause,
            status: is_refused.then(|| cause.sip_status()),
            variables: self.variables_for_record(),
            recording: self.recording.clone(),
            redirects: self.redirects,
            node: self.owner,
            takeovers: self.epoch,
            trunk: self.trunk.clone(),
            transfers: self.transfers,
            parties: self.parties_most,
            segments: self.segments.clone(),
            supervisors: self.supervisors.iter().cloned().collect(),
        }
    }

    fn variables_for_record(&self) -> Vec<(String, String)> {
        let mut left = RECORD_VARIABLES_BYTES_MAX;
        let mut kept = Vec::new();
        for (name, value) in self.variables.iter() {
            let Some(rest) = left.checked_sub(name.len() + value.len()) else { break };
            left = rest;
            kept.push((name.to_owned(), value.to_owned()));
        }
        kept
    }
}
