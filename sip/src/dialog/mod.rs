//! Dialogs (RFC 3261 §12): what two user agents share between requests.
//!
//! A [`Dialog`] is a value: the identifiers, the addresses with tags, the remote target, the
//! route set and both CSeqs. It checks the requests in it and begins ours. It has no timers and
//! sends nothing; responses, transactions and what a request means are the leg's.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::wire::{Head, HeaderName, Method, NameAddr, Request, Response, Uri};

/// Routes of a dialog that are kept. A message with more is refused: no real path is so long,
/// and each request would carry them all.
pub const ROUTES_MAX: usize = 16;

/// A dialog, or an early one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Dialog {
    call_id: Box<str>,
    local_tag: Box<str>,
    remote_tag: Box<str>,
    /// The From value of our requests.
    local: Box<[u8]>,
    /// The To value of our requests.
    remote: Box<[u8]>,
    /// Where the far end is (RFC 3261 §12.1: remote target).
    target: Uri,
    /// Route values, in the order in which our requests carry them.
    routes: Vec<Box<[u8]>>,
    /// The CSeq of our last request.
    local_cseq: u32,
    /// The CSeq of their last request, once there was one.
    remote_cseq: Option<u32>,
}

/// Why a message makes no dialog.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DialogError {
    /// RFC 3261 §12.1: a Contact with one URI is needed.
    #[error("no usable Contact")]
    Contact,
    /// More Record-Route values than [`ROUTES_MAX`].
    #[error("more than {ROUTES_MAX} Record-Route values")]
    Routes,
}

/// Why a request in a dialog is refused before anyone looks at what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Stray {
    /// Other tags: 481.
    #[error("not of this dialog")]
    OtherDialog,
    /// CSeq not higher than the last: 500 (RFC 3261 §12.2.2).
    #[error("CSeq is not higher than the last one")]
    OutOfOrder,
}

impl Dialog {
    /// The dialog that our answer to this request makes (RFC 3261 §12.1.1). `local_cseq` is the
    /// number before that of our first request.
    pub fn uas(request: &Request, local_tag: &str, local_cseq: u32) -> Result<Self, DialogError> {
        let target = match request.contact() {
            Some(contact) => contact.uri(),
            // A caller of RFC 2543, who sends no tag either, need not say one: requests go to its
            // From then (RFC 2543 §6.13).
            None if is_of_rfc_2543(request) => request.from().uri(),
            None => return Err(DialogError::Contact),
        };
        Ok(Self {
            call_id: request.call_id().into(),
            local_tag: local_tag.into(),
            // RFC 2543 peers send no tag: theirs is then empty (§12.1.1).
            remote_tag: request.from_tag().unwrap_or_default().into(),
            local: tagged(request.header(HeaderName::To).unwrap_or_default(), local_tag),
            remote: request.header(HeaderName::From).unwrap_or_default().into(),
            target,
            routes: routes(request)?,
            local_cseq,
            remote_cseq: Some(request.cseq().number),
        })
    }

    /// The dialog that a response to our request makes (RFC 3261 §12.1.2). A response without a
    /// usable Contact leaves `fallback`, where the request went, as the remote target: there is
    /// no other place to which the ACK, which must be sent, could go.
    pub fn uac(response: &Response, fallback: &Uri) -> Result<Self, DialogError> {
        let mut routes = routes(response)?;
        routes.reverse();
        Ok(Self {
            call_id: response.call_id().into(),
            local_tag: response.from_tag().unwrap_or_default().into(),
            remote_tag: response.to_tag().unwrap_or_default().into(),
            local: response.header(HeaderName::From).unwrap_or_default().into(),
            remote: response.header(HeaderName::To).unwrap_or_default().into(),
            target: response.contact().map_or_else(|| fallback.clone(), |contact| contact.uri()),
            routes,
            local_cseq: response.cseq().number,
            remote_cseq: None,
        })
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Our tag.
    pub fn local_tag(&self) -> &str {
        &self.local_tag
    }

    /// Their tag.
    pub fn remote_tag(&self) -> &str {
        &self.remote_tag
    }

    /// Where the far end is.
    pub fn target(&self) -> &Uri {
        &self.target
    }

    /// Whether the request's tags are this dialog's.
    pub fn owns(&self, request: &Request) -> bool {
        request.to_tag() == Some(&self.local_tag)
            && request.from_tag().unwrap_or_default() == &*self.remote_tag
    }

    /// Checks a request other than ACK and CANCEL, and remembers its CSeq (RFC 3261 §12.2.2).
    pub fn admit(&mut self, request: &Request) -> Result<(), Stray> {
        if !self.owns(request) {
            return Err(Stray::OtherDialog);
        }
        let number = request.cseq().number;
        // An equal number is not the same request again: its transaction would have known it.
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return Err(Stray::OutOfOrder);
        }
        self.remote_cseq = Some(number);
        Ok(())
    }

    /// Takes the Contact of a target refresh request or of its 2xx (RFC 3261 §12.2.1.2).
    pub fn refresh_target(&mut self, message: &Head) {
        if let Some(contact) = message.contact() {
            self.target = contact.uri();
        }
    }

    /// The CSeq for our next request.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// Leaves out CSeqs: an early dialog has used them, or a machine that is gone may have.
    /// Stays below 2³¹ (RFC 3261 §8.1.1.5).
    pub fn skip_cseq_to(&mut self, at_least: u32) {
        self.local_cseq = self.local_cseq.max(at_least).min(i32::MAX as u32 - 1);
    }

    /// The CSeq of our last request.
    pub fn last_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Where the next request goes first: the topmost route, which for a strict router is the
    /// Request-URI, or the remote target (RFC 3261 §12.2.1.1, §8.1.2).
    pub fn next_hop(&self) -> Uri {
        self.first_route().map_or_else(|| self.target.clone(), |route| route.uri())
    }

    /// Writes the start line and Via to CSeq, then Route (RFC 3261 §12.2.1.1).
    pub fn write_head(&self, out: &mut Vec<u8>, method: &Method, cseq: u32, via: &str) {
        // Writing to a Vec cannot fail.
        let strict = self.first_route().filter(|route| route.uri().param("lr").is_none());
        let uri =
            strict.as_ref().map_or_else(|| request_uri(&self.target), |r| request_uri(&r.uri()));
        let _ = write!(out, "{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n");
        let rest = &self.routes[usize::from(strict.is_some())..];
        for route in rest {
            push_line(out, "Route", route);
        }
        if strict.is_some() {
            let _ = write!(out, "Route: <{}>\r\n", self.target);
        }
        push_line(out, "From", &self.local);
        push_line(out, "To", &self.remote);
        let _ = write!(out, "Call-ID: {}\r\nCSeq: {cseq} {method}\r\n", self.call_id);
    }

    fn first_route(&self) -> Option<NameAddr> {
        NameAddr::parse(self.routes.first()?).ok()
    }
}

/// Whether the sender knows no tags and no Contact that must be there.
fn is_of_rfc_2543(request: &Request) -> bool {
    request.from_tag().is_none() && request.header(HeaderName::Contact).is_none()
}

/// A header line.
pub(crate) fn push_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A To or From value with our tag behind it. The value has none.
fn tagged(value: &[u8], tag: &str) -> Box<[u8]> {
    [value, b";tag=", tag.as_bytes()].concat().into()
}

fn routes(message: &Head) -> Result<Vec<Box<[u8]>>, DialogError> {
    let routes: Vec<Box<[u8]>> =
        message.values(HeaderName::RecordRoute).take(ROUTES_MAX + 1).map(Box::from).collect();
    if routes.len() > ROUTES_MAX { Err(DialogError::Routes) } else { Ok(routes) }
}

/// A URI as a Request-URI: without headers and without a `method` parameter, which may not stand
/// there (RFC 3261 §19.1.1, table 1).
pub(crate) fn request_uri(uri: &Uri) -> Uri {
    let plain = uri.without_headers();
    if plain.param("method").is_none() {
        return plain;
    }
    let is_method = |part: &&str| {
        part.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case("method"))
    };
    let text: Vec<&str> = plain.as_str().split(';').filter(|part| !is_method(part)).collect();
    Uri::parse(text.join(";").as_bytes()).unwrap_or(plain)
}
