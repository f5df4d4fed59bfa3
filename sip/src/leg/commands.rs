//! What the node may ask of a leg.

use std::{io::Write as _, time::Instant};

use super::{
    EndCause, Leg, LegEvent, Phase, WrongState, arriving,
    compose::{self, Content},
    leaving::{Leaving, Untold},
    talking::Talking,
};
use crate::transaction::Moment;

impl Leg {
    /// Incoming: 100.
    pub fn trying(&mut self, now: Instant) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let Phase::Arriving(arriving) = &mut self.phase else { return self.wrong("a 100") };
        arriving.trying(now, &mut self.line);
        Ok(())
    }

    /// Incoming: 180, or 183 with an SDP (an answer; an offer where [`Self::wants_our_offer`]).
    /// Reliably as the settings say. The same ring twice is sent once.
    pub fn ring(&mut self, now: Instant, sdp: Option<Vec<u8>>) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let Phase::Arriving(arriving) = &mut self.phase else { return self.wrong("ringing") };
        arriving.ring(now, &mut self.line, sdp);
        Ok(())
    }

    /// Incoming: 200 with our SDP, repeated until the ACK.
    pub fn answer(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let Phase::Arriving(arriving) = &mut self.phase else { return self.wrong("an answer") };
        let then = arriving.answer(now, &mut self.line, sdp);
        self.after_arriving(now, then);
        Ok(())
    }

    /// Incoming: the same, where a machine that is gone has answered before: the 200 is repeated
    /// for a far end that has not heard it, and its ACK, which may have come there, is not insisted
    /// on.
    pub fn answer_again(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        self.answer(now, sdp)?;
        self.doubt_ack(now);
        Ok(())
    }

    /// The answer may have been sent by a machine that is gone, and acknowledged to it.
    fn doubt_ack(&mut self, now: Instant) {
        let now = self.clock.read(now);
        if let Phase::Talking(talking) = &mut self.phase {
            talking.adopt(now);
            if self.line.has_moved() {
                talking.wait_for_no_ack(now);
            }
        }
    }

    /// Incoming: a final response from 300 to 699, others count as 500. An empty reason takes the
    /// usual phrase. A header that the leg writes itself is left out.
    pub fn refuse(
        &mut self,
        now: Instant,
        status: u16,
        reason: &str,
        headers: &[(&str, &str)],
    ) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let Phase::Arriving(arriving) = &self.phase else { return self.wrong("a refusal") };
        let status = if (300..700).contains(&status) { status } else { 500 };
        let mut lines = Vec::new();
        for (name, value) in headers {
            // A redirection names where to (RFC 3261 §8.1.3.4): the one Contact not ours.
            if name.eq_ignore_ascii_case("Contact") && !value.contains(['\r', '\n']) {
                let _ = write!(lines, "Contact: {value}\r\n");
            } else {
                compose::push_foreign(&mut lines, name, value);
            }
        }
        compose::push_product(&mut lines, &self.line.identity.settings, "Server");
        let content = Content { status, reason, headers: &lines, sdp: None };
        arriving.refuse(now, &mut self.line, content);
        self.end(now, EndCause::WeRefused);
        Ok(())
    }

    /// Ends the leg in the way that its state needs: 487, CANCEL, BYE, BYE once the ACK came,
    /// the answer to their BYE, or nothing if it is over. Repeating it does nothing.
    pub fn hang_up(&mut self, now: Instant) {
        let now = self.clock.read(now);
        match &mut self.phase {
            Phase::Arriving(arriving) => {
                arriving.refuse(now, &mut self.line, Content::status(487));
                self.end(now, EndCause::WeHungUp);
            }
            Phase::Calling(calling) => calling.cancel(now, &mut self.line),
            Phase::Talking(talking) => {
                // RFC 3261 §13.2.2.4: each 2xx is acknowledged, even one that comes unwished.
                self.line.release_ack();
                if talking.may_hang_up(now, &mut self.line) {
                    self.leave(now);
                }
            }
            Phase::Leaving(leaving) => {
                if leaving.accept_bye(now, &mut self.line) {
                    self.over(now);
                }
            }
            Phase::Over | Phase::Terminated => (),
        }
    }

    /// From here on the 2xx to our INVITE is acknowledged when [`Self::answer_is_kept`] says so.
    /// Until then the far end repeats it, and whoever takes the leg over from before the answer
    /// hears it, too.
    pub fn hold_ack(&mut self) {
        self.line.holds_ack = true;
    }

    /// The answer is where it outlives us.
    pub fn answer_is_kept(&mut self) {
        self.line.release_ack();
    }

    /// Answers the far end's BYE.
    pub fn accept_bye(&mut self, now: Instant) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        match &self.phase {
            Phase::Leaving(leaving) if leaving.accept_bye(now, &mut self.line) => {
                self.over(now);
                Ok(())
            }
            Phase::Leaving(_)
            | Phase::Arriving(_)
            | Phase::Calling(_)
            | Phase::Talking(_)
            | Phase::Over
            | Phase::Terminated => self.wrong("the answer to a BYE"),
        }
    }

    /// Sends a re-INVITE; an empty SDP asks the far end for an offer. It waits while another
    /// INVITE is under way, and a newer one takes its place.
    pub fn reoffer(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        // The far end sees our requests in their order.
        self.line.release_ack();
        let now = self.clock.read(now);
        let Some(talking) = talking(&mut self.phase) else { return self.wrong("a re-INVITE") };
        talking.reoffer(now, &mut self.line, sdp);
        Ok(())
    }

    /// Accepts the far end's re-INVITE with our SDP.
    pub fn answer_reoffer(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let Some(talking) = talking(&mut self.phase).filter(|talking| talking.is_asked()) else {
            return self.wrong("the answer to a re-INVITE");
        };
        talking.answer_reoffer(now, &mut self.line, sdp);
        Ok(())
    }

    /// The same, where a machine that is gone may have answered before: see
    /// [`Self::answer_again`].
    pub fn answer_reoffer_again(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        self.answer_reoffer(now, sdp)?;
        self.doubt_ack(now);
        Ok(())
    }

    /// Refuses the far end's re-INVITE; the session stays as it was.
    pub fn refuse_reoffer(&mut self, now: Instant, status: u16) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let Some(talking) = talking(&mut self.phase).filter(|talking| talking.is_asked()) else {
            return self.wrong("the refusal of a re-INVITE");
        };
        let status = if (300..700).contains(&status) { status } else { 488 };
        talking.refuse_reoffer(now, &mut self.line, status);
        Ok(())
    }

    /// Answers the offer that came in a 2xx: the ACK with our SDP.
    pub fn acknowledge(&mut self, now: Instant, sdp: Vec<u8>) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let done = talking(&mut self.phase)
            .is_some_and(|talking| talking.acknowledge(now, &mut self.line, sdp));
        if done { Ok(()) } else { self.wrong("the answer in an ACK") }
    }

    /// Accepts a REFER: 202, and a NOTIFY that says 100.
    pub fn accept_refer(&mut self, now: Instant) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let done = talking(&mut self.phase).is_some_and(|talking| {
            talking.transfer.accept(now, &mut self.line, &mut talking.dialog)
        });
        if done { Ok(()) } else { self.wrong("the acceptance of a REFER") }
    }

    /// Refuses a REFER, with 603 or another failure.
    pub fn refuse_refer(&mut self, now: Instant, status: u16) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let status = if (300..700).contains(&status) { status } else { 603 };
        let done = talking(&mut self.phase)
            .is_some_and(|talking| talking.transfer.refuse(now, &mut self.line, status));
        if done { Ok(()) } else { self.wrong("the refusal of a REFER") }
    }

    /// Tells the far end what became of the call that it referred us to; a final status ends the
    /// subscription.
    pub fn notify_refer(&mut self, now: Instant, status: u16) -> Result<(), WrongState> {
        let now = self.clock.read(now);
        let done = talking(&mut self.phase).is_some_and(|talking| {
            talking.transfer.notify(now, &mut self.line, &mut talking.dialog, status)
        });
        if done { Ok(()) } else { self.wrong("news of a REFER") }
    }

    fn wrong(&self, command: &'static str) -> Result<(), WrongState> {
        Err(WrongState { command, is: self.status() })
    }
}

/// The dialog, unless it is being hung up.
fn talking(phase: &mut Phase) -> Option<&mut Talking> {
    match phase {
        Phase::Talking(talking) if !talking.is_hanging_up() => Some(talking),
        Phase::Talking(_)
        | Phase::Arriving(_)
        | Phase::Calling(_)
        | Phase::Leaving(_)
        | Phase::Over
        | Phase::Terminated => None,
    }
}

/// From phase to phase.
impl Leg {
    pub(super) fn after_arriving(&mut self, now: Moment, then: arriving::Then) {
        match then {
            arriving::Then::Stay => (),
            arriving::Then::Talk(talking) => self.phase = Phase::Talking(talking),
            arriving::Then::Over => self.over(now),
        }
    }

    /// Our BYE, and the node hears of the end when it is answered.
    pub(super) fn leave(&mut self, now: Moment) {
        self.send_bye(now, Some(Untold::WeHungUp));
    }

    /// The session is lost: the node hears of it at once; our BYE goes all the same.
    pub(super) fn lose(&mut self, now: Moment, cause: EndCause) {
        self.line.event(LegEvent::Ended { cause });
        self.send_bye(now, None);
    }

    fn send_bye(&mut self, now: Moment, untold: Option<Untold>) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Talking(mut talking) => {
                talking.close(now, &mut self.line);
                let dialog = talking.dialog;
                let leaving = Leaving::ours(now, &mut self.line, dialog, untold);
                self.phase = Phase::Leaving(Box::new(leaving));
            }
            other @ (Phase::Arriving(_)
            | Phase::Calling(_)
            | Phase::Leaving(_)
            | Phase::Over
            | Phase::Terminated) => self.phase = other,
        }
    }

    /// The end, told now.
    pub(super) fn end(&mut self, now: Moment, cause: EndCause) {
        self.line.event(LegEvent::Ended { cause });
        self.over(now);
    }

    /// No call any more.
    pub(super) fn over(&mut self, now: Moment) {
        self.phase = Phase::Over;
        self.line.stop_waiting(now);
        self.settle();
    }

    /// Says once when nothing is left.
    pub(super) fn settle(&mut self) {
        if matches!(self.phase, Phase::Over) && self.line.is_idle() {
            self.phase = Phase::Terminated;
            self.line.event(LegEvent::Terminated);
        }
    }
}
