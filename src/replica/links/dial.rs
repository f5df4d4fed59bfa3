//! The sending side of a link: dial, prove who we are, send what comes; and again.

use super::super::presence::moment;
use super::{Batch, Common, HANDSHAKE_TIMEOUT, REDIAL, WRITE_TIMEOUT};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tandem_cluster::NodeId;
use tandem_cluster::wire::{Dialing, FRAME_BYTES_MAX, Frame, Purpose};

/// Bytes that are encoded before they are written: a quarter of a frame, so that a frame that
/// another message joined is not too long.
const WRITE_BYTES: usize = FRAME_BYTES_MAX / 4;

/// How often an idle link looks whether it is still wanted.
const IDLE: Duration = Duration::from_millis(500);

/// How long the first try to connect may take; each that gets no answer leaves the next twice as
/// long. A SYN or the RST that answers it may be lost, TCP sends the next after a second (RFC 6298
/// §2.1), and until a refusal is heard a dead process looks like a slow network.
const FIRST_TRY: Duration = Duration::from_millis(100);

/// How long any may take. Over a slower network than that no node has a lease.
const LONGEST_TRY: Duration = Duration::from_millis(500);

pub(super) fn start(
    common: Arc<Common>,
    peer: (NodeId, SocketAddr),
    batches: Receiver<Batch>,
    gone: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let link = Link { common, peer, batches, gone };
    let name = format!("to node {}", peer.0);
    std::thread::Builder::new().name(name).spawn(move || link.run()).map(drop)
}

struct Link {
    common: Arc<Common>,
    peer: (NodeId, SocketAddr),
    batches: Receiver<Batch>,
    gone: Arc<AtomicBool>,
}

impl Link {
    fn run(self) {
        let (mut pause, mut within, mut reported) = (REDIAL.0, FIRST_TRY, None);
        while !self.gone.load(Ordering::Relaxed) {
            let began = moment();
            match dial(&self.common, self.peer, Purpose::Messages, within) {
                Ok(stream) => {
                    tracing::info!(node = self.peer.0, address = %self.peer.1, "connected");
                    (pause, within, reported) = (REDIAL.0, FIRST_TRY, None);
                    let ended = self.send(stream);
                    if !self.gone.load(Ordering::Relaxed) {
                        tracing::warn!(node = self.peer.0, ?ended, "connection lost");
                    }
                }
                Err(error) => {
                    if error.kind() == std::io::ErrorKind::ConnectionRefused {
                        self.common.inbox.refused(self.peer.0, began);
                    }
                    if error.kind() == std::io::ErrorKind::TimedOut {
                        within = (within * 2).min(LONGEST_TRY);
                    }
                    let error = error.to_string();
                    if reported.as_ref() != Some(&error) {
                        tracing::warn!(node = self.peer.0, address = %self.peer.1, error,
                            "cannot connect; trying again");
                        reported = Some(error);
                    }
                }
            }
            self.common.inbox.unreachable(self.peer.0);
            std::thread::sleep(jittered(pause));
            pause = (pause * 2).min(REDIAL.1);
            // What waited is out of date; Raft sends anew.
            while self.batches.try_recv().is_ok() {}
        }
    }

    fn send(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            let first = match self.batches.recv_timeout(IDLE) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    if self.gone.load(Ordering::Relaxed) || self.common.is_stopped() {
                        return Ok(());
                    }
                    closed(&stream)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            bytes.clear();
            encode(first, &mut bytes);
            while bytes.len() < WRITE_BYTES {
                let Ok(next) = self.batches.try_recv() else { break };
                encode(next, &mut bytes);
            }
            stream.write_all(&bytes)?;
        }
    }
}

/// Messages as frames that are not too long.
fn encode(Batch { copied, messages }: Batch, bytes: &mut Vec<u8>) {
    if let Some(batch) = copied {
        return Frame::Copied { batch, messages }.encode(bytes);
    }
    let mut frame = Vec::new();
    let mut size = 0;
    for message in messages {
        let entries = message.get_entries().iter();
        let message_size: usize = 128 + entries.map(|e| e.data.len() + 64).sum::<usize>();
        if size > 0 && size + message_size > WRITE_BYTES {
            Frame::Messages(std::mem::take(&mut frame)).encode(bytes);
            size = 0;
        }
        size += message_size;
        frame.push(message);
    }
    Frame::Messages(frame).encode(bytes);
}

/// The peer never sends on this connection, so that anything readable is its end.
fn closed(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match peeked {
        Ok(_) => Err(std::io::ErrorKind::ConnectionReset.into()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// Connects within that time, and shakes hands.
pub(super) fn dial(
    common: &Arc<Common>,
    (node, address): (NodeId, SocketAddr),
    purpose: Purpose,
    within: Duration,
) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, within)?;
    super::prompt(&stream)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let refused = std::io::Error::other;
    let dialing =
        Dialing::new(common.secret.clone(), common.node, node, purpose).map_err(refused)?;
    stream.write_all(dialing.hello())?;
    let mut answer = [0; Dialing::ANSWER_BYTES];
    stream.read_exact(&mut answer)?;
    stream.write_all(&dialing.prove(&answer).map_err(refused)?)?;
    Ok(stream)
}

/// Between half and all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.0))
}
