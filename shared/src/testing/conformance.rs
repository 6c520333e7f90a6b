//! What every adapter of a port must do: the same suite runs on memory and on Redis.
//!
//! Each function takes fresh adapters over the same far side and panics where they fall short.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a suite for tests: what does not hold must stop them"
)]

use super::{key_doc, node_beat, provider, snapshot, usage_record};
use crate::contract::snapshot::Snapshot;
use crate::ids::Revision;
use crate::model::Provider;
use crate::ports::{
    Backlog, ConfigFeed, ConfigNews, Delivery, NodeRegistry, PortError, Publisher, Receipt, UsageSink,
    UsageSource,
};

/// Fewest records that a tested usage queue must hold.
pub const USAGE_BOUND: usize = 8;

/// A configuration that is published arrives as it is, only goes forward, and is announced.
pub async fn config(publisher: &dyn Publisher, feed: &dyn ConfigFeed) {
    assert_eq!(publisher.published().await, Ok(None));
    assert_eq!(feed.read(None).await, Ok(ConfigNews::Nothing));
    assert_eq!(feed.read(Some(Revision(3))).await, Ok(ConfigNews::Nothing));

    let mut first = snapshot(vec![provider(1), provider(2)]);
    first.revision = Revision(3);
    first.principals.keys = (1..40).map(|id| key_doc(id, 1)).collect();
    publisher.publish(first.clone()).await.unwrap();
    assert_eq!(publisher.published().await, Ok(Some(Revision(3))));
    feed.changed(None).await;
    assert_eq!(follow(feed, None).await, first);
    assert_eq!(feed.read(Some(Revision(3))).await, Ok(ConfigNews::Level(Revision(3))));
    assert_eq!(publisher.publish(first.clone()).await, Err(PortError::Stale));

    // Everything changes: sections, a key that changes, one that goes, one that comes.
    let mut second = first.clone();
    second.revision = Revision(7);
    second.core.providers[1] = Provider { is_enabled: false, ..provider(2) };
    second.principals.keys[4].is_enabled = false;
    second.principals.keys.remove(9);
    second.principals.keys.push(key_doc(77, 1));
    publisher.publish(second.clone()).await.unwrap();
    feed.changed(Some(Revision(3))).await;
    assert_eq!(follow(feed, Some(first.clone())).await, second);
    assert_eq!(follow(feed, None).await, second);
    let mut third = second.clone();
    third.revision = Revision(8);
    third.principals.keys[0].is_enabled = false;
    publisher.publish(third.clone()).await.unwrap();
    feed.changed(Some(Revision(7))).await;
    for start in [Some(first.clone()), Some(second), None] {
        assert_eq!(follow(feed, start).await, third);
    }
    // Where no delta leads from: the whole.
    let other = Snapshot { revision: Revision(5), ..first.clone() };
    assert_eq!(follow(feed, Some(other)).await, third);

    assert_eq!(publisher.publish(first).await, Err(PortError::Stale));
    assert_eq!(publisher.published().await, Ok(Some(Revision(8))));
    feed.applied(Revision(8));
    assert_eq!(feed.read(Some(Revision(9))).await, Ok(ConfigNews::Level(Revision(8))));
}

/// What a reader at `from` comes to.
async fn follow(feed: &dyn ConfigFeed, from: Option<Snapshot>) -> Snapshot {
    match feed.read(from.as_ref().map(|s| s.revision)).await.unwrap() {
        ConfigNews::Whole(snapshot) => (*snapshot).clone(),
        ConfigNews::Deltas(deltas) => {
            let mut at = from.unwrap();
            for delta in deltas {
                assert_eq!(delta.from, at.revision);
                at.apply(delta);
            }
            at
        }
        news @ (ConfigNews::Nothing | ConfigNews::Level(_)) => panic!("no way forward: {news:?}"),
    }
}

/// Records come in their order, again until they are acknowledged, and not any more after that. The queue must
/// hold [`USAGE_BOUND`].
pub async fn usage(sink: &dyn UsageSink, source: &dyn UsageSource) {
    assert_eq!(source.take(10).await, Ok(Delivery::default()));
    assert_eq!(source.backlog().await, Ok(Backlog::default()));
    for n in 0..5 {
        sink.record(usage_record(n)).await.unwrap();
    }
    let backlog = source.backlog().await.unwrap();
    assert_eq!((backlog.waiting, backlog.lent, backlog.oldest_at.is_some()), (5, 0, true));
    let lent = source.take(3).await.unwrap();
    assert_eq!(source.backlog().await.unwrap().waiting, 5, "lent is not acknowledged");
    let expected: Vec<_> = (0..3).map(usage_record).collect();
    assert_eq!(records(&lent), expected);
    // Not acknowledged: the same ones first.
    assert_eq!(source.take(3).await.unwrap(), lent);
    let receipts: Vec<Receipt> = lent.records.iter().map(|(receipt, _)| *receipt).collect();
    assert!(receipts.is_sorted());
    // One in the middle, then one that is gone already with another.
    source.acknowledge(&receipts[1..2]).await.unwrap();
    source.acknowledge(&receipts[..2]).await.unwrap();
    source.acknowledge(&receipts[2..]).await.unwrap();
    assert_eq!(source.backlog().await.unwrap().waiting, 2);
    let rest = source.take(10).await.unwrap();
    assert_eq!(records(&rest), [usage_record(3), usage_record(4)]);
    let receipts: Vec<Receipt> = rest.records.iter().map(|(receipt, _)| *receipt).collect();
    source.acknowledge(&receipts).await.unwrap();
    source.acknowledge(&[]).await.unwrap();
    assert!(source.take(10).await.unwrap().is_empty());
    assert_eq!(source.backlog().await, Ok(Backlog::default()));
}

fn records(delivery: &Delivery) -> Vec<crate::contract::usage::UsageRecord> {
    assert_eq!(delivery.unreadable, []);
    delivery.records.iter().map(|(_, record)| record.clone()).collect()
}

/// Who beats is there with its last beat; who leaves is not.
pub async fn nodes(registry: &dyn NodeRegistry) {
    assert_eq!(registry.nodes().await, Ok(vec![]));
    registry.beat(node_beat("b")).await.unwrap();
    registry.beat(node_beat("a")).await.unwrap();
    let mut later = node_beat("b");
    later.revision = Some(Revision(9));
    registry.beat(later.clone()).await.unwrap();
    assert_eq!(registry.nodes().await, Ok(vec![node_beat("a"), later.clone()]));
    registry.leave("a").await.unwrap();
    registry.leave("never there").await.unwrap();
    assert_eq!(registry.nodes().await, Ok(vec![later]));
}
