//! Faults that are built in must be caught: else the storms prove nothing. And what catches one
//! must become small enough to be read.
//!
//! In a file of its own, since it silences panics: the centre's own checks of a debug build and
//! raft-rs panic, too, at what the claims call wrong.

use std::sync::Mutex;

use chaos_tests::shrink::{self, Shrunk};
use chaos_tests::{Mutant, Plan, replay, secs};

/// Seeds that are tried until one catches the mutant. Most are caught by the first few; that an
/// arrival is committed twice, with its call's whole life in between, takes a rare freeze.
const SEEDS: u64 = 600;

/// Storms that are run to make what catches a mutant smaller.
const RUNS: usize = 250;

/// What is left of a storm of some forty faults and a hundred calls.
const FAULTS_MAX: usize = 6;
const CALLS_MAX: usize = 24;

#[test]
fn every_mutant_is_caught_by_a_schedule_that_becomes_small() {
    std::panic::set_hook(Box::new(|_| ()));
    let left = Mutex::new(Mutant::ALL.to_vec());
    let wrong = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = { left.lock().unwrap().pop() } {
                    wrong.lock().unwrap().extend(caught(mutant).err());
                }
            });
        }
    });
    drop(std::panic::take_hook());
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn caught(mutant: Mutant) -> Result<(), String> {
    let Some(shrunk) = caught_by(mutant) else {
        return Err(format!("{mutant:?} is not caught"));
    };
    let is_small = is_small(&shrunk);
    let Shrunk { schedule, failure, runs } = shrunk;
    if is_small {
        return Ok(());
    }
    let left = format!("{} faults and {} calls", schedule.faults(), schedule.calls());
    Err(format!("{mutant:?}: after {runs} runs there are {left}: {}\n{schedule}", failure.why))
}

/// Storms that are made smaller until one is small enough: some hang on the very moment.
const TRIES: usize = 4;

/// What is left of a storm that catches it: the first one that becomes small enough.
fn caught_by(mutant: Mutant) -> Option<Shrunk> {
    let shrunk = (1000..1000 + SEEDS).filter_map(|seed| {
        let busy =
            Plan { callers_per_1000_s: 3_000, fault_every: Some(secs(1)), ..Plan::seeded(seed) };
        let plan = Plan { mutant: Some(mutant), ..busy };
        replay::run(&plan, secs(40)).err()?;
        shrink::storm(&plan, secs(40), RUNS)
    });
    let mut tried = Vec::new();
    for one in shrunk.take(TRIES) {
        tried.push(one);
        if tried.last().is_some_and(is_small) {
            break;
        }
    }
    tried.pop()
}

fn is_small(shrunk: &Shrunk) -> bool {
    shrunk.schedule.faults() <= FAULTS_MAX && shrunk.schedule.calls() <= CALLS_MAX
}
