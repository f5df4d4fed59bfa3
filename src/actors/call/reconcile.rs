//! Closing the difference between what a call's value wants and what is on the wire.
//!
//! Owns no decision: [`Call::wants`] says what each leg, the audio and the IVR should be. The same
//! code serves a call from its first commit, after its actor died, and on a node that adopts it.

use std::sync::Arc;
use std::time::Instant;

use tandem_center::{Call, CallId, Cause, Command, Direction, Leg, LegNumber, LegState, LegWant};
use tandem_sip::leg::LegStatus;

use super::super::replica;
use super::super::router::BYE_REPEATED;
use super::leg::{Far, Here, Invitation, LiveLeg};
use super::wire::{CommittedLeg, LegNames};
use super::{Message, State, leg};
use crate::media_engine::PortKey;

impl State {
    pub(super) fn here(&self) -> Here<'_> {
        Here { node: &self.node, station: &self.station }
    }

    /// Commits legs as they are now, so that another node can go on with them. Nothing waits for
    /// it: who adopts the call in these milliseconds does with what was committed before. A node
    /// that is alone has nobody to go on.
    pub(super) fn commit_wires(&self, now: Instant, legs: &[LegNumber]) {
        if self.is_alone() {
            return;
        }
        for number in legs {
            if let Some(leg) = self.legs.get(number) {
                let wire = leg.committed(now).encode(self.node.version());
                self.propose(Command::WireChanged { call: self.id, leg: *number, wire });
            }
        }
    }

    /// No other node could go on with the call.
    fn is_alone(&self) -> bool {
        self.node.config.cluster.member.len() < 2
    }

    /// The description and the ports of an invitation are committed: it may leave. Were it sent
    /// before, an adopter who does not know them would repeat the INVITE with ports of its own,
    /// which the far end, that has answered the first, never looks at.
    pub(super) fn invite_kept(&mut self, number: LegNumber) {
        if let Some(leg) = self.legs.get_mut(&number) {
            leg.unsaid = false;
        }
    }

    /// Ends a leg. One that nobody has heard of only goes.
    fn end_leg(&mut self, now: Instant, number: LegNumber) {
        match self.legs.get_mut(&number) {
            Some(leg) if leg.unsaid => {
                self.let_go(number);
                self.forget_leg(number);
            }
            Some(leg) => leg.end(now),
            None => (),
        }
    }

    /// Rebuilds the legs of a call that another actor served before.
    pub(super) fn take_up(&mut self, now: Instant, call: &Call) {
        self.epoch = call.epoch;
        self.performer.take_up();
        for (&number, committed) in &call.legs {
            if !committed.wire.0.is_empty() {
                self.take_up_leg(now, call, (number, committed));
            }
        }
    }

    /// Takes up legs that came from other calls, each once. One that is to be ended again, too: its far
    /// end is in a call, and only a BYE ends that.
    fn take_up_new(&mut self, now: Instant, call: &Call) {
        for (&number, committed) in call.legs.iter().filter(|(_, leg)| leg.lives_elsewhere > 0) {
            let is_over = matches!(committed.state, LegState::Ended { .. });
            if !is_over && self.came.insert(number) && !self.legs.contains_key(&number) {
                self.take_up_leg(now, call, (number, committed));
            }
        }
    }

    fn take_up_leg(&mut self, now: Instant, call: &Call, (number, committed): (LegNumber, &Leg)) {
        let lives = call.epoch.saturating_add(committed.lives_elsewhere);
        let restored = CommittedLeg::decode(&committed.wire)
            .map_err(|error| error.to_string())
            .and_then(|leg| LiveLeg::restore(now, leg, lives).map_err(|error| error.to_string()));
        match restored {
            // The caller was answered and has hung up, since this was committed: any word would be
            // one too many. The BYE may not have been answered, and whoever has the address when it
            // is repeated is to know of the call.
            Ok(live) if live.is_before_the_answer() && has_hung_up(call, number) => {
                self.node.router.has_hung_up(live.sip_call_id.as_bytes());
                self.remembered_until = Some(now + BYE_REPEATED);
                self.node.router.leave(live.sip_call_id.as_bytes(), self.id, None);
            }
            Ok(live) => self.serve_leg(now, call, (number, committed), live),
            // The leg is lost, the other one is not: its end is decided as any other.
            Err(error) => {
                tracing::error!(call = %self.id, leg = number.0, %error, "a leg cannot be taken up");
                if let Some(name) = super::committed_name(&committed.wire) {
                    self.node.router.leave(name.as_bytes(), self.id, None);
                }
                let call = self.id;
                self.propose(Command::LegEnded { call, leg: number, cause: Cause::Failed });
            }
        }
    }

    /// Goes on with a leg that was restored.
    fn serve_leg(
        &mut self,
        now: Instant,
        call: &Call,
        (number, committed): (LegNumber, &Leg),
        mut live: LiveLeg,
    ) {
        // Secrets are not committed: they are looked up again.
        let way = self.node.way(&committed.role, &committed.target, self.station.sip);
        if let Ok(way) = way {
            live.dialog.set_credentials(way.credentials);
        }
        if live.dialog.awaits_reanswer() {
            // Its event was told to an actor that is gone, which may have answered.
            live.was_answered();
            drop(self.me.send_message(Message::Reanswer(number)));
        }
        if number == LegNumber::FIRST && call.direction == Direction::Inbound {
            self.node.journal.taken_up(self.id);
        }
        self.node.router.bind(live.sip_call_id.as_bytes(), self.id);
        let is_arriving = live.dialog.status() == LegStatus::Arriving;
        if is_arriving && was_answered(call, number) {
            live.was_answered();
        }
        // Where addresses do not move, an adopter that died may have told the far end its own
        // without committing that. And the port of another call is that call's.
        let may_be_told = call.home.is_none() && call.epoch > 0;
        let has_moved = may_be_told || committed.lives_elsewhere > 0;
        if live.sip == self.station.sip && !has_moved {
            let (key, ip) = (port_key(self.id, number), self.station.media_ip);
            self.node.hold_port(key, ip, live.rtp_port);
        } else {
            self.move_leg(now, call, number, &mut live);
        }
        self.legs.insert(number, live);
    }

    /// A commit changed the call.
    pub(super) fn changed(&mut self, now: Instant, call: Arc<Call>) {
        if call.owner != self.node.id || call.epoch != self.epoch {
            // Another node has adopted it, or had it meanwhile: forget it silently. A BYE from here
            // would end a call that lives on there. If it is ours, an actor begins anew from the
            // value; what this one has of it is old, also where its prompts are.
            return self.forsake_for(call.owner == self.node.id);
        }
        if self.uncommitted_refused && !call.has_ended() {
            self.propose(end_of_refused(self.id));
        }
        let wants = call.wants();
        self.arriving = None;
        for (number, leg) in &self.legs {
            let alive = call.legs.get(number).is_some_and(|leg| leg.state.is_alive());
            if let Some(report) = leg.farewell.as_ref().filter(|_| alive) {
                self.propose(report.clone());
            }
        }
        let has_ended = call.has_ended();
        if let Some(moved) = wants.moved {
            self.let_go(moved);
        }
        self.take_up_new(now, &call);
        self.call = Some(call);
        for (&number, want) in &wants.legs {
            self.close_difference(now, number, want);
        }
        let unwanted = self.legs.keys().filter(|number| !wants.legs.contains_key(number));
        for number in unwanted.copied().collect::<Vec<_>>() {
            self.end_leg(now, number);
        }
        self.perform(&wants);
        self.arrange_audio(&wants);
        if has_ended {
            self.give_up_place();
        }
    }

    /// The call is over: it takes no place and no port from another one, however long its legs
    /// still have to repeat their last response (Timer H is 32 s).
    pub(super) fn give_up_place(&self) {
        self.node.router.end(self.id);
        for &number in self.legs.keys() {
            self.node.engine.close(port_key(self.id, number));
        }
    }

    fn close_difference(&mut self, now: Instant, number: LegNumber, want: &LegWant) {
        let known = self.legs.contains_key(&number);
        match want {
            LegWant::Invited { role, target, shows, auto_answer, .. } if !known => {
                let auto_answer = *auto_answer;
                self.invite(now, number, Invitation { role, target, shows, auto_answer });
            }
            LegWant::Invited { .. } => (),
            LegWant::Answered => self.answer(now, number),
            LegWant::RingWithPeer(peer) => {
                let rings = self.legs.get(peer).is_some_and(|peer| peer.far == Far::Ringing);
                if let Some(leg) = self.legs.get_mut(&number) {
                    if rings { leg.ring(now) } else { leg.proceed(now) }
                }
            }
            LegWant::Proceed => self.with_leg(number, |leg| leg.proceed(now)),
            LegWant::Ring => self.with_leg(number, |leg| leg.ring(now)),
            LegWant::Refused { status } => self.with_leg(number, |leg| leg.refuse(now, *status)),
            LegWant::Gone { cause } if known => {
                if *cause == Cause::Transferred {
                    self.with_leg(number, |leg| leg.transfer_is_done(now));
                }
                self.end_leg(now, number);
            }
            // It never was, or is gone from here: the value can forget it.
            LegWant::Gone { .. } => self.forget_leg(number),
        }
    }

    fn with_leg(&mut self, number: LegNumber, act: impl FnOnce(&mut LiveLeg)) {
        if let Some(leg) = self.legs.get_mut(&number) {
            act(leg);
        }
    }

    /// A leg that was to be ended is not on the wire, and its call goes on.
    pub(super) fn forget_leg(&self, number: LegNumber) {
        let Some(call) = &self.call else { return };
        let ending = call.legs.get(&number).is_some_and(|leg| !leg.state.is_alive());
        if ending && !call.has_ended() {
            self.propose(Command::LegEnded { call: self.id, leg: number, cause: Cause::PeerGone });
        }
    }

    /// The caller is to be answered: at once if the answer is committed, else it is committed
    /// first.
    fn answer(&mut self, now: Instant, number: LegNumber) {
        let state = self.call.as_ref().and_then(|call| call.legs.get(&number)).map(|leg| leg.state);
        let Some(leg) = self.legs.get_mut(&number) else { return };
        match state {
            Some(LegState::Answering) => {
                let wires = vec![(number, leg.committed(now).encode(self.node.version()))];
                self.propose(Command::LegAnswered { call: self.id, leg: number, wires });
            }
            Some(_) | None => {
                leg.answer(now);
                // With a second leg it is a person's time that would be measured.
                let invited = self.invited.take().filter(|_| self.legs.len() == 1);
                if let Some(invited) = invited {
                    let seconds = invited.elapsed().as_secs_f64();
                    self.node.metrics.answer_seconds.observe(seconds);
                }
            }
        }
    }

    /// Begins an outgoing leg. Its identifiers derive from the value that was just committed.
    fn invite(&mut self, now: Instant, number: LegNumber, invitation: Invitation<'_>) {
        let Some(call) = &self.call else { return };
        let names = LegNames::derive(self.id, call.salt, number);
        let other = self.legs.iter().find(|(other, _)| **other != number).map(|(_, leg)| leg);
        let key = port_key(self.id, number);
        match leg::invite(now, self.here(), leg::Invite { names, key, invitation, other }) {
            Ok(mut live) => {
                self.node.router.bind(live.sip_call_id.as_bytes(), self.id);
                live.unsaid = !self.is_alone();
                if live.unsaid {
                    let wire = live.committed(now).encode(self.node.version());
                    let command = Command::WireChanged { call: self.id, leg: number, wire };
                    self.propose_then(command, Message::InviteKept(number));
                }
                self.legs.insert(number, live);
            }
            Err(error) => {
                tracing::info!(call = %self.id, leg = number.0, %error, "leg not invited");
                let (call, status) = (self.id, error.status());
                self.propose(Command::LegFailed { call, leg: number, status });
            }
        }
    }

    /// Whether the call is over for the cluster, or never was one.
    pub(super) fn has_ended(&self) -> bool {
        self.call.as_ref().map_or(self.uncommitted_refused, |call| call.has_ended())
    }

    /// Hands on the caller's next try. Whoever tries again has heard the last response: nobody
    /// waits for more of that leg.
    fn begin_anew(&mut self) {
        let Some((invite, peer)) = self.anew.take() else { return };
        if let Some(number) = self.leg_with(invite.call_id()) {
            self.let_go(number);
        }
        self.node.dispatcher().request(*invite, peer);
    }

    /// When the call has ended and no leg has anything left to say, the cluster may forget it.
    pub(super) fn finish_if_over(&mut self) {
        if self.over || !self.has_ended() {
            return;
        }
        self.begin_anew();
        if self.legs.values().any(|leg| !leg.far.is_gone()) {
            return;
        }
        // What was said last may not have gone out. Whoever has the address next says it again, as
        // long as the call is not forgotten.
        if self.call.is_some() && (self.is_closed() || self.remembered_until.is_some()) {
            return;
        }
        if self.call.is_some() {
            self.node.cleared(self.id);
        }
        self.abandon();
    }

    /// The address that the call lives on is closed here.
    fn is_closed(&self) -> bool {
        self.station.home.is_some() && self.node.stations.of(self.station.home).is_none()
    }

    /// Lets go of everything without a word to anyone.
    pub(super) fn abandon(&mut self) {
        for number in self.legs.keys().copied().collect::<Vec<_>>() {
            self.let_go(number);
        }
        self.over = true;
        self.me.stop(None);
    }

    /// Lets go of a call that lives on elsewhere, or with another actor: its far ends hear nothing of
    /// it.
    pub(super) fn forsake(&mut self) {
        self.forsake_for(false);
    }

    /// The same. What is said to a call that is `back` already waits for its next actor.
    fn forsake_for(&mut self, back: bool) {
        let id = self.id;
        tracing::debug!(call = %id, epoch = self.epoch, back, "let go of");
        for (number, leg) in std::mem::take(&mut self.legs) {
            self.node.engine.abandon(port_key(id, number));
            if !back {
                self.node.router.leave(leg.sip_call_id.as_bytes(), self.id, None);
            }
        }
        self.abandon();
        // It may come back while this actor is ending, which would not hear of it.
        self.node.router.release(self.id, self.me.get_id());
        self.node.actors.tell_replica(replica::Message::Forsaken(self.id));
    }

    /// Lets go of one leg: its port is free, and its messages are nobody's.
    pub(super) fn let_go(&mut self, number: LegNumber) {
        if let Some(leg) = self.legs.remove(&number) {
            self.node.engine.close(port_key(self.id, number));
            self.node.router.leave(leg.sip_call_id.as_bytes(), self.id, leg.last_answer);
        }
    }
}

/// The end of an arrival that was refused before it was committed, unless its caller has reached
/// another node by now.
pub(in crate::actors) fn end_of_refused(call: CallId) -> Command {
    let ended = Command::LegEnded { call, leg: LegNumber::FIRST, cause: Cause::Cancelled };
    Command::Owned { epoch: 0, report: Box::new(ended) }
}

/// Whether an arriving leg has a 200, though that is not in what is committed of its dialog: it was
/// answered, and is still in the call or was to be let go.
fn was_answered(call: &Call, number: LegNumber) -> bool {
    match call.legs.get(&number).map(|leg| leg.state) {
        Some(LegState::Answered { .. }) => true,
        Some(LegState::Ending { .. } | LegState::Ended { .. }) => call.answered.is_some(),
        Some(
            LegState::Arriving
            | LegState::Answering
            | LegState::Dialing
            | LegState::Ringing
            | LegState::Refusing { .. },
        )
        | None => false,
    }
}

/// Whether the caller of a call that was answered has ended it.
fn has_hung_up(call: &Call, number: LegNumber) -> bool {
    let state = call.legs.get(&number).map(|leg| leg.state);
    call.answered.is_some() && matches!(state, Some(LegState::Ended { cause: Cause::HungUp }))
}

/// The media port of a leg.
pub(super) fn port_key(call: CallId, leg: LegNumber) -> PortKey {
    PortKey { call: call.0, leg: leg.0 }
}
