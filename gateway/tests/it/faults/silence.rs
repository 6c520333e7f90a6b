//! A model that thinks may be silent for longer than one that speaks; pings are silence.
//!
//! Eight minutes, 300 s and 900 s are held by the rule's own test (`shared::rules::gate`), which has no clock. Here the same
//! at 1:500: 960 ms of pings, 600 ms to the next event, 1.8 s while a model thinks. `--ignored` plays it in real time.

use super::asks::{ask, last_error, provider_type};
use super::seen::Mode;
use crate::harness::{Answer, Hub, PATIENCE, provider, upstream_with};
use http_body_util::{BodyExt, Full};
use shared::contract::usage::{Outcome, UsageRecord};
use shared::model::Timers;
use shared::protocol::Dialect;
use shared::testing;
use simulator::{PingOnly, Script};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How many milliseconds a second is in a test.
#[derive(Clone, Copy)]
struct Scale(u64);

const SMALL: Scale = Scale(2);
const REAL: Scale = Scale(1_000);

impl Scale {
    fn secs(self, secs: u64) -> u64 {
        secs * self.0
    }
}

/// Not reached unless a test fails.
const PATIENCE_MS: u64 = 120_000;

/// Where a stream of this dialect is while its model thinks, in events, and whether it has said so by then.
fn thinking(dialect: Dialect) -> Option<u32> {
    match dialect {
        // `message_start`, `content_block_start` of a thinking block, a ping of its own.
        Dialect::Anthropic => Some(3),
        // `response.created` and `response.in_progress`: before its first item.
        Dialect::OpenaiResponses => Some(2),
        // Their streams do not say that a model thinks.
        Dialect::OpenaiChat | Dialect::Gemini => None,
    }
}

/// A stream that sends pings and nothing else for so many seconds, after so many events; what the seat gets.
async fn play(dialect: Dialect, scale: Scale, after_events: u32, for_secs: u64) -> (Answer, UsageRecord) {
    let every_ms = scale.secs(10).max(10);
    let pings = PingOnly { every_ms, for_ms: Some(scale.secs(for_secs)), after_opening: false, after_events };
    let upstream =
        upstream_with(Script { thinking: true, ping_only: Some(pings), ..Script::default() }).await;
    let mut only = provider(1, provider_type(dialect), &upstream.base_url());
    only.max_attempts = 1;
    only.timers = Timers {
        // Nothing here is late with its head, but a busy machine may be.
        first_byte_timeout_streaming_ms: PATIENCE_MS,
        streaming_idle_timeout_ms: scale.secs(300),
        request_timeout_non_streaming_ms: scale.secs(600),
    };
    let hub = Hub::start_as(testing::snapshot(vec![only]), |config| {
        config.thinking_idle = Duration::from_millis(scale.secs(900));
    });
    let hub = hub.await;
    let (path, body) = ask(dialect, Mode::Stream);
    // An SDK that waits for as long as this takes.
    let request = hub.request(&path).header("x-stainless-timeout", "3600");
    let request = request.body(Full::new(body.into())).unwrap();
    let whole = async {
        let (head, body) = hub.client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    };
    let patience = PATIENCE + Duration::from_millis(scale.secs(2_000));
    let answer = timeout(patience, whole).await.expect("an end in time");
    (answer, hub.records(1).await.remove(0))
}

async fn lives(dialect: Dialect, scale: Scale) {
    let began = Instant::now();
    let (answer, record) = play(dialect, scale, thinking(dialect).unwrap(), 480).await;
    assert!(began.elapsed() >= Duration::from_millis(scale.secs(480)), "it was silent for that long");
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    assert!(text.contains("message_stop") || text.contains("response.completed"), "{dialect:?}: {text}");
    assert_eq!((record.request.error, record.attempts[0].outcome), (None, Outcome::Served), "{dialect:?}");
}

async fn ends(dialect: Dialect, scale: Scale) {
    // Past its first content: before that it would be nobody's stream.
    let (answer, record) = play(dialect, scale, 4, 1_500).await;
    assert_eq!(answer.status, 200);
    let error = last_error(dialect, &answer.text()).expect("it ends with an error in dialect");
    assert_eq!(error.message, "The provider stopped sending; please try again.");
    assert_eq!(record.request.error.as_deref(), Some("upstream_timed_out"));
    assert_eq!(record.attempts[0].outcome, Outcome::Failed);
}

#[tokio::test]
async fn a_reasoning_stream_lives_through_eight_minutes_of_pings_at_a_small_scale() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| thinking(*dialect).is_some()) {
        lives(dialect, SMALL).await;
    }
}

#[tokio::test]
async fn one_that_is_silent_for_longer_than_its_timer_ends_in_dialect_at_a_small_scale() {
    futures::future::join_all(Dialect::ALL.map(|dialect| ends(dialect, SMALL))).await;
}

#[tokio::test]
async fn a_stream_that_does_not_think_is_not_waited_for_as_if_it_did() {
    // Behind the opening of its text it has 300, and is silent for 480.
    let (answer, record) = play(Dialect::OpenaiChat, SMALL, 6, 480).await;
    assert!(last_error(Dialect::OpenaiChat, &answer.text()).is_some(), "{}", answer.text());
    assert_eq!(record.request.error.as_deref(), Some("upstream_timed_out"));
}

#[tokio::test]
#[ignore = "takes 8 minutes, side by side"]
async fn a_reasoning_stream_lives_through_eight_minutes_of_pings() {
    futures::future::join(lives(Dialect::Anthropic, REAL), lives(Dialect::OpenaiResponses, REAL)).await;
}

#[tokio::test]
#[ignore = "takes 15 minutes, side by side"]
async fn one_that_is_silent_for_longer_than_its_timer_ends_in_dialect() {
    futures::future::join_all(Dialect::ALL.map(|dialect| ends(dialect, REAL))).await;
}
