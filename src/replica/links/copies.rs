//! Small batches as datagrams, too: a lost segment on the connection then holds up nobody.
//!
//! Owns the sockets' side of [`tandem_cluster::copies`]. What cannot be sent or taken at once is
//! lost, as the network would lose it.

use super::super::presence::{Present, moment};
use super::{Batch, Common, accept};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use tandem_cluster::copies::{BatchId, Copied, Taken, parts};
use tandem_cluster::wire::{COPY_ROOM_BYTES, Datagram, open_copy, seal_copy};
use tandem_cluster::{Message, NodeId};

/// What is sent, on a socket of its own: what waits for a machine that is gone (its address is asked
/// for, mostly) must not hold up beats to others.
pub(super) struct Copies {
    socket: Option<UdpSocket>,
    /// For each node that was a member since the process began: numbers are used once.
    copied: BTreeMap<NodeId, Copied>,
}

impl Copies {
    /// From the address on which this node listens; a node that does not listen is alone.
    pub(super) fn new(listening: Option<SocketAddr>) -> io::Result<Self> {
        let socket = listening.map(|own| UdpSocket::bind((own.ip(), 0))).transpose()?;
        if let Some(socket) = &socket {
            socket.set_nonblocking(true)?;
        }
        Ok(Self { socket, copied: BTreeMap::new() })
    }

    /// What goes on the connection: parts that went as datagrams, too, or everything as it is.
    pub(super) fn send(
        &mut self,
        common: &Common,
        to: (NodeId, SocketAddr),
        messages: Vec<Message>,
    ) -> Vec<Batch> {
        match self.copy(common, to, &messages) {
            Some(batches) => batches,
            None => vec![Batch { copied: None, messages }],
        }
    }

    fn copy(
        &mut self,
        common: &Common,
        (to, address): (NodeId, SocketAddr),
        messages: &[Message],
    ) -> Option<Vec<Batch>> {
        let socket = self.socket.as_ref()?;
        let (incarnation, of) = common.present.acquainted(to)?;
        let copied = self.copied.entry(to).or_default();
        let parts = parts(messages, COPY_ROOM_BYTES);
        let first = copied.number(moment(), parts.as_deref())?;
        let numbered = (first..).zip(parts?);
        let sent = numbered.map(|(number, messages)| {
            let batch = BatchId { incarnation, number };
            let bytes = seal_copy(&common.secret, (common.node, to), of, batch, &messages);
            let _lost = socket.send_to(&bytes, address);
            Batch { copied: Some(batch), messages }
        });
        Some(sent.collect())
    }
}

/// What was taken, either way.
pub(super) struct Received {
    present: Arc<Present>,
    /// Of members only.
    taken: Mutex<BTreeMap<NodeId, Taken>>,
}

impl Received {
    pub(super) fn new(present: Arc<Present>) -> Self {
        Self { present, taken: Mutex::default() }
    }

    /// Whether this batch has not come the other way.
    pub(super) fn take(&self, from: NodeId, batch: BatchId) -> bool {
        let Some(present) = self.present.incarnation_of(from) else { return false };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.entry(from).or_default().take(present, batch)
    }
}

impl Common {
    /// A datagram came that is no beat.
    pub(in super::super) fn handle_datagram(&self, bytes: &[u8]) {
        let Some(Datagram { from, of, batch, messages }) =
            open_copy(&self.secret, self.node, bytes)
        else {
            return;
        };
        let is_ours = of == self.present.incarnation();
        if is_ours
            && accept::check(self, from, &messages).is_ok()
            && self.received.take(from, batch)
        {
            self.inbox.try_messages(messages);
        }
    }
}
