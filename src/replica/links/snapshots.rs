//! Snapshots to and from members that are far behind, each on a connection of its own, so that
//! heartbeats do not wait for it.
//!
//! ```text
//! sender                                     receiver
//!   offer   what, how long, checksum   ─▶
//!   ◀─  resume   what the receiver has of it already
//!   chunk …  end                       ─▶      to a file, checked, synced, renamed
//!   ◀─  received                               then its message goes to Raft
//! ```

use super::dial::dial;
use super::interrupted::Partial;
use super::{Common, HANDSHAKE_TIMEOUT, WRITE_TIMEOUT};
use crate::replica::keeper::Job;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tandem_cluster::wire::{CHUNK_BYTES, Frame, Purpose, SnapshotOffer, WireError};
use tandem_cluster::{Message, MessageType, NodeId};

/// Attempts to send one snapshot; each goes on where the last one ended. Then Raft is told that
/// it failed, and asks again later.
const ATTEMPTS_MAX: usize = 5;

/// A sender that is silent for that long has died; a receiver may take that long to check and
/// sync what it got.
const SILENCE: Duration = Duration::from_secs(30);

/// A snapshot to be sent.
pub(in crate::replica) struct SendSnapshot {
    pub(in crate::replica) message: Message,
    pub(in crate::replica) address: SocketAddr,
    /// Copies the records.
    pub(in crate::replica) keeper: (SyncSender<Job>, Arc<AtomicUsize>),
}

pub(super) fn is_snapshot(message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgSnapshot
}

pub(super) fn start(common: Arc<Common>, send: SendSnapshot) {
    let to = send.message.to;
    let inbox = Arc::clone(&common.inbox);
    let run = move || {
        let index = send.message.get_snapshot().get_metadata().index;
        let sent = send_all(&common, &send);
        match &sent {
            Ok(()) => tracing::info!(node = to, index, "snapshot sent"),
            Err(error) => tracing::warn!(node = to, index, %error, "snapshot not sent"),
        }
        common.inbox.snapshot_sent(to, sent.is_ok());
    };
    let started = std::thread::Builder::new().name(format!("snapshot to {to}")).spawn(run);
    if started.is_err() {
        inbox.snapshot_sent(to, false);
    }
}

fn send_all(common: &Arc<Common>, send: &SendSnapshot) -> Result<(), WireError> {
    let other = |error: String| WireError::Connection(std::io::Error::other(error));
    let state = common.files.path(send.message.get_snapshot());
    let copy = state.with_extension(format!("records-to-{}", send.message.to));
    let (done, answer) = sync_channel(1);
    send.keeper.1.fetch_add(1, Ordering::Relaxed);
    let job = Job::CopyRecords { to: copy.clone(), done };
    send.keeper.0.send(job).map_err(|_| other("the keeper has ended".to_owned()))?;
    let has_records =
        answer.recv().map_err(|_| other("the keeper has ended".to_owned()))?.map_err(other)?;
    let mut parts = vec![state];
    if has_records {
        parts.push(copy.clone());
    }
    let result = offer(send, &parts).and_then(|offer| {
        let mut result = Ok(());
        for _ in 0..ATTEMPTS_MAX {
            result = send_once(common, send, &offer, &parts);
            if result.is_ok() || common.is_stopped() {
                break;
            }
            std::thread::sleep(super::REDIAL.1);
        }
        result
    });
    drop(std::fs::remove_file(copy));
    result
}

fn offer(send: &SendSnapshot, parts: &[PathBuf]) -> Result<SnapshotOffer, WireError> {
    let mut checksum = crc32fast::Hasher::new();
    let mut lengths = [0_u64; 2];
    let mut buffer = vec![0; CHUNK_BYTES];
    for (part, length) in parts.iter().zip(&mut lengths) {
        let mut file = File::open(part)?;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            checksum.update(&buffer[..count]);
            *length += count as u64;
        }
    }
    Ok(SnapshotOffer {
        message: send.message.clone(),
        state_bytes: lengths[0],
        records_bytes: lengths[1],
        checksum: checksum.finalize(),
    })
}

fn send_once(
    common: &Arc<Common>,
    send: &SendSnapshot,
    offer: &SnapshotOffer,
    parts: &[PathBuf],
) -> Result<(), WireError> {
    let mut stream =
        dial(common, (send.message.to, send.address), Purpose::Snapshot, HANDSHAKE_TIMEOUT)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut bytes = Vec::new();
    Frame::Offer(Box::new(offer.clone())).encode(&mut bytes);
    stream.write_all(&bytes)?;
    let mut buffer = Vec::new();
    let Frame::Resume { bytes: mut skip } = Frame::read(&mut stream, &mut buffer)? else {
        return Err(WireError::Malformed("no answer to an offer"));
    };
    for (part, length) in parts.iter().zip([offer.state_bytes, offer.records_bytes]) {
        let skipped = skip.min(length);
        skip -= skipped;
        send_part(&mut stream, part, skipped)?;
    }
    bytes.clear();
    Frame::End { checksum: offer.checksum }.encode(&mut bytes);
    stream.write_all(&bytes)?;
    match Frame::read(&mut stream, &mut buffer)? {
        Frame::Received => Ok(()),
        Frame::Messages(_)
        | Frame::Copied { .. }
        | Frame::Offer(_)
        | Frame::Resume { .. }
        | Frame::Chunk(_)
        | Frame::End { .. } => Err(WireError::Malformed("no receipt of a snapshot")),
    }
}

fn send_part(stream: &mut TcpStream, part: &Path, skip: u64) -> Result<(), WireError> {
    let mut file = File::open(part)?;
    file.seek(SeekFrom::Start(skip))?;
    let mut bytes = Vec::new();
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        chunk.truncate(count);
        bytes.clear();
        Frame::Chunk(chunk).encode(&mut bytes);
        stream.write_all(&bytes)?;
    }
}

/// Receives one snapshot, and hands its message to Raft when it is on the disk.
pub(super) fn receive(
    common: &Arc<Common>,
    node: NodeId,
    stream: TcpStream,
) -> Result<(), WireError> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut answers = stream.try_clone()?;
    let (mut stream, mut buffer) = (BufReader::new(stream), Vec::new());
    let Frame::Offer(offer) = Frame::read(&mut stream, &mut buffer)? else {
        return Err(WireError::Malformed("a frame out of place"));
    };
    let mut partial = begin(common, node, *offer)?;
    let mut bytes = Vec::new();
    Frame::Resume { bytes: partial.incoming.bytes() }.encode(&mut bytes);
    answers.write_all(&bytes)?;
    match receive_chunks(&mut partial, &mut stream, &mut buffer) {
        Ok(()) => (),
        Err(error @ WireError::Connection(_)) => {
            // The sender will come again and go on from here.
            common.interrupted().keep(Instant::now(), node, partial);
            return Err(error);
        }
        Err(error @ WireError::Malformed(_)) => return Err(error),
    }
    let Partial { offer, incoming } = partial;
    let snapshot = common
        .files
        .complete(incoming)
        .map_err(|error| WireError::Connection(std::io::Error::other(error)))?;
    if snapshot != *offer.message.get_snapshot() {
        return Err(WireError::Malformed("another snapshot than it offered"));
    }
    common.interrupted().arrived(snapshot.get_metadata().index);
    bytes.clear();
    Frame::Received.encode(&mut bytes);
    common.inbox.messages(vec![offer.message]);
    answers.write_all(&bytes)?;
    Ok(())
}

fn begin(common: &Common, node: NodeId, offer: SnapshotOffer) -> Result<Partial, WireError> {
    let message = &offer.message;
    if !is_snapshot(message) || message.from != node || message.to != common.node {
        return Err(WireError::Malformed("an offer of another node"));
    }
    let free = common.free_bytes.load(Ordering::Relaxed);
    if offer.state_bytes.saturating_add(offer.records_bytes) > free {
        tracing::error!(node, free, "a snapshot does not fit on the disk");
        return Err(WireError::Malformed("a snapshot that does not fit on the disk"));
    }
    if let Some(partial) = common.interrupted().take(node, &offer) {
        return Ok(partial);
    }
    let index = message.get_snapshot().get_metadata().index;
    let lengths = (offer.state_bytes, offer.records_bytes);
    let incoming = common
        .files
        .receive(node, index, lengths)
        .map_err(|error| WireError::Connection(std::io::Error::other(error)))?;
    Ok(Partial { offer, incoming })
}

fn receive_chunks(
    partial: &mut Partial,
    stream: &mut BufReader<TcpStream>,
    buffer: &mut Vec<u8>,
) -> Result<(), WireError> {
    let all = partial.offer.state_bytes + partial.offer.records_bytes;
    loop {
        match Frame::read(stream, buffer)? {
            Frame::Chunk(chunk) => {
                if partial.incoming.bytes() + chunk.len() as u64 > all {
                    return Err(WireError::Malformed("more than it offered"));
                }
                partial.incoming.write(&chunk).map_err(|error| {
                    tracing::error!(%error, "a snapshot cannot be written");
                    WireError::Malformed("a snapshot that cannot be written")
                })?;
            }
            Frame::End { checksum } => {
                let whole = partial.incoming.bytes() == all
                    && partial.incoming.checksum() == partial.offer.checksum
                    && checksum == partial.offer.checksum;
                let wrong = WireError::Malformed("a snapshot with a wrong checksum");
                return if whole { Ok(()) } else { Err(wrong) };
            }
            Frame::Messages(_)
            | Frame::Copied { .. }
            | Frame::Offer(_)
            | Frame::Resume { .. }
            | Frame::Received => {
                return Err(WireError::Malformed("a frame out of place"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
