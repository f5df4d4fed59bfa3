//! Two of three nodes are left, on a network that loses packets: who leads goes on leading, and what
//! is proposed is committed soon and once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::collections::BTreeSet;
use world::{Streams, World};

const SEEDS: u64 = 20;

/// What came of 20 s after the loss of a leader.
#[derive(Debug, Default)]
struct Outcome {
    /// Leaders after the first one that followed.
    changes: usize,
    /// For how long nobody led, in milliseconds, without the first election.
    leaderless_ms: u64,
    proposals: u64,
    committed: u64,
}

/// Segments are lost as given, datagrams twice as often, and one in ten comes again. The leader dies, and one of the two others
/// proposes something every 40 ms.
fn loses_its_leader(seed: u64, loss_percent: u64, copies: bool) -> Outcome {
    let mut world = World::seeded(3, seed);
    let leader = world.elect();
    world.run(1_000);
    let datagram_loss = copies.then_some(loss_percent * 2);
    world.streams = Some(Streams::losing(loss_percent, datagram_loss));
    world.run(500);
    world.crash(leader, 0);
    world.elect();
    let (before, mut outcome) = (world.seen.leaders.len(), Outcome::default());
    for number in 0..500_u64 {
        let node = [leader % 3 + 1, (leader + 1) % 3 + 1][world.draw(2) as usize];
        outcome.proposals += u64::from(world.propose(node, &number.to_le_bytes()).is_some());
        for _ in 0..40 {
            world.run(1);
            outcome.leaderless_ms += u64::from(world.leader().is_none());
        }
    }
    outcome.changes = world.seen.leaders.len() - before;
    world.streams.as_mut().unwrap().heal();
    world.start(leader);
    world.heal();
    world.check().unwrap();
    let applied = world.history(leader).iter().map(|(_, _, data)| data.clone());
    let distinct: BTreeSet<_> = applied.clone().collect();
    assert_eq!(applied.count(), distinct.len(), "something was done twice");
    outcome.committed = distinct.len() as u64;
    outcome
}

fn all(loss_percent: u64, copies: bool) -> Outcome {
    (1..=SEEDS).fold(Outcome::default(), |sum, seed| {
        let one = loses_its_leader(seed, loss_percent, copies);
        Outcome {
            changes: sum.changes + one.changes,
            leaderless_ms: sum.leaderless_ms + one.leaderless_ms,
            proposals: sum.proposals + one.proposals,
            committed: sum.committed + one.committed,
        }
    })
}

#[test]
fn two_that_are_left_keep_their_leader_though_one_packet_in_twelve_is_lost() {
    let (alone, both) = (all(8, false), all(8, true));
    println!("connections alone: {alone:?}; and datagrams: {both:?}");
    // 400 s each. The first says that the second has something to say.
    assert!(alone.changes > 40, "{alone:?}");
    assert!(both.changes <= 4 && both.leaderless_ms <= 2_000, "{both:?}");
    assert_eq!(both.committed, both.proposals, "{both:?}");
}
