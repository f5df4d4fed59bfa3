//! When two URIs are the same (RFC 3261 §19.1.4).

use super::{
    Scheme, Uri,
    uri::{escape_at, unescaped},
};

/// Parameters that must be in both or in neither (RFC 3261 §19.1.4).
const PRESENCE_MATTERS: [&str; 4] = ["user", "ttl", "method", "maddr"];

/// As RFC 3261 §19.1.4 compares them. It is no equivalence: a parameter that one lacks does not
/// count, so `Uri` has no `Hash`.
impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        if !self.scheme_str().eq_ignore_ascii_case(other.scheme_str()) {
            return false;
        }
        match self.scheme() {
            Scheme::Other => self.as_str() == other.as_str(),
            Scheme::Tel => {
                same_number(self.user(), other.user())
                    && same_params(self, other, &["phone-context"])
            }
            Scheme::Sip | Scheme::Sips => {
                same_escaped(self.user(), other.user())
                    && same_escaped(self.password(), other.password())
                    && same_host(self, other)
                    && self.port() == other.port()
                    && same_params(self, other, &PRESENCE_MATTERS)
                    && same_headers(self, other)
            }
        }
    }
}

/// Visual separators do not count (RFC 3966 §5).
fn same_number(one: Option<&str>, two: Option<&str>) -> bool {
    let digits = |text: &str| -> String {
        text.chars().filter(|c| !"-.()".contains(*c)).map(|c| c.to_ascii_lowercase()).collect()
    };
    one.map(digits) == two.map(digits)
}

/// Case counts; an escape is the character it stands for, unless that would be syntax or cannot
/// be written otherwise.
fn same_escaped(one: Option<&str>, two: Option<&str>) -> bool {
    one.map(|text| normal(text.as_bytes())) == two.map(|text| normal(text.as_bytes()))
}

fn normal(text: &[u8]) -> Vec<u8> {
    const RESERVED: &[u8] = b"%;/?:@&=+$,";
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match escape_at(text, at) {
            Some(byte) if byte.is_ascii_graphic() && !RESERVED.contains(&byte) => {
                out.push(byte);
                at += 3;
            }
            Some(_) => {
                out.extend(text[at..at + 3].to_ascii_uppercase());
                at += 3;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// Addresses compare as addresses: IPv6 has many spellings (RFC 5118 §4.5).
fn same_host(one: &Uri, two: &Uri) -> bool {
    match (one.host_ip(), two.host_ip()) {
        (Some(one), Some(two)) => one == two,
        (None, None) => one.host().eq_ignore_ascii_case(two.host()),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn same_params(one: &Uri, two: &Uri, presence_matters: &[&str]) -> bool {
    let half = |one: &Uri, two: &Uri| {
        one.params().all(|(name, value)| match two.param(name) {
            Some(other) => same_value(value, other),
            None => !presence_matters.iter().any(|known| known.eq_ignore_ascii_case(name)),
        })
    };
    half(one, two) && half(two, one)
}

fn same_value(one: &str, two: &str) -> bool {
    unescaped(one.as_bytes()).eq_ignore_ascii_case(&unescaped(two.as_bytes()))
}

/// Headers must all be in both; their order does not count.
fn same_headers(one: &Uri, two: &Uri) -> bool {
    let half = |one: &Uri, two: &Uri| {
        one.headers().all(|(name, value)| {
            two.headers()
                .any(|(other, its)| name.eq_ignore_ascii_case(other) && same_value(value, its))
        })
    };
    half(one, two) && half(two, one)
}

impl Uri {
    /// `user@host` in one spelling of those that are the same: what an address-of-record is known
    /// by (RFC 3261 §10.3, step 5: parameters are no part of it, escapes are resolved). None for
    /// schemes other than `sip` and `sips`, and without a user.
    pub fn address_of_record(&self) -> Option<String> {
        match self.scheme() {
            Scheme::Sip | Scheme::Sips => (),
            Scheme::Tel | Scheme::Other => return None,
        }
        let user = String::from_utf8(normal(self.user()?.as_bytes())).ok()?;
        let host = match self.host_ip() {
            Some(ip) => ip.to_string(),
            None => self.host().to_ascii_lowercase(),
        };
        Some(format!("{user}@{host}"))
    }
}
