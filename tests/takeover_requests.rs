//! What a caller and a flow ask for in the very moment in which the node of the call dies: nobody
//! is there to hear it, and it is answered all the same, once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use support::cluster::{Cluster, others};
use support::line::Line;
use support::{fresh_directory, get, wait_until};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// How soon another node answers for one whose process is gone; a phone repeats a request for 32 s.
const ADOPTED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn what_a_caller_says_while_nobody_has_the_call_is_answered_by_the_adopter() {
    let callee = Line::new("127.0.0.1", "127.0.0.1:9".parse().unwrap());
    let target =
        format!("\n[[number]]\nnumber = \"rings\"\ntarget = \"sip:rings@{}\"\n", callee.address());
    let mut cluster = Cluster::start_with("127.0.0.10", 15, |_, text| text + &target);
    let leader = cluster.leader();
    let [carrier, adopter] = others(leader);
    let at = |node| cluster.sip(node);
    let (mut leaves, mut holds, mut cancels) = (
        echo("leaves", at(carrier)),
        echo("holds", at(carrier)),
        Line::new("127.0.0.1", at(carrier)),
    );
    let mut callee = callee.with_node(at(carrier));
    let sdp = cancels.sdp("sendrecv");
    cancels.calls("cancels", "rings", &sdp);
    callee.is_invited();
    callee.answers(180, "", "");
    cancels.is_told(180);
    // What the phone told is committed beside the call, a moment later.
    cluster.wait_for_calls(leader, 3);

    cluster.nodes[carrier - 1].kill();
    leaves.says_bye();
    cancels.cancels();
    let sdp = holds.sdp("sendonly");
    holds.reinvites(&sdp);
    leaves.repeats_until(&[200], ADOPTED_WITHIN);
    cancels.repeats_until(&[200], ADOPTED_WITHIN);
    cancels.is_told(487);
    cancels.acks_refusal();
    callee.is_cancelled();
    // The adopter may not know yet that its 200 was acknowledged: then it asks to come again later
    // (RFC 3261 §14.1, §14.2).
    let mut answer = holds.repeats_until(&[200, 491], ADOPTED_WITHIN);
    if answer.status() == 491 {
        holds.acks_refusal();
        holds.reinvites(&sdp);
        answer = holds.repeats_until(&[200], ADOPTED_WITHIN);
    }
    assert!(answer.says("a=recvonly") || answer.says("a=inactive"), "{answer:?}");
    holds.acks("");
    holds.hangs_up();

    let results = |record: &Value| {
        let word = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        (word("outcome"), word("ended_by"), record["takeovers"].as_u64())
    };
    for node in [leader, adopter] {
        cluster.records_are(node, 3);
        let records: BTreeMap<String, _> = (records(&cluster, node).iter())
            .map(|record| (record["from"]["number"].as_str().unwrap().to_owned(), results(record)))
            .collect();
        assert_eq!(records.len(), 3);
        for (number, (outcome, by, takeovers)) in records {
            let expected = if number == "cancels" { "abandoned" } else { "ivr-completed" };
            assert_eq!((outcome.as_str(), by.as_str()), (expected, "caller"), "{number}");
            assert_eq!(takeovers, Some(1), "{number}");
        }
    }
}

#[test]
fn a_request_of_a_flow_is_sent_again_only_if_it_may_be() {
    let web = Web::start();
    let flows = fresh_directory("flows");
    for method in ["GET", "POST"] {
        fs::write(flows.join(format!("{method}.toml")), flow(method, web.address)).unwrap();
    }
    let numbers = "\n[[number]]\nnumber = \"gets\"\nflow = \"GET\"\n\
                   [[number]]\nnumber = \"posts\"\nflow = \"POST\"\n";
    let mut cluster = Cluster::start_with("127.0.0.14", 15, |_, text| {
        let shipped =
            text.lines().find(|line| line.starts_with("directory = ") && line.contains("flows"));
        let ours = format!("directory = {flows:?}");
        // The numbers of the shipped flows go with them.
        let text = text.replace(shipped.unwrap(), &ours).replace("flow = \"demo\"", "echo = true");
        text + numbers
    });
    let leader = cluster.leader();
    let [carrier, adopter] = others(leader);
    let [mut gets, mut posts] = ["gets", "posts"].map(|number| {
        let mut line = Line::new("127.0.0.1", cluster.sip(carrier));
        let sdp = line.sdp("sendrecv");
        line.calls(number, number, &sdp);
        line.is_told(200);
        line.acks("");
        line
    });
    wait_until("both have asked", HALF_A_MINUTE, || web.asked() == [1, 1]);
    cluster.nodes[carrier - 1].kill();
    // The one that may have been done is over; the other is asked again, and answered.
    posts.is_hung_up();
    wait_until("the adopter asks again", HALF_A_MINUTE, || web.asked() == [2, 1]);
    web.answer();
    gets.is_hung_up();
    cluster.records_are(adopter, 2);
    assert_eq!(web.asked(), [2, 1]);
    for record in records(&cluster, adopter) {
        let branch = record["variables"]["branch"].as_str();
        let expected = if record["to"] == "gets" { "ok" } else { "failed" };
        assert_eq!((branch, record["takeovers"].as_u64()), (Some(expected), Some(1)), "{record}");
    }
}

/// A caller who is connected to the echo.
fn echo(name: &str, node: SocketAddr) -> Line {
    let mut line = Line::new("127.0.0.1", node);
    let sdp = line.sdp("sendrecv");
    line.calls(name, "echo", &sdp);
    line.is_told(200);
    line.acks("");
    line
}

fn records(cluster: &Cluster, node: usize) -> Vec<Value> {
    let token = cluster.log_in(node, "sue").unwrap();
    let (_, body) = get(cluster.http(node), "/api/v1/cdrs", Some(&token)).unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    body["items"].as_array().unwrap().clone()
}

/// Asks the web service, and notes which branch it took.
fn flow(method: &str, web: SocketAddr) -> String {
    format!(
        "start = \"pick_up\"\n[steps.pick_up]\ndo = \"answer\"\nnext = \"ask\"\n\
         [steps.ask]\ndo = \"http\"\nmethod = \"{method}\"\nurl = \"http://{web}/\"\n\
         timeout_ms = 30000\non_ok = \"ok\"\non_error = \"failed\"\n\
         [steps.ok]\ndo = \"set\"\nvariables = {{ branch = \"ok\" }}\nnext = \"end\"\n\
         [steps.failed]\ndo = \"set\"\nvariables = {{ branch = \"failed\" }}\nnext = \"end\"\n\
         [steps.end]\ndo = \"hang_up\"\n"
    )
}

/// A web service that answers when it is told to.
struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    answers: Arc<AtomicBool>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answers) = (Arc::<Mutex<_>>::default(), Arc::<AtomicBool>::default());
        let web = Self { address, asked: Arc::clone(&asked), answers: Arc::clone(&answers) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
                std::thread::spawn(move || converse(&stream.unwrap(), &asked, &answers));
            }
        });
        web
    }

    /// How often GET and POST were asked.
    fn asked(&self) -> [usize; 2] {
        let asked = self.asked.lock().unwrap();
        ["GET", "POST"].map(|method| asked.get(method).copied().unwrap_or(0))
    }

    fn answer(&self) {
        self.answers.store(true, Ordering::Relaxed);
    }
}

fn converse(stream: &TcpStream, asked: &Mutex<BTreeMap<String, usize>>, answers: &AtomicBool) {
    let lines: Vec<String> = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let Some(method) = lines.first().and_then(|line| line.split(' ').next()) else { return };
    *asked.lock().unwrap().entry(method.to_owned()).or_default() += 1;
    wait_until("the test lets it answer", HALF_A_MINUTE * 2, || answers.load(Ordering::Relaxed));
    let mut stream = stream;
    // Who asked may be gone.
    drop(write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"));
}
