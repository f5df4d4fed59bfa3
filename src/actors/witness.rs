//! What a witness does for the cluster beside voting.
//!
//! It never says that it is up: whoever is up in the replicated state takes calls and may be given
//! those of a lost node. It leads while nobody else can, misses nodes as any leader does, and hands
//! over to a node with calls as soon as one has everything. Owns nothing and decides nothing of a
//! call.

use std::sync::Arc;

use tandem_center::{Command, NodeId};

use crate::node::Node;

/// Looks at what is due; `may` says whether something about this node may be proposed again.
pub(super) fn look(node: &Arc<Node>, mut may: impl FnMut(NodeId) -> bool) {
    let me = node.id;
    let is_up = |id| node.replica.read_local(|m| m.center().node(id).is_some_and(|n| n.up));
    if is_up(me) {
        // It had calls before it was made a witness. They and its address are for the others.
        if may(me) {
            tracing::warn!("this node is a witness now: others take over what it had");
            propose(node, &Command::NodeLost { node: me, silent_ms: 0 });
        }
        return;
    }
    if let Some(lease) = node.replica.unconfirmed_lease() {
        // Any entry would do; this one changes nothing that is not due anyway.
        let replica = node.replica.clone();
        if may(me) {
            node.propose_then(&Command::Tick, move |outcome| {
                if outcome.is_ok() {
                    replica.confirm_lease(lease);
                }
            });
        }
        return;
    }
    if let Some(to) = successor(node, is_up).filter(|_| may(me)) {
        tracing::info!(to, "the witness hands the leadership over");
        node.replica.transfer_leader(to);
    }
}

/// Who is to lead instead; nobody while the witness does not, or as long as a node is silent that
/// counts as up: another leader would wait anew until it misses that node.
fn successor(node: &Node, is_up: impl Fn(NodeId) -> bool) -> Option<u64> {
    let status = node.replica.status();
    if !status.role.leading || !node.lease.holds() {
        return None;
    }
    let witnesses: Vec<u64> = node.config.witnesses().collect();
    let counts = |id: u64| is_up(NodeId(id)) && !witnesses.contains(&id);
    let others = status.peers.iter().filter(|peer| status.members.voters.contains(&peer.node));
    let others: Vec<_> = others.filter(|peer| counts(peer.node)).collect();
    if others.iter().any(|peer| !peer.recently_active) {
        return None;
    }
    let able = others.iter().filter(|peer| peer.matched >= status.commit);
    able.max_by_key(|peer| peer.matched).map(|peer| peer.node)
}

fn propose(node: &Node, command: &Command) {
    // What is not committed is seen again at the next look.
    node.propose_then(command, |_| ());
}
