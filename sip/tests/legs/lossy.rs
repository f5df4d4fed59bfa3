//! Two legs that talk to each other over a link that loses, doubles, delays and reorders.
//!
//! The seed decides everything: the link, when and what the two nodes command, and so the races
//! between them. Whatever happens, each leg says once how the call ended, nothing is left on the
//! wire, and while both talk, both mean the same session.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tandem_sip::{
    leg::{Identity, Leg, LegEvent, LegStatus, Outgoing, Output, WrongState, answer_stray},
    wire::{Message, Peer, Transport},
};

use crate::script::{Way, outgoing, settings, some_instant};

/// Of the messages, in hundredths.
const LOST: u64 = 25;
const DOUBLED: u64 = 10;

/// The longest delay on the link, milliseconds: longer than T1, so that what was sent later can
/// arrive first.
const DELAY_MS: u64 = 700;

/// When both hang up if nobody did, and when all must be over: 64·T1 for the BYE, as much for
/// what its answer leaves behind, and the time that a cancelled INVITE may take.
const HANG_UP_MS: u64 = 90_000;
const OVER_MS: u64 = 400_000;

#[test]
fn two_legs_agree_over_a_lossy_link() {
    (0..200).for_each(|seed| World::new(seed, Way::Straight).plays());
}

#[test]
fn two_legs_agree_though_each_is_rebuilt_after_each_step() {
    (0..150).for_each(|seed| World::new(seed, Way::Restarted).plays());
}

#[test]
fn two_legs_agree_though_each_moves_to_another_machine_after_each_step() {
    (0..150).for_each(|seed| World::new(seed, Way::Adopted).plays());
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Caller,
    Callee,
}

/// A leg and its node.
struct End {
    leg: Option<Leg>,
    peer: Peer,
    /// SDPs as this side means them.
    local: Vec<u8>,
    remote: Vec<u8>,
    /// An offer of ours that is not answered.
    offered: Option<Vec<u8>>,
    version: u32,
    ends: Vec<String>,
    terminated: bool,
}

enum Due {
    Arrive(Side, Vec<u8>),
    Act(Side, Act),
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Ring,
    Answer,
    Refuse,
    HangUp,
    Reoffer,
    AnswerReoffer,
    RefuseReoffer,
    AcceptBye,
}

struct World {
    dice: Dice,
    seed: u64,
    way: Way,
    start: Instant,
    now: Instant,
    caller: End,
    callee: End,
    due: VecDeque<(Instant, Due)>,
    lossless: bool,
    log: Vec<String>,
}

fn end(remote: &str, local: &str, transport: Transport) -> End {
    let (remote, local): (SocketAddr, SocketAddr) =
        (remote.parse().unwrap(), local.parse().unwrap());
    End {
        leg: None,
        peer: Peer { transport, remote, local, connection: None },
        local: Vec::new(),
        remote: Vec::new(),
        offered: None,
        version: 0,
        ends: Vec::new(),
        terminated: false,
    }
}

fn identity(name: &str, at: &str) -> Identity {
    Identity {
        tag: format!("{name}-tag"),
        branch_seed: name.into(),
        contact: format!("sip:{name}@{at}"),
        sent_by: at.into(),
        ..crate::script::identity(settings())
    }
}

/// A command that no longer fits is a race with the far end, and says so.
fn may_race(_result: Result<(), WrongState>) {}

impl World {
    fn new(seed: u64, way: Way) -> Self {
        let now = some_instant();
        let transport = if seed % 5 == 4 { Transport::Tcp } else { Transport::Udp };
        let caller = end("192.0.2.2:5060", "192.0.2.1:5060", transport);
        let callee = end("192.0.2.1:5060", "192.0.2.2:5060", transport);
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let lossless = transport.is_reliable();
        let due = VecDeque::new();
        Self { dice, seed, way, start: now, now, caller, callee, due, lossless, log: Vec::new() }
    }

    fn plays(mut self) {
        self.caller.local = b"caller 0".to_vec();
        let wanted = Outgoing {
            identity: identity("caller", "192.0.2.1:5060"),
            target: "sip:callee@192.0.2.2:5060".into(),
            peer: self.caller.peer,
            sdp: self.caller.local.clone(),
            ..outgoing(settings())
        };
        self.caller.leg = Some(Leg::outgoing(self.now, &wanted));
        self.plan();
        self.drain(Side::Caller);
        while self.passed_ms() < OVER_MS && self.step() {}
        for (side, end) in [("caller", &self.caller), ("callee", &self.callee)] {
            let Some(leg) = &end.leg else { continue };
            let what = format!("seed {} {:?} {side}\n{}", self.seed, self.way, self.log.join("\n"));
            assert_eq!(leg.status(), LegStatus::Terminated, "{what}");
            assert!(end.terminated, "{what}");
            assert_eq!(end.ends.len(), 1, "{:?} {what}", end.ends);
        }
    }

    fn passed_ms(&self) -> u64 {
        (self.now - self.start).as_millis() as u64
    }

    /// What the nodes will do, if it still fits then.
    fn plan(&mut self) {
        let at = |world: &mut Self, ms: u64, side, act| {
            let moment = world.start + Duration::from_millis(ms);
            world.due.push_back((moment, Due::Act(side, act)));
        };
        let (ring, answer) = (self.dice.roll(3_000), 500 + self.dice.roll(8_000));
        at(self, ring, Side::Callee, Act::Ring);
        let last = if self.dice.roll(5) == 0 { Act::Refuse } else { Act::Answer };
        at(self, answer, Side::Callee, last);
        for _ in 0..self.dice.roll(4) {
            let (ms, side) = (answer + self.dice.roll(40_000), self.side());
            at(self, ms, side, Act::Reoffer);
        }
        if self.dice.roll(3) > 0 {
            // Half of them while it rings or is being answered: the races are there.
            let span = if self.dice.roll(2) == 0 { answer + 1_000 } else { 50_000 };
            let (ms, side) = (self.dice.roll(span), self.side());
            at(self, ms, side, Act::HangUp);
            if self.dice.roll(4) == 0 {
                let other = self.dice.roll(600);
                at(self, ms + other, self.other(side), Act::HangUp);
            }
        }
        at(self, HANG_UP_MS, Side::Caller, Act::HangUp);
        at(self, HANG_UP_MS, Side::Callee, Act::HangUp);
    }

    fn side(&mut self) -> Side {
        if self.dice.roll(2) == 0 { Side::Caller } else { Side::Callee }
    }

    fn other(&self, side: Side) -> Side {
        match side {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        }
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    /// The next thing that happens. Says whether there was one.
    fn step(&mut self) -> bool {
        let timer = |end: &End| end.leg.as_ref().and_then(Leg::poll_timeout);
        let timers = [(Side::Caller, timer(&self.caller)), (Side::Callee, timer(&self.callee))];
        let timer =
            timers.into_iter().filter_map(|(s, at)| Some((at?, s))).min_by_key(|(at, _)| *at);
        let due = (0..self.due.len()).min_by_key(|&at| (self.due[at].0, at));
        match (timer, due) {
            (Some((at, side)), due) if due.is_none_or(|due| at <= self.due[due].0) => {
                self.now = self.now.max(at);
                let now = self.now;
                let leg = self.end(side).leg.as_mut().unwrap();
                leg.handle_timeout(now);
                let next = leg.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > now),
                    "seed {}: a timer that stays due",
                    self.seed
                );
                self.drain(side);
            }
            (_, Some(due)) => {
                let (at, what) = self.due.remove(due).unwrap();
                self.now = self.now.max(at);
                match what {
                    Due::Arrive(side, bytes) => self.arrives(side, &bytes),
                    Due::Act(side, act) => self.acts(side, act),
                }
            }
            (_, None) => return false,
        }
        true
    }

    fn arrives(&mut self, side: Side, bytes: &[u8]) {
        let now = self.now;
        let message = Message::parse(bytes).unwrap();
        self.note(side, "<-", bytes);
        let peer = self.end(side).peer;
        match &message {
            Message::Request(request) => {
                let end = self.end(side);
                match &mut end.leg {
                    Some(leg) if leg.owns(request) => leg.handle_request(now, request, peer),
                    None if request.to_tag().is_none() && request.method().as_str() == "INVITE" => {
                        let identity = identity("callee", "192.0.2.2:5060");
                        let leg = Leg::incoming(now, request, peer, identity).unwrap();
                        end.remote = request.body().to_vec();
                        end.leg = Some(leg);
                    }
                    Some(_) | None => {
                        if let Some(stray) = answer_stray(request, peer) {
                            self.carries(side, stray.bytes);
                        }
                        return;
                    }
                }
            }
            Message::Response(response) => {
                if let Some(leg) = &mut self.end(side).leg {
                    leg.handle_response(now, response);
                }
            }
        }
        self.drain(side);
        self.check();
    }

    fn note(&mut self, side: Side, how: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let cseq = text.lines().find(|line| line.starts_with("CSeq")).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        self.log.push(format!("{:>6} {side:?} {how} {line} | {cseq}", self.passed_ms()));
    }

    fn carries(&mut self, from: Side, bytes: Vec<u8>) {
        self.note(from, "->", &bytes);
        let copies = match self.dice.roll(100) {
            _ if self.lossless => 1,
            lost if lost < LOST => 0,
            doubled if doubled < LOST + DOUBLED => 2,
            _ => 1,
        };
        let to = self.other(from);
        for _ in 0..copies {
            let delay = if self.lossless { 20 } else { 1 + self.dice.roll(DELAY_MS) };
            let at = self.now + Duration::from_millis(delay);
            self.due.push_back((at, Due::Arrive(to, bytes.clone())));
        }
    }

    fn acts(&mut self, side: Side, act: Act) {
        self.log.push(format!("{:>6} {side:?} {act:?}", self.passed_ms()));
        let now = self.now;
        let end = self.end(side);
        let Some(leg) = &mut end.leg else { return };
        match act {
            Act::Ring => may_race(leg.ring(now, None)),
            Act::Answer => {
                end.local = b"callee 0".to_vec();
                may_race(leg.answer(now, end.local.clone()));
            }
            Act::Refuse => may_race(leg.refuse(now, 486, "", &[])),
            Act::HangUp => leg.hang_up(now),
            // A node offers one thing at a time.
            Act::Reoffer if end.offered.is_some() => (),
            Act::Reoffer => {
                end.version += 1;
                let offer = format!("{side:?} {}", end.version).into_bytes();
                if leg.reoffer(now, offer.clone()).is_ok() {
                    end.offered = Some(offer);
                }
            }
            Act::AnswerReoffer => {
                end.version += 1;
                let answer = format!("{side:?} {}", end.version).into_bytes();
                if leg.answer_reoffer(now, answer.clone()).is_ok() {
                    end.local = answer;
                }
            }
            Act::RefuseReoffer => may_race(leg.refuse_reoffer(now, 488)),
            Act::AcceptBye => may_race(leg.accept_bye(now)),
        }
        self.drain(side);
        self.check();
    }

    /// Takes the outputs, lets the node react, and rebuilds the leg as the way says.
    fn drain(&mut self, side: Side) {
        while let Some(output) = self.end(side).leg.as_mut().and_then(Leg::poll_output) {
            match output {
                Output::Send { bytes, .. } => self.carries(side, bytes),
                Output::Event(event) => self.hears(side, event),
            }
        }
        let (way, now) = (self.way, self.now);
        let cseq_skip = match way {
            Way::Straight => return,
            Way::Restarted => 0,
            Way::Adopted => 1_000,
        };
        let Some(leg) = &mut self.end(side).leg else { return };
        let bytes = postcard::to_allocvec(&leg.export(now)).unwrap();
        *leg = Leg::restore(now, postcard::from_bytes(&bytes).unwrap(), cseq_skip).unwrap();
    }

    fn hears(&mut self, side: Side, event: LegEvent) {
        self.log.push(format!("{:>6} {side:?} {event:?}", self.passed_ms()));
        let soon = self.now + Duration::from_millis(self.dice.roll(400));
        let end = self.end(side);
        assert!(!end.terminated, "{event:?} after the last");
        match event {
            LegEvent::Answered { sdp } => end.remote = sdp.unwrap(),
            LegEvent::Reoffered { sdp } => {
                let accepts = self.dice.roll(4) > 0;
                if accepts {
                    self.end(side).remote = sdp.unwrap();
                }
                let act = if accepts { Act::AnswerReoffer } else { Act::RefuseReoffer };
                self.due.push_back((soon, Due::Act(side, act)));
            }
            LegEvent::ReofferAnswered { sdp } => {
                end.remote = sdp.unwrap();
                end.local = end.offered.take().unwrap();
            }
            LegEvent::ReofferRefused { .. } => end.offered = None,
            LegEvent::ByeReceived => self.due.push_back((soon, Due::Act(side, Act::AcceptBye))),
            LegEvent::Refused(_) | LegEvent::Cancelled | LegEvent::Ended { .. } => {
                end.ends.push(format!("{event:?}"));
            }
            LegEvent::Terminated => end.terminated = true,
            LegEvent::Ringing { .. } | LegEvent::Acked { .. } => (),
            LegEvent::Digit(_) | LegEvent::Refer(_) => panic!("{event:?}"),
        }
    }

    /// While both talk and nothing is under way, each side's local SDP is the other's remote one.
    fn check(&self) {
        let talks =
            |end: &End| end.leg.as_ref().is_some_and(|leg| leg.status() == LegStatus::Talking);
        let both = talks(&self.caller) && talks(&self.callee);
        let quiet = self.due.iter().all(|(at, what)| match what {
            Due::Arrive(..) => false,
            Due::Act(_, Act::AnswerReoffer | Act::RefuseReoffer) => false,
            Due::Act(..) => *at > self.now,
        });
        let timer = |end: &End| end.leg.as_ref().and_then(Leg::poll_timeout);
        let waits = [timer(&self.caller), timer(&self.callee)].into_iter().flatten();
        // Retransmissions come within T2; what is left later is transactions fading.
        let idle = waits.min().is_none_or(|at| at > self.now + Duration::from_millis(4_100));
        let offered = self.caller.offered.is_some() || self.callee.offered.is_some();
        if both && quiet && idle && !offered {
            let log = self.log.join("\n");
            let seed = self.seed;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (one, two) = (&self.caller, &self.callee);
            assert_eq!(text(&one.local), text(&two.remote), "seed {seed}\n{log}");
            assert_eq!(text(&two.local), text(&one.remote), "seed {seed}\n{log}");
        }
    }
}
