//! The forced recovery of a minority: the members that are left form the cluster by themselves.
//!
//! Owns what is rewritten in the log of a stopped node: who votes, and a new term. What the lost
//! members acknowledged and this log does not have is lost. Refuses a log in which a membership
//! change is not settled. It is for the shell to see that nobody else goes on as the old cluster,
//! and that none of its members are talked to again ([`crate::store::Store::recovered`]).

use crate::entry::{Context, Index, Millis, NodeId};
use crate::log::{Log, LogError, Membership, Write};
use raft::eraftpb::{ConfState, EntryType, HardState};
use std::collections::BTreeSet;

/// Entries that are read at once.
const READ_BYTES: u64 = 1024 * 1024;

/// How far back the time of the newest entry is looked for.
const LOOKED_BACK: Index = 64;

/// What a log says, for whoever decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The last entry.
    pub last: Index,
    /// Its term.
    pub last_term: u64,
    /// When the leader of then wrote it, if the log still has it.
    pub last_at: Option<Millis>,
    /// The present term.
    pub term: u64,
    /// What this node knows to be agreed on by a majority.
    pub committed: Index,
    /// The newest snapshot.
    pub snapshot: Index,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who only learns.
    pub learners: Vec<NodeId>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Nothing was ever agreed on here.
    #[error("this directory has no member's log: there is nothing to recover")]
    Empty,
    /// A survivor is no voter.
    #[error("node {node} does not vote in this cluster: its voters are {voters:?}")]
    NotVoter { node: NodeId, voters: Vec<NodeId> },
    /// There is a majority.
    #[error(
        "{survivors:?} are a majority of {voters:?}: start them, and they go on without any loss"
    )]
    Majority { survivors: Vec<NodeId>, voters: Vec<NodeId> },
    /// What several survivors would make of it may differ.
    #[error(
        "entry {index} is a membership change that may not be settled: recover one node alone, and \
         add the others to it"
    )]
    Unsettled { index: Index },
}

/// Looks, and changes nothing.
pub fn look(log: &impl Log) -> Result<Found, RecoveryError> {
    let (membership, last) = (log.membership(), log.last_index());
    let hard_state = log.hard_state();
    let low = log.first_index().max(last.saturating_sub(LOOKED_BACK));
    let newest = if low <= last { log.entries(low, last + 1, READ_BYTES)? } else { Vec::new() };
    // Raft's own entries have no time.
    let last_at = newest.iter().rev().find_map(|entry| Context::decode(&entry.context));
    let sorted = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
    Ok(Found {
        last,
        last_term: log.term(last)?.unwrap_or_default(),
        last_at: last_at.map(|context| context.at),
        term: hard_state.term,
        committed: hard_state.commit,
        snapshot: log.snapshot().map_or(0, |snapshot| snapshot.get_metadata().index),
        voters: sorted(&membership.conf_state.voters).into_iter().collect(),
        learners: sorted(&membership.conf_state.learners).into_iter().collect(),
    })
}

/// Whether these survivors may form the cluster, without changing anything.
pub fn check(log: &impl Log, survivors: &BTreeSet<NodeId>) -> Result<(), RecoveryError> {
    let voters = look(log)?.voters;
    if voters.is_empty() {
        return Err(RecoveryError::Empty);
    }
    if let Some(&node) = survivors.iter().find(|node| !voters.contains(node)) {
        return Err(RecoveryError::NotVoter { node, voters });
    }
    if survivors.len() > voters.len() / 2 {
        let survivors = survivors.iter().copied().collect();
        return Err(RecoveryError::Majority { survivors, voters });
    }
    let mut next = log.first_index().max(log.membership().index + 1);
    while survivors.len() > 1 && next <= log.last_index() {
        let entries = log.entries(next, log.last_index() + 1, READ_BYTES)?;
        let change = entries.iter().find(|entry| entry.get_entry_type() != EntryType::EntryNormal);
        if let Some(entry) = change {
            return Err(RecoveryError::Unsettled { index: entry.index });
        }
        next += entries.len() as u64;
    }
    Ok(())
}

/// These form the cluster from now on; durable when it returns. Every entry of the log stays: the
/// first leader commits all of them, those too of which nobody knows whether they were agreed on.
pub fn recover(log: &mut impl Log, survivors: &BTreeSet<NodeId>) -> Result<(), RecoveryError> {
    check(log, survivors)?;
    let mut addresses = log.membership().addresses;
    addresses.retain(|node, _| survivors.contains(node));
    let voters = survivors.iter().copied().collect();
    // Changes before it are not applied any more, whoever proposed them.
    let index = log.last_index();
    let conf_state = ConfState { voters, ..ConfState::default() };
    let before = log.hard_state();
    // The vote of a term is given once; in a new one nobody has voted.
    let hard_state = HardState { term: before.term + 1, vote: 0, ..before };
    let membership = Some(Membership { index, conf_state, addresses });
    let write = Write { entries: Vec::new(), hard_state: Some(hard_state), membership };
    Ok(log.append(write, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{begin, genesis};
    use crate::log::MemoryLog;
    use raft::eraftpb::Entry;
    use std::collections::BTreeMap;

    fn log(voters: u64, entries: &[EntryType]) -> MemoryLog {
        let mut log = MemoryLog::default();
        let addresses: BTreeMap<_, _> = (1..=voters).map(|node| (node, vec![node as u8])).collect();
        begin(&mut log, &genesis(&addresses, Vec::new())).unwrap();
        let entry = |(index, kind): (u64, &EntryType)| {
            let mut entry = Entry { term: 3, index, ..Entry::default() };
            entry.set_entry_type(*kind);
            entry
        };
        let entries = (2..).zip(entries).map(entry).collect();
        log.append(Write { entries, ..Write::default() }, true).unwrap();
        log
    }

    fn of<const N: usize>(nodes: [NodeId; N]) -> BTreeSet<NodeId> {
        nodes.into()
    }

    #[test]
    fn the_survivor_votes_alone_and_keeps_every_entry() {
        let mut log = log(3, &[EntryType::EntryNormal, EntryType::EntryConfChange]);
        let before = look(&log).unwrap();
        assert_eq!(
            (before.voters.as_slice(), before.last, before.last_term),
            (&[1, 2, 3][..], 3, 3)
        );
        recover(&mut log, &of([2])).unwrap();
        let after = look(&log).unwrap();
        let voters = vec![2];
        assert_eq!(after, Found { voters, term: before.term + 1, ..before });
        assert_eq!(log.hard_state().vote, 0);
        assert_eq!(log.membership().index, 3, "what was under way is not applied any more");
        assert_eq!(log.membership().addresses, BTreeMap::from([(2, vec![2])]));
        assert_eq!(log.entries(2, 4, u64::MAX).unwrap().len(), 2);
    }

    #[test]
    fn a_majority_a_stranger_and_an_empty_directory_are_refused() {
        let mut three = log(3, &[]);
        let refused = recover(&mut three, &of([1, 3])).unwrap_err();
        assert!(matches!(refused, RecoveryError::Majority { .. }), "{refused}");
        let refused = recover(&mut three, &of([4])).unwrap_err();
        assert!(matches!(refused, RecoveryError::NotVoter { node: 4, .. }), "{refused}");
        let refused = recover(&mut MemoryLog::default(), &of([1])).unwrap_err();
        assert!(matches!(refused, RecoveryError::Empty), "{refused}");
        assert_eq!(look(&three).unwrap().voters, [1, 2, 3]);
    }

    #[test]
    fn several_survivors_need_a_settled_membership() {
        let mut five = log(5, &[EntryType::EntryNormal, EntryType::EntryConfChange]);
        let refused = recover(&mut five, &of([1, 2])).unwrap_err();
        assert!(matches!(refused, RecoveryError::Unsettled { index: 3 }), "{refused}");
        let mut five = log(5, &[EntryType::EntryNormal]);
        recover(&mut five, &of([1, 2])).unwrap();
        assert_eq!(look(&five).unwrap().voters, [1, 2]);
    }
}
