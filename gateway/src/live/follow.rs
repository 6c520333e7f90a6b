//! Keeps the configuration in force up to date with the feed.

use super::Live;
use crate::events;
use arc_swap::ArcSwap;
use shared::ids::Revision;
use shared::ports::ConfigFeed;
use shared::secret::HubKey;
use std::sync::Arc;
use std::time::Duration;

/// Follows the feed for as long as the returned future is polled; each newer snapshot is swapped in.
pub async fn follow(feed: Arc<dyn ConfigFeed>, hub_key: Arc<HubKey>, live: Arc<ArcSwap<Live>>) {
    let mut after: Option<Revision> = None;
    loop {
        match feed.next(after).await {
            Ok(snapshot) => {
                after = Some(snapshot.revision);
                live.store(Arc::new(Live::compile(&snapshot, &hub_key)));
                feed.applied(snapshot.revision);
                events::config_applied(snapshot.revision);
            }
            Err(error) => {
                events::config_feed_failed(error);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

const RETRY: Duration = Duration::from_secs(1);
