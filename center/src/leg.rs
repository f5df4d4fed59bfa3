//! One party of a call: whose it is, how far it is, and why it ended.
//!
//! The node's encoding of its dialog is opaque here.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::Party;
use crate::directory::Outside;
use crate::ids::{AgentId, Index, Millis};

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
    /// Of a trunk: what is tried next if it fails.
    pub attempt: Option<Box<Attempt>>,
    /// Its own phone put us on hold (a re-INVITE with `sendonly` or `inactive`).
    pub held: bool,
    /// Its agent holds the other party by command.
    pub held_at_desk: bool,
    /// The node's encoding of the dialog, both SDPs and the ports. Empty until known.
    pub wire: Wire,
    /// Its agent is heard by nobody.
    pub muted: bool,
    /// The keys that were pressed last for who is there.
    pub keys: Option<Keys>,
    /// How many owners it had in another call, from which it came, until its far end has been told
    /// where it is now and that is committed. 0: it is at home here.
    pub lives_elsewhere: u32,
}

/// Keys for a far end, sent as telephone-events (RFC 4733).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Names this sending: the same number is not sent again.
    pub seq: Index,
    /// The call's epoch then. In another one they were sent already, or are lost.
    pub epoch: u32,
    /// `0`–`9`, `*`, `#`, `A`–`D`, at most [`crate::call::KEYS_MAX`].
    pub keys: Arc<str>,
}

/// The reaching of a number outside, over one trunk after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The number, and the trunks that lead to it.
    pub outside: Outside,
    /// The number that the dialling agent shows of their own; None: each trunk's.
    pub own: Option<Arc<str>>,
    /// The trunks that were tried, the present one last.
    pub tried: Vec<Arc<str>>,
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

impl Role {
    /// The agent whose phone it is.
    #[must_use]
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Agent(agent) => Some(agent),
            Self::Caller | Self::Trunk(_) | Self::Target => None,
        }
    }
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

impl Leg {
    /// Whether its side holds the other, at the phone or at the desk.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.held || self.held_at_desk
    }
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
    /// An agent left the call to somebody else.
    Transferred,
}

impl Cause {
    /// The status for a caller who was not answered yet (RFC 3261 §21).
    #[must_use]
    pub fn sip_status(self) -> u16 {
        match self {
            Self::Refused { status } => status,
            Self::Cancelled => 487,
            Self::NoAnswer | Self::WaitedTooLong | Self::Withdrawn => 480,
            Self::HungUp | Self::PeerGone | Self::Transferred => 480,
            Self::FlowEnded => 603,
            Self::Lost => 408,
            Self::Reconfigured => 503,
            Self::Failed => 500,
        }
    }

    /// The cause value of Q.850 for the Reason header of a BYE or CANCEL (RFC 3326).
    #[must_use]
    pub fn q850(self) -> u8 {
        match self {
            Self::HungUp
            | Self::Cancelled
            | Self::PeerGone
            | Self::FlowEnded
            | Self::Withdrawn
            | Self::Transferred => 16,
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
