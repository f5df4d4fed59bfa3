//! What a queue owes its callers: nobody lost, nobody served twice, nobody overtaken.
//!
//! Looked at from two sides. The stream of events has the order of the log, in which a place in a
//! queue is decided; there nothing may be out of order. Callers only see when they were accepted
//! and phones only when they rang, and a phone may ring late because its node was lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::cast::{Call, Session};
use super::super::phases::{Callee, Phase, URGENT};
use super::super::round::Evidence;
use super::{Claim, Figures, title, when};
use crate::api::happened::EventView;

/// How much later than it was decided a phone may ring: the longest gap that a lost node may make.
const RINGS_WITHIN: Duration = Duration::from_millis(2_500);

/// The calls that are lost, and why.
pub(super) fn losses(evidence: &Evidence) -> Vec<String> {
    let lost = |call: &Call| {
        let why = if let Some((at, why)) = call.losses.first() {
            format!("{why} at {}", when(*at, evidence))
        } else if call.times.answered.is_none() {
            "it was never accepted".to_owned()
        } else if call.callee.is_none() {
            "no agent was called for it".to_owned()
        } else if call.times.over.is_none() {
            "its conversation has no end".to_owned()
        } else {
            return None;
        };
        Some(format!("{}: {why}", title(call)))
    };
    evidence.seen.cast.calls.iter().filter_map(lost).collect()
}

/// No phone of an agent is called while it is in a call.
pub(super) fn no_agent_has_two(evidence: &Evidence) -> Claim {
    let mut against = Vec::new();
    for party in &evidence.seen.cast.parties {
        for pair in party.sessions.windows(2) {
            if pair[0].ended.is_none_or(|ended| pair[1].invited < ended) {
                against.push(format!(
                    "{} was called at {} and was in a call",
                    party.name,
                    when(pair[1].invited, evidence)
                ));
            }
        }
    }
    Claim::against("no agent has two calls", against)
}

/// A caller in the log.
#[derive(Debug)]
struct Place {
    number: String,
    priority: u8,
    queued: Option<usize>,
    offered: Option<usize>,
    ended: Option<usize>,
}

/// As the stream of events has it: whoever is offered stood before all who wait.
pub(super) fn nobody_is_overtaken_in_the_log(evidence: &Evidence) -> Claim {
    let text = "in the log nobody is overtaken, and who is urgent goes first";
    let log = &evidence.observer;
    let mut places: BTreeMap<&str, Place> = BTreeMap::new();
    for (at, (_, event)) in log.events.iter().enumerate() {
        if let EventView::CallBegan { call } = event {
            let number = call.caller.number.clone();
            let place = Place { number, priority: 0, queued: None, offered: None, ended: None };
            places.insert(&call.id, place);
        } else if let EventView::CallQueued { call, queue, .. } = event
            && let Some(place) = places.get_mut(call.as_str())
        {
            place.priority = u8::from(queue == URGENT);
            place.queued = place.queued.or(Some(at));
        } else if let EventView::Offered { call, .. } = event
            && let Some(place) = places.get_mut(call.id.as_str())
        {
            place.offered = place.offered.or(Some(at));
        } else if let EventView::CallEnded { call, .. } = event
            && let Some(place) = places.get_mut(call.as_str())
        {
            place.ended = place.ended.or(Some(at));
        }
    }
    let mut against = log.odd.clone();
    let of_queues: Vec<&Place> = places.values().filter(|place| place.queued.is_some()).collect();
    let calls = evidence.seen.cast.calls.len();
    if of_queues.len() < calls {
        against.push(format!("{} of {calls} callers were seen to enter", of_queues.len()));
    }
    for served in &of_queues {
        let (Some(offered), Some(entered)) = (served.offered, served.queued) else { continue };
        let is_before = |other: &&&Place| {
            let waits = other.queued.is_some_and(|queued| queued < offered)
                && other.offered.is_none_or(|theirs| theirs > offered)
                && other.ended.is_none_or(|ended| ended > offered);
            let first = other.priority > served.priority
                || other.priority == served.priority
                    && other.queued.is_some_and(|queued| queued < entered);
            waits && first
        };
        if let Some(passed) = of_queues.iter().find(is_before) {
            against.push(format!("{} was offered before {}", served.number, passed.number));
        }
    }
    Claim::against(text, against).with_figures(format!("{} callers in the log", of_queues.len()))
}

/// As phones see it: who was accepted before another one called is served before that one.
pub(super) fn nobody_is_overtaken_as_callers_see_it(evidence: &Evidence) -> Claim {
    let text = format!(
        "who was accepted before another called rings no later than it, or {} s at most",
        RINGS_WITHIN.as_secs_f64()
    );
    let rang = rang(evidence);
    let mut against = Vec::new();
    let calls = &evidence.seen.cast.calls;
    for (first, earlier) in calls.iter().enumerate() {
        let Some(accepted) = earlier.times.answered else { continue };
        let Some(its) = rang.get(&first) else { continue };
        let overtakes = |(index, later): &(usize, &Call)| {
            later.phase == earlier.phase
                && later.times.begun.is_some_and(|begun| begun > accepted)
                && rang.get(index).is_some_and(|theirs| *theirs + RINGS_WITHIN < *its)
        };
        if let Some((_, later)) = calls.iter().enumerate().find(overtakes) {
            against.push(format!("{} was overtaken by {}", title(earlier), title(later)));
        }
    }
    Claim::against(text, against)
}

/// When an agent's phone was first called for a call.
fn rang(evidence: &Evidence) -> BTreeMap<usize, Instant> {
    let mut rang = BTreeMap::new();
    for session in evidence.seen.cast.parties.iter().flat_map(|party| &party.sessions) {
        let first = rang.entry(session.call).or_insert(session.invited);
        *first = session.invited.min(*first);
    }
    rang
}

/// How long agents were free while somebody waited whom nobody was called for.
pub(super) fn waits_of_agents(evidence: &Evidence) -> Figures {
    let rang = rang(evidence);
    let waits = |at: Instant| {
        evidence.seen.cast.calls.iter().enumerate().any(|(index, call)| {
            matches!(call.phase, Phase::Urgent | Phase::Patient)
                && call.times.answered.is_some_and(|answered| answered < at)
                && rang.get(&index).is_none_or(|rang| *rang > at)
        })
    };
    let agents = evidence
        .seen
        .cast
        .parties
        .iter()
        .filter(|party| party.role == super::super::cast::Role::Callee(Callee::AnswersBriefly));
    let free = |pair: &[Session]| {
        let ended = pair[0].ended.filter(|ended| waits(*ended))?;
        Some(pair[1].invited.saturating_duration_since(ended))
    };
    Figures::of(agents.flat_map(|party| party.sessions.windows(2).filter_map(free)))
}
