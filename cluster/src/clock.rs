//! The clock that a leader stamps entries with.
//!
//! People set clocks, and so do programs: by milliseconds, and now and then by hours. What callers
//! wait for must not fire then, nor stop, and what records say of durations must stay true. So the
//! log's time goes on by the clock that nobody sets, and follows the clock of the day only slowly.
//! Who does not lead follows the times in the log, so that the next leader goes on where the last
//! one was, whatever its own clock of the day shows.
//!
//! Owns no clock: both are arguments. Promises nothing about an order; the driver sees to it that
//! no entry is earlier than the one before.

use crate::entry::Millis;
use crate::presence::Moment;

/// It gains or loses one of so many milliseconds, until it shows the time of day again: a clock
/// that was an hour wrong is right after a day, and a minute of waiting is 2.5 s longer or shorter
/// meanwhile.
const SLEW: u64 = 24;

/// A follower that is ahead of an entry may have been given it late. It goes back by at most half
/// of the time since the last one, of which no more counts than this.
const BACK_MS_MAX: u64 = 1_000;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogClock {
    shows: Option<Millis>,
    at: Moment,
    /// Time that was too short to gain or lose anything.
    rest: u64,
}

impl LogClock {
    /// What it shows at this moment, when the clock of the day shows `day`. Only that of who leads
    /// follows the day.
    pub fn read(&mut self, now: Moment, day: Millis, leads: bool) -> Millis {
        let passed = now.saturating_sub(self.at);
        if !leads {
            return self.shows.map_or(day, |before| before + passed);
        }
        let Some(before) = self.shows else { return self.set(now, day) };
        let steady = before + passed;
        self.rest += passed;
        let most = self.rest / SLEW;
        let shows = day.clamp(steady.saturating_sub(most.min(passed)), steady + most);
        if most > 0 {
            self.rest %= SLEW;
        }
        self.set(now, shows)
    }

    /// An entry of another leader's is applied, which was stamped so since this process began: an
    /// older one says nothing of the time.
    pub fn follow(&mut self, now: Moment, stamp: Millis) {
        let passed = now.saturating_sub(self.at);
        let shows = match self.shows {
            Some(before) => {
                let steady = before + passed;
                stamp.max(steady.saturating_sub(passed.min(BACK_MS_MAX) / 2))
            }
            None => stamp,
        };
        self.set(now, shows);
    }

    /// It has led, or followed an entry: it does not depend on the clock of the day alone.
    pub fn is_set(&self) -> bool {
        self.shows.is_some()
    }

    fn set(&mut self, now: Moment, shows: Millis) -> Millis {
        (self.shows, self.at) = (Some(shows), now.max(self.at));
        shows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 1_764_000_000_000;

    #[test]
    fn it_shows_the_time_of_day() {
        let mut clock = LogClock::default();
        for now in [1, 5, 900, 40_000] {
            assert_eq!(clock.read(now, DAY + now, true), DAY + now);
        }
    }

    #[test]
    fn a_clock_that_is_set_forwards_lets_nothing_fire_early() {
        let mut clock = LogClock::default();
        clock.read(0, DAY, true);
        for now in (10..=60_000).step_by(10) {
            let shows = clock.read(now, DAY + now + HOUR, true);
            assert!((now..=now + now / SLEW).contains(&(shows - DAY)), "{now}");
        }
        assert!(clock.read(60_000, DAY + HOUR, true) > DAY + 62_000);
    }

    #[test]
    fn a_clock_that_is_set_back_lets_nothing_wait_for_hours() {
        let mut clock = LogClock::default();
        let mut before = clock.read(0, DAY, true);
        for now in (10..=60_000).step_by(10) {
            let shows = clock.read(now, DAY + now - HOUR, true);
            assert!(shows >= before);
            before = shows;
        }
        assert!((57_000..58_000).contains(&(before - DAY)), "{}", before - DAY);
    }

    #[test]
    fn an_hour_is_made_good_in_a_day() {
        let mut clock = LogClock::default();
        clock.read(0, DAY + HOUR, true);
        let passed = 25 * HOUR;
        for second in 0..=passed / 1_000 {
            clock.read(second * 1_000, DAY + second * 1_000, true);
        }
        assert_eq!(clock.read(passed, DAY + passed, true), DAY + passed);
    }

    #[test]
    fn the_next_leader_goes_on_where_the_last_one_was() {
        let mut clock = LogClock::default();
        clock.read(1, DAY + HOUR, true);
        // Its own clock is an hour ahead; the leader's entries are not.
        for now in (100..).step_by(100).take(200_000) {
            clock.follow(now, DAY + now);
        }
        let now = 20_000_000;
        assert!(clock.read(now + 50, DAY + now + HOUR, true).abs_diff(DAY + now) < 100);
    }

    #[test]
    fn entries_that_come_late_do_not_turn_it_back() {
        let mut clock = LogClock::default();
        clock.read(0, DAY, true);
        // It was frozen for ten minutes, and reads in a second what was committed meanwhile.
        let now = 600_000;
        (0..1_000).for_each(|entry| clock.follow(now + entry, DAY + entry * 600));
        assert!(
            clock.read(now + 1_000, DAY + now + 1_000, true).abs_diff(DAY + now + 1_000) < 2_000
        );
    }

    #[test]
    fn a_follower_takes_over_the_time_of_the_log_and_not_that_of_its_own_clock() {
        let mut clock = LogClock::default();
        assert_eq!(clock.read(10, DAY + HOUR, false), DAY + HOUR, "it knows no better");
        clock.follow(20, DAY + 20);
        assert_eq!(clock.read(5_020, DAY + HOUR, false), DAY + 5_020);
        assert_eq!(clock.read(5_020, DAY + HOUR, true) - DAY, 5_020 + 5_000 / SLEW);
    }
}
