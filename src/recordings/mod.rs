//! Recordings: parts on the disks of the cluster's nodes, kept twice, served as one file.
//!
//! Read [`part`] first: a recording is parts, one for each node that carried the call. The recorder
//! (in the media engine) writes them; `keeper` makes them complete, repairs what a crash left and
//! copies them to a second node; `index` remembers; `joined` and `download` make one file of them;
//! `peers` speaks to the other nodes. What has to be known about a part stands in its file, so the
//! loss of everything else is repaired by a look at the folder. Deletes nothing that was recorded.

mod download;
mod index;
mod joined;
mod keeper;
pub mod part;
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tandem_center::RecordingId;
use thiserror::Error;
use tokio::sync::mpsc;

pub use download::{Download, Form};
pub use joined::{Gap, GapReason};
pub use part::{Part, PartId};
pub use peers::{Asked, PeerKey};

use self::index::Index;
use self::peers::Peers;
use crate::media_engine::PortEvent;

/// Beginnings and ends of files that wait to be looked at. Past it the folder is looked through.
const NEWS_MAX: usize = 4_096;

/// Parts that are fetched from other nodes at a time, to keep a copy.
const FETCHES_MAX: usize = 2;

/// How long the others may take to say what they have.
const ASKED_WITHIN: Duration = Duration::from_secs(3);

/// Who this node is among others, for [`Recordings::open`].
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Every member and its HTTP address.
    pub members: Vec<(u64, Option<SocketAddr>)>,
    /// What they prove to each other.
    pub key: PeerKey,
}

/// Why a recording cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRecording {
    /// No node has any of it.
    #[error("nobody has it")]
    Nobody,
    /// No node that answers knows of it; these do not answer.
    #[error("no node that answers has it, and nodes {0:?} do not answer")]
    Unsure(Vec<u64>),
    /// The nodes that have this part do not answer.
    #[error("{part} is on nodes {nodes:?}, which do not answer")]
    Down {
        /// The part.
        part: String,
        /// Who has it.
        nodes: BTreeSet<u64>,
    },
    /// This node's own index cannot be read.
    #[error("the index of recordings cannot be read")]
    Index,
}

/// What a node answers that is asked to keep a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It has it.
    Yes,
    /// It fetches it.
    Soon,
    /// It fetches as many as it can, or its disk is full.
    NotNow,
}

/// The recordings of this node and its cluster.
#[derive(Debug)]
pub struct Recordings {
    node: u64,
    folder: PathBuf,
    index: Index,
    peers: Option<Peers>,
    news: mpsc::Sender<News>,
    /// News were lost: look through the folder.
    look: AtomicBool,
    fetching: Mutex<BTreeSet<PartId>>,
    copied: AtomicU64,
    /// There is no room for copies.
    full: AtomicBool,
}

/// What the recorder did.
#[derive(Debug)]
enum News {
    Began(PartId),
    Ended(PartId),
}

/// What [`Recordings::open`] found, for [`Recordings::keep`].
#[derive(Debug)]
pub struct Chores {
    news: mpsc::Receiver<News>,
    /// Files that nobody writes any more and that are not known to be complete.
    left: Vec<PartId>,
}

/// Why recordings cannot be kept.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The folder.
    #[error("the folder of recordings {folder} cannot be used: {error}", folder = .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The index.
    #[error("the index of recordings {file} cannot be used: {error}; without it, it is made anew",
        file = .file.display())]
    Index {
        /// Which.
        file: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// The client.
    #[error("no HTTP client for recordings: {0}")]
    Client(#[from] reqwest::Error),
}

impl Recordings {
    /// Opens the folder, before anything is recorded. `data` is where the index goes.
    ///
    /// # Errors
    /// The folder or the index cannot be used.
    pub fn open(
        node: u64,
        folder: PathBuf,
        data: &Path,
        cluster: Option<Cluster>,
    ) -> Result<(Arc<Self>, Chores), OpenError> {
        let file = data.join("recordings.sqlite");
        let index = Index::open(&file, node);
        let index = index.map_err(|error| OpenError::Index { file: file.clone(), error })?;
        let complete = index.complete_here().map_err(|error| OpenError::Index { file, error })?;
        let left = left(&folder, &complete);
        let left = left.map_err(|error| OpenError::Folder { folder: folder.clone(), error })?;
        let peers = cluster.map(|cluster| Peers::new(node, &cluster.members, cluster.key));
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let recordings = Self {
            node,
            folder,
            index,
            peers: peers.transpose()?,
            news,
            look: AtomicBool::new(false),
            fetching: Mutex::default(),
            copied: AtomicU64::new(0),
            full: AtomicBool::new(false),
        };
        Ok((Arc::new(recordings), Chores { news: receiver, left }))
    }

    /// Where a part is, or goes.
    pub fn path(&self, id: &PartId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// The key that the other nodes sign with; none on a node that is alone.
    pub fn key(&self) -> Option<&PeerKey> {
        self.peers.as_ref().map(Peers::key)
    }

    /// The recorder has something to tell. Never waits.
    pub fn hear(&self, event: &PortEvent) {
        let (path, news): (_, fn(PartId) -> News) = match event {
            PortEvent::RecordingBegan { path, .. } => (path, News::Began),
            PortEvent::RecordingEnded { path, .. } => (path, News::Ended),
            PortEvent::Digit { .. }
            | PortEvent::Played { .. }
            | PortEvent::Quiet { .. }
            | PortEvent::Died { .. }
            | PortEvent::RecordingFailed { .. } => return,
        };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(id) = PartId::parse(name) else { return };
        if self.news.try_send(news(id)).is_err() {
            self.look.store(true, Ordering::Relaxed);
        }
    }

    /// Whether copies of other nodes' parts are refused for want of room.
    pub fn set_full(&self, is_full: bool) {
        self.full.store(is_full, Ordering::Relaxed);
    }

    /// Parts that this node has copied to another since it started, and those that wait.
    pub fn copies(&self) -> (u64, u64) {
        let waiting = if self.peers.is_some() { self.index.uncopied_count() } else { Ok(0) };
        (self.copied.load(Ordering::Relaxed), waiting.unwrap_or(0))
    }

    /// What this node knows of a recording: those of its parts that are here as they are now, even
    /// while they are written. Blocks on the disk.
    pub fn known(&self, recording: &str) -> rusqlite::Result<Vec<Part>> {
        let mut parts = self.index.of(recording)?;
        for part in &mut parts {
            if !part.places.contains(&self.node) {
                continue;
            }
            match std::fs::metadata(self.path(&part.id)) {
                Ok(file) if part.sha256.is_none() => part.bytes = file.len(),
                Ok(_) => (),
                Err(error) => {
                    tracing::error!(part = %part.id, %error, "a part of a recording is missing");
                    part.places.remove(&self.node);
                }
            }
        }
        Ok(parts)
    }

    /// Another node says what it knows. Blocks on the disk.
    pub fn told(&self, mut part: Part) -> rusqlite::Result<()> {
        // What is here, this node knows best.
        part.places.remove(&self.node);
        self.index.learn(part)
    }

    /// A recording as one file, from wherever its parts are.
    ///
    /// # Errors
    /// Nobody has it, or those who have it do not answer.
    pub async fn get(self: &Arc<Self>, id: &RecordingId) -> Result<Download, NoRecording> {
        let (parts, silent) = self.gather(id).await?;
        if parts.is_empty() {
            return Err(match silent.is_empty() {
                true => NoRecording::Nobody,
                false => NoRecording::Unsure(silent),
            });
        }
        let mut lost = Vec::new();
        for (at, (part, sources)) in parts.iter().enumerate() {
            if sources.is_empty() {
                let is_member = |node: &u64| {
                    *node == self.node
                        || self.peers.as_ref().is_some_and(|peers| peers.is_member(*node))
                };
                // Where its only node is this one or answers without it, the file is gone.
                let down = |node: &&u64| is_member(node) && silent.contains(node);
                let mut holders: BTreeSet<u64> = part.places.clone();
                holders.insert(part.node);
                let nodes: BTreeSet<u64> = holders.iter().filter(down).copied().collect();
                if !nodes.is_empty() {
                    return Err(NoRecording::Down { part: part.id.to_string(), nodes });
                }
                lost.push(at);
            }
        }
        if lost.len() == parts.len() {
            return Err(NoRecording::Nobody);
        }
        let (parts, sources) = parts.into_iter().unzip();
        Ok(Download::new(Arc::clone(self), id, parts, sources, &lost))
    }

    /// The parts of a recording with the nodes that have them now, and the members that do not
    /// answer.
    async fn gather(
        self: &Arc<Self>,
        id: &RecordingId,
    ) -> Result<(Vec<(Part, Vec<u64>)>, Vec<u64>), NoRecording> {
        let (own, name) = (Arc::clone(self), Arc::clone(&id.0));
        let own = tokio::task::spawn_blocking(move || own.known(&name)).await;
        let own = own.ok().and_then(|known| {
            known.inspect_err(|error| tracing::error!(%error, "the index of recordings")).ok()
        });
        let mut answers = vec![(self.node, own.ok_or(NoRecording::Index)?)];
        let mut silent = Vec::new();
        if let Some(peers) = &self.peers {
            let ask = async |node| {
                let asked = tokio::time::timeout(ASKED_WITHIN, peers.parts(node, &id.0)).await;
                (node, asked)
            };
            for (node, answer) in join_all(peers.others().map(ask)).await {
                match answer {
                    Ok(Ok(parts)) => answers.push((node, parts)),
                    Ok(Err(error)) => {
                        tracing::info!(node, %error, "not asked for a recording");
                        silent.push(node);
                    }
                    Err(_) => silent.push(node),
                }
            }
        }
        let mut merged: BTreeMap<PartId, (Part, Vec<u64>)> = BTreeMap::new();
        for (node, parts) in answers {
            for part in parts.into_iter().filter(|part| part.id.recording == id.0) {
                let has_it = part.places.contains(&node);
                let entry = merged.entry(part.id.clone());
                let (known, sources) = entry.or_insert_with(|| (part.clone(), Vec::new()));
                if has_it {
                    sources.push(node);
                }
                known.learn(part);
            }
        }
        Ok((merged.into_values().collect(), silent))
    }
}

/// The files of the recordings in a node's data that nobody is known to have finished.
///
/// # Errors
/// The index or the folder cannot be read.
pub fn unfinished(data: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let (file, folder) = (data.join("recordings.sqlite"), data.join("recordings"));
    if !file.exists() || !folder.exists() {
        return Ok(Vec::new());
    }
    let wrong = |error| OpenError::Index { file: file.clone(), error };
    let complete = Index::open(&file, 0).and_then(|index| index.complete_here()).map_err(wrong)?;
    let parts = left(&folder, &complete);
    let parts = parts.map_err(|error| OpenError::Folder { folder: folder.clone(), error })?;
    Ok(parts.iter().map(|part| folder.join(part.to_string())).collect())
}

/// The parts in the folder that are not known to be complete.
fn left(folder: &Path, complete: &BTreeSet<String>) -> io::Result<Vec<PartId>> {
    std::fs::create_dir_all(folder)?;
    let mut left = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| !complete.contains(*name)) else { continue };
        left.extend(PartId::parse(name).ok());
    }
    left.sort_unstable();
    Ok(left)
}

#[cfg(test)]
mod tests;
