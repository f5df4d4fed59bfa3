//! What supervisors do: they listen to an agent's conversation, speak to the agent or to all, and
//! take it over; they set agents' states, sign them out, and move those who wait.
//!
//! All of it is for those whom the directory gives a higher role than the other's, and only over
//! those whose queues they supervise. A supervision lasts as long as its agent is in the
//! conversation: whatever ends that, [`Center::settle_supervisions`] sees it.

use super::arrive::Invitation;
use super::offer::CONNECT_SECONDS;
use super::{Turn, dial::OWN_RING_SECONDS};
use crate::agent::{After, reasons};
use crate::call::LEG_NUMBERS_MAX;
use crate::command::WantedState;
use crate::directory::{AnswersOn, Role as Duty};
use crate::event::{Happened, SessionEnd};
use crate::queue::Place;
use crate::record::SegmentKind;
use crate::supervision::{SUPERVISORS_MAX, Supervision, SupervisionMode, SupervisionStage};
use crate::timeline::What;
use crate::{
    AgentId, AgentState, Call, CallId, Cause, Center, LegNumber, Phase, QueueId, Rejected, Reply,
    Role, Side,
};

impl Center {
    /// A higher role than the other's, and one of the supervised queues in common, if there are any.
    fn check_supervisor(&self, by: &AgentId, of: &AgentId) -> Result<(), Rejected> {
        self.agent_of(of)?;
        let configs = (self.config_of(by), self.config_of(of));
        let (Some(one), Some(other)) = configs else {
            return Err(Rejected::NoSuchAgent { agent: by.clone() });
        };
        let reaches = one.supervises.is_empty()
            || other.queues.iter().any(|queue| one.supervises.contains(queue));
        if one.role > other.role && reaches {
            return Ok(());
        }
        Err(Rejected::NotYourAgent { supervisor: by.clone(), agent: of.clone() })
    }

    /// The same for those who wait in a queue.
    fn check_queue_supervisor(&self, by: &AgentId, queue: &QueueId) -> Result<(), Rejected> {
        self.agent_of(by)?;
        let is_supervisor = self.config_of(by).is_some_and(|config| {
            config.role > Duty::Agent
                && (config.supervises.is_empty() || config.supervises.contains(queue))
        });
        if is_supervisor {
            return Ok(());
        }
        Err(Rejected::NotYourQueue { supervisor: by.clone(), queue: queue.clone() })
    }

    /// The call in which an agent is in a conversation.
    fn conversation_of(&self, of: &AgentId) -> Result<CallId, Rejected> {
        let state = &self.agent_of(of)?.state;
        let talks =
            |id: &CallId| self.calls.get(id).is_some_and(|call| call.talking_leg_of(of).is_some());
        state.call().filter(talks).ok_or_else(|| Rejected::WrongState {
            agent: of.clone(),
            is: state.name(),
            needs: "to be in a conversation",
        })
    }

    pub(super) fn supervise(
        &mut self,
        turn: &mut Turn,
        by: &AgentId,
        of: &AgentId,
        mode: SupervisionMode,
    ) -> Result<Reply, Rejected> {
        self.check_supervisor(by, of)?;
        let id = self.conversation_of(of)?;
        let call = self.looked_up(id)?;
        match &call.supervision {
            Some(present) if present.by == *by && present.of == *of => {
                return Ok(self.change_mode(turn, id, mode));
            }
            Some(_) => {
                let needs = "nobody else to supervise it";
                return Err(Rejected::WrongPhase { call: id, is: "supervised", needs });
            }
            None => {}
        }
        if call.next_leg >= LEG_NUMBERS_MAX {
            let (what, max) = ("number of legs", usize::from(LEG_NUMBERS_MAX));
            return Err(Rejected::TooLarge { what, size: max, max });
        }
        let phone = self.own_phone(by, of)?;
        let (at, until) = (turn.at, turn.at.plus_seconds(phone.ring_seconds));
        self.note(turn, id, What::Supervises { by: by.clone(), of: of.clone(), mode });
        let leg = self.invite(turn, id, phone);
        self.edit_call(turn, id, |call| {
            let stage = SupervisionStage::Called { until };
            let (by, of) = (by.clone(), of.clone());
            if call.supervisors.len() < SUPERVISORS_MAX {
                call.supervisors.insert(by.clone());
            }
            call.supervision = Some(Supervision { by, of, mode, leg, stage });
        });
        self.edit_agent(turn, by, |agent| {
            if !matches!(agent.state, AgentState::WrapUp { .. }) {
                agent.after = After::following(&agent.state);
            }
        });
        self.set_agent(turn, by, AgentState::Reserved { since: at, call: id });
        Ok(Reply::Done)
    }

    /// How the phone of a supervisor is called, who must be there and in no call.
    fn own_phone(&self, by: &AgentId, of: &AgentId) -> Result<Invitation, Rejected> {
        let state = &self.agent_of(by)?.state;
        match state {
            AgentState::NotReady { .. } | AgentState::Ready { .. } | AgentState::WrapUp { .. } => {}
            AgentState::LoggedOut { .. }
            | AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. } => {
                let (is, needs) = (state.name(), "to be signed in and in no call");
                return Err(Rejected::WrongState { agent: by.clone(), is, needs });
            }
        }
        let config = self.config_of(by).filter(|config| !config.device.is_empty());
        let config = config.ok_or_else(|| Rejected::NoDevice { agent: by.clone() })?;
        let auto_answer = config.answers_on == AnswersOn::Desk;
        Ok(Invitation {
            shows: Some(of.as_str().into()),
            auto_answer,
            ring_seconds: if auto_answer { CONNECT_SECONDS } else { OWN_RING_SECONDS },
            ..Invitation::to(Role::Agent(by.clone()), config.device.clone())
        })
    }

    fn change_mode(&mut self, turn: &mut Turn, id: CallId, mode: SupervisionMode) -> Reply {
        let at = turn.at;
        let changed = self.edit_call(turn, id, |call| {
            let supervision = call.supervision.as_mut().filter(|one| one.mode != mode)?;
            supervision.mode = mode;
            let (by, of) = (supervision.by.clone(), supervision.of.clone());
            call.timeline.note(at, What::Supervises { by, of, mode });
            Some(call.supervised().is_some())
        });
        match changed {
            None => Reply::Already,
            Some(is_there) => {
                if is_there {
                    self.tell_supervisor(turn, id);
                }
                Reply::Done
            }
        }
    }

    fn tell_supervisor(&self, turn: &mut Turn, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(Supervision { by, of, mode, .. }) = call.supervision.clone() else { return };
        let screen = self.screen(turn, call);
        turn.tell(&by.clone(), Happened::Supervising { agent: by, of, call: screen, mode });
    }

    /// The supervisor's phone answered.
    pub(super) fn supervisor_answered(&mut self, turn: &mut Turn, id: CallId) {
        let by = self.edit_call(turn, id, |call| {
            let supervision = call.supervision.as_mut()?;
            supervision.stage = SupervisionStage::There;
            Some(supervision.by.clone())
        });
        let Some(by) = by else { return };
        let since = turn.at;
        self.set_agent(turn, &by, AgentState::Talking { since, call: id });
        self.tell_supervisor(turn, id);
    }

    /// Lets a supervisor go; the conversation goes on without a change.
    pub(super) fn supervision_ends(&mut self, turn: &mut Turn, id: CallId, cause: Cause) {
        let Some(before) = self.calls.get(&id).cloned() else { return };
        let Some(supervision) = &before.supervision else { return };
        let (at, by) = (turn.at, supervision.by.clone());
        self.edit_call(turn, id, |call| {
            call.supervision = None;
            call.let_go(supervision.leg, cause);
            call.timeline.note(at, What::SupervisionEnded { by: by.clone(), cause });
        });
        self.free_agent(turn, &before, &by, (Side::System, cause));
    }

    /// Ends the supervisions whose agents are in the conversation no more.
    pub(super) fn settle_supervisions(&mut self, turn: &mut Turn) {
        let ended = |id: &&CallId| {
            let call = self.calls.get(id);
            let supervision = call.and_then(|call| Some((call, call.supervision.as_ref()?)));
            supervision.is_some_and(|(call, of)| call.talking_leg_of(&of.of).is_none())
        };
        let ended: Vec<CallId> = turn.outcome.touched.calls.iter().filter(ended).copied().collect();
        for id in ended {
            self.supervision_ends(turn, id, Cause::PeerGone);
        }
    }

    /// The supervisor takes the agent's place, and the agent is let go.
    pub(super) fn take_over(
        &mut self,
        turn: &mut Turn,
        by: &AgentId,
        of: &AgentId,
    ) -> Result<Reply, Rejected> {
        self.check_supervisor(by, of)?;
        let id = self.conversation_of(of)?;
        let call = self.looked_up(id)?;
        let own = call.supervised().filter(|one| one.by == *by && one.of == *of);
        let Some(Supervision { leg: supervisor, .. }) = own.cloned() else {
            let (is, needs) = (call.phase_name(), "to be supervised by you, and your phone there");
            return Err(Rejected::WrongPhase { call: id, is, needs });
        };
        let (parties, consultation) = call.conversation().unwrap_or_default();
        let Some(leg) = call.leg_of(of).filter(|leg| parties.contains(leg)) else {
            let (is, needs) = ("a consultation", "the agent to be in the conversation");
            return Err(Rejected::WrongPhase { call: id, is, needs });
        };
        if consultation.is_some_and(|consultation| consultation.by == leg) {
            self.consultation_ends(turn, id, Cause::Withdrawn);
        }
        turn.tell(of, Happened::Transferred { agent: of.clone(), call: id, to: None });
        self.change_places(turn, id, (leg, of), (supervisor, by));
        Ok(Reply::Done)
    }

    fn change_places(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        (leg, of): (LegNumber, &AgentId),
        (supervisor, by): (LegNumber, &AgentId),
    ) {
        let Some(before) = self.calls.get(&id).cloned() else { return };
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.close_hold(at);
            call.supervision = None;
            call.let_go(leg, Cause::Transferred);
            call.timeline.note(at, What::SupervisorTakes { by: by.clone(), of: of.clone() });
            call.begin_segment(SegmentKind::Talk(Some(by.clone())), at);
            call.agent = Some(by.clone());
            if call.served == leg {
                call.served = supervisor;
            }
            if let Phase::Bridged { parties, .. } = &mut call.phase {
                for party in parties.iter_mut().filter(|party| **party == leg) {
                    *party = supervisor;
                }
            }
        });
        self.free_agent(turn, &before, of, (Side::System, Cause::Transferred));
        self.begin_talk(turn, id, by);
        self.settle_holds(turn, id);
    }

    /// Sets another's state, as they could themselves.
    pub(super) fn force_state(
        &mut self,
        turn: &mut Turn,
        by: &AgentId,
        of: &AgentId,
        state: WantedState,
    ) -> Result<Reply, Rejected> {
        self.check_supervisor(by, of)?;
        let reply = self.set_state(turn, of, state)?;
        if reply != Reply::Already {
            turn.tell(of, Happened::StateForced { agent: of.clone(), by: by.clone() });
        }
        Ok(reply)
    }

    /// Ends another's session. A conversation goes on at the phone; what rings goes to others.
    pub(super) fn force_log_out(
        &mut self,
        turn: &mut Turn,
        by: &AgentId,
        of: &AgentId,
    ) -> Result<Reply, Rejected> {
        self.check_supervisor(by, of)?;
        let agent = self.agent_of(of)?;
        let Some(session) = agent.session else {
            let (is, needs) = (agent.state.name(), "a session");
            return Err(Rejected::WrongState { agent: of.clone(), is, needs });
        };
        turn.tell(of, Happened::StateForced { agent: of.clone(), by: by.clone() });
        self.log_out(turn, session, SessionEnd::ForcedOut, reasons::FORCED_OUT);
        Ok(Reply::Done)
    }

    /// The queue of a call that waits there and is offered to nobody.
    fn waits_in(&self, id: CallId) -> Result<QueueId, Rejected> {
        let call = self.looked_up(id)?;
        match &call.phase {
            Phase::Queued { queue, offers, .. } if offers.is_empty() => Ok(queue.clone()),
            Phase::Queued { .. }
            | Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => {
                let needs = "to wait in a queue, and be offered to nobody";
                Err(Rejected::WrongPhase { call: id, is: call.phase_name(), needs })
            }
        }
    }

    /// Changes the place of one who waits; without a priority: before all others, as far as there
    /// is a higher one. Its time of waiting and its place among equals stay.
    pub(super) fn prioritise(
        &mut self,
        turn: &mut Turn,
        by: &AgentId,
        id: CallId,
        priority: Option<u8>,
    ) -> Result<Reply, Rejected> {
        let queue = self.waits_in(id)?;
        self.check_queue_supervisor(by, &queue)?;
        let call = self.looked_up(id)?;
        let priority = priority.unwrap_or_else(|| self.priority_before_all(call));
        if priority == call.priority {
            return Ok(Reply::Already);
        }
        let at = turn.at;
        self.edit_call(turn, id, |call| {
            call.priority = priority;
            call.timeline.note(at, What::Prioritised { by: by.clone(), priority });
        });
        Ok(Reply::Done)
    }

    /// The lowest priority, from its own on, with which one who waits is before all others of the
    /// queue; the highest if there is none. With ageing that depends on how long they have waited.
    fn priority_before_all(&self, call: &Call) -> u8 {
        let Phase::Queued { queue, ticket, since, .. } = &call.phase else { return call.priority };
        let config = self.directory.queues.get(queue);
        let age = config.map_or(0, |config| config.distribution.age_seconds);
        let others = self.queues.get(queue).into_iter().flat_map(|queue| queue.waiting.keys());
        let first = others.into_iter().find(|place| place.call != call.id);
        let is_first = |priority: &u8| {
            let mine = Place::new(*priority, *ticket, call.id).aged(*since, age);
            first.is_none_or(|first| mine < *first)
        };
        (call.priority..=u8::MAX).find(is_first).unwrap_or(u8::MAX)
    }

    /// Puts one who waits into another queue, where it stands among those of its priority as if it
    /// had come there in the first place.
    pub(super) fn move_to_queue(
        &mut self,
        turn: &mut Turn,
        by: &AgentId,
        id: CallId,
        queue: &QueueId,
    ) -> Result<Reply, Rejected> {
        let from = self.waits_in(id)?;
        self.check_queue_supervisor(by, &from)?;
        if !self.directory.queues.contains_key(queue) {
            return Err(Rejected::NoSuchQueue { queue: queue.clone() });
        }
        if from == *queue {
            return Ok(Reply::Already);
        }
        self.note(turn, id, What::Moved { by: by.clone(), queue: queue.clone() });
        self.enqueue(turn, id, queue, 0);
        Ok(Reply::Done)
    }
}
