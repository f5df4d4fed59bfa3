//! The API as clients see it: a real server on loopback, real HTTP and WebSocket clients, and a
//! centre in memory on a virtual clock. Every frame and answer that arrives is checked against
//! the published schemas.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod desk;
mod http;
mod records;
mod script;
mod socket;
mod terminal;
