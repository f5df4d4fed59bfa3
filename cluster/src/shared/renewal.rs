//! New files for a new generation: whoever has an old one open writes where nobody reads.
//!
//! Owns the order: everything is copied, what must survive a power cut is synced, and only then do
//! the copies take the names. Cut off anywhere, it is done again by whoever takes the directory
//! next. Which files are written in place, and so must be new, is said from outside.

use crate::store::sync_directory;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// How the name of a copy ends that has not taken its name yet.
pub(super) const UNFINISHED: &str = "renewed";

/// Syncs at a time: one after the other, a busy disk takes a tenth of a second for each.
const SYNCS: usize = 8;

/// Whether a file must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// It is believed at the next start.
    Yes,
    /// It is made anew if it is damaged.
    No,
}

/// Copies that have not taken their names yet.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Each with what it becomes.
    copies: Vec<(PathBuf, PathBuf, Durable)>,
    bytes: u64,
}

impl Renewal {
    /// Copies a file, if it is there.
    pub fn file(&mut self, path: &Path, durable: Durable) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(UNFINISHED);
        let copy = PathBuf::from(name);
        match fs::copy(path, &copy) {
            Ok(bytes) => self.bytes += bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        self.copies.push((copy, path.to_owned(), durable));
        Ok(())
    }

    /// Copies every file in a folder and below; copies that were not finished go.
    pub fn folder(&mut self, folder: &Path, durable: Durable) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
        let (unfinished, files): (Vec<_>, Vec<_>) = paths
            .into_iter()
            .partition(|path| path.extension().is_some_and(|end| end == UNFINISHED));
        // Before the copies, which have the same names.
        unfinished.iter().try_for_each(fs::remove_file)?;
        for path in files {
            if path.is_dir() {
                self.folder(&path, durable)?;
            } else {
                self.file(&path, durable)?;
            }
        }
        Ok(())
    }

    /// The copies take the names. Bytes that were copied.
    pub fn finish(self) -> io::Result<u64> {
        let durable: Vec<&Path> = self
            .copies
            .iter()
            .filter(|(.., durable)| *durable == Durable::Yes)
            .map(|(copy, ..)| copy.as_path())
            .collect();
        sync_all(&durable)?;
        let mut folders = BTreeSet::new();
        for (copy, path, _) in &self.copies {
            fs::rename(copy, path)?;
            folders.extend(path.parent());
        }
        folders.into_iter().try_for_each(sync_directory)?;
        Ok(self.bytes)
    }
}

fn sync_all(paths: &[&Path]) -> io::Result<()> {
    let share = paths.len().div_ceil(SYNCS).max(1);
    std::thread::scope(|scope| {
        let sync = |paths: &[&Path]| -> io::Result<()> {
            paths.iter().try_for_each(|path| File::open(path)?.sync_all())
        };
        let threads: Vec<_> =
            paths.chunks(share).map(|paths| scope.spawn(move || sync(paths))).collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a sync panicked")))
        };
        threads.into_iter().try_for_each(ended)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_is_written_into_an_old_file_is_not_in_the_new_one() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log");
        fs::create_dir(&log).unwrap();
        for name in ["1", "2"] {
            fs::write(log.join(name), "committed").unwrap();
        }
        let mut open = fs::OpenOptions::new().append(true).open(log.join("2")).unwrap();
        let mut renewal = Renewal::default();
        renewal.folder(&log, Durable::Yes).unwrap();
        renewal.file(&root.path().join("missing"), Durable::No).unwrap();
        assert_eq!(renewal.finish().unwrap(), 18);
        open.write_all(b" too late").unwrap();
        for name in ["1", "2"] {
            assert_eq!(fs::read_to_string(log.join(name)).unwrap(), "committed");
        }
        assert_eq!(fs::read_dir(&log).unwrap().count(), 2);
    }
}
