//! What is true of the state after every command.
//!
//! Run after each command in every debug build, so in every test and chaos run. In production a
//! violation is counted and logged: a panic in `apply` would stop all replicas at the same
//! entry.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::RESULTS_MAX;
use crate::apply::Turn;
use crate::call::{LEGS_MAX, LegState, Offer, PARTIES_MAX, RING_ALL_MAX, Reach, Stage};
use crate::directory::meets;
use crate::queue::{Line, Totals};
use crate::record::SEGMENTS_MAX;
use crate::supervision::SupervisionStage;
use crate::{
    Agent, AgentId, AgentState, Call, CallId, Center, Counts, HomeId, Index, LegNumber, NodeId,
    Phase, Queue, QueueId, SessionId,
};

/// A claim that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An agent is bound to a call that knows nothing of it.
    #[error("agent {agent} is {is} with call {call}, which does not hold them")]
    AgentWithoutCall { agent: AgentId, is: &'static str, call: CallId },
    /// A call holds an agent who knows nothing of it: they could be offered another.
    #[error("call {call} holds agent {agent}, who is {is}")]
    CallWithoutAgent { call: CallId, agent: AgentId, is: &'static str },
    /// A caller waits while somebody is ready.
    #[error("queue {queue} has a ready agent and a caller who is offered to nobody")]
    UnmatchedQueue { queue: QueueId },
    /// Two callers of one priority stand in another order than they entered.
    #[error("queue {queue}: call {call} stands before {before}, who entered earlier")]
    Overtaken { queue: QueueId, call: CallId, before: CallId },
    /// A phase names a leg that is not in the state that the phase needs.
    #[error("call {call} is {phase}, but leg {leg} is {is}")]
    WrongLeg { call: CallId, phase: &'static str, leg: LegNumber, is: String },
    /// A call that is over has a leg that is alive, or its route is still not decided.
    #[error("call {call} is {phase} and should not be")]
    WrongPhase { call: CallId, phase: &'static str },
    /// A call is owned by another node than the one that holds its address.
    #[error("call {call} lives at home {home}, held by node {holder}, but node {owner} owns it")]
    Strayed { call: CallId, home: HomeId, holder: NodeId, owner: NodeId },
    /// A collection outgrew its bound.
    #[error("{what} of {of} has {size}, at most {max} are allowed")]
    TooMany { what: &'static str, of: String, size: usize, max: usize },
    /// A session and its agent do not name each other.
    #[error("session {session} and agent {agent} do not name each other")]
    LooseSession { session: SessionId, agent: AgentId },
    /// Who entered a queue is not who left it and who waits in it.
    #[error(
        "queue {queue}: {entered} entered, but {answered} were answered, {abandoned} left, \
         {overflowed} were sent on and {waiting} wait"
    )]
    UnbalancedQueue {
        queue: QueueId,
        entered: u64,
        answered: u64,
        abandoned: u64,
        overflowed: u64,
        waiting: u64,
    },
    /// Calls came or went without being counted.
    #[error("{begun} calls began, but {ended} ended and {alive} are alive")]
    UnbalancedCalls { begun: u64, ended: u64, alive: u64 },
    /// An index is not what the values say.
    #[error("the index of {what} is not what the values say")]
    StaleIndex { what: &'static str },
    /// A value stands under another key than its own, or names what is not there.
    #[error("{what} {of} is not where it belongs")]
    Misplaced { what: &'static str, of: String },
}

impl Violation {
    /// The call that it is about, if it is about one.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        match self {
            Self::AgentWithoutCall { call, .. }
            | Self::CallWithoutAgent { call, .. }
            | Self::WrongLeg { call, .. }
            | Self::WrongPhase { call, .. }
            | Self::Overtaken { call, .. }
            | Self::Strayed { call, .. } => Some(*call),
            Self::UnmatchedQueue { .. }
            | Self::TooMany { .. }
            | Self::LooseSession { .. }
            | Self::UnbalancedQueue { .. }
            | Self::UnbalancedCalls { .. }
            | Self::StaleIndex { .. }
            | Self::Misplaced { .. } => None,
        }
    }
}

impl Center {
    /// Checks every claim. Reads the whole state.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        for (id, call) in &self.calls {
            if call.id != *id {
                return Err(Violation::Misplaced { what: "call", of: call.id.to_string() });
            }
            check_phase(call)?;
            check_supervision(call)?;
            check_bounds(call)?;
            self.check_agents_of(call)?;
            self.check_references_of(call)?;
            self.check_home_of(call)?;
        }
        for (id, agent) in &self.agents {
            if agent.id != *id {
                return Err(Violation::Misplaced { what: "agent", of: agent.id.to_string() });
            }
            self.check_agent(agent)?;
        }
        for (id, session) in &self.sessions {
            let agent = self.agents.get(&session.agent);
            if agent.is_none_or(|agent| agent.session != Some(*id)) || session.id != *id {
                let (session, agent) = (*id, session.agent.clone());
                return Err(Violation::LooseSession { session, agent });
            }
        }
        for (id, queue) in &self.queues {
            if self.has_match(queue) {
                return Err(Violation::UnmatchedQueue { queue: id.clone() });
            }
            check_order(queue, self)?;
            check_balance(queue)?;
        }
        self.check_counts()?;
        self.check_indexes()
    }

    /// Somebody waits in this queue for whom an agent is ready.
    fn has_match(&self, queue: &Queue) -> bool {
        queue.lines.keys().any(|line| match line {
            Line::Wanted(agent) => {
                self.agent_marks.get(agent).is_some_and(|marks| marks.standing.is_some())
            }
            Line::Ring(ring, needs) => queue.pool(*ring).is_some_and(|pool| {
                pool.iter().any(|((_, agent), _)| {
                    self.config_of(agent).is_some_and(|config| meets(&config.skills, needs))
                })
            }),
        })
    }

    pub(crate) fn check_counts(&self) -> Result<(), Violation> {
        let alive = self.calls.values().filter(|call| !call.has_ended()).count() as u64;
        let Counts { begun, ended, .. } = self.counts;
        if begun == ended + alive {
            return Ok(());
        }
        Err(Violation::UnbalancedCalls { begun, ended, alive })
    }

    /// No agent is in two calls: whoever a call holds says so, and can say only one.
    pub(crate) fn check_agents_of(&self, call: &Call) -> Result<(), Violation> {
        let alive = call.legs.values().filter(|leg| leg.state.is_alive());
        let held = alive.filter_map(|leg| leg.role.agent());
        for agent in held.chain(call.offers().iter().map(|offer| &offer.agent)) {
            let state = self.agents.get(agent).map(|agent| &agent.state);
            if state.and_then(AgentState::call) != Some(call.id) {
                let is = state.map_or("not there", AgentState::name);
                let (call, agent) = (call.id, agent.clone());
                return Err(Violation::CallWithoutAgent { call, agent, is });
            }
        }
        Ok(())
    }

    fn check_references_of(&self, call: &Call) -> Result<(), Violation> {
        let of = || call.id.to_string();
        match &call.phase {
            Phase::Ivr { flow, .. } if !self.flows.contains_key(flow) => {
                Err(Violation::Misplaced { what: "the flow of call", of: of() })
            }
            Phase::Queued { queue, .. } if !self.directory.queues.contains_key(queue) => {
                Err(Violation::Misplaced { what: "the queue of call", of: of() })
            }
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => Ok(()),
        }
    }

    fn check_home_of(&self, call: &Call) -> Result<(), Violation> {
        let Some((id, home)) = call.home.and_then(|id| Some((id, self.homes.get(&id)?))) else {
            return Ok(());
        };
        if home.holder == call.owner {
            return Ok(());
        }
        let (home, holder, owner) = (id, home.holder, call.owner);
        Err(Violation::Strayed { call: call.id, home, holder, owner })
    }

    fn check_agent(&self, agent: &Agent) -> Result<(), Violation> {
        if let Some(call) = agent.state.call() {
            let held = self.calls.get(&call).is_some_and(|call| {
                call.leg_of(&agent.id).is_some() || call.offer_to(&agent.id).is_some()
            });
            if !held {
                let (agent, is) = (agent.id.clone(), agent.state.name());
                return Err(Violation::AgentWithoutCall { agent, is, call });
            }
        }
        if agent.shift.talks_since.is_some() && agent.state.call().is_none() {
            let (what, of) = ("the conversation of agent", agent.id.to_string());
            return Err(Violation::Misplaced { what, of });
        }
        if let Some(session) = agent.session
            && self.sessions.get(&session).is_none_or(|session| session.agent != agent.id)
        {
            return Err(Violation::LooseSession { session, agent: agent.id.clone() });
        }
        let size = self.results.get(&agent.id).map_or(0, |results| results.latest.len());
        if size > RESULTS_MAX {
            let (what, of) = ("the list of results", agent.id.to_string());
            return Err(Violation::TooMany { what, of, size, max: RESULTS_MAX });
        }
        Ok(())
    }

    /// Every index is what it would be if it were built anew.
    fn check_indexes(&self) -> Result<(), Violation> {
        let mut fresh = self.clone();
        fresh.rebuild_indexes(&mut Turn::new(self.index, self.at));
        let pairs = [
            ("deadlines", fresh.deadlines == self.deadlines),
            ("slots", fresh.parked == self.parked),
            ("agents", fresh.agent_marks == self.agent_marks),
            ("queues", fresh.queues == self.queues),
            ("nodes", fresh.nodes == self.nodes),
            ("flows", fresh.flows == self.flows),
            ("calls on trunks", fresh.trunk_calls == self.trunk_calls),
            ("flow versions", fresh.flow_versions == self.flow_versions),
        ];
        match pairs.into_iter().find(|(_, is_right)| !is_right) {
            Some((what, _)) => Err(Violation::StaleIndex { what }),
            None => Ok(()),
        }
    }
}

/// Of one priority, who entered earlier stands before who entered later, with ageing, too.
fn check_order(queue: &Queue, center: &Center) -> Result<(), Violation> {
    let mut last: BTreeMap<u8, (Index, CallId)> = BTreeMap::new();
    for waiting in queue.waiting() {
        let Some(call) = center.call(waiting.call) else { continue };
        let Phase::Queued { ticket, .. } = &call.phase else { continue };
        let mine = (*ticket, call.id);
        if let Some(before) = last.insert(call.priority, mine)
            && before > mine
        {
            let (queue, call, before) = (queue.id.clone(), before.1, call.id);
            return Err(Violation::Overtaken { queue, call, before });
        }
    }
    Ok(())
}

/// Offered is answered, abandoned, flowed out and waiting.
pub(crate) fn check_balance(queue: &Queue) -> Result<(), Violation> {
    let Totals { entered, answered, abandoned, overflowed, .. } = queue.totals;
    let waiting = queue.length() as u64;
    if entered == answered + abandoned + overflowed + waiting {
        return Ok(());
    }
    let queue = queue.id.clone();
    Err(Violation::UnbalancedQueue { queue, entered, answered, abandoned, overflowed, waiting })
}

fn check_phase(call: &Call) -> Result<(), Violation> {
    let needs = |number: LegNumber, is_right: fn(LegState) -> bool| {
        let state = call.legs.get(&number).map(|leg| leg.state);
        if state.is_some_and(is_right) {
            return Ok(());
        }
        let (call, phase, is) = (call.id, call.phase_name(), format!("{state:?}"));
        Err(Violation::WrongLeg { call, phase, leg: number, is })
    };
    let wrong = || Violation::WrongPhase { call: call.id, phase: call.phase_name() };
    let invited = |state| matches!(state, LegState::Dialing | LegState::Ringing);
    let talking = |state| matches!(state, LegState::Answering | LegState::Answered { .. });
    match &call.phase {
        Phase::Arriving => Err(wrong()),
        Phase::Ivr { .. } | Phase::Parked { .. } | Phase::Echo => {
            needs(call.served, LegState::is_alive)
        }
        Phase::Queued { .. } | Phase::Direct { .. } => {
            needs(call.served, LegState::is_alive)?;
            for offer in call.offers() {
                match offer.stage {
                    Stage::Accepted(leg) | Stage::Phone(leg) => needs(leg, invited)?,
                    Stage::Desk => {}
                }
            }
            // Who accepted is alone.
            let is_accepted = |offer: &Offer| matches!(offer.stage, Stage::Accepted(_));
            if call.offers().len() > RING_ALL_MAX
                || call.offers().len() > 1 && call.offers().iter().any(is_accepted)
            {
                return Err(wrong());
            }
            Ok(())
        }
        Phase::Dialing { leg, .. } => {
            needs(call.served, LegState::is_alive)?;
            needs(*leg, invited)
        }
        Phase::Bridged { parties, consultation, .. } => {
            let (two, unlike) = (parties.len() >= 2, parties.iter().collect::<BTreeSet<_>>());
            if !two || unlike.len() != parties.len() || parties.len() > PARTIES_MAX {
                return Err(wrong());
            }
            for number in parties {
                needs(*number, talking)?;
            }
            let Some(consultation) = consultation else { return Ok(()) };
            if !unlike.contains(&consultation.by) {
                return Err(wrong());
            }
            match &consultation.reach {
                Reach::Talking { leg } => needs(*leg, LegState::is_answered),
                Reach::Dialing { leg, .. } => needs(*leg, invited),
                Reach::Offered(offer) => match offer.stage {
                    Stage::Accepted(leg) | Stage::Phone(leg) => needs(leg, invited),
                    Stage::Desk => Ok(()),
                },
            }
        }
        Phase::Ended { .. } if call.legs.values().any(|leg| leg.state.is_alive()) => Err(wrong()),
        Phase::Ended { .. } => Ok(()),
    }
}

/// Whoever supervises is in the call with a phone of their own, and no party of it.
fn check_supervision(call: &Call) -> Result<(), Violation> {
    let Some(supervision) = &call.supervision else { return Ok(()) };
    let state = call.legs.get(&supervision.leg).map(|leg| leg.state);
    let is_right = match supervision.stage {
        SupervisionStage::Called { .. } => {
            matches!(state, Some(LegState::Dialing | LegState::Ringing))
        }
        SupervisionStage::There => matches!(state, Some(LegState::Answered { .. })),
    };
    let is_party = call.talking_leg_of(&supervision.by).is_some();
    if is_right && !is_party && call.talking_leg_of(&supervision.of).is_some() {
        return Ok(());
    }
    let (call, phase, leg) = (call.id, "supervised", supervision.leg);
    Err(Violation::WrongLeg { call, phase, leg, is: format!("{state:?}") })
}

fn check_bounds(call: &Call) -> Result<(), Violation> {
    let bounds = [
        ("the list of legs", call.legs.len(), LEGS_MAX),
        ("the list of segments", call.segments.len(), SEGMENTS_MAX),
        ("the timeline", call.timeline.notes().count(), crate::timeline::NOTES_MAX),
    ];
    match bounds.into_iter().find(|(_, size, max)| size > max) {
        Some((what, size, max)) => {
            Err(Violation::TooMany { what, of: call.id.to_string(), size, max })
        }
        None => Ok(()),
    }
}
