//! The log: what must be on disk before anything is acknowledged.
//!
//! [`Log`] is what the driver needs of a disk. `EngineLog` keeps it in raft-engine;
//! `MemoryLog` is a simulated disk that forgets what was not synced when its power is cut.

use crate::entry::Index;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};

/// One write to the log; all of it becomes durable, or none.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// Entries to append. They replace what the log has from the first one's index on.
    pub entries: Vec<Entry>,
    /// Term, vote and commit index, if they changed.
    pub hard_state: Option<HardState>,
    /// Members after the change at this index, if it was applied.
    pub conf_state: Option<(Index, ConfState)>,
}

/// A disk for Raft.
///
/// `append` with `sync` returns after the bytes are durable. An error ends the process: what
/// the disk holds after a failed sync is unknown, and to go on would acknowledge what may be lost.
pub trait Log {
    /// Term, vote and commit index as last written.
    fn hard_state(&self) -> HardState;

    /// The members, and the index of the change that made them so.
    fn conf_state(&self) -> (Index, ConfState);

    /// The first index that `entries` can give; entries before it are compacted.
    fn first_index(&self) -> Index;

    /// The last index; `first_index() - 1` if the log is empty.
    fn last_index(&self) -> Index;

    /// The term of an entry; defined for `first_index() - 1 ..= last_index()`.
    fn term(&self, index: Index) -> Result<Option<u64>, LogError>;

    /// Entries `low..high`, at least one, at most about `bytes_max`.
    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<Entry>, LogError>;

    /// The newest durable snapshot. Its `data` is what a receiver's `install` needs: the state
    /// itself in a simulation, nothing in production where the file is streamed beside it.
    fn snapshot(&self) -> Option<Snapshot>;

    /// Appends, and syncs if asked to.
    fn append(&mut self, write: Write, sync: bool) -> Result<(), LogError>;

    /// Makes a snapshot from another node durable and forgets all entries before and after it.
    fn install(&mut self, snapshot: &Snapshot, hard_state: &HardState) -> Result<(), LogError>;

    /// Forgets entries up to and including `through`. The caller has a durable snapshot there.
    fn compact(&mut self, through: Index) -> Result<(), LogError>;
}

/// Why the log cannot be opened, read or written. All of these end the process.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed or is full.
    #[error("the log cannot be written or read: {0}")]
    Disk(String),
    /// What is on disk contradicts itself.
    #[error(
        "the log is corrupt: {0}. Stop this node, move its data directory away, start it empty \
         and let the other members send it their state; never copy one node's directory to another"
    )]
    Corrupt(String),
    /// A newer program wrote this entry.
    #[error(
        "entry {index} has version {version}, which this program cannot read: start the version \
         that wrote it"
    )]
    NewerEntry { index: Index, version: u8 },
}
