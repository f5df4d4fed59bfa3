//! `tandem audit`: proves that no call was lost, of a running node or of a data directory.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::client::{Login, on_one_thread};
use super::screen;
use crate::audit::offline;
use crate::audit::report::Report;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Audit the directory of a node (what `tandem run --data` names), running, stopped or a copy,
    /// instead of asking a node.
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    data: Option<PathBuf>,
    #[command(flatten)]
    login: Login,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Says what is proven and what is wrong.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let report = match &self.data {
            Some(data) => offline::audit(data)?,
            None => on_one_thread(self.ask())?,
        };
        if self.json {
            screen::say(&serde_json::to_string_pretty(&report)?);
        } else {
            report.lines().iter().for_each(|line| screen::say(line));
        }
        if !report.good {
            bail!("{} findings", report.findings.len() as u64 + report.findings_more);
        }
        Ok(())
    }

    async fn ask(&self) -> anyhow::Result<Report> {
        Ok(self.login.server().await?.get_patiently("/api/v1/audit").await?)
    }
}
