//! Responses that providers keep for a later `previous_response_id`, and who made them.
//!
//! What a follow-up may do is decided in [`shared::rules::response`]; here are the node's memory, the store and the moments
//! at which they are asked. A maker never changes, so what this node knows it need not ask for. With the store away the node
//! goes by what it knows, and tells what it could not as soon as it can.

use crate::ctx::{Arrival, Asked};
use crate::events;
use crate::hub::now;
use crate::live::Principal;
use shared::contract::response::RESPONSE_TTL_SECS;
use shared::ids::{KeyId, ProviderId};
use shared::ports::ResponseStore;
use shared::protocol::Dialect;
use shared::protocol::detect::Family;
use shared::rules::access::effective_groups;
use shared::rules::response::{FollowUpFacts, Lost, Maker, Makers, ResponseKey, follow};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The responses that this node knows, and where they are kept.
pub struct Responses {
    store: Arc<dyn ResponseStore>,
    known: Mutex<Makers>,
    /// What the store could not be told, the oldest first.
    untold: Mutex<VecDeque<(ResponseKey, ProviderId)>>,
}

/// Whose answer a later request may name; `None`: it is no response, or not to be kept.
#[must_use]
pub fn kept_for(asked: &Asked, key_id: KeyId) -> Option<KeyId> {
    let is_kept = asked.family == Family::OpenaiResponses && asked.facts.session.store != Some(false);
    is_kept.then_some(key_id)
}

impl Responses {
    /// A node that knows nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn ResponseStore>) -> Arc<Self> {
        let known = Mutex::new(Makers::new(KNOWN_RESPONSES, RESPONSE_TTL_SECS * 1_000));
        Arc::new(Self { store, known, untold: Mutex::default() })
    }

    /// The only provider that a request may go to; `None`: it goes on from no response.
    pub async fn follow(
        &self,
        arrival: &Arrival,
        principal: &Principal,
        asked: &Asked,
    ) -> Result<Option<ProviderId>, Lost> {
        let dialect = asked.family.dialect();
        // An empty id is none: what that means is for a provider to say.
        let named = asked.facts.session.previous_response_id.as_deref().filter(|id| !id.is_empty());
        let Some(id) = named.filter(|_| dialect == Dialect::OpenaiResponses) else { return Ok(None) };
        let maker = self.maker(ResponseKey::of(principal.key.id, id)).await;
        let groups = effective_groups(&principal.user, &principal.key);
        let provider = match maker {
            Maker::Known(id) => arrival.live.account(id).map(|(provider, _)| provider),
            Maker::Unknown | Maker::Untold => None,
        };
        let sole = arrival.live.pool().sole(groups, dialect);
        let found = follow(&FollowUpFacts { maker, provider, sole, groups, dialect });
        if let Err(lost) = found {
            events::follow_up_lost(arrival.id, lost);
        }
        found.map(Some)
    }

    async fn maker(&self, key: ResponseKey) -> Maker {
        let known = self.known().find(key, now());
        if let Some(maker) = known {
            return Maker::Known(maker);
        }
        match self.store.maker(key).await {
            Ok(Some(maker)) => {
                self.known().put(key, maker, now());
                Maker::Known(maker)
            }
            Ok(None) => Maker::Unknown,
            Err(_) => Maker::Untold,
        }
    }

    /// A provider made a response that it keeps. To be waited for before the seat has the end of it: its next request may
    /// come to another node.
    pub async fn made(&self, key_id: KeyId, response_id: &str, by: ProviderId) {
        let key = ResponseKey::of(key_id, response_id);
        self.known().put(key, by, now());
        if self.store.remember(key, by).await.is_ok() {
            return;
        }
        let mut untold = self.untold();
        if untold.len() >= UNTOLD_RESPONSES {
            untold.pop_front();
        }
        untold.push_back((key, by));
    }

    /// Tells the store what it could not be told before, until it is away again.
    async fn tell(&self) {
        loop {
            let next = self.untold().front().copied();
            let Some((key, by)) = next else { return };
            if self.store.remember(key, by).await.is_err() {
                return;
            }
            let mut untold = self.untold();
            // It may have gone meanwhile, for want of room.
            if untold.front() == next.as_ref() {
                untold.pop_front();
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Makers> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold(&self) -> MutexGuard<'_, VecDeque<(ResponseKey, ProviderId)>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the store what it could not be told, until `stop` is true, and once more then, for a while: who stops this process
/// waits for it.
pub async fn run(responses: Arc<Responses>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = async {
            loop {
                sleep(TELL_EVERY).await;
                responses.tell().await;
            }
        } => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    // Each call has its deadline, but there may be thousands.
    let _ = timeout(LAST_WORDS, responses.tell()).await;
    let untold = responses.untold().len();
    if untold > 0 {
        events::responses_untold(untold);
    }
}

/// Some ten megabytes.
const KNOWN_RESPONSES: usize = 100_000;
/// Half a megabyte; of more, the oldest are known to this node alone.
const UNTOLD_RESPONSES: usize = 10_000;
const TELL_EVERY: Duration = Duration::from_secs(2);
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use shared::ports::PortError;
    use std::future::pending;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A store that takes nothing, and from its second time on does not answer.
    #[derive(Default)]
    struct Away(AtomicU64);

    #[async_trait]
    impl ResponseStore for Away {
        async fn remember(&self, _: ResponseKey, _: ProviderId) -> Result<(), PortError> {
            if self.0.fetch_add(1, Ordering::SeqCst) > 0 {
                pending::<()>().await;
            }
            Err(PortError::Unavailable)
        }

        async fn maker(&self, _: ResponseKey) -> Result<Option<ProviderId>, PortError> {
            Err(PortError::Unavailable)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_holds_up_no_stop() {
        let responses = Responses::new(Arc::new(Away::default()));
        responses.made(KeyId(1), "resp_1", ProviderId(1)).await;
        let (_stop, stopped) = watch::channel(true);
        run(responses.clone(), stopped).await;
        assert_eq!(responses.untold().len(), 1, "it is still known");
    }
}
