//! Connections that hold back everything behind a lost segment, and datagrams beside them.

use std::collections::BTreeMap;
use tandem_cluster::copies::{BatchId, Copied, Taken};
use tandem_cluster::{Message, Millis, NodeId};

use super::World;

/// When a lost segment is said again; it may be lost again.
const REPEATED_MS: Millis = 200;

/// Every node runs once.
const RUN: u64 = 1;

type Key = (Millis, u64);

/// What goes from one node to another.
#[derive(Default)]
struct Line {
    /// Nothing comes out of the connection before.
    blocked_until: Millis,
    copied: Copied,
    taken: Taken,
}

/// See the file.
pub struct Streams {
    /// Segments lost, of 100.
    loss_percent: u64,
    /// Datagrams lost, of 100; `None` if nothing goes as a datagram.
    datagram_loss_percent: Option<u64>,
    /// Datagrams that come a second time, of 100, up to five seconds later.
    replay_percent: u64,
    lines: BTreeMap<(NodeId, NodeId), Line>,
    batches: BTreeMap<Key, BatchId>,
}

impl Streams {
    pub fn losing(loss_percent: u64, datagram_loss_percent: Option<u64>) -> Self {
        Self {
            loss_percent,
            datagram_loss_percent,
            replay_percent: 10,
            lines: BTreeMap::new(),
            batches: BTreeMap::new(),
        }
    }

    /// Nothing is lost any more.
    pub fn heal(&mut self) {
        (self.loss_percent, self.datagram_loss_percent) = (0, None);
    }

    /// Whether what comes now is new.
    pub(super) fn takes(&mut self, key: Key, message: &Message) -> bool {
        let Some(batch) = self.batches.remove(&key) else { return true };
        self.lines.entry((message.from, message.to)).or_default().taken.take(RUN, batch)
    }
}

impl World {
    pub(super) fn send_both_ways(&mut self, message: Message) {
        let between = (message.from, message.to);
        let mut streams = self.streams.take().unwrap();
        let line = streams.lines.entry(between).or_default();
        let mut on_stream = self.now + 1;
        while self.draw(100) < streams.loss_percent {
            on_stream += REPEATED_MS;
        }
        line.blocked_until = line.blocked_until.max(on_stream);
        let mut arrivals = vec![line.blocked_until];
        let mut batch = None;
        if let Some(loss) = streams.datagram_loss_percent {
            let part = vec![message.clone()];
            let number = line.copied.number(self.now, Some(&[part]));
            batch = number.map(|number| BatchId { incarnation: RUN, number });
            if batch.is_some() && self.draw(100) >= loss {
                arrivals.push(self.now + 1 + self.draw(self.delay_ms_max));
            }
            if batch.is_some() && self.draw(100) < streams.replay_percent {
                arrivals.push(self.now + 1 + self.draw(5_000));
            }
        }
        for at in arrivals {
            self.sent += 1;
            let key = (at, self.sent);
            if let Some(batch) = batch {
                streams.batches.insert(key, batch);
            }
            self.network.insert(key, (message.clone(), true));
        }
        self.streams = Some(streams);
    }
}
