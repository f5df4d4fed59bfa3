//! What is not as it should be, as this node sees it now.
//!
//! Reads presence, the replicated state and the figures of other parts, and changes none of them.
//! How long something has to be so before it matters is the board's business.

use tandem_center::{Center, Home, NodeId};

use super::Kind;
use super::board::Condition;
use crate::node::{NoPlace, Node, unix_ms};

/// Entries by which a node may be behind: half a second's worth at 2,000 commits/s.
const LAG_ENTRIES_MAX: u64 = 1_000;

/// How far clocks may be apart. Time-outs are whole seconds.
const CLOCK_MS_MAX: u64 = 1_000;

/// How long syncing the log may take on average. A hundred times as long as on a good disk; a
/// call is answered after one or two.
const SYNC_SECONDS_MAX: f64 = 0.5;

/// For how many looks a failure counts: some seconds.
const FAILURE_LOOKS: u32 = 50;

/// Figures at the last look, for what is told by their change.
#[derive(Debug, Default)]
pub(super) struct Before {
    syncs: u64,
    sync_seconds: f64,
    recordings_failed: u64,
    failing: u32,
    why: String,
}

/// Everything that holds now.
pub(super) fn look(node: &Node, before: &mut Before) -> Vec<Condition> {
    let mut found = of_the_cluster(node);
    let own = |kind, detail: String| Condition { kind, about: None, detail, mark: None };
    if node.replica.status().role.leader.is_none() {
        found.push(own(Kind::NoLeader, "no node leads, as far as this one knows".into()));
    }
    if !node.lease.holds() {
        let ms = node.lease.lapsed().as_millis();
        found.push(own(Kind::LeaseLost, format!("this node has had no lease for {ms} ms")));
    }
    if node.stations.of(node.home.as_ref().map(|(home, _)| *home)).is_none() {
        let detail = "the service address of this node is not open here".into();
        found.push(own(Kind::AddressMissing, detail));
    }
    let ahead = node.replica.read_local(|machine| machine.clock().ahead_ms(unix_ms()));
    if let Some(ahead) = ahead.filter(|ahead| ahead.unsigned_abs() > CLOCK_MS_MAX) {
        let detail = format!("the clock is {ahead} ms ahead of the leader's");
        found.push(own(Kind::ClockOff, detail));
    }
    if node.has_no_room() {
        let free = node.metrics.disk_free_bytes.get() >> 20;
        found.push(own(Kind::DiskLow, format!("{free} MB are left on it")));
    }
    if let Some(why) = before.failure(node) {
        found.push(own(Kind::DiskFailing, why));
    }
    let (_, waiting) = node.recordings.copies();
    if waiting > 0 && node.config.cluster.member.len() > 1 {
        let detail = format!("{waiting} parts of recordings are on this node only");
        found.push(own(Kind::CopiesWaiting, detail));
    }
    let verdicts = node.prober.verdicts().into_iter();
    let unreached = verdicts.filter(|(_, reached)| *reached == Some(false));
    let unreached: Vec<String> = unreached.map(|(name, _)| name.to_string()).collect();
    if !unreached.is_empty() {
        let detail = format!("no answer to OPTIONS from {}", unreached.join(", "));
        found.push(own(Kind::TrunkUnreached, detail));
    }
    match node.admit() {
        Err(NoPlace::Overload) => {
            let ms = node.lag.get().as_millis();
            found.push(own(
                Kind::Overload,
                format!("new calls are refused; tasks run {ms} ms late"),
            ));
        }
        Err(place @ (NoPlace::Calls | NoPlace::Unacknowledged)) => {
            let detail = format!("new calls are refused: {}", place.reason());
            found.push(own(Kind::CallsFull, detail));
        }
        // They have alarms of their own, or are wanted.
        Err(NoPlace::Draining | NoPlace::DiskFull | NoPlace::CutOff) | Ok(()) => (),
    }
    found
}

fn of_the_cluster(node: &Node) -> Vec<Condition> {
    let (missed, status) = (node.replica.missed(), node.replica.status());
    let mut found = node.replica.read_local(|machine| {
        let center = machine.center();
        let members = &status.members;
        // Who was removed from the cluster is not missed, and its address stays where it is.
        let is_member =
            |node: NodeId| members.voters.contains(&node.0) || members.learners.contains(&node.0);
        let mut found = lost_nodes(center, is_member, |node| machine.lost_at(node));
        // A member that never had calls is not in the state, and is missed all the same. Of the
        // others the log says it in a moment, with the mark that all nodes see.
        for (id, ms) in missed {
            if center.node(NodeId(id)).is_none_or(|node| node.witness) {
                let detail = format!("node {id} has been silent for {ms} ms");
                found.push(Condition {
                    kind: Kind::NodeMissed,
                    about: Some(id),
                    detail,
                    mark: None,
                });
            }
        }
        found.extend(moved_homes(center, is_member));
        found
    });
    for peer in status.peers.iter().filter(|peer| status.role.leading && peer.recently_active) {
        let behind = status.commit.saturating_sub(peer.matched);
        if behind > LAG_ENTRIES_MAX {
            let detail = format!("node {} is {behind} entries behind", peer.node);
            let (kind, about) = (Kind::NodeLagging, Some(peer.node));
            found.push(Condition { kind, about, detail, mark: None });
        }
    }
    found
}

fn lost_nodes(
    center: &Center,
    is_member: impl Fn(NodeId) -> bool,
    lost_at: impl Fn(NodeId) -> Option<u64>,
) -> Vec<Condition> {
    let lost = center.nodes().filter(|(id, node)| !node.up && !node.witness && is_member(*id));
    let condition = |(id, _): (NodeId, _)| Condition {
        kind: Kind::NodeMissed,
        about: Some(id.0),
        detail: format!("node {id} is missed; others have its calls"),
        mark: lost_at(id),
    };
    lost.map(condition).collect()
}

fn moved_homes(
    center: &Center,
    is_member: impl Fn(NodeId) -> bool,
) -> impl Iterator<Item = Condition> {
    let is_moved = move |home: &Home| home.holder != home.natural && is_member(home.natural);
    let moved = center.homes().filter(move |(_, home)| is_moved(home));
    moved.map(|(_, home)| Condition {
        kind: Kind::TakenOver,
        about: Some(home.natural.0),
        detail: format!("the service address of node {} is at node {}", home.natural, home.holder),
        mark: Some(home.epoch.into()),
    })
}

impl Before {
    /// What fails on the disk, if anything did lately.
    fn failure(&mut self, node: &Node) -> Option<String> {
        let syncs = node.metrics.log_sync_seconds.get_sample_count();
        let seconds = node.metrics.log_sync_seconds.get_sample_sum();
        let failed = node.engine.stats().recordings_failed;
        let new = syncs.saturating_sub(self.syncs);
        let average = (seconds - self.sync_seconds) / new.max(1) as f64;
        if failed > self.recordings_failed {
            self.why = format!("{} recordings failed", failed - self.recordings_failed);
            self.failing = FAILURE_LOOKS;
        } else if self.syncs > 0 && new > 0 && average > SYNC_SECONDS_MAX {
            self.why = format!("syncing the log takes {:.0} ms", average * 1_000.0);
            self.failing = FAILURE_LOOKS;
        } else {
            self.failing = self.failing.saturating_sub(1);
        }
        (self.syncs, self.sync_seconds, self.recordings_failed) = (syncs, seconds, failed);
        (self.failing > 0).then(|| self.why.clone())
    }
}
