//! The network between the nodes: it loses, delays, reorders, repeats and cuts, one way or both.

use std::collections::BTreeSet;

use tandem_cluster::{Message, MessageType};

use crate::random::Random;
use crate::{MILLISECOND, Micros};

/// How bad the network is.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Links that are cut, from and to.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) weather: Weather,
}

/// What happens to messages on links that are not cut.
#[derive(Clone, Copy, Debug)]
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
        Self { cut: BTreeSet::new(), weather: Weather::FINE }
    }

    pub(crate) fn carry(&self, random: &mut Random, now: Micros, message: &Message) -> Fate {
        let Weather { lost, repeated, delay_max } = self.weather;
        if self.cut.contains(&(message.from, message.to)) || random.permille(lost) {
            return [None, None];
        }
        let at = |random: &mut Random| Some(now + 100 + random.below(delay_max));
        let first = at(random);
        // The links are TCP streams: a forwarded proposal is not repeated by them. Whoever does
        // not know its fate repeats it, and that is among what is simulated.
        let may_repeat = message.get_msg_type() != MessageType::MsgPropose;
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
pub(crate) enum Ways {
    /// Both.
    Both,
    /// What the node sends.
    Sends,
    /// What the node receives.
    Receives,
}
