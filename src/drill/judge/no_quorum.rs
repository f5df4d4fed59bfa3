//! What a node without the others owes to its callers and to the records.

use std::time::Duration;

use super::super::cast::{Call, Cast};
use super::super::no_quorum::Outage;
use super::super::phases::Phase;
use super::{Claim, Figures, Judged, audio, calls, lanes, records, title};

/// How soon a BYE is answered: its first answer is lost nowhere on loopback.
const BYE_WITHIN: Duration = Duration::from_millis(500);

/// From an INVITE to its 503 while an election could still be under way: 3 s, and the time until
/// the caller repeats it.
const REFUSED_WITHIN: Duration = Duration::from_millis(4_500);

/// Calls that come later than this after the fault are refused at once.
const LATER: Duration = Duration::from_secs(3);
const REFUSED_AT_ONCE: Duration = Duration::from_millis(500);

pub(crate) fn judge(drill: &'static str, round: usize, outage: &Outage) -> Judged {
    let evidence = &outage.evidence;
    let audio = audio::Audio::of(evidence);
    let cast = &evidence.seen.cast;
    let talks = |call: &&Call| call.phase != Phase::Probe;
    let lost = calls::losses_of(evidence, &audio, |call| call.phase != Phase::Probe);
    let noticeable = audio.noticeable();
    let claims = vec![
        audio.undisturbed_before(),
        calls::none_is_lost(&lost),
        audio.claims((noticeable, noticeable), noticeable).swap_remove(0),
        audio.nothing_is_heard_twice(),
        who_hangs_up_is_let_go(cast),
        new_calls_are_refused(outage),
        nothing_is_decided(outage),
        the_node_says_so(outage),
        calls::nothing_is_stray(evidence),
        records::each_has_one(evidence, |call| call.phase != Phase::Probe),
        nothing_is_left(outage),
        the_other_side_is_let_go(cast),
        Claim::against("the nodes come back", evidence.stays_away.iter().cloned().collect()),
    ];
    Judged {
        drill,
        round,
        calls: cast.calls.iter().filter(talks).count(),
        lost: lost.len(),
        gaps: audio.figures(),
        decisions: Figures::default(),
        claims,
        played: Some((evidence.times, lanes(evidence, &audio))),
    }
}

fn who_hangs_up_is_let_go(cast: &Cast) -> Claim {
    let talks = cast.calls.iter().filter(|call| call.phase != Phase::Probe);
    let took: Vec<(String, Option<Duration>)> = talks
        .map(|call| {
            let took = call.times.ended.zip(call.times.over).map(|(from, to)| to - from);
            (title(call), took)
        })
        .collect();
    let late = took.iter().filter(|(_, took)| took.is_none_or(|took| took > BYE_WITHIN));
    let late = late.map(|(call, took)| format!("{call}: {took:?}")).collect();
    let figures = Figures::of(took.iter().filter_map(|(_, took)| *took));
    let text = format!("a BYE is answered within {} ms", BYE_WITHIN.as_millis());
    Claim::against(text, late).with_figures(format!("p50/p99/max {} ms", figures.words()))
}

fn new_calls_are_refused(outage: &Outage) -> Claim {
    let fault = outage.evidence.times.fault;
    let (mut against, mut took) = (Vec::new(), [Vec::new(), Vec::new()]);
    for call in outage.evidence.seen.cast.calls.iter().filter(|c| c.phase == Phase::Probe) {
        let Some(begun) = call.times.begun else { continue };
        let later = begun > fault + LATER;
        let within = if later { REFUSED_AT_ONCE } else { REFUSED_WITHIN };
        match call.losses.first() {
            Some((at, why)) if why.contains("503") && *at - begun <= within => {
                took[usize::from(later)].push(*at - begun);
            }
            Some((at, why)) => {
                let after = (*at - begun).as_millis();
                against.push(format!("{}: {why} after {after} ms", title(call)));
            }
            None => against.push(format!("{}: it was not refused", title(call))),
        }
    }
    let [first, later] = took.map(Figures::of);
    let (first, later) = (first.words(), later.words());
    let (slow, quick) = (REFUSED_WITHIN.as_millis(), REFUSED_AT_ONCE.as_millis());
    Claim::against(
        format!("a new call gets 503 within {slow} ms, later within {quick} ms"),
        against,
    )
    .with_figures(format!("p50/p99/max {first} ms, later {later} ms"))
}

fn nothing_is_decided(outage: &Outage) -> Claim {
    let against = match outage.committed {
        (Some(soon), Some(later)) if soon.to_bits() == later.to_bits() => Vec::new(),
        other => vec![format!("committed: {other:?}")],
    };
    Claim::against("nothing is committed without a majority", against)
}

fn the_node_says_so(outage: &Outage) -> Claim {
    let says = |part: &str| outage.readyz.as_ref().is_some_and(|(_, text)| text.contains(part));
    let is_right = outage.readyz.as_ref().is_some_and(|(status, _)| *status == 503)
        && says("no leader")
        && says("cut off from the other nodes");
    let against = if is_right { Vec::new() } else { vec![format!("{:?}", outage.readyz)] };
    Claim::against("/readyz says that there is no leader, and no other node", against)
}

fn nothing_is_left(outage: &Outage) -> Claim {
    let against = match outage.left {
        Some(0.0) => Vec::new(),
        other => vec![format!("{other:?} calls")],
    };
    Claim::against("no call is left when the others are back", against)
}

fn the_other_side_is_let_go(cast: &Cast) -> Claim {
    let mut against = Vec::new();
    for party in &cast.parties {
        let held = party.sessions.iter().filter(|session| session.ended.is_none());
        against.extend(
            held.map(|session| format!("{}: {}", party.name, title(&cast.calls[session.call]))),
        );
    }
    Claim::against("callees are let go when the others are back", against)
}
