//! A disk without room: a file of no use takes all but a few megabytes, and is removed again.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::super::cluster::Cluster;

/// What is left: enough for what the leader sends, and below the 64 MB under which the node itself
/// proposes nothing.
const LEFT_MB: u64 = 32;

/// The largest disk that is filled. A larger one is not the drill's own.
const DISK_MB_MAX: u64 = 1_024;

const PIECE: usize = 1 << 20;

pub(super) fn strike(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    let mut file = fs::File::create(ballast(cluster, node))?;
    let room = free_mb(cluster, node)?;
    if room > DISK_MB_MAX {
        bail!("{room} MB are free: it is no small disk");
    }
    let piece = vec![1; PIECE];
    for _ in LEFT_MB..room {
        file.write_all(&piece).context("the disk cannot be filled")?;
    }
    Ok(())
}

pub(super) fn undo(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    Ok(fs::remove_file(ballast(cluster, node))?)
}

fn ballast(cluster: &Cluster, node: usize) -> PathBuf {
    cluster.data(node).join("ballast")
}

fn free_mb(cluster: &Cluster, node: usize) -> anyhow::Result<u64> {
    let disk = rustix::fs::statvfs(cluster.data(node))?;
    Ok((disk.f_bavail * disk.f_frsize) >> 20)
}
