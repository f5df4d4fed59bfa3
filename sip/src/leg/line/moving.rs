//! A line that goes on at another address: what is sent from there, and what is not waited for since
//! it would be answered to the old one.

use std::net::SocketAddr;

use super::Line;
use crate::transaction::Moment;

impl Line {
    /// See [`super::Leg::move_to`].
    pub(in crate::leg) fn move_to(&mut self, contact: String, sent_by: String, local: SocketAddr) {
        self.identity.contact = contact;
        self.former_sent_by = Some(std::mem::replace(&mut self.identity.sent_by, sent_by));
        let clients = self.clients.iter_mut().map(|client| &mut client.peer);
        let invites = self.invite_clients.iter_mut().map(|client| &mut client.peer);
        let servers = self.servers.iter_mut().map(|server| &mut server.reply.peer);
        let invited = self.invite_servers.iter_mut().map(|server| &mut server.reply.peer);
        let acks = self.acks.iter_mut().map(|ack| &mut ack.peer);
        let all = clients.chain(invites).chain(servers).chain(invited).chain(acks);
        for peer in all.chain([&mut self.peer]) {
            (peer.local, peer.connection) = (local, None);
        }
    }

    /// Whether the leg is not where it began, as far as this machine knows.
    pub(in crate::leg) fn has_moved(&self) -> bool {
        self.former_sent_by.is_some()
    }

    /// Cancels the INVITE with this CSeq, whether or not anything was heard of it, and does not
    /// repeat it.
    pub(in crate::leg) fn cancel_unheard(&mut self, now: Moment, cseq: u32) {
        for client in self.invite_clients.iter_mut().filter(|client| client.news.cseq == cseq) {
            client.machine.hush();
        }
        self.cancel(now, cseq);
    }

    /// Gives up the INVITEs that have no final response.
    pub(in crate::leg) fn abandon_invites(&mut self) {
        for client in &mut self.invite_clients {
            if client.machine.invite().is_some() {
                client.machine.abandon();
            }
        }
        self.flush();
    }
}
