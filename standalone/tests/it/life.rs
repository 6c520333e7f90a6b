//! First start, second start, a stop under a running stream, and a wrong variable.

use crate::harness::{ADMIN_TOKEN, Hub, PATIENCE, command};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use simulator::{Hang, Script, Simulator, SimulatorConfig};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tokio::time::timeout;

fn message(is_stream: bool) -> Value {
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 64,
        "stream": is_stream,
        "messages": [{"role": "user", "content": "hello"}],
    })
}

#[tokio::test]
async fn a_first_start_with_an_upstreams_key_is_all_a_seat_needs_and_a_second_keeps_its_data() {
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = command(data.path());
        command
            .env("ADMIN_TOKEN", ADMIN_TOKEN)
            .env("ANTHROPIC_API_KEY", "sk-upstream")
            .env("ANTHROPIC_UPSTREAM_URL", upstream.base_url());
        command
    };
    let hub = Hub::start(start()).await;
    let key = hub.word_after("ANTHROPIC_AUTH_TOKEN=");
    assert!(key.starts_with("cch-"), "{key}");
    let answer =
        hub.call(Method::POST, &format!("{}/v1/messages", hub.seats()), &key, Some(message(false))).await;
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let row = hub.log_rows(1).await.remove(0);
    let told = upstream.totals().told_usage;
    assert_eq!(row["id"], Value::from(id));
    assert_eq!(row["status"], 200);
    assert_eq!(row["input_tokens"], Value::from(told.input));
    assert_eq!(row["output_tokens"], Value::from(told.output));
    assert_ne!(row["cost_usd"], "0.00", "the bundled prices know the model");
    assert_eq!(upstream.served()[0].request.header("x-api-key"), Some("sk-upstream"));
    hub.terminate();
    assert!(hub.ended().await.success());

    let again = Hub::start(start()).await;
    assert!(again.printed.iter().all(|line| !line.contains("AUTH_TOKEN")), "{:?}", again.printed);
    assert_eq!(again.log_rows(1).await.len(), 1);
    let url = format!("{}/v1/messages", again.seats());
    assert_eq!(again.call(Method::POST, &url, &key, Some(message(false))).await.status(), 200);
    again.log_rows(2).await;
    let look_after = async |arguments: [&str; 2]| {
        let output = command(data.path()).args(arguments).output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    // Beside the process that serves.
    assert_eq!(look_after(["ledger", "check"]).await, (Some(0), "the books agree\n".to_owned()));
    assert!(look_after(["rollups", "rebuild"]).await.1.ends_with(" 0 made again\n"));
    again.terminate();
    assert!(again.ended().await.success());
}

#[tokio::test]
async fn a_providers_custom_header_reaches_the_upstream_as_it_was_set() {
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut command = command(data.path());
    command.env("ADMIN_TOKEN", ADMIN_TOKEN);
    let hub = Hub::start(command).await;
    let provider = json!({
        "name": "main", "provider_type": "claude", "url": upstream.base_url(), "key": "sk-upstream",
        "custom_headers": { "X-Org-Token": "org secret" },
    });
    hub.admin_json(Method::POST, "/api/v1/providers", Some(provider)).await;
    let made = hub.admin_json(Method::POST, "/api/v1/users", Some(json!({ "name": "Ada" }))).await;
    let key = made["key"]["secret"].as_str().unwrap();
    let url = format!("{}/v1/messages", hub.seats());
    assert_eq!(hub.call(Method::POST, &url, key, Some(message(false))).await.status(), 200);
    assert_eq!(upstream.served()[0].request.header("x-org-token"), Some("org secret"));
    hub.terminate();
    assert!(hub.ended().await.success());
}

#[tokio::test]
async fn a_stop_finishes_running_streams_and_books_them() {
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    upstream.set_script(Script { events: Some(30), spacing_ms: 20, ..Script::default() });
    let data = tempfile::tempdir().unwrap();
    let mut command = command(data.path());
    command
        .env("ADMIN_TOKEN", ADMIN_TOKEN)
        .env("ANTHROPIC_API_KEY", "sk-upstream")
        .env("ANTHROPIC_UPSTREAM_URL", upstream.base_url());
    let hub = Hub::start(command).await;
    let key = hub.word_after("ANTHROPIC_AUTH_TOKEN=");
    let url = format!("{}/v1/messages", hub.seats());
    let mut answer = hub.call(Method::POST, &url, &key, Some(message(true))).await;
    assert_eq!(answer.status(), 200);
    let first = answer.body_mut().frame().await.unwrap().unwrap();
    assert!(first.is_data());
    hub.terminate();
    let rest = timeout(PATIENCE, answer.into_body().collect())
        .await
        .unwrap()
        .expect("the stream is whole")
        .to_bytes();
    assert!(String::from_utf8_lossy(&rest).contains("event: message_stop"));
    assert!(hub.ended().await.success());

    // What was booked during the stop is there at the next start.
    let again = Hub::start({
        let mut command = crate::harness::command(data.path());
        command.env("ADMIN_TOKEN", ADMIN_TOKEN);
        command
    })
    .await;
    let row = again.log_rows(1).await.remove(0);
    assert_eq!(row["output_tokens"], Value::from(upstream.totals().told_usage.output));
    again.terminate();
    assert!(again.ended().await.success());
}

#[tokio::test]
async fn what_runs_is_listed() {
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    upstream.set_script(Script::hanging(Hang::BeforeHead));
    let data = tempfile::tempdir().unwrap();
    let mut command = command(data.path());
    command
        .env("ADMIN_TOKEN", ADMIN_TOKEN)
        .env("ANTHROPIC_API_KEY", "sk-upstream")
        .env("ANTHROPIC_UPSTREAM_URL", upstream.base_url());
    let hub = Hub::start(command).await;
    let key = hub.word_after("ANTHROPIC_AUTH_TOKEN=");
    let url = format!("{}/v1/messages", hub.seats());
    let listed = async {
        loop {
            let now = hub.admin_json(Method::GET, "/api/v1/requests/in-flight", None).await;
            if now["items"] != json!([]) {
                return now;
            }
            tokio::task::yield_now().await;
        }
    };
    let now = tokio::select! {
        answer = hub.call(Method::POST, &url, &key, Some(message(true))) => panic!("an answer: {answer:?}"),
        now = timeout(PATIENCE, listed) => now.expect("it is listed in time"),
    };
    let (item, node) = (&now["items"][0], &now["nodes"][0]);
    assert_eq!((&item["model"], &item["attempt"]), (&json!("claude-sonnet-4-5"), &json!(1)));
    assert_eq!((&item["node_id"], &now["left_out"]), (&node["id"], &json!(0)));
}

#[tokio::test]
async fn a_wrong_variable_is_one_line_and_status_2() {
    let data = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["--check-config"]] {
        let output =
            command(data.path()).args(arguments).env("BODY_MEMORY_MB", "lots").output().await.unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("BODY_MEMORY_MB") && text.contains("lots"), "{text}");
        // Both halves' variables are read alike, and all problems are told; HUB_SECRET_KEY is read by both.
        let wrong = [("BODY_MEMORY_MB", "lots"), ("DB_POOL_MAX", "1"), ("HUB_SECRET_KEY", "short-secret")];
        let output = command(data.path()).args(arguments).envs(wrong).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("DB_POOL_MAX=\"1\" is not allowed: expected a whole number"), "{text}");
        assert!(text.contains("HUB_SECRET_KEY=\"***\"") && !text.contains("short-secret"), "{text}");
    }
    let output = command(data.path()).arg("--check-config").output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn what_would_be_misread_in_silence_is_a_wrong_variable_too() {
    let data = tempfile::tempdir().unwrap();
    let not_text = std::ffi::OsStr::from_bytes(b"a-token-of-\xff-16-bytes");
    for (name, value) in [
        ("LOG_LEVEL", "lots".as_ref()),
        ("ADMIN_TOKEN", not_text),
        ("DATA_DIR", not_text),
        ("ANTHROPIC_UPSTREAM_URL", "api.anthropic.com".as_ref()),
    ] {
        let output = command(data.path()).arg("--check-config").env(name, value).output().await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{name}: {text}");
        assert!(text.starts_with(name), "{text}");
    }
}

#[tokio::test]
async fn a_first_start_tells_the_lines_that_the_accounts_clients_need() {
    let data = tempfile::tempdir().unwrap();
    let mut command = command(data.path());
    command.env("OPENAI_API_KEY", "sk-upstream").env("GEMINI_API_KEY", "AI-upstream");
    let hub = Hub::start(command).await;
    assert_eq!(hub.word_after("export OPENAI_BASE_URL="), format!("{}/v1", hub.seats()));
    assert_eq!(hub.word_after("export GOOGLE_GEMINI_BASE_URL="), hub.seats());
    let key = hub.word_after("export OPENAI_API_KEY=");
    assert!(key.starts_with("cch-") && hub.word_after("export GEMINI_API_KEY=") == key, "{key}");
    assert!(hub.printed.iter().all(|line| !line.contains("ANTHROPIC_")), "{:?}", hub.printed);
    hub.terminate();
    assert!(hub.ended().await.success());
}

#[tokio::test]
async fn every_refusal_is_in_the_operators_log_under_the_id_that_its_client_got() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let mut command = command(data.path());
    command.env("LOG_FORMAT", "json").stderr(std::fs::File::create(&log).unwrap());
    let hub = Hub::start(command).await;
    let mut refused = Vec::new();
    for path in ["/v1/messages", "/v1/nothing"] {
        let url = format!("{}{path}", hub.seats());
        let answer = hub.call(Method::POST, &url, "cch-wrong-key", Some(message(false))).await;
        refused.push((answer.status().as_u16(), answer.headers()["x-request-id"].clone()));
    }
    hub.terminate();
    assert!(hub.ended().await.success());
    let log = std::fs::read_to_string(log).unwrap();
    for (status, id) in refused {
        let line = log.lines().find(|line| line.contains(id.to_str().unwrap())).expect("a line");
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["status"], &line["client_ip"]), (&status.into(), &"127.0.0.1".into()));
    }
    assert!(!log.contains("cch-wrong-key"));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let output = command(data.path()).env("GATEWAY_LISTEN", &address).output().await.unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("GATEWAY_LISTEN") && text.contains(&address), "{text}");
    assert_eq!(text.matches("in use").count(), 1, "the cause is told once: {text}");
}

#[tokio::test]
async fn the_demo_shows_books_that_equal_the_upstreams_count() {
    let data = tempfile::tempdir().unwrap();
    let run = command(data.path()).arg("demo").env("TMPDIR", data.path()).output();
    let output = timeout(PATIENCE, run).await.expect("an end in time").unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("message_stop") && text.contains("overloaded"), "{text}");
    assert!(text.contains("The books equal the upstream's own count."), "{text}");
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "nothing of it stays");
}

#[tokio::test]
async fn planted_secrets_are_in_no_log_and_no_file_but_those_that_keep_them() {
    let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let mut command = command(data.path());
    command
        .env("ADMIN_TOKEN", "planted-admin-token")
        .env("ANTHROPIC_API_KEY", "sk-planted-key")
        .env("ANTHROPIC_UPSTREAM_URL", upstream.base_url())
        .env("LOG_LEVEL", "debug")
        .stderr(std::fs::File::create(&log).unwrap());
    let hub = Hub::start(command).await;
    let key = hub.word_after("ANTHROPIC_AUTH_TOKEN=");
    let provider = json!({
        "name": "other", "provider_type": "claude", "url": upstream.base_url(), "key": "sk-planted-too",
        "custom_headers": { "x-org-token": "planted-header" },
    });
    let url = format!("{}/api/v1/providers", hub.admin());
    assert_eq!(hub.call(Method::POST, &url, "planted-admin-token", Some(provider)).await.status(), 201);
    let mut prompt = message(true);
    prompt["messages"][0]["content"] = "planted prompt".into();
    let answer = hub.call(Method::POST, &format!("{}/v1/messages", hub.seats()), &key, Some(prompt)).await;
    answer.into_body().collect().await.unwrap();
    // The journal is there while the process is; the log is whole when it is not.
    let mut searched = search(data.path(), &key);
    hub.terminate();
    assert!(hub.ended().await.success());
    searched.extend(search(data.path(), &key));
    for name in ["log", "hub.sqlite", "00000001.seg"] {
        assert!(searched.iter().any(|known| known == name), "{searched:?}");
    }
}

/// Searches all files for what was planted; answers their names.
fn search(directory: &Path, key: &str) -> Vec<String> {
    let hub_key = std::fs::read_to_string(directory.join("hub-secret-key")).unwrap();
    let mut searched = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            for secret in ["planted", key, hub_key.trim()] {
                let keeps_it = name == "hub-secret-key" && secret == hub_key.trim();
                assert!(keeps_it || !text.contains(secret), "{secret} in {name}");
            }
            searched.push(name);
        }
    }
    searched
}
