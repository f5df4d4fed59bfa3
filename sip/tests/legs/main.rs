//! Call legs as call flows: each against a far end that the test plays, in a virtual time, going
//! straight through, rebuilt from its value after each step, and moved to another machine after
//! each step.

#![expect(clippy::unwrap_used, reason = "a test that fails says so")]

mod adoption;
mod called;
mod calling;
mod dialog;
mod kept;
mod lossy;
mod moved;
mod noise;
mod reliable;
mod requests;
mod script;
mod sessions;
mod talking;
mod words;
