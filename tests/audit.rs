//! An operator proves that no call was lost: `tandem audit` and `tandem replay` on a node with
//! calls, on its directory while it runs and after it ended, and on evidence that was doctored.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, its helpers too")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use support::line::Line;
use support::{Node, Sipp, fresh_directory, get, program, request, wait_until};

const SIP: &str = "127.0.0.1:17060";
const HTTP: &str = "127.0.0.1:17080";
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn no_call_is_lost_and_a_doctored_record_is_found_out() {
    let mut node = Node::start(&configuration(), HTTP);
    let _callee = Sipp::start("uas_answer.xml", &["-p", "17070", "-cp", "17890"]);
    let agents = ["-p", "17072", "-cp", "17891", "-mp", "26000", "-d", "300"];
    let _agents = Sipp::start("uas_agent.xml", &agents);
    calls("uac_ivr_dtmf.xml", "ivr", &["-r", "10", "-m", "10"]);
    calls("uac_queue.xml", "queue", &["-r", "10", "-m", "10"]);
    somebody_is_refused_and_somebody_gives_up();
    it_is_audited_amid_calls();

    let queued = call_of(&node, "queue=queue&outcome=answered");
    it_is_replayed(&queued, &["--server", &server()]);
    let data = node.data.clone();
    it_is_replayed(&queued, &["--data", data.to_str().unwrap()]);
    assert_good(&audit(&["--data", data.to_str().unwrap()]), "the directory of a running node");

    node.end();
    let stopped = audit(&["--data", data.to_str().unwrap()]);
    assert_good(&stopped, "the directory of a stopped node");
    let text = String::from_utf8(stopped.stdout).unwrap();
    assert!(text.contains("compacted up to command"), "a snapshot was made: {text}");
    it_is_replayed(&queued, &["--data", data.to_str().unwrap()]);
    doctored_evidence_is_found_out(&data);
}

fn somebody_is_refused_and_somebody_gives_up() {
    let mut line = Line::new("127.0.0.1", SIP.parse().unwrap());
    let sdp = line.sdp("sendrecv");
    line.calls("100", "nobody", &sdp);
    line.is_told(404);
    let mut line = Line::new("127.0.0.1", SIP.parse().unwrap());
    let sdp = line.sdp("sendrecv");
    line.calls("100", "echo", &sdp);
    line.is_told(200);
    line.acks("");
    line.hangs_up();
}

fn it_is_audited_amid_calls() {
    let caller = ["-p", "17061", "-cp", "17889"];
    let load = ["-r", "20", "-m", "60", "-d", "1500"];
    let arguments = [&[SIP, "-s", "service"][..], &caller, &load].concat();
    let calling = Sipp::start("uac_b2bua.xml", &arguments);
    let mut audits = 0;
    wait_until("an audit amid calls", MINUTE, || {
        let output = audit(&["--server", &server(), "--json"]);
        assert_good(&output, "a running node");
        audits += 1;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        !report["covers"][0].as_str().unwrap().contains(": 0 calls alive")
    });
    calling.finishes(MINUTE);
    let output = audit(&["--server", &server()]);
    assert_good(&output, "a node without calls");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("82 begun and 82 ended"), "{text}");
    assert!(text.contains("82 callers were answered"), "{text}");
    assert!(audits >= 1);
}

/// The ladder of a call through the queue, its end, and an instant in it.
fn it_is_replayed(call: &str, from: &[&str]) {
    let whole = replay(call, from);
    let expected = [
        "caller    node      queue     agent",
        "|-------->|         |         |  arrived at node 1",
        "|         |-------->|         |  entered queue queue, ",
        "offered to agent0",
        "agents were ready; the strategy takes who is ready longest",
        "not agent0",
        "|<--------|         |         |  ended by",
        "at the end: over: answered since ",
    ];
    for words in expected {
        assert!(whole.contains(words), "no {words:?} in\n{whole}");
    }
    let enqueued = whole.lines().find(|line| line.contains("entered queue")).unwrap();
    let index = enqueued.split_whitespace().nth(1).unwrap();
    let then = replay(call, &[from, &["--at", index]].concat());
    let words = format!("after command {index}: waiting in queue queue, offered to agent0");
    assert!(then.contains(&words), "no {words:?} in\n{then}");
    assert!(!then.contains("ended by"), "{then}");
}

/// Each doctored copy is refused, and the call is named.
fn doctored_evidence_is_found_out(data: &Path) {
    let [oldest, newest] = ["ASC", "DESC"].map(|order| {
        let records = Connection::open(data.join("replica/records.sqlite")).unwrap();
        let text = format!("SELECT call FROM cdr ORDER BY log_index {order} LIMIT 1");
        records.query_row(&text, [], |row| row.get::<_, String>(0)).unwrap()
    });
    // The log has the newest, the log before the snapshot had the oldest.
    let both = |call: &str| {
        format!(
            "DELETE FROM cdr WHERE call = '{call}'; DELETE FROM timelines WHERE call = '{call}'"
        )
    };
    finds(data, &both(&newest), &newest, "ended it, but the records have no row of it");
    finds(data, &both(&oldest), &oldest, "neither the state nor the records know it");
    finds(data, &both(&oldest), "", "the state has seen 82 calls end");
    let half = format!("DELETE FROM cdr WHERE call = '{oldest}'");
    finds(data, &half, &oldest, "it has a timeline that ends with command");
    finds(data, "DELETE FROM timelines", &oldest, "it has a record, and no timeline");
    let longer = format!("UPDATE cdr SET talk_ms = talk_ms + 1000 WHERE call = '{oldest}'");
    finds(data, &longer, &oldest, "talk_ms is");
    let double =
        format!("INSERT INTO doubles SELECT 9, call, whole FROM cdr WHERE call = '{oldest}'");
    finds(data, &double, &oldest, "it has a second record, of command 9");
    let moved = format!("UPDATE cdr SET log_index = log_index - 1 WHERE call = '{newest}'");
    finds(data, &moved, &newest, "its row is not what command");

    // A caller was answered whom nobody knows.
    let copy = copied(data);
    let lost = "01000000000000ff";
    let journal = fs::read_dir(copy.join("journal")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&journal).unwrap();
    let at = text.lines().last().unwrap().split(' ').next().unwrap().to_owned();
    fs::write(&journal, format!("{text}{at} accepted {lost} 0011223344556677 200\n")).unwrap();
    says(&audit(&["--data", copy.to_str().unwrap()]), lost, "its caller was told 200");
}

fn finds(data: &Path, doctor: &str, call: &str, what: &str) {
    let copy = copied(data);
    let records = Connection::open(copy.join("replica/records.sqlite")).unwrap();
    records.execute_batch(doctor).unwrap();
    drop(records);
    says(&audit(&["--data", copy.to_str().unwrap()]), call, what);
}

fn says(output: &Output, call: &str, what: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "it is good: {text}");
    let is_told = |line: &str| line.contains("WRONG") && line.contains(call) && line.contains(what);
    assert!(text.lines().any(is_told), "no {what:?} of {call:?} in\n{text}");
}

fn copied(data: &Path) -> PathBuf {
    let copy = fresh_directory("doctored");
    let done = Command::new("cp").arg("-r").arg(data.join(".")).arg(&copy).status().unwrap();
    assert!(done.success());
    copy
}

fn assert_good(output: &Output, what: &str) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{what}:\n{}", String::from_utf8_lossy(&said));
}

fn audit(arguments: &[&str]) -> Output {
    tandem(&[&["audit"], arguments].concat())
}

fn replay(call: &str, arguments: &[&str]) -> String {
    let output = tandem(&[&["replay", call], arguments].concat());
    assert_good(&output, "replay");
    String::from_utf8(output.stdout).unwrap()
}

fn tandem(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).env("TANDEM_PASSWORD", "admin").output().unwrap()
}

fn server() -> String {
    format!("http://{HTTP}")
}

fn calls(scenario: &str, number: &str, load: &[&str]) {
    let caller = ["-p", "17061", "-cp", "17889"];
    let arguments = [&[SIP, "-s", number][..], &caller, load].concat();
    Sipp::start(scenario, &arguments).finishes(MINUTE);
}

/// The first of the records that are asked for.
fn call_of(node: &Node, query: &str) -> String {
    let body = r#"{"user":"admin","password":"admin"}"#;
    let (_, text) = request(node.http, "POST", "/api/v1/login", None, body).unwrap();
    let login: Value = serde_json::from_str(&text).unwrap();
    let path = format!("/api/v1/cdrs?{query}&limit=1");
    let (status, text) = get(node.http, &path, login["token"].as_str()).unwrap();
    assert_eq!(status, 200, "{text}");
    let page: Value = serde_json::from_str(&text).unwrap();
    page["items"][0]["call"].as_str().unwrap().to_owned()
}

fn configuration() -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let (flows, prompts) = (shipped.join("flows/bench"), shipped.join("prompts"));
    let text = format!(
        r#"
[node]
id = 1
[sip]
udp = ["{SIP}"]
tcp = ["{SIP}"]
[http]
listen = "{HTTP}"
[media]
rtp_port_min = 27000
rtp_port_max = 27999
[cluster]
snapshot_entries = 100
[flows]
directory = {flows:?}
[prompts]
directory = {prompts:?}
[[number]]
number = "service"
target = "sip:x@127.0.0.1:17070"
[[number]]
number = "ivr"
flow = "ivr"
[[number]]
number = "echo"
echo = true
[[number]]
number = "queue"
queue = "queue"
[[queue]]
id = "queue"
name = "Load"
answer = false
wrap_up_seconds = 0
[[agent_range]]
prefix = "agent"
first = 1
count = 50
digits = 3
queues = ["queue"]
device = "sip:{{id}}@127.0.0.1:17072"
always_ready = true
[[agent]]
id = "admin"
password = "admin"
role = "administrator"
"#
    );
    let file = fresh_directory("audit").join("node.toml");
    fs::write(&file, text).unwrap();
    file
}
