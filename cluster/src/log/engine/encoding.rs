//! What the log writes beside its entries, as bytes; and what raft-engine's errors mean to us.

use super::GROUP;
use crate::entry::Index;
use crate::log::{LogError, Membership};
use crate::snapshot::SnapshotData;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, Snapshot};
use raft_engine::LogBatch;

pub(super) fn put(batch: &mut LogBatch, key: &[u8], value: Vec<u8>) -> Result<(), LogError> {
    batch.put(GROUP, key.to_vec(), value).map_err(broken)
}

/// What the log notes of a snapshot; its state is a file.
pub(super) fn without_state(snapshot: &Snapshot) -> Result<Snapshot, LogError> {
    let data = SnapshotData { state: Vec::new(), ..SnapshotData::decode(&snapshot.data)? };
    Ok(Snapshot { data: data.encode().into(), ..snapshot.clone() })
}

pub(super) fn encode_before((index, term): (Index, u64)) -> Vec<u8> {
    [index.to_le_bytes(), term.to_le_bytes()].concat()
}

pub(super) fn decode_before(bytes: &[u8]) -> Result<(Index, u64), LogError> {
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    word(0).zip(word(8)).ok_or_else(|| corrupt("its first index is cut"))
}

pub(super) fn encode_membership(membership: &Membership) -> Result<Vec<u8>, LogError> {
    // The head of a snapshot says the same: addresses, and members as Raft encodes them.
    let conf_state = membership.conf_state.write_to_bytes().map_err(corrupt)?;
    let data = SnapshotData {
        at: membership.index,
        addresses: membership.addresses.clone(),
        state: conf_state,
    };
    Ok(data.encode())
}

pub(super) fn decode_membership(bytes: &[u8]) -> Result<Membership, LogError> {
    let data = SnapshotData::decode(bytes)?;
    let conf_state = ConfState::parse_from_bytes(&data.state).map_err(corrupt)?;
    Ok(Membership { index: data.at, conf_state, addresses: data.addresses })
}

pub(super) fn corrupt(why: impl std::fmt::Display) -> LogError {
    LogError::Corrupt(why.to_string())
}

pub(super) fn broken(error: raft_engine::Error) -> LogError {
    match error {
        raft_engine::Error::Io(error) => LogError::Disk(error.to_string()),
        raft_engine::Error::Full
        | raft_engine::Error::TryAgain(_)
        | raft_engine::Error::Other(_) => LogError::Disk(error.to_string()),
        raft_engine::Error::Corruption(_)
        | raft_engine::Error::InvalidArgument(_)
        | raft_engine::Error::Codec(_)
        | raft_engine::Error::Protobuf(_)
        | raft_engine::Error::EntryCompacted
        | raft_engine::Error::EntryNotFound => LogError::Corrupt(error.to_string()),
    }
}
