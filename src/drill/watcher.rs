//! A supervisor who counts what agents' states say, and resumes by index when the node is lost.
//!
//! Unlike a [`super::desks::Desk`] it keeps counts and no events: there may be millions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::commands::DESKS;
use super::config::{PASSWORD, SUPERVISOR};
use crate::api::frame::{ClientFrame, Hello, ServerFrame, VERSION};
use crate::api::happened::EventView;
use crate::cli::client::{Cti, Server};
use crate::config::types::Secret;

/// How long a node may say nothing. It gives a sign of life every four seconds, but commands come
/// all the time.
const SILENCE: Duration = Duration::from_secs(2);

/// How long the first snapshot may take.
const WATCHES_WITHIN: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(50);

/// Commands of one desk that are counted apart.
const NUMBERS_MAX: usize = 1_000_000;

/// What is noted of contradictions.
const ODD_MAX: usize = 64;

/// How often each reason was told of each desk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    of_desks: Vec<Vec<u8>>,
    /// Different ones.
    different: usize,
    /// It has the state as it was, and is told of everything behind it.
    watches: bool,
    pub(crate) returns: usize,
    pub(crate) odd: Vec<String>,
}

impl Counts {
    pub(crate) fn of(&self, desk: usize, number: usize) -> u8 {
        self.of_desks.get(desk).and_then(|desk| desk.get(number)).copied().unwrap_or(0)
    }

    /// Something that is no command of a desk is passed over.
    pub(crate) fn add(&mut self, agent: &str, reason: &str) {
        let desk = agent.strip_prefix("agent").and_then(|number| number.parse::<usize>().ok());
        let number = reason.strip_prefix('r').and_then(|number| number.parse::<usize>().ok());
        let (Some(desk), Some(number)) = (desk, number) else { return };
        if desk >= DESKS || number >= NUMBERS_MAX {
            return;
        }
        if self.of_desks.len() <= desk {
            self.of_desks.resize(desk + 1, Vec::new());
        }
        let desk = &mut self.of_desks[desk];
        if desk.len() <= number {
            desk.resize(number + 1, 0);
        }
        self.different += usize::from(desk[number] == 0);
        desk[number] = desk[number].saturating_add(1);
    }

    fn note(&mut self, odd: String) {
        if self.odd.len() < ODD_MAX {
            self.odd.push(odd);
        }
    }
}

/// See the file. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    counts: Arc<Mutex<Counts>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Once it watches.
    pub(crate) async fn open(servers: &[String]) -> anyhow::Result<Self> {
        let mut server = Server::new(&servers[0])?;
        let token = server.log_in(SUPERVISOR, &Secret::new(PASSWORD)).await?.token;
        let counts = Arc::new(Mutex::new(Counts::default()));
        let work =
            Work { servers: servers.to_vec(), at: 0, token, seen: None, counts: counts.clone() };
        let watcher = Self { counts, task: tokio::spawn(work.run()) };
        let deadline = Instant::now() + WATCHES_WITHIN;
        while !watcher.counts.lock().unwrap_or_else(PoisonError::into_inner).watches {
            if Instant::now() > deadline {
                bail!("the supervisor was told nothing");
            }
            sleep(PAUSE).await;
        }
        Ok(watcher)
    }

    /// What was told, once there are so many or after a while. A moment more for what is too much.
    pub(crate) async fn counts_of(&self, different: usize, within: Duration) -> Counts {
        let deadline = Instant::now() + within;
        let counts = || self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        while counts().different < different && Instant::now() < deadline {
            sleep(PAUSE).await;
        }
        sleep(PAUSE * 20).await;
        let counts = counts();
        counts.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Work {
    servers: Vec<String>,
    at: usize,
    token: String,
    seen: Option<u64>,
    counts: Arc<Mutex<Counts>>,
}

impl Work {
    async fn run(mut self) {
        loop {
            if let Ok(Some(mut cti)) = timeout(SILENCE, self.connect()).await {
                while let Ok(Some(frame)) = timeout(SILENCE, cti.receive()).await {
                    self.handle(frame);
                }
            }
            self.note(|counts| counts.returns += 1);
            self.at = (self.at + 1) % self.servers.len();
            sleep(PAUSE).await;
        }
    }

    async fn connect(&self) -> Option<Cti> {
        let mut cti = Server::new(&self.servers[self.at]).ok()?.connect().await.ok()?;
        let hello = Hello {
            version: VERSION,
            token: Some(self.token.clone()),
            session: None,
            resume_from: self.seen,
            sign_in: Some(false),
        };
        cti.send(&ClientFrame::Hello(hello)).await.ok()?;
        Some(cti)
    }

    fn handle(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Snapshot(snapshot) => {
                if self.seen.is_some() {
                    self.note(|counts| counts.note("a snapshot replaced the events".to_owned()));
                }
                self.seen = Some(snapshot.index);
                self.note(|counts| counts.watches = true);
            }
            ServerFrame::Events(events) => {
                if self.seen.is_some_and(|seen| events.index <= seen) {
                    let odd = format!("events of {} behind {:?}", events.index, self.seen);
                    self.note(|counts| counts.note(odd));
                }
                self.seen = Some(events.index);
                self.note(|counts| {
                    for event in &events.events {
                        if let EventView::AgentState { agent, change } = event {
                            counts.add(agent, change.reason.as_deref().unwrap_or(""));
                        }
                    }
                });
            }
            ServerFrame::Pong(pong) => self.seen = Some(pong.index),
            ServerFrame::Welcome(_)
            | ServerFrame::Reply(_)
            | ServerFrame::Error(_)
            | ServerFrame::AlarmRaised(_)
            | ServerFrame::AlarmCleared(_)
            | ServerFrame::Closing(_) => (),
        }
    }

    fn note(&self, note: impl FnOnce(&mut Counts)) {
        note(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
