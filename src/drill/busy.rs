//! A drill without a fault: calls on a machine that has far too much to do, for minutes. Nobody
//! is to be missed for nothing.
//!
//! Starts shells that spin, as many a core as the drill says, beside three nodes with calls, all
//! at the same priority. What counts is what the nodes themselves say about each other: whom they
//! missed, how often they elected, which leases lapsed, and how late beats came.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::time::sleep;

use super::cast::{Addresses, Cast, NODES};
use super::cluster::Cluster;
use super::exchange::{Order, Seen};
use super::judge::{Claim, Figures, Judged};
use super::round::Parties;

/// How long the calls may take until all are answered.
const SETTLE_WITHIN: Duration = Duration::from_secs(40);

/// How long a node may take to say its figures: it has to share the machine, too.
const FIGURES_WITHIN: Duration = Duration::from_secs(30);

/// How long farewells may take.
const FAREWELL_WITHIN: Duration = Duration::from_secs(40);

const LOOK: Duration = Duration::from_millis(200);

/// Buckets of the gaps between beats of which the report speaks, in seconds.
const GAPS: [&str; 5] = ["0.1", "0.2", "0.4", "0.75", "1.1"];

/// What a drill is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drill {
    pub(crate) name: &'static str,
    /// Shells that spin, for each core.
    pub(crate) load: usize,
}

/// What the nodes say of themselves at a moment, all together.
#[derive(Clone, Debug, Default)]
struct Said {
    /// Nodes that were missed.
    missed: u64,
    /// The highest term.
    term: u64,
    /// Leases that began.
    leases: u64,
    /// Beats, and those of them that came no later than [`GAPS`] after the one before.
    beats: u64,
    within: [u64; GAPS.len()],
}

impl Said {
    fn since(&self, before: &Self) -> Self {
        let mut within = self.within;
        within.iter_mut().zip(before.within).for_each(|(now, before)| *now -= before);
        Self {
            missed: self.missed - before.missed,
            term: self.term - before.term,
            leases: self.leases - before.leases,
            beats: self.beats - before.beats,
            within,
        }
    }

    fn gaps(&self) -> String {
        let later =
            |(most, within): (&&str, &u64)| format!("{} after {most} s", self.beats - within);
        let late: Vec<String> = GAPS.iter().zip(&self.within).map(later).collect();
        format!("of {} beats came {}", self.beats, late.join(", "))
    }
}

/// Shells that spin until this is dropped.
struct Load(Vec<Child>);

impl Load {
    fn start(processes: usize) -> anyhow::Result<Self> {
        let mut load = Self(Vec::new());
        for _ in 0..processes {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            load.0.push(shell.spawn()?);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already is no error.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// Plays it for so long in `folder`, and judges it.
pub(crate) async fn play(
    drill: Drill,
    round: usize,
    (calls, length): (usize, Duration),
    addresses: Addresses,
    folder: &Path,
) -> anyhow::Result<Judged> {
    let cast = Cast::echoing(addresses, calls)?;
    let cluster = Cluster::begin(&cast, addresses, folder).await?;
    cluster.leader().await?;
    let parties = Parties::start(cast, &cluster)?;
    parties.tell(Order::Begin);
    settle(&parties).await?;

    let cores = available_parallelism()?.get();
    let before = ask(&cluster).await?;
    let load = Load::start(drill.load * cores)?;
    let begin = Instant::now();
    sleep(length).await;
    let after = ask(&cluster).await?;
    let lasted = begin.elapsed();
    drop(load);

    parties.tell(Order::Release);
    let deadline = Instant::now() + FAREWELL_WITHIN;
    sleep(LOOK * 5).await;
    while parties.progress().open > 0 && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    let seen = parties.stop()?;
    let where_ = format!(
        "in {:.1} minutes beside {} spinning processes on {cores} cores",
        lasted.as_secs_f64() / 60.0,
        drill.load * cores
    );
    Ok(judge(drill, round, &where_, &after.since(&before), &seen))
}

async fn settle(parties: &Parties) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_WITHIN;
    sleep(LOOK).await;
    while !parties.progress().unsettled.is_empty() {
        if Instant::now() > deadline {
            bail!("not every call was answered: {:?}", parties.progress().unsettled);
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Adds up what the nodes say.
async fn ask(cluster: &Cluster) -> anyhow::Result<Said> {
    let mut said = Said::default();
    for node in 0..NODES {
        let deadline = Instant::now() + FIGURES_WITHIN;
        let text = loop {
            if let Some(text) = cluster.ask(node, "/metrics").await {
                break text;
            }
            if Instant::now() > deadline {
                bail!("node {} says no figures", node + 1);
            }
            sleep(LOOK).await;
        };
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0) as u64
        };
        // Each node counts what the log says; one that is behind may not know yet.
        said.missed = said.missed.max(value("tandem_nodes_missed_total"));
        said.term = said.term.max(value("tandem_raft_term"));
        said.leases += value("tandem_leases_total");
        said.beats += value("tandem_beat_gap_seconds_count");
        for (most, within) in GAPS.iter().zip(&mut said.within) {
            *within += value(&format!("tandem_beat_gap_seconds_bucket{{le=\"{most}\"}}"));
        }
    }
    Ok(said)
}

fn judge(drill: Drill, round: usize, where_: &str, said: &Said, seen: &Seen) -> Judged {
    let claim = |text: &str, count: u64, what: &str| {
        let evidence = (count > 0).then(|| format!("{count} {what}")).into_iter().collect();
        Claim::against(format!("{text} {where_}"), evidence)
    };
    let calls = &seen.cast.calls;
    let lost = |call: &&super::cast::Call| !call.losses.is_empty() || call.times.answered.is_none();
    let lost: Vec<String> = calls.iter().filter(lost).map(|call| call.number.clone()).collect();
    let missed = claim("no node is missed for nothing", said.missed, "nodes were missed");
    let silent = Claim::skipped("beats come", "none was counted");
    let claims = vec![
        missed.with_figures(said.gaps()),
        claim("nobody is elected for nothing", said.term, "terms began"),
        claim("no lease lapses", said.leases, "leases began anew"),
        Claim::against("no call is lost", lost.clone()),
    ];
    Judged {
        drill: drill.name,
        round,
        calls: calls.len(),
        lost: lost.len(),
        gaps: Figures::default(),
        decisions: Figures::default(),
        claims: if said.beats > 0 { claims } else { vec![silent] },
        played: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_before_the_load_does_not_count() {
        let before = Said { missed: 1, term: 2, leases: 3, beats: 10, within: [9, 10, 10, 10, 10] };
        let after = Said { missed: 1, term: 3, leases: 5, beats: 30, within: [25, 28, 30, 30, 30] };
        let said = after.since(&before);
        assert_eq!((said.missed, said.term, said.leases), (0, 1, 2));
        let gaps = "of 20 beats came 4 after 0.1 s, 2 after 0.2 s, 0 after 0.4 s, \
                    0 after 0.75 s, 0 after 1.1 s";
        assert_eq!(said.gaps(), gaps);
        let seen = Seen { cast: Cast::default(), stalls: Vec::new() };
        let drill = Drill { name: "busy", load: 1 };
        let judged = judge(drill, 1, "in 10 minutes", &said, &seen);
        let failed = |claim: &&Claim| claim.verdict == super::super::judge::Verdict::Failed;
        let failed: Vec<&str> =
            judged.claims.iter().filter(failed).map(|claim| claim.text.as_str()).collect();
        assert_eq!(
            failed,
            ["nobody is elected for nothing in 10 minutes", "no lease lapses in 10 minutes"]
        );
    }
}
