//! Checks a directory as a whole: every name leads somewhere, every number is within bounds.

use std::sync::Arc;

use super::{DIRECTORY_BYTES_MAX, Directory, QUEUES_PER_AGENT_MAX, Route};
use crate::call::TEXT_BYTES_MAX;
use crate::ids::{AgentId, QueueId};

/// Queues that send overflow on to each other; a longer chain is refused, and with it a circle.
pub const OVERFLOWS_MAX: usize = 8;

/// Trunks that share a prefix. Each is one more try while a caller waits.
pub const TRUNKS_OF_PREFIX_MAX: usize = 16;

/// Nodes that have a site. More than any cluster has.
const SITES_MAX: usize = 64;

/// Seconds of any time-out in a directory. A day: longer is a mistake of units.
pub const SECONDS_MAX: u32 = 86_400;

/// What is wrong with a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// A route to a flow that is not there.
    #[error("{from} leads to flow {flow}, which is not configured")]
    NoSuchFlow { from: String, flow: Arc<str> },
    /// A route or an agent names a queue that is not there.
    #[error("{from} leads to queue {queue}, which is not configured")]
    NoSuchQueue { from: String, queue: QueueId },
    /// A route names an agent who is not there.
    #[error("{from} leads to agent {agent}, who is not configured")]
    NoSuchAgent { from: String, agent: AgentId },
    /// An outbound rule names a trunk that is not there.
    #[error("{from} leads to trunk {trunk}, which is not configured")]
    NoSuchTrunk { from: String, trunk: Arc<str> },
    /// Not a status that can refuse (400 to 699).
    #[error("{from} names status {status}; 400 to 699 are possible")]
    Status { from: String, status: u16 },
    /// A time-out out of bounds.
    #[error("{what} is {seconds} s; at most {SECONDS_MAX} are possible, and at least {min}")]
    Seconds { what: String, seconds: u32, min: u32 },
    /// More of something than its bound.
    #[error("{what} has {size}, at most {max} are possible")]
    TooMany { what: String, size: usize, max: usize },
    /// A name that is empty, too long or has a control character.
    #[error("{name:?} cannot be the name of a {what}")]
    Name { what: &'static str, name: String },
    /// Overflow goes in a circle, or through too many queues.
    #[error("the overflow of queue {queue} passes more than {OVERFLOWS_MAX} queues")]
    OverflowCircle { queue: QueueId },
}

impl Directory {
    /// Finds the first thing that is wrong. Flows are parsed elsewhere.
    pub fn check(&self) -> Result<(), DirectoryError> {
        let bytes = postcard::experimental::serialized_size(self).unwrap_or(usize::MAX);
        at_most("the encoded directory", bytes, DIRECTORY_BYTES_MAX)?;
        check_names("number", self.numbers.keys())?;
        check_names("flow", self.flows.keys())?;
        check_names("trunk", self.trunks.keys())?;
        check_names("reason", self.reasons.keys())?;
        check_names("site", self.sites.values())?;
        at_most("the list of sites", self.sites.len(), SITES_MAX)?;
        for (number, route) in &self.numbers {
            self.check_route(|| format!("number {number}"), route)?;
        }
        if self.screening.status != 0 {
            check_status(|| "the screening".to_owned(), self.screening.status)?;
        }
        for blocked in &self.screening.blocked {
            check_status(|| format!("the screening of {:?}", blocked.pattern), blocked.status)?;
        }
        for id in self.queues.keys() {
            self.check_queue(id)?;
        }
        for (id, agent) in &self.agents {
            at_most(&format!("the queue list of {id}"), agent.queues.len(), QUEUES_PER_AGENT_MAX)?;
            at_most(
                &format!("the list of what {id} supervises"),
                agent.supervises.len(),
                QUEUES_PER_AGENT_MAX,
            )?;
            for queue in agent.queues.iter().chain(&agent.supervises) {
                self.check_has_queue(|| format!("agent {id}"), queue)?;
            }
        }
        for (name, trunk) in &self.trunks {
            check_seconds(|| format!("ring_seconds of trunk {name}"), trunk.ring_seconds, 0)?;
            check_seconds(|| format!("wrap_up_seconds of trunk {name}"), trunk.wrap_up_seconds, 0)?;
            for status in &trunk.failover {
                check_status(|| format!("the failover of trunk {name}"), *status)?;
            }
        }
        for rule in &self.outbound {
            if !self.trunks.contains_key(&rule.trunk) {
                let from = format!("the outbound rule for {:?}", rule.prefix);
                return Err(DirectoryError::NoSuchTrunk { from, trunk: rule.trunk.clone() });
            }
            let what = format!("the prefix {:?}", rule.prefix);
            at_most(&what, self.ways(&rule.prefix).count(), TRUNKS_OF_PREFIX_MAX)?;
        }
        let grace = self.session_grace_seconds;
        check_seconds(|| "session_grace_seconds".to_owned(), grace, 0)
    }

    fn check_queue(&self, id: &QueueId) -> Result<(), DirectoryError> {
        let queue = &self.queues[id];
        check_seconds(|| format!("ring_seconds of queue {id}"), queue.ring_seconds, 1)?;
        check_seconds(|| format!("wrap_up_seconds of queue {id}"), queue.wrap_up_seconds, 0)?;
        check_seconds(|| format!("max_wait_seconds of queue {id}"), queue.max_wait_seconds, 0)?;
        if let Some(route) = &queue.overflow {
            self.check_route(|| format!("the overflow of queue {id}"), route)?;
        }
        let mut at = id;
        for _ in 0..=OVERFLOWS_MAX {
            match self.queues.get(at).and_then(|queue| queue.overflow.as_ref()) {
                Some(Route::Queue(next)) => at = next,
                Some(
                    Route::Flow(_)
                    | Route::Target(_)
                    | Route::Echo
                    | Route::Agent(_)
                    | Route::Reject(_),
                )
                | None => return Ok(()),
            }
        }
        Err(DirectoryError::OverflowCircle { queue: id.clone() })
    }

    fn check_route(&self, from: impl Fn() -> String, route: &Route) -> Result<(), DirectoryError> {
        match route {
            Route::Flow(flow) if !self.flows.contains_key(flow) => {
                Err(DirectoryError::NoSuchFlow { from: from(), flow: flow.clone() })
            }
            Route::Agent(agent) if !self.agents.contains_key(agent) => {
                Err(DirectoryError::NoSuchAgent { from: from(), agent: agent.clone() })
            }
            Route::Queue(queue) => self.check_has_queue(from, queue),
            Route::Reject(status) => check_status(from, *status),
            Route::Flow(_) | Route::Agent(_) | Route::Target(_) | Route::Echo => Ok(()),
        }
    }

    fn check_has_queue(
        &self,
        from: impl Fn() -> String,
        queue: &QueueId,
    ) -> Result<(), DirectoryError> {
        if self.queues.contains_key(queue) {
            return Ok(());
        }
        Err(DirectoryError::NoSuchQueue { from: from(), queue: queue.clone() })
    }
}

fn check_names<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a Arc<str>>,
) -> Result<(), DirectoryError> {
    for name in names {
        let is_good = (1..=TEXT_BYTES_MAX).contains(&name.len());
        if !is_good || name.chars().any(char::is_control) {
            let name = name.chars().take(40).collect();
            return Err(DirectoryError::Name { what, name });
        }
    }
    Ok(())
}

fn check_status(from: impl Fn() -> String, status: u16) -> Result<(), DirectoryError> {
    if (400..=699).contains(&status) {
        return Ok(());
    }
    Err(DirectoryError::Status { from: from(), status })
}

fn check_seconds(what: impl Fn() -> String, seconds: u32, min: u32) -> Result<(), DirectoryError> {
    if (min..=SECONDS_MAX).contains(&seconds) {
        return Ok(());
    }
    Err(DirectoryError::Seconds { what: what(), seconds, min })
}

fn at_most(what: &str, size: usize, max: usize) -> Result<(), DirectoryError> {
    if size <= max {
        return Ok(());
    }
    Err(DirectoryError::TooMany { what: what.to_owned(), size, max })
}
