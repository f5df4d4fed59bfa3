//! The frames of the agents' WebSocket, version 1: what clients send and what they receive.
//!
//! One JSON object a text frame. `docs/cti-schema.json` is made from these types; `docs/cti.md`
//! explains the conversation. Frames from clients are read by [`read_client_frame`], which tells
//! bad JSON, unknown frames and unknown commands apart.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tandem_center::Reply;

use super::error::{ErrorBody, ErrorCode};
use super::happened::EventView;
use super::view::{Agent, CallView, QueueView};
pub use super::wishes::{MoveToQueue, OfAgent, Prioritise, SendKeys, Slot, Supervise};
use super::words::SessionEnded;
use crate::alarms::Alarm;

/// The version of the protocol that this program speaks.
pub const VERSION: u32 = 1;

/// Bytes of a frame from a client. A larger one ends the connection.
pub const FRAME_BYTES_MAX: usize = 16 << 10;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientFrame {
    /// The first frame of a connection.
    Hello(Hello),
    /// Do something.
    Command(CommandFrame),
    /// Answered with `pong`, for clients that cannot send a ping of the WebSocket.
    Ping(Nothing),
}

/// Nothing more than its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The first frame of a connection: who is there, and from where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The version of this protocol: 1.
    pub version: u32,
    /// The token of the log-in, unless the upgrade request had it in `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The session of an earlier connection, to take it up again: the agent's state stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The last index whose events were seen: those behind it follow. Without it, or when it is
    /// too long ago, a snapshot comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_from: Option<u64>,
    /// Whether the agent signs in at this desk. Without it agents do, and those with another
    /// role only watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<bool>,
}

/// A command with the id that the client gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandFrame {
    /// Different for each command of an agent, 1 to 64 bytes; a random UUID is good. A command
    /// that is repeated under the same id, here or at another node, is not done again and
    /// receives the first result.
    pub id: String,
    /// The last index that the client knew of when it gave the command: of a reply, of events, a
    /// snapshot or a pong. A node that was frozen or cut off may read the command much later, when
    /// it has been repeated elsewhere, and 64 others after it: that the first is done already is
    /// forgotten by then, and only this tells that it is late. Repeated unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// What to do.
    pub command: Do,
}

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Do {
    /// Be offered calls. During a call: afterwards.
    Ready(Whom),
    /// Be offered none.
    NotReady(NotReady),
    /// Take the call that rings at this desk.
    Accept(OfCall),
    /// Do not take it.
    Decline(OfCall),
    /// Hold the other party.
    Hold(OfCall),
    /// Talk to the held party again.
    Retrieve(OfCall),
    /// End the call, or give up dialling.
    HangUp(OfCall),
    /// Call somebody: one's own phone rings first.
    Dial(To),
    /// Ask somebody else while the other party waits: an agent, a target, or a number outside.
    Consult(Asked),
    /// Go to and fro between the one who was asked and the others.
    Alternate(OfCall),
    /// Let the one who was asked, or who is being called, go, and talk to the others again.
    Reconnect(OfCall),
    /// Let the one who was asked join the conversation.
    Conference(OfCall),
    /// Leave the call to the one who was asked or, with `to`, to any number. If nobody answers
    /// there, it comes back.
    Transfer(Left),
    /// Say what a call came to, during it or after.
    Dispose(Disposition),
    /// End the wrap-up before its time.
    EndWrapUp(Nothing),
    /// Go home. Refused during a call. Supervisors send others home also during one, which goes on
    /// at the phone.
    SignOut(Whom),
    /// For supervisors: listen to an agent's conversation with one's own phone, or be heard there in
    /// another way. `hang-up` ends it.
    Supervise(Supervise),
    /// For supervisors: take the place of the agent whose conversation one supervises.
    TakeOver(OfAgent),
    /// For supervisors: change the priority of a call that waits.
    Prioritise(Prioritise),
    /// For supervisors: move a call that waits to another queue.
    MoveToQueue(MoveToQueue),
    /// Not be heard by anybody in the call.
    Mute(OfCall),
    /// Be heard again.
    Unmute(OfCall),
    /// Press keys for those who hear one.
    SendKeys(SendKeys),
    /// Interrupt the recording, as for a card number.
    PauseRecording(OfCall),
    /// Let it go on.
    ResumeRecording(OfCall),
    /// Send the call that rings here to another number.
    Deflect(Asked),
    /// Leave the other party in a slot, from which anybody may pick it up.
    Park(OfCall),
    /// Take the call in a slot: one's own phone is called.
    PickUp(Slot),
}

/// Whose state is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whom {
    /// Another agent; for supervisors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Why not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotReady {
    /// A code of the snapshot's `reasons`, or anything if it lists none.
    pub reason: String,
    /// Another agent; for supervisors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Which call is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfCall {
    /// The call's id.
    pub call: String,
}

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct To {
    /// The number.
    pub to: String,
}

/// Whom to ask during a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The call's id.
    pub call: String,
    /// The number.
    pub to: String,
}

/// Whom a call is left to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// The call's id.
    pub call: String,
    /// The number; without it: the one who was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What a call came to, in the agent's view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disposition {
    /// The call's id.
    pub call: String,
    /// A code of the queue's dispositions, or anything if it lists none.
    pub disposition: String,
    /// In one's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a client receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerFrame {
    /// The answer to hello.
    Welcome(Welcome),
    /// Everything, as of an index. Replaces what the client knew.
    Snapshot(Box<Snapshot>),
    /// What happened at an index: all of it in one frame.
    Events(Events),
    /// A command was done.
    Reply(ReplyFrame),
    /// A command, or a frame that was none, was not done.
    Error(ErrorFrame),
    /// The answer to ping, and a sign of life every few seconds. Everything up to its index has
    /// been sent, so the client can resume from there.
    Pong(Pong),
    /// Something that an operator has to know begins; for supervisors. What stands already
    /// follows the snapshot.
    AlarmRaised(Alarm),
    /// It is over.
    AlarmCleared(AlarmCleared),
    /// The connection ends after this.
    Closing(Closing),
}

/// The answer to hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// The version of the protocol.
    pub version: u32,
    /// The node that serves this connection.
    pub node: u64,
    /// Who logged in.
    pub agent: String,
    /// The session, to be given when connecting again; a secret of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Whether the session is the one that hello named.
    pub resumed: bool,
    /// How long the session waits for the client when the connection is lost.
    pub grace_seconds: u32,
    /// Every node's address, to go on at another one.
    pub servers: Vec<String>,
}

/// Everything that a client sees, as of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// The index.
    pub index: u64,
    /// The leader's clock then.
    pub at: u64,
    /// Agents: oneself, or for supervisors everybody.
    pub agents: Vec<Agent>,
    /// Calls: one's own, or for supervisors all of them.
    pub calls: Vec<CallView>,
    /// Queues: those that one serves, or for supervisors all of them.
    pub queues: Vec<QueueView>,
    /// Why an agent can be not ready: code and name. Empty: anything.
    pub reasons: BTreeMap<String, String>,
}

/// What happened at an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// The index: where to resume from after having seen this.
    pub index: u64,
    /// The leader's clock then.
    pub at: u64,
    /// What happened, in order.
    pub events: Vec<EventView>,
}

/// A command was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyFrame {
    /// The client's id of the command.
    pub id: String,
    /// The index at which it was done, or was found to be done. Its events may come before or
    /// after this.
    pub index: u64,
    /// The result.
    pub result: ResultView,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum ResultView {
    /// Done.
    Done,
    /// It was so already.
    Already,
    /// The call that was begun.
    Dialing(OfCall),
    /// Signed in.
    SignedIn,
    /// It holds when the present call and its wrap-up are over.
    Afterwards,
    /// The call waits in this slot.
    Parked(Slot),
}

impl From<Reply> for ResultView {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Done => Self::Done,
            Reply::Already => Self::Already,
            Reply::Dialing { call } => Self::Dialing(OfCall { call: call.to_string() }),
            Reply::SignedIn { .. } => Self::SignedIn,
            Reply::Afterwards => Self::Afterwards,
            Reply::Parked { slot } => Self::Parked(Slot { slot }),
        }
    }
}

/// Something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorFrame {
    /// The client's id of the command, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What was wrong.
    pub error: ErrorBody,
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// Everything up to here has been sent.
    pub index: u64,
}

/// An alarm is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmCleared {
    /// The alarm's id.
    pub id: String,
}

/// Why the connection ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Closing {
    /// Why.
    pub why: CloseReason,
}

/// Why the node ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// The agent signed out.
    SignedOut,
    /// The agent signed in elsewhere, or took up the session elsewhere: do not connect again.
    SignedInElsewhere,
    /// The session ended while the client was not heard.
    ConnectionLost,
    /// The agent is not configured any more.
    Reconfigured,
    /// A supervisor signed the agent out: do not connect again by yourself.
    ForcedOut,
    /// The node is ending: go on at another one at once.
    GoingAway,
    /// The client did not read: connect again and resume.
    TooSlow,
    /// Nothing was heard from the client.
    Silent,
    /// Too many frames were wrong.
    TooManyErrors,
    /// The log-in or hello failed; the error came before.
    Refused,
}

impl From<SessionEnded> for CloseReason {
    fn from(end: SessionEnded) -> Self {
        match end {
            SessionEnded::SignedOut => Self::SignedOut,
            SessionEnded::SignedInElsewhere => Self::SignedInElsewhere,
            SessionEnded::ConnectionLost => Self::ConnectionLost,
            SessionEnded::Reconfigured => Self::Reconfigured,
            SessionEnded::ForcedOut => Self::ForcedOut,
        }
    }
}

/// The types of frames that clients can send.
const CLIENT_FRAMES: [&str; 3] = ["hello", "command", "ping"];

/// What commands can say in `do`.
const COMMANDS: [&str; 28] = [
    "ready",
    "not-ready",
    "accept",
    "decline",
    "hold",
    "retrieve",
    "hang-up",
    "dial",
    "consult",
    "alternate",
    "reconnect",
    "conference",
    "transfer",
    "dispose",
    "end-wrap-up",
    "sign-out",
    "supervise",
    "take-over",
    "prioritise",
    "move-to-queue",
    "mute",
    "unmute",
    "send-keys",
    "pause-recording",
    "resume-recording",
    "deflect",
    "park",
    "pick-up",
];

/// Reads a frame from a client. The error names the id of the command if it can be read.
pub fn read_client_frame(text: &str) -> Result<ClientFrame, ErrorFrame> {
    let bad = |message: String| ErrorFrame {
        id: None,
        error: ErrorBody::new(ErrorCode::BadRequest, message),
    };
    let value: Value =
        serde_json::from_str(text).map_err(|error| bad(format!("not JSON: {error}")))?;
    let object = value.as_object().ok_or_else(|| bad("a frame is a JSON object".to_owned()))?;
    let id = object.get("id").and_then(Value::as_str).map(str::to_owned);
    if let Some(error) = unknown(object) {
        return Err(ErrorFrame { id, error });
    }
    serde_json::from_value(value).map_err(|error| ErrorFrame {
        id,
        error: ErrorBody::new(ErrorCode::BadRequest, error.to_string()),
    })
}

/// What no version of this protocol has, told apart from what is only wrong in its fields.
fn unknown(frame: &Map<String, Value>) -> Option<ErrorBody> {
    let kind = frame.get("type").and_then(Value::as_str).unwrap_or_default();
    if !CLIENT_FRAMES.contains(&kind) {
        let message =
            format!("no frame has the type {kind:?}; there are {}", CLIENT_FRAMES.join(", "));
        return Some(ErrorBody::new(ErrorCode::UnknownFrame, message));
    }
    let command = frame.get("command").filter(|_| kind == "command")?;
    let name = command.get("do").and_then(Value::as_str).unwrap_or_default();
    if COMMANDS.contains(&name) {
        return None;
    }
    let message = format!("there is no command {name:?}; there are {}", COMMANDS.join(", "));
    Some(ErrorBody::new(ErrorCode::UnknownCommand, message))
}

/// The JSON Schema of both directions, as `docs/cti-schema.json` holds it.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let client = generator.subschema_for::<ClientFrame>();
    let server = generator.subschema_for::<ServerFrame>();
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "tandem-cti-1",
        "title": "Frames of the agents' WebSocket, version 1",
        "description": "A client sends ClientFrame and receives ServerFrame.",
        "anyOf": [client, server],
        "$defs": generator.take_definitions(true),
    })
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn error(text: &str) -> (Option<String>, ErrorCode, String) {
        let ErrorFrame { id, error } = read_client_frame(text).unwrap_err();
        (id, error.code, error.message)
    }

    #[test]
    fn a_command_is_read() {
        let text = r#"{"type":"command","id":"7","command":{"do":"dial","to":"9123"}}"#;
        let command = Do::Dial(To { to: "9123".into() });
        let frame = ClientFrame::Command(CommandFrame { id: "7".into(), after: None, command });
        assert_eq!(read_client_frame(text), Ok(frame.clone()));
        assert_eq!(serde_json::to_string(&frame).unwrap(), text);
        let ready = r#"{"type":"command","id":"8","command":{"do":"ready"}}"#;
        let command = Do::Ready(Whom::default());
        let frame = ClientFrame::Command(CommandFrame { id: "8".into(), after: None, command });
        assert_eq!(read_client_frame(ready), Ok(frame));
    }

    #[test]
    fn what_is_no_frame_is_told_what_it_is() {
        let (_, code, message) = error("{\"type\":");
        assert_eq!((code, message.starts_with("not JSON")), (ErrorCode::BadRequest, true));
        assert_eq!(error("[]").1, ErrorCode::BadRequest);
        assert_eq!(error("{}").1, ErrorCode::UnknownFrame);
        assert_eq!(error(r#"{"type":"helo"}"#).1, ErrorCode::UnknownFrame);
        let unknown = r#"{"type":"command","id":"9","command":{"do":"fly"}}"#;
        let (id, code, message) = error(unknown);
        assert_eq!((id.as_deref(), code), (Some("9"), ErrorCode::UnknownCommand));
        assert!(message.contains("\"fly\"") && message.contains("hang-up"), "{message}");
        let missing = r#"{"type":"command","id":"9","command":{"do":"dial"}}"#;
        let (id, code, message) = error(missing);
        assert_eq!((id.as_deref(), code), (Some("9"), ErrorCode::BadRequest));
        assert!(message.contains("`to`"), "{message}");
        let more = r#"{"type":"command","id":"9","command":{"do":"hold","call":"1","x":1}}"#;
        assert!(error(more).2.contains("unknown field `x`"));
        assert!(error(r#"{"type":"hello","version":1,"tokn":"x"}"#).2.contains("`tokn`"));
    }

    #[test]
    fn no_bytes_make_a_frame_that_breaks_the_reader() {
        let mut random = StdRng::seed_from_u64(7);
        let frames = [
            r#"{"type":"hello","version":1,"token":"a","session":"b","resume_from":7}"#,
            r#"{"type":"command","id":"9","command":{"do":"dispose","call":"1","disposition":"x"}}"#,
        ];
        for round in 0..20_000 {
            let mut bytes = frames[round % frames.len()].as_bytes().to_vec();
            for _ in 0..random.random_range(1..4) {
                let position = random.random_range(0..bytes.len());
                match random.random_range(0..3) {
                    0 => bytes[position] = random.random(),
                    1 => drop(bytes.remove(position)),
                    _ => bytes.insert(position, random.random_range(b' '..b'~')),
                }
            }
            if let Err(error) = read_client_frame(&String::from_utf8_lossy(&bytes)) {
                assert!(!error.error.message.is_empty());
            }
        }
        let deep = "[".repeat(FRAME_BYTES_MAX);
        assert_eq!(error(&deep).1, ErrorCode::BadRequest);
    }

    #[test]
    fn every_frame_and_command_is_known_by_its_name() {
        let schema = schema();
        let words = |name: &str, tag: &str| {
            let variants = schema["$defs"][name]["oneOf"].as_array().unwrap().clone();
            let word = |of: &Value| of["properties"][tag]["const"].as_str().unwrap().to_owned();
            variants.iter().map(word).collect::<Vec<_>>()
        };
        assert_eq!(words("ClientFrame", "type"), CLIENT_FRAMES);
        assert_eq!(words("Do", "do"), COMMANDS);
    }
}
