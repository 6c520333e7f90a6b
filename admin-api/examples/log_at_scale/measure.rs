//! Asks the admin API as a console would, fifty times each, and shows what the database did for it.

use crate::TOKEN;
use crate::seed::value;
use admin_api::AdminHandle;
use admin_api::repo::logs::{LogFilter, select_requests};
use admin_api::repo::sums::{By, Of, Question};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{ConnectionTrait, DbBackend, QueryTrait};
use shared::time::UnixMillis;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use testbed::{Client, Postgres, Times};

const CALLS: usize = 50;
const DAY_MS: i64 = 86_400_000;

/// A kind of call: its name, and the call's query for the n-th time.
type Case<'a> = (&'a str, Box<dyn Fn(usize) -> String + 'a>);

/// Measures and prints all.
pub async fn all(server: &Postgres, hub: &AdminHandle) {
    let newest: i64 = value(server, "SELECT max(created_at_ms) FROM request_log").parse().unwrap();
    let facts = Facts::of(server, newest);
    let http = Client::new(hub.address()).under(TOKEN);
    let base = "/api/v1/logs";
    println!("\n| GET /api/v1/logs | rows | p50 ms | p95 ms | slowest ms |\n|---|---|---|---|---|");
    for (name, query) in cases(&facts) {
        let mut times = Vec::new();
        let mut rows = 0;
        for n in 0..CALLS {
            let began = Instant::now();
            let body = get(&http, &format!("{base}{}", query(n))).await;
            times.push(began.elapsed());
            rows = rows.max(body.matches("\"created_at\"").count());
        }
        print_times(name, &rows.to_string(), times);
    }
    sums(server, hub, newest).await;
    export(&http, base, &facts).await;
    plans(server, &facts);
}

/// Values to filter by, from common to rare.
struct Facts {
    newest: i64,
    ids: Vec<String>,
    sessions: Vec<String>,
}

impl Facts {
    fn of(server: &Postgres, newest: i64) -> Self {
        let some = |column: &str| {
            let sql = format!(
                "SELECT {column} FROM request_log TABLESAMPLE SYSTEM (0.2) WHERE {column} IS NOT NULL ORDER BY random() LIMIT 50"
            );
            server.sql("hub", &sql).lines().map(str::to_owned).collect()
        };
        Self { newest, ids: some("id"), sessions: some("session_id") }
    }

    /// `n` of 50 calls: users 1, 41, … 1 961, the busiest first.
    fn user(n: usize) -> usize {
        1 + n * 40
    }

    fn deep(&self, days: i64) -> String {
        let place = serde_json::json!([self.newest - days * DAY_MS, "ffffffff"]);
        format!("cursor={}", URL_SAFE_NO_PAD.encode(place.to_string()))
    }

    fn moment(&self, days_ago: i64) -> String {
        shared::time::UnixMillis(self.newest - days_ago * DAY_MS).to_string()
    }
}

fn cases(facts: &Facts) -> Vec<Case<'_>> {
    let user = Facts::user;
    let status = |n: usize| [200, 400, 403, 429, 499, 500, 502, 503, 529, 418][n % 10];
    let blocked = |n: usize| ["rate_limited", "model_not_allowed", "no_such_reason"][n % 3];
    let week = || format!("from={}&to={}", facts.moment(9), facts.moment(2));
    let session = |n: usize| &facts.sessions[n % facts.sessions.len()];
    let deep = |n: usize| facts.deep(10 + 70 * i64::try_from(n).unwrap_or(0) / 50);
    vec![
        ("first page", Box::new(|_| String::new())),
        ("a page 10 to 80 days deep", Box::new(move |n| format!("?{}", deep(n)))),
        ("200 items", Box::new(|_| "?limit=200".to_owned())),
        ("user_id", Box::new(move |n| format!("?user_id={}", user(n)))),
        ("user_id, deep", Box::new(move |n| format!("?user_id={}&{}", user(n), deep(n)))),
        ("key_id", Box::new(move |n| format!("?key_id={}", 2 * user(n) - n % 2))),
        ("provider_id", Box::new(|n| format!("?provider_id={}", n + 1))),
        ("provider_id, deep", Box::new(move |n| format!("?provider_id={}&{}", n + 1, deep(n)))),
        ("model", Box::new(|n| format!("?model=model-{}", n % 40))),
        ("model, deep", Box::new(move |n| format!("?model=model-{}&{}", n % 40, deep(n)))),
        ("model that nobody used", Box::new(|n| format!("?model=none-{n}"))),
        ("status", Box::new(move |n| format!("?status={}", status(n)))),
        ("status, deep", Box::new(move |n| format!("?status={}&{}", status(n), deep(n)))),
        ("session_id", Box::new(move |n| format!("?session_id={}", session(n)))),
        ("blocked_by", Box::new(move |n| format!("?blocked_by={}", blocked(n)))),
        ("blocked_by, deep", Box::new(move |n| format!("?blocked_by={}&{}", blocked(n), deep(n)))),
        ("from, to (a week)", Box::new(move |_| format!("?{}", week()))),
        ("user_id, a week", Box::new(move |n| format!("?user_id={}&{}", user(n), week()))),
        ("user_id, model", Box::new(move |n| format!("?user_id={}&model=model-{}", user(n), n % 40))),
        ("user_id, status", Box::new(move |n| format!("?user_id={}&status={}", user(n), status(n)))),
        ("user_id, blocked_by", Box::new(move |n| format!("?user_id={}&blocked_by={}", user(n), blocked(n)))),
        ("key_id, status 429", Box::new(move |n| format!("?key_id={}&status=429", 2 * user(n)))),
        ("provider_id, status", Box::new(move |n| format!("?provider_id={}&status={}", n + 1, status(n)))),
        ("provider_id, model", Box::new(|n| format!("?provider_id={}&model=model-{}", n + 1, (n * 7) % 40))),
        ("user_id, provider_id", Box::new(move |n| format!("?user_id={}&provider_id={}", user(n), 50 - n))),
        (
            "model, status 529, a week",
            Box::new(move |n| format!("?model=model-{}&status=529&{}", n % 40, week())),
        ),
        ("one request (/{id})", Box::new(|n| format!("/{}", facts.ids[n % facts.ids.len()]))),
        ("one that is not there (/{id})", Box::new(|n| format!("/{}", absent(facts, n)))),
    ]
}

/// The id of a request that might have been.
fn absent(facts: &Facts, n: usize) -> String {
    let id = &facts.ids[n % facts.ids.len()];
    format!("{}eeeeeeeeeeee", &id[..id.len() - 12])
}

async fn get(http: &Client, path: &str) -> String {
    let answer = http.get(path).await;
    assert!(answer.status == 200 || path.ends_with("eeeeeeeeeeee"), "{} {path}", answer.status);
    answer.text
}

fn print_times(name: &str, rows: &str, times: Vec<Duration>) {
    let times = Times::of(times);
    let ms = |percent: usize| times.within(percent).as_secs_f64() * 1000.0;
    println!("| {name} | {rows} | {:.1} | {:.1} | {:.1} |", ms(50), ms(95), ms(100));
}

/// What statistics will read: no endpoint does yet. The last day is "today", which has no sums of its own.
async fn sums(server: &Postgres, hub: &AdminHandle, newest: i64) {
    let db = hub.admin().db();
    let midnight = newest - newest.rem_euclid(DAY_MS);
    let _ = server.sql("hub", &format!("INSERT INTO usage_days_reopened VALUES ({midnight})"));
    let day = |ago: i64| UnixMillis(midnight - ago * DAY_MS);
    let end = UnixMillis(newest + 1);
    let spans = [
        ("a day", vec![day(0), end]),
        ("30 days", vec![day(29), end]),
        ("30 days from a noon on", vec![UnixMillis(day(30).0 + DAY_MS / 2), end]),
    ];
    println!("\n| sums | rows | p50 ms | p95 ms | slowest ms |\n|---|---|---|---|---|");
    let mut plans = Vec::new();
    for (span, bounds) in spans {
        let by_day: Vec<_> = (0..30).rev().map(day).chain([end]).collect();
        for (name, of, by) in questions() {
            let bounds = if name != "all by day" {
                bounds.clone()
            } else if span == "30 days" {
                by_day.clone()
            } else {
                continue;
            };
            let question = |n: usize| Question { bounds: bounds.clone(), of: of(n), by };
            let mut times = Vec::new();
            let mut rows = 0;
            for n in 0..CALLS {
                let question = question(n);
                let began = Instant::now();
                rows = admin_api::repo::sums::sums(db, &question).await.unwrap().len();
                times.push(began.elapsed());
            }
            print_times(&format!("{name}, {span}"), &rows.to_string(), times);
            if span == "30 days" {
                plans.push((name, question(0)));
            }
        }
    }
    by_hours_alone(hub, &plans).await;
    let hold = admin_api::repo::usage_days::that_hold(db.reader()).await.unwrap();
    for (name, question) in plans {
        let statement = question.statement(DbBackend::Postgres, &hold).unwrap();
        println!("\n{name}, 30 days\n{}", plan(server, &statement.to_string()));
    }
}

/// A kind of question: its name, whose use for the n-th time, and by what.
type Kind = (&'static str, fn(usize) -> Option<Of>, By);

fn questions() -> Vec<Kind> {
    vec![
        ("one user", |n| Some(Of::User(id(Facts::user(n)))), By::Nothing),
        ("one key", |n| Some(Of::Key(2 * id(Facts::user(n)))), By::Nothing),
        ("one provider", |n| Some(Of::Provider(id(n + 1))), By::Nothing),
        ("one model", |n| Some(Of::Model(format!("model-{}", n % 40))), By::Nothing),
        ("all", |_| None, By::Nothing),
        ("all by day", |_| None, By::Nothing),
        ("users", |_| None, By::User),
        ("keys", |_| None, By::Key),
        ("providers", |_| None, By::Provider),
        ("models", |_| None, By::Model),
        ("one user's models", |n| Some(Of::User(id(Facts::user(n)))), By::Model),
        ("one provider's users", |n| Some(Of::Provider(id(n + 1))), By::User),
    ]
}

fn id(n: usize) -> i64 {
    i64::try_from(n).unwrap()
}

/// The same questions as if no day had sums.
async fn by_hours_alone(hub: &AdminHandle, questions: &[(&str, Question)]) {
    let db = hub.admin().db().reader();
    println!("\n| by hours alone, 30 days | rows | p50 ms | p95 ms | slowest ms |\n|---|---|---|---|---|");
    for (name, question) in questions {
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..CALLS {
            let statement = question.statement(DbBackend::Postgres, &BTreeSet::new()).unwrap();
            let began = Instant::now();
            rows = db.query_all_raw(statement).await.unwrap().len();
            times.push(began.elapsed());
        }
        print_times(name, &rows.to_string(), times);
    }
}

async fn export(http: &Client, base: &str, facts: &Facts) {
    let began = Instant::now();
    let url = format!("{base}/export?from={}", facts.moment(1));
    let text = get(http, &url).await;
    let (seconds, lines) = (began.elapsed().as_secs_f64(), text.lines().count());
    println!("\nexport of a day: {lines} lines, {} MB in {seconds:.1} s", text.len() / 1_000_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "of this process, the answer's text included: {}",
        status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default()
    );
}

fn plans(server: &Postgres, facts: &Facts) {
    let none = LogFilter::default;
    let deep = Some((facts.newest - 60 * DAY_MS, "ffffffff".to_owned()));
    let week = LogFilter {
        from_ms: Some(facts.newest - 9 * DAY_MS),
        to_ms: Some(facts.newest - 2 * DAY_MS),
        ..none()
    };
    for (name, filter) in [
        ("first page", none()),
        ("60 days deep", LogFilter { before: deep.clone(), ..none() }),
        ("a busy user", LogFilter { user_id: Some(1), ..none() }),
        ("a quiet user, 60 days deep", LogFilter { user_id: Some(1961), before: deep, ..none() }),
        ("key_id", LogFilter { key_id: Some(800), ..none() }),
        ("provider_id", LogFilter { provider_id: Some(50), ..none() }),
        ("model", LogFilter { model: Some("model-39".to_owned()), ..none() }),
        ("status", LogFilter { status: Some(503), ..none() }),
        ("session_id", LogFilter { session_id: Some(facts.sessions[0].clone()), ..none() }),
        ("blocked_by", LogFilter { blocked_by: Some("rate_limited".to_owned()), ..none() }),
        ("from, to", week.clone()),
        ("user_id, a week", LogFilter { user_id: Some(400), ..week }),
        ("user_id, model", LogFilter { user_id: Some(400), model: Some("model-7".to_owned()), ..none() }),
        ("user_id, status", LogFilter { user_id: Some(1), status: Some(418), ..none() }),
        ("provider_id, status", LogFilter { provider_id: Some(1), status: Some(503), ..none() }),
        ("user_id, provider_id", LogFilter { user_id: Some(1), provider_id: Some(50), ..none() }),
    ] {
        let sql = select_requests(&filter, 50).build(DbBackend::Postgres).to_string();
        println!("\n{name}\n{}", plan(server, &sql));
    }
    let by_id = format!(
        "SELECT * FROM request_log WHERE id = '{}' AND created_at_ms = ('x' || replace(left('{}', 13), '-', ''))::bit(48)::bigint",
        facts.ids[0], facts.ids[0]
    );
    println!("\none request\n{}", plan(server, &by_id));
}

/// The plan as it was run, without the days that it did not come to.
fn plan(server: &Postgres, sql: &str) -> String {
    let plan = server.sql("hub", &format!("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {sql}"));
    let mut kept = Vec::new();
    let (mut left_out, mut shown, mut skips) = (0, 0, None);
    for line in plan.lines() {
        let depth = line.len() - line.trim_start().len();
        if skips.is_some_and(|skipped| depth > skipped) {
            continue;
        }
        skips = None;
        let is_day = line.contains("-> ") && line.contains(" on request_log_");
        let is_idle = line.contains("never executed") || (is_day && line.contains("(actual rows=0 "));
        if is_day && !is_idle {
            shown += 1;
        }
        if is_idle || (is_day && shown > 2) {
            left_out += 1;
            skips = Some(depth);
            continue;
        }
        kept.push(line.to_owned());
    }
    if left_out > 0 {
        kept.push(format!("({left_out} more scans of parts: not run, without a row, or alike)"));
    }
    kept.join("\n")
}
