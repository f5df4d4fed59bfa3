//! The driver's vocabulary: options, inputs, outputs and errors.

use crate::entry::{Committed, Index, Millis, NodeId, ProposalId};
use crate::log::LogError;
use raft::eraftpb::{Message, Snapshot};
use std::collections::BTreeMap;

/// How this node takes part.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node; not 0.
    pub node: NodeId,
    /// Ticks without a leader before a node asks for votes; each waits between one and two times
    /// this. With the default tick of 25 ms, 12 is 300–600 ms: below it an overloaded machine
    /// elects new leaders for nothing, above it callers wait longer after a leader's death.
    pub election_ticks: usize,
    /// Ticks between the leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Bytes of entries in one message to a follower.
    pub message_bytes_max: u64,
    /// Bytes proposed and not yet committed; past it proposals are refused with
    /// [`ProposeError::Full`].
    pub uncommitted_bytes_max: u64,
    /// Unanswered append messages to one follower.
    pub inflight_messages_max: usize,
    /// Draws the election time-outs: equal seeds give equal elections.
    pub seed: u64,
    /// Differs between any two starts of a node, and grows (its clock in ms will do). Read
    /// requests are told apart by it.
    pub incarnation: u64,
    /// The state was restored up to here; committed entries after it are given out.
    pub applied: Index,
    /// `Committed::at` of the entry at `applied`, so that time never goes back.
    pub applied_at: Millis,
}

impl Options {
    /// Options of a node that restored nothing.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            election_ticks: 12,
            heartbeat_ticks: 3,
            message_bytes_max: 512 * 1024,
            uncommitted_bytes_max: 32 * 1024 * 1024,
            inflight_messages_max: 64,
            seed: node,
            incarnation: 0,
            applied: 0,
            applied_at: 0,
        }
    }
}

/// What to do next. The order is the safe one: perform each before taking the next.
#[derive(Debug)]
pub enum Output {
    /// Send this to `message.to`. Losing it is allowed. A `MsgSnapshot` goes with the snapshot's
    /// file, and its end must be reported with `Driver::report_snapshot`.
    Send(Box<Message>),
    /// Call `Driver::persist` now. Nothing follows until that has returned.
    Persist,
    /// Apply this entry to the state.
    Commit(Committed),
    /// Replace the state by this snapshot, which is durable.
    Restore(Box<Snapshot>),
    /// The state is now recent enough for this read.
    Read(ReadId),
    /// The read found no leader in time; nothing was learned.
    ReadFailed(ReadId),
    /// Leader or role changed. Proposals made before may be lost: their outcome is unknown until
    /// they are seen committed.
    Role(Role),
    /// A leader's first entry of this term was applied. What was proposed in earlier terms and
    /// is not applied by now is lost, unless it was still on its way to a leader.
    Settled { term: u64 },
    /// A membership change was applied.
    Members(Members),
    /// This proposal was not taken after all, and will not be committed.
    Refused { proposal: ProposalId, error: ProposeError },
    /// A committed entry cannot be read: stop, since whatever follows would be applied to
    /// another state than elsewhere.
    Unreadable(LogError),
    /// A follower needs a snapshot and there is none recent enough: make one.
    SnapshotWanted,
}

/// A read that waits for the state to be recent enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// The term.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// Whether it is this node.
    pub leading: bool,
}

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// They elect and acknowledge.
    pub voters: Vec<NodeId>,
    /// They receive and apply.
    pub learners: Vec<NodeId>,
    /// Where they are, in the shell's own words, as far as they were told.
    pub addresses: BTreeMap<NodeId, Vec<u8>>,
    /// The learner that the change added.
    pub added: Option<NodeId>,
    /// The node that the change removed.
    pub removed: Option<NodeId>,
}

/// One safe step of a membership change. One is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Add a node that receives but does not vote; `address` is the shell's business.
    AddLearner { node: NodeId, address: Vec<u8> },
    /// Let a learner that has caught up vote.
    Promote { node: NodeId },
    /// Remove a voter or a learner.
    Remove { node: NodeId },
}

/// How far a peer is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The peer.
    pub node: NodeId,
    /// It is known to have everything up to here.
    pub matched: Index,
    /// It was heard of within the last election time-out.
    pub recently_active: bool,
}

/// A view of the driver, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Who leads.
    pub role: Role,
    /// Who takes part.
    pub members: Members,
    /// Agreed on by a majority.
    pub commit: Index,
    /// Given out to be applied.
    pub applied: Index,
    /// First and last index of the log.
    pub log: (Index, Index),
    /// How far the others are; only the leader knows.
    pub peers: Vec<PeerProgress>,
}

/// Why a proposal was not taken. It will not be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nobody leads, or leadership is being handed over.
    #[error("no leader takes proposals at the moment")]
    NoLeader,
    /// Too much is proposed and not committed.
    #[error("too many proposals wait for their commit")]
    Full,
    /// It is larger than [`PROPOSAL_BYTES_MAX`].
    #[error("the proposal has {bytes} bytes, at most {PROPOSAL_BYTES_MAX} are taken")]
    TooLarge { bytes: usize },
}

/// Why a membership change was not proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Ask the leader.
    #[error("this node does not lead; {leader:?} does")]
    NotLeader { leader: Option<NodeId> },
    /// The last change is not applied yet.
    #[error("another membership change is under way")]
    UnderWay,
    /// The node is a member already.
    #[error("node {node} is a member already")]
    Member { node: NodeId },
    /// The node is not a learner.
    #[error("node {node} is not a learner; add it as one first")]
    NotLearner { node: NodeId },
    /// The node is not a member.
    #[error("node {node} is not a member")]
    NotMember { node: NodeId },
    /// It would be slow to acknowledge, and commits would wait for it.
    #[error("learner {node} has {matched} of {last} entries; promote it when it has caught up")]
    Behind { node: NodeId, matched: Index, last: Index },
    /// Without it nothing could be decided.
    #[error("node {node} is the last voter")]
    LastVoter { node: NodeId },
    /// Hand leadership over first, so that commits do not wait for an election.
    #[error("node {node} leads; transfer leadership first")]
    Leads { node: NodeId },
}

/// Bytes of one proposal. Far above any command; a larger one would hold up all others.
pub const PROPOSAL_BYTES_MAX: usize = 1024 * 1024;

/// Why the driver cannot start from what is on the disk.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state is ahead of the log: the disk lost synced entries.
    #[error(
        "the state was applied up to entry {applied}, but the log ends at {last}: the disk lost \
         what it had confirmed. Remove this node from the cluster, move its data directory away, \
         start it with join, and add it again as a learner"
    )]
    LogLost { applied: Index, last: Index },
    /// The state is behind what the log still has.
    #[error("the state ends at entry {applied}, but the log begins at {first}")]
    StateLost { applied: Index, first: Index },
    /// raft-rs refused the options.
    #[error("raft: {0}")]
    Raft(String),
}

/// This member acknowledged entries that it does not have any more. It must not vote or
/// acknowledge again: it was started with an empty or an older disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node acknowledged entries up to {acknowledged} but has only {last}: its data directory \
     was lost or replaced by an older one. Remove the node from the cluster, move the directory \
     away, start it with join, and add it again as a learner"
)]
pub struct Lost {
    /// What the leader knows that this node confirmed.
    pub acknowledged: Index,
    /// What it has.
    pub last: Index,
}
