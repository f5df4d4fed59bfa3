//! Replication of opaque bytes by Raft: what the members of a cluster agreed on, in which order,
//! and what of it survives a power cut.
//!
//! Knows nothing of calls. Has no socket, runtime or clock: [`Driver`] wraps raft-rs as a machine
//! whose outputs the shell performs in order; [`Log`] is its disk, durable ([`EngineLog`]) or
//! simulated ([`MemoryLog`]). Files are the exception: the durable stores of a node live here,
//! since what may be synced, compacted or thrown away when is one discipline
//! (`docs/cluster.md`).
//!
//! Read in this order: [`entry`] (what is in a log entry), [`driver`] (the machine), [`log`] (its
//! disk), [`store`] (the directory), [`snapshot`], [`cache`] (applied state), [`records`],
//! [`wire`] (frames, handshake and datagrams between nodes), [`presence`] (who is there, and who may
//! act), [`copies`] (messages that go both ways), [`replay`] (all of it, read again later),
//! [`shared`] (two machines over one directory), [`recovery`] (what is done when a majority is lost).

pub mod cache;
pub mod clock;
pub mod copies;
pub mod driver;
pub mod entry;
pub mod log;
pub mod presence;
pub mod records;
pub mod recovery;
pub mod replay;
pub mod shared;
pub mod snapshot;
pub mod store;
pub mod wire;

pub use driver::{
    Driver, MembershipChange, Options, Output, ProposeError, ReadId, Role, StartError, Status,
};
pub use entry::{Committed, Index, Millis, NodeId, ProposalId};
pub use log::{EngineLog, Log, LogError, Membership, MemoryLog, Write};
pub use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType, Snapshot};
pub use snapshot::SnapshotData;

pub use rusqlite;
pub use slog;
