//! Snapshots: a whole state at one index.

mod data;

pub use data::SnapshotData;
