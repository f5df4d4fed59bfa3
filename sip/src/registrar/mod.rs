//! The registrar: at which contacts an address-of-record is (RFC 3261 §10.3).
//!
//! It keeps bindings and their expiry, in the order that RFC 3261 §10.3 says, all or nothing a
//! request. It does not authenticate: the caller has done that and says who it is
//! ([`crate::auth::Authenticator`]). Path (RFC 3327) is ignored: a binding remembers the hop that
//! it came through instead, which is where a request for it goes. Times are Unix milliseconds,
//! so that bindings can be taken to another machine ([`Registrar::export`]).

mod binding;
#[cfg(test)]
mod tests;
mod update;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use binding::Binding;

use crate::wire::{HeaderName, Peer, Request, Response, Uri};
use update::{Failure, Update};

/// The most contacts of one address-of-record: desk, mobile, browser and their forgotten
/// predecessors. One more is refused with 403.
pub const CONTACTS_MAX: usize = 10;

/// The longest Contact that is kept, in bytes; a longer one is refused with 400.
pub const CONTACT_BYTES_MAX: usize = 1_024;

/// What a registrar allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Domains that it is responsible for; empty is any. Others get 404.
    pub domains: Vec<String>,
    /// How long a binding lives where the phone does not say, in seconds (RFC 3261 §10.2).
    pub expires_usual_seconds: u32,
    /// The shortest life, in seconds: 423 below it. Below 30 s registrations cost more than
    /// calls; above 3,600 s RFC 3261 §10.3 does not allow a refusal.
    pub expires_min_seconds: u32,
    /// The longest life, in seconds; who asks for more gets this. A phone that vanished rings in
    /// vain for so long.
    pub expires_max_seconds: u32,
    /// The most addresses-of-record with bindings; a new one past it gets 503.
    pub addresses_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            expires_usual_seconds: 3_600,
            expires_min_seconds: 60,
            expires_max_seconds: 7_200,
            addresses_max: 100_000,
        }
    }
}

/// A registrar.
#[derive(Clone, Debug)]
pub struct Registrar {
    rules: Rules,
    bindings: BTreeMap<String, Vec<Binding>>,
    /// The next expiry of each address-of-record.
    expiries: BTreeSet<(u64, String)>,
}

/// Bindings of one address-of-record, to be kept or taken elsewhere.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// `user@host`.
    pub address: String,
    /// Its contacts.
    pub bindings: Vec<Binding>,
}

/// When, from where and by whom a REGISTER came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Unix milliseconds.
    pub now_ms: u64,
    /// The hop that it came through.
    pub peer: Peer,
    /// The authenticated user, who may change only the bindings of that name (403); none where
    /// anybody may register anything.
    pub user: Option<&'a str>,
    /// The tag of our answer.
    pub to_tag: &'a str,
}

/// How long a client should wait when there is no place for it, in seconds.
const RETRY_AFTER_SECONDS: &str = "30";

impl Registrar {
    /// Without bindings.
    pub fn new(rules: Rules) -> Self {
        Self { rules, bindings: BTreeMap::new(), expiries: BTreeSet::new() }
    }

    /// With bindings that were exported; what has expired since goes at the next time-out.
    pub fn restore(rules: Rules, registered: impl IntoIterator<Item = Registered>) -> Self {
        let mut registrar = Self::new(rules);
        for Registered { address, bindings } in registered {
            registrar.replace(address, bindings);
        }
        registrar
    }

    /// Answers a REGISTER.
    pub fn handle_register(&mut self, request: &Request, arrival: Arrival<'_>) -> Response {
        match self.register(request, arrival) {
            Ok(address) => self.ok(request, &address, arrival),
            Err(failure) => failure.response(request, arrival.to_tag),
        }
    }

    /// Forgets what has expired, and says whose: each address-of-record that lost a binding.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Vec<String> {
        let mut changed = Vec::new();
        while let Some((_, address)) =
            self.expiries.first().filter(|(at, _)| *at <= now_ms).cloned()
        {
            let mut left = self.bindings.remove(&address).unwrap_or_default();
            left.retain(|binding| binding.expires_at_ms > now_ms);
            self.expiries.pop_first();
            self.replace(address.clone(), left);
            changed.push(address);
        }
        changed
    }

    /// When the next binding expires, in Unix milliseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Where an address-of-record is now: the highest q first, then the latest.
    pub fn contacts_of(&self, address: &Uri, now_ms: u64) -> Vec<&Binding> {
        let bindings = address.address_of_record().and_then(|address| self.bindings.get(&address));
        let mut alive: Vec<&Binding> = bindings
            .into_iter()
            .flatten()
            .filter(|binding| binding.expires_at_ms > now_ms)
            .collect();
        alive.sort_by_key(|binding| {
            std::cmp::Reverse((binding.q_thousandths, binding.updated_at_ms))
        });
        alive
    }

    /// All bindings.
    pub fn export(&self) -> impl Iterator<Item = Registered> {
        self.bindings.iter().map(|(address, bindings)| Registered {
            address: address.clone(),
            bindings: bindings.clone(),
        })
    }

    /// The bindings of one address-of-record, as [`Registrar::handle_timeout`] names it.
    pub fn export_one(&self, address: &str) -> Option<Registered> {
        let bindings = self.bindings.get(address)?.clone();
        Some(Registered { address: address.to_owned(), bindings })
    }

    /// How many addresses-of-record have bindings.
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// RFC 3261 §10.3, steps 1 to 7.
    fn register(&mut self, request: &Request, arrival: Arrival<'_>) -> Result<String, Failure> {
        let to = request.to().uri();
        if !self.is_ours(&request.uri()) || !self.is_ours(&to) {
            return Err(Failure::NotFound);
        }
        let address = to.address_of_record().ok_or(Failure::NotFound)?;
        let user = address.split_once('@').map(|(user, _)| user);
        if arrival.user.is_some() && arrival.user != user {
            return Err(Failure::Forbidden);
        }
        let update = Update::read(request, &self.rules)?;
        let before = self.bindings.get(&address);
        if before.is_none() && update.adds() && self.bindings.len() >= self.rules.addresses_max {
            return Err(Failure::Full);
        }
        let bindings = before.cloned().unwrap_or_default();
        let bindings = update.apply(bindings, request, &arrival)?;
        self.replace(address.clone(), bindings);
        Ok(address)
    }

    fn is_ours(&self, uri: &Uri) -> bool {
        let domains = &self.rules.domains;
        domains.is_empty() || domains.iter().any(|own| own.eq_ignore_ascii_case(uri.host()))
    }

    /// Step 8: all bindings that there are now, with what is left of their lives.
    fn ok(&self, request: &Request, address: &str, arrival: Arrival<'_>) -> Response {
        let start = Response::to_request(request, 200, Some(arrival.to_tag));
        let bindings = self.bindings.get(address).map(Vec::as_slice).unwrap_or_default();
        bindings
            .iter()
            .filter(|binding| binding.expires_at_ms > arrival.now_ms)
            .fold(start, |builder, binding| {
                let seconds = (binding.expires_at_ms - arrival.now_ms).div_ceil(1_000);
                let contact = binding.contact.with_param("expires", &seconds.to_string());
                builder.header(HeaderName::Contact, contact.as_bytes())
            })
            .build()
    }

    fn replace(&mut self, address: String, bindings: Vec<Binding>) {
        let next =
            |bindings: &[Binding]| bindings.iter().map(|binding| binding.expires_at_ms).min();
        if let Some(at) = self.bindings.get(&address).and_then(|old| next(old)) {
            self.expiries.remove(&(at, address.clone()));
        }
        match next(&bindings) {
            Some(at) => {
                self.expiries.insert((at, address.clone()));
                self.bindings.insert(address, bindings);
            }
            None => drop(self.bindings.remove(&address)),
        }
    }
}

impl Failure {
    fn response(self, request: &Request, to_tag: &str) -> Response {
        let builder = Response::to_request(request, self.status(), Some(to_tag));
        match self {
            Self::TooBrief { min_seconds } => {
                builder.header(HeaderName::MinExpires, min_seconds.to_string())
            }
            Self::Full => builder.header(HeaderName::RetryAfter, RETRY_AFTER_SECONDS),
            Self::BadRequest | Self::NotFound | Self::Forbidden | Self::OutOfOrder => builder,
        }
        .build()
    }
}
