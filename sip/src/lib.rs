//! SIP and SDP as pure machines: bytes and time in, bytes and events out.
//!
//! Read in this order: [`wire`] (what a message is), [`sdp`] (what an offer says), [`auth`] and
//! [`registrar`] (who may register, and where they are), [`transaction`] (RFC 3261 §17),
//! [`dialog`] (§12), [`leg`] (one call leg with all of these), [`b2bua`]
//! (what passes from leg to leg).
//!
//! Nothing here has a socket, a clock, a thread or randomness: time and seeds are arguments.

pub mod auth;
pub mod b2bua;
pub mod dialog;
pub mod leg;
pub mod registrar;
pub mod sdp;
pub mod transaction;
pub mod wire;
