//! Election time-outs from a seed, apart from each other.
//!
//! raft-rs draws them from the thread's random numbers, which a simulation cannot repeat, and over
//! one range for all: two of three that are left then stand at the same moment in one election of
//! ten or so, split the vote, and nobody leads for as long again. Here each voter has a part of the
//! range for itself, which moves on with the term, and draws from its first half. After each input
//! that made Raft draw, ours replaces its.
//!
//! Who asks whether it may stand (Ongaro 2014, §9.6) is passed over by those who heard the leader less
//! than a time-out ago, or were held up by their disk and have not counted its silence yet. raft-rs
//! asks again only a time-out later; here it does so with every heartbeat that is due.

use super::api::Options;
use crate::entry::NodeId;
use raft::{Raft, StateRole, Storage};

/// The random numbers of elections.
pub(super) struct Elections {
    random: SplitMix,
    ticks: usize,
    timeout: usize,
    seen: (u64, StateRole, NodeId),
    /// Between two questions whether it may stand, in ticks; and those that have passed.
    ask_again: usize,
    unanswered: usize,
}

impl Elections {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            random: SplitMix(options.seed),
            ticks: options.election_ticks,
            timeout: options.election_ticks,
            seen: (0, StateRole::Follower, 0),
            ask_again: options.heartbeat_ticks,
            unanswered: 0,
        }
    }

    /// A tick has passed. Whether this node has asked if it may stand, and is to ask again.
    pub(super) fn is_to_ask<S: Storage>(&mut self, raft: &Raft<S>) -> bool {
        let asks = raft.state == StateRole::PreCandidate;
        self.unanswered = if asks { self.unanswered + 1 } else { 0 };
        asks && self.unanswered.is_multiple_of(self.ask_again)
    }

    pub(super) fn started<S: Storage>(&mut self, raft: &mut Raft<S>) {
        self.draw(raft);
    }

    /// Raft draws when term, role or leader change, and only then.
    pub(super) fn after_input<S: Storage>(&mut self, raft: &mut Raft<S>) {
        if self.seen == (raft.term, raft.state, raft.leader_id) {
            raft.set_randomized_election_timeout(self.timeout);
        } else {
            self.draw(raft);
        }
    }

    fn draw<S: Storage>(&mut self, raft: &mut Raft<S>) {
        self.seen = (raft.term, raft.state, raft.leader_id);
        self.timeout = self.ticks + self.drawn(raft);
        raft.set_randomized_election_timeout(self.timeout);
    }

    /// Ticks beyond the shortest time-out.
    fn drawn<S: Storage>(&mut self, raft: &Raft<S>) -> usize {
        let ticks = self.ticks as u64;
        let mut voters: Vec<NodeId> = raft.prs().conf().voters().ids().iter().collect();
        voters.sort_unstable();
        let place = voters.iter().position(|voter| *voter == raft.id);
        let (begin, width) = place.map_or((0, ticks), |place| {
            part(ticks, (place as u64, voters.len() as u64), raft.term)
        });
        (begin + self.random.below(width)) as usize
    }
}

/// Where in the range of so many ticks a voter draws in this term, by its place among the voters, and
/// from how many ticks.
fn part(ticks: u64, (place, voters): (u64, u64), term: u64) -> (u64, u64) {
    let turn = (place + term) % voters;
    let (begin, end) = (ticks * turn / voters, ticks * (turn + 1) / voters);
    (begin, (end - begin).div_ceil(2))
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, good enough to spread time-outs.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn no_two_voters_stand_in_the_same_tick() {
        for voters in 2..=9 {
            for term in 0..voters * 2 {
                let mut parts: Vec<_> =
                    (0..voters).map(|place| part(12, (place, voters), term)).collect();
                parts.sort_unstable();
                for pair in parts.windows(2) {
                    let [(begin, width), (next, _)] = [pair[0], pair[1]];
                    assert!(begin + width.max(1) <= next, "{voters} voters in term {term}");
                }
                assert!(parts.iter().all(|(begin, width)| begin + width <= 12));
            }
        }
    }
}
