//! One leg, a far end that is played by the test, and a virtual clock.
//!
//! Each step appends what the leg did to a list of short words; [`Script::gives`] compares all of
//! them and empties it. [`Way`] says what happens between the steps: nothing, or the leg is
//! exported, serialised, and rebuilt on the same machine or on another one.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::words::{word_of, word_of_event};
use tandem_sip::{
    auth::Credentials,
    leg::{
        Identity, Leg, LegExport, Outgoing, Output, ReliableProvisional, SessionTimer, Settings,
        Stateless,
    },
    wire::{HeaderName, Message, Method, Peer, Request, Response, Transport},
};

pub(crate) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8\r\n";
pub(crate) const ANSWER: &str = "v=0\r\no=- 2 1 IN IP4 192.0.2.2\r\ns=-\r\nt=0 0\r\nc=IN IP4 192.0.2.2\r\nm=audio 5000 RTP/AVP 8\r\n";
pub(crate) const HELD: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nc=IN IP4 192.0.2.1\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\n";

/// What happens to the leg between two steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Nothing.
    Straight,
    /// It is rebuilt from its value on the same machine.
    Restarted,
    /// It is rebuilt on another machine, which skips CSeqs.
    Adopted,
}

/// Plays a call in each way: a leg must not notice.
pub(crate) fn each_way(flow: impl Fn(Way)) {
    for way in [Way::Straight, Way::Restarted, Way::Adopted] {
        flow(way);
    }
}

/// Plays a call on one machine only: another one could not know which ACK or PRACK came, and does
/// not insist on it. See the tests of `adoption`.
pub(crate) fn on_one_machine(flow: impl Fn(Way)) {
    for way in [Way::Straight, Way::Restarted] {
        flow(way);
    }
}

/// A call being played.
pub(crate) struct Script {
    pub(crate) leg: Leg,
    pub(crate) now: Instant,
    way: Way,
    peer: Peer,
    done: Vec<String>,
    /// Everything that the leg sent.
    pub(crate) sent: Vec<(Peer, Message)>,
    far: Far,
    /// The INVITE that began an incoming call.
    pub(crate) invite: Option<Request>,
    last_from_far: Option<(Vec<u8>, bool)>,
    credentials: Option<Credentials>,
}

/// What the far end puts into its messages.
#[derive(Clone, Debug)]
struct Far {
    tag: &'static str,
    cseq: u32,
    branch: u32,
    contact: &'static str,
    record_route: String,
}

pub(crate) fn udp() -> Peer {
    peer(Transport::Udp)
}

pub(crate) fn peer(transport: Transport) -> Peer {
    let remote: SocketAddr = "192.0.2.1:5060".parse().unwrap();
    let local = "198.51.100.9:5060".parse().unwrap();
    Peer { transport, remote, local, connection: transport.is_reliable().then_some(7) }
}

pub(crate) fn settings() -> Settings {
    Settings { session_timer: None, ..Settings::default() }
}

pub(crate) fn timed_settings() -> Settings {
    let timer = SessionTimer { expires_seconds: 600, min_se_seconds: 120 };
    Settings { session_timer: Some(timer), ..Settings::default() }
}

pub(crate) fn eager_settings() -> Settings {
    Settings { reliable_provisional: ReliableProvisional::WhenSupported, ..settings() }
}

pub(crate) fn identity(settings: Settings) -> Identity {
    Identity {
        tag: "ours".into(),
        branch_seed: "seed".into(),
        contact: "sip:leg@198.51.100.9:5060".into(),
        sent_by: "198.51.100.9:5060".into(),
        settings: Arc::new(settings),
    }
}

pub(crate) fn outgoing(settings: Settings) -> Outgoing {
    Outgoing {
        identity: identity(settings),
        call_id: "call@test".into(),
        target: "sip:bob@192.0.2.1".into(),
        from: "\"Ana\" <sip:ana@example.com>".into(),
        to: "<sip:bob@example.com>".into(),
        routes: Vec::new(),
        peer: udp(),
        sdp: OFFER.into(),
        credentials: None,
        headers: Vec::new(),
        max_forwards: 70,
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials { username: "ana".into(), password: "secret".into() }
}

#[expect(clippy::disallowed_methods, reason = "where a virtual clock begins")]
pub(crate) fn some_instant() -> Instant {
    Instant::now()
}

impl Way {
    /// A leg that calls. Its INVITE is the first thing that it gives.
    pub(crate) fn caller(self) -> Script {
        self.caller_with(&outgoing(settings()))
    }

    pub(crate) fn caller_with(self, outgoing: &Outgoing) -> Script {
        let now = some_instant();
        let leg = Leg::outgoing(now, outgoing);
        let mut script = Script::new(self, leg, now, outgoing.peer);
        script.credentials.clone_from(&outgoing.credentials);
        script.step();
        script
    }

    /// A leg that is called, with an offer.
    pub(crate) fn callee(self) -> Script {
        self.callee_with("", Some(OFFER), settings())
    }

    pub(crate) fn callee_with(
        self,
        headers: &str,
        sdp: Option<&str>,
        settings: Settings,
    ) -> Script {
        self.callee_over(udp(), headers, sdp, settings)
    }

    pub(crate) fn callee_over(
        self,
        peer: Peer,
        headers: &str,
        sdp: Option<&str>,
        settings: Settings,
    ) -> Script {
        let now = some_instant();
        let invite = request(&invite_text(peer.transport, headers, sdp));
        let leg = Leg::incoming(now, &invite, peer, identity(settings)).unwrap();
        let mut script = Script::new(self, leg, now, peer);
        script.last_from_far = Some((invite.to_bytes(), true));
        script.invite = Some(invite);
        script.step();
        script
    }

    /// A call that was answered by us and acknowledged.
    pub(crate) fn answered(self) -> Script {
        self.answered_with("", settings())
    }

    pub(crate) fn answered_with(self, headers: &str, settings: Settings) -> Script {
        let mut call = self.callee_with(headers, Some(OFFER), settings);
        call.answers().gives(&["200 INVITE+sdp"]);
        call.far_acks("").gives(&["Acked"]);
        call
    }

    /// A call of ours that was answered.
    pub(crate) fn connected(self) -> Script {
        self.connected_with(&outgoing(settings()))
    }

    pub(crate) fn connected_with(self, outgoing: &Outgoing) -> Script {
        let mut call = self.caller_with(outgoing);
        call.gives(&["INVITE+sdp"]);
        call.far_says("INVITE", 200, "", ANSWER).gives(&["ACK", "Answered+sdp"]);
        call
    }
}

/// The INVITE of a far end.
pub(crate) fn invite_text(transport: Transport, headers: &str, sdp: Option<&str>) -> String {
    let body = sdp.unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "INVITE sip:tandem@198.51.100.9 SIP/2.0\r\n\
         Via: SIP/2.0/{} 192.0.2.1:5060;branch=z9hG4bKfar-1\r\n\
         Max-Forwards: 70\r\nFrom: Bob <sip:bob@example.com>;tag=far\r\n\
         To: <sip:tandem@example.com>\r\nCall-ID: call@test\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:bob@192.0.2.1:5060>\r\n{headers}{kind}Content-Length: {}\r\n\r\n{body}",
        transport.via_name(),
        body.len()
    )
}

pub(crate) fn request(text: &str) -> Request {
    Message::parse(text.as_bytes()).unwrap().into_request().unwrap()
}

pub(crate) fn stateless(headers: &str, sdp: Option<&str>, settings: Settings) -> Box<Stateless> {
    let invite = request(&invite_text(Transport::Udp, headers, sdp));
    Leg::incoming(some_instant(), &invite, udp(), identity(settings)).unwrap_err()
}

/// Steps.
impl Script {
    /// A leg that is called by someone who asks to be answered where it is seen.
    pub(crate) fn behind_nat(way: Way, source: Peer) -> Self {
        let now = some_instant();
        let text = invite_text(Transport::Udp, "", Some(OFFER))
            .replace("UDP 192.0.2.1:5060", "UDP 192.0.2.1:5060;rport");
        let leg = Leg::incoming(now, &request(&text), source, identity(settings())).unwrap();
        Self::new(way, leg, now, source)
    }

    /// A leg that is called by this INVITE.
    pub(crate) fn called_by(invite: &str) -> Self {
        let now = some_instant();
        let leg = Leg::incoming(now, &request(invite), udp(), identity(settings())).unwrap();
        Self::new(Way::Straight, leg, now, udp())
    }

    fn new(way: Way, leg: Leg, now: Instant, peer: Peer) -> Self {
        let far = Far {
            tag: "far",
            cseq: 1,
            branch: 1,
            contact: "<sip:bob@192.0.2.1:5060>",
            record_route: String::new(),
        };
        Self {
            leg,
            now,
            way,
            peer,
            done: Vec::new(),
            sent: Vec::new(),
            far,
            invite: None,
            last_from_far: None,
            credentials: None,
        }
    }

    /// Takes what the leg wants done, then lets happen what happens between steps.
    pub(crate) fn step(&mut self) -> &mut Self {
        while let Some(output) = self.leg.poll_output() {
            match output {
                Output::Event(event) => self.done.push(word_of_event(&event)),
                Output::Send { peer, bytes } => {
                    let message = Message::parse(&bytes).unwrap();
                    self.done.push(word_of(&message));
                    self.sent.push((peer, message));
                }
            }
        }
        match self.way {
            Way::Straight => (),
            Way::Restarted => self.rebuild(0),
            Way::Adopted => self.rebuild(1_000),
        }
        self
    }

    /// Another machine takes the leg over as it was when it was exported.
    pub(crate) fn is_adopted(&mut self, export: LegExport) -> &mut Self {
        self.now += Duration::from_secs(300);
        self.leg = Leg::restore(self.now, export, 1_000).unwrap();
        self.step()
    }

    fn rebuild(&mut self, cseq_skip: u32) {
        let bytes = postcard::to_allocvec(&self.leg.export(self.now)).unwrap();
        let export: LegExport = postcard::from_bytes(&bytes).unwrap();
        // Another machine's clock has nothing to do with ours.
        if cseq_skip > 0 {
            self.now += Duration::from_secs(86_400);
        }
        self.leg = Leg::restore(self.now, export, cseq_skip).unwrap();
        self.leg.set_credentials(self.credentials.clone());
    }

    /// Everything that the leg did since the last time.
    #[track_caller]
    pub(crate) fn gives(&mut self, wanted: &[&str]) -> &mut Self {
        assert_eq!(self.done, wanted, "{:?}", self.way);
        self.done.clear();
        self
    }

    #[track_caller]
    pub(crate) fn is_silent(&mut self) -> &mut Self {
        self.gives(&[])
    }

    /// A command.
    pub(crate) fn does(&mut self, command: impl FnOnce(&mut Leg, Instant)) -> &mut Self {
        command(&mut self.leg, self.now);
        self.step()
    }

    pub(crate) fn rings(&mut self) -> &mut Self {
        self.does(|leg, now| leg.ring(now, None).unwrap())
    }

    pub(crate) fn answers(&mut self) -> &mut Self {
        self.does(|leg, now| leg.answer(now, ANSWER.into()).unwrap())
    }

    pub(crate) fn hangs_up(&mut self) -> &mut Self {
        self.does(Leg::hang_up)
    }

    pub(crate) fn accepts_bye(&mut self) -> &mut Self {
        self.does(|leg, now| leg.accept_bye(now).unwrap())
    }

    /// Time passes; each timer runs when it is due.
    pub(crate) fn after_ms(&mut self, ms: u64) -> &mut Self {
        let mut left = Duration::from_millis(ms);
        loop {
            let due = self.leg.poll_timeout().map(|at| at.saturating_duration_since(self.now));
            match due.filter(|due| *due <= left) {
                Some(due) => {
                    self.now += due;
                    left -= due;
                    let now = self.now;
                    self.leg.handle_timeout(now);
                    let next = self.leg.poll_timeout();
                    assert!(next.is_none_or(|at| at > now), "a timer that stays due");
                    self.step();
                }
                None => {
                    self.now += left;
                    return self.step();
                }
            }
        }
    }

    /// Until the leg does something by itself.
    #[track_caller]
    pub(crate) fn until_it_acts(&mut self, ms_max: u64) -> &mut Self {
        let (start, max) = (self.now, Duration::from_millis(ms_max));
        while self.done.is_empty() {
            self.now = self.leg.poll_timeout().unwrap();
            let now = self.now;
            self.leg.handle_timeout(now);
            self.step();
            assert!(self.way == Way::Adopted || self.now <= start + max);
        }
        self
    }

    /// Until nothing is left on the wire.
    #[track_caller]
    pub(crate) fn ends(&mut self, wanted: &[&str]) {
        self.after_ms(200_000);
        self.gives(wanted);
        assert_eq!(self.leg.poll_timeout(), None);
    }
}

/// The far end.
impl Script {
    pub(crate) fn far_tag(&mut self, tag: &'static str) -> &mut Self {
        self.far.tag = tag;
        self
    }

    pub(crate) fn far_contact(&mut self, contact: &'static str) -> &mut Self {
        self.far.contact = contact;
        self
    }

    pub(crate) fn far_record_routes(&mut self, record_route: &str) -> &mut Self {
        self.far.record_route = record_route.into();
        self
    }

    pub(crate) fn far_cseq(&mut self, cseq: u32) -> &mut Self {
        self.far.cseq = cseq;
        self
    }

    /// The last message of the leg.
    pub(crate) fn last(&self) -> &Message {
        &self.sent.last().unwrap().1
    }

    /// The last request of the leg with this method.
    pub(crate) fn last_request(&self, method: &str) -> &Request {
        let found = self.sent.iter().rev().find_map(|(_, message)| match message {
            Message::Request(request) if request.method().as_str() == method => Some(request),
            Message::Request(_) | Message::Response(_) => None,
        });
        found.unwrap_or_else(|| panic!("no {method} was sent"))
    }

    pub(crate) fn last_response(&self) -> &Response {
        match self.last() {
            Message::Response(response) => response,
            Message::Request(request) => panic!("{request:?}"),
        }
    }

    /// Our last response to an INVITE.
    pub(crate) fn invite_answer(&self) -> &Response {
        let found = self.sent.iter().rev().find_map(|(_, message)| match message {
            Message::Response(response) if response.cseq().method == Method::Invite => {
                Some(response)
            }
            Message::Response(_) | Message::Request(_) => None,
        });
        found.unwrap()
    }

    /// The far end answers our last request of this method.
    pub(crate) fn far_says(
        &mut self,
        method: &str,
        status: u16,
        headers: &str,
        sdp: &str,
    ) -> &mut Self {
        let request = self.last_request(method).clone();
        let mut out = Response::to_request(&request, status, Some(self.far.tag));
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            out = out.header_named(name, value);
        }
        for route in self.far.record_route.split('|').filter(|route| !route.is_empty()) {
            out = out.header(HeaderName::RecordRoute, route);
        }
        if *request.method() == Method::Invite && status > 100 && status < 300 {
            out = out.header(HeaderName::Contact, self.far.contact);
        }
        if !sdp.is_empty() {
            out = out.body("application/sdp", sdp.as_bytes());
        }
        let bytes = out.build().to_bytes();
        self.far_sends(bytes)
    }

    /// The far end sends a request of the dialog.
    pub(crate) fn far_asks(&mut self, method: &str, headers: &str, sdp: &str) -> &mut Self {
        self.far.cseq += 1;
        self.far.branch += 1;
        let cseq = self.far.cseq;
        let bytes = self.dialog_request(method, cseq, headers, sdp);
        self.far_sends(bytes)
    }

    /// The far end acknowledges our last 2xx to an INVITE.
    pub(crate) fn far_acks(&mut self, sdp: &str) -> &mut Self {
        self.far.branch += 1;
        let answered = self.sent.iter().rev().find_map(|(_, message)| match message {
            Message::Response(response)
                if response.is_success() && response.cseq().method == Method::Invite =>
            {
                Some(response.cseq().number)
            }
            Message::Response(_) | Message::Request(_) => None,
        });
        let bytes = self.dialog_request("ACK", answered.unwrap(), "", sdp);
        self.far_sends(bytes)
    }

    /// The far end acknowledges our failure, within the INVITE's transaction.
    pub(crate) fn far_acks_failure(&mut self) -> &mut Self {
        let text = self.like_invite("ACK");
        self.far_sends(text.into_bytes())
    }

    pub(crate) fn far_cancels(&mut self) -> &mut Self {
        let text = self.like_invite("CANCEL");
        self.far_sends(text.into_bytes())
    }

    fn like_invite(&self, method: &str) -> String {
        let invite = self.invite.as_ref().unwrap();
        let to = match method {
            "ACK" => "<sip:tandem@example.com>;tag=ours",
            _ => "<sip:tandem@example.com>",
        };
        format!(
            "{method} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\n\
             From: Bob <sip:bob@example.com>;tag=far\r\nTo: {to}\r\nCall-ID: call@test\r\n\
             CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n",
            invite.uri(),
            invite.via_top(),
        )
    }

    /// A response to the leg's message number `at`; noise if that is a response.
    pub(crate) fn response_to(&self, at: usize, status: u16, with: (&str, &str, &str)) -> Vec<u8> {
        let (tag, headers, sdp) = with;
        let Message::Request(request) = &self.sent[at].1 else { return b"noise".to_vec() };
        let mut out = Response::to_request(request, status, Some(tag))
            .header(HeaderName::Contact, self.far.contact);
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            out = out.header_named(name, value);
        }
        if !sdp.is_empty() {
            out = out.body("application/sdp", sdp.as_bytes());
        }
        out.build().to_bytes()
    }

    /// The bytes of a request that the far end would send next.
    pub(crate) fn request_text(&mut self, method: &str, headers: &str, body: &str) -> Vec<u8> {
        self.far.cseq += 1;
        self.far.branch += 1;
        self.dialog_request(method, self.far.cseq, headers, body)
    }

    /// The CANCEL of the far end's last request.
    pub(crate) fn cancel_of_last(&self) -> Vec<u8> {
        let (bytes, _) = self.last_from_far.as_ref().unwrap();
        let text = String::from_utf8_lossy(bytes);
        let (head, _) = text.split_once("\r\nContact").unwrap();
        let (method, _) = head.split_once(' ').unwrap();
        let head = head.replace(method, "CANCEL");
        format!("{head}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    }

    fn dialog_request(&self, method: &str, cseq: u32, headers: &str, body: &str) -> Vec<u8> {
        let kind = match (body.is_empty(), headers.contains("Content-Type")) {
            (false, false) => "Content-Type: application/sdp\r\n",
            (true, _) | (_, true) => "",
        };
        let far = &self.far;
        format!(
            "{method} sip:leg@198.51.100.9:5060 SIP/2.0\r\n\
             Via: SIP/2.0/{} 192.0.2.1:5060;branch=z9hG4bKfar-{}\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@example.com>;tag={}\r\nTo: <sip:tandem@example.com>;tag=ours\r\n\
             Call-ID: call@test\r\nCSeq: {cseq} {method}\r\nContact: {}\r\n{headers}{kind}\
             Content-Length: {}\r\n\r\n{body}",
            self.peer.transport.via_name(),
            far.branch,
            far.tag,
            far.contact,
            body.len()
        )
        .into_bytes()
    }

    /// The far end's last message comes once more.
    pub(crate) fn far_repeats(&mut self) -> &mut Self {
        let (bytes, _) = self.last_from_far.clone().unwrap();
        self.far_sends(bytes)
    }

    /// These bytes arrive.
    pub(crate) fn far_sends(&mut self, bytes: Vec<u8>) -> &mut Self {
        let message = Message::parse(&bytes).unwrap();
        self.last_from_far = Some((bytes, matches!(message, Message::Request(_))));
        match message {
            Message::Request(request) => {
                assert!(self.leg.owns(&request), "{request:?}");
                self.leg.handle_request(self.now, &request, self.peer);
            }
            Message::Response(response) => self.leg.handle_response(self.now, &response),
        }
        self.step()
    }
}
