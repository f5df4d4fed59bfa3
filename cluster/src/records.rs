//! Records that people query, in SQLite, applied from the log.
//!
//! Knows no schema: the node's [`RecordSink`] creates the tables and turns opaque rows into SQL.
//! Owns the applied index, written in the same transaction as the rows, so that each row is
//! written exactly once however often the log is replayed. Transactions are not synced one by
//! one, since the log has the rows; before the log is compacted, [`Records::sync`] is called.

use crate::entry::Index;
use crate::store::StoreError;
use rusqlite::{Connection, Transaction};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Gives the rows of the records their meaning.
pub trait RecordSink: Send + 'static {
    /// Creates or migrates the tables; called at each start, in a transaction.
    fn prepare(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()>;

    /// Writes one row. A row that cannot be understood must be kept somewhere (a table of its
    /// own), not dropped; an error stops the node.
    fn write(
        &mut self,
        transaction: &Transaction<'_>,
        index: Index,
        row: &[u8],
    ) -> rusqlite::Result<()>;
}

/// The rows of one entry.
pub type Rows = (Index, Vec<Vec<u8>>);

/// Pages copied between two looks at whether something else wants the file: 40 MB.
const PAGES_AT_ONCE: i32 = 10_000;

/// The layout of our own table.
const VERSION: u32 = 1;

/// The records of a node.
pub struct Records {
    path: PathBuf,
    connection: Connection,
    sink: Box<dyn RecordSink>,
    applied: Index,
    /// Up to where they came from another node.
    received: Index,
}

impl Records {
    /// Opens the records, or begins them.
    pub fn open(path: &Path, mut sink: Box<dyn RecordSink>) -> Result<Self, StoreError> {
        let failed = |error| failed(path, error);
        let mut connection = Connection::open(path).map_err(failed)?;
        connection
            .execute_batch(
                // A reader never waits for us, nor we for a reader.
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                 PRAGMA wal_autocheckpoint = 4000; PRAGMA busy_timeout = 5000;",
            )
            .map_err(failed)?;
        let transaction = connection.transaction().map_err(failed)?;
        let (applied, received) = prepare(&transaction, path)?;
        sink.prepare(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection, sink, applied, received })
    }

    /// The last entry whose rows are in it.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// Whether nothing was written since they came from another node. They may then be ahead of
    /// the log, whose entries come after the snapshot.
    pub fn are_received(&self) -> bool {
        self.received == self.applied
    }

    /// Writes rows and notes that everything up to `applied` is in, in one transaction. Rows that
    /// are in already are skipped.
    pub fn write(&mut self, rows: &[Rows], applied: Index) -> Result<(), StoreError> {
        if applied <= self.applied {
            return Ok(());
        }
        let failed = |error| failed(&self.path, error);
        let transaction = self.connection.transaction().map_err(failed)?;
        for (index, rows) in rows.iter().filter(|(index, _)| *index > self.applied) {
            for row in rows {
                self.sink.write(&transaction, *index, row).map_err(failed)?;
            }
        }
        mark(&transaction, applied).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        self.applied = applied;
        Ok(())
    }

    /// Makes everything written durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let failed = |error| failed(&self.path, error);
        // A synced transaction syncs the write-ahead log, and with it all before it. A checkpoint
        // would do so too, but waits for readers.
        self.connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        let transaction = self.connection.transaction().map_err(failed)?;
        // SQLite leaves out the write, and with it the sync, if a row gets the value that it has;
        // so it gets another one in between.
        mark(&transaction, Index::MAX).map_err(failed)?;
        mark(&transaction, self.applied).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        self.connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)
    }

    /// Writes a consistent copy, synced, for a node that is far behind.
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let disk = |error| StoreError::Disk { path: path.to_owned(), error };
        if path.exists() {
            std::fs::remove_file(path).map_err(disk)?;
        }
        let copied = self
            .connection
            .execute("VACUUM INTO ?1", [path.to_string_lossy()])
            .and_then(|_| mark_received(path))
            .map_err(|error| failed(path, error))
            .and_then(|()| {
                std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(disk)
            });
        if copied.is_err() {
            // Half a copy is good for nothing, and the disk may be full because of it.
            drop(std::fs::remove_file(path));
        }
        copied
    }

    /// Takes over a copy from another node, all or nothing, and synced. Who reads the records
    /// meanwhile goes on reading and then sees the new ones.
    pub fn replace_by(&mut self, copy: &Path) -> Result<(), StoreError> {
        let source = Connection::open(copy).map_err(|error| failed(copy, error))?;
        let copied = rusqlite::backup::Backup::new(&source, &mut self.connection)
            .and_then(|backup| backup.run_to_completion(PAGES_AT_ONCE, Duration::ZERO, None));
        copied.map_err(|error| failed(&self.path, error))?;
        let transaction =
            self.connection.transaction().map_err(|error| failed(&self.path, error))?;
        (self.applied, self.received) = prepare(&transaction, &self.path)?;
        self.sink
            .prepare(&transaction)
            .and_then(|()| transaction.commit())
            .map_err(|error| failed(&self.path, error))?;
        self.sync()
    }

    /// Up to where the records at `path` are, without opening them for writing.
    pub fn applied_at(path: &Path) -> Result<Index, StoreError> {
        let connection = Connection::open_with_flags(
            path,
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(|error| failed(path, error))?;
        connection
            .query_row("SELECT applied FROM tandem_mark", [], |row| row.get::<_, i64>(0))
            .map(|applied| applied as Index)
            .map_err(|error| failed(path, error))
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("path", &self.path)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

/// What is applied, and what of it came from another node.
fn prepare(transaction: &Transaction<'_>, path: &Path) -> Result<(Index, Index), StoreError> {
    let failed = |error| failed(path, error);
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS tandem_mark (
                 only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL,
                 applied INTEGER NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS tandem_received (
                 only INTEGER PRIMARY KEY CHECK (only = 1), applied INTEGER NOT NULL) STRICT;",
        )
        .map_err(failed)?;
    let insert = "INSERT OR IGNORE INTO tandem_mark VALUES (1, ?1, 0)";
    transaction.execute(insert, [VERSION]).map_err(failed)?;
    let (version, applied) = transaction
        .query_row("SELECT version, applied FROM tandem_mark", [], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?))
        })
        .map_err(failed)?;
    if version > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    let received = transaction
        .query_row("SELECT sum(applied) FROM tandem_received", [], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .map_err(failed)?;
    Ok((applied as Index, received.unwrap_or(0) as Index))
}

/// The copy says itself that it is one, so that taking it over is a single step.
fn mark_received(copy: &Path) -> rusqlite::Result<()> {
    let copy = Connection::open(copy)?;
    copy.execute_batch(
        // It is synced as a whole afterwards, and removed if that is not reached.
        "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;
         INSERT OR REPLACE INTO tandem_received SELECT 1, applied FROM tandem_mark;",
    )?;
    copy.close().map_err(|(_, error)| error)
}

fn mark(transaction: &Transaction<'_>, applied: Index) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE tandem_mark SET applied = ?1")?
        .execute([applied as i64])
        .map(drop)
}

fn failed(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path, why: error.to_string() }
        }
        Some(_) | None => StoreError::Disk { path, error: std::io::Error::other(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are text.
    struct Lines;

    impl RecordSink for Lines {
        fn prepare(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
            transaction.execute_batch("CREATE TABLE IF NOT EXISTS lines (at, text)")
        }

        fn write(
            &mut self,
            transaction: &Transaction<'_>,
            index: Index,
            row: &[u8],
        ) -> rusqlite::Result<()> {
            let text = String::from_utf8_lossy(row);
            transaction.execute("INSERT INTO lines VALUES (?1, ?2)", (index as i64, text)).map(drop)
        }
    }

    fn lines(records: &Records) -> Vec<String> {
        let mut statement = records.connection.prepare("SELECT text FROM lines").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn row(index: Index, text: &str) -> Rows {
        (index, vec![text.as_bytes().to_vec()])
    }

    #[test]
    fn a_replayed_row_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.sqlite");
        let mut records = Records::open(&path, Box::new(Lines)).unwrap();
        records.write(&[row(3, "a"), row(4, "b")], 5).unwrap();
        drop(records);
        let mut records = Records::open(&path, Box::new(Lines)).unwrap();
        assert_eq!(records.applied(), 5);
        records.write(&[row(4, "b"), row(6, "c")], 6).unwrap();
        records.sync().unwrap();
        assert_eq!(
            (lines(&records), records.applied()),
            (vec!["a".into(), "b".into(), "c".into()], 6)
        );
    }

    #[test]
    fn a_sync_reaches_the_disk_even_if_no_row_changed_since() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.sqlite");
        let mut records = Records::open(&path, Box::new(Lines)).unwrap();
        records.write(&[row(3, "a")], 5).unwrap();
        // A transaction without a page in the write-ahead log is not synced.
        let log = path.with_extension("sqlite-wal");
        let written = |log: &Path| std::fs::metadata(log).unwrap().len();
        let before = written(&log);
        records.sync().unwrap();
        assert!(written(&log) > before, "the synced transaction has a page");
        assert_eq!(Records::applied_at(&path).unwrap(), 5);
    }

    #[test]
    fn a_copy_replaces_the_records_of_another_node() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let mut records = Records::open(&here, Box::new(Lines)).unwrap();
        records.write(&[row(3, "a")], 5).unwrap();
        let copy = folder.path().join("copy");
        records.copy_to(&copy).unwrap();
        assert_eq!(Records::applied_at(&copy).unwrap(), 5);
        let mut late = Records::open(&there, Box::new(Lines)).unwrap();
        late.write(&[row(1, "x")], 2).unwrap();
        let reader = Connection::open(&there).unwrap();
        let count = || reader.query_row("SELECT count(*) FROM lines", [], |row| row.get(0));
        assert_eq!(count(), Ok(1));
        records.write(&[row(6, "b")], 6).unwrap();
        records.copy_to(&copy).unwrap();
        late.replace_by(&copy).unwrap();
        assert_eq!(count(), Ok(2));
        assert_eq!((records.are_received(), late.are_received()), (false, true));
        drop(late);
        let mut late = Records::open(&there, Box::new(Lines)).unwrap();
        assert!(late.are_received());
        late.write(&[row(7, "c")], 7).unwrap();
        assert!(!late.are_received());
        drop(late);
        let late = Records::open(&there, Box::new(Lines)).unwrap();
        assert_eq!((lines(&late), late.applied()), (vec!["a".into(), "b".into(), "c".into()], 7));
    }

    #[test]
    fn damaged_or_newer_records_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.sqlite");
        std::fs::write(&path, [b'x'; 5000]).unwrap();
        let refused = Records::open(&path, Box::new(Lines)).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 5000]);
        std::fs::remove_file(&path).unwrap();
        let records = Records::open(&path, Box::new(Lines)).unwrap();
        records.connection.execute("UPDATE tandem_mark SET version = 2", []).unwrap();
        drop(records);
        let refused = Records::open(&path, Box::new(Lines)).unwrap_err();
        assert!(matches!(refused, StoreError::Newer { found: 2, .. }), "{refused}");
    }
}
