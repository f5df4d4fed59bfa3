//! What nodes report of legs: ringing, answered, failed, ended, held.
//!
//! Reports race with decisions: an agent answers a call that the caller has just left, a leg
//! fails that was being ended anyway. The state decides; a report that it does not wait for any
//! more is [`Reply::Already`], and the leg is wanted [`crate::LegWant::Gone`].

use super::end::End;
use super::offer::result_of;
use super::trunks::Failure;
use super::{Turn, at_most, check_wire};
use crate::call::{LEGS_MAX, LegState};
use crate::command::CLEARED_MAX;
use crate::event::Happened;
use crate::timeline::{Returned, What};
use crate::{
    AgentState, Call, CallId, CallResult, Cause, Center, LegNumber, Phase, Rejected, Reply, Role,
    Side, Wire,
};

impl Center {
    pub(super) fn leg_ringing(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        number: LegNumber,
    ) -> Result<Reply, Rejected> {
        let call = self.looked_up(id)?;
        if call.legs.get(&number).map(|leg| leg.state) != Some(LegState::Dialing) {
            return Ok(Reply::Already);
        }
        let ringing = call.offer_at(number).map(|offer| offer.agent.clone());
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.set_leg(number, LegState::Ringing);
            call.timeline.note(at, What::Rings { leg: number });
        });
        if let Some(agent) = ringing {
            self.set_agent(turn, &agent, AgentState::Ringing { since: at, call: id });
        }
        Ok(Reply::Done)
    }

    pub(super) fn leg_answered(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        number: LegNumber,
        wires: Vec<(LegNumber, Wire)>,
    ) -> Result<Reply, Rejected> {
        let call = self.looked_up(id)?;
        at_most("list of wires", wires.len(), LEGS_MAX)?;
        for (_, wire) in &wires {
            check_wire(wire)?;
        }
        let Some(state) = call.legs.get(&number).map(|leg| leg.state) else {
            return Ok(Reply::Already);
        };
        match state {
            LegState::Answering | LegState::Dialing | LegState::Ringing => {}
            // It is not wanted any more; what it became on the wire is needed to end it.
            LegState::Ending { .. } => {
                self.edit_call(turn, id, |call| call.keep_wires(wires));
                return Ok(Reply::Already);
            }
            LegState::Arriving
            | LegState::Answered { .. }
            | LegState::Refusing { .. }
            | LegState::Ended { .. } => return Ok(Reply::Already),
        }
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            // The arriving leg's dialog among them comes with its answer.
            call.answer_ready |= wires.iter().any(|(number, _)| *number == LegNumber::FIRST);
            call.keep_wires(wires);
            call.set_leg(number, LegState::Answered { at });
            call.timeline.note(at, What::Answered { leg: number });
            if state == LegState::Answering {
                call.answered = Some(at);
            }
        });
        if state != LegState::Answering {
            self.reached(turn, id, number);
        }
        Ok(Reply::Done)
    }

    /// An invited leg answered: it is what the call waited for.
    fn reached(&mut self, turn: &mut Turn, id: CallId, number: LegNumber) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        if call.is_supervisor(number) {
            return self.supervisor_answered(turn, id);
        }
        match &call.phase {
            Phase::Dialing { leg, then: Some(then), .. } if *leg == number => {
                self.own_phone_answered(turn, id, then.clone());
            }
            Phase::Dialing { leg, .. } if *leg == number => {
                self.bridge(turn, id, call.served, number);
            }
            Phase::Queued { .. } | Phase::Direct { .. } if call.offer_at(number).is_some() => {
                self.bridge(turn, id, call.served, number);
            }
            Phase::Bridged { consultation: Some(consultation), .. }
                if consultation.reach.leg() == Some(number) =>
            {
                self.asked_answered(turn, id, number);
            }
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => {
                self.edit_call(turn, id, |call| call.drop_leg(number, Cause::Withdrawn));
            }
        }
    }

    pub(super) fn leg_failed(
        &mut self,
        turn: &mut Turn,
        (id, number): (CallId, LegNumber),
        Failure { status, relayed }: Failure,
    ) -> Result<Reply, Rejected> {
        let call = self.looked_up(id)?;
        let Some(state) = call.legs.get(&number).map(|leg| leg.state) else {
            return Ok(Reply::Already);
        };
        match state {
            LegState::Dialing | LegState::Ringing => {
                if !self.tries_next_trunk(turn, (id, number), status) {
                    let cause = Cause::Refused { status: relayed };
                    self.invitation_failed(turn, id, number, cause);
                }
                Ok(Reply::Done)
            }
            LegState::Ending { .. } | LegState::Ended { .. } | LegState::Refusing { .. } => {
                self.gone(turn, id, number);
                Ok(Reply::Already)
            }
            // The node cannot answer this caller: no codec, no port.
            LegState::Arriving | LegState::Answering => {
                let at = turn.at;
                self.edit_call(turn, id, |call| {
                    call.set_leg(number, LegState::Refusing { status });
                    call.timeline.note(at, What::LegFailed { leg: number, status });
                });
                let cause = Cause::Refused { status };
                self.end_call(turn, id, End(Side::System, cause, CallResult::Failed));
                Ok(Reply::Done)
            }
            LegState::Answered { .. } => Ok(Reply::Already),
        }
    }

    /// A leg that was to be ended is gone. Nobody asks for it any more, unless the whole call is
    /// over, whose value stays as it is until it is cleared.
    fn gone(&mut self, turn: &mut Turn, id: CallId, number: LegNumber) {
        let is_over = self.calls.get(&id).is_none_or(|call| call.has_ended());
        if !is_over {
            self.edit_call(turn, id, |call| call.legs.remove(&number));
        }
    }

    /// An invited leg did not come about.
    fn invitation_failed(&mut self, turn: &mut Turn, id: CallId, number: LegNumber, cause: Cause) {
        let at = turn.at;
        let status = cause.sip_status();
        let call = self.edit_call(turn, id, |call| {
            call.set_leg(number, LegState::Ended { cause });
            call.timeline.note(at, What::LegFailed { leg: number, status });
            call.clone()
        });
        if call.is_supervisor(number) {
            return self.supervision_ends(turn, id, cause);
        }
        if let Some(offer) = call.offer_at(number) {
            self.edit_call(turn, id, |call| call.legs.remove(&number));
            self.return_offer(turn, id, &offer.agent, Returned::Refused { status });
            return;
        }
        if let Some((_, Some(consultation))) = call.conversation()
            && consultation.reach.leg() == Some(number)
        {
            self.consultation_ends(turn, id, cause);
            return;
        }
        let own_phone = number == LegNumber::FIRST;
        let by = if own_phone { Side::System } else { Side::Called };
        let result = if own_phone { CallResult::Failed } else { result_of(status) };
        self.end_call(turn, id, End(by, cause, result));
    }

    pub(super) fn leg_ended(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        number: LegNumber,
        cause: Cause,
    ) -> Result<Reply, Rejected> {
        let call = self.looked_up(id)?;
        let Some(leg) = call.legs.get(&number) else { return Ok(Reply::Already) };
        match leg.state {
            LegState::Refusing { .. } | LegState::Ending { .. } | LegState::Ended { .. } => {
                self.gone(turn, id, number);
                Ok(Reply::Already)
            }
            LegState::Dialing | LegState::Ringing => {
                self.invitation_failed(turn, id, number, cause);
                Ok(Reply::Done)
            }
            LegState::Arriving | LegState::Answering | LegState::Answered { .. } => {
                let by = match leg.role {
                    Role::Caller => Side::Caller,
                    Role::Agent(_) => Side::Agent,
                    Role::Trunk(_) | Role::Target => Side::Called,
                };
                let at = call.seen_to_end(turn);
                self.edit_call(turn, id, |call| {
                    call.set_leg(number, LegState::Ended { cause });
                    call.timeline.note(at, What::LegEnded { leg: number, cause });
                });
                self.left(turn, id, number, (by, cause));
                Ok(Reply::Done)
            }
        }
    }

    pub(super) fn leg_held(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        number: LegNumber,
        held: bool,
    ) -> Result<Reply, Rejected> {
        let call = self.looked_up(id)?;
        let leg = call.legs.get(&number).filter(|leg| leg.state.is_answered());
        if leg.is_none_or(|leg| leg.held == held) {
            return Ok(Reply::Already);
        }
        let at = turn.at;
        let is_supervisor = call.is_supervisor(number);
        self.edit_call(turn, id, |call| {
            if let Some(leg) = call.legs.get_mut(&number) {
                leg.held = held;
            }
            let what = if held {
                What::Held { leg: number, by_phone: true }
            } else {
                What::Retrieved { leg: number }
            };
            call.timeline.note(at, what);
        });
        // The others are not to hear that there is one.
        if !is_supervisor {
            self.tell_hold(turn, id, number, held);
            self.settle_holds(turn, id);
        }
        Ok(Reply::Done)
    }

    /// Tells the agents of a conversation that one side holds, or does no more.
    pub(super) fn tell_hold(&mut self, turn: &mut Turn, id: CallId, holder: LegNumber, held: bool) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        let Some((parties, _)) = call.conversation() else { return };
        for agent in call.agents_of(parties.iter().rev()) {
            let by = match call.legs.get(&holder).map(|leg| &leg.role) {
                Some(Role::Agent(of)) if *of == agent => Side::Agent,
                Some(Role::Caller) => Side::Caller,
                Some(Role::Agent(_) | Role::Trunk(_) | Role::Target) | None => Side::Called,
            };
            let what = if held {
                Happened::Held { agent: agent.clone(), call: id, by }
            } else {
                Happened::Retrieved { agent: agent.clone(), call: id, by }
            };
            turn.tell(&agent, what);
        }
    }

    /// Makes the time on hold and the agents' states follow from who holds.
    pub(super) fn settle_holds(&mut self, turn: &mut Turn, id: CallId) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        let Phase::Bridged { parties, held_since, consultation } = &call.phase else { return };
        let at = turn.at;
        let holds = |number: LegNumber| call.legs.get(&number).is_some_and(crate::Leg::holds);
        let aside = consultation.as_ref().is_some_and(|consultation| consultation.aside);
        let is_held = aside || parties.iter().any(|number| holds(*number));
        if is_held != held_since.is_some() {
            self.edit_call(turn, id, |call| {
                call.close_hold(at);
                if let Phase::Bridged { held_since, .. } = &mut call.phase {
                    *held_since = is_held.then_some(at);
                }
            });
        }
        let asked = consultation.as_ref().and_then(|consultation| consultation.reach.talking());
        for number in parties.iter().copied().chain(asked) {
            let Some(agent) = call.legs.get(&number).and_then(|leg| leg.role.agent()) else {
                continue;
            };
            let was_held = match self.agents.get(agent).map(|agent| &agent.state) {
                Some(AgentState::Held { .. }) => true,
                Some(AgentState::Talking { .. }) => false,
                Some(
                    AgentState::LoggedOut { .. }
                    | AgentState::NotReady { .. }
                    | AgentState::Ready { .. }
                    | AgentState::Reserved { .. }
                    | AgentState::Ringing { .. }
                    | AgentState::WrapUp { .. },
                )
                | None => continue,
            };
            match (was_held, holds(number)) {
                (false, true) => {
                    self.set_agent(turn, agent, AgentState::Held { since: at, call: id });
                }
                (true, false) => {
                    self.set_agent(turn, agent, AgentState::Talking { since: at, call: id });
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    pub(super) fn wire_changed(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        number: LegNumber,
        wire: Wire,
    ) -> Result<Reply, Rejected> {
        check_wire(&wire)?;
        if !self.looked_up(id)?.legs.contains_key(&number) {
            return Ok(Reply::Already);
        }
        self.edit_call(turn, id, |call| call.keep_wires(vec![(number, wire)]));
        Ok(Reply::Done)
    }

    pub(super) fn cleared(
        &mut self,
        turn: &mut Turn,
        calls: Vec<CallId>,
    ) -> Result<Reply, Rejected> {
        at_most("list of cleared calls", calls.len(), CLEARED_MAX)?;
        for id in calls {
            if self.calls.get(&id).is_some_and(|call| call.has_ended()) {
                self.remove_call(turn, id);
            }
        }
        Ok(Reply::Done)
    }
}

impl Call {
    pub(super) fn set_leg(&mut self, number: LegNumber, state: LegState) {
        if let Some(leg) = self.legs.get_mut(&number) {
            leg.state = state;
        }
    }

    fn keep_wires(&mut self, wires: Vec<(LegNumber, Wire)>) {
        for (number, wire) in wires {
            let Some(leg) = self.legs.get_mut(&number) else { continue };
            leg.wire = wire;
            // Its far end follows it here, so it has arrived.
            if std::mem::take(&mut leg.lives_elsewhere) > 0
                && matches!(self.phase, Phase::Bridged { .. })
            {
                self.recall = None;
            }
        }
    }
}
