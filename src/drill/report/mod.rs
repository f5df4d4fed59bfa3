//! What is shown of the judgements: lines for the terminal, tables, and a page.

mod page;

pub(crate) use page::{drawing, html};

use super::judge::{Claim, Judged, Verdict};
use super::summary::{Circumstances, HEADER, Kind};

/// A round, in full or in one line.
pub(crate) fn lines(judged: &Judged, is_full: bool) -> Vec<String> {
    let title = format!("{} round {}: {}", judged.drill, judged.round, word(judged.verdict()));
    if !is_full {
        return vec![match judged.verdict() {
            Verdict::Passed | Verdict::Failed => format!(
                "{title}, {} calls, {} lost, gap {} ms, decision {} ms",
                judged.calls,
                judged.lost,
                judged.gaps.words(),
                judged.decisions.words()
            ),
            Verdict::Skipped => {
                let why = judged.claims.iter().flat_map(evidence).next().unwrap_or("");
                format!("{title}, {why}")
            }
        }];
    }
    let mut lines = vec![title];
    for claim in &judged.claims {
        lines.push(format!("  {:7} {}", word(claim.verdict), claim.text));
        lines.extend(evidence(claim).map(|line| format!("          {line}")));
    }
    lines
}

fn evidence(claim: &Claim) -> impl Iterator<Item = &str> {
    claim.evidence.iter().map(String::as_str)
}

/// What the columns hold, below the table.
const NOTE: &str = "(gaps and decisions over all calls of all rounds: p50/p99/max, and what is \
                    allowed: p99/each)";

/// All kinds, one a line.
pub(crate) fn table(circumstances: &Circumstances, kinds: &[Kind]) -> Vec<String> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(kinds.iter().map(Kind::row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADER.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; HEADER.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.push(NOTE.to_owned());
    lines.push(circumstances.words());
    lines
}

/// The same as a document of its own.
pub(crate) fn markdown(circumstances: &Circumstances, kinds: &[Kind]) -> String {
    let cells = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header = HEADER.map(str::to_lowercase);
    let mut text = format!("# Failover drills\n\n{}.\n\n", circumstances.words());
    text.push_str(&cells(&header));
    text.push_str(&format!("|{}\n", "---|".repeat(HEADER.len())));
    kinds.iter().for_each(|kind| text.push_str(&cells(&kind.row())));
    text.push_str(&format!("\n{NOTE}\n"));
    text
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
