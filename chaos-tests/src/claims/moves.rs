//! What must be true when calls and their addresses move from node to node.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_center::{Call, CallId, NodeId, Phase};

use super::{Broken, Step, broken, place_of};
use crate::network::Weather;
use crate::node::Node;
use crate::presence::LOOK_EVERY;
use crate::world::World;
use crate::{MILLISECOND, Micros};

/// A process that is gone and whose machine says so is replaced within this, by a leader that led
/// before and holds a lease.
const KILLED_WITHIN: Micros = 1_000 * MILLISECOND;

/// Any other node that is gone, from when it is and a leader with a lease is there.
const LOST_WITHIN: Micros = 2_500 * MILLISECOND;

/// Who was there for so long, with a network that was fine, cannot have been silent long enough to
/// be missed.
const THERE_FOR: Micros = 1_500 * MILLISECOND;

/// An owner speaks with a far end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    pub(crate) node: u64,
    pub(crate) call: CallId,
    pub(crate) epoch: u32,
}

/// What the log says of owners, and what they did.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Who owns a call in an epoch.
    owners: BTreeMap<(CallId, u32), NodeId>,
    /// The newest epoch in which somebody spoke for a call.
    spoke: BTreeMap<CallId, Signal>,
}

/// Since when it would have been possible to replace a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Replaceable {
    node: u64,
    leader: u64,
    since: Micros,
    /// What it must be done within.
    within: Micros,
    /// When this was seen to be so last.
    seen: Micros,
    /// Others have what was its.
    is_replaced: bool,
}

impl Moves {
    /// The owner of a call signals.
    pub(crate) fn signals(&mut self, signal: Signal, has_lease: bool) -> Result<(), Broken> {
        let Signal { node, call, epoch } = signal;
        if !has_lease {
            let why = format!("node {node} for {call}");
            return Err(broken("nobody_signals_without_a_lease", why));
        }
        if self.owners.get(&(call, epoch)) != Some(&NodeId(node)) {
            let why = format!("node {node} for {call} in epoch {epoch}");
            return Err(broken("only_the_owner_in_the_log_signals", why));
        }
        if let Some(before) = self.spoke.get(&call)
            && before.epoch > epoch
        {
            let why = format!("node {node} for {call} in epoch {epoch} after {before:?}");
            return Err(broken("nobody_signals_in_an_epoch_that_is_past", why));
        }
        self.spoke.insert(call, signal);
        Ok(())
    }

    pub(super) fn check(
        &mut self,
        step: &Step<'_>,
        before: &BTreeMap<CallId, Arc<Call>>,
    ) -> Result<(), Broken> {
        let Ok(outcome) = step.result else { return Ok(()) };
        for id in &outcome.touched.calls {
            let Some(call) = step.center.call(*id) else { continue };
            let owner = *self.owners.entry((*id, call.epoch)).or_insert(call.owner);
            if owner != call.owner {
                let why = format!("{id} has {owner} and {} in epoch {}", call.owner, call.epoch);
                return Err(broken("an_epoch_has_one_owner", why));
            }
            if let Some(before) = before.get(id) {
                a_takeover_keeps_the_place_in_the_queue(before, call)?;
            }
        }
        if !outcome.touched.homes.is_empty() || !outcome.touched.calls.is_empty() {
            a_home_is_held_by_the_owner_of_its_calls(step)?;
        }
        Ok(())
    }
}

fn a_takeover_keeps_the_place_in_the_queue(before: &Call, call: &Call) -> Result<(), Broken> {
    let queued = |call: &Call| matches!(call.phase, Phase::Queued { .. });
    if before.epoch != call.epoch && queued(before) && place_of(before) != place_of(call) {
        let why = format!("{}: {:?} becomes {:?}", call.id, place_of(before), place_of(call));
        return Err(broken("a_takeover_keeps_the_place_in_the_queue", why));
    }
    Ok(())
}

fn a_home_is_held_by_the_owner_of_its_calls(step: &Step<'_>) -> Result<(), Broken> {
    for call in step.center.calls() {
        let Some(at) = call.home else { continue };
        let home = step.center.homes().find(|(id, _)| *id == at);
        if let Some((id, home)) = home.filter(|(_, home)| home.holder != call.owner) {
            let why =
                format!("{} of {} lives at {id}, held by {}", call.id, call.owner, home.holder);
            return Err(broken("a_home_is_held_by_the_owner_of_its_calls", why));
        }
    }
    Ok(())
}

impl World {
    /// Looked at by a leader that holds a lease. What has no bound: a node that is lost while
    /// others are gone, too, or while the network between them is bad.
    pub(crate) fn calls_of_a_lost_node_get_another_owner_in_time(
        &mut self,
        leader: u64,
    ) -> Result<(), Broken> {
        let now = self.now;
        let found = self.replaceable(leader);
        let before = self.model.replaceable;
        let Some(found) = found else {
            self.model.replaceable = None;
            return Ok(());
        };
        let same = |one: &Replaceable| {
            let is_new = now - one.seen > 4 * LOOK_EVERY;
            let alike = (one.node, one.leader, one.within);
            alike == (found.node, found.leader, found.within) && !is_new
        };
        let since = match before.filter(same) {
            Some(before) => Replaceable { seen: now, ..before },
            None => Replaceable { since: now, seen: now, ..found },
        };
        self.model.replaceable = Some(since);
        let center = self.nodes[leader as usize - 1].center();
        let is_owner = center.is_some_and(|center| {
            let node = NodeId(found.node);
            center.calls().any(|call| call.owner == node)
                || center.homes().any(|(_, home)| home.holder == node)
        });
        if !is_owner {
            let counts = &mut self.model.counts;
            if !since.is_replaced && now > since.since {
                let ms = (now - since.since) / MILLISECOND;
                counts.replaced += 1;
                counts.replaced_after_ms_max = counts.replaced_after_ms_max.max(ms);
            }
            self.model.replaceable = Some(Replaceable { is_replaced: true, ..since });
            return Ok(());
        }
        if now - since.since > since.within {
            let why = format!("{} µs after node {} was gone", now - since.since, found.node);
            return Err(broken("calls_of_a_lost_node_get_another_owner_in_time", why));
        }
        Ok(())
    }

    /// The one node that is out while everything else is well.
    fn replaceable(&self, leader: u64) -> Option<Replaceable> {
        if self.network.weather != Weather::FINE {
            return None;
        }
        let members = self.members().map(|node| node.id).collect::<Vec<_>>();
        let is_hindered = |node: &Node| {
            let is_slow = node.slow.is_some_and(|(_, until)| self.now < until);
            is_slow || (node.id == leader && node.is_disk_full(self.now))
        };
        if self.members().any(is_hindered) {
            return None;
        }
        let is_out = |id: &u64| {
            let node = &self.nodes[*id as usize - 1];
            !node.is_awake() || self.is_cut_off(*id, &members)
        };
        let mut out = members.iter().copied().filter(is_out);
        let (node, None) = (out.next()?, out.next()) else { return None };
        let cut_elsewhere = self.network.cut.iter().any(|(a, b)| *a != node && *b != node);
        if node == leader || cut_elsewhere {
            return None;
        }
        let gone = &self.nodes[node as usize - 1];
        let was_heard = self.nodes[leader as usize - 1]
            .running
            .as_ref()
            .is_some_and(|running| running.heard.contains_key(&node));
        let links = [(leader, node), (node, leader)];
        let is_connected = links.iter().all(|link| !self.network.cut.contains(link));
        let is_refused = gone.running.is_none() && gone.refuses && is_connected;
        let within = if is_refused && was_heard { KILLED_WITHIN } else { LOST_WITHIN };
        Some(Replaceable { node, leader, since: 0, within, seen: 0, is_replaced: false })
    }

    /// From all others, both ways.
    fn is_cut_off(&self, id: u64, members: &[u64]) -> bool {
        let mut others = members.iter().filter(|other| **other != id);
        others.all(|other| {
            self.network.cut.contains(&(id, *other)) && self.network.cut.contains(&(*other, id))
        })
    }

    pub(crate) fn nobody_is_missed_who_was_there(&self, by: u64, node: u64) -> Result<(), Broken> {
        let one = &self.nodes[node as usize - 1];
        let since = one.there_since.max(self.network.bad_until);
        // A machine that stood still goes by what it knew before, until the first beat: it may miss
        // who came back meanwhile, and who has no lease of a leader that was not there.
        let knows = !self.nodes[by as usize - 1].is_unaware(self.now);
        if knows && one.is_awake() && self.network.is_fine() && self.now > since + THERE_FOR {
            let why = format!("node {by} misses node {node}, which is there since {since} µs");
            return Err(broken("nobody_is_missed_who_was_there", why));
        }
        Ok(())
    }

    /// At the end: every address is at the node that brought it.
    pub(crate) fn every_home_is_back_at_its_node(&self) -> Result<(), Broken> {
        for node in self.members() {
            let Some(running) = &node.running else { continue };
            for (id, home) in running.center.homes() {
                let natural = home.natural.0;
                let is_member = self.members().any(|node| node.id == natural);
                if is_member && home.holder != home.natural {
                    let why = format!("{id} of node {natural} is held by {}", home.holder);
                    return Err(broken("every_home_is_back_at_its_node", why));
                }
                if is_member && self.network.holder(id) != Some(natural) {
                    let why = format!("{id} is open at {:?}", self.network.holder(id));
                    return Err(broken("every_home_is_back_at_its_node", why));
                }
            }
        }
        Ok(())
    }
}

impl Node {
    /// Calls that it serves.
    pub(crate) fn load(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.servers.len())
    }
}
