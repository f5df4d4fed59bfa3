//! The callers of an upgrade: short calls at an even rate, and long ones that speak all the time.
//!
//! Owns their sockets and the thread that plays them. Judges nothing: what became of each call is
//! handed back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::audio::{Ear, Mouth, Sound};
use super::super::leg::{Event, Leg, Phase};
use super::super::message::Message;

/// Short calls begin so long after one another: 20 a second.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a short call is talked in.
const TALK: Duration = Duration::from_secs(1);

/// The time of one frame.
const FRAME: Duration = Duration::from_millis(20);

/// The pause between two turns.
const TURN: Duration = Duration::from_millis(5);

/// How long the last farewells may take: a BYE is repeated for 32 s.
const FAREWELL: Duration = Duration::from_secs(35);

/// Short calls of one drill: ten minutes of them. An upgrade that takes longer has failed.
const CALLS_MAX: usize = 12_000;

/// What became of a call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: String,
    /// The node whose address was called.
    pub(super) node: usize,
    pub(super) is_long: bool,
    pub(super) begun: Instant,
    pub(super) answered: Option<Instant>,
    /// We said BYE.
    pub(super) ended: Option<Instant>,
    /// It was answered.
    pub(super) over: Option<Instant>,
    pub(super) losses: Vec<String>,
    /// When what was said came back.
    pub(super) heard: Vec<Instant>,
}

/// A call, and the phone that makes it.
struct Caller {
    call: Call,
    sip: UdpSocket,
    rtp: UdpSocket,
    leg: Leg,
    mouth: Mouth,
    ear: Ear,
    party: u16,
}

/// What was played.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) calls: Vec<Call>,
    /// How late the thread was at most.
    pub(super) late: Duration,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Load {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Played>>,
}

impl Load {
    /// Begins so many long calls, and short ones from now on, to all nodes in turn.
    pub(super) fn start(here: Ipv4Addr, nodes: Vec<SocketAddr>, long: usize) -> io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = thread::Builder::new().name("callers".to_owned());
        let thread = thread.spawn(move || Callers::new(here, nodes).play(long, &told))?;
        Ok(Self { ends, thread })
    }

    /// Begins no more calls, ends all, and waits until their ends are answered.
    pub(super) fn stop(self) -> anyhow::Result<Played> {
        self.ends.store(true, Ordering::Relaxed);
        let played = self.thread.join().map_err(|_| anyhow::anyhow!("the callers' thread died"))?;
        Ok(played?)
    }
}

struct Callers {
    here: Ipv4Addr,
    nodes: Vec<SocketAddr>,
    callers: Vec<Caller>,
    over: Vec<Call>,
    begun: usize,
}

impl Callers {
    fn new(here: Ipv4Addr, nodes: Vec<SocketAddr>) -> Self {
        Self { here, nodes, callers: Vec::new(), over: Vec::new(), begun: 0 }
    }

    fn play(mut self, long: usize, ends: &AtomicBool) -> io::Result<Played> {
        for _ in 0..long {
            self.call(true)?;
        }
        let (mut next, mut frame) = (Instant::now(), Instant::now());
        let (mut last, mut late) = (Instant::now(), Duration::ZERO);
        let mut farewell = None;
        while farewell.is_none_or(|since: Instant| since.elapsed() < FAREWELL) {
            let now = Instant::now();
            late = late.max(now.saturating_duration_since(last + TURN));
            last = now;
            if ends.load(Ordering::Relaxed) {
                farewell = farewell.or(Some(now));
            } else if next <= now && self.begun < CALLS_MAX {
                next += PAUSE;
                self.call(false)?;
            }
            let speaks = frame <= now;
            if speaks {
                frame = if now > frame + FRAME * 3 { now } else { frame + FRAME };
            }
            for caller in &mut self.callers {
                caller.turn(farewell.is_some(), speaks);
            }
            self.put_away();
            if farewell.is_some() && self.callers.is_empty() {
                break;
            }
            thread::sleep(TURN.saturating_sub(now.elapsed()));
        }
        let left = self.callers.into_iter().map(Caller::finish);
        self.over.extend(left);
        Ok(Played { calls: self.over, late })
    }

    fn call(&mut self, is_long: bool) -> io::Result<()> {
        let socket = || {
            let socket = UdpSocket::bind((self.here, 0))?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        let (sip, rtp) = (socket()?, socket()?);
        let (index, now) = (self.begun, Instant::now());
        self.begun += 1;
        let node = index % self.nodes.len();
        let number = format!("8{index:05}");
        let own = (sip.local_addr()?, rtp.local_addr()?);
        let leg = Leg::call(own, self.nodes[node], (&number, "echo"), now);
        let party = u16::try_from(index).unwrap_or(u16::MAX);
        let call = Call {
            number,
            node,
            is_long,
            begun: now,
            answered: None,
            ended: None,
            over: None,
            losses: Vec::new(),
            heard: Vec::new(),
        };
        let (mouth, ear) = (Mouth::new(party), Ear::default());
        self.callers.push(Caller { call, sip, rtp, leg, mouth, ear, party });
        Ok(())
    }

    /// Calls that are over keep no socket.
    fn put_away(&mut self) {
        let mut at = 0;
        while at < self.callers.len() {
            let call = &self.callers[at].call;
            if call.over.is_some() || !call.losses.is_empty() {
                self.over.push(self.callers.swap_remove(at).finish());
            } else {
                at += 1;
            }
        }
    }
}

impl Caller {
    fn turn(&mut self, ends: bool, speaks: bool) {
        let mut buffer = [0; 4_096];
        while let Ok((bytes, source)) = self.sip.recv_from(&mut buffer) {
            if let Some(message) = Message::read(&buffer[..bytes]) {
                self.leg.handle(&message, source, Instant::now());
            }
        }
        while let Ok((bytes, _)) = self.rtp.recv_from(&mut buffer) {
            self.ear.hear(&buffer[..bytes], Instant::now());
        }
        let now = Instant::now();
        self.leg.handle_timeout(now);
        let is_due = self.call.answered.is_some_and(|at| !self.call.is_long && at + TALK <= now);
        if self.leg.phase == Phase::Talking && (is_due || ends) && self.call.ended.is_none() {
            self.leg.leave(now);
            self.call.ended = Some(now);
        }
        let (out, events) = self.leg.take();
        // Nobody may be at the address for a moment: it is sent again.
        out.iter().for_each(|(to, bytes)| drop(self.sip.send_to(bytes, to)));
        for event in events {
            self.call.hear(&event, now);
        }
        if speaks
            && self.leg.phase == Phase::Talking
            && let Some(to) = self.leg.far_audio
            && let Some(packet) = self.mouth.speak()
        {
            let _full = self.rtp.send_to(&packet, to);
        }
    }

    fn finish(mut self) -> Call {
        let own = self.party;
        let is_own = |sound: Sound| matches!(sound, Sound::Mark { party, .. } if party == own);
        let heard = self.ear.arrivals.iter().filter(|heard| is_own(heard.sound));
        self.call.heard = heard.map(|heard| heard.at).collect();
        if self.call.over.is_none() && self.call.losses.is_empty() {
            self.call.losses.push("its end was not answered".to_owned());
        }
        self.call
    }
}

impl Call {
    fn hear(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Answered => self.answered = self.answered.or(Some(now)),
            Event::Left => self.over = Some(now),
            Event::Refused { method, status } => {
                self.losses.push(format!("its {method} was refused with {status}"));
            }
            Event::Unanswered { method } => {
                self.losses.push(format!("its {method} was not answered"));
            }
            Event::Ended { by } if self.ended.is_none() => {
                self.losses.push(format!("a stray {by} came"));
            }
            Event::Ended { .. } => self.over = Some(now),
            Event::Rings { .. } | Event::Changed => (),
        }
    }
}
