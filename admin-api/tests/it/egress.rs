//! The way to a provider as it is set, kept and published: its proxy, and authorities of its own.

use crate::hub::{Hub, on_both};
use serde_json::{Value, json};
use shared::model::Provider;
use shared::secret::HubKey;
use testbed::{Proxy, ProxyKind};

on_both!(on:
    a_proxys_password_is_sealed_and_kept_by_its_mask,
    a_way_that_cannot_work_is_refused_with_the_reason,
);

/// The proxy as the gateway opens it: URL and password.
async fn opened(hub: &Hub) -> (Option<String>, Option<String>) {
    let snapshot = hub.snapshot().await;
    let Provider { id, egress, .. } = &snapshot.core.providers[0];
    let key = HubKey::parse(&"5e".repeat(32)).unwrap();
    let open = |sealed| key.open(sealed, &Provider::proxy_place(*id)).unwrap().expose().to_owned();
    (egress.proxy_url.clone(), egress.proxy_password.as_ref().map(open))
}

async fn a_proxys_password_is_sealed_and_kept_by_its_mask(hub: Hub) {
    let authority = Proxy::start(ProxyKind::Https, None).await;
    let pem = authority.ca_pem().unwrap();
    let body = json!({
        "name": "main", "provider_type": "claude", "url": "https://api.example.com", "key": "sk-1",
        "proxy_url": "http://user:p%40ss@Proxy.example:8080/", "proxy_fallback_to_direct": true,
        "ca_certificate": pem,
    });
    let made = hub.client.post("/api/v1/providers", body).await.expect(201);
    let shown = "http://user:***@proxy.example:8080";
    assert_eq!((&made["proxy_url"], &made["proxy_fallback_to_direct"]), (&json!(shown), &json!(true)));
    assert_eq!(made["ca_certificate"], pem);
    let is_now = async |url: Option<&str>, password: Option<&str>| {
        assert_eq!(opened(&hub).await, (url.map(str::to_owned), password.map(str::to_owned)));
    };
    is_now(Some("http://user@proxy.example:8080"), Some("p@ss")).await;
    assert_eq!(hub.snapshot().await.core.providers[0].egress.ca_certificate.as_deref(), Some(pem));

    // What a client read and sends back changes nothing, nor does another field's change.
    let path = format!("/api/v1/providers/{}", made["id"]);
    let same =
        hub.client.patch(&path, json!({ "proxy_url": shown, "ca_certificate": pem })).await.expect(200);
    assert_eq!(same["revision"], made["revision"]);
    hub.client.patch(&path, json!({ "weight": 3 })).await.expect(200);
    is_now(Some("http://user@proxy.example:8080"), Some("p@ss")).await;
    // The same account at another port.
    let moved = json!({ "proxy_url": "socks5h://user:***@proxy.example" });
    let moved = hub.client.patch(&path, moved).await.expect(200);
    assert_eq!(moved["proxy_url"], "socks5h://user:***@proxy.example:1080");
    is_now(Some("socks5h://user@proxy.example:1080"), Some("p@ss")).await;
    // There is nothing to keep for another one.
    let other = json!({ "proxy_url": "socks5h://somebody:***@proxy.example" });
    let problem = hub.client.patch(&path, other).await.expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "proxy_url");

    hub.client.patch(&path, json!({ "proxy_url": "http://user:new@proxy.example" })).await.expect(200);
    is_now(Some("http://user@proxy.example:80"), Some("new")).await;
    let audit = hub.client.get("/api/v1/audit-log?resource_type=provider").await.expect(200);
    let entry = &audit["items"][0];
    assert_eq!(entry["before"]["proxy_url"], "socks5h://user:***@proxy.example:1080");
    assert_eq!(entry["after"]["proxy_url"], "http://user:***@proxy.example:80 (password set)");

    let gone = json!({ "proxy_url": null, "proxy_fallback_to_direct": null, "ca_certificate": null });
    let gone = hub.client.patch(&path, gone).await.expect(200);
    assert_eq!((&gone["proxy_url"], &gone["ca_certificate"]), (&Value::Null, &Value::Null));
    is_now(None, None).await;
}

async fn a_way_that_cannot_work_is_refused_with_the_reason(hub: Hub) {
    let made = hub.make_provider("main").await;
    let path = format!("/api/v1/providers/{}", made["id"]);
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (field, value, says) in [
        ("proxy_url", "proxy.example:8080", "must start with"),
        ("proxy_url", "socks4://proxy.example", "must start with"),
        ("proxy_url", "http://:planted@proxy.example", "user name and password"),
        ("proxy_url", "http://user:plan%ted@proxy.example", "user name and password"),
        ("proxy_url", "http://user:***@proxy.example", "none for this user name"),
        ("proxy_url", "http://proxy.example/path", "must end after host and port"),
        ("proxy_url", "http://proxy.example:0", "no valid port"),
        ("proxy_url", "socks5://user@proxy.example", "password with its user name"),
        ("ca_certificate", "no certificate", "has no certificate"),
        ("ca_certificate", broken, "cannot be read (number 1)"),
        ("ca_certificate", "", "has no certificate"),
    ] {
        let answer = hub.client.patch(&path, json!({ field: value })).await;
        assert!(!answer.text.contains("plan"), "{}", answer.text);
        let problem = answer.expect_problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        let told = problem["errors"][0]["message"].as_str().unwrap();
        assert!(told.contains(says), "{value}: {told}");
    }
}
