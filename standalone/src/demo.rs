//! `claude-code-hub demo`: a short conversation through the real thing, against a simulated upstream, and what
//! a user would look at afterwards. Fails when the books differ from the upstream's own count.

use crate::client::LocalClient;
use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::BodyExt;
use process::say;
use serde_json::{Value, json};
use shared::secret::Secret;
use simulator::{Script, Simulator};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Drives the conversation: one provider is down, the other streams.
pub async fn run(admin: &LocalClient, gateway: SocketAddr, upstream: &Simulator) -> Result<()> {
    let seat = LocalClient::new(gateway, set_up(admin, upstream).await?);
    say("A seat asks for a stream. The first provider is overloaded, the second one answers:\n");
    upstream.set_sequence([
        Script::failing(529),
        Script { events: Some(12), spacing_ms: 60, ..Script::default() },
    ]);
    let body = json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 256,
        "stream": true,
        "messages": [{"role": "user", "content": "Say hello to Claude Code Hub."}],
    });
    let mut answer = seat.call(Method::POST, "/v1/messages", Some(&body)).await?;
    let id =
        answer.headers().get("x-request-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    while let Some(frame) = answer.body_mut().frame().await {
        if let Ok(data) = frame.context("the stream broke")?.into_data() {
            show_events(&data);
        }
    }
    let row = log_row(admin, &id).await?;
    say(&format!("\nThe log row (GET /api/v1/logs/{id}):\n{}\n", serde_json::to_string_pretty(&row)?));
    compare(&row, upstream)
}

/// Two providers at the same upstream, a user, a key.
async fn set_up(admin: &LocalClient, upstream: &Simulator) -> Result<Secret> {
    for (name, priority) in [("first choice", 0), ("second choice", 1)] {
        let body = json!({
            "name": name,
            "provider_type": "claude",
            "url": upstream.base_url(),
            "key": "sk-simulated",
            "priority": priority,
        });
        admin.json(Method::POST, "/api/v1/providers", Some(&body)).await?;
    }
    let made = admin.json(Method::POST, "/api/v1/users", Some(&json!({"name": "demo"}))).await?;
    let secret =
        made.pointer("/key/secret").and_then(Value::as_str).context("the new user came without a key")?;
    Ok(Secret::new(secret))
}

fn show_events(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines().filter(|line| line.starts_with("data: ")) {
        say(&format!("  {}", line.chars().take(150).collect::<String>()));
    }
}

/// The row, as soon as the books have it.
async fn log_row(admin: &LocalClient, id: &str) -> Result<Value> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match admin.json(Method::GET, &format!("/api/v1/logs/{id}"), None).await {
            Ok(row) => return Ok(row),
            Err(error) if Instant::now() >= until => return Err(error.context("no log row in time")),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

fn compare(row: &Value, upstream: &Simulator) -> Result<()> {
    let told = upstream.totals().told_usage;
    let booked = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    for (name, told) in [
        ("input_tokens", told.input),
        ("cache_write_5m_tokens", told.cache_write_5m),
        ("cache_write_1h_tokens", told.cache_write_1h),
        ("cache_read_tokens", told.cache_read),
        ("output_tokens", told.output),
    ] {
        say(&format!("{name:>24}: booked {:>6}, the upstream counted {told:>6}", booked(name)));
        ensure!(booked(name) == told, "{name}: the books differ from the upstream's count");
    }
    say("\nThe books equal the upstream's own count.");
    Ok(())
}
