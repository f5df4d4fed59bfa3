//! A drill of the queues: hundreds of callers, few agents, and one fault after the other.
//!
//! Callers come to all nodes, into two queues of different priority with the same agents, while the
//! leader is killed, comes back, the next leader is frozen, goes on, and the leadership is moved.
//! Each agent talks for a moment and is free again. Judged by [`super::judge::queue`].

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use super::cast::{Addresses, Cast, NODES};
use super::cluster::Cluster;
use super::config::{self, SUPERVISOR};
use super::desks::{Desk, Log};
use super::exchange::Order;
use super::fault::Fault;
use super::judge::{self, Judged};
use super::round::{Evidence, Moments, Parties, records};
use super::web::Web;

/// Callers for each call that is ordered, and for each agent.
const CALLERS: usize = 2;
const CALLERS_OF_AGENT: usize = 25;

/// Fewer agents than this make no queue of several.
const AGENTS_MIN: usize = 3;

/// From one step to the next. Callers come all the time, and wait longer than all steps take.
const STEP: Duration = Duration::from_millis(2_500);

/// How long the last caller may wait, and the last farewell take.
const SERVED_WITHIN: Duration = Duration::from_secs(90);

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
    // The configuration names a web service; nobody asks it.
    let web = Web::start(addresses.web()).await?;
    let callers = calls * CALLERS;
    let agents = (callers / CALLERS_OF_AGENT).max(AGENTS_MIN);
    let cast = Cast::queueing(addresses, callers, agents)?;
    let configs = config::write(folder, (addresses, NODES), &cast, web.address)?;
    let mut cluster = Cluster::start(&configs, addresses, false)?;
    for node in 0..NODES {
        cluster.wait_ready(node).await?;
    }
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
    let (first, last) = faults(drill, &mut cluster, leader).await?;

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
        times: Moments { begin, fault: first, change: last, undone: last, back: last, release },
        fault_at: leader,
        tries: Vec::new(),
        stays_away: None,
    };
    Ok(judge::queue(drill.name, round, &evidence))
}

/// The first fault and the end of the last.
async fn faults(
    drill: Drill,
    cluster: &mut Cluster,
    leader: usize,
) -> anyhow::Result<(Instant, Instant)> {
    let first = Instant::now();
    let mut at = leader;
    for fault in [Fault::Killed, Fault::Frozen, Fault::Transferred] {
        fault.strike(cluster, at).await.context(drill.name)?;
        sleep(STEP).await;
        fault.undo(cluster, at)?;
        cluster.wait_ready(at).await?;
        at = cluster.leader().await?;
    }
    if first.elapsed() > SERVED_WITHIN {
        bail!("the nodes took {} s for the faults", first.elapsed().as_secs());
    }
    Ok((first, Instant::now()))
}
