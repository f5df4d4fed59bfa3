//! The API's view of this node: the log, the state and the records.
//!
//! Owns the translation of what a replica answers into what clients are told. Decides nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tandem_center::{CallId, Center, Command, Millis, NodeId, RecordingId, SessionId};
use tandem_cluster::driver::MembershipChange;

use crate::actors::supervisor::Serves;
use crate::alarms::Alarms;
use crate::api::backend::{
    Answer, Applied, Backend, CdrQuery, CdrRow, Cluster, Freshness, Member, Reader, Readiness,
    SubmitError, Unavailable, read,
};
use crate::api::events::EventLog;
use crate::audit::offline::Places;
use crate::audit::online;
use crate::audit::report::Report;
use crate::audit::story::Story;
use crate::audit::wire::Wire;
use crate::config::sections::MemberRole;
use crate::node::{Node, unix_ms};
use crate::recordings::{Download, NoRecording, Recordings};
use crate::records;
use crate::replica::{ChangeFailed, Place, ProposalError};

/// A node without a lease for that long is cut off: no election takes as long. Its desks go on at
/// another node while their sessions still wait for them.
const CUT_OFF_AFTER: Duration = Duration::from_secs(3);

/// A node, for the API.
#[derive(Debug, Clone)]
pub struct NodeBackend {
    node: Arc<Node>,
    records: records::Reader,
}

impl NodeBackend {
    /// For a running node; `records` reads what its replica writes.
    pub fn new(node: Arc<Node>, records: records::Reader) -> Self {
        Self { node, records }
    }

    /// Whether a call with this recording is known, now or by its record. If that cannot be read,
    /// it may be.
    async fn was_recorded(&self, id: &RecordingId) -> bool {
        let Ok(call) = CallId::parse(&id.0) else { return false };
        let is_now = self.node.replica.read_local(|machine| {
            machine.center().call(call).is_some_and(|call| call.recording.as_ref() == Some(id))
        });
        let query = CdrQuery { call: Some(call), limit: 1, ..CdrQuery::default() };
        let is_recorded =
            |rows: &Vec<CdrRow>| rows.iter().any(|row| row.cdr.recording.as_ref() == Some(id));
        is_now || self.cdrs(query).await.as_ref().map_or(true, is_recorded)
    }

    /// A test of the supervision: the actor that serves this dies. False if there is none.
    pub fn kill_actor(&self, what: &Serves) -> bool {
        self.node.actors.kill(&self.node, what)
    }
}

fn unavailable(error: ProposalError) -> SubmitError {
    match error {
        ProposalError::NoLeader => Unavailable::NoLeader.into(),
        ProposalError::Full | ProposalError::TooLarge { .. } => Unavailable::Busy.into(),
        ProposalError::NotYet => Unavailable::Upgrading.into(),
        ProposalError::Unknown => SubmitError::Unknown,
        ProposalError::Stopped => Unavailable::Stopping.into(),
    }
}

/// An audit reads all records: one at a time.
static AUDITING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Reads files beside the runtime.
async fn blocking<T: Send + 'static, E: fmt::Display + Send + 'static>(
    read: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Unavailable> {
    let result = tokio::task::spawn_blocking(read).await.map_err(|_| Unavailable::Stopping)?;
    result.map_err(|error| {
        tracing::error!(%error, "the evidence cannot be read");
        Unavailable::Store
    })
}

impl Backend for NodeBackend {
    fn node(&self) -> NodeId {
        self.node.id
    }

    fn now(&self) -> Millis {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        Millis(u64::try_from(now).unwrap_or(u64::MAX))
    }

    fn submit(&self, command: Command) -> Answer<'_, Result<Applied, SubmitError>> {
        if !self.serves_desks() {
            return Box::pin(async { Err(Unavailable::Witness.into()) });
        }
        let proposal = self.node.propose(&command);
        Box::pin(async move {
            let answer = proposal.await.map_err(unavailable)?;
            Ok(Applied { index: answer.index, reply: answer.reply? })
        })
    }

    fn read(&self, freshness: Freshness, reader: Reader) -> Answer<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            match freshness {
                Freshness::Local => {
                    self.node.replica.read_local(|machine| reader(machine.center()));
                    Ok(())
                }
                Freshness::Linear => {
                    self.node.replica.read_linear(|machine| reader(machine.center())).await.map_err(
                        |error| match error {
                            crate::replica::ReadError::NoLeader => Unavailable::NoLeader,
                            crate::replica::ReadError::Stopped => Unavailable::Stopping,
                        },
                    )
                }
            }
        })
    }

    fn alarms(&self) -> &Arc<Alarms> {
        &self.node.alarms
    }

    fn events(&self) -> &Arc<EventLog> {
        &self.node.events
    }

    fn new_call(&self) -> (CallId, u64) {
        (self.node.new_call_id(), rand::random())
    }

    fn new_session(&self) -> SessionId {
        SessionId(rand::random())
    }

    fn cdrs(&self, query: CdrQuery) -> Answer<'_, Result<Vec<CdrRow>, Unavailable>> {
        let records = self.records.clone();
        Box::pin(async move { records.ask(move |from| records::cdrs(from, &query)).await })
    }

    fn records(&self) -> Option<records::Reader> {
        Some(self.records.clone())
    }

    fn story(&self, call: CallId) -> Answer<'_, Result<Option<Story>, Unavailable>> {
        let live = move |center: &Center| center.call(call).map(|call| Story::of_live(call));
        let live = self.node.replica.read_local(|machine| live(machine.center()));
        let records = self.records.clone();
        Box::pin(async move {
            if live.is_some() {
                return Ok(live);
            }
            let ended = blocking(move || records.ended(call)).await?;
            Ok(ended.and_then(|(cdr, ended)| Some(Story::of_ended(&cdr, &ended?.timeline))))
        })
    }

    fn audit(&self) -> Answer<'_, Result<Report, Unavailable>> {
        let (node, records) = (self.node.id.0, self.records.clone());
        let journal = Places::of(&self.node.config.node.data).journal;
        Box::pin(async move {
            let _alone = AUDITING.try_lock().map_err(|_| Unavailable::Busy)?;
            let at = unix_ms();
            // What is younger is read later: who was answered is in the state, or was.
            let wire = blocking(move || Wire::read(&journal)).await?;
            let center = read(self, Freshness::Linear, Center::clone).await?;
            let wire = Some((wire, at));
            blocking(move || online::audit(node, &center, wire, records.file())).await
        })
    }

    fn recording(&self, id: RecordingId) -> Answer<'_, Result<Download, NoRecording>> {
        Box::pin(async move {
            let found = self.node.recordings.get(&id).await;
            if !matches!(found, Err(NoRecording::Unsure(_))) || self.was_recorded(&id).await {
                return found;
            }
            Err(NoRecording::Nobody)
        })
    }

    fn recordings(&self) -> Option<Arc<Recordings>> {
        Some(Arc::clone(&self.node.recordings))
    }

    fn cluster(&self) -> Cluster {
        let status = self.node.replica.status();
        let members = status.members.voters.iter().map(|id| (*id, true));
        let learners = status.members.learners.iter().map(|id| (*id, false));
        let known = |id: u64| {
            let members = &self.node.config.cluster.member;
            members.iter().find(|known| u64::from(known.id.get()) == id)
        };
        // What the file says comes before what the log was told: a node may move.
        let member = |(id, voter)| {
            let peer = status.peers.iter().find(|peer| peer.node == id);
            let told = status.members.addresses.get(&id).and_then(|bytes| Place::decode(bytes));
            let http = known(id).and_then(|known| known.http).or(told.and_then(|told| told.http));
            Member {
                node: NodeId(id),
                address: told.map(|told| told.cluster.to_string()).unwrap_or_default(),
                http: http.map(|http| http.to_string()),
                voter,
                witness: known(id).is_some_and(|member| member.role == MemberRole::Witness),
                reachable: id == self.node.id.0 || peer.is_some_and(|peer| peer.recently_active),
                matched: peer.map(|peer| peer.matched),
            }
        };
        Cluster {
            leader: status.role.leader.map(NodeId),
            term: status.role.term,
            committed: status.commit,
            applied: status.applied,
            members: members.chain(learners).map(member).collect(),
        }
    }

    fn measure(&self) {
        self.node.measure();
    }

    fn readiness(&self) -> Readiness {
        if self.node.draining.load(Ordering::Relaxed) || self.node.drains() {
            return Readiness::Draining;
        }
        let mut reasons = Vec::new();
        if self.node.replica.status().role.leader.is_none() {
            reasons.push("no leader".to_owned());
        }
        // A call that comes before that is taken, and hears nothing of it until it is.
        if !self.node.lease.has_held() {
            reasons.push("not confirmed by the other nodes yet".to_owned());
        }
        if self.is_cut_off() {
            reasons.push("cut off from the other nodes".to_owned());
        }
        if self.node.stations.of(self.node.home.as_ref().map(|(id, _)| *id)).is_none() {
            reasons.push("another node still holds the service address".to_owned());
        }
        if self.node.has_no_room() {
            reasons.push("the disk is full".to_owned());
        }
        let configured = self
            .node
            .replica
            .read_local(|machine| !machine.center().directory().numbers.is_empty());
        if !configured {
            reasons.push("no directory yet".to_owned());
        }
        if reasons.is_empty() { Readiness::Ready } else { Readiness::NotReady(reasons) }
    }

    fn serves_desks(&self) -> bool {
        !self.node.is_witness()
    }

    fn is_cut_off(&self) -> bool {
        self.node.lease.lapsed() > CUT_OFF_AFTER
    }

    fn transfer_leader(&self, to: NodeId) -> Answer<'_, Result<(), Unavailable>> {
        self.node.replica.transfer_leader(to.0);
        Box::pin(async { Ok(()) })
    }

    fn change_members(&self, change: MembershipChange) -> Answer<'_, Result<(), ChangeFailed>> {
        Box::pin(async { self.node.replica.change(change).await })
    }
}
