//! `tandem ctl members add|remove`: who takes part in a running cluster, changed step by step.
//!
//! Owns the order of the steps, the confirmation and the waiting; each step is the leader's to take
//! or refuse. What an interruption leaves undone is done when the same is asked again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::client::{ClientError, Server};
use super::{ctl, screen};
use crate::api::error::ErrorCode;
use crate::api::page::Page;
use crate::api::{MemberView, NodeView};

/// Between two questions.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Subcommand)]
pub(super) enum Change {
    /// Make a node a member that was started with `join`: it gets the state, and votes when it has
    /// caught up.
    Add {
        /// The node's number.
        node: u8,
        /// Its `cluster.listen`.
        address: SocketAddr,
        /// Its `http.listen`.
        #[arg(long, value_name = "ADDRESS")]
        http: Option<SocketAddr>,
        /// How long to wait until it has caught up. It goes on doing so afterwards.
        #[arg(long, value_name = "SECONDS", default_value_t = 120)]
        within: u64,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Hand everything that a node has to others, and let it be a member no more.
    Remove {
        /// The node's number.
        node: u64,
        /// How long to wait until nothing is left on it. It goes on draining afterwards.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        within: u64,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl Change {
    /// Asks, does it, and gives the members as they are then.
    pub(super) async fn make(&self, server: &Server) -> anyhow::Result<Value> {
        match self {
            Self::Add { node, address, http, within, yes } => {
                let begun = members(server).await?;
                let node = u64::from(*node);
                let known = begun.iter().find(|member| member.node == node);
                if known.is_some_and(|member| member.voter) {
                    bail!("node {node} is a member already");
                }
                confirm(*yes, node, &added(&begun, node, *address))?;
                if known.is_none() {
                    let body = json!({ "node": node, "address": address, "http": http });
                    leader(server).await?.post::<Value>("/api/v1/members", &body).await?;
                }
                promote(server, node, Duration::from_secs(*within)).await?;
            }
            Self::Remove { node, within, yes } => {
                let begun = members(server).await?;
                if begun.iter().all(|member| member.node != *node) {
                    bail!("node {node} is not a member");
                }
                confirm(*yes, *node, &removed(&begun, *node))?;
                drain(server, *node, *within).await?;
                let path = format!("/api/v1/members/{node}");
                leader(server).await?.delete::<Value>(&path).await?;
            }
        }
        // The leader knows it first.
        Ok(leader(server).await?.get("/api/v1/members").await?)
    }
}

async fn members(server: &Server) -> anyhow::Result<Vec<MemberView>> {
    Ok(server.get::<Page<MemberView>>("/api/v1/members").await?.items)
}

/// The node that leads, as far as it is known where; else the one that is asked anyway, which says
/// what is in the way.
async fn leader(server: &Server) -> anyhow::Result<Server> {
    let leader = members(server).await?.into_iter().find(|member| member.leader);
    let scheme = server.base().split_once("://").map_or("http", |(scheme, _)| scheme);
    let base = match leader.and_then(|leader| leader.http) {
        Some(http) => format!("{scheme}://{http}"),
        None => server.base().to_owned(),
    };
    let mut at = Server::new(&base)?;
    if let Some(token) = server.token() {
        at.set_token(token.to_owned());
    }
    Ok(at)
}

/// Lets it vote as soon as it has caught up.
async fn promote(server: &Server, node: u64, within: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    let path = format!("/api/v1/members/{node}/promote");
    loop {
        let answer = leader(server).await?.post::<Value>(&path, &json!({})).await;
        match answer {
            Ok(_) => return Ok(()),
            Err(ClientError::Refused(error)) if error.code == ErrorCode::Unavailable => {
                if Instant::now() > deadline {
                    bail!("node {node} does not vote yet: {}", error.message);
                }
            }
            Err(error) => return Err(error).context("the node receives, and does not vote yet"),
        }
        sleep(LOOK).await;
    }
}

/// Nothing is left on it, unless it is gone or never had calls.
async fn drain(server: &Server, node: u64, within: u64) -> anyhow::Result<()> {
    let page: Page<NodeView> = server.get("/api/v1/nodes").await?;
    let view = page.items.into_iter().find(|view| view.node == node);
    match view.filter(|view| view.up) {
        Some(view) if view.draining => ctl::wait_drained(server, node, within).await.map(drop),
        Some(_) => ctl::drain(server, node, within).await.map(drop),
        None => Ok(()),
    }
}

fn confirm(yes: bool, node: u64, text: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    screen::say(text);
    let name = format!("node-{node}");
    if screen::typed(&name)? != name {
        bail!("nothing was changed: {name} was not confirmed (--yes)");
    }
    Ok(())
}

fn added(members: &[MemberView], node: u64, address: SocketAddr) -> String {
    let voters = members.iter().filter(|member| member.voter).count() + 1;
    format!(
        "Node {node} at {address} becomes a member: it gets everything that the others have, and \
         is one of {voters} that decide, of which {} are needed.",
        voters / 2 + 1
    )
}

fn removed(members: &[MemberView], node: u64) -> String {
    let voters = members.iter().filter(|member| member.voter && member.node != node).count();
    format!(
        "Node {node} gives its calls and addresses to the others and is a member no more; it comes \
         back with a new data directory only. {voters} are left that decide, of which {} are needed.",
        voters / 2 + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_confirms_reads_how_many_are_needed_afterwards() {
        let member = |node| MemberView {
            node,
            address: String::new(),
            http: None,
            voter: true,
            witness: false,
            leader: false,
            reachable: true,
            matched: None,
        };
        let members: Vec<_> = (1..=3).map(member).collect();
        let text = added(&members, 4, "192.0.2.4:7000".parse().unwrap());
        assert!(text.contains("one of 4 that decide, of which 3 are needed"), "{text}");
        let text = removed(&members, 3);
        assert!(text.contains("2 are left that decide, of which 2 are needed"), "{text}");
    }
}
