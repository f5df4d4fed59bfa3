//! The entries that make the call centre: numbers, screening, queues, agents and trunks.
//!
//! They become the replicated directory; on a cluster every node's file should say the same,
//! and the leader's counts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::{Member, Ring, Staffing};
use super::types::{
    AgentCount, CallsPerSecond, Dialled, Digits, LengthMax, Level, Name, Pattern, Penalty,
    Priority, ProbeMisses, ProbeSeconds, RefuseStatus, ResponseSeconds, RingSeconds, Secret,
    SipUri, Source, TrunkCallsMax, TrunkPriority, WaitSeconds, Weight, WrapUpSeconds,
};

/// A number that callers dial, and what answers it: exactly one of `flow`, `queue`, `agent`,
/// `target`, `echo` and `reject`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// The number, or the name before the @.
    pub number: Dialled,
    /// An IVR flow.
    pub flow: Option<Name>,
    /// A queue.
    pub queue: Option<Name>,
    /// One agent's phone, past all queues.
    pub agent: Option<Name>,
    /// Another SIP address, called as it stands.
    pub target: Option<SipUri>,
    /// Sends the caller's own audio back, to try the way out.
    #[serde(default)]
    pub echo: bool,
    /// Refuses with this SIP status.
    pub reject: Option<RefuseStatus>,
}

/// What a screening entry does with the callers that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScreenAction {
    /// The call goes on.
    Allow,
    /// The call is refused.
    Deny,
}

/// Screening of callers, before anything answers. An entry that allows wins over those that
/// deny; of those that deny, the first counts. A caller whom none matches is let in. Denying `*`
/// lets in only those who are allowed, and counts after all others.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Screen {
    /// The caller's number, its beginning followed by `*`, or `*`; `anonymous` is every caller
    /// who hides the number.
    pub pattern: Pattern,
    /// What happens.
    pub action: ScreenAction,
    /// The SIP status of a call that is refused. 603 says that the called person declines, and
    /// nobody tries another way to reach us. 403 says that asking again is no use, 486 that the
    /// line is busy, 404 that there is no such number.
    #[serde(default = "screen_status")]
    pub status: RefuseStatus,
}

/// How a queue chooses among ready agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The agent who has been ready longest; the lowest id among equals.
    #[default]
    LongestIdle,
    /// The one who follows the agent asked last, by rank and id, round and round.
    RoundRobin,
    /// Up to seven at once; the first to accept takes the call.
    RingAll,
    /// The agent who took the fewest calls since signing in.
    FewestCalls,
    /// The agent who talked the least since signing in.
    LeastTalkTime,
    /// The lowest rank; the lowest id among equals.
    Linear,
    /// By lot, with chances as the members' weights.
    WeightedRandom,
    /// The highest sum of levels in the skills that the first ring asks for.
    HighestLevel,
}

const fn screen_status() -> RefuseStatus {
    RefuseStatus::of::<603>()
}

const fn yes() -> bool {
    true
}

const fn ring_seconds() -> RingSeconds {
    RingSeconds::of::<15>()
}

const fn trunk_ring_seconds() -> RingSeconds {
    RingSeconds::of::<60>()
}

const fn trunk_priority() -> TrunkPriority {
    TrunkPriority::of::<10>()
}

const fn trunk_weight() -> Weight {
    Weight::of::<10>()
}

const fn response_seconds() -> ResponseSeconds {
    ResponseSeconds::of::<5>()
}

fn failover() -> Vec<RefuseStatus> {
    vec![RefuseStatus::of::<408>(), RefuseStatus::of::<503>()]
}

const fn probe_misses() -> ProbeMisses {
    ProbeMisses::of::<3>()
}

const fn wrap_up_seconds() -> WrapUpSeconds {
    WrapUpSeconds::of::<10>()
}

const fn wait_seconds_max() -> WaitSeconds {
    WaitSeconds::of::<600>()
}

const fn length_max() -> LengthMax {
    LengthMax::of::<1_000>()
}

const fn no_wait() -> WaitSeconds {
    WaitSeconds::of::<0>()
}

const fn priority() -> Priority {
    Priority::of::<0>()
}

/// A queue.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Its name in commands, flows and records.
    pub id: Name,
    /// Its name for people; without it, the id.
    pub name: Option<String>,
    /// How it chooses an agent.
    #[serde(default)]
    pub strategy: Strategy,
    /// How long an offer rings before the call goes to the next agent and the agent is set
    /// not ready. 15 s is five rings. Below 5 s agents miss calls that they would have taken;
    /// above 30 s callers hang up first.
    #[serde(default = "ring_seconds")]
    pub ring_seconds: RingSeconds,
    /// How long an agent may write after a call before the next one. 0 is none.
    #[serde(default = "wrap_up_seconds")]
    pub wrap_up_seconds: WrapUpSeconds,
    /// How long a caller waits before the call is ended. 0 is without limit.
    #[serde(default = "wait_seconds_max")]
    pub wait_seconds_max: WaitSeconds,
    /// Callers who wait at a time; one more is refused.
    #[serde(default = "length_max")]
    pub length_max: LengthMax,
    /// Where its callers stand among those of other queues that the same agents serve; the
    /// higher number first.
    #[serde(default = "priority")]
    pub priority: Priority,
    /// Whether waiting callers are answered and hear music; otherwise they hear ringing, and
    /// are answered when an agent is.
    #[serde(default = "yes")]
    pub answer: bool,
    /// Whether conversations are recorded, one side on each channel.
    #[serde(default)]
    pub record: bool,
    /// The number to which callers go on who find the queue full or waited too long; without
    /// it, their call is ended.
    pub overflow: Option<Dialled>,
    /// What an agent can say of the outcome of a call: codes with their names for people.
    /// Empty: anything.
    #[serde(default)]
    pub dispositions: BTreeMap<Name, String>,
    /// Which of its agents must be there for a caller to enter; else the caller goes on to
    /// `overflow_empty`.
    #[serde(default)]
    pub join_needs: Staffing,
    /// Which of its agents must be there for callers to enter and to stay; when the last one
    /// leaves, they go on to `overflow_empty`.
    #[serde(default)]
    pub stay_needs: Staffing,
    /// The number to which callers go on who find the queue full, in place of `overflow`.
    pub overflow_full: Option<Dialled>,
    /// The number to which callers go on who waited too long, in place of `overflow`.
    pub overflow_wait: Option<Dialled>,
    /// The number to which callers go on for whom agents are missing, in place of `overflow`.
    pub overflow_empty: Option<Dialled>,
    /// How many seconds of waiting are worth one step of priority, so that callers of low
    /// priority are served in the end. 0: a higher priority always comes first.
    #[serde(default = "no_wait")]
    pub age_seconds: WaitSeconds,
    /// How long a caller who returns waits for the agent who talked with them last, if that one
    /// is signed in. 0: not at all.
    #[serde(default = "no_wait")]
    pub last_agent_seconds: WaitSeconds,
    /// What is added to the penalty of an agent who does not answer, until they take a call or
    /// sign in anew. Without it such an agent is set not ready.
    pub no_answer_penalty: Option<Penalty>,
    /// What is special about some of its agents.
    #[serde(default)]
    pub member: Vec<Member>,
    /// Who may take a caller, by time of waiting. Without any: everybody who serves the queue.
    #[serde(default)]
    pub ring: Vec<Ring>,
}

/// What a person may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes and makes calls.
    #[default]
    Agent,
    /// Also sees every agent, queue, call and record.
    Supervisor,
    /// Also sees and changes the cluster.
    Administrator,
}

/// What takes an offered call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnswersOn {
    /// The phone rings, and lifting it takes the call.
    #[default]
    Phone,
    /// The desk rings; its answer command makes the phone pick up by itself.
    Desk,
}

/// A person: an agent, a supervisor or an administrator.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The name to log in with; also the user under which the phone registers.
    pub id: Name,
    /// The name for people; without it, the id.
    pub name: Option<String>,
    /// The Argon2 hash of the password, as `tandem hash-password` prints it. Without a
    /// password this person cannot log in.
    #[serde(skip_serializing)]
    pub password_hash: Option<Secret>,
    /// The password itself, hashed when it is read. For trying things out.
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    /// The password with which the phone registers (digest authentication needs it in
    /// clear). Without it and its file, no phone can register under this name.
    #[serde(skip_serializing)]
    pub phone_password: Option<Secret>,
    /// A file that holds the phone's password in its first line.
    pub phone_password_file: Option<PathBuf>,
    /// What this person may do.
    #[serde(default)]
    pub role: Role,
    /// The queues served.
    #[serde(default)]
    pub queues: Vec<Name>,
    /// The phone's address; without it, the place from which `id` registered.
    pub device: Option<SipUri>,
    /// The number shown to those whom this person calls; without it, the trunk's.
    pub shows: Option<Dialled>,
    /// What takes an offered call.
    #[serde(default)]
    pub answers_on: AnswersOn,
    /// Whether calls are offered without a log-in, as to a machine.
    #[serde(default)]
    pub always_ready: bool,
    /// What the person knows, and how well: names with levels from 1 to 100.
    #[serde(default)]
    pub skills: BTreeMap<Name, Level>,
    /// The queues whose agents and callers a supervisor supervises; empty: all.
    #[serde(default)]
    pub supervises: Vec<Name>,
}

/// Agents with numbered names, as for a load test: `prefix = "agent"`, `first = 1`,
/// `count = 100`, `digits = 3` are agent001 to agent100.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentRange {
    /// What the names begin with.
    pub prefix: Name,
    /// The first number.
    #[serde(default)]
    pub first: u32,
    /// How many there are.
    pub count: AgentCount,
    /// Digits of the number, filled with zeros from the left.
    pub digits: Digits,
    /// The queues served.
    pub queues: Vec<Name>,
    /// The address of the phone; `{id}` in it is the agent's id. Without it, the place from
    /// which the id registered.
    pub device: Option<String>,
    /// What takes an offered call.
    #[serde(default)]
    pub answers_on: AnswersOn,
    /// Whether calls are offered without a log-in.
    #[serde(default)]
    pub always_ready: bool,
    /// What they know, and how well.
    #[serde(default)]
    pub skills: BTreeMap<Name, Level>,
}

/// A provider or gateway through which calls leave, and come in. Of those whose prefix fits a
/// dialled number, the ones with the longest prefix take the call: several trunks with the same
/// prefix stand in for each other. Limits hold for all nodes together.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// Its name in records and metrics.
    pub name: Name,
    /// Where its requests are sent: `sip:host:port` or `sip:host;transport=tcp`.
    pub address: SipUri,
    /// What dialled numbers begin with to go this way. Empty: every number.
    #[serde(default)]
    pub prefix: String,
    /// Which trunk of a prefix is tried first: that with the lowest number which has room and does
    /// not rest. The next is tried when it fails.
    #[serde(default = "trunk_priority")]
    pub priority: TrunkPriority,
    /// Its share of the calls among trunks of the same prefix and priority.
    #[serde(default = "trunk_weight")]
    pub weight: Weight,
    /// After which SIP statuses the next trunk of the prefix is tried. 408 is also a trunk that says
    /// nothing, 503 also one that cannot be reached. A status that speaks of who was called, as 486
    /// does, makes one person's phone ring by way of every provider.
    #[serde(default = "failover")]
    pub failover: Vec<RefuseStatus>,
    /// In how many seconds the trunk is to say something to a call, if only that it tries. An INVITE
    /// is repeated after 0.5, 1.5 and 3.5 s: a shorter time gives up after less than four losses,
    /// a longer one is silence for the caller.
    #[serde(default = "response_seconds")]
    pub response_seconds: ResponseSeconds,
    /// How often each node asks the trunk by OPTIONS whether it is there. A call leaves by a trunk
    /// that does not answer its node only if no other one of its prefix does. A dead trunk is passed
    /// over after `probe_seconds` times `probe_misses`; until then each call waits for
    /// `response_seconds`. Without it, the trunk is not asked: some providers answer no OPTIONS.
    pub probe_seconds: Option<ProbeSeconds>,
    /// After how many questions without an answer in `response_seconds`, or with 503 or 408, a node
    /// does not count on the trunk. One answer makes up for it. 1 takes one lost packet for a dead
    /// trunk where packets are not repeated in time.
    #[serde(default = "probe_misses")]
    pub probe_misses: ProbeMisses,
    /// How many calls go out here at a time. Without it, any number.
    pub calls_out_max: Option<TrunkCallsMax>,
    /// How many calls go out here a second; a second's worth may go at once.
    pub calls_out_per_second: Option<CallsPerSecond>,
    /// Addresses from which its own calls come, with or without a port. Only calls from there count
    /// as the trunk's.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// How many calls may come in here at a time. One more is refused with 503.
    pub calls_in_max: Option<TrunkCallsMax>,
    /// How many calls may come in here a second; a second's worth may come at once.
    pub calls_in_per_second: Option<CallsPerSecond>,
    /// Whether the prefix is taken off before the number is sent.
    #[serde(default)]
    pub strip_prefix: bool,
    /// What is put in front of the number after that, as `+`.
    #[serde(default)]
    pub add_prefix: String,
    /// The number shown to those who are called, unless the agent has one; without either,
    /// the agent's id.
    pub shows: Option<Dialled>,
    /// How long the called number rings. 60 s is a dozen rings; a voice mailbox answers after
    /// 20 to 30.
    #[serde(default = "trunk_ring_seconds")]
    pub ring_seconds: RingSeconds,
    /// How long an agent may write after a call that went out here.
    #[serde(default)]
    pub wrap_up_seconds: WrapUpSeconds,
    /// Whether calls that go out here are recorded.
    #[serde(default)]
    pub record: bool,
    /// The user of digest authentication.
    pub user: Option<String>,
    /// The password of digest authentication.
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    /// A file that holds the password in its first line.
    pub password_file: Option<PathBuf>,
}

impl AgentRange {
    /// The ids of the range.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        let digits = usize::from(self.digits.get());
        (self.first..self.first.saturating_add(self.count.get()))
            .map(move |number| format!("{}{number:0digits$}", self.prefix))
    }

    /// The agents of the range; those without a valid id or address are left out, which the
    /// check of the file has reported.
    pub(super) fn agents(&self) -> impl Iterator<Item = Agent> {
        self.ids().filter_map(|id| {
            let device = self.device.as_ref().map(|device| device.replace("{id}", &id).parse());
            Some(Agent {
                id: id.parse().ok()?,
                name: None,
                password_hash: None,
                password: None,
                phone_password: None,
                phone_password_file: None,
                role: Role::Agent,
                queues: self.queues.clone(),
                device: device.transpose().ok()?,
                shows: None,
                answers_on: self.answers_on,
                always_ready: self.always_ready,
                skills: self.skills.clone(),
                supervises: Vec::new(),
            })
        })
    }
}
