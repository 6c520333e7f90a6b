//! What every adapter of a port must do: the same suite runs on memory and on Redis.
//!
//! Each function takes fresh adapters over the same far side and panics where they fall short.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a suite for tests: what does not hold must stop them"
)]

mod breakers;
mod quotas;
mod responses;
mod sessions;

pub use breakers::breakers;
pub use quotas::quotas;
pub use responses::responses;
pub use sessions::sessions;

use super::{in_flight, key_doc, node_beat, provider, snapshot, usage_record};
use crate::contract::snapshot::Snapshot;
use crate::contract::usage::UsageRecord;
use crate::ids::{JournalId, Revision};
use crate::model::Provider;
use crate::ports::{
    Backlog, ConfigFeed, ConfigNews, Delivery, NodeInFlight, NodeRegistry, Place, PortError, Progress,
    Publisher, Receipt, UsageBatch, UsageSource, UsageStream,
};
use crate::time::UnixMillis;
use bytes::Bytes;
use std::ops::RangeInclusive;

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

/// The journal of this number.
#[must_use]
pub fn journal(n: u8) -> JournalId {
    JournalId::from_parts(UnixMillis(1_790_000_000_000), &[n; 10])
}

/// Records of a journal, each made of its own number ([`usage_record`]).
#[must_use]
pub fn batch(journal: JournalId, floor: u64, numbers: RangeInclusive<u64>) -> UsageBatch {
    let first = *numbers.start();
    let records = numbers.map(|n| usage_record(n).to_bytes().unwrap()).collect();
    UsageBatch { journal, floor, first, records }
}

/// No records: how far is this journal?
#[must_use]
pub fn asks(journal: JournalId, floor: u64) -> UsageBatch {
    UsageBatch { journal, floor, first: floor + 1, records: Vec::new() }
}

/// Records of journals come in their order, again until they are acknowledged, and not any more after that; each
/// journal goes on where the stream is with it. `bound` of one journal may wait, twelve at least.
pub async fn usage(stream: &dyn UsageStream, source: &dyn UsageSource, bound: u64) {
    assert_eq!(source.take(10).await, Ok(Delivery::default()));
    assert_eq!(source.backlog().await, Ok(Backlog::default()));
    let (a, b) = (journal(1), journal(2));
    order(stream, source, a).await;
    room(stream, source, a, bound).await;
    a_journal_that_is_not_known(stream, source, b).await;

    // What is no record is lent as what it is, with its place.
    let unreadable =
        UsageBatch { records: vec![Bytes::from_static(b"{\"schema\":99}")], ..batch(b, 0, 11..=11) };
    assert_eq!(stream.append(unreadable).await, Ok(progress(11, 10)));
    let lent = source.take(10).await.unwrap();
    assert_eq!((lent.len(), lent.records.len()), (1, 0));
    assert_eq!(lent.unreadable[0].place, Some(Place { journal: b, seq: 11, floor: 0 }));
    assert_eq!(lent.unreadable[0].record, "{\"schema\":99}");
    source.acknowledge(&[lent.unreadable[0].receipt], &[(b, 11)]).await.unwrap();
    assert!(source.take(10).await.unwrap().is_empty());
    assert_eq!(source.backlog().await, Ok(Backlog::default()));
}

/// Leaves the stream with the numbers 1 to 5 in the books.
async fn order(stream: &dyn UsageStream, source: &dyn UsageSource, a: JournalId) {
    assert_eq!(stream.append(batch(a, 0, 1..=3)).await, Ok(progress(3, 0)));
    // It has these already but for the last two.
    assert_eq!(stream.append(batch(a, 0, 2..=5)).await, Ok(progress(5, 0)));
    assert_eq!(stream.append(batch(a, 0, 1..=4)).await, Ok(progress(5, 0)));
    // A gap: nothing is taken.
    assert_eq!(stream.append(batch(a, 0, 7..=9)).await, Ok(progress(5, 0)));
    let backlog = source.backlog().await.unwrap();
    assert_eq!((backlog.waiting, backlog.lent, backlog.oldest_at.is_some()), (5, 0, true));
    let lent = source.take(3).await.unwrap();
    assert_eq!(source.backlog().await.unwrap().waiting, 5, "lent is not acknowledged");
    assert_eq!(numbers(&lent, a), [1, 2, 3]);
    // Not acknowledged: the same ones first.
    assert_eq!(source.take(3).await.unwrap(), lent);
    let receipts: Vec<Receipt> = lent.records.iter().map(|lent| lent.receipt).collect();
    assert!(receipts.is_sorted());
    // One in the middle, then one that is gone already with another.
    source.acknowledge(&receipts[1..2], &[(a, 0)]).await.unwrap();
    source.acknowledge(&receipts[..2], &[(a, 2)]).await.unwrap();
    assert_eq!(stream.append(asks(a, 0)).await, Ok(progress(5, 2)));
    // A watermark is never lowered: two consumers may answer in another order than they booked.
    source.acknowledge(&receipts[2..], &[(a, 1)]).await.unwrap();
    assert_eq!(stream.append(asks(a, 0)).await, Ok(progress(5, 2)));
    let rest = source.take(10).await.unwrap();
    assert_eq!(numbers(&rest, a), [4, 5]);
    acknowledge(source, &rest, &[(a, 5)]).await;
    source.acknowledge(&[], &[]).await.unwrap();
    assert!(source.take(10).await.unwrap().is_empty());
    assert_eq!(stream.append(asks(a, 2)).await, Ok(progress(5, 5)));
}

/// Goes on with 6, until nothing waits.
async fn room(stream: &dyn UsageStream, source: &dyn UsageSource, a: JournalId, bound: u64) {
    assert_eq!(stream.append(batch(a, 5, 6..=bound + 7)).await, Ok(progress(5 + bound, 5)));
    assert_eq!(stream.append(batch(a, 5, bound + 6..=bound + 7)).await, Ok(progress(5 + bound, 5)));
    // Each watermark makes room for what comes after it, in the journal's order.
    let lent = source.take(4).await.unwrap();
    acknowledge(source, &lent, &[(a, 9)]).await;
    assert_eq!(stream.append(batch(a, 5, bound + 6..=bound + 7)).await, Ok(progress(7 + bound, 9)));
    let mut seen = numbers(&lent, a);
    loop {
        let lent = source.take(1_000).await.unwrap();
        let Some(last) = numbers(&lent, a).last().copied() else { break };
        seen.extend(numbers(&lent, a));
        acknowledge(source, &lent, &[(a, last)]).await;
    }
    assert!(seen.into_iter().eq(6..=bound + 7));
}

/// Leaves the stream with the numbers 1 to 10 in the books.
async fn a_journal_that_is_not_known(stream: &dyn UsageStream, source: &dyn UsageSource, b: JournalId) {
    // It begins at its floor, not at 1.
    assert_eq!(stream.append(batch(b, 4, 6..=6)).await, Ok(progress(4, 4)));
    assert_eq!(stream.append(batch(b, 4, 3..=6)).await, Ok(progress(6, 4)));
    // The floor raises what the stream knows; a lower one lowers nothing.
    assert_eq!(stream.append(asks(b, 9)).await, Ok(progress(9, 9)));
    assert_eq!(stream.append(batch(b, 0, 10..=10)).await, Ok(progress(10, 9)));
    let lent = source.take(10).await.unwrap();
    assert_eq!(numbers(&lent, b), [5, 6, 10]);
    let floors: Vec<_> = lent.records.iter().map(|lent| lent.place.unwrap().floor).collect();
    assert_eq!(floors, [4, 4, 0]);
    acknowledge(source, &lent, &[(b, 10)]).await;
}

/// Leaves a stream with records under way, for [`usage_after_a_loss`] to be run on it when it has lost everything.
pub async fn usage_before_a_loss(stream: &dyn UsageStream, source: &dyn UsageSource) {
    assert_eq!(stream.append(batch(journal(3), 0, 1..=6)).await, Ok(progress(6, 0)));
    let lent = source.take(2).await.unwrap();
    acknowledge(source, &lent, &[(journal(3), 2)]).await;
    assert_eq!(stream.append(batch(journal(3), 2, 7..=8)).await, Ok(progress(8, 2)));
}

/// A stream that lost everything is told from where a journal holds its records, and gets them again.
pub async fn usage_after_a_loss(stream: &dyn UsageStream, source: &dyn UsageSource) {
    let a = journal(3);
    assert_eq!(stream.append(batch(a, 2, 9..=9)).await, Ok(progress(2, 2)));
    // What was lent before the loss is booked meanwhile.
    source.acknowledge(&[], &[(a, 3)]).await.unwrap();
    assert_eq!(stream.append(batch(a, 2, 3..=9)).await, Ok(progress(9, 3)));
    let lent = source.take(10).await.unwrap();
    assert_eq!(numbers(&lent, a), [4, 5, 6, 7, 8, 9]);
    acknowledge(source, &lent, &[(a, 9)]).await;
    assert_eq!(stream.append(asks(a, 9)).await, Ok(progress(9, 9)));
}

fn progress(taken: u64, watermark: u64) -> Progress {
    Progress { taken, watermark }
}

/// The numbers of what is lent, which is all of this journal and what [`batch`] made.
fn numbers(delivery: &Delivery, journal: JournalId) -> Vec<u64> {
    assert_eq!(delivery.unreadable, []);
    let mut numbers = Vec::new();
    for lent in &delivery.records {
        let place = lent.place.unwrap();
        let expected: UsageRecord = usage_record(place.seq);
        assert_eq!((place.journal, &lent.record), (journal, &expected));
        numbers.push(place.seq);
    }
    numbers
}

async fn acknowledge(source: &dyn UsageSource, delivery: &Delivery, watermarks: &[(JournalId, u64)]) {
    let receipts: Vec<Receipt> = delivery.records.iter().map(|lent| lent.receipt).collect();
    source.acknowledge(&receipts, watermarks).await.unwrap();
}

/// Who beats is there with its last beat and with what it last told of its requests; who leaves is not.
pub async fn nodes(registry: &dyn NodeRegistry) {
    assert_eq!(registry.nodes().await, Ok(vec![]));
    assert_eq!(registry.in_flight().await, Ok(vec![]));
    registry.beat(node_beat("b"), Some(in_flight(1, [1, 2]))).await.unwrap();
    // As of a release that tells nothing of its requests.
    registry.beat(node_beat("a"), None).await.unwrap();
    let node = |id: &str, told| NodeInFlight { id: id.to_owned(), told };
    let first = vec![node("a", None), node("b", Some(in_flight(1, [1, 2])))];
    assert_eq!(registry.in_flight().await.as_ref(), Ok(&first));

    let mut later = node_beat("b");
    later.revision = Some(Revision(9));
    registry.beat(later.clone(), None).await.unwrap();
    assert_eq!(registry.nodes().await, Ok(vec![node_beat("a"), later.clone()]));
    assert_eq!(registry.in_flight().await, Ok(first), "what was told still holds");
    registry.beat(node_beat("a"), Some(in_flight(2, []))).await.unwrap();
    registry.beat(later.clone(), Some(in_flight(3, [2]))).await.unwrap();
    let now = vec![node("a", Some(in_flight(2, []))), node("b", Some(in_flight(3, [2])))];
    assert_eq!(registry.in_flight().await, Ok(now));

    registry.leave("a").await.unwrap();
    registry.leave("never there").await.unwrap();
    assert_eq!(registry.nodes().await, Ok(vec![later]));
    // Back under its name, it is not taken for what it was.
    registry.beat(node_beat("a"), None).await.unwrap();
    assert_eq!(registry.in_flight().await, Ok(vec![node("a", None), node("b", Some(in_flight(3, [2])))]));
    registry.leave("a").await.unwrap();
    registry.leave("b").await.unwrap();
    assert_eq!(registry.in_flight().await, Ok(vec![]));
}
