//! What the replica needs of the state that it replicates.

use tandem_cluster::{Committed, Index, Millis, Role};

/// A replicated state: the same entries in the same order make the same state everywhere.
///
/// Lives behind a read-write lock: the Raft thread writes while it applies, anyone may read.
/// `apply` depends on nothing but its arguments; whatever it does to the outside (waking actors)
/// goes through channels and happens at every member.
pub trait Machine: Send + Sync + 'static {
    /// What a proposer gets back when its proposal has been applied.
    type Reply: Send + 'static;

    /// Applies one entry. Must not panic: every member would stop at the same entry.
    fn apply(&mut self, entry: &Committed) -> Applied<Self::Reply>;

    /// Called once after a batch of entries, before any proposer is told. The place to notify
    /// actors of what changed, once for the batch.
    fn after_batch(&mut self, _applied: Index) {}

    /// The leader changed, or this node's part in it.
    fn role_changed(&mut self, _role: Role) {}

    /// When the state next wants to know that time has passed; the leader then proposes
    /// [`Machine::tick_command`].
    fn next_deadline(&self) -> Option<Millis> {
        None
    }

    /// What the leader proposes when a deadline is due.
    fn tick_command(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Keys and values that changed since the last call, each once, with its present value;
    /// `None` deletes. Asked every [`ReplicaConfig::cache_every`](super::ReplicaConfig), not at
    /// each entry, so that a value that changed five times is encoded once. Nothing counts as
    /// changed afterwards.
    fn take_changes(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)>;

    /// The whole state as bytes, with the version that wrote it.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by one that `snapshot` made, possibly elsewhere and by another version.
    /// All of it counts as changed afterwards: the next `take_changes` gives every pair.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError>;

    /// Replaces the state by the pairs that `take_changes` gave so far; nothing of it counts as
    /// changed afterwards. An error costs only time: the state is then rebuilt from snapshot and
    /// log.
    fn restore_pairs(
        &mut self,
        pairs: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), RestoreError>;
}

/// What came of one entry.
#[derive(Debug)]
pub struct Applied<R> {
    /// For the proposer, if it is at this node.
    pub reply: R,
    /// Rows for the records, in the node's own encoding; the
    /// [`RecordSink`](tandem_cluster::records::RecordSink) writes them. Every member writes them.
    pub records: Vec<Vec<u8>>,
}

/// Why a state cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RestoreError(pub String);
