//! What the leg's messages look like, byte by byte.

use std::{io::Write as _, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Identity, Settings};
use crate::{
    dialog::push_line,
    wire::{HeaderName, Method, Peer, Request, Transport, Uri, reason_phrase},
};

/// The methods that a leg understands. UPDATE is answered when it refreshes a session, but not
/// offered: peers that see it offered use it with SDP, and a re-INVITE does all that it can.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, INFO, REFER";

/// The extensions that a leg understands in Require. Not `replaces`: the header is read, but
/// nothing is replaced, and a caller that requires it must not get a call beside the other.
pub(super) const EXTENSIONS: &[&str] = &["100rel", "timer"];

/// The type of the bodies that a leg carries.
pub(super) const SDP: &str = "application/sdp";

/// How every response to one request begins: RFC 3261 §8.2.6.2.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) peer: Peer,
    /// Vias to CSeq, with our tag.
    head: Vec<u8>,
    /// The Record-Route lines, for responses that make a dialog (RFC 3261 §12.1.1).
    record_route: Vec<u8>,
    /// The Timestamp line, for 100 (RFC 3261 §8.2.6.1).
    timestamp: Vec<u8>,
}

/// What is special in a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    pub(super) status: u16,
    /// Empty for the usual phrase.
    pub(super) reason: &'a str,
    /// Whole header lines.
    pub(super) headers: &'a [u8],
    pub(super) sdp: Option<&'a [u8]>,
}

impl Content<'static> {
    /// A status and nothing else.
    pub(super) fn status(status: u16) -> Self {
        Self { status, reason: "", headers: b"", sdp: None }
    }
}

impl Reply {
    /// For a request from this peer, where `tag` is ours.
    pub(super) fn new(request: &Request, peer: Peer, tag: &str) -> Self {
        let via = request.via_top();
        let mut head = Vec::with_capacity(384);
        push_line(&mut head, "Via", via.with_source(peer.remote).as_bytes());
        for via in request.vias().skip(1) {
            push_line(&mut head, "Via", via);
        }
        push_line(&mut head, "From", request.header(HeaderName::From).unwrap_or_default());
        head.extend_from_slice(b"To: ");
        head.extend_from_slice(request.header(HeaderName::To).unwrap_or_default());
        if request.to_tag().is_none() {
            head.extend_from_slice(b";tag=");
            head.extend_from_slice(tag.as_bytes());
        }
        let cseq = request.cseq();
        let _ = write!(head, "\r\nCall-ID: {}\r\nCSeq: {cseq}\r\n", request.call_id());
        let (mut record_route, mut timestamp) = (Vec::new(), Vec::new());
        if *request.method() == Method::Invite {
            for value in request.lines_of(HeaderName::RecordRoute) {
                push_line(&mut record_route, "Record-Route", value);
            }
            if let Some(value) = request.header(HeaderName::Timestamp) {
                push_line(&mut timestamp, "Timestamp", value);
            }
        }
        let remote = via.reply_address(peer.remote);
        Self { peer: Peer { remote, ..peer }, head, record_route, timestamp }
    }

    /// The final response is out: only where it goes is still needed.
    pub(super) fn close(&mut self) {
        (self.head, self.record_route, self.timestamp) = (Vec::new(), Vec::new(), Vec::new());
    }

    /// A response.
    pub(super) fn with(&self, content: Content<'_>) -> Vec<u8> {
        let Content { status, reason, headers, sdp } = content;
        let reason = if reason.is_empty() { reason_phrase(status) } else { reason };
        let length = self.head.len() + self.record_route.len() + headers.len() + 96;
        let mut out = Vec::with_capacity(length + sdp.map_or(0, <[u8]>::len));
        let _ = write!(out, "SIP/2.0 {status} ");
        out.extend(reason.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.head);
        match status {
            100 => out.extend_from_slice(&self.timestamp),
            101..=299 => out.extend_from_slice(&self.record_route),
            _ => (),
        }
        out.extend_from_slice(headers);
        push_body(&mut out, SDP, sdp.unwrap_or_default());
        out
    }
}

/// Ends a message with its body.
pub(super) fn push_body(out: &mut Vec<u8>, content_type: &str, body: &[u8]) {
    if !body.is_empty() {
        push_line(out, "Content-Type", content_type.as_bytes());
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
    out.extend_from_slice(body);
}

/// Our Via (RFC 3261 §8.1.1.7), asking for the port that we are seen at (RFC 3581 §3).
pub(super) fn via(identity: &Identity, transport: Transport, branch: &str) -> String {
    format!("SIP/2.0/{} {};rport;branch={branch}", transport.via_name(), identity.sent_by)
}

/// Contact, Allow, Supported and who we are: what goes with INVITE and its 2xx
/// (RFC 3261 §13.2.1, §13.3.1.4).
pub(super) fn push_capabilities(out: &mut Vec<u8>, identity: &Identity, product_header: &str) {
    push_contact(out, identity);
    let _ = write!(out, "Allow: {ALLOW}\r\nSupported: 100rel, timer\r\n");
    push_product(out, &identity.settings, product_header);
}

/// Our Contact.
pub(super) fn push_contact(out: &mut Vec<u8>, identity: &Identity) {
    let _ = write!(out, "Contact: <{}>\r\n", identity.contact);
}

/// A message of ours with this as its Contact.
pub(super) fn with_contact(message: &[u8], contact: &str) -> Vec<u8> {
    const NAME: &[u8] = b"\r\nContact: ";
    let find = |needle: &[u8], from: usize| {
        let rest = message.get(from..)?;
        rest.windows(needle.len()).position(|window| window == needle).map(|at| from + at)
    };
    let head = find(b"\r\n\r\n", 0).unwrap_or(message.len());
    let Some(start) = find(NAME, 0).filter(|start| *start < head) else { return message.to_vec() };
    let start = start + NAME.len();
    let end = find(b"\r\n", start).unwrap_or(message.len());
    [&message[..start], format!("<{contact}>").as_bytes(), &message[end..]].concat()
}

/// `Server` or `User-Agent`.
pub(super) fn push_product(out: &mut Vec<u8>, settings: &Settings, header: &str) {
    if !settings.product.is_empty() {
        push_line(out, header, settings.product.as_bytes());
    }
}

/// A header that the node wants in a message. One that the leg writes itself is left out, as is
/// one that would not stay in its line.
pub(super) fn push_foreign(out: &mut Vec<u8>, name: &str, value: &str) {
    let name_is_token = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b));
    let value_is_line = !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t');
    if name_is_token && value_is_line && !is_own(HeaderName::from_bytes(name.as_bytes())) {
        push_line(out, name, value.as_bytes());
    }
}

fn is_own(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::Contact
            | HeaderName::MaxForwards
            | HeaderName::Route
            | HeaderName::RecordRoute
            | HeaderName::ContentLength
            | HeaderName::ContentType
            | HeaderName::Allow
            | HeaderName::Supported
            | HeaderName::Require
            | HeaderName::RSeq
            | HeaderName::RAck
            | HeaderName::SessionExpires
            | HeaderName::MinSe
            | HeaderName::Authorization
            | HeaderName::ProxyAuthorization
    )
}

/// Where a request for this URI goes (RFC 3263 as far as it needs no DNS). A host that is a name
/// cannot be looked up here: the request then goes where the dialog's last one went.
pub(super) fn hop_to(uri: &Uri, known: Peer, settings: &Settings) -> Peer {
    let Some(ip) = uri.host_ip().filter(|_| !settings.symmetric) else { return known };
    let transport = match uri.param("transport").map(Transport::from_name) {
        Some(Some(named)) => named,
        // Over a stream the far end may leave `transport` out; it is reached as it reached us.
        None | Some(None) => known.transport,
    };
    let port = uri.port().unwrap_or(transport.default_port());
    let remote = SocketAddr::new(ip, port);
    let same_host = transport == known.transport && ip == known.remote.ip();
    // A connection that the far end opened is used as long as it stands.
    let connection = known.connection.filter(|_| same_host);
    Peer { transport, remote, local: known.local, connection }
}

/// The SDP in a message, if it has one.
pub(super) fn sdp_of(message: &crate::wire::Head) -> Option<Vec<u8>> {
    let has_sdp = !message.body().is_empty() && message.has_content_type(SDP);
    has_sdp.then(|| message.body().to_vec())
}

/// A header value as text: bytes that are not UTF-8 are replaced.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
