//! A telephone line by hand: one SIP call over UDP and its RTP, spoken byte by byte.
//!
//! For the flows that no ready-made program speaks: an ACK that never comes, a 183 with audio, a
//! challenge from a trunk. Every wait has a deadline and says what it waited for.

mod audio;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::socket::Socket;

/// How long an answer may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Packets looked at in one go: what comes meanwhile is for the next.
const HEARD_AT_ONCE: usize = 5;

/// A request or a response, as text.
#[derive(Clone, Debug, Default)]
pub struct Message(String);

impl Message {
    /// What came in a datagram.
    pub fn read(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A response to this request, without a body and outside of a dialog.
    pub fn answer(&self, status: u16) -> String {
        let tag = if self.header("To").contains(";tag=") { "" } else { ";tag=answer" };
        format!(
            "SIP/2.0 {status} Test\r\n{}{}To: {}{tag}\r\n{}{}Content-Length: 0\r\n\r\n",
            self.lines_of("Via"),
            self.lines_of("From"),
            self.header("To"),
            self.lines_of("Call-ID"),
            self.lines_of("CSeq"),
        )
    }

    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        let code = self.0.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The method of a request, and of what a response answers.
    pub fn method(&self) -> &str {
        self.header("CSeq").split_whitespace().nth(1).unwrap_or("")
    }

    fn is_request(&self) -> bool {
        self.status() == 0
    }

    /// Where the description in it wants audio.
    pub fn audio_address(&self) -> SocketAddr {
        let lines = || self.0.lines();
        let ip = lines().find_map(|line| line.strip_prefix("c=IN IP4 ")).unwrap_or("");
        let media = lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap_or("");
        let port = media.split(' ').next().unwrap_or("");
        SocketAddr::new(ip.trim().parse().unwrap(), port.parse().unwrap())
    }

    /// The id and the version in the `o=` line of the description.
    pub fn session(&self) -> (u64, u64) {
        let line = self.body().lines().find(|line| line.starts_with("o=")).expect("an o= line");
        let mut words = line.split(' ').skip(1).map(|word| word.parse().expect("a number"));
        (words.next().expect("an id"), words.next().expect("a version"))
    }

    pub fn cseq(&self) -> u32 {
        self.header("CSeq").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// The first header of this name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let head = self.0.split("\r\n\r\n").next().unwrap_or("");
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.trim().eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.trim())
    }

    fn lines_of(&self, name: &str) -> String {
        let head = self.0.split("\r\n\r\n").next().unwrap_or("");
        let of = |line: &&str| {
            line.split_once(':').is_some_and(|(field, _)| field.eq_ignore_ascii_case(name))
        };
        head.lines().filter(of).map(|line| format!("{line}\r\n")).collect()
    }

    /// The body; empty if there is none.
    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The Request-URI.
    pub fn target(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or("")
    }

    /// Whether the description has this line.
    pub fn says(&self, line: &str) -> bool {
        self.body().lines().any(|said| said == line)
    }

    /// Where the description wants its audio sent.
    pub fn audio(&self) -> SocketAddr {
        let ip = self.body().lines().find_map(|line| line.strip_prefix("c=IN IP4 "));
        let port = self.body().lines().find_map(|line| line.strip_prefix("m=audio "));
        let port = port.and_then(|rest| rest.split(' ').next()).expect("an m= line with a port");
        format!("{}:{port}", ip.expect("a c= line")).parse().expect("an address for audio")
    }
}

/// See the file. One call at a time.
pub struct Line {
    socket: Socket,
    node: SocketAddr,
    rtp: UdpSocket,
    rtp_sequence: u16,
    call_id: String,
    /// Our address with our tag, theirs with theirs, and where requests go.
    us: String,
    them: String,
    target: String,
    cseq: u32,
    branch: u32,
    /// The INVITE that waits for our answer.
    invited: Message,
    sdp_version: u32,
    /// Hops that every request may take.
    max_forwards: u8,
    /// Further headers of a REFER.
    referring: String,
    /// The last request, as it was sent.
    last: String,
    /// The ACK of a 2xx with its CSeq, and the last answer to an INVITE: what is said again to who
    /// did not hear it (RFC 3261 §13.2.2.4, §17.2.1).
    acked: (u32, String),
    answered: String,
}

impl Line {
    /// A phone on this address, at any port.
    pub fn new(ip: &str, node: SocketAddr) -> Self {
        Self::at(SocketAddr::new(ip.parse().unwrap(), 0), node)
    }

    /// A phone on this address and port.
    pub fn at(address: SocketAddr, node: SocketAddr) -> Self {
        Self::of(Socket::bind(address), node)
    }

    /// Another line of the same phone, perhaps of another node.
    pub fn another(&self, node: SocketAddr) -> Self {
        Self::of(self.socket.another(), node)
    }

    fn of(socket: Socket, node: SocketAddr) -> Self {
        let rtp = UdpSocket::bind((socket.local_addr().unwrap().ip(), 0)).unwrap();
        rtp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self {
            socket,
            node,
            rtp,
            rtp_sequence: 0,
            call_id: String::new(),
            us: String::new(),
            them: String::new(),
            target: String::new(),
            cseq: 0,
            branch: 0,
            invited: Message::default(),
            sdp_version: 0,
            max_forwards: 70,
            referring: String::new(),
            last: String::new(),
            acked: (0, String::new()),
            answered: String::new(),
        }
    }

    /// The same phone, of another node.
    pub fn with_node(self, node: SocketAddr) -> Self {
        Self { node, ..self }
    }

    /// Requests may take so many hops from now on.
    pub fn may_hop(&mut self, times: u8) {
        self.max_forwards = times;
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Our description with this direction (`sendrecv`, `sendonly`, …), G.711 µ-law only.
    pub fn sdp(&mut self, direction: &str) -> String {
        self.sdp_version += 1;
        let (rtp, version) = (self.rtp.local_addr().unwrap(), self.sdp_version);
        format!(
            "v=0\r\no=line 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n",
            ip = rtp.ip(),
            port = rtp.port()
        )
    }

    /// Calls this number, as `from`.
    pub fn calls(&mut self, from: &str, number: &str, sdp: &str) {
        let here = self.address();
        self.cseq += 100;
        self.call_id =
            format!("line-{}-{}-{}", here.port(), self.cseq, self.rtp.local_addr().unwrap().port());
        self.socket.serves(&self.call_id);
        self.us = format!("<sip:{from}@{here}>;tag=t{}", self.cseq);
        self.them = format!("<sip:{number}@{}>", self.node);
        self.target = format!("sip:{number}@{}", self.node);
        self.request("INVITE", sdp);
    }

    /// Calls once more, with this number in the Request-URI, and says that it is the same attempt
    /// (RFC 3261 §8.1.3.5): the same Call-ID, From and To, the next CSeq.
    pub fn tries_again(&mut self, number: &str, sdp: &str) {
        self.them = self.them.split(";tag=").next().unwrap_or("").to_owned();
        self.target = format!("sip:{number}@{}", self.node);
        self.request("INVITE", sdp);
    }

    /// A re-INVITE with this description, or without any.
    pub fn reinvites(&mut self, sdp: &str) {
        self.request("INVITE", sdp);
    }

    /// Presses a key, told by INFO, and waits for the 200.
    pub fn presses(&mut self, key: char) {
        self.cseq += 1;
        let body = format!("Signal={key}\r\nDuration=160\r\n");
        self.send_with("INFO", self.cseq, "application/dtmf-relay", &body);
        self.is_told(200);
    }

    fn request(&mut self, method: &str, sdp: &str) {
        self.cseq += 1;
        self.send_request(method, self.cseq, sdp);
    }

    fn send_request(&mut self, method: &str, cseq: u32, sdp: &str) {
        self.send_with(method, cseq, "application/sdp", sdp);
    }

    fn send_with(&mut self, method: &str, cseq: u32, kind: &str, body: &str) {
        self.branch += 1;
        let (here, branch) = (self.address(), self.branch);
        let content =
            if body.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK-{}-{branch}\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: {}\r\n\
             Contact: <sip:line@{here}>\r\n{}{content}Content-Length: {}\r\n\r\n{body}",
            self.target,
            self.call_id,
            self.us,
            self.them,
            self.call_id,
            self.max_forwards,
            self.referring,
            body.len()
        );
        self.socket.send_to(text.as_bytes(), self.node).unwrap();
        self.last = text;
    }

    /// Sends the last request again and again, as a phone does that hears nothing, until a
    /// response to it comes with one of these statuses.
    pub fn repeats_until(&mut self, statuses: &[u16], within: Duration) -> Message {
        let (deadline, method) = (Instant::now() + within, self.last.split(' ').next());
        let method = method.unwrap_or_default().to_owned();
        let mut seen = BTreeSet::new();
        let mut buffer = [0; 65_536];
        while Instant::now() < deadline {
            // Refused by the machine as long as nobody has the address.
            drop(self.socket.send_to(self.last.as_bytes(), self.node));
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else { continue };
            let message = Message(String::from_utf8_lossy(&buffer[..length]).into_owned());
            let is_answer = message.cseq() == self.cseq && message.method() == method;
            if is_answer && statuses.contains(&message.status()) {
                return message;
            }
            self.says_again(&message);
            seen.insert(message.0.lines().next().unwrap_or("").to_owned());
        }
        panic!(
            "{method} was not answered with {statuses:?} within {within:?}; what came: {seen:?}"
        );
    }

    /// Sends the last request every millisecond for so long, and leaves unread what comes.
    pub fn repeats_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            drop(self.socket.send_to(self.last.as_bytes(), self.node));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The response to the last request: the first one of this status. Provisional ones before it
    /// are passed over; another final one is a failure.
    pub fn is_told(&mut self, status: u16) -> Message {
        let cseq = self.cseq;
        let found = self.waits_for(&format!("{status} to CSeq {cseq}"), |message| {
            let is_ours =
                message.status() >= 100 && message.cseq() == cseq && message.method() != "CANCEL";
            if is_ours && message.status() >= 200 && message.status() != status {
                panic!("{status} was to come, but: {message:?}");
            }
            is_ours && message.status() == status
        });
        if found.status() >= 101 {
            self.them = found.header("To").to_owned();
        }
        if !found.header("Contact").is_empty() {
            self.target = uri_of(found.header("Contact"));
        }
        found
    }

    /// The dialog is that of this answer to the INVITE.
    pub fn goes_on(&mut self, answer: &Message) {
        self.them = answer.header("To").to_owned();
        self.target = uri_of(answer.header("Contact"));
    }

    /// Acknowledges a 2xx, with an answer if it brought an offer.
    pub fn acks(&mut self, sdp: &str) {
        self.send_request("ACK", self.cseq, sdp);
        self.acked = (self.cseq, self.last.clone());
    }

    /// Acknowledges a refusal: with the branch of the INVITE (RFC 3261 §17.1.1.3).
    pub fn acks_refusal(&mut self) {
        self.branch -= 1;
        self.send_request("ACK", self.cseq, "");
    }

    /// Cancels the INVITE: with its branch and CSeq (RFC 3261 §9.1). The INVITE's own answer is for
    /// [`Self::is_told`].
    pub fn cancels(&mut self) {
        self.branch -= 1;
        self.send_request("CANCEL", self.cseq, "");
    }

    /// Waits for a call to this phone.
    pub fn is_invited(&mut self) -> Message {
        let invite = self
            .waits_for("an INVITE", |message| message.is_request() && message.method() == "INVITE");
        let tag = self.address().port();
        self.call_id = invite.header("Call-ID").to_owned();
        self.socket.serves(&self.call_id);
        self.us = format!("{};tag=l{tag}", invite.header("To"));
        self.them = invite.header("From").to_owned();
        self.target = uri_of(invite.header("Contact"));
        self.invited = invite.clone();
        invite
    }

    /// Waits for a re-INVITE of the call, and goes on at the address in its Contact.
    pub fn is_told_another_address(&mut self) -> Message {
        let invite = self.is_reinvited();
        self.target = uri_of(invite.header("Contact"));
        self.goes_on_at(&invite);
        invite
    }

    /// Waits for a re-INVITE of the call.
    pub fn is_reinvited(&mut self) -> Message {
        let last = self.invited.cseq();
        self.invited = self.waits_for("a re-INVITE", |message| {
            message.is_request() && message.method() == "INVITE" && message.cseq() > last
        });
        self.invited.clone()
    }

    /// Waits for a CANCEL and confirms it.
    pub fn is_cancelled(&mut self) -> Message {
        let cancel = self
            .waits_for("a CANCEL", |message| message.is_request() && message.method() == "CANCEL");
        self.respond(&cancel, 200, "", "");
        self.answers(487, "", "");
        cancel
    }

    /// Waits for the refusal of the last request, whatever its status.
    pub fn is_refused(&mut self) -> Message {
        let cseq = self.cseq;
        self.waits_for("a refusal", |message| message.status() >= 300 && message.cseq() == cseq)
    }

    /// Asks that the other side be sent there (RFC 3515).
    pub fn refers(&mut self, to: &str, headers: &str) {
        self.cseq += 1;
        self.referring = format!("Refer-To: <{to}>\r\n{headers}");
        self.send_request("REFER", self.cseq, "");
        self.referring.clear();
    }

    /// Its dialog as a Replaces in a URI names it to the other end (RFC 3891 §6.1, escaped).
    pub fn as_replaces(&self) -> String {
        let tag = |of: &str| of.split(";tag=").nth(1).unwrap_or("").to_owned();
        let (theirs, ours) = (tag(&self.them), tag(&self.us));
        format!("Replaces={}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}", self.call_id)
    }

    /// The final response to the last request.
    pub fn is_answered(&mut self) -> Message {
        let cseq = self.cseq;
        self.waits_for("a final response", |message| {
            message.status() >= 200 && message.cseq() == cseq
        })
    }

    /// Waits for a NOTIFY and confirms it.
    pub fn is_notified(&mut self) -> Message {
        let notify = self
            .waits_for("a NOTIFY", |message| message.is_request() && message.method() == "NOTIFY");
        self.respond(&notify, 200, "", "");
        notify
    }

    /// What it sends goes to who sent this.
    pub fn goes_on_at(&mut self, invite: &Message) {
        let uri = uri_of(invite.header("Contact"));
        let host = uri.split('@').nth(1).unwrap_or("");
        self.node = host.split(';').next().unwrap_or("").parse().expect("an address in Contact");
    }

    /// Answers the INVITE.
    pub fn answers(&mut self, status: u16, headers: &str, sdp: &str) {
        let invited = self.invited.clone();
        self.answered = self.respond(&invited, status, headers, sdp);
    }

    fn respond(&self, request: &Message, status: u16, headers: &str, sdp: &str) -> String {
        let content = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "SIP/2.0 {status} Test\r\n{}{}{}To: {}\r\n{}{}Contact: <sip:line@{}>\r\n\
             {headers}{content}Content-Length: {}\r\n\r\n{sdp}",
            request.lines_of("Via"),
            request.lines_of("Record-Route"),
            request.lines_of("From"),
            self.us,
            request.lines_of("Call-ID"),
            request.lines_of("CSeq"),
            self.address(),
            sdp.len()
        );
        self.socket.send_to(text.as_bytes(), self.node).unwrap();
        text
    }

    /// Says again what the node did not hear, as it shows by repeating itself.
    fn says_again(&self, message: &Message) {
        let is_invite = message.method() == "INVITE";
        let again = match message.status() {
            200..300 if is_invite && message.cseq() == self.acked.0 => &self.acked.1,
            0 if is_invite && message.cseq() == self.invited.cseq() => &self.answered,
            _ => return,
        };
        // The node may be gone again.
        drop(self.socket.send_to(again.as_bytes(), self.node));
    }

    /// Waits for the ACK of the INVITE that was answered last.
    pub fn is_acked(&mut self) -> Message {
        let cseq = self.invited.cseq();
        self.waits_for("the ACK", |message| {
            message.is_request() && message.method() == "ACK" && message.cseq() == cseq
        })
    }

    /// Sends a BYE and waits for its 200.
    pub fn hangs_up(&mut self) {
        self.says_bye();
        self.is_told(200);
    }

    /// Sends a BYE; its answer is for [`Self::is_told`].
    pub fn says_bye(&mut self) {
        self.request("BYE", "");
    }

    /// Whether the last request is answered with this status in this time.
    pub fn hears_within(&mut self, status: u16, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut buffer = [0; 65_536];
        while Instant::now() < deadline {
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else { continue };
            let message = Message(String::from_utf8_lossy(&buffer[..length]).into_owned());
            if message.status() == status && message.cseq() == self.cseq {
                return true;
            }
        }
        false
    }

    /// The first lines of the requests that have come and that nobody waited for.
    pub fn unasked(&mut self) -> Vec<String> {
        let mut lines = self.left();
        lines.retain(|line| !line.starts_with("SIP/2.0 "));
        lines
    }

    /// The first lines of all messages that have come and that nobody waited for.
    pub fn left(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 65_536];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            lines.push(text.lines().next().unwrap_or("").to_owned());
        }
        lines
    }

    /// Waits for a BYE and says nothing.
    pub fn hears_bye(&mut self) -> Message {
        self.waits_for("a BYE", |message| message.is_request() && message.method() == "BYE")
    }

    /// Waits for a BYE and answers it.
    pub fn is_hung_up(&mut self) {
        let bye =
            self.waits_for("a BYE", |message| message.is_request() && message.method() == "BYE");
        self.respond(&bye, 200, "", "");
    }

    fn waits_for(&mut self, what: &str, mut is_it: impl FnMut(&Message) -> bool) -> Message {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        let mut buffer = [0; 65_536];
        while Instant::now() < deadline {
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else { continue };
            let message = Message(String::from_utf8_lossy(&buffer[..length]).into_owned());
            if is_it(&message) {
                return message;
            }
            self.says_again(&message);
            seen.push(message.0.lines().next().unwrap_or("").to_owned());
        }
        panic!("{what} did not come; what came: {seen:?}");
    }
}

fn uri_of(contact: &str) -> String {
    let inside = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(contact, |(uri, _)| uri).to_owned()
}
