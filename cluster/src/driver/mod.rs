//! The Raft machine: inputs and ticks in, things to do out, in the one order that is safe.
//!
//! Wraps raft-rs. Owns the order of the Ready loop (persist, then send, then apply), the leader's
//! clock in each entry, the batching of proposals, reads with their retries, and membership one
//! step at a time. Performs nothing: [`Output`]s say what to do.
//!
//! The shell's loop: any number of inputs and at most one tick, then [`Driver::poll_output`]
//! until it gives nothing more, performing each output before taking the next. The leader's
//! messages to its followers come before [`Output::Persist`] (Raft thesis §10.2.1: its own disk
//! and theirs write at the same time); everything that acknowledges comes after it.

mod api;
mod disk;
mod elections;
mod membership;
mod reads;

pub use api::{
    ChangeError, Lost, Members, MembershipChange, Options, Output, PROPOSAL_BYTES_MAX,
    PeerProgress, ProposeError, ReadId, Role, StartError, Status,
};
pub use membership::{GENESIS_INDEX, begin, genesis};

use crate::entry::{Committed, Context, Index, Millis, NodeId, ProposalId};
use crate::log::{Log, LogError, Membership, Write};
use crate::snapshot::SnapshotData;
use disk::Disk;
use elections::Elections;
use protobuf::Message as _;
use std::collections::BTreeSet;

use raft::eraftpb::{ConfChange, Entry, EntryType, Message, MessageType, Snapshot};
use raft::{RawNode, Ready, SnapshotStatus, StateRole};
use reads::Reads;
use std::collections::VecDeque;

/// A member of the cluster, as a machine.
pub struct Driver<L: Log> {
    raft: RawNode<Disk<L>>,
    elections: Elections,
    reads: Reads,
    /// Proposals since the last Ready; they go to Raft as one message.
    proposed: Vec<Entry>,
    /// Performed in this order before anything else happens.
    outputs: VecDeque<Output>,
    /// Given out after `outputs`.
    committed: VecDeque<Entry>,
    stage: Stage,
    /// What [`Output::Persist`] asks to write.
    unwritten: Option<Unwritten>,
    /// It was given out, and [`Driver::persist`] has not been called.
    persisting: bool,
    role: Role,
    membership: Membership,
    applied: Index,
    /// The time of the last entry given out.
    applied_at: Millis,
    /// The time of the last entry that this node stamped as the leader.
    stamped_at: Millis,
    message_bytes_max: u64,
}

/// How far the present Ready is.
enum Stage {
    /// None under way; inputs are welcome.
    Idle,
    /// It is being written to the disk.
    Writing { ready: Box<Ready> },
    /// All but the end of it is done.
    Advance { ready: Box<Ready> },
}

/// What `persist` will write.
enum Unwritten {
    Append(Write),
    Install { snapshot: Box<Snapshot>, write: Write },
}

impl<L: Log> Driver<L> {
    /// A member that goes on from what its log has; see [`genesis`] and [`begin`] for the first start.
    pub fn new(options: &Options, mut log: L, logger: &slog::Logger) -> Result<Self, StartError> {
        let (first, last) = (log.first_index(), log.last_index());
        if options.applied > last {
            return Err(StartError::LogLost { applied: options.applied, last });
        }
        if options.applied + 1 < first {
            return Err(StartError::StateLost { applied: options.applied, first });
        }
        let mut hard_state = log.hard_state();
        if hard_state.commit < options.applied {
            // The commit index is written with the next entries only, and what was applied was
            // committed.
            hard_state.commit = options.applied;
            log.append(Write { hard_state: Some(hard_state), ..Write::default() }, false)?;
        }
        let membership = log.membership();
        let raft = RawNode::new(&config(options), Disk::new(log), logger)
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let role = Role { term: raft.raft.term, leader: None, leading: false };
        let mut driver = Self {
            elections: Elections::new(options),
            reads: Reads::new(options),
            raft,
            proposed: Vec::new(),
            outputs: VecDeque::new(),
            committed: VecDeque::new(),
            stage: Stage::Idle,
            unwritten: None,
            persisting: false,
            role,
            membership,
            applied: options.applied,
            applied_at: options.applied_at,
            stamped_at: options.applied_at,
            message_bytes_max: options.message_bytes_max,
        };
        driver.elections.started(&mut driver.raft.raft);
        if driver.is_alone() {
            // Nobody else could answer, so nothing is gained by waiting.
            drop(driver.raft.campaign());
            driver.elections.after_input(&mut driver.raft.raft);
        }
        Ok(driver)
    }

    /// Appends `data` to the log, or hands it to the leader. Not durable before it comes back as
    /// [`Output::Commit`]; if it does not, its fate is unknown. `now` stamps it if this node
    /// leads.
    pub fn propose(
        &mut self,
        now: Millis,
        proposal: ProposalId,
        data: Vec<u8>,
    ) -> Result<(), ProposeError> {
        if data.len() > PROPOSAL_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: data.len() });
        }
        let raft = &self.raft.raft;
        if raft.leader_id == raft::INVALID_ID || raft.lead_transferee.is_some() {
            return Err(ProposeError::NoLeader);
        }
        let context = Context { at: now, proposal }.encode().into();
        self.proposed.push(Entry { data: data.into(), context, ..Entry::default() });
        Ok(())
    }

    /// Asks for [`Output::Read`] once the state has everything that was committed anywhere
    /// before now.
    pub fn read(&mut self, read: ReadId) {
        self.reads.ask(read);
    }

    /// The time of the last entry that was applied: none that follows is earlier.
    #[must_use]
    pub fn applied_at(&self) -> Millis {
        self.applied_at
    }

    /// Lets `to` lead; it does soon if it is a voter that keeps up.
    pub fn transfer_leader(&mut self, to: NodeId) {
        if self.raft.raft.prs().conf().voters().contains(to) {
            self.raft.transfer_leader(to);
        }
    }

    /// Lets that voter lead which was heard lately and has the most of the log: who that is. One of
    /// `last` only if there is no other.
    pub fn hand_over(&mut self, last: &BTreeSet<NodeId>) -> Option<NodeId> {
        let Status { members, peers, .. } = self.status();
        let able = peers.iter().filter(|p| p.recently_active && members.voters.contains(&p.node));
        let to = able.max_by_key(|peer| (!last.contains(&peer.node), peer.matched))?.node;
        self.raft.transfer_leader(to);
        Some(to)
    }

    /// A message from another member arrived.
    ///
    /// Only what members sent may come here: raft-rs trusts its peers.
    pub fn handle_message(&mut self, now: Millis, mut message: Message) -> Result<(), Lost> {
        self.expect_idle();
        let raft = &self.raft.raft;
        if message.to != raft.id || message.from == raft.id || message.from == raft::INVALID_ID {
            return Ok(());
        }
        if self.is_for_members_only(&mut message) {
            return Ok(());
        }
        let raft = &self.raft.raft;
        if message.get_msg_type() == MessageType::MsgHeartbeat
            && message.term >= raft.term
            && message.commit > raft.raft_log.last_index()
        {
            // The leader commits to a follower only what that has acknowledged. raft-rs would
            // panic.
            return Err(Lost { acknowledged: message.commit, last: raft.raft_log.last_index() });
        }
        if !follow_each_other(&message) {
            return Ok(());
        }
        if message.get_msg_type() == MessageType::MsgPropose {
            self.stamp(now, &mut message);
        }
        // An error means that the message is out of date or not for us; Raft repeats what matters.
        drop(self.raft.step(message));
        self.elections.after_input(&mut self.raft.raft);
        Ok(())
    }

    /// One tick of the clock passed.
    pub fn handle_tick(&mut self) {
        self.expect_idle();
        self.raft.tick();
        if self.elections.is_to_ask(&self.raft.raft) {
            // Raft passes it over where this node may not stand.
            drop(self.raft.campaign());
        }
        self.elections.after_input(&mut self.raft.raft);
        for read in self.reads.tick() {
            self.outputs.push_back(Output::ReadFailed(read));
        }
    }

    /// A message to `node` was not sent: until it answers again, it gets one probe at a time.
    pub fn report_unreachable(&mut self, node: NodeId) {
        self.expect_idle();
        self.raft.report_unreachable(node);
    }

    /// A snapshot to `node` was delivered, or was not. Without this it would never get entries
    /// again.
    pub fn report_snapshot(&mut self, node: NodeId, delivered: bool) {
        self.expect_idle();
        let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raft.report_snapshot(node, status);
    }

    /// What to do next, in order; `None` when all is done, or while a persist is under way.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if self.persisting {
                return None;
            }
            if let Some(output) = self.outputs.pop_front() {
                self.persisting = matches!(output, Output::Persist);
                return Some(output);
            }
            if let Some(entry) = self.committed.pop_front() {
                self.give_out(&entry);
                continue;
            }
            match std::mem::replace(&mut self.stage, Stage::Idle) {
                Stage::Writing { ready } => self.written(*ready),
                Stage::Advance { ready } => self.finish(*ready),
                Stage::Idle => {
                    self.flush_proposals();
                    self.reads.flush(&mut self.raft);
                    for read in self.reads.due(self.applied) {
                        self.outputs.push_back(Output::Read(read));
                    }
                    if self.raft.store().take_snapshot_wanted() {
                        self.outputs.push_back(Output::SnapshotWanted);
                    }
                    if self.raft.has_ready() {
                        self.begin();
                    } else if self.outputs.is_empty() {
                        return None;
                    }
                }
            }
        }
    }

    /// Performs [`Output::Persist`]: returns when it is on disk. An error must end the process;
    /// nothing is given out after it, and further inputs panic.
    pub fn persist(&mut self) -> Result<(), LogError> {
        let log = self.raft.mut_store().log_mut();
        match self.unwritten.take() {
            Some(Unwritten::Append(write)) => log.append(write, true)?,
            Some(Unwritten::Install { snapshot, write }) => {
                log.install(&snapshot, &write)?;
                self.restore(*snapshot)?;
            }
            None => (),
        }
        self.persisting = false;
        Ok(())
    }

    /// The snapshot of a state that has applied everything given out so far.
    pub fn snapshot_of(&self, state: Vec<u8>) -> Snapshot {
        let data = SnapshotData {
            at: self.applied_at,
            addresses: self.membership.addresses.clone(),
            state,
        };
        let mut snapshot = Snapshot { data: data.encode().into(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.applied;
        metadata.term = self.raft.raft.raft_log.term(self.applied).unwrap_or(0);
        metadata.set_conf_state(self.membership.conf_state.clone());
        snapshot
    }

    /// A snapshot is durable: followers may get it, and the log behind it may go except for the
    /// last `kept` entries before `through`.
    pub fn compact(&mut self, snapshot: Snapshot, through: Index) -> Result<(), LogError> {
        let index = snapshot.get_metadata().index;
        let log = self.raft.mut_store().log_mut();
        if log.snapshot().is_none_or(|newest| newest.get_metadata().index < index) {
            log.keep_snapshot(snapshot)?;
        }
        let through = through.min(index).min(self.applied);
        if through >= log.first_index() {
            log.compact(through)?;
        }
        Ok(())
    }

    /// The log, to look at.
    pub fn log(&self) -> &L {
        self.raft.store().log()
    }

    /// Ends the driver and gives back its log.
    pub fn into_log(self) -> L
    where
        L: Clone,
    {
        self.raft.store().log().clone()
    }

    /// Who leads.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The last entry given out, and its time.
    pub fn applied(&self) -> (Index, Millis) {
        (self.applied, self.applied_at)
    }

    /// Shell and driver take turns: between the outputs of a Ready there is no room for inputs.
    fn expect_idle(&self) {
        assert!(
            matches!(self.stage, Stage::Idle) && self.committed.is_empty() && !self.persisting,
            "inputs come after poll_output gave None and persist was performed"
        );
    }

    /// Puts the leader's clock into proposals; other nodes' stamps are overwritten when they
    /// arrive at the leader.
    fn stamp(&mut self, now: Millis, message: &mut Message) {
        if self.raft.raft.state != StateRole::Leader {
            return;
        }
        self.stamped_at = self.stamped_at.max(now).max(self.applied_at);
        for entry in message.mut_entries().iter_mut() {
            if let Some(mut context) = Context::decode(&entry.context) {
                context.at = self.stamped_at;
                entry.context = context.encode().into();
            }
        }
    }

    fn flush_proposals(&mut self) {
        let mut entries = std::mem::take(&mut self.proposed).into_iter().peekable();
        while entries.peek().is_some() {
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgPropose);
            message.from = self.raft.raft.id;
            let mut bytes = 0;
            let mut now = 0;
            let mut ids = Vec::new();
            while let Some(entry) = entries.next_if(|_| bytes < self.message_bytes_max) {
                bytes += entry.data.len() as u64;
                if let Some(context) = Context::decode(&entry.context) {
                    now = now.max(context.at);
                    ids.push(context.proposal);
                }
                message.mut_entries().push(entry);
            }
            self.stamp(now, &mut message);
            let raft = &self.raft.raft;
            let leader = raft.leader_id != raft::INVALID_ID && raft.lead_transferee.is_none();
            if self.raft.raft.step(message).is_err() {
                let error = if leader { ProposeError::Full } else { ProposeError::NoLeader };
                let refused = ids.into_iter().map(|proposal| Output::Refused { proposal, error });
                self.outputs.extend(refused);
            }
        }
    }

    /// Takes the next Ready: what may be sent at once, then what must be written.
    fn begin(&mut self) {
        let mut ready = self.raft.ready();
        let sends = ready.take_messages().into_iter().map(|m| Output::Send(Box::new(m)));
        self.outputs.extend(sends);
        self.reads.answered(ready.take_read_states());
        let role = self.current_role();
        if role != self.role {
            self.role = role;
            self.outputs.push_back(Output::Role(role));
        }
        let write = Write {
            entries: ready.take_entries(),
            // Always whole, so that the commit index comes along for nothing.
            hard_state: ready.must_sync().then(|| self.raft.raft.hard_state()),
            membership: None,
        };
        if !ready.must_sync() {
            // Only the commit index changed: the next write has it, and a restart can do without.
            self.written(ready);
            return;
        }
        self.unwritten = Some(if ready.snapshot().get_metadata().index == 0 {
            Unwritten::Append(write)
        } else {
            Unwritten::Install { snapshot: Box::new(ready.snapshot().clone()), write }
        });
        self.outputs.push_back(Output::Persist);
        self.stage = Stage::Writing { ready: Box::new(ready) };
    }

    /// The Ready is on disk: what acknowledges it may be sent, what it committed applied.
    fn written(&mut self, mut ready: Ready) {
        let sends = ready.take_persisted_messages().into_iter();
        self.outputs.extend(sends.map(|m| Output::Send(Box::new(m))));
        self.committed.extend(ready.take_committed_entries());
        self.stage = Stage::Advance { ready: Box::new(ready) };
    }

    fn finish(&mut self, ready: Ready) {
        let mut light = self.raft.advance_append(ready);
        let sends = light.take_messages().into_iter().map(|m| Output::Send(Box::new(m)));
        self.outputs.extend(sends);
        self.committed.extend(light.take_committed_entries());
        // Everything up to here is given out before the next input, which is what applied means
        // to Raft.
        self.raft.advance_apply();
    }

    fn give_out(&mut self, entry: &Entry) {
        self.applied = entry.index;
        match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() && entry.context.is_empty() => {
                self.outputs.push_back(Output::Settled { term: entry.term });
            }
            EntryType::EntryNormal => match Context::of(entry) {
                Ok(Context { at, proposal }) => {
                    self.applied_at = self.applied_at.max(at);
                    let (index, term, at) = (entry.index, entry.term, self.applied_at);
                    let data = entry.data.clone();
                    let committed = Committed { index, term, at, proposal, data };
                    self.outputs.push_back(Output::Commit(committed));
                }
                Err(error) => self.outputs.push_back(Output::Unreadable(error)),
            },
            EntryType::EntryConfChange => match ConfChange::parse_from_bytes(&entry.data) {
                Ok(change) => self.apply_change(entry.index, &change),
                Err(error) => {
                    let why = format!("the membership change at {}: {error}", entry.index);
                    self.outputs.push_back(Output::Unreadable(LogError::Corrupt(why)));
                }
            },
            EntryType::EntryConfChangeV2 => {
                let error = LogError::NewerEntry { index: entry.index, version: 2 };
                self.outputs.push_back(Output::Unreadable(error));
            }
        }
    }

    fn restore(&mut self, snapshot: Snapshot) -> Result<(), LogError> {
        let data = SnapshotData::decode(&snapshot.data)?;
        let metadata = snapshot.get_metadata();
        self.applied = metadata.index;
        self.applied_at = self.applied_at.max(data.at);
        self.membership = self.raft.store().log().membership();
        self.outputs.push_back(Output::Restore(Box::new(snapshot)));
        self.outputs.push_back(Output::Members(self.members(None, None)));
        Ok(())
    }

    fn current_role(&self) -> Role {
        let raft = &self.raft.raft;
        Role {
            term: raft.term,
            leader: (raft.leader_id != raft::INVALID_ID).then_some(raft.leader_id),
            leading: raft.state == StateRole::Leader,
        }
    }

    /// A view of this member.
    pub fn status(&self) -> Status {
        let raft = &self.raft.raft;
        let leading = raft.state == StateRole::Leader;
        let mut peers: Vec<_> = raft
            .prs()
            .iter()
            .filter(|(node, _)| leading && **node != raft.id)
            .map(|(&node, progress)| PeerProgress {
                node,
                matched: progress.matched,
                recently_active: progress.recent_active,
            })
            .collect();
        peers.sort_by_key(|peer| peer.node);
        Status {
            node: raft.id,
            role: self.role,
            members: self.members(None, None),
            commit: raft.raft_log.committed,
            applied: self.applied,
            log: (self.log().first_index(), raft.raft_log.last_index()),
            peers,
        }
    }
}

impl<L: Log> std::fmt::Debug for Driver<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Whether the entries of an append follow what it says that they follow. A leader of raft-rs 0.7.0
/// may put entries that go again into an append without any that waits to be sent, which follows
/// later ones (`try_batching` compares entries with entries only), and a follower panics. Passed
/// over, it is as if it had been lost.
fn follow_each_other(message: &Message) -> bool {
    let follows = |(place, entry): (u64, &Entry)| entry.index == place;
    message.get_msg_type() != MessageType::MsgAppend
        || (message.index.saturating_add(1)..).zip(message.get_entries()).all(follows)
}

fn config(options: &Options) -> raft::Config {
    raft::Config {
        id: options.node,
        election_tick: options.election_ticks,
        heartbeat_tick: options.heartbeat_ticks,
        applied: options.applied,
        max_size_per_msg: options.message_bytes_max,
        max_inflight_msgs: options.inflight_messages_max,
        check_quorum: true,
        pre_vote: true,
        batch_append: true,
        max_uncommitted_size: options.uncommitted_bytes_max,
        max_committed_size_per_ready: options.uncommitted_bytes_max,
        ..raft::Config::default()
    }
}
