//! What this node knows of parts of recordings, in SQLite.
//!
//! It can be lost: what is on this node's disk is found again from the files, which say themselves
//! what they are, and the other nodes answer for theirs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Row, params};

use super::part::{Part, PartId};

/// The tables; documented in `docs/operations.md`.
const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS part (
    recording    TEXT NOT NULL,
    epoch        INTEGER NOT NULL,
    number       INTEGER NOT NULL,
    node         INTEGER NOT NULL,          -- the node that wrote it
    began_ms     INTEGER NOT NULL,          -- Unix time, milliseconds
    rate_hz      INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    sha256       TEXT,                      -- none as long as it is written
    places       TEXT NOT NULL,             -- JSON array: nodes that have the file
    here         INTEGER NOT NULL,          -- 1: in this node's folder
    settled      INTEGER NOT NULL,          -- 1: nothing is left to do for it here
    PRIMARY KEY (recording, epoch, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS part_unsettled ON part (began_ms) WHERE settled = 0;
";

/// See the file. Every method blocks on the disk for a moment.
#[derive(Debug)]
pub(super) struct Index {
    connection: Mutex<Connection>,
    node: u64,
}

impl Index {
    /// Opens the file or creates it.
    pub(super) fn open(file: &Path, node: u64) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection: Mutex::new(connection), node })
    }

    /// The parts of a recording in their order.
    pub(super) fn of(&self, recording: &str) -> rusqlite::Result<Vec<Part>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT * FROM part WHERE recording = ?1 ORDER BY epoch, number LIMIT 1000",
        )?;
        statement.query_map([recording], read)?.collect()
    }

    pub(super) fn get(&self, id: &PartId) -> rusqlite::Result<Option<Part>> {
        Ok(self.of(&id.recording)?.into_iter().find(|part| part.id == *id))
    }

    /// Keeps what is known of a part, along with what was known before.
    pub(super) fn learn(&self, part: Part) -> rusqlite::Result<()> {
        let part = match self.get(&part.id)? {
            Some(mut known) => {
                known.learn(part);
                known
            }
            None => part,
        };
        self.put(&part)
    }

    /// A part is in this node's folder and complete; what was known of its bytes is forgotten.
    pub(super) fn seal(&self, mut part: Part) -> rusqlite::Result<Part> {
        let known = self.get(&part.id)?;
        part.places.extend(known.into_iter().flat_map(|known| known.places));
        part.places.insert(self.node);
        self.put(&part)?;
        Ok(part)
    }

    /// The file is not in this node's folder any more.
    pub(super) fn forget_place(&self, mut part: Part) -> rusqlite::Result<()> {
        part.places.remove(&self.node);
        self.put(&part)
    }

    fn put(&self, part: &Part) -> rusqlite::Result<()> {
        let here = part.places.contains(&self.node);
        // Parts of others are theirs to copy; one that nobody else has is ours.
        let is_ours = part.node == self.node && here;
        let is_settled = !is_ours || (part.sha256.is_some() && part.places.len() > 1);
        let places = serde_json::to_string(&part.places).unwrap_or_else(|_| "[]".to_owned());
        self.lock()
            .prepare_cached(
                "INSERT OR REPLACE INTO part VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                &*part.id.recording,
                part.id.epoch,
                part.id.number,
                part.node as i64,
                part.began_ms as i64,
                part.rate_hz,
                part.bytes as i64,
                part.sha256,
                places,
                here,
                is_settled,
            ])
            .map(drop)
    }

    /// Parts that this node wrote and that are complete and nowhere else, the oldest first.
    pub(super) fn uncopied(&self, limit: usize) -> rusqlite::Result<Vec<Part>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT * FROM part WHERE settled = 0 AND sha256 IS NOT NULL
             ORDER BY began_ms LIMIT ?1",
        )?;
        statement.query_map([limit as i64], read)?.collect()
    }

    /// How many parts are waiting for their copy.
    pub(super) fn uncopied_count(&self) -> rusqlite::Result<u64> {
        let text = "SELECT count(*) FROM part WHERE settled = 0 AND sha256 IS NOT NULL";
        self.lock().query_row(text, [], |row| row.get::<_, i64>(0)).map(|count| count as u64)
    }

    /// The names of all files in the folder that need no look.
    pub(super) fn complete_here(&self) -> rusqlite::Result<BTreeSet<String>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("SELECT * FROM part WHERE here = 1 AND sha256 IS NOT NULL")?;
        let names = statement.query_map([], |row| Ok(read(row)?.id.to_string()))?;
        names.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Part> {
    let places: String = row.get("places")?;
    Ok(Part {
        id: PartId {
            recording: row.get::<_, String>("recording")?.into(),
            epoch: row.get("epoch")?,
            number: row.get("number")?,
        },
        node: row.get::<_, i64>("node")? as u64,
        began_ms: row.get::<_, i64>("began_ms")? as u64,
        rate_hz: row.get("rate_hz")?,
        bytes: row.get::<_, i64>("bytes")? as u64,
        sha256: row.get("sha256")?,
        places: serde_json::from_str(&places).unwrap_or_default(),
    })
}
