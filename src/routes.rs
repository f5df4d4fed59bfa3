//! Where a target is: the way from a name in the call centre to an address on the network.
//!
//! Owns the trunks' addresses and credentials, which are secrets of this node and not replicated,
//! and a view of the phones' registrations, which are.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tandem_center::Role;
use tandem_sip::auth::Credentials;
use tandem_sip::wire::{Peer, Transport, Uri};

/// A way to a target.
#[derive(Debug, Clone)]
pub struct Way {
    /// The Request-URI.
    pub target: String,
    /// The next hop.
    pub peer: Peer,
    /// What to answer a challenge with.
    pub credentials: Option<Credentials>,
    /// By when the next hop is to say something, if only 100; by timer B where nothing is said here.
    pub answers_within: Option<Duration>,
}

/// A way out to the telephone network.
#[derive(Debug, Clone)]
pub struct Trunk {
    /// Its SIP URI, without a user part.
    pub address: Uri,
    /// What it asks for.
    pub credentials: Option<Credentials>,
    /// By when it is to say something to an INVITE.
    pub answers_within: Duration,
    /// Where its own calls come from.
    pub sources: Vec<Source>,
}

/// An address that sends requests; without a port, any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

impl Source {
    /// Reads `address` or `address:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let whole = text.parse().map(|ip| Self { ip, port: None }).ok();
        whole.or_else(|| {
            let address: SocketAddr = text.parse().ok()?;
            Some(Self { ip: address.ip(), port: Some(address.port()) })
        })
    }

    fn is_of(self, sender: SocketAddr) -> bool {
        self.ip == sender.ip() && self.port.is_none_or(|port| port == sender.port())
    }
}

/// Why there is no way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No such trunk on this node.
    #[error("this node has no trunk {0:?}")]
    NoTrunk(String),
    /// Not a SIP URI.
    #[error("{0:?} is no SIP URI")]
    NotSip(String),
    /// The phone has not registered.
    #[error("no phone is registered as {0:?}")]
    NotRegistered(String),
    /// The host cannot be resolved.
    #[error("the host of {0:?} is not known")]
    UnknownHost(String),
}

impl RouteError {
    /// As if the far end had refused with it.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoTrunk(_) => 503,
            Self::NotSip(_) | Self::UnknownHost(_) => 404,
            Self::NotRegistered(_) => 480,
        }
    }
}

/// The contact of a registered phone.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Its URI.
    pub uri: String,
    /// Where its REGISTER came from, which passes a NAT where the URI does not.
    pub peer: Peer,
}

/// Ways to targets.
#[derive(Debug)]
pub struct Routes {
    trunks: BTreeMap<Arc<str>, Trunk>,
    /// The domain of phones that register: a URI there names a user, not a host.
    realm: String,
}

impl Routes {
    /// With these trunks.
    pub fn new(trunks: BTreeMap<Arc<str>, Trunk>, realm: &str) -> Self {
        Self { trunks, realm: realm.to_owned() }
    }

    /// The trunk that a request came from, if its sender is one.
    pub fn trunk_of(&self, sender: SocketAddr) -> Option<Arc<str>> {
        let mut trunks = self.trunks.iter();
        let found = trunks.find(|(_, trunk)| trunk.sources.iter().any(|of| of.is_of(sender)));
        found.map(|(name, _)| name.clone())
    }

    /// The way from an address of ours to what a leg invites.
    ///
    /// # Errors
    /// There is none; see [`RouteError`].
    pub fn way(
        &self,
        role: &Role,
        target: &str,
        local: SocketAddr,
        registered: impl FnOnce(&str) -> Option<Contact>,
    ) -> Result<Way, RouteError> {
        match role {
            Role::Trunk(name) => self.trunk(name, target, local),
            Role::Agent(_) | Role::Target | Role::Caller => self.direct(target, local, registered),
        }
    }

    /// A trunk without a number: its URI, and the way there from an address of ours.
    ///
    /// # Errors
    /// There is none.
    pub fn trunk_itself(&self, name: &str, local: SocketAddr) -> Result<(Uri, Peer), RouteError> {
        let trunk = self.trunks.get(name).ok_or_else(|| RouteError::NoTrunk(name.to_owned()))?;
        Ok((trunk.address.clone(), peer(&trunk.address, local)?))
    }

    fn trunk(&self, name: &str, number: &str, local: SocketAddr) -> Result<Way, RouteError> {
        let trunk = self.trunks.get(name).ok_or_else(|| RouteError::NoTrunk(name.to_owned()))?;
        let not_sip = |_| RouteError::NotSip(number.to_owned());
        let target =
            Uri::sip(Some(number), trunk.address.host(), trunk.address.port()).map_err(not_sip)?;
        let peer = peer(&trunk.address, local)?;
        let target = target.as_str().to_owned();
        let (credentials, answers_within) = (trunk.credentials.clone(), trunk.answers_within);
        Ok(Way { target, peer, credentials, answers_within: Some(answers_within) })
    }

    fn direct(
        &self,
        target: &str,
        local: SocketAddr,
        registered: impl FnOnce(&str) -> Option<Contact>,
    ) -> Result<Way, RouteError> {
        let uri =
            Uri::parse(target.as_bytes()).map_err(|_| RouteError::NotSip(target.to_owned()))?;
        if uri.host().eq_ignore_ascii_case(&self.realm) {
            let user = uri.user().unwrap_or_default();
            let contact =
                registered(user).ok_or_else(|| RouteError::NotRegistered(user.to_owned()))?;
            let peer = Peer { local, ..contact.peer };
            return Ok(Way { target: contact.uri, peer, credentials: None, answers_within: None });
        }
        let peer = peer(&uri, local)?;
        Ok(Way { target: target.to_owned(), peer, credentials: None, answers_within: None })
    }
}

/// The next hop of a URI. Names are looked up at once: only the configuration names hosts, and
/// those of a call centre are literal addresses or in the hosts file.
fn peer(uri: &Uri, local: SocketAddr) -> Result<Peer, RouteError> {
    let transport = uri.param("transport").and_then(Transport::from_name).unwrap_or(Transport::Udp);
    let port = uri.port().unwrap_or(transport.default_port());
    let unknown = || RouteError::UnknownHost(uri.as_str().to_owned());
    let remote = match uri.host_ip() {
        Some(ip) => SocketAddr::new(ip, port),
        None => {
            let mut found = (uri.host(), port).to_socket_addrs().map_err(|_| unknown())?;
            found.find(|found| found.is_ipv4() == local.is_ipv4()).ok_or_else(unknown)?
        }
    };
    Ok(Peer { transport, remote, local, connection: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        "127.0.0.1:5060".parse().unwrap()
    }

    fn routes() -> Routes {
        let address = Uri::parse(b"sip:10.1.2.3:5070").unwrap();
        let sources = ["10.1.2.3", "[::1]:5070"].into_iter().filter_map(Source::parse).collect();
        let answers_within = Duration::from_secs(5);
        let trunk = Trunk { address, credentials: None, answers_within, sources };
        Routes::new(BTreeMap::from([("out".into(), trunk)]), "tandem")
    }

    #[test]
    fn a_number_behind_a_trunk_goes_to_the_trunk() {
        let way = routes().way(&Role::Trunk("out".into()), "4711", local(), |_| None).unwrap();
        assert_eq!(way.target, "sip:4711@10.1.2.3:5070");
        assert_eq!(way.peer.remote, "10.1.2.3:5070".parse().unwrap());
    }

    #[test]
    fn a_caller_is_a_trunk_by_its_address_and_the_port_where_one_is_given() {
        let from = |sender: &str| routes().trunk_of(sender.parse().unwrap());
        assert_eq!(from("10.1.2.3:40000").as_deref(), Some("out"));
        assert_eq!(from("[::1]:5070").as_deref(), Some("out"));
        assert_eq!((from("[::1]:5071"), from("10.1.2.4:5060")), (None, None));
    }

    #[test]
    fn a_uri_goes_where_it_says_and_a_name_to_its_phone() {
        let way = routes().way(&Role::Target, "sip:x@127.0.0.1:5070", local(), |_| None).unwrap();
        assert_eq!(way.peer.remote, "127.0.0.1:5070".parse().unwrap());
        let gone = routes().way(&Role::Target, "sip:ana@tandem", local(), |_| None).unwrap_err();
        assert_eq!(gone, RouteError::NotRegistered("ana".into()));
    }

    #[test]
    fn tcp_is_used_where_the_uri_says_so() {
        let way = routes()
            .way(&Role::Target, "sip:x@127.0.0.1;transport=tcp", local(), |_| None)
            .unwrap();
        assert_eq!((way.peer.transport, way.peer.remote.port()), (Transport::Tcp, 5060));
    }
}
