//! The story of one call: its timeline with the state after each step, and who speaks to whom.
//!
//! Made from the timeline alone, which is bounded: of a long call the steps in its middle may be
//! gone, and the story says so where they are missing.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::record::CallResult;
use tandem_center::timeline::{Candidate, NOTES_FIRST, Note, Rival, Timeline, What, Why};
use tandem_center::{Call, CallId, Cdr, LegNumber, Party};

/// The story of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    /// The call.
    pub call: String,
    /// Who called.
    pub from: String,
    /// What was dialled.
    pub to: String,
    /// Whether it is over.
    pub ended: bool,
    /// What happened, the oldest first.
    pub steps: Vec<Step>,
    /// Steps that are not kept, all of them behind step `dropped_behind`.
    pub dropped: u32,
    /// How many steps stand before those that are not kept.
    pub dropped_behind: usize,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// The command that made it so.
    pub index: u64,
    /// Who acts.
    pub from: Lane,
    /// On whom.
    pub to: Lane,
    /// What, in words.
    pub what: String,
    /// The call after it.
    pub state: String,
    /// Why this agent was chosen, a reason in each line.
    pub why: Vec<String>,
}

/// A column of the ladder.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Who called.
    Caller,
    /// The node that serves the call, and its flows.
    Node,
    /// The queue.
    Queue,
    /// The agent, or whoever else is called.
    Agent,
}

impl Story {
    /// Of a call that is there.
    #[must_use]
    pub fn of_live(call: &Call) -> Self {
        Self::new(call.id, (&call.caller, &call.called), call.has_ended(), &call.timeline)
    }

    /// Of a call that ended.
    #[must_use]
    pub fn of_ended(cdr: &Cdr, timeline: &Timeline) -> Self {
        Self::new(cdr.call, (&cdr.from, &cdr.to), true, timeline)
    }

    fn new(call: CallId, (from, to): (&Party, &str), ended: bool, timeline: &Timeline) -> Self {
        let mut fold = Fold::default();
        Self {
            call: call.to_string(),
            from: from.number.to_string(),
            to: to.to_owned(),
            ended,
            steps: timeline.notes().map(|note| fold.step(note)).collect(),
            dropped: timeline.dropped(),
            dropped_behind: NOTES_FIRST,
        }
    }

    /// How many steps had happened at this time or command, and whether that is certain: in the
    /// part that is not kept it is not.
    #[must_use]
    pub fn until(&self, instant: Instant) -> (usize, bool) {
        let is_past = |step: &Step| match instant {
            Instant::Time(at) => step.at <= at,
            Instant::Index(index) => step.index <= index,
        };
        let past = self.steps.iter().take_while(|step| is_past(step)).count();
        (past, self.dropped == 0 || past != self.dropped_behind)
    }
}

/// A point in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instant {
    /// Unix milliseconds.
    Time(u64),
    /// A command of the log.
    Index(u64),
}

impl std::str::FromStr for Instant {
    type Err = String;

    /// A number: from 10^11 on (1973) it is a time.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if number >= 100_000_000_000 => Ok(Self::Time(number)),
            Ok(number) => Ok(Self::Index(number)),
            Err(_) => Err(format!("{text:?} is neither Unix milliseconds nor a log index")),
        }
    }
}

/// What a story knows so far.
#[derive(Default)]
struct Fold {
    place: String,
    offered: Option<String>,
    held: bool,
    /// The first leg is the agent's: the call was dialled here.
    is_outbound: bool,
}

impl Fold {
    fn step(&mut self, note: &Note) -> Step {
        self.moves(&note.what);
        let (from, to) = self.lanes(&note.what);
        let (what, why) = if let What::Offered { agent, why } = &note.what {
            (format!("offered to {agent}"), reasons(why, note.at.0))
        } else {
            (note.what.to_string(), Vec::new())
        };
        Step { at: note.at.0, index: note.index, from, to, what, state: self.to_string(), why }
    }

    fn moves(&mut self, what: &What) {
        let place = match what {
            What::Arrived { .. } => "arrived".to_owned(),
            What::Dialled { agent } => {
                self.is_outbound = true;
                format!("dialled by {agent}")
            }
            What::EnteredFlow { flow, .. } => format!("in flow {flow}"),
            What::Enqueued { queue, .. } => format!("waiting in queue {queue}"),
            What::SentOn { to } => format!("on its way to {to}"),
            What::Bridged { a, b } => format!("legs {a} and {b} talk"),
            What::Ended { result, .. } => return self.ends(*result),
            What::Invited { target, .. } if self.offered.is_none() => format!("calling {target}"),
            What::Offered { agent, .. } => return self.offered = Some(agent.to_string()),
            What::OfferReturned { .. } => return self.offered = None,
            What::Consults { to, .. } => format!("asking {to}"),
            What::Transfers { to: Some(to), .. } => format!("on its way to {to}"),
            What::Transfers { to: None, .. } => "left to the one who was asked".to_owned(),
            What::Alternates { leg, aside: true } => format!("leg {leg} aside"),
            What::Joins { .. } => "in a conference".to_owned(),
            What::Alternates { .. } | What::ConsultationEnded { .. } | What::Leaves { .. } => {
                "talking".to_owned()
            }
            What::Recalled { agent } => format!("coming back to {agent}"),
            What::SupervisorTakes { by, .. } => format!("talking with {by}"),
            What::Deflected { to, .. } => {
                self.offered = None;
                format!("on its way to {to}")
            }
            What::Parked { slot, .. } => format!("parked in slot {slot}"),
            What::PickedUp { by, .. } => format!("on its way to {by}"),
            What::Held { .. } => return self.held = true,
            What::Retrieved { .. } => return self.held = false,
            What::Screened { .. }
            | What::Step { .. }
            | What::ActionFailed { .. }
            | What::QueueFull { .. }
            | What::WaitsFor { .. }
            | What::Widened { .. }
            | What::NoAgents { .. }
            | What::Classed { .. }
            | What::WaitedTooLong { .. }
            | What::Accepted { .. }
            | What::Invited { .. }
            | What::Rings { .. }
            | What::GoesBy { .. }
            | What::TrunkFull { .. }
            | What::NoTrunkFree { .. }
            | What::CameFrom { .. }
            | What::WentTo { .. }
            | What::Answered { .. }
            | What::LegFailed { .. }
            | What::LegEnded { .. }
            | What::Muted { .. }
            | What::Pressed { .. }
            | What::RecordingPaused { .. }
            | What::Supervises { .. }
            | What::SupervisionEnded { .. }
            | What::Prioritised { .. }
            | What::Moved { .. }
            | What::TakenOver { .. } => return,
        };
        self.place = place;
        if let (What::Bridged { .. }, Some(agent)) = (what, self.offered.take()) {
            self.place = format!("talking with {agent}");
        }
    }

    fn ends(&mut self, result: CallResult) {
        *self = Self { place: format!("over: {}", result.name()), ..Self::default() };
    }

    fn lanes(&self, what: &What) -> (Lane, Lane) {
        let of_leg = |leg: &LegNumber| {
            let is_caller = *leg == LegNumber::FIRST && !self.is_outbound;
            if is_caller { Lane::Caller } else { Lane::Agent }
        };
        match what {
            What::Arrived { .. } => (Lane::Caller, Lane::Node),
            What::Dialled { .. } => (Lane::Agent, Lane::Node),
            What::Screened { .. } | What::Ended { .. } => (Lane::Node, Lane::Caller),
            What::EnteredFlow { .. }
            | What::Step { .. }
            | What::ActionFailed { .. }
            | What::SentOn { .. }
            | What::Recalled { .. }
            | What::Classed { .. }
            | What::GoesBy { .. }
            | What::TrunkFull { .. }
            | What::NoTrunkFree { .. }
            | What::CameFrom { .. }
            | What::WentTo { .. }
            | What::TakenOver { .. } => (Lane::Node, Lane::Node),
            What::Enqueued { .. } => (Lane::Node, Lane::Queue),
            What::WaitsFor { .. } | What::Widened { .. } => (Lane::Queue, Lane::Queue),
            What::QueueFull { .. } | What::WaitedTooLong { .. } | What::NoAgents { .. } => {
                (Lane::Queue, Lane::Node)
            }
            What::Offered { why: Why::Called | Why::Consulted | Why::Recalled, .. } => {
                (Lane::Node, Lane::Agent)
            }
            What::Offered { .. } => (Lane::Queue, Lane::Agent),
            What::OfferReturned { .. } => (Lane::Agent, Lane::Queue),
            What::Accepted { .. } => (Lane::Agent, Lane::Node),
            What::Invited { leg, .. } => (Lane::Node, of_leg(leg)),
            What::Answered { leg } if of_leg(leg) == Lane::Caller => (Lane::Node, Lane::Caller),
            What::Rings { leg }
            | What::Answered { leg }
            | What::LegFailed { leg, .. }
            | What::LegEnded { leg, .. }
            | What::Held { leg, .. }
            | What::Muted { leg, .. }
            | What::Pressed { leg, .. }
            | What::Consults { leg, .. }
            | What::Alternates { leg, .. }
            | What::ConsultationEnded { leg }
            | What::Joins { leg }
            | What::Leaves { leg, .. }
            | What::Transfers { leg, .. }
            | What::Retrieved { leg } => (of_leg(leg), Lane::Node),
            What::RecordingPaused { .. }
            | What::Deflected { .. }
            | What::Parked { .. }
            | What::PickedUp { .. }
            | What::Supervises { .. }
            | What::SupervisionEnded { .. }
            | What::SupervisorTakes { .. } => (Lane::Agent, Lane::Node),
            What::Prioritised { .. } | What::Moved { .. } => (Lane::Node, Lane::Queue),
            What::Bridged { .. } => (Lane::Caller, Lane::Agent),
        }
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(agent) = &self.offered {
            write!(f, ", offered to {agent}")?;
        }
        if self.held {
            f.write_str(", on hold")?;
        }
        Ok(())
    }
}

/// Why an agent was chosen, as lines.
fn reasons(why: &Why, at: u64) -> Vec<String> {
    let idle = |since: u64| format!("ready for {} s", at.saturating_sub(since) / 1000);
    match why {
        Why::LongestIdle { since, ready, next } => {
            let mut lines = vec![format!(
                "{ready} agents were ready; the strategy takes who is ready longest, of equals the first name: {}, since {since}",
                idle(since.0)
            )];
            let next_ones = next.iter().map(|Candidate { agent, since }| {
                format!("not {agent}: {}, since {since}", idle(since.0))
            });
            lines.extend(next_ones);
            let named = u32::try_from(next.len()).unwrap_or(u32::MAX).saturating_add(1);
            if *ready > named {
                lines.push(format!("nor {} more behind these", ready - named));
            }
            lines
        }
        Why::FirstWaiting { waiting } => vec![format!(
            "the only ready agent; of {waiting} waiting calls this one was first: highest \
             priority, then longest waiting"
        )],
        Why::Consulted => vec!["another agent asked for this one by name".to_owned()],
        Why::Recalled => vec!["this agent had transferred the call".to_owned()],
        Why::Called => vec!["the agent's own number was dialled".to_owned()],
        Why::LastAgent => vec!["this agent talked with the caller last".to_owned()],
        Why::RoundRobin { after: Some(after), ready } => vec![format!(
            "{ready} agents were ready; {after} was asked before, and this one follows by rank and \
             name"
        )],
        Why::RoundRobin { after: None, ready } => {
            vec![format!("{ready} agents were ready; the first by rank and name begins the round")]
        }
        Why::RingAll { agents, ready } => vec![format!(
            "{ready} agents were ready; the strategy asks {agents} of them at once, and the first to \
             accept takes the call"
        )],
        Why::WeightedRandom { lot, total, ready } => vec![format!(
            "{ready} agents were ready; with their weights laid end to end in the order of names, \
             lot {lot} of {total} fell to this one"
        )],
        Why::Best { by, penalty, ready, next } => {
            let mut lines = vec![format!(
                "{ready} agents were ready; the strategy takes the best after penalties: {by}, \
                 penalty {penalty}"
            )];
            lines.extend(next.iter().map(|Rival { agent, by, penalty }| {
                format!("not {agent}: {by}, penalty {penalty}")
            }));
            lines
        }
    }
}
