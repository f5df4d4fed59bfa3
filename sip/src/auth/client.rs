//! The client's side: answers to 401 and 407 (RFC 3261 §22.2, §22.3, RFC 8760 §2.4).

use serde::{Deserialize, Serialize};

use super::{
    Algorithm, Credentials, Secret,
    digest::Over,
    fields::{Fields, quoted},
};
use crate::wire::{HeaderName, Method, Response, Uri};

/// The most challenges of a response that are read; the rest is not answered.
const CHALLENGES_MAX: usize = 16;

/// What a server asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// Whether it was a proxy (407).
    pub proxy: bool,
    /// Whose password.
    pub realm: String,
    /// The hash function.
    pub algorithm: Algorithm,
    /// The credentials were right, only the nonce was old: answer again, ask nobody.
    pub stale: bool,
    pub(super) nonce: String,
    pub(super) opaque: Option<String>,
    pub(super) counts: bool,
}

/// Which of the answers to one challenge (RFC 7616 §3.4).
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// Anything that was not used before.
    pub cnonce: &'a str,
    /// How many requests answered this challenge, this one included: 1, then 2 for the next
    /// request of a dialog, and so on.
    pub count: u32,
}

/// Why a challenge has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RespondError {
    /// Nothing that we could answer: another scheme, algorithm or quality of protection.
    #[error("no challenge that can be answered")]
    NoChallenge,
}

/// What a 401 or 407 asks for: one challenge a realm, the strongest that we know.
pub fn challenges(response: &Response) -> Vec<Challenge> {
    let mut chosen: Vec<Challenge> = Vec::new();
    let names = [(HeaderName::WwwAuthenticate, false), (HeaderName::ProxyAuthenticate, true)];
    for (name, proxy) in names {
        let read = response.lines_of(name).take(CHALLENGES_MAX);
        for challenge in read.filter_map(|value| Challenge::parse(value, proxy)) {
            let same =
                |other: &&mut Challenge| other.realm == challenge.realm && other.proxy == proxy;
            match chosen.iter_mut().find(same) {
                Some(other) if other.algorithm < challenge.algorithm => *other = challenge,
                Some(_) => (),
                None => chosen.push(challenge),
            }
        }
    }
    chosen
}

/// The header lines that answer a 401 or 407, for the same request sent again with a new branch
/// and CSeq. `cnonce` is anything that was not used before.
pub fn respond(
    response: &Response,
    credentials: &Credentials,
    method: &Method,
    uri: &Uri,
    cnonce: &str,
) -> Result<Vec<(HeaderName, String)>, RespondError> {
    let challenges = challenges(response);
    if challenges.is_empty() {
        return Err(RespondError::NoChallenge);
    }
    let answer = |challenge: &Challenge| {
        challenge.answer(credentials, method, uri, Use { cnonce, count: 1 })
    };
    Ok(challenges.iter().map(answer).collect())
}

impl Challenge {
    fn parse(value: &[u8], proxy: bool) -> Option<Self> {
        let fields = Fields::parse(value)?;
        let qop = fields.get("qop");
        let has_auth =
            |qop: &str| qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth"));
        // Asking for auth-int only cannot be answered.
        if qop.is_some_and(|qop| !has_auth(qop)) {
            return None;
        }
        Some(Self {
            proxy,
            realm: fields.get("realm")?.to_owned(),
            algorithm: Algorithm::from_field(fields.get("algorithm"))?,
            stale: fields.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            nonce: fields.get("nonce")?.to_owned(),
            opaque: fields.get("opaque").map(str::to_owned),
            counts: qop.is_some(),
        })
    }

    /// The header line that answers it.
    pub fn answer(
        &self,
        credentials: &Credentials,
        method: &Method,
        uri: &Uri,
        once: Use<'_>,
    ) -> (HeaderName, String) {
        let Credentials { username, password } = credentials;
        let Use { cnonce, count } = once;
        let nc = format!("{count:08x}");
        let over = Over {
            algorithm: self.algorithm,
            nonce: &self.nonce,
            method: method.as_str(),
            uri: uri.as_str(),
            counted: self.counts.then_some((&nc, cnonce)),
        };
        let secret = Secret::Password(password.clone());
        let ha1 = secret.ha1(self.algorithm, username, &self.realm).unwrap_or_default();
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\", algorithm={}",
            quoted(username),
            quoted(&self.realm),
            quoted(&self.nonce),
            quoted(uri.as_str()),
            over.response(&ha1),
            self.algorithm.as_str(),
        );
        if self.counts {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce={}", quoted(cnonce)));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque={}", quoted(opaque)));
        }
        let name =
            if self.proxy { HeaderName::ProxyAuthorization } else { HeaderName::Authorization };
        (name, value)
    }
}
