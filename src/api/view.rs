//! What the API shows of calls, agents, queues and records, as JSON.
//!
//! Identifiers are strings, since many readers of JSON keep 53 bits of a number. Times are Unix
//! milliseconds on the leader's clock. Nothing of the wire and no password is in here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::event::Screen;
use tandem_center::{self as center, AgentId, AgentState, Call, Center, Queue};

use super::words::{CallDirection, LegPhase, LegRole, Phase, Role, State, SupervisionMode};

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// The name to log in with.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// What the person may do.
    pub role: Role,
    /// Free for what.
    pub state: State,
    /// Since when.
    pub since: u64,
    /// Why, when logged out or not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the state ends by itself: of a wrap-up, and of some that are not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The call that the state is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The call that was last with this agent; its disposition can still be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_call: Option<String>,
    /// The queues served.
    pub queues: Vec<String>,
    /// Whether a desk is signed in.
    pub signed_in: bool,
    /// Calls taken.
    pub calls: u32,
}

/// A state that an agent changed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateChange {
    /// Free for what.
    pub state: State,
    /// Since when.
    pub since: u64,
    /// Why, when logged out or not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the state ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The call that the state is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

impl StateChange {
    /// What is shown of a state.
    #[must_use]
    pub fn of(state: &AgentState) -> Self {
        let (reason, until, call) = match state {
            AgentState::LoggedOut { reason, .. } => (Some(reason), None, None),
            AgentState::NotReady { reason, until, .. } => (Some(reason), *until, None),
            AgentState::Ready { .. } => (None, None, None),
            AgentState::Reserved { call, .. }
            | AgentState::Ringing { call, .. }
            | AgentState::Talking { call, .. }
            | AgentState::Held { call, .. } => (None, None, Some(call)),
            AgentState::WrapUp { until, call, .. } => (None, Some(*until), Some(call)),
        };
        Self {
            state: State::from(state),
            since: state.since().0,
            reason: reason.map(|reason| reason.to_string()),
            until: until.map(|until| until.0),
            call: call.map(|call| call.to_string()),
        }
    }
}

impl Agent {
    /// What is shown of an agent.
    #[must_use]
    pub fn of(agent: &center::Agent, center: &Center) -> Self {
        let config = center.directory().agents.get(&agent.id);
        let StateChange { state, since, reason, until, call } = StateChange::of(&agent.state);
        Self {
            id: agent.id.to_string(),
            name: config.map_or_else(|| agent.id.to_string(), |config| config.name.to_string()),
            role: config.map_or(Role::Agent, |config| config.role.into()),
            state,
            since,
            reason,
            until,
            call,
            last_call: agent.last_call.as_ref().map(|last| last.call.to_string()),
            queues: config
                .iter()
                .flat_map(|config| &config.queues)
                .map(ToString::to_string)
                .collect(),
            signed_in: agent.session.is_some(),
            calls: agent.calls,
        }
    }
}

/// Somebody outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// The number, empty or `anonymous` when hidden.
    pub number: String,
    /// The name that came with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Caller {
    pub(super) fn of(party: &center::Party) -> Self {
        let name = party.name.as_ref().map(ToString::to_string);
        Self { number: party.number.to_string(), name }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallView {
    /// Its id.
    pub id: String,
    /// Who began it.
    pub direction: CallDirection,
    /// Who calls.
    pub caller: Caller,
    /// What was dialled.
    pub called: String,
    /// What it is doing.
    pub phase: Phase,
    /// The queue that it is or was in last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The agent who talks or talked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The agents who are asked to take it: several where a queue rings all at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offered_to: Vec<String>,
    /// Its place in the queue, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// How long it is expected to wait from now on, in milliseconds, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_wait_ms: Option<u64>,
    /// When it began.
    pub arrived: u64,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// The node that drives it.
    pub owner: u64,
    /// Served first when higher.
    pub priority: u8,
    /// What the IVR collected and looked up.
    pub variables: BTreeMap<String, String>,
    /// The recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// The slot in which it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// Whether an agent has interrupted the recording.
    #[serde(default)]
    pub recording_paused: bool,
    /// The legs of those who talk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parties: Vec<u16>,
    /// Who is asked by one of them meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consultation: Option<ConsultationView>,
    /// The supervisor in it; for supervisors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervision: Option<SupervisionView>,
    /// Its parties.
    pub legs: Vec<LegView>,
}

/// A supervisor in an agent's conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SupervisionView {
    /// Who.
    pub by: String,
    /// Of whom.
    pub of: String,
    /// Who hears the supervisor.
    pub mode: SupervisionMode,
    /// The leg of the supervisor's phone.
    pub leg: u16,
}

/// One party of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LegView {
    /// Its number in the call.
    pub number: u16,
    /// Whose it is.
    pub role: LegRole,
    /// What was invited; empty for the caller.
    pub target: String,
    /// How far it is.
    pub state: LegPhase,
    /// Whether its phone holds.
    pub held: bool,
    /// Whether its agent is heard by nobody.
    #[serde(default)]
    pub muted: bool,
}

/// One who is asked during a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsultationView {
    /// The leg of who asks.
    pub by: u16,
    /// The leg of who is asked, if there is one yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<u16>,
    /// Whether who is asked has answered.
    pub answered: bool,
    /// Whether who asks is aside; else they are with the others, and who is asked waits.
    pub aside: bool,
}

/// A call with all that was decided about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallDetail {
    /// The call.
    pub call: CallView,
    /// What was decided, when and why, the oldest first.
    pub timeline: Vec<Note>,
    /// Notes that were dropped from the middle.
    pub notes_dropped: u32,
}

/// One thing that happened to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// When.
    pub at: u64,
    /// What, in words.
    pub what: String,
}

impl CallView {
    /// What is shown of a call.
    #[must_use]
    pub fn of(call: &Call, center: &Center) -> Self {
        let position = center.position(call);
        Self {
            position: position.map(|(position, _)| position),
            expected_wait_ms: position.and_then(|(_, expected)| expected),
            id: call.id.to_string(),
            direction: call.direction.into(),
            caller: Caller::of(&call.caller),
            called: call.called.to_string(),
            phase: Phase::from(&call.phase),
            queue: call.queue.as_ref().map(ToString::to_string),
            agent: call.agent.as_ref().map(ToString::to_string),
            offered_to: call.offers().iter().map(|offer| offer.agent.to_string()).collect(),
            arrived: call.arrived.0,
            answered: call.answered.map(|at| at.0),
            owner: call.owner.0,
            priority: call.priority,
            variables: pairs(call.variables.iter()),
            recording: call.recording.as_ref().map(ToString::to_string),
            slot: call.slot(),
            recording_paused: call.recording_paused,
            parties: call
                .conversation()
                .map(|(parties, _)| parties.iter().map(|number| number.0).collect())
                .unwrap_or_default(),
            consultation: call.conversation().and_then(|(_, asked)| asked).map(|asked| {
                ConsultationView {
                    by: asked.by.0,
                    with: asked.reach.leg().map(|leg| leg.0),
                    answered: asked.reach.talking().is_some(),
                    aside: asked.aside,
                }
            }),
            supervision: call.supervision.as_ref().map(|supervision| SupervisionView {
                by: supervision.by.to_string(),
                of: supervision.of.to_string(),
                mode: supervision.mode.into(),
                leg: supervision.leg.0,
            }),
            legs: call.legs.iter().map(|(number, leg)| LegView::of(number.0, leg)).collect(),
        }
    }

    /// The same for an agent in it, who is not to see a supervisor.
    #[must_use]
    pub fn of_own(call: &Call, agent: &AgentId, center: &Center) -> Self {
        let mut view = Self::of(call, center);
        if let Some(supervision) = view.supervision.take_if(|one| one.by != agent.as_str()) {
            view.legs.retain(|leg| leg.number != supervision.leg);
        }
        view
    }
}

impl CallDetail {
    /// A call with its timeline.
    #[must_use]
    pub fn of(call: &Call, center: &Center) -> Self {
        let note =
            |note: &center::timeline::Note| Note { at: note.at.0, what: note.what.to_string() };
        Self {
            call: CallView::of(call, center),
            timeline: call.timeline.notes().map(note).collect(),
            notes_dropped: call.timeline.dropped(),
        }
    }
}

impl LegView {
    fn of(number: u16, leg: &center::Leg) -> Self {
        Self {
            number,
            role: LegRole::from(&leg.role),
            target: leg.target.to_string(),
            state: leg.state.into(),
            held: leg.held,
            muted: leg.muted,
        }
    }
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueView {
    /// Its id.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// Callers in it.
    pub waiting: usize,
    /// Since when the first of them waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_since: Option<u64>,
    /// Agents whom it could offer a call.
    pub ready: usize,
    /// Agents who serve it and are signed in.
    pub signed_in: u32,
    /// Of them, those who are not set not ready: ready, in a call or in wrap-up.
    pub available: u32,
    /// How long a caller who enters now behind all others is expected to wait, in milliseconds,
    /// where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_wait_ms: Option<u64>,
    /// Calls that entered since it was configured.
    pub entered: u64,
    /// Of them, answered by an agent.
    pub answered: u64,
    /// Of them, given up by the caller.
    pub abandoned: u64,
    /// Of them, sent on or let go.
    pub overflowed: u64,
    /// How long those who were answered waited on average, in milliseconds.
    pub answered_wait_ms: u64,
    /// What an agent can say of the outcome of a call: code and name. Empty: anything.
    pub dispositions: BTreeMap<String, String>,
}

impl QueueView {
    /// What is shown of a queue.
    #[must_use]
    pub fn of(queue: &Queue, center: &Center) -> Self {
        let config = center.directory().queues.get(&queue.id);
        let totals = queue.totals;
        Self {
            id: queue.id.to_string(),
            name: config.map_or_else(|| queue.id.to_string(), |config| config.label.to_string()),
            waiting: queue.length(),
            first_since: queue.first_since().map(|since| since.0),
            ready: queue.ready_count(),
            signed_in: queue.staff().signed_in,
            available: queue.staff().available,
            expected_wait_ms: queue.wait_of_next_ms(),
            entered: totals.entered,
            answered: totals.answered,
            abandoned: totals.abandoned,
            overflowed: totals.overflowed,
            answered_wait_ms: totals.answered_wait_ms.checked_div(totals.answered).unwrap_or(0),
            dispositions: config
                .map(|config| pairs(config.dispositions.iter()))
                .unwrap_or_default(),
        }
    }
}

/// What a screen shows of a call that rings or is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScreenPop {
    /// The call.
    pub id: String,
    /// Who began it.
    pub direction: CallDirection,
    /// Who calls.
    pub caller: Caller,
    /// What was dialled.
    pub called: String,
    /// The queue that it came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The queue's name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_name: Option<String>,
    /// When it began.
    pub arrived: u64,
    /// Milliseconds in queues so far.
    pub wait_ms: u64,
    /// What the IVR collected and looked up.
    pub variables: BTreeMap<String, String>,
    /// Its priority.
    pub priority: u8,
}

impl ScreenPop {
    /// What an event says of a call.
    #[must_use]
    pub fn of(screen: &Screen) -> Self {
        Self {
            id: screen.call.to_string(),
            direction: screen.direction.into(),
            caller: Caller::of(&screen.caller),
            called: screen.called.to_string(),
            queue: screen.queue.as_ref().map(ToString::to_string),
            queue_name: screen.queue_label.as_ref().map(ToString::to_string),
            arrived: screen.arrived.0,
            wait_ms: screen.wait_ms,
            variables: pairs(screen.variables.iter().map(|(name, value)| (name, value))),
            priority: screen.priority,
        }
    }
}

pub(super) fn pairs<K: ToString, V: ToString>(
    pairs: impl Iterator<Item = (K, V)>,
) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}
