//! Commands: the only way to change the centre, as they stand in the replicated log.
//!
//! A command carries everything that is random or local: ids, salts, the owner. Its encoding
//! begins with a version; a replica that meets one that it does not read stops instead of
//! guessing. [`forms`] has what is behind it: the enum here is the newest form.

mod forms;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::{Cause, Party, Wire};
use crate::directory::Directory;
use crate::flow::IvrResult;
use crate::ids::{
    AgentId, CallId, CommandId, HomeId, LegNumber, Millis, NodeId, QueueId, SessionId,
};
use crate::supervision::SupervisionMode;
use crate::version::{self, Foreign, Reads};

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
    /// The far end of a leg hung up, or was lost, so many milliseconds before this was proposed:
    /// until then nothing could be committed. The call ended then.
    LegEndedBefore { call: CallId, leg: LegNumber, cause: Cause, ago_ms: u32 },
    /// The node is to be stopped: its service addresses and the calls on them are to go to others,
    /// and it gets none, until it is started again or told to resume.
    Drain { node: NodeId },
    /// The node is not to be stopped after all.
    Resume { node: NodeId },
    /// The build of a node reads these versions: one that is up, or a witness, which never is. Void
    /// when the node is lost or started again: another build may be next.
    Reads { node: NodeId, reads: Reads, witness: bool },
    /// From here on this version is written. Proposed by the leader's node; `nodes` are all
    /// voters. Nothing if one of them is not up or does not read it, or if it is not newer.
    Agree { version: u8, nodes: Vec<NodeId> },
    /// The agent asks somebody else, whom the others in the conversation do not hear. A number that
    /// leads to a person: an agent, a target, or outside.
    Consult { agent: AgentId, call: CallId, to: Arc<str>, command: CommandId },
    /// The agent goes back to the conversation while the one who was asked waits, or to them.
    Alternate { agent: AgentId, call: CallId, command: CommandId },
    /// The agent lets the one who was asked go, and is back in the conversation.
    Reconnect { agent: AgentId, call: CallId, command: CommandId },
    /// The one who was asked joins the conversation.
    Conference { agent: AgentId, call: CallId, command: CommandId },
    /// The agent leaves the call: to a number, or to the one who was asked.
    Transfer { agent: AgentId, call: CallId, to: Option<Arc<str>>, command: CommandId },
    /// A report of the node that has the call since this epoch. Refused when another one has it:
    /// what a node saw or proposed before it was frozen or cut off may come when its call has gone
    /// on elsewhere, and would end it, or lay an old dialog over the new one. Made by
    /// [`Command::of_epoch`].
    Owned { epoch: u32, report: Box<Self> },
    /// A supervisor listens to another's conversation, or is heard in it otherwise than before.
    Supervise { agent: AgentId, of: AgentId, mode: SupervisionMode, command: CommandId },
    /// A supervisor takes the place of the agent whose conversation they supervise.
    TakeOver { agent: AgentId, of: AgentId, command: CommandId },
    /// A supervisor says what another is free for.
    ForceState { agent: AgentId, of: AgentId, state: WantedState, command: CommandId },
    /// A supervisor ends another's session.
    ForceLogOut { agent: AgentId, of: AgentId, command: CommandId },
    /// A supervisor changes the priority of a call that waits; none: before all others.
    Prioritise { agent: AgentId, call: CallId, priority: Option<u8>, command: CommandId },
    /// A supervisor moves a call that waits to another queue.
    MoveToQueue { agent: AgentId, call: CallId, queue: QueueId, command: CommandId },
    /// The agent is not heard by anybody, or is again.
    Mute { agent: AgentId, call: CallId, muted: bool, command: CommandId },
    /// The agent presses keys for those who hear them.
    SendKeys { agent: AgentId, call: CallId, keys: Arc<str>, command: CommandId },
    /// The agent interrupts the recording, or lets it go on.
    PauseRecording { agent: AgentId, call: CallId, paused: bool, command: CommandId },
    /// The agent sends a call that rings to another number.
    Deflect { agent: AgentId, call: CallId, to: Arc<str>, command: CommandId },
    /// The agent leaves the other party in a slot.
    Park { agent: AgentId, call: CallId, command: CommandId },
    /// The agent takes the call in a slot.
    PickUp { agent: AgentId, slot: u16, command: CommandId },
    /// The phone of a leg asks for a transfer to this number (REFER, RFC 3515).
    Referred { call: CallId, leg: LegNumber, to: Arc<str> },
    /// An invited leg behind a trunk did not come about. `status` is what the trunk said, 408 when
    /// it said nothing: by it another trunk is tried or not. `relayed` is what the caller is to hear
    /// of it if not. With a 503, `retry_after_seconds` is how long the trunk wants to be left alone.
    TrunkFailed {
        call: CallId,
        leg: LegNumber,
        status: u16,
        relayed: u16,
        retry_after_seconds: Option<u32>,
    },
    /// The phone of a leg asks for a transfer to whom it reached in another call of its own (REFER
    /// with Replaces, RFC 3891). Its node has checked that the phone is in that dialog.
    ReferredWith { call: CallId, leg: LegNumber, other: CallId },
    /// A trunk answers the probes of this node, or does not: calls of the node leave by others then,
    /// if any is reached.
    TrunkSeen { node: NodeId, trunk: Arc<str>, reached: bool },
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
    /// The service address that it came to, and the epoch in which that was; none if it does not
    /// move. In another epoch the INVITE is not taken any more: the caller repeats it, and whoever
    /// holds the address now may have a call of it already.
    pub home: Option<(HomeId, u32)>,
    /// The trunk that it came by, if its sender is one.
    pub trunk: Option<Arc<str>>,
    /// The agent whose phone calls, if it is one.
    pub phone: Option<AgentId>,
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
    /// Written by a program that this one does not understand.
    #[error("the command has {0}")]
    Foreign(#[from] Foreign),
    /// Not what `encode` wrote.
    #[error("the command is damaged: {reason}")]
    Corrupt { reason: String },
}

/// A command that some node could not read: the version that the cluster has agreed on has none
/// such. It can be given once that has risen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {version}, which all nodes read, has no such command")]
pub struct NotYet {
    version: u8,
}

impl Command {
    /// The bytes for the log, in the version that the cluster has agreed on: the version, then
    /// the command.
    ///
    /// # Errors
    /// That version has no such command.
    pub fn encode(&self, version: u8) -> Result<Vec<u8>, NotYet> {
        let mut bytes = vec![version];
        let known = forms::write(self, version, &mut bytes);
        if known { Ok(bytes) } else { Err(NotYet { version }) }
    }

    /// Reads what `encode` wrote. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// Another version, or damaged bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let corrupt = |reason: &str| DecodeError::Corrupt { reason: reason.to_owned() };
        let (&version, rest) = bytes.split_first().ok_or_else(|| corrupt("no bytes"))?;
        version::check(version)?;
        forms::read(version, rest).map_err(|reason| corrupt(&reason))
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
            | Self::TrunkFailed { call, .. }
            | Self::LegEnded { call, .. }
            | Self::LegEndedBefore { call, .. }
            | Self::LegHeld { call, .. }
            | Self::WireChanged { call, .. }
            | Self::Ivr { call, .. }
            | Self::IvrProgress { call, .. }
            | Self::AcceptOffer { call, .. }
            | Self::DeclineOffer { call, .. }
            | Self::Hold { call, .. }
            | Self::Retrieve { call, .. }
            | Self::HangUp { call, .. }
            | Self::Consult { call, .. }
            | Self::Alternate { call, .. }
            | Self::Reconnect { call, .. }
            | Self::Conference { call, .. }
            | Self::Transfer { call, .. }
            | Self::Prioritise { call, .. }
            | Self::MoveToQueue { call, .. }
            | Self::Mute { call, .. }
            | Self::SendKeys { call, .. }
            | Self::PauseRecording { call, .. }
            | Self::Deflect { call, .. }
            | Self::Park { call, .. }
            | Self::Referred { call, .. }
            | Self::ReferredWith { call, .. }
            | Self::Dispose { call, .. } => Some(*call),
            Self::Owned { report, .. } => report.reported_call(),
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
            | Self::Resume { .. }
            | Self::Reads { .. }
            | Self::TrunkSeen { .. }
            | Self::Supervise { .. }
            | Self::TakeOver { .. }
            | Self::ForceState { .. }
            | Self::ForceLogOut { .. }
            | Self::PickUp { .. }
            | Self::Agree { .. } => None,
        }
    }

    /// The call that a report of its owner is about; None for commands that are none.
    pub(crate) fn reported_call(&self) -> Option<CallId> {
        match self {
            Self::LegRinging { call, .. }
            | Self::LegAnswered { call, .. }
            | Self::LegFailed { call, .. }
            | Self::TrunkFailed { call, .. }
            | Self::LegEnded { call, .. }
            | Self::LegEndedBefore { call, .. }
            | Self::LegHeld { call, .. }
            | Self::WireChanged { call, .. }
            | Self::Referred { call, .. }
            | Self::ReferredWith { call, .. }
            | Self::Ivr { call, .. }
            | Self::IvrProgress { call, .. } => Some(*call),
            Self::Configure(_)
            | Self::Tick
            | Self::NodeUp { .. }
            | Self::NodeLost { .. }
            | Self::Arrived(_)
            | Self::Cleared { .. }
            | Self::SignIn { .. }
            | Self::SignOut { .. }
            | Self::SessionLost { .. }
            | Self::SessionBack { .. }
            | Self::SetState { .. }
            | Self::AcceptOffer { .. }
            | Self::DeclineOffer { .. }
            | Self::Hold { .. }
            | Self::Retrieve { .. }
            | Self::HangUp { .. }
            | Self::Dial(_)
            | Self::Dispose { .. }
            | Self::EndWrapUp { .. }
            | Self::Registered { .. }
            | Self::HomeYielded { .. }
            | Self::Drain { .. }
            | Self::Resume { .. }
            | Self::Reads { .. }
            | Self::TrunkSeen { .. }
            | Self::Agree { .. }
            | Self::Consult { .. }
            | Self::Alternate { .. }
            | Self::Reconnect { .. }
            | Self::Conference { .. }
            | Self::Transfer { .. }
            | Self::Supervise { .. }
            | Self::TakeOver { .. }
            | Self::ForceState { .. }
            | Self::ForceLogOut { .. }
            | Self::Prioritise { .. }
            | Self::MoveToQueue { .. }
            | Self::Mute { .. }
            | Self::SendKeys { .. }
            | Self::PauseRecording { .. }
            | Self::Deflect { .. }
            | Self::Park { .. }
            | Self::PickUp { .. }
            | Self::Owned { .. } => None,
        }
    }

    /// The same, of the node that has the call since this epoch. Commands that are no reports stay
    /// as they are, and so does that a far end hung up or gave up: it has been let go, whoever has
    /// the call.
    #[must_use]
    pub fn of_epoch(self, epoch: u32) -> Self {
        let is_true_for_all = matches!(
            self,
            Self::LegEnded { cause: Cause::HungUp | Cause::Cancelled, .. }
                | Self::LegEndedBefore { cause: Cause::HungUp | Cause::Cancelled, .. }
        );
        if is_true_for_all || self.reported_call().is_none() {
            return self;
        }
        Self::Owned { epoch, report: Box::new(self) }
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
            | Self::Consult { agent, command, .. }
            | Self::Alternate { agent, command, .. }
            | Self::Reconnect { agent, command, .. }
            | Self::Conference { agent, command, .. }
            | Self::Transfer { agent, command, .. }
            | Self::Supervise { agent, command, .. }
            | Self::TakeOver { agent, command, .. }
            | Self::ForceState { agent, command, .. }
            | Self::ForceLogOut { agent, command, .. }
            | Self::Prioritise { agent, command, .. }
            | Self::MoveToQueue { agent, command, .. }
            | Self::Mute { agent, command, .. }
            | Self::SendKeys { agent, command, .. }
            | Self::PauseRecording { agent, command, .. }
            | Self::Deflect { agent, command, .. }
            | Self::Park { agent, command, .. }
            | Self::PickUp { agent, command, .. }
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
            | Self::TrunkFailed { .. }
            | Self::LegEnded { .. }
            | Self::LegEndedBefore { .. }
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
            | Self::Resume { .. }
            | Self::Reads { .. }
            | Self::TrunkSeen { .. }
            | Self::Agree { .. }
            | Self::Referred { .. }
            | Self::ReferredWith { .. }
            | Self::Owned { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{NEWEST, OLDEST};

    fn answered() -> Command {
        Command::LegAnswered {
            call: CallId(7),
            leg: LegNumber(1),
            wires: vec![(LegNumber(1), Wire::from(&b"dialog"[..]))],
        }
    }

    #[test]
    fn a_command_reads_back_in_every_version_that_is_read() {
        for version in OLDEST..=NEWEST {
            let bytes = answered().encode(version).unwrap();
            assert_eq!(bytes[0], version);
            assert_eq!(Command::decode(&bytes), Ok(answered()), "{version}");
        }
    }

    #[test]
    fn neighbouring_versions_have_different_bytes() {
        let bodies: Vec<_> = (OLDEST..=NEWEST)
            .map(|version| answered().encode(version).unwrap()[1..].to_vec())
            .collect();
        assert!(bodies.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn nobody_writes_a_version_that_this_build_does_not_know() {
        assert!(Command::Tick.encode(NEWEST + 1).is_err());
        assert!(Command::Tick.encode(OLDEST - 1).is_err());
    }

    #[test]
    fn bytes_of_version_3_stay_what_they_are() {
        // As an older build wrote it: what is in logs must be read for ever, or be refused.
        let bytes = [3, 6, 7, 1, 1, 1, 6, b'd', b'i', b'a', b'l', b'o', b'g'];
        assert_eq!(answered().encode(3).unwrap(), bytes);
        assert_eq!(Command::decode(&bytes), Ok(answered()));
    }

    #[test]
    fn a_foreign_command_is_told_from_a_damaged_one() {
        let mut bytes = Command::Tick.encode(OLDEST).unwrap();
        bytes.push(0);
        assert!(matches!(Command::decode(&bytes), Err(DecodeError::Corrupt { .. })));
        bytes[0] = NEWEST + 1;
        let error = Command::decode(&bytes).unwrap_err();
        assert_eq!(error, Foreign::Newer { version: NEWEST + 1 }.into());
        let words = error.to_string();
        let said = format!("version {}, this program reads up to {NEWEST}", NEWEST + 1);
        assert!(words.contains(&said) && words.contains("start a newer one"), "{words}");
        assert!(matches!(Command::decode(&[]), Err(DecodeError::Corrupt { .. })));
        let older = DecodeError::Foreign(Foreign::Older { version: OLDEST - 1 });
        assert_eq!(Command::decode(&[OLDEST - 1, 1]), Err(older));
    }
}
