//! Errors that a rule takes for the request's own fault: one attempt, nobody's breaker, and the seat reads the upstream's
//! words or the rule's.

use crate::harness::{Answer, Hub, claude, message, provider, sha256, upstream, upstream_with};
use gateway::config::GatewayConfig;
use serde_json::{Value, json};
use shared::contract::snapshot::{ErrorRuleDoc, Snapshot};
use shared::contract::usage::{ChainStep, Outcome, UsageRecord};
use shared::ids::{ErrorRuleId, Revision};
use shared::model::{Provider, ProviderType};
use shared::ports::Publisher;
use shared::testing::{default_error_rules, error_rule, snapshot};
use simulator::{ErrorEvent, ErrorWords, FakeSuccess, Script, Simulator};
use std::time::Duration;
use tokio::time::Instant;

const WORDS: &str = "prompt is too long: 208310 tokens > 200000 maximum";

/// An upstream that says so, whatever else it does.
async fn saying(words: &str, script: Script) -> Simulator {
    let known = script.error.clone().unwrap_or_default();
    let error = ErrorWords { message: Some(words.to_owned()), ..known };
    upstream_with(Script { error: Some(error), ..script }).await
}

/// What the simulator's events say by themselves is an overload, which no rule may hide.
fn no_overload() -> ErrorWords {
    let word = |text: &str| Some(text.to_owned());
    ErrorWords { kind: word("api_error"), code: word("server_error"), message: None }
}

/// A first provider at this upstream, whose breaker opens at the first failure, and a second one that serves.
async fn pair(first: &Simulator, provider_type: ProviderType) -> (Vec<Provider>, Simulator) {
    let good = upstream().await;
    let mut one = provider(1, provider_type, &first.base_url());
    one.circuit_breaker.failure_threshold = 1;
    let mut two = provider(2, provider_type, &good.base_url());
    two.priority = 1;
    (vec![one, two], good)
}

fn ruled(providers: Vec<Provider>, error_rules: Vec<ErrorRuleDoc>) -> Snapshot {
    let mut made = snapshot(providers);
    made.core.error_rules = error_rules;
    made
}

/// The attempts: provider, result, rule.
fn attempts(record: &UsageRecord) -> Vec<(i64, String, Option<ErrorRuleId>)> {
    let steps = record.request.decision_chain.steps.iter();
    steps
        .filter_map(|step| match step {
            ChainStep::Attempted { provider_id, result, error_rule_id, .. } => {
                Some((provider_id.0, result.clone(), *error_rule_id))
            }
            _ => None,
        })
        .collect()
}

fn should_retry(answer: &Answer) -> Option<&str> {
    answer.headers.get("x-should-retry").and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn what_a_default_rule_knows_ends_at_once_wherever_it_stands_and_passes_unmodified() {
    for (script, is_stream, status) in [
        (Script::failing(400), false, 400),
        (Script::failing(500), false, 500),
        (Script::failing(503), true, 503),
        (Script { fake_success: Some(FakeSuccess::ErrorJson), ..Script::default() }, false, 400),
        (Script { fake_success: Some(FakeSuccess::ErrorJson), gzip: true, ..Script::default() }, false, 400),
    ] {
        let told = format!("{script:?}");
        let bad = saying(WORDS, script).await;
        let (providers, good) = pair(&bad, ProviderType::Claude).await;
        let hub = Hub::start_with(ruled(providers, default_error_rules()), None).await;
        for _ in 0..2 {
            let answer = hub.post("/v1/messages", message(is_stream)).await;
            assert_eq!(answer.status, status, "{told}");
            let sent = bad.served().pop().unwrap().answer.body_sha256;
            assert_eq!(Some(sha256(&answer.body)), sent, "{told}");
            assert_eq!(should_retry(&answer), Some("false"), "{told}");
        }
        assert_eq!(
            (bad.totals().requests, good.totals().requests),
            (2, 0),
            "{told}: no breaker, no failover"
        );
        for record in hub.records(2).await {
            assert_eq!(attempts(&record), [(1, "error_rule".to_owned(), Some(ErrorRuleId(1)))], "{told}");
            assert_eq!(
                (record.request.status, record.attempts[0].outcome),
                (status, Outcome::Failed),
                "{told}"
            );
        }
    }
}

#[tokio::test]
async fn an_error_event_before_content_becomes_an_http_error_with_the_same_words() {
    let event = Script { error_event: Some(ErrorEvent::BeforeContent), ..Script::default() };
    for (provider_type, path, body) in [
        (ProviderType::Claude, "/v1/messages", message(true)),
        (
            ProviderType::Codex,
            "/v1/responses",
            json!({"model": "gpt-5.2", "stream": true, "input": "Say hello."}).to_string(),
        ),
        (
            ProviderType::OpenaiCompatible,
            "/v1/chat/completions",
            json!({"model": "gpt-5.2", "stream": true, "messages": [{"role": "user", "content": "Hello."}]})
                .to_string(),
        ),
        (
            ProviderType::Gemini,
            "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse",
            json!({"contents": [{"parts": [{"text": "Hello."}]}]}).to_string(),
        ),
    ] {
        let bad = saying(WORDS, Script { error: Some(no_overload()), ..event.clone() }).await;
        let (providers, good) = pair(&bad, provider_type).await;
        let hub = Hub::start_with(ruled(providers, default_error_rules()), None).await;
        let answer = hub.post(path, body).await;
        assert!(
            answer.status.is_client_error() || answer.status.is_server_error(),
            "{path}: {}",
            answer.text()
        );
        assert_eq!(answer.json()["error"]["message"], WORDS, "{path}");
        assert_eq!((bad.totals().requests, good.totals().requests), (1, 0), "{path}");
        let record = hub.records(1).await.remove(0);
        assert_eq!(attempts(&record), [(1, "error_rule".to_owned(), Some(ErrorRuleId(1)))], "{path}");
    }
}

#[tokio::test]
async fn an_error_event_after_content_passes_as_it_is_and_counts_against_nobody() {
    let script = Script { error_event: Some(ErrorEvent::AfterContent(1)), ..Script::default() };
    let bad = saying(WORDS, Script { error: Some(no_overload()), ..script }).await;
    let (providers, good) = pair(&bad, ProviderType::Claude).await;
    let replaced = ErrorRuleDoc {
        override_response: Some(json!({"error": {"message": "other", "type": "t"}}).to_string()),
        override_status_code: Some(422),
        ..error_rule(1, "prompt is too long")
    };
    let hub = Hub::start_with(ruled(providers, vec![replaced]), None).await;
    for asked in 1..=3 {
        let answer = hub.post("/v1/messages", message(true)).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(WORDS) && !answer.text().contains("other"), "{}", answer.text());
        assert_eq!((bad.totals().requests, good.totals().requests), (asked, 0), "its breaker stays closed");
    }
}

#[tokio::test]
async fn a_rule_may_put_another_error_in_its_place_which_is_told_in_the_callers_dialect() {
    let rule = ErrorRuleDoc {
        override_response: Some(
            json!({"error": {"message": "Start a new chat.", "type": "invalid_request_error", "code": "too_long"}})
                .to_string(),
        ),
        override_status_code: Some(413),
        ..error_rule(7, "prompt is too long")
    };
    for script in [
        Script::failing(500),
        Script { fake_success: Some(FakeSuccess::ErrorJson), gzip: true, ..Script::default() },
        Script { error_event: Some(ErrorEvent::BeforeContent), ..Script::default() },
    ] {
        let told = format!("{script:?}");
        let is_stream = script.error_event.is_some();
        let bad = saying(WORDS, Script { error: Some(no_overload()), ..script }).await;
        let hub = Hub::start_with(ruled(vec![claude(1, &bad.base_url())], vec![rule.clone()]), None).await;
        let answer = hub.post("/v1/messages", message(is_stream)).await;
        assert_eq!((answer.status.as_u16(), should_retry(&answer)), (413, Some("false")), "{told}");
        let body = answer.json();
        assert_eq!(body["type"], "error", "{told}");
        assert_eq!(
            body["error"],
            json!({"type": "request_too_large", "message": "Start a new chat."}),
            "{told}"
        );
        let record = hub.records(1).await.remove(0);
        assert_eq!(body["request_id"], record.request.id.to_string(), "{told}");
        assert_eq!(attempts(&record), [(1, "error_rule".to_owned(), Some(ErrorRuleId(7)))], "{told}");
    }
    // The dialect it is written in: as it stands.
    let bad = saying(WORDS, Script::failing(500)).await;
    let chat = provider(1, ProviderType::OpenaiCompatible, &bad.base_url());
    let hub = Hub::start_with(ruled(vec![chat], vec![rule.clone()]), None).await;
    let body = json!({"model": "gpt-5.2", "messages": [{"role": "user", "content": "Hello."}]});
    let answer = hub.post("/v1/chat/completions", body.to_string()).await;
    assert_eq!(answer.status, 413);
    let written: Value = serde_json::from_str(rule.override_response.as_deref().unwrap()).unwrap();
    assert_eq!(answer.json(), written);
}

#[tokio::test]
async fn a_replacement_that_comes_late_is_told_in_the_stream() {
    let rule = ErrorRuleDoc {
        override_response: Some(
            json!({"error": {"message": "Start anew.", "type": "invalid_request_error"}}).to_string(),
        ),
        override_status_code: Some(413),
        ..error_rule(7, "prompt is too long")
    };
    for script in [
        Script::failing(500),
        Script {
            error_event: Some(ErrorEvent::BeforeContent),
            error: Some(no_overload()),
            ..Script::default()
        },
    ] {
        let bad = saying(WORDS, Script { first_byte_delay_ms: 200, ..script }).await;
        let made = ruled(vec![claude(1, &bad.base_url())], vec![rule.clone()]);
        let early = |config: &mut GatewayConfig| config.stream_keep_alive = Some(Duration::from_millis(40));
        let hub = Hub::start_as(made, early).await;
        let answer = hub.post("/v1/messages", message(true)).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "its head had left");
        assert_eq!(text.matches("event: error").count(), 1, "{text}");
        assert!(text.contains("Start anew.") && !text.contains(WORDS), "{text}");
        assert_eq!(bad.totals().requests, 1);
        let record = hub.records(1).await.remove(0);
        assert_eq!(attempts(&record), [(1, "error_rule".to_owned(), Some(ErrorRuleId(7)))]);
    }
}

#[tokio::test]
async fn no_rule_hides_that_an_account_is_refused() {
    for status in [401, 402, 403, 429, 529] {
        let bad = saying(WORDS, Script::failing(status)).await;
        let (providers, good) = pair(&bad, ProviderType::Claude).await;
        let hub = Hub::start_with(ruled(providers, default_error_rules()), None).await;
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200, "{status}");
        assert_eq!(good.totals().requests, 1, "{status}");
    }
}

#[tokio::test]
async fn a_rule_that_is_switched_off_lets_the_next_provider_be_asked_and_one_of_a_later_release_harms_nobody()
{
    let bad = saying(WORDS, Script::failing(500)).await;
    let (providers, good) = pair(&bad, ProviderType::Claude).await;
    let later = ErrorRuleDoc { match_type: "similar".to_owned(), ..error_rule(9, "too long") };
    let mut with = ruled(providers, vec![later.clone(), error_rule(1, "prompt is too long")]);
    let hub = Hub::start_with(with.clone(), None).await;
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 500);
    assert_eq!(good.totals().requests, 0);

    with.revision = Revision(with.revision.0 + 1);
    with.core.error_rules = vec![later];
    let revision = with.revision;
    hub.feed.publish(with).await.expect("a newer snapshot");
    let until = Instant::now() + crate::harness::PATIENCE;
    while hub.figure("cch_config_revision").await < revision.0 {
        assert!(Instant::now() < until, "in force in time");
    }
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
    assert_eq!(good.totals().requests, 1);
}
