//! Clips in memory, the least recently used forgotten first.
//!
//! Each entry is a cell that is filled once: of many calls that want a new prompt at the same
//! moment, one has it made and the others wait for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tandem_media::clip::Clip;
use tokio::sync::OnceCell;

/// Clips that are kept. Past it the one that was used longest ago is forgotten; calls that
/// play it keep it until they end.
const CLIPS_MAX: usize = 2_048;

/// Milliseconds of audio that are kept: two hours, 115 MB as PCM and half that again for each
/// codec in use.
const CLIPS_MS_MAX: u64 = 2 * 3_600_000;

/// A cell that holds a clip once it is made.
pub(super) type Cell = Arc<OnceCell<Clip>>;

/// Clips by what they are.
#[derive(Debug)]
pub(super) struct ClipCache<K> {
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    clips: BTreeMap<K, Entry>,
    /// Counts uses, to order them.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    cell: Cell,
    used: u64,
}

impl<K: Ord + Clone> ClipCache<K> {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::new(Inner { clips: BTreeMap::new(), uses: 0 }) }
    }

    /// The cell of a clip, which may still be empty.
    pub(super) fn cell(&self, key: &K) -> Cell {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.uses += 1;
        let used = inner.uses;
        if let Some(entry) = inner.clips.get_mut(key) {
            entry.used = used;
            return entry.cell.clone();
        }
        inner.forget_some();
        let cell = Cell::default();
        inner.clips.insert(key.clone(), Entry { cell: cell.clone(), used });
        cell
    }

    /// Forgets a clip that could not be made, or that is another one now.
    pub(super) fn forget(&self, key: &K, cell: &Cell) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.clips.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.cell, cell)) {
            inner.clips.remove(key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clips.len()
    }
}

impl<K: Ord + Clone> Inner<K> {
    /// Makes room for one more. Looks at all entries: that is only done for a clip that is
    /// about to be made, which costs far more.
    fn forget_some(&mut self) {
        let mut ms: u64 = (self.clips.values())
            .filter_map(|entry| entry.cell.get())
            .map(|clip| u64::from(clip.ms()))
            .sum();
        while self.clips.len() >= CLIPS_MAX || ms > CLIPS_MS_MAX {
            let oldest = self.clips.iter().min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            if let Some(clip) = self.clips.remove(&key).as_ref().and_then(|entry| entry.cell.get())
            {
                ms -= u64::from(clip.ms());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_clip_that_was_used_longest_ago_is_forgotten_first() {
        let cache = ClipCache::new();
        for n in 0..CLIPS_MAX {
            cache.cell(&n);
        }
        let kept = cache.cell(&0);
        cache.cell(&CLIPS_MAX); // Forgets 1, not 0.
        assert_eq!(cache.len(), CLIPS_MAX);
        assert!(Arc::ptr_eq(&kept, &cache.cell(&0)));
    }

    #[tokio::test]
    async fn long_clips_are_forgotten_when_they_are_hours_together() {
        let cache = ClipCache::new();
        let half_an_hour = Clip::from_pcm(&vec![0; 8 * 30 * 60 * 1_000]).unwrap();
        for n in 0..8 {
            cache.cell(&n).set(half_an_hour.clone()).unwrap();
        }
        assert_eq!(cache.len(), 5, "two hours, and the one that was put in last");
    }
}
