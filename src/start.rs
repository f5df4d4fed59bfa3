//! Starting a node from its configuration, and ending it.
//!
//! Owns the order: nothing is opened to callers before the state is there, and nothing is closed
//! before calls had their time to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tandem_center::flow::Surroundings;
use tandem_center::version::OLDEST;
use tandem_center::{CallId, Directory, HomeId, NodeId};
use tandem_cluster::shared::directory::SharedDirectory;
use tandem_sip::auth::Credentials;
use tandem_sip::leg::{SessionTimer, Settings};
use tandem_sip::sdp::{Capabilities, CodecKind, PTIME_MS_USUAL};
use tokio::signal::unix::{SignalKind, signal};

use crate::actors::call;
use crate::actors::replica::CenterMachine;
use crate::actors::sip_sockets::SipSockets;
use crate::actors::supervisor::Supervisor;
use crate::address::AddressBackend;
use crate::address::settings::TakeoverMode;
use crate::alarms;
use crate::api::events::EventLog;
use crate::api::token::TokenKey;
use crate::api::{ApiConfig, ApiHandle, serve};
use crate::audit::journal::Journal;
use crate::backend::NodeBackend;
use crate::config::sections::{Codec, MemberRole};
use crate::config::{Config, Origin};
use crate::drain;
use crate::flows::{self, FlowFolder};
use crate::measure;
use crate::media_engine::{Engine, EngineConfig, PortEvent};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::recordings::{self, PeerKey, Recordings};
use crate::records::{self, CallRecords};
use crate::replica::{Lease, Replica, ReplicaConfig};
use crate::routes::{Routes, Source, Trunk};
use crate::shared::{self, DirectoryLease, Holder};
use crate::sounds;
use crate::speech::{DiskCache, EspeakConfig, EspeakNg, NoVoice, PromptStore, SpeechSynthesizer};
use crate::stations::{ServiceAddress, Station, Stations};
use crate::trunks::{self, Pace, Prober};

/// A node that runs.
#[derive(Debug)]
pub struct Running {
    /// What its actors share.
    pub node: Arc<Node>,
    replica: Replica,
}

/// How often the space on the disk is looked at.
const DISK_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// Runs a node until it is told to end (SIGTERM or SIGINT); then drains it.
///
/// # Errors
/// What stands in the way of starting, and what to do about it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    // Before a standby is waited for: it is to take over without looking for voices.
    let voice = voice(&config).await;
    let Some((config, holder)) = hold(config, &metrics).await? else { return Ok(()) };
    let lease = holder.as_ref().map_or_else(DirectoryLease::alone, Holder::lease);
    let running = Running::start_with(config, metrics, lease, voice).await?;
    let config = &running.node.config;
    let listen = config.http.listen;
    let api = serve(
        ApiConfig::from(&config.http),
        Arc::new(running.backend()),
        (*running.node.metrics).clone(),
        token_key(config),
    )
    .with_context(|| format!("HTTP cannot listen on {listen}"))?;
    if config.is_witness() {
        tracing::info!(http = %api.address, "the witness is up");
    } else {
        let sip = &running.node.stations.own().host;
        tracing::info!(%sip, http = %api.address, "the node is up");
    }
    let mut desks_go = running.node.desks_go.subscribe();
    let told = async {
        while desks_go.changed().await.is_ok() {
            api.drain(*desks_go.borrow_and_update());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        told = told_to_end() => told?,
        () = told => (),
    }
    api.drain(true);
    running.drain(api).await;
    if let Some(holder) = holder {
        tokio::task::spawn_blocking(|| holder.release()).await?;
    }
    Ok(())
}

/// The data directory: at once, or when the other machine gives it up. None if this process was
/// told to end before.
async fn hold(
    mut config: Config,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Option<(Config, Option<Holder>)>> {
    let data = &config.node.data;
    if config.shared.name.is_none() {
        if SharedDirectory::is_one(data) {
            bail!("{} is shared storage: set [shared] name", data.display());
        }
        return Ok(Some((config, None)));
    }
    let (folder, holder) = tokio::select! {
        taken = shared::take(&config, metrics) => taken?,
        told = told_to_end() => return told.map(|()| None).map_err(Into::into),
    };
    config.node.data = folder;
    Ok(Some((config, Some(holder))))
}

/// Tokens of one node hold at the others.
fn token_key(config: &Config) -> TokenKey {
    config
        .cluster_secret()
        .map_or_else(TokenKey::random, |secret| TokenKey::from_secret(secret.reveal().as_bytes()))
}

async fn told_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    Ok(())
}

impl Running {
    /// Starts everything but the API.
    ///
    /// # Errors
    /// What stands in the way, and what to do about it.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let voice = voice(&config).await;
        Self::start_with(config, Arc::new(Metrics::new()), DirectoryLease::alone(), voice).await
    }

    /// The same, in a data directory that is held for as long as the lease.
    ///
    /// # Errors
    /// What stands in the way, and what to do about it.
    pub async fn start_with(
        config: Config,
        metrics: Arc<Metrics>,
        directory_lease: DirectoryLease,
        voice: Arc<dyn SpeechSynthesizer>,
    ) -> anyhow::Result<Self> {
        let data = data_directory(&config)?;
        let id = NodeId(config.node.id.get().into());
        let outlet = Arc::new(OnceLock::new());
        let events = Arc::new(EventLog::default());
        let Place { backend, sockets, home, own } = place(&config, id)?;
        // Before anything is recorded: what lies there is what a former life left.
        let (recordings, chores) =
            Recordings::open(id.0, config.recordings(), &data, recording_peers(&config))?;
        let machine = CenterMachine::new(id, Arc::clone(&events), Arc::clone(&outlet));
        let replica_config = ReplicaConfig {
            metrics: Arc::clone(&metrics),
            directory: directory_lease.clone(),
            ..replica_config(&config)?
        };
        let (handle, replica) = Replica::start(replica_config, machine)?;
        let leases = (handle.lease(), directory_lease.clone());
        let engine = start_engine(&config, leases, Arc::clone(&outlet), Arc::clone(&recordings))?;
        let prompts = Arc::new(prompts(&config, voice)?);
        let (folder, directory) = directory(&config, &prompts);
        let node = Arc::new(Node {
            id,
            lease: handle.lease(),
            stations: Stations::new(own),
            address: backend.map(Arc::new),
            home,
            replica: handle,
            router: Default::default(),
            actors: Default::default(),
            engine,
            prompts,
            web: Arc::new(crate::ivr_http::IvrHttp::new().context("no HTTP client for flows")?),
            metrics,
            events,
            journal: journal(directory_lease, &data, id)?,
            prober: probes(&config),
            routes: Routes::new(trunks_of(&config)?, &config.sip.realm),
            capabilities: capabilities(&config),
            in_band_dtmf: config.media.in_band_dtmf,
            recordings: Arc::clone(&recordings),
            music: sounds::music(&config)?,
            ringback: sounds::ringback(),
            alarms: Default::default(),
            lag: Default::default(),
            leaseless: Default::default(),
            draining: AtomicBool::new(false),
            desks_go: tokio::sync::watch::Sender::new(false),
            disk_full: AtomicBool::new(false),
            settings: Arc::new(settings(&config)),
            dispatcher: OnceLock::new(),
            arrivals_uncommitted: AtomicUsize::new(0),
            call_counter: Default::default(),
            writes: AtomicU8::new(OLDEST),
            announced: AtomicBool::new(false),
            phones: phones(&config),
            nonce_key: nonce_key(&config),
            directory: Mutex::new(directory),
            sockets,
            config,
        });
        let _ = outlet.set(Arc::downgrade(&node));
        // From here on it follows what is applied.
        node.replica.read_local(|machine| machine.tell_version(&node));
        Supervisor::start(&node).await?;
        tokio::spawn(recordings.keep(chores));
        watch(&node);
        if !node.config.is_witness() {
            follow_flows(&node, folder);
        }
        Ok(Self { node, replica })
    }

    /// The API's view of the node.
    pub fn backend(&self) -> NodeBackend {
        let records = self.node.config.node.data.join("replica").join("records.sqlite");
        NodeBackend::new(Arc::clone(&self.node), records::Reader::new(&records))
    }

    /// Hands the address with its calls, and the leadership, to other nodes. Where nobody takes
    /// them, refuses new calls and waits until those in progress have ended, at most as long as is
    /// configured. Then stops.
    pub async fn drain(self, api: ApiHandle) {
        match drain::hand_over(&self.node).await {
            Ok(()) => tracing::info!("everything is handed over"),
            Err(error) => tracing::warn!("calls are not handed over: {error}"),
        }
        self.node.draining.store(true, Ordering::Relaxed);
        let patience = Duration::from_secs(self.node.config.node.drain_seconds.get().into());
        let drained = async {
            while self.node.router.calls_active() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tracing::info!(calls = self.node.router.calls_active(), "draining");
        if tokio::time::timeout(patience, drained).await.is_err() {
            let calls = self.node.router.calls_active();
            tracing::warn!(calls, "stopping with calls in progress");
        }
        // Desks saw their calls end; now they may go.
        api.stop().await;
        self.node.replica.shutdown();
        let Self { node, replica } = self;
        let stop = move || {
            replica.join();
            node.journal.stop();
        };
        let _ = tokio::task::spawn_blocking(stop).await;
    }
}

/// Looks after what has no actor, for as long as the node is there.
fn watch(node: &Arc<Node>) {
    tokio::spawn(watch_disk(Arc::downgrade(node)));
    tokio::spawn(measure::watch_invariants(Arc::downgrade(node)));
    tokio::spawn(alarms::watch(Arc::downgrade(node)));
    if !node.config.is_witness() {
        tokio::spawn(trunks::watch(Arc::downgrade(node)));
    }
}

fn listen_addresses(config: &Config) -> Vec<SocketAddr> {
    let mut addresses = config.sip.udp.clone();
    addresses.extend(&config.sip.tcp);
    addresses.sort_unstable();
    addresses.dedup();
    // The first address of the file is the one that our Contacts name.
    if let Some(first) = config.sip.udp.first() {
        addresses.sort_by_key(|address| address != first);
    }
    addresses
}

/// Where a node is on the network.
struct Place {
    /// How its address goes to another node when it dies, if it does.
    backend: Option<AddressBackend>,
    sockets: Arc<SipSockets>,
    home: Option<(HomeId, ServiceAddress)>,
    own: Station,
}

/// Opens the sockets. An address that moves may be another node's until the cluster knows of this
/// one, so it is not opened yet.
fn place(config: &Config, id: NodeId) -> anyhow::Result<Place> {
    if config.is_witness() {
        return nowhere(config);
    }
    let backend = config.takeover.backend()?.filter(|_| config.moves_addresses());
    let addresses = listen_addresses(config);
    let sockets = SipSockets::new(shares_addresses(config));
    let sip = match backend {
        Some(_) => addresses,
        None => sockets
            .open(&addresses)
            .with_context(|| format!("SIP cannot listen on {addresses:?}"))?,
    };
    let first = sip.first().context("[sip] udp or tcp needs an address")?;
    let media_ip = config.media.address.unwrap_or(first.ip());
    let address = ServiceAddress { sip, advertised: config.sip.advertised, media_ip };
    let home = backend.is_some().then(|| HomeId::first_of(id));
    let own = Station::new(home, &address).context("[sip] udp or tcp needs an address")?;
    Ok(Place { backend, sockets, home: home.map(|home| (home, address)), own })
}

/// A witness cannot be called. What its unused parts say of themselves is its address among nodes.
fn nowhere(config: &Config) -> anyhow::Result<Place> {
    let listen = config.cluster.listen.context("members need cluster.listen")?;
    let address = ServiceAddress { sip: vec![listen], advertised: None, media_ip: listen.ip() };
    let own = Station::new(None, &address).context("members need cluster.listen")?;
    Ok(Place { backend: None, sockets: SipSockets::new(false), home: None, own })
}

/// Nodes on one machine can bind each other's addresses, even those of a process that is stopped.
fn shares_addresses(config: &Config) -> bool {
    config.takeover.mode == TakeoverMode::Loopback && config.moves_addresses()
}

/// The other nodes, as far as recordings are kept by several.
fn recording_peers(config: &Config) -> Option<recordings::Cluster> {
    let members = config.cluster.member.iter();
    let members: Vec<_> = members.filter(|member| member.role == MemberRole::Calls).collect();
    let secret = config.cluster_secret().filter(|_| members.len() > 1 && !config.is_witness())?;
    let members = members.iter().map(|member| (member.id.get().into(), member.http)).collect();
    Some(recordings::Cluster { members, key: PeerKey::from_secret(secret.reveal().as_bytes()) })
}

fn start_engine(
    config: &Config,
    (lease, directory): (Lease, DirectoryLease),
    outlet: Arc<OnceLock<Weak<Node>>>,
    recordings: Arc<Recordings>,
) -> anyhow::Result<Engine> {
    let media = &config.media;
    let settings = EngineConfig {
        ports: media.rtp_port_min.get()..=media.rtp_port_max.get(),
        threads: usize::from(media.threads.get()),
        shared: shares_addresses(config),
        lease,
        node: config.node.id.get().into(),
        directory,
        ..EngineConfig::default()
    };
    Ok(Engine::start(settings, move |event| {
        recordings.hear(&event);
        let Some(node) = outlet.get().and_then(Weak::upgrade) else { return };
        let key = match &event {
            PortEvent::RecordingBegan { .. } | PortEvent::RecordingEnded { .. } => return,
            PortEvent::Digit { key, .. }
            | PortEvent::Played { key, .. }
            | PortEvent::Quiet { key, .. }
            | PortEvent::Died { key }
            | PortEvent::RecordingFailed { key, .. } => *key,
        };
        if let Some(call) = node.router.call(CallId(key.call)) {
            drop(call.send_message(call::Message::Media(event)));
        }
    })?)
}

fn replica_config(config: &Config) -> anyhow::Result<ReplicaConfig> {
    let cluster = &config.cluster;
    let id = config.node.id.get();
    let mut replica = ReplicaConfig::new(id.into(), config.node.data.join("replica"));
    replica.members =
        cluster.member.iter().map(|member| (member.id.get().into(), member.address)).collect();
    replica.join = cluster.join;
    replica.recovery = cluster.recovery.as_ref().map(|code| code.as_str().to_owned());
    replica.witnesses = config.witnesses().collect();
    replica.listen = cluster.listen;
    if replica.members.len() > 1 {
        let Some(secret) = config.cluster_secret() else {
            bail!("a cluster needs [cluster] secret or secret_file, the same on every node");
        };
        replica.secret = secret.reveal().as_bytes().to_vec();
    }
    replica.tick = Duration::from_millis(cluster.tick_ms.get());
    replica.election_ticks = cluster.election_ticks.get() as usize;
    replica.snapshot_entries = cluster.snapshot_entries.get();
    replica.records = Some(Box::new(CallRecords));
    Ok(replica)
}

fn trunks_of(config: &Config) -> anyhow::Result<BTreeMap<Arc<str>, Trunk>> {
    let trunk = |trunk: &crate::config::entries::Trunk| {
        let address = trunk.address.as_str();
        let address = tandem_sip::wire::Uri::parse(address.as_bytes())
            .with_context(|| format!("the trunk's address {address} is no SIP URI"))?;
        let credentials =
            trunk.user.clone().zip(trunk.password.as_ref()).map(|(username, password)| {
                Credentials { username, password: password.reveal().to_owned() }
            });
        let answers_within = Duration::from_secs(trunk.response_seconds.get().into());
        let sources = trunk.sources.iter().filter_map(|of| Source::parse(of.as_str())).collect();
        let trunk_of_node = Trunk { address, credentials, answers_within, sources };
        Ok((trunk.name.as_str().into(), trunk_of_node))
    };
    config.trunk.iter().map(trunk).collect()
}

/// How often those trunks are asked that are to be.
fn probes(config: &Config) -> Prober {
    Prober::new(config.trunk.iter().filter_map(|trunk| {
        let pace = Pace {
            every: Duration::from_secs(trunk.probe_seconds?.get().into()),
            answers_within: Duration::from_secs(trunk.response_seconds.get().into()),
            misses_max: trunk.probe_misses.get(),
        };
        Some((trunk.name.as_str().into(), pace))
    }))
}

fn data_directory(config: &Config) -> anyhow::Result<PathBuf> {
    let data = config.node.data.clone();
    std::fs::create_dir_all(&data)
        .with_context(|| format!("the data directory {} cannot be made", data.display()))?;
    Ok(data)
}

fn journal(lease: DirectoryLease, data: &Path, id: NodeId) -> anyhow::Result<Journal> {
    Journal::start_under(lease, &data.join("journal"), id.0)
        .context("the journal of the wire cannot be written")
}

/// The engine for prompts that are text. A node without it runs all the same; what it cannot say is
/// logged and skipped.
async fn voice(config: &Config) -> Arc<dyn SpeechSynthesizer> {
    // A witness says nothing.
    if config.is_witness() {
        return Arc::new(NoVoice);
    }
    let speech = &config.speech;
    let espeak = EspeakConfig {
        command: speech.command.clone(),
        voices: speech.voices.clone(),
        ..EspeakConfig::default()
    };
    match EspeakNg::start(espeak).await {
        Ok(engine) => Arc::new(engine),
        Err(error) => {
            tracing::error!(%error, "no text is spoken; install espeak-ng or set [speech] command");
            Arc::new(NoVoice)
        }
    }
}

/// The voices: recorded prompts, and the engine for those that are text.
fn prompts(config: &Config, engine: Arc<dyn SpeechSynthesizer>) -> anyhow::Result<PromptStore> {
    let cache = config.node.data.join("speech");
    let bytes_max = config.speech.cache_mb_max.get() << 20;
    let disk = DiskCache::open(&cache, bytes_max)?;
    Ok(PromptStore::new(config.input(&config.prompts.directory), engine, Some(disk)))
}

/// The directory with the flows that are good; what is wrong with the others is logged with its
/// place, and their callers are told that the service is not there.
fn directory(config: &Config, prompts: &PromptStore) -> (FlowFolder, Directory) {
    let place = config.input(&config.flows.directory);
    let built_in = config.origin == Origin::BuiltIn && !place.is_dir();
    let mut folder = FlowFolder::new(place);
    if config.is_witness() {
        // It proposes no directory: it is not told of one.
        return (folder, config.directory(BTreeMap::new()));
    }
    if built_in {
        let texts = flows::BUILT_IN.map(|(name, text)| (name.into(), text.into()));
        return (folder, config.directory(texts.into_iter().collect()));
    }
    match folder.look(&around(config, prompts)) {
        Ok(look) => look.errors.iter().for_each(|error| tracing::error!("{error}")),
        Err(error) => tracing::error!(%error, "no flows"),
    }
    let directory = config.directory(folder.texts());
    (folder, directory)
}

/// What flows may name.
fn around(config: &Config, prompts: &PromptStore) -> Surroundings {
    Surroundings {
        prompts: Some(prompts.files()),
        queues: Some(config.queue.iter().map(|queue| queue.id.as_str().to_owned()).collect()),
        languages: Some(prompts.languages()).filter(|languages| !languages.is_empty()),
    }
}

/// Flows that change on this node's disk are proposed to all, as long as this node leads; a
/// follower keeps them for the day that it does.
fn follow_flows(node: &Arc<Node>, folder: FlowFolder) {
    let every = Duration::from_secs(node.config.flows.reload_seconds.get().into());
    let (asked, told) = (Arc::clone(node), Arc::clone(node));
    tokio::spawn(flows::watch(
        folder,
        every,
        move || around(&asked.config, &asked.prompts),
        move |folder, _| {
            let directory = told.config.directory(folder.texts());
            *told.directory.lock().unwrap_or_else(PoisonError::into_inner) = directory;
            if told.replica.status().role.leading {
                told.configure();
            }
        },
    ));
}

/// The passwords that phones register with.
fn phones(config: &Config) -> BTreeMap<String, String> {
    let people = config.people().into_iter();
    people
        .filter_map(|agent| {
            let password = agent.phone_password?;
            Some((agent.id.as_str().to_owned(), password.reveal().to_owned()))
        })
        .collect()
}

/// A node of a cluster knows its own nonces after a restart; a single node draws a new key at each
/// start, and phones are challenged once more.
fn nonce_key(config: &Config) -> [u8; 32] {
    match config.cluster_secret() {
        Some(secret) => {
            let mut hash = Sha256::new();
            hash.update(b"tandem sip nonce\0");
            // The counts of used nonces are per node, so a nonce must not hold at another one: a
            // REGISTER that was overheard here would be good there.
            hash.update([config.node.id.get()]);
            hash.update(secret.reveal().as_bytes());
            hash.finalize().into()
        }
        None => rand::random(),
    }
}

fn capabilities(config: &Config) -> Capabilities {
    let kind = |codec: &Codec| match codec {
        Codec::Pcmu => CodecKind::Pcmu,
        Codec::Pcma => CodecKind::Pcma,
        Codec::G722 => CodecKind::G722,
        Codec::Opus => CodecKind::Opus,
    };
    let codecs = config.media.codecs.iter().map(kind).collect();
    Capabilities { codecs, telephone_event: true, ptime_ms: PTIME_MS_USUAL }
}

fn settings(config: &Config) -> Settings {
    let expires_seconds = config.sip.session_seconds.get();
    Settings {
        product: concat!("Tandem/", env!("CARGO_PKG_VERSION")).into(),
        session_timer: Some(SessionTimer { expires_seconds, ..SessionTimer::default() }),
        ..Settings::default()
    }
}

/// Refuses new calls while there is too little room for what they would write. What is committed
/// already stays committed; calls in progress go on.
async fn watch_disk(node: Weak<Node>) {
    loop {
        tokio::time::sleep(DISK_LOOKED_AT_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let Ok(disk) = rustix::fs::statvfs(&node.config.node.data) else { continue };
        let free = disk.f_bavail * disk.f_frsize;
        node.metrics.disk_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        let least = node.config.limits.disk_free_mb_min.get() << 20;
        let is_full = free < least;
        node.recordings.set_full(is_full);
        if node.disk_full.swap(is_full, Ordering::Relaxed) != is_full {
            if is_full {
                tracing::error!(free, least, "the disk is full: new calls are refused");
            } else {
                tracing::info!(free, "there is room on the disk again");
            }
        }
    }
}
