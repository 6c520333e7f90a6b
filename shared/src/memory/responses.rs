//! Responses and their makers, for one process: they end with it.

use crate::contract::response::RESPONSE_TTL_SECS;
use crate::ids::ProviderId;
use crate::ports::{PortError, ResponseStore};
use crate::rules::response::{Makers, ResponseKey};
use crate::time::UnixMillis;
use async_trait::async_trait;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who made which response.
pub struct MemoryResponses {
    makers: Mutex<Makers>,
    clock: Box<dyn Fn() -> UnixMillis + Send + Sync>,
}

impl fmt::Debug for MemoryResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryResponses").field("known", &self.lock().len()).finish_non_exhaustive()
    }
}

impl MemoryResponses {
    /// Nothing was made yet. Ages go by this clock.
    pub fn new(clock: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        let makers = Mutex::new(Makers::new(KNOWN_RESPONSES, RESPONSE_TTL_SECS * 1_000));
        Self { makers, clock: Box::new(clock) }
    }

    fn lock(&self) -> MutexGuard<'_, Makers> {
        self.makers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ResponseStore for MemoryResponses {
    async fn maker(&self, key: ResponseKey) -> Result<Option<ProviderId>, PortError> {
        Ok(self.lock().find(key, (self.clock)()))
    }

    async fn remember(&self, key: ResponseKey, maker: ProviderId) -> Result<(), PortError> {
        self.lock().put(key, maker, (self.clock)());
        Ok(())
    }
}

/// Some twenty megabytes.
const KNOWN_RESPONSES: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{conformance, response_key};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[tokio::test]
    async fn the_in_process_responses_conform() {
        let store = MemoryResponses::new(|| UnixMillis(0));
        conformance::responses(&store, &store).await;
    }

    #[tokio::test]
    async fn a_response_is_known_for_thirty_days() {
        let clock = Arc::new(AtomicI64::new(0));
        let hands = clock.clone();
        let store = MemoryResponses::new(move || UnixMillis(hands.load(Ordering::Relaxed)));
        store.remember(response_key(1), ProviderId(1)).await.unwrap();
        clock.store(30 * 86_400_000 - 1, Ordering::Relaxed);
        assert_eq!(store.maker(response_key(1)).await, Ok(Some(ProviderId(1))));
        clock.store(30 * 86_400_000, Ordering::Relaxed);
        assert_eq!(store.maker(response_key(1)).await, Ok(None));
    }
}
