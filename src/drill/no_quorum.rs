//! A node without the others: two of three are gone while it has calls, and come back later.
//!
//! Owns the order of events. Its calls go on and may hang up, nothing new begins, and when the
//! others are back what ended is recorded as when it ended. Judged by [`super::judge`].

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::cast::{Addresses, Cast, NODES};
use super::cluster::Cluster;
use super::desks::Log;
use super::exchange::Order;
use super::phases::Phase;
use super::round::{self, Evidence, Moments, Parties};

/// What is heard before the fault, to compare with.
const BASELINE: Duration = Duration::from_millis(1_500);

/// How long the calls may take until each is where the fault is to find it.
const SETTLE_WITHIN: Duration = Duration::from_secs(40);

/// From the fault to the look at what the node says of itself, and to the farewells.
const LOOK_AFTER: Duration = Duration::from_millis(4_500);
const RELEASE_AFTER: Duration = Duration::from_secs(8);

/// From the farewells to the return of the others.
const UNDO_AFTER: Duration = Duration::from_secs(6);

/// How long the ends of all calls may take to be known once the others are back.
const WATCH: Duration = Duration::from_secs(5);

/// Later calls: by then the node knows that no election takes that long.
const LATER_MS: u64 = 4_000;

/// Conversations, and what a node says by itself.
const PHASES: [Phase; 4] = [Phase::Bridged, Phase::Echo, Phase::Prompt, Phase::Recorded];

/// Which of the nodes is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survivor {
    Leader,
    Follower,
}

/// Everything that came to light.
#[derive(Debug)]
pub(crate) struct Outage {
    pub(crate) evidence: Evidence,
    /// What `/readyz` of the survivor said meanwhile: its status and text.
    pub(crate) readyz: Option<(u16, String)>,
    /// What was committed soon after the fault, and later, as the survivor knew.
    pub(crate) committed: (Option<f64>, Option<f64>),
    /// Calls that the cluster still has at the end.
    pub(crate) left: Option<f64>,
}

/// Plays it in `folder`.
pub(crate) async fn play(
    survivor: Survivor,
    calls: usize,
    addresses: Addresses,
    folder: &Path,
) -> anyhow::Result<Outage> {
    let phases = PHASES.into_iter().cycle().take(calls);
    let mut cast = Cast::of(addresses, phases.chain([Phase::Probe; 10]))?;
    let mut cluster = Cluster::begin(&cast, addresses, folder).await?;
    let leader = cluster.leader().await?;
    let left = match survivor {
        Survivor::Leader => leader,
        Survivor::Follower => (leader + 1) % NODES,
    };
    let others: Vec<usize> = (0..NODES).filter(|node| *node != left).collect();
    for (index, call) in cast.calls.iter_mut().enumerate() {
        call.node = left;
        if call.phase == Phase::Probe && index % 2 == 1 {
            call.delay_ms += LATER_MS;
        }
    }
    let accepted = calls;
    let parties = Parties::start(cast, &cluster)?;
    let begin = Instant::now();
    parties.tell(Order::Begin);
    settle(&parties, begin).await?;
    sleep(BASELINE).await;

    let fault = Instant::now();
    for node in &others {
        cluster.kill(*node)?;
    }
    parties.tell(Order::Fault(fault));
    sleep(Duration::from_secs(1)).await;
    let soon = cluster.metric(left, "tandem_raft_committed_index").await;
    sleep(LOOK_AFTER.saturating_sub(fault.elapsed())).await;
    let readyz = cluster.says(left, "/readyz").await;
    sleep(RELEASE_AFTER.saturating_sub(fault.elapsed())).await;
    let release = Instant::now();
    parties.tell(Order::Release);
    sleep(UNDO_AFTER).await;
    let later = cluster.metric(left, "tandem_raft_committed_index").await;
    for node in &others {
        cluster.restart(*node)?;
    }
    let mut stays_away = None;
    for node in 0..NODES {
        stays_away = stays_away.or(cluster.wait_ready(node).await.err());
    }
    sleep(WATCH).await;
    let records = round::records(&cluster, accepted).await?;
    let calls_left = cluster.metric(left, "tandem_calls_owned").await;
    let seen = parties.stop()?;
    let (change, undone, back) = (release, release, release);
    Ok(Outage {
        evidence: Evidence {
            seen,
            observer: Log::default(),
            desks: Vec::new(),
            records,
            times: Moments { begin, fault, change, undone, back, release },
            fault_at: others[0],
            tries: Vec::new(),
            stays_away: stays_away.map(|error| error.to_string()),
        },
        readyz,
        committed: (soon, later),
        left: calls_left,
    })
}

async fn settle(parties: &Parties, begin: Instant) -> anyhow::Result<()> {
    sleep(BASELINE).await;
    while !parties.progress().unsettled.is_empty() {
        anyhow::ensure!(begin.elapsed() < SETTLE_WITHIN, "not every call was answered in time");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
