//! What must be true of calls, said of evidence that was not written by the code that it judges.
//!
//! [`state`] looks at a state as a whole, [`record`] at one call-detail record, [`ledger`] at a
//! stretch of the log that is applied again, and at the records that it should have left. Reads
//! only, and trusts neither the indexes of the state nor its counters: it adds up for itself.
//! Where the evidence comes from, and what is on the wire, is the node's business.

mod ledger;
mod record;
mod state;

pub use ledger::{Ledger, Row};
pub use record::check_record;
pub use state::check_state;

use crate::invariants::Violation;
use crate::{AgentId, CallId, Index};

/// Something that contradicts the claim that no call is lost, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// One agent, two calls.
    #[error("agent {agent} is in {} calls: {}", calls.len(), list(calls))]
    AgentInTwoCalls { agent: AgentId, calls: Vec<CallId> },
    /// One call, two places.
    #[error("it is in {} places: {}", places.len(), places.join(", "))]
    CallInTwoPlaces { call: CallId, places: Vec<String> },
    /// The state contradicts itself otherwise.
    #[error("{violation}")]
    State { call: Option<CallId>, violation: Violation },
    /// It was there and is not, without an end.
    #[error("it is gone without an end after command {index}")]
    Vanished { call: CallId, index: Index },
    /// It ended and is there again.
    #[error("it is alive after command {index}, though it had ended")]
    Resurrected { call: CallId, index: Index },
    /// It ended, and the command that ended it made no record.
    #[error("command {index} ended it without a record")]
    EndedWithoutRecord { call: CallId, index: Index },
    /// Two commands made a record of it.
    #[error("it has two records, of commands {first} and {second}")]
    TwoRecords { call: CallId, first: Index, second: Index },
    /// The log ends it, the records do not know it.
    #[error("command {index} ended it, but the records have no row of it")]
    RowMissing { call: CallId, index: Index },
    /// The records say something else than the log.
    #[error("its row is not what command {index} recorded: {what}")]
    RowDiffers { call: CallId, index: Index, what: String },
    /// The records know an end that the log does not.
    #[error("the records say that command {index} ended it, the log does not")]
    RowInvented { call: CallId, index: Index },
    /// The times of a record do not add up.
    #[error("its record does not add up: {what}")]
    Inconsistent { call: CallId, what: String },
}

impl Fault {
    /// The call that it is about, if it is about one.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        match self {
            Self::AgentInTwoCalls { calls, .. } => calls.first().copied(),
            Self::State { call, .. } => *call,
            Self::CallInTwoPlaces { call, .. }
            | Self::Vanished { call, .. }
            | Self::Resurrected { call, .. }
            | Self::EndedWithoutRecord { call, .. }
            | Self::TwoRecords { call, .. }
            | Self::RowMissing { call, .. }
            | Self::RowDiffers { call, .. }
            | Self::RowInvented { call, .. }
            | Self::Inconsistent { call, .. } => Some(*call),
        }
    }

    /// Where in the log, if that is known.
    #[must_use]
    pub fn index(&self) -> Option<Index> {
        match self {
            Self::Vanished { index, .. }
            | Self::Resurrected { index, .. }
            | Self::EndedWithoutRecord { index, .. }
            | Self::TwoRecords { second: index, .. }
            | Self::RowMissing { index, .. }
            | Self::RowDiffers { index, .. }
            | Self::RowInvented { index, .. } => Some(*index),
            Self::AgentInTwoCalls { .. }
            | Self::CallInTwoPlaces { .. }
            | Self::State { .. }
            | Self::Inconsistent { .. } => None,
        }
    }
}

fn list(calls: &[CallId]) -> String {
    calls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
