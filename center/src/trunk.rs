//! What trunks carry: how many calls, how fast they come, until when one rests, and which nodes do
//! not reach it.
//!
//! Owns the limits' arithmetic, which is exact: replicas must agree on the last call of a second.
//! Which trunk a call takes is decided in `apply`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::{Call, Role};
use crate::ids::{Millis, NodeId};
use crate::state::Center;

/// How long a trunk rests at most for a `Retry-After` (RFC 3261 §20.33), in seconds. An hour: who
/// asks for more is better taken out of the configuration.
pub const REST_SECONDS_MAX: u32 = 3_600;

/// One call in a bucket. A rate of one a second fills one such part a millisecond.
const PARTS: u64 = 1_000;

/// A token bucket: it holds the calls of one second, and is full at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// What was taken out and had not come back at `at`, in thousandths of a call.
    spent: u64,
    at: Millis,
}

impl Bucket {
    /// Whether one more call keeps the rate. 0 is no limit.
    #[must_use]
    pub fn has_room(self, at: Millis, per_second: u32) -> bool {
        per_second == 0 || self.spent(at, per_second) + PARTS <= u64::from(per_second) * PARTS
    }

    /// Takes one call out.
    pub fn take(&mut self, at: Millis, per_second: u32) {
        if per_second > 0 {
            *self = Self { spent: self.spent(at, per_second) + PARTS, at };
        }
    }

    fn spent(self, at: Millis, per_second: u32) -> u64 {
        let back = at.since_ms(self.at).saturating_mul(per_second.into());
        // A limit that was higher before may have left more than this one holds.
        self.spent.min(u64::from(per_second) * PARTS).saturating_sub(back)
    }
}

/// How many calls began on a trunk in one direction, and how fast lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Since the trunk was configured.
    pub begun: u64,
    /// The second of the log's clock that `this` counts.
    second: u64,
    this: u32,
    /// In the second before.
    last: u32,
}

impl Pace {
    /// One more.
    pub fn count(&mut self, at: Millis) {
        let second = at.0 / 1_000;
        if second != self.second {
            self.last = if second == self.second + 1 { self.this } else { 0 };
            (self.second, self.this) = (second, 0);
        }
        self.begun += 1;
        self.this = self.this.saturating_add(1);
    }

    /// Calls in the last whole second.
    #[must_use]
    pub fn per_second(&self, at: Millis) -> u32 {
        match (at.0 / 1_000).checked_sub(self.second) {
            None | Some(0) => self.last,
            Some(1) => self.this,
            Some(_) => 0,
        }
    }
}

/// What is replicated of a trunk besides its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    /// Calls a second that come in.
    pub incoming: Bucket,
    /// Calls a second that go out.
    pub outgoing: Bucket,
    /// Calls that came in.
    pub came: Pace,
    /// Calls that went out.
    pub went: Pace,
    /// It said that it takes no calls until then.
    pub rests_until: Option<Millis>,
    /// Nodes whose probes it does not answer. Each sees its own network.
    pub unreached_by: BTreeSet<NodeId>,
}

/// Calls that are on a trunk now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrunkCalls {
    /// That came in by it.
    pub incoming: u32,
    /// Legs that left by it, dialled or answered.
    pub outgoing: u32,
}

/// The trunks that a call is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrunkMarks {
    incoming: Option<Arc<str>>,
    outgoing: Vec<Arc<str>>,
}

impl TrunkMarks {
    pub(crate) fn of(call: &Call) -> Self {
        let incoming = call.came_by.clone().filter(|_| !call.has_ended());
        let alive = call.legs.values().filter(|leg| leg.state.is_alive());
        let outgoing = alive.filter_map(|leg| match &leg.role {
            Role::Trunk(name) => Some(name.clone()),
            Role::Caller | Role::Agent(_) | Role::Target => None,
        });
        Self { incoming, outgoing: outgoing.collect() }
    }
}

impl Center {
    /// What a trunk carries now, on all nodes.
    #[must_use]
    pub fn trunk_calls(&self, name: &str) -> TrunkCalls {
        self.trunk_calls.get(name).copied().unwrap_or_default()
    }

    /// Until when a trunk takes no calls, by what it said itself; None: it does.
    #[must_use]
    pub fn trunk_rests_until(&self, name: &str) -> Option<Millis> {
        let until = self.trunks.get(name)?.rests_until?;
        (until > self.at).then_some(until)
    }

    /// Whether probes of this node reach a trunk, or nothing is known.
    #[must_use]
    pub fn trunk_is_reached(&self, name: &str, by: NodeId) -> bool {
        self.trunks.get(name).is_none_or(|trunk| !trunk.unreached_by.contains(&by))
    }

    /// What is known of a trunk besides its calls.
    #[must_use]
    pub fn trunk(&self, name: &str) -> Option<&Trunk> {
        self.trunks.get(name)
    }

    pub(crate) fn move_trunks(&mut self, before: &TrunkMarks, after: &TrunkMarks) {
        let step = |calls: &mut BTreeMap<Arc<str>, TrunkCalls>, marks: &TrunkMarks, by: u32| {
            if let Some(name) = &marks.incoming {
                let of = calls.entry(name.clone()).or_default();
                of.incoming = of.incoming.wrapping_add(by);
            }
            for name in &marks.outgoing {
                let of = calls.entry(name.clone()).or_default();
                of.outgoing = of.outgoing.wrapping_add(by);
            }
        };
        step(&mut self.trunk_calls, after, 1);
        step(&mut self.trunk_calls, before, u32::MAX);
        for name in before.incoming.iter().chain(&before.outgoing) {
            if self.trunk_calls.get(name) == Some(&TrunkCalls::default()) {
                self.trunk_calls.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_seconds_worth_through_at_once_and_then_its_rate() {
        let mut bucket = Bucket::default();
        let mut takes = |at: u64| {
            let fits = bucket.has_room(Millis(at), 3);
            if fits {
                bucket.take(Millis(at), 3);
            }
            fits
        };
        assert_eq!([takes(5_000), takes(5_000), takes(5_000)], [true; 3]);
        assert!(!takes(5_000) && !takes(5_333), "a third of a second is 333.3 ms");
        assert!(takes(5_334) && !takes(5_335));
        assert_eq!([takes(60_000), takes(60_000), takes(60_000), takes(60_000)], {
            [true, true, true, false]
        });
    }

    #[test]
    fn a_lower_limit_is_not_paid_back_for_what_a_higher_one_allowed() {
        let mut bucket = Bucket::default();
        for _ in 0..1_000 {
            bucket.take(Millis(1), 1_000);
        }
        assert!(!bucket.has_room(Millis(500), 1) && bucket.has_room(Millis(1_001), 1));
    }

    #[test]
    fn a_pace_is_that_of_the_last_whole_second() {
        let mut pace = Pace::default();
        for at in [5_000, 5_400, 5_999, 6_100] {
            pace.count(Millis(at));
        }
        assert_eq!(pace.per_second(Millis(6_999)), 3);
        assert_eq!(pace.per_second(Millis(7_000)), 1);
        assert_eq!(pace.per_second(Millis(8_000)), 0);
        assert_eq!(pace.begun, 4);
        // After a pause the second before is another one.
        pace.count(Millis(20_000));
        assert_eq!(pace.per_second(Millis(20_500)), 0);
    }
}
