//! Time that can travel: deadlines as milliseconds of a machine's own clock.
//!
//! An `Instant` means nothing on another machine. A machine's deadlines are therefore [`Moment`]s
//! counted by the [`Clock`] beside it; what is serialised is the clock's reading and the
//! deadlines, that is, the time left. The clock that is rebuilt goes on from that reading.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Milliseconds on a machine's own clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Moment(u64);

impl Moment {
    /// The clock's beginning.
    pub const ZERO: Self = Self(0);

    /// This many milliseconds later.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds until `later`; 0 when it is past.
    pub fn ms_until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// Turns the shell's instants into moments and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// An instant of this process …
    instant: Instant,
    /// … and what the clock read then.
    reading: Moment,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start(now: Instant) -> Self {
        Self::resume(now, Moment::ZERO)
    }

    /// A clock that goes on from what another one read.
    pub fn resume(now: Instant, reading: Moment) -> Self {
        Self { instant: now, reading }
    }

    /// What the clock reads at `now`. An instant before the clock's own counts as that one.
    pub fn read(&self, now: Instant) -> Moment {
        let passed = now.saturating_duration_since(self.instant).as_millis();
        self.reading.after_ms(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// When the clock will read `moment`; its own instant if that is past.
    pub fn instant_of(&self, moment: Moment) -> Instant {
        self.instant + Duration::from_millis(self.reading.ms_until(moment))
    }
}

/// Something repeated at growing intervals: timers A, E and G.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Repeat {
    /// When to repeat next.
    pub at: Moment,
    /// The interval that ends then, milliseconds.
    interval_ms: u64,
}

impl Repeat {
    /// The first repetition comes after `interval_ms`.
    pub fn every_ms(now: Moment, interval_ms: u64) -> Self {
        Self { at: now.after_ms(interval_ms), interval_ms }
    }

    /// Repeats now, and next after twice the interval, at most `ms_max`. Counted from now, not
    /// from when it was due: a machine that was asleep must not catch up in a burst.
    pub fn double(&mut self, now: Moment, ms_max: u64) {
        *self = Self::every_ms(now, (self.interval_ms * 2).min(ms_max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    fn some_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_clock_goes_on_where_the_other_stopped() {
        let here = some_instant();
        let clock = Clock::start(here);
        let deadline = clock.read(here).after_ms(500);
        let stopped = clock.read(here + Duration::from_millis(300));

        let there = here + Duration::from_secs(1_000_000);
        let clock = Clock::resume(there, stopped);
        assert_eq!(clock.instant_of(deadline), there + Duration::from_millis(200));
        assert_eq!(clock.read(there + Duration::from_millis(200)), deadline);
    }

    #[test]
    fn what_is_past_is_due_now() {
        let here = some_instant();
        let clock = Clock::resume(here, Moment(1_000));
        assert_eq!(clock.instant_of(Moment(10)), here);
        assert_eq!(clock.read(here - Duration::from_secs(1)), Moment(1_000));
    }
}
