//! Call-detail records and dispositions in SQLite: what people and tools query.
//!
//! [`schema`] owns the tables, which are stable and documented in `docs/records.md`; here are the
//! reader and its search by [`condition`], [`reports`] has the figures, [`export`] the files. Rows
//! come from the log through [`tandem_cluster::records`], which writes each exactly once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{
    Connection, ErrorCode, InterruptHandle, OpenFlags, OptionalExtension as _, params_from_iter,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tandem_center::record::Ended;
use tandem_center::{CallId, Cdr};
use tokio::sync::oneshot;

pub use self::schema::{CallRecords, Row};
use crate::api::backend::{CdrQuery, CdrRow, Unavailable};

pub mod condition;
pub mod export;
pub mod reports;
pub mod schema;

/// Rows that one query returns at most; the next page begins after the last of them.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// How long a query may take. Past it, it is stopped and answered with an error.
pub const QUERY_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a query waits for a writer. Writers hold the file for milliseconds.
const BUSY_WAIT: Duration = Duration::from_secs(2);

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

    /// Asks the records on a thread that may block, for at most [`QUERY_TIME_MAX`].
    ///
    /// # Errors
    /// The records cannot be read, or not in time.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.ask_within(QUERY_TIME_MAX, question).await
    }

    async fn ask_within<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let reader = self.clone();
        let (sender, begins) = oneshot::channel::<InterruptHandle>();
        // A task of its own: who asked may have gone, and the query must end all the same.
        let watch = tokio::spawn(async move {
            // Whoever cannot open the file has nothing to be stopped.
            let Ok(stop) = begins.await else { return };
            tokio::time::sleep(limit).await;
            stop.interrupt();
        });
        let work = tokio::task::spawn_blocking(move || {
            let connection = reader.connect()?;
            drop(sender.send(connection.get_interrupt_handle()));
            let answer = question(&connection);
            watch.abort();
            answer
        });
        let answer = work.await.map_err(|_| Unavailable::Stopping)?;
        answer.map_err(|error| {
            if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
                tracing::warn!("a query of the records took too long");
                return Unavailable::Slow;
            }
            tracing::error!(%error, "the records cannot be read");
            Unavailable::Store
        })
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
}

/// The records that are asked for, newest first. Blocks on the disk.
///
/// # Errors
/// The file cannot be read.
pub fn cdrs(connection: &Connection, query: &CdrQuery) -> rusqlite::Result<Vec<CdrRow>> {
    let (conditions, values) = conditions(query);
    let limit = query.limit.min(export::ROWS_MAX + 1);
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

/// A caller who was not served, to be called back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Callback {
    /// The call.
    pub call: String,
    /// Who called.
    pub number: String,
    /// The name that came with it.
    pub name: Option<String>,
    /// Where they waited.
    pub queue: String,
    /// When they entered it, in Unix milliseconds.
    pub entered: u64,
    /// How long they waited, in milliseconds.
    pub waited_ms: u64,
    /// `abandoned`, or `congested`: the queue was full or the wait too long.
    pub why: String,
}

/// The callers who entered a queue between two times and were served by nobody since, the newest
/// first, at most [`PAGE_ROWS_MAX`]. Blocks on the disk.
///
/// # Errors
/// The file cannot be read.
pub fn callbacks(
    connection: &Connection,
    (from, to): (u64, u64),
) -> rusqlite::Result<Vec<Callback>> {
    let mut statement = connection.prepare(
        "SELECT call, from_number, from_name, queue, entered_ms, waited_ms, why FROM callback
         WHERE entered_ms >= ?1 AND entered_ms < ?2 ORDER BY entered_ms DESC, call LIMIT ?3",
    )?;
    let of = [sql_time(from), sql_time(to), PAGE_ROWS_MAX as i64];
    let rows = statement.query_map(of, |row| {
        Ok(Callback {
            call: row.get(0)?,
            number: row.get(1)?,
            name: row.get(2)?,
            queue: row.get(3)?,
            entered: row.get::<_, i64>(4)? as u64,
            waited_ms: row.get::<_, i64>(5)? as u64,
            why: row.get(6)?,
        })
    })?;
    rows.collect()
}

/// SQLite's integers have a sign.
fn sql_time(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
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
    if let Some(condition) = &query.condition {
        let text = condition.to_sql(&mut all.values);
        all.texts.push(text);
    }
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

#[cfg(test)]
pub(crate) mod tests;
