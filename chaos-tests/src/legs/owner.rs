//! The machine that serves a leg, as far as its dialog goes: what the call actor of a node does
//! with the leg machine of `tandem_sip`.
//!
//! Owns the leg and the description that goes with it; what is committed of it is [`Kept`]. It
//! decides nothing: what is ordered comes from the world.

use std::net::SocketAddr;
use std::time::Instant;

use tandem_sip::leg::{
    Identity, Leg, LegExport, LegStatus, Outgoing, ReliableProvisional, Settings,
};
use tandem_sip::leg::{WrongState, cseq_skip};
use tandem_sip::sdp::{self, Capabilities, CodecKind, Direction, Local, Versions};
use tandem_sip::wire::{Peer, Request, Transport};

use super::LegMutant;
use super::phone::PHONE;

/// What is committed of a leg.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    dialog: Vec<u8>,
    version: u64,
    local: Vec<u8>,
    remote: Vec<u8>,
}

/// What is committed of the call, and so what its owner is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Begun,
    Answered,
    Over,
}

#[derive(Debug)]
pub(super) struct Owner {
    pub(super) leg: Leg,
    pub(super) home: SocketAddr,
    versions: Versions,
    local: Vec<u8>,
    remote: Vec<u8>,
    /// One before may have given the answer that is due.
    answered_before: bool,
    /// How often what the far end does not know yet may still be offered.
    tellings: u8,
}

/// As the node does.
const TELLINGS_MAX: u8 = 3;

/// A command that no longer fits is a race with the far end.
fn may_race(_done: Result<(), WrongState>) {}

fn identity(home: SocketAddr) -> Identity {
    Identity {
        tag: "ours".into(),
        branch_seed: "seed".into(),
        contact: format!("sip:leg@{home}"),
        sent_by: home.to_string(),
        settings: Settings {
            reliable_provisional: ReliableProvisional::WhenSupported,
            session_timer: None,
            ..Settings::default()
        }
        .into(),
    }
}

pub(super) fn peer(home: SocketAddr) -> Peer {
    let remote = PHONE.parse().expect("an address");
    Peer { transport: Transport::Udp, remote, local: home, connection: None }
}

impl Owner {
    pub(super) fn called(now: Instant, invite: &Request, home: SocketAddr) -> Option<Self> {
        let leg = Leg::incoming(now, invite, peer(home), identity(home)).ok()?;
        let mut owner = Self::new(leg, home, Versions::NONE);
        owner.remote = invite.body().to_vec();
        owner.prepare();
        may_race(owner.leg.trying(now));
        Some(owner)
    }

    pub(super) fn calling(now: Instant, home: SocketAddr) -> Self {
        let versions = Versions::after(1);
        let local = sdp::offer(&Capabilities::only(CodecKind::Pcma), &local(home, 1));
        let outgoing = Outgoing {
            identity: identity(home),
            call_id: "call@simulation".into(),
            target: format!("sip:phone@{PHONE}"),
            from: "<sip:tandem@example.com>".into(),
            to: "<sip:phone@example.com>".into(),
            routes: Vec::new(),
            peer: peer(home),
            sdp: local.clone(),
            credentials: None,
            headers: Vec::new(),
            max_forwards: 70,
        };
        let mut owner = Self::new(Leg::outgoing(now, &outgoing), home, versions);
        owner.leg.hold_ack();
        Self { local, ..owner }
    }

    fn new(leg: Leg, home: SocketAddr, versions: Versions) -> Self {
        let (local, remote) = (Vec::new(), Vec::new());
        Self { leg, home, versions, local, remote, answered_before: false, tellings: 0 }
    }

    /// What is to be committed of it now.
    pub(super) fn kept(&self, now: Instant) -> Kept {
        let dialog = postcard::to_allocvec(&self.leg.export(now));
        Kept {
            dialog: dialog.expect("a leg has a postcard form"),
            version: self.versions.last(),
            local: self.local.clone(),
            remote: self.remote.clone(),
        }
    }

    /// Goes on from what is committed.
    pub(super) fn adopt(
        now: Instant,
        (kept, value): (&Kept, Value),
        (home, epoch): (SocketAddr, u32),
        mutant: Option<LegMutant>,
    ) -> Self {
        let export: LegExport = postcard::from_bytes(&kept.dialog).expect("what was written");
        let skip = if mutant == Some(LegMutant::KeepsTheCseq) { 0 } else { cseq_skip(epoch) };
        let versions = match mutant {
            Some(LegMutant::KeepsTheVersion) => Versions::after(kept.version),
            Some(LegMutant::KeepsTheCseq) | None => {
                Versions::adopted(kept.version, epoch.saturating_add(1))
            }
        };
        let leg = Leg::restore(now, export, skip).expect("of this version");
        let mut owner = Self::new(leg, home, versions);
        owner.leg.hold_ack();
        (owner.local, owner.remote) = (kept.local.clone(), kept.remote.clone());
        let arriving = owner.leg.status() == LegStatus::Arriving;
        owner.answered_before =
            owner.leg.awaits_reanswer() || (arriving && value == Value::Answered);
        owner
    }

    /// The far end knows another address than ours. Says whether the leg is given up.
    pub(super) fn moves(&mut self, now: Instant, value: Value) -> bool {
        let (home, status) = (self.home, self.leg.status());
        self.leg.move_to(now, format!("sip:leg@{home}"), home.to_string(), home);
        match status {
            LegStatus::Arriving => {
                self.prepare();
                if value == Value::Answered {
                    self.answer(now);
                    self.tellings = TELLINGS_MAX;
                    self.tell(now);
                }
            }
            LegStatus::Calling => return true,
            LegStatus::Talking => {
                self.tellings = TELLINGS_MAX;
                if self.leg.awaits_reanswer() {
                    self.prepare();
                } else {
                    self.tell(now);
                }
            }
            LegStatus::Cancelling
            | LegStatus::ByeReceived
            | LegStatus::HangingUp
            | LegStatus::Over
            | LegStatus::Terminated => (),
        }
        false
    }

    pub(super) fn may_tell(&self) -> bool {
        self.tellings > 0
    }

    /// Offers, and again while it is refused for the moment or crosses an offer of theirs.
    pub(super) fn reoffer(&mut self, now: Instant) {
        self.tellings = TELLINGS_MAX;
        self.tell(now);
    }

    pub(super) fn tell(&mut self, now: Instant) {
        if self.tellings > 0 && self.leg.status() == LegStatus::Talking {
            self.tellings -= 1;
            let local = local(self.home, self.versions.raise());
            self.local = sdp::offer(&Capabilities::only(CodecKind::Pcma), &local);
            may_race(self.leg.reoffer(now, self.local.clone()));
        }
    }

    /// Our answer to what the far end said last.
    pub(super) fn prepare(&mut self) {
        let in_doubt = self.versions.is_doubtful() && self.leg.status() != LegStatus::Arriving;
        if in_doubt || self.describe(self.versions.last()) != self.local {
            let version = self.versions.raise();
            self.local = self.describe(version);
        }
    }

    fn describe(&self, version: u64) -> Vec<u8> {
        let answer =
            sdp::answer(&self.remote, &Capabilities::default(), &local(self.home, version));
        answer.map(|(text, _)| text).unwrap_or_default()
    }

    pub(super) fn is_offered(&mut self, sdp: Option<Vec<u8>>) {
        self.remote = sdp.unwrap_or_default();
        self.prepare();
    }

    pub(super) fn is_answered(&mut self, sdp: Option<Vec<u8>>) {
        self.tellings = 0;
        self.remote = sdp.unwrap_or_default();
    }

    pub(super) fn ring(&mut self, now: Instant) {
        if self.leg.status() == LegStatus::Arriving {
            let sdp = Some(self.local.clone());
            may_race(self.leg.ring(now, sdp));
        }
    }

    pub(super) fn answer(&mut self, now: Instant) {
        if self.leg.status() == LegStatus::Arriving {
            let sdp = self.local.clone();
            may_race(match std::mem::take(&mut self.answered_before) {
                true => self.leg.answer_again(now, sdp),
                false => self.leg.answer(now, sdp),
            });
        }
    }

    pub(super) fn reanswer(&mut self, now: Instant) {
        let sdp = self.local.clone();
        may_race(match std::mem::take(&mut self.answered_before) {
            true => self.leg.answer_reoffer_again(now, sdp),
            false => self.leg.answer_reoffer(now, sdp),
        });
        self.tell(now);
    }

    /// Ends the leg, whatever it is doing.
    pub(super) fn end(&mut self, now: Instant) {
        if self.answered_before {
            self.answer(now);
        }
        self.leg.hang_up(now);
    }
}

fn local(home: SocketAddr, version: u64) -> Local {
    let (rtp_port, session_id) = (4_000, 7);
    Local { ip: home.ip(), rtp_port, session_id, version, direction: Direction::SendRecv }
}
