//! Metrics. Every name and label set is here; no label has free text, so the number of series is bounded by
//! routes × methods × status classes × fixed words. All names begin with `cch_admin_`: in standalone the gateway's
//! stand on the same page.
//!
//! What happens is counted when it happens; what stands somewhere (revisions, connections, what waits) is looked up
//! by [`Page`] for each reading. A gauge whose value nobody can tell right now is left out of the page.

mod kinds;
mod observe;
mod page;

pub use observe::observe;
pub use page::Page;

use crate::jobs::consume::{ConsumeError, Consumed};
use crate::jobs::open::{OpenError, Opened};
use crate::jobs::reconcile::{Outcome, ReconcileError};
use crate::service::now;
use actix_web::http::{Method, StatusCode};
use kinds::{Known, Maker, Moment};
use page::Seen;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use shared::ids::Revision;
use shared::ports::Backlog;
use std::time::Duration;

/// The metrics of one control plane.
pub struct Metrics {
    registry: Registry,
    http: Http,
    database: Database,
    config: Config,
    usage: Usage,
    budgets: Budgets,
}

struct Http {
    requests: IntCounterVec,
    duration: HistogramVec,
    refusals: IntCounterVec,
}

struct Database {
    up: IntGauge,
    connections: IntGaugeVec,
    connections_max: IntGaugeVec,
}

struct Config {
    revision: IntGauge,
    published_revision: IntGauge,
    published: IntGauge,
    confirmed_age: Known,
    publish_age: Known,
    reconciles: IntCounterVec,
    confirmed_at: Moment,
    published_at: Moment,
}

struct Usage {
    records: IntCounterVec,
    attempts: IntCounter,
    failures: IntCounterVec,
    waiting: Known,
    lent: Known,
    oldest_age: Known,
    dead_letters: Known,
}

struct Budgets {
    opened: IntCounter,
    failures: IntCounterVec,
    held_up: IntGauge,
}

impl Metrics {
    /// A fresh set in a registry of its own, so that two control planes in one process do not meet.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let made = Maker(&registry);
        let build =
            made.gauges("cch_admin_build_info", "Always 1; the label is the release.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let started =
            made.gauge("cch_admin_start_time_seconds", "When the process started, in Unix time.")?;
        started.set(now().0 / 1_000);
        let (http, database) = (Http::new(&made)?, Database::new(&made)?);
        let (config, usage) = (Config::new(&made)?, Usage::new(&made)?);
        let budgets = Budgets::new(&made)?;
        Ok(Self { registry, http, database, config, usage, budgets })
    }

    /// Counts an answered request. `route` is a template, never a path.
    pub fn count_request(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let method = method_label(method);
        self.http.requests.with_label_values(&[route, method, status_class(status)]).inc();
        self.http.duration.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// Counts an answer that is a problem, by its code.
    pub fn count_refusal(&self, reason: &'static str) {
        self.http.refusals.with_label_values(&[reason]).inc();
    }

    /// Counts a step of the reconciler.
    pub fn count_reconcile(&self, step: Result<Outcome, &ReconcileError>) {
        let config = &self.config;
        if let Ok(outcome) = step {
            config.confirmed_at.set(now());
            if outcome == Outcome::Published {
                config.published_at.set(now());
            }
        }
        config.reconciles.with_label_values(&[reconcile_label(step)]).inc();
    }

    /// Counts a step of the consumer.
    pub fn count_usage(&self, step: Result<&Consumed, &ConsumeError>) {
        match step {
            Ok(consumed) => {
                let Consumed { records, booked, refused } = *consumed;
                let known = records.saturating_sub(booked.requests).saturating_sub(refused);
                for (result, count) in [(BOOKED, booked.requests), (DUPLICATE, known), (SET_ASIDE, refused)] {
                    self.usage.records.with_label_values(&[result]).inc_by(big(count));
                }
                self.usage.attempts.inc_by(big(booked.attempts));
            }
            Err(error) => self.usage.failures.with_label_values(&[consume_label(error)]).inc(),
        }
    }

    /// Counts a step of the opener of budgets.
    pub fn count_openings(&self, step: Result<&Opened, &OpenError>) {
        let budgets = &self.budgets;
        match step {
            Ok(Opened { accounts, held_up, .. }) => {
                budgets.opened.inc_by(big(*accounts));
                budgets.held_up.set(i64::from(held_up.is_some()));
            }
            Err(error) => budgets.failures.with_label_values(&[open_label(error)]).inc(),
        }
    }

    /// All metrics as Prometheus reads them. What [`Page`] looks up is as it was at its last reading.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing into memory does not fail; a broken family would leave the page short.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    fn show(&self, seen: &Seen) {
        let Seen { health, pools, backlog, dead_letters } = seen;
        let (database, config, usage) = (&self.database, &self.config, &self.usage);
        database.up.set(i64::from(health.newest.is_some()));
        for pool in pools {
            database.connections.with_label_values(&[pool.name, "in_use"]).set(pool.in_use.into());
            database.connections.with_label_values(&[pool.name, "idle"]).set(pool.idle.into());
            database.connections_max.with_label_values(&[pool.name]).set(pool.max.into());
        }
        let number = |revision: Option<Revision>| revision.map_or(0, |r| r.0.cast_signed());
        config.revision.set(number(health.newest));
        config.published_revision.set(number(health.published));
        config.published.set(i64::from(health.is_published()));
        config.confirmed_age.set(config.confirmed_at.age_secs());
        config.publish_age.set(config.published_at.age_secs());
        usage.waiting.set(backlog.map(|b| gauge(b.waiting)));
        usage.lent.set(backlog.map(|b| gauge(b.lent)));
        let oldest_age = |b: Backlog| b.oldest_at.map_or(0, |at| gauge(now().since(at) / 1_000));
        usage.oldest_age.set(backlog.map(oldest_age));
        usage.dead_letters.set(dead_letters.map(gauge));
    }
}

impl Http {
    fn new(made: &Maker<'_>) -> prometheus::Result<Self> {
        let duration = HistogramOpts::new(
            "cch_admin_http_request_duration_seconds",
            "From the head of an API request to its answer.",
        );
        let duration = duration.buckets(vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]);
        let duration = HistogramVec::new(duration, &["route", "method"])?;
        Ok(Self {
            requests: made.counters(
                "cch_admin_http_requests_total",
                "Answered API requests; route: a template, or none.",
                &["route", "method", "status_class"],
                &[],
            )?,
            duration: made.kept(duration)?,
            refusals: made.counters(
                "cch_admin_refusals_total",
                "API requests answered with a problem, by its code.",
                &["reason"],
                &[],
            )?,
        })
    }
}

impl Database {
    fn new(made: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            up: made.gauge("cch_admin_database_up", "1 while the database answers.")?,
            connections: made.gauges(
                "cch_admin_database_connections",
                "Open connections by state; pool: shared (Postgres), reader or writer (SQLite).",
                &["pool", "state"],
            )?,
            connections_max: made.gauges(
                "cch_admin_database_connections_max",
                "The most connections a pool may have; who finds none free waits up to 5 s.",
                &["pool"],
            )?,
        })
    }
}

impl Config {
    fn new(made: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            revision: made.gauge(
                "cch_admin_config_revision",
                "The newest configuration in the database; 0: not known.",
            )?,
            published_revision: made.gauge(
                "cch_admin_config_published_revision",
                "The newest published configuration; 0: not known.",
            )?,
            published: made
                .gauge("cch_admin_config_published", "1 while the newest configuration is published.")?,
            confirmed_age: made.known(
                "cch_admin_config_confirmed_age_seconds",
                "Since the newest configuration was last known to be published.",
            )?,
            publish_age: made.known(
                "cch_admin_config_publish_age_seconds",
                "Since this process last published a configuration.",
            )?,
            reconciles: made.counters(
                "cch_admin_reconciles_total",
                "Comparisons of the database's configuration with the published one, by result.",
                &["result"],
                &RECONCILE_RESULTS,
            )?,
            confirmed_at: Moment::default(),
            published_at: Moment::default(),
        })
    }
}

impl Usage {
    fn new(made: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            records: made.counters(
                "cch_admin_usage_records_total",
                "Usage records taken, by what became of them.",
                &["result"],
                &[BOOKED, DUPLICATE, SET_ASIDE],
            )?,
            attempts: made.kept(IntCounter::new(
                "cch_admin_usage_attempts_booked_total",
                "Rows that the ledger got.",
            )?)?,
            failures: made.counters(
                "cch_admin_usage_failures_total",
                "Times that usage could not be booked and is tried again, by what failed.",
                &["reason"],
                &["source", "database", "deadline"],
            )?,
            waiting: made.known("cch_admin_usage_waiting", "Usage records that are not acknowledged yet.")?,
            lent: made.known("cch_admin_usage_lent", "How many of them an admin side is at.")?,
            oldest_age: made.known(
                "cch_admin_usage_oldest_age_seconds",
                "Since the oldest of them was handed over; 0: there is none.",
            )?,
            dead_letters: made.known(
                "cch_admin_usage_dead_letters",
                "Records in usage_dead_letters: in no book until somebody mends them.",
            )?,
        })
    }
}

impl Budgets {
    fn new(made: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            opened: made.kept(IntCounter::new(
                "cch_admin_budgets_opened_total",
                "Budgets of users and providers that were opened from the ledger.",
            )?)?,
            failures: made.counters(
                "cch_admin_budget_failures_total",
                "Times that budgets could not be opened and are tried again, by what failed.",
                &["reason"],
                &["store", "database", "deadline"],
            )?,
            held_up: made.gauge(
                "cch_admin_budgets_held_up",
                "1 while no budget may be opened: a gateway has not said yet what it holds, or what a dead one left is in nobody's hands.",
            )?,
        })
    }
}

fn open_label(error: &OpenError) -> &'static str {
    match error {
        OpenError::Store(_) => "store",
        OpenError::Database(_) => "database",
        OpenError::Deadline => "deadline",
    }
}

fn reconcile_label(step: Result<Outcome, &ReconcileError>) -> &'static str {
    let [level, published, overtaken, database, publisher, deadline] = RECONCILE_RESULTS;
    match step {
        Ok(Outcome::Level) => level,
        Ok(Outcome::Published) => published,
        Ok(Outcome::Overtaken) => overtaken,
        Err(ReconcileError::Database(_)) => database,
        Err(ReconcileError::Publisher(_)) => publisher,
        Err(ReconcileError::Deadline) => deadline,
    }
}

fn consume_label(error: &ConsumeError) -> &'static str {
    match error {
        ConsumeError::Source(_) => "source",
        ConsumeError::Database(_) => "database",
        ConsumeError::Deadline => "deadline",
    }
}

/// Anybody can send a method of their own making.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn big(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What a step of the reconciler can come to.
const RECONCILE_RESULTS: [&str; 6] =
    ["level", "published", "overtaken", "database_failed", "publisher_failed", "timed_out"];
const BOOKED: &str = "booked";
const DUPLICATE: &str = "duplicate";
const SET_ASIDE: &str = "set_aside";
