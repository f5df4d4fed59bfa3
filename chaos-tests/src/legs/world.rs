//! What happens in a world of one leg, in order of time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tandem_sip::leg::{EndCause, LegEvent, LegStatus, Output, answer_stray};
use tandem_sip::wire::{Message, Method};

use super::owner::{Kept, Owner, Value, peer};
use super::phone::{Phone, Stage};
use super::{END, HOMES, LegCounts, LegPlan, LegStep};
use crate::claims::dialogs::Dialog;
use crate::claims::{Broken, broken};
use crate::random::Random;
use crate::{MILLISECOND, Micros, SECOND};

/// A call that is ended though nobody hung up.
const KEPT: &str = "call-kept";
/// Something of a call that is left though it ended.
const LEFT: &str = "nothing-left";

/// How long a message can be on its way: longer than T1, so that repeated ones overtake.
const DELAY_MAX: Micros = 600 * MILLISECOND;
const COMMIT_MAX: Micros = 40 * MILLISECOND;
const TELL_AGAIN: Micros = SECOND;

#[derive(Clone, Debug)]
enum Happens {
    ArrivesAtUs(SocketAddr, Vec<u8>),
    ArrivesThere(Vec<u8>),
    Step(LegStep),
    Commit { epoch: u32, kept: Option<Kept>, value: Option<Value>, then: Then },
    Adopts,
    TellsAgain(u32),
}

/// What waits for a commit.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Answer,
    Reanswer,
    AcknowledgeAnswer,
    End,
}

pub(super) struct World<'a> {
    plan: &'a LegPlan,
    random: Random,
    start: Instant,
    now: Micros,
    due: BTreeMap<(Micros, u64), Happens>,
    number: u64,
    phone: Phone,
    owner: Option<Owner>,
    /// A machine is there, with a leg or without one.
    alive: bool,
    epoch: u32,
    kept: Option<Kept>,
    value: Value,
    rings: bool,
    /// Somebody hung up, or the leg was given up.
    let_go: bool,
    dialog: Dialog,
    counts: LegCounts,
    keeps_lines: bool,
    pub(super) lines: Vec<String>,
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a LegPlan, keeps_lines: bool) -> Self {
        Self {
            plan,
            random: Random::new(plan.seed),
            start: Instant::now(),
            now: 0,
            due: BTreeMap::new(),
            number: 0,
            phone: Phone::new(HOMES[0], plan.reliable),
            owner: None,
            alive: true,
            epoch: 0,
            kept: None,
            value: Value::Begun,
            rings: false,
            let_go: false,
            dialog: Dialog::default(),
            counts: LegCounts::default(),
            keeps_lines,
            lines: Vec::new(),
        }
    }

    pub(super) fn run(&mut self) -> Result<LegCounts, Broken> {
        for (at, step) in &self.plan.steps {
            self.happens_at(*at, Happens::Step(*step));
        }
        if self.plan.incoming {
            self.phone.calls(0);
            self.phone_sends();
        } else {
            self.owner = Some(Owner::calling(self.instant(), HOMES[0]));
            self.commit(None, Then::Nothing);
            self.drain()?;
        }
        while self.step()? {}
        let left = self.owner.as_ref().map(|owner| owner.leg.status());
        if left.is_some_and(|left| left != LegStatus::Terminated)
            || matches!(self.phone.stage, Stage::Talks | Stage::Trying | Stage::Rings)
        {
            let why = format!("the leg is {left:?}, the far end {:?}", self.phone.stage);
            return Err(broken(LEFT, why));
        }
        Ok(self.counts)
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn happens_at(&mut self, at: Micros, what: Happens) {
        self.number += 1;
        self.due.insert((at, self.number), what);
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.keeps_lines {
            let (ms, said) = (self.now / MILLISECOND, what());
            self.lines.push(format!("{ms:>7} {said}"));
        }
    }

    /// The next thing that happens. Says whether there was one.
    fn step(&mut self) -> Result<bool, Broken> {
        let leg = self.owner.as_ref().filter(|_| self.alive).and_then(|o| o.leg.poll_timeout());
        // Rounded up: a timer never runs before it is due.
        let ours =
            leg.map(|at| at.saturating_duration_since(self.start).as_nanos().div_ceil(1_000));
        let ours = ours.map(|at| at as Micros);
        let theirs = self.phone.next_timeout();
        let due = self.due.first_key_value().map(|((at, _), _)| *at);
        let Some(next) = [ours, theirs, due].into_iter().flatten().min() else { return Ok(false) };
        if next > END {
            return Ok(false);
        }
        self.now = self.now.max(next);
        if due == Some(next) {
            if let Some((_, what)) = self.due.pop_first() {
                self.happens(what)?;
            }
        } else if theirs == Some(next) {
            let before = self.phone.stage;
            self.phone.time_passes(self.now);
            self.phone_sends();
            self.is_kept(before)?;
        } else {
            let now = self.instant();
            if let Some(owner) = &mut self.owner {
                owner.leg.handle_timeout(now);
            }
            self.drain()?;
        }
        Ok(true)
    }

    fn happens(&mut self, what: Happens) -> Result<(), Broken> {
        match what {
            Happens::ArrivesAtUs(at, bytes) => self.arrives(at, &bytes),
            Happens::ArrivesThere(bytes) => self.arrives_there(&bytes)?,
            Happens::Step(step) => self.ordered(step),
            Happens::Commit { epoch, kept, value, then } if epoch == self.epoch => {
                self.kept = kept.or(self.kept.take());
                self.value = value.unwrap_or(self.value);
                if self.alive {
                    self.after_commit(then);
                }
            }
            Happens::Commit { .. } => (),
            Happens::Adopts => self.adopts(),
            Happens::TellsAgain(epoch) => {
                let now = self.instant();
                if let Some(owner) = self.owner.as_mut().filter(|_| epoch == self.epoch) {
                    owner.tell(now);
                }
            }
        }
        self.drain()
    }
}

/// Our side.
impl World<'_> {
    /// Proposes the leg as it is now.
    fn commit(&mut self, value: Option<Value>, then: Then) {
        let kept = self.owner.as_ref().map(|owner| owner.kept(self.instant()));
        let at = self.now + self.random.below(COMMIT_MAX);
        self.happens_at(at, Happens::Commit { epoch: self.epoch, kept, value, then });
    }

    fn after_commit(&mut self, then: Then) {
        let now = self.instant();
        let Some(owner) = &mut self.owner else { return };
        match then {
            Then::Nothing => (),
            Then::Answer => owner.answer(now),
            Then::Reanswer => owner.reanswer(now),
            Then::AcknowledgeAnswer => owner.leg.answer_is_kept(),
            Then::End => owner.end(now),
        }
    }

    fn ordered(&mut self, step: LegStep) {
        self.note(|| format!("{step:?}"));
        let now = self.instant();
        match step {
            LegStep::TheyReoffer => self.phone.reoffers(self.now),
            LegStep::TheyHangUp => {
                self.let_go |= self.phone.stage == Stage::Talks;
                self.phone.hangs_up(self.now);
            }
            LegStep::Answer if !self.plan.incoming => self.phone.answers(self.now),
            LegStep::Takeover { after, commits } if self.alive => {
                self.alive = false;
                self.owner = None;
                if !commits {
                    self.due.retain(|_, what| !matches!(what, Happens::Commit { .. }));
                }
                self.happens_at(self.now + after, Happens::Adopts);
            }
            LegStep::Takeover { .. } => (),
            // Whoever serves the call then finds it in the value.
            LegStep::Ring | LegStep::Answer | LegStep::Reoffer | LegStep::HangUp
                if !self.alive || (self.kept.is_none() && self.now < super::HANG_UP) =>
            {
                self.happens_at(self.now + SECOND / 10, Happens::Step(step));
            }
            LegStep::Ring => {
                self.rings = true;
                self.rings_again(now);
            }
            LegStep::Answer => {
                if let Some(owner) = &mut self.owner {
                    if owner.leg.status() == LegStatus::Arriving {
                        owner.prepare();
                    }
                    self.commit(Some(Value::Answered), Then::Answer);
                }
            }
            LegStep::Reoffer => {
                if let Some(owner) = &mut self.owner {
                    owner.reoffer(now);
                }
            }
            LegStep::HangUp => {
                self.let_go = true;
                self.commit(Some(Value::Over), Then::End);
            }
        }
        self.phone_sends();
    }

    fn rings_again(&mut self, now: Instant) {
        if let Some(owner) = self.owner.as_mut().filter(|_| self.plan.incoming) {
            owner.ring(now);
            self.commit(None, Then::Nothing);
        }
    }

    fn adopts(&mut self) {
        self.epoch += 1;
        self.alive = true;
        self.counts.takeovers += 1;
        let home =
            if self.plan.moves { HOMES[self.epoch as usize % HOMES.len()] } else { HOMES[0] };
        let (now, value) = (self.instant(), self.value);
        self.note(|| format!("{home} goes on, {value:?}"));
        let Some(kept) = &self.kept else { return };
        let mut owner = Owner::adopt(now, (kept, value), (home, self.epoch), self.plan.mutant);
        let asked = owner.leg.awaits_reanswer();
        let given_up = self.plan.moves && owner.moves(now, value);
        let status = owner.leg.status();
        self.let_go |= given_up;
        self.owner = Some(owner);
        if asked {
            self.after_commit(Then::Reanswer);
        }
        match value {
            Value::Over => self.after_commit(Then::End),
            Value::Answered => self.after_commit(Then::Answer),
            Value::Begun if self.rings => self.rings_again(now),
            Value::Begun => (),
        }
        if status == LegStatus::Talking {
            // It is acknowledged from what is committed.
            self.after_commit(Then::AcknowledgeAnswer);
        }
        if status == LegStatus::ByeReceived {
            self.commit(Some(Value::Over), Then::End);
        }
    }

    fn arrives(&mut self, at: SocketAddr, bytes: &[u8]) {
        let home = self.owner.as_ref().map_or(HOMES[0], |owner| owner.home);
        if !self.alive || at != home {
            return;
        }
        let (now, message) = (self.instant(), Message::parse(bytes));
        match message {
            Ok(Message::Request(request)) => match &mut self.owner {
                Some(owner) if owner.leg.owns(&request) => {
                    owner.leg.handle_request(now, &request, peer(home));
                }
                None if *request.method() == Method::Invite && request.to_tag().is_none() => {
                    self.owner = Owner::called(now, &request, home);
                    self.commit(None, Then::Nothing);
                }
                Some(_) | None => {
                    if let Some(stray) = answer_stray(&request, peer(home)) {
                        self.carries(stray.bytes);
                    }
                }
            },
            Ok(Message::Response(response)) => {
                if let Some(owner) = &mut self.owner {
                    owner.leg.handle_response(now, &response);
                }
            }
            Err(_) => (),
        }
    }

    /// Takes what the leg wants done.
    fn drain(&mut self) -> Result<(), Broken> {
        while let Some(output) = self.owner.as_mut().and_then(|owner| owner.leg.poll_output()) {
            match output {
                Output::Send { bytes, .. } => {
                    let message = Message::parse(&bytes)
                        .map_err(|error| broken(KEPT, format!("what was sent is {error:?}")))?;
                    self.note(|| format!("-> {}", words(&bytes)));
                    self.dialog.sends(&message)?;
                    self.counts.sent += 1;
                    self.carries(bytes);
                }
                Output::Event(event) => {
                    self.note(|| format!("   {event:?}").chars().take(60).collect());
                    self.told(event);
                }
            }
        }
        self.phone_sends();
        Ok(())
    }

    fn told(&mut self, event: LegEvent) {
        let Some(owner) = &mut self.owner else { return };
        match event {
            LegEvent::Answered { sdp } => {
                owner.is_answered(sdp);
                self.commit(Some(Value::Answered), Then::AcknowledgeAnswer);
            }
            LegEvent::Reoffered { sdp } => {
                owner.is_offered(sdp);
                self.commit(None, Then::Reanswer);
            }
            LegEvent::ReofferAnswered { sdp } => {
                owner.is_answered(sdp);
                self.commit(None, Then::Nothing);
            }
            LegEvent::ReofferRefused { .. } if owner.may_tell() => {
                self.happens_at(self.now + TELL_AGAIN, Happens::TellsAgain(self.epoch));
            }
            LegEvent::ByeReceived => self.commit(Some(Value::Over), Then::End),
            LegEvent::Ended { cause: EndCause::WeHungUp | EndCause::TheyHungUp }
            | LegEvent::Ended { .. }
            | LegEvent::Refused(_)
            | LegEvent::Cancelled => self.commit(Some(Value::Over), Then::Nothing),
            LegEvent::ReofferRefused { .. }
            | LegEvent::Ringing { .. }
            | LegEvent::Acked { .. }
            | LegEvent::Digit(_)
            | LegEvent::Refer(_)
            | LegEvent::Terminated => (),
        }
    }
}

/// The way to the far end, and the far end.
impl World<'_> {
    fn carries(&mut self, bytes: Vec<u8>) {
        for at in self.ways() {
            self.happens_at(at, Happens::ArrivesThere(bytes.clone()));
        }
    }

    fn phone_sends(&mut self) {
        for (to, bytes) in std::mem::take(&mut self.phone.sends) {
            self.note(|| format!("<- {} to {to}", words(&bytes)));
            for at in self.ways() {
                self.happens_at(at, Happens::ArrivesAtUs(to, bytes.clone()));
            }
        }
    }

    /// When the copies of a message arrive.
    fn ways(&mut self) -> Vec<Micros> {
        let copies = match self.random.below(1_000) {
            lot if lot < self.plan.lost => 0,
            lot if lot >= 950 => 2,
            _ => 1,
        };
        // Most are quick.
        let longest = if self.random.percent(10) { DELAY_MAX } else { 30 * MILLISECOND };
        (0..copies).map(|_| self.now + 1 + self.random.below(longest)).collect()
    }

    fn arrives_there(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let Ok(message) = Message::parse(bytes) else { return Ok(()) };
        let before = self.phone.stage;
        self.phone.hears(self.now, &message);
        let stage = self.phone.stage;
        self.counts.answered |= stage == Stage::Talks;
        let salt = u64::from(stage != before) + self.now;
        self.counts.trace = Random::new(self.counts.trace ^ salt).next();
        self.is_kept(before)
    }

    /// Who talked still does, unless somebody hung up.
    fn is_kept(&self, before: Stage) -> Result<(), Broken> {
        if before == Stage::Talks && self.phone.stage == Stage::Ended && !self.let_go {
            return Err(broken(KEPT, "the far end talked and was hung up on"));
        }
        Ok(())
    }
}

/// A message in short.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = |start: &str| {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned()
    };
    let first = text.lines().next().unwrap_or_default();
    format!("{first} | {} | {}", line("CSeq"), line("o="))
}
