//! Events as clients of the WebSocket see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::{Event, Happened};

use super::view::{ScreenPop, StateChange};
use super::words::{OfferEnded, Outcome, Party, Reason, SessionEnded, SupervisionMode};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventView {
    /// An agent's state changed.
    AgentState {
        /// Whose.
        agent: String,
        /// To what.
        #[serde(flatten)]
        change: StateChange,
    },
    /// A call rings at an agent: the screen pop.
    Offered {
        /// Who is asked.
        agent: String,
        /// What to show.
        call: ScreenPop,
        /// The phone rings: lifting it accepts, the desk cannot.
        at_phone: bool,
        /// When it goes on to somebody else.
        until: u64,
    },
    /// The offer is over without a conversation.
    OfferEnded {
        /// Who was asked.
        agent: String,
        /// The call.
        call: String,
        /// Why.
        why: OfferEnded,
    },
    /// An agent dials: the own phone is called first.
    Dialing {
        /// Who.
        agent: String,
        /// What to show.
        call: ScreenPop,
    },
    /// The agent's own phone is connected, and the other party is being called.
    Delivered {
        /// Who dials.
        agent: String,
        /// The call.
        call: String,
    },
    /// An agent talks.
    Established {
        /// Who.
        agent: String,
        /// What to show.
        call: ScreenPop,
        /// The recording that began.
        #[serde(skip_serializing_if = "Option::is_none")]
        recording: Option<String>,
    },
    /// One side holds the other.
    Held {
        /// The agent in the call.
        agent: String,
        /// The call.
        call: String,
        /// Who holds.
        by: Party,
    },
    /// The hold is over.
    Retrieved {
        /// The agent in the call.
        agent: String,
        /// The call.
        call: String,
        /// Whose hold it was.
        by: Party,
    },
    /// An agent asks somebody else, and the others wait.
    Consulting {
        /// Who asks.
        agent: String,
        /// The call.
        call: String,
        /// Whom.
        to: String,
    },
    /// Who was asked has answered.
    ConsultationAnswered {
        /// Who asks.
        agent: String,
        /// The call.
        call: String,
    },
    /// Nobody is asked any more, and the agent is back in the conversation.
    ConsultationEnded {
        /// Who asked.
        agent: String,
        /// The call.
        call: String,
        /// Why.
        cause: Reason,
    },
    /// An agent went aside with the one who was asked, or back to the others.
    Alternated {
        /// Who.
        agent: String,
        /// The call.
        call: String,
        /// With the one who was asked.
        aside: bool,
    },
    /// Somebody joined the conversation.
    Conferenced {
        /// An agent who is in it.
        agent: String,
        /// The call.
        call: String,
        /// How many are in it now.
        parties: u32,
    },
    /// An agent left the call to somebody else.
    Transferred {
        /// Who.
        agent: String,
        /// The call.
        call: String,
        /// The number; without it: to the one who was asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// An agent's call is over.
    Cleared {
        /// Who was in it.
        agent: String,
        /// The call.
        call: String,
        /// Who ended it.
        by: Party,
        /// Why.
        cause: Reason,
        /// Until when the wrap-up lasts.
        #[serde(skip_serializing_if = "Option::is_none")]
        wrap_up_until: Option<u64>,
    },
    /// What an agent said about a call was kept.
    Disposed {
        /// Who.
        agent: String,
        /// Which call.
        call: String,
        /// The code.
        disposition: String,
    },
    /// An agent signed in at a desk.
    SignedIn {
        /// Who.
        agent: String,
    },
    /// A session ended.
    SessionEnded {
        /// Whose.
        agent: String,
        /// Why.
        why: SessionEnded,
    },
    /// A call began.
    CallBegan {
        /// What to show.
        call: ScreenPop,
    },
    /// A call entered a queue.
    CallQueued {
        /// The call.
        call: String,
        /// The queue.
        queue: String,
        /// Callers who are served before it.
        ahead: u32,
    },
    /// Another node drives the call.
    CallTakenOver {
        /// The call.
        call: String,
        /// The node that was lost.
        from: u64,
        /// The node that drives it now.
        to: u64,
    },
    /// A call is over.
    CallEnded {
        /// The call.
        call: String,
        /// What it came to.
        outcome: Outcome,
        /// Who ended it.
        by: Party,
        /// Why.
        cause: Reason,
    },
    /// A queue changed.
    QueueChanged {
        /// Which.
        queue: String,
        /// Callers in it.
        waiting: u32,
        /// Since when the first of them waits.
        #[serde(skip_serializing_if = "Option::is_none")]
        first_since: Option<u64>,
        /// Agents whom it could offer a call.
        ready: u32,
    },
    /// A node came or went.
    NodeChanged {
        /// Which.
        node: u64,
        /// Whether it is up.
        up: bool,
    },
    /// Another configuration holds.
    Reconfigured,
    /// A supervisor is in another's call, or is heard there in another way. The other is not told.
    Supervising {
        /// Who supervises.
        agent: String,
        /// Whose conversation.
        of: String,
        /// What to show.
        call: ScreenPop,
        /// Who hears the supervisor.
        mode: SupervisionMode,
    },
    /// An agent is not heard, or is heard again.
    Muted {
        /// Who.
        agent: String,
        /// The call.
        call: String,
        /// Whether they are not heard.
        muted: bool,
    },
    /// A recording is interrupted, or goes on.
    RecordingPaused {
        /// Who asked for it.
        agent: String,
        /// The call.
        call: String,
        /// Whether it is interrupted.
        paused: bool,
    },
    /// An agent left a call in a slot.
    Parked {
        /// Who.
        agent: String,
        /// The call.
        call: String,
        /// Where.
        slot: u16,
    },
    /// A supervisor set an agent's state, or ended the session.
    StateForced {
        /// Whose.
        agent: String,
        /// Who did.
        by: String,
    },
}

impl EventView {
    /// What is shown of an event.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one arm for each event, each straight")]
    pub fn of(event: &Event) -> Self {
        match &event.what {
            Happened::AgentChanged { agent, state } => {
                Self::AgentState { agent: agent.to_string(), change: StateChange::of(state) }
            }
            Happened::Offered { agent, call, at_phone, until } => Self::Offered {
                agent: agent.to_string(),
                call: ScreenPop::of(call),
                at_phone: *at_phone,
                until: until.0,
            },
            Happened::OfferEnded { agent, call, why } => Self::OfferEnded {
                agent: agent.to_string(),
                call: call.to_string(),
                why: (*why).into(),
            },
            Happened::Dialing { agent, call } => {
                Self::Dialing { agent: agent.to_string(), call: ScreenPop::of(call) }
            }
            Happened::Delivered { agent, call } => {
                Self::Delivered { agent: agent.to_string(), call: call.to_string() }
            }
            Happened::Established { agent, call, recording } => Self::Established {
                agent: agent.to_string(),
                call: ScreenPop::of(call),
                recording: recording.as_ref().map(ToString::to_string),
            },
            Happened::Held { agent, call, by } => {
                Self::Held { agent: agent.to_string(), call: call.to_string(), by: (*by).into() }
            }
            Happened::Retrieved { agent, call, by } => Self::Retrieved {
                agent: agent.to_string(),
                call: call.to_string(),
                by: (*by).into(),
            },
            Happened::Consulting { agent, call, to } => Self::Consulting {
                agent: agent.to_string(),
                call: call.to_string(),
                to: to.to_string(),
            },
            Happened::ConsultationAnswered { agent, call } => {
                Self::ConsultationAnswered { agent: agent.to_string(), call: call.to_string() }
            }
            Happened::ConsultationEnded { agent, call, cause } => Self::ConsultationEnded {
                agent: agent.to_string(),
                call: call.to_string(),
                cause: (*cause).into(),
            },
            Happened::Alternated { agent, call, aside } => {
                Self::Alternated { agent: agent.to_string(), call: call.to_string(), aside: *aside }
            }
            Happened::Conferenced { agent, call, parties } => Self::Conferenced {
                agent: agent.to_string(),
                call: call.to_string(),
                parties: *parties,
            },
            Happened::Transferred { agent, call, to } => Self::Transferred {
                agent: agent.to_string(),
                call: call.to_string(),
                to: to.as_deref().map(str::to_owned),
            },
            Happened::Cleared { agent, call, by, cause, wrap_up_until } => Self::Cleared {
                agent: agent.to_string(),
                call: call.to_string(),
                by: (*by).into(),
                cause: (*cause).into(),
                wrap_up_until: wrap_up_until.map(|until| until.0),
            },
            Happened::Disposed { agent, call, disposition } => Self::Disposed {
                agent: agent.to_string(),
                call: call.to_string(),
                disposition: disposition.to_string(),
            },
            Happened::SignedIn { agent, .. } => Self::SignedIn { agent: agent.to_string() },
            Happened::SessionEnded { agent, why, .. } => {
                Self::SessionEnded { agent: agent.to_string(), why: (*why).into() }
            }
            Happened::CallBegan { call } => Self::CallBegan { call: ScreenPop::of(call) },
            Happened::CallQueued { call, queue, ahead } => {
                Self::CallQueued { call: call.to_string(), queue: queue.to_string(), ahead: *ahead }
            }
            Happened::CallTakenOver { call, from, to, .. } => {
                Self::CallTakenOver { call: call.to_string(), from: from.0, to: to.0 }
            }
            Happened::CallEnded { call, result, by, cause } => Self::CallEnded {
                call: call.to_string(),
                outcome: (*result).into(),
                by: (*by).into(),
                cause: (*cause).into(),
            },
            Happened::QueueChanged { queue, waiting, first_since, ready } => Self::QueueChanged {
                queue: queue.to_string(),
                waiting: *waiting,
                first_since: first_since.map(|since| since.0),
                ready: *ready,
            },
            Happened::NodeChanged { node, up } => Self::NodeChanged { node: node.0, up: *up },
            Happened::Reconfigured { .. } => Self::Reconfigured,
            Happened::Supervising { agent, of, call, mode } => Self::Supervising {
                agent: agent.to_string(),
                of: of.to_string(),
                call: ScreenPop::of(call),
                mode: (*mode).into(),
            },
            Happened::Muted { agent, call, muted } => {
                Self::Muted { agent: agent.to_string(), call: call.to_string(), muted: *muted }
            }
            Happened::RecordingPaused { agent, call, paused } => Self::RecordingPaused {
                agent: agent.to_string(),
                call: call.to_string(),
                paused: *paused,
            },
            Happened::Parked { agent, call, slot } => {
                Self::Parked { agent: agent.to_string(), call: call.to_string(), slot: *slot }
            }
            Happened::StateForced { agent, by } => {
                Self::StateForced { agent: agent.to_string(), by: by.to_string() }
            }
        }
    }
}
