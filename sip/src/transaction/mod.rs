//! Transactions: one request and its responses over a transport that may lose them.
//!
//! The four machines of RFC 3261 §17 with the corrections of RFC 6026, as pure values: a machine
//! holds the bytes that it may have to send again, and says when. It does not know dialogs, and
//! of the messages it knows what it needs: a status code, and for the ACK of a failure the
//! response. Matching a message to its transaction is [`TransactionKey`].
//!
//! Every machine can be serialised at any moment and go on elsewhere: its times are [`Moment`]s
//! of a [`Clock`] that travels with it.

mod clock;
mod invite_client;
mod invite_server;
mod key;
mod non_invite_client;
mod non_invite_server;
#[cfg(test)]
mod tests;

pub use clock::{Clock, Moment, Repeat};
pub use invite_client::{InviteClient, ack_of_failure, cancel_of};
pub use invite_server::InviteServer;
pub use key::TransactionKey;
pub use non_invite_client::NonInviteClient;
pub use non_invite_server::NonInviteServer;

/// Estimate of the round trip, milliseconds (RFC 3261 §17.1.1.1).
pub const T1_MS: u64 = 500;

/// Longest interval between retransmissions, milliseconds (RFC 3261 §17.1.2.1).
pub const T2_MS: u64 = 4_000;

/// How long a message can stay in the network, milliseconds (RFC 3261 §17.1.2.2).
pub const T4_MS: u64 = 5_000;

/// 64·T1: timers B, F, H, J, L and M, and how long a 2xx waits for its ACK.
pub const GIVE_UP_MS: u64 = 64 * T1_MS;

/// What a transaction wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send these bytes, first time or again.
    Transmit(Vec<u8>),
    /// The other side did not answer in time; the transaction is over (RFC 3261 §8.1.3.1: to be
    /// treated as a 408, or for a server as a failure of the transport).
    TimedOut,
}
