//! The replica of a node: Raft on its own thread, links to the other members, and the state.
//!
//! Owns the threads, the sockets and the clock around [`tandem_cluster`]. Does not know what the
//! state means: that is a [`Machine`].

mod config;
mod handle;
mod machine;

pub use config::{Fatal, ReplicaConfig, StartError};
pub use handle::{
    Answer, ChangeFailed, PROPOSALS_WAITING_MAX, Proposal, ProposalError, ReadError, ReplicaHandle,
};
pub use machine::{Applied, Machine, RestoreError};

/// The replica's thread.
#[derive(Debug)]
pub struct Replica {
    thread: std::thread::JoinHandle<()>,
}

impl Replica {
    /// Opens the data directory, brings `machine` to where it was, and starts.
    pub fn start<M: Machine>(
        _config: ReplicaConfig,
        _machine: M,
    ) -> Result<(ReplicaHandle<M>, Self), StartError> {
        Err(StartError::Missing("a replica, which lands next"))
    }

    /// Waits for the end of the thread after [`ReplicaHandle::shutdown`]: state and records are
    /// on disk then.
    pub fn join(self) {
        drop(self.thread.join());
    }
}
