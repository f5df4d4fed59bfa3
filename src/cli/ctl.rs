//! `tandem ctl`: asks a node and prints the answer, as a table or as JSON.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tandem_center::flow::Surroundings;
use tokio::time::sleep;

use super::client::{Login, Server, on_one_thread};
use super::members::Change;
use super::screen;
use super::table::{Table, ago};
use crate::api::page::Page;
use crate::api::view::{Agent, CallView, QueueView};
use crate::api::words::word;
use crate::api::{Load, MemberView, NodeView, Status, TrunkView};
use crate::config::Config;
use crate::flows::FlowFolder;
use crate::speech;

/// Between two looks at a node that drains.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    login: Login,
    /// Print what the node answered, as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The node and its cluster in a few numbers.
    Status,
    /// The nodes of the cluster, and changing who they are.
    Members {
        #[command(subcommand)]
        change: Option<Change>,
    },
    /// Calls that are there now.
    Calls,
    /// Everybody and their states.
    Agents,
    /// The queues.
    Queues,
    /// Hand the leadership to a node.
    Transfer {
        /// The node's number.
        node: u64,
    },
    /// The nodes as calls see them: who takes calls, who drains, and what is left on each.
    Nodes,
    /// Hand everything that a node has to others, and wait until nothing is left on it: then it
    /// can be stopped without losing a call.
    Drain {
        /// The node's number.
        node: u64,
        /// How long to wait. The node goes on draining afterwards.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        within: u64,
    },
    /// The trunks: what each carries and may carry, in and out, and whether it answers.
    Trunks,
    /// Let a node that drains take calls again.
    Resume {
        /// The node's number.
        node: u64,
    },
    /// Say everything that is wrong with a configuration and its flows, without starting.
    CheckConfig {
        /// The file; without one, the configuration that is compiled in.
        file: Option<PathBuf>,
    },
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if let What::CheckConfig { file } = &self.what {
            return check(file.as_ref());
        }
        let lines = on_one_thread(self.ask())?;
        lines.iter().for_each(|line| screen::say(line));
        Ok(())
    }

    async fn ask(&self) -> anyhow::Result<Vec<String>> {
        let server = self.login.server().await?;
        let answer: Value = match &self.what {
            What::Status => server.get("/api/v1/status?linear=false").await?,
            What::Members { change: None } => server.get("/api/v1/members").await?,
            What::Members { change: Some(change) } => change.make(&server).await?,
            What::Calls => all_calls(&server).await?,
            What::Agents => server.get("/api/v1/agents").await?,
            What::Queues => server.get("/api/v1/queues").await?,
            What::Transfer { node } => {
                server.post("/api/v1/leader", &json!({ "node": node })).await?
            }
            What::Nodes => server.get("/api/v1/nodes").await?,
            What::Trunks => server.get("/api/v1/trunks").await?,
            What::Drain { node, within } => drain(&server, *node, *within).await?,
            What::Resume { node } => {
                server.post(&format!("/api/v1/nodes/{node}/resume"), &json!({})).await?
            }
            What::CheckConfig { .. } => Value::Null,
        };
        if self.json {
            return Ok(vec![serde_json::to_string_pretty(&answer)?]);
        }
        self.show(answer).context("the node's answer is not understood")
    }

    fn show(&self, answer: Value) -> Result<Vec<String>, serde_json::Error> {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        Ok(match self.what {
            What::Status => status(&serde_json::from_value(answer)?),
            What::Members { .. } => members(&serde_json::from_value(answer)?),
            What::Calls => calls(&serde_json::from_value(answer)?, now),
            What::Agents => agents(&serde_json::from_value(answer)?, now),
            What::Queues => queues(&serde_json::from_value(answer)?, now),
            What::Transfer { node } => vec![format!("node {node} was asked to lead")],
            What::Nodes => nodes(&serde_json::from_value(answer)?),
            What::Trunks => trunks(&serde_json::from_value(answer)?, now),
            What::Drain { node, .. } => {
                vec![format!(
                    "node {node} is drained: it has no address and no call, and can be stopped"
                )]
            }
            What::Resume { node } => vec![format!("node {node} takes calls again")],
            What::CheckConfig { .. } => Vec::new(),
        })
    }
}

/// Every page of calls as one.
async fn all_calls(server: &Server) -> anyhow::Result<Value> {
    let mut items = Vec::new();
    let mut after = String::new();
    loop {
        let page: Page<Value> = server.get(&format!("/api/v1/calls?limit=1000{after}")).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(json!({ "items": items, "next": null })),
        }
    }
}

/// Orders the drain, and waits until the node has nothing any more.
pub(super) async fn drain(server: &Server, node: u64, within: u64) -> anyhow::Result<Value> {
    let () = server.post(&format!("/api/v1/nodes/{node}/drain"), &json!({})).await?;
    wait_drained(server, node, within).await
}

/// Waits until a node that drains has nothing any more.
pub(super) async fn wait_drained(server: &Server, node: u64, within: u64) -> anyhow::Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(within);
    loop {
        let page: Page<NodeView> = server.get("/api/v1/nodes").await?;
        let Some(view) = page.items.into_iter().find(|view| view.node == node) else {
            bail!("node {node} is not known any more");
        };
        if view.is_drained() {
            return Ok(serde_json::to_value(view)?);
        }
        if Instant::now() > deadline {
            bail!(
                "node {node} still has {} addresses and {} calls{}",
                view.homes,
                view.calls,
                if view.leader { ", and leads" } else { "" }
            );
        }
        sleep(LOOK).await;
    }
}

fn nodes(page: &Page<NodeView>) -> Vec<String> {
    let mut table = Table::new(&["NODE", "UP", "CALLS", "ADDRESSES", "LEADS", "DRAINING", "READS"]);
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    for node in &page.items {
        let [oldest, newest] = node.reads;
        table.add(vec![
            node.node.to_string(),
            if node.witness { "witness".to_owned() } else { yes(node.up) },
            node.calls.to_string(),
            node.homes.to_string(),
            yes(node.leader),
            yes(node.draining),
            format!("{oldest} to {newest}"),
        ]);
    }
    table.lines()
}

fn trunks(page: &Page<TrunkView>, now: u64) -> Vec<String> {
    let mut table = Table::new(&[
        "TRUNK", "PREFIX", "PRIORITY", "IN", "IN/S", "OUT", "OUT/S", "ANSWERS", "RESTS",
    ]);
    let of = |is: u32, max: u32| if max == 0 { is.to_string() } else { format!("{is} of {max}") };
    let calls = |load: &Load| of(load.calls, load.calls_max);
    let pace = |load: &Load| of(load.per_second, load.per_second_max);
    for trunk in &page.items {
        let unreached: Vec<_> = trunk.unreached_by.iter().map(ToString::to_string).collect();
        let rests = trunk.rests_until.map(|until| until.saturating_sub(now).div_ceil(1_000));
        table.add(vec![
            trunk.name.clone(),
            trunk.prefix.clone(),
            trunk.priority.to_string(),
            calls(&trunk.incoming),
            pace(&trunk.incoming),
            calls(&trunk.outgoing),
            pace(&trunk.outgoing),
            match &*unreached {
                [] => "yes".to_owned(),
                nodes => format!("not node {}", nodes.join(", ")),
            },
            rests.map(|seconds| format!("{seconds} s")).unwrap_or_default(),
        ]);
    }
    table.lines()
}

fn status(status: &Status) -> Vec<String> {
    let count = |(name, count): (&String, &usize)| (*count > 0).then(|| format!("{count} {name}"));
    let list = |counts: Vec<String>| {
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    };
    let ready = if status.ready { "ready".to_owned() } else { status.reasons.join("; ") };
    let leader = status.leader.map_or_else(|| "nobody".to_owned(), |node| format!("node {node}"));
    vec![
        format!("node {}, version {}: {ready}", status.node, status.version),
        format!("led by {leader}, term {}", status.term),
        format!(
            "committed {}, applied {}, in version {}",
            status.committed, status.applied, status.agreed
        ),
        format!("calls: {}", list(status.calls.iter().filter_map(count).collect())),
        format!("agents: {}", list(status.agents.iter().filter_map(count).collect())),
        format!("waiting: {}, desks: {}", status.waiting, status.sessions),
    ]
}

fn members(page: &Page<MemberView>) -> Vec<String> {
    let mut table = Table::new(&["NODE", "ROLE", "REACHED", "ADDRESS", "HTTP", "MATCHED"]);
    for member in &page.items {
        let role = match (member.leader, member.voter, member.witness) {
            (true, _, _) => "leader",
            (false, true, true) => "witness",
            (false, true, false) => "voter",
            (false, false, _) => "learner",
        };
        table.add(vec![
            member.node.to_string(),
            role.to_owned(),
            if member.reachable { "yes" } else { "no" }.to_owned(),
            member.address.clone(),
            member.http.clone().unwrap_or_default(),
            member.matched.map(|index| index.to_string()).unwrap_or_default(),
        ]);
    }
    table.lines()
}

fn calls(page: &Page<CallView>, now: u64) -> Vec<String> {
    let mut table =
        Table::new(&["CALL", "CALLER", "CALLED", "PHASE", "QUEUE", "AGENT", "NODE", "SINCE"]);
    for call in &page.items {
        let agent = call.agent.as_ref().or(call.offered_to.first());
        table.add(vec![
            call.id.clone(),
            call.caller.number.clone(),
            call.called.clone(),
            word(&call.phase),
            call.queue.clone().unwrap_or_default(),
            agent.cloned().unwrap_or_default(),
            call.owner.to_string(),
            ago(now, call.arrived),
        ]);
    }
    table.lines()
}

fn agents(page: &Page<Agent>, now: u64) -> Vec<String> {
    let mut table = Table::new(&["AGENT", "NAME", "STATE", "SINCE", "CALL", "DESK", "QUEUES"]);
    for agent in &page.items {
        let reason = agent.reason.as_ref().map(|reason| format!(" ({reason})"));
        table.add(vec![
            agent.id.clone(),
            agent.name.clone(),
            format!("{}{}", word(&agent.state), reason.unwrap_or_default()),
            ago(now, agent.since),
            agent.call.clone().unwrap_or_default(),
            if agent.signed_in { "yes" } else { "no" }.to_owned(),
            agent.queues.join(", "),
        ]);
    }
    table.lines()
}

fn queues(page: &Page<QueueView>, now: u64) -> Vec<String> {
    let mut table = Table::new(&[
        "QUEUE",
        "WAITING",
        "FIRST",
        "READY",
        "ENTERED",
        "ANSWERED",
        "ABANDONED",
        "OVERFLOWED",
    ]);
    for queue in &page.items {
        table.add(vec![
            queue.id.clone(),
            queue.waiting.to_string(),
            queue.first_since.map(|since| ago(now, since)).unwrap_or_default(),
            queue.ready.to_string(),
            queue.entered.to_string(),
            queue.answered.to_string(),
            queue.abandoned.to_string(),
            queue.overflowed.to_string(),
        ]);
    }
    table.lines()
}

/// Checks a configuration and the flows that it names.
fn check(file: Option<&PathBuf>) -> anyhow::Result<()> {
    let config = super::load(file)?;
    let folder = config.input(&config.flows.directory);
    let problems = if folder.is_dir() { check_flows(&config, &folder)? } else { Vec::new() };
    problems.iter().for_each(|problem| screen::say(problem));
    if !problems.is_empty() {
        bail!("{} problems in the flows", problems.len());
    }
    screen::say("the configuration and its flows are good");
    Ok(())
}

fn check_flows(config: &Config, folder: &Path) -> anyhow::Result<Vec<String>> {
    let around = Surroundings {
        prompts: Some(speech::files_below(&config.input(&config.prompts.directory))),
        queues: Some(config.queue.iter().map(|queue| queue.id.to_string()).collect()),
        languages: Some(config.speech.voices.keys().cloned().collect()),
    };
    let mut flows = FlowFolder::new(folder.to_owned());
    flows.look(&around)?;
    let mut problems: Vec<String> = flows.errors().iter().map(ToString::to_string).collect();
    let names = flows.texts();
    for entry in &config.number {
        if let Some(flow) = &entry.flow
            && !names.contains_key(flow.as_str())
        {
            problems.push(format!(
                "number {} leads to flow {flow}, which is not good or not in {}",
                entry.number,
                folder.display()
            ));
        }
    }
    Ok(problems)
}
