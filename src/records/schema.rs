//! The tables of the records, and how a record becomes their rows.
//!
//! Owns the schema's version, in the file's `user_version`. A file of another version is refused:
//! records are not guessed. `docs/records.md` says what the columns mean.

use rusqlite::{Transaction, params};
use tandem_center::record::{Disposition, Ended, Segment, SegmentEnd, SegmentKind, Stint};
use tandem_center::{AgentState, Cdr, Direction, QueueId, Record};
use tandem_cluster::records::RecordSink;

/// Version of the tables, in `PRAGMA user_version`.
pub const VERSION: u32 = 2;

/// The tables, the indices for the queries, and the views.
pub const SCHEMA: &str = include_str!("schema.sql");

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
        let is_new = !transaction.table_exists(None, "cdr")?;
        let version = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
        let found = transaction.query_row("PRAGMA user_version", [], version)?;
        if !is_new && found != VERSION {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_SCHEMA);
            let what = format!("the records are of version {found}, this program's of {VERSION}");
            return Err(rusqlite::Error::SqliteFailure(code, Some(what)));
        }
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)
    }

    fn write(&mut self, to: &Transaction<'_>, index: u64, row: &[u8]) -> rusqlite::Result<()> {
        match postcard::from_bytes(row) {
            Ok(Record::Cdr(cdr)) => write_cdr(to, index, &cdr),
            Ok(Record::Disposition(disposition)) => write_disposition(to, index, &disposition),
            Ok(Record::Timeline(ended)) => write_timeline(to, index, &ended),
            Ok(Record::Stint(stint)) => write_stint(to, index, &stint),
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
         ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29)",
    )?;
    let added = insert.execute(params![
        cdr.call.to_string(),
        index as i64,
        direction_name(cdr.direction),
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
        cdr.segments.iter().map(|segment| ring_ms(segment, cdr)).sum::<u64>() as i64,
        cdr.talk_ms as i64,
        cdr.hold_ms as i64,
        cdr.result.name(),
        cdr.ended_by.name(),
        cause_name(cdr),
        cdr.status,
        cdr.recording.as_ref().map(ToString::to_string),
        cdr.redirects,
        cdr.trunk.as_deref(),
        cdr.transfers,
        cdr.parties,
        cdr.node.0 as i64,
        cdr.takeovers,
        serde_json::Value::Object(variables).to_string(),
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
        return Ok(());
    }
    write_segments(to, cdr)
}

/// Milliseconds of a segment in which somebody was rung.
fn ring_ms(segment: &Segment, cdr: &Cdr) -> u64 {
    match segment.kind {
        SegmentKind::Ringing => segment.length_ms(cdr.ended),
        SegmentKind::Ivr(_)
        | SegmentKind::Queue(_)
        | SegmentKind::Talk(_)
        | SegmentKind::Park
        | SegmentKind::Echo => segment.rang_ms,
    }
}

fn write_segments(to: &Transaction<'_>, cdr: &Cdr) -> rusqlite::Result<()> {
    let mut insert = to.prepare_cached(
        "INSERT INTO segment VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let mut before: Option<&QueueId> = None;
    for (number, (segment, end)) in cdr.segments.iter().zip(cdr.ends()).enumerate() {
        let (mut flow, mut queue, mut agent) = (None, None, None);
        let kind = match &segment.kind {
            SegmentKind::Ivr(name) => {
                flow = Some(&**name);
                "ivr"
            }
            SegmentKind::Queue(id) => {
                before = Some(id);
                queue = before;
                "queue"
            }
            SegmentKind::Ringing => "ringing",
            SegmentKind::Talk(with) => {
                queue = before;
                agent = with.as_ref();
                "talk"
            }
            SegmentKind::Park => "park",
            SegmentKind::Echo => "echo",
        };
        insert.execute(params![
            cdr.call.to_string(),
            number as i64,
            kind,
            flow,
            queue.map(ToString::to_string),
            agent.map(ToString::to_string),
            segment.began.0 as i64,
            segment.ended.unwrap_or(cdr.ended).0 as i64,
            segment.held_ms as i64,
            ring_ms(segment, cdr) as i64,
            SegmentEnd::name(end),
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

fn write_stint(to: &Transaction<'_>, index: u64, stint: &Stint) -> rusqlite::Result<()> {
    let (reason, call) = match &stint.state {
        AgentState::LoggedOut { reason, .. } | AgentState::NotReady { reason, .. } => {
            (Some(&**reason), None)
        }
        AgentState::Ready { .. } => (None, None),
        AgentState::Reserved { call, .. }
        | AgentState::Ringing { call, .. }
        | AgentState::Talking { call, .. }
        | AgentState::Held { call, .. }
        | AgentState::WrapUp { call, .. } => (None, Some(call.to_string())),
    };
    to.prepare_cached("INSERT INTO stint VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            index as i64,
            stint.agent.to_string(),
            state_name(&stint.state),
            reason,
            call,
            stint.began.0 as i64,
            stint.ended.0 as i64,
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

/// The word of a direction in the tables.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

fn state_name(state: &AgentState) -> &'static str {
    match state {
        AgentState::LoggedOut { .. } => "logged-out",
        AgentState::NotReady { .. } => "not-ready",
        AgentState::Ready { .. } => "ready",
        AgentState::Reserved { .. } => "reserved",
        AgentState::Ringing { .. } => "ringing",
        AgentState::Talking { .. } => "talking",
        AgentState::Held { .. } => "held",
        AgentState::WrapUp { .. } => "wrap-up",
    }
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
