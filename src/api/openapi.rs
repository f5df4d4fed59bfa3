//! The table of routes, and its description in OpenAPI 3.1.
//!
//! The server registers exactly what stands in [`TABLE`], and `docs/openapi.json` is made from
//! the same entries and from the schemas of the types that the handlers read and write. OpenAPI
//! 3.1 takes JSON Schema as it is, so one derive serves the WebSocket, HTTP and the
//! configuration.

use actix_web::{Route, web};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::cdr_view::CdrView;
use super::cti;
use super::error::ErrorBody;
use super::frame::{CommandFrame, ReplyFrame};
use super::members::{self, MemberView, NewMember};
use super::nodes::{self, NodeView};
use super::page::{CallsQuery, CdrsQuery, Page, ReadQuery};
use super::recordings::{self, RecordingQuery, RecordingView};
use super::records::{self, CallbacksQuery, ExportQuery};
use super::routes::{self, LeaderRequest, LoginAnswer, LoginRequest, Status};
use super::trunks::{self, TrunkView};
use super::view::{Agent, CallDetail, CallView, QueueView};
use super::words::{Role, word};
use crate::alarms::Alarm;
use crate::audit::report::Report;
use crate::audit::story::Story;
use crate::records::Callback;
use crate::records::reports::{AgentReport, Interval, QueueReport};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One route.
pub(super) struct Entry {
    pub(super) method: Method,
    pub(super) path: &'static str,
    summary: &'static str,
    /// The least role that is let in; nobody has to log in without one.
    pub(super) role: Option<Role>,
    query: Option<SchemaOf>,
    body: Option<SchemaOf>,
    answer: Content,
    pub(super) handler: fn() -> Route,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Delete,
}

/// What a success holds.
enum Content {
    Json(SchemaOf),
    /// JSON that is described elsewhere.
    Document,
    Text,
    Wav,
    /// Comma-separated values, or a workbook.
    Sheet,
    Nothing,
    WebSocket,
}

const fn get(path: &'static str, summary: &'static str, handler: fn() -> Route) -> Entry {
    let method = Method::Get;
    let (role, query, body, answer) = (None, None, None, Content::Text);
    Entry { method, path, summary, role, query, body, answer, handler }
}

const fn post(path: &'static str, summary: &'static str, handler: fn() -> Route) -> Entry {
    Entry { method: Method::Post, ..get(path, summary, handler) }
}

const fn delete(path: &'static str, summary: &'static str, handler: fn() -> Route) -> Entry {
    Entry { method: Method::Delete, ..get(path, summary, handler) }
}

impl Entry {
    const fn of_role(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }

    const fn asks(self, query: SchemaOf) -> Self {
        Self { query: Some(query), ..self }
    }

    const fn takes(self, body: SchemaOf) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn gives(self, answer: Content) -> Self {
        Self { answer, ..self }
    }
}

/// Every route of the server.
pub(super) const TABLE: &[Entry] = &[
    get("/healthz", "Whether the process answers", || web::get().to(routes::healthz)),
    get(
        "/readyz",
        "Whether the node should be sent new work: 200, or 503 with the reasons",
        || web::get().to(routes::readyz),
    ),
    get("/metrics", "Figures in the text format of Prometheus", || web::get().to(routes::metrics)),
    get("/cti", "The agents' WebSocket; its frames are described in cti-schema.json", || {
        web::get().to(cti::upgrade)
    })
    .gives(Content::WebSocket),
    post("/api/v1/login", "Logs in; the token that it gives holds on every node", || {
        web::post().to(routes::login)
    })
    .takes(|schemas| schemas.subschema_for::<LoginRequest>())
    .gives(Content::Json(|schemas| schemas.subschema_for::<LoginAnswer>())),
    post("/api/v1/commands", "Does what a command of the WebSocket does", || {
        web::post().to(routes::command)
    })
    .of_role(Role::Agent)
    .takes(|schemas| schemas.subschema_for::<CommandFrame>())
    .gives(Content::Json(|schemas| schemas.subschema_for::<ReplyFrame>())),
    get("/api/v1/status", "The node and its cluster in a few numbers", || {
        web::get().to(routes::status)
    })
    .of_role(Role::Agent)
    .asks(|schemas| schemas.subschema_for::<ReadQuery>())
    .gives(Content::Json(|schemas| schemas.subschema_for::<Status>())),
    get("/api/v1/members", "The nodes of the cluster", || web::get().to(members::members))
        .of_role(Role::Agent)
        .gives(Content::Json(|schemas| schemas.subschema_for::<Page<MemberView>>())),
    post(
        "/api/v1/members",
        "Adds a node that receives and does not vote yet; the leader takes it",
        || web::post().to(members::add),
    )
    .of_role(Role::Administrator)
    .takes(|schemas| schemas.subschema_for::<NewMember>())
    .gives(Content::Nothing),
    post(
        "/api/v1/members/{node}/promote",
        "Lets an added node vote, once it has caught up; the leader takes it",
        || web::post().to(members::promote),
    )
    .of_role(Role::Administrator)
    .gives(Content::Nothing),
    delete(
        "/api/v1/members/{node}",
        "Removes a node that is drained or lost; the leader takes it",
        || web::delete().to(members::remove),
    )
    .of_role(Role::Administrator)
    .gives(Content::Nothing),
    get("/api/v1/calls", "Calls that are there now, the oldest first", || {
        web::get().to(routes::calls)
    })
    .of_role(Role::Supervisor)
    .asks(|schemas| schemas.subschema_for::<CallsQuery>())
    .gives(Content::Json(|schemas| schemas.subschema_for::<Page<CallView>>())),
    get("/api/v1/calls/{id}", "A call, and what was decided about it and why", || {
        web::get().to(routes::call)
    })
    .of_role(Role::Supervisor)
    .gives(Content::Json(|schemas| schemas.subschema_for::<CallDetail>())),
    get("/api/v1/calls/{id}/story", "What happened to a call, live or ended, and why", || {
        web::get().to(routes::story)
    })
    .of_role(Role::Supervisor)
    .gives(Content::Json(|schemas| schemas.subschema_for::<Story>())),
    get("/api/v1/audit", "Whether every call has exactly one end and one record", || {
        web::get().to(routes::audit)
    })
    .of_role(Role::Administrator)
    .gives(Content::Json(|schemas| schemas.subschema_for::<Report>())),
    get("/api/v1/agents", "Everybody and their states", || web::get().to(routes::agents))
        .of_role(Role::Supervisor)
        .asks(|schemas| schemas.subschema_for::<ReadQuery>())
        .gives(Content::Json(|schemas| schemas.subschema_for::<Page<Agent>>())),
    get("/api/v1/queues", "The queues", || web::get().to(routes::queues))
        .of_role(Role::Agent)
        .asks(|schemas| schemas.subschema_for::<ReadQuery>())
        .gives(Content::Json(|schemas| schemas.subschema_for::<Page<QueueView>>())),
    get("/api/v1/cdrs", "Call-detail records, the newest first; agents see their own", || {
        web::get().to(routes::cdrs)
    })
    .of_role(Role::Agent)
    .asks(|schemas| schemas.subschema_for::<CdrsQuery>())
    .gives(Content::Json(|schemas| schemas.subschema_for::<Page<CdrView>>())),
    get("/api/v1/cdrs/export", "Call-detail records as a CSV file or an Excel workbook", || {
        web::get().to(records::exported)
    })
    .of_role(Role::Supervisor)
    .asks(|schemas| schemas.subschema_for::<ExportQuery>())
    .gives(Content::Sheet),
    get(
        "/api/v1/callbacks",
        "Callers who waited and were not served since, the newest first, 1,000 at most",
        || web::get().to(records::callbacks),
    )
    .of_role(Role::Supervisor)
    .asks(|schemas| schemas.subschema_for::<CallbacksQuery>())
    .gives(Content::Json(|schemas| schemas.subschema_for::<Page<Callback>>())),
    get("/api/v1/reports/queues", "The figures of queues over an interval", || {
        web::get().to(records::queue_report)
    })
    .of_role(Role::Supervisor)
    .asks(|schemas| schemas.subschema_for::<Interval>())
    .gives(Content::Json(|schemas| schemas.subschema_for::<Page<QueueReport>>())),
    get("/api/v1/reports/agents", "The figures of agents over an interval", || {
        web::get().to(records::agent_report)
    })
    .of_role(Role::Supervisor)
    .asks(|schemas| schemas.subschema_for::<Interval>())
    .gives(Content::Json(|schemas| schemas.subschema_for::<Page<AgentReport>>())),
    get(
        "/api/v1/recordings/{id}",
        "A recording, one side on each channel; ranges are served",
        || web::get().to(recordings::recording),
    )
    .of_role(Role::Supervisor)
    .asks(|schemas| schemas.subschema_for::<RecordingQuery>())
    .gives(Content::Wav),
    get(
        "/api/v1/recordings/{id}/parts",
        "The files that a recording is made of, on which nodes they are, and the gaps between them",
        || web::get().to(recordings::parts),
    )
    .of_role(Role::Supervisor)
    .gives(Content::Json(|schemas| schemas.subschema_for::<RecordingView>())),
    get("/api/v1/alarms", "What an operator has to know now, as this node sees it", || {
        web::get().to(routes::alarms)
    })
    .of_role(Role::Supervisor)
    .gives(Content::Json(|schemas| schemas.subschema_for::<Page<Alarm>>())),
    post("/api/v1/leader", "Hands the leadership to a node", || web::post().to(routes::transfer))
        .of_role(Role::Administrator)
        .takes(|schemas| schemas.subschema_for::<LeaderRequest>())
        .gives(Content::Nothing),
    get("/api/v1/nodes", "The nodes as calls see them", || web::get().to(nodes::nodes))
        .of_role(Role::Agent)
        .gives(Content::Json(|schemas| schemas.subschema_for::<Page<NodeView>>())),
    get("/api/v1/trunks", "The trunks, their load and whom they answer", || {
        web::get().to(trunks::trunks)
    })
    .of_role(Role::Supervisor)
    .gives(Content::Json(|schemas| schemas.subschema_for::<Page<TrunkView>>())),
    post(
        "/api/v1/nodes/{node}/drain",
        "Hands what a node has to others, so that it can be stopped; see when in /api/v1/nodes",
        || web::post().to(nodes::drain),
    )
    .of_role(Role::Administrator)
    .gives(Content::Nothing),
    post("/api/v1/nodes/{node}/resume", "Lets a node that drains take calls again", || {
        web::post().to(nodes::resume)
    })
    .of_role(Role::Administrator)
    .gives(Content::Nothing),
    get("/api/v1/openapi.json", "This description", || web::get().to(routes::openapi_json))
        .gives(Content::Document),
    get("/api/v1/cti-schema.json", "The frames of the WebSocket, in JSON Schema", || {
        web::get().to(routes::cti_schema_json)
    })
    .gives(Content::Document),
];

/// The description, as `docs/openapi.json` holds it.
#[must_use]
pub(super) fn text() -> String {
    let text = serde_json::to_string_pretty(&description());
    text.expect("a JSON value can be written") + "\n"
}

fn description() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut schemas = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for entry in TABLE {
        let method = match entry.method {
            Method::Get => "get",
            Method::Post => "post",
            Method::Delete => "delete",
        };
        let path = paths.entry(entry.path).or_insert_with(|| json!({}));
        path[method] = operation(entry, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tandem",
            "version": "1",
            "description": "The HTTP interface of a Tandem node. Times are Unix milliseconds.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:8080" }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            },
        },
    })
}

fn operation(entry: &Entry, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = json!({ "summary": entry.summary });
    let mut parameters: Vec<Value> = path_parameters(entry.path).collect();
    if let Some(query) = entry.query {
        parameters.extend(query_parameters(&query(schemas), schemas));
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = entry.body {
        let content = json!({ "application/json": { "schema": body(schemas) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    if let Some(role) = entry.role {
        operation["security"] = json!([{ "token": [] }]);
        operation["x-role"] = word(&role).into();
    }
    let (status, answer) = success(&entry.answer, schemas);
    let error = json!({ "application/json": { "schema": schemas.subschema_for::<ErrorBody>() } });
    operation["responses"] = json!({
        status: answer,
        "default": { "description": "What went wrong", "content": error },
    });
    operation
}

fn success(answer: &Content, schemas: &mut SchemaGenerator) -> (&'static str, Value) {
    let ok = |kind: &str, schema: Value| {
        ("200", json!({ "description": "Done", "content": { kind: { "schema": schema } } }))
    };
    match answer {
        Content::Json(schema) => ok("application/json", schema(schemas).to_value()),
        Content::Document => ok("application/json", json!({ "type": "object" })),
        Content::Text => ok("text/plain", json!({ "type": "string" })),
        Content::Sheet => ok("text/csv", json!({ "type": "string" })),
        Content::Wav => ok("audio/wav", json!({ "type": "string", "format": "binary" })),
        Content::Nothing => ("204", json!({ "description": "Done" })),
        Content::WebSocket => ("101", json!({ "description": "The connection is a WebSocket" })),
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let schema = json!({ "type": "string" });
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    })
}

/// A query's struct as parameters; its schema stands in the definitions.
fn query_parameters(query: &Schema, schemas: &SchemaGenerator) -> Vec<Value> {
    let reference = query.get("$ref").and_then(Value::as_str).unwrap_or_default();
    let name = reference.rsplit('/').next().unwrap_or_default();
    let schema = schemas.definitions().get(name);
    let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let words = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        json!({ "name": name, "in": "query", "description": words, "schema": schema })
    };
    properties.into_iter().flatten().map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;
    use crate::api::frame;

    fn is_current(file: &str, text: &str) {
        if env::var_os("TANDEM_WRITE_DOCS").is_some() {
            fs::write(file, text).unwrap();
        }
        let written = fs::read_to_string(file).unwrap_or_default();
        assert!(written == text, "{file}: run TANDEM_WRITE_DOCS=1 cargo test -p tandem --lib api");
    }

    #[test]
    fn the_description_is_current() {
        is_current("docs/openapi.json", &text());
    }

    #[test]
    fn the_schema_of_the_websocket_is_current() {
        let text = serde_json::to_string_pretty(&frame::schema()).unwrap() + "\n";
        is_current("docs/cti-schema.json", &text);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let description = description();
        let text = description.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            let pointer = format!("/components/schemas/{name}");
            assert!(description.pointer(&pointer).is_some(), "{name}");
        }
    }
}
