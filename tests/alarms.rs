//! Who is told that a node is unwell, and that it is well again: the metrics, the API, supervisors
//! and the operator's web service, which may be as bad as it likes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use support::cluster::{Cluster, others};
use support::inside::Inside;
use support::{get, wait_until};
use tandem::api::frame::{ClientFrame, Hello, ServerFrame};
use tandem::cli::client::Server;

/// A killed process is missed at once; the rest is a look and an HTTP request.
const SOON: Duration = Duration::from_secs(5);

const A_WHILE: Duration = Duration::from_secs(40);

const SECRET: &str = "the secret of these tests";

#[test]
fn a_killed_node_is_alarmed_everywhere_until_it_is_back() {
    let receiver = Receiver::failing(2);
    let entries = format!("\n[alarms]\nwebhook = \"{}\"\nsecret = \"{SECRET}\"\n", receiver.url());
    let mut cluster = Cluster::start_with("127.0.0.8", 15, |_, text| text + &entries);
    let leader = cluster.leader();
    let [killed, follower] = others(leader);
    let stream = Stream::of_supervisor(&cluster, follower);
    cluster.nodes[killed - 1].kill();

    let missed = r#"tandem_alarm{name="node-missed"}"#;
    for node in [leader, follower] {
        wait_until("the alarm is on the metrics", SOON, || {
            cluster.metric(node, missed) == Some(1.0)
        });
        let alarm = alarms(&cluster, node).remove("node-missed").unwrap();
        assert_eq!(
            (alarm["about"].as_u64(), alarm["severity"].as_str()),
            (Some(killed as u64), Some("page"))
        );
        assert!(alarm["action"].as_str().unwrap().contains("Start the node again"), "{alarm}");
    }
    let id = alarms(&cluster, leader).remove("node-missed").unwrap()["id"].clone();
    let seen = alarms(&cluster, follower).remove("node-missed").unwrap()["id"].clone();
    assert_eq!(id, seen, "both nodes name the loss alike");
    let id = id.as_str().unwrap().to_owned();
    wait_until("a supervisor is told", SOON, || stream.has_raised(&id));
    wait_until("the web service has it", A_WHILE, || !receiver.taken(&id, "raised").is_empty());

    cluster.restart(killed);
    for node in [leader, follower] {
        wait_until("the alarm is over", A_WHILE, || {
            cluster.metric(node, missed) == Some(0.0)
                && !alarms(&cluster, node).contains_key("node-missed")
        });
    }
    wait_until("a supervisor is told the end", SOON, || stream.has_cleared(&id));
    wait_until("the web service has the end", A_WHILE, || {
        !receiver.taken(&id, "cleared").is_empty()
    });
    // The leader sends it and nobody else, and what failed was repeated as the same delivery.
    assert_eq!(receiver.taken(&id, "raised").len(), 1);
    let sent = Value::from(leader);
    assert!(receiver.taken(&id, "raised").iter().all(|body| body["node"] == sent));
    let refused = receiver.refused();
    assert_eq!(refused.len(), 2);
    let again: Vec<_> = refused.iter().filter(|delivery| receiver.has_taken(delivery)).collect();
    assert_eq!(again.len(), 2, "what was refused came again: {refused:?}");
    assert!(cluster.metric(leader, r#"tandem_webhook_total{result="repeated"}"#) >= Some(2.0));
    assert_eq!(cluster.metric(leader, "tandem_nodes_missed_total"), Some(1.0));
}

#[test]
fn a_web_service_that_never_answers_holds_nothing_up() {
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap(); // Nobody accepts.
    let url = format!("http://{}/", hangs.local_addr().unwrap());
    let entries = format!(
        "[alarms]\nwebhook = \"{url}\"\ntimeout_seconds = 1\n\
         [limits]\ndisk_free_mb_min = 100000000\n\
         [[number]]\nnumber = \"echo\"\necho = true\n"
    );
    let node = Inside::start("127.0.0.94", &entries, &[]);
    let standing = || node.node().alarms.standing();
    wait_until("the alarm stands", SOON, || {
        standing().iter().any(|alarm| alarm.name == "disk-low")
    });
    let repeated = || node.node().metrics.webhook_total.with_label_values(&["repeated"]).get();
    wait_until("it was sent again in vain", SOON, || repeated() >= 2);
    // The node answers a caller meanwhile as it should: there is no room.
    let mut caller = node.phone();
    let sdp = caller.sdp("sendrecv");
    caller.calls("alice", "echo", &sdp);
    caller.is_told(503);
}

/// What stands at a node, by name.
fn alarms(cluster: &Cluster, node: usize) -> BTreeMap<String, Value> {
    let token = cluster.log_in(node, "sue").unwrap();
    let (status, body) = get(cluster.http(node), "/api/v1/alarms", Some(&token)).unwrap();
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let items = body["items"].as_array().unwrap().iter();
    items.map(|alarm| (alarm["name"].as_str().unwrap().to_owned(), alarm.clone())).collect()
}

/// The operator's web service: it refuses the first requests and takes the others, and checks
/// who signed them.
struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    refuse: usize,
    refused: Vec<String>,
    taken: Vec<(String, Value)>,
}

impl Receiver {
    fn failing(times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen { refuse: times, ..Seen::default() }));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // A connection may be kept open between two requests.
                std::thread::spawn(move || while serve(stream.as_ref().unwrap(), &shared) {});
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}/alarms", self.address)
    }

    fn refused(&self) -> Vec<String> {
        self.seen.lock().unwrap().refused.clone()
    }

    fn has_taken(&self, delivery: &str) -> bool {
        self.seen.lock().unwrap().taken.iter().any(|(taken, _)| taken == delivery)
    }

    /// The bodies that say this of this alarm.
    fn taken(&self, id: &str, status: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        let is_it = |body: &&Value| body["id"] == id && body["status"] == status;
        seen.taken.iter().map(|(_, body)| body).filter(is_it).cloned().collect()
    }
}

/// Answers one request; false at the end of the connection.
fn serve(stream: &TcpStream, seen: &Mutex<Seen>) -> bool {
    let mut reader = BufReader::new(stream);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        match line.trim().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None if line.trim().is_empty() => break,
            None => None,
        };
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&body);
    let hex: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(headers["tandem-signature"], format!("sha256={hex}"));
    let delivery = headers["tandem-delivery"].clone();
    let mut seen = seen.lock().unwrap();
    let answer = if seen.refuse > 0 {
        seen.refuse -= 1;
        seen.refused.push(delivery);
        "500 Not Now"
    } else {
        seen.taken.push((delivery, serde_json::from_slice(&body).unwrap()));
        "204 Taken"
    };
    drop(seen);
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").is_ok()
}

/// The frames that a supervisor receives.
struct Stream(Arc<Mutex<Vec<ServerFrame>>>);

impl Stream {
    fn of_supervisor(cluster: &Cluster, node: usize) -> Self {
        let token = cluster.log_in(node, "sue").unwrap();
        let base = format!("http://{}", cluster.http(node));
        let frames: Arc<Mutex<Vec<ServerFrame>>> = Arc::default();
        let shared = Arc::clone(&frames);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut cti = Server::new(&base).unwrap().connect().await.unwrap();
                let hello = Hello { version: 1, token: Some(token), ..Hello::default() };
                cti.send(&ClientFrame::Hello(hello)).await.unwrap();
                while let Some(frame) = cti.receive().await {
                    shared.lock().unwrap().push(frame);
                }
            });
        });
        let stream = Self(frames);
        let is_snapshot = |frame: &ServerFrame| matches!(frame, ServerFrame::Snapshot(_));
        wait_until("the supervisor has a snapshot", SOON, || stream.has(is_snapshot));
        stream
    }

    fn has(&self, is_it: impl Fn(&ServerFrame) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(is_it)
    }

    fn has_raised(&self, id: &str) -> bool {
        self.has(|frame| matches!(frame, ServerFrame::AlarmRaised(alarm) if alarm.id == id))
    }

    fn has_cleared(&self, id: &str) -> bool {
        self.has(|frame| matches!(frame, ServerFrame::AlarmCleared(over) if over.id == id))
    }
}
