//! The ACKs of 2xx responses (RFC 3261 §13.2.2.4): sent, kept for 2xx that come again, and held back
//! while nobody else knows of the answer.

use super::{Ack, Draft, Line, Purpose, push_bounded};
use crate::dialog::Dialog;
use crate::leg::compose;
use crate::wire::{Method, Peer};

impl Line {
    /// Sends the ACK of a 2xx, which has a branch of its own (RFC 3261 §13.2.2.4), and keeps it.
    pub(in crate::leg) fn acknowledge(&mut self, dialog: &Dialog, cseq: u32, sdp: &[u8]) {
        let (peer, bytes) = self.keep_ack(dialog, cseq, sdp, false);
        self.send(peer, bytes);
    }

    /// The same for the answer to the first INVITE, which may have to be kept before. Until then
    /// the far end repeats it, to whoever is there.
    pub(in crate::leg) fn acknowledge_answer(&mut self, dialog: &Dialog, cseq: u32) {
        if self.holds_ack {
            self.keep_ack(dialog, cseq, b"", true);
        } else {
            self.acknowledge(dialog, cseq, b"");
        }
    }

    /// Sends what was held back.
    pub(in crate::leg) fn release_ack(&mut self) {
        self.holds_ack = false;
        let held = self.acks.iter_mut().filter(|ack| ack.held);
        let due: Vec<(Peer, Vec<u8>)> = held
            .map(|ack| {
                ack.held = false;
                (ack.peer, ack.bytes.clone())
            })
            .collect();
        due.into_iter().for_each(|(peer, bytes)| self.send(peer, bytes));
    }

    fn keep_ack(&mut self, dialog: &Dialog, cseq: u32, sdp: &[u8], held: bool) -> (Peer, Vec<u8>) {
        let branch = self.next_branch();
        let peer = compose::hop_to(&dialog.next_hop(), self.peer, &self.identity.settings);
        let draft = Draft {
            method: Method::Ack,
            purpose: Purpose::Invite,
            headers: &self.authorization,
            content_type: compose::SDP,
            body: sdp,
        };
        let bytes = self.write(dialog, &draft, (cseq, peer, &branch));
        let remote_tag = dialog.remote_tag().into();
        push_bounded(&mut self.acks, Ack { cseq, remote_tag, peer, bytes: bytes.clone(), held });
        (peer, bytes)
    }
}
