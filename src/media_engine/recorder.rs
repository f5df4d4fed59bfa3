//! The recorder: a thread that decodes what ports heard and writes WAV files.
//!
//! Packet threads hand over payloads, not samples, several times a second, so that a recorded call
//! costs them a copy. Owns the files as long as they are written. Twice a second all that was heard
//! goes to the files and the files to the disk, so that the loss of the machine takes less than a
//! second of a recording. A file that cannot be written ends its recording, not its call: the ports
//! are told by [`PortEvent::RecordingFailed`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tandem_media::codec::{CodecKind, Decoder};
use tandem_media::frame::{FRAME_SAMPLES_MAX, Rate};
use tandem_media::port::{Heard, RecordTap};
use tandem_media::recording::{Recording, Side, Timestamp};
use tandem_media::wav::Stamp;

use super::counters::Counters;
use super::{PortEvent, PortKey};
use crate::shared::DirectoryLease;

/// Batches that wait for the disk: several seconds of 1,000 recorded calls. Past it batches are
/// dropped and leave a gap in their recordings.
const BATCHES_MAX: usize = 8_192;
/// How often what was heard is brought to the disk. With the age of a batch and the time that this
/// takes it is what a crash takes away.
const PERIOD: Duration = Duration::from_millis(500);
/// How far behind the clock a recording is closed whose peers are silent: batches may still wait.
const LATE: Duration = Duration::from_secs(1);
/// Files that are synced at a time. The file system commits together what waits together: for 50
/// files one after the other took five to ten times as long.
const SYNCS_MAX: usize = 8;
/// Names tried when the file exists, before the recording is given up.
const NAMES_MAX: u32 = 100;

/// A port's part in a recording.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    pub(super) path: Arc<Path>,
    pub(super) channel: u8,
    pub(super) epoch: u32,
    pub(super) codec: CodecKind,
    pub(super) key: PortKey,
}

impl Tap {
    /// Whether it is what the plan asks for.
    pub(super) fn is(&self, tap: &RecordTap, codec: CodecKind) -> bool {
        *self.path == *tap.path && self.channel == tap.channel && self.codec == codec
    }

    fn side(&self) -> Side {
        if self.channel == 0 { Side::Left } else { Side::Right }
    }
}

/// Payloads of one port, in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Batch {
    packets: Vec<Packet>,
    payloads: Vec<u8>,
}

#[derive(Debug)]
struct Packet {
    arrived: Instant,
    timestamp: u32,
    bytes: u16,
}

impl Batch {
    pub(super) fn push(&mut self, heard: &Heard, payload: &[u8], now: Instant) {
        // No datagram of ours is longer than 1,500 bytes.
        let bytes = payload.len() as u16;
        self.packets.push(Packet { arrived: now, timestamp: heard.header.timestamp, bytes });
        self.payloads.extend_from_slice(payload);
    }

    pub(super) fn bytes(&self) -> usize {
        self.payloads.len()
    }

    /// For how long its first packet has been waiting.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.packets.first().map_or(Duration::ZERO, |first| now - first.arrived)
    }
}

enum Order {
    Join { tap: Tap, at: Instant },
    Write { tap: Tap, batch: Batch },
    Leave { tap: Tap },
}

/// A handle to the recorder thread. It ends when the last handle is dropped, after it has
/// finished the files.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    orders: Sender<Order>,
    /// Batches in the queue. The other orders are as few as the ports.
    waiting: Arc<AtomicUsize>,
}

impl Recorder {
    pub(super) fn start(
        node: u64,
        events: Arc<dyn Fn(PortEvent) + Send + Sync>,
        counters: Arc<Counters>,
        directory: DirectoryLease,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (orders, queue) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut writer = Writer {
            directory,
            node,
            events,
            counters,
            waiting: Arc::clone(&waiting),
            files: BTreeMap::new(),
            ended: Vec::new(),
            folders: BTreeSet::new(),
            pcm: Box::new([0; FRAME_SAMPLES_MAX]),
        };
        let thread =
            thread::Builder::new().name("recorder".into()).spawn(move || writer.run(&queue))?;
        Ok((Self { orders, waiting }, thread))
    }

    pub(super) fn join(&self, tap: &Tap, at: Instant) {
        self.order(Order::Join { tap: tap.clone(), at });
    }

    pub(super) fn write(&self, tap: &Tap, batch: Batch) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= BATCHES_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(batches = BATCHES_MAX, "the disk is too slow: recordings have gaps");
            return;
        }
        self.order(Order::Write { tap: tap.clone(), batch });
    }

    pub(super) fn leave(&self, tap: &Tap) {
        self.order(Order::Leave { tap: tap.clone() });
    }

    fn order(&self, order: Order) {
        // The thread ends after the last handle; until then somebody receives.
        let _ = self.orders.send(order);
    }
}

/// The thread's state.
struct Writer {
    directory: DirectoryLease,
    node: u64,
    events: Arc<dyn Fn(PortEvent) + Send + Sync>,
    counters: Arc<Counters>,
    waiting: Arc<AtomicUsize>,
    files: BTreeMap<Arc<Path>, Open>,
    /// Complete files on their way to the disk: as many as end in one period.
    ended: Vec<Ended>,
    /// Folders with names that are not on the disk yet.
    folders: BTreeSet<PathBuf>,
    pcm: Box<[i16; FRAME_SAMPLES_MAX]>,
}

/// A recording in progress.
struct Open {
    /// `None` when it could not be written.
    file: Option<Target>,
    recording: Recording,
    rate: Rate,
    parts: Vec<Part>,
}

/// A file that is written.
struct Target {
    file: File,
    path: PathBuf,
    /// It has bytes that are not on the disk.
    is_dirty: bool,
}

struct Ended {
    target: Target,
    key: PortKey,
}

struct Part {
    tap: Tap,
    decoder: Option<Decoder>,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Order>) {
        let mut round = Instant::now() + PERIOD;
        loop {
            if !self.directory.holds() {
                return; // The process is about to end.
            }
            let now = Instant::now();
            if now >= round {
                self.look_round(now);
                round = Instant::now() + PERIOD.saturating_sub(now.elapsed());
                continue;
            }
            match queue.recv_timeout(round - now) {
                Ok(Order::Join { tap, at }) => self.join(tap, at),
                Ok(Order::Write { tap, batch }) => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.write(&tap, &batch);
                }
                Ok(Order::Leave { tap }) => self.leave(&tap),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let keys = |(path, open): (&Arc<Path>, &Open)| {
            Some((Arc::clone(path), open.parts.last()?.tap.key))
        };
        for (path, key) in self.files.iter().filter_map(keys).collect::<Vec<_>>() {
            self.finish(&path, key);
        }
        self.sync();
    }

    fn join(&mut self, tap: Tap, at: Instant) {
        let path = Arc::clone(&tap.path);
        if !self.files.contains_key(&path) {
            let rate = if tap.codec.natural_rate() > Rate::Khz8 { Rate::Khz16 } else { Rate::Khz8 };
            let stamp = Stamp { node: self.node, epoch: tap.epoch, began_ms: unix_ms(at) };
            let recording = Recording::new(rate, stamp, at);
            let (file, failure) = match create(&path) {
                Ok((file, path)) => (Some(Target { file, path, is_dirty: true }), None),
                Err(error) => (None, Some(error)),
            };
            let began = file.as_ref().map(|target| target.path.clone());
            self.files.insert(Arc::clone(&path), Open { file, recording, rate, parts: Vec::new() });
            self.drain(&path);
            if let Some(path) = began {
                self.folders.extend(path.parent().map(Path::to_path_buf));
                (self.events)(PortEvent::RecordingBegan { key: tap.key, path });
            }
            self.counters.recordings(self.files.len());
            if let Some(error) = failure {
                self.counters.recording_failed();
                self.tell(&tap, &error);
            }
        }
        if let Some(open) = self.files.get_mut(&path) {
            let decoder = Decoder::new(tap.codec, open.rate).ok();
            open.parts.push(Part { tap, decoder });
        }
        self.drain(&path);
    }

    fn write(&mut self, tap: &Tap, batch: &Batch) {
        let Some(open) = self.files.get_mut(&tap.path) else {
            return;
        };
        let Some(part) = open.parts.iter_mut().find(|part| part.tap.key == tap.key) else {
            return;
        };
        let Some(decoder) = &mut part.decoder else {
            return;
        };
        let mut rest = &batch.payloads[..];
        for packet in &batch.packets {
            let (payload, after) = rest.split_at(usize::from(packet.bytes));
            rest = after;
            let Ok(samples) = decoder.decode(payload, &mut self.pcm[..]) else {
                continue;
            };
            let clock_hz = tap.codec.rtp_clock_hz();
            let at = Timestamp { value: packet.timestamp, clock_hz };
            let pcm = &self.pcm[..samples];
            open.recording.handle_frame(tap.side(), Some(at), pcm, packet.arrived);
        }
        self.drain(&tap.path);
    }

    fn leave(&mut self, tap: &Tap) {
        let Some(open) = self.files.get_mut(&tap.path) else {
            return;
        };
        open.parts.retain(|part| part.tap.key != tap.key);
        if open.parts.is_empty() {
            self.finish(&Arc::clone(&tap.path), tap.key);
        }
    }

    /// All that was heard goes to the files, and the files to the disk.
    fn look_round(&mut self, now: Instant) {
        let closed = now.checked_sub(LATE).unwrap_or(now);
        for path in self.files.keys().cloned().collect::<Vec<_>>() {
            if let Some(open) = self.files.get_mut(&path) {
                open.recording.handle_timeout(closed);
                open.recording.checkpoint();
            }
            self.drain(&path);
        }
        self.sync();
    }

    fn finish(&mut self, path: &Arc<Path>, key: PortKey) {
        if let Some(open) = self.files.get_mut(path) {
            open.recording.finish(Instant::now());
        }
        self.drain(path);
        if let Some(target) = self.files.remove(path).and_then(|open| open.file) {
            self.ended.push(Ended { target, key });
        }
        self.counters.recordings(self.files.len());
    }

    /// Writes what the recording has to be written.
    fn drain(&mut self, path: &Arc<Path>) {
        let Some(open) = self.files.get_mut(path) else {
            return;
        };
        let mut failure = None;
        while let Some(write) = open.recording.poll_output() {
            let Some(target) = &mut open.file else { continue };
            match target.file.write_all_at(write.bytes, write.offset) {
                Ok(()) => {
                    target.is_dirty = true;
                    self.counters.recorded(write.bytes.len());
                }
                Err(error) => (open.file, failure) = (None, Some(error)),
            }
        }
        if let Some(error) = failure {
            self.fail(path, &error);
        }
    }

    /// Brings to the disk what is only in memory, and tells of the files that are complete there.
    fn sync(&mut self) {
        let begun = Instant::now();
        for folder in std::mem::take(&mut self.folders) {
            if let Err(error) = File::open(&folder).and_then(|folder| folder.sync_all()) {
                tracing::error!(folder = %folder.display(), %error, "recordings cannot be synced");
            }
        }
        let writing =
            self.files.iter().filter_map(|(path, open)| Some((path, open.file.as_ref()?)));
        let writing: Vec<_> = writing.filter(|(_, target)| target.is_dirty).collect();
        let ended = self.ended.iter().map(|ended| &ended.target.file);
        let files: Vec<&File> =
            writing.iter().map(|(_, target)| &target.file).chain(ended).collect();
        if files.is_empty() {
            return;
        }
        let failures = sync_all(&files);
        let paths = writing.iter().map(|(path, _)| Arc::clone(path)).collect::<Vec<_>>();
        self.counters.recordings_synced(begun.elapsed());
        for (at, path) in paths.iter().enumerate() {
            let target = self.files.get_mut(path).and_then(|open| open.file.as_mut());
            target.into_iter().for_each(|target| target.is_dirty = false);
            if let Some((_, error)) = failures.iter().find(|(failed, _)| *failed == at) {
                // What the kernel could not write it may have forgotten: no later sync brings it.
                self.fail(path, error);
            }
        }
        for (at, ended) in std::mem::take(&mut self.ended).into_iter().enumerate() {
            if let Some((_, error)) =
                failures.iter().find(|(failed, _)| *failed == paths.len() + at)
            {
                let path = ended.target.path.display();
                tracing::error!(%path, %error, "the end of a recording may be missing");
                self.counters.recording_failed();
            }
            let Ended { target: Target { path, .. }, key } = ended;
            (self.events)(PortEvent::RecordingEnded { key, path });
        }
    }

    /// The file is given up; what is in it stays.
    fn fail(&mut self, path: &Arc<Path>, error: &io::Error) {
        let Some(open) = self.files.get_mut(path) else { return };
        open.file = None;
        self.counters.recording_failed();
        let taps: Vec<Tap> = open.parts.iter().map(|part| part.tap.clone()).collect();
        taps.iter().for_each(|tap| self.tell(tap, error));
    }

    fn tell(&self, tap: &Tap, error: &io::Error) {
        (self.events)(PortEvent::RecordingFailed {
            key: tap.key,
            path: tap.path.to_path_buf(),
            reason: error.to_string(),
        });
    }
}

/// Syncs these files, several at a time; the answer are those that failed.
fn sync_all(files: &[&File]) -> Vec<(usize, io::Error)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else { return failures };
            if let Err(error) = file.sync_data() {
                failures.push((at, error));
            }
        }
    };
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..files.len().min(SYNCS_MAX))
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut failures = work();
        for helper in helpers {
            failures.extend(helper.join().unwrap_or_default());
        }
        failures
    })
}

/// Unix milliseconds at a moment that is past.
fn unix_ms(at: Instant) -> u64 {
    let then = SystemTime::now().checked_sub(at.elapsed()).unwrap_or(UNIX_EPOCH);
    let since = then.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Creates the file. A recording never overwrites another one: after a restart of the node, or
/// of the recording of a call, the name gets a number.
fn create(path: &Path) -> io::Result<(File, PathBuf)> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut last = None;
    for number in 1..=NAMES_MAX {
        let numbered = numbered(path, number);
        match OpenOptions::new().write(true).create_new(true).open(&numbered) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            other => return other.map(|file| (file, numbered)),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}

/// `call.wav`, `call.2.wav`, `call.3.wav`, …
fn numbered(path: &Path, number: u32) -> PathBuf {
    match (number, path.extension().and_then(|extension| extension.to_str())) {
        (1, _) => path.to_path_buf(),
        (_, Some(extension)) => path.with_extension(format!("{number}.{extension}")),
        (_, None) => path.with_extension(number.to_string()),
    }
}
