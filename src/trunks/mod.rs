//! Asks trunks whether they are there, by OPTIONS (RFC 3261 §11), and tells the cluster what this
//! node sees.
//!
//! Owns the probes, which are this process's own: what is committed is only that the node came to
//! another opinion. Decides nothing about calls; which trunk one takes is decided in
//! [`tandem_center`].

mod probe;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tandem_center::Command;
use tandem_sip::wire::{
    HeaderName, Method, NameAddr, Peer, RequestBuilder, RequestParts, Response, Uri, Via,
};
use tokio::time::MissedTickBehavior;

pub use probe::{Asked, Pace, Probe};

use crate::node::Node;
use crate::stations::Station;

/// Between two looks at what is due: a fifth of the time after which a question is repeated.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a report that was not committed is not made again.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// The probes of a node.
#[derive(Debug, Default)]
pub struct Prober {
    probes: Mutex<BTreeMap<Arc<str>, Probed>>,
    /// What all Call-IDs of this process's questions begin with: nobody else can guess them.
    token: String,
    /// Questions so far.
    asked: AtomicU64,
}

#[derive(Debug)]
struct Probed {
    probe: Probe,
    /// The address that was asked last.
    peer: Option<Peer>,
    /// A report is on its way to the log.
    reporting: Arc<AtomicBool>,
    reported: Option<Instant>,
}

/// A request that is to be sent, and where to; nowhere if the trunk's host has no address.
struct Question {
    call_id: String,
    sent: Option<(Peer, Vec<u8>)>,
}

impl Prober {
    /// Of these trunks; none of them is known to be reached or not.
    pub fn new(trunks: impl IntoIterator<Item = (Arc<str>, Pace)>) -> Self {
        let now = Instant::now();
        let probed = |pace| Probed {
            probe: Probe::new(now, pace),
            peer: None,
            reporting: Arc::default(),
            reported: None,
        };
        let probes = trunks.into_iter().map(|(name, pace)| (name, probed(pace))).collect();
        let token = format!("{:032x}", rand::random::<u128>());
        Self { probes: Mutex::new(probes), token, asked: AtomicU64::new(0) }
    }

    /// A response that no call waits for.
    pub fn response(&self, node: &Node, response: &Response) {
        self.hear(node, response.call_id(), |probe, call_id| {
            probe.handle_response(Instant::now(), call_id, response.status())
        });
    }

    /// A question did not leave.
    pub fn unreachable(&self, node: &Node, call_id: &str) {
        self.hear(node, call_id, Probe::handle_unreachable);
    }

    /// Whether this node reaches its trunks, as far as it asks them and knows.
    pub fn verdicts(&self) -> Vec<(Arc<str>, Option<bool>)> {
        let probes = self.locked();
        probes.iter().map(|(name, probed)| (name.clone(), probed.probe.verdict())).collect()
    }

    fn hear(
        &self,
        node: &Node,
        call_id: &str,
        mut hear: impl FnMut(&mut Probe, &str) -> Option<Asked>,
    ) {
        if !call_id.starts_with(&self.token) {
            return;
        }
        for (name, probed) in self.locked().iter_mut() {
            if let Some(asked) = hear(&mut probed.probe, call_id) {
                probed.concluded(node, name, asked);
            }
        }
    }

    /// Does what is due. May wait for a name to be looked up.
    fn look(&self, node: &Arc<Node>) {
        let is_due = |(_, probed): &(&Arc<str>, &Probed)| probed.probe.is_due(Instant::now());
        let due: Vec<Arc<str>> =
            self.locked().iter().filter(is_due).map(|(name, _)| name.clone()).collect();
        // Without the lock, since who brings an answer does not wait for names.
        let questions: BTreeMap<_, _> = due
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.question(node, &name)?)))
            .collect();
        let now = Instant::now();
        for (name, probed) in self.locked().iter_mut() {
            if let Some(question) = questions.get(name) {
                probed.ask(node, name, now, question);
            }
            if let Some(asked) = probed.probe.handle_timeout(now) {
                probed.concluded(node, name, asked);
            }
            if let (Some(bytes), Some(peer)) = (probed.probe.poll_transmit(), probed.peer) {
                node.send_sip(&peer, bytes);
            }
            probed.report(node, name, now);
        }
    }

    /// None while this node has no address: then it has no calls either, and nobody would answer.
    fn question(&self, node: &Node, name: &str) -> Option<Question> {
        let station = from(node)?;
        let call_id = format!("{}-{}", self.token, self.asked.fetch_add(1, Ordering::Relaxed));
        let sent = request(node, name, &station, &call_id);
        Some(Question { call_id, sent })
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Probed>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probed {
    fn ask(&mut self, node: &Node, name: &str, now: Instant, question: &Question) {
        let Question { call_id, sent } = question;
        self.peer = sent.as_ref().map(|(peer, _)| *peer);
        let reliable = self.peer.is_some_and(|peer| peer.transport.is_reliable());
        let bytes = sent.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        self.probe.ask(now, call_id.clone(), bytes, reliable);
        // A host without an address does not answer.
        if self.peer.is_none()
            && let Some(asked) = self.probe.handle_unreachable(call_id)
        {
            self.concluded(node, name, asked);
        }
    }

    fn concluded(&self, node: &Node, name: &str, asked: Asked) {
        let result = match asked {
            Asked::Answered => "answered",
            Asked::Missed => "missed",
        };
        node.metrics.trunk_probes_total.with_label_values(&[name, result]).inc();
        if let Some(reached) = self.probe.verdict() {
            node.metrics.trunk_reached.with_label_values(&[name]).set(reached.into());
        }
    }

    /// Tells the cluster, if it thinks otherwise. Asked again and again, so that a report that was
    /// lost in an election is made once more.
    fn report(&mut self, node: &Arc<Node>, name: &Arc<str>, now: Instant) {
        let Some(reached) = self.probe.verdict() else { return };
        let rests = self.reported.is_some_and(|at| now < at + REPORT_AGAIN);
        if rests || self.reporting.load(Ordering::Relaxed) {
            return;
        }
        let held = node.replica.read_local(|machine| {
            let center = machine.center();
            let is_known = center.node(node.id).is_some_and(|node| node.up);
            is_known.then(|| center.trunk_is_reached(name, node.id))
        });
        if held.is_none_or(|held| held == reached) {
            return;
        }
        tracing::info!(trunk = %name, reached, "a trunk is seen otherwise than before");
        self.reported = Some(now);
        self.reporting.store(true, Ordering::Relaxed);
        let reporting = Arc::clone(&self.reporting);
        let command = Command::TrunkSeen { node: node.id, trunk: name.clone(), reached };
        node.propose_then(&command, move |_| reporting.store(false, Ordering::Relaxed));
    }
}

/// Where this node asks from: its own address, or another that it holds.
fn from(node: &Node) -> Option<Arc<Station>> {
    let own = node.stations.of(node.home.as_ref().map(|(home, _)| *home));
    own.or_else(|| node.stations.of(Some(*node.stations.open_homes().first()?)))
}

/// The request, and where it goes. None where that is not known.
fn request(node: &Node, name: &str, station: &Station, call_id: &str) -> Option<(Peer, Vec<u8>)> {
    let (uri, peer) = node.routes.trunk_itself(name, station.sip).ok()?;
    let sent_by: SocketAddr = station.host.parse().ok()?;
    let us = Uri::sip(None, &sent_by.ip().to_string(), Some(sent_by.port())).ok()?;
    let parts = RequestParts {
        method: &Method::Options,
        uri: &uri,
        via: &Via::new(peer.transport, sent_by, &format!("z9hG4bK{call_id}")),
        from: &NameAddr::new(&us).with_tag(call_id),
        to: &NameAddr::new(&uri),
        call_id,
        cseq: 1,
    };
    let request = RequestBuilder::new(parts)
        .header(HeaderName::Contact, NameAddr::new(&us).as_bytes())
        .header(HeaderName::Accept, "application/sdp")
        .build();
    Some((peer, request.to_bytes()))
}

/// Probes the trunks of a node for as long as it is there.
pub(crate) async fn watch(node: Weak<Node>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(node) = node.upgrade() else { return };
        if node.prober.locked().is_empty() {
            return;
        }
        let looked = tokio::task::spawn_blocking(move || node.prober.look(&node));
        if let Err(error) = looked.await {
            tracing::error!(%error, "probing the trunks failed");
        }
    }
}
