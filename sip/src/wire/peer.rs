//! Where a message came from or goes to.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A transport protocol (RFC 3261 §18).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Transport {
    /// Unreliable: transactions retransmit.
    Udp,
    /// Reliable, framed by Content-Length.
    Tcp,
    /// As TCP, secured.
    Tls,
}

impl Transport {
    /// Whether the transport itself retransmits, so that the transactions must not.
    pub fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls => true,
        }
    }

    /// The word in a Via: `SIP/2.0/UDP`.
    pub fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The value of a URI's `transport` parameter (RFC 3261 §19.1.1).
    pub fn uri_name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Reads the word of a Via or of a `transport` parameter, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|transport| transport.via_name().eq_ignore_ascii_case(name))
    }

    /// The port where no port is given (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

/// One hop: who is at the other end, through which of our sockets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// The protocol.
    pub transport: Transport,
    /// The other end.
    pub remote: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// The connection of a reliable transport, as the shell numbers them; none opens one.
    pub connection: Option<u64>,
}
