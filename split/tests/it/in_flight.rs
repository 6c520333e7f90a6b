//! An admin sees what runs on every gateway.

use crate::harness::{Admin, Shape, message, open};
use http::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};
use simulator::{Hang, Refuser, Script};
use testbed::{Client, eventually};

async fn listed(admin: &Admin, query: &str) -> Value {
    admin.get(&format!("/api/v1/requests/in-flight{query}")).await
}

/// A stream that begins and then falls silent.
async fn silent_stream(seats: &Client, secret: &str) -> Response<Incoming> {
    let script = Script::hanging(Hang::MidStream(3)).to_header();
    let answer = open(seats, secret, &[("x-sim-script", &*script)], &message(true)).await;
    assert_eq!(answer.status(), 200);
    answer
}

async fn make_provider(admin: &Admin, name: &str, url: String, priority: u32) -> Value {
    let body = json!({
        "name": name, "provider_type": "claude", "url": url, "key": "sk-simulated",
        "priority": priority, "max_attempts": 1, "client_abort": "cancel",
    });
    admin.post("/api/v1/providers", body).await["id"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_streams_of_all_gateways_are_listed_with_their_newest_attempts_until_they_end() {
    let shape = Shape::new().await;
    let admin = shape.admin("admin").await;
    let mut gateways = [shape.gateway("a").await, shape.gateway("b").await];
    let nobody = Refuser::start().unwrap();
    let refusing = make_provider(&admin, "refusing", nobody.base_url(), 0).await;
    let serving = make_provider(&admin, "serving", shape.upstream.base_url(), 1).await;
    let seat = admin.post("/api/v1/users", json!({ "name": "Ada" })).await;
    let secret = seat["key"]["secret"].as_str().unwrap();
    admin.in_force_on(2).await;
    let idle = listed(&admin, "").await;
    assert_eq!((&idle["items"], &idle["left_out"]), (&json!([]), &json!(0)));

    let first = silent_stream(&gateways[0].seats, secret).await;
    let second = silent_stream(&gateways[1].seats, secret).await;
    let ids = [&first, &second].map(|answer| answer.headers()["x-request-id"].to_str().unwrap().to_owned());
    eventually("both are listed, the older one first", || async {
        let items = listed(&admin, "").await["items"].clone();
        ids.iter().enumerate().all(|(n, id)| items[n]["id"] == **id && items[n]["attempt"] == 2)
    })
    .await;
    let all = listed(&admin, "").await;
    let (item, other) = (&all["items"][0], &all["items"][1]);
    for (field, value) in [
        ("user_id", seat["user"]["id"].clone()),
        ("key_id", seat["key"]["id"].clone()),
        ("provider_id", serving.clone()),
        ("model", json!("claude-sonnet-4-5")),
        ("endpoint", json!("anthropic_messages")),
        ("is_stream", json!(true)),
    ] {
        assert_eq!((&item[field], &other[field]), (&value, &value), "{field}");
    }
    let nodes = all["nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), &all["left_out"]), (2, &json!(0)));
    for (item, id) in [item, other].into_iter().zip(&ids) {
        let of_node = listed(&admin, &format!("?node_id={}", item["node_id"].as_str().unwrap())).await;
        assert_eq!((of_node["items"].as_array().unwrap().len(), &of_node["items"][0]["id"]), (1, &json!(id)));
    }
    assert_eq!(listed(&admin, &format!("?provider_id={refusing}")).await["items"], json!([]));
    let of_provider = listed(&admin, &format!("?provider_id={serving}")).await;
    assert_eq!(of_provider["items"].as_array().unwrap().len(), 2);

    drop(first);
    eventually("only the other one is listed", || async {
        let items = listed(&admin, "").await["items"].clone();
        items.as_array().unwrap().len() == 1 && items[0]["id"] == *ids[1]
    })
    .await;
    admin.logs(1).await;
    assert_eq!(admin.get("/api/v1/logs").await["items"][0]["id"], json!(ids[0]), "it is in the log instead");
    drop(second);
    for gateway in &mut gateways {
        gateway.process.stop().await;
    }
    assert_eq!(listed(&admin, "").await, json!({ "items": [], "left_out": 0, "nodes": [] }));
}
