//! The leadership is moved to another node, as before maintenance.

use serde_json::json;

use super::super::cast::NODES;
use super::super::cluster::Cluster;
use super::super::config::{ADMINISTRATOR, PASSWORD};
use crate::cli::client::Server;
use crate::config::types::Secret;

pub(super) async fn strike(cluster: &Cluster, node: usize) -> anyhow::Result<()> {
    let mut server = Server::new(&cluster.base(node))?;
    server.log_in(ADMINISTRATOR, &Secret::new(PASSWORD)).await?;
    let next = (node + 1) % NODES + 1;
    let _done: serde_json::Value = server.post("/api/v1/leader", &json!({ "node": next })).await?;
    Ok(())
}
