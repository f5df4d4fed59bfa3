//! The mutant that acknowledges before it syncs must be caught: else the power cuts prove nothing.
//!
//! In a file of its own, since it silences panics: a lost vote makes raft-rs itself panic.

mod world;

#[test]
fn a_program_that_acknowledges_before_it_syncs_is_caught() {
    std::panic::set_hook(Box::new(|_| ()));
    let caught =
        |seed: &u64| !matches!(std::panic::catch_unwind(|| world::storm(*seed, true)), Ok(Ok(_)));
    let caught: Vec<_> = (0..20).filter(caught).collect();
    drop(std::panic::take_hook());
    assert!(caught.len() >= 5, "caught only with seeds {caught:?} of 20");
}
