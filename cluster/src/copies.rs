//! Raft's messages as datagrams beside the connection: which batches go both ways, and which way
//! comes first.
//!
//! A connection holds back everything behind a lost segment, and one that carries little notices
//! the loss only by a timer of 200 ms or more (RFC 6298 §2.4): votes and heartbeats wait for an
//! append that nobody needs any more. So a small batch goes as a datagram, too. [`Copied`] numbers
//! those batches and says which; [`Taken`] lets each in once, whichever way it comes, so that a
//! proposal that is handed to the leader is not appended twice and a datagram that somebody
//! recorded does nothing.
//!
//! Owns no socket and no clock. Does not repeat, order or acknowledge anything: Raft does.

use crate::presence::Moment;
use raft::eraftpb::{Message, MessageType};
use std::collections::BTreeSet;

/// What one copy costs of the credit that a millisecond adds one to: 500 a second. Whoever sends
/// more has so many segments under way that the next ones show which was lost (RFC 8985).
const COST: u64 = 2;

/// Credit after a pause: a burst of 64 copies.
const CREDIT_MAX: u64 = 64 * COST;

/// Credit that is kept for who leads: elections and heartbeats.
const RESERVED: u64 = 16 * COST;

/// For so many milliseconds after a batch that went only on the connection nothing that may depend
/// on it is copied. Entries that overtake what they follow are refused and asked for again.
const ALONE_MS: u64 = 20;

/// Numbers of batches that are remembered above a gap. What comes later than so many others is out
/// of date.
const REMEMBERED_MAX: usize = 1024;

/// A batch of messages that goes both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchId {
    /// The process that sends it; see [`crate::presence::Beat::incarnation`].
    pub incarnation: u64,
    /// Which of its batches to this node; from 1 on.
    pub number: u64,
}

/// The batches to one node.
#[derive(Clone, Debug, Default)]
pub struct Copied {
    last: u64,
    credit: u64,
    counted: Moment,
    /// When a batch went on the connection alone.
    alone: Option<Moment>,
}

impl Copied {
    /// The number of this batch if it is to go both ways; `fits` if a datagram can have it.
    pub fn number(&mut self, now: Moment, messages: &[Message], fits: bool) -> Option<u64> {
        let passed = now.saturating_sub(self.counted);
        self.credit = self.credit.saturating_add(passed).min(CREDIT_MAX);
        self.counted = now;
        if messages.iter().all(is_of_leadership) {
            return (fits && self.credit >= COST).then(|| self.next());
        }
        let is_behind = self.alone.is_some_and(|at| now.saturating_sub(at) < ALONE_MS);
        let is_flood = self.credit < RESERVED + COST;
        if fits && !is_behind && !is_flood {
            return Some(self.next());
        }
        if !fits || is_flood {
            self.alone = Some(now);
        }
        // Counted, too: a flood is not over because of it.
        if !is_flood {
            self.credit -= COST;
        }
        None
    }

    fn next(&mut self) -> u64 {
        self.credit -= COST;
        self.last += 1;
        self.last
    }
}

/// Whether it says who leads, and nothing of entries that others depend on.
fn is_of_leadership(message: &Message) -> bool {
    matches!(
        message.get_msg_type(),
        MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgTimeoutNow
    )
}

/// The batches from one node.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    incarnation: u64,
    /// Every number up to this one is taken, or too old.
    through: u64,
    above: BTreeSet<u64>,
}

impl Taken {
    /// Whether this batch, which has come now, is new. `present` is the incarnation that the
    /// sender's beats have; another process' batches are passed over.
    pub fn take(&mut self, present: u64, batch: BatchId) -> bool {
        if batch.incarnation != present {
            return false;
        }
        if self.incarnation != present {
            *self = Self { incarnation: present, ..Self::default() };
        }
        if batch.number <= self.through || !self.above.insert(batch.number) {
            return false;
        }
        if self.above.len() > REMEMBERED_MAX
            && let Some(first) = self.above.pop_first()
        {
            self.through = first;
        }
        while self.above.first().is_some_and(|first| *first == self.through + 1) {
            self.above.pop_first();
            self.through += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests;
