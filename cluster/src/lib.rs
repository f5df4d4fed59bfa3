//! Replication of bytes by Raft: driver, log, snapshots, applied state, records.
