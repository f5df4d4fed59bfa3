//! An outgoing leg until its final response (RFC 3261 §13.2, §9.1, RFC 3262 §4).
//!
//! Owns the early dialogs of all forks, the PRACKs, the retries after 401, 407 and 422, and the
//! wish to cancel, which must wait for a provisional response.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::{
    CONTACTS_MAX, EndCause, LegEvent, Outgoing, Refused,
    compose::{self, text},
    line::{Draft, Heard, Line, News, Purpose, Silence},
    retry::{self, Retry},
    session::{self, Asked},
    talking::{ATTEMPTS_MAX, Talking},
};
use crate::{
    dialog::{Dialog, Stray, push_line, request_uri},
    transaction::Moment,
    wire::{HeaderName, Method, NameAddr, Request, Response, Uri},
};

/// Early dialogs that are kept. Provisional responses of further forks are not told and not
/// acknowledged; a 2xx of one still counts.
const FORKS_MAX: usize = 8;

/// The CSeq of the first request.
const FIRST_CSEQ: u32 = 1;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Calling {
    target: Uri,
    cseq: u32,
    /// Our offer; empty asks for theirs.
    sdp: Vec<u8>,
    attempts: u8,
    min_se: u32,
    early: Vec<Early>,
    wish: Wish,
    /// CSeqs up to this one may have been used by a machine that is gone.
    cseq_floor: u32,
}

/// What the node wants of the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Wish {
    Answer,
    /// Cancel it, as soon as that is allowed.
    Cancel,
    /// The CANCEL is out.
    Cancelled,
}

/// One fork (RFC 3261 §12.1.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Early {
    dialog: Dialog,
    /// The last reliable provisional response (RFC 3262 §4).
    rseq: Option<u32>,
    /// The answer, if a reliable one carried it: what comes later does not count.
    answer: Option<Vec<u8>>,
}

/// What becomes of a calling leg.
pub(super) enum Then {
    /// It goes on.
    Stay,
    /// It was answered.
    Talk(Box<Talking>),
    /// It was answered when it had been cancelled: the dialog is to be ended.
    Bye(Box<Dialog>),
    /// It is over.
    Over,
}

/// Beginning.
impl Calling {
    /// Sends the INVITE. None if the addresses are none.
    pub(super) fn new(now: Moment, line: &mut Line, outgoing: &Outgoing) -> Option<Self> {
        let target = Uri::parse(outgoing.target.as_bytes()).ok()?.without_headers();
        let from = NameAddr::parse(outgoing.from.as_bytes()).ok()?;
        let to = NameAddr::parse(outgoing.to.as_bytes()).ok()?;
        let from = from.with_tag(&outgoing.identity.tag);
        let branch = line.next_branch();
        let bytes = invite(line, outgoing, (&target, &from, &to), &branch);
        let news = News { purpose: Purpose::Invite, cseq: FIRST_CSEQ };
        line.start(now, news, &branch, (outgoing.peer, bytes));
        Some(Self {
            target,
            cseq: FIRST_CSEQ,
            sdp: outgoing.sdp.clone(),
            attempts: 0,
            min_se: 0,
            early: Vec::new(),
            wish: Wish::Answer,
            cseq_floor: 0,
        })
    }

    /// See [`super::Leg::restore`].
    pub(super) fn skip(&mut self, cseqs: u32) {
        self.cseq_floor = self.cseq.saturating_add(cseqs);
        for early in &mut self.early {
            early.dialog.skip_cseq_to(early.dialog.last_cseq().saturating_add(cseqs));
        }
    }

    /// Whether it is to be cancelled.
    pub(super) fn is_cancelling(&self) -> bool {
        self.wish != Wish::Answer
    }

    /// The tag of the far end, while only one answers.
    pub(super) fn remote_tag(&self) -> Option<&str> {
        match &*self.early {
            [only] => Some(only.dialog.remote_tag()),
            [] | [_, _, ..] => None,
        }
    }

    /// Checks a request in one of the early dialogs.
    pub(super) fn admit(&mut self, request: &Request) -> Result<(), Stray> {
        let early = self.early.iter_mut().find(|early| early.dialog.owns(request));
        early.ok_or(Stray::OtherDialog)?.dialog.admit(request)
    }
}

fn invite(
    line: &Line,
    outgoing: &Outgoing,
    addresses: (&Uri, &NameAddr, &NameAddr),
    branch: &str,
) -> Vec<u8> {
    let (target, from, to) = addresses;
    let identity = &outgoing.identity;
    let mut out = Vec::with_capacity(1_024 + outgoing.sdp.len());
    let via = compose::via(identity, outgoing.peer.transport, branch);
    let hops = outgoing.max_forwards;
    let read = |route: &String| NameAddr::parse(route.as_bytes()).ok();
    let routes: Vec<NameAddr> = outgoing.routes.iter().filter_map(read).collect();
    // RFC 3261 §8.1.2: a strict router is the Request-URI, and the target comes last.
    let strict = routes.first().filter(|route| route.uri().param("lr").is_none());
    let uri = strict.map_or_else(|| target.clone(), |route| request_uri(&route.uri()));
    let _ = write!(out, "INVITE {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: {hops}\r\n");
    for route in &routes[usize::from(strict.is_some())..] {
        push_line(&mut out, "Route", route.as_bytes());
    }
    if strict.is_some() {
        let _ = write!(out, "Route: <{target}>\r\n");
    }
    push_line(&mut out, "From", from.as_bytes());
    push_line(&mut out, "To", to.as_bytes());
    let _ = write!(out, "Call-ID: {}\r\nCSeq: {FIRST_CSEQ} INVITE\r\n", line.call_id);
    compose::push_contact(&mut out, identity);
    // A reliable provisional response to an INVITE without an offer would carry theirs, and the
    // PRACK our answer (RFC 3262 §5): not offered there.
    let supported = if outgoing.sdp.is_empty() { "timer" } else { "100rel, timer" };
    let _ = write!(out, "Allow: {}\r\nSupported: {supported}\r\n", compose::ALLOW);
    compose::push_product(&mut out, &identity.settings, "User-Agent");
    session::push_request(&mut out, &identity.settings, None, 0);
    for (name, value) in &outgoing.headers {
        compose::push_foreign(&mut out, name, value);
    }
    compose::push_body(&mut out, compose::SDP, &outgoing.sdp);
    out
}

/// Commands and inputs.
impl Calling {
    /// Cancels, at once or when a provisional response has come (RFC 3261 §9.1).
    pub(super) fn cancel(&mut self, now: Moment, line: &mut Line) {
        if self.wish != Wish::Cancelled {
            let sent = line.cancel(now, self.cseq);
            self.wish = if sent { Wish::Cancelled } else { Wish::Cancel };
        }
    }

    /// We are at another address, and the final response would go to the old one: cancels at once,
    /// without the provisional response that RFC 3261 §9.1 waits for so that no CANCEL overtakes
    /// its INVITE. The machine that sent the INVITE is gone for longer than that takes. The CANCEL
    /// keeps the INVITE's Via, by which it is matched (§9.2), and is answered to where it came from
    /// (§18.2.2).
    pub(super) fn moved(&mut self, now: Moment, line: &mut Line) {
        self.wish = Wish::Cancelled;
        line.cancel_unheard(now, self.cseq);
    }

    /// A response to the INVITE.
    pub(super) fn handle_response(
        &mut self,
        now: Moment,
        line: &mut Line,
        heard: Heard,
        response: &Response,
    ) -> Then {
        if heard.news.cseq != self.cseq {
            return Then::Stay;
        }
        match response.status() {
            ..=199 => {
                self.handle_provisional(now, line, response);
                Then::Stay
            }
            200..=299 => self.handle_answer(now, line, response),
            401 | 407 | 422 if self.try_again(now, line, &heard, response) => Then::Stay,
            status => {
                let refused = refused(status, response);
                self.over(line, refused)
            }
        }
    }

    fn handle_provisional(&mut self, now: Moment, line: &mut Line, response: &Response) {
        if self.wish == Wish::Cancel {
            self.cancel(now, line);
        }
        if response.status() == 100 || self.wish != Wish::Answer {
            return;
        }
        let sdp = compose::sdp_of(response);
        let reliable = response.lists(HeaderName::Require, "100rel");
        let Some(early) = self.fork(response) else {
            // Without a tag it makes no dialog (RFC 3261 §12.1.2), but it rings.
            if response.to_tag().is_none() {
                let status = response.status();
                line.event(LegEvent::Ringing { status, sdp, reliable: false });
            }
            return;
        };
        let rseq = rseq(response).filter(|_| reliable);
        if let Some(rseq) = rseq {
            // RFC 3262 §4: in order, and each once.
            if early.rseq.is_some_and(|last| last.checked_add(1) != Some(rseq)) {
                return;
            }
            early.rseq = Some(rseq);
            early.dialog.refresh_target(response);
            if early.answer.is_none() {
                early.answer.clone_from(&sdp);
            }
            let headers = format!("RAck: {rseq} {} INVITE\r\n", response.cseq().number);
            let draft = Draft {
                method: Method::Prack,
                purpose: Purpose::Prack,
                headers: headers.as_bytes(),
                content_type: "",
                body: b"",
            };
            line.request(now, &mut early.dialog, draft);
        }
        let reliable = rseq.is_some();
        line.event(LegEvent::Ringing { status: response.status(), sdp, reliable });
    }

    /// The fork that the response is from.
    fn fork(&mut self, response: &Response) -> Option<&mut Early> {
        let tag = response.to_tag()?;
        let known = self.early.iter().position(|early| early.dialog.remote_tag() == tag);
        let at = match known {
            Some(at) => at,
            None if self.early.len() >= FORKS_MAX => return None,
            None => {
                let mut dialog = Dialog::uac(response, &self.target).ok()?;
                dialog.skip_cseq_to(self.cseq_floor);
                self.early.push(Early { dialog, rseq: None, answer: None });
                self.early.len() - 1
            }
        };
        self.early.get_mut(at)
    }

    fn handle_answer(&mut self, now: Moment, line: &mut Line, response: &Response) -> Then {
        let Ok(mut dialog) = Dialog::uac(response, &self.target) else {
            // Without its routes the ACK cannot get there. The far end gives up by itself.
            return self.over(line, refused(502, response));
        };
        let early = self.early.iter_mut().find(|e| e.dialog.remote_tag() == dialog.remote_tag());
        let early_answer = early.and_then(|early| {
            dialog.skip_cseq_to(early.dialog.last_cseq());
            early.answer.take()
        });
        dialog.skip_cseq_to(self.cseq_floor);
        if self.wish != Wish::Answer {
            // RFC 3261 §15: the CANCEL came too late.
            line.acknowledge(&dialog, self.cseq, b"");
            return Then::Bye(Box::new(dialog));
        }
        let sdp = early_answer.or_else(|| compose::sdp_of(response));
        let remote = sdp.clone().unwrap_or_default();
        let mut talking = Talking::new(dialog, std::mem::take(&mut self.sdp), remote).for_caller();
        talking.run_session(Asked::of(response).granted(now));
        if talking.has_offered() || sdp.is_none() {
            line.acknowledge_answer(&talking.dialog, self.cseq);
        } else {
            talking.expect_answer(self.cseq);
        }
        line.event(LegEvent::Answered { sdp });
        Then::Talk(Box::new(talking))
    }

    /// Says whether the INVITE goes once more.
    fn try_again(
        &mut self,
        now: Moment,
        line: &mut Line,
        heard: &Heard,
        response: &Response,
    ) -> bool {
        if self.wish != Wish::Answer || self.attempts >= ATTEMPTS_MAX {
            return false;
        }
        if response.status() == 422 {
            self.min_se = self.min_se.max(Asked::of(response).min_se());
        }
        let retry = Retry { min_se: self.min_se };
        let cseq = self.cseq.max(self.cseq_floor) + 1;
        let sent = retry::again(now, line, (heard, response), (cseq, retry));
        if sent {
            self.attempts += 1;
            self.cseq = cseq;
            self.early.clear();
        }
        sent
    }

    /// A PRACK was challenged.
    pub(super) fn handle_prack_response(
        &mut self,
        now: Moment,
        line: &mut Line,
        heard: &Heard,
        response: &Response,
    ) {
        let tag = response.to_tag().unwrap_or_default();
        let early = self.early.iter_mut().find(|early| early.dialog.remote_tag() == tag);
        let Some(early) = early.filter(|_| matches!(response.status(), 401 | 407)) else { return };
        let retry = Retry { min_se: 0 };
        let cseq = early.dialog.last_cseq() + 1;
        if retry::again(now, line, (heard, response), (cseq, retry)) {
            early.dialog.skip_cseq_to(cseq);
        }
    }

    /// The INVITE got no answer: timer B, or nothing after the CANCEL, or nobody there.
    pub(super) fn handle_unanswered(
        &mut self,
        line: &mut Line,
        news: News,
        silence: Silence,
    ) -> Then {
        if news != (News { purpose: Purpose::Invite, cseq: self.cseq }) {
            return Then::Stay;
        }
        self.over(line, Refused::without_response(silence.status()))
    }

    fn over(&self, line: &mut Line, refused: Refused) -> Then {
        line.event(match self.wish {
            Wish::Answer => LegEvent::Refused(refused),
            Wish::Cancel | Wish::Cancelled => LegEvent::Ended { cause: EndCause::WeHungUp },
        });
        Then::Over
    }
}

fn refused(status: u16, response: &Response) -> Refused {
    let is_redirect = (300..400).contains(&status);
    let contacts = response.values(HeaderName::Contact).take(CONTACTS_MAX).map(text);
    let retry_after = response.header_str(HeaderName::RetryAfter).and_then(|value| {
        let digits = value.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    Refused {
        status,
        reason: response.reason(),
        contacts: if is_redirect { contacts.collect() } else { Vec::new() },
        retry_after_seconds: retry_after,
        cause: response.header(HeaderName::Reason).map(text),
    }
}

fn rseq(response: &Response) -> Option<u32> {
    response.header_str(HeaderName::RSeq)?.parse().ok()
}
