//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760).
//!
//! [`Authenticator`] is the server's side: it challenges and verifies, and what it must remember
//! (which counts of a nonce were used) is bounded. [`Challenge`] and [`respond`] are the
//! client's. Keys, times and cnonces are arguments: nothing here is random.
//!
//! Algorithms are SHA-256 and, for the many that know nothing else, MD5; the quality of
//! protection is always `auth`.

mod client;
mod digest;
mod fields;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use client::{Challenge, RespondError, Use, challenges, respond};
pub use digest::Secret;
pub use server::{Authenticator, Denied, NONCE_SECONDS, NONCES_MAX};

/// A digest's hash function. The order is by strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Algorithm {
    /// Broken for signatures, still the only one of many phones.
    Md5,
    /// RFC 8760.
    Sha256,
}

impl Algorithm {
    /// The name in a challenge.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Reads the name; without one it is MD5 (RFC 7616 §3.3).
    fn from_field(field: Option<&str>) -> Option<Self> {
        let Some(name) = field else { return Some(Self::Md5) };
        [Self::Md5, Self::Sha256].into_iter().find(|own| own.as_str().eq_ignore_ascii_case(name))
    }
}

/// A user name and a password, for requests that are challenged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// As the other side's realm knows it.
    pub username: String,
    /// In clear: a digest needs it for each realm and algorithm anew.
    pub password: String,
}

/// The password is not shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
