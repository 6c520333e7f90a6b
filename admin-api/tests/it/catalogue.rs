//! Prices and settings.

use crate::hub::{Database, Hub, on_both};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, EntityTrait};
use serde_json::{Value, json};
use shared::model::{BillingModelSource, TierSource};
use shared::money::PicoUsd;
use shared::rules::pricing::seed_entries;
use std::sync::Arc;

on_both!(on:
    the_bundled_table_is_there_and_published,
    a_manual_price_wins_until_it_is_deleted,
    settings_are_changed_and_published,
);

mod with_a_database {
    crate::hub::on_both!(with_database:
        a_new_bundled_table_leaves_manual_prices_alone,
        the_zone_is_that_of_the_environment_until_an_admin_sets_one,
    );
    use super::{
        a_new_bundled_table_leaves_manual_prices_alone,
        the_zone_is_that_of_the_environment_until_an_admin_sets_one,
    };
}

async fn the_bundled_table_is_there_and_published(hub: Hub) {
    let entries = seed_entries().unwrap();
    assert_eq!(hub.snapshot().await.core.prices.len(), entries.len());
    let mut names = Vec::new();
    let mut path = "/api/v1/model-prices?limit=200".to_owned();
    loop {
        let page = hub.client.get(&path).await.expect(200);
        names.extend(
            page["items"].as_array().unwrap().iter().map(|p| p["model"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/model-prices?limit=200&cursor={cursor}");
    }
    names.sort();
    assert!(names.iter().eq(entries.keys()));
    let with_slash = names.iter().find(|n| n.contains('/')).unwrap();
    let price = hub.client.get(&format!("/api/v1/model-prices/{with_slash}")).await.expect(200);
    assert_eq!((&price["model"], &price["source"]), (&json!(with_slash), &json!("seed")));
}

async fn a_manual_price_wins_until_it_is_deleted(hub: Hub) {
    let entries = seed_entries().unwrap();
    let model = entries.keys().find(|m| !m.contains(['/', ':', '@'])).unwrap();
    let path = format!("/api/v1/model-prices/{model}");
    let bundled = hub.client.get(&path).await.expect(200);
    let prices = json!({ "input_cost_per_token": "0.000003", "output_cost_per_token": 1.5e-5 });
    let put = hub.client.put(&path, json!({ "prices": prices })).await.expect(200);
    assert_eq!(put["source"], "manual");
    assert_eq!(
        put["prices"],
        json!({ "input_cost_per_token": "0.000003", "output_cost_per_token": "0.000015" })
    );
    let published = &hub.snapshot().await.core.prices[model];
    assert_eq!(published.base.input, Some(PicoUsd(3_000_000)));
    assert_eq!(published.base.output, Some(PicoUsd(15_000_000)));
    let listed = hub.client.get("/api/v1/model-prices?source=manual").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let listed = hub.client.get(&format!("/api/v1/model-prices?q={model}&source=seed")).await.expect(200);
    assert!(listed["items"].as_array().unwrap().iter().all(|p| p["model"] != json!(model)));

    hub.client
        .put(&path, json!({ "prices": { "input_cost": 1 } }))
        .await
        .expect_problem(422, "validation_failed");
    hub.client.delete(&path).await.expect(204);
    assert_eq!(hub.client.get(&path).await.expect(200), bundled);
    hub.client.delete(&path).await.expect_problem(404, "not_found");
    let own = "/api/v1/model-prices/our/own-model";
    hub.client.put(own, json!({ "prices": { "input_cost_per_token": 1 } })).await.expect(200);
    hub.client.delete(own).await.expect(204);
    hub.client.get(own).await.expect_problem(404, "not_found");
}

async fn settings_are_changed_and_published(hub: Hub) {
    let settings = hub.client.get("/api/v1/settings").await.expect(200);
    assert_eq!(settings["billing_model_source"], "original");
    assert_eq!(settings["log_retention_days"], 90);
    assert_eq!(settings["intercept_anthropic_warmup_requests"], false);
    let body = json!({ "billing_model_source": "redirected", "intercept_anthropic_warmup_requests": true });
    let changed = hub.client.patch("/api/v1/settings", body).await.expect(200);
    assert_eq!(changed["billing_model_source"], "redirected");
    assert_eq!(changed["tier_billing_source"], "requested");
    assert_eq!(changed["intercept_anthropic_warmup_requests"], true);
    let published = hub.snapshot().await;
    assert_eq!(published.core.settings.billing_model_source, BillingModelSource::Redirected);
    assert_eq!(published.core.settings.tier_billing_source, TierSource::Requested);
    assert!(published.core.settings.intercept_anthropic_warmup_requests);
    for body in [
        json!({ "site_title": "x" }),
        json!({ "tier_billing_source": null }),
        json!({ "intercept_anthropic_warmup_requests": null }),
        json!({ "log_retention_days": 3651 }),
        json!({ "timezone": "Mars/Olympus" }),
        json!({ "timezone": "" }),
        json!({ "timezone_source": "setting" }),
    ] {
        hub.client.patch("/api/v1/settings", body).await.expect_problem(422, "validation_failed");
    }
}

async fn the_zone_is_that_of_the_environment_until_an_admin_sets_one(database: Arc<Database>) {
    // Each start has another far side, which learns all that is in force.
    let start = async |tz: &str| {
        let hub = Hub::start_with(&database, Arc::default(), &[("TZ", tz)]).await.unwrap();
        let settings = hub.client.get("/api/v1/settings").await.expect(200);
        let published = hub.snapshot().await.core.settings.timezone.name().to_owned();
        assert_eq!(settings["timezone"], published);
        (hub, published, settings["timezone_source"].as_str().unwrap().to_owned())
    };
    let (hub, zone, source) = start("").await;
    assert_eq!((zone.as_str(), source.as_str()), ("UTC", "environment"));
    let revision = hub.revision().await;
    hub.handle.stop().await.unwrap();
    let (hub, zone, source) = start("asia/shanghai").await;
    assert_eq!((zone.as_str(), source.as_str()), ("Asia/Shanghai", "environment"));
    assert!(hub.revision().await > revision, "gateways that know the old zone hear of the new one");
    let entry = hub.client.get("/api/v1/audit-log").await.expect(200)["items"][0].clone();
    assert_eq!(
        (&entry["actor"], &entry["after"]["timezone"]),
        (&json!("environment"), &json!("Asia/Shanghai"))
    );
    let set = json!({ "timezone": "Europe/Berlin" });
    let settings = hub.client.patch("/api/v1/settings", set).await.expect(200);
    assert_eq!(settings["timezone_source"], "setting");
    let revision = hub.revision().await;
    hub.handle.stop().await.unwrap();
    let (hub, zone, source) = start("asia/shanghai").await;
    assert_eq!((zone.as_str(), source.as_str()), ("Europe/Berlin", "setting"));
    assert_eq!(hub.revision().await, revision, "a start that changes nothing makes no revision");
    hub.client.patch("/api/v1/settings", json!({ "timezone": null })).await.expect(200);
    assert_eq!(hub.snapshot().await.core.settings.timezone.name(), "Asia/Shanghai");
    hub.handle.stop().await.unwrap();
}

async fn a_new_bundled_table_leaves_manual_prices_alone(database: Arc<Database>) {
    use admin_api::repo::entity::{model_prices, settings};
    let hub = Hub::start(&database).await;
    hub.client
        .put("/api/v1/model-prices/mine", json!({ "prices": { "input_cost_per_token": 1 } }))
        .await
        .expect(200);
    let revision = hub.revision().await;
    hub.handle.stop().await.unwrap();

    // The same table again: nothing happens.
    let hub = Hub::start(&database).await;
    assert_eq!(hub.revision().await, revision);
    // As if an older release had been here: a price that is gone, one that was different, one that is missing.
    let names: Vec<String> = seed_entries().unwrap().into_keys().take(2).collect();
    let tx = hub.handle.admin().db().write().await.unwrap();
    let old =
        settings::ActiveModel { id: Set(1), price_seed_digest: Set("old".to_owned()), ..Default::default() };
    old.update(&tx).await.unwrap();
    let key = |model: &str| (model.to_owned(), "seed".to_owned());
    model_prices::Entity::delete_by_id(key(&names[0])).exec(&tx).await.unwrap();
    for model in [&names[1], "gone"] {
        let row = model_prices::Model {
            model: model.to_owned(),
            source: "seed".to_owned(),
            prices: r#"{"input_cost_per_token":9}"#.to_owned(),
            revision: 1,
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        admin_api::repo::catalogue::put_price(&tx, row).await.unwrap();
    }
    tx.commit().await.unwrap();
    hub.handle.stop().await.unwrap();

    let hub = Hub::start(&database).await;
    assert!(hub.revision().await > revision);
    hub.client.get("/api/v1/model-prices/gone").await.expect_problem(404, "not_found");
    let mine = hub.client.get("/api/v1/model-prices/mine").await.expect(200);
    assert_eq!(mine["prices"], json!({ "input_cost_per_token": "1.00" }));
    let prices = &hub.snapshot().await.core.prices;
    assert_eq!(prices.len(), seed_entries().unwrap().len() + 1);
    assert_ne!(prices[&names[1]].base.input, Some(PicoUsd(9_000_000_000_000)));
    let audit = hub.client.get("/api/v1/audit-log?action=model_price.refresh_seed").await.expect(200);
    assert_eq!(audit["items"][0]["after"], json!({ "written": 2, "removed": 1 }));
    assert_eq!(audit["items"][0]["before"], Value::Null);
}
