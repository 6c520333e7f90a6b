//! Conversations stay with the provider that has their prompt cache.
//!
//! What a request belongs to and what its end means for the binding is decided in [`shared::rules::session`] and
//! [`shared::rules::affinity`]; here are the node's cache, the store and the moments at which they are asked. A running
//! session asks the store every few seconds at most; with the store away this node goes by what it knows.

use crate::hub::now;
use crate::live::Live;
use shared::contract::session::{ActiveSession, SESSION_SCHEMA, SessionDoc};
use shared::contract::usage::RequestEntry;
use shared::ids::{KeyId, ProviderId};
use shared::model::GroupSet;
use shared::ports::{MAX_SEEN, MAX_TOUCHES, SessionNews, SessionStore, Touch};
use shared::protocol::detect::Family;
use shared::rules::affinity::cache::{BindingCache, Lookup};
use shared::rules::affinity::served::Served;
use shared::rules::affinity::{
    After, BoundFailure, CourseFacts, Known, Standing, TurnEnd, TurnFacts, after, course, draw_seed, standing,
};
use shared::rules::session::{SessionId, SessionKey};
use shared::time::UnixMillis;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// The sessions that this node knows, and where they are kept.
pub struct Sessions {
    store: Arc<dyn SessionStore>,
    cache: Mutex<BindingCache>,
    ttl_ms: u64,
    words: mpsc::Sender<Word>,
    /// What was seen since it was last told.
    seen: Mutex<HashMap<SessionKey, ActiveSession>>,
}

/// What the store is told in its own time: nothing is lost with it but a little accuracy.
pub enum Word {
    /// A life goes on.
    Touch(Touch),
    /// A binding ends.
    Drop(SessionKey, u64),
}

/// The session of a request.
pub struct Session {
    key: SessionKey,
    known: Option<(Known, Standing)>,
    /// Attempts at the bound provider that failed in this request.
    failures: Vec<BoundFailure>,
}

impl Session {
    /// Enough of its key to tell it from others of the same user.
    #[must_use]
    pub fn short_key(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.key.to_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whom its binding names, if that one may serve.
    #[must_use]
    pub fn bound(&self) -> Option<ProviderId> {
        match &self.known {
            Some((known, Standing::Usable)) => Some(known.binding.provider_id),
            Some((_, Standing::Gone(_))) | None => None,
        }
    }

    /// The seed of its draws.
    #[must_use]
    pub fn seed(&self, chance: u64) -> u64 {
        draw_seed(&self.key, self.known.map(|(_, standing)| standing), chance)
    }

    /// An attempt failed.
    pub fn failed(&mut self, at: ProviderId, failure: BoundFailure) {
        if self.bound() == Some(at) {
            self.failures.push(failure);
        }
    }
}

impl Sessions {
    /// How long a session lives after its last turn, in milliseconds.
    #[must_use]
    pub fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// A node that knows nothing yet, and what [`run`] takes its words from. A session lives for `ttl` after its last turn.
    #[must_use]
    pub fn new(store: Arc<dyn SessionStore>, ttl: Duration) -> (Arc<Self>, mpsc::Receiver<Word>) {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let (words, receiver) = mpsc::channel(WAITING_WORDS);
        let cache = Mutex::new(BindingCache::new(KNOWN_SESSIONS, ttl_ms));
        (Arc::new(Self { store, cache, ttl_ms, words, seen: Mutex::default() }), receiver)
    }

    /// The session of a request with this id, and what it is bound to.
    pub async fn find(
        &self,
        key_id: KeyId,
        id: &SessionId,
        message_count: Option<u32>,
        live: &Live,
        groups: &GroupSet,
    ) -> Session {
        let key = SessionKey::of(key_id, id);
        let known = if id.may_reuse(message_count) { self.known(key).await } else { None };
        let known = known.map(|known| {
            let provider = live.account(known.binding.provider_id);
            (known, standing(&known.binding, provider, groups))
        });
        Session { key, known, failures: Vec::new() }
    }

    async fn known(&self, key: SessionKey) -> Option<Known> {
        let looked = self.cache().look_up(&key, now());
        let (ticket, known) = match looked {
            Lookup::Fresh(known) => return Some(known),
            Lookup::Ask { ticket, known } => (ticket, known),
        };
        let Ok(binding) = self.store.read(key).await else { return known };
        let mut cache = self.cache();
        cache.answered(key, ticket, binding);
        match cache.look_up(&key, now()) {
            Lookup::Fresh(known) => Some(known),
            Lookup::Ask { known, .. } => known,
        }
    }

    /// A request of a session is over, however it ended: it is told of with others.
    pub fn saw(&self, session: &Session, request: &RequestEntry) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= KNOWN_SESSIONS {
            return;
        }
        let doc = SessionDoc {
            schema: SESSION_SCHEMA,
            session_id: request.session.session_id.clone().unwrap_or_default(),
            user_id: request.caller.user_id,
            key_id: request.caller.key_id,
            provider_id: request.provider_id,
            model: request.model.clone(),
            client: request.caller.client.clone(),
        };
        let at = request.started_at;
        let now = ActiveSession { key: session.key, doc, requests: 1, first_seen_at: at, last_seen_at: at };
        match seen.entry(session.key) {
            Entry::Occupied(mut known) => known.get_mut().merge(now),
            Entry::Vacant(place) => {
                place.insert(now);
            }
        }
    }

    /// A request was served to its end: binds, moves, prolongs or drops. Only what a following request must find is waited
    /// for.
    pub async fn ended(&self, session: Session, family: Family, served: Served, live: &Live) {
        let Session { key, known, failures } = session;
        let at = now();
        let bound = known.map(|(known, standing)| (known.binding, standing));
        let Served { provider_id, first_event_ms } = served;
        let course =
            course(&CourseFacts { bound, served: provider_id, failures: &failures, ttl_ms: self.ttl_ms });
        let end = TurnEnd { family, is_success: true, first_event_ms };
        let known = known.map(|(known, _)| known);
        match after(&TurnFacts { course, known, end, now: at, ttl_ms: self.ttl_ms }) {
            After::Keep => {}
            After::Bind => self.bind(key, None, provider_id, live, at).await,
            After::Move { expected } => self.bind(key, Some(expected), provider_id, live, at).await,
            After::Drop { generation } => self.say(Word::Drop(key, generation)),
            After::Touch { generation, pace } => self.say(Word::Touch(Touch { key, generation, pace })),
        }
    }

    async fn bind(
        &self,
        key: SessionKey,
        expected: Option<u64>,
        to: ProviderId,
        live: &Live,
        at: UnixMillis,
    ) {
        let Some((_, identity)) = live.account(to) else { return };
        let ticket = self.cache().ticket(at);
        match self.store.bind(key, expected, to, identity).await {
            Ok(binding) => self.cache().answered(key, ticket, Some(binding)),
            Err(_) => self.cache().stand_in(key, to, identity, at),
        }
    }

    /// When nobody keeps up, the next turn says it again.
    fn say(&self, word: Word) {
        let _ = self.words.try_send(word);
    }

    fn cache(&self) -> MutexGuard<'_, BindingCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears what other nodes moved, and tells the store what can wait, until `stop` is true.
pub async fn run(sessions: Arc<Sessions>, words: mpsc::Receiver<Word>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = async { tokio::join!(hear(&sessions), tell(&sessions, words), list(&sessions)); } => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn hear(sessions: &Sessions) {
    loop {
        let news = sessions.store.news().await;
        let mut cache = sessions.cache();
        news.iter().for_each(|news| cache.hear(news, now()));
    }
}

/// Tells which sessions were seen. What cannot be told is seen again with their next requests.
async fn list(sessions: &Sessions) {
    loop {
        sleep(TELL_EVERY).await;
        let seen = std::mem::take(&mut *sessions.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let seen: Vec<ActiveSession> = seen.into_values().collect();
        for seen in seen.chunks(MAX_SEEN) {
            let _ = sessions.store.saw(now(), seen).await;
        }
    }
}

async fn tell(sessions: &Sessions, mut words: mpsc::Receiver<Word>) {
    let mut waiting = Vec::new();
    while words.recv_many(&mut waiting, MAX_TOUCHES).await > 0 {
        let mut touches = Vec::new();
        for word in waiting.drain(..) {
            match word {
                Word::Touch(touch) => touches.push(touch),
                Word::Drop(key, generation) => {
                    if let Ok(true) = sessions.store.unbind(key, generation).await {
                        sessions.cache().hear(&SessionNews::Ended { key, generation }, now());
                    }
                }
            }
        }
        touch(sessions, &touches).await;
    }
}

async fn touch(sessions: &Sessions, touches: &[Touch]) {
    if touches.is_empty() {
        return;
    }
    let ticket = sessions.cache().ticket(now());
    if let Ok(counts) = sessions.store.touch(touches).await {
        let mut cache = sessions.cache();
        for (touch, count) in touches.iter().zip(counts) {
            cache.touched(touch.key, ticket, touch.generation, count);
        }
    }
}

/// Some tens of megabytes at most.
const KNOWN_SESSIONS: usize = 100_000;
const WAITING_WORDS: usize = 4_096;
const TELL_EVERY: Duration = Duration::from_secs(2);
