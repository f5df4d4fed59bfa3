//! The figures of queues and agents over an interval.
//!
//! Owns their formulas, in SQL and here; `docs/reports.md` says them in words, with an example
//! that a test computes. Counts calls that have ended and states that were left, nothing else.

use rusqlite::{Connection, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sql_time;

/// Which interval, and what counts as in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Interval {
    /// From then, in Unix milliseconds; all if nothing is said.
    pub from: u64,
    /// Until before then, in Unix milliseconds.
    pub to: Option<u64>,
    /// A caller is answered in time who waited at most so many seconds; 20 if nothing is said.
    pub threshold_seconds: u32,
    /// Who hung up earlier than that does not count against the queue; 5 if nothing is said.
    pub short_seconds: u32,
}

impl Default for Interval {
    fn default() -> Self {
        Self { from: 0, to: None, threshold_seconds: 20, short_seconds: 5 }
    }
}

/// What became of the calls that entered a queue in an interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueReport {
    /// The queue.
    pub queue: String,
    /// Calls that entered it: the sum of the next four.
    pub offered: u64,
    /// An agent answered them.
    pub answered: u64,
    /// The caller hung up.
    pub abandoned: u64,
    /// They went on to somewhere else.
    pub flowed_out: u64,
    /// They were ended: the queue was full or the wait too long, and it does not overflow.
    pub refused: u64,
    /// Of the answered, those within the threshold.
    pub answered_in_time: u64,
    /// Of the abandoned, those before the short time was over.
    pub abandoned_short: u64,
    /// 100 × answered in time ÷ (offered − abandoned short). None without such calls.
    pub service_level_percent: Option<f64>,
    /// 100 × (abandoned − abandoned short) ÷ (offered − abandoned short).
    pub abandonment_percent: Option<f64>,
    /// Average speed of answer: waits of the answered ÷ answered, in seconds.
    pub asa_seconds: Option<f64>,
    /// Average handle time: (talk with hold + wrap-up) of the answered ÷ answered, in seconds.
    pub aht_seconds: Option<f64>,
    /// The longest wait of all, in milliseconds.
    pub longest_wait_ms: u64,
}

/// What an agent did in an interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentReport {
    /// The agent.
    pub agent: String,
    /// Conversations that began in it.
    pub talks: u64,
    /// Milliseconds in conversation, hold included.
    pub talk_ms: u64,
    /// Of that, holding the other party.
    pub hold_ms: u64,
    /// Milliseconds in wrap-up.
    pub wrap_up_ms: u64,
    /// Milliseconds ready, or being rung.
    pub available_ms: u64,
    /// Milliseconds not ready.
    pub not_ready_ms: u64,
    /// 100 × (talk + wrap-up) ÷ (talk + wrap-up + available).
    pub occupancy_percent: Option<f64>,
}

const QUEUES: &str = "
WITH entry AS (
    SELECT call, queue, came_to, ended_ms - began_ms AS wait_ms FROM segment
    WHERE kind = 'queue' AND began_ms >= ?1 AND began_ms < ?2),
served AS (SELECT DISTINCT call, queue FROM entry WHERE came_to = 'answered'),
talk AS (
    SELECT segment.* FROM served CROSS JOIN segment
    ON segment.call = served.call AND segment.queue = served.queue
    WHERE segment.kind = 'talk'),
handled AS (
    SELECT queue, sum(ms) AS ms FROM (
        SELECT queue, ended_ms - began_ms AS ms FROM talk
        UNION ALL
        SELECT pair.queue, stint.ended_ms - stint.began_ms
        FROM (SELECT DISTINCT call, agent, queue FROM talk) AS pair
        JOIN stint ON stint.call = pair.call AND stint.agent = pair.agent
        WHERE stint.state = 'wrap-up')
    GROUP BY queue)
SELECT entry.queue, count(*),
    count(*) FILTER (WHERE came_to = 'answered'),
    count(*) FILTER (WHERE came_to = 'abandoned'),
    count(*) FILTER (WHERE came_to = 'flowed-out'),
    count(*) FILTER (WHERE came_to = 'refused'),
    count(*) FILTER (WHERE came_to = 'answered' AND wait_ms <= ?3),
    count(*) FILTER (WHERE came_to = 'abandoned' AND wait_ms < ?4),
    coalesce(sum(wait_ms) FILTER (WHERE came_to = 'answered'), 0),
    coalesce(max(handled.ms), 0),
    max(wait_ms)
FROM entry LEFT JOIN handled ON handled.queue = entry.queue
GROUP BY entry.queue ORDER BY entry.queue LIMIT 10000";

const AGENTS: &str = "
WITH part AS (
    SELECT agent, state, min(ended_ms, ?2) - max(began_ms, ?1) AS ms
    FROM stint INDEXED BY stint_by_end WHERE ended_ms > ?1 AND began_ms < ?2)
SELECT part.agent,
    (SELECT count(*) FROM segment WHERE segment.agent = part.agent AND kind = 'talk'
     AND began_ms >= ?1 AND began_ms < ?2),
    coalesce(sum(ms) FILTER (WHERE state IN ('talking', 'held')), 0),
    coalesce(sum(ms) FILTER (WHERE state = 'held'), 0),
    coalesce(sum(ms) FILTER (WHERE state = 'wrap-up'), 0),
    coalesce(sum(ms) FILTER (WHERE state IN ('ready', 'reserved', 'ringing')), 0),
    coalesce(sum(ms) FILTER (WHERE state = 'not-ready'), 0)
FROM part GROUP BY part.agent ORDER BY part.agent LIMIT 100000";

/// The queues that calls entered in the interval, by name.
///
/// # Errors
/// The records cannot be read.
pub fn queues(from: &Connection, over: &Interval) -> rusqlite::Result<Vec<QueueReport>> {
    let (threshold, short) = (over.threshold_seconds, over.short_seconds);
    let limits = [i64::from(threshold) * 1_000, i64::from(short) * 1_000];
    let mut statement = from.prepare(QUEUES)?;
    let rows = statement.query_map(
        params![sql_time(over.from), sql_time(over.to.unwrap_or(u64::MAX)), limits[0], limits[1]],
        |row| {
            let count = |column: usize| row.get::<_, i64>(column).map(|count| count as u64);
            let (offered, answered, abandoned) = (count(1)?, count(2)?, count(3)?);
            let (in_time, short) = (count(6)?, count(7)?);
            let counted = offered.saturating_sub(short);
            Ok(QueueReport {
                queue: row.get(0)?,
                offered,
                answered,
                abandoned,
                flowed_out: count(4)?,
                refused: count(5)?,
                answered_in_time: in_time,
                abandoned_short: short,
                service_level_percent: ratio(100 * in_time, counted),
                abandonment_percent: ratio(100 * abandoned.saturating_sub(short), counted),
                asa_seconds: ratio(count(8)?, answered * 1_000),
                aht_seconds: ratio(count(9)?, answered * 1_000),
                longest_wait_ms: count(10)?,
            })
        },
    )?;
    rows.collect()
}

/// The agents who were signed in during the interval, by name.
///
/// # Errors
/// The records cannot be read.
pub fn agents(from: &Connection, over: &Interval) -> rusqlite::Result<Vec<AgentReport>> {
    let mut statement = from.prepare(AGENTS)?;
    let rows = statement.query_map(
        params![sql_time(over.from), sql_time(over.to.unwrap_or(u64::MAX))],
        |row| {
            let count = |column: usize| row.get::<_, i64>(column).map(|count| count as u64);
            let (talk_ms, wrap_up_ms, available_ms) = (count(2)?, count(4)?, count(5)?);
            let handling = talk_ms + wrap_up_ms;
            Ok(AgentReport {
                agent: row.get(0)?,
                talks: count(1)?,
                talk_ms,
                hold_ms: count(3)?,
                wrap_up_ms,
                available_ms,
                not_ready_ms: count(6)?,
                occupancy_percent: ratio(100 * handling, handling + available_ms),
            })
        },
    )?;
    rows.collect()
}

/// A quotient, if there is something to divide by.
fn ratio(of: u64, by: u64) -> Option<f64> {
    (by > 0).then(|| of as f64 / by as f64)
}
