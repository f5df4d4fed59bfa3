//! Who takes part: the first members, and changes one safe step at a time.

use super::api::{ChangeError, Members, MembershipChange, Output};
use super::{Driver, Unwritten};
use crate::entry::{Context, Index, Millis, NodeId, ProposalId};
use crate::log::{Log, LogError, Write};
use crate::snapshot::SnapshotData;
use raft::StateRole;
use raft::eraftpb::{
    ConfChange, ConfChangeType, ConfState, HardState, Message, MessageType, Snapshot,
};
use std::collections::{BTreeMap, BTreeSet};

/// The index of the snapshot with which a cluster begins. Not 0: a node that joins later begins
/// at 0 and must get a snapshot, since the first members are in no log entry.
pub const GENESIS_INDEX: Index = 1;

/// Entries by which a learner may lag when it is promoted: less than a second of a busy cluster.
const PROMOTE_LAG_MAX: Index = 10_000;

/// The snapshot with which a cluster begins: its first voters and their common state. The same
/// at each of them.
pub fn genesis(voters: &BTreeMap<NodeId, Vec<u8>>, state: Vec<u8>) -> Snapshot {
    let data = SnapshotData { at: 0, addresses: voters.clone(), state };
    let mut snapshot = Snapshot { data: data.encode().into(), ..Snapshot::default() };
    let conf_state = ConfState { voters: voters.keys().copied().collect(), ..ConfState::default() };
    let metadata = snapshot.mut_metadata();
    metadata.index = GENESIS_INDEX;
    metadata.term = 1;
    metadata.set_conf_state(conf_state);
    snapshot
}

/// Begins an empty log with that snapshot, whose state is durable where the log does not keep it.
pub fn begin<L: Log>(log: &mut L, genesis: &Snapshot) -> Result<(), LogError> {
    let hard_state = HardState { term: 1, commit: GENESIS_INDEX, ..HardState::default() };
    log.install(genesis, &Write { hard_state: Some(hard_state), ..Write::default() })
}

impl<L: Log> Driver<L> {
    /// Proposes one step; [`Output::Members`] says when it is done.
    pub fn change_members(
        &mut self,
        now: Millis,
        proposal: ProposalId,
        change: MembershipChange,
    ) -> Result<(), ChangeError> {
        let raft = &self.raft.raft;
        if raft.state != StateRole::Leader {
            let leader = (raft.leader_id != raft::INVALID_ID).then_some(raft.leader_id);
            return Err(ChangeError::NotLeader { leader });
        }
        if raft.has_pending_conf() || raft.lead_transferee.is_some() {
            return Err(ChangeError::UnderWay);
        }
        let (change_type, node_id, address) = self.check(change)?;
        let change =
            ConfChange { change_type, node_id, context: address.into(), ..ConfChange::default() };
        let context = Context { at: now, proposal }.encode();
        self.raft.propose_conf_change(context, change).map_err(|_| ChangeError::UnderWay)
    }

    fn check(
        &self,
        change: MembershipChange,
    ) -> Result<(ConfChangeType, NodeId, Vec<u8>), ChangeError> {
        let conf = &self.membership.conf_state;
        let is_voter = |node| conf.voters.contains(&node);
        let is_learner = |node| conf.learners.contains(&node);
        match change {
            MembershipChange::AddLearner { node, .. } if is_voter(node) || is_learner(node) => {
                Err(ChangeError::Member { node })
            }
            MembershipChange::AddLearner { node, address } => {
                Ok((ConfChangeType::AddLearnerNode, node, address))
            }
            MembershipChange::Promote { node } if !is_learner(node) => {
                Err(ChangeError::NotLearner { node })
            }
            MembershipChange::Promote { node } => {
                let last = self.raft.raft.raft_log.last_index();
                let matched = self.raft.raft.prs().get(node).map_or(0, |peer| peer.matched);
                if matched + PROMOTE_LAG_MAX < last || matched == 0 {
                    return Err(ChangeError::Behind { node, matched, last });
                }
                Ok((ConfChangeType::AddNode, node, Vec::new()))
            }
            MembershipChange::Remove { node } if !is_voter(node) && !is_learner(node) => {
                Err(ChangeError::NotMember { node })
            }
            MembershipChange::Remove { node } if conf.voters == [node] => {
                Err(ChangeError::LastVoter { node })
            }
            MembershipChange::Remove { node } if node == self.raft.raft.id => {
                Err(ChangeError::Leads { node })
            }
            MembershipChange::Remove { node } => Ok((ConfChangeType::RemoveNode, node, Vec::new())),
        }
    }

    /// A change was committed: Raft and the log learn of it at once, so that neither can be
    /// ahead of the other after a crash.
    pub(super) fn apply_change(&mut self, index: Index, change: &ConfChange) {
        if index <= self.membership.index {
            // Replayed after a restart: the log's members have it already.
            return;
        }
        let conf_state = match self.raft.apply_conf_change(change) {
            Ok(conf_state) => conf_state,
            Err(error) => {
                let error = LogError::Corrupt(format!("the membership change at {index}: {error}"));
                self.outputs.push_back(Output::Unreadable(error));
                return;
            }
        };
        self.membership.index = index;
        self.membership.conf_state = conf_state;
        self.step_down_if_removed();
        let node = change.node_id;
        let (mut added, mut removed) = (None, None);
        match change.get_change_type() {
            ConfChangeType::AddLearnerNode => {
                let address = change.context.to_vec();
                self.membership.addresses.insert(node, address.clone());
                added = Some((node, address));
            }
            ConfChangeType::AddNode => (),
            ConfChangeType::RemoveNode => {
                self.membership.addresses.remove(&node);
                removed = Some(node);
            }
        }
        let membership = Some(self.membership.clone());
        self.unwritten = Some(Unwritten::Append(Write { membership, ..Write::default() }));
        self.outputs.push_back(Output::Persist);
        self.outputs.push_back(Output::Members(self.members(added, removed)));
    }

    /// Takes out of a message what a node that is no member yet must not do.
    ///
    /// It may have been a voter under the same id, before its disk was lost. Members that were cut
    /// off when it was removed still count on it: with its vote, or its confirmation, one of them
    /// could lead beside the real leader. It is safe as soon as it has the snapshot in which it is
    /// a learner, since it has more than they do from then on.
    pub(super) fn is_for_members_only(&self, message: &mut Message) -> bool {
        if !self.membership.conf_state.voters.is_empty() {
            return false;
        }
        // To confirm a read is for voters; that the node is alive may be said.
        message.context.clear();
        let kind = message.get_msg_type();
        let learners = &message.get_snapshot().get_metadata().get_conf_state().learners;
        matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
            || kind == MessageType::MsgSnapshot && !learners.contains(&self.raft.raft.id)
    }

    /// A change that an earlier leader proposed may remove the one that leads now. It is committed
    /// by the others; raft-rs would count it among them at the next one, and panic.
    fn step_down_if_removed(&mut self) {
        let raft = &mut self.raft.raft;
        if raft.state == StateRole::Leader && !self.membership.conf_state.voters.contains(&raft.id)
        {
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
            self.elections.after_input(&mut self.raft.raft);
        }
    }

    pub(super) fn members(
        &self,
        added: Option<(NodeId, Vec<u8>)>,
        removed: Option<NodeId>,
    ) -> Members {
        let sorted = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        Members {
            voters: sorted(&self.membership.conf_state.voters).into_iter().collect(),
            learners: sorted(&self.membership.conf_state.learners).into_iter().collect(),
            addresses: self.membership.addresses.clone(),
            added: added.map(|(node, _)| node),
            removed,
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.membership.conf_state.voters == [self.raft.raft.id]
    }
}
