//! Which calls have an actor here.
//!
//! Owns the comparison of the replicated state with the actors that are there: after a start, a
//! lease, an address that came. Decides nothing: whose a call is, the state says.

use std::sync::Arc;

use tandem_center::{Call, CallId, Center};

use super::State;
use crate::actors::{call, homes};

impl State {
    pub(super) fn serve(&self, call: Arc<Call>) {
        if call.owner != self.node.id || self.node.router.call(call.id).is_some() {
            return;
        }
        if !self.node.lease.has_held() {
            // What this node had on its disk when it started may be old, and its calls another's by
            // now. All calls are looked at when it knows.
            return;
        }
        if !self.is_open_for(&call) {
            // All calls are looked at when it is.
            return;
        }
        let id = call.id;
        if call.epoch == 0 && self.node.router.was_refused(id) {
            // Its far end has had its final response: no actor says another one.
            if call.has_ended() {
                return self.node.cleared(id);
            }
            tracing::info!(call = %id, "committed after its caller was refused: it is ended");
            self.node.propose_then(&call::end_of_refused(id), |_| ());
            return;
        }
        // What is said to its legs waits for the actor. Unknown, it would be answered with 481, or
        // taken for a new call.
        for name in call.legs.values().filter_map(|leg| call::committed_name(&leg.wire)) {
            self.node.router.bind(name.as_bytes(), id);
        }
        let arguments = call::Arguments::Committed { node: Arc::clone(&self.node), call };
        self.node.actors.start_call(&self.node, id, arguments);
        // What was committed meanwhile found no actor to be told.
        self.node.replica.read_local(|machine| {
            if let (Some(actor), Some(call)) =
                (self.node.router.call(id), machine.center().call(id))
            {
                drop(actor.send_message(call::Message::Changed(Arc::clone(call))));
            }
        });
    }

    pub(super) fn serve_if_ours(&self, id: CallId) {
        let call = self.node.replica.read_local(|machine| machine.center().call(id).cloned());
        if let Some(call) = call {
            self.serve(call);
        }
    }

    /// Whether the address of a call is open here, since it came here last. A call whose home nobody
    /// knows any more is served at the node's own address.
    pub(super) fn is_open_for(&self, call: &Call) -> bool {
        let epoch = |center: &Center| {
            let held = center.homes().find(|(id, _)| Some(*id) == call.home);
            held.map(|(id, home)| (id, home.epoch))
        };
        let held = self.node.replica.read_local(|machine| epoch(machine.center()));
        held.is_none_or(|(id, epoch)| self.node.stations.taken_in(id) == Some(epoch))
    }

    /// Arrivals that were read while another node had their address have ports that its calls need.
    pub(super) fn look_at_arrivals(&self) {
        for (id, actor) in self.node.router.served() {
            if self.node.replica.read_local(|machine| machine.center().call(id).is_none()) {
                drop(actor.send_message(call::Message::AddressMoved));
            }
        }
    }

    pub(super) fn look_at_all(&self) {
        let node = self.node.id;
        let (unserved, queues, agents) = self.node.replica.read_local(|machine| {
            let center = machine.center();
            let ours = center.calls().filter(|call| call.owner == node);
            // Told while nothing is applied: a newer value must not come to an actor before an older.
            let unserved: Vec<_> = ours
                .filter(|call| match self.node.router.call(call.id) {
                    Some(actor) => {
                        drop(actor.send_message(call::Message::Changed(Arc::clone(call))));
                        false
                    }
                    None => true,
                })
                .cloned()
                .collect();
            let queues: Vec<_> = center.queues().map(|queue| queue.id.clone()).collect();
            let agents: Vec<_> = center.agents().map(|agent| agent.id.clone()).collect();
            (unserved, queues, agents)
        });
        for call in unserved {
            self.serve(call);
        }
        self.node.actors.follow_directory(&self.node, &queues, &agents);
        self.node.actors.tell_homes(homes::Message::Look);
    }
}
