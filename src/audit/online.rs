//! The evidence of a running node: its state from a consistent read, its records and journal.
//!
//! Holds up nobody: the state is a copy of references, the records are read as any reader does.
//! The log belongs to the Raft thread and is not read here; `offline` can, beside the node.

use std::path::Path;
use std::time::{Duration, Instant};

use tandem_center::Center;

use super::report::Report;
use super::rows;
use super::wire::Wire;
use super::{Case, Marked};
use crate::records::Reader;

/// How long the records may be behind the state. They are written every 100 ms.
const RECORDS_LATE_MAX: Duration = Duration::from_secs(5);

/// Why a running node cannot be audited.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// The records cannot be read.
    #[error("the records cannot be read: {0}")]
    Records(#[from] rusqlite::Error),
    /// The records do not come after the state.
    #[error("the records are at command {at}, the state at {wanted}, after {RECORDS_LATE_MAX:?}")]
    Late { at: u64, wanted: u64 },
}

/// Judges `center`, which was read after the journal was, at the time beside it. Blocks on the
/// disk.
///
/// # Errors
/// The records cannot be read.
pub fn audit(
    node: u64,
    center: &Center,
    wire: Option<(Wire, u64)>,
    records: &Path,
) -> Result<Report, OnlineError> {
    let mut connection = Reader::new(records).connect()?;
    let marked = Marked::of(center);
    let began = Instant::now();
    loop {
        let at = rows::mark(&connection)?;
        if at >= marked.index {
            break;
        }
        if began.elapsed() > RECORDS_LATE_MAX {
            return Err(OnlineError::Late { at, wanted: marked.index });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let wire = wire.map(|(wire, at)| wire.until(at));
    let case = Case { node, center, ledger: None, wire, marked };
    let answer = rows::read(&mut connection, &case.question())?;
    let mut report = case.judge(answer);
    report.gaps.push(
        "the log is not applied again while the node runs: audit its data directory for that"
            .to_owned(),
    );
    Ok(report)
}
