//! Requests and responses.

use std::{fmt, net::SocketAddr, ops::Deref, sync::Arc};

use memchr::memmem;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    Fault, HeaderName, Malformed, Method, ResponseBuilder, Uri,
    head::{HEAD_BYTES_MAX, Head, Line, MESSAGE_BYTES_MAX, Rejected, content_length, index},
    scan::{Span, VALUE_BYTES_MAX, is_token, number},
    uri::Parts,
};

/// How many lines the index has room for at once: most messages have fewer.
const HEADER_LINES_USUAL: usize = 28;

/// The longest method, in bytes; known ones have 9.
const METHOD_BYTES_MAX: usize = 256;

/// A message.
#[derive(Clone, Debug)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A request: its head, which it derefs to, and its start line. Cheap to clone.
#[derive(Clone)]
pub struct Request {
    whole: Arc<WholeRequest>,
    source: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) struct WholeRequest {
    pub(super) head: Head,
    pub(super) method: Method,
    pub(super) uri: (Span, Parts),
}

/// A response: its head, which it derefs to, and its start line. Cheap to clone.
#[derive(Clone)]
pub struct Response {
    whole: Arc<WholeResponse>,
}

#[derive(Debug)]
pub(super) struct WholeResponse {
    pub(super) head: Head,
    pub(super) status: u16,
    pub(super) reason: Span,
}

/// CSeq: which request of a dialog (RFC 3261 §20.16).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CSeq {
    /// Below 2³¹.
    pub number: u32,
    /// The method of the request.
    pub method: Method,
}

/// What a start line says.
enum Start {
    Request { method: Method, uri: (Span, Parts) },
    Response { status: u16, reason: Span },
}

impl Message {
    /// Reads a datagram: one message (RFC 3261 §18.3). Without a Content-Length its body is the
    /// rest; what follows the body is ignored.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let leading = datagram.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        Self::read(&datagram[leading..])
    }

    /// Reads a message that is the whole buffer, but for what follows its body.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(start_end) = memmem::find(bytes, b"\r\n") else {
            return Err(Malformed::silent(Fault::NotSip));
        };
        let (start, kind) = start_line(&bytes[..start_end.min(MESSAGE_BYTES_MAX)]);
        let head = read_head(bytes, start_end + 2);
        // A fault of the headers comes second: the start line's says more.
        let start = match start {
            Ok(start) => start,
            Err(fault) => return Err(Malformed::new(Rejected::of(head, fault), kind)),
        };
        let head = head.map_err(|rejected| Malformed::new(rejected, kind))?;
        match start {
            Start::Response { status, reason } => {
                Ok(Self::Response(Response::new(WholeResponse { head, status, reason })))
            }
            Start::Request { method, .. } if head.cseq().method != method => {
                Err(Malformed::new(Rejected::of(Ok(head), Fault::CSeqMethod), kind))
            }
            Start::Request { method, uri } => {
                Ok(Self::Request(Request::new(WholeRequest { head, method, uri })))
            }
        }
    }

    /// What the framer answers to a message that it cannot find the end of.
    pub(super) fn refuse(bytes: &[u8], fault: Fault) -> Malformed {
        match Self::read(bytes) {
            Ok(Self::Request(request)) => {
                let kind = Kind::Request { is_ack: request.whole.method == Method::Ack };
                Malformed::new(Rejected::of(Ok(request.head().clone()), fault), kind)
            }
            Ok(Self::Response(_)) => Malformed::silent(fault),
            Err(malformed) => malformed.with_fault(fault),
        }
    }

    /// The request, if it is one.
    pub fn into_request(self) -> Option<Request> {
        match self {
            Self::Request(request) => Some(request),
            Self::Response(_) => None,
        }
    }

    /// The response, if it is one.
    pub fn into_response(self) -> Option<Response> {
        match self {
            Self::Request(_) => None,
            Self::Response(response) => Some(response),
        }
    }

    /// Headers and body.
    pub fn head(&self) -> &Head {
        match self {
            Self::Request(request) => request,
            Self::Response(response) => response,
        }
    }
}

fn read_head(bytes: &[u8], start: usize) -> Result<Head, Rejected> {
    // What is longer is not read, only as much of it as its answer needs.
    let cut = bytes.len() > MESSAGE_BYTES_MAX;
    let mut bytes = bytes[..bytes.len().min(MESSAGE_BYTES_MAX)].to_vec();
    let mut lines: Vec<Line> = Vec::with_capacity(HEADER_LINES_USUAL);
    let found = index(&mut bytes, start, &mut lines)
        .and_then(|body_start| Ok((body_start, content_length(&bytes, &lines)?)));
    let fault = match found {
        Ok((body_start, _)) if body_start > HEAD_BYTES_MAX => Fault::TooLarge,
        Ok((body_start, None)) if !cut => return Head::new(bytes, lines, body_start),
        Ok((body_start, Some(length))) if length <= bytes.len() - body_start => {
            bytes.truncate(body_start + length);
            return Head::new(bytes, lines, body_start);
        }
        Ok(_) | Err(Fault::Unfinished) if cut => Fault::TooLarge,
        Ok(_) => Fault::Truncated,
        Err(fault) => fault,
    };
    Err(Rejected { fault, bytes, lines })
}

/// What a start line belongs to, as far as an answer to a bad message needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Request { is_ack: bool },
    Response,
    Noise,
}

/// Reads a start line (RFC 3261 §7.1, §7.2): exactly one space between its words.
fn start_line(line: &[u8]) -> (Result<Start, Fault>, Kind) {
    if is_version(line.split(|&byte| byte == b' ').next().unwrap_or_default()) {
        return (status_line(line), Kind::Response);
    }
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let last = words.iter().rev().find(|word| !word.is_empty());
    if !last.is_some_and(|word| is_version(word)) {
        return (Err(Fault::NotSip), Kind::Noise);
    }
    let kind = Kind::Request { is_ack: words[0] == b"ACK" };
    let [method, uri, version] = words[..] else { return (Err(Fault::StartLine), kind) };
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return (Err(Fault::Version), kind);
    }
    let is_method = |word: &&str| is_token(word.as_bytes()) && word.len() <= METHOD_BYTES_MAX;
    let Some(method) = std::str::from_utf8(method).ok().filter(is_method) else {
        return (Err(Fault::StartLine), kind);
    };
    if uri.len() > VALUE_BYTES_MAX {
        return (Err(Fault::UriTooLong), kind);
    }
    // Headers in a Request-URI are not allowed (RFC 3261 §19.1.1).
    match Parts::parse(uri).filter(|parts| !parts.has_headers()) {
        None => (Err(Fault::RequestUri), kind),
        Some(parts) => {
            let start = method.len() + 1;
            let uri = (Span::new(start, start + uri.len()), parts);
            (Ok(Start::Request { method: Method::from_token(method), uri }), kind)
        }
    }
}

fn status_line(line: &[u8]) -> Result<Start, Fault> {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(Fault::Version);
    }
    // The space before an empty reason is often forgotten; it says nothing.
    let reason = Span::new(line.len() - words.next().unwrap_or_default().len(), line.len());
    match number(status, 699).filter(|code| *code >= 100 && status.len() == 3) {
        Some(code) => Ok(Start::Response { status: code as u16, reason }),
        None => Err(Fault::StatusCode),
    }
}

/// `SIP/` and digits with a point: some version.
fn is_version(word: &[u8]) -> bool {
    let number =
        word.get(..4).filter(|name| name.eq_ignore_ascii_case(b"SIP/")).map(|_| &word[4..]);
    number.is_some_and(|digits| {
        let mut parts = digits.split(|&byte| byte == b'.');
        let is_number = |part: Option<&[u8]>| {
            part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
        };
        is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
    })
}

impl Request {
    pub(super) fn new(whole: WholeRequest) -> Self {
        Self { whole: Arc::new(whole), source: None }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.whole.method
    }

    /// The Request-URI.
    pub fn uri(&self) -> Uri {
        let (place, parts) = self.whole.uri;
        Uri::from_parts(place.of(self.as_bytes()), parts)
    }

    fn head(&self) -> &Head {
        &self.whole.head
    }

    /// The same, knowing where it came from: answers then say so in their Via
    /// (RFC 3261 §18.2.1, RFC 3581).
    pub fn with_source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Where it came from, when that was said.
    pub fn source(&self) -> Option<SocketAddr> {
        self.source
    }
}

impl Response {
    pub(super) fn new(whole: WholeResponse) -> Self {
        Self { whole: Arc::new(whole) }
    }

    /// A response to a request (RFC 3261 §8.2.6): its Vias, From, To with our tag, Call-ID and
    /// CSeq are there. `to_tag` is not used when the request has a tag in To.
    pub fn to_request(request: &Request, status: u16, to_tag: Option<&str>) -> ResponseBuilder {
        ResponseBuilder::new(request, status, to_tag)
    }

    /// The status code, 100 to 699.
    pub fn status(&self) -> u16 {
        self.whole.status
    }

    /// The reason phrase; bytes that are not UTF-8 are replaced.
    pub fn reason(&self) -> String {
        String::from_utf8_lossy(self.whole.reason.of(self.as_bytes())).into_owned()
    }

    /// 1xx.
    pub fn is_provisional(&self) -> bool {
        self.status() < 200
    }

    /// 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// How many Vias there are. A client discards a response with more than one
    /// (RFC 3261 §8.1.3.3).
    pub fn via_count(&self) -> usize {
        self.values(HeaderName::Via).count()
    }
}

impl Deref for Request {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.whole.head
    }
}

impl Deref for Response {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.whole.head
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Equal byte for byte.
impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Equal byte for byte.
impl PartialEq for Response {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.source, self.as_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (source, bytes) = <(Option<SocketAddr>, Vec<u8>)>::deserialize(deserializer)?;
        let message =
            Message::parse(&bytes).map_err(|malformed| D::Error::custom(malformed.fault()))?;
        let request = message.into_request().ok_or_else(|| D::Error::custom("not a request"))?;
        Ok(Self { source, ..request })
    }
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let message =
            Message::parse(&bytes).map_err(|malformed| D::Error::custom(malformed.fault()))?;
        message.into_response().ok_or_else(|| D::Error::custom("not a response"))
    }
}
