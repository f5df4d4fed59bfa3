//! How far this node's clock is from the leader's, as the entries of the log show it.
//!
//! An entry carries the leader's clock and is applied here a little later. How much later is never
//! less than the difference of the clocks, so the least of the last seconds tells it. Owns no
//! clock.

/// The length of a window. Two are looked at, so that one has just ended.
const WINDOW_MS: u64 = 5_000;

/// What is older says nothing any more.
const OLD_MS: u64 = 60_000;

/// See the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockWatch {
    /// When the present window began, by this node's clock, and the least difference in it.
    window: Option<(u64, i64)>,
    /// The same of the one before.
    before: Option<(u64, i64)>,
}

impl ClockWatch {
    /// An entry with the leader's time `at` is applied when this node's clock shows `own`.
    pub(crate) fn note(&mut self, own: u64, at: u64) {
        let difference = own.cast_signed().saturating_sub(at.cast_signed());
        match &mut self.window {
            Some((began, least)) if own >= *began && own - *began < WINDOW_MS => {
                *least = difference.min(*least);
            }
            window => {
                self.before = *window;
                *window = Some((own, difference));
            }
        }
    }

    /// By how many milliseconds this clock is ahead of the leader's; negative if behind. None if
    /// nothing was applied lately.
    pub(crate) fn ahead_ms(&self, own: u64) -> Option<i64> {
        let recent = |window: &(u64, i64)| own.abs_diff(window.0) < OLD_MS;
        let windows = [self.window, self.before].into_iter().flatten().filter(recent);
        windows.map(|(_, least)| least).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_780_000_000_000;

    #[test]
    fn the_difference_is_what_the_quickest_entry_shows() {
        let mut clock = ClockWatch::default();
        assert_eq!(clock.ahead_ms(AT), None);
        // 3 s ahead, with 2 to 40 ms on the way.
        for (passed, way) in [(0, 40), (100, 2), (300, 9), (6_000, 30)] {
            clock.note(AT + passed + 3_000 + way, AT + passed);
        }
        assert_eq!(clock.ahead_ms(AT + 9_000), Some(3_002));
        // It is set right: the windows pass, and the difference with them.
        for passed in [20_000, 26_000, 32_000] {
            clock.note(AT + passed + 5, AT + passed);
        }
        assert_eq!(clock.ahead_ms(AT + 32_000), Some(5));
        assert_eq!(clock.ahead_ms(AT + 200_000), None);
    }

    #[test]
    fn a_clock_behind_is_told_too_and_an_entry_that_came_late_is_none() {
        let mut clock = ClockWatch::default();
        clock.note(AT - 4_000, AT);
        assert_eq!(clock.ahead_ms(AT), Some(-4_000));
        let mut clock = ClockWatch::default();
        clock.note(AT + 8_000, AT); // It waited while this node stood still.
        clock.note(AT + 8_010, AT + 8_008);
        assert_eq!(clock.ahead_ms(AT + 8_010), Some(2));
    }
}
