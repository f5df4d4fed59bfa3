//! Snapshots as files: written whole and synced, or not at all.
//!
//! A file is a head (format, checksum of the rest), Raft's part as raft-rs encodes it, and the
//! state. The same bytes are sent to a node that is far behind.

use super::SnapshotData;
use crate::entry::Index;
use crate::store::{StoreError, rename_durably, write_durably};
use protobuf::Message as _;
use raft::eraftpb::Snapshot;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Begins each file; the digit is the version of its layout.
const MAGIC: &[u8; 8] = b"tdmsnap1";

/// Magic, checksum, length of Raft's part.
const HEAD_BYTES: usize = 8 + 4 + 4;

/// Raft's part has the members and their addresses: some hundred bytes each.
const RAFT_BYTES_MAX: u32 = 1024 * 1024;

/// Read at once when a file is checked, however large the state is.
const CHECKED_BYTES: usize = 256 * 1024;

/// The folder of the snapshots.
#[derive(Clone, Debug)]
pub struct SnapshotFiles {
    folder: PathBuf,
    received: Arc<AtomicU64>,
}

/// A snapshot that arrives from another node: its file, then a copy of the records.
#[derive(Debug)]
pub struct Incoming {
    index: Index,
    state: Part,
    records: Part,
    bytes: u64,
    checksum: crc32fast::Hasher,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    missing: u64,
}

impl SnapshotFiles {
    /// The snapshots in `folder`, which exists. What an earlier process left unfinished is
    /// removed.
    pub fn open(folder: PathBuf) -> Result<Self, StoreError> {
        let files = Self { folder, received: Arc::default() };
        files.remove(|name| name.ends_with(".tmp") || name.contains(".records-to-"))?;
        Ok(files)
    }

    /// Makes a snapshot durable. `snapshot.data` has no state, which is given beside it.
    pub fn write(&self, snapshot: &Snapshot, state: &[u8]) -> Result<(), StoreError> {
        let path = self.path(snapshot);
        let disk = |error| StoreError::Disk { path: path.clone(), error };
        let raft = snapshot
            .write_to_bytes()
            .map_err(|error| StoreError::Damaged { path: path.clone(), why: error.to_string() })?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&raft);
        checksum.update(state);
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&checksum.finalize().to_le_bytes());
        head.extend_from_slice(&(raft.len() as u32).to_le_bytes());
        write_durably(&path, &[&head, &raft, state]).map_err(disk)
    }

    /// Reads the snapshot that the log notes as its newest.
    pub fn read(&self, snapshot: &Snapshot) -> Result<(Snapshot, Vec<u8>), StoreError> {
        read(&self.path(snapshot))
    }

    /// Where it is, to be sent.
    pub fn path(&self, snapshot: &Snapshot) -> PathBuf {
        let metadata = snapshot.get_metadata();
        self.folder.join(format!("{:020}-{:010}.snapshot", metadata.index, metadata.term))
    }

    /// Where records that came with a snapshot wait until they are taken in.
    pub fn records_path(&self, snapshot: Index) -> PathBuf {
        self.folder.join(format!("{snapshot:020}-records.sqlite"))
    }

    /// They were taken in.
    pub fn remove_records(&self, snapshot: Index) -> Result<(), StoreError> {
        let path = self.records_path(snapshot);
        std::fs::remove_file(&path).map_err(|error| StoreError::Disk { path, error })
    }

    /// Begins to receive one, of so many bytes of snapshot and of records.
    pub fn receive(
        &self,
        from: u64,
        index: Index,
        (state_bytes, records_bytes): (u64, u64),
    ) -> Result<Incoming, StoreError> {
        let number = self.received.fetch_add(1, Ordering::Relaxed);
        let part = |name: &str, missing| {
            let path = self.folder.join(format!("from-{from}-{number}-{name}.tmp"));
            let file = File::create(&path)
                .map_err(|error| StoreError::Disk { path: path.clone(), error })?;
            Ok(Part { path, file: BufWriter::new(file), missing })
        };
        Ok(Incoming {
            index,
            state: part("state", state_bytes)?,
            records: part("records", records_bytes)?,
            bytes: 0,
            checksum: crc32fast::Hasher::new(),
        })
    }

    /// A received snapshot is complete: checks it, syncs it, gives it its name; the records
    /// first, so that they are there if the snapshot is.
    pub fn complete(&self, mut incoming: Incoming) -> Result<Snapshot, StoreError> {
        let has_records = incoming.records.file.stream_position().is_ok_and(|bytes| bytes > 0);
        let state = incoming.state.sync()?;
        let snapshot = check(&state)?;
        let disk = |path: PathBuf| move |error| StoreError::Disk { path, error };
        if snapshot.get_metadata().index != incoming.index {
            let why = format!("it is not of entry {}", incoming.index);
            return Err(StoreError::Damaged { path: state, why });
        }
        let records = incoming.records.sync()?;
        if has_records {
            let to = self.records_path(incoming.index);
            rename_durably(&records, &to).map_err(disk(to))?;
        }
        let to = self.path(&snapshot);
        rename_durably(&state, &to).map_err(disk(to))?;
        Ok(snapshot)
    }

    /// Removes all older snapshots.
    pub fn remove_before(&self, index: Index) -> Result<(), StoreError> {
        self.remove(|name| {
            let of = name.split_once('-').and_then(|(index, _)| index.parse::<Index>().ok());
            of.is_some_and(|of| of < index)
        })
    }

    fn remove(&self, is_old: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let disk = |error| StoreError::Disk { path: self.folder.clone(), error };
        for file in std::fs::read_dir(&self.folder).map_err(disk)? {
            let path = file.map_err(disk)?.path();
            if path.file_name().is_some_and(|name| is_old(&name.to_string_lossy())) {
                std::fs::remove_file(&path).map_err(disk)?;
            }
        }
        Ok(())
    }
}

impl Part {
    fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.missing -= chunk.len() as u64;
        self.file
            .write_all(chunk)
            .map_err(|error| StoreError::Disk { path: self.path.clone(), error })
    }

    fn sync(&mut self) -> Result<PathBuf, StoreError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| StoreError::Disk { path: self.path.clone(), error })?;
        Ok(self.path.clone())
    }
}

impl Drop for Part {
    /// What was not completed is of no use; a damaged or interrupted snapshot must not fill the
    /// disk. What was completed has another name by now.
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

impl Incoming {
    /// The next bytes. More than was announced is an error of the caller.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.bytes += chunk.len() as u64;
        self.checksum.update(chunk);
        let of_state = chunk.len().min(usize::try_from(self.state.missing).unwrap_or(usize::MAX));
        let (state, records) = chunk.split_at(of_state);
        self.state.write(state)?;
        self.records.write(records)
    }

    /// Bytes received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// CRC-32 of what was received so far.
    pub fn checksum(&self) -> u32 {
        self.checksum.clone().finalize()
    }
}

fn read(path: &Path) -> Result<(Snapshot, Vec<u8>), StoreError> {
    let mut state = Vec::new();
    let snapshot = go_through(path, |chunk| state.extend_from_slice(chunk))?;
    Ok((snapshot, state))
}

/// Whether a file is whole, in little memory.
fn check(path: &Path) -> Result<Snapshot, StoreError> {
    go_through(path, |_| ())
}

/// Reads a file once, giving out its state in pieces, which may be believed when the end was
/// reached.
fn go_through(path: &Path, mut state: impl FnMut(&[u8])) -> Result<Snapshot, StoreError> {
    let disk = |error| StoreError::Disk { path: path.to_owned(), error };
    let damaged = |why: &str| StoreError::Damaged { path: path.to_owned(), why: why.to_owned() };
    let cut = |error: std::io::Error| {
        let is_cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
        if is_cut { damaged("it is cut") } else { disk(error) }
    };
    let mut file = File::open(path).map_err(disk)?;
    let mut head = [0; HEAD_BYTES];
    file.read_exact(&mut head).map_err(cut)?;
    if head[..7] == MAGIC[..7] && head[7] > MAGIC[7] {
        let found = u32::from(head[7] - b'0');
        return Err(StoreError::Newer { path: path.to_owned(), found, known: 1 });
    }
    if head[..8] != *MAGIC {
        return Err(damaged("it does not begin as a snapshot does"));
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(12) > RAFT_BYTES_MAX {
        return Err(damaged("its head says what is impossible"));
    }
    let mut raft = vec![0; word(12) as usize];
    file.read_exact(&mut raft).map_err(cut)?;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&raft);
    let mut buffer = vec![0; CHECKED_BYTES];
    loop {
        let count = file.read(&mut buffer).map_err(disk)?;
        if count == 0 {
            break;
        }
        checksum.update(&buffer[..count]);
        state(&buffer[..count]);
    }
    if checksum.finalize() != word(8) {
        return Err(damaged("its checksum is wrong"));
    }
    let snapshot =
        Snapshot::parse_from_bytes(&raft).map_err(|error| damaged(&error.to_string()))?;
    SnapshotData::decode(&snapshot.data).map_err(|error| damaged(&error.to_string()))?;
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(index: Index) -> Snapshot {
        let data = SnapshotData { at: 5, ..SnapshotData::default() };
        let mut snapshot = Snapshot { data: data.encode().into(), ..Snapshot::default() };
        snapshot.mut_metadata().index = index;
        snapshot.mut_metadata().term = 2;
        snapshot
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written_sent_and_received() {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        files.write(&snapshot(7), b"state").unwrap();
        let bytes = std::fs::read(files.path(&snapshot(7))).unwrap();
        let other = tempfile::tempdir().unwrap();
        let others = SnapshotFiles::open(other.path().to_owned()).unwrap();
        let mut incoming = others.receive(1, 7, (bytes.len() as u64, 10)).unwrap();
        let all = [bytes, b"0123456789".to_vec()].concat();
        for chunk in all.chunks(3) {
            incoming.write(chunk).unwrap();
        }
        assert_eq!(incoming.bytes(), all.len() as u64);
        assert_eq!(incoming.checksum(), crc32fast::hash(&all));
        assert_eq!(others.complete(incoming).unwrap(), snapshot(7));
        assert_eq!(std::fs::read(others.records_path(7)).unwrap(), b"0123456789");
        assert_eq!(others.read(&snapshot(7)).unwrap(), (snapshot(7), b"state".to_vec()));
    }

    #[test]
    fn a_damaged_snapshot_is_refused_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        files.write(&snapshot(7), b"state").unwrap();
        let path = files.path(&snapshot(7));
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(files.read(&snapshot(7)).is_err(), "byte {at}");
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(files.read(&snapshot(7)).is_err(), "cut at {at}");
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            names.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_transfer_that_goes_wrong_leaves_the_old_snapshot_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        files.write(&snapshot(9), &[5; 1000]).unwrap();
        let whole = std::fs::read(files.path(&snapshot(9))).unwrap();
        let other = tempfile::tempdir().unwrap();
        let others = SnapshotFiles::open(other.path().to_owned()).unwrap();
        others.write(&snapshot(7), b"old").unwrap();
        let old = names(other.path());
        let receive = |chunks: &[&[u8]]| {
            let mut incoming = others.receive(1, 9, (whole.len() as u64, 0)).unwrap();
            for chunk in chunks {
                incoming.write(chunk).unwrap();
            }
            incoming
        };
        let chunks: Vec<&[u8]> = whole.chunks(100).collect();
        for count in 0..chunks.len() {
            // Cut after some chunks, and given up.
            drop(receive(&chunks[..count]));
            assert_eq!(names(other.path()), old, "cut after {count}");
            // Cut, and believed to be whole.
            assert!(others.complete(receive(&chunks[..count])).is_err());
            assert_eq!(names(other.path()), old, "cut after {count}");
            // One chunk is damaged.
            let mut damaged = chunks.clone();
            let bent: Vec<u8> = chunks[count].iter().map(|byte| byte ^ 1).collect();
            damaged[count] = &bent;
            assert!(others.complete(receive(&damaged)).is_err());
            // The chunks come in another order.
            let mut moved = chunks.clone();
            moved.rotate_left(count);
            assert_eq!(others.complete(receive(&moved)).is_ok(), count == 0, "moved by {count}");
            if count > 0 {
                assert_eq!(names(other.path()), old, "damaged at {count}");
            } else {
                std::fs::remove_file(others.path(&snapshot(9))).unwrap();
            }
        }
        assert_eq!(others.read(&snapshot(7)).unwrap().1, b"old");
        assert_eq!(others.complete(receive(&chunks)).unwrap(), snapshot(9));
        assert_eq!(others.read(&snapshot(9)).unwrap().1, [5; 1000]);
    }

    #[test]
    fn a_receiver_that_dies_begins_again_without_what_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        let mut incoming = files.receive(1, 9, (1000, 10)).unwrap();
        incoming.write(&[1; 500]).unwrap();
        // A process that is killed drops nothing.
        std::mem::forget(incoming);
        assert_eq!(names(folder.path()).len(), 2);
        SnapshotFiles::open(folder.path().to_owned()).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn older_snapshots_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::open(folder.path().to_owned()).unwrap();
        for index in [7, 8, 9] {
            files.write(&snapshot(index), b"state").unwrap();
        }
        files.remove_before(9).unwrap();
        assert!(files.read(&snapshot(8)).is_err());
        files.read(&snapshot(9)).unwrap();
    }
}
