//! Which configuration requests are served by, and whether it can still be believed.

use super::Live;
use arc_swap::{ArcSwap, Guard};
use shared::ids::Revision;
use shared::time::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

/// The configuration in force. Readers never wait; there is one writer, the follower.
pub struct InForce {
    live: ArcSwap<Live>,
    /// When the far side last confirmed that this is the newest, in Unix milliseconds.
    heard_at_ms: AtomicI64,
    max_age_ms: u64,
    revision: watch::Sender<Revision>,
    /// True once the far side has answered.
    has_answered: watch::Sender<bool>,
    /// True once it has published nothing newer than what is in force.
    is_confirmed: watch::Sender<bool>,
}

/// Why no request can be served by what is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unusable {
    /// None has arrived yet.
    #[error("no configuration yet")]
    Missing,
    /// Nothing was heard for longer than `CONFIG_MAX_AGE_SECS`: a key that is served may be revoked for a day.
    #[error("the configuration is too old to be believed")]
    Stale,
}

impl Unusable {
    /// The stable word for logs, metrics and answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "config_missing",
            Self::Stale => "config_stale",
        }
    }
}

impl InForce {
    /// Nothing is in force yet. Nothing will be believed for longer than `max_age` after it was last confirmed.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        Self {
            live: ArcSwap::from_pointee(Live::empty()),
            heard_at_ms: AtomicI64::new(i64::MIN),
            max_age_ms: u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX),
            revision: watch::Sender::new(Revision(0)),
            has_answered: watch::Sender::new(false),
            is_confirmed: watch::Sender::new(false),
        }
    }

    /// The configuration in force, for a look.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Live>> {
        self.live.load()
    }

    /// The configuration in force, to keep.
    #[must_use]
    pub fn load_full(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// May a request that took `live` be served by it now?
    pub fn check(&self, live: &Live, now: UnixMillis) -> Result<(), Unusable> {
        if live.revision() == Revision(0) {
            Err(Unusable::Missing)
        } else if now.since(self.heard_at()) > self.max_age_ms {
            Err(Unusable::Stale)
        } else {
            Ok(())
        }
    }

    /// When the far side last confirmed what is in force.
    #[must_use]
    pub fn heard_at(&self) -> UnixMillis {
        UnixMillis(self.heard_at_ms.load(Ordering::Relaxed))
    }

    /// The revision in force, as it changes.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// A start from a kept copy waits here, for a moment at most: what is published may be newer than the copy, and a key
    /// that was made meanwhile must not be refused. Without a copy, or once the far side has answered, at once.
    pub async fn caught_up(&self) {
        if self.load().revision() != Revision(0) {
            // The sender lives in `self`: it cannot be gone.
            let _ = timeout(CATCH_UP, self.has_answered.subscribe().wait_for(|answered| *answered)).await;
        }
    }

    /// Was what is in force, or was before, the newest that is published? Until then a kept copy may be in force that is older.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        *self.is_confirmed.borrow()
    }

    /// Changes when [`Self::is_confirmed`] does.
    #[must_use]
    pub fn confirmed(&self) -> watch::Receiver<bool> {
        self.is_confirmed.subscribe()
    }

    /// The far side has answered, whatever it said.
    pub(super) fn note_answer(&self) {
        self.has_answered.send_if_modified(|answered| !std::mem::replace(answered, true));
    }

    /// The far side has published nothing newer than what is in force.
    pub(crate) fn note_confirmed(&self) {
        self.is_confirmed.send_if_modified(|confirmed| !std::mem::replace(confirmed, true));
    }

    /// Puts a configuration in force that was confirmed at `heard_at`.
    pub(crate) fn put(&self, live: Arc<Live>, heard_at: UnixMillis) {
        let revision = live.revision();
        // The age first: what comes in force must not be judged by the age of what was.
        self.heard(heard_at);
        self.live.store(live);
        self.revision.send_replace(revision);
    }

    /// What is in force was confirmed at `now`.
    pub(super) fn heard(&self, now: UnixMillis) {
        self.heard_at_ms.store(now.0, Ordering::Relaxed);
    }
}

/// A far side that is there answers within milliseconds.
const CATCH_UP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use shared::testing::{hub_key, snapshot};

    #[test]
    fn what_nobody_confirms_is_believed_for_so_long_and_no_longer() {
        let in_force = InForce::new(Duration::from_secs(10));
        let at = UnixMillis;
        assert_eq!(in_force.check(&in_force.load(), at(0)), Err(Unusable::Missing));
        in_force.put(Arc::new(Live::compile(&snapshot(vec![]), &hub_key())), at(5_000));
        assert_eq!(in_force.check(&in_force.load(), at(15_000)), Ok(()));
        assert_eq!(in_force.check(&in_force.load(), at(15_001)), Err(Unusable::Stale));
        in_force.heard(at(15_001));
        assert_eq!(in_force.check(&in_force.load(), at(15_001)), Ok(()));
        // A clock that goes backwards makes nothing old.
        assert_eq!(in_force.check(&in_force.load(), at(0)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_from_a_copy_waits_for_the_far_side_but_not_for_long() {
        let in_force = InForce::new(Duration::from_secs(10));
        let began = tokio::time::Instant::now();
        in_force.caught_up().await;
        assert_eq!(began.elapsed(), Duration::ZERO, "nothing is kept: nothing can be older");
        in_force.put(Arc::new(Live::compile(&snapshot(vec![]), &hub_key())), UnixMillis(5_000));
        in_force.caught_up().await;
        assert_eq!(began.elapsed(), CATCH_UP, "nobody answers");
        in_force.note_answer();
        assert!(!in_force.is_confirmed());
        in_force.caught_up().await;
        assert_eq!(began.elapsed(), CATCH_UP);
    }
}
