//! Versions of what is replicated: commands, the stored state, and what nodes put into both.
//!
//! One number counts all of them. A build reads two neighbouring versions and writes the one that
//! the cluster has agreed on, which is part of the replicated state ([`crate::Center::version`])
//! and rises by [`crate::Command::Agree`] once every voter has said that it reads the next one. So
//! nobody writes what another node cannot read, and two builds in one cluster hold equal states:
//! what a new version does differently begins at one place in the log, not with a program.

use serde::{Deserialize, Serialize};

/// The newest version that this build reads, and the newest that it writes.
///
/// The feature `next-version` is the rehearsal of an upgrade: a build of the version that follows.
pub const NEWEST: u8 = if cfg!(feature = "next-version") { 4 } else { 3 };

/// The oldest version that this build reads: its neighbour. Before 3 nodes did not say what they
/// read, so nothing older can be agreed on.
pub const OLDEST: u8 = if NEWEST - 1 > 3 { NEWEST - 1 } else { 3 };

/// The versions that a build reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// The oldest.
    pub oldest: u8,
    /// The newest. 0: nobody has said.
    pub newest: u8,
}

impl Reads {
    /// What this build reads.
    pub const HERE: Self = Self { oldest: OLDEST, newest: NEWEST };

    /// Whether it reads this version.
    #[must_use]
    pub fn includes(self, version: u8) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

/// Bytes of a version that this build does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Written by a newer program: this node must stop and be upgraded.
    #[error("version {version}, this program reads up to {NEWEST}: start a newer one")]
    Newer { version: u8 },
    /// Written by a program that is older than the neighbour.
    #[error(
        "version {version}, this program reads from {OLDEST} on: start the program before it, and \
         upgrade one version at a time"
    )]
    Older { version: u8 },
}

/// Whether this build reads a version.
///
/// # Errors
/// It does not, and on which side it lies.
pub fn check(version: u8) -> Result<(), Foreign> {
    match version {
        OLDEST..=NEWEST => Ok(()),
        newer if newer > NEWEST => Err(Foreign::Newer { version }),
        _ => Err(Foreign::Older { version }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_reads_its_neighbour_and_says_on_which_side_the_others_are() {
        assert!(Reads::HERE.includes(OLDEST) && Reads::HERE.includes(NEWEST));
        const { assert!(NEWEST == OLDEST || NEWEST == OLDEST + 1, "two at most") };
        assert_eq!(check(NEWEST + 1), Err(Foreign::Newer { version: NEWEST + 1 }));
        assert_eq!(check(OLDEST - 1), Err(Foreign::Older { version: OLDEST - 1 }));
        assert!(!Reads::default().includes(NEWEST), "who has said nothing reads nothing");
    }
}
