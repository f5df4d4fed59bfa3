//! What became of the calls: lost ones, decisions, order and double offers, and what nobody asked
//! for.

use std::time::{Duration, Instant};

use super::super::cast::{Call, Session};
use super::super::phases::{Begins, Callee, Caller, Phase};
use super::super::round::Evidence;
use super::audio::Audio;
use super::{Claim, Figures, title, when};

/// A decision after a fault: 99 of 100, and each. An election takes 0.3 to 0.6 s.
pub(crate) const DECISION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// The calls that are lost, and why.
pub(super) fn losses(evidence: &Evidence, audio: &Audio<'_>) -> Vec<String> {
    losses_of(evidence, audio, |_| true)
}

/// The same of those that are meant.
pub(super) fn losses_of(
    evidence: &Evidence,
    audio: &Audio<'_>,
    is_meant: impl Fn(&Call) -> bool,
) -> Vec<String> {
    let mut lost = Vec::new();
    for call in evidence.seen.cast.calls.iter().filter(|call| is_meant(call)) {
        let why = if let Some((at, why)) = call.losses.first() {
            Some(format!("{why} at {}", when(*at, evidence)))
        } else if call.times.answered.is_none() {
            Some("it was never answered".to_owned())
        } else if call.plan.callee.is_some() && call.callee.is_none() {
            Some("nobody was called for it".to_owned())
        } else if call.plan.caller == Caller::Holds && call.times.retrieved.is_none() {
            Some("it could not be retrieved".to_owned())
        } else if call.times.over.is_none() {
            Some("its end was not answered".to_owned())
        } else {
            audio.is_silent(call)
        };
        lost.extend(why.map(|why| format!("{}: {why}", title(call))));
    }
    lost
}

pub(super) fn none_is_lost(lost: &[String]) -> Claim {
    Claim::against("no call is lost", lost.to_vec())
}

/// From the call, which comes after the fault, to the agent's answer at the caller.
pub(super) fn decisions(evidence: &Evidence) -> Vec<(String, Duration)> {
    let calls = evidence.seen.cast.calls.iter().filter(|call| call.plan.begins == Begins::After);
    calls
        .map(|call| {
            let begun = call.times.begun.unwrap_or(evidence.times.fault);
            let answered = call.times.answered.unwrap_or(evidence.times.release);
            (title(call), answered.saturating_duration_since(begun))
        })
        .collect()
}

pub(super) fn decisions_are_made(evidence: &Evidence, decisions: &[(String, Duration)]) -> Claim {
    let figures = Figures::of(decisions.iter().map(|(_, length)| *length));
    let is_late = figures.percentile(99).is_some_and(|found| found > DECISION.0);
    // With few decisions the percentile is the largest; the bound of each is then the wider one.
    let many = decisions.len() >= 100;
    let bound = if many && is_late { DECISION.0 } else { DECISION.1 };
    let late = decisions.iter().filter(|(_, length)| *length > bound);
    let pick_up = evidence.seen.cast.calls.iter().find(|call| call.phase == Phase::Probe);
    Claim::against(
        format!(
            "a call that comes after the fault is offered and answered within {} s",
            DECISION.1.as_secs()
        ),
        late.map(|(call, length)| format!("{call} took {} ms", length.as_millis())).collect(),
    )
    .with_figures(format!(
        "{} calls, p50/p99/max {} ms{}",
        decisions.len(),
        figures.words(),
        if pick_up.is_some() { ", of that 150 ms until the phone is lifted" } else { "" }
    ))
}

/// Who came first is served first.
pub(super) fn order_is_kept(evidence: &Evidence) -> Claim {
    let text = "who waits is served in the order of arrival";
    let cast = &evidence.seen.cast;
    let is_one = |call: &&Call| call.plan.callee == Some(Callee::AnswersBriefly);
    if cast.calls.iter().filter(is_one).count() < 2 {
        return Claim::skipped(text, "fewer than two calls waited");
    }
    let mut against = Vec::new();
    for party in &cast.parties {
        if party.role != super::super::cast::Role::Callee(Callee::AnswersBriefly) {
            continue;
        }
        let begun = |session: &Session| cast.calls[session.call].times.begun;
        for pair in party.sessions.windows(2) {
            if begun(&pair[1]) < begun(&pair[0]) {
                against.push(format!(
                    "{} was offered after {}, at {}",
                    title(&cast.calls[pair[1].call]),
                    title(&cast.calls[pair[0].call]),
                    when(pair[1].invited, evidence)
                ));
            }
        }
    }
    Claim::against(text, against)
}

/// No call rings at two phones, nor twice at one.
pub(super) fn nobody_is_offered_twice(evidence: &Evidence) -> Claim {
    let cast = &evidence.seen.cast;
    let mut against = Vec::new();
    for (index, call) in cast.calls.iter().enumerate() {
        let sessions = cast.parties.iter().flat_map(|party| {
            let own = party.sessions.iter().filter(|session| session.call == index);
            own.map(|session| (session.invited, party.name.as_str()))
        });
        let mut offers: Vec<(Instant, &str)> = sessions.collect();
        offers.sort_unstable();
        let to_two_in_turn = call.plan.hands.is_some()
            && matches!(offers[..], [(_, first), (_, second)] if first != second);
        if let [_, second, ..] = offers[..]
            && !to_two_in_turn
        {
            let names: Vec<&str> = offers.iter().map(|(_, name)| *name).collect();
            against.push(format!(
                "{} was offered to {}, the second time at {}",
                title(call),
                names.join(", "),
                when(second.0, evidence)
            ));
        }
    }
    Claim::against("no call is offered twice", against)
}

/// No message that belongs to nothing, and none that a strict far end would refuse.
pub(super) fn nothing_is_stray(evidence: &Evidence) -> Claim {
    let cast = &evidence.seen.cast;
    let mut against = Vec::new();
    let mut repeats = 0;
    for call in &cast.calls {
        let Some(leg) = &call.leg else { continue };
        repeats += leg.repeats;
        for (at, odd) in &leg.odd {
            against.push(format!("{}: {odd} at {}", title(call), when(*at, evidence)));
        }
    }
    for party in &cast.parties {
        for session in &party.sessions {
            repeats += session.leg.repeats;
            for (at, odd) in &session.leg.odd {
                let at = when(*at, evidence);
                against.push(format!("{} in the call {}: {odd} at {at}", party.name, session.call));
            }
        }
        for (at, stray) in &party.strays {
            against.push(format!("{} got a {stray} at {}", party.name, when(*at, evidence)));
        }
    }
    Claim::against("no message is stray, refused or against the protocol", against)
        .with_figures(format!("{repeats} messages came again"))
}
