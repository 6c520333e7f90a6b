//! Sessions in Redis: each one's binding is a key of its own, decided about by one script at a time; which are active is
//! one list.
//!
//! A gateway's listens on a connection of its own, as the configuration's feed does. Whenever that comes (back), something
//! may have been missed, and the follower is told so.

use crate::channel::{Heard, listen};
use crate::config::{ConfigError, RedisConfig};
use crate::connection::{Upkeep, connect};
use crate::link::{Link, items, text};
use async_trait::async_trait;
use fred::types::Value;
use futures::future::join_all;
use shared::contract::scripts::ScriptCall;
use shared::contract::session::{
    self, ActiveSession, NewsDoc, SESSION_BIND, SESSION_END, SESSION_FORGET, SESSION_LIST, SESSION_PEEK,
    SESSION_READ, SESSION_SAW, SESSION_TOUCH, SessionFilter, SessionPage, SessionPlace, parse_active,
    parse_binding,
};
use shared::ids::ProviderId;
use shared::memory::NewsQueue;
use shared::ports::{
    ActiveSessions, MAX_LISTED, MAX_SEEN, MAX_TOUCHES, PortError, SessionNews, SessionStore, Touch,
};
use shared::rules::affinity::{Binding, Identity};
use shared::rules::session::SessionKey;
use shared::time::UnixMillis;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The sessions in Redis.
pub struct RedisSessions {
    link: Arc<Link>,
    ttl_ms: u64,
    news: Arc<NewsQueue>,
    /// What listens; `None` where nobody follows.
    upkeep: Option<Upkeep>,
}

impl RedisSessions {
    /// For a gateway: begins to listen, and keeps at it. Needs the runtime that its connection will live on. `ttl` is
    /// `SESSION_TTL`.
    pub fn open(config: &RedisConfig, link: Arc<Link>, ttl: Duration) -> Result<Arc<Self>, ConfigError> {
        let (client, upkeep) = connect(config)?;
        let news = Arc::new(NewsQueue::new());
        let queue = news.clone();
        upkeep.until_closed(listen(client, session::news(), move |heard| {
            queue.push(match heard {
                Heard::Said(text) => NewsDoc::read(text.as_bytes()),
                Heard::Missed => SessionNews::Missed,
            });
        }));
        Ok(Arc::new(Self { link, ttl_ms: millis(ttl), news, upkeep: Some(upkeep) }))
    }

    /// For who lists and terminates: no news comes to it.
    #[must_use]
    pub fn unannounced(link: Arc<Link>, ttl: Duration) -> Arc<Self> {
        Arc::new(Self { link, ttl_ms: millis(ttl), news: Arc::new(NewsQueue::new()), upkeep: None })
    }

    /// Ends the connection that listens, if there is one. Returns when nothing of it is left.
    pub async fn close(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.close().await;
        }
    }

    async fn call(
        &self,
        script: &'static str,
        call: ScriptCall,
        deadline: Duration,
    ) -> Result<Words, PortError> {
        let reply = items(self.link.eval(script, call, deadline).await?).ok_or(PortError::Unreadable)?;
        Ok(reply.iter().map(|word| text(word).unwrap_or_default()).collect())
    }

    /// For a script that answers a number.
    async fn number(
        &self,
        script: &'static str,
        call: ScriptCall,
        deadline: Duration,
    ) -> Result<i64, PortError> {
        match self.link.eval(script, call, deadline).await? {
            Value::Integer(number) => Ok(number),
            _ => Err(PortError::Unreadable),
        }
    }
}

#[async_trait]
impl SessionStore for RedisSessions {
    async fn read(&self, key: SessionKey) -> Result<Option<Binding>, PortError> {
        let words = self.call(SESSION_READ, session::read(key, self.ttl_ms), SEAT_DEADLINE).await?;
        if words.is_empty() {
            return Ok(None);
        }
        parse_binding(&words).map(Some).ok_or(PortError::Unreadable)
    }

    async fn bind(
        &self,
        key: SessionKey,
        expected: Option<u64>,
        to: ProviderId,
        identity: Identity,
    ) -> Result<Binding, PortError> {
        let call = session::bind(key, self.ttl_ms, expected, to, identity);
        parse_binding(&self.call(SESSION_BIND, call, SEAT_DEADLINE).await?).ok_or(PortError::Unreadable)
    }

    async fn unbind(&self, key: SessionKey, generation: u64) -> Result<bool, PortError> {
        let call = session::unbind(key, self.ttl_ms, generation);
        self.number(SESSION_END, call, DEADLINE).await.map(|ended| ended == 1)
    }

    async fn touch(&self, touches: &[Touch]) -> Result<Vec<Option<u32>>, PortError> {
        if touches.len() > MAX_TOUCHES {
            return Err(PortError::Full);
        }
        // A session each: in a Cluster they live on different nodes. They are sent together.
        let each = touches.iter().map(|touch| {
            let call = session::touch(touch, self.ttl_ms);
            self.number(SESSION_TOUCH, call, DEADLINE)
        });
        let told = join_all(each).await;
        // Less than none: not in force.
        told.into_iter().map(|slow_turns| slow_turns.map(|turns| u32::try_from(turns).ok())).collect()
    }

    async fn news(&self) -> Vec<SessionNews> {
        self.news.take().await
    }

    async fn saw(&self, now: UnixMillis, seen: &[ActiveSession]) -> Result<(), PortError> {
        if seen.len() > MAX_SEEN {
            return Err(PortError::Full);
        }
        if !seen.is_empty() {
            self.number(SESSION_SAW, session::saw(now, seen, self.ttl_ms), LIST_DEADLINE).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ActiveSessions for RedisSessions {
    async fn list(
        &self,
        filter: &SessionFilter,
        after: Option<SessionPlace>,
        limit: usize,
    ) -> Result<SessionPage, PortError> {
        let (began, limit) = (Instant::now(), limit.min(MAX_LISTED));
        let mut page = SessionPage { sessions: Vec::new(), next: after };
        if limit == 0 {
            return Ok(page);
        }
        loop {
            let call = session::list(page.next, SCANNED_AT_A_TIME, self.ttl_ms);
            let words = self.call(SESSION_LIST, call, LIST_DEADLINE).await?;
            let found: Vec<_> =
                words.chunks(5).map(parse_active).collect::<Option<_>>().ok_or(PortError::Unreadable)?;
            let is_last = found.len() < SCANNED_AT_A_TIME;
            for (place, session) in found {
                if page.sessions.len() == limit {
                    return Ok(page);
                }
                page.next = Some(place);
                // One that cannot be read is a later release's: it is left out, the others are shown.
                page.sessions.extend(session.filter(|session| filter.passes(&session.doc)));
            }
            if is_last {
                page.next = None;
                return Ok(page);
            }
            if began.elapsed() > SCAN_PATIENCE {
                return Ok(page);
            }
        }
    }

    async fn bound(&self, key: SessionKey) -> Result<Option<Binding>, PortError> {
        let words = self.call(SESSION_PEEK, session::peek(key), DEADLINE).await?;
        if words.is_empty() {
            return Ok(None);
        }
        parse_binding(&words).map(Some).ok_or(PortError::Unreadable)
    }

    async fn terminate(&self, key: SessionKey) -> Result<bool, PortError> {
        // The binding first: should the second fail, the session is still listed and can be terminated again.
        let bound = self.number(SESSION_END, session::end(key, self.ttl_ms), DEADLINE).await?;
        let seen = self.number(SESSION_FORGET, session::forget(key), DEADLINE).await?;
        Ok(bound == 1 || seen == 1)
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

type Words = Vec<String>;

/// For what a seat waits for, and can go on without.
const SEAT_DEADLINE: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_millis(500);
const LIST_DEADLINE: Duration = Duration::from_secs(1);
/// Some hundred kilobytes, a millisecond of Redis's time.
const SCANNED_AT_A_TIME: usize = 500;
/// After that, a page is as full as it is.
const SCAN_PATIENCE: Duration = Duration::from_secs(1);
