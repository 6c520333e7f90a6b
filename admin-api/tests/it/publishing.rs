//! Configuration on its way out: numbered, in order, acknowledged, and caught up after a fault.

use crate::hub::{Database, Hub, on_both};
use admin_api::jobs::reconcile::Reconciler;
use async_trait::async_trait;
use serde_json::json;
use shared::contract::snapshot::Snapshot;
use shared::ids::Revision;
use shared::memory::MemoryConfig;
use shared::ports::{PortError, Publisher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

on_both!(on:
    each_change_makes_the_next_revision_and_answers_once_it_is_published,
    changes_at_once_follow_one_another,
);

mod with_a_database {
    crate::hub::on_both!(with_database:
        a_change_is_acknowledged_as_unpublished_while_the_publisher_is_away,
        a_restart_publishes_what_a_dead_process_committed,
    );
    use super::{
        a_change_is_acknowledged_as_unpublished_while_the_publisher_is_away,
        a_restart_publishes_what_a_dead_process_committed,
    };
}

async fn each_change_makes_the_next_revision_and_answers_once_it_is_published(hub: Hub) {
    let mut last = hub.revision().await;
    for n in 0..3 {
        let answer = hub.client.post("/api/v1/users", json!({ "name": format!("user {n}") })).await;
        assert_eq!(answer.header("x-config-published"), "true");
        assert_eq!(answer.header("x-config-revision"), (last.0 + 1).to_string());
        last = Revision(last.0 + 1);
        let snapshot = hub.snapshot().await;
        assert_eq!(snapshot.revision, last);
        assert_eq!(snapshot.principals.users.len(), n + 1);
    }
}

async fn changes_at_once_follow_one_another(hub: Hub) {
    let before = hub.revision().await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..12 {
        let client = hub.client.clone();
        calls.spawn(async move {
            let answer = client.post("/api/v1/users", json!({ "name": format!("user {n}") })).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
            answer.header("x-config-revision").parse::<u64>().unwrap()
        });
    }
    let mut revisions = calls.join_all().await;
    revisions.sort_unstable();
    assert!(revisions.into_iter().eq(before.0 + 1..=before.0 + 12));
    assert_eq!(hub.snapshot().await.principals.users.len(), 12);
}

/// Publishes unless it is told to be away.
struct Flaky {
    inner: Arc<MemoryConfig>,
    is_away: AtomicBool,
}

#[async_trait]
impl Publisher for Flaky {
    async fn published(&self) -> Result<Option<Revision>, PortError> {
        if self.is_away.load(Ordering::SeqCst) {
            Err(PortError::Unavailable)
        } else {
            self.inner.published().await
        }
    }

    async fn publish(&self, snapshot: Snapshot) -> Result<(), PortError> {
        self.inner.publish(snapshot).await
    }
}

async fn a_change_is_acknowledged_as_unpublished_while_the_publisher_is_away(database: Arc<Database>) {
    let inner = Arc::new(MemoryConfig::new());
    let flaky = Arc::new(Flaky { inner: inner.clone(), is_away: AtomicBool::new(false) });
    let hub = Hub::start_publishing(&database, inner, flaky.clone(), &[]).await.unwrap();
    let before = hub.revision().await;
    flaky.is_away.store(true, Ordering::SeqCst);
    let answer = hub.client.post("/api/v1/users", json!({ "name": "Ada" })).await;
    assert_eq!((answer.status, answer.header("x-config-published")), (201, "false"));
    assert_eq!(hub.revision().await, before);
    let ready = hub.client.get("/api/v1/health/ready").await.expect(200);
    assert_eq!(ready, json!({ "status": "degraded", "database": true, "published": false }));
    flaky.is_away.store(false, Ordering::SeqCst);
    // The reconciler comes back to it by itself.
    let snapshot = hub.snapshot_after(Some(before)).await;
    assert_eq!(snapshot.principals.users.len(), 1);
    hub.client.get("/api/v1/health/ready").await.expect(200);
}

async fn a_restart_publishes_what_a_dead_process_committed(database: Arc<Database>) {
    let hub = Hub::start(&database).await;
    hub.make_user("Ada").await;
    let (revision, db) = (hub.revision().await, hub.handle.admin().db().clone());
    // A fresh far side, as after a crash between commit and publish.
    let empty = Arc::new(MemoryConfig::new());
    let reconciler = Reconciler::new(db, empty.clone());
    assert_eq!(reconciler.step().await.unwrap(), revision);
    assert_eq!(empty.published().await.unwrap(), Some(revision));
    // Level: nothing more to do; something newer is never overwritten.
    assert_eq!(reconciler.step().await.unwrap(), revision);
    let newer = Snapshot { revision: Revision(revision.0 + 5), ..Snapshot::default() };
    empty.publish(newer).await.unwrap();
    assert_eq!(reconciler.step().await.unwrap(), Revision(revision.0 + 5));
}
