//! Service addresses: where calls live on the network.
//!
//! A home is the address that far ends of calls know. One node holds it at a time, and all calls
//! that live there are owned by that node; when it is lost, the address and its calls go to
//! another node together. What the address is, is the nodes' business. A call without a home
//! lives at its owner's own address and tells its far ends when that changes.

use serde::{Deserialize, Serialize};

use crate::call::Wire;
use crate::ids::NodeId;

/// Homes that one node may bring. More would be spread no better: a cluster has few nodes.
pub const HOMES_OF_NODE_MAX: usize = 16;

/// A service address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The node that brought it, and that gets it back.
    pub natural: NodeId,
    /// The node that serves it now.
    pub holder: NodeId,
    /// Rises with every change of holder.
    pub epoch: u32,
    /// The nodes' encoding of its addresses. Opaque here.
    pub address: Wire,
}
