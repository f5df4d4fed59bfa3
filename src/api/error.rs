//! Errors of the API: one body for HTTP and WebSocket, with a code for programs, words for
//! people, and what was and what was needed where a state was wrong.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::{ParseIdError, Rejected};

use super::backend::{SubmitError, Unavailable};
use super::words::word;

/// Seconds after which a request that was refused for load or for want of a leader may be
/// repeated. Elections take a third of a second.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// Not JSON, or not of the form that the schema asks for.
    BadRequest,
    /// A type of frame that does not exist.
    UnknownFrame,
    /// A command that does not exist.
    UnknownCommand,
    /// The version of the protocol is not served here.
    WrongVersion,
    /// More bytes than are taken.
    TooLarge,
    /// No token, or one that is wrong or has expired: log in.
    NotLoggedIn,
    /// Wrong name or password.
    WrongPassword,
    /// Too many wrong passwords: wait.
    Locked,
    /// The role does not allow it.
    WrongRole,
    /// No session: say hello, and sign in.
    NotSignedIn,
    /// Not there, or not any more.
    NotFound,
    /// The call is not with this agent.
    NotYourCall,
    /// The agent's state does not allow it.
    WrongState,
    /// The call's phase does not allow it.
    WrongPhase,
    /// Not one of the words that are configured.
    NotAllowed,
    /// No rule says how to dial this number, or the agent has no phone.
    CannotDial,
    /// It is there already and is another one.
    Conflict,
    /// The configuration is wrong.
    BadConfiguration,
    /// Not now; repeat it, here or at another node.
    Unavailable,
    /// It may have been done; repeat it under the same id.
    Unknown,
    /// A fault of the node.
    Internal,
}

/// An error, as it stands in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, for people.
    pub message: String,
    /// The state that was in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The state that was needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<String>,
}

impl ErrorBody {
    /// An error without states.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), state: None, needed: None }
    }

    /// With what was and what was needed.
    #[must_use]
    pub fn between(mut self, state: impl Into<String>, needed: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self.needed = Some(needed.into());
        self
    }

    /// Something that is not there.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// The HTTP status that goes with the code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.code {
            ErrorCode::BadRequest
            | ErrorCode::UnknownFrame
            | ErrorCode::UnknownCommand
            | ErrorCode::WrongVersion => StatusCode::BAD_REQUEST,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::NotLoggedIn | ErrorCode::WrongPassword => StatusCode::UNAUTHORIZED,
            ErrorCode::Locked => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::WrongRole => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::NotSignedIn
            | ErrorCode::NotYourCall
            | ErrorCode::WrongState
            | ErrorCode::WrongPhase
            | ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::NotAllowed | ErrorCode::CannotDial | ErrorCode::BadConfiguration => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ErrorCode::Unavailable | ErrorCode::Unknown => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", word(&self.code), self.message)
    }
}

impl std::error::Error for ErrorBody {}

impl ResponseError for ErrorBody {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        response.json(self)
    }
}

impl From<SubmitError> for ErrorBody {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejected) => rejected.into(),
            SubmitError::Unavailable(unavailable) => unavailable.into(),
            SubmitError::Unknown => Self::new(ErrorCode::Unknown, error.to_string()),
        }
    }
}

impl From<Unavailable> for ErrorBody {
    fn from(error: Unavailable) -> Self {
        Self::new(ErrorCode::Unavailable, error.to_string())
    }
}

impl From<ParseIdError> for ErrorBody {
    fn from(error: ParseIdError) -> Self {
        Self::new(ErrorCode::BadRequest, error.to_string())
    }
}

impl From<Rejected> for ErrorBody {
    fn from(rejected: Rejected) -> Self {
        let error = |code| Self::new(code, rejected.to_string());
        match &rejected {
            Rejected::NoSuchCall { .. }
            | Rejected::NoSuchAgent { .. }
            | Rejected::NoSuchQueue { .. }
            | Rejected::EmptySlot { .. }
            | Rejected::NoSuchNode { .. } => error(ErrorCode::NotFound),
            Rejected::NotKeys { .. } => error(ErrorCode::BadRequest),
            Rejected::NoSlot { .. } => error(ErrorCode::Conflict),
            Rejected::MayNotRefer { .. }
            | Rejected::NotYourAgent { .. }
            | Rejected::NotYourQueue { .. } => error(ErrorCode::WrongRole),
            Rejected::CallExists { .. }
            | Rejected::Late { .. }
            | Rejected::OnlyNode { .. }
            | Rejected::LastNode { .. }
            | Rejected::NobodyTakesOver { .. } => error(ErrorCode::Conflict),
            Rejected::NoSuchSession { .. } | Rejected::NotYourSession { .. } => {
                error(ErrorCode::NotSignedIn).between("signed out", "signed in")
            }
            Rejected::NotYourCall { .. } => error(ErrorCode::NotYourCall),
            Rejected::WrongState { is, needs, .. } => {
                error(ErrorCode::WrongState).between(*is, *needs)
            }
            Rejected::WrongPhase { is, needs, .. } => {
                error(ErrorCode::WrongPhase).between(*is, *needs)
            }
            Rejected::HeldAtPhone { .. } => {
                error(ErrorCode::WrongState).between("held at the phone", "held at the desk")
            }
            Rejected::NoSuchReason { .. } | Rejected::NoSuchDisposition { .. } => {
                error(ErrorCode::NotAllowed)
            }
            Rejected::NoWayTo { .. } | Rejected::NoDevice { .. } | Rejected::NotAPerson { .. } => {
                error(ErrorCode::CannotDial)
            }
            Rejected::NodeIsLost { .. }
            | Rejected::TooManyCalls { .. }
            | Rejected::CallMoved { .. }
            | Rejected::NoTrunkFree { .. }
            | Rejected::AddressMoved { .. } => error(ErrorCode::Unavailable),
            // Nodes report, clients do not.
            Rejected::NoReport => error(ErrorCode::Internal),
            Rejected::TooLarge { .. } => error(ErrorCode::TooLarge),
            Rejected::Directory(_) | Rejected::Flow { .. } => error(ErrorCode::BadConfiguration),
        }
    }
}
