//! The sockets that SIP leaves and enters by: one UDP socket and one TCP listener an address.
//!
//! Owns sockets and connections. Decides nothing: what arrives goes to an [`Inbound`]. A message
//! that cannot be sent at once over UDP is dropped and counted, as the network would do;
//! transactions repeat it. Over TCP they do not, so a request that cannot be sent, or whose
//! connection ends, is told (RFC 3261 §18.4).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tandem_sip::wire::{Malformed, Message, Peer, StreamFramer, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams taken from a socket before other tasks get their turn.
const DATAGRAMS_A_TURN: usize = 256;
/// Kernel buffer of a UDP socket: a second of 2,000 calls/s. The kernel may grant less.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Connections at one time. Past it new ones are closed at once.
const CONNECTIONS_MAX: usize = 4_096;
/// Messages that wait for a slow TCP peer. Past it they are dropped and their senders told.
const UNSENT_MAX: usize = 256;
/// Requests whose senders are told when their connection ends. Of the older ones the answer has
/// come long ago, or its own timer ends the wait.
const ASKED_MAX: usize = 1_024;
/// A connection on which nothing arrives for this long is closed (RFC 5626 asks clients to keep
/// theirs alive every two minutes).
const CONNECTION_IDLE: Duration = Duration::from_secs(600);
/// How long a TCP connection may take to open: below the 32 s of a transaction.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes what arrives.
pub trait Inbound: Send + Sync + 'static {
    /// A whole message, or what could be read of a broken one.
    fn message(&self, message: Result<Message, Malformed>, peer: Peer);

    /// A request with this Call-ID does not reach the peer, or its answer cannot come back.
    fn unreachable(&self, call_id: &str, peer: Peer);
}

/// All SIP sockets of a node.
#[derive(Debug)]
pub struct SipSockets {
    bound: RwLock<Vec<Bound>>,
    /// Addresses are opened although a process that is stopped may hold them: on one machine, the
    /// kernel gives datagrams to the socket that was bound last.
    shared: bool,
    connections: Mutex<HashMap<u64, Connection>>,
    connection_next: AtomicU64,
    dropped: AtomicU64,
}

/// The sockets of one address.
#[derive(Debug, Clone)]
struct Bound {
    address: SocketAddr,
    udp: Arc<UdpSocket>,
    /// None while a process that is stopped holds it, which for TCP nothing can change.
    listener: Option<Arc<TcpListener>>,
}

#[derive(Debug)]
struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    opened_by: OpenedBy,
    unsent: mpsc::Sender<Vec<u8>>,
    /// The Call-IDs of the last requests that were given to it.
    asked: VecDeque<Box<str>>,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenedBy {
    /// We did, from one of our addresses: what leaves from another one needs its own.
    Us,
    /// The far end did: there is no other way to it, whichever address of ours a call lives on.
    Them,
}

impl Connection {
    fn leads(&self, peer: &Peer) -> bool {
        let is_ours = self.opened_by == OpenedBy::Them || self.local == peer.local;
        is_ours && self.remote == peer.remote
    }

    fn keep(&mut self, call_id: &str) {
        if self.asked.len() >= ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(call_id.into());
    }
}

/// Why a connection does not take a message.
enum NotTaken {
    /// There is none to this peer, or it has just ended: the message is for a new one.
    NoConnection(Vec<u8>),
    /// Too much waits for the peer already.
    Full,
}

impl SipSockets {
    /// No address is open yet. `shared`: an address may be opened that a stopped process holds.
    pub fn new(shared: bool) -> Arc<Self> {
        Arc::new(Self {
            bound: RwLock::default(),
            shared,
            connections: Mutex::default(),
            // A number is committed with its leg, and must name no other connection of whoever adopts it.
            connection_next: AtomicU64::new(rand::random()),
            dropped: AtomicU64::new(0),
        })
    }

    /// Binds a UDP socket and a TCP listener on each address: on all, or on none. They are read
    /// from the next [`Self::read`] on. Those that are open stay as they are.
    ///
    /// # Errors
    /// What the system says when an address is in use or not ours.
    pub fn open(&self, addresses: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
        let mut new = Vec::new();
        for &address in addresses {
            if self.bound().iter().any(|bound| bound.address == address) {
                continue;
            }
            let udp = bind_udp(address, self.shared)?;
            let address = udp.local_addr()?;
            let listener = match bind_tcp(address) {
                Err(error) if self.shared && error.kind() == io::ErrorKind::AddrInUse => None,
                bound => Some(Arc::new(bound?)),
            };
            new.push(Bound { address, udp: Arc::new(udp), listener });
        }
        let opened = new.iter().map(|bound| bound.address).collect();
        self.bound.write().unwrap_or_else(PoisonError::into_inner).append(&mut new);
        Ok(opened)
    }

    /// Opens the TCP listeners that were not free before. Whether any was opened, and whether any
    /// is still not free.
    pub fn open_listeners(&self) -> (bool, bool) {
        let mut all = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        let (mut opened, mut missing) = (false, false);
        for bound in all.iter_mut().filter(|bound| bound.listener.is_none()) {
            bound.listener = bind_tcp(bound.address).ok().map(Arc::new);
            opened |= bound.listener.is_some();
            missing |= bound.listener.is_none();
        }
        (opened, missing)
    }

    /// Closes these addresses and the connections that came by them.
    pub fn close(&self, addresses: &[SocketAddr]) {
        let mut bound = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        bound.retain(|bound| !addresses.contains(&bound.address));
        drop(bound);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|_, connection| !addresses.contains(&connection.local));
    }

    fn bound(&self) -> RwLockReadGuard<'_, Vec<Bound>> {
        self.bound.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages that the system did not take.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// TCP connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Starts reading. Dropping the handles stops it; the sockets stay open.
    pub fn read(self: &Arc<Self>, inbound: &Arc<impl Inbound>) -> Reading {
        let mut tasks = Vec::new();
        for Bound { address, udp, listener } in self.bound().iter().cloned() {
            tasks.push(tokio::spawn(read_udp(udp, address, Arc::clone(inbound))));
            if let Some(listener) = listener {
                let acceptor = Arc::clone(self).accept(listener, address, Arc::clone(inbound));
                tasks.push(tokio::spawn(acceptor));
            }
        }
        Reading { tasks }
    }

    /// Sends one message to a peer; over TCP on the connection that it came by, or on a new one.
    pub fn send(self: &Arc<Self>, peer: &Peer, bytes: Vec<u8>, inbound: &Arc<impl Inbound>) {
        match peer.transport {
            Transport::Udp => self.send_udp(peer, &bytes),
            Transport::Tcp | Transport::Tls => self.send_tcp(peer, bytes, inbound),
        }
    }

    fn send_udp(&self, peer: &Peer, bytes: &[u8]) {
        let bound = self.bound();
        let socket = bound.iter().find(|bound| bound.address == peer.local);
        let Some(Bound { udp, .. }) = socket.or_else(|| bound.first()) else { return };
        if let Err(error) = udp.try_send_to(bytes, peer.remote) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            debug!(remote = %peer.remote, %error, "message not sent");
        }
    }

    fn send_tcp(self: &Arc<Self>, peer: &Peer, bytes: Vec<u8>, inbound: &Arc<impl Inbound>) {
        let call_id = asked_by(&bytes);
        let bytes = match self.hand_over(peer, call_id.as_deref(), bytes) {
            Ok(()) => return,
            Err(NotTaken::NoConnection(bytes)) => bytes,
            Err(NotTaken::Full) => return self.not_sent(peer, call_id.as_deref(), inbound),
        };
        let (sockets, inbound, peer) = (Arc::clone(self), Arc::clone(inbound), *peer);
        tokio::spawn(async move {
            let connect = tokio::time::timeout(CONNECT_TIMEOUT, open_tcp(peer.local, peer.remote));
            let opened = match connect.await {
                Ok(Ok(stream)) => sockets.connected(stream, peer.local, OpenedBy::Us, &inbound),
                Ok(Err(_)) | Err(_) => None,
            };
            let taken = opened.map(|id| {
                let peer = Peer { connection: Some(id), ..peer };
                sockets.hand_over(&peer, call_id.as_deref(), bytes)
            });
            if !matches!(taken, Some(Ok(()))) {
                sockets.not_sent(&peer, call_id.as_deref(), &inbound);
            }
        });
    }

    /// Gives a message to the connection that it belongs to.
    fn hand_over(
        &self,
        peer: &Peer,
        call_id: Option<&str>,
        bytes: Vec<u8>,
    ) -> Result<(), NotTaken> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |id: &u64| connections.contains_key(id);
        let to_peer = |(id, connection): (&u64, &Connection)| connection.leads(peer).then_some(*id);
        let id = peer.connection.filter(is_there).or_else(|| connections.iter().find_map(to_peer));
        let Some(connection) = id.and_then(|id| connections.get_mut(&id)) else {
            return Err(NotTaken::NoConnection(bytes));
        };
        connection.unsent.try_send(bytes).map_err(|error| match error {
            TrySendError::Closed(bytes) => NotTaken::NoConnection(bytes),
            TrySendError::Full(_) => NotTaken::Full,
        })?;
        call_id.into_iter().for_each(|call_id| connection.keep(call_id));
        Ok(())
    }

    fn not_sent(&self, peer: &Peer, call_id: Option<&str>, inbound: &Arc<impl Inbound>) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        debug!(remote = %peer.remote, "message not sent");
        call_id.into_iter().for_each(|call_id| inbound.unreachable(call_id, *peer));
    }

    async fn accept(
        self: Arc<Self>,
        listener: Arc<TcpListener>,
        local: SocketAddr,
        inbound: Arc<impl Inbound>,
    ) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let _ = self.connected(stream, local, OpenedBy::Them, &inbound);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: give the others time to close.
                    warn!(%error, "cannot accept a SIP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Takes a connection up, and says by which number.
    fn connected(
        self: &Arc<Self>,
        stream: TcpStream,
        local: SocketAddr,
        opened_by: OpenedBy,
        inbound: &Arc<impl Inbound>,
    ) -> Option<u64> {
        let remote = stream.peer_addr().ok()?;
        let (unsent, to_send) = mpsc::channel(UNSENT_MAX);
        let id = self.connection_next.fetch_add(1, Ordering::Relaxed);
        {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            if connections.len() >= CONNECTIONS_MAX {
                warn!(%remote, "too many SIP connections");
                return None;
            }
            let asked = VecDeque::new();
            connections.insert(id, Connection { local, remote, opened_by, unsent, asked });
        }
        let peer = Peer { transport: Transport::Tcp, remote, local, connection: Some(id) };
        let (sockets, inbound) = (Arc::clone(self), Arc::clone(inbound));
        tokio::spawn(async move {
            serve_stream(stream, peer, to_send, &inbound).await;
            let ended = {
                let mut all = sockets.connections.lock().unwrap_or_else(PoisonError::into_inner);
                all.remove(&id)
            };
            for call_id in ended.into_iter().flat_map(|connection| connection.asked) {
                inbound.unreachable(&call_id, peer);
            }
        });
        Some(id)
    }
}

/// The Call-ID of a request that is to be sent. Responses and ACKs wait for nothing.
fn asked_by(bytes: &[u8]) -> Option<Box<str>> {
    if bytes.starts_with(b"SIP/2.0") || bytes.starts_with(b"ACK ") {
        return None;
    }
    Message::parse(bytes).ok()?.into_request().map(|request| request.call_id().into())
}

/// The tasks that read the sockets; they end with this value.
#[derive(Debug)]
pub struct Reading {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn read_udp(socket: Arc<UdpSocket>, local: SocketAddr, inbound: Arc<impl Inbound>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        if let Err(error) = socket.readable().await {
            warn!(%error, "SIP socket");
            return;
        }
        for _ in 0..DATAGRAMS_A_TURN {
            // Errors here are ICMP messages about earlier sends (connection refused); they say
            // nothing about this read.
            match socket.try_recv_from(&mut buffer) {
                Ok((length, remote)) => {
                    let peer = Peer { transport: Transport::Udp, remote, local, connection: None };
                    inbound.message(Message::parse(&buffer[..length]), peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => debug!(%error, "SIP socket"),
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn serve_stream(
    mut stream: TcpStream,
    peer: Peer,
    mut to_send: mpsc::Receiver<Vec<u8>>,
    inbound: &Arc<impl Inbound>,
) {
    let mut framer = StreamFramer::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        tokio::select! {
            read = tokio::time::timeout(CONNECTION_IDLE, stream.read(&mut buffer)) => match read {
                Ok(Ok(length)) if length > 0 => {
                    let framed = take_frames(&mut framer, &buffer[..length], &peer, inbound);
                    // RFC 5626 §3.5.1: a double CR LF asks for one back.
                    for _ in 0..framer.take_pings() {
                        if stream.write_all(b"\r\n").await.is_err() { return }
                    }
                    if !framed {
                        // A stream that is out of frame cannot be read on; what is queued for it
                        // (the 400) still goes out.
                        while let Ok(bytes) = to_send.try_recv() {
                            if stream.write_all(&bytes).await.is_err() { return }
                        }
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            },
            bytes = to_send.recv() => {
                let Some(bytes) = bytes else { return };
                if stream.write_all(&bytes).await.is_err() { return }
            }
        }
    }
}

/// False when the stream cannot be read any further.
fn take_frames(
    framer: &mut StreamFramer,
    bytes: &[u8],
    peer: &Peer,
    inbound: &Arc<impl Inbound>,
) -> bool {
    framer.push(bytes);
    loop {
        match framer.next() {
            Ok(Some(message)) => inbound.message(Ok(message), *peer),
            Ok(None) => return true,
            Err(malformed) => {
                inbound.message(Err(malformed), *peer);
                return false;
            }
        }
    }
}

fn bind_udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    // Best effort: the system caps it at net.core.rmem_max.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(shared)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Connects from this address of ours, at any port: the far end is to see where the call lives.
async fn open_tcp(local: SocketAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if local.is_ipv4() == remote.is_ipv4() {
        let mut from = local;
        from.set_port(0);
        socket.bind(from)?;
    }
    socket.connect(remote).await
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Inbound for Nobody {
        fn message(&self, _: Result<Message, Malformed>, _: Peer) {}

        fn unreachable(&self, _: &str, _: Peer) {}
    }

    fn peer(local: SocketAddr, remote: SocketAddr) -> Peer {
        Peer { transport: Transport::Tcp, remote, local, connection: None }
    }

    async fn in_time<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(CONNECT_TIMEOUT, what).await.expect("it happens in time")
    }

    #[tokio::test]
    async fn what_leaves_by_tcp_leaves_from_the_address_that_its_call_lives_on() {
        let listener = TcpListener::bind("127.0.0.41:0").await.unwrap();
        let remote = listener.local_addr().unwrap();
        let (sockets, inbound) = (SipSockets::new(false), Arc::new(Nobody));
        let mut streams = Vec::new();
        for (local, open) in [("127.0.0.42:5060", 1), ("127.0.0.43:5060", 2)] {
            let local: SocketAddr = local.parse().unwrap();
            for word in ["one", "two"] {
                sockets.send(&peer(local, remote), word.into(), &inbound);
                // A second message before the connection is known would open another one.
                in_time(async {
                    while sockets.connections() < open {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
            }
            let (mut stream, from) = in_time(listener.accept()).await.unwrap();
            assert_eq!(from.ip(), local.ip());
            let mut words = [0; 6];
            in_time(stream.read_exact(&mut words)).await.unwrap();
            assert_eq!(&words, b"onetwo", "both by the same connection");
            assert_eq!(sockets.connections(), open);
            // Open, so that the next address could use it.
            streams.push(stream);
        }
    }

    #[tokio::test]
    async fn who_has_opened_a_connection_is_reached_by_it_from_each_address() {
        let (sockets, inbound) = (SipSockets::new(false), Arc::new(Nobody));
        let opened = sockets.open(&["127.0.0.44:0".parse().unwrap()]).unwrap();
        let _reading = sockets.read(&inbound);
        let mut phone = in_time(TcpStream::connect(opened[0])).await.unwrap();
        in_time(async {
            while sockets.connections() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let elsewhere = "127.0.0.45:5060".parse().unwrap();
        sockets.send(&peer(elsewhere, phone.local_addr().unwrap()), b"one".to_vec(), &inbound);
        let mut word = [0; 3];
        in_time(phone.read_exact(&mut word)).await.unwrap();
        assert_eq!(&word, b"one");
    }
}
