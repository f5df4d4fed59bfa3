//! When the standby takes the directory of a holder that is silent.
//!
//! Fed with looks at the directory; answers with what is to be done. Counts only silence that it
//! saw: from when the last heartbeat was seen to when the latest look without a newer one began,
//! as long as looks came in close succession. A standby that was frozen itself, or whose disk hung,
//! begins to count anew. Owns no clock and no file, and does not fence: it says when to.

use super::lease::Lease;
use super::{Moment, Timing};

/// How long after a fencing that failed another one is begun.
const FENCE_AGAIN_MS: u64 = 2_000;

/// What a look at the directory showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The newest generation.
    pub generation: u64,
    /// Whose it is; the name stands in the directory's, so that it is there from the first moment.
    pub holder: String,
    /// The block in it. None if it is torn or missing; a predecessor's if the holder has written
    /// none yet.
    pub lease: Option<Lease>,
}

impl Seen {
    /// Nobody uses it: it is new, or its holder ended in order.
    fn is_free(&self) -> bool {
        let released = |lease: &Lease| lease.released && lease.generation == self.generation;
        self.generation == 0 || self.lease.as_ref().is_some_and(released)
    }
}

/// The same was seen for this long.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Silence {
    seen: Seen,
    /// When it was seen first: after the heartbeat was written.
    since: Moment,
    /// When the latest look ended.
    looked: Moment,
}

/// How far the standby is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It looks; no fencing begins before this.
    Watching { fence_at: Moment },
    /// The fencing command runs against this.
    Fencing { against: Seen },
    /// It succeeded then; one more look, begun later, must show the same.
    Fenced { against: Seen, at: Moment },
}

/// What this machine's own kernel knows of the holder's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Nothing: it is on the other machine.
    Elsewhere,
    /// It was on this one, and has ended.
    Gone,
    /// It is on this one, running or frozen.
    Here,
}

/// What is to be done after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again after a heartbeat.
    Wait,
    /// Run the fencing command against the holder; then [`Standby::handle_fenced`]. Go on looking
    /// meanwhile.
    Fence(Seen),
    /// Take it from what was seen.
    Claim(Seen),
}

/// Whether the holder must be fenced before its directory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// By a command.
    Command,
    /// The operator says that nothing can be left that writes.
    Waived,
}

/// See the file.
#[derive(Clone, Debug)]
pub struct Standby {
    name: String,
    timing: Timing,
    fencing: Fencing,
    silence: Option<Silence>,
    state: State,
}

impl Standby {
    /// A machine of this name that has seen nothing yet.
    #[must_use]
    pub fn new(name: &str, timing: Timing, fencing: Fencing) -> Self {
        let state = State::Watching { fence_at: 0 };
        Self { name: name.to_owned(), timing, fencing, silence: None, state }
    }

    /// A look that began at `asked` and ended at `now` showed this.
    pub fn handle_look(
        &mut self,
        (asked, now): (Moment, Moment),
        seen: Seen,
        process: Process,
    ) -> Step {
        let silent = self.silent_for((asked, now), &seen);
        match (&self.state, process) {
            (State::Fencing { .. }, _) => Step::Wait,
            _ if seen.is_free() => Step::Claim(seen),
            (_, Process::Gone) => Step::Claim(seen),
            // A takeover would be safe only if whoever can end it does.
            (_, Process::Here) => Step::Wait,
            (State::Fenced { against, at }, Process::Elsewhere) if *against == seen => {
                if asked >= *at { Step::Claim(seen) } else { Step::Wait }
            }
            (State::Fenced { .. }, Process::Elsewhere) => {
                self.state = State::Watching { fence_at: now };
                Step::Wait
            }
            (State::Watching { fence_at }, Process::Elsewhere) => {
                if silent < self.timing.takeover_ms {
                    Step::Wait
                } else if self.needs_no_fencing(&seen) {
                    Step::Claim(seen)
                } else if now >= *fence_at {
                    self.state = State::Fencing { against: seen.clone() };
                    Step::Fence(seen)
                } else {
                    Step::Wait
                }
            }
        }
    }

    /// The directory cannot be read: nothing is known of the holder.
    pub fn handle_unreadable(&mut self) {
        self.silence = None;
    }

    /// The fencing command has ended at `now`.
    pub fn handle_fenced(&mut self, now: Moment, succeeded: bool) {
        if let State::Fencing { against } = &self.state {
            self.state = if succeeded {
                State::Fenced { against: against.clone(), at: now }
            } else {
                State::Watching { fence_at: now + FENCE_AGAIN_MS }
            };
        }
    }

    /// For how long the holder has been silent, as far as is known; zero if nothing is.
    #[must_use]
    pub fn silence_ms(&self) -> u64 {
        self.silence.as_ref().map_or(0, |silence| silence.looked - silence.since)
    }

    /// Notes the look; for how long the same has been seen.
    fn silent_for(&mut self, (asked, now): (Moment, Moment), seen: &Seen) -> u64 {
        let gap_max = self.timing.lease_ms;
        match &mut self.silence {
            Some(silence)
                if silence.seen == *seen && asked.saturating_sub(silence.looked) <= gap_max =>
            {
                silence.looked = now;
                asked.saturating_sub(silence.since)
            }
            Some(_) | None => {
                self.silence = Some(Silence { seen: seen.clone(), since: now, looked: now });
                0
            }
        }
    }

    /// A holder of this machine's name is a former boot of it: fencing it would end this one.
    fn needs_no_fencing(&self, seen: &Seen) -> bool {
        match self.fencing {
            Fencing::Command => seen.holder == self.name,
            Fencing::Waived => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { heartbeat_ms: 200, lease_ms: 1_500, takeover_ms: 2_500 };

    /// A standby, looking every 200 ms at what its script says.
    struct Script {
        standby: Standby,
        now: Moment,
        seen: Seen,
        process: Process,
    }

    impl Script {
        fn beta(fencing: Fencing) -> Self {
            let standby = Standby::new("beta", TIMING, fencing);
            let seen = held_by("alpha", 7);
            Self { standby, now: 50_000, seen, process: Process::Elsewhere }
        }

        fn look(&mut self) -> Step {
            self.now += 200;
            let times = (self.now - 5, self.now);
            self.standby.handle_look(times, self.seen.clone(), self.process)
        }

        fn beats(&mut self) -> &mut Self {
            self.seen.lease.as_mut().unwrap().counter += 1;
            self
        }

        /// Looks until something is to be done; when.
        fn waits(&mut self) -> (u64, Step) {
            let began = self.now;
            for _ in 0..100 {
                let step = self.look();
                if step != Step::Wait {
                    return (self.now - began, step);
                }
            }
            panic!("nothing happens");
        }

        fn waits_in_vain(&mut self, looks: usize) {
            for _ in 0..looks {
                assert_eq!(self.look(), Step::Wait);
            }
        }
    }

    fn held_by(name: &str, generation: u64) -> Seen {
        let (boot, pid) = ("of alpha".to_owned(), 77);
        let lease =
            Lease { name: name.to_owned(), generation, counter: 1, pid, boot, released: false };
        Seen { generation, holder: name.to_owned(), lease: Some(lease) }
    }

    #[test]
    fn a_silent_holder_is_fenced_and_then_succeeded() {
        let mut script = Script::beta(Fencing::Command);
        for _ in 0..50 {
            assert_eq!(script.beats().look(), Step::Wait);
        }
        let seen = script.seen.clone();
        // 2500 ms from the first sight of the last heartbeat, in looks of 200 ms.
        assert_eq!(script.waits(), (2_600, Step::Fence(seen.clone())));
        script.waits_in_vain(3);
        script.standby.handle_fenced(script.now + 1, true);
        assert_eq!(script.waits(), (200, Step::Claim(seen)));
    }

    #[test]
    fn without_a_fencing_that_succeeds_nothing_is_taken() {
        let mut script = Script::beta(Fencing::Command);
        for _ in 0..5 {
            assert!(matches!(script.waits().1, Step::Fence(_)));
            script.waits_in_vain(1);
            script.standby.handle_fenced(script.now, false);
            // Not at once again.
            script.waits_in_vain(9);
        }
    }

    #[test]
    fn a_holder_that_beats_while_it_is_fenced_keeps_its_directory() {
        let mut script = Script::beta(Fencing::Command);
        assert!(matches!(script.waits().1, Step::Fence(_)));
        assert_eq!(script.beats().look(), Step::Wait);
        script.standby.handle_fenced(script.now, true);
        for _ in 0..20 {
            assert_eq!(script.beats().look(), Step::Wait);
        }
        assert!(matches!(script.waits().1, Step::Fence(_)));
    }

    #[test]
    fn a_look_that_was_begun_before_the_fencing_ended_proves_nothing() {
        let mut script = Script::beta(Fencing::Command);
        assert!(matches!(script.waits().1, Step::Fence(_)));
        let (asked, fenced) = (script.now + 190, script.now + 195);
        script.standby.handle_fenced(fenced, true);
        let times = (asked, script.now + 200);
        let step = script.standby.handle_look(times, script.seen.clone(), Process::Elsewhere);
        assert_eq!(step, Step::Wait);
        assert_eq!(script.waits(), (200, Step::Claim(script.seen.clone())));
    }

    #[test]
    fn a_standby_that_was_frozen_itself_begins_to_count_anew() {
        let mut script = Script::beta(Fencing::Waived);
        script.waits_in_vain(5);
        script.now += 60_000;
        // It has seen nothing of those 60 s: the holder may have beaten in all of them.
        let (waited, _) = script.waits();
        assert!(waited >= 2_500, "{waited}");
    }

    #[test]
    fn a_look_that_hangs_counts_from_its_beginning() {
        let mut script = Script::beta(Fencing::Waived);
        script.waits_in_vain(2);
        // The disk hangs; what the look shows may have been read at its beginning.
        let asked = script.now + 200;
        script.now += 30_000;
        let times = (asked, script.now);
        let step = script.standby.handle_look(times, script.seen.clone(), Process::Elsewhere);
        assert_eq!(step, Step::Wait);
        script.standby.handle_unreadable();
        assert!(script.waits().0 >= 2_500);
    }

    #[test]
    fn a_block_that_is_torn_for_long_is_silence_too() {
        let mut script = Script::beta(Fencing::Waived);
        script.beats().look();
        script.seen.lease = None;
        let (waited, step) = script.waits();
        assert_eq!((waited, step), (2_800, Step::Claim(script.seen.clone())));
    }

    #[test]
    fn what_is_free_is_taken_at_once() {
        let mut script = Script::beta(Fencing::Command);
        script.waits_in_vain(1);
        script.seen.lease.as_mut().unwrap().released = true;
        assert_eq!(script.look(), Step::Claim(script.seen.clone()));
        // Its successor has claimed it, and died before it wrote a block of its own.
        let mut script = Script::beta(Fencing::Command);
        script.seen.lease.as_mut().unwrap().released = true;
        script.seen.generation += 1;
        assert!(matches!(script.waits(), (2_600.., Step::Fence(_))));
        let mut script = Script::beta(Fencing::Command);
        script.seen = Seen { generation: 0, holder: "nobody".into(), lease: None };
        assert_eq!(script.look(), Step::Claim(script.seen.clone()));
    }

    #[test]
    fn a_machine_fences_neither_itself_nor_waits_for_its_own_dead_process() {
        let mut script = Script::beta(Fencing::Command);
        script.seen = held_by("beta", 7);
        script.process = Process::Here;
        script.waits_in_vain(50);
        script.process = Process::Gone;
        assert_eq!(script.look(), Step::Claim(script.seen.clone()));
        // Started again after a reboot: no process of the former boot is left.
        let mut script = Script::beta(Fencing::Command);
        script.seen = held_by("beta", 7);
        assert!(matches!(script.waits(), (2_600.., Step::Claim(_))));
    }
}
