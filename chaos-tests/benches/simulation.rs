//! How many seconds of the world pass in one second of a CPU, on one thread, with calls and
//! faults.
//!
//! Writes `target/bench/simulation.json`, one line for each measure.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::PathBuf;

use chaos_tests::{Checks, Plan, World, secs};

/// What the milestone asks for, in simulated seconds for each second.
const REACH: f64 = 300.0;

/// What a bare loop of raft-rs reaches on such a machine.
const PEER: &str = "bare raft-rs loop 2,000";

/// Seconds of the world that each seed runs, and how many seeds.
const WORLD_SECONDS: u64 = 300;
const SEEDS: u64 = 4;

fn main() -> std::io::Result<()> {
    let quick = Checks::OneOf(64);
    let lines = [
        measure(
            "simulation speed, three nodes with calls",
            &Plan { callers_per_1000_s: 1_000, checks: quick, ..Plan::seeded(0) },
        )?,
        measure(
            "simulation speed, the whole state checked after every command",
            &Plan { callers_per_1000_s: 1_000, ..Plan::seeded(0) },
        )?,
        measure(
            "simulation speed, ten calls a second",
            &Plan { callers_per_1000_s: 10_000, checks: quick, ..Plan::seeded(0) },
        )?,
    ];
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("simulation.json"), lines.join("\n") + "\n")
}

fn measure(name: &str, plan: &Plan) -> std::io::Result<String> {
    let (mut calls, mut commands) = (0, 0);
    let started = cpu_seconds()?;
    for seed in 0..SEEDS {
        let mut world = World::new(Plan { seed, ..plan.clone() });
        world.run_for(secs(WORLD_SECONDS)).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        calls += world.counts().calls;
        commands += world.counts().commands;
    }
    let spent = cpu_seconds()? - started;
    let value = (SEEDS * WORLD_SECONDS) as f64 / spent;
    println!("{name}: {value:.0} s/s ({calls} calls, {commands} commands)");
    Ok(format!(
        r#"{{"name":"{name}","value":{value:.1},"unit":"simulated s per CPU-s","reach":{REACH},"peer":"{PEER}"}}"#
    ))
}

/// Seconds that this thread has spent on a CPU: what others do on the machine does not count.
fn cpu_seconds() -> std::io::Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let spent = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
    let spent =
        spent.ok_or_else(|| std::io::Error::other("no time in /proc/thread-self/schedstat"));
    Ok(spent? as f64 / 1e9)
}
