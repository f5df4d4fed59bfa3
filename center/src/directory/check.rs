//! Checks a directory as a whole: every name leads somewhere, every number is within bounds.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    DIRECTORY_BYTES_MAX, Directory, Distribution, LEVEL_MAX, QUEUES_PER_AGENT_MAX, QueueConfig,
    RINGS_MAX, Route, SKILLS_MAX, Skills, Staffing, Strategy, WEIGHT_MAX,
};
use crate::call::TEXT_BYTES_MAX;
use crate::ids::{AgentId, QueueId};

/// Queues that send overflow on to each other; a longer chain is refused, and with it a circle.
pub const OVERFLOWS_MAX: usize = 8;

/// Queues whose agents one ring borrows. More are refused: each adds a seat to all their agents.
const GUESTS_MAX: usize = 8;

/// Classes of callers. More are refused: each caller is compared with all.
const CLASSES_MAX: usize = 256;

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
    /// A skill's level, or a member's weight, out of bounds.
    #[error("{what} is {value}; 1 to {max} are possible")]
    Amount { what: String, value: u16, max: u16 },
    /// The rings of a queue do not begin at once, or not one after the other.
    #[error(
        "ring {ring} of queue {queue} begins after {seconds} s; the first begins after 0 s, \
             and each later than the one before"
    )]
    RingOrder { queue: QueueId, ring: usize, seconds: u32 },
    /// Nothing says what to compare.
    #[error("queue {queue} chooses by level, and its first ring asks for no skill")]
    NoLevel { queue: QueueId },
    /// Callers are to leave who have nobody to wait for, and nothing says where to.
    #[error("queue {queue} sends callers on when agents are missing, and does not say where to")]
    NowhereToGo { queue: QueueId },
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
            check_skills(&format!("agent {id}"), &agent.skills)?;
        }
        at_most("the list of classes", self.classes.len(), CLASSES_MAX)?;
        for class in &self.classes {
            check_skills(&format!("class {}", class.name), &class.skills)?;
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
        self.check_distribution(id, queue)?;
        for route in queue.distribution.detours.routes() {
            self.check_route(|| format!("a detour of queue {id}"), route)?;
        }
        self.check_ways_on(id)
    }

    /// However callers are sent on from queue to queue, it ends: no way passes more than
    /// [`OVERFLOWS_MAX`], and so none goes in a circle.
    fn check_ways_on(&self, id: &QueueId) -> Result<(), DirectoryError> {
        let mut reached = BTreeSet::from([id]);
        for _ in 0..=OVERFLOWS_MAX {
            let queues = reached.iter().filter_map(|id| self.queues.get(*id));
            let routes = queues
                .flat_map(|queue| queue.overflow.iter().chain(queue.distribution.detours.routes()));
            reached = routes.filter_map(Route::queue).collect();
        }
        if reached.is_empty() {
            return Ok(());
        }
        Err(DirectoryError::OverflowCircle { queue: id.clone() })
    }

    fn check_distribution(&self, id: &QueueId, config: &QueueConfig) -> Result<(), DirectoryError> {
        let Distribution {
            members,
            rings,
            age_seconds,
            last_agent_seconds,
            no_answer_penalty: _,
            join_needs,
            stay_needs,
            detours,
        } = &config.distribution;
        check_seconds(|| format!("age_seconds of queue {id}"), *age_seconds, 0)?;
        check_seconds(|| format!("last_agent_seconds of queue {id}"), *last_agent_seconds, 0)?;
        for (agent, member) in members {
            if !self.agents.contains_key(agent) {
                let from = format!("queue {id}");
                return Err(DirectoryError::NoSuchAgent { from, agent: agent.clone() });
            }
            amount(|| format!("the weight of {agent} in queue {id}"), member.weight, WEIGHT_MAX)?;
        }
        at_most(&format!("the list of rings of queue {id}"), rings.len(), RINGS_MAX)?;
        let mut earliest = 0;
        for (number, ring) in rings.iter().enumerate() {
            let seconds = ring.after_seconds;
            check_seconds(|| format!("after_seconds of a ring of queue {id}"), seconds, 0)?;
            if seconds < earliest || (number == 0 && seconds > 0) {
                return Err(DirectoryError::RingOrder { queue: id.clone(), ring: number, seconds });
            }
            earliest = seconds + 1;
            check_skills(&format!("ring {number} of queue {id}"), &ring.skills)?;
            let guests = format!("the list of queues of ring {number} of queue {id}");
            at_most(&guests, ring.queues.len(), GUESTS_MAX)?;
            for guest in &ring.queues {
                self.check_has_queue(|| format!("ring {number} of queue {id}"), guest)?;
            }
        }
        let needs_nobody = *join_needs == Staffing::Nothing && *stay_needs == Staffing::Nothing;
        if !needs_nobody && detours.empty.is_none() && config.overflow.is_none() {
            return Err(DirectoryError::NowhereToGo { queue: id.clone() });
        }
        let asks = rings.first().is_some_and(|ring| !ring.skills.is_empty());
        if config.strategy == Strategy::HighestLevel && !asks {
            return Err(DirectoryError::NoLevel { queue: id.clone() });
        }
        Ok(())
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

fn check_skills(of: &str, skills: &Skills) -> Result<(), DirectoryError> {
    at_most(&format!("the list of skills of {of}"), skills.len(), SKILLS_MAX)?;
    check_names("skill", skills.keys())?;
    for (skill, level) in skills {
        let what = || format!("the level of {skill} of {of}");
        amount(what, u16::from(*level), u16::from(LEVEL_MAX))?;
    }
    Ok(())
}

fn amount(what: impl Fn() -> String, value: u16, max: u16) -> Result<(), DirectoryError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(DirectoryError::Amount { what: what(), value, max })
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
