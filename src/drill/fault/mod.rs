//! The faults, one file each: what is done to a node, and how it is undone.

pub(crate) mod cut_off;
mod frozen;
mod full_disk;
mod killed;
mod transferred;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use super::cluster::Cluster;

/// From one step of [`of_leaders`] to the next.
pub(crate) const STEP: Duration = Duration::from_millis(2_500);

/// How long all of them may take. Each waits for a node that starts or comes back.
const LEADERS_WITHIN: Duration = Duration::from_secs(90);

/// When leaders were struck, and when the last fault was over.
#[derive(Clone, Debug)]
pub(crate) struct Strikes {
    pub(crate) at: Vec<Instant>,
    pub(crate) over: Instant,
}

/// One fault after the other, each at whoever leads then: killed, frozen, and the leadership moved.
/// Each node is back before the next is struck.
pub(crate) async fn of_leaders(cluster: &mut Cluster) -> anyhow::Result<Strikes> {
    let begin = Instant::now();
    let mut at = Vec::new();
    for fault in [Fault::Killed, Fault::Frozen, Fault::Transferred] {
        let leader = cluster.leader().await?;
        at.push(Instant::now());
        fault.strike(cluster, leader).await.with_context(|| format!("{fault:?}"))?;
        sleep(STEP).await;
        fault.undo(cluster, leader)?;
        cluster.wait_ready(leader).await?;
    }
    if begin.elapsed() > LEADERS_WITHIN {
        bail!("the nodes took {} s for the faults", begin.elapsed().as_secs());
    }
    Ok(Strikes { at, over: Instant::now() })
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Frozen,
    CutOff,
    /// Its disk is full.
    FullDisk,
    /// No fault: the leadership is moved on purpose.
    Transferred,
}

/// Where it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The node with the calls, which does not lead.
    Carrier,
    /// The node with the calls, which leads.
    LeadingCarrier,
    /// The leader, which has no calls.
    BareLeader,
    /// The witness of two nodes.
    Witness,
}

impl Fault {
    /// Does it.
    pub(crate) async fn strike(self, cluster: &mut Cluster, node: usize) -> anyhow::Result<()> {
        match self {
            Self::Killed => killed::strike(cluster, node),
            Self::Frozen => frozen::strike(cluster, node),
            Self::CutOff => cut_off::strike(cluster, node),
            Self::FullDisk => full_disk::strike(cluster, node),
            Self::Transferred => transferred::strike(cluster, node).await,
        }
    }

    /// Undoes it.
    pub(crate) fn undo(self, cluster: &mut Cluster, node: usize) -> anyhow::Result<()> {
        match self {
            Self::Killed => cluster.restart(node),
            Self::Frozen => frozen::undo(cluster, node),
            Self::CutOff => cut_off::undo(cluster, node),
            Self::FullDisk => full_disk::undo(cluster, node),
            Self::Transferred => Ok(()),
        }
    }

    /// Why it cannot be done here, if it cannot.
    pub(crate) fn impossible(self) -> Option<String> {
        match self {
            Self::CutOff => cut_off::impossible(),
            // The disk is one of the conditions, which say themselves whether they can be had.
            Self::Killed | Self::Frozen | Self::FullDisk | Self::Transferred => None,
        }
    }

    /// The longest gap when it is undone, where that is not the same. What was to be decided while a
    /// disk had no room waits for it, and the room is looked for once a second.
    pub(crate) fn gap_after(self) -> Option<Duration> {
        match self {
            Self::FullDisk => Some(Duration::from_millis(1_500)),
            Self::Killed | Self::Frozen | Self::CutOff | Self::Transferred => None,
        }
    }

    /// The longest gap of audio that a call of the node may have: p99, and each; nothing where
    /// none is allowed. A dead process is missed after 0.6 s, and its calls go on within a second;
    /// one that still holds its sockets is only let go when its lease is over.
    pub(crate) fn gap_max(self) -> Option<(Duration, Duration)> {
        let (p99, max) = match self {
            Self::Killed => (1_000, 2_000),
            Self::Frozen | Self::CutOff => (2_500, 2_500),
            Self::FullDisk | Self::Transferred => return None,
        };
        Some((Duration::from_millis(p99), Duration::from_millis(max)))
    }
}
