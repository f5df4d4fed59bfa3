//! What an agent does with a conversation without changing who is in it: mute, keys, a pause of
//! the recording; and where a call goes that rings: deflection.

use std::sync::Arc;

use super::offer::CONNECT_SECONDS;
use super::{Turn, check_text};
use crate::call::{KEYS_MAX, Keys, Stage};
use crate::event::{Happened, OfferEnd};
use crate::timeline::What;
use crate::{AgentId, CallId, Cause, Center, LegNumber, Phase, Rejected, Reply};

impl Center {
    /// The agent is not heard, or again.
    pub(super) fn mute(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
        muted: bool,
    ) -> Result<Reply, Rejected> {
        let number = self.talking_leg(agent, id)?;
        let at = turn.at;
        let changed = self.edit_call(turn, id, |call| {
            let leg = call.legs.get_mut(&number).filter(|leg| leg.muted != muted)?;
            leg.muted = muted;
            call.timeline.note(at, What::Muted { leg: number, muted });
            Some(())
        });
        if changed.is_none() {
            return Ok(Reply::Already);
        }
        turn.tell(agent, Happened::Muted { agent: agent.clone(), call: id, muted });
        Ok(Reply::Done)
    }

    /// Keys are pressed for everybody whom the agent's voice reaches.
    pub(super) fn send_keys(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
        keys: Arc<str>,
    ) -> Result<Reply, Rejected> {
        let is_key = |key: char| matches!(key, '0'..='9' | '*' | '#' | 'A'..='D');
        if keys.is_empty() || keys.len() > KEYS_MAX || !keys.chars().all(is_key) {
            return Err(Rejected::NotKeys { max: KEYS_MAX });
        }
        let number = self.talking_leg(agent, id)?;
        let call = self.looked_up(id)?;
        let hearers = call.legs.keys().filter(|leg| **leg != number && !call.is_supervisor(**leg));
        let hearers: Vec<LegNumber> = hearers
            .copied()
            .filter(|leg| call.hears_apart(*leg).voices().any(|voice| voice == number))
            .collect();
        if hearers.is_empty() {
            let (is, needs) = (call.phase_name(), "somebody who hears the agent");
            return Err(Rejected::WrongPhase { call: id, is, needs });
        }
        let (at, seq, count) = (turn.at, turn.index, super::count(keys.len()));
        self.edit_call(turn, id, |call| {
            let epoch = call.epoch;
            for leg in &hearers {
                if let Some(leg) = call.legs.get_mut(leg) {
                    leg.keys = Some(Keys { seq, epoch, keys: keys.clone() });
                }
            }
            call.timeline.note(at, What::Pressed { leg: number, count });
        });
        Ok(Reply::Done)
    }

    /// The recording stops, and later goes on in the same file behind a marked gap.
    pub(super) fn pause_recording(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
        paused: bool,
    ) -> Result<Reply, Rejected> {
        self.talking_leg(agent, id)?;
        let call = self.looked_up(id)?;
        if call.recording.is_none() {
            let (is, needs) = ("not recorded", "a recording");
            return Err(Rejected::WrongPhase { call: id, is, needs });
        }
        if call.recording_paused == paused {
            return Ok(Reply::Already);
        }
        let (at, by) = (turn.at, agent.clone());
        self.edit_call(turn, id, |call| {
            call.recording_paused = paused;
            call.timeline.note(at, What::RecordingPaused { by, paused });
        });
        turn.tell(agent, Happened::RecordingPaused { agent: agent.clone(), call: id, paused });
        Ok(Reply::Done)
    }

    /// A call that rings goes to another number. Its agent goes back to what they were; if nobody
    /// takes it there, they are asked once more, if the caller is waiting.
    pub(super) fn deflect(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
        to: Arc<str>,
    ) -> Result<Reply, Rejected> {
        check_text(&to)?;
        let offer = self.offer_to(agent, id)?;
        let call = self.looked_up(id)?;
        let is_accepted = matches!(offer.stage, Stage::Accepted(_));
        if is_accepted || call.conversation().is_some() {
            let (is, needs) = (call.phase_name(), "a call that rings, not a consultation");
            return Err(Rejected::WrongPhase { call: id, is, needs });
        }
        let destination = self.directory.destination(&to);
        let destination = destination.ok_or_else(|| Rejected::NoWayTo { number: to.clone() })?;
        self.withdraw_others(turn, id, agent);
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.close_ring(at);
            if let Some(leg) = offer.stage.leg() {
                call.drop_leg(leg, Cause::Withdrawn);
            }
            call.timeline.note(at, What::Deflected { agent: agent.clone(), to });
            call.recall = Some(agent.clone());
            // Until it is routed, within this very command.
            call.phase = Phase::Arriving;
        });
        let why = OfferEnd::Deflected;
        turn.tell(agent, Happened::OfferEnded { agent: agent.clone(), call: id, why });
        self.release_agent(turn, agent, None);
        self.send_to(turn, id, destination);
        self.forget_recall_if_arrived(turn, id);
        Ok(Reply::Done)
    }

    /// A call that has arrived where calls wait is not the concern of who sent it there any more.
    pub(super) fn forget_recall_if_arrived(&mut self, turn: &mut Turn, id: CallId) {
        self.edit_call(turn, id, |call| {
            if !matches!(call.phase, Phase::Dialing { .. } | Phase::Direct { .. }) {
                call.recall = None;
            }
        });
    }

    /// An offer to an agent who has said that they take it: the phone is invited, and answers by
    /// itself where it can.
    pub(super) fn invite_at_once(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        agent: &AgentId,
    ) -> crate::call::Offer {
        let leg = self.invite_phone(turn, id, agent, CONNECT_SECONDS);
        self.edit_call(turn, id, |call| {
            if let Some(leg) = call.legs.get_mut(&leg) {
                leg.auto_answer = true;
            }
        });
        let until = turn.at.plus_seconds(CONNECT_SECONDS);
        let (agent, since) = (agent.clone(), turn.at);
        crate::call::Offer { agent, since, until, stage: Stage::Accepted(leg) }
    }
}
