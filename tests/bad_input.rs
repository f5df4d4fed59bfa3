//! What a node answers to input that is wrong, and that it goes on serving after each.
//!
//! The messages of RFC 4475 are sent as they are to a live node; each is followed by an OPTIONS
//! that must be answered.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::{Node, fresh_directory};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// A datagram socket that speaks SIP by hand.
struct Phone {
    socket: UdpSocket,
    node: SocketAddr,
    sent: u32,
}

impl Phone {
    fn new(node: SocketAddr) -> Self {
        Self::at(SocketAddr::new(node.ip(), 0), node)
    }

    fn at(address: SocketAddr, node: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, node, sent: 0 }
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.node).unwrap();
    }

    /// A request of our own; its Call-ID is returned.
    fn request(&mut self, method: &str, to: &str, body: &str) -> String {
        self.sent += 1;
        let local = self.socket.local_addr().unwrap();
        let (number, node) = (self.sent, self.node);
        let call_id = format!("ours-{number}-{}", local.port());
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} sip:{to}@{node} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK{call_id};rport\r\n\
             From: <sip:tester@{local}>;tag=t{number}\r\nTo: <sip:{to}@{node}>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:tester@{local}>\r\n{content}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(text.as_bytes());
        call_id
    }

    /// The next datagram before the deadline.
    fn receive(&self, deadline: Instant) -> Option<String> {
        let mut buffer = [0; 65_536];
        while Instant::now() < deadline {
            if let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
                return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
        None
    }

    /// The final response to this request; those to others are passed over.
    fn final_response(&self, call_id: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Some(response) = self.receive(deadline) {
            if response.contains(call_id) && status(&response).is_some_and(|code| code >= 200) {
                return response;
            }
        }
        panic!("no final response to {call_id}");
    }

    /// Calls this number: the final status, and the whole response.
    fn invites(&mut self, to: &str, body: &str) -> (u16, String) {
        let call_id = self.request("INVITE", to, body);
        let response = self.final_response(&call_id);
        (status(&response).unwrap(), response)
    }

    /// Sends OPTIONS and waits for its 200; returns what came in before it.
    fn options_are_answered(&mut self, after: &str) -> Vec<String> {
        let call_id = self.request("OPTIONS", "ping", "");
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        while let Some(response) = self.receive(deadline) {
            if response.contains(&call_id) {
                assert_eq!(status(&response), Some(200), "after {after}: {response}");
                return others;
            }
            others.push(response);
        }
        panic!("OPTIONS is not answered after {after}");
    }
}

fn status(response: &str) -> Option<u16> {
    response.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

fn sdp(formats: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio 31000 RTP/AVP {formats}\r\n"
    )
}

/// A node of its own on this address, with room for so many calls.
fn node_on(ip: &str, calls_max: u32) -> (Node, SocketAddr) {
    let folder = fresh_directory("bad-input");
    let config = folder.join("node.toml");
    let text = format!(
        "[node]\nid = 1\n[sip]\nudp = [\"{ip}:5060\"]\ntcp = [\"{ip}:5060\"]\n\
         [http]\nlisten = \"{ip}:8080\"\n[limits]\ncalls_max = {calls_max}\n\
         [flows]\ndirectory = \"{}\"\n[[number]]\nnumber = \"echo\"\necho = true\n\
         [[agent]]\nid = \"admin\"\npassword = \"admin\"\nrole = \"administrator\"\n",
        fs::create_dir(folder.join("flows")).map(|()| folder.join("flows")).unwrap().display()
    );
    fs::write(&config, text).unwrap();
    let node = Node::start(&config, &format!("{ip}:8080"));
    (node, format!("{ip}:5060").parse().unwrap())
}

fn torture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sip/tests/torture")
}

/// The final answers to a message that the table takes for right; none at all is silence.
///
/// The table names the status where the message is at fault, and no other one will do. Where it
/// is good, the node serves it as it serves any other.
fn right_statuses(message: &[u8], class: &str, text: &str) -> Vec<u16> {
    if text.starts_with("response:") {
        return Vec::new();
    }
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let mut codes: Vec<u16> =
        words.filter(|word| word.len() == 3).filter_map(|word| word.parse().ok()).collect();
    if text.starts_with("4xx") {
        codes.extend(400..500);
    }
    if text.starts_with("answer it") {
        // The 483 is for who sends it on.
        codes.clear();
    }
    let is_good = class == "valid" || text.contains("accept") || text.starts_with("answer it");
    // A method that nobody knows is a good message, too, and its status is in the table.
    let has_its_status = class == "valid" && !codes.is_empty();
    if is_good && !has_its_status {
        codes.push(served(message));
    }
    codes
}

/// How this node answers a good request of nobody whom it knows, for nobody whom it knows.
fn served(message: &[u8]) -> u16 {
    // Folded lines are one.
    let text = String::from_utf8_lossy(message).to_ascii_lowercase().replace("\r\n ", " ");
    let is_tag = |param: &str| param.split('=').next().is_some_and(|name| name.trim() == "tag");
    let in_dialog =
        text.lines().any(|line| line.starts_with("to") && line.split(';').skip(1).any(is_tag));
    match text.split(' ').next() {
        // It belongs to a dialog, and there is none.
        Some("invite") if in_dialog => 481,
        Some("invite") => 404,
        Some("options") => 200,
        Some("register") => 401,
        Some("message") => 405,
        other => panic!("no rule for {other:?}"),
    }
}

#[test]
fn rfc_4475_each_message_gets_its_class_of_answer_and_options_is_answered_after_it() {
    let (_node, address) = node_on("127.0.0.4", 1_000);
    let table = fs::read_to_string(torture().join("expected.tsv")).unwrap();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for line in table.lines().skip(1) {
        let [name, class, text] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("no three columns: {line}");
        };
        tried += 1;
        let message = fs::read(torture().join(format!("{name}.dat"))).unwrap();
        // Each has an address of its own, so that what is repeated to one is not heard by the
        // next; its port is the one that answers go to where a Via names none.
        let here = SocketAddr::from(([127, 0, 4, tried], 5060));
        let mut phone = Phone::at(here, address);
        phone.send(&heard_here(&message));
        let mut answers = phone.options_are_answered(name);
        let right = right_statuses(&message, class, text);
        let is_final = |text: &String| status(text).is_some_and(|code| code >= 200);
        let deadline = Instant::now() + PATIENCE;
        while !right.is_empty() && !answers.iter().any(is_final) {
            let Some(answer) = phone.receive(deadline) else { break };
            answers.push(answer);
        }
        let mut codes: Vec<u16> =
            answers.iter().filter(|text| is_final(text)).filter_map(|text| status(text)).collect();
        // A final answer may have come again before it was looked for.
        codes.dedup();
        let is_right = match codes[..] {
            [] => right.is_empty() && answers.is_empty(),
            [code] => right.contains(&code),
            [_, ..] => false,
        };
        if !is_right {
            wrong.push(format!("{name}: {codes:?}, but {right:?}: {text}"));
        }
    }
    assert!(tried >= 45, "the table has only {tried} messages");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The message as it is, but for the one port to which an answer would go that is not heard.
fn heard_here(message: &[u8]) -> Vec<u8> {
    match find(message, b"192.0.2.59:5050") {
        Some(at) => [&message[..at], b"192.0.2.59:5060", &message[at + 15..]].concat(),
        None => message.to_vec(),
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[test]
fn a_call_that_cannot_be_is_refused_with_the_status_that_says_why() {
    let (_node, address) = node_on("127.0.0.5", 1_000);
    let mut phone = Phone::new(address);
    assert_eq!(phone.invites("nobody", &sdp("0")).0, 404, "unknown number");
    assert_eq!(phone.invites("echo", &sdp("97")).0, 488, "no common codec");
    let malformed = phone.invites("echo", "v=0\r\nthis is no SDP\r\n").0;
    assert!([400, 488].contains(&malformed), "malformed SDP: {malformed}");
    phone.options_are_answered("refused calls");
}

#[test]
fn a_call_for_which_there_is_no_room_is_refused_with_503_and_told_when_to_come_back() {
    let (_node, address) = node_on("127.0.0.7", 1);
    // The ACK is left out: the call is up all the same.
    assert_eq!(Phone::new(address).invites("echo", &sdp("0")).0, 200);
    let (code, response) = Phone::new(address).invites("echo", &sdp("0"));
    assert_eq!(code, 503, "no room for a second call");
    assert!(response.contains("\r\nRetry-After: "), "{response}");
}

#[test]
fn a_stream_that_is_no_sip_is_closed_and_others_are_served() {
    let (_node, address) = node_on("127.0.0.6", 1_000);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let garbage = "GARBAGE WITHOUT END\r\nContent-Length: -7\r\n\r\n".repeat(20);
    // The node may close before all of it is written.
    let _ = stream.write_all(garbage.as_bytes());
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    let is_closed = match end {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(is_closed, "the stream is still open");
    Phone::new(address).options_are_answered("garbage on TCP");
}
