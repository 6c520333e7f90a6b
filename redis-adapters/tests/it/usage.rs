//! Usage on its way: whatever of it Redis loses is sent again, and a dead consumer's records are taken over.

use crate::redis::{Linked, Redis, named};
use redis_adapters::{ConsumerName, RedisUsage};
use shared::contract::keys::{USAGE_BOUND, USAGE_JOURNAL_TTL_SECS, usage_journal};
use shared::ids::JournalId;
use shared::ports::{Backlog, Delivery, Progress, Receipt, UsageBatch, UsageSource, UsageStream};
use shared::testing::conformance::{asks, batch, journal};
use shared::testing::usage_record;
use shared::time::UnixMillis;
use std::sync::Arc;

const STREAM: &str = "cch:{usage}:stream";

fn progress(taken: u64, watermark: u64) -> Progress {
    Progress { taken, watermark }
}

fn numbers(lent: &Delivery) -> Vec<u64> {
    assert_eq!(lent.unreadable, []);
    lent.records.iter().map(|lent| lent.place.unwrap().seq).collect()
}

fn receipts(lent: &Delivery) -> Vec<Receipt> {
    lent.records.iter().map(|lent| lent.receipt).collect()
}

/// A stream with the numbers 1 to 6 taken, of which 1 and 2 are booked, and another journal that has none under way.
async fn under_way(redis: &Redis) -> (Arc<RedisUsage<ConsumerName>>, JournalId, JournalId) {
    let stream = RedisUsage::taken_by(redis.link().await, named("admin"));
    let (a, b) = (journal(1), journal(2));
    assert_eq!(stream.append(batch(a, 0, 1..=6)).await, Ok(progress(6, 0)));
    let lent = stream.take(2).await.unwrap();
    stream.acknowledge(&receipts(&lent), &[(a, 2)]).await.unwrap();
    assert_eq!(stream.append(asks(b, 0)).await, Ok(progress(0, 0)));
    (stream, a, b)
}

#[tokio::test]
async fn a_stream_that_is_gone_without_its_journals_gets_its_records_again() {
    // Whether the other journal makes it anew before or not; taken away, or emptied by hand.
    let emptied: [&[&str]; 2] = [&["DEL", STREAM], &["XTRIM", STREAM, "MAXLEN", "0"]];
    for (command, is_made_anew) in [(emptied[0], false), (emptied[0], true), (emptied[1], false)] {
        let redis = Redis::start().await;
        let (stream, a, b) = under_way(&redis).await;
        redis.cli(command);
        if is_made_anew {
            assert_eq!(stream.append(batch(b, 0, 1..=1)).await, Ok(progress(1, 0)));
        }
        assert_eq!(stream.append(batch(a, 0, 7..=8)).await, Ok(progress(2, 2)), "{command:?}");
        assert_eq!(stream.append(batch(a, 0, 3..=8)).await, Ok(progress(8, 2)));
        let expected: &[u64] = if is_made_anew { &[1, 3, 4, 5, 6, 7, 8] } else { &[3, 4, 5, 6, 7, 8] };
        assert_eq!(numbers(&stream.take(10).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_journal_that_is_gone_without_its_stream_sends_again_what_is_not_known_to_be_booked() {
    for is_settled_before in [false, true] {
        let redis = Redis::start().await;
        let (stream, a, _) = under_way(&redis).await;
        let lent = stream.take(2).await.unwrap();
        redis.cli(&["DEL", &usage_journal(a)]);
        let from = if is_settled_before {
            stream.acknowledge(&receipts(&lent), &[(a, 4)]).await.unwrap();
            4
        } else {
            0
        };
        assert_eq!(stream.append(batch(a, 0, 7..=7)).await, Ok(progress(from, from)));
        assert_eq!(stream.append(batch(a, 0, from + 1..=7)).await, Ok(progress(7, from)));
    }
}

#[tokio::test]
async fn a_redis_that_went_back_in_time_gets_again_what_came_since() {
    let mut redis = Redis::start().await;
    let (stream, a, _) = under_way(&redis).await;
    redis.cli(&["SAVE"]);
    assert_eq!(stream.append(batch(a, 2, 7..=9)).await, Ok(progress(9, 2)));
    let stream = restarted(&mut redis).await;
    assert_eq!(stream.append(batch(a, 2, 10..=10)).await, Ok(progress(6, 2)));
    assert_eq!(stream.append(batch(a, 2, 7..=10)).await, Ok(progress(10, 2)));
    // What came since was booked: the journal was told, and says so.
    let stream = restarted(&mut redis).await;
    assert_eq!(stream.append(batch(a, 9, 10..=10)).await, Ok(progress(10, 9)));
}

/// Ends the server without a word; it begins again with what it saved last.
async fn restarted(redis: &mut Redis) -> Arc<RedisUsage<ConsumerName>> {
    redis.kill();
    redis.start_server();
    RedisUsage::taken_by(redis.link().await, named("admin"))
}

#[tokio::test]
async fn a_full_stream_leaves_the_rest_with_the_gateway() {
    let redis = Redis::start().await;
    let stream = RedisUsage::taken_by(redis.link().await, named("admin"));
    // All but two places are taken.
    let fill = "for i = 3, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'record', '-') end";
    redis.cli(&["EVAL", fill, "1", STREAM, &USAGE_BOUND.to_string()]);
    assert_eq!(stream.append(batch(journal(1), 0, 1..=3)).await, Ok(progress(2, 0)));
    assert_eq!(stream.append(batch(journal(1), 0, 3..=3)).await, Ok(progress(2, 0)));
    redis.cli(&["XTRIM", STREAM, "MAXLEN", &(USAGE_BOUND - 1).to_string()]);
    assert_eq!(stream.append(batch(journal(1), 0, 3..=4)).await, Ok(progress(3, 0)));
}

#[tokio::test]
async fn numbers_keep_all_their_digits_and_a_journal_is_forgotten_after_a_week() {
    let redis = Redis::start().await;
    let stream = RedisUsage::taken_by(redis.link().await, named("admin"));
    let (a, floor) = (journal(1), (1 << 53) - 9);
    assert_eq!(stream.append(batch(a, floor, floor + 1..=floor + 5)).await, Ok(progress(floor + 5, floor)));
    assert_eq!(stream.append(asks(a, floor)).await, Ok(progress(floor + 5, floor)));
    let lent = stream.take(9).await.unwrap();
    assert_eq!(numbers(&lent), (floor + 1..=floor + 5).collect::<Vec<_>>());
    stream.acknowledge(&receipts(&lent), &[(a, floor + 5)]).await.unwrap();
    let told = stream.append(asks(a, floor)).await;
    assert_eq!(told, Ok(progress(floor + 5, floor + 5)));
    redis.cli(&["PERSIST", &usage_journal(a)]);
    stream.acknowledge(&[], &[(a, floor + 5)]).await.unwrap();
    let lives: u64 = redis.cli(&["TTL", &usage_journal(a)]).parse().unwrap();
    assert!(lives > USAGE_JOURNAL_TTL_SECS / 2, "{lives}");
}

#[tokio::test]
async fn each_record_is_lent_to_one_and_a_dead_ones_are_taken_over() {
    let redis = Redis::start().await;
    let link = redis.link().await;
    let one = RedisUsage::taken_by(link.clone(), named("one"));
    let other = RedisUsage::taken_by(link, named("other"));
    one.append(batch(journal(1), 0, 1..=4)).await.unwrap();
    let ones = one.take(2).await.unwrap();
    let others = other.take(9).await.unwrap();
    assert_eq!((numbers(&ones), numbers(&others)), (vec![1, 2], vec![3, 4]));
    let backlog = one.backlog().await.unwrap();
    let oldest_at = i64::try_from(ones.records[0].receipt.0).ok().map(UnixMillis);
    assert_eq!(backlog, Backlog { waiting: 4, lent: 4, oldest_at });
    other.acknowledge(&receipts(&others), &[(journal(1), 0)]).await.unwrap();
    assert!(other.take(9).await.unwrap().is_empty(), "the first one may still be at it");
    // The first one was last seen two minutes ago.
    for receipt in receipts(&ones) {
        let id = format!("{}-{}", receipt.0, receipt.1);
        redis.cli(&["XCLAIM", STREAM, "books", "one", "0", &id, "IDLE", "120000", "JUSTID"]);
    }
    assert_eq!(other.take(9).await.unwrap(), ones);
    assert!(one.take(9).await.unwrap().is_empty(), "they are not its any more");
    other.acknowledge(&receipts(&ones), &[(journal(1), 4)]).await.unwrap();
    assert_eq!(redis.cli(&["XLEN", STREAM]), "0", "what is booked is gone");
}

#[tokio::test]
async fn what_is_no_record_is_told_apart() {
    let redis = Redis::start().await;
    let stream = RedisUsage::taken_by(redis.link().await, named("admin"));
    redis.cli(&["XADD", STREAM, "*", "record", "{\"schema\":1}"]);
    redis.cli(&["XADD", STREAM, "*", "something", "else"]);
    let mut later = serde_json::to_value(usage_record(1)).unwrap();
    later["schema"] = 99.into();
    let later = later.to_string();
    let records = vec![later.clone().into(), usage_record(2).to_bytes().unwrap()];
    let sent = UsageBatch { journal: journal(1), floor: 0, first: 1, records };
    assert_eq!(stream.append(sent).await, Ok(progress(2, 0)));
    // As an earlier build wrote it: without a place.
    redis.cli(&["XADD", STREAM, "*", "record", &serde_json::to_string(&usage_record(3)).unwrap()]);
    let lent = stream.take(9).await.unwrap();
    let read: Vec<_> =
        lent.records.iter().map(|lent| (lent.place.map(|place| place.seq), &lent.record)).collect();
    assert_eq!(read, [(Some(2), &usage_record(2)), (None, &usage_record(3))]);
    let unread: Vec<_> = lent
        .unreadable
        .iter()
        .map(|lent| (lent.place.map(|place| place.seq), lent.record.as_str()))
        .collect();
    assert_eq!(unread, [(None, "{\"schema\":1}"), (None, "something else"), (Some(1), &later)]);
}
