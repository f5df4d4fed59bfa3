//! Call flows through the centre: what callers, agents and nodes do, and what the state then
//! wants. Every step also runs the invariants (debug builds do).

mod inbound;
#[allow(dead_code, reason = "desks and queues speak in the next flows")]
mod script;
