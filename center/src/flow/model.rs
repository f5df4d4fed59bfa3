//! What a flow is: steps by name, each with all it needs.
//!
//! A [`Flow`] exists only if it is right: every target exists, every step is reachable, no
//! loop spins. Only `parse` makes one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{DIGITS_MAX, HangUpCause, HttpMethod, Prompt, Template, Variables, render::said};

/// The name of a flow: its file's name without `.toml`.
pub type FlowName = Arc<str>;

/// The name of a step within its flow.
pub type StepName = Arc<str>;

/// Which content a flow was read from. Two files with the same bytes have the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowVersion(pub u64);

/// A flow that was read and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub name: FlowName,
    pub version: FlowVersion,
    /// What an administrator calls it.
    pub title: String,
    pub start: StepName,
    /// The variables that a call begins with, besides those of every call.
    pub variables: BTreeMap<String, String>,
    pub steps: BTreeMap<StepName, Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Answer the caller.
    Answer { next: StepName },
    /// Play prompts to their end, or to the first key when `barge_in`.
    Play { prompts: Vec<Say>, barge_in: bool, next: StepName },
    /// Ask for one of several choices.
    Menu(Menu),
    /// Ask for digits and keep them in a variable.
    Collect(Collect),
    /// Set variables.
    Set { variables: BTreeMap<String, Template>, next: StepName },
    /// Go on by the value of variables: the first case that holds, or `otherwise`.
    Branch { cases: Vec<Case>, otherwise: StepName },
    /// Ask a web service.
    Http(HttpStep),
    /// Wait for an agent. `data` is what the agent is shown.
    Enqueue { queue: String, priority: u8, data: BTreeMap<String, Template> },
    /// Connect to a number.
    Transfer { number: Template },
    /// End the call.
    HangUp { cause: HangUpCause },
}

/// A prompt before the variables are put in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Say {
    /// A file of the prompt directory.
    File(String),
    /// Text to be spoken.
    Text { language: Template, text: Template },
    /// Text to be spoken character by character: a number is read out as its digits.
    Spell { language: Template, text: Template },
}

/// Asking the caller for keys, and asking again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    pub prompts: Vec<Say>,
    /// A key stops the prompts.
    pub barge_in: bool,
    /// Milliseconds from the end of the prompts to the first key.
    pub first_ms: u32,
    /// Milliseconds between keys.
    pub inter_ms: u32,
    /// How many times more the caller is asked after the first.
    pub retries: u8,
    /// Heard before asking again after a wrong input.
    pub invalid: Vec<Say>,
    /// Heard before asking again after no input.
    pub no_input: Vec<Say>,
    /// Where the call goes when the last attempt failed, too.
    pub on_failure: StepName,
}

/// A menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Menu {
    pub listen: Listen,
    /// Keys → step.
    pub choices: BTreeMap<String, StepName>,
}

/// A collection of digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {
    pub listen: Listen,
    pub digits: Digits,
    /// Where the digits are kept.
    pub variable: String,
    pub next: StepName,
}

/// How many digits are wanted, and what ends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digits {
    pub min: u16,
    pub max: u16,
    pub terminator: Option<char>,
}

/// One case of a branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub variable: String,
    pub test: Test,
    pub next: StepName,
}

/// What is asked of a variable. A variable that was never set is empty text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// The same text.
    Equals(Template),
    /// A pattern for the whole value: `*` is any text, `?` any one character.
    Matches(String),
    /// A comparison of numbers. A value that is no number fails it.
    Number(Comparison, Template),
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    Below,
    AtMost,
    AtLeast,
    Above,
}

/// A request to a web service before the variables are put in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpStep {
    pub method: HttpMethod,
    /// Scheme, host and port are fixed text; variables may stand after them.
    pub url: Template,
    pub headers: Vec<(String, Template)>,
    pub body: Option<Json>,
    pub timeout_ms: u32,
    /// Variable → JSON pointer (RFC 6901).
    pub save: BTreeMap<String, String>,
    pub on_ok: StepName,
    pub on_error: StepName,
}

/// A JSON document whose texts may hold variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Json {
    /// `true`, `false` or a number, as it is written in JSON.
    Literal(String),
    Text(Template),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Flow {
    /// The step of this name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.get(name)
    }

    /// The ids of all queues that it leads to.
    #[must_use]
    pub fn queues(&self) -> BTreeSet<&str> {
        fn queue(step: &Step) -> Option<&str> {
            match step {
                Step::Enqueue { queue, .. } => Some(queue.as_str()),
                Step::Answer { .. }
                | Step::Play { .. }
                | Step::Menu(_)
                | Step::Collect(_)
                | Step::Set { .. }
                | Step::Branch { .. }
                | Step::Http(_)
                | Step::Transfer { .. }
                | Step::HangUp { .. } => None,
            }
        }
        self.steps.values().filter_map(queue).collect()
    }

    /// All prompts that are the same in every call: they can be read and spoken before the
    /// first call wants them.
    #[must_use]
    pub fn fixed_prompts(&self) -> BTreeSet<Prompt> {
        let fixed: Vec<Say> = (self.steps.values())
            .flat_map(Step::prompts)
            .filter(|say| match say {
                Say::File(_) => true,
                Say::Text { language, text } | Say::Spell { language, text } => {
                    language.as_fixed().is_some() && text.as_fixed().is_some()
                }
            })
            .cloned()
            .collect();
        said(&fixed, &Variables::default()).into_iter().collect()
    }
}

impl Step {
    /// The steps that may come directly after this one.
    #[must_use]
    pub fn targets(&self) -> Vec<&StepName> {
        match self {
            Self::Answer { next } | Self::Play { next, .. } | Self::Set { next, .. } => vec![next],
            Self::Menu(menu) => menu.choices.values().chain([&menu.listen.on_failure]).collect(),
            Self::Collect(collect) => vec![&collect.next, &collect.listen.on_failure],
            Self::Branch { cases, otherwise } => {
                cases.iter().map(|case| &case.next).chain([otherwise]).collect()
            }
            Self::Http(http) => vec![&http.on_ok, &http.on_error],
            Self::Enqueue { .. } | Self::Transfer { .. } | Self::HangUp { .. } => vec![],
        }
    }

    /// All prompts of the step, whenever it plays them.
    fn prompts(&self) -> Vec<&Say> {
        fn of_listen(listen: &Listen) -> Vec<&Say> {
            listen.prompts.iter().chain(&listen.invalid).chain(&listen.no_input).collect()
        }
        match self {
            Self::Play { prompts, .. } => prompts.iter().collect(),
            Self::Menu(menu) => of_listen(&menu.listen),
            Self::Collect(collect) => of_listen(&collect.listen),
            Self::Answer { .. }
            | Self::Set { .. }
            | Self::Branch { .. }
            | Self::Http(_)
            | Self::Enqueue { .. }
            | Self::Transfer { .. }
            | Self::HangUp { .. } => vec![],
        }
    }
}

impl Menu {
    /// The digits to gather: as many as the longest choice has.
    #[must_use]
    pub fn digits(&self) -> Digits {
        let longest = self.choices.keys().map(String::len).max().unwrap_or(1);
        Digits { min: 1, max: u16::try_from(longest).unwrap_or(DIGITS_MAX), terminator: None }
    }
}

impl FlowVersion {
    /// The version of a flow with this content: FNV-1a, 64 bits. It tells versions of one
    /// file apart; it is no protection against forgery.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }
}

impl fmt::Display for FlowVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
