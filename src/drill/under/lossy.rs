//! A network between the nodes that loses packets at random, on TCP and on UDP, in both
//! directions. In the drill's own network namespace; phones and desks lose nothing.

use super::super::cast::{Addresses, NODES};
use super::super::config::CLUSTER_PORT;
use super::super::fault::cut_off::iptables;

/// See the file.
#[derive(Debug)]
pub(crate) struct Loss {
    addresses: Addresses,
    percent: u8,
    is_set: bool,
}

impl Loss {
    pub(super) fn of(addresses: Addresses, percent: u8) -> Self {
        Self { addresses, percent, is_set: false }
    }

    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        self.is_set = true;
        self.rules("-A")
    }

    fn rules(&self, change: &str) -> anyhow::Result<()> {
        let (port, share) =
            (CLUSTER_PORT.to_string(), format!("0.{:02}", self.percent.clamp(1, 99)));
        for node in 0..NODES {
            let ip = self.addresses.node(node).to_string();
            for protocol in ["tcp", "udp"] {
                for [address, its_port] in [["-d", "--dport"], ["-s", "--sport"]] {
                    let which = [change, "INPUT", address, &ip, "-p", protocol, its_port, &port];
                    let how = ["-m", "statistic", "--mode", "random", "--probability", &share];
                    iptables(&[&which[..], &how, &["-j", "DROP"]].concat())?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        if self.is_set {
            // The namespace ends with the drill, and the rules with it.
            let _left = self.rules("-D");
        }
    }
}
