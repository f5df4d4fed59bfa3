//! Linearizable reads: one question to the leader for all reads that wait, asked again when it
//! is lost.
//!
//! raft-rs drops a read request without a word when there is no leader, or a new one that has
//! not committed anything yet.

use super::api::{Options, ReadId};
use crate::entry::{Index, NodeId};
use crate::log::Log;
use raft::{RawNode, ReadState};
use std::collections::BTreeMap;

/// Questions under way. Raft answers each in a round trip; past it, reads wait for the next one.
const QUESTIONS_MAX: usize = 64;

/// The reads of this node.
pub(super) struct Reads {
    node: NodeId,
    incarnation: u64,
    next: u64,
    /// Not asked yet.
    waiting: Vec<ReadId>,
    asked: BTreeMap<u64, Question>,
    /// Answered: to be given out when this index is applied. A node that is cut off after the
    /// answer may never see it.
    answered: Vec<(Index, Question)>,
    retry_ticks: usize,
    failed_ticks: usize,
}

struct Question {
    reads: Vec<ReadId>,
    ticks: usize,
}

impl Reads {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            node: options.node,
            incarnation: options.incarnation,
            next: 0,
            waiting: Vec::new(),
            asked: BTreeMap::new(),
            answered: Vec::new(),
            // A round trip takes less than the time between two heartbeats, or is lost.
            retry_ticks: options.heartbeat_ticks.max(2),
            // Long enough for an election and its repetition.
            failed_ticks: options.election_ticks * 4,
        }
    }

    pub(super) fn ask(&mut self, read: ReadId) {
        self.waiting.push(read);
    }

    /// Repeats questions, and gives up on those that are too old, answered or not.
    pub(super) fn tick(&mut self) -> Vec<ReadId> {
        let (retry, failed) = (self.retry_ticks, self.failed_ticks);
        let mut given_up = Vec::new();
        self.asked.retain(|_, question| {
            question.ticks += 1;
            if question.ticks >= failed {
                given_up.append(&mut question.reads);
            }
            question.ticks < failed
        });
        self.answered.retain_mut(|(_, question)| {
            question.ticks += 1;
            if question.ticks >= failed {
                given_up.append(&mut question.reads);
            }
            question.ticks < failed
        });
        for question in self.asked.values_mut() {
            if question.ticks % retry == 0 {
                question.ticks |= REPEAT;
            }
        }
        given_up
    }

    pub(super) fn flush<L: Log>(&mut self, raft: &mut RawNode<super::Disk<L>>) {
        let (node, incarnation) = (self.node, self.incarnation);
        for (&number, question) in &mut self.asked {
            if question.ticks & REPEAT != 0 {
                question.ticks &= !REPEAT;
                raft.read_index(encode(node, incarnation, number));
            }
        }
        if self.waiting.is_empty() || self.asked.len() >= QUESTIONS_MAX {
            return;
        }
        let reads = std::mem::take(&mut self.waiting);
        self.next += 1;
        self.asked.insert(self.next, Question { reads, ticks: 0 });
        raft.read_index(encode(node, incarnation, self.next));
    }

    pub(super) fn answered(&mut self, states: Vec<ReadState>) {
        for state in states {
            // Answers to questions of an earlier start of this node, or to repeated ones, find
            // nothing.
            let number = decode(&state.request_ctx, self.node, self.incarnation);
            if let Some(mut question) = number.and_then(|number| self.asked.remove(&number)) {
                question.ticks &= !REPEAT;
                self.answered.push((state.index, question));
            }
        }
    }

    pub(super) fn due(&mut self, applied: Index) -> Vec<ReadId> {
        let mut due = Vec::new();
        self.answered.retain_mut(|(index, question)| {
            if *index <= applied {
                due.append(&mut question.reads);
            }
            *index > applied
        });
        due
    }
}

/// Marks a question that is to be asked again; ticks never reach it.
const REPEAT: usize = 1 << 30;

fn encode(node: NodeId, incarnation: u64, number: u64) -> Vec<u8> {
    [node, incarnation, number].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn decode(bytes: &[u8], node: NodeId, incarnation: u64) -> Option<u64> {
    let (head, number) = bytes.split_at_checked(16)?;
    let ours = encode(node, incarnation, 0);
    (*head == ours[..16]).then_some(u64::from_le_bytes(number.try_into().ok()?))
}
