//! The recorder: a thread that decodes what ports heard and writes WAV files.
//!
//! Packet threads hand over payloads, not samples, once a second or so, so that a recorded call
//! costs them a copy. Owns the files. A file that cannot be written ends its recording, not its
//! call: the ports are told by [`PortEvent::RecordingFailed`].

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tandem_media::codec::{CodecKind, Decoder};
use tandem_media::frame::{FRAME_SAMPLES_MAX, Rate};
use tandem_media::port::{Heard, RecordTap};
use tandem_media::recording::{Recording, Side, Timestamp};

use super::counters::Counters;
use super::{PortEvent, PortKey};

/// Batches that wait for the disk: several seconds of 1,000 recorded calls. Past it batches are
/// dropped and leave a gap in their recordings.
const BATCHES_MAX: usize = 8_192;
/// How often recordings whose peers are silent are looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// Names tried when the file exists, before the recording is given up.
const NAMES_MAX: u32 = 100;

/// A port's part in a recording.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    pub(super) path: Arc<Path>,
    pub(super) channel: u8,
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
        events: Arc<dyn Fn(PortEvent) + Send + Sync>,
        counters: Arc<Counters>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (orders, queue) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut writer = Writer {
            events,
            counters,
            waiting: Arc::clone(&waiting),
            files: BTreeMap::new(),
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
    events: Arc<dyn Fn(PortEvent) + Send + Sync>,
    counters: Arc<Counters>,
    waiting: Arc<AtomicUsize>,
    files: BTreeMap<Arc<Path>, Open>,
    pcm: Box<[i16; FRAME_SAMPLES_MAX]>,
}

/// A recording in progress.
struct Open {
    /// `None` when it could not be written.
    file: Option<File>,
    recording: Recording,
    rate: Rate,
    parts: Vec<Part>,
}

struct Part {
    tap: Tap,
    decoder: Option<Decoder>,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Order>) {
        let mut round = Instant::now() + PERIOD;
        loop {
            match queue.recv_timeout(round.saturating_duration_since(Instant::now())) {
                Ok(Order::Join { tap, at }) => self.join(tap, at),
                Ok(Order::Write { tap, batch }) => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.write(&tap, &batch);
                }
                Ok(Order::Leave { tap }) => self.leave(&tap),
                Err(RecvTimeoutError::Timeout) => {
                    self.look_round();
                    round = Instant::now() + PERIOD;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for path in self.files.keys().cloned().collect::<Vec<_>>() {
            self.finish(&path);
        }
    }

    fn join(&mut self, tap: Tap, at: Instant) {
        let path = Arc::clone(&tap.path);
        if !self.files.contains_key(&path) {
            let rate = if tap.codec.natural_rate() > Rate::Khz8 { Rate::Khz16 } else { Rate::Khz8 };
            let recording = Recording::new(rate, at);
            let (file, failure) = match create(&path) {
                Ok(file) => (Some(file), None),
                Err(error) => (None, Some(error)),
            };
            let open = Open { file, recording, rate, parts: Vec::new() };
            self.files.insert(Arc::clone(&path), open);
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
            self.finish(&Arc::clone(&tap.path));
        }
    }

    fn look_round(&mut self) {
        let now = Instant::now();
        for path in self.files.keys().cloned().collect::<Vec<_>>() {
            if let Some(open) = self.files.get_mut(&path) {
                open.recording.handle_timeout(now);
            }
            self.drain(&path);
        }
    }

    fn finish(&mut self, path: &Arc<Path>) {
        if let Some(open) = self.files.get_mut(path) {
            open.recording.finish(Instant::now());
        }
        self.drain(path);
        self.files.remove(path);
        self.counters.recordings(self.files.len());
    }

    /// Writes what the recording has to be written.
    fn drain(&mut self, path: &Arc<Path>) {
        let Some(open) = self.files.get_mut(path) else {
            return;
        };
        let mut failure = None;
        while let Some(write) = open.recording.poll_output() {
            let Some(file) = &open.file else { continue };
            match file.write_all_at(write.bytes, write.offset) {
                Ok(()) => self.counters.recorded(write.bytes.len()),
                Err(error) => (open.file, failure) = (None, Some(error)),
            }
        }
        if let Some(error) = failure {
            self.counters.recording_failed();
            let taps: Vec<Tap> = open.parts.iter().map(|part| part.tap.clone()).collect();
            taps.iter().for_each(|tap| self.tell(tap, &error));
        }
    }

    fn tell(&self, tap: &Tap, error: &io::Error) {
        (self.events)(PortEvent::RecordingFailed {
            key: tap.key,
            path: tap.path.to_path_buf(),
            reason: error.to_string(),
        });
    }
}

/// Creates the file. A recording never overwrites another one: after a restart of the node, or
/// of the recording of a call, the name gets a number.
fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut last = None;
    for number in 1..=NAMES_MAX {
        match OpenOptions::new().write(true).create_new(true).open(numbered(path, number)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            other => return other,
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
