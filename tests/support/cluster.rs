//! Three nodes of the shipped cluster configuration, a desk and callers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Node, Sipp, fresh_directory, get, request, wait_until};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// Where the agent's phone (SIPp) listens.
pub const PHONE: &str = "127.0.0.1:5085";

/// The two nodes that are not this one.
pub fn others(node: usize) -> [usize; 2] {
    [node % 3 + 1, (node + 1) % 3 + 1]
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    configs: Vec<PathBuf>,
    /// The addresses of node 1 begin so: its number follows.
    prefix: String,
}

impl Cluster {
    /// Three nodes on addresses that begin with this; the number of the node follows. Desks may
    /// be without their socket for so long.
    pub fn start(prefix: &str, grace_seconds: u64) -> Self {
        Self::start_with(prefix, grace_seconds, |_, text| text)
    }

    /// The same with every node's file changed.
    pub fn start_with(
        prefix: &str,
        grace_seconds: u64,
        change: impl Fn(usize, String) -> String,
    ) -> Self {
        let folder = fresh_directory("cluster");
        let config = |node| {
            let text = change(node, config(node, prefix, grace_seconds));
            let file = folder.join(format!("node{node}.toml"));
            fs::write(&file, text).unwrap();
            file
        };
        let configs: Vec<_> = (1..=3).map(config).collect();
        let start = |node: usize| {
            let data = fresh_directory("member");
            Node::start_in(&configs[node - 1], &format!("{prefix}{node}:8080"), &data)
        };
        let mut nodes: Vec<_> = (1..=3).map(start).collect();
        nodes.iter_mut().for_each(Node::wait_ready);
        Self { nodes, configs, prefix: prefix.to_owned() }
    }

    /// One node more, with the next number and a new data directory, which waits to be added. It has
    /// the configuration of node 1 on addresses of its own.
    pub fn joins(&mut self) -> usize {
        let node = self.nodes.len() + 1;
        let text = fs::read_to_string(&self.configs[0]).unwrap();
        let (own, members) = text.split_once("[[cluster.member]]").unwrap();
        let own = own
            .replace(&format!("{}1", self.prefix), &format!("{}{node}", self.prefix))
            .replacen("id = 1\n", &format!("id = {node}\n"), 1)
            .replacen("[cluster]\n", "[cluster]\njoin = true\n", 1);
        let itself = format!(
            "[[cluster.member]]\nid = {node}\naddress = \"{}{node}:7000\"\n\n",
            self.prefix
        );
        let file = self.configs[0].with_file_name(format!("node{node}.toml"));
        fs::write(&file, format!("{own}{itself}[[cluster.member]]{members}")).unwrap();
        let data = fresh_directory("member");
        self.nodes.push(Node::start_in(&file, &self.http(node).to_string(), &data));
        self.configs.push(file);
        node
    }

    /// Where a node's API is.
    pub fn http(&self, node: usize) -> SocketAddr {
        format!("{}{node}:8080", self.prefix).parse().unwrap()
    }

    /// Where a node's SIP is.
    pub fn sip(&self, node: usize) -> SocketAddr {
        format!("{}{node}:5060", self.prefix).parse().unwrap()
    }

    /// One value of a node's metrics.
    pub fn metric(&self, node: usize, name: &str) -> Option<f64> {
        let (_, text) = get(self.http(node), "/metrics", None).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    }

    pub fn restart(&mut self, node: usize) {
        let data = self.nodes[node - 1].data.clone();
        let config = &self.configs[node - 1];
        self.nodes[node - 1] = Node::start_in(config, &self.http(node).to_string(), &data);
        self.nodes[node - 1].wait_ready();
    }

    /// `tandem recover` of a stopped node, and its code in the configuration.
    pub fn recover(&self, node: usize) {
        let output = Command::new(super::program())
            .args(["recover", "--node", &node.to_string(), "--data"])
            .arg(&self.nodes[node - 1].data)
            .args(["--yes-i-accept-loss", &format!("node-{node}-alone")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let line = said.lines().find(|line| line.contains("recovery = ")).unwrap();
        let file = &self.configs[node - 1];
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, text.replacen("[cluster]\n", &format!("[cluster]\n{line}\n"), 1)).unwrap();
    }

    pub fn leader(&self) -> usize {
        let mut leader = 0;
        wait_until("somebody leads", HALF_A_MINUTE, || {
            let leads = |node: &usize| self.metric(*node, "tandem_raft_leader") == Some(1.0);
            leader = (1..=self.nodes.len()).find(leads).unwrap_or(0);
            leader != 0
        });
        leader
    }

    /// `tandem agent` of ana, first at this node.
    pub fn desk_at(&self, node: usize) -> Desk {
        let servers: Vec<_> = [node, others(node)[0], others(node)[1]]
            .map(|node| format!("http://{}", self.http(node)))
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

    pub fn wait_for_ready_agent(&self, node: usize) {
        wait_until("ana is ready", HALF_A_MINUTE, || {
            self.metric(node, "tandem_agents{state=\"ready\"}") == Some(1.0)
        });
    }

    /// For so long.
    pub fn desk_stays_signed_in(&self, node: usize, seconds: u64) {
        self.wait_for_ready_agent(node);
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            let ready = self.metric(node, "tandem_agents{state=\"ready\"}");
            assert_eq!(ready, Some(1.0), "ana was signed out though her desk is there");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A caller to the queue is answered by ana's phone, which hangs up.
    pub fn caller_is_served_at(&self, node: usize) {
        self.wait_for_ready_agent(node);
        let to = self.sip(node).to_string();
        let arguments = [to.as_str(), "-s", "sales", "-p", "5086", "-cp", "8896", "-m", "1"];
        Sipp::start("uac_queue.xml", &arguments).finishes(HALF_A_MINUTE);
    }

    /// A call of some seconds to the echo, which has begun when this returns.
    pub fn talks_at(&self, node: usize) -> Sipp {
        let call = self.dials_echo_at(node);
        self.wait_for_owned_call(&[node]);
        call
    }

    /// A call of some seconds to the echo.
    pub fn dials_echo_at(&self, node: usize) -> Sipp {
        let to = self.sip(node).to_string();
        let arguments =
            [to.as_str(), "-s", "echo", "-p", "5087", "-cp", "8897", "-m", "1", "-d", "5000"];
        Sipp::start("uac_b2bua.xml", &arguments)
    }

    /// One of these nodes owns a call.
    pub fn wait_for_owned_call(&self, nodes: &[usize]) {
        wait_until("the call is up", HALF_A_MINUTE, || {
            nodes.iter().any(|node| self.metric(*node, "tandem_calls_owned") == Some(1.0))
        });
    }

    /// The token of somebody whose password is the name.
    pub fn log_in(&self, node: usize, user: &str) -> Option<String> {
        let body = format!(r#"{{"user":"{user}","password":"{user}"}}"#);
        let (_, answer) = request(self.http(node), "POST", "/api/v1/login", None, &body).ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        Some(answer["token"].as_str()?.to_owned())
    }

    /// This node knows of so many calls.
    pub fn wait_for_calls(&self, node: usize, count: usize) {
        wait_until("the calls are known", HALF_A_MINUTE, || {
            let (_, text) = get(self.http(node), "/metrics", None).unwrap_or_default();
            let calls = text.lines().filter_map(|line| line.strip_prefix("tandem_calls_active{"));
            let count_of = |line: &str| line.split(' ').nth(1)?.parse::<usize>().ok();
            calls.filter_map(count_of).sum::<usize>() == count
        });
    }

    /// This node has so many records of calls.
    pub fn records_are(&self, node: usize, count: usize) {
        let mut seen = 0;
        wait_until("the records are there", HALF_A_MINUTE, || {
            let Some(token) = self.log_in(node, "sue") else { return false };
            let answer = get(self.http(node), "/api/v1/cdrs?limit=1000", Some(&token));
            let body = answer.map(|(_, body)| body).unwrap_or_default();
            let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            seen = body["items"].as_array().map_or(0, Vec::len);
            seen >= count
        });
        assert_eq!(seen, count, "each call has one record");
    }
}

/// Ends with the test.
pub struct Desk(Child);

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The shipped configuration of this node, on addresses of this test, with SIPp for ana's phone
/// and no wrap-up.
fn config(node: usize, prefix: &str, grace_seconds: u64) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = root.join(format!("config/cluster/node{node}.toml"));
    let text = fs::read_to_string(shipped).unwrap();
    let text = (1..=3).fold(text, |text, member| {
        text.replace(&format!("127.0.0.1{member}"), &format!("{prefix}{member}"))
    });
    let config = root.join("config");
    let text = text
        .replace("\"../flows\"", &format!("{:?}", config.join("flows")))
        .replace("\"../prompts\"", &format!("{:?}", config.join("prompts")))
        .replacen("phone_password = \"ana\"", &format!("device = \"sip:ana@{PHONE}\""), 1)
        .replace("wrap_up_seconds = ", "wrap_up_seconds = 0 # ");
    let grace = format!("[http]\nsession_grace_seconds = {grace_seconds}\n");
    let text = text.replacen("[http]\n", &grace, 1);
    assert!(text.contains(PHONE) && text.contains(&grace), "the file is as this test knows it");
    text
}
