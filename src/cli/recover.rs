//! `tandem recover`: the node that is left becomes the cluster, when the others are lost for good.
//!
//! Offline, on the directory of a stopped node. Shows what the node has and what may be lost, and
//! does nothing without a confirmation that names who is left.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use tandem_cluster::recovery::Found;

use super::screen;
use crate::audit::offline::Places;
use crate::config::types::Name;
use crate::node::unix_ms;
use crate::replica::Recovery;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The directory of the node that is left (what `tandem run --data` names). The node is stopped.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The number of that node.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    node: u8,
    /// Another node that is left, too; still a minority. Each of them is recovered with the same
    /// list, and with the code that the first one gave.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    with: Vec<u8>,
    /// The code that the recovery of the first node gave.
    #[arg(long, value_name = "CODE", requires = "with")]
    code: Option<Name>,
    /// Go on without asking. NAME is what the command would ask for.
    #[arg(long, value_name = "NAME")]
    yes_i_accept_loss: Option<String>,
}

impl Arguments {
    /// Shows, asks, and does it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let survivors: BTreeSet<u64> =
            self.with.iter().chain([&self.node]).map(|node| u64::from(*node)).collect();
        let recovery = Recovery::open(&Places::of(&self.data).replica, self.node.into())?;
        recovery.check(&survivors)?;
        let found = recovery.found()?;
        describe(self.node, &found, recovery.recorded()).iter().for_each(|line| screen::say(line));
        warn(&survivors, &found).iter().for_each(|line| screen::say(line));
        let name = name(&survivors);
        if self.confirmed(&name)? != name {
            bail!("nothing was changed: {name} was not confirmed (--yes-i-accept-loss {name})");
        }
        let code = match &self.code {
            Some(code) => code.as_str().to_owned(),
            None => format!("{:016x}", rand::random::<u64>()),
        };
        recovery.perform(&survivors, &code)?;
        screen::say("");
        screen::say(&format!("Done: {} is the cluster now.", list(&survivors)));
        screen::say("Set this in the [cluster] section of every node before you start it:");
        screen::say(&format!("    recovery = \"{code}\""));
        Ok(())
    }

    /// What was given or typed.
    fn confirmed(&self, name: &str) -> anyhow::Result<String> {
        if let Some(given) = &self.yes_i_accept_loss {
            return Ok(given.clone());
        }
        screen::typed(name)
    }
}

/// What has to be typed: who does it has looked who is left.
fn name(survivors: &BTreeSet<u64>) -> String {
    let nodes: Vec<String> = survivors.iter().map(u64::to_string).collect();
    format!("node-{}-alone", nodes.join("-"))
}

fn list<'a>(nodes: impl IntoIterator<Item = &'a u64>) -> String {
    let nodes: Vec<String> = nodes.into_iter().map(|node| format!("node {node}")).collect();
    nodes.join(", ")
}

fn describe(node: u8, found: &Found, recorded: Option<u64>) -> Vec<String> {
    let age = found.last_at.map_or("at an unknown time".to_owned(), |at| {
        format!("{} s ago, by the clock of its leader", unix_ms().saturating_sub(at) / 1_000)
    });
    let recorded =
        recorded.map_or("cannot be read".to_owned(), |index| format!("to entry {index}"));
    vec![
        format!("What node {node} has:"),
        format!("  last entry   {}, term {}, written {age}", found.last, found.last_term),
        format!("  agreed on    to entry {}, as far as this node was told", found.committed),
        format!("  snapshot     at entry {}", found.snapshot),
        format!("  records      {recorded}"),
        format!("  voters       {}", list(&found.voters)),
    ]
}

fn warn(survivors: &BTreeSet<u64>, found: &Found) -> Vec<String> {
    let lost: Vec<u64> = found.voters.iter().copied().filter(|v| !survivors.contains(v)).collect();
    vec![
        String::new(),
        format!("This makes {} the whole cluster. The risk is yours:", list(survivors)),
        format!(
            "- Whatever {} agreed on after entry {} is lost: calls, their records, commands that were \
             acknowledged.",
            list(&lost),
            found.last
        ),
        "- Entries that were never agreed on become valid.".to_owned(),
        format!(
            "- {} must not run as the old cluster any more: there would be two, with the same service \
             addresses. Move their data directories away. They come back as new members only.",
            list(&lost)
        ),
        String::new(),
    ]
}
