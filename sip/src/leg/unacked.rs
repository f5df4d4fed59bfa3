//! A 2xx of ours to an INVITE, until its ACK (RFC 3261 §13.3.1.4).
//!
//! Repeated over any transport, and given up after 64·T1. After an adoption there may be doubt
//! whether the ACK came to the machine that is gone: then it is asked for once more, and not
//! insisted on.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::compose;

use crate::{
    transaction::{GIVE_UP_MS, Moment, Repeat, T1_MS, T2_MS},
    wire::{Peer, Request},
};

/// How long another INVITE waits for an ACK that may have come before, milliseconds: time for two
/// more 2xx and their ACKs.
const DOUBT_MS: u64 = 4 * T1_MS;

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Unacked {
    cseq: u32,
    peer: Peer,
    bytes: Vec<u8>,
    repeat: Repeat,
    until: Moment,
    /// Whether the 2xx has an offer, so that the ACK has the answer.
    wants_answer: bool,
    bye: Bye,
    doubt: Doubt,
}

/// What the ACK means for our BYE (RFC 3261 §15).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Bye {
    /// It need not wait: the dialog was confirmed before.
    Free,
    /// A callee's must wait.
    Held,
    /// It waits.
    Wanted,
}

/// Whether the ACK may have come to a machine that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Doubt {
    /// It did not.
    None,
    /// It may have. No INVITE waits for it longer than until then.
    Until(Moment),
}

/// What is to be done now.
pub(super) enum Wants {
    Nothing,
    /// The 2xx once more.
    Repeat {
        peer: Peer,
        bytes: Vec<u8>,
    },
    /// No ACK came: the BYE that waited goes.
    Bye,
    /// No ACK came: the session is to be ended.
    Loss,
    /// No ACK came, but it may have come before: all is well.
    Oblivion,
}

impl Unacked {
    /// The 2xx to the INVITE that was just sent.
    pub(super) fn of_invite(
        now: Moment,
        cseq: u32,
        sent: (Peer, Vec<u8>),
        wants_answer: bool,
    ) -> Self {
        let (peer, bytes) = sent;
        let (repeat, until) = (Repeat::every_ms(now, T1_MS), now.after_ms(GIVE_UP_MS));
        let (bye, doubt) = (Bye::Held, Doubt::None);
        Self { cseq, peer, bytes, repeat, until, wants_answer, bye, doubt }
    }

    /// The 2xx to a re-INVITE that was just sent.
    pub(super) fn of_reinvite(
        now: Moment,
        cseq: u32,
        sent: (Peer, Vec<u8>),
        wants_answer: bool,
    ) -> Self {
        Self { bye: Bye::Free, ..Self::of_invite(now, cseq, sent, wants_answer) }
    }

    /// The leg is taken over from a machine that may have received the ACK.
    pub(super) fn doubt(&mut self, now: Moment) {
        if self.doubt == Doubt::None {
            self.doubt = Doubt::Until(now.after_ms(DOUBT_MS));
            self.repeat = Repeat::every_ms(now, T1_MS);
        }
    }

    /// Neither an INVITE nor a BYE waits for the ACK.
    pub(super) fn wait_for_nothing(&mut self, now: Moment) {
        self.doubt = Doubt::Until(now);
        self.bye = Bye::Free;
    }

    /// We are at another address, to which no ACK will come that was sent before: nothing waits
    /// for it. What is to be sent at once, with this Contact.
    pub(super) fn moved(
        &mut self,
        now: Moment,
        local: SocketAddr,
        contact: &str,
    ) -> (Peer, Vec<u8>) {
        self.wait_for_nothing(now);
        (self.peer.local, self.peer.connection) = (local, None);
        self.bytes = compose::with_contact(&self.bytes, contact);
        self.repeat = Repeat::every_ms(now, T1_MS);
        (self.peer, self.bytes.clone())
    }

    /// Whether this is the ACK.
    pub(super) fn is_of(&self, ack: &Request) -> bool {
        self.cseq == ack.cseq().number
    }

    /// Whether the ACK carries an answer.
    pub(super) fn wants_answer(&self) -> bool {
        self.wants_answer
    }

    /// Whether another INVITE must wait for the ACK (RFC 3261 §14.1).
    pub(super) fn blocks_invite(&self, now: Moment) -> bool {
        match self.doubt {
            Doubt::None => true,
            Doubt::Until(moment) => now < moment,
        }
    }

    /// We want to hang up. Says whether the BYE must wait for the ACK.
    pub(super) fn holds_bye(&mut self) -> bool {
        match self.bye {
            Bye::Free => false,
            Bye::Held | Bye::Wanted => {
                self.bye = Bye::Wanted;
                true
            }
        }
    }

    /// Whether a BYE waits for the ACK.
    pub(super) fn is_before_bye(&self) -> bool {
        self.bye == Bye::Wanted
    }

    /// Time passed.
    pub(super) fn handle_timeout(&mut self, now: Moment) -> Wants {
        if self.until <= now {
            match (self.bye, self.doubt) {
                (Bye::Wanted, _) => Wants::Bye,
                (Bye::Free | Bye::Held, Doubt::None) => Wants::Loss,
                (Bye::Free | Bye::Held, Doubt::Until(_)) => Wants::Oblivion,
            }
        } else if self.repeat.at <= now {
            self.repeat.double(now, T2_MS);
            Wants::Repeat { peer: self.peer, bytes: self.bytes.clone() }
        } else {
            Wants::Nothing
        }
    }

    /// When to call [`Self::handle_timeout`], or to look again whether an INVITE that waits may
    /// go.
    pub(super) fn poll_timeout(&self, invite_waits: bool) -> Moment {
        let next = self.repeat.at.min(self.until);
        match self.doubt {
            Doubt::Until(moment) if invite_waits => next.min(moment),
            Doubt::Until(_) | Doubt::None => next,
        }
    }
}
