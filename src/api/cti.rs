//! The agents' WebSocket: one conversation for each connection.
//!
//! A connection says hello, receives what it missed or a snapshot, and then events, while its
//! commands are answered one after the other. It owns its socket and its place in the log;
//! everything else is replicated, so losing it loses nothing: the session waits for the client,
//! here or at another node. Nothing is queued for a client that does not read: its frames wait
//! in the socket until patience ends, and it resumes later.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, ProtocolError};
use tandem_center::{AgentId, Command, Happened, Index, SessionId};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::alarm_feed::AlarmFeed;
use super::backend::{Freshness, SubmitError, Unavailable, read};
use super::commands::{self, command_id, is_passing};
use super::desks::Seat;
use super::error::{ErrorBody, ErrorCode};
use super::events::{CannotResume, Follower, Logged, Scope};
use super::frame::{
    ClientFrame, CloseReason, Closing, ErrorFrame, Events, FRAME_BYTES_MAX, Hello, Pong,
    ServerFrame, Snapshot, VERSION, Welcome, read_client_frame,
};
use super::happened::EventView;
use super::server::{Api, Place};
use super::token::Claims;
use super::words::{Role, SessionEnded, word};

/// Frames of a connection that may be wrong. One more ends it: a program that does not learn.
const ERRORS_MAX: u32 = 20;

/// Events that are read from the log at a time.
const EVENTS_AT_ONCE: usize = 256;

/// How long a sign-in is tried again while nobody leads. An election takes a third of a second.
const SIGN_IN_PATIENCE: Duration = Duration::from_secs(5);

/// How often a conversation looks whether its node is cut off from the others.
const CUT_OFF_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// Between two tries while nobody leads.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// `GET /cti`: upgrades to a WebSocket.
pub(super) async fn upgrade(
    api: web::Data<Api>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    let api = api.into_inner();
    if *api.draining.borrow() {
        return Err(ErrorBody::from(Unavailable::Stopping).into());
    }
    if !api.backend.serves_desks() {
        return Err(ErrorBody::from(Unavailable::Witness).into());
    }
    let place = api.admit().ok_or_else(|| ErrorBody::from(Unavailable::Busy))?;
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let (response, socket, frames) = actix_ws::handle(&request, body)?;
    let frames = frames
        .max_frame_size(FRAME_BYTES_MAX)
        .aggregate_continuations()
        .max_continuation_size(FRAME_BYTES_MAX);
    actix_web::rt::spawn(serve(api, place, Socket::new(socket), frames, token));
    Ok(response)
}

/// Why a conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client went, orderly or not.
    Gone,
    /// The node ends it.
    Close(CloseReason),
    /// Too large a frame, or no WebSocket at all.
    Broken(CloseCode),
}

/// The way out to the client.
struct Socket {
    session: actix_ws::Session,
    heard: Instant,
}

impl Socket {
    fn new(session: actix_ws::Session) -> Self {
        Self { session, heard: Instant::now() }
    }

    async fn send(&mut self, api: &Api, frame: &ServerFrame) -> Result<(), End> {
        let text = serde_json::to_string(frame).map_err(|_| End::Broken(CloseCode::Error))?;
        self.send_text(api, text).await
    }

    async fn send_text(&mut self, api: &Api, text: String) -> Result<(), End> {
        match timeout(api.config.patience.send, self.session.text(text)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(CloseReason::TooSlow)),
        }
    }
}

async fn serve(
    api: Arc<Api>,
    place: Place,
    mut socket: Socket,
    mut frames: AggregatedMessageStream,
    token: Option<String>,
) {
    let end = match begin(&api, &mut socket, &mut frames, token).await {
        Ok(mut conversation) => {
            let end = conversation.run(&mut socket, &mut frames).await;
            conversation.leave(end);
            end
        }
        Err(end) => end,
    };
    let (code, reason) = match end {
        End::Gone => (CloseCode::Normal, "gone".to_owned()),
        End::Broken(code) => (code, "broken".to_owned()),
        End::Close(why) => {
            let closing = ServerFrame::Closing(Closing { why });
            let _may_be_gone = socket.send(&api, &closing).await;
            (close_code(why), word(&why))
        }
    };
    api.metrics.cti_closed_total.with_label_values(&[&reason]).inc();
    let description = Some(reason);
    let close = socket.session.close(Some(actix_ws::CloseReason { code, description }));
    let _may_not_read = timeout(api.config.patience.send, close).await; // The kernel ends it.
    drop(place);
}

fn close_code(why: CloseReason) -> CloseCode {
    match why {
        CloseReason::SignedOut => CloseCode::Normal,
        CloseReason::SignedInElsewhere
        | CloseReason::ConnectionLost
        | CloseReason::Reconfigured
        | CloseReason::ForcedOut
        | CloseReason::TooManyErrors
        | CloseReason::Refused => CloseCode::Policy,
        CloseReason::GoingAway => CloseCode::Away,
        CloseReason::TooSlow | CloseReason::Silent => CloseCode::Again,
    }
}

/// The next frame of a client; pings are answered on the way.
async fn next_frame(
    socket: &mut Socket,
    frames: &mut AggregatedMessageStream,
) -> Result<Result<ClientFrame, ErrorFrame>, End> {
    loop {
        let message = match frames.recv().await {
            None => return Err(End::Gone),
            Some(Err(ProtocolError::Overflow)) => return Err(End::Broken(CloseCode::Size)),
            Some(Err(ProtocolError::Io(_))) => return Err(End::Gone),
            Some(Err(_)) => return Err(End::Broken(CloseCode::Protocol)),
            Some(Ok(message)) => message,
        };
        socket.heard = Instant::now();
        match message {
            AggregatedMessage::Text(text) => return Ok(read_client_frame(&text)),
            AggregatedMessage::Binary(_) => {
                let message = "frames are text, this one is binary";
                let error = ErrorBody::new(ErrorCode::BadRequest, message);
                return Ok(Err(ErrorFrame { id: None, error }));
            }
            AggregatedMessage::Ping(payload) => {
                socket.session.pong(&payload).await.map_err(|_| End::Gone)?;
            }
            AggregatedMessage::Pong(_) => (),
            AggregatedMessage::Close(_) => return Err(End::Gone),
        }
    }
}

/// From the upgrade to the welcome.
async fn begin(
    api: &Arc<Api>,
    socket: &mut Socket,
    frames: &mut AggregatedMessageStream,
    token: Option<String>,
) -> Result<Conversation, End> {
    let hello = timeout(api.config.patience.hello, wait_for_hello(api, socket, frames)).await;
    let hello = hello.unwrap_or(Err(End::Close(CloseReason::Silent)))?;
    match Conversation::open(api, hello, token).await {
        Ok((mut conversation, welcome, resume_from)) => {
            socket.send(api, &ServerFrame::Welcome(welcome)).await?;
            conversation.catch_up(socket, resume_from).await?;
            conversation.send_alarms(socket).await?;
            Ok(conversation)
        }
        Err(error) => {
            socket.send(api, &ServerFrame::Error(ErrorFrame { id: None, error })).await?;
            Err(End::Close(CloseReason::Refused))
        }
    }
}

async fn wait_for_hello(
    api: &Api,
    socket: &mut Socket,
    frames: &mut AggregatedMessageStream,
) -> Result<Hello, End> {
    for _ in 0..ERRORS_MAX {
        let error = match next_frame(socket, frames).await? {
            Ok(ClientFrame::Hello(hello)) => return Ok(hello),
            Ok(ClientFrame::Command(frame)) => {
                let error = ErrorBody::new(ErrorCode::NotSignedIn, "say hello first");
                let id = Some(frame.id);
                ErrorFrame { id, error: error.between("before hello", "after hello") }
            }
            Ok(ClientFrame::Ping(_)) => {
                let index = api.backend.events().head();
                socket.send(api, &ServerFrame::Pong(Pong { index })).await?;
                continue;
            }
            Err(error) => error,
        };
        socket.send(api, &ServerFrame::Error(error)).await?;
    }
    Err(End::Close(CloseReason::TooManyErrors))
}

/// A connection that said hello.
struct Conversation {
    api: Arc<Api>,
    who: Claims,
    scope: Scope,
    follower: Arc<Follower>,
    alarms: Option<AlarmFeed>,
    seat: Option<Seat>,
    /// Everything up to here has been sent.
    sent: Index,
    errors: u32,
}

impl Conversation {
    /// Checks hello and signs in. Answers also the welcome and the index to resume from.
    async fn open(
        api: &Arc<Api>,
        hello: Hello,
        token: Option<String>,
    ) -> Result<(Self, Welcome, Option<Index>), ErrorBody> {
        if hello.version != VERSION {
            let message = format!("version {} is asked for", hello.version);
            let error = ErrorBody::new(ErrorCode::WrongVersion, message);
            return Err(error.between(hello.version.to_string(), VERSION.to_string()));
        }
        let token = hello.token.or(token).unwrap_or_default();
        let who = api.key.verify(&token, api.backend.now());
        let who = who.map_err(|error| ErrorBody::new(ErrorCode::NotLoggedIn, error.to_string()))?;
        let signs_in = hello.sign_in.unwrap_or(who.role == Role::Agent);
        let (seat, resumed) = if signs_in {
            let (session, resumed) = sign_in(api, &who, hello.session.as_deref()).await?;
            (Some(api.desks.take(session)), resumed)
        } else {
            (None, false)
        };
        let scope = match who.role {
            Role::Agent => Scope::Agent(who.agent_id()),
            Role::Supervisor | Role::Administrator => Scope::Everything,
        };
        let grace = read(&*api.backend, Freshness::Local, |center| {
            center.directory().session_grace_seconds
        });
        let welcome = Welcome {
            version: VERSION,
            node: api.backend.node().0,
            agent: who.agent.clone(),
            session: seat.as_ref().map(|seat| seat.session.to_string()),
            resumed,
            grace_seconds: grace.await?,
            servers: servers(api),
        };
        let follower = api.backend.events().follow(scope.clone());
        let alarms = AlarmFeed::for_scope(&scope, api.backend.alarms());
        let conversation =
            Self { api: api.clone(), who, scope, follower, alarms, seat, sent: 0, errors: 0 };
        Ok((conversation, welcome, hello.resume_from))
    }

    /// Sends what the client missed, or a snapshot.
    async fn catch_up(&mut self, socket: &mut Socket, from: Option<Index>) -> Result<(), End> {
        if let Some(from) = from
            && self.can_resume(from).await
        {
            self.sent = from;
            return self.send_news(socket).await;
        }
        let scope = self.scope.clone();
        let snapshot =
            read(&*self.api.backend, Freshness::Local, move |center| Snapshot::of(center, &scope));
        let snapshot = snapshot.await.map_err(|_| End::Close(CloseReason::GoingAway))?;
        self.sent = snapshot.index;
        socket.send(&self.api, &ServerFrame::Snapshot(Box::new(snapshot))).await
    }

    /// Whether the events behind `from` are here; waits for them if this node is behind.
    async fn can_resume(&self, from: Index) -> bool {
        let events = self.api.backend.events();
        match events.read(&self.scope, from, 0) {
            Ok(_) => true,
            Err(CannotResume::TooOld) => false,
            Err(CannotResume::NotYet) => {
                let caught_up = read(&*self.api.backend, Freshness::Linear, |_| ()).await.is_ok();
                caught_up && events.read(&self.scope, from, 0).is_ok()
            }
        }
    }

    async fn run(&mut self, socket: &mut Socket, frames: &mut AggregatedMessageStream) -> End {
        let mut beat = interval(self.api.config.patience.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = self.api.draining.clone();
        let mut cut_off = interval(CUT_OFF_LOOKED_AT_EVERY);
        loop {
            let follower = self.follower.clone();
            let alarmed = self.alarms.as_ref().map(AlarmFeed::changes);
            let alarmed = async {
                match alarmed {
                    // Its other end is the feed's: it does not end before this.
                    Some(mut changes) => drop(changes.changed().await),
                    None => std::future::pending().await,
                }
            };
            let displaced = async {
                match &self.seat {
                    Some(seat) => seat.displaced().await,
                    None => std::future::pending().await,
                }
            };
            let step = tokio::select! {
                frame = next_frame(socket, frames) => match frame {
                    Ok(frame) => self.handle_frame(socket, frame).await,
                    Err(end) => Err(end),
                },
                () = follower.news() => self.send_news(socket).await,
                () = alarmed => self.send_alarms(socket).await,
                _ = beat.tick() => self.beat(socket).await,
                _ = cut_off.tick() => match self.api.backend.is_cut_off() {
                    true => Err(End::Close(CloseReason::GoingAway)),
                    false => Ok(()),
                },
                _ = draining.wait_for(|draining| *draining) => {
                    Err(End::Close(CloseReason::GoingAway))
                }
                () = displaced => Err(End::Close(CloseReason::SignedInElsewhere)),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn handle_frame(
        &mut self,
        socket: &mut Socket,
        frame: Result<ClientFrame, ErrorFrame>,
    ) -> Result<(), End> {
        let answer = match frame {
            Ok(ClientFrame::Command(frame)) => {
                let id = frame.id.clone();
                match commands::run(&self.api, &self.who, frame).await {
                    Ok(reply) => ServerFrame::Reply(reply),
                    Err(error) => ServerFrame::Error(ErrorFrame { id: Some(id), error }),
                }
            }
            Ok(ClientFrame::Ping(_)) => ServerFrame::Pong(Pong { index: self.sent }),
            Ok(ClientFrame::Hello(_)) => {
                let error = ErrorBody::new(ErrorCode::BadRequest, "hello was said already");
                let error = error.between("after hello", "before hello");
                self.count_error(ErrorFrame { id: None, error })?
            }
            Err(error) => self.count_error(error)?,
        };
        socket.send(&self.api, &answer).await
    }

    fn count_error(&mut self, error: ErrorFrame) -> Result<ServerFrame, End> {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            return Err(End::Close(CloseReason::TooManyErrors));
        }
        Ok(ServerFrame::Error(error))
    }

    /// Sends the events that are there behind what has been sent.
    async fn send_news(&mut self, socket: &mut Socket) -> Result<(), End> {
        loop {
            let events = self.api.backend.events();
            let (events, complete) = events
                .read(&self.scope, self.sent, EVENTS_AT_ONCE)
                .map_err(|_| End::Close(CloseReason::TooSlow))?;
            for at_index in events.chunk_by(|left, right| left.index == right.index) {
                socket.send(&self.api, &ServerFrame::Events(frame_of(at_index))).await?;
                self.sent = at_index[0].index;
                self.api.metrics.cti_events_total.inc_by(at_index.len() as u64);
                if let Some(why) = self.session_ended(at_index) {
                    return Err(End::Close(SessionEnded::from(why).into()));
                }
            }
            self.sent = complete;
            if events.len() < EVENTS_AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Sends the alarms that began or ended.
    async fn send_alarms(&mut self, socket: &mut Socket) -> Result<(), End> {
        let news = self.alarms.as_mut().map(AlarmFeed::news).unwrap_or_default();
        for frame in news {
            socket.send(&self.api, &frame).await?;
        }
        Ok(())
    }

    fn session_ended(&self, events: &[Arc<Logged>]) -> Option<tandem_center::event::SessionEnd> {
        let own = self.seat.as_ref()?.session;
        events.iter().find_map(|logged| {
            let Happened::SessionEnded { session, why, .. } = &logged.event.what else {
                return None;
            };
            (*session == own).then_some(*why)
        })
    }

    /// A sign of life, and the end of those who give none.
    async fn beat(&mut self, socket: &mut Socket) -> Result<(), End> {
        if socket.heard.elapsed() > self.api.config.patience.silence {
            return Err(End::Close(CloseReason::Silent));
        }
        // Nothing may concern this client for hours; this keeps its index from growing too old.
        self.send_news(socket).await?;
        socket.send(&self.api, &ServerFrame::Pong(Pong { index: self.sent })).await?;
        let ping = timeout(self.api.config.patience.send, socket.session.ping(b""));
        match ping.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(CloseReason::TooSlow)),
        }
    }

    /// The connection is over: says that the session is without a client, unless it has another
    /// one or has ended.
    fn leave(self, end: End) {
        let Some(seat) = self.seat else { return };
        let is_own = self.api.desks.leave(&seat);
        let has_ended = match end {
            End::Close(
                CloseReason::SignedOut
                | CloseReason::SignedInElsewhere
                | CloseReason::ConnectionLost
                | CloseReason::Reconfigured
                | CloseReason::ForcedOut,
            ) => true,
            End::Close(
                CloseReason::GoingAway
                | CloseReason::TooSlow
                | CloseReason::Silent
                | CloseReason::TooManyErrors
                | CloseReason::Refused,
            )
            | End::Gone
            | End::Broken(_) => false,
        };
        if is_own && !has_ended {
            actix_web::rt::spawn(report_lost(self.api, seat.session));
        }
    }
}

fn frame_of(at_index: &[Arc<Logged>]) -> Events {
    Events {
        index: at_index[0].index,
        at: at_index[0].at.0,
        events: at_index.iter().map(|logged| EventView::of(&logged.event)).collect(),
    }
}

/// Takes the session up again, or begins one. Answers whether it is the same.
async fn sign_in(
    api: &Api,
    who: &Claims,
    session: Option<&str>,
) -> Result<(SessionId, bool), ErrorBody> {
    let (agent, node) = (who.agent_id(), api.backend.node());
    if let Some(session) = session {
        let session = SessionId::parse(session)?;
        if owner_of(api, session).await? == Some(agent.clone()) {
            match submit_patiently(api, Command::SessionBack { session, node }).await {
                Ok(_) => return Ok((session, true)),
                Err(SubmitError::Rejected(_)) => (), // It ended meanwhile: begin another.
                Err(error) => return Err(error.into()),
            }
        }
    }
    let session = api.backend.new_session();
    let command = command_id(api, &format!("sign-in-{session}"), None).await?;
    submit_patiently(api, Command::SignIn { agent, session, node, command }).await?;
    Ok((session, false))
}

/// Whose session it is, as of now: it may have begun at another node a moment ago.
async fn owner_of(api: &Api, session: SessionId) -> Result<Option<AgentId>, Unavailable> {
    let begun = Instant::now();
    loop {
        let owner = read(&*api.backend, Freshness::Linear, move |center| {
            center.session(session).map(|session| session.agent.clone())
        });
        match owner.await {
            Err(_) if begun.elapsed() < SIGN_IN_PATIENCE => sleep(RETRY_EVERY).await,
            result => return result,
        }
    }
}

async fn submit_patiently(api: &Api, command: Command) -> Result<(), SubmitError> {
    let begun = Instant::now();
    loop {
        match api.backend.submit(command.clone()).await {
            Err(error) if is_passing(&error) && begun.elapsed() < SIGN_IN_PATIENCE => {
                sleep(RETRY_EVERY).await;
            }
            result => return result.map(drop),
        }
    }
}

/// Where a desk can go on.
fn servers(api: &Api) -> Vec<String> {
    let members = api.backend.cluster().members.into_iter().filter(|member| !member.witness);
    members.filter_map(|member| member.http).collect()
}

/// Says that a session is without its client, until it is said or is not true any more. Were it
/// not said, the agent would be offered calls for ever.
async fn report_lost(api: Arc<Api>, session: SessionId) {
    let node = api.backend.node(); // It may be at another one by now, which the centre sees.
    loop {
        match api.backend.submit(Command::SessionLost { session, node }).await {
            Ok(_)
            | Err(SubmitError::Rejected(_) | SubmitError::Unavailable(Unavailable::Stopping)) => {
                return;
            }
            Err(SubmitError::Unavailable(_) | SubmitError::Unknown) => sleep(RETRY_EVERY).await,
        }
    }
}
