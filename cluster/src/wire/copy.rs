//! Batches of Raft messages as datagrams, with a proof that the sender knows the cluster's secret.
//!
//! The addressee and its process are in the proof, so that a datagram is good for one start of one
//! node; that it is taken once is the business of [`crate::copies`].

use super::Secret;
use super::frame::{put_message, take_messages};
use crate::copies::BatchId;
use crate::entry::NodeId;
use hmac::Mac;
use raft::eraftpb::Message;

/// The protocol and its version.
const MAGIC: &[u8; 8] = b"tandem\x03\x01";
const HEAD_BYTES: usize = 8 + 5 * 8;
/// HMAC-SHA-256, cut to 128 bits (RFC 2104 §5).
const PROOF_BYTES: usize = 16;

/// Bytes of a datagram. Above the network's MTU it goes in fragments, of which none may be lost.
pub const COPY_BYTES_MAX: usize = 8 * 1024;

/// Bytes of its messages, each with the four of its length.
pub const COPY_ROOM_BYTES: usize = COPY_BYTES_MAX - HEAD_BYTES - PROOF_BYTES;

/// What came as a datagram.
#[derive(Clone, Debug, PartialEq)]
pub struct Datagram {
    /// Who sent it.
    pub from: NodeId,
    /// The incarnation of the addressee that it is for.
    pub of: u64,
    /// Which batch it is.
    pub batch: BatchId,
    /// What it says.
    pub messages: Vec<Message>,
}

/// A batch to the process `of` of node `to` as a datagram. What is longer than
/// [`COPY_ROOM_BYTES`] is not read.
#[must_use]
pub fn seal(
    secret: &Secret,
    (from, to): (NodeId, NodeId),
    of: u64,
    batch: BatchId,
    messages: &[Message],
) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for word in [from, to, of, batch.incarnation, batch.number] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for message in messages {
        put_message(&mut bytes, message);
    }
    let proof = secret.mac(b"copy", &bytes, b"").finalize().into_bytes();
    bytes.extend_from_slice(&proof[..PROOF_BYTES]);
    bytes
}

/// Reads a datagram for `to`; `None` for what no member sent. Nothing is parsed before the proof
/// was checked.
#[must_use]
pub fn open(secret: &Secret, to: NodeId, bytes: &[u8]) -> Option<Datagram> {
    if bytes.len() > COPY_BYTES_MAX || !bytes.starts_with(MAGIC) {
        return None;
    }
    let (body, proof) = bytes.split_last_chunk::<PROOF_BYTES>()?;
    let (head, messages) = body.split_first_chunk::<HEAD_BYTES>()?;
    secret.mac(b"copy", body, b"").verify_truncated_left(proof).ok()?;
    let mut words = head[8..].chunks_exact(8).map(|word| {
        u64::from_le_bytes(word.try_into().expect("chunks of eight bytes have eight bytes"))
    });
    let mut next = || words.next().expect("the head has five words");
    let (from, addressee, of) = (next(), next(), next());
    let batch = BatchId { incarnation: next(), number: next() };
    if addressee != to {
        return None;
    }
    Some(Datagram { from, of, batch, messages: take_messages(messages)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copies::parts;
    use raft::eraftpb::Entry;

    const BATCH: BatchId = BatchId { incarnation: 7, number: 8 };

    fn secret() -> Secret {
        Secret::new(b"a secret that they share".to_vec())
    }

    fn messages(bytes: usize) -> Vec<Message> {
        let mut message = Message { from: 1, to: 2, term: 3, ..Message::default() };
        message.mut_entries().push(Entry { data: vec![9; bytes].into(), ..Entry::default() });
        vec![message, Message { from: 1, to: 2, ..Message::default() }]
    }

    #[test]
    fn a_copy_is_read_by_its_addressee_only() {
        let bytes = seal(&secret(), (1, 2), 6, BATCH, &messages(10));
        let copy = Datagram { from: 1, of: 6, batch: BATCH, messages: messages(10) };
        assert_eq!(open(&secret(), 2, &bytes), Some(copy));
        assert_eq!(open(&secret(), 3, &bytes), None);
        assert_eq!(open(&Secret::new(b"another".to_vec()), 2, &bytes), None);
    }

    #[test]
    fn a_copy_that_was_changed_anywhere_or_cut_is_not_read() {
        let whole = seal(&secret(), (1, 2), 6, BATCH, &messages(10));
        for byte in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1;
            assert_eq!(open(&secret(), 2, &bytes), None, "byte {byte}");
            assert_eq!(open(&secret(), 2, &whole[..byte]), None);
        }
        assert_eq!(open(&secret(), 2, &[&whole[..], b"x"].concat()), None);
    }

    #[test]
    fn what_fits_is_read_and_what_does_not_is_not() {
        let fits = |bytes: &usize| {
            parts(&messages(*bytes), COPY_ROOM_BYTES).is_some_and(|parts| parts.len() == 1)
        };
        let largest = (1..COPY_BYTES_MAX).rev().find(fits).unwrap();
        let sealed = |bytes| seal(&secret(), (1, 2), 6, BATCH, &messages(bytes));
        assert_eq!(sealed(largest).len(), COPY_BYTES_MAX);
        assert!(open(&secret(), 2, &sealed(largest)).is_some());
        assert_eq!(open(&secret(), 2, &sealed(largest + 1)), None);
    }

    #[test]
    fn a_beat_is_no_copy_and_a_copy_no_beat() {
        let beat = super::super::seal_beat(&secret(), 1, 2, &crate::presence::Beat::default());
        assert_eq!(open(&secret(), 2, &beat), None);
        let empty = seal(&secret(), (1, 2), 6, BATCH, &[]);
        assert_eq!(super::super::open_beat(&secret(), 2, &empty), None);
    }
}
