//! A machine that stands still: the process keeps its sockets and does nothing, and then goes on
//! as if no time had passed.

use rustix::process::Signal;

use super::super::cluster::Cluster;

pub(super) fn strike(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    cluster.signal(node, Signal::STOP)
}

pub(super) fn undo(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    cluster.signal(node, Signal::CONT)
}
