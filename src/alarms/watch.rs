//! The task that looks, and tells: the log, the metrics, who follows, and the webhook.
//!
//! An alarm of one node is sent by that node. One that every node sees is sent by the leader; while
//! there is none for some time, by everyone. A new leader sends again what stands, since nobody
//! knows what its predecessor still sent: the ids are the same, so a receiver drops what it has.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::board::{Board, Change};
use super::look::{Before, look};
use super::webhook::{Status, Webhook};
use super::{Alarm, Kind, Severity};
use crate::node::{Node, unix_ms};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Watches a node for as long as it is there.
pub(crate) async fn watch(node: Weak<Node>) {
    let Some(first) = node.upgrade() else { return };
    let mut watch = Watch {
        board: Board::new(first.id.0),
        before: Before::default(),
        webhook: Webhook::start(&first.config.alarms, &first.metrics),
        told: BTreeSet::new(),
    };
    drop(first);
    let began = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(node) = node.upgrade() else { return };
        let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        watch.turn(&node, now);
    }
}

struct Watch {
    board: Board,
    before: Before,
    webhook: Option<Webhook>,
    /// Alarms that this node has sent. They stand, so there are few.
    told: BTreeSet<String>,
}

impl Watch {
    fn turn(&mut self, node: &Arc<Node>, now: u64) {
        let conditions = look(node, &mut self.before);
        let changes = self.board.observe((now, unix_ms()), &conditions);
        for change in &changes {
            log(change);
        }
        if !changes.is_empty() {
            self.show(node);
        }
        self.send(node, &changes);
    }

    fn show(&self, node: &Node) {
        for kind in Kind::ALL {
            let standing = self.board.raised().filter(|(raised, _)| *raised == kind).count();
            node.metrics.alarm.with_label_values(&[kind.facts().name]).set(standing as i64);
        }
        node.alarms.stand(self.board.raised().map(|(_, alarm)| alarm.clone()).collect());
    }

    fn send(&mut self, node: &Node, changes: &[Change]) {
        let Some(webhook) = &self.webhook else { return };
        let leads = node.replica.status().role.leading;
        let alone = self.board.raised().any(|(kind, _)| kind == Kind::NoLeader);
        let is_ours = |kind: Kind| !kind.facts().of_cluster || leads || alone;
        for change in changes {
            if let Change::Cleared(kind, alarm) = change
                && (self.told.remove(&alarm.id) || is_ours(*kind))
            {
                webhook.send(alarm, Status::Cleared);
            }
        }
        for (kind, alarm) in self.board.raised() {
            // What finds no place in the queue is offered again at the next look.
            if is_ours(kind)
                && !self.told.contains(&alarm.id)
                && webhook.send(alarm, Status::Raised)
            {
                self.told.insert(alarm.id.clone());
            }
        }
    }
}

fn log(change: &Change) {
    match change {
        Change::Raised(_, Alarm { id, name, severity, detail, action, .. }) => match severity {
            Severity::Page => tracing::error!(id, alarm = name, detail, action, "alarm raised"),
            Severity::Ticket => tracing::warn!(id, alarm = name, detail, action, "alarm raised"),
        },
        Change::Cleared(_, Alarm { id, name, .. }) => {
            tracing::info!(id, alarm = name, "alarm cleared");
        }
    }
}
