//! The actors of a node: they do I/O for replicated values, and decide nothing.
//!
//! Read in this order: [`supervisor`] (who is started again, and how often), [`replica`] (commits
//! become changed values), [`sip_transport`] and [`sip_sockets`] (messages in and out),
//! [`router`] (which call a message is for), [`answered`] (what was answered and may come again),
//! [`call`] (a call), [`registrar`], [`queue`], [`agent`], `witness` (a node without calls).

pub mod agent;
pub mod answered;
pub mod call;
pub mod homes;
pub mod queue;
pub mod registrar;
pub mod replica;
pub mod router;
pub mod sip_sockets;
pub mod sip_transport;
pub mod supervisor;
mod version;
mod witness;
