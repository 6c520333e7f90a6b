//! Resets of limits go by the clock of Redis, and change nothing while it is away.

use crate::harness::{Admin, Shape};
use serde_json::{Value, json};
use testbed::eventually;

/// What a reset is of, and when it was reset last.
async fn markers(admin: &Admin, paths: &[String]) -> Vec<Value> {
    let mut markers = Vec::new();
    for path in paths {
        let shown = admin.get(path).await;
        markers.push(json!([shown["cost_reset_at"], shown["limit_5h_cost_reset_at"], shown["revision"]]));
    }
    markers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_goes_by_the_clock_of_redis_and_changes_nothing_without_it() {
    let mut shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let provider = admin.make_provider(&shape).await;
    let made = admin.post("/api/v1/users", json!({ "name": "Ada", "limit_daily_usd": 5 })).await;
    let paths = [
        format!("/api/v1/users/{}", made["user"]["id"]),
        format!("/api/v1/keys/{}", made["key"]["id"]),
        format!("/api/v1/providers/{}", provider["id"]),
    ];
    let clock = |shape: &Shape| {
        let time = shape.redis.cli(&["TIME"]);
        let mut parts = time.split_whitespace().map(|part| part.parse::<i64>().unwrap());
        parts.next().unwrap() * 1_000 + parts.next().unwrap() / 1_000
    };
    let start = clock(&shape);
    for path in &paths {
        admin.api.post(&format!("{path}/limits/reset"), json!({})).await.expect(204);
    }
    let end = clock(&shape);
    let before = markers(&admin, &paths).await;
    for marker in &before {
        let at = shared::time::UnixMillis::parse_rfc3339(marker[0].as_str().unwrap()).unwrap().0;
        assert!((start..=end).contains(&at), "{start} {at} {end}");
    }

    shape.redis.kill();
    for path in &paths {
        for window in ["all", "5h"] {
            let answer = admin.api.post(&format!("{path}/limits/reset"), json!({ "window": window })).await;
            assert_eq!(answer.header("retry-after"), "1");
            answer.expect_problem(503, "quotas_unavailable");
        }
    }
    assert_eq!(markers(&admin, &paths).await, before);
    let audit = admin.get("/api/v1/audit-log?action=user.limits_reset").await;
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
    shape.redis.start_server();
    eventually("it is reset again", || async {
        admin.api.post(&format!("{}/limits/reset", paths[0]), json!({})).await.status == 204
    })
    .await;
    assert_ne!(markers(&admin, &paths).await[0], before[0]);
}
