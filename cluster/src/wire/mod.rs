//! What nodes say to each other on a connection: a handshake, then frames.
//!
//! Bytes only; the sockets are the shell's. Nothing that arrives is believed to have a length
//! before it was compared with a bound.

mod beat;
mod frame;
mod handshake;

pub use beat::{BEAT_BYTES, open as open_beat, seal as seal_beat};
pub use frame::{CHUNK_BYTES, FRAME_BYTES_MAX, Frame, SnapshotOffer, WireError};
pub use handshake::{Accepting, Dialing, HandshakeError, Purpose, Secret};
