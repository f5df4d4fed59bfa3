//! The log on a disk that fails: each write and each sync of a run once, and what is there
//! afterwards.

use super::*;
use raft_engine::env::{Handle, Permission, WriteExt};
use std::io::{Error, Read, Seek, SeekFrom};
use std::sync::Mutex;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Small, so that a run has several files.
const SMALL_FILE: ReadableSize = ReadableSize::kb(1);

/// Entries of a run, each synced.
const ENTRIES: Index = 12;

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// Operations until then succeed.
    after: usize,
    errno: i32,
    /// All later ones fail, too.
    lasting: bool,
}

/// The real file system, with failures.
#[derive(Default)]
struct Failing {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    operations: usize,
    /// What failed.
    failed: Vec<&'static str>,
}

type Real = <DefaultFileSystem as FileSystem>::Handle;

struct FailingHandle {
    real: Arc<Real>,
    state: Arc<Mutex<State>>,
}

struct FailingFile {
    real: <DefaultFileSystem as FileSystem>::Writer,
    state: Arc<Mutex<State>>,
}

fn attempt(state: &Mutex<State>, what: &'static str) -> std::io::Result<()> {
    let mut state = state.lock().unwrap();
    state.operations += 1;
    let Some(plan) = state.plan else { return Ok(()) };
    let fails = state.operations == plan.after + 1 || plan.lasting && state.operations > plan.after;
    // A full disk still syncs and truncates.
    if !fails || plan.errno == ENOSPC && matches!(what, "sync" | "truncate") {
        return Ok(());
    }
    state.failed.push(what);
    Err(Error::from_raw_os_error(plan.errno))
}

impl Failing {
    fn handle(&self, real: Real) -> FailingHandle {
        FailingHandle { real: Arc::new(real), state: Arc::clone(&self.state) }
    }

    fn file(&self, handle: &FailingHandle) -> std::io::Result<FailingFile> {
        let real = DefaultFileSystem.new_writer(Arc::clone(&handle.real))?;
        Ok(FailingFile { real, state: Arc::clone(&self.state) })
    }
}

impl FileSystem for Failing {
    type Handle = FailingHandle;
    type Reader = FailingFile;
    type Writer = FailingFile;

    fn create<P: AsRef<Path>>(&self, path: P) -> std::io::Result<FailingHandle> {
        attempt(&self.state, "create")?;
        DefaultFileSystem.create(path).map(|real| self.handle(real))
    }

    fn open<P: AsRef<Path>>(&self, path: P, perm: Permission) -> std::io::Result<FailingHandle> {
        DefaultFileSystem.open(path, perm).map(|real| self.handle(real))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> std::io::Result<()> {
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> std::io::Result<()> {
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<FailingHandle>) -> std::io::Result<FailingFile> {
        self.file(&handle)
    }

    fn new_writer(&self, handle: Arc<FailingHandle>) -> std::io::Result<FailingFile> {
        self.file(&handle)
    }
}

impl Handle for FailingHandle {
    fn truncate(&self, offset: usize) -> std::io::Result<()> {
        attempt(&self.state, "truncate")?;
        self.real.truncate(offset)
    }

    fn file_size(&self) -> std::io::Result<usize> {
        self.real.file_size()
    }

    fn sync(&self) -> std::io::Result<()> {
        // No power is cut here, so that the real sync can be spared.
        attempt(&self.state, "sync")
    }
}

impl std::io::Write for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Err(error) = attempt(&self.state, "write") {
            // Some of it has reached the file.
            self.real.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.real.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for FailingFile {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.real.read(bytes)
    }
}

impl Seek for FailingFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.real.seek(to)
    }
}

impl WriteExt for FailingFile {
    fn truncate(&mut self, offset: usize) -> std::io::Result<()> {
        attempt(&self.state, "truncate")?;
        self.real.truncate(offset)
    }

    fn allocate(&mut self, offset: usize, size: usize) -> std::io::Result<()> {
        self.real.allocate(offset, size)
    }
}

/// What a run tried and what it was told.
#[derive(Default)]
struct Run {
    attempted: Vec<(Index, Vec<u8>)>,
    acknowledged: Index,
    refused: Option<LogError>,
    operations: usize,
    failed: Vec<&'static str>,
    /// Nothing had failed when the log was closed.
    closed_whole: bool,
}

fn write(index: Index) -> (Vec<u8>, Write) {
    let data: Vec<u8> = (0..300).map(|at| (index * 31 + at) as u8).collect();
    let entry = Entry { index, term: 1, data: data.clone().into(), ..Entry::default() };
    let hard_state = Some(HardState { term: 1, commit: index - 1, ..HardState::default() });
    (data, Write { entries: vec![entry], hard_state, membership: None })
}

/// Appends until something fails, and tries once more.
fn run(directory: &Path, plan: Option<Plan>) -> Run {
    let system = Arc::new(Failing::default());
    system.state.lock().unwrap().plan = plan;
    let mut run = Run::default();
    match EngineLog::open_in(directory, Arc::clone(&system), SMALL_FILE) {
        Err(refused) => run.refused = Some(refused),
        Ok((mut log, _)) => {
            for index in 1..=ENTRIES {
                let (data, write) = write(index);
                run.attempted.push((index, data));
                match log.append(write, true) {
                    Ok(()) => run.acknowledged = index,
                    Err(refused) => {
                        run.refused = Some(refused);
                        break;
                    }
                }
            }
            if run.refused.is_some() {
                let again = log.append(write(run.acknowledged + 1).1, true);
                assert!(matches!(again, Err(LogError::Disk(_))), "it goes on: {again:?}");
                assert!(log.keep_snapshot(snapshot()).is_err() && log.purger().purge().is_err());
            }
            assert_eq!(log.last_index(), run.acknowledged, "it shows what is not on disk");
            run.closed_whole = system.state.lock().unwrap().failed.is_empty();
        }
    }
    let state = system.state.lock().unwrap();
    run.operations = state.operations;
    run.failed.clone_from(&state.failed);
    run
}

fn snapshot() -> Snapshot {
    let data = SnapshotData::default().encode();
    Snapshot { data: data.into(), ..Snapshot::default() }
}

/// What is there once the disk works again. On a thread of its own, since raft-engine remembers
/// by thread the last block that it read.
fn reopen(directory: &Path) -> Result<Vec<(Index, Vec<u8>)>, LogError> {
    let open = || {
        let (mut log, _) = EngineLog::open(directory)?;
        let end = log.last_index() + 1;
        let entries = if end > 1 { log.entries(1, end, u64::MAX)? } else { Vec::new() };
        // And it goes on.
        log.append(write(end).1, true)?;
        Ok(entries.into_iter().map(|entry| (entry.index, entry.data.to_vec())).collect())
    };
    std::thread::scope(|scope| scope.spawn(open).join()).unwrap()
}

#[test]
fn whatever_fails_nothing_acknowledged_is_lost_and_nothing_more_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let whole = run(&directory.path().join("whole"), None);
    assert!(whole.refused.is_none() && whole.operations > 40, "{}", whole.operations);
    let (mut writes, mut syncs, mut creates) = (0, 0, 0);
    for (errno, lasting) in [(ENOSPC, true), (ENOSPC, false), (EIO, true), (EIO, false)] {
        for after in 0..whole.operations {
            let path = directory.path().join(format!("{errno}-{lasting}-{after}"));
            let plan = Plan { after, errno, lasting };
            let run = run(&path, Some(plan));
            if run.failed.is_empty() {
                continue;
            }
            let count = |what| usize::from(run.failed[0] == what);
            (writes, syncs) = (writes + count("write"), syncs + count("sync"));
            creates += count("create");
            // One write that failed for want of space is tried again in a new file.
            let tried_again = errno == ENOSPC && !lasting && run.failed == ["write"];
            match &run.refused {
                Some(LogError::Disk(_)) => (),
                None if tried_again || run.closed_whole => {
                    assert_eq!(run.acknowledged, ENTRIES, "{plan:?}");
                }
                refused => panic!("{plan:?} {:?}: {refused:?}", run.failed),
            }
            let found =
                reopen(&path).unwrap_or_else(|error| panic!("{plan:?} {:?}: {error}", run.failed));
            assert!(found.len() as u64 >= run.acknowledged, "{plan:?} lost something");
            assert_eq!(found[..], run.attempted[..found.len()], "{plan:?}");
        }
    }
    assert!(writes > 20 && syncs > 20 && creates > 10, "{writes} {syncs} {creates}");
}
