//! A leg whose dialog is confirmed (RFC 3261 §12, §13.2.2.4, §13.3.1.4, §14).
//!
//! Owns the 2xx that is repeated until its ACK, the one re-INVITE that may be under way, and the
//! session timer. What the far end asks for besides is in `requests`.

use serde::{Deserialize, Serialize};

use super::{
    EndCause, LegEvent,
    compose::{self, Content},
    line::{Draft, Heard, Line, News, Purpose, Silence, earliest},
    requests::Transfer,
    retry::{self, Retry},
    session::{self, Asked, Due, Session},
    unacked::{Unacked, Wants},
};
use crate::{
    dialog::Dialog,
    transaction::{Moment, TransactionKey},
    wire::{HeaderName, Method, Request, Response},
};

/// How often a re-INVITE is tried again after a 491; then the 491 is the answer.
const GLARES_MAX: u8 = 4;

/// How often a request is tried again after 401, 407 or 422.
pub(super) const ATTEMPTS_MAX: u8 = 3;

/// When a re-INVITE that nobody has answered yet gets a 100, milliseconds
/// (RFC 3261 §17.2.1).
const TRYING_AFTER_MS: u64 = 200;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Talking {
    pub(super) dialog: Dialog,
    unacked: Option<Unacked>,
    exchange: Exchange,
    /// An offer that waits until the line is free for it.
    queued: Option<Vec<u8>>,
    session: Option<Session>,
    /// The least interval that a 422 asked for, seconds.
    min_se: u32,
    /// Our last SDP, for a refresh of the session.
    local_sdp: Vec<u8>,
    /// Their last SDP, to see whether a refresh changed it.
    remote_sdp: Vec<u8>,
    /// Whether we made the call: then the Call-ID is ours (RFC 3261 §14.1).
    caller: bool,
    pub(super) transfer: Transfer,
}

/// The one offer/answer exchange that may be under way (RFC 3261 §14.1).
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Exchange {
    Idle,
    /// Our re-INVITE is out.
    Asking {
        cseq: u32,
        ours: Ours,
    },
    /// Our re-INVITE met theirs, and is tried again.
    Glare {
        at: Moment,
        ours: Ours,
    },
    /// Their 2xx has an offer, and our ACK waits for the answer.
    Offered {
        cseq: u32,
    },
    /// Their re-INVITE waits for the node. The offer is empty when they want ours.
    Asked {
        key: TransactionKey,
        invite: Request,
        offer: Vec<u8>,
        trying_at: Option<Moment>,
    },
}

/// Our re-INVITE.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ours {
    sdp: Vec<u8>,
    /// Whether the node asked for it, or the session timer did.
    commanded: bool,
    glares: u8,
    attempts: u8,
}

/// What becomes of a confirmed leg.
pub(super) enum Then {
    /// It goes on.
    Stay,
    /// We hang up, as was asked before.
    Bye,
    /// It is lost: the node is told at once, and we hang up all the same.
    Lost(EndCause),
}

/// Beginning.
impl Talking {
    pub(super) fn new(dialog: Dialog, local_sdp: Vec<u8>, remote_sdp: Vec<u8>) -> Self {
        Self {
            dialog,
            unacked: None,
            exchange: Exchange::Idle,
            queued: None,
            session: None,
            min_se: 0,
            local_sdp,
            remote_sdp,
            caller: false,
            transfer: Transfer::None,
        }
    }

    /// As the side that called.
    pub(super) fn for_caller(mut self) -> Self {
        self.caller = true;
        self
    }

    pub(super) fn expect_ack(&mut self, unacked: Unacked) {
        self.unacked = Some(unacked);
    }

    pub(super) fn run_session(&mut self, session: Option<Session>) {
        self.session = session;
    }

    /// Whether the last offer was ours.
    pub(super) fn has_offered(&self) -> bool {
        !self.local_sdp.is_empty()
    }

    /// The leg is taken over from a machine that may have received the ACK.
    pub(super) fn adopt(&mut self, now: Moment) {
        if let Some(unacked) = &mut self.unacked {
            unacked.doubt(now);
        }
    }

    /// Nothing of ours waits for the ACK of a 2xx, which goes to an address that is not ours.
    pub(super) fn wait_for_no_ack(&mut self, now: Moment) {
        if let Some(unacked) = &mut self.unacked {
            unacked.wait_for_nothing(now);
        }
    }

    /// We are at another address. What went out from the old one is answered there, so nothing
    /// waits for it. A 2xx goes once more at once: a far end that has not heard it would not
    /// understand the re-INVITE that follows.
    pub(super) fn moved(&mut self, now: Moment, line: &mut Line) {
        if let Some(unacked) = &mut self.unacked {
            let (peer, bytes) = unacked.moved(now, line.peer.local, &line.identity.contact);
            line.send(peer, bytes);
        }
        match &self.exchange {
            Exchange::Asking { .. } | Exchange::Glare { .. } => self.exchange = Exchange::Idle,
            Exchange::Idle | Exchange::Offered { .. } | Exchange::Asked { .. } => (),
        }
        self.queued = None;
        line.abandon_invites();
    }

    /// Their 2xx has an offer: the ACK waits for [`Self::acknowledge`].
    pub(super) fn expect_answer(&mut self, cseq: u32) {
        self.exchange = Exchange::Offered { cseq };
    }
}

/// Commands.
impl Talking {
    /// Says whether the BYE may go now; otherwise it goes after the ACK. A re-INVITE of theirs is
    /// answered, and a 2xx of theirs acknowledged, so that nothing is left open.
    pub(super) fn may_hang_up(&mut self, now: Moment, line: &mut Line) -> bool {
        if self.unacked.as_mut().is_some_and(Unacked::holds_bye) {
            return false;
        }
        self.close(now, line);
        true
    }

    /// The dialog ends: answers what is open.
    pub(super) fn close(&mut self, now: Moment, line: &mut Line) {
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::Asked { key, .. } => {
                line.respond(now, &key, Content::status(487));
            }
            Exchange::Offered { cseq } => line.acknowledge(&self.dialog, cseq, b""),
            Exchange::Idle | Exchange::Asking { .. } | Exchange::Glare { .. } => (),
        }
        self.transfer.close(now, line);
        line.stop_waiting(now);
    }

    /// Whether a BYE waits for the ACK.
    pub(super) fn is_hanging_up(&self) -> bool {
        self.unacked.as_ref().is_some_and(Unacked::is_before_bye)
    }

    /// Offers anew, at once or when the line is free for it.
    pub(super) fn reoffer(&mut self, now: Moment, line: &mut Line, sdp: Vec<u8>) {
        self.queued = Some(sdp);
        self.begin_queued(now, line);
    }

    fn begin_queued(&mut self, now: Moment, line: &mut Line) {
        // RFC 3261 §14.1: not while another INVITE is under way, in either direction.
        let unacked = self.unacked.as_ref().is_some_and(|unacked| unacked.blocks_invite(now));
        if !matches!(self.exchange, Exchange::Idle) || unacked {
            return;
        }
        if let Some(sdp) = self.queued.take() {
            let ours = Ours { sdp, commanded: true, glares: 0, attempts: 0 };
            self.ask(now, line, ours);
        }
    }

    fn ask(&mut self, now: Moment, line: &mut Line, ours: Ours) {
        let mut headers = Vec::with_capacity(256);
        compose::push_capabilities(&mut headers, &line.identity, "User-Agent");
        let settings = &line.identity.settings;
        session::push_request(&mut headers, settings, self.session.as_ref(), self.min_se);
        let draft = Draft {
            method: Method::Invite,
            purpose: Purpose::Invite,
            headers: &headers,
            content_type: compose::SDP,
            body: &ours.sdp,
        };
        line.authorization.clear();
        let cseq = line.request(now, &mut self.dialog, draft);
        self.exchange = Exchange::Asking { cseq, ours };
    }

    /// Whether a re-INVITE of theirs waits.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.exchange, Exchange::Asked { .. })
    }

    /// Answers their re-INVITE.
    pub(super) fn answer_reoffer(&mut self, now: Moment, line: &mut Line, sdp: Vec<u8>) {
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::Asked { key, invite, offer, .. } => {
                self.accept(now, line, (&key, &invite), (offer, sdp));
            }
            other @ (Exchange::Idle
            | Exchange::Asking { .. }
            | Exchange::Glare { .. }
            | Exchange::Offered { .. }) => self.exchange = other,
        }
    }

    fn accept(
        &mut self,
        now: Moment,
        line: &mut Line,
        asked: (&TransactionKey, &Request),
        sdps: (Vec<u8>, Vec<u8>),
    ) {
        let (key, invite) = asked;
        let (offer, sdp) = sdps;
        let mut headers = Vec::with_capacity(256);
        compose::push_capabilities(&mut headers, &line.identity, "Server");
        self.session = Asked::of(invite).grant(now, &line.identity.settings, &mut headers);
        let content = Content { status: 200, reason: "", headers: &headers, sdp: Some(&sdp) };
        let Some(sent) = line.respond(now, key, content) else { return };
        self.dialog.refresh_target(invite);
        let cseq = invite.cseq().number;
        self.unacked = Some(Unacked::of_reinvite(now, cseq, sent, offer.is_empty()));
        self.local_sdp = sdp;
        if !offer.is_empty() {
            self.remote_sdp = offer;
        }
    }

    /// Refuses their re-INVITE.
    pub(super) fn refuse_reoffer(&mut self, now: Moment, line: &mut Line, status: u16) {
        if let Exchange::Asked { key, .. } = &self.exchange {
            line.respond(now, key, Content::status(status));
            self.exchange = Exchange::Idle;
            self.begin_queued(now, line);
        }
    }

    /// The ACK with our answer. Says whether one was due.
    pub(super) fn acknowledge(&mut self, now: Moment, line: &mut Line, sdp: Vec<u8>) -> bool {
        let Exchange::Offered { cseq } = self.exchange else { return false };
        line.acknowledge(&self.dialog, cseq, &sdp);
        self.local_sdp = sdp;
        self.exchange = Exchange::Idle;
        self.begin_queued(now, line);
        true
    }
}

/// What the far end sends about INVITEs.
impl Talking {
    /// An ACK that no transaction absorbed.
    pub(super) fn handle_ack(&mut self, now: Moment, line: &mut Line, ack: &Request) -> Then {
        let of_ours = |unacked: &mut Unacked| unacked.is_of(ack);
        let Some(unacked) = self.unacked.take_if(of_ours) else { return Then::Stay };
        let sdp = compose::sdp_of(ack).filter(|_| unacked.wants_answer());
        if let Some(sdp) = &sdp {
            self.remote_sdp.clone_from(sdp);
        }
        line.event(LegEvent::Acked { sdp });
        if unacked.is_before_bye() {
            return Then::Bye;
        }
        self.begin_queued(now, line);
        Then::Stay
    }

    /// A re-INVITE (RFC 3261 §14.2). Its CSeq is in order.
    pub(super) fn handle_invite(
        &mut self,
        now: Moment,
        line: &mut Line,
        asked: (TransactionKey, &Request),
    ) {
        let (key, invite) = asked;
        let busy = match &self.exchange {
            Exchange::Asking { .. } | Exchange::Offered { .. } => Some(491),
            Exchange::Asked { .. } => Some(500),
            Exchange::Idle | Exchange::Glare { .. } => {
                self.unacked.as_ref().filter(|unacked| unacked.blocks_invite(now)).map(|_| 491)
            }
        };
        match busy {
            Some(500) => {
                let headers = format!("Retry-After: {}\r\n", line.draw(10)).into_bytes();
                let content = Content { headers: &headers, ..Content::status(500) };
                line.respond(now, &key, content);
                return;
            }
            Some(status) => {
                line.respond(now, &key, Content::status(status));
                return;
            }
            None => (),
        }
        if let Some(min_se) = Asked::of(invite).too_short(&line.identity.settings) {
            let headers = format!("Min-SE: {min_se}\r\n").into_bytes();
            line.respond(now, &key, Content { headers: &headers, ..Content::status(422) });
            return;
        }
        let offer = compose::sdp_of(invite).unwrap_or_default();
        if !offer.is_empty() && offer == self.remote_sdp && !self.local_sdp.is_empty() {
            // A refresh (RFC 4028 §7.4): the same offer has the same answer.
            let sdp = self.local_sdp.clone();
            self.accept(now, line, (&key, invite), (offer, sdp));
            return;
        }
        let sdp = (!offer.is_empty()).then(|| offer.clone());
        let trying_at = Some(now.after_ms(TRYING_AFTER_MS));
        self.give_way();
        self.exchange = Exchange::Asked { key, invite: invite.clone(), offer, trying_at };
        line.event(LegEvent::Reoffered { sdp });
    }

    /// Our offer that met theirs waits until theirs is done.
    fn give_way(&mut self) {
        if let Exchange::Glare { ours, .. } = std::mem::replace(&mut self.exchange, Exchange::Idle)
            && ours.commanded
        {
            self.queued.get_or_insert(ours.sdp);
        }
    }

    /// A CANCEL of their re-INVITE (RFC 3261 §9.2).
    pub(super) fn handle_cancel(
        &mut self,
        now: Moment,
        line: &mut Line,
        cancelled: &TransactionKey,
    ) {
        if matches!(&self.exchange, Exchange::Asked { key, .. } if key == cancelled) {
            self.refuse_reoffer(now, line, 487);
        }
    }

    /// A response to our re-INVITE.
    pub(super) fn handle_response(
        &mut self,
        now: Moment,
        line: &mut Line,
        heard: Heard,
        response: &Response,
    ) -> Then {
        let ours = match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::Asking { cseq, ours } if cseq == heard.news.cseq => ours,
            other @ (Exchange::Idle
            | Exchange::Asking { .. }
            | Exchange::Glare { .. }
            | Exchange::Offered { .. }
            | Exchange::Asked { .. }) => {
                self.exchange = other;
                return Then::Stay;
            }
        };
        let cseq = heard.news.cseq;
        match response.status() {
            ..=199 => self.exchange = Exchange::Asking { cseq, ours },
            200..=299 => self.reoffer_accepted(now, line, (cseq, ours), response),
            401 | 407 | 422 if ours.attempts < ATTEMPTS_MAX => {
                self.try_again(now, line, ours, (heard, response));
            }
            491 if ours.glares < GLARES_MAX => {
                let at = now.after_ms(self.glare_ms(line));
                self.exchange =
                    Exchange::Glare { at, ours: Ours { glares: ours.glares + 1, ..ours } };
            }
            // RFC 3261 §12.2.1.2: the far end does not know the dialog.
            408 | 481 => return Then::Lost(EndCause::Lost),
            status => {
                // Who refuses it has the dialog, whatever became of the first ACK.
                self.unacked = None;
                self.reoffer_refused(now, line, (ours, status));
            }
        }
        Then::Stay
    }

    fn reoffer_accepted(
        &mut self,
        now: Moment,
        line: &mut Line,
        asked: (u32, Ours),
        response: &Response,
    ) {
        let (cseq, ours) = asked;
        self.dialog.refresh_target(response);
        self.session = Asked::of(response).granted(now);
        // Who answers this has the dialog, whatever became of the first ACK.
        self.unacked = None;
        let sdp = compose::sdp_of(response);
        if ours.sdp.is_empty() && sdp.is_some() {
            self.exchange = Exchange::Offered { cseq };
        } else {
            line.acknowledge(&self.dialog, cseq, b"");
        }
        let changed = sdp.as_ref().is_some_and(|sdp| *sdp != self.remote_sdp);
        if !ours.sdp.is_empty() {
            self.local_sdp = ours.sdp;
        }
        if let Some(sdp) = &sdp {
            self.remote_sdp.clone_from(sdp);
        }
        if ours.commanded || changed {
            line.event(LegEvent::ReofferAnswered { sdp });
        }
        self.begin_queued(now, line);
    }

    fn reoffer_refused(&mut self, now: Moment, line: &mut Line, refused: (Ours, u16)) {
        let (ours, status) = refused;
        if ours.commanded {
            line.event(LegEvent::ReofferRefused { status });
        } else if let Some(session) = &mut self.session {
            session.refresh_later(now);
        }
        self.begin_queued(now, line);
    }

    /// Once more with credentials or a longer interval.
    fn try_again(&mut self, now: Moment, line: &mut Line, ours: Ours, answer: (Heard, &Response)) {
        let (heard, response) = answer;
        let status = response.status();
        if status == 422 {
            self.min_se = self.min_se.max(Asked::of(response).min_se());
        }
        let retry = Retry { min_se: self.min_se };
        let cseq = self.dialog.last_cseq() + 1;
        match retry::again(now, line, (&heard, response), (cseq, retry)) {
            true => {
                self.dialog.skip_cseq_to(cseq);
                let ours = Ours { attempts: ours.attempts + 1, ..ours };
                self.exchange = Exchange::Asking { cseq, ours };
            }
            false => self.reoffer_refused(now, line, (ours, status)),
        }
    }

    /// RFC 3261 §14.1: who owns the Call-ID waits 2.1 to 4 s, the other up to 2 s, in units of
    /// 10 ms.
    fn glare_ms(&self, line: &mut Line) -> u64 {
        if self.caller { 2_100 + 10 * line.draw(191) } else { 10 * line.draw(201) }
    }

    /// No response came to our re-INVITE: without any the dialog is lost (RFC 3261 §12.2.1.2); one
    /// that could not be sent counts as refused, and the session stays (§8.1.3.1, §14.1).
    pub(super) fn handle_unanswered(
        &mut self,
        now: Moment,
        line: &mut Line,
        what: (News, Silence),
    ) -> Then {
        let (news, silence) = what;
        match (std::mem::replace(&mut self.exchange, Exchange::Idle), silence) {
            (Exchange::Asking { cseq, .. }, Silence::TimedOut) if cseq == news.cseq => {
                return Then::Lost(EndCause::Lost);
            }
            (Exchange::Asking { cseq, ours }, Silence::Unreachable) if cseq == news.cseq => {
                self.reoffer_refused(now, line, (ours, silence.status()));
            }
            (other, _) => self.exchange = other,
        }
        Then::Stay
    }

    /// An UPDATE without SDP: a target refresh, and mostly one of the session (RFC 4028 §7.4).
    pub(super) fn handle_update(
        &mut self,
        now: Moment,
        line: &mut Line,
        asked: (&TransactionKey, &Request),
    ) {
        let (key, update) = asked;
        if let Some(min_se) = Asked::of(update).too_short(&line.identity.settings) {
            let headers = format!("Min-SE: {min_se}\r\n").into_bytes();
            line.respond(now, key, Content { headers: &headers, ..Content::status(422) });
            return;
        }
        self.dialog.refresh_target(update);
        let mut headers = Vec::with_capacity(256);
        compose::push_capabilities(&mut headers, &line.identity, "Server");
        if update.header(HeaderName::SessionExpires).is_some() {
            self.session = Asked::of(update).grant(now, &line.identity.settings, &mut headers);
        }
        line.respond(now, key, Content { headers: &headers, ..Content::status(200) });
    }
}

/// Time.
impl Talking {
    pub(super) fn handle_timeout(&mut self, now: Moment, line: &mut Line) -> Then {
        let unacked = self.unacked.as_mut();
        match unacked.map_or(Wants::Nothing, |unacked| unacked.handle_timeout(now)) {
            Wants::Nothing => (),
            Wants::Repeat { peer, bytes } => line.send(peer, bytes),
            Wants::Bye => return Then::Bye,
            Wants::Loss => return Then::Lost(EndCause::NoAck),
            Wants::Oblivion => self.unacked = None,
        }
        self.begin_queued(now, line);
        match &mut self.exchange {
            Exchange::Glare { at, ours } if *at <= now => {
                let ours = ours.clone();
                self.ask(now, line, ours);
            }
            Exchange::Asked { key, trying_at, .. } if trying_at.is_some_and(|at| at <= now) => {
                *trying_at = None;
                line.respond(now, key, Content::status(100));
            }
            Exchange::Idle
            | Exchange::Asking { .. }
            | Exchange::Glare { .. }
            | Exchange::Offered { .. }
            | Exchange::Asked { .. } => (),
        }
        let Some(session) = &mut self.session else { return Then::Stay };
        match session.handle_timeout(now) {
            Due::Nothing => (),
            Due::End => return Then::Lost(EndCause::SessionExpired),
            Due::Refresh if matches!(self.exchange, Exchange::Idle) && self.unacked.is_none() => {
                let sdp = self.local_sdp.clone();
                self.ask(now, line, Ours { sdp, commanded: false, glares: 0, attempts: 0 });
            }
            // What is under way refreshes the session as well.
            Due::Refresh => session.refresh_later(now),
        }
        Then::Stay
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        let waits = self.queued.is_some() && matches!(self.exchange, Exchange::Idle);
        let unacked = self.unacked.as_ref().map(|unacked| unacked.poll_timeout(waits));
        let exchange = match &self.exchange {
            Exchange::Glare { at, .. } => Some(*at),
            Exchange::Asked { trying_at, .. } => *trying_at,
            Exchange::Idle | Exchange::Asking { .. } | Exchange::Offered { .. } => None,
        };
        let session = self.session.as_ref().and_then(Session::poll_timeout);
        earliest(unacked, earliest(exchange, session))
    }
}
