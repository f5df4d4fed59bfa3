//! A simulated disk: a log in memory that loses what was not synced when its power is cut.
//!
//! A clone is the same disk: the simulation keeps one while the driver is dropped by a crash, and
//! starts the next driver from it.

use super::{Log, LogError, Membership, Write};
use crate::entry::Index;
use crate::snapshot::SnapshotData;
use raft::eraftpb::{Entry, HardState, Snapshot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    /// What reads see.
    now: Content,
    /// What a power cut leaves.
    durable: Content,
    /// Writes since the last sync, in order: a power cut may leave the first few of them.
    since: Vec<Write>,
    /// The next write fails with this.
    failure: Option<String>,
    /// That write fails only when it is synced: it may have reached the disk.
    fails_late: bool,
    /// Syncs are claimed, not done: see [`MemoryLog::lie`].
    lying: bool,
    syncs: u64,
}

/// What is on the disk.
#[derive(Clone, Debug, Default)]
struct Content {
    hard_state: HardState,
    membership: Membership,
    snapshot: Option<Snapshot>,
    /// The last compacted entry: its index and term.
    before: (Index, u64),
    entries: Vec<Entry>,
}

impl MemoryLog {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: what was not synced is gone, except for the first `survivors` writes
    /// since the last sync, which the disk happened to write of its own accord. Of the write
    /// after those, the checksum does not match, so it is gone as a whole.
    pub fn cut_power(&self, survivors: usize) {
        let mut disk = self.lock();
        let since = std::mem::take(&mut disk.since);
        for write in since.into_iter().take(survivors) {
            disk.durable.append(write);
        }
        disk.now = disk.durable.clone();
    }

    /// Writes that a power cut would lose.
    pub fn unsynced(&self) -> usize {
        self.lock().since.len()
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Lets the next write fail.
    pub fn fail_next(&self, why: &str) {
        let mut disk = self.lock();
        (disk.failure, disk.fails_late) = (Some(why.to_owned()), false);
    }

    /// Lets the sync of the next write fail: nobody knows whether it is on the disk.
    pub fn fail_next_sync(&self, why: &str) {
        let mut disk = self.lock();
        (disk.failure, disk.fails_late) = (Some(why.to_owned()), true);
    }

    /// The next write succeeds after all.
    pub fn mend(&self) {
        self.lock().failure = None;
    }

    /// Makes a broken disk of it, or of the program above it one that acknowledges before it
    /// syncs: a synced append returns without being durable, until [`MemoryLog::sync`]. A test
    /// that does not notice is no test.
    pub fn lie(&self, lying: bool) {
        self.lock().lying = lying;
    }

    /// Makes everything written durable.
    pub fn sync(&self) {
        self.lock().sync();
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn check(&mut self) -> Result<(), LogError> {
        self.failure.take().map_or(Ok(()), |why| Err(LogError::Disk(why)))
    }

    fn sync(&mut self) {
        for write in std::mem::take(&mut self.since) {
            self.durable.append(write);
        }
        self.syncs += 1;
    }

    /// Does this now and durably.
    fn change(&mut self, change: impl Fn(&mut Content)) {
        self.sync();
        change(&mut self.now);
        change(&mut self.durable);
    }
}

impl Content {
    fn append(&mut self, write: Write) {
        if let Some(first) = write.entries.first() {
            let keep = first.index.saturating_sub(self.before.0 + 1) as usize;
            self.entries.truncate(keep);
            self.entries.extend(write.entries);
        }
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(membership) = write.membership {
            self.membership = membership;
        }
    }

    fn position(&self, index: Index) -> Option<usize> {
        usize::try_from(index.checked_sub(self.before.0 + 1)?).ok()
    }
}

impl Log for MemoryLog {
    fn hard_state(&self) -> HardState {
        self.lock().now.hard_state.clone()
    }

    fn membership(&self) -> Membership {
        self.lock().now.membership.clone()
    }

    fn first_index(&self) -> Index {
        self.lock().now.before.0 + 1
    }

    fn last_index(&self) -> Index {
        let disk = self.lock();
        disk.now.before.0 + disk.now.entries.len() as u64
    }

    fn term(&self, index: Index) -> Result<Option<u64>, LogError> {
        let disk = self.lock();
        if index == disk.now.before.0 {
            return Ok(Some(disk.now.before.1));
        }
        let position = disk.now.position(index);
        Ok(position.and_then(|position| disk.now.entries.get(position)).map(|entry| entry.term))
    }

    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<Entry>, LogError> {
        let disk = self.lock();
        let position = disk.now.position(low).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let entries = disk.now.entries.iter().skip(position).take((high - low) as usize);
        let fits = entries.take_while(|entry| {
            let fits = bytes <= bytes_max;
            bytes += super::entry_bytes(entry);
            fits && (bytes <= bytes_max || entry.index == low)
        });
        Ok(fits.cloned().collect())
    }

    fn snapshot(&self) -> Option<Snapshot> {
        self.lock().now.snapshot.clone()
    }

    fn append(&mut self, write: Write, sync: bool) -> Result<(), LogError> {
        let mut disk = self.lock();
        if !disk.fails_late {
            disk.check()?;
        }
        disk.now.append(write.clone());
        disk.since.push(write);
        disk.check()?;
        if sync && !disk.lying {
            disk.sync();
        }
        Ok(())
    }

    fn install(&mut self, snapshot: &Snapshot, write: &Write) -> Result<(), LogError> {
        let mut disk = self.lock();
        disk.check()?;
        let metadata = snapshot.get_metadata();
        let addresses = SnapshotData::decode(&snapshot.data)?.addresses;
        let conf_state = metadata.get_conf_state().clone();
        let membership = Membership { index: metadata.index, conf_state, addresses };
        disk.change(|content| {
            content.membership = membership.clone();
            content.before = (metadata.index, metadata.term);
            content.entries.clear();
            content.snapshot = Some(snapshot.clone());
            content.append(write.clone());
        });
        Ok(())
    }

    fn keep_snapshot(&mut self, snapshot: Snapshot) -> Result<(), LogError> {
        let mut disk = self.lock();
        disk.check()?;
        disk.change(|content| content.snapshot = Some(snapshot.clone()));
        Ok(())
    }

    fn compact(&mut self, through: Index) -> Result<(), LogError> {
        let mut disk = self.lock();
        disk.check()?;
        disk.change(|content| {
            let position = content.position(through);
            let entry = position.and_then(|position| content.entries.get(position));
            if let (Some(position), Some(term)) = (position, entry.map(|entry| entry.term)) {
                content.entries.drain(..=position);
                content.before = (through, term);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(indices: std::ops::RangeInclusive<u64>, term: u64) -> Write {
        let entries = indices.map(|index| Entry { index, term, ..Entry::default() }).collect();
        Write { entries, ..Write::default() }
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced() {
        let mut log = MemoryLog::new();
        log.append(entries(1..=2, 1), true).unwrap();
        log.append(entries(3..=3, 1), false).unwrap();
        log.append(entries(4..=4, 1), false).unwrap();
        assert_eq!((log.last_index(), log.unsynced()), (4, 2));
        log.cut_power(1);
        assert_eq!((log.last_index(), log.unsynced()), (3, 0));
        log.append(entries(4..=4, 1), false).unwrap();
        log.cut_power(0);
        assert_eq!(log.last_index(), 3);
    }

    #[test]
    fn entries_of_a_new_term_replace_those_of_the_old() {
        let mut log = MemoryLog::new();
        log.append(entries(1..=5, 1), true).unwrap();
        log.append(entries(3..=3, 2), true).unwrap();
        assert_eq!((log.last_index(), log.term(3).unwrap()), (3, Some(2)));
    }

    #[test]
    fn compacting_keeps_the_term_before_the_first_entry() {
        let mut log = MemoryLog::new();
        log.append(entries(1..=5, 7), true).unwrap();
        log.compact(3).unwrap();
        assert_eq!((log.first_index(), log.last_index()), (4, 5));
        assert_eq!((log.term(3).unwrap(), log.term(2).unwrap()), (Some(7), None));
    }
}
