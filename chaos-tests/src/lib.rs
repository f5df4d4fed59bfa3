//! The simulated world: nodes' machines, callers, phones and desks in one thread, over a seeded
//! network, disk and clock.
//!
//! Each node is a [`tandem_cluster::Driver`] with a [`tandem_center::Center`] on a disk that takes
//! its time and forgets what was not synced. Everything that happens follows from the seed, and
//! what goes wrong and who calls is a [`Schedule`], which can be written down, played again and
//! made smaller ([`shrink`]).
//!
//! What is checked, and where:
//!
//! | claim | |
//! |---|---|
//! | no agent has two offers or two calls | after each commit: `claims` |
//! | a queued call is in one place | after each commit that touches calls |
//! | at most one agent answers a call | after each commit |
//! | callers are offered by priority and commit, also after a takeover | after each commit |
//! | one record for each call, with the times of its commits; the caller heard the answer and the end within 1 s of them, and talked for as long, where all was well at those moments | `claims::wire` |
//! | an acknowledged command stays, a repeated one acts once | after each commit, and at the end |
//! | no signal without a lease, by another than the owner, or of an epoch that is past | each signal: `claims::moves` |
//! | nothing of a call is left 35 s after its end: no far end, server, value, busy agent | each second of the quiet time after a storm |
//! | equal logs make equal states, at all nodes | after each commit |
//! | CSeq, RSeq and the version of a description never go back, and no call is ended by a takeover | [`legs`], after each message |
//!
//! What is **not** here. There is no SIP in the storms: far ends take orders and report, as the
//! call actors of the node see them, and what is committed of a dialog is opaque bytes to the
//! centre (`Wire`), which the simulation fills with the name of the far end. Dialogs have
//! simulations of their own ([`legs`]): the leg machines of `sip`, restored as the node restores
//! them, over a network of their own and without the cluster. There is no audio anywhere, and so
//! nothing is said of ports and recordings: the drills on real processes do. A disk loses and keeps
//! whole writes: torn files are torn in the tests of the log itself (`cluster/src/log/engine`). A machine that was suspended with its clocks may
//! signal until the first beat of a peer tells it, or until its lease ends by its own clock: what it
//! signals until then is counted ([`Counts::unaware`]) and not held against it.
//!
//! Read in this order: [`claims`] (what must be true), `ends`, `desk` (the people), `server`
//! (what serves a call on its node), `node`, `disks`, `network`, `presence` (who is there), `homes`
//! (who is reached at which address), `turn` (a node's turn), `event` and `world` (what happens),
//! [`schedule`], `nemesis` (what goes wrong how often) and `faults` (what that does), `story`
//! (scripts), [`replay`] (many seeds, and one again), [`shrink`].

pub mod claims;
mod desk;
mod directory;
mod disks;
mod ends;
mod event;
mod faults;
mod homes;
pub mod legs;
mod mutants;
mod nemesis;
mod network;
mod node;
mod outside;
mod presence;
mod random;
pub mod replay;
pub mod schedule;
mod server;
pub mod shrink;
mod story;
mod trace;
mod turn;
mod world;

pub use claims::{Broken, Counts};
pub use mutants::Mutant;
pub use network::Ways;
pub use schedule::Schedule;
pub use story::{Desk, Dialling, Machine, Seen, secs};
pub use world::{Checks, Plan, World};

/// Time in the world, from its beginning.
pub type Micros = u64;

pub(crate) const MILLISECOND: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MILLISECOND;
