//! `/api/v1/nodes`

use super::types::{Moment, Usd};
use crate::error::Error;
use crate::service::nodes::{NodesNow, now};
use crate::service::{Actor, Admin};
use actix_web::get;
use actix_web::web::{Data, Json};
use serde::Serialize;
use shared::contract::node::{NodeBeat, NodeKind};
use utoipa::ToSchema;

/// The gateways that are there, and how far the newest configuration has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nodes {
    /// The newest configuration revision.
    revision: u64,
    /// The newest one that is published; null: none is known to be.
    published_revision: Option<u64>,
    /// Nodes that serve by the newest revision.
    up_to_date: usize,
    /// Nodes that are there.
    total: usize,
    /// The same in words, e.g. `revision 812 on 5/5 nodes`.
    summary: String,
    /// In the order of their starts.
    items: Vec<Node>,
}

/// A gateway that told of itself in the last ten seconds.
#[derive(Debug, Serialize, ToSchema)]
pub struct Node {
    /// Made at each start of a process.
    id: String,
    kind: NodeKindName,
    /// The machine's name.
    host: String,
    /// The release.
    version: String,
    started_at: Moment,
    last_beat_at: Moment,
    /// The configuration in force there; null: none yet.
    revision: Option<u64>,
    /// True when it takes new requests.
    is_ready: bool,
    /// Requests in flight.
    running_requests: u64,
    /// For how many requests and attempts under way it has put money aside: a request counts at its user and at each provider
    /// that is limited. Null: an earlier release.
    budget_holds: Option<u64>,
    /// How much money that is, and what it has put aside ahead of requests, in US dollars.
    budget_held_usd: Option<Usd>,
    /// How much of that is put aside ahead, and still free. Null: an earlier release.
    budget_escrowed_usd: Option<Usd>,
}

/// What runs on a node.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeKindName {
    /// Serves seats.
    Gateway,
    /// Something a later release knows.
    Other,
}

impl From<NodesNow> for Nodes {
    fn from(now: NodesNow) -> Self {
        let (up_to_date, total) = (now.up_to_date(), now.nodes.len());
        Self {
            revision: now.revision.0,
            published_revision: now.published.map(|revision| revision.0),
            up_to_date,
            total,
            summary: format!("revision {} on {up_to_date}/{total} nodes", now.revision),
            items: now.nodes.into_iter().map(Node::from).collect(),
        }
    }
}

impl From<NodeBeat> for Node {
    fn from(beat: NodeBeat) -> Self {
        Self {
            id: beat.id,
            kind: match beat.kind {
                NodeKind::Gateway => NodeKindName::Gateway,
                NodeKind::Left | NodeKind::Other => NodeKindName::Other,
            },
            host: beat.host,
            version: beat.version,
            started_at: Moment(beat.started_at),
            last_beat_at: Moment(beat.at),
            revision: beat.revision.map(|revision| revision.0),
            is_ready: beat.is_ready,
            running_requests: beat.running_requests,
            budget_holds: beat.budget_holds,
            budget_held_usd: beat.budget_held.map(Usd),
            budget_escrowed_usd: beat.budget_escrowed.map(Usd),
        }
    }
}

/// Lists the gateways that are there, each with the configuration revision it serves by. 503 while nobody can tell.
#[utoipa::path(tag = "nodes", responses((status = 200, body = Nodes)))]
#[get("/api/v1/nodes")]
pub async fn list_nodes(admin: Data<Admin>, _actor: Actor) -> Result<Json<Nodes>, Error> {
    admin.run(now).await.map(|now| Json(now.into()))
}
