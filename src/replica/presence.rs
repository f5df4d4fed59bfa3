//! Beats to and from the other nodes, on a thread and a UDP socket of their own.
//!
//! Owns the socket and the clock around [`tandem_cluster::presence`]. It shares nothing with the
//! log's disk or with the TCP links, so that neither a slow disk nor a long snapshot makes a node
//! look dead. A beat that cannot be sent is lost, as the network would lose it. Other datagrams
//! that come in are handed to the links, which do not wait.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::Histogram;
use tandem_cluster::presence::{Moment, Presence};
use tandem_cluster::wire::{COPY_BYTES_MAX, open_beat, seal_beat};
use tandem_cluster::{NodeId, Role};

use super::links::Common;

/// How much the thread goes before others (setpriority(2)): its work is a few microseconds, and what
/// it does late looks like a loss. Needs CAP_SYS_NICE or a limit that allows it; without, it waits
/// its turn.
const NICE: i32 = -15;

/// How often the thread looks whether it is still wanted, if it has nothing to send.
const IDLE: Duration = Duration::from_millis(100);

/// Until when this node may act for the cluster; see [`tandem_cluster::presence`].
///
/// Cheap to ask before everything that is sent: one load and one reading of the clock.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// 0 while a new lease waits to be confirmed.
    until: AtomicU64,
    /// The latest that `until` has been.
    latest: AtomicU64,
    /// How many leases were confirmed.
    confirmed: AtomicU64,
}

impl Lease {
    /// Of a node that is alone.
    pub fn for_ever() -> Self {
        Self::until_moment(Moment::MAX)
    }

    fn until_moment(until: Moment) -> Self {
        let [until, latest] = [until; 2].map(AtomicU64::new);
        Self(Arc::new(Held { until, latest, confirmed: AtomicU64::new(0) }))
    }

    fn publish(&self, until: Moment) {
        self.0.until.store(until, Ordering::Relaxed);
        // A node that was alone has no latest moment; it begins to have one.
        if until < Moment::MAX && self.0.latest.load(Ordering::Relaxed) == Moment::MAX {
            self.0.latest.store(until, Ordering::Relaxed);
        }
        self.0.latest.fetch_max(until, Ordering::Relaxed);
    }

    /// Whether it holds now.
    pub fn holds(&self) -> bool {
        self.until() > moment()
    }

    /// Whether it has held since this process began.
    pub fn has_held(&self) -> bool {
        self.0.latest.load(Ordering::Relaxed) > 0
    }

    /// How many leases were confirmed so far. Counted before each holds: who knew less about whose
    /// the calls are when it looked last has to look again before it acts.
    pub fn confirmed(&self) -> u64 {
        self.0.confirmed.load(Ordering::Acquire)
    }

    /// Whether there is a new one that waits to be confirmed: somebody leads, and it is not known
    /// here yet what was decided without this node.
    pub fn is_unconfirmed(&self) -> bool {
        self.until() == 0 && self.has_held()
    }

    /// For how long it has not held; zero while it does.
    pub fn lapsed(&self) -> Duration {
        let now = moment();
        if self.until() > now {
            return Duration::ZERO;
        }
        // A new lease that is not confirmed yet may be later than now.
        Duration::from_millis(now.saturating_sub(self.0.latest.load(Ordering::Relaxed)))
    }

    /// Ends it, or confirms a new one: what a test wants of a cluster.
    #[cfg(test)]
    pub(crate) fn set(&self, holds: bool) {
        if holds {
            self.0.confirmed.fetch_add(1, Ordering::Release);
        }
        self.publish(if holds { Moment::MAX } else { 1 });
    }

    /// There is a new one to be confirmed.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        self.publish(0);
    }

    fn until(&self) -> Moment {
        self.0.until.load(Ordering::Relaxed)
    }
}

/// The machine, and what it says, for all threads.
#[derive(Debug)]
pub(super) struct Present {
    machine: Mutex<Presence>,
    lease: Lease,
    addresses: Mutex<BTreeMap<NodeId, SocketAddr>>,
    stopped: AtomicBool,
}

impl Present {
    pub(super) fn new(machine: Presence) -> Self {
        Self {
            machine: Mutex::new(machine),
            lease: Lease::until_moment(0),
            addresses: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// The nodes that the leader misses; none anywhere else.
    pub(super) fn missed(&self) -> Vec<(NodeId, u64)> {
        self.machine().missed(moment())
    }

    pub(super) fn set_role(&self, role: Role) {
        self.with(|machine| machine.set_role(moment(), role));
    }

    pub(super) fn set_members(&self, voters: &[NodeId], peers: &BTreeMap<NodeId, SocketAddr>) {
        let me = self.machine().node();
        let others = peers.iter().filter(|(node, _)| **node != me);
        let others: BTreeMap<_, _> = others.map(|(node, address)| (*node, *address)).collect();
        self.with(|machine| machine.set_members(moment(), voters, others.keys().copied()));
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = others;
    }

    pub(super) fn refused(&self, node: NodeId, began: Moment) {
        self.with(|machine| machine.handle_refusal(node, began));
    }

    /// See [`Presence::handle_return`].
    pub(super) fn is_back(&self, node: NodeId) {
        self.with(|machine| machine.handle_return(moment(), node));
    }

    /// See [`Presence::incarnation`].
    pub(super) fn incarnation(&self) -> u64 {
        self.machine().incarnation()
    }

    /// See [`Presence::incarnation_of`].
    pub(super) fn incarnation_of(&self, node: NodeId) -> Option<u64> {
        self.machine().incarnation_of(node)
    }

    /// See [`Presence::acquainted`].
    pub(super) fn acquainted(&self, node: NodeId) -> Option<(u64, u64)> {
        self.machine().acquainted(node)
    }

    /// See [`Presence::is_gone`].
    pub(super) fn is_gone(&self, node: NodeId) -> bool {
        self.machine().is_gone(moment(), node)
    }

    /// See [`Presence::lease_number`].
    pub(super) fn lease_number(&self) -> u64 {
        self.machine().lease_number()
    }

    /// See [`Presence::unconfirmed`].
    pub(super) fn unconfirmed(&self) -> Option<u64> {
        self.machine().unconfirmed(moment())
    }

    /// See [`Presence::confirm`].
    pub(super) fn confirm(&self, lease: u64) {
        // What is proposed for it twice confirms it once.
        if self.unconfirmed() == Some(lease) {
            self.lease.0.confirmed.fetch_add(1, Ordering::Release);
        }
        self.with(|machine| machine.confirm(lease));
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn machine(&self) -> MutexGuard<'_, Presence> {
        // No code that holds the lock panics half-way through a change.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Presence) -> T) -> T {
        let mut machine = self.machine();
        let result = change(&mut machine);
        self.lease.publish(machine.acts_until());
        result
    }
}

/// Starts the thread, which ends after [`Present::stop`] and closes its socket. Without an address
/// to listen on there is nobody to beat to. The time between beats of a node goes into `gaps`.
pub(super) fn start(
    common: Arc<Common>,
    listen: Option<SocketAddr>,
    gaps: Histogram,
) -> io::Result<Option<JoinHandle<()>>> {
    let Some(listen) = listen else { return Ok(None) };
    let socket = UdpSocket::bind(listen)?;
    let beats = Beats { present: Arc::clone(&common.present), socket, common, gaps };
    std::thread::Builder::new().name("presence".to_owned()).spawn(move || beats.run()).map(Some)
}

struct Beats {
    present: Arc<Present>,
    socket: UdpSocket,
    common: Arc<Common>,
    gaps: Histogram,
}

impl Beats {
    fn run(self) {
        // For Linux no process is this thread.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::info!(%error, "beats have the priority of everything else");
        }
        let mut buffer = [0; COPY_BYTES_MAX + 1];
        let mut reported = None;
        // Only members can seal a beat: there are no more of them.
        let mut heard: BTreeMap<NodeId, Moment> = BTreeMap::new();
        while !self.present.stopped.load(Ordering::Relaxed) {
            self.send();
            let due = self.present.machine().poll_timeout();
            let wait = Duration::from_millis(due.saturating_sub(moment()).max(1)).min(IDLE);
            // A zero time-out is refused, and `wait` is never zero.
            let _ = self.socket.set_read_timeout(Some(wait));
            match self.socket.recv_from(&mut buffer) {
                Ok((length, _)) => {
                    let me = self.present.machine().node();
                    if let Some((from, beat)) =
                        open_beat(&self.common.secret, me, &buffer[..length])
                    {
                        let now = moment();
                        self.present.with(|machine| machine.handle_beat(now, from, beat));
                        if let Some(before) = heard.insert(from, now) {
                            self.gaps.observe((now - before) as f64 / 1000.0);
                        }
                    } else {
                        self.common.handle_datagram(&buffer[..length]);
                    }
                }
                Err(error) if is_usual(&error) => (),
                Err(error) => {
                    let error = error.to_string();
                    if reported.as_ref() != Some(&error) {
                        tracing::warn!(error, "the beats of other nodes cannot be read");
                        reported = Some(error);
                    }
                    std::thread::sleep(wait);
                }
            }
        }
    }

    fn send(&self) {
        let due = self.present.with(|machine| machine.poll_beats(moment()));
        let me = self.present.machine().node();
        let addresses = self.present.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        for due in due {
            if let Some(address) = addresses.get(&due.to) {
                let bytes = seal_beat(&self.common.secret, me, due.to, &due.beat);
                // Lost, as the network would lose it: the next one comes soon.
                let _ = self.socket.send_to(&bytes, address);
            }
        }
    }
}

/// Time-outs, and ICMP's answers to earlier sends.
fn is_usual(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
    )
}

/// This process' clock. Begins at 1: 0 is never.
pub(super) fn moment() -> Moment {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let passed = BEGAN.get_or_init(Instant::now).elapsed().as_millis();
    Moment::try_from(passed).unwrap_or(Moment::MAX - 1) + 1
}
