//! The events that this node applied lately, for clients that follow or resume.
//!
//! Whoever applies commands pushes their events here, in the order of the log. A follower reads
//! behind the index that it has; nothing is queued for it, so a slow one costs nothing and finds
//! out by itself that it is too late. All events of one index are read together or not at all:
//! an index is a point at which a client can resume.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use tandem_center::{AgentId, Audience, Event, Index, Millis};
use tokio::sync::Notify;

/// Events kept. Full: the oldest go, and a client that resumes from before them receives a
/// snapshot. At ten events a call this is the past of 6,500 calls.
pub const EVENTS_KEPT: usize = 65_536;

/// The bytes of kept events lie together in pieces of this size. As values of many small
/// allocations, among those of calls that end at once, they hold pages that are otherwise empty.
const PIECE_BYTES: usize = 64 * 1024;

/// One event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The index of the command that caused it.
    pub index: Index,
    /// The leader's clock then.
    pub at: Millis,
    /// What happened.
    pub event: Event,
}

/// Whose events are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that this agent sees.
    Agent(AgentId),
    /// All of them.
    Everything,
}

/// Why events behind an index cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotResume {
    /// They are not kept any more.
    TooOld,
    /// This node has not applied that far: it is behind, or the index is of another cluster.
    NotYet,
}

/// The latest events, bounded by [`EVENTS_KEPT`].
#[derive(Debug, Default)]
pub struct EventLog {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Everything up to this index may be forgotten.
    floor: Index,
    /// The last index applied, with or without events.
    head: Index,
    all: VecDeque<Kept>,
    of_agents: BTreeMap<AgentId, VecDeque<Kept>>,
    /// Where the bytes of the next events go.
    piece: BytesMut,
    followers_of_all: Vec<Weak<Follower>>,
    followers_of: BTreeMap<AgentId, Vec<Weak<Follower>>>,
}

/// An event, encoded.
#[derive(Clone, Debug)]
struct Kept {
    index: Index,
    at: Millis,
    /// Of whom it is; none if supervisors alone see it.
    agent: Option<AgentId>,
    event: Bytes,
}

/// One who waits for events.
#[derive(Debug)]
pub struct Follower {
    scope: Scope,
    news: Notify,
}

impl Follower {
    /// Ends when there are events that were not there when this was called last. May also end
    /// for nothing.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

impl EventLog {
    /// An empty log behind `index`: the state was loaded there.
    #[must_use]
    pub fn starting_at(index: Index) -> Self {
        let inner = Inner { floor: index, head: index, ..Inner::default() };
        Self { inner: Mutex::new(inner) }
    }

    /// The command at `index` was applied. Called for every index in order, also for those
    /// without events.
    pub fn push(&self, index: Index, at: Millis, events: Vec<Event>) {
        let mut inner = self.lock();
        inner.head = index;
        if events.is_empty() {
            return;
        }
        for event in &events {
            inner.keep(index, at, event);
        }
        inner.trim();
    }

    /// The state was replaced by one at `index`: what happened before cannot be told.
    pub fn restart_at(&self, index: Index) {
        let mut inner = self.lock();
        inner.forget_all(index);
        inner.head = index;
        let followers = inner.followers_of.values().flatten().chain(&inner.followers_of_all);
        for follower in followers.filter_map(Weak::upgrade) {
            follower.news.notify_one(); // Each finds out that it is too late.
        }
    }

    /// The last index that was applied.
    #[must_use]
    pub fn head(&self) -> Index {
        self.lock().head
    }

    /// Joins those who are told of news, until it is dropped.
    #[must_use]
    pub fn follow(&self, scope: Scope) -> Arc<Follower> {
        let follower = Arc::new(Follower { scope, news: Notify::new() });
        let mut inner = self.lock();
        inner.sweep();
        let followers = match &follower.scope {
            Scope::Agent(agent) => inner.followers_of.entry(agent.clone()).or_default(),
            Scope::Everything => &mut inner.followers_of_all,
        };
        followers.push(Arc::downgrade(&follower));
        follower
    }

    /// The events behind `after`, whole indices only, about `max` of them, and the index up to
    /// which they are complete.
    pub fn read(
        &self,
        scope: &Scope,
        after: Index,
        max: usize,
    ) -> Result<(Vec<Arc<Logged>>, Index), CannotResume> {
        let inner = self.lock();
        if after < inner.floor {
            return Err(CannotResume::TooOld);
        }
        if after > inner.head {
            return Err(CannotResume::NotYet);
        }
        let empty = VecDeque::new();
        let kept = match scope {
            Scope::Agent(agent) => inner.of_agents.get(agent).unwrap_or(&empty),
            Scope::Everything => &inner.all,
        };
        let first = kept.partition_point(|kept| kept.index <= after);
        let mut count = 0;
        let mut last = None;
        let wanted = kept.range(first..).take_while(|kept| {
            let fits = count < max || last.is_none_or(|last| last == kept.index);
            if fits {
                (count, last) = (count + 1, Some(kept.index));
            }
            fits
        });
        let wanted: Vec<Kept> = wanted.cloned().collect();
        let is_all = first + wanted.len() == kept.len();
        let complete = if is_all { inner.head } else { last.unwrap_or(inner.head) };
        drop(inner);
        let events = wanted.iter().map(Kept::decode).collect::<Result<_, _>>()?;
        Ok((events, complete))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that can panic runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn decode(&self) -> Result<Arc<Logged>, CannotResume> {
        match postcard::from_bytes(&self.event) {
            Ok(event) => Ok(Arc::new(Logged { index: self.index, at: self.at, event })),
            Err(error) => {
                tracing::error!(index = self.index, %error, "an event cannot be read");
                Err(CannotResume::TooOld)
            }
        }
    }
}

impl Inner {
    fn keep(&mut self, index: Index, at: Millis, event: &Event) {
        let event_bytes = match postcard::to_stdvec(event) {
            Ok(bytes) => self.lay_together(&bytes),
            Err(error) => {
                // Whoever follows receives a snapshot instead.
                tracing::error!(index, %error, "an event cannot be kept");
                return self.forget_all(index);
            }
        };
        let agent = match &event.audience {
            Audience::Agent(agent) => Some(self.known(agent)),
            Audience::Supervisors => None,
        };
        let kept = Kept { index, at, agent, event: event_bytes };
        if let Some(agent) = &kept.agent {
            self.of_agents.entry(agent.clone()).or_default().push_back(kept.clone());
        }
        self.all.push_back(kept);
        self.wake(&event.audience);
    }

    /// The id as it is held already, so that not each event holds its own.
    fn known(&self, agent: &AgentId) -> AgentId {
        self.of_agents.get_key_value(agent).map_or(agent, |(known, _)| known).clone()
    }

    fn lay_together(&mut self, bytes: &[u8]) -> Bytes {
        if self.piece.capacity() < bytes.len() {
            self.piece = BytesMut::with_capacity(PIECE_BYTES.max(bytes.len()));
        }
        self.piece.extend_from_slice(bytes);
        self.piece.split().freeze()
    }

    fn forget_all(&mut self, index: Index) {
        self.all.clear();
        self.of_agents.clear();
        self.floor = index;
    }

    fn wake(&self, audience: &Audience) {
        let of_agent = match audience {
            Audience::Agent(agent) => self.followers_of.get(agent),
            Audience::Supervisors => None,
        };
        let followers = of_agent.into_iter().flatten().chain(&self.followers_of_all);
        for follower in followers.filter_map(Weak::upgrade) {
            follower.news.notify_one();
        }
    }

    /// Forgets followers that are gone. Joining is rare, so this is when it is done.
    fn sweep(&mut self) {
        let is_there = |follower: &Weak<Follower>| follower.strong_count() > 0;
        self.followers_of_all.retain(is_there);
        self.followers_of.retain(|_, followers| {
            followers.retain(is_there);
            !followers.is_empty()
        });
    }

    /// Forgets the oldest indices, whole ones, down to the bound.
    fn trim(&mut self) {
        while self.all.len() > EVENTS_KEPT {
            let Some(oldest) = self.all.pop_front() else { return };
            self.floor = oldest.index;
            self.forget(&oldest);
            while self.all.front().is_some_and(|next| next.index == oldest.index) {
                let Some(next) = self.all.pop_front() else { return };
                self.forget(&next);
            }
        }
    }

    fn forget(&mut self, kept: &Kept) {
        let Some(agent) = &kept.agent else { return };
        if let Some(events) = self.of_agents.get_mut(agent) {
            events.pop_front();
            if events.is_empty() {
                self.of_agents.remove(agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_center::{Happened, NodeId};

    use super::*;

    fn agent(name: &str) -> AgentId {
        AgentId::parse(name).unwrap()
    }

    fn event_for(name: Option<&str>) -> Event {
        let audience = match name {
            Some(name) => Audience::Agent(agent(name)),
            None => Audience::Supervisors,
        };
        Event { audience, what: Happened::NodeChanged { node: NodeId(1), up: true } }
    }

    fn indices(log: &EventLog, scope: &Scope, after: Index, max: usize) -> (Vec<Index>, Index) {
        let (events, complete) = log.read(scope, after, max).unwrap();
        (events.iter().map(|event| event.index).collect(), complete)
    }

    #[test]
    fn an_agent_reads_the_own_events_and_a_supervisor_all_of_them() {
        let log = EventLog::starting_at(10);
        log.push(11, Millis(1), vec![event_for(Some("ana")), event_for(None)]);
        log.push(12, Millis(2), vec![event_for(Some("ben"))]);
        log.push(13, Millis(3), vec![]);
        assert_eq!(indices(&log, &Scope::Agent(agent("ana")), 10, 9), (vec![11], 13));
        assert_eq!(indices(&log, &Scope::Agent(agent("cy")), 10, 9), (vec![], 13));
        assert_eq!(indices(&log, &Scope::Everything, 10, 9), (vec![11, 11, 12], 13));
        assert_eq!(indices(&log, &Scope::Everything, 11, 9), (vec![12], 13));
    }

    #[test]
    fn an_event_is_read_as_it_was_told_whichever_piece_it_lies_in() {
        let log = EventLog::default();
        let event = |number: u64| {
            let name = format!("agent{}", number % 7);
            let what = Happened::NodeChanged { node: NodeId(number), up: number.is_multiple_of(2) };
            Event { audience: Audience::Agent(agent(&name)), what }
        };
        let last = 20_000; // Of about ten bytes: several pieces.
        for index in 1..=last {
            log.push(index, Millis(index), vec![event(index)]);
        }
        let (events, _) = log.read(&Scope::Everything, 0, usize::MAX).unwrap();
        let told = |index| Arc::new(Logged { index, at: Millis(index), event: event(index) });
        assert_eq!(events, (1..=last).map(told).collect::<Vec<_>>());
        let (events, _) = log.read(&Scope::Agent(agent("agent3")), 0, 2).unwrap();
        assert_eq!(events, [told(3), told(10)]);
    }

    #[test]
    fn the_events_of_one_index_are_not_parted() {
        let log = EventLog::default();
        log.push(1, Millis(1), vec![event_for(None), event_for(None), event_for(None)]);
        log.push(2, Millis(1), vec![event_for(None)]);
        assert_eq!(indices(&log, &Scope::Everything, 0, 1), (vec![1, 1, 1], 1));
        assert_eq!(indices(&log, &Scope::Everything, 1, 1), (vec![2], 2));
    }

    #[test]
    fn who_is_too_late_or_too_early_is_told() {
        let log = EventLog::starting_at(5);
        assert_eq!(log.read(&Scope::Everything, 4, 1), Err(CannotResume::TooOld));
        assert_eq!(log.read(&Scope::Everything, 6, 1), Err(CannotResume::NotYet));
        let last = 5 + EVENTS_KEPT as u64 + 1;
        for index in 6..=last {
            log.push(index, Millis(1), vec![event_for(Some("ana"))]);
        }
        assert_eq!(log.read(&Scope::Everything, 5, 1), Err(CannotResume::TooOld));
        let ana = Scope::Agent(agent("ana"));
        let (events, complete) = log.read(&ana, 6, usize::MAX).unwrap();
        assert_eq!((events.len(), events[0].index, complete), (EVENTS_KEPT, 7, last));
        log.restart_at(last + 100);
        assert_eq!(log.read(&ana, last, 1), Err(CannotResume::TooOld));
    }

    #[test]
    fn a_follower_is_woken_by_what_concerns_it_only() {
        let log = EventLog::default();
        let ana = log.follow(Scope::Agent(agent("ana")));
        let all = log.follow(Scope::Everything);
        let ready = |follower: &Follower| {
            let mut news = std::pin::pin!(follower.news());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            news.as_mut().poll(&mut context).is_ready()
        };
        log.push(1, Millis(1), vec![event_for(Some("ben"))]);
        assert!(!ready(&ana));
        assert!(ready(&all));
        log.push(2, Millis(1), vec![event_for(Some("ana"))]);
        assert!(ready(&ana));
        drop(ana);
        log.push(3, Millis(1), vec![event_for(Some("ana"))]);
        assert!(ready(&all));
    }
}
