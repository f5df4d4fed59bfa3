//! What can be wrong with a message.

use super::HeaderName;

/// The first thing found wrong. It says which header, never its bytes: they are the peer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Not even a start line: noise, or another protocol.
    #[error("no SIP start line")]
    NotSip,
    /// `SIP/x.y` with another x.y than 2.0.
    #[error("SIP version other than 2.0")]
    Version,
    /// The start line is not three words with one space between.
    #[error("malformed start line")]
    StartLine,
    /// The status code is not 100 to 699.
    #[error("status code out of range")]
    StatusCode,
    /// The Request-URI cannot be read.
    #[error("malformed Request-URI")]
    RequestUri,
    /// The Request-URI is longer than a URI may be.
    #[error("Request-URI too long")]
    UriTooLong,
    /// A line that is no header, or does not end with CR LF.
    #[error("malformed header line")]
    HeaderLine,
    /// No empty line after the headers.
    #[error("headers without an end")]
    Unfinished,
    /// Longer than [`super::MESSAGE_BYTES_MAX`] or [`super::HEAD_BYTES_MAX`], more lines than
    /// [`super::HEADER_LINES_MAX`], more Vias than [`super::VIAS_MAX`], or a longer address than
    /// there can be.
    #[error("message too large")]
    TooLarge,
    /// A header without which the message means nothing.
    #[error("no {0} header")]
    Missing(HeaderName),
    /// Several where one is allowed.
    #[error("several {0} headers")]
    Repeated(HeaderName),
    /// The header's value is not in its grammar or out of its range.
    #[error("malformed {0} header")]
    Header(HeaderName),
    /// The CSeq's method is not the request's.
    #[error("CSeq method is not the request's")]
    CSeqMethod,
    /// The body is shorter than Content-Length says.
    #[error("body shorter than Content-Length")]
    Truncated,
    /// A stream's message has no Content-Length (RFC 3261 §18.3).
    #[error("no Content-Length on a stream")]
    Unframed,
}

impl Fault {
    /// The status that answers it, and the reason phrase.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::Version => (505, "Version Not Supported"),
            Self::UriTooLong => (414, "Request-URI Too Long"),
            Self::TooLarge => (513, "Message Too Large"),
            Self::NotSip
            | Self::StartLine
            | Self::StatusCode
            | Self::RequestUri
            | Self::HeaderLine
            | Self::Unfinished
            | Self::Missing(_)
            | Self::Repeated(_)
            | Self::Header(_)
            | Self::CSeqMethod
            | Self::Truncated
            | Self::Unframed => (400, "Bad Request"),
        }
    }
}
