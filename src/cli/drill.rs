//! `tandem drill`: failover drills on real processes, with a report and an exit status.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::screen;
use crate::drill::{self, Order};

/// Calls of a round. More than that need more than one machine to be judged.
const CALLS: std::ops::RangeInclusive<u16> = 1..=400;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The drill, or `all`.
    #[arg(value_name = "NAME", value_parser = names())]
    name: String,
    /// Calls at the node in question, spread over all phases.
    #[arg(long, value_name = "N", default_value_t = 26,
        value_parser = clap::value_parser!(u16).range(i64::from(*CALLS.start())..=i64::from(*CALLS.end())))]
    calls: u16,
    /// How often each drill is run, each time with a fresh cluster.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Write a report with a drawing of each round.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// The nodes are 127.0.0.N and the two above it; phones are 10 to 12 above it.
    #[arg(long, value_name = "N", default_value_t = 31,
        value_parser = clap::value_parser!(u8).range(2..=240))]
    first: u8,
    /// The program of the build that follows this one, which rolling-upgrade upgrades to; without
    /// it, what TANDEM_OTHER names.
    #[arg(long, value_name = "FILE")]
    other: Option<PathBuf>,
    /// Keep configurations, logs and data of the nodes.
    #[arg(long)]
    keep: bool,
}

fn names() -> clap::builder::PossibleValuesParser {
    drill::names().chain([drill::ALL]).collect::<Vec<_>>().into()
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if let Some(mut elsewhere) = drill::elsewhere(&self.name)? {
            let status = elsewhere.status()?;
            if !status.success() {
                bail!("the drill in its network namespace failed");
            }
            return Ok(());
        }
        let order = Order {
            name: self.name,
            calls: self.calls.into(),
            rounds: self.rounds.into(),
            first: self.first,
            report: self.report,
            other: self.other.or_else(|| std::env::var_os("TANDEM_OTHER").map(PathBuf::from)),
            keep: self.keep,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(drill::run(&order, screen::say))
    }
}
