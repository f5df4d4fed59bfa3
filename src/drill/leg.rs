//! One dialog as a phone sees it, as a machine: datagrams and time in, datagrams and events out.
//!
//! Speaks what the drill needs of RFC 3261 over UDP: INVITE in both directions, hold by a second
//! INVITE, BYE, CANCEL, and the retransmissions of all of them. Keeps what a strict far end would
//! complain about. Owns no socket and decides nothing: when to answer and when to hang up is said
//! from outside.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::{Message, host, parameter, uri};

/// T1 of RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);

/// T2: the longest pause between retransmissions of anything but an INVITE.
const T2: Duration = Duration::from_secs(4);

/// 64·T1: how long a request or a 2xx is repeated.
const GIVE_UP: Duration = Duration::from_secs(32);

/// How long the far end of an INVITE may ring.
const RING_MAX: Duration = Duration::from_secs(180);

/// Answers that are kept for repeated requests. A dialog has two or three requests in 32 s.
const ANSWERS_MAX: usize = 16;

/// Things noted of one dialog. Past it only their number matters.
const ODD_MAX: usize = 32;

/// See the file.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) phase: Phase,
    /// Where the far end wants its audio.
    pub(crate) far_audio: Option<SocketAddr>,
    /// What a strict far end would complain about, and when.
    pub(crate) odd: Vec<(Instant, String)>,
    /// Messages that came again.
    pub(crate) repeats: u32,
    pub(crate) call_id: String,
    here: SocketAddr,
    audio: SocketAddr,
    there: SocketAddr,
    us: String,
    them: String,
    target: String,
    cseq: u32,
    far_cseq: u32,
    descriptions: u32,
    direction: &'static str,
    pending: Option<Pending>,
    /// The INVITE that rings here.
    ringing: Option<Message>,
    /// Our 2xx to an INVITE, until its ACK.
    unacked: Option<Repeat>,
    /// The ACK of our last INVITE, for repeated 2xx.
    ack: Vec<u8>,
    answers: VecDeque<(String, Vec<u8>)>,
    out: Vec<(SocketAddr, Vec<u8>)>,
    events: Vec<Event>,
}

/// How far a dialog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not answered.
    Early,
    /// Answered.
    Talking,
    /// We said BYE.
    Leaving,
    /// Over.
    Over,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The far end rings, with audio or without.
    Rings { audio: bool },
    /// Our INVITE was answered, or the ACK for our answer came.
    Answered,
    /// The second INVITE of ours was answered.
    Changed,
    /// A request of ours was refused.
    Refused { method: &'static str, status: u16 },
    /// A request of ours was not answered at all.
    Unanswered { method: &'static str },
    /// The far end ended it: BYE or CANCEL.
    Ended { by: &'static str },
    /// Our BYE was answered.
    Left,
}

/// A request of ours without a final response.
#[derive(Debug)]
struct Pending {
    method: &'static str,
    cseq: u32,
    branch: String,
    repeat: Repeat,
}

#[derive(Debug)]
struct Repeat {
    to: SocketAddr,
    bytes: Vec<u8>,
    /// Nothing when a provisional response has come.
    next: Option<Instant>,
    pause: Duration,
    until: Instant,
}

impl Repeat {
    fn new(to: SocketAddr, bytes: Vec<u8>, now: Instant) -> Self {
        Self { to, bytes, next: Some(now + T1), pause: T1, until: now + GIVE_UP }
    }

    /// Whether it is to be sent again now.
    fn is_due(&mut self, now: Instant, pause_max: Duration) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.pause = (self.pause * 2).min(pause_max);
            self.next = Some(now + self.pause);
        }
        due
    }
}

impl Leg {
    /// Calls `number` at `node`.
    pub(crate) fn call(
        (here, audio): (SocketAddr, SocketAddr),
        node: SocketAddr,
        (from, number): (&str, &str),
        now: Instant,
    ) -> Self {
        let call_id = format!("{from}-{:016x}@{}", rand::random::<u64>(), here.ip());
        let us = format!("<sip:{from}@{here}>;tag=c{:08x}", rand::random::<u32>());
        let them = format!("<sip:{number}@{node}>");
        let mut leg = Self::new((here, audio), node, call_id, us);
        leg.target = uri(&them).to_owned();
        leg.them = them;
        leg.request("INVITE", now);
        leg
    }

    /// Is called by this INVITE from `source`. Says nothing yet.
    pub(crate) fn called(
        (here, audio): (SocketAddr, SocketAddr),
        source: SocketAddr,
        invite: Message,
    ) -> Self {
        let us = format!("{};tag=p{:08x}", invite.header("To"), rand::random::<u32>());
        let mut leg = Self::new((here, audio), source, invite.header("Call-ID").to_owned(), us);
        leg.them = invite.header("From").to_owned();
        leg.learn_target(&invite);
        leg.far_audio = invite.audio();
        leg.far_cseq = invite.cseq().map_or(0, |(number, _)| number);
        leg.ringing = Some(invite);
        leg
    }

    fn new(
        (here, audio): (SocketAddr, SocketAddr),
        there: SocketAddr,
        call_id: String,
        us: String,
    ) -> Self {
        Self {
            phase: Phase::Early,
            far_audio: None,
            odd: Vec::new(),
            repeats: 0,
            call_id,
            here,
            audio,
            there,
            us,
            them: String::new(),
            target: String::new(),
            cseq: 0,
            far_cseq: 0,
            descriptions: 0,
            direction: "sendrecv",
            pending: None,
            ringing: None,
            unacked: None,
            ack: Vec::new(),
            answers: VecDeque::new(),
            out: Vec::new(),
            events: Vec::new(),
        }
    }

    /// What is to be sent, and what happened.
    pub(crate) fn take(&mut self) -> (Vec<(SocketAddr, Vec<u8>)>, Vec<Event>) {
        (std::mem::take(&mut self.out), std::mem::take(&mut self.events))
    }

    /// 180, or 183 with a description.
    pub(crate) fn ring(&mut self, with_audio: bool) {
        let Some(invite) = self.ringing.clone() else { return };
        let (status, sdp) = if with_audio {
            ("183 Session Progress", self.description("sendrecv"))
        } else {
            ("180 Ringing", String::new())
        };
        self.respond(&invite, status, &sdp);
    }

    /// Lifts the phone.
    pub(crate) fn answer(&mut self, now: Instant) {
        let Some(invite) = self.ringing.take() else { return };
        let sdp = self.description(invite.answer_direction());
        let bytes = self.respond(&invite, "200 OK", &sdp);
        self.unacked = Some(Repeat::new(self.there, bytes, now));
        self.phase = Phase::Talking;
    }

    /// Offers the audio again, in this direction.
    pub(crate) fn change(&mut self, direction: &'static str, now: Instant) {
        self.direction = direction;
        self.request("INVITE", now);
    }

    /// Says BYE.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.phase = Phase::Leaving;
        self.unacked = None;
        self.request("BYE", now);
    }

    /// Whether a request of ours has no answer yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// A message of this dialog.
    pub(crate) fn handle(&mut self, message: &Message, source: SocketAddr, now: Instant) {
        match message.status() {
            Some(status) => self.handle_response(message, status, now),
            None => self.handle_request(message, source, now),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(pending) = &mut self.pending {
            let pause_max = if pending.method == "INVITE" { GIVE_UP } else { T2 };
            if pending.repeat.until <= now {
                let method = pending.method;
                self.pending = None;
                self.events.push(Event::Unanswered { method });
            } else if pending.repeat.is_due(now, pause_max) {
                self.out.push((pending.repeat.to, pending.repeat.bytes.clone()));
            }
        }
        if let Some(unacked) = &mut self.unacked {
            if unacked.until <= now {
                self.unacked = None;
                self.note(now, "no ACK came for our 200".to_owned());
            } else if unacked.is_due(now, T2) {
                self.out.push((unacked.to, unacked.bytes.clone()));
            }
        }
    }

    fn handle_response(&mut self, message: &Message, status: u16, now: Instant) {
        let Some((cseq, method)) = message.cseq() else { return };
        let fits = |pending: &Pending| {
            pending.cseq == cseq && pending.method == method && pending.branch == message.branch()
        };
        if !self.pending.as_ref().is_some_and(fits) {
            self.repeats += 1;
            if method == "INVITE" && (200..300).contains(&status) && !self.ack.is_empty() {
                self.out.push((self.there, self.ack.clone()));
            }
            return;
        }
        let tag = parameter(message.header("To"), "tag");
        let known = parameter(&self.them, "tag");
        if !known.is_empty() && !tag.is_empty() && known != tag {
            self.note(now, format!("{status} with another tag: {tag} instead of {known}"));
        }
        if status < 200 {
            self.provisional(message, status, now);
            return;
        }
        let method = self.pending.take().map_or("INVITE", |pending| pending.method);
        match (method, status) {
            ("INVITE", 200..300) => self.accepted(message),
            ("BYE", 200..300) => {
                self.phase = Phase::Over;
                self.events.push(Event::Left);
            }
            _ => {
                if method == "INVITE" {
                    self.acknowledge_refusal(message, cseq);
                }
                if status == 481 {
                    self.note(now, format!("481 to our {method}"));
                }
                self.events.push(Event::Refused { method, status });
            }
        }
    }

    fn provisional(&mut self, message: &Message, status: u16, now: Instant) {
        if let Some(pending) = &mut self.pending
            && pending.method == "INVITE"
        {
            pending.repeat.next = None;
            pending.repeat.until = now + RING_MAX;
        }
        if status > 100 && self.phase == Phase::Early {
            self.them = message.header("To").to_owned();
            let audio = message.audio();
            self.far_audio = audio.or(self.far_audio);
            self.events.push(Event::Rings { audio: audio.is_some() });
        }
    }

    fn accepted(&mut self, message: &Message) {
        self.them = message.header("To").to_owned();
        self.learn_target(message);
        self.far_audio = message.audio().or(self.far_audio);
        self.ack = self.text("ACK", self.cseq, "").0;
        self.out.push((self.there, self.ack.clone()));
        if self.phase == Phase::Early {
            self.phase = Phase::Talking;
            self.events.push(Event::Answered);
        } else {
            self.events.push(Event::Changed);
        }
    }

    /// The ACK of a refusal belongs to its transaction (RFC 3261 §17.1.1.3).
    fn acknowledge_refusal(&mut self, message: &Message, cseq: u32) {
        let text = format!(
            "ACK {} SIP/2.0\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: {cseq} ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            self.target,
            message.header("Via"),
            self.us,
            message.header("To"),
            self.call_id,
        );
        self.out.push((self.there, text.into_bytes()));
        if self.phase == Phase::Early {
            self.phase = Phase::Over;
        }
    }

    fn handle_request(&mut self, message: &Message, source: SocketAddr, now: Instant) {
        let Some((cseq, method)) = message.cseq() else { return };
        if method == "ACK" {
            if self.unacked.take().is_some() {
                self.far_audio = message.audio().or(self.far_audio);
                self.events.push(Event::Answered);
            }
            return;
        }
        let key = format!("{} {method}", message.branch());
        if let Some((_, bytes)) = self.answers.iter().find(|(known, _)| *known == key) {
            self.repeats += 1;
            self.out.push((source, bytes.clone()));
            return;
        }
        self.there = source;
        if method != "CANCEL" {
            if cseq <= self.far_cseq {
                self.note(now, format!("{method} with CSeq {cseq} behind {}", self.far_cseq));
                self.respond(message, "500 CSeq Too Low", "");
                return;
            }
            self.far_cseq = cseq;
        }
        match method {
            "BYE" => self.farewell(message, "BYE", now),
            "CANCEL" => self.farewell(message, "CANCEL", now),
            "INVITE" => {
                self.learn_target(message);
                self.far_audio = message.audio().or(self.far_audio);
                let sdp = self.description(message.answer_direction());
                let bytes = self.respond(message, "200 OK", &sdp);
                self.unacked = Some(Repeat::new(source, bytes, now));
            }
            "OPTIONS" => drop(self.respond(message, "200 OK", "")),
            _ => {
                self.note(now, format!("an unexpected {method}"));
                self.respond(message, "501 Not Implemented", "");
            }
        }
    }

    fn farewell(&mut self, message: &Message, by: &'static str, now: Instant) {
        self.respond(message, "200 OK", "");
        if by == "CANCEL" {
            let Some(invite) = self.ringing.take() else {
                self.note(now, "a CANCEL that cancels nothing".to_owned());
                return;
            };
            self.respond(&invite, "487 Request Terminated", "");
        }
        if self.phase == Phase::Leaving {
            // Both hang up at once: theirs is as good an answer.
            self.events.push(Event::Left);
        } else if self.phase != Phase::Over {
            self.events.push(Event::Ended { by });
        }
        self.phase = Phase::Over;
        self.pending = None;
    }

    fn learn_target(&mut self, message: &Message) {
        let contact = message.header("Contact");
        if !contact.is_empty() {
            self.target = uri(contact).to_owned();
            self.there = host(contact).unwrap_or(self.there);
        }
    }

    /// Begins a request of ours; one that still waited is given up.
    fn request(&mut self, method: &'static str, now: Instant) {
        self.cseq += 1;
        let sdp = if method == "INVITE" { self.description(self.direction) } else { String::new() };
        let (bytes, branch) = self.text(method, self.cseq, &sdp);
        self.out.push((self.there, bytes.clone()));
        let repeat = Repeat::new(self.there, bytes, now);
        self.pending = Some(Pending { method, cseq: self.cseq, branch, repeat });
    }

    fn text(&self, method: &str, cseq: u32, sdp: &str) -> (Vec<u8>, String) {
        let branch = format!("z9hG4bK{:016x}", rand::random::<u64>());
        let content = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nFrom: {}\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:drill@{}>\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n\
             {content}Content-Length: {}\r\n\r\n{sdp}",
            self.target,
            self.here,
            self.us,
            self.them,
            self.call_id,
            self.here,
            sdp.len()
        );
        (text.into_bytes(), branch)
    }

    fn respond(&mut self, request: &Message, status: &str, sdp: &str) -> Vec<u8> {
        let vias: String = request.headers("Via").map(|via| format!("Via: {via}\r\n")).collect();
        let routes: String =
            request.headers("Record-Route").map(|r| format!("Record-Route: {r}\r\n")).collect();
        let content = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let bytes = format!(
            "SIP/2.0 {status}\r\n{vias}{routes}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:drill@{}>\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n\
             {content}Content-Length: {}\r\n\r\n{sdp}",
            request.header("From"),
            self.us,
            self.call_id,
            request.header("CSeq"),
            self.here,
            sdp.len()
        )
        .into_bytes();
        let key = format!("{} {}", request.branch(), request.method());
        self.answers.retain(|(known, _)| *known != key);
        if self.answers.len() == ANSWERS_MAX {
            self.answers.pop_front();
        }
        self.answers.push_back((key, bytes.clone()));
        self.out.push((self.there, bytes.clone()));
        bytes
    }

    /// Our description: G.711 µ-law and keys.
    fn description(&mut self, direction: &str) -> String {
        self.descriptions += 1;
        format!(
            "v=0\r\no=drill {id} {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
             a={direction}\r\n",
            id = self.here.port(),
            version = self.descriptions,
            ip = self.audio.ip(),
            port = self.audio.port()
        )
    }

    fn note(&mut self, now: Instant, what: String) {
        if self.odd.len() < ODD_MAX {
            self.odd.push((now, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn caller(now: Instant) -> Leg {
        let own = (address("127.0.0.41:7000"), address("127.0.0.41:8000"));
        Leg::call(own, address("127.0.0.31:5060"), ("7001", "echo"), now)
    }

    fn sent(leg: &mut Leg) -> Vec<Message> {
        leg.take().0.iter().map(|(_, bytes)| Message::read(bytes).unwrap()).collect()
    }

    fn answer(request: &Message, status: &str) -> Message {
        let text = format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=n\r\nCSeq: {}\r\n\
             Contact: <sip:n@127.0.0.31:5060>\r\n\r\nc=IN IP4 127.0.0.31\r\nm=audio 40000 RTP/AVP 0\r\n",
            request.header("Via"),
            request.header("From"),
            request.header("To"),
            request.header("CSeq")
        );
        Message::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_invite_without_an_answer_is_repeated_and_then_given_up() {
        let mut now = Instant::now();
        let mut leg = caller(now);
        let mut count = sent(&mut leg).len();
        let end = now + GIVE_UP;
        while now < end {
            now += Duration::from_millis(100);
            leg.handle_timeout(now);
            let (out, events) = leg.take();
            count += out.len();
            if now >= end {
                assert_eq!(events, [Event::Unanswered { method: "INVITE" }]);
            }
        }
        assert_eq!(count, 7, "RFC 3261 §17.1.1.2: at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s");
    }

    #[test]
    fn a_repeated_200_is_acknowledged_again() {
        let now = Instant::now();
        let mut leg = caller(now);
        let invite = sent(&mut leg).remove(0);
        let ok = answer(&invite, "200 OK");
        leg.handle(&ok, address("127.0.0.31:5060"), now);
        let (out, events) = leg.take();
        assert_eq!((out.len(), events), (1, vec![Event::Answered]));
        leg.handle(&ok, address("127.0.0.31:5060"), now);
        let (out, events) = leg.take();
        assert_eq!((out.len(), events, leg.repeats), (1, vec![], 1));
    }

    #[test]
    fn a_request_that_goes_back_is_refused_and_noted() {
        let now = Instant::now();
        let node = address("127.0.0.31:5060");
        let mut leg = caller(now);
        let invite = sent(&mut leg).remove(0);
        leg.handle(&answer(&invite, "200 OK"), node, now);
        leg.take();
        let request = |cseq: u32, method: &str| {
            let text = format!(
                "{method} sip:drill@127.0.0.41:7000 SIP/2.0\r\n\
                 Via: SIP/2.0/UDP 127.0.0.31:5060;branch=z9hG4bK-{cseq}-{method}\r\n\
                 From: <sip:n@h>;tag=n\r\nTo: <sip:c@h>;tag=c\r\nCSeq: {cseq} {method}\r\n\r\n"
            );
            Message::read(text.as_bytes()).unwrap()
        };
        leg.handle(&request(1000, "INVITE"), node, now);
        leg.handle(&request(1, "BYE"), node, now);
        let answers = sent(&mut leg);
        assert_eq!(answers[0].status(), Some(200));
        assert_eq!(answers[1].status(), Some(500));
        assert!(leg.odd[0].1.contains("CSeq 1 behind 1000"), "{:?}", leg.odd);
        assert_eq!(leg.phase, Phase::Talking);
        leg.handle(&request(1001, "BYE"), node, now);
        let (_, events) = leg.take();
        assert_eq!(events, [Event::Ended { by: "BYE" }]);
    }
}
