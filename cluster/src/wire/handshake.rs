//! The handshake: both sides prove that they know the cluster's secret, without saying it.
//!
//! ```text
//! dialer                                acceptor
//!   hello  version, from, to, purpose, nonce  ─▶
//!   ◀─  answer  version, nonce, HMAC(secret, "acceptor", hello, nonce)
//!   proof  HMAC(secret, "dialer", hello, both nonces)  ─▶
//! ```
//!
//! A proof is good for one connection and one direction: both nonces and both ids are in it.
//! What follows is not encrypted; that is the business of TLS, which goes around it.

use crate::entry::NodeId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const MAGIC: &[u8; 8] = b"tandem\0\x01";
const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
const HELLO_BYTES: usize = 8 + 8 + 8 + 1 + NONCE_BYTES;
const ANSWER_BYTES: usize = 8 + NONCE_BYTES + PROOF_BYTES;

/// What the members know and others do not.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Raft messages from the dialer.
    Messages,
    /// One snapshot from the dialer.
    Snapshot,
}

/// The dialer's side.
#[derive(Debug)]
pub struct Dialing {
    secret: Secret,
    hello: [u8; HELLO_BYTES],
}

/// The acceptor's side.
#[derive(Debug)]
pub struct Accepting {
    secret: Secret,
    node: NodeId,
    nonce: [u8; NONCE_BYTES],
    hello: [u8; HELLO_BYTES],
}

/// Why the peer is not talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Something else than a node, or of another version.
    #[error("the peer does not speak this protocol")]
    NotTandem,
    /// The dialer wants another node.
    #[error(
        "the peer wants node {wanted}, this is node {node}: check the addresses of the members"
    )]
    WrongNode { wanted: NodeId, node: NodeId },
    /// The peer has another secret.
    #[error(
        "the peer does not know the secret of this cluster, or one of the two was recovered without \
         the other: then move the other's data directory away, and let it join anew"
    )]
    WrongSecret,
    /// No random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl Secret {
    /// The secret in the configuration.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What the members know that were recovered, or joined since: those of before do not.
    #[must_use]
    pub fn since_recovery(mut self, code: &str) -> Self {
        self.0.extend_from_slice(b"\0recovery\0");
        self.0.extend_from_slice(code.as_bytes());
        self
    }

    pub(super) fn mac(&self, role: &[u8], hello: &[u8], nonce: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in [role, hello, nonce] {
            mac.update(part);
        }
        mac
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

fn nonce() -> Result<[u8; NONCE_BYTES], HandshakeError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| HandshakeError::NoRandom)?;
    Ok(nonce)
}

impl Dialing {
    /// Bytes that the acceptor answers with.
    pub const ANSWER_BYTES: usize = ANSWER_BYTES;

    /// Begins; `hello` is to be sent.
    pub fn new(
        secret: Secret,
        from: NodeId,
        to: NodeId,
        purpose: Purpose,
    ) -> Result<Self, HandshakeError> {
        let mut hello = [0; HELLO_BYTES];
        hello[..8].copy_from_slice(MAGIC);
        hello[8..16].copy_from_slice(&from.to_le_bytes());
        hello[16..24].copy_from_slice(&to.to_le_bytes());
        hello[24] = match purpose {
            Purpose::Messages => 1,
            Purpose::Snapshot => 2,
        };
        hello[25..].copy_from_slice(&nonce()?);
        Ok(Self { secret, hello })
    }

    /// The first bytes to send.
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// Checks the answer; the result is to be sent, and the connection is good.
    pub fn prove(&self, answer: &[u8; ANSWER_BYTES]) -> Result<Vec<u8>, HandshakeError> {
        if answer[..8] != *MAGIC {
            return Err(HandshakeError::NotTandem);
        }
        let (nonce, proof) = answer[8..].split_at(NONCE_BYTES);
        let expected = self.secret.mac(b"acceptor", &self.hello, nonce);
        expected.verify_slice(proof).map_err(|_| HandshakeError::WrongSecret)?;
        Ok(self.secret.mac(b"dialer", &self.hello, nonce).finalize().into_bytes().to_vec())
    }
}

impl Accepting {
    /// Bytes that the dialer begins with.
    pub const HELLO_BYTES: usize = HELLO_BYTES;

    /// Bytes of its proof.
    pub const PROOF_BYTES: usize = PROOF_BYTES;

    /// A connection to `node` came in and said this.
    pub fn new(
        secret: Secret,
        node: NodeId,
        hello: [u8; HELLO_BYTES],
    ) -> Result<Self, HandshakeError> {
        let accepting = Self { secret, node, nonce: nonce()?, hello };
        if hello[..8] != *MAGIC || accepting.purpose().is_none() {
            return Err(HandshakeError::NotTandem);
        }
        let wanted = accepting.word(16);
        if wanted != node {
            return Err(HandshakeError::WrongNode { wanted, node });
        }
        Ok(accepting)
    }

    /// The bytes to answer with.
    pub fn answer(&self) -> Vec<u8> {
        let proof = self.secret.mac(b"acceptor", &self.hello, &self.nonce).finalize().into_bytes();
        [MAGIC.as_slice(), &self.nonce, &proof].concat()
    }

    /// Checks the dialer's proof: who it is and what it wants.
    pub fn check(&self, proof: &[u8]) -> Result<(NodeId, Purpose), HandshakeError> {
        let expected = self.secret.mac(b"dialer", &self.hello, &self.nonce);
        expected.verify_slice(proof).map_err(|_| HandshakeError::WrongSecret)?;
        let purpose = self.purpose().ok_or(HandshakeError::NotTandem)?;
        Ok((self.word(8), purpose))
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The node that the dialer says it is; not proven before [`Self::check`].
    pub fn from(&self) -> NodeId {
        self.word(8)
    }

    fn purpose(&self) -> Option<Purpose> {
        match self.hello[24] {
            1 => Some(Purpose::Messages),
            2 => Some(Purpose::Snapshot),
            _ => None,
        }
    }

    fn word(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.hello[at..at + 8]);
        u64::from_le_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn shake(
        dialer: &str,
        acceptor: &str,
        to: NodeId,
    ) -> Result<(NodeId, Purpose), HandshakeError> {
        let dialing = Dialing::new(secret(dialer), 1, to, Purpose::Snapshot)?;
        let hello = dialing.hello().try_into().unwrap();
        let accepting = Accepting::new(secret(acceptor), 2, hello)?;
        let proof = dialing.prove(accepting.answer().as_slice().try_into().unwrap())?;
        accepting.check(&proof)
    }

    #[test]
    fn members_recognise_each_other() {
        assert_eq!(shake("s", "s", 2), Ok((1, Purpose::Snapshot)));
    }

    #[test]
    fn another_secret_or_another_node_is_refused() {
        assert_eq!(shake("s", "t", 2), Err(HandshakeError::WrongSecret));
        let wrong = HandshakeError::WrongNode { wanted: 3, node: 2 };
        assert_eq!(shake("s", "s", 3), Err(wrong));
    }

    #[test]
    fn an_acceptor_that_does_not_know_the_secret_learns_no_proof() {
        let dialing = Dialing::new(secret("s"), 1, 2, Purpose::Messages).unwrap();
        let mut answer = [0; ANSWER_BYTES];
        assert_eq!(dialing.prove(&answer), Err(HandshakeError::NotTandem));
        answer[..8].copy_from_slice(MAGIC);
        assert_eq!(dialing.prove(&answer), Err(HandshakeError::WrongSecret));
    }

    #[test]
    fn a_proof_is_good_once() {
        let dialing = Dialing::new(secret("s"), 1, 2, Purpose::Messages).unwrap();
        let hello: [u8; HELLO_BYTES] = dialing.hello().try_into().unwrap();
        let first = Accepting::new(secret("s"), 2, hello).unwrap();
        let proof = dialing.prove(first.answer().as_slice().try_into().unwrap()).unwrap();
        assert_eq!(first.check(&proof), Ok((1, Purpose::Messages)));
        let second = Accepting::new(secret("s"), 2, hello).unwrap();
        assert_eq!(second.check(&proof), Err(HandshakeError::WrongSecret));
    }
}
