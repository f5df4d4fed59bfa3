//! What happened, for the screens of agents and supervisors.
//!
//! An event says enough to draw the screen without asking back. Nothing in the centre depends
//! on events; who missed some asks for the state.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::AgentState;
use crate::call::{Cause, Direction, Party, RecordingId};
use crate::ids::{AgentId, CallId, Millis, NodeId, QueueId, SessionId};
use crate::record::{CallResult, Side};
use crate::supervision::SupervisionMode;
use crate::timeline::Returned;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Who sees it.
    pub audience: Audience,
    /// What happened.
    pub what: Happened,
}

/// Who sees an event. Supervisors see all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// This agent, and supervisors.
    Agent(AgentId),
    /// Supervisors only.
    Supervisors,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happened {
    /// An agent's state changed.
    AgentChanged {
        /// Whose.
        agent: AgentId,
        /// To what, with since when and why.
        state: AgentState,
    },
    /// A call rings at the agent's desk, or will at the phone: the screen pop.
    Offered {
        /// Who is asked.
        agent: AgentId,
        /// Everything to show.
        call: Box<Screen>,
        /// The phone rings; the desk cannot accept.
        at_phone: bool,
        /// When it goes on to somebody else.
        until: Millis,
    },
    /// The offer is over without a conversation.
    OfferEnded {
        /// Who was asked.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Why.
        why: OfferEnd,
    },
    /// An agent's call is dialled: the own phone first.
    Dialing {
        /// Who dials.
        agent: AgentId,
        /// Everything to show.
        call: Box<Screen>,
    },
    /// The agent's own phone is connected and the called party is being called.
    Delivered {
        /// Who dials.
        agent: AgentId,
        /// The call.
        call: CallId,
    },
    /// The agent talks.
    Established {
        /// Who.
        agent: AgentId,
        /// Everything to show.
        call: Box<Screen>,
        /// The recording that began.
        recording: Option<RecordingId>,
    },
    /// One side holds the other.
    Held {
        /// The agent in the call.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Whether the agent holds, or the other party does.
        by: Side,
    },
    /// The hold is over.
    Retrieved {
        /// The agent in the call.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Whose hold it was.
        by: Side,
    },
    /// The agent asks somebody else; the others wait.
    Consulting {
        /// Who asks.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Whom: the number.
        to: Arc<str>,
    },
    /// Who was asked has answered.
    ConsultationAnswered {
        /// Who asks.
        agent: AgentId,
        /// The call.
        call: CallId,
    },
    /// Nobody is asked any more, and the agent is back in the conversation.
    ConsultationEnded {
        /// Who asked.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Why.
        cause: Cause,
    },
    /// The agent went aside with the one who was asked, or back to the others.
    Alternated {
        /// Who.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// With the one who was asked.
        aside: bool,
    },
    /// Somebody joined the agent's conversation.
    Conferenced {
        /// Who is in it.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// How many there are now.
        parties: u32,
    },
    /// The agent left the call to somebody else.
    Transferred {
        /// Who.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// The number; none: to the one who was asked.
        to: Option<Arc<str>>,
    },
    /// The agent's call is over.
    Cleared {
        /// Who was in it.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Who ended it.
        by: Side,
        /// Why.
        cause: Cause,
        /// Until when the wrap-up lasts, if there is one.
        wrap_up_until: Option<Millis>,
    },
    /// What the agent said about a call was kept.
    Disposed {
        /// Who.
        agent: AgentId,
        /// Which call.
        call: CallId,
        /// The code.
        disposition: Arc<str>,
    },
    /// A session began.
    SignedIn {
        /// Whose.
        agent: AgentId,
        /// Which.
        session: SessionId,
    },
    /// A session ended: its socket is to be closed.
    SessionEnded {
        /// Whose.
        agent: AgentId,
        /// Which.
        session: SessionId,
        /// Why.
        why: SessionEnd,
    },
    /// A call began.
    CallBegan {
        /// Everything to show.
        call: Box<Screen>,
    },
    /// A call entered a queue.
    CallQueued {
        /// The call.
        call: CallId,
        /// The queue.
        queue: QueueId,
        /// Callers who are served before it.
        ahead: u32,
    },
    /// A call has another owner.
    CallTakenOver {
        /// The call.
        call: CallId,
        /// The lost node.
        from: NodeId,
        /// The new owner.
        to: NodeId,
        /// The call's epoch now.
        epoch: u32,
    },
    /// A call is over.
    CallEnded {
        /// The call.
        call: CallId,
        /// What it came to.
        result: CallResult,
        /// Who ended it.
        by: Side,
        /// Why.
        cause: Cause,
    },
    /// A queue changed: for the wallboard.
    QueueChanged {
        /// Which.
        queue: QueueId,
        /// Callers in it.
        waiting: u32,
        /// Since when the first one waits.
        first_since: Option<Millis>,
        /// Agents who could be offered a call.
        ready: u32,
    },
    /// A node came or went.
    NodeChanged {
        /// Which.
        node: NodeId,
        /// Whether it is up.
        up: bool,
    },
    /// A new directory holds.
    Reconfigured {
        /// Its hash.
        hash: u64,
    },
    /// The agent is not heard, or is heard again.
    Muted {
        /// Who.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Whether they are not heard.
        muted: bool,
    },
    /// The recording is interrupted, or goes on.
    RecordingPaused {
        /// Who asked for it.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Whether it is interrupted.
        paused: bool,
    },
    /// The agent left the call in a slot.
    Parked {
        /// Who.
        agent: AgentId,
        /// The call.
        call: CallId,
        /// Where.
        slot: u16,
    },
    /// A supervisor is in another's call, or is heard there otherwise. The other is not told.
    Supervising {
        /// Who supervises.
        agent: AgentId,
        /// Whose conversation.
        of: AgentId,
        /// Everything to show.
        call: Box<Screen>,
        /// Who hears the supervisor.
        mode: SupervisionMode,
    },
    /// A supervisor set the agent's state or ended the session; how it is now is told beside this.
    StateForced {
        /// Whose.
        agent: AgentId,
        /// Who did.
        by: AgentId,
    },
}

/// Everything that a screen shows of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screen {
    /// The call.
    pub call: CallId,
    /// Who began it.
    pub direction: Direction,
    /// Who calls.
    pub caller: Party,
    /// What was dialled.
    pub called: Arc<str>,
    /// The queue, if it came through one.
    pub queue: Option<QueueId>,
    /// What screens call the queue.
    pub queue_label: Option<Arc<str>>,
    /// When it began.
    pub arrived: Millis,
    /// Milliseconds in queues so far.
    pub wait_ms: u64,
    /// What the IVR collected and looked up.
    pub variables: Vec<(String, String)>,
    /// Its priority.
    pub priority: u8,
}

/// Why an offer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OfferEnd {
    /// It came back from the agent and goes on.
    Returned(Returned),
    /// The caller left.
    CallerLeft,
    /// The call ended otherwise.
    CallEnded,
    /// Another agent who was asked at the same time accepted it or sent it on first.
    TakenByAnother,
    /// The agent sent it to another number.
    Deflected,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SessionEnd {
    /// The agent signed out.
    SignedOut,
    /// The agent signed in elsewhere.
    SignedInElsewhere,
    /// The socket was gone for longer than the grace.
    ConnectionLost,
    /// The agent is not configured any more.
    Reconfigured,
    /// A supervisor ended it.
    ForcedOut,
}
