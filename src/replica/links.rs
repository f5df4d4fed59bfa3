//! Links to the other members: a thread and a TCP connection for each direction.
//!
//! Owns the sockets. Loses messages rather than to wait: Raft repeats what matters. Each node
//! dials every other and only sends on the connection that it dialled. Small batches go as
//! datagrams, too, and are taken the way that comes first.

mod accept;
mod copies;
mod dial;
mod interrupted;
mod snapshots;

use super::handle::{Input, Shared};
use super::machine::Machine;
use super::presence::Present;
use copies::{Copies, Received};
use interrupted::Interrupted;
use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_cluster::copies::BatchId;
use tandem_cluster::presence::Moment;
use tandem_cluster::snapshot::SnapshotFiles;
use tandem_cluster::wire::Secret;
use tandem_cluster::{Message, NodeId};

pub(super) use snapshots::SendSnapshot;

/// Batches of messages that wait for one peer. Each is what one turn of the Raft thread
/// produced; past it the peer is slower than its heartbeats, the batch is dropped and Raft told.
const BATCHES_WAITING_MAX: usize = 256;

/// Connections that may come in at once. Members need two each; more are strangers, and are
/// closed.
const CONNECTIONS_MAX: usize = 64;

/// A peer that says nothing for that long during the handshake is no member.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Writing blocks when the peer is frozen and the kernel's buffers are full.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// First and longest pause before dialling again. Doubles, with jitter, so that members that
/// start together do not stay in step. A new leader waits for this long at most until it knows
/// that a process is gone.
const REDIAL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// What a link tells the Raft thread.
pub(super) trait Inbox: Send + Sync + 'static {
    /// A peer sent these. Waits while the Raft thread is behind.
    fn messages(&self, messages: Vec<Message>);
    /// The same; loses them while the Raft thread is behind.
    fn try_messages(&self, messages: Vec<Message>);
    /// The peer was not reached.
    fn unreachable(&self, node: NodeId);
    /// The peer's machine refused a connection that was begun then: it had no process there.
    fn refused(&self, node: NodeId, began: Moment);
    /// A snapshot arrived there, or did not.
    fn snapshot_sent(&self, to: NodeId, arrived: bool);
}

impl<M: Machine> Inbox for Shared<M> {
    fn messages(&self, messages: Vec<Message>) {
        drop(self.inputs.send(Input::Messages(messages)));
    }

    fn try_messages(&self, messages: Vec<Message>) {
        drop(self.inputs.try_send(Input::Messages(messages)));
    }

    fn unreachable(&self, node: NodeId) {
        drop(self.inputs.try_send(Input::Unreachable(node)));
    }

    fn refused(&self, node: NodeId, began: Moment) {
        self.present.refused(node, began);
    }

    fn snapshot_sent(&self, to: NodeId, arrived: bool) {
        drop(self.inputs.send(Input::SnapshotSent { to, arrived }));
    }
}

/// What all links of a node share.
pub(super) struct Common {
    pub(super) node: NodeId,
    pub(super) secret: Secret,
    pub(super) files: SnapshotFiles,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) present: Arc<Present>,
    received: Received,
    /// Bytes of a snapshot that may still be received without filling the disk.
    pub(super) free_bytes: Arc<AtomicU64>,
    stopped: AtomicBool,
    /// Open connections, to be shut down at the end.
    open: Mutex<HashMap<u64, TcpStream>>,
    opened: AtomicU64,
    /// Snapshots that arrived in part.
    interrupted: Mutex<Interrupted>,
}

/// The links of a node.
pub(super) struct Links {
    common: Arc<Common>,
    copies: Copies,
    peers: BTreeMap<NodeId, Peer>,
    listening: Option<SocketAddr>,
}

/// Messages that one turn of the Raft thread produced for a peer.
struct Batch {
    /// If they went as a datagram, too.
    copied: Option<BatchId>,
    messages: Vec<Message>,
}

struct Peer {
    address: SocketAddr,
    batches: SyncSender<Batch>,
    gone: Arc<AtomicBool>,
}

impl Common {
    pub(super) fn new(
        node: NodeId,
        secret: Secret,
        files: SnapshotFiles,
        inbox: Arc<dyn Inbox>,
        present: Arc<Present>,
    ) -> Self {
        Self {
            node,
            secret,
            files,
            inbox,
            received: Received::new(Arc::clone(&present)),
            present,
            free_bytes: Arc::new(AtomicU64::new(u64::MAX)),
            stopped: AtomicBool::new(false),
            open: Mutex::default(),
            opened: AtomicU64::new(0),
            interrupted: Mutex::default(),
        }
    }

    /// Removes what arrived of snapshots that nobody goes on with.
    pub(super) fn forget_interrupted(&self, now: Instant) {
        self.interrupted().forget_old(now);
    }

    fn interrupted(&self) -> MutexGuard<'_, Interrupted> {
        self.interrupted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Notes a connection; `None` if there are too many.
    fn note(self: &Arc<Self>, stream: &TcpStream) -> Option<Noted> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= CONNECTIONS_MAX || self.is_stopped() {
            return None;
        }
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        open.insert(number, stream.try_clone().ok()?);
        Some(Noted { common: Arc::clone(self), number })
    }
}

/// A connection that is open; forgotten when dropped.
struct Noted {
    common: Arc<Common>,
    number: u64,
}

impl Drop for Noted {
    fn drop(&mut self) {
        let mut open = self.common.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.number);
    }
}

impl Links {
    /// Listens, and dials nobody yet.
    pub(super) fn start(
        common: Arc<Common>,
        listener: Option<TcpListener>,
    ) -> std::io::Result<Self> {
        let listening = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(listener) = listener {
            accept::start(Arc::clone(&common), listener)?;
        }
        let copies = Copies::new(listening)?;
        Ok(Self { common, copies, peers: BTreeMap::new(), listening })
    }

    /// The other members are these, at these addresses.
    pub(super) fn set_peers(&mut self, peers: &BTreeMap<NodeId, SocketAddr>) {
        self.peers.retain(|node, peer| {
            let stays = peers.get(node) == Some(&peer.address);
            if !stays {
                peer.gone.store(true, Ordering::Relaxed);
            }
            stays
        });
        for (&node, &address) in peers {
            if node == self.common.node || self.peers.contains_key(&node) {
                continue;
            }
            let (batches, receiver) = sync_channel(BATCHES_WAITING_MAX);
            let gone = Arc::new(AtomicBool::new(false));
            let started =
                dial::start(Arc::clone(&self.common), (node, address), receiver, Arc::clone(&gone));
            match started {
                Ok(()) => drop(self.peers.insert(node, Peer { address, batches, gone })),
                Err(error) => tracing::error!(node, %error, "no thread for a member"),
            }
        }
    }

    /// Where a peer is.
    pub(super) fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.peers.get(&node).map(|peer| peer.address)
    }

    /// Sends, or drops and answers `false`.
    pub(super) fn send(&mut self, to: NodeId, messages: Vec<Message>) -> bool {
        let Some(peer) = self.peers.get(&to) else { return false };
        let batches = self.copies.send(&self.common, (to, peer.address), messages);
        batches.into_iter().all(|batch| match peer.batches.try_send(batch) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        })
    }

    /// Sends a snapshot on a connection of its own; the inbox is told what came of it.
    pub(super) fn send_snapshot(&self, send: SendSnapshot) {
        snapshots::start(Arc::clone(&self.common), send);
    }

    /// What all links share.
    pub(super) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Ends all threads, soon.
    pub(super) fn stop(self) {
        self.common.stopped.store(true, Ordering::Relaxed);
        for peer in self.peers.values() {
            peer.gone.store(true, Ordering::Relaxed);
        }
        let open = self.common.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.values() {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
        drop(open);
        if let Some(address) = self.listening {
            // Wakes the thread that accepts, so that it sees that it is over.
            drop(TcpStream::connect_timeout(&address, Duration::from_millis(200)));
        }
    }
}

/// For how long sent bytes may stay unacknowledged (RFC 9293 §3.8.3), in milliseconds. The kernel
/// of a process that is stopped acknowledges.
const UNHEARD_MAX_MS: u32 = 1_000;

/// What is said on this connection leaves at once, and what is lost is said again every 200 ms or so.
/// By the doubling of RFC 6298 §5.5 two lost segments in a row are most of a lease; these streams
/// carry so little that it relieves nobody. It doubles all the same once there is much to be said
/// again, as after a cut, so that a connection on which nothing arrives is given up for a new one.
fn prompt(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, UNHEARD_MAX_MS)?;
    Ok(rustix::net::sockopt::set_tcp_thin_linear_timeouts(stream, true)?)
}
