//! What an operator sees: the dashboard and the alert rules, in a real Prometheus that scrapes a
//! real node with calls.
//!
//! Owns neither the figures nor the rules; checks that each panel shows something, that figures
//! move with the calls, and that each rule is loaded and says what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, its helpers too")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Node, Sipp, fresh_directory, get, request, wait_until};

const SIP: &str = "127.0.0.1:15060";
const HTTP: &str = "127.0.0.1:18080";
const PROMETHEUS: &str = "127.0.0.1:19090";

const MINUTE: Duration = Duration::from_secs(60);

/// Expressions that rightly have no data on a healthy node with a little traffic. None has a
/// reason to be here: counters begin at 0.
const EMPTY: [&str; 0] = [];

#[test]
fn every_panel_shows_the_calls_of_a_node() {
    let node = Node::start(&configuration(), HTTP);
    let prometheus = Prometheus::start();
    prometheus.waits_for("tandem_start_time_seconds", "the first scrape");
    somebody_logs_in(&node);
    calls_are_made();
    prometheus
        .waits_for("sum(tandem_call_results_total) == 25", "all calls ended and were scraped");
    prometheus.waits_for("rate(tandem_talk_seconds_count[10s]) > 0", "a rate of calls");
    panels_have_data(&prometheus);
    figures_moved(&prometheus);
    rules_are_evaluated(&prometheus);
}

#[test]
fn promtool_accepts_what_is_shipped() {
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
}

fn somebody_logs_in(node: &Node) {
    let body = r#"{"user":"admin","password":"admin"}"#;
    let (status, text) = request(node.http, "POST", "/api/v1/login", None, body).unwrap();
    assert_eq!(status, 200, "{text}");
}

fn calls_are_made() {
    let caller = ["-p", "15061", "-cp", "15889"];
    let _callee = Sipp::start("uas_answer.xml", &["-p", "15070", "-cp", "15890"]);
    let _agents =
        Sipp::start("uas_agent.xml", &["-p", "15080", "-cp", "15891", "-mp", "26000", "-d", "500"]);
    let calls = |scenario: &str, number: &str, load: &[&str]| {
        let arguments = [&[SIP, "-s", number][..], &caller, load].concat();
        Sipp::start(scenario, &arguments).finishes(MINUTE);
    };
    calls("uac_b2bua.xml", "service", &["-r", "10", "-m", "10", "-d", "500"]);
    calls("uac_ivr_dtmf.xml", "ivr", &["-r", "5", "-m", "5"]);
    calls("uac_queue.xml", "queue", &["-r", "5", "-m", "10"]);
}

fn panels_have_data(prometheus: &Prometheus) {
    let expressions = expressions();
    assert!(expressions.len() > 50, "the dashboard was read: {}", expressions.len());
    let mut empty = Vec::new();
    for (panel, expression) in expressions {
        if prometheus.ask(&expression).is_empty() && !EMPTY.contains(&&*expression) {
            empty.push(format!("{panel}: {expression}"));
        }
    }
    assert!(empty.is_empty(), "panels without data:\n{}", empty.join("\n"));
}

/// Data is not enough: a figure that nobody sets is 0 for ever.
fn figures_moved(prometheus: &Prometheus) {
    let moved = [
        r#"tandem_calls_total{direction="inbound"} == 25"#,
        r#"tandem_call_results_total{result="answered"} == 20"#,
        "tandem_answer_seconds_count == 5",
        "tandem_talk_seconds_count == 20",
        r#"tandem_queue_wait_seconds_count{queue="queue"} == 10"#,
        r#"tandem_queue_answered{queue="queue"} == 10"#,
        r#"tandem_agents{state="ready"} >= 1"#,
        r#"tandem_sip_requests_total{direction="in",method="INVITE"} >= 25"#,
        r#"tandem_sip_requests_total{direction="out",method="INVITE"} >= 20"#,
        r#"tandem_sip_responses_total{direction="in",class="2xx"} >= 20"#,
        r#"tandem_sip_responses_total{direction="out",class="2xx"} >= 25"#,
        r#"tandem_rtp_packets_total{direction="in"} > 0"#,
        "tandem_media_ports_free > 400",
        "tandem_recorded_bytes_total > 0",
        "tandem_recording_failures_total == 0",
        r#"tandem_proposals_total{result="applied"} > 75"#,
        "tandem_commit_seconds_count > 75",
        "tandem_log_sync_seconds_count > 0",
        "tandem_raft_has_leader == 1",
        "tandem_raft_leader_changes_total >= 1",
        "tandem_raft_applied_index > 75",
        "tandem_disk_free_bytes > 0",
        "tandem_resident_bytes > 1e6",
        "tandem_cpu_seconds > 0",
        r#"tandem_logins_total{result="done"} == 1"#,
        r#"tandem_http_requests_total{route="/api/v1/login"} == 1"#,
    ];
    let still: Vec<_> = moved.iter().filter(|claim| prometheus.ask(claim).is_empty()).collect();
    assert!(still.is_empty(), "not so: {still:#?}\n{}", prometheus.all_figures());
}

fn rules_are_evaluated(prometheus: &Prometheus) {
    let rules = || {
        let answer = prometheus.get("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().filter_map(|group| group["rules"].as_array().cloned());
        rules.flatten().collect::<Vec<_>>()
    };
    wait_until("every rule is evaluated", MINUTE, || {
        rules().iter().all(|rule| rule["health"] == "ok")
    });
    assert!(rules().len() >= 15, "the rules are loaded");
    for rule in rules() {
        for wanted in ["summary", "description", "action"] {
            let text = rule["annotations"][wanted].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{} has no {wanted}", rule["name"]);
        }
        let severity = &rule["labels"]["severity"];
        assert!(severity == "page" || severity == "ticket", "{}: {severity}", rule["name"]);
    }
}

/// Every expression of the dashboard with its panel's title, as Grafana would send it.
fn expressions() -> Vec<(String, String)> {
    let text = fs::read_to_string(grafana().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression
                .replace("$__rate_interval", "30s")
                .replace("$node", ".*")
                .replace("$queue", ".*");
            assert!(!expression.contains('$'), "an unknown variable: {expression}");
            found.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    found
}

/// The numbers that the scenarios dial, on ports of this test's own.
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
rtp_port_min = 25000
rtp_port_max = 25999
[flows]
directory = {flows:?}
[prompts]
directory = {prompts:?}
[[trunk]]
name = "exchange"
address = "sip:{SIP}"
prefix = "0"
probe_seconds = 1
[[number]]
number = "service"
target = "sip:x@127.0.0.1:15070"
[[number]]
number = "ivr"
flow = "ivr"
[[number]]
number = "queue"
queue = "queue"
[[queue]]
id = "queue"
name = "Queue"
wrap_up_seconds = 0
answer = false
record = true
[[agent_range]]
prefix = "agent"
first = 1
count = 20
digits = 3
queues = ["queue"]
device = "sip:{{id}}@127.0.0.1:15080"
always_ready = true
[[agent]]
id = "admin"
password = "admin"
role = "administrator"
"#
    );
    let file = fresh_directory("monitoring").join("node.toml");
    fs::write(&file, text).unwrap();
    file
}

fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").current_dir(grafana()).args(arguments).output();
    let output = output.expect("prometheus is installed (make test installs it)");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&said));
}

/// The distribution's Prometheus with the shipped configuration, but for this test's node and a
/// scrape every second.
struct Prometheus {
    child: Child,
    http: SocketAddr,
}

impl Prometheus {
    fn start() -> Self {
        let directory = fresh_directory("prometheus");
        let mut config = fs::read_to_string(grafana().join("prometheus.yml")).unwrap();
        let alerts = grafana().join("alerts.yml").display().to_string();
        for (shipped, ours) in [
            ("scrape_interval: 5s", "scrape_interval: 1s"),
            ("evaluation_interval: 5s", "evaluation_interval: 1s"),
            ("127.0.0.1:8080", HTTP),
            ("- alerts.yml", &format!("- {alerts}")),
        ] {
            assert!(config.contains(shipped), "{shipped}");
            config = config.replace(shipped, ours);
        }
        let file = directory.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(directory.join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed (make test installs it)");
        let mut started = Self { child, http: PROMETHEUS.parse().unwrap() };
        wait_until("prometheus is ready", MINUTE, || {
            if let Ok(Some(status)) = started.child.try_wait() {
                let said = fs::read_to_string(directory.join("log")).unwrap();
                panic!("prometheus ended with {status}:\n{said}");
            }
            matches!(get(started.http, "/-/ready", None), Ok((200, _)))
        });
        started
    }

    fn waits_for(&self, expression: &str, what: &str) {
        wait_until(what, MINUTE, || !self.ask(expression).is_empty());
    }

    /// The series that an instant query answers.
    fn ask(&self, expression: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/query?query={}", escape(expression)));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().expect("an instant vector").clone()
    }

    fn get(&self, path: &str) -> Value {
        let (_, body) = get(self.http, path, None).unwrap();
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}\n{body}"))
    }

    fn all_figures(&self) -> String {
        let series = self.ask(r#"{__name__=~"tandem_.*",le=""}"#);
        let line = |one: &Value| format!("{} {}", one["metric"], one["value"][1]);
        series.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Percent-encodes a query (RFC 3986 §2.1).
fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
