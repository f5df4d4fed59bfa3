//! Service addresses on the network, and processes that are frozen.
//!
//! Whoever opened an address last gets what is sent to it; when that one closes it, the one before
//! is heard again, as with sockets that share an address. A frozen process keeps its sockets open,
//! and what they receive waits there.

use std::collections::BTreeSet;

use tandem_center::{Call, HomeId, NodeId};

use crate::ends::Where;
use crate::event::Event;
use crate::node::{Node, Pause, Running};
use crate::random::Of;
use crate::world::World;
use crate::{MILLISECOND, Micros};

/// What a frozen process is sent waits in its sockets, up to so many. The rest is lost.
const INBOX_MAX: usize = 512;

/// Threads of a process that wakes run in any order, within so long.
const WAKING: Micros = 3 * MILLISECOND;

impl World {
    /// Opens and closes addresses, as the state says.
    pub(crate) fn look_at_homes(&mut self, id: u64) {
        let now = self.now;
        let start = self.node(id).starts;
        let Some(running) = &mut self.node(id).running else { return };
        if !std::mem::take(&mut running.homes_changed) {
            return;
        }
        let held = running.center.homes().filter(|(_, home)| home.holder == NodeId(id));
        let wanted: BTreeSet<HomeId> = held.map(|(home, _)| home).collect();
        let open = std::mem::replace(&mut running.open, wanted.clone());
        if !wanted.is_subset(&open) {
            running.look_at_all();
        }
        for home in open.difference(&wanted) {
            self.network.close(*home, id);
            self.trace.note(now, "close", [id, home.0], || format!("node {id}: home {home}"));
        }
        for home in wanted.difference(&open) {
            self.network.open(*home, (id, start));
            self.model.counts.moves += 1;
            self.trace.note(now, "open", [id, home.0], || format!("node {id}: home {home}"));
        }
    }

    /// The event, unless it is for nobody, or for a process that is frozen: then it waits there.
    pub(crate) fn reaches(&mut self, mut event: Event) -> Option<Event> {
        if let Event::Report { at, node, .. } = &mut event
            && node.is_none()
        {
            *node = Some(match at {
                Where::Home(home) => self.network.holder(*home)?,
                Where::Node(node) => *node,
            });
        }
        let Some(id) = event.process() else { return Some(event) };
        let Some(frozen) = &mut self.nodes.get_mut(id as usize - 1)?.frozen else {
            return Some(event);
        };
        let hears = frozen.pause == Pause::Process && frozen.inbox.len() < INBOX_MAX;
        if hears || event.is_own() {
            frozen.inbox.push(event);
        } else if let Event::Deliver(message) = event {
            self.is_lost_on_the_way(&message);
        }
        None
    }

    /// Stops a process for a while, as a signal does, or its machine, as a hypervisor does.
    pub(crate) fn freeze(&mut self, id: u64, time: Micros, pause: Pause) {
        let now = self.now;
        let node = self.node(id);
        if node.running.is_none() || node.frozen.is_some() {
            return;
        }
        node.stand_still(now, pause);
        let start = node.starts;
        match pause {
            Pause::Process => self.model.counts.freezes += 1,
            Pause::Machine => self.model.counts.suspends += 1,
        }
        self.plan_in(time, Event::Thaw { node: id, start });
        self.trace
            .note(self.now, "freeze", [id, time], || format!("node {id} for {time} µs: {pause:?}"));
    }

    /// The process goes on, and handles what waited for it.
    pub(crate) fn thaw(&mut self, id: u64) {
        let (now, timing) = (self.now, self.timing());
        let node = self.node(id);
        let Some(inbox) = node.go_on(now, timing) else { return };
        node.there_since = now;
        self.trace.note(now, "thaw", [id, inbox.len() as u64], || format!("node {id}"));
        for event in inbox {
            let after = self.dice.of(Of::Node(id)).below(WAKING);
            self.plan_in(after, event);
        }
    }
}

impl Running {
    /// Whether the address that a call lives at is open here. A call without one is at its owner.
    pub(crate) fn is_reachable(&self, call: &Call) -> bool {
        call.home.is_none_or(|home| self.open.contains(&home))
    }
}

impl Node {
    /// Whether its process runs and is not frozen.
    pub(crate) fn is_awake(&self) -> bool {
        self.running.is_some() && self.frozen.is_none()
    }
}

impl Event {
    /// The node whose process handles it.
    fn process(&self) -> Option<u64> {
        match self {
            Self::Deliver(message) => Some(message.to),
            Self::SnapshotSent { from, .. } => Some(*from),
            Self::Beat { to, .. } => Some(*to),
            Self::Report { node, .. } => *node,
            Self::Tick { node, .. }
            | Self::Housekeeping { node, .. }
            | Self::Beats { node, .. }
            | Self::Look { node, .. }
            | Self::Refused { node, .. }
            | Self::Written { node, .. }
            | Self::Acted { node, .. }
            | Self::Again { node, .. } => Some(*node),
            Self::Start { .. }
            | Self::Thaw { .. }
            | Self::Order { .. }
            | Self::Wake { .. }
            | Self::Think { .. }
            | Self::Answer { .. }
            | Self::Call
            | Self::Fault => None,
        }
    }

    /// Whether the process itself planned it: that takes no room in a socket.
    fn is_own(&self) -> bool {
        !matches!(self, Self::Deliver(_) | Self::Beat { .. } | Self::Report { .. })
    }
}
