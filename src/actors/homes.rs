//! Taking and letting go of service addresses, as the replicated state says.
//!
//! Owns which addresses are open on this node: on the network, as SIP sockets and for audio. Does
//! not own who holds them: that is replicated. Calls of an address are served only once it is
//! open. When this actor dies, addresses stay open, and its successor compares again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tandem_center::{HomeId, Wire};

use super::{replica, sip_transport};
use crate::node::Node;
use crate::stations::{ServiceAddress, Station};

/// How often an address that could not be opened is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// What the actor is told.
#[derive(Debug)]
pub enum Message {
    /// Who holds an address may have changed.
    Look,
    /// An address was not free; it may be by now.
    TryAgain,
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
        Ok(State { node, me, again: false })
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
            #[expect(clippy::panic, reason = "the hook that tests of the supervision pull")]
            Message::Panic => panic!("the test hook was pulled"),
        }
        Ok(())
    }
}

impl State {
    fn look(&mut self) {
        let me = self.node.id;
        let wanted: BTreeMap<HomeId, Wire> = self.node.replica.read_local(|machine| {
            let homes = machine.center().homes().filter(|(_, home)| home.holder == me);
            homes.map(|(id, home)| (id, home.address.clone())).collect()
        });
        let open = self.node.stations.open_homes();
        let mut closed = false;
        for home in open.iter().filter(|home| !wanted.contains_key(home)) {
            self.close(*home);
            closed = true;
        }
        let mut opened = false;
        for (home, address) in wanted.iter().filter(|(home, _)| !open.contains(home)) {
            opened |= self.open(*home, address);
        }
        let (listening, missing) = self.node.sockets.open_listeners();
        if missing {
            self.look_again();
        }
        if opened || closed || listening {
            // Whoever reads a socket keeps it.
            self.node.actors.tell_transport(sip_transport::Message::ReadAll);
        }
        if opened {
            self.node.actors.tell_replica(replica::Message::LookAtAll);
        }
    }

    fn open(&mut self, home: HomeId, address: &Wire) -> bool {
        let found = ServiceAddress::decode(address);
        let station = found.as_ref().and_then(|address| Station::new(Some(home), address));
        let Some(station) = station else {
            tracing::error!(%home, "the service address cannot be read: upgrade this node");
            return false;
        };
        if let Err(error) = self.node.sockets.open(&station.listens) {
            tracing::warn!(%home, %error, address = ?station.listens, "the service address is not free yet");
            self.look_again();
            return false;
        }
        tracing::info!(%home, address = %station.sip, "this node holds the service address");
        self.node.stations.opened(home, station);
        true
    }

    fn close(&mut self, home: HomeId) {
        let Some(station) = self.node.stations.closed(home) else { return };
        self.node.sockets.close(&station.listens);
        self.node.engine.forget(station.media_ip);
        tracing::info!(%home, address = %station.sip, "another node holds the service address");
    }

    fn look_again(&mut self) {
        if !std::mem::replace(&mut self.again, true) {
            drop(self.me.send_after(TRY_AGAIN, || Message::TryAgain));
        }
    }
}
