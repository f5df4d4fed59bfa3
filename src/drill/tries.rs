//! Short calls to every node, over and over: who takes new calls when, as a caller sees it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::leg::{Event, Leg};
use super::message::Message;

/// The pause between two calls to a node.
const PAUSE: Duration = Duration::from_millis(250);

/// The pause between two looks at the socket.
const TURN: Duration = Duration::from_millis(5);

/// Tries that are remembered; a drill has some hundred.
const TRIES_MAX: usize = 10_000;

/// A call that somebody tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    pub(crate) node: usize,
    pub(crate) begun: Instant,
    /// 200, or why not; nothing while nobody has said anything.
    pub(crate) status: Option<u16>,
}

/// See the file.
#[derive(Debug)]
pub(crate) struct Trier {
    stops: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Try>>,
}

impl Trier {
    /// From `ip`, to the number `echo` of all `nodes`.
    pub(crate) fn start(ip: Ipv4Addr, nodes: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        let here = socket.local_addr()?;
        let stops = Arc::new(AtomicBool::new(false));
        let told = stops.clone();
        let work = Work { socket, here, nodes, legs: BTreeMap::new(), tries: Vec::new() };
        let thread =
            thread::Builder::new().name("tries".to_owned()).spawn(move || work.play(&told))?;
        Ok(Self { stops, thread })
    }

    pub(crate) fn stop(self) -> anyhow::Result<Vec<Try>> {
        self.stops.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the thread of the tries died"))
    }
}

struct Work {
    socket: UdpSocket,
    here: SocketAddr,
    nodes: Vec<SocketAddr>,
    /// By the dialog's id, with the number of the try.
    legs: BTreeMap<String, (usize, Leg)>,
    tries: Vec<Try>,
}

impl Work {
    fn play(mut self, stops: &AtomicBool) -> Vec<Try> {
        let mut next = Instant::now();
        let mut buffer = [0; 65_536];
        while !stops.load(Ordering::Relaxed) {
            let now = Instant::now();
            if next <= now && self.tries.len() < TRIES_MAX {
                next = now + PAUSE;
                self.begin(now);
            }
            while let Ok((bytes, source)) = self.socket.recv_from(&mut buffer) {
                if let Some(message) = Message::read(&buffer[..bytes])
                    && let Some((_, leg)) = self.legs.get_mut(message.header("Call-ID"))
                {
                    leg.handle(&message, source, now);
                }
            }
            self.go_on(now);
            thread::sleep(TURN);
        }
        self.tries
    }

    fn begin(&mut self, now: Instant) {
        for (node, address) in self.nodes.clone().into_iter().enumerate() {
            let number = self.tries.len();
            // Audio that comes to the signalling's port is no message, and passed over.
            let from = format!("8{number:05}");
            let leg = Leg::call((self.here, self.here), address, (&from, "echo"), now);
            self.legs.insert(leg.call_id.clone(), (number, leg));
            self.tries.push(Try { node, begun: now, status: None });
        }
    }

    fn go_on(&mut self, now: Instant) {
        for (number, leg) in self.legs.values_mut() {
            leg.handle_timeout(now);
            let (out, events) = leg.take();
            out.iter().for_each(|(to, bytes)| drop(self.socket.send_to(bytes, to)));
            for event in events {
                match event {
                    Event::Answered => {
                        self.tries[*number].status = Some(200);
                        leg.leave(now);
                    }
                    Event::Refused { method: "INVITE", status } => {
                        self.tries[*number].status = Some(status);
                    }
                    Event::Rings { .. }
                    | Event::Changed
                    | Event::Refused { .. }
                    | Event::Unanswered { .. }
                    | Event::Ended { .. }
                    | Event::Left => (),
                }
            }
        }
    }
}
