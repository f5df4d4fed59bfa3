//! Which actor serves which call, by the call's id and by the SIP Call-ID of each of its legs.
//!
//! Owns two maps that every transport task reads and every call actor writes. Owns no state of a
//! call: after the death of an actor its successor registers anew. Lookups take one short lock of
//! a shard, so that transport and calls do not wait for each other.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ractor::ActorRef;
use tandem_center::CallId;

use super::call;

/// Shards of each map; a power of two well above the cores of a machine.
const SHARDS: usize = 32;

/// Timer J: how long a BYE over UDP may be repeated (64·T1, RFC 3261 §17.2.2).
const BYE_REPEATED_WITHIN: Duration = Duration::from_secs(32);
/// Answers kept at most: 32 s of 2,000 calls/s. Past it the oldest goes, and a repetition of its
/// BYE gets a 481, which ends the far leg as well.
const LEFT_MAX: usize = 65_536;
/// Places for answers that are kept whatever happens, so that a quiet node does not move them about.
const LEFT_PLACES_MIN: usize = 1_024;

/// The routing table of one node.
#[derive(Debug)]
pub struct Router {
    hasher: RandomState,
    dialogs: [Mutex<HashMap<Box<[u8]>, CallId>>; SHARDS],
    left: Mutex<Left>,
    calls: [Mutex<HashMap<CallId, Served>>; SHARDS],
    /// Of `calls`, those that have ended.
    ended: AtomicUsize,
}

/// A call that has an actor.
#[derive(Debug)]
struct Served {
    actor: ActorRef<call::Message>,
    /// Its end is committed; the actor only repeats last responses.
    has_ended: bool,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            dialogs: std::array::from_fn(|_| Mutex::default()),
            calls: std::array::from_fn(|_| Mutex::default()),
            left: Mutex::default(),
            ended: AtomicUsize::new(0),
        }
    }
}

impl Router {
    /// The actor that owns the dialog with this SIP Call-ID.
    pub fn by_sip_call_id(&self, sip_call_id: &[u8]) -> Option<ActorRef<call::Message>> {
        let call = *self.dialogs(sip_call_id).get(sip_call_id)?;
        self.call(call)
    }

    /// The actor of a call.
    pub fn call(&self, call: CallId) -> Option<ActorRef<call::Message>> {
        self.calls_of(call).get(&call).map(|served| served.actor.clone())
    }

    /// Messages with this SIP Call-ID go to `call` from now on.
    pub fn bind(&self, sip_call_id: &[u8], call: CallId) {
        self.dialogs(sip_call_id).insert(sip_call_id.into(), call);
    }

    /// The leg with this SIP Call-ID is gone. A BYE that comes again gets `last_answer` again.
    pub fn leave(&self, sip_call_id: &[u8], last_answer: Option<Vec<u8>>) {
        self.dialogs(sip_call_id).remove(sip_call_id);
        if let Some(answer) = last_answer {
            locked(&self.left).keep(Instant::now(), sip_call_id, answer);
        }
    }

    /// What the last BYE with this SIP Call-ID was answered with.
    pub fn last_answer(&self, sip_call_id: &[u8]) -> Option<Vec<u8>> {
        locked(&self.left).answers.get(sip_call_id).map(|answer| answer.to_vec())
    }

    /// Gives back what answers take that nobody can ask for any more. To be called now and then:
    /// after a busy hour no BYE may come that would do it.
    pub fn forget_answers(&self) {
        locked(&self.left).forget(Instant::now());
    }

    /// The actor that `start` starts serves `call` from now on. It cannot look itself up, end or
    /// release before it is here, however soon it runs.
    ///
    /// # Errors
    /// What `start` says.
    pub fn serve<E>(
        &self,
        call: CallId,
        start: impl FnOnce() -> Result<ActorRef<call::Message>, E>,
    ) -> Result<(), E> {
        let mut calls = self.calls_of(call);
        let before = calls.insert(call, Served { actor: start()?, has_ended: false });
        self.uncount(before);
        Ok(())
    }

    /// The end of `call` is committed, or it was refused before it was a call: it takes no place
    /// from others any more. Its actor stays until nothing of it can appear on the wire.
    pub fn end(&self, call: CallId) {
        if let Some(served) = self.calls_of(call).get_mut(&call)
            && !std::mem::replace(&mut served.has_ended, true)
        {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nobody serves `call` any more, unless another actor than `actor` has taken it over.
    pub fn release(&self, call: CallId, actor: ractor::ActorId) {
        let mut calls = self.calls_of(call);
        if calls.get(&call).is_some_and(|served| served.actor.get_id() == actor) {
            self.uncount(calls.remove(&call));
        }
    }

    fn uncount(&self, served: Option<Served>) {
        if served.is_some_and(|served| served.has_ended) {
            self.ended.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The call that this actor serves: asked when an actor has died.
    pub fn call_of_actor(&self, actor: ractor::ActorId) -> Option<CallId> {
        self.calls.iter().find_map(|shard| {
            let shard = locked(shard);
            shard.iter().find(|(_, served)| served.actor.get_id() == actor).map(|(call, _)| *call)
        })
    }

    /// Calls that have an actor on this node.
    pub fn calls_active(&self) -> usize {
        self.calls.iter().map(|shard| locked(shard).len()).sum()
    }

    /// Calls whose end is committed and whose actor still waits: for an ACK that does not come,
    /// or for an answer to our BYE.
    pub fn calls_ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// SIP Call-IDs that lead to a call.
    pub fn dialogs_bound(&self) -> usize {
        self.dialogs.iter().map(|shard| locked(shard).len()).sum()
    }

    /// The ids of all calls that have an actor on this node.
    pub fn call_ids(&self) -> Vec<CallId> {
        self.calls
            .iter()
            .flat_map(|shard| locked(shard).keys().copied().collect::<Vec<_>>())
            .collect()
    }

    fn dialogs(&self, sip_call_id: &[u8]) -> MutexGuard<'_, HashMap<Box<[u8]>, CallId>> {
        locked(&self.dialogs[self.hasher.hash_one(sip_call_id) as usize % SHARDS])
    }

    fn calls_of(&self, call: CallId) -> MutexGuard<'_, HashMap<CallId, Served>> {
        locked(&self.calls[self.hasher.hash_one(call) as usize % SHARDS])
    }
}

/// Answers to the BYEs of legs that are gone, kept for as long as a BYE may be repeated. This is
/// what remains of a call instead of its actor.
#[derive(Debug, Default)]
struct Left {
    answers: HashMap<Arc<[u8]>, Box<[u8]>>,
    in_order: VecDeque<(Instant, Arc<[u8]>)>,
}

impl Left {
    fn keep(&mut self, now: Instant, sip_call_id: &[u8], answer: Vec<u8>) {
        if self.in_order.len() >= LEFT_MAX {
            self.forget_oldest();
        }
        self.forget(now);
        let sip_call_id: Arc<[u8]> = sip_call_id.into();
        // A box: what grew while it was written has up to twice the room that it needs.
        self.answers.insert(Arc::clone(&sip_call_id), answer.into());
        self.in_order.push_back((now, sip_call_id));
    }

    /// Forgets what is older than a repetition can be, and gives back the room of a peak once
    /// less than a quarter of it is used.
    fn forget(&mut self, now: Instant) {
        while let Some((since, _)) = self.in_order.front()
            && now.duration_since(*since) > BYE_REPEATED_WITHIN
        {
            self.forget_oldest();
        }
        let places = (2 * self.in_order.len()).max(LEFT_PLACES_MIN);
        if self.in_order.capacity() > 2 * places {
            self.in_order.shrink_to(places);
            self.answers.shrink_to(places);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.in_order.pop_front() {
            self.answers.remove(&oldest);
        }
    }
}

/// A shard is valid after a panic of another holder: each change is one map operation.
fn locked<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_as_long_as_its_bye_may_be_repeated_and_its_room_no_longer() {
        let (mut left, began) = (Left::default(), Instant::now());
        for number in 0..20_000_u32 {
            left.keep(began, &number.to_be_bytes(), b"SIP/2.0 200 OK".to_vec());
        }
        left.forget(began + BYE_REPEATED_WITHIN);
        assert_eq!(left.answers.get(&7_u32.to_be_bytes()[..]), Some(&b"SIP/2.0 200 OK"[..].into()));
        left.forget(began + BYE_REPEATED_WITHIN + Duration::from_millis(1));
        assert_eq!((left.answers.len(), left.in_order.len()), (0, 0));
        assert!(left.in_order.capacity() <= 2 * LEFT_PLACES_MIN, "{}", left.in_order.capacity());
        assert!(left.answers.capacity() <= 2 * LEFT_PLACES_MIN, "{}", left.answers.capacity());
    }

    #[test]
    fn past_the_most_that_is_kept_the_oldest_answer_goes() {
        let (mut left, began) = (Left::default(), Instant::now());
        for number in 0..=LEFT_MAX as u32 {
            left.keep(began, &number.to_be_bytes(), Vec::new());
        }
        assert_eq!(left.answers.len(), LEFT_MAX);
        assert!(!left.answers.contains_key(&0_u32.to_be_bytes()[..]));
    }
}
