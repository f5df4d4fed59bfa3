//! Conditions on records, combined by and, or and not.
//!
//! Owns their meaning, once for a record in memory and once in SQL, which must agree. Bounded, so
//! that no question from outside costs more than reading the records once.

use rusqlite::types::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use tandem_center::Cdr;
use tandem_center::record::{Segment, SegmentKind};

use super::schema::direction_name;
use crate::api::words::{CallDirection, Outcome};

/// Conditions in one question, the combining ones among them.
pub const CONDITIONS_MAX: usize = 64;

/// How deep conditions may stand in each other.
pub const DEPTH_MAX: usize = 8;

/// Bytes of one text in a condition.
const TEXT_BYTES_MAX: usize = 512;

/// A condition on a record. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Every one of them holds.
    All(Vec<Self>),
    /// At least one of them holds.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// Arrived at or after.
    From(u64),
    /// Arrived before.
    To(u64),
    /// Lasted at least so many milliseconds, from its arrival to its end.
    AtLeastMs(u64),
    /// Lasted less than so many milliseconds.
    ShorterMs(u64),
    /// Two parties talked for at least so many milliseconds, hold aside.
    TalkAtLeastMs(u64),
    /// Waited in queues for at least so many milliseconds.
    WaitAtLeastMs(u64),
    /// The calling or called number; with `*` at its end, its beginning.
    Number(String),
    /// This agent talked in it, or dialled it.
    Agent(String),
    /// It was in this queue at some time.
    Queue(String),
    /// Who began it.
    Direction(CallDirection),
    /// What it came to.
    Outcome(Outcome),
    /// What an agent said last that it came to.
    Disposition(String),
    /// The trunk that it left by last.
    Trunk(String),
    /// Whether it was recorded.
    Recorded(bool),
    /// Whether somebody transferred it.
    Transferred(bool),
}

/// Why a question is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Too many.
    #[error("more than {CONDITIONS_MAX} conditions")]
    Conditions,
    /// Too deep.
    #[error("conditions stand more than {DEPTH_MAX} deep in each other")]
    Depth,
    /// A text is too long.
    #[error("a text in a condition has more than {TEXT_BYTES_MAX} bytes")]
    Text,
}

impl Condition {
    /// Whether it is small enough to be asked.
    ///
    /// # Errors
    /// It has too many conditions, is too deep, or has too long a text.
    pub fn check(&self) -> Result<(), TooMuch> {
        let mut left = CONDITIONS_MAX;
        self.check_within(&mut left, DEPTH_MAX)
    }

    fn check_within(&self, left: &mut usize, depth: usize) -> Result<(), TooMuch> {
        *left = left.checked_sub(1).ok_or(TooMuch::Conditions)?;
        let deeper = depth.checked_sub(1).ok_or(TooMuch::Depth)?;
        match self {
            Self::All(of) | Self::Any(of) => {
                of.iter().try_for_each(|condition| condition.check_within(left, deeper))
            }
            Self::Not(of) => of.check_within(left, deeper),
            Self::Number(text)
            | Self::Agent(text)
            | Self::Queue(text)
            | Self::Disposition(text)
            | Self::Trunk(text) => {
                if text.len() > TEXT_BYTES_MAX {
                    Err(TooMuch::Text)
                } else {
                    Ok(())
                }
            }
            Self::From(_)
            | Self::To(_)
            | Self::AtLeastMs(_)
            | Self::ShorterMs(_)
            | Self::TalkAtLeastMs(_)
            | Self::WaitAtLeastMs(_)
            | Self::Direction(_)
            | Self::Outcome(_)
            | Self::Recorded(_)
            | Self::Transferred(_) => Ok(()),
        }
    }

    /// Whether it holds of a record, and of what the agent said last about it.
    #[must_use]
    pub fn holds(&self, cdr: &Cdr, disposition: Option<&str>) -> bool {
        let lasted = || cdr.ended.since_ms(cdr.arrived);
        let any_segment = |of: &dyn Fn(&Segment) -> bool| cdr.segments.iter().any(of);
        match self {
            Self::All(of) => of.iter().all(|condition| condition.holds(cdr, disposition)),
            Self::Any(of) => of.iter().any(|condition| condition.holds(cdr, disposition)),
            Self::Not(of) => !of.holds(cdr, disposition),
            Self::From(at) => cdr.arrived.0 >= *at,
            Self::To(at) => cdr.arrived.0 < *at,
            Self::AtLeastMs(ms) => lasted() >= *ms,
            Self::ShorterMs(ms) => lasted() < *ms,
            Self::TalkAtLeastMs(ms) => cdr.talk_ms >= *ms,
            Self::WaitAtLeastMs(ms) => cdr.wait_ms >= *ms,
            Self::Number(number) => [&*cdr.from.number, &*cdr.to].iter().any(|of| {
                number.strip_suffix('*').map_or(*of == number, |start| of.starts_with(start))
            }),
            Self::Agent(agent) => {
                cdr.agent.as_ref().is_some_and(|of| of.to_string() == *agent)
                    || any_segment(
                        &|segment| matches!(&segment.kind, SegmentKind::Talk(Some(of)) if of.to_string() == *agent),
                    )
            }
            Self::Queue(queue) => any_segment(
                &|segment| matches!(&segment.kind, SegmentKind::Queue(of) if of.to_string() == *queue),
            ),
            Self::Direction(direction) => CallDirection::from(cdr.direction) == *direction,
            Self::Outcome(outcome) => Outcome::from(cdr.result) == *outcome,
            Self::Disposition(said) => disposition == Some(said.as_str()),
            Self::Trunk(trunk) => cdr.trunk.as_deref() == Some(trunk.as_str()),
            Self::Recorded(is) => cdr.recording.is_some() == *is,
            Self::Transferred(is) => (cdr.transfers > 0) == *is,
        }
    }

    /// The same in SQL, with its values appended to those that are there. `cdr` and `said`, the
    /// last disposition, are joined; no text from outside becomes SQL.
    pub(super) fn to_sql(&self, values: &mut Vec<Value>) -> String {
        let mut list = |of: &[Self], between: &str, none: &str| {
            let texts: Vec<String> = of.iter().map(|of| of.to_sql(values)).collect();
            if texts.is_empty() { none.to_owned() } else { format!("({})", texts.join(between)) }
        };
        let (text, value): (&str, Value) = match self {
            Self::All(of) => return list(of, " AND ", "1"),
            Self::Any(of) => return list(of, " OR ", "0"),
            Self::Not(of) => return format!("NOT {}", of.to_sql(values)),
            Self::From(at) => ("cdr.arrived_ms >= ?", number(*at)),
            Self::To(at) => ("cdr.arrived_ms < ?", number(*at)),
            Self::AtLeastMs(ms) => ("(cdr.ended_ms - cdr.arrived_ms >= ?)", number(*ms)),
            Self::ShorterMs(ms) => ("(cdr.ended_ms - cdr.arrived_ms < ?)", number(*ms)),
            Self::TalkAtLeastMs(ms) => ("(cdr.talk_ms >= ?)", number(*ms)),
            Self::WaitAtLeastMs(ms) => ("(cdr.wait_ms >= ?)", number(*ms)),
            Self::Number(text) => match text.strip_suffix('*') {
                // substr and not LIKE: a number with % or _ in it is just a number.
                Some(start) => (
                    "(substr(cdr.from_number, 1, length(?)) = ?
                      OR substr(cdr.to_number, 1, length(?)) = ?)",
                    start.to_owned().into(),
                ),
                None => ("(cdr.from_number = ? OR cdr.to_number = ?)", text.clone().into()),
            },
            Self::Agent(agent) => (
                "(cdr.agent IS ? OR EXISTS (SELECT 1 FROM segment WHERE segment.call = cdr.call
                  AND segment.kind = 'talk' AND segment.agent = ?))",
                agent.clone().into(),
            ),
            Self::Queue(queue) => (
                "EXISTS (SELECT 1 FROM segment WHERE segment.call = cdr.call
                  AND segment.kind = 'queue' AND segment.queue = ?)",
                queue.clone().into(),
            ),
            Self::Direction(direction) => {
                let is = match direction {
                    CallDirection::Inbound => tandem_center::Direction::Inbound,
                    CallDirection::Outbound => tandem_center::Direction::Outbound,
                };
                ("(cdr.direction = ?)", direction_name(is).to_owned().into())
            }
            Self::Outcome(outcome) => {
                let result = tandem_center::CallResult::from(*outcome);
                ("(cdr.outcome = ?)", result.name().to_owned().into())
            }
            // IS, since nothing may have been said: NOT must hold then.
            Self::Disposition(said) => ("(said.disposition IS ?)", said.clone().into()),
            Self::Trunk(trunk) => ("(cdr.trunk IS ?)", trunk.clone().into()),
            Self::Recorded(is) => ("((cdr.recording IS NOT NULL) = ?)", i64::from(*is).into()),
            Self::Transferred(is) => ("((cdr.transfers > 0) = ?)", i64::from(*is).into()),
        };
        values.push(value);
        text.replace('?', &format!("?{}", values.len()))
    }
}

fn number(value: u64) -> Value {
    i64::try_from(value).unwrap_or(i64::MAX).into()
}
