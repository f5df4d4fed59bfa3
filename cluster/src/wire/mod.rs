//! What nodes say to each other: on a connection a handshake, then frames; and datagrams.
//!
//! Bytes only; the sockets are the shell's. Nothing that arrives is believed to have a length
//! before it was compared with a bound.

mod beat;
mod copy;
mod frame;
mod handshake;

pub use beat::{BEAT_BYTES, open as open_beat, seal as seal_beat};
pub use copy::{COPY_BYTES_MAX, COPY_ROOM_BYTES, Datagram, open as open_copy, seal as seal_copy};
pub use frame::{CHUNK_BYTES, FRAME_BYTES_MAX, Frame, SnapshotOffer, WireError};
pub use handshake::{Accepting, Dialing, HandshakeError, Purpose, Secret};
