//! Addresses with a display name and parameters: From, To, Contact, Route (RFC 3261 §20.10).
//!
//! Either `"name" <uri>;params` or `uri;params`; in the second form everything behind the first
//! `;` belongs to the header, and `?` and `,` are not allowed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    Params, Uri,
    scan::{Span, VALUE_BYTES_MAX, quoted_end, trimmed},
    uri::Parts,
};

/// An address: a URI, perhaps a display name, perhaps parameters.
#[derive(Clone)]
pub struct NameAddr {
    text: Box<[u8]>,
    spans: AddrSpans,
}

/// The text is no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an address")]
pub struct NameAddrError;

/// Where an address' parts are in its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddrSpans {
    display: Span,
    uri: Span,
    uri_parts: Parts,
    params: Span,
}

impl NameAddr {
    /// Reads one address.
    pub fn parse(text: &[u8]) -> Result<Self, NameAddrError> {
        let spans = AddrSpans::parse(text).ok_or(NameAddrError)?;
        Ok(Self { text: text.into(), spans })
    }

    /// An address whose parts were found before.
    pub(super) fn from_spans(text: &[u8], spans: AddrSpans) -> Self {
        Self { text: text.into(), spans }
    }

    /// `<uri>`.
    pub fn new(uri: &Uri) -> Self {
        let text = format!("<{uri}>");
        Self::built(text.into_bytes())
    }

    /// `"name" <uri>`. Quotes and backslashes are escaped, controls are left out.
    pub fn with_display(&self, name: &str) -> Self {
        let mut text = vec![b'"'];
        for character in name.chars().filter(|character| !character.is_control()) {
            if matches!(character, '"' | '\\') {
                text.push(b'\\');
            }
            text.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        text.extend(b"\" <");
        text.extend(self.spans.uri.of(&self.text));
        text.push(b'>');
        text.extend(self.spans.params.of(&self.text));
        Self::built(text)
    }

    /// The same with a parameter more, or with another value for it. `name` is a token, `value`
    /// is one, too, or a quoted string; with anything else nothing changes.
    pub fn with_param(&self, name: &str, value: &str) -> Self {
        let mut text = self.text[..self.spans.params.range().start].to_vec();
        for (other, its) in self.params().filter(|(other, _)| !other.eq_ignore_ascii_case(name)) {
            text.push(b';');
            text.extend(other.as_bytes());
            if let Some(its) = its {
                text.push(b'=');
                text.extend(its);
            }
        }
        text.extend(format!(";{name}={value}").into_bytes());
        Self::parse(&text).unwrap_or_else(|_| self.clone())
    }

    /// The same with this tag (RFC 3261 §19.3).
    pub fn with_tag(&self, tag: &str) -> Self {
        self.with_param("tag", tag)
    }

    fn built(text: Vec<u8>) -> Self {
        let spans =
            AddrSpans::parse(&text).expect("a URI in <> behind a quoted string is an address");
        Self { text: text.into(), spans }
    }

    /// The whole, as it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The display name as it came, with its quotes; none when there is none.
    pub fn display_raw(&self) -> Option<&[u8]> {
        (!self.spans.display.is_empty()).then(|| self.spans.display.of(&self.text))
    }

    /// The display name without quotes and escapes. Bytes that are not UTF-8 are replaced.
    pub fn display(&self) -> Option<String> {
        let raw = self.display_raw()?;
        let Some(inner) = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
            return Some(String::from_utf8_lossy(raw).into_owned());
        };
        let mut out = Vec::with_capacity(inner.len());
        let mut bytes = inner.iter();
        while let Some(&byte) = bytes.next() {
            out.push(if byte == b'\\' { *bytes.next().unwrap_or(&b'\\') } else { byte });
        }
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    /// The URI.
    pub fn uri(&self) -> Uri {
        Uri::from_parts(self.spans.uri.of(&self.text), self.spans.uri_parts)
    }

    /// The parameters behind the URI, which are not the URI's.
    pub fn params(&self) -> Params<'_> {
        Params::of(self.spans.params.of(&self.text))
    }

    /// The value of a parameter; empty when it has none.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().get(name)
    }

    /// The tag (RFC 3261 §19.3).
    pub fn tag(&self) -> Option<&str> {
        self.param("tag")
    }
}

impl AddrSpans {
    /// Finds the parts of an address that is the whole text.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > VALUE_BYTES_MAX {
            return None;
        }
        let start = trimmed(text, 0..text.len()).start;
        let name_end = match text.get(start)? {
            b'"' => quoted_end(text, start)?,
            _ => start,
        };
        let open = text[name_end..].iter().position(|&byte| byte == b'<').map(|at| name_end + at);
        match open {
            Some(open) => Self::bracketed(text, start, name_end, open),
            None if name_end == start => Self::bare(text, start),
            None => None,
        }
    }

    /// `name <uri>;params`. The name is what the grammar calls a quoted string or tokens; bare
    /// words are taken liberally (RFC 4475 §3.1.2.15), since many send names of their own
    /// alphabet without quotes.
    fn bracketed(text: &[u8], start: usize, name_end: usize, open: usize) -> Option<Self> {
        let between = trimmed(text, name_end..open);
        let quoted = name_end > start;
        let is_name = |byte: &u8| *byte != b'"' && (!byte.is_ascii_control() || *byte == b'\t');
        if quoted && !between.is_empty() || !quoted && !text[between.clone()].iter().all(is_name) {
            return None;
        }
        let close = open + text[open..].iter().position(|&byte| byte == b'>')?;
        let params = close + 1..text.len();
        let uri_parts = Parts::parse(&text[open + 1..close])?;
        if !Params::are_well_formed(&text[params.clone()]) {
            return None;
        }
        let display = if quoted { start..name_end } else { between };
        Some(Self {
            display: Span::new(display.start, display.end),
            uri: Span::new(open + 1, close),
            uri_parts,
            params: Span::new(params.start, params.end),
        })
    }

    fn bare(text: &[u8], start: usize) -> Option<Self> {
        let end =
            text[start..].iter().position(|&byte| byte == b';').map_or(text.len(), |at| start + at);
        let uri = trimmed(text, start..end);
        if text[uri.clone()].iter().any(|byte| matches!(byte, b'?' | b',')) {
            return None;
        }
        let uri_parts = Parts::parse(&text[uri.clone()])?;
        if !Params::are_well_formed(&text[end..]) {
            return None;
        }
        Some(Self {
            display: Span::default(),
            uri: Span::new(uri.start, uri.end),
            uri_parts,
            params: Span::new(end, text.len()),
        })
    }

    /// The tag in the text that these are spans of.
    pub(super) fn tag<'a>(&self, text: &'a [u8]) -> Option<&'a str> {
        Params::of(self.params.of(text)).get("tag")
    }
}

/// Equal as written. For RFC 3261 §19.1.4 compare the URIs.
impl PartialEq for NameAddr {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NameAddr {}

impl FromStr for NameAddr {
    type Err = NameAddrError;

    fn from_str(text: &str) -> Result<Self, NameAddrError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl fmt::Debug for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameAddr({self})")
    }
}

impl Serialize for NameAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.text)
    }
}

impl<'de> Deserialize<'de> for NameAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Vec::<u8>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}
