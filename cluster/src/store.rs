//! The data directory of a node: its layout, its version, and who may use it.
//!
//! ```text
//! tandem-store        format, node; held locked by the process that uses the directory
//! tandem-recovery     the code of the last forced recovery, if there was one
//! log/                raft-engine
//! snapshots/          one file each
//! cache/              sled; may be deleted while the node is stopped
//! records.sqlite      what people query
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The layout above.
const FORMAT: u32 = 1;

/// The file with the code of the recovery that made the cluster what it is, if there was one.
const RECOVERY_FILE: &str = "tandem-recovery";

/// The file that says so.
const FORMAT_FILE: &str = "tandem-store";

/// Free space below which a node should refuse new work. The log is written until the disk is
/// full and then ends the process, so that there must be room for the calls in progress.
pub const FREE_BYTES_LOW: u64 = 256 * 1024 * 1024;

/// A data directory in use by this process.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Held for its lock, which the kernel releases however the process ends.
    _lock: File,
}

/// Why a data directory cannot be used. Each message says what to do; nothing is ever replaced.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: std::io::Error },
    /// A newer program wrote it.
    #[error(
        "{path} was written in format {found}, this program reads up to {known}: start the version \
         that wrote it, or a newer one"
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    /// It is not ours, or damaged.
    #[error(
        "{path} is damaged: {why}. Nothing was changed. A member of a cluster: remove the node \
         from the cluster, move its data directory away, start it with join, and add it again as \
         a learner. A single node: restore its backup"
    )]
    Damaged { path: PathBuf, why: String },
    /// Something else is there.
    #[error("{path} is not empty and holds no Tandem data: choose another data directory")]
    NotOurs { path: PathBuf },
    /// Another node's directory.
    #[error("{path} belongs to node {found}, this is node {node}: check the configuration")]
    OtherNode { path: PathBuf, found: u64, node: u64 },
    /// Two processes on one directory would corrupt it.
    #[error("{path} is in use by another process")]
    InUse { path: PathBuf },
}

impl Store {
    /// Takes a directory into use, creating it if there is none.
    pub fn open(root: &Path, node: u64) -> Result<Self, StoreError> {
        let disk = |error| StoreError::Disk { path: root.to_owned(), error };
        std::fs::create_dir_all(root).map_err(disk)?;
        let path = root.join(FORMAT_FILE);
        let is_new = !path.exists();
        if is_new && std::fs::read_dir(root).map_err(disk)?.next().is_some() {
            return Err(StoreError::NotOurs { path: root.to_owned() });
        }
        if is_new {
            let mark = format!("tandem store\nformat {FORMAT}\nnode {node}\n");
            write_durably(&path, &[mark.as_bytes()]).map_err(disk)?;
        }
        let mut file = File::open(&path).map_err(disk)?;
        if file.try_lock().is_err() {
            return Err(StoreError::InUse { path: root.to_owned() });
        }
        let mut mark = String::new();
        file.read_to_string(&mut mark).map_err(disk)?;
        check_mark(&path, &mark, node)?;
        for folder in ["log", "snapshots"] {
            std::fs::create_dir_all(root.join(folder)).map_err(disk)?;
        }
        sync_directory(root).map_err(disk)?;
        Ok(Self { root: root.to_owned(), _lock: file })
    }

    /// Where the log is.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Where the snapshots are.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Where the applied state is cached.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where the records are.
    pub fn records(&self) -> PathBuf {
        self.root.join("records.sqlite")
    }

    /// The code of the recovery that this directory went through, or joined after.
    pub fn recovery(&self) -> Result<Option<String>, StoreError> {
        let path = self.root.join(RECOVERY_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|code| !code.is_empty())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Disk { path, error }),
        }
    }

    /// From now on only those are its cluster who know this code. Durable when it returns.
    pub fn recovered(&self, code: &str) -> Result<(), StoreError> {
        let path = self.root.join(RECOVERY_FILE);
        let text = format!("{code}\n");
        write_durably(&path, &[text.as_bytes()]).map_err(|error| StoreError::Disk { path, error })
    }

    /// Bytes that can still be written.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        fs2::available_space(&self.root)
            .map_err(|error| StoreError::Disk { path: self.root.clone(), error })
    }
}

fn check_mark(path: &Path, mark: &str, node: u64) -> Result<(), StoreError> {
    let damaged = |why: &str| StoreError::Damaged { path: path.to_owned(), why: why.to_owned() };
    let mut lines = mark.lines();
    if lines.next() != Some("tandem store") {
        return Err(damaged("it does not begin with \"tandem store\""));
    }
    let mut number = |name: &str| lines.next()?.strip_prefix(name)?.trim().parse::<u64>().ok();
    let format = number("format ").ok_or_else(|| damaged("its format is missing"))?;
    let format = u32::try_from(format).unwrap_or(u32::MAX);
    if format > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found: format, known: FORMAT });
    }
    let found = number("node ").ok_or_else(|| damaged("its node is missing"))?;
    if found != node {
        return Err(StoreError::OtherNode { path: path.to_owned(), found, node });
    }
    Ok(())
}

/// Writes a file so that after a power cut it is there whole, or not at all.
pub(crate) fn write_durably(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let tmp = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&tmp)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()
    };
    if let Err(error) = write() {
        // The disk may be full because of it.
        drop(std::fs::remove_file(&tmp));
        return Err(error);
    }
    rename_durably(&tmp, path)
}

/// Renames a synced file so that after a power cut it has one name or the other.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_directory)
}

pub(crate) fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_used_by_one_process_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), 1).unwrap();
        assert!(matches!(Store::open(root.path(), 1), Err(StoreError::InUse { .. })));
        drop(store);
        Store::open(root.path(), 1).unwrap();
    }

    #[test]
    fn a_newer_or_foreign_directory_is_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        drop(Store::open(root.path(), 1).unwrap());
        assert!(matches!(
            Store::open(root.path(), 2),
            Err(StoreError::OtherNode { found: 1, node: 2, .. })
        ));
        let mark = root.path().join(FORMAT_FILE);
        for (content, message) in [
            ("tandem store\nformat 2\nnode 1\n", "format 2, this program reads up to 1"),
            ("tandem store\nfor", "its format is missing"),
            ("", "does not begin"),
        ] {
            std::fs::write(&mark, content).unwrap();
            let refused = Store::open(root.path(), 1).unwrap_err().to_string();
            assert!(refused.contains(message), "{refused}");
            assert_eq!(std::fs::read_to_string(&mark).unwrap(), content);
        }
    }

    #[test]
    fn a_directory_with_other_things_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("holiday.jpg"), "").unwrap();
        assert!(matches!(Store::open(root.path(), 1), Err(StoreError::NotOurs { .. })));
    }
}
