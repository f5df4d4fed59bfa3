//! What a log entry carries besides its data: who proposed it, and the leader's clock.
//!
//! Owns the encoding of `Entry.context`. The proposer writes its [`ProposalId`]; the leader
//! stamps its clock when it appends the entry, for its own proposals and for forwarded ones, so
//! that every replica sees the same time.

use crate::log::LogError;
use raft::eraftpb::Entry;

/// A member of the cluster; never 0 (raft-rs reserves it).
pub type NodeId = u64;

/// A position in the log; the first is 1.
pub type Index = u64;

/// Milliseconds since 1970 (Unix).
pub type Millis = u64;

/// Names one proposal, so that its proposer recognises it among the committed entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId {
    /// Who proposed it.
    pub node: NodeId,
    /// Unique for that node, over its restarts, too: it begins with the clock at start.
    pub sequence: u64,
}

/// An entry on which the cluster agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its position in the log. Indices that are missing between two of these belong to Raft
    /// itself: no-ops of new leaders and membership changes.
    pub index: Index,
    /// The term in which it was appended.
    pub term: u64,
    /// The leader's clock at the time of appending; never smaller than that of the entry before.
    pub at: Millis,
    /// Who proposed it.
    pub proposal: ProposalId,
    /// What was proposed.
    pub data: bytes::Bytes,
}

/// Version of the encoding below; the first byte.
const CONTEXT_VERSION: u8 = 1;

/// Version, clock, node, sequence.
const CONTEXT_BYTES: usize = 1 + 8 + 8 + 8;

/// The context of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) at: Millis,
    pub(crate) proposal: ProposalId,
}

impl Context {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CONTEXT_BYTES);
        bytes.push(CONTEXT_VERSION);
        bytes.extend_from_slice(&self.at.to_le_bytes());
        bytes.extend_from_slice(&self.proposal.node.to_le_bytes());
        bytes.extend_from_slice(&self.proposal.sequence.to_le_bytes());
        bytes
    }

    /// `None`: not ours (empty, cut, or of another version).
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != CONTEXT_BYTES || bytes[0] != CONTEXT_VERSION {
            return None;
        }
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let proposal = ProposalId { node: word(9), sequence: word(17) };
        Some(Self { at: word(1), proposal })
    }

    /// The context of a committed entry; anything else than what we write means a newer version
    /// or a damaged log, and applying past it would make this replica differ.
    pub(crate) fn of(entry: &Entry) -> Result<Self, LogError> {
        Self::decode(&entry.context).ok_or_else(|| match entry.context.first() {
            Some(&version) if version > CONTEXT_VERSION => {
                LogError::NewerEntry { index: entry.index, version }
            }
            Some(_) | None => LogError::Corrupt(format!(
                "entry {} has a context of {} bytes, expected {CONTEXT_BYTES}",
                entry.index,
                entry.context.len()
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_its_encoding() {
        let proposal = ProposalId { node: 3, sequence: u64::MAX };
        let context = Context { at: 1_700_000_000_000, proposal };
        assert_eq!(Context::decode(&context.encode()), Some(context));
    }

    #[test]
    fn a_newer_context_stops_the_replica() {
        let entry = Entry { index: 9, context: vec![2; 30].into(), ..Entry::default() };
        let refused = Context::of(&entry);
        assert!(matches!(refused, Err(LogError::NewerEntry { index: 9, version: 2 })));
    }
}
