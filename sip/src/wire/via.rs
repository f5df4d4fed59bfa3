//! One Via value: a hop of a request, and the way back for its response (RFC 3261 §20.42).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    Params, Transport,
    scan::{Span, VALUE_BYTES_MAX, is_token, number, trim, trimmed},
    uri::is_host,
};

/// What branches of RFC 3261 begin with; others are from RFC 2543 and match by more (§17.2.3).
const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via.
#[derive(Clone)]
pub struct Via {
    text: Box<[u8]>,
    spans: ViaSpans,
}

/// The text is no Via.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a Via")]
pub struct ViaError;

/// Where a Via's parts are in its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaSpans {
    transport: Span,
    host: Span,
    port: Option<u16>,
    params: Span,
}

impl Via {
    /// Reads one Via.
    pub fn parse(text: &[u8]) -> Result<Self, ViaError> {
        let spans = ViaSpans::parse(text).ok_or(ViaError)?;
        Ok(Self { text: text.into(), spans })
    }

    pub(super) fn from_spans(text: &[u8], spans: ViaSpans) -> Self {
        Self { text: text.into(), spans }
    }

    /// A Via of ours, asking for the port that we are seen at (RFC 3581). `branch` is a token
    /// that begins with the magic cookie `z9hG4bK`.
    pub fn new(transport: Transport, sent_by: SocketAddr, branch: &str) -> Self {
        // Not as SocketAddr is written: that may have an IPv6 scope, which means nothing elsewhere.
        let host = SocketAddr::new(sent_by.ip(), sent_by.port());
        let text = format!("SIP/2.0/{} {host};rport;branch={branch}", transport.via_name());
        let spans = ViaSpans::parse(text.as_bytes()).expect("the branch is a token");
        Self { text: text.into_bytes().into(), spans }
    }

    /// The same with what the server saw: `received` where the sender named itself otherwise
    /// (RFC 3261 §18.2.1), and `rport` where it asked (RFC 3581 §4).
    pub fn with_source(&self, source: SocketAddr) -> Self {
        let asked = self.param("rport").is_some();
        if !asked && self.sent_by_ip() == Some(source.ip()) {
            return self.clone();
        }
        let mut text = trim(&self.text[..self.spans.params.range().start]).to_vec();
        for (name, value) in self.params() {
            let ours = ["rport", "received"].iter().any(|ours| name.eq_ignore_ascii_case(ours));
            if !ours {
                text.push(b';');
                text.extend(name.as_bytes());
                if let Some(value) = value {
                    text.push(b'=');
                    text.extend(value);
                }
            }
        }
        text.extend(format!(";received={}", source.ip()).into_bytes());
        if asked {
            text.extend(format!(";rport={}", source.port()).into_bytes());
        }
        Self::parse(&text).unwrap_or_else(|_| self.clone())
    }

    /// Where the response to a request that came from `source` goes (RFC 3261 §18.2.2, RFC 3581
    /// §4). `maddr` is not followed: it serves multicast, and would aim our answers at others.
    pub fn reply_address(&self, source: SocketAddr) -> SocketAddr {
        let unreliable = self.transport() == Some(Transport::Udp);
        if !unreliable || self.param("rport").is_some() {
            return source;
        }
        SocketAddr::new(source.ip(), self.port().unwrap_or(Transport::Udp.default_port()))
    }

    /// The whole, as it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The transport, if it is one that we speak.
    pub fn transport(&self) -> Option<Transport> {
        Transport::from_name(self.transport_name())
    }

    /// The transport as it came.
    pub fn transport_name(&self) -> &str {
        self.spans.transport.text(&self.text)
    }

    /// The host of sent-by, an IPv6 address with its brackets.
    pub fn host(&self) -> &str {
        self.spans.host.text(&self.text)
    }

    /// The port of sent-by, when one is given.
    pub fn port(&self) -> Option<u16> {
        self.spans.port
    }

    /// Sent-by as it came: the host, and the port when one is given.
    pub fn sent_by(&self) -> String {
        match self.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }

    /// Sent-by's host when it is an address. Some send IPv6 without brackets (RFC 5118 §4.5).
    pub fn sent_by_ip(&self) -> Option<IpAddr> {
        self.host().trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// All parameters.
    pub fn params(&self) -> Params<'_> {
        Params::of(self.spans.params.of(&self.text))
    }

    /// The value of a parameter; empty when it has none.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().get(name)
    }

    /// The branch.
    pub fn branch(&self) -> Option<&str> {
        self.param("branch")
    }

    /// Whether the branch identifies the transaction by itself (RFC 3261 §17.2.3): it has the
    /// magic cookie and something behind it.
    pub fn has_unique_branch(&self) -> bool {
        self.branch().is_some_and(is_unique)
    }

    /// `received`, brackets of IPv6 tolerated (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        self.param("received")?.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The value of `rport`, when a server filled it in.
    pub fn rport(&self) -> Option<u16> {
        number(self.param("rport")?.as_bytes(), u32::from(u16::MAX)).map(|port| port as u16)
    }
}

/// Whether a branch is RFC 3261's. Only the cookie is what badly made peers send; it would merge
/// all their requests into one.
pub(super) fn is_unique(branch: &str) -> bool {
    let cookie = branch.get(..MAGIC_COOKIE.len());
    cookie.is_some_and(|cookie| cookie.eq_ignore_ascii_case(MAGIC_COOKIE))
        && branch.len() > MAGIC_COOKIE.len()
}

impl ViaSpans {
    /// `SIP / 2.0 / transport host [: port] *(;param)`, white space allowed at each step.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > VALUE_BYTES_MAX {
            return None;
        }
        let mut slashes = text.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let (first, _) = slashes.next()?;
        let (second, _) = slashes.next()?;
        let protocol_is_sip = trim(&text[..first]).eq_ignore_ascii_case(b"SIP")
            && trim(&text[first + 1..second]) == b"2.0";
        let rest = trimmed(text, second + 1..text.len());
        let transport_end =
            rest.start + text[rest.clone()].iter().position(|&b| b == b' ' || b == b'\t')?;
        if !protocol_is_sip || !is_token(&text[rest.start..transport_end]) {
            return None;
        }
        let host_start = trimmed(text, transport_end..text.len()).start;
        let params_start = text[host_start..].iter().position(|&byte| byte == b';');
        let params_start = params_start.map_or(text.len(), |at| host_start + at);
        let sent_by = trimmed(text, host_start..params_start);
        let (host, port) = sent_by_parts(&text[sent_by.clone()])?;
        if !Params::are_well_formed(&text[params_start..]) {
            return None;
        }
        Some(Self {
            transport: Span::new(rest.start, transport_end),
            host: Span::new(sent_by.start, sent_by.start + host),
            port,
            params: Span::new(params_start, text.len()),
        })
    }

    /// The branch in the text that these are spans of.
    pub(super) fn branch<'a>(&self, text: &'a [u8]) -> Option<&'a str> {
        Params::of(self.params.of(text)).get("branch")
    }
}

/// How long the host is, and the port.
fn sent_by_parts(sent_by: &[u8]) -> Option<(usize, Option<u16>)> {
    let host_end = match sent_by.first()? {
        b'[' => sent_by.iter().position(|&byte| byte == b']')? + 1,
        _ => sent_by.iter().position(|&byte| byte == b':').unwrap_or(sent_by.len()),
    };
    let host = trim(&sent_by[..host_end]);
    if !is_host(host) {
        return None;
    }
    match trim(&sent_by[host_end..]) {
        [] => Some((host.len(), None)),
        [b':', port @ ..] => {
            Some((host.len(), Some(number(trim(port), u32::from(u16::MAX))? as u16)))
        }
        _ => None,
    }
}

/// Equal as written.
impl PartialEq for Via {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Via {}

impl FromStr for Via {
    type Err = ViaError;

    fn from_str(text: &str) -> Result<Self, ViaError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({self})")
    }
}

impl Serialize for Via {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.text)
    }
}

impl<'de> Deserialize<'de> for Via {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Vec::<u8>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}
