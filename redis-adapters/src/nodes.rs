//! Who is there, kept by Redis's own clock.

use crate::link::{Link, items, text};
use async_trait::async_trait;
use fred::types::Value;
use shared::contract::node::NodeBeat;
use shared::contract::scripts::{NODE_BEAT, ScriptCall, beat, leave};
use shared::ports::{NodeRegistry, PortError};
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

    async fn call(&self, call: ScriptCall) -> Result<Vec<Value>, PortError> {
        items(self.link.eval(NODE_BEAT, call, DEADLINE).await?).ok_or(PortError::Unreadable)
    }
}

#[async_trait]
impl NodeRegistry for RedisNodes {
    async fn beat(&self, node: NodeBeat) -> Result<(), PortError> {
        // Only memory could fail here.
        let call = beat(Some(&node)).map_err(|_| PortError::Refused)?;
        self.call(call).await.map(|_| ())
    }

    async fn leave(&self, id: &str) -> Result<(), PortError> {
        self.call(leave(id)).await.map(|_| ())
    }

    async fn nodes(&self) -> Result<Vec<NodeBeat>, PortError> {
        let call = beat(None).map_err(|_| PortError::Refused)?;
        let beats = self.call(call).await?;
        // A beat that cannot be read is a later release's: it is left out, the others are shown.
        Ok(beats.iter().filter_map(text).filter_map(|json| serde_json::from_str(&json).ok()).collect())
    }
}

const DEADLINE: Duration = Duration::from_millis(500);
