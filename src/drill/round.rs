//! One round of a drill: a fresh cluster, calls in every phase, the fault, its end, and the
//! farewells. Gives the orders and keeps the time; judges nothing.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use super::cast::{Addresses, Cast, NODES};
use super::cluster::Cluster;
use super::config::{self, PASSWORD, SUPERVISOR};
use super::desks::{Desk, Log};
use super::exchange::{Exchange, Order, Progress, Seen};
use super::fault::{Fault, Place};
use super::hands::Hander;
use super::machines::Machines;
use super::means::Means;
use super::phases::Phase;
use super::tries::{Trier, Try};
use super::under::{Set, Under};
use super::web::Web;
use crate::api::cdr_view::CdrView;
use crate::api::frame::{Disposition, Do, OfCall, Whom};
use crate::api::happened::EventView;
use crate::api::page::Page;
use crate::cli::client::Server;
use crate::config::types::Secret;

/// How long the calls may take until each is where the fault is to find it.
const SETTLE_WITHIN: Duration = Duration::from_secs(40);

/// What is heard before the fault, to compare with.
const BASELINE: Duration = Duration::from_millis(1_500);

/// From the fault to the change: phones are lifted, calls retrieved. Until then each call stays in
/// its phase, so that the longest gap that is allowed lies within.
const CHANGE_AFTER: Duration = Duration::from_millis(3_200);

/// From the fault to its end. The last calls have changed a second before, and every lease that the
/// node had is over for seconds.
const UNDO_AFTER: Duration = Duration::from_millis(5_200);

/// How long the node is watched after it is back: it gets its address back within a second, and
/// the longest gap that is allowed lies within the rest.
const WATCH: Duration = Duration::from_millis(3_500);

/// How long all farewells may take: a BYE is repeated for 32 s.
const FAREWELL_WITHIN: Duration = Duration::from_secs(35);

/// How long a record may take to be on every node. They are written every 100 ms.
const RECORDS_WITHIN: Duration = Duration::from_secs(10);

/// The pause between two questions of this file.
const LOOK: Duration = Duration::from_millis(100);

/// Notes that each desk writes while the fault lasts, and the pause between them.
const NOTES: usize = 12;
const NOTE_PAUSE: Duration = Duration::from_millis(250);

/// Calls under way have begun when the fault comes, and are not answered.
const INVITE_AHEAD: Duration = Duration::from_millis(25);

/// The most records that are read in one go; a drill has fewer calls.
const RECORDS_MAX: usize = 1_000;

/// What a drill is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drill {
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
    pub(crate) place: Place,
    pub(crate) under: Under,
    /// The last node is a witness.
    pub(crate) witness: bool,
    pub(crate) means: Means,
}

impl Drill {
    /// The longest gaps that are allowed, p99 and each; nothing where none is. On a network that
    /// loses much, any commit may wait for TCP to send again, which takes from 200 ms on, and twice
    /// as long each time: nothing is promised there but the longest.
    pub(crate) fn gap_max(self) -> Option<(Duration, Duration)> {
        let (p99, each) = match self.place {
            Place::Carrier | Place::LeadingCarrier => self.fault.gap_max()?,
            Place::BareLeader | Place::Witness => return None,
        };
        match self.under {
            Under::Loss(_) => Some((each, each)),
            Under::Nothing | Under::Clocks | Under::SmallDisks => Some((p99, each)),
        }
    }

    /// Somebody who tries who takes new calls, where not all do.
    fn tries(self, cluster: &Cluster) -> anyhow::Result<Option<Trier>> {
        let nodes = || (0..NODES).map(|node| cluster.sip(node)).collect();
        match self.fault {
            Fault::FullDisk => Trier::start(cluster.addresses.callers(), nodes()).map(Some),
            Fault::Killed | Fault::Frozen | Fault::CutOff | Fault::Transferred => Ok(None),
        }
    }

    /// The nodes with calls, which are the first ones.
    fn with_calls(self) -> usize {
        if self.witness { NODES - 1 } else { NODES }
    }
}

/// Everything that a round brought to light.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) seen: Seen,
    pub(crate) observer: Log,
    pub(crate) desks: Vec<Log>,
    /// The records that each node has.
    pub(crate) records: Vec<Vec<CdrView>>,
    pub(crate) times: Moments,
    /// The node with the fault, and calls that were tried at all nodes where that is of interest.
    pub(crate) fault_at: usize,
    pub(crate) tries: Vec<Try>,
    /// Why the node did not come back, if it did not.
    pub(crate) stays_away: Option<String>,
}

/// When what was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) begin: Instant,
    pub(crate) fault: Instant,
    pub(crate) change: Instant,
    pub(crate) undone: Instant,
    pub(crate) back: Instant,
    pub(crate) release: Instant,
}

/// The thread of the parties.
pub(super) struct Parties {
    orders: Sender<Order>,
    progress: Arc<Mutex<Progress>>,
    thread: JoinHandle<Seen>,
}

impl Parties {
    pub(super) fn start(cast: Cast, cluster: &Cluster) -> anyhow::Result<Self> {
        let exchange = Exchange::new(cast, (0..NODES).map(|node| cluster.sip(node)).collect());
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (orders, receiver) = std::sync::mpsc::channel();
        let shared = progress.clone();
        let thread = std::thread::Builder::new()
            .name("parties".to_owned())
            .spawn(move || exchange.play(&receiver, &shared))?;
        Ok(Self { orders, progress, thread })
    }

    pub(super) fn tell(&self, order: Order) {
        // A thread that is gone is noticed when it is joined.
        let _gone = self.orders.send(order);
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn stop(self) -> anyhow::Result<Seen> {
        self.tell(Order::Stop);
        self.thread.join().map_err(|_| anyhow::anyhow!("the parties' thread died"))
    }
}

/// The desks of the agents, by the names of their queues.
struct Desks {
    observer: Desk,
    holding: Vec<Desk>,
    serving: Vec<Desk>,
    handing: Vec<Hander>,
}

/// Plays one round in `folder`.
pub(crate) async fn play(
    drill: Drill,
    calls: usize,
    addresses: Addresses,
    folder: &Path,
) -> anyhow::Result<Evidence> {
    // Dropped after the cluster, which is to end before its disks go.
    let mut set = drill.under.set(folder, addresses)?;
    let machines = drill.means.has_machines().then(|| Machines::lay(addresses)).transpose()?;
    let web = Web::start(addresses.web()).await?;
    let mut cast = Cast::new(addresses, calls)?;
    let with_calls = drill.with_calls();
    let configs = config::write(folder, (addresses, with_calls), &cast, web.address)?;
    let groups = machines.is_none() && super::fault::cut_off::is_own_namespace();
    let environments = (0..NODES).map(|node| set.environment(node)).collect();
    let mut cluster = Cluster::start_in((machines, environments), &configs, addresses, groups)?;
    cluster.with_calls = with_calls;
    for node in 0..NODES {
        cluster.wait_ready(node).await?;
    }
    let leader = cluster.leader().await?;
    let follower = (leader + 1) % with_calls;
    let (carrier, fault_at) = match drill.place {
        Place::Carrier => (follower, follower),
        Place::LeadingCarrier => (leader, leader),
        Place::BareLeader => (follower, leader),
        Place::Witness => (follower, with_calls),
    };
    cast.place((carrier, fault_at), with_calls);
    let asking = cast.calls.iter().filter(|call| call.phase == Phase::WebRequest).count();
    let accepted = cast.calls.len();
    let mut desks = Desks::open(&cast, &cluster, (fault_at, with_calls)).await?;
    let parties = Parties::start(cast, &cluster)?;
    let begin = Instant::now();
    parties.tell(Order::Begin);
    settle(&parties, &mut desks, &web, asking).await?;
    let trier = drill.tries(&cluster)?;
    set.before_fault()?;
    sleep(BASELINE).await;

    let (fault, change) =
        strike(drill, (&mut cluster, fault_at), &parties, (&desks, &web, &set)).await?;
    sleep(UNDO_AFTER.saturating_sub(fault.elapsed())).await;
    let undone = Instant::now();
    drill.fault.undo(&mut cluster, fault_at)?;
    set.at_fault(true)?;
    let stays_away = cluster.wait_ready(fault_at).await.err().map(|error| error.to_string());
    let back = Instant::now();
    sleep(WATCH).await;
    let release = Instant::now();
    parties.tell(Order::Release);
    let deadline = release + FAREWELL_WITHIN;
    sleep(LOOK * 10).await;
    while parties.progress().open > 0 && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    let records = records(&cluster, accepted).await?;
    let seen = parties.stop()?;
    Ok(Evidence {
        seen,
        observer: desks.observer.read(Log::clone),
        desks: desks.logs(),
        records,
        times: Moments { begin, fault, change, undone, back, release },
        fault_at,
        tries: trier.map(Trier::stop).transpose()?.unwrap_or_default(),
        stays_away,
    })
}

/// Waits until each call is where the fault is to find it.
async fn settle(
    parties: &Parties,
    desks: &mut Desks,
    web: &Web,
    asking: usize,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_WITHIN;
    let mut held = vec![false; desks.holding.len()];
    sleep(LOOK).await;
    loop {
        desks.hold(&mut held).await;
        let mut handed = 0;
        for hander in &mut desks.handing {
            handed += usize::from(hander.hand().await);
        }
        let unsettled = parties.progress().unsettled;
        let holding = desks.count(|event| matches!(event, EventView::Held { .. }));
        let handing = desks.handing.len();
        let is_ready = holding >= held.len() && handed == handing;
        if unsettled.is_empty() && is_ready && web.callers() >= asking {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the calls did not come as far as they should before the fault: {unsettled:?}, \
                 {holding} of {} held, {handed} of {handing} handed over, {} of {asking} at the web service",
                held.len(),
                web.callers()
            );
        }
        sleep(LOOK).await;
    }
}

/// The fault, what happens while it lasts, and the change of all calls. When both were.
async fn strike(
    drill: Drill,
    (cluster, node): (&mut Cluster, usize),
    parties: &Parties,
    (desks, web, set): (&Desks, &Web, &Set),
) -> anyhow::Result<(Instant, Instant)> {
    parties.tell(Order::Invite);
    sleep(INVITE_AHEAD).await;
    let fault = Instant::now();
    drill.fault.strike(cluster, node).await.context(drill.name)?;
    set.at_fault(false)?;
    parties.tell(Order::Fault(fault));
    for note in 0..NOTES {
        desks.write(note).await;
        sleep(NOTE_PAUSE).await;
    }
    sleep(CHANGE_AFTER.saturating_sub(fault.elapsed())).await;
    let change = Instant::now();
    parties.tell(Order::Change);
    web.answer();
    desks.change().await;
    Ok((fault, change))
}

impl Desks {
    async fn open(
        cast: &Cast,
        cluster: &Cluster,
        (fault_at, nodes): (usize, usize),
    ) -> anyhow::Result<Self> {
        let servers = |first: usize| {
            (0..nodes).map(|node| cluster.base((first + node) % nodes)).collect::<Vec<_>>()
        };
        let observer = Desk::open(SUPERVISOR, servers(fault_at + 1)).await?;
        let (mut holding, mut serving, mut handing) = (Vec::new(), Vec::new(), Vec::new());
        for (index, agent) in cast.agents.iter().filter(|agent| agent.desk).enumerate() {
            let desk = Desk::open(&agent.id, servers(fault_at + index)).await?;
            let hands = cast.hands_of(agent);
            if let Some((does, to)) = hands {
                desk.ask(Do::Ready(Whom::default())).await;
                handing.push(Hander::new(desk, does, to));
            } else if agent.queues == ["desk"] {
                desk.ask(Do::Ready(Whom::default())).await;
                holding.push(desk);
            } else {
                serving.push(desk);
            }
        }
        let desks = Self { observer, holding, serving, handing };
        let deadline = Instant::now() + SETTLE_WITHIN;
        while !desks.all().all(|desk| desk.read(|log| log.welcome)) {
            if Instant::now() > deadline {
                bail!("not every desk could sign in");
            }
            sleep(LOOK).await;
        }
        Ok(desks)
    }

    fn all(&self) -> impl Iterator<Item = &Desk> {
        self.agents().chain([&self.observer])
    }

    fn agents(&self) -> impl Iterator<Item = &Desk> {
        let handing = self.handing.iter().map(|hander| &hander.desk);
        self.holding.iter().chain(&self.serving).chain(handing)
    }

    fn logs(&self) -> Vec<Log> {
        self.agents().map(|desk| desk.read(Log::clone)).collect()
    }

    /// Holds what is talked to and was not held yet.
    async fn hold(&self, held: &mut [bool]) {
        for (desk, held) in self.holding.iter().zip(held) {
            if let Some(call) = desk.read(|log| log.call.clone())
                && !*held
            {
                desk.ask(Do::Hold(OfCall { call })).await;
                *held = true;
            }
        }
    }

    /// Events that the observer has seen.
    fn count(&self, is_it: impl Fn(&EventView) -> bool) -> usize {
        self.observer.read(|log| log.events.iter().filter(|(_, event)| is_it(event)).count())
    }

    /// Each desk says something about its call that nobody says again.
    async fn write(&self, note: usize) {
        for desk in self.holding.iter().chain(self.handing.iter().map(|hander| &hander.desk)) {
            if let Some(call) = desk.read(|log| log.call.clone()) {
                let disposition = format!("{}-note{note}", desk.read(|log| log.user.clone()));
                desk.ask(Do::Dispose(Disposition { call, disposition, note: None })).await;
            }
        }
    }

    /// Retrieves what is held, and serves who waits.
    async fn change(&self) {
        for desk in &self.holding {
            if let Some(call) = desk.read(|log| log.call.clone()) {
                desk.ask(Do::Retrieve(OfCall { call })).await;
            }
        }
        for desk in &self.serving {
            desk.ask(Do::Ready(Whom::default())).await;
        }
        for hander in &self.handing {
            hander.change().await;
        }
    }
}

/// The records of every node, when each has as many as there were calls, or after a while.
pub(super) async fn records(
    cluster: &Cluster,
    accepted: usize,
) -> anyhow::Result<Vec<Vec<CdrView>>> {
    let nodes = (0..NODES).map(|node| records_of(cluster, node, accepted));
    futures_util::future::try_join_all(nodes).await
}

async fn records_of(
    cluster: &Cluster,
    node: usize,
    accepted: usize,
) -> anyhow::Result<Vec<CdrView>> {
    let mut server = Server::new(&cluster.base(node))?;
    let path = format!("/api/v1/cdrs?limit={RECORDS_MAX}");
    let deadline = Instant::now() + RECORDS_WITHIN;
    let mut rows = Vec::new();
    while rows.len() < accepted && Instant::now() < deadline {
        if server.token().is_none() {
            // One that fails is tried again.
            let _refused = server.log_in(SUPERVISOR, &Secret::new(PASSWORD)).await;
        }
        if let Ok(page) = server.get::<Page<CdrView>>(&path).await {
            rows = page.items;
        }
        sleep(LOOK).await;
    }
    // One more look, for records that are too many.
    sleep(LOOK * 3).await;
    if let Ok(page) = server.get::<Page<CdrView>>(&path).await {
        rows = page.items;
    }
    Ok(rows)
}
