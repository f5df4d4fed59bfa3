//! The computation of a digest (RFC 7616 §3.4).

use std::fmt;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::Algorithm;

/// What the server knows of a user.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password in clear: serves every algorithm.
    Password(String),
    /// H(username:realm:password) by SHA-256 and by MD5, in lower-case hexadecimal, so that no
    /// password need be kept (RFC 7616 §5.13); an empty one is not known.
    Hashed {
        /// By SHA-256.
        sha256: String,
        /// By MD5.
        md5: String,
    },
}

/// Nothing of it is shown.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// H(A1).
    pub(super) fn ha1(&self, algorithm: Algorithm, username: &str, realm: &str) -> Option<String> {
        match (self, algorithm) {
            (Self::Password(password), _) => {
                Some(hash(algorithm, &[username.as_bytes(), realm.as_bytes(), password.as_bytes()]))
            }
            (Self::Hashed { sha256, .. }, Algorithm::Sha256) => Some(sha256.clone()),
            (Self::Hashed { md5, .. }, Algorithm::Md5) => Some(md5.clone()),
        }
        .filter(|ha1| !ha1.is_empty())
    }
}

/// What a digest is over, besides the secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) nonce: &'a str,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    /// Count and cnonce with `qop=auth`; none as RFC 2069 had it.
    pub(super) counted: Option<(&'a str, &'a str)>,
}

impl Over<'_> {
    /// The response (RFC 7616 §3.4.1).
    pub(super) fn response(&self, ha1: &str) -> String {
        let ha2 = hash(self.algorithm, &[self.method.as_bytes(), self.uri.as_bytes()]);
        let (ha1, nonce, ha2) = (ha1.as_bytes(), self.nonce.as_bytes(), ha2.as_bytes());
        match self.counted {
            Some((count, cnonce)) => hash(
                self.algorithm,
                &[ha1, nonce, count.as_bytes(), cnonce.as_bytes(), b"auth", ha2],
            ),
            None => hash(self.algorithm, &[ha1, nonce, ha2]),
        }
    }
}

/// The hash of the parts with colons between, in hexadecimal.
fn hash(algorithm: Algorithm, parts: &[&[u8]]) -> String {
    let text = parts.join(&b':');
    match algorithm {
        Algorithm::Md5 => hex(&Md5::digest(text)),
        Algorithm::Sha256 => hex(&Sha256::digest(text)),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether they are the same, in a time that does not tell where they differ.
pub(super) fn is_same(one: &str, two: &str) -> bool {
    let differences = one.bytes().zip(two.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == two.len() && differences == 0
}
