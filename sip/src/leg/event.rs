//! What a leg tells its node, and what it wants sent.

use crate::wire::Peer;

/// What a leg wants done. The shell drains these after every command and every input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send these bytes to this peer. Over a reliable transport: on that connection if it is
    /// still there, otherwise on one to `peer.remote`.
    Send { peer: Peer, bytes: Vec<u8> },
    /// Tell the node.
    Event(LegEvent),
}

/// What happened on a leg.
///
/// Exactly one of [`Self::Refused`], [`Self::Cancelled`] and [`Self::Ended`] says that the call
/// on this leg is over; [`Self::Terminated`] comes once, last, when nothing of it can appear on
/// the wire any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LegEvent {
    /// Outgoing: a provisional response other than 100. With an SDP it is early media, and if
    /// `reliable`, the answer to our offer. It comes again when the far end says it again, and
    /// from each fork.
    Ringing { status: u16, sdp: Option<Vec<u8>>, reliable: bool },
    /// Outgoing: the first 2xx. The SDP is the answer to our offer, also when it came before in a
    /// reliable provisional response; where we sent no offer it is theirs, and
    /// [`super::Leg::acknowledge`] must follow.
    Answered { sdp: Option<Vec<u8>> },
    /// Outgoing: a final response other than 2xx, or none (408: no answer; 503: it could
    /// not be sent).
    Refused(Refused),
    /// Incoming: the caller gave up before our final response. It has been answered.
    Cancelled,
    /// Incoming: the caller acknowledged our 2xx to the INVITE or to a re-INVITE. The SDP is the
    /// answer to an offer in our 2xx, or in our reliable provisional response.
    Acked { sdp: Option<Vec<u8>> },
    /// The far end's re-INVITE; None asks for an offer of ours. [`super::Leg::answer_reoffer`] or
    /// [`super::Leg::refuse_reoffer`] must follow.
    Reoffered { sdp: Option<Vec<u8>> },
    /// Our re-INVITE was answered; where it had no SDP this is the far end's offer, and
    /// [`super::Leg::acknowledge`] must follow. It comes unasked when a session refresh brought
    /// an SDP that differs from the last.
    ReofferAnswered { sdp: Option<Vec<u8>> },
    /// Our re-INVITE was refused (503: it could not be sent); the session is as
    /// before. A 491 is retried
    /// inside (RFC 3261 §14.1) and comes out only when it stays.
    ReofferRefused { status: u16 },
    /// The far end hangs up. [`super::Leg::accept_bye`] must follow; until then its BYE waits.
    ByeReceived,
    /// The call on this leg is over, and why.
    Ended { cause: EndCause },
    /// The far end pressed a key, sent as an INFO.
    Digit(InfoDigit),
    /// The far end asks for a transfer. [`super::Leg::accept_refer`] or
    /// [`super::Leg::refuse_refer`] must follow.
    Refer(Refer),
    /// Nothing is left on the wire: the leg may be forgotten.
    Terminated,
}

/// Why an outgoing call was not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The status code; 408 also when nothing came, 503 when nothing could be sent.
    pub status: u16,
    /// The reason phrase as received; empty when nothing came.
    pub reason: String,
    /// The Contacts of a 3xx, in order, as header values; at most [`super::CONTACTS_MAX`].
    pub contacts: Vec<String>,
    /// `Retry-After` in seconds.
    pub retry_after_seconds: Option<u32>,
    /// The value of a `Reason` header (RFC 3326), such as a Q.850 cause.
    pub cause: Option<String>,
}

impl Refused {
    /// Nothing came that says more.
    pub(super) fn without_response(status: u16) -> Self {
        Self {
            status,
            reason: String::new(),
            contacts: Vec::new(),
            retry_after_seconds: None,
            cause: None,
        }
    }
}

/// How a call on a leg ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// We refused an incoming call.
    WeRefused,
    /// We hung up: the BYE was answered or not answered, or the CANCEL took.
    WeHungUp,
    /// The far end hung up and we accepted it.
    TheyHungUp,
    /// Our 2xx was never acknowledged (RFC 3261 §13.3.1.4). A BYE is on its way.
    NoAck,
    /// Our reliable provisional response was never acknowledged (RFC 3262 §3). A 504 is on its
    /// way.
    NoPrack,
    /// The INVITE's own `Expires` passed (RFC 3261 §13.3.1). A 487 is on its way.
    Expired,
    /// Nobody refreshed the session (RFC 4028 §10). A BYE is on its way.
    SessionExpired,
    /// The far end does not know the dialog, or is not there (RFC 3261 §12.2.1.2): 481 or 408
    /// to one of our requests.
    Lost,
}

/// A key in an INFO: `application/dtmf-relay` or `application/dtmf`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InfoDigit {
    /// `0`–`9`, `*`, `#`, `A`–`D`, or `!` for a hook flash.
    pub digit: char,
    /// How long it was pressed; 250 when it does not say.
    pub duration_ms: u32,
}

/// A request for a transfer (RFC 3515).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refer {
    /// The URI to call, without its headers.
    pub target: String,
    /// The dialog that the new call is to replace: an attended transfer (RFC 3891).
    pub replaces: Option<Replaces>,
    /// The value of `Referred-By` (RFC 3892).
    pub referred_by: Option<String>,
}

/// The value of a Replaces header (RFC 3891).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaces {
    /// The replaced dialog's Call-ID.
    pub call_id: String,
    /// Its tag at the end that receives the Replaces.
    pub to_tag: String,
    /// Its tag at the other end.
    pub from_tag: String,
    /// Replace it only while it is not answered.
    pub early_only: bool,
}
