//! Two machines over one directory, in storms: killed, frozen, paused between a check and a write,
//! with hanging disks, clocks at different rates and fencing that fails or lies.
//!
//! The directory is a model of what [`tandem_cluster::shared::directory`] does on a disk: a claim
//! is a rename, and what a former holder writes lands in files of its own generation.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, its helpers too")]

use tandem_cluster::shared::active::Active;
use tandem_cluster::shared::lease::Lease;
use tandem_cluster::shared::standby::{Fencing, Process, Seen, Standby, Step};
use tandem_cluster::shared::{Moment, Timing};

const TIMING: Timing = Timing { heartbeat_ms: 200, lease_ms: 1_500, takeover_ms: 2_500 };

/// From the end of a lease until the kernel kills a frozen process.
const KERNEL_AFTER_MS: u64 = 150;
const STEP_MS: u64 = 10;
const MINUTE: u64 = 60_000;
/// What may pass without anybody who acts, once nothing stands in the way.
const TAKEN_OVER_WITHIN: u64 = 5_000;

#[test]
fn nobody_acts_beside_another_and_nothing_acknowledged_is_lost() {
    let seeds = std::env::var("TANDEM_SEEDS").ok().and_then(|text| text.parse().ok());
    let mut takeovers = 0;
    for seed in 0..seeds.unwrap_or(300) {
        let mut world = World::new(seed, TIMING);
        world.runs_for(MINUTE);
        world.calms_down();
        takeovers += world.generation;
    }
    assert!(takeovers > 1_000, "the storms were storms: {takeovers}");
}

#[test]
fn a_takeover_that_does_not_wait_for_the_lease_is_found_out() {
    let hasty = Timing { takeover_ms: 900, ..TIMING };
    assert!(!hasty.is_safe());
    let found = (0..100).any(|seed| {
        let storm = move || World::new(seed, hasty).runs_for(MINUTE);
        std::panic::catch_unwind(storm).is_err()
    });
    assert!(found, "the invariants see two machines that act");
}

/// xorshift64*: a seed is a storm.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

enum Part {
    Down { until: u64 },
    Standby { machine: Box<Standby>, asked: Option<Moment>, fence: Option<u64> },
    Active { active: Active, generation: u64, beat: Option<Moment>, checked: bool },
}

struct Machine {
    name: &'static str,
    part: Part,
    /// Per mille of real time, and where its clock began.
    rate: u64,
    offset: u64,
    frozen_until: u64,
    /// A read or write that is under way takes until then.
    disk_until: u64,
    next: u64,
}

impl Machine {
    fn clock(&self, now: u64) -> Moment {
        self.offset + now * self.rate / 1_000
    }
}

struct World {
    dice: Dice,
    timing: Timing,
    now: u64,
    machines: [Machine; 2],
    generation: u64,
    holder: usize,
    block: Option<Lease>,
    /// Writes that were acknowledged, and those that the present generation has.
    acknowledged: u64,
    written: u64,
    idle_since: u64,
    calm: bool,
}

impl World {
    fn new(seed: u64, timing: Timing) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let machine = |name, rate, offset| Machine {
            name,
            part: Part::Down { until: 0 },
            rate,
            offset,
            frozen_until: 0,
            disk_until: 0,
            next: 0,
        };
        let machines = [
            machine("alpha", 970 + dice.roll(60), dice.roll(1 << 40)),
            machine("beta", 970 + dice.roll(60), dice.roll(1 << 40)),
        ];
        Self {
            dice,
            timing,
            now: 0,
            machines,
            generation: 0,
            holder: 0,
            block: None,
            acknowledged: 0,
            written: 0,
            idle_since: 0,
            calm: false,
        }
    }

    fn runs_for(&mut self, time: u64) {
        let until = self.now + time;
        while self.now < until {
            self.now += STEP_MS;
            if !self.calm {
                self.trouble();
            }
            (0..2).for_each(|index| self.turn(index));
            self.check();
        }
    }

    /// Nothing stands in the way any more: soon somebody acts, and goes on.
    fn calms_down(&mut self) {
        (self.calm, self.idle_since) = (true, self.now);
        for machine in &mut self.machines {
            (machine.frozen_until, machine.disk_until) = (0, 0);
            if let Part::Down { until } = &mut machine.part {
                *until = 0;
            }
        }
        self.runs_for(2 * TAKEN_OVER_WITHIN);
        let generation = self.generation;
        self.runs_for(MINUTE);
        assert_eq!(self.generation, generation, "nobody takes over for nothing");
        assert_eq!(self.idle_since, self.now, "somebody acts");
    }

    fn trouble(&mut self) {
        let index = self.dice.roll(2) as usize;
        let long = 100 + self.dice.roll(8_000);
        let (now, kind) = (self.now, self.dice.roll(1_200));
        let machine = &mut self.machines[index];
        match kind {
            0 => machine.part = Part::Down { until: now + long },
            1 | 2 => machine.frozen_until = machine.frozen_until.max(now + long),
            3 => machine.disk_until = machine.disk_until.max(now + long),
            _ => (),
        }
    }

    fn seen(&self) -> Seen {
        let holder = if self.generation == 0 { "nobody" } else { self.machines[self.holder].name };
        Seen { generation: self.generation, holder: holder.into(), lease: self.block.clone() }
    }

    fn turn(&mut self, index: usize) {
        let now = self.now;
        let clock = self.machines[index].clock(now);
        let frozen = self.machines[index].frozen_until > now;
        if let Part::Active { active, .. } = &self.machines[index].part
            && clock >= active.until() + KERNEL_AFTER_MS
        {
            // By its kernel, frozen or not. A kernel that stands still with its machine does not.
            if self.dice.roll(8) > 0 {
                self.machines[index].part = Part::Down { until: now + 500 };
                return;
            }
        }
        if frozen {
            return;
        }
        match &self.machines[index].part {
            Part::Down { until } if *until <= now => {
                let fencing =
                    if self.dice.roll(4) == 0 { Fencing::Waived } else { Fencing::Command };
                let machine =
                    Box::new(Standby::new(self.machines[index].name, self.timing, fencing));
                self.machines[index].part = Part::Standby { machine, asked: None, fence: None };
            }
            Part::Down { .. } => (),
            Part::Standby { .. } => self.stand_by(index, clock),
            Part::Active { .. } => self.act(index, clock),
        }
    }

    fn stand_by(&mut self, index: usize, clock: Moment) {
        let (now, seen, roll) = (self.now, self.seen(), self.dice.roll(3));
        let (calm, disk, next) =
            (self.calm, self.machines[index].disk_until, self.machines[index].next);
        // Its own kernel knows its own former process, which is dead if this one runs.
        let is_own = seen.generation > 0 && seen.holder == self.machines[index].name;
        let process = if is_own { Process::Gone } else { Process::Elsewhere };
        let Part::Standby { machine, asked, fence } = &mut self.machines[index].part else {
            return;
        };
        if fence.is_some_and(|at| at <= now) {
            *fence = None;
            // It fails, or succeeds and ends the other one, or says so and does nothing.
            machine.handle_fenced(clock, calm || roll > 0);
            if calm || roll == 1 {
                self.machines[1 - index].part = Part::Down { until: now + 700 };
            }
            return;
        }
        if asked.is_none() && next <= now {
            *asked = Some(clock);
        }
        let Some(began) = *asked else { return };
        if disk > now {
            return;
        }
        *asked = None;
        let step = machine.handle_look((began, clock), seen.clone(), process);
        match step {
            Step::Wait => (),
            Step::Fence(_) => *fence = Some(now + 300),
            Step::Claim(of) => self.claim(index, clock, &of),
        }
        self.machines[index].next = now + self.timing.heartbeat_ms;
    }

    /// A rename, which one machine can do; then every file is new.
    fn claim(&mut self, index: usize, clock: Moment, seen: &Seen) {
        if seen.generation != self.generation {
            return;
        }
        self.generation += 1;
        self.holder = index;
        assert!(self.written >= self.acknowledged, "acknowledged, and not where it is read");
        self.block = Some(self.block_of(index, 0));
        let (active, generation) = (Active::new(self.timing, clock), self.generation);
        self.machines[index].part = Part::Active { active, generation, beat: None, checked: false };
    }

    fn block_of(&self, index: usize, counter: u64) -> Lease {
        let name = self.machines[index].name.to_owned();
        let (generation, boot) = (self.generation, name.clone());
        Lease { name, generation, counter, pid: 1, boot, released: false }
    }

    fn act(&mut self, index: usize, clock: Moment) {
        let (now, newest, every) = (self.now, self.generation, self.timing.heartbeat_ms);
        let Machine { part, disk_until, next, .. } = &mut self.machines[index];
        let Part::Active { active, generation, beat, checked } = part else { return };
        let is_read = *generation == newest;
        // What was checked before a freeze is written after it: into its own generation's file.
        if std::mem::take(checked) {
            self.written += u64::from(is_read);
            if active.holds(clock) {
                self.acknowledged += 1;
                assert!(is_read, "acknowledged what nobody reads");
            }
        }
        if !active.holds(clock) {
            *part = Part::Down { until: now + 500 };
            return;
        }
        *checked = true;
        if beat.is_none() && *next <= now {
            *beat = Some(clock);
        }
        if *disk_until <= now
            && let Some(began) = beat.take()
        {
            *next = now + every;
            if !is_read {
                active.handle_lost();
                return;
            }
            active.handle_written(began, clock);
            let counter = self.block.as_ref().unwrap().counter + 1;
            self.block = Some(self.block_of(index, counter));
        }
    }

    fn check(&mut self) {
        let now = self.now;
        let acts = |machine: &mut Machine| {
            let clock = machine.clock(now);
            match &mut machine.part {
                Part::Active { active, .. } => active.holds(clock) && machine.frozen_until <= now,
                Part::Down { .. } | Part::Standby { .. } => false,
            }
        };
        let acting = self.machines.iter_mut().map(acts).filter(|acts| *acts).count();
        assert!(acting <= 1, "two machines act at {now}");
        if acting == 1 {
            self.idle_since = now;
        }
        if self.calm {
            let idle = now - self.idle_since;
            // A fencing that had just failed is not tried again at once.
            assert!(idle <= TAKEN_OVER_WITHIN + 2_000, "nobody acts for {idle} ms");
        }
    }
}
