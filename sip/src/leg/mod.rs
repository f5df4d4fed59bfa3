//! One call leg: an INVITE dialog with all its transactions, as one value.
//!
//! The node gives it commands, messages that belong to it, and time; it answers with bytes to
//! send and [`LegEvent`]s. It owns retransmissions, provisional responses and PRACK, CANCEL and
//! its races, ACK, BYE, re-INVITE with glare, digest retries and session timers. It does not
//! know the other leg, reads no SDP, opens no port and decides nothing about the call.
//!
//! A leg can be exported in any state and goes on elsewhere, since its identifiers are derived
//! from its [`Identity`] and its times are counted by its own clock.
//!
//! Reading order: [`event`] and [`identity`] (the interface), `incoming` and `outgoing` (until
//! the answer), `talking` (from there), `leaving`, then `table` (transactions) and `compose`.

mod event;
mod identity;

use std::{collections::VecDeque, time::Instant};

use serde::{Deserialize, Serialize};

use crate::{
    transaction::{Clock, Moment},
    wire::{Peer, Request, Response},
};

pub use event::{EndCause, InfoDigit, LegEvent, Output, Refer, Refused, Replaces};
pub use identity::{Identity, Outgoing, ReliableProvisional, SessionTimer, Settings};

/// Contacts of a 3xx that are kept; further ones are dropped.
pub const CONTACTS_MAX: usize = 8;

/// A leg. See the module.
#[derive(Clone, Debug)]
pub struct Leg {
    clock: Clock,
    output: VecDeque<Output>,
}

/// A leg as a value, to be serialised with serde and rebuilt by [`Leg::restore`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LegExport {
    version: u16,
    clock: Moment,
}

/// A response to a request that got no leg: to be sent as it is and forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stateless {
    /// Its status code.
    pub status: u16,
    /// Where it goes (RFC 3261 §18.2.2, RFC 3581).
    pub peer: Peer,
    /// The response.
    pub bytes: Vec<u8>,
}

/// What a leg is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LegStatus {
    /// Incoming: no final response sent.
    Arriving,
    /// Outgoing: no final response received.
    Calling,
    /// Outgoing: to be cancelled, or cancelled and not yet confirmed by a final response.
    Cancelling,
    /// Answered; the dialog is confirmed. For an incoming leg the ACK may still be missing.
    Talking,
    /// The far end's BYE waits for [`Leg::accept_bye`].
    ByeReceived,
    /// Our BYE is on its way, or it waits for the ACK.
    HangingUp,
    /// No call any more; transactions live out their time.
    Over,
    /// Nothing is left.
    Terminated,
}

/// The command means nothing in the leg's state, and nothing was done. Mostly a race with the
/// far end, whose event is already in the outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the leg is {is:?}, which {command} does not fit")]
pub struct WrongState {
    /// What was asked.
    pub command: &'static str,
    /// What the leg is doing.
    pub is: LegStatus,
}

/// A leg cannot be rebuilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RestoreError {
    /// Written by a newer version of this program.
    #[error("exported leg has version {found}, this program reads {reads}")]
    Newer { found: u16, reads: u16 },
}

/// Beginning, and where it stands.
impl Leg {
    /// A leg for an INVITE without a To tag. Nothing is sent, not even a 100, before a command
    /// says so. `Err` is the response to an INVITE that cannot be served: 420, 415, 422, 481 ….
    pub fn incoming(
        now: Instant,
        invite: &Request,
        peer: Peer,
        identity: Identity,
    ) -> Result<Self, Box<Stateless>> {
        unimplemented!()
    }

    /// Calls. The INVITE is the first output.
    pub fn outgoing(now: Instant, outgoing: Outgoing) -> Self {
        unimplemented!()
    }

    /// The leg as a value. Drain the outputs before: they are not in it.
    pub fn export(&self, now: Instant) -> LegExport {
        unimplemented!()
    }

    /// The leg that was exported goes on. `cseq_skip` is added to our CSeq, so that requests
    /// that the dead machine may have sent since the export are not repeated with other content:
    /// 0 on the same machine, 1,000 or more on another.
    pub fn restore(now: Instant, export: LegExport, cseq_skip: u32) -> Result<Self, RestoreError> {
        unimplemented!()
    }

    /// From here on we are at another address: what follows carries this Contact and Via, and
    /// leaves from `local`. The far end learns it from the next re-INVITE.
    pub fn move_to(&mut self, contact: String, sent_by: String, local: std::net::SocketAddr) {
        unimplemented!()
    }

    /// What the leg is doing.
    pub fn status(&self) -> LegStatus {
        unimplemented!()
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        unimplemented!()
    }

    /// Our tag.
    pub fn local_tag(&self) -> &str {
        unimplemented!()
    }

    /// The far end's tag, once the dialog is known.
    pub fn remote_tag(&self) -> Option<&str> {
        unimplemented!()
    }

    /// Whether the far end's INVITE came without an offer, so that our answer carries one.
    pub fn wants_our_offer(&self) -> bool {
        unimplemented!()
    }

    /// Whether this request belongs to the leg: same Call-ID and tags, or an unanswered INVITE,
    /// its retransmission or its CANCEL.
    pub fn owns(&self, request: &Request) -> bool {
        unimplemented!()
    }
}

/// Commands.
impl Leg {
    /// Incoming: 100.
    pub fn trying(&mut self, now: Instant) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Incoming: 180, or 183 with an SDP (an answer; an offer where [`Self::wants_our_offer`]).
    /// Reliably as the settings say. The same ring twice is sent once.
    pub fn ring(&mut self, now: Instant, sdp: Option<Vec<u8>>) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Incoming: 200 with our SDP, repeated until the ACK.
    pub fn answer(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Incoming: a final response from 300 to 699. An empty reason takes the usual phrase.
    pub fn refuse(
        &mut self,
        now: Instant,
        status: u16,
        reason: &str,
        headers: &[(&str, &str)],
    ) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Ends the leg in the way that its state needs: 487, CANCEL, BYE, BYE once the ACK came,
    /// or nothing if it is over. Repeating it does nothing.
    pub fn hang_up(&mut self, now: Instant) {
        unimplemented!()
    }

    /// Answers the far end's BYE.
    pub fn accept_bye(&mut self, now: Instant) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Sends a re-INVITE; an empty SDP asks the far end for an offer.
    pub fn reoffer(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Accepts the far end's re-INVITE with our SDP.
    pub fn answer_reoffer(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Refuses the far end's re-INVITE; the session stays as it was.
    pub fn refuse_reoffer(&mut self, now: Instant, status: u16) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Answers the offer that came in a 2xx: the ACK with our SDP.
    pub fn acknowledge(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Accepts a REFER: 202, and a NOTIFY that says 100.
    pub fn accept_refer(&mut self, now: Instant) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Refuses a REFER, with 603 or another failure.
    pub fn refuse_refer(&mut self, now: Instant, status: u16) -> Result<(), WrongState> {
        unimplemented!()
    }

    /// Tells the far end what became of the call that it referred us to; a final status ends the
    /// subscription.
    pub fn notify_refer(&mut self, now: Instant, status: u16) -> Result<(), WrongState> {
        unimplemented!()
    }
}

/// Inputs and outputs.
impl Leg {
    /// A request that belongs to the leg.
    pub fn handle_request(&mut self, now: Instant, request: &Request, peer: Peer) {
        unimplemented!()
    }

    /// A response that belongs to the leg.
    pub fn handle_response(&mut self, now: Instant, response: &Response, peer: Peer) {
        unimplemented!()
    }

    /// What was to be sent to this peer cannot be (RFC 3261 §17.1.4): outgoing requests to it
    /// count as not answered.
    pub fn handle_unreachable(&mut self, now: Instant, peer: Peer) {
        unimplemented!()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        unimplemented!()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// What is to be done. Drain it after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        unimplemented!()
    }
}

/// The response to a request in a dialog that nobody here knows: 481 (RFC 3261 §12.2.2). An ACK
/// gets none.
pub fn answer_stray(request: &Request, peer: Peer) -> Option<Stateless> {
    unimplemented!()
}

/// The Replaces header of an INVITE (RFC 3891).
pub fn replaces_of(invite: &Request) -> Option<Replaces> {
    unimplemented!()
}
