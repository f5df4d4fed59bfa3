//! Records that people query, in SQLite, applied from the log.
//!
//! Knows no schema: the node's [`RecordSink`] creates the tables and turns opaque rows into SQL.
//! Owns the applied index, written in the same transaction, so that each row is written exactly
//! once however often the log is replayed.

/// Gives the rows of the records their meaning.
pub trait RecordSink: Send + 'static {
    /// Creates or migrates the tables; called at each start, in a transaction.
    fn prepare(&mut self, transaction: &rusqlite::Transaction<'_>) -> rusqlite::Result<()>;

    /// Writes one row. A row that cannot be understood must be kept somewhere (a table of its
    /// own), not dropped; an error stops the node.
    fn write(
        &mut self,
        transaction: &rusqlite::Transaction<'_>,
        index: crate::entry::Index,
        row: &[u8],
    ) -> rusqlite::Result<()>;
}
