//! A leg that is being hung up (RFC 3261 §15): their BYE waits, or ours is out.

use serde::{Deserialize, Serialize};

use super::{
    EndCause, LegEvent,
    compose::Content,
    line::{Draft, Heard, Line, News, Purpose},
    retry::{self, Retry},
    talking::ATTEMPTS_MAX,
};
use crate::{
    dialog::Dialog,
    transaction::{GIVE_UP_MS, Moment, TransactionKey},
    wire::Response,
};

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Leaving {
    /// Their BYE waits for the node; at the latest until they have given it up.
    Theirs { dialog: Dialog, key: TransactionKey, until: Moment },
    /// Our BYE is out.
    Ours {
        dialog: Dialog,
        attempts: u8,
        /// What to tell when it is answered; none if the node knows already.
        untold: Option<Untold>,
    },
}

/// An end that the node is not told yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Untold {
    /// [`EndCause::WeHungUp`].
    WeHungUp,
}

/// Whether the leg is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    Stay,
    Over,
}

impl Leaving {
    /// Their BYE came. Its 200 waits for [`super::Leg::accept_bye`].
    pub(super) fn theirs(
        now: Moment,
        line: &mut Line,
        dialog: Dialog,
        key: TransactionKey,
    ) -> Self {
        line.event(LegEvent::ByeReceived);
        Self::Theirs { dialog, key, until: now.after_ms(GIVE_UP_MS) }
    }

    /// Sends our BYE.
    pub(super) fn ours(
        now: Moment,
        line: &mut Line,
        mut dialog: Dialog,
        untold: Option<Untold>,
    ) -> Self {
        line.request(now, &mut dialog, Draft::bye(Purpose::Bye));
        Self::Ours { dialog, attempts: 0, untold }
    }

    /// The dialog, whose late 2xx are still acknowledged.
    pub(super) fn dialog(&self) -> &Dialog {
        match self {
            Self::Theirs { dialog, .. } | Self::Ours { dialog, .. } => dialog,
        }
    }

    /// See [`super::Leg::restore`].
    pub(super) fn dialog_mut(&mut self) -> &mut Dialog {
        match self {
            Self::Theirs { dialog, .. } | Self::Ours { dialog, .. } => dialog,
        }
    }

    /// Answers their BYE. Says whether there is one.
    pub(super) fn accept_bye(&self, now: Moment, line: &mut Line) -> bool {
        let Self::Theirs { key, .. } = self else { return false };
        line.respond(now, key, Content::status(200));
        line.event(LegEvent::Ended { cause: EndCause::TheyHungUp });
        true
    }

    /// A response to our BYE. Whatever it says but 401 and 407, the dialog is over
    /// (RFC 3261 §15.1.1).
    pub(super) fn handle_response(
        &mut self,
        now: Moment,
        line: &mut Line,
        heard: &Heard,
        response: &Response,
    ) -> Then {
        let Self::Ours { dialog, attempts, untold } = self else { return Then::Stay };
        match response.status() {
            ..=199 => return Then::Stay,
            401 | 407 if *attempts < ATTEMPTS_MAX => {
                let retry = Retry { min_se: 0 };
                let cseq = dialog.last_cseq() + 1;
                if retry::again(now, line, (heard, response), (cseq, retry)) {
                    dialog.skip_cseq_to(cseq);
                    *attempts += 1;
                    return Then::Stay;
                }
            }
            200.. => (),
        }
        tell(line, *untold);
        Then::Over
    }

    /// Our BYE got no answer.
    pub(super) fn handle_unanswered(&self, line: &mut Line, news: News) -> Then {
        match self {
            Self::Ours { untold, .. } if news.purpose == Purpose::Bye => {
                tell(line, *untold);
                Then::Over
            }
            Self::Ours { .. } | Self::Theirs { .. } => Then::Stay,
        }
    }

    /// Time passed. A BYE that the node never accepts is answered all the same when the far end
    /// has stopped asking, so that nothing stays for ever.
    pub(super) fn handle_timeout(&self, now: Moment, line: &mut Line) -> Then {
        match self {
            Self::Theirs { until, .. } if *until <= now => {
                self.accept_bye(now, line);
                Then::Over
            }
            Self::Theirs { .. } | Self::Ours { .. } => Then::Stay,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        match self {
            Self::Theirs { until, .. } => Some(*until),
            Self::Ours { .. } => None,
        }
    }
}

fn tell(line: &mut Line, untold: Option<Untold>) {
    if let Some(Untold::WeHungUp) = untold {
        line.event(LegEvent::Ended { cause: EndCause::WeHungUp });
    }
}
