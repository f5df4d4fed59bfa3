//! What a fault does to the world when its time has come.

use std::collections::BTreeSet;

use tandem_cluster::driver::ChangeError;
use tandem_cluster::{MembershipChange, MemoryLog, ProposalId};

use crate::claims::Broken;
use crate::event::Event;
use crate::network::{Ways, Weather};
use crate::node::{CrashSoon, Pause};
use crate::random::Of;
use crate::schedule::{Ending, Fault, Step, What, Whom};
use crate::world::World;
use crate::{MILLISECOND, Micros, SECOND};

impl World {
    /// The next fault is due: it is noted and happens, and the one after it is planned.
    pub(crate) fn something_goes_wrong(&mut self) -> Result<(), Broken> {
        if self.nemesis.is_over {
            return Ok(());
        }
        let fault = match &mut self.script {
            Some(script) => script.faults.pop_front(),
            None => None,
        };
        let fault = match (fault, self.plan.fault_every) {
            (Some((_, fault)), _) => fault,
            (None, Some(_)) if self.script.is_none() => self.draw_fault(),
            (None, _) => return Ok(()),
        };
        self.plan_next_fault();
        self.played.push(Step { at: self.now, what: What::Fault(fault.clone()) });
        self.trace.note(self.now, "fault", [0, 0], || fault.to_string());
        self.fault_was_played();
        self.play(fault)
    }

    pub(crate) fn plan_next_fault(&mut self) {
        let next = match (&self.script, self.plan.fault_every) {
            (Some(script), _) => script.faults.front().map(|(at, _)| *at),
            (None, Some(every)) => {
                let after = self.dice.of(Of::Faults).about(every) + 10 * MILLISECOND;
                let first = if self.now == 0 { 3 * SECOND } else { 0 };
                Some(self.now + first + after)
            }
            (None, None) => None,
        };
        if let Some(at) = next {
            self.plan_in(at.saturating_sub(self.now), Event::Fault);
        }
    }

    fn play(&mut self, fault: Fault) -> Result<(), Broken> {
        match fault {
            Fault::End { node, how, down } => self.end(self.whom(node), how, down),
            Fault::EndAfter { node, outputs, how, down } => {
                let node = self.whom(node);
                if self.node(node).running.is_some() {
                    self.node(node).crash_soon = Some(CrashSoon { outputs, how, down });
                }
            }
            Fault::EndAll { how, down } => {
                (1..=self.plan.nodes).for_each(|node| self.end(node, how, down * (node + 1) / 2));
            }
            Fault::Part { node, from, ways } => self.part(self.whom(node), from, ways),
            Fault::Join => self.network.cut.clear(),
            Fault::Weather { lost, repeated, delay } => {
                self.network.weather = Weather { lost, repeated, delay_max: delay };
            }
            Fault::Clock { node, ahead_ms } => {
                let node = self.whom(node);
                self.node(node).ahead_ms = ahead_ms;
            }
            Fault::Freeze { node, time } => self.freeze(self.whom(node), time, Pause::Process),
            Fault::Suspend { node, time } => self.freeze(self.whom(node), time, Pause::Machine),
            Fault::SlowDisk { node, write, time } => {
                let (node, until) = (self.whom(node), self.now + time);
                self.node(node).slow = Some((write, until));
                self.model.counts.slow_disks += 1;
            }
            Fault::FullDisk { node, time } => {
                let (node, until) = (self.whom(node), self.now + time);
                self.node(node).full_until = until;
                self.model.counts.full_disks += 1;
                return self.hand_over_if_full(node);
            }
            Fault::BreakDisk { node, late, left, down } => {
                let node = self.whom(node);
                self.node(node).break_disk(late, left, down);
            }
            Fault::HandOver { to } => return self.hand_over(to),
            Fault::Configure => self.configured += 1,
            Fault::Members => return self.change_members(),
        }
        Ok(())
    }

    fn whom(&self, whom: Whom) -> u64 {
        let busiest = || self.nodes.iter().max_by_key(|node| node.load()).map(|node| node.id);
        match whom {
            Whom::Node(node) => node.clamp(1, self.nodes.len() as u64),
            Whom::Leader => self.leading().unwrap_or(1),
            Whom::Busiest => busiest().unwrap_or(1),
        }
    }

    fn end(&mut self, node: u64, how: Ending, down: Micros) {
        if self.node(node).running.is_some() {
            self.crash(node, how);
            self.plan_in(down, Event::Start { node });
        }
    }

    fn part(&mut self, node: u64, from: Option<u64>, ways: Ways) {
        let others = match from {
            Some(one) => vec![one],
            None => (1..=self.nodes.len() as u64).collect(),
        };
        self.network.isolate(node, &others, ways);
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

    /// A leader that can propose nothing lets another lead.
    pub(crate) fn hand_over_if_full(&mut self, id: u64) -> Result<(), Broken> {
        let now = self.now;
        let node = self.node(id);
        let is_full = node.is_disk_full(now);
        let Some(running) = node.running.as_mut().filter(|running| running.writing.is_none())
        else {
            return Ok(());
        };
        if is_full && running.driver.role().leading {
            running.driver.hand_over(&BTreeSet::new());
            return self.perform(id);
        }
        Ok(())
    }

    fn hand_over(&mut self, to: u64) -> Result<(), Broken> {
        let Some(leader) = self.leading() else { return Ok(()) };
        if let Some(running) = &mut self.node(leader).running
            && running.writing.is_none()
        {
            running.driver.transfer_leader(to);
        }
        self.perform(leader)
    }

    /// The next step of the spare node's life: it is added, promoted, or removed.
    pub(crate) fn change_members(&mut self) -> Result<(), Broken> {
        let spare = self.plan.nodes + 1;
        let Some(leader) = self.leading() else { return Ok(()) };
        let now = self.now;
        let clock = self.node(leader).log_ms(now);
        let starts = self.node(leader).starts;
        let Some(running) = &mut self.node(leader).running else { return Ok(()) };
        if running.writing.is_some() {
            return Ok(());
        }
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
        self.fault_was_played();
        self.network.cut.clear();
        self.network.weather = Weather::FINE;
        for id in 1..=self.nodes.len() as u64 {
            self.thaw(id);
            let node = self.node(id);
            node.crash_soon = None;
            node.ahead_ms = 0;
            node.mend_disk();
            if node.running.is_none() && !node.is_spare {
                self.plan_in(MILLISECOND, Event::Start { node: id });
            }
        }
    }
}
