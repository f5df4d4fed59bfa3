//! What is looked at rather than counted, for the metrics; and the CDRs, counted as they come.
//!
//! Owns the translation of other parts' figures into metrics, so that those parts do not know
//! of Prometheus.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus::IntCounter;
use tandem_center::Record;

use crate::node::Node;

/// How often the state is checked against its invariants. The check is linear in calls and agents
/// and holds up applying for as long: about a microsecond each.
const INVARIANTS_CHECKED_EVERY: Duration = Duration::from_secs(60);

/// One scrape at a time raises the counters.
static MEASURING: Mutex<()> = Mutex::new(());

impl Node {
    /// Sets the gauges that nobody else sets, and raises counters to what others have counted.
    pub fn measure(&self) {
        let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = &self.metrics;
        let ended = self.router.calls_ended();
        metrics.calls_owned.set(self.router.calls_active().saturating_sub(ended) as i64);
        metrics.calls_ending.set(ended as i64);
        metrics.task_delay_seconds.set(self.lag.get().as_secs_f64());
        metrics.lease_held.set(self.lease.holds().into());
        raise(&metrics.leases_total, self.replica.lease_number());
        metrics.service_addresses_held.set(self.stations.open_homes().len() as i64);
        metrics.proposals_waiting.set(self.replica.proposals_waiting() as i64);
        metrics.sip_connections.set(self.sockets.connections() as i64);
        raise(&metrics.sip_dropped_total, self.sockets.dropped());
        let [disk, engine] = self.prompts.spoken();
        raise(&metrics.prompts_spoken_total.with_label_values(&["disk"]), disk);
        raise(&metrics.prompts_spoken_total.with_label_values(&["engine"]), engine);
        self.measure_media();
    }

    fn measure_media(&self) {
        let (metrics, stats, media) = (&self.metrics, self.engine.stats(), &self.config.media);
        let first = u32::from(media.rtp_port_min.get()).next_multiple_of(2);
        let pairs = (u32::from(media.rtp_port_max.get()) + 1).saturating_sub(first) / 2;
        let used = stats.pairs_in_use as i64;
        metrics.media_ports_used.set(used);
        metrics.media_ports_free.set((i64::from(pairs) - used).max(0));
        raise(&metrics.rtp_packets_total.with_label_values(&["in"]), stats.packets_in);
        raise(&metrics.rtp_packets_total.with_label_values(&["out"]), stats.packets_out);
        raise(&metrics.rtp_lost_total, stats.lost);
        let discarded = &metrics.rtp_discarded_total;
        raise(&discarded.with_label_values(&["stray"]), stats.strays);
        raise(&discarded.with_label_values(&["malformed"]), stats.malformed);
        raise(&discarded.with_label_values(&["unsent"]), stats.unsent);
        metrics.recordings_active.set(stats.recordings as i64);
        raise(&metrics.recorded_bytes_total, stats.recorded_bytes);
        raise(&metrics.recording_failures_total, stats.recordings_failed);
        metrics.recording_sync_seconds.set(stats.recording_sync_micros as f64 / 1e6);
        let (copied, waiting) = self.recordings.copies();
        raise(&metrics.recording_copies_total, copied);
        metrics.recording_parts_waiting.set(waiting as i64);
    }

    /// Counts a call that ended, at the node that owned it: the others apply the same record.
    pub fn count_record(&self, record: &Record) {
        let Record::Cdr(cdr) = record else { return };
        if cdr.node != self.id {
            return;
        }
        self.metrics.call_results_total.with_label_values(&[cdr.result.name()]).inc();
        if cdr.talk_ms > 0 {
            self.metrics.talk_seconds.observe(seconds(cdr.talk_ms));
        }
        if let Some(queue) = &cdr.queue {
            let waits = &self.metrics.queue_wait_seconds;
            waits.with_label_values(&[&queue.to_string()]).observe(seconds(cdr.wait_ms));
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Brings a counter to a total that somebody else counts.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Looks now and then whether the state contradicts itself. A build for tests looks after every
/// command instead.
pub(crate) async fn watch_invariants(node: Weak<Node>) {
    loop {
        tokio::time::sleep(INVARIANTS_CHECKED_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let checked = node.replica.read_local(|machine| machine.center().check_invariants());
        if let Err(violation) = checked {
            node.metrics.invariant_violations_total.inc();
            tracing::error!(%violation, "the state contradicts itself");
        }
    }
}
