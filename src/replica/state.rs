//! What the Raft thread remembers between turns.
//!
//! Values only: what is done with them is [`super::thread`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tandem_cluster::clock::LogClock;
use tandem_cluster::driver::MembershipChange;
use tandem_cluster::records::Rows;
use tandem_cluster::{Committed, Index, Message, NodeId, ReadId};
use tokio::sync::oneshot;

use super::handle::{ChangeFailed, Input, Reading};
use super::machine::Machine;

/// What the thread remembers between turns.
pub(super) struct State<M: Machine> {
    pub(super) reads: BTreeMap<ReadId, Reading<M>>,
    pub(super) next_read: u64,
    pub(super) change: Option<Change>,
    /// The leader's proposal that time has passed is under way.
    pub(super) ticking: Arc<AtomicBool>,
    pub(super) outgoing: BTreeMap<NodeId, Vec<Message>>,
    pub(super) commits: Vec<Committed>,
    pub(super) rows: Vec<Rows>,
    pub(super) rows_waiting: usize,
    /// What the keeper was given last, and when.
    pub(super) kept: Index,
    pub(super) kept_when: Instant,
    pub(super) snapshot_index: Index,
    pub(super) snapshot_under_way: bool,
    /// No snapshot before this, after one failed.
    pub(super) snapshot_pause: Option<Instant>,
    pub(super) tick_at: Instant,
    pub(super) clock: LogClock,
    /// What is applied from now on was committed since this process began.
    pub(super) is_caught_up: bool,
    pub(super) disk_at: Instant,
    pub(super) disk_full: bool,
    /// What this thread has to tell itself in the next turn.
    pub(super) later: Vec<Input<M>>,
    /// Why it must not go on.
    pub(super) failed: Option<String>,
    /// When to end at the latest.
    pub(super) stop_at: Option<Instant>,
}

pub(super) struct Change {
    pub(super) change: MembershipChange,
    pub(super) done: oneshot::Sender<Result<(), ChangeFailed>>,
    pub(super) until: Instant,
}

impl<M: Machine> State<M> {
    pub(super) fn new(kept: Index, snapshot_index: Index) -> Self {
        let now = Instant::now();
        Self {
            reads: BTreeMap::new(),
            next_read: 0,
            change: None,
            ticking: Arc::default(),
            outgoing: BTreeMap::new(),
            commits: Vec::new(),
            rows: Vec::new(),
            rows_waiting: 0,
            kept,
            kept_when: now,
            snapshot_index,
            snapshot_under_way: false,
            snapshot_pause: None,
            tick_at: now,
            clock: LogClock::default(),
            is_caught_up: false,
            disk_at: now,
            disk_full: false,
            later: Vec::new(),
            failed: None,
            stop_at: None,
        }
    }
}
