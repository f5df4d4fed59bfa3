//! The 20 ms clock: who is due when.
//!
//! Those who make audio themselves are spread over ten slots of 2 ms, so that a thousand callers
//! who hear music do not all send in the same instant.

use std::time::{Duration, Instant};

/// The time from one slot to the next.
const SLOT: Duration = Duration::from_millis(2);
/// Slots in a turn of 20 ms.
const SLOTS: usize = 10;
/// Slots that may be made up for after the thread was held up; older ones are left out, since
/// nobody wants half a second of music at once.
const BEHIND_MAX: u32 = 3 * SLOTS as u32;

/// Who makes audio at the pace of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Beat {
    /// The port in a slot.
    Port(u32),
    /// A conference.
    Conference(u64),
}

#[derive(Debug)]
pub(super) struct Wheel {
    slots: [Vec<Beat>; SLOTS],
    beats: usize,
    /// The slot that is due next, and when.
    next: usize,
    due: Instant,
}

impl Wheel {
    pub(super) fn new(now: Instant) -> Self {
        Self { slots: Default::default(), beats: 0, next: 0, due: now }
    }

    /// Adds to the slot with the fewest beats.
    pub(super) fn add(&mut self, beat: Beat, now: Instant) {
        if self.beats == 0 {
            // It stood still.
            self.due = now;
        }
        self.beats += 1;
        if let Some(slot) = self.slots.iter_mut().min_by_key(|slot| slot.len()) {
            slot.push(beat);
        }
    }

    pub(super) fn remove(&mut self, beat: Beat) {
        for slot in &mut self.slots {
            if let Some(at) = slot.iter().position(|other| *other == beat) {
                slot.swap_remove(at);
                self.beats -= 1;
            }
        }
    }

    /// When [`Wheel::take_due`] has something.
    pub(super) fn next_due(&self) -> Option<Instant> {
        (self.beats > 0).then_some(self.due)
    }

    /// The beats of the next slot that is due, into `beats`. False when none is.
    pub(super) fn take_due(&mut self, now: Instant, beats: &mut Vec<Beat>) -> bool {
        if self.beats == 0 || self.due > now {
            return false;
        }
        let behind = (now - self.due).as_millis() as u32 / SLOT.as_millis() as u32;
        if behind > BEHIND_MAX {
            self.due += SLOT * (behind - BEHIND_MAX);
        }
        beats.clear();
        beats.extend_from_slice(&self.slots[self.next]);
        self.next = (self.next + 1) % SLOTS;
        self.due += SLOT;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_beat_comes_every_20_ms_and_they_are_spread() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        (0..20).for_each(|port| wheel.add(Beat::Port(port), start));
        let mut beats = Vec::new();
        let mut counts = [0; 20];
        for ms in 0..1_000 {
            let mut now = 0;
            while wheel.take_due(start + Duration::from_millis(ms), &mut beats) {
                for beat in &beats {
                    let Beat::Port(port) = beat else { panic!("{beat:?}") };
                    counts[*port as usize] += 1;
                    now += 1;
                }
            }
            assert!(now <= 2, "{now} at once");
        }
        assert_eq!(counts, [50; 20]);
    }

    #[test]
    fn a_thread_that_was_held_up_does_not_make_up_for_all() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.add(Beat::Port(1), start);
        let mut beats = Vec::new();
        let late = start + Duration::from_secs(10);
        let mut count = 0;
        while wheel.take_due(late, &mut beats) {
            count += beats.len();
        }
        assert!((3..=4).contains(&count), "{count}");
    }

    #[test]
    fn an_empty_wheel_stands_still() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert_eq!(wheel.next_due(), None);
        let later = start + Duration::from_secs(60);
        wheel.add(Beat::Conference(7), later);
        assert_eq!(wheel.next_due(), Some(later));
        wheel.remove(Beat::Conference(7));
        assert!(!wheel.take_due(later, &mut Vec::new()));
    }
}
