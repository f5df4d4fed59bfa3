//! A node's turn: what its driver says is performed, one output after the other, what it commits
//! is applied and checked, and what changed is handed to the servers of its calls.

use std::collections::BTreeMap;

use tandem_center::{Center, Command, Millis, NodeId, Outcome, Touched};
use tandem_cluster::{
    Committed, Log, Message, MessageType, Output, ProposalId, ProposeError, ReadId, SnapshotData,
};

use crate::claims::{Broken, Step, broken};
use crate::directory;
use crate::ends::Where;
use crate::event::Event;
use crate::mutants;
use crate::node::{CrashSoon, Node, Running, Waiter, Waiting, unseal};
use crate::random::Of;
use crate::schedule::Ending;
use crate::server::{Deed, Server};
use crate::world::{HOUSEKEEPING, TICK, World};
use crate::{MILLISECOND, Micros, SECOND};

/// A proposal that was not seen committed for so long has an unknown fate.
const UNKNOWN_AFTER: Micros = 5 * SECOND;

/// Entries in a log until a snapshot is made, and how many are kept behind it.
const SNAPSHOT_EVERY: u64 = 150;
const KEPT: u64 = 20;

/// What became of a proposal.
pub(crate) enum Fate {
    Done(Result<tandem_center::Reply, tandem_center::Rejected>),
    /// It is certainly not committed.
    NotTaken,
    Unknown,
}

impl World {
    pub(crate) fn start(&mut self, id: u64) -> Result<(), Broken> {
        let random = self.dice.of(Of::Node(id));
        let (seed, fast) = (random.next(), random.below(21) as i64 - 10);
        let phase = random.below(TICK);
        let (now, acknowledged) = (self.now, self.model.newest_acknowledged());
        let timing = self.timing();
        let node = self.node(id);
        if node.running.is_some() || node.is_spare {
            return Ok(());
        }
        // A write is not on the disk before its time has passed.
        node.disk.lie(true);
        node.start(now, seed, timing, acknowledged)?;
        node.fast = fast;
        let start = node.starts;
        let running = node.running.as_ref().expect("it was started just now");
        let (index, state) = (running.driver.applied().0, running.center.state_hash());
        self.model.a_state_reads_back_as_it_was(index, state)?;
        self.trace.note(now, "start", [id, start], || format!("node {id} at {index}"));
        self.plan_in(phase, Event::Tick { node: id, start });
        self.plan_in(phase, Event::Housekeeping { node: id, start });
        self.plan_in(phase, Event::Beats { node: id, start });
        self.plan_in(phase, Event::Look { node: id, start });
        self.perform(id)
    }

    /// Ends a node: its process (then the machine refuses connections, and what was written to
    /// its disk is there), or its power (then it is silent, and what was not synced is lost).
    pub(crate) fn crash(&mut self, id: u64, how: Ending) {
        let (survivors, keeps_cache) = match how {
            Ending::Process => (usize::MAX, true),
            Ending::Power { left, cache } => (left as usize, cache),
        };
        self.model.counts.crashes += 1;
        self.trace.note(self.now, "crash", [id, survivors as u64], || {
            format!("node {id}, {survivors} unsynced writes survive, cache kept: {keeps_cache}")
        });
        let node = self.node(id);
        (node.running, node.crash_soon, node.frozen) = (None, None, None);
        node.refuses = how == Ending::Process;
        node.disk.cut_power(survivors);
        if !keeps_cache {
            node.cache = None;
        }
        self.network.close_all(id);
    }

    pub(crate) fn deliver(&mut self, message: Message) -> Result<(), Broken> {
        let to = message.to;
        let Some(Event::Deliver(message)) =
            self.reaches_driver(to, Event::Deliver(Box::new(message)))
        else {
            return Ok(());
        };
        let (from, to, kind) = (message.from, message.to, message.get_msg_type());
        let now = self.now;
        self.trace.note(now, "message", [from << 8 | to, kind as u64], || {
            format!("{from} -> {to} {kind:?} term {} index {}", message.term, message.index)
        });
        let node = self.node(to);
        let clock = node.log_ms(now);
        let Some(running) = &mut node.running else {
            self.snapshot_sent_if(kind, from, to, false);
            return Ok(());
        };
        if let Err(lost) = running.driver.handle_message(clock, *message) {
            return Err(broken("no_node_forgets_what_it_acknowledged", lost.to_string()));
        }
        self.perform(to)?;
        self.snapshot_sent_if(kind, from, to, true);
        Ok(())
    }

    fn snapshot_sent_if(&mut self, kind: MessageType, from: u64, to: u64, delivered: bool) {
        if kind == MessageType::MsgSnapshot {
            self.plan_in(MILLISECOND, Event::SnapshotSent { from, to, delivered });
        }
    }

    /// There was no room for it.
    pub(crate) fn is_lost_on_the_way(&mut self, message: &Message) {
        self.snapshot_sent_if(message.get_msg_type(), message.from, message.to, false);
    }

    pub(crate) fn snapshot_sent(&mut self, from: u64, to: u64, got: bool) -> Result<(), Broken> {
        let sent = Event::SnapshotSent { from, to, delivered: got };
        if self.reaches_driver(from, sent).is_none() {
            return Ok(());
        }
        if let Some(running) = &mut self.node(from).running {
            running.driver.report_snapshot(to, got);
        }
        self.perform(from)
    }

    pub(crate) fn tick(&mut self, id: u64, start: u64) -> Result<(), Broken> {
        if !self.runs(id, start) {
            return Ok(());
        }
        self.plan_in(TICK, Event::Tick { node: id, start });
        let now = self.now;
        let node = self.node(id);
        let clock = node.log_ms(now);
        let Some(running) = &mut node.running else { return Ok(()) };
        if running.writing.is_some() {
            // At most one tick for all that pass meanwhile: it comes with the next.
            return Ok(());
        }
        running.driver.handle_tick();
        let time = Millis(clock).max(running.center.at());
        if running.driver.role().leading
            && !running.ticks
            && running.center.next_deadline().is_some_and(|due| due <= time)
        {
            running.ticks = true;
            running.propose(Waiter::Tick, Command::Tick);
        }
        self.perform(id)
    }

    /// Performs everything that the node has to do now.
    pub(crate) fn perform(&mut self, id: u64) -> Result<(), Broken> {
        loop {
            while let Some(output) = self.next_output(id) {
                self.perform_output(id, output)?;
                if self.ends_between_outputs(id) {
                    return Ok(());
                }
            }
            self.look_at_homes(id);
            self.hand_on(id);
            if !self.flush_outbox(id) {
                break;
            }
        }
        let node = self.node(id);
        let log = (node.disk.first_index(), node.disk.last_index());
        if log.1 > log.0 + SNAPSHOT_EVERY {
            return self.snapshot(id);
        }
        Ok(())
    }

    /// What the driver wants next; nothing while its disk writes.
    fn next_output(&mut self, id: u64) -> Option<Output> {
        let running = self.node(id).running.as_mut()?;
        if running.writing.is_some() { None } else { running.driver.poll_output() }
    }

    /// Whether the node was to end here, and has.
    fn ends_between_outputs(&mut self, id: u64) -> bool {
        let is_counted = self.node(id).running.is_some();
        self.counted_outputs[id as usize - 1] += u64::from(is_counted);
        let Some(soon) = &mut self.node(id).crash_soon else { return false };
        soon.outputs = soon.outputs.saturating_sub(1);
        let CrashSoon { outputs, how, down } = *soon;
        if outputs > 0 || !is_counted {
            return false;
        }
        self.crash(id, how);
        self.plan_in(down, Event::Start { node: id });
        true
    }

    /// Makes a snapshot, unless the log is being written.
    fn snapshot(&mut self, id: u64) -> Result<(), Broken> {
        let node = self.node(id);
        if node.running.as_ref().is_none_or(|running| running.writing.is_some()) {
            return Ok(());
        }
        match node.snapshot(KEPT) {
            Ok(()) => Ok(()),
            Err(error) => self.disk_failed(id, &error.to_string()),
        }
    }

    fn perform_output(&mut self, id: u64, output: Output) -> Result<(), Broken> {
        let now = self.now;
        let moment = self.node(id).moment(now);
        let Some(running) = &mut self.node(id).running else { return Ok(()) };
        match output {
            Output::Send(message) => {
                // A vote must not leave before the presence knows of it.
                running.presence.set_role(moment, running.driver.role());
                self.send(*message);
            }
            Output::Persist => self.persist(id)?,
            Output::Commit(committed) => {
                if running.is_caught_up && !running.driver.role().leading {
                    running.clock.follow(moment, committed.at);
                }
                self.apply(id, &committed)?;
            }
            Output::Restore(snapshot) => {
                let data = SnapshotData::decode(&snapshot.data)
                    .map_err(|error| broken("snapshots_are_readable", error.to_string()))?;
                (running.center, running.ledger) = unseal(&data.state)?;
                running.uncached = Touched::default();
                running.look_at_all();
                running.homes_changed = true;
                let state = running.center.state_hash();
                let index = snapshot.get_metadata().index;
                self.node(id).cache = None;
                self.model.counts.snapshots += 1;
                self.trace.note(now, "restore", [id, index], || format!("node {id} at {index}"));
                self.model.a_state_reads_back_as_it_was(index, state)?;
            }
            Output::Read(_) => {
                running.is_caught_up = true;
                let (applied, asked_at) = (running.driver.applied().0, running.asked_at);
                if applied < asked_at {
                    let why = format!("it saw {applied}, and {asked_at} was acknowledged");
                    return Err(broken("a_read_sees_what_was_acknowledged_before", why));
                }
            }
            Output::ReadFailed(_) => running.driver.read(ReadId(0)),
            Output::Role(role) => {
                running.presence.set_role(moment, role);
                if role.leading {
                    if !running.clock.is_set() {
                        self.model.wire.brings_its_own_time(now);
                    }
                    self.model.counts.elections += 1;
                }
                self.trace.note(now, "role", [id, role.term], || format!("node {id}: {role:?}"));
            }
            Output::Settled { term } => self.settle(id, Some(term)),
            Output::Members(members) => {
                running.know_members(moment, id);
                self.trace.note(now, "members", [id, members.voters.len() as u64], || {
                    format!("node {id}: {members:?}")
                });
                self.members_changed(id, &members);
            }
            Output::Refused { proposal, error } => {
                if let Some(waiting) = running.waiting.remove(&proposal.sequence) {
                    self.resolve(id, waiting, Fate::of_refusal(error));
                }
            }
            Output::Unreadable(error) => {
                return Err(broken("entries_are_readable", error.to_string()));
            }
            Output::SnapshotWanted => self.snapshot(id)?,
        }
        Ok(())
    }

    fn send(&mut self, message: Message) {
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        let (from, to) = (message.from, message.to);
        // The links are TCP streams: a forwarded proposal is not repeated by them. Whoever does
        // not know its fate repeats it, and that is among what is simulated.
        let may_repeat = message.get_msg_type() != MessageType::MsgPropose;
        let random = self.dice.of(Of::Link(from, to));
        let fate = self.network.carry(random, self.now, (from, to), may_repeat);
        match fate {
            [None, _] if is_snapshot => {
                let sent = Event::SnapshotSent { from, to, delivered: false };
                self.plan_in(50 * MILLISECOND, sent);
            }
            [None, _] => (),
            [Some(first), second] => {
                if let Some(second) = second {
                    let again = Event::Deliver(Box::new(message.clone()));
                    self.plan_in(second - self.now, again);
                }
                self.plan_in(first - self.now, Event::Deliver(Box::new(message)));
            }
        }
    }

    fn apply(&mut self, id: u64, committed: &Committed) -> Result<(), Broken> {
        let index = committed.index;
        let command = Command::decode(&committed.data)
            .map_err(|error| broken("entries_are_readable", error.to_string()))?;
        let (mutant, keeps_lines) = (self.plan.mutant, self.plan.keeps_lines);
        let (now, clock) = (self.now, self.nodes[id as usize - 1].clock_ms(self.now));
        let moment = self.nodes[id as usize - 1].moment(now);
        let Some(running) = &mut self.node(id).running else { return Ok(()) };
        let before = running.center.index();
        let line = keeps_lines.then(|| format!("node {id} #{index} {}", shortened(&command)));
        let (is_tick, given_by) = Step::kind(&command);
        let (at, command) = mutants::twist(mutant, (Millis(committed.at), clock), command, index);
        if let Command::NodeUp { node, .. } = &command {
            running.presence.handle_return(moment, node.0);
        }
        let result = running.center.apply(index, at, command);
        mutants::corrupt(mutant, &mut running.center);
        running.keep(index, &result);
        let looks = self.plan.checks.looks_at(index);
        let Some(running) = &mut self.node(id).running else { return Ok(()) };
        let state = looks.then(|| running.center.state_hash());
        if looks && let Err(violation) = running.center.check_invariants() {
            return Err(broken("the_centre_agrees_with_itself", violation.to_string()));
        }
        let center = &self.nodes[id as usize - 1].running.as_ref().expect("it runs").center;
        let instead = mutants::wrap(mutant, center);
        let step =
            Step { entry: committed, now, is_tick, given_by, result: &result, center, instead };
        self.model.no_entry_is_left_out(before, index)?;
        self.model.observe(&step, state)?;
        self.trace.note(now, "apply", [id, index], || {
            let did = result.as_ref().map(|outcome| outcome.reply);
            format!("{} -> {did:?}", line.unwrap_or_default())
        });
        self.answer_proposer(id, committed, result.map(|outcome| outcome.reply));
        Ok(())
    }

    fn answer_proposer(
        &mut self,
        id: u64,
        committed: &Committed,
        reply: Result<tandem_center::Reply, tandem_center::Rejected>,
    ) {
        let Some(running) = &mut self.node(id).running else { return };
        if committed.proposal.node != id {
            return;
        }
        if let Some(waiting) = running.waiting.remove(&committed.proposal.sequence) {
            self.model.acknowledge(committed.index);
            self.resolve(id, waiting, Fate::Done(reply));
        }
    }

    /// Gives up on proposals of earlier terms, or on those that are too old.
    pub(crate) fn settle(&mut self, id: u64, term: Option<u64>) {
        let now = self.now;
        let Some(running) = &mut self.node(id).running else { return };
        let is_lost = |waiting: &Waiting| match term {
            Some(term) => waiting.term < term,
            None => waiting.since + UNKNOWN_AFTER < now,
        };
        let lost = running.waiting.iter().filter(|(_, waiting)| is_lost(waiting));
        for sequence in lost.map(|(sequence, _)| *sequence).collect::<Vec<_>>() {
            let waiting = self.node(id).running.as_mut().and_then(|r| r.waiting.remove(&sequence));
            if let Some(waiting) = waiting {
                self.resolve(id, waiting, Fate::Unknown);
            }
        }
    }

    /// Proposes what was asked for in this turn. Whether there was anything.
    fn flush_outbox(&mut self, id: u64) -> bool {
        let now = self.now;
        let node = self.node(id);
        let (clock, starts, is_full) = (node.log_ms(now), node.starts, node.is_disk_full(now));
        let Some(running) = &mut node.running else { return false };
        if running.writing.is_some() {
            return false;
        }
        let outbox = std::mem::take(&mut running.outbox);
        let any = !outbox.is_empty();
        for (waiter, command) in outbox {
            let Some(running) = &mut self.node(id).running else { return false };
            let sequence = starts << 32 | running.next_sequence();
            let proposal = ProposalId { node: id, sequence };
            let term = running.driver.role().term;
            let version = running.center.version();
            let data = command.encode(version).expect("every version has them all");
            let waiting = Waiting { waiter, command, since: now, term };
            if is_full {
                self.resolve(id, waiting, Fate::NotTaken);
                continue;
            }
            match running.driver.propose(clock, proposal, data) {
                Ok(()) => drop(running.waiting.insert(sequence, waiting)),
                Err(error) => self.resolve(id, waiting, Fate::of_refusal(error)),
            }
        }
        any
    }

    /// Hands changed calls to their servers, and does what the servers want.
    fn hand_on(&mut self, id: u64) {
        let keeps = self.plan.mutant == Some(mutants::Mutant::OwnersStay);
        let Some(running) = &mut self.node(id).running else { return };
        for call in std::mem::take(&mut running.touched) {
            let Some(running) = &mut self.node(id).running else { return };
            let value = running.center.call(call);
            let is_elsewhere = value.is_some_and(|call| call.owner != NodeId(id) && !keeps);
            let is_reachable = value.is_some_and(|call| running.is_reachable(call));
            match value.filter(|_| !is_elsewhere) {
                Some(value) => match running.servers.get_mut(&call) {
                    Some(server) => server.changed(value.clone()),
                    // Else it is looked at again when its address is open.
                    None if is_reachable && value.owner == NodeId(id) => {
                        drop(running.servers.insert(call, Server::of(value)));
                    }
                    None => (),
                },
                None => running
                    .servers
                    .retain(|id, server| *id != call || (server.is_arriving() && !is_elsewhere)),
            }
            self.do_deeds(id, call);
            let Some(next) = &mut self.node(id).running else { return };
            if let Some(caller) = next.servers.get(&call).and_then(Server::caller) {
                next.arrivals.insert(caller, call);
            }
        }
    }

    pub(crate) fn do_deeds(&mut self, id: u64, call: tandem_center::CallId) {
        let start = self.node(id).starts;
        let Some(running) = &mut self.node(id).running else { return };
        let Some(server) = running.servers.get_mut(&call) else { return };
        let epoch = server.epoch();
        for deed in std::mem::take(&mut server.deeds) {
            let Some(running) = &mut self.node(id).running else { return };
            match deed {
                Deed::Send(end, order) => self.signal(id, Some(call), end, order),
                Deed::Propose(command) => {
                    running.propose(Waiter::Call(call), command.of_epoch(epoch));
                }
                Deed::Perform(act) => self.perform_act(id, start, call, &act),
                Deed::Over { cleared } => {
                    let server = running.servers.remove(&call);
                    if let Some(caller) = server.as_ref().and_then(Server::caller) {
                        running.arrivals.remove(&caller);
                    }
                    if cleared {
                        running.cleared.insert(call);
                    }
                }
            }
        }
    }

    /// What a node looks after every now and then.
    pub(crate) fn housekeeping(&mut self, id: u64, start: u64) -> Result<(), Broken> {
        if !self.runs(id, start) {
            return Ok(());
        }
        self.plan_in(HOUSEKEEPING, Event::Housekeeping { node: id, start });
        self.settle(id, None);
        self.nodes[id as usize - 1].write_cache();
        let lost = self.sessions_without_a_desk(id, start);
        let wanted = self.directory_to_propose(id);
        let Some(running) = &mut self.node(id).running else { return Ok(()) };
        for session in lost {
            let node = NodeId(id);
            running.propose(Waiter::Nobody, Command::SessionLost { session, node });
        }
        if let Some(directory) = wanted {
            running.configures = true;
            running.propose(Waiter::Configure, Command::Configure(Box::new(directory)));
        }
        if !running.cleared.is_empty() {
            let calls: Vec<_> = std::mem::take(&mut running.cleared).into_iter().collect();
            running.propose(Waiter::Cleared(calls.clone()), Command::Cleared { calls });
        }
        let calls: Vec<_> = running.servers.keys().copied().collect();
        let ends: BTreeMap<_, _> = self.ends.iter().map(|(id, end)| (*id, end.at)).collect();
        let is_turn = (self.now / HOUSEKEEPING).is_multiple_of(2);
        for call in calls.into_iter().filter(|_| is_turn) {
            let Some(running) = &mut self.node(id).running else { break };
            let at = running.servers.get(&call).filter(|server| server.is_refused());
            let at = at.and_then(Server::caller).and_then(|caller| ends.get(&caller).copied());
            if matches!(at, Some(Where::Home(home)) if !running.open.contains(&home)) {
                // Who called there hears from another node.
                running.servers.remove(&call);
            }
            running.servers.entry(call).and_modify(Server::repeat);
            self.do_deeds(id, call);
        }
        self.perform(id)
    }

    fn directory_to_propose(&self, id: u64) -> Option<tandem_center::Directory> {
        let running = self.nodes[id as usize - 1].running.as_ref()?;
        if !running.driver.role().leading || running.configures {
            return None;
        }
        // The hash is that of a directory that is known, so it is not made for each look.
        let directory = directory::directory(self.configured);
        (running.center.directory_hash() != directory.hash()).then_some(directory)
    }
}

impl Running {
    /// Keeps what a command did.
    fn keep(&mut self, index: u64, result: &Result<Outcome, tandem_center::Rejected>) {
        let Ok(outcome) = result else { return };
        self.touched.extend(&outcome.touched.calls);
        self.homes_changed |= !outcome.touched.homes.is_empty();
        self.uncached.merge(&outcome.touched);
        for record in &outcome.records {
            if let tandem_center::Record::Cdr(cdr) = record {
                self.ledger.insert(cdr.call, index);
            }
        }
    }
}

impl Fate {
    fn of_refusal(error: ProposeError) -> Self {
        match error {
            ProposeError::NoLeader | ProposeError::Full | ProposeError::TooLarge { .. } => {
                Self::NotTaken
            }
        }
    }
}

impl Node {
    /// The state, if it runs.
    pub(crate) fn center(&self) -> Option<&Center> {
        self.running.as_ref().map(|running| &running.center)
    }
}

/// A command in a line: the directory of a configuration is left out.
fn shortened(command: &Command) -> String {
    if matches!(command, Command::Configure(_)) {
        return "Configure".to_owned();
    }
    format!("{command:?}")
}
