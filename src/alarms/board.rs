//! When a condition becomes an alarm and when an alarm ends: a pure machine.
//!
//! A condition that holds for as long as its kind says raises an alarm; one that has been gone for
//! a while clears it. Each time that the same alarm comes again soon, it has to be gone for twice
//! as long: what flaps stands, instead of waking somebody every minute. Owns no clock.

use std::collections::BTreeMap;

use super::{Alarm, Kind};

/// How long a condition is gone before its alarm ends, the first time and at most.
const CLEAR_AFTER_MS: u64 = 3_000;
const CLEAR_AFTER_MAX_MS: u64 = 300_000;

/// An alarm that was quiet for so long has never been.
const FORGIVEN_AFTER_MS: u64 = 600_000;

/// Alarms that are known. They are about kinds and nodes, so it is never reached; past it a new
/// one is not raised.
const KNOWN_MAX: usize = 4_096;

/// Something that is so now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: Kind,
    /// The node that it is about, if not this one.
    pub(super) about: Option<u64>,
    /// In words.
    pub(super) detail: String,
    /// What is the same at every node that sees this, and different the next time.
    pub(super) mark: Option<u64>,
}

/// What became of an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Raised(Kind, Alarm),
    Cleared(Kind, Alarm),
}

/// See the file.
#[derive(Debug)]
pub(super) struct Board {
    node: u64,
    known: BTreeMap<(Kind, Option<u64>), Known>,
}

#[derive(Debug)]
struct Known {
    /// How often it was raised without being forgiven.
    raises: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The condition holds since then.
    Coming { since: u64 },
    /// It is raised, and the condition is gone since then, if it is.
    Raised { alarm: Alarm, gone: Option<u64> },
    /// It was raised until then.
    Quiet { since: u64 },
}

impl Board {
    pub(super) fn new(node: u64) -> Self {
        Self { node, known: BTreeMap::new() }
    }

    /// These conditions hold now, and no others. `now` never goes back; `wall` is for people.
    pub(super) fn observe(
        &mut self,
        (now, wall): (u64, u64),
        conditions: &[Condition],
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for condition in conditions {
            changes.extend(self.holds((now, wall), condition));
        }
        for (key, known) in &mut self.known {
            if !conditions.iter().any(|condition| (condition.kind, condition.about) == *key) {
                changes.extend(known.is_gone(now, key.0));
            }
        }
        self.known.retain(|_, known| match &known.state {
            State::Quiet { since } => now - since < FORGIVEN_AFTER_MS,
            State::Coming { .. } | State::Raised { .. } => true,
        });
        changes
    }

    /// Everything that is raised, by kind.
    pub(super) fn raised(&self) -> impl Iterator<Item = (Kind, &Alarm)> {
        self.known.iter().filter_map(|((kind, _), known)| match &known.state {
            State::Raised { alarm, .. } => Some((*kind, alarm)),
            State::Coming { .. } | State::Quiet { .. } => None,
        })
    }

    fn holds(&mut self, (now, wall): (u64, u64), condition: &Condition) -> Option<Change> {
        let (node, facts) = (self.node, condition.kind.facts());
        let key = (condition.kind, condition.about);
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&key) {
            return None;
        }
        let new = || Known { raises: 0, state: State::Coming { since: now } };
        let known = self.known.entry(key).or_insert_with(new);
        if let State::Quiet { .. } = known.state {
            known.state = State::Coming { since: now };
        }
        match &mut known.state {
            State::Coming { since } if now - *since >= facts.raise_after_ms => {
                let since = wall.saturating_sub(now - *since);
                let alarm = alarm(node, condition, since);
                known.raises = known.raises.saturating_add(1);
                known.state = State::Raised { alarm: alarm.clone(), gone: None };
                Some(Change::Raised(condition.kind, alarm))
            }
            State::Raised { alarm, gone } => {
                alarm.detail.clone_from(&condition.detail);
                *gone = None;
                None
            }
            State::Coming { .. } | State::Quiet { .. } => None,
        }
    }
}

impl Known {
    fn is_gone(&mut self, now: u64, kind: Kind) -> Option<Change> {
        match &mut self.state {
            State::Coming { .. } => {
                self.state = State::Quiet { since: now };
                None
            }
            State::Quiet { .. } => None,
            State::Raised { alarm, gone } => {
                let since = *gone.get_or_insert(now);
                let twice = self.raises.saturating_sub(1).min(16);
                let after = (CLEAR_AFTER_MS << twice).min(CLEAR_AFTER_MAX_MS);
                if now - since < after {
                    return None;
                }
                let alarm = alarm.clone();
                self.state = State::Quiet { since: now };
                Some(Change::Cleared(kind, alarm))
            }
        }
    }
}

fn alarm(node: u64, condition: &Condition, since: u64) -> Alarm {
    let facts = condition.kind.facts();
    let about = condition.about.unwrap_or(node);
    let id = match condition.mark {
        Some(mark) => format!("{}-{about}-{mark}", facts.name),
        None => format!("{}-{about}-by-{node}-{since}", facts.name),
    };
    Alarm {
        id,
        name: facts.name.to_owned(),
        severity: facts.severity,
        about: condition.about,
        node,
        since,
        detail: condition.detail.clone(),
        action: facts.action.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A board and its clock.
    struct Script {
        board: Board,
        now: u64,
    }

    const WALL: u64 = 1_780_000_000_000;

    impl Script {
        fn new() -> Self {
            Self { board: Board::new(2), now: 1_000 }
        }

        /// These conditions hold after so many milliseconds. What was raised and cleared.
        fn after_ms(&mut self, ms: u64, conditions: &[Condition]) -> (Vec<String>, Vec<String>) {
            self.now += ms;
            let (mut raised, mut cleared) = (Vec::new(), Vec::new());
            for change in self.board.observe((self.now, WALL + self.now), conditions) {
                match change {
                    Change::Raised(_, alarm) => raised.push(alarm.id),
                    Change::Cleared(_, alarm) => cleared.push(alarm.id),
                }
            }
            (raised, cleared)
        }
    }

    fn condition(kind: Kind, about: Option<u64>, mark: Option<u64>) -> Condition {
        Condition { kind, about, detail: "so it is".into(), mark }
    }

    fn nothing() -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }

    #[test]
    fn a_missed_node_is_alarmed_at_once_and_cleared_when_it_is_back_for_a_while() {
        let mut script = Script::new();
        let missed = [condition(Kind::NodeMissed, Some(3), Some(17))];
        let id = vec!["node-missed-3-17".to_owned()];
        assert_eq!(script.after_ms(0, &missed), (id.clone(), vec![]));
        assert_eq!(script.after_ms(200, &missed), nothing());
        assert_eq!(script.after_ms(200, &[]), nothing());
        assert_eq!(script.after_ms(CLEAR_AFTER_MS - 1, &[]), nothing());
        assert_eq!(script.after_ms(1, &[]), (vec![], id));
        assert_eq!(script.board.raised().count(), 0);
    }

    #[test]
    fn an_election_is_no_alarm_and_a_lasting_want_of_a_leader_is() {
        let mut script = Script::new();
        let none = [condition(Kind::NoLeader, None, None)];
        assert_eq!(script.after_ms(0, &none), nothing());
        assert_eq!(script.after_ms(600, &none), nothing());
        assert_eq!(script.after_ms(200, &[]), nothing());
        assert_eq!(script.after_ms(0, &none), nothing());
        assert_eq!(script.after_ms(1_999, &none), nothing());
        let (raised, _) = script.after_ms(1, &none);
        let began = WALL + 1_800;
        assert_eq!(raised, [format!("no-leader-2-by-2-{began}")]);
        let (_, alarm) = script.board.raised().next().unwrap();
        assert_eq!((alarm.since, alarm.about, alarm.node), (began, None, 2));
    }

    #[test]
    fn what_flaps_has_to_be_gone_for_longer_each_time_and_is_forgiven_in_the_end() {
        let mut script = Script::new();
        let low = [condition(Kind::DiskLow, None, None)];
        for round in 0..4 {
            assert_eq!(script.after_ms(1, &low).0.len(), 1, "round {round}");
            script.after_ms(1, &[]);
            let after = CLEAR_AFTER_MS << round;
            assert_eq!(script.after_ms(after - 1, &[]), nothing(), "round {round}");
            assert_eq!(script.after_ms(1, &[]).1.len(), 1, "round {round}");
        }
        // A condition that comes and goes within that time does not end the alarm.
        script.after_ms(1, &low);
        for _ in 0..20 {
            assert_eq!(script.after_ms(2_000, &[]), nothing());
            assert_eq!(script.after_ms(2_000, &low), nothing());
        }
        script.after_ms(1, &[]);
        assert_eq!(script.after_ms(CLEAR_AFTER_MAX_MS, &[]).1.len(), 1);
        script.after_ms(FORGIVEN_AFTER_MS, &[]);
        script.after_ms(1, &low);
        script.after_ms(1, &[]);
        assert_eq!(script.after_ms(CLEAR_AFTER_MS, &[]).1.len(), 1);
    }

    #[test]
    fn two_nodes_name_the_same_loss_alike_and_the_next_one_otherwise() {
        let seen_by = |node, mark| {
            let mut board = Board::new(node);
            let changes =
                board.observe((5, WALL), &[condition(Kind::NodeMissed, Some(3), Some(mark))]);
            match &changes[..] {
                [Change::Raised(_, alarm)] => alarm.id.clone(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(seen_by(1, 17), seen_by(2, 17));
        assert_ne!(seen_by(1, 17), seen_by(1, 40));
    }
}
