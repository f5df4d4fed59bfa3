//! What happens on the wire, said in the words of the call centre.
//!
//! Owns the translation of leg events into commands. A final thing that a far end does waits for
//! its commit before it is answered: the answer to an INVITE, to a BYE, to a re-INVITE.

use std::time::Instant;

use tandem_center::{Cause, Command, LegNumber, LegWant, Role, Wire};
use tandem_sip::b2bua::relayed_status;
use tandem_sip::leg::{EndCause, LegEvent};
use tandem_sip::sdp::Direction;

use super::leg::{Far, Here, expected};
use super::reconcile::port_key;
use super::{Message, State};

impl State {
    pub(super) fn leg_event(&mut self, now: Instant, number: LegNumber, event: LegEvent) {
        match event {
            LegEvent::Ringing { sdp, .. } => self.far_rings(now, number, sdp),
            LegEvent::Answered { sdp } => self.far_answers(now, number, sdp),
            LegEvent::Refused(refused) => {
                self.set_far(number, Far::Leaving);
                self.refused(number, refused.status, refused.retry_after_seconds);
            }
            LegEvent::Cancelled => {
                self.set_far(number, Far::Leaving);
                self.ended(number, Cause::Cancelled);
            }
            LegEvent::Acked { sdp: Some(answer) } => self.late_answer(now, number, answer),
            LegEvent::Acked { sdp: None } => (),
            LegEvent::Reoffered { sdp } => self.far_reoffers(now, number, sdp),
            LegEvent::ReofferAnswered { sdp: Some(answer) } => {
                if let Some(leg) = self.legs.get_mut(&number) {
                    leg.untold = None;
                }
                self.late_answer(now, number, answer);
            }
            LegEvent::ReofferAnswered { sdp: None } => (),
            LegEvent::ReofferRefused { status } => self.reoffer_refused(now, number, status),
            LegEvent::ByeReceived => self.far_hangs_up(now, number),
            LegEvent::Ended { cause } => self.leg_ended(number, cause),
            LegEvent::Digit(digit) => {
                if number == self.served() {
                    self.digit(digit.digit);
                }
            }
            LegEvent::Refer(refer) => self.far_refers(now, number, &refer),
            LegEvent::Terminated => {
                self.set_far(number, Far::Gone);
                self.leg_gone(number);
            }
        }
    }

    /// It rings there. Early media is passed on where the caller waits for this very leg.
    fn far_rings(&mut self, now: Instant, number: LegNumber, sdp: Option<Vec<u8>>) {
        let first = self.legs.get(&number).is_some_and(|leg| leg.far == Far::Silent);
        self.set_far(number, Far::Ringing);
        if let (Some(sdp), Some(leg)) = (sdp, self.legs.get_mut(&number))
            && let Err(error) = leg.accept(
                Here { node: &self.node, station: &self.station },
                port_key(self.id, number),
                sdp,
            )
        {
            tracing::debug!(call = %self.id, %error, "early media not understood");
        }
        let Some(call) = &self.call else { return };
        let is_agent = call.legs.get(&number).is_some_and(|leg| matches!(leg.role, Role::Agent(_)));
        if is_agent && first {
            self.propose(Command::LegRinging { call: self.id, leg: number });
        }
        // Who is answered already hears it without another response.
        let Some(waiting) = self.who_rings_with(number) else { return self.refresh_audio() };
        let codec = self.legs.get(&number).and_then(|leg| leg.codec());
        let Some(caller) = self.legs.get_mut(&waiting) else { return };
        if codec.is_some() {
            let prepared = caller.prepare(
                Here { node: &self.node, station: &self.station },
                port_key(self.id, waiting),
                codec,
            );
            if prepared.is_ok() {
                caller.ring_aloud(now);
            }
            self.refresh_audio();
            self.commit_wires(now, &[number, waiting]);
        } else {
            caller.ring(now);
        }
    }

    /// The leg whose caller is to hear this one ring.
    fn who_rings_with(&self, number: LegNumber) -> Option<LegNumber> {
        let wants = self.call.as_ref()?.wants();
        let with_this = LegWant::RingWithPeer(number);
        wants.legs.iter().find(|(_, want)| **want == with_this).map(|(waiting, _)| *waiting)
    }

    /// The far end answered: with its dialog the caller's answer is committed, too.
    fn far_answers(&mut self, now: Instant, number: LegNumber, sdp: Option<Vec<u8>>) {
        let call = self.id;
        let Some(leg) = self.legs.get_mut(&number) else { return };
        let accepted = match sdp {
            Some(answer) => leg
                .accept(
                    Here { node: &self.node, station: &self.station },
                    port_key(call, number),
                    answer,
                )
                .is_ok(),
            None => leg.audio.agreed.is_some(),
        };
        if !accepted {
            leg.dialog.hang_up(now);
            return self.propose(Command::LegFailed { call, leg: number, status: 488 });
        }
        leg.far = Far::Talking;
        let codec = leg.codec();
        let mut wires = vec![(number, leg.committed(now).encode(self.node.version()))];
        wires.extend(self.caller_prepared_for(now, number, codec));
        let command = Command::LegAnswered { call, leg: number, wires };
        self.propose_then(command, Message::AnswerKept(number));
    }

    /// The far end's answer is committed, or nobody waits for it any more: it is acknowledged. Were
    /// it before, a far end could be in a call of which nobody knows when this node is lost.
    pub(super) fn answer_kept(&mut self, number: LegNumber) {
        if let Some(leg) = self.legs.get_mut(&number) {
            leg.dialog.answer_is_kept();
        }
    }

    /// The caller's leg with an answer that suits the leg that was just answered, if the caller
    /// still waits for one.
    fn caller_prepared_for(
        &mut self,
        now: Instant,
        answered: LegNumber,
        codec: Option<tandem_sip::sdp::CodecKind>,
    ) -> Option<(LegNumber, Wire)> {
        let first = LegNumber::FIRST;
        let waits =
            |leg: &super::leg::LiveLeg| leg.dialog.status() == tandem_sip::leg::LegStatus::Arriving;
        let caller = self.legs.get_mut(&first).filter(|leg| answered != first && waits(leg))?;
        // The prepared answer stays if this one cannot be made; then the node transcodes.
        if let Err(error) = caller.prepare(
            Here { node: &self.node, station: &self.station },
            port_key(self.id, first),
            codec,
        ) {
            tracing::warn!(call = %self.id, %error, "the caller's offer cannot be answered again");
        }
        Some((first, caller.committed(now).encode(self.node.version())))
    }

    /// The answer to an offer of ours that was in a 2xx.
    fn late_answer(&mut self, now: Instant, number: LegNumber, answer: Vec<u8>) {
        let Some(leg) = self.legs.get_mut(&number) else { return };
        if let Err(error) = leg.accept(
            Here { node: &self.node, station: &self.station },
            port_key(self.id, number),
            answer,
        ) {
            tracing::info!(call = %self.id, leg = number.0, %error, "no audio can be agreed on");
            leg.dialog.hang_up(now);
            return self.ended(number, Cause::Failed);
        }
        let wire = leg.committed(now).encode(self.node.version());
        self.propose(Command::WireChanged { call: self.id, leg: number, wire });
        self.refresh_audio();
    }

    /// A re-INVITE: the answer waits for its commit.
    fn far_reoffers(&mut self, now: Instant, number: LegNumber, sdp: Option<Vec<u8>>) {
        let key = port_key(self.id, number);
        let Some(leg) = self.legs.get_mut(&number) else { return };
        let (before, codec) = (leg.audio.clone(), leg.codec());
        leg.audio.remote = sdp.unwrap_or_default();
        if let Err(error) =
            leg.prepare(Here { node: &self.node, station: &self.station }, key, codec)
        {
            leg.audio = before;
            return expected(leg.dialog.refuse_reoffer(now, error.status()));
        }
        leg.audio.rounds += 1;
        let direction = leg.audio.agreed.as_ref().map(|agreed| agreed.direction);
        let held = matches!(direction, Some(Direction::RecvOnly | Direction::Inactive));
        let wire = leg.committed(now).encode(self.node.version());
        let was_held =
            self.call.as_ref().and_then(|call| call.legs.get(&number)).is_some_and(|leg| leg.held);
        let call = self.id;
        if held != was_held {
            self.propose(Command::LegHeld { call, leg: number, held });
        }
        let command = Command::WireChanged { call, leg: number, wire };
        self.propose_then(command, Message::Reanswer(number));
    }

    /// The re-INVITE's answer is committed: send it.
    pub(super) fn reanswer(&mut self, now: Instant, number: LegNumber) {
        if let Some(leg) = self.legs.get_mut(&number) {
            leg.answer_reoffer(now);
        }
        self.tell_again(now, number);
        self.refresh_audio();
    }

    fn far_hangs_up(&mut self, now: Instant, number: LegNumber) {
        self.set_far(number, Far::HangsUp);
        let over = self
            .call
            .as_ref()
            .and_then(|call| call.legs.get(&number))
            .is_none_or(|leg| !leg.state.is_alive());
        // Without a lease nothing can be committed, perhaps for long: who hangs up is let go, and
        // the end is reported when there is somebody to report it to.
        let cut_off = !self.node.lease.holds();
        if let Some(leg) = self.legs.get_mut(&number).filter(|_| over || cut_off) {
            expected(leg.dialog.accept_bye(now));
        }
        if !over {
            self.ended(number, Cause::HungUp);
        }
    }

    fn leg_ended(&mut self, number: LegNumber, cause: EndCause) {
        let talked = self
            .legs
            .get(&number)
            .is_some_and(|leg| matches!(leg.far, Far::Talking | Far::HangsUp));
        match cause {
            // After an answered BYE only repetitions can come, and those get the kept answer.
            EndCause::WeHungUp | EndCause::TheyHungUp if talked => {
                self.set_far(number, Far::Gone);
                self.leg_gone(number);
            }
            EndCause::WeHungUp | EndCause::TheyHungUp | EndCause::WeRefused => {
                self.set_far(number, Far::Leaving);
            }
            EndCause::NoAck
            | EndCause::NoPrack
            | EndCause::Expired
            | EndCause::SessionExpired
            | EndCause::Lost => {
                self.set_far(number, Far::Leaving);
                self.ended(number, Cause::Lost);
            }
        }
    }

    /// A leg has nothing left on the wire; while its call goes on, the value can forget it.
    fn leg_gone(&mut self, number: LegNumber) {
        if self.call.as_ref().is_some_and(|call| !call.has_ended()) {
            self.let_go(number);
            self.forget_leg(number);
        }
    }

    pub(super) fn ended(&mut self, number: LegNumber, cause: Cause) {
        let call = self.id;
        self.ends.entry(number).or_insert_with(Instant::now);
        self.farewell(number, Command::LegEnded { call, leg: number, cause });
    }

    /// Reports the end of a leg, and keeps the report until the value has it.
    /// An invited leg did not come about. Of a trunk the cluster hears what was said: another may be
    /// tried.
    fn refused(&mut self, number: LegNumber, status: u16, retry_after_seconds: Option<u32>) {
        let (call, relayed) = (self.id, relayed_status(status));
        let role = self.call.as_ref().and_then(|call| call.legs.get(&number)).map(|leg| &leg.role);
        let report = match role {
            Some(Role::Trunk(_)) => {
                Command::TrunkFailed { call, leg: number, status, relayed, retry_after_seconds }
            }
            Some(Role::Caller | Role::Agent(_) | Role::Target) | None => {
                Command::LegFailed { call, leg: number, status: relayed }
            }
        };
        self.farewell(number, report);
    }

    /// A trunk that has not even said 100 in its time is not waited for. Its leg is cancelled when
    /// the cluster knows, should something come after all.
    pub(super) fn give_up_unheard(&mut self, now: Instant) {
        let mut given_up = Vec::new();
        for (number, leg) in &mut self.legs {
            if leg.unheard_until.take_if(|until| *until <= now).is_some() && leg.dialog.is_unheard()
            {
                given_up.push(*number);
            }
        }
        for number in given_up {
            self.refused(number, 408, None);
        }
    }

    fn farewell(&mut self, number: LegNumber, report: Command) {
        if let Some(leg) = self.legs.get_mut(&number) {
            leg.farewell = Some(report.clone());
        }
        self.propose(report);
    }

    fn set_far(&mut self, number: LegNumber, far: Far) {
        if let Some(leg) = self.legs.get_mut(&number) {
            leg.far = far;
        }
    }
}
