//! What a node answers outside of calls: REGISTER and BYE that come again, OPTIONS, and requests
//! that only look as if they belonged to a call. All of it spoken by hand, datagram by datagram.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use support::inside::Inside;
use support::wait_until;
use tandem_sip::auth::{self, Credentials};
use tandem_sip::wire::{HeaderName, Message, Method, Response, Uri};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

const ENTRIES: &str = "[[number]]\nnumber = \"echo\"\necho = true\n\
                       [[agent]]\nid = \"ana\"\nphone_password = \"secret\"\n";

/// A user agent that says what it is told to.
struct Phone {
    socket: UdpSocket,
    node: SocketAddr,
    branch: u32,
}

/// What a request is made of.
#[derive(Clone, Copy)]
struct Ask<'a> {
    method: &'a str,
    call_id: &'a str,
    cseq: u32,
    to_tag: &'a str,
    /// Whole lines.
    headers: &'a str,
    body: &'a str,
}

impl<'a> Ask<'a> {
    fn new(method: &'a str, call_id: &'a str, cseq: u32) -> Self {
        Self { method, call_id, cseq, to_tag: "", headers: "", body: "" }
    }
}

impl Phone {
    fn beside(node: &Inside) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(node.sip().ip(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, node: node.sip(), branch: 0 }
    }

    /// A request in a transaction of its own.
    fn write(&mut self, ask: Ask<'_>) -> String {
        self.branch += 1;
        let (here, branch, node) = (self.socket.local_addr().unwrap(), self.branch, self.node);
        let Ask { method, call_id, cseq, to_tag, headers, body } = ask;
        let to_tag = if to_tag.is_empty() { "".into() } else { format!(";tag={to_tag}") };
        let contact = match method {
            "INVITE" => format!("Contact: <sip:ana@{here}>\r\n"),
            _ => String::new(),
        };
        format!(
            "{method} sip:echo@{node} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{branch}\r\n\
             From: <sip:ana@{node}>;tag=ours\r\nTo: <sip:ana@{node}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{contact}\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.node).unwrap();
    }

    /// The next final response that is there or comes within this time.
    fn hears_within(&self, time: Duration) -> Option<Response> {
        let deadline = Instant::now() + time;
        let mut buffer = [0; 65_536];
        while Instant::now() < deadline {
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else { continue };
            let response = Message::parse(&buffer[..length]).unwrap().into_response().unwrap();
            if !response.is_provisional() {
                return Some(response);
            }
        }
        None
    }

    /// Sends it; the final response.
    fn is_told(&self, text: &str) -> Response {
        self.send(text);
        self.hears_within(PATIENCE).expect("a final response")
    }

    fn asks(&mut self, ask: Ask<'_>) -> Response {
        let text = self.write(ask);
        self.is_told(&text)
    }

    /// Calls the echo and acknowledges its answer; the node's tag.
    fn calls(&mut self, call_id: &str) -> String {
        let ip = self.node.ip();
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 31000 RTP/AVP 0\r\n"
        );
        let headers = "Content-Type: application/sdp\r\n";
        let invite = Ask { headers, body: &body, ..Ask::new("INVITE", call_id, 1) };
        let answer = self.asks(invite);
        assert_eq!(answer.status(), 200);
        let to_tag = answer.to_tag().unwrap().to_owned();
        let ack = self.write(Ask { to_tag: &to_tag, ..Ask::new("ACK", call_id, 1) });
        self.send(&ack);
        to_tag
    }
}

/// The line that answers a challenge.
fn authorization(challenge: &Response, node: SocketAddr) -> String {
    let credentials = Credentials { username: "ana".into(), password: "secret".into() };
    let uri = Uri::parse(format!("sip:echo@{node}").as_bytes()).unwrap();
    let lines = auth::respond(challenge, &credentials, &Method::Register, &uri, "c").unwrap();
    lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

#[test]
fn a_register_that_comes_again_gets_its_answer_again_8_2_7() {
    let node = Inside::start("127.0.0.46", ENTRIES, &[]);
    let mut phone = Phone::beside(&node);
    let contact = format!("Contact: <sip:ana@{}>\r\n", phone.socket.local_addr().unwrap());
    // The first changes the bindings, which is committed; the second only asks for them.
    for (call_id, contact) in [("changes", &*contact), ("asks", "")] {
        let challenge = phone.asks(Ask::new("REGISTER", call_id, 1));
        assert_eq!(challenge.status(), 401);
        let headers = format!("{contact}{}", authorization(&challenge, phone.node));
        let ask = Ask { headers: &headers, ..Ask::new("REGISTER", call_id, 2) };
        let register = phone.write(ask);
        // Once more before the commit, too: there is one answer, or two that are equal.
        phone.send(&register);
        let answer = phone.is_told(&register);
        assert_eq!(answer.status(), 200);
        if let Some(second) = phone.hears_within(Duration::from_millis(200)) {
            assert_eq!(second.as_bytes(), answer.as_bytes());
        }
        let again = phone.is_told(&register);
        assert_eq!(again.as_bytes(), answer.as_bytes(), "{call_id}");
        // Who takes the credentials for a request of its own is not known by them.
        let replay = phone.asks(Ask { headers: &headers, ..Ask::new("REGISTER", call_id, 3) });
        assert_eq!(replay.status(), 401, "{call_id}");
    }
}

#[test]
fn another_bye_of_a_call_that_is_forgotten_gets_an_answer_of_its_own_17_2_3() {
    let node = Inside::start("127.0.0.47", ENTRIES, &[]);
    let mut phone = Phone::beside(&node);
    let to_tag = phone.calls("one");
    let bye = phone.write(Ask { to_tag: &to_tag, ..Ask::new("BYE", "one", 2) });
    let answer = phone.is_told(&bye);
    assert_eq!(answer.status(), 200);
    wait_until("the call is forgotten", PATIENCE, || node.node().router.calls_active() == 0);
    assert_eq!(phone.is_told(&bye).as_bytes(), answer.as_bytes(), "the same BYE");
    let other = phone.write(Ask { to_tag: &to_tag, ..Ask::new("BYE", "one", 3) });
    let refused = phone.is_told(&other);
    assert_eq!((refused.status(), refused.cseq().number), (481, 3));
    assert_eq!(refused.branch(), Some(&*format!("z9hG4bK{}", phone.branch)));
}

#[test]
fn options_claim_what_a_call_serves_11_2() {
    let node = Inside::start("127.0.0.48", ENTRIES, &[]);
    let mut phone = Phone::beside(&node);
    let outside = phone.asks(Ask::new("OPTIONS", "outside", 1));
    let to_tag = phone.calls("one");
    let inside = phone.asks(Ask { to_tag: &to_tag, ..Ask::new("OPTIONS", "one", 2) });
    assert_eq!((outside.status(), inside.status()), (200, 200));
    for name in [HeaderName::Supported, HeaderName::Accept] {
        assert_eq!(outside.header_str(name), inside.header_str(name));
    }
    let allowed = inside.header_str(HeaderName::Allow).unwrap();
    let allow = format!("{allowed}, REGISTER");
    assert_eq!(outside.header_str(HeaderName::Allow), Some(&*allow));

    for method in ["NOTIFY", "SUBSCRIBE", "MESSAGE"] {
        let refused = phone.asks(Ask::new(method, "outside", 2));
        assert_eq!(refused.status(), 405, "{method}");
        assert_eq!(refused.header_str(HeaderName::Allow), Some(&*allow));
    }
    let headers = "Require: replaces\r\n";
    let refused = phone.asks(Ask { headers, ..Ask::new("OPTIONS", "outside", 3) });
    assert_eq!(refused.status(), 420);
    for body_type in ["multipart/mixed", "message/sipfrag"] {
        let headers = format!("Content-Type: {body_type}\r\n");
        let ask = Ask { headers: &headers, body: "x\r\n", ..Ask::new("OPTIONS", "outside", 4) };
        let refused = phone.asks(ask);
        assert_eq!(refused.status(), 415, "{body_type}");
        let accepted = refused.header_str(HeaderName::Accept).unwrap();
        assert!(!accepted.contains(body_type), "{accepted}");
    }
}

#[test]
fn a_request_outside_of_a_dialog_is_no_request_of_the_call_with_its_call_id_12_2_2() {
    let node = Inside::start("127.0.0.49", ENTRIES, &[]);
    let mut phone = Phone::beside(&node);
    let to_tag = phone.calls("one");
    assert_eq!(phone.asks(Ask::new("OPTIONS", "one", 2)).status(), 200);
    assert_eq!(phone.asks(Ask::new("REGISTER", "one", 3)).status(), 401);
    assert_eq!(phone.asks(Ask::new("BYE", "one", 4)).status(), 481);
    let foreign = Ask { to_tag: "foreign", ..Ask::new("OPTIONS", "one", 5) };
    assert_eq!(phone.asks(foreign).status(), 481);
    // None of them touched the call.
    assert_eq!(phone.asks(Ask { to_tag: &to_tag, ..Ask::new("BYE", "one", 2) }).status(), 200);
}

#[test]
fn options_get_503_where_an_invite_would_11_2() {
    let entries = format!("{ENTRIES}[limits]\ncalls_max = 1\n");
    let node = Inside::start("127.0.0.50", &entries, &[]);
    let mut phone = Phone::beside(&node);
    let to_tag = phone.calls("one");
    for method in ["INVITE", "OPTIONS"] {
        let refused = phone.asks(Ask::new(method, "two", 1));
        assert_eq!(refused.status(), 503, "{method}");
        assert_eq!(refused.reason(), "No Place For More Calls", "{method}");
        assert!(refused.header(HeaderName::RetryAfter).is_some(), "{method}");
    }
    assert_eq!(phone.asks(Ask { to_tag: &to_tag, ..Ask::new("BYE", "one", 2) }).status(), 200);
    wait_until("the call is gone", PATIENCE, || node.node().router.calls_active() == 0);
    assert_eq!(phone.asks(Ask::new("OPTIONS", "two", 2)).status(), 200);
}
