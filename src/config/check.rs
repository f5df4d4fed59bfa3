//! Reads a configuration and says everything that is wrong with it, each with its line.
//!
//! Three passes: unknown keys (against the schema of the structs, so that the nearest valid key
//! can be named and several are found at once), values (serde), and what only the whole file
//! shows (references, duplicates, contradictions). Files of secrets are read here, so that a
//! missing one stops the node and not the first call.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use argon2::PasswordHash;
use serde::Deserialize;
use serde_json::Value;
use tandem_center::directory::TRUNKS_OF_PREFIX_MAX;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::document::schema;
use super::entries::{AgentRange, Number, Trunk};
use super::sections::MemberRole;
use super::types::{Name, Secret, SipUri};
use crate::address::settings::TakeoverMode;
use crate::shared::settings::SettingsError;

/// A secret that several machines share must not be guessable: 16 bytes are 128 bits if random.
const SECRET_BYTES_MIN: usize = 16;
/// A file with a secret is one line; more is the wrong file.
const SECRET_FILE_BYTES_MAX: usize = 4096;
/// The sections that a witness has a use for.
const OF_A_WITNESS: [&str; 5] = ["node", "http", "cluster", "limits", "log"];
/// With one there is nobody to take its calls over, and the witness is of no use.
const NODES_BESIDE_WITNESS_MIN: usize = 2;
/// How far a key may be from a valid one to be taken for a slip (Jaro-Winkler, 1 is equal).
const NEAR: f64 = 0.7;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, both from 1; nothing where the file as a whole is wrong.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    pub(super) fn of_file(message: String) -> Self {
        Self { at: None, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.message),
            None => write!(f, " {}", self.message),
        }
    }
}

/// Reads, checks, and fills in what other files hold.
pub(super) fn read(text: &str, file: &Path) -> Result<Config, Vec<Problem>> {
    let table = DeTable::parse(text).map_err(|error| vec![of_toml(text, &error)])?;
    let mut keys = Keys { text, problems: Vec::new() };
    keys.table(table.get_ref(), &schema(), "");
    if !keys.problems.is_empty() {
        keys.problems.sort_by_key(|problem| problem.at);
        return Err(keys.problems);
    }
    let deserializer = toml::Deserializer::from(table.clone());
    let mut config =
        Config::deserialize(deserializer).map_err(|error| vec![of_toml(text, &error)])?;
    let mut whole = Whole { text, table: table.get_ref(), problems: Vec::new() };
    whole.read_secrets(&mut config, file.parent().unwrap_or(Path::new("")));
    whole.check(&config);
    if whole.problems.is_empty() {
        return Ok(config);
    }
    whole.problems.sort_by_key(|problem| problem.at);
    Err(whole.problems)
}

fn of_toml(text: &str, error: &toml::de::Error) -> Problem {
    let message = error.message().trim().to_owned();
    Problem { at: error.span().map(|span| position(text, span.start)), message }
}

/// Line and column of a byte, from 1; the column counts characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The first pass: keys that no struct has.
struct Keys<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Keys<'_> {
    fn table(&mut self, table: &DeTable<'_>, schema: &Value, section: &str) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return; // A map with free keys, or a value of the wrong kind, which serde names.
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match properties.get(name) {
                Some(schema) => {
                    let inner = if section.is_empty() {
                        name.to_owned()
                    } else {
                        format!("{section}.{name}")
                    };
                    self.value(value, schema, &inner);
                }
                None => {
                    let message = unknown(name, section, properties.keys());
                    let at = Some(position(self.text, key.span().start));
                    self.problems.push(Problem { at, message });
                }
            }
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &Value, section: &str) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, schema, section),
            DeValue::Array(items) => {
                for item in items {
                    self.value(item, schema.get("items").unwrap_or(&Value::Null), section);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => (),
        }
    }
}

fn unknown<'a>(key: &str, section: &str, valid: impl Iterator<Item = &'a String>) -> String {
    let place = if section.is_empty() { "the file".to_owned() } else { format!("[{section}]") };
    let nearest = valid
        .map(|name| (strsim::jaro_winkler(key, name), name))
        .max_by(|(left, _), (right, _)| left.total_cmp(right));
    match nearest {
        Some((likeness, name)) if likeness >= NEAR => {
            format!("unknown key `{key}` in {place}; the nearest valid key is `{name}`")
        }
        Some(_) | None => format!("unknown key `{key}` in {place}"),
    }
}

/// The third pass: what only the whole file shows.
struct Whole<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    problems: Vec<Problem>,
}

impl Whole<'_> {
    /// Notes a problem at `section`'s entry number `index`, at its key `key` if it is there.
    fn note(&mut self, (section, index, key): (&str, Option<usize>, &str), message: String) {
        let at = self.span(section, index, key).map(|span| position(self.text, span.start));
        self.problems.push(Problem { at, message });
    }

    fn span(&self, section: &str, index: Option<usize>, key: &str) -> Option<Range<usize>> {
        let mut place: Option<&Spanned<DeValue<'_>>> = None;
        let mut table = self.table;
        for part in section.split('.') {
            let value = table.get(part)?;
            place = Some(value);
            if let DeValue::Table(inner) = value.get_ref() {
                table = inner;
            }
        }
        if let (Some(DeValue::Array(items)), Some(index)) = (place.map(Spanned::get_ref), index) {
            let item = items.get(index)?;
            place = Some(item);
            if let DeValue::Table(inner) = item.get_ref() {
                table = inner;
            }
        }
        table.get(key).map(Spanned::span).or_else(|| place.map(Spanned::span))
    }

    fn read_secrets(&mut self, config: &mut Config, folder: &Path) {
        let cluster = &mut config.cluster;
        self.secret(
            ("cluster", None, "secret_file"),
            folder,
            cluster.secret_file.as_deref(),
            &mut cluster.secret,
        );
        let alarms = &mut config.alarms;
        self.secret(
            ("alarms", None, "secret_file"),
            folder,
            alarms.secret_file.as_deref(),
            &mut alarms.secret,
        );
        for (index, agent) in config.agent.iter_mut().enumerate() {
            let place = ("agent", Some(index), "phone_password_file");
            self.secret(
                place,
                folder,
                agent.phone_password_file.as_deref(),
                &mut agent.phone_password,
            );
            if agent.password.is_some() && agent.password_hash.is_some() {
                self.note(
                    ("agent", Some(index), "password"),
                    "both password and password_hash are given".to_owned(),
                );
            }
            if let Some(hash) = &agent.password_hash
                && PasswordHash::new(hash.reveal()).is_err()
            {
                let message = "no Argon2 hash; make one with `tandem hash-password`".to_owned();
                self.note(("agent", Some(index), "password_hash"), message);
            }
        }
        for (index, trunk) in config.trunk.iter_mut().enumerate() {
            let place = ("trunk", Some(index), "password_file");
            self.secret(place, folder, trunk.password_file.as_deref(), &mut trunk.password);
        }
    }

    fn secret(
        &mut self,
        place: (&str, Option<usize>, &str),
        folder: &Path,
        file: Option<&Path>,
        secret: &mut Option<Secret>,
    ) {
        let Some(file) = file else { return };
        if secret.is_some() {
            let key = place.2.trim_end_matches("_file");
            return self.note(place, format!("both {key} and {} are given", place.2));
        }
        let path = folder.join(file);
        match fs::read_to_string(&path) {
            Ok(text) if text.len() <= SECRET_FILE_BYTES_MAX && !text.trim().is_empty() => {
                *secret = text.lines().next().map(|line| Secret::new(line.trim()));
            }
            Ok(_) => self.note(place, format!("{} is empty or no secret", path.display())),
            Err(error) => self.note(place, format!("{} cannot be read: {error}", path.display())),
        }
    }

    fn check(&mut self, config: &Config) {
        self.check_node(config);
        self.check_cluster(config);
        self.check_witnesses(config);
        self.check_takeover(config);
        self.check_shared(config);
        self.check_duplicates(config);
        self.check_numbers(config);
        self.check_queues(config);
        self.check_people(config);
        self.check_trunks(config);
    }

    fn check_node(&mut self, config: &Config) {
        if config.is_witness() {
            return self.check_witness();
        }
        if config.sip.udp.is_empty() && config.sip.tcp.is_empty() {
            self.note(
                ("sip", None, "udp"),
                "no address to receive SIP on: give udp or tcp".to_owned(),
            );
        }
        let (low, high) = (config.media.rtp_port_min.get(), config.media.rtp_port_max.get());
        if low >= high {
            self.note(
                ("media", None, "rtp_port_max"),
                format!("rtp_port_max {high} is not above rtp_port_min {low}"),
            );
        }
        if config.media.codecs.is_empty() {
            self.note(("media", None, "codecs"), "no codec".to_owned());
        }
    }

    /// What a witness has no use for is a mistake: somebody believes that it has calls.
    fn check_witness(&mut self) {
        let unused = self.table.keys().map(|key| key.get_ref().as_ref());
        let unused: Vec<String> =
            unused.filter(|key| !OF_A_WITNESS.contains(key)).map(str::to_owned).collect();
        for section in unused {
            let message = format!(
                "this node is a witness, which has no calls: remove {section}, or the role in its \
                 [[cluster.member]]"
            );
            let at = self.table.get_key_value(section.as_str());
            let at = at.map(|(key, _)| position(self.text, key.span().start));
            self.problems.push(Problem { at, message });
        }
    }

    /// A witness is there for a cluster that loses a machine and still has one for the calls.
    fn check_witnesses(&mut self, config: &Config) {
        let witnesses = config.witnesses().count();
        let with_calls = config.cluster.member.len() - witnesses;
        if witnesses > 0 && with_calls < NODES_BESIDE_WITNESS_MIN {
            let role = config.cluster.member.iter().position(|m| m.role == MemberRole::Witness);
            let message = format!(
                "{with_calls} of the members has calls: beside a witness at least \
                 {NODES_BESIDE_WITNESS_MIN} must, or nobody can take them over"
            );
            self.note(("cluster.member", role, "role"), message);
        }
    }

    fn check_takeover(&mut self, config: &Config) {
        if config.is_witness() {
            return;
        }
        if let Err(error) = config.takeover.backend() {
            self.note(("takeover", None, "mode"), error.to_string());
        }
        let mut listens = config.sip.udp.iter().chain(&config.sip.tcp);
        let elsewhere = listens.find(|address| !address.ip().is_loopback());
        let on_one_machine = config.takeover.mode == TakeoverMode::Loopback;
        if let (Some(address), true, true) = (elsewhere, on_one_machine, config.moves_addresses()) {
            let message = format!(
                "calls at {address} cannot be taken over by mode \"loopback\": set [takeover] \
                 mode to \"interface\", \"hook\" or \"reinvite\""
            );
            self.note(("takeover", None, "mode"), message);
        }
    }

    fn check_secret(&mut self, section: &str, secret: Option<&Secret>, from_file: bool) {
        if secret.is_some_and(|secret| secret.reveal().len() < SECRET_BYTES_MIN) {
            let key = if from_file { "secret_file" } else { "secret" };
            let message = format!("the secret is shorter than {SECRET_BYTES_MIN} bytes");
            self.note((section, None, key), message);
        }
    }

    fn check_shared(&mut self, config: &Config) {
        if let Err(error) = config.shared.check() {
            self.note(("shared", None, "name"), error.to_string());
        }
        if config.shared.name.is_some() && !config.cluster.member.is_empty() {
            self.note(("cluster.member", Some(0), "id"), SettingsError::Members.to_string());
        }
        if config.shared.name.is_some() && config.recording.directory.is_some() {
            self.note(("recording", None, "directory"), SettingsError::Recordings.to_string());
        }
    }

    fn check_cluster(&mut self, config: &Config) {
        let cluster = &config.cluster;
        self.check_secret("cluster", cluster.secret.as_ref(), cluster.secret_file.is_some());
        let alarms = &config.alarms;
        self.check_secret("alarms", alarms.secret.as_ref(), alarms.secret_file.is_some());
        if cluster.member.is_empty() {
            return;
        }
        if cluster.secret.is_none() {
            self.note(
                ("cluster", None, "member"),
                "members need cluster.secret or cluster.secret_file".to_owned(),
            );
        }
        let own = cluster.member.iter().find(|member| member.id == config.node.id);
        let id = config.node.id.get();
        match (own, cluster.listen) {
            (None, _) => self.note(
                ("cluster", None, "member"),
                format!("this node, {id}, is not among the members"),
            ),
            (Some(_), None) => {
                self.note(("cluster", None, "listen"), "members need cluster.listen".to_owned());
            }
            (Some(_), Some(_)) => (),
        }
    }

    fn check_duplicates(&mut self, config: &Config) {
        let members = config.cluster.member.iter().map(|member| member.id.get().to_string());
        self.unique("cluster.member", "id", members);
        self.unique("number", "number", config.number.iter().map(|entry| entry.number.to_string()));
        self.unique("queue", "id", config.queue.iter().map(|queue| queue.id.to_string()));
        self.unique("trunk", "name", config.trunk.iter().map(|trunk| trunk.name.to_string()));
        self.unique("agent", "id", config.agent.iter().map(|agent| agent.id.to_string()));
        let mut seen: BTreeSet<String> =
            config.agent.iter().map(|agent| agent.id.to_string()).collect();
        for (index, range) in config.agent_range.iter().enumerate() {
            for id in range.ids() {
                if !seen.insert(id.clone()) {
                    self.note(
                        ("agent_range", Some(index), "prefix"),
                        format!("agent {id} is there already"),
                    );
                    break;
                }
            }
        }
    }

    fn unique(&mut self, section: &str, key: &str, values: impl Iterator<Item = String>) {
        let mut seen = BTreeSet::new();
        for (index, value) in values.enumerate() {
            if !seen.insert(value.clone()) {
                self.note((section, Some(index), key), format!("{key} {value:?} is there already"));
            }
        }
    }

    fn check_numbers(&mut self, config: &Config) {
        let people: BTreeSet<String> =
            config.people().into_iter().map(|agent| agent.id.to_string()).collect();
        for (index, entry) in config.number.iter().enumerate() {
            let answers = entry.answers();
            if answers.len() != 1 {
                let found =
                    if answers.is_empty() { "none".to_owned() } else { answers.join(" and ") };
                let message = format!(
                    "a number has exactly one of {}; this has {found}",
                    Number::ANSWERS.join(", ")
                );
                self.note(("number", Some(index), "number"), message);
            }
            if let Some(agent) = &entry.agent
                && !people.contains(agent.as_str())
            {
                self.note(("number", Some(index), "agent"), format!("there is no agent {agent}"));
            }
            if let Some(queue) = &entry.queue {
                self.queue_exists(("number", Some(index), "queue"), queue, config);
            }
        }
    }

    fn check_people(&mut self, config: &Config) {
        for (index, agent) in config.agent.iter().enumerate() {
            for queue in &agent.queues {
                self.queue_exists(("agent", Some(index), "queues"), queue, config);
            }
            for queue in &agent.supervises {
                self.queue_exists(("agent", Some(index), "supervises"), queue, config);
            }
        }
        for (index, range) in config.agent_range.iter().enumerate() {
            for queue in &range.queues {
                self.queue_exists(("agent_range", Some(index), "queues"), queue, config);
            }
            if let Err(error) = range.check() {
                self.note(("agent_range", Some(index), "device"), error);
            }
        }
    }

    fn check_queues(&mut self, config: &Config) {
        for (index, key, message) in config.distribution_problems() {
            self.note(("queue", Some(index), key), message);
        }
        for (index, queue) in config.queue.iter().enumerate() {
            if let Some(number) = &queue.overflow
                && !config.number.iter().any(|entry| entry.number == *number)
            {
                self.note(
                    ("queue", Some(index), "overflow"),
                    format!("there is no number {number}"),
                );
            }
        }
    }

    fn queue_exists(&mut self, place: (&str, Option<usize>, &str), queue: &Name, config: &Config) {
        if !config.queue.iter().any(|known| known.id == *queue) {
            self.note(place, format!("there is no queue {queue}"));
        }
    }

    fn check_trunks(&mut self, config: &Config) {
        for (index, trunk) in config.trunk.iter().enumerate() {
            if trunk.password.is_some() && trunk.user.is_none() {
                self.note(("trunk", Some(index), "password"), "a password needs a user".to_owned());
            }
            let is_limited = trunk.calls_in_max.is_some() || trunk.calls_in_per_second.is_some();
            if is_limited && trunk.sources.is_empty() {
                let message = "no call counts as this trunk's: its limit needs sources".to_owned();
                self.note(("trunk", Some(index), "sources"), message);
            }
            let equals = |of: &&Trunk| of.prefix == trunk.prefix;
            if config.trunk[..index].iter().filter(equals).count() == TRUNKS_OF_PREFIX_MAX {
                let message = format!("at most {TRUNKS_OF_PREFIX_MAX} trunks share a prefix");
                self.note(("trunk", Some(index), "prefix"), message);
            }
            for source in &trunk.sources {
                if config.trunk[..index].iter().any(|of| of.sources.contains(source)) {
                    let message = format!("calls from {source} are another trunk's already");
                    self.note(("trunk", Some(index), "sources"), message);
                }
            }
        }
    }
}

impl Number {
    const ANSWERS: [&'static str; 6] = ["flow", "queue", "agent", "target", "echo", "reject"];

    /// The keys that say what answers this number.
    fn answers(&self) -> Vec<&'static str> {
        let given = [
            self.flow.is_some(),
            self.queue.is_some(),
            self.agent.is_some(),
            self.target.is_some(),
            self.echo,
            self.reject.is_some(),
        ];
        Self::ANSWERS
            .into_iter()
            .zip(given)
            .filter(|(_, given)| *given)
            .map(|(key, _)| key)
            .collect()
    }
}

impl AgentRange {
    /// Whether every agent of the range has a valid id and address.
    fn check(&self) -> Result<(), String> {
        for id in self.ids() {
            id.parse::<Name>().map_err(|error| error.to_string())?;
            if let Some(device) = &self.device {
                device.replace("{id}", &id).parse::<SipUri>().map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}
