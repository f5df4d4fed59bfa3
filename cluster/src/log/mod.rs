//! The log: what must be on disk before anything is acknowledged.
//!
//! [`Log`] is what the driver needs of a disk. [`EngineLog`] keeps it in raft-engine;
//! `MemoryLog` is a simulated disk that forgets what was not synced when its power is cut.

mod engine;
mod memory;

pub use engine::{EngineLog, Opened, Purger};
pub use memory::MemoryLog;

use crate::entry::{Index, NodeId};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use std::collections::BTreeMap;

/// One write to the log; all of it becomes durable, or none.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// Entries to append. They replace what the log has from the first one's index on.
    pub entries: Vec<Entry>,
    /// Term, vote and commit index, if they changed.
    pub hard_state: Option<HardState>,
    /// The members, if they changed.
    pub membership: Option<Membership>,
}

/// Who takes part since when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Membership {
    /// The index of the change that made them so. Changes up to here are not applied again when
    /// the log is replayed.
    pub index: Index,
    /// Voters and learners.
    pub conf_state: ConfState,
    /// Their addresses, in the shell's own words.
    pub addresses: BTreeMap<NodeId, Vec<u8>>,
}

/// A disk for Raft.
///
/// `append` with `sync` returns after the bytes are durable. An error ends the process: what
/// the disk holds after a failed sync is unknown, and to go on would acknowledge what may be lost.
pub trait Log {
    /// Term, vote and commit index as last written.
    fn hard_state(&self) -> HardState;

    /// The members as last written.
    fn membership(&self) -> Membership;

    /// The first index that `entries` can give; entries before it are compacted.
    fn first_index(&self) -> Index;

    /// The last index; `first_index() - 1` if the log is empty.
    fn last_index(&self) -> Index;

    /// The term of an entry; defined for `first_index() - 1 ..= last_index()`.
    fn term(&self, index: Index) -> Result<Option<u64>, LogError>;

    /// Entries `low..high`, at least one, at most about `bytes_max`.
    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<Entry>, LogError>;

    /// The newest durable snapshot. Its `data` is a [`SnapshotData`](crate::SnapshotData): with
    /// the state in a simulation, without it in production, where the file is streamed beside
    /// the message.
    fn snapshot(&self) -> Option<Snapshot>;

    /// Appends, and syncs if asked to.
    fn append(&mut self, write: Write, sync: bool) -> Result<(), LogError>;

    /// Makes a snapshot from another node durable, and forgets all entries. Members are those of
    /// the snapshot. All of it or nothing, and synced.
    fn install(&mut self, snapshot: &Snapshot, write: &Write) -> Result<(), LogError>;

    /// Notes that this node made a snapshot, which is durable.
    fn keep_snapshot(&mut self, snapshot: Snapshot) -> Result<(), LogError>;

    /// Forgets entries up to and including `through`. The caller has a durable snapshot there.
    fn compact(&mut self, through: Index) -> Result<(), LogError>;
}

/// About the size of an entry in a message.
fn entry_bytes(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len() + ENTRY_HEAD_BYTES) as u64
}

/// Type, term, index and lengths of an entry.
const ENTRY_HEAD_BYTES: usize = 24;

/// Why the log cannot be opened, read or written. All of these end the process.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed or is full.
    #[error("the log cannot be written or read: {0}")]
    Disk(String),
    /// What is on disk contradicts itself.
    #[error(
        "the log is corrupt: {0}. Nothing was changed. A member of a cluster: remove the node from \
         the cluster, move its data directory away, start it with join, and add it again as a \
         learner. A single node: restore its backup"
    )]
    Corrupt(String),
    /// A newer program wrote this entry.
    #[error(
        "entry {index} has version {version}, which this program cannot read: start the version \
         that wrote it"
    )]
    NewerEntry { index: Index, version: u8 },
    /// A newer program made this snapshot.
    #[error(
        "the snapshot has version {version}, which this program cannot read: start the version \
         that wrote it"
    )]
    NewerSnapshot { version: u8 },
}
