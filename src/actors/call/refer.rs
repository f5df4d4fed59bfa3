//! What a phone asks for by REFER, and which phone asks.
//!
//! Owns two recognitions, of which the centre knows the result: that an INVITE comes from an agent's
//! phone, and which dialog a Replaces names (RFC 3891 §3). Where a transfer leads, and whether it may
//! be, the centre decides, and the answer to the REFER waits for that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tandem_center::{AgentId, CallId, Command, LegNumber, Rejected, Role, Wire};
use tandem_sip::leg::{Leg, Refer, Replaces};
use tandem_sip::wire::{Peer, Request, Uri};

use super::State;
use super::leg::expected;
use super::wire::CommittedLeg;

impl State {
    /// The agent whose phone sends this INVITE: it says so in From, and it is where that phone is.
    /// Its port may be another one when it has opened a connection, but then its Contact is known.
    pub(super) fn phone_of(&self, invite: &Request, peer: &Peer) -> Option<AgentId> {
        let user = String::from_utf8(invite.from().uri().user_unescaped()?).ok()?;
        let agent = AgentId::parse(&user).ok()?;
        let device = self.node.replica.read_local(|machine| {
            let config = machine.center().directory().agents.get(&agent);
            config.map(|config| config.device.clone())
        })?;
        let contact_port = invite.contact().and_then(|contact| contact.uri().port());
        let is_there = |phone: SocketAddr| {
            phone.ip() == peer.remote.ip()
                && (phone.port() == peer.remote.port() || contact_port == Some(phone.port()))
        };
        let bindings = self.node.registrations(&agent).map(|registered| registered.bindings);
        let is_registered = bindings.into_iter().flatten().any(|bound| is_there(bound.peer.remote));
        let is_phone = is_registered || {
            let way = self.node.way(&Role::Agent(agent.clone()), &device, self.station.sip);
            way.is_ok_and(|way| is_there(way.peer.remote))
        };
        is_phone.then_some(agent)
    }

    /// A phone asks for a transfer.
    pub(super) fn far_refers(&mut self, now: Instant, number: LegNumber, refer: &Refer) {
        let call = self.id;
        if let Some(replaces) = &refer.replaces {
            return match self.call_replaced(number, replaces) {
                Ok(other) => self.propose(Command::ReferredWith { call, leg: number, other }),
                Err(status) => self.refuse_refer(now, number, status),
            };
        }
        match called_number(&refer.target) {
            Some(to) => self.propose(Command::Referred { call, leg: number, to }),
            None => self.refuse_refer(now, number, 400),
        }
    }

    /// The call that the phone of this leg is in with the dialog that is to be replaced. Else a status:
    /// that others have such a dialog is nobody's business, so theirs and none are refused alike.
    fn call_replaced(&self, number: LegNumber, replaces: &Replaces) -> Result<CallId, u16> {
        let leg = self.call.as_ref().and_then(|call| call.legs.get(&number));
        let agent = leg.and_then(|leg| leg.role.agent()).ok_or(403_u16)?;
        let dialled: Vec<(CallId, Wire)> = self.node.replica.read_local(|machine| {
            let calls = machine.center().calls();
            let dialled = calls.filter(|call| call.dialled_by.as_ref() == Some(agent));
            let first =
                dialled.filter_map(|call| Some((call.id, call.legs.get(&LegNumber::FIRST)?)));
            first.map(|(call, leg)| (call, leg.wire.clone())).collect()
        });
        let found = dialled.into_iter().find(|(_, wire)| is_dialog(wire, replaces));
        match found {
            // RFC 3891 §3: whoever asks for that comes too late.
            Some(_) if replaces.early_only => Err(486),
            Some((call, _)) => Ok(call),
            None => Err(404),
        }
    }

    pub(super) fn refuse_refer(&mut self, now: Instant, number: LegNumber, status: u16) {
        if let Some(leg) = self.legs.get_mut(&number) {
            expected(leg.dialog.refuse_refer(now, status));
        }
    }
}

/// Whether these are the dialog's identifiers, as its other end names them.
fn is_dialog(wire: &Wire, replaces: &Replaces) -> bool {
    let Ok(committed) = CommittedLeg::decode(wire) else { return false };
    if committed.sip_call_id != replaces.call_id {
        return false;
    }
    Leg::restore(Instant::now(), committed.dialog, 0).is_ok_and(|dialog| {
        dialog.local_tag() == replaces.to_tag
            && dialog.remote_tag() == Some(replaces.from_tag.as_str())
    })
}

/// The number that a SIP URI names, as it would be dialled.
fn called_number(uri: &str) -> Option<Arc<str>> {
    let user = Uri::parse(uri.as_bytes()).ok()?.user_unescaped()?;
    let user = String::from_utf8(user).ok()?;
    (!user.is_empty()).then(|| user.into())
}

/// What a phone is told whose transfer the centre refuses.
pub(super) fn refusal_of_refer(why: &Rejected) -> u16 {
    if matches!(why, Rejected::MayNotRefer { .. }) {
        return 403;
    }
    if matches!(
        why,
        Rejected::NoWayTo { .. } | Rejected::NoSuchCall { .. } | Rejected::NotYourCall { .. }
    ) {
        return 404;
    }
    // Or another command was faster, somebody is being asked at the desk, or nobody has answered.
    603
}
