//! Equal seeds make equal worlds: without that no failure could be repeated.

use chaos_tests::{Plan, replay, secs};

#[test]
fn equal_seeds_give_equal_traces() {
    for seed in [1, 2, 3] {
        let once = replay::run(&Plan::seeded(seed), secs(30)).unwrap();
        let again = replay::run(&Plan::seeded(seed), secs(30)).unwrap();
        assert_eq!(once, again);
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let one = replay::run(&Plan::seeded(1), secs(30)).unwrap();
    let other = replay::run(&Plan::seeded(2), secs(30)).unwrap();
    assert_ne!(one.trace, other.trace);
}

#[test]
fn keeping_the_event_log_changes_nothing() {
    let plan = Plan::seeded(4);
    let once = replay::run(&plan, secs(30)).unwrap();
    let kept = replay::run(&Plan { keeps_lines: true, ..plan }, secs(30)).unwrap();
    assert_eq!(once, kept);
}
