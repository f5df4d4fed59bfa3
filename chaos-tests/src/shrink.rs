//! Makes a schedule that breaks a claim smaller, for as long as it still breaks the same claim.
//!
//! Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input",
//! IEEE TSE 2002) over the steps, then the desks, the losses and the length. A smaller schedule is
//! a storm of its own; nobody's chance depends on what others do, so most of it stays as it was.

use crate::replay::{Failure, run};
use crate::schedule::{Fault, What};
use crate::{MILLISECOND, Micros, Plan, Schedule, World};

/// What is left of a schedule.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest one that was found.
    pub schedule: Schedule,
    /// How it fails.
    pub failure: Failure,
    /// How many storms that took.
    pub runs: usize,
}

/// Runs a storm, and makes its schedule smaller if a claim does not hold in it.
///
/// At most `runs_max` storms: what is smallest by then is the result.
pub fn storm(plan: &Plan, time: Micros, runs_max: usize) -> Option<Shrunk> {
    let mut world = World::new(plan.clone());
    let failure = crate::replay::run_world(&mut world, time).err()?;
    let schedule = Schedule { breaks: Some(failure.claim.clone()), ..world.schedule(time) };
    Some(shrink(schedule, failure, runs_max))
}

/// Makes a schedule smaller that fails so.
pub fn shrink(schedule: Schedule, failure: Failure, runs_max: usize) -> Shrunk {
    let mut best = Shrinking { best: schedule, failure, runs: 0, runs_max };
    best.truncate();
    loop {
        let before = best.size();
        best.without_steps();
        best.without_desks();
        best.without_losses();
        best.simpler();
        best.shorter();
        if best.size() >= before || best.runs >= runs_max {
            break;
        }
    }
    let Shrinking { best, failure, runs, .. } = best;
    Shrunk { schedule: best, failure, runs }
}

/// Chances that a smaller schedule is given.
const SEEDS: u64 = 4;

struct Shrinking {
    best: Schedule,
    failure: Failure,
    runs: usize,
    runs_max: usize,
}

impl Shrinking {
    fn size(&self) -> (usize, usize, u64, Micros) {
        let Schedule { steps, desks, lost, time, .. } = &self.best;
        (steps.len(), desks.len(), *lost, *time / MILLISECOND)
    }

    /// Whether this one fails for the same reason, too; then it is the best so far.
    fn try_out(&mut self, schedule: Schedule) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let time = schedule.time;
        match run(&Plan::of(&schedule), time) {
            Err(failure) if failure.claim == self.failure.claim => {
                (self.best, self.failure) = (schedule, failure);
                self.truncate();
                true
            }
            Err(_) | Ok(_) => false,
        }
    }

    /// What depends on the moment may still fail, with other chances in all that is not written
    /// down. Worth a few storms where much would be left out.
    fn try_seeds(&mut self, schedule: Schedule, left_out: usize) -> bool {
        let seeds = if left_out > 2 { SEEDS } else { 1 };
        let first = schedule.seed;
        (0..seeds).any(|more| self.try_out(Schedule { seed: first + more, ..schedule.clone() }))
    }

    /// What comes after the failure is not needed for it.
    fn truncate(&mut self) {
        let at = self.failure.at;
        self.best.steps.retain(|step| step.at <= at);
        self.best.time = self.best.time.min(at);
    }

    /// Larger and smaller pieces are left out, the last ones first: causes are late.
    fn without_steps(&mut self) {
        let mut piece = self.best.steps.len().div_ceil(2);
        while piece > 0 {
            let mut end = self.best.steps.len();
            while end > 0 {
                let begin = end.saturating_sub(piece);
                let mut smaller = self.best.clone();
                smaller.steps.drain(begin..end.min(smaller.steps.len()));
                self.try_seeds(smaller, piece);
                end = begin.min(self.best.steps.len());
            }
            piece /= 2;
        }
    }

    fn without_desks(&mut self) {
        let nobody = Schedule { desks: Default::default(), ..self.best.clone() };
        if self.best.desks.is_empty() || self.try_out(nobody) {
            return;
        }
        for desk in self.best.desks.clone() {
            let mut smaller = self.best.clone();
            smaller.desks.remove(&desk);
            self.try_out(smaller);
        }
    }

    fn without_losses(&mut self) {
        if self.best.lost > 0 {
            self.try_out(Schedule { lost: 0, ..self.best.clone() });
        }
    }

    /// Faults that end in the middle of something become such that end at once, and the like.
    fn simpler(&mut self) {
        for at in 0..self.best.steps.len() {
            let Some(step) = self.best.steps.get(at) else { break };
            let What::Fault(Fault::EndAfter { node, how, down, .. }) = step.what else { continue };
            let mut simpler = self.best.clone();
            simpler.steps[at].what = What::Fault(Fault::End { node, how, down });
            self.try_out(simpler);
        }
    }

    /// Whatever comes after a pause comes sooner.
    fn shorter(&mut self) {
        for at in 0..=self.best.steps.len() {
            let begins = |schedule: &Schedule, at: usize| match schedule.steps.get(at) {
                Some(step) => step.at,
                None => schedule.time,
            };
            if at > self.best.steps.len() {
                break;
            }
            let before = at.checked_sub(1).map_or(0, |at| begins(&self.best, at));
            let pause = begins(&self.best, at).saturating_sub(before);
            let mut less = pause / 2;
            while less > 100 * MILLISECOND && self.runs < self.runs_max {
                let mut sooner = self.best.clone();
                sooner.steps.iter_mut().skip(at).for_each(|step| step.at -= less);
                sooner.time = sooner.time.saturating_sub(less);
                if self.try_out(sooner) {
                    break;
                }
                less /= 4;
            }
        }
    }
}
