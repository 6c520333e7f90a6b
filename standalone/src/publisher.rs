//! Publishing inside one process: a change counts as published when the gateway beside us serves by it.

use async_trait::async_trait;
use shared::contract::snapshot::Snapshot;
use shared::ids::Revision;
use shared::memory::MemoryConfig;
use shared::ports::{PortError, Publisher};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Hands snapshots to the gateway and waits, for a bounded time, until they are in force.
pub struct InForce(pub Arc<MemoryConfig>);

#[async_trait]
impl Publisher for InForce {
    async fn published(&self) -> Result<Option<Revision>, PortError> {
        self.0.published().await
    }

    async fn publish(&self, snapshot: Snapshot) -> Result<(), PortError> {
        let revision = snapshot.revision;
        self.0.publish(snapshot).await?;
        let mut in_force = self.0.in_force();
        // Before the gateway has started there is nobody to wait for.
        if in_force.borrow().is_some() {
            let _ = timeout(PATIENCE, in_force.wait_for(|applied| *applied >= Some(revision))).await;
        }
        Ok(())
    }
}

/// A gateway on its way out does not hold up the admin side for longer.
const PATIENCE: Duration = Duration::from_millis(500);
