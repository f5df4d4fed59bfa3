//! One RTP session: symmetric RTP, sequence numbers, SSRC changes and reports.
//!
//! Three machines that know nothing of each other: [`Latch`] decides whose packets are the
//! peer's and where ours go, [`Receiver`] follows what arrives (RFC 3550 appendix A), and
//! [`Sender`] writes the headers of the one stream that a port sends, whatever it is fed from.

mod latch;
mod receiver;
mod sender;

pub use latch::{Latch, Verdict};
pub use receiver::{Arrival, Receiver, Reception};
pub use sender::{Origin, Sender, SenderState};

/// Where virtual time begins in tests.
#[cfg(test)]
pub(crate) fn epoch() -> std::time::Instant {
    static EPOCH: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(|| {
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
        std::time::Instant::now()
    });
    *EPOCH
}
