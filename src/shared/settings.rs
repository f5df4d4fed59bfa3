//! `[shared]`: two machines over one directory, of which one is active.
//!
//! Owns the section and its sense.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_cluster::shared::Timing;
use tandem_cluster::shared::standby::Fencing;
use thiserror::Error;

use crate::config::types::{FenceTimeoutMs, HeartbeatMs, LeaseMs, Name, TakeoverMs};

/// Two machines over one directory, `node.data`, on a disk that both see. One is active; the other
/// stands by, and takes directory, service address and calls when the active one is gone.
/// Everything but `name` is the same on both.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// The name of this machine, different on both. With it `node.data` is shared; without it,
    /// this node keeps its data for itself. Two machines with one name would not fence each other.
    pub name: Option<Name>,
    /// How often the active machine says that it is there, and the standby looks. 200 ms; more
    /// often writes more, and more rarely needs a longer lease.
    pub heartbeat_ms: HeartbeatMs,
    /// How long the active machine goes on without a heartbeat that reached the disk; then it
    /// ends. 1500 ms. Below what the disk takes on a bad day, the active machine ends for nothing; at
    /// least three heartbeats.
    pub lease_ms: LeaseMs,
    /// How long the standby sees no heartbeat before it takes over. 2000 ms; at least 500 ms more
    /// than `lease_ms`, so that the lease has ended. Longer delays the takeover by as much.
    pub takeover_ms: TakeoverMs,
    /// The program that ends the other machine's access to the disk before the directory is
    /// taken: called `PROGRAM NAME GENERATION PID` with what the holder said of itself, and
    /// successful only if nothing of it can write any more. It powers the machine off, or revokes
    /// its reservation of the disk. Without a success, nothing is taken.
    pub fence_command: Option<PathBuf>,
    /// How long it may take; longer counts as a failure, and it is tried again. 10 s; a takeover within 5 s
    /// needs one that succeeds within one.
    pub fence_timeout_ms: FenceTimeoutMs,
    /// There is nothing to fence: both processes are on one machine, or something else ends the
    /// active one before its lease is over. A machine that is paused as a whole, and not ended,
    /// goes on when it is continued: what it then writes is not read, but what it tells callers
    /// is heard.
    pub fence_waived: bool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            name: None,
            heartbeat_ms: HeartbeatMs::of::<200>(),
            lease_ms: LeaseMs::of::<1_500>(),
            takeover_ms: TakeoverMs::of::<2_000>(),
            fence_command: None,
            fence_timeout_ms: FenceTimeoutMs::of::<10_000>(),
            fence_waived: false,
        }
    }
}

/// Why the section makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// A takeover without fencing would corrupt data.
    #[error(
        "shared storage needs fence_command; where nothing is to be fenced, say fence_waived = true"
    )]
    NoFencing,
    /// Which of both?
    #[error("both fence_command and fence_waived are given")]
    Both,
    /// The standby would act while the active machine still may.
    #[error(
        "a takeover after {takeover} ms does not wait for a lease of {lease} ms: takeover_ms is at \
         least {} ms more, and lease_ms at least three times heartbeat_ms, {heartbeat}",
        Timing::MARGIN_MS
    )]
    Timing {
        /// See [`Shared::takeover_ms`].
        takeover: u64,
        /// See [`Shared::lease_ms`].
        lease: u64,
        /// See [`Shared::heartbeat_ms`].
        heartbeat: u64,
    },
    /// Keys that are read with a name only.
    #[error("fencing is read with a name only: set name, or remove it")]
    Idle,
    /// A cluster keeps a log on every node.
    #[error("a cluster keeps its data on every node: remove the members, or [shared] name")]
    Members,
    /// A standby must find them.
    #[error("with shared storage recordings are in node.data: remove recording.directory")]
    Recordings,
}

impl Shared {
    /// Checks the section by itself.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(&self) -> Result<(), SettingsError> {
        let timing = self.timing();
        match (&self.name, self.fence_command.is_some(), self.fence_waived) {
            (None, false, false) => return Ok(()),
            (None, true, _) | (None, false, true) => return Err(SettingsError::Idle),
            (Some(_), false, false) => return Err(SettingsError::NoFencing),
            (Some(_), true, true) => return Err(SettingsError::Both),
            (Some(_), true, false) | (Some(_), false, true) => (),
        }
        if !timing.is_safe() {
            let Timing { heartbeat_ms: heartbeat, lease_ms: lease, takeover_ms: takeover } = timing;
            return Err(SettingsError::Timing { takeover, lease, heartbeat });
        }
        Ok(())
    }

    /// How long things take.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing {
            heartbeat_ms: self.heartbeat_ms.get(),
            lease_ms: self.lease_ms.get(),
            takeover_ms: self.takeover_ms.get(),
        }
    }

    /// Whether a command runs before a takeover.
    #[must_use]
    pub fn fencing(&self) -> Fencing {
        if self.fence_waived { Fencing::Waived } else { Fencing::Command }
    }

    /// How long the fencing command may take.
    #[must_use]
    pub fn fence_timeout(&self) -> Duration {
        Duration::from_millis(self.fence_timeout_ms.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), SettingsError> {
        toml::from_str::<Shared>(text).unwrap().check()
    }

    #[test]
    fn a_takeover_without_fencing_must_be_asked_for() {
        assert_eq!(checked(""), Ok(()));
        assert_eq!(checked("name = \"alpha\""), Err(SettingsError::NoFencing));
        assert_eq!(checked("name = \"alpha\"\nfence_waived = true"), Ok(()));
        assert_eq!(checked("name = \"alpha\"\nfence_command = \"/etc/tandem/fence\""), Ok(()));
        let both = "name = \"alpha\"\nfence_command = \"/etc/tandem/fence\"\nfence_waived = true";
        assert_eq!(checked(both), Err(SettingsError::Both));
        assert_eq!(checked("fence_waived = true"), Err(SettingsError::Idle));
    }

    #[test]
    fn a_lease_must_have_ended_before_a_takeover() {
        let text = "name = \"a\"\nfence_waived = true\nlease_ms = 2001\ntakeover_ms = 2500";
        let error = checked(text).unwrap_err().to_string();
        assert!(error.contains("takeover after 2500 ms") && error.contains("500 ms"), "{error}");
        let text = "name = \"a\"\nfence_waived = true\nheartbeat_ms = 501";
        assert!(matches!(checked(text), Err(SettingsError::Timing { .. })));
    }
}
