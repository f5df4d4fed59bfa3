//! A call-detail record as clients see it.
//!
//! Owns its form in JSON; what it says is the centre's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center as center;
use tandem_center::record::{SegmentEnd, SegmentKind};

use super::backend::CdrRow;
use super::view::{Caller, pairs};
use super::words::{CallDirection, Outcome, Party, Reason};

/// A call-detail record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CdrView {
    /// The call.
    pub call: String,
    /// Who began it.
    pub direction: CallDirection,
    /// Who called.
    pub from: Caller,
    /// What was dialled.
    pub to: String,
    /// The flow that it went through last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// The queue that it was in last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The agent who talked last or dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// When it began.
    pub arrived: u64,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// When it ended.
    pub ended: u64,
    /// Milliseconds in queues.
    pub wait_ms: u64,
    /// Milliseconds of conversation, without hold.
    pub talk_ms: u64,
    /// Milliseconds on hold.
    pub hold_ms: u64,
    /// What it came to.
    pub outcome: Outcome,
    /// Who ended it.
    pub ended_by: Party,
    /// Why.
    pub cause: Reason,
    /// The SIP status that the caller was refused with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the agent said about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disposition: Option<String>,
    /// In the agent's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What the IVR collected.
    pub variables: BTreeMap<String, String>,
    /// The recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// Offers that came back.
    pub redirects: u16,
    /// The trunk that it left by last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// How many times somebody in a conversation left it to another one.
    pub transfers: u16,
    /// Parties in its largest conversation; above 2 in a conference.
    pub parties: u16,
    /// The node that drove it at its end.
    pub node: u64,
    /// How many times another node took it over.
    pub takeovers: u32,
    /// What it spent its time with.
    pub segments: Vec<SegmentView>,
    /// Who supervised it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supervisors: Vec<String>,
}

/// A stretch of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentView {
    /// What went on: `ivr`, `queue`, `ringing`, `talk`, `echo` or `park`.
    pub kind: String,
    /// With which flow, queue or agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// From then.
    pub began: u64,
    /// Until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Milliseconds of it on hold.
    pub held_ms: u64,
    /// Milliseconds of it in which an agent was asked to take the call.
    pub rang_ms: u64,
    /// What came of it: `answered`, `abandoned`, `flowed-out`, `refused` or `ended`.
    pub came_to: String,
}

impl CdrView {
    /// What is shown of a record.
    #[must_use]
    pub fn of(row: &CdrRow) -> Self {
        let CdrRow { cdr, disposition } = row;
        let (disposition, note) = match disposition {
            Some((code, note)) => (Some(code.to_string()), note.as_ref().map(ToString::to_string)),
            None => (None, None),
        };
        Self {
            call: cdr.call.to_string(),
            direction: cdr.direction.into(),
            from: Caller::of(&cdr.from),
            to: cdr.to.to_string(),
            flow: cdr.flow.as_ref().map(ToString::to_string),
            queue: cdr.queue.as_ref().map(ToString::to_string),
            agent: cdr.agent.as_ref().map(ToString::to_string),
            arrived: cdr.arrived.0,
            answered: cdr.answered.map(|at| at.0),
            ended: cdr.ended.0,
            wait_ms: cdr.wait_ms,
            talk_ms: cdr.talk_ms,
            hold_ms: cdr.hold_ms,
            outcome: cdr.result.into(),
            ended_by: cdr.ended_by.into(),
            cause: cdr.cause.into(),
            status: cdr.status,
            disposition,
            note,
            variables: pairs(cdr.variables.iter().map(|(name, value)| (name, value))),
            recording: cdr.recording.as_ref().map(ToString::to_string),
            redirects: cdr.redirects,
            node: cdr.node.0,
            takeovers: cdr.takeovers,
            supervisors: cdr.supervisors.iter().map(ToString::to_string).collect(),
            trunk: cdr.trunk.as_ref().map(ToString::to_string),
            transfers: cdr.transfers,
            parties: cdr.parties,
            segments: cdr
                .segments
                .iter()
                .zip(cdr.ends())
                .map(|(segment, end)| SegmentView::of(segment, end))
                .collect(),
        }
    }
}

impl SegmentView {
    fn of(segment: &center::record::Segment, end: SegmentEnd) -> Self {
        let (kind, with) = match &segment.kind {
            SegmentKind::Ivr(flow) => ("ivr", Some(flow.to_string())),
            SegmentKind::Queue(queue) => ("queue", Some(queue.to_string())),
            SegmentKind::Ringing => ("ringing", None),
            SegmentKind::Talk(agent) => ("talk", agent.as_ref().map(ToString::to_string)),
            SegmentKind::Echo => ("echo", None),
            SegmentKind::Park => ("park", None),
        };
        Self {
            kind: kind.to_owned(),
            with,
            began: segment.began.0,
            ended: segment.ended.map(|at| at.0),
            held_ms: segment.held_ms,
            rang_ms: segment.rang_ms,
            came_to: end.name().to_owned(),
        }
    }
}
