//! Many seeds, and one of them again, or a schedule.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::shrink::{Shrunk, storm};
use crate::{Broken, Counts, Micros, Plan, Schedule, World};

/// A seed with which a claim did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The claim, or what panicked without what differs from run to run.
    pub claim: String,
    /// What was seen instead.
    pub why: String,
    /// When, in the world's time.
    pub at: Micros,
}

/// What a seed came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// See [`World::trace_hash`].
    pub trace: u64,
    /// See [`World::counts`].
    pub counts: Counts,
}

/// Storms that are run to make a schedule smaller that somebody will read.
const SHRINKING_RUNS: usize = 600;

/// Of a panic's message, the reason are its first words.
const REASON_MAX: usize = 48;

/// Runs a storm of `time`. A panic is a failure like a claim that does not hold.
pub fn run(plan: &Plan, time: Micros) -> Result<Passed, Failure> {
    let mut world = World::new(plan.clone());
    run_world(&mut world, time)
}

/// Plays a schedule.
pub fn play(schedule: &Schedule) -> Result<Passed, Failure> {
    run(&Plan::of(schedule), schedule.time)
}

pub(crate) fn run_world(world: &mut World, time: Micros) -> Result<Passed, Failure> {
    let seed = world.plan.seed;
    let ran = catch_unwind(AssertUnwindSafe(|| world.storm(time)));
    let (claim, why) = match ran {
        Ok(Ok(())) => return Ok(Passed { trace: world.trace_hash(), counts: world.counts() }),
        Ok(Err(Broken { claim, why })) => {
            (claim.to_owned(), format!("{claim} does not hold: {why}"))
        }
        Err(panic) => {
            let said = match panic.downcast_ref::<String>() {
                Some(said) => said.clone(),
                None => format!("{:?}", panic.downcast_ref::<&str>()),
            };
            (reason(&said), format!("panic: {said}"))
        }
    };
    Err(Failure { seed, claim, why, at: world.now() })
}

/// What is the same in every panic of this kind, as one word.
fn reason(said: &str) -> String {
    let letters = said.chars().map(|c| if c.is_ascii_alphabetic() { c } else { '_' });
    let letters: String = letters.take(REASON_MAX).collect();
    format!(
        "panic:{}",
        letters.split('_').filter(|word| word.len() > 1).collect::<Vec<_>>().join("_")
    )
}

/// Runs a seed again and writes everything that happened to `target/chaos/seed-N.log`.
pub fn explain(plan: &Plan, time: Micros) -> std::io::Result<(PathBuf, Result<Passed, Failure>)> {
    let mut world = World::new(Plan { keeps_lines: true, ..plan.clone() });
    let result = run_world(&mut world, time);
    let mut text = world.lines().join("\n");
    if let Err(failure) = &result {
        text.push_str(&format!("\n{}\n", failure.why));
    }
    let path = written(&format!("seed-{}.log", plan.seed), &text)?;
    Ok((path, result))
}

fn written(name: &str, text: &str) -> std::io::Result<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/chaos");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Where schedules are that a test replays.
pub fn schedules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schedules")
}

/// What to say about a seed that failed: its log, and the smallest schedule that fails so, too.
pub fn describe(plan: &Plan, time: Micros, failure: &Failure) -> String {
    let log = match explain(plan, time) {
        Ok((path, _)) => format!("its event log is {}", path.display()),
        Err(error) => format!("its event log cannot be written: {error}"),
    };
    let seed = failure.seed;
    let again = format!("TANDEM_SEED={seed} cargo test -p chaos-tests replay -- --nocapture");
    let shrunk = match storm(plan, time, SHRINKING_RUNS) {
        Some(shrunk) => smallest(seed, &shrunk),
        None => "it does not fail again".to_owned(),
    };
    format!("seed {seed}: {}\n{log}\nto replay it: {again}\n{shrunk}", failure.why)
}

fn smallest(seed: u64, shrunk: &Shrunk) -> String {
    let text = shrunk.schedule.to_string();
    let said = format!(
        "the smallest schedule that was found in {} runs: {} faults, {} calls\n{text}it says: {}",
        shrunk.runs,
        shrunk.schedule.faults(),
        shrunk.schedule.calls(),
        shrunk.failure.why
    );
    match written(&format!("seed-{seed}.schedule"), &text) {
        Ok(path) => format!(
            "{said}\nto replay it: TANDEM_SCHEDULE={} cargo test -p chaos-tests --test schedules \
             one -- --nocapture\nto keep it as a test: copy it to {}",
            path.display(),
            schedules().display()
        ),
        Err(error) => format!("{said}\nit cannot be written: {error}"),
    }
}
