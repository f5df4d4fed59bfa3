//! Beats as datagrams: fixed length, with a proof that the sender knows the cluster's secret.
//!
//! The addressee is in the proof, so that a beat is good for one node. A repeated one is older
//! than what is known and is passed over by [`crate::presence`].

use super::Secret;
use crate::entry::NodeId;
use crate::presence::Beat;
use hmac::Mac;

/// The protocol and its version.
const MAGIC: &[u8; 8] = b"tandem\x02\x01";
const BODY_BYTES: usize = 8 + 9 * 8;
/// HMAC-SHA-256, cut to 128 bits (RFC 2104 §5).
const PROOF_BYTES: usize = 16;

/// Bytes of a datagram.
pub const BEAT_BYTES: usize = BODY_BYTES + PROOF_BYTES;

/// A beat from one node to another as a datagram.
#[must_use]
pub fn seal(secret: &Secret, from: NodeId, to: NodeId, beat: &Beat) -> [u8; BEAT_BYTES] {
    let mut bytes = [0; BEAT_BYTES];
    let Beat { incarnation, sent, echo, echo_of, term, leader, grants_ms } = *beat;
    bytes[..8].copy_from_slice(MAGIC);
    let words = [from, to, incarnation, sent, echo, echo_of, term, leader, grants_ms];
    for (place, word) in bytes[8..BODY_BYTES].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let (body, proof) = bytes.split_at_mut(BODY_BYTES);
    let whole = secret.mac(b"beat", body, b"").finalize().into_bytes();
    proof.copy_from_slice(&whole[..PROOF_BYTES]);
    bytes
}

/// Reads a datagram for `to`; `None` for what no member sent.
#[must_use]
pub fn open(secret: &Secret, to: NodeId, bytes: &[u8]) -> Option<(NodeId, Beat)> {
    let (body, proof) = bytes.split_at_checked(BODY_BYTES)?;
    if !body.starts_with(MAGIC) || proof.len() != PROOF_BYTES {
        return None;
    }
    secret.mac(b"beat", body, b"").verify_truncated_left(proof).ok()?;
    let mut words = body[8..].chunks_exact(8).map(|word| {
        u64::from_le_bytes(word.try_into().expect("chunks of eight bytes have eight bytes"))
    });
    let mut next = || words.next().expect("the body has nine words");
    let (from, addressee) = (next(), next());
    let beat = Beat {
        incarnation: next(),
        sent: next(),
        echo: next(),
        echo_of: next(),
        term: next(),
        leader: next(),
        grants_ms: next(),
    };
    (addressee == to).then_some((from, beat))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat() -> Beat {
        Beat { incarnation: 1, sent: 2, echo: 3, echo_of: 4, term: 5, leader: 6, grants_ms: 7 }
    }

    #[test]
    fn a_beat_is_read_by_its_addressee_only() {
        let secret = Secret::new(b"a secret that they share".to_vec());
        let bytes = seal(&secret, 1, 2, &beat());
        assert_eq!(open(&secret, 2, &bytes), Some((1, beat())));
        assert_eq!(open(&secret, 3, &bytes), None);
        assert_eq!(open(&Secret::new(b"another".to_vec()), 2, &bytes), None);
    }

    #[test]
    fn a_beat_that_was_changed_anywhere_or_cut_is_not_read() {
        let secret = Secret::new(b"a secret that they share".to_vec());
        let whole = seal(&secret, 1, 2, &beat());
        for byte in 0..BEAT_BYTES {
            let mut bytes = whole;
            bytes[byte] ^= 1;
            assert_eq!(open(&secret, 2, &bytes), None, "byte {byte}");
            assert_eq!(open(&secret, 2, &whole[..byte]), None);
        }
        assert_eq!(open(&secret, 2, &[&whole[..], b"x"].concat()), None);
    }
}
