//! An agent dials: the own phone is invited first, then the number.

use std::sync::Arc;

use super::arrive::Invitation;
use super::offer::CONNECT_SECONDS;
use super::{Turn, check_text};
use crate::agent::{After, LastCall};
use crate::directory::{AnswersOn, Destination};
use crate::event::Happened;
use crate::record::SegmentKind;
use crate::timeline::What;
use crate::{
    AgentState, Arrived, Call, CallId, Center, Dial, Direction, LegNumber, Party, Phase, Rejected,
    Reply, Role, Wire,
};

/// How long an agent's own phone rings that does not answer by itself, in seconds.
pub(super) const OWN_RING_SECONDS: u32 = 30;

impl Center {
    pub(super) fn dial(&mut self, turn: &mut Turn, dial: Dial) -> Result<Reply, Rejected> {
        let Dial { agent: id, call, salt, to, owner, .. } = dial;
        let agent = Arc::clone(self.agent_of(&id)?);
        check_text(&to)?;
        let config = self.config_of(&id).cloned();
        let config = config.ok_or_else(|| Rejected::NoSuchAgent { agent: id.clone() })?;
        match &agent.state {
            AgentState::NotReady { .. } | AgentState::Ready { .. } | AgentState::WrapUp { .. } => {}
            AgentState::LoggedOut { .. }
            | AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. } => {
                let (is, needs) = (agent.state.name(), "to be signed in and in no call");
                return Err(Rejected::WrongState { agent: id, is, needs });
            }
        }
        if config.device.is_empty() {
            return Err(Rejected::NoDevice { agent: id });
        }
        let Some(then) = self.directory.destination(&to) else {
            return Err(Rejected::NoWayTo { number: to });
        };
        self.check_new_call(call, owner)?;

        let number = config.shows.clone().unwrap_or_else(|| id.as_str().into());
        let caller = Party { number, name: Some(config.name.clone()) };
        let wire = Wire::default();
        let home = self.home_of(owner).map(|home| (home, 0));
        let called = to.clone();
        let (trunk, phone, answer_ready) = (None, None, false);
        let begun =
            Arrived { call, salt, owner, home, trunk, phone, caller, called, wire, answer_ready };
        let mut new = Call::new(&begun, turn.at, Direction::Outbound);
        new.agent = Some(id.clone());
        new.timeline.note(turn.at, What::Dialled { agent: id.clone() });
        let screen = self.screen(turn, &new);
        turn.announce(Happened::CallBegan { call: screen.clone() });
        self.insert_call(turn, new);

        let by_itself = config.answers_on == AnswersOn::Desk;
        let ring_seconds = if by_itself { CONNECT_SECONDS } else { OWN_RING_SECONDS };
        let until = turn.at.plus_seconds(ring_seconds);
        let leg = self.invite(
            turn,
            call,
            Invitation {
                role: Role::Agent(id.clone()),
                target: config.device.clone(),
                shows: Some(to),
                auto_answer: by_itself,
                ring_seconds,
                attempt: None,
            },
        );
        self.enter(turn, call, SegmentKind::Ringing, |_| Phase::Dialing {
            leg,
            until,
            then: Some(then),
        });
        self.edit_agent(turn, &id, |agent| {
            agent.last_call = Some(LastCall { call, queue: None });
            if !matches!(agent.state, AgentState::WrapUp { .. }) {
                agent.after = After::following(&agent.state);
            }
        });
        self.set_agent(turn, &id, AgentState::Reserved { since: turn.at, call });
        turn.tell(&id, Happened::Dialing { agent: id.clone(), call: screen });
        Ok(Reply::Dialing { call })
    }

    /// The agent is at the phone: now for the number.
    pub(super) fn own_phone_answered(&mut self, turn: &mut Turn, id: CallId, then: Destination) {
        let first = self.calls.get(&id).and_then(|call| call.legs.get(&LegNumber::FIRST));
        let Some(agent) = first.and_then(|leg| leg.role.agent()).cloned() else { return };
        let since = turn.at;
        self.set_agent(turn, &agent, AgentState::Talking { since, call: id });
        turn.tell(&agent, Happened::Delivered { agent: agent.clone(), call: id });
        self.send_to(turn, id, then);
    }
}
