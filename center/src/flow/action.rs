//! What the interpreter tells the node to do, and what the node reports back.
//!
//! These are values of the replicated state: a restarted node, or another one, does the same
//! action again from the same value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::StepName;

/// Digits that one collection may gather. A card or account number has fewer than twenty; the
/// bound keeps a stuck key from growing the state. Past it the collection ends.
pub const DIGITS_MAX: u16 = 64;

/// Prompts in one step. Past it the flow is refused.
pub const PROMPTS_MAX: usize = 32;

/// Where a call stands in its flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The step whose action is being done.
    pub step: StepName,
    /// How many times this step has asked already: 0 at first.
    pub attempt: u8,
    /// Why the step asks again.
    pub again: Again,
    /// Milliseconds of the action's prompts, laid end to end, that have been heard: where
    /// playing goes on when another node resumes the action.
    pub offset_ms: u32,
    /// The flow has passed an `answer` step: the caller's leg is to be answered.
    pub answered: bool,
    /// Digits that were pressed during a prompt and wait for the next step that collects.
    pub ahead: String,
}

/// Why a menu or a collection is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Again {
    /// It is asked for the first time.
    First,
    /// What was pressed is none of the choices, or too short.
    Invalid,
    /// Nothing was pressed.
    NoInput,
}

/// Something to do that takes time. The call waits in its [`Position`] until the node reports
/// an [`IvrResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Play the prompts, one after the other. Answered by [`IvrResult::Finished`], or by
    /// [`IvrResult::Digits`] with the one digit that interrupted when `barge_in`.
    Play { prompts: Vec<Prompt>, barge_in: bool },
    /// Play the prompts, then gather digits. Answered by [`IvrResult::Digits`] or
    /// [`IvrResult::NoInput`].
    Collect {
        prompts: Vec<Prompt>,
        /// Gathering ends at this many digits.
        digits_max: u16,
        /// This key ends the gathering and is not part of the digits.
        terminator: Option<char>,
        /// Milliseconds from the end of the prompts to the first digit.
        first_ms: u32,
        /// Milliseconds from one digit to the next; past it what is gathered is reported.
        inter_ms: u32,
        /// A digit stops the prompts. When false, digits during the prompts are ignored.
        barge_in: bool,
        /// Digits pressed before the action began: they count as gathered. When there are
        /// any, the prompts are not played.
        ahead: String,
    },
    /// Ask a web service. Answered by [`IvrResult::Http`].
    Http(HttpRequest),
}

/// One thing to hear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Prompt {
    /// A file of the prompt directory, by name.
    File(String),
    /// Text to be spoken; the language is a tag like `en` or `zh`.
    Text { language: String, text: String },
}

/// A request to a web service, with all variables already put in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    pub method: HttpMethod,
    /// An absolute `http` or `https` URL.
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// A JSON document; its content type is `application/json` unless a header says else.
    pub body: Option<String>,
    /// Milliseconds for the whole exchange, name look-up to last byte.
    pub timeout_ms: u32,
    /// Variable → JSON pointer (RFC 6901) of the field in the answer.
    pub save: BTreeMap<String, String>,
}

/// The methods of RFC 9110 §9 that a flow may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IvrResult {
    /// The prompts were played to the end.
    Finished,
    /// What the caller pressed, without the terminator. May be shorter than the most that
    /// was asked for, and empty when only the terminator was pressed.
    Digits { digits: String },
    /// The caller pressed nothing in time.
    NoInput,
    /// The web service answered (`ok`: with a 2xx and, if fields are wanted, JSON) or did
    /// not. `fields` has a value for each variable of [`HttpRequest::save`] that was found.
    Http { ok: bool, fields: BTreeMap<String, String> },
    /// The action could not be done, for example because a prompt's file is gone. The flow
    /// goes on as well as it can.
    Failed { reason: String },
}

/// What comes next for a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Do the action; the call waits in the position.
    Act(Position, Action),
    /// Put the call in the queue. `data` is what the agent is shown.
    Enqueue { queue: String, priority: u8, data: BTreeMap<String, String>, answered: bool },
    /// Connect the call to a number.
    Transfer { number: String, answered: bool },
    /// End the call.
    HangUp { cause: HangUpCause, answered: bool },
}

/// Why a flow ends a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HangUpCause {
    /// Everything was said.
    Normal,
    /// The one called is busy.
    Busy,
    /// The call is not wanted.
    Rejected,
    /// Nobody can serve the call now.
    Unavailable,
    /// There is no such number.
    NoSuchNumber,
    /// The flow itself failed; the operator finds why in the call's timeline.
    Failure,
}

impl Position {
    /// The same place, with playing to go on at `offset_ms`.
    #[must_use]
    pub fn at_offset(&self, offset_ms: u32) -> Self {
        Self { offset_ms, ..self.clone() }
    }
}

impl Next {
    /// The flow has passed an `answer` step: the caller's leg is to be answered.
    #[must_use]
    pub fn answered(&self) -> bool {
        match self {
            Self::Act(position, _) => position.answered,
            Self::Enqueue { answered, .. }
            | Self::Transfer { answered, .. }
            | Self::HangUp { answered, .. } => *answered,
        }
    }
}

impl HangUpCause {
    /// All causes with the names that they have in a flow's file.
    pub const NAMES: [(&str, Self); 6] = [
        ("normal", Self::Normal),
        ("busy", Self::Busy),
        ("rejected", Self::Rejected),
        ("unavailable", Self::Unavailable),
        ("no_such_number", Self::NoSuchNumber),
        ("failure", Self::Failure),
    ];

    /// The name in a flow's file and in call-detail records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::NoSuchNumber => "no_such_number",
            Self::Failure => "failure",
        }
    }

    /// The cause value of Q.850, for the `Reason` header of a BYE (RFC 3326).
    #[must_use]
    pub fn q850(self) -> u8 {
        match self {
            Self::Normal => 16,
            Self::Busy => 17,
            Self::Rejected => 21,
            Self::Unavailable => 20,
            Self::NoSuchNumber => 1,
            Self::Failure => 41,
        }
    }

    /// The status that refuses a call which was not answered yet (RFC 3261 §21).
    #[must_use]
    pub fn sip_status(self) -> u16 {
        match self {
            // A call that is ended unanswered without a complaint is declined politely.
            Self::Normal | Self::Rejected => 603,
            Self::Busy => 486,
            Self::Unavailable => 480,
            Self::NoSuchNumber => 404,
            Self::Failure => 500,
        }
    }
}

impl HttpRequest {
    /// Whether sending it twice does no harm.
    #[must_use]
    pub fn may_be_repeated(&self) -> bool {
        self.method == HttpMethod::Get
    }
}

impl HttpMethod {
    /// All methods by name.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The method as it stands in a request line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}
