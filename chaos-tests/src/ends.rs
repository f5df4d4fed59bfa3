//! The far ends: callers and phones. They live outside of the nodes and survive them.
//!
//! Owns what a person with a telephone does: wait, give up, answer, talk, hang up. Speaks no SIP:
//! an order is what a node sends on a leg, a report what the far end sends back, and both may be
//! lost. What matters is repeated until it is answered, as SIP's transactions do (RFC 3261 §17),
//! and given up after 64·T1.

use std::sync::Arc;

use tandem_center::{CallId, HomeId, LegNumber};

use crate::random::Random;
use crate::{Micros, SECOND};

/// Names a far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EndId {
    /// A person who calls in.
    Caller(u32),
    /// A phone that was invited on this leg.
    Phone(CallId, LegNumber),
}

/// Where a far end sends what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// A service address, wherever that is.
    Home(HomeId),
    /// A node's own address. The far end is told when its call moves.
    Node(u64),
}

/// What a far end is doing, and says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    /// A caller's INVITE that got no response yet.
    Invites,
    /// The caller waits for the answer.
    Waits,
    /// The phone rings.
    Rings,
    /// The phone was picked up: its 200 is not acknowledged yet.
    Answers,
    /// In a call.
    Talks,
    /// The phone refused.
    Refuses(u16),
    /// The caller gives up before the answer.
    Cancels,
    /// It sent a BYE that is not answered yet.
    HangsUp,
    /// Nothing is left of it.
    Gone,
}

/// What a node sends on a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// 100: the INVITE arrived.
    Proceed,
    /// 180.
    Ring,
    /// 200.
    Answer,
    /// A final refusal.
    Refuse,
    /// INVITE; for phones.
    Invite { target: Arc<str>, auto_answer: bool },
    /// ACK of a phone's 200; later on the refresh of the session (RFC 4028).
    Confirm,
    /// CANCEL or BYE, whichever fits.
    End,
    /// The answer to a BYE, a CANCEL or a refusal.
    Release,
}

/// Between two sendings of what is not answered, and how often: 32 s in all, like 64·T1.
const REPEAT_EVERY: Micros = SECOND / 2;
const REPEATS_MAX: u32 = 64;

/// How a person behaves.
#[derive(Clone, Debug)]
pub(crate) struct Temper {
    /// How long until it answers (a phone), or gives up (a caller). None: never.
    pub(crate) patience: Option<Micros>,
    /// What a phone answers after its patience; None: it picks up.
    pub(crate) refuses: Option<u16>,
    /// How long it talks before it hangs up; None: it leaves that to the other.
    pub(crate) talks: Option<Micros>,
}

/// One far end.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) id: EndId,
    /// The address it speaks with.
    pub(crate) at: Where,
    /// The call that its dialog belongs to; a caller learns it with the first response.
    pub(crate) call: Option<CallId>,
    pub(crate) leg: LegNumber,
    pub(crate) called: Arc<str>,
    pub(crate) far: Far,
    pub(crate) temper: Temper,
    /// It was in a call at some time.
    pub(crate) was_connected: bool,
    /// It was in a call from then, until then.
    pub(crate) talked_from: Option<Micros>,
    pub(crate) talked_until: Option<Micros>,
    /// Something on its way from or to it was lost.
    pub(crate) lost_some: bool,
    /// When it does something of its own accord.
    due: Option<Micros>,
    repeat_at: Micros,
    repeats: u32,
    /// The wake-up that counts.
    pub(crate) wake_at: Option<Micros>,
}

impl End {
    pub(crate) fn caller(now: Micros, id: EndId, at: Where, called: &str, temper: Temper) -> Self {
        let due = temper.patience.map(|patience| now + patience);
        Self {
            id,
            at,
            call: None,
            leg: LegNumber::FIRST,
            called: called.into(),
            far: Far::Invites,
            temper,
            was_connected: false,
            talked_from: None,
            talked_until: None,
            lost_some: false,
            due,
            repeat_at: now,
            repeats: 0,
            wake_at: None,
        }
    }

    pub(crate) fn phone(now: Micros, of: (CallId, LegNumber), at: Where, temper: Temper) -> Self {
        let id = EndId::Phone(of.0, of.1);
        let mut end = Self::caller(now, id, at, "", temper);
        (end.call, end.leg, end.far) = (Some(of.0), of.1, Far::Rings);
        end
    }

    /// A phone that was given up before it was invited.
    pub(crate) fn never(now: Micros, of: (CallId, LegNumber), at: Where) -> Self {
        Self { far: Far::Gone, ..Self::phone(now, of, at, Temper::patient()) }
    }

    /// What came from the node, for this call. The answer is always the present state.
    /// No call: the node knows of none, and answers without a state.
    pub(crate) fn obey(&mut self, now: Micros, call: Option<CallId>, order: &Order) -> Far {
        if let Some(call) = call
            && *self.call.get_or_insert(call) != call
        {
            // Another attempt of the same INVITE became a call of its own: it is not ours.
            return Far::Gone;
        }
        let is_caller = matches!(self.id, EndId::Caller(_));
        let next = match (order, self.far) {
            (Order::Proceed | Order::Ring, Far::Invites) => Far::Waits,
            (Order::Answer, Far::Invites | Far::Waits) => Far::Talks,
            (Order::Confirm, Far::Answers) => Far::Talks,
            // The 200 crossed the CANCEL: there is a dialog, and it is ended.
            (Order::Answer, Far::Cancels) => Far::HangsUp,
            (Order::Refuse, Far::Invites | Far::Waits | Far::Cancels) => Far::Gone,
            (Order::Release, Far::Cancels | Far::HangsUp | Far::Refuses(_)) => Far::Gone,
            (Order::End, far) if !is_caller || far != Far::Invites => Far::Gone,
            (_, far) => far,
        };
        if next != self.far {
            self.become_(now, next);
        }
        self.far
    }

    fn become_(&mut self, now: Micros, far: Far) {
        if self.far == Far::Talks {
            self.talked_until = Some(now);
        }
        self.far = far;
        (self.repeats, self.repeat_at) = (0, now);
        if far == Far::Talks {
            self.was_connected = true;
            self.talked_from = Some(now);
            self.due = self.temper.talks.map(|talks| now + talks);
        } else if !matches!(far, Far::Invites | Far::Waits | Far::Rings) {
            self.due = None;
        }
    }

    /// Hangs up, or gives up.
    pub(crate) fn leave(&mut self, now: Micros) {
        match self.far {
            Far::Invites | Far::Waits => self.become_(now, Far::Cancels),
            Far::Talks | Far::Answers => self.become_(now, Far::HangsUp),
            Far::Rings => self.become_(now, Far::Refuses(486)),
            Far::Refuses(_) | Far::Cancels | Far::HangsUp | Far::Gone => (),
        }
    }

    /// Time has passed. The report to send, if there is one.
    pub(crate) fn wake(&mut self, now: Micros) -> Option<Far> {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            match (self.far, self.temper.refuses) {
                (Far::Rings, Some(status)) => self.become_(now, Far::Refuses(status)),
                (Far::Rings, None) => self.become_(now, Far::Answers),
                (_, _) => self.leave(now),
            }
        }
        if !self.insists() || self.repeat_at > now {
            return None;
        }
        self.repeats += 1;
        self.repeat_at = now + REPEAT_EVERY;
        if self.repeats > REPEATS_MAX {
            self.become_(now, Far::Gone);
        }
        Some(self.far)
    }

    /// Whether it repeats what it says until that is answered.
    fn insists(&self) -> bool {
        match self.far {
            Far::Invites | Far::Answers | Far::Refuses(_) | Far::Cancels | Far::HangsUp => true,
            Far::Waits | Far::Rings | Far::Talks | Far::Gone => false,
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Micros> {
        let repeat = self.insists().then_some(self.repeat_at);
        match (repeat, self.due) {
            (Some(repeat), Some(due)) => Some(repeat.min(due)),
            (repeat, due) => repeat.or(due),
        }
    }
}

impl Temper {
    /// One who waits for ever and lets the other hang up.
    pub(crate) fn patient() -> Self {
        Self { patience: None, refuses: None, talks: None }
    }

    pub(crate) fn of_caller(random: &mut Random) -> Self {
        let patience = Some(random.between(1, 4) * random.about(10 * SECOND) + SECOND / 5);
        let talks = random.percent(70).then(|| random.about(8 * SECOND));
        Self { patience, refuses: None, talks }
    }

    pub(crate) fn of_phone(random: &mut Random, auto_answer: bool) -> Self {
        let talks = random.percent(60).then(|| random.about(8 * SECOND));
        let after = if auto_answer { SECOND / 2 } else { 6 * SECOND };
        let (patience, refuses) = match random.below(20) {
            0 => (None, None),
            1 => (Some(random.about(after)), Some(486)),
            2 => (Some(random.about(after)), Some(480)),
            3 => (Some(random.about(SECOND)), Some(503)),
            _ => (Some(random.about(after)), None),
        };
        Self { patience, refuses, talks }
    }
}
