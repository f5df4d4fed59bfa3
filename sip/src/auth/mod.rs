//! Digest authentication: RFC 7616 and RFC 8760.

use std::fmt;

use serde::{Deserialize, Serialize};

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
