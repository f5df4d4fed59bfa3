//! raft-rs logs with slog; the node logs with tracing.

use slog::{Drain, Level, Never, OwnedKVList, Record};

/// Hands raft-rs' messages on.
struct ToTracing;

/// A logger for raft-rs.
pub(super) fn logger() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), Never> {
        // What raft-rs calls info is about each vote and each append; an operator reads Role and
        // Members, which the replica logs itself.
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{}", record.msg()),
            Level::Warning => tracing::debug!(target: "raft", "{}", record.msg()),
            Level::Info | Level::Debug | Level::Trace => {
                tracing::trace!(target: "raft", "{}", record.msg());
            }
        }
        Ok(())
    }
}
