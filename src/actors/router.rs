//! Which actor serves which call, by the call's id and by the SIP Call-ID of each of its legs.
//!
//! Owns two maps that every transport task reads and every call actor writes. Owns no state of a
//! call: after the death of an actor its successor registers anew. Lookups take one short lock of
//! a shard, so that transport and calls do not wait for each other.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ractor::ActorRef;
use tandem_center::CallId;
use tandem_sip::transaction::GIVE_UP_MS;
use tandem_sip::wire::{Peer, Request};

use super::answered::{Answer, Answered, Asked};
use super::call;

/// Shards of each map; a power of two well above the cores of a machine.
const SHARDS: usize = 32;

/// Answers kept at most: 32 s of 2,000 calls/s. Past it the oldest goes, and a repetition of its
/// BYE gets a 481, which ends the far leg as well.
const LEFT_MAX: usize = 65_536;

/// Refused arrivals that are remembered: more than can wait in the three seconds until they are.
/// Past it the oldest is forgotten, and if it is committed, answered to nobody and ended for that.
const REFUSED_MAX: usize = 4_096;

/// Callers of moved calls that are remembered: a quarter of a second of 2,000 ends a second. Past it the
/// oldest goes, and gets 481.
const HUNG_UP_MAX: usize = 512;

/// How long a BYE is repeated (RFC 3261 §17.1.2.2).
pub const BYE_REPEATED: Duration = Duration::from_millis(GIVE_UP_MS);

/// The routing table of one node.
#[derive(Debug)]
pub struct Router {
    hasher: RandomState,
    dialogs: [Mutex<HashMap<Box<[u8]>, CallId>>; SHARDS],
    /// The BYEs of legs that are gone: what remains of a call instead of its actor.
    left: Mutex<Answered>,
    /// SIP Call-IDs of calls that came from another node when their callers had hung up: that node
    /// may not have confirmed it any more. The oldest first.
    hung_up: Mutex<VecDeque<(Instant, Box<[u8]>)>>,
    calls: [Mutex<HashMap<CallId, Served>>; SHARDS],
    /// Of `calls`, those that have ended.
    ended: AtomicUsize,
    /// Arrivals that were refused while nobody knew whether they would be committed.
    refused: Mutex<VecDeque<CallId>>,
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
            hung_up: Mutex::default(),
            left: Mutex::new(Answered::with_room(LEFT_MAX)),
            ended: AtomicUsize::new(0),
            refused: Mutex::default(),
        }
    }
}

impl Router {
    /// The actor that owns the dialog with this SIP Call-ID.
    pub fn by_sip_call_id(&self, sip_call_id: &[u8]) -> Option<ActorRef<call::Message>> {
        self.call(self.bound(sip_call_id)?)
    }

    /// The call that messages with this SIP Call-ID go to, whether it has an actor or not.
    pub fn bound(&self, sip_call_id: &[u8]) -> Option<CallId> {
        self.dialogs(sip_call_id).get(sip_call_id).copied()
    }

    /// The actor of a call.
    pub fn call(&self, call: CallId) -> Option<ActorRef<call::Message>> {
        self.calls_of(call).get(&call).map(|served| served.actor.clone())
    }

    /// All calls that have an actor.
    pub fn served(&self) -> Vec<(CallId, ActorRef<call::Message>)> {
        let of = |shard: &Mutex<HashMap<CallId, Served>>| {
            let calls = locked(shard);
            calls.iter().map(|(id, served)| (*id, served.actor.clone())).collect::<Vec<_>>()
        };
        self.calls.iter().flat_map(of).collect()
    }

    /// Messages with this SIP Call-ID go to `call` from now on.
    pub fn bind(&self, sip_call_id: &[u8], call: CallId) {
        self.dialogs(sip_call_id).insert(sip_call_id.into(), call);
    }

    /// The leg of `call` with this SIP Call-ID is gone. It may be another call's by now: the leg went
    /// there, or a woken process had read the INVITE of a call that then came here. The BYE that ended
    /// it gets its answer again if it comes again; another BYE does not.
    pub fn leave(&self, sip_call_id: &[u8], call: CallId, bye: Option<(Asked, Answer)>) {
        let mut dialogs = self.dialogs(sip_call_id);
        if dialogs.get(sip_call_id) == Some(&call) {
            dialogs.remove(sip_call_id);
        }
        drop(dialogs);
        if let Some((bye, answer)) = bye {
            locked(&self.left).keep(Instant::now(), bye, answer);
        }
    }

    /// What this very BYE was answered with, and where to.
    pub fn last_answer(&self, bye: &Request) -> Option<(Peer, Vec<u8>)> {
        match locked(&self.left).get(Instant::now(), &Asked::of(bye))? {
            Answer::Sent(peer, bytes) => Some((*peer, bytes.clone())),
            Answer::Pending => None,
        }
    }

    /// The caller with this SIP Call-ID had hung up when the call came here.
    pub fn has_hung_up(&self, sip_call_id: &[u8]) {
        let mut hung_up = locked(&self.hung_up);
        if hung_up.len() >= HUNG_UP_MAX {
            hung_up.pop_front();
        }
        hung_up.push_back((Instant::now(), sip_call_id.into()));
    }

    /// Whether a BYE says once more what is known already.
    pub fn is_known_to_hang_up(&self, bye: &Request) -> bool {
        let mut hung_up = locked(&self.hung_up);
        while hung_up.front().is_some_and(|(since, _)| since.elapsed() > BYE_REPEATED) {
            hung_up.pop_front();
        }
        hung_up.iter().any(|(_, known)| **known == *bye.call_id().as_bytes())
    }

    /// Gives back what answers take that nobody can ask for any more. To be called now and then:
    /// after a busy hour no BYE may come that would do it.
    pub fn forget_answers(&self) {
        locked(&self.left).forget_old(Instant::now());
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

    /// This arrival was refused. If it is committed after all, nobody waits for an answer any more.
    pub fn refuse(&self, call: CallId) {
        let mut refused = locked(&self.refused);
        if refused.len() == REFUSED_MAX {
            refused.pop_front();
        }
        refused.push_back(call);
    }

    /// Whether it was.
    pub fn was_refused(&self, call: CallId) -> bool {
        locked(&self.refused).contains(&call)
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

/// A shard is valid after a panic of another holder: each change is one map operation.
fn locked<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
