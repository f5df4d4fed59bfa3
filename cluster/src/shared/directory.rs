//! The shared directory: one folder for each generation, of which there is one at a time.
//!
//! ```text
//! tandem-shared               format
//! generation-0000000007.beta/ everything of the holder beta, and its `lease`
//! ```
//!
//! A takeover renames the folder, which exactly one machine can do, and which takes every path
//! from the former holder. What it still has open it writes into the files that it has open; so
//! the successor replaces each file that is written in place by a copy ([`super::renewal`]) before
//! it reads it. Owns no decision: those are of [`super::standby`].

use super::lease::{LEASE_BYTES, Lease};
use super::renewal::UNFINISHED;
use super::standby::{Process, Seen};
use crate::store::{rename_durably, sync_directory};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The file that says what the directory is; made once, by the first machine.
const FORMAT_FILE: &str = "tandem-shared";
const FORMAT: &str = "tandem shared storage\nformat 1\n";

const PREFIX: &str = "generation-";
const LEASE_FILE: &str = "lease";

/// The holder of generation 0, which is never held.
const NOBODY: &str = "nobody";

/// A directory that several machines see.
#[derive(Clone, Debug)]
pub struct SharedDirectory {
    root: PathBuf,
}

/// Why a shared directory cannot be used. Nothing is ever removed or replaced.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: io::Error },
    /// Something else is there.
    #[error(
        "{path} is not empty and no shared storage. A node's data becomes one: with no process \
         running, make the file tandem-shared with the lines \"tandem shared storage\" and \
         \"format 1\", and move everything else into generation-0000000000.nobody"
    )]
    NotOurs { path: PathBuf },
    /// Another format.
    #[error("{path} is not of format 1: start the version that wrote it")]
    Newer { path: PathBuf },
    /// It was begun and never finished.
    #[error(
        "{path} has no generation: the machine that made it ended meanwhile, or it was removed. If \
         it never held data, remove the file tandem-shared; otherwise restore its generation"
    )]
    Empty { path: PathBuf },
    /// Two folders claim to be the newest.
    #[error("{path} has two newest generations, {names:?}: look which one was written last")]
    Forked { path: PathBuf, names: [String; 2] },
    /// Another machine was first.
    #[error("another machine took the directory first")]
    Lost,
}

impl SharedDirectory {
    /// The directory; made if there is none.
    pub fn open(root: &Path) -> Result<Self, SharedError> {
        let directory = Self { root: root.to_owned() };
        fs::create_dir_all(root).map_err(|error| directory.disk(error))?;
        let path = root.join(FORMAT_FILE);
        match fs::read_to_string(&path) {
            Ok(text) if text == FORMAT => return Ok(directory),
            Ok(text) if FORMAT.starts_with(&text) => return Ok(directory), // Being written.
            Ok(_) => return Err(SharedError::Newer { path }),
            Err(error) if error.kind() == ErrorKind::NotFound => (),
            Err(error) => return Err(directory.disk(error)),
        }
        let mut entries = fs::read_dir(root).map_err(|error| directory.disk(error))?;
        if entries.next().is_some() && !path.exists() {
            return Err(SharedError::NotOurs { path: root.to_owned() });
        }
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => directory.begin(file).map_err(|error| directory.disk(error))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
            Err(error) => return Err(directory.disk(error)),
        }
        Ok(directory)
    }

    /// Only for who has made the file: generation 0 is made once, ever.
    fn begin(&self, mut file: File) -> io::Result<()> {
        file.write_all(FORMAT.as_bytes())?;
        file.sync_all()?;
        fs::create_dir(self.root.join(folder(0, NOBODY)))?;
        sync_directory(&self.root)
    }

    /// Whether a directory is a shared one, for who would use it alone.
    #[must_use]
    pub fn is_one(root: &Path) -> bool {
        root.join(FORMAT_FILE).exists()
    }

    /// What is there now.
    pub fn look(&self) -> Result<Seen, SharedError> {
        let (generation, holder) = self.newest()?;
        let path = self.root.join(folder(generation, &holder)).join(LEASE_FILE);
        match read_lease(&path) {
            Ok(lease) => Ok(Seen { generation, holder, lease }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Seen { generation, holder, lease: None })
            }
            Err(error) => Err(SharedError::Disk { path, error }),
        }
    }

    fn newest(&self) -> Result<(u64, String), SharedError> {
        let mut newest: Option<(u64, String)> = None;
        for entry in fs::read_dir(&self.root).map_err(|error| self.disk(error))? {
            let name = entry.map_err(|error| self.disk(error))?.file_name();
            let Some((generation, holder)) = name.to_str().and_then(parse) else { continue };
            match &newest {
                Some((known, _)) if *known > generation => (),
                Some((known, other)) if *known == generation => {
                    let names = [other.clone(), holder];
                    return Err(SharedError::Forked { path: self.root.clone(), names });
                }
                Some(_) | None => newest = Some((generation, holder)),
            }
        }
        newest.ok_or_else(|| SharedError::Empty { path: self.root.clone() })
    }

    /// What this machine's kernel knows of the holder's process: the lock is proof only where
    /// this kernel gave it.
    #[must_use]
    pub fn process(&self, seen: &Seen, name: &str, boot: &str) -> Process {
        let Some(lease) = &seen.lease else { return Process::Elsewhere };
        let is_ours = seen.holder == name && lease.name == name && lease.boot == boot;
        if !is_ours || lease.generation != seen.generation {
            return Process::Elsewhere;
        }
        let path = self.root.join(folder(seen.generation, &seen.holder)).join(LEASE_FILE);
        match File::open(path).map(|file| file.try_lock().is_ok()) {
            Ok(true) => Process::Gone,
            Ok(false) => Process::Here,
            Err(_) => Process::Elsewhere,
        }
    }

    /// Takes it from what was seen, or finds that another one was first.
    pub fn claim(&self, seen: &Seen, lease: &Lease) -> Result<Held, SharedError> {
        let generation = seen.generation + 1;
        let from = self.root.join(folder(seen.generation, &seen.holder));
        let to = self.root.join(folder(generation, &lease.name));
        match fs::rename(&from, &to) {
            Ok(()) => sync_directory(&self.root).map_err(|error| self.disk(error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(SharedError::Lost),
            Err(error) => return Err(self.disk(error)),
        }
        if self.newest()? != (generation, lease.name.clone()) {
            return Err(SharedError::Lost);
        }
        let path = to.join(LEASE_FILE);
        let made = new_lease(&path, lease);
        let file = made.map_err(|error| SharedError::Disk { path: path.clone(), error })?;
        Ok(Held { generation, folder: to, path, file })
    }

    fn disk(&self, error: io::Error) -> SharedError {
        SharedError::Disk { path: self.root.clone(), error }
    }
}

/// A directory that this process holds.
#[derive(Debug)]
pub struct Held {
    /// The fencing token.
    pub generation: u64,
    /// Where the data is.
    pub folder: PathBuf,
    path: PathBuf,
    /// Kept for its lock, too, where the file system knows locks.
    file: File,
}

impl Held {
    /// Writes the block, in place: into the file of this generation, whatever its name is now.
    pub fn write(&self, lease: &Lease) -> io::Result<()> {
        self.file.write_all_at(&lease.encode(), 0)?;
        self.file.sync_data()
    }

    /// Whether the file at its place is still this generation's. An error is no answer.
    pub fn is_held(&self) -> io::Result<bool> {
        match read_lease(&self.path) {
            Ok(lease) => Ok(lease.is_some_and(|lease| lease.generation == self.generation)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A new file, so that the former holder writes its heartbeats elsewhere.
fn new_lease(path: &Path, lease: &Lease) -> io::Result<File> {
    let new = path.with_extension(UNFINISHED);
    let mut file = File::create(&new)?;
    file.write_all(&lease.encode())?;
    file.sync_all()?;
    // Without locks, a machine waits for the time-out of its own dead process, too.
    let _no_locks_here = file.try_lock();
    rename_durably(&new, path)?;
    Ok(file)
}

fn read_lease(path: &Path) -> io::Result<Option<Lease>> {
    let mut block = Vec::new();
    File::open(path)?.take(LEASE_BYTES as u64).read_to_end(&mut block)?;
    Ok(Lease::decode(&block))
}

fn folder(generation: u64, holder: &str) -> String {
    format!("{PREFIX}{generation:010}.{holder}")
}

fn parse(name: &str) -> Option<(u64, String)> {
    let (generation, holder) = name.strip_prefix(PREFIX)?.split_once('.')?;
    Some((generation.parse().ok()?, holder.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::renewal::{Durable, Renewal};
    use super::*;

    fn renew(folder: &Path) -> u64 {
        let mut renewal = Renewal::default();
        renewal.folder(folder, Durable::Yes).unwrap();
        renewal.finish().unwrap()
    }

    fn lease(name: &str, generation: u64) -> Lease {
        let (name, boot) = (name.to_owned(), "this boot".to_owned());
        Lease { name, generation, counter: 0, pid: 1, boot, released: false }
    }

    fn take(directory: &SharedDirectory, name: &str) -> Held {
        let seen = directory.look().unwrap();
        directory.claim(&seen, &lease(name, seen.generation + 1)).unwrap()
    }

    #[test]
    fn of_two_that_saw_the_same_one_takes_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = SharedDirectory::open(root.path()).unwrap();
        let again = SharedDirectory::open(root.path()).unwrap();
        let seen = directory.look().unwrap();
        assert_eq!(again.look().unwrap(), seen);
        let held = directory.claim(&seen, &lease("alpha", 1)).unwrap();
        assert!(matches!(again.claim(&seen, &lease("beta", 1)), Err(SharedError::Lost)));
        assert_eq!(held.generation, 1);
        assert!(held.is_held().unwrap());
        let now = again.look().unwrap();
        assert_eq!((now.generation, &*now.holder), (1, "alpha"));
        assert_eq!(now.lease, Some(lease("alpha", 1)));
    }

    #[test]
    fn what_a_former_holder_still_writes_is_read_by_nobody() {
        let root = tempfile::tempdir().unwrap();
        let directory = SharedDirectory::open(root.path()).unwrap();
        let alpha = take(&directory, "alpha");
        let log = alpha.folder.join("log");
        fs::create_dir(&log).unwrap();
        fs::write(log.join("1"), "committed").unwrap();
        let mut open = OpenOptions::new().append(true).open(log.join("1")).unwrap();

        let beta = take(&directory, "beta");
        let log = beta.folder.join("log");
        assert_eq!(renew(&log), 9);
        // Alpha wakes up: its heartbeat and its open file are accepted by the system.
        alpha.write(&Lease { counter: 9, ..lease("alpha", 1) }).unwrap();
        open.write_all(b" too late").unwrap();
        open.sync_all().unwrap();
        assert!(OpenOptions::new().append(true).open(alpha.folder.join("log/1")).is_err());
        assert!(!alpha.is_held().unwrap());
        assert!(beta.is_held().unwrap());
        assert_eq!(fs::read_to_string(log.join("1")).unwrap(), "committed");
        assert_eq!(directory.look().unwrap().lease, Some(lease("beta", 2)));
    }

    #[test]
    fn a_folder_that_a_former_holder_makes_again_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let directory = SharedDirectory::open(root.path()).unwrap();
        let alpha = take(&directory, "alpha");
        let beta = take(&directory, "beta");
        fs::create_dir_all(alpha.folder.join("recordings")).unwrap();
        assert_eq!(directory.look().unwrap().holder, "beta");
        assert!(beta.is_held().unwrap() && !alpha.is_held().unwrap());
    }

    #[test]
    fn the_kernel_says_whether_its_own_process_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let directory = SharedDirectory::open(root.path()).unwrap();
        let alpha = take(&directory, "alpha");
        let seen = directory.look().unwrap();
        let process = |name, boot| directory.process(&seen, name, boot);
        assert_eq!(process("alpha", "this boot"), Process::Here);
        drop(alpha);
        assert_eq!(process("alpha", "this boot"), Process::Gone);
        assert_eq!(process("alpha", "another boot"), Process::Elsewhere);
        assert_eq!(process("beta", "this boot"), Process::Elsewhere);
    }

    #[test]
    fn a_takeover_that_was_cut_off_is_taken_over_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = SharedDirectory::open(root.path()).unwrap();
        let alpha = take(&directory, "alpha");
        fs::write(alpha.folder.join("log"), "committed").unwrap();
        // Beta dies after the rename, and in the middle of a copy.
        let to = root.path().join(folder(2, "beta"));
        fs::rename(&alpha.folder, &to).unwrap();
        fs::write(to.join("log.renewed"), "comm").unwrap();
        let seen = directory.look().unwrap();
        assert_eq!((seen.generation, seen.lease), (2, Some(lease("alpha", 1))));
        let next = take(&directory, "alpha");
        renew(&next.folder);
        assert_eq!(fs::read_to_string(next.folder.join("log")).unwrap(), "committed");
        assert!(!next.folder.join("log.renewed").exists());
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("replica")).unwrap();
        let refused = SharedDirectory::open(root.path()).unwrap_err().to_string();
        assert!(refused.contains("no shared storage"), "{refused}");
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(FORMAT_FILE), "tandem shared storage\nformat 2\n").unwrap();
        assert!(matches!(SharedDirectory::open(root.path()), Err(SharedError::Newer { .. })));
        let root = tempfile::tempdir().unwrap();
        let directory = SharedDirectory::open(root.path()).unwrap();
        fs::remove_dir(root.path().join(folder(0, NOBODY))).unwrap();
        assert!(matches!(directory.look(), Err(SharedError::Empty { .. })));
        fs::create_dir(root.path().join(folder(1, "alpha"))).unwrap();
        fs::create_dir(root.path().join(folder(1, "beta"))).unwrap();
        assert!(matches!(directory.look(), Err(SharedError::Forked { .. })));
    }
}
