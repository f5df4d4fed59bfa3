//! The leg's line: who we are, the transactions on the wire, and what is to be done.
//!
//! It runs the transactions and keeps what they need to be found again. What their results mean
//! is decided by the leg's phase. Which request a response is to is in `hearing`. Bounded by
//! [`TRANSACTIONS_MAX`] and [`ACKS_MAX`].

mod acks;
mod hearing;
mod moving;

use std::{collections::VecDeque, fmt::Write as _};

use serde::{Deserialize, Serialize};

pub(super) use hearing::Heard;

use super::{
    Identity, LegEvent, Output,
    arriving::rack,
    compose::{self, Content, Reply},
};
use crate::{
    auth::Credentials,
    b2bua,
    dialog::Dialog,
    transaction::{
        GIVE_UP_MS, InviteClient, InviteServer, Moment, NonInviteClient, NonInviteServer,
        Output as TransactionOutput, TransactionKey, cancel_of,
    },
    wire::{Method, Peer, Request},
};

/// Transactions of one leg at a time, of each kind. A dialog needs two or three; a far end that
/// opens more gets no answer to them, as if they had been lost.
const TRANSACTIONS_MAX: usize = 16;

/// ACKs that are kept, one for each fork and re-INVITE. Of further forks the 2xx is dropped, so
/// that they give up by themselves.
const ACKS_MAX: usize = 16;

/// How long a re-INVITE waits for its final response, milliseconds: twice the time in which one
/// without any response is given up.
const REINVITE_MS_MAX: u64 = 2 * GIVE_UP_MS;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) call_id: Box<str>,
    pub(super) identity: Identity,
    /// What Vias said before the leg moved: requests of the machine that is gone are repeated and
    /// cancelled with it.
    #[serde(skip)]
    former_sent_by: Option<String>,
    /// Where requests go whose target names no address.
    pub(super) peer: Peer,
    /// For a leg that goes on from this one.
    pub(super) hops_left: u8,
    /// Requests that we began: what makes their branches differ.
    requests: u32,
    /// Those that a machine which is gone may have begun, and that are not known here.
    #[serde(skip)]
    unknown: std::ops::Range<u32>,
    invite_servers: Vec<Server<InviteServer>>,
    invite_clients: Vec<Client<InviteClient>>,
    servers: Vec<Server<NonInviteServer>>,
    clients: Vec<Client<NonInviteClient>>,
    acks: Vec<Ack>,
    /// The credentials' header lines of the last INVITE, which its ACK repeats
    /// (RFC 3261 §13.2.2.4).
    pub(super) authorization: Vec<u8>,
    /// The answer to our INVITE is acknowledged when it is kept: see [`super::Leg::hold_ack`].
    #[serde(skip)]
    pub(super) holds_ack: bool,
    /// The reliable provisional response that our final one overtook. Who takes the leg over does
    /// not know it: see [`super::arriving`].
    #[serde(skip)]
    pub(super) unpracked: Option<Rack>,
    /// Never in an export, which is kept and sent: a password is the configuration's.
    #[serde(skip)]
    pub(super) credentials: Option<Credentials>,
    #[serde(skip)]
    output: VecDeque<Output>,
}

/// A server transaction and how its responses begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Server<M> {
    key: TransactionKey,
    reply: Reply,
    machine: M,
}

/// A client transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Client<M> {
    branch: Box<str>,
    peer: Peer,
    news: News,
    /// When to stop waiting for a final response to an INVITE that was cancelled, or whose
    /// dialog has ended (RFC 3261 §9.1).
    give_up: Option<Moment>,
    machine: M,
}

/// An ACK of a 2xx, sent again whenever that comes again (RFC 3261 §13.2.2.4).
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ack {
    cseq: u32,
    remote_tag: Box<str>,
    peer: Peer,
    bytes: Vec<u8>,
    /// Not sent yet. An export is what is kept, so for who goes on from it nothing is held.
    #[serde(skip)]
    held: bool,
}

/// What a request of ours is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// The INVITE or a re-INVITE.
    Invite,
    /// Its CANCEL.
    Cancel,
    /// The dialog's end.
    Bye,
    /// The end of a dialog that a fork opened besides ours.
    StrayBye,
    /// RFC 3262.
    Prack,
    /// RFC 3515.
    Notify,
}

impl Purpose {
    /// The method of such a request.
    fn method(self) -> Method {
        match self {
            Self::Invite => Method::Invite,
            Self::Cancel => Method::Cancel,
            Self::Bye | Self::StrayBye => Method::Bye,
            Self::Prack => Method::Prack,
            Self::Notify => Method::Notify,
        }
    }
}

/// Which request of ours there is news of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct News {
    pub(super) purpose: Purpose,
    pub(super) cseq: u32,
}

/// Which reliable provisional response, of which INVITE (RFC 3262 §7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rack {
    pub(super) rseq: u32,
    pub(super) cseq: u32,
}

/// Why a request of ours has no answer, and what that counts as (RFC 3261 §8.1.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Silence {
    /// Nothing came in time.
    TimedOut,
    /// It cannot be sent.
    Unreachable,
}

impl Silence {
    /// The status that it counts as.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::TimedOut => 408,
            Self::Unreachable => 503,
        }
    }
}

/// A request in a dialog.
#[derive(Clone, Debug)]
pub(super) struct Draft<'a> {
    pub(super) method: Method,
    pub(super) purpose: Purpose,
    /// Whole header lines.
    pub(super) headers: &'a [u8],
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
}

impl Draft<'_> {
    /// A BYE, for our dialog or for a fork's.
    pub(super) fn bye(purpose: Purpose) -> Self {
        Self { method: Method::Bye, purpose, headers: b"", content_type: "", body: b"" }
    }
}

/// Who we are, and what is to be done.
impl Line {
    pub(super) fn new(call_id: &str, identity: Identity, peer: Peer) -> Self {
        Self {
            call_id: call_id.into(),
            identity,
            former_sent_by: None,
            peer,
            hops_left: b2bua::MAX_FORWARDS,
            requests: 0,
            invite_servers: Vec::new(),
            invite_clients: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            acks: Vec::new(),
            unknown: 0..0,
            authorization: Vec::new(),
            holds_ack: false,
            unpracked: None,
            credentials: None,
            output: VecDeque::new(),
        }
    }

    /// See [`super::Leg::restore`]: branches of the machine that is gone are not used again.
    pub(super) fn skip(&mut self, requests: u32) {
        let known = self.requests;
        self.requests = self.requests.saturating_add(requests);
        self.unknown = known..self.requests;
    }

    pub(super) fn event(&mut self, event: LegEvent) {
        self.output.push_back(Output::Event(event));
    }

    pub(super) fn send(&mut self, peer: Peer, bytes: Vec<u8>) {
        self.output.push_back(Output::Send { peer, bytes });
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Whether no transaction is left.
    pub(super) fn is_idle(&self) -> bool {
        self.invite_servers.is_empty()
            && self.invite_clients.is_empty()
            && self.servers.is_empty()
            && self.clients.is_empty()
    }
}

/// Server transactions.
impl Line {
    /// Whether the request is one that is already known, sent again. Then it is dealt with.
    pub(super) fn absorbs(&mut self, key: &TransactionKey) -> bool {
        if let Some(at) = self.invite_servers.iter().position(|server| server.key == *key) {
            self.invite_servers[at].machine.handle_retransmission();
        } else if let Some(at) = self.servers.iter().position(|server| server.key == *key) {
            self.servers[at].machine.handle_retransmission();
        } else {
            return false;
        }
        self.flush();
        true
    }

    /// Whether the ACK is of a failure. Then it is dealt with.
    pub(super) fn absorbs_ack(&mut self, now: Moment, key: &TransactionKey) -> bool {
        let Some(server) = self.invite_servers.iter_mut().find(|server| server.key == *key) else {
            return false;
        };
        let is_for_user = server.machine.handle_ack(now);
        self.flush();
        !is_for_user
    }

    /// A transaction for a new request. Says whether there was room.
    pub(super) fn open(&mut self, key: TransactionKey, request: &Request, peer: Peer) -> bool {
        let reliable = peer.transport.is_reliable();
        let reply = Reply::new(request, peer, &self.identity.tag);
        if *request.method() == Method::Invite {
            let machine = InviteServer::new(reliable);
            push_bounded(&mut self.invite_servers, Server { key, reply, machine })
        } else {
            let machine = NonInviteServer::new(reliable);
            push_bounded(&mut self.servers, Server { key, reply, machine })
        }
    }

    /// Answers a request. Says where and what, for a 2xx that must be repeated until its ACK.
    pub(super) fn respond(
        &mut self,
        now: Moment,
        key: &TransactionKey,
        content: Content<'_>,
    ) -> Option<(Peer, Vec<u8>)> {
        let mut sent = None;
        let is_open = |server: &&mut Server<InviteServer>| server.machine.is_unanswered();
        let invite = self.invite_servers.iter_mut().find(|server| server.key == *key);
        let other = self.servers.iter_mut().find(|server| server.key == *key);
        if let Some(server) = invite.filter(is_open) {
            let bytes = server.reply.with(content);
            if (200..300).contains(&content.status) {
                sent = Some((server.reply.peer, bytes.clone()));
            }
            server.machine.respond(now, content.status, bytes);
            if content.status >= 200 {
                server.reply.close();
            }
        } else if let Some(server) = other.filter(|server| server.machine.is_unanswered()) {
            let bytes = server.reply.with(content);
            server.machine.respond(now, content.status, bytes);
            if content.status >= 200 {
                server.reply.close();
            }
        }
        self.flush();
        sent
    }

    /// A response to an INVITE and where it goes, without sending it: a reliable provisional one
    /// is repeated by the leg.
    pub(super) fn compose(
        &self,
        key: &TransactionKey,
        content: Content<'_>,
    ) -> Option<(Peer, Vec<u8>)> {
        let server = self.invite_servers.iter().find(|server| server.key == *key)?;
        Some((server.reply.peer, server.reply.with(content)))
    }

    /// Whether this is the PRACK of the response that our final one overtook (RFC 3262 §3).
    pub(super) fn awaits_prack(&self, request: &Request) -> bool {
        let is_prack = *request.method() == Method::Prack;
        is_prack && self.unpracked.is_some() && rack(request) == self.unpracked
    }

    /// Whether a request is known that this CANCEL means, answered or not.
    pub(super) fn knows_cancelled(&self, cancel: &TransactionKey) -> bool {
        let invites = self.invite_servers.iter().map(|server| &server.key);
        let mut keys = invites.chain(self.servers.iter().map(|server| &server.key));
        keys.any(|key| key.is_cancelled_by(cancel))
    }

    /// Whether an INVITE with this key is known, answered or not.
    pub(super) fn knows_invite(&self, key: &TransactionKey) -> bool {
        self.invite_servers.iter().any(|server| server.key == *key)
    }

    /// Whether any request with this key is known.
    pub(super) fn knows(&self, key: &TransactionKey) -> bool {
        self.knows_invite(key) || self.servers.iter().any(|server| server.key == *key)
    }
}

/// Client transactions.
impl Line {
    /// A branch that no request of this leg has had.
    pub(super) fn next_branch(&mut self) -> String {
        let mut branch = String::with_capacity(48);
        let _ = write!(branch, "z9hG4bK{}-{}", self.identity.branch_seed, self.requests);
        self.requests = self.requests.saturating_add(1);
        branch
    }

    /// A number below `bound`: different at each call, the same on each machine.
    pub(super) fn draw(&mut self, bound: u64) -> u64 {
        fold(&self.next_branch()) % bound.max(1)
    }

    /// A cnonce (RFC 7616 §3.4).
    pub(super) fn cnonce(&mut self) -> String {
        format!("{:016x}", fold(&format!("{}{}", self.next_branch(), self.identity.tag)))
    }

    /// Sends a request of a dialog and says its CSeq.
    pub(super) fn request(&mut self, now: Moment, dialog: &mut Dialog, draft: Draft<'_>) -> u32 {
        let cseq = dialog.next_cseq();
        let branch = self.next_branch();
        let peer = compose::hop_to(&dialog.next_hop(), self.peer, &self.identity.settings);
        let bytes = self.write(dialog, &draft, (cseq, peer, &branch));
        self.start(now, News { purpose: draft.purpose, cseq }, &branch, (peer, bytes));
        // A re-INVITE asks a machine, not a person: it may not ring for ever.
        let reinvite = self.invite_clients.iter_mut().find(|client| client.news.cseq == cseq);
        if let Some(client) = reinvite.filter(|_| draft.purpose == Purpose::Invite) {
            client.give_up = Some(now.after_ms(REINVITE_MS_MAX));
        }
        cseq
    }

    fn write(&self, dialog: &Dialog, draft: &Draft<'_>, by: (u32, Peer, &str)) -> Vec<u8> {
        let (cseq, peer, branch) = by;
        let mut out = Vec::with_capacity(512 + draft.headers.len() + draft.body.len());
        let via = compose::via(&self.identity, peer.transport, branch);
        dialog.write_head(&mut out, &draft.method, cseq, &via);
        out.extend_from_slice(draft.headers);
        compose::push_body(&mut out, draft.content_type, draft.body);
        out
    }

    /// Begins a client transaction.
    pub(super) fn start(&mut self, now: Moment, news: News, branch: &str, what: (Peer, Vec<u8>)) {
        let (peer, bytes) = what;
        let reliable = peer.transport.is_reliable();
        let (branch, give_up) = (branch.into(), None);
        let _had_room = match news.purpose {
            Purpose::Invite => {
                let machine = InviteClient::new(now, bytes, reliable);
                push_bounded(
                    &mut self.invite_clients,
                    Client { branch, peer, news, give_up, machine },
                )
            }
            Purpose::Cancel
            | Purpose::Bye
            | Purpose::StrayBye
            | Purpose::Prack
            | Purpose::Notify => {
                let machine = NonInviteClient::new(now, bytes, reliable);
                push_bounded(&mut self.clients, Client { branch, peer, news, give_up, machine })
            }
        };
        self.flush();
    }

    /// Whether no INVITE of ours has got any response.
    pub(super) fn is_unheard(&self) -> bool {
        self.invite_clients.iter().all(|client| client.machine.is_calling())
    }

    /// Cancels the INVITE with this CSeq, if a provisional response came (RFC 3261 §9.1). Says
    /// whether it could.
    pub(super) fn cancel(&mut self, now: Moment, cseq: u32) -> bool {
        let Some(client) = self
            .invite_clients
            .iter_mut()
            .find(|client| client.news.cseq == cseq && client.machine.is_proceeding())
        else {
            return false;
        };
        client.give_up = Some(now.after_ms(GIVE_UP_MS));
        let cancel = cancel_of(client.machine.invite().unwrap_or_default());
        let (branch, peer) = (client.branch.clone(), client.peer);
        self.start(now, News { purpose: Purpose::Cancel, cseq }, &branch, (peer, cancel));
        true
    }

    /// The dialog is over: an INVITE that has no final response yet may never get one.
    pub(super) fn stop_waiting(&mut self, now: Moment) {
        for client in &mut self.invite_clients {
            client.give_up.get_or_insert(now.after_ms(GIVE_UP_MS));
        }
    }
}

/// Time.
impl Line {
    /// Runs what is due. Says which requests of ours got no answer.
    pub(super) fn handle_timeout(&mut self, now: Moment) -> Vec<News> {
        for server in &mut self.invite_servers {
            server.machine.handle_timeout(now);
        }
        for server in &mut self.servers {
            server.machine.handle_timeout(now);
        }
        let mut unanswered = Vec::new();
        for client in &mut self.invite_clients {
            client.machine.handle_timeout(now);
            if client.give_up.is_some_and(|until| until <= now) {
                client.give_up = None;
                if client.machine.invite().is_some() {
                    client.machine.abandon();
                    unanswered.push(client.news);
                }
            }
        }
        for client in &mut self.clients {
            client.machine.handle_timeout(now);
        }
        unanswered.extend(self.flush());
        unanswered
    }

    /// When to call [`Self::handle_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        let invite_servers = self.invite_servers.iter().map(|s| s.machine.poll_timeout());
        let servers = self.servers.iter().map(|s| s.machine.poll_timeout());
        let invite_clients =
            self.invite_clients.iter().map(|c| earliest(c.machine.poll_timeout(), c.give_up));
        let clients = self.clients.iter().map(|c| c.machine.poll_timeout());
        invite_servers.chain(servers).chain(invite_clients).chain(clients).fold(None, earliest)
    }

    /// Nothing reaches this peer. Says which requests of ours got no answer.
    pub(super) fn handle_unreachable(&mut self, peer: Peer) -> Vec<News> {
        let mut lost = Vec::new();
        let same = |other: Peer| (other.transport, other.remote) == (peer.transport, peer.remote);
        for client in self.invite_clients.iter_mut().filter(|client| same(client.peer)) {
            if client.machine.invite().is_some() {
                client.machine.abandon();
                lost.push(client.news);
            }
        }
        for client in self.clients.iter_mut().filter(|client| same(client.peer)) {
            if client.machine.request().is_some() {
                client.machine.abandon();
                lost.push(client.news);
            }
        }
        self.flush();
        lost
    }

    /// Takes what the transactions want, and forgets those that are over.
    fn flush(&mut self) -> Vec<News> {
        let mut unanswered = Vec::new();
        let output = &mut self.output;
        let mut take = |peer: Peer, news: Option<News>, wanted: Option<TransactionOutput>| {
            match wanted {
                None => (),
                Some(TransactionOutput::Transmit(bytes)) => {
                    output.push_back(Output::Send { peer, bytes });
                }
                // A server's: the far end gave up waiting for our failure, too.
                Some(TransactionOutput::TimedOut) => unanswered.extend(news),
            }
        };
        self.invite_servers
            .iter_mut()
            .for_each(|s| take(s.reply.peer, None, s.machine.poll_output()));
        self.servers.iter_mut().for_each(|s| take(s.reply.peer, None, s.machine.poll_output()));
        self.invite_clients
            .iter_mut()
            .for_each(|c| take(c.peer, Some(c.news), c.machine.poll_output()));
        self.clients.iter_mut().for_each(|c| take(c.peer, Some(c.news), c.machine.poll_output()));
        self.invite_servers.retain(|server| !server.machine.is_terminated());
        self.servers.retain(|server| !server.machine.is_terminated());
        self.clients.retain(|client| !client.machine.is_terminated());
        if self.invite_clients.iter().any(|client| client.machine.is_terminated()) {
            self.invite_clients.retain(|client| !client.machine.is_terminated());
            // An ACK lives as long as the transaction whose 2xx may come again.
            let live: Vec<u32> =
                self.invite_clients.iter().map(|client| client.news.cseq).collect();
            self.acks.retain(|ack| live.contains(&ack.cseq));
        }
        unanswered
    }
}

/// The earlier of two deadlines, where either may be missing.
pub(super) fn earliest(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// FNV-1a, with its last bits mixed (MurmurHash3's finaliser): what differs in one digit differs
/// everywhere.
pub(super) fn fold(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// Adds to a list that holds at most [`TRANSACTIONS_MAX`].
fn push_bounded<T>(list: &mut Vec<T>, item: T) -> bool {
    let has_room = list.len() < TRANSACTIONS_MAX;
    if has_room {
        list.push(item);
    }
    has_room
}
