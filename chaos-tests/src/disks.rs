//! The disks of the nodes: writes take time, and the power may be cut meanwhile; some are slow,
//! full, or broken.
//!
//! While the log is written, the node's driver takes nothing in: what comes waits, as in the
//! channel before the program's Raft thread. Beats and the servers of calls go on. A write that is
//! under way when the power is cut is on the disk as a whole, or gone as a whole: its checksum
//! tells a torn one (the real log's own tests tear its files).

use crate::claims::{Broken, broken};
use crate::event::Event;
use crate::mutants::Mutant;
use crate::node::Node;
use crate::random::Of;
use crate::schedule::Ending;
use crate::world::{TICK, World};
use crate::{MILLISECOND, Micros};

/// How long a write and its sync take on a disk that is well: up to so long.
const WRITE_MAX: Micros = MILLISECOND;

/// What waits for a driver while its disk writes, up to so many messages. The rest is lost.
const WAITING_MAX: usize = 512;

/// A disk whose next write will fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokenDisk {
    /// Of what was not synced, so many writes are there afterwards.
    left: u64,
    /// How long until somebody has mended it.
    down: Micros,
}

impl Node {
    pub(crate) fn break_disk(&mut self, late: bool, left: u64, down: Micros) {
        if self.running.is_none() {
            return;
        }
        self.broken = Some(BrokenDisk { left, down });
        match late {
            true => self.disk.fail_next_sync("input/output error"),
            false => self.disk.fail_next("input/output error"),
        }
    }

    pub(crate) fn mend_disk(&mut self) {
        self.disk.mend();
        (self.slow, self.broken, self.full_until) = (None, None, 0);
    }

    pub(crate) fn is_disk_full(&self, now: Micros) -> bool {
        now < self.full_until
    }
}

impl World {
    /// The driver wants to have written: it goes on when that is on the disk.
    pub(crate) fn persist(&mut self, id: u64) -> Result<(), Broken> {
        let lies = self.plan.mutant == Some(Mutant::SendsBeforeSync);
        let usual = 50 + self.dice.of(Of::Disk(id)).below(WRITE_MAX);
        let now = self.now;
        let node = self.node(id);
        let start = node.starts;
        let slow = node.slow.filter(|(_, until)| now < *until);
        let Some(running) = &mut node.running else { return Ok(()) };
        if let Err(error) = running.driver.persist() {
            return self.disk_failed(id, &error.to_string());
        }
        if !lies {
            running.writing = Some(Vec::new());
        }
        let takes = if lies { TICK } else { slow.map_or(usual, |(write, _)| write) };
        self.plan_in(takes, Event::Written { node: id, start });
        Ok(())
    }

    /// It is on the disk.
    pub(crate) fn written(&mut self, id: u64, start: u64) -> Result<(), Broken> {
        if !self.runs(id, start) {
            return Ok(());
        }
        let node = self.node(id);
        node.disk.sync();
        let waited = node.running.as_mut().and_then(|running| running.writing.take());
        self.perform(id)?;
        for event in waited.unwrap_or_default() {
            self.plan_in(0, event);
        }
        Ok(())
    }

    /// The event, unless it has to wait until the node's driver has written.
    pub(crate) fn reaches_driver(&mut self, id: u64, event: Event) -> Option<Event> {
        let waiting = self.node(id).running.as_mut().and_then(|running| running.writing.as_mut());
        let Some(waiting) = waiting else { return Some(event) };
        let is_own = matches!(event, Event::SnapshotSent { .. });
        if is_own || waiting.len() < WAITING_MAX {
            waiting.push(event);
            return None;
        }
        if let Event::Deliver(message) = event {
            self.is_lost_on_the_way(&message);
        }
        None
    }

    /// What a program does whose log cannot be written: it ends. What of the write is on the disk,
    /// nobody knows.
    pub(crate) fn disk_failed(&mut self, id: u64, why: &str) -> Result<(), Broken> {
        let Some(BrokenDisk { left, down }) = self.node(id).broken.take() else {
            return Err(broken("disks_work", why));
        };
        self.model.counts.broken_disks += 1;
        self.crash(id, Ending::Power { left, cache: true });
        self.node(id).refuses = true;
        self.plan_in(down, Event::Start { node: id });
        Ok(())
    }
}
