//! Nodes come and go: calls of a lost one get new owners, its desks get their grace.

use super::Turn;
use crate::agent::Link;
use crate::event::Happened;
use crate::state::Node;
use crate::timeline::What;
use crate::{CallId, Center, NodeId, Reply, SessionId};

impl Center {
    pub(super) fn node_up(&mut self, turn: &mut Turn, node: NodeId) -> Reply {
        let known = self.nodes.entry(node).or_insert(Node { up: false, calls: 0 });
        let was_up = std::mem::replace(&mut known.up, true);
        turn.outcome.touched.nodes.insert(node);
        // A node that was not missed but says that it is up was started again: the sockets that
        // it had are gone.
        self.lose_sessions_of(turn, node);
        if was_up {
            return Reply::Already;
        }
        turn.announce(Happened::NodeChanged { node, up: true });
        let orphans: Vec<CallId> = self
            .calls
            .values()
            .filter(|call| self.nodes.get(&call.owner).is_none_or(|owner| !owner.up))
            .map(|call| call.id)
            .collect();
        self.give_to_others(turn, orphans);
        Reply::Done
    }

    pub(super) fn node_lost(&mut self, turn: &mut Turn, node: NodeId) -> Reply {
        let known = self.nodes.entry(node).or_insert(Node { up: true, calls: 0 });
        if !std::mem::replace(&mut known.up, false) {
            return Reply::Already;
        }
        turn.outcome.touched.nodes.insert(node);
        turn.announce(Happened::NodeChanged { node, up: false });
        self.lose_sessions_of(turn, node);
        let calls = self.calls.values().filter(|call| call.owner == node);
        let calls: Vec<CallId> = calls.map(|call| call.id).collect();
        self.give_to_others(turn, calls);
        Reply::Done
    }

    fn lose_sessions_of(&mut self, turn: &mut Turn, node: NodeId) {
        let lost = self.sessions.values().filter(|s| s.node == node && s.link == Link::Live);
        let lost: Vec<SessionId> = lost.map(|session| session.id).collect();
        for id in lost {
            self.lose_session(turn, id);
        }
    }

    /// Each call goes to the live node with the fewest, the lowest number among equals. Without
    /// any live node calls stay as they are until one is up.
    fn give_to_others(&mut self, turn: &mut Turn, calls: Vec<CallId>) {
        for id in calls {
            let live = self.nodes.iter().filter(|(_, node)| node.up);
            let Some((to, _)) = live.min_by_key(|(id, node)| (node.calls, **id)) else { return };
            let (to, at) = (*to, turn.at);
            let (from, epoch) = self.edit_call(turn, id, |call| {
                let from = std::mem::replace(&mut call.owner, to);
                call.epoch = call.epoch.saturating_add(1);
                call.timeline.note(at, What::TakenOver { from, to, epoch: call.epoch });
                (from, call.epoch)
            });
            turn.announce(Happened::CallTakenOver { call: id, from, to, epoch });
        }
    }
}
