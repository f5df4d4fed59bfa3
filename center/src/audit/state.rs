//! One state as a whole: nobody is in two calls, no call is in two places, what entered is what
//! left and what is there.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use super::record::check_segments;
use crate::invariants::{Violation, check_balance};
use crate::{AgentId, Call, CallId, Center, Phase};

/// Everything that is wrong with a state.
#[must_use]
pub fn check_state(center: &Center) -> Vec<Fault> {
    let mut faults = agents_in_two_calls(center);
    faults.extend(calls_in_two_places(center));
    let balances = center.queues().map(check_balance).chain([center.check_counts()]);
    faults.extend(balances.filter_map(Result::err).map(about));
    faults.extend(center.calls().filter_map(|call| {
        let until = if let Phase::Ended { at, .. } = call.phase {
            // It may have ended before that was known.
            call.segments.last().and_then(|last| last.ended).unwrap_or(at).min(at)
        } else {
            center.at()
        };
        let what = check_segments(&call.segments, call.arrived, until).err()?;
        Some(Fault::Inconsistent { call: call.id, what })
    }));
    if let Err(violation) = center.check_invariants() {
        let fault = about(violation);
        let is_told = faults.contains(&fault);
        faults.extend((!is_told).then_some(fault));
    }
    faults
}

fn about(violation: Violation) -> Fault {
    Fault::State { call: violation.call(), violation }
}

/// The agents that a call says it holds.
fn held(call: &Call) -> impl Iterator<Item = &AgentId> {
    let alive = call.legs.values().filter(|leg| leg.state.is_alive());
    alive.filter_map(|leg| leg.role.agent()).chain(call.offers().iter().map(|offer| &offer.agent))
}

fn agents_in_two_calls(center: &Center) -> Vec<Fault> {
    let mut calls_of: BTreeMap<&AgentId, BTreeSet<CallId>> = BTreeMap::new();
    for call in center.calls() {
        for agent in held(call) {
            calls_of.entry(agent).or_default().insert(call.id);
        }
    }
    for agent in center.agents() {
        if let Some(call) = agent.state.call() {
            calls_of.entry(&agent.id).or_default().insert(call);
        }
    }
    let twice = calls_of.into_iter().filter(|(_, calls)| calls.len() > 1);
    let fault = |(agent, calls): (&AgentId, BTreeSet<CallId>)| Fault::AgentInTwoCalls {
        agent: agent.clone(),
        calls: calls.into_iter().collect(),
    };
    twice.map(fault).collect()
}

/// Where each call is, by everybody who claims to have it.
fn calls_in_two_places(center: &Center) -> Vec<Fault> {
    let mut places: BTreeMap<CallId, Vec<String>> = BTreeMap::new();
    for (key, call) in center.entries() {
        let waits = if let Phase::Queued { queue, .. } = &call.phase {
            format!("waiting in queue {queue}")
        } else {
            call.phase_name().to_owned()
        };
        places.entry(call.id).or_default().push(format!("{waits}, kept as {key}"));
    }
    for queue in center.queues() {
        for waiting in queue.waiting() {
            let is_there = center.call(waiting.call).is_some_and(
                |call| matches!(&call.phase, Phase::Queued { queue: of, .. } if *of == queue.id),
            );
            if !is_there {
                let place = format!("in the list of queue {}", queue.id);
                places.entry(waiting.call).or_default().push(place);
            }
        }
    }
    for agent in center.agents() {
        let Some(call) = agent.state.call() else { continue };
        let is_with = center.call(call).is_some_and(|call| held(call).any(|of| *of == agent.id));
        if !is_with {
            let place = format!("{} with agent {}", agent.state.name(), agent.id);
            places.entry(call).or_default().push(place);
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice.map(|(call, places)| Fault::CallInTwoPlaces { call, places }).collect()
}
