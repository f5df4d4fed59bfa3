//! Where this node can be reached: its own address and the service addresses that it holds.
//!
//! Owns the encoding of a service address, which [`tandem_center`] carries without looking into
//! it, and the table of those that are open here. Who holds which is decided by the replicated
//! state; opening and closing them is the work of [`crate::actors::homes`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tandem_center::{HomeId, Wire};

/// The version of the encoding: its first byte.
const VERSION: u8 = 1;

/// A service address, as its node brings it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAddress {
    /// Where SIP is received, over UDP and TCP. The first one is what Contacts name.
    pub sip: Vec<SocketAddr>,
    /// What Contact and Via say instead of the first one's address, behind a translating router.
    pub advertised: Option<IpAddr>,
    /// Where audio is received.
    pub media_ip: IpAddr,
}

impl ServiceAddress {
    /// The bytes to be committed.
    pub fn encode(&self) -> Wire {
        let bytes = postcard::to_extend(self, vec![VERSION])
            .expect("a Vec takes all bytes, and every field has a postcard form");
        Wire::from(bytes)
    }

    /// Reads what [`Self::encode`] wrote; none if another build wrote it differently.
    pub fn decode(wire: &Wire) -> Option<Self> {
        let (version, bytes) = wire.0.split_first()?;
        let address: Self = (*version == VERSION).then(|| postcard::from_bytes(bytes).ok())??;
        (!address.sip.is_empty()).then_some(address)
    }

    /// All addresses of the network that it stands on.
    pub fn ips(&self) -> Vec<IpAddr> {
        ips(&self.sip, self.media_ip)
    }
}

/// An address that calls live on, as what they say about themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    /// The service address that it is; none for an address that does not move.
    pub home: Option<HomeId>,
    /// Where SIP is received and sent from.
    pub sip: SocketAddr,
    /// What Contact and Via say.
    pub host: String,
    /// What descriptions say.
    pub media_ip: IpAddr,
    /// All addresses where SIP is received.
    pub listens: Vec<SocketAddr>,
}

impl Station {
    /// Of an address that stays or moves.
    pub fn new(home: Option<HomeId>, address: &ServiceAddress) -> Option<Self> {
        let sip = *address.sip.first()?;
        let shown = SocketAddr::new(address.advertised.unwrap_or(sip.ip()), sip.port());
        let (host, media_ip) = (shown.to_string(), address.media_ip);
        Some(Self { home, sip, host, media_ip, listens: address.sip.clone() })
    }

    /// All addresses of the network that it stands on.
    pub fn ips(&self) -> Vec<IpAddr> {
        ips(&self.listens, self.media_ip)
    }
}

fn ips(sip: &[SocketAddr], media_ip: IpAddr) -> Vec<IpAddr> {
    let mut ips: Vec<_> = sip.iter().map(SocketAddr::ip).chain([media_ip]).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

/// The table of a node.
#[derive(Debug)]
pub struct Stations {
    own: Arc<Station>,
    /// Those that are open, and in which epoch each was taken.
    open: RwLock<BTreeMap<HomeId, (Arc<Station>, u32)>>,
    /// Of which epoch of an address the calls are served.
    served: RwLock<BTreeMap<HomeId, u32>>,
}

impl Stations {
    /// A node with this address of its own.
    pub fn new(own: Station) -> Self {
        Self { own: Arc::new(own), open: RwLock::default(), served: RwLock::default() }
    }

    /// The node's own address, whether or not it moves.
    pub fn own(&self) -> Arc<Station> {
        Arc::clone(&self.own)
    }

    /// The address that a call lives on; none if it is not open here.
    pub fn of(&self, home: Option<HomeId>) -> Option<Arc<Station>> {
        match home {
            None => Some(self.own()),
            Some(home) => self.read().get(&home).map(|(station, _)| Arc::clone(station)),
        }
    }

    /// In which epoch an address that is open was taken.
    pub fn taken_in(&self, home: HomeId) -> Option<u32> {
        self.read().get(&home).map(|(_, epoch)| *epoch)
    }

    /// The address that a message came to.
    pub fn at(&self, local: SocketAddr) -> Arc<Station> {
        let open = self.read();
        let found = open.values().find(|(station, _)| station.listens.contains(&local));
        found.map_or_else(|| self.own(), |(station, _)| Arc::clone(station))
    }

    /// Those that are open.
    pub fn open_homes(&self) -> Vec<HomeId> {
        self.read().keys().copied().collect()
    }

    /// From now on it is open, as whoever took it in this epoch.
    pub fn opened(&self, home: HomeId, epoch: u32, station: Station) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(home, (Arc::new(station), epoch));
    }

    /// The calls that the address had when it came here in this epoch are served.
    pub fn serves(&self, home: HomeId, epoch: u32) {
        self.served.write().unwrap_or_else(PoisonError::into_inner).insert(home, epoch);
    }

    /// The last epoch of an address of which that was said since it was opened.
    pub fn served(&self, home: HomeId) -> Option<u32> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).get(&home).copied()
    }

    /// From now on it is not; what it was.
    pub fn closed(&self, home: HomeId) -> Option<Arc<Station>> {
        self.served.write().unwrap_or_else(PoisonError::into_inner).remove(&home);
        let was = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&home);
        was.map(|(station, _)| station)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<HomeId, (Arc<Station>, u32)>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> ServiceAddress {
        let sip = vec!["10.0.0.5:5060".parse().unwrap(), "10.0.0.5:5070".parse().unwrap()];
        ServiceAddress { sip, advertised: None, media_ip: "10.0.1.5".parse().unwrap() }
    }

    #[test]
    fn an_address_reads_back_and_one_without_sip_does_not() {
        assert_eq!(ServiceAddress::decode(&address().encode()), Some(address()));
        let none = ServiceAddress { sip: Vec::new(), ..address() };
        assert_eq!(ServiceAddress::decode(&none.encode()), None);
        assert_eq!(ServiceAddress::decode(&Wire::default()), None);
        assert_eq!(ServiceAddress::decode(&Wire::from(&b"\x09rest"[..])), None);
    }

    #[test]
    fn a_message_is_of_the_station_that_it_came_to() {
        let own = ServiceAddress { sip: vec!["10.0.0.1:5060".parse().unwrap()], ..address() };
        let stations = Stations::new(Station::new(None, &own).unwrap());
        let home = HomeId(7);
        assert_eq!(stations.of(Some(home)), None);
        stations.opened(home, 3, Station::new(Some(home), &address()).unwrap());
        assert_eq!(stations.at("10.0.0.5:5070".parse().unwrap()).home, Some(home));
        assert_eq!(stations.at("10.0.0.1:5060".parse().unwrap()).home, None);
        assert_eq!(stations.of(Some(home)).unwrap().host, "10.0.0.5:5060");
        assert_eq!(stations.taken_in(home), Some(3));
        assert_eq!(address().ips().len(), 2);
        stations.closed(home);
        assert_eq!(stations.of(Some(home)), None);
    }
}
