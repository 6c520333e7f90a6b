//! What runs beside the API: publishing the configuration, booking usage, summing days, cleaning the request log up,
//! forgetting journals, opening budgets.
//!
//! A job exposes one step; its loop adds only waiting, so that tests step instead of sleeping.

pub mod clean;
pub mod consume;
pub mod days;
pub mod journals;
pub mod open;
pub mod reconcile;

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Steps every so often, the first time after that pause, until told to stop, also in the middle of a step: each of its
/// transactions is whole or not at all. A step tells what it did; one that fails is told here, by what could not be done.
async fn every<E: Display, F: Future<Output = Result<(), E>>>(
    pause: Duration,
    stop: CancellationToken,
    what: &'static str,
    step: impl Fn() -> F,
) {
    let mut tick = interval_at(Instant::now() + pause, pause);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stepping = async {
        loop {
            tick.tick().await;
            if let Err(error) = step().await {
                let minutes = pause.as_secs() / 60;
                tracing::warn!(%error, "{what}; trying again in {minutes} minutes");
            }
        }
    };
    stop.run_until_cancelled(stepping).await;
}
