//! Alarms: what an operator has to know now, each with since when, how bad it is, and what to do.
//!
//! Owns the list of what can be alarmed ([`Kind`]) and of what stands at this node ([`Alarms`]).
//! Read `look` for where conditions come from, `board` for when a condition becomes an alarm and
//! ends, `watch` for whom they are told: the log, the metrics, supervisors, and the `webhook`.
//!
//! What the log decides (a node is missed, an address is elsewhere) every node sees and shows;
//! what one node has (its disk, its load) that node shows. Decides nothing about calls.

mod board;
mod clock;
mod look;
mod watch;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch as changes;

pub(crate) use clock::ClockWatch;
pub(crate) use watch::watch;

/// How soon somebody has to look.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// In the morning.
    Ticket,
    /// Now.
    Page,
}

/// What can be alarmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A node is missed: its process is gone, or it is cut off.
    NodeMissed,
    /// A node has much less of the log than the leader.
    NodeLagging,
    /// The service address of a node, and its calls, are at another one.
    TakenOver,
    /// Nobody leads.
    NoLeader,
    /// This node may not act for its calls.
    LeaseLost,
    /// This node's own service address is not open here.
    AddressMissing,
    /// The clock of this node is not that of the leader.
    ClockOff,
    /// There is too little room on the disk for new calls.
    DiskLow,
    /// Writing fails, or takes very long.
    DiskFailing,
    /// Complete recordings are on this node only.
    CopiesWaiting,
    /// Calls are refused since tasks run late or commits wait.
    Overload,
    /// There are as many calls as are configured.
    CallsFull,
    /// A trunk does not answer this node.
    TrunkUnreached,
}

/// What holds for all alarms of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its name in metrics, messages and documents.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Every node sees it; else it is one node's own.
    pub of_cluster: bool,
    /// How long the condition holds before it is an alarm.
    pub raise_after_ms: u64,
    /// What to do.
    pub action: &'static str,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::NodeMissed,
        Self::NodeLagging,
        Self::TakenOver,
        Self::NoLeader,
        Self::LeaseLost,
        Self::AddressMissing,
        Self::ClockOff,
        Self::DiskLow,
        Self::DiskFailing,
        Self::CopiesWaiting,
        Self::Overload,
        Self::CallsFull,
        Self::TrunkUnreached,
    ];

    /// See [`Facts`].
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one arm for each kind, each a table's row")]
    pub fn facts(self) -> Facts {
        let (page, ticket) = (Severity::Page, Severity::Ticket);
        let (name, severity, of_cluster, raise_after_ms, action) = match self {
            Self::NodeMissed => (
                "node-missed",
                page,
                true,
                0,
                "Start the node again on its data directory, or mend its network. Until then one \
                 more failure may stop the cluster.",
            ),
            Self::NodeLagging => (
                "node-lagging",
                ticket,
                true,
                10_000,
                "Look at the node's processor, disk and network. It catches up by itself when it \
                 has time; until then it takes calls over late.",
            ),
            Self::TakenOver => (
                "taken-over",
                ticket,
                true,
                0,
                "Its calls go on at another node. See why the node was lost: the alarm node-missed \
                 and its log. The address goes back when the node is back.",
            ),
            Self::NoLeader => (
                "no-leader",
                page,
                false,
                2_000,
                "If all nodes say so, a majority is missing: start those that are down. If only \
                 this one does, mend its network ([cluster] listen).",
            ),
            Self::LeaseLost => (
                "lease-lost",
                page,
                false,
                1_000,
                "The node hears no majority and leaves its calls to others. Look at the network \
                 between the nodes, and for a machine that stands still.",
            ),
            Self::AddressMissing => (
                "address-missing",
                page,
                false,
                10_000,
                "Callers of this node's address reach another node or none. See in the log why it \
                 cannot be taken: [takeover], the interface, or a holder that does not yield.",
            ),
            Self::ClockOff => (
                "clock-off",
                ticket,
                false,
                15_000,
                "Set the clocks of the nodes by NTP. Records and time-outs follow the leader's.",
            ),
            Self::DiskLow => (
                "disk-low",
                page,
                false,
                0,
                "New calls are refused here. Move old recordings away first. Never delete below \
                 replica/.",
            ),
            Self::DiskFailing => (
                "disk-failing",
                page,
                false,
                2_000,
                "Look at the disk in the kernel's log, and at what else writes to it. Move the \
                 leadership and the callers to another node before it is replaced.",
            ),
            Self::CopiesWaiting => (
                "copies-waiting",
                ticket,
                false,
                15 * 60_000,
                "See why in the log: the other nodes' HTTP addresses in [[cluster.member]], their \
                 disks, the clocks. Do not remove this node's disk.",
            ),
            Self::Overload => (
                "overload",
                page,
                false,
                5_000,
                "Callers get 503. Look at what takes the processor; add a node if it is calls.",
            ),
            Self::CallsFull => (
                "calls-full",
                page,
                false,
                1_000,
                "Callers get 503. Raise [limits] calls_max or add a node; if callers do not \
                 acknowledge, see who they are.",
            ),
            Self::TrunkUnreached => (
                "trunk-unreached",
                page,
                false,
                0,
                "Calls leave by other trunks of the prefix, if there are any. Ask the provider, or \
                 look at the network between it and this node; `tandem ctl trunks` says which nodes \
                 it answers.",
            ),
        };
        Facts { name, severity, of_cluster, raise_after_ms, action }
    }
}

/// An alarm, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alarm {
    /// Of this alarm alone, from its beginning to its end: who hears of it twice can tell.
    pub id: String,
    /// The kind.
    pub name: String,
    /// How soon somebody has to look.
    pub severity: Severity,
    /// The node that it is about, where it is another one than the one that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<u64>,
    /// The node that says so.
    pub node: u64,
    /// Since when, in Unix milliseconds of that node's clock.
    pub since: u64,
    /// What is the matter, in words.
    pub detail: String,
    /// What to do.
    pub action: String,
}

/// What stands at this node, for everybody who asks.
#[derive(Debug)]
pub struct Alarms {
    standing: Mutex<Arc<Vec<Alarm>>>,
    changed: changes::Sender<u64>,
}

impl Default for Alarms {
    fn default() -> Self {
        let (changed, _) = changes::channel(0);
        Self { standing: Mutex::default(), changed }
    }
}

impl Alarms {
    /// Those that stand now, by name.
    pub fn standing(&self) -> Arc<Vec<Alarm>> {
        Arc::clone(&self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells when there are others.
    pub fn follow(&self) -> changes::Receiver<u64> {
        self.changed.subscribe()
    }

    /// From now on these stand.
    pub fn stand(&self, alarms: Vec<Alarm>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(alarms);
        self.changed.send_modify(|changes| *changes += 1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_rules_of_prometheus_page_for_what_pages() {
        let root = env!("CARGO_MANIFEST_DIR");
        let rules = std::fs::read_to_string(format!("{root}/grafana/alerts.yml")).unwrap();
        let lists: Vec<&str> = rules.split("tandem_alarm{name=~\"").skip(1).collect();
        let named = |severity| {
            let of = Kind::ALL.map(Kind::facts).into_iter().filter(|of| of.severity == severity);
            of.map(|facts| facts.name.to_owned()).collect::<BTreeSet<String>>()
        };
        for (list, severity) in lists.iter().zip([Severity::Page, Severity::Ticket]) {
            let list = list.split('"').next().unwrap_or_default().split('|');
            assert_eq!(list.map(str::to_owned).collect::<BTreeSet<_>>(), named(severity));
        }
        assert_eq!(lists.len(), 2);
    }

    #[test]
    fn every_alarm_has_a_name_of_its_own_and_stands_in_the_documents() {
        let root = env!("CARGO_MANIFEST_DIR");
        let text = std::fs::read_to_string(format!("{root}/docs/operations.md")).unwrap();
        let names = Kind::ALL.map(|kind| kind.facts().name);
        for name in names {
            assert!(text.contains(&format!("| `{name}` |")), "{name} is not in operations.md");
        }
        let different: BTreeSet<_> = names.into_iter().collect();
        assert_eq!(different.len(), Kind::ALL.len());
    }
}
