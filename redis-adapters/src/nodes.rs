//! Who is there, kept by Redis's own clock.

use crate::link::{Link, items, text};
use async_trait::async_trait;
use fred::types::Value;
use shared::contract::codec::check_schema;
use shared::contract::in_flight::{IN_FLIGHT_SCHEMA, InFlight};
use shared::contract::node::{NodeBeat, NodeKind};
use shared::contract::scripts::{NODE_BEAT, NODE_IN_FLIGHT, ScriptCall, beat, beats, leave, nodes_in_flight};
use shared::ports::{NodeInFlight, NodeRegistry, PortError};
use std::sync::Arc;
use std::time::Duration;

/// The registry in Redis.
pub struct RedisNodes {
    link: Arc<Link>,
}

impl RedisNodes {
    /// The registry behind this link.
    #[must_use]
    pub fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { link })
    }

    async fn call(&self, script: &'static str, call: ScriptCall) -> Result<Vec<Value>, PortError> {
        items(self.link.eval(script, call, DEADLINE).await?).ok_or(PortError::Unreadable)
    }
}

#[async_trait]
impl NodeRegistry for RedisNodes {
    async fn beat(&self, node: NodeBeat, in_flight: Option<InFlight>) -> Result<(), PortError> {
        // Only memory could fail here.
        let call = beat(&node, in_flight.as_ref()).map_err(|_| PortError::Refused)?;
        self.call(NODE_BEAT, call).await.map(|_| ())
    }

    async fn leave(&self, id: &str) -> Result<(), PortError> {
        self.call(NODE_BEAT, leave(id)).await.map(|_| ())
    }

    async fn nodes(&self) -> Result<Vec<NodeBeat>, PortError> {
        let beats = self.call(NODE_BEAT, beats()).await?;
        // A beat that cannot be read is a later release's: it is left out, the others are shown.
        Ok(beats.iter().filter_map(text).filter_map(|json| serde_json::from_str(&json).ok()).collect())
    }

    async fn in_flight(&self) -> Result<Vec<NodeInFlight>, PortError> {
        let mut nodes = self.nodes().await?;
        nodes.retain(|node| node.kind != NodeKind::Left);
        let mut all = Vec::with_capacity(nodes.len());
        for some in nodes.chunks(NODES_A_CALL) {
            let call = nodes_in_flight(some.iter().map(|node| node.id.as_str()));
            let documents = self.call(NODE_IN_FLIGHT, call).await?;
            // One that leaves in between tells nothing any more.
            let node = |(node, document): (&NodeBeat, &Value)| NodeInFlight {
                id: node.id.clone(),
                told: text(document).and_then(|json| in_flight(&json)),
            };
            all.extend(some.iter().zip(&documents).map(node));
        }
        Ok(all)
    }
}

/// What a node told; `None` for what this release cannot read.
fn in_flight(json: &str) -> Option<InFlight> {
    let told: InFlight = serde_json::from_str(json).ok()?;
    check_schema(told.schema, IN_FLIGHT_SCHEMA).is_ok().then_some(told)
}

/// Nodes whose documents one answer holds: a megabyte, usually far less.
const NODES_A_CALL: usize = 16;

const DEADLINE: Duration = Duration::from_millis(500);
