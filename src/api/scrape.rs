//! What is, for `/metrics` and `/status`: counted from the state when it is asked for.

use std::collections::BTreeMap;

use tandem_center::{Center, Millis, NodeId};

use super::backend::Cluster;
use super::words::{Phase, State, word};
use crate::metrics::Metrics;

/// The state in numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: BTreeMap<Phase, usize>,
    pub(super) agents: BTreeMap<State, usize>,
    pub(super) queues: Vec<QueueCounts>,
    /// Calls that are on each trunk, and that began there: in and out.
    trunks: Vec<(String, [u64; 2], [u64; 2])>,
    pub(super) sessions: usize,
    registrations: usize,
}

#[derive(Clone, Debug)]
pub(super) struct QueueCounts {
    id: String,
    pub(super) waiting: usize,
    first_since: Option<Millis>,
    ready: usize,
    expected_wait_ms: Option<u64>,
    totals: [u64; 4],
}

/// Every phase and state, so that those without a call or agent are shown as 0.
const PHASES: [Phase; 11] = [
    Phase::Arriving,
    Phase::Ivr,
    Phase::Queued,
    Phase::Offered,
    Phase::Dialing,
    Phase::Bridged,
    Phase::Consulting,
    Phase::Conference,
    Phase::Echo,
    Phase::Parked,
    Phase::Ended,
];

const STATES: [State; 8] = [
    State::LoggedOut,
    State::NotReady,
    State::Ready,
    State::Reserved,
    State::Ringing,
    State::Talking,
    State::Held,
    State::WrapUp,
];

impl Counts {
    /// Counts everything: linear in calls and agents, about 10 ns each.
    pub(super) fn of(center: &Center) -> Self {
        let mut counts = Self {
            calls: PHASES.map(|phase| (phase, 0)).into(),
            agents: STATES.map(|state| (state, 0)).into(),
            queues: Vec::new(),
            trunks: center.directory().trunks.keys().map(|name| trunk(center, name)).collect(),
            sessions: center.sessions().count(),
            registrations: center.registrations().len(),
        };
        for call in center.calls() {
            *counts.calls.entry(Phase::from(&call.phase)).or_default() += 1;
        }
        for agent in center.agents() {
            *counts.agents.entry(State::from(&agent.state)).or_default() += 1;
        }
        counts.queues = center
            .queues()
            .map(|queue| QueueCounts {
                id: queue.id.to_string(),
                waiting: queue.length(),
                first_since: queue.first_since(),
                ready: queue.ready_count(),
                expected_wait_ms: queue.wait_of_next_ms(),
                totals: [
                    queue.totals.entered,
                    queue.totals.answered,
                    queue.totals.abandoned,
                    queue.totals.overflowed,
                ],
            })
            .collect();
        counts
    }

    /// Sets the gauges.
    pub(super) fn show(&self, metrics: &Metrics, now: Millis) {
        for (phase, count) in &self.calls {
            metrics.calls_active.with_label_values(&[&word(phase)]).set(*count as i64);
        }
        for (state, count) in &self.agents {
            metrics.agents.with_label_values(&[&word(state)]).set(*count as i64);
        }
        metrics.sessions.set(self.sessions as i64);
        metrics.sip_registrations.set(self.registrations as i64);
        // A queue or trunk that is not configured any more disappears.
        metrics.trunk_calls.reset();
        for (name, carried, begun) in &self.trunks {
            for (at, direction) in ["in", "out"].into_iter().enumerate() {
                let label = [name.as_str(), direction];
                metrics.trunk_calls.with_label_values(&label).set(carried[at] as i64);
                metrics.trunk_calls_begun.with_label_values(&label).set(begun[at] as i64);
            }
        }
        metrics.queue_waiting.reset();
        metrics.queue_longest_wait_seconds.reset();
        metrics.queue_ready_agents.reset();
        metrics.queue_expected_wait_seconds.reset();
        for queue in &self.queues {
            queue.show(metrics, now);
        }
    }
}

impl QueueCounts {
    fn show(&self, metrics: &Metrics, now: Millis) {
        let label = [self.id.as_str()];
        metrics.queue_waiting.with_label_values(&label).set(self.waiting as i64);
        let wait = self.first_since.map_or(0, |since| now.since_ms(since));
        metrics.queue_longest_wait_seconds.with_label_values(&label).set(wait as f64 / 1000.0);
        metrics.queue_ready_agents.with_label_values(&label).set(self.ready as i64);
        if let Some(ms) = self.expected_wait_ms {
            let expected = &metrics.queue_expected_wait_seconds;
            expected.with_label_values(&label).set(ms as f64 / 1000.0);
        }
        let totals = [
            &metrics.queue_entered,
            &metrics.queue_answered,
            &metrics.queue_abandoned,
            &metrics.queue_overflowed,
        ];
        for (metric, total) in totals.iter().zip(self.totals) {
            metric.with_label_values(&label).set(total as i64);
        }
    }
}

fn trunk(center: &Center, name: &str) -> (String, [u64; 2], [u64; 2]) {
    let calls = center.trunk_calls(name);
    let begun = center.trunk(name).map(|trunk| [trunk.came.begun, trunk.went.begun]);
    let carried = [calls.incoming.into(), calls.outgoing.into()];
    (name.to_owned(), carried, begun.unwrap_or_default())
}

/// Sets the gauges of the cluster.
pub(super) fn show_cluster(metrics: &Metrics, cluster: &Cluster, node: NodeId) {
    metrics.raft_leader.set((cluster.leader == Some(node)).into());
    metrics.raft_has_leader.set(cluster.leader.is_some().into());
    metrics.raft_term.set(cluster.term as i64);
    metrics.raft_committed_index.set(cluster.committed as i64);
    metrics.raft_applied_index.set(cluster.applied as i64);
    metrics.raft_members.set(cluster.members.len() as i64);
    let reachable = cluster.members.iter().filter(|member| member.reachable).count();
    metrics.raft_members_reachable.set(reachable as i64);
}
