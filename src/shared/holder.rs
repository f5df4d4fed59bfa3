//! Holding the directory: a heartbeat on a thread of its own, and the end of this process when it
//! cannot be held.
//!
//! The process ends in three ways, each for when the one before it cannot act: a watchdog thread
//! that looks at the clock and says why; a timer of the kernel, which kills a process that is
//! frozen without asking it (SIGKILL reaches a stopped process, too); and the other machine's
//! fencing command. Nothing of this process is needed for the second, nothing of its kernel for
//! the third.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use tandem_cluster::shared::active::Active;
use tandem_cluster::shared::directory::Held;
use tandem_cluster::shared::lease::Lease;
use tandem_cluster::shared::{Moment, Timing};

use super::{DirectoryLease, lock, moment};
use crate::metrics::Metrics;

/// From the end of the lease until the kernel kills the process: time for the watchdog to say
/// why. Well below [`Timing::MARGIN_MS`].
const KERNEL_AFTER_MS: u64 = 150;

/// How often the watchdog looks at the clock.
const WATCH_EVERY: Duration = Duration::from_millis(20);

/// The holder of the directory, until it is released.
#[derive(Debug)]
pub struct Holder {
    lease: DirectoryLease,
    stop: SyncSender<()>,
    beats: JoinHandle<()>,
}

impl Holder {
    /// Begins to beat for what was claimed at `began`.
    pub(super) fn start(
        held: Held,
        block: Lease,
        (timing, began): (Timing, Moment),
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let active = Arc::new(Mutex::new(Active::new(timing, began)));
        let (stop, stopped) = sync_channel(1);
        let watched = Arc::clone(&active);
        std::thread::Builder::new().name("lease-watch".into()).spawn(move || watch(&watched))?;
        let every = Duration::from_millis(timing.heartbeat_ms);
        let lease = DirectoryLease(Some(Arc::clone(&active)));
        let beats = Beats { held, block, active, metrics };
        let beats = std::thread::Builder::new()
            .name("lease-beat".into())
            .spawn(move || beats.run(every, &stopped))?;
        Ok(Self { lease, stop, beats })
    }

    /// Whether this process may still write.
    #[must_use]
    pub fn lease(&self) -> DirectoryLease {
        self.lease.clone()
    }

    /// Gives the directory up, so that the other machine takes it at once. Nothing must be
    /// written any more, and this process must end: its lease runs out. Blocks on the disk.
    pub fn release(self) {
        // A thread that is gone has ended the process.
        let _gone = self.stop.send(());
        let _joined = self.beats.join();
    }
}

struct Beats {
    held: Held,
    block: Lease,
    active: Arc<Mutex<Active>>,
    metrics: Arc<Metrics>,
}

impl Beats {
    fn run(mut self, every: Duration, stopped: &Receiver<()>) {
        let mut timer = KernelTimer::new();
        timer.arm(lock(&self.active).until());
        let mut due = Instant::now() + every;
        loop {
            match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(()) => return self.release(),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            due = (due + every).max(Instant::now());
            self.beat(&mut timer);
        }
    }

    fn beat(&mut self, timer: &mut KernelTimer) {
        let (began, timed) = (moment(), Instant::now());
        if !lock(&self.active).holds(began) {
            return; // The watchdog ends the process.
        }
        self.block.counter += 1;
        // The file is this generation's, whatever its name is by now.
        let written = self.held.write(&self.block);
        match written.and_then(|()| self.held.is_held()) {
            Ok(true) => {
                let mut active = lock(&self.active);
                active.handle_written(began, moment());
                let until = active.until();
                drop(active);
                timer.arm(until);
                self.metrics.shared_heartbeat_seconds.set(timed.elapsed().as_secs_f64());
            }
            Ok(false) => {
                lock(&self.active).handle_lost();
                end("another machine has taken the directory");
            }
            Err(error) => tracing::error!(%error, "a heartbeat did not reach the shared disk"),
        }
    }

    fn release(mut self) {
        self.block.counter += 1;
        self.block.released = true;
        match self.held.write(&self.block) {
            Ok(()) => tracing::info!("the shared directory is given up"),
            Err(error) => tracing::warn!(%error, "the shared directory is not given up in order"),
        }
        self.metrics.shared_active.set(0);
    }
}

/// Ends the process when the lease is over.
fn watch(active: &Mutex<Active>) {
    loop {
        std::thread::sleep(WATCH_EVERY);
        if !lock(active).holds(moment()) {
            end("no heartbeat has reached the disk in time");
        }
    }
}

/// At once, so that no other thread writes meanwhile.
fn end(why: &str) {
    tracing::error!(
        why,
        "this machine does not hold the shared directory any more; the process ends"
    );
    std::process::abort();
}

/// A timer of the kernel that kills this process.
struct KernelTimer(Option<Timer>);

impl KernelTimer {
    fn new() -> Self {
        // The first process of a container cannot be killed from inside.
        if std::process::id() == 1 {
            tracing::warn!("as process 1 this one is not killed by a timer: run it under an init");
        }
        let how = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
        let timer = Timer::new(ClockId::CLOCK_BOOTTIME, SigEvent::new(how));
        let refused = |error| tracing::warn!(%error, "no timer ends this process if it freezes");
        Self(timer.map_err(refused).ok())
    }

    /// A lease that is over leaves it as it is.
    fn arm(&mut self, until: Moment) {
        let Some(timer) = self.0.as_mut().filter(|_| until > 0) else { return };
        let at = Duration::from_millis(until + KERNEL_AFTER_MS);
        let (once, absolute) =
            (Expiration::OneShot(at.into()), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        if let Err(error) = timer.set(once, absolute) {
            tracing::warn!(%error, "the timer that ends this process if it freezes is not set");
        }
    }
}
