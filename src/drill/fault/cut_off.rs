//! A machine whose network is gone while it runs on.
//!
//! In a network namespace of the drill's own, where nobody else is disturbed. The nodes share its
//! loopback, and another node takes over the lost one's address there; so packets are told apart
//! by the process that sends them, not by its address: nothing that the node sends leaves it, and
//! nothing reaches its TCP ports. Datagrams to its address go on to whoever has it bound last.
//! Where each node has a machine of its own, its cable is pulled out of the switch.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::super::cluster::Cluster;
use super::super::config::{CLUSTER_PORT, HTTP_PORT};

/// Says in the environment that this process runs in a namespace of its own.
const VARIABLE: &str = "TANDEM_DRILL_NAMESPACE";

/// The same program with the same arguments in namespaces of its own for network and mounts, if
/// they can be made and this is not it already.
pub(crate) fn elsewhere() -> Option<Command> {
    if is_own_namespace() || !can_unshare() {
        return None;
    }
    let program = std::env::current_exe().ok()?;
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
    command.arg(program).args(std::env::args_os().skip(1).collect::<Vec<OsString>>());
    command.env(VARIABLE, "1");
    Some(command)
}

/// Whether rules of packets may be set here.
pub(crate) fn is_own_namespace() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

fn can_unshare() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["-n", "-m", "--", "sh", "-c", "ip link set lo up && iptables -w -S >/dev/null"]);
    probe.output().is_ok_and(|output| output.status.success())
}

pub(crate) fn impossible() -> Option<String> {
    (!is_own_namespace()).then(|| {
        "it needs root, and unshare, ip and iptables, for namespaces of its own".to_owned()
    })
}

pub(super) fn strike(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    match &cluster.machines {
        Some(machines) => machines.pull(node),
        None => rules(cluster, node, "-A"),
    }
}

pub(super) fn undo(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    match &cluster.machines {
        Some(machines) => machines.plug(node),
        None => rules(cluster, node, "-D"),
    }
}

fn rules(cluster: &Cluster, node: usize, change: &str) -> anyhow::Result<()> {
    let (group, ip) = (cluster.group(node).to_string(), cluster.addresses.node(node).to_string());
    let ports = format!("{CLUSTER_PORT},{HTTP_PORT}");
    iptables(&[change, "OUTPUT", "-m", "owner", "--gid-owner", &group, "-j", "DROP"])?;
    for protocol in ["tcp", "udp"] {
        let to = [change, "INPUT", "-d", &ip, "-p", protocol];
        let ports = ["-m", "multiport", "--dports", &ports, "-j", "DROP"];
        iptables(&[&to[..], &ports].concat())?;
    }
    Ok(())
}

pub(crate) fn iptables(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("iptables").arg("-w").args(arguments).output();
    let output = output.context("iptables cannot be started")?;
    if !output.status.success() {
        bail!("iptables: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
