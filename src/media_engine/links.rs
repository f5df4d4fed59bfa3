//! Who hears whom: the ports of a thread by name, their sources and the conferences.
//!
//! Pure accounting; knows indices of slots and nothing of what is in them.

use std::collections::{BTreeMap, BTreeSet};

use tandem_media::mix::PARTIES_MAX;

use super::{PortKey, PortPlan, Source};

#[derive(Debug, Default)]
pub(super) struct Links {
    ports: BTreeMap<PortKey, Linked>,
    /// Ports that hear a port of another call: the heard one first.
    crossings: BTreeSet<(PortKey, PortKey)>,
    conferences: BTreeMap<u64, Vec<u32>>,
}

#[derive(Debug)]
struct Linked {
    index: u32,
    hears: Hears,
    /// The conference that it takes part in.
    sits_in: Option<u64>,
}

/// What of a source matters to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hears {
    /// Nobody, or a conference.
    NoPort,
    Port(PortKey),
}

/// What follows from a changed source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Calls to be linked anew, by one of their ports.
    pub(super) relink: Vec<PortKey>,
    /// Conferences that have a first party.
    pub(super) begun: Option<u64>,
    /// Conferences that have none any more.
    pub(super) ended: Option<u64>,
}

impl Links {
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    pub(super) fn index(&self, key: PortKey) -> Option<u32> {
        self.ports.get(&key).map(|linked| linked.index)
    }

    pub(super) fn open(&mut self, key: PortKey, index: u32) {
        self.ports.insert(key, Linked { index, hears: Hears::NoPort, sits_in: None });
    }

    pub(super) fn close(&mut self, key: PortKey, index: u32) -> Change {
        let change = self.follow(key, index, &Source::Silence, None);
        self.ports.remove(&key);
        change
    }

    /// A port has this plan now.
    pub(super) fn set_plan(&mut self, key: PortKey, index: u32, plan: &PortPlan) -> Change {
        self.follow(key, index, &plan.source, plan.conference())
    }

    fn follow(
        &mut self,
        key: PortKey,
        index: u32,
        source: &Source,
        sits_in: Option<u64>,
    ) -> Change {
        let hears = match source {
            Source::Relay(heard) => Hears::Port(*heard),
            Source::Echo => Hears::Port(key),
            Source::Mix { .. } | Source::Silence | Source::Play { .. } => Hears::NoPort,
        };
        let mut change = Change::default();
        let Some(linked) = self.ports.get_mut(&key) else {
            return change;
        };
        let before = std::mem::replace(&mut linked.hears, hears);
        let sat_in = std::mem::replace(&mut linked.sits_in, sits_in);
        if sat_in != sits_in {
            change.ended = sat_in.and_then(|conference| self.leave(conference, index));
            change.begun = sits_in.and_then(|conference| self.join(conference, index));
        }
        if before == hears {
            return change;
        }
        change.relink.push(key);
        match before {
            Hears::Port(heard) if heard.call != key.call => {
                self.crossings.remove(&(heard, key));
                change.relink.push(heard);
            }
            Hears::Port(_) | Hears::NoPort => (),
        }
        match hears {
            Hears::Port(heard) if heard.call != key.call => {
                self.crossings.insert((heard, key));
                change.relink.push(heard);
            }
            Hears::Port(_) | Hears::NoPort => (),
        }
        change
    }

    /// One port of each call.
    pub(super) fn calls(&self) -> Vec<PortKey> {
        let mut calls: Vec<PortKey> = self.ports.keys().copied().collect();
        calls.dedup_by_key(|key| key.call);
        calls
    }

    /// The slots of a call's ports.
    pub(super) fn indices(&self, call: u64) -> Vec<u32> {
        self.of_call(call).map(|(_, linked)| linked.index).collect()
    }

    /// Pairs of slots: a port of the call, and one that hears it.
    pub(super) fn listeners(&self, call: u64) -> Vec<(u32, u32)> {
        let inside = self.of_call(call).filter_map(|(_, linked)| match linked.hears {
            Hears::Port(heard) if heard.call == call => Some((self.index(heard)?, linked.index)),
            Hears::Port(_) | Hears::NoPort => None,
        });
        let bounds = (first(call), first(0))..=(last(call), last(u64::MAX));
        let across = self
            .crossings
            .range(bounds)
            .filter_map(|(heard, listener)| Some((self.index(*heard)?, self.index(*listener)?)));
        inside.chain(across).collect()
    }

    /// The slots of a conference's parties.
    pub(super) fn parties(&self, conference: u64) -> &[u32] {
        self.conferences.get(&conference).map_or(&[], Vec::as_slice)
    }

    fn of_call(&self, call: u64) -> impl Iterator<Item = (&PortKey, &Linked)> {
        self.ports.range(first(call)..=last(call))
    }

    /// The conference, if this is its first party.
    fn join(&mut self, conference: u64, index: u32) -> Option<u64> {
        let parties = self.conferences.entry(conference).or_default();
        let first = parties.is_empty();
        // One more would hear nothing and not be heard.
        if parties.len() < PARTIES_MAX {
            parties.push(index);
        }
        first.then_some(conference)
    }

    /// The conference, if this was its last party.
    fn leave(&mut self, conference: u64, index: u32) -> Option<u64> {
        let parties = self.conferences.get_mut(&conference)?;
        parties.retain(|party| *party != index);
        if !parties.is_empty() {
            return None;
        }
        self.conferences.remove(&conference);
        Some(conference)
    }
}

fn first(call: u64) -> PortKey {
    PortKey { call, leg: 0 }
}

fn last(call: u64) -> PortKey {
    PortKey { call, leg: u16::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PortKey = PortKey { call: 7, leg: 0 };
    const B: PortKey = PortKey { call: 7, leg: 1 };
    const OTHER: PortKey = PortKey { call: 9, leg: 0 };

    fn mix() -> Source {
        Source::Mix { conference: 5, without: Vec::new() }
    }

    #[test]
    fn two_legs_hear_each_other_in_whatever_order_they_come() {
        let mut links = Links::default();
        links.open(A, 10);
        links.follow(A, 10, &Source::Relay(B), None);
        assert_eq!(links.listeners(7), []);
        links.open(B, 11);
        links.follow(B, 11, &Source::Relay(A), None);
        assert_eq!(links.listeners(7), [(11, 10), (10, 11)]);
        links.close(A, 10);
        assert_eq!(links.listeners(7), []);
        links.open(A, 12);
        assert_eq!(links.listeners(7), [(12, 11)]);
    }

    #[test]
    fn an_echo_hears_itself() {
        let mut links = Links::default();
        links.open(A, 10);
        links.follow(A, 10, &Source::Echo, None);
        assert_eq!(links.listeners(7), [(10, 10)]);
    }

    #[test]
    fn a_leg_of_another_call_is_linked_from_both_sides() {
        let mut links = Links::default();
        links.open(A, 10);
        links.open(OTHER, 20);
        let change = links.follow(OTHER, 20, &Source::Relay(A), None);
        assert_eq!(change.relink, [OTHER, A]);
        assert_eq!((links.listeners(7), links.listeners(9)), (vec![(10, 20)], vec![]));
        let change = links.follow(OTHER, 20, &Source::Silence, None);
        assert_eq!(change.relink, [OTHER, A]);
        assert_eq!(links.listeners(7), []);
        assert!(links.crossings.is_empty());
    }

    #[test]
    fn a_conference_begins_with_its_first_party_and_ends_with_its_last() {
        let mut links = Links::default();
        links.open(A, 10);
        links.open(B, 11);
        assert_eq!(links.follow(A, 10, &mix(), Some(5)).begun, Some(5));
        assert_eq!(links.follow(B, 11, &mix(), Some(5)).begun, None);
        assert_eq!(links.follow(B, 11, &mix(), Some(5)), Change::default());
        assert_eq!(links.parties(5), [10, 11]);
        assert_eq!(links.follow(A, 10, &Source::Silence, None).ended, None);
        assert_eq!(links.close(B, 11).ended, Some(5));
        assert!(links.conferences.is_empty());
    }

    #[test]
    fn who_hears_one_other_may_be_listened_to_in_a_conference() {
        let mut links = Links::default();
        links.open(A, 10);
        links.open(B, 11);
        links.follow(B, 11, &Source::Relay(A), None);
        assert_eq!(links.follow(B, 11, &Source::Relay(A), Some(5)).begun, Some(5));
        assert_eq!((links.parties(5), links.listeners(7)), (&[11][..], vec![(10, 11)]));
        assert_eq!(links.follow(B, 11, &Source::Relay(A), None).ended, Some(5));
        assert_eq!(links.listeners(7), [(10, 11)]);
    }
}
