//! What a standby answers over HTTP: that it is there, that it is not ready, and its figures.
//!
//! Serves at the address of the API until this machine is active and the API has it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::metrics::Metrics;

/// Requests in progress are short; whoever asks again is answered by the API.
const STOP_SECONDS: u64 = 1;

/// What the standby says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Says(Arc<Mutex<String>>);

impl Says {
    pub(super) fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts the server.
pub(super) fn serve(
    listen: SocketAddr,
    says: Says,
    metrics: Arc<Metrics>,
) -> io::Result<ServerHandle> {
    let shared = web::Data::new((says, metrics));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .route("/healthz", web::get().to(healthz))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(figures))
            .default_service(web::to(readyz))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(STOP_SECONDS)
    .bind(listen)?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(handle)
}

type Shared = web::Data<(Says, Arc<Metrics>)>;

async fn healthz() -> &'static str {
    "ok: standby\n"
}

async fn readyz(shared: Shared) -> HttpResponse {
    HttpResponse::ServiceUnavailable().body(format!("standby: {}\n", shared.0.get()))
}

async fn figures(shared: Shared) -> HttpResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    HttpResponse::Ok().content_type(kind).body(shared.1.render())
}
