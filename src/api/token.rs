//! Tokens: what a log-in gives, and every node of the cluster accepts.
//!
//! JSON Web Tokens (RFC 7519) signed with HMAC-SHA256 under a key that is derived from the
//! cluster's secret. Only the one header that is written here is accepted, so no token chooses
//! its own algorithm. A token holds until it expires; taking a role away works after that.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tandem_center::{AgentId, Millis};
use thiserror::Error;

use super::words::Role;

/// `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What the key is for, so that no other use of the secret has the same key.
const PURPOSE: &[u8] = b"tandem api token 1";

/// Bytes of a token. A longer one is refused before anything is computed.
const TOKEN_BYTES_MAX: usize = 1024;

/// The key that signs tokens.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// Who a token is of, and until when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The name.
    #[serde(rename = "sub")]
    pub agent: String,
    /// What the person may do.
    pub role: Role,
    /// Until when, in seconds of Unix time.
    #[serde(rename = "exp")]
    pub expires: u64,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not signed by this cluster.
    #[error("the token is not of this cluster")]
    Wrong,
    /// It held until lately.
    #[error("the token has expired")]
    Expired,
}

impl TokenKey {
    /// The key of a cluster.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(mac(secret, PURPOSE).finalize().into_bytes().into())
    }

    /// A key of this process alone: tokens end with it.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::rng().random())
    }

    /// A token for `agent`.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("claims are text and numbers");
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = mac(&self.0, signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Who the token is of, if it is genuine and holds at `now`.
    pub fn verify(&self, token: &str, now: Millis) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Wrong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Wrong)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Wrong)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Wrong)?;
        mac(&self.0, signed.as_bytes()).verify_slice(&signature).map_err(|_| TokenError::Wrong)?;
        if header != HEADER {
            return Err(TokenError::Wrong);
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError::Wrong)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError::Wrong)?;
        if claims.expires <= now.0 / 1000 {
            return Err(TokenError::Expired);
        }
        AgentId::parse(&claims.agent).map_err(|_| TokenError::Wrong)?;
        Ok(claims)
    }
}

impl Claims {
    /// The name as an id. [`TokenKey::verify`] has checked it.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        AgentId::parse(&self.agent).expect("verified claims hold a valid name")
    }
}

fn mac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims { agent: "ana".to_owned(), role: Role::Supervisor, expires: 1_000 }
    }

    #[test]
    fn a_token_holds_on_every_node_of_the_cluster_until_it_expires() {
        let token = TokenKey::from_secret(b"secret of the cluster").sign(&claims());
        let other_node = TokenKey::from_secret(b"secret of the cluster");
        assert_eq!(other_node.verify(&token, Millis(999_999)), Ok(claims()));
        assert_eq!(other_node.verify(&token, Millis(1_000_000)), Err(TokenError::Expired));
        let other_cluster = TokenKey::from_secret(b"secret of another");
        assert_eq!(other_cluster.verify(&token, Millis(0)), Err(TokenError::Wrong));
    }

    #[test]
    fn a_changed_token_is_refused() {
        let key = TokenKey::random();
        let token = key.sign(&claims());
        for position in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character carries two bits that base64 does not use; strict decoding
            // refuses them, too.
            assert_eq!(key.verify(&changed, Millis(0)), Err(TokenError::Wrong), "{position}");
        }
        for wrong in ["", ".", "..", "a.b.c", &"x".repeat(5_000)] {
            assert_eq!(key.verify(wrong, Millis(0)), Err(TokenError::Wrong));
        }
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        let key = TokenKey::random();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).unwrap());
        assert_eq!(key.verify(&format!("{none}.{claims}."), Millis(0)), Err(TokenError::Wrong));
    }
}
