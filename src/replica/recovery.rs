//! The forced recovery of a stopped node's directory; see [`tandem_cluster::recovery`].
//!
//! Owns the order: first the directory is closed to everybody who belongs to the cluster as it was
//! (its code), then the log says who votes. Whatever interrupts it in between, the node talks to no
//! old member any more, and the recovery can be begun again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tandem_cluster::records::Records;
use tandem_cluster::recovery::{self, Found, RecoveryError};
use tandem_cluster::store::{Store, StoreError};
use tandem_cluster::{EngineLog, Index, LogError, NodeId};

/// A stopped node's directory, held until this is dropped.
pub struct Recovery {
    store: Store,
    log: EngineLog,
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Why a directory is not recovered. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// There is none.
    #[error("{0} is no data directory of a node")]
    Missing(PathBuf),
    /// It cannot be used; that of a node that runs, too.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be recovered so.
    #[error(transparent)]
    Log(#[from] RecoveryError),
}

impl From<LogError> for RecoverError {
    fn from(error: LogError) -> Self {
        Self::Log(error.into())
    }
}

impl Recovery {
    /// Takes the directory of this node into use.
    pub fn open(data: &Path, node: NodeId) -> Result<Self, RecoverError> {
        // Opening would make one.
        if !data.join("log").is_dir() {
            return Err(RecoverError::Missing(data.to_owned()));
        }
        let store = Store::open(data, node)?;
        let (log, _) = EngineLog::open(&store.log())?;
        Ok(Self { store, log })
    }

    /// What the log says.
    pub fn found(&self) -> Result<Found, RecoverError> {
        Ok(recovery::look(&self.log)?)
    }

    /// Up to where the records are; none if they cannot be read.
    pub fn recorded(&self) -> Option<Index> {
        Records::applied_at(&self.store.records()).ok()
    }

    /// Whether these nodes may become the cluster.
    pub fn check(&self, survivors: &BTreeSet<NodeId>) -> Result<(), RecoverError> {
        Ok(recovery::check(&self.log, survivors)?)
    }

    /// These nodes are the cluster from now on, and know each other by this code.
    pub fn perform(mut self, survivors: &BTreeSet<NodeId>, code: &str) -> Result<(), RecoverError> {
        self.check(survivors)?;
        self.store.recovered(code)?;
        Ok(recovery::recover(&mut self.log, survivors)?)
    }
}
