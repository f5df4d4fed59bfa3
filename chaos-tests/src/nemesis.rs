//! What goes wrong, and how often: faults are drawn here, and become steps of the schedule.

use crate::ends::Temper;
use crate::network::{Ways, Weather};
use crate::random::{Of, Random};
use crate::schedule::{Ending, Fault, Whom};
use crate::world::World;
use crate::{MILLISECOND, Micros, SECOND};

/// What the nemesis has in mind.
#[derive(Debug, Default)]
pub(crate) struct Nemesis {
    /// Everything works again, and shall.
    pub(crate) is_over: bool,
}

/// Clocks are at most this wrong, mostly; some are set by somebody.
const SKEW_MS_MAX: u64 = 3_000;
const JUMP_MS_MAX: u64 = 3_600_000;

impl Nemesis {
    /// Phones of a script, and of a world that closes: they answer at once.
    pub(crate) fn temper_of_phone(&self, auto_answer: bool) -> Temper {
        let after = if auto_answer { 50 * MILLISECOND } else { SECOND };
        let patience = (!self.is_over).then_some(after);
        Temper { patience, refuses: None, talks: None }
    }
}

impl World {
    /// The next fault of a storm.
    pub(crate) fn draw_fault(&mut self) -> Fault {
        let nodes = self.plan.nodes;
        let random = self.dice.of(Of::Faults);
        let node = victim(random, nodes);
        let down = 50 * MILLISECOND + random.about(4 * SECOND);
        match random.below(38) {
            0 | 1 => Fault::End { node, how: Ending::Process, down },
            2 => Fault::End { node, how: power(random), down },
            3..=6 => {
                let (outputs, how) = (random.between(1, 40), ending(random));
                let down = 50 * MILLISECOND + random.about(2 * SECOND);
                Fault::EndAfter { node, outputs, how, down }
            }
            7 => Fault::EndAll { how: power(random), down },
            8..=10 => part(random, node, nodes),
            11..=14 => Fault::Join,
            15 | 16 => Fault::Weather {
                lost: random.about(80),
                repeated: random.about(60),
                delay: (1 + random.about(60)) * MILLISECOND,
            },
            17 | 18 => {
                let Weather { lost, repeated, delay_max: delay } = Weather::FINE;
                Fault::Weather { lost, repeated, delay }
            }
            19 | 20 => {
                let most = *random.of(&[SKEW_MS_MAX, SKEW_MS_MAX, JUMP_MS_MAX]);
                let ahead_ms = random.below(2 * most) as i64 - most as i64;
                Fault::Clock { node, ahead_ms }
            }
            21 | 22 => Fault::HandOver { to: random.between(1, nodes + 1) },
            23 => Fault::Configure,
            24 | 25 => Fault::Members,
            26..=29 => Fault::Freeze { node, time: pause(random) },
            30 | 31 => Fault::Suspend { node, time: pause(random) },
            32 | 33 => {
                let write = (1 + random.about(150)) * MILLISECOND;
                Fault::SlowDisk { node, write, time: pause(random) + SECOND }
            }
            34 | 35 => Fault::FullDisk { node, time: pause(random) },
            _ => {
                let (late, left) = (random.percent(50), random.below(3));
                Fault::BreakDisk { node, late, left, down }
            }
        }
    }
}

/// Any node, the leader, or the one that carries the most calls.
fn victim(random: &mut Random, nodes: u64) -> Whom {
    let any = random.between(1, nodes + 1);
    *random.of(&[Whom::Node(any), Whom::Leader, Whom::Busiest])
}

fn power(random: &mut Random) -> Ending {
    Ending::Power { left: random.below(4), cache: random.percent(60) }
}

fn ending(random: &mut Random) -> Ending {
    if random.percent(25) { Ending::Process } else { power(random) }
}

fn part(random: &mut Random, node: Whom, nodes: u64) -> Fault {
    let ways = *random.of(&[Ways::Both, Ways::Both, Ways::Sends, Ways::Receives]);
    let one = random.between(1, nodes + 1);
    Fault::Part { node, from: random.percent(30).then_some(one), ways }
}

fn pause(random: &mut Random) -> Micros {
    50 * MILLISECOND + random.about(2 * SECOND)
}
