//! Metrics of a link. Every name and label is here; the number of series is fixed. All names begin with `cch_redis_`:
//! they stand on the page of the process that has the link.

use prometheus::{Encoder, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallResult {
    Answered,
    /// Redis answered with an error.
    Refused,
    /// No answer in time, or no connection.
    NotAnswered,
    /// The breaker was open.
    NotSent,
}

impl CallResult {
    const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::NotAnswered, Self::NotSent];

    fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::NotAnswered => "not_answered",
            Self::NotSent => "not_sent",
        }
    }
}

/// The metrics of one link.
pub(crate) struct LinkMetrics {
    registry: Registry,
    breaker_open: IntGauge,
    calls: IntCounterVec,
}

impl LinkMetrics {
    /// A fresh set in a registry of its own.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let breaker_open =
            IntGauge::new("cch_redis_breaker_open", "1 while Redis is away and calls are not sent.")?;
        let calls =
            IntCounterVec::new(Opts::new("cch_redis_calls_total", "Calls on Redis by result."), &["result"])?;
        for result in CallResult::ALL {
            // Shown from the start: a rate needs a 0 to rise from.
            calls.get_metric_with_label_values(&[result.label()])?;
        }
        registry.register(Box::new(breaker_open.clone()))?;
        registry.register(Box::new(calls.clone()))?;
        Ok(Self { registry, breaker_open, calls })
    }

    pub fn count(&self, result: CallResult) {
        self.calls.with_label_values(&[result.label()]).inc();
    }

    /// As Prometheus reads them.
    pub fn text(&self, is_open: bool) -> String {
        self.breaker_open.set(i64::from(is_open));
        let mut text = Vec::new();
        // Writing into memory does not fail; a broken family would leave the page short.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}
