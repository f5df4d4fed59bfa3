//! Taking and letting go of service addresses, as the replicated state says.
//!
//! Owns which addresses are open on this node: on the network, as SIP sockets and for audio. Does
//! not own who holds them: that is replicated. Calls of an address are served only once it is
//! open. What may block (the kernel, a hook) runs on a thread of its own and reports back. While
//! the lease holds, addresses with a lifetime are renewed; a node that is frozen or cut off does
//! not, and the kernel withdraws them. When this actor dies, addresses stay open, and its
//! successor compares again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tandem_center::{Call, CallId, Command, Home, HomeId, Wire};

use super::{call, replica, sip_transport};
use crate::address::{AddressBackend, AddressError};
use crate::media_engine::PortKey;
use crate::node::Node;
use crate::stations::{ServiceAddress, Station};

/// How often an address that could not be opened is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// How often it is looked whether the call actors of an address that goes have let go of it: they
/// take a millisecond or two, on a busy machine more.
const SETTLE: Duration = Duration::from_millis(5);

/// How long those actors may take. One that hangs does not keep the address from its own node.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

/// Renewals of an address within its lifetime: the kernel withdraws it up to half a second early.
const RENEWALS: u32 = 4;

/// What the actor is told.
#[derive(Debug)]
pub enum Message {
    /// Who holds an address may have changed.
    Look,
    /// An address was not free; it may be by now.
    TryAgain,
    /// The network knows that an address is here, or it does not.
    Taken(HomeId, ServiceAddress, Result<(), AddressError>),
    /// The calls of this address are told to let go, since then: it may go when they have.
    Yield(HomeId, u32, Instant),
    /// Nothing is sent from this address any more: it goes, if this is still its epoch.
    Quiet(HomeId, u32),
    /// It is time to renew what is held.
    Renew,
    /// The renewal of an address failed.
    NotRenewed(HomeId, AddressError),
    /// A test of the supervision: die.
    Panic,
}

/// The behaviour.
#[derive(Debug)]
pub struct HomesActor;

/// What the actor holds.
#[derive(Debug)]
pub struct State {
    node: Arc<Node>,
    me: ActorRef<Message>,
    /// Being taken on another thread.
    taking: BTreeSet<HomeId>,
    /// Addresses that are given away: nothing is done for them in these epochs.
    yielded: BTreeMap<HomeId, u32>,
    /// A [`Message::TryAgain`] is on its way.
    again: bool,
}

impl Actor for HomesActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        me: ActorRef<Message>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        drop(me.send_message(Message::Look));
        if node.address.as_ref().is_some_and(|backend| has_lifetime(backend)) {
            let every = node.config.takeover.lifetime() / RENEWALS;
            drop(me.send_interval(every, || Message::Renew));
        }
        Ok(State { node, me, taking: BTreeSet::new(), yielded: BTreeMap::new(), again: false })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Look => state.look(),
            Message::TryAgain => {
                state.again = false;
                state.look();
            }
            Message::Taken(home, address, taken) => state.taken(home, &address, taken),
            Message::Yield(home, epoch, since) => state.yields(home, epoch, since),
            Message::Quiet(home, epoch) => state.yielded(home, epoch),
            Message::Renew => state.renew(),
            Message::NotRenewed(home, error) => {
                tracing::error!(%home, %error, "the service address is not renewed");
                state.close(home);
                state.look();
            }
            #[expect(clippy::panic, reason = "the hook that tests of the supervision pull")]
            Message::Panic => panic!("the test hook was pulled"),
        }
        Ok(())
    }
}

impl State {
    fn look(&mut self) {
        self.yield_others();
        let wanted = self.wanted();
        for home in self.node.stations.open_homes() {
            match wanted.get(&home) {
                None => self.close(home),
                // It was another node's, and what is here of it is from before: its sockets hold
                // what that one has answered, and the kernel may not have it any more.
                Some((epoch, _)) if self.node.stations.taken_in(home) != Some(*epoch) => {
                    drop(self.shut(home));
                }
                Some(_) => (),
            }
        }
        let open = self.node.stations.open_homes();
        let (listening, missing) = self.node.sockets.open_listeners();
        if missing {
            self.look_again();
        }
        if listening || self.is_anything_unserved() {
            self.node.actors.tell_replica(replica::Message::Listening);
        }
        for (home, (_, address)) in wanted.iter().filter(|(home, _)| !open.contains(home)) {
            match ServiceAddress::decode(address) {
                Some(address) => self.take(*home, address),
                None => {
                    tracing::error!(%home, "the service address cannot be read: upgrade this node");
                }
            }
        }
    }

    /// The calls of an address that is open are not served yet.
    fn is_anything_unserved(&self) -> bool {
        let open = self.node.stations.open_homes();
        let held = self.node.homes_held();
        held.iter().any(|(home, epoch)| {
            open.contains(home) && self.node.stations.served(*home) != Some(*epoch)
        })
    }

    /// What this node is to hold, by the replicated state, and since which epoch.
    fn wanted(&self) -> BTreeMap<HomeId, (u32, Wire)> {
        let me = self.node.id;
        self.node.replica.read_local(|machine| {
            let yielded = |id, home: &Home| self.yielded.get(&id) == Some(&home.epoch);
            let held = |id, home: &Home| home.holder == me && !yielded(id, home);
            let homes = machine.center().homes().filter(|(id, home)| held(*id, home));
            homes.map(|(id, home)| (id, (home.epoch, home.address.clone()))).collect()
        })
    }

    /// Lets go of addresses whose own node is up again, or of all if this node is draining: first
    /// nothing is done for their calls any more, then they go. Far ends never hear two.
    fn yield_others(&mut self) {
        if !self.node.lease.holds() {
            return;
        }
        let me = self.node.id;
        let due: Vec<(HomeId, u32)> = self.node.replica.read_local(|machine| {
            let center = machine.center();
            let goes = |home: &Home| home.holder == me && center.heir(home).is_some();
            let due = center.homes().filter(|(_, home)| goes(home));
            due.map(|(id, home)| (id, home.epoch)).collect()
        });
        self.yielded.retain(|id, epoch| due.contains(&(*id, *epoch)));
        let now = Instant::now();
        for (home, epoch) in due {
            if self.yielded.insert(home, epoch).is_none() {
                self.close(home);
                for call in self.ports_of(home).keys().filter_map(|id| self.node.router.call(*id)) {
                    drop(call.send_message(call::Message::Forsake));
                }
                drop(self.me.send_after(SETTLE, move || Message::Yield(home, epoch, now)));
            } else {
                // Said before, and not committed yet.
                drop(self.me.send_after(TRY_AGAIN, move || Message::Yield(home, epoch, now)));
            }
        }
    }

    /// The calls that live at an address, and the media ports that they have here.
    fn ports_of(&self, home: HomeId) -> BTreeMap<CallId, Vec<PortKey>> {
        self.node.replica.read_local(|machine| {
            let calls = machine.center().calls().filter(|call| call.home == Some(home));
            let ports = |call: &Call| {
                call.legs.keys().map(|leg| PortKey { call: call.id.0, leg: leg.0 }).collect()
            };
            calls.map(|call| (call.id, ports(call))).collect()
        })
    }

    /// The next holder speaks as soon as it knows. Before that the call actors have let go, and then
    /// the packet threads, which do what they are told in order.
    fn yields(&mut self, home: HomeId, epoch: u32, since: Instant) {
        if self.yielded.get(&home) != Some(&epoch) {
            return;
        }
        let ports = self.ports_of(home);
        let is_served = ports.keys().any(|call| self.node.router.call(*call).is_some());
        if is_served && since.elapsed() < SETTLED_WITHIN {
            return drop(self.me.send_after(SETTLE, move || Message::Yield(home, epoch, since)));
        }
        let last = Arc::new(LastOne { me: self.me.clone(), home, epoch });
        for port in ports.into_values().flatten() {
            let last = Arc::clone(&last);
            self.node.engine.export(port, move |_closed| drop(last));
        }
    }

    fn yielded(&mut self, home: HomeId, epoch: u32) {
        if self.yielded.get(&home) == Some(&epoch) {
            let command = Command::HomeYielded { home, epoch };
            self.node.propose_then(&command, |_| ());
            self.look_again();
        }
    }

    /// Nothing is taken without a lease: who has none cannot know whether the state is still so.
    fn take(&mut self, home: HomeId, address: ServiceAddress) {
        let Some(backend) = self.node.address.clone() else { return };
        if !self.node.lease.holds() {
            return self.look_again();
        }
        match &*backend {
            AddressBackend::Loopback => {
                let taken = backend.take(&address.ips(), None);
                self.taken(home, &address, taken);
            }
            AddressBackend::Interface(_) | AddressBackend::Hook(_) => {
                if self.taking.insert(home) {
                    let (me, lifetime) = (self.me.clone(), self.node.config.takeover.lifetime());
                    tokio::task::spawn_blocking(move || {
                        let taken = backend.take(&address.ips(), Some(lifetime));
                        let _ = me.send_message(Message::Taken(home, address, taken));
                    });
                }
            }
        }
    }

    fn taken(&mut self, home: HomeId, address: &ServiceAddress, taken: Result<(), AddressError>) {
        self.taking.remove(&home);
        if let Err(error) = taken {
            tracing::error!(%home, %error, "the service address is not taken");
            return self.look_again();
        }
        let Some((epoch, _)) = self.wanted().remove(&home) else {
            return self.release(home, address.ips());
        };
        let Some(station) = Station::new(Some(home), address) else { return };
        self.promise_ports(home, station.media_ip);
        if let Err(error) = self.node.sockets.open(&station.listens) {
            let listens = &station.listens;
            tracing::warn!(%home, %error, ?listens, "the service address is not free yet");
            return self.look_again();
        }
        tracing::info!(%home, address = %station.sip, "this node holds the service address");
        self.node.stations.opened(home, epoch, station);
        self.node.actors.tell_replica(replica::Message::Listening);
    }

    /// Callers reach the address before all its calls are served here: their ports are theirs.
    fn promise_ports(&self, home: HomeId, ip: IpAddr) {
        let ports: Vec<u16> = self.node.replica.read_local(|machine| {
            let calls = machine.center().calls().filter(|call| call.home == Some(home));
            let legs = calls.flat_map(|call| call.legs.values());
            legs.filter_map(|leg| call::committed_port(&leg.wire)).collect()
        });
        self.node.engine.promise(ip, &ports);
    }

    fn close(&mut self, home: HomeId) {
        if let Some(station) = self.shut(home) {
            self.release(home, station.ips());
        }
    }

    /// Closes the sockets of an address; what it was.
    fn shut(&mut self, home: HomeId) -> Option<Arc<Station>> {
        let station = self.node.stations.closed(home)?;
        self.node.sockets.close(&station.listens);
        // Whoever reads a socket keeps it, and it could not be opened again.
        self.node.actors.tell_transport(sip_transport::Message::ReadAll);
        self.node.engine.forget(station.media_ip);
        tracing::info!(%home, address = %station.sip, "this node lets go of the service address");
        Some(station)
    }

    fn release(&self, home: HomeId, ips: Vec<IpAddr>) {
        let Some(backend) = self.node.address.clone() else { return };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = backend.release(&ips) {
                tracing::error!(%home, %error, "the service address is not released");
            }
        });
    }

    fn renew(&self) {
        let Some(backend) = self.node.address.clone().filter(|_| self.node.lease.holds()) else {
            return;
        };
        for home in self.node.stations.open_homes() {
            let Some(station) = self.node.stations.of(Some(home)) else { continue };
            let (backend, me) = (Arc::clone(&backend), self.me.clone());
            let lifetime = self.node.config.takeover.lifetime();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = backend.refresh(&station.ips(), Some(lifetime)) {
                    let _ = me.send_message(Message::NotRenewed(home, error));
                }
            });
        }
    }

    fn look_again(&mut self) {
        if !std::mem::replace(&mut self.again, true) {
            drop(self.me.send_after(TRY_AGAIN, || Message::TryAgain));
        }
    }
}

/// Says that an address is quiet when all have let go of this.
struct LastOne {
    me: ActorRef<Message>,
    home: HomeId,
    epoch: u32,
}

impl Drop for LastOne {
    fn drop(&mut self) {
        drop(self.me.send_message(Message::Quiet(self.home, self.epoch)));
    }
}

/// Whether addresses go by themselves when nobody renews them.
fn has_lifetime(backend: &AddressBackend) -> bool {
    match backend {
        AddressBackend::Interface(_) | AddressBackend::Hook(_) => true,
        AddressBackend::Loopback => false,
    }
}
