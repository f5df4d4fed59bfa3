//! The only source of chance in a world: equal seeds give equal worlds.
//!
//! Everybody has a stream of their own ([`Of`]), so that what one of them does otherwise does not
//! change what the others draw. A schedule that is made smaller stays like the one it came from.

use std::collections::BTreeMap;

use crate::ends::EndId;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

/// Whose chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    /// What goes wrong.
    Faults,
    /// Who calls, when, and where.
    Callers,
    /// How a far end behaves.
    Temper(EndId),
    /// What is sent to and by a far end.
    Way(EndId),
    /// A person at a desk.
    Desk(usize),
    /// A machine: its clock, its timers, its threads.
    Node(u64),
    /// A machine's disk.
    Disk(u64),
    /// Messages from one node to another.
    Link(u64, u64),
    /// What nodes do for a far end: flows, answers.
    Service(EndId),
}

/// All streams of a world.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    seed: u64,
    streams: BTreeMap<Of, Random>,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, streams: BTreeMap::new() }
    }

    /// The stream of somebody.
    pub(crate) fn of(&mut self, whose: Of) -> &mut Random {
        let seed = self.seed;
        self.streams.entry(whose).or_insert_with(|| {
            let (kind, a, b) = whose.numbers();
            let mut random = Random::new(seed ^ kind.rotate_left(40));
            let mixed = random.next() ^ a.wrapping_mul(0x9e6c_63d0_876a_3f35);
            Random::new(Random(mixed).next() ^ b.wrapping_mul(0xd6e8_feb8_6659_fd93))
        })
    }
}

impl Of {
    fn numbers(self) -> (u64, u64, u64) {
        let end = |kind, end| match end {
            EndId::Caller(number) => (kind, u64::from(number), 0),
            EndId::Phone(call, leg) => (kind + 1, call.0, u64::from(leg.0)),
        };
        match self {
            Self::Faults => (1, 0, 0),
            Self::Callers => (2, 0, 0),
            Self::Temper(id) => end(3, id),
            Self::Way(id) => end(5, id),
            Self::Service(id) => end(7, id),
            Self::Desk(desk) => (9, desk as u64, 0),
            Self::Node(node) => (10, node, 0),
            Self::Disk(node) => (11, node, 0),
            Self::Link(from, to) => (12, from, to),
        }
    }
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x7461_6e64_656d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From `low` up to and without `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// True so many times of a thousand.
    pub(crate) fn permille(&mut self, of_thousand: u64) -> bool {
        self.below(1_000) < of_thousand
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, of_hundred: u64) -> bool {
        self.below(100) < of_hundred
    }

    /// About `mean`, from nothing to four times as much: short ones are the most frequent.
    pub(crate) fn about(&mut self, mean: u64) -> u64 {
        let (a, b) = (self.below(2_000), self.below(2_000));
        mean * a * b / 1_000_000
    }

    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}
