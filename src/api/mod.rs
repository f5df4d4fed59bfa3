//! HTTP and the agents' WebSocket: what people and programs outside may ask of the node.
//!
//! Read [`backend`] first: it is all that this module knows of the node. [`events`] is the
//! memory that lets clients resume.

pub mod backend;
pub mod events;
