//! What is going to happen in a world, in the order in which it does.

use std::collections::VecDeque;

use tandem_center::flow::IvrResult;
use tandem_center::{CallId, Command, CommandId, LegNumber, Rejected, Reply};
use tandem_cluster::Message;
use tandem_cluster::presence::Beat;

use crate::Micros;
use crate::ends::{EndId, Far, Order, Where};
use crate::schedule::{Fault, Schedule, Step, What};

/// What is left of a schedule.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) faults: VecDeque<(Micros, Fault)>,
    pub(crate) calls: VecDeque<(Micros, (u32, u64, String))>,
}

/// What is going to happen. A number named `start` says to which start of a node it belongs.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message arrives at a node.
    Deliver(Box<Message>),
    /// The sender of a snapshot learns what became of it.
    SnapshotSent { from: u64, to: u64, delivered: bool },
    /// Raft's clock ticks.
    Tick { node: u64, start: u64 },
    /// What a node's driver wanted to have written is on the disk.
    Written { node: u64, start: u64 },
    /// A node looks at what it owes.
    Housekeeping { node: u64, start: u64 },
    /// A node is started.
    Start { node: u64 },
    /// A beat arrives at a node.
    Beat { from: u64, to: u64, beat: Beat },
    /// A node may have beats to send.
    Beats { node: u64, start: u64 },
    /// A node looks at who is there.
    Look { node: u64, start: u64 },
    /// A connection that `node` began at a moment of its clock was refused.
    Refused { node: u64, start: u64, of: u64, began: u64 },
    /// A frozen process goes on.
    Thaw { node: u64, start: u64 },
    /// A node's order arrives at a far end, from this address.
    Order { node: u64, at: Where, call: Option<CallId>, end: EndId, order: Order },
    /// A far end's report arrives at an address; then `node` is who listens there.
    Report {
        at: Where,
        node: Option<u64>,
        call: Option<CallId>,
        end: EndId,
        leg: LegNumber,
        far: Far,
    },
    /// A far end does something of its own accord.
    Wake { end: EndId },
    /// An action of a flow ends.
    Acted { node: u64, start: u64, call: CallId, seq: u32, result: IvrResult },
    /// A server proposes this again.
    Again { node: u64, start: u64, call: CallId, command: Box<Command> },
    /// A desk looks at its screen.
    Think { desk: usize },
    /// The answer to a desk's command arrives.
    Answer {
        desk: usize,
        socket: (u64, u64),
        id: CommandId,
        reply: Option<Result<Reply, Rejected>>,
    },
    /// Somebody calls.
    Call,
    /// Something goes wrong.
    Fault,
}

impl Script {
    pub(crate) fn of(schedule: &Schedule) -> Self {
        let mut script = Self::default();
        for Step { at, what } in schedule.steps.iter().cloned() {
            match what {
                What::Call { caller, node, number } => {
                    script.calls.push_back((at, (caller, node, number)));
                }
                What::Fault(fault) => script.faults.push_back((at, fault)),
            }
        }
        script
    }
}

/// An event and its time; the number keeps those of one moment in their order.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) at: Micros,
    pub(crate) number: u64,
    pub(crate) event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
