//! A node is taken out of service in the middle of a call: the call goes on at another one, and
//! nobody hangs up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]
#![allow(clippy::print_stdout, reason = "what was measured is to be read")]

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use support::cluster::{Cluster, others};
use support::line::Line;
use support::{get, request, wait_until};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// The longest silence that a hand-over may make. It takes a tenth of a second on a quiet machine;
/// a far end would not bear more than this.
const GAP_MAX: Duration = Duration::from_millis(2_500);

const VOICE: u8 = 0x31;

/// The audio of one test is not to be late by another one's cluster.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_call_goes_on_elsewhere_when_its_node_is_drained_and_comes_back_with_it() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start("127.0.1.5", 15);
    let mut line = Line::new("127.0.0.1", cluster.sip(2));
    let audio = calls_echo(&mut line);
    assert_eq!(cluster.metric(2, "tandem_calls_owned"), Some(1.0));

    let mut drains = ctl(&cluster, 1, &["drain", "2"]);
    let gap =
        line.talks_until((audio, VOICE), HALF_A_MINUTE, || drains.try_wait().unwrap().is_some());
    let said = words(drains.wait_with_output().unwrap());
    assert!(said.contains("node 2 is drained"), "{said}");
    println!("the longest gap while node 2 is drained: {} ms", gap.as_millis());
    assert!(gap < GAP_MAX, "{gap:?}");
    assert_eq!(cluster.metric(2, "tandem_calls_owned"), Some(0.0));
    assert_ne!(cluster.leader(), 2);
    let again = words(ctl(&cluster, 3, &["drain", "2"]).wait_with_output().unwrap());
    assert!(again.contains("conflict") && again.contains("draining already"), "{again}");

    // The address is there, at another node, and takes calls; so it does when the process ends.
    let mut another = Line::new("127.0.0.1", cluster.sip(2));
    calls_echo(&mut another);
    cluster.nodes[1].end();
    let mut last = Line::new("127.0.0.1", cluster.sip(2));
    calls_echo(&mut last);
    cluster.restart(2);
    wait_until("node 2 has its calls again", HALF_A_MINUTE, || {
        cluster.metric(2, "tandem_calls_owned") == Some(3.0)
    });
    let gap = line.talks_until((audio, VOICE), HALF_A_MINUTE, ticks(50));
    assert!(gap < GAP_MAX, "{gap:?}");
    // A BYE of ours is answered by 200 only if the dialog lives.
    for line in [&mut line, &mut another, &mut last] {
        assert_eq!(line.unasked(), Vec::<String>::new());
        line.hangs_up();
    }
    for node in 1..=3 {
        cluster.records_are(node, 3);
    }
}

#[test]
fn a_node_that_leads_is_drained_resumed_and_ended_without_losing_its_call() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start("127.0.1.6", 15);
    let leader = cluster.leader();
    let [other, third] = others(leader);
    let mut line = Line::new("127.0.0.1", cluster.sip(leader));
    let audio = calls_echo(&mut line);

    let number = leader.to_string();
    let mut drains = ctl(&cluster, leader, &["drain", &number]);
    let gap =
        line.talks_until((audio, VOICE), HALF_A_MINUTE, || drains.try_wait().unwrap().is_some());
    let said = words(drains.wait_with_output().unwrap());
    assert!(said.contains("is drained"), "{said}");
    println!("the longest gap while the leader is drained: {} ms", gap.as_millis());
    assert!(gap < GAP_MAX, "{gap:?}");
    assert_ne!(cluster.leader(), leader);

    // No majority would be left without another one. This one may come back.
    cluster.nodes[third - 1].kill();
    wait_until("the loss is known", HALF_A_MINUTE, || is_lost(&cluster, third));
    let refused = ctl(&cluster, other, &["drain", &other.to_string()]).wait_with_output().unwrap();
    assert!(!refused.status.success());
    let refused = words(refused);
    assert!(refused.contains("conflict: without node") && refused.contains("1 of 3"), "{refused}");
    cluster.restart(third);
    let said = words(ctl(&cluster, other, &["resume", &number]).wait_with_output().unwrap());
    assert!(said.contains("takes calls again"), "{said}");
    wait_until("the call is back", HALF_A_MINUTE, || {
        cluster.metric(leader, "tandem_calls_owned") == Some(1.0)
    });

    // SIGTERM is the same drain.
    cluster.nodes[leader - 1].begin_end();
    let ends = |cluster: &mut Cluster| cluster.nodes[leader - 1].has_ended();
    let gap = line.talks_until((audio, VOICE), HALF_A_MINUTE, || ends(&mut cluster));
    println!("the longest gap while the node ends: {} ms", gap.as_millis());
    assert!(gap < GAP_MAX, "{gap:?}");
    assert_eq!(line.unasked(), Vec::<String>::new());
    line.hangs_up();
    cluster.records_are(other, 1);
}

#[test]
fn who_has_just_hung_up_hears_no_word_more_when_the_call_moves() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start("127.0.1.7", 15);
    let token = logged_in(&cluster, 1);
    let mut line = Line::new("127.0.0.1", cluster.sip(2));
    calls_echo(&mut line);
    line.hangs_up();
    // For a quarter of a second the state still knows the call, and its answer as the next step.
    let drained = request(cluster.http(1), "POST", "/api/v1/nodes/2/drain", Some(&token), "{}");
    assert_eq!(drained.unwrap().0, 204);
    wait_until("another node has the address", HALF_A_MINUTE, || {
        let nodes = get(cluster.http(1), "/api/v1/nodes", Some(&token)).unwrap().1;
        let nodes: serde_json::Value = serde_json::from_str(&nodes).unwrap();
        nodes["items"][1]["homes"] == 0
    });
    // It is served there, and what was on its way is here.
    let mut next = Line::new("127.0.0.1", cluster.sip(2));
    calls_echo(&mut next);
    assert_eq!(line.left(), Vec::<String>::new());
    next.hangs_up();
    cluster.records_are(1, 2);
}

/// An end is committed before it is answered, and the address may close in between. Whoever has it
/// when the BYE is repeated knows of the call.
#[test]
fn who_hangs_up_in_the_moment_of_a_drain_is_answered_by_whoever_has_the_address_then() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::start("127.0.1.8", 15);
    let token = logged_in(&cluster, 1);
    let mut lines: Vec<_> = (0..60).map(|_| Line::new("127.0.0.1", cluster.sip(2))).collect();
    for line in &mut lines {
        calls_echo(line);
    }
    let api = cluster.http(1);
    let drain = std::thread::spawn(move || {
        request(api, "POST", "/api/v1/nodes/2/drain", Some(&token), "{}")
    });
    // The address closes somewhere among them.
    let began = Instant::now();
    for line in &mut lines {
        line.says_bye();
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("all have hung up after {} ms", began.elapsed().as_millis());
    assert_eq!(drain.join().unwrap().unwrap().0, 204);
    cluster.nodes[1].end();
    cluster.restart(2);
    wait_until("node 2 has its address again", HALF_A_MINUTE, || {
        let mut next = Line::new("127.0.0.1", cluster.sip(2));
        calls_echo(&mut next);
        let is_there = cluster.metric(2, "tandem_calls_owned") >= Some(1.0);
        next.hangs_up();
        is_there
    });
    let answer = |line: &mut Line| line.repeats_until(&[200, 481], HALF_A_MINUTE).status();
    let answers: Vec<_> = lines.iter_mut().map(answer).collect();
    assert_eq!(answers, vec![200; 60]);
}

/// The token of the administrator.
fn logged_in(cluster: &Cluster, node: usize) -> String {
    let credentials = r#"{"user":"admin","password":"admin"}"#;
    let (status, answer) =
        request(cluster.http(node), "POST", "/api/v1/login", None, credentials).unwrap();
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

/// Calls the echo, and hears it.
fn calls_echo(line: &mut Line) -> SocketAddr {
    let offer = line.sdp("sendrecv");
    line.calls("alice", "echo", &offer);
    let audio = line.is_told(200).audio();
    line.acks("");
    line.hears_itself(audio, VOICE);
    audio
}

fn ticks(mut frames: u32) -> impl FnMut() -> bool {
    move || {
        frames = frames.saturating_sub(1);
        frames == 0
    }
}

/// Whether the cluster knows that this node is gone.
fn is_lost(cluster: &Cluster, node: usize) -> bool {
    let table = words(ctl(cluster, others(node)[0], &["nodes"]).wait_with_output().unwrap());
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.any(|row| row.starts_with(&[&*node.to_string(), "no"]))
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

fn words(output: Output) -> String {
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}
