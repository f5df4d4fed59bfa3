//! Spoken text on disk: one WAV file for each, named by a hash of what was said and by whom.
//!
//! Owns its folder. A file appears whole or not at all (written aside, synced, renamed), and
//! one that does not read well is deleted and spoken again. The folder keeps to a size: the
//! files that were used longest ago go first.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};
use tandem_media::{frame::Rate, wav};

/// After the folder grew past its size, it shrinks to this part of it, so that not every new
/// text deletes a file.
const KEEP_PERCENT: u64 = 90;

const SUFFIX: &str = "wav";
const SUFFIX_ASIDE: &str = "part";

/// Spoken text on disk.
#[derive(Debug)]
pub struct DiskCache {
    folder: PathBuf,
    bytes_max: u64,
    bytes: Mutex<u64>,
    aside: AtomicU64,
}

/// Why the folder is of no use.
#[derive(Debug, thiserror::Error)]
#[error("spoken prompts cannot be kept in {folder}: {source}")]
pub struct DiskCacheError {
    pub folder: PathBuf,
    pub source: io::Error,
}

impl DiskCache {
    /// Opens the folder, makes it if it is not there, and clears what an earlier run left
    /// unfinished.
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Self, DiskCacheError> {
        let failed = |source| DiskCacheError { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut bytes = 0;
        for file in files(folder).map_err(failed)? {
            if file.path.extension().is_some_and(|suffix| suffix == SUFFIX_ASIDE) {
                let _ = fs::remove_file(&file.path);
            } else {
                bytes += file.bytes;
            }
        }
        let cache = Self {
            folder: folder.to_owned(),
            bytes_max,
            bytes: Mutex::new(bytes),
            aside: AtomicU64::new(0),
        };
        cache.shrink().map_err(failed)?;
        Ok(cache)
    }

    /// What was spoken before, or nothing.
    #[must_use]
    pub fn load(&self, engine: &str, voice: &str, text: &str) -> Option<Vec<i16>> {
        let path = self.path(engine, voice, text);
        let file = fs::read(&path).ok()?;
        let audio_bytes = file.len().saturating_sub(wav::HEADER_BYTES) as u64;
        let header = wav::header(Rate::Khz8.hz(), 1, audio_bytes);
        let whole = Some(&file)
            // The reader would take a shortened file as far as it goes; the header knows.
            .filter(|file| file.starts_with(&header))
            .and_then(|file| wav::read(file).ok())
            .and_then(|audio| audio.to_mono(Rate::Khz8).ok())
            .filter(|samples| !samples.is_empty());
        match &whole {
            // Its time says when it was last used.
            Some(_) => {
                let used = fs::File::open(&path).and_then(|f| f.set_modified(SystemTime::now()));
                if let Err(error) = used {
                    tracing::debug!(%error, path = %path.display(), "cannot note the use");
                }
            }
            None => {
                tracing::warn!(path = %path.display(), "a cached prompt is damaged; deleted");
                let _ = fs::remove_file(&path);
            }
        }
        whole
    }

    /// Keeps what was spoken.
    pub fn store(&self, engine: &str, voice: &str, text: &str, samples: &[i16]) -> io::Result<()> {
        let bytes = wav_bytes(samples.len());
        if bytes > self.bytes_max {
            return Ok(());
        }
        let mut file = Vec::with_capacity(samples.len() * 2 + 44);
        file.extend_from_slice(&wav::header(Rate::Khz8.hz(), 1, samples.len() as u64 * 2));
        samples.iter().for_each(|sample| file.extend_from_slice(&sample.to_le_bytes()));
        let path = self.path(engine, voice, text);
        let number = self.aside.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_extension(format!("{number}.{SUFFIX_ASIDE}"));
        let written = write_synced(&aside, &file).and_then(|()| fs::rename(&aside, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&aside);
            return Err(error);
        }
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        self.shrink()
    }

    fn path(&self, engine: &str, voice: &str, text: &str) -> PathBuf {
        let mut hash = Sha256::new();
        for part in [engine, voice, text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension(SUFFIX)
    }

    fn shrink(&self) -> io::Result<()> {
        let mut total = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if *total <= self.bytes_max {
            return Ok(());
        }
        let mut files = files(&self.folder)?;
        files.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        *total = files.iter().map(|file| file.bytes).sum();
        for file in files {
            if *total <= self.bytes_max / 100 * KEEP_PERCENT {
                break;
            }
            fs::remove_file(&file.path)?;
            *total -= file.bytes;
        }
        Ok(())
    }
}

struct Found {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn files(folder: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file that is gone meanwhile needs no care.
        let Ok(about) = entry.metadata() else { continue };
        if about.is_file() {
            found.push(Found { path: entry.path(), bytes: about.len(), used: about.modified()? });
        }
    }
    Ok(found)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    // Without it, a power cut after the rename could leave a file of zeros under a good name.
    file.sync_data()
}

/// The length of a mono file of 16 bits with this many samples.
fn wav_bytes(samples: usize) -> u64 {
    wav::HEADER_BYTES as u64 + samples as u64 * 2
}
