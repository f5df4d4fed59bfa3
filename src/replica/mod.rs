//! The replica of a node: Raft on its own thread, links to the other members, and the state.
//!
//! Owns the threads, the sockets and the clock around [`tandem_cluster`]. Does not know what the
//! state means: that is a [`Machine`]. Read: `machine` (what is replicated), `handle` (what others
//! hold), `start` (what is believed of the disk), `thread` (the loop), `keeper` (what is written
//! later than the log), `links` (the sockets).

mod config;
mod handle;
mod keeper;
mod links;
mod logger;
mod machine;
mod pending;
mod place;
mod presence;
mod recovery;
mod start;
mod state;
mod thread;

pub use config::{Fatal, ReplicaConfig, StartError};
pub use handle::{
    Answer, ChangeFailed, PROPOSALS_WAITING_MAX, Proposal, ProposalError, ReadError, ReplicaHandle,
};
pub use machine::{Applied, Machine, RestoreError};
pub use place::Place;
pub use presence::Lease;
pub use recovery::{RecoverError, Recovery};

use handle::Shared;
use keeper::Keeper;
use links::{Common, Inbox, Links};
use pending::Pending;
use presence::Present;
use start::{Recovered, recover};
use state::State;
use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tandem_cluster::Log;
use tandem_cluster::presence::Presence;
use tandem_cluster::wire::Secret;
use thread::RaftThread;

/// Inputs that wait for the Raft thread. It takes 2048 in a turn; past this, proposals are
/// refused and peers wait, which their TCP connections pass on.
const INPUTS_WAITING_MAX: usize = 16_384;

/// The replica's thread.
#[derive(Debug)]
pub struct Replica {
    thread: std::thread::JoinHandle<()>,
    present: Arc<Present>,
    beats: Option<std::thread::JoinHandle<()>>,
}

fn listener(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|error| StartError::Listen { address, error })
}

impl Replica {
    /// Opens the data directory, brings `machine` to where it was, and starts.
    pub fn start<M: Machine>(
        mut config: ReplicaConfig,
        machine: M,
    ) -> Result<(ReplicaHandle<M>, Self), StartError> {
        let listener = config.listen.map(listener).transpose()?;
        let Recovered { store, driver, machine, files, cache, records, kept } =
            recover(&mut config, machine)?;
        let incarnation = (config.clock)();
        let presence = Presence::new(config.node, incarnation, config.presence);
        let present = Arc::new(Present::new(presence));
        let (sender, inputs) = sync_channel(INPUTS_WAITING_MAX);
        let shared = Arc::new(Shared {
            inputs: sender,
            machine: RwLock::new(machine),
            status: RwLock::new(driver.status()),
            waiting: 0.into(),
            metrics: Arc::clone(&config.metrics),
            disk_low: false.into(),
            present: Arc::clone(&present),
        });
        let inbox: Arc<dyn Inbox> = Arc::<Shared<M>>::clone(&shared);
        let secret = Secret::new(std::mem::take(&mut config.secret));
        let secret = match &config.recovery {
            Some(code) => secret.since_recovery(code),
            None => secret,
        };
        let gaps = config.metrics.beat_gap_seconds.clone();
        let own = Arc::clone(&present);
        let common = Arc::new(Common::new(config.node, secret, files.clone(), inbox, own));
        let beats = presence::start(Arc::clone(&common), config.listen, gaps)
            .map_err(StartError::Thread)?;
        let links = Links::start(common, listener).map_err(StartError::Thread)?;
        let keeper = Keeper {
            cache,
            records,
            files: files.clone(),
            purger: driver.log().purger(),
            fatal: Arc::clone(&config.fatal),
            directory: config.directory.clone(),
        };
        let snapshotted: Arc<Mutex<Vec<_>>> = Arc::default();
        let made = Arc::clone(&snapshotted);
        let keeper = keeper
            .start(Box::new(move |snapshot| {
                made.lock().unwrap_or_else(PoisonError::into_inner).push(snapshot);
            }))
            .map_err(StartError::Thread)?;
        let snapshot = driver.log().snapshot().map_or(0, |s| s.get_metadata().index);
        let pending = Pending::new(config.node, incarnation, config.proposal_timeout);
        let fatal = Arc::clone(&config.fatal);
        let state = State::new(kept, snapshot);
        let handle = ReplicaHandle { shared: Arc::clone(&shared) };
        let raft = RaftThread {
            config,
            store,
            driver,
            shared,
            inputs,
            links,
            files,
            keeper,
            snapshotted,
            pending,
            state,
        };
        let thread = std::thread::Builder::new()
            .name("raft".to_owned())
            .spawn(move || run_or_fail("Raft", &fatal, || raft.run()))
            .map_err(StartError::Thread)?;
        Ok((handle, Self { thread, present, beats }))
    }

    /// Waits for the end of the thread after [`ReplicaHandle::shutdown`]: state and records are
    /// on disk then, and another replica can have the address at which it listened for beats.
    pub fn join(self) {
        drop(self.thread.join());
        self.present.stop();
        if let Some(beats) = self.beats {
            drop(beats.join());
        }
    }
}

/// Runs a thread without which the replica must not go on: an error of it is fatal, and so is a
/// panic, after which nobody would do its work.
fn run_or_fail(thread: &str, fatal: &Fatal, run: impl FnOnce() -> Result<(), String>) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => (),
        Ok(Err(why)) => fatal(&why),
        Err(panic) => {
            let said = panic_message(panic.as_ref());
            fatal(&format!("the {thread} thread panicked: {said}"));
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}
