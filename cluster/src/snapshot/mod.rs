//! Snapshots: a whole state at one index.

mod data;
mod files;

pub use data::SnapshotData;
pub use files::{Incoming, SnapshotFiles};
