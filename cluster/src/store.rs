//! The data directory of a node: its layout, its version, and who may use it.

use std::path::PathBuf;

/// Why a data directory cannot be used. Each message says what to do; nothing is ever replaced.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: std::io::Error },
    /// A newer program wrote it.
    #[error(
        "{path} was written in format {found}, this program reads up to {known}: start the version \
         that wrote it, or a newer one"
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    /// It is not ours, or damaged.
    #[error(
        "{path} is damaged: {why}. Nothing was changed. A member of a cluster: remove the node \
         from the cluster, move its data directory away, start it with join, and add it again as \
         a learner. A single node: restore its backup"
    )]
    Damaged { path: PathBuf, why: String },
    /// Another node's directory.
    #[error("{path} belongs to node {found}, this is node {node}: check the configuration")]
    OtherNode { path: PathBuf, found: u64, node: u64 },
    /// Two processes on one directory would corrupt it.
    #[error("{path} is in use by another process")]
    InUse { path: PathBuf },
}
