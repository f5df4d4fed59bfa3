//! Clients of the agents' WebSocket: the desks of agents, and one supervisor who watches.
//!
//! Each keeps what it was told, with the time, and what it asked, with the answer. When its node
//! is lost or does not answer it goes on at the next one, resumes by index, and repeats what was
//! not answered under the same id, as a good client does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::config::PASSWORD;
use crate::api::error::ErrorCode;
use crate::api::frame::{ClientFrame, CommandFrame, Do, Hello, ServerFrame, VERSION};
use crate::api::happened::EventView;
use crate::cli::client::{ClientError, Cti, Server};
use crate::config::types::Secret;

/// Commands that wait to be sent. Full: the drill itself waits.
const ORDERS_MAX: usize = 64;

/// Events that one client keeps; a drill has a few dozen for each call.
const EVENTS_MAX: usize = 200_000;

/// How long an answer or a connection may take before the next node is tried. A person waits no
/// longer either.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The pause before the next node is tried, and before a command is repeated that a node could
/// not do.
const PAUSE: Duration = Duration::from_millis(100);

/// What a client was told and asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) user: String,
    pub(crate) events: Vec<(std::time::Instant, EventView)>,
    pub(crate) asked: Vec<Asked>,
    /// The agent's present call.
    pub(crate) call: Option<String>,
    /// Times that it connected again, and those that found its session gone.
    pub(crate) returns: u32,
    pub(crate) sessions_lost: u32,
    /// What contradicts the protocol.
    pub(crate) odd: Vec<String>,
    /// The first frame has come.
    pub(crate) welcome: bool,
}

/// A command.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) command: Do,
    pub(crate) sent: std::time::Instant,
    pub(crate) answered: Option<std::time::Instant>,
    pub(crate) refused: Option<String>,
}

/// A client at work. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Desk {
    log: Arc<Mutex<Log>>,
    orders: mpsc::Sender<Do>,
    task: JoinHandle<()>,
}

impl Desk {
    /// Logs in and goes to the first of `servers`.
    pub(crate) async fn open(user: &str, servers: Vec<String>) -> Result<Self, ClientError> {
        let mut server = Server::new(&servers[0])?;
        let token = server.log_in(user, &Secret::new(PASSWORD)).await?.token;
        let log = Arc::new(Mutex::new(Log { user: user.to_owned(), ..Log::default() }));
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let client = Client {
            servers,
            at: 0,
            token,
            prefix: format!("{user}-{:08x}", rand::random::<u32>()),
            session: None,
            seen: None,
            unanswered: VecDeque::new(),
            log: log.clone(),
        };
        Ok(Self { log, orders, task: tokio::spawn(client.run(receiver)) })
    }

    /// Asks for something. Waits only while too much waits already.
    pub(crate) async fn ask(&self, command: Do) {
        let _ended = self.orders.send(command).await;
    }

    /// What it knows now.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Client {
    servers: Vec<String>,
    at: usize,
    token: String,
    prefix: String,
    session: Option<String>,
    seen: Option<u64>,
    unanswered: VecDeque<(CommandFrame, Instant)>,
    log: Arc<Mutex<Log>>,
}

impl Client {
    async fn run(mut self, mut orders: mpsc::Receiver<Do>) {
        loop {
            if let Ok(Some(mut cti)) = timeout(ANSWER_WITHIN, self.connect()).await {
                self.converse(&mut cti, &mut orders).await;
            }
            if orders.is_closed() {
                return;
            }
            self.note(|log| log.returns += 1);
            self.at = (self.at + 1) % self.servers.len();
            sleep(PAUSE).await;
        }
    }

    async fn connect(&mut self) -> Option<Cti> {
        let server = Server::new(&self.servers[self.at]).ok()?;
        let mut cti = server.connect().await.ok()?;
        let hello = Hello {
            version: VERSION,
            token: Some(self.token.clone()),
            session: self.session.clone(),
            resume_from: self.seen,
            sign_in: None,
        };
        cti.send(&ClientFrame::Hello(hello)).await.ok()?;
        for (command, due) in &mut self.unanswered {
            *due = Instant::now() + ANSWER_WITHIN;
            cti.send(&ClientFrame::Command(command.clone())).await.ok()?;
        }
        Some(cti)
    }

    /// Until the connection is over or an answer is late.
    async fn converse(&mut self, cti: &mut Cti, orders: &mut mpsc::Receiver<Do>) {
        let mut number = self.note(|log| log.asked.len());
        loop {
            let due = self.unanswered.front().map(|(_, due)| *due);
            tokio::select! {
                frame = cti.receive() => match frame {
                    Some(ServerFrame::Closing(_)) | None => return,
                    Some(frame) => if let Some(again) = self.handle(frame) {
                        sleep(PAUSE).await;
                        if cti.send(&ClientFrame::Command(again)).await.is_err() {
                            return;
                        }
                    },
                },
                order = orders.recv() => {
                    let Some(command) = order else { return };
                    number += 1;
                    let (id, after) = (format!("{}-{number}", self.prefix), self.seen);
                    let frame = CommandFrame { id, after, command };
                    let sent = std::time::Instant::now();
                    self.note(|log| log.asked.push(Asked {
                        id: frame.id.clone(),
                        command: frame.command.clone(),
                        sent,
                        answered: None,
                        refused: None,
                    }));
                    self.unanswered.push_back((frame.clone(), Instant::now() + ANSWER_WITHIN));
                    if cti.send(&ClientFrame::Command(frame)).await.is_err() {
                        return;
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return,
            }
        }
    }

    /// A frame arrived; the command that is to be sent again, if it says so.
    fn handle(&mut self, frame: ServerFrame) -> Option<CommandFrame> {
        match frame {
            ServerFrame::Welcome(welcome) => {
                let lost = self.session.is_some() && !welcome.resumed;
                self.session = welcome.session;
                self.note(|log| {
                    log.welcome = true;
                    log.sessions_lost += u32::from(lost);
                });
            }
            ServerFrame::Snapshot(snapshot) => {
                if self.seen.is_some() {
                    self.note(|log| log.odd.push("a snapshot replaced the events".to_owned()));
                }
                self.seen = Some(snapshot.index);
            }
            ServerFrame::Events(events) => {
                if self.seen.is_some_and(|seen| events.index <= seen) {
                    let odd = format!("events of {} behind {:?}", events.index, self.seen);
                    self.note(|log| log.odd.push(odd));
                }
                self.seen = Some(events.index);
                for event in events.events {
                    self.happened(event);
                }
            }
            ServerFrame::Pong(pong) => self.seen = Some(pong.index),
            ServerFrame::Reply(reply) => self.answered(&reply.id, None),
            ServerFrame::Error(error) => {
                let id = error.id.unwrap_or_default();
                if matches!(error.error.code, ErrorCode::Unavailable | ErrorCode::Unknown) {
                    let waiting = self.unanswered.iter().find(|(command, _)| command.id == id);
                    return waiting.map(|(command, _)| command.clone());
                }
                self.answered(&id, Some(error.error.to_string()));
            }
            ServerFrame::Closing(_)
            | ServerFrame::AlarmRaised(_)
            | ServerFrame::AlarmCleared(_) => (),
        }
        None
    }

    fn happened(&mut self, event: EventView) {
        self.note(|log| {
            if let EventView::Established { agent, call, .. } = &event
                && *agent == log.user
            {
                log.call = Some(call.id.clone());
            }
            if let EventView::Cleared { agent, .. } = &event
                && *agent == log.user
            {
                log.call = None;
            }
            if log.events.len() < EVENTS_MAX {
                log.events.push((std::time::Instant::now(), event));
            }
        });
    }

    fn answered(&mut self, id: &str, refused: Option<String>) {
        self.unanswered.retain(|(command, _)| command.id != id);
        self.note(|log| {
            if let Some(asked) = log.asked.iter_mut().find(|asked| asked.id == id) {
                asked.answered = Some(std::time::Instant::now());
                asked.refused = refused;
            }
        });
    }

    fn note<T>(&self, note: impl FnOnce(&mut Log) -> T) -> T {
        note(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
