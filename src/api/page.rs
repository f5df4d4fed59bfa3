//! What lists are asked with, and pages of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::{AgentId, CallId, Millis, QueueId};

use super::backend::{CdrQuery, Freshness};
use super::cdr_view::CdrView;
use super::error::{ErrorBody, ErrorCode};
use super::words::Outcome;
use crate::records::condition::Condition;

/// Rows of one page.
const ROWS_MAX: usize = 1_000;

/// Rows of a page when nothing is said.
const ROWS: usize = 100;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to give as `after` for the next page, if there is one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The first `limit` of the rows.
    pub fn of(rows: impl Iterator<Item = T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let mut items: Vec<T> = rows.take(limit + 1).collect();
        let is_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| is_more).map(cursor);
        Self { items, next }
    }
}

/// How a value is read.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReadQuery {
    /// Whether everything that was acknowledged anywhere is to be in it. Costs a round of the
    /// cluster; without it, the answer is what this node knows.
    linear: bool,
}

impl ReadQuery {
    pub(super) fn freshness(&self) -> Freshness {
        if self.linear { Freshness::Linear } else { Freshness::Local }
    }
}

/// Which calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CallsQuery {
    /// Whether everything that was acknowledged anywhere is to be in it.
    linear: bool,
    /// How many rows, 1,000 at most; 100 if nothing is said.
    limit: Option<usize>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
}

impl CallsQuery {
    pub(super) fn freshness(&self) -> Freshness {
        ReadQuery { linear: self.linear }.freshness()
    }

    pub(super) fn limit(&self) -> usize {
        rows(self.limit)
    }
}

/// Which records; every condition that is given holds. The newest come first.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CdrsQuery {
    /// Arrived at or after, in Unix milliseconds.
    from: Option<u64>,
    /// Arrived before, in Unix milliseconds.
    to: Option<u64>,
    /// The calling or called number; with `*` at its end, its beginning.
    number: Option<String>,
    /// The agent who talked last or dialled.
    agent: Option<String>,
    /// The last queue.
    queue: Option<String>,
    /// What it came to.
    outcome: Option<Outcome>,
    /// One call.
    call: Option<String>,
    /// What else must hold: a condition as JSON, see `docs/records.md`.
    #[serde(rename = "where")]
    condition: Option<String>,
    /// How many rows, 1,000 at most; 100 if nothing is said.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl CdrsQuery {
    pub(super) fn to_query(&self) -> Result<CdrQuery, ErrorBody> {
        let number = self.number.as_deref();
        let beginning = number.and_then(|number| number.strip_suffix('*'));
        Ok(CdrQuery {
            from: self.from.map(Millis),
            to: self.to.map(Millis),
            number: beginning.or(number).map(str::to_owned),
            number_is_prefix: beginning.is_some(),
            agent: self.agent.as_deref().map(AgentId::parse).transpose()?,
            queue: self.queue.as_deref().map(QueueId::parse).transpose()?,
            result: self.outcome.map(Into::into),
            call: self.call.as_deref().map(CallId::parse).transpose()?,
            condition: self.condition.as_deref().map(read_condition).transpose()?,
            after: self.after.as_deref().map(read_cursor).transpose()?,
            limit: rows(self.limit),
        })
    }

    /// The place behind a record.
    pub(super) fn cursor(cdr: &CdrView) -> String {
        format!("{}-{}", cdr.arrived, cdr.call)
    }
}

/// A condition as JSON, if it is small enough to be asked.
pub(super) fn read_condition(text: &str) -> Result<Condition, ErrorBody> {
    let wrong = |error: &dyn std::fmt::Display| {
        ErrorBody::new(ErrorCode::BadRequest, format!("`where` cannot be asked: {error}"))
    };
    let condition: Condition = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    condition.check().map_err(|error| wrong(&error))?;
    Ok(condition)
}

fn read_cursor(text: &str) -> Result<(Millis, CallId), ErrorBody> {
    let wrong =
        || ErrorBody::new(ErrorCode::BadRequest, format!("{text:?} is no `next` of a page"));
    let (arrived, call) = text.split_once('-').ok_or_else(wrong)?;
    let arrived = arrived.parse().map_err(|_| wrong())?;
    Ok((Millis(arrived), CallId::parse(call).map_err(|_| wrong())?))
}

fn rows(limit: Option<usize>) -> usize {
    limit.unwrap_or(ROWS).clamp(1, ROWS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_whether_there_is_more() {
        let page = |rows: usize| Page::of(0..rows, 3, usize::to_string);
        assert_eq!(page(2), Page { items: vec![0, 1], next: None });
        assert_eq!(page(3), Page { items: vec![0, 1, 2], next: None });
        assert_eq!(page(4), Page { items: vec![0, 1, 2], next: Some("2".to_owned()) });
    }

    #[test]
    fn a_cursor_reads_back_and_nonsense_does_not() {
        let place = (Millis(1_780_000_000_000), CallId(7));
        assert_eq!(read_cursor("1780000000000-0000000000000007").unwrap(), place);
        for wrong in ["", "-", "1", "x-0000000000000007", "1-7"] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }
}
