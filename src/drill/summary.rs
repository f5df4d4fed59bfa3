//! All rounds of a kind as one: how many calls, how many lost, what they heard and waited, and
//! whether the bounds hold over all of them. And the same for programs, as JSON.
//!
//! Percentiles of a round are those of few values; here they are those of all values of all rounds.

use std::time::Duration;

use serde_json::{Value, json};

use super::judge::{Claim, Figures, Judged, Verdict};

/// What 99 of 100 may take, and each.
pub(crate) type Bound = (Duration, Duration);

/// What is asked of a kind of drill.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) gap: Gap,
    pub(crate) decision: Option<Bound>,
}

/// How long audio may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gap {
    Within(Bound),
    /// No longer than without a fault, which each round judges by what it measured before it.
    NoneAdded,
    /// No audio is judged.
    #[default]
    NotJudged,
}

/// The rounds of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) drill: &'static str,
    pub(crate) rounds: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) calls: usize,
    pub(crate) lost: usize,
    pub(crate) gaps: Figures,
    pub(crate) decisions: Figures,
    pub(crate) bounds: Bounds,
    /// Bounds that the rounds together exceed.
    pub(crate) exceeded: Vec<String>,
}

impl Kind {
    /// Of these rounds; nothing of nothing.
    pub(crate) fn of(bounds: Bounds, rounds: &[&Judged]) -> Option<Self> {
        let drill = rounds.first()?.drill;
        let count = |verdict| rounds.iter().filter(|round| round.verdict() == verdict).count();
        let gaps = Figures::all(rounds.iter().map(|round| &round.gaps));
        let decisions = Figures::all(rounds.iter().map(|round| &round.decisions));
        let gap = match bounds.gap {
            Gap::Within(bound) => Some(bound),
            Gap::NoneAdded | Gap::NotJudged => None,
        };
        let exceeded = exceeded("gap", &gaps, gap)
            .into_iter()
            .chain(exceeded("decision", &decisions, bounds.decision))
            .collect();
        Some(Self {
            drill,
            rounds: rounds.len(),
            failed: count(Verdict::Failed),
            skipped: count(Verdict::Skipped),
            calls: rounds.iter().map(|round| round.calls).sum(),
            lost: rounds.iter().map(|round| round.lost).sum(),
            gaps,
            decisions,
            bounds,
            exceeded,
        })
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.failed > 0 || self.lost > 0 || !self.exceeded.is_empty() {
            Verdict::Failed
        } else if self.skipped == self.rounds {
            Verdict::Skipped
        } else {
            Verdict::Passed
        }
    }

    /// Its row under [`HEADER`].
    pub(crate) fn row(&self) -> [String; 9] {
        let gap_bound = match self.bounds.gap {
            Gap::Within(bound) => words(bound),
            Gap::NoneAdded => "none added".to_owned(),
            Gap::NotJudged => "-".to_owned(),
        };
        let result = match self.verdict() {
            Verdict::Passed if self.skipped > 0 => format!("passed, {} skipped", self.skipped),
            Verdict::Passed => "passed".to_owned(),
            Verdict::Skipped => "skipped".to_owned(),
            Verdict::Failed if self.exceeded.is_empty() => {
                format!("{} of {} FAILED", self.failed, self.rounds)
            }
            Verdict::Failed => {
                format!("{} of {} FAILED, {}", self.failed, self.rounds, self.exceeded.join(", "))
            }
        };
        [
            self.drill.to_owned(),
            self.rounds.to_string(),
            self.calls.to_string(),
            self.lost.to_string(),
            self.gaps.words(),
            gap_bound,
            self.decisions.words(),
            self.bounds.decision.map_or_else(|| "-".to_owned(), words),
            result,
        ]
    }

    fn json(&self) -> Value {
        let gap = match self.bounds.gap {
            Gap::Within(bound) => bound_json(bound),
            Gap::NoneAdded => json!("none added"),
            Gap::NotJudged => Value::Null,
        };
        json!({
            "drill": self.drill,
            "rounds": self.rounds,
            "failed": self.failed,
            "skipped": self.skipped,
            "calls": self.calls,
            "lost": self.lost,
            "gap_ms": self.gaps.json(),
            "gap_bound_ms": gap,
            "decision_ms": self.decisions.json(),
            "decision_bound_ms": self.bounds.decision.map(bound_json),
            "exceeded": self.exceeded,
            "verdict": word(self.verdict()),
        })
    }
}

/// What the columns of a row are.
pub(crate) const HEADER: [&str; 9] =
    ["DRILL", "ROUNDS", "CALLS", "LOST", "GAP MS", "BOUND", "DECISION MS", "BOUND", "RESULT"];

fn words((p99, max): Bound) -> String {
    format!("{}/{}", p99.as_millis(), max.as_millis())
}

fn bound_json((p99, max): Bound) -> Value {
    json!({ "p99": p99.as_millis() as u64, "max": max.as_millis() as u64 })
}

/// Which part of a bound these figures exceed. Of fewer than a hundred values the 99th percentile
/// is the largest, and only the bound of each holds.
fn exceeded(what: &str, figures: &Figures, bound: Option<Bound>) -> Option<String> {
    let (p99, max) = bound?;
    let ms = |found: Option<Duration>, bound: Duration| {
        found.filter(|found| *found > bound).map(|found| found.as_millis())
    };
    if let Some(found) = ms(figures.max(), max) {
        return Some(format!("{what} {found} ms"));
    }
    let found = ms(figures.percentile(99), p99).filter(|_| figures.count() >= 100)?;
    Some(format!("p99 of {what} {found} ms"))
}

/// Under which circumstances rounds were run.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    pub(crate) calls: usize,
    pub(crate) side_by_side: usize,
    pub(crate) took: Duration,
}

impl Circumstances {
    /// In one line.
    pub(crate) fn words(&self) -> String {
        let minutes = self.took.as_secs_f64() / 60.0;
        format!(
            "{} {}, {} build, {} cores, {}; {} calls at the node in question, rounds side by side: \
             {}; {minutes:.1} minutes",
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            build(),
            cores(),
            processor(),
            self.calls,
            self.side_by_side
        )
    }
}

fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, std::num::NonZero::get)
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or("an unknown processor", |(_, name)| name.trim()).to_owned()
}

/// Everything for programs.
pub(crate) fn json(circumstances: &Circumstances, kinds: &[Kind], rounds: &[Judged]) -> String {
    let claim = |claim: &Claim| {
        json!({
            "claim": claim.text,
            "verdict": word(claim.verdict),
            "evidence": claim.evidence,
        })
    };
    let round = |judged: &Judged| {
        json!({
            "drill": judged.drill,
            "round": judged.round,
            "verdict": word(judged.verdict()),
            "calls": judged.calls,
            "lost": judged.lost,
            "gap_ms": judged.gaps.json(),
            "decision_ms": judged.decisions.json(),
            "claims": judged.claims.iter().map(claim).collect::<Vec<_>>(),
        })
    };
    let all = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "build": build(),
        "cores": cores(),
        "processor": processor(),
        "calls": circumstances.calls,
        "side_by_side": circumstances.side_by_side,
        "seconds": circumstances.took.as_secs(),
        "kinds": kinds.iter().map(Kind::json).collect::<Vec<_>>(),
        "rounds": rounds.iter().map(round).collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Skipped => "skipped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(gaps: impl Iterator<Item = u64>) -> Judged {
        let claim = Claim::against("it holds", Vec::new());
        let mut judged = Judged::unplayed("node-killed", 1, claim);
        judged.calls = 10;
        judged.gaps = Figures::of(gaps.map(Duration::from_millis));
        judged
    }

    fn bounds() -> Bounds {
        let bound = (Duration::from_secs(1), Duration::from_secs(2));
        Bounds { gap: Gap::Within(bound), decision: Some(bound) }
    }

    #[test]
    fn a_bound_holds_over_all_rounds() {
        // Each round has one long gap, which its few values allow; together they are too many.
        let rounds: Vec<Judged> = (0..4).map(|_| round((1..40).chain([1_500]))).collect();
        let rounds: Vec<&Judged> = rounds.iter().collect();
        let kind = Kind::of(bounds(), &rounds[..1]).unwrap();
        assert_eq!(kind.verdict(), Verdict::Passed);
        let kind = Kind::of(bounds(), &rounds).unwrap();
        assert_eq!((kind.calls, kind.gaps.count()), (40, 160));
        assert_eq!(kind.exceeded, ["p99 of gap 1500 ms"]);
        assert_eq!(kind.verdict(), Verdict::Failed);
        assert_eq!(kind.row()[8], "0 of 4 FAILED, p99 of gap 1500 ms");
    }

    #[test]
    fn a_lost_call_and_a_failed_round_fail_the_kind() {
        let (good, mut bad) = (round(1..40), round(1..40));
        assert_eq!(Kind::of(bounds(), &[&good]).unwrap().verdict(), Verdict::Passed);
        bad.lost = 1;
        assert_eq!(Kind::of(bounds(), &[&good, &bad]).unwrap().verdict(), Verdict::Failed);
        bad.lost = 0;
        bad.claims.push(Claim::failed("it comes back", "it did not".to_owned()));
        let kind = Kind::of(bounds(), &[&good, &bad]).unwrap();
        assert_eq!((kind.verdict(), kind.failed), (Verdict::Failed, 1));
    }

    #[test]
    fn programs_read_the_figures_and_the_claims() {
        let rounds = [round(1..=200)];
        let kind = Kind::of(bounds(), &[&rounds[0]]).unwrap();
        let circumstances =
            Circumstances { calls: 26, side_by_side: 2, took: Duration::from_secs(61) };
        let text = json(&circumstances, &[kind], &rounds);
        let read: Value = serde_json::from_str(&text).unwrap();
        let gap = &read["kinds"][0]["gap_ms"];
        assert_eq!(gap, &json!({ "count": 200, "p50": 100, "p99": 198, "max": 200 }));
        assert_eq!(read["kinds"][0]["gap_bound_ms"], json!({ "p99": 1_000, "max": 2_000 }));
        assert_eq!(read["rounds"][0]["claims"][0]["verdict"], "passed");
    }
}
