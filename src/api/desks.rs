//! Which connection of this node serves which session.
//!
//! A session has one connection at a time. A client that connects again while its old connection
//! is not known to be dead takes the session over here, and the old connection must neither go
//! on nor report the session lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tandem_center::SessionId;
use tokio::sync::Notify;

/// The sessions that connections of this node serve. Bounded by the places for connections.
#[derive(Debug, Default)]
pub(super) struct Desks {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seats: BTreeMap<SessionId, (u64, Arc<Notify>)>,
    taken: u64,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) session: SessionId,
    number: u64,
    displaced: Arc<Notify>,
}

impl Seat {
    /// Ends when another connection has taken the session over.
    pub(super) async fn displaced(&self) {
        self.displaced.notified().await;
    }
}

impl Desks {
    /// Takes the session, from another connection if one has it.
    pub(super) fn take(&self, session: SessionId) -> Seat {
        let mut inner = self.lock();
        inner.taken += 1;
        let seat = Seat { session, number: inner.taken, displaced: Arc::default() };
        let before = inner.seats.insert(session, (seat.number, seat.displaced.clone()));
        if let Some((_, displaced)) = before {
            displaced.notify_one();
        }
        seat
    }

    /// Gives the session up. Answers whether it was still this connection's.
    pub(super) fn leave(&self, seat: &Seat) -> bool {
        let mut inner = self.lock();
        let is_own =
            inner.seats.get(&seat.session).is_some_and(|(number, _)| *number == seat.number);
        if is_own {
            inner.seats.remove(&seat.session);
        }
        is_own
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that can panic runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_taken_over_and_only_its_last_connection_gives_it_up() {
        let desks = Desks::default();
        let old = desks.take(SessionId(7));
        let new = desks.take(SessionId(7));
        old.displaced().await;
        assert!(!desks.leave(&old));
        assert!(desks.leave(&new));
        assert!(!desks.leave(&new));
    }
}
