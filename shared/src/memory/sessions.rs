//! Sessions of one process: they end with it.

use super::NewsQueue;
use crate::contract::session::{ActiveSession, MAX_ACTIVE, SessionFilter, SessionPage, SessionPlace};
use crate::ids::ProviderId;
use crate::ports::{
    ActiveSessions, MAX_LISTED, MAX_SEEN, MAX_TOUCHES, PortError, SessionNews, SessionStore, Touch,
};
use crate::rules::affinity::{Binding, Identity, Pace};
use crate::rules::session::SessionKey;
use crate::time::UnixMillis;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bindings and active sessions. Bounded: of more than [`MAX_ACTIVE`] who was not heard of longest is forgotten.
#[derive(Debug)]
pub struct MemorySessions {
    shared: Arc<Shared>,
    news: Arc<NewsQueue>,
}

struct Shared {
    state: Mutex<State>,
    clock: Box<dyn Fn() -> UnixMillis + Send + Sync>,
    ttl_ms: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("ttl_ms", &self.ttl_ms).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    bindings: Aging<Binding>,
    active: Aging<ActiveSession>,
    last_generation: u64,
    followers: Vec<Arc<NewsQueue>>,
}

impl MemorySessions {
    /// Nobody is bound yet. A session lives for `ttl_ms` milliseconds of this clock.
    pub fn new(ttl_ms: u64, clock: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        let shared = Shared { state: Mutex::default(), clock: Box::new(clock), ttl_ms };
        Self::over(Arc::new(shared))
    }

    /// The same sessions for another follower.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::over(self.shared.clone())
    }

    fn over(shared: Arc<Shared>) -> Self {
        let store = Self { shared, news: Arc::new(NewsQueue::new()) };
        store.lock().0.followers.push(store.news.clone());
        store
    }

    /// Who lives, and now.
    fn lock(&self) -> (MutexGuard<'_, State>, UnixMillis) {
        let now = (self.shared.clock)();
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let died_at = UnixMillis(now.0.saturating_sub_unsigned(self.shared.ttl_ms));
        state.bindings.forget(died_at);
        state.active.forget(died_at);
        (state, now)
    }
}

impl Drop for MemorySessions {
    fn drop(&mut self) {
        self.lock().0.followers.retain(|follower| !Arc::ptr_eq(follower, &self.news));
    }
}

impl State {
    fn publish(&self, news: &SessionNews) {
        self.followers.iter().for_each(|follower| follower.push(news.clone()));
    }

    /// Never the same twice, and of the clock like Redis's.
    fn next_generation(&mut self, now: UnixMillis) -> u64 {
        let micros = u64::try_from(now.0).unwrap_or(0).saturating_mul(1_000);
        self.last_generation = micros.max(self.last_generation + 1);
        self.last_generation
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn read(&self, key: SessionKey) -> Result<Option<Binding>, PortError> {
        let (mut state, now) = self.lock();
        let bound = state.bindings.find(&key).copied();
        if let Some(bound) = bound {
            state.bindings.put(key, bound, now);
        }
        Ok(bound)
    }

    async fn bind(
        &self,
        key: SessionKey,
        expected: Option<u64>,
        to: ProviderId,
        identity: Identity,
    ) -> Result<Binding, PortError> {
        let (mut state, now) = self.lock();
        let bound = state.bindings.find(&key).copied();
        if let Some(bound) = bound.filter(|bound| Some(bound.generation) != expected) {
            state.bindings.put(key, bound, now);
            return Ok(bound);
        }
        let generation = state.next_generation(now);
        let binding = Binding { provider_id: to, identity, generation, slow_turns: 0 };
        state.bindings.put(key, binding, now);
        if bound.is_some() {
            state.publish(&SessionNews::Moved { key, binding });
        }
        Ok(binding)
    }

    async fn unbind(&self, key: SessionKey, generation: u64) -> Result<bool, PortError> {
        let (mut state, _) = self.lock();
        let is_in_force = state.bindings.find(&key).is_some_and(|bound| bound.generation == generation);
        if is_in_force {
            state.bindings.remove(&key);
            state.publish(&SessionNews::Ended { key, generation });
        }
        Ok(is_in_force)
    }

    async fn touch(&self, touches: &[Touch]) -> Result<Vec<Option<u32>>, PortError> {
        if touches.len() > MAX_TOUCHES {
            return Err(PortError::Full);
        }
        let (mut state, now) = self.lock();
        let mut touch = |touch: &Touch| {
            let bound = state.bindings.find(&touch.key).copied();
            let mut bound = bound.filter(|bound| bound.generation == touch.generation)?;
            match touch.pace {
                Some(Pace::Slow) => bound.slow_turns = bound.slow_turns.saturating_add(1),
                Some(Pace::Quick) => bound.slow_turns = 0,
                None => {}
            }
            state.bindings.put(touch.key, bound, now);
            Some(bound.slow_turns)
        };
        Ok(touches.iter().map(&mut touch).collect())
    }

    async fn news(&self) -> Vec<SessionNews> {
        self.news.take().await
    }

    async fn saw(&self, told_at: UnixMillis, seen: &[ActiveSession]) -> Result<(), PortError> {
        if seen.len() > MAX_SEEN {
            return Err(PortError::Full);
        }
        let (mut state, now) = self.lock();
        for session in seen {
            // By the store's clock.
            let last_seen_at = UnixMillis(now.0 - told_at.since(session.last_seen_at).cast_signed());
            let first_seen_at = UnixMillis(now.0 - told_at.since(session.first_seen_at).cast_signed());
            if now.since(last_seen_at) >= self.shared.ttl_ms {
                continue;
            }
            let told = ActiveSession { first_seen_at, last_seen_at, ..session.clone() };
            let all = match state.active.find(&session.key).cloned() {
                Some(mut all) => {
                    all.merge(told);
                    all
                }
                None => told,
            };
            let at = all.last_seen_at;
            state.active.put(session.key, all, at);
        }
        Ok(())
    }
}

#[async_trait]
impl ActiveSessions for MemorySessions {
    async fn list(
        &self,
        filter: &SessionFilter,
        after: Option<SessionPlace>,
        limit: usize,
    ) -> Result<SessionPage, PortError> {
        let (state, _) = self.lock();
        let limit = limit.min(MAX_LISTED);
        let is_after = |session: &&ActiveSession| after.is_none_or(|after| session.place() < after);
        let passing = state.active.newest_first().filter(|session| filter.passes(&session.doc));
        let mut sessions: Vec<_> = passing.filter(is_after).take(limit + 1).cloned().collect();
        let has_more = sessions.len() > limit;
        sessions.truncate(limit);
        let next = sessions.last().filter(|_| has_more).map(ActiveSession::place);
        Ok(SessionPage { sessions, next })
    }

    async fn bound(&self, key: SessionKey) -> Result<Option<Binding>, PortError> {
        let (state, _) = self.lock();
        Ok(state.bindings.find(&key).copied())
    }

    async fn terminate(&self, key: SessionKey) -> Result<bool, PortError> {
        let (mut state, now) = self.lock();
        let bound = state.bindings.remove(&key);
        let seen = state.active.remove(&key);
        let generation = state.next_generation(now);
        state.publish(&SessionNews::Ended { key, generation });
        Ok(bound.is_some() || seen.is_some())
    }
}

/// Values that are forgotten when they are old, or too many.
struct Aging<T> {
    values: HashMap<SessionKey, (UnixMillis, T)>,
    by_age: BTreeMap<(UnixMillis, SessionKey), ()>,
}

impl<T> Default for Aging<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), by_age: BTreeMap::new() }
    }
}

impl<T> Aging<T> {
    fn find(&self, key: &SessionKey) -> Option<&T> {
        self.values.get(key).map(|(_, value)| value)
    }

    fn put(&mut self, key: SessionKey, value: T, at: UnixMillis) {
        self.remove(&key);
        self.values.insert(key, (at, value));
        self.by_age.insert((at, key), ());
        if self.values.len() > MAX_ACTIVE {
            self.forget_first();
        }
    }

    fn remove(&mut self, key: &SessionKey) -> Option<T> {
        let (at, value) = self.values.remove(key)?;
        self.by_age.remove(&(at, *key));
        Some(value)
    }

    /// Forgets what is as old as this or older.
    fn forget(&mut self, died_at: UnixMillis) {
        while self.by_age.first_key_value().is_some_and(|((at, _), ())| *at <= died_at) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(((_, key), ())) = self.by_age.pop_first() {
            self.values.remove(&key);
        }
    }

    fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.by_age.keys().rev().filter_map(|(_, key)| self.find(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{active_session, conformance, session_key};
    use std::sync::atomic::{AtomicI64, Ordering};

    const TTL_MS: u64 = 300_000;

    fn with_clock() -> (MemorySessions, Arc<AtomicI64>) {
        let clock = Arc::new(AtomicI64::new(1_790_000_000_000));
        let hands = clock.clone();
        (MemorySessions::new(TTL_MS, move || UnixMillis(hands.load(Ordering::Relaxed))), clock)
    }

    #[tokio::test]
    async fn the_in_process_sessions_conform() {
        let (one, clock) = with_clock();
        conformance::sessions(&one, &one.another(), &one, || UnixMillis(clock.load(Ordering::Relaxed))).await;
    }

    #[tokio::test]
    async fn a_session_lives_from_the_last_word_on() {
        let (store, clock) = with_clock();
        let pass = |ms: u64| clock.fetch_add(ms.cast_signed(), Ordering::Relaxed);
        let key = session_key(1);
        let bound = store.bind(key, None, ProviderId(1), Identity(1)).await.unwrap();
        pass(TTL_MS - 1);
        assert_eq!(store.read(key).await, Ok(Some(bound)));
        pass(TTL_MS - 1);
        let touch = Touch { key, generation: bound.generation, pace: None };
        assert_eq!(store.touch(&[touch]).await, Ok(vec![Some(0)]));
        pass(TTL_MS - 1);
        // Whoever only looks prolongs nothing.
        assert_eq!(store.bound(key).await, Ok(Some(bound)));
        pass(1);
        assert_eq!(store.read(key).await, Ok(None));
        let again = store.bind(key, Some(bound.generation), ProviderId(2), Identity(1)).await.unwrap();
        assert!(again.generation > bound.generation);

        let now = UnixMillis(clock.load(Ordering::Relaxed));
        let seen = ActiveSession { first_seen_at: now, last_seen_at: now, ..active_session(1) };
        store.saw(now, std::slice::from_ref(&seen)).await.unwrap();
        pass(TTL_MS - 1);
        let all = SessionFilter::default();
        assert_eq!(store.list(&all, None, 9).await.unwrap().sessions, std::slice::from_ref(&seen));
        pass(1);
        assert_eq!(store.list(&all, None, 9).await, Ok(SessionPage::default()));
        // Told late: it is over already.
        store.saw(UnixMillis(clock.load(Ordering::Relaxed)), &[seen]).await.unwrap();
        assert_eq!(store.list(&all, None, 9).await, Ok(SessionPage::default()));
    }

    #[tokio::test]
    async fn of_too_many_the_oldest_are_forgotten() {
        let (store, _) = with_clock();
        for n in 0..=MAX_ACTIVE {
            store.bind(session_key(n), None, ProviderId(1), Identity(1)).await.unwrap();
        }
        assert_eq!(store.lock().0.bindings.values.len(), MAX_ACTIVE);
        assert_eq!(store.lock().0.bindings.by_age.len(), MAX_ACTIVE);
    }
}
