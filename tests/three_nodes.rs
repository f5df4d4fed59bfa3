//! Three nodes: a call enters one, its agent sits at another, its record is read from the third;
//! and one of them dies.
//!
//! The death of the node that carries the call is not here: nobody takes its calls over yet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Node, Sipp, fresh_directory, get, request, wait_until};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// How long a desk may be without its socket.
const GRACE_SECONDS: u64 = 5;

/// Where the agent's phone (SIPp) listens.
const PHONE: &str = "127.0.0.1:5085";

#[test]
fn calls_cross_three_nodes_and_survive_the_death_of_the_others() {
    let mut cluster = Cluster::start();
    let _phone = Sipp::start("uas_agent.xml", &["-p", "5085", "-cp", "8895", "-d", "800"]);
    let _desk = cluster.desk_at(2);

    // The call enters node 1, ana sits at node 2, the record is read from node 3.
    cluster.caller_is_served_at(1);
    cluster.records_are(3, 1);

    // A node that neither carries the call nor leads dies, and comes back.
    let leader = cluster.leader();
    let [carrier, bystander] = others(leader);
    let talking = cluster.talks_at(carrier);
    cluster.nodes[bystander - 1].kill();
    talking.finishes(HALF_A_MINUTE);
    cluster.restart(bystander);
    cluster.records_are(bystander, 2);

    // The leader dies: the call elsewhere goes on, and the next caller is served.
    let leader = cluster.leader();
    let [carrier, survivor] = others(leader);
    let talking = cluster.talks_at(carrier);
    cluster.nodes[leader - 1].kill();
    talking.finishes(HALF_A_MINUTE);
    cluster.caller_is_served_at(survivor);
    cluster.records_are(carrier, 4);
    cluster.desk_stays_signed_in(survivor);
}

/// The two nodes that are not this one.
fn others(node: usize) -> [usize; 2] {
    [node % 3 + 1, (node + 1) % 3 + 1]
}

struct Cluster {
    nodes: Vec<Node>,
    configs: Vec<PathBuf>,
}

impl Cluster {
    fn start() -> Self {
        let folder = fresh_directory("cluster");
        let configs: Vec<_> = (1..=3).map(|node| config(&folder, node)).collect();
        let start = |node: usize| {
            let data = fresh_directory("member");
            Node::start_in(&configs[node - 1], &http(node).to_string(), &data)
        };
        let mut nodes: Vec<_> = (1..=3).map(start).collect();
        nodes.iter_mut().for_each(Node::wait_ready);
        Self { nodes, configs }
    }

    fn restart(&mut self, node: usize) {
        let data = self.nodes[node - 1].data.clone();
        let config = &self.configs[node - 1];
        self.nodes[node - 1] = Node::start_in(config, &http(node).to_string(), &data);
        self.nodes[node - 1].wait_ready();
    }

    fn leader(&self) -> usize {
        let mut leader = 0;
        wait_until("somebody leads", HALF_A_MINUTE, || {
            let leads = |node: &usize| metric(*node, "tandem_raft_leader") == Some(1.0);
            leader = (1..=3).find(leads).unwrap_or(0);
            leader != 0
        });
        leader
    }

    /// `tandem agent` of ana, first at this node.
    fn desk_at(&self, node: usize) -> Desk {
        let servers: Vec<_> = [node, others(node)[0], others(node)[1]]
            .map(|node| format!("http://{}", http(node)))
            .into();
        let script = fresh_directory("desk").join("script");
        fs::write(&script, "ready\nsleep 300\n").unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .args(["agent", "--server", &servers.join(","), "--user", "ana", "--script"])
            .env("TANDEM_PASSWORD", "ana")
            .stdin(fs::File::open(script).unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.wait_for_ready_agent(node);
        Desk(child)
    }

    fn wait_for_ready_agent(&self, node: usize) {
        wait_until("ana is ready", HALF_A_MINUTE, || {
            metric(node, "tandem_agents{state=\"ready\"}") == Some(1.0)
        });
    }

    /// Longer than the grace of a lost socket: an election is no reason to sign anybody out.
    fn desk_stays_signed_in(&self, node: usize) {
        self.wait_for_ready_agent(node);
        let until = Instant::now() + Duration::from_secs(GRACE_SECONDS + 4);
        while Instant::now() < until {
            let ready = metric(node, "tandem_agents{state=\"ready\"}");
            assert_eq!(ready, Some(1.0), "ana was signed out though her desk is there");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A caller to the queue is answered by ana's phone, which hangs up.
    fn caller_is_served_at(&self, node: usize) {
        self.wait_for_ready_agent(node);
        let to = format!("127.0.0.2{node}:5060");
        let arguments = [to.as_str(), "-s", "sales", "-p", "5086", "-cp", "8896", "-m", "1"];
        Sipp::start("uac_queue.xml", &arguments).finishes(HALF_A_MINUTE);
    }

    /// A call of some seconds to the echo, which has begun when this returns.
    fn talks_at(&self, node: usize) -> Sipp {
        let to = format!("127.0.0.2{node}:5060");
        let arguments =
            [to.as_str(), "-s", "echo", "-p", "5087", "-cp", "8897", "-m", "1", "-d", "5000"];
        let call = Sipp::start("uac_b2bua.xml", &arguments);
        wait_until("the call is up", HALF_A_MINUTE, || {
            metric(node, "tandem_calls_owned") == Some(1.0)
        });
        call
    }

    /// This node has so many records of calls.
    fn records_are(&self, node: usize, count: usize) {
        let credentials = r#"{"user":"sue","password":"sue"}"#;
        let login = || {
            let (_, answer) =
                request(http(node), "POST", "/api/v1/login", None, credentials).ok()?;
            let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
            Some(answer["token"].as_str()?.to_owned())
        };
        let mut seen = 0;
        wait_until("the records are there", HALF_A_MINUTE, || {
            let Some(token) = login() else { return false };
            let answer = get(http(node), "/api/v1/cdrs", Some(&token));
            let body = answer.map(|(_, body)| body).unwrap_or_default();
            let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            seen = body["items"].as_array().map_or(0, Vec::len);
            seen >= count
        });
        assert_eq!(seen, count, "each call has one record");
    }
}

/// Ends with the test.
struct Desk(Child);

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn http(node: usize) -> SocketAddr {
    format!("127.0.0.2{node}:8080").parse().unwrap()
}

fn metric(node: usize, name: &str) -> Option<f64> {
    let (_, text) = get(http(node), "/metrics", None).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// The shipped configuration of this node, on addresses of this test, with SIPp for ana's phone
/// and no wrap-up.
fn config(folder: &Path, node: usize) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = root.join(format!("config/cluster/node{node}.toml"));
    let text = fs::read_to_string(shipped).unwrap();
    let text = (1..=3).fold(text, |text, member| {
        text.replace(&format!("127.0.0.1{member}"), &format!("127.0.0.2{member}"))
    });
    let config = root.join("config");
    let text = text
        .replace("\"../flows\"", &format!("{:?}", config.join("flows")))
        .replace("\"../prompts\"", &format!("{:?}", config.join("prompts")))
        .replacen("phone_password = \"ana\"", &format!("device = \"sip:ana@{PHONE}\""), 1)
        .replace("wrap_up_seconds = ", "wrap_up_seconds = 0 # ");
    let grace = format!("[http]\nsession_grace_seconds = {GRACE_SECONDS}\n");
    let text = text.replacen("[http]\n", &grace, 1);
    assert!(text.contains(PHONE) && text.contains(&grace), "the file is as this test knows it");
    let file = folder.join(format!("node{node}.toml"));
    fs::write(&file, text).unwrap();
    file
}
