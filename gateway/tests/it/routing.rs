//! What the configuration says of a choice is what the gateway does, and the chain says why.

use crate::harness::{Answer, Hub, claude, message, upstream};
use http_body_util::Full;
use shared::contract::usage::ChainStep;
use shared::model::{ActiveTime, ClientPattern, GroupSet, Provider};
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

/// A message from a program that calls itself so.
async fn say(hub: &Hub, user_agent: Option<&str>) -> Answer {
    let mut request = hub.request("/v1/messages");
    if let Some(name) = user_agent {
        request = request.header("user-agent", name);
    }
    hub.send(request.body(Full::new(message(false).into())).expect("a request")).await
}

#[tokio::test]
async fn a_users_client_rules_refuse_with_403_in_dialect_and_a_log_row() {
    let upstream = upstream().await;
    let mut configured = snapshot(vec![claude(1, &upstream.base_url())]);
    configured.principals.users[0].allowed_clients = vec![ClientPattern::new("claude-code")];
    configured.principals.users[0].blocked_clients = vec![ClientPattern::new("claude-code-sdk-ts")];
    let hub = Hub::start_with(configured, None).await;
    assert_eq!(say(&hub, Some("claude-cli/2.1.7 (external, cli)")).await.status, 200);
    for (user_agent, code) in [
        (Some("claude-cli/2.1.7 (external, sdk-ts)"), "client_blocked"),
        (Some("curl/8.1"), "client_not_allowed"),
        (None, "client_unnamed"),
    ] {
        let answer = say(&hub, user_agent).await;
        assert_eq!(answer.status, 403, "{code}");
        assert_eq!(answer.json()["error"]["type"], "permission_error");
        assert_eq!(answer.headers["x-should-retry"], "false");
    }
    let mut refused: Vec<_> = hub.records(4).await.into_iter().map(|record| record.request).collect();
    refused.retain(|request| request.status == 403);
    // They may end in one millisecond, whose ids have no order.
    let mut codes: Vec<_> = refused.iter().filter_map(|request| request.blocked_by.as_deref()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["client_blocked", "client_not_allowed", "client_unnamed"]);
    assert_eq!(upstream.served().len(), 1);
}

#[tokio::test]
async fn a_provider_is_asked_for_the_clients_it_serves_only() {
    let (first, second) = (upstream().await, upstream().await);
    let picky =
        Provider { allowed_clients: vec![ClientPattern::new("codex-cli")], ..claude(1, &first.base_url()) };
    let hub =
        Hub::start(vec![picky.clone(), Provider { priority: 1, ..claude(2, &second.base_url()) }]).await;
    assert_eq!(say(&hub, Some("claude-cli/2.1.7 (external, cli)")).await.status, 200);
    assert_eq!(say(&hub, Some("codex_cli_rs/0.50.0")).await.status, 200);
    assert_eq!((first.served().len(), second.served().len()), (1, 1));
    let alone = Hub::start(vec![picky]).await;
    let answer = say(&alone, None).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["error"]["message"], "No available providers: client_not_allowed.");
}
