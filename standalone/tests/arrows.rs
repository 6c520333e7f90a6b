//! The arrows between the crates, as ARCHITECTURE.md draws them.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot read the graph must stop; clippy only knows functions marked #[test]"
)]

use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

/// All packages that a workspace crate needs at run time, directly or not.
fn reach(from: &str) -> BTreeSet<String> {
    reach_with(from, &[])
}

/// The same with these flags about features.
fn reach_with(from: &str, flags: &[&str]) -> BTreeSet<String> {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let metadata = MetadataCommand::new().other_options(flags).exec().expect("cargo metadata answers");
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.to_string())).collect();
    let start = metadata.packages.iter().find(|p| p.name.as_str() == from).expect("the crate is a member");
    let mut seen = BTreeSet::new();
    let mut open = vec![&start.id];
    while let Some(id) = open.pop() {
        let node = resolve.nodes.iter().find(|n| &n.id == id).expect("a node for each package");
        for dep in &node.deps {
            let is_normal = dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
            if is_normal && seen.insert(names[&dep.pkg].clone()) {
                open.push(&dep.pkg);
            }
        }
    }
    seen
}

fn assert_knows_nothing_of(crate_name: &str, forbidden: &[&str]) {
    assert_lacks(crate_name, &reach(crate_name), forbidden);
}

fn assert_lacks(crate_name: &str, reach: &BTreeSet<String>, forbidden: &[&str]) {
    for name in reach {
        let is_forbidden = forbidden.iter().any(|f| name == f || name.starts_with(&format!("{f}-")));
        assert!(!is_forbidden, "{crate_name} must not depend on {name}");
    }
    assert!(!reach.is_empty());
}

#[test]
fn shared_does_no_io() {
    // Not `mio`: the graph shows tokio with all features that any crate of the workspace turns on.
    let io = ["fred", "sea-orm", "sqlx", "hyper", "pingora", "actix-web", "reqwest"];
    assert_knows_nothing_of("shared", &io);
}

#[test]
fn the_gateway_knows_no_database_and_no_actix() {
    assert_knows_nothing_of(
        "gateway",
        &["sea-orm", "sqlx", "actix-web", "migrations", "admin-api", "simulator", "redis-adapters", "fred"],
    );
}

#[test]
fn the_redis_adapters_know_neither_half() {
    assert_knows_nothing_of(
        "redis-adapters",
        &["pingora", "gateway", "sea-orm", "sqlx", "actix-web", "migrations", "admin-api", "simulator"],
    );
}

#[test]
fn the_admin_side_never_proxies() {
    assert_knows_nothing_of("admin-api", &["pingora", "gateway", "simulator", "redis-adapters", "fred"]);
}

#[test]
fn each_binary_of_the_split_shape_can_be_built_without_the_other_half() {
    let without = |feature| reach_with("split", &["--no-default-features", "--features", feature]);
    let gateway = without("split/gateway");
    assert_lacks(
        "cch-gateway",
        &gateway,
        &["sea-orm", "sqlx", "actix-web", "migrations", "admin-api", "simulator"],
    );
    assert!(gateway.contains("pingora"));
    let admin = without("split/admin");
    assert_lacks("cch-admin", &admin, &["pingora", "gateway", "simulator"]);
    assert!(admin.contains("actix-web"));
}

#[test]
fn the_way_out_knows_neither_half() {
    let others =
        ["pingora", "gateway", "sea-orm", "sqlx", "actix-web", "admin-api", "fred", "hyper", "reqwest"];
    assert_knows_nothing_of("egress", &others);
}

#[test]
fn what_all_binaries_share_knows_neither_half() {
    for name in ["process", "testbed"] {
        assert_knows_nothing_of(
            name,
            &["pingora", "gateway", "sea-orm", "sqlx", "actix-web", "admin-api", "fred"],
        );
    }
}

#[test]
fn the_simulator_knows_nothing_of_what_it_tests() {
    assert_knows_nothing_of("simulator", &["shared", "gateway", "admin-api"]);
}

#[test]
fn the_bench_measures_the_hot_path_alone() {
    assert_knows_nothing_of(
        "bench",
        &["sea-orm", "sqlx", "actix-web", "migrations", "admin-api", "simulator"],
    );
}

#[test]
fn there_is_one_crypto_provider() {
    for start in ["standalone", "split"] {
        let all = reach(start);
        assert!(all.contains("ring"));
        let others: Vec<_> = all.iter().filter(|n| n.starts_with("aws-lc") || *n == "openssl-sys").collect();
        assert!(others.is_empty(), "{start}: {others:?}");
    }
}
