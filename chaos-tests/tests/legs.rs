//! Legs that machines take over from each other, one world for each seed.

#![allow(clippy::print_stdout, reason = "whoever replays a seed wants to read it")]

use chaos_tests::legs::{LegMutant, LegPlan};

/// Seeds of a run, unless `TANDEM_LEG_SEEDS` says another number.
const SEEDS: u64 = 3_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Says what breaks, in the fewest steps that were found.
fn describe(plan: &LegPlan, claim: &str) -> String {
    let smallest = plan.shrunk(claim);
    let again = format!("TANDEM_LEG_SEED={} cargo test -p chaos-tests --test legs one", plan.seed);
    format!("{smallest:#?}\n{}\nto replay it: {again} -- --nocapture", smallest.lines().join("\n"))
}

#[test]
fn no_takeover_sets_a_number_back_or_loses_a_call() {
    let seeds = number("TANDEM_LEG_SEEDS").unwrap_or(SEEDS);
    let (mut answered, mut takeovers, mut failures) = (0, 0, 0);
    for seed in 0..seeds {
        let plan = LegPlan::seeded(seed);
        match plan.run() {
            Ok(counts) => {
                answered += u64::from(counts.answered);
                takeovers += counts.takeovers;
            }
            Err(broken) => {
                failures += 1;
                if failures <= 3 {
                    println!("seed {seed}: {broken}\n{}\n", describe(&plan, broken.claim));
                }
            }
        }
    }
    assert_eq!(failures, 0, "of {seeds} seeds");
    // Where nothing happens, nothing is proven.
    assert!(answered * 2 > seeds, "{answered} of {seeds} calls were answered");
    assert!(takeovers > seeds, "{takeovers} takeovers");
}

#[test]
fn every_mutant_of_a_takeover_is_caught_by_few_steps() {
    for (mutant, claim) in
        [(LegMutant::KeepsTheCseq, "cseq"), (LegMutant::KeepsTheVersion, "sdp-version")]
    {
        let caught = (0..SEEDS).find_map(|seed| {
            let plan = LegPlan { mutant: Some(mutant), ..LegPlan::seeded(seed) };
            plan.run().is_err_and(|broken| broken.claim == claim).then(|| plan.shrunk(claim))
        });
        let smallest = caught.unwrap_or_else(|| panic!("{mutant:?} is not caught"));
        assert!(smallest.steps.len() <= 6, "{smallest:#?}");
        println!("{mutant:?}: {smallest:?}");
    }
    assert_eq!(LegMutant::ALL.len(), 2);
}

#[test]
fn equal_plans_give_equal_worlds() {
    for seed in 0..50 {
        assert_eq!(LegPlan::seeded(seed).run(), LegPlan::seeded(seed).run(), "seed {seed}");
    }
}

/// `TANDEM_LEG_SEED=42 cargo test -p chaos-tests --test legs one -- --nocapture`
#[test]
fn one_seed_again() {
    let plan = LegPlan::seeded(number("TANDEM_LEG_SEED").unwrap_or(1));
    println!("{}", plan.lines().join("\n"));
    assert!(plan.run().is_ok());
}
