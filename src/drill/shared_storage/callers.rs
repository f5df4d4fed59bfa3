//! Callers who talk to the echo, all on one thread, and what each of them heard.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::time::sleep;

use super::super::audio::{Ear, Mouth, Sound};
use super::super::leg::{Event, Leg, Phase};
use super::super::message::Message;

/// The pause between two turns, and between two frames.
const TURN: Duration = Duration::from_millis(5);
const FRAME: Duration = Duration::from_millis(20);

/// How long all calls may take until they are answered, and until their ends are.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
const ENDED_WITHIN: Duration = Duration::from_secs(35);

/// What a caller went through.
#[derive(Debug)]
pub(super) struct Talked {
    pub(super) name: String,
    /// When its own voice came back.
    heard: Vec<Instant>,
    /// What went wrong, the first of it.
    pub(super) lost: Option<String>,
    left: Instant,
}

impl Talked {
    /// The longest silence before the fault, from the first sound on.
    pub(super) fn gap_before(&self, fault: Instant) -> Duration {
        let before = self.heard.iter().copied().filter(|at| *at <= fault);
        longest(before.chain([fault]))
    }

    /// The longest silence after it, until the caller hung up.
    pub(super) fn gap_after(&self, fault: Instant) -> Duration {
        let last = self.heard.iter().copied().rfind(|at| *at <= fault).unwrap_or(fault);
        let after = self.heard.iter().copied().filter(|at| *at > fault && *at <= self.left);
        longest([last].into_iter().chain(after).chain([self.left]))
    }

    /// Ended by the other side, not answered, or silent at its end.
    pub(super) fn is_lost(&self, fault: Instant) -> bool {
        let is_heard = |at: &Instant| *at > fault && *at + Duration::from_secs(1) > self.left;
        self.lost.is_some() || !self.heard.iter().any(is_heard)
    }
}

fn longest(times: impl Iterator<Item = Instant>) -> Duration {
    let times: Vec<Instant> = times.collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// A phone.
struct Caller {
    name: String,
    sip: UdpSocket,
    rtp: UdpSocket,
    leg: Leg,
    mouth: Mouth,
    ear: Ear,
    lost: Option<String>,
    left: Option<Instant>,
    over: bool,
}

/// See the file.
#[derive(Debug)]
pub(super) struct Callers {
    calls: usize,
    talking: Arc<AtomicUsize>,
    leave: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Talked>>,
}

impl Callers {
    pub(super) fn start(node: SocketAddr, calls: usize) -> anyhow::Result<Self> {
        let (talking, leave) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let callers = (0..calls).map(|index| Caller::new(node, index));
        let callers = callers.collect::<std::io::Result<Vec<_>>>()?;
        let (counted, told) = (Arc::clone(&talking), Arc::clone(&leave));
        let thread = std::thread::Builder::new()
            .name("callers".to_owned())
            .spawn(move || talk(callers, &counted, &told))?;
        Ok(Self { calls, talking, leave, thread })
    }

    pub(super) async fn all_talk(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + ANSWERED_WITHIN;
        while self.talking.load(Ordering::Relaxed) < self.calls {
            if Instant::now() > deadline {
                bail!("not all calls were answered before the fault");
            }
            sleep(TURN).await;
        }
        Ok(())
    }

    pub(super) async fn hang_up(self) -> anyhow::Result<Vec<Talked>> {
        self.leave.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the callers' thread died"))
    }
}

fn talk(mut callers: Vec<Caller>, talking: &AtomicUsize, leave: &AtomicBool) -> Vec<Talked> {
    let mut frame = Instant::now();
    let mut left: Option<Instant> = None;
    let mut buffer = [0; 65_536];
    loop {
        let now = Instant::now();
        for caller in &mut callers {
            caller.turn(&mut buffer);
        }
        if leave.load(Ordering::Relaxed) && left.is_none() {
            left = Some(now);
            callers.iter_mut().for_each(|caller| caller.leave(now));
        }
        if frame <= now {
            frame = if now > frame + FRAME * 3 { now } else { frame + FRAME };
            callers.iter_mut().for_each(Caller::speak);
            let count = callers.iter().filter(|caller| caller.leg.phase == Phase::Talking).count();
            talking.store(count, Ordering::Relaxed);
        }
        let is_late = left.is_some_and(|left| left.elapsed() > ENDED_WITHIN);
        if left.is_some() && (is_late || callers.iter().all(|caller| caller.over)) {
            return callers.into_iter().map(|caller| caller.tells(now)).collect();
        }
        std::thread::sleep(TURN.saturating_sub(now.elapsed()));
    }
}

impl Caller {
    fn new(node: SocketAddr, index: usize) -> std::io::Result<Self> {
        let socket = || {
            let socket = UdpSocket::bind((node.ip(), 0))?;
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        };
        let (sip, rtp) = (socket()?, socket()?);
        let name = format!("caller{index}");
        let own = (sip.local_addr()?, rtp.local_addr()?);
        let leg = Leg::call(own, node, (&name, "echo"), Instant::now());
        let (mouth, ear) = (Mouth::new(index as u16), Ear::default());
        Ok(Self { name, sip, rtp, leg, mouth, ear, lost: None, left: None, over: false })
    }

    fn turn(&mut self, buffer: &mut [u8]) {
        while let Ok((bytes, source)) = self.sip.recv_from(buffer) {
            if let Some(message) = Message::read(&buffer[..bytes]) {
                self.leg.handle(&message, source, Instant::now());
            }
        }
        while let Ok((bytes, _)) = self.rtp.recv_from(buffer) {
            self.ear.hear(&buffer[..bytes], Instant::now());
        }
        self.leg.handle_timeout(Instant::now());
        self.send();
    }

    fn send(&mut self) {
        let (out, events) = self.leg.take();
        // What cannot be sent is lost, as the network would lose it.
        out.iter().for_each(|(to, bytes)| drop(self.sip.send_to(bytes, to)));
        for event in events {
            let wrong = match event {
                Event::Rings { .. } | Event::Answered | Event::Changed => continue,
                Event::Left => {
                    self.over = true;
                    continue;
                }
                Event::Refused { method, status } => format!("{method} was refused with {status}"),
                Event::Unanswered { method } => format!("{method} was not answered"),
                Event::Ended { by } => format!("the node ended it by {by}"),
            };
            self.over = true;
            self.lost.get_or_insert(wrong);
        }
    }

    fn speak(&mut self) {
        let Some(to) = self.leg.far_audio.filter(|_| self.leg.phase == Phase::Talking) else {
            return;
        };
        if let Some(packet) = self.mouth.speak() {
            // See above.
            let _lost = self.rtp.send_to(&packet, to);
        }
    }

    fn leave(&mut self, now: Instant) {
        self.left = Some(now);
        if self.leg.phase == Phase::Talking {
            self.leg.leave(now);
            self.send();
        }
    }

    fn tells(self, now: Instant) -> Talked {
        let own = |sound: &Sound| match sound {
            Sound::Mark { .. } => true,
            Sound::Pitch(_) | Sound::Quiet => false,
        };
        let heard = self.ear.arrivals.iter().filter(|arrival| own(&arrival.sound));
        let lost = self.lost.or_else(|| (!self.over).then(|| "its BYE has no answer".to_owned()));
        Talked {
            name: self.name,
            heard: heard.map(|arrival| arrival.at).collect(),
            lost,
            left: self.left.unwrap_or(now),
        }
    }
}
