//! Commands: the only way to change the centre, as they stand in the replicated log.
//!
//! A command carries everything that is random or local: ids, salts, the owner. Its encoding
//! begins with a version; a replica that meets a newer one stops instead of guessing. Variants
//! and fields are added at the end of their enum or struct only together with a new version.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::{Cause, Party, Wire};
use crate::directory::Directory;
use crate::flow::IvrResult;
use crate::ids::{AgentId, CallId, CommandId, HomeId, LegNumber, Millis, NodeId, SessionId};

/// The version that [`Command::encode`] writes and the newest that [`Command::decode`] reads.
pub const COMMAND_VERSION: u8 = 3;

/// Calls that one [`Command::Cleared`] may name. A node splits longer lists.
pub const CLEARED_MAX: usize = 4096;

/// What can be done to the centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Take this directory in place of the present one. Calls, agents and queues that it does
    /// not know any more are drained: calls in progress go on, nothing new begins.
    Configure(Box<Directory>),
    /// Time has passed: whatever is due by now happens. Proposed by the leader's node when
    /// [`crate::Center::next_deadline`] is reached.
    Tick,
    /// The node takes calls, and calls of lost nodes. It brings these service addresses, at most
    /// [`crate::HOMES_OF_NODE_MAX`]. What a live node holds of them stays with it until that yields
    /// it: two nodes that apply one entry at different times would both act for its calls.
    /// `sockets_are_lost`: it was started again, and the desks that sat there are gone.
    NodeUp { node: NodeId, homes: Vec<(HomeId, Wire)>, sockets_are_lost: bool },
    /// The node is gone: its calls get new owners, its sessions wait for their agents. It was
    /// last heard `silent_ms` ago: until then its callers heard their prompts.
    NodeLost { node: NodeId, silent_ms: u32 },
    /// An INVITE came in.
    Arrived(Box<Arrived>),
    /// An invited leg rings. Worth a commit for agents, whose state it changes; other legs'
    /// ringing is passed on without one and need not be reported.
    LegRinging { call: CallId, leg: LegNumber },
    /// A leg is in a call: an invited one answered, or an arriving one is about to be sent its
    /// 200. `wires` has the dialogs as they are then, of this leg and of any other that changed
    /// with it; the arriving leg's among them means that its answer is ready, too.
    LegAnswered { call: CallId, leg: LegNumber, wires: Vec<(LegNumber, Wire)> },
    /// An invited leg did not come about. `status` is what it was refused with; 408 when
    /// nothing came, 503 when it could not be reached. Of an arriving leg: the node cannot
    /// answer it (488, 503), and it is to be refused so.
    LegFailed { call: CallId, leg: LegNumber, status: u16 },
    /// A leg ended by itself ([`Cause::HungUp`], [`Cause::Cancelled`], [`Cause::Lost`]), or one
    /// that was to be ended is gone from the wire while its call goes on.
    LegEnded { call: CallId, leg: LegNumber, cause: Cause },
    /// A leg's phone holds (`sendonly`, `inactive`) or takes back.
    LegHeld { call: CallId, leg: LegNumber, held: bool },
    /// The dialog or the SDPs of a leg changed.
    WireChanged { call: CallId, leg: LegNumber, wire: Wire },
    /// The IVR's action `seq` ended.
    Ivr { call: CallId, seq: u32, result: IvrResult },
    /// The prompts of action `seq` have been heard up to here, in milliseconds. Optional: another
    /// node goes on where they should be by its clock, which is wrong when they began late.
    IvrProgress { call: CallId, seq: u32, offset_ms: u32 },
    /// Nothing of these ended calls is on the wire any more: forget them. At most
    /// [`CLEARED_MAX`].
    Cleared { calls: Vec<CallId> },
    /// An agent signs in at a desk. The password was checked by the node. Another session of
    /// the same agent ends.
    SignIn { agent: AgentId, session: SessionId, node: NodeId, command: CommandId },
    /// An agent signs out. Refused in a call.
    SignOut { agent: AgentId, session: SessionId, command: CommandId },
    /// A desk's socket at this node is gone. Nothing if the session moved elsewhere meanwhile.
    SessionLost { session: SessionId, node: NodeId },
    /// It is back, here.
    SessionBack { session: SessionId, node: NodeId },
    /// An agent says what they are free for. In a call it holds for afterwards.
    SetState { agent: AgentId, state: WantedState, command: CommandId },
    /// The desk accepts the call that it is offered.
    AcceptOffer { agent: AgentId, call: CallId, command: CommandId },
    /// The desk declines it: the agent becomes not ready.
    DeclineOffer { agent: AgentId, call: CallId, command: CommandId },
    /// The agent holds the other party.
    Hold { agent: AgentId, call: CallId, command: CommandId },
    /// The agent takes it back.
    Retrieve { agent: AgentId, call: CallId, command: CommandId },
    /// The agent hangs up, or gives up dialling.
    HangUp { agent: AgentId, call: CallId, command: CommandId },
    /// The agent dials: first their own phone is invited, then `to`.
    Dial(Box<Dial>),
    /// The agent says what the call came to, during it or after.
    Dispose {
        agent: AgentId,
        call: CallId,
        disposition: Arc<str>,
        note: Option<Arc<str>>,
        command: CommandId,
    },
    /// The agent ends their wrap-up before its time.
    EndWrapUp { agent: AgentId, command: CommandId },
    /// The phones that an agent has registered are now these; the last of them expires at
    /// `until`. No bytes: there are none any more.
    Registered { agent: AgentId, contacts: Wire, until: Millis },
    /// The holder of a service address acts for it no more: the address and its calls go to whom
    /// [`crate::Center::heir`] names. If that is nobody any more the holder keeps it, in a new
    /// epoch. Nothing if `epoch` is not the present one.
    HomeYielded { home: HomeId, epoch: u32 },
    /// The node is to be stopped: its service addresses and the calls on them are to go to others,
    /// and it gets none, until it is started again or told to resume.
    Drain { node: NodeId },
    /// The node is not to be stopped after all.
    Resume { node: NodeId },
}

/// An INVITE that came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// The call's id, chosen by the owner.
    pub call: CallId,
    /// Random, for the identifiers of our own legs.
    pub salt: u64,
    /// The node that received it.
    pub owner: NodeId,
    /// The service address that it came to; none if that does not move.
    pub home: Option<HomeId>,
    /// Who calls.
    pub caller: Party,
    /// The user part of the request URI.
    pub called: Arc<str>,
    /// The dialog as the node needs it to answer, from anywhere, with the prepared answer in it.
    pub wire: Wire,
    /// The answer (SDP) in `wire` is ready, so the call may be answered by this commit alone.
    pub answer_ready: bool,
}

/// An agent's wish to call somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    /// Who dials.
    pub agent: AgentId,
    /// The new call's id, chosen by the owner.
    pub call: CallId,
    /// Random, for the identifiers of its legs.
    pub salt: u64,
    /// The number.
    pub to: Arc<str>,
    /// The node that drives the call.
    pub owner: NodeId,
    /// The client's id of the command.
    pub command: CommandId,
}

/// What an agent may ask to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WantedState {
    /// To be offered calls.
    Ready,
    /// Not to be, for this reason: a code of the directory if it lists any.
    NotReady { reason: Arc<str> },
}

/// Why bytes are not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program: this node must stop and be upgraded.
    #[error("the command has version {version}, this program reads up to {known}")]
    Newer { version: u8, known: u8 },
    /// Not what `encode` wrote.
    #[error("the command is damaged: {reason}")]
    Corrupt { reason: String },
}

impl Command {
    /// The bytes for the log: the version, then the command.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![COMMAND_VERSION])
            .expect("commands have no sequences of unknown length and a vector takes all bytes")
    }

    /// Reads what `encode` wrote. Never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let corrupt = |reason: &str| DecodeError::Corrupt { reason: reason.to_owned() };
        match bytes.split_first() {
            None => Err(corrupt("no bytes")),
            Some((&COMMAND_VERSION, rest)) => match postcard::take_from_bytes(rest) {
                Ok((command, [])) => Ok(command),
                Ok((_, rest)) => Err(corrupt(&format!("{} bytes too many", rest.len()))),
                Err(error) => Err(corrupt(&error.to_string())),
            },
            Some((&version, _)) if version > COMMAND_VERSION => {
                Err(DecodeError::Newer { version, known: COMMAND_VERSION })
            }
            Some((&version, _)) => Err(corrupt(&format!("there is no version {version}"))),
        }
    }

    /// The call that the command is about, for spans and for sharding.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        match self {
            Self::Arrived(arrived) => Some(arrived.call),
            Self::Dial(dial) => Some(dial.call),
            Self::LegRinging { call, .. }
            | Self::LegAnswered { call, .. }
            | Self::LegFailed { call, .. }
            | Self::LegEnded { call, .. }
            | Self::LegHeld { call, .. }
            | Self::WireChanged { call, .. }
            | Self::Ivr { call, .. }
            | Self::IvrProgress { call, .. }
            | Self::AcceptOffer { call, .. }
            | Self::DeclineOffer { call, .. }
            | Self::Hold { call, .. }
            | Self::Retrieve { call, .. }
            | Self::HangUp { call, .. }
            | Self::Dispose { call, .. } => Some(*call),
            Self::Configure(_)
            | Self::Tick
            | Self::NodeUp { .. }
            | Self::NodeLost { .. }
            | Self::Cleared { .. }
            | Self::SignIn { .. }
            | Self::SignOut { .. }
            | Self::SessionLost { .. }
            | Self::SessionBack { .. }
            | Self::SetState { .. }
            | Self::EndWrapUp { .. }
            | Self::Registered { .. }
            | Self::HomeYielded { .. }
            | Self::Drain { .. }
            | Self::Resume { .. } => None,
        }
    }

    /// The agent and client id of a command that a desk gave.
    #[must_use]
    pub fn given_by(&self) -> Option<(&AgentId, &CommandId)> {
        match self {
            Self::SignIn { agent, command, .. }
            | Self::SignOut { agent, command, .. }
            | Self::SetState { agent, command, .. }
            | Self::AcceptOffer { agent, command, .. }
            | Self::DeclineOffer { agent, command, .. }
            | Self::Hold { agent, command, .. }
            | Self::Retrieve { agent, command, .. }
            | Self::HangUp { agent, command, .. }
            | Self::Dispose { agent, command, .. }
            | Self::EndWrapUp { agent, command } => Some((agent, command)),
            Self::Dial(dial) => Some((&dial.agent, &dial.command)),
            Self::Configure(_)
            | Self::Tick
            | Self::NodeUp { .. }
            | Self::NodeLost { .. }
            | Self::Arrived(_)
            | Self::LegRinging { .. }
            | Self::LegAnswered { .. }
            | Self::LegFailed { .. }
            | Self::LegEnded { .. }
            | Self::LegHeld { .. }
            | Self::WireChanged { .. }
            | Self::Ivr { .. }
            | Self::IvrProgress { .. }
            | Self::Cleared { .. }
            | Self::SessionLost { .. }
            | Self::SessionBack { .. }
            | Self::Registered { .. }
            | Self::HomeYielded { .. }
            | Self::Drain { .. }
            | Self::Resume { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_back() {
        let command = Command::LegAnswered {
            call: CallId(7),
            leg: LegNumber(1),
            wires: vec![(LegNumber(1), Wire::from(&b"dialog"[..]))],
        };
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn a_newer_command_is_told_from_a_damaged_one() {
        let mut bytes = Command::Tick.encode();
        assert_eq!(bytes, [COMMAND_VERSION, 1]);
        bytes.push(0);
        assert!(matches!(Command::decode(&bytes), Err(DecodeError::Corrupt { .. })));
        bytes[0] = COMMAND_VERSION + 1;
        let newer = DecodeError::Newer { version: COMMAND_VERSION + 1, known: COMMAND_VERSION };
        assert_eq!(Command::decode(&bytes), Err(newer));
        assert!(matches!(Command::decode(&[]), Err(DecodeError::Corrupt { .. })));
        assert!(matches!(Command::decode(&[0, 1]), Err(DecodeError::Corrupt { .. })));
    }
}
