//! The export of the request log: all that fit, in order, as text that a spreadsheet does not run.

use crate::books::book;
use crate::books::record;
use crate::hub::{Hub, on_both};

on_both!(on:
    all_that_fit_are_exported_in_order,
    a_cell_is_neither_run_nor_broken,
    what_is_no_filter_is_refused,
);

async fn all_that_fit_are_exported_in_order(hub: Hub) {
    let db = hub.handle.admin().db();
    let records: Vec<_> = (0..1100).map(record).collect();
    for batch in records.chunks(256) {
        book(db, batch).await.unwrap();
    }
    let answer = hub.client.get("/api/v1/logs/export").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "text/csv; charset=utf-8; header=present")
    );
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"request-log.csv\"");
    let mut lines = answer.text.split("\r\n");
    assert!(lines.next().unwrap().starts_with("id,created_at,user_id,key_id,provider_id,endpoint,model,"));
    let ids: Vec<&str> = lines.filter(|line| !line.is_empty()).map(|line| &line[..36]).collect();
    let expected: Vec<String> = records.iter().rev().map(|r| r.request.id.to_string()).collect();
    assert_eq!(ids, expected);

    let from = records[10].request.started_at.to_string();
    let to = records[20].request.started_at.to_string();
    for (query, count) in [
        (format!("from={from}&to={to}"), 10),
        (format!("from={from}&to={to}&user_id=1&model=model-0&status=200&provider_id=21"), 5),
        (format!("from={from}&to={to}&key_id=11&session_id=session-0"), 1),
        ("blocked_by=model_not_allowed".to_owned(), 0),
    ] {
        let answer = hub.client.get(&format!("/api/v1/logs/export?{query}")).await;
        assert_eq!(answer.text.lines().count(), 1 + count, "{query}");
    }
}

async fn a_cell_is_neither_run_nor_broken(hub: Hub) {
    let mut record = record(1);
    record.request.model = Some("=HYPERLINK(\"http://x\",\"y\")".to_owned());
    record.request.session.session_id = Some("two\r\nlines".to_owned());
    record.request.caller.client = Some("@SUM(1)".to_owned());
    book(hub.handle.admin().db(), &[record]).await.unwrap();
    let text = hub.client.get("/api/v1/logs/export").await.text;
    for cell in [",\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\",", ",\"two\r\nlines\",", ",'@SUM(1),"] {
        assert!(text.contains(cell), "{cell} in {text}");
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().clone();
    let cells = reader.records().next().unwrap().unwrap();
    let of = |name| &cells[names.iter().position(|header| header == name).unwrap()];
    assert_eq!((of("cost_usd"), of("status"), of("is_stream")), ("0.500000001", "200", "true"));
}

async fn what_is_no_filter_is_refused(hub: Hub) {
    for query in ["limit=5", "cursor=x", "from=yesterday", "user_id=x"] {
        let answer = hub.client.get(&format!("/api/v1/logs/export?{query}")).await;
        answer.expect_problem(422, "validation_failed");
    }
    let answer = hub.client.send_raw("GET", "/api/v1/logs/export", &[], "").await;
    answer.expect_problem(401, "unauthenticated");
}
