//! The processes under test: three nodes of this very program, started and ended here.
//!
//! Ends exactly what it started, by its process. Learns from a node whether it is ready and who
//! leads, and nothing that is judged.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::cast::{Addresses, Cast, NODES};
use super::config::{self, HTTP_PORT, SIP_PORT, data};
use super::machines::Machines;

/// How long a node may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a node may take to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// The group of node 0's process, where processes are told apart by group (see
/// [`super::fault::cut_off`]).
const GROUP: u32 = 61_031;

/// A port at which nobody listens (RFC 863).
const DISCARD: u16 = 9;

#[derive(Debug)]
struct Node {
    child: Child,
    config: PathBuf,
    log: PathBuf,
}

/// What each node has in its environment.
type Environments = Vec<Vec<(&'static str, String)>>;

/// See the file.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    pub(crate) addresses: Addresses,
    client: reqwest::Client,
    /// The first so many nodes have calls; the others are witnesses.
    pub(crate) with_calls: usize,
    /// Whether each node runs in a group of its own; only root can do that.
    groups: bool,
    environments: Environments,
    /// The machine of each node, where it has one of its own. Behind the nodes, which end first.
    pub(crate) machines: Option<Machines>,
}

impl Cluster {
    /// Starts nodes on this machine that all have calls, configured in `folder` for this cast, and
    /// waits until they are ready. Their configuration names a web service that is not there.
    pub(crate) async fn begin(
        cast: &Cast,
        addresses: Addresses,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let nobody = (addresses.web(), DISCARD).into();
        let configs = config::write(folder, (addresses, NODES), cast, nobody)?;
        let mut cluster = Self::start(&configs, addresses, false)?;
        for node in 0..NODES {
            cluster.wait_ready(node).await?;
        }
        Ok(cluster)
    }

    /// Starts the nodes on this machine. `groups` sets their groups.
    pub(crate) fn start(
        configs: &[PathBuf],
        addresses: Addresses,
        groups: bool,
    ) -> anyhow::Result<Self> {
        Self::start_in((None, Vec::new()), configs, addresses, groups)
    }

    /// Starts the nodes on machines of their own, if they have any, each with this in its
    /// environment.
    pub(crate) fn start_in(
        (machines, environments): (Option<Machines>, Environments),
        configs: &[PathBuf],
        addresses: Addresses,
        groups: bool,
    ) -> anyhow::Result<Self> {
        // Another part of the process may have chosen already; either choice is good.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy();
        let client = client.tls_certs_only([]).build()?;
        let with_calls = NODES;
        let nodes = Vec::new();
        let mut cluster =
            Self { nodes, addresses, client, with_calls, groups, environments, machines };
        for config in configs {
            let log = config.with_extension("log");
            let program = std::env::current_exe()?;
            let child = cluster.spawn(&program, (config, &log), cluster.nodes.len())?;
            cluster.nodes.push(Node { child, config: config.clone(), log });
        }
        Ok(cluster)
    }

    fn spawn(
        &self,
        program: &Path,
        (config, log): (&Path, &Path),
        node: usize,
    ) -> anyhow::Result<Child> {
        let output = fs::OpenOptions::new().create(true).append(true).open(log);
        let output = output.with_context(|| format!("{} cannot be written", log.display()))?;
        let mut command = match &self.machines {
            Some(machines) => machines.command(node, program),
            None => Command::new(program),
        };
        command.args(["run", "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.envs(self.environments.get(node).cloned().unwrap_or_default());
        if self.groups {
            command.gid(self.group(node));
        }
        command.spawn().with_context(|| format!("{} cannot be started", program.display()))
    }

    /// The group of a node's process, which no node of another cluster has.
    pub(crate) fn group(&self, node: usize) -> u32 {
        GROUP + u32::from(self.addresses.first) + node as u32
    }

    pub(crate) fn sip(&self, node: usize) -> SocketAddr {
        (self.addresses.service(node), SIP_PORT).into()
    }

    /// The base of its HTTP addresses.
    pub(crate) fn base(&self, node: usize) -> String {
        format!("http://{}:{HTTP_PORT}", self.addresses.node(node))
    }

    /// Waits until this node says that it is ready.
    pub(crate) async fn wait_ready(&mut self, node: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.nodes[node].child.try_wait()? {
                bail!("node {} ended with {status}: {}", node + 1, self.last_lines(node));
            }
            if self.ask(node, "/readyz").await.is_some() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("node {} was not ready in time: {}", node + 1, self.last_lines(node));
            }
            sleep(LOOK).await;
        }
    }

    /// The leader, as exactly one node with calls says of itself.
    pub(crate) async fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            let mut leaders = Vec::new();
            for node in 0..self.with_calls {
                if self.metric(node, "tandem_raft_leader").await == Some(1.0) {
                    leaders.push(node);
                }
            }
            if let [leader] = leaders[..] {
                return Ok(leader);
            }
            sleep(LOOK).await;
        }
        bail!("nobody leads")
    }

    pub(crate) async fn metric(&self, node: usize, name: &str) -> Option<f64> {
        let text = self.ask(node, "/metrics").await?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Status and text of an answer, whatever it is.
    pub(crate) async fn says(&self, node: usize, path: &str) -> Option<(u16, String)> {
        let response = self.client.get(format!("{}{path}", self.base(node))).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    /// What a node answers to a GET, if it does.
    pub(crate) async fn ask(&self, node: usize, path: &str) -> Option<String> {
        let response = self.client.get(format!("{}{path}", self.base(node))).send().await.ok()?;
        response.error_for_status().ok()?.text().await.ok()
    }

    /// SIGKILL, as a power cut would end it.
    pub(crate) fn kill(&mut self, node: usize) -> io::Result<()> {
        self.nodes[node].child.kill()?;
        self.nodes[node].child.wait().map(drop)
    }

    pub(crate) fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_child(&self.nodes[node].child);
        kill_process(pid, signal).with_context(|| format!("node {} is gone", node + 1))
    }

    /// Starts a node again that was killed.
    pub(crate) fn restart(&mut self, node: usize) -> anyhow::Result<()> {
        self.restart_as(node, &std::env::current_exe()?)
    }

    /// The same, with another program.
    pub(crate) fn restart_as(&mut self, node: usize, program: &Path) -> anyhow::Result<()> {
        let (config, log) = (self.nodes[node].config.clone(), self.nodes[node].log.clone());
        self.nodes[node].child = self.spawn(program, (&config, &log), node)?;
        Ok(())
    }

    /// The folder of a node's data.
    pub(crate) fn data(&self, node: usize) -> PathBuf {
        data(self.nodes[node].config.parent().unwrap_or(Path::new(".")), node)
    }

    /// Whether its process has ended by itself.
    pub(crate) fn has_ended(&mut self, node: usize) -> io::Result<bool> {
        Ok(self.nodes[node].child.try_wait()?.is_some())
    }

    fn last_lines(&self, node: usize) -> String {
        let text = fs::read_to_string(&self.nodes[node].log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // A process that has ended already is no error, and a stopped one is killed, too.
            let _ended = node.child.kill();
            let _status = node.child.wait();
        }
    }
}
