//! Which transaction a request belongs to (RFC 3261 §17.2.3).

use serde::{Deserialize, Serialize};

use crate::wire::{Method, Request};

/// The identity of a server transaction: two requests with equal keys are the same one, sent
/// again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TransactionKey(Box<[u8]>);

impl TransactionKey {
    /// The key of the transaction that the request begins or repeats. For an ACK it is that of
    /// the INVITE whose failure it acknowledges; the ACK of a 2xx has one of its own.
    pub fn of(request: &Request) -> Self {
        if *request.method() == Method::Ack {
            Self::of_cancelled(request)
        } else {
            Self::with_method(request, request.method().as_str())
        }
    }

    /// The key of the INVITE that a CANCEL is to cancel (RFC 3261 §9.2).
    pub fn of_cancelled(cancel: &Request) -> Self {
        Self::with_method(cancel, "INVITE")
    }

    /// Whether a CANCEL with this key means the transaction with our key: all but the method is the
    /// same, and neither a CANCEL nor an ACK can be cancelled (RFC 3261 §9.2).
    pub fn is_cancelled_by(&self, cancel: &Self) -> bool {
        let (method, rest) = self.parts();
        let (cancels, meant) = cancel.parts();
        cancels == b"CANCEL" && rest == meant && !matches!(method, b"CANCEL" | b"ACK")
    }

    /// The method, and what else makes the transaction.
    fn parts(&self) -> (&[u8], &[u8]) {
        let space = self.0.iter().position(|byte| *byte == b' ').unwrap_or(self.0.len());
        self.0.split_at(space)
    }

    fn with_method(request: &Request, method: &str) -> Self {
        let via = request.via_top();
        let mut key = Vec::with_capacity(80);
        let mut part = |bytes: &[u8]| {
            key.extend_from_slice(bytes);
            key.push(b' ');
        };
        part(method.as_bytes());
        if via.has_unique_branch() {
            part(via.branch().unwrap_or_default().as_bytes());
            part(via.host().to_ascii_lowercase().as_bytes());
            part(&via.port().unwrap_or_default().to_be_bytes());
        } else {
            // RFC 2543: Request-URI, From tag, Call-ID, CSeq number and the whole top Via. The
            // To tag is left out: the ACK's comes from our response.
            part(request.uri().as_str().as_bytes());
            part(request.from_tag().unwrap_or_default().as_bytes());
            part(request.call_id().as_bytes());
            part(&request.cseq().number.to_be_bytes());
            part(via.as_bytes());
        }
        Self(key.into())
    }
}
