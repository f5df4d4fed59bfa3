//! Nodes come and go: the service addresses of a lost one and the calls on them get new owners,
//! its desks get their grace, and what was its own comes back with it.

use super::{Turn, at_most, check_wire};
use crate::agent::Link;
use crate::call::Wire;
use crate::event::Happened;
use crate::home::{HOMES_OF_NODE_MAX, Home};
use crate::state::Node;
use crate::timeline::What;
use crate::version::Reads;
use crate::{CallId, Center, HomeId, NodeId, Phase, Rejected, Reply, SessionId};

/// A node that says that it is up.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) node: NodeId,
    pub(super) homes: Vec<(HomeId, Wire)>,
    pub(super) sockets_are_lost: bool,
}

impl Center {
    pub(super) fn node_up(&mut self, turn: &mut Turn, arrival: Arrival) -> Result<Reply, Rejected> {
        let Arrival { node, homes, sockets_are_lost } = arrival;
        at_most("list of homes", homes.len(), HOMES_OF_NODE_MAX)?;
        for (_, address) in &homes {
            check_wire(address)?;
        }
        let known = self.nodes.entry(node).or_default();
        let was_up = std::mem::replace(&mut known.up, true);
        known.witness = false;
        // Whoever was to be stopped has been, and is another process now.
        let has_drained = sockets_are_lost && std::mem::take(&mut known.draining);
        if sockets_are_lost {
            known.reads = Reads::default();
        }
        turn.outcome.touched.nodes.insert(node);
        if sockets_are_lost {
            self.lose_sessions_of(turn, node);
            self.forget_what_it_saw(turn, node);
        }
        let brought_new = self.bring(turn, node, homes);
        if was_up && !brought_new && !has_drained {
            return Ok(Reply::Already);
        }
        if !was_up {
            turn.announce(Happened::NodeChanged { node, up: true });
        }
        self.adopt_orphans(turn, 0);
        Ok(Reply::Done)
    }

    pub(super) fn node_lost(&mut self, turn: &mut Turn, node: NodeId, silent_ms: u32) -> Reply {
        let known = self.nodes.entry(node).or_insert(Node { up: true, ..Node::default() });
        if !std::mem::replace(&mut known.up, false) {
            return Reply::Already;
        }
        known.reads = Reads::default();
        turn.outcome.touched.nodes.insert(node);
        turn.announce(Happened::NodeChanged { node, up: false });
        self.lose_sessions_of(turn, node);
        self.adopt_orphans(turn, silent_ms);
        Reply::Done
    }

    /// The first service address that a node holds, its own before another's: where a call lives
    /// that begins there.
    pub(super) fn home_of(&self, node: NodeId) -> Option<HomeId> {
        let held = self.homes.iter().filter(|(_, home)| home.holder == node);
        held.min_by_key(|(id, home)| (home.natural != node, **id)).map(|(id, _)| *id)
    }

    fn lose_sessions_of(&mut self, turn: &mut Turn, node: NodeId) {
        let lost = self.sessions.values().filter(|s| s.node == node && s.link == Link::Live);
        let lost: Vec<SessionId> = lost.map(|session| session.id).collect();
        for id in lost {
            self.lose_session(turn, id);
        }
    }

    /// Notes the addresses that a node brings and gives it those that are its own. True if
    /// anything changed.
    fn bring(&mut self, turn: &mut Turn, node: NodeId, homes: Vec<(HomeId, Wire)>) -> bool {
        let mut changed = false;
        for (id, address) in homes {
            match self.homes.get_mut(&id) {
                Some(home) if home.address == address => {}
                Some(home) => {
                    home.address = address;
                    turn.outcome.touched.homes.insert(id);
                    changed = true;
                }
                None => {
                    let home = Home { natural: node, holder: node, epoch: 0, address };
                    self.homes.insert(id, home);
                    turn.outcome.touched.homes.insert(id);
                    changed = true;
                }
            }
            let holder = self.homes.get(&id).map_or(node, |home| home.holder);
            if holder != node && !self.is_up(holder) && self.takes_calls(node) {
                self.give_home(turn, id, node, 0);
                changed = true;
            }
        }
        changed
    }

    /// Addresses and calls of nodes that are not up go to a live one: an address with all calls on
    /// it to the node that brought it if that takes calls, else as [`Self::taker_for`] says; a call
    /// without an address goes by itself. Without any node that takes calls everything stays as it
    /// is until one does.
    fn adopt_orphans(&mut self, turn: &mut Turn, silent_ms: u32) {
        let orphans = self.homes.iter().filter(|(_, home)| !self.is_up(home.holder));
        let homes: Vec<(HomeId, NodeId)> = orphans.map(|(id, home)| (*id, home.natural)).collect();
        for (id, natural) in homes {
            let own = self.takes_calls(natural).then_some(natural);
            let Some(to) = own.or_else(|| self.taker_for(natural)) else { return };
            self.give_home(turn, id, to, silent_ms);
        }
        let orphans = self.calls.values().filter(|call| !self.is_up(call.owner));
        let calls: Vec<(CallId, NodeId)> = orphans.map(|call| (call.id, call.owner)).collect();
        for (id, owner) in calls {
            let Some(to) = self.taker_for(owner) else { return };
            self.give_call(turn, id, to, silent_ms);
        }
    }

    /// Who takes over from a node: of those that take calls one of its own site, and of another site
    /// only when none is left there; of these the one with the fewest calls, then the lowest number.
    fn taker_for(&self, of: NodeId) -> Option<NodeId> {
        let site = |id: &NodeId| self.directory.sites.get(id);
        let takers = self.nodes.iter().filter(|(_, node)| node.up && !node.draining);
        let best = takers.min_by_key(|(id, node)| (site(id) != site(&of), node.calls, **id));
        best.map(|(id, _)| *id)
    }

    fn give_home(&mut self, turn: &mut Turn, id: HomeId, to: NodeId, silent_ms: u32) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        home.holder = to;
        home.epoch = home.epoch.saturating_add(1);
        turn.outcome.touched.homes.insert(id);
        let calls = self.calls.values().filter(|call| call.home == Some(id));
        let calls: Vec<CallId> = calls.map(|call| call.id).collect();
        for call in calls {
            self.give_call(turn, call, to, silent_ms);
        }
    }

    pub(super) fn home_yielded(&mut self, turn: &mut Turn, id: HomeId, epoch: u32) -> Reply {
        let Some(home) = self.homes.get(&id) else { return Reply::Already };
        let stays = home.holder == home.natural && !self.is_draining(home.holder);
        if stays || home.epoch != epoch {
            return Reply::Already;
        }
        match self.heir(home) {
            Some(to) => self.give_home(turn, id, to, 0),
            // It stays, and the holder acts for it again: a repetition must not move it then.
            None => self.begin_epoch(turn, id),
        }
        Reply::Done
    }

    /// Whom the holder of an address is to yield it to: the node that brought it when that takes
    /// calls again, and who takes over from that one when the holder is draining.
    #[must_use]
    pub fn heir(&self, home: &Home) -> Option<NodeId> {
        if home.holder != home.natural && self.takes_calls(home.natural) {
            return Some(home.natural);
        }
        self.is_draining(home.holder).then(|| self.taker_for(home.natural)).flatten()
    }

    pub(super) fn drain(&mut self, turn: &mut Turn, id: NodeId) -> Result<Reply, Rejected> {
        let node = *self.nodes.get(&id).ok_or(Rejected::NoSuchNode { node: id })?;
        if node.draining {
            return Ok(Reply::Already);
        }
        if !node.up {
            return Err(Rejected::NodeIsLost { node: id });
        }
        let mut others = self.nodes.iter().filter(|(other, _)| **other != id);
        if self.nodes.len() == 1 {
            return Err(Rejected::OnlyNode { node: id });
        }
        if others.clone().all(|(_, other)| !other.up) {
            return Err(Rejected::LastNode { node: id });
        }
        if others.all(|(other, _)| !self.takes_calls(*other)) {
            return Err(Rejected::NobodyTakesOver { node: id });
        }
        self.set_draining(turn, id, true);
        Ok(Reply::Done)
    }

    pub(super) fn resume(&mut self, turn: &mut Turn, id: NodeId) -> Result<Reply, Rejected> {
        let node = self.nodes.get(&id).ok_or(Rejected::NoSuchNode { node: id })?;
        if !node.draining {
            return Ok(Reply::Already);
        }
        self.set_draining(turn, id, false);
        // What it was about to yield stays: that may be on its way.
        let held = self.homes.iter().filter(|(_, home)| home.holder == id);
        for home in held.map(|(home, _)| *home).collect::<Vec<_>>() {
            self.begin_epoch(turn, home);
        }
        self.adopt_orphans(turn, 0);
        Ok(Reply::Done)
    }

    pub(super) fn reads(
        &mut self,
        turn: &mut Turn,
        (id, witness): (NodeId, bool),
        reads: Reads,
    ) -> Result<Reply, Rejected> {
        if witness {
            let node = self.nodes.entry(id).or_default();
            // One that had calls is to be lost first, so that others have them.
            node.witness = !node.up;
        }
        let node = self.nodes.get_mut(&id).ok_or(Rejected::NoSuchNode { node: id })?;
        if !node.up && !node.witness {
            return Err(Rejected::NodeIsLost { node: id });
        }
        node.reads = reads;
        turn.outcome.touched.nodes.insert(id);
        Ok(Reply::Done)
    }

    pub(super) fn agree(&mut self, turn: &mut Turn, version: u8, nodes: &[NodeId]) -> Reply {
        let reads = |node: &NodeId| {
            let known = self.nodes.get(node).filter(|node| node.up || node.witness);
            known.is_some_and(|node| node.reads.includes(version))
        };
        if version <= self.version() || nodes.is_empty() || !nodes.iter().all(reads) {
            return Reply::Already;
        }
        self.version = version;
        turn.outcome.touched.version = true;
        Reply::Done
    }

    fn set_draining(&mut self, turn: &mut Turn, id: NodeId, draining: bool) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.draining = draining;
            turn.outcome.touched.nodes.insert(id);
        }
    }

    fn begin_epoch(&mut self, turn: &mut Turn, id: HomeId) {
        if let Some(home) = self.homes.get_mut(&id) {
            home.epoch = home.epoch.saturating_add(1);
            turn.outcome.touched.homes.insert(id);
        }
    }

    fn takes_calls(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.up && !node.draining)
    }

    fn is_draining(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.draining)
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.up)
    }

    fn give_call(&mut self, turn: &mut Turn, id: CallId, to: NodeId, silent_ms: u32) {
        let at = turn.at;
        let (from, epoch) = self.edit_call(turn, id, |call| {
            let from = std::mem::replace(&mut call.owner, to);
            call.epoch = call.epoch.saturating_add(1);
            call.timeline.note(at, What::TakenOver { from, to, epoch: call.epoch });
            if let Phase::Ivr { position, heard_at, .. } = &mut call.phase {
                // Nothing was heard since the node fell silent.
                let heard_ms = at.since_ms(*heard_at).saturating_sub(silent_ms.into());
                let heard_ms = u32::try_from(heard_ms).unwrap_or(u32::MAX);
                position.offset_ms = position.offset_ms.saturating_add(heard_ms);
                *heard_at = at;
            }
            (from, call.epoch)
        });
        turn.announce(Happened::CallTakenOver { call: id, from, to, epoch });
    }
}
