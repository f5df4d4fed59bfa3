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
use protobuf::Message as _;
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

/// Parts of what one turn produced: an eighth of a megabyte. More is for the connection alone.
const PARTS_MAX: usize = 16;

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
    /// The number of the first of these [`parts`] of what one turn produced, if they are to go both
    /// ways; the others follow it. `None` for no parts: it is too long.
    pub fn number(&mut self, now: Moment, parts: Option<&[Vec<Message>]>) -> Option<u64> {
        let cost = COST * parts.map_or(1, |parts| parts.len() as u64);
        let passed = now.saturating_sub(self.counted);
        self.credit = self.credit.saturating_add(passed).min(CREDIT_MAX);
        self.counted = now;
        let all = parts.unwrap_or_default();
        if parts.is_some() && all.iter().flatten().all(is_of_leadership) {
            return (self.credit >= cost).then(|| self.next(cost));
        }
        let is_behind = self.alone.is_some_and(|at| now.saturating_sub(at) < ALONE_MS);
        let is_flood = self.credit < RESERVED + cost;
        if parts.is_some() && !is_behind && !is_flood {
            return Some(self.next(cost));
        }
        if parts.is_none() || is_flood {
            self.alone = Some(now);
        }
        // Counted, too: a flood is not over because of it.
        if self.credit >= RESERVED + COST {
            self.credit -= COST;
        }
        None
    }

    fn next(&mut self, cost: u64) -> u64 {
        self.credit -= cost;
        self.last += cost / COST;
        self.last + 1 - cost / COST
    }
}

/// Messages in parts of so many bytes at most, each with the four of its length. Entries that one
/// message has go in several, as they might have been sent; `None` if an entry is too long, or if
/// there are too many parts.
pub fn parts(messages: &[Message], bytes_max: usize) -> Option<Vec<Vec<Message>>> {
    let mut parts: Vec<Vec<Message>> = vec![Vec::new()];
    let mut room = bytes_max;
    for message in messages {
        for message in divided(message, bytes_max)? {
            let size = size(&message);
            if size > room && parts.len() == PARTS_MAX {
                return None;
            }
            if size > room {
                parts.push(Vec::new());
                room = bytes_max;
            }
            room = room.checked_sub(size)?;
            parts.last_mut()?.push(message);
        }
    }
    Some(parts)
}

/// An append or a proposal that is too long as several. Each append but the first follows the last
/// entry of the one before.
fn divided(message: &Message, bytes_max: usize) -> Option<Vec<Message>> {
    if size(message) <= bytes_max {
        return Some(vec![message.clone()]);
    }
    let (kind, entries) = (message.get_msg_type(), message.get_entries());
    let is_long = message.compute_size() as usize > bytes_max * PARTS_MAX;
    let may = matches!(kind, MessageType::MsgAppend | MessageType::MsgPropose);
    if is_long || !may {
        return None;
    }
    let mut next = message.clone();
    next.mut_entries().clear();
    let mut divided = Vec::new();
    for entry in entries {
        // Two bytes of tag and up to five of length are more than it needs.
        if !next.get_entries().is_empty()
            && size(&next) + entry.compute_size() as usize + 8 > bytes_max
        {
            let mut following = message.clone();
            following.mut_entries().clear();
            if let (MessageType::MsgAppend, Some(last)) = (kind, next.get_entries().last()) {
                (following.index, following.log_term) = (last.index, last.term);
            }
            divided.push(std::mem::replace(&mut next, following));
        }
        next.mut_entries().push(entry.clone());
    }
    divided.push(next);
    divided.iter().all(|part| size(part) <= bytes_max).then_some(divided)
}

/// Bytes of a message and its length.
fn size(message: &Message) -> usize {
    4 + message.compute_size() as usize
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
