//! The network between the nodes: it loses, delays, reorders, repeats and cuts, one way or both.
//! And the addresses on the network outside, to which whoever opened one last is the holder.

use std::collections::{BTreeMap, BTreeSet};

use tandem_center::HomeId;

use crate::random::Random;
use crate::{MILLISECOND, Micros};

/// How bad the network is.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Links that are cut, from and to.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) weather: Weather,
    /// When it was cut or bad last.
    pub(crate) bad_until: Micros,
    /// Who opened an address, and in which start of the node; the last one is heard.
    opened: BTreeMap<HomeId, Vec<(u64, u64)>>,
}

/// What happens to messages on links that are not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Lost, of a thousand.
    pub(crate) lost: u64,
    /// Delivered twice, of a thousand.
    pub(crate) repeated: u64,
    /// The slowest message. Each takes its own time, so that they overtake each other.
    pub(crate) delay_max: Micros,
}

impl Weather {
    /// A local network.
    pub(crate) const FINE: Self = Self { lost: 0, repeated: 0, delay_max: 2 * MILLISECOND };
}

/// When copies of a message arrive. None: it is lost.
pub(crate) type Fate = [Option<Micros>; 2];

impl Network {
    pub(crate) fn new() -> Self {
        let (cut, opened) = (BTreeSet::new(), BTreeMap::new());
        Self { cut, weather: Weather::FINE, bad_until: 0, opened }
    }

    /// Neither cut nor bad.
    pub(crate) fn is_fine(&self) -> bool {
        self.cut.is_empty() && self.weather == Weather::FINE
    }

    /// It was not fine until now.
    pub(crate) fn was_bad(&mut self, now: Micros) {
        self.bad_until = now;
    }

    /// A node listens at an address, instead of who did before.
    pub(crate) fn open(&mut self, home: HomeId, by: (u64, u64)) {
        self.opened.entry(home).or_default().push(by);
    }

    pub(crate) fn close(&mut self, home: HomeId, node: u64) {
        self.opened.entry(home).or_default().retain(|(by, _)| *by != node);
    }

    /// Nothing of a node is left.
    pub(crate) fn close_all(&mut self, node: u64) {
        for by in self.opened.values_mut() {
            by.retain(|(by, _)| *by != node);
        }
    }

    /// Who gets what is sent to an address.
    pub(crate) fn holder(&self, home: HomeId) -> Option<u64> {
        self.opened.get(&home)?.last().map(|(node, _)| *node)
    }

    /// When copies of what is sent over a link arrive.
    pub(crate) fn carry(
        &self,
        random: &mut Random,
        now: Micros,
        (from, to): (u64, u64),
        may_repeat: bool,
    ) -> Fate {
        let Weather { lost, repeated, delay_max } = self.weather;
        if self.cut.contains(&(from, to)) || random.permille(lost) {
            return [None, None];
        }
        let at = |random: &mut Random| Some(now + 100 + random.below(delay_max));
        let first = at(random);
        [first, (may_repeat && random.permille(repeated)).then(|| at(random)).flatten()]
    }

    /// Cuts a node off, both ways or only what it sends or receives.
    pub(crate) fn isolate(&mut self, node: u64, others: &[u64], ways: Ways) {
        for &other in others.iter().filter(|other| **other != node) {
            if ways != Ways::Receives {
                self.cut.insert((node, other));
            }
            if ways != Ways::Sends {
                self.cut.insert((other, node));
            }
        }
    }
}

/// Which way a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Both.
    Both,
    /// What the node sends.
    Sends,
    /// What the node receives.
    Receives,
}
