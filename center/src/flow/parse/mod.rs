//! Reads a flow from its TOML file and says everything that is wrong with it at once.
//!
//! In three passes: the TOML grammar; each table and value by itself (`reader`, `values`,
//! `steps`); the steps as a graph (`check`). Errors of the grammar are reported alone, since
//! what follows them may be misread. Every error has a place in the file, and a name that
//! does not exist comes with the nearest one that does.

mod check;
mod nearest;
mod reader;
mod steps;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use self::{
    reader::{Fields, Notes, Value},
    steps::ReadStep,
};
use super::{Flow, FlowVersion, StepName, Template};

/// Bytes of one file: a thousand steps with their texts fit well. Past it the file is refused.
pub const FLOW_BYTES_MAX: usize = 256 * 1024;

/// Steps of one flow. Past it the flow is refused.
pub const STEPS_MAX: usize = 1000;

/// Errors that are reported of one file. A file with more is some other file.
const ERRORS_MAX: usize = 100;

/// The language of texts when the flow does not say.
const LANGUAGE_DEFAULT: &str = "en";

/// One error of a flow's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct FlowError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
}

/// What exists around a flow. What is `None` is not checked.
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
        if text.len() > FLOW_BYTES_MAX {
            let message = format!("a flow has at most {FLOW_BYTES_MAX} bytes, not {}", text.len());
            return Err(vec![FlowError { line: 1, column: 1, message }]);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        let notes = Notes::new(around);
        for error in errors {
            notes.error(error.span().map_or(0, |span| span.start), error.message());
        }
        let flow = if notes.is_clean() { read(name, text, table.get_ref(), &notes) } else { None };
        match flow {
            Some(flow) if notes.is_clean() => Ok(flow),
            Some(_) | None => Err(notes.into_errors(text, ERRORS_MAX)),
        }
    }
}

fn read(name: &str, text: &str, table: &DeTable<'_>, notes: &Notes<'_>) -> Option<Flow> {
    let top = Fields::new(notes, table, 0, "the flow");
    let title = top.optional("title").and_then(|title| title.text()).unwrap_or(name).to_owned();
    let language = (top.optional("language"))
        .and_then(|value| value.language())
        .unwrap_or_else(|| Template::fixed(LANGUAGE_DEFAULT));
    let mut variables = BTreeMap::new();
    if let Some(table) = top.optional("variables").and_then(|value| value.table()) {
        for (name, value) in table.iter() {
            notes.sets(name.get_ref(), name.span().start);
            let value = Value::new(notes, value, format!("variable `{}`", name.get_ref()));
            variables.insert(name.get_ref().to_string(), value.scalar().unwrap_or_default());
        }
    }
    let start = top.required("start").and_then(|start| Some((start.at(), start.text()?)));
    let steps = top.required("steps").and_then(|steps| steps.table());
    top.finish();
    let steps = read_steps(steps?, notes, &language);
    check::check(start, &steps, notes);
    let steps = steps
        .into_iter()
        .map(|step| Some((StepName::from(step.name), step.step?)))
        .collect::<Option<_>>()?;
    Some(Flow {
        name: name.into(),
        version: FlowVersion::of(text),
        title,
        start: start?.1.into(),
        variables,
        steps,
    })
}

fn read_steps<'a>(
    table: &'a DeTable<'a>,
    notes: &'a Notes<'a>,
    language: &'a Template,
) -> Vec<ReadStep<'a>> {
    let mut steps: Vec<_> = table.iter().collect();
    steps.sort_by_key(|(name, _)| name.span().start); // As they stand in the file.
    if let Some((name, _)) = steps.get(STEPS_MAX) {
        let message = format!("a flow has at most {STEPS_MAX} steps, not {}", steps.len());
        notes.error(name.span().start, message);
        steps.truncate(STEPS_MAX);
    }
    (steps.into_iter())
        .map(|(name, value)| {
            let at = name.span().start;
            let DeValue::Table(table) = value.get_ref() else {
                notes.error(at, format!("step `{}` must be a table", name.get_ref()));
                return ReadStep::unreadable(name.get_ref(), at);
            };
            steps::read(notes, name.get_ref(), at, table, language)
        })
        .collect()
}
