//! Where agents can be offered calls, and how they stand there.
//!
//! A seat is a ring of a queue that an agent belongs to: it follows from the directory alone and
//! is rebuilt with it. An agent who is ready stands in the pool of each of their seats, at the
//! rank that the queue's strategy gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::acd;
use crate::apply::Turn;
use crate::directory::{Directory, Member, QueueConfig, meets};
use crate::queue::{Pool, Rank};
use crate::state::Due;
use crate::{Agent, AgentId, AgentState, Center, Link, Millis, QueueId};

/// A ring of a queue that an agent belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) queue: QueueId,
    pub(crate) ring: u8,
    pub(crate) member: Member,
    /// The sum of the agent's levels in the skills that the queue's first ring asks for.
    pub(crate) level: u32,
}

/// What strategies compare of an agent who can be offered calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) idle_since: Millis,
    pub(crate) calls: u32,
    pub(crate) talk_ms: u64,
    pub(crate) penalty: u8,
}

/// How an agent stands in the other indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentMarks {
    pub(crate) deadline: Option<Millis>,
    /// Set when the agent can be offered calls.
    pub(crate) standing: Option<Standing>,
    /// What the agent is to the staff of their queues.
    pub(crate) presence: Presence,
}

/// What an agent is to the staff of their queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Not here.
    #[default]
    Away,
    /// Signed in, and not ready.
    SignedIn,
    /// Signed in, and ready for calls when nothing else holds them.
    Available,
}

impl Presence {
    fn counts(self) -> (u32, u32) {
        match self {
            Self::Away => (0, 0),
            Self::SignedIn => (1, 0),
            Self::Available => (1, 1),
        }
    }
}

/// The seats of every agent.
pub(crate) fn seats_of(directory: &Directory) -> BTreeMap<AgentId, Arc<[Seat]>> {
    let mut guests: BTreeMap<&QueueId, Vec<(&QueueId, u8)>> = BTreeMap::new();
    for (id, config) in &directory.queues {
        for (number, ring) in (0..).zip(&config.distribution.rings) {
            for lender in &ring.queues {
                guests.entry(lender).or_default().push((id, number));
            }
        }
    }
    let seats = directory.agents.iter().map(|(agent, config)| {
        let mut places: BTreeMap<(&QueueId, u8), Member> = BTreeMap::new();
        for served in &config.queues {
            let Some(queue) = directory.queues.get(served) else { continue };
            let member = queue.distribution.member(agent);
            for guest in guests.get(served).into_iter().flatten() {
                places.entry(*guest).or_insert(member);
            }
        }
        for served in &config.queues {
            let Some(queue) = directory.queues.get(served) else { continue };
            let rings = (0..).take(queue.distribution.ring_count());
            let member = queue.distribution.member(agent);
            places.extend(rings.map(|ring| ((served, ring), member)));
        }
        let seats = places.into_iter().filter_map(|((queue, ring), member)| {
            let rings = &directory.queues.get(queue)?.distribution.rings;
            let asks = rings.get(usize::from(ring)).map(|ring| &ring.skills);
            if !asks.is_none_or(|asked| meets(&config.skills, asked)) {
                return None;
            }
            let first = rings.first().into_iter().flat_map(|ring| ring.skills.keys());
            let level = first.filter_map(|skill| config.skills.get(skill)).copied();
            let level = level.map(u32::from).sum();
            Some(Seat { queue: queue.clone(), ring, member, level })
        });
        (agent.clone(), seats.collect())
    });
    seats.collect()
}

impl Center {
    /// Brings the indexes up to date with an agent, their session and their configuration.
    pub(crate) fn move_agent(&mut self, turn: &mut Turn, id: &AgentId) {
        let after = self.marks_of(id);
        let before = self.agent_marks.get(id).copied().unwrap_or_default();
        if before == after {
            return;
        }
        if after == AgentMarks::default() {
            self.agent_marks.remove(id);
        } else {
            self.agent_marks.insert(id.clone(), after);
        }
        self.move_deadline(|| Due::Agent(id.clone()), before.deadline, after.deadline);
        if before.presence != after.presence {
            self.count_staff(turn, id, before.presence, after.presence);
        }
        if before.standing == after.standing {
            return;
        }
        if let Some(standing) = before.standing
            && !turn.unseated.remove(id)
        {
            self.each_pool(turn, id, |pool, rank, _| {
                pool.remove(&(rank(&standing), id.clone()));
            });
        }
        if after.standing.is_some() {
            turn.freed.insert(id.clone());
            turn.unseated.insert(id.clone());
        }
    }

    /// Lets those who became free stand in the pools of their seats, each in their place.
    pub(crate) fn seat_freed(&mut self, turn: &mut Turn) {
        for id in std::mem::take(&mut turn.unseated) {
            let marks = self.agent_marks.get(&id);
            let Some(standing) = marks.and_then(|marks| marks.standing) else { continue };
            self.each_pool(turn, &id, |pool, rank, weight| {
                pool.insert((rank(&standing), id.clone()), weight);
            });
        }
    }

    /// Changes the pool of each seat of an agent, who is ranked and weighted there like this.
    fn each_pool(
        &mut self,
        turn: &mut Turn,
        id: &AgentId,
        change: impl Fn(&mut Pool, &dyn Fn(&Standing) -> Rank, u32),
    ) {
        let directory = Arc::clone(&self.directory);
        let Some(seats) = self.seats.get(id).cloned() else { return };
        for seat in seats.iter() {
            let config = directory.queues.get(&seat.queue);
            let pool = self.queues.get_mut(&seat.queue).and_then(|queue| queue.pool_mut(seat.ring));
            let (Some(QueueConfig { strategy, .. }), Some(pool)) = (config, pool) else { continue };
            change(
                pool,
                &|standing| acd::rank(*strategy, seat, standing),
                seat.member.weight.into(),
            );
            if seat.ring == 0 {
                turn.outcome.touched.queues.insert(seat.queue.clone());
            }
        }
    }

    /// An agent came, left, or went on a break: their queues have other staff, and may have too
    /// little for their callers to stay.
    fn count_staff(&mut self, turn: &mut Turn, id: &AgentId, before: Presence, after: Presence) {
        let directory = Arc::clone(&self.directory);
        let Some(config) = directory.agents.get(id) else { return };
        let ((here, free), (here_now, free_now)) = (before.counts(), after.counts());
        for served in &config.queues {
            let Some(queue) = self.queues.get_mut(served) else { continue };
            queue.staff.signed_in = queue.staff.signed_in + here_now - here;
            queue.staff.available = queue.staff.available + free_now - free;
            turn.restaffed.insert(served.clone());
        }
    }

    fn marks_of(&self, id: &AgentId) -> AgentMarks {
        let Some(agent) = self.agents.get(id) else { return AgentMarks::default() };
        let standing = match agent.state {
            AgentState::Ready { .. } if self.can_be_offered(agent) => Some(Standing {
                idle_since: agent.idle_since,
                calls: agent.shift.calls,
                talk_ms: agent.shift.talk_ms,
                penalty: agent.shift.penalty,
            }),
            AgentState::Ready { .. }
            | AgentState::LoggedOut { .. }
            | AgentState::NotReady { .. }
            | AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. }
            | AgentState::WrapUp { .. } => None,
        };
        let presence = match agent.state {
            AgentState::LoggedOut { .. } => Presence::Away,
            AgentState::NotReady { .. } => Presence::SignedIn,
            AgentState::Ready { .. }
            | AgentState::Reserved { .. }
            | AgentState::Ringing { .. }
            | AgentState::Talking { .. }
            | AgentState::Held { .. }
            | AgentState::WrapUp { .. } => Presence::Available,
        };
        AgentMarks { deadline: agent.deadline(), standing, presence }
    }

    /// Has a phone, and a desk that is there or none that is needed.
    pub(crate) fn can_be_offered(&self, agent: &Agent) -> bool {
        let Some(config) = self.config_of(&agent.id) else { return false };
        let is_there = match agent.session.and_then(|session| self.sessions.get(&session)) {
            Some(session) => session.link == Link::Live,
            None => config.always_ready,
        };
        is_there && !config.device.is_empty()
    }
}
