//! What arrives by SIP, and who it is for.
//!
//! Owns the reading of the sockets and everything that is answered without a call: OPTIONS,
//! REGISTER (handed to the registrar), malformed messages, strays, and the refusal of calls when
//! there is no place for more. Keeps no state of any call; the sockets and the routing table
//! outlive this actor, so its death loses at most the datagram at hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tandem_sip::leg;
use tandem_sip::wire::{
    Abilities, HeaderName, Malformed, Message as SipMessage, Method, Peer, Request, Response,
    ResponseBuilder, Transport, validate_request,
};

use super::sip_sockets::{Inbound, Reading};
use super::{call, registrar};
use crate::node::{NoPlace, Node};

/// What we do with a request outside of calls: what a leg does, since a call begins there, and
/// REGISTER.
pub const ABILITIES: Abilities = Abilities {
    methods: &[
        Method::Invite,
        Method::Ack,
        Method::Cancel,
        Method::Bye,
        Method::Options,
        Method::Register,
        Method::Prack,
        Method::Update,
        Method::Info,
        Method::Refer,
    ],
    extensions: leg::ABILITIES.extensions,
    content_types: leg::ABILITIES.content_types,
};

/// Seconds after which a refused caller may try again (RFC 3261 §20.33).
const RETRY_AFTER_SECONDS: &str = "2";

/// How often the delay of the runtime's tasks is measured.
const LAG_EVERY: Duration = Duration::from_millis(50);

/// A task that runs so late was not kept from it by load: the process was stopped.
const STOPPED: Duration = Duration::from_secs(1);

/// How often the answers to BYEs that nobody can repeat any more are given up.
const ANSWERS_FORGOTTEN_EVERY: Duration = Duration::from_secs(1);

/// What the transport is told.
#[derive(Debug)]
pub enum Message {
    /// Other addresses are open now: read those.
    ReadAll,
    /// A test of the supervision: die.
    Panic,
}

/// The behaviour of the transport.
#[derive(Debug)]
pub struct SipTransportActor;

/// What it holds: reading ends with it.
#[derive(Debug)]
pub struct State {
    node: Arc<Node>,
    reading: Reading,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for State {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Actor for SipTransportActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<Node>;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        node: Arc<Node>,
    ) -> Result<State, ActorProcessingErr> {
        let lag = tokio::spawn(measure_lag(Arc::clone(&node)));
        let forgetting = tokio::spawn(forget_answers(Arc::clone(&node)));
        let reading = node.sockets.read(&node.dispatcher());
        Ok(State { node, reading, tasks: [lag, forgetting] })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::ReadAll => {
                state.reading = state.node.sockets.read(&state.node.dispatcher());
                Ok(())
            }
            #[expect(clippy::panic, reason = "the hook that tests of the supervision pull")]
            Message::Panic => panic!("the test hook was pulled"),
        }
    }
}

/// Measures how late a task runs that asks to run now and then: the first sign of overload, long
/// before memory or sockets fill.
async fn measure_lag(node: Arc<Node>) {
    loop {
        let due = Instant::now() + LAG_EVERY;
        tokio::time::sleep_until(due.into()).await;
        node.lag.observe(due.elapsed());
        node.leaseless.observe(node.lease.holds());
    }
}

/// Gives up what the routing table keeps for repetitions, also when nothing arrives any more.
async fn forget_answers(node: Arc<Node>) {
    loop {
        tokio::time::sleep(ANSWERS_FORGOTTEN_EVERY).await;
        node.router.forget_answers();
    }
}

/// For how long the node has been awake without a lease. While the process is stopped another node
/// may have taken its addresses, and nothing is known of that when it wakes up: it is not cut off
/// for that.
#[derive(Debug, Default)]
pub struct Leaseless {
    ticks: AtomicU32,
}

impl Leaseless {
    fn observe(&self, holds: bool) {
        let before = self.ticks.load(Ordering::Relaxed);
        self.ticks.store(if holds { 0 } else { before.saturating_add(1) }, Ordering::Relaxed);
    }

    /// To a twentieth of a second.
    pub fn get(&self) -> Duration {
        LAG_EVERY * self.ticks.load(Ordering::Relaxed)
    }
}

/// The delay of the runtime's tasks, smoothed.
#[derive(Debug, Default)]
pub struct Lag {
    micros: AtomicU64,
}

impl Lag {
    /// Rises at once, falls by halves: load that was just shed should not come back at once. A
    /// process that was stopped has no load, and what it read before may be another node's.
    fn observe(&self, late: Duration) {
        if late > STOPPED {
            return;
        }
        let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let before = self.micros.load(Ordering::Relaxed);
        self.micros.store(late.max(before / 2), Ordering::Relaxed);
    }

    /// The present delay.
    pub fn get(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// Finds out who a message is for.
#[derive(Debug)]
pub struct Dispatcher {
    node: Arc<Node>,
}

impl Dispatcher {
    /// For this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Hands a request to its call, or answers it.
    pub fn request(&self, request: Request, peer: Peer) {
        if may_be_of_a_call(&request)
            && let Some(call) = self.node.router.by_sip_call_id(request.call_id().as_bytes())
        {
            drop(call.send_message(call::Message::Request(Box::new(request), peer)));
            return;
        }
        if let Err(mut refusal) = validate_request(&request, &ABILITIES) {
            let mut headers = refusal.headers.iter_mut();
            if let Some((_, value)) = headers.find(|(name, _)| *name == HeaderName::Allow) {
                *value = allow();
            }
            return self.respond(&refusal.response(&request, &tag_of(&request)), &request, &peer);
        }
        let in_dialog = request.to_tag().is_some();
        match request.method() {
            Method::Invite if !in_dialog => self.arrival(request, peer),
            Method::Options if !in_dialog => self.options(&request, &peer),
            Method::Register => {
                let message = registrar::Message::Register(Box::new(request), peer);
                self.node.actors.tell_registrar(message);
            }
            Method::Bye if self.repeat_last_answer(&request) => (),
            Method::Bye if in_dialog && self.node.router.is_known_to_hang_up(&request) => {
                self.respond(&Response::to_request(&request, 200, None).build(), &request, &peer);
            }
            Method::Invite
            | Method::Options
            | Method::Bye
            | Method::Ack
            | Method::Cancel
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Info
            | Method::Refer
            | Method::Message
            | Method::Update
            | Method::Other(_) => self.stray(&request, &peer),
        }
    }

    /// Nobody here knows the dialog. Where that says nothing, the far end repeats itself, here or to
    /// who has the address by then.
    fn stray(&self, request: &Request, peer: &Peer) {
        if self.node.knows_dialogs_at(peer.local) {
            self.node.answer_unknown_dialog(request, peer);
        }
    }

    fn arrival(&self, invite: Request, peer: Peer) {
        // With a lease or without: a node that wakes up has sockets full of what another one has
        // answered meanwhile.
        if !self.node.serves_calls_at(peer.local) || self.is_coming(&invite) {
            return;
        }
        if let Err(no_place) = self.node.admit() {
            self.node.metrics.calls_refused_total.with_label_values(&[no_place.reason()]).inc();
            return self.respond(&no_place_for(&invite, no_place).build(), &invite, &peer);
        }
        self.node.metrics.calls_total.with_label_values(&["inbound"]).inc();
        let id = self.node.new_call_id();
        self.node.router.bind(invite.call_id().as_bytes(), id);
        let invite = Box::new(invite);
        let arguments =
            call::Arguments::Arriving { node: Arc::clone(&self.node), call: id, invite, peer };
        self.node.actors.start_call(&self.node, id, arguments);
    }

    /// The INVITE is of a call that is known and whose actor is not here yet. It will be repeated; to
    /// take it for a new call would be to call its far end twice.
    fn is_coming(&self, invite: &Request) -> bool {
        let call = self.node.router.bound(invite.call_id().as_bytes());
        let is_known =
            |call| self.node.replica.read_local(|machine| machine.center().call(call).is_some());
        call.is_some_and(is_known)
    }

    fn options(&self, request: &Request, peer: &Peer) {
        // RFC 3261 §11.2: the status is the one that an INVITE would get.
        let response = match self.node.admit() {
            Ok(()) => Response::to_request(request, 200, Some(&tag_of(request))),
            Err(no_place) => no_place_for(request, no_place),
        };
        let response = response
            .header(HeaderName::Allow, allow())
            .header(HeaderName::Accept, "application/sdp")
            .header(HeaderName::Supported, ABILITIES.extensions.join(", "))
            .build();
        self.respond(&response, request, peer);
    }

    /// A repeated BYE of a call that is forgotten gets the answer that it got before.
    fn repeat_last_answer(&self, bye: &Request) -> bool {
        let answer = self.node.router.last_answer(bye);
        answer.is_some_and(|(peer, bytes)| {
            self.node.send_sip(&peer, bytes);
            true
        })
    }

    fn respond(&self, response: &Response, request: &Request, peer: &Peer) {
        self.node.send_sip(&reply_to(request, peer), response.to_bytes());
    }
}

impl Inbound for Dispatcher {
    fn message(&self, message: Result<SipMessage, Malformed>, peer: Peer) {
        match message {
            Ok(SipMessage::Request(request)) => {
                let method = known_method(request.method());
                self.node.metrics.sip_requests_total.with_label_values(&["in", method]).inc();
                self.request(request.with_source(peer.remote), peer);
            }
            Ok(SipMessage::Response(response)) => {
                self.node.metrics.count_response("in", response.status());
                let call = self.node.router.by_sip_call_id(response.call_id().as_bytes());
                match call {
                    Some(call) => {
                        drop(call.send_message(call::Message::Response(Box::new(response))));
                    }
                    None => self.node.prober.response(&self.node, &response),
                }
            }
            Err(malformed) => {
                self.node.metrics.sip_malformed_total.inc();
                tracing::debug!(remote = %peer.remote, fault = %malformed.fault(), "not SIP");
                if let Some(reply) = malformed.reply(peer.remote) {
                    self.node.send_sip(&peer, reply);
                }
            }
        }
    }

    fn unreachable(&self, call_id: &str, peer: Peer) {
        match self.node.router.by_sip_call_id(call_id.as_bytes()) {
            Some(call) => drop(call.send_message(call::Message::Unreachable(peer))),
            None => self.node.prober.unreachable(&self.node, call_id),
        }
    }
}

/// Whether a request can belong to a call that is known by its Call-ID. Outside of a dialog only
/// an INVITE begins one, may come again, and is acknowledged and cancelled; whatever else has no
/// To tag is asked of the node (RFC 3261 §12.2.2), even if its Call-ID was used before.
fn may_be_of_a_call(request: &Request) -> bool {
    request.to_tag().is_some()
        || matches!(request.method(), Method::Invite | Method::Ack | Method::Cancel)
}

/// What is allowed outside of calls.
fn allow() -> String {
    format!("{}, {}", leg::ALLOW, Method::Register.as_str())
}

/// Who asks for a call is told to come back later.
fn no_place_for(request: &Request, why: NoPlace) -> ResponseBuilder {
    Response::to_request(request, 503, Some(&tag_of(request)))
        .reason(why.phrase())
        .header(HeaderName::RetryAfter, RETRY_AFTER_SECONDS)
}

/// Where a response goes: back on a connection, else by the Via (RFC 3261 §18.2.2, RFC 3581).
pub fn reply_to(request: &Request, peer: &Peer) -> Peer {
    let remote: SocketAddr = match peer.transport {
        Transport::Udp => request.via_top().reply_address(peer.remote),
        Transport::Tcp | Transport::Tls => peer.remote,
    };
    Peer { remote, ..*peer }
}

/// The To tag of a response without a call: equal for equal requests (RFC 3261 §8.2.7), from a
/// hash of the request's transaction (FNV-1a).
pub fn tag_of(request: &Request) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = request.call_id().bytes().chain(request.from_tag().unwrap_or_default().bytes());
    format!("{:016x}", bytes.fold(0xcbf2_9ce4_8422_2325, step))
}

/// The label of a method; what others make up is one label, so that they cannot fill the registry.
fn known_method(method: &Method) -> &str {
    match method {
        Method::Other(_) => "other",
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Prack
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Info
        | Method::Refer
        | Method::Message
        | Method::Update => method.as_str(),
    }
}
