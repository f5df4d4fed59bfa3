//! The simulated world: nodes' machines, callers, phones and desks in one thread, over a seeded
//! network, disk and clock.
//!
//! Each node is a [`tandem_cluster::Driver`] with a [`tandem_center::Center`] on a disk that
//! forgets what was not synced. There is no SIP and no audio: far ends take orders and report, as
//! the call actors of the node see them. Everything that happens follows from the seed.
//!
//! Read in this order: [`claims`] (what must be true), `ends`, `desk` (the people), `server`
//! (what serves a call on its node), `node`, `network`, `presence` (who is there), `homes` (who is
//! reached at which address), `turn` (a node's turn), `world` (the events), `nemesis` (what goes
//! wrong when), `story` (scripts), `replay` (many seeds, and one again).

pub mod claims;
mod desk;
mod directory;
mod ends;
mod homes;
mod mutants;
mod nemesis;
mod network;
mod node;
mod outside;
mod presence;
mod random;
pub mod replay;
mod server;
mod story;
mod trace;
mod turn;
mod world;

pub use claims::{Broken, Counts};
pub use mutants::Mutant;
pub use story::{Desk, Dialling, Machine, Seen, secs};
pub use world::{Checks, Plan, World};

/// Time in the world, from its beginning.
pub type Micros = u64;

pub(crate) const MILLISECOND: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MILLISECOND;
