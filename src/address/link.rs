//! A network interface: its number, and whether and under which address Ethernet knows it.
//!
//! Owns nothing that stays: an interface is looked up for every operation, since it may be
//! renamed, replaced or gone.

use std::io;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{LinkAddr, SockaddrStorage};

use super::AddressError;
use super::announcement::Hardware;

/// Ethernet and what looks like it (`ARPHRD_ETHER`).
const ETHERNET: u16 = 1;

#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) index: u32,
    is_up: bool,
    /// Where frames for this interface are sent to.
    pub(super) place: LinkAddr,
}

impl Link {
    /// The interface of this name.
    pub(super) fn find(name: &str) -> Result<Self, AddressError> {
        let links =
            Self::all().map_err(|source| AddressError::failed("listing interfaces", source))?;
        let exist = links.iter().map(|link| link.name.clone()).collect();
        let found = links.into_iter().find(|link| link.name == name);
        found.ok_or_else(|| AddressError::NoSuchInterface { name: name.to_owned(), exist })
    }

    /// The interface, if packets can be sent through it.
    pub(super) fn find_up(name: &str) -> Result<Self, AddressError> {
        let link = Self::find(name)?;
        if link.is_up { Ok(link) } else { Err(AddressError::InterfaceDown { name: link.name }) }
    }

    /// All interfaces of the machine, or of the network namespace of this thread.
    pub(super) fn all() -> io::Result<Vec<Self>> {
        let link = |found: nix::ifaddrs::InterfaceAddress| {
            let place = *found.address.as_ref().and_then(SockaddrStorage::as_link_addr)?;
            let index = u32::try_from(place.ifindex()).ok()?;
            let is_up = found.flags.contains(InterfaceFlags::IFF_UP);
            Some(Self { name: found.interface_name, index, is_up, place })
        };
        Ok(getifaddrs()?.filter_map(link).collect())
    }

    /// Its address on Ethernet. None: a tunnel, the loopback, a link between two points, where
    /// nobody remembers neighbours and nothing needs to be announced.
    pub(super) fn hardware(&self) -> Option<Hardware> {
        self.place.addr().filter(|_| self.place.hatype() == ETHERNET)
    }
}
