//! Planted secrets turn up nowhere: no log, metric, answer, audit entry, key or value in Redis, no row, no file.

use crate::harness::{Admin, Gateway, Shape};
use crate::process::{ADMIN, GATEWAY, Process};
use serde_json::json;
use simulator::Script;
use std::io::Read;
use std::path::Path;
use testbed::{Answer, JSON};

const TOKEN: &str = "planted-admin-token-4711";
const HUB_KEY: &str = "91a7ed5ec2e7c0de91a7ed5ec2e7c0de91a7ed5ec2e7c0de91a7ed5ec2e7c0de";
const PROMPT: &str = "planted prompt about blue elephants";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_secrets_turn_up_nowhere() {
    let shape = Shape::new().await;
    shape.postgres.make_user("hub", "planted-dsn-password");
    shape.redis.cli(&["ACL", "SETUSER", "hub", "on", ">planted-redis-password", "~*", "&*", "+@all"]);
    let redis = format!("redis://hub:planted-redis-password@{}", shape.redis.door.address);
    let host = shape.postgres.directory().display().to_string();
    let command = |binary: &str, name: &str| {
        let mut command = shape.command(binary, name);
        command.env("REDIS_URL", &redis).env("HUB_SECRET_KEY", HUB_KEY).env("LOG_LEVEL", "debug");
        if binary == ADMIN {
            let dsn = format!("postgres://hub:planted-dsn-password@localhost/hub?host={host}");
            command.env("ADMIN_TOKEN", TOKEN).env("DSN", dsn);
        }
        Process::start(command)
    };
    let mut admin = Admin::up_under(command(ADMIN, "admin"), TOKEN).await;
    let mut gateway = Gateway::up(command(GATEWAY, "gateway")).await;
    let mut seen: Vec<(String, String)> = Vec::new();

    let provider = json!({
        "name": "main", "provider_type": "claude", "url": shape.upstream.base_url(),
        "key": "sk-planted-provider-key", "custom_headers": { "x-org-token": "planted-header-value" },
        // Nobody listens there, so it is told of in the log, and the provider is reached all the same.
        "proxy_url": "http://user:planted-proxy-password@127.0.0.1:1", "proxy_fallback_to_direct": true,
    });
    let made = admin.api.post("/api/v1/providers", provider).await;
    assert_eq!(made.status, 201, "{made:?}");
    let provider_path = format!("/api/v1/providers/{}", made.json()["id"]);
    seen.push(("provider".to_owned(), made.text));
    let wrong = json!({ "url": "https://planted-user:planted-url-password@host.example/", "key": "planted wrong key" });
    let refused = admin.api.patch(&provider_path, wrong).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    seen.push(("refusal".to_owned(), refused.text));
    let user = admin.api.post("/api/v1/users", json!({ "name": "Ada" })).await.json();
    let key = user["key"]["secret"].as_str().unwrap().to_owned();
    let reveal = format!("/api/v1/keys/{}/reveal", user["key"]["id"]);
    let revealed = admin.api.send("POST", &reveal, &[JSON], "").await;
    assert_eq!(revealed.json()["secret"], key.as_str());

    gateway.answers(&key, 200).await;
    let ask = |token: String, stream: bool| {
        let body = json!({
            "model": "claude-sonnet-4-5", "max_tokens": 64, "stream": stream,
            "messages": [{ "role": "user", "content": PROMPT }],
        });
        let gateway = &gateway;
        async move { Answer::whole(gateway.open(&token, &body).await).await }
    };
    for stream in [false, true] {
        assert_eq!(ask(key.clone(), stream).await.status, 200);
    }
    seen.push(("stranger".to_owned(), ask("cch-planted-stranger".to_owned(), true).await.text));
    shape.upstream.set_script(Script::failing(500));
    seen.push(("failure".to_owned(), ask(key.clone(), true).await.text));
    let stranger = admin.api.under("planted-wrong-token").get("/api/v1/users").await;
    assert_eq!(stranger.status, 401);
    seen.push(("wrong token".to_owned(), stranger.text));
    shape.upstream.set_script(Script::default());
    assert_eq!(ask(key.clone(), false).await.status, 200);
    let audit = admin.api.get("/api/v1/audit-log?action=key.reveal").await;
    assert_eq!(
        audit.json()["items"].as_array().unwrap().len(),
        1,
        "the reveal is in the audit log: {audit:?}"
    );
    for path in ["/api/v1/audit-log", "/api/v1/users", "/api/v1/providers", "/api/v1/logs", "/api/v1/nodes"] {
        seen.push((path.to_owned(), admin.api.get(path).await.text));
    }
    seen.push(("metrics".to_owned(), gateway.ops.get("/metrics").await.text));
    seen.push(("admin metrics".to_owned(), admin.ops.get("/metrics").await.text));
    // With Redis away as well: what is told then.
    shape.redis.door.cut();
    seen.push(("gateway log".to_owned(), gateway.process.stop().await.concat()));
    seen.push(("Redis".to_owned(), everything_in(&shape)));
    seen.push(("admin log".to_owned(), admin.process.stop().await.concat()));
    seen.push(("Postgres".to_owned(), shape.postgres.dump("hub")));
    seen.extend(files_in(shape.directory.path()));

    let planted = ["planted", "sk-planted-provider-key", HUB_KEY, PROMPT, "blue elephants", key.as_str()];
    for (place, text) in &seen {
        for secret in planted {
            let found = text
                .find(secret)
                .map(|at| text[at.saturating_sub(80)..].chars().take(240).collect::<String>());
            assert_eq!(found, None, "{secret} in {place}");
        }
    }
    assert!(seen.iter().any(|(place, text)| place == "Postgres" && text.contains("key.reveal")));
    assert!(seen.iter().any(|(place, text)| place == "gateway log" && text.contains("proxy_unreachable")));
    // Sealed, in what was packed: so the search did look there.
    for place in ["Redis", "config.snapshot"] {
        assert!(seen.iter().any(|(name, text)| name.ends_with(place) && text.contains("v1.")), "{place}");
    }
}

/// All keys of Redis with all their values.
fn everything_in(shape: &Shape) -> String {
    let mut all = String::new();
    for key in shape.redis.cli(&["--scan"]).lines() {
        let read = match &*shape.redis.cli(&["TYPE", key]) {
            "hash" => vec!["HGETALL", key],
            "stream" => vec!["XRANGE", key, "-", "+"],
            "list" => vec!["LRANGE", key, "0", "-1"],
            "zset" => vec!["ZRANGE", key, "0", "-1", "WITHSCORES"],
            "set" => vec!["SMEMBERS", key],
            _ => vec!["GET", key],
        };
        all.push_str(&format!("{key}\n{}\n", readable(&shape.redis.cli_bytes(&read))));
    }
    all
}

/// All files that the processes left.
fn files_in(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_in(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), readable(&bytes)));
        }
    }
    found
}

/// Bytes as text, and behind them what is packed in them: a search in packed bytes would find nothing.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&ZSTD)) {
        let mut unpacked = Vec::new();
        let mut frame = zstd::stream::read::Decoder::with_buffer(&bytes[at..]).unwrap().single_frame();
        frame.read_to_end(&mut unpacked).expect("a whole frame");
        text.push_str(&String::from_utf8_lossy(&unpacked));
    }
    text
}

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
