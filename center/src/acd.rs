//! Automatic call distribution: which ready agent gets which waiting call.
//!
//! The call: of those that an agent may take, from the queue that the agent prefers, then the one
//! with the highest priority, then the one that entered first. The agent: of those whom the
//! caller's ring admits and who know what the caller asks for, the one whom the queue's strategy
//! ranks best, then the lowest name, so that every replica chooses the same. A strategy is little
//! more than a rank that an agent has while ready: the queue keeps its ready agents in that order,
//! so a choice costs a look at the first.
//!
//! Before each command no caller who is offered to nobody has a ready agent who may take the
//! call; so after it only agents who became ready and calls that came to be offered to nobody need
//! a look: first the agents, each taking what is first for them, then the calls in their order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::apply::Turn;
use crate::call::RING_ALL_MAX;
use crate::directory::{QueueConfig, Skills, Strategy, meets};
use crate::queue::{Line, Place, Pool, Rank};
use crate::ranked::mix;
use crate::seats::{Seat, Standing};
use crate::timeline::{Candidate, Figure, NEXT_MAX, Rival, Why};
use crate::{AgentId, CallId, Center, Index, Millis, Phase, Queue, QueueId};

/// How good a choice an agent is in one of their seats. Lower is better.
#[must_use]
pub(crate) fn rank(strategy: Strategy, seat: &Seat, standing: &Standing) -> Rank {
    let penalty = u16::from(seat.member.penalty) + u16::from(standing.penalty);
    let idle_since = standing.idle_since.0;
    let (by, then) = match strategy {
        Strategy::LongestIdle | Strategy::RingAll => (idle_since, 0),
        Strategy::FewestCalls => (standing.calls.into(), idle_since),
        Strategy::LeastTalkTime => (standing.talk_ms, idle_since),
        Strategy::RoundRobin | Strategy::Linear => (seat.member.rank.into(), 0),
        Strategy::WeightedRandom => (0, 0),
        Strategy::HighestLevel => (u64::from(u32::MAX - seat.level), idle_since),
    };
    Rank { penalty, by, then }
}

/// Where a call stands among those of several queues: higher priority first, then the earlier
/// commit.
type Precedence = (Reverse<u64>, Index, CallId);

/// Who is asked to take a call.
struct Choice {
    agents: Vec<AgentId>,
    why: Why,
}

/// The ready agents of a caller's ring, as far as the caller admits them.
struct Field<'a> {
    pool: &'a Pool,
    needs: &'a Skills,
    center: &'a Center,
}

impl<'a> Field<'a> {
    fn admits(&self, agent: &AgentId) -> bool {
        let known = self.center.config_of(agent).map(|config| &config.skills);
        self.needs.is_empty() || known.is_some_and(|known| meets(known, self.needs))
    }

    /// Best first.
    fn candidates(&self) -> impl Iterator<Item = (&'a (Rank, AgentId), u32)> {
        self.pool.iter().filter(|((_, agent), _)| self.admits(agent))
    }

    /// Those who are as little penalised as the best one.
    fn best_penalty(&self) -> impl Iterator<Item = (&'a (Rank, AgentId), u32)> {
        let penalty = self.candidates().next().map(|((rank, _), _)| rank.penalty);
        self.candidates().take_while(move |((rank, _), _)| Some(rank.penalty) == penalty)
    }

    /// The one behind `last` in the order of ranks, or the first again.
    fn next_in_turn(&self, last: Option<&(Rank, AgentId)>) -> Option<&'a (Rank, AgentId)> {
        let (first, _) = self.candidates().next()?;
        let Some((rank, last)) = last else { return Some(first) };
        let bound = (Rank { penalty: first.0.penalty, ..*rank }, last.clone());
        let mut behind = self.pool.after(&bound).filter(|(_, agent)| self.admits(agent));
        let next = behind.next().filter(|(rank, _)| rank.penalty == first.0.penalty);
        Some(next.unwrap_or(first))
    }

    /// One by lot, with chances as their weights; with the sum of them and the lot.
    fn by_lot(&self, lot: u64) -> Option<(&'a (Rank, AgentId), u64, u64)> {
        let (first, _) = self.candidates().next()?;
        if self.needs.is_empty() {
            // All with this penalty have the same rank, and stand before this one.
            let behind = (Rank { by: 1, ..first.0 }, first.1.clone());
            let (_, total) = self.pool.before(&behind);
            let lot = lot % total.max(1);
            return Some((self.pool.at_weight(lot)?, total, lot));
        }
        let total: u64 = self.best_penalty().map(|(_, weight)| u64::from(weight)).sum();
        let lot = lot % total.max(1);
        let mut sum = 0;
        let mut covering = self.best_penalty().filter(|(_, weight)| {
            sum += u64::from(*weight);
            lot < sum
        });
        covering.next().map(|(agent, _)| (agent, total, lot))
    }
}

impl Center {
    /// Offers calls until no caller who is offered to nobody has a ready agent.
    pub(crate) fn distribute(&mut self, turn: &mut Turn) {
        self.offer_to_the_one_freed(turn);
        self.seat_freed(turn);
        while let Some(agent) = turn.freed.pop_first() {
            while let Some((queue, place)) = self.next_for(&agent) {
                if !self.offer_best(turn, &queue, place) {
                    debug_assert!(false, "{agent} may take a call that nobody may take");
                    break;
                }
            }
        }
        let mut opened = std::mem::take(&mut turn.opened);
        let mut heads = BTreeSet::new();
        for (queue, places) in &opened {
            heads.extend(self.precedence_of(queue, places.first()).map(|of| (of, queue.clone())));
        }
        while let Some((_, queue)) = heads.pop_first() {
            let Some(places) = opened.get_mut(&queue) else { continue };
            if let Some(place) = places.pop_first() {
                self.offer_best(turn, &queue, place);
            }
            let next = self.precedence_of(&queue, places.first());
            heads.extend(next.map(|of| (of, queue)));
        }
        // Offering takes calls and agents away; it gives none back.
        debug_assert!(turn.freed.is_empty());
    }

    /// Where one agent became free and nothing else changed, whoever waits has nobody else who may
    /// take them: the agent takes the first one, without standing in twenty pools in between.
    fn offer_to_the_one_freed(&mut self, turn: &mut Turn) {
        if turn.freed.len() != 1 || turn.unseated.len() != 1 || !turn.opened.is_empty() {
            return;
        }
        let Some(agent) = turn.freed.pop_first() else { return };
        while let Some((queue, place)) = self.next_for(&agent) {
            let waiting = self.queues.get(&queue).map_or(0, |queue| count(queue.unoffered()));
            let wanted = self.calls.get(&place.call).is_some_and(|call| call.waits_for(&agent));
            let why = if wanted { Why::LastAgent } else { Why::FirstWaiting { waiting } };
            self.offer(turn, place.call, &agent, why);
        }
    }

    fn precedence_of(&self, queue: &QueueId, place: Option<&Place>) -> Option<Precedence> {
        let call = self.calls.get(&place?.call)?;
        let age = self.directory.queues.get(queue)?.distribution.age_seconds;
        let Phase::Queued { since, .. } = &call.phase else { return None };
        let aged = match u64::from(age) * 1_000 {
            0 => 0,
            step => self.at.since_ms(*since) / step,
        };
        Some((Reverse(u64::from(call.priority) + aged), place?.ticket, place?.call))
    }

    /// The call that is first for an agent who can be offered one.
    fn next_for(&self, agent: &AgentId) -> Option<(QueueId, Place)> {
        self.agent_marks.get(agent)?.standing?;
        let known = &self.config_of(agent)?.skills;
        let mut heads: BTreeMap<&QueueId, (u8, Place)> = BTreeMap::new();
        for seat in self.seats.get(agent)?.iter() {
            let Some(queue) = self.queues.get(&seat.queue) else { continue };
            let first = queue.first_for(agent, seat.ring, |needs| meets(known, needs));
            let Some(place) = first else { continue };
            let head = heads.entry(&seat.queue).or_insert((seat.member.preference, place));
            head.1 = head.1.min(place);
        }
        let ranked = heads.into_iter().filter_map(|(queue, (preference, place))| {
            let precedence = self.precedence_of(queue, Some(&place))?;
            Some(((Reverse(preference), precedence), queue, place))
        });
        let (_, queue, place) = ranked.min_by(|(a, ..), (b, ..)| a.cmp(b))?;
        Some((queue.clone(), place))
    }

    /// Offers a call to the best agents for it; false if there is none, or no such call.
    fn offer_best(&mut self, turn: &mut Turn, queue: &QueueId, place: Place) -> bool {
        let Some(Choice { agents, why }) = self.choose(queue, place, turn.index) else {
            return false;
        };
        for agent in &agents {
            self.offer(turn, place.call, agent, why.clone());
        }
        true
    }

    fn choose(&self, id: &QueueId, place: Place, index: Index) -> Option<Choice> {
        let queue = self.queues.get(id)?;
        let config = self.directory.queues.get(id)?;
        let call = self.calls.get(&place.call)?;
        let Phase::Queued { ring, wanted, offers, .. } = &call.phase else { return None };
        if !offers.is_empty() {
            return None;
        }
        if let Some(agent) = wanted {
            self.agent_marks.get(agent)?.standing?;
            return Some(Choice { agents: vec![agent.clone()], why: Why::LastAgent });
        }
        let needs = config.needs(*ring, &call.needs);
        let field = Field { pool: queue.pool(*ring)?, needs, center: self };
        if config.strategy == Strategy::RingAll {
            let agents = field.best_penalty().take(RING_ALL_MAX).map(|((_, agent), _)| agent);
            let agents: Vec<AgentId> = agents.cloned().collect();
            let (count, ready) = (count(agents.len()), count(field.pool.len()));
            return (count > 0)
                .then_some(Choice { agents, why: Why::RingAll { agents: count, ready } });
        }
        let lot = mix(call.id.0 ^ index.rotate_left(32) ^ call.salt);
        let (agent, why) = self.choose_one(queue, config, &field, lot)?;
        let why = if field.pool.len() == 1 && queue.unoffered() > 1 {
            // The one who is alone took what was there; there was nobody to be chosen among.
            Why::FirstWaiting { waiting: count(queue.unoffered()) }
        } else {
            why
        };
        Some(Choice { agents: vec![agent], why })
    }

    fn choose_one(
        &self,
        queue: &Queue,
        config: &QueueConfig,
        field: &Field<'_>,
        lot: u64,
    ) -> Option<(AgentId, Why)> {
        let ready = count(field.pool.len());
        let ((rank, agent), why) = match config.strategy {
            Strategy::RoundRobin => {
                let last = queue.memory.last_offered.as_ref();
                let turn = last.map(|last| {
                    let by = config.distribution.member(last).rank.into();
                    (Rank { penalty: 0, by, then: 0 }, last.clone())
                });
                let next = field.next_in_turn(turn.as_ref())?;
                (next, Why::RoundRobin { after: last.cloned(), ready })
            }
            Strategy::WeightedRandom => {
                let (found, total, lot) = field.by_lot(lot)?;
                (found, Why::WeightedRandom { lot, total, ready })
            }
            Strategy::LongestIdle
            | Strategy::RingAll
            | Strategy::FewestCalls
            | Strategy::LeastTalkTime
            | Strategy::Linear
            | Strategy::HighestLevel => {
                let (first, _) = field.candidates().next()?;
                (first, why(config.strategy, first.0, field))
            }
        };
        debug_assert!(field.pool.first().is_some_and(|first| first.0.penalty <= rank.penalty));
        Some((agent.clone(), why))
    }
}

/// Why the best-ranked agent is the best.
fn why(strategy: Strategy, rank: Rank, field: &Field<'_>) -> Why {
    let ready = count(field.pool.len());
    let next: Vec<_> = field.candidates().skip(1).take(NEXT_MAX).map(|(next, _)| next).collect();
    let is_plain = rank.penalty == 0 && next.iter().all(|(rank, _)| rank.penalty == 0);
    if matches!(strategy, Strategy::LongestIdle) && is_plain {
        let next = next.into_iter().map(|(rank, agent)| {
            let (agent, since) = (agent.clone(), Millis(rank.by));
            Candidate { agent, since }
        });
        return Why::LongestIdle { since: Millis(rank.by), ready, next: next.collect() };
    }
    let by = figure(strategy, rank);
    let next = next.into_iter().map(|(rank, agent)| Rival {
        agent: agent.clone(),
        by: figure(strategy, *rank),
        penalty: rank.penalty,
    });
    Why::Best { by, penalty: rank.penalty, ready, next: next.collect() }
}

/// What the strategy compares, from the rank that it gave.
fn figure(strategy: Strategy, rank: Rank) -> Figure {
    match strategy {
        Strategy::LongestIdle | Strategy::RingAll | Strategy::WeightedRandom => {
            Figure::IdleSince(Millis(rank.by))
        }
        Strategy::FewestCalls => Figure::Calls(rank.by),
        Strategy::LeastTalkTime => Figure::TalkMs(rank.by),
        Strategy::RoundRobin | Strategy::Linear => Figure::Rank(rank.by),
        Strategy::HighestLevel => Figure::Level(u64::from(u32::MAX) - rank.by),
    }
}

impl QueueConfig {
    /// What a caller in this ring asks for in person.
    pub(crate) fn needs<'a>(&self, ring: u8, of_caller: &'a Arc<Skills>) -> &'a Skills {
        static NONE: Skills = Skills::new();
        let ring = self.distribution.rings.get(usize::from(ring));
        if ring.is_some_and(|ring| ring.waives_caller) { &NONE } else { of_caller }
    }

    /// The line in which such a caller waits.
    pub(crate) fn line(&self, ring: u8, needs: &Arc<Skills>) -> Line {
        let waived = self.needs(ring, needs).is_empty();
        Line::Ring(ring, if waived { Arc::default() } else { Arc::clone(needs) })
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
