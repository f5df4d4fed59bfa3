//! The durable log: raft-engine, with the newest entries in memory.
//!
//! Owns one directory. A synced append is one write and one fdatasync, whatever it holds. Does
//! not own the snapshots' states: those are files beside it, and this log only notes which one
//! is the newest (`docs/cluster.md`).

mod careful;
mod encoding;
#[cfg(test)]
mod faults;

use super::{Log, LogError, Membership, Write, entry_bytes};
use crate::entry::Index;
use crate::snapshot::SnapshotData;
use bytes::{Bytes, BytesMut};
use careful::{Careful, Failure};
use encoding::{
    broken, corrupt, decode_before, decode_membership, encode_before, encode_membership, put,
    without_state,
};
use protobuf::Message as _;
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft_engine::env::{DefaultFileSystem, FileSystem};
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The one Raft group.
const GROUP: u64 = 1;

const HARD_STATE: &[u8] = b"hard state";
const MEMBERSHIP: &[u8] = b"membership";
const SNAPSHOT: &[u8] = b"snapshot";
const BEFORE: &[u8] = b"before";

/// Bytes of the newest entries that are kept in memory, so that followers and apply are served
/// without reading the disk. Past it the oldest are dropped, and read from the disk if needed.
const RECENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The bytes of recent entries lie together in pieces of this size. Each on its own, among what the
/// node allocates for a moment, they would hold a page of memory for every few of them.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes of entries that are read at once when the log is opened.
const READ_BYTES: usize = 1024 * 1024;

/// Size of one log file. Smaller files are reused sooner, larger ones are opened less often.
const FILE_BYTES: ReadableSize = ReadableSize::mb(64);

/// Bytes of log files past which old ones are purged.
const PURGE_BYTES: ReadableSize = ReadableSize::mb(256);

/// A log in raft-engine.
pub struct EngineLog<F: FileSystem = DefaultFileSystem> {
    engine: Arc<Guarded<F>>,
    hard_state: HardState,
    membership: Membership,
    snapshot: Option<Snapshot>,
    /// The last compacted entry: its index and term.
    before: (Index, u64),
    last: Index,
    /// The newest entries, without gaps up to `last`.
    recent: VecDeque<Entry>,
    recent_bytes: u64,
    /// Where the bytes of the next entries go.
    piece: BytesMut,
}

/// Removes files that the log needs no more; may run beside the log, on another thread.
pub struct Purger<F: FileSystem = DefaultFileSystem>(Arc<Guarded<F>>);

/// raft-engine, until something that it wrote or synced fails: what the disk holds is unknown then,
/// and nothing may be written to it any more.
struct Guarded<F: FileSystem> {
    engine: Engine<Careful<F>>,
    failure: Failure,
}

/// What became of a log that was opened.
#[derive(Debug, Default)]
pub struct Opened {
    /// The end of the last file was cut, as after a power cut; it was copied there before it was
    /// truncated. What was acknowledged is not in such an end, unless the disk lied: compare
    /// with what is known to be applied.
    pub torn: Option<PathBuf>,
}

struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

impl EngineLog {
    /// Opens the log in `directory`, or begins one. Damage is an error, except for a torn end,
    /// which is what a power cut leaves of a write that nobody acknowledged.
    pub fn open(directory: &Path) -> Result<(Self, Opened), LogError> {
        Self::open_in(directory, Arc::new(DefaultFileSystem), FILE_BYTES)
    }
}

impl<F: FileSystem> EngineLog<F> {
    fn open_in(
        directory: &Path,
        system: Arc<F>,
        file_bytes: ReadableSize,
    ) -> Result<(Self, Opened), LogError> {
        let mut opened = Opened::default();
        let failure = Failure::default();
        let system = Arc::new(Careful::new(system, failure.clone()));
        let open = |mode| open_engine(directory, Arc::clone(&system), file_bytes, mode);
        let engine = match open(RecoveryMode::AbsoluteConsistency) {
            Ok(engine) => engine,
            Err(raft_engine::Error::Corruption(_) | raft_engine::Error::Codec(_)) => {
                opened.torn = Some(copy_aside(directory)?);
                open(RecoveryMode::TolerateTailCorruption).map_err(broken)?
            }
            Err(error) => return Err(broken(error)),
        };
        if let Some(why) = failure.get() {
            return Err(LogError::Disk(why));
        }
        let read = |key: &[u8]| engine.get(GROUP, key);
        let before = read(BEFORE).map_or(Ok((0, 0)), |bytes| decode_before(&bytes))?;
        let hard_state = match read(HARD_STATE) {
            Some(bytes) => HardState::parse_from_bytes(&bytes).map_err(corrupt)?,
            None => HardState::default(),
        };
        let snapshot = match read(SNAPSHOT) {
            Some(bytes) => Some(Snapshot::parse_from_bytes(&bytes).map_err(corrupt)?),
            None => None,
        };
        let membership = match read(MEMBERSHIP) {
            Some(bytes) => decode_membership(&bytes)?,
            None => Membership::default(),
        };
        let last = engine.last_index(GROUP).unwrap_or(before.0);
        let first = engine.first_index(GROUP);
        if first.is_some_and(|first| first > before.0 + 1) {
            return Err(LogError::Corrupt(format!(
                "entries {} to {} are missing",
                before.0 + 1,
                first.unwrap_or_default() - 1
            )));
        }
        let mut log = Self {
            engine: Arc::new(Guarded { engine, failure }),
            hard_state,
            membership,
            snapshot,
            before,
            last: last.max(before.0),
            recent: VecDeque::new(),
            recent_bytes: 0,
            piece: BytesMut::new(),
        };
        log.read_all()?;
        Ok((log, opened))
    }

    /// Reads every entry, since raft-engine compares an entry with its checksum only when it is
    /// read: damage must be found now, not when a follower asks.
    fn read_all(&mut self) -> Result<(), LogError> {
        let (mut next, last) = (self.first_index(), self.last);
        while next <= last {
            let mut entries = Vec::new();
            self.engine
                .engine
                .fetch_entries_to::<Entries>(GROUP, next, last + 1, Some(READ_BYTES), &mut entries)
                .map_err(broken)?;
            if entries.first().is_none_or(|first| first.index != next) {
                return Err(LogError::Corrupt(format!("entry {next} is missing")));
            }
            next += entries.len() as u64;
            self.remember(&entries);
        }
        Ok(())
    }

    /// Whether nothing was ever written.
    pub fn is_new(&self) -> bool {
        self.last == 0 && self.hard_state == HardState::default()
    }

    /// Removes old files beside the log.
    pub fn purger(&self) -> Purger<F> {
        Purger(Arc::clone(&self.engine))
    }

    fn remember(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        while self.recent.back().is_some_and(|entry| entry.index >= first.index) {
            if let Some(entry) = self.recent.pop_back() {
                self.recent_bytes -= entry_bytes(&entry);
            }
        }
        self.recent_bytes += entries.iter().map(entry_bytes).sum::<u64>();
        for entry in entries {
            let mut entry = entry.clone();
            entry.data = self.lay_together(&entry.data);
            self.recent.push_back(entry);
        }
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some(entry) = self.recent.pop_front() else { return };
            self.recent_bytes -= entry_bytes(&entry);
        }
        self.last = entries.last().map_or(self.last, |entry| entry.index);
    }

    fn lay_together(&mut self, data: &[u8]) -> Bytes {
        if self.piece.capacity() < data.len() {
            self.piece = BytesMut::with_capacity(PIECE_BYTES.max(data.len()));
        }
        self.piece.extend_from_slice(data);
        self.piece.split().freeze()
    }

    fn recent(&self, index: Index) -> Option<usize> {
        let first = self.recent.front()?.index;
        usize::try_from(index.checked_sub(first)?).ok().filter(|at| *at < self.recent.len())
    }

    fn batch(write: &Write) -> Result<LogBatch, LogError> {
        let mut batch = LogBatch::default();
        if !write.entries.is_empty() {
            batch.add_entries::<Entries>(GROUP, &write.entries).map_err(broken)?;
        }
        if let Some(hard_state) = &write.hard_state {
            batch.put_message(GROUP, HARD_STATE.to_vec(), hard_state).map_err(broken)?;
        }
        if let Some(membership) = &write.membership {
            put(&mut batch, MEMBERSHIP, encode_membership(membership)?)?;
        }
        Ok(batch)
    }

    fn written(&mut self, write: Write) {
        self.remember(&write.entries);
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(membership) = write.membership {
            self.membership = membership;
        }
    }
}

impl<F: FileSystem> Log for EngineLog<F> {
    fn hard_state(&self) -> HardState {
        self.hard_state.clone()
    }

    fn membership(&self) -> Membership {
        self.membership.clone()
    }

    fn first_index(&self) -> Index {
        self.before.0 + 1
    }

    fn last_index(&self) -> Index {
        self.last
    }

    fn term(&self, index: Index) -> Result<Option<u64>, LogError> {
        if index == self.before.0 {
            return Ok(Some(self.before.1));
        }
        if let Some(at) = self.recent(index) {
            return Ok(Some(self.recent[at].term));
        }
        if index <= self.before.0 || index > self.last {
            return Ok(None);
        }
        let entry = self.engine.engine.get_entry::<Entries>(GROUP, index).map_err(broken)?;
        Ok(entry.map(|entry| entry.term))
    }

    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<Entry>, LogError> {
        if let Some(at) = self.recent(low) {
            let mut bytes = 0;
            let wanted = self.recent.range(at..).take((high - low) as usize);
            let fits = wanted.take_while(|entry| {
                bytes += entry_bytes(entry);
                bytes <= bytes_max || entry.index == low
            });
            return Ok(fits.cloned().collect());
        }
        let mut entries = Vec::new();
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        self.engine
            .engine
            .fetch_entries_to::<Entries>(GROUP, low, high, Some(bytes_max), &mut entries)
            .map_err(broken)?;
        Ok(entries)
    }

    fn snapshot(&self) -> Option<Snapshot> {
        self.snapshot.clone()
    }

    fn append(&mut self, write: Write, sync: bool) -> Result<(), LogError> {
        let mut batch = Self::batch(&write)?;
        self.engine.write(&mut batch, sync)?;
        self.written(write);
        Ok(())
    }

    fn install(&mut self, snapshot: &Snapshot, write: &Write) -> Result<(), LogError> {
        let metadata = snapshot.get_metadata();
        let data = SnapshotData::decode(&snapshot.data)?;
        let (snapshot, addresses) = (without_state(snapshot)?, data.addresses);
        let conf_state = metadata.get_conf_state().clone();
        let membership = Membership { index: metadata.index, conf_state, addresses };
        let before = (metadata.index, metadata.term);
        let mut batch = LogBatch::default();
        batch.add_command(GROUP, Command::Clean);
        put(&mut batch, BEFORE, encode_before(before))?;
        put(&mut batch, MEMBERSHIP, encode_membership(&membership)?)?;
        put(&mut batch, SNAPSHOT, snapshot.write_to_bytes().map_err(corrupt)?)?;
        let hard_state = write.hard_state.clone().unwrap_or_else(|| self.hard_state.clone());
        batch.put_message(GROUP, HARD_STATE.to_vec(), &hard_state).map_err(broken)?;
        if !write.entries.is_empty() {
            batch.add_entries::<Entries>(GROUP, &write.entries).map_err(broken)?;
        }
        self.engine.write(&mut batch, true)?;
        self.recent.clear();
        self.recent_bytes = 0;
        (self.before, self.last) = (before, before.0);
        (self.membership, self.snapshot) = (membership, Some(snapshot));
        self.hard_state = hard_state;
        self.remember(&write.entries);
        Ok(())
    }

    fn keep_snapshot(&mut self, snapshot: Snapshot) -> Result<(), LogError> {
        let snapshot = without_state(&snapshot)?;
        let mut batch = LogBatch::default();
        put(&mut batch, SNAPSHOT, snapshot.write_to_bytes().map_err(corrupt)?)?;
        self.engine.write(&mut batch, true)?;
        self.snapshot = Some(snapshot);
        Ok(())
    }

    fn compact(&mut self, through: Index) -> Result<(), LogError> {
        let Some(term) = self.term(through)?.filter(|_| through > self.before.0) else {
            return Ok(());
        };
        let mut batch = LogBatch::default();
        put(&mut batch, BEFORE, encode_before((through, term)))?;
        batch.add_command(GROUP, Command::Compact { index: through + 1 });
        self.engine.write(&mut batch, false)?;
        self.before = (through, term);
        while self.recent.front().is_some_and(|entry| entry.index <= through) {
            if let Some(entry) = self.recent.pop_front() {
                self.recent_bytes -= entry_bytes(&entry);
            }
        }
        Ok(())
    }
}

impl<F: FileSystem> Purger<F> {
    /// Removes files whose entries are all compacted.
    pub fn purge(&self) -> Result<(), LogError> {
        // It writes entries that are still needed to the newest files, and syncs them.
        self.0.attempt(|engine| engine.purge_expired_files().map(drop))
    }
}

impl<F: FileSystem> Guarded<F> {
    fn write(&self, batch: &mut LogBatch, sync: bool) -> Result<(), LogError> {
        self.attempt(|engine| engine.write(batch, sync).map(drop))
    }

    /// Does it, unless something failed before.
    fn attempt(
        &self,
        work: impl FnOnce(&Engine<Careful<F>>) -> raft_engine::Result<()>,
    ) -> Result<(), LogError> {
        let failed = || self.failure.get().map_or(Ok(()), |why| Err(LogError::Disk(why)));
        failed()?;
        let result = work(&self.engine).map_err(broken);
        match &result {
            Ok(()) => (),
            Err(LogError::Disk(why)) => self.failure.note(why),
            Err(
                error @ (LogError::Corrupt(_)
                | LogError::NewerEntry { .. }
                | LogError::NewerSnapshot { .. }),
            ) => self.failure.note(error),
        }
        result.and_then(|()| failed())
    }
}

impl<F: FileSystem> Clone for Purger<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: FileSystem> std::fmt::Debug for EngineLog<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineLog")
            .field("before", &self.before)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl<F: FileSystem> std::fmt::Debug for Purger<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purger").finish_non_exhaustive()
    }
}

fn open_engine<F: FileSystem>(
    directory: &Path,
    system: Arc<F>,
    file_bytes: ReadableSize,
    recovery_mode: RecoveryMode,
) -> raft_engine::Result<Engine<F>> {
    let config = Config {
        dir: directory.to_string_lossy().into_owned(),
        recovery_mode,
        recovery_threads: 2,
        // Our entries are small and many of them already compact: LZ4 costs more CPU than the
        // disk gains.
        batch_compression_threshold: ReadableSize::kb(0),
        target_file_size: file_bytes,
        purge_threshold: PURGE_BYTES,
        ..Config::default()
    };
    Engine::open_with_file_system(config, system)
}

/// Copies the last file of the log, which is about to be truncated.
fn copy_aside(directory: &Path) -> Result<PathBuf, LogError> {
    let disk = |error: std::io::Error| LogError::Disk(format!("{}: {error}", directory.display()));
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .map_err(disk)?
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "raftlog"))
        .collect();
    files.sort();
    let last = files.pop().ok_or_else(|| LogError::Corrupt("it has no files".to_owned()))?;
    // Not the engine's extension, so that it does not read it; the newest copy is enough.
    let copy = last.with_extension("torn");
    std::fs::copy(&last, &copy).map_err(disk)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::eraftpb::ConfState;
    use std::collections::BTreeMap;

    fn entries(indices: std::ops::RangeInclusive<u64>, term: u64) -> Write {
        let data = vec![7; 100];
        let entry = |index| Entry { index, term, data: data.clone().into(), ..Entry::default() };
        let hard_state = Some(HardState { term, commit: *indices.start(), ..HardState::default() });
        Write { entries: indices.map(entry).collect(), hard_state, membership: None }
    }

    fn open(directory: &Path) -> EngineLog {
        EngineLog::open(directory).unwrap().0
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path());
        assert!(log.is_new());
        log.append(entries(1..=5, 1), true).unwrap();
        log.append(entries(4..=6, 2), true).unwrap();
        let members = ConfState { voters: vec![1, 2], ..ConfState::default() };
        let addresses = BTreeMap::from([(1, b"here".to_vec())]);
        let membership = Membership { index: 5, conf_state: members, addresses };
        let write = Write { membership: Some(membership.clone()), ..Write::default() };
        log.append(write, true).unwrap();
        let check = |log: &EngineLog| {
            assert_eq!((log.first_index(), log.last_index()), (1, 6));
            assert_eq!((log.term(3).unwrap(), log.term(4).unwrap()), (Some(1), Some(2)));
            let read = log.entries(2, 7, u64::MAX).unwrap();
            assert_eq!(read.iter().map(|e| e.index).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
            assert_eq!(log.entries(2, 7, 1).unwrap().len(), 1, "at least one");
            assert_eq!((log.hard_state().term, log.membership()), (2, membership.clone()));
        };
        check(&log);
        drop(log);
        check(&open(directory.path()));
    }

    #[test]
    fn a_compacted_log_goes_on_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path());
        log.append(entries(1..=5, 3), true).unwrap();
        log.compact(5).unwrap();
        drop(log);
        let mut log = open(directory.path());
        assert_eq!((log.first_index(), log.last_index(), log.term(5).unwrap()), (6, 5, Some(3)));
        log.append(entries(6..=7, 3), true).unwrap();
        drop(log);
        assert_eq!(open(directory.path()).last_index(), 7);
    }

    #[test]
    fn an_installed_snapshot_replaces_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path());
        log.append(entries(1..=5, 3), true).unwrap();
        let data = SnapshotData { at: 9, state: b"not kept here".to_vec(), ..Default::default() };
        let mut snapshot = Snapshot { data: data.encode().into(), ..Snapshot::default() };
        snapshot.mut_metadata().index = 100;
        snapshot.mut_metadata().term = 4;
        snapshot.mut_metadata().mut_conf_state().voters = vec![1];
        log.install(&snapshot, &Write::default()).unwrap();
        log.append(entries(101..=102, 4), true).unwrap();
        drop(log);
        let log = open(directory.path());
        assert_eq!(
            (log.first_index(), log.last_index(), log.term(100).unwrap()),
            (101, 102, Some(4))
        );
        assert_eq!(log.membership().conf_state.voters, [1]);
        let kept = SnapshotData::decode(&log.snapshot().unwrap().data).unwrap();
        assert_eq!((kept.at, kept.state), (9, Vec::new()));
    }

    fn last_file(directory: &Path) -> PathBuf {
        directory.join("0000000000000001.raftlog")
    }

    #[test]
    fn a_torn_end_is_cut_off_and_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path());
        log.append(entries(1..=5, 1), true).unwrap();
        log.append(entries(6..=6, 1), true).unwrap();
        drop(log);
        let file = last_file(directory.path());
        let bytes = std::fs::read(&file).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        std::fs::write(&file, &bytes[..end - 20]).unwrap();
        let (log, opened) = EngineLog::open(directory.path()).unwrap();
        assert_eq!(log.last_index(), 5);
        assert_eq!(std::fs::read(opened.torn.unwrap()).unwrap(), bytes[..end - 20]);
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path());
        for index in 1..=4 {
            log.append(entries(index..=index, 1), true).unwrap();
        }
        let whole = log.entries(1, 5, u64::MAX).unwrap();
        drop(log);
        let file = last_file(directory.path());
        let bytes = std::fs::read(&file).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (0..=end).step_by(7) {
            let mut bent = bytes.clone();
            bent[at] ^= 0x10;
            std::fs::write(&file, &bent).unwrap();
            // Refused; or cut there with the whole file kept aside, and that entries are missing
            // is found by comparing with what was applied; or without any meaning.
            let path = directory.path();
            // raft-engine remembers the last block that it read, by thread.
            let opened = std::thread::scope(|scope| scope.spawn(|| EngineLog::open(path)).join());
            if let Ok((log, opened)) = opened.unwrap() {
                if log.last_index() == 4 {
                    assert_eq!(log.entries(1, 5, u64::MAX).unwrap(), whole, "byte {at}");
                } else {
                    assert_eq!(std::fs::read(opened.torn.unwrap()).unwrap(), bent);
                }
            }
        }
    }
}
