//! Trunks over HTTP: what each carries on all nodes, what it may, and which nodes it answers.

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::directory::Limits;
use tandem_center::trunk::Pace;
use tandem_center::{Center, Millis};

use super::backend::{Freshness, read};
use super::commands::require;
use super::error::ErrorBody;
use super::page::Page;
use super::routes::Who;
use super::server::Api;
use super::words::Role;

/// A trunk, with its load on all nodes together.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrunkView {
    /// Its name.
    pub name: String,
    /// What dialled numbers begin with that leave here.
    pub prefix: String,
    /// Which trunk of the prefix is tried first: the lowest.
    pub priority: u8,
    /// Its share among equals.
    pub weight: u16,
    /// Calls that come in here.
    pub incoming: Load,
    /// Calls that go out here.
    pub outgoing: Load,
    /// Until when it takes no calls, as it said itself, in Unix milliseconds.
    pub rests_until: Option<u64>,
    /// Nodes whose questions it does not answer: their calls leave by others, if those do.
    pub unreached_by: Vec<u64>,
}

/// What a trunk carries in one direction.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Calls now.
    pub calls: u32,
    /// How many there may be; 0: any number.
    pub calls_max: u32,
    /// Calls that began in the last whole second.
    pub per_second: u32,
    /// How many may begin a second; 0: any number.
    pub per_second_max: u32,
    /// Calls that began since the trunk was configured.
    pub begun: u64,
}

impl Load {
    fn of(calls: u32, limits: Limits, pace: Pace, now: Millis) -> Self {
        Self {
            calls,
            calls_max: limits.calls,
            per_second: pace.per_second(now),
            per_second_max: limits.per_second,
            begun: pace.begun,
        }
    }
}

impl TrunkView {
    fn all(center: &Center, now: Millis) -> Vec<Self> {
        let directory = center.directory();
        let view = |rule: &tandem_center::directory::OutboundRule| {
            let config = directory.trunks.get(&rule.trunk)?;
            let calls = center.trunk_calls(&rule.trunk);
            let trunk = center.trunk(&rule.trunk).cloned().unwrap_or_default();
            Some(Self {
                name: rule.trunk.to_string(),
                prefix: rule.prefix.to_string(),
                priority: config.priority,
                weight: config.weight,
                incoming: Load::of(calls.incoming, config.incoming, trunk.came, now),
                outgoing: Load::of(calls.outgoing, config.outgoing, trunk.went, now),
                rests_until: trunk.rests_until.filter(|until| *until > now).map(|until| until.0),
                unreached_by: trunk.unreached_by.iter().map(|node| node.0).collect(),
            })
        };
        directory.outbound.iter().filter_map(view).collect()
    }
}

pub(super) async fn trunks(api: web::Data<Api>, who: Who) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let now = api.backend.now();
    let all = read(&*api.backend, Freshness::Local, move |center| TrunkView::all(center, now));
    Ok(HttpResponse::Ok().json(Page { items: all.await?, next: None }))
}
