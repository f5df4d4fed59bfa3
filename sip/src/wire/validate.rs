//! What a user agent server checks before it looks at what a request wants (RFC 3261 §8.2).

use super::{HeaderName, Method, Request, Response, ResponseBuilder, Scheme, head::media_type_is};

/// Max-Forwards where nothing is known (RFC 3261 §8.1.1.6).
const MAX_FORWARDS_USUAL: u8 = 70;

/// What a user agent server can do.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// Methods that it answers.
    pub methods: &'static [Method],
    /// Option tags that it understands in Require.
    pub extensions: &'static [&'static str],
    /// Body types that it reads.
    pub content_types: &'static [&'static str],
}

/// Why a request is refused, with what the answer must say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Headers that the answer must have.
    pub headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer.
    pub fn response(&self, request: &Request, to_tag: &str) -> Response {
        let start = Response::to_request(request, self.status, Some(to_tag));
        let push = |builder: ResponseBuilder, (name, value): &(HeaderName, String)| {
            builder.header(*name, value)
        };
        self.headers.iter().fold(start, push).build()
    }
}

/// Checks a request in the order of RFC 3261 §8.2: method (§8.2.1), Request-URI (§8.2.2.1),
/// Require (§8.2.2.3), body (§8.2.3), and what the answer may contain (§20.1).
///
/// An ACK is never refused: there is no answer to it.
pub fn validate_request(request: &Request, can: &Abilities) -> Result<(), Refusal> {
    if *request.method() == Method::Ack {
        return Ok(());
    }
    if !can.methods.contains(request.method()) {
        let allow = can.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let status = match request.method() {
            // Not known at all, or known and not wanted here (RFC 3261 §21.5.2, §8.2.1).
            Method::Other(_) => 501,
            Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Options => 405,
            Method::Register | Method::Prack | Method::Subscribe | Method::Notify => 405,
            Method::Publish | Method::Info | Method::Refer | Method::Message | Method::Update => {
                405
            }
        };
        return Err(Refusal::new(status).with(HeaderName::Allow, allow));
    }
    match request.uri().scheme() {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => (),
        Scheme::Other => return Err(Refusal::new(416)),
    }
    // A CANCEL is for the INVITE that was accepted (RFC 3261 §8.2.2.3).
    if *request.method() == Method::Cancel {
        return Ok(());
    }
    check_require(request, can)?;
    check_body(request, can)?;
    check_accept(request, can)
}

/// The Max-Forwards of a request that is sent on because of this one: one less, so that calls
/// that go round through back-to-back user agents end (RFC 7332 §3); where it has none, 70. At
/// zero it may be answered but not sent on: 483 (RFC 3261 §16.3).
pub fn onward_max_forwards(request: &Request) -> Result<u8, Refusal> {
    match request.max_forwards() {
        Some(0) => Err(Refusal::new(483)),
        Some(hops) => Ok(hops - 1),
        None => Ok(MAX_FORWARDS_USUAL),
    }
}

fn check_require(request: &Request, can: &Abilities) -> Result<(), Refusal> {
    let is_known =
        |tag: &&[u8]| can.extensions.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(tag));
    // Proxy-Require is for proxies, and we are none; but a request that needs one to do
    // something on its way has not had it.
    let unknown: Vec<String> = request
        .values(HeaderName::Require)
        .filter(|tag| !is_known(tag))
        .map(|tag| String::from_utf8_lossy(tag).into_owned())
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(420).with(HeaderName::Unsupported, unknown.join(", "))),
    }
}

/// A body must be of a type that we read, unless the sender says that it does not matter
/// (`handling=optional`, RFC 3261 §20.11), and not encoded.
fn check_body(request: &Request, can: &Abilities) -> Result<(), Refusal> {
    let disposition = request.header_str(HeaderName::ContentDisposition).unwrap_or_default();
    let optional = disposition
        .split(';')
        .any(|param| param.replace(' ', "").eq_ignore_ascii_case("handling=optional"));
    if request.body().is_empty() || optional {
        return Ok(());
    }
    let is_identity = |value: &[u8]| value.eq_ignore_ascii_case(b"identity");
    if !request.values(HeaderName::ContentEncoding).all(is_identity) {
        return Err(Refusal::new(415).with(HeaderName::AcceptEncoding, "identity".into()));
    }
    match can.content_types.iter().any(|own| request.has_content_type(own)) {
        true => Ok(()),
        false => Err(Refusal::new(415).with(HeaderName::Accept, can.content_types.join(", "))),
    }
}

/// An INVITE is answered with SDP; where Accept does not allow that, 406 (RFC 3261 §21.4.7).
fn check_accept(request: &Request, _can: &Abilities) -> Result<(), Refusal> {
    let mut accepted = request.values(HeaderName::Accept).peekable();
    let says_nothing = request.header(HeaderName::Accept).is_none();
    if *request.method() != Method::Invite || says_nothing {
        return Ok(());
    }
    let takes_sdp = |value: &[u8]| {
        ["application/sdp", "application/*", "*/*"].iter().any(|own| media_type_is(value, own))
    };
    match accepted.any(takes_sdp) {
        true => Ok(()),
        false => Err(Refusal::new(406)),
    }
}
