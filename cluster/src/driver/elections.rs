//! Election time-outs from a seed.
//!
//! raft-rs draws them from the thread's random numbers, which a simulation cannot repeat. After
//! each input that made Raft draw, ours replaces its.

use super::api::Options;
use crate::entry::NodeId;
use raft::{Raft, StateRole, Storage};

/// The random numbers of elections.
pub(super) struct Elections {
    random: SplitMix,
    ticks: usize,
    timeout: usize,
    seen: (u64, StateRole, NodeId),
}

impl Elections {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            random: SplitMix(options.seed),
            ticks: options.election_ticks,
            timeout: options.election_ticks,
            seen: (0, StateRole::Follower, 0),
        }
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
        self.timeout = self.ticks + self.random.below(self.ticks as u64) as usize;
        raft.set_randomized_election_timeout(self.timeout);
    }
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
