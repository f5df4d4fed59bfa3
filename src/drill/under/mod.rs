//! Under what a cluster runs while a fault happens: clocks that disagree, a network that loses
//! packets, disks that are small. One file each.
//!
//! What is set here is undone when it is dropped, after the nodes have ended.

mod clocks;
mod lossy;
mod small_disks;

use std::path::Path;

use super::cast::Addresses;
use super::fault::cut_off;

/// See the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Under {
    /// Nothing special.
    Nothing,
    /// One wall clock is ahead, one is behind, one jumps.
    Clocks,
    /// Of so many in a hundred packets between nodes nothing is seen again.
    Loss(u8),
    /// Each node's data is on a disk of its own with little room.
    SmallDisks,
}

/// What was set. Dropping it undoes it.
#[derive(Debug)]
pub(crate) enum Set {
    Nothing,
    Clocks(clocks::Clocks),
    Loss(lossy::Loss),
    SmallDisks { _mounted: small_disks::Disks },
}

impl Under {
    /// Why it cannot be had here, if it cannot.
    pub(crate) fn impossible(self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Clocks => clocks::impossible(),
            Self::Loss(_) | Self::SmallDisks => cut_off::impossible(),
        }
    }

    /// Needs namespaces of the drill's own.
    pub(crate) fn needs_namespace(self) -> bool {
        match self {
            Self::Nothing | Self::Clocks => false,
            Self::Loss(_) | Self::SmallDisks => true,
        }
    }

    /// Sets what has to be there before the nodes start.
    pub(crate) fn set(self, folder: &Path, addresses: Addresses) -> anyhow::Result<Set> {
        Ok(match self {
            Self::Nothing => Set::Nothing,
            Self::Clocks => Set::Clocks(clocks::Clocks::set(folder)?),
            Self::Loss(percent) => Set::Loss(lossy::Loss::of(addresses, percent)),
            Self::SmallDisks => Set::SmallDisks { _mounted: small_disks::Disks::mount(folder)? },
        })
    }
}

impl Set {
    /// What a node finds in its environment.
    pub(crate) fn environment(&self, node: usize) -> Vec<(&'static str, String)> {
        match self {
            Self::Clocks(clocks) => clocks.environment(node),
            Self::Nothing | Self::Loss(_) | Self::SmallDisks { .. } => Vec::new(),
        }
    }

    /// The calls are settled.
    pub(crate) fn before_fault(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Loss(loss) => loss.begin(),
            Self::Nothing | Self::Clocks(_) | Self::SmallDisks { .. } => Ok(()),
        }
    }

    /// The fault is there, or over.
    pub(crate) fn at_fault(&self, is_over: bool) -> anyhow::Result<()> {
        match self {
            Self::Clocks(clocks) => clocks.jump(is_over),
            Self::Nothing | Self::Loss(_) | Self::SmallDisks { .. } => Ok(()),
        }
    }
}
