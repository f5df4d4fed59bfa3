//! `tandem drill`: failover drills on real processes, with a report and an exit status.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::screen;
use crate::drill::{self, Order, Wish};

/// Calls of a round. More than that need more than one machine to be judged.
const CALLS: std::ops::RangeInclusive<u16> = 1..=400;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Drills, or `all`; with `=N` so many rounds of it instead of `--rounds`.
    #[arg(value_name = "NAME", required = true, help = names())]
    wishes: Vec<Wish>,
    /// Calls at the node in question, spread over all phases.
    #[arg(long, value_name = "N", default_value_t = 26,
        value_parser = clap::value_parser!(u16).range(i64::from(*CALLS.start())..=i64::from(*CALLS.end())))]
    calls: u16,
    /// How often each drill is run, each time with a fresh cluster.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long a drill keeps the machine busy.
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    /// Rounds that are played at the same time, each 20 addresses above the one before.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(drill::SIDE_BY_SIDE_MAX)))]
    side_by_side: u8,
    /// Write report.html, results.json, table.md and a drawing of each kind into this folder.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
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

fn names() -> String {
    let names: Vec<&str> = drill::names().collect();
    format!(
        "Drills, or {}; with =N so many rounds of it instead of --rounds: {}",
        drill::ALL,
        names.join(", ")
    )
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if let Some(mut elsewhere) = drill::elsewhere(&self.wishes)? {
            let status = elsewhere.status()?;
            if !status.success() {
                bail!("the drills in their own namespaces failed");
            }
            return Ok(());
        }
        let order = Order {
            wishes: self.wishes,
            calls: self.calls.into(),
            rounds: self.rounds.into(),
            side_by_side: self.side_by_side,
            minutes: self.minutes,
            first: self.first,
            output: self.output,
            other: self.other.or_else(|| std::env::var_os("TANDEM_OTHER").map(PathBuf::from)),
            keep: self.keep,
        };
        drill::run(&order, screen::say)
    }
}
