//! How a replica is set up, and why it may not start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tandem_cluster::presence::Timing;
use tandem_cluster::records::RecordSink;
use tandem_cluster::store::StoreError;
use tandem_cluster::{Millis, NodeId};

use crate::metrics::Metrics;
use crate::shared::DirectoryLease;

/// How a replica is set up.
pub struct ReplicaConfig {
    /// This node; not 0.
    pub node: NodeId,
    /// The voters of a new cluster, this node included, with the addresses on which they listen
    /// to each other. The same at all of them. Looked at when the data directory is empty;
    /// afterwards the log knows the members, and only the addresses are taken from here.
    pub members: BTreeMap<NodeId, SocketAddr>,
    /// Members that vote and have no calls. Others lead rather than they.
    pub witnesses: BTreeSet<NodeId>,
    /// This node waits to be added to a cluster that exists, instead of being one of its first
    /// voters. `members` names those that it will answer until it is one.
    pub join: bool,
    /// The code of the last forced recovery of the cluster, if there was one: nodes that do not
    /// know it belong to the cluster as it was before.
    pub recovery: Option<String>,
    /// Where this node listens to the others. A single node does not listen.
    pub listen: Option<SocketAddr>,
    /// What the members know and others do not.
    pub secret: Vec<u8>,
    /// Log, snapshots, cache and records live here. One process at a time.
    pub data: PathBuf,
    /// One step of Raft's clock. 25 ms × 12 by default: see `docs/cluster.md` for what other
    /// values cost.
    pub tick: Duration,
    /// Ticks without a leader before an election; each node waits one to two times this.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// How soon nodes miss each other, and how long one acts without the others.
    pub presence: Timing,
    /// How often the cache and the records are written. 100 ms by default: longer encodes fewer
    /// values, but records (CDRs) are seen later and a restart replays more.
    pub cache_every: Duration,
    /// Entries between two snapshots. 200,000 by default, about the log that a restart replays
    /// in two seconds if the cache is lost.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot, for followers that are a little late.
    pub kept_entries: u64,
    /// How long a proposal or a change may take before its outcome is called unknown.
    pub proposal_timeout: Duration,
    /// Writes the machine's record rows; `None` if it has none.
    pub records: Option<Box<dyn RecordSink>>,
    /// The clock that stamps entries, ms since 1970.
    pub clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Where commits, syncs and snapshots are counted.
    pub metrics: Arc<Metrics>,
    /// Whether the data directory may be written: looked at before each write of the log and
    /// after it, before anything is acknowledged.
    pub directory: DirectoryLease,
    /// Called instead of aborting the process, in tests. See [`Fatal`].
    pub fatal: Fatal,
}

/// What to do when the log cannot be written or the state cannot be trusted any more: print the
/// message and abort. A replica never goes on after it.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

impl ReplicaConfig {
    /// A node with usual values: alone, if nothing is changed.
    pub fn new(node: NodeId, data: PathBuf) -> Self {
        Self {
            node,
            members: BTreeMap::new(),
            witnesses: BTreeSet::new(),
            join: false,
            recovery: None,
            listen: None,
            secret: Vec::new(),
            data,
            tick: Duration::from_millis(25),
            election_ticks: 12,
            heartbeat_ticks: 3,
            presence: Timing::default(),
            cache_every: Duration::from_millis(100),
            snapshot_entries: 200_000,
            kept_entries: 20_000,
            proposal_timeout: Duration::from_secs(5),
            records: None,
            clock: Arc::new(unix_clock),
            metrics: Arc::default(),
            directory: DirectoryLease::alone(),
            fatal: Arc::new(abort),
        }
    }
}

impl std::fmt::Debug for ReplicaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the secret.
        f.debug_struct("ReplicaConfig")
            .field("node", &self.node)
            .field("members", &self.members)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

fn unix_clock() -> Millis {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| Millis::try_from(now.as_millis()).unwrap_or(Millis::MAX))
}

fn abort(why: &str) {
    tracing::error!(why, "the replica cannot go on; the process ends");
    std::process::abort();
}

/// Why a replica does not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Raft cannot start from what the directory holds.
    #[error(transparent)]
    Driver(#[from] tandem_cluster::StartError),
    /// Neither this node nor an address to listen on is among the members.
    #[error("node {node} is not among the members {members:?}; add it, or set join")]
    NotMember { node: NodeId, members: Vec<NodeId> },
    /// The directory went through a recovery that the configuration does not know of.
    #[error(
        "this directory belongs to a cluster that was recovered; set [cluster] recovery = \"{code}\" \
         on all its nodes"
    )]
    Recovered { code: String },
    /// The directory is of the time before.
    #[error(
        "this directory belongs to the cluster as it was before the recovery that [cluster] recovery \
         names, and must not be mixed with what it became: move the directory away, and let the \
         node join anew; or leave out recovery, if this is not the recovered cluster"
    )]
    BeforeRecovery,
    /// A new directory would begin another cluster of the same name.
    #[error("a cluster that was recovered exists already: a node with a new directory joins it")]
    BeginsAnew,
    /// Several members need an address and a secret.
    #[error("a cluster of several nodes needs {0}")]
    Missing(&'static str),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: std::io::Error },
    /// A thread cannot be started.
    #[error("no thread for the replica: {0}")]
    Thread(std::io::Error),
    /// The newest snapshot is not readable by this machine.
    #[error("the snapshot at {index} cannot be restored: {error}")]
    Restore { index: u64, error: super::RestoreError },
}
