//! The log as raft-rs wants to see it.

use crate::log::{Log, LogError};
use raft::eraftpb::{Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::Cell;

/// A [`Log`] that raft-rs reads from.
pub(super) struct Disk<L> {
    log: L,
    snapshot_wanted: Cell<bool>,
}

impl<L: Log> Disk<L> {
    pub(super) fn new(log: L) -> Self {
        Self { log, snapshot_wanted: Cell::new(false) }
    }

    pub(super) fn log(&self) -> &L {
        &self.log
    }

    pub(super) fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    /// A learner may have been a voter before, and be one in an older snapshot: it gets one that
    /// has the change that made it a learner, which is the newest or one before.
    fn fits(&self, snapshot: &Snapshot, to: u64) -> bool {
        let now = self.log.membership();
        let (metadata, is_learner) =
            (snapshot.get_metadata(), now.conf_state.learners.contains(&to));
        let then = metadata.get_conf_state();
        then.voters.contains(&to) && !is_learner
            || then.learners.contains(&to) && metadata.index >= now.index
    }

    /// Whether a follower asked for a snapshot that there is not.
    pub(super) fn take_snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.take()
    }
}

impl<L: Log> Storage for Disk<L> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.log.hard_state(), self.log.membership().conf_state))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.log.first_index() {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.log.entries(low, high, max_size.into().unwrap_or(u64::MAX)).map_err(other)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index + 1 < self.log.first_index() {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.log.term(index).map_err(other)?.ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        match self.log.snapshot() {
            Some(snapshot)
                if snapshot.get_metadata().index >= request_index
                    // The entries that follow it must still be there,
                    && snapshot.get_metadata().index + 1 >= self.log.first_index()
                    // and a member takes only a snapshot in which it is what it is.
                    && self.fits(&snapshot, to) =>
            {
                Ok(snapshot)
            }
            Some(_) | None => {
                self.snapshot_wanted.set(true);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

fn other(error: LogError) -> Error {
    Error::Store(StorageError::Other(Box::new(error)))
}
