//! Budgets before a request: who is let in, what a refusal says in each dialect, what a seat is told of its own.

use crate::harness::{Answer, Hub, PATIENCE, claude, message, provider, upstream};
use serde_json::json;
use shared::contract::snapshot::Snapshot;
use shared::ids::{ProviderId, RequestId, UserId};
use shared::model::price::{ModelPrice, Rates};
use shared::model::{Limits, Provider, ProviderType, QuotaReservation};
use shared::money::{NanoUsd, PicoUsd};
use shared::ports::{Publisher, QuotaStore};
use shared::rules::quota::{
    AccountId, Charge, HoldId, Opening, ScopeId, Settle, Spends, Terms, WindowNow, epoch_of,
    scopes_of_caller, scopes_of_provider,
};
use shared::testing;
use shared::testing::conformance::journal;
use shared::time::Zone;
use simulator::{Script, Usage};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// In nano-dollars.
const DOLLAR: i64 = 1_000_000_000;

pub fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// A snapshot whose user has these limits; Sonnet costs what it does.
pub fn snapshot(providers: Vec<Provider>, limits: Limits) -> Snapshot {
    let mut made = testing::snapshot(providers);
    let rates =
        Rates { input: Some(PicoUsd(3_000_000)), output: Some(PicoUsd(15_000_000)), ..Rates::default() };
    let price = ModelPrice {
        base: rates,
        max_input_tokens: Some(200_000),
        max_output_tokens: Some(64_000),
        ..ModelPrice::default()
    };
    for model in ["claude-sonnet-4-5", "gpt-5", "gemini-3"] {
        made.core.prices.insert(model.to_owned(), price.clone());
    }
    (made.principals.users[0].limits, made.principals.users[0].budget_generation) = (limits, 1);
    made
}

/// Does what the admin side does: begins an epoch, and opens the user's account with what it spent just now.
pub async fn open_user(hub: &Hub, snapshot: &Snapshot, spent: i64) {
    let (user, key) = (&snapshot.principals.users[0], &snapshot.principals.keys[0]);
    let now = gateway::now();
    let scopes = scopes_of_caller(&user.clone().into(), &key.clone().into(), &Zone::default(), now);
    let spends = |(scope, terms)| Spends { scope, terms, at: vec![(now, spent)] };
    let opening = Opening { spends: scopes.into_iter().map(spends).collect(), ..Opening::default() };
    hub.quotas.begin(1).await.unwrap();
    let account = AccountId::User(UserId(1));
    assert!(testing::open_account(&*hub.quotas, account, epoch_of(1, 1), &opening).await.unwrap());
}

pub async fn open_provider(hub: &Hub, provider: &Provider, spent: i64) {
    let now = gateway::now();
    let scopes = scopes_of_provider(provider, &Zone::default(), now);
    let spends = |(scope, terms)| Spends { scope, terms, at: vec![(now, spent)] };
    let opening = Opening { spends: scopes.into_iter().map(spends).collect(), ..Opening::default() };
    hub.quotas.begin(1).await.unwrap();
    let account = AccountId::Provider(provider.id);
    assert!(testing::open_account(&*hub.quotas, account, epoch_of(1, 1), &opening).await.unwrap());
}

/// The first limited window of these scopes, once nothing is held any more.
pub async fn settled(hub: &Hub, account: AccountId, scopes: &[(ScopeId, Terms)]) -> WindowNow {
    let nothing_held = async {
        loop {
            let (is_open, standing) =
                hub.quotas.standing(account, scopes, epoch_of(1, 1)).await.unwrap().said;
            assert!(is_open);
            if standing.windows[0].held == NanoUsd(0) {
                return standing.windows[0];
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, nothing_held).await.expect("nothing is held in time")
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_budget_that_is_used_up_refuses_in_the_callers_dialect_and_says_so_in_the_log() {
    let upstream = upstream().await;
    let url = upstream.base_url();
    let providers = vec![
        claude(1, &url),
        provider(2, ProviderType::Codex, &url),
        provider(3, ProviderType::OpenaiCompatible, &url),
        provider(4, ProviderType::Gemini, &url),
    ];
    let snapshot = snapshot(providers, limits(|l| l.daily = Some(NanoUsd(10 * DOLLAR))));
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 10 * DOLLAR).await;
    for (path, body, kind_at, kind) in [
        ("/v1/messages", message(true), "/error/type", "billing_error"),
        (
            "/v1/responses",
            r#"{"model":"gpt-5","input":"hi"}"#.to_owned(),
            "/error/type",
            "insufficient_quota",
        ),
        (
            "/v1/chat/completions",
            r#"{"model":"gpt-5","messages":[]}"#.to_owned(),
            "/error/type",
            "insufficient_quota",
        ),
        (
            "/v1beta/models/gemini-3:generateContent",
            r#"{"contents":[]}"#.to_owned(),
            "/error/status",
            "RESOURCE_EXHAUSTED",
        ),
    ] {
        let answer = hub.post(path, body).await;
        assert_eq!(answer.status, 429, "{path}: {}", answer.text());
        assert_eq!(answer.json().pointer(kind_at).unwrap(), kind, "{path}: {}", answer.text());
        let text = answer.text();
        assert!(text.contains("$10.00 of $10.00 are spent. It opens again at 2"), "{path}: {text}");
        assert_eq!(header(&answer, "x-should-retry"), "false");
        let wait: i64 = header(&answer, "retry-after").parse().unwrap();
        assert!((1..=90_000).contains(&wait), "{wait}");
        if path == "/v1/messages" {
            assert_eq!(header(&answer, "anthropic-ratelimit-unified-status"), "rejected");
            assert_eq!(header(&answer, "anthropic-ratelimit-unified-5h-utilization"), "1.0");
        } else {
            assert_eq!(header(&answer, "x-ratelimit-remaining-usd"), "0.00");
        }
    }
    for record in hub.records(4).await {
        assert_eq!((record.request.status, record.request.blocked_by.as_deref()), (429, Some("limit_daily")));
        assert_eq!((record.request.admitted_at, record.attempts.len()), (None, 0));
    }
    assert!(upstream.served().is_empty());
}

#[tokio::test]
async fn a_seat_is_told_how_its_own_budgets_stand_and_never_how_the_providers_does() {
    let script = Script {
        headers: [("anthropic-ratelimit-unified-status".to_owned(), "rejected".to_owned())].into(),
        ..Script::default()
    };
    let upstream = crate::harness::upstream_with(script).await;
    let limits =
        limits(|l| (l.five_hours, l.weekly) = (Some(NanoUsd(4 * DOLLAR)), Some(NanoUsd(30 * DOLLAR))));
    let snapshot = snapshot(vec![claude(1, &upstream.base_url())], limits);
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 3 * DOLLAR).await;
    for is_stream in [false, true] {
        let answer = hub.post("/v1/messages", message(is_stream)).await;
        assert_eq!(answer.status, 200);
        let [status, claim, five_hours, week] =
            ["status", "representative-claim", "5h-utilization", "7d-utilization"]
                .map(|name| header(&answer, &format!("anthropic-ratelimit-unified-{name}")).to_owned());
        assert_eq!([status, claim], ["allowed_warning", "five_hour"]);
        assert_eq!([&five_hours[..4], &week[..3]], ["0.75", "0.1"], "of $4 and of $30");
    }
}

#[tokio::test]
async fn openais_seats_are_told_their_own_requests_of_a_minute_and_never_the_providers() {
    let headers = ["limit", "remaining", "reset"].map(|part| format!("x-ratelimit-{part}-requests"));
    let of_provider = headers.clone().map(|name| (name, "5000".to_owned()));
    let script = Script { headers: of_provider.into(), ..Script::default() };
    let upstream = crate::harness::upstream_with(script).await;
    let url = upstream.base_url();
    let providers = vec![
        provider(2, ProviderType::Codex, &url),
        provider(3, ProviderType::OpenaiCompatible, &url),
        claude(1, &url),
    ];
    let mut snapshot = snapshot(providers, limits(|l| l.requests_per_minute = Some(60)));
    snapshot.principals.keys[0].limits = limits(|l| l.requests_per_minute = Some(3));
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 0).await;
    let responses = r#"{"model":"gpt-5","input":"hi"}"#;
    let chat = r#"{"model":"gpt-5","messages":[],"stream":true}"#;
    for (path, body, status, left) in [
        ("/v1/responses", responses, 200, "2"),
        ("/v1/chat/completions", chat, 200, "1"),
        ("/v1/messages", &*message(false), 200, ""),
        ("/v1/chat/completions", chat, 429, "0"),
    ] {
        let answer = hub.post(path, body.to_owned()).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let [limit, remaining, reset] = headers.each_ref().map(|name| header(&answer, name));
        if left.is_empty() {
            assert_eq!([limit, remaining, reset], ["", "", ""], "Anthropic's clients do not know them");
            continue;
        }
        assert_eq!([limit, remaining], ["3", left], "{path}");
        let is_soon = |secs: &str| secs.strip_suffix('s').is_some_and(|secs| secs.parse::<u8>().is_ok());
        assert!(is_soon(reset.strip_prefix("1m").unwrap_or(reset)), "{reset}");
    }
}

#[tokio::test]
async fn codex_is_told_the_windows_of_its_seat_and_never_those_of_the_account() {
    let of_account = ["primary-used-percent", "secondary-used-percent", "credits-balance", "plan-type"];
    let of_account = of_account.map(|name| (format!("x-codex-{name}"), "99".to_owned()));
    let kept = ("x-codex-turn-state".to_owned(), "turn".to_owned());
    let script = Script { headers: of_account.into_iter().chain([kept]).collect(), ..Script::default() };
    let upstream = crate::harness::upstream_with(script).await;
    let limits =
        limits(|l| (l.five_hours, l.weekly) = (Some(NanoUsd(4 * DOLLAR)), Some(NanoUsd(30 * DOLLAR))));
    let snapshot = snapshot(vec![provider(1, ProviderType::Codex, &upstream.base_url())], limits);
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 3 * DOLLAR).await;
    let answer = hub.post("/v1/responses", r#"{"model":"gpt-5","input":"hi","stream":true}"#).await;
    assert_eq!(answer.status, 200);
    let [primary, secondary, credits, plan, turn] =
        ["primary-used-percent", "secondary-used-percent", "credits-balance", "plan-type", "turn-state"]
            .map(|name| header(&answer, &format!("x-codex-{name}")));
    assert_eq!([primary, secondary, credits, plan, turn], ["75.0", "10.0", "", "", "turn"]);
    let minutes = ["primary", "secondary"].map(|of| header(&answer, &format!("x-codex-{of}-window-minutes")));
    assert_eq!(minutes, ["300", "10080"]);
    let wait: i64 = header(&answer, "x-codex-secondary-reset-after-seconds").parse().unwrap();
    let at: i64 = header(&answer, "x-codex-secondary-reset-at").parse().unwrap();
    assert!((at - wait - gateway::now().0 / 1_000).abs() <= 60, "{at} {wait}");
}

#[tokio::test]
async fn what_a_request_cost_is_spent_and_what_it_did_not_is_given_back() {
    let upstream = upstream().await;
    let snapshot =
        snapshot(vec![claude(1, &upstream.base_url())], limits(|l| l.total = Some(NanoUsd(DOLLAR))));
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 0).await;
    upstream.set_sequence([Script::default(), Script::failing(400), Script::default()]);
    for status in [200, 400, 200] {
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, status);
    }
    let records = hub.records(3).await;
    let cost: i64 = records.iter().flat_map(|record| &record.attempts).map(|row| row.cost.total.0).sum();
    assert!(cost > 0 && records.iter().all(|record| record.request.admitted_at.is_some()));
    let (user, key) = (&snapshot.principals.users[0], &snapshot.principals.keys[0]);
    let zone = Zone::default();
    let scopes = scopes_of_caller(&user.clone().into(), &key.clone().into(), &zone, gateway::now());
    let settled = settled(&hub, AccountId::User(UserId(1)), &scopes).await;
    assert_eq!((settled.scope, settled.spent), (ScopeId::Owner, NanoUsd(cost)));
}

#[tokio::test]
async fn requests_of_a_minute_and_sessions_have_limits_of_their_own_and_counting_tokens_has_none() {
    let upstream = upstream().await;
    let mut snapshot =
        snapshot(vec![claude(1, &upstream.base_url())], limits(|l| l.requests_per_minute = Some(2)));
    snapshot.principals.keys[0].limits = limits(|l| l.concurrent_sessions = Some(1));
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 0).await;
    let counting = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"hi"}]}"#;
    for _ in 0..3 {
        assert_eq!(hub.post("/v1/messages/count_tokens", counting).await.status, 200);
    }
    let of_session = |id: &str| {
        let request = hub.request("/v1/messages").header("x-claude-code-session-id", id);
        request.body(message(false).into()).unwrap()
    };
    let one = "5a4b3c2d-0000-4000-8000-000000000001";
    assert_eq!(hub.send(of_session(one)).await.status, 200);
    let other = hub.send(of_session("5a4b3c2d-0000-4000-8000-000000000002")).await;
    assert_eq!((other.status.as_u16(), header(&other, "x-should-retry")), (429, "true"));
    assert_eq!(other.json()["error"]["type"], "rate_limit_error");
    assert!(
        other.text().contains("This key is at its limit of concurrent sessions: 1 of 1"),
        "{}",
        other.text()
    );
    assert_eq!(hub.send(of_session(one)).await.status, 200);
    let third = hub.send(of_session(one)).await;
    assert!(third.text().contains("This user is at its limit of requests: 2 of 2"), "{}", third.text());
    let blocked: Vec<_> = hub.records(7).await.into_iter().filter_map(|r| r.request.blocked_by).collect();
    assert_eq!(blocked, ["limit_concurrent_sessions", "rpm_limit"]);
}

#[tokio::test]
async fn counting_tokens_costs_nothing_and_asks_no_budget_not_even_one_that_is_used_up() {
    let upstream = upstream().await;
    let snapshot =
        snapshot(vec![claude(1, &upstream.base_url())], limits(|l| l.total = Some(NanoUsd(DOLLAR))));
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, DOLLAR).await;
    let counting = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"hi"}]}"#;
    let counted = hub.post("/v1/messages/count_tokens", counting).await;
    assert_eq!((counted.status.as_u16(), counted.json()), (200, json!({"input_tokens": 25})));
    let refused = hub.post("/v1/messages", message(false)).await;
    assert_eq!((refused.status.as_u16(), header(&refused, "x-should-retry")), (429, "false"));
    assert_eq!(upstream.totals().requests, 1, "the count alone");
    let mut records = hub.records(2).await;
    records.sort_by_key(|record| record.request.status);
    let [counted, refused] = records.try_into().expect("two records");
    let (request, [attempt]) = (&counted.request, &counted.attempts[..]) else { panic!("{counted:?}") };
    assert_eq!((request.status, request.blocked_by.as_deref(), request.admitted_at), (200, None, None));
    // It tells tokens, and the model has a price.
    assert_eq!((request.held, attempt.held, attempt.cost.total), (NanoUsd(0), NanoUsd(0), NanoUsd(0)));
    assert_eq!(refused.request.blocked_by.as_deref(), Some("limit_total"));
    assert_eq!(hub.figure(r#"cch_budget_asks_total{answer="admitted"}"#).await, 0, "nothing was put aside");
    assert_eq!(hub.figure(r#"cch_budget_asks_total{answer="refused"}"#).await, 1);
    let (user, key) = (&snapshot.principals.users[0], &snapshot.principals.keys[0]);
    let scopes =
        scopes_of_caller(&user.clone().into(), &key.clone().into(), &Zone::default(), gateway::now());
    let standing = settled(&hub, AccountId::User(UserId(1)), &scopes).await;
    assert_eq!((standing.held, standing.spent), (NanoUsd(0), NanoUsd(DOLLAR)));
}

#[tokio::test]
async fn a_strict_budget_takes_only_what_has_a_bound_and_room_for_it() {
    let upstream = upstream().await;
    let mut snapshot =
        snapshot(vec![claude(1, &upstream.base_url())], limits(|l| l.monthly = Some(NanoUsd(DOLLAR / 100))));
    snapshot.core.settings.quota_reservation = QuotaReservation::Strict;
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 0).await;
    let unknown =
        hub.post("/v1/messages", message(false).replace("claude-sonnet-4-5", "nobodys-model")).await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.text().contains("the model has no price"), "{}", unknown.text());
    // 64 tokens are 0.00096 dollars; 64 000 would be 96 cents, and a tenth more if they were served in the US alone.
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
    let large = hub.post("/v1/messages", message(false).replace("64", "64000")).await;
    assert_eq!(large.status, 429, "{}", large.text());
    assert!(large.text().contains("and it may cost $1.06"), "{}", large.text());
    // The user alone is expected to behave.
    snapshot.revision.0 += 1;
    snapshot.principals.users[0].quota_reservation = Some(QuotaReservation::Expected);
    hub.feed.publish(snapshot).await.unwrap();
    let unknown = message(false).replace("claude-sonnet-4-5", "nobodys-model");
    let served = async {
        while hub.post("/v1/messages", unknown.clone()).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, served).await.expect("served in time");
}

#[tokio::test]
async fn a_provider_without_room_is_passed_over_and_one_that_failed_has_its_money_back() {
    let (full, fails, serves) = (upstream().await, upstream().await, upstream().await);
    fails.set_script(Script::failing(500));
    let governed = |id, url: &str, priority| Provider {
        limits: limits(|l| l.daily = Some(NanoUsd(DOLLAR))),
        budget_generation: 1,
        priority,
        max_attempts: 1,
        ..claude(id, url)
    };
    let providers = vec![
        governed(1, &full.base_url(), 0),
        governed(2, &fails.base_url(), 1),
        governed(3, &serves.base_url(), 2),
    ];
    let mut snapshot = snapshot(providers.clone(), Limits::default());
    snapshot.principals.users[0].budget_generation = 0;
    let hub = Hub::start_with(snapshot, None).await;
    for (provider, spent) in providers.iter().zip([DOLLAR, 0, 0]) {
        open_provider(&hub, provider, spent).await;
    }
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
    assert_eq!([full.served().len(), fails.served().len(), serves.served().len()], [0, 1, 1]);
    let record = hub.records(1).await.remove(0);
    let chain = serde_json::to_string(&record.request.decision_chain).unwrap();
    assert!(chain.contains(r#"{"reason":"limit_reached","count":1,"provider_ids":[1]}"#), "{chain}");
    let admitted: Vec<_> =
        record.attempts.iter().map(|row| (row.provider_id, row.admitted_at.is_some())).collect();
    assert_eq!(admitted, [(ProviderId(2), false), (ProviderId(3), true)]);
    let zone = Zone::default();
    for (provider, spends) in [(&providers[1], false), (&providers[2], true)] {
        let scopes = scopes_of_provider(provider, &zone, gateway::now());
        let settled = settled(&hub, AccountId::Provider(provider.id), &scopes).await;
        assert_eq!(settled.spent > NanoUsd(0), spends, "{provider:?}");
    }
    let asks = |answer: &str| format!("cch_budget_asks_total{{answer=\"{answer}\"}}");
    assert_eq!([hub.figure(&asks("admitted")).await, hub.figure(&asks("refused")).await], [2, 1]);
}

#[tokio::test]
async fn a_session_whose_providers_budget_has_no_room_spills_and_goes_back_with_the_next_request_that_has() {
    let (home, other) = (upstream().await, upstream().await);
    // A day's budget that a reset makes room in; the other provider has none.
    let governed = Provider {
        limits: limits(|l| l.daily = Some(NanoUsd(DOLLAR))),
        budget_generation: 1,
        max_attempts: 1,
        ..claude(1, &home.base_url())
    };
    let providers = vec![governed.clone(), Provider { priority: 1, ..claude(2, &other.base_url()) }];
    let mut snapshot = snapshot(providers, Limits::default());
    snapshot.principals.users[0].budget_generation = 0;
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_provider(&hub, &governed, 0).await;
    let say = async |session: &str| {
        let request = hub.request("/v1/messages").header("x-claude-code-session-id", session);
        assert_eq!(hub.send(request.body(message(false).into()).unwrap()).await.status, 200);
    };
    let one = "5a4b3c2d-0000-4000-8000-000000000001";
    say(one).await;
    // Somebody else uses the budget up; this session is bound.
    let account = AccountId::Provider(ProviderId(1));
    let zone = Zone::default();
    let scopes = scopes_of_provider(&governed, &zone, gateway::now());
    settled(&hub, account, &scopes).await;
    let used_up = Charge {
        seq: 1,
        hold: HoldId(RequestId::from_parts(1, &[1; 10]), 1),
        cost: NanoUsd(2 * DOLLAR),
        at: gateway::now(),
        is_interrupted: false,
        from: None,
        scopes: scopes.clone(),
    };
    let settle = Settle { journal: journal(9), charges: vec![used_up], backs: Vec::new() };
    assert!(hub.quotas.settle(account, &settle, epoch_of(1, 1)).await.unwrap().said);
    say(one).await;
    say(one).await;
    // Room again, as the admin side makes it: what was spent before a moment of the store counts no more.
    let after = async |moment| loop {
        let at = hub.quotas.keep(account, &scopes).await.unwrap().at;
        if at > moment {
            break at;
        }
    };
    let reset_at = after(gateway::now()).await;
    let of_day = limits(|l| (l.daily, l.reset_at) = (Some(NanoUsd(DOLLAR)), Some(reset_at)));
    let reset = Provider { limits: of_day, ..governed.clone() };
    hub.quotas.keep(account, &scopes_of_provider(&reset, &zone, reset_at)).await.unwrap();
    snapshot.revision.0 += 1;
    snapshot.core.providers[0] = reset;
    hub.feed.publish(snapshot).await.unwrap();
    let until = Instant::now() + PATIENCE;
    while home.served().len() < 2 {
        assert!(Instant::now() < until, "the session goes back in time");
        say(one).await;
    }
    let count = home.served().len() + other.served().len();
    let records = hub.records(count).await;
    let who: Vec<_> = records.iter().map(|record| record.request.provider_id.unwrap().0).collect();
    assert_eq!((who[0], &who[1..3], who[count - 1]), (1, &[2, 2][..], 1), "{who:?}");
    let chain = |n: usize| serde_json::to_value(&records[n].request.decision_chain.steps).unwrap();
    for spilled in [1, 2] {
        let chain = chain(spilled);
        let drawn = chain.as_array().unwrap().iter().find(|step| step["step"] == "selected").unwrap();
        assert_eq!(drawn["provider_id"], 2, "{chain}");
        let why = json!({"reason": "limit_reached", "count": 1, "provider_ids": [1]});
        assert!(drawn["excluded"].as_array().unwrap().contains(&why), "{chain}");
    }
    let back = chain(count - 1);
    assert_eq!((&back[0]["step"], &back[0]["provider_id"]), (&json!("reused"), &json!(1)), "{back}");
    assert!(!back.to_string().contains("limit_reached"), "{back}");
}

#[tokio::test]
async fn when_no_provider_has_room_the_seat_reads_why() {
    let upstream = upstream().await;
    let full = Provider {
        limits: limits(|l| l.total = Some(NanoUsd(DOLLAR))),
        budget_generation: 1,
        ..claude(1, &upstream.base_url())
    };
    let hub = Hub::start(vec![full.clone()]).await;
    open_provider(&hub, &full, DOLLAR).await;
    let answer = hub.post("/v1/messages", message(false)).await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("No available providers: limit_reached."), "{}", answer.text());
    assert!(upstream.served().is_empty());
}

#[tokio::test]
async fn a_cost_above_what_a_strict_budget_put_aside_is_charged_and_counted() {
    let upstream = upstream().await;
    let daily = || limits(|l| l.daily = Some(NanoUsd(DOLLAR)));
    let governed = Provider { limits: daily(), budget_generation: 1, ..claude(1, &upstream.base_url()) };
    let mut snapshot = snapshot(vec![governed.clone()], daily());
    snapshot.core.settings.quota_reservation = QuotaReservation::Strict;
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, 0).await;
    open_provider(&hub, &governed, 0).await;
    // The second one is billed for more than was asked for.
    let usage = Usage { output: 1_000, ..Script::default().tokens() };
    upstream.set_sequence([Script::default(), Script { usage: Some(usage), ..Script::default() }]);
    for (requests, above) in [(1, 0), (2, 2)] {
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
        let finished = r#"cch_requests_total{endpoint="anthropic_messages",status_class="2xx"}"#;
        let until = Instant::now() + Duration::from_secs(20);
        while hub.figure(finished).await < requests {
            assert!(Instant::now() < until, "the request is counted in time");
        }
        assert_eq!(
            hub.figure("cch_budget_costs_above_hold_total").await,
            above,
            "at its user and its provider"
        );
        assert_eq!(hub.figure(r#"cch_budget_asks_total{answer="admitted"}"#).await, 2 * requests);
        assert_eq!(hub.figure("cch_budget_store_up").await, 1);
    }
    let records = hub.records(2).await;
    assert!(records[1].attempts[0].cost.total > NanoUsd(15 * DOLLAR / 1_000), "1 000 tokens are charged");
}
