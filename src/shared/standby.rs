//! Standing by: looks at the shared directory until this machine is to take it, and takes it.
//!
//! Owns the loop around [`Standby`]: looks on a thread that may block on the disk, the fencing
//! command beside them, and what is said of it. Everything that may hang leaves the process alive
//! and answering.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tandem_cluster::shared::Moment;
use tandem_cluster::shared::directory::{Held, SharedDirectory, SharedError};
use tandem_cluster::shared::lease::Lease;
use tandem_cluster::shared::standby::{Process, Seen, Standby, Step};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::fence::{FenceError, fence};
use super::holder::Holder;
use super::renewal::renew_data;
use super::{moment, web};
use crate::config::Config;
use crate::metrics::Metrics;

/// Takes the shared directory, now or when its holder is gone; the folder of the data, and what
/// holds it.
///
/// # Errors
/// The directory cannot be used.
pub async fn take(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<(PathBuf, Holder)> {
    let name = config.shared.name.as_ref().context("[shared] has no name")?.to_string();
    let directory = SharedDirectory::open(&config.node.data)?;
    let says = web::Says::default();
    let listen = config.http.listen;
    let server = web::serve(listen, says.clone(), Arc::clone(metrics))
        .with_context(|| format!("HTTP cannot listen on {listen}"))?;
    let (done, fenced) = mpsc::channel(1);
    let waiting = Waiting {
        machine: Standby::new(&name, config.shared.timing(), config.shared.fencing()),
        boot: boot(),
        name,
        directory,
        config,
        metrics: Arc::clone(metrics),
        says,
        holder: None,
        done,
        fenced,
    };
    let taken = waiting.run().await;
    server.stop(false).await;
    taken
}

struct Waiting<'a> {
    machine: Standby,
    name: String,
    boot: String,
    directory: SharedDirectory,
    config: &'a Config,
    metrics: Arc<Metrics>,
    says: web::Says,
    /// Who was said to hold it.
    holder: Option<(u64, String)>,
    done: mpsc::Sender<Fenced>,
    fenced: mpsc::Receiver<Fenced>,
}

/// What became of a fencing.
type Fenced = Result<(), FenceError>;

/// A look, and when it began and ended.
type Look = ((Moment, Moment), Result<(Seen, Process), SharedError>);

impl Waiting<'_> {
    async fn run(mut self) -> anyhow::Result<(PathBuf, Holder)> {
        let mut due = interval(Duration::from_millis(self.config.shared.heartbeat_ms.get()));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = due.tick() => (),
                // The next look follows at once.
                Some(outcome) = self.fenced.recv() => self.handle_fenced(&outcome),
            }
            let (times, looked) = self.look().await?;
            let step = match looked {
                Ok((seen, process)) => {
                    self.tell(&seen);
                    self.machine.handle_look(times, seen, process)
                }
                Err(SharedError::Disk { path, error }) => {
                    tracing::error!(path = %path.display(), %error, "the shared directory cannot be read");
                    self.says.set(format!("the shared directory cannot be read: {error}"));
                    self.machine.handle_unreadable();
                    Step::Wait
                }
                Err(error) => return Err(error.into()),
            };
            let silence = self.machine.silence_ms();
            self.metrics.shared_silence_seconds.set(silence as f64 / 1_000.0);
            match step {
                Step::Wait => (),
                Step::Fence(seen) => self.fence(seen),
                Step::Claim(seen) => {
                    if let Some(taken) = self.claim(seen).await? {
                        return Ok(taken);
                    }
                }
            }
        }
    }

    async fn look(&self) -> anyhow::Result<Look> {
        let (directory, name, boot) =
            (self.directory.clone(), self.name.clone(), self.boot.clone());
        let look = move || {
            let asked = moment();
            let seen = directory.look().map(|seen| {
                let process = directory.process(&seen, &name, &boot);
                (seen, process)
            });
            ((asked, moment()), seen)
        };
        Ok(tokio::task::spawn_blocking(look).await?)
    }

    /// Says who holds it, once for each holder, and to whoever asks.
    fn tell(&mut self, seen: &Seen) {
        let holder = (seen.generation, seen.holder.clone());
        if seen.generation > 0 && self.holder.as_ref() != Some(&holder) {
            let Seen { generation, holder, .. } = seen;
            tracing::info!(generation, holder, name = self.name, "standing by");
        }
        self.says.set(format!("{} holds the shared directory", seen.holder));
        self.metrics.shared_generation.set(seen.generation.cast_signed());
        self.holder = Some(holder);
    }

    fn fence(&self, seen: Seen) {
        let Some(program) = self.config.shared.fence_command.clone() else { return };
        let (bound, done) = (self.config.shared.fence_timeout(), self.done.clone());
        let silence = self.machine.silence_ms();
        tracing::warn!(holder = seen.holder, silence, "the holder is silent and is fenced");
        tokio::spawn(async move {
            // Whoever waited for it has ended with the process.
            let _gone = done.send(fence(&program, bound, &seen).await).await;
        });
    }

    fn handle_fenced(&mut self, outcome: &Fenced) {
        let label = match outcome {
            Ok(()) => "done",
            Err(error) => {
                tracing::error!(%error, "the holder is not fenced: nothing is taken over");
                "failed"
            }
        };
        self.metrics.shared_fencings_total.with_label_values(&[label]).inc();
        self.machine.handle_fenced(moment(), outcome.is_ok());
    }

    /// None if another machine was first.
    async fn claim(&self, seen: Seen) -> anyhow::Result<Option<(PathBuf, Holder)>> {
        let began = moment();
        let block = Lease {
            name: self.name.clone(),
            generation: seen.generation + 1,
            counter: 0,
            pid: std::process::id(),
            boot: self.boot.clone(),
            released: false,
        };
        let (directory, lease, from) = (self.directory.clone(), block.clone(), seen.clone());
        let claimed = tokio::task::spawn_blocking(move || directory.claim(&from, &lease)).await?;
        let held: Held = match claimed {
            Ok(held) => held,
            Err(SharedError::Lost) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (generation, folder) = (held.generation, held.folder.clone());
        let times = (self.config.shared.timing(), began);
        let holder = Holder::start(held, block, times, Arc::clone(&self.metrics))?;
        let silence = self.machine.silence_ms();
        tracing::warn!(generation, from = seen.holder, silence, "the shared directory is taken");
        let renewed = folder.clone();
        let bytes = tokio::task::spawn_blocking(move || renew_data(&renewed)).await?;
        let bytes = bytes.context("the files of the former holder cannot be copied")?;
        tracing::info!(generation, bytes, took_ms = moment() - began, "the files are new");
        self.metrics.shared_generation.set(generation.cast_signed());
        self.metrics.shared_active.set(1);
        self.metrics.shared_silence_seconds.set(0.0);
        if seen.generation > 0 && seen.holder != self.name {
            self.metrics.shared_takeovers_total.inc();
        }
        Ok(Some((folder, holder)))
    }
}

/// The boot of this machine: where it is the same, one kernel knows both processes.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}
