//! A call: its legs, the phase that it is in, and what it has been through.
//!
//! A value of the replicated state. The node that owns it compares what it wants
//! ([`Call::wants`]) with what is, and closes the difference; it never changes the value but by
//! a command. The centre decides with whom a leg talks; how that is done on the wire is the
//! node's business ([`Leg::wire`] is opaque here).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::flow::{Action, FlowName, FlowVersion, Position, Variables};
use crate::ids::{AgentId, CallId, Index, LegNumber, Millis, NodeId, QueueId};
use crate::record::{CallResult, Segment, Side};
use crate::timeline::Timeline;

/// Legs of one call that are alive or being ended. Full: the oldest leg that is being ended is
/// forgotten, which asks the node to end it too (see [`crate::Wants`]).
pub const LEGS_MAX: usize = 16;

/// Bytes of the node's encoding of one leg. A command with more is refused: it would be a
/// dialog with hundreds of routes.
pub const WIRE_BYTES_MAX: usize = 32 << 10;

/// Bytes of a number, name or URI in a call. A command with more is refused.
pub const TEXT_BYTES_MAX: usize = 512;

/// One call, from its first INVITE to the record of its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its id, for ever.
    pub id: CallId,
    /// The node whose actor drives it.
    pub owner: NodeId,
    /// Rises with every change of owner. A node that finds a higher one than its own forgets the
    /// call silently.
    pub epoch: u32,
    /// What the identifiers of our own legs are derived from, with the call's id and the leg's
    /// number. Random, given by the node that proposed the call.
    pub salt: u64,
    /// Who began it.
    pub direction: Direction,
    /// Who calls: the far party of an inbound call, the agent of an outbound one.
    pub caller: Party,
    /// What was dialled.
    pub called: Arc<str>,
    /// When it began.
    pub arrived: Millis,
    /// When the caller was answered (inbound), or the called answered (outbound).
    pub answered: Option<Millis>,
    /// The node has an answer (SDP) ready, so the centre may answer leg 0 in a commit of its own.
    pub answer_ready: bool,
    /// What it is doing.
    pub phase: Phase,
    /// Its legs by number. A leg that ended and whose call lives on is not kept.
    pub legs: BTreeMap<LegNumber, Leg>,
    /// The number that the next leg receives. Numbers are never used again.
    pub next_leg: u16,
    /// The number that the next IVR action receives. Never used again.
    pub next_act: u32,
    /// What the IVR collected and looked up. Bounded by the flow's module.
    pub variables: Variables,
    /// Served first when higher.
    pub priority: u8,
    /// The flow that it went through last, by name.
    pub flow: Option<Arc<str>>,
    /// The queue that it was in last.
    pub queue: Option<QueueId>,
    /// The agent who talked last.
    pub agent: Option<AgentId>,
    /// The recording that was begun, whether or not it still goes on.
    pub recording: Option<RecordingId>,
    /// Offers that came back: no answer, declined, busy.
    pub redirects: u16,
    /// What it spent its time with; the last one is still going on unless it ended.
    pub segments: Vec<Segment>,
    /// What was decided and why.
    pub timeline: Timeline,
}

/// Who began a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// It came in from outside: leg 0 is the caller.
    Inbound,
    /// An agent dialled: leg 0 is the agent's own phone.
    Outbound,
}

/// A number with the name that came with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The user part of the calling URI. Empty or `anonymous` when hidden.
    pub number: Arc<str>,
    /// The display name.
    pub name: Option<Arc<str>>,
}

/// What a call is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// In a flow, waiting for an action to end.
    Ivr {
        /// The flow with the version that the call began with.
        flow: FlowKey,
        /// Where in it.
        position: Position,
        /// What the node does now.
        act: Act,
    },
    /// In a queue.
    Queued {
        /// Which one.
        queue: QueueId,
        /// The index of the commit that put it there: its place among equals.
        ticket: Index,
        /// When it entered.
        since: Millis,
        /// The agent who is asked to take it, if one is.
        offer: Option<Offer>,
    },
    /// A certain agent is asked to take it, without a queue.
    Direct { offer: Offer },
    /// A leg is being called: a SIP target, a trunk, or the agent's own phone (leg 0).
    Dialing {
        /// Which leg.
        leg: LegNumber,
        /// Its no-answer time-out.
        until: Millis,
        /// Where the call goes once the agent's own phone (leg 0) answered.
        then: Option<Next>,
    },
    /// Two legs talk.
    Bridged {
        /// The caller's side, or the agent's own leg of an outbound call.
        a: LegNumber,
        /// The side that was reached.
        b: LegNumber,
        /// The leg whose agent put the other on hold by command. A phone that holds by itself
        /// is in [`Leg::held`].
        held_by: Option<LegNumber>,
        /// Since when the agent's side holds, by either means.
        held_since: Option<Millis>,
    },
    /// The caller hears their own voice.
    Echo,
    /// Over. Kept until the node says that nothing of it is left on the wire.
    Ended {
        /// When.
        at: Millis,
        /// Who ended it.
        by: Side,
        /// Why.
        cause: Cause,
        /// What it came to.
        result: CallResult,
    },
}

/// Where an outbound call goes after the agent's own phone answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// What the next leg is.
    pub role: Role,
    /// What it dials.
    pub target: Arc<str>,
    /// How long it rings, in seconds.
    pub ring_seconds: u32,
}

/// One version of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowKey {
    /// The flow's name.
    pub name: FlowName,
    /// Which text of that name.
    pub version: FlowVersion,
}

/// An action that the node does once. A node that has done `seq` does not do it again; another
/// node that adopts the call does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Tells this action from the ones before it. Its end is reported with it.
    pub seq: u32,
    /// What to do.
    pub action: Action,
}

/// A call that an agent is asked to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Who is asked.
    pub agent: AgentId,
    /// Since when.
    pub since: Millis,
    /// The no-answer time-out of the present stage.
    pub until: Millis,
    /// How far it is.
    pub stage: Stage,
}

/// How far an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The desk rings; the phone is not invited yet.
    Desk,
    /// The desk accepted; the phone, this leg, is invited and answers by itself.
    Accepted(LegNumber),
    /// The phone, this leg, rings; picking up accepts.
    Phone(LegNumber),
}

impl Stage {
    /// The agent's leg, if there is one yet.
    #[must_use]
    pub fn leg(self) -> Option<LegNumber> {
        match self {
            Self::Desk => None,
            Self::Accepted(leg) | Self::Phone(leg) => Some(leg),
        }
    }
}

/// One party of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// Whose it is.
    pub role: Role,
    /// What we invited: a SIP URI, an address-of-record, or a number of a trunk. Empty for the
    /// caller.
    pub target: Arc<str>,
    /// The number and name that the invited party is shown.
    pub shows: Party,
    /// How far it is.
    pub state: LegState,
    /// It was invited to answer by itself.
    pub auto_answer: bool,
    /// How long it rings, in seconds.
    pub ring_seconds: u32,
    /// Its own phone put us on hold (a re-INVITE with `sendonly` or `inactive`).
    pub held: bool,
    /// The node's encoding of the dialog, both SDPs and the ports. Empty until known.
    pub wire: Wire,
}

/// Whose leg it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// The one who called us.
    Caller,
    /// An agent's phone.
    Agent(AgentId),
    /// A number behind a trunk.
    Trunk(Arc<str>),
    /// A SIP URI.
    Target,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegState {
    /// The caller's INVITE is not answered finally.
    Arriving,
    /// The caller shall be answered; the node has yet to commit its answer.
    Answering,
    /// We invite.
    Dialing,
    /// We invite, and it rings there.
    Ringing,
    /// In a call since then.
    Answered { at: Millis },
    /// The caller's INVITE is refused with this status.
    Refusing { status: u16 },
    /// We end it.
    Ending { cause: Cause },
    /// It has ended by itself.
    Ended { cause: Cause },
}

impl LegState {
    /// Neither ended nor being ended.
    #[must_use]
    pub fn is_alive(self) -> bool {
        match self {
            Self::Arriving
            | Self::Answering
            | Self::Dialing
            | Self::Ringing
            | Self::Answered { .. } => true,
            Self::Refusing { .. } | Self::Ending { .. } | Self::Ended { .. } => false,
        }
    }

    /// In a call.
    #[must_use]
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Answered { .. })
    }
}

/// Why a leg or a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// A party hung up (BYE), or an agent did by command.
    HungUp,
    /// The caller gave up before the answer (CANCEL).
    Cancelled,
    /// The invited party refused with this status, or we refuse the caller with it.
    Refused { status: u16 },
    /// The invited party did not answer in time.
    NoAnswer,
    /// Nothing is heard any more: no answer to requests, no media, session timer expired.
    Lost,
    /// The other party is gone.
    PeerGone,
    /// The offer went to somebody else or was taken back.
    Withdrawn,
    /// The flow ended it.
    FlowEnded,
    /// The caller waited too long and there was nowhere else to go.
    WaitedTooLong,
    /// The configuration that it stood on is gone.
    Reconfigured,
    /// A failure on our side: no leg, no port, no flow.
    Failed,
}

impl Cause {
    /// The status for a caller who was not answered yet (RFC 3261 §21).
    #[must_use]
    pub fn sip_status(self) -> u16 {
        match self {
            Self::Refused { status } => status,
            Self::Cancelled => 487,
            Self::NoAnswer | Self::WaitedTooLong | Self::Withdrawn => 480,
            Self::HungUp | Self::PeerGone | Self::FlowEnded => 603,
            Self::Lost => 408,
            Self::Reconfigured => 503,
            Self::Failed => 500,
        }
    }

    /// The cause value of Q.850 for the Reason header of a BYE or CANCEL (RFC 3326).
    #[must_use]
    pub fn q850(self) -> u8 {
        match self {
            Self::HungUp | Self::Cancelled | Self::PeerGone | Self::FlowEnded | Self::Withdrawn => {
                16
            }
            Self::Refused { status } => match status {
                404 | 604 => 1,
                486 | 600 => 17,
                480 => 18,
                403 | 603 | 607 | 608 => 21,
                500..=599 => 41,
                _ => 31,
            },
            Self::NoAnswer | Self::WaitedTooLong => 19,
            Self::Lost => 102,
            Self::Reconfigured | Self::Failed => 41,
        }
    }
}

/// The node's encoding of a leg. Opaque here.
#[derive(Clone, PartialEq, Eq)]
pub struct Wire(pub Arc<[u8]>);

impl Default for Wire {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl From<&[u8]> for Wire {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Wire {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({} bytes)", self.0.len())
    }
}

impl Serialize for Wire {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Wire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Wire, E> {
                Ok(Wire(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// A recording, named after its call: the file's name without folder and ending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordingId(pub Arc<str>);

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Call {
    /// Whether it is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// The offer that is open, if one is.
    #[must_use]
    pub fn offer(&self) -> Option<&Offer> {
        match &self.phase {
            Phase::Queued { offer, .. } => offer.as_ref(),
            Phase::Direct { offer } => Some(offer),
            Phase::Ivr { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        }
    }

    /// The leg of `agent`'s phone, if it is alive.
    #[must_use]
    pub fn leg_of(&self, agent: &AgentId) -> Option<LegNumber> {
        let is_theirs =
            |leg: &Leg| leg.state.is_alive() && matches!(&leg.role, Role::Agent(of) if of == agent);
        self.legs.iter().find(|(_, leg)| is_theirs(leg)).map(|(number, _)| *number)
    }

    /// The leg of an agent that is connected, with the agent.
    #[must_use]
    pub fn connected_agent(&self) -> Option<(LegNumber, &AgentId)> {
        let Phase::Bridged { a, b, .. } = &self.phase else { return None };
        [b, a].into_iter().find_map(|number| match &self.legs.get(number)?.role {
            Role::Agent(agent) => Some((*number, agent)),
            Role::Caller | Role::Trunk(_) | Role::Target => None,
        })
    }
}
