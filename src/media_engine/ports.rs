//! The pool of RTP/RTCP socket pairs: which UDP ports are ours, free and in use.
//!
//! Owns the accounting of the port range for every local address. A pair is an even RTP port
//! and the odd RTCP port above it (RFC 3550 §11), bound together. Pairs that a call has left
//! are kept bound and given out again, the longest rested first, since opening two sockets
//! costs more than emptying them. A pair returns by being dropped, so it cannot leak.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use super::StartError;

/// How long a pair rests before it is given out again while fresh ports are left: late packets
/// of the call before are still on their way.
const REST: Duration = Duration::from_secs(2);
/// Pairs kept bound while no call uses them. Past it a returned pair is closed, and opened again
/// when it is needed.
const FREE_PAIRS_MAX: usize = 4_096;
/// Ports tried for one reservation that other programs turn out to hold. Past it the
/// reservation fails as if there were none.
const TRIES_MAX: usize = 64;
/// Local addresses with a pool of their own. Past it a reservation on a further one fails.
const ADDRESSES_MAX: usize = 64;
/// Descriptors that the sockets leave to the rest of the node: SIP, HTTP, files, the log.
const DESCRIPTORS_LEFT: u64 = 2_048;
/// How long adopted calls have to ask for their ports; their actors do within a second, also when
/// there are thousands.
const PROMISED: Duration = Duration::from_secs(10);
/// Datagrams thrown away from a socket before it is given out again; more than a receive buffer
/// holds means that somebody floods the port, and the pair is closed instead.
pub(super) const DRAIN_MAX: usize = 512;

/// A bound socket pair for one port. Dropping it releases the ports.
#[derive(Debug)]
pub struct Reservation {
    /// `None` only while it is being dropped.
    pair: Option<Pair>,
    pool: Arc<PortPool>,
}

impl Reservation {
    /// The port for RTP, even; RTCP is the one above it.
    pub fn rtp_port(&self) -> u16 {
        self.pair().rtp_port
    }

    /// The local address and RTP port.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.pair().ip, self.pair().rtp_port)
    }

    pub(super) fn rtp(&self) -> &OwnedFd {
        &self.pair().rtp
    }

    pub(super) fn rtcp(&self) -> &OwnedFd {
        &self.pair().rtcp
    }

    fn pair(&self) -> &Pair {
        self.pair.as_ref().expect("the pair leaves in drop only")
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(pair) = self.pair.take() {
            self.pool.release(pair);
        }
    }
}

/// Why no ports were reserved.
#[derive(Debug, Error)]
pub enum ReserveError {
    /// Every pair of the range is in use.
    #[error("no free RTP port on {ip}: {in_use} pairs are in use")]
    NoPorts {
        /// The local address.
        ip: IpAddr,
        /// The pairs in use on it.
        in_use: usize,
    },
    /// The port that was asked for is in use or outside of the range.
    #[error("RTP port {port} on {ip} is not free")]
    Taken {
        /// The local address.
        ip: IpAddr,
        /// The RTP port.
        port: u16,
    },
    /// The kernel refused the sockets: no such address, or no file descriptors left.
    #[error("cannot open RTP sockets on {ip}: {source}")]
    System {
        /// The local address.
        ip: IpAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Pair {
    ip: IpAddr,
    rtp_port: u16,
    rtp: OwnedFd,
    rtcp: OwnedFd,
}

#[derive(Debug)]
pub(super) struct PortPool {
    /// The first RTP port and the number of pairs.
    first: u16,
    pairs: usize,
    /// Pairs that may be bound at once, on all addresses: as many as there are descriptors for.
    bound_max: usize,
    /// Ports are bound although a process that is stopped may hold them; see [`PortPool::new`].
    shared: bool,
    addresses: Mutex<BTreeMap<IpAddr, Address>>,
}

/// The pairs of one local address.
#[derive(Debug)]
struct Address {
    /// By pair: bound by us, in use or resting.
    bound: Vec<bool>,
    in_use: usize,
    resting: VecDeque<(Instant, Pair)>,
    /// The pair to try next when a fresh one is needed.
    next: usize,
    /// The address is another node's: pairs that calls leave are closed.
    forgotten: bool,
    /// Pairs that calls have which were adopted with the address and are on their way to be served
    /// here: until then, no other call gets them.
    promised: BTreeSet<usize>,
    promised_until: Option<Instant>,
}

impl PortPool {
    /// `shared`: on one machine, the ports of a process that is stopped can be taken over; the
    /// kernel gives datagrams to the socket that was bound last.
    pub(super) fn new(ports: RangeInclusive<u16>, shared: bool) -> Result<Arc<Self>, StartError> {
        let (first, last) = ports.into_inner();
        let no_pairs = StartError::NoPairs { first, last };
        let even = u32::from(first).next_multiple_of(2);
        let pairs = (u32::from(last) + 1).saturating_sub(even) / 2;
        match u16::try_from(even) {
            Ok(even) if pairs > 0 => Ok(Arc::new(Self {
                first: even,
                pairs: pairs as usize,
                bound_max: raise_descriptors(2 * pairs as usize) / 2,
                shared,
                addresses: Mutex::default(),
            })),
            Ok(_) | Err(_) => Err(no_pairs),
        }
    }

    pub(super) fn reserve(self: &Arc<Self>, ip: IpAddr) -> Result<Reservation, ReserveError> {
        for _ in 0..TRIES_MAX {
            let (number, old) = self.take(ip)?;
            let opened = match old {
                Some(pair) => reuse(pair),
                None => self.open(ip, self.port(number)),
            };
            match opened {
                Ok(pair) => return Ok(self.reservation(pair)),
                Err(error) => self.give_up(ip, number, error)?,
            }
        }
        Err(ReserveError::NoPorts { ip, in_use: self.in_use_on(ip) })
    }

    pub(super) fn reserve_exact(
        self: &Arc<Self>,
        ip: IpAddr,
        port: u16,
    ) -> Result<Reservation, ReserveError> {
        let taken = ReserveError::Taken { ip, port };
        let Some(number) = self.number(port) else {
            return Err(taken);
        };
        let resting = {
            let mut addresses = self.lock();
            let address = self.address(&mut addresses, ip)?;
            address.forgotten = false;
            address.promised.remove(&number);
            let at = address.resting.iter().position(|(_, pair)| pair.rtp_port == port);
            let resting = at.and_then(|at| address.resting.remove(at)).map(|(_, pair)| pair);
            if resting.is_none() && mem::replace(&mut address.bound[number], true) {
                return Err(taken);
            }
            address.in_use += 1;
            resting
        };
        let opened = match resting {
            Some(pair) => reuse(pair),
            None => self.open(ip, port),
        };
        match opened {
            Ok(pair) => Ok(self.reservation(pair)),
            Err(error) => {
                self.give_up(ip, number, error)?;
                Err(taken)
            }
        }
    }

    /// These ports are for who asks for exactly them, for as long as adopted calls need to ask.
    pub(super) fn promise(self: &Arc<Self>, ip: IpAddr, ports: &[u16]) {
        let promised = ports.iter().filter_map(|port| self.number(*port)).collect();
        let mut addresses = self.lock();
        if let Ok(address) = self.address(&mut addresses, ip) {
            address.promised = promised;
            address.promised_until = Some(Instant::now() + PROMISED);
        }
    }

    /// Closes what is bound on this address and not in use: it is another node's from now on.
    pub(super) fn forget(&self, ip: IpAddr) {
        let mut addresses = self.lock();
        if let Some(address) = addresses.get_mut(&ip) {
            for (_, pair) in mem::take(&mut address.resting) {
                if let Some(number) = self.number(pair.rtp_port) {
                    address.bound[number] = false;
                }
            }
            address.forgotten = address.in_use > 0;
        }
    }

    fn open(&self, ip: IpAddr, rtp_port: u16) -> Result<Pair, Errno> {
        let rtp = socket(SocketAddr::new(ip, rtp_port), self.shared)?;
        let rtcp = socket(SocketAddr::new(ip, rtp_port + 1), self.shared)?;
        Ok(Pair { ip, rtp_port, rtp, rtcp })
    }

    /// Pairs reserved now, on all addresses.
    pub(super) fn in_use(&self) -> u64 {
        self.lock().values().map(|address| address.in_use as u64).sum()
    }

    fn in_use_on(&self, ip: IpAddr) -> usize {
        self.lock().get(&ip).map_or(0, |address| address.in_use)
    }

    /// Chooses a pair and counts it as in use: a rested one, else a fresh one, else one that has
    /// not rested yet.
    fn take(&self, ip: IpAddr) -> Result<(usize, Option<Pair>), ReserveError> {
        let mut addresses = self.lock();
        let bound: usize = addresses.values().map(Address::bound).sum();
        let address = self.address(&mut addresses, ip)?;
        address.forgotten = false;
        let rested = address.resting.front().is_some_and(|(since, _)| since.elapsed() >= REST);
        let fresh = if rested || bound >= self.bound_max { None } else { address.fresh() };
        if let Some(number) = fresh {
            address.bound[number] = true;
            address.in_use += 1;
            return Ok((number, None));
        }
        match address.resting.pop_front() {
            Some((_, pair)) => {
                address.in_use += 1;
                Ok((self.number(pair.rtp_port).expect("it came from this range"), Some(pair)))
            }
            None => Err(ReserveError::NoPorts { ip, in_use: address.in_use }),
        }
    }

    /// Uncounts a pair that could not be opened. Another program's port is passed over; any
    /// other refusal ends the reservation.
    fn give_up(&self, ip: IpAddr, number: usize, error: Errno) -> Result<(), ReserveError> {
        if let Some(address) = self.lock().get_mut(&ip) {
            address.bound[number] = false;
            address.in_use -= 1;
        }
        match error {
            Errno::ADDRINUSE | Errno::ACCESS => Ok(()),
            error => Err(ReserveError::System { ip, source: error.into() }),
        }
    }

    fn release(&self, pair: Pair) {
        let mut addresses = self.lock();
        let Some(address) = addresses.get_mut(&pair.ip) else {
            return;
        };
        address.in_use -= 1;
        if address.resting.len() < FREE_PAIRS_MAX && !address.forgotten {
            address.resting.push_back((Instant::now(), pair));
        } else if let Some(number) = self.number(pair.rtp_port) {
            address.bound[number] = false;
        }
    }

    fn reservation(self: &Arc<Self>, pair: Pair) -> Reservation {
        Reservation { pair: Some(pair), pool: Arc::clone(self) }
    }

    fn address<'a>(
        &self,
        addresses: &'a mut BTreeMap<IpAddr, Address>,
        ip: IpAddr,
    ) -> Result<&'a mut Address, ReserveError> {
        if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(&ip) {
            return Err(ReserveError::NoPorts { ip, in_use: 0 });
        }
        Ok(addresses.entry(ip).or_insert_with(|| Address {
            bound: vec![false; self.pairs],
            in_use: 0,
            resting: VecDeque::new(),
            next: 0,
            forgotten: false,
            promised: BTreeSet::new(),
            promised_until: None,
        }))
    }

    fn port(&self, number: usize) -> u16 {
        self.first + 2 * number as u16
    }

    fn number(&self, port: u16) -> Option<usize> {
        let above = port.checked_sub(self.first)?;
        let number = usize::from(above / 2);
        (above % 2 == 0 && number < self.pairs).then_some(number)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Address>> {
        // No code that holds the lock panics half-way through a change.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Address {
    /// Pairs bound now.
    fn bound(&self) -> usize {
        self.in_use + self.resting.len()
    }

    /// A pair that is not bound, round robin, so that a released port is the last to come again.
    fn fresh(&mut self) -> Option<usize> {
        let pairs = self.bound.len();
        if self.bound() >= pairs {
            return None;
        }
        if self.promised_until.is_some_and(|until| until < Instant::now()) {
            self.promised.clear();
            self.promised_until = None;
        }
        let number = (0..pairs)
            .map(|step| (self.next + step) % pairs)
            .find(|number| !self.bound[*number] && !self.promised.contains(number))?;
        self.next = (number + 1) % pairs;
        Some(number)
    }
}

/// Raises the limit of file descriptors as far as the sockets need it and the system allows;
/// how many of them the sockets may take. The rest of the node keeps its own.
fn raise_descriptors(sockets: usize) -> usize {
    let wanted = sockets as u64 + DESCRIPTORS_LEFT;
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < wanted {
        let raised = Rlimit { current: Some(wanted.min(maximum)), maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => current = wanted.min(maximum),
            Err(error) => tracing::warn!(%error, current, "cannot raise the descriptor limit"),
        }
    }
    let left = current.saturating_sub(DESCRIPTORS_LEFT).min(sockets as u64) as usize;
    if left < sockets {
        tracing::warn!(sockets, left, "too few descriptors for all RTP ports");
    }
    left
}

fn socket(local: SocketAddr, shared: bool) -> Result<OwnedFd, Errno> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, shared)?;
    rustix::net::bind(&socket, &local)?;
    Ok(socket)
}

/// Empties the sockets of what arrived for the call before.
fn reuse(pair: Pair) -> Result<Pair, Errno> {
    if drain(&pair.rtp) && drain(&pair.rtcp) { Ok(pair) } else { Err(Errno::ADDRINUSE) }
}

/// Whether the socket is empty now.
fn drain(socket: &OwnedFd) -> bool {
    let mut byte = [0; 1];
    for _ in 0..DRAIN_MAX {
        match rustix::net::recv(socket, &mut byte, RecvFlags::TRUNC) {
            Ok(_) => (),
            Err(Errno::AGAIN) => return true,
            // An earlier send met a closed port (ICMP); the error is consumed by reading it.
            Err(Errno::CONNREFUSED) => (),
            Err(_) => return false,
        }
    }
    false
}
