//! The Raft thread: one loop that takes what came, lets the driver say what to do, and does it.
//!
//! Owns the driver and everything around it that must happen in its order. While it syncs, what
//! comes in gathers, and shares the next sync: that is the group commit.

use super::config::ReplicaConfig;
use super::handle::{ChangeFailed, Input, ProposalError, Proposed, ReadError, Shared, Waiter};
use super::keeper::{Job, KeeperHandle};
use super::links::{Links, SendSnapshot};
use super::machine::{Applied, Machine};
use super::pending::{Pending, Reply};
use super::place::Place;
use super::presence::moment;
use super::state::{Change, State};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tandem_cluster::cache::Mark;
use tandem_cluster::driver::{Members, MembershipChange};
use tandem_cluster::snapshot::SnapshotFiles;
use tandem_cluster::store::{FREE_BYTES_LOW, Store};
use tandem_cluster::{
    Driver, EngineLog, Log, Message, MessageType, Millis, NodeId, Output, ProposeError, ReadId,
    Snapshot, SnapshotData,
};
use tokio::sync::oneshot;

/// The first read of all, of this thread's own.
const CAUGHT_UP: ReadId = ReadId(0);

/// Inputs taken in one turn, so that a flood of them does not hold up the clock.
const INPUTS_MAX: usize = 2048;

/// Entries applied under one lock of the state, so that readers get their turn.
const APPLY_MAX: usize = 1024;

/// Rows that wait for the keeper. Past it the Raft thread waits for the disk.
const ROWS_WAITING_MAX: usize = 100_000;

/// Free space below which nothing is proposed any more, so that the log does not fill the disk.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// How often free space is looked at.
const DISK_EVERY: Duration = Duration::from_secs(1);

/// Pause after a snapshot that could not be written. Each attempt encodes the whole state.
const SNAPSHOT_AGAIN: Duration = Duration::from_secs(10);

/// Why a thread ends that would write.
pub(super) const LEASE_OVER: &str = "the lease of the shared directory is over";

/// Everything that the thread owns.
pub(super) struct RaftThread<M: Machine> {
    pub(super) config: ReplicaConfig,
    pub(super) store: Store,
    pub(super) driver: Driver<EngineLog>,
    pub(super) shared: Arc<Shared<M>>,
    pub(super) inputs: Receiver<Input<M>>,
    pub(super) links: Links,
    pub(super) files: SnapshotFiles,
    pub(super) keeper: KeeperHandle,
    /// Snapshots that the keeper has made durable; `None` for one that it could not write. Not an
    /// input: the keeper must never wait for this thread, which may wait for it.
    pub(super) snapshotted: Arc<Mutex<Vec<Option<Snapshot>>>>,
    pub(super) pending: Pending<M::Reply>,
    pub(super) state: State<M>,
}

impl<M: Machine> RaftThread<M> {
    /// Runs until told to stop, or until it must not go on; then says why.
    pub(super) fn run(mut self) -> Result<(), String> {
        self.set_peers(&self.driver.status().members);
        self.driver.read(CAUGHT_UP);
        self.perform()?;
        while !self.may_stop() {
            self.take_inputs();
            self.pass_time();
            if let Some(why) = self.state.failed.take() {
                return Err(why);
            }
            self.perform()?;
            self.keep(false);
            self.snapshot_if_due();
        }
        self.stop();
        Ok(())
    }

    /// What the log's clock shows.
    fn now(&mut self) -> Millis {
        let leads = self.driver.role().leading;
        let day = (self.config.clock)();
        // A process that begins goes on where the log is, if its clock of the day is behind that.
        let begins = !self.state.clock.is_set();
        let day = if begins { day.max(self.driver.applied_at()) } else { day };
        self.state.clock.read(moment(), day, leads)
    }

    /// A leader that ends lets another lead first, so that nobody waits for an election.
    fn hand_over_and_stop(&mut self) {
        let now = Instant::now();
        let until = match self.driver.hand_over(&self.config.witnesses) {
            Some(_) => now + self.config.tick * self.config.election_ticks as u32,
            None => now,
        };
        self.state.stop_at.get_or_insert(until);
    }

    fn may_stop(&self) -> bool {
        let role = self.driver.role();
        let handed_over = !role.leading && role.leader.is_some();
        self.state.stop_at.is_some_and(|at| handed_over || at <= Instant::now())
    }

    fn take_inputs(&mut self) {
        for input in std::mem::take(&mut self.state.later) {
            self.handle(input);
        }
        let wait = self.state.tick_at.saturating_duration_since(Instant::now());
        let mut next = match self.inputs.recv_timeout(wait) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            // The handles share the sender with us: it cannot be gone.
            Err(RecvTimeoutError::Disconnected) => None,
        };
        let mut taken = 0;
        while let Some(input) = next {
            self.handle(input);
            taken += 1;
            next = if taken < INPUTS_MAX { self.inputs.try_recv().ok() } else { None };
        }
    }

    fn handle(&mut self, input: Input<M>) {
        match input {
            Input::Propose { data, waiter } => self.propose(data, waiter),
            Input::Read { then } => {
                self.state.next_read += 1;
                let read = ReadId(self.state.next_read);
                self.state.reads.insert(read, then);
                self.driver.read(read);
            }
            Input::Change { change, done } => self.change(change, done),
            Input::Transfer { to } => self.driver.transfer_leader(to),
            Input::Messages(messages) => {
                let now = self.now();
                for message in messages {
                    if let Err(lost) = self.driver.handle_message(now, message) {
                        return self.state.failed = Some(lost.to_string());
                    }
                }
            }
            Input::Unreachable(node) => self.driver.report_unreachable(node),
            Input::SnapshotSent { to, arrived } => {
                if arrived {
                    self.count_snapshot("sent");
                }
                self.driver.report_snapshot(to, arrived);
            }
            Input::Snapshot => self.snapshot(),
            Input::Stop => self.hand_over_and_stop(),
        }
    }

    fn propose(&mut self, data: Vec<u8>, waiter: Waiter<M::Reply>) {
        let id = self.pending.id();
        let now = self.now();
        let proposed = if self.state.disk_full {
            Err(ProposeError::Full)
        } else {
            self.driver.propose(now, id, data)
        };
        match proposed {
            Ok(()) => self.pending.wait(id, waiter, self.driver.role().term, Instant::now()),
            Err(error) => {
                self.shared.answered(1, Proposed::Refused);
                waiter(Err(refusal(error)));
            }
        }
    }

    fn change(
        &mut self,
        change: MembershipChange,
        done: oneshot::Sender<Result<(), ChangeFailed>>,
    ) {
        let id = self.pending.id();
        let now = self.now();
        match self.driver.change_members(now, id, change.clone()) {
            Ok(()) => {
                let until = Instant::now() + self.config.proposal_timeout;
                self.state.change = Some(Change { change, done, until });
            }
            Err(error) => drop(done.send(Err(error.into()))),
        }
    }

    /// One tick at most: after a pause of ours we must not count as ticks what was no chance for
    /// the others to be heard.
    fn pass_time(&mut self) {
        let now = Instant::now();
        if now >= self.state.tick_at {
            self.state.tick_at = (self.state.tick_at + self.config.tick).max(now);
            self.driver.handle_tick();
            for waiter in self.pending.expire(now) {
                self.shared.answered(1, Proposed::Unknown);
                waiter(Err(ProposalError::Unknown));
            }
            if let Some(change) = self.state.change.take_if(|change| change.until <= now) {
                drop(change.done.send(Err(ChangeFailed::Unknown)));
            }
            self.publish();
        }
        let made =
            std::mem::take(&mut *self.snapshotted.lock().unwrap_or_else(PoisonError::into_inner));
        for snapshot in made {
            match snapshot {
                Some(snapshot) => self.snapshotted(snapshot),
                None => {
                    self.count_snapshot("failed");
                    self.state.snapshot_under_way = false;
                    self.state.snapshot_pause = Some(now + SNAPSHOT_AGAIN);
                }
            }
        }
        self.state.snapshot_pause.take_if(|until| *until <= now);
        if now >= self.state.disk_at {
            self.state.disk_at = now + DISK_EVERY;
            self.look_at_the_disk();
            self.links.common().forget_interrupted(now);
        }
        self.propose_tick();
    }

    fn look_at_the_disk(&mut self) {
        let free = match self.store.free_bytes() {
            Ok(free) => free,
            Err(error) => return tracing::warn!(%error, "free space is not known"),
        };
        let is_full = free < FREE_BYTES_MIN;
        if std::mem::replace(&mut self.state.disk_full, is_full) != is_full {
            if is_full {
                tracing::error!(free, "the disk is full: nothing is committed any more");
                // Nobody would be missed, and nothing fire in time.
                self.driver.hand_over(&self.config.witnesses);
            } else {
                tracing::info!(free, "changes are committed again");
            }
        }
        let left = free.saturating_sub(FREE_BYTES_LOW);
        self.links.common().free_bytes.store(left, Ordering::Relaxed);
        let is_low = free < FREE_BYTES_LOW;
        if self.shared.disk_low.swap(is_low, Ordering::Relaxed) != is_low {
            tracing::error!(free, is_low, "the disk is nearly full, or no more");
        }
    }

    /// The leader says that time has passed, once, when the state wants to know it.
    fn propose_tick(&mut self) {
        if !self.driver.role().leading || self.state.ticking.load(Ordering::Acquire) {
            return;
        }
        let now = self.now();
        let machine = self.shared.machine.read().unwrap_or_else(PoisonError::into_inner);
        let due = machine.next_deadline().is_some_and(|at| at <= now);
        let command = due.then(|| machine.tick_command());
        drop(machine);
        if let Some(command) = command {
            let ticking = Arc::clone(&self.state.ticking);
            ticking.store(true, Ordering::Release);
            self.shared.waiting.fetch_add(1, Ordering::Relaxed);
            self.propose(command, Box::new(move |_| ticking.store(false, Ordering::Release)));
        }
    }

    /// Does what the driver says, in its order.
    fn perform(&mut self) -> Result<(), String> {
        while let Some(output) = self.driver.poll_output() {
            match output {
                Output::Send(message) => self.send(*message),
                Output::Commit(committed) => {
                    if self.state.is_caught_up && !self.driver.role().leading {
                        self.state.clock.follow(moment(), committed.at);
                    }
                    self.state.commits.push(committed);
                    if self.state.commits.len() >= APPLY_MAX {
                        self.apply();
                    }
                }
                Output::Persist => {
                    // Followers write while we do; and nobody waits longer than needed for what
                    // is committed already.
                    self.flush_sends();
                    self.apply();
                    self.may_write()?;
                    let begun = Instant::now();
                    self.driver.persist().map_err(|error| error.to_string())?;
                    // What was written later than that may be where nobody reads it.
                    self.may_write()?;
                    let seconds = begun.elapsed().as_secs_f64();
                    self.shared.metrics.log_sync_seconds.observe(seconds);
                }
                Output::Restore(snapshot) => {
                    self.apply();
                    self.restore(&snapshot)?;
                }
                Output::Read(read) => {
                    self.apply();
                    self.state.is_caught_up |= read == CAUGHT_UP;
                    if let Some(then) = self.state.reads.remove(&read) {
                        let machine = &self.shared.machine;
                        then(Ok(&machine.read().unwrap_or_else(PoisonError::into_inner)));
                    }
                }
                Output::ReadFailed(CAUGHT_UP) => self.driver.read(CAUGHT_UP),
                Output::ReadFailed(read) => {
                    if let Some(then) = self.state.reads.remove(&read) {
                        then(Err(ReadError::NoLeader));
                    }
                }
                Output::Refused { proposal, error } => {
                    if let Some((waiter, _)) = self.pending.take(proposal) {
                        self.shared.answered(1, Proposed::Refused);
                        waiter(Err(refusal(error)));
                    }
                }
                Output::Settled { term } => {
                    self.apply();
                    for waiter in self.pending.settle(term) {
                        self.shared.answered(1, Proposed::Unknown);
                        waiter(Err(ProposalError::Unknown));
                    }
                }
                Output::Role(role) => {
                    tracing::info!(?role, "the leader changed");
                    self.shared.metrics.raft_leader_changes_total.inc();
                    let machine = &self.shared.machine;
                    machine.write().unwrap_or_else(PoisonError::into_inner).role_changed(role);
                    self.publish();
                }
                Output::Members(members) => self.members(&members),
                Output::SnapshotWanted => self.snapshot(),
                Output::Unreadable(error) => return Err(error.to_string()),
            }
        }
        self.flush_sends();
        self.apply();
        Ok(())
    }

    fn may_write(&self) -> Result<(), String> {
        let holds = self.config.directory.holds();
        holds.then_some(()).ok_or_else(|| LEASE_OVER.to_owned())
    }

    fn send(&mut self, message: Message) {
        if message.get_msg_type() != MessageType::MsgSnapshot {
            self.state.outgoing.entry(message.to).or_default().push(message);
            return;
        }
        let to = message.to;
        match self.links.address(to) {
            Some(address) => self.links.send_snapshot(SendSnapshot {
                message,
                address,
                keeper: self.keeper.jobs(),
            }),
            None => self.state.later.push(Input::SnapshotSent { to, arrived: false }),
        }
    }

    fn flush_sends(&mut self) {
        // Before a vote leaves: who voted for another must not say that it follows the old leader.
        self.shared.present.set_role(self.driver.role());
        for (to, messages) in &mut self.state.outgoing {
            if !messages.is_empty() && !self.links.send(*to, std::mem::take(messages)) {
                self.state.later.push(Input::Unreachable(*to));
            }
        }
    }

    /// Applies what is committed, and then tells those who wait.
    fn apply(&mut self) {
        let Some(last) = self.state.commits.last().map(|committed| committed.index) else { return };
        let mut replies = Vec::new();
        let mut machine = self.shared.machine.write().unwrap_or_else(PoisonError::into_inner);
        for committed in self.state.commits.drain(..) {
            let Applied { reply, records } = machine.apply(&committed);
            if !records.is_empty() {
                self.state.rows_waiting += records.len();
                self.state.rows.push((committed.index, records));
            }
            if let Some((waiter, since)) = self.pending.take(committed.proposal) {
                self.shared.metrics.commit_seconds.observe(since.elapsed().as_secs_f64());
                replies.push(Reply::new(waiter, committed.index, committed.at, reply));
            }
        }
        machine.after_batch(last);
        drop(machine);
        self.shared.answered(replies.len(), Proposed::Applied);
        for reply in replies {
            reply.give();
        }
        if self.state.rows_waiting >= ROWS_WAITING_MAX {
            self.keep(true);
        }
    }

    /// Gives the keeper what changed; if not forced, only when it is time and it is idle.
    fn keep(&mut self, force: bool) {
        let (index, at) = self.driver.applied();
        let due =
            self.state.kept_when.elapsed() >= self.config.cache_every && self.keeper.is_idle();
        if index <= self.state.kept || !(due || force) {
            return;
        }
        let machine = &self.shared.machine;
        let changes = machine.write().unwrap_or_else(PoisonError::into_inner).take_changes();
        let rows = std::mem::take(&mut self.state.rows);
        self.state.rows_waiting = 0;
        let term = self.driver.log().term(index).ok().flatten().unwrap_or(0);
        self.keeper.give(Job::Keep { changes, rows, mark: Mark { index, term, at } });
        self.state.kept = index;
        self.state.kept_when = Instant::now();
    }

    fn snapshot_if_due(&mut self) {
        let (applied, _) = self.driver.applied();
        if applied >= self.state.snapshot_index + self.config.snapshot_entries {
            self.snapshot();
        }
    }

    fn snapshot(&mut self) {
        let may = !self.state.snapshot_under_way && self.state.snapshot_pause.is_none();
        if !may || self.driver.applied().0 == 0 {
            return;
        }
        self.apply();
        // What the records lack must reach them before the log goes.
        self.keep(true);
        let machine = &self.shared.machine;
        let state = machine.read().unwrap_or_else(PoisonError::into_inner).snapshot();
        let snapshot = self.driver.snapshot_of(Vec::new());
        self.state.snapshot_under_way = true;
        self.keeper.give(Job::Snapshot { snapshot, state });
    }

    fn snapshotted(&mut self, snapshot: Snapshot) {
        self.state.snapshot_under_way = false;
        let index = snapshot.get_metadata().index;
        self.state.snapshot_index = self.state.snapshot_index.max(index);
        let through = index.saturating_sub(self.config.kept_entries);
        if let Err(error) = self.driver.compact(snapshot, through) {
            return self.state.failed = Some(error.to_string());
        }
        tracing::info!(index, "snapshot made");
        self.count_snapshot("written");
        self.keeper.give(Job::Compacted { snapshot: index });
    }

    /// A snapshot came from the leader and is in the log: the state follows.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        let index = snapshot.get_metadata().index;
        let (_, state) = self.files.read(snapshot).map_err(|error| error.to_string())?;
        SnapshotData::decode(&snapshot.data).map_err(|error| error.to_string())?;
        let mut machine = self.shared.machine.write().unwrap_or_else(PoisonError::into_inner);
        machine.restore(&state).map_err(|error| format!("the snapshot at {index}: {error}"))?;
        machine.after_batch(index);
        drop(machine);
        self.state.rows.clear();
        self.state.rows_waiting = 0;
        self.keeper.give(Job::Restored { snapshot: index });
        self.state.snapshot_index = index;
        self.state.kept = index - 1;
        tracing::info!(index, "state received from the leader");
        self.count_snapshot("installed");
        Ok(())
    }

    fn count_snapshot(&self, kind: &str) {
        self.shared.metrics.snapshots_total.with_label_values(&[kind]).inc();
    }

    fn members(&mut self, members: &Members) {
        tracing::info!(voters = ?members.voters, learners = ?members.learners, "members");
        self.set_peers(members);
        let applied = self.state.change.take_if(|waiting| match &waiting.change {
            MembershipChange::AddLearner { node, .. } => members.learners.contains(node),
            MembershipChange::Promote { node } => members.voters.contains(node),
            MembershipChange::Remove { node } => members.removed == Some(*node),
        });
        if let Some(change) = applied {
            drop(change.done.send(Ok(())));
        }
        self.publish();
    }

    /// Addresses in the configuration come before those in the log: a node may move.
    fn set_peers(&mut self, members: &Members) {
        let mut peers: BTreeMap<NodeId, SocketAddr> = BTreeMap::new();
        for node in members.voters.iter().chain(&members.learners) {
            let told = members.addresses.get(node).and_then(|bytes| Place::decode(bytes));
            let told = told.map(|place| place.cluster);
            if let Some(address) = self.config.members.get(node).copied().or(told) {
                peers.insert(*node, address);
            }
        }
        if members.voters.is_empty() {
            // Not a member yet: answer those who will add us.
            peers.clone_from(&self.config.members);
        }
        self.shared.present.set_members(&members.voters, &peers);
        self.links.set_peers(&peers);
    }

    fn publish(&self) {
        let status = self.driver.status();
        *self.shared.status.write().unwrap_or_else(PoisonError::into_inner) = status;
    }

    fn stop(mut self) {
        self.publish();
        self.keep(true);
        for waiter in self.pending.drain() {
            waiter(Err(ProposalError::Stopped));
        }
        for then in std::mem::take(&mut self.state.reads).into_values() {
            then(Err(ReadError::Stopped));
        }
        self.shared.present.stop();
        self.links.stop();
        self.keeper.stop();
    }
}

fn refusal(error: ProposeError) -> ProposalError {
    match error {
        ProposeError::NoLeader => ProposalError::NoLeader,
        ProposeError::Full => ProposalError::Full,
        ProposeError::TooLarge { bytes } => ProposalError::TooLarge { bytes },
    }
}
