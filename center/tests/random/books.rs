//! What was counted and what was recorded, to be compared after each command.

use std::collections::BTreeMap;

use tandem_center::record::{SEGMENTS_MAX, SegmentEnd, SegmentKind};
use tandem_center::{AgentId, Center, Millis, QueueId, Record};

/// What the records say of queues and agents, beside what the state counts.
#[derive(Default)]
pub(crate) struct Books {
    /// Calls that entered each queue, by the state's own counters.
    offered: BTreeMap<QueueId, u64>,
    /// What became of them, by the segments of their records.
    came_to: BTreeMap<QueueId, BTreeMap<SegmentEnd, u64>>,
    /// Until when each agent's time is recorded.
    until: BTreeMap<AgentId, Millis>,
    /// A call had more segments than are kept, so that its sums are not those of its queues.
    is_cut: bool,
}

impl Books {
    pub(crate) fn entered(center: &Center) -> BTreeMap<QueueId, u64> {
        center.queues().map(|queue| (queue.id.clone(), queue.totals.entered)).collect()
    }

    /// A queue that is configured anew counts from the beginning.
    pub(crate) fn counted(
        &mut self,
        before: &BTreeMap<QueueId, u64>,
        after: BTreeMap<QueueId, u64>,
    ) {
        for (queue, after) in after {
            let before = before.get(&queue).filter(|before| **before <= after).unwrap_or(&0);
            *self.offered.entry(queue).or_default() += after - before;
        }
    }

    pub(crate) fn take(&mut self, record: &Record) {
        match record {
            Record::Cdr(cdr) => {
                self.is_cut |= cdr.segments.len() == SEGMENTS_MAX;
                for (segment, end) in cdr.segments.iter().zip(cdr.ends()) {
                    let SegmentKind::Queue(queue) = &segment.kind else { continue };
                    let of_queue = self.came_to.entry(queue.clone()).or_default();
                    *of_queue.entry(end).or_default() += 1;
                }
            }
            Record::Stint(stint) => {
                let until = self.until.insert(stint.agent.clone(), stint.ended);
                assert!(stint.began < stint.ended, "{stint:?}");
                assert!(until.is_none_or(|until| until <= stint.began), "{until:?} {stint:?}");
            }
            Record::Disposition(_) | Record::Timeline(_) => {}
        }
    }

    /// offered = answered + abandoned + flowed out + refused + still there, for every queue.
    pub(crate) fn balance(&mut self, center: &Center) {
        let mut there: BTreeMap<QueueId, u64> = BTreeMap::new();
        for call in center.calls().filter(|call| !call.has_ended()) {
            self.is_cut |= call.segments.len() == SEGMENTS_MAX;
            for segment in &call.segments {
                let SegmentKind::Queue(queue) = &segment.kind else { continue };
                *there.entry(queue.clone()).or_default() += 1;
            }
        }
        if self.is_cut {
            return;
        }
        for (queue, offered) in &self.offered {
            let came_to = self.came_to.get(queue).map_or(0, |ends| ends.values().sum::<u64>());
            let there = there.get(queue).copied().unwrap_or(0);
            assert_eq!(*offered, came_to + there, "queue {queue}: {:?}", self.came_to);
        }
    }
}
