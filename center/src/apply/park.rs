//! Calls are parked in numbered slots, and picked up from there by any agent.

use super::Turn;
use super::end::End;
use crate::agent::After;
use crate::call::{LEG_NUMBERS_MAX, PARK_SECONDS, PARK_SLOTS_MAX};
use crate::event::Happened;
use crate::record::SegmentKind;
use crate::timeline::{What, Why};
use crate::{
    AgentId, AgentState, CallId, CallResult, Cause, Center, LegNumber, Phase, Rejected, Reply, Side,
};

impl Center {
    /// The agent leaves, and the other party waits in the lowest free slot, with music. If nobody
    /// picks it up in time it goes back to the agent.
    pub(super) fn park(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        let leg = self.talking_leg(agent, id)?;
        let call = self.looked_up(id)?;
        let others = call.conversation().map(|(parties, asked)| {
            let others = parties.iter().copied().filter(|number| *number != leg);
            (others.collect::<Vec<LegNumber>>(), asked.is_some())
        });
        let Some(([served], false)) = others.as_ref().map(|(all, asked)| (&all[..], *asked)) else {
            let needs = "two who talk, and nobody who is asked";
            return Err(Rejected::WrongPhase { call: id, is: call.phase_name(), needs });
        };
        let slot = (1..=PARK_SLOTS_MAX).find(|slot| !self.parked.contains_key(slot));
        let slot = slot.ok_or(Rejected::NoSlot { max: PARK_SLOTS_MAX })?;
        let until = turn.at.plus_seconds(PARK_SECONDS);
        turn.tell(agent, Happened::Parked { agent: agent.clone(), call: id, slot });
        self.depart(turn, id, leg, (*served, None));
        self.note(turn, id, What::Parked { by: agent.clone(), slot });
        self.enter(turn, id, SegmentKind::Park, |_| Phase::Parked { slot, until });
        Ok(Reply::Parked { slot })
    }

    /// An agent takes what is in a slot.
    pub(super) fn pick_up(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        slot: u16,
    ) -> Result<Reply, Rejected> {
        let state = self.agent_of(agent)?.state.clone();
        let id = *self.parked.get(&slot).ok_or(Rejected::EmptySlot { slot })?;
        if !self.can_take_over(agent) {
            let (is, needs) = (state.name(), "to be signed in, with a phone, and in no call");
            return Err(Rejected::WrongState { agent: agent.clone(), is, needs });
        }
        let call = self.looked_up(id)?;
        if call.next_leg >= LEG_NUMBERS_MAX {
            let (what, max) = ("number of legs", usize::from(LEG_NUMBERS_MAX));
            return Err(Rejected::TooLarge { what, size: max, max });
        }
        self.note(turn, id, What::PickedUp { by: agent.clone(), slot });
        let offer = self.invite_at_once(turn, id, agent);
        self.enter(turn, id, SegmentKind::Ringing, |_| Phase::Direct { offer });
        self.hold_agent_for(turn, id, agent);
        let since = turn.at;
        self.edit_agent(turn, agent, |agent| agent.after = After::following(&state));
        self.set_agent(turn, agent, AgentState::Reserved { since, call: id });
        Ok(Reply::Done)
    }

    /// Nobody picked it up: who parked it gets it back. While they cannot take it, it stays.
    pub(super) fn parked_too_long(&mut self, turn: &mut Turn, id: CallId) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        let Some(agent) = call.recall.clone() else {
            let end = End(Side::System, Cause::WaitedTooLong, CallResult::WaitedTooLong);
            return self.end_call(turn, id, end);
        };
        if self.can_take_over(&agent) {
            self.edit_call(turn, id, |call| call.recall = None);
            self.note(turn, id, What::Offered { agent: agent.clone(), why: Why::Recalled });
            let offer = self.make_offer(turn, id, &agent, crate::directory::RING_SECONDS_DEFAULT);
            self.enter(turn, id, SegmentKind::Ringing, |_| Phase::Direct { offer });
            return self.hold_agent_for(turn, id, &agent);
        }
        let later = turn.at.plus_seconds(PARK_SECONDS);
        self.edit_call(turn, id, |call| {
            if let Phase::Parked { until, .. } = &mut call.phase {
                *until = later;
            }
        });
    }
}
