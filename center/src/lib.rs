//! The replicated contact centre: one value, one way in.

pub mod flow;
