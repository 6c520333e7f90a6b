//! Kinds of metrics: how they are made, and those that Prometheus' crate has not.

use super::gauge;
use crate::service::now;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use shared::time::UnixMillis;
use std::sync::atomic::{AtomicI64, Ordering};

/// Makes metrics that are in the registry.
pub(super) struct Maker<'a>(pub &'a Registry);

impl Maker<'_> {
    pub fn kept<C: Collector + Clone + 'static>(&self, metric: C) -> prometheus::Result<C> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.kept(IntGauge::new(name, help)?)
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.kept(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub fn known(&self, name: &str, help: &str) -> prometheus::Result<Known> {
        Ok(Known(self.gauges(name, help, &[])?))
    }

    /// The words of the one label that are shown from the start: a rate needs a 0 to rise from.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        words: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let counters = self.kept(IntCounterVec::new(Opts::new(name, help), labels)?)?;
        for word in words {
            counters.get_metric_with_label_values(&[word])?;
        }
        Ok(counters)
    }
}

/// A gauge that is on the page only while its value is known.
pub(super) struct Known(IntGaugeVec);

impl Known {
    pub fn set(&self, value: Option<i64>) {
        match value {
            Some(value) => self.0.with_label_values::<&str>(&[]).set(value),
            None => self.0.reset(),
        }
    }
}

/// When something last happened; 0: not yet.
#[derive(Default)]
pub(super) struct Moment(AtomicI64);

impl Moment {
    pub fn set(&self, at: UnixMillis) {
        self.0.store(at.0, Ordering::Relaxed);
    }

    pub fn age_secs(&self) -> Option<i64> {
        let at = self.0.load(Ordering::Relaxed);
        (at != 0).then(|| gauge(now().since(UnixMillis(at)) / 1_000))
    }
}
