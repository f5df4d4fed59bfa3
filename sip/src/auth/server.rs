//! The server's side: challenges, and who a request is from (RFC 3261 §22.2, RFC 7616 §3.4.6).
//!
//! A nonce carries its time and is signed with the server's key, so that any node with the key
//! knows it as its own, and nothing is remembered of challenges that nobody answers. Remembered
//! is only how far the count of an answered nonce has come.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    Algorithm, Secret,
    digest::{Over, hex, is_same},
    fields::{Fields, quoted},
};
use crate::wire::{HeaderName, Request, Response, Uri};

/// How long a nonce serves, in seconds. Longer leaves a captured answer more time where its
/// count is not remembered; shorter costs each client one more round trip a period.
pub const NONCE_SECONDS: u64 = 300;

/// The most nonces whose counts are remembered. When it is full, the oldest is forgotten and
/// with it all that are as old: their next use is answered as stale, which costs the client a
/// round trip and gives a replay nothing.
pub const NONCES_MAX: usize = 16_384;

/// Hexadecimal digits of a nonce's time in milliseconds.
const TIME_DIGITS: usize = 12;

/// Bytes of the signature that are sent: 128 bits.
const SIGNATURE_BYTES: usize = 16;

/// Challenges and verifies for one realm.
#[derive(Debug)]
pub struct Authenticator {
    realm: String,
    key: Key,
    algorithms: Vec<Algorithm>,
    /// The highest count that was used, by nonce; nonces sort by their time.
    used: BTreeMap<String, u32>,
    /// Nonces of this time or before are stale, whatever their lifetime.
    forgotten_ms: u64,
    /// [`NONCES_MAX`], fewer in tests.
    pub(super) room: usize,
}

struct Key(Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// Why a request is not known to be from anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// No credentials for our realm that we could read: challenge.
    #[error("no credentials for the realm")]
    NoCredentials,
    /// Right, but the nonce is old, or its count was used: challenge with `stale=true`, and the
    /// client asks its user nothing.
    #[error("stale nonce")]
    Stale,
    /// User or password are wrong: challenge.
    #[error("wrong user or password")]
    Wrong,
    /// The credentials are for another Request-URI: 400 (RFC 7616 §3.4.6).
    #[error("credentials for another Request-URI")]
    OtherUri,
}

impl Authenticator {
    /// `key` signs nonces: the same on all nodes that should know each other's.
    pub fn new(realm: &str, key: &[u8]) -> Self {
        Self {
            realm: realm.to_owned(),
            key: Key(key.to_vec()),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            used: BTreeMap::new(),
            forgotten_ms: 0,
            room: NONCES_MAX,
        }
    }

    /// The same with these algorithms only.
    pub fn with_algorithms(self, algorithms: &[Algorithm]) -> Self {
        Self { algorithms: algorithms.to_vec(), ..self }
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The values of WWW-Authenticate, one an algorithm, the strongest first (RFC 8760 §2.4).
    pub fn challenges(&self, now_ms: u64, stale: bool) -> Vec<String> {
        let (realm, nonce) = (quoted(&self.realm), self.nonce(now_ms));
        let stale = if stale { ", stale=true" } else { "" };
        let mut algorithms = self.algorithms.clone();
        algorithms.sort_unstable_by(|one, two| two.cmp(one));
        let challenge = |algorithm: &Algorithm| {
            let name = algorithm.as_str();
            format!(
                "Digest realm={realm}, nonce=\"{nonce}\", qop=\"auth\", algorithm={name}{stale}"
            )
        };
        algorithms.iter().map(challenge).collect()
    }

    /// The answer to who was denied: 401 with challenges, or 400.
    pub fn deny(&self, request: &Request, denied: Denied, now_ms: u64, to_tag: &str) -> Response {
        let stale = match denied {
            Denied::OtherUri => return Response::to_request(request, 400, Some(to_tag)).build(),
            Denied::Stale => true,
            Denied::NoCredentials | Denied::Wrong => false,
        };
        let start = Response::to_request(request, 401, Some(to_tag));
        let challenges = self.challenges(now_ms, stale);
        challenges
            .iter()
            .fold(start, |builder, value| builder.header(HeaderName::WwwAuthenticate, value))
            .build()
    }

    /// Says whose request it is. `secret_of` knows the users. Call it once a transaction: its
    /// count is used then, and the retransmission of a request would be a replay.
    pub fn verify(
        &mut self,
        request: &Request,
        now_ms: u64,
        secret_of: impl FnOnce(&str) -> Option<Secret>,
    ) -> Result<String, Denied> {
        let given = self.credentials(request).ok_or(Denied::NoCredentials)?;
        let field = |name| given.get(name).unwrap_or_default();
        let (username, nonce, uri) = (field("username"), field("nonce"), field("uri"));
        let algorithm = Algorithm::from_field(given.get("algorithm"))
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or(Denied::NoCredentials)?;
        let count = count(field("nc")).ok_or(Denied::NoCredentials)?;
        let ha1 = secret_of(username)
            .and_then(|secret| secret.ha1(algorithm, username, &self.realm))
            .ok_or(Denied::Wrong)?;
        let counted = Some((field("nc"), field("cnonce")));
        let method = request.method().as_str();
        let over = Over { algorithm, nonce, method, uri, counted };
        if !is_same(&over.response(&ha1), &field("response").to_ascii_lowercase()) {
            return Err(Denied::Wrong);
        }
        if !is_uri_of(request, uri) {
            return Err(Denied::OtherUri);
        }
        self.use_count(nonce, count, now_ms)?;
        Ok(username.to_owned())
    }

    /// The credentials for our realm; a request may have others (RFC 3261 §22.3). Without
    /// `qop=auth`, which we always ask for, they have no count and could be replayed.
    fn credentials(&self, request: &Request) -> Option<Fields> {
        request.lines_of(HeaderName::Authorization).filter_map(Fields::parse).find(|fields| {
            fields.get("realm") == Some(self.realm.as_str()) && fields.get("qop") == Some("auth")
        })
    }

    /// Uses up a nonce's count, which must be higher than those before (RFC 7616 §3.4).
    fn use_count(&mut self, nonce: &str, count: u32, now_ms: u64) -> Result<(), Denied> {
        let issued_ms = self.issued_ms(nonce).ok_or(Denied::Stale)?;
        let age_ms = now_ms.saturating_sub(issued_ms);
        if age_ms > NONCE_SECONDS * 1_000 || issued_ms <= self.forgotten_ms {
            return Err(Denied::Stale);
        }
        match self.used.get_mut(nonce) {
            Some(highest) if *highest >= count => Err(Denied::Stale),
            Some(highest) => {
                *highest = count;
                Ok(())
            }
            None => {
                self.forget(now_ms);
                self.used.insert(nonce.to_owned(), count);
                Ok(())
            }
        }
    }

    /// Makes room: what has expired goes, and, if all are young, the oldest.
    fn forget(&mut self, now_ms: u64) {
        let expired_ms = now_ms.saturating_sub(NONCE_SECONDS * 1_000);
        let young = self.used.split_off(&time_digits(expired_ms));
        self.used = young;
        while self.used.len() >= self.room {
            let Some((oldest, _)) = self.used.pop_first() else { return };
            self.forgotten_ms = self.forgotten_ms.max(issued_ms(&oldest).unwrap_or(0));
        }
    }

    fn nonce(&self, now_ms: u64) -> String {
        let time = time_digits(now_ms);
        let signature = hex(&self.signer(&time).finalize().into_bytes()[..SIGNATURE_BYTES]);
        time + &signature
    }

    /// When a nonce of ours was made; none when it is not ours.
    fn issued_ms(&self, nonce: &str) -> Option<u64> {
        let issued_ms = issued_ms(nonce)?;
        is_same(&self.nonce(issued_ms), nonce).then_some(issued_ms)
    }

    fn signer(&self, time: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("a key of any length");
        mac.update(time.as_bytes());
        mac.update(self.realm.as_bytes());
        mac
    }
}

fn time_digits(ms: u64) -> String {
    format!("{:0TIME_DIGITS$x}", ms & ((1 << (4 * TIME_DIGITS)) - 1))
}

fn issued_ms(nonce: &str) -> Option<u64> {
    u64::from_str_radix(nonce.get(..TIME_DIGITS)?, 16).ok()
}

/// The count: eight hexadecimal digits, not zero.
fn count(field: &str) -> Option<u32> {
    let digits = (field.len() == 8 && field.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then_some(field)?;
    u32::from_str_radix(digits, 16).ok().filter(|count| *count > 0)
}

/// Whether the digest's URI is the request's, as RFC 3261 §19.1.4 compares.
fn is_uri_of(request: &Request, uri: &str) -> bool {
    uri == request.uri().as_str()
        || Uri::parse(uri.as_bytes()).is_ok_and(|uri| uri == request.uri())
}
