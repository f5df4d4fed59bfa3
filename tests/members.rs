//! A node joins a running cluster and another one leaves it, under load: nobody is cut off or
//! turned away, and the cluster is as good as before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]
#![allow(clippy::print_stdout, reason = "what was measured is to be read")]

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::cluster::Cluster;
use support::line::Line;
use support::{get, wait_until};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// The longest silence that a hand-over may make.
const GAP_MAX: Duration = Duration::from_millis(2_500);

/// Addresses of the nodes of this test begin so.
const PREFIX: &str = "127.0.1.8";

const VOICE: u8 = 0x31;

#[test]
fn a_node_joins_and_another_leaves_while_callers_come_and_go() {
    let mut cluster = Cluster::start(PREFIX, 15);
    let leaves = cluster.leader();
    let mut lines: Vec<Line> = (1..=3).map(|node| phone(&cluster, node)).collect();
    let audio: Vec<SocketAddr> = lines.iter_mut().map(calls_echo).collect();
    let callers = Callers::come(&cluster, [1, 2, 3]);

    let four = cluster.joins();
    let (address, http) = (format!("{PREFIX}4:7000"), format!("{PREFIX}4:8080"));
    let add = ["members", "add", "4", &address, "--http", &http];
    let refused = ctl(&cluster, 1, &add).wait_with_output().unwrap();
    assert!(!refused.status.success() && words(refused).contains("node-4 was not confirmed"));
    let said = done(ctl(&cluster, 1, &[&add[..], &["--yes"]].concat()));
    assert!(said.lines().any(|line| line.starts_with("4     voter")), "{said}");
    cluster.nodes[four - 1].wait_ready();
    let mut late = phone(&cluster, four);
    calls_echo(&mut late);

    // The leader leaves, with a call.
    let (number, other) = (leaves.to_string(), leaves % 3 + 1);
    let mut asked = ctl(&cluster, other, &["members", "remove", &number, "--yes"]);
    let gap = lines[leaves - 1].talks_until((audio[leaves - 1], VOICE), 2 * HALF_A_MINUTE, || {
        asked.try_wait().unwrap().is_some()
    });
    let said = done(asked);
    assert!(said.lines().all(|line| !line.starts_with(&number)), "{said}");
    println!("the longest gap while node {leaves} leaves: {} ms", gap.as_millis());
    assert!(gap < GAP_MAX, "{gap:?}");
    cluster.nodes[leaves - 1].end();

    let calls = callers.stop();
    println!("{calls} callers came and went meanwhile");
    let calls = calls + 4;
    for line in lines.iter_mut().chain([&mut late]) {
        assert_eq!(line.unasked(), Vec::<String>::new());
        line.hangs_up();
    }
    for node in (1..=4).filter(|node| *node != leaves) {
        cluster.records_are(node, calls);
    }
    nobody_misses(&cluster, leaves, other);

    // Node 4 is one of three, of which any may be lost.
    cluster.nodes[other - 1].kill();
    calls_echo(&mut phone(&cluster, other));
}

/// Callers, one after the other, to these nodes in turn; each hears the echo and hangs up.
struct Callers {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Callers {
    fn come(cluster: &Cluster, nodes: [usize; 3]) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let (until, nodes) = (Arc::clone(&enough), nodes.map(|node| cluster.sip(node)));
        let calls = move || {
            let mut calls = 0;
            while !until.load(Ordering::Relaxed) {
                let mut line = Line::new("127.0.0.1", nodes[calls % nodes.len()]);
                calls_echo(&mut line);
                line.says_bye();
                line.repeats_until(&[200], HALF_A_MINUTE);
                calls += 1;
            }
            calls
        };
        Self { enough, thread: std::thread::spawn(calls) }
    }

    /// How many there were; all of them were served.
    fn stop(self) -> usize {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn phone(cluster: &Cluster, node: usize) -> Line {
    Line::new("127.0.0.1", cluster.sip(node))
}

/// Calls the echo, and hears it. A machine with too much to do refuses calls, and says when to come
/// again.
fn calls_echo(line: &mut Line) -> SocketAddr {
    let deadline = Instant::now() + HALF_A_MINUTE;
    let answer = loop {
        let offer = line.sdp("sendrecv");
        line.calls("alice", "echo", &offer);
        let answer = line.repeats_until(&[200, 503], HALF_A_MINUTE);
        if answer.status() == 200 {
            break answer;
        }
        line.acks_refusal();
        assert!(Instant::now() < deadline, "{answer:?}");
        println!("a caller is refused: {answer:?}");
        std::thread::sleep(Duration::from_millis(500));
    };
    line.goes_on(&answer);
    line.acks("");
    line.hears_itself(answer.audio(), VOICE);
    answer.audio()
}

/// Who has left is no node any more, and no alarm is about it.
fn nobody_misses(cluster: &Cluster, left: usize, at: usize) {
    wait_until("the loss is known", HALF_A_MINUTE, || {
        let nodes = items(cluster, at, "nodes", "admin");
        nodes.len() == 3 && nodes.iter().all(|node| node["node"] != left && node["up"] == true)
    });
    // An alarm is raised within a second; that none comes takes as long to see.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for alarm in items(cluster, at, "alarms", "sue") {
            assert_ne!(alarm["about"], left, "{alarm}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn items(cluster: &Cluster, at: usize, what: &str, user: &str) -> Vec<serde_json::Value> {
    let token = cluster.log_in(at, user).unwrap();
    let (status, text) = get(cluster.http(at), &format!("/api/v1/{what}"), Some(&token)).unwrap();
    assert_eq!(status, 200, "{text}");
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    page["items"].as_array().unwrap().clone()
}

/// `tandem ctl` as administrator, asking this node.
fn ctl(cluster: &Cluster, at: usize, what: &[&str]) -> Child {
    let server = format!("http://{}", cluster.http(at));
    Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["ctl", "--server", &server, "--user", "admin"])
        .args(what)
        .env("TANDEM_PASSWORD", "admin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it says, when it has done it.
fn done(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let is_good = output.status.success();
    let said = words(output);
    assert!(is_good, "{said}");
    said
}

fn words(output: Output) -> String {
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}
