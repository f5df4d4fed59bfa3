//! What is done for parts besides writing them: making them complete, repairing what a crash left,
//! and copying them to a second node.
//!
//! A node copies what it wrote. It asks another one to keep a copy; that one fetches the file piece
//! by piece, goes on where it stopped if it has to, and has it only when the checksum is right. Until
//! then the part counts as waiting, over restarts too, and is tried again, later after each failure,
//! at another node each time.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tandem_media::wav::{self, PART_HEADER_BYTES};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::part::Part;
use super::peers::{CHUNK_BYTES_MAX, Copied, PeerError, Peers, hex};
use super::{Chores, Keeps, News, PartId, Recordings, left};

/// How often parts are looked at that wait for their copy.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Parts that are looked at in one go; the rest waits for the next.
const WAITING_MAX: usize = 64;

/// How long a copy may take, before the time that its bytes take on a slow network.
const FETCHED_WITHIN: Duration = Duration::from_secs(5);

/// A slow network.
const FETCHED_BYTES_A_SECOND: u64 = 250_000;

/// When the node that fetches is asked again whether it has it; later each time.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A file that has not changed for so long is not written any more: the recorder touches it every
/// second.
const STILL_FOR: Duration = Duration::from_secs(30);

/// What was fetched in part and not continued for so long is removed.
const PARTIAL_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Nodes that are being told something. Past it they are not told, and learn it when they ask.
const TELLING_MAX: usize = 64;

/// How a part fared that waits for its copy.
#[derive(Debug)]
struct Try {
    failures: u32,
    not_before: Instant,
}

impl Recordings {
    /// Does the chores as long as the runtime lives.
    pub async fn keep(self: Arc<Self>, mut chores: Chores) {
        let telling = Arc::new(Semaphore::new(TELLING_MAX));
        let copying = Arc::clone(&self).copy_all(Arc::clone(&telling));
        tokio::spawn(copying);
        let incoming = self.incoming();
        drop(spawn_blocking(move || remove_old(&incoming)).await);
        for id in std::mem::take(&mut chores.left) {
            self.complete(id, &telling).await;
        }
        while let Some(news) = chores.news.recv().await {
            match news {
                News::Began(id) => {
                    let own = Arc::clone(&self);
                    let begun = spawn_blocking(move || own.begin(&id)).await;
                    if let Ok(Some(part)) = begun {
                        self.tell_all(&part, &telling);
                    }
                }
                News::Ended(id) => self.complete(id, &telling).await,
            }
        }
    }

    /// A part is being written from now on.
    fn begin(&self, id: &PartId) -> Option<Part> {
        let path = self.path(id);
        let read = || {
            let file = File::open(&path)?;
            let (head, bytes) = head(&file)?;
            Ok(wav::read_part(&head, bytes).map(|header| self.part(id, &header)))
        };
        let part = read().inspect_err(|error: &io::Error| {
            tracing::error!(part = %id, %error, "a part that begins cannot be read");
        });
        let part = part.ok().flatten()?;
        if let Err(error) = self.index.learn(part.clone()) {
            tracing::error!(part = %id, %error, "a part that begins is not in the index");
        }
        Some(part)
    }

    fn part(&self, id: &PartId, header: &wav::PartHeader) -> Part {
        Part {
            id: id.clone(),
            node: header.stamp.node,
            began_ms: header.stamp.began_ms,
            rate_hz: header.rate_hz,
            bytes: header.file_bytes(),
            sha256: None,
            places: [self.node].into(),
        }
    }

    async fn complete(self: &Arc<Self>, id: PartId, telling: &Arc<Semaphore>) {
        let own = Arc::clone(self);
        match spawn_blocking(move || own.seal(&id)).await {
            Ok(Some(part)) => self.tell_all(&part, telling),
            Ok(None) => (),
            Err(error) => tracing::error!(%error, "a part is not made complete"),
        }
    }

    /// Nobody writes the part any more: repairs its file if a crash left it, and remembers its
    /// checksum. Blocks on the disk.
    pub(super) fn seal(&self, id: &PartId) -> Option<Part> {
        let path = self.path(id);
        let header = match repair(&path) {
            Ok(Some(header)) => header,
            Ok(None) => return None,
            Err(error) => {
                tracing::error!(part = %id, %error, "a part cannot be made complete");
                return None;
            }
        };
        let sealed = checksum(&path).map_err(|error| error.to_string()).and_then(|sha256| {
            let part = Part { sha256: Some(sha256), ..self.part(id, &header) };
            self.index.seal(part).map_err(|error| error.to_string())
        });
        sealed
            .inspect_err(|error| tracing::error!(part = %id, %error, "a part is not remembered"))
            .ok()
    }

    /// Tells all others what is known of a part, those who listen.
    fn tell_all(self: &Arc<Self>, part: &Part, telling: &Arc<Semaphore>) {
        let Some(peers) = &self.peers else { return };
        for node in peers.ring() {
            let Ok(permit) = Arc::clone(telling).try_acquire_owned() else { return };
            let (own, part) = (Arc::clone(self), part.clone());
            tokio::spawn(async move {
                let _permit = permit;
                if let Some(peers) = &own.peers
                    && let Err(error) = peers.tell(node, &part).await
                {
                    tracing::debug!(node, part = %part.id, %error, "not told of a part");
                }
            });
        }
    }

    /// Copies what waits, one part after the other.
    async fn copy_all(self: Arc<Self>, telling: Arc<Semaphore>) {
        let mut tries: BTreeMap<PartId, Try> = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.look.swap(false, Ordering::Relaxed) {
                self.look_through(&telling).await;
            }
            let Some(peers) = self.peers.as_ref().filter(|peers| !peers.ring().is_empty()) else {
                continue;
            };
            let own = Arc::clone(&self);
            let waiting = spawn_blocking(move || own.index.uncopied(WAITING_MAX)).await;
            let Ok(Ok(waiting)) = waiting else { continue };
            tries.retain(|id, _| waiting.iter().any(|part| part.id == *id));
            for part in waiting {
                let attempt = tries.entry(part.id.clone()).or_insert_with(Try::first);
                if attempt.not_before > Instant::now() {
                    continue;
                }
                if !self.path(&part.id).exists() {
                    tracing::error!(part = %part.id, "a part is gone before it was copied");
                    drop(self.index.forget_place(part));
                    continue;
                }
                self.copy_one(peers, part, attempt, &telling).await;
            }
        }
    }

    async fn copy_one(
        self: &Arc<Self>,
        peers: &Peers,
        mut part: Part,
        attempt: &mut Try,
        telling: &Arc<Semaphore>,
    ) {
        let ring = peers.ring();
        let node = ring[attempt.failures as usize % ring.len()];
        match fetched_by(peers, node, &part).await {
            Ok(true) => {
                part.places.insert(node);
                let (own, learnt) = (Arc::clone(self), part.clone());
                if let Ok(Err(error)) = spawn_blocking(move || own.index.learn(learnt)).await {
                    tracing::error!(part = %part.id, %error, "a copy is not remembered");
                    return;
                }
                self.copied.fetch_add(1, Ordering::Relaxed);
                self.tell_all(&part, telling);
            }
            Ok(false) => {
                tracing::warn!(part = %part.id, node, "a part is not copied in time");
                attempt.fail();
            }
            Err(error) => {
                tracing::warn!(part = %part.id, node, %error, "a part is not copied");
                attempt.fail();
            }
        }
    }

    /// Some news were lost: what is not known and lies still is complete.
    async fn look_through(self: &Arc<Self>, telling: &Arc<Semaphore>) {
        let own = Arc::clone(self);
        let found = spawn_blocking(move || {
            let complete = own.index.complete_here().map_err(io::Error::other)?;
            let mut found = left(&own.folder, &complete)?;
            found.retain(|id| is_older(&own.path(id), STILL_FOR));
            Ok::<_, io::Error>(found)
        });
        match found.await {
            Ok(Ok(found)) => {
                for id in found {
                    self.complete(id, telling).await;
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "the folder of recordings cannot be read"),
            Err(error) => tracing::error!(%error, "the folder of recordings was not read"),
        }
    }

    /// `from` asks this node to keep a copy of what it wrote.
    pub async fn keep_copy(self: &Arc<Self>, from: u64, part: Part) -> Keeps {
        let own = Arc::clone(self);
        let asked = part.id.clone();
        let known = spawn_blocking(move || own.known(&asked.recording)).await;
        let Ok(Ok(known)) = known else { return Keeps::NotNow };
        let is_held = |held: &Part| {
            held.id == part.id && held.sha256 == part.sha256 && held.places.contains(&self.node)
        };
        if part.sha256.is_some() && known.iter().any(is_held) {
            return Keeps::Yes;
        }
        let is_sane = part.sha256.is_some()
            && part.node != self.node
            && (PART_HEADER_BYTES as u64..=u64::from(u32::MAX) + 8).contains(&part.bytes);
        if !is_sane || self.full.load(Ordering::Relaxed) {
            return Keeps::NotNow;
        }
        {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            if fetching.contains(&part.id) {
                return Keeps::Soon;
            }
            if fetching.len() >= super::FETCHES_MAX {
                return Keeps::NotNow;
            }
            fetching.insert(part.id.clone());
        }
        let own = Arc::clone(self);
        tokio::spawn(async move {
            let id = part.id.clone();
            if let Err(error) = own.fetch(from, part).await {
                tracing::warn!(part = %id, node = from, %error, "a copy is not complete");
            }
            own.fetching.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
        Keeps::Soon
    }

    /// Fetches a file, or what is missing of it, and takes it in if it is the right one.
    pub(super) async fn fetch(self: &Arc<Self>, from: u64, part: Part) -> io::Result<()> {
        let peers = self.peers.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let path = self.incoming().join(part.id.to_string());
        let opened = path.clone();
        let file =
            spawn_blocking(move || open_partial(&opened)).await.map_err(io::Error::other)??;
        let file = Arc::new(file);
        let mut at = file.metadata()?.len();
        if at > part.bytes {
            file.set_len(0)?;
            at = 0;
        }
        while at < part.bytes {
            let wanted = CHUNK_BYTES_MAX.min(part.bytes - at);
            let piece = peers.bytes(from, &part.id, at, wanted).await.map_err(io::Error::other)?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (to, offset, bytes) = (Arc::clone(&file), at, piece.len() as u64);
            let written = spawn_blocking(move || to.write_all_at(&piece, offset)).await;
            written.map_err(io::Error::other)??;
            at += bytes;
        }
        let own = Arc::clone(self);
        spawn_blocking(move || own.take_in(&path, &file, part)).await.map_err(io::Error::other)?
    }

    fn take_in(&self, path: &Path, file: &File, part: Part) -> io::Result<()> {
        if Some(checksum(path)?) != part.sha256 {
            fs::remove_file(path)?;
            return Err(io::Error::other("the checksum is wrong; it is fetched anew"));
        }
        file.sync_all()?;
        fs::rename(path, self.path(&part.id))?;
        File::open(&self.folder)?.sync_all()?;
        self.index.seal(part).map(drop).map_err(io::Error::other)
    }

    /// Where copies are until they are complete.
    pub(super) fn incoming(&self) -> PathBuf {
        self.folder.join("incoming")
    }
}

impl Try {
    fn first() -> Self {
        Self { failures: 0, not_before: Instant::now() }
    }

    fn fail(&mut self) {
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Instant::now() + pause;
    }
}

/// Has `node` fetch a part and waits until it has it. Not longer than a slow network needs: one
/// that fails over and over answers that it fetches, too.
async fn fetched_by(peers: &Peers, node: u64, part: &Part) -> Result<bool, PeerError> {
    let patience = FETCHED_WITHIN + Duration::from_secs(part.bytes / FETCHED_BYTES_A_SECOND);
    let deadline = Instant::now() + patience;
    let mut pause = ASKED_AGAIN_AFTER;
    loop {
        match peers.copy(node, part).await? {
            Copied::Yes => return Ok(true),
            Copied::Soon if Instant::now() > deadline => return Ok(false),
            Copied::Soon => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LOOK_EVERY);
    }
}

/// The first bytes of a file, and its length.
fn head(file: &File) -> io::Result<(Vec<u8>, u64)> {
    let bytes = file.metadata()?.len();
    let mut head = vec![0; PART_HEADER_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut head, 0)?;
    Ok((head, bytes))
}

/// Makes a file valid that was left anywhere: its lengths become those of what it holds. A file
/// that holds no audio is removed; one that is no part is set aside, and the answer is none.
pub(super) fn repair(path: &Path) -> io::Result<Option<wav::PartHeader>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let (found, bytes) = head(&file)?;
    let Some(header) = wav::read_part(&found, bytes) else {
        if bytes <= PART_HEADER_BYTES as u64 {
            tracing::info!(file = %path.display(), "a recording that holds nothing is removed");
            fs::remove_file(path)?;
        } else {
            tracing::error!(file = %path.display(), "not a part of a recording; it is set aside");
            fs::rename(path, path.with_extension("damaged"))?;
        }
        return Ok(None);
    };
    if bytes != header.file_bytes() || header.bytes()[..] != found[..] {
        tracing::info!(file = %path.display(), "a recording that a crash ended is repaired");
        file.set_len(header.file_bytes())?;
        file.write_all_at(&header.bytes(), 0)?;
        file.sync_all()?;
    }
    Ok(Some(header))
}

/// The SHA-256 of a file in hexadecimal.
pub(super) fn checksum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

fn open_partial(path: &Path) -> io::Result<File> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn remove_old(incoming: &Path) {
    let Ok(entries) = fs::read_dir(incoming) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if is_older(&path, PARTIAL_FOR)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(file = %path.display(), %error, "an old partial copy stays");
        }
    }
}

fn is_older(path: &Path, than: Duration) -> bool {
    let changed = path.metadata().and_then(|file| file.modified());
    changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > than))
}
