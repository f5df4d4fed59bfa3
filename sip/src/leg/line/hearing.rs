//! Which request of ours a response is to, and whether it says anything new (RFC 3261 §17.1.3,
//! §18.1.2). What it means is decided by the leg's phase.

use std::net::SocketAddr;

use super::{ACKS_MAX, Ack, Client, Line, News};
use crate::{
    transaction::Moment,
    wire::{Message, Method, Peer, Request, Response, Via},
};

/// A response to a request of ours that is news.
#[derive(Clone, Debug)]
pub(in crate::leg) struct Heard {
    pub(in crate::leg) news: News,
    /// Where the request went.
    pub(in crate::leg) peer: Peer,
    /// The request, if the response is one that another attempt may follow.
    pub(in crate::leg) request: Option<Request>,
}

/// Responses.
impl Line {
    /// What a response says that is news; none if it is to no request of this leg.
    pub(in crate::leg) fn handle_response(
        &mut self,
        now: Moment,
        response: &Response,
    ) -> Option<Heard> {
        // RFC 3261 §8.1.3.3: a response with more Vias than ours went astray.
        let via = response.via_top();
        let is_former =
            || self.former_sent_by.as_ref().is_some_and(|former| is_sent_by(&via, former));
        let is_ours = is_sent_by(&via, &self.identity.sent_by) || is_former();
        if response.via_count() != 1 || !is_ours {
            return None;
        }
        let branch = response.branch()?;
        let heard = if response.cseq().method == Method::Invite {
            self.handle_invite_response(now, response, branch)
        } else {
            self.handle_other_response(now, response, branch)
        };
        self.flush();
        heard
    }

    /// Whether it is a 2xx to a re-INVITE that a machine which is gone sent after what we know.
    pub(in crate::leg) fn is_answer_to_former(&self, response: &Response) -> bool {
        let branch = response.branch().unwrap_or_default();
        let ours = branch.strip_prefix("z9hG4bK").and_then(|ours| ours.rsplit_once('-'));
        response.is_success()
            && response.cseq().method == Method::Invite
            && response.from_tag() == Some(&*self.identity.tag)
            && ours.is_some_and(|(seed, number)| {
                let is_unknown = |number| self.unknown.contains(&number);
                seed == self.identity.branch_seed && number.parse().is_ok_and(is_unknown)
            })
    }

    fn handle_invite_response(
        &mut self,
        now: Moment,
        response: &Response,
        branch: &str,
    ) -> Option<Heard> {
        let client =
            self.invite_clients.iter_mut().find(|client| client.is_of(branch, response))?;
        let request = asks_for_more(response).then(|| parse(client.machine.invite())).flatten();
        let (news, peer) = (client.news, client.peer);
        if !client.machine.handle_response(now, response) {
            return None;
        }
        if response.is_success() {
            let tag = response.to_tag().unwrap_or_default();
            let of_this = |ack: &&Ack| ack.cseq == news.cseq && *ack.remote_tag == *tag;
            if let Some(ack) = self.acks.iter().find(of_this) {
                if !ack.held {
                    let (peer, bytes) = (ack.peer, ack.bytes.clone());
                    self.send(peer, bytes);
                }
                return None;
            }
            if self.acks.len() >= ACKS_MAX {
                return None;
            }
        }
        Some(Heard { news, peer, request })
    }

    fn handle_other_response(
        &mut self,
        now: Moment,
        response: &Response,
        branch: &str,
    ) -> Option<Heard> {
        let client = self.clients.iter_mut().find(|client| client.is_of(branch, response))?;
        let request = asks_for_more(response).then(|| parse(client.machine.request())).flatten();
        let (news, peer) = (client.news, client.peer);
        let is_news = client.machine.handle_response(now, response.status());
        is_news.then_some(Heard { news, peer, request })
    }
}

impl<M> Client<M> {
    /// Whether the response is to this request: its branch and method (RFC 3261 §17.1.3), and the
    /// number that a response must repeat (§8.2.6.2), from which a dialog would count on.
    fn is_of(&self, branch: &str, response: &Response) -> bool {
        let News { purpose, cseq } = self.news;
        let said = response.cseq();
        *self.branch == *branch && said.method == purpose.method() && said.number == cseq
    }
}

/// Whether a Via names us. A response with another one is discarded: it belongs to somebody else
/// (RFC 3261 §18.1.2).
fn is_sent_by(via: &Via, sent_by: &str) -> bool {
    // As we wrote it, but for peers that write addresses anew.
    via.sent_by().eq_ignore_ascii_case(sent_by)
        || via
            .sent_by_ip()
            .zip(via.port())
            .is_some_and(|address| sent_by.parse() == Ok(SocketAddr::from(address)))
}

/// Responses that another attempt of the same request may follow.
fn asks_for_more(response: &Response) -> bool {
    matches!(response.status(), 401 | 407 | 422)
}

fn parse(request: Option<&[u8]>) -> Option<Request> {
    Message::parse(request?).ok()?.into_request()
}
