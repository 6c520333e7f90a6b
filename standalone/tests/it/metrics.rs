//! The operators' page of one process with both halves, and the list of metrics in the README.

use crate::harness::{ADMIN_TOKEN, Hub, command};
use http::Method;
use http_body_util::BodyExt;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of metrics that stand between two of these marks.
fn names(text: &str, mark: char) -> BTreeSet<String> {
    let words = text.split(mark).skip(1).step_by(2);
    let is_name =
        |word: &&str| word.starts_with("cch_") && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    words.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn the_readme_lists_the_metrics_that_there_are() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
    let mut made = BTreeSet::new();
    for path in
        ["gateway/src/telemetry.rs", "admin-api/src/telemetry/mod.rs", "redis-adapters/src/telemetry.rs"]
    {
        let source = read(path);
        // Line by line: an odd mark in a comment must not turn the rest inside out.
        made.extend(source.lines().flat_map(|line| names(line, '"')));
    }
    let listed: BTreeSet<_> = read("README.md").lines().flat_map(|line| names(line, '`')).collect();
    assert!(made.len() > 20);
    assert_eq!(listed, made);
}

#[tokio::test]
async fn one_page_shows_both_halves_and_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let mut command = command(data.path());
    command.env("ADMIN_TOKEN", ADMIN_TOKEN);
    let hub = Hub::start(command).await;
    let page = hub.call(Method::GET, &hub.word_after("operators "), "", None).await;
    let page = page.into_body().collect().await.unwrap().to_bytes();
    let page = std::str::from_utf8(&page).unwrap();
    let mut families = BTreeSet::new();
    for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().unwrap();
        assert!(families.insert(name), "{name} is there twice");
    }
    for name in ["cch_config_revision", "cch_admin_config_revision", "cch_admin_usage_waiting"] {
        assert!(families.contains(name), "{name}: {page}");
    }
    assert!(page.contains("cch_admin_database_up 1"), "{page}");
    hub.terminate();
    assert!(hub.ended().await.success());
}
