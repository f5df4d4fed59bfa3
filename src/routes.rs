//! Where a target is: the way from a name in the call centre to an address on the network.
//!
//! Owns the trunks' addresses and credentials, which are secrets of this node and not replicated,
//! and a view of the phones' registrations, which are.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

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
}

/// A way out to the telephone network.
#[derive(Debug, Clone)]
pub struct Trunk {
    /// Its SIP URI, without a user part.
    pub address: Uri,
    /// What it asks for.
    pub credentials: Option<Credentials>,
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

    fn trunk(&self, name: &str, number: &str, local: SocketAddr) -> Result<Way, RouteError> {
        let trunk = self.trunks.get(name).ok_or_else(|| RouteError::NoTrunk(name.to_owned()))?;
        let not_sip = |_| RouteError::NotSip(number.to_owned());
        let target =
            Uri::sip(Some(number), trunk.address.host(), trunk.address.port()).map_err(not_sip)?;
        let peer = peer(&trunk.address, local)?;
        let target = target.as_str().to_owned();
        Ok(Way { target, peer, credentials: trunk.credentials.clone() })
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
            return Ok(Way { target: contact.uri, peer, credentials: None });
        }
        let peer = peer(&uri, local)?;
        Ok(Way { target: target.to_owned(), peer, credentials: None })
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
        let trunk = Trunk { address, credentials: None };
        Routes::new(BTreeMap::from([("out".into(), trunk)]), "tandem")
    }

    #[test]
    fn a_number_behind_a_trunk_goes_to_the_trunk() {
        let way = routes().way(&Role::Trunk("out".into()), "4711", local(), |_| None).unwrap();
        assert_eq!(way.target, "sip:4711@10.1.2.3:5070");
        assert_eq!(way.peer.remote, "10.1.2.3:5070".parse().unwrap());
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
