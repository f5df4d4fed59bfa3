//! URIs (RFC 3261 §19.1, RFC 3966, RFC 5118): kept as text, with an index of their parts.
//!
//! Escapes are kept as they came: `%61` is another spelling of `a`, never syntax. Schemes that
//! are not understood keep everything behind the colon. Comparison is in `uri_equality`.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::scan::{Span, VALUE_BYTES_MAX, is_host_name, number};

/// What is known of a URI's scheme.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// RFC 3261 §19.1.
    Sip,
    /// RFC 3261 §19.1: secured on each hop.
    Sips,
    /// RFC 3966.
    Tel,
    /// Any other, kept.
    Other,
}

/// A URI.
#[derive(Clone)]
pub struct Uri {
    text: Box<str>,
    parts: Parts,
}

/// The text is no URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a URI")]
pub struct UriError;

/// Where a URI's parts are in its text. An absent part is an empty span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) scheme: Scheme,
    scheme_end: u16,
    user: Span,
    password: Span,
    host: Span,
    port: Option<u16>,
    params: Span,
    headers: Span,
}

impl Uri {
    /// Reads a URI.
    pub fn parse(text: &[u8]) -> Result<Self, UriError> {
        let parts = Parts::parse(text).ok_or(UriError)?;
        let text = std::str::from_utf8(text).map_err(|_| UriError)?;
        Ok(Self { text: text.into(), parts })
    }

    /// A URI whose parts were found before.
    pub(super) fn from_parts(text: &[u8], parts: Parts) -> Self {
        Self { text: std::str::from_utf8(text).unwrap_or_default().into(), parts }
    }

    /// `sip:user@host:port`. Characters of the user that would be syntax are escaped; an IPv6
    /// address gets its brackets.
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Self, UriError> {
        let mut text = String::from("sip:");
        if let Some(user) = user {
            escape_user(user, &mut text);
            text.push('@');
        }
        match host.parse() {
            Ok(IpAddr::V6(ip)) => text.push_str(&format!("[{ip}]")),
            Ok(IpAddr::V4(_)) | Err(_) => text.push_str(host),
        }
        if let Some(port) = port {
            text.push_str(&format!(":{port}"));
        }
        Self::parse(text.as_bytes())
    }

    /// The same with a parameter more: `;name` or `;name=value`.
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Result<Self, UriError> {
        let at = self.parts.params.range().end.max(self.parts.host.range().end);
        let at = if self.parts.params.is_empty() { self.params_at() } else { at };
        let mut text = String::from(&self.text[..at]);
        text.push(';');
        text.push_str(name);
        if let Some(value) = value {
            text.push('=');
            text.push_str(value);
        }
        text.push_str(&self.text[at..]);
        Self::parse(text.as_bytes())
    }

    /// The same without headers (`?…`), which a Request-URI may not have (RFC 3261 §19.1.1).
    pub fn without_headers(&self) -> Self {
        if self.parts.headers.is_empty() {
            return self.clone();
        }
        let end = self.parts.headers.range().start - 1;
        let parts = Parts { headers: Span::default(), ..self.parts };
        Self { text: self.text[..end].into(), parts }
    }

    /// Where parameters begin or would.
    fn params_at(&self) -> usize {
        match self.parts.headers.is_empty() {
            true => self.text.len(),
            false => self.parts.headers.range().start - 1,
        }
    }

    pub(super) fn parts(&self) -> Parts {
        self.parts
    }

    /// The whole, as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is known of the scheme.
    pub fn scheme(&self) -> Scheme {
        self.parts.scheme
    }

    /// The scheme as it came.
    pub fn scheme_str(&self) -> &str {
        &self.text[..usize::from(self.parts.scheme_end)]
    }

    /// The user with its escapes, or a `tel:` URI's number.
    pub fn user(&self) -> Option<&str> {
        let user = self.parts.user;
        (!user.is_empty()).then(|| user.text(self.text.as_bytes()))
    }

    /// The user with its escapes resolved; bytes, since `%ff` and `%00` are allowed.
    pub fn user_unescaped(&self) -> Option<Vec<u8>> {
        self.user().map(|user| unescaped(user.as_bytes()))
    }

    /// The password, which RFC 3261 §19.1.1 advises against.
    pub fn password(&self) -> Option<&str> {
        let password = self.parts.password;
        (!password.is_empty()).then(|| password.text(self.text.as_bytes()))
    }

    /// The host with an IPv6 address' brackets; empty for schemes without one.
    pub fn host(&self) -> &str {
        self.parts.host.text(self.text.as_bytes())
    }

    /// The host when it is an address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        self.host().trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The port, when one is given.
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// The value of a parameter; empty when it has none.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All parameters with their values, empty when they have none.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        let params = self.parts.params.text(self.text.as_bytes());
        params.split(';').filter(|param| !param.is_empty()).map(name_and_value)
    }

    /// All headers (`?name=value&…`), escaped as they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.parts.headers.text(self.text.as_bytes());
        headers.split('&').filter(|header| !header.is_empty()).map(name_and_value)
    }

    /// Whether there are headers.
    pub fn has_headers(&self) -> bool {
        !self.parts.headers.is_empty()
    }
}

fn name_and_value(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

impl Parts {
    pub(super) fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Finds the parts of a URI that is the whole text.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let colon = text.iter().position(|&byte| byte == b':')?;
        let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
        let fits = text.len() <= VALUE_BYTES_MAX && !rest.is_empty();
        if !fits || !is_scheme(scheme) || rest.iter().any(|&byte| is_never_in_a_uri(byte)) {
            return None;
        }
        if !text.is_ascii() && std::str::from_utf8(text).is_err() {
            return None;
        }
        let empty = Self {
            scheme: Scheme::Other,
            scheme_end: colon as u16,
            user: Span::default(),
            password: Span::default(),
            host: Span::default(),
            port: None,
            params: Span::default(),
            headers: Span::default(),
        };
        if scheme.eq_ignore_ascii_case(b"sip") {
            Self { scheme: Scheme::Sip, ..empty }.with_sip_parts(text, colon + 1)
        } else if scheme.eq_ignore_ascii_case(b"sips") {
            Self { scheme: Scheme::Sips, ..empty }.with_sip_parts(text, colon + 1)
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            Some(Self { scheme: Scheme::Tel, ..empty }.with_tel_parts(text, colon + 1))
        } else {
            Some(empty)
        }
    }

    /// `tel:number;params` (RFC 3966 §3).
    fn with_tel_parts(self, text: &[u8], start: usize) -> Self {
        let end = position(text, start, |byte| byte == b';');
        let params = Span::new((end + 1).min(text.len()), text.len());
        Self { user: Span::new(start, end), params, ..self }
    }

    /// `[user[:password]@]host[:port][;params][?headers]` (RFC 3261 §19.1.1).
    fn with_sip_parts(mut self, text: &[u8], start: usize) -> Option<Self> {
        // A user may contain `;`, `?` and `/`; only `@` ends it, which no later part may have.
        let host_start = match text[start..].iter().position(|&byte| byte == b'@') {
            None => start,
            Some(length) => {
                let end = start + length;
                let colon = position(&text[..end], start, |byte| byte == b':');
                self.user = Span::new(start, colon);
                self.password = Span::new((colon + 1).min(end), end);
                if self.user.is_empty() {
                    return None;
                }
                end + 1
            }
        };
        let host_end = match text.get(host_start) {
            Some(b'[') => position(text, host_start, |byte| byte == b']') + 1,
            _ => position(text, host_start, |byte| matches!(byte, b':' | b';' | b'?')),
        };
        let host = text.get(host_start..host_end)?;
        if !is_host(host) {
            return None;
        }
        self.host = Span::new(host_start, host_end);
        let mut at = host_end;
        if text.get(at) == Some(&b':') {
            let end = position(text, at, |byte| matches!(byte, b';' | b'?'));
            self.port = Some(number(&text[at + 1..end], u32::from(u16::MAX))? as u16);
            at = end;
        }
        let params_end = position(text, at, |byte| byte == b'?');
        match text.get(at) {
            None | Some(b'?') => (),
            Some(b';') => self.params = Span::new(at + 1, params_end),
            Some(_) => return None,
        }
        self.headers = Span::new((params_end + 1).min(text.len()), text.len());
        // `@` behind the host would let two readers see two hosts.
        (!text[host_start..].contains(&b'@')).then_some(self)
    }
}

/// Whether the bytes are a host: a name, an IPv4 address, or an IPv6 one in brackets.
pub(super) fn is_host(host: &[u8]) -> bool {
    match host {
        [b'[', inner @ .., b']'] => std::str::from_utf8(inner)
            .is_ok_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        _ => is_host_name(host),
    }
}

fn is_scheme(scheme: &[u8]) -> bool {
    let rest_is_good =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(rest_is_good)
}

fn is_never_in_a_uri(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, 0x7f | b'<' | b'>' | b'"')
}

fn position(text: &[u8], start: usize, what: impl Fn(u8) -> bool) -> usize {
    text[start..].iter().position(|&byte| what(byte)).map_or(text.len(), |at| start + at)
}

/// Escapes what may not stand in a user (RFC 3261 §25.1: unreserved, user-unreserved).
fn escape_user(user: &str, out: &mut String) {
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Resolves `%xx`. What is no escape stays.
pub(super) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match escape_at(text, at) {
            Some(byte) => {
                out.push(byte);
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

pub(super) fn escape_at(text: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = *text.get(at..at + 3)? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({})", self.text)
    }
}

impl Serialize for Uri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Uri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text.as_bytes()).map_err(D::Error::custom)
    }
}
