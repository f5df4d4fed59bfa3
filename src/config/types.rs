//! Values that cannot be wrong: numbers with their limits, names, addresses and secrets.
//!
//! A limit is a type, so a value is checked once, where the file is read, and the message names
//! the line. Nothing behind this module checks again.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a value of the configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueError {
    /// A number outside its limits.
    #[error("{value} is outside {low} to {high}{unit}")]
    OutOfRange {
        /// What the file says.
        value: i64,
        /// The least that is allowed.
        low: i64,
        /// The most that is allowed.
        high: i64,
        /// The unit, with a space before it.
        unit: &'static str,
    },
    /// A name that is empty, too long or has other characters than names have.
    #[error("{value:?} is no name: 1 to {} of letters, digits, '.', '_', '-'", Name::BYTES_MAX)]
    NotAName {
        /// What the file says.
        value: String,
    },
    /// Something that cannot be called.
    #[error("{value:?} is no SIP URI: sip:user@host, sip:host:port or sips:…")]
    NotASipUri {
        /// What the file says.
        value: String,
    },
    /// A dialled number with other characters than numbers have.
    #[error("{value:?} is no number: 1 to {} of letters, digits and +*#._-", Dialled::BYTES_MAX)]
    NotANumber {
        /// What the file says.
        value: String,
    },
    /// Something that nothing can be sent to by HTTP.
    #[error("{value:?} is no address of a web service: http://host/… or https://host/…")]
    NotAnHttpUrl {
        /// What the file says.
        value: String,
    },
    /// Not where requests come from.
    #[error("{value:?} is no address: 192.0.2.1, 192.0.2.1:5060 or [2001:db8::1]:5060")]
    NotASource {
        /// What the file says.
        value: String,
    },
    /// A screening pattern with a star elsewhere than at its end.
    #[error("{value:?} is no pattern: a number, a beginning followed by '*', or '*'")]
    NotAPattern {
        /// What the file says.
        value: String,
    },
}

/// Declares an integer with its limits and unit as a type.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident: $of:ty, $low:literal..=$high:literal, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name($of);

        impl $name {
            /// The value, checked when this is compiled.
            #[must_use]
            pub const fn of<const VALUE: i64>() -> Self {
                const { assert!(VALUE >= $low && VALUE <= $high) };
                Self(VALUE as $of)
            }

            /// The value in its unit.
            #[must_use]
            pub const fn get(self) -> $of {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = ValueError;

            fn try_from(value: i64) -> Result<Self, ValueError> {
                let outside =
                    ValueError::OutOfRange { value, low: $low, high: $high, unit: $unit };
                if !($low..=$high).contains(&value) {
                    return Err(outside);
                }
                <$of>::try_from(value).map(Self).map_err(|_| outside)
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> Self {
                Self::try_from(value.0).expect("the limits of every bounded number fit an i64")
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "integer", "minimum": $low, "maximum": $high, "x-unit": $unit.trim()
                })
            }
        }
    };
}

bounded!(
    /// The number of a node in its cluster; also the upper byte of every call's identifier.
    NodeNumber: u8, 1..=255, "");
bounded!(
    /// Seconds that a node which shuts down waits for its calls.
    DrainSeconds: u32, 0..=86_400, " seconds");
bounded!(
    /// RFC 4028 §4: a session interval is at least 90 s.
    SessionSeconds: u32, 90..=86_400, " seconds");
bounded!(
    /// Seconds for which a registration holds.
    RegisterSeconds: u32, 30..=86_400, " seconds");
bounded!(
    /// Seconds for which a token of the API holds.
    TokenSeconds: u32, 60..=86_400, " seconds");
bounded!(
    /// Wrong passwords in a row before a name is locked.
    LoginFailures: u32, 3..=1_000, " failures");
bounded!(
    /// Seconds for which a name is locked.
    LockSeconds: u32, 1..=86_400, " seconds");
bounded!(
    /// Seconds for which a vanished client keeps its session.
    GraceSeconds: u32, 1..=3_600, " seconds");
bounded!(
    /// Clients connected to one node.
    SessionsMax: u32, 1..=100_000, " sessions");
bounded!(
    /// A UDP port for audio; pairs are even (RTP) and odd (RTCP).
    RtpPort: u16, 1_024..=65_535, "");
bounded!(
    /// Threads that move packets.
    MediaThreads: u16, 1..=64, " threads");
bounded!(
    /// Milliseconds of one Raft tick.
    TickMs: u64, 5..=1_000, " ms");
bounded!(
    /// Ticks without a leader before an election.
    ElectionTicks: u32, 4..=100, " ticks");
bounded!(
    /// Entries of the log between two snapshots.
    SnapshotEntries: u64, 100..=10_000_000, " entries");
bounded!(
    /// Milliseconds for which the kernel keeps a service address that is not renewed.
    AddressLifetimeMs: u32, 1_000..=60_000, " ms");
bounded!(
    /// Seconds that a web service may take to answer.
    AnswerSeconds: u32, 1..=60, " seconds");
bounded!(
    /// Milliseconds between two heartbeats of the holder of a shared directory.
    HeartbeatMs: u64, 20..=10_000, " ms");
bounded!(
    /// Milliseconds for which the holder of a shared directory goes on without a heartbeat.
    LeaseMs: u64, 200..=120_000, " ms");
bounded!(
    /// Milliseconds of silence after which a shared directory is taken over.
    TakeoverMs: u64, 700..=300_000, " ms");
bounded!(
    /// Milliseconds that a fencing command may take.
    FenceTimeoutMs: u64, 100..=300_000, " ms");
bounded!(
    /// Calls of one node at a time.
    CallsMax: u32, 1..=200_000, " calls");
bounded!(
    /// Megabytes of disk.
    Megabytes: u64, 0..=100_000_000, " MB");
bounded!(
    /// Seconds between two looks at the files of flows.
    ReloadSeconds: u32, 1..=3_600, " seconds");
bounded!(
    /// Seconds for which an offer rings.
    RingSeconds: u32, 3..=300, " seconds");
bounded!(
    /// Seconds of wrap-up; 0 is none.
    WrapUpSeconds: u32, 0..=3_600, " seconds");

impl Default for WrapUpSeconds {
    fn default() -> Self {
        Self::of::<0>()
    }
}

bounded!(
    /// Seconds for which a caller waits; 0 is without limit.
    WaitSeconds: u32, 0..=86_400, " seconds");
bounded!(
    /// Calls that wait in one queue.
    LengthMax: u32, 1..=100_000, " calls");
bounded!(
    /// A place in line: a higher number is served first.
    Priority: u8, 0..=255, "");
bounded!(
    /// What keeps an agent behind others.
    Penalty: u8, 0..=255, "");

impl Default for Penalty {
    fn default() -> Self {
        Self::of::<0>()
    }
}

bounded!(
    /// A share among others.
    Weight: u16, 1..=1_000, "");
bounded!(
    /// How well somebody knows something.
    Level: u8, 1..=100, "");
bounded!(
    /// A SIP status that refuses a call (RFC 3261 §21.4 to §21.6).
    RefuseStatus: u16, 400..=699, "");
bounded!(
    /// A trunk's place among those of its prefix: the lowest is tried first.
    TrunkPriority: u8, 0..=255, "");
bounded!(
    /// Calls of a trunk at a time.
    TrunkCallsMax: u32, 1..=100_000, " calls");
bounded!(
    /// New calls a second.
    CallsPerSecond: u32, 1..=10_000, " calls a second");
bounded!(
    /// Seconds in which something is to be heard. Timer B of RFC 3261 ends at 32.
    ResponseSeconds: u32, 1..=32, " seconds");
bounded!(
    /// Seconds between two questions to a trunk.
    ProbeSeconds: u32, 1..=3_600, " seconds");
bounded!(
    /// Questions without an answer.
    ProbeMisses: u32, 1..=100, "");
bounded!(
    /// Numbered agents in one range.
    AgentCount: u32, 1..=10_000, " agents");
bounded!(
    /// Digits of the number in a numbered agent's name.
    Digits: u8, 1..=6, " digits");

/// Declares a text with a rule as a type.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $pattern:literal, $check:expr, $error:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(value: String) -> Result<Self, ValueError> {
                let check: fn(&str) -> bool = $check;
                if check(&value) { Ok(Self(value)) } else { Err(ValueError::$error { value }) }
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(value: &str) -> Result<Self, ValueError> {
                Self::try_from(value.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

text!(
    /// The name of an agent, queue, trunk or flow.
    Name, "^[A-Za-z0-9._-]{1,64}$", |value| {
        (1..=Name::BYTES_MAX).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    }, NotAName);

impl Name {
    /// Names are keys of the replicated state and parts of SIP URIs: 64 bytes are plenty.
    pub const BYTES_MAX: usize = 64;
}

text!(
    /// What callers dial: the user part of the URI that they invite.
    Dialled, "^[A-Za-z0-9+*#._-]{1,64}$", is_dialled, NotANumber);

impl Dialled {
    /// E.164 has 15 digits; service names and trunk prefixes are longer.
    pub const BYTES_MAX: usize = 64;
}

fn is_dialled(value: &str) -> bool {
    (1..=Dialled::BYTES_MAX).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+*#._-".contains(&byte))
}

text!(
    /// A number, a beginning followed by `*`, or `*` for every caller.
    Pattern, "^[A-Za-z0-9+#._-]{0,63}\\*?$", |value| {
        let beginning = value.strip_suffix('*').unwrap_or(value);
        !value.is_empty() && !beginning.contains('*')
            && (beginning.is_empty() || is_dialled(beginning))
    }, NotAPattern);

text!(
    /// A SIP or SIPS URI that a call is sent to.
    SipUri, "^sips?:[^\\s<>\"]{1,250}$", |value| {
        let rest = value.strip_prefix("sip:").or_else(|| value.strip_prefix("sips:"));
        rest.is_some_and(|rest| {
            (1..=250).contains(&rest.len())
                && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte))
                && !rest.starts_with('@') && !rest.ends_with('@')
        })
    }, NotASipUri);

text!(
    /// Where requests come from: an IP address, or one with a port.
    Source, "^[0-9a-fA-F:.\\[\\]]{2,48}$", |value| crate::routes::Source::parse(value).is_some(),
    NotASource);

text!(
    /// Where a web service is.
    HttpUrl, "^https?://[^\\s]{1,2000}$", |value| {
        value.len() <= 2_000
            && reqwest::Url::parse(value)
                .is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
    }, NotAnHttpUrl);

/// Something that must not be seen: printing it prints dots.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes what a file or the environment says.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_its_limits_is_refused_with_both_limits() {
        let error = RingSeconds::try_from(1).unwrap_err();
        assert_eq!(error.to_string(), "1 is outside 3 to 300 seconds");
        assert_eq!(RingSeconds::try_from(15).unwrap(), RingSeconds::of::<15>());
        assert_eq!(
            RingSeconds::try_from(-1).unwrap_err().to_string().split(' ').next(),
            Some("-1")
        );
    }

    #[test]
    fn a_secret_prints_dots() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn names_numbers_patterns_and_uris_are_checked() {
        for good in ["ana", "agent001", "a.b-c_d"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        for good in ["sip:x@127.0.0.1:5070", "sip:127.0.0.1", "sips:a@b", "sip:a@[::1]:5060"] {
            assert!(good.parse::<SipUri>().is_ok(), "{good}");
        }
        for bad in ["", "sip:", "tel:1", "sip:a@", "sip:@b", "sip:a b@c", "sip:<a@b>"] {
            assert!(bad.parse::<SipUri>().is_err(), "{bad}");
        }
        for good in ["http://127.0.0.1:9/x?y=1", "https://alarms.example"] {
            assert!(good.parse::<HttpUrl>().is_ok(), "{good}");
        }
        for bad in ["", "http://", "ftp://x", "alarms.example", "http://a b"] {
            assert!(bad.parse::<HttpUrl>().is_err(), "{bad}");
        }
        for good in ["*", "+49*", "1000"] {
            assert!(good.parse::<Pattern>().is_ok(), "{good}");
        }
        for bad in ["", "*1", "1*2", "**", "a b"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
