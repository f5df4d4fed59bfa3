//! Scripts that read as what people do.
//!
//! Each step lets time pass until what it says is so, and panics when it does not become so
//! within [`PATIENCE`], or when a claim does not hold. People of a script do only what they are
//! told, phones answer after a second.

use std::sync::Arc;

use tandem_center::{AgentState, Call, CallId, Command, NodeId, Phase};

use crate::desk::Habit;
use crate::directory;
use crate::ends::{EndId, Far, Temper};
use crate::network::Ways;
use crate::node::Pause;
use crate::schedule::Ending;
use crate::server::end_of;
use crate::{MILLISECOND, Micros, SECOND, World};

/// So many seconds.
pub const fn secs(seconds: u64) -> Micros {
    seconds * SECOND
}

/// How long a step may take until what it says is so.
const PATIENCE: Micros = 30 * SECOND;

/// A person who is about to call.
#[derive(Debug)]
pub struct Dialling<'a> {
    world: &'a mut World,
    at: Option<u64>,
    end: Option<EndId>,
}

/// A node, spoken of.
#[derive(Debug)]
pub struct Machine<'a> {
    world: &'a mut World,
    node: u64,
}

/// A call, looked at.
#[derive(Debug)]
pub struct Seen<'a> {
    world: &'a mut World,
    call: CallId,
}

/// An agent at a desk.
#[derive(Debug)]
pub struct Desk<'a> {
    world: &'a mut World,
    desk: usize,
}

impl World {
    /// Time passes.
    pub fn runs_for(&mut self, time: Micros) {
        self.run_for(time).expect("all claims hold");
    }

    fn runs_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = self.now + PATIENCE;
        while !is_so(self) {
            assert!(self.now < until, "{what} within {PATIENCE} µs");
            self.runs_for(20 * MILLISECOND);
        }
    }

    /// Somebody who calls; the name is for the reader.
    pub fn caller(&mut self, _name: &str) -> Dialling<'_> {
        Dialling { world: self, at: None, end: None }
    }

    /// An agent, by the name in the directory.
    pub fn agent(&mut self, name: &str) -> Desk<'_> {
        let id = directory::agent(name);
        let desk =
            self.desks.iter().position(|desk| desk.agent == id).expect("the agent has a desk");
        Desk { world: self, desk }
    }

    /// A call.
    pub fn call(&mut self, call: CallId) -> Seen<'_> {
        Seen { world: self, call }
    }

    /// A machine, by its number.
    pub fn machine(&mut self, node: u64) -> Machine<'_> {
        Machine { world: self, node }
    }

    /// Who leads, as soon as somebody does.
    pub fn leader(&mut self) -> Machine<'_> {
        self.runs_until("somebody leads", |world| world.leading().is_some());
        let node = self.leading().expect("somebody leads");
        Machine { world: self, node }
    }

    /// A machine that does not lead.
    pub fn follower(&mut self) -> Machine<'_> {
        let leader = self.leader().number();
        let node = leader % self.plan.nodes + 1;
        Machine { world: self, node }
    }

    /// The spare machine's next step: joins as a learner, is promoted, or leaves.
    pub fn changes_members(&mut self) {
        self.leader();
        self.change_members().expect("all claims hold");
    }

    /// The voters, as the leader knows them.
    pub fn voters(&mut self) -> Vec<u64> {
        let leader = self.leader().number();
        let running = self.node(leader).running.as_ref().expect("the leader runs");
        running.driver.status().members.voters
    }

    /// How many calls wait in a queue, as the most recent node sees it.
    pub fn waiting_in(&self, queue: &str) -> usize {
        let newest = self.newest();
        let queue = newest.and_then(|center| {
            center.queues().find(|live| live.id.as_str() == queue).map(|live| live.length())
        });
        queue.unwrap_or_default()
    }

    /// How many call-detail records every running node has of a call. Panics if they differ.
    pub fn cdrs_of(&self, call: CallId) -> usize {
        let running = self.nodes.iter().filter_map(|node| node.running.as_ref());
        let mut counts: Vec<_> =
            running.map(|running| usize::from(running.ledger.contains_key(&call))).collect();
        counts.dedup();
        assert_eq!(counts.len(), 1, "nodes differ in what they recorded");
        counts[0]
    }

    /// Everybody leaves; nothing may be left, and all nodes must have the same.
    pub fn ends(&mut self) {
        self.heal();
        self.close();
        self.runs_for(secs(75));
        self.check_end().expect("all claims hold");
    }

    fn newest(&self) -> Option<&tandem_center::Center> {
        self.nodes.iter().filter_map(|node| node.center()).max_by_key(|center| center.index())
    }

    /// The node that may act for a call.
    fn serves(&self, call: CallId) -> Option<u64> {
        let owner = self.value(call)?.owner.0;
        let running = self.nodes[owner as usize - 1].running.as_ref()?;
        let may = self.may_act(owner) && !self.has_yielded(owner, call);
        (may && running.servers.contains_key(&call)).then_some(owner)
    }

    fn value(&self, call: CallId) -> Option<Arc<Call>> {
        self.newest()?.call(call).cloned()
    }
}

impl Dialling<'_> {
    /// The call enters at this node.
    #[must_use]
    pub fn at_node(mut self, node: u64) -> Self {
        self.at = Some(node);
        self
    }

    /// The INVITE goes out.
    #[must_use]
    pub fn dials(mut self, number: &str) -> Self {
        self.world.runs_until("the centre is configured", |world| {
            world.newest().is_some_and(|center| !center.directory().numbers.is_empty())
        });
        let at = self.at.unwrap_or_else(|| self.world.follower().number());
        self.end = Some(self.world.new_caller(at, number, Temper::patient()));
        self
    }

    fn call_once(self, what: &str, is_so: impl Fn(&Call) -> bool) -> CallId {
        let end = self.end.expect("somebody dialled");
        let call_of = |world: &World| world.ends[&end].call;
        let found = |world: &World| call_of(world).and_then(|call| world.value(call));
        self.world.runs_until(what, |world| found(world).is_some_and(|call| is_so(&call)));
        call_of(self.world).expect("the call is there")
    }

    /// It waits in a queue.
    pub fn waits(self) -> CallId {
        self.call_once("the caller waits", |call| matches!(call.phase, Phase::Queued { .. }))
    }

    /// It is talking to this agent, who became ready for it.
    pub fn is_answered_by(self, name: &str) -> CallId {
        self.world.agent(name).is_obliging();
        let agent = directory::agent(name);
        self.call_once("the agent answers", |call| call.talking_leg_of(&agent).is_some())
    }
}

impl Machine<'_> {
    /// Its number.
    pub fn number(self) -> u64 {
        self.node
    }

    /// Its power is cut, and stays so.
    pub fn crashes(self) -> u64 {
        self.world.crash(self.node, Ending::Power { left: 0, cache: false });
        self.node
    }

    /// Its process is ended; the machine is there and refuses connections.
    pub fn is_killed(self) -> u64 {
        self.world.crash(self.node, Ending::Process);
        self.node
    }

    /// Its process stops where it is, with its sockets open.
    pub fn is_frozen(self) -> u64 {
        self.world.freeze(self.node, PATIENCE, Pause::Process);
        self.node
    }

    /// It goes on, and finds what came meanwhile.
    pub fn wakes(self) {
        self.world.thaw(self.node);
    }

    /// It is switched on again.
    pub fn starts(self) {
        self.world.start(self.node).expect("all claims hold");
    }

    /// Nobody hears it, and it hears nobody.
    pub fn is_cut_off(self) -> u64 {
        let others: Vec<u64> = (1..=self.world.nodes.len() as u64).collect();
        self.world.network.isolate(self.node, &others, Ways::Both);
        self.node
    }

    /// It hears and is heard again.
    pub fn is_back(self) {
        self.world.network.cut.clear();
    }

    /// It has a snapshot of another node instead of its own log, and has applied everything.
    pub fn is_level(self) {
        let index = |world: &World, node: u64| {
            world.nodes[node as usize - 1].center().map(tandem_center::Center::index)
        };
        let node = self.node;
        self.world.runs_until("it has caught up", |world| {
            index(world, node) == world.newest().map(tandem_center::Center::index)
        });
    }
}

impl Seen<'_> {
    fn value(&self) -> Arc<Call> {
        self.world.value(self.call).expect("the call is there")
    }

    /// Two parties talk, in the state and on the wire.
    pub fn is_still_bridged(&self) {
        let call = self.value();
        let Some((parties, _)) = call.conversation() else {
            panic!("the call is {}", call.phase_name())
        };
        for leg in parties {
            let end = &self.world.ends[&end_of(&call, *leg)];
            assert_eq!(end.far, Far::Talks, "{:?}", end.id);
        }
    }

    /// It is offered to this agent within a while.
    pub fn is_offered_to(&mut self, name: &str) {
        let (agent, call) = (directory::agent(name), self.call);
        self.world.runs_until("it is offered", |world| {
            let value = world.value(call);
            value.is_some_and(|call| call.offer_to(&agent).is_some())
        });
    }

    /// It is answered by this agent within a while.
    pub fn is_answered_by(&mut self, name: &str) {
        let (agent, call) = (directory::agent(name), self.call);
        self.world.runs_until("it is answered", |world| {
            world.value(call).is_some_and(|call| call.talking_leg_of(&agent).is_some())
        });
    }

    /// The caller hangs up, and the call is over and forgotten everywhere.
    pub fn hangs_up(&mut self) {
        let call = self.call;
        self.hangs_up_at_once();
        self.world.runs_until("the call is over everywhere", |world| {
            let mut centers = world.nodes.iter().filter_map(|node| node.center());
            centers.all(|center| center.call(call).is_none())
        });
    }

    /// The caller hangs up.
    pub fn hangs_up_at_once(&mut self) {
        let caller = end_of(&self.value(), tandem_center::LegNumber::FIRST);
        let now = self.world.now;
        self.world.ends.get_mut(&caller).expect("the caller is there").leave(now);
        self.world.arm(caller);
    }

    /// Time passes until another node than this serves it, and may. How many milliseconds.
    pub fn is_served_by_another_ms(&mut self, lost: u64) -> u64 {
        let (call, since) = (self.call, self.world.now);
        self.world.runs_until("another node serves it", |world| {
            world.serves(call).is_some_and(|node| node != lost)
        });
        (self.world.now - since) / MILLISECOND
    }

    /// This node serves it within a while.
    pub fn is_back_at(&mut self, node: u64) {
        let call = self.call;
        self.world.runs_until("it is back", |world| world.serves(call) == Some(node));
    }

    /// Who serves it.
    pub fn owner(&self) -> u64 {
        let NodeId(owner) = self.value().owner;
        owner
    }
}

impl Desk<'_> {
    /// Signs in, becomes ready, and from now on accepts whatever is offered.
    pub fn is_obliging(&mut self) {
        self.world.desks[self.desk].habit = Habit::Obliging;
    }

    /// Is ready within a while, if no call keeps them from it.
    pub fn is_ready(&mut self) {
        self.is_obliging();
        self.is_in("is ready", |state| matches!(state, AgentState::Ready { .. }));
    }

    /// Is in a state within a while.
    pub fn is_in(&mut self, what: &str, is_so: impl Fn(&AgentState) -> bool) {
        let agent = self.world.desks[self.desk].agent.clone();
        self.world.runs_until(what, |world| {
            let agent = world.newest().and_then(|center| center.agent(&agent));
            agent.is_some_and(|agent| is_so(&agent.state))
        });
    }

    /// The node that the desk is connected to.
    pub fn node(&self) -> Option<u64> {
        self.world.desks[self.desk].socket.map(|(node, _)| node)
    }

    /// Hangs up at the desk.
    pub fn hangs_up(&mut self, call: CallId) {
        let now = self.world.now;
        let hang_up = |agent, command| Command::HangUp { agent, call, command };
        self.world.desks[self.desk].order(now, hang_up);
        self.world.runs_until("the call is over", |world| {
            world.value(call).is_none_or(|call| call.has_ended())
        });
    }
}
