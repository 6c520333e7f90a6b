//! Providers behind proxies and with authorities of their own: the way that requests take, and what is told of it.

use crate::harness::{Hub, claude, message, sha256, upstream};
use shared::contract::usage::{ChainStep, UsageRecord};
use shared::model::{EgressSettings, Provider, ProviderType};
use shared::rules::upstream::ProxyUrl;
use shared::testing;
use simulator::{Simulator, SimulatorConfig};
use std::collections::HashSet;
use testbed::{Asked, Proxy, ProxyKind, ProxyManner};

/// Through this proxy; its password is sealed as an admin would have it sealed.
pub fn behind(provider: Provider, proxy_url: &str) -> Provider {
    let (url, password) = ProxyUrl::parse(proxy_url).expect("a proxy URL");
    let sealed = password.map(|secret| {
        testing::hub_key().seal(&secret, &Provider::proxy_place(provider.id), [3; 12]).unwrap()
    });
    let egress = EgressSettings {
        proxy_url: Some(url.to_string()),
        proxy_password: sealed,
        ..provider.egress.clone()
    };
    Provider { egress, ..provider }
}

fn believing(mut provider: Provider, pem: &str) -> Provider {
    provider.egress.ca_certificate = Some(pem.to_owned());
    provider
}

fn falling_back(mut provider: Provider) -> Provider {
    provider.egress.proxy_fallback_to_direct = true;
    provider
}

async fn tls_upstream() -> Simulator {
    Simulator::start(SimulatorConfig { tls: true, ..SimulatorConfig::default() }).await.unwrap()
}

/// What the attempts of a request ended with: result, and what the proxy failed with when they went on without it.
fn attempts(record: &UsageRecord) -> Vec<(String, Option<String>)> {
    let steps = record.request.decision_chain.steps.iter();
    let attempted = |step: &ChainStep| match step {
        ChainStep::Attempted { result, direct_after, .. } => Some((result.clone(), direct_after.clone())),
        _ => None,
    };
    steps.filter_map(attempted).collect()
}

/// Works in all the ways: bytes pass as they are, credentials arrive, one tunnel serves all.
async fn serves_through(kind: ProxyKind, is_tls: bool, credentials: &str) {
    let upstream = if is_tls { tls_upstream().await } else { upstream().await };
    let known = (!credentials.is_empty()).then_some(credentials);
    let proxy = Proxy::start(kind, known).await;
    let told = format!("{kind:?} {is_tls} {credentials}");
    // A name that only the proxy knows would not match the certificate; localhost does.
    let (base, name) = if is_tls {
        (
            format!("https://localhost:{}", upstream.addr().port()),
            format!("localhost:{}", upstream.addr().port()),
        )
    } else {
        ("http://upstream.test:81".to_owned(), "upstream.test:81".to_owned())
    };
    proxy.knows(&name, upstream.addr());
    let authorities = [upstream.ca_pem(), proxy.ca_pem()].map(Option::unwrap_or_default).concat();
    let mut provider = behind(claude(1, &base), &proxy.url(credentials));
    if !authorities.is_empty() {
        provider = believing(provider, &authorities);
    }
    let hub = Hub::start(vec![provider]).await;
    for is_stream in [true, false, true] {
        let body = message(is_stream);
        let answer = hub.post("/v1/messages", body.clone()).await;
        assert_eq!(answer.status, 200, "{told}: {}", answer.text());
        let served = upstream.served().pop().unwrap();
        assert_eq!(served.request.body_sha256, Some(sha256(body.as_bytes())), "{told}");
        assert_eq!(served.answer.body_sha256, Some(sha256(&answer.body)), "{told}");
        assert_eq!(served.request.http_version, if is_tls { "HTTP/2.0" } else { "HTTP/1.1" }, "{told}");
        assert_eq!(served.request.header("proxy-authorization"), None, "{told}");
    }
    let asked = Asked { target: name, credentials: known.map(str::to_owned) };
    assert_eq!(proxy.asked(), [asked], "{told}: one tunnel for three requests");
}

#[tokio::test]
async fn an_http_proxy_serves_plain_and_tls_providers_over_one_tunnel() {
    serves_through(ProxyKind::Http, false, "").await;
    serves_through(ProxyKind::Http, true, "user:pass").await;
}

#[tokio::test]
async fn an_https_proxy_serves_plain_and_tls_providers_over_one_tunnel() {
    serves_through(ProxyKind::Https, false, "user:pass").await;
    serves_through(ProxyKind::Https, true, "").await;
}

#[tokio::test]
async fn a_socks5_proxy_serves_plain_and_tls_providers_over_one_tunnel() {
    serves_through(ProxyKind::Socks5, false, "").await;
    serves_through(ProxyKind::Socks5, true, "user:pass").await;
}

/// The nth provider and none of the others gets what model `model-n` asks for.
fn only_for(model: &str, mut provider: Provider) -> Provider {
    let rule = serde_json::json!({"match_type": "exact", "pattern": model});
    provider.allowed_models = vec![serde_json::from_value(rule).expect("a rule")];
    provider
}

fn asking_for(model: &str) -> String {
    message(false).replace("claude-sonnet-4-5", model)
}

#[tokio::test]
async fn providers_at_one_address_on_different_ways_never_share_a_connection() {
    for is_tls in [false, true] {
        let upstream = if is_tls { tls_upstream().await } else { upstream().await };
        let pem = upstream.ca_pem().unwrap_or_default();
        let proxy = Proxy::start(ProxyKind::Http, None).await;
        let other = Proxy::start(ProxyKind::Http, None).await;
        let base = upstream.base_url();
        let way = |id: i64, url: Option<String>| {
            let provider = only_for(&format!("model-{id}"), claude(id, &base));
            let provider = if is_tls { believing(provider, pem) } else { provider };
            url.map_or(provider.clone(), |url| behind(provider, &url))
        };
        let hub = Hub::start(vec![
            way(1, Some(proxy.url(""))),
            way(2, Some(other.url(""))),
            // Two accounts of one proxy leave by different doors.
            way(3, Some(proxy.url("a:1"))),
            way(4, Some(proxy.url("b:1"))),
            way(5, Some(proxy.url("b:2"))),
            way(6, None),
        ])
        .await;
        for _ in 0..2 {
            for id in 1..=6 {
                let answer = hub.post("/v1/messages", asking_for(&format!("model-{id}"))).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
        let asked: Vec<_> = proxy.asked().into_iter().map(|asked| asked.credentials).collect();
        let wanted = [None, Some("a:1"), Some("b:1"), Some("b:2")];
        assert_eq!(asked, wanted.map(|c| c.map(str::to_owned)), "one tunnel each, in both rounds");
        assert_eq!(other.asked().len(), 1);
        let connections: HashSet<_> = upstream.served().iter().map(|s| s.connection.id).collect();
        assert_eq!(connections.len(), 6, "and each its own connection");
    }
}

#[tokio::test]
async fn servers_behind_one_proxy_are_not_taken_for_each_other() {
    let (one, two) = (upstream().await, upstream().await);
    let proxy = Proxy::start(ProxyKind::Http, None).await;
    let at = |id: i64, upstream: &Simulator| {
        let provider = only_for(&format!("model-{id}"), claude(id, &upstream.base_url()));
        behind(provider, &proxy.url(""))
    };
    let hub = Hub::start(vec![at(1, &one), at(2, &two)]).await;
    for id in [1, 2, 1, 2] {
        assert_eq!(hub.post("/v1/messages", asking_for(&format!("model-{id}"))).await.status, 200);
    }
    assert_eq!((one.served().len(), two.served().len(), proxy.asked().len()), (2, 2, 2));
}

#[tokio::test]
async fn an_authority_of_one_provider_is_not_believed_for_another() {
    let upstream = tls_upstream().await;
    let base = upstream.base_url();
    let believed = only_for("model-1", believing(claude(1, &base), upstream.ca_pem().unwrap()));
    let hub = Hub::start(vec![believed, only_for("model-2", claude(2, &base))]).await;
    assert_eq!(hub.post("/v1/messages", asking_for("model-1")).await.status, 200);
    assert_eq!(hub.post("/v1/messages", asking_for("model-2")).await.status, 503);
    assert_eq!(attempts(&hub.records(2).await[1])[0].0, "connect_tls");
    assert_eq!(upstream.served().len(), 1);
}

#[tokio::test]
async fn a_proxys_failure_is_told_as_its_own_and_the_next_provider_serves() {
    let good = upstream().await;
    for (manner, credentials, wanted) in [
        (ProxyManner::Refuses, "", "proxy_refused"),
        (ProxyManner::HangsUp, "", "proxy_protocol"),
        (ProxyManner::Babbles, "", "proxy_protocol"),
        (ProxyManner::Serves, "user:s3cret-wrong", "proxy_auth"),
    ] {
        let right = (!credentials.is_empty()).then_some("user:right");
        let proxy = Proxy::start(ProxyKind::Http, right).await;
        proxy.behaves(manner);
        let first = behind(claude(1, &good.base_url()), &proxy.url(credentials));
        let second = Provider { priority: 1, ..claude(2, &good.base_url()) };
        let hub = Hub::start(vec![first, second]).await;
        let answer = hub.post("/v1/messages", message(true)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let record = hub.records(1).await.remove(0);
        let served = ("served".to_owned(), None);
        assert_eq!(attempts(&record), [(wanted.to_owned(), None), served]);
        let told = serde_json::to_string(&record).unwrap();
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[tokio::test]
async fn with_a_fallback_the_same_attempt_goes_on_directly_and_the_chain_says_so() {
    let upstream = upstream().await;
    for (manner, wanted) in
        [(ProxyManner::Refuses, "proxy_refused"), (ProxyManner::HangsUp, "proxy_protocol")]
    {
        let proxy = Proxy::start(ProxyKind::Socks5, None).await;
        proxy.behaves(manner);
        let provider = falling_back(behind(claude(1, &upstream.base_url()), &proxy.url("")));
        let hub = Hub::start(vec![provider]).await;
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
        let record = hub.records(1).await.remove(0);
        assert_eq!(attempts(&record), [("served".to_owned(), Some(wanted.to_owned()))]);
        assert_eq!(record.attempts.len(), 1);
        // Well again, it is used again.
        proxy.behaves(ProxyManner::Serves);
        assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
        assert_eq!(attempts(&hub.records(2).await[1]), [("served".to_owned(), None)]);
    }
}

#[tokio::test]
async fn a_failing_provider_behind_a_working_proxy_is_not_asked_again_without_it() {
    let upstream = tls_upstream().await;
    let proxy = Proxy::start(ProxyKind::Http, None).await;
    let provider = falling_back(behind(claude(1, &upstream.base_url()), &proxy.url("")));
    let hub = Hub::start(vec![provider]).await;
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 503);
    assert_eq!(attempts(&hub.records(1).await[0]), [("connect_tls".to_owned(), None)]);
    assert_eq!((upstream.served().len(), proxy.asked().len()), (0, 1));
}

#[tokio::test]
async fn failures_of_a_proxy_do_not_open_the_providers_breaker() {
    let upstream = upstream().await;
    let proxy = Proxy::start(ProxyKind::Http, None).await;
    proxy.behaves(ProxyManner::Refuses);
    let mut provider = behind(claude(1, &upstream.base_url()), &proxy.url(""));
    provider.circuit_breaker.failure_threshold = 1;
    let hub = Hub::start(vec![provider]).await;
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 503);
    proxy.behaves(ProxyManner::Serves);
    assert_eq!(hub.post("/v1/messages", message(false)).await.status, 200);
}

#[tokio::test]
async fn every_dialect_goes_through_the_proxy() {
    let upstream = upstream().await;
    let proxy = Proxy::start(ProxyKind::Http, None).await;
    let at = |id, of| behind(crate::harness::provider(id, of, &upstream.base_url()), &proxy.url(""));
    let hub = Hub::start(vec![
        at(1, ProviderType::Codex),
        at(2, ProviderType::OpenaiCompatible),
        at(3, ProviderType::Gemini),
    ])
    .await;
    for (path, body) in [
        ("/v1/responses", r#"{"model":"gpt-5","input":"hi","stream":true}"#),
        ("/v1/chat/completions", r#"{"model":"gpt-4","messages":[{"role":"user","content":"hi"}]}"#),
        ("/v1beta/models/gemini-2.5-pro:generateContent", r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#),
    ] {
        let answer = hub.post(path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert_eq!(proxy.asked().len(), 1, "accounts at one server share the way to it");
}
