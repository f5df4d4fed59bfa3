//! A new INVITE: everything up to the commit that makes it a call.
//!
//! Owns what happens before the cluster knows of the call: reading the offer, opening a port and
//! preparing the answer, so that one commit is enough to answer. Until then not even a 100 is
//! sent: the caller repeats the INVITE, to us or to another node.

use std::time::Instant;

use tandem_center::{Arrived, Command, LegNumber, Party};
use tandem_sip::b2bua::{caller_of, hops_left};
use tandem_sip::leg::Leg;
use tandem_sip::wire::{Peer, Request, Response};

use super::super::sip_transport::{reply_to, tag_of};
use super::State;
use super::leg::LiveLeg;
use super::reconcile::port_key;
use super::wire::LegNames;

impl State {
    /// Prepares the call and proposes it, or refuses it where no commit is needed to see that it
    /// cannot be.
    pub(super) fn arrive(&mut self, now: Instant, invite: &Request, peer: Peer) {
        if hops_left(invite).is_none() {
            let refusal = Response::to_request(invite, 483, Some(&tag_of(invite))).build();
            self.node.send_sip(&reply_to(invite, &peer), refusal.to_bytes());
            return self.turn_away(invite);
        }
        let salt = rand::random();
        let names = LegNames::derive(self.id, salt, LegNumber::FIRST);
        let dialog =
            match Leg::incoming(now, invite, peer, self.node.identity(&names, &self.station)) {
                Ok(dialog) => dialog,
                Err(refusal) => {
                    self.node.send_sip(&refusal.peer, refusal.bytes);
                    return self.turn_away(invite);
                }
            };
        let key = port_key(self.id, LegNumber::FIRST);
        let port = self.node.open_port(key, self.station.media_ip);
        let mut leg =
            LiveLeg::incoming(dialog, self.station.sip, port.as_ref().copied().unwrap_or_default());
        let prepared = match &port {
            Err(error) => {
                tracing::warn!(call = %self.id, %error, "no port for a call");
                Err(503)
            }
            Ok(_) => {
                if invite.has_content_type("application/sdp") {
                    leg.audio.remote = invite.body().to_vec();
                }
                leg.prepare(self.here(), key, None).map_err(|error| error.status())
            }
        };
        let wire = leg.committed(now).encode(self.node.version());
        self.legs.insert(LegNumber::FIRST, leg);
        if let Err(status) = prepared {
            return self.refuse_uncommitted(now, status);
        }
        self.node.journal.invited(self.id, invite);
        self.arriving = Some(self.node.begin_arrival());
        // Of an address there are fewer epochs than failovers of its node.
        let epoch = u32::try_from(self.arrived_in).unwrap_or(u32::MAX);
        self.propose(Command::Arrived(Box::new(Arrived {
            call: self.id,
            salt,
            owner: self.node.id,
            home: self.station.home.map(|home| (home, epoch)),
            trunk: self.node.routes.trunk_of(peer.remote),
            caller: party_of(invite),
            called: called_number(invite).into(),
            wire,
            answer_ready: true,
        })));
    }

    /// The INVITE was refused without a leg, so nobody else takes its Call-ID out of the table.
    fn turn_away(&mut self, invite: &Request) {
        self.node.router.leave(invite.call_id().as_bytes(), None);
        self.abandon();
    }

    /// Refuses a call that the cluster never knew.
    pub(super) fn refuse_uncommitted(&mut self, now: Instant, status: u16) {
        self.node.journal.uncommitted(self.id);
        self.uncommitted_refused = true;
        if self.arriving.is_some() {
            self.node.router.refuse(self.id);
        }
        self.arriving = None;
        if let Some(leg) = self.legs.get_mut(&LegNumber::FIRST) {
            leg.refuse(now, status);
        }
        self.give_up_place();
    }
}

/// Who calls, as the From says: nobody's assertion is trusted before trunks can be told apart.
fn party_of(invite: &Request) -> Party {
    let caller = caller_of(invite, false);
    let name = Some(caller.name).filter(|name| !name.is_empty());
    Party { number: caller.number.into(), name: name.map(Into::into) }
}

/// What was dialled: the user part of the Request-URI.
fn called_number(invite: &Request) -> String {
    let user = invite.uri().user_unescaped().unwrap_or_default();
    String::from_utf8_lossy(&user).into_owned()
}
