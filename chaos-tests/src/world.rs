//! The world: its clock, and everything that is going to happen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use tandem_center::{Command, HomeId, NodeId};
use tandem_cluster::MemoryLog;
use tandem_cluster::driver::{begin, genesis};
use tandem_cluster::presence::Timing;

use crate::claims::{Broken, Counts, Model, broken, wire};
use crate::desk::{Desk, Habit, THINKS_EVERY};
use crate::directory::{self, PEOPLE};
use crate::ends::{End, EndId, Far, Temper, Where};
use crate::event::{Event, Planned, Script};
use crate::mutants::Mutant;
use crate::nemesis::Nemesis;
use crate::network::Network;
use crate::node::{Ledger, Node, seal};
use crate::random::{Dice, Of};
use crate::schedule::{Schedule, Step, What};
use crate::trace::Trace;
use crate::{MILLISECOND, Micros, SECOND};

/// One tick of Raft.
pub(crate) const TICK: Micros = 25 * MILLISECOND;

/// Between two looks of a node at what it owes.
pub(crate) const HOUSEKEEPING: Micros = 250 * MILLISECOND;

/// What a world is made from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Voters; one more may join.
    pub nodes: u64,
    /// Everything follows from it.
    pub seed: u64,
    /// Callers of a thousand seconds.
    pub callers_per_1000_s: u64,
    /// Faults come about every so often. None: never.
    pub fault_every: Option<Micros>,
    /// What is built in wrongly.
    pub mutant: Option<Mutant>,
    /// How much of the state is looked at after a command.
    pub checks: Checks,
    /// Keep the lines of the event log.
    pub keeps_lines: bool,
    /// What happens, instead of what would be drawn.
    pub schedule: Option<Arc<Schedule>>,
}

/// How many of a thousand orders and reports are lost on the way in a storm.
const LOST: u64 = 10;

/// How much of the state is looked at after each command at each node. The claims on what
/// changed are always checked; these are those that read the whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// All of it.
    Every,
    /// All of it after one of so many commands.
    OneOf(u64),
}

impl Checks {
    pub(crate) fn looks_at(self, index: u64) -> bool {
        match self {
            Self::Every => true,
            Self::OneOf(of) => index.is_multiple_of(of),
        }
    }
}

impl Plan {
    /// Three nodes, a call every other second, and a fault every three.
    pub fn seeded(seed: u64) -> Self {
        Self {
            nodes: 3,
            seed,
            callers_per_1000_s: 600,
            fault_every: Some(3 * SECOND),
            mutant: None,
            checks: Checks::Every,
            keeps_lines: false,
            schedule: None,
        }
    }

    /// What a schedule says.
    pub fn of(schedule: &Schedule) -> Self {
        Self {
            nodes: schedule.nodes,
            callers_per_1000_s: 0,
            fault_every: None,
            mutant: schedule.mutant,
            schedule: Some(Arc::new(schedule.clone())),
            ..Self::seeded(schedule.seed)
        }
    }
}

/// The simulated world.
#[derive(Debug)]
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Micros,
    pub(crate) dice: Dice,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) ends: BTreeMap<EndId, End>,
    pub(crate) desks: Vec<Desk>,
    pub(crate) model: Model,
    pub(crate) nemesis: Nemesis,
    pub(crate) trace: Trace,
    /// What is still to happen, if that is written down.
    pub(crate) script: Option<Script>,
    /// Faults and calls so far.
    pub(crate) played: Vec<Step>,
    /// Orders and reports that are lost, of a thousand.
    pub(crate) lost: u64,
    /// Outputs of each node's driver.
    pub(crate) counted_outputs: Vec<u64>,
    /// Which directory the nodes are configured with.
    pub(crate) configured: u64,
    pub(crate) callers: u32,
    /// People call of their own accord.
    pub(crate) is_open: bool,
    /// The first claim that did not hold in the present event.
    pub(crate) verdict: Option<Broken>,
    planned: BinaryHeap<Reverse<Planned>>,
    events: u64,
}

impl World {
    /// So many voters, with nobody calling and nothing going wrong.
    pub fn of_nodes(nodes: u64) -> Self {
        Self::new(Plan { nodes, callers_per_1000_s: 0, fault_every: None, ..Plan::seeded(1) })
    }

    /// The same with another seed. To be said first.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self::new(Plan { seed, ..self.plan })
    }

    /// A world.
    pub fn new(plan: Plan) -> Self {
        let script = plan.schedule.as_deref().map(Script::of);
        let is_open = plan.callers_per_1000_s > 0 || script.is_some();
        let present = match &plan.schedule {
            Some(schedule) => schedule.desks.clone(),
            None if is_open => Schedule::all_desks(),
            None => BTreeSet::new(),
        };
        let habit = |desk| if present.contains(&desk) { Habit::Busy } else { Habit::Away };
        let desks = PEOPLE.iter().enumerate();
        let desks = desks.map(|(at, name)| Desk::new(directory::agent(name), habit(at)));
        let lost = match &plan.schedule {
            Some(schedule) => schedule.lost,
            None => plan.fault_every.map_or(0, |_| LOST),
        };
        let mut world = Self {
            now: 0,
            dice: Dice::new(plan.seed),
            nodes: Vec::new(),
            network: Network::new(),
            ends: BTreeMap::new(),
            desks: desks.collect(),
            model: Model::default(),
            nemesis: Nemesis::default(),
            trace: Trace::new(plan.keeps_lines),
            script,
            played: Vec::new(),
            lost,
            counted_outputs: vec![0; plan.nodes as usize + 1],
            configured: 0,
            callers: 0,
            is_open,
            verdict: None,
            planned: BinaryHeap::new(),
            events: 0,
            plan,
        };
        let voters: BTreeMap<_, _> = (1..=world.plan.nodes).map(|id| (id, Vec::new())).collect();
        let genesis = genesis(&voters, seal(&tandem_center::Center::new(), &Ledger::new()));
        for id in 1..=world.plan.nodes {
            let mut disk = MemoryLog::new();
            begin(&mut disk, &genesis).expect("an empty disk in memory takes a snapshot");
            world.nodes.push(Node::new(id, disk, false));
            world.plan_in(0, Event::Start { node: id });
        }
        world.nodes.push(Node::new(world.plan.nodes + 1, MemoryLog::new(), true));
        for desk in 0..world.desks.len() {
            world.plan_in(SECOND + desk as u64 * 7 * MILLISECOND, Event::Think { desk });
        }
        world.plan_next_call();
        world.plan_next_fault();
        world
    }

    /// What happened in a storm of so long, so that it can be played again.
    pub fn schedule(&self, time: Micros) -> Schedule {
        let present = self.plan.schedule.as_ref().map(|schedule| schedule.desks.clone());
        Schedule {
            seed: self.plan.seed,
            nodes: self.plan.nodes,
            time,
            mutant: self.plan.mutant,
            lost: self.lost,
            desks: present.unwrap_or_else(Schedule::all_desks),
            steps: self.played.clone(),
            breaks: None,
        }
    }

    /// How many outputs the driver of a node has had, over all its starts.
    pub fn outputs(&self, node: u64) -> u64 {
        self.counted_outputs[node as usize - 1]
    }

    /// The time in the world.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.model.counts
    }

    /// A number that differs if anything happened otherwise.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The event log, if the plan keeps it.
    pub fn lines(&self) -> &[String] {
        self.trace.lines()
    }

    pub(crate) fn plan_in(&mut self, after: Micros, event: Event) {
        self.events += 1;
        let planned = Planned { at: self.now + after, number: self.events, event };
        self.planned.push(Reverse(planned));
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    /// Whether this start of the node is the present one, and runs.
    pub(crate) fn runs(&self, node: u64, start: u64) -> bool {
        let node = &self.nodes[node as usize - 1];
        node.starts == start && node.running.is_some()
    }

    /// Time passes. Stops at the first claim that does not hold.
    pub fn run_for(&mut self, time: Micros) -> Result<(), Broken> {
        let until = self.now + time;
        while let Some(Reverse(next)) = self.planned.peek()
            && next.at <= until
        {
            let Some(Reverse(planned)) = self.planned.pop() else { break };
            self.now = planned.at;
            if !self.network.is_fine() {
                self.network.was_bad(planned.at);
            }
            if let Some(event) = self.reaches(planned.event) {
                self.happen(event)?;
            }
            if let Some(broken) = self.verdict.take() {
                return Err(broken);
            }
        }
        self.now = until;
        Ok(())
    }

    /// Faults and callers for so long; then all faults end, and everybody leaves. After that
    /// nothing may be left, and all nodes must have the same.
    pub fn storm(&mut self, time: Micros) -> Result<(), Broken> {
        self.run_for(time)?;
        self.heal();
        self.run_quietly_for(15 * SECOND)?;
        self.the_cluster_decides_again()?;
        self.close();
        self.run_quietly_for(75 * SECOND)?;
        self.check_end()
    }

    /// Time passes, and what ended leaves nothing.
    fn run_quietly_for(&mut self, time: Micros) -> Result<(), Broken> {
        let until = self.now + time;
        while self.now < until {
            self.run_for(wire::LOOK_EVERY.min(until - self.now))?;
            self.nothing_is_left_35_s_after_the_end()?;
        }
        Ok(())
    }

    /// Everybody leaves, and nobody comes.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
        for desk in &mut self.desks {
            desk.habit = Habit::Leaving;
        }
        let now = self.now;
        for end in self.ends.values_mut() {
            end.leave(now);
        }
        let ends: Vec<EndId> = self.ends.keys().copied().collect();
        for end in ends {
            self.arm(end);
        }
    }

    /// A leader is there, and everyone has what was acknowledged.
    fn the_cluster_decides_again(&self) -> Result<(), Broken> {
        let claim = "the_cluster_decides_again";
        if !self.nodes.iter().any(Node::is_leading) {
            return Err(broken(claim, "15 s after the last fault nobody leads"));
        }
        for node in self.members() {
            let Some(running) = &node.running else {
                return Err(broken(claim, format!("node {} does not run", node.id)));
            };
            if !running.is_caught_up {
                return Err(broken(claim, format!("node {} is not caught up", node.id)));
            }
        }
        Ok(())
    }

    /// The nodes that the leader counts among the cluster. One that was started to join does not
    /// belong to it if the change that adds it was lost with an earlier leader.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Node> {
        let leader = self.leading().and_then(|id| self.nodes[id as usize - 1].running.as_ref());
        let members = leader.map(|leader| leader.driver.status().members).unwrap_or_default();
        self.nodes.iter().filter(move |node| {
            members.voters.contains(&node.id) || members.learners.contains(&node.id)
        })
    }

    pub(crate) fn check_end(&self) -> Result<(), Broken> {
        self.model.every_call_has_one_cdr()?;
        self.every_home_is_back_at_its_node()?;
        self.every_record_is_what_the_caller_heard()?;
        let mut states = Vec::new();
        for node in self.members() {
            let Some(running) = &node.running else { continue };
            let applied = running.driver.applied().0;
            self.model.acknowledged_commands_survive(applied, &running.ledger)?;
            crate::claims::nothing_is_left(&running.center)?;
            if let Some(id) = running.servers.keys().next() {
                let why = format!("node {} still serves {id}", node.id);
                return Err(broken("nothing_is_left_after_quiet_time", why));
            }
            states.push((running.center.index(), running.center.state_hash()));
        }
        states.dedup();
        if states.len() > 1 {
            let why = format!("after quiet time nodes differ: {states:x?}");
            return Err(broken("equal_logs_make_equal_states", why));
        }
        let left = self.ends.values().find(|end| end.far != Far::Gone);
        if let Some(end) = left {
            let why = format!("{:?} {:?}", end.id, end.far);
            return Err(broken("nothing_is_left_on_the_wire", why));
        }
        match self.desks.iter().find(|desk| desk.is_waiting() && desk.socket.is_some()) {
            Some(desk) => Err(broken("every_command_is_answered", format!("{} waits", desk.agent))),
            None => Ok(()),
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Deliver(message) => self.deliver(*message),
            Event::SnapshotSent { from, to, delivered } => self.snapshot_sent(from, to, delivered),
            Event::Tick { node, start } => self.tick(node, start),
            Event::Written { node, start } => self.written(node, start),
            Event::Housekeeping { node, start } => self.housekeeping(node, start),
            Event::Start { node } => self.start(node),
            Event::Look { node, start } => self.look_at_presence(node, start),
            Event::Report { at, node: Some(node), call, end, leg, far } => {
                self.report_arrives((node, at), call, (end, leg), far)
            }
            Event::Acted { node, start, call, seq, result } => {
                self.propose_for(node, start, call, Command::Ivr { call, seq, result })
            }
            Event::Again { node, start, call, command } => {
                self.propose_for(node, start, call, *command)
            }
            Event::Think { desk } => {
                self.plan_in(THINKS_EVERY, Event::Think { desk });
                self.think(desk)
            }
            Event::Fault => self.something_goes_wrong(),
            other @ (Event::Beat { .. }
            | Event::Beats { .. }
            | Event::Refused { .. }
            | Event::Thaw { .. }
            | Event::Order { .. }
            | Event::Report { node: None, .. }
            | Event::Wake { .. }
            | Event::Answer { .. }
            | Event::Call) => {
                self.pass(other);
                Ok(())
            }
        }
    }

    /// What concerns the world outside, and beats.
    fn pass(&mut self, event: Event) {
        match event {
            Event::Beat { from, to, beat } => self.beat_arrives(from, to, beat),
            Event::Beats { node, start } => self.beats(node, start),
            Event::Refused { node, start, of, began } => self.refused(node, start, of, began),
            Event::Thaw { node, start } if self.runs(node, start) => self.thaw(node),
            Event::Order { node, at, call, end, order } => {
                self.order_arrives((node, at), call, end, &order);
            }
            Event::Wake { end } => self.wake(end),
            Event::Answer { desk, socket, id, reply } => {
                self.answer_arrives(desk, socket, &id, reply);
            }
            Event::Call => self.somebody_calls(),
            Event::Thaw { .. }
            | Event::Deliver(_)
            | Event::SnapshotSent { .. }
            | Event::Tick { .. }
            | Event::Written { .. }
            | Event::Housekeeping { .. }
            | Event::Start { .. }
            | Event::Look { .. }
            | Event::Report { .. }
            | Event::Acted { .. }
            | Event::Again { .. }
            | Event::Think { .. }
            | Event::Fault => (),
        }
    }

    /// How presence is measured.
    pub(crate) fn timing(&self) -> Timing {
        let timing = Timing::default();
        match self.plan.mutant {
            Some(Mutant::LeasesOutliveTheLoss) => Timing { lease_ms: 3 * timing.loss_ms, ..timing },
            Some(_) | None => timing,
        }
    }

    fn somebody_calls(&mut self) {
        if !self.is_open {
            return;
        }
        let (caller, node, number) = match &mut self.script {
            Some(script) => match script.calls.pop_front() {
                Some((_, call)) => call,
                None => return,
            },
            None => {
                let random = self.dice.of(Of::Callers);
                let node = random.between(1, self.plan.nodes + 1);
                (self.callers + 1, node, (*random.of(&directory::NUMBERS)).to_owned())
            }
        };
        self.plan_next_call();
        let temper = Temper::of_caller(self.dice.of(Of::Temper(EndId::Caller(caller))));
        self.callers = caller - 1;
        self.new_caller(node, &number, temper);
        let what = What::Call { caller, node, number };
        self.played.push(Step { at: self.now, what });
    }

    fn plan_next_call(&mut self) {
        let next = match &self.script {
            Some(script) => script.calls.front().map(|(at, _)| *at),
            None if self.plan.callers_per_1000_s > 0 => {
                let mean = 1_000 * SECOND / self.plan.callers_per_1000_s;
                let first = if self.now == 0 { 2 * SECOND } else { 0 };
                Some(self.now + first + self.dice.of(Of::Callers).about(mean))
            }
            None => None,
        };
        if let Some(at) = next {
            self.plan_in(at.saturating_sub(self.now), Event::Call);
        }
    }

    pub(crate) fn new_caller(&mut self, node: u64, number: &str, temper: Temper) -> EndId {
        self.callers += 1;
        let id = EndId::Caller(self.callers);
        self.trace.note(self.now, "call", [u64::from(self.callers), node], || {
            format!("caller {} dials {number} at node {node}", self.callers)
        });
        let at = Where::Home(HomeId::first_of(NodeId(node)));
        self.ends.insert(id, End::caller(self.now, id, at, number, temper));
        self.arm(id);
        id
    }
}
