//! The directory: numbers, screening, queues, people, trunks, flows and words that the
//! operator configured.
//!
//! The node reads it from its files and proposes it with [`crate::Command::Configure`] when its
//! hash differs from the replicated one, so every replica routes by the same directory. It is
//! checked as a whole before it is taken: a name that leads nowhere refuses all of it.

mod check;
mod distribution;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use check::{DirectoryError, OVERFLOWS_MAX, SECONDS_MAX, TRUNKS_OF_PREFIX_MAX};
pub use distribution::{
    CallerClass, Detours, Distribution, LEVEL_MAX, Member, RINGS_MAX, Ring, SKILLS_MAX, Skills,
    Staffing, WEIGHT_MAX, meets,
};

use crate::flow::FlowName;
use crate::ids::{AgentId, NodeId, QueueId};

/// Bytes of an encoded directory. A larger one is refused.
pub const DIRECTORY_BYTES_MAX: usize = 16 << 20;

/// Queues that one person may serve. More are refused; the ACD's work grows with it.
pub const QUEUES_PER_AGENT_MAX: usize = 64;

/// How long after the loss of its desk a session may come back before its agent is logged out.
pub const SESSION_GRACE_SECONDS_DEFAULT: u32 = 15;

/// All that the operator configured about calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The numbers that can be dialled, and where each leads.
    pub numbers: BTreeMap<Arc<str>, Route>,
    /// Who may call in at all.
    pub screening: Screening,
    /// Queues by name.
    pub queues: BTreeMap<QueueId, QueueConfig>,
    /// People by name.
    pub agents: BTreeMap<AgentId, AgentConfig>,
    /// Trunks by name. Their addresses and credentials are each node's own configuration.
    pub trunks: BTreeMap<Arc<str>, TrunkConfig>,
    /// Which dialled number leaves by which trunk: the longest matching prefix wins, and the trunks
    /// that share it stand in for each other.
    pub outbound: Vec<OutboundRule>,
    /// Where each node stands. All nodes that are not here are together at one site more.
    pub sites: BTreeMap<NodeId, Arc<str>>,
    /// The flows' TOML texts by name. Their versions are [`crate::flow::FlowVersion`]s.
    pub flows: BTreeMap<FlowName, Arc<str>>,
    /// Why an agent may be not ready: code and label. Empty: any reason is taken.
    pub reasons: BTreeMap<Arc<str>, Arc<str>>,
    /// How long a session may be without its desk before its agent is logged out, in seconds.
    pub session_grace_seconds: u32,
    /// Kinds of callers; the first that a caller belongs to counts.
    pub classes: Vec<CallerClass>,
}

/// Where a number leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// Into an IVR flow.
    Flow(Arc<str>),
    /// Into a queue.
    Queue(QueueId),
    /// To a SIP URI, as a back-to-back user agent.
    Target(Arc<str>),
    /// To an echo of the caller's own voice, for testing a line.
    Echo,
    /// To one agent's phone.
    Agent(AgentId),
    /// Nowhere: refused with this SIP status (400 to 699).
    Reject(u16),
}

impl Route {
    /// The queue that it leads to, if it leads to one.
    #[must_use]
    pub fn queue(&self) -> Option<&QueueId> {
        match self {
            Self::Queue(queue) => Some(queue),
            Self::Flow(_) | Self::Target(_) | Self::Echo | Self::Agent(_) | Self::Reject(_) => None,
        }
    }
}

/// Which callers are let in. Checked when a call arrives, before its route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screening {
    /// Numbers or prefixes that are always let in, whatever `blocked` says.
    pub allowed: Vec<NumberPattern>,
    /// Numbers or prefixes that are refused. The first that speaks of a caller counts.
    pub blocked: Vec<Blocked>,
    /// Only `allowed` callers are let in.
    pub allowed_only: bool,
    /// The SIP status for callers who are refused only because they are not `allowed`. Zero means
    /// [`Self::STATUS_DEFAULT`].
    pub status: u16,
}

/// Callers who are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Who they are.
    pub pattern: NumberPattern,
    /// The SIP status that they receive (400 to 699).
    pub status: u16,
}

/// One line of a screening list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NumberPattern {
    /// This number only.
    Exact(Arc<str>),
    /// Every number that begins so.
    Prefix(Arc<str>),
    /// Callers who show no number.
    Anonymous,
}

/// How a queue treats its callers and agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueConfig {
    /// What screens call it.
    pub label: Arc<str>,
    /// Which ready agent gets the next call.
    pub strategy: Strategy,
    /// Added to the priority of each call that enters. Higher is served first.
    pub priority: u8,
    /// How long an agent is offered a call before it goes on to the next, in seconds.
    pub ring_seconds: u32,
    /// How long an agent is left alone after a call of this queue, in seconds. 0: not at all.
    pub wrap_up_seconds: u32,
    /// How long a caller waits at most, in seconds. 0: without end.
    pub max_wait_seconds: u32,
    /// How many callers wait at most. 0: without bound.
    pub max_length: u32,
    /// Where callers go who find the queue full or waited too long. None: they are let go.
    pub overflow: Option<Route>,
    /// Answer the caller and play music (true), or let the caller hear ringing until an agent
    /// answers (false).
    pub answer: bool,
    /// Record the conversation.
    pub record: bool,
    /// What an agent may say about a call afterwards: code and label. Empty: anything.
    pub dispositions: BTreeMap<Arc<str>, Arc<str>>,
    /// Who takes which caller when, beyond the strategy.
    pub distribution: Distribution,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            label: "".into(),
            strategy: Strategy::LongestIdle,
            priority: 0,
            ring_seconds: 15,
            wrap_up_seconds: 0,
            max_wait_seconds: 0,
            max_length: 0,
            overflow: None,
            answer: true,
            record: false,
            dispositions: BTreeMap::new(),
            distribution: Distribution::default(),
        }
    }
}

/// How the ACD chooses among ready agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Who has been ready longest; then the lowest name.
    #[default]
    LongestIdle,
    /// Who follows the one asked last, in the order of ranks and names, round and round.
    RoundRobin,
    /// All at once, up to [`crate::call::RING_ALL_MAX`]; the first to accept takes the call.
    RingAll,
    /// Who took the fewest calls since signing in; then who has been ready longest.
    FewestCalls,
    /// Who talked the least since signing in; then who has been ready longest.
    LeastTalkTime,
    /// The lowest rank, then the lowest name.
    Linear,
    /// By lot, with chances as the members' weights. The lot follows from the call and the
    /// commit, so that every replica draws the same.
    WeightedRandom,
    /// The highest sum of levels in the skills that the queue's first ring asks for; then who has
    /// been ready longest.
    HighestLevel,
}

/// A person who signs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// What screens call the person.
    pub name: Arc<str>,
    /// What the person may do.
    pub role: Role,
    /// The hash of the password, in PHC string format. The node checks it; the centre only
    /// carries it.
    pub password: PasswordHash,
    /// The phone: a SIP URI or a registered address-of-record.
    pub device: Arc<str>,
    /// Where an offered call is accepted.
    pub answers_on: AnswersOn,
    /// Ready without a session: for devices that only answer, and for tests.
    pub always_ready: bool,
    /// The queues that the person serves.
    pub queues: Vec<QueueId>,
    /// The number that outbound calls show. None: the trunk's.
    pub shows: Option<Arc<str>>,
    /// What the person knows, and how well.
    pub skills: Skills,
    /// The queues whose agents and callers a supervisor supervises. Empty: all.
    pub supervises: Vec<QueueId>,
}

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Takes and makes calls.
    Agent,
    /// Also sees every agent, queue and call, and supervises agents.
    Supervisor,
    /// Also changes the configuration, and supervises supervisors.
    Administrator,
}

/// A password's hash. Never shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(pub Arc<str>);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Where an agent accepts an offered call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswersOn {
    /// At the desk: accepting there makes the node invite the phone, which answers by itself.
    #[default]
    Desk,
    /// At the phone: the offer rings it, picking up accepts.
    Phone,
}

/// A way out to the telephone network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkConfig {
    /// The number shown to the called when the agent has none of their own.
    pub shows: Option<Arc<str>>,
    /// How long the called number rings, in seconds. 0: [`RING_SECONDS_DEFAULT`].
    pub ring_seconds: u32,
    /// Record calls that leave here.
    pub record: bool,
    /// How long an agent is left alone after a call that left here, in seconds. 0: not at all.
    pub wrap_up_seconds: u32,
    /// Of the trunks of one prefix the lowest is tried first (RFC 2782).
    pub priority: u8,
    /// Its share of the calls among trunks of its priority. 0 counts as 1.
    pub weight: u16,
    /// Statuses after which the next trunk of the prefix is tried. Empty: none.
    pub failover: Vec<u16>,
    /// Bounds of the calls that come in here, on all nodes together.
    pub incoming: Limits,
    /// Bounds of the calls that go out here, on all nodes together.
    pub outgoing: Limits,
}

/// How many calls a trunk carries in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// At a time. 0: without bound.
    pub calls: u32,
    /// New ones a second, of which a second's worth may come at once. 0: without bound.
    pub per_second: u32,
}

/// How long a called target rings unless its trunk says otherwise: RFC 3261 §16.6 asks for more
/// than three minutes of timer C in proxies; callers give up long before. 60 s is ten to fifteen
/// ring cycles.
pub const RING_SECONDS_DEFAULT: u32 = 60;

/// Which dialled numbers leave by which trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundRule {
    /// How the dialled number begins. Empty: any.
    pub prefix: Arc<str>,
    /// The trunk's name.
    pub trunk: Arc<str>,
    /// How many characters are taken off the front before dialling.
    pub strip: u8,
    /// What is put in front after that.
    pub add: Arc<str>,
}

/// Where a call goes by a dialled number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// A number of this centre.
    Inside(Route),
    /// Out through a trunk.
    Outside(Outside),
}

/// A number outside, as it was dialled. Each trunk that leads there rewrites it as it needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// The outbound rules that lead there are those with this prefix: [`Directory::ways`].
    pub prefix: Arc<str>,
    /// What was dialled.
    pub number: Arc<str>,
}

impl Directory {
    /// What tells one directory from another. Nodes propose theirs when it differs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        crate::hash::of_value(self)
    }

    /// The class of a caller with this number who dialled that one.
    #[must_use]
    pub fn class_of(&self, caller: &str, called: &str) -> Option<&CallerClass> {
        self.classes.iter().find(|class| class.is_of(caller, called))
    }

    /// Where a number leads that an agent or a flow dials: a number of ours, else the longest
    /// matching outbound rule.
    #[must_use]
    pub fn destination(&self, number: &str) -> Option<Destination> {
        if let Some(route) = self.numbers.get(number) {
            return Some(Destination::Inside(route.clone()));
        }
        let matching = self.outbound.iter().filter(|rule| number.starts_with(&*rule.prefix));
        let rule = matching.max_by_key(|rule| rule.prefix.len())?;
        Some(Destination::Outside(Outside { prefix: rule.prefix.clone(), number: number.into() }))
    }

    /// The trunks of a prefix, in the order of the configuration.
    pub fn ways(&self, prefix: &str) -> impl Iterator<Item = (&OutboundRule, &TrunkConfig)> {
        let rules = self.outbound.iter().filter(move |rule| &*rule.prefix == prefix);
        rules.filter_map(|rule| Some((rule, self.trunks.get(&rule.trunk)?)))
    }
}

impl OutboundRule {
    /// The number as the trunk gets it.
    #[must_use]
    pub fn rewrite(&self, number: &str) -> Arc<str> {
        let kept: String = number.chars().skip(self.strip.into()).collect();
        format!("{}{kept}", self.add).into()
    }
}

impl Screening {
    /// What refused callers receive unless configured: Decline (RFC 3261 §21.6.2).
    pub const STATUS_DEFAULT: u16 = 603;

    /// The status to refuse `number` with, or None when the caller is let in.
    #[must_use]
    pub fn refuses(&self, number: &str) -> Option<u16> {
        if self.allowed.iter().any(|pattern| pattern.matches(number)) {
            return None;
        }
        let blocked = self.blocked.iter().find(|blocked| blocked.pattern.matches(number));
        let others = if self.status == 0 { Self::STATUS_DEFAULT } else { self.status };
        blocked.map(|blocked| blocked.status).or(self.allowed_only.then_some(others))
    }
}

impl NumberPattern {
    /// Whether this line speaks of `number`.
    #[must_use]
    pub fn matches(&self, number: &str) -> bool {
        match self {
            Self::Exact(exact) => number == &**exact,
            Self::Prefix(prefix) => number.starts_with(&**prefix),
            // RFC 3323 §4.1.1.3: callers who hide use this user part.
            Self::Anonymous => number.is_empty() || number.eq_ignore_ascii_case("anonymous"),
        }
    }
}
