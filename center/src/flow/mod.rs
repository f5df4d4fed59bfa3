//! Flows: what a caller hears and may press, written by an administrator as a TOML file.
//!
//! [`Flow::parse`] reads and checks a file and reports every error with its line and column.
//! [`start`] and [`resume`] interpret a flow: they run to the next step that waits for
//! something outside (a prompt played, digits, a web service) and say what to do as a
//! [`Next`]. The place of a call in its flow is a [`Position`], a value like any other in
//! the replicated state.
//!
//! Nothing here plays, listens or asks a web service: that is the node's work. Read in this
//! order: `model` (what a flow is), `action` (what the interpreter answers), `interpret`,
//! then `parse` and `check`. The format is described for administrators in `docs/flows.md`.

mod action;
mod interpret;
mod model;
mod parse;
mod render;
mod template;
#[cfg(test)]
mod tests;
mod variables;

pub use action::{
    Action, Again, DIGITS_MAX, HangUpCause, HttpMethod, HttpRequest, IvrResult, Next, PROMPTS_MAX,
    Position, Prompt,
};
pub use interpret::{STEPS_PER_TRANSITION_MAX, action_at, resume, start};
pub use model::{
    Case, Collect, Comparison, Digits, Flow, FlowName, FlowVersion, HttpStep, Json, Listen, Menu,
    Say, Step, StepName, Test,
};
pub use parse::{FLOW_BYTES_MAX, FlowError, STEPS_MAX, Surroundings};
pub use template::{Template, TemplateError};
pub use variables::{
    CALLED_NUMBER, CALLER_NAME, CALLER_NUMBER, SKILLS, VALUE_BYTES_MAX, VARIABLES_MAX, Variables,
    is_variable_name, skills_asked,
};
