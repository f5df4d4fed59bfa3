//! The HTTP server: what its handlers share, how it starts, and how it drains.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::backend::Backend;
use super::desks::Desks;
use super::login::Logins;
use super::routes;
use super::token::TokenKey;
use crate::config::sections::Http;
use crate::metrics::Metrics;

/// Connections that wait to be accepted. Full: the kernel drops the SYN, and the client tries
/// again.
const BACKLOG: i32 = 1024;

/// How long what was sent may stay unread or unacknowledged before the kernel ends the
/// connection. A WebSocket whose client never reads is ended by this at the latest.
const UNREAD_SECONDS: u64 = 30;

/// Threads that serve HTTP. Its work is small: commands wait for the log, not for these.
const WORKERS: usize = 2;

/// How long requests in progress may take when the server stops.
const STOP_SECONDS: u64 = 5;

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long a token holds.
    pub token_seconds: u32,
    /// Wrong passwords in a row before a name is locked.
    pub login_failures_max: u32,
    /// How long it is locked.
    pub lock_seconds: u32,
    /// WebSocket clients at a time.
    pub sessions_max: usize,
    /// How patient it is with WebSocket clients.
    pub patience: Patience,
}

/// How patient the server is with WebSocket clients.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the upgrade to hello.
    pub hello: Duration,
    /// Between two signs of life that the server gives.
    pub beat: Duration,
    /// Without a sign of life from the client. Clients answer each ping, so it is a few beats.
    pub silence: Duration,
    /// For a frame to find room on its way out.
    pub send: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            beat: Duration::from_secs(4),
            silence: Duration::from_secs(13),
            send: Duration::from_secs(8),
        }
    }
}

impl From<&Http> for ApiConfig {
    fn from(http: &Http) -> Self {
        Self {
            listen: http.listen,
            token_seconds: http.token_seconds.get(),
            login_failures_max: http.login_failures_max.get(),
            lock_seconds: http.lock_seconds.get(),
            sessions_max: http.sessions_max.get() as usize,
            patience: Patience::default(),
        }
    }
}

/// What every handler shares.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) metrics: Metrics,
    pub(super) key: TokenKey,
    pub(super) logins: Logins,
    pub(super) desks: Desks,
    pub(super) config: ApiConfig,
    pub(super) connections: AtomicUsize,
    /// Becomes true when clients are to go elsewhere.
    pub(super) draining: watch::Receiver<bool>,
}

impl Api {
    /// A place for one more WebSocket client, if there is one; it is free again when dropped.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        let max = self.config.sessions_max;
        let taken = self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < max).then_some(count + 1)
        });
        taken.ok()?;
        self.metrics.cti_connections.inc();
        Some(Place(self.clone()))
    }
}

/// The place of one WebSocket client.
#[derive(Debug)]
pub(super) struct Place(Arc<Api>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.cti_connections.dec();
    }
}

/// A running server. It goes on when this is dropped.
#[derive(Debug)]
pub struct ApiHandle {
    /// Where it listens.
    pub address: SocketAddr,
    draining: watch::Sender<bool>,
    server: ServerHandle,
}

impl ApiHandle {
    /// Tells WebSocket clients to go elsewhere, and takes no new ones, until it is told that they
    /// may come again. Requests are served on.
    pub fn drain(&self, draining: bool) {
        self.draining.send_replace(draining);
    }

    /// Drains, lets requests in progress end, and stops.
    pub async fn stop(&self) {
        self.drain(true);
        self.server.stop(true).await;
    }
}

/// Starts the server on threads of its own. Has to be called within a Tokio runtime.
pub fn serve(
    config: ApiConfig,
    backend: Arc<dyn Backend>,
    metrics: Metrics,
    key: TokenKey,
) -> io::Result<ApiHandle> {
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?;
    let (drain, draining) = watch::channel(false);
    let api = Arc::new(Api {
        backend,
        metrics,
        key,
        logins: Logins::new(config.login_failures_max, config.lock_seconds),
        desks: Desks::default(),
        connections: AtomicUsize::new(0),
        draining,
        config,
    });
    let shared = web::Data::from(api);
    let server =
        HttpServer::new(move || App::new().app_data(shared.clone()).configure(routes::configure))
            .workers(WORKERS)
            .disable_signals()
            .shutdown_timeout(STOP_SECONDS)
            .listen(listener)?
            .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(ApiHandle { address, draining: drain, server: handle })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_user_timeout(Some(Duration::from_secs(UNREAD_SECONDS)))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
