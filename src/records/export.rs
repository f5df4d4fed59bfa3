//! Records as files for spreadsheets: CSV (RFC 4180) and Excel.
//!
//! Owns the columns, the zone of the times, and that no text from outside becomes a formula.
//! Bounded: an export has at most [`ROWS_MAX`] rows, and one with more is refused.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_xlsxwriter::{Format, Workbook, XlsxError};

use super::schema::direction_name;
use crate::api::backend::CdrRow;

/// Rows of one export. They are in memory together, a few kilobytes each.
pub const ROWS_MAX: usize = 20_000;

/// The columns, in their order.
const COLUMNS: [&str; 22] = [
    "call",
    "direction",
    "from_number",
    "from_name",
    "to_number",
    "flow",
    "queue",
    "agent",
    "trunk",
    "arrived",
    "answered",
    "ended",
    "wait_seconds",
    "talk_seconds",
    "hold_seconds",
    "outcome",
    "ended_by",
    "transfers",
    "parties",
    "disposition",
    "note",
    "recording",
];

/// What a field is.
enum Field {
    /// Words. From outside, perhaps.
    Text(String),
    /// A figure.
    Number(f64),
}

/// The header and the rows, with lines that end in CRLF.
#[must_use]
pub fn csv(rows: &[CdrRow], zone: &TimeZone) -> String {
    let mut file = COLUMNS.join(",") + "\r\n";
    for row in rows {
        for (column, field) in fields(row, zone).iter().enumerate() {
            if column > 0 {
                file.push(',');
            }
            match field {
                Field::Text(text) => quoted(&mut file, &harmless(text)),
                Field::Number(number) => drop(write!(file, "{number}")),
            }
        }
        file.push_str("\r\n");
    }
    file
}

/// The same as a workbook with one sheet.
///
/// # Errors
/// The temporary file cannot be written.
pub fn xlsx(rows: &[CdrRow], zone: &TimeZone) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    // Rows go to a temporary file as they come.
    let sheet = workbook.add_worksheet_with_constant_memory()?;
    sheet.set_name("Calls")?;
    sheet.set_freeze_panes(1, 0)?;
    let bold = Format::new().set_bold();
    for (column, name) in (0..).zip(COLUMNS) {
        sheet.write_string_with_format(0, column, name, &bold)?;
    }
    for (line, row) in (1..).zip(rows) {
        for (column, field) in (0..).zip(fields(row, zone)) {
            match field {
                // A string in its file is a string; but it is copied, and saved as CSV.
                Field::Text(text) => sheet.write_string(line, column, harmless(&text))?,
                Field::Number(number) => sheet.write_number(line, column, number)?,
            };
        }
    }
    workbook.save_to_buffer()
}

/// A text that no spreadsheet takes for a formula: one that begins like one gets an apostrophe
/// before it. Numbers that callers show may begin with `+`, and get one, too.
fn harmless(text: &str) -> String {
    let begins = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if begins { format!("'{text}") } else { text.to_owned() }
}

/// RFC 4180 §2: what holds a comma, a quote or a line's end stands in quotes, quotes doubled.
fn quoted(to: &mut String, text: &str) {
    if text.contains([',', '"', '\r', '\n']) {
        to.push('"');
        to.push_str(&text.replace('"', "\"\""));
        to.push('"');
    } else {
        to.push_str(text);
    }
}

fn fields(row: &CdrRow, zone: &TimeZone) -> [Field; COLUMNS.len()] {
    let CdrRow { cdr, disposition } = row;
    let text = |text: &str| Field::Text(text.to_owned());
    let maybe = |of: Option<String>| Field::Text(of.unwrap_or_default());
    let seconds = |ms: u64| Field::Number(ms as f64 / 1_000.0);
    let time = |ms: u64| Field::Text(written(ms, zone));
    let (said, note) = disposition.clone().unzip();
    [
        Field::Text(cdr.call.to_string()),
        text(direction_name(cdr.direction)),
        text(&cdr.from.number),
        maybe(cdr.from.name.as_deref().map(str::to_owned)),
        text(&cdr.to),
        maybe(cdr.flow.as_deref().map(str::to_owned)),
        maybe(cdr.queue.as_ref().map(ToString::to_string)),
        maybe(cdr.agent.as_ref().map(ToString::to_string)),
        maybe(cdr.trunk.as_deref().map(str::to_owned)),
        time(cdr.arrived.0),
        cdr.answered.map_or_else(|| text(""), |at| time(at.0)),
        time(cdr.ended.0),
        seconds(cdr.wait_ms),
        seconds(cdr.talk_ms),
        seconds(cdr.hold_ms),
        text(cdr.result.name()),
        text(cdr.ended_by.name()),
        Field::Number(cdr.transfers.into()),
        Field::Number(cdr.parties.into()),
        maybe(said.map(|said| said.to_string())),
        maybe(note.flatten().map(|note| note.to_string())),
        maybe(cdr.recording.as_ref().map(ToString::to_string)),
    ]
}

/// RFC 3339, with the zone's offset at that time and milliseconds.
fn written(ms: u64, zone: &TimeZone) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| {
        at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{NOON, cdr};

    #[test]
    fn what_begins_like_a_formula_is_text_and_what_has_commas_is_one_field() {
        for begins in ["=", "+", "-", "@", "\t", "\r", "\n"] {
            let mut row = CdrRow { cdr: cdr(1), disposition: None };
            row.cdr.from.name = Some(format!("{begins}HYPERLINK(\"http://x\",1)").into());
            let file = csv(&[row], &TimeZone::UTC);
            let field = format!("\"'{begins}HYPERLINK(\"\"http://x\"\",1)\"");
            assert!(file.contains(&field), "{file:?}");
        }
        assert_eq!(harmless("Ana = Ben"), "Ana = Ben");
    }

    #[test]
    fn times_are_in_the_zone_that_is_asked_for() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(written(NOON, &TimeZone::UTC), "2025-11-24T12:00:00.000+00:00");
        assert_eq!(written(NOON, &berlin), "2025-11-24T13:00:00.000+01:00");
    }

    #[test]
    fn a_workbook_is_a_zip_file_with_the_sheet_in_it() {
        let row = CdrRow { cdr: cdr(1), disposition: None };
        let file = xlsx(&[row], &TimeZone::UTC).unwrap();
        assert!(file.starts_with(b"PK\x03\x04"));
        let name = b"xl/worksheets/sheet1.xml";
        assert!(file.windows(name.len()).any(|at| at == name));
    }
}
