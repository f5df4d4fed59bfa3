//! The wire-side journal: what callers were told, written beside the log and without it.
//!
//! Owns one folder of text files that a thread appends to. The SIP path hands events over a
//! bounded channel and never waits: what does not fit is dropped and counted, and the count is
//! written, so that whoever reads knows what the evidence is worth. Holds no customer's data: a
//! SIP Call-ID is hashed, numbers and names are not there. Not synced: a power cut may take the
//! last lines, and the `start` line after it says where to doubt. `wire` reads it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};
use tandem_center::{CallId, LegNumber};
use tandem_sip::wire::{Method, Request};

use crate::node::unix_ms;
use crate::shared::DirectoryLease;

/// Events that wait for the writer: a second of 1,000 calls/s. Past it they are dropped and
/// counted.
const EVENTS_WAITING_MAX: usize = 8_192;

/// Bytes of one file. Past it the next one is begun.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// Files that are kept: 128 MB, about 700,000 calls. Past it the oldest is removed, and the
/// journal covers what is left.
pub const FILES_MAX: usize = 16;

/// Calls whose end on the wire is awaited. Past it the oldest is forgotten and counted as
/// dropped.
const CALLS_OPEN_MAX: usize = 131_072;

/// What the first line of a file begins with; the number is the version of the lines.
pub const HEADER: &str = "tandem-journal 1 node";

/// How a file's name ends.
pub const ENDING: &str = "journal";

/// Something on the wire.
#[derive(Debug)]
enum Event {
    /// A new INVITE came; it is not answered yet.
    Invited { call: CallId, sip_call_id: Box<str> },
    /// It is refused before it was a call.
    Uncommitted { call: CallId },
    /// Another actor or node answered, or was about to.
    TakenUp { call: CallId },
    /// A response to the caller's INVITE.
    Response { call: CallId, status: u16 },
    /// A BYE on the caller's leg.
    Bye { call: CallId, is_ours: bool },
    /// The process ends in order.
    Stop,
}

/// The journal, from the SIP path.
#[derive(Debug)]
pub struct Journal {
    events: SyncSender<(u64, Event)>,
    dropped: std::sync::Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in `folder` and starts its writer.
    ///
    /// # Errors
    /// The folder or its files cannot be written.
    pub fn start(folder: &Path, node: u64) -> io::Result<Self> {
        Self::start_under(DirectoryLease::alone(), folder, node)
    }

    /// The same; nothing is written any more when the lease is over.
    ///
    /// # Errors
    /// The folder or its files cannot be written.
    pub fn start_under(lease: DirectoryLease, folder: &Path, node: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (events, waiting) = sync_channel(EVENTS_WAITING_MAX);
        let dropped = std::sync::Arc::<AtomicU64>::default();
        let mut files = Files::open(folder, node)?;
        files.line(&format!("{} start", unix_ms()))?;
        files.flush()?;
        let (open, told) = (BTreeMap::new(), dropped.clone());
        let writer = Writer { lease, files, open, dropped: told, told: 0 };
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&waiting))?;
        Ok(Self { events, dropped, writer: Mutex::new(Some(writer)) })
    }

    /// A new INVITE is looked at.
    pub fn invited(&self, call: CallId, invite: &Request) {
        self.tell(Event::Invited { call, sip_call_id: invite.call_id().into() });
    }

    /// An INVITE is refused that the cluster never knew.
    pub fn uncommitted(&self, call: CallId) {
        self.tell(Event::Uncommitted { call });
    }

    /// The caller's leg of a call is served by another actor or node than before.
    pub fn taken_up(&self, call: CallId) {
        self.tell(Event::TakenUp { call });
    }

    /// These bytes leave for a far end.
    pub fn sent(&self, call: CallId, leg: LegNumber, bytes: &[u8]) {
        if leg != LegNumber::FIRST {
            return;
        }
        if bytes.starts_with(b"BYE ") {
            self.tell(Event::Bye { call, is_ours: true });
        } else if let Some(status) = invite_status(bytes) {
            self.tell(Event::Response { call, status });
        }
    }

    /// A far end sent this.
    pub fn received(&self, call: CallId, leg: LegNumber, request: &Request) {
        if leg == LegNumber::FIRST && *request.method() == Method::Bye {
            self.tell(Event::Bye { call, is_ours: false });
        }
    }

    fn tell(&self, event: Event) {
        if self.events.try_send((unix_ms(), event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what waits, and that the process ends in order. Blocks on the disk.
    pub fn stop(&self) {
        let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(writer) = writer
            && self.events.send((unix_ms(), Event::Stop)).is_ok()
        {
            drop(writer.join());
        }
    }
}

/// The status of a response to an INVITE; none for anything else.
fn invite_status(bytes: &[u8]) -> Option<u16> {
    let text = bytes.strip_prefix(b"SIP/2.0 ")?;
    let status = std::str::from_utf8(text.get(..3)?).ok()?.parse().ok()?;
    // We write the header's name in full, once.
    let name = b"CSeq: ";
    let at = bytes.windows(name.len()).position(|window| window == name)? + name.len();
    let line = bytes[at..].split(|byte| *byte == b'\r').next()?;
    line.ends_with(b" INVITE").then_some(status)
}

/// What names a call at its caller, without saying who that is.
#[must_use]
pub fn hashed(sip_call_id: &str) -> String {
    let hash = Sha256::digest(sip_call_id.as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What is known of a call that is not over on the wire.
#[derive(Debug, Default)]
struct Open {
    sip_call_id: Option<Box<str>>,
    is_told: bool,
    is_uncommitted: bool,
    is_final: bool,
}

struct Writer {
    lease: DirectoryLease,
    files: Files,
    open: BTreeMap<CallId, Open>,
    dropped: std::sync::Arc<AtomicU64>,
    /// Of `dropped`, what was written.
    told: u64,
}

impl Writer {
    fn run(mut self, events: &Receiver<(u64, Event)>) {
        let mut failed = false;
        while let Ok((at, event)) = events.recv() {
            if !self.lease.holds() {
                return; // The process is about to end.
            }
            let mut next = Some((at, event));
            let mut result = Ok(());
            let mut stops = false;
            while let Some((at, event)) = next.take() {
                stops |= matches!(event, Event::Stop);
                result = result.and(self.take(at, event));
                next = events.try_recv().ok();
            }
            result = result.and(self.files.flush());
            if let Err(error) = &result {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                if !failed {
                    tracing::error!(%error, "the journal cannot be written; calls go on");
                }
            }
            failed = result.is_err();
            if stops {
                return;
            }
        }
    }

    fn take(&mut self, at: u64, event: Event) -> io::Result<()> {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped != self.told {
            self.files.line(&format!("{at} dropped {}", dropped - self.told))?;
            self.told = dropped;
        }
        match event {
            Event::Invited { call, sip_call_id } => {
                let open = Open { sip_call_id: Some(sip_call_id), ..Open::default() };
                self.watch(call, open);
            }
            Event::TakenUp { call } => {
                if !self.open.contains_key(&call) {
                    self.watch(call, Open { is_told: true, ..Open::default() });
                }
            }
            Event::Uncommitted { call } => {
                if let Some(open) = self.open.get_mut(&call) {
                    open.is_uncommitted = true;
                }
            }
            Event::Response { call, status } => self.response(at, call, status)?,
            Event::Bye { call, is_ours } => {
                if self.open.remove(&call).is_some() {
                    let who = if is_ours { "sent" } else { "seen" };
                    self.files.line(&format!("{at} bye {call} {who}"))?;
                }
            }
            Event::Stop => self.files.line(&format!("{at} stop"))?,
        }
        Ok(())
    }

    fn watch(&mut self, call: CallId, open: Open) {
        if self.open.len() >= CALLS_OPEN_MAX {
            self.open.pop_first();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.open.insert(call, open);
    }

    /// Repetitions, and answers to later INVITEs of the call, are not told again.
    fn response(&mut self, at: u64, call: CallId, status: u16) -> io::Result<()> {
        let Some(open) = self.open.get_mut(&call) else { return Ok(()) };
        let hash = open.sip_call_id.as_deref().map(hashed).unwrap_or_default();
        let (is_first, is_final) = (!open.is_told, status >= 200 && !open.is_final);
        let is_uncommitted = open.is_uncommitted;
        open.is_told = true;
        open.is_final |= is_final;
        if is_final && status >= 300 {
            self.open.remove(&call);
        }
        if is_uncommitted {
            return self.files.line(&format!("{at} refused {call} {hash} {status}"));
        }
        if is_first {
            self.files.line(&format!("{at} accepted {call} {hash} {status}"))?;
        }
        if is_final {
            self.files.line(&format!("{at} final {call} {status}"))?;
        }
        Ok(())
    }
}

/// The files, the newest being written.
struct Files {
    folder: PathBuf,
    node: u64,
    file: BufWriter<File>,
    bytes: u64,
}

impl Files {
    /// Goes on with the newest file if there is room, behind a line that was cut.
    fn open(folder: &Path, node: u64) -> io::Result<Self> {
        let newest = names(folder)?.pop();
        let newest = newest
            .filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() < FILE_BYTES_MAX));
        let Some(path) = newest else { return Self::begin(folder, node) };
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        let mut last = [b'\n'];
        if bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let mut files = Self { folder: folder.to_owned(), node, file: BufWriter::new(file), bytes };
        if last != *b"\n" {
            files.line("")?;
        }
        Ok(files)
    }

    fn begin(folder: &Path, node: u64) -> io::Result<Self> {
        let mut old = names(folder)?;
        old.truncate((old.len() + 1).saturating_sub(FILES_MAX));
        for path in old {
            std::fs::remove_file(path)?;
        }
        let path = folder.join(format!("{:020}.{ENDING}", unix_ms()));
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let file = BufWriter::new(file);
        let mut files = Self { folder: folder.to_owned(), node, file, bytes: 0 };
        files.line(&format!("{HEADER} {node}"))?;
        Ok(files)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        if self.bytes >= FILE_BYTES_MAX {
            self.file.flush()?;
            *self = Self::begin(&self.folder.clone(), self.node)?;
        }
        self.bytes += line.len() as u64 + 1;
        writeln!(self.file, "{line}")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The files of a journal, the oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == ENDING) {
            names.push(path);
        }
    }
    names.sort();
    Ok(names)
}
