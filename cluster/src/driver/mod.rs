//! The Raft machine: inputs and ticks in, things to do out, in the one order that is safe.

mod api;

pub use api::{
    ChangeError, Members, MembershipChange, Options, Output, PROPOSAL_BYTES_MAX, PeerProgress,
    ProposeError, ReadId, Role, StartError, Status,
};
