//! A packet thread: waits for sockets and the clock, and drives the ports' machines.
//!
//! One round: wait, take every ready datagram, let the clock's beats speak, do what the mailbox
//! asks. Between rounds with traffic the thread rests until a millisecond has passed since the
//! last one began, so that packets are taken in batches and a wake-up, which costs more than a
//! packet, is shared. Sockets are level triggered and read once a round: a second read that only
//! says "empty" costs more than being told again.
//!
//! A panic in a port's machine is caught, told, and answered by building the machine again from
//! its plan. This file is the life of the thread and of its ports; what happens to packets is
//! in `traffic`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{Timespec, epoll};
use tandem_media::port::Output;

use super::counters::{Counters, Round};
use super::links::Links;
use super::mailbox::{Close, Described, Hold, Mailbox, Request};
use super::ports::{PortPool, Reservation};
use super::recorder::Recorder;
use super::slot::{Slot, new_port};
use super::traffic::Buffers;
use super::wheel::{Beat, Wheel};
use super::{PortEvent, PortKey, PortPlan, PortState};
use crate::replica::Lease;

/// Ready sockets taken in one wait. The others are told in the next one, in turn.
const READY_MAX: usize = 512;
/// Times that the sockets are gone through in a round. A thread that was held up for a third of a
/// second catches up within a round; what is left then waits for the clock and the mailbox. It
/// is also what bounds a flood: 16 datagrams a millisecond of one socket, the kernel drops the
/// others.
const PASSES_MAX: usize = 16;
/// The least time from the beginning of one round to that of the next. It is what a packet waits
/// at most on an idle machine; half of it on average.
const ROUND_MIN: Duration = Duration::from_millis(1);
/// The pause after a panic of the thread itself, so that one that comes again at once does not
/// fill the log.
const PANIC_PAUSE: Duration = Duration::from_millis(100);
/// Plans that wait for their sockets. Past it the oldest call's are dropped: their ports were
/// closed before. (Sockets that wait for a plan are as few as the ports.)
const WAITING_MAX: usize = 4_096;
/// While the node has no lease, a peer that was heard this long ago is still answered. Fifteen
/// packets: more than jitter, and little enough that audio stops when its packets go elsewhere.
const HEARD_WITHIN: Duration = Duration::from_millis(300);
/// A round that comes this late after the last one, without a lease: the process was stopped, and
/// what waits in the sockets was said to it then.
pub(super) const STOPPED: Duration = Duration::from_millis(300);

/// Between two tries to bind the port of a call that came here.
const HOLD_EVERY: Duration = Duration::from_millis(5);

/// How long after that a port sends nothing unless its call is known to be here, and for longer if
/// there is a lease to be confirmed. Without a majority nobody has adopted the call.
const DOUBTED: Duration = Duration::from_secs(1);
/// Names the waker among the sockets.
const WAKER: u64 = u64::MAX;
/// The seconds from the beginning of NTP's time to that of Unix' (RFC 5905 figure 4).
const NTP_EPOCH: u64 = 2_208_988_800;

pub(super) struct Worker {
    epoll: OwnedFd,
    mailbox: Arc<Mailbox>,
    events: Arc<dyn Fn(PortEvent) + Send + Sync>,
    counters: Arc<Counters>,
    pub(super) recorder: Recorder,
    /// After so much silence of a peer its call is told.
    pub(super) quiet: Duration,
    lease: Lease,
    pool: Arc<PortPool>,
    /// Ports whose sockets are not free yet, and when they are tried again.
    holding: BTreeMap<PortKey, Hold>,
    hold_due: Instant,
    /// The lease did not hold when the round began.
    fenced: bool,
    /// The same, of the lease alone: `fenced` stays while ports are doubted.
    lease_is_lost: bool,
    /// By index; freed ones are used again.
    pub(super) slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    pub(super) links: Links,
    waiting: BTreeMap<PortKey, Waiting>,
    pub(super) wheel: Wheel,
    /// The slot that the housekeeping visits next, and when it goes on.
    pub(super) visited: usize,
    pub(super) visit_due: Instant,
    /// The slots that are recorded, and when their batches are looked at.
    pub(super) recorded: BTreeSet<u32>,
    pub(super) flush_due: Instant,
    pub(super) round: Round,
    /// When the round began.
    pub(super) now: Instant,
    /// The slot whose machine works: who is to blame for a panic.
    pub(super) working: u32,
    /// A moment, and the time that NTP gave it.
    clock: (Instant, u64),
}

/// The halves of a port that came first.
#[derive(Debug, Default)]
struct Waiting {
    plan: Option<Described>,
    state: Option<PortState>,
    sockets: Option<Reservation>,
}

/// What a round found.
struct Ready {
    /// The mailbox has something.
    asked: bool,
    /// Sockets had something.
    traffic: bool,
}

impl Worker {
    pub(super) fn new(
        (mailbox, pool): (Arc<Mailbox>, Arc<PortPool>),
        events: Arc<dyn Fn(PortEvent) + Send + Sync>,
        counters: Arc<Counters>,
        recorder: Recorder,
        (quiet, lease): (Duration, Lease),
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = epoll::EventData::new_u64(WAKER);
        epoll::add(&epoll, mailbox.waker(), waker, epoll::EventFlags::IN)?;
        let now = Instant::now();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            epoll,
            mailbox,
            pool,
            events,
            counters,
            recorder,
            quiet,
            lease,
            fenced: false,
            lease_is_lost: false,
            slots: Vec::new(),
            free: Vec::new(),
            links: Links::default(),
            waiting: BTreeMap::new(),
            holding: BTreeMap::new(),
            hold_due: now,
            wheel: Wheel::new(now),
            visited: 0,
            visit_due: now,
            recorded: BTreeSet::new(),
            flush_due: now,
            round: Round::default(),
            now,
            working: 0,
            clock: (now, ntp(since_1970)),
        })
    }

    /// Works until the engine is dropped. A panic outside of any port is a defect of ours, but
    /// no reason to end the audio of all calls.
    pub(super) fn run(&mut self) {
        while panic::catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            tracing::error!("a packet thread panicked and goes on");
            thread::sleep(PANIC_PAUSE);
        }
    }

    fn work(&mut self) {
        let mut buffers = Buffers::new();
        let mut ready = Vec::with_capacity(READY_MAX);
        loop {
            let Ready { asked, traffic } = self.take_ready(&mut ready, &mut buffers);
            self.follow_lease();
            self.handle_beats(&mut buffers);
            self.keep_house(&mut buffers);
            let stop = asked && self.handle_mailbox();
            self.hold_again();
            self.counters.add(&mem::take(&mut self.round));
            if stop {
                break;
            }
            if traffic {
                thread::sleep(ROUND_MIN.saturating_sub(self.now.elapsed()));
            }
        }
        let open: Vec<PortKey> = self.slots.iter().flatten().map(|slot| slot.key).collect();
        for key in open {
            self.close(key, Close::Told);
        }
    }

    pub(super) fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        slot_mut(&mut self.slots, index)
    }

    /// The time as NTP writes it.
    pub(super) fn ntp(&self) -> u64 {
        let (moment, time) = self.clock;
        time.wrapping_add(fixed_point(self.now - moment))
    }

    /// Runs something that a port's machine does. If it panics, the port is told dead and built
    /// again; the thread and the other ports go on.
    pub(super) fn guard(&mut self, index: u32, work: impl FnOnce(&mut Self)) {
        self.working = index;
        if panic::catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.bury();
        }
        self.tell_outputs(index);
        self.follow_clock(index);
    }

    /// The machine that was working has panicked.
    fn bury(&mut self) {
        self.round.deaths += 1;
        let now = self.now;
        let Some(slot) = self.slot(self.working) else {
            return;
        };
        slot.rebuild(now);
        let key = slot.key;
        // The list of a port's listeners is lost when one of them panics.
        self.relink_all();
        self.tell(PortEvent::Died { key });
    }

    /// Waits, then reads every ready socket until none has anything left.
    fn take_ready(&mut self, ready: &mut Vec<epoll::Event>, buffers: &mut Buffers) -> Ready {
        let visit = (!self.links.is_empty()).then_some(self.visit_due);
        let hold = (!self.holding.is_empty()).then_some(self.hold_due);
        let due = [self.wheel.next_due(), visit, hold].into_iter().flatten().min();
        let mut timeout = due.map(|due| {
            let wait = due.saturating_duration_since(Instant::now());
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) }
        });
        let (mut asked, mut traffic) = (false, false);
        for _ in 0..PASSES_MAX {
            ready.clear();
            let spare = rustix::buffer::spare_capacity(ready);
            // An interrupted wait is one without sockets; nothing else can go wrong with it.
            let _ = epoll::wait(&self.epoll, spare, timeout.as_ref());
            timeout = Some(Timespec { tv_sec: 0, tv_nsec: 0 });
            let before = mem::replace(&mut self.now, Instant::now());
            if self.now - before > STOPPED && !self.lease.holds() {
                self.throw_away(buffers);
            }
            for event in &*ready {
                let token = event.data.u64();
                if token == WAKER {
                    asked = true;
                } else {
                    traffic = true;
                    self.handle_ready((token >> 1) as u32, token & 1 == 1, buffers);
                }
            }
            if ready.len() <= usize::from(asked) {
                break;
            }
        }
        Ready { asked, traffic }
    }

    /// Does what was asked; true when the thread is to end.
    fn handle_mailbox(&mut self) -> bool {
        let taken = self.mailbox.take();
        for (key, request) in taken.requests {
            self.handle_request(key, request);
        }
        taken.stop
    }

    fn handle_request(&mut self, key: PortKey, request: Request) {
        let Request { close, resume, attach, hold, plan, panic, export } = request;
        if let Some(how) = close {
            self.close(key, how);
        }
        let attach = attach.or_else(|| self.hold(key, hold?));
        if attach.is_some() {
            self.holding.remove(&key);
        }
        if resume.is_some() || attach.is_some() || plan.is_some() {
            self.handle_change(key, Waiting { plan, state: resume, sockets: attach });
        }
        let index = self.links.index(key);
        if panic && let Some(slot) = index.and_then(|index| self.slot(index)) {
            slot.panic = true;
        }
        if let Some(reply) = export {
            reply(index.and_then(|index| self.slot(index)).map(|slot| slot.port.state()));
        }
    }

    /// The sockets that a port is to have, unless it has some. Another call may have them for a
    /// moment: one that a woken process began while its address was another node's, which chose
    /// ports on it as well.
    fn hold(&mut self, key: PortKey, hold: Hold) -> Option<Reservation> {
        let waits = self.waiting.get(&key).is_some_and(|waiting| waiting.sockets.is_some());
        if waits || self.links.index(key).is_some() {
            return None;
        }
        let Hold { ip, rtp_port, tries } = hold;
        match (self.pool.reserve_exact(ip, rtp_port), tries.checked_sub(1)) {
            (Ok(sockets), _) => return Some(sockets),
            (Err(_), Some(tries)) => {
                if self.holding.is_empty() {
                    self.hold_due = self.now + HOLD_EVERY;
                }
                self.holding.insert(key, Hold { tries, ..hold });
            }
            (Err(error), None) => {
                tracing::error!(call = key.call, leg = key.leg, %error, "a leg stays without its port");
            }
        }
        None
    }

    /// Tries again to bind what could not be bound yet.
    fn hold_again(&mut self) {
        if self.holding.is_empty() || self.now < self.hold_due {
            return;
        }
        self.hold_due = self.now + HOLD_EVERY;
        for (key, hold) in mem::take(&mut self.holding) {
            if let Some(sockets) = self.hold(key, hold) {
                self.handle_change(key, Waiting { sockets: Some(sockets), ..Waiting::default() });
            }
        }
    }

    /// A new plan for an open port, or halves of one that is to be opened.
    fn handle_change(&mut self, key: PortKey, change: Waiting) {
        let Waiting { plan, state, sockets } = change;
        if let Some(index) = self.links.index(key) {
            if let Some(sockets) = sockets {
                self.move_to(key, sockets);
            }
            if let Some(described) = plan {
                self.settle_doubt(index, &described);
                self.apply(index, described.plan);
            }
            return;
        }
        let waiting = self.waiting.entry(key).or_default();
        waiting.plan = plan.or(waiting.plan.take());
        waiting.state = state.or(waiting.state.take());
        waiting.sockets = sockets.or(waiting.sockets.take());
        if let (Some(_), Some(_)) = (&waiting.plan, &waiting.sockets)
            && let Some(Waiting { plan: Some(described), state, sockets: Some(sockets) }) =
                self.waiting.remove(&key)
        {
            self.open(key, described.plan.clone(), state, sockets);
            if let Some(index) = self.links.index(key) {
                self.settle_doubt(index, &described);
            }
        }
        if self.waiting.len() > WAITING_MAX {
            self.forget_plan();
        }
    }

    /// Who describes a port under the present lease knows whose the call is; a description that is
    /// older may be of a call that has moved.
    fn settle_doubt(&mut self, index: u32, by: &Described) {
        let is_old = by.confirmed < self.lease.confirmed();
        let (holds, now) = (self.lease.holds(), self.now);
        let Some(slot) = self.slot(index) else { return };
        if is_old {
            slot.doubted = slot.doubted.or(Some(now));
            slot.muted = true;
            self.fenced = true;
        } else if holds {
            (slot.doubted, slot.muted) = (None, false);
        }
    }

    /// Drops the oldest call's plan that waits for its sockets.
    fn forget_plan(&mut self) {
        let without = |(key, waiting): (&PortKey, &Waiting)| match waiting.sockets {
            Some(_) => None,
            None => Some(*key),
        };
        if let Some(key) = self.waiting.iter().find_map(without) {
            self.waiting.remove(&key);
        }
    }

    fn open(
        &mut self,
        key: PortKey,
        plan: PortPlan,
        state: Option<PortState>,
        sockets: Reservation,
    ) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        if let Err(error) = self.watch(index, &sockets) {
            tracing::error!(call = key.call, leg = key.leg, %error, "cannot watch RTP sockets");
            self.free.push(index);
            self.tell(PortEvent::Died { key });
            return;
        }
        let port = new_port(plan.clone(), state, self.now);
        let mut slot = Slot::new(key, sockets, port);
        if !self.lease.holds() {
            // Nobody without a lease knows whose the call is, whatever its sockets have kept.
            (slot.muted, slot.doubted) = (true, Some(self.now));
            self.fenced = true;
        }
        self.slots[index as usize] = Some(slot);
        self.links.open(key, index);
        self.round.opened += 1;
        self.apply(index, plan);
        self.relink(key);
    }

    /// Gives an open port other sockets.
    fn move_to(&mut self, key: PortKey, sockets: Reservation) {
        let Some(slot) = self.links.index(key).and_then(|index| self.slot(index)) else {
            return;
        };
        let (plan, state) = (slot.port.plan().clone(), slot.port.state());
        self.close(key, Close::Silent);
        self.open(key, plan, Some(state), sockets);
    }

    fn apply(&mut self, index: u32, plan: PortPlan) {
        let linked = plan.clone();
        self.guard(index, |worker| {
            if let Some(slot) = slot_mut(&mut worker.slots, index) {
                slot.apply(plan, &worker.recorder, worker.now);
                if slot.is_recorded() {
                    worker.recorded.insert(index);
                }
            }
        });
        let Some(key) = self.slot(index).map(|slot| slot.key) else {
            return;
        };
        let change = self.links.set_plan(key, index, &linked);
        if let Some(conference) = change.ended {
            self.wheel.remove(Beat::Conference(conference));
        }
        if let Some(conference) = change.begun {
            self.wheel.add(Beat::Conference(conference), self.now);
        }
        for key in change.relink {
            self.relink(key);
        }
    }

    /// Without a lease, audio goes only to those from whom audio still arrives: packets reach one
    /// holder of an address, and another node may be the one.
    fn follow_lease(&mut self) {
        let fenced = !self.lease.holds();
        if !fenced && !self.fenced {
            return;
        }
        self.fenced = fenced;
        let is_regained = mem::replace(&mut self.lease_is_lost, fenced) && !fenced;
        let is_unconfirmed = self.lease.is_unconfirmed();
        for slot in self.slots.iter_mut().flatten() {
            let lasts = |since: &Instant| is_unconfirmed || self.now - *since < DOUBTED;
            slot.doubted = slot.doubted.filter(lasts);
            // Another node may serve it, and give it back: its packets come here before that is known.
            let is_unheard = fenced && !slot.port.was_heard(HEARD_WITHIN, self.now);
            if is_unheard || is_regained && slot.muted {
                slot.doubted = Some(self.now);
            }
            slot.muted = slot.doubted.is_some();
            self.fenced |= slot.doubted.is_some();
        }
    }

    /// What came while the process was stopped is not passed on now, and nothing is sent until it is
    /// known whose the calls are.
    fn throw_away(&mut self, buffers: &mut Buffers) {
        self.fenced = true;
        for slot in self.slots.iter_mut().flatten() {
            (slot.muted, slot.doubted) = (true, Some(self.now));
            for rtcp in [false, true] {
                // A socket's buffer holds no more than this.
                let mut left = super::ports::DRAIN_MAX;
                while left > 0 && slot.receive(rtcp, &mut buffers.datagram).is_some() {
                    left -= 1;
                }
            }
        }
    }

    pub(super) fn close(&mut self, key: PortKey, how: Close) {
        self.waiting.remove(&key);
        self.holding.remove(&key);
        let Some(index) = self.links.index(key) else {
            return;
        };
        if how == Close::Told {
            self.say_goodbye(index);
        }
        let Some(mut slot) = self.slots[index as usize].take() else {
            return;
        };
        slot.end_recording(&self.recorder);
        for socket in [slot.sockets.rtp(), slot.sockets.rtcp()] {
            // Its number may be given out again at once, so it must not stay watched.
            if let Err(error) = epoll::delete(&self.epoll, socket) {
                tracing::error!(%error, "cannot stop watching an RTP socket");
            }
        }
        if slot.ticking {
            self.wheel.remove(Beat::Port(index));
        }
        if let Some(conference) = self.links.close(key, index).ended {
            self.wheel.remove(Beat::Conference(conference));
        }
        self.relink(key);
        self.free.push(index);
        self.round.closed += 1;
    }

    /// Finds out anew who hears whom among the ports of a call.
    fn relink(&mut self, key: PortKey) {
        for index in self.links.indices(key.call) {
            if let Some(slot) = self.slot(index) {
                slot.listeners.clear();
            }
        }
        for (heard, listener) in self.links.listeners(key.call) {
            if let Some(slot) = self.slot(heard) {
                slot.listeners.push(listener);
            }
        }
    }

    fn relink_all(&mut self) {
        for key in self.links.calls() {
            self.relink(key);
        }
    }

    fn watch(&self, index: u32, sockets: &Reservation) -> io::Result<()> {
        let token = |rtcp: u64| epoll::EventData::new_u64(u64::from(index) << 1 | rtcp);
        epoll::add(&self.epoll, sockets.rtp(), token(0), epoll::EventFlags::IN)?;
        epoll::add(&self.epoll, sockets.rtcp(), token(1), epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Tells the call what its port has to tell.
    fn tell_outputs(&mut self, index: u32) {
        while let Some(slot) = self.slot(index)
            && let Some(output) = slot.port.poll_output()
        {
            let key = slot.key;
            self.tell(match output {
                Output::Digit(digit) => PortEvent::Digit { key, digit },
                Output::Played(seq) => PortEvent::Played { key, seq },
                Output::Quiet(silent) => PortEvent::Quiet { key, ms: silent.as_millis() as u64 },
            });
        }
    }

    /// Puts a port that makes audio into the wheel.
    fn follow_clock(&mut self, index: u32) {
        if let Some(slot) = self.slot(index)
            && slot.port.needs_ticks()
            && !slot.ticking
        {
            slot.ticking = true;
            self.wheel.add(Beat::Port(index), self.now);
        }
    }

    fn tell(&self, event: PortEvent) {
        (self.events)(event);
    }
}

/// A slot, where the rest of the worker is needed beside it.
pub(super) fn slot_mut(slots: &mut [Option<Slot>], index: u32) -> Option<&mut Slot> {
    slots.get_mut(index as usize)?.as_mut()
}

/// NTP's time at a moment after 1970.
fn ntp(since_1970: Duration) -> u64 {
    (NTP_EPOCH << 32).wrapping_add(fixed_point(since_1970))
}

/// Seconds with 32 bits after the point.
fn fixed_point(duration: Duration) -> u64 {
    (duration.as_secs() << 32) | ((u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000)
}
