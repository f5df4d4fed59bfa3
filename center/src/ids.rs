//! Identifiers: what names a node, call, leg, agent, queue, session and command.
//!
//! Numbers are made by the node that proposes a command, never here, so that every replica
//! sees the same. Names come from the configuration and from clients; their `parse` functions
//! check the bounds once, at the edge.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The position of a command in the replicated log.
pub type Index = u64;

/// Bytes of an agent's or queue's name. Longer ones are refused when they are parsed.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of an id that a client gives to its command. Longer ones are refused.
pub const COMMAND_ID_BYTES_MAX: usize = 64;

/// The largest node number: a call id has one byte for it.
pub const NODE_MAX: u64 = 0xff;

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Nothing between the quotes.
    #[error("an empty text is no {what}")]
    Empty { what: &'static str },
    /// More bytes than the bound.
    #[error("a {what} has at most {max} bytes, this one has {bytes}")]
    TooLong { what: &'static str, bytes: usize, max: usize },
    /// A control character, a space or a slash, which would break keys, paths and logs.
    #[error("a {what} cannot contain {found:?}")]
    Character { what: &'static str, found: char },
    /// Not a number in the expected form.
    #[error("{text:?} is no {what}")]
    Number { what: &'static str, text: String },
}

/// A point in time on the leader's clock: Unix time in milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Millis(pub u64);

impl Millis {
    /// This time and `ms` more.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This time and `seconds` more.
    #[must_use]
    pub fn plus_seconds(self, seconds: u32) -> Self {
        self.plus_ms(u64::from(seconds) * 1000)
    }

    /// Milliseconds from `earlier` to this time, zero if it is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $what:literal, $display:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
            Deserialize,
        )]
        pub struct $name(pub $inner);

        impl $name {
            /// Reads what `Display` wrote.
            pub fn parse(text: &str) -> Result<Self, ParseIdError> {
                let parse: fn(&str) -> Option<$inner> = $parse;
                parse(text)
                    .map(Self)
                    .ok_or_else(|| ParseIdError::Number { what: $what, text: shortened(text) })
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $display, self.0)
            }
        }
    };
}

number!(
    /// A node of the cluster: 1 to [`NODE_MAX`].
    NodeId(u64), "node", "{}", |text| text.parse().ok().filter(|n| (1..=NODE_MAX).contains(n))
);
number!(
    /// A service address that calls live on and that moves from node to node with them: the
    /// number of the node that brought it, and which of its addresses it is.
    HomeId(u64), "home", "{}", |text| text.parse().ok()
);
number!(
    /// A call: the node that saw it first, the time and a counter (see [`CallId::new`]). Shown
    /// as sixteen hexadecimal digits.
    CallId(u64), "call", "{:016x}", |text| (text.len() == 16)
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
);
number!(
    /// A leg of a call. 0 is the first: the caller, or the agent's own leg of an outbound call.
    LegNumber(u16), "leg", "{}", |text| text.parse().ok()
);
number!(
    /// One sign-in of an agent at one desk. Shown as sixteen hexadecimal digits.
    SessionId(u64), "session", "{:016x}", |text| (text.len() == 16)
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
);

impl HomeId {
    /// The first service address of a node.
    #[must_use]
    pub fn first_of(node: NodeId) -> Self {
        Self(node.0 << 8)
    }
}

impl CallId {
    /// `node` in the top byte, then 40 bits of milliseconds (34 years until they repeat), then a
    /// counter that the node advances with every call.
    #[must_use]
    pub fn new(node: NodeId, at: Millis, counter: u16) -> Self {
        Self(node.0 << 56 | (at.0 & ((1 << 40) - 1)) << 16 | u64::from(counter))
    }

    /// The node that saw the call first. It need not own it any more.
    #[must_use]
    pub fn first_node(self) -> NodeId {
        NodeId(self.0 >> 56)
    }
}

impl LegNumber {
    /// The first leg of every call.
    pub const FIRST: Self = Self(0);
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Arc<str>")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks length and characters: no control characters, spaces or slashes.
            pub fn parse(text: &str) -> Result<Self, ParseIdError> {
                check_name(text, $what, $max)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<Arc<str>> for $name {
            type Error = ParseIdError;
            fn try_from(text: Arc<str>) -> Result<Self, ParseIdError> {
                check_name(&text, $what, $max)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(
    /// A person who signs in: agent, supervisor or administrator.
    AgentId, "agent name", NAME_BYTES_MAX
);
name!(
    /// A queue of callers.
    QueueId, "queue name", NAME_BYTES_MAX
);
name!(
    /// What a client calls its command.
    CommandName, "command id", COMMAND_ID_BYTES_MAX
);

/// Which command of an agent it is, so that a repeated one is recognised: the client's name of it,
/// and what its node had applied when it came. Ids are equal when the names are.
///
/// The second part tells a repetition that comes late. A node that was frozen, or cut off, sends on
/// what it had read before; by then the client may have repeated it elsewhere, and so many others
/// after it that its result is forgotten.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandId {
    name: CommandName,
    seen: Index,
}

impl CommandId {
    /// A command that came when its node had applied all up to `seen`.
    ///
    /// # Errors
    /// The name is empty, too long, or has spaces, slashes or control characters.
    pub fn new(name: &str, seen: Index) -> Result<Self, ParseIdError> {
        Ok(Self { name: CommandName::parse(name)?, seen })
    }

    /// A command that cannot come late: nobody is between the one who gives it and the log.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn parse(name: &str) -> Result<Self, ParseIdError> {
        Self::new(name, Index::MAX)
    }

    /// The client's name of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.name.as_str()
    }

    /// What its node had applied when it came.
    #[must_use]
    pub fn seen(&self) -> Index {
        self.seen
    }
}

impl PartialEq for CommandId {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CommandId {}

impl PartialOrd for CommandId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CommandId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

fn check_name(text: &str, what: &'static str, max: usize) -> Result<(), ParseIdError> {
    let bytes = text.len();
    match text.chars().find(|c| c.is_control() || c.is_whitespace() || *c == '/') {
        _ if bytes == 0 => Err(ParseIdError::Empty { what }),
        _ if bytes > max => Err(ParseIdError::TooLong { what, bytes, max }),
        Some(found) => Err(ParseIdError::Character { what, found }),
        None => Ok(()),
    }
}

/// Enough of a wrong text to recognise it, without copying all that a stranger sent.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_reads_back_and_names_its_first_node() {
        let id = CallId::new(NodeId(3), Millis(1_764_000_000_123), 65_535);
        assert_eq!(CallId::parse(&id.to_string()), Ok(id));
        assert_eq!(id.first_node(), NodeId(3));
        assert!(CallId::new(NodeId(3), Millis(1_764_000_000_124), 0) > id);
    }

    #[test]
    fn names_have_bounds() {
        assert_eq!(AgentId::parse("ana").map(|a| a.to_string()), Ok("ana".to_owned()));
        assert_eq!(AgentId::parse(""), Err(ParseIdError::Empty { what: "agent name" }));
        assert!(matches!(AgentId::parse("a b"), Err(ParseIdError::Character { found: ' ', .. })));
        assert!(matches!(QueueId::parse("a\0"), Err(ParseIdError::Character { .. })));
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(matches!(QueueId::parse(&long), Err(ParseIdError::TooLong { bytes: 65, .. })));
        assert!(CommandId::parse(&"c".repeat(COMMAND_ID_BYTES_MAX)).is_ok());
    }

    #[test]
    fn a_stored_name_is_checked_like_any_other() {
        let good = postcard::to_allocvec("ana").unwrap();
        assert_eq!(postcard::from_bytes::<AgentId>(&good).map(|a| a.to_string()), Ok("ana".into()));
        let bad = postcard::to_allocvec("a\0b").unwrap();
        assert!(postcard::from_bytes::<AgentId>(&bad).is_err());
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(NodeId::parse("1"), Ok(NodeId(1)));
        assert!(NodeId::parse("0").is_err());
        assert!(NodeId::parse("256").is_err());
        assert!(CallId::parse("12").is_err());
        assert!(SessionId::parse("00000000000000ff").is_ok_and(|s| s == SessionId(255)));
    }
}
