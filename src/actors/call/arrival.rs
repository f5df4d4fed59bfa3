//! A new INVITE: everything up to the commit that makes it a call.
//!
//! Owns what happens before the cluster knows of the call: reading the offer, opening a port and
//! preparing the answer, so that one commit is enough to answer; and giving it up where the INVITE
//! is another node's by now. Until then not even a 100 is sent: the caller repeats the INVITE, to
//! us or to another node.

use std::time::{Duration, Instant};

use tandem_center::{Arrived, Command, LegNumber, Party, Rejected};
use tandem_sip::b2bua::{caller_of, hops_left};
use tandem_sip::leg::Leg;
use tandem_sip::wire::{Peer, Request, Response};

use super::super::sip_transport::{reply_to, tag_of};
use super::leg::LiveLeg;
use super::reconcile::port_key;
use super::wire::LegNames;
use super::{Message, PROPOSE_AGAIN, State};

/// How long a caller waits for a leader before 503 sends them to another node.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);

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
            phone: self.phone_of(invite, &peer),
            caller: party_of(invite),
            called: called_number(invite).into(),
            wire,
            answer_ready: true,
        })));
    }

    /// The INVITE was refused without a leg, so nobody else takes its Call-ID out of the table.
    fn turn_away(&mut self, invite: &Request) {
        self.node.router.leave(invite.call_id().as_bytes(), self.id, None);
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

    /// Proposes the arrival once more. An election takes less than a second, in which the caller
    /// only repeats the INVITE. When nobody knows whether the first proposal was committed, another
    /// node may have had the call and ended it: the same call must not begin again then.
    pub(super) fn arrive_again(&mut self, now: Instant, command: Command) {
        if self.call.is_some() || self.uncommitted_refused {
            return;
        }
        let waits = self.invited.map_or(LEADERLESS_MAX, |invited| now - invited);
        let is_late = waits >= LEADERLESS_MAX && self.node.is_cut_off();
        if is_late || self.lives() != self.arrived_in {
            return self.give_arrival_up(now);
        }
        if self.node.lease.holds() {
            return self.propose(command);
        }
        drop(self.me.send_after(PROPOSE_AGAIN, move || Message::Again(Box::new(command), None)));
    }

    /// The INVITE reached this node though another one has the address by now, which its caller
    /// reaches with a repetition.
    pub(super) fn is_anothers(&self, command: &Command, why: &Rejected) -> bool {
        // With a node that is lost its address moves, if it is one that can.
        let is_lost = matches!(why, Rejected::NodeIsLost { .. }) && self.station.home.is_some();
        (is_lost || matches!(why, Rejected::AddressMoved { .. }))
            && matches!(command, Command::Arrived(_))
    }

    /// The arrival is not committed, and is not proposed any more. Where the address has been another
    /// node's meanwhile, that one has heard the caller's repetitions and may have answered: a refusal
    /// from here could be heard instead of its answer.
    pub(super) fn give_arrival_up(&mut self, now: Instant) {
        if self.address_has_moved() {
            self.forsake();
        } else {
            self.refuse_uncommitted(now, 503);
        }
    }

    /// The caller repeats an INVITE that could not be committed for so long, and cannot be now.
    pub(super) fn refuse_if_late(&mut self, now: Instant) {
        let is_late = self.invited.is_some_and(|invited| now - invited >= LEADERLESS_MAX);
        let waits = self.call.is_none() && !self.uncommitted_refused && self.arriving.is_some();
        if waits && is_late && self.node.is_cut_off() {
            self.give_arrival_up(now);
        }
    }

    /// The address has been another node's since the INVITE came.
    pub(super) fn address_has_moved(&self) -> bool {
        self.station.home.is_some() && self.lives() != self.arrived_in
    }

    /// The last of [`State::lives`] of which this node serves the calls, and so knows whether a call
    /// is among them. None of them if the address was closed meanwhile.
    pub(super) fn life_served(&self) -> u64 {
        let Some(home) = self.station.home else { return self.lives() };
        self.node.stations.served(home).map_or(u64::MAX, u64::from)
    }

    /// How often the address that the call lives on has moved, or how often the node could have
    /// lost its calls where addresses do not move.
    fn lives(&self) -> u64 {
        let Some(home) = self.station.home else { return self.node.replica.lease_number() };
        self.node.replica.read_local(|machine| {
            let found = machine.center().homes().find(|(id, _)| *id == home);
            found.map_or(0, |(_, home)| u64::from(home.epoch))
        })
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
