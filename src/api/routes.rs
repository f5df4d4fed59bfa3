//! The HTTP requests: one table of routes, from which the server and its OpenAPI description are
//! both made, and the handlers. What the nodes ask each other is in `recordings`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::JsonPayloadError;
use actix_web::http::header::{AUTHORIZATION, ContentType};
use actix_web::middleware::{Next, from_fn};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use futures_util::future::{Ready, ready};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::{AgentId, CallId, Center, NodeId};
use tokio::time::timeout;

use super::backend::{Freshness, Readiness, read};
use super::cdr_view::CdrView;
use super::commands::{self, require};
use super::error::{ErrorBody, ErrorCode};
use super::frame::{self, CommandFrame};
use super::login::LoginError;
use super::openapi::{self, TABLE};
use super::page::{CallsQuery, CdrsQuery, Page, ReadQuery};
use super::recordings;
use super::scrape;
use super::server::Api;
use super::token::Claims;
use super::view::{Agent, CallDetail, CallView, QueueView};
use super::words::{Role, word};
use crate::config::types::Secret;

/// Bytes of a request's body. Commands and log-ins are a few hundred.
const BODY_BYTES_MAX: usize = 16 << 10;

/// How long `/metrics` waits for the state. After it, what was known before is answered.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(2);

/// Registers the routes of the table.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    let json = web::JsonConfig::default()
        .limit(BODY_BYTES_MAX)
        .error_handler(|error, _| bad_body(&error).into());
    config.app_data(json);
    config.app_data(web::QueryConfig::default().error_handler(|e, _| bad_request(&e).into()));
    config.app_data(web::PathConfig::default().error_handler(|e, _| bad_request(&e).into()));
    let mut all = web::scope("").wrap(from_fn(count));
    for entry in TABLE {
        all = all.route(entry.path, (entry.handler)());
    }
    let all = all.configure(recordings::configure);
    config.service(all.default_service(web::to(nothing)));
}

pub(super) fn bad_request(error: &dyn std::error::Error) -> ErrorBody {
    ErrorBody::new(ErrorCode::BadRequest, error.to_string())
}

fn bad_body(error: &JsonPayloadError) -> ErrorBody {
    let is_too_large = matches!(
        error,
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. }
    );
    let code = if is_too_large { ErrorCode::TooLarge } else { ErrorCode::BadRequest };
    ErrorBody::new(code, error.to_string())
}

async fn nothing(request: HttpRequest) -> Result<HttpResponse, ErrorBody> {
    let message = format!("there is no {} {}", request.method(), request.path());
    Err(ErrorBody::not_found(message))
}

/// Counts requests by route and status, and measures them.
async fn count(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let begun = Instant::now();
    let api = request.app_data::<web::Data<Api>>().cloned();
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let response = next.call(request).await;
    let status = match &response {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    if let Some(api) = api {
        let seconds = begun.elapsed().as_secs_f64();
        api.metrics.http_requests_total.with_label_values(&[&*route, status.as_str()]).inc();
        api.metrics.http_seconds.with_label_values(&[&route]).observe(seconds);
    }
    response
}

/// Who asks, by the token in `Authorization`.
pub(super) struct Who(pub(super) Claims);

impl FromRequest for Who {
    type Error = ErrorBody;
    type Future = Ready<Result<Self, ErrorBody>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(who(request).map(Self))
    }
}

fn who(request: &HttpRequest) -> Result<Claims, ErrorBody> {
    let refuse = |message: String| ErrorBody::new(ErrorCode::NotLoggedIn, message);
    let api = request.app_data::<web::Data<Api>>();
    let api = api.ok_or_else(|| ErrorBody::new(ErrorCode::Internal, "no server"))?;
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| refuse("there is no bearer token; log in".to_owned()))?;
    api.key.verify(token, api.backend.now()).map_err(|error| refuse(error.to_string()))
}

/// A log-in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    /// The name.
    user: String,
    /// The password.
    password: Secret,
}

/// What a log-in gives.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoginAnswer {
    /// To be sent as `Authorization: Bearer …`, or in hello.
    pub token: String,
    /// Until when it holds, in Unix milliseconds.
    pub expires: u64,
    /// The name.
    pub agent: String,
    /// The name for people.
    pub name: String,
    /// What the person may do.
    pub role: Role,
}

pub(super) async fn login(
    api: web::Data<Api>,
    request: HttpRequest,
    body: web::Json<LoginRequest>,
) -> Result<HttpResponse, ErrorBody> {
    let LoginRequest { user, password } = body.into_inner();
    let wrong = || ErrorBody::new(ErrorCode::WrongPassword, LoginError::Wrong.to_string());
    let agent = AgentId::parse(&user).map_err(|_| wrong())?;
    let asked = agent.clone();
    let config = read(&*api.backend, Freshness::Local, move |center| {
        center.directory().agents.get(&asked).cloned()
    });
    let config = config.await?;
    // The address of a socket that is gone already: nobody reads the answer.
    let from = request.peer_addr().ok_or_else(wrong)?.ip();
    let now = api.backend.now();
    let stored = config.as_ref().map(|config| config.password.0.clone());
    let result = api.logins.check((&agent, from), password, stored, now).await;
    let (label, error) = match result {
        Ok(()) => ("done", None),
        Err(error @ LoginError::Wrong) => ("wrong", Some((ErrorCode::WrongPassword, error))),
        Err(error @ LoginError::Locked { .. }) => ("locked", Some((ErrorCode::Locked, error))),
        Err(error @ LoginError::Busy) => ("busy", Some((ErrorCode::Unavailable, error))),
    };
    api.metrics.logins_total.with_label_values(&[label]).inc();
    if let Some((code, error)) = error {
        tracing::info!(agent = %agent, %from, "log-in refused: {error}");
        return Err(ErrorBody::new(code, error.to_string()));
    }
    let config = config.ok_or_else(wrong)?;
    let expires = now.plus_seconds(api.config.token_seconds).0 / 1000;
    let role = config.role.into();
    let claims = Claims { agent: user, role, expires };
    let token = api.key.sign(&claims);
    let name = config.name.to_string();
    let expires = expires * 1000;
    Ok(HttpResponse::Ok().json(LoginAnswer { token, expires, agent: claims.agent, name, role }))
}

pub(super) async fn command(
    api: web::Data<Api>,
    who: Who,
    body: web::Json<CommandFrame>,
) -> Result<HttpResponse, ErrorBody> {
    Ok(HttpResponse::Ok().json(commands::run(&api, &who.0, body.into_inner()).await?))
}

/// The node and its cluster, in a few numbers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The node that answers.
    pub node: u64,
    /// The version of its program.
    pub version: String,
    /// The version of commands and state that the cluster has agreed on.
    pub agreed: u8,
    /// Whether it should be sent new work.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// The node that leads, if one does.
    pub leader: Option<u64>,
    /// The Raft term.
    pub term: u64,
    /// The last index known to be committed.
    pub committed: u64,
    /// The last index applied here.
    pub applied: u64,
    /// Calls by phase.
    pub calls: BTreeMap<String, usize>,
    /// Agents by state.
    pub agents: BTreeMap<String, usize>,
    /// Callers in queues.
    pub waiting: usize,
    /// Desks signed in, on all nodes.
    pub sessions: usize,
}

pub(super) async fn status(
    api: web::Data<Api>,
    _: Who,
    query: web::Query<ReadQuery>,
) -> Result<HttpResponse, ErrorBody> {
    let counts = |center: &Center| (scrape::Counts::of(center), center.version());
    let (counts, agreed) = read(&*api.backend, query.freshness(), counts).await?;
    let cluster = api.backend.cluster();
    let readiness = api.backend.readiness();
    let reasons = match &readiness {
        Readiness::Ready => Vec::new(),
        Readiness::NotReady(reasons) => reasons.clone(),
        Readiness::Draining => vec![readiness.to_string()],
    };
    Ok(HttpResponse::Ok().json(Status {
        node: api.backend.node().0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        agreed,
        ready: readiness == Readiness::Ready,
        reasons,
        leader: cluster.leader.map(|node| node.0),
        term: cluster.term,
        committed: cluster.committed,
        applied: cluster.applied,
        calls: counts.calls.iter().map(|(phase, count)| (word(phase), *count)).collect(),
        agents: counts.agents.iter().map(|(state, count)| (word(state), *count)).collect(),
        waiting: counts.queues.iter().map(|queue| queue.waiting).sum(),
        sessions: counts.sessions,
    }))
}

pub(super) async fn calls(
    api: web::Data<Api>,
    who: Who,
    query: web::Query<CallsQuery>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let after = query.after.as_deref().map(CallId::parse).transpose()?;
    let limit = query.limit();
    let page = read(&*api.backend, query.freshness(), move |center: &Center| {
        let is_behind = |call: &CallId| after.is_none_or(|after| *call > after);
        let behind = center.calls().filter(|call| is_behind(&call.id));
        Page::of(behind.map(|call| CallView::of(call, center)), limit, |call| call.id.clone())
    });
    Ok(HttpResponse::Ok().json(page.await?))
}

pub(super) async fn call(
    api: web::Data<Api>,
    who: Who,
    id: web::Path<String>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let id = CallId::parse(&id)?;
    let call = read(&*api.backend, Freshness::Local, move |center: &Center| {
        center.call(id).map(|call| CallDetail::of(call, center))
    });
    let missing = || ErrorBody::not_found(format!("there is no call {id}; see its record"));
    Ok(HttpResponse::Ok().json(call.await?.ok_or_else(missing)?))
}

pub(super) async fn story(
    api: web::Data<Api>,
    who: Who,
    id: web::Path<String>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let id = CallId::parse(&id)?;
    let missing = || ErrorBody::not_found(format!("nothing is known of call {id}"));
    Ok(HttpResponse::Ok().json(api.backend.story(id).await?.ok_or_else(missing)?))
}

pub(super) async fn audit(api: web::Data<Api>, who: Who) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Administrator)?;
    Ok(HttpResponse::Ok().json(api.backend.audit().await?))
}

pub(super) async fn alarms(api: web::Data<Api>, who: Who) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let items = api.backend.alarms().standing().to_vec();
    Ok(HttpResponse::Ok().json(Page { items, next: None }))
}

pub(super) async fn agents(
    api: web::Data<Api>,
    who: Who,
    query: web::Query<ReadQuery>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let agents = read(&*api.backend, query.freshness(), |center: &Center| {
        center.agents().map(|agent| Agent::of(agent, center)).collect()
    });
    Ok(HttpResponse::Ok().json(Page { items: agents.await?, next: None }))
}

pub(super) async fn queues(
    api: web::Data<Api>,
    _: Who,
    query: web::Query<ReadQuery>,
) -> Result<HttpResponse, ErrorBody> {
    let queues = read(&*api.backend, query.freshness(), |center: &Center| {
        center.queues().map(|queue| QueueView::of(queue, center)).collect()
    });
    Ok(HttpResponse::Ok().json(Page { items: queues.await?, next: None }))
}

pub(super) async fn cdrs(
    api: web::Data<Api>,
    who: Who,
    query: web::Query<CdrsQuery>,
) -> Result<HttpResponse, ErrorBody> {
    let mut wanted = query.to_query()?;
    if who.0.role == Role::Agent {
        // Agents see their own records only.
        if wanted.agent.as_ref().is_some_and(|agent| *agent != who.0.agent_id()) {
            require(&who.0, Role::Supervisor)?;
        }
        wanted.only_of(&who.0.agent_id());
    }
    let limit = wanted.limit;
    wanted.limit = limit + 1; // One more tells whether there is a next page.
    let rows = api.backend.cdrs(wanted).await?;
    let page = Page::of(rows.iter().map(CdrView::of), limit, CdrsQuery::cursor);
    Ok(HttpResponse::Ok().json(page))
}

/// Which node is to lead.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaderRequest {
    /// The node.
    node: u64,
}

pub(super) async fn transfer(
    api: web::Data<Api>,
    who: Who,
    body: web::Json<LeaderRequest>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Administrator)?;
    api.backend.transfer_leader(NodeId(body.node)).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(api: web::Data<Api>) -> HttpResponse {
    let readiness = api.backend.readiness();
    let text = format!("{readiness}\n");
    match readiness {
        Readiness::Ready => HttpResponse::Ok().body(text),
        Readiness::NotReady(_) | Readiness::Draining => {
            HttpResponse::ServiceUnavailable().body(text)
        }
    }
}

pub(super) async fn metrics(api: web::Data<Api>) -> HttpResponse {
    let counts = read(&*api.backend, Freshness::Local, scrape::Counts::of);
    if let Ok(Ok(counts)) = timeout(SCRAPE_PATIENCE, counts).await {
        counts.show(&api.metrics, api.backend.now());
    }
    api.backend.measure();
    scrape::show_cluster(&api.metrics, &api.backend.cluster(), api.backend.node());
    // The text format of Prometheus names its version in the type.
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    HttpResponse::Ok().content_type(kind).body(api.metrics.render())
}

pub(super) async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(openapi::text())
}

pub(super) async fn cti_schema_json() -> HttpResponse {
    HttpResponse::Ok().json(frame::schema())
}
