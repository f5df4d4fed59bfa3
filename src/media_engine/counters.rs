//! What the packet threads have done, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::EngineStats;

/// Shared by all threads; each adds what it did once a round.
#[derive(Debug, Default)]
pub(super) struct Counters {
    ports_open: AtomicU64,
    packets_in: AtomicU64,
    packets_out: AtomicU64,
    strays: AtomicU64,
    malformed: AtomicU64,
    unsent: AtomicU64,
    deaths: AtomicU64,
    lost: AtomicU64,
    recordings: AtomicU64,
    recorded_bytes: AtomicU64,
    recordings_failed: AtomicU64,
    recording_sync_micros: AtomicU64,
}

/// What a thread did in a round.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) strays: u64,
    pub(super) malformed: u64,
    pub(super) unsent: u64,
    pub(super) deaths: u64,
    pub(super) lost: u64,
}

impl Counters {
    pub(super) fn add(&self, round: &Round) {
        let add = |counter: &AtomicU64, value: u64| {
            if value > 0 {
                counter.fetch_add(value, Ordering::Relaxed);
            }
        };
        add(&self.ports_open, round.opened);
        if round.closed > 0 {
            self.ports_open.fetch_sub(round.closed, Ordering::Relaxed);
        }
        add(&self.packets_in, round.packets_in);
        add(&self.packets_out, round.packets_out);
        add(&self.strays, round.strays);
        add(&self.malformed, round.malformed);
        add(&self.unsent, round.unsent);
        add(&self.deaths, round.deaths);
        add(&self.lost, round.lost);
    }

    /// So many files are being written.
    pub(super) fn recordings(&self, open: usize) {
        self.recordings.store(open as u64, Ordering::Relaxed);
    }

    /// So much was written.
    pub(super) fn recorded(&self, bytes: usize) {
        self.recorded_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bringing what was recorded to the disk took so long.
    pub(super) fn recordings_synced(&self, within: Duration) {
        let micros = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        self.recording_sync_micros.store(micros, Ordering::Relaxed);
    }

    /// A file could not be written.
    pub(super) fn recording_failed(&self) {
        self.recordings_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> EngineStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineStats {
            ports_open: read(&self.ports_open),
            pairs_in_use: 0,
            packets_in: read(&self.packets_in),
            packets_out: read(&self.packets_out),
            strays: read(&self.strays),
            malformed: read(&self.malformed),
            unsent: read(&self.unsent),
            deaths: read(&self.deaths),
            lost: read(&self.lost),
            recordings: read(&self.recordings),
            recorded_bytes: read(&self.recorded_bytes),
            recordings_failed: read(&self.recordings_failed),
            recording_sync_micros: read(&self.recording_sync_micros),
        }
    }
}
