//! What an agent's phone asks for by itself: a transfer by REFER (RFC 3515), to a number, or to whom
//! it has reached in another call of its own (Replaces, RFC 3891; RFC 5589 §7).
//!
//! Phones of agents may what their desks may; others nothing, since they are not ours. Which dialog
//! a Replaces names is the node's business; whose call it is, and whether it can be taken over, is
//! decided here. The leg of who was reached moves into the first call, with its dialog: one call, one
//! owner and one record go on with the customer, and the other call ends. No moment has both.

use std::sync::Arc;

use super::end::End;
use super::talk::{Talk, transferred};
use super::{Turn, count};
use crate::call::{LEG_NUMBERS_MAX, Phase};
use crate::event::Happened;
use crate::queue::Place;
use crate::record::SegmentKind;
use crate::timeline::What;
use crate::{
    AgentId, Call, CallId, CallResult, Cause, Center, Index, Leg, LegNumber, Millis, QueueId,
    Rejected, Reply, Role, Side,
};

/// What the phone's other call has to give.
enum Reached {
    /// This leg, which talks with it.
    Somebody(LegNumber),
    /// A place in a queue.
    Place { queue: QueueId, ticket: Index, since: Millis, until: Option<Millis>, priority: u8 },
    /// What answers at the number that was dialled.
    Number,
}

impl Center {
    /// The phone of a leg asks that the other party be sent to a number.
    pub(super) fn referred(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        number: LegNumber,
        to: Arc<str>,
    ) -> Result<Reply, Rejected> {
        let Some(agent) = self.who_refers(id, number)? else { return Ok(Reply::Already) };
        self.transfer(turn, &agent, id, Some(to))
    }

    /// The phone of a leg asks that the other party get whom it has reached in another call.
    pub(super) fn referred_with(
        &mut self,
        turn: &mut Turn,
        (id, number): (CallId, LegNumber),
        other: CallId,
    ) -> Result<Reply, Rejected> {
        let Some(agent) = self.who_refers(id, number)? else { return Ok(Reply::Already) };
        let talk = self.talk_of(&agent, id)?;
        let served = self.other_of_two(id, &talk)?;
        let reached = self.reached_by(&agent, id, other)?;
        if self.looked_up(id)?.next_leg >= LEG_NUMBERS_MAX {
            let (what, max) = ("number of legs", usize::from(LEG_NUMBERS_MAX));
            return Err(Rejected::TooLarge { what, size: max, max });
        }
        match reached {
            Reached::Somebody(asked) => {
                self.joins(turn, (&agent, id), (number, served), (other, asked));
            }
            Reached::Place { .. } => {
                turn.tell(&agent, transferred(id, &agent, None));
                let to = self.looked_up(other)?.called.clone();
                self.depart(turn, id, number, (served, Some(to)));
                self.gives_up(turn, id, other, CallResult::Abandoned);
                self.takes_place(turn, id, reached);
                self.forget_recall_if_arrived(turn, id);
            }
            Reached::Number => return self.sent_after(turn, (&agent, id), &talk, other),
        }
        Ok(Reply::Done)
    }

    /// The agent whose phone this leg is; None if it is not in the call any more.
    fn who_refers(&self, id: CallId, number: LegNumber) -> Result<Option<AgentId>, Rejected> {
        let leg = self.looked_up(id)?.legs.get(&number).filter(|leg| leg.state.is_answered());
        match leg.map(|leg| leg.role.agent()) {
            None => Ok(None),
            Some(Some(agent)) => Ok(Some(agent.clone())),
            Some(None) => Err(Rejected::MayNotRefer { call: id, leg: number }),
        }
    }

    /// Whom or what the agent's phone has reached in this call of its own.
    fn reached_by(&self, agent: &AgentId, id: CallId, other: CallId) -> Result<Reached, Rejected> {
        let call = self.looked_up(other)?;
        if other == id || call.dialled_by.as_ref() != Some(agent) {
            return Err(Rejected::NotYourCall { call: other, agent: agent.clone() });
        }
        let wrong = |needs| Rejected::WrongPhase { call: other, is: call.phase_name(), needs };
        let is_answered =
            |leg: LegNumber| call.legs.get(&leg).is_some_and(|leg| leg.state.is_answered());
        // RFC 3891 §3: an early dialog is not replaced by who is called.
        if !is_answered(LegNumber::FIRST) || call.served != LegNumber::FIRST {
            return Err(wrong("to be answered and with the phone that dialled"));
        }
        match &call.phase {
            Phase::Bridged { parties, consultation, .. } => {
                match (parties.as_slice(), consultation) {
                    (&[LegNumber::FIRST, asked], None) if is_answered(asked) => {
                        Ok(Reached::Somebody(asked))
                    }
                    (_, _) => Err(wrong("two who talk, and nobody who is asked")),
                }
            }
            Phase::Queued { queue, ticket, since, until, .. } => {
                let (queue, ticket, since, until) = (queue.clone(), *ticket, *since, *until);
                Ok(Reached::Place { queue, ticket, since, until, priority: call.priority })
            }
            Phase::Ivr { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Parked { .. }
            | Phase::Echo => Ok(Reached::Number),
            Phase::Arriving | Phase::Ended { .. } => Err(wrong("to go on")),
        }
    }

    /// The leg of who was reached moves into the call, and takes the agent's place.
    fn joins(
        &mut self,
        turn: &mut Turn,
        (agent, id): (&AgentId, CallId),
        (number, served): (LegNumber, LegNumber),
        (other, asked): (CallId, LegNumber),
    ) {
        let Some(before) = self.calls.get(&id).cloned() else { return };
        let Some(leg) = self.moves_out(turn, id, (other, asked)) else { return };
        turn.tell(agent, transferred(id, agent, None));
        let (at, talker) = (turn.at, leg.role.agent().cloned());
        self.edit_call(turn, id, |call| {
            call.let_go(number, Cause::Transferred);
            call.transfers = call.transfers.saturating_add(1);
            call.timeline.note(at, What::Transfers { leg: number, to: None });
            call.close_hold(at);
            call.begin_segment(SegmentKind::Talk(talker.clone()), at);
            if let Role::Trunk(trunk) = &leg.role {
                call.trunk = Some(trunk.clone());
            }
            let new = call.add_leg(leg);
            call.timeline.note(at, What::CameFrom { leg: new, call: other });
            if talker.is_some() {
                call.agent = talker.clone();
            }
            call.served = served;
            // Who does not follow to this call has not been reached: the agent gets it back.
            call.recall = Some(agent.clone());
            let parties = vec![served, new];
            call.phase = Phase::Bridged { parties, held_since: None, consultation: None };
        });
        self.freed_by_leaving(turn, &before, number, Cause::Transferred);
        if let Some(talker) = talker {
            let cleared = Happened::Cleared {
                agent: talker.clone(),
                call: other,
                by: Side::Caller,
                cause: Cause::Transferred,
                wrap_up_until: None,
            };
            turn.tell(&talker, cleared);
            self.begin_talk(turn, id, &talker);
        }
        self.settle_holds(turn, id);
    }

    /// Takes a leg out of its call, which ends. Its dialog goes on where it goes.
    fn moves_out(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        (other, asked): (CallId, LegNumber),
    ) -> Option<Leg> {
        let leg = self.edit_call(turn, other, |call| {
            call.moved = Some(asked);
            let leg = call.legs.remove(&asked)?;
            let lives_elsewhere = leg.lives_elsewhere.saturating_add(call.epoch).saturating_add(1);
            Some(Leg { lives_elsewhere, muted: false, held_at_desk: false, keys: None, ..leg })
        });
        self.gives_up(turn, id, other, CallResult::Answered);
        leg
    }

    /// The phone's own call is over: what it reached goes on elsewhere.
    fn gives_up(&mut self, turn: &mut Turn, id: CallId, other: CallId, result: CallResult) {
        let at = turn.at;
        self.edit_call(turn, other, |call| {
            call.recall = None;
            call.timeline.note(at, What::WentTo { call: id });
        });
        // Not by the caller, so that the queue does not count it as given up.
        let by = if result == CallResult::Answered { Side::Caller } else { Side::System };
        self.end_call(turn, other, End(by, Cause::Transferred, result));
    }

    /// The call takes the place of the phone in a queue.
    fn takes_place(&mut self, turn: &mut Turn, id: CallId, reached: Reached) {
        let Reached::Place { queue, ticket, since, until, priority } = reached else { return };
        let directory = Arc::clone(&self.directory);
        let (Some(config), Some(live)) =
            (directory.queues.get(&queue), self.queues.get_mut(&queue))
        else {
            return;
        };
        let (at, distribution) = (turn.at, &config.distribution);
        live.totals.entered += 1;
        let place = Place::new(priority, ticket, id).aged(since, distribution.age_seconds);
        let ahead = count(live.ahead_of(place));
        turn.outcome.touched.queues.insert(queue.clone());
        // Whom the phone waited for in person is not whom the caller knows.
        let ((ring, widens), wanted) = (distribution.ring_at(since, at), None);
        self.enter(turn, id, SegmentKind::Queue(queue.clone()), |call: &mut Call| {
            call.priority = priority;
            call.queue = Some(queue.clone());
            call.timeline.note(at, What::Enqueued { queue: queue.clone(), ahead });
            let (queue, offers) = (queue.clone(), Vec::new());
            Phase::Queued { queue, ticket, since, until, offers, ring, wanted, widens }
        });
        turn.announce(Happened::CallQueued { call: id, queue, ahead });
    }

    /// Nobody talks with the phone there: the other party is sent to the number that it dialled.
    fn sent_after(
        &mut self,
        turn: &mut Turn,
        (agent, id): (&AgentId, CallId),
        talk: &Talk,
        other: CallId,
    ) -> Result<Reply, Rejected> {
        let to = self.looked_up(other)?.called.clone();
        if self.directory.destination(&to).is_none() {
            return Err(Rejected::NoWayTo { number: to });
        }
        // Before that, so that an agent who rings there is free to be asked again.
        self.gives_up(turn, id, other, CallResult::IvrCompleted);
        self.transfer_to(turn, (agent, id), talk, to)
    }
}
