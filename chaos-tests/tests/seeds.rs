//! Storms of faults, one for each seed.

#![allow(clippy::print_stdout, reason = "whoever replays a seed wants to read it")]

use chaos_tests::{Counts, Plan, replay, secs};

/// How long each storm lasts.
const STORM: u64 = secs(40);

/// Seeds of a run, unless `TANDEM_SEEDS` says another number, and `TANDEM_FIRST_SEED` where it
/// begins.
const SEEDS: u64 = 500;

#[test]
fn no_storm_breaks_a_claim() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds: u64 = number("TANDEM_SEEDS").unwrap_or(SEEDS);
    let begin = number("TANDEM_FIRST_SEED").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let runs: Vec<_> = std::thread::scope(|scope| {
        let storms = |first| scope.spawn(move || storms(begin + first, threads, begin + seeds));
        let begun = (0..threads).map(storms);
        let begun: Vec<_> = begun.collect();
        begun.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let failures: usize = runs.iter().map(|(_, failures)| failures).sum();
    assert_eq!(failures, 0, "of {seeds} seeds");
    if seeds < SEEDS {
        return;
    }
    let sum = |of: fn(&Counts) -> u64| {
        runs.iter().flat_map(|(passed, _)| passed).map(of).sum::<u64>() / seeds
    };
    // A storm in which nothing happens proves nothing.
    assert!(sum(|counts| counts.calls) >= 15, "calls of a seed");
    assert!(sum(|counts| counts.answered) >= 5, "answered calls of a seed");
    assert!(sum(|counts| counts.no_answers) >= 1, "offers of a seed that time out");
    assert!(sum(|counts| counts.crashes) >= 3, "power cuts of a seed");
    assert!(sum(|counts| counts.freezes) >= 1, "frozen processes of a seed");
    assert!(sum(|counts| counts.suspends * 10) >= 5, "machines of ten seeds that stand still");
    assert!(sum(|counts| counts.slow_disks * 10) >= 5, "disks of ten seeds that are slow");
    assert!(sum(|counts| counts.full_disks * 10) >= 5, "disks of ten seeds that are full");
    assert!(sum(|counts| counts.broken_disks * 10) >= 2, "disks of ten seeds that break");
    assert!(sum(|counts| counts.takeovers) >= 5, "calls of a seed that get another owner");
    assert!(sum(|counts| counts.replaced * 10) >= 1, "nodes of ten seeds that are lost alone");
    assert!(sum(|counts| counts.signals) >= 100, "signals of a seed");
    assert!(sum(|counts| counts.elections) >= 3, "elections of a seed");
    assert!(sum(|counts| counts.snapshots * 10) >= 1, "snapshots of ten seeds");
    assert!(sum(|counts| counts.repeated * 10) >= 1, "repeated commands of ten seeds");
}

/// Every `step`th seed from `first` to `end`.
fn storms(first: u64, step: u64, end: u64) -> (Vec<Counts>, usize) {
    let (mut passed, mut failures) = (Vec::new(), 0);
    for seed in (first..end).step_by(step as usize) {
        let plan = Plan::seeded(seed);
        match replay::run(&plan, STORM) {
            Ok(run) => passed.push(run.counts),
            Err(failure) => {
                println!("{}\n", replay::describe(&plan, STORM, &failure));
                failures += 1;
            }
        }
    }
    (passed, failures)
}

/// `TANDEM_SEED=42 cargo test -p chaos-tests replay -- --nocapture`
#[test]
fn replay() {
    let seed = std::env::var("TANDEM_SEED").ok().and_then(|text| text.parse().ok());
    let plan = Plan::seeded(seed.unwrap_or(1));
    let (path, result) = replay::explain(&plan, STORM).unwrap();
    println!("{}: {result:#?}", path.display());
    assert!(result.is_ok());
}
