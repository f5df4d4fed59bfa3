//! Schedules: a storm played from its schedule is the same storm, and those that broke a claim
//! once are played again.

#![allow(clippy::print_stdout, reason = "whoever replays a schedule wants to read it")]

use std::path::Path;

use chaos_tests::{Plan, Schedule, World, replay, secs};

#[test]
fn a_storm_that_is_played_from_its_schedule_is_the_same() {
    for seed in 1..=5 {
        let mut drawn = World::new(Plan::seeded(seed));
        drawn.storm(secs(30)).unwrap();
        let schedule = drawn.schedule(secs(30));
        let read = Schedule::parse(&schedule.to_string()).unwrap();
        assert_eq!(read, schedule);
        let mut played = World::new(Plan::of(&read));
        played.storm(secs(30)).unwrap();
        assert_eq!(played.trace_hash(), drawn.trace_hash(), "seed {seed}");
        assert_eq!(played.counts(), drawn.counts());
    }
}

#[test]
fn a_schedule_with_an_unknown_word_names_its_line() {
    let text = "storm seed=1 nodes=3 time=1 lost=0\n# a comment\nat=1 earthquake node=2\n";
    let error = Schedule::parse(text).unwrap_err();
    assert_eq!(error.line, 3);
    assert!(error.why.contains("earthquake"), "{error}");
}

/// They were bugs, and break no claim any more.
#[test]
fn every_schedule_that_was_kept_does_what_it_says() {
    let folder = std::fs::read_dir(replay::schedules()).unwrap();
    let mut played = 0;
    std::panic::set_hook(Box::new(|_| ()));
    let mut wrong = Vec::new();
    for path in folder.map(|entry| entry.unwrap().path()) {
        played += 1;
        let schedule = read(&path);
        let broke = replay::play(&schedule).err();
        let wanted = schedule.mutant.and_then(|_| schedule.breaks.clone());
        if broke.as_ref().map(|failure| &failure.claim) != wanted.as_ref() {
            wrong.push(format!("{}: {broke:?}", path.display()));
        }
    }
    drop(std::panic::take_hook());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(played > 0, "no schedule was kept");
}

fn read(path: &Path) -> Schedule {
    let text = std::fs::read_to_string(path).expect("the schedule is there");
    Schedule::parse(&text).expect("the schedule is one")
}

/// `TANDEM_SCHEDULE=path cargo test -p chaos-tests --test schedules one -- --nocapture`
#[test]
fn one() {
    let Ok(path) = std::env::var("TANDEM_SCHEDULE") else { return };
    let schedule = read(Path::new(&path));
    let (path, result) = replay::explain(&Plan::of(&schedule), schedule.time).unwrap();
    println!("{}: {result:#?}", path.display());
    assert!(result.is_ok());
}
