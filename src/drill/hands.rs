//! Desks that hand their calls to somebody else: what they do before the fault, so that it finds a
//! call between two agents, and at the change that follows it.

use super::desks::{Desk, Log};
use super::phases::Hands;
use crate::api::frame::{Asked, Do, Left, NotReady, OfCall};
use crate::api::happened::EventView;

/// A desk at work.
#[derive(Debug)]
pub(crate) struct Hander {
    pub(crate) desk: Desk,
    does: Hands,
    /// The number of whoever is asked, or gets the call.
    to: String,
    /// The call, once the desk has acted for it.
    call: Option<String>,
    /// The one who was asked was asked to join.
    joins: bool,
}

impl Hander {
    pub(crate) fn new(desk: Desk, does: Hands, to: String) -> Self {
        Self { desk, does, to, call: None, joins: false }
    }

    /// Brings the call to where the fault is to find it; true if it is there.
    pub(crate) async fn hand(&mut self) -> bool {
        let Some(call) = self.call.clone() else {
            let Some(call) = self.desk.read(|log| log.call.clone()) else { return false };
            self.call = Some(call.clone());
            // Nobody else is to come afterwards.
            let reason = "drill".to_owned();
            self.desk.ask(Do::NotReady(NotReady { reason, agent: None })).await;
            let to = self.to.clone();
            self.desk
                .ask(match self.does {
                    Hands::Transfers => Do::Transfer(Left { call, to: Some(to) }),
                    Hands::Consults | Hands::Confers => Do::Consult(Asked { call, to }),
                })
                .await;
            return false;
        };
        match self.does {
            Hands::Transfers => self.has(|event| matches!(event, EventView::Transferred { .. })),
            Hands::Consults => self.is_answered(),
            Hands::Confers => {
                if self.is_answered() && !self.joins {
                    self.joins = true;
                    self.desk.ask(Do::Conference(OfCall { call })).await;
                }
                self.has(|event| matches!(event, EventView::Conferenced { .. }))
            }
        }
    }

    fn is_answered(&self) -> bool {
        self.has(|event| matches!(event, EventView::ConsultationAnswered { .. }))
    }

    fn has(&self, is_it: impl Fn(&EventView) -> bool) -> bool {
        self.desk.read(|log: &Log| log.events.iter().any(|(_, event)| is_it(event)))
    }

    /// Leaves the call to the others.
    pub(crate) async fn change(&self) {
        let Some(call) = self.call.clone() else { return };
        match self.does {
            Hands::Transfers => (),
            Hands::Consults => self.desk.ask(Do::Transfer(Left { call, to: None })).await,
            Hands::Confers => self.desk.ask(Do::HangUp(OfCall { call })).await,
        }
    }
}
