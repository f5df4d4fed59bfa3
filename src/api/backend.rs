//! What the API needs of the node, as a trait.
//!
//! The API turns requests into [`Command`]s and values of the centre into JSON; a [`Backend`]
//! gives it the log and the state. The node implements it over the replica; [`super::memory`]
//! over a [`Center`] alone.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tandem_center::{
    AgentId, CallId, CallResult, Cdr, Center, Command, Index, Millis, NodeId, QueueId, RecordingId,
    Rejected, Reply, SessionId,
};
use tandem_cluster::driver::MembershipChange;
use thiserror::Error;
use tokio::sync::oneshot;

use super::events::EventLog;
use crate::alarms::Alarms;
use crate::audit::report::Report;
use crate::audit::story::Story;
use crate::recordings::{Download, NoRecording, Recordings};
use crate::records;
use crate::records::condition::Condition;
use crate::replica::ChangeFailed;

/// A future of the backend. It may be awaited on any thread.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is done with the state, on the thread that owns it. It has to be quick: nothing is
/// applied meanwhile.
pub type Reader = Box<dyn FnOnce(&Center) + Send>;

/// The node, as the API sees it.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;

    /// The node's clock, near the leader's.
    fn now(&self) -> Millis;

    /// Proposes a command and waits until it is applied here.
    fn submit(&self, command: Command) -> Answer<'_, Result<Applied, SubmitError>>;

    /// Runs `reader` on the state. On an error the reader has not run.
    fn read(&self, freshness: Freshness, reader: Reader) -> Answer<'_, Result<(), Unavailable>>;

    /// What an operator has to know, as this node sees it.
    fn alarms(&self) -> &Arc<Alarms>;

    /// The events that were applied here lately.
    fn events(&self) -> &Arc<EventLog>;

    /// A fresh identifier for a call that begins here, and its salt.
    fn new_call(&self) -> (CallId, u64);

    /// A fresh identifier for a session that begins here: random, since knowing it resumes it.
    fn new_session(&self) -> SessionId;

    /// Call-detail records, newest first.
    fn cdrs(&self, query: CdrQuery) -> Answer<'_, Result<Vec<CdrRow>, Unavailable>>;

    /// The records of this node, for other questions.
    fn records(&self) -> Option<records::Reader>;

    /// What a call went through, from the state or the records.
    fn story(&self, call: CallId) -> Answer<'_, Result<Option<Story>, Unavailable>>;

    /// Proves from everything that this node has that no call is lost. One at a time.
    fn audit(&self) -> Answer<'_, Result<Report, Unavailable>>;

    /// A recording, from wherever it is.
    fn recording(&self, id: RecordingId) -> Answer<'_, Result<Download, NoRecording>>;

    /// The recordings of this node, for the others.
    fn recordings(&self) -> Option<Arc<Recordings>>;

    /// The cluster as this node sees it.
    fn cluster(&self) -> Cluster;

    /// Brings those metrics up to date that are looked at rather than counted.
    fn measure(&self) {}

    /// Whether this node should be sent new work.
    fn readiness(&self) -> Readiness;

    /// Whether this node has been cut off from the others for so long that its desks are better
    /// served elsewhere.
    fn is_cut_off(&self) -> bool {
        false
    }

    /// Whether desks and their commands are served here; not by a witness.
    fn serves_desks(&self) -> bool {
        true
    }

    /// Hands the leadership to another node.
    fn transfer_leader(&self, to: NodeId) -> Answer<'_, Result<(), Unavailable>>;

    /// One safe step of a change of the members, which only the leader takes.
    fn change_members(&self, change: MembershipChange) -> Answer<'_, Result<(), ChangeFailed>>;
}

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Where it stands in the log.
    pub index: Index,
    /// The centre's answer.
    pub reply: Reply,
}

/// Why a command was not applied, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The centre rejected it; nothing changed. A repetition under the same id is decided anew.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// It was certainly not taken: too much waits, or nobody leads. Repeat later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It may or may not be applied: the leader was lost while it was under way. Repeat it under
    /// the same id.
    #[error("it is not known whether the command was applied; repeat it under the same id")]
    Unknown,
}

/// Why the node cannot serve this now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// No leader is known: an election, or no majority.
    #[error("no node leads")]
    NoLeader,
    /// More waits than the node takes.
    #[error("too much is waiting")]
    Busy,
    /// Not every node reads such a command yet.
    #[error("the cluster is being upgraded: not every node reads this yet")]
    Upgrading,
    /// The node is ending.
    #[error("the node is shutting down")]
    Stopping,
    /// The node votes and does nothing else.
    #[error("this node is a witness and serves no desks; go to another one")]
    Witness,
    /// A question to the records took longer than it may.
    #[error("the question took too long; ask for less at a time")]
    Slow,
    /// The store does not answer.
    #[error("the records cannot be read")]
    Store,
}

/// How recent a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// What this node has applied; never waits for another node.
    Local,
    /// At least everything that was acknowledged anywhere before the read began.
    Linear,
}

/// Runs `reader` on the state and brings its value back.
pub async fn read<T: Send + 'static>(
    backend: &dyn Backend,
    freshness: Freshness,
    reader: impl FnOnce(&Center) -> T + Send + 'static,
) -> Result<T, Unavailable> {
    let (sender, receiver) = oneshot::channel();
    let reader: Reader = Box::new(move |center| drop(sender.send(reader(center))));
    backend.read(freshness, reader).await?;
    receiver.await.map_err(|_| Unavailable::Stopping)
}

/// Which call-detail records are asked for. Every condition that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrQuery {
    /// Arrived at or after.
    pub from: Option<Millis>,
    /// Arrived before.
    pub to: Option<Millis>,
    /// The calling or the called number, or its beginning if `number_is_prefix`.
    pub number: Option<String>,
    /// Whether `number` is a beginning.
    pub number_is_prefix: bool,
    /// The agent who talked last or dialled.
    pub agent: Option<AgentId>,
    /// The last queue.
    pub queue: Option<QueueId>,
    /// What it came to.
    pub result: Option<CallResult>,
    /// Only this call.
    pub call: Option<CallId>,
    /// What else must hold.
    pub condition: Option<Condition>,
    /// Continue behind this record: its time of arrival and call.
    pub after: Option<(Millis, CallId)>,
    /// How many at most.
    pub limit: usize,
}

/// A call-detail record with what the agent said about it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdrRow {
    /// The record.
    pub cdr: Cdr,
    /// The disposition and note.
    pub disposition: Option<(Arc<str>, Option<Arc<str>>)>,
}

impl CdrQuery {
    /// Only records of this agent's calls are asked for.
    pub fn only_of(&mut self, agent: &AgentId) {
        let own = Condition::Agent(agent.to_string());
        let all = [Some(own), self.condition.take()].into_iter().flatten().collect();
        self.condition = Some(Condition::All(all));
    }

    /// Whether a record is asked for, of which this was said last, the limit aside. The store in
    /// SQL must agree with this.
    #[must_use]
    pub fn matches(&self, cdr: &Cdr, said: Option<&str>) -> bool {
        let number = |number: &str| {
            [&*cdr.from.number, &*cdr.to].iter().any(|of| {
                if self.number_is_prefix { of.starts_with(number) } else { *of == number }
            })
        };
        self.from.is_none_or(|from| cdr.arrived >= from)
            && self.to.is_none_or(|to| cdr.arrived < to)
            && self.number.as_deref().is_none_or(number)
            && self.agent.as_ref().is_none_or(|agent| cdr.agent.as_ref() == Some(agent))
            && self.queue.as_ref().is_none_or(|queue| cdr.queue.as_ref() == Some(queue))
            && self.result.is_none_or(|result| cdr.result == result)
            && self.call.is_none_or(|call| cdr.call == call)
            && self.condition.as_ref().is_none_or(|condition| condition.holds(cdr, said))
            && self.after.is_none_or(|after| (cdr.arrived, cdr.call) < after)
    }
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Who leads, if somebody does.
    pub leader: Option<NodeId>,
    /// The Raft term.
    pub term: u64,
    /// The last index known to be committed.
    pub committed: Index,
    /// The last index applied here.
    pub applied: Index,
    /// Every member.
    pub members: Vec<Member>,
}

impl Cluster {
    /// Whether this node is a member.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.members.iter().any(|member| member.node == node)
    }
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub node: NodeId,
    /// Where the others reach it.
    pub address: String,
    /// Its HTTP address, for clients to go on at.
    pub http: Option<String>,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is there to vote and has no calls and desks.
    pub witness: bool,
    /// Whether this node hears from it; itself always.
    pub reachable: bool,
    /// The last index that the leader knows it to have; known to the leader only.
    pub matched: Option<Index>,
}

/// Whether a node should be sent new work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No, for these reasons, in words.
    NotReady(Vec<String>),
    /// It is ending: clients should go elsewhere.
    Draining,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::NotReady(reasons) => write!(f, "not ready: {}", reasons.join("; ")),
            Self::Draining => f.write_str("draining"),
        }
    }
}
