//! Call-detail records and dispositions in SQLite: what people and tools query.
//!
//! Owns the schema, which is stable and documented in `docs/records.md`, and the queries on it.
//! Rows come from the log through [`tandem_cluster::records`], which writes each exactly once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Transaction, params, params_from_iter,
};
use serde::de::DeserializeOwned;
use tandem_center::record::{Disposition, Ended, Segment};
use tandem_center::{CallId, Cdr, Record};
use tandem_cluster::records::RecordSink;

use crate::api::backend::{CdrQuery, CdrRow};

/// Rows that one query returns at most; the next page begins after the last of them.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// How long a query waits for a writer. Writers hold the file for milliseconds.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// The tables. Changes are appended as further statements that do nothing where they are done.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS cdr (
    call         TEXT PRIMARY KEY NOT NULL, -- the call's id
    log_index    INTEGER NOT NULL,          -- where in the log the call ended
    direction    TEXT NOT NULL,             -- inbound, outbound
    from_number  TEXT NOT NULL,
    from_name    TEXT,
    to_number    TEXT NOT NULL,
    flow         TEXT,
    queue        TEXT,
    agent        TEXT,
    arrived_ms   INTEGER NOT NULL,          -- Unix time, milliseconds
    answered_ms  INTEGER,
    ended_ms     INTEGER NOT NULL,
    wait_ms      INTEGER NOT NULL,
    talk_ms      INTEGER NOT NULL,
    hold_ms      INTEGER NOT NULL,
    outcome      TEXT NOT NULL,             -- answered, abandoned, rejected, …
    ended_by     TEXT NOT NULL,             -- caller, agent, called, system
    cause        TEXT NOT NULL,
    sip_status   INTEGER,
    recording    TEXT,
    redirects    INTEGER NOT NULL,
    node         INTEGER NOT NULL,          -- the node that owned the call at its end
    takeovers    INTEGER NOT NULL,
    variables    TEXT NOT NULL,             -- JSON object
    segments     TEXT NOT NULL,             -- JSON array
    whole        BLOB NOT NULL              -- the record in the node's own encoding
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cdr_by_arrival ON cdr (arrived_ms, call);
CREATE TABLE IF NOT EXISTS disposition (
    log_index    INTEGER PRIMARY KEY NOT NULL,
    call         TEXT NOT NULL,
    agent        TEXT NOT NULL,
    queue        TEXT,
    disposition  TEXT NOT NULL,
    note         TEXT,
    at_ms        INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS disposition_by_call ON disposition (call);
CREATE TABLE IF NOT EXISTS timelines (
    call         TEXT PRIMARY KEY NOT NULL,
    log_index    INTEGER NOT NULL,          -- where in the log the call ended
    notes        TEXT NOT NULL,             -- JSON array of [Unix milliseconds, log index, words]
    dropped      INTEGER NOT NULL,          -- notes that were dropped from the middle
    whole        BLOB NOT NULL              -- the timeline in the node's own encoding
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS doubles (        -- second records of a call: always empty
    log_index    INTEGER NOT NULL,
    call         TEXT NOT NULL,
    whole        BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS unread (         -- rows that this build could not read, kept whole
    log_index    INTEGER NOT NULL,
    row          BLOB NOT NULL
);
";

/// A record on its way from the log to the tables.
#[derive(Debug)]
pub struct Row;

impl Row {
    /// The bytes that [`CallRecords`] reads.
    pub fn encode(record: &Record) -> Vec<u8> {
        postcard::to_stdvec(record).expect("a record has a postcard form")
    }
}

/// Writes call-detail records.
#[derive(Debug, Default)]
pub struct CallRecords;

impl RecordSink for CallRecords {
    fn prepare(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        transaction.execute_batch(SCHEMA)
    }

    fn write(&mut self, to: &Transaction<'_>, index: u64, row: &[u8]) -> rusqlite::Result<()> {
        match postcard::from_bytes(row) {
            Ok(Record::Cdr(cdr)) => write_cdr(to, index, &cdr),
            Ok(Record::Disposition(disposition)) => write_disposition(to, index, &disposition),
            Ok(Record::Timeline(ended)) => write_timeline(to, index, &ended),
            Err(_) => to
                .prepare_cached("INSERT INTO unread VALUES (?1, ?2)")?
                .execute(params![index as i64, row])
                .map(drop),
        }
    }
}

fn write_cdr(to: &Transaction<'_>, index: u64, cdr: &Cdr) -> rusqlite::Result<()> {
    let variables: serde_json::Map<_, _> =
        cdr.variables.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let whole = postcard::to_stdvec(cdr).expect("a record has a postcard form");
    let mut insert = to.prepare_cached(
        "INSERT OR IGNORE INTO cdr VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
         ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)",
    )?;
    let added = insert.execute(params![
        cdr.call.to_string(),
        index as i64,
        match cdr.direction {
            tandem_center::Direction::Inbound => "inbound",
            tandem_center::Direction::Outbound => "outbound",
        },
        &*cdr.from.number,
        cdr.from.name.as_deref(),
        &*cdr.to,
        cdr.flow.as_deref(),
        cdr.queue.as_ref().map(ToString::to_string),
        cdr.agent.as_ref().map(ToString::to_string),
        cdr.arrived.0 as i64,
        cdr.answered.map(|at| at.0 as i64),
        cdr.ended.0 as i64,
        cdr.wait_ms as i64,
        cdr.talk_ms as i64,
        cdr.hold_ms as i64,
        cdr.result.name(),
        cdr.ended_by.name(),
        cause_name(cdr),
        cdr.status,
        cdr.recording.as_ref().map(ToString::to_string),
        cdr.redirects,
        cdr.node.0 as i64,
        cdr.takeovers,
        serde_json::Value::Object(variables).to_string(),
        segments(&cdr.segments),
        &whole,
    ])?;
    if added == 0 {
        // Each row of the log comes once, so this is a second end of the call: never hide it.
        tracing::error!(call = %cdr.call, index, "a second record of a call");
        to.prepare_cached("INSERT INTO doubles VALUES (?1, ?2, ?3)")?.execute(params![
            index as i64,
            cdr.call.to_string(),
            whole
        ])?;
    }
    Ok(())
}

fn write_timeline(to: &Transaction<'_>, index: u64, ended: &Ended) -> rusqlite::Result<()> {
    let notes = ended.timeline.notes();
    let notes: Vec<_> = notes.map(|note| (note.at.0, note.index, note.what.to_string())).collect();
    to.prepare_cached("INSERT OR IGNORE INTO timelines VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            ended.call.to_string(),
            index as i64,
            serde_json::to_string(&notes).unwrap_or_else(|_| "[]".into()),
            ended.timeline.dropped(),
            postcard::to_stdvec(ended).expect("a timeline has a postcard form"),
        ])
        .map(drop)
}

fn write_disposition(to: &Transaction<'_>, index: u64, said: &Disposition) -> rusqlite::Result<()> {
    to.prepare_cached("INSERT OR REPLACE INTO disposition VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            index as i64,
            said.call.to_string(),
            said.agent.to_string(),
            said.queue.as_ref().map(ToString::to_string),
            &*said.disposition,
            said.note.as_deref(),
            said.at.0 as i64,
        ])
        .map(drop)
}

/// The cause in words that stay the same: the variant's name in lower case with dashes.
fn cause_name(cdr: &Cdr) -> String {
    let debug = format!("{:?}", cdr.cause);
    let name = debug.split([' ', '{']).next().unwrap_or_default();
    let mut words = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            words.push('-');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn segments(segments: &[Segment]) -> String {
    serde_json::to_string(segments).unwrap_or_else(|_| "[]".into())
}

/// Reads the records of one node, with a connection of its own for each query.
#[derive(Debug, Clone)]
pub struct Reader {
    file: PathBuf,
}

impl Reader {
    /// For the file that the replica writes.
    pub fn new(file: &Path) -> Self {
        Self { file: file.into() }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A connection that changes nothing.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        Ok(connection)
    }

    /// The record of a call and what it went through, if it ended. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ended(&self, call: CallId) -> rusqlite::Result<Option<(Cdr, Option<Ended>)>> {
        let connection = self.connect()?;
        let mut statement = connection.prepare(
            "SELECT cdr.whole, timelines.whole FROM cdr LEFT JOIN timelines USING (call)
             WHERE cdr.call = ?1",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            let timeline: Option<Vec<u8>> = row.get(1)?;
            let timeline = timeline.map(|whole| unpack(&whole)).transpose()?;
            Ok((unpack(&row.get::<_, Vec<u8>>(0)?)?, timeline))
        };
        statement.query_row([call.to_string()], read).optional()
    }

    /// The records that are asked for, newest first. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn cdrs(&self, query: &CdrQuery) -> rusqlite::Result<Vec<CdrRow>> {
        let connection = self.connect()?;
        let (conditions, values) = conditions(query);
        let limit = query.limit.min(PAGE_ROWS_MAX);
        let text = format!(
            "SELECT whole, said.disposition, said.note FROM cdr
             LEFT JOIN disposition AS said ON said.log_index =
               (SELECT max(log_index) FROM disposition WHERE disposition.call = cdr.call)
             WHERE {conditions} ORDER BY arrived_ms DESC, cdr.call DESC LIMIT {limit}"
        );
        let mut statement = connection.prepare(&text)?;
        let rows = statement.query_map(params_from_iter(values), read_row)?;
        rows.collect()
    }
}

/// Conditions of a query, with their values. `?` in a condition is its value.
#[derive(Debug, Default)]
struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, text: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.values.push(value.into());
            self.texts.push(text.replace('?', &format!("?{}", self.values.len())));
        }
    }
}

fn conditions(query: &CdrQuery) -> (String, Vec<Value>) {
    let mut all = Conditions { texts: vec!["1".into()], values: Vec::new() };
    all.add("arrived_ms >= ?", query.from.map(|at| at.0 as i64));
    all.add("arrived_ms < ?", query.to.map(|at| at.0 as i64));
    // substr and not LIKE: a number with % or _ in it is just a number.
    let number = if query.number_is_prefix {
        "(substr(from_number, 1, length(?)) = ? OR substr(to_number, 1, length(?)) = ?)"
    } else {
        "(from_number = ? OR to_number = ?)"
    };
    all.add(number, query.number.clone());
    all.add("cdr.agent = ?", query.agent.as_ref().map(ToString::to_string));
    all.add("cdr.queue = ?", query.queue.as_ref().map(ToString::to_string));
    all.add("outcome = ?", query.result.map(|result| result.name().to_owned()));
    all.add("cdr.call = ?", query.call.map(|call| call.to_string()));
    if let Some((arrived, call)) = query.after {
        all.add("arrived_ms <= ?", Some(arrived.0 as i64));
        let arrived = all.values.len();
        all.values.push(call.to_string().into());
        let call = all.values.len();
        all.texts.push(format!("(arrived_ms < ?{arrived} OR cdr.call < ?{call})"));
    }
    (all.texts.join(" AND "), all.values)
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<CdrRow> {
    let cdr = unpack(&row.get::<_, Vec<u8>>(0)?)?;
    let disposition: Option<String> = row.get(1)?;
    let note: Option<String> = row.get(2)?;
    let disposition = disposition.map(|said| (said.into(), note.map(Into::into)));
    Ok(CdrRow { cdr, disposition })
}

/// Reads what is under `whole`.
///
/// # Errors
/// It is damaged, or of another build.
pub fn unpack<T: DeserializeOwned>(whole: &[u8]) -> rusqlite::Result<T> {
    postcard::from_bytes(whole).map_err(|error| {
        let kind = rusqlite::types::Type::Blob;
        rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
    })
}
