//! The folder of flow files: reads them, checks them, and follows their changes.
//!
//! Owns what was last read. A file that is wrong leaves the last good version of its flow in
//! use and is reported once, with file, line and column of each error; it is reported again
//! when it changes and is still wrong. What calls do with an old version is the centre's
//! business. Blocking: the node calls it off its packet and signalling paths.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tandem_center::flow::{FLOW_BYTES_MAX, Flow, FlowError, FlowName, FlowVersion, Surroundings};

use crate::config::types::Name;

/// Flow files in the folder. More is another folder than that of the flows.
const FLOWS_MAX: usize = 1_000;

/// A file that changed this recently is read even if its time and size are as before: some
/// file systems count time in steps of two seconds.
const TIME_IS_COARSE: Duration = Duration::from_secs(3);

/// The flows that come with the program, for a node that runs without a folder.
pub const BUILT_IN: [(&str, &str); 1] = [("demo", include_str!("../config/flows/demo.toml"))];

/// A file is gone when so many looks in a row do not find it: editors that save replace a
/// file, and for a moment there is none.
const LOOKS_MISSING_MAX: u8 = 2;

/// The folder, as it was last looked at.
#[derive(Debug)]
pub struct FlowFolder {
    folder: PathBuf,
    files: BTreeMap<PathBuf, File>,
    around: Surroundings,
}

/// What a look at the folder found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Flows that are new or have a new version.
    pub changed: BTreeSet<FlowName>,
    /// Flows whose files are gone.
    pub removed: BTreeSet<FlowName>,
    /// What is wrong with files that changed. Their flows are as they were.
    pub errors: Vec<FlowFileError>,
}

/// One error of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFileError {
    /// The file.
    pub path: PathBuf,
    /// What and where. Line and column are 1 when the whole file is meant.
    pub error: FlowError,
    /// The version of the flow that stays in use, if there is one.
    pub in_use: Option<FlowVersion>,
}

/// Why the folder cannot be looked at. What was read before stays in use.
#[derive(Debug, thiserror::Error)]
#[error("the flows in {} cannot be read: {source}", folder.display())]
pub struct FolderError {
    /// The folder.
    pub folder: PathBuf,
    /// Why.
    pub source: io::Error,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// The text that was judged last, or why there is none.
    text: Option<Result<Arc<str>, String>>,
    errors: Vec<FlowError>,
    /// The last version that was right, with its text.
    good: Option<(Arc<Flow>, Arc<str>)>,
    /// Looks in a row that did not find the file.
    missing: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

impl Look {
    /// The flows are other ones than before.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        !self.changed.is_empty() || !self.removed.is_empty()
    }
}

impl fmt::Display for FlowFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.error)?;
        match self.in_use {
            Some(version) => write!(f, " (version {version} of the flow stays in use)"),
            None => f.write_str(" (the flow is not in use)"),
        }
    }
}

impl FlowFolder {
    /// A folder that was not looked at yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, files: BTreeMap::new(), around: Surroundings::default() }
    }

    /// Looks at the folder. Files that did not change are judged again only when something
    /// around them did: a prompt that came, a queue that is gone.
    pub fn look(&mut self, around: &Surroundings) -> Result<Look, FolderError> {
        let found = flow_files(&self.folder)
            .map_err(|source| FolderError { folder: self.folder.clone(), source })?;
        let around_changed = self.around != *around;
        self.around = around.clone();
        let mut look = Look::default();
        for path in &found {
            let file = self.files.entry(path.clone()).or_insert_with(|| File::new(path.clone()));
            file.missing = 0;
            let version = file.version();
            if file.look(around, around_changed) {
                look.errors.extend(file.file_errors());
            }
            if let Some((flow, _)) = file.good.as_ref().filter(|_| file.version() != version) {
                look.changed.insert(flow.name.clone());
            }
        }
        self.files.retain(|path, file| {
            if !found.contains(path) {
                file.missing += 1;
            }
            let is_gone = file.missing >= LOOKS_MISSING_MAX;
            if let Some((flow, _)) = file.good.as_ref().filter(|_| is_gone) {
                look.removed.insert(flow.name.clone());
            }
            !is_gone
        });
        Ok(look)
    }

    /// The last good version of each flow.
    #[must_use]
    pub fn flows(&self) -> BTreeMap<FlowName, Arc<Flow>> {
        let good = self.files.values().filter_map(|file| file.good.as_ref());
        good.map(|(flow, _)| (flow.name.clone(), flow.clone())).collect()
    }

    /// The texts of [`Self::flows`], for the directory that all nodes share.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<FlowName, Arc<str>> {
        let good = self.files.values().filter_map(|file| file.good.as_ref());
        good.map(|(flow, text)| (flow.name.clone(), text.clone())).collect()
    }

    /// All that is wrong now.
    #[must_use]
    pub fn errors(&self) -> Vec<FlowFileError> {
        self.files.values().flat_map(File::file_errors).collect()
    }
}

/// Looks at the folder for ever, `every` so often, logs what is wrong, and tells what
/// changed. `around` is asked at each look. Ends when the runtime does.
pub async fn watch(
    mut folder: FlowFolder,
    every: Duration,
    around: impl Fn() -> Surroundings + Send + Sync + 'static,
    mut tell: impl FnMut(&FlowFolder, &Look) + Send,
) {
    let around = Arc::new(around);
    let mut unreadable = false;
    loop {
        tokio::time::sleep(every).await;
        let around = around.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let look = folder.look(&around());
            (folder, look)
        });
        let Ok((looked, look)) = looking.await else { return };
        folder = looked;
        match look {
            Ok(look) => {
                unreadable = false;
                look.errors.iter().for_each(|error| tracing::warn!("{error}"));
                for name in &look.changed {
                    tracing::info!(flow = &**name, "the flow has a new version");
                }
                for name in &look.removed {
                    tracing::info!(flow = &**name, "the flow's file is gone");
                }
                if look.changes_something() {
                    tell(&folder, &look);
                }
            }
            // Said once, not at each look.
            Err(error) if !unreadable => {
                unreadable = true;
                tracing::warn!(%error, "the flows stay as they are");
            }
            Err(_) => (),
        }
    }
}

impl File {
    fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, text: None, errors: vec![], good: None, missing: 0 }
    }

    fn version(&self) -> Option<FlowVersion> {
        self.good.as_ref().map(|(flow, _)| flow.version)
    }

    fn file_errors(&self) -> Vec<FlowFileError> {
        let in_use = self.version();
        let one = |error: &FlowError| FlowFileError {
            path: self.path.clone(),
            error: error.clone(),
            in_use,
        };
        self.errors.iter().map(one).collect()
    }

    /// Reads and judges the file if it may have changed. Answers whether its errors are news.
    fn look(&mut self, around: &Surroundings, around_changed: bool) -> bool {
        let stamp = stamp(&self.path);
        let is_settled = stamp
            .is_some_and(|stamp| stamp.modified.elapsed().is_ok_and(|age| age > TIME_IS_COARSE));
        if stamp == self.stamp && is_settled && !around_changed {
            return false;
        }
        self.stamp = stamp;
        let text = read_text(&self.path);
        let text_changed = self.text.as_ref() != Some(&text);
        if !text_changed && !around_changed {
            return false;
        }
        let errors = match judge(&self.path, &text, around) {
            Ok(good) => {
                self.good = Some(good);
                vec![]
            }
            Err(errors) => errors,
        };
        self.text = Some(text);
        let is_news = text_changed || errors != self.errors;
        self.errors = errors;
        is_news
    }
}

type Good = (Arc<Flow>, Arc<str>);

fn judge(
    path: &Path,
    text: &Result<Arc<str>, String>,
    around: &Surroundings,
) -> Result<Good, Vec<FlowError>> {
    let whole = |message: String| vec![FlowError { line: 1, column: 1, message }];
    let text = text.as_ref().map_err(|message| whole(message.clone()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: Name = name
        .parse()
        .map_err(|error| whole(format!("the file's name is no name of a flow: {error}")))?;
    let flow = Flow::parse_in(name.as_str(), text, around)?;
    Ok((Arc::new(flow), text.clone()))
}

fn flow_files(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") && path.is_file() {
            files.insert(path);
        }
        if files.len() > FLOWS_MAX {
            return Err(io::Error::other(format!("there are more than {FLOWS_MAX} files")));
        }
    }
    Ok(files)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    Some(Stamp { modified: about.modified().ok()?, bytes: about.len() })
}

fn read_text(path: &Path) -> Result<Arc<str>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    // One more than fits, so that the flow's own check sees that it is too large.
    file.take(FLOW_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() > FLOW_BYTES_MAX {
        return Err(format!("a flow has at most {FLOW_BYTES_MAX} bytes"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(format!("line {line} is not UTF-8: save the file in that encoding"))
        }
    }
}

#[cfg(test)]
mod tests;
