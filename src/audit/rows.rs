//! The records of a node, read as evidence: each row against its own encoding, the rows against
//! each other, and their number against the state's count.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row as SqlRow, Transaction};
use tandem_center::audit::{Row, check_record};
use tandem_center::{CallId, Cdr, Counts, Index};

use super::report::{Evidence, Finding};
use super::wire::{Recorded, is_of};
use crate::records::unpack;

/// What is asked of the records.
#[derive(Debug)]
pub struct Question<'a> {
    /// Rows of later commands are not looked at.
    pub through: Index,
    /// Rows behind this command are wanted whole, to be compared with the log.
    pub whole_behind: Index,
    /// The state's count of ended calls at `through`.
    pub counts: Option<Counts>,
    /// Calls that are alive at `through`.
    pub alive: &'a BTreeSet<CallId>,
    /// The node whose journal is compared.
    pub node: u64,
}

/// What the records answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// Rows looked at.
    pub rows: u64,
    /// Rows that are wanted whole.
    pub whole: Vec<Row>,
    /// Facts of the calls that first arrived at the node.
    pub recorded: BTreeMap<CallId, Recorded>,
    /// When the first and the last of the calls ended.
    pub range: Option<(u64, u64)>,
    /// Rows that a newer build wrote.
    pub unread: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// The last command whose rows are in.
///
/// # Errors
/// The file cannot be read.
pub fn mark(connection: &Connection) -> rusqlite::Result<Index> {
    connection.query_row("SELECT applied FROM tandem_mark", [], |row| {
        row.get::<_, i64>(0).map(|applied| applied as Index)
    })
}

/// Reads all records in one transaction, so that they are of one moment.
///
/// # Errors
/// The file cannot be read.
pub fn read(connection: &mut Connection, ask: &Question<'_>) -> rusqlite::Result<Answer> {
    let transaction = connection.transaction()?;
    let mut answer = Answer::default();
    let mut counted = 0;
    {
        let mut statement =
            transaction.prepare("SELECT * FROM cdr WHERE log_index <= ?1 ORDER BY log_index")?;
        let mut rows = statement.query([ask.through as i64])?;
        while let Some(row) = rows.next()? {
            let index = row.get::<_, i64>("log_index")? as Index;
            counted += u64::from(ask.counts.is_some_and(|counts| index > counts.since));
            take(&mut answer, ask, row, index)?;
        }
    }
    if let Some(counts) = ask.counts.filter(|counts| counts.ended != counted) {
        let what = format!(
            "the state has seen {} calls end up to command {}, the records have {counted} of them",
            counts.ended, ask.through
        );
        answer.findings.push(Finding::records(None, what));
    }
    beside(&transaction, &mut answer, ask.through)?;
    Ok(answer)
}

fn take(
    answer: &mut Answer,
    ask: &Question<'_>,
    row: &SqlRow<'_>,
    index: Index,
) -> rusqlite::Result<()> {
    answer.rows += 1;
    let name: String = row.get("call")?;
    let cdr: Cdr = match unpack(&row.get::<_, Vec<u8>>("whole")?) {
        Ok(cdr) => cdr,
        Err(error) => {
            let what = format!("its record cannot be read: {error}");
            answer.findings.push(Finding::records(Some(name), what));
            return Ok(());
        }
    };
    if let Some(what) = differs(row, &cdr)? {
        answer.findings.push(Finding::records(Some(name), what));
    }
    let faults = check_record(&cdr);
    answer.findings.extend(faults.iter().map(|fault| Finding::of(Evidence::Records, fault)));
    if ask.alive.contains(&cdr.call) {
        let what = format!("it is alive, and has a record of command {index}");
        answer.findings.push(Finding::records(Some(cdr.call.to_string()), what));
    }
    let ended = cdr.ended.0;
    let (first, last) = answer.range.unwrap_or((ended, ended));
    answer.range = Some((first.min(ended), last.max(ended)));
    if is_of(cdr.call, ask.node) {
        answer.recorded.insert(cdr.call, Recorded::of(&cdr));
    }
    if index > ask.whole_behind {
        answer.whole.push(Row { index, cdr });
    }
    Ok(())
}

/// A column that is not what the whole record says.
fn differs(row: &SqlRow<'_>, cdr: &Cdr) -> rusqlite::Result<Option<String>> {
    let numbers = [
        ("arrived_ms", Some(cdr.arrived.0)),
        ("answered_ms", cdr.answered.map(|at| at.0)),
        ("ended_ms", Some(cdr.ended.0)),
        ("wait_ms", Some(cdr.wait_ms)),
        ("talk_ms", Some(cdr.talk_ms)),
        ("hold_ms", Some(cdr.hold_ms)),
        ("sip_status", cdr.status.map(u64::from)),
        ("redirects", Some(cdr.redirects.into())),
        ("node", Some(cdr.node.0)),
        ("takeovers", Some(cdr.takeovers.into())),
    ];
    for (column, whole) in numbers {
        let said: Option<i64> = row.get(column)?;
        if said.map(|said| said as u64) != whole {
            return Ok(Some(format!("{column} is {said:?}, its whole record says {whole:?}")));
        }
    }
    let texts = [
        ("call", Some(cdr.call.to_string())),
        ("from_number", Some(cdr.from.number.to_string())),
        ("to_number", Some(cdr.to.to_string())),
        ("queue", cdr.queue.as_ref().map(ToString::to_string)),
        ("agent", cdr.agent.as_ref().map(ToString::to_string)),
        ("outcome", Some(cdr.result.name().to_owned())),
        ("ended_by", Some(cdr.ended_by.name().to_owned())),
    ];
    for (column, whole) in texts {
        if row.get::<_, Option<String>>(column)? != whole {
            // Numbers of callers stay where they are.
            return Ok(Some(format!("{column} is not what its whole record says")));
        }
    }
    Ok(None)
}

/// The tables beside the records.
fn beside(
    transaction: &Transaction<'_>,
    answer: &mut Answer,
    through: Index,
) -> rusqlite::Result<()> {
    let mut doubles = transaction.prepare("SELECT call, log_index FROM doubles")?;
    let doubles = doubles.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    for double in doubles {
        let (call, index) = double?;
        let what = format!("it has a second record, of command {index}");
        answer.findings.push(Finding::records(Some(call), what));
    }
    // Both rows are written in one transaction: one without the other was made by nobody of us.
    let mut lonely = transaction.prepare(
        "SELECT call, log_index FROM timelines WHERE log_index <= ?1
           AND call NOT IN (SELECT call FROM cdr)",
    )?;
    let lonely =
        lonely.query_map([through as i64], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    for row in lonely {
        let (call, index) = row?;
        let what = format!("it has a timeline that ends with command {index}, and no record");
        answer.findings.push(Finding::records(Some(call), what));
    }
    let mut bare = transaction.prepare(
        "SELECT call FROM cdr WHERE log_index <= ?1
           AND call NOT IN (SELECT call FROM timelines)",
    )?;
    let bare = bare.query_map([through as i64], |row| row.get(0))?;
    for call in bare {
        let what = "it has a record, and no timeline".to_owned();
        answer.findings.push(Finding::records(Some(call?), what));
    }
    answer.unread = transaction
        .query_row("SELECT count(*) FROM unread", [], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)?;
    Ok(())
}
