//! Machines with a network of their own: each a network namespace with a cable to one switch, on
//! which the parties are, too.
//!
//! Owns the namespaces, which have no names: a process that waits holds each of them, so nothing
//! is left when the drill is gone. A process that dies leaves its machine: the kernel of it goes on
//! answering for its addresses, as it does behind a `kill -9`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::cast::{Addresses, NODES};

/// The interface of each machine.
pub(crate) const INTERFACE: &str = "eth0";

/// How long a process may take until it holds its namespace.
const HELD_WITHIN: Duration = Duration::from_secs(10);

/// See the file.
#[derive(Debug)]
pub(crate) struct Machines {
    /// What tells the switch and its ports from those of rounds beside it.
    first: u8,
    holders: Vec<Child>,
}

impl Machines {
    /// Lays the network: the machines with their own addresses, and the parties' on the switch.
    pub(crate) fn lay(addresses: Addresses) -> anyhow::Result<Self> {
        let mut machines = Self { first: addresses.first, holders: Vec::new() };
        let switch = machines.switch();
        ip(&["link", "add", "name", &switch, "type", "bridge"])?;
        ip(&["link", "set", &switch, "up"])?;
        for address in addresses.of_parties() {
            ip(&["address", "add", &format!("{address}/24"), "dev", &switch])?;
        }
        for node in 0..NODES {
            machines.holders.push(hold_namespace()?);
            let (port, place) = (machines.port(node), machines.place(node));
            let cable = ["type", "veth", "peer", "name", INTERFACE, "netns", &place];
            ip(&[&["link", "add", "name", port.as_str()], &cable[..]].concat())?;
            ip(&["link", "set", &port, "master", &switch, "up"])?;
            let own = format!("{}/24", addresses.node(node));
            machines.ip(node, &["link", "set", "lo", "up"])?;
            machines.ip(node, &["link", "set", INTERFACE, "up"])?;
            machines.ip(node, &["address", "add", &own, "dev", INTERFACE])?;
        }
        Ok(machines)
    }

    /// A program on this machine.
    pub(crate) fn command(&self, node: usize, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.place(node))).arg("--").arg(program);
        command
    }

    /// Pulls the cable out of the switch. The machine itself sees nothing of it.
    pub(crate) fn pull(&self, node: usize) -> anyhow::Result<()> {
        ip(&["link", "set", &self.port(node), "nomaster"])
    }

    /// Puts it back.
    pub(crate) fn plug(&self, node: usize) -> anyhow::Result<()> {
        ip(&["link", "set", &self.port(node), "master", &self.switch()])
    }

    /// The switch, in the drill's own namespace.
    fn switch(&self) -> String {
        format!("switch{}", self.first)
    }

    fn port(&self, node: usize) -> String {
        format!("port{}-{}", self.first, node + 1)
    }

    fn place(&self, node: usize) -> String {
        format!("/proc/{}/ns/net", self.holders[node].id())
    }

    fn ip(&self, node: usize, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = self.command(node, Path::new("ip"));
        run(command.args(arguments))
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            // One that has ended already is no error.
            let _ended = holder.kill();
            let _status = holder.wait();
        }
        // The next round lays its own; the namespace of the drill ends with it in any case. A cable's
        // other end goes with its machine, but later.
        for node in 0..self.holders.len() {
            let _gone = ip(&["link", "delete", &self.port(node)]);
        }
        let _gone = ip(&["link", "delete", &self.switch()]);
    }
}

/// A process in a new network namespace, which ends when nobody holds the other end of its input.
fn hold_namespace() -> anyhow::Result<Child> {
    let mut command = Command::new("unshare");
    command.args(["-n", "--", "cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut holder = command.spawn().context("unshare cannot be started")?;
    let here = std::fs::read_link("/proc/self/ns/net")?;
    let deadline = Instant::now() + HELD_WITHIN;
    let place = format!("/proc/{}/ns/net", holder.id());
    while std::fs::read_link(&place).is_ok_and(|there| there == here) {
        if let Some(status) = holder.try_wait()? {
            bail!("no network namespace can be made: unshare ended with {status}");
        }
        if Instant::now() > deadline {
            bail!("no network namespace was made in time");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(holder)
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().context("ip or nsenter cannot be started")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", said.trim());
    }
    Ok(())
}

/// Why machines cannot be made here, if they cannot: tried, since a kernel may lack switches.
pub(crate) fn impossible() -> Option<String> {
    let tried = "ip link add name trial0 type bridge && ip link add name trial1 type veth peer \
                 name trial2 && ip link set trial1 master trial0 && nsenter --net=/proc/self/ns/net \
                 true";
    let mut trial = Command::new("unshare");
    let output = trial.args(["-n", "--", "sh", "-c", tried]).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Some(format!("it needs root, and a kernel with bridge and veth: {said}"))
        }
        Err(error) => Some(format!("it needs the program unshare: {error}")),
    }
}
