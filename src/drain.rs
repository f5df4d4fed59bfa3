//! Handing everything to other nodes before this one is stopped.
//!
//! Owns how the node that ends, and whoever watches another one drain, find out that nothing is
//! left on it. Decides nothing: who takes over is in the replicated state, the address is let go
//! of by [`crate::actors::homes`], and the leadership by [`crate::actors::replica`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tandem_center::{Center, Command, NodeId};
use tokio::time::{sleep, timeout};

use crate::node::Node;

/// How long the cluster may take to decide that a node drains. Without a leader it never does, and
/// the process is to end all the same.
const DECIDED_WITHIN: Duration = Duration::from_secs(3);

/// How long everything may take to be with others. It takes a tenth of a second; a leader that is
/// lost meanwhile adds one.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What is left on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Service addresses that it holds.
    pub homes: usize,
    /// Calls that it owns.
    pub calls: u32,
}

impl Left {
    /// Of this node.
    #[must_use]
    pub fn of(center: &Center, node: NodeId) -> Self {
        let homes = center.homes().filter(|(_, home)| home.holder == node).count();
        let calls = center.node(node).map_or(0, |node| node.calls);
        Self { homes, calls }
    }

    /// Nothing.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Why not everything is handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHandedOver {
    /// There is nobody.
    #[error("{0}")]
    Refused(String),
    /// Nobody leads, or no majority is there.
    #[error("the cluster does not decide")]
    Undecided,
    /// Something stays here.
    #[error("{} addresses and {} calls are still here", .0.homes, .0.calls)]
    Left(Left),
}

/// Hands over what this node has, and waits until it is gone.
pub(crate) async fn hand_over(node: &Node) -> Result<(), NotHandedOver> {
    let drain = Command::Drain { node: node.id };
    let decided = timeout(DECIDED_WITHIN, node.propose(&drain)).await;
    match decided {
        Ok(Ok(answer)) => {
            answer.reply.map_err(|rejected| NotHandedOver::Refused(rejected.to_string()))?;
        }
        Ok(Err(_)) | Err(_) => return Err(NotHandedOver::Undecided),
    }
    let gone = async {
        while !left(node).is_nothing() || node.replica.status().role.leading {
            sleep(LOOK).await;
        }
    };
    let gone = timeout(HANDED_OVER_WITHIN, gone).await;
    gone.map_err(|_| NotHandedOver::Left(left(node)))
}

fn left(node: &Node) -> Left {
    node.replica.read_local(|machine| Left::of(machine.center(), node.id))
}
