//! Where a member is, as the log says it: the address for the other nodes, and the one for clients
//! if it was told. Words, since people read them in the log of a node, too.

use std::net::SocketAddr;

/// The addresses of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the other nodes reach it.
    pub cluster: SocketAddr,
    /// Where clients reach its API.
    pub http: Option<SocketAddr>,
}

impl Place {
    /// For the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self.http {
            Some(http) => format!("{} {http}", self.cluster).into_bytes(),
            None => self.cluster.to_string().into_bytes(),
        }
    }

    /// What [`Self::encode`] made; nothing of anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ').map(str::parse);
        let cluster = words.next()?.ok()?;
        let http = words.next().transpose().ok()?;
        words.next().is_none().then_some(Self { cluster, http })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again_and_nothing_else() {
        let cluster = "[2001:db8::4]:7000".parse().unwrap();
        for http in [None, Some("192.0.2.4:8080".parse().unwrap())] {
            let place = Place { cluster, http };
            assert_eq!(Place::decode(&place.encode()), Some(place));
        }
        for wrong in ["", "192.0.2.4", "192.0.2.4:1 x", "192.0.2.4:1 192.0.2.4:2 ", "\u{e9}"] {
            assert_eq!(Place::decode(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
