//! The nodes as calls see them, and taking one out of service without losing a call.
//!
//! Owns the answers; decides nothing. A drain is a command of the log. Whether a majority would be
//! left is asked here, since the state knows nothing of votes.

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::{Center, Command, NodeId, Reply};

use super::backend::{Freshness, read};
use super::commands::require;
use super::error::{ErrorBody, ErrorCode};
use super::page::Page;
use super::routes::Who;
use super::server::Api;
use super::words::Role;
use crate::drain::Left;

/// A node, as calls see it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Which.
    pub node: u64,
    /// Whether it is there, as the cluster has decided.
    pub up: bool,
    /// Whether it votes and has no calls; it is never up then, and never lost.
    pub witness: bool,
    /// Whether it is to be stopped: it gives away what it has, and gets nothing.
    pub draining: bool,
    /// Whether it leads, as the node that answers knows.
    pub leader: bool,
    /// Service addresses that it holds.
    pub homes: usize,
    /// Calls that it owns.
    pub calls: u32,
    /// The oldest and the newest version of commands and state that its build reads; both 0 if it
    /// has not said.
    pub reads: [u8; 2],
}

impl NodeView {
    /// Nothing is left on a node that drains: it can be stopped.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && !self.leader && self.homes == 0 && self.calls == 0
    }

    fn all(center: &Center, leader: Option<NodeId>) -> Vec<Self> {
        let view = |(id, node): (NodeId, &tandem_center::Node)| {
            let Left { homes, calls } = Left::of(center, id);
            Self {
                node: id.0,
                up: node.up,
                witness: node.witness,
                draining: node.draining,
                leader: leader == Some(id),
                homes,
                calls,
                reads: [node.reads.oldest, node.reads.newest],
            }
        };
        center.nodes().map(view).collect()
    }
}

/// Who was removed from the cluster and is missed for good is none of its nodes.
pub(super) async fn views(api: &Api, freshness: Freshness) -> Result<Vec<NodeView>, ErrorBody> {
    let cluster = api.backend.cluster();
    let leader = cluster.leader;
    let all = read(&*api.backend, freshness, move |center| NodeView::all(center, leader)).await?;
    let is_here = |view: &NodeView| view.up || cluster.has(NodeId(view.node));
    Ok(all.into_iter().filter(is_here).collect())
}

pub(super) async fn nodes(api: web::Data<Api>, _: Who) -> Result<HttpResponse, ErrorBody> {
    let items = views(&api, Freshness::Local).await?;
    Ok(HttpResponse::Ok().json(Page { items, next: None }))
}

pub(super) async fn drain(
    api: web::Data<Api>,
    who: Who,
    node: web::Path<u64>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Administrator)?;
    let node = NodeId(*node);
    let views = views(&api, Freshness::Linear).await?;
    check_majority(&api, &views, node)?;
    let applied = api.backend.submit(Command::Drain { node }).await?;
    if applied.reply == Reply::Already {
        let message = format!("node {node} is draining already");
        return Err(ErrorBody::new(ErrorCode::Conflict, message));
    }
    tracing::info!(%node, by = who.0.agent, "a node drains");
    Ok(HttpResponse::NoContent().finish())
}

pub(super) async fn resume(
    api: web::Data<Api>,
    who: Who,
    node: web::Path<u64>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Administrator)?;
    let node = NodeId(*node);
    api.backend.submit(Command::Resume { node }).await?;
    tracing::info!(%node, by = who.0.agent, "a node is to take calls again");
    Ok(HttpResponse::NoContent().finish())
}

/// A node that is drained is stopped next: the others must be able to decide without it. A voter
/// that never took calls is counted as there.
fn check_majority(api: &Api, views: &[NodeView], node: NodeId) -> Result<(), ErrorBody> {
    let members = api.backend.cluster().members;
    let voters: Vec<u64> = members.iter().filter(|m| m.voter).map(|m| m.node.0).collect();
    let is_lost = |id: &u64| views.iter().any(|view| view.node == *id && !view.up && !view.witness);
    let left = voters.iter().filter(|id| **id != node.0 && !is_lost(id)).count();
    if voters.len() < 2 || !voters.contains(&node.0) || left > voters.len() / 2 {
        return Ok(());
    }
    let message = format!("without node {node} no majority is left: {left} of {}", voters.len());
    Err(ErrorBody::new(ErrorCode::Conflict, message))
}
