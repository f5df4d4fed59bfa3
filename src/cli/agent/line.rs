//! What a person types, or a script says, one line a command.

use thiserror::Error;

use crate::api::words::SupervisionMode;

/// What `help` prints.
pub(super) const HELP: &[&str] = &[
    "ready                  be offered calls",
    "notready REASON        be offered none; during a call: afterwards",
    "answer                 take the call that rings at the desk",
    "decline                do not take it",
    "hold, retrieve         hold the other party, talk again",
    "hangup                 end the call, or give up dialling",
    "dial NUMBER            call somebody; your own phone rings first",
    "consult NUMBER         ask somebody else; the other party waits",
    "alternate              go to and fro between the two",
    "reconnect              let the one who was asked go",
    "conference             talk all together",
    "transfer [NUMBER]      leave the call to the one who was asked, or to a number",
    "mute, unmute           be heard by nobody, or again",
    "keys KEYS              press keys for the other party",
    "pause, resume          interrupt the recording, let it go on",
    "deflect NUMBER         send the call that rings to another number",
    "park                   leave the other party in a slot",
    "pickup SLOT            take the call in a slot",
    "listen AGENT           for supervisors: hear an agent's conversation; `hangup` ends it",
    "whisper AGENT          be heard by the agent only",
    "barge AGENT            be heard by all",
    "takeover AGENT         take the agent's place",
    "disposition X [NOTE]   say what the call came to",
    "done                   end the wrap-up",
    "status                 show the own state, call and queues",
    "quit                   sign out and end",
];

/// A line that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing, or a comment.
    Empty,
    Ready,
    NotReady {
        reason: String,
    },
    Answer,
    Decline,
    Hold,
    Retrieve,
    HangUp,
    Dial {
        number: String,
    },
    Consult {
        number: String,
    },
    Alternate,
    Reconnect,
    Conference,
    Transfer {
        number: Option<String>,
    },
    Dispose {
        disposition: String,
        note: Option<String>,
    },
    /// For supervisors: in an agent's conversation in this way.
    Supervise {
        agent: String,
        mode: SupervisionMode,
    },
    TakeOver {
        agent: String,
    },
    Mute,
    Unmute,
    Keys {
        keys: String,
    },
    Pause,
    Resume,
    Deflect {
        number: String,
    },
    Park,
    PickUp {
        slot: u16,
    },
    Done,
    Status,
    Help,
    Quit,
    /// For scripts: go on when this has happened, within so many seconds.
    Wait {
        what: String,
        seconds: u64,
    },
    /// For scripts: go on after so many seconds.
    Sleep {
        seconds: u64,
    },
}

/// Why a line was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum LineError {
    #[error("there is no command {0:?}; `help` lists them")]
    Unknown(String),
    #[error("{command} needs {what}")]
    Missing { command: &'static str, what: &'static str },
    #[error("{0:?} is no number of seconds")]
    Seconds(String),
    #[error("{0:?} is no slot")]
    Slot(String),
}

/// How long `wait` waits when nothing is said.
const WAIT_SECONDS: u64 = 30;

impl Line {
    /// Reads a line.
    pub(super) fn parse(text: &str) -> Result<Self, LineError> {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let argument = |command, what| match rest {
            "" => Err(LineError::Missing { command, what }),
            rest => Ok(rest.to_owned()),
        };
        Ok(match word {
            "" => Self::Empty,
            comment if comment.starts_with('#') => Self::Empty,
            "ready" => Self::Ready,
            "notready" => Self::NotReady { reason: argument("notready", "a reason")? },
            "answer" | "accept" => Self::Answer,
            "decline" => Self::Decline,
            "hold" => Self::Hold,
            "retrieve" => Self::Retrieve,
            "hangup" => Self::HangUp,
            "dial" => Self::Dial { number: argument("dial", "a number")? },
            "consult" => Self::Consult { number: argument("consult", "a number")? },
            "alternate" => Self::Alternate,
            "reconnect" => Self::Reconnect,
            "conference" => Self::Conference,
            "transfer" => Self::Transfer { number: (!rest.is_empty()).then(|| rest.to_owned()) },
            "disposition" => {
                let rest = argument("disposition", "a code")?;
                let (code, note) = rest.split_once(char::is_whitespace).unwrap_or((&rest, ""));
                let note = Some(note.trim().to_owned()).filter(|note| !note.is_empty());
                Self::Dispose { disposition: code.to_owned(), note }
            }
            "listen" => Self::supervise(&argument("listen", "an agent")?, SupervisionMode::Listen),
            "whisper" => {
                Self::supervise(&argument("whisper", "an agent")?, SupervisionMode::Whisper)
            }
            "barge" => Self::supervise(&argument("barge", "an agent")?, SupervisionMode::Barge),
            "mute" => Self::Mute,
            "unmute" => Self::Unmute,
            "keys" => Self::Keys { keys: argument("keys", "keys")? },
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "deflect" => Self::Deflect { number: argument("deflect", "a number")? },
            "park" => Self::Park,
            "pickup" => {
                let slot = argument("pickup", "a slot")?;
                Self::PickUp { slot: slot.parse().map_err(|_| LineError::Slot(slot))? }
            }
            "takeover" => Self::TakeOver { agent: argument("takeover", "an agent")? },
            "done" => Self::Done,
            "status" => Self::Status,
            "help" | "?" => Self::Help,
            "quit" | "exit" | "signout" => Self::Quit,
            "wait" => Self::wait(&argument("wait", "an event or state")?)?,
            "sleep" => Self::Sleep { seconds: seconds(&argument("sleep", "seconds")?)? },
            other => return Err(LineError::Unknown(other.to_owned())),
        })
    }

    fn supervise(agent: &str, mode: SupervisionMode) -> Self {
        Self::Supervise { agent: agent.to_owned(), mode }
    }

    /// `wait offered`, `wait offered 10`, `wait talking 10`.
    fn wait(rest: &str) -> Result<Self, LineError> {
        match rest.split_once(char::is_whitespace) {
            Some((what, within)) => {
                Ok(Self::Wait { what: what.to_owned(), seconds: seconds(within.trim())? })
            }
            None => Ok(Self::Wait { what: rest.to_owned(), seconds: WAIT_SECONDS }),
        }
    }
}

fn seconds(text: &str) -> Result<u64, LineError> {
    text.parse().map_err(|_| LineError::Seconds(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_people_type_them() {
        for (text, line) in [
            ("", Line::Empty),
            ("  # a comment", Line::Empty),
            ("ready", Line::Ready),
            ("notready  lunch ", Line::NotReady { reason: "lunch".into() }),
            ("notready no answer", Line::NotReady { reason: "no answer".into() }),
            ("accept", Line::Answer),
            ("dial 9171", Line::Dial { number: "9171".into() }),
            ("consult 9171", Line::Consult { number: "9171".into() }),
            ("alternate", Line::Alternate),
            ("transfer", Line::Transfer { number: None }),
            ("transfer 1000", Line::Transfer { number: Some("1000".into()) }),
            (
                "whisper ana",
                Line::Supervise { agent: "ana".into(), mode: SupervisionMode::Whisper },
            ),
            ("keys 12#", Line::Keys { keys: "12#".into() }),
            ("pickup 7", Line::PickUp { slot: 7 }),
            ("takeover ana", Line::TakeOver { agent: "ana".into() }),
            ("disposition sold", Line::Dispose { disposition: "sold".into(), note: None }),
            (
                "disposition sold two of them",
                Line::Dispose { disposition: "sold".into(), note: Some("two of them".into()) },
            ),
            ("wait offered 5", Line::Wait { what: "offered".into(), seconds: 5 }),
            ("wait talking", Line::Wait { what: "talking".into(), seconds: 30 }),
            ("sleep 2", Line::Sleep { seconds: 2 }),
            ("quit", Line::Quit),
        ] {
            assert_eq!(Line::parse(text), Ok(line), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |text: &str| Line::parse(text).unwrap_err().to_string();
        assert_eq!(error("fly"), "there is no command \"fly\"; `help` lists them");
        assert_eq!(error("dial"), "dial needs a number");
        assert_eq!(error("sleep soon"), "\"soon\" is no number of seconds");
    }
}
