//! Breakers and cool-downs of one process.

use crate::contract::breaker::{CircuitDoc, Order, PermitAsk, Report, Taken};
use crate::ports::{BreakerStore, CircuitNews, PortError, Since, Told};
use crate::rules::breaker::fleet::Fleet;
use crate::time::UnixMillis;
use async_trait::async_trait;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// The pure machine behind a lock. It ends with the process, and so does all state: a start is a cold start.
pub struct MemoryBreakers {
    fleet: Mutex<Fleet>,
    last: watch::Sender<u64>,
    clock: Box<dyn Fn() -> UnixMillis + Send + Sync>,
}

impl MemoryBreakers {
    /// Nothing is held against anybody yet. `clock` tells the time.
    #[must_use]
    pub fn new(clock: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        Self { fleet: Mutex::default(), last: watch::Sender::new(0), clock: Box::new(clock) }
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Fleet, UnixMillis) -> T) -> T {
        let mut fleet = self.fleet.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = ask(&mut fleet, (self.clock)());
        let last = fleet.last();
        drop(fleet);
        self.last.send_if_modified(|known| {
            let is_newer = last > *known;
            *known = last.max(*known);
            is_newer
        });
        answer
    }
}

impl fmt::Debug for MemoryBreakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBreakers").field("last", &*self.last.borrow()).finish_non_exhaustive()
    }
}

#[async_trait]
impl BreakerStore for MemoryBreakers {
    async fn join(&self, node: &str) -> Result<bool, PortError> {
        Ok(self.with(|fleet, now| fleet.join(node, now)))
    }

    async fn leave(&self, node: &str) -> Result<(), PortError> {
        self.with(|fleet, _| fleet.leave(node));
        Ok(())
    }

    async fn changed(&self, since: Since) {
        // The sender lives in `self`: it cannot be gone.
        let _ = self.last.subscribe().wait_for(|last| *last > since.upto).await;
    }

    async fn read(&self, node: Option<&str>, since: Since) -> Result<CircuitNews, PortError> {
        Ok(self.with(|fleet, now| fleet.read(node, since, now)))
    }

    async fn report(&self, report: &Report) -> Result<Told, PortError> {
        Ok(self.with(|fleet, now| fleet.report(report, now)))
    }

    async fn take_permit(&self, ask: &PermitAsk) -> Result<(Taken, Told), PortError> {
        Ok(self.with(|fleet, now| fleet.take_permit(ask, now)))
    }

    async fn order(&self, order: &Order) -> Result<Told, PortError> {
        Ok(self.with(|fleet, now| fleet.order(order, now)))
    }

    async fn merge(&self, local: &[CircuitDoc]) -> Result<(), PortError> {
        self.with(|fleet, now| fleet.merge(local, now));
        Ok(())
    }
}
