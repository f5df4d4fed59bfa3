//! An incoming leg until its final response (RFC 3261 §13.3, RFC 3262 §3).
//!
//! Owns provisional responses: repeated until the PRACK where they are reliable, said again each
//! minute where a proxy might lose patience, and never sent twice for nothing.

use serde::{Deserialize, Serialize};

use super::{
    EndCause, LegEvent, ReliableProvisional, Stateless,
    compose::{self, Content},
    line::{Line, Rack, earliest},
    session::Asked,
    talking::Talking,
    unacked::Unacked,
};
use crate::{
    dialog::Dialog,
    transaction::{GIVE_UP_MS, Moment, Repeat, T1_MS, TransactionKey},
    wire::{Abilities, HeaderName, Method, Peer, Request, Response, validate_request},
};

/// How often a provisional response is said again, milliseconds: a proxy gives up three minutes
/// after the last one (RFC 3261 §13.3.1.1).
const REMIND_MS: u64 = 60_000;

/// The same for a reliable one, which cannot get lost on the way.
const REMIND_RELIABLY_MS: u64 = 150_000;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Arriving {
    key: TransactionKey,
    cseq: u32,
    pub(super) dialog: Dialog,
    prack: Prack,
    timer: Asked,
    /// The caller's offer; empty when it sent none.
    offer: Vec<u8>,
    /// Where offer and answer stand through reliable provisional responses.
    early: Early,
    rung: Rung,
    unacked: Option<Unpracked>,
    /// When the reliable ring is said again. Who takes the leg over rings otherwise.
    #[serde(skip)]
    reliably_again_at: Option<Moment>,
    next: Next,
    rseq: u32,
    /// The INVITE's own Expires (RFC 3261 §13.3.1).
    expires: Option<Moment>,
}

/// What the caller says of reliable provisional responses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Prack {
    Unsupported,
    Supported,
    Required,
    /// It required them, and a machine that is gone may have sent some: which number the caller
    /// expects is not known, so it hears nothing more before the final response.
    Unknown,
}

/// SDPs in reliable provisional responses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Early {
    /// None so far.
    Nothing,
    /// Our SDP went out: the answer, or the offer.
    Sent { sdp: Vec<u8> },
    /// Our offer was answered in a PRACK.
    Answered { sdp: Vec<u8>, theirs: Vec<u8> },
}

/// What was rung last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Rung {
    Nothing,
    Trying,
    Unreliably { status: u16, sdp: Option<Vec<u8>>, again_at: Moment },
    Reliably { status: u16, sdp: Option<Vec<u8>> },
}

/// A reliable provisional response without its PRACK (RFC 3262 §3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Unpracked {
    rseq: u32,
    peer: Peer,
    bytes: Vec<u8>,
    has_sdp: bool,
    repeat: Repeat,
    until: Moment,
}

/// What waits for the PRACK.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Next {
    Nothing,
    Ring { sdp: Option<Vec<u8>> },
    Answer { sdp: Vec<u8> },
}

/// What becomes of an unanswered leg.
pub(super) enum Then {
    /// It is still unanswered.
    Stay,
    /// It was answered.
    Talk(Box<Talking>),
    /// It is over, and its final response sent.
    Over,
}

/// Beginning.
impl Arriving {
    /// Takes an INVITE and opens its transaction, or says what answers it.
    pub(super) fn new(
        now: Moment,
        line: &mut Line,
        invite: &Request,
        peer: Peer,
    ) -> Result<Self, Box<Stateless>> {
        let refuse = |status: u16| {
            let response = Response::to_request(
                &invite.clone().with_source(peer.remote),
                status,
                Some(&line.identity.tag),
            );
            stateless(invite, peer, status, response.build())
        };
        if invite.to_tag().is_some() {
            return Err(refuse(481));
        }
        let can = Abilities {
            methods: &[Method::Invite],
            extensions: compose::EXTENSIONS,
            content_types: &[compose::SDP],
        };
        if let Err(refusal) = validate_request(invite, &can) {
            let sourced = invite.clone().with_source(peer.remote);
            let response = refusal.response(&sourced, &line.identity.tag);
            return Err(stateless(invite, peer, refusal.status, response));
        }
        let timer = Asked::of(invite);
        if let Some(min_se) = timer.too_short(&line.identity.settings) {
            let sourced = invite.clone().with_source(peer.remote);
            let response = Response::to_request(&sourced, 422, Some(&line.identity.tag))
                .header(HeaderName::MinSe, min_se.to_string());
            return Err(stateless(invite, peer, 422, response.build()));
        }
        let dialog = Dialog::uas(invite, &line.identity.tag, 0).map_err(|_| refuse(400))?;
        let key = TransactionKey::of(invite);
        line.open(key.clone(), invite, peer);
        Ok(Self {
            key,
            cseq: invite.cseq().number,
            dialog,
            prack: Prack::of(invite),
            timer,
            offer: compose::sdp_of(invite).unwrap_or_default(),
            early: Early::Nothing,
            rung: Rung::Nothing,
            unacked: None,
            reliably_again_at: None,
            next: Next::Nothing,
            rseq: 0,
            expires: invite.expires().map(|s| now.after_ms(u64::from(s) * 1_000)),
        })
    }

    /// Whether the caller wants our offer.
    pub(super) fn wants_our_offer(&self) -> bool {
        self.offer.is_empty()
    }

    /// Whether the caller heard a description of ours.
    pub(super) fn has_said_sdp(&self) -> bool {
        let rung = match &self.rung {
            Rung::Nothing | Rung::Trying => false,
            Rung::Unreliably { sdp, .. } | Rung::Reliably { sdp, .. } => sdp.is_some(),
        };
        rung || self.early != Early::Nothing
    }

    /// Whether this INVITE without a To tag is the one that is being served, come by another way
    /// (RFC 3261 §8.2.2.2).
    pub(super) fn is_merged(&self, request: &Request) -> bool {
        request.cseq().number == self.cseq
            && request.from_tag().unwrap_or_default() == self.dialog.remote_tag()
    }

    /// The transaction of the INVITE.
    pub(super) fn key(&self) -> &TransactionKey {
        &self.key
    }
}

impl Prack {
    fn of(invite: &Request) -> Self {
        if invite.lists(HeaderName::Require, "100rel") {
            Self::Required
        } else if invite.lists(HeaderName::Supported, "100rel") {
            Self::Supported
        } else {
            Self::Unsupported
        }
    }
}

fn stateless(request: &Request, peer: Peer, status: u16, response: Response) -> Box<Stateless> {
    let remote = request.via_top().reply_address(peer.remote);
    let bytes = response.to_bytes();
    Box::new(Stateless { status, peer: Peer { remote, ..peer }, bytes })
}

/// Commands.
impl Arriving {
    /// The leg is taken over from a machine that may have sent reliable responses, and received
    /// their PRACKs. Nothing waits for those any more.
    pub(super) fn adopt(&mut self, now: Moment, line: &mut Line) -> Then {
        self.prack = match self.prack {
            Prack::Unsupported | Prack::Supported => Prack::Unsupported,
            Prack::Required | Prack::Unknown => Prack::Unknown,
        };
        if let Early::Sent { .. } = self.early {
            // The caller may not have it: it goes with the 2xx, and is ignored there by one that
            // has it (RFC 3261 §13.2.1).
            self.early = Early::Nothing;
        }
        self.unacked = None;
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Answer { sdp } => self.answer(now, line, sdp),
            Next::Ring { .. } | Next::Nothing => Then::Stay,
        }
    }

    pub(super) fn trying(&mut self, now: Moment, line: &mut Line) {
        if self.rung == Rung::Nothing {
            self.rung = Rung::Trying;
            line.respond(now, &self.key, Content::status(100));
        }
    }

    pub(super) fn ring(&mut self, now: Moment, line: &mut Line, sdp: Option<Vec<u8>>) {
        let wanted = line.identity.settings.reliable_provisional;
        let reliable = match (self.prack, wanted) {
            (Prack::Required, _) => true,
            (Prack::Supported, ReliableProvisional::WhenSupported) => true,
            (Prack::Supported, ReliableProvisional::WhenRequired) | (Prack::Unsupported, _) => {
                false
            }
            (Prack::Unknown, _) => return,
        };
        // The first reliable response to an INVITE without an offer must carry ours
        // (RFC 3261 §13.2.1); without one there is nothing to say reliably.
        let lacks_offer = self.offer.is_empty() && sdp.is_none() && self.early == Early::Nothing;
        match (reliable, lacks_offer) {
            (true, false) => self.ring_reliably(now, line, sdp),
            (true, true) if self.prack == Prack::Required => (),
            (true, true) | (false, _) => self.ring_unreliably(now, line, sdp),
        }
    }

    fn ring_unreliably(&mut self, now: Moment, line: &mut Line, sdp: Option<Vec<u8>>) {
        let status = status_of(&sdp);
        // An offer may not go where it can be lost (RFC 3261 §13.2.1).
        let sdp = sdp.filter(|_| !self.offer.is_empty());
        match &self.rung {
            Rung::Unreliably { status: last, sdp: with, .. } if (*last, with) == (status, &sdp) => {
            }
            Rung::Nothing | Rung::Trying | Rung::Unreliably { .. } | Rung::Reliably { .. } => {
                self.say(now, line, status, sdp.as_deref());
                let again_at = now.after_ms(REMIND_MS);
                self.rung = Rung::Unreliably { status, sdp, again_at };
            }
        }
    }

    fn say(&self, now: Moment, line: &mut Line, status: u16, sdp: Option<&[u8]>) {
        let mut headers = Vec::with_capacity(128);
        compose::push_capabilities(&mut headers, &line.identity, "Server");
        line.respond(now, &self.key, Content { status, reason: "", headers: &headers, sdp });
    }

    fn ring_reliably(&mut self, now: Moment, line: &mut Line, sdp: Option<Vec<u8>>) {
        let status = status_of(&sdp);
        match &self.rung {
            Rung::Reliably { status: last, sdp: with } if (*last, with) == (status, &sdp) => return,
            Rung::Nothing | Rung::Trying | Rung::Unreliably { .. } | Rung::Reliably { .. } => (),
        }
        if self.unacked.is_some() {
            // RFC 3262 §3: one at a time. A newer one replaces the one that waits.
            if self.next == Next::Nothing || matches!(self.next, Next::Ring { .. }) {
                self.next = Next::Ring { sdp };
            }
            return;
        }
        self.rung = Rung::Reliably { status, sdp: sdp.clone() };
        self.say_reliably(now, line, status, sdp);
    }

    fn say_reliably(&mut self, now: Moment, line: &mut Line, status: u16, sdp: Option<Vec<u8>>) {
        self.reliably_again_at = Some(now.after_ms(REMIND_RELIABLY_MS));
        // An answer is given once (RFC 3261 §13.2.1).
        let sdp = sdp.filter(|_| self.early == Early::Nothing);
        self.rseq += 1;
        let mut headers = format!("Require: 100rel\r\nRSeq: {}\r\n", self.rseq).into_bytes();
        compose::push_capabilities(&mut headers, &line.identity, "Server");
        let content = Content { status, reason: "", headers: &headers, sdp: sdp.as_deref() };
        let Some((peer, bytes)) = line.compose(&self.key, content) else { return };
        line.respond(now, &self.key, content);
        self.unacked = Some(Unpracked {
            rseq: self.rseq,
            peer,
            bytes,
            has_sdp: sdp.is_some(),
            repeat: Repeat::every_ms(now, T1_MS),
            until: now.after_ms(GIVE_UP_MS),
        });
        if let Some(sdp) = sdp {
            self.early = Early::Sent { sdp };
        }
    }

    /// Answers, or will once the PRACK of our SDP is there (RFC 3262 §3).
    pub(super) fn answer(&mut self, now: Moment, line: &mut Line, sdp: Vec<u8>) -> Then {
        if self.unacked.as_ref().is_some_and(|unacked| unacked.has_sdp) {
            self.next = Next::Answer { sdp };
            return Then::Stay;
        }
        let mut headers = Vec::with_capacity(256);
        compose::push_capabilities(&mut headers, &line.identity, "Server");
        let session = self.timer.grant(now, &line.identity.settings, &mut headers);
        let (in_200, local, remote) = match std::mem::replace(&mut self.early, Early::Nothing) {
            Early::Nothing => (Some(&*sdp), sdp.clone(), self.offer.clone()),
            Early::Sent { sdp } => (None, sdp, self.offer.clone()),
            Early::Answered { sdp, theirs } => (None, sdp, theirs),
        };
        let content = Content { status: 200, reason: "", headers: &headers, sdp: in_200 };
        let wants_answer = in_200.is_some() && self.offer.is_empty();
        let Some(sent) = line.respond(now, &self.key, content) else { return Then::Stay };
        self.overtake(line);
        let unacked = Unacked::of_invite(now, self.cseq, sent, wants_answer);
        let mut talking = Talking::new(self.dialog.clone(), local, remote);
        talking.expect_ack(unacked);
        talking.run_session(session);
        Then::Talk(Box::new(talking))
    }

    /// Sends a final response other than 2xx.
    pub(super) fn refuse(&self, now: Moment, line: &mut Line, content: Content<'_>) {
        line.respond(now, &self.key, content);
        self.overtake(line);
    }

    /// The final response is out: a reliable provisional one is not repeated any more, but its
    /// PRACK may still come (RFC 3262 §3).
    fn overtake(&self, line: &mut Line) {
        let unacked = self.unacked.as_ref();
        line.unpracked = unacked.map(|unacked| Rack { rseq: unacked.rseq, cseq: self.cseq });
    }
}

fn status_of(sdp: &Option<Vec<u8>>) -> u16 {
    if sdp.is_some() { 183 } else { 180 }
}

/// Inputs.
impl Arriving {
    /// The INVITE's own CANCEL came, or the caller's BYE in the early dialog (RFC 3261 §15.1.2).
    pub(super) fn cancelled(&self, now: Moment, line: &mut Line) -> Then {
        self.refuse(now, line, Content::status(487));
        line.event(LegEvent::Cancelled);
        Then::Over
    }

    /// A PRACK (RFC 3262 §3).
    pub(super) fn handle_prack(
        &mut self,
        now: Moment,
        line: &mut Line,
        prack: (&TransactionKey, &Request),
    ) -> Then {
        let (key, request) = prack;
        let meant = rack(request).filter(|rack| rack.cseq == self.cseq).map(|rack| rack.rseq);
        let Some(unacked) = self.unacked.take_if(|unacked| Some(unacked.rseq) == meant) else {
            line.respond(now, key, Content::status(481));
            return Then::Stay;
        };
        match (compose::sdp_of(request), &self.early) {
            (Some(theirs), Early::Sent { sdp }) if self.offer.is_empty() && unacked.has_sdp => {
                self.early = Early::Answered { sdp: sdp.clone(), theirs: theirs.clone() };
                line.respond(now, key, Content::status(200));
                line.event(LegEvent::Acked { sdp: Some(theirs) });
            }
            // A new offer before the answer: the session stays as agreed.
            (Some(_), _) => {
                line.respond(now, key, Content::status(488));
            }
            (None, _) => {
                line.respond(now, key, Content::status(200));
            }
        }
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Nothing => Then::Stay,
            Next::Ring { sdp } => {
                self.ring(now, line, sdp);
                Then::Stay
            }
            Next::Answer { sdp } => self.answer(now, line, sdp),
        }
    }

    /// Time passed.
    pub(super) fn handle_timeout(&mut self, now: Moment, line: &mut Line) -> Then {
        if self.expires.is_some_and(|at| at <= now) {
            self.refuse(now, line, Content::status(487));
            line.event(LegEvent::Ended { cause: EndCause::Expired });
            return Then::Over;
        }
        match &mut self.unacked {
            Some(unacked) if unacked.until <= now => {
                self.refuse(now, line, Content::status(504));
                line.event(LegEvent::Ended { cause: EndCause::NoPrack });
                return Then::Over;
            }
            Some(unacked) if unacked.repeat.at <= now => {
                unacked.repeat.double(now, u64::MAX); // RFC 3262 §3: T1, doubled each time.
                line.send(unacked.peer, unacked.bytes.clone());
            }
            Some(_) | None => (),
        }
        if let Rung::Unreliably { status, sdp, again_at } = &self.rung
            && *again_at <= now
        {
            let (status, sdp) = (*status, sdp.clone());
            self.say(now, line, status, sdp.as_deref());
            self.rung = Rung::Unreliably { status, sdp, again_at: now.after_ms(REMIND_MS) };
        }
        if let Rung::Reliably { status, sdp } = &self.rung
            && self.reliably_again_at.is_some_and(|at| at <= now)
        {
            // One that waits for its PRACK is repeated anyway, and given up before this is due.
            let (status, sdp) = (*status, sdp.clone());
            self.say_reliably(now, line, status, sdp);
        }
        Then::Stay
    }

    /// When to call [`Self::handle_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        let remind = match &self.rung {
            Rung::Unreliably { again_at, .. } => Some(*again_at),
            Rung::Reliably { .. } => self.reliably_again_at,
            Rung::Nothing | Rung::Trying => None,
        };
        let unacked = self.unacked.as_ref().map(|unacked| unacked.repeat.at.min(unacked.until));
        earliest(self.expires, earliest(remind, unacked))
    }
}

/// What `RAck: 1 314159 INVITE` acknowledges (RFC 3262 §7.2).
pub(super) fn rack(prack: &Request) -> Option<Rack> {
    let mut words = prack.header_str(HeaderName::RAck)?.split_ascii_whitespace();
    let (rseq, cseq) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next()? == "INVITE").then_some(Rack { rseq, cseq })
}
