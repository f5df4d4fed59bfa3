//! Many seeds, and one of them again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::{Broken, Counts, Micros, Plan, World};

/// A seed with which a claim did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The claim, or what panicked.
    pub why: String,
}

/// What a seed came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// See [`World::trace_hash`].
    pub trace: u64,
    /// See [`World::counts`].
    pub counts: Counts,
}

/// Runs a storm of `time`. A panic is a failure like a claim that does not hold.
pub fn run(plan: &Plan, time: Micros) -> Result<Passed, Failure> {
    let mut world = World::new(plan.clone());
    run_world(&mut world, time)
}

fn run_world(world: &mut World, time: Micros) -> Result<Passed, Failure> {
    let seed = world.plan.seed;
    let ran = catch_unwind(AssertUnwindSafe(|| world.storm(time)));
    let why = match ran {
        Ok(Ok(())) => return Ok(Passed { trace: world.trace_hash(), counts: world.counts() }),
        Ok(Err(Broken { claim, why })) => format!("{claim} does not hold: {why}"),
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(said) => format!("panic: {said}"),
            None => format!("panic: {:?}", panic.downcast_ref::<&str>()),
        },
    };
    Err(Failure { seed, why })
}

/// Runs a seed again and writes everything that happened to `target/chaos/seed-N.log`.
pub fn explain(plan: &Plan, time: Micros) -> std::io::Result<(PathBuf, Result<Passed, Failure>)> {
    let mut world = World::new(Plan { keeps_lines: true, ..plan.clone() });
    let result = run_world(&mut world, time);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/chaos");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("seed-{}.log", plan.seed));
    let mut text = world.lines().join("\n");
    if let Err(failure) = &result {
        text.push_str(&format!("\n{}\n", failure.why));
    }
    std::fs::write(&path, text)?;
    Ok((path, result))
}

/// What to say about a seed that failed.
pub fn describe(plan: &Plan, time: Micros, failure: &Failure) -> String {
    let written = match explain(plan, time) {
        Ok((path, _)) => format!("its event log is {}", path.display()),
        Err(error) => format!("its event log cannot be written: {error}"),
    };
    format!(
        "seed {}: {}\n{written}\nto replay it: TANDEM_SEED={} cargo test -p chaos-tests replay -- \
         --nocapture",
        failure.seed, failure.why, failure.seed
    )
}
