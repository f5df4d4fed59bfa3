//! The report as one HTML page without anything from elsewhere: the table, the claims, and a
//! drawing of each round. All text is escaped.

use std::fmt::Write as _;
use std::time::Instant;

use super::super::judge::{Gap, Judged, Lane, Verdict};
use super::super::round::Moments;
use super::super::summary::{Circumstances, HEADER, Kind};
use super::{NOTE, evidence, row, word};

/// Pixels of a second, of a lane, and of the lanes' names.
const SECOND: f64 = 40.0;
const LANE: f64 = 12.0;
const NAMES: f64 = 260.0;

/// Pixels above the lanes, for the marks' names.
const HEAD: f64 = 30.0;

const STYLE: &str = "body{font:14px/1.4 sans-serif;margin:2em;color:#222}\
    table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;\
    border-bottom:1px solid #ddd}.passed{color:#176b2c}.failed{color:#b00020;font-weight:bold}\
    .skipped{color:#777}li ul{color:#555;font-size:12px}svg{font:10px sans-serif}\
    .drawing{overflow-x:auto}";

const LEGEND: &str = "Grey: ringing or waiting. Green: answered. Red: nothing was heard, at the \
    caller's ear above and at the callee's below. Blue: a phone was called. A cross: the call was \
    lost.";

/// The whole page.
pub(crate) fn html(circumstances: &Circumstances, kinds: &[Kind], all: &[Judged]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Failover drills</title><style>{STYLE}</style></head><body>\n\
         <h1>Failover drills</h1>\n<p>{}</p>\n<table><tr>",
        escape(&circumstances.words())
    );
    for name in HEADER {
        let _ = write!(page, "<th>{}", name.to_lowercase());
    }
    page.push_str("</tr>\n");
    kinds.iter().for_each(|kind| table_row(&mut page, &kind.row(), kind.verdict()));
    page.push_str("</table>\n<p>");
    page.push_str(&escape(NOTE));
    page.push_str(
        "</p>\n<h2>Rounds</h2>\n<table><tr><th>drill<th>round<th>calls<th>lost<th>gap ms\
         <th>decision ms<th>claims<th>result</tr>\n",
    );
    all.iter().for_each(|judged| table_row(&mut page, &row(judged), judged.verdict()));
    page.push_str("</table>\n");
    let _ = writeln!(page, "<p>{}</p>", escape(LEGEND));
    for judged in all {
        let _ = writeln!(page, "<h2>{} round {}</h2>\n<ul>", escape(judged.drill), judged.round);
        for claim in &judged.claims {
            let lines: String =
                evidence(claim).map(|line| format!("<li>{}</li>", escape(line))).collect();
            let _ = writeln!(
                page,
                "<li><span class=\"{}\">{}</span> {}<ul>{lines}</ul></li>",
                class(claim.verdict),
                word(claim.verdict),
                escape(&claim.text)
            );
        }
        page.push_str("</ul>\n");
        if let Some(drawing) = drawing(judged) {
            let _ = writeln!(page, "<div class=\"drawing\">{drawing}</div>");
        }
    }
    page.push_str("</body></html>\n");
    page
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Skipped => "skipped",
    }
}

fn table_row(page: &mut String, cells: &[String], verdict: Verdict) {
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
    let _ = writeln!(page, "<tr class=\"{}\">{cells}</tr>", class(verdict));
}

/// A round as a picture of its own; nothing of one that was not played.
pub(crate) fn drawing(judged: &Judged) -> Option<String> {
    judged.played.as_ref().map(|(times, lanes)| draw_all(*times, lanes))
}

/// One row for each call, time to the right.
fn draw_all(times: Moments, lanes: &[Lane]) -> String {
    let x = |at: Instant| NAMES + at.saturating_duration_since(times.begin).as_secs_f64() * SECOND;
    let last = lanes.iter().filter_map(|lane| lane.ended).max().unwrap_or(times.release);
    let (width, height) =
        (x(last.max(times.release)) + 20.0, HEAD + LANE * lanes.len() as f64 + 10.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"10\">\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>"
    );
    for (index, lane) in lanes.iter().enumerate() {
        draw(&mut svg, lane, HEAD + LANE * index as f64, (&x, last));
    }
    let marks = [
        ("fault", times.fault),
        ("change", times.change),
        ("end of the fault", times.undone),
        ("back", times.back),
        ("farewell", times.release),
    ];
    for (nth, (name, at)) in marks.into_iter().enumerate() {
        let (x, y) = (x(at), 10 + nth % 2 * 12);
        let _ = write!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{height:.0}\" stroke=\"#b06000\" \
             stroke-dasharray=\"3 2\"/><text x=\"{:.1}\" y=\"{y}\">{}</text>",
            x + 3.0,
            escape(name)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn draw(svg: &mut String, lane: &Lane, y: f64, (x, last): (&dyn Fn(Instant) -> f64, Instant)) {
    let _ = write!(svg, "<text x=\"0\" y=\"{:.1}\">{}</text>", y + 9.0, escape(&lane.title));
    let mut bar = |from: Instant, to: Instant, (top, height): (f64, f64), colour: &str| {
        let width = (x(to) - x(from)).max(1.0);
        let _ = write!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height}\" \
             fill=\"{colour}\"/>",
            x(from),
            y + top
        );
    };
    let end = lane.ended.unwrap_or(last);
    if let Some(begun) = lane.begun {
        bar(begun, lane.answered.unwrap_or(end), (3.0, 4.0), "#bbb");
    }
    if let Some(answered) = lane.answered {
        bar(answered, end, (1.0, 8.0), "#7bc47f");
    }
    for (side, gaps) in lane.gaps.iter().enumerate() {
        for Gap { from, length } in gaps {
            bar(*from, *from + *length, (1.0 + 4.0 * side as f64, 4.0), "#d0021b");
        }
    }
    for offer in &lane.offers {
        bar(*offer, *offer, (0.0, 10.0), "#2060c0");
    }
    if let Some((at, why)) = lane.losses.first() {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#b00020\">✕<title>{}</title></text>",
            x(*at),
            y + 9.0,
            escape(why)
        );
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::judge::Claim;
    use super::super::super::summary::Bounds;
    use super::*;

    #[test]
    fn what_comes_from_outside_is_no_markup() {
        let claim = Claim::failed("<b>", "\"<script>alert('x')&</script>".to_owned());
        let rounds = [Judged::unplayed("node-killed", 1, claim)];
        let kinds: Vec<Kind> = Kind::of(Bounds::default(), &[&rounds[0]]).into_iter().collect();
        let circumstances =
            Circumstances { calls: 1, side_by_side: 1, took: Duration::from_secs(1) };
        let page = html(&circumstances, &kinds, &rounds);
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&quot;&lt;script&gt;alert(&#39;x&#39;)&amp;"), "{page}");
    }
}
