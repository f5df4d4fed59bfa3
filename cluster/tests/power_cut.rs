//! Power cuts: what was acknowledged is never lost, wherever the power goes.

mod world;

use world::World;

/// Proposes at whoever leads, under loss, and cuts the power of whoever performs step `cut`.
fn cut_after(seed: u64, cut: u64) -> World {
    let mut world = World::seeded(3, seed);
    world.snapshot_every = Some(12);
    world.cut_at_step = Some(cut);
    world.elect();
    let mut number = 0_u64;
    for _ in 0..25 {
        if let Some(leader) = world.leader() {
            for _ in 0..3 {
                number += 1;
                world.propose(leader, &number.to_le_bytes());
            }
        }
        world.run(15);
    }
    world
}

#[test]
fn a_cut_after_any_step_loses_nothing_acknowledged() {
    let mut counted = cut_after(1, 0);
    counted.heal();
    counted.check().unwrap();
    let steps = counted.steps;
    assert!(counted.acknowledged.len() > 50 && steps > 300, "something happened: {steps}");
    for cut in 1..=steps {
        let mut world = cut_after(1, cut);
        world.heal();
        world.check().unwrap_or_else(|lost| panic!("cut after step {cut}: {lost}"));
    }
}

#[test]
fn storms_of_cuts_lose_nothing_acknowledged() {
    for seed in 0..100 {
        let acknowledged =
            world::storm(seed, false).unwrap_or_else(|lost| panic!("seed {seed}: {lost}"));
        assert!(acknowledged > 10, "seed {seed}: something was acknowledged");
    }
}
