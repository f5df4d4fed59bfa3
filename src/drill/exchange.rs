//! The parties at work: one thread that moves all datagrams and plays every part.
//!
//! Turns every few milliseconds: reads the sockets, lets the dialogs and the scripts of the calls
//! go on, and speaks for each party every 20 ms. It says what it saw, with the times of its own
//! clock; [`super::judge`] says what that is worth. When the thread itself is late it notes the
//! stall, so that its own gaps are not taken for the nodes'.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::cast::{Call, Cast, Party, Role, Session};
use super::leg::{Event, Leg, Phase as Dialog};
use super::message::{Message, user};
use super::phases::{Begins, Callee, Caller, Hands, KEYS, Settled};

/// The pause between two turns.
const TURN: Duration = Duration::from_millis(5);

/// A turn that comes later than this is a stall.
const STALL: Duration = Duration::from_millis(30);

/// Stalls that are remembered. Past it the machine is too busy for any drill.
const STALLS_MAX: usize = 10_000;

/// The time of one frame.
const FRAME: Duration = Duration::from_millis(20);

/// How long a callee rings before it answers.
const PICK_UP: Duration = Duration::from_millis(150);

/// How long a brief conversation lasts.
const BRIEF: Duration = Duration::from_millis(250);

/// From the answer to the caller's hold.
const HOLD_AFTER: Duration = Duration::from_millis(500);

/// Calls of one kind change, and hang up, one after the other.
const SPREAD: Duration = Duration::from_millis(15);

/// Calls to one party, and messages that it cannot place. Past it something is very wrong, and
/// the first ones tell what.
const SESSIONS_MAX: usize = 1_024;
const STRAYS_MAX: usize = 64;

/// What the parties are told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Begin the calls that come before the fault.
    Begin,
    /// Begin those that are under way when it comes.
    Invite,
    /// The fault happened then: begin the calls that come after it.
    Fault(Instant),
    /// Answer what rings, retrieve what is held, press the keys.
    Change,
    /// Hang up.
    Release,
    /// It is over.
    Stop,
}

/// How far the calls are, for who gives the orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Calls that are not yet where the fault is to find them, by phase.
    pub(crate) unsettled: Vec<&'static str>,
    /// Calls that are not over.
    pub(crate) open: usize,
}

/// Everything that was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) cast: Cast,
    /// When the thread was late, and how long.
    pub(crate) stalls: Vec<(Instant, Duration)>,
}

#[derive(Debug, Default)]
struct Marks {
    begin: Option<Instant>,
    invite: Option<Instant>,
    fault: Option<Instant>,
    change: Option<Instant>,
    release: Option<Instant>,
}

/// See the file.
#[derive(Debug)]
pub(crate) struct Exchange {
    cast: Cast,
    /// The nodes' SIP addresses.
    nodes: Vec<SocketAddr>,
    marks: Marks,
    stalls: Vec<(Instant, Duration)>,
    buffer: Box<[u8; 65_536]>,
}

impl Exchange {
    pub(crate) fn new(cast: Cast, nodes: Vec<SocketAddr>) -> Self {
        Self {
            cast,
            nodes,
            marks: Marks::default(),
            stalls: Vec::new(),
            buffer: Box::new([0; 65_536]),
        }
    }

    /// Plays until it is told to stop, or nobody is left to tell it.
    pub(crate) fn play(
        mut self,
        orders: &Receiver<Order>,
        progress: &Arc<Mutex<Progress>>,
    ) -> Seen {
        let mut frame = Instant::now();
        let mut last = frame;
        loop {
            let now = Instant::now();
            let late = now.saturating_duration_since(last + TURN);
            if late > STALL && self.stalls.len() < STALLS_MAX {
                self.stalls.push((last, now - last));
            }
            last = now;
            match orders.try_recv() {
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => break,
                Ok(order) => self.obey(order, now),
                Err(TryRecvError::Empty) => (),
            }
            self.receive();
            for index in 0..self.cast.parties.len() {
                self.attend(index);
            }
            for index in 0..self.cast.calls.len() {
                self.direct(index, Instant::now());
            }
            if frame <= now {
                frame = if now > frame + FRAME * 3 { now } else { frame + FRAME };
                self.speak();
                *progress.lock().unwrap_or_else(PoisonError::into_inner) = self.progress();
            }
            thread::sleep(TURN.saturating_sub(now.elapsed()));
        }
        Seen { cast: self.cast, stalls: self.stalls }
    }

    fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::Begin => self.marks.begin = Some(now),
            Order::Invite => self.marks.invite = Some(now),
            Order::Fault(at) => self.marks.fault = Some(at),
            Order::Change => self.marks.change = Some(now),
            Order::Release => self.marks.release = Some(now),
            Order::Stop => (),
        }
    }

    fn progress(&self) -> Progress {
        let calls = self.cast.calls.iter();
        let unsettled = calls.clone().filter(|call| !is_settled(call)).map(|call| call.plan.name);
        let is_open = |call: &&Call| {
            call.times.begun.is_some() && call.times.over.is_none() && call.losses.is_empty()
        };
        Progress { unsettled: unsettled.collect(), open: calls.clone().filter(is_open).count() }
    }

    fn receive(&mut self) {
        for index in 0..self.cast.parties.len() {
            while let Ok((bytes, source)) =
                self.cast.parties[index].sip.recv_from(&mut *self.buffer)
            {
                if let Some(message) = Message::read(&self.buffer[..bytes]) {
                    self.deliver(index, &message, source, Instant::now());
                }
            }
            let party = &mut self.cast.parties[index];
            while let Ok((bytes, _)) = party.rtp.recv_from(&mut *self.buffer) {
                party.ear.hear(&self.buffer[..bytes], Instant::now());
            }
        }
    }

    /// A message for a party: to the dialog that it names, or the beginning of one.
    fn deliver(&mut self, index: usize, message: &Message, source: SocketAddr, now: Instant) {
        let call_id = message.header("Call-ID");
        if let Role::Caller { call } = self.cast.parties[index].role
            && let Some(leg) = &mut self.cast.calls[call].leg
            && leg.call_id == call_id
        {
            return leg.handle(message, source, now);
        }
        let call = self.cast.call_of(user(message.header("From")));
        let party = &mut self.cast.parties[index];
        let known = party.sessions.iter_mut().find(|session| session.leg.call_id == call_id);
        if let Some(session) = known {
            return session.leg.handle(message, source, now);
        }
        let begins = message.status().is_none()
            && message.method() == "INVITE"
            && !message.header("To").contains("tag=");
        let (Role::Callee(callee), true, Some(call)) = (party.role, begins, call) else {
            if party.strays.len() < STRAYS_MAX {
                let what = message.status().map_or("request".to_owned(), |s| s.to_string());
                party.strays.push((now, format!("{what} {} of no call", message.method())));
            }
            return;
        };
        if party.sessions.len() == SESSIONS_MAX {
            return;
        }
        let own = addresses(party);
        let Some(own) = own else { return };
        let mut leg = Leg::called(own, source, message.clone());
        leg.ring(callee == Callee::RingsWithAudio);
        party.sessions.push(Session { call, leg, invited: now, answered: None, ended: None });
        self.cast.calls[call].callee = Some(index);
    }

    /// The dialogs to a party go on.
    fn attend(&mut self, index: usize) {
        let change = self.marks.change;
        // Who hands a call over is let go while it goes on.
        let is_let_go = |callee: Callee, call: &Call| match call.plan.hands {
            Some((hands, _)) if callee == Callee::AtDesk => {
                hands == Hands::Transfers || change.is_some()
            }
            Some(_) | None => false,
        };
        let party = &mut self.cast.parties[index];
        let Role::Callee(callee) = party.role else { return };
        for session in &mut party.sessions {
            let now = Instant::now();
            session.leg.handle_timeout(now);
            let picks_up = match callee {
                Callee::Answers | Callee::AtDesk | Callee::AnswersBriefly => {
                    session.invited + PICK_UP
                }
                Callee::Rings | Callee::RingsWithAudio => {
                    change.map_or(now + PICK_UP, |change| change.max(session.invited) + PICK_UP)
                }
            };
            let (out, events) = session.leg.take();
            out.iter().for_each(|(to, bytes)| drop(party.sip.send_to(bytes, to)));
            let call = &mut self.cast.calls[session.call];
            for event in events {
                if is_let_go(callee, call) && matches!(event, Event::Ended { .. }) {
                    session.ended = Some(now);
                } else {
                    hear_callee(session, call, &event, now);
                }
            }
            if session.leg.phase == Dialog::Early && picks_up <= now {
                session.leg.answer(now);
            }
            let brief = callee == Callee::AnswersBriefly
                && session.leg.phase == Dialog::Talking
                && session.answered.is_some_and(|answered| answered + BRIEF <= now);
            if brief {
                session.leg.leave(now);
                session.ended = Some(now);
                call.times.ended = call.times.ended.or(Some(now));
            }
            let (out, _) = session.leg.take();
            out.iter().for_each(|(to, bytes)| drop(party.sip.send_to(bytes, to)));
        }
    }

    /// A caller's script goes on.
    fn direct(&mut self, index: usize, now: Instant) {
        let call = &mut self.cast.calls[index];
        let party = &mut self.cast.parties[call.party];
        let begins = match call.plan.begins {
            Begins::Before => self.marks.begin,
            Begins::AtFault => self.marks.invite,
            Begins::After => self.marks.fault,
        };
        let due = begins.is_some_and(|at| at + Duration::from_millis(call.delay_ms) <= now);
        let Some(leg) = &mut call.leg else {
            if due && let Some(own) = addresses(party) {
                let node = self.nodes[call.node];
                call.leg = Some(Leg::call(own, node, (&call.number, &call.dials), now));
                call.times.begun = Some(now);
            }
            return;
        };
        leg.handle_timeout(now);
        let (out, events) = leg.take();
        out.iter().for_each(|(to, bytes)| drop(party.sip.send_to(bytes, to)));
        events.iter().for_each(|event| hear_caller(call, event, now));
        let later = SPREAD * (index % 64) as u32;
        let has_come = |mark: Option<Instant>| mark.is_some_and(|at| at + later <= now);
        act(call, party, (has_come(self.marks.change), has_come(self.marks.release)), now);
    }

    fn speak(&mut self) {
        for party in &mut self.cast.parties {
            let leg = match party.role {
                Role::Caller { call } => {
                    let leg = self.cast.calls[call].leg.as_ref();
                    leg.filter(|leg| leg.phase == Dialog::Talking)
                }
                Role::Callee(callee) => {
                    let early = callee == Callee::RingsWithAudio;
                    let speaks = |leg: &&Leg| {
                        leg.phase == Dialog::Talking || early && leg.phase == Dialog::Early
                    };
                    let legs = party.sessions.iter().rev().map(|session| &session.leg);
                    legs.clone().find(speaks)
                }
            };
            let Some(to) = leg.and_then(|leg| leg.far_audio) else { continue };
            if let Some(packet) = party.mouth.speak() {
                let _full = party.rtp.send_to(&packet, to);
            }
        }
    }
}

fn addresses(party: &Party) -> Option<(SocketAddr, SocketAddr)> {
    Some((party.sip.local_addr().ok()?, party.rtp.local_addr().ok()?))
}

/// What the caller does next.
fn act(call: &mut Call, party: &mut Party, (changes, releases): (bool, bool), now: Instant) {
    let Some(leg) = &mut call.leg else { return };
    if leg.phase != Dialog::Talking {
        if releases && leg.phase == Dialog::Early && call.losses.is_empty() {
            call.losses.push((now, "it was never answered".to_owned()));
        }
        return;
    }
    let answered = call.times.answered.unwrap_or(now);
    if call.plan.caller == Caller::Holds && call.times.held.is_none() {
        if answered + HOLD_AFTER <= now && !leg.is_waiting() {
            leg.change("sendonly", now);
        }
    } else if call.plan.caller == Caller::Holds && changes && call.times.retrieved.is_none() {
        if !leg.is_waiting() {
            leg.change("sendrecv", now);
        }
    } else if call.plan.caller == Caller::Presses && changes && call.times.pressed.is_none() {
        party.mouth.press(KEYS);
        call.times.pressed = Some(now);
    }
    if releases && !leg.is_waiting() {
        leg.leave(now);
        call.times.ended = call.times.ended.or(Some(now));
    }
}

fn is_settled(call: &Call) -> bool {
    match call.plan.settled {
        Settled::AtOnce => true,
        Settled::Ringing => call.times.rang.is_some(),
        Settled::Answered => {
            let is_joined = call
                .plan
                .callee
                .is_none_or(|callee| callee == Callee::AnswersBriefly || call.callee.is_some());
            call.times.answered.is_some() && is_joined
        }
        Settled::Held => call.times.held.is_some(),
    }
}

fn hear_caller(call: &mut Call, event: &Event, now: Instant) {
    match event {
        Event::Rings { audio } => {
            if *audio || call.plan.callee != Some(Callee::RingsWithAudio) {
                call.times.rang = call.times.rang.or(Some(now));
            }
        }
        // The ACK of an answer to a re-INVITE is another one, and not the beginning.
        Event::Answered => call.times.answered = call.times.answered.or(Some(now)),
        Event::Changed => {
            if call.times.held.is_none() {
                call.times.held = Some(now);
            } else {
                call.times.retrieved = Some(now);
            }
        }
        Event::Refused { method, status } => {
            call.losses.push((now, format!("its {method} was refused with {status}")));
        }
        Event::Unanswered { method } => {
            call.losses.push((now, format!("its {method} was not answered")));
        }
        Event::Ended { by } => {
            if call.times.ended.is_none() {
                call.losses.push((now, format!("a stray {by} came to the caller")));
            }
            call.times.ended = call.times.ended.or(Some(now));
            call.times.over = Some(now);
        }
        Event::Left => call.times.over = Some(now),
    }
}

fn hear_callee(session: &mut Session, call: &mut Call, event: &Event, now: Instant) {
    match event {
        Event::Answered => session.answered = session.answered.or(Some(now)),
        Event::Ended { by } => {
            if call.times.ended.is_none() {
                call.losses.push((now, format!("a stray {by} came to the callee")));
            }
            session.ended = Some(now);
        }
        Event::Refused { method, status } => {
            call.losses.push((now, format!("the callee's {method} was refused with {status}")));
        }
        Event::Unanswered { method } => {
            call.losses.push((now, format!("the callee's {method} was not answered")));
        }
        Event::Rings { .. } | Event::Changed | Event::Left => (),
    }
}
