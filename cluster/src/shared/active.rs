//! Until when the holder of a shared directory may go on.
//!
//! Owns the one rule: a lease that was over once is over for ever. A process that was frozen for
//! longer than its lease cannot know what happened meanwhile, and must not write to find out.
//! Owns no clock and no file.

use super::{Moment, Timing};

/// The holder, since its first heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Active {
    timing: Timing,
    until: Moment,
    is_over: bool,
}

impl Active {
    /// Whose first heartbeat, begun then, is on the disk.
    #[must_use]
    pub fn new(timing: Timing, began: Moment) -> Self {
        Self { timing, until: began + timing.lease_ms, is_over: false }
    }

    /// A heartbeat that was begun then is on the disk now. Too late, it changes nothing.
    pub fn handle_written(&mut self, began: Moment, now: Moment) {
        if self.holds(now) {
            self.until = self.until.max(began + self.timing.lease_ms);
        }
    }

    /// Another one has the directory.
    pub fn handle_lost(&mut self) {
        self.is_over = true;
    }

    /// Whether it may write now.
    pub fn holds(&mut self, now: Moment) -> bool {
        self.is_over |= now >= self.until;
        !self.is_over
    }

    /// Until when it may write, if nothing more is heard.
    #[must_use]
    pub fn until(&self) -> Moment {
        if self.is_over { 0 } else { self.until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { heartbeat_ms: 200, lease_ms: 1_500, takeover_ms: 2_500 };

    #[test]
    fn a_heartbeat_counts_from_when_it_was_begun() {
        let mut active = Active::new(TIMING, 1_000);
        assert!(active.holds(2_499));
        active.handle_written(1_200, 2_400);
        assert_eq!(active.until(), 2_700);
        assert!(active.holds(2_699) && !active.holds(2_700));
    }

    #[test]
    fn a_lease_that_was_over_is_never_renewed() {
        let mut active = Active::new(TIMING, 1_000);
        // Frozen while the heartbeat was written; the disk has it, and it does not help.
        active.handle_written(1_200, 9_000);
        assert!(!active.holds(9_000) && !active.holds(1_300));
        active.handle_written(9_000, 9_001);
        assert!(!active.holds(9_001));
        assert_eq!(active.until(), 0);
    }

    #[test]
    fn who_lost_the_directory_stops_before_the_lease_is_over() {
        let mut active = Active::new(TIMING, 1_000);
        active.handle_lost();
        assert!(!active.holds(1_001));
    }

    #[test]
    fn a_takeover_before_the_end_of_a_lease_is_no_timing() {
        assert!(TIMING.is_safe());
        assert!(!Timing { takeover_ms: 1_999, ..TIMING }.is_safe());
        assert!(!Timing { lease_ms: 599, ..TIMING }.is_safe());
    }
}
