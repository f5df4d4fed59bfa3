//! Faults that are built in must be caught: else the storms prove nothing.
//!
//! In a file of its own, since it silences panics: the centre's own checks of a debug build and
//! raft-rs panic, too, at what the claims call wrong.

use chaos_tests::{Mutant, Plan, replay, secs};

/// Seeds that are tried until one catches the mutant. Most are caught by the first few; that an
/// arrival is committed twice, with its call's whole life in between, takes a rare freeze.
const SEEDS: u64 = 600;

#[test]
fn every_mutant_is_caught() {
    std::panic::set_hook(Box::new(|_| ()));
    let caught: Vec<_> = Mutant::ALL.map(caught_by).into();
    drop(std::panic::take_hook());
    let missed: Vec<_> = Mutant::ALL.iter().zip(&caught).filter(|(_, by)| by.is_none()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

/// The first seed that catches it, and how.
fn caught_by(mutant: Mutant) -> Option<(u64, String)> {
    (1000..1000 + SEEDS).find_map(|seed| {
        let busy =
            Plan { callers_per_1000_s: 3_000, fault_every: Some(secs(1)), ..Plan::seeded(seed) };
        let plan = Plan { mutant: Some(mutant), ..busy };
        replay::run(&plan, secs(40)).err().map(|failure| (seed, failure.why))
    })
}
