//! What happens to a leg: requests, responses, silence and time.

use std::time::Instant;

use super::{
    Leg, Output, Phase, calling,
    compose::{self, Content},
    leaving::{self, Leaving, Untold},
    line::{Draft, Heard, News, Purpose, Silence, earliest},
    requests, talking,
};
use crate::{
    dialog::{Dialog, Stray},
    transaction::{Moment, TransactionKey},
    wire::{Method, Peer, Request, Response},
};

/// Timers that may be due at the same instant. A leg has fewer; more would be one that does not
/// move, and the shell would not be left alone with it.
const TIMERS_MAX: usize = 64;

impl Leg {
    /// A request that belongs to the leg.
    pub fn handle_request(&mut self, now: Instant, request: &Request, peer: Peer) {
        let now = self.clock.read(now);
        let key = TransactionKey::of(request);
        match request.method() {
            Method::Ack => self.handle_ack(now, &key, request),
            Method::Cancel => self.handle_cancel(now, key, (request, peer)),
            Method::Invite
            | Method::Bye
            | Method::Options
            | Method::Register
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Info
            | Method::Refer
            | Method::Message
            | Method::Update
            | Method::Other(_) => {
                if !self.line.absorbs(&key) && self.line.open(key.clone(), request, peer) {
                    self.handle_new(now, key, request);
                }
            }
        }
        self.settle();
    }

    /// A response that belongs to the leg. Others are dropped.
    pub fn handle_response(&mut self, now: Instant, response: &Response) {
        let now = self.clock.read(now);
        if let Some(heard) = self.line.handle_response(now, response) {
            match heard.news.purpose {
                Purpose::Invite => self.handle_invite_response(now, heard, response),
                Purpose::Bye => self.handle_bye_response(now, &heard, response),
                Purpose::Prack => {
                    if let Phase::Calling(calling) = &mut self.phase {
                        calling.handle_prack_response(now, &mut self.line, &heard, response);
                    }
                }
                // A CANCEL's answer says nothing: the INVITE's does (RFC 3261 §9.1). A fork's
                // BYE and a NOTIFY are done, whatever is said to them.
                Purpose::Cancel | Purpose::StrayBye | Purpose::Notify => (),
            }
        } else if self.line.is_answer_to_former(response)
            && let Phase::Talking(talking) = &self.phase
            && response.to_tag() == Some(talking.dialog.remote_tag())
        {
            // Who is not acknowledged hangs up (RFC 3261 §13.3.1.4).
            self.line.acknowledge(&talking.dialog, response.cseq().number, b"");
        }
        self.settle();
    }

    /// What was to be sent to this peer cannot be (RFC 3261 §17.1.4): requests that wait for its
    /// answer count as answered with 503 (§8.1.3.1).
    pub fn handle_unreachable(&mut self, now: Instant, peer: Peer) {
        let now = self.clock.read(now);
        for news in self.line.handle_unreachable(peer) {
            self.handle_unanswered(now, news, Silence::Unreachable);
        }
        self.settle();
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock.read(now);
        for _ in 0..TIMERS_MAX {
            if self.next_moment().is_none_or(|due| due > now) {
                break;
            }
            for news in self.line.handle_timeout(now) {
                self.handle_unanswered(now, news, Silence::TimedOut);
            }
            self.handle_phase_timeout(now);
        }
        self.settle();
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.clock.instant_of(self.next_moment()?))
    }

    /// What is to be done. Drain it after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.line.poll_output()
    }
}

/// Requests.
impl Leg {
    fn handle_ack(&mut self, now: Moment, key: &TransactionKey, ack: &Request) {
        if self.line.absorbs_ack(now, key) {
            return;
        }
        if let Phase::Talking(talking) = &mut self.phase
            && talking.dialog.owns(ack)
        {
            let then = talking.handle_ack(now, &mut self.line, ack);
            self.after_talking(now, then);
        }
    }

    /// RFC 3261 §9.2: 200 if the request is known, whatever became of it. Only an INVITE can be
    /// cancelled.
    fn handle_cancel(&mut self, now: Moment, key: TransactionKey, cancel: (&Request, Peer)) {
        let (request, peer) = cancel;
        if self.line.absorbs(&key) || !self.line.open(key.clone(), request, peer) {
            return;
        }
        let cancelled = TransactionKey::of_cancelled(request);
        let status = if self.line.knows_cancelled(&key) { 200 } else { 481 };
        self.line.respond(now, &key, Content::status(status));
        match &mut self.phase {
            Phase::Arriving(arriving) if *arriving.key() == cancelled => {
                let then = arriving.cancelled(now, &mut self.line);
                self.after_arriving(now, then);
            }
            Phase::Talking(talking) => talking.handle_cancel(now, &mut self.line, &cancelled),
            Phase::Arriving(_)
            | Phase::Calling(_)
            | Phase::Leaving(_)
            | Phase::Over
            | Phase::Terminated => (),
        }
    }

    fn handle_new(&mut self, now: Moment, key: TransactionKey, request: &Request) {
        let admitted = if self.is_merged(request) {
            Err(482) // RFC 3261 §8.2.2.2.
        } else {
            match &mut self.phase {
                Phase::Arriving(arriving) => arriving.dialog.admit(request),
                Phase::Calling(calling) => calling.admit(request),
                Phase::Talking(talking) => talking.dialog.admit(request),
                Phase::Leaving(leaving) => leaving.dialog_mut().admit(request),
                Phase::Over if self.line.awaits_prack(request) => Ok(()),
                Phase::Over | Phase::Terminated => Err(Stray::OtherDialog),
            }
            .map_err(|stray| match stray {
                Stray::OtherDialog => 481,
                Stray::OutOfOrder => 500,
            })
        };
        if let Err(status) = admitted {
            self.line.respond(now, &key, Content::status(status));
        } else if requests::is_servable(now, &mut self.line, &key, request) {
            self.serve(now, key, request);
        }
    }

    /// A request in the dialog that may be looked at.
    fn serve(&mut self, now: Moment, key: TransactionKey, request: &Request) {
        let line = &mut self.line;
        match request.method() {
            Method::Bye => self.handle_bye(now, key),
            Method::Invite => self.handle_invite(now, key, request),
            Method::Prack => self.handle_prack(now, &key, request),
            Method::Update => self.handle_update(now, &key, request),
            Method::Options => requests::answer_options(now, line, &key),
            Method::Info => requests::answer_info(now, line, &key, request),
            Method::Refer => match &mut self.phase {
                Phase::Talking(talking) => talking.transfer.handle_refer(now, line, (key, request)),
                Phase::Arriving(_)
                | Phase::Calling(_)
                | Phase::Leaving(_)
                | Phase::Over
                | Phase::Terminated => {
                    line.respond(now, &key, Content::status(603));
                }
            },
            // Not in [`requests::is_servable`]'s list, or no requests of this kind.
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Message
            | Method::Other(_) => {
                line.respond(now, &key, Content::status(501));
            }
        }
    }

    fn handle_bye(&mut self, now: Moment, key: TransactionKey) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Talking(mut talking) => {
                talking.close(now, &mut self.line);
                let dialog = talking.dialog;
                let leaving = Leaving::theirs(now, &mut self.line, dialog, key);
                self.phase = Phase::Leaving(Box::new(leaving));
            }
            Phase::Arriving(arriving) => {
                self.line.respond(now, &key, Content::status(200));
                let then = arriving.cancelled(now, &mut self.line);
                self.after_arriving(now, then);
            }
            // In an early dialog a callee has none to send (RFC 3261 §15); beside ours, both
            // hang up at once.
            other @ (Phase::Calling(_) | Phase::Leaving(_) | Phase::Over | Phase::Terminated) => {
                self.line.respond(now, &key, Content::status(200));
                self.phase = other;
            }
        }
    }

    fn handle_invite(&mut self, now: Moment, key: TransactionKey, invite: &Request) {
        let status = match &mut self.phase {
            Phase::Talking(talking) if talking.is_hanging_up() => 487,
            Phase::Talking(talking) => {
                talking.handle_invite(now, &mut self.line, (key, invite));
                return;
            }
            // RFC 3261 §14.2: another INVITE before the final response to the first.
            Phase::Arriving(_) => {
                let headers = format!("Retry-After: {}\r\n", self.line.draw(10)).into_bytes();
                let content = Content { headers: &headers, ..Content::status(500) };
                self.line.respond(now, &key, content);
                return;
            }
            Phase::Calling(_) => 491,
            Phase::Leaving(_) | Phase::Over | Phase::Terminated => 481,
        };
        self.line.respond(now, &key, Content::status(status));
    }

    fn handle_prack(&mut self, now: Moment, key: &TransactionKey, prack: &Request) {
        if let Phase::Arriving(arriving) = &mut self.phase {
            let then = arriving.handle_prack(now, &mut self.line, (key, prack));
            self.after_arriving(now, then);
        } else {
            let awaited = self.line.awaits_prack(prack);
            self.line.unpracked.take_if(|_| awaited);
            self.line.respond(now, key, Content::status(if awaited { 200 } else { 481 }));
        }
    }

    fn handle_update(&mut self, now: Moment, key: &TransactionKey, update: &Request) {
        if compose::sdp_of(update).is_some() {
            // RFC 3311 §5.2: refused, the session stays as it is.
            self.line.respond(now, key, Content::status(488));
            return;
        }
        match &mut self.phase {
            Phase::Talking(talking) => talking.handle_update(now, &mut self.line, (key, update)),
            Phase::Arriving(arriving) => {
                arriving.dialog.refresh_target(update);
                requests::answer_options(now, &mut self.line, key);
            }
            Phase::Calling(_) => requests::answer_options(now, &mut self.line, key),
            Phase::Leaving(_) | Phase::Over | Phase::Terminated => {
                self.line.respond(now, key, Content::status(481));
            }
        }
    }
}

/// Responses, and none.
impl Leg {
    fn handle_invite_response(&mut self, now: Moment, heard: Heard, response: &Response) {
        let tag = response.to_tag().unwrap_or_default();
        match &mut self.phase {
            Phase::Calling(calling) => {
                let then = calling.handle_response(now, &mut self.line, heard, response);
                self.after_calling(now, then);
            }
            Phase::Talking(talking)
                if talking.dialog.remote_tag() == tag || !response.is_success() =>
            {
                let then = talking.handle_response(now, &mut self.line, heard, response);
                self.after_talking(now, then);
            }
            // Our re-INVITE was answered after all: it needs its ACK, and the BYE ends the rest.
            Phase::Leaving(leaving) if leaving.dialog().remote_tag() == tag => {
                if response.is_success() {
                    self.line.acknowledge(leaving.dialog(), heard.news.cseq, b"");
                }
            }
            Phase::Talking(_)
            | Phase::Leaving(_)
            | Phase::Arriving(_)
            | Phase::Over
            | Phase::Terminated => {
                if response.is_success() {
                    self.end_fork(now, response);
                }
            }
        }
    }

    /// A 2xx of another fork makes another dialog: acknowledged and ended
    /// (RFC 3261 §13.2.2.4).
    fn end_fork(&mut self, now: Moment, response: &Response) {
        let Ok(mut dialog) = Dialog::uac(response, &response.to().uri()) else { return };
        self.line.acknowledge(&dialog, response.cseq().number, b"");
        self.line.request(now, &mut dialog, Draft::bye(Purpose::StrayBye));
    }

    fn handle_bye_response(&mut self, now: Moment, heard: &Heard, response: &Response) {
        if let Phase::Leaving(leaving) = &mut self.phase {
            let then = leaving.handle_response(now, &mut self.line, heard, response);
            self.after_leaving(now, then);
        }
    }

    fn handle_unanswered(&mut self, now: Moment, news: News, silence: Silence) {
        match &mut self.phase {
            Phase::Calling(calling) => {
                let then = calling.handle_unanswered(&mut self.line, news, silence);
                self.after_calling(now, then);
            }
            Phase::Talking(talking) => {
                let then = talking.handle_unanswered(now, &mut self.line, (news, silence));
                self.after_talking(now, then);
            }
            Phase::Leaving(leaving) => {
                let then = leaving.handle_unanswered(&mut self.line, news);
                self.after_leaving(now, then);
            }
            Phase::Arriving(_) | Phase::Over | Phase::Terminated => (),
        }
    }
}

/// Time and transitions.
impl Leg {
    fn handle_phase_timeout(&mut self, now: Moment) {
        match &mut self.phase {
            Phase::Arriving(arriving) => {
                let then = arriving.handle_timeout(now, &mut self.line);
                self.after_arriving(now, then);
            }
            Phase::Talking(talking) => {
                let then = talking.handle_timeout(now, &mut self.line);
                self.after_talking(now, then);
            }
            Phase::Leaving(leaving) => {
                let then = leaving.handle_timeout(now, &mut self.line);
                self.after_leaving(now, then);
            }
            Phase::Calling(_) | Phase::Over | Phase::Terminated => (),
        }
    }

    fn next_moment(&self) -> Option<Moment> {
        let phase = match &self.phase {
            Phase::Arriving(arriving) => arriving.poll_timeout(),
            Phase::Talking(talking) => talking.poll_timeout(),
            Phase::Leaving(leaving) => leaving.poll_timeout(),
            Phase::Calling(_) | Phase::Over | Phase::Terminated => None,
        };
        earliest(phase, self.line.poll_timeout())
    }

    fn after_calling(&mut self, now: Moment, then: calling::Then) {
        match then {
            calling::Then::Stay => (),
            calling::Then::Talk(talking) => self.phase = Phase::Talking(talking),
            calling::Then::Bye(dialog) => {
                let told = Some(Untold::WeHungUp);
                let leaving = Leaving::ours(now, &mut self.line, *dialog, told);
                self.phase = Phase::Leaving(Box::new(leaving));
            }
            calling::Then::Over => self.over(now),
        }
    }

    fn after_talking(&mut self, now: Moment, then: talking::Then) {
        match then {
            talking::Then::Stay => (),
            talking::Then::Bye => self.leave(now),
            talking::Then::Lost(cause) => self.lose(now, cause),
        }
    }

    fn after_leaving(&mut self, now: Moment, then: leaving::Then) {
        match then {
            leaving::Then::Stay => (),
            leaving::Then::Over => self.over(now),
        }
    }
}
