//! The timeline of a call: what was decided, when, and why.
//!
//! Bounded: of a long call the beginning and the latest are kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::Cause;
use crate::flow::{FlowName, FlowVersion};
use crate::ids::{AgentId, CallId, Index, LegNumber, Millis, NodeId, QueueId};
use crate::record::{CallResult, Side};
use crate::supervision::SupervisionMode;

/// Notes of one call: the first [`NOTES_FIRST`] and the latest. Full: the oldest after the first
/// ones is dropped and counted.
pub const NOTES_MAX: usize = 48;

/// The index of a note whose command is not over. The first command of a log has 1.
const UNSTAMPED: Index = 0;

/// Notes from the beginning of a call that are never dropped.
pub const NOTES_FIRST: usize = 16;

/// Ready agents behind the chosen one that a note names, best first. More are counted only.
pub const NEXT_MAX: usize = 4;

/// What a call has been through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    first: Vec<Note>,
    latest: VecDeque<Note>,
    dropped: u32,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: Millis,
    /// The command that made it so: its place in the log.
    pub index: Index,
    /// What. `Display` says it in words.
    pub what: What,
}

/// What can happen to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It came in at this node.
    Arrived { node: NodeId },
    /// An agent dialled.
    Dialled { agent: AgentId },
    /// The screening list refuses the caller.
    Screened { status: u16 },
    /// It entered this flow, in this version.
    EnteredFlow { flow: FlowName, version: FlowVersion },
    /// The flow came to this step.
    Step { step: Arc<str> },
    /// The IVR's action failed.
    ActionFailed { reason: Arc<str> },
    /// It entered this queue, with so many ahead.
    Enqueued { queue: QueueId, ahead: u32 },
    /// The queue was full.
    QueueFull { queue: QueueId },
    /// It waited longer than the queue allows.
    WaitedTooLong { queue: QueueId },
    /// It goes on to this number, or to where its queue overflows.
    SentOn { to: Arc<str> },
    /// This agent is asked to take it.
    Offered { agent: AgentId, why: Why },
    /// The agent accepted at the desk.
    Accepted { agent: AgentId },
    /// The agent declined, did not answer, or could not.
    OfferReturned { agent: AgentId, why: Returned },
    /// A leg is invited.
    Invited { leg: LegNumber, target: Arc<str> },
    /// A leg rings.
    Rings { leg: LegNumber },
    /// A leg answered.
    Answered { leg: LegNumber },
    /// A leg refused or could not be reached.
    LegFailed { leg: LegNumber, status: u16 },
    /// A leg ended.
    LegEnded { leg: LegNumber, cause: Cause },
    /// Two legs talk.
    Bridged { a: LegNumber, b: LegNumber },
    /// A leg's side put the other on hold.
    Held { leg: LegNumber, by_phone: bool },
    /// The hold is over.
    Retrieved { leg: LegNumber },
    /// A node was lost; this one takes the call over.
    TakenOver { from: NodeId, to: NodeId, epoch: u32 },
    /// It ended.
    Ended { by: Side, cause: Cause, result: CallResult },
    /// A leg's side asks this number.
    Consults { leg: LegNumber, to: Arc<str> },
    /// Who asks is with the one who is asked, or back with the others.
    Alternates { leg: LegNumber, aside: bool },
    /// The consultation is over without a transfer.
    ConsultationEnded { leg: LegNumber },
    /// This leg, which was asked, joins the conversation.
    Joins { leg: LegNumber },
    /// This leg left, the conversation goes on.
    Leaves { leg: LegNumber, cause: Cause },
    /// A leg's side leaves the call to this number, or to the one who was asked.
    Transfers { leg: LegNumber, to: Option<Arc<str>> },
    /// It could not go where it was transferred: this agent gets it back.
    Recalled { agent: AgentId },
    /// It waits for this agent first, who talked with the caller last.
    WaitsFor { agent: AgentId },
    /// It has waited so long that the agents of this ring of its queue may take it.
    Widened { queue: QueueId, ring: u8 },
    /// Too few agents of this queue are there to wait for.
    NoAgents { queue: QueueId },
    /// The caller is of this class.
    Classed { class: Arc<str> },
    /// A leg's agent is not heard, or is heard again.
    Muted { leg: LegNumber, muted: bool },
    /// So many keys were pressed for those who hear the leg. Which is nobody's business.
    Pressed { leg: LegNumber, count: u32 },
    /// The recording is interrupted, or goes on.
    RecordingPaused { by: AgentId, paused: bool },
    /// An agent sent the call that rang on to this number.
    Deflected { agent: AgentId, to: Arc<str> },
    /// An agent left it in this slot.
    Parked { by: AgentId, slot: u16 },
    /// An agent takes it from this slot.
    PickedUp { by: AgentId, slot: u16 },
    /// A supervisor is called into this agent's conversation, or is heard there in another way.
    Supervises { by: AgentId, of: AgentId, mode: SupervisionMode },
    /// The supervisor is gone.
    SupervisionEnded { by: AgentId, cause: Cause },
    /// The supervisor took this agent's place.
    SupervisorTakes { by: AgentId, of: AgentId },
    /// A supervisor changed its priority.
    Prioritised { by: AgentId, priority: u8 },
    /// A supervisor moves it to this queue.
    Moved { by: AgentId, queue: QueueId },
    /// A leg leaves by this trunk.
    GoesBy { leg: LegNumber, trunk: Arc<str> },
    /// The trunk that it came by carries what it may.
    TrunkFull { trunk: Arc<str> },
    /// Every trunk to this number carries what it may, or rests.
    NoTrunkFree { number: Arc<str> },
    /// This leg came from another call, in which its phone asked for that.
    CameFrom { leg: LegNumber, call: CallId },
    /// Whoever its phone talked or waited with goes on in this call.
    WentTo { call: CallId },
}

/// Why this agent was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Ready longest, since `since`, among so many ready agents of the queue; `next` would have
    /// been the next ones, in this order.
    LongestIdle { since: Millis, ready: u32, next: Vec<Candidate> },
    /// The agent became ready, and of the calls waiting in their queues this one was first:
    /// highest priority, then longest waiting.
    FirstWaiting { waiting: u32 },
    /// The agent's own number was dialled.
    Called,
    /// An agent in a conversation asks this one.
    Consulted,
    /// The agent transferred it, and it came back.
    Recalled,
    /// The next in turn of so many ready agents; `after` was asked last.
    RoundRobin { after: Option<AgentId>, ready: u32 },
    /// So many agents are asked at once, of so many ready ones.
    RingAll { agents: u32, ready: u32 },
    /// Drawn by lot: this one fell to the agent, of a total of the ready agents' weights.
    WeightedRandom { lot: u64, total: u64, ready: u32 },
    /// The best by what the queue's strategy compares, among so many ready agents with this or a
    /// higher penalty; `next` would have been the next ones, in this order.
    Best { by: Figure, penalty: u16, ready: u32, next: Vec<Rival> },
    /// The caller waits for this agent, who talked with them last.
    LastAgent,
}

/// What a strategy compares of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Figure {
    /// Since when they were idle.
    IdleSince(Millis),
    /// Calls since they signed in.
    Calls(u64),
    /// Milliseconds of conversation since they signed in.
    TalkMs(u64),
    /// Their rank in the queue.
    Rank(u64),
    /// Their levels in what the queue asks for, added up.
    Level(u64),
}

/// A ready agent who was not the best.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    /// Who.
    pub agent: AgentId,
    /// What was compared.
    pub by: Figure,
    /// Compared before that.
    pub penalty: u16,
}

/// A ready agent who was not chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Who.
    pub agent: AgentId,
    /// Since when they were idle, which is their rank.
    pub since: Millis,
}

/// Why an offer came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Returned {
    /// No answer in time.
    NoAnswer,
    /// The agent declined at the desk.
    Declined,
    /// The phone refused with this status.
    Refused { status: u16 },
    /// The agent's desk was lost or signed out.
    SignedOut,
    /// The agent, or the queue, is not configured any more.
    Reconfigured,
}

impl Timeline {
    /// Adds a note, dropping one from the middle when full. Its index is stamped when the command
    /// is over.
    pub fn note(&mut self, at: Millis, what: What) {
        let note = Note { at, index: UNSTAMPED, what };
        if self.first.len() < NOTES_FIRST {
            self.first.push(note);
            return;
        }
        if self.latest.len() == NOTES_MAX - NOTES_FIRST {
            self.latest.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.latest.push_back(note);
    }

    /// Whether the last command added notes.
    pub(crate) fn is_fresh(&self) -> bool {
        let last = self.latest.back().or(self.first.last());
        last.is_some_and(|note| note.index == UNSTAMPED)
    }

    /// Gives the notes of the last command its index.
    pub(crate) fn stamp(&mut self, index: Index) {
        let newest_first = self.latest.iter_mut().rev().chain(self.first.iter_mut().rev());
        for note in newest_first.take_while(|note| note.index == UNSTAMPED) {
            note.index = index;
        }
    }

    /// The notes in order.
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.first.iter().chain(&self.latest)
    }

    /// How many notes were dropped, all of them after the first [`NOTES_FIRST`].
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrived { node } => write!(f, "arrived at node {node}"),
            Self::Dialled { agent } => write!(f, "{agent} dialled"),
            Self::Screened { status } => write!(f, "refused by screening with {status}"),
            Self::EnteredFlow { flow, version } => {
                write!(f, "entered flow {flow}, version {version}")
            }
            Self::Step { step } => write!(f, "came to step {step}"),
            Self::ActionFailed { reason } => write!(f, "the action failed: {reason}"),
            Self::Enqueued { queue, ahead } => write!(f, "entered queue {queue}, {ahead} ahead"),
            Self::QueueFull { queue } => write!(f, "queue {queue} is full"),
            Self::WaitedTooLong { queue } => write!(f, "waited too long in queue {queue}"),
            Self::SentOn { to } => write!(f, "sent on to {to}"),
            Self::Offered { agent, why } => write!(f, "offered to {agent}: {why}"),
            Self::Accepted { agent } => write!(f, "{agent} accepted"),
            Self::OfferReturned { agent, why } => write!(f, "came back from {agent}: {why}"),
            Self::Invited { leg, target } => write!(f, "leg {leg} invites {target}"),
            Self::Rings { leg } => write!(f, "leg {leg} rings"),
            Self::Answered { leg } => write!(f, "leg {leg} answered"),
            Self::LegFailed { leg, status } => write!(f, "leg {leg} failed with {status}"),
            Self::LegEnded { leg, cause } => write!(f, "leg {leg} ended: {cause}"),
            Self::Bridged { a, b } => write!(f, "legs {a} and {b} talk"),
            Self::Held { leg, by_phone: true } => write!(f, "leg {leg} holds at the phone"),
            Self::Held { leg, by_phone: false } => write!(f, "leg {leg} holds at the desk"),
            Self::Retrieved { leg } => write!(f, "leg {leg} retrieves"),
            Self::TakenOver { from, to, epoch } => {
                write!(f, "node {from} was lost, node {to} takes over as epoch {epoch}")
            }
            Self::Ended { by, cause, result } => {
                write!(f, "ended by the {}: {cause}, {}", by.name(), result.name())
            }
            Self::Consults { leg, to } => write!(f, "leg {leg} asks {to}"),
            Self::Alternates { leg, aside: true } => write!(f, "leg {leg} goes aside"),
            Self::Alternates { leg, aside: false } => write!(f, "leg {leg} is back"),
            Self::ConsultationEnded { leg } => write!(f, "leg {leg} has nobody to ask any more"),
            Self::Joins { leg } => write!(f, "leg {leg} joins the conversation"),
            Self::Leaves { leg, cause } => write!(f, "leg {leg} leaves the conversation: {cause}"),
            Self::Transfers { leg, to: Some(to) } => write!(f, "leg {leg} transfers to {to}"),
            Self::Transfers { leg, to: None } => {
                write!(f, "leg {leg} leaves the call to the one who was asked")
            }
            Self::WaitsFor { agent } => write!(f, "waits for {agent}, who talked with them last"),
            Self::Widened { queue, ring } => write!(f, "came to ring {ring} of queue {queue}"),
            Self::NoAgents { queue } => write!(f, "nobody of queue {queue} is there to wait for"),
            Self::Classed { class } => write!(f, "the caller is of class {class}"),
            Self::Recalled { agent } => write!(f, "came back to {agent}, who transferred it"),
            Self::Muted { leg, muted: true } => write!(f, "leg {leg} is muted"),
            Self::Muted { leg, muted: false } => write!(f, "leg {leg} is heard again"),
            Self::Pressed { leg, count } => write!(f, "leg {leg} presses {count} keys"),
            Self::RecordingPaused { by, paused: true } => write!(f, "{by} pauses the recording"),
            Self::RecordingPaused { by, paused: false } => write!(f, "{by} resumes the recording"),
            Self::Deflected { agent, to } => write!(f, "{agent} deflects it to {to}"),
            Self::Parked { by, slot } => write!(f, "{by} parks it in slot {slot}"),
            Self::PickedUp { by, slot } => write!(f, "{by} picks it up from slot {slot}"),
            Self::Supervises { by, of, mode } => {
                write!(f, "{by} supervises {of}: {}", mode.name())
            }
            Self::SupervisionEnded { by, cause } => write!(f, "{by} supervises no more: {cause}"),
            Self::SupervisorTakes { by, of } => write!(f, "{by} takes the call over from {of}"),
            Self::Prioritised { by, priority } => write!(f, "{by} gives it priority {priority}"),
            Self::Moved { by, queue } => write!(f, "{by} moves it to queue {queue}"),
            Self::GoesBy { leg, trunk } => write!(f, "leg {leg} leaves by trunk {trunk}"),
            Self::TrunkFull { trunk } => write!(f, "trunk {trunk} has all calls that it may bring"),
            Self::NoTrunkFree { number } => write!(f, "no trunk to {number} takes a call"),
            Self::CameFrom { leg, call } => write!(f, "leg {leg} came from call {call}"),
            Self::WentTo { call } => write!(f, "goes on in call {call}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongestIdle { since, ready, next } => {
                write!(f, "ready longest, since {since}, of {ready}")?;
                for (place, Candidate { agent, since }) in next.iter().enumerate() {
                    let before = if place == 0 { "; then" } else { "," };
                    write!(f, "{before} {agent} since {since}")?;
                }
                Ok(())
            }
            Self::FirstWaiting { waiting } => {
                write!(f, "became ready, and the call was first of {waiting} waiting")
            }
            Self::Called => f.write_str("the agent's number was dialled"),
            Self::Consulted => f.write_str("another agent asks"),
            Self::Recalled => f.write_str("a transfer by this agent failed"),
            Self::RoundRobin { after: Some(after), ready } => {
                write!(f, "next in turn after {after}, of {ready} ready")
            }
            Self::RoundRobin { after: None, ready } => write!(f, "first in turn, of {ready} ready"),
            Self::RingAll { agents, ready } => {
                write!(f, "one of {agents} asked at once, of {ready} ready")
            }
            Self::WeightedRandom { lot, total, ready } => {
                write!(f, "drawn by lot {lot} of {total} among {ready} ready")
            }
            Self::Best { by, penalty, ready, next } => {
                write!(f, "{by}{}, of {ready} ready", Penalty(*penalty))?;
                for (place, Rival { agent, by, penalty }) in next.iter().enumerate() {
                    let before = if place == 0 { "; then" } else { "," };
                    write!(f, "{before} {agent} with {by}{}", Penalty(*penalty))?;
                }
                Ok(())
            }
            Self::LastAgent => f.write_str("talked with this caller last"),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdleSince(since) => write!(f, "idle since {since}"),
            Self::Calls(calls) => write!(f, "{calls} calls taken"),
            Self::TalkMs(ms) => write!(f, "{} s talked", ms / 1_000),
            Self::Rank(rank) => write!(f, "rank {rank}"),
            Self::Level(level) => write!(f, "level {level}"),
        }
    }
}

/// A penalty in words, unless there is none.
struct Penalty(u16);

impl fmt::Display for Penalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " and penalty {}", self.0) }
    }
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no answer"),
            Self::Declined => f.write_str("declined"),
            Self::Refused { status } => write!(f, "refused with {status}"),
            Self::SignedOut => f.write_str("signed out"),
            Self::Reconfigured => f.write_str("not configured any more"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("hung up"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Refused { status } => write!(f, "refused with {status}"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Lost => f.write_str("lost"),
            Self::PeerGone => f.write_str("the other party is gone"),
            Self::Withdrawn => f.write_str("withdrawn"),
            Self::FlowEnded => f.write_str("the flow ended"),
            Self::WaitedTooLong => f.write_str("waited too long"),
            Self::Reconfigured => f.write_str("reconfigured"),
            Self::Failed => f.write_str("failed"),
            Self::Transferred => f.write_str("transferred"),
        }
    }
}
