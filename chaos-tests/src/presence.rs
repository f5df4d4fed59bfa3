//! Who is there: beats between the nodes, refused connections, and what is proposed about that: by
//! the leader of nodes that it misses, by each node when it has a lease again, and by the holder of
//! an address whose own node is back.
//!
//! Owns the shell around [`tandem_cluster::presence`]. Beats share the network with Raft's
//! messages, and nothing else.

use tandem_center::{CallId, Center, Command, HomeId, NodeId, Wire};
use tandem_cluster::presence::{Beat, Due};

use crate::claims::{Broken, broken};
use crate::event::Event;
use crate::mutants::Mutant;
use crate::node::{Node, Running, Waiter};
use crate::random::Of;
use crate::world::World;
use crate::{MILLISECOND, Micros};

/// Between two looks at who is missed.
pub(crate) const LOOK_EVERY: Micros = 50 * MILLISECOND;

/// Between two proposals about the same node.
const PROPOSE_AGAIN: Micros = 250 * MILLISECOND;

/// Between two proposals that an address goes back, while it is not known what became of the first.
const YIELD_AGAIN: Micros = 1_000 * MILLISECOND;

impl World {
    /// Sends the beats that are due.
    pub(crate) fn beats(&mut self, id: u64, start: u64) {
        if !self.runs(id, start) {
            return;
        }
        let now = self.now;
        let node = self.node(id);
        let moment = node.moment(now);
        let Some(running) = &mut node.running else { return };
        let due = running.presence.poll_beats(moment);
        let next = running.presence.poll_timeout().saturating_sub(moment).max(1);
        self.plan_in(next * MILLISECOND, Event::Beats { node: id, start });
        for Due { to, beat } in due {
            let arrivals = self.network.carry(self.dice.of(Of::Link(id, to)), now, (id, to), true);
            for at in arrivals.into_iter().flatten() {
                self.plan_in(at - now, Event::Beat { from: id, to, beat });
            }
        }
    }

    pub(crate) fn beat_arrives(&mut self, from: u64, to: u64, beat: Beat) {
        let now = self.now;
        let Some(node) = self.nodes.get(to as usize - 1) else { return };
        let moment = node.moment(now);
        let heard = node.running.as_ref().and_then(|running| running.heard.get(&from));
        let peer = &self.nodes[from as usize - 1];
        let is_told = heard.is_some_and(|heard| node.is_told_by(peer, beat.sent, *heard));
        let node = self.node(to);
        if is_told {
            node.unaware_until = node.unaware_until.min(now);
        }
        if let Some(running) = &mut node.running {
            running.presence.handle_beat(moment, from, beat);
            running.heard.insert(from, moment);
        }
    }

    /// Connects to machines without a process: they refuse.
    fn dial(&mut self, id: u64, start: u64) {
        let began = self.nodes[id as usize - 1].moment(self.now);
        let is_dead = |node: &&Node| node.id != id && node.running.is_none() && node.refuses;
        let dead: Vec<u64> = self.nodes.iter().filter(is_dead).map(|node| node.id).collect();
        for of in dead {
            let random = self.dice.of(Of::Link(id, of));
            let there = self.network.carry(random, self.now, (id, of), false);
            let back = self.network.carry(random, self.now, (of, id), false);
            if let ([Some(there), _], [Some(back), _]) = (there, back) {
                let after = there + back - 2 * self.now;
                self.plan_in(after, Event::Refused { node: id, start, of, began });
            }
        }
    }

    /// The machine of `of` refused a connection.
    pub(crate) fn refused(&mut self, node: u64, start: u64, of: u64, began: u64) {
        if self.runs(node, start)
            && let Some(running) = &mut self.node(node).running
        {
            running.presence.handle_refusal(of, began);
        }
    }

    /// The leader says whom it misses; a node that was missed and is here says so.
    pub(crate) fn look_at_presence(&mut self, id: u64, start: u64) -> Result<(), Broken> {
        if !self.runs(id, start) {
            return Ok(());
        }
        self.plan_in(LOOK_EVERY, Event::Look { node: id, start });
        self.dial(id, start);
        self.note_trouble();
        if self.node(id).is_leading() && self.holds_lease(id) {
            self.calls_of_a_lost_node_get_another_owner_in_time(id)?;
        }
        let (now, moment) = (self.now, self.nodes[id as usize - 1].moment(self.now));
        let missed = self.missed(id);
        for (node, silent_ms) in missed {
            let Some(running) = &mut self.node(id).running else { return Ok(()) };
            if !is_up(&running.center, node) || !running.may_propose(now, node) {
                continue;
            }
            let silent_ms = u32::try_from(silent_ms).unwrap_or(u32::MAX);
            running.propose(Waiter::Nobody, Command::NodeLost { node: NodeId(node), silent_ms });
            self.trace.note(now, "missed", [id, node], || {
                format!("node {id} misses node {node} for {silent_ms} ms")
            });
            self.nobody_is_missed_who_was_there(id, node)?;
            self.act_before_the_commit(id, node);
        }
        let Some(running) = &mut self.node(id).running else { return Ok(()) };
        let is_missed = !is_up(&running.center, id) && running.is_announced;
        let is_missed = is_missed && moment < running.presence.acts_until();
        let lease = running.presence.unconfirmed(moment).or(is_missed.then_some(0));
        if let Some(lease) = lease
            && running.may_propose(now, id)
        {
            running.propose(Waiter::Here(lease), running.node_here(id));
        }
        self.yield_homes(id);
        self.perform(id)
    }

    /// Gives addresses back to their nodes, which are there again.
    fn yield_homes(&mut self, id: u64) {
        if !self.may_act(id) {
            return;
        }
        let now = self.now;
        let Some(running) = &mut self.node(id).running else { return };
        let homes = running.center.homes().filter(|(_, home)| {
            home.holder == NodeId(id)
                && home.natural != home.holder
                && is_up(&running.center, home.natural.0)
        });
        let homes: Vec<_> = homes.map(|(home, value)| (home, value.epoch)).collect();
        for (home, epoch) in homes {
            let before = running.yielded.get(&home).filter(|(of, _)| *of == epoch);
            if before.is_none_or(|(_, at)| now - at >= YIELD_AGAIN) {
                running.yielded.insert(home, (epoch, now));
                running.propose(Waiter::Yield(home), Command::HomeYielded { home, epoch });
            }
        }
    }

    /// Whether a node has given up the address of this call.
    pub(crate) fn has_yielded(&self, id: u64, call: CallId) -> bool {
        let Some(running) = &self.nodes[id as usize - 1].running else { return false };
        let home = running.center.call(call).and_then(|call| call.home);
        let Some((epoch, _)) = home.and_then(|home| running.yielded.get(&home)) else {
            return false;
        };
        running.center.homes().any(|(id, value)| Some(id) == home && value.epoch == *epoch)
    }

    fn missed(&self, id: u64) -> Vec<(u64, u64)> {
        let node = &self.nodes[id as usize - 1];
        let Some(running) = &node.running else { return Vec::new() };
        let moment = node.moment(self.now);
        let loss_ms = self.timing().loss_ms;
        let gone = running.center.nodes().map(|(node, _)| node.0);
        let gone = gone.filter(|node| running.presence.is_gone(moment, *node));
        let mut missed = running.presence.missed(moment);
        missed.extend(gone.map(|node| (node, loss_ms)));
        if self.plan.mutant == Some(Mutant::MissesByOldReadings) && node.is_leading() {
            let silent = running.heard.iter().map(|(node, heard)| (*node, moment - *heard));
            missed.extend(silent.filter(|(_, silent_ms)| *silent_ms >= loss_ms));
        }
        missed
    }

    /// What the mutant does: it takes the calls over before that is committed.
    fn act_before_the_commit(&mut self, id: u64, lost: u64) {
        if self.plan.mutant != Some(Mutant::ActsBeforeTheCommit) {
            return;
        }
        let Some(center) = self.nodes[id as usize - 1].center() else { return };
        let of_lost = center.calls().filter(|call| call.owner == NodeId(lost));
        let calls: Vec<_> = of_lost.map(|call| (call.id, call.epoch + 1)).collect();
        for (call, epoch) in calls {
            self.note_signal(id, call, epoch);
        }
    }

    pub(crate) fn holds_lease(&self, id: u64) -> bool {
        let node = &self.nodes[id as usize - 1];
        let moment = node.moment(self.now);
        node.running.as_ref().is_some_and(|running| moment < running.presence.lease_until())
    }

    /// Whether a node may signal for its calls.
    pub(crate) fn may_act(&self, id: u64) -> bool {
        let node = &self.nodes[id as usize - 1];
        let moment = node.moment(self.now);
        if self.plan.mutant == Some(Mutant::ActsUnconfirmed) {
            return self.holds_lease(id);
        }
        node.running.as_ref().is_some_and(|running| moment < running.presence.acts_until())
    }

    /// A node is about to signal for a call.
    pub(crate) fn note_signal(&mut self, id: u64, call: CallId, epoch: u32) {
        let (now, may_act) = (self.now, self.may_act(id));
        self.trace.note(now, "signal", [id, u64::from(epoch)], || {
            format!("node {id} for {call} in epoch {epoch}")
        });
        self.model.counts.signals += 1;
        if self.nodes[id as usize - 1].is_unaware(now) {
            self.model.counts.unaware += 1;
            return;
        }
        let signal = crate::claims::Signal { node: id, call, epoch };
        let verdict = self
            .model
            .moves
            .signals(signal, may_act)
            .and_then(|()| self.no_two_nodes_may_signal_for_one_call(id, call));
        if let Err(broken) = verdict {
            self.verdict.get_or_insert(broken);
        }
    }

    /// Neither now nor when it wakes, if it is frozen.
    fn no_two_nodes_may_signal_for_one_call(&self, id: u64, call: CallId) -> Result<(), Broken> {
        let others = self.nodes.iter().filter(|node| node.id != id && self.may_act(node.id));
        for node in others.filter(|node| !node.is_unaware(self.now)) {
            let Some(running) = &node.running else { continue };
            let owns = running.center.call(call).is_some_and(|c| c.owner == NodeId(node.id));
            if owns && running.servers.contains_key(&call) && !self.has_yielded(node.id, call) {
                let why = format!("node {id} signals for {call}, and node {} may, too", node.id);
                return Err(broken("no_two_nodes_may_signal_for_one_call", why));
            }
        }
        Ok(())
    }
}

impl Running {
    /// The node is there, with its service address.
    fn node_here(&self, id: u64) -> Command {
        let node = NodeId(id);
        let address = Wire::from(format!("address {id}").into_bytes());
        let homes = vec![(HomeId::first_of(node), address)];
        Command::NodeUp { node, homes, sockets_are_lost: !self.is_announced }
    }

    fn may_propose(&mut self, now: Micros, about: u64) -> bool {
        let may = self.proposed.get(&about).is_none_or(|before| now - before >= PROPOSE_AGAIN);
        if may {
            self.proposed.insert(about, now);
        }
        may
    }
}

fn is_up(center: &Center, node: u64) -> bool {
    center.node(NodeId(node)).is_some_and(|node| node.up)
}
