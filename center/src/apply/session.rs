//! Agents sign in and out, their desks come and go, and they say what they are free for.

use std::sync::Arc;

use super::{Turn, at_most};
use crate::agent::{After, Link, Shift, WORDS_BYTES_MAX, reasons};
use crate::command::WantedState;
use crate::directory::SESSION_GRACE_SECONDS_DEFAULT;
use crate::event::{Happened, SessionEnd};
use crate::timeline::Returned;
use crate::{
    Agent, AgentId, AgentState, CallId, Center, NodeId, Rejected, Reply, Session, SessionId,
};

impl Center {
    pub(super) fn agent_of(&self, id: &AgentId) -> Result<&Arc<Agent>, Rejected> {
        self.agents.get(id).ok_or_else(|| Rejected::NoSuchAgent { agent: id.clone() })
    }

    pub(super) fn sign_in(
        &mut self,
        turn: &mut Turn,
        id: &AgentId,
        session: SessionId,
        node: NodeId,
    ) -> Result<Reply, Rejected> {
        let agent = Arc::clone(self.agent_of(id)?);
        if self.config_of(id).is_none() {
            return Err(Rejected::NoSuchAgent { agent: id.clone() });
        }
        match self.sessions.get(&session) {
            Some(known) if known.agent == *id => return Ok(Reply::SignedIn { session }),
            Some(_) => return Err(Rejected::NotYourSession { session, agent: id.clone() }),
            None => {}
        }
        if let Some(previous) = agent.session {
            self.end_session(turn, previous, SessionEnd::SignedInElsewhere);
        }
        let since = turn.at;
        self.edit_agent(turn, id, |agent| agent.session = Some(session));
        let new = Session { id: session, agent: id.clone(), node, since, link: Link::Live };
        self.insert_session(turn, new);
        turn.tell(id, Happened::SignedIn { agent: id.clone(), session });
        if matches!(agent.state, AgentState::LoggedOut { .. }) {
            self.edit_agent(turn, id, |agent| agent.shift = Shift::default());
            let reason = reasons::SIGNED_IN.into();
            self.set_agent(turn, id, AgentState::NotReady { since, reason, until: None });
        }
        Ok(Reply::SignedIn { session })
    }

    pub(super) fn sign_out(
        &mut self,
        turn: &mut Turn,
        id: &AgentId,
        session: SessionId,
    ) -> Result<Reply, Rejected> {
        let agent = Arc::clone(self.agent_of(id)?);
        match self.sessions.get(&session) {
            None => return Ok(Reply::Already),
            Some(known) if known.agent != *id => {
                return Err(Rejected::NotYourSession { session, agent: id.clone() });
            }
            Some(_) => {}
        }
        if agent.state.call().is_some() && self.offer_of(&agent).is_none() {
            let (is, needs) = (agent.state.name(), "no call");
            return Err(Rejected::WrongState { agent: id.clone(), is, needs });
        }
        self.log_out(turn, session, SessionEnd::SignedOut, reasons::SIGNED_OUT);
        Ok(Reply::Done)
    }

    /// The call that the agent is asked to take.
    pub(super) fn offer_of(&self, agent: &Agent) -> Option<CallId> {
        let call = self.calls.get(&agent.state.call()?)?;
        call.offer_to(&agent.id).map(|_| call.id)
    }

    /// Ends a session. Its agent goes with it unless a conversation holds them: that goes on at
    /// the phone, and the agent is logged out when it ends.
    pub(super) fn log_out(
        &mut self,
        turn: &mut Turn,
        session: SessionId,
        why: SessionEnd,
        reason: &str,
    ) {
        let Some(id) = self.sessions.get(&session).map(|session| session.agent.clone()) else {
            return;
        };
        self.end_session(turn, session, why);
        self.edit_agent(turn, &id, |agent| agent.session = None);
        let Some(agent) = self.agents.get(&id).cloned() else { return };
        if let Some(call) = self.offer_of(&agent) {
            self.return_offer(turn, call, &id, Returned::SignedOut);
        }
        let Some(agent) = self.agents.get(&id).cloned() else { return };
        let is_always_ready = self.config_of(&id).is_some_and(|config| config.always_ready);
        if agent.state.call().is_some() {
            return;
        }
        let since = turn.at;
        if is_always_ready {
            self.edit_agent(turn, &id, |agent| agent.after = After::Ready);
            self.become_ready(turn, &id);
        } else {
            let state = AgentState::LoggedOut { since, reason: reason.into() };
            self.set_agent(turn, &id, state);
        }
    }

    pub(super) fn end_session(&mut self, turn: &mut Turn, session: SessionId, why: SessionEnd) {
        if let Some(Session { agent, .. }) = self.remove_session(turn, session) {
            turn.tell(&agent, Happened::SessionEnded { agent: agent.clone(), session, why });
        }
    }

    pub(super) fn session_lost(&mut self, turn: &mut Turn, id: SessionId, node: NodeId) -> Reply {
        match self.sessions.get(&id) {
            Some(session) if session.node == node && session.link == Link::Live => {
                self.lose_session(turn, id);
                Reply::Done
            }
            Some(_) | None => Reply::Already,
        }
    }

    /// The grace of a session begins.
    pub(super) fn lose_session(&mut self, turn: &mut Turn, id: SessionId) {
        let Some(session) = self.sessions.get(&id).cloned() else { return };
        let grace = match self.directory.session_grace_seconds {
            0 => SESSION_GRACE_SECONDS_DEFAULT,
            seconds => seconds,
        };
        let link = Link::Lost { since: turn.at, until: turn.at.plus_seconds(grace) };
        self.insert_session(turn, Session { link, ..session });
    }

    pub(super) fn session_back(
        &mut self,
        turn: &mut Turn,
        id: SessionId,
        node: NodeId,
    ) -> Result<Reply, Rejected> {
        let session = self.sessions.get(&id).ok_or(Rejected::NoSuchSession { session: id })?;
        if session.link == Link::Live && session.node == node {
            return Ok(Reply::Already);
        }
        let session = Session { link: Link::Live, node, ..session.clone() };
        self.insert_session(turn, session);
        Ok(Reply::Done)
    }

    pub(super) fn set_state(
        &mut self,
        turn: &mut Turn,
        id: &AgentId,
        wanted: WantedState,
    ) -> Result<Reply, Rejected> {
        let agent = Arc::clone(self.agent_of(id)?);
        if let WantedState::NotReady { reason } = &wanted {
            at_most("reason", reason.len(), WORDS_BYTES_MAX)?;
            let reasons = &self.directory.reasons;
            if !reasons.is_empty() && !reasons.contains_key(reason) {
                return Err(Rejected::NoSuchReason { reason: reason.clone() });
            }
        }
        let after = match &wanted {
            WantedState::Ready => After::Ready,
            WantedState::NotReady { reason } => After::NotReady { reason: reason.clone() },
        };
        match &agent.state {
            AgentState::LoggedOut { .. } => Err(Rejected::WrongState {
                agent: id.clone(),
                is: agent.state.name(),
                needs: "a session",
            }),
            AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. } => {
                self.edit_agent(turn, id, |agent| agent.after = after);
                Ok(Reply::Afterwards)
            }
            AgentState::NotReady { .. } | AgentState::Ready { .. } | AgentState::WrapUp { .. } => {
                if agent.state.is(&wanted) {
                    return Ok(Reply::Already);
                }
                self.edit_agent(turn, id, |agent| agent.after = after);
                self.become_ready(turn, id);
                Ok(Reply::Done)
            }
        }
    }

    /// What the agent wished for, and idleness counts from now.
    pub(super) fn become_ready(&mut self, turn: &mut Turn, id: &AgentId) {
        let at = turn.at;
        self.edit_agent(turn, id, |agent| agent.idle_since = at);
        self.go_after(turn, id);
    }

    pub(super) fn end_wrap_up(&mut self, turn: &mut Turn, id: &AgentId) -> Result<Reply, Rejected> {
        let agent = self.agent_of(id)?;
        if !matches!(agent.state, AgentState::WrapUp { .. }) {
            let (is, needs) = (agent.state.name(), "wrap-up");
            return Err(Rejected::WrongState { agent: id.clone(), is, needs });
        }
        self.become_ready(turn, id);
        Ok(Reply::Done)
    }
}

impl AgentState {
    /// Whether it is already what is wanted.
    fn is(&self, wanted: &WantedState) -> bool {
        match (self, wanted) {
            (Self::Ready { .. }, WantedState::Ready) => true,
            (
                Self::NotReady { reason, until: None, .. },
                WantedState::NotReady { reason: wanted },
            ) => reason == wanted,
            (
                Self::LoggedOut { .. }
                | Self::NotReady { .. }
                | Self::Ready { .. }
                | Self::Reserved { .. }
                | Self::Ringing { .. }
                | Self::Talking { .. }
                | Self::Held { .. }
                | Self::WrapUp { .. },
                WantedState::Ready | WantedState::NotReady { .. },
            ) => false,
        }
    }
}
