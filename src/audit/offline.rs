//! The evidence in a data directory, of a node that is stopped or runs, or of a copy.
//!
//! The log and the snapshot are copied into a scratch folder and applied again; records and
//! journal are read where they are, without changing them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use tandem_center::audit::Ledger;
use tandem_center::{CallId, Center, Command, Index, Millis, Outcome};
use tandem_cluster::replay::Replay;

use super::report::{Finding, Report};
use super::rows;
use super::story::Story;
use super::wire::Wire;
use super::{Case, Marked};
use crate::records::Reader;

/// The parts of a node's data directory.
#[derive(Clone, Debug)]
pub struct Places {
    /// Log and snapshots.
    pub replica: PathBuf,
    /// The records.
    pub records: PathBuf,
    /// The journal.
    pub journal: PathBuf,
}

impl Places {
    /// Of the directory that `tandem run --data` names.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        let replica = data.join("replica");
        let (records, journal) = (replica.join("records.sqlite"), data.join("journal"));
        Self { replica, records, journal }
    }
}

/// The log, applied again.
struct Replayed {
    center: Center,
    ledger: Ledger,
    /// The account at the records' mark.
    marked: Marked,
    notes: Vec<String>,
}

/// Audits a directory.
///
/// # Errors
/// There is no evidence, or it cannot be read.
pub fn audit(data: &Path) -> anyhow::Result<Report> {
    let places = Places::of(data);
    // In this order what is younger is read later, should the node be running.
    let wire = match Wire::read(&places.journal) {
        Ok(wire) => Some(wire),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => bail!("{}: {error}", places.journal.display()),
    };
    let unreadable = || format!("{} cannot be read", places.records.display());
    let mut records = Reader::new(&places.records).connect().with_context(unreadable)?;
    let Replayed { center, ledger, marked, notes } = replay(&places, Some(&records))?;
    let node = wire.as_ref().map_or(0, |wire| wire.node);
    let case = Case { node, center: &center, ledger: Some(ledger), wire, marked };
    let ahead = rows::mark(&records)?;
    let answer = rows::read(&mut records, &case.question()).with_context(unreadable)?;
    let mut report = case.judge(answer);
    if ahead > center.index() {
        let (last, what) = (center.index(), "are ahead of the log");
        let finding = format!("the records, at command {ahead}, {what}, which ends at {last}");
        report.add([Finding::records(None, finding)]);
    }
    report.gaps.extend(notes);
    Ok(report)
}

/// The story of a call, from the records or, while it lives, from the log.
///
/// # Errors
/// The evidence cannot be read.
pub fn story(data: &Path, call: CallId) -> anyhow::Result<Option<Story>> {
    let places = Places::of(data);
    let ended = Reader::new(&places.records).ended(call)?;
    if let Some((cdr, Some(ended))) = ended {
        return Ok(Some(Story::of_ended(&cdr, &ended.timeline)));
    }
    let replayed = replay(&places, None)?;
    Ok(replayed.center.call(call).map(|call| Story::of_live(call)))
}

fn replay(places: &Places, records: Option<&rusqlite::Connection>) -> anyhow::Result<Replayed> {
    let replay = Replay::open(&places.replica, &scratch())?;
    let mut center = Center::load(replay.state()).context("the snapshot")?;
    let (snapshot, is_beginning) = replay.snapshot();
    let mark = records.map(rows::mark).transpose()?.unwrap_or(0);
    // What is in the records was committed.
    let through = replay.committed().max(mark).min(replay.last());
    let mut ledger = Ledger::behind(&center);
    let mut marked = Marked::of(&center);
    let mut unreadable = None;
    replay.entries(through, |entry| {
        if unreadable.is_some() {
            return;
        }
        let command = match Command::decode(&entry.data) {
            Ok(command) => command,
            Err(error) => return unreadable = Some((entry.index, error)),
        };
        center.begin(entry.data[0]);
        let outcome = center.apply(entry.index, Millis(entry.at), command);
        ledger.applied(&center, &outcome.unwrap_or_else(|_| Outcome::default()));
        if center.index() <= mark {
            (marked.index, marked.counts) = (center.index(), center.counts());
        }
    })?;
    if let Some((index, error)) = unreadable {
        bail!("command {index}: {error}");
    }
    let mut notes = Vec::new();
    if through < replay.last() {
        notes.push(uncommitted(through, replay.last()));
    }
    if replay.is_torn() {
        notes.push("the end of the log is torn, as by a power cut; it is left out".to_owned());
    }
    if !is_beginning {
        notes.push(format!(
            "the log is compacted up to command {snapshot}: what was before is proven by the \
             records, their count and the journal"
        ));
    }
    // Who is alive at the end has no row at the mark either.
    marked.alive = super::alive(&center);
    marked.index = marked.index.max(mark.min(center.index()));
    Ok(Replayed { center, ledger, marked, notes })
}

fn uncommitted(through: Index, last: Index) -> String {
    format!(
        "commands {} to {last} are not known to be committed at this node and are left out",
        through + 1
    )
}

fn scratch() -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    std::env::temp_dir().join(format!("tandem-replay-{}-{now}", std::process::id()))
}
