//! The numbers in the `o=` lines of one end of a session, over all machines that speak for it.

use serde::{Deserialize, Serialize};

/// Descriptions that a machine may have sent after its last commit: where a call moves, each far
/// end is told so a few times, and nothing else is said before it is committed.
const UNCOMMITTED_MAX: u64 = 16;

/// The versions of our descriptions (RFC 3264 §8): another description has a higher one, whoever
/// made the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Versions {
    last: u64,
    /// The next one is above this, too.
    floor: u64,
}

impl Versions {
    /// Nothing was described.
    pub const NONE: Self = Self { last: 0, floor: 0 };

    /// The next description is the one after `last`.
    pub fn after(last: u64) -> Self {
        Self { last, floor: last }
    }

    /// Goes on from what was committed, as the `life`th machine that speaks for this end: what
    /// each of those before it said after that commit stays below.
    pub fn adopted(last: u64, life: u32) -> Self {
        Self { last, floor: last.saturating_add(UNCOMMITTED_MAX * u64::from(life)) }
    }

    /// The version of the last description.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether a machine that is gone may have said more than the last that is known: then an
    /// answer to a new offer has a new version, though its words are the same.
    pub fn is_doubtful(&self) -> bool {
        self.floor > self.last
    }

    /// The version of another description.
    pub fn raise(&mut self) -> u64 {
        self.last = self.last.max(self.floor).saturating_add(1);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adopter_says_nothing_with_a_version_of_those_before_it() {
        let mut first = Versions::after(1);
        assert_eq!((first.raise(), first.raise()), (2, 3));
        // Neither of the next two has committed anything.
        let mut second = Versions::adopted(1, 1);
        assert_eq!((second.last(), second.raise(), second.raise()), (1, 18, 19));
        assert_eq!(Versions::adopted(1, 2).raise(), 34);
    }
}
