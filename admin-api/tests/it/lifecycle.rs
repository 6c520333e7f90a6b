//! From empty to running to stopped, and starts that must not succeed.

use crate::hub::{Database, Hub, Kind, TOKEN, on_both, with_database};
use admin_api::repo::db::OpenError;
use admin_api::{FarSides, StartError};
use migrations::{Migrator, MigratorTrait};
use serde_json::json;
use shared::memory::{MemoryBreakers, MemoryConfig, MemoryNodes, MemoryQuotas, MemorySessions, MemoryUsage};
use shared::time::UnixMillis;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use testbed::Client;

on_both!(with_database:
    a_start_from_nothing_migrates_and_a_second_one_keeps_the_data,
    starts_at_once_migrate_once,
    without_auto_migrate_nothing_is_made_and_an_old_schema_is_refused,
    migrations_go_down_to_nothing_and_up_again,
);

async fn a_start_from_nothing_migrates_and_a_second_one_keeps_the_data(database: Arc<Database>) {
    let hub = Hub::start(&database).await;
    let ready = hub.client.get("/api/v1/health/ready").await.expect(200);
    assert_eq!(ready, json!({ "status": "ok", "database": true, "published": true }));
    let user = hub.make_user("Ada").await["user"].clone();
    let address = hub.handle.address();
    hub.handle.stop().await.unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "still listening");

    let hub = Hub::start_with(&database, Arc::new(MemoryConfig::new()), &[("AUTO_MIGRATE", "false")])
        .await
        .unwrap();
    let path = format!("/api/v1/users/{}", user["id"]);
    assert_eq!(hub.client.get(&path).await.expect(200), user);
    assert_eq!(hub.snapshot().await.principals.users.len(), 1);
    hub.handle.stop().await.unwrap();
}

async fn starts_at_once_migrate_once(database: Arc<Database>) {
    let (one, other) = tokio::join!(Hub::start(&database), Hub::start(&database));
    one.make_user("Ada").await;
    other.make_user("Bea").await;
    let users = one.client.get("/api/v1/users").await.expect(200);
    assert_eq!(users["items"].as_array().unwrap().len(), 2);
    // Each publishes the other's changes within a tick.
    let mut seen = one.snapshot().await;
    while seen.principals.users.len() < 2 {
        seen = one.snapshot_after(Some(seen.revision)).await;
    }
}

async fn without_auto_migrate_nothing_is_made_and_an_old_schema_is_refused(database: Arc<Database>) {
    let off = [("AUTO_MIGRATE", "false")];
    let refused = Hub::start_with(&database, Arc::new(MemoryConfig::new()), &off).await;
    match refused.err() {
        Some(StartError::Database(OpenError::NoDatabase { name })) => assert!(database.dsn.contains(&name)),
        other => panic!("{other:?}"),
    }
    if database.kind == Kind::Sqlite {
        let left_behind = std::fs::read_dir(database.file().parent().unwrap()).unwrap().count();
        assert_eq!(left_behind, 0, "nothing is made");
    }
    Hub::start(&database).await.handle.stop().await.unwrap();
    let db = sea_orm::Database::connect(&database.dsn).await.unwrap();
    Migrator::down(&db, None).await.unwrap();
    db.close().await.unwrap();
    let refused = Hub::start_with(&database, Arc::new(MemoryConfig::new()), &off).await;
    match refused.err() {
        Some(StartError::Database(OpenError::PendingSteps { count })) => {
            assert_eq!(count, Migrator::migrations().len());
        }
        other => panic!("{other:?}"),
    }
}

async fn migrations_go_down_to_nothing_and_up_again(database: Arc<Database>) {
    let hub = Hub::start(&database).await;
    hub.handle.stop().await.unwrap();
    let db = sea_orm::Database::connect(&database.dsn).await.unwrap();
    Migrator::down(&db, None).await.unwrap();
    assert_eq!(Migrator::get_pending_migrations(&db).await.unwrap().len(), Migrator::migrations().len());
    db.close().await.unwrap();
    Hub::start(&database).await.make_user("Ada").await;
}

#[test]
fn the_database_file_is_for_its_owner_alone() {
    with_database(Kind::Sqlite, |database| async move {
        let hub = Hub::start(&database).await;
        hub.make_user("Ada").await;
        for suffix in ["", "-wal"] {
            let path = format!("{}{suffix}", database.file().display());
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path}");
        }
    });
}

#[test]
fn a_start_that_cannot_succeed_says_why_in_one_line() {
    with_database(Kind::Sqlite, |database| async move {
        for (name, value, told) in [
            ("DSN", "sqlite:///no/such/directory/hub.sqlite", "/no/such/directory does not exist"),
            ("DSN", "sqlite:///proc/hub.sqlite", "/proc/hub.sqlite cannot be opened"),
            ("DSN", "postgres://hub:secret-password@127.0.0.1:1/hub", "127.0.0.1:1 (DSN)"),
        ] {
            let error = Hub::start_with(&database, Arc::new(MemoryConfig::new()), &[(name, value)]).await;
            let text = error.err().unwrap().to_string();
            assert!(text.contains(told), "{value}: {text}");
            assert!(!text.contains('\n') && !text.contains("secret-password"), "{text}");
        }
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let config = database.config(&[("ADMIN_LISTEN", &address)]);
        let far = FarSides {
            publisher: Arc::new(MemoryConfig::new()),
            usage: Arc::new(MemoryUsage::new(1)),
            nodes: Arc::new(MemoryNodes::new()),
            breakers: Arc::new(MemoryBreakers::new(|| UnixMillis(0))),
            sessions: Arc::new(MemorySessions::new(1, || UnixMillis(0))),
            quotas: Arc::new(MemoryQuotas::new(|| UnixMillis(0))),
        };
        let error = admin_api::start(config, far).await.err().unwrap();
        assert!(error.to_string().starts_with(&format!("ADMIN_LISTEN={address}: cannot listen")), "{error}");
    });
}

#[test]
fn a_dropped_handle_ends_the_server() {
    with_database(Kind::Sqlite, |database| async move {
        let hub = Hub::start(&database).await;
        let client = Client::new(hub.handle.address()).under(TOKEN);
        client.get("/api/v1/health/live").await.expect(200);
        let address = hub.handle.address();
        drop(hub);
        // Gone as soon as its thread has seen it.
        while std::net::TcpStream::connect(address).is_ok() {
            tokio::task::yield_now().await;
        }
    });
}
