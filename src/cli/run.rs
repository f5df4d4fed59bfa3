//! `tandem run`: a node in the foreground, until SIGTERM or SIGINT.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tracing_subscriber::EnvFilter;

use super::screen;
use crate::config::sections::{Log, LogFormat};
use crate::config::{Config, Origin};
use crate::start;

/// The environment variable that replaces `log.filter`.
const LOG_VARIABLE: &str = "TANDEM_LOG";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the node's data, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut config = super::load(self.config.as_ref())?;
        if let Some(data) = self.data {
            config.node.data = data;
        }
        begin_log(&config.log)?;
        for line in welcome(&config) {
            screen::say(&line);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(start::run(config))
    }
}

fn begin_log(log: &Log) -> anyhow::Result<()> {
    let text = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| log.filter.clone());
    let filter = EnvFilter::try_new(&text)
        .with_context(|| format!("{text:?} is no filter for [log] or {LOG_VARIABLE}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.with_ansi(screen::is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// What a person does first with a node.
fn welcome(config: &Config) -> Vec<String> {
    let mut lines =
        vec![format!("Tandem {} as node {}", env!("CARGO_PKG_VERSION"), config.node.id.get())];
    let sip = config.sip.udp.first().or(config.sip.tcp.first());
    if let Some(sip) = sip {
        let example = config.number.first().map_or("NUMBER", |entry| entry.number.as_str());
        lines.push(format!("  call it      any SIP phone to sip:{example}@{sip} (UDP or TCP)"));
    }
    if config.number.len() > 1 {
        let numbers: Vec<&str> = config.number.iter().map(|entry| entry.number.as_str()).collect();
        lines.push(format!("  numbers      {}", numbers.join(", ")));
    }
    let server = format!("http://{}", config.http.listen);
    if let Some(person) = config.agent.first() {
        lines.push(format!("  be an agent  tandem agent --server {server} --user {}", person.id));
    }
    lines.push(format!("  watch it     {server}/metrics, {server}/readyz"));
    lines.push(format!("  data         {}", config.node.data.display()));
    if config.origin == Origin::BuiltIn {
        let phones = config.agent.iter().filter(|agent| agent.phone_password.is_some());
        let phones: Vec<&str> = phones.map(|agent| agent.id.as_str()).collect();
        lines.push(format!(
            "  for trying   {} register phones and log in with their name as password",
            phones.join(", ")
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_of_the_built_in_configuration_says_how_to_call() {
        let text = welcome(&Config::built_in()).join("\n");
        assert!(text.contains("sip:1000@127.0.0.1:5060"), "{text}");
        assert!(text.contains("tandem agent --server http://127.0.0.1:8080 --user ana"), "{text}");
        assert!(text.contains("ana, ben register phones"), "{text}");
        assert!(!text.contains("Secret"), "{text}");
    }
}
