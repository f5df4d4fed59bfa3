//! The API's view of this node: the log, the state and the records.
//!
//! Owns the translation of what a replica answers into what clients are told. Decides nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use tandem_center::{CallId, Command, Millis, NodeId, RecordingId, SessionId};
use tokio::sync::oneshot;

use crate::actors::supervisor::Serves;
use crate::api::backend::{
    Answer, Applied, Backend, CdrQuery, CdrRow, Cluster, Freshness, Member, Reader, Readiness,
    SubmitError, Unavailable,
};
use crate::api::events::EventLog;
use crate::node::Node;
use crate::recordings::{Download, NoRecording, Recordings};
use crate::records;
use crate::replica::ProposalError;

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
        ProposalError::Unknown => SubmitError::Unknown,
        ProposalError::Stopped => Unavailable::Stopping.into(),
    }
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
        let proposal = self.node.replica.propose(command.encode());
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
        let (sender, receiver) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let rows = records.cdrs(&query).map_err(|error| {
                tracing::error!(%error, "the records cannot be read");
                Unavailable::Store
            });
            drop(sender.send(rows));
        });
        Box::pin(async move { receiver.await.unwrap_or(Err(Unavailable::Stopping)) })
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
        let http = |id: u64| {
            let member = self
                .node
                .config
                .cluster
                .member
                .iter()
                .find(|known| u64::from(known.id.get()) == id);
            member.and_then(|member| member.http).map(|address| address.to_string())
        };
        let member = |(id, voter)| {
            let peer = status.peers.iter().find(|peer| peer.node == id);
            let address = status.members.addresses.get(&id);
            Member {
                node: NodeId(id),
                address: address
                    .map(|bytes| String::from_utf8_lossy(bytes).into())
                    .unwrap_or_default(),
                http: http(id),
                voter,
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
        if self.node.draining.load(Ordering::Relaxed) {
            return Readiness::Draining;
        }
        let mut reasons = Vec::new();
        if self.node.replica.status().role.leader.is_none() {
            reasons.push("no leader".to_owned());
        }
        if self.node.disk_full.load(Ordering::Relaxed) {
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

    fn transfer_leader(&self, to: NodeId) -> Answer<'_, Result<(), Unavailable>> {
        self.node.replica.transfer_leader(to.0);
        Box::pin(async { Ok(()) })
    }
}
