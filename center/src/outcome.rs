//! What a command did: its reply, what changed, what happened, what is to be recorded, or why
//! it was rejected.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::FlowKey;
use crate::directory::DirectoryError;
use crate::event::Event;
use crate::flow::FlowError;
use crate::ids::{AgentId, CallId, HomeId, LegNumber, NodeId, QueueId, SessionId};
use crate::record::Record;

/// What a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For whoever gave it.
    pub reply: Reply,
    /// Which values changed: their owners look at them, the store keeps them.
    pub touched: Touched,
    /// What happened, for screens.
    pub events: Vec<Event>,
    /// Rows for the records' store.
    pub records: Vec<Record>,
}

/// The answer to whoever gave the command. Remembered for commands of desks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    #[default]
    Done,
    /// Nothing was left to do: it was so already, or what it speaks of is over. A late or
    /// repeated report of a node ends here.
    Already,
    /// The call that the agent's dialling began.
    Dialing { call: CallId },
    /// The session that the agent is signed in with.
    SignedIn { session: SessionId },
    /// What was asked for holds when the present call and its wrap-up are over.
    Afterwards,
    /// The call waits in this slot.
    Parked { slot: u16 },
}

/// Which values changed, were added or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Calls: their owners compare wants with what is; a call that is not there any more is
    /// forgotten.
    pub calls: BTreeSet<CallId>,
    /// Agents.
    pub agents: BTreeSet<AgentId>,
    /// Sessions.
    pub sessions: BTreeSet<SessionId>,
    /// Queues: who waits, who is ready, or the totals.
    pub queues: BTreeSet<QueueId>,
    /// Nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Service addresses: their holders take them, others let go of them.
    pub homes: BTreeSet<HomeId>,
    /// Versions of flows that came or went.
    pub flows: BTreeSet<FlowKey>,
    /// Agents whose phones registered or left.
    pub registrations: BTreeSet<AgentId>,
    /// Callers whose last agent changed, by number.
    pub served: BTreeSet<Arc<str>>,
    /// What trunks carried lately, and which rest.
    pub trunks: BTreeSet<Arc<str>>,
    /// The directory.
    pub directory: bool,
    /// The version that is written: everything is stored anew.
    pub version: bool,
    /// Remembered results of an agent's commands, by slot.
    pub results: BTreeSet<(AgentId, u8)>,
}

impl Touched {
    /// What changed here and in `more`.
    pub fn merge(&mut self, more: &Self) {
        self.calls.extend(&more.calls);
        self.agents.extend(more.agents.iter().cloned());
        self.sessions.extend(&more.sessions);
        self.queues.extend(more.queues.iter().cloned());
        self.nodes.extend(&more.nodes);
        self.homes.extend(&more.homes);
        self.flows.extend(more.flows.iter().cloned());
        self.registrations.extend(more.registrations.iter().cloned());
        self.served.extend(more.served.iter().cloned());
        self.trunks.extend(more.trunks.iter().cloned());
        self.directory |= more.directory;
        self.version |= more.version;
        self.results.extend(more.results.iter().cloned());
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a command was rejected. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No such call: it never was, or it is over and forgotten.
    #[error("there is no call {call}")]
    NoSuchCall { call: CallId },
    /// A call with this id is there already and is another one.
    #[error("there is a call {call} already")]
    CallExists { call: CallId },
    /// No such agent in the directory.
    #[error("there is no agent {agent}")]
    NoSuchAgent { agent: AgentId },
    /// No such session: it ended.
    #[error("there is no session {session}")]
    NoSuchSession { session: SessionId },
    /// The session belongs to somebody else.
    #[error("session {session} is not of agent {agent}")]
    NotYourSession { session: SessionId, agent: AgentId },
    /// The call does not wait for, ring at or connect this agent.
    #[error("call {call} is not with agent {agent}")]
    NotYourCall { call: CallId, agent: AgentId },
    /// Since its node read the command, 64 others of its agent were done: if it was one of them, or
    /// older, that is forgotten. Not for clients that have no more than 64 under way.
    #[error("the command comes too late: whether agent {agent} gave it before is forgotten")]
    Late { agent: AgentId },
    /// The agent is in a state in which the command makes no sense.
    #[error("agent {agent} is {is}, the command needs {needs}")]
    WrongState { agent: AgentId, is: &'static str, needs: &'static str },
    /// The call is in a phase in which the command makes no sense.
    #[error("call {call} is {is}, the command needs {needs}")]
    WrongPhase { call: CallId, is: &'static str, needs: &'static str },
    /// The hold was made at the phone; only the phone can end it.
    #[error("call {call} is held at the phone of agent {agent}")]
    HeldAtPhone { call: CallId, agent: AgentId },
    /// Not a reason code of the directory.
    #[error("{reason:?} is no reason for not being ready")]
    NoSuchReason { reason: Arc<str> },
    /// Not a disposition of the call's queue.
    #[error("{disposition:?} is no disposition of queue {queue}")]
    NoSuchDisposition { disposition: Arc<str>, queue: QueueId },
    /// Nothing in the directory says where this number leads.
    #[error("no rule says how to dial {number:?}")]
    NoWayTo { number: Arc<str> },
    /// The number leads to a queue, a flow or a tone, where nobody can be asked.
    #[error("{number:?} is nobody who could be asked")]
    NotAPerson { number: Arc<str> },
    /// The agent has no phone configured.
    #[error("agent {agent} has no phone")]
    NoDevice { agent: AgentId },
    /// There is no room for one more call.
    #[error("there are {max} calls, no more are taken")]
    TooManyCalls { max: usize },
    /// A lost node may not own calls until it is up again.
    #[error("node {node} was lost and is not up again")]
    NodeIsLost { node: NodeId },
    /// No such node: it never said that it is up.
    #[error("there is no node {node}")]
    NoSuchNode { node: NodeId },
    /// Nobody is there who could take over from it, and nobody ever was.
    #[error("node {node} is the only one: its calls have nowhere to go")]
    OnlyNode { node: NodeId },
    /// All the others are lost.
    #[error("node {node} is the last one: all others are lost")]
    LastNode { node: NodeId },
    /// The others that are up are to be stopped, too.
    #[error("nobody takes over from node {node}: the others that are up are draining")]
    NobodyTakesOver { node: NodeId },
    /// The address that an INVITE came to has moved meanwhile: it is whose it is now.
    #[error("home {home} has moved since the call came in")]
    AddressMoved { home: HomeId },
    /// The call has gone on at another node, or began anew at this one, since this was reported.
    #[error("call {call} has moved since this was reported")]
    CallMoved { call: CallId },
    /// Said to be of a call's owner, and no report of a call.
    #[error("the command is no report of a call")]
    NoReport,
    /// The phone that asks for a transfer is no agent's.
    #[error("leg {leg} of call {call} may not transfer it")]
    MayNotRefer { call: CallId, leg: LegNumber },
    /// Keys are pressed that no telephone has, or too many at once.
    #[error("keys are 1 to {max} of 0-9, *, # and A-D")]
    NotKeys { max: usize },
    /// All slots are taken.
    #[error("all {max} slots are taken")]
    NoSlot { max: u16 },
    /// Nothing is parked there.
    #[error("nothing is parked in slot {slot}")]
    EmptySlot { slot: u16 },
    /// Not of a lower role, or in none of the queues that are supervised.
    #[error("{supervisor} may not supervise {agent}")]
    NotYourAgent { supervisor: AgentId, agent: AgentId },
    /// The queue is not among those that are supervised, or nothing is.
    #[error("{supervisor} may not supervise queue {queue}")]
    NotYourQueue { supervisor: AgentId, queue: QueueId },
    /// No such queue in the directory.
    #[error("there is no queue {queue}")]
    NoSuchQueue { queue: QueueId },
    /// A part of the command is larger than its bound.
    #[error("the {what} has {size}, at most {max} are taken")]
    TooLarge { what: &'static str, size: usize, max: usize },
    /// The directory contradicts itself.
    #[error("the directory is wrong: {0}")]
    Directory(#[from] DirectoryError),
    /// A flow of the directory is wrong.
    #[error("flow {flow} has {} errors, the first: {}", errors.len(), first_of(errors))]
    Flow { flow: Arc<str>, errors: Vec<FlowError> },
    /// Every trunk that leads there carries what it may, or rests.
    #[error("no trunk to {number:?} takes a call now")]
    NoTrunkFree { number: Arc<str> },
}

fn first_of(errors: &[FlowError]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}
