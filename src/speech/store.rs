//! All prompts by what a flow calls them: files of the prompt folder, and spoken text.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tandem_center::flow::Prompt;
use tandem_media::{
    clip::{Clip, ClipError},
    wav,
};

use super::{DiskCache, SpeakError, SpeechSynthesizer, clip_cache::ClipCache};

/// Files of the prompt folder that are known. Past it the others are not found.
pub const FILES_MAX: usize = 10_000;

/// How deep the prompt folder is looked through.
const FOLDERS_DEEP_MAX: usize = 4;

/// For how long a file is believed to be unchanged. A new recording is heard after that.
const FILE_TRUSTED: Duration = Duration::from_secs(2);

/// Turns prompts into clips.
pub struct PromptStore {
    folder: PathBuf,
    engine: Arc<dyn SpeechSynthesizer>,
    disk: Option<Arc<DiskCache>>,
    clips: ClipCache<Key>,
    /// Texts taken from the disk, and texts spoken by the engine.
    spoken: [AtomicU64; 2],
    /// When a file was last looked at, and how it was then.
    seen: Mutex<BTreeMap<String, (Instant, Stamp)>>,
}

/// Why a prompt cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The name leads out of the prompt folder.
    #[error("{name:?} is no name of a prompt file")]
    BadName { name: String },
    /// The file cannot be read.
    #[error("prompt file {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// The file is longer than is read.
    #[error("prompt file {path} has {bytes} bytes, at most {bytes_max} are read")]
    TooLarge { path: PathBuf, bytes: u64, bytes_max: usize },
    /// The file holds no audio that can be played.
    #[error("prompt file {path}: {source}")]
    Audio { path: PathBuf, source: ClipError },
    /// No voice is configured for the language.
    #[error("no voice speaks {language:?}")]
    NoVoice { language: String },
    /// The engine failed.
    #[error(transparent)]
    Speak(#[from] SpeakError),
    /// What the engine gave cannot be played.
    #[error("the spoken text cannot be played: {0}")]
    Spoken(ClipError),
    /// A thread that read or wrote a file ended early: the node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// What a clip is. A file that changes is another clip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    File { name: String, stamp: Stamp },
    Text { voice: String, text: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

impl std::fmt::Debug for PromptStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromptStore")
            .field("folder", &self.folder)
            .field("engine", &self.engine.identity())
            .finish_non_exhaustive()
    }
}

impl PromptStore {
    /// A store over a folder of WAV files and an engine. Without `disk`, spoken text is kept
    /// in memory only.
    #[must_use]
    pub fn new(
        folder: PathBuf,
        engine: Arc<dyn SpeechSynthesizer>,
        disk: Option<DiskCache>,
    ) -> Self {
        Self {
            folder,
            engine,
            disk: disk.map(Arc::new),
            clips: ClipCache::new(),
            spoken: Default::default(),
            seen: Mutex::default(),
        }
    }

    /// The names of the files that flows can play.
    #[must_use]
    pub fn files(&self) -> BTreeSet<String> {
        files_below(&self.folder)
    }

    /// The languages that flows can speak.
    #[must_use]
    pub fn languages(&self) -> BTreeSet<String> {
        self.engine.languages()
    }

    /// How many texts were taken from the disk, and how many the engine spoke.
    #[must_use]
    pub fn spoken(&self) -> [u64; 2] {
        self.spoken.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// The clips of some prompts, in order; the first that cannot be had is the error.
    pub async fn clips(&self, prompts: &[Prompt]) -> Result<Vec<Clip>, PromptError> {
        let mut clips = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            clips.push(self.clip(prompt).await?);
        }
        Ok(clips)
    }

    /// Makes prompts before the first call wants them, one after the other. Answers how many
    /// could not be had; each is logged.
    pub async fn warm(&self, prompts: impl IntoIterator<Item = Prompt>) -> usize {
        let mut failed = 0;
        for prompt in prompts {
            if let Err(error) = self.clip(&prompt).await {
                tracing::warn!(%error, ?prompt, "a flow's prompt cannot be played");
                failed += 1;
            }
        }
        failed
    }

    /// The clip of a prompt. Many calls may ask for the same at once; it is made once.
    pub async fn clip(&self, prompt: &Prompt) -> Result<Clip, PromptError> {
        match prompt {
            Prompt::File(name) => {
                let path = self.path(name)?;
                let stamp = self.stamp(name, &path).await?;
                let key = Key::File { name: name.clone(), stamp };
                self.made(&key, read_clip(path, stamp.bytes)).await
            }
            Prompt::Text { language, text } => {
                let Some(voice) = self.engine.voice(language) else {
                    return Err(PromptError::NoVoice { language: language.clone() });
                };
                let key = Key::Text { voice: voice.to_owned(), text: text.clone() };
                self.made(&key, self.speak(voice, text)).await
            }
        }
    }

    async fn made(
        &self,
        key: &Key,
        make: impl Future<Output = Result<Clip, PromptError>>,
    ) -> Result<Clip, PromptError> {
        let cell = self.clips.cell(key);
        match cell.get_or_try_init(|| make).await {
            Ok(clip) => Ok(clip.clone()),
            Err(error) => {
                self.clips.forget(key, &cell);
                Err(error)
            }
        }
    }

    async fn speak(&self, voice: &str, text: &str) -> Result<Clip, PromptError> {
        let engine = self.engine.identity().to_owned();
        let name = (engine, voice.to_owned(), text.to_owned());
        if let Some(disk) = self.disk.clone() {
            let (engine, voice, text) = name.clone();
            let kept = blocking(move || disk.load(&engine, &voice, &text)).await?;
            if let Some(clip) = kept.and_then(|samples| Clip::from_pcm(&samples).ok()) {
                self.spoken[0].fetch_add(1, Ordering::Relaxed);
                return Ok(clip);
            }
        }
        self.spoken[1].fetch_add(1, Ordering::Relaxed);
        let samples = self.engine.speak(voice, text).await?;
        let clip = Clip::from_pcm(&samples).map_err(PromptError::Spoken)?;
        if let Some(disk) = self.disk.clone() {
            let (engine, voice, text) = name;
            // Nobody waits for the disk: a prompt that is not kept is spoken again.
            tokio::task::spawn_blocking(move || {
                if let Err(error) = disk.store(&engine, &voice, &text, &samples) {
                    tracing::warn!(%error, "a spoken prompt is not kept on disk");
                }
            });
        }
        Ok(clip)
    }

    fn path(&self, name: &str) -> Result<PathBuf, PromptError> {
        let is_inside = !name.is_empty()
            && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_inside {
            return Err(PromptError::BadName { name: name.to_owned() });
        }
        Ok(self.folder.join(name))
    }

    async fn stamp(&self, name: &str, path: &Path) -> Result<Stamp, PromptError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        if let Some((at, stamp)) = seen
            && at.elapsed() < FILE_TRUSTED
        {
            return Ok(stamp);
        }
        let failed = |source| PromptError::File { path: path.to_owned(), source };
        let about = tokio::fs::metadata(path).await.map_err(failed)?;
        let stamp = Stamp { modified: about.modified().map_err(failed)?, bytes: about.len() };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= FILES_MAX {
            seen.clear(); // Looked at again when they are played.
        }
        seen.insert(name.to_owned(), (Instant::now(), stamp));
        Ok(stamp)
    }
}

async fn read_clip(path: PathBuf, bytes: u64) -> Result<Clip, PromptError> {
    let bytes_max = wav::FILE_BYTES_MAX;
    if bytes > bytes_max as u64 {
        return Err(PromptError::TooLarge { path, bytes, bytes_max });
    }
    blocking(move || {
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(source) => return Err(PromptError::File { path, source }),
        };
        Clip::from_wav(&file).map_err(|source| PromptError::Audio { path, source })
    })
    .await?
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PromptError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PromptError::ShuttingDown)
}

/// The WAV files below a folder, as flows name them: relative, with `/` between folders.
#[must_use]
pub fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(about) = fs::metadata(entry.path()) else { continue };
            if about.is_dir() && depth < FOLDERS_DEEP_MAX {
                open.push((entry.path(), format!("{prefix}{name}/"), depth + 1));
            } else if about.is_file()
                && name.to_ascii_lowercase().ends_with(".wav")
                && found.len() < FILES_MAX
            {
                found.insert(format!("{prefix}{name}"));
            }
        }
    }
    found
}
