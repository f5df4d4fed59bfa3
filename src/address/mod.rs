//! Service addresses: taking the address under which calls reach a node, and giving it back.
//!
//! A node that adopts the calls of another takes its service address, so that far ends see a gap
//! and nothing else. This module owns how: on [`AddressBackend::Loopback`] there is nothing to
//! do; an [`Interface`] gets a further address and its neighbours are told; a [`Hook`] is a
//! program that does it where neither works. It does not decide who holds an address and when;
//! it takes nothing by itself, and renews only when it is told to.
//!
//! Operations block, so they are called on a thread of their own. They can be repeated.
//!
//! Read in this order: this file, [`interface`], [`netlink`], [`announcement`], [`announcer`],
//! [`hook`], [`settings`].

mod announcement;
mod announcer;
mod hook;
mod interface;
mod link;
mod netlink;
mod route_socket;
pub mod settings;

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

pub use hook::Hook;
pub use interface::Interface;
pub use netlink::Present;

/// How addresses are moved here.
#[derive(Debug)]
pub enum AddressBackend {
    /// The addresses of 127.0.0.0/8, which every process of the machine binds freely, and ::1.
    Loopback,
    /// Further addresses of a network interface.
    Interface(Interface),
    /// A program that moves addresses: of a cloud, a router, a load balancer.
    Hook(Hook),
}

impl AddressBackend {
    /// Takes the addresses: after it they can be bound, and the network has been told once where
    /// they are. An address that is there already is renewed and told again.
    ///
    /// With a lifetime, an interface keeps them no longer than that without a
    /// [`refresh`](Self::refresh). After an error some may have been taken and others not; take
    /// them again or release them.
    pub fn take(
        &self,
        addresses: &[IpAddr],
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        match self {
            Self::Loopback => are_loopback(addresses),
            Self::Interface(interface) => interface.take(addresses, lifetime),
            Self::Hook(hook) => hook.take(addresses, lifetime),
        }
    }

    /// Gives the addresses a new lifetime, from now. What has been withdrawn is not taken again:
    /// it may be another node's by now, and [`AddressError::Lapsed`] says so.
    ///
    /// The kernel counts in seconds and withdraws an address up to half a second early, so a
    /// lifetime of two seconds is to be renewed at least once a second.
    pub fn refresh(
        &self,
        addresses: &[IpAddr],
        lifetime: Option<Duration>,
    ) -> Result<(), AddressError> {
        match self {
            Self::Loopback => are_loopback(addresses),
            Self::Interface(interface) => interface.refresh(addresses, lifetime),
            Self::Hook(hook) => hook.refresh(addresses, lifetime),
        }
    }

    /// Gives the addresses up. Those that are not there are passed over.
    pub fn release(&self, addresses: &[IpAddr]) -> Result<(), AddressError> {
        match self {
            Self::Loopback => are_loopback(addresses),
            Self::Interface(interface) => interface.release(addresses),
            Self::Hook(hook) => hook.release(addresses),
        }
    }

    /// Waits until the network has been told as often as it is, a tenth of a second at most.
    /// Only a process that ends afterwards needs it.
    pub fn wait_announced(&self) {
        match self {
            Self::Loopback | Self::Hook(_) => (),
            Self::Interface(interface) => interface.wait_announced(),
        }
    }
}

/// Why an address was not taken, renewed or given up.
#[derive(Debug, Error)]
pub enum AddressError {
    /// An address that is not of this machine alone.
    #[error("{address} is no loopback address: only 127.0.0.0/8 and ::1 need no interface")]
    NotLoopback {
        /// The address.
        address: IpAddr,
    },
    /// There is no interface of this name.
    #[error("there is no interface {name:?}; there are {}", exist.join(", "))]
    NoSuchInterface {
        /// The name.
        name: String,
        /// The interfaces that there are.
        exist: Vec<String>,
    },
    /// Nothing can be sent through the interface.
    #[error("the interface {name} is down: nobody would reach the address")]
    InterfaceDown {
        /// The interface.
        name: String,
    },
    /// The system forbids it.
    #[error(
        "{what} needs {capability}: start as root, with AmbientCapabilities=CAP_NET_ADMIN \
         CAP_NET_RAW in the systemd unit, or after setcap cap_net_admin,cap_net_raw+ep on the \
         program"
    )]
    NotPermitted {
        /// What was tried.
        what: String,
        /// What is missing.
        capability: &'static str,
    },
    /// The machine has the address from somebody else, for good.
    #[error(
        "{address} is configured on {interface} as {address}/{prefix}, where nothing would take \
         it from a frozen node: remove it there"
    )]
    NotOurs {
        /// The address.
        address: IpAddr,
        /// The bits of its network.
        prefix: u8,
        /// Where it is.
        interface: String,
    },
    /// The lifetime of these was over before they were renewed.
    #[error("not renewed in time and withdrawn: {addresses:?}")]
    Lapsed {
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// The system failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("the program {program:?} does not start: {source}")]
    HookDoesNotStart {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The program failed.
    #[error("{program:?} {verb} {address}: {status}: {said}")]
    HookFailed {
        /// The program.
        program: PathBuf,
        /// What it was to do.
        verb: &'static str,
        /// With which address.
        address: IpAddr,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The beginning of what it wrote to standard error.
        said: String,
    },
    /// The program took too long and was ended.
    #[error("{program:?} {verb} {address} was ended after {} ms: {said}", bound.as_millis())]
    HookTooSlow {
        /// The program.
        program: PathBuf,
        /// What it was to do.
        verb: &'static str,
        /// With which address.
        address: IpAddr,
        /// How long it may take.
        bound: Duration,
        /// The beginning of what it wrote to standard error.
        said: String,
    },
}

impl AddressError {
    fn failed(what: impl Into<String>, source: io::Error) -> Self {
        Self::Failed { what: what.into(), source }
    }

    /// A failure of the system, which may be that this needs a capability.
    fn refused(source: io::Error, capability: &'static str, what: impl Fn() -> String) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::PERM | Errno::ACCESS) => Self::NotPermitted { what: what(), capability },
            Some(_) | None => Self::Failed { what: what(), source },
        }
    }
}

fn are_loopback(addresses: &[IpAddr]) -> Result<(), AddressError> {
    let is_free = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => *address == Ipv6Addr::LOCALHOST,
    };
    match addresses.iter().find(|address| !is_free(address)) {
        None => Ok(()),
        Some(address) => Err(AddressError::NotLoopback { address: *address }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_there_already() {
        let addresses: Vec<IpAddr> =
            ["127.0.0.11", "127.9.9.9", "::1"].map(|address| address.parse().unwrap()).into();
        let backend = AddressBackend::Loopback;
        backend.take(&addresses, None).unwrap();
        backend.refresh(&addresses, None).unwrap();
        backend.release(&addresses).unwrap();
    }

    #[test]
    fn another_address_is_not_of_the_loopback() {
        let address = "10.77.0.101".parse().unwrap();
        let error = AddressBackend::Loopback.take(&[address], None).unwrap_err();
        assert!(matches!(error, AddressError::NotLoopback { address: other } if other == address));
    }

    #[test]
    fn a_name_that_does_not_exist_is_answered_with_those_that_do() {
        let backend = AddressBackend::Interface(Interface::new("no-such-link"));
        let error = backend.take(&["10.77.0.101".parse().unwrap()], None).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("there is no interface \"no-such-link\"; there are "), "{text}");
        assert!(text.contains("lo"), "{text}");
    }

    #[test]
    fn a_missing_permission_says_what_to_do() {
        let what = || "adding 10.77.0.101 to eth0".to_owned();
        let error = AddressError::refused(Errno::PERM.into(), "CAP_NET_ADMIN", what);
        let text = error.to_string();
        assert!(text.starts_with("adding 10.77.0.101 to eth0 needs CAP_NET_ADMIN: "), "{text}");
        assert!(text.contains("AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"), "{text}");
    }
}
