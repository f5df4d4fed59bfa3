//! Joining the log with the call centre: committed bytes become commands, changed values reach the
//! actors that serve them.
//!
//! Owns the replicated state of this node, behind [`Machine`]. [`CenterMachine`] runs on the Raft
//! thread and only hands on; what must be started or batched is the work of [`ReplicaActor`],
//! which looks at the whole state when it starts, so nothing is lost with it.

mod serving;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tandem_center::version::{self, OLDEST};
use tandem_center::{
    Call, CallId, Center, Command, DecodeError, Event, Happened, Millis, NodeId, Outcome, Record,
    Rejected, Reply, Touched,
};
use tandem_cluster::{Committed, Index, Role};

use super::version::Versions;
use super::{agent, call, homes, queue, sip_transport, witness};
use crate::alarms::ClockWatch;
use crate::api::events::EventLog;
use crate::node::{Node, unix_ms};
use crate::records::Row;
use crate::replica::{Applied, Machine, RestoreError};

/// Calls of one `Cleared` command, and how long the first of them waits for company.
const CLEARED_BATCH_MAX: usize = 512;
const CLEARED_EVERY: Duration = Duration::from_millis(250);

/// Between two tries of what a role asks for: about the time of an election.
const PROPOSE_AGAIN: Duration = Duration::from_millis(250);

/// Between two tries to hand the leadership on: longer than an election, which ends one.
const LEAD_ON_AGAIN: Duration = Duration::from_secs(1);

/// How often the leader looks whether it misses a node, and a node whether it is missed. A part of
/// the second in which calls are to be taken over.
const PRESENCE_EVERY: Duration = Duration::from_millis(50);

/// The state machine of a node.
#[derive(Debug)]
pub struct CenterMachine {
    center: Center,
    node: NodeId,
    /// What changed in the present batch of entries, for the actors.
    fresh: Touched,
    /// What changed since the cache was written.
    uncached: Touched,
    /// Where in the log the nodes that are missed were lost, as far as it was applied here.
    lost: BTreeMap<NodeId, Index>,
    /// How far this node's clock is from the leader's.
    clock: ClockWatch,
    /// What desks see.
    events: Arc<EventLog>,
    /// The actors, once there are some.
    outlet: Outlet,
}

/// Where changes go: set once, when the node that holds this machine's handle exists.
pub type Outlet = Arc<OnceLock<Weak<Node>>>;

impl CenterMachine {
    /// An empty centre; no actor is told anything before `outlet` is set.
    pub fn new(node: NodeId, events: Arc<EventLog>, outlet: Outlet) -> Self {
        let (fresh, uncached) = (Touched::default(), Touched::default());
        let (lost, clock) = (BTreeMap::new(), ClockWatch::default());
        Self { center: Center::new(), node, fresh, uncached, lost, clock, events, outlet }
    }

    /// The state.
    pub fn center(&self) -> &Center {
        &self.center
    }

    /// Where in the log a node that is missed was lost, if that was applied here.
    pub(crate) fn lost_at(&self, node: NodeId) -> Option<Index> {
        self.lost.get(&node).copied()
    }

    /// How far this node's clock is from the leader's.
    pub(crate) fn clock(&self) -> &ClockWatch {
        &self.clock
    }

    fn actors(&self) -> Option<Arc<Node>> {
        self.outlet.get().and_then(Weak::upgrade)
    }

    fn hand_on(&self, touched: &Touched) {
        let Some(node) = self.actors() else { return };
        for &id in &touched.calls {
            let Some(call) = self.center.call(id) else { continue };
            match node.router.call(id) {
                // It may be another node's now: then the actor must forget it.
                Some(actor) => drop(actor.send_message(call::Message::Changed(Arc::clone(call)))),
                None if call.owner == self.node => {
                    node.actors.tell_replica(Message::Unserved(Arc::clone(call)));
                }
                None => (),
            }
        }
        if !touched.homes.is_empty() || !touched.nodes.is_empty() {
            node.actors.tell_homes(homes::Message::Look);
        }
        if touched.directory {
            node.actors.tell_replica(Message::LookAtAll);
        }
        for id in &touched.queues {
            node.actors.tell_queue(id, queue::Message::Changed);
        }
        for id in &touched.agents {
            if let Some(agent) = self.center.agent(id) {
                node.actors.tell_agent(id, || agent::Message::Changed(Arc::clone(agent)));
            }
        }
    }
}

impl Machine for CenterMachine {
    type Reply = Result<Reply, Rejected>;

    fn apply(&mut self, entry: &Committed) -> Applied<Self::Reply> {
        if self.outlet.get().is_some() {
            self.clock.note(unix_ms(), entry.at);
        }
        let command = match Command::decode(&entry.data) {
            Ok(command) => command,
            Err(error) => return self.unreadable(entry.index, &error),
        };
        self.center.begin(entry.data.first().copied().unwrap_or(OLDEST));
        if let Command::NodeUp { node, .. } = &command
            && let Some(own) = self.actors()
        {
            own.replica.is_back(node.0);
        }
        match self.center.apply(entry.index, Millis(entry.at), command) {
            Ok(Outcome { reply, touched, events, records }) => {
                self.uncached.merge(&touched);
                self.fresh.merge(&touched);
                if touched.version {
                    self.version_rose(entry.index);
                }
                self.count(reply, &touched, &records);
                self.count_losses(&events);
                self.note_losses(entry.index, &events);
                self.events.push(entry.index, Millis(entry.at), events);
                let records = records.iter().map(Row::encode).collect();
                Applied { reply: Ok(reply), records }
            }
            Err(rejected) => {
                self.events.push(entry.index, Millis(entry.at), Vec::new());
                Applied { reply: Err(rejected), records: Vec::new() }
            }
        }
    }

    fn after_batch(&mut self, _applied: Index) {
        if !self.fresh.is_empty() {
            let touched = std::mem::take(&mut self.fresh);
            self.hand_on(&touched);
        }
    }

    fn role_changed(&mut self, role: Role) {
        if let Some(node) = self.actors() {
            node.actors.tell_replica(Message::RoleChanged(role));
        }
    }

    fn next_deadline(&self) -> Option<tandem_cluster::Millis> {
        self.center.next_deadline().map(|at| at.0)
    }

    fn tick_command(&self) -> Vec<u8> {
        Command::Tick.encode(self.center.version()).unwrap_or_default()
    }

    fn take_changes(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let touched = std::mem::take(&mut self.uncached);
        self.center.changed(&touched)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.center.save()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.center = Center::load(bytes).map_err(|error| RestoreError(error.to_string()))?;
        self.restored();
        // The cache was wiped before this, or holds an older state: it must learn everything.
        self.uncached = self.center.everything();
        Ok(())
    }

    fn restore_pairs(
        &mut self,
        pairs: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), RestoreError> {
        self.center = Center::from_pairs(pairs).map_err(|error| RestoreError(error.to_string()))?;
        self.restored();
        Ok(())
    }
}

impl CenterMachine {
    /// Counts the calls of this node. What is applied again after a restart was counted before:
    /// then there are no actors yet.
    fn count(&self, reply: Reply, touched: &Touched, records: &[Record]) {
        let dialled = match reply {
            Reply::Dialing { call } => {
                // Else it is a repetition.
                touched.calls.contains(&call)
                    && self.center.call(call).is_some_and(|call| call.owner == self.node)
            }
            Reply::Done
            | Reply::Already
            | Reply::SignedIn { .. }
            | Reply::Afterwards
            | Reply::Parked { .. } => false,
        };
        if let Some(node) = (dialled || !records.is_empty()).then(|| self.actors()).flatten() {
            if dialled {
                node.metrics.calls_total.with_label_values(&["outbound"]).inc();
            }
            records.iter().for_each(|record| node.count_record(record));
        }
    }

    /// Counts nodes that are missed, and the calls that come here for it. What is applied again
    /// after a restart was counted before.
    fn count_losses(&self, events: &[Event]) {
        let is_loss = |event: &&Event| {
            matches!(&event.what, Happened::NodeChanged { up: false, .. })
                || matches!(&event.what, Happened::CallTakenOver { to, .. } if *to == self.node)
        };
        let losses: Vec<_> = events.iter().filter(is_loss).collect();
        let Some(node) = (!losses.is_empty()).then(|| self.actors()).flatten() else { return };
        for event in losses {
            if matches!(&event.what, Happened::CallTakenOver { .. }) {
                node.metrics.takeovers_total.inc();
            } else {
                node.metrics.nodes_missed_total.inc();
            }
        }
    }

    fn note_losses(&mut self, index: Index, events: &[Event]) {
        for event in events {
            if let Happened::NodeChanged { node, up } = &event.what {
                if *up {
                    self.lost.remove(node)
                } else {
                    self.lost.insert(*node, index)
                };
            }
        }
    }

    /// The cluster writes another version from here on. One that this build does not read: it must
    /// not go on, and does before it would have to store it.
    fn version_rose(&self, index: Index) {
        let version = self.center.version();
        if let Err(foreign) = version::check(version) {
            self.unreadable(index, &foreign.into());
        }
        tracing::info!(version, index, "the cluster has agreed on a version of commands and state");
        if let Some(node) = self.actors() {
            self.tell_version(&node);
        }
    }

    /// The node writes what the cluster has agreed on.
    pub fn tell_version(&self, node: &Node) {
        node.writes.store(self.center.version(), Ordering::Relaxed);
    }

    /// The whole state is another one: everything is to be looked at.
    fn restored(&mut self) {
        (self.fresh, self.uncached) = (Touched::default(), Touched::default());
        self.events.restart_at(self.center.index());
        if let Err(violation) = self.center.check_invariants() {
            tracing::error!(%violation, "the stored state contradicts itself; it is used as it is");
        }
        if let Some(node) = self.actors() {
            self.tell_version(&node);
            node.actors.tell_replica(Message::LookAtAll);
        }
    }

    /// An entry that this build cannot read. Going on would make this replica differ from the
    /// others without anyone noticing, so the process ends with what to do.
    fn unreadable(&self, index: Index, error: &DecodeError) -> Applied<Result<Reply, Rejected>> {
        tracing::error!(index, %error, "start the build that wrote this log, or a newer one");
        std::process::exit(3)
    }
}

/// What the replica's actor is told.
#[derive(Debug)]
pub enum Message {
    /// A call of this node changed and has no actor.
    Unserved(Arc<Call>),
    /// The actor of this call has let go of it, since another node owned it.
    Forsaken(CallId),
    /// Nothing of this call is on the wire any more.
    Cleared(CallId),
    /// It is time to see whether a node is missed.
    LookAtPresence,
    /// It is time to propose what has been cleared.
    ProposeCleared,
    /// This node's part in the cluster changed.
    RoleChanged(Role),
    /// What the present role asks for could not be committed: try again, not at once.
    LookAtRoleSoon,
    /// The state was replaced, or this actor is new: look at every value.
    LookAtAll,
    /// A service address is open: its calls are served, and then it is read.
    Listening,
    /// A test of the supervision: die.
    Panic,
}

/// Starts actors for values that have none, and forgets calls in batches.
#[derive(Debug)]
pub struct ReplicaActor;

/// What the actor holds; looking at all values makes it again.
#[derive(Debug)]
pub struct State {
    node: Arc<Node>,
    cleared: BTreeSet<CallId>,
    /// A [`Message::ProposeCleared`] is on its way.
    timer_armed: bool,
    /// When what a presence asks for was last proposed, by the node that it is about.
    proposed: BTreeMap<NodeId, Instant>,
    /// When another node was last asked to lead.
    led_on: Option<Instant>,
    versions: Versions,
}

impl Actor for ReplicaActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        me: ActorRef<Message>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        // What happened before this actor lived: its predecessor's, or while the node started.
        drop(me.send_message(Message::RoleChanged(node.replica.status().role)));
        drop(me.send_message(Message::LookAtAll));
        drop(me.send_interval(PRESENCE_EVERY, || Message::LookAtPresence));
        let (cleared, proposed) = (BTreeSet::new(), BTreeMap::new());
        let versions = Versions::of(&node);
        Ok(State { node, cleared, timer_armed: false, proposed, led_on: None, versions })
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Unserved(call) => state.serve(call),
            Message::Forsaken(id) => state.serve_if_ours(id),
            Message::Cleared(call) => {
                state.cleared.insert(call);
                if state.cleared.len() >= CLEARED_BATCH_MAX {
                    state.propose_cleared();
                } else if !state.timer_armed {
                    state.timer_armed = true;
                    drop(me.send_after(CLEARED_EVERY, || Message::ProposeCleared));
                }
            }
            Message::LookAtPresence => state.look_at_presence(),
            Message::ProposeCleared => {
                state.timer_armed = false;
                state.propose_cleared();
            }
            Message::RoleChanged(role) => state.role_changed(role),
            Message::LookAtRoleSoon => {
                let role = state.node.replica.status().role;
                drop(me.send_after(PROPOSE_AGAIN, move || Message::RoleChanged(role)));
            }
            Message::LookAtAll => state.look_at_all(),
            Message::Listening => {
                // What comes in between is looked at with the next epoch.
                let held = state.node.homes_held();
                state.look_at_arrivals();
                state.look_at_all();
                for (home, epoch) in held {
                    state.node.stations.serves(home, epoch);
                }
                state.node.actors.tell_transport(sip_transport::Message::ReadAll);
            }
            #[expect(clippy::panic, reason = "the hook that tests of the supervision pull")]
            Message::Panic => panic!("the test hook was pulled"),
        }
        Ok(())
    }
}

impl State {
    fn propose_cleared(&mut self) {
        let calls: Vec<_> = std::mem::take(&mut self.cleared).into_iter().collect();
        if calls.is_empty() {
            return;
        }
        let again = calls.clone();
        let node = Arc::clone(&self.node);
        let command = Command::Cleared { calls };
        self.node.propose_then(&command, move |outcome| {
            if outcome.is_err() {
                // Not lost: they are cleared with the next batch.
                for call in again {
                    node.actors.tell_replica(Message::Cleared(call));
                }
            }
        });
    }

    /// The leader sees to it that the directory which it was started with holds.
    fn role_changed(&self, role: Role) {
        tracing::info!(?role, "part in the cluster changed");
        if role.leading {
            self.node.configure();
        }
        self.node.announce();
    }

    /// The leader says whom it misses; a node that was missed and is here says so.
    fn look_at_presence(&mut self) {
        let me = self.node.id;
        let (up, missed, (draining, is_bare)) = self.node.replica.read_local(|machine| {
            let center = machine.center();
            // Asked for while nothing is applied: who comes back meanwhile is not missed.
            let missed = self.node.replica.missed();
            let is_up = |node| center.node(node).is_some_and(|node| node.up);
            // Who was removed from the cluster is missed by nobody, and may own calls.
            let known = center.nodes().map(|(node, _)| node.0);
            let gone = known.filter(|node| self.node.replica.is_gone(*node)).map(|node| (node, 0));
            let missed: Vec<_> =
                missed.into_iter().chain(gone).filter(|(node, _)| is_up(NodeId(*node))).collect();
            let draining = center.node(me).is_some_and(|node| node.draining);
            let is_bare = center.homes().all(|(_, home)| home.holder != me);
            (is_up(me), missed, (draining, is_bare))
        });
        for (node, silent_ms) in missed {
            let silent_ms = u32::try_from(silent_ms).unwrap_or(u32::MAX);
            let node = NodeId(node);
            if self.may_propose(node) {
                if self.node.replica.is_gone(node.0) {
                    tracing::info!(%node, "a node that was removed has no part any more");
                } else {
                    tracing::error!(%node, silent_ms, "a node is missed: others take its calls over");
                }
                self.propose_presence(Command::NodeLost { node, silent_ms });
            }
        }
        if self.node.is_witness() {
            let node = Arc::clone(&self.node);
            witness::look(&node, |about| self.may_propose(about));
            return self.versions.look(&node);
        }
        self.confirm_lease(up);
        self.node.desks_go.send_if_modified(|go| std::mem::replace(go, draining) != draining);
        if draining && is_bare {
            self.lead_no_more();
        }
        if up {
            self.versions.look(&self.node);
        }
    }

    /// A node that is to be stopped hands the leadership on, after its addresses: those need a
    /// commit, which a change of leaders would hold up.
    fn lead_no_more(&mut self) {
        let status = self.node.replica.status();
        let due = self.led_on.is_none_or(|at| at.elapsed() >= LEAD_ON_AGAIN);
        if !status.role.leading || !due {
            return;
        }
        let takes = |node: u64| {
            self.node.replica.read_local(|machine| {
                let node = machine.center().node(NodeId(node));
                node.is_some_and(|node| node.up && !node.draining)
            })
        };
        let voters = &status.members.voters;
        let able = status.peers.iter().filter(|peer| peer.recently_active);
        let able = able.filter(|peer| voters.contains(&peer.node) && takes(peer.node));
        if let Some(next) = able.max_by_key(|peer| peer.matched) {
            tracing::info!(to = next.node, "this node drains: another one is to lead");
            self.led_on = Some(Instant::now());
            self.node.replica.transfer_leader(next.node);
        }
    }

    /// A new lease is acted under once something is applied that was proposed during it. What is
    /// proposed is that this node is here: if it was missed, it is taken back by that.
    fn confirm_lease(&mut self, up: bool) {
        let lease = self.node.replica.unconfirmed_lease();
        let wronged = !up && self.node.lease.holds();
        if lease.is_none() && !wronged {
            return;
        }
        let announced = self.node.announced.load(Ordering::Relaxed);
        if !announced || !self.may_propose(self.node.id) {
            return;
        }
        let node = Arc::clone(&self.node);
        let confirm = move |outcome: Result<_, _>| {
            if let (Ok(_), Some(lease)) = (outcome, lease) {
                node.replica.confirm_lease(lease);
                // Now it is known which calls are here, and each describes its ports.
                node.actors.tell_replica(Message::LookAtAll);
            }
        };
        if up {
            return self.node.propose_then(&self.node.is_up(false), confirm);
        }
        tracing::warn!("this node was missed and is back");
        self.node.propose_caught_up(self.node.is_up(false), confirm);
    }

    fn may_propose(&mut self, about: NodeId) -> bool {
        let now = Instant::now();
        let before = self.proposed.insert(about, now);
        let may = before.is_none_or(|before| now - before >= PROPOSE_AGAIN);
        if let Some(before) = before.filter(|_| !may) {
            self.proposed.insert(about, before);
        }
        may
    }

    fn propose_presence(&self, command: Command) {
        // What is not committed is seen again at the next look.
        self.node.propose_then(&command, |_| ());
    }
}
