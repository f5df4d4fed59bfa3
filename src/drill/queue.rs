//! A drill of the queues: hundreds of callers, few agents, and one fault after the other.
//!
//! Callers come to all nodes, into two queues of different priority with the same agents, while the
//! leader is killed, comes back, the next leader is frozen, goes on, and the leadership is moved.
//! Each agent talks for a moment and is free again. Judged by [`super::judge::queue`].

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::cast::{Addresses, Cast, NODES};
use super::cluster::Cluster;
use super::config::SUPERVISOR;
use super::desks::{Desk, Log};
use super::exchange::Order;
use super::fault::{self, STEP};
use super::judge::{self, Judged};
use super::round::{Evidence, Moments, Parties, records};
use super::summary::Bound;

/// Callers for each call that is ordered, and for each agent.
const CALLERS: usize = 2;
const CALLERS_OF_AGENT: usize = 25;

/// Fewer agents than this make no queue of several.
const AGENTS_MIN: usize = 3;

/// How long the last caller may wait, and the last farewell take.
const SERVED_WITHIN: Duration = Duration::from_secs(90);

/// How long an agent may be free while somebody waits: 99 of 100, and each. As long as the longest
/// gap that a frozen node may make, since who waits there is called by whoever takes over; an agent
/// meets a fault so often that the percentile is no less.
pub(super) const FREE: Bound = (Duration::from_millis(2_500), Duration::from_millis(2_500));

const LOOK: Duration = Duration::from_millis(100);

/// What a drill is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drill {
    pub(crate) name: &'static str,
}

/// Plays it in `folder`, and judges it.
pub(crate) async fn play(
    drill: Drill,
    round: usize,
    (calls, addresses): (usize, Addresses),
    folder: &Path,
) -> anyhow::Result<Judged> {
    let callers = calls * CALLERS;
    let agents = (callers / CALLERS_OF_AGENT).max(AGENTS_MIN);
    let cast = Cast::queueing(addresses, callers, agents)?;
    let mut cluster = Cluster::begin(&cast, addresses, folder).await?;
    let leader = cluster.leader().await?;
    let servers = (1..=NODES).map(|node| cluster.base((leader + node) % NODES)).collect();
    let observer = Desk::open(SUPERVISOR, servers).await?;
    while !observer.read(|log| log.welcome) {
        sleep(LOOK).await;
    }
    let parties = Parties::start(cast, &cluster)?;
    let begin = Instant::now();
    parties.tell(Order::Begin);
    sleep(STEP).await;
    let begun = Instant::now();
    let last = fault::of_leaders(&mut cluster).await?.over;

    let deadline = Instant::now() + SERVED_WITHIN;
    loop {
        let progress = parties.progress();
        if progress.unsettled.is_empty() && progress.open == 0 || Instant::now() > deadline {
            break;
        }
        sleep(LOOK).await;
    }
    let release = Instant::now();
    parties.tell(Order::Release);
    sleep(LOOK * 5).await;
    let records = records(&cluster, callers).await?;
    let evidence = Evidence {
        seen: parties.stop()?,
        observer: observer.read(Log::clone),
        desks: Vec::new(),
        records,
        times: Moments { begin, fault: begun, change: last, undone: last, back: last, release },
        fault_at: leader,
        tries: Vec::new(),
        stays_away: None,
    };
    Ok(judge::queue(drill.name, round, &evidence))
}
