//! A running node: everything that its actors share, and how it starts and stops.
//!
//! Owns the handles to the replica, the sockets, the media engine and the voices, and the rules
//! for taking another call. Owns no state of a call.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tandem_center::flow::IvrResult;
use tandem_center::flow::{HttpRequest, Prompt};
use tandem_center::{
    AgentId, CallId, Center, Command, Directory, HomeId, NodeId, Party, Queue, QueueId, Rejected,
    Reply, Role,
};
use tandem_sip::leg::{Identity, Settings, answer_stray};
use tandem_sip::registrar::Registered;
use tandem_sip::sdp::Capabilities;
use tandem_sip::wire::{NameAddr, Peer, Request, Uri};

use crate::actors::call::LegNames;
use crate::actors::replica::{CenterMachine, Message as ReplicaMessage};
use crate::actors::router::Router;
use crate::actors::sip_sockets::SipSockets;
use crate::actors::sip_transport::{Dispatcher, Lag, Leaseless};
use crate::actors::supervisor::Actors;
use crate::address::AddressBackend;
use crate::alarms::Alarms;
use crate::api::events::EventLog;
use crate::audit::journal::Journal;
use crate::config::Config;
use crate::ivr_http::IvrHttp;
use crate::media_engine::{Clip, Engine, PortKey, ReserveError};
use crate::metrics::Metrics;
use crate::recordings::Recordings;
use crate::registrations;
use crate::replica::{Answer, Lease, Proposal, ProposalError, ReplicaHandle};
use crate::routes::{RouteError, Routes, Way};
use crate::speech::PromptStore;
use crate::stations::{ServiceAddress, Station, Stations};
use crate::trunks::Prober;

/// Arrivals that wait for their commit. Past it callers are told to come again later: at 1,000
/// calls/s this is a quarter of a second, beyond which the caller repeats the INVITE anyway.
const ARRIVALS_UNCOMMITTED_MAX: usize = 256;

/// Calls that have ended and still repeat their last response, beside those that `calls_max`
/// counts. Each stays for 32 s (Timer H) if its caller never acknowledges: 500 such callers a
/// second. Past it new callers are told to come again later.
const CALLS_ENDED_MAX: usize = 16_384;

/// A node without a lease for that long is cut off, and new callers are sent elsewhere. Less is an
/// election: callers wait for its end, as they do for any commit.
const ELECTION_MAX: Duration = Duration::from_secs(2);

/// Delay of the runtime's tasks at which calls are refused. SIP's T1 is 500 ms: what is answered
/// later than that is sent twice, and the load doubles.
const LAG_MAX: Duration = Duration::from_millis(150);

/// What the actors of a node share.
#[derive(Debug)]
pub struct Node {
    /// This node.
    pub id: NodeId,
    /// How it was configured.
    pub config: Config,
    /// The replicated state.
    pub replica: ReplicaHandle<CenterMachine>,
    /// The SIP sockets.
    pub sockets: Arc<SipSockets>,
    /// Which actor serves which call.
    pub router: Router,
    /// The running actors.
    pub actors: Actors,
    /// The media engine.
    pub engine: Engine,
    /// Prompts.
    pub prompts: Arc<PromptStore>,
    /// Web services that flows ask.
    pub web: Arc<IvrHttp>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// What desks see.
    pub events: Arc<EventLog>,
    /// What callers were told, apart from the log.
    pub journal: Journal,
    /// Asks trunks whether they are there.
    pub prober: Prober,
    /// Ways to phones and trunks.
    pub routes: Routes,
    /// The passwords of phones, by the user that they register as.
    pub phones: BTreeMap<String, String>,
    /// Signs the nonces of challenges.
    pub nonce_key: [u8; 32],
    /// What we say in descriptions.
    pub capabilities: Capabilities,
    /// How service addresses are moved here; none where they stay.
    pub address: Option<Arc<AddressBackend>>,
    /// Where this node can be reached.
    pub stations: Stations,
    /// The service address that this node brings; none where it does not move.
    pub home: Option<(HomeId, ServiceAddress)>,
    /// Until when this node may act for the cluster.
    pub lease: Lease,
    /// Look for tones in the audio where no telephone-event was agreed on.
    pub in_band_dtmf: bool,
    /// Recordings.
    pub recordings: Arc<Recordings>,
    /// Music on hold, and the tone of a phone that rings far away.
    pub music: Clip,
    /// See `music`.
    pub ringback: Clip,
    /// What an operator has to know.
    pub alarms: Arc<Alarms>,
    /// The delay of tasks.
    pub lag: Lag,
    /// For how long it had no lease.
    pub leaseless: Leaseless,
    /// New calls are refused: the node is about to stop, and nobody takes over from it.
    pub draining: AtomicBool,
    /// Becomes true when this node drains, and false when it resumes: desks are to go elsewhere.
    pub desks_go: tokio::sync::watch::Sender<bool>,
    /// New calls are refused: there is no room on the disk.
    pub disk_full: AtomicBool,
    pub(crate) settings: Arc<Settings>,
    pub(crate) dispatcher: std::sync::OnceLock<Arc<Dispatcher>>,
    pub(crate) arrivals_uncommitted: AtomicUsize,
    pub(crate) call_counter: AtomicU64,
    /// The version that the cluster has agreed on, as far as this node knows: what it writes.
    pub(crate) writes: AtomicU8,
    /// The cluster knows that this process is up, or is being told.
    pub(crate) announced: AtomicBool,
    /// The directory that this node was configured with, with the flows as they are on its disk.
    pub(crate) directory: Mutex<Directory>,
}

/// Why a call finds no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// As many calls as are configured.
    Calls,
    /// Too many calls have ended whose callers do not acknowledge it.
    Unacknowledged,
    /// More arrives than can be served in time.
    Overload,
    /// The node is about to stop.
    Draining,
    /// Nothing more can be written.
    DiskFull,
    /// This node is cut off from the others: it may decide nothing.
    CutOff,
}

impl NoPlace {
    /// The label of metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Calls => "calls_max",
            Self::Unacknowledged => "unacknowledged",
            Self::Overload => "overload",
            Self::Draining => "draining",
            Self::DiskFull => "disk_full",
            Self::CutOff => "cut_off",
        }
    }

    /// The reason phrase.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Calls | Self::Unacknowledged => "No Place For More Calls",
            Self::Overload => "Overloaded",
            Self::Draining => "Going Out Of Service",
            Self::DiskFull => "Disk Full",
            Self::CutOff => "Cut Off From The Cluster",
        }
    }
}

/// An arrival that waits for its commit.
#[derive(Debug)]
pub struct Arriving {
    node: Arc<Node>,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.node.arrivals_uncommitted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    /// Whether another call may begin.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self) -> Result<(), NoPlace> {
        let calls_max = self.config.limits.calls_max.get() as usize;
        let ended = self.router.calls_ended();
        if self.draining.load(Ordering::Relaxed) {
            Err(NoPlace::Draining)
        } else if self.is_cut_off() {
            Err(NoPlace::CutOff)
        } else if self.has_no_room() {
            Err(NoPlace::DiskFull)
        } else if self.router.calls_active().saturating_sub(ended) >= calls_max {
            Err(NoPlace::Calls)
        } else if ended >= CALLS_ENDED_MAX {
            Err(NoPlace::Unacknowledged)
        } else if self.arrivals_uncommitted.load(Ordering::Relaxed) >= ARRIVALS_UNCOMMITTED_MAX
            || self.lag.get() > LAG_MAX
        {
            Err(NoPlace::Overload)
        } else {
            Ok(())
        }
    }

    /// Whether it has been without a lease for longer than an election takes.
    pub fn is_cut_off(&self) -> bool {
        !self.lease.holds() && self.leaseless.get() > ELECTION_MAX
    }

    /// Whether the disk has too little room for what another call would write.
    pub fn has_no_room(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed) || self.replica.is_disk_low()
    }

    /// Counts an arrival until the value is dropped.
    pub fn begin_arrival(self: &Arc<Self>) -> Arriving {
        self.arrivals_uncommitted.fetch_add(1, Ordering::Relaxed);
        Arriving { node: Arc::clone(self) }
    }

    /// The way to what a leg invites.
    ///
    /// # Errors
    /// There is none.
    pub fn way(&self, role: &Role, target: &str, from: SocketAddr) -> Result<Way, RouteError> {
        self.routes.way(role, target, from, |user| {
            let registered = self.registrations(&AgentId::parse(user).ok()?)?;
            registrations::contact(&registered, unix_ms())
        })
    }

    /// The replicated bindings of an agent's phones.
    pub fn registrations(&self, agent: &AgentId) -> Option<Registered> {
        let contacts = self.replica.read_local(|machine| {
            machine.center().registration(agent).map(|registration| registration.contacts.clone())
        })?;
        registrations::decode(&contacts)
    }

    /// The id of a new call: unique over nodes and restarts, since it names the node and the
    /// millisecond, and at most 65,536 calls begin in one.
    pub fn new_call_id(&self) -> CallId {
        let millis = unix_ms() & ((1 << 40) - 1);
        let counter = self.call_counter.fetch_add(1, Ordering::Relaxed) & 0xffff;
        CallId(self.id.0 << 56 | millis << 16 | counter)
    }

    /// Sends a SIP message.
    pub fn send_sip(&self, peer: &Peer, bytes: Vec<u8>) {
        self.metrics.count_sent(&bytes);
        if let Some(dispatcher) = self.dispatcher.get() {
            self.sockets.send(peer, bytes, dispatcher);
        }
    }

    /// Who takes what arrives by SIP.
    pub fn dispatcher(self: &Arc<Self>) -> Arc<Dispatcher> {
        Arc::clone(self.dispatcher.get_or_init(|| Arc::new(Dispatcher::new(Arc::clone(self)))))
    }

    /// Tells the far end that nobody here knows the dialog.
    pub fn answer_unknown_dialog(&self, request: &Request, peer: &Peer) {
        if let Some(answer) = answer_stray(request, *peer) {
            self.send_sip(&answer.peer, answer.bytes);
        }
    }

    /// The addresses that the node holds by the replicated state, with their epochs.
    pub fn homes_held(&self) -> Vec<(HomeId, u32)> {
        self.replica.read_local(|machine| {
            let homes = machine.center().homes().filter(|(_, home)| home.holder == self.id);
            homes.map(|(id, home)| (id, home.epoch)).collect()
        })
    }

    /// Whether it can be said here of a dialog that nobody knows it. Not at an address that may be
    /// another node's, nor before all calls are served that came with it.
    pub fn knows_dialogs_at(&self, local: SocketAddr) -> bool {
        let moves = self.stations.at(local).home.is_some();
        (self.lease.holds() || !moves) && self.serves_calls_at(local)
    }

    /// Whether all calls are served that the address has by what is applied here, be that old or
    /// not. Until then an INVITE that comes there may be of one of them.
    pub fn serves_calls_at(&self, local: SocketAddr) -> bool {
        let Some(home) = self.stations.at(local).home else {
            // An address that moves is closed, and was read a moment too long.
            return self.address.is_none();
        };
        let served = self.stations.served(home);
        let is_served = |id, held: &tandem_center::Home| {
            id == home && held.holder == self.id && Some(held.epoch) == served
        };
        self.replica
            .read_local(|machine| machine.center().homes().any(|(id, held)| is_served(id, held)))
    }

    /// Who we are on a leg that lives at this address.
    pub fn identity(&self, names: &LegNames, station: &Station) -> Identity {
        Identity {
            tag: names.tag.clone(),
            branch_seed: names.branch_seed.clone(),
            contact: contact(names, station),
            sent_by: station.host.clone(),
            settings: Arc::clone(&self.settings),
        }
    }

    /// The From of a call that we make for this party.
    pub fn from_header(&self, party: &Party, station: &Station) -> String {
        let number = if party.number.is_empty() { "anonymous" } else { &*party.number };
        let uri = Uri::sip(Some(number), &station.host, None)
            .or_else(|_| Uri::sip(Some("anonymous"), &station.host, None));
        let Ok(uri) = uri else { return "<sip:anonymous@anonymous.invalid>".into() };
        let from = NameAddr::new(&uri);
        let from = match &party.name {
            Some(name) => from.with_display(name),
            None => from,
        };
        String::from_utf8_lossy(from.as_bytes()).into_owned()
    }

    /// Opens a leg's port and gives it to the media engine.
    ///
    /// # Errors
    /// All ports are in use.
    pub fn open_port(&self, key: PortKey, ip: IpAddr) -> Result<u16, ReserveError> {
        let reservation = self.engine.reserve(ip)?;
        let port = reservation.rtp_port();
        self.engine.attach(key, reservation);
        Ok(port)
    }

    /// Sees to it that a leg has this very port: after the death of an actor it still has, on
    /// another node or after a restart of the process it is bound anew. It may be on its way to be
    /// closed here, when the call was another node's for a moment.
    pub fn hold_port(&self, key: PortKey, ip: IpAddr, rtp_port: u16) {
        // Here, since packets wait while a packet thread binds.
        if let Err(error) = self.bind_port(key, ip, rtp_port) {
            tracing::debug!(%error, rtp_port, "the port is held already");
            self.engine.hold(key, ip, rtp_port);
        }
    }

    fn bind_port(&self, key: PortKey, ip: IpAddr, rtp_port: u16) -> Result<(), ReserveError> {
        let reservation = self.engine.reserve_exact(ip, rtp_port)?;
        self.engine.attach(key, reservation);
        Ok(())
    }

    /// Nothing of this call is left on the wire.
    pub fn cleared(&self, call: CallId) {
        self.actors.tell_replica(ReplicaMessage::Cleared(call));
    }

    /// Fetches prompts; `then` runs on the runtime.
    pub fn fetch_prompts(
        &self,
        prompts: Vec<Prompt>,
        then: impl FnOnce(Result<Vec<Clip>, String>) + Send + 'static,
    ) {
        let store = Arc::clone(&self.prompts);
        tokio::spawn(async move {
            then(store.clips(&prompts).await.map_err(|error| error.to_string()));
        });
    }

    /// Asks a web service for a flow; `then` runs on the runtime.
    pub fn ask_web_service(
        &self,
        request: HttpRequest,
        then: impl FnOnce(IvrResult) + Send + 'static,
    ) {
        let web = Arc::clone(&self.web);
        let requests = self.metrics.ivr_http_requests_total.clone();
        tokio::spawn(async move {
            let result = web.execute(&request).await;
            let is_ok = matches!(result, IvrResult::Http { ok: true, .. });
            requests.with_label_values(&[if is_ok { "ok" } else { "failed" }]).inc();
            then(result);
        });
    }

    /// How long the first caller of a queue has been waiting; none if nobody waits.
    pub fn longest_wait(&self, queue: &QueueId) -> Option<Duration> {
        let since = self.replica.read_local(|machine| {
            let center = machine.center();
            center.queue(queue).and_then(Queue::first_since)
        })?;
        Some(Duration::from_millis(unix_ms().saturating_sub(since.0)))
    }

    /// The leader proposes the directory that it was configured with, if another one holds.
    pub fn configure(&self) {
        if self.is_witness() {
            return; // It has none.
        }
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let wanted = directory.hash();
        let held = self.replica.read_local(|machine| machine.center().directory_hash());
        if held != wanted {
            let command = Command::Configure(Box::new(directory));
            self.propose_then(&command, |outcome| match outcome {
                Ok(answer) => {
                    if let Err(rejected) = answer.reply {
                        tracing::error!(%rejected, "the configuration is not taken");
                    }
                }
                Err(error) => tracing::warn!(%error, "the configuration is not committed"),
            });
        }
    }

    /// Tells the cluster, once in the life of this process, that the node takes calls, and that
    /// the sockets of its former life are gone.
    pub fn announce(self: &Arc<Self>) {
        if self.is_witness() || self.announced.swap(true, Ordering::Relaxed) {
            return;
        }
        let node = Arc::clone(self);
        self.propose_caught_up(self.is_up(true), move |outcome| {
            if outcome.is_err() {
                node.announced.store(false, Ordering::Relaxed);
                node.actors.tell_replica(ReplicaMessage::LookAtRoleSoon);
            }
        });
    }

    /// Whether it votes and has no calls: then it is not up in the replicated state, where that
    /// means that a node takes calls and may be given those of another.
    pub fn is_witness(&self) -> bool {
        self.config.is_witness()
    }

    /// The version in which this node writes what is replicated.
    pub fn version(&self) -> u8 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Proposes a command, in the version that all nodes read.
    pub fn propose(&self, command: &Command) -> Proposal<Result<Reply, Rejected>> {
        match command.encode(self.version()) {
            Ok(bytes) => self.replica.propose(bytes),
            Err(_) => Proposal::refused(ProposalError::NotYet),
        }
    }

    /// Proposes a command; `then` is called on the Raft thread, and must not block.
    pub fn propose_then(
        &self,
        command: &Command,
        then: impl FnOnce(Result<Answer<Result<Reply, Rejected>>, ProposalError>) + Send + 'static,
    ) {
        match command.encode(self.version()) {
            Ok(bytes) => self.replica.propose_then(bytes, then),
            Err(_) => then(Err(ProposalError::NotYet)),
        }
    }

    /// The same, when what was committed before is applied here. Whoever holds an address gives it
    /// back when its own node says that it is up: a node that still has to learn what was decided
    /// meanwhile would leave its callers without audio for so long. To be called on the runtime.
    pub fn propose_caught_up(
        self: &Arc<Self>,
        command: Command,
        then: impl FnOnce(Result<Answer<Result<Reply, Rejected>>, ProposalError>) + Send + 'static,
    ) {
        let node = Arc::clone(self);
        tokio::spawn(async move {
            match node.replica.read_linear(|_| ()).await {
                Ok(()) => node.propose_then(&command, then),
                Err(_) => then(Err(ProposalError::NoLeader)),
            }
        });
    }

    /// Whether this node is to be stopped, as the cluster knows.
    pub fn drains(&self) -> bool {
        let me = self.id;
        let drains = |center: &Center| center.node(me).is_some_and(|node| node.draining);
        self.replica.read_local(|machine| drains(machine.center()))
    }

    /// The command that says that this node is up.
    pub fn is_up(&self, sockets_are_lost: bool) -> Command {
        let homes = self.home.iter().map(|(id, address)| (*id, address.encode())).collect();
        Command::NodeUp { node: self.id, homes, sockets_are_lost }
    }
}

/// The Contact of a leg.
pub fn contact(names: &LegNames, station: &Station) -> String {
    format!("sip:{}@{}", names.contact_user, station.host)
}

/// This machine's clock, Unix milliseconds.
pub fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    u64::try_from(now).unwrap_or(u64::MAX)
}
