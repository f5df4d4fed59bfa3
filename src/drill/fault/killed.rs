//! A power cut: the process is gone at once.

use super::super::cluster::Cluster;

pub(super) fn strike(cluster: &mut Cluster, node: usize) -> anyhow::Result<()> {
    Ok(cluster.kill(node)?)
}
