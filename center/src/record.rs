//! What remains of a call: the call-detail record, and what an agent said about it.
//!
//! Rows for the records' store, which is queried; nothing here is read by the centre again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::AgentState;
use crate::call::{Cause, Direction, Party, RecordingId};
use crate::ids::{AgentId, CallId, Millis, NodeId, QueueId};
use crate::timeline::Timeline;

/// Bytes of all variables that a record keeps, names included. What does not fit is left out,
/// last names first.
pub const RECORD_VARIABLES_BYTES_MAX: usize = 8 << 10;

/// Segments of one call. Full: the last one grows over what follows.
pub const SEGMENTS_MAX: usize = 32;

/// A row for the records' store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A call ended. Exactly one for each call.
    Cdr(Box<Cdr>),
    /// An agent said what a call came to. The last one for a call and agent counts.
    Disposition(Disposition),
    /// What a call went through, with the record of its end. Exactly one for each call.
    Timeline(Box<Ended>),
    /// An agent left a state in which they were signed in. Those of no length are left out.
    Stint(Box<Stint>),
}

/// The time that an agent was in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stint {
    /// Who.
    pub agent: AgentId,
    /// The state, with its reason or its call.
    pub state: AgentState,
    /// From then.
    pub began: Millis,
    /// Until then.
    pub ended: Millis,
}

/// What a call that ended went through. Bounded as [`Timeline`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The call.
    pub call: CallId,
    /// Its timeline up to its end.
    pub timeline: Timeline,
}

/// The call-detail record. Times are Unix milliseconds on the leader's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cdr {
    /// The call.
    pub call: CallId,
    /// Who began it.
    pub direction: Direction,
    /// Who called.
    pub from: Party,
    /// What was dialled.
    pub to: Arc<str>,
    /// The flow that it went through last.
    pub flow: Option<Arc<str>>,
    /// The queue that it was in last.
    pub queue: Option<QueueId>,
    /// The agent who talked last, or who dialled.
    pub agent: Option<AgentId>,
    /// When it began.
    pub arrived: Millis,
    /// When the caller was answered by us (inbound), or the called answered (outbound).
    pub answered: Option<Millis>,
    /// When it ended.
    pub ended: Millis,
    /// Milliseconds in queues.
    pub wait_ms: u64,
    /// Milliseconds in which two parties talked, without hold.
    pub talk_ms: u64,
    /// Milliseconds in which an agent held the other party.
    pub hold_ms: u64,
    /// What it came to.
    pub result: CallResult,
    /// Who ended it.
    pub ended_by: Side,
    /// Why.
    pub cause: Cause,
    /// The status that the caller was refused with.
    pub status: Option<u16>,
    /// What the IVR collected, bounded by [`RECORD_VARIABLES_BYTES_MAX`].
    pub variables: Vec<(String, String)>,
    /// The recording, if one was begun.
    pub recording: Option<RecordingId>,
    /// Offers that came back.
    pub redirects: u16,
    /// The node that owned it at its end.
    pub node: NodeId,
    /// How many times another node took it over.
    pub takeovers: u32,
    /// The trunk that it left by last.
    pub trunk: Option<Arc<str>>,
    /// How many times somebody in a conversation left it to another one.
    pub transfers: u16,
    /// Parties in its largest conversation: 0 if nobody talked, above 2 in a conference.
    pub parties: u16,
    /// What it spent its time with.
    pub segments: Vec<Segment>,
    /// Who supervised it, by name. When and how is in its timeline.
    pub supervisors: Vec<AgentId>,
}

impl Cdr {
    /// What came of each of its segments, in their order.
    #[must_use]
    pub fn ends(&self) -> Vec<SegmentEnd> {
        let following = self.segments.iter().skip(1).map(Some).chain([None]);
        let pairs = self.segments.iter().zip(following);
        pairs.map(|(segment, next)| self.end_of(segment, next)).collect()
    }

    fn end_of(&self, segment: &Segment, next: Option<&Segment>) -> SegmentEnd {
        let waits = match segment.kind {
            SegmentKind::Queue(_) | SegmentKind::Ringing | SegmentKind::Park => true,
            SegmentKind::Ivr(_) | SegmentKind::Talk(_) | SegmentKind::Echo => false,
        };
        match next.map(|next| &next.kind) {
            Some(SegmentKind::Talk(_)) if waits => SegmentEnd::Answered,
            Some(_) => SegmentEnd::FlowedOut,
            // Another call has its place.
            None if waits && self.cause == Cause::Transferred => SegmentEnd::FlowedOut,
            None if waits && self.ended_by == Side::Caller => SegmentEnd::Abandoned,
            None if waits => SegmentEnd::Refused,
            None => SegmentEnd::Ended,
        }
    }
}

/// What came of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentEnd {
    /// Of waiting or ringing: a conversation.
    Answered,
    /// Of waiting or ringing: the caller hung up.
    Abandoned,
    /// The call went on elsewhere: to another queue, number, flow or conversation.
    FlowedOut,
    /// Of waiting or ringing: the call was ended by us or by the called. The queue was full or
    /// the wait too long, and the queue does not overflow; or nobody answered.
    Refused,
    /// The call ended in it.
    Ended,
}

impl SegmentEnd {
    /// The word in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Abandoned => "abandoned",
            Self::FlowedOut => "flowed-out",
            Self::Refused => "refused",
            Self::Ended => "ended",
        }
    }
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CallResult {
    /// Two parties talked.
    Answered,
    /// The caller left before anybody talked to them.
    Abandoned,
    /// We did not want it: screening, no such number, a number that refuses.
    Rejected,
    /// The called is busy.
    Busy,
    /// The called did not answer in time.
    NoAnswer,
    /// The flow, or the echo, did all that there was to do.
    IvrCompleted,
    /// The caller waited longer than the queue allows.
    WaitedTooLong,
    /// The queue was full.
    QueueFull,
    /// Something went wrong, here or there.
    Failed,
}

impl CallResult {
    /// The word in records and on screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Abandoned => "abandoned",
            Self::Rejected => "rejected",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::IvrCompleted => "ivr-completed",
            Self::WaitedTooLong => "waited-too-long",
            Self::QueueFull => "queue-full",
            Self::Failed => "failed",
        }
    }
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// The one who called.
    Caller,
    /// The agent, at the phone or at the desk.
    Agent,
    /// The called target or number.
    Called,
    /// The centre.
    System,
}

impl Side {
    /// The word in records and on screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
            Self::Called => "called",
            Self::System => "system",
        }
    }
}

/// A stretch of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// What went on.
    pub kind: SegmentKind,
    /// From then.
    pub began: Millis,
    /// Until then; None while it goes on.
    pub ended: Option<Millis>,
    /// Milliseconds of it on hold.
    pub held_ms: u64,
    /// Milliseconds of it in which an agent was asked to take the call.
    pub rang_ms: u64,
}

impl Segment {
    /// Milliseconds of it until `at`, if it still goes on.
    #[must_use]
    pub fn length_ms(&self, at: Millis) -> u64 {
        self.ended.unwrap_or(at).since_ms(self.began)
    }
}

/// What goes on in a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SegmentKind {
    /// In a flow.
    Ivr(Arc<str>),
    /// In a queue. Without length, if the queue was full.
    Queue(QueueId),
    /// Somebody is called.
    Ringing,
    /// Two parties talk; the agent, if one of them is.
    Talk(Option<AgentId>),
    /// The echo.
    Echo,
    /// Parked.
    Park,
}

/// What an agent said that a call came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposition {
    /// The call.
    pub call: CallId,
    /// Who said it.
    pub agent: AgentId,
    /// The queue of the call.
    pub queue: Option<QueueId>,
    /// The code.
    pub disposition: Arc<str>,
    /// In the agent's words.
    pub note: Option<Arc<str>>,
    /// When.
    pub at: Millis,
}
