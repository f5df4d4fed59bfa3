//! Service addresses as further addresses of a network interface, through route netlink.
//!
//! Owns what "ours" means: an address with all bits as its prefix on this interface. Every other
//! address belongs to whoever configured it and is neither renewed nor deleted.

use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;

use super::AddressError;
use super::announcer::{Announcer, Announcing, Held};
use super::link::Link;
use super::netlink::{Present, host_prefix};
use super::route_socket::RouteSocket;

/// The interface that carries the service addresses.
#[derive(Debug)]
pub struct Interface {
    name: String,
    held: Held,
    announcing: Announcing,
}

impl Interface {
    /// The interface of this name. Whether it exists is asked at each operation.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), held: Held::default(), announcing: Announcing::default() }
    }

    /// The addresses that the interface has, whoever gave them to it.
    pub fn show(&self) -> Result<Vec<Present>, AddressError> {
        let link = Link::find(&self.name)?;
        let mut present = list(&mut open()?)?;
        present.retain(|present| present.interface == link.index);
        Ok(present)
    }

    pub(super) fn take(
        &self,
        addresses: &[IpAddr],
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        let link = Link::find_up(&self.name)?;
        let announcer = Announcer::open(&link, addresses)?;
        let mut kernel = open()?;
        let present = list(&mut kernel)?;
        for address in addresses {
            refuse_foreign(&link, *address, &present)?;
        }
        for address in addresses {
            self.put(&mut kernel, &link, *address, lifetime)?;
        }
        self.held.lock().extend(addresses);
        let Some(announcer) = announcer else { return Ok(()) };
        announcer.begin()?;
        let repeating = announcer.repeat(self.held.clone());
        let thread =
            repeating.map_err(|source| AddressError::failed("announcing again", source))?;
        self.announcing.add(thread);
        Ok(())
    }

    /// Renews what is there and never adds. The kernel knows no renewal that fails for an address
    /// that it has withdrawn: it adds it again. So the addresses are listed before and after, and
    /// one that is newer than before is deleted: the process was frozen in between.
    pub(super) fn refresh(
        &self,
        addresses: &[IpAddr],
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        let link = Link::find(&self.name)?;
        let mut kernel = open()?;
        let before = list(&mut kernel)?;
        let (present, mut lapsed): (Vec<_>, Vec<_>) =
            addresses.iter().partition(|address| ours(&link, **address, &before).is_some());
        for address in &present {
            self.put(&mut kernel, &link, *address, lifetime)?;
        }
        let after = list(&mut kernel)?;
        for address in present {
            if added(&link, address, &before) != added(&link, address, &after) {
                self.delete(&mut kernel, &link, address)?;
                lapsed.push(address);
            }
        }
        if lapsed.is_empty() {
            return Ok(());
        }
        self.held.lock().retain(|address| !lapsed.contains(address));
        Err(AddressError::Lapsed { addresses: lapsed })
    }

    pub(super) fn release(&self, addresses: &[IpAddr]) -> Result<(), AddressError> {
        // First, so that no announcement follows.
        self.held.lock().retain(|address| !addresses.contains(address));
        let link = Link::find(&self.name)?;
        let mut kernel = open()?;
        for address in addresses {
            self.delete(&mut kernel, &link, *address)?;
        }
        Ok(())
    }

    pub(super) fn wait_announced(&self) {
        self.announcing.wait();
    }

    fn put(
        &self,
        kernel: &mut RouteSocket,
        link: &Link,
        address: IpAddr,
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        let what = || format!("adding {address} to {}", self.name);
        let put = kernel.put(link.index, address, lifetime);
        put.map_err(|source| AddressError::refused(source, "CAP_NET_ADMIN", what))
    }

    fn delete(
        &self,
        kernel: &mut RouteSocket,
        link: &Link,
        address: IpAddr,
    ) -> Result<(), AddressError> {
        let what = || format!("deleting {address} from {}", self.name);
        match kernel.delete(link.index, address) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::ADDRNOTAVAIL) => Ok(()),
            deleted => {
                deleted.map_err(|source| AddressError::refused(source, "CAP_NET_ADMIN", what))
            }
        }
    }
}

fn open() -> Result<RouteSocket, AddressError> {
    RouteSocket::open().map_err(|source| AddressError::failed("opening route netlink", source))
}

fn list(kernel: &mut RouteSocket) -> Result<Vec<Present>, AddressError> {
    kernel.list().map_err(|source| AddressError::failed("listing addresses", source))
}

fn is_ours(link: &Link, present: &Present) -> bool {
    present.interface == link.index && present.prefix == host_prefix(present.address)
}

fn ours<'a>(link: &Link, address: IpAddr, all: &'a [Present]) -> Option<&'a Present> {
    all.iter().find(|present| present.address == address && is_ours(link, present))
}

fn added(link: &Link, address: IpAddr, all: &[Present]) -> Option<u32> {
    ours(link, address, all).map(|present| present.added)
}

/// An address that the machine has for good could not be given back, and no lifetime would take
/// it from a frozen process.
fn refuse_foreign(link: &Link, address: IpAddr, all: &[Present]) -> Result<(), AddressError> {
    let is_foreign = |present: &&Present| present.address == address && !is_ours(link, present);
    let Some(foreign) = all.iter().find(is_foreign) else { return Ok(()) };
    let links = Link::all().unwrap_or_default();
    let named = links.into_iter().find(|link| link.index == foreign.interface);
    let interface = named.map_or_else(|| foreign.interface.to_string(), |link| link.name);
    Err(AddressError::NotOurs { address, prefix: foreign.prefix, interface })
}
