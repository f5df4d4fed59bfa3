//! Agents and their sessions: who is there, and free for what.
//!
//! An agent's state follows from commands, from the calls that hold them, and from the lease of
//! their session; nobody sets "talking". The desk's socket and the phone belong to the node.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CallId, CommandId, Index, Millis, NodeId, QueueId, SessionId};
use crate::outcome::Reply;

/// Results of commands that are remembered for each agent. Full: the oldest is forgotten, and a
/// repetition of that old command would be done again.
pub const RESULTS_MAX: usize = 64;

/// Bytes of a reason code, disposition or note. Longer ones are refused.
pub const WORDS_BYTES_MAX: usize = 1024;

/// How long an agent who is ready without a session is left alone after an offer came back, in
/// seconds: nobody is there to say "ready" again, and a phone that is broken should not be tried
/// at full speed.
pub const ALWAYS_READY_PAUSE_SECONDS: u32 = 5;

/// Why an agent is not ready when the centre decided it.
pub mod reasons {
    /// Just signed in.
    pub const SIGNED_IN: &str = "signed in";
    /// Did not answer an offered call.
    pub const NO_ANSWER: &str = "no answer";
    /// Declined an offered call.
    pub const DECLINED: &str = "declined";
    /// The phone refused or could not be reached.
    pub const PHONE_FAILED: &str = "phone failed";
    /// Signed out.
    pub const SIGNED_OUT: &str = "signed out";
    /// The desk was gone for longer than the grace.
    pub const CONNECTION_LOST: &str = "connection lost";
    /// A supervisor ended the session.
    pub const FORCED_OUT: &str = "signed out by a supervisor";
    /// Never signed in since the agent was configured.
    pub const NEVER_SIGNED_IN: &str = "never signed in";
}

/// One agent, as configured and seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The name in the directory.
    pub id: AgentId,
    /// Free for what.
    pub state: AgentState,
    /// When the present state began. A `Ready` that an offer interrupted says since when it counts.
    pub entered: Millis,
    /// What follows when the present call and its wrap-up are over.
    pub after: After,
    /// The session, if signed in.
    pub session: Option<SessionId>,
    /// The call that was last with this agent, for its disposition.
    pub last_call: Option<LastCall>,
    /// Since when idleness counts: the last time of becoming ready. An offer that ends because
    /// the caller left does not change it.
    pub idle_since: Millis,
    /// Calls taken since the agent was configured.
    pub calls: u32,
    /// What strategies compare, counted since the agent signed in.
    pub shift: Shift,
}

/// What an agent did since signing in; one who needs no desk, since being configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// Conversations that began.
    pub calls: u32,
    /// Milliseconds in conversations that are over, holds among them.
    pub talk_ms: u64,
    /// When the present conversation began. Who dials or supervises is in none.
    pub talks_since: Option<Millis>,
    /// What unanswered offers put on top of the penalties in queues.
    pub penalty: u8,
}

impl Shift {
    /// Counts the conversation until now, if there is one.
    pub(crate) fn ends_talk(&mut self, at: Millis) {
        let since = self.talks_since.take();
        self.talk_ms += since.map_or(0, |since| at.since_ms(since));
    }
}

/// Free for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentState {
    /// Not here.
    LoggedOut { since: Millis, reason: Arc<str> },
    /// Here, and not to be offered calls. `until`: ready again by then without being asked.
    NotReady { since: Millis, reason: Arc<str>, until: Option<Millis> },
    /// To be offered calls.
    Ready { since: Millis },
    /// Bound to a call while nothing rings at the agent: the phone is being reached.
    Reserved { since: Millis, call: CallId },
    /// A call rings at the desk or at the phone.
    Ringing { since: Millis, call: CallId },
    /// In a call.
    Talking { since: Millis, call: CallId },
    /// In a call, holding the other party.
    Held { since: Millis, call: CallId },
    /// Finishing the work of the last call.
    WrapUp { since: Millis, until: Millis, call: CallId },
}

/// What follows a call and its wrap-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum After {
    /// Ready.
    Ready,
    /// Not ready, with this reason.
    NotReady { reason: Arc<str> },
}

/// The call that was last with an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCall {
    /// Which one.
    pub call: CallId,
    /// Its queue, whose dispositions apply.
    pub queue: Option<QueueId>,
}

/// A desk that an agent is signed in at. A lease: its node says when the socket is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, chosen by the node where it began.
    pub id: SessionId,
    /// Whose.
    pub agent: AgentId,
    /// The node that holds the socket, or held it last.
    pub node: NodeId,
    /// When it began.
    pub since: Millis,
    /// Whether the socket is there.
    pub link: Link,
}

/// Whether a session's socket is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// It is.
    Live,
    /// It is not; the agent is logged out at `until` unless it comes back.
    Lost { since: Millis, until: Millis },
}

/// The results of an agent's last commands, by the ids that the client gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// How many were ever remembered; its remainder by [`RESULTS_MAX`] is the next one's slot.
    pub(crate) count: u64,
    pub(crate) latest: VecDeque<Remembered>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) command: CommandId,
    /// The commit that did it.
    pub(crate) index: Index,
    pub(crate) reply: Reply,
}

impl AgentState {
    /// The word on screens and in errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LoggedOut { .. } => "logged out",
            Self::NotReady { .. } => "not ready",
            Self::Ready { .. } => "ready",
            Self::Reserved { .. } => "reserved",
            Self::Ringing { .. } => "ringing",
            Self::Talking { .. } => "talking",
            Self::Held { .. } => "held",
            Self::WrapUp { .. } => "in wrap-up",
        }
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Millis {
        match self {
            Self::LoggedOut { since, .. }
            | Self::NotReady { since, .. }
            | Self::Ready { since }
            | Self::Reserved { since, .. }
            | Self::Ringing { since, .. }
            | Self::Talking { since, .. }
            | Self::Held { since, .. }
            | Self::WrapUp { since, .. } => *since,
        }
    }

    /// The call that holds the agent now. The call of a wrap-up does not.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        match self {
            Self::Reserved { call, .. }
            | Self::Ringing { call, .. }
            | Self::Talking { call, .. }
            | Self::Held { call, .. } => Some(*call),
            Self::LoggedOut { .. }
            | Self::NotReady { .. }
            | Self::Ready { .. }
            | Self::WrapUp { .. } => None,
        }
    }
}

impl Agent {
    /// An agent who was just configured.
    #[must_use]
    pub fn new(id: AgentId, at: Millis, always_ready: bool) -> Self {
        let state = if always_ready {
            AgentState::Ready { since: at }
        } else {
            AgentState::LoggedOut { since: at, reason: reasons::NEVER_SIGNED_IN.into() }
        };
        Self {
            id,
            state,
            entered: at,
            after: After::Ready,
            session: None,
            last_call: None,
            idle_since: at,
            calls: 0,
            shift: Shift::default(),
        }
    }

    /// Here, whatever they are free for; one who needs no desk always is.
    #[must_use]
    pub fn is_signed_in(&self) -> bool {
        !matches!(self.state, AgentState::LoggedOut { .. })
    }

    /// The next time at which something happens to this agent by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        match &self.state {
            AgentState::NotReady { until, .. } => *until,
            AgentState::WrapUp { until, .. } => Some(*until),
            AgentState::LoggedOut { .. }
            | AgentState::Ready { .. }
            | AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. } => None,
        }
    }
}

impl Session {
    /// When the session ends by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        match self.link {
            Link::Live => None,
            Link::Lost { until, .. } => Some(until),
        }
    }
}

impl Results {
    /// The first result of the command, if it is remembered.
    #[must_use]
    pub fn get(&self, id: &CommandId) -> Option<&Reply> {
        self.latest.iter().rev().find(|known| known.command == *id).map(|known| &known.reply)
    }

    /// Whether the command may have been done and its result forgotten: since it came to its node,
    /// as many others were done as are remembered.
    #[must_use]
    pub(crate) fn may_have_forgotten(&self, id: &CommandId) -> bool {
        self.latest.len() == RESULTS_MAX
            && self.latest.front().is_some_and(|oldest| id.seen() < oldest.index)
    }

    /// The slot in which the store keeps the result with this number.
    pub(crate) fn slot(number: u64) -> u8 {
        (number % RESULTS_MAX as u64) as u8
    }

    /// The remembered results with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u64, &Remembered)> {
        (self.first()..).zip(&self.latest)
    }

    /// The slots that are taken.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u8> + use<> {
        (self.first()..self.count).map(Self::slot)
    }

    fn first(&self) -> u64 {
        self.count - self.latest.len() as u64
    }

    /// The results that the store kept, by their numbers.
    pub(crate) fn of_numbered(stored: BTreeMap<u64, Remembered>) -> Self {
        let count = stored.last_key_value().map_or(0, |(number, _)| number + 1);
        Self { count, latest: stored.into_values().collect() }
    }

    /// Remembers a result; answers the slot that it took.
    pub(crate) fn remember(&mut self, result: Remembered) -> u8 {
        if self.latest.len() == RESULTS_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(result);
        self.count += 1;
        Self::slot(self.count - 1)
    }
}
