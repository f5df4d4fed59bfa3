//! New messages: requests from their parts, responses from their requests.
//!
//! A builder writes what it is given in that order and, last, Content-Length. Values cannot break
//! out of their line: CR and LF in them become spaces. A header that would make the message
//! unreadable (a second From, a Contact that is no address) is left out: what is built can always
//! be parsed.

use memchr::memchr2;

use super::{
    CSeq, Head, HeaderName, Method, NameAddr, Request, Response, Uri, Via,
    head::{CSEQ_MAX, Found, Line},
    message::{WholeRequest, WholeResponse},
    scan::{Span, is_token},
    uri::Parts,
};

/// The largest message that is built. A header or body past it is left out: it can only come
/// from a request that itself was near its limit.
const BUILT_BYTES_MAX: usize = 65_000;

/// The longest reason phrase of ours; the rest is cut off.
const REASON_CHARACTERS_MAX: usize = 100;

/// What most messages have room in.
const BYTES_USUAL: usize = 1_024;
const LINES_USUAL: usize = 16;

/// What each request has (RFC 3261 §8.1.1).
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// The method, also CSeq's.
    pub method: &'a Method,
    /// The Request-URI.
    pub uri: &'a Uri,
    /// The topmost, and for us the only, Via.
    pub via: &'a Via,
    /// From, with our tag.
    pub from: &'a NameAddr,
    /// To, with a tag within a dialog.
    pub to: &'a NameAddr,
    /// Call-ID: printable ASCII without white space.
    pub call_id: &'a str,
    /// CSeq's number, below 2³¹.
    pub cseq: u32,
}

/// A request that is being written.
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    method: Method,
    uri: (Span, Parts),
    draft: Draft,
}

/// A response that is being written.
#[derive(Clone, Debug)]
pub struct ResponseBuilder {
    status: u16,
    reason: String,
    draft: Draft,
}

/// Header lines and a body.
#[derive(Clone, Debug, Default)]
struct Draft {
    text: Vec<u8>,
    lines: Vec<Line>,
    body: Vec<u8>,
    found: Found,
}

/// Max-Forwards of our requests (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: &str = "70";

impl RequestBuilder {
    /// A request with its mandatory headers and Max-Forwards: 70.
    pub fn new(parts: RequestParts<'_>) -> Self {
        let mut new = Self::start(parts.method, parts.uri);
        new.draft.push(HeaderName::Via, parts.via.as_bytes());
        new.draft.push(HeaderName::MaxForwards, MAX_FORWARDS.as_bytes());
        new.draft.push(HeaderName::From, parts.from.as_bytes());
        new.draft.push(HeaderName::To, parts.to.as_bytes());
        new.draft.push(HeaderName::CallId, parts.call_id.as_bytes());
        new.push_cseq(parts.cseq);
        new
    }

    /// The same request once more in a new transaction, say with credentials: another Via and
    /// CSeq number, all else as it was.
    pub fn again(request: &Request, via: &Via, cseq: u32) -> Self {
        let mut new = Self::start(request.method(), &request.uri());
        new.draft.push(HeaderName::Via, via.as_bytes());
        new.push_cseq(cseq);
        for (name, text, value) in request.headers() {
            // What is there already, and Content-Length, which comes last.
            let is_new = [HeaderName::Via, HeaderName::CSeq].contains(&name);
            if !is_new {
                new.draft.push_named(name, text, value);
            }
        }
        new.draft.body = request.body().to_vec();
        new
    }

    fn start(method: &Method, uri: &Uri) -> Self {
        let uri = uri.without_headers();
        let mut draft = Draft::with_room();
        draft.text.extend(format!("{method} {uri} SIP/2.0\r\n").as_bytes());
        let start = method.as_str().len() + 1;
        let place = Span::new(start, start + uri.as_str().len());
        Self { method: method.clone(), uri: (place, uri.parts()), draft }
    }

    fn push_cseq(&mut self, number: u32) {
        let cseq = CSeq { number: number & CSEQ_MAX, method: self.method.clone() };
        self.draft.push(HeaderName::CSeq, cseq.to_string().as_bytes());
    }

    /// A header more.
    pub fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        self.draft.push(name, value.as_ref());
        self
    }

    /// A header more by its name, which must be a token.
    pub fn header_named(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.draft.push_named(HeaderName::from_bytes(name.as_bytes()), name, value.as_ref());
        self
    }

    /// The header with this value instead of what it had. If the value is not in the header's
    /// grammar, nothing changes.
    pub fn replace(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        let before = self.draft.clone();
        self.draft.remove(name);
        self.draft.push(name, value.as_ref());
        if self.draft.lines.iter().all(|line| line.name != name) {
            self.draft = before;
        }
        self
    }

    /// All lines of this header of another message.
    pub fn copy(mut self, from: &Head, name: HeaderName) -> Self {
        self.draft.copy(from, name);
        self
    }

    /// A header for each address: Contact, or Route in its order.
    pub fn addresses(mut self, name: HeaderName, addresses: &[NameAddr]) -> Self {
        for address in addresses {
            self.draft.push(name, address.as_bytes());
        }
        self
    }

    /// The body and its type.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.draft.remove(HeaderName::ContentType);
        self.draft.push(HeaderName::ContentType, content_type.as_bytes());
        self.draft.body = body.to_vec();
        self
    }

    /// The request.
    pub fn build(self) -> Request {
        let head = self.draft.build();
        Request::new(WholeRequest { head, method: self.method, uri: self.uri })
    }
}

impl ResponseBuilder {
    /// RFC 3261 §8.2.6: the headers that each response repeats; for 1xx and 2xx to an INVITE
    /// Record-Route, too (§12.1.1), and for 100 Timestamp (§8.2.6.1).
    pub(super) fn new(request: &Request, status: u16, to_tag: Option<&str>) -> Self {
        let mut draft = Draft::with_room();
        let mut vias = request.vias();
        match (request.source(), vias.next()) {
            (Some(source), Some(_)) => {
                draft.push(HeaderName::Via, request.via_top().with_source(source).as_bytes());
            }
            (None, Some(via)) => draft.push(HeaderName::Via, via),
            (_, None) => (),
        }
        vias.for_each(|via| draft.push(HeaderName::Via, via));
        if *request.method() == Method::Invite && (101..300).contains(&status) {
            draft.copy(request, HeaderName::RecordRoute);
        }
        draft.copy(request, HeaderName::From);
        match to_tag.filter(|_| request.to_tag().is_none()) {
            Some(tag) => draft.push(HeaderName::To, request.to().with_tag(tag).as_bytes()),
            None => draft.copy(request, HeaderName::To),
        }
        draft.copy(request, HeaderName::CallId);
        draft.copy(request, HeaderName::CSeq);
        if status == 100 {
            draft.copy(request, HeaderName::Timestamp);
        }
        Self { status: status.clamp(100, 699), reason: reason_phrase(status).into(), draft }
    }

    /// Another reason phrase than the usual one.
    pub fn reason(mut self, phrase: &str) -> Self {
        let characters = phrase.chars().filter(|character| !character.is_control());
        self.reason = characters.take(REASON_CHARACTERS_MAX).collect();
        self
    }

    /// A header more.
    pub fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        self.draft.push(name, value.as_ref());
        self
    }

    /// A header more by its name, which must be a token.
    pub fn header_named(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.draft.push_named(HeaderName::from_bytes(name.as_bytes()), name, value.as_ref());
        self
    }

    /// All lines of this header of another message.
    pub fn copy(mut self, from: &Head, name: HeaderName) -> Self {
        self.draft.copy(from, name);
        self
    }

    /// A header for each address.
    pub fn addresses(mut self, name: HeaderName, addresses: &[NameAddr]) -> Self {
        for address in addresses {
            self.draft.push(name, address.as_bytes());
        }
        self
    }

    /// The body and its type.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.draft.remove(HeaderName::ContentType);
        self.draft.push(HeaderName::ContentType, content_type.as_bytes());
        self.draft.body = body.to_vec();
        self
    }

    /// The response.
    pub fn build(mut self) -> Response {
        let line = format!("SIP/2.0 {} {}\r\n", self.status, self.reason);
        self.draft.start_with(line.as_bytes());
        let reason = Span::new("SIP/2.0 200 ".len(), line.len() - 2);
        Response::new(WholeResponse { head: self.draft.build(), status: self.status, reason })
    }
}

impl Draft {
    fn with_room() -> Self {
        let (text, lines) = (Vec::with_capacity(BYTES_USUAL), Vec::with_capacity(LINES_USUAL));
        Self { text, lines, ..Self::default() }
    }

    fn push(&mut self, name: HeaderName, value: &[u8]) {
        self.push_named(name, name.as_str(), value);
    }

    fn push_named(&mut self, name: HeaderName, text: &str, value: &[u8]) {
        let fits = self.text.len() + self.body.len() + text.len() + value.len() < BUILT_BYTES_MAX;
        if !fits || !is_token(text.as_bytes()) || name == HeaderName::ContentLength {
            return;
        }
        let start = self.text.len();
        self.text.extend(text.as_bytes());
        self.text.extend(b": ");
        let from = self.text.len();
        self.text.extend_from_slice(value);
        while let Some(at) = memchr2(b'\r', b'\n', &self.text[from..]) {
            self.text[from + at] = b' ';
        }
        let line = Line {
            name,
            name_span: Span::new(start, start + text.len()),
            value: Span::new(from, self.text.len()),
        };
        match self.found.take(&self.text, line) {
            Ok(()) => {
                self.lines.push(line);
                self.text.extend(b"\r\n");
            }
            Err(_) => self.text.truncate(start),
        }
    }

    fn copy(&mut self, from: &Head, name: HeaderName) {
        for value in from.lines_of(name) {
            self.push(name, value);
        }
    }

    fn remove(&mut self, name: HeaderName) {
        if self.lines.iter().all(|line| line.name != name) {
            return;
        }
        let old = std::mem::take(self);
        let start = old.lines.first().map_or(0, |line| line.name_span.range().start);
        self.text.extend(&old.text[..start]);
        self.text.reserve(old.text.len());
        for line in old.lines.iter().filter(|line| line.name != name) {
            self.push_named(line.name, line.name_span.text(&old.text), line.value.of(&old.text));
        }
        self.body = old.body;
    }

    /// Puts the start line before the headers.
    fn start_with(&mut self, line: &[u8]) {
        self.text.splice(0..0, line.iter().copied());
        for one in &mut self.lines {
            one.name_span = one.name_span.moved(line.len());
            one.value = one.value.moved(line.len());
        }
        self.found.move_by(line.len());
    }

    fn build(mut self) -> Head {
        if self.text.len() + self.body.len() > BUILT_BYTES_MAX {
            self.body.clear();
        }
        let length = self.body.len().to_string();
        let start = self.text.len();
        self.text.extend(b"Content-Length: ");
        let value = self.text.len();
        self.text.extend(length.as_bytes());
        self.lines.push(Line {
            name: HeaderName::ContentLength,
            name_span: Span::new(start, value - 2),
            value: Span::new(value, value + length.len()),
        });
        self.text.extend(b"\r\n\r\n");
        let body_start = self.text.len();
        self.text.append(&mut self.body);
        let essentials = self.found.finish().expect("the builders begin with each of them");
        Head { bytes: self.text, lines: self.lines, body_start, essentials }
    }
}

/// The usual reason phrase (RFC 3261 §21 and the IANA registry).
pub fn reason_phrase(status: u16) -> &'static str {
    const PHRASES: &[(u16, &str)] = &[
        (100, "Trying"),
        (180, "Ringing"),
        (181, "Call Is Being Forwarded"),
        (182, "Queued"),
        (183, "Session Progress"),
        (199, "Early Dialog Terminated"),
        (200, "OK"),
        (202, "Accepted"),
        (204, "No Notification"),
        (300, "Multiple Choices"),
        (301, "Moved Permanently"),
        (302, "Moved Temporarily"),
        (305, "Use Proxy"),
        (380, "Alternative Service"),
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (402, "Payment Required"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (406, "Not Acceptable"),
        (407, "Proxy Authentication Required"),
        (408, "Request Timeout"),
        (410, "Gone"),
        (412, "Conditional Request Failed"),
        (413, "Request Entity Too Large"),
        (414, "Request-URI Too Long"),
        (415, "Unsupported Media Type"),
        (416, "Unsupported URI Scheme"),
        (420, "Bad Extension"),
        (421, "Extension Required"),
        (422, "Session Interval Too Small"),
        (423, "Interval Too Brief"),
        (433, "Anonymity Disallowed"),
        (469, "Bad Info Package"),
        (480, "Temporarily Unavailable"),
        (481, "Call/Transaction Does Not Exist"),
        (482, "Loop Detected"),
        (483, "Too Many Hops"),
        (484, "Address Incomplete"),
        (485, "Ambiguous"),
        (486, "Busy Here"),
        (487, "Request Terminated"),
        (488, "Not Acceptable Here"),
        (489, "Bad Event"),
        (491, "Request Pending"),
        (493, "Undecipherable"),
        (494, "Security Agreement Required"),
        (500, "Server Internal Error"),
        (501, "Not Implemented"),
        (502, "Bad Gateway"),
        (503, "Service Unavailable"),
        (504, "Server Time-out"),
        (505, "Version Not Supported"),
        (513, "Message Too Large"),
        (580, "Precondition Failure"),
        (600, "Busy Everywhere"),
        (603, "Decline"),
        (604, "Does Not Exist Anywhere"),
        (606, "Not Acceptable"),
        (607, "Unwanted"),
    ];
    let at = PHRASES.binary_search_by_key(&status, |(code, _)| *code);
    at.map_or("Unknown", |at| PHRASES[at].1)
}
