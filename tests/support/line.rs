//! A caller by hand: one SIP call over UDP, spoken byte by byte.
//!
//! For the flows that no ready-made program speaks, such as an ACK that never comes. Owns the
//! port that its description names, but no audio. Every wait has a deadline and says what it
//! waited for.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A request or a response, as text.
#[derive(Debug)]
pub struct Message(String);

impl Message {
    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        let code = self.0.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Where the description in it wants audio.
    pub fn audio_address(&self) -> SocketAddr {
        let lines = || self.0.lines();
        let ip = lines().find_map(|line| line.strip_prefix("c=IN IP4 ")).unwrap_or("");
        let media = lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap_or("");
        let port = media.split(' ').next().unwrap_or("");
        SocketAddr::new(ip.trim().parse().unwrap(), port.parse().unwrap())
    }

    fn cseq(&self) -> u32 {
        self.header("CSeq").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// The first header of this name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let head = self.0.split("\r\n\r\n").next().unwrap_or("");
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.trim().eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.trim())
    }
}

/// See the file. One call at a time.
pub struct Line {
    socket: UdpSocket,
    node: SocketAddr,
    rtp: UdpSocket,
    call_id: String,
    /// Our address with our tag, theirs with theirs, and where requests go.
    us: String,
    them: String,
    target: String,
    cseq: u32,
    branch: u32,
    sdp_version: u32,
    /// Hops that every request may take.
    max_forwards: u8,
}

impl Line {
    /// A phone on this address, at any port.
    pub fn new(ip: &str, node: SocketAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let rtp = UdpSocket::bind((ip, 0)).unwrap();
        Self {
            socket,
            node,
            rtp,
            call_id: String::new(),
            us: String::new(),
            them: String::new(),
            target: String::new(),
            cseq: 0,
            branch: 0,
            sdp_version: 0,
            max_forwards: 70,
        }
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
        self.call_id = format!("line-{}-{}", here.port(), self.cseq);
        self.us = format!("<sip:{from}@{here}>;tag=t{}", self.cseq);
        self.them = format!("<sip:{number}@{}>", self.node);
        self.target = format!("sip:{number}@{}", self.node);
        self.request("INVITE", sdp);
    }

    fn request(&mut self, method: &str, sdp: &str) {
        self.cseq += 1;
        self.send_request(method, self.cseq, sdp);
    }

    fn send_request(&mut self, method: &str, cseq: u32, sdp: &str) {
        self.branch += 1;
        let (here, branch) = (self.address(), self.branch);
        let content = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK-{}-{branch}\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: {}\r\n\
             Contact: <sip:line@{here}>\r\n{content}Content-Length: {}\r\n\r\n{sdp}",
            self.target,
            self.call_id,
            self.us,
            self.them,
            self.call_id,
            self.max_forwards,
            sdp.len()
        );
        self.socket.send_to(text.as_bytes(), self.node).unwrap();
    }

    /// The response to the last request: the first one of this status. Provisional ones before it
    /// are passed over; another final one is a failure.
    pub fn is_told(&mut self, status: u16) -> Message {
        let cseq = self.cseq;
        let found = self.waits_for(&format!("{status} to CSeq {cseq}"), |message| {
            let is_ours = message.status() >= 100 && message.cseq() == cseq;
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

    /// Acknowledges a 2xx, with an answer if it brought an offer.
    pub fn acks(&mut self, sdp: &str) {
        self.send_request("ACK", self.cseq, sdp);
    }

    /// Sends a BYE and waits for its 200.
    pub fn hangs_up(&mut self) {
        self.request("BYE", "");
        self.is_told(200);
    }

    /// Says so many frames of 20 ms of a constant tone of G.711 µ-law, in time.
    pub fn says(&self, to: SocketAddr, frames: u32) {
        let begun = Instant::now();
        for frame in 0..frames {
            let due = begun + Duration::from_millis(20) * frame;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut packet = vec![0x80, 0];
            packet.extend((frame as u16).to_be_bytes());
            packet.extend((frame * 160).to_be_bytes());
            packet.extend(7_u32.to_be_bytes());
            packet.extend([0x10; 160]);
            self.rtp.send_to(&packet, to).unwrap();
        }
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
            seen.push(message.0.lines().next().unwrap_or("").to_owned());
        }
        panic!("{what} did not come; what came: {seen:?}");
    }
}

fn uri_of(contact: &str) -> String {
    let inside = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(contact, |(uri, _)| uri).to_owned()
}
