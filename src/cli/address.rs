//! `tandem address`: moves a service address by hand, the way that a node does it.
//!
//! For operators who try whether the network lets addresses move before they trust it with calls.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::screen;
use super::table::Table;
use crate::address::{AddressBackend, Hook, Interface, Present};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add the addresses here and tell the network. Those that are here are renewed.
    Take {
        #[command(flatten)]
        means: Means,
        /// How long they stay without a renewal, in milliseconds; the kernel counts whole seconds.
        /// Without it they stay until they are released.
        #[arg(long, value_name = "N")]
        lifetime_ms: Option<u32>,
        /// The addresses.
        #[arg(required = true)]
        addresses: Vec<IpAddr>,
    },
    /// Renew the lifetime of addresses that are here.
    Refresh {
        #[command(flatten)]
        means: Means,
        /// How long they stay from now, in milliseconds.
        #[arg(long, value_name = "N")]
        lifetime_ms: Option<u32>,
        /// The addresses.
        #[arg(required = true)]
        addresses: Vec<IpAddr>,
    },
    /// Give the addresses up.
    Release {
        #[command(flatten)]
        means: Means,
        /// The addresses.
        #[arg(required = true)]
        addresses: Vec<IpAddr>,
    },
    /// List the addresses of an interface.
    Show {
        /// The network interface.
        #[arg(long, value_name = "NAME")]
        interface: String,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Means {
    /// The network interface that gets the addresses.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// The program that moves addresses.
    #[arg(long, value_name = "PROGRAM")]
    hook: Option<PathBuf>,
}

impl Means {
    fn backend(self) -> AddressBackend {
        match (self.interface, self.hook) {
            (Some(interface), _) => AddressBackend::Interface(Interface::new(interface)),
            (None, Some(hook)) => AddressBackend::Hook(Hook::new(hook)),
            (None, None) => AddressBackend::Loopback,
        }
    }
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Take { means, lifetime_ms, addresses } => {
                let backend = means.backend();
                backend.take(&addresses, lifetime(lifetime_ms))?;
                backend.wait_announced();
            }
            What::Refresh { means, lifetime_ms, addresses } => {
                means.backend().refresh(&addresses, lifetime(lifetime_ms))?;
            }
            What::Release { means, addresses } => means.backend().release(&addresses)?,
            What::Show { interface } => {
                let present = Interface::new(interface).show()?;
                table(&present).lines().iter().for_each(|line| screen::say(line));
            }
        }
        Ok(())
    }
}

fn lifetime(milliseconds: Option<u32>) -> Option<Duration> {
    milliseconds.map(|milliseconds| Duration::from_millis(milliseconds.into()))
}

fn table(all: &[Present]) -> Table {
    let mut table = Table::new(&["address", "stays"]);
    for present in all {
        let stays = present.left.map_or("until deleted".to_owned(), |left| {
            format!("{} s unless renewed", left.as_secs())
        });
        table.add(vec![format!("{}/{}", present.address, present.prefix), stays]);
    }
    table
}
