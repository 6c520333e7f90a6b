//! Starts: in any order, and those that cannot succeed.

use crate::harness::{Admin, Gateway, Shape};
use crate::process::{ADMIN, GATEWAY, Process};
use testbed::{Client, eventually, lasting_address};
use tokio::process::Command;

async fn ready_is(ops: &Client, status: u16, text: &str) {
    eventually(text, || async {
        let answer = ops.get("/ready").await;
        answer.status == status && answer.text.starts_with(text)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_start_in_any_order_and_say_what_they_wait_for() {
    let mut shape = Shape::new().await;
    shape.redis.kill();
    shape.postgres.stop_server();

    let gateway = shape.gateway("gateway").await;
    ready_is(&gateway.ops, 503, "waiting for the first configuration").await;
    assert_eq!(gateway.ops.get("/live").await.status, 200);

    // Its doors are known only when it is up: the operators' one is fixed here.
    let free = lasting_address();
    let mut command = shape.command(ADMIN, "admin");
    command.env("OPS_LISTEN", free.to_string());
    let mut admin = Process::start(command);
    admin.says("waiting for the database").await;
    let ops = Client::new(free);
    ready_is(&ops, 503, "starting: waiting for the database (DSN)").await;
    assert!(ops.get("/metrics").await.text.contains("cch_admin_database_up 0"));

    // The database is made; Redis is still away.
    shape.postgres.start_server();
    let admin = Admin::up(admin).await;
    ready_is(&ops, 200, "degraded").await;
    let (_, secret) = admin.make_seat("Ada").await;
    admin.make_provider(&shape).await;
    let waited = admin.process.log().iter().filter(|line| line.contains("waiting for the database")).count();
    assert_eq!(waited, 1, "told once");

    shape.redis.start_server();
    ready_is(&ops, 200, "ready").await;
    ready_is(&gateway.ops, 200, "ready").await;
    gateway.answers(&secret, 200).await;
    assert!(ops.get("/metrics").await.text.contains("cch_admin_config_published 1"));

    let (Admin { mut process, .. }, Gateway { process: mut other, .. }) = (admin, gateway);
    assert!(other.stop().await.iter().any(|line| line.contains("in the books to the last record")));
    assert!(process.stop().await.iter().any(|line| line.contains("usage is booked to the last record")));
}

#[tokio::test]
async fn wrong_variables_are_a_line_each_and_status_2() {
    let data = tempfile::tempdir().unwrap();
    for (binary, required) in [
        (GATEWAY, &["HUB_SECRET_KEY", "REDIS_URL"][..]),
        (ADMIN, &["DSN", "ADMIN_TOKEN", "HUB_SECRET_KEY", "REDIS_URL"][..]),
    ] {
        for arguments in [&[][..], &["--check-config"]] {
            let mut command = Command::new(binary);
            command.env_clear().env("DATA_DIR", data.path().join("none")).args(arguments);
            let output = command.output().await.unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), text.lines().count()), (Some(2), required.len()), "{text}");
            for name in required {
                assert!(text.contains(&format!("{name} is not set: expected ")), "{text}");
            }
            let wrong =
                [("DRAIN_DELAY_SECS", "soon"), ("REDIS_URL", "http://hunter2@host"), ("OPS_LISTEN", "x")];
            let output = command.envs(wrong).output().await.unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), text.lines().count()), (Some(2), required.len() + 2), "{text}");
            assert!(text.contains("DRAIN_DELAY_SECS=\"soon\"") && !text.contains("hunter2"), "{text}");
        }
    }
    assert!(!data.path().join("none").exists(), "checking makes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_succeed_ends_with_one_line() {
    let shape = Shape::new().await;
    shape.postgres.make_user("hub", "right-password");
    let host = shape.postgres.directory().display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).unwrap();
    let first = shape.admin("first").await;
    first.make_seat("Ada").await;
    for (binary, variable, value, told) in [
        (
            ADMIN,
            "DSN",
            &*format!("postgres://hub:wrong-password@localhost/hub?host={host}"),
            "the database refuses",
        ),
        (ADMIN, "DSN", &*format!("postgres://nobody@localhost/hub?host={host}"), "the database refuses"),
        (ADMIN, "HUB_SECRET_KEY", &*"0f".repeat(32), "HUB_SECRET_KEY is not the one"),
        (ADMIN, "ADMIN_LISTEN", &*taken.1, "ADMIN_LISTEN="),
        (ADMIN, "OPS_LISTEN", &*taken.1, "OPS_LISTEN="),
        (GATEWAY, "GATEWAY_LISTEN", &*taken.1, "GATEWAY_LISTEN="),
        (GATEWAY, "OPS_LISTEN", &*taken.1, "OPS_LISTEN="),
    ] {
        let mut command = shape.command(binary, "second");
        command.env(variable, value).env("LOG_LEVEL", "error");
        let (status, log) = Process::start(command).ended().await;
        assert_eq!(status.code(), Some(1), "{variable}: {log:#?}");
        let lines: Vec<_> = log.iter().filter(|line| line.starts_with(told)).collect();
        assert_eq!(lines.len(), 1, "{variable}: {log:#?}");
        assert!(!log.concat().contains("wrong-password"), "{log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_told_once_and_waited_for() {
    let shape = Shape::new().await;
    shape.redis.cli(&["ACL", "SETUSER", "hub", "on", ">right", "~*", "&*", "+@all"]);
    let url = format!("redis://hub:hunter2@{}", shape.redis.door.address);
    let mut command = shape.command(GATEWAY, "gateway");
    command.env("REDIS_URL", &url);
    let mut gateway = Gateway::up(Process::start(command)).await;
    gateway.process.says("Redis refuses the password of REDIS_URL").await;
    // Another key than the admin side's: each provider is named, and left out.
    let admin = shape.admin("admin").await;
    admin.make_provider(&shape).await;
    let mut command = shape.command(GATEWAY, "other");
    command.env("HUB_SECRET_KEY", "0f".repeat(32));
    let mut other = Gateway::up(Process::start(command)).await;
    let told = other.process.says("provider left out").await;
    assert_eq!(told["reason"], "key does not open with this HUB_SECRET_KEY");

    shape.redis.cli(&["ACL", "SETUSER", "hub", ">hunter2"]);
    ready_is(&gateway.ops, 200, "ready").await;
    let log = gateway.process.stop().await;
    assert!(!log.concat().contains("hunter2"), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_admins_that_start_at_once_on_nothing_migrate_once() {
    let shape = Shape::new().await;
    let (one, other) = tokio::join!(shape.admin("one"), shape.admin("other"));
    one.make_seat("Ada").await;
    other.make_seat("Bea").await;
    assert_eq!(one.get("/api/v1/users").await["items"].as_array().unwrap().len(), 2);
    let steps = shape.postgres.sql("hub", "SELECT count(*) = count(DISTINCT version) FROM seaql_migrations");
    assert_eq!(steps.trim(), "t");
}
