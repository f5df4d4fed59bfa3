//! The words of the API: codes that stand in JSON, with their schemas.
//!
//! Every value of the centre that is a choice has its word here, so that adding one there does
//! not compile until it has a word.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::directory;
use tandem_center::event::{OfferEnd, SessionEnd};
use tandem_center::timeline::Returned;
use tandem_center::{self as center, AgentState, CallResult, Cause, Direction, LegState, Side};

/// Declares a choice with its words, and how it follows from the centre's.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $word:ident,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$of])* $word,)*
        }
    };
}

words!(
    /// What a person may do. Each role may also do what those before it may.
    Role {
        /// Takes and makes calls.
        Agent,
        /// Sees every agent, queue, call and record, and sets the states of agents.
        Supervisor,
        /// Sees and changes the cluster.
        Administrator,
    }
);

words!(
    /// Who began a call.
    CallDirection {
        /// It came in.
        Inbound,
        /// An agent dialled.
        Outbound,
    }
);

words!(
    /// What an agent is free for.
    State {
        /// Not here.
        LoggedOut,
        /// Here, and not offered calls.
        NotReady,
        /// Offered calls.
        Ready,
        /// Bound to a call while the phone is being reached.
        Reserved,
        /// A call rings.
        Ringing,
        /// In a call.
        Talking,
        /// In a call, holding the other party.
        Held,
        /// Finishing the work of the last call.
        WrapUp,
    }
);

words!(
    /// What a call is doing.
    Phase {
        /// It came in, and where it goes is being found out.
        Arriving,
        /// In a flow.
        Ivr,
        /// In a queue.
        Queued,
        /// An agent is asked to take it, without a queue.
        Offered,
        /// Somebody is called.
        Dialing,
        /// Two parties talk.
        Bridged,
        /// One of them asks somebody else.
        Consulting,
        /// Three or more talk.
        Conference,
        /// The caller hears their own voice.
        Echo,
        /// Over.
        Ended,
        /// In a slot, to be picked up.
        Parked,
    }
);

words!(
    /// How far one party of a call is.
    LegPhase {
        /// The caller is not answered.
        Arriving,
        /// The caller is being answered.
        Answering,
        /// Called.
        Dialing,
        /// It rings there.
        Ringing,
        /// In the call.
        Answered,
        /// The caller is being refused.
        Refusing,
        /// Being ended.
        Ending,
        /// Ended.
        Ended,
    }
);

words!(
    /// Whose leg it is.
    LegRole {
        /// The one who called.
        Caller,
        /// An agent's phone.
        Agent,
        /// A number behind a trunk.
        Trunk,
        /// A SIP address.
        Target,
    }
);

words!(
    /// What a call came to.
    Outcome {
        /// Two parties talked.
        Answered,
        /// The caller left before.
        Abandoned,
        /// Not wanted: screening, no such number, a number that refuses.
        Rejected,
        /// The called is busy.
        Busy,
        /// The called did not answer in time.
        NoAnswer,
        /// The flow did all that there was to do.
        IvrCompleted,
        /// The caller waited longer than the queue allows.
        WaitedTooLong,
        /// The queue was full.
        QueueFull,
        /// Something went wrong.
        Failed,
    }
);

words!(
    /// One side of a call.
    Party {
        /// The one who called.
        Caller,
        /// The agent.
        Agent,
        /// The called.
        Called,
        /// The centre.
        System,
    }
);

words!(
    /// Why a leg or a call ended.
    Reason {
        /// A party hung up.
        HungUp,
        /// The caller gave up before the answer.
        Cancelled,
        /// Refused with a SIP status.
        Refused,
        /// No answer in time.
        NoAnswer,
        /// Nothing was heard any more.
        Lost,
        /// The other party left.
        PeerGone,
        /// The offer went elsewhere.
        Withdrawn,
        /// The flow ended it.
        FlowEnded,
        /// Waited too long.
        WaitedTooLong,
        /// What it stood on is not configured any more.
        Reconfigured,
        /// A failure here.
        Failed,
        /// The agent left the call to somebody else.
        Transferred,
    }
);

words!(
    /// Why an offer is over without a conversation.
    OfferEnded {
        /// Not answered in time: the agent is not ready now.
        NoAnswer,
        /// Declined at the desk.
        Declined,
        /// The phone refused.
        PhoneRefused,
        /// The agent signed out or was lost.
        SignedOut,
        /// Not configured any more.
        Reconfigured,
        /// The caller left.
        CallerLeft,
        /// The call ended otherwise.
        CallEnded,
        /// Another agent who was asked at the same time accepted it or sent it on first.
        TakenByAnother,
        /// The agent sent it to another number.
        Deflected,
    }
);

words!(
    /// Why a session ended.
    SessionEnded {
        /// The agent signed out.
        SignedOut,
        /// The agent signed in elsewhere.
        SignedInElsewhere,
        /// The client was gone for longer than the grace.
        ConnectionLost,
        /// The agent is not configured any more.
        Reconfigured,
        /// A supervisor ended it.
        ForcedOut,
    }
);

words!(
    /// Who hears a supervisor, who hears everybody in the agent's conversation.
    SupervisionMode {
        /// Nobody.
        Listen,
        /// The agent only.
        Whisper,
        /// Everybody.
        Barge,
    }
);

impl From<center::SupervisionMode> for SupervisionMode {
    fn from(mode: center::SupervisionMode) -> Self {
        match mode {
            center::SupervisionMode::Listen => Self::Listen,
            center::SupervisionMode::Whisper => Self::Whisper,
            center::SupervisionMode::Barge => Self::Barge,
        }
    }
}

impl From<SupervisionMode> for center::SupervisionMode {
    fn from(mode: SupervisionMode) -> Self {
        match mode {
            SupervisionMode::Listen => Self::Listen,
            SupervisionMode::Whisper => Self::Whisper,
            SupervisionMode::Barge => Self::Barge,
        }
    }
}

impl From<directory::Role> for Role {
    fn from(role: directory::Role) -> Self {
        match role {
            directory::Role::Agent => Self::Agent,
            directory::Role::Supervisor => Self::Supervisor,
            directory::Role::Administrator => Self::Administrator,
        }
    }
}

impl From<Direction> for CallDirection {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Inbound => Self::Inbound,
            Direction::Outbound => Self::Outbound,
        }
    }
}

impl From<&AgentState> for State {
    fn from(state: &AgentState) -> Self {
        match state {
            AgentState::LoggedOut { .. } => Self::LoggedOut,
            AgentState::NotReady { .. } => Self::NotReady,
            AgentState::Ready { .. } => Self::Ready,
            AgentState::Reserved { .. } => Self::Reserved,
            AgentState::Ringing { .. } => Self::Ringing,
            AgentState::Talking { .. } => Self::Talking,
            AgentState::Held { .. } => Self::Held,
            AgentState::WrapUp { .. } => Self::WrapUp,
        }
    }
}

impl From<&center::Phase> for Phase {
    fn from(phase: &center::Phase) -> Self {
        match phase {
            center::Phase::Arriving => Self::Arriving,
            center::Phase::Ivr { .. } => Self::Ivr,
            center::Phase::Queued { .. } => Self::Queued,
            center::Phase::Direct { .. } => Self::Offered,
            center::Phase::Dialing { .. } => Self::Dialing,
            center::Phase::Bridged { consultation: Some(_), .. } => Self::Consulting,
            center::Phase::Bridged { parties, .. } if parties.len() > 2 => Self::Conference,
            center::Phase::Bridged { .. } => Self::Bridged,
            center::Phase::Parked { .. } => Self::Parked,
            center::Phase::Echo => Self::Echo,
            center::Phase::Ended { .. } => Self::Ended,
        }
    }
}

impl From<LegState> for LegPhase {
    fn from(state: LegState) -> Self {
        match state {
            LegState::Arriving => Self::Arriving,
            LegState::Answering => Self::Answering,
            LegState::Dialing => Self::Dialing,
            LegState::Ringing => Self::Ringing,
            LegState::Answered { .. } => Self::Answered,
            LegState::Refusing { .. } => Self::Refusing,
            LegState::Ending { .. } => Self::Ending,
            LegState::Ended { .. } => Self::Ended,
        }
    }
}

impl From<&center::Role> for LegRole {
    fn from(role: &center::Role) -> Self {
        match role {
            center::Role::Caller => Self::Caller,
            center::Role::Agent(_) => Self::Agent,
            center::Role::Trunk(_) => Self::Trunk,
            center::Role::Target => Self::Target,
        }
    }
}

impl From<CallResult> for Outcome {
    fn from(result: CallResult) -> Self {
        match result {
            CallResult::Answered => Self::Answered,
            CallResult::Abandoned => Self::Abandoned,
            CallResult::Rejected => Self::Rejected,
            CallResult::Busy => Self::Busy,
            CallResult::NoAnswer => Self::NoAnswer,
            CallResult::IvrCompleted => Self::IvrCompleted,
            CallResult::WaitedTooLong => Self::WaitedTooLong,
            CallResult::QueueFull => Self::QueueFull,
            CallResult::Failed => Self::Failed,
        }
    }
}

impl From<Outcome> for CallResult {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answered => Self::Answered,
            Outcome::Abandoned => Self::Abandoned,
            Outcome::Rejected => Self::Rejected,
            Outcome::Busy => Self::Busy,
            Outcome::NoAnswer => Self::NoAnswer,
            Outcome::IvrCompleted => Self::IvrCompleted,
            Outcome::WaitedTooLong => Self::WaitedTooLong,
            Outcome::QueueFull => Self::QueueFull,
            Outcome::Failed => Self::Failed,
        }
    }
}

impl From<Side> for Party {
    fn from(side: Side) -> Self {
        match side {
            Side::Caller => Self::Caller,
            Side::Agent => Self::Agent,
            Side::Called => Self::Called,
            Side::System => Self::System,
        }
    }
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::HungUp => Self::HungUp,
            Cause::Cancelled => Self::Cancelled,
            Cause::Refused { .. } => Self::Refused,
            Cause::NoAnswer => Self::NoAnswer,
            Cause::Lost => Self::Lost,
            Cause::PeerGone => Self::PeerGone,
            Cause::Withdrawn => Self::Withdrawn,
            Cause::FlowEnded => Self::FlowEnded,
            Cause::WaitedTooLong => Self::WaitedTooLong,
            Cause::Reconfigured => Self::Reconfigured,
            Cause::Failed => Self::Failed,
            Cause::Transferred => Self::Transferred,
        }
    }
}

impl From<OfferEnd> for OfferEnded {
    fn from(end: OfferEnd) -> Self {
        match end {
            OfferEnd::Returned(Returned::NoAnswer) => Self::NoAnswer,
            OfferEnd::Returned(Returned::Declined) => Self::Declined,
            OfferEnd::Returned(Returned::Refused { .. }) => Self::PhoneRefused,
            OfferEnd::Returned(Returned::SignedOut) => Self::SignedOut,
            OfferEnd::Returned(Returned::Reconfigured) => Self::Reconfigured,
            OfferEnd::CallerLeft => Self::CallerLeft,
            OfferEnd::TakenByAnother => Self::TakenByAnother,
            OfferEnd::CallEnded => Self::CallEnded,
            OfferEnd::Deflected => Self::Deflected,
        }
    }
}

impl From<SessionEnd> for SessionEnded {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::SignedOut => Self::SignedOut,
            SessionEnd::SignedInElsewhere => Self::SignedInElsewhere,
            SessionEnd::ConnectionLost => Self::ConnectionLost,
            SessionEnd::Reconfigured => Self::Reconfigured,
            SessionEnd::ForcedOut => Self::ForcedOut,
        }
    }
}

/// The word as it stands in JSON.
#[must_use]
pub fn word(of: &impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
