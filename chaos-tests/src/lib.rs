//! The simulated world: three nodes' machines over a seeded network, disk and clock.
