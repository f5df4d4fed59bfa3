//! Reads a flow from its file.

use std::collections::BTreeSet;

use super::Flow;

/// Bytes of one file.
pub const FLOW_BYTES_MAX: usize = 256 * 1024;
/// Steps of one flow.
pub const STEPS_MAX: usize = 1000;

/// One error of a flow's file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct FlowError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
}

/// What exists around a flow. `None` is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Files of the prompt directory.
    pub prompts: Option<BTreeSet<String>>,
    /// Ids of the queues.
    pub queues: Option<BTreeSet<String>>,
    /// Languages that can be spoken.
    pub languages: Option<BTreeSet<String>>,
}

impl Flow {
    /// Reads and checks a flow by itself.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<FlowError>> {
        Self::parse_in(name, text, &Surroundings::default())
    }

    /// Reads a flow and checks also that the prompts, queues and languages that it names exist.
    pub fn parse_in(name: &str, text: &str, around: &Surroundings) -> Result<Self, Vec<FlowError>> {
        let _ = (name, text, around);
        let message = "flow files cannot be read yet".to_owned();
        Err(vec![FlowError { line: 1, column: 1, message }])
    }
}
