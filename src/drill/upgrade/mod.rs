//! A rolling upgrade under load: node after node is drained, stopped and started with another
//! build, while calls come in at an even rate and others go on throughout.
//!
//! Owns the order of events and the claims. Believes no node about calls: what counts is what the
//! phones of [`load`] saw, and the records.

mod load;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tokio::time::sleep;

use self::load::{Call, Load, Played};
use super::cast::{Addresses, Cast, NODES};
use super::cluster::Cluster;
use super::config::{ADMINISTRATOR, PASSWORD};
use super::judge::{Claim, Figures, Judged};
use crate::api::Status;
use crate::api::cdr_view::CdrView;
use crate::api::page::Page;
use crate::audit::report::Report;
use crate::cli::client::Server;
use crate::config::types::Secret;

/// The name of the drill.
pub(super) const NAME: &str = "rolling-upgrade";

/// Long calls at each node.
const LONG: usize = 4;

/// What is heard before the first node is drained, and after the last one is back.
const BASELINE: Duration = Duration::from_secs(2);

/// The longest silence in a long call. A hand-over takes a tenth of a second.
const GAP_MAX: Duration = Duration::from_millis(2_500);

/// How long a node may take to end when nothing is left on it.
const END_WITHIN: Duration = Duration::from_secs(20);

/// How long the cluster may take to write the new version once all nodes read it.
const AGREED_WITHIN: Duration = Duration::from_secs(10);

/// How long the nodes may take to be at one command, and the records to be everywhere.
const QUIET_WITHIN: Duration = Duration::from_secs(45);

/// Between two questions.
const LOOK: Duration = Duration::from_millis(100);

/// Pages of records that are read. Past them there are more records than there were calls.
const PAGES_MAX: usize = 20;

/// What came to light.
#[derive(Debug)]
struct Evidence {
    played: Played,
    /// The agreed version before, and at each node after.
    before: u8,
    after: Vec<u8>,
    /// How long each node took from its drain until it was back.
    took: Vec<(usize, Duration)>,
    audits: Vec<Report>,
    /// The records of each node by the caller's number.
    records: Vec<BTreeMap<String, usize>>,
}

/// Plays the drill in `folder`, with `other` as the build that follows, and judges it.
pub(super) async fn play(
    round: usize,
    (other, addresses): (&Path, Addresses),
    folder: &Path,
) -> anyhow::Result<Judged> {
    let mut cluster = Cluster::begin(&Cast::default(), addresses, folder).await?;
    let before = agreed(&cluster, 0).await?;
    let nodes = (0..NODES).map(|node| cluster.sip(node)).collect();
    let load = Load::start(addresses.callers(), nodes, LONG * NODES)?;
    sleep(BASELINE).await;
    let leader = cluster.leader().await?;
    let mut took = Vec::new();
    // The leader last, so that the leadership moves once.
    for step in 1..=NODES {
        let node = (leader + step) % NODES;
        let begun = Instant::now();
        upgrade(&mut cluster, node, other).await?;
        took.push((node, begun.elapsed()));
    }
    let after = agree(&cluster, before).await?;
    sleep(BASELINE).await;
    let played = tokio::task::spawn_blocking(move || load.stop()).await??;
    let audits = audits(&cluster).await?;
    let mut records = Vec::new();
    for node in 0..NODES {
        records.push(records_of(&cluster, node, played.calls.len()).await?);
    }
    Ok(judge(round, &Evidence { played, before, after, took, audits, records }))
}

/// Drains a node by `tandem ctl`, stops it, and starts it with the other build.
async fn upgrade(cluster: &mut Cluster, node: usize, other: &Path) -> anyhow::Result<()> {
    let server = cluster.base((node + 1) % NODES);
    let drain = tokio::process::Command::new(std::env::current_exe()?)
        .args(["ctl", "--server", &server, "--user", ADMINISTRATOR, "drain"])
        .arg((node + 1).to_string())
        .env("TANDEM_PASSWORD", PASSWORD)
        .stdin(std::process::Stdio::null())
        .output()
        .await?;
    if !drain.status.success() {
        bail!("node {} is not drained: {}", node + 1, String::from_utf8_lossy(&drain.stderr));
    }
    cluster.signal(node, Signal::TERM)?;
    let deadline = Instant::now() + END_WITHIN;
    while !cluster.has_ended(node)? {
        if Instant::now() > deadline {
            bail!("node {} did not end", node + 1);
        }
        sleep(LOOK / 4).await;
    }
    cluster.restart_as(node, other)?;
    cluster.wait_ready(node).await
}

async fn operator(cluster: &Cluster, node: usize) -> anyhow::Result<Server> {
    let mut server = Server::new(&cluster.base(node))?;
    server.log_in(ADMINISTRATOR, &Secret::new(PASSWORD)).await?;
    Ok(server)
}

async fn agreed(cluster: &Cluster, node: usize) -> anyhow::Result<u8> {
    let status: Status = operator(cluster, node).await?.get("/api/v1/status?linear=false").await?;
    Ok(status.agreed)
}

/// What each node writes, when it is more than before or after a while.
async fn agree(cluster: &Cluster, before: u8) -> anyhow::Result<Vec<u8>> {
    let deadline = Instant::now() + AGREED_WITHIN;
    loop {
        let mut all = Vec::new();
        for node in 0..NODES {
            all.push(agreed(cluster, node).await?);
        }
        if all.iter().all(|version| *version > before) || Instant::now() > deadline {
            return Ok(all);
        }
        sleep(LOOK).await;
    }
}

/// What each node finds of itself, all at the same command if they come to rest.
async fn audits(cluster: &Cluster) -> anyhow::Result<Vec<Report>> {
    let deadline = Instant::now() + QUIET_WITHIN;
    loop {
        let mut all = Vec::new();
        for node in 0..NODES {
            let server = operator(cluster, node).await?;
            all.push(server.get_patiently::<Report>("/api/v1/audit").await?);
        }
        let is_one = all.windows(2).all(|pair| pair[0].index == pair[1].index);
        if is_one || Instant::now() > deadline {
            return Ok(all);
        }
        sleep(LOOK * 5).await;
    }
}

async fn records_of(
    cluster: &Cluster,
    node: usize,
    calls: usize,
) -> anyhow::Result<BTreeMap<String, usize>> {
    let server = operator(cluster, node).await?;
    let deadline = Instant::now() + QUIET_WITHIN;
    loop {
        let mut found = BTreeMap::new();
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let path = format!("/api/v1/cdrs?limit=1000{after}");
            let page: Page<CdrView> = server.get(&path).await.context("the records")?;
            for record in page.items {
                *found.entry(record.from.number.clone()).or_default() += 1;
            }
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        if found.len() >= calls || Instant::now() > deadline {
            return Ok(found);
        }
        sleep(LOOK).await;
    }
}

fn judge(round: usize, evidence: &Evidence) -> Judged {
    let calls = &evidence.played.calls;
    let gaps = Figures::of(calls.iter().filter(|call| call.is_long).map(longest_gap));
    let setup = Figures::of(calls.iter().filter_map(|call| Some(call.answered? - call.begun)));
    let lost: Vec<String> = calls.iter().filter_map(loss).collect();
    let late = evidence.played.late.as_millis();
    let long: Vec<String> = calls
        .iter()
        .filter(|call| call.is_long && longest_gap(call) > GAP_MAX)
        .map(|call| format!("{}: {} ms", title(call), longest_gap(call).as_millis()))
        .collect();
    let claims = vec![
        Claim::against("no INVITE is refused or unanswered, and no call is lost", lost.clone())
            .with_figures(format!(
                "{} calls, {} of them throughout; from INVITE to 200 p50/p99/max {} ms",
                calls.len(),
                calls.iter().filter(|call| call.is_long).count(),
                setup.words()
            )),
        Claim::against(
            format!("audio is missing for {} ms at most", GAP_MAX.as_millis()),
            long,
        )
        .with_figures(format!(
            "longest gap of each long call, p50/p99/max {} ms; the drill itself was late by {late} ms \
             at most",
            gaps.words()
        )),
        records_claim(evidence),
        version_claim(evidence),
        state_claim(evidence),
    ];
    Judged {
        drill: NAME,
        round,
        calls: calls.len(),
        lost: lost.len(),
        gaps,
        decisions: setup,
        claims,
        played: None,
    }
}

fn title(call: &Call) -> String {
    format!("call {} to node {}", call.number, call.node + 1)
}

fn loss(call: &Call) -> Option<String> {
    let why = call.losses.first().cloned();
    let why = why.or_else(|| call.answered.is_none().then(|| "it was never answered".to_owned()));
    why.map(|why| format!("{}: {why}", title(call)))
}

/// Between answer and end, the longest time without hearing oneself.
fn longest_gap(call: &Call) -> Duration {
    let (Some(from), Some(to)) = (call.answered, call.ended) else { return Duration::MAX };
    let mut last = from;
    let mut longest = Duration::ZERO;
    for at in call.heard.iter().copied().filter(|at| *at > from && *at < to).chain([to]) {
        longest = longest.max(at - last);
        last = at;
    }
    longest
}

fn records_claim(evidence: &Evidence) -> Claim {
    let mut against = Vec::new();
    for (node, records) in evidence.records.iter().enumerate() {
        for call in &evidence.played.calls {
            let count = records.get(&call.number).copied().unwrap_or(0);
            if count != 1 {
                against.push(format!("{}: {count} records on node {}", title(call), node + 1));
            }
        }
        if records.len() > evidence.played.calls.len() {
            against.push(format!("node {} has records of calls that nobody made", node + 1));
        }
    }
    Claim::against("each call has one record on every node", against)
}

fn version_claim(evidence: &Evidence) -> Claim {
    let wanted = evidence.before + 1;
    let after = evidence.after.iter().enumerate().filter(|(_, version)| **version != wanted);
    let words = |(node, version): (usize, &u8)| format!("node {} writes {version}", node + 1);
    let took: Vec<String> = evidence
        .took
        .iter()
        .map(|(node, took)| format!("node {} in {} ms", node + 1, took.as_millis()))
        .collect();
    Claim::against(
        format!(
            "version {} is written until all nodes are upgraded, then {wanted}",
            evidence.before
        ),
        after.map(words).collect(),
    )
    .with_figures(format!("upgraded: {}", took.join(", ")))
}

fn state_claim(evidence: &Evidence) -> Claim {
    let text = "the nodes hold the same state, and their audits find no call lost or double";
    let mut against = Vec::new();
    for report in &evidence.audits {
        let (node, index, hash) = (report.node, report.index, &report.state_hash);
        if !report.good {
            let first = report.findings.first().map(|finding| finding.what.as_str());
            against.push(format!("node {node}: {}", first.unwrap_or("not good")));
        }
        let first = &evidence.audits[0];
        if (index, hash) != (first.index, &first.state_hash) {
            let there = (first.node, first.index, &first.state_hash);
            against.push(format!("node {node} has {hash} at {index}, and {there:?}"));
        }
    }
    let first = evidence.audits.first();
    let figures = first.map(|first| format!("{} at command {}", first.state_hash, first.index));
    Claim::against(text, against).with_figures(figures.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::judge::Verdict;

    fn evidence(heard_ms: &[u64], losses: &[&str], records: usize) -> Evidence {
        let begun = Instant::now();
        let after = |ms: u64| begun + Duration::from_millis(ms);
        let call = Call {
            number: "800000".to_owned(),
            node: 0,
            is_long: true,
            begun,
            answered: Some(after(100)),
            ended: Some(after(5_000)),
            over: Some(after(5_010)),
            losses: losses.iter().map(|why| (*why).to_owned()).collect(),
            heard: heard_ms.iter().map(|ms| after(*ms)).collect(),
        };
        let of_node = || BTreeMap::from([("800000".to_owned(), records)]);
        Evidence {
            played: Played { calls: vec![call], late: Duration::ZERO },
            before: 3,
            after: vec![4; NODES],
            took: Vec::new(),
            audits: vec![Report { good: true, ..Report::default() }; NODES],
            records: (0..NODES).map(|_| of_node()).collect(),
        }
    }

    fn verdicts(evidence: &Evidence) -> Vec<bool> {
        let judged = judge(1, evidence);
        judged.claims.iter().map(|claim| claim.verdict == Verdict::Passed).collect()
    }

    #[test]
    fn each_claim_can_fail() {
        let good = [1_000, 3_400, 4_900];
        assert_eq!(verdicts(&evidence(&good, &[], 1)), [true; 5]);
        assert_eq!(verdicts(&evidence(&[1_000, 3_600], &[], 1)), [true, false, true, true, true]);
        let refused = ["its INVITE was refused with 503"];
        assert_eq!(verdicts(&evidence(&good, &refused, 1)), [false, true, true, true, true]);
        assert_eq!(verdicts(&evidence(&good, &[], 2)), [true, true, false, true, true]);
        let mut stays = evidence(&good, &[], 1);
        stays.after[1] = 3;
        assert_eq!(verdicts(&stays), [true, true, true, false, true]);
        let mut differs = evidence(&good, &[], 1);
        differs.audits[2].state_hash = "other".to_owned();
        assert_eq!(verdicts(&differs), [true, true, true, true, false]);
    }

    #[test]
    fn silence_until_the_end_is_a_gap_and_so_is_a_call_without_an_end() {
        let of = |heard: &[u64]| longest_gap(&evidence(heard, &[], 1).played.calls[0]);
        assert_eq!(of(&[200, 1_000, 4_000]), Duration::from_secs(3));
        assert_eq!(of(&[200]), Duration::from_millis(4_800));
        let mut unended = evidence(&[200], &[], 1);
        unended.played.calls[0].ended = None;
        assert_eq!(longest_gap(&unended.played.calls[0]), Duration::MAX);
    }
}
