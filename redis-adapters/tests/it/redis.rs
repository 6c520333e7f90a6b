//! Links to a Redis of a test's own.

use redis_adapters::{ConsumerName, Link, RedisConfig};
use std::sync::Arc;
pub use testbed::{Door, PATIENCE, Redis, eventually};
use tokio::time::timeout;

/// How tests reach their server.
pub trait Linked {
    fn config(&self) -> RedisConfig;

    /// A link that is connected.
    async fn link(&self) -> Arc<Link>;
}

impl Linked for Redis {
    fn config(&self) -> RedisConfig {
        RedisConfig::new(format!("redis://{}", self.door.address), None)
    }

    async fn link(&self) -> Arc<Link> {
        let link = Link::open(&self.config()).unwrap();
        timeout(PATIENCE, link.connected()).await.expect("a connection in time");
        link
    }
}

/// Who takes from the stream of usage.
pub fn named(name: &str) -> ConsumerName {
    ConsumerName::new(name).expect("a name")
}
