//! Agreeing on the version in which the cluster writes, and following it.
//!
//! Owns when this node says what its build reads, when the leader proposes the next version, and
//! what is written anew after a rise. What is agreed on is in the replicated state: losing this
//! loses nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_center::version::Reads;
use tandem_center::{Center, Command, NodeId};

use super::call;
use crate::node::Node;

/// Between two proposals of the same thing.
const PROPOSE_AGAIN: Duration = Duration::from_millis(250);

/// From a rise to the snapshot that lets go of what was written before it: whoever had not heard of
/// the rise wrote the old version for a moment.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(5);

/// See the file.
#[derive(Debug)]
pub(super) struct Versions {
    /// What this node wrote when it last looked.
    written: u8,
    /// When something was last proposed.
    proposed: Option<Instant>,
    /// When the version rose, until the snapshot is made.
    rose: Option<Instant>,
}

impl Versions {
    pub(super) fn of(node: &Node) -> Self {
        Self { written: node.version(), proposed: None, rose: None }
    }

    /// Looks what is due. The node is up, or a witness.
    pub(super) fn look(&mut self, node: &Arc<Node>) {
        self.follow(node);
        if self.proposed.is_some_and(|at| at.elapsed() < PROPOSE_AGAIN) {
            return;
        }
        let me = node.id;
        let said = node.replica.read_local(|machine| {
            machine.center().node(me).is_some_and(|node| node.reads == Reads::HERE)
        });
        let due = if said {
            rise(node)
        } else {
            Some(Command::Reads { node: me, reads: Reads::HERE, witness: node.is_witness() })
        };
        if let Some(command) = due {
            self.proposed = Some(Instant::now());
            // What is not committed is seen again at the next look.
            node.propose_then(&command, |_| ());
        }
    }

    fn follow(&mut self, node: &Node) {
        let version = node.version();
        if std::mem::replace(&mut self.written, version) != version {
            self.rose = Some(Instant::now());
            recommit(node);
        }
        if self.rose.take_if(|at| at.elapsed() >= SNAPSHOT_AFTER).is_some() {
            node.replica.snapshot_soon();
        }
    }
}

/// What the leader proposes when all voters read the next version.
fn rise(node: &Node) -> Option<Command> {
    let status = node.replica.status();
    if !status.role.leading {
        return None;
    }
    let nodes: Vec<NodeId> = status.members.voters.iter().map(|id| NodeId(*id)).collect();
    node.replica.read_local(|machine| next_of(machine.center(), nodes))
}

fn next_of(center: &Center, nodes: Vec<NodeId>) -> Option<Command> {
    let version = center.version().checked_add(1)?;
    let reads = |id: &NodeId| center.node(*id).is_some_and(|node| node.reads.includes(version));
    nodes.iter().all(reads).then_some(Command::Agree { version, nodes })
}

/// A call may outlast the next upgrade, after which nobody reads the old version any more.
fn recommit(node: &Node) {
    let me = node.id;
    let calls: Vec<_> = node.replica.read_local(|machine| {
        let calls = machine.center().calls().filter(|call| call.owner == me);
        calls.map(|call| call.id).collect()
    });
    for call in calls.into_iter().filter_map(|id| node.router.call(id)) {
        drop(call.send_message(call::Message::Recommit));
    }
}
