//! What a round's evidence is worth: named claims with stated bounds, each passed or failed.
//!
//! Looks at nothing but what the parties, the clients of the WebSocket and the records say.

mod audio;
mod calls;
pub(crate) mod no_quorum;
mod order;
mod records;
mod tries;

pub(crate) use calls::DECISION;

use std::time::{Duration, Instant};

use super::cast::Call;
use super::fault::Fault;
use super::round::{Drill, Evidence};

/// Lines of evidence that a claim shows; the rest is counted.
const EVIDENCE_MAX: usize = 6;

/// A statement about a round.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) text: String,
    pub(crate) verdict: Verdict,
    pub(crate) evidence: Vec<String>,
    /// It is about the machine before the fault, and says nothing about the nodes.
    of_machine: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// Nothing was there to be judged, or it is not possible here.
    Skipped,
}

impl Claim {
    /// Holds if nothing speaks against it.
    pub(crate) fn against(text: impl Into<String>, mut evidence: Vec<String>) -> Self {
        let verdict = if evidence.is_empty() { Verdict::Passed } else { Verdict::Failed };
        let more = evidence.len().saturating_sub(EVIDENCE_MAX);
        evidence.truncate(EVIDENCE_MAX);
        if more > 0 {
            evidence.push(format!("and {more} more"));
        }
        Self { text: text.into(), verdict, evidence, of_machine: false }
    }

    pub(crate) fn skipped(text: impl Into<String>, why: &str) -> Self {
        let (text, evidence) = (text.into(), vec![why.to_owned()]);
        Self { text, verdict: Verdict::Skipped, evidence, of_machine: false }
    }

    pub(crate) fn failed(text: impl Into<String>, why: String) -> Self {
        Self::against(text, vec![why])
    }

    pub(crate) fn with_figures(mut self, figures: String) -> Self {
        self.evidence.insert(0, figures);
        self
    }

    fn of_machine(mut self) -> Self {
        self.of_machine = true;
        self
    }
}

/// Durations in a few numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    sorted: Vec<Duration>,
}

impl Figures {
    pub(crate) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }

    /// The smallest of them that so many percent do not exceed; nothing of nothing.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.sorted.len() * percent).div_ceil(100);
        self.sorted.get(rank.saturating_sub(1)).copied()
    }

    pub(crate) fn max(&self) -> Option<Duration> {
        self.sorted.last().copied()
    }

    /// All of these as one.
    pub(crate) fn all<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        Self::of(all.into_iter().flat_map(|figures| figures.sorted.iter().copied()))
    }

    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Nothing of nothing.
    pub(crate) fn json(&self) -> serde_json::Value {
        let ms = |of: Option<Duration>| of.map(|duration| duration.as_millis() as u64);
        serde_json::json!({
            "count": self.count(),
            "p50": ms(self.percentile(50)),
            "p99": ms(self.percentile(99)),
            "max": ms(self.max()),
        })
    }

    /// p50, p99 and the largest in milliseconds.
    pub(crate) fn words(&self) -> String {
        let ms = |of: Option<Duration>| {
            of.map_or_else(|| "-".to_owned(), |duration| duration.as_millis().to_string())
        };
        format!("{}/{}/{}", ms(self.percentile(50)), ms(self.percentile(99)), ms(self.max()))
    }
}

/// A stretch of time in which a party should have heard something and did not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) from: Instant,
    pub(crate) length: Duration,
}

/// A call in the report.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) title: String,
    pub(crate) begun: Option<Instant>,
    pub(crate) answered: Option<Instant>,
    pub(crate) ended: Option<Instant>,
    /// Silence at the caller's and at the callee's ear.
    pub(crate) gaps: [Vec<Gap>; 2],
    /// When a callee's phone was called.
    pub(crate) offers: Vec<Instant>,
    pub(crate) losses: Vec<(Instant, String)>,
}

/// A round, judged.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) drill: &'static str,
    pub(crate) round: usize,
    pub(crate) calls: usize,
    pub(crate) lost: usize,
    pub(crate) gaps: Figures,
    pub(crate) decisions: Figures,
    pub(crate) claims: Vec<Claim>,
    /// Nothing for a round that was not played.
    pub(crate) played: Option<(super::round::Moments, Vec<Lane>)>,
}

impl Judged {
    /// A round that could not be played.
    pub(crate) fn unplayed(drill: &'static str, round: usize, claim: Claim) -> Self {
        Self {
            drill,
            round,
            calls: 0,
            lost: 0,
            gaps: Figures::default(),
            decisions: Figures::default(),
            claims: vec![claim],
            played: None,
        }
    }

    /// The machine was too busy before the fault, so that the round proves nothing. A lost call is
    /// never put down to that.
    pub(crate) fn proves_nothing(&self) -> bool {
        let is_it = |claim: &Claim| claim.of_machine && claim.verdict == Verdict::Failed;
        self.lost == 0 && self.claims.iter().any(is_it)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let any = |verdict| self.claims.iter().any(|claim| claim.verdict == verdict);
        if any(Verdict::Failed) {
            Verdict::Failed
        } else if any(Verdict::Passed) {
            Verdict::Passed
        } else {
            Verdict::Skipped
        }
    }
}

/// Judges a round.
pub(crate) fn judge(drill: Drill, round: usize, evidence: &Evidence) -> Judged {
    let audio = audio::Audio::of(evidence);
    let lost = calls::losses(evidence, &audio);
    let decisions = calls::decisions(evidence);
    let bounds = drill.gap_max().unwrap_or_else(|| (audio.noticeable(), audio.noticeable()));
    let mut claims = vec![audio.undisturbed_before().of_machine(), calls::none_is_lost(&lost)];
    claims.extend(audio.claims(bounds, drill.fault.gap_after().unwrap_or(bounds.1)));
    claims.extend([
        audio.nothing_is_heard_twice(),
        audio.prompts_go_on(),
        calls::decisions_are_made(evidence, &decisions),
        calls::order_is_kept(evidence),
        calls::nobody_is_offered_twice(evidence),
        calls::nothing_is_stray(evidence),
        records::each_call_has_one(evidence),
        records::commands_act_once(evidence),
    ]);
    claims
        .push(Claim::against("the node comes back", evidence.stays_away.iter().cloned().collect()));
    if drill.fault == Fault::FullDisk {
        claims.extend(tries::claims(evidence));
    }
    let calls = &evidence.seen.cast.calls;
    Judged {
        drill: drill.name,
        round,
        calls: calls.len(),
        lost: lost.len(),
        gaps: audio.figures(),
        decisions: Figures::of(decisions.iter().map(|(_, length)| *length)),
        claims,
        played: Some((evidence.times, lanes(evidence, &audio))),
    }
}

/// Judges a drill of the queues.
pub(crate) fn queue(drill: &'static str, round: usize, evidence: &Evidence) -> Judged {
    let audio = audio::Audio::of(evidence);
    let lost = order::losses(evidence);
    let waits = order::waits_of_agents(evidence);
    let claims = vec![
        calls::none_is_lost(&lost),
        calls::nobody_is_offered_twice(evidence),
        order::no_agent_has_two(evidence),
        order::nobody_is_overtaken_in_the_log(evidence),
        order::nobody_is_overtaken_as_callers_see_it(evidence),
        calls::nothing_is_stray(evidence),
        records::each_call_has_one(evidence),
    ];
    Judged {
        drill,
        round,
        calls: evidence.seen.cast.calls.len(),
        lost: lost.len(),
        gaps: Figures::default(),
        decisions: waits,
        claims,
        played: Some((evidence.times, lanes(evidence, &audio))),
    }
}

fn lanes(evidence: &Evidence, audio: &audio::Audio<'_>) -> Vec<Lane> {
    let cast = &evidence.seen.cast;
    let lane = |(index, call): (usize, &Call)| {
        let sessions = cast.parties.iter().flat_map(|party| &party.sessions);
        Lane {
            title: title(call),
            begun: call.times.begun,
            answered: call.times.answered,
            ended: call.times.ended.or(call.times.over),
            gaps: audio.gaps_of(index),
            offers: sessions.filter(|s| s.call == index).map(|s| s.invited).collect(),
            losses: call.losses.clone(),
        }
    };
    cast.calls.iter().enumerate().map(lane).collect()
}

/// How a call is named in evidence.
fn title(call: &Call) -> String {
    format!("{} ({}, node {})", call.number, call.plan.name, call.node + 1)
}

/// A moment as seconds from the fault.
fn when(at: Instant, evidence: &Evidence) -> String {
    let fault = evidence.times.fault;
    if at >= fault {
        format!("+{:.2} s", (at - fault).as_secs_f64())
    } else {
        format!("-{:.2} s", (fault - at).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let figures = Figures::of((1..=200).rev().map(Duration::from_millis));
        assert_eq!(figures.words(), "100/198/200");
        assert_eq!(Figures::of([Duration::from_millis(7)]).words(), "7/7/7");
        assert_eq!(Figures::default().words(), "-/-/-");
    }

    #[test]
    fn a_claim_shows_a_bounded_part_of_what_speaks_against_it() {
        let claim = Claim::against("x", (0..100).map(|n| n.to_string()).collect());
        assert_eq!(claim.verdict, Verdict::Failed);
        assert_eq!(claim.evidence.len(), EVIDENCE_MAX + 1);
        assert_eq!(claim.evidence.last().map(String::as_str), Some("and 94 more"));
        assert_eq!(Claim::against("x", Vec::new()).verdict, Verdict::Passed);
    }
}
