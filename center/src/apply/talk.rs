//! Who is in a conversation changes: somebody is consulted, joins, leaves, or gets the call.
//!
//! A call keeps its id, its place in the log and its owner through all of this, so a consultation
//! or a conference survives the loss of a node as any other call does. There is no second call
//! that could be lost halfway.
//!
//! Whoever leaves while two others can talk leaves them talking; an agent who hangs up during a
//! consultation thereby transfers.

use std::sync::Arc;

use super::arrive::Invitation;
use super::end::End;
use super::offer::RING_SECONDS;
use super::{Turn, check_text};
use crate::call::{Consultation, LEG_NUMBERS_MAX, LegState, PARTIES_MAX, Reach};
use crate::directory::{Destination, RING_SECONDS_DEFAULT};
use crate::event::Happened;
use crate::leg::Attempt;
use crate::record::SegmentKind;
use crate::timeline::{What, Why};
use crate::{
    AgentId, AgentState, Call, CallId, CallResult, Cause, Center, LegNumber, Millis, Phase,
    Rejected, Reply, Role, Route, Side,
};

/// Who can be consulted: somebody who answers a phone.
enum Person {
    Agent(AgentId),
    Phone(Invitation),
}

/// A conversation from the view of the agent who gave a command.
pub(super) struct Talk {
    pub(super) leg: LegNumber,
    parties: Vec<LegNumber>,
    consultation: Option<Consultation>,
}

impl Talk {
    /// The consultation that this agent began, with whom they talk.
    fn asked(&self) -> Option<LegNumber> {
        let consultation = self.consultation.as_ref().filter(|c| c.by == self.leg);
        consultation.and_then(|consultation| consultation.reach.talking())
    }
}

impl Center {
    /// The conversation that the agent is a party of.
    pub(super) fn talk_of(&self, agent: &AgentId, id: CallId) -> Result<Talk, Rejected> {
        let leg = self.talking_leg(agent, id)?;
        let call = self.looked_up(id)?;
        match call.conversation() {
            Some((parties, consultation)) if parties.contains(&leg) => {
                Ok(Talk { leg, parties: parties.to_vec(), consultation: consultation.cloned() })
            }
            Some(_) | None => {
                let needs = "to be in the conversation, not to be asked from it";
                Err(Rejected::WrongPhase { call: id, is: "a consultation", needs })
            }
        }
    }

    /// The same, of an agent who talks with somebody aside.
    fn consulting(&self, agent: &AgentId, id: CallId) -> Result<(Talk, LegNumber), Rejected> {
        let talk = self.talk_of(agent, id)?;
        match talk.asked() {
            Some(asked) => Ok((talk, asked)),
            None => {
                let is = self.looked_up(id)?.phase_name();
                let needs = "somebody who was asked and has answered";
                Err(Rejected::WrongPhase { call: id, is, needs })
            }
        }
    }

    pub(super) fn consult(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
        to: Arc<str>,
    ) -> Result<Reply, Rejected> {
        check_text(&to)?;
        let talk = self.talk_of(agent, id)?;
        let call = self.looked_up(id)?;
        if talk.consultation.is_some() {
            let needs = "the present consultation to be over";
            return Err(Rejected::WrongPhase { call: id, is: call.phase_name(), needs });
        }
        if call.legs[&talk.leg].held {
            return Err(Rejected::HeldAtPhone { call: id, agent: agent.clone() });
        }
        if talk.parties.len() >= PARTIES_MAX {
            let (what, size) = ("conversation", talk.parties.len() + 1);
            return Err(Rejected::TooLarge { what, size, max: PARTIES_MAX });
        }
        if call.next_leg >= LEG_NUMBERS_MAX {
            let (what, max) = ("number of legs", usize::from(LEG_NUMBERS_MAX));
            return Err(Rejected::TooLarge { what, size: max, max });
        }
        let person = self.person(turn.at, agent, call, &to)?;
        let (at, by) = (turn.at, talk.leg);
        self.edit_call(turn, id, |call| {
            if let Some(leg) = call.legs.get_mut(&by) {
                leg.held_at_desk = false;
            }
            call.timeline.note(at, What::Consults { leg: by, to: to.clone() });
        });
        turn.tell(agent, Happened::Consulting { agent: agent.clone(), call: id, to });
        match person {
            Person::Agent(asked) => {
                self.note(turn, id, What::Offered { agent: asked.clone(), why: Why::Consulted });
                let offer = self.make_offer(turn, id, &asked, RING_SECONDS);
                self.set_consultation(turn, id, by, Reach::Offered(offer));
                self.hold_agent_for(turn, id, &asked);
            }
            Person::Phone(invitation) => {
                let until = at.plus_seconds(invitation.ring_seconds);
                let leg = self.invite(turn, id, invitation);
                self.set_consultation(turn, id, by, Reach::Dialing { leg, until });
            }
        }
        self.settle_holds(turn, id);
        Ok(Reply::Done)
    }

    /// Whom a number leads to, if it is somebody who can be asked now.
    fn person(
        &self,
        at: Millis,
        asks: &AgentId,
        call: &Call,
        to: &Arc<str>,
    ) -> Result<Person, Rejected> {
        match self.directory.destination(to) {
            None => Err(Rejected::NoWayTo { number: to.clone() }),
            Some(Destination::Inside(Route::Agent(agent))) => {
                let found = self.agent_of(&agent)?;
                if !self.can_take_over(&agent) {
                    let (is, needs) = (found.state.name(), "to be there and in no call");
                    return Err(Rejected::WrongState { agent, is, needs });
                }
                Ok(Person::Agent(agent))
            }
            Some(Destination::Inside(Route::Target(uri))) => {
                Ok(Person::Phone(Invitation::to(Role::Target, uri)))
            }
            Some(Destination::Outside(outside)) => {
                let own = self.config_of(asks).and_then(|config| config.shows.clone());
                let way = self.way_out(at, call, Attempt::first(outside, own));
                way.map(Person::Phone).ok_or_else(|| Rejected::NoTrunkFree { number: to.clone() })
            }
            Some(Destination::Inside(
                Route::Flow(_) | Route::Queue(_) | Route::Echo | Route::Reject(_),
            )) => Err(Rejected::NotAPerson { number: to.clone() }),
        }
    }

    /// Has a phone, is there, and is in no call: wrap-up and not being ready do not keep an agent
    /// from being asked by name.
    pub(super) fn can_take_over(&self, agent: &AgentId) -> bool {
        let Some(found) = self.agents.get(agent) else { return false };
        match &found.state {
            AgentState::Ready { .. } | AgentState::NotReady { .. } | AgentState::WrapUp { .. } => {
                self.can_be_offered(found)
            }
            AgentState::LoggedOut { .. }
            | AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. } => false,
        }
    }

    fn set_consultation(&mut self, turn: &mut Turn, id: CallId, by: LegNumber, reach: Reach) {
        self.edit_call(turn, id, |call| {
            if let Phase::Bridged { consultation, .. } = &mut call.phase {
                *consultation = Some(Consultation { by, reach, aside: true });
            }
        });
    }

    /// Who was asked has answered.
    pub(super) fn asked_answered(&mut self, turn: &mut Turn, id: CallId, number: LegNumber) {
        let (agent, asks) = self.edit_call(turn, id, |call| {
            let mut by = None;
            if let Phase::Bridged { consultation: Some(consultation), .. } = &mut call.phase {
                consultation.reach = Reach::Talking { leg: number };
                by = Some(consultation.by);
            }
            let of = |number| call.legs.get(&number).and_then(|leg| leg.role.agent()).cloned();
            (of(number), by.and_then(of))
        });
        if let Some(agent) = asks {
            turn.tell(&agent.clone(), Happened::ConsultationAnswered { agent, call: id });
        }
        if let Some(agent) = agent {
            self.begin_talk(turn, id, &agent);
        }
    }

    /// The consultation is over: nobody answered, or who was asked is gone or let go. Whoever asked
    /// is back in the conversation.
    pub(super) fn consultation_ends(&mut self, turn: &mut Turn, id: CallId, cause: Cause) {
        let Some(before) = self.calls.get(&id).cloned() else { return };
        let Some((_, Some(Consultation { by, reach, .. }))) = before.conversation() else { return };
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            if let Some(leg) = reach.leg() {
                call.let_go(leg, cause);
            }
            if let Phase::Bridged { consultation, .. } = &mut call.phase {
                *consultation = None;
            }
            call.timeline.note(at, What::ConsultationEnded { leg: *by });
        });
        let offered = before.offers().first().map(|offer| &offer.agent);
        let talks = reach.leg().and_then(|leg| before.legs.get(&leg)?.role.agent());
        // An agent whose desk rings has no leg yet.
        let asked = offered.or(talks);
        if let Some(asked) = asked {
            self.free_agent(turn, &before, asked, (Side::System, cause));
        }
        if let Some(agent) = before.legs.get(by).and_then(|leg| leg.role.agent()) {
            let agent = agent.clone();
            turn.tell(&agent.clone(), Happened::ConsultationEnded { agent, call: id, cause });
        }
        self.settle_holds(turn, id);
    }

    pub(super) fn alternate(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        let (talk, _) = self.consulting(agent, id)?;
        let aside = !talk.consultation.is_some_and(|consultation| consultation.aside);
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            if let Phase::Bridged { consultation: Some(consultation), .. } = &mut call.phase {
                consultation.aside = aside;
            }
            call.timeline.note(at, What::Alternates { leg: talk.leg, aside });
        });
        turn.tell(agent, Happened::Alternated { agent: agent.clone(), call: id, aside });
        self.settle_holds(turn, id);
        Ok(Reply::Done)
    }

    pub(super) fn reconnect(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        let talk = self.talk_of(agent, id)?;
        match talk.consultation {
            None => Ok(Reply::Already),
            Some(consultation) if consultation.by != talk.leg => {
                let needs = "a consultation of your own";
                let is = self.looked_up(id)?.phase_name();
                Err(Rejected::WrongPhase { call: id, is, needs })
            }
            Some(_) => {
                self.consultation_ends(turn, id, Cause::Withdrawn);
                Ok(Reply::Done)
            }
        }
    }

    pub(super) fn conference(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
    ) -> Result<Reply, Rejected> {
        let (_, asked) = self.consulting(agent, id)?;
        let at = turn.at;
        let agents = self.edit_call(turn, id, |call| {
            call.timeline.note(at, What::Joins { leg: asked });
            let Phase::Bridged { parties, consultation, .. } = &mut call.phase else {
                return Vec::new();
            };
            parties.push(asked);
            call.parties_most = call.parties_most.max(parties.len() as u16);
            *consultation = None;
            let parties = parties.clone();
            call.agents_of(parties.iter())
        });
        let parties = self.calls.get(&id).and_then(|call| call.conversation());
        let parties = parties.map_or(0, |(parties, _)| super::count(parties.len()));
        for of in agents {
            turn.tell(&of, Happened::Conferenced { agent: of.clone(), call: id, parties });
        }
        self.settle_holds(turn, id);
        Ok(Reply::Done)
    }

    pub(super) fn transfer(
        &mut self,
        turn: &mut Turn,
        agent: &AgentId,
        id: CallId,
        to: Option<Arc<str>>,
    ) -> Result<Reply, Rejected> {
        let talk = self.talk_of(agent, id)?;
        match to {
            Some(to) => self.transfer_to(turn, (agent, id), &talk, to),
            None => self.transfer_to_asked(turn, id, &talk),
        }
    }

    /// The other one of two who talk, while nobody else is asked.
    pub(super) fn other_of_two(&self, id: CallId, talk: &Talk) -> Result<LegNumber, Rejected> {
        let mut others = talk.parties.iter().filter(|leg| **leg != talk.leg);
        match (others.next(), others.next(), &talk.consultation) {
            (Some(other), None, None) => Ok(*other),
            (_, _, _) => {
                let (is, needs) =
                    (self.looked_up(id)?.phase_name(), "two who talk, and nobody who is asked");
                Err(Rejected::WrongPhase { call: id, is, needs })
            }
        }
    }

    /// Sends the other party where a number leads, unseen.
    pub(super) fn transfer_to(
        &mut self,
        turn: &mut Turn,
        (agent, id): (&AgentId, CallId),
        talk: &Talk,
        to: Arc<str>,
    ) -> Result<Reply, Rejected> {
        check_text(&to)?;
        let served = self.other_of_two(id, talk)?;
        let Some(destination) = self.directory.destination(&to) else {
            return Err(Rejected::NoWayTo { number: to });
        };
        turn.tell(agent, transferred(id, agent, Some(to.clone())));
        self.depart(turn, id, talk.leg, (served, Some(to)));
        self.send_to(turn, id, destination);
        self.forget_recall_if_arrived(turn, id);
        Ok(Reply::Done)
    }

    /// Leaves the call to the one who was asked; if that phone still rings, the other party waits
    /// for it in the agent's place.
    fn transfer_to_asked(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        talk: &Talk,
    ) -> Result<Reply, Rejected> {
        let call = self.looked_up(id)?;
        let own = talk.consultation.as_ref().filter(|consultation| consultation.by == talk.leg);
        let can = own.is_some_and(|own| own.reach.talking().is_some() || talk.parties.len() == 2);
        if !can {
            let needs = "somebody who was asked, or a number";
            return Err(Rejected::WrongPhase { call: id, is: call.phase_name(), needs });
        }
        self.leave_to_asked(turn, id, talk.leg, Cause::Transferred);
        Ok(Reply::Done)
    }

    /// A party left, at the phone or by command; `number` has been ended. The others go on if at
    /// least two are left.
    pub(super) fn left(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        number: LegNumber,
        (by, cause): (Side, Cause),
    ) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        if call.is_supervisor(number) {
            return self.supervision_ends(turn, id, cause);
        }
        let end = End(by, cause, call.result_if_left());
        let Some((parties, consultation)) = call.conversation() else {
            return self.end_call(turn, id, end);
        };
        if let Some(consultation) = consultation {
            if consultation.reach.leg() == Some(number) {
                return self.consultation_ends(turn, id, cause);
            }
            let can = consultation.reach.talking().is_some() || parties.len() == 2;
            if consultation.by == number && can {
                return self.leave_to_asked(turn, id, number, cause);
            }
            if consultation.by == number {
                self.consultation_ends(turn, id, Cause::Withdrawn);
            }
        }
        let others: Vec<LegNumber> = parties.iter().copied().filter(|leg| *leg != number).collect();
        let asked = consultation.filter(|consultation| consultation.by != number);
        let asked = asked.and_then(|consultation| consultation.reach.talking());
        let others = match (others.as_slice(), asked) {
            (&[alone], Some(asked)) => vec![alone, asked],
            (&[_] | &[], _) => return self.end_call(turn, id, end),
            (_, _) => others,
        };
        self.go_on_without(turn, id, (number, cause), others);
    }

    /// The conversation goes on among `others`.
    fn go_on_without(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        (number, cause): (LegNumber, Cause),
        others: Vec<LegNumber>,
    ) {
        let Some(before) = self.calls.get(&id).cloned() else { return };
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.let_go(number, cause);
            call.timeline.note(at, What::Leaves { leg: number, cause });
            call.served = others.first().copied().unwrap_or(call.served);
            let Phase::Bridged { parties, consultation, .. } = &mut call.phase else { return };
            let asked = consultation.as_ref().and_then(|c| c.reach.leg());
            if asked.is_some_and(|asked| others.contains(&asked)) {
                *consultation = None;
            }
            *parties = others;
        });
        self.freed_by_leaving(turn, &before, number, cause);
        self.settle_holds(turn, id);
    }

    /// Who asked leaves, and who was asked takes the place.
    fn leave_to_asked(&mut self, turn: &mut Turn, id: CallId, number: LegNumber, cause: Cause) {
        let Some(before) = self.calls.get(&id).cloned() else { return };
        let Some((parties, Some(consultation))) = before.conversation() else { return };
        if let Some(agent) = before.legs.get(&number).and_then(|leg| leg.role.agent()) {
            turn.tell(agent, transferred(id, agent, None));
        }
        let Some(asked) = consultation.reach.talking() else {
            return self.leave_to_ringing(turn, &before, number);
        };
        let takes_place = |leg: &LegNumber| if *leg == number { asked } else { *leg };
        let parties: Vec<LegNumber> = parties.iter().map(takes_place).collect();
        let talker = before.legs.get(&asked).and_then(|leg| leg.role.agent()).cloned();
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.let_go(number, cause);
            call.transfers = call.transfers.saturating_add(1);
            call.timeline.note(at, What::Transfers { leg: number, to: None });
            call.close_hold(at);
            call.begin_segment(SegmentKind::Talk(talker.clone()), at);
            if talker.is_some() {
                call.agent = talker;
            }
            call.served = parties.first().copied().unwrap_or(call.served);
            call.phase = Phase::Bridged { parties, held_since: None, consultation: None };
        });
        self.freed_by_leaving(turn, &before, number, cause);
        self.settle_holds(turn, id);
    }

    /// Who asked leaves while the phone of who was asked rings: the other party waits for it.
    fn leave_to_ringing(&mut self, turn: &mut Turn, before: &Call, number: LegNumber) {
        let Some((parties, Some(consultation))) = before.conversation() else { return };
        let Some(served) = parties.iter().copied().find(|leg| *leg != number) else { return };
        let reach = consultation.reach.clone();
        self.depart(turn, before.id, number, (served, None));
        self.enter(turn, before.id, SegmentKind::Ringing, |_| match reach {
            Reach::Offered(offer) => Phase::Direct { offer },
            // Who talks does not ring.
            Reach::Dialing { leg, until } => Phase::Dialing { leg, until, then: None },
            Reach::Talking { leg } => {
                Phase::Bridged { parties: vec![served, leg], held_since: None, consultation: None }
            }
        });
    }

    /// An agent leaves for good, and the other party waits to be connected. If that comes to
    /// nothing, the agent gets the call back.
    pub(super) fn depart(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        number: LegNumber,
        (served, to): (LegNumber, Option<Arc<str>>),
    ) {
        let Some(before) = self.calls.get(&id).cloned() else { return };
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.close_hold(at);
            call.recall = call.legs.get(&number).and_then(|leg| leg.role.agent()).cloned();
            call.let_go(number, Cause::Transferred);
            call.transfers = call.transfers.saturating_add(1);
            call.timeline.note(at, What::Transfers { leg: number, to });
            call.served = served;
            if let Some(leg) = call.legs.get_mut(&served) {
                leg.held_at_desk = false;
            }
            // Until it is routed, within this very command.
            call.phase = Phase::Arriving;
        });
        self.freed_by_leaving(turn, &before, number, Cause::Transferred);
    }

    /// Frees the agent of a leg that left a call which goes on.
    pub(super) fn freed_by_leaving(
        &mut self,
        turn: &mut Turn,
        before: &Call,
        number: LegNumber,
        cause: Cause,
    ) {
        let agent = before.legs.get(&number).and_then(|leg| leg.role.agent());
        if let Some(agent) = agent.cloned() {
            self.free_agent(turn, before, &agent, (Side::Agent, cause));
        }
    }

    /// A transferred call that did not arrive anywhere goes back to who transferred it, if they
    /// can take it. False if it is to end.
    pub(super) fn comes_back(&mut self, turn: &mut Turn, call: &Call, cause: Cause) -> bool {
        let id = call.id;
        let Some(agent) = call.recall.clone() else { return false };
        let waits = call.legs.get(&call.served).is_some_and(|leg| leg.state.is_answered());
        if !waits || !self.can_take_over(&agent) || call.next_leg >= LEG_NUMBERS_MAX {
            return false;
        }
        self.edit_call(turn, id, |call| {
            call.recall = None;
            let others: Vec<LegNumber> =
                call.legs.keys().copied().filter(|leg| *leg != call.served).collect();
            for leg in others {
                call.let_go(leg, cause);
            }
        });
        let offered = call.offers().iter().map(|offer| offer.agent.clone());
        // Who waits to be taken back may be an agent, too, and is still in the call.
        let others = call.legs.keys().filter(|leg| **leg != call.served);
        for other in call.agents_of(others).into_iter().chain(offered) {
            self.free_agent(turn, call, &other, (Side::System, cause));
        }
        self.note(turn, id, What::Recalled { agent: agent.clone() });
        self.note(turn, id, What::Offered { agent: agent.clone(), why: Why::Recalled });
        let offer = self.make_offer(turn, id, &agent, RING_SECONDS_DEFAULT);
        self.enter(turn, id, SegmentKind::Ringing, |_| Phase::Direct { offer });
        self.hold_agent_for(turn, id, &agent);
        true
    }
}

pub(super) fn transferred(call: CallId, agent: &AgentId, to: Option<Arc<str>>) -> Happened {
    Happened::Transferred { agent: agent.clone(), call, to }
}

impl Call {
    /// Ends a leg of a call that goes on. One that has ended by itself is not kept.
    pub(super) fn let_go(&mut self, number: LegNumber, cause: Cause) {
        self.drop_leg(number, cause);
        if let Some(LegState::Ended { .. }) = self.legs.get(&number).map(|leg| leg.state) {
            self.legs.remove(&number);
        }
    }

    /// What a call comes to when a party leaves it now.
    fn result_if_left(&self) -> CallResult {
        match &self.phase {
            Phase::Bridged { .. } => CallResult::Answered,
            Phase::Echo => CallResult::IvrCompleted,
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Parked { .. }
            | Phase::Ended { .. } => CallResult::Abandoned,
        }
    }
}
