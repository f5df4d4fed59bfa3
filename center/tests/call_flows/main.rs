//! Call flows through the centre: what callers, agents and nodes do, and what the state then
//! wants. Every step also runs the invariants (debug builds do).

mod agents;
mod audit;
mod control;
mod desk;
mod distribution;
mod endings;
mod inbound;
mod ivr;
mod nodes;
mod outbound;
mod overflow;
mod queues;
mod reconfigure;
mod refer;
mod script;
mod supervise;
mod talk;
mod trunks;
mod versions;
mod wants;
