//! A conversation with the kernel about addresses: one request, its answer, with a bound.
//!
//! Owns the netlink socket. Does not know why an address is added; see [`super::interface`].

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use super::netlink::{self, Present, Said};

/// How long the kernel may think. It answers within microseconds; more is a fault.
const PATIENCE: Duration = Duration::from_secs(1);

/// The kernel writes lists in pieces of at most this many bytes.
const DATAGRAM_BYTES: usize = 32 * 1024;

/// Addresses of one machine that are looked at; past it the list is an error.
const ADDRESSES_MAX: usize = 16_384;

/// How often a list that changes while it is read is read again.
const LIST_ATTEMPTS: usize = 4;

#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: OwnedFd,
    sequence: u32,
}

impl RouteSocket {
    pub(super) fn open() -> io::Result<Self> {
        // No protocol is the number 0: NETLINK_ROUTE.
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Adds the address or renews its lifetime.
    pub(super) fn put(
        &mut self,
        interface: u32,
        address: IpAddr,
        lifetime: Option<Duration>,
    ) -> io::Result<()> {
        let sequence = self.next();
        self.carry_out(&netlink::put(sequence, interface, address, lifetime))
    }

    /// Deletes the address.
    pub(super) fn delete(&mut self, interface: u32, address: IpAddr) -> io::Result<()> {
        let sequence = self.next();
        self.carry_out(&netlink::delete(sequence, interface, address))
    }

    /// The addresses of all interfaces.
    pub(super) fn list(&mut self) -> io::Result<Vec<Present>> {
        for _ in 0..LIST_ATTEMPTS {
            if let Some(present) = self.list_once()? {
                return Ok(present);
            }
        }
        Err(io::Error::other("the list of addresses changes faster than it is read"))
    }

    fn list_once(&mut self) -> io::Result<Option<Vec<Present>>> {
        let sequence = self.next();
        self.send(&netlink::list(sequence))?;
        let mut list = Vec::new();
        loop {
            for said in self.receive()? {
                match said {
                    Said::Listed(_) if list.len() == ADDRESSES_MAX => {
                        return Err(io::Error::other("too many addresses on this machine"));
                    }
                    Said::Listed(present) => list.push(present),
                    Said::Done { is_interrupted } => return Ok((!is_interrupted).then_some(list)),
                    Said::Answered(0) => (),
                    Said::Answered(error) => return Err(io::Error::from_raw_os_error(error)),
                }
            }
        }
    }

    fn carry_out(&self, request: &[u8]) -> io::Result<()> {
        self.send(request)?;
        loop {
            for said in self.receive()? {
                match said {
                    Said::Answered(0) => return Ok(()),
                    Said::Answered(error) => return Err(io::Error::from_raw_os_error(error)),
                    Said::Listed(_) | Said::Done { .. } => (),
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, request, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    fn receive(&self) -> io::Result<Vec<Said>> {
        let mut datagram = vec![0; DATAGRAM_BYTES];
        let (bytes, _) = recv(&self.socket, datagram.as_mut_slice(), RecvFlags::empty())?;
        Ok(netlink::read(&datagram[..bytes], self.sequence))
    }
}
