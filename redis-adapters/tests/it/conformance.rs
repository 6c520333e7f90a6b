//! The suite that the in-process adapters pass, over Redis, plain and with TLS.

use crate::redis::{Door, Linked, PATIENCE, Redis, named};
use redis_adapters::{
    Link, RedisBreakers, RedisConfig, RedisFeed, RedisNodes, RedisPublisher, RedisQuotas, RedisUsage,
};
use shared::contract::keys::USAGE_JOURNAL_BOUND;
use shared::testing::conformance;
use std::sync::Arc;
use tokio::time::timeout;

async fn conforms(redis: &Redis, config: &RedisConfig) {
    let link = Link::open(config).unwrap();
    timeout(PATIENCE, link.connected()).await.expect("a connection in time");
    let feed = RedisFeed::open(config, link.clone()).unwrap();
    let suite = async {
        conformance::config(&*RedisPublisher::new(link.clone()), &*feed).await;
        let usage = RedisUsage::taken_by(link.clone(), named("one"));
        conformance::usage(&*usage, &*usage, USAGE_JOURNAL_BOUND).await;
        conformance::usage_before_a_loss(&*usage, &*usage).await;
        redis.cli(&["FLUSHALL"]);
        conformance::usage_after_a_loss(&*usage, &*usage).await;
        conformance::nodes(&*RedisNodes::new(link.clone())).await;
        let breakers = RedisBreakers::open(config, link.clone()).unwrap();
        conformance::breakers(&*breakers).await;
        breakers.close().await;
        let quotas = RedisQuotas::open(config, link.clone()).unwrap();
        conformance::quotas(&*quotas).await;
        quotas.close().await;
    };
    timeout(PATIENCE, suite).await.expect("the suite ends in time");
}

#[tokio::test]
async fn the_adapters_conform() {
    let redis = Redis::start().await;
    conforms(&redis, &redis.config()).await;
}

#[tokio::test]
async fn the_adapters_conform_over_tls() {
    let redis = Redis::start().await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let tls = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
        .unwrap();
    let door = Door::open(redis.socket(), Some(Arc::new(tls))).await;
    let url = format!("rediss://localhost:{}", door.address.port());
    conforms(&redis, &RedisConfig::new(url.clone(), Some(ca_file))).await;

    // Nobody vouches for it: no connection, whatever else is in the file.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other_file = directory.path().join("other.pem");
    std::fs::write(&other_file, other.cert.pem()).unwrap();
    let stranger = Link::open(&RedisConfig::new(url.clone(), Some(other_file))).unwrap();
    let nodes = RedisNodes::new(stranger);
    assert!(shared::ports::NodeRegistry::nodes(&*nodes).await.is_err());
    std::fs::write(directory.path().join("none.pem"), "nothing").unwrap();
    let none = Link::open(&RedisConfig::new(url, Some(directory.path().join("none.pem")))).err().unwrap();
    assert!(none.to_string().starts_with("REDIS_CA_FILE="), "{none}");
}
