//! A call that goes on at another address: each far end is told ours by a re-INVITE.
//!
//! Owns what becomes of a leg whose far end knows the address of a node that is gone, until it
//! knows ours (RFC 3261 §12.2.1.1, target refresh) or is given up: told at once, told again where
//! that may help, and ended where nothing helps, since nobody hears anything on such a leg.

use std::time::{Duration, Instant};

use tandem_center::{Call, Cause, Command, LegNumber, LegState};
use tandem_sip::leg::LegStatus;

use super::leg::{LiveLeg, expected};
use super::reconcile::port_key;
use super::wire::LegNames;
use super::{Message, State};
use crate::node::contact;

/// How often a far end is told, and the pause between two tries: a phone that is busy with an
/// exchange of its own is done by then. One that does not answer at all is given up after 32 s.
const TELLINGS_MAX: u8 = 3;
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl State {
    /// The far end of this leg knows an address that is not ours.
    pub(super) fn move_leg(
        &mut self,
        now: Instant,
        call: &Call,
        number: LegNumber,
        live: &mut LiveLeg,
    ) {
        let names = LegNames::derive(self.id, call.salt, number);
        let station = &self.station;
        let status = live.dialog.status();
        live.dialog.move_to(now, contact(&names, station), station.host.clone(), station.sip);
        live.sip = station.sip;
        let key = port_key(self.id, number);
        match self.node.open_port(key, station.media_ip) {
            Ok(port) => live.rtp_port = port,
            Err(error) => {
                tracing::error!(call = %self.id, leg = number.0, %error, "no port for an adopted leg");
            }
        }
        match status {
            LegStatus::Arriving => {
                self.prepare_again(number, live);
                let state = call.legs.get(&number).map(|leg| leg.state);
                if matches!(state, Some(LegState::Answered { .. })) {
                    // What the caller has heard already names the old address.
                    live.answer(now);
                    live.untold = Some(TELLINGS_MAX);
                    self.tell(now, number, live);
                }
            }
            // It was cancelled, and the call looks for another way.
            LegStatus::Calling => {
                let failed = Command::LegFailed { call: self.id, leg: number, status: 503 };
                live.farewell = Some(failed.clone());
                self.propose(failed);
            }
            // Their re-INVITE is answered first, for whoever still waits for that.
            LegStatus::Talking if live.dialog.awaits_reanswer() => {
                self.prepare_again(number, live);
                live.untold = Some(TELLINGS_MAX);
            }
            LegStatus::Talking => {
                live.untold = Some(TELLINGS_MAX);
                self.tell(now, number, live);
            }
            LegStatus::Cancelling
            | LegStatus::ByeReceived
            | LegStatus::HangingUp
            | LegStatus::Over
            | LegStatus::Terminated => (),
        }
    }

    /// The answer to their offer, from where we are now.
    fn prepare_again(&self, number: LegNumber, live: &mut LiveLeg) {
        let codec = live.codec();
        if let Err(error) = live.prepare(self.here(), port_key(self.id, number), codec) {
            tracing::warn!(call = %self.id, %error, "the far end's offer cannot be answered again");
        }
    }

    fn tell(&self, now: Instant, number: LegNumber, live: &mut LiveLeg) {
        let Some(left) = live.untold.filter(|left| *left > 0) else { return };
        live.untold = Some(left - 1);
        expected(live.offer_again(now, self.here(), port_key(self.id, number)));
    }

    /// It is time to try again.
    pub(super) fn tell_again(&mut self, now: Instant, number: LegNumber) {
        let Some(mut live) = self.legs.remove(&number) else { return };
        if live.dialog.status() == LegStatus::Talking {
            self.tell(now, number, &mut live);
        }
        self.legs.insert(number, live);
    }

    /// A re-INVITE of ours was refused, and the far end goes on as before (RFC 3261 §14.1): where
    /// it was to learn our address, it sends everything to nobody.
    pub(super) fn reoffer_refused(&mut self, now: Instant, number: LegNumber, status: u16) {
        let Some(live) = self.legs.get_mut(&number) else { return };
        let Some(left) = live.untold else { return };
        if may_change(status) && left > 0 {
            drop(self.me.send_after(TELL_AGAIN, move || Message::TellAgain(number)));
            return;
        }
        tracing::warn!(call = %self.id, leg = number.0, status, "the far end does not follow the call");
        live.untold = None;
        live.dialog.hang_up(now);
        self.ended(number, Cause::Lost);
    }
}

/// Whether the same offer may be accepted a moment later.
fn may_change(status: u16) -> bool {
    matches!(status, 480 | 486 | 491 | 500 | 503 | 504)
}
