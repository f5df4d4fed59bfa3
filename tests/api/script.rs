//! The script of a conversation: owns the server, its centre and the clock, plays callers and
//! phones, and hands out clients.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jsonschema::Validator;
use serde_json::{Value, json};
use tandem::api::backend::Backend as _;
use tandem::api::memory::MemoryBackend;
use tandem::api::token::TokenKey;
use tandem::api::{ApiConfig, ApiHandle, serve};
use tandem::cli::client::{Cti, Server};
use tandem::config::Config;
use tandem::config::sections::Http;
use tandem::config::types::Secret;
use tandem::metrics::Metrics;
use tandem_center::{
    Arrived, CallId, Cause, Command, Index, LegNumber, NodeId, Outcome, Party, Wire,
};

/// The call centre of the conversations. Passwords are the names.
const CENTRE: &str = r#"
[[number]]
number = "sales"
queue = "sales"

[[queue]]
id = "sales"
name = "Sales"
ring_seconds = 15
wrap_up_seconds = 10

[queue.dispositions]
sold = "Sold"

[reasons]
lunch = "Lunch"

[[agent]]
id = "ana"
password = "ana"
queues = ["sales"]
answers_on = "desk"

[[agent]]
id = "ben"
password = "ben"
queues = ["sales"]
answers_on = "phone"

[[agent]]
id = "sue"
password = "sue"
role = "supervisor"

[[agent]]
id = "root"
password = "root"
role = "administrator"

[[trunk]]
name = "carrier"
address = "sip:127.0.0.1:5090"
prefix = "9"
strip_prefix = true
"#;

/// How long a client waits for a frame before the test fails.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Script {
    pub(crate) backend: Arc<MemoryBackend>,
    pub(crate) metrics: Metrics,
    pub(crate) key: TokenKey,
    handle: ApiHandle,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut ApiConfig)) -> Self {
        let config = Config::parse(CENTRE, "test.toml".as_ref()).unwrap();
        let backend = MemoryBackend::new(config.directory(Default::default())).unwrap();
        let mut api = ApiConfig::from(&Http::default());
        api.listen = "127.0.0.1:0".parse().unwrap();
        api.login_failures_max = 3;
        change(&mut api);
        let (metrics, key) = (Metrics::new(), TokenKey::from_secret(b"secret of the tests"));
        let handle = serve(api, backend.clone(), metrics.clone(), key.clone()).unwrap();
        Self { backend, metrics, key, handle }.chosen()
    }

    /// A second server over the same centre, as another node has it.
    pub(crate) fn another_server(&self) -> Self {
        let mut api = ApiConfig::from(&Http::default());
        api.listen = "127.0.0.1:0".parse().unwrap();
        let (metrics, key) = (Metrics::new(), self.key.clone());
        let handle = serve(api, self.backend.clone(), metrics.clone(), key.clone()).unwrap();
        Self { backend: self.backend.clone(), metrics, key, handle }
    }

    fn chosen(self) -> Self {
        let script = self;
        Server::new(&script.base()).unwrap(); // Chooses the cryptography for all clients.
        script
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.handle.address)
    }

    pub(crate) fn api(&self) -> &ApiHandle {
        &self.handle
    }

    /// Somebody who has logged in.
    pub(crate) async fn logged_in(&self, user: &str) -> Server {
        let mut server = Server::new(&self.base()).unwrap();
        server.log_in(user, &Secret::new(user)).await.unwrap();
        server
    }

    /// A connection that has not said hello.
    pub(crate) async fn connected(&self) -> Desk {
        let cti = Server::new(&self.base()).unwrap().connect().await.unwrap();
        Desk { cti, waiting: VecDeque::new(), commands: 0, name: String::new() }
    }

    /// A connection that says hello as `user`, with more fields; the welcome was received.
    pub(crate) async fn hello(&self, user: &str, more: Value) -> (Desk, Value) {
        let token = self.logged_in(user).await.token().unwrap().to_owned();
        let mut hello = json!({ "type": "hello", "version": 1, "token": token });
        hello.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut desk = self.connected().await;
        desk.name = user.to_owned();
        desk.sends(hello).await;
        let welcome = desk.receives("welcome").await;
        (desk, welcome)
    }

    /// A desk that is signed in and has its snapshot.
    pub(crate) async fn desk(&self, user: &str) -> Desk {
        let (mut desk, _) = self.hello(user, json!({})).await;
        desk.receives("snapshot").await;
        desk
    }

    /// A desk whose agent is ready.
    pub(crate) async fn ready_desk(&self, user: &str) -> Desk {
        let mut desk = self.desk(user).await;
        desk.does(json!({ "do": "ready" })).await;
        desk.happens("agent-state", json!({ "state": "ready" })).await;
        desk
    }

    // --- callers and phones, whom a node would speak to ---

    pub(crate) fn gives(&self, command: Command) -> (Index, Outcome) {
        self.backend.apply(command).unwrap()
    }

    /// Alice calls the queue.
    pub(crate) fn alice_calls(&self, called: &str) -> CallId {
        self.calls("Alice", called)
    }

    pub(crate) fn calls(&self, name: &str, called: &str) -> CallId {
        let (call, salt) = self.backend.new_call();
        self.gives(Command::Arrived(Box::new(Arrived {
            call,
            salt,
            owner: NodeId(1),
            home: None,
            trunk: None,
            phone: None,
            caller: Party { number: "+4930123".into(), name: Some(name.into()) },
            called: called.into(),
            wire: Wire::default(),
            answer_ready: true,
        })));
        call
    }

    pub(crate) fn phone_rings(&self, call: CallId, leg: u16) {
        self.gives(Command::LegRinging { call, leg: LegNumber(leg) });
    }

    pub(crate) fn phone_answers(&self, call: CallId, leg: u16) {
        self.gives(Command::LegAnswered { call, leg: LegNumber(leg), wires: Vec::new() });
    }

    pub(crate) fn leg_hangs_up(&self, call: CallId, leg: u16) {
        let (leg, cause) = (LegNumber(leg), Cause::HungUp);
        self.gives(Command::LegEnded { call, leg, cause });
    }

    /// Waits until the centre is as `it` says; for what clients cause without an answer.
    pub(crate) async fn until(&self, what: &str, it: impl Fn(&tandem_center::Center) -> bool) {
        for _ in 0..500 {
            if self.backend.look(&it) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not in time: {what}");
    }
}

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let text = std::fs::read_to_string("docs/cti-schema.json").unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    schema["anyOf"] = json!([{ "$ref": "#/$defs/ServerFrame" }]);
    jsonschema::validator_for(&schema).unwrap()
});

/// One WebSocket client. What arrives waits until the script asks for it, in order.
pub(crate) struct Desk {
    cti: Cti,
    waiting: VecDeque<Value>,
    commands: u32,
    name: String,
}

impl Desk {
    pub(crate) async fn sends(&mut self, frame: Value) {
        self.sends_text(frame.to_string()).await;
    }

    pub(crate) async fn sends_text(&mut self, text: String) {
        self.cti.send_text(text).await.unwrap();
    }

    /// The next frame that is no sign of life; checks it against the schema.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let text = tokio::time::timeout(PATIENCE, self.cti.receive_text()).await;
            let text = text.unwrap_or_else(|_| panic!("{}: nothing came", self.name))?;
            let frame: Value = serde_json::from_str(&text).unwrap();
            if let Err(error) = SCHEMA.validate(&frame) {
                panic!("not as the schema says: {error}\n{frame:#}");
            }
            if frame["type"] != "pong" {
                return Some(frame);
            }
        }
    }

    /// The next frame of this type; events that come before it wait.
    pub(crate) async fn receives(&mut self, kind: &str) -> Value {
        loop {
            let Some(frame) = self.next().await else {
                panic!("{}: the connection ended before {kind}", self.name);
            };
            if frame["type"] == kind {
                return frame;
            }
            assert_eq!(frame["type"], "events", "{}: {frame:#}", self.name);
            self.keep(&frame);
        }
    }

    fn keep(&mut self, frame: &Value) {
        for event in frame["events"].as_array().unwrap() {
            let mut event = event.clone();
            event["index"] = frame["index"].clone();
            self.waiting.push_back(event);
        }
    }

    /// Of the events of the next index, the next of this kind has these fields. The events of one
    /// index are read together, so their order says nothing.
    pub(crate) async fn happens(&mut self, event: &str, fields: Value) -> Value {
        while self.waiting.is_empty() {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| panic!("{}: ended before {event}", self.name));
            assert_eq!(frame["type"], "events", "{}: {frame:#}", self.name);
            self.keep(&frame);
        }
        let index = self.waiting[0]["index"].clone();
        let position =
            self.waiting.iter().position(|is| is["index"] == index && is["event"] == event);
        let Some(position) = position else {
            panic!("{}: no {event} comes next: {:#?}", self.name, self.waiting);
        };
        let is = self.waiting.remove(position).unwrap();
        for (name, value) in fields.as_object().unwrap() {
            assert_eq!(is[name], *value, "{}: {name} of {is:#}", self.name);
        }
        is
    }

    /// A command that is done; answers the result.
    pub(crate) async fn does(&mut self, command: Value) -> Value {
        let id = self.gives(command).await;
        let reply = self.receives("reply").await;
        assert_eq!(reply["id"], id);
        reply["result"].clone()
    }

    /// A command that is refused; answers the error.
    pub(crate) async fn is_refused(&mut self, command: Value) -> Value {
        let id = self.gives(command).await;
        let error = self.receives("error").await;
        assert_eq!(error["id"], id);
        error["error"].clone()
    }

    async fn gives(&mut self, command: Value) -> Value {
        self.commands += 1;
        let id = json!(format!("{}-{}", self.name, self.commands));
        self.sends(json!({ "type": "command", "id": id, "command": command })).await;
        id
    }

    /// The connection is ended by the node, for this reason.
    pub(crate) async fn closes_because(mut self, why: &str) {
        let closing = self.receives("closing").await;
        assert_eq!(closing["why"], why);
        assert_eq!(self.next().await, None);
    }

    /// The connection ends without another word.
    pub(crate) async fn ends(mut self) {
        assert_eq!(self.next().await, None);
    }

    /// The client goes, in order.
    pub(crate) async fn leaves(self) {
        self.cti.close().await;
    }

    /// Nothing more arrives until the answer to a ping.
    pub(crate) async fn is_silent(&mut self) {
        self.sends(json!({ "type": "ping" })).await;
        let text = tokio::time::timeout(PATIENCE, self.cti.receive_text()).await.unwrap().unwrap();
        assert!(text.contains("\"pong\"") && self.waiting.is_empty(), "{text} {:?}", self.waiting);
    }
}
