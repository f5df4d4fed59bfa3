//! The replicated contact centre: one value, one way in.
//!
//! [`Center`] holds calls, agents, sessions, queues, the directory and all deadlines.
//! [`Center::apply`] takes the committed commands, one after the other, and says what changed.
//! It depends on nothing but its arguments, so every replica holds the same state.
//!
//! Read in this order: `ids`, `directory` (what the operator configured), `call` and `wants`
//! (what a call is, and what it wants of its node), `agent`, `queue`, `command`, `outcome` and
//! `event`, then `apply/`, which decides, `acd`, which chooses (among the
//! `seats` of agents, in `ranked` sets), and `store`, which saves. `flow`
//! is the IVR's language. `audit` judges what all of this did, from outside.

mod acd;
pub mod agent;
mod apply;
pub mod audit;
pub mod call;
mod command;
pub mod directory;
pub mod event;
pub mod flow;
pub mod hash;
mod home;
pub mod ids;
mod invariants;
mod leg;
mod marks;
mod outcome;
pub mod queue;
mod ranked;
pub mod record;
mod registration;
mod seats;
mod served;
mod state;
mod store;
pub mod supervision;
pub mod timeline;
pub mod trunk;
pub mod version;
mod wants;

pub use agent::{Agent, AgentState, Link, Session};
pub use call::{Call, Cause, Direction, Leg, LegState, Party, Phase, RecordingId, Role, Wire};
pub use command::{Arrived, CLEARED_MAX, Command, DecodeError, Dial, NotYet, WantedState};
pub use directory::{Directory, DirectoryError, Route};
pub use event::{Audience, Event, Happened, Screen};
pub use home::{HOMES_OF_NODE_MAX, Home};
pub use ids::{
    AgentId, CallId, CommandId, HomeId, Index, LegNumber, Millis, NodeId, ParseIdError, QueueId,
    SessionId,
};
pub use invariants::Violation;
pub use outcome::{Outcome, Rejected, Reply, Touched};
pub use queue::Queue;
pub use record::{CallResult, Cdr, Record, Side};
pub use registration::Registration;
pub use served::{SERVED_MAX, Served};
pub use state::{Center, Counts, Node};
pub use store::{Change, LoadError};
pub use supervision::{Supervision, SupervisionMode, SupervisionStage};
pub use wants::{Hears, LegWant, Wants};
