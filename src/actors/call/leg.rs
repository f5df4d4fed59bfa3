//! One leg of a call on this node: its dialog, its port, and what was agreed on for its audio.
//!
//! Owns the translation between the leg machine of [`tandem_sip`], which reads no SDP, and the
//! media engine, which knows no SIP. Decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tandem_center::{Command, Party, Role};
use tandem_sip::leg::{Leg, LegStatus, Outgoing, WrongState, cseq_skip};
use tandem_sip::sdp::{self, Capabilities, Local, Negotiated, SdpError, Versions};
use tandem_sip::wire::{Message, Method, Peer, Request};

use super::super::answered::{Answer, Asked};
use super::wire::{CommittedLeg, LegNames};
use crate::media_engine::{CodecKind, PortKey, ReserveError};
use crate::node::Node;
use crate::routes::RouteError;
use crate::stations::Station;

/// A leg that is served here.
#[derive(Debug)]
pub(super) struct LiveLeg {
    pub(super) dialog: Leg,
    pub(super) sip_call_id: String,
    /// Our address that the far end knows.
    pub(super) sip: SocketAddr,
    pub(super) rtp_port: u16,
    pub(super) far: Far,
    pub(super) audio: Audio,
    /// The BYE that ended it, and what it gets if it comes again when the call is forgotten.
    pub(super) last_answer: Option<(Asked, Answer)>,
    /// A machine that is gone may have given the answer that is due.
    answered_before: bool,
    /// While the far end does not know our address: how often it may still be told.
    pub(super) untold: Option<u8>,
    /// What was reported of its end. It is reported again as long as the value has the leg alive:
    /// the report may have been refused because it overtook the arrival.
    pub(super) farewell: Option<Command>,
    /// Its INVITE waits until what it says is committed: nothing of the leg leaves before.
    pub(super) unsaid: bool,
    /// When its trunk counts as dead if it has said nothing at all.
    pub(super) unheard_until: Option<Instant>,
}

/// What the far end of a leg is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Far {
    /// Nothing is known of it.
    Silent,
    /// It rings there.
    Ringing,
    /// In a call.
    Talking,
    /// It sent a BYE, which is answered when the end is committed.
    HangsUp,
    /// The call on this leg is over, but its last response may have to be repeated.
    Leaving,
    /// Nothing will be sent any more.
    Gone,
}

impl Far {
    pub(super) fn is_gone(self) -> bool {
        self == Self::Gone
    }
}

/// What was said about audio.
#[derive(Debug, Clone)]
pub(super) struct Audio {
    /// Our last description.
    pub(super) local: Vec<u8>,
    /// The far end's last description; empty while there is none.
    pub(super) remote: Vec<u8>,
    /// What came of it.
    pub(super) agreed: Option<Negotiated>,
    /// The versions in our `o=` lines.
    pub(super) versions: Versions,
    /// Offer/answer exchanges so far, for the port's plan.
    pub(super) rounds: u32,
    /// The caller heard `local` before our final response.
    pub(super) said: bool,
}

impl Audio {
    fn none() -> Self {
        let (local, remote) = (Vec::new(), Vec::new());
        Self { local, remote, agreed: None, versions: Versions::NONE, rounds: 0, said: false }
    }
}

/// Where a leg lives: the node that serves it and the address that it is served at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) node: &'a Arc<Node>,
    pub(super) station: &'a Station,
}

/// What an outgoing leg is made from.
#[derive(Debug)]
pub(super) struct Invite<'a> {
    pub(super) names: LegNames,
    pub(super) key: PortKey,
    pub(super) invitation: Invitation<'a>,
    /// The leg that it will talk to: its codec is offered first, so that nothing is transcoded.
    pub(super) other: Option<&'a LiveLeg>,
}

/// Whom to call, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invitation<'a> {
    pub(super) role: &'a Role,
    pub(super) target: &'a str,
    pub(super) shows: &'a Party,
    pub(super) auto_answer: bool,
}

/// Why a leg does not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum InviteError {
    /// Nothing says where this target is.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// No RTP port is free.
    #[error(transparent)]
    Port(#[from] ReserveError),
}

impl InviteError {
    /// As if the far end had refused with it.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Route(error) => error.status(),
            Self::Port(_) => 503,
        }
    }
}

/// Begins an outgoing leg.
pub(super) fn invite(
    now: Instant,
    here: Here<'_>,
    make: Invite<'_>,
) -> Result<LiveLeg, InviteError> {
    let Here { node, station } = here;
    let Invite { names, key, invitation, other, .. } = make;
    let way = node.way(invitation.role, invitation.target, station.sip)?;
    let port = node.open_port(key, station.media_ip)?;
    let capabilities = prefer(&node.capabilities, other.and_then(LiveLeg::codec));
    let mut audio = Audio { versions: Versions::after(1), ..Audio::none() };
    audio.local = sdp::offer(&capabilities, &local(station, port, key, audio.versions.last()));
    let mut headers = Vec::new();
    if invitation.auto_answer {
        // Two spellings that phones know; RFC 5373 has a third, which few do.
        headers.push(("Call-Info".into(), format!("<sip:{}>;answer-after=0", station.host)));
        headers
            .push(("Alert-Info".into(), "<http://127.0.0.1>;info=alert-autoanswer;delay=0".into()));
    }
    let outgoing = Outgoing {
        identity: node.identity(&names, station),
        call_id: names.sip_call_id.clone(),
        from: node.from_header(invitation.shows, station),
        to: format!("<{}>", way.target),
        target: way.target,
        routes: Vec::new(),
        peer: way.peer,
        sdp: audio.local.clone(),
        credentials: way.credentials,
        headers,
        max_forwards: other.map_or(70, |other| other.dialog.hops_left()),
    };
    let mut dialog = Leg::outgoing(now, &outgoing);
    dialog.hold_ack();
    Ok(LiveLeg {
        dialog,
        sip_call_id: names.sip_call_id,
        sip: station.sip,
        rtp_port: port,
        far: Far::Silent,
        audio,
        last_answer: None,
        answered_before: false,
        untold: None,
        farewell: None,
        unsaid: false,
        unheard_until: way.answers_within.map(|within| now + within),
    })
}

/// Our side of a description.
pub(super) fn local(station: &Station, port: u16, key: PortKey, version: u64) -> Local {
    Local {
        ip: station.media_ip,
        rtp_port: port,
        // One session id for a leg's whole life, here and after an adoption (RFC 3264 §8).
        session_id: key.call ^ u64::from(key.leg),
        version,
        direction: sdp::Direction::SendRecv,
    }
}

/// The capabilities with this codec first.
pub(super) fn prefer(capabilities: &Capabilities, codec: Option<sdp::CodecKind>) -> Capabilities {
    let mut capabilities = capabilities.clone();
    if let Some(codec) = codec {
        capabilities.codecs.sort_by_key(|known| *known != codec);
    }
    capabilities
}

impl LiveLeg {
    /// A leg for a new INVITE, with no description yet.
    pub(super) fn incoming(dialog: Leg, sip: SocketAddr, rtp_port: u16) -> Self {
        let sip_call_id = dialog.call_id().to_owned();
        let (far, audio) = (Far::Silent, Audio::none());
        Self {
            dialog,
            sip_call_id,
            sip,
            rtp_port,
            far,
            audio,
            last_answer: None,
            answered_before: false,
            untold: None,
            farewell: None,
            unsaid: false,
            unheard_until: None,
        }
    }

    /// A leg that another actor, or another node, served before. Each life of the call has CSeqs
    /// and versions of its own: what an adopter has sent that died as well may not be committed.
    pub(super) fn restore(
        now: Instant,
        committed: CommittedLeg,
        epoch: u32,
    ) -> Result<Self, tandem_sip::leg::RestoreError> {
        let CommittedLeg {
            dialog,
            sip_call_id,
            sip,
            rtp_port,
            sdp_local,
            sdp_remote,
            agreed,
            sdp_version,
        } = committed;
        let mut dialog = Leg::restore(now, dialog, cseq_skip(epoch))?;
        dialog.hold_ack();
        let far = match dialog.status() {
            // Early media was agreed on: it rings there, and is heard.
            LegStatus::Calling if agreed.is_some() => Far::Ringing,
            LegStatus::Arriving | LegStatus::Calling | LegStatus::Cancelling => Far::Silent,
            LegStatus::Talking | LegStatus::HangingUp => Far::Talking,
            LegStatus::ByeReceived => Far::HangsUp,
            LegStatus::Over => Far::Leaving,
            LegStatus::Terminated => Far::Gone,
        };
        let (local, remote, said) = (sdp_local, sdp_remote, dialog.has_said_sdp());
        let versions = Versions::adopted(sdp_version, epoch.saturating_add(1));
        let audio = Audio { local, remote, agreed, versions, rounds: 1, said };
        Ok(Self {
            dialog,
            sip_call_id,
            sip,
            rtp_port,
            far,
            audio,
            last_answer: None,
            answered_before: false,
            untold: None,
            farewell: None,
            unsaid: false,
            unheard_until: None,
        })
    }

    /// A machine that is gone may have answered the INVITE or re-INVITE: the 200 goes again, and
    /// its ACK, which may have come there, is not insisted on.
    pub(super) fn was_answered(&mut self) {
        self.answered_before = true;
    }

    /// The answer to a re-INVITE, which is committed.
    pub(super) fn answer_reoffer(&mut self, now: Instant) {
        let sdp = self.audio.local.clone();
        expected(if std::mem::take(&mut self.answered_before) {
            self.dialog.answer_reoffer_again(now, sdp)
        } else {
            self.dialog.answer_reoffer(now, sdp)
        });
    }

    /// Whether it is an arriving leg that nothing final was said on.
    pub(super) fn is_before_the_answer(&self) -> bool {
        self.dialog.status() == LegStatus::Arriving
    }

    /// The leg as it is now, to be committed.
    pub(super) fn committed(&self, now: Instant) -> CommittedLeg {
        committed(&self.dialog, self, now)
    }

    /// Whether this is another try of a caller whom we have refused: the same Call-ID, and a new
    /// transaction (RFC 3261 §8.1.3.5).
    pub(super) fn is_called_anew(&self, request: &Request) -> bool {
        let is_over = matches!(self.dialog.status(), LegStatus::Over | LegStatus::Terminated);
        is_over
            && *request.method() == Method::Invite
            && request.to_tag().is_none()
            // Not an INVITE of ours that comes round.
            && request.from_tag() != Some(self.dialog.local_tag())
            && !self.dialog.owns(request)
    }

    /// Keeps the answer to the BYE that ends it, if this is that.
    pub(super) fn keep_last_answer(&mut self, peer: &Peer, bytes: &[u8]) {
        if self.far != Far::HangsUp || !bytes.starts_with(b"SIP/2.0 200") {
            return;
        }
        let response = Message::parse(bytes).ok().and_then(Message::into_response);
        if let Some(response) = response.filter(|response| response.cseq().method == Method::Bye) {
            let answer = Answer::Sent(*peer, bytes.to_vec());
            self.last_answer = Some((Asked::of(&response), answer));
        }
    }

    /// The codec that was agreed on.
    pub(super) fn codec(&self) -> Option<sdp::CodecKind> {
        self.audio.agreed.as_ref().map(|agreed| agreed.codec.kind)
    }

    /// 100, once.
    pub(super) fn proceed(&mut self, now: Instant) {
        expected(self.dialog.trying(now));
    }

    /// 180.
    pub(super) fn ring(&mut self, now: Instant) {
        if self.dialog.status() == LegStatus::Arriving {
            expected(self.dialog.ring(now, None));
        }
    }

    /// 183 with our description: the caller hears what is there to be heard.
    pub(super) fn ring_aloud(&mut self, now: Instant) {
        self.audio.said = true;
        expected(self.dialog.ring(now, Some(self.audio.local.clone())));
    }

    /// 200 with the description that is committed.
    pub(super) fn answer(&mut self, now: Instant) {
        if self.dialog.status() == LegStatus::Arriving {
            self.far = Far::Talking;
            let sdp = self.audio.local.clone();
            expected(if std::mem::take(&mut self.answered_before) {
                self.dialog.answer_again(now, sdp)
            } else {
                self.dialog.answer(now, sdp)
            });
        }
    }

    /// A final refusal.
    pub(super) fn refuse(&mut self, now: Instant, status: u16) {
        if self.dialog.status() == LegStatus::Arriving {
            self.far = Far::Leaving;
            let retry = [("Retry-After", "5")];
            let headers: &[(&str, &str)] = if status == 503 { &retry } else { &[] };
            expected(self.dialog.refuse(now, status, "", headers));
        }
    }

    /// The transfer that its phone asked for is committed, and the call is not with it any more: it
    /// is told so before the BYE (RFC 3515 §2.4.4). Nothing if it did not ask.
    pub(super) fn transfer_is_done(&mut self, now: Instant) {
        if self.dialog.accept_refer(now).is_ok() {
            // Who does not want to know has no subscription (RFC 4488).
            let _may_be_quiet = self.dialog.notify_refer(now, 200);
        }
    }

    /// Ends the leg, whatever it is doing.
    pub(super) fn end(&mut self, now: Instant) {
        // Who was answered is in a call, and only a BYE ends that: first the answer, once more.
        if self.answered_before {
            self.answer(now);
        }
        match self.dialog.status() {
            LegStatus::ByeReceived => expected(self.dialog.accept_bye(now)),
            LegStatus::Arriving | LegStatus::Calling | LegStatus::Talking => {
                self.dialog.hang_up(now);
            }
            LegStatus::Cancelling | LegStatus::HangingUp | LegStatus::Over => (),
            LegStatus::Terminated => self.far = Far::Gone,
        }
    }

    /// Prepares the answer to the caller's offer, or an offer for a caller who made none.
    pub(super) fn prepare(
        &mut self,
        here: Here<'_>,
        key: PortKey,
        prefer_codec: Option<sdp::CodecKind>,
    ) -> Result<(), SdpError> {
        let prefer_codec = self.said_codec().or(prefer_codec);
        // The same description has the same version (RFC 3264 §8), so that a caller hears the
        // same answer however often it is given (RFC 3261 §13.2.1).
        let last = self.audio.versions.last();
        let (mut local, mut agreed) = self.describe(here, key, prefer_codec, last)?;
        let in_doubt =
            self.audio.versions.is_doubtful() && self.dialog.status() != LegStatus::Arriving;
        if local != self.audio.local || in_doubt {
            let next = self.audio.versions.raise();
            (local, agreed) = self.describe(here, key, prefer_codec, next)?;
        }
        self.audio.local = local;
        if agreed.is_some() {
            self.audio.agreed = agreed;
            self.audio.rounds = self.audio.rounds.max(1);
        }
        Ok(())
    }

    /// The codec that the caller was told before our final response: we stay with it, and the node
    /// transcodes if the other leg has another one.
    fn said_codec(&self) -> Option<sdp::CodecKind> {
        let is_arriving = self.dialog.status() == LegStatus::Arriving;
        if !is_arriving || !self.audio.said {
            return None;
        }
        let first = |offer: Vec<sdp::CodecKind>| offer.first().copied();
        self.codec().or_else(|| sdp::offered_codecs(&self.audio.local).ok().and_then(first))
    }

    /// Our description in this version: the answer to the far end's, or an offer where it made
    /// none.
    fn describe(
        &self,
        here: Here<'_>,
        key: PortKey,
        codec: Option<sdp::CodecKind>,
        version: u64,
    ) -> Result<(Vec<u8>, Option<Negotiated>), SdpError> {
        let Here { node, station } = here;
        let local = local(station, self.rtp_port, key, version);
        if self.audio.remote.is_empty() {
            return Ok((sdp::offer(&prefer(&node.capabilities, codec), &local), None));
        }
        let (answer, agreed) = answer_preferring(node, &self.audio.remote, &local, codec)?;
        Ok((answer, Some(agreed)))
    }

    /// Offers what was agreed on once more, from where we are now.
    pub(super) fn offer_again(
        &mut self,
        now: Instant,
        here: Here<'_>,
        key: PortKey,
    ) -> Result<(), WrongState> {
        let version = self.audio.versions.raise();
        let local = local(here.station, self.rtp_port, key, version);
        self.audio.local = sdp::offer(&prefer(&here.node.capabilities, self.codec()), &local);
        self.dialog.reoffer(now, self.audio.local.clone())
    }

    /// Takes the far end's answer to our offer.
    pub(super) fn accept(
        &mut self,
        here: Here<'_>,
        key: PortKey,
        answer: Vec<u8>,
    ) -> Result<(), SdpError> {
        let version = self.audio.versions.last();
        let local = local(here.station, self.rtp_port, key, version);
        let agreed = sdp::accept(&self.audio.local, &answer, &local)?;
        self.audio.remote = answer;
        self.audio.agreed = Some(agreed);
        self.audio.rounds += 1;
        Ok(())
    }
}

/// Answers with this codec if the offer has it, so that the legs need no transcoding; else with
/// whatever fits.
fn answer_preferring(
    node: &Node,
    offer: &[u8],
    local: &Local,
    codec: Option<sdp::CodecKind>,
) -> Result<(Vec<u8>, Negotiated), SdpError> {
    if let Some(codec) = codec {
        let only = Capabilities { codecs: vec![codec], ..node.capabilities.clone() };
        if let Ok(answered) = sdp::answer(offer, &only, local) {
            return Ok(answered);
        }
    }
    sdp::answer(offer, &node.capabilities, local)
}

fn committed(dialog: &Leg, leg: &LiveLeg, now: Instant) -> CommittedLeg {
    CommittedLeg {
        dialog: dialog.export(now),
        sip_call_id: leg.sip_call_id.clone(),
        sip: leg.sip,
        rtp_port: leg.rtp_port,
        sdp_local: leg.audio.local.clone(),
        sdp_remote: leg.audio.remote.clone(),
        agreed: leg.audio.agreed.clone(),
        sdp_version: leg.audio.versions.last(),
    }
}

/// A command that the leg's state does not fit any more: the far end was faster, and its event is
/// among the outputs.
pub(super) fn expected(done: Result<(), WrongState>) {
    if let Err(error) = done {
        tracing::debug!(%error, "the far end was faster");
    }
}

/// The media engine's name for a codec of a description.
pub(super) fn engine_codec(kind: sdp::CodecKind) -> CodecKind {
    match kind {
        sdp::CodecKind::Pcmu => CodecKind::Pcmu,
        sdp::CodecKind::Pcma => CodecKind::Pcma,
        sdp::CodecKind::G722 => CodecKind::G722,
        sdp::CodecKind::Opus => CodecKind::Opus,
    }
}
