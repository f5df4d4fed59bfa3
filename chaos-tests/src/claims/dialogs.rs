//! What leaves a leg, over all machines that serve it: the numbers of its dialog never go back.
//!
//! Read off the wire where it leaves the machine: the network may reorder, so that what arrives
//! says nothing of it. A message that is said again with the same words is no new one.

use std::collections::{BTreeMap, BTreeSet};

use tandem_sip::wire::{HeaderName, Message, Method, Request, Response};

use super::{Broken, broken};

/// A number of RFC 3261 §12.2.1.1 that goes back or stands for two requests.
pub(crate) const CSEQ: &str = "cseq";
/// A number of RFC 3262 §3.
pub(crate) const RSEQ: &str = "rseq";
/// A number of RFC 3264 §8.
pub(crate) const VERSION: &str = "sdp-version";

/// Everything that one leg has sent so far.
#[derive(Debug, Default)]
pub(crate) struct Dialog {
    /// By branch: requests other than CANCEL and ACK.
    requests: BTreeMap<String, (u32, Method)>,
    invites: Vec<u32>,
    last_cseq: Option<u32>,
    last_rseq: Option<(u32, u16, Vec<u8>)>,
    /// By branch and CSeq: what was described in this transaction. It may be said again in it,
    /// also with another status (RFC 3261 §13.2.1).
    said: BTreeSet<(String, u32, Vec<u8>)>,
    last_description: Option<(Origin, Vec<u8>)>,
}

/// What of an `o=` line is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    session: u64,
    version: u64,
}

impl Dialog {
    /// The next message that leaves.
    pub(crate) fn sends(&mut self, message: &Message) -> Result<(), Broken> {
        match message {
            Message::Request(request) => self.asks(request)?,
            Message::Response(response) => self.responds(response)?,
        }
        self.describes(message)
    }

    fn asks(&mut self, request: &Request) -> Result<(), Broken> {
        let (number, method) = (request.cseq().number, request.method());
        match method {
            Method::Ack | Method::Cancel if self.invites.contains(&number) => return Ok(()),
            Method::Ack | Method::Cancel => {
                let why = format!("{} {number} without an INVITE", method.as_str());
                return Err(broken(CSEQ, why));
            }
            Method::Invite => self.invites.push(number),
            Method::Bye
            | Method::Options
            | Method::Register
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Publish
            | Method::Message
            | Method::Other(_) => (),
        }
        let branch = request.branch().unwrap_or_default().to_owned();
        if let Some(before) = self.requests.get(&branch) {
            let is_again = before.0 == number && before.1 == *method;
            let why = format!("{} {number} in the transaction of {before:?}", method.as_str());
            return if is_again { Ok(()) } else { Err(broken(CSEQ, why)) };
        }
        if let Some(last) = self.last_cseq.filter(|last| number <= *last) {
            return Err(broken(CSEQ, format!("{} {number} after {last}", method.as_str())));
        }
        self.last_cseq = Some(number);
        self.requests.insert(branch, (number, method.clone()));
        Ok(())
    }

    fn responds(&mut self, response: &Response) -> Result<(), Broken> {
        let number = response.header_str(HeaderName::RSeq).and_then(|text| text.parse().ok());
        let Some(number) = number else { return Ok(()) };
        let this = (number, response.status(), response.body().to_vec());
        match &self.last_rseq {
            Some(last) if number < last.0 || (number == last.0 && this != *last) => {
                let why = format!("{} with {number} after {}", response.status(), last.0);
                Err(broken(RSEQ, why))
            }
            Some(_) | None => {
                self.last_rseq = Some(this);
                Ok(())
            }
        }
    }

    fn describes(&mut self, message: &Message) -> Result<(), Broken> {
        let head = message.head();
        let Some(origin) = origin_of(head.body()) else { return Ok(()) };
        let branch = head.branch().unwrap_or_default().to_owned();
        let body = head.body().to_vec();
        if !self.said.insert((branch, head.cseq().number, body.clone())) {
            return Ok(());
        }
        if let Some((last, words)) = &self.last_description {
            let is_next =
                origin.version > last.version || (origin.version == last.version && *words == body);
            if origin.session != last.session || !is_next {
                return Err(broken(VERSION, format!("{origin:?} with other words after {last:?}")));
            }
        }
        self.last_description = Some((origin, body));
        Ok(())
    }
}

fn origin_of(body: &[u8]) -> Option<Origin> {
    let text = std::str::from_utf8(body).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("o="))?;
    let mut words = line.split(' ').skip(1);
    let mut number = || words.next()?.parse().ok();
    Some(Origin { session: number()?, version: number()? })
}
