//! How calls reach the node that adopts them: what `[takeover]` says in a drill, and what the
//! nodes need for it.

use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::machines::{self, INTERFACE};
use super::phases::Phase;

/// The program of [`Means::Hook`], in the drill's folder.
const HOOK: &str = "move-address";

/// A way of taking over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// Nodes on one machine, by addresses of 127.0.0.0/8.
    Loopback,
    /// Each node on a machine of its own, by netlink and gratuitous ARP.
    Interface,
    /// The same, by a program that the node calls.
    Hook,
    /// Nodes whose addresses stay: the adopter tells each far end its own by a re-INVITE.
    Reinvite,
}

impl Means {
    /// Whether each node is on a machine of its own.
    pub(crate) fn has_machines(self) -> bool {
        match self {
            Self::Interface | Self::Hook => true,
            Self::Loopback | Self::Reinvite => false,
        }
    }

    /// Whether a call survives in this phase. What is not answered has no dialog in which a far end
    /// could be told another address: an invited phone is cancelled, and its caller looks for
    /// another way.
    pub(crate) fn keeps(self, phase: Phase) -> bool {
        let is_unanswered = matches!(
            phase,
            Phase::Inviting
                | Phase::Offered
                | Phase::DialingOut
                | Phase::EarlyMedia
                | Phase::Transferred
        );
        self != Self::Reinvite || !is_unanswered
    }

    /// Why it cannot be drilled here, if it cannot.
    pub(crate) fn impossible(self) -> Option<String> {
        self.has_machines().then(machines::impossible).flatten()
    }

    /// Writes what the nodes need besides their configuration.
    pub(crate) fn write(self, folder: &Path) -> io::Result<()> {
        if self != Self::Hook {
            return Ok(());
        }
        let program = std::env::current_exe()?;
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).write(true).mode(0o755).open(folder.join(HOOK))?;
        // `release` has no lifetime, and the variable is unset then.
        write!(
            file,
            "#!/bin/sh\nexec {program:?} address \"$1\" --interface {INTERFACE} \
             ${{TANDEM_LIFETIME_MS:+--lifetime-ms \"$TANDEM_LIFETIME_MS\"}} \"$2\"\n"
        )
    }

    /// The section of the nodes' configuration.
    pub(crate) fn section(self, folder: &Path) -> String {
        match self {
            Self::Loopback => String::new(),
            Self::Interface => {
                format!("[takeover]\nmode = \"interface\"\ninterface = \"{INTERFACE}\"\n\n")
            }
            Self::Hook => {
                format!("[takeover]\nmode = \"hook\"\nhook = {:?}\n\n", folder.join(HOOK))
            }
            Self::Reinvite => "[takeover]\nmode = \"reinvite\"\n\n".to_owned(),
        }
    }

    /// The network of nodes and parties whose addresses begin with `first`. Rounds side by side
    /// have switches of their own, and a route for each.
    pub(crate) fn network(self, first: u8) -> Ipv4Addr {
        match self {
            Self::Loopback | Self::Reinvite => Ipv4Addr::new(127, 0, 0, 0),
            Self::Interface | Self::Hook => Ipv4Addr::new(10, 77, first, 0),
        }
    }
}
