//! Metrics. Every name and label set is here; no label has free text, so the number of series is bounded by
//! families × status classes × fixed words.

use crate::budgets::Figures;
use crate::hub::{Hub, now};
use crate::journal::Standing;
use parking_lot::Mutex;
use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use shared::contract::usage::{ChainStep, TokenUsage, UsageRecord};
use shared::journal::{Ends, Health};

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    attempts: IntCounterVec,
    probes: IntCounterVec,
    /// One for each of [`TOKEN_CLASSES`].
    tokens: [IntCounter; TOKEN_CLASSES.len()],
    duration: HistogramVec,
    running: IntGauge,
    journal: JournalMetrics,
    budgets: BudgetMetrics,
    revision: IntGauge,
    config_age: IntGauge,
}

impl Metrics {
    /// A fresh set in a registry of its own, so that two gateways in one process do not meet.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("cch_requests_total", "Finished requests of known callers."),
            &["endpoint", "status_class"],
        )?;
        let refusals = IntCounterVec::new(
            Opts::new("cch_refusals_total", "Requests refused here by reason."),
            &["reason"],
        )?;
        let attempts = IntCounterVec::new(
            Opts::new("cch_attempts_total", "Tries at providers by result."),
            &["result"],
        )?;
        let probes = IntCounterVec::new(
            Opts::new("cch_breaker_probes_total", "Smart probes of providers by what they found."),
            &["result"],
        )?;
        let tokens =
            IntCounterVec::new(Opts::new("cch_tokens_total", "Tokens booked by class."), &["class"])?;
        let duration = HistogramVec::new(
            HistogramOpts::new("cch_request_duration_seconds", "From the head of a request to its end.")
                .buckets(vec![0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0]),
            &["endpoint"],
        )?;
        let running = IntGauge::new("cch_requests_in_flight", "Requests being served.")?;
        let revision = IntGauge::new("cch_config_revision", "The configuration in force; 0: none yet.")?;
        let config_age =
            IntGauge::new("cch_config_age_seconds", "Since the configuration in force was confirmed.")?;
        let build = IntGaugeVec::new(
            Opts::new("cch_build_info", "Always 1; the label is the release."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let started = IntGauge::new("cch_start_time_seconds", "When the gateway started, in Unix time.")?;
        started.set(now().0 / 1_000);
        registry.register(Box::new(build))?;
        registry.register(Box::new(started))?;
        registry.register(Box::new(revision.clone()))?;
        registry.register(Box::new(config_age.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(refusals.clone()))?;
        registry.register(Box::new(attempts.clone()))?;
        registry.register(Box::new(probes.clone()))?;
        registry.register(Box::new(tokens.clone()))?;
        let tokens = TOKEN_CLASSES.map(|class| tokens.with_label_values(&[class]));
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(running.clone()))?;
        let journal = JournalMetrics::new(&registry)?;
        let budgets = BudgetMetrics::new(&registry)?;
        Ok(Self {
            registry,
            requests,
            refusals,
            attempts,
            probes,
            tokens,
            duration,
            running,
            journal,
            budgets,
            revision,
            config_age,
        })
    }

    /// Counts a request that was refused here; strangers have no log row, but are counted.
    pub fn count_refusal(&self, reason: &'static str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// Counts a smart probe: `ok`, or whose fault it was that it found nothing well.
    pub fn count_probe(&self, result: &'static str) {
        self.probes.with_label_values(&[result]).inc();
    }

    /// Counts costs above what a strict budget had put aside for them.
    pub fn count_costs_above_hold(&self, count: usize) {
        self.budgets.costs_above_hold.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts a finished request.
    pub fn count(&self, record: &UsageRecord) {
        let request = &record.request;
        let endpoint = request.endpoint.as_str();
        self.requests.with_label_values(&[endpoint, status_class(request.status)]).inc();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a request are far below 2^52")]
        let seconds = request.timing.duration_ms as f64 / 1_000.0;
        self.duration.with_label_values(&[endpoint]).observe(seconds);
        for step in &request.decision_chain.steps {
            if let ChainStep::Attempted { result, .. } = step {
                self.attempts.with_label_values(&[result.as_str()]).inc();
            }
        }
        for attempt in &record.attempts {
            for (counter, count) in self.tokens.iter().zip(tokens_by_class(&attempt.usage)) {
                counter.inc_by(count);
            }
        }
    }
}

/// What is told of the usage journal.
struct JournalMetrics {
    /// Locked while it is set: two readers of the page must not both add what is new.
    ends: Mutex<IntCounterVec>,
    bytes: IntGauge,
    unbooked: IntGauge,
    is_written: IntGauge,
}

impl JournalMetrics {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let ends = IntCounterVec::new(
            Opts::new("cch_journal_records_total", "Finished requests by what became of their record."),
            &["kept"],
        )?;
        let bytes = IntGauge::new("cch_journal_bytes", "Bytes of the usage journal on disk.")?;
        let unbooked =
            IntGauge::new("cch_journal_unbooked_records", "Records that are not in the books yet.")?;
        let is_written =
            IntGauge::new("cch_journal_writable", "1 while the disk takes the usage journal, else 0.")?;
        registry.register(Box::new(ends.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        registry.register(Box::new(unbooked.clone()))?;
        registry.register(Box::new(is_written.clone()))?;
        Ok(Self { ends: Mutex::new(ends), bytes, unbooked, is_written })
    }

    /// `None`: a disk that does not answer has the journal; what is counted stays as it was.
    fn set(&self, standing: Option<&Standing>, unbooked: u64) {
        let big = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.unbooked.set(big(unbooked));
        self.is_written.set(i64::from(standing.is_some_and(|standing| standing.health == Health::Fine)));
        let Some(standing) = standing else { return };
        let ends = self.ends.lock();
        let Ends { on_disk, in_memory, lost } = standing.ends;
        for (kept, count) in [("on_disk", on_disk), ("in_memory", in_memory), ("lost", lost)] {
            let told = ends.with_label_values(&[kept]);
            told.inc_by(count.saturating_sub(told.get()));
        }
        self.bytes.set(big(standing.bytes));
    }
}

/// What is told of budgets.
struct BudgetMetrics {
    /// Asks by what they came to and calls of the store by what was said; locked while they are set, like that of the journal.
    told: Mutex<[IntCounterVec; 2]>,
    costs_above_hold: IntCounter,
    store_up: IntGauge,
    holds: IntGauge,
    held: Gauge,
    escrowed: Gauge,
    untold: IntGauge,
}

impl BudgetMetrics {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let asks = IntCounterVec::new(
            Opts::new(
                "cch_budget_asks_total",
                "Questions to budgets of users and providers by what they came to.",
            ),
            &["answer"],
        )?;
        let calls = IntCounterVec::new(
            Opts::new(
                "cch_budget_store_calls_total",
                "Calls of the store of budgets on account of requests, by what was said.",
            ),
            &["word"],
        )?;
        let costs_above_hold = IntCounter::new(
            "cch_budget_costs_above_hold_total",
            "Costs above the bound that a strict budget had put aside: a bug.",
        )?;
        let store_up = IntGauge::new("cch_budget_store_up", "1 while the store of budgets answers, else 0.")?;
        let holds = IntGauge::new("cch_budget_holds", "Holds of requests and attempts under way.")?;
        let held = Gauge::new("cch_budget_held_usd", "US dollars that these holds put aside.")?;
        let escrowed =
            Gauge::new("cch_budget_escrowed_usd", "US dollars put aside ahead of requests, and still free.")?;
        let untold =
            IntGauge::new("cch_budget_untold_records", "Records that budgets were not told of yet.")?;
        registry.register(Box::new(asks.clone()))?;
        registry.register(Box::new(calls.clone()))?;
        registry.register(Box::new(costs_above_hold.clone()))?;
        registry.register(Box::new(store_up.clone()))?;
        registry.register(Box::new(holds.clone()))?;
        registry.register(Box::new(held.clone()))?;
        registry.register(Box::new(escrowed.clone()))?;
        registry.register(Box::new(untold.clone()))?;
        let told = Mutex::new([asks, calls]);
        Ok(Self { told, costs_above_hold, store_up, holds, held, escrowed, untold })
    }

    fn set(&self, figures: &Figures) {
        let big = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let [asks, calls] = &*self.told.lock();
        let set = |counter: IntCounter, count: u64| counter.inc_by(count.saturating_sub(counter.get()));
        figures.asks.iter().for_each(|(answer, count)| set(asks.with_label_values(&[answer]), *count));
        figures.calls.iter().for_each(|(word, count)| set(calls.with_label_values(&[word]), *count));
        self.store_up.set(i64::from(figures.does_store_answer));
        self.holds.set(big(figures.holds));
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at, not to count with")]
        self.held.set(figures.held.0 as f64 / 1e9);
        self.escrowed.set(figures.escrowed.0 as f64 / 1e9);
        self.untold.set(big(figures.untold));
    }
}

/// All metrics as Prometheus reads them.
#[must_use]
pub fn render(hub: &Hub) -> String {
    let metrics = &hub.metrics;
    metrics.running.set(i64::try_from(hub.load.running()).unwrap_or(i64::MAX));
    metrics.journal.set(hub.journal.standing().as_ref(), hub.journal.marks().unbooked());
    metrics.budgets.set(&hub.budgets.figures());
    let revision = hub.live.load().revision();
    metrics.revision.set(i64::try_from(revision.0).unwrap_or(i64::MAX));
    if revision.0 > 0 {
        let age_secs = now().since(hub.live.heard_at()) / 1_000;
        metrics.config_age.set(i64::try_from(age_secs).unwrap_or(i64::MAX));
    }
    let mut text = Vec::new();
    // Writing into memory does not fail; a broken family would leave the page short.
    let _ = TextEncoder::new().encode(&metrics.registry.gather(), &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// In the order of [`TOKEN_CLASSES`].
fn tokens_by_class(usage: &TokenUsage) -> [u64; TOKEN_CLASSES.len()] {
    [
        usage.input_tokens + usage.image_input_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.cache_read_tokens,
        usage.output_tokens + usage.image_output_tokens,
    ]
}

fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

const TOKEN_CLASSES: [&str; 5] = ["input", "cache_write_5m", "cache_write_1h", "cache_read", "output"];
