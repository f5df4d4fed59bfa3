//! The members of the cluster, and changing who they are while it runs.
//!
//! Owns the answers, and what is asked of a node before it is removed; that a change is one safe
//! step of Raft is the driver's to see to. Only the leader takes one.

use std::net::SocketAddr;

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::NodeId;
use tandem_cluster::driver::{ChangeError, MembershipChange};

use super::backend::{Cluster, Freshness};
use super::commands::require;
use super::error::{ErrorBody, ErrorCode};
use super::nodes::views;
use super::page::Page;
use super::routes::Who;
use super::server::Api;
use super::words::Role;
use crate::config::types::NodeNumber;
use crate::replica::{ChangeFailed, Place};

/// One member of the cluster.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// Which.
    pub node: u64,
    /// Where the others reach it.
    pub address: String,
    /// Its HTTP address.
    pub http: Option<String>,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is there to vote and has no calls and desks.
    #[serde(default)]
    pub witness: bool,
    /// Whether it leads.
    pub leader: bool,
    /// Whether the node that answers hears from it.
    pub reachable: bool,
    /// The last index that the leader knows it to have; only the leader knows.
    pub matched: Option<u64>,
}

/// A node that is to become a member.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    /// Its `node.id`, which no member has.
    node: NodeNumber,
    /// Its `cluster.listen`.
    address: SocketAddr,
    /// Its `http.listen`, told to clients of nodes whose configuration does not name it.
    http: Option<SocketAddr>,
}

pub(super) async fn members(api: web::Data<Api>, _: Who) -> HttpResponse {
    let cluster = api.backend.cluster();
    let view = |member: &super::backend::Member| MemberView {
        node: member.node.0,
        address: member.address.clone(),
        http: member.http.clone(),
        voter: member.voter,
        witness: member.witness,
        leader: cluster.leader == Some(member.node),
        reachable: member.reachable,
        matched: member.matched,
    };
    let items = cluster.members.iter().map(view).collect();
    HttpResponse::Ok().json(Page { items, next: None })
}

pub(super) async fn add(
    api: web::Data<Api>,
    who: Who,
    member: web::Json<NewMember>,
) -> Result<HttpResponse, ErrorBody> {
    let node = u64::from(member.node.get());
    let address = Place { cluster: member.address, http: member.http }.encode();
    change(&api, &who, MembershipChange::AddLearner { node, address }).await
}

pub(super) async fn promote(
    api: web::Data<Api>,
    who: Who,
    node: web::Path<u64>,
) -> Result<HttpResponse, ErrorBody> {
    change(&api, &who, MembershipChange::Promote { node: *node }).await
}

pub(super) async fn remove(
    api: web::Data<Api>,
    who: Who,
    node: web::Path<u64>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Administrator)?;
    let node = *node;
    let cluster = api.backend.cluster();
    if cluster.leader != Some(api.backend.node()) {
        // Whom the leader hears is what counts below.
        let leader = cluster.leader.map(|leader| leader.0);
        return Err(ChangeFailed::Refused(ChangeError::NotLeader { leader }).into());
    }
    let views = views(&api, Freshness::Linear).await?;
    if let Some(view) = views.iter().find(|view| view.node == node && view.up)
        && !view.is_drained()
    {
        let message = format!("node {node} takes calls or leads: drain it first");
        return Err(ErrorBody::new(ErrorCode::Conflict, message));
    }
    check_majority(&cluster, NodeId(node))?;
    change(&api, &who, MembershipChange::Remove { node }).await
}

async fn change(api: &Api, who: &Who, change: MembershipChange) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Administrator)?;
    let (what, node) = match &change {
        MembershipChange::AddLearner { node, .. } => ("added", *node),
        MembershipChange::Promote { node } => ("promoted", *node),
        MembershipChange::Remove { node } => ("removed", *node),
    };
    api.backend.change_members(change).await?;
    tracing::warn!(node, what, by = who.0.agent, "the members have changed");
    Ok(HttpResponse::NoContent().finish())
}

/// The voters that stay must be able to decide: more than half of them are heard.
fn check_majority(cluster: &Cluster, without: NodeId) -> Result<(), ErrorBody> {
    let voters = || cluster.members.iter().filter(|member| member.voter);
    let stay = || voters().filter(|member| member.node != without);
    let (heard, left) = (stay().filter(|member| member.reachable).count(), stay().count());
    if left == voters().count() || heard > left / 2 {
        return Ok(());
    }
    let message =
        format!("without node {without} no majority is left: {heard} of {left} voters are heard");
    Err(ErrorBody::new(ErrorCode::Conflict, message))
}

impl From<ChangeFailed> for ErrorBody {
    fn from(failed: ChangeFailed) -> Self {
        let code = match &failed {
            ChangeFailed::Refused(error) => match error {
                ChangeError::NotLeader { .. }
                | ChangeError::UnderWay
                | ChangeError::Behind { .. } => ErrorCode::Unavailable,
                ChangeError::Member { .. }
                | ChangeError::NotLearner { .. }
                | ChangeError::LastVoter { .. }
                | ChangeError::Leads { .. } => ErrorCode::Conflict,
                ChangeError::NotMember { .. } => ErrorCode::NotFound,
            },
            ChangeFailed::Unknown => ErrorCode::Unknown,
            ChangeFailed::Stopped => ErrorCode::Unavailable,
        };
        Self::new(code, failed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::Member;
    use super::*;

    /// Voters that are heard or not, and a learner.
    fn cluster(heard: &[bool]) -> Cluster {
        let member = |(node, reachable, voter)| Member {
            node: NodeId(node),
            address: String::new(),
            http: None,
            voter,
            witness: false,
            reachable,
            matched: None,
        };
        let voters = (1..).zip(heard).map(|(node, heard)| (node, *heard, true));
        let members = voters.chain([(9, false, false)]).map(member).collect();
        Cluster { members, ..Cluster::default() }
    }

    #[test]
    fn a_voter_is_only_removed_if_the_others_can_decide() {
        let may =
            |heard: &[bool], without| check_majority(&cluster(heard), NodeId(without)).is_ok();
        assert!(may(&[true, true, true], 3) && may(&[true, true, false], 3));
        assert!(!may(&[true, true, false], 2));
        assert!(may(&[true, true, false, true], 4) && !may(&[true, true, false, false], 2));
        assert!(may(&[true, false, false], 9), "a learner decides nothing");
    }
}
