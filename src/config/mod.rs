//! The configuration: one struct a section of the TOML file.
//!
//! Read [`sections`] for what concerns this node, [`entries`] for the call centre itself,
//! [`types`] for the limits. A file that says something unknown, impossible or contradictory is
//! refused with the line of every problem; there is no partly used configuration. Without a
//! file, `config/node.toml`, which is compiled in, is used.

mod check;
mod directory;
pub mod distribution;
mod document;
pub mod entries;
pub mod sections;
pub mod types;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::Problem;
use distribution::Class;
pub use document::markdown;
use entries::{Agent, AgentRange, Number, Queue, Screen, Trunk};
use sections::{
    Alarms, Cluster, Flows, Http, Limits, Log, Media, MemberRole, Node, Prompts, Recording, Sip,
    Speech,
};
use types::{Name, Secret};

use crate::address::settings::Takeover;
use crate::shared::settings::Shared;

/// The configuration that `tandem run` uses without a file.
const BUILT_IN: &str = include_str!("../../config/node.toml");

/// The name that messages give to the compiled-in configuration; its folder is where the inputs
/// that it names are looked for.
const BUILT_IN_FILE: &str = "config/node.toml";

/// A whole configuration. Every section may be left out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This node.
    pub node: Node,
    /// Signalling.
    pub sip: Sip,
    /// HTTP API and WebSocket.
    pub http: Http,
    /// Audio.
    pub media: Media,
    /// The other nodes.
    pub cluster: Cluster,
    /// Who goes on with the calls of a node that is gone.
    pub takeover: Takeover,
    /// Two machines over one directory.
    pub shared: Shared,
    /// When new calls are refused.
    pub limits: Limits,
    /// Who is told alarms.
    pub alarms: Alarms,
    /// IVR flows.
    pub flows: Flows,
    /// Recorded prompts.
    pub prompts: Prompts,
    /// Speech synthesis.
    pub speech: Speech,
    /// Recordings.
    pub recording: Recording,
    /// Logging.
    pub log: Log,
    /// Numbers that callers dial.
    pub number: Vec<Number>,
    /// Screening of callers.
    pub screen: Vec<Screen>,
    /// Queues.
    pub queue: Vec<Queue>,
    /// People.
    pub agent: Vec<Agent>,
    /// Agents with numbered names.
    pub agent_range: Vec<AgentRange>,
    /// Ways out.
    pub trunk: Vec<Trunk>,
    /// Kinds of callers.
    pub class: Vec<Class>,
    /// Why an agent can be not ready: codes with their names for people. Empty: any reason.
    pub reasons: BTreeMap<Name, String>,
    /// Where it was read from; not a part of the file.
    #[serde(skip)]
    pub origin: Origin,
}

/// Where a configuration came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in.
    #[default]
    BuiltIn,
    /// A file.
    File(PathBuf),
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, in the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{problem}", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The configuration that is compiled in: a complete call centre on loopback.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN, Path::new(BUILT_IN_FILE))
            .map(|config| Self { origin: Origin::BuiltIn, ..config })
            .expect("a test parses the shipped configuration")
    }

    /// Reads and checks a file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(file).map_err(|error| ConfigError {
            file: file.to_owned(),
            problems: vec![Problem::of_file(format!("cannot be read: {error}"))],
        })?;
        Self::parse(&text, file)
    }

    /// Checks the text of a file; relative inputs belong to the folder of `file`. Reads the
    /// secrets that it names as files.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        check::read(text, file)
            .map(|config| Self { origin: Origin::File(file.to_owned()), ..config })
            .map_err(|problems| ConfigError { file: file.to_owned(), problems })
    }

    /// The folder from which relative inputs are looked up.
    #[must_use]
    pub fn folder(&self) -> &Path {
        let file = match &self.origin {
            Origin::BuiltIn => Path::new(BUILT_IN_FILE),
            Origin::File(file) => file,
        };
        file.parent().unwrap_or(Path::new(""))
    }

    /// The place of an input: relative paths begin in the folder of the file.
    #[must_use]
    pub fn input(&self, path: &Path) -> PathBuf {
        self.folder().join(path)
    }

    /// The folder of recordings.
    #[must_use]
    pub fn recordings(&self) -> PathBuf {
        self.recording.directory.clone().unwrap_or_else(|| self.node.data.join("recordings"))
    }

    /// Every person, those of ranges too, in the order of the file.
    #[must_use]
    pub fn people(&self) -> Vec<Agent> {
        self.agent
            .iter()
            .cloned()
            .chain(self.agent_range.iter().flat_map(AgentRange::agents))
            .collect()
    }

    /// Whether the service address goes to another machine when this one dies.
    #[must_use]
    pub fn moves_addresses(&self) -> bool {
        self.cluster.member.len() > 1 || self.shared.name.is_some()
    }

    /// Whether this node is a witness: it votes, and has no calls.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.witnesses().any(|witness| witness == u64::from(self.node.id.get()))
    }

    /// The members that are witnesses.
    pub fn witnesses(&self) -> impl Iterator<Item = u64> {
        let members = self.cluster.member.iter();
        let witnesses = members.filter(|member| member.role == MemberRole::Witness);
        witnesses.map(|member| member.id.get().into())
    }

    /// The secret of the cluster. A node without members draws its own at first start.
    #[must_use]
    pub fn cluster_secret(&self) -> Option<&Secret> {
        self.cluster.secret.as_ref()
    }
}

#[cfg(test)]
mod tests;
