//! What the indexes need to know of a call: where it stands in them, and how it leaves a queue.
//!
//! Owns no index: [`crate::Center`] moves a call from one set of marks to the next.

use std::sync::Arc;

use crate::call::FlowKey;
use crate::directory::Directory;
use crate::queue::{Line, Place, Totals};
use crate::trunk::TrunkMarks;
use crate::{Call, Millis, NodeId, Phase, QueueId, Side};

/// How a call stands in the indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallMarks {
    pub(crate) deadline: Option<Millis>,
    pub(crate) place: Option<QueuePlace>,
    pub(crate) flow: Option<FlowKey>,
    pub(crate) owner: Option<NodeId>,
    pub(crate) slot: Option<u16>,
    pub(crate) trunks: TrunkMarks,
    /// What it means if it leaves its queue for this state.
    pub(crate) exit: Exit,
}

/// How a call leaves a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Exit {
    /// An agent talks with it.
    Answered,
    /// Somebody ended it.
    Abandoned,
    /// It is sent on, or let go.
    #[default]
    Overflowed,
}

impl Exit {
    /// Called for every call that leaves and nowhere else: who entered is who left and who waits.
    pub(crate) fn count(self, totals: &mut Totals) {
        match self {
            Self::Answered => totals.answered += 1,
            Self::Abandoned => totals.abandoned += 1,
            Self::Overflowed => totals.overflowed += 1,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuePlace {
    pub(crate) queue: QueueId,
    pub(crate) place: Place,
    pub(crate) since: Millis,
    /// Nothing while it is offered.
    pub(crate) line: Option<Line>,
}

impl CallMarks {
    pub(crate) fn of(call: &Call, directory: &Directory) -> Self {
        let place = match &call.phase {
            Phase::Queued { queue, ticket, since, offers, ring, wanted, .. } => {
                let config = directory.queues.get(queue);
                let age = config.map_or(0, |config| config.distribution.age_seconds);
                let line = match (wanted, config) {
                    (Some(agent), _) => Line::Wanted(agent.clone()),
                    (None, Some(config)) => config.line(*ring, &call.needs),
                    (None, None) => Line::Ring(*ring, Arc::clone(&call.needs)),
                };
                Some(QueuePlace {
                    queue: queue.clone(),
                    place: Place::new(call.priority, *ticket, call.id).aged(*since, age),
                    since: *since,
                    line: offers.is_empty().then_some(line),
                })
            }
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        };
        let flow = match &call.phase {
            Phase::Ivr { flow, .. } => Some(flow.clone()),
            Phase::Arriving
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Bridged { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => None,
        };
        let exit = match &call.phase {
            Phase::Bridged { .. } => Exit::Answered,
            Phase::Ended { by, .. } if *by != Side::System => Exit::Abandoned,
            Phase::Arriving
            | Phase::Ivr { .. }
            | Phase::Queued { .. }
            | Phase::Direct { .. }
            | Phase::Dialing { .. }
            | Phase::Parked { .. }
            | Phase::Echo
            | Phase::Ended { .. } => Exit::Overflowed,
        };
        let (owner, slot) = (Some(call.owner), call.slot());
        let trunks = TrunkMarks::of(call);
        Self { deadline: call.deadline(), place, flow, owner, slot, trunks, exit }
    }
}
