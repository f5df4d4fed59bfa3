//! What serves a call on its owner's node: the stand-in for the node's call actor.
//!
//! Turns what far ends report into commands, and after each commit compares what the value wants
//! with what is and closes the difference, by the same rules as `src/actors/call/`. Decides
//! nothing, so it is lost with its node and made again from the value.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_center::call::Act;
use tandem_center::{Call, CallId, Cause, Command, LegNumber, LegState, LegWant, Role, Wire};

use crate::ends::{EndId, Far, Order};

/// What a server wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Send this on the leg.
    Send(EndId, Order),
    /// Propose this, again and again until its fate is known.
    Propose(Command),
    /// Perform this action of the flow and report its end.
    Perform(Act),
    /// Nothing of the call is left on the wire: forget the server, and the call after a commit.
    Over { cleared: bool },
}

/// One call's server.
#[derive(Debug)]
pub(crate) struct Server {
    id: CallId,
    call: Option<Arc<Call>>,
    caller: Option<EndId>,
    legs: BTreeMap<LegNumber, LiveLeg>,
    performed: Option<u32>,
    /// The cluster never knew of the call.
    refused: bool,
    /// Its call is in the log, or was.
    began: bool,
    over: bool,
    pub(crate) deeds: Vec<Deed>,
}

#[derive(Debug)]
struct LiveLeg {
    end: EndId,
    far: Option<Far>,
    /// What was reported of its end; again as long as the value has the leg alive.
    farewell: Option<Command>,
    /// Its answer is on its way through the log.
    answer_proposed: bool,
}

impl LiveLeg {
    fn new(end: EndId, far: Option<Far>) -> Self {
        Self { end, far, farewell: None, answer_proposed: false }
    }

    fn is_gone(&self) -> bool {
        self.far == Some(Far::Gone)
    }
}

impl Server {
    /// For an INVITE; `arrived` becomes the call.
    pub(crate) fn arriving(id: CallId, caller: EndId, arrived: Command) -> Self {
        let mut server = Self::new(id);
        server.caller = Some(caller);
        server.legs.insert(LegNumber::FIRST, LiveLeg::new(caller, Some(Far::Invites)));
        server.deeds.push(Deed::Propose(arrived));
        server
    }

    /// For a committed value.
    pub(crate) fn of(call: &Arc<Call>) -> Self {
        let mut server = Self::new(call.id);
        for (&number, leg) in &call.legs {
            let end = end_of(call, number);
            let known = !leg.wire.0.is_empty() || !leg.state.is_alive();
            if known {
                server.legs.insert(number, LiveLeg::new(end, None));
            }
        }
        server.changed(Arc::clone(call));
        server
    }

    fn new(id: CallId) -> Self {
        Self {
            id,
            call: None,
            caller: None,
            legs: BTreeMap::new(),
            performed: None,
            refused: false,
            began: false,
            over: false,
            deeds: Vec::new(),
        }
    }

    /// The cluster never knew of its call.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Its call is not committed yet.
    pub(crate) fn is_arriving(&self) -> bool {
        self.call.is_none() && !self.began
    }

    /// Since which epoch it serves its call.
    pub(crate) fn epoch(&self) -> u32 {
        self.call.as_ref().map_or(0, |call| call.epoch)
    }

    pub(crate) fn caller(&self) -> Option<EndId> {
        self.caller
    }

    /// A commit changed the call.
    pub(crate) fn changed(&mut self, call: Arc<Call>) {
        for (number, leg) in &self.legs {
            let alive = call.legs.get(number).is_some_and(|leg| leg.state.is_alive());
            if let Some(report) = leg.farewell.as_ref().filter(|_| alive) {
                self.deeds.push(Deed::Propose(report.clone()));
            }
        }
        self.caller = Some(end_of(&call, LegNumber::FIRST));
        self.call = Some(call);
        self.reconcile(false);
        if let Some(act) = self.call.as_ref().and_then(|call| call.act())
            && self.performed != Some(act.seq)
        {
            self.performed = Some(act.seq);
            self.deeds.push(Deed::Perform(act.clone()));
        }
        self.finish();
    }

    /// Time has passed: whatever is not answered is sent again, and sessions are refreshed.
    pub(crate) fn repeat(&mut self) {
        if self.refused {
            self.send(LegNumber::FIRST, Order::Refuse);
        }
        self.reconcile(true);
        self.finish();
    }

    fn reconcile(&mut self, again: bool) {
        let Some(call) = self.call.clone() else { return };
        let wants = call.wants();
        for (&number, want) in &wants.legs {
            self.close_difference(&call, number, want, again);
        }
        let unwanted = self.legs.keys().filter(|number| !wants.legs.contains_key(number));
        for number in unwanted.copied().collect::<Vec<_>>() {
            self.end(number);
        }
    }

    fn close_difference(&mut self, call: &Call, number: LegNumber, want: &LegWant, again: bool) {
        let far = self.legs.get(&number).map(|leg| leg.far);
        match want {
            LegWant::Invited { target, auto_answer, .. } => {
                if far.is_none() || (again && far == Some(None)) {
                    let end = end_of(call, number);
                    self.legs.entry(number).or_insert_with(|| LiveLeg::new(end, None));
                    let (target, auto_answer) = (target.clone(), *auto_answer);
                    self.send(number, Order::Invite { target, auto_answer });
                }
            }
            LegWant::Answered => self.answer(call, number, far.flatten(), again),
            LegWant::Proceed => self.send(number, Order::Proceed),
            LegWant::Ring => self.send(number, Order::Ring),
            LegWant::RingWithPeer(peer) => {
                let rings = self.legs.get(peer).and_then(|leg| leg.far) == Some(Far::Rings);
                self.send(number, if rings { Order::Ring } else { Order::Proceed });
            }
            LegWant::Refused { .. } if far.is_some_and(|far| far != Some(Far::Gone)) => {
                self.send(number, Order::Refuse);
            }
            LegWant::Refused { .. } => (),
            LegWant::Gone { .. } if far.is_some() => self.end(number),
            LegWant::Gone { .. } => self.forget_leg(number),
        }
    }

    fn answer(&mut self, call: &Call, number: LegNumber, far: Option<Far>, again: bool) {
        let is_committed = call.legs.get(&number).is_some_and(|leg| leg.state.is_answered());
        if !is_committed {
            let Some(leg) = self.legs.get_mut(&number) else { return };
            if !std::mem::replace(&mut leg.answer_proposed, true) {
                let wires = vec![(number, wire_of(leg.end))];
                let command = Command::LegAnswered { call: self.id, leg: number, wires };
                self.deeds.push(Deed::Propose(command));
            }
            return;
        }
        // Again: the session is refreshed, which finds out whether anybody is there.
        if far != Some(Far::Talks) || again {
            let order = match end_of(call, number) {
                EndId::Caller(_) => Order::Answer,
                EndId::Phone(..) => Order::Confirm,
            };
            self.send(number, order);
        }
    }

    fn end(&mut self, number: LegNumber) {
        let order = match self.legs.get(&number).and_then(|leg| leg.far) {
            Some(Far::Gone) => return self.forget_leg(number),
            Some(Far::HangsUp | Far::Cancels | Far::Refuses(_)) => Order::Release,
            _ => Order::End,
        };
        self.send(number, order);
    }

    fn send(&mut self, number: LegNumber, order: Order) {
        if let Some(leg) = self.legs.get(&number).filter(|leg| !leg.is_gone()) {
            self.deeds.push(Deed::Send(leg.end, order));
        }
    }

    /// A leg that was to be ended is not on the wire, and its call goes on.
    fn forget_leg(&mut self, number: LegNumber) {
        let Some(call) = &self.call else { return };
        let ending = call.legs.get(&number).is_some_and(|leg| !leg.state.is_alive());
        if ending && !call.has_ended() {
            let (call, cause) = (self.id, Cause::PeerGone);
            self.deeds.push(Deed::Propose(Command::LegEnded { call, leg: number, cause }));
        }
    }

    /// A far end reported what it is doing.
    pub(crate) fn report(&mut self, number: LegNumber, far: Far) {
        let Some(leg) = self.legs.get_mut(&number) else { return };
        let before = leg.far.replace(far);
        let is_news = before != Some(far);
        let call = self.id;
        let state = self.call.as_ref().and_then(|call| call.legs.get(&number)).map(|leg| leg.state);
        let is_alive = self.call.is_none() || state.is_some_and(LegState::is_alive);
        match far {
            Far::Invites | Far::Waits | Far::Talks => (),
            Far::Rings if is_news && self.is_agent(number) && is_alive => {
                self.deeds.push(Deed::Propose(Command::LegRinging { call, leg: number }));
            }
            Far::Rings => (),
            Far::Answers if state.is_some_and(LegState::is_answered) => {
                self.send(number, Order::Confirm);
            }
            Far::Answers if !is_alive => self.send(number, Order::End),
            Far::Answers => self.far_answers(number),
            Far::Refuses(status) => {
                self.farewell(number, Command::LegFailed { call, leg: number, status });
                self.send(number, Order::Release);
            }
            Far::HangsUp | Far::Cancels if self.call.is_some() && !is_alive => {
                self.send(number, Order::Release);
            }
            Far::HangsUp => self.ended(number, Cause::HungUp),
            Far::Cancels => self.ended(number, Cause::Cancelled),
            Far::Gone if is_alive => self.ended(number, Cause::Lost),
            Far::Gone if is_news => self.forget_leg(number),
            Far::Gone => (),
        }
        self.finish();
    }

    fn far_answers(&mut self, number: LegNumber) {
        let Some(leg) = self.legs.get_mut(&number) else { return };
        if std::mem::replace(&mut leg.answer_proposed, true) {
            return;
        }
        let mut wires = vec![(number, wire_of(leg.end))];
        // The caller's answer goes with it, if the caller still waits for one.
        if let Some(first) = self.legs.get(&LegNumber::FIRST)
            && number != LegNumber::FIRST
        {
            wires.push((LegNumber::FIRST, wire_of(first.end)));
        }
        self.deeds.push(Deed::Propose(Command::LegAnswered { call: self.id, leg: number, wires }));
    }

    fn is_agent(&self, number: LegNumber) -> bool {
        let leg = self.call.as_ref().and_then(|call| call.legs.get(&number));
        leg.is_some_and(|leg| matches!(leg.role, Role::Agent(_)))
    }

    fn ended(&mut self, number: LegNumber, cause: Cause) {
        self.farewell(number, Command::LegEnded { call: self.id, leg: number, cause });
    }

    /// Reports the end of a leg once, and keeps the report until the value has it.
    fn farewell(&mut self, number: LegNumber, report: Command) {
        let Some(leg) = self.legs.get_mut(&number) else { return };
        if leg.farewell.as_ref() != Some(&report) {
            leg.farewell = Some(report.clone());
            self.deeds.push(Deed::Propose(report));
        }
    }

    /// Its arrival is committed: the call began, or the state would not have it.
    pub(crate) fn decided(&mut self, began: bool) {
        if began {
            self.began = true;
        } else {
            self.not_committed();
        }
    }

    /// Its arrival is not committed, or it is not known whether it is.
    pub(crate) fn not_committed(&mut self) {
        if self.call.is_none() {
            self.refused = true;
            self.send(LegNumber::FIRST, Order::Refuse);
            self.finish();
        }
    }

    fn finish(&mut self) {
        let ended = match &self.call {
            Some(call) => call.has_ended(),
            None => self.refused,
        };
        if self.over || !ended || self.legs.values().any(|leg| !leg.is_gone()) {
            return;
        }
        self.over = true;
        self.deeds.push(Deed::Over { cleared: self.call.is_some() });
    }
}

/// The far end of a leg. A caller's is in the wire that its arrival committed.
pub(crate) fn end_of(call: &Call, number: LegNumber) -> EndId {
    let wire = call.legs.get(&number).map(|leg| &leg.wire.0[..]).unwrap_or_default();
    match wire.split_first_chunk::<4>() {
        Some((word, b"caller")) => EndId::Caller(u32::from_le_bytes(*word)),
        Some(_) | None => EndId::Phone(call.id, number),
    }
}

/// What is committed of a leg: enough to find its far end again.
pub(crate) fn wire_of(end: EndId) -> Wire {
    match end {
        EndId::Caller(number) => Wire::from([&number.to_le_bytes()[..], b"caller"].concat()),
        EndId::Phone(..) => Wire::from(&b"a phone's dialog"[..]),
    }
}
