//! The state as one value, and what may be read of it.
//!
//! Calls, agents, sessions, totals, results, nodes, flows and the directory are the state.
//! Everything else here is an index over them that [`Center::edit_call`] and its kin keep, and
//! that is rebuilt when a state is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::Results;
use crate::apply::Turn;
use crate::call::FlowKey;
use crate::directory::AgentConfig;
use crate::flow::{Flow, FlowName, FlowVersion};
use crate::marks::{CallMarks, QueuePlace};
use crate::queue::Waiting;
use crate::ranked::Ranked;
use crate::registration::Registration;
use crate::seats::{AgentMarks, Seat, seats_of};
use crate::served::Served;
use crate::trunk::{Trunk, TrunkCalls};
use crate::version::{OLDEST, Reads};
use crate::{
    Agent, AgentId, Call, CallId, Directory, Home, HomeId, Index, Millis, NodeId, Queue, QueueId,
    Session, SessionId,
};

/// The replicated contact centre.
#[derive(Clone, Debug, Default)]
pub struct Center {
    pub(crate) index: Index,
    pub(crate) at: Millis,
    pub(crate) directory: Arc<Directory>,
    pub(crate) directory_hash: u64,
    pub(crate) calls: BTreeMap<CallId, Arc<Call>>,
    pub(crate) agents: BTreeMap<AgentId, Arc<Agent>>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) queues: BTreeMap<QueueId, Queue>,
    pub(crate) results: BTreeMap<AgentId, Results>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) homes: BTreeMap<HomeId, Home>,
    pub(crate) registrations: BTreeMap<AgentId, Registration>,
    pub(crate) flows: BTreeMap<FlowKey, FlowEntry>,
    pub(crate) trunks: BTreeMap<Arc<str>, Trunk>,
    pub(crate) counts: Counts,
    pub(crate) served: BTreeMap<Arc<str>, Served>,
    /// What is written, see [`Center::version`]; 0 before the first command.
    pub(crate) version: u8,
    /// Commands that were applied in version 4: what the rehearsal of an upgrade does differently.
    #[cfg(feature = "next-version")]
    pub(crate) rehearsed: u64,
    /// Index: the version of each flow that new calls begin with.
    pub(crate) flow_versions: BTreeMap<FlowName, FlowVersion>,
    /// Index: the parked calls by their slots.
    pub(crate) parked: BTreeMap<u16, CallId>,
    /// Index: what is due when.
    pub(crate) deadlines: BTreeSet<(Millis, Due)>,
    /// Index: how each agent stands in the other indexes.
    pub(crate) agent_marks: BTreeMap<AgentId, AgentMarks>,
    /// Index: callers who are remembered, the oldest first.
    pub(crate) served_order: BTreeSet<(Index, Arc<str>)>,
    /// Index: where each agent can be offered calls.
    pub(crate) seats: BTreeMap<AgentId, Arc<[Seat]>>,
    /// Index: the calls on each trunk.
    pub(crate) trunk_calls: BTreeMap<Arc<str>, TrunkCalls>,
}

/// Every call that ever was: begun is ended and alive, and each that ended has one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls that were accepted.
    pub begun: u64,
    /// Calls that ended, and so records that were written.
    pub ended: u64,
    /// Counted from behind this command on. Not 0 where an older program began the log.
    pub since: Index,
}

/// A node of the cluster as calls see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// It may own calls.
    pub up: bool,
    /// It is about to be stopped: it gives away what it has, and gets nothing.
    pub draining: bool,
    /// What its build reads; nothing as long as it has not said.
    pub reads: Reads,
    /// It votes and has no calls, so that it is never up, and never lost either.
    pub witness: bool,
    /// Index: the calls that it owns.
    pub calls: u32,
}

/// A version of a flow that is configured or that a call still goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlowEntry {
    pub(crate) text: Arc<str>,
    pub(crate) flow: Arc<Flow>,
    /// Index: the calls in it.
    pub(crate) calls: u32,
}

/// What can be due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Due {
    /// A no-answer time-out or the longest wait.
    Call(CallId),
    /// A wrap-up or a pause.
    Agent(AgentId),
    /// The grace of a lost desk.
    Session(SessionId),
    /// Its callers are to be sent on.
    Queue(QueueId),
}

impl Center {
    /// A centre that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let directory = Directory::default();
        Self { directory_hash: directory.hash(), directory: Arc::new(directory), ..Self::default() }
    }

    /// The index of the last command that was applied.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// The version that the cluster has agreed on: what is written now. Never falls.
    #[must_use]
    pub fn version(&self) -> u8 {
        if self.version == 0 { OLDEST } else { self.version }
    }

    /// Who applies a log from its very beginning says in which version its first command is: the
    /// cluster began with that one.
    pub fn begin(&mut self, version: u8) {
        if self.version == 0 {
            self.version = version;
        }
    }

    /// What version 4 does differently begins with the command that agrees on it, on every build.
    pub(crate) fn rehearse(&mut self) {
        #[cfg(feature = "next-version")]
        if self.version() >= 4 {
            self.rehearsed += 1;
        }
    }

    /// The time of the last command that was applied.
    #[must_use]
    pub fn at(&self) -> Millis {
        self.at
    }

    /// When [`crate::Command::Tick`] is to be proposed next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A call, also one that ended and is not cleared.
    #[must_use]
    pub fn call(&self, id: CallId) -> Option<&Arc<Call>> {
        self.calls.get(&id)
    }

    /// All calls by id.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = &Arc<Call>> {
        self.calls.values()
    }

    /// All calls with the ids that they are kept under, which must be their own.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (CallId, &Arc<Call>)> {
        self.calls.iter().map(|(id, call)| (*id, call))
    }

    /// An agent.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<Agent>> {
        self.agents.get(id)
    }

    /// All agents by name.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// Every call that ever was.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A queue.
    #[must_use]
    pub fn queue(&self, id: &QueueId) -> Option<&Queue> {
        self.queues.get(id)
    }

    /// The place of a waiting call, counted from 1, and how long it is expected to wait from now
    /// on, in milliseconds, where that can be said: see [`Queue::expected_wait_ms`].
    #[must_use]
    pub fn position(&self, call: &Call) -> Option<(usize, Option<u64>)> {
        let QueuePlace { queue, place, .. } = CallMarks::of(call, &self.directory).place?;
        let queue = self.queues.get(&queue)?;
        let ahead = queue.ahead_of(place);
        Some((ahead + 1, queue.expected_wait_ms(ahead)))
    }

    /// All queues by name.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = &Queue> {
        self.queues.values()
    }

    /// A session.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All sessions by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = &Session> {
        self.sessions.values()
    }

    /// All nodes that were ever up.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// One node, if it was ever up.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// All service addresses.
    pub fn homes(&self) -> impl ExactSizeIterator<Item = (HomeId, &Home)> {
        self.homes.iter().map(|(id, home)| (*id, home))
    }

    /// The directory that holds.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// [`Directory::hash`] of the directory that holds. A node whose configuration has another
    /// one proposes it.
    #[must_use]
    pub fn directory_hash(&self) -> u64 {
        self.directory_hash
    }

    /// The version of the flow that new calls begin with, or an older one that a call is in.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<&Arc<Flow>> {
        self.flows.get(key).map(|entry| &entry.flow)
    }

    pub(crate) fn config_of(&self, agent: &AgentId) -> Option<&AgentConfig> {
        self.directory.agents.get(agent)
    }

    // --- the only ways to change calls, agents and sessions ---

    pub(crate) fn insert_call(&mut self, turn: &mut Turn, call: Call) {
        let id = call.id;
        self.counts.begun += 1;
        let after = CallMarks::of(&call, &self.directory);
        self.calls.insert(id, Arc::new(call));
        turn.outcome.touched.calls.insert(id);
        self.move_call(turn, id, CallMarks::default(), after);
    }

    /// Changes a call and keeps the indexes. The id is known to be there: every caller has
    /// looked.
    pub(crate) fn edit_call<T>(
        &mut self,
        turn: &mut Turn,
        id: CallId,
        edit: impl FnOnce(&mut Call) -> T,
    ) -> T {
        let call = self.calls.get_mut(&id).expect("the command was checked against the call");
        let before = CallMarks::of(call, &self.directory);
        let result = edit(Arc::make_mut(call));
        let after = CallMarks::of(call, &self.directory);
        turn.outcome.touched.calls.insert(id);
        self.move_call(turn, id, before, after);
        result
    }

    pub(crate) fn remove_call(&mut self, turn: &mut Turn, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            turn.outcome.touched.calls.insert(id);
            let before = CallMarks::of(&call, &self.directory);
            self.move_call(turn, id, before, CallMarks::default());
        }
    }

    fn move_call(&mut self, turn: &mut Turn, id: CallId, before: CallMarks, after: CallMarks) {
        if before == after {
            return;
        }
        self.move_deadline(|| Due::Call(id), before.deadline, after.deadline);
        if before.owner != after.owner {
            let loads = [(before.owner, u32::MAX), (after.owner, 1)];
            for (node, by) in loads.into_iter().filter_map(|(node, by)| Some((node?, by))) {
                let node = self.nodes.entry(node).or_insert_with(|| {
                    turn.outcome.touched.nodes.insert(node);
                    Node { up: true, ..Node::default() }
                });
                node.calls = node.calls.wrapping_add(by);
            }
        }
        if before.slot != after.slot {
            before.slot.and_then(|slot| self.parked.remove(&slot));
            after.slot.and_then(|slot| self.parked.insert(slot, id));
        }
        if before.trunks != after.trunks {
            self.move_trunks(&before.trunks, &after.trunks);
        }
        if before.flow != after.flow {
            if let Some(entry) = after.flow.as_ref().and_then(|key| self.flows.get_mut(key)) {
                entry.calls += 1;
            }
            if let Some(key) = before.flow {
                self.leave_flow(turn, key);
            }
        }
        if before.place != after.place {
            if let Some(QueuePlace { queue, place, line, .. }) = before.place {
                // With another priority it is where it was; only who enters a queue leaves another.
                let stays = after.place.as_ref().is_some_and(|after| {
                    after.queue == queue && after.place.ticket == place.ticket
                });
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.leave(&place, line.as_ref());
                    if !stays {
                        after.exit.count(&mut queue.totals);
                        queue.departed(turn.at);
                    }
                }
                turn.outcome.touched.queues.insert(queue);
            }
            if let Some(QueuePlace { queue: id, place, since, line }) = after.place {
                let queue = self.queues.entry(id.clone()).or_insert_with(|| Queue::new(id.clone()));
                if line.is_some() {
                    turn.opened.entry(id.clone()).or_default().insert(place);
                }
                queue.memory.next_since.get_or_insert(turn.at);
                queue.enter(place, Waiting { call: place.call, since }, line);
                turn.outcome.touched.queues.insert(id);
            }
        }
    }

    fn leave_flow(&mut self, turn: &mut Turn, key: FlowKey) {
        let Some(entry) = self.flows.get_mut(&key) else { return };
        entry.calls -= 1;
        if entry.calls == 0 && !self.is_configured(&key) {
            self.flows.remove(&key);
            turn.outcome.touched.flows.insert(key);
        }
    }

    pub(crate) fn is_configured(&self, key: &FlowKey) -> bool {
        self.flow_versions.get(&key.name) == Some(&key.version)
    }

    pub(crate) fn move_deadline(
        &mut self,
        due: impl Fn() -> Due,
        before: Option<Millis>,
        after: Option<Millis>,
    ) {
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.deadlines.remove(&(at, due()));
        }
        if let Some(at) = after {
            self.deadlines.insert((at, due()));
        }
    }

    /// Changes an agent and keeps the indexes. Nothing if the agent is not there: calls name
    /// agents, and should one ever name a wrong one, the replicas are not to stop for it.
    pub(crate) fn edit_agent(
        &mut self,
        turn: &mut Turn,
        id: &AgentId,
        edit: impl FnOnce(&mut Agent),
    ) {
        let Some(agent) = self.agents.get_mut(id) else {
            debug_assert!(false, "there is no agent {id}");
            return;
        };
        edit(Arc::make_mut(agent));
        turn.outcome.touched.agents.insert(id.clone());
        self.move_agent(turn, id);
    }

    pub(crate) fn insert_session(&mut self, turn: &mut Turn, session: Session) {
        let before = self.sessions.get(&session.id).and_then(Session::deadline);
        self.move_deadline(|| Due::Session(session.id), before, session.deadline());
        turn.outcome.touched.sessions.insert(session.id);
        let agent = session.agent.clone();
        self.sessions.insert(session.id, session);
        self.move_agent(turn, &agent);
    }

    pub(crate) fn remove_session(&mut self, turn: &mut Turn, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.move_deadline(|| Due::Session(id), session.deadline(), None);
        turn.outcome.touched.sessions.insert(id);
        self.move_agent(turn, &session.agent);
        Some(session)
    }

    /// Builds every index anew, after loading and after a new directory.
    pub(crate) fn rebuild_indexes(&mut self, turn: &mut Turn) {
        self.deadlines.clear();
        self.parked.clear();
        self.agent_marks.clear();
        self.trunk_calls.clear();
        let texts = self.directory.flows.iter();
        self.flow_versions =
            texts.map(|(name, text)| (name.clone(), FlowVersion::of(text))).collect();
        let served = self.served.iter().map(|(number, served)| (served.at, number.clone()));
        self.served_order = served.collect();
        self.seats = seats_of(&self.directory);
        for (id, queue) in &mut self.queues {
            let config = self.directory.queues.get(id);
            let rings = config.map_or(1, |config| config.distribution.ring_count());
            let (totals, memory) = (queue.totals, std::mem::take(&mut queue.memory));
            let pools = vec![Ranked::default(); rings];
            *queue = Queue { totals, memory, pools, ..Queue::new(id.clone()) };
        }
        let deserted = self
            .queues
            .iter()
            .filter_map(|(id, queue)| Some((queue.memory.deserted?, Due::Queue(id.clone()))));
        self.deadlines.extend(deserted);
        for node in self.nodes.values_mut() {
            node.calls = 0;
        }
        for entry in self.flows.values_mut() {
            entry.calls = 0;
        }
        let calls: Vec<_> = self
            .calls
            .values()
            .map(|call| (call.id, CallMarks::of(call, &self.directory)))
            .collect();
        for (id, marks) in calls {
            self.move_call(turn, id, CallMarks::default(), marks);
        }
        let sessions: Vec<_> =
            self.sessions.values().map(|session| (session.id, session.deadline())).collect();
        for (id, deadline) in sessions {
            self.move_deadline(|| Due::Session(id), None, deadline);
        }
        let agents: Vec<_> = self.agents.keys().cloned().collect();
        for id in &agents {
            self.move_agent(turn, id);
        }
        self.seat_freed(turn);
    }
}
