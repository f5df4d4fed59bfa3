//! What goes wrong, and when.

use tandem_cluster::driver::ChangeError;
use tandem_cluster::{MembershipChange, MemoryLog, ProposalId};

use crate::claims::Broken;
use crate::ends::Temper;
use crate::network::{Ways, Weather};
use crate::node::Ends;
use crate::world::{Event, World};
use crate::{MILLISECOND, SECOND};

/// What the nemesis has in mind.
#[derive(Debug, Default)]
pub(crate) struct Nemesis {
    /// Everything works again, and shall.
    pub(crate) is_over: bool,
}

/// Clocks are at most this wrong.
const SKEW_MS_MAX: u64 = 3_000;

impl Nemesis {
    /// Phones of a script, and of a world that closes: they answer at once.
    pub(crate) fn temper_of_phone(&self, auto_answer: bool) -> Temper {
        let after = if auto_answer { 50 * MILLISECOND } else { SECOND };
        let patience = (!self.is_over).then_some(after);
        Temper { patience, refuses: None, talks: None }
    }
}

impl World {
    pub(crate) fn something_goes_wrong(&mut self) -> Result<(), Broken> {
        let Some(every) = self.plan.fault_every.filter(|_| !self.nemesis.is_over) else {
            return Ok(());
        };
        let after = self.random.about(every) + 10 * MILLISECOND;
        self.plan_in(after, Event::Fault);
        let node = self.victim();
        match self.random.below(30) {
            0 | 1 => self.end(node, Ends::Process),
            2 => self.end(node, Ends::Power),
            3..=6 => self.cut_power_soon(node),
            7 => (1..=self.plan.nodes).for_each(|node| self.end(node, Ends::Power)),
            8..=10 => self.part(node),
            11..=14 => self.network.cut.clear(),
            15 | 16 => self.change_weather(),
            17 => self.network.weather = Weather::FINE,
            18 => self.set_clock(node),
            19 | 20 => return self.hand_over(node),
            21 => self.configured += 1,
            22 | 23 => return self.change_members(),
            24..=27 => {
                let time = 50 * MILLISECOND + self.random.about(2 * SECOND);
                self.freeze(node, time);
            }
            _ => (),
        }
        Ok(())
    }

    /// Any node, the leader, or the one that carries the most calls.
    fn victim(&mut self) -> u64 {
        let any = self.random.between(1, self.plan.nodes + 1);
        match self.random.below(3) {
            0 => any,
            1 => self.leading().unwrap_or(any),
            _ => self.nodes.iter().max_by_key(|node| node.load()).map_or(any, |node| node.id),
        }
    }

    fn end(&mut self, node: u64, ends: Ends) {
        if self.node(node).running.is_some() {
            self.crash(node, ends);
            let after = 50 * MILLISECOND + self.random.about(4 * SECOND);
            self.plan_in(after, Event::Start { node });
        }
    }

    /// In the middle of a turn: between two outputs of the driver.
    fn cut_power_soon(&mut self, node: u64) {
        let outputs = self.random.between(1, 40);
        if self.node(node).running.is_some() {
            self.node(node).crash_in = Some(outputs);
        }
    }

    fn part(&mut self, node: u64) {
        let ways = *self.random.of(&[Ways::Both, Ways::Both, Ways::Sends, Ways::Receives]);
        let others: Vec<u64> = (1..=self.nodes.len() as u64).collect();
        let others = if self.random.percent(70) { &others[..] } else { &others[..1] };
        self.network.isolate(node, others, ways);
        self.trace.note(self.now, "part", [node, others.len() as u64], || {
            format!("node {node} from {others:?}, {ways:?}")
        });
    }

    fn change_weather(&mut self) {
        let delay_max = (1 + self.random.about(60)) * MILLISECOND;
        let (lost, repeated) = (self.random.about(80), self.random.about(60));
        self.network.weather = Weather { lost, repeated, delay_max };
    }

    fn set_clock(&mut self, node: u64) {
        let ahead = self.random.below(2 * SKEW_MS_MAX) as i64 - SKEW_MS_MAX as i64;
        self.node(node).ahead_ms = ahead;
        self.trace.note(self.now, "clock", [node, ahead.unsigned_abs()], || {
            format!("node {node} is {ahead} ms ahead")
        });
    }

    /// The leader of the newest term.
    pub(crate) fn leading(&self) -> Option<u64> {
        let leaders = self.nodes.iter().filter(|node| node.is_leading());
        let term = |id: u64| {
            let running = self.nodes[id as usize - 1].running.as_ref();
            running.map(|running| running.driver.role().term)
        };
        leaders.map(|node| node.id).max_by_key(|id| term(*id))
    }

    fn hand_over(&mut self, to: u64) -> Result<(), Broken> {
        let Some(leader) = self.leading() else { return Ok(()) };
        if let Some(running) = &mut self.node(leader).running {
            running.driver.transfer_leader(to);
        }
        self.perform(leader)
    }

    /// The next step of the spare node's life: it is added, promoted, or removed.
    pub(crate) fn change_members(&mut self) -> Result<(), Broken> {
        let spare = self.plan.nodes + 1;
        let Some(leader) = self.leading() else { return Ok(()) };
        let (now, clock) = (self.now, self.nodes[leader as usize - 1].clock_ms(self.now));
        let starts = self.node(leader).starts;
        let Some(running) = &mut self.node(leader).running else { return Ok(()) };
        let members = running.driver.status().members;
        let change = if members.learners.contains(&spare) {
            MembershipChange::Promote { node: spare }
        } else if members.voters.contains(&spare) {
            MembershipChange::Remove { node: spare }
        } else {
            MembershipChange::AddLearner { node: spare, address: b"there".to_vec() }
        };
        let is_added = matches!(change, MembershipChange::AddLearner { .. });
        let sequence = starts << 32 | running.next_sequence();
        let proposal = ProposalId { node: leader, sequence };
        let said = format!("{change:?}");
        let taken: Result<(), ChangeError> = running.driver.change_members(clock, proposal, change);
        self.trace.note(now, "change", [leader, u64::from(taken.is_ok())], || {
            format!("{said}: {taken:?}")
        });
        if is_added && taken.is_ok() && self.node(spare).is_spare {
            let node = self.node(spare);
            (node.is_spare, node.disk, node.cache) = (false, MemoryLog::new(), None);
            self.plan_in(SECOND, Event::Start { node: spare });
        }
        self.perform(leader)
    }

    /// All faults end.
    pub fn heal(&mut self) {
        self.nemesis.is_over = true;
        self.network.cut.clear();
        self.network.weather = Weather::FINE;
        for id in 1..=self.nodes.len() as u64 {
            self.thaw(id);
            let node = self.node(id);
            node.crash_in = None;
            node.ahead_ms = 0;
            if node.running.is_none() && !node.is_spare {
                self.plan_in(MILLISECOND, Event::Start { node: id });
            }
        }
    }
}
