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
//! Reading order: `event` and `identity` (the interface), `arriving` and `calling` (until the
//! answer), `talking`, `unacked` and `session` (from there), `leaving`, then `inputs` and `commands`
//! (from phase to phase), `line` (transactions) and `compose` (bytes).

mod arriving;
mod calling;
mod commands;
mod compose;
mod event;
mod identity;
mod inputs;
mod leaving;
mod line;
mod requests;
mod retry;
mod session;
mod talking;
mod unacked;

use std::{net::SocketAddr, time::Instant};

use serde::{Deserialize, Serialize};

use self::{arriving::Arriving, calling::Calling, leaving::Leaving, line::Line, talking::Talking};
use crate::{
    auth::Credentials,
    b2bua,
    transaction::{Clock, Moment, TransactionKey},
    wire::{HeaderName, Method, Peer, Request, Response},
};

pub use compose::ALLOW;
pub use event::{EndCause, InfoDigit, LegEvent, Output, Refer, Refused, Replaces};
pub use identity::{Identity, Outgoing, ReliableProvisional, SessionTimer, Settings};
pub use requests::ABILITIES;

/// Contacts of a 3xx that are kept; further ones are dropped.
pub const CONTACTS_MAX: usize = 8;

/// Requests that a dead machine may have sent after its last commit: the next CSeq is above them.
const CSEQ_SKIP: u32 = 1_000;

/// Lives of a call that are told apart by their CSeqs, which end at 2^31 (RFC 3261 §8.1.1.5).
const LIVES_MAX: u32 = 1_000;

/// The `cseq_skip` of [`Leg::restore`] for the machine that takes a leg over after `epoch` others
/// did. Each has CSeqs of its own: what an adopter has sent that died as well may not be committed.
pub fn cseq_skip(epoch: u32) -> u32 {
    CSEQ_SKIP * epoch.saturating_add(1).min(LIVES_MAX)
}

/// What [`LegExport`] looks like. It changes when an older program could misread it.
const EXPORT_VERSION: u16 = 1;

/// A leg. See the module.
#[derive(Clone, Debug)]
pub struct Leg {
    clock: Clock,
    line: Line,
    phase: Phase,
}

/// Where the call on the leg is.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Phase {
    Arriving(Box<Arriving>),
    Calling(Box<Calling>),
    Talking(Box<Talking>),
    Leaving(Box<Leaving>),
    /// No call any more; transactions live out their time.
    Over,
    Terminated,
}

/// A leg as a value, to be serialised with serde and rebuilt by [`Leg::restore`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LegExport {
    version: u16,
    clock: Moment,
    line: Line,
    phase: Phase,
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
        let clock = Clock::start(now);
        let mut line = Line::new(invite.call_id(), identity, peer);
        line.hops_left = b2bua::hops_left(invite).unwrap_or(0);
        let arriving = Arriving::new(clock.read(now), &mut line, invite, peer)?;
        Ok(Self { clock, line, phase: Phase::Arriving(Box::new(arriving)) })
    }

    /// Calls. The INVITE is the first output; where an address of `outgoing` is none, it is a
    /// refusal with 400.
    pub fn outgoing(now: Instant, outgoing: &Outgoing) -> Self {
        let clock = Clock::start(now);
        let mut line = Line::new(&outgoing.call_id, outgoing.identity.clone(), outgoing.peer);
        line.credentials.clone_from(&outgoing.credentials);
        let phase = match Calling::new(clock.read(now), &mut line, outgoing) {
            Some(calling) => Phase::Calling(Box::new(calling)),
            None => {
                line.event(LegEvent::Refused(Refused::without_response(400)));
                Phase::Over
            }
        };
        let mut leg = Self { clock, line, phase };
        leg.settle();
        leg
    }

    /// The leg as a value. Drain the outputs before: they are not in it.
    pub fn export(&self, now: Instant) -> LegExport {
        LegExport {
            version: EXPORT_VERSION,
            clock: self.clock.read(now),
            line: self.line.clone(),
            phase: self.phase.clone(),
        }
    }

    /// The leg that was exported goes on.
    ///
    /// `cseq_skip` is 0 when nothing happened on the wire since the export. Otherwise, as after
    /// the death of the machine or of the actor that carried the leg on, it is 1,000 or more: it
    /// is added to our CSeq, so that no request is taken for one that was sent since, and what
    /// may have come since (an ACK, a PRACK) is asked for once more, but not insisted on.
    pub fn restore(now: Instant, export: LegExport, cseq_skip: u32) -> Result<Self, RestoreError> {
        let LegExport { version, clock: reading, line, phase } = export;
        if version > EXPORT_VERSION {
            return Err(RestoreError::Newer { found: version, reads: EXPORT_VERSION });
        }
        let mut leg = Self { clock: Clock::resume(now, reading), line, phase };
        if cseq_skip > 0 {
            leg.adopt(reading, cseq_skip);
        }
        Ok(leg)
    }

    fn adopt(&mut self, now: Moment, cseq_skip: u32) {
        self.line.skip(cseq_skip);
        let dialog = match &mut self.phase {
            Phase::Arriving(arriving) => Some(&mut arriving.dialog),
            Phase::Talking(talking) => Some(&mut talking.dialog),
            Phase::Leaving(leaving) => Some(leaving.dialog_mut()),
            Phase::Calling(calling) => {
                calling.skip(cseq_skip);
                None
            }
            Phase::Over | Phase::Terminated => None,
        };
        if let Some(dialog) = dialog {
            dialog.skip_cseq_to(dialog.last_cseq().saturating_add(cseq_skip));
        }
        match &mut self.phase {
            Phase::Arriving(arriving) => {
                let then = arriving.adopt(now, &mut self.line);
                self.after_arriving(now, then);
            }
            Phase::Talking(talking) => talking.adopt(now),
            Phase::Calling(_) | Phase::Leaving(_) | Phase::Over | Phase::Terminated => (),
        }
    }

    /// From here on we are at another address: what follows carries this Contact and Via, and
    /// leaves from `local`. The far end learns it from the next re-INVITE, which waits for no
    /// answer and no ACK that went to the old address. An INVITE of ours without a final response
    /// is cancelled, since that would go there, too.
    pub fn move_to(&mut self, now: Instant, contact: String, sent_by: String, local: SocketAddr) {
        let now = self.clock.read(now);
        self.line.move_to(contact, sent_by, local);
        match &mut self.phase {
            Phase::Talking(talking) => talking.moved(now, &mut self.line),
            Phase::Calling(calling) => calling.moved(now, &mut self.line),
            Phase::Arriving(_) | Phase::Leaving(_) | Phase::Over | Phase::Terminated => (),
        }
    }

    /// What to answer a 401 or 407 with. It is not in an export, since that is kept and sent: to
    /// be said again after [`Self::restore`].
    pub fn set_credentials(&mut self, credentials: Option<Credentials>) {
        self.line.credentials = credentials;
    }

    /// What the leg is doing.
    pub fn status(&self) -> LegStatus {
        match &self.phase {
            Phase::Arriving(_) => LegStatus::Arriving,
            Phase::Calling(calling) if calling.is_cancelling() => LegStatus::Cancelling,
            Phase::Calling(_) => LegStatus::Calling,
            Phase::Talking(talking) if talking.is_hanging_up() => LegStatus::HangingUp,
            Phase::Talking(_) => LegStatus::Talking,
            Phase::Leaving(leaving) => match **leaving {
                Leaving::Theirs { .. } => LegStatus::ByeReceived,
                Leaving::Ours { .. } => LegStatus::HangingUp,
            },
            Phase::Over => LegStatus::Over,
            Phase::Terminated => LegStatus::Terminated,
        }
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        &self.line.call_id
    }

    /// Our tag.
    pub fn local_tag(&self) -> &str {
        &self.line.identity.tag
    }

    /// The far end's tag, while there is a dialog with it.
    pub fn remote_tag(&self) -> Option<&str> {
        match &self.phase {
            Phase::Arriving(arriving) => Some(arriving.dialog.remote_tag()),
            Phase::Calling(calling) => calling.remote_tag(),
            Phase::Talking(talking) => Some(talking.dialog.remote_tag()),
            Phase::Leaving(leaving) => Some(leaving.dialog().remote_tag()),
            Phase::Over | Phase::Terminated => None,
        }
    }

    /// Whether the far end's INVITE came without an offer, so that our answer carries one.
    pub fn wants_our_offer(&self) -> bool {
        matches!(&self.phase, Phase::Arriving(arriving) if arriving.wants_our_offer())
    }

    /// Incoming: whether the caller heard a description of ours before our final response, which is
    /// to say the same one then (RFC 3261 §13.2.1).
    pub fn has_said_sdp(&self) -> bool {
        matches!(&self.phase, Phase::Arriving(arriving) if arriving.has_said_sdp())
    }

    /// Whether the far end's re-INVITE waits for [`Self::answer_reoffer`] or
    /// [`Self::refuse_reoffer`]. To be asked after [`Self::restore`]: the event that said so was
    /// told to who is gone.
    pub fn awaits_reanswer(&self) -> bool {
        matches!(&self.phase, Phase::Talking(talking) if talking.is_asked())
    }

    /// Outgoing: whether the far end has said nothing at all yet, not even 100.
    pub fn is_unheard(&self) -> bool {
        matches!(self.phase, Phase::Calling(_)) && self.line.is_unheard()
    }

    /// Incoming: hops that a leg which goes on from this one may make, for its
    /// [`Outgoing::max_forwards`]. See [`crate::b2bua::hops_left`].
    pub fn hops_left(&self) -> u8 {
        self.line.hops_left
    }

    /// Whether this request belongs to the leg: a request in its dialog, or the INVITE that it
    /// serves, come again, or its CANCEL or ACK.
    pub fn owns(&self, request: &Request) -> bool {
        if request.call_id() != &*self.line.call_id {
            return false;
        }
        match request.to_tag() {
            Some(tag) if tag == self.line.identity.tag => true,
            Some(_) | None => {
                let key = TransactionKey::of(request);
                self.line.knows(&key)
                    || self.line.knows_invite(&TransactionKey::of_cancelled(request))
                    || self.is_merged(request)
            }
        }
    }

    /// Whether this INVITE begins a call of its own though it has the Call-ID of this leg: a caller
    /// that was refused tries again with it and a higher CSeq (RFC 3261 §8.1.3.5). The leg cannot
    /// serve it; given to the leg all the same, it gets 481.
    pub fn begins_another(&self, request: &Request) -> bool {
        *request.method() == Method::Invite
            && request.to_tag().is_none()
            && request.call_id() == &*self.line.call_id
            && !self.owns(request)
    }

    /// RFC 3261 §8.2.2.2: the INVITE that we serve, come by another way.
    fn is_merged(&self, request: &Request) -> bool {
        let is_new = *request.method() == Method::Invite && request.to_tag().is_none();
        is_new && matches!(&self.phase, Phase::Arriving(arriving) if arriving.is_merged(request))
    }
}

/// The response to a request in a dialog that nobody here knows: 481 (RFC 3261 §12.2.2). An ACK
/// gets none.
pub fn answer_stray(request: &Request, peer: Peer) -> Option<Stateless> {
    if *request.method() == Method::Ack {
        return None;
    }
    let sourced = request.clone().with_source(peer.remote);
    // A tag as each response has one (RFC 3261 §8.2.6.2): the same for the same request, and
    // another one for another (§8.2.7, §19.3).
    let named = format!("{} {:?}", request.call_id(), request.branch());
    let tag = format!("{:016x}", line::fold(&named));
    let bytes = Response::to_request(&sourced, 481, Some(&tag)).build().to_bytes();
    let remote = request.via_top().reply_address(peer.remote);
    Some(Stateless { status: 481, peer: Peer { remote, ..peer }, bytes })
}

/// The Replaces header of an INVITE (RFC 3891).
pub fn replaces_of(invite: &Request) -> Option<Replaces> {
    requests::parse_replaces(invite.header_str(HeaderName::Replaces)?)
}
