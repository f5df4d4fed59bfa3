//! A cluster in one thread: simulated network, disks and clock, all from one seed.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of the world")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod streams;

use std::collections::{BTreeMap, BTreeSet};
pub use streams::Streams;
use tandem_cluster::driver::{begin, genesis};
use tandem_cluster::{
    Committed, ConfState, Driver, Log, Membership, MemoryLog, Message, MessageType, Millis, NodeId,
    Options, Output, ProposalId, ProposeError, ReadId, SnapshotData, StartError,
};

/// One tick of Raft.
pub const TICK_MS: Millis = 25;

/// Everything that a node's state is: what it applied.
pub type History = Vec<(u64, Millis, Vec<u8>)>;

/// One member.
pub struct Member {
    pub driver: Option<Driver<MemoryLog>>,
    pub disk: MemoryLog,
    pub history: History,
    pub reads: Vec<(ReadId, usize)>,
    pub reads_failed: Vec<ReadId>,
    pub refused: Vec<(ProposalId, ProposeError)>,
    /// Reads under way: when they were asked, and the last acknowledged index then.
    pub reading: BTreeMap<ReadId, (Millis, u64)>,
    /// The terms in which it said that earlier proposals are decided.
    pub settled: Vec<u64>,
    /// Its clock is this far from the others'.
    pub clock_ahead: Millis,
    pub restart_at: Option<Millis>,
    sequence: u64,
    starts: u64,
}

/// The cluster.
pub struct World {
    pub now: Millis,
    pub members: BTreeMap<NodeId, Member>,
    network: BTreeMap<(Millis, u64), (Message, bool)>,
    sent: u64,
    random: u64,
    /// Links that are cut, both ways.
    pub cut_links: BTreeSet<(NodeId, NodeId)>,
    /// Messages lost, of 100.
    pub loss_percent: u64,
    /// Messages go on connections that lose segments, instead of each for itself.
    pub streams: Option<Streams>,
    /// Latest delivery.
    pub delay_ms_max: Millis,
    /// The power of whoever performs this output is cut after it.
    pub cut_at_step: Option<u64>,
    /// Outputs performed so far.
    pub steps: u64,
    /// The mutant: acknowledgements leave before the disk has synced.
    pub sends_before_sync: bool,
    /// Snapshot and compact when the log has this many entries.
    pub snapshot_every: Option<u64>,
    /// Proposals that were acknowledged to whoever made them.
    pub acknowledged: BTreeMap<u64, Vec<u8>>,
    /// Everything that was seen of what may happen only once.
    pub seen: Seen,
    /// Nodes that ended because their disk failed.
    pub disk_failures: u64,
    /// A node without its disk may hear of what it had, from who does not know that it left.
    pub may_be_lost: bool,
    next_id: u64,
}

/// What all members must agree on, as it was first seen; and where they did not.
#[derive(Default)]
pub struct Seen {
    pub leaders: BTreeMap<u64, NodeId>,
    pub applied: BTreeMap<u64, Vec<u8>>,
    pub memberships: BTreeMap<u64, ConfState>,
    pub violations: Vec<String>,
}

impl Seen {
    fn leads(&mut self, node: NodeId, term: u64) {
        let leader = *self.leaders.entry(term).or_insert(node);
        if leader != node {
            self.violations.push(format!("nodes {leader} and {node} lead in term {term}"));
        }
    }

    fn applies(&mut self, node: NodeId, committed: &Committed) {
        let data = self.applied.entry(committed.index).or_insert_with(|| committed.data.to_vec());
        if *data != committed.data {
            let index = committed.index;
            self.violations.push(format!("node {node} applies something else at {index}"));
        }
    }

    fn belongs(&mut self, node: NodeId, membership: &Membership) {
        let Membership { index, conf_state, .. } = membership;
        let sorted = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        let first = self.memberships.entry(*index).or_insert_with(|| conf_state.clone());
        if sorted(&first.voters) != sorted(&conf_state.voters)
            || sorted(&first.learners) != sorted(&conf_state.learners)
        {
            self.violations
                .push(format!("node {node} has other members at {index}: {conf_state:?}"));
        }
    }
}

fn logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

impl World {
    pub fn of(nodes: u64) -> Self {
        Self::seeded(nodes, 1)
    }

    pub fn seeded(nodes: u64, seed: u64) -> Self {
        let mut world = Self {
            now: 1_700_000_000_000,
            members: BTreeMap::new(),
            network: BTreeMap::new(),
            sent: 0,
            random: seed,
            cut_links: BTreeSet::new(),
            loss_percent: 0,
            streams: None,
            delay_ms_max: 3,
            cut_at_step: None,
            steps: 0,
            sends_before_sync: false,
            snapshot_every: None,
            acknowledged: BTreeMap::new(),
            seen: Seen::default(),
            disk_failures: 0,
            may_be_lost: false,
            next_id: 0,
        };
        let voters: BTreeMap<_, _> = (1..=nodes).map(|node| (node, Vec::new())).collect();
        for node in 1..=nodes {
            let mut disk = MemoryLog::new();
            begin(&mut disk, &genesis(&voters, encode(&Vec::new()))).unwrap();
            world.add(node, disk);
        }
        world
    }

    /// A member that is started with this disk.
    pub fn add(&mut self, node: NodeId, disk: MemoryLog) {
        let member = Member {
            driver: None,
            disk,
            history: Vec::new(),
            reads: Vec::new(),
            reads_failed: Vec::new(),
            refused: Vec::new(),
            reading: BTreeMap::new(),
            settled: Vec::new(),
            clock_ahead: 0,
            restart_at: None,
            sequence: 0,
            starts: 0,
        };
        self.members.insert(node, member);
        self.start(node);
    }

    pub fn start(&mut self, node: NodeId) {
        let seed = self.draw(u64::MAX);
        let member = self.members.get_mut(&node).unwrap();
        member.starts += 1;
        member.restart_at = None;
        member.history = Vec::new();
        let mut options = Options::new(node);
        if let Some(snapshot) = member.disk.snapshot() {
            let data = SnapshotData::decode(&snapshot.data).unwrap();
            member.history = decode(&data.state);
            options.applied = snapshot.get_metadata().index;
            options.applied_at = data.at;
        }
        options.seed = seed;
        options.incarnation = member.starts;
        member.disk.lie(self.sends_before_sync);
        let membership = member.disk.membership();
        if membership != Membership::default() {
            self.seen.belongs(node, &membership);
        }
        match Driver::new(&options, member.disk.clone(), &logger()) {
            Ok(driver) => member.driver = Some(driver),
            Err(StartError::Log(_)) => return self.disk_failed(node),
            Err(error) => panic!("{error}"),
        }
        self.perform(node);
    }

    /// The power of a node is cut; `survivors` unsynced writes happened to reach the disk.
    pub fn crash(&mut self, node: NodeId, survivors: usize) {
        let member = self.members.get_mut(&node).unwrap();
        member.driver = None;
        member.reading.clear();
        member.disk.cut_power(survivors);
    }

    pub fn crash_and_restart(&mut self, node: NodeId, after: Millis) {
        let survivors = self.draw(3) as usize;
        self.crash(node, survivors);
        self.members.get_mut(&node).unwrap().restart_at = Some(self.now + after);
    }

    /// A node's disk is gone, and with the machine its connections and what was on them.
    pub fn lose_disk(&mut self, node: NodeId) {
        self.crash(node, 0);
        let member = self.members.get_mut(&node).unwrap();
        (member.disk, member.restart_at) = (MemoryLog::new(), None);
        self.network.retain(|_, (message, _)| message.from != node && message.to != node);
    }

    pub fn driver(&mut self, node: NodeId) -> &mut Driver<MemoryLog> {
        self.members.get_mut(&node).unwrap().driver.as_mut().expect("the node runs")
    }

    pub fn history(&self, node: NodeId) -> &History {
        &self.members[&node].history
    }

    /// Lets a node propose `data`.
    pub fn propose(&mut self, node: NodeId, data: &[u8]) -> Option<ProposalId> {
        let member = self.members.get_mut(&node).unwrap();
        let now = self.now + member.clock_ahead;
        let proposal = ProposalId { node, sequence: member.starts << 32 | member.sequence };
        member.sequence += 1;
        let taken = member.driver.as_mut()?.propose(now, proposal, data.to_vec());
        self.perform(node);
        taken.is_ok().then_some(proposal)
    }

    /// Lets a node read; the answer is the length of its history at that time.
    pub fn read(&mut self, node: NodeId) -> ReadId {
        self.next_id += 1;
        let read = ReadId(self.next_id);
        let acknowledged = self.acknowledged.keys().next_back().copied().unwrap_or(0);
        let asked = (self.now, acknowledged);
        self.members.get_mut(&node).unwrap().reading.insert(read, asked);
        self.driver(node).read(read);
        self.perform(node);
        read
    }

    pub fn leader(&self) -> Option<NodeId> {
        let leads = |member: &Member| member.driver.as_ref().is_some_and(|d| d.role().leading);
        let leaders = self.members.iter().filter(|(_, member)| leads(member));
        leaders.max_by_key(|(_, m)| m.driver.as_ref().map(|d| d.role().term)).map(|(n, _)| *n)
    }

    pub fn elect(&mut self) -> NodeId {
        for _ in 0..10_000 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.run(TICK_MS);
        }
        panic!("no leader");
    }

    /// Time passes.
    pub fn run(&mut self, ms: Millis) {
        let until = self.now + ms;
        while self.now < until {
            self.now += 1;
            while let Some((&key, _)) = self.network.iter().next().filter(|(k, _)| k.0 <= self.now)
            {
                let packet = self.network.remove(&key).unwrap();
                if self.streams.as_mut().is_some_and(|s| !s.takes(key, &packet.0)) {
                    continue;
                }
                match packet {
                    (message, true) => self.deliver(message),
                    (message, false) => self.report_snapshot(message.from, message.to, false),
                }
            }
            for node in self.members.keys().copied().collect::<Vec<_>>() {
                self.pass_time(node);
            }
        }
    }

    fn pass_time(&mut self, node: NodeId) {
        let member = self.members.get_mut(&node).unwrap();
        if member.restart_at.is_some_and(|at| at <= self.now) {
            self.start(node);
        } else if (self.now + node * 7).is_multiple_of(TICK_MS) {
            if self.sends_before_sync {
                member.disk.sync();
            }
            if let Some(driver) = member.driver.as_mut() {
                driver.handle_tick();
                self.perform(node);
            }
        }
    }

    fn deliver(&mut self, message: Message) {
        let node = message.to;
        let Some(member) = self.members.get_mut(&node) else { return };
        let now = self.now + member.clock_ahead;
        let (from, is_snapshot) = (message.from, is_snapshot(&message));
        let delivered = member.driver.is_some();
        if let Some(driver) = member.driver.as_mut() {
            let lost = driver.handle_message(now, message);
            if let Err(lost) = lost {
                assert!(self.may_be_lost, "{lost}");
                return self.crash_and_restart(node, 300);
            }
            self.perform(node);
        }
        if is_snapshot {
            self.report_snapshot(from, node, delivered);
        }
    }

    fn report_snapshot(&mut self, from: NodeId, to: NodeId, delivered: bool) {
        let sender = self.members.get_mut(&from).and_then(|member| member.driver.as_mut());
        if let Some(driver) = sender {
            driver.report_snapshot(to, delivered);
            self.perform(from);
        }
    }

    /// Performs what a driver says, one step at a time.
    fn perform(&mut self, node: NodeId) {
        loop {
            let member = self.members.get_mut(&node).unwrap();
            let Some(driver) = member.driver.as_mut() else { return };
            let Some(output) = driver.poll_output() else { break };
            match output {
                Output::Send(message) => self.send(*message),
                Output::Persist => {
                    if driver.persist().is_err() {
                        assert!(driver.poll_output().is_none(), "nothing follows a failed write");
                        return self.disk_failed(node);
                    }
                }
                Output::Commit(committed) => self.apply(node, &committed),
                Output::Restore(snapshot) => {
                    let data = SnapshotData::decode(&snapshot.data).unwrap();
                    member.history = decode(&data.state);
                }
                Output::Read(read) => {
                    member.reads.push((read, member.history.len()));
                    let (_, acknowledged) = member.reading.remove(&read).unwrap();
                    if member.history.last().map_or(0, |last| last.0) < acknowledged {
                        let why = format!("{read:?} at node {node} does not see {acknowledged}");
                        self.seen.violations.push(why);
                    }
                }
                Output::ReadFailed(read) => {
                    member.reading.remove(&read);
                    member.reads_failed.push(read);
                }
                Output::Refused { proposal, error } => member.refused.push((proposal, error)),
                Output::SnapshotWanted => self.snapshot(node, 0),
                Output::Unreadable(error) => panic!("{error}"),
                Output::Role(role) if role.leading => self.seen.leads(node, role.term),
                Output::Role(_) => (),
                Output::Settled { term } => member.settled.push(term),
                Output::Members(_) => self.seen.belongs(node, &driver.log().membership()),
            }
            self.steps += 1;
            if self.cut_at_step == Some(self.steps) {
                self.crash_and_restart(node, 500);
                return;
            }
        }
        if let Some(every) = self.snapshot_every {
            let log = self.driver(node).log();
            if log.last_index() > log.first_index() + every {
                self.snapshot(node, 3);
            }
        }
    }

    /// The process ends with its disk, and is started again when that works.
    fn disk_failed(&mut self, node: NodeId) {
        self.disk_failures += 1;
        self.crash_and_restart(node, 300);
    }

    fn snapshot(&mut self, node: NodeId, kept: u64) {
        let state = encode(self.history(node));
        let driver = self.driver(node);
        let snapshot = driver.snapshot_of(state);
        let through = driver.applied().0.saturating_sub(kept);
        if driver.compact(snapshot, through).is_err() {
            self.disk_failed(node);
        }
    }

    /// Snapshots a node and throws its whole log away.
    pub fn compact(&mut self, node: NodeId) {
        self.snapshot(node, 0);
    }

    fn apply(&mut self, node: NodeId, committed: &Committed) {
        let member = self.members.get_mut(&node).unwrap();
        let last = member.history.last();
        assert!(last.is_none_or(|(index, at, _)| *index < committed.index && *at <= committed.at));
        self.seen.applies(node, committed);
        member.history.push((committed.index, committed.at, committed.data.to_vec()));
        let current = member.starts == committed.proposal.sequence >> 32;
        if committed.proposal.node == node && current {
            self.acknowledged.insert(committed.index, committed.data.to_vec());
        }
    }

    fn send(&mut self, message: Message) {
        if self.streams.is_some() && !is_snapshot(&message) {
            return self.send_both_ways(message);
        }
        let (from, to) = (message.from, message.to);
        let is_cut = self.cut_links.contains(&(from, to)) || self.cut_links.contains(&(to, from));
        let lost = is_cut || self.draw(100) < self.loss_percent;
        if lost && !is_snapshot(&message) {
            return;
        }
        // The sender of a snapshot learns that it did not arrive.
        self.sent += 1;
        let at = self.now + 1 + self.draw(self.delay_ms_max);
        self.network.insert((at, self.sent), (message, !lost));
    }

    /// Cuts a node off from all others, or joins it again.
    pub fn isolate(&mut self, node: NodeId, isolated: bool) {
        for &other in self.members.keys() {
            if isolated {
                self.cut_links.insert((node, other));
            } else {
                self.cut_links.remove(&(node, other));
                self.cut_links.remove(&(other, node));
            }
        }
    }

    /// All faults end, and everything settles.
    pub fn heal(&mut self) {
        self.cut_at_step = None;
        self.loss_percent = 0;
        self.cut_links.clear();
        self.run(4_000);
    }

    /// What was acknowledged is at every member, at its place; and all have the same history.
    pub fn check(&self) -> Result<(), String> {
        if let Some(violation) = self.seen.violations.first() {
            return Err(violation.clone());
        }
        for (node, member) in &self.members {
            for (index, data) in &self.acknowledged {
                let found = member.history.iter().find(|entry| entry.0 == *index);
                if found.is_none_or(|entry| entry.2 != *data) {
                    return Err(format!("node {node} lost the acknowledged entry {index}"));
                }
            }
            let first = self.members.values().next().map(|member| &member.history);
            if first != Some(&member.history) {
                return Err(format!("node {node} has another history"));
            }
        }
        Ok(())
    }

    /// SplitMix64.
    pub fn draw(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

fn is_snapshot(message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgSnapshot
}

pub fn encode(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, at, data) in history {
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&at.to_le_bytes());
        bytes.extend_from_slice(&(data.len() as u64).to_le_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

pub fn decode(mut bytes: &[u8]) -> History {
    let mut history = Vec::new();
    while !bytes.is_empty() {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let length = word(16) as usize;
        history.push((word(0), word(8), bytes[24..24 + length].to_vec()));
        bytes = &bytes[24 + length..];
    }
    history
}

/// Cuts everybody's power again and again, at random, under loss.
pub fn storm(seed: u64, mutant: bool) -> Result<usize, String> {
    let mut world = World::seeded(3, seed);
    world.sends_before_sync = mutant;
    for node in 1..=3 {
        world.members[&node].disk.lie(mutant);
    }
    world.loss_percent = 5;
    world.delay_ms_max = 10;
    world.snapshot_every = Some(30);
    world.elect();
    for number in 0..1_000_u64 {
        let node = world.draw(3) + 1;
        world.propose(node, &number.to_le_bytes());
        world.run(10);
        match world.draw(200) {
            0 => world.crash_and_restart(node, 400),
            1 | 2 => {
                for node in 1..=3 {
                    world.crash_and_restart(node, 100);
                }
            }
            3 => world.isolate(node, true),
            4..10 => world.cut_links.clear(),
            _ => (),
        }
    }
    world.heal();
    world.check()?;
    Ok(world.acknowledged.len())
}
