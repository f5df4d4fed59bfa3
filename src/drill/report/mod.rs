//! What is shown of the judgements: lines for the terminal, and a page.

mod page;

pub(crate) use page::html;

use super::judge::{Claim, Judged, Verdict};

/// A round in full.
pub(crate) fn lines(judged: &Judged) -> Vec<String> {
    let mut lines =
        vec![format!("{} round {}: {}", judged.drill, judged.round, word(judged.verdict()))];
    for claim in &judged.claims {
        lines.push(format!("  {:7} {}", word(claim.verdict), claim.text));
        lines.extend(evidence(claim).map(|line| format!("          {line}")));
    }
    lines
}

fn evidence(claim: &Claim) -> impl Iterator<Item = &str> {
    claim.evidence.iter().map(String::as_str)
}

/// All rounds, one a line.
pub(crate) fn table(all: &[Judged]) -> Vec<String> {
    let header = ["DRILL", "ROUND", "CALLS", "LOST", "GAP MS", "DECISION MS", "CLAIMS", "RESULT"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(all.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.push("(gaps and decisions: p50/p99/max)".to_owned());
    lines
}

fn row(judged: &Judged) -> [String; 8] {
    let passed = judged.claims.iter().filter(|claim| claim.verdict == Verdict::Passed).count();
    [
        judged.drill.to_owned(),
        judged.round.to_string(),
        judged.calls.to_string(),
        judged.lost.to_string(),
        judged.gaps.words(),
        judged.decisions.words(),
        format!("{passed} of {}", judged.claims.len()),
        word(judged.verdict()).to_owned(),
    ]
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "skipped",
    }
}
