//! What the configuration says of a choice is what the gateway does, and the chain says why.

use crate::harness::{Hub, claude, message, upstream};
use shared::contract::usage::ChainStep;
use shared::model::{ActiveTime, GroupSet, Provider};
use shared::testing::snapshot;
use shared::time::{UnixMillis, Zone};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// From an hour ago to in an hour, or the other way round, by this clock.
fn around_now(zone: &Zone, is_active: bool) -> Option<ActiveTime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let now = zone.minute_of_day(UnixMillis(i64::try_from(since.as_millis()).expect("not for a while")));
    let text = |minutes: u16| format!("{:02}:{:02}", minutes % 1_440 / 60, minutes % 60);
    let (before, after) = (text(now + 1_380), text(now + 60));
    if is_active { ActiveTime::parse(&before, &after) } else { ActiveTime::parse(&after, &before) }.ok()
}

#[tokio::test]
async fn a_schedule_goes_by_the_clock_of_the_configured_zone() {
    let upstream = upstream().await;
    let tokyo = Zone::parse("Asia/Tokyo").expect("it is known");
    let rests = Provider { active_time: around_now(&tokyo, false), ..claude(1, &upstream.base_url()) };
    let serves = Provider {
        active_time: around_now(&tokyo, true),
        group_tag: GroupSet::parse("default,night"),
        priority: 5,
        group_priorities: BTreeMap::from([("default".to_owned(), 2)]),
        ..claude(2, &upstream.base_url())
    };
    let mut configured = snapshot(vec![rests, serves]);
    configured.core.settings.timezone = tokyo;
    let hub = Hub::start_with(configured, None).await;
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
    let record = hub.records(1).await.remove(0);
    let steps = record.request.decision_chain.steps;
    let Some(ChainStep::Selected { provider_id, priority, excluded, .. }) = steps.first() else {
        panic!("the first step is a choice: {steps:?}");
    };
    assert_eq!((provider_id.0, *priority), (2, 2));
    assert_eq!((excluded[0].reason.as_str(), excluded[0].count), ("outside_schedule", 1));
}
