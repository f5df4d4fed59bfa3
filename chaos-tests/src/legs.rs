//! One leg, the far end's user agent, and machines that take the leg over from each other, over a
//! network that loses, doubles, delays and reorders.
//!
//! A world of its own beside [`crate::World`], since there a leg is what it reports: here the leg
//! machines of `tandem_sip` themselves are restored from what was committed of them. Machines die
//! at any moment, also between a commit and what was to be sent after it, and what they sent
//! without a commit is known to nobody but the far end. Everything follows from a [`LegPlan`],
//! which is drawn from a seed and made smaller where a claim does not hold.
//!
//! Claims, after each message and at the end: CSeq, RSeq and the version of a description never
//! go back (`claims::dialogs`); a call of which nobody hung up is not ended; and nothing is left
//! of one that was.

mod owner;
mod phone;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::random::Random;
use crate::{Broken, MILLISECOND, Micros, SECOND};

/// The address of the first machine, and of those where it does not float.
const HOMES: [SocketAddr; 4] = [home(1), home(2), home(3), home(4)];

const fn home(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)), 5060)
}

/// Takeovers of one call; each has its own address where addresses do not float.
const TAKEOVERS_MAX: u64 = HOMES.len() as u64 - 1;

/// When we hang up if nobody did, and when nothing may be left: 64·T1 for the BYE, as much for
/// what its answer leaves behind, and some takeovers.
const HANG_UP: Micros = 70 * SECOND;
const END: Micros = 240 * SECOND;

/// Faults that are built in on purpose, in how a leg is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegMutant {
    /// The adopter's requests go on from the committed CSeq.
    KeepsTheCseq,
    /// The adopter's descriptions go on from the committed version.
    KeepsTheVersion,
}

impl LegMutant {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::KeepsTheCseq, Self::KeepsTheVersion];
}

/// What happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegStep {
    /// Incoming: 183 with a description.
    Ring,
    /// Whoever was called answers.
    Answer,
    /// We offer anew.
    Reoffer,
    /// The far end offers anew.
    TheyReoffer,
    /// The machine dies, and another goes on after so long. What waited for its commit is
    /// committed all the same, or is not.
    Takeover {
        /// How long nobody serves the leg.
        after: Micros,
        /// Whether proposals under way are committed.
        commits: bool,
    },
    /// The far end hangs up.
    TheyHangUp,
    /// We hang up.
    HangUp,
}

/// A world of one leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegPlan {
    /// What else is drawn: delays, losses.
    pub seed: u64,
    /// The far end calls.
    pub incoming: bool,
    /// The far end supports reliable provisional responses.
    pub reliable: bool,
    /// The adopter has an address of its own.
    pub moves: bool,
    /// Of a thousand messages.
    pub lost: u64,
    /// When what happens, in order.
    pub steps: Vec<(Micros, LegStep)>,
    /// What is built wrong.
    pub mutant: Option<LegMutant>,
}

impl LegPlan {
    /// The plan that a seed gives.
    pub fn seeded(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x6c65_6773);
        let (incoming, moves) = (random.percent(50), random.percent(30));
        let mut steps = vec![];
        let answer = random.between(SECOND, 8 * SECOND);
        steps.push((random.between(SECOND / 2, answer), LegStep::Ring));
        steps.push((answer, LegStep::Answer));
        for _ in 0..random.below(4) {
            // The node offers by itself only where its address changed. And there a far end whose
            // own exchange went to a machine that is gone refuses every other for half a minute:
            // a call lost as it must be.
            let step = if moves { LegStep::Reoffer } else { LegStep::TheyReoffer };
            steps.push((answer + random.below(30 * SECOND), step));
        }
        for _ in 0..=random.below(TAKEOVERS_MAX) {
            let step = LegStep::Takeover {
                after: random.between(200 * MILLISECOND, 1_500 * MILLISECOND),
                commits: random.percent(50),
            };
            // Most soon after something else: what is said and not committed is the hard part.
            let near = random.of(&steps).0 + random.below(400 * MILLISECOND);
            let at = if random.percent(70) { near } else { random.below(60 * SECOND) };
            steps.push((at, step));
        }
        if random.percent(40) {
            steps.push((random.between(answer, 60 * SECOND), LegStep::TheyHangUp));
        }
        steps.push((HANG_UP, LegStep::HangUp));
        steps.sort_by_key(|(at, _)| *at);
        let (reliable, lost) = (random.percent(50), random.below(150));
        Self { seed, incoming, reliable, moves, lost, steps, mutant: None }
    }

    /// What became of it, with everything that happened, or the claim that does not hold.
    pub fn run(&self) -> Result<LegCounts, Broken> {
        world::World::new(self, false).run()
    }

    /// Everything that happens, line by line.
    pub fn lines(&self) -> Vec<String> {
        let mut world = world::World::new(self, true);
        if let Err(broken) = world.run() {
            world.lines.push(broken.to_string());
        }
        world.lines
    }

    /// The plan with as few steps and losses as still break the same claim.
    pub fn shrunk(&self, claim: &str) -> Self {
        let fails = |plan: &Self| plan.run().is_err_and(|broken| broken.claim == claim);
        let mut best = self.clone();
        let lossless = Self { lost: 0, ..best.clone() };
        if fails(&lossless) {
            best = lossless;
        }
        loop {
            // Each call ends: what is left when nobody hangs up says nothing.
            let may_go = (0..best.steps.len()).filter(|at| best.steps[*at].1 != LegStep::HangUp);
            let mut smaller = may_go.map(|at| {
                let mut smaller = best.clone();
                smaller.steps.remove(at);
                smaller
            });
            match smaller.find(fails) {
                Some(smaller) => best = smaller,
                None => return best,
            }
        }
    }
}

/// What happened in a world of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegCounts {
    /// Machines that took the leg over.
    pub takeovers: u64,
    /// Messages that left our machines.
    pub sent: u64,
    /// The far end was in the call.
    pub answered: bool,
    /// A fingerprint of all that happened.
    pub trace: u64,
}
