//! A node's log and newest snapshot, read from a copy, for whoever wants to apply them again.
//!
//! Never opens what it was given: raft-engine locks its directory and repairs a torn end, so the
//! files are copied first, also those of a node that runs. A running node may remove files
//! meanwhile; then they are copied again.

use crate::driver::GENESIS_INDEX;
use crate::entry::{Committed, Context, Index, Millis};
use crate::log::{EngineLog, Log, LogError};
use crate::snapshot::{SnapshotData, SnapshotFiles};
use crate::store::StoreError;
use raft::eraftpb::EntryType;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Copies of files that change under us that are begun before it is given up.
const COPIES_MAX: u32 = 5;

/// Bytes of entries that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Files cannot be copied or read.
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: std::io::Error },
    /// There is no log.
    #[error("{path} holds no log: name the data directory of a node")]
    NoLog { path: PathBuf },
    /// The files changed during each copy.
    #[error("{path} changed while it was copied, {COPIES_MAX} times: try again")]
    Restless { path: PathBuf },
    /// The log is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The snapshot is damaged.
    #[error(transparent)]
    Snapshot(#[from] StoreError),
}

/// A log and the state that it goes on from.
#[derive(Debug)]
pub struct Replay {
    log: EngineLog,
    snapshot: Index,
    snapshot_at: Millis,
    state: Vec<u8>,
    torn: bool,
    /// Removed with the value.
    _scratch: Scratch,
}

impl Replay {
    /// Copies what is under `root` (`log/`, `snapshots/`) into `scratch`, which must not exist,
    /// and opens the copy. The copy is removed with the value.
    ///
    /// # Errors
    /// There is nothing to read, or it is damaged.
    pub fn open(root: &Path, scratch: &Path) -> Result<Self, ReplayError> {
        let scratch = Scratch(scratch.to_owned());
        copy(root, &scratch.0)?;
        let (log, opened) = EngineLog::open(&scratch.0.join("log"))?;
        let no_log = || ReplayError::NoLog { path: root.to_owned() };
        let noted = log.snapshot().ok_or_else(no_log)?;
        let files = SnapshotFiles::open(scratch.0.join("snapshots"))?;
        let (snapshot, state) = files.read(&noted)?;
        let at = SnapshotData::decode(&snapshot.data)?.at;
        let (snapshot, torn) = (noted.get_metadata().index, opened.torn.is_some());
        Ok(Self { log, snapshot, snapshot_at: at, state, torn, _scratch: scratch })
    }

    /// The state at [`Replay::snapshot`], as the machine saved it. Empty: the beginning of
    /// everything, unless the machine saved it so.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// The command that the snapshot stands behind, and whether it is the beginning of the log.
    #[must_use]
    pub fn snapshot(&self) -> (Index, bool) {
        (self.snapshot, self.snapshot <= GENESIS_INDEX)
    }

    /// The last entry of the log.
    #[must_use]
    pub fn last(&self) -> Index {
        self.log.last_index()
    }

    /// The last entry that is known to be committed from the log alone: all of them, if the node
    /// is the only voter.
    #[must_use]
    pub fn committed(&self) -> Index {
        let voters = &self.log.membership().conf_state.voters;
        if voters.len() <= 1 {
            return self.last();
        }
        self.log.hard_state().commit.min(self.last())
    }

    /// Whether the end of the log was torn, and is left out.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Gives every entry behind the snapshot up to `through` to `apply`, in order.
    ///
    /// # Errors
    /// The log is damaged, or written by a newer program.
    pub fn entries(
        &self,
        through: Index,
        mut apply: impl FnMut(Committed),
    ) -> Result<(), ReplayError> {
        let mut next = (self.snapshot + 1).max(self.log.first_index());
        if next > self.snapshot + 1 && next <= through {
            let why = format!("entries {} to {} are missing", self.snapshot + 1, next - 1);
            return Err(LogError::Corrupt(why).into());
        }
        let mut at = self.snapshot_at;
        while next <= through {
            let entries = self.log.entries(next, through + 1, READ_BYTES)?;
            for entry in &entries {
                next = entry.index + 1;
                let is_ours = entry.get_entry_type() == EntryType::EntryNormal
                    && !(entry.data.is_empty() && entry.context.is_empty());
                if is_ours {
                    let context = Context::of(entry)?;
                    // As the driver gives them out: time never steps back.
                    at = at.max(context.at);
                    let (index, term, proposal) = (entry.index, entry.term, context.proposal);
                    let data = entry.data.clone();
                    apply(Committed { index, term, at, proposal, data });
                }
            }
            if entries.is_empty() {
                return Err(LogError::Corrupt(format!("entry {next} is missing")).into());
            }
        }
        Ok(())
    }
}

/// A folder that is removed with the value.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn copy(root: &Path, to: &Path) -> Result<(), ReplayError> {
    for _ in 0..COPIES_MAX {
        let before = names(root)?;
        if !before.iter().any(|name| name.extension().is_some_and(|is| is == "raftlog")) {
            return Err(ReplayError::NoLog { path: root.to_owned() });
        }
        match copy_once(root, to, &before) {
            Ok(()) if names(root)? == before => return Ok(()),
            Ok(()) => {}
            // It was removed meanwhile.
            Err(ReplayError::Disk { error, .. })
                if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        drop(std::fs::remove_dir_all(to));
    }
    Err(ReplayError::Restless { path: root.to_owned() })
}

fn copy_once(root: &Path, to: &Path, names: &BTreeSet<PathBuf>) -> Result<(), ReplayError> {
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |error| ReplayError::Disk { path, error }
    };
    for folder in ["log", "snapshots"] {
        let folder = to.join(folder);
        std::fs::create_dir_all(&folder).map_err(disk(&folder))?;
    }
    for name in names {
        std::fs::copy(root.join(name), to.join(name)).map_err(disk(name))?;
    }
    Ok(())
}

/// The files that make up the log and the snapshots, below `root`.
fn names(root: &Path) -> Result<BTreeSet<PathBuf>, ReplayError> {
    let mut names = BTreeSet::new();
    for folder in ["log", "snapshots"] {
        let path = root.join(folder);
        let disk = |error| ReplayError::Disk { path: path.clone(), error };
        for file in std::fs::read_dir(&path).map_err(disk)? {
            let name = PathBuf::from(file.map_err(disk)?.file_name());
            let extension = name.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("raftlog" | "rewrite" | "snapshot")) {
                names.insert(Path::new(folder).join(name));
            }
        }
    }
    Ok(names)
}
