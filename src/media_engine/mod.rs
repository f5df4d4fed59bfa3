//! The media engine: the threads and sockets behind every leg's audio.
//!
//! Owns the RTP and RTCP sockets, the packet threads, the 20 ms clock and the recorder. What a
//! port says and hears is decided by the machine in [`tandem_media::port`]; what a port should
//! do is decided by the call's actor, which hands down a full [`PortPlan`] as often as it likes.
//! Nothing here must survive: a port is rebuilt from its plan, here after a panic or on another
//! node after an adoption, and continues its output stream from an exported [`PortState`].
//!
//! Read in this order: this file, `ports`, `mailbox`, `worker`, `slot`,
//! `wheel`, `recorder`, `preparer`.

mod counters;
mod links;
mod mailbox;
mod ports;
mod preparer;
mod recorder;
mod slot;
#[cfg(test)]
mod tests;
mod traffic;
mod wheel;
mod worker;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

pub use tandem_media::clip::Clip;
pub use tandem_media::codec::CodecKind;
pub use tandem_media::port::{
    CodecSpec, Detect, Direction, PortKey, PortPlan, PortState, RecordTap, SendDigits, Source,
};

pub use self::ports::{Reservation, ReserveError};

use self::counters::Counters;
use self::mailbox::{Close, Hold, Mailbox};
use self::ports::PortPool;
use self::preparer::Preparer;
use self::recorder::Recorder;
use self::worker::Worker;
use crate::replica::Lease;
use crate::shared::DirectoryLease;

/// Packet threads at most. One relays more calls than the rest of a node can set up.
const THREADS_MAX: usize = 2;

/// How often it is tried to bind the port of a call that came here, in steps of 5 ms. Another call
/// that has it is one whose INVITE will be refused, or that is closing: after a second none is.
const HOLD_TRIES: u16 = 400;

/// How the engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The UDP ports for RTP (even) and RTCP (odd), both ends included.
    pub ports: RangeInclusive<u16>,
    /// Packet threads, 1 or 2. The legs of a call share one; with 2, a port hears no port of
    /// another call, and a conference is one call's.
    pub threads: usize,
    /// Silence from a peer that should be sending, after which [`PortEvent::Quiet`] is told.
    pub quiet: Duration,
    /// Ports may be bound that a process which is stopped holds: on one machine, the kernel gives
    /// datagrams to the socket that was bound last.
    pub shared: bool,
    /// While it does not hold, audio goes only to those from whom audio still arrives: packets
    /// reach one holder of an address.
    pub lease: Lease,
    /// The node, for the stamps of recordings.
    pub node: u64,
    /// While it does not hold, nothing is recorded.
    pub directory: DirectoryLease,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            ports: 40_000..=59_999,
            threads: 1,
            quiet: Duration::from_secs(10),
            shared: false,
            lease: Lease::for_ever(),
            node: 0,
            directory: DirectoryLease::alone(),
        }
    }
}

/// What a port tells its call. Called on a packet thread: hand it on, do not work in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// The peer pressed a key: once for each press, by telephone-event or by tone.
    Digit {
        /// The port that heard it.
        key: PortKey,
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        digit: char,
    },
    /// The last clip of the playing `seq` has been sent.
    Played {
        /// The port that played.
        key: PortKey,
        /// The playing's number in [`Source::Play`].
        seq: u64,
    },
    /// Nothing has arrived from the peer for `ms`, though it may send. Told once a silence.
    Quiet {
        /// The port that hears nothing.
        key: PortKey,
        /// How long it has heard nothing.
        ms: u64,
    },
    /// The port's machine panicked. It has been rebuilt from its plan and goes on.
    Died {
        /// The port that died.
        key: PortKey,
    },
    /// A recording has a file of its own from now on.
    RecordingBegan {
        /// The port that was recorded first.
        key: PortKey,
        /// The file; its name may have got a number.
        path: PathBuf,
    },
    /// A file of a recording is complete and on the disk.
    RecordingEnded {
        /// The port that was recorded last.
        key: PortKey,
        /// The file.
        path: PathBuf,
    },
    /// The recording could not be written (a full disk, say). The call goes on without it.
    RecordingFailed {
        /// A port that was recorded into the file.
        key: PortKey,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// What the engine has done since it started, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Ports attached now.
    pub ports_open: u64,
    /// Socket pairs reserved now, attached or not.
    pub pairs_in_use: u64,
    /// RTP packets received and taken.
    pub packets_in: u64,
    /// RTP packets sent.
    pub packets_out: u64,
    /// Packets from a source that is not the peer's.
    pub strays: u64,
    /// Datagrams that are neither RTP nor RTCP.
    pub malformed: u64,
    /// Packets that the kernel did not take.
    pub unsent: u64,
    /// Ports that panicked and were rebuilt.
    pub deaths: u64,
    /// RTP packets that did not arrive.
    pub lost: u64,
    /// Recordings in progress.
    pub recordings: u64,
    /// Bytes written to recordings.
    pub recorded_bytes: u64,
    /// Recordings that could not be written.
    pub recordings_failed: u64,
    /// How long it took lately to bring what was recorded to the disk.
    pub recording_sync_micros: u64,
}

/// Why the engine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The kernel refused a thread, an epoll instance or an eventfd.
    #[error("the media engine needs {what}, the kernel says: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The port range holds no even port followed by an odd one.
    #[error("the RTP ports {first}-{last} hold no even and odd pair")]
    NoPairs {
        /// The first port of the range.
        first: u16,
        /// The last port of the range.
        last: u16,
    },
}

/// A handle to the media engine; clones name the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Arc<PortPool>,
    mailboxes: Vec<Arc<Mailbox>>,
    counters: Arc<Counters>,
    /// Dropped before its thread is waited for.
    preparer: Option<Preparer>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.stop());
        self.preparer = None;
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for handle in threads.drain(..) {
            // The last handle may have been dropped by an event's receiver, on such a thread.
            if handle.thread().id() != thread::current().id() {
                // A thread that panicked has said so.
                let _ = handle.join();
            }
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("threads", &self.shared.mailboxes.len()).finish()
    }
}

impl Engine {
    /// Starts the packet threads and the recorder. `events` is called on these threads: it must
    /// not block. The threads end when the last handle is dropped.
    pub fn start(
        config: EngineConfig,
        events: impl Fn(PortEvent) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let system = |what| move |source| StartError::System { what, source };
        let pool = PortPool::new(config.ports.clone(), config.shared)?;
        let events: Arc<dyn Fn(PortEvent) + Send + Sync> = Arc::new(events);
        let counters = Arc::new(Counters::default());
        let (recorder, writer) = Recorder::start(
            config.node,
            Arc::clone(&events),
            Arc::clone(&counters),
            config.directory,
        )
        .map_err(system("a thread to record"))?;
        let (mut mailboxes, mut threads) = (Vec::new(), Vec::new());
        for number in 0..config.threads.clamp(1, THREADS_MAX) {
            let mailbox = Arc::new(Mailbox::new().map_err(system("an eventfd"))?);
            let worker = Worker::new(
                (Arc::clone(&mailbox), Arc::clone(&pool)),
                Arc::clone(&events),
                Arc::clone(&counters),
                recorder.clone(),
                (config.quiet, config.lease.clone()),
            );
            let mut worker = worker.map_err(system("an epoll instance"))?;
            let thread = thread::Builder::new().name(format!("media-{number}"));
            let thread = thread.spawn(move || worker.run());
            threads.push(thread.map_err(system("a packet thread"))?);
            mailboxes.push(mailbox);
        }
        let (preparer, encoder) = Preparer::start().map_err(system("a thread to encode"))?;
        threads.push(encoder);
        let preparer = Some(preparer);
        // Joined last: it ends when the packet threads have dropped their handles to it.
        threads.push(writer);
        let threads = Mutex::new(threads);
        Ok(Self { shared: Arc::new(Shared { pool, mailboxes, counters, preparer, threads }) })
    }

    /// Reserves and binds an RTP port and the RTCP port above it. Dropping the reservation
    /// releases it. Takes some microseconds; never waits for a packet thread.
    pub fn reserve(&self, ip: IpAddr) -> Result<Reservation, ReserveError> {
        self.shared.pool.reserve(ip)
    }

    /// As [`Engine::reserve`], but this very RTP port: the adoption of a call whose SDP names it.
    pub fn reserve_exact(&self, ip: IpAddr, rtp_port: u16) -> Result<Reservation, ReserveError> {
        self.shared.pool.reserve_exact(ip, rtp_port)
    }

    /// These ports on an address that is taken over are those of calls which are about to be served
    /// here: no other call gets them meanwhile.
    pub fn promise(&self, ip: IpAddr, ports: &[u16]) {
        self.shared.pool.promise(ip, ports);
    }

    /// This address is another node's from now on: no port on it is kept for later.
    pub fn forget(&self, ip: IpAddr) {
        self.shared.pool.forget(ip);
    }

    /// Gives a port its sockets. It begins to work when it also has a plan; the order of the two
    /// does not matter.
    pub fn attach(&self, key: PortKey, reservation: Reservation) {
        self.mailbox(key).attach(key, reservation);
    }

    /// Sees to it that the port has these very sockets, after what was asked before for it: nothing
    /// if it has sockets. Another port of this address that is being closed is waited for.
    pub fn hold(&self, key: PortKey, ip: IpAddr, rtp_port: u16) {
        self.mailbox(key).hold(key, Hold { ip, rtp_port, tries: HOLD_TRIES });
    }

    /// Says what a port should do from now on. Idempotent; never waits. Of plans that follow
    /// each other faster than the packet thread takes them, the last one counts.
    ///
    /// Clips are encoded for the codec by a thread of their own. Until that is done the packet
    /// thread encodes their frames, which costs it little in G.711 and much in Opus: prepare
    /// what many will hear at once ([`Clip::prepare`]) when it is loaded.
    pub fn apply(&self, key: PortKey, plan: PortPlan) {
        self.apply_under(u64::MAX, key, plan);
    }

    /// The same by somebody who looked whose the call is when so many leases had been confirmed
    /// ([`Lease::confirmed`]). By a description that is older than a stop of this process, or than
    /// the lease that followed it, nothing is sent.
    pub fn apply_under(&self, confirmed: u64, key: PortKey, plan: PortPlan) {
        if let Source::Play { clips, .. } = &plan.source
            && let Some(preparer) = &self.shared.preparer
        {
            preparer.prepare(clips, plan.codec.kind);
        }
        self.mailbox(key).apply(key, plan, confirmed);
    }

    /// Continues the output stream of a port that another node exported. Before
    /// [`Engine::attach`].
    pub fn resume(&self, key: PortKey, state: PortState) {
        self.mailbox(key).resume(key, state);
    }

    /// Closes a port and releases its sockets. A port that is not open is closed already.
    pub fn close(&self, key: PortKey) {
        self.mailbox(key).close(key, Close::Told);
    }

    /// The same without a word to the peer, whom another node serves now.
    pub fn abandon(&self, key: PortKey) {
        self.mailbox(key).close(key, Close::Silent);
    }

    /// Asks for what another node needs to continue the port's output stream; `reply` is called
    /// on a packet thread, with `None` when the port is not open.
    pub fn export(&self, key: PortKey, reply: impl FnOnce(Option<PortState>) + Send + 'static) {
        self.mailbox(key).export(key, Box::new(reply));
    }

    /// Makes the port panic at its next packet or tick: a test of the supervision.
    pub fn panic_port(&self, key: PortKey) {
        self.mailbox(key).panic_port(key);
    }

    /// What has been done so far.
    pub fn stats(&self) -> EngineStats {
        EngineStats { pairs_in_use: self.shared.pool.in_use(), ..self.shared.counters.read() }
    }

    fn mailbox(&self, key: PortKey) -> &Mailbox {
        let thread = key.call % self.shared.mailboxes.len() as u64;
        &self.shared.mailboxes[thread as usize]
    }
}
