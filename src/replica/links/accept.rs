//! The receiving side of all links: accept, check who it is, hand on what it says.

use super::{Common, HANDSHAKE_TIMEOUT, Noted, WRITE_TIMEOUT, snapshots};
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tandem_cluster::wire::{Accepting, Frame, Purpose, WireError};
use tandem_cluster::{Message, NodeId};

/// Read at once from a connection.
const READ_BYTES: usize = 256 * 1024;

/// After accepting failed (no file descriptors are left, mostly), wait for better times.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

pub(super) fn start(common: Arc<Common>, listener: TcpListener) -> std::io::Result<()> {
    let accept = move || {
        while !common.is_stopped() {
            match listener.accept() {
                Ok((stream, _)) => serve(&common, stream),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a member");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    };
    std::thread::Builder::new().name("members".to_owned()).spawn(accept).map(drop)
}

fn serve(common: &Arc<Common>, stream: TcpStream) {
    // Past the bound it is closed by being dropped.
    let Some(noted) = common.note(&stream) else { return };
    let common = Arc::clone(common);
    let serve = move || {
        let _noted: Noted = noted;
        if let Err(error) = serve_connection(&common, stream)
            && !common.is_stopped()
        {
            tracing::debug!(%error, "the connection of a member ended");
        }
    };
    drop(std::thread::Builder::new().name("from a node".to_owned()).spawn(serve));
}

fn serve_connection(common: &Arc<Common>, mut stream: TcpStream) -> Result<(), WireError> {
    super::prompt(&stream)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let (node, purpose) = shake(common, &mut stream)?;
    match purpose {
        Purpose::Messages => {
            // A member that says nothing is dead or cut off; its own link will dial again.
            stream.set_read_timeout(None)?;
            receive(common, node, stream)
        }
        Purpose::Snapshot => snapshots::receive(common, node, stream),
    }
}

fn shake(common: &Common, stream: &mut TcpStream) -> Result<(NodeId, Purpose), WireError> {
    let refused = |error: tandem_cluster::wire::HandshakeError| {
        tracing::warn!(%error, "a connection was refused");
        WireError::Connection(std::io::Error::other(error))
    };
    let mut hello = [0; Accepting::HELLO_BYTES];
    stream.read_exact(&mut hello)?;
    let accepting = Accepting::new(common.secret.clone(), common.node, hello).map_err(refused)?;
    stream.write_all(&accepting.answer())?;
    let mut proof = [0; Accepting::PROOF_BYTES];
    stream.read_exact(&mut proof).inspect_err(|_| {
        let node = accepting.from();
        tracing::warn!(
            node,
            "a connection was ended by its dialler: it has another secret, or \
            belongs to the cluster as it was before a recovery"
        );
    })?;
    accepting.check(&proof).map_err(refused)
}

fn receive(common: &Common, node: NodeId, stream: TcpStream) -> Result<(), WireError> {
    let (mut stream, mut buffer) = (BufReader::with_capacity(READ_BYTES, stream), Vec::new());
    loop {
        match Frame::read(&mut stream, &mut buffer)? {
            Frame::Messages(messages) => {
                check(common, node, &messages)?;
                common.inbox.messages(messages);
            }
            Frame::Copied { batch, messages } => {
                check(common, node, &messages)?;
                if common.received.take(node, batch) {
                    common.inbox.messages(messages);
                }
            }
            Frame::Offer(_)
            | Frame::Resume { .. }
            | Frame::Chunk(_)
            | Frame::End { .. }
            | Frame::Received => return Err(WireError::Malformed("a frame out of place")),
        }
    }
}

/// Whether that node may say this here.
pub(super) fn check(common: &Common, node: NodeId, messages: &[Message]) -> Result<(), WireError> {
    if messages.iter().any(|m| m.from != node || m.to != common.node) {
        return Err(WireError::Malformed("a message of another node"));
    }
    if messages.iter().any(snapshots::is_snapshot) {
        return Err(WireError::Malformed("a snapshot among the messages"));
    }
    Ok(())
}
