//! Every metric of the node, declared once, with its unit in its name.
//!
//! What happens is counted where it happens, through the fields of [`Metrics`]; what is (calls,
//! agents, queues) is set from the state when `/metrics` is asked for. Labels have few values,
//! all known beforehand or configured: never a number of a caller.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::alarms::Kind;

/// Buckets of durations of signalling and commits, in seconds: 1 ms to 10 s.
const LATENCY_BUCKETS: [f64; 13] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Buckets of durations that people feel, in seconds: 1 s to an hour.
const HUMAN_BUCKETS: [f64; 10] = [1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

/// Declares the metrics: the field, its kind, its name, its help and its labels.
macro_rules! metrics {
    ($($field:ident: $kind:ident, $name:literal, $help:literal $(, [$($label:literal),+])?;)*) => {
        /// The metrics of one node.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Metrics {
            /// All metrics at nothing.
            #[must_use]
            pub fn new() -> Self {
                let registry = Registry::new();
                $(
                    let $field = $kind::declare($name, $help, &[$($($label),+)?]);
                    registry
                        .register(Box::new($field.clone()))
                        .expect("a test registers all of them: no name stands twice");
                )*
                let metrics = Self { registry, $($field,)* };
                metrics.begin();
                metrics
            }

            /// The names of all metrics.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];
        }
    };
}

metrics! {
    calls_total: IntCounterVec, "tandem_calls_total",
        "Calls that began, by direction", ["direction"];
    calls_refused_total: IntCounterVec, "tandem_calls_refused_total",
        "INVITEs refused before they were calls, by reason", ["reason"];
    call_results_total: IntCounterVec, "tandem_call_results_total",
        "Calls that ended, by what they came to", ["result"];
    calls_active: IntGaugeVec, "tandem_calls_active",
        "Calls of the cluster by phase", ["phase"];
    calls_owned: IntGauge, "tandem_calls_owned",
        "Calls that this node drives";
    calls_ending: IntGauge, "tandem_calls_ending",
        "Calls of this node that are over, and of which somebody may still repeat a message";
    answer_seconds: Histogram, "tandem_answer_seconds",
        "From an INVITE to its 200, for calls answered without a person";
    talk_seconds: Histogram, "tandem_talk_seconds",
        "Length of conversations";
    sip_requests_total: IntCounterVec, "tandem_sip_requests_total",
        "SIP requests, by direction and method", ["direction", "method"];
    sip_responses_total: IntCounterVec, "tandem_sip_responses_total",
        "SIP responses, by direction and class of status", ["direction", "class"];
    sip_malformed_total: IntCounter, "tandem_sip_malformed_total",
        "Datagrams and streams that were no SIP";
    sip_dropped_total: IntCounter, "tandem_sip_dropped_total",
        "SIP messages that the system did not take";
    sip_registrations: IntGauge, "tandem_sip_registrations",
        "Agents with a registered phone, on all nodes";
    sip_connections: IntGauge, "tandem_sip_connections",
        "TCP connections";
    rtp_packets_total: IntCounterVec, "tandem_rtp_packets_total",
        "RTP packets, by direction", ["direction"];
    rtp_lost_total: IntCounter, "tandem_rtp_lost_total",
        "RTP packets that did not arrive";
    rtp_discarded_total: IntCounterVec, "tandem_rtp_discarded_total",
        "RTP packets that were not taken or not sent, by reason", ["reason"];
    media_ports_used: IntGauge, "tandem_media_ports_used",
        "Pairs of ports in use";
    media_ports_free: IntGauge, "tandem_media_ports_free",
        "Pairs of ports that are left";
    recordings_active: IntGauge, "tandem_recordings_active",
        "Recordings in progress";
    recorded_bytes_total: IntCounter, "tandem_recorded_bytes_total",
        "Bytes written to recordings";
    recording_failures_total: IntCounter, "tandem_recording_failures_total",
        "Recordings that could not be written";
    recording_sync_seconds: Gauge, "tandem_recording_sync_seconds",
        "How long it took lately to bring what was recorded to the disk";
    recording_copies_total: IntCounter, "tandem_recording_copies_total",
        "Parts of recordings that were copied to a second node";
    recording_parts_waiting: IntGauge, "tandem_recording_parts_waiting",
        "Complete parts of recordings that are on this node only";
    prompts_spoken_total: IntCounterVec, "tandem_prompts_spoken_total",
        "Prompts given as text, by where they came from", ["source"];
    ivr_http_requests_total: IntCounterVec, "tandem_ivr_http_requests_total",
        "Requests of flows to web services, by result", ["result"];
    trunk_calls: IntGaugeVec, "tandem_trunk_calls",
        "Calls on the trunk, by direction, of all nodes", ["trunk", "direction"];
    trunk_calls_begun: IntGaugeVec, "tandem_trunk_calls_begun",
        "Calls that began on the trunk since it was configured, by direction, of all nodes",
        ["trunk", "direction"];
    trunk_reached: IntGaugeVec, "tandem_trunk_reached",
        "1 if the trunk answers this node, 0 if it does not; of trunks that are asked", ["trunk"];
    trunk_probes_total: IntCounterVec, "tandem_trunk_probes_total",
        "Questions to the trunk (OPTIONS), by result", ["trunk", "result"];
    queue_waiting: IntGaugeVec, "tandem_queue_waiting",
        "Callers in the queue", ["queue"];
    queue_longest_wait_seconds: GaugeVec, "tandem_queue_longest_wait_seconds",
        "How long the first caller has been waiting", ["queue"];
    queue_ready_agents: IntGaugeVec, "tandem_queue_ready_agents",
        "Agents whom the queue could offer a call", ["queue"];
    queue_expected_wait_seconds: GaugeVec, "tandem_queue_expected_wait_seconds",
        "How long a caller who enters now behind all others is expected to wait", ["queue"];
    queue_entered: IntGaugeVec, "tandem_queue_entered",
        "Calls that entered the queue since it was configured", ["queue"];
    queue_answered: IntGaugeVec, "tandem_queue_answered",
        "Calls of the queue that an agent answered", ["queue"];
    queue_abandoned: IntGaugeVec, "tandem_queue_abandoned",
        "Callers who left the queue", ["queue"];
    queue_overflowed: IntGaugeVec, "tandem_queue_overflowed",
        "Calls that the queue sent on or let go", ["queue"];
    queue_wait_seconds: HistogramVec, "tandem_queue_wait_seconds",
        "How long callers waited, by queue", ["queue"];
    agents: IntGaugeVec, "tandem_agents",
        "Agents by state", ["state"];
    sessions: IntGauge, "tandem_sessions",
        "Desks signed in, on all nodes";
    cti_connections: IntGauge, "tandem_cti_connections",
        "WebSocket clients of this node";
    cti_commands_total: IntCounterVec, "tandem_cti_commands_total",
        "Commands of clients, by result", ["result"];
    cti_events_total: IntCounter, "tandem_cti_events_total",
        "Events sent to clients";
    cti_closed_total: IntCounterVec, "tandem_cti_closed_total",
        "WebSocket clients that ended, by reason", ["reason"];
    logins_total: IntCounterVec, "tandem_logins_total",
        "Log-ins, by result", ["result"];
    http_requests_total: IntCounterVec, "tandem_http_requests_total",
        "HTTP requests, by route and status", ["route", "status"];
    http_seconds: HistogramVec, "tandem_http_seconds",
        "Duration of HTTP requests, by route", ["route"];
    raft_leader: IntGauge, "tandem_raft_leader",
        "1 if this node leads";
    raft_has_leader: IntGauge, "tandem_raft_has_leader",
        "1 if a leader is known here";
    raft_term: IntGauge, "tandem_raft_term",
        "The Raft term";
    raft_committed_index: IntGauge, "tandem_raft_committed_index",
        "The last index known to be committed";
    raft_applied_index: IntGauge, "tandem_raft_applied_index",
        "The last index applied";
    raft_leader_changes_total: IntCounter, "tandem_raft_leader_changes_total",
        "Times that this node learnt of another leader, or of none";
    leases_total: IntCounter, "tandem_leases_total",
        "Leases that began at this node: more than one is a gap between them";
    lease_held: IntGauge, "tandem_lease_held",
        "1 if this node may act for its calls";
    beat_gap_seconds: Histogram, "tandem_beat_gap_seconds",
        "Between two beats of another node: it is missed after 1.1 s";
    nodes_missed_total: IntCounter, "tandem_nodes_missed_total",
        "Times that the cluster missed a node, as applied here";
    takeovers_total: IntCounter, "tandem_takeovers_total",
        "Calls that came to this node from another one";
    service_addresses_held: IntGauge, "tandem_service_addresses_held",
        "Service addresses that this node serves";
    alarm: IntGaugeVec, "tandem_alarm",
        "Alarms that stand at this node, by name", ["name"];
    webhook_total: IntCounterVec, "tandem_webhook_total",
        "Messages to the webhook of alarms, by result", ["result"];
    raft_members_reachable: IntGauge, "tandem_raft_members_reachable",
        "Members that this node hears from, itself too";
    raft_members: IntGauge, "tandem_raft_members",
        "Members of the cluster";
    proposals_total: IntCounterVec, "tandem_proposals_total",
        "Commands proposed, by result", ["result"];
    proposals_waiting: IntGauge, "tandem_proposals_waiting",
        "Commands that wait to be applied";
    commit_seconds: Histogram, "tandem_commit_seconds",
        "From proposing a command to having applied it";
    log_sync_seconds: Histogram, "tandem_log_sync_seconds",
        "Duration of writing the log to the disk";
    snapshots_total: IntCounterVec, "tandem_snapshots_total",
        "Snapshots, by whether they were written or not, sent or installed", ["kind"];
    shared_active: IntGauge, "tandem_shared_active",
        "1 if this machine holds the shared directory";
    shared_generation: IntGauge, "tandem_shared_generation",
        "The generation of the shared directory: it rises with every takeover";
    shared_silence_seconds: Gauge, "tandem_shared_silence_seconds",
        "How long the standby has seen no heartbeat of the holder";
    shared_heartbeat_seconds: Gauge, "tandem_shared_heartbeat_seconds",
        "How long the last heartbeat took until it was on the shared disk";
    shared_takeovers_total: IntCounter, "tandem_shared_takeovers_total",
        "Times that this machine took the shared directory from the other one";
    shared_fencings_total: IntCounterVec, "tandem_shared_fencings_total",
        "Fencing commands, by result: nothing is taken over after one that failed", ["result"];
    task_delay_seconds: Gauge, "tandem_task_delay_seconds",
        "How late tasks run: past 0.15 s calls are refused";
    actor_restarts_total: IntCounterVec, "tandem_actor_restarts_total",
        "Actors started again after a panic", ["actor"];
    invariant_violations_total: IntCounter, "tandem_invariant_violations_total",
        "Times that the state contradicted itself: wake somebody";
    disk_free_bytes: IntGauge, "tandem_disk_free_bytes",
        "Space left for the data directory";
    resident_bytes: IntGauge, "tandem_resident_bytes",
        "Memory of the process";
    cpu_seconds: Gauge, "tandem_cpu_seconds",
        "Processor time that the process has used";
    threads: IntGauge, "tandem_threads",
        "Threads of the process";
    start_time_seconds: Gauge, "tandem_start_time_seconds",
        "When the node started, Unix time";
    build_info: IntGaugeVec, "tandem_build_info",
        "1, with the version", ["version"];
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counts a SIP response.
    pub fn count_response(&self, direction: &str, status: u16) {
        let class = match status {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500..600 => "5xx",
            600.. => "6xx",
        };
        self.sip_responses_total.with_label_values(&[direction, class]).inc();
    }

    /// Counts a SIP message that we send, by its first line.
    pub fn count_sent(&self, message: &[u8]) {
        if let Some(rest) = message.strip_prefix(b"SIP/2.0 ") {
            let digit = |byte: &u8| u16::from(byte.wrapping_sub(b'0').min(9));
            let status = rest.iter().take(3).fold(0, |status, byte| status * 10 + digit(byte));
            return self.count_response("out", status);
        }
        // We make up no methods of our own: there are as many labels as we send kinds.
        let method = message.split(|byte| *byte == b' ').next().unwrap_or_default();
        let method = std::str::from_utf8(method).unwrap_or("other");
        self.sip_requests_total.with_label_values(&["out", method]).inc();
    }

    /// What `/metrics` answers, in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.measure_process();
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("a vector takes all bytes and every metric has a name");
        text
    }

    /// What never changes, and a 0 for every counter whose labels are known beforehand: a rate can
    /// only be told of a series that was there before its first event.
    fn begin(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.start_time_seconds.set(now.as_secs_f64());
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let known: &[(&IntCounterVec, &[&str])] = &[
            (&self.calls_total, &["inbound", "outbound"]),
            (
                &self.calls_refused_total,
                &["calls_max", "unacknowledged", "overload", "draining", "disk_full"],
            ),
            (&self.proposals_total, &["applied", "refused", "unknown"]),
            (&self.snapshots_total, &["written", "failed", "sent", "installed"]),
            (&self.rtp_packets_total, &["in", "out"]),
            (&self.rtp_discarded_total, &["stray", "malformed", "unsent"]),
            (&self.prompts_spoken_total, &["disk", "engine"]),
            (&self.ivr_http_requests_total, &["ok", "failed"]),
            (&self.cti_commands_total, &["done"]),
            (&self.logins_total, &["done"]),
            (&self.shared_fencings_total, &["done", "failed"]),
            (&self.cti_closed_total, &["gone"]),
            (&self.actor_restarts_total, &ACTORS),
            (&self.webhook_total, &["sent", "repeated", "failed", "dropped"]),
        ];
        for kind in Kind::ALL {
            self.alarm.with_label_values(&[kind.facts().name]).set(0);
        }
        for (counter, labels) in known {
            for label in *labels {
                drop(counter.with_label_values(&[label]));
            }
        }
    }

    /// Reads what the kernel knows of this process (proc(5)).
    fn measure_process(&self) {
        // The second field, the name, may hold spaces; after it the state is field 3.
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let field =
            |number: usize| fields.get(number - 3).and_then(|text| text.parse::<i64>().ok());
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            self.cpu_seconds.set((user + system) as f64 / CLOCK_TICKS_PER_SECOND);
        }
        if let Some(threads) = field(20) {
            self.threads.set(threads);
        }
        if let Some(pages) = field(24) {
            self.resident_bytes.set(pages * PAGE_BYTES);
        }
    }
}

/// The kinds of actors, as labels.
const ACTORS: [&str; 7] =
    ["replica", "sip_transport", "registrar", "call", "queue", "agent", "media_port"];

/// USER_HZ, which is 100 on every architecture that Linux exports it on (time(7)).
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;

/// The page of x86-64 and of most 64-bit ARM kernels.
const PAGE_BYTES: i64 = 4096;

/// How a kind of metric is made from its declaration.
trait Declare: Sized {
    fn declare(name: &str, help: &str, labels: &[&str]) -> Self;
}

const VALID: &str = "a test makes all of them: names and labels are valid";

macro_rules! declare {
    ($($kind:ty => |$name:ident, $help:ident, $labels:ident| $make:expr;)*) => {
        $(impl Declare for $kind {
            fn declare($name: &str, $help: &str, $labels: &[&str]) -> Self {
                $make.expect(VALID)
            }
        })*
    };
}

declare! {
    IntCounter => |name, help, _labels| IntCounter::new(name, help);
    IntGauge => |name, help, _labels| IntGauge::new(name, help);
    Gauge => |name, help, _labels| Gauge::new(name, help);
    Histogram => |name, help, _labels| Histogram::with_opts(histogram(name, help));
    IntCounterVec => |name, help, labels| IntCounterVec::new(Opts::new(name, help), labels);
    IntGaugeVec => |name, help, labels| IntGaugeVec::new(Opts::new(name, help), labels);
    GaugeVec => |name, help, labels| GaugeVec::new(Opts::new(name, help), labels);
    HistogramVec => |name, help, labels| HistogramVec::new(histogram(name, help), labels);
}

/// Buckets of gaps between beats, in seconds: of one beat's time, and up to the loss.
const BEAT_BUCKETS: [f64; 7] = [0.06, 0.1, 0.2, 0.4, 0.75, 1.1, 2.0];

fn histogram(name: &str, help: &str) -> HistogramOpts {
    let of_people = ["tandem_queue_wait_seconds", "tandem_talk_seconds"].contains(&name);
    let buckets: &[f64] = match name {
        "tandem_beat_gap_seconds" => &BEAT_BUCKETS,
        _ if of_people => &HUMAN_BUCKETS,
        _ => &LATENCY_BUCKETS,
    };
    HistogramOpts::new(name, help).buckets(buckets.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_declared_once_with_a_name_that_says_its_kind() {
        let metrics = Metrics::new(); // Registering a name twice panics.
        for name in Metrics::NAMES {
            assert!(name.starts_with("tandem_"), "{name}");
        }
        for family in metrics.registry.gather() {
            let is_counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(family.name().ends_with("_total"), is_counter, "{}", family.name());
        }
    }

    #[test]
    fn the_process_is_measured() {
        let metrics = Metrics::new();
        metrics.calls_total.with_label_values(&["inbound"]).inc();
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("tandem_calls_total{direction=\"inbound\"} 1\n"), "{text}");
        assert!(metrics.resident_bytes.get() > 1_000_000, "{}", metrics.resident_bytes.get());
        assert!(metrics.threads.get() >= 1);
    }
}
