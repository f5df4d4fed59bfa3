//! What a snapshot carries besides Raft's index, term and members.

use crate::entry::{Millis, NodeId};
use crate::log::LogError;
use std::collections::BTreeMap;

/// The `data` of a Raft snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotData {
    /// [`Committed::at`](crate::Committed::at) of the last entry that the state has applied.
    pub at: Millis,
    /// Where the members are, in the shell's own words.
    pub addresses: BTreeMap<NodeId, Vec<u8>>,
    /// The state; empty where it is in a file.
    pub state: Vec<u8>,
}

/// Version of the encoding below; the first byte.
const VERSION: u8 = 1;

impl SnapshotData {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.at.to_le_bytes());
        bytes.extend_from_slice(&(self.addresses.len() as u64).to_le_bytes());
        for (node, address) in &self.addresses {
            bytes.extend_from_slice(&node.to_le_bytes());
            bytes.extend_from_slice(&(address.len() as u64).to_le_bytes());
            bytes.extend_from_slice(address);
        }
        bytes.extend_from_slice(&self.state);
        bytes
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Self::decode_rest(rest)
                .ok_or_else(|| LogError::Corrupt("a snapshot's head is cut".to_owned())),
            Some((&version, _)) => Err(LogError::NewerSnapshot { version }),
            None => Err(LogError::Corrupt("a snapshot has no head".to_owned())),
        }
    }

    fn decode_rest(mut rest: &[u8]) -> Option<Self> {
        let at = take_word(&mut rest)?;
        let count = take_word(&mut rest)?;
        let mut addresses = BTreeMap::new();
        for _ in 0..count {
            let node = take_word(&mut rest)?;
            let length = usize::try_from(take_word(&mut rest)?).ok()?;
            let (address, tail) = rest.split_at_checked(length)?;
            addresses.insert(node, address.to_vec());
            rest = tail;
        }
        Some(Self { at, addresses, state: rest.to_vec() })
    }
}

fn take_word(rest: &mut &[u8]) -> Option<u64> {
    let (word, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_encoding_and_never_panics_when_cut() {
        let addresses = BTreeMap::from([(1, b"10.0.0.1:7000".to_vec()), (2, Vec::new())]);
        let data = SnapshotData { at: 7, addresses, state: b"state".to_vec() };
        let bytes = data.encode();
        assert_eq!(SnapshotData::decode(&bytes).unwrap(), data);
        for cut in 0..bytes.len() - b"state".len() {
            assert!(SnapshotData::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_newer_head_is_refused() {
        let refused = SnapshotData::decode(&[9, 0, 0]);
        assert!(matches!(refused, Err(LogError::NewerSnapshot { version: 9 })));
    }
}
