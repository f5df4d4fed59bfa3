//! Two machines over one directory: who may use it, and when the other takes it.
//!
//! Read [`lease`] (what the holder writes), [`active`] (until when the holder may go on), [`standby`]
//! (when the other takes over), all without I/O, and [`directory`] and [`renewal`] (how a takeover
//! leaves the former holder with files that nobody reads).
//!
//! No clock is compared with another machine's. The holder counts a lease from when it *began* a
//! heartbeat that reached the disk; the standby counts silence from when it *saw* one, which is
//! later, and waits longer than the lease. So a holder that can still look at its clock has ended
//! before the standby acts. One that cannot, because it is frozen, is ended by its own kernel or by
//! the fencing command; and whatever it still writes goes into files of a generation that is over.
//!
//! (Fencing tokens: Chubby's sequencers, Burrows, OSDI 2006. Leases: Gray and Cheriton, 1989.)

pub mod active;
pub mod directory;
pub mod lease;
pub mod renewal;
pub mod standby;

/// A machine's clock: milliseconds since an arbitrary moment, never going back, and going on while
/// the process is stopped or the machine is suspended (CLOCK_BOOTTIME).
pub type Moment = u64;

/// How long things take, in milliseconds. The same on both machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of the holder, and two looks of the standby.
    pub heartbeat_ms: u64,
    /// How long the holder goes on after the beginning of the last heartbeat that was written.
    pub lease_ms: u64,
    /// How long the standby sees no heartbeat before it takes over.
    pub takeover_ms: u64,
}

impl Timing {
    /// What lies at least between the end of a lease and a takeover: the kernel ends a frozen
    /// holder a little after its lease, and looks are this much apart.
    pub const MARGIN_MS: u64 = 500;

    /// Whether a lease has ended when the other machine takes over.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.heartbeat_ms * 3 <= self.lease_ms
            && self.lease_ms + Self::MARGIN_MS <= self.takeover_ms
    }
}
