//! The far end of a leg: a user agent of its own that knows of SIP what such a call needs, and
//! shares with ours only the reading of messages.
//!
//! Owns its dialog (RFC 3261 §12) and its retransmissions (§17). It notes what must not happen to
//! somebody who talks: that the call is ended though nobody hung up.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tandem_sip::wire::{HeaderName, Message, Method, Request, Response};

use crate::{MILLISECOND, Micros};

const T1: Micros = 500 * MILLISECOND;
const T2: Micros = 4_000 * MILLISECOND;

/// Where it is.
pub(super) const PHONE: &str = "192.0.2.1:5060";

const CALL_ID: &str = "call@simulation";

/// How far its call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    Trying,
    Rings,
    Talks,
    /// It hung up.
    HungUp,
    /// The other side ended the call or refused it.
    Ended,
}

/// What it sends, and where.
pub(super) type Sent = (SocketAddr, Vec<u8>);

#[derive(Debug)]
pub(super) struct Phone {
    pub(super) stage: Stage,
    /// Wants provisional responses reliably (RFC 3262).
    pub(super) wants_reliable: bool,
    pub(super) sends: Vec<Sent>,
    /// Where the other side is: the host of its last Contact.
    target: SocketAddr,
    their_tag: String,
    invite: Option<Request>,
    cseq: u32,
    their_cseq: u32,
    version: u64,
    requests: Vec<Repeated>,
    /// By branch and method.
    responses: BTreeMap<(String, String), Vec<u8>>,
    unacked: Option<Repeated>,
    pracked: Option<String>,
}

/// What is sent again until something comes.
#[derive(Debug)]
struct Repeated {
    branch: String,
    method: Method,
    sent: Sent,
    next: Micros,
    pause: Micros,
    until: Micros,
}

impl Phone {
    pub(super) fn new(target: SocketAddr, wants_reliable: bool) -> Self {
        Self {
            stage: Stage::Idle,
            wants_reliable,
            sends: Vec::new(),
            target,
            their_tag: String::new(),
            invite: None,
            cseq: 0,
            their_cseq: 0,
            version: 0,
            requests: Vec::new(),
            responses: BTreeMap::new(),
            unacked: None,
            pracked: None,
        }
    }

    /// Calls.
    pub(super) fn calls(&mut self, now: Micros) {
        self.stage = Stage::Trying;
        let sdp = self.describes();
        let supported = if self.wants_reliable { "Supported: 100rel\r\n" } else { "" };
        self.asks(now, &Method::Invite, supported, &sdp);
    }

    /// Answers the INVITE that it rings for.
    pub(super) fn answers(&mut self, now: Micros) {
        if self.stage != Stage::Rings {
            return;
        }
        if let Some(invite) = self.invite.clone() {
            self.stage = Stage::Talks;
            self.accepts(now, &invite);
        }
    }

    /// Holds or takes back: a re-INVITE, if nothing else is under way.
    pub(super) fn reoffers(&mut self, now: Micros) {
        if self.stage == Stage::Talks && !self.invites() && self.unacked.is_none() {
            let sdp = self.describes();
            self.asks(now, &Method::Invite, "", &sdp);
        }
    }

    pub(super) fn hangs_up(&mut self, now: Micros) {
        if self.stage == Stage::Talks {
            self.stage = Stage::HungUp;
            self.asks(now, &Method::Bye, "", "");
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Micros> {
        self.requests.iter().chain(&self.unacked).map(|repeated| repeated.next).min()
    }

    pub(super) fn time_passes(&mut self, now: Micros) {
        self.requests.retain(|request| request.until > now);
        if self.unacked.take_if(|answer| answer.until <= now).is_some() {
            // RFC 3261 §13.3.1.4: who is not acknowledged hangs up.
            self.stage = Stage::Ended;
            self.asks(now, &Method::Bye, "", "");
        }
        for repeated in self.requests.iter_mut().chain(&mut self.unacked) {
            if repeated.next <= now {
                self.sends.push(repeated.sent.clone());
                // Only an INVITE is repeated ever more seldom (RFC 3261 §17.1.1.2).
                let is_request = repeated.method == Method::Invite && !repeated.branch.is_empty();
                let longest = if is_request { Micros::MAX } else { T2 };
                repeated.pause = (repeated.pause * 2).min(longest);
                repeated.next = now + repeated.pause;
            }
        }
    }

    pub(super) fn hears(&mut self, now: Micros, message: &Message) {
        match message {
            Message::Request(request) => self.is_asked(now, request),
            Message::Response(response) => self.is_told(now, response),
        }
    }

    fn invites(&self) -> bool {
        self.requests.iter().any(|request| request.method == Method::Invite)
    }

    fn describes(&mut self) -> String {
        self.version += 1;
        let version = self.version;
        format!(
            "v=0\r\no=- 9 {version} IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 8\r\n"
        )
    }

    fn asks(&mut self, now: Micros, method: &Method, headers: &str, sdp: &str) {
        self.cseq += 1;
        let (branch, cseq) = (format!("z9hG4bKphone-{}", self.cseq), self.cseq);
        let sent = (self.target, self.text(method, (&branch, cseq), headers, sdp));
        self.sends.push(sent.clone());
        let (next, until) = (now + T1, now + 64 * T1);
        let method = method.clone();
        self.requests.push(Repeated { branch, method, sent, next, pause: T1, until });
    }

    fn text(&self, method: &Method, of: (&str, u32), headers: &str, sdp: &str) -> Vec<u8> {
        let ((branch, cseq), method, to) = (of, method.as_str(), &self.target);
        let tag = match &*self.their_tag {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:leg@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE};branch={branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:phone@example.com>;tag=phone\r\n\
             To: <sip:tandem@example.com>{tag}\r\nCall-ID: {CALL_ID}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:phone@{PHONE}>\r\n{headers}{kind}Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        )
        .into_bytes()
    }
}

/// What comes.
impl Phone {
    fn is_asked(&mut self, now: Micros, request: &Request) {
        let method = request.method();
        let key = (request.branch().unwrap_or_default().to_owned(), method.as_str().to_owned());
        if *method == Method::Ack {
            self.unacked = None;
            return;
        }
        if let Some(said) = self.responses.get(&key) {
            let to = source(request);
            self.sends.push((to, said.clone()));
            return;
        }
        let is_first = *method == Method::Invite && request.to_tag().is_none();
        if *method == Method::Cancel {
            return self.is_cancelled(request);
        }
        if !is_first && request.cseq().number <= self.their_cseq {
            return self.says(request, 500, "");
        }
        self.their_cseq = request.cseq().number;
        if is_first {
            self.their_tag = request.from_tag().unwrap_or_default().to_owned();
            self.follows(request.contact().map(|contact| contact.uri().as_str().to_owned()));
            self.stage = Stage::Rings;
            self.invite = Some(request.clone());
            self.says(request, 180, "");
        } else if *method == Method::Invite && self.invites() {
            self.says(request, 491, "");
        } else if *method == Method::Invite && self.stage == Stage::Talks {
            self.follows(request.contact().map(|contact| contact.uri().as_str().to_owned()));
            self.accepts(now, request);
        } else if *method == Method::Bye {
            if self.stage != Stage::HungUp {
                self.stage = Stage::Ended;
            }
            self.requests.retain(|pending| pending.method == Method::Bye);
            self.unacked = None;
            self.says(request, 200, "");
        } else {
            self.says(request, 481, "");
        }
    }

    fn is_cancelled(&mut self, cancel: &Request) {
        self.says(cancel, 200, "");
        if let Some(invite) = self.invite.clone().filter(|_| self.stage == Stage::Rings) {
            self.stage = Stage::Ended;
            self.says(&invite, 487, "");
        }
    }

    fn is_told(&mut self, now: Micros, response: &Response) {
        let (branch, status) = (response.branch().unwrap_or_default(), response.status());
        let is_invite = response.cseq().method == Method::Invite;
        if status > 100 && is_invite && status < 300 {
            if self.their_tag.is_empty() {
                self.their_tag = response.to_tag().unwrap_or_default().to_owned();
            }
            self.follows(response.contact().map(|contact| contact.uri().as_str().to_owned()));
        }
        let own = self.requests.iter().position(|request| request.branch == branch);
        if status < 200 {
            // From here on nothing is repeated (RFC 3261 §17.1.1.2).
            if let Some(request) = own.map(|at| &mut self.requests[at]).filter(|_| is_invite) {
                request.next = request.until.max(now + 600_000 * MILLISECOND);
                request.until = request.next;
            }
            return self.is_told_reliably(now, response);
        }
        let first = own.map(|at| self.requests.remove(at)).is_some();
        let cseq = response.cseq().number;
        if is_invite && status < 300 {
            if self.stage == Stage::Trying {
                self.stage = Stage::Talks;
            }
            let ack = self.text(&Method::Ack, (&format!("{branch}-ack"), cseq), "", "");
            self.sends.push((self.target, ack));
        } else if is_invite {
            if first && self.stage == Stage::Trying {
                self.stage = Stage::Ended;
            }
            let ack = self.text(&Method::Ack, (branch, cseq), "", "");
            self.sends.push((self.target, ack));
        }
    }

    fn is_told_reliably(&mut self, now: Micros, response: &Response) {
        let Some(rseq) = response.header_str(HeaderName::RSeq) else { return };
        if self.stage == Stage::Trying && self.pracked.as_deref() != Some(rseq) {
            self.pracked = Some(rseq.to_owned());
            let rack = format!("RAck: {rseq} {} INVITE\r\n", response.cseq().number);
            self.asks(now, &Method::Prack, &rack, "");
        }
    }

    /// A target refresh (RFC 3261 §12.2.1.2).
    fn follows(&mut self, contact: Option<String>) {
        let host = contact.as_deref().and_then(|uri| uri.split('@').nth(1)?.parse().ok());
        self.target = host.unwrap_or(self.target);
    }

    /// 200, again until its ACK (RFC 3261 §13.3.1.4).
    fn accepts(&mut self, now: Micros, invite: &Request) {
        let sdp = self.describes();
        self.says(invite, 200, &sdp);
        let Some(sent) = self.sends.last().cloned() else { return };
        let (next, until) = (now + T1, now + 64 * T1);
        let (branch, method) = (String::new(), Method::Invite);
        self.unacked = Some(Repeated { branch, method, sent, next, pause: T1, until });
    }

    fn says(&mut self, request: &Request, status: u16, sdp: &str) {
        let mut response = Response::to_request(request, status, Some("phone"))
            .header(HeaderName::Contact, format!("<sip:phone@{PHONE}>"));
        if !sdp.is_empty() {
            response = response.body("application/sdp", sdp.as_bytes());
        }
        let bytes = response.build().to_bytes();
        let branch = request.branch().unwrap_or_default().to_owned();
        self.responses.insert((branch, request.method().as_str().to_owned()), bytes.clone());
        self.sends.push((source(request), bytes));
    }
}

/// Where responses to it go (RFC 3261 §18.2.2).
fn source(request: &Request) -> SocketAddr {
    let sent_by = request.via_top().sent_by();
    sent_by.parse().unwrap_or_else(|_| request.via_top().reply_address(super::HOMES[0]))
}
