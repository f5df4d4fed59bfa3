//! Shared storage: this process takes the directory that two machines see, or stands by.
//!
//! Owns the threads, clocks, files and commands around [`tandem_cluster::shared`]. Read
//! [`settings`], `standby` (waiting for the directory), `holder` (holding it, and ending when it
//! cannot be held), `renewal` (what keeps a former holder's writes from being read). Decides
//! neither when to take over nor when to end: the machines do.

mod fence;
mod holder;
mod renewal;
pub mod settings;
mod standby;
mod web;

use std::sync::{Arc, Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};
use tandem_cluster::shared::Moment;
use tandem_cluster::shared::active::Active;

pub use holder::Holder;
pub use standby::take;

/// Whether this process may write into its data directory. Cheap to ask before every write.
#[derive(Clone, Debug)]
pub struct DirectoryLease(Option<Arc<Mutex<Active>>>);

impl DirectoryLease {
    /// Of a directory that nobody else uses.
    #[must_use]
    pub fn alone() -> Self {
        Self(None)
    }

    /// Whether it holds now. Once it does not, it never does again.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|active| lock(active).holds(moment()))
    }
}

fn lock(active: &Mutex<Active>) -> std::sync::MutexGuard<'_, Active> {
    // No code that holds the lock panics half-way through a change.
    active.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This machine's clock, which goes on while a process is stopped or the machine is suspended.
fn moment() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    let millis = now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000);
    Moment::try_from(millis).unwrap_or(0)
}
