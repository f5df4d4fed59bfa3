//! Announces addresses on one interface: at once, and twice more from a thread of its own.
//!
//! Owns the raw sockets. Before every repetition it looks whether the address is still held: an
//! announcement that comes late, from a process that was frozen or has given the address up,
//! would take the address from its new holder.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::MsgFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use socket2::{Domain, Protocol, Socket, Type};

use super::AddressError;
use super::announcement::{ALL_NODES, HOP_LIMIT, Hardware, advertisement, gratuitous_arp};
use super::link::Link;

/// How often an address is announced: the first packet may be lost, and no one confirms it.
const ANNOUNCEMENTS: u32 = 3;

/// From one announcement to the next. RFC 5227 and RFC 4861 have one or two seconds, for hosts
/// that come up; here a call is silent until a neighbour has heard one.
const PAUSE: Duration = Duration::from_millis(50);

/// A repetition that is later than this is not sent: the process did not run meanwhile, and the
/// address may be another's.
const LATE: Duration = Duration::from_millis(100);

/// Announcing threads at a time, each of which ends after two pauses; one more waits for the
/// oldest.
const THREADS_MAX: usize = 8;

/// The addresses that this process holds and may announce.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<BTreeSet<IpAddr>>>);

impl Held {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeSet<IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sockets for the addresses that are to be announced. They are opened before anything is
/// changed, so that a missing permission is found while nothing has happened yet.
#[derive(Debug)]
pub(super) struct Announcer {
    link: Link,
    holder: Hardware,
    frames: Option<OwnedFd>,
    v4: Vec<Ipv4Addr>,
    v6: Vec<(Ipv6Addr, Socket)>,
}

impl Announcer {
    /// None where the interface has no neighbours that remember addresses.
    pub(super) fn open(link: &Link, addresses: &[IpAddr]) -> Result<Option<Self>, AddressError> {
        let Some(holder) = link.hardware() else { return Ok(None) };
        let refused = |source| {
            AddressError::refused(source, "CAP_NET_RAW", || format!("announcing on {}", link.name))
        };
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(*address),
                IpAddr::V6(address) => v6.push((*address, advertiser(link).map_err(refused)?)),
            }
        }
        let frames = (!v4.is_empty()).then(frame_socket).transpose().map_err(refused)?;
        Ok(Some(Self { link: link.clone(), holder, frames, v4, v6 }))
    }

    /// Announces every address once. They are on the interface by now.
    pub(super) fn begin(&self) -> Result<(), AddressError> {
        for (address, socket) in &self.v6 {
            let own = SocketAddrV6::new(*address, 0, 0, self.scope(*address));
            socket.bind(&own.into()).map_err(|source| self.failed((*address).into(), source))?;
        }
        self.announce(|_| true)
    }

    /// Announces the addresses twice more, as long as they are held, and ends.
    pub(super) fn repeat(self, held: Held) -> io::Result<JoinHandle<()>> {
        let began = Instant::now();
        thread::Builder::new().name("announcer".to_owned()).spawn(move || {
            for round in 1..ANNOUNCEMENTS {
                let due = began + PAUSE * round;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                // Who gives an address up waits for this lock, so that nothing follows.
                let held = held.lock();
                if due.elapsed() > LATE {
                    return tracing::warn!(interface = self.link.name, "announcing was held up");
                }
                if let Err(error) = self.announce(|address| held.contains(&address)) {
                    tracing::warn!(%error, "an address was announced less often");
                }
            }
        })
    }

    fn announce(&self, is_held: impl Fn(IpAddr) -> bool) -> Result<(), AddressError> {
        for address in self.v4.iter().filter(|address| is_held((**address).into())) {
            for frame in gratuitous_arp(self.holder, *address) {
                self.send_frame(&frame).map_err(|source| self.failed((*address).into(), source))?;
            }
        }
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, self.link.index).into();
        for (address, socket) in self.v6.iter().filter(|(address, _)| is_held((*address).into())) {
            let message = advertisement(self.holder, *address);
            let sent = socket.send_to(&message, &to);
            sent.map_err(|source| self.failed((*address).into(), source))?;
        }
        Ok(())
    }

    fn send_frame(&self, frame: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.frames {
            let place = &self.link.place;
            nix::sys::socket::sendto(socket.as_raw_fd(), frame, place, MsgFlags::empty())?;
        }
        Ok(())
    }

    /// A link-local address is one only together with its link.
    fn scope(&self, address: Ipv6Addr) -> u32 {
        if address.is_unicast_link_local() { self.link.index } else { 0 }
    }

    fn failed(&self, address: IpAddr, source: io::Error) -> AddressError {
        AddressError::failed(format!("announcing {address} on {}", self.link.name), source)
    }
}

/// For whole Ethernet frames. Without a protocol it receives nothing.
fn frame_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

fn advertiser(link: &Link) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
    socket.set_multicast_if_v6(link.index)?;
    socket.set_multicast_loop_v6(false)?;
    Ok(socket)
}

/// The threads that announce.
#[derive(Debug, Default)]
pub(super) struct Announcing(Mutex<Vec<JoinHandle<()>>>);

impl Announcing {
    pub(super) fn add(&self, thread: JoinHandle<()>) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        if threads.len() >= THREADS_MAX {
            // A panic of it is printed by itself, and the address is announced less often.
            let _panicked = threads.remove(0).join();
        }
        threads.push(thread);
    }

    /// Waits for all of them: two pauses at most.
    pub(super) fn wait(&self) {
        let threads = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _panicked = thread.join();
        }
    }
}
