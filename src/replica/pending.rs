//! Proposals of this node that wait for their commit.

use super::handle::{Answer, ProposalError, Waiter};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tandem_cluster::{Index, Millis, NodeId, ProposalId};

/// Proposals under way, in the order in which they were made.
pub(super) struct Pending<R> {
    node: NodeId,
    next: u64,
    timeout: Duration,
    waiting: BTreeMap<u64, Entry<R>>,
}

struct Entry<R> {
    waiter: Waiter<R>,
    term: u64,
    until: Instant,
}

impl<R> Pending<R> {
    /// `incarnation` is the clock at start in ms: sequences of different starts must not meet.
    pub(super) fn new(node: NodeId, incarnation: Millis, timeout: Duration) -> Self {
        // 2^20 proposals in each ms of a start's life are more than there can be.
        Self { node, next: incarnation << 20, timeout, waiting: BTreeMap::new() }
    }

    /// The id of the next proposal.
    pub(super) fn id(&mut self) -> ProposalId {
        self.next += 1;
        ProposalId { node: self.node, sequence: self.next }
    }

    pub(super) fn wait(&mut self, id: ProposalId, waiter: Waiter<R>, term: u64, now: Instant) {
        let until = now + self.timeout;
        self.waiting.insert(id.sequence, Entry { waiter, term, until });
    }

    /// The one who waits for this proposal, if it is here, and since when.
    pub(super) fn take(&mut self, id: ProposalId) -> Option<(Waiter<R>, Instant)> {
        if id.node != self.node {
            return None;
        }
        let entry = self.waiting.remove(&id.sequence)?;
        Some((entry.waiter, entry.until - self.timeout))
    }

    /// Gives up on those that wait too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Waiter<R>> {
        let mut expired = Vec::new();
        while let Some(first) = self.waiting.first_entry().filter(|e| e.get().until <= now) {
            expired.push(first.remove().waiter);
        }
        expired
    }

    /// Gives up on those of earlier terms: they would have been applied before.
    pub(super) fn settle(&mut self, term: u64) -> Vec<Waiter<R>> {
        // Terms only grow, so that the old ones come first.
        let mut old = Vec::new();
        while let Some(first) = self.waiting.first_entry().filter(|e| e.get().term < term) {
            old.push(first.remove().waiter);
        }
        old
    }

    /// All of them, at the end.
    pub(super) fn drain(&mut self) -> Vec<Waiter<R>> {
        std::mem::take(&mut self.waiting).into_values().map(|entry| entry.waiter).collect()
    }
}

/// An answer for the one who waits.
pub(super) struct Reply<R> {
    waiter: Waiter<R>,
    answer: Result<Answer<R>, ProposalError>,
}

impl<R> Reply<R> {
    pub(super) fn new(waiter: Waiter<R>, index: Index, at: Millis, reply: R) -> Self {
        Self { waiter, answer: Ok(Answer { index, at, reply }) }
    }

    pub(super) fn give(self) {
        (self.waiter)(self.answer);
    }
}
