//! Trunks are asked whether they are there; a node that one does not answer takes another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use support::cluster::Cluster;
use support::inside::Inside;
use support::line::{Line, Message};
use support::{fresh_directory, get, program, wait_until};

const FLOW: &str = "start = \"out\"\n[steps.out]\ndo = \"transfer\"\nnumber = \"94711\"\n";

/// Two questions of a second each, and whatever else a busy machine has to do.
const SOON: Duration = Duration::from_secs(20);

/// `main` before `spare`, both behind 94: the shipped file has a trunk behind 9.
fn trunks(main: SocketAddr, spare: SocketAddr) -> String {
    let trunk = |name: &str, address: SocketAddr, priority: u8| {
        format!(
            "[[trunk]]\nname = \"{name}\"\naddress = \"sip:{address}\"\nprefix = \"94\"\n\
             priority = {priority}\nresponse_seconds = 1\nprobe_seconds = 1\nprobe_misses = 2\n"
        )
    };
    let number = "\n[[number]]\nnumber = \"out\"\nflow = \"out\"\n";
    format!("{number}{}{}", trunk("main", main, 1), trunk("spare", spare, 2))
}

#[test]
fn a_trunk_that_falls_silent_is_passed_over_until_it_answers_again_11() {
    let ip = "127.0.0.66";
    let (main, spare) = (Exchange::at(ip), Exchange::at(ip));
    let node = Inside::start(ip, &trunks(main.address, spare.address), &[("out", FLOW)]);
    let is_reached =
        |name: &str| node.node().metrics.trunk_reached.with_label_values(&[name]).get();
    wait_until("both answer", SOON, || is_reached("main") == 1 && is_reached("spare") == 1);
    let question = main.asked().expect("an OPTIONS");
    assert_eq!(question.target(), format!("sip:{}", main.address));
    assert_eq!(question.header("Accept"), "application/sdp");
    assert!(!question.header("Contact").is_empty() && question.header("Max-Forwards") == "70");

    calls_out(&mut node.phone());
    assert_eq!((main.invited(), spare.invited()), (1, 0));
    main.says(0);
    let unreached = || node.looks_at(|center| !center.trunk_is_reached("main", node.node().id));
    wait_until("the node does not count on it", SOON, unreached);
    wait_until("somebody is told", SOON, || {
        let standing = node.node().alarms.standing();
        standing.iter().any(|of| of.name == "trunk-unreached" && of.detail.contains("main"))
    });
    // At once, without a second of silence first.
    calls_out(&mut node.phone());
    assert_eq!((main.invited(), spare.invited()), (1, 1));
    // Busy with other things is as good as gone, and any other answer is one.
    main.says(503);
    wait_until("it is asked", SOON, || main.asked().is_some());
    assert!(unreached());
    main.says(404);
    wait_until("the node counts on it again", SOON, || !unreached());
    calls_out(&mut node.phone());
    assert_eq!((main.invited(), spare.invited()), (2, 1));
}

#[test]
fn when_no_trunk_answers_calls_are_tried_as_ever() {
    let ip = "127.0.0.67";
    let (main, spare) = (Exchange::at(ip), Exchange::at(ip));
    main.says(503);
    spare.says(503);
    let node = Inside::start(ip, &trunks(main.address, spare.address), &[("out", FLOW)]);
    let reached =
        |name: &str| node.looks_at(|center| center.trunk_is_reached(name, node.node().id));
    wait_until("none answers", SOON, || !reached("main") && !reached("spare"));
    calls_out(&mut node.phone());
    assert_eq!((main.invited(), spare.invited()), (1, 0));
}

#[test]
fn a_trunk_that_one_of_three_nodes_does_not_reach_is_passed_over_at_that_node_only() {
    let (main, spare) = (Exchange::at("127.0.0.1"), Exchange::at("127.0.0.1"));
    let flows = fresh_directory("flows");
    fs::write(flows.join("out.toml"), FLOW).unwrap();
    let shipped = format!("{}/config/flows/demo.toml", env!("CARGO_MANIFEST_DIR"));
    fs::copy(shipped, flows.join("demo.toml")).unwrap();
    // Where the third node's network ends, nobody listens.
    let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let cluster = Cluster::start_with("127.0.5.", 15, |node, text| {
        let of = if node == 3 { nowhere.local_addr().unwrap() } else { main.address };
        with_flows(&text, &flows) + &trunks(of, spare.address)
    });
    let token = cluster.log_in(1, "sue").unwrap();
    let view = || {
        let (_, text) = get(cluster.http(1), "/api/v1/trunks", Some(&token)).unwrap_or_default();
        let page: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let items = page["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|trunk| trunk["name"] == "main").unwrap_or_default()
    };
    wait_until("all know that node 3 does not reach it", SOON, || {
        view()["unreached_by"] == serde_json::json!([3])
    });
    for node in 1..=3 {
        calls_out(&mut Line::new("127.0.0.1", cluster.sip(node)));
    }
    assert_eq!((main.invited(), spare.invited()), (2, 1));
    wait_until("what went out is counted", SOON, || view()["outgoing"]["begun"] == 2);
    assert_eq!(cluster.metric(3, "tandem_trunk_reached{trunk=\"main\"}"), Some(0.0));
    assert_eq!(cluster.metric(1, "tandem_trunk_reached{trunk=\"main\"}"), Some(1.0));
    let begun = "tandem_trunk_calls_begun{direction=\"out\",trunk=\"main\"}";
    assert_eq!(cluster.metric(2, begun), Some(2.0));
    let table = ctl(&cluster, "trunks");
    let line = table.lines().find(|line| line.starts_with("main")).expect("a line of it");
    assert!(line.contains("not node 3"), "{table}");
}

/// Calls, and hears that the one who was called is busy.
fn calls_out(caller: &mut Line) {
    let offer = caller.sdp("sendrecv");
    caller.calls("alice", "out", &offer);
    caller.is_told(486);
    caller.acks_refusal();
}

fn with_flows(text: &str, flows: &std::path::Path) -> String {
    let before = text.split("[flows]\n").next().unwrap_or_default();
    let behind = text.split("[flows]\n").nth(1).expect("a section");
    let (_, behind) = behind.split_once('\n').expect("its directory");
    format!("{before}[flows]\ndirectory = {flows:?}\n{behind}")
}

fn ctl(cluster: &Cluster, what: &str) -> String {
    let server = format!("http://{}", cluster.http(1));
    let output = Command::new(program())
        .args(["ctl", "--server", &server, "--user", "sue", what])
        .env("TANDEM_PASSWORD", "sue")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The far end of a trunk: says to each question what it is told to, and that everybody is busy.
struct Exchange {
    address: SocketAddr,
    /// The status of its answers to OPTIONS; 0: none.
    status: Arc<AtomicU16>,
    heard: Arc<Mutex<Vec<Message>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exchange {
    fn at(ip: &str) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let (status, ends) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicBool::new(false)));
        let heard = Arc::<Mutex<Vec<Message>>>::default();
        let (says, ended, hears) = (Arc::clone(&status), Arc::clone(&ends), Arc::clone(&heard));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let message = Message::read(&buffer[..length]);
                let status = match message.method() {
                    "OPTIONS" => says.load(Ordering::Relaxed),
                    "INVITE" => 486,
                    _ => 0,
                };
                if status > 0 {
                    socket.send_to(message.answer(status).as_bytes(), from).unwrap();
                }
                hears.lock().unwrap().push(message);
            }
        });
        Self { address, status, heard, ends, thread: Some(thread) }
    }

    fn says(&self, status: u16) {
        self.heard.lock().unwrap().retain(|message| message.method() != "OPTIONS");
        self.status.store(status, Ordering::Relaxed);
    }

    /// A question since it was told what to say.
    fn asked(&self) -> Option<Message> {
        let heard = self.heard.lock().unwrap();
        heard.iter().find(|message| message.method() == "OPTIONS").cloned()
    }

    /// How many calls came; one that is repeated is one.
    fn invited(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        let invites = heard.iter().filter(|message| message.method() == "INVITE");
        let ids: std::collections::BTreeSet<_> =
            invites.map(|message| message.header("Call-ID").to_owned()).collect();
        ids.len()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}
