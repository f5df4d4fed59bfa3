//! What a client sees of the whole centre: taken in one read, as of one index.

use tandem_center::{AgentId, Call, Center, LegNumber, Role};

use super::events::Scope;
use super::frame::Snapshot;
use super::view::{Agent, CallView, QueueView};

/// Calls in a snapshot. More are left out, the latest ones; `GET /api/v1/calls` pages through
/// all of them.
const CALLS_MAX: usize = 2_000;

impl Snapshot {
    /// What `scope` sees of the centre.
    #[must_use]
    pub fn of(center: &Center, scope: &Scope) -> Self {
        let own = match scope {
            Scope::Agent(agent) => Some(agent),
            Scope::Everything => None,
        };
        let agents = center.agents().filter(|agent| own.is_none_or(|own| agent.id == *own));
        let calls = center
            .calls()
            .filter(|call| !call.has_ended() && own.is_none_or(|own| concerns(call, own)));
        let config = own.and_then(|own| center.directory().agents.get(own));
        let queues = center.queues().filter(|queue| {
            own.is_none() || config.is_some_and(|config| config.queues.contains(&queue.id))
        });
        let reasons = center.directory().reasons.iter();
        Self {
            index: center.index(),
            at: center.at().0,
            agents: agents.map(|agent| Agent::of(agent, center)).collect(),
            calls: calls
                .take(CALLS_MAX)
                .map(|call| match own {
                    Some(own) => CallView::of_own(call, own, center),
                    None => CallView::of(call, center),
                })
                .collect(),
            queues: queues.map(|queue| QueueView::of(queue, center)).collect(),
            reasons: reasons.map(|(code, name)| (code.to_string(), name.to_string())).collect(),
        }
    }
}

/// Whether a call is offered to an agent or has the agent's phone in it.
fn concerns(call: &Call, agent: &AgentId) -> bool {
    let dials = call
        .legs
        .get(&LegNumber::FIRST)
        .is_some_and(|leg| matches!(&leg.role, Role::Agent(of) if of == agent));
    dials || call.offer_to(agent).is_some() || call.leg_of(agent).is_some()
}
