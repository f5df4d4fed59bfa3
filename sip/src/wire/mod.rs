//! The wire layer: SIP messages as bytes with an index (RFC 3261 §7, §19, §25).
//!
//! A message is one buffer and a table of where each header is. Nothing is decoded that was not
//! asked for, and what is not understood (methods, schemes, headers, bytes that are not UTF-8) is
//! kept as it came. What is asked for often, and what a message cannot be without, is checked
//! once, by [`Message::parse`]; behind it nothing is checked again.
//!
//! Reading order: `message`, `head` (the index), `uri`, `name_addr`, `via`, `build` (new
//! messages), `malformed` (what is answered to bad ones), `validate` (the checks of a user agent
//! server), `stream` (TCP).

mod build;
mod fault;
mod head;
mod header_name;
mod malformed;
mod message;
mod method;
mod name_addr;
mod params;
mod peer;
mod scan;
mod stream;
#[cfg(test)]
mod tests;
mod uri;
mod uri_equality;
mod validate;
mod via;

pub use build::{RequestBuilder, RequestParts, ResponseBuilder, reason_phrase};
pub use fault::Fault;
pub use head::{HEAD_BYTES_MAX, HEADER_LINES_MAX, Head, MESSAGE_BYTES_MAX, VIAS_MAX};
pub use header_name::HeaderName;
pub use malformed::Malformed;
pub use message::{CSeq, Message, Request, Response};
pub use method::Method;
pub use name_addr::{NameAddr, NameAddrError};
pub use params::Params;
pub use peer::{Peer, Transport};
pub use stream::StreamFramer;
pub use uri::{Scheme, Uri, UriError};
pub use validate::{Abilities, Refusal, onward_max_forwards, validate_request};
pub use via::{Via, ViaError};
