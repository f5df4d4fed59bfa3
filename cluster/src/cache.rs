//! The applied state in sled: a cache that spares a restart the snapshot and most of the log.
//!
//! Never trusted alone. sled's flush is no fsync on Linux, so that a power cut may leave anything
//! here; whatever looks wrong, the caller wipes it and rebuilds the state from snapshot and log.
//! Changes and the applied index go in one batch of one tree, so that they cannot part.

use crate::entry::{Index, Millis};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A value is split into chunks of this size: sled writes larger ones (from about 128 kB) into
/// files of their own, which it never syncs.
const CHUNK_BYTES: usize = 64 * 1024;

/// Chunks of one value: 4 GB, which nothing comes near.
const CHUNKS_MAX: usize = u16::MAX as usize;

/// Where the mark of what was applied is; keys begin with another byte.
const MARK: &[u8] = &[0];

/// Begins the keys of values.
const VALUE: u8 = 1;

/// Version of the encoding; part of the mark.
const VERSION: u8 = 1;

/// A key and its new value; `None` deletes it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// What a cache holds: the state after this entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The last entry in it.
    pub index: Index,
    /// The term of that entry.
    pub term: u64,
    /// [`Committed::at`](crate::Committed::at) up to there.
    pub at: Millis,
}

/// Applied state in sled.
pub struct Cache {
    path: PathBuf,
    tree: sled::Db,
}

/// The cache cannot be used: wipe it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CacheError(String);

impl Cache {
    /// Opens what is there, or an empty one; `None` as the mark means empty.
    pub fn open(path: &Path) -> Result<(Self, Option<Mark>), CacheError> {
        // sled panics on some damage.
        guarded(|| {
            let tree = sled::Config::new()
                .path(path)
                .flush_every_ms(None)
                // Of the state, which is in memory anyway, sled needs to keep little.
                .cache_capacity(8 * 1024 * 1024)
                .mode(sled::Mode::HighThroughput)
                .open()?;
            let cache = Self { path: path.to_owned(), tree };
            let mark = cache.tree.get(MARK)?;
            Ok((cache, mark))
        })
        .and_then(|(cache, mark)| match mark {
            None => Ok((cache, None)),
            Some(bytes) => decode_mark(&bytes)
                .map(|mark| (cache, Some(mark)))
                .ok_or_else(|| CacheError("its mark cannot be read".to_owned())),
        })
    }

    /// Removes a cache and begins an empty one.
    pub fn wiped(path: &Path) -> Result<Self, CacheError> {
        empty(path).map_err(|error| CacheError(error.to_string()))?;
        Self::open(path).map(|(cache, _)| cache)
    }

    /// Gives up a cache, and with it what it holds of the disk.
    pub fn remove(self) -> Result<(), CacheError> {
        let path = self.path.clone();
        // sled writes when it ends.
        guarded(|| {
            drop(self);
            Ok(())
        })?;
        empty(&path).map_err(|error| CacheError(error.to_string()))
    }

    /// All pairs.
    pub fn pairs(&self) -> Result<Vec<Pair>, CacheError> {
        let mut pairs: Vec<Pair> = Vec::new();
        let mut missing = 0_usize;
        for pair in self.tree.scan_prefix([VALUE]) {
            let (key, value) = guarded(|| pair)?;
            let (name, chunk) =
                decode_key(&key).ok_or_else(|| CacheError("a key cannot be read".to_owned()))?;
            if chunk == 0 {
                if missing != 0 {
                    return Err(CacheError("a value is not whole".to_owned()));
                }
                let (count, bytes) = value
                    .split_first_chunk::<2>()
                    .ok_or_else(|| CacheError("a value cannot be read".to_owned()))?;
                missing = usize::from(u16::from_be_bytes(*count)).saturating_sub(1);
                pairs.push((name.to_vec(), bytes.to_vec()));
            } else if let Some((_, whole)) =
                pairs.last_mut().filter(|(last, _)| missing > 0 && last == name)
            {
                whole.extend_from_slice(&value);
                missing -= 1;
            }
            // Else it is left over from a longer value, or from one that was deleted.
        }
        if missing != 0 {
            return Err(CacheError("the last value is not whole".to_owned()));
        }
        Ok(pairs)
    }

    /// Writes changes and what they bring the state to, all or nothing. Not durable.
    pub fn write(&self, changes: &[Change], mark: Mark) -> Result<(), CacheError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                None => batch.remove(encode_key(key, 0)),
                Some(value) => insert(&mut batch, key, value)?,
            }
        }
        batch.insert(MARK, encode_mark(mark));
        guarded(|| self.tree.apply_batch(batch))
    }

    /// Hands what was written to the operating system, so that the end of the process does not
    /// lose it.
    pub fn flush(&self) -> Result<(), CacheError> {
        guarded(|| self.tree.flush()).map(drop)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Removes what is in the folder; the folder itself may be a mount point.
fn empty(path: &Path) -> std::io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, CacheError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| CacheError(error.to_string())),
        Err(_) => Err(CacheError("sled panicked".to_owned())),
    }
}

fn insert(batch: &mut sled::Batch, key: &[u8], value: &[u8]) -> Result<(), CacheError> {
    let count = value.len().div_ceil(CHUNK_BYTES).max(1);
    if count > CHUNKS_MAX {
        return Err(CacheError(format!("a value of {} bytes is too large", value.len())));
    }
    let (first, rest) = value.split_at(value.len().min(CHUNK_BYTES));
    let head = [&(count as u16).to_be_bytes(), first].concat();
    batch.insert(encode_key(key, 0), head);
    for (number, chunk) in rest.chunks(CHUNK_BYTES).enumerate() {
        batch.insert(encode_key(key, number as u16 + 1), chunk);
    }
    Ok(())
}

/// The length comes first, so that the chunks of a key follow each other.
fn encode_key(key: &[u8], chunk: u16) -> Vec<u8> {
    let mut bytes = vec![VALUE];
    bytes.extend_from_slice(&(key.len() as u32).to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&chunk.to_be_bytes());
    bytes
}

fn decode_key(bytes: &[u8]) -> Option<(&[u8], u16)> {
    let (length, rest) = bytes.get(1..)?.split_first_chunk::<4>()?;
    let (key, chunk) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((key, u16::from_be_bytes(chunk.try_into().ok()?)))
}

fn encode_mark(mark: Mark) -> Vec<u8> {
    let words = [mark.index, mark.term, mark.at];
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    std::iter::once(VERSION).chain(words).collect()
}

fn decode_mark(bytes: &[u8]) -> Option<Mark> {
    let (&VERSION, words) = bytes.split_first()? else { return None };
    let word = |at: usize| Some(u64::from_le_bytes(words.get(at..at + 8)?.try_into().ok()?));
    Some(Mark { index: word(0)?, term: word(8)?, at: word(16)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(index: Index) -> Mark {
        Mark { index, term: 1, at: 100 }
    }

    fn value(bytes: usize, byte: u8) -> Option<Vec<u8>> {
        Some(vec![byte; bytes])
    }

    #[test]
    fn changes_and_mark_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let (cache, found) = Cache::open(&path).unwrap();
        assert_eq!(found, None);
        let changes = [(b"a".to_vec(), value(3, 1)), (b"bb".to_vec(), value(0, 1))];
        cache.write(&changes, mark(7)).unwrap();
        cache.write(&[(b"c".to_vec(), value(1, 1)), (b"a".to_vec(), None)], mark(8)).unwrap();
        drop(cache);
        let (cache, found) = Cache::open(&path).unwrap();
        assert_eq!(found, Some(mark(8)));
        assert_eq!(cache.pairs().unwrap(), [(b"c".to_vec(), vec![1]), (b"bb".to_vec(), vec![])]);
    }

    #[test]
    fn a_large_value_is_split_and_may_shrink_grow_and_vanish() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, _) = Cache::open(&folder.path().join("cache")).unwrap();
        cache.write(&[(b"next".to_vec(), value(1, 9))], mark(1)).unwrap();
        for (index, bytes) in [300_000, 65_536, 10, 131_073].into_iter().enumerate() {
            let large = value(bytes, index as u8);
            cache.write(&[(b"key".to_vec(), large.clone())], mark(2)).unwrap();
            let pairs = [(b"key".to_vec(), large.unwrap()), (b"next".to_vec(), vec![9])];
            assert_eq!(cache.pairs().unwrap(), pairs);
        }
        cache.write(&[(b"key".to_vec(), None)], mark(3)).unwrap();
        assert_eq!(cache.pairs().unwrap(), [(b"next".to_vec(), vec![9])]);
    }

    #[test]
    fn a_damaged_cache_is_not_believed_and_can_be_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let (cache, _) = Cache::open(&path).unwrap();
        cache.write(&[(b"a".to_vec(), value(3, 1))], mark(7)).unwrap();
        drop(cache);
        // What a power cut left in 6 of 23 trials: a snapshot of sled's own that is not whole.
        std::fs::write(path.join("snap.00000000DEADBEEF.generating"), b"half").unwrap();
        std::fs::write(path.join("db"), [0xaa; 4096]).unwrap();
        std::panic::set_hook(Box::new(|_| ()));
        let opened = Cache::open(&path).map(|(_, mark)| mark);
        drop(std::panic::take_hook());
        // Refused or empty: either way the state is rebuilt.
        assert!(!matches!(opened, Ok(Some(_))), "{opened:?}");
        assert_eq!(Cache::wiped(&path).unwrap().pairs().unwrap(), []);
    }
}
