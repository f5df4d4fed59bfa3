//! What the commands of supervisors and those about keys and slots carry, as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::SupervisionMode;

/// Whose conversation is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfAgent {
    /// The agent's name.
    pub agent: String,
}

/// Whose conversation is supervised, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Supervise {
    /// The agent's name.
    pub agent: String,
    /// Who hears the supervisor.
    pub mode: SupervisionMode,
}

/// How a call that waits is ranked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prioritise {
    /// The call's id.
    pub call: String,
    /// Higher is served first; without it: as high as it takes to be the first who waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}

/// Where a call that waits is to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveToQueue {
    /// The call's id.
    pub call: String,
    /// The queue's id.
    pub queue: String,
}

/// Which keys are pressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendKeys {
    /// The call's id.
    pub call: String,
    /// `0`–`9`, `*`, `#`, `A`–`D`, at most 32.
    pub keys: String,
}

/// A place for a parked call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// 1 to 99.
    pub slot: u16,
}
