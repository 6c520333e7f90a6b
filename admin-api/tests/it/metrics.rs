//! What operators see of the control plane at `/metrics`.

use crate::hub::{Hub, on_both};
use admin_api::jobs::consume::Consumer;
use admin_api::jobs::reconcile::Reconciler;
use admin_api::ops::Ops;
use admin_api::telemetry::{Metrics, Page};
use async_trait::async_trait;
use sea_orm::DbBackend;
use serde_json::json;
use shared::contract::snapshot::Snapshot;
use shared::ids::{JournalId, Revision};
use shared::memory::{MemoryConfig, MemoryUsage};
use shared::ports::{
    Backlog, Delivery, MetricsPart, PortError, Publisher, Receipt, UsageSource, UsageStream,
};
use shared::testing::conformance::{batch, journal};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

on_both!(on:
    requests_are_counted_under_their_templates,
    publishing_is_counted_and_its_standstill_shows,
    usage_is_counted_by_what_became_of_it,
    connections_are_counted_by_their_state,
    the_operators_door_shows_the_page_and_its_parts_before_and_after_the_start,
);

/// The value of a series; `None` when it is not on the page.
fn value(page: &str, series: &str) -> Option<f64> {
    let lines: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).collect();
    assert!(lines.len() < 2, "{series} is there {} times", lines.len());
    lines.first().map(|number| number.parse().unwrap())
}

#[track_caller]
fn expect(page: &str, wanted: &[(&str, f64)]) {
    for (series, number) in wanted {
        assert_eq!(value(page, series), Some(*number), "{series}\n{page}");
    }
}

async fn requests_are_counted_under_their_templates(hub: Hub) {
    hub.make_user("Ada").await;
    hub.client.post("/api/v1/users", json!({ "name": "" })).await.expect_problem(422, "validation_failed");
    for id in [987_654, 987_655] {
        hub.client.get(&format!("/api/v1/users/{id}")).await.expect_problem(404, "not_found");
    }
    hub.client.send_raw("GET", "/api/v1/users/987654", &[], "").await.expect_problem(401, "unauthenticated");
    hub.client.get("/no/such/987654").await.expect_problem(404, "no_such_path");
    hub.client.send("BREW", "/api/v1/settings", &[], "").await.expect_problem(405, "method_not_allowed");
    let page = hub.handle.page().text().await;
    let total = |labels: &str| format!("cch_admin_http_requests_total{{{labels}}}");
    expect(
        &page,
        &[
            (&total(r#"method="POST",route="/api/v1/users",status_class="2xx""#), 1.0),
            (&total(r#"method="POST",route="/api/v1/users",status_class="4xx""#), 1.0),
            (&total(r#"method="GET",route="/api/v1/users/{id}",status_class="4xx""#), 3.0),
            (&total(r#"method="GET",route="none",status_class="4xx""#), 1.0),
            (
                r#"cch_admin_http_request_duration_seconds_count{method="GET",route="/api/v1/users/{id}"}"#,
                3.0,
            ),
            (r#"cch_admin_refusals_total{reason="not_found"}"#, 2.0),
            (r#"cch_admin_refusals_total{reason="unauthenticated"}"#, 1.0),
            (r#"cch_admin_refusals_total{reason="method_not_allowed"}"#, 1.0),
        ],
    );
    // What callers make up is in no label.
    assert!(!page.contains("98765") && !page.contains("BREW"), "{page}");
}

/// Publishes nothing.
struct Away;

#[async_trait]
impl Publisher for Away {
    async fn published(&self) -> Result<Option<Revision>, PortError> {
        Err(PortError::Unavailable)
    }

    async fn publish(&self, _: Snapshot) -> Result<(), PortError> {
        Err(PortError::Unavailable)
    }
}

#[async_trait]
impl UsageSource for Away {
    async fn take(&self, _: usize) -> Result<Delivery, PortError> {
        Err(PortError::Unavailable)
    }

    async fn acknowledge(&self, _: &[Receipt], _: &[(JournalId, u64)]) -> Result<(), PortError> {
        Err(PortError::Unavailable)
    }

    async fn backlog(&self) -> Result<Backlog, PortError> {
        Err(PortError::Unavailable)
    }
}

/// The page of this control plane with counts of its own: those of its jobs go on by themselves.
fn page(hub: &Hub, usage: Arc<dyn UsageSource>) -> (Arc<Metrics>, Page) {
    let metrics = Arc::new(Metrics::new().unwrap());
    (metrics.clone(), Page::new(hub.handle.admin().clone(), usage, metrics))
}

async fn publishing_is_counted_and_its_standstill_shows(hub: Hub) {
    let (metrics, page) = page(&hub, Arc::new(Away));
    let db = hub.handle.admin().db().clone();
    let away = Reconciler::new(db.clone(), Arc::new(Away)).counted(metrics.clone());
    away.step().await.unwrap_err();
    let text = page.text().await;
    expect(&text, &[(r#"cch_admin_reconciles_total{result="publisher_failed"}"#, 1.0)]);
    assert_eq!(value(&text, "cch_admin_config_confirmed_age_seconds"), None, "never yet");

    let there = Reconciler::new(db, Arc::new(MemoryConfig::new())).counted(metrics);
    there.step().await.unwrap();
    there.step().await.unwrap();
    let text = page.text().await;
    expect(
        &text,
        &[
            (r#"cch_admin_reconciles_total{result="published"}"#, 1.0),
            (r#"cch_admin_reconciles_total{result="level"}"#, 1.0),
            (r#"cch_admin_reconciles_total{result="overtaken"}"#, 0.0),
            ("cch_admin_config_published", 1.0),
        ],
    );
    let revision = value(&text, "cch_admin_config_revision");
    assert!(revision > Some(0.0) && value(&text, "cch_admin_config_published_revision") == revision);
    for age in ["cch_admin_config_confirmed_age_seconds", "cch_admin_config_publish_age_seconds"] {
        assert!(value(&text, age).is_some(), "{age}");
    }
}

async fn usage_is_counted_by_what_became_of_it(hub: Hub) {
    let source = Arc::new(MemoryUsage::new(10));
    let (metrics, page) = page(&hub, source.clone());
    let db = hub.handle.admin().db().clone();
    // The first one once more, from another journal.
    source.append(batch(journal(1), 0, 1..=2)).await.unwrap();
    source.append(batch(journal(2), 0, 1..=1)).await.unwrap();
    let text = page.text().await;
    expect(&text, &[("cch_admin_usage_waiting", 3.0), ("cch_admin_usage_dead_letters", 0.0)]);
    assert!(value(&text, "cch_admin_usage_oldest_age_seconds").is_some());

    Consumer::new(db.clone(), source).counted(metrics.clone()).step().await.unwrap();
    Consumer::new(db, Arc::new(Away)).counted(metrics).step().await.unwrap_err();
    expect(
        &page.text().await,
        &[
            ("cch_admin_usage_waiting", 0.0),
            ("cch_admin_usage_oldest_age_seconds", 0.0),
            (r#"cch_admin_usage_records_total{result="booked"}"#, 2.0),
            (r#"cch_admin_usage_records_total{result="duplicate"}"#, 1.0),
            (r#"cch_admin_usage_records_total{result="set_aside"}"#, 0.0),
            (r#"cch_admin_usage_failures_total{reason="source"}"#, 1.0),
        ],
    );
}

async fn connections_are_counted_by_their_state(hub: Hub) {
    let admin = hub.handle.admin();
    let pool = match admin.db().reader().get_database_backend() {
        DbBackend::Sqlite => "writer",
        _ => "shared",
    };
    let held = admin.run(|admin| async move { Ok(admin.db().write().await?) }).await.unwrap();
    let page = hub.handle.page().text().await;
    let in_use = value(&page, &format!(r#"cch_admin_database_connections{{pool="{pool}",state="in_use"}}"#));
    assert!(in_use >= Some(1.0), "{page}");
    let most = value(&page, &format!(r#"cch_admin_database_connections_max{{pool="{pool}"}}"#));
    assert_eq!(most, Some(if pool == "writer" { 1.0 } else { 4.0 }));
    drop(held);
}

/// Somebody else's part.
struct Another;

#[async_trait]
impl MetricsPart for Another {
    async fn text(&self) -> String {
        "another_part 7\n".to_owned()
    }
}

async fn the_operators_door_shows_the_page_and_its_parts_before_and_after_the_start(hub: Hub) {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let metrics = Arc::new(Metrics::new().unwrap());
    let ops = Ops::open(anywhere, metrics, vec![Arc::new(Another)]).await.unwrap();
    let door = testbed::Client::new(ops.address());
    let page = door.get("/metrics").await.text;
    expect(&page, &[("cch_admin_database_up", 0.0), ("another_part", 7.0)]);
    let version = concat!(r#"cch_admin_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#);
    expect(&page, &[(version, 1.0)]);
    ops.serving(hub.handle.page());
    for _ in 0..2 {
        expect(&door.get("/metrics").await.text, &[("cch_admin_database_up", 1.0), ("another_part", 7.0)]);
        ops.draining();
    }
    ops.close().await;
}
