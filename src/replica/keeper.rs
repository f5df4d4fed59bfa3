//! The keeper: a thread that writes what may be written later than the log.
//!
//! Owns the cache, the records and the snapshot files. Each job is whole when the next begins:
//! records first, then the cache, so that the cache is never ahead of the records; and a snapshot
//! is reported only when it and all records up to it are synced, since the log is compacted
//! behind it then.
//!
//! Goes on without a cache and without a new snapshot, since the log has what they lack; never
//! without the records, nor after a panic.

use super::config::Fatal;
use super::run_or_fail;
use super::thread::LEASE_OVER;
use crate::shared::DirectoryLease;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tandem_cluster::cache::{Cache, Change, Mark};
use tandem_cluster::log::Purger;
use tandem_cluster::records::{Records, Rows};
use tandem_cluster::snapshot::SnapshotFiles;
use tandem_cluster::store::StoreError;
use tandem_cluster::{Index, Snapshot};

/// Jobs that wait. The Raft thread gives the next changes only when none is left, so that few
/// are needed; past it the Raft thread waits.
const JOBS_MAX: usize = 8;

/// What the keeper is asked to do.
pub(super) enum Job {
    /// Write what changed up to the mark.
    Keep { changes: Vec<Change>, rows: Vec<Rows>, mark: Mark },
    /// Make a snapshot durable.
    Snapshot { snapshot: Snapshot, state: Vec<u8> },
    /// The log was compacted: what only it needed may go.
    Compacted { snapshot: Index },
    /// The state was replaced by a snapshot from another node.
    Restored { snapshot: Index },
    /// Copy the records for another node; answers whether there are any.
    CopyRecords { to: PathBuf, done: SyncSender<Result<bool, String>> },
    /// End.
    Stop,
}

/// What came of a snapshot, for the Raft thread; `None` if it could not be written.
pub(super) type Done = Box<dyn Fn(Option<Snapshot>) + Send>;

/// What the keeper works with.
pub(super) struct Keeper {
    pub(super) cache: Option<Cache>,
    pub(super) records: Option<Records>,
    pub(super) files: SnapshotFiles,
    pub(super) purger: Purger,
    pub(super) fatal: Fatal,
    pub(super) directory: DirectoryLease,
}

/// The keeper, from the Raft thread.
pub(super) struct KeeperHandle {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread; `done` is called there with what came of each snapshot.
    pub(super) fn start(self, done: Done) -> std::io::Result<KeeperHandle> {
        let (jobs, receiver) = sync_channel(JOBS_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&waiting);
        let fatal = Arc::clone(&self.fatal);
        let run = move || run_or_fail("keeper", &fatal, || self.run(&receiver, &counted, &done));
        let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(run)?;
        Ok(KeeperHandle { jobs, waiting, thread })
    }

    fn run(
        mut self,
        jobs: &Receiver<Job>,
        waiting: &AtomicUsize,
        done: &Done,
    ) -> Result<(), String> {
        while let Ok(job) = jobs.recv() {
            if !self.directory.holds() {
                self.leave_cache();
                return Err(LEASE_OVER.to_owned());
            }
            match job {
                Job::Keep { changes, rows, mark } => self.keep(&changes, &rows, mark)?,
                Job::Snapshot { snapshot, state } => done(self.snapshot(snapshot, &state)?),
                Job::Compacted { snapshot } => self.compacted(snapshot)?,
                Job::Restored { snapshot } => self.restored(snapshot)?,
                Job::CopyRecords { to, done } => {
                    let copied = match &self.records {
                        Some(records) => records.copy_to(&to).map(|()| true),
                        None => Ok(false),
                    };
                    drop(done.send(copied.map_err(|error| error.to_string())));
                }
                Job::Stop => break,
            }
            waiting.fetch_sub(1, Ordering::Release);
        }
        if !self.directory.holds() {
            self.leave_cache();
        }
        if let Some(cache) = &self.cache
            && let Err(error) = cache.flush()
        {
            tracing::warn!(%error, "the cache was not flushed; the next start takes longer");
        }
        Ok(())
    }

    /// What sled has not written yet it would write when it is dropped, into a directory that is
    /// another machine's by now. The process ends next.
    fn leave_cache(&mut self) {
        std::mem::forget(self.cache.take());
    }

    fn keep(&mut self, changes: &[Change], rows: &[Rows], mark: Mark) -> Result<(), String> {
        if let Some(records) = &mut self.records {
            records.write(rows, mark.index).map_err(text)?;
        }
        if let Some(cache) = self.cache.take() {
            match cache.write(changes, mark) {
                Ok(()) => self.cache = Some(cache),
                Err(error) => {
                    // Nothing depends on it: the next start rebuilds the state from snapshot and
                    // log.
                    tracing::warn!(%error, "the cache cannot be written and is given up until a restart");
                    if let Err(error) = cache.remove() {
                        tracing::warn!(%error, "what the cache had cannot be removed");
                    }
                }
            }
        }
        Ok(())
    }

    /// The snapshot, once it is durable; `None` if it could not be written.
    fn snapshot(&mut self, snapshot: Snapshot, state: &[u8]) -> Result<Option<Snapshot>, String> {
        if let Some(records) = &mut self.records {
            records.sync().map_err(text)?;
        }
        match self.files.write(&snapshot, state) {
            Ok(()) => Ok(Some(snapshot)),
            Err(error) => {
                // The log is not compacted then, so that nothing is lost by going on.
                tracing::error!(%error, "a snapshot cannot be written; the log grows until it can");
                Ok(None)
            }
        }
    }

    fn compacted(&mut self, snapshot: Index) -> Result<(), String> {
        self.files.remove_before(snapshot).map_err(text)?;
        self.purger.purge().map_err(|error| error.to_string())
    }

    fn restored(&mut self, snapshot: Index) -> Result<(), String> {
        if let Some(records) = &mut self.records {
            take_in_records(records, &self.files, snapshot).map_err(text)?;
        }
        if let Some(cache) = self.cache.take() {
            let path = cache.path().to_owned();
            drop(cache);
            self.cache = Cache::wiped(&path)
                .map_err(|error| tracing::warn!(%error, "the cache cannot be wiped"))
                .ok();
        }
        self.files.remove_before(snapshot).map_err(text)
    }
}

/// Records that came with a snapshot replace ours, at once or after a crash in between.
pub(super) fn take_in_records(
    records: &mut Records,
    files: &SnapshotFiles,
    snapshot: Index,
) -> Result<(), StoreError> {
    let copy = files.records_path(snapshot);
    if copy.exists() {
        if Records::applied_at(&copy)? > records.applied() {
            records.replace_by(&copy)?;
        }
        files.remove_records(snapshot)?;
    }
    Ok(())
}

fn text(error: StoreError) -> String {
    error.to_string()
}

impl KeeperHandle {
    /// Whether all jobs are done.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Gives it a job; waits if it has too many.
    pub(super) fn give(&self, job: Job) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A keeper that is gone has called fatal.
        drop(self.jobs.send(job));
    }

    /// Lets others give it jobs.
    pub(super) fn jobs(&self) -> (SyncSender<Job>, Arc<AtomicUsize>) {
        (self.jobs.clone(), Arc::clone(&self.waiting))
    }

    /// Ends it after all jobs.
    pub(super) fn stop(self) {
        drop(self.jobs.send(Job::Stop));
        drop(self.thread.join());
    }
}
