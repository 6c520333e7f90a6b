//! Keeps the configuration in force up to date with the feed.
//!
//! Announcements make it quick, a look every [`POLL`] makes it sure: an announcement can be lost. A delta that does
//! not begin where we stand, or cannot be read, is followed by a read of the whole. It only goes forward: an older
//! revision than the one in force (a database that was restored from a backup) is reported and ignored.

use super::disk::Disk;
use super::{InForce, Live};
use crate::events;
use crate::hub::now;
use shared::contract::codec::check_schema;
use shared::contract::delta::Delta;
use shared::contract::snapshot::{SNAPSHOT_SCHEMA, Snapshot};
use shared::ids::Revision;
use shared::ports::{ConfigFeed, ConfigNews, PortError};
use shared::secret::HubKey;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Follows a feed.
pub struct Follower {
    feed: Arc<dyn ConfigFeed>,
    hub_key: Arc<HubKey>,
    in_force: Arc<InForce>,
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A newer configuration is in force.
    Applied(Revision),
    /// What is in force is the newest.
    Confirmed,
    /// Nothing is published, or something older than what is in force: nothing was confirmed.
    Behind(Option<Revision>),
}

impl Follower {
    /// Puts the parts together.
    #[must_use]
    pub fn new(feed: Arc<dyn ConfigFeed>, hub_key: Arc<HubKey>, in_force: Arc<InForce>) -> Self {
        Self { feed, hub_key, in_force }
    }

    /// Starts from what was kept on disk, if there is anything and it can be read.
    pub fn start_from(&self, disk: &Disk) {
        match disk.load() {
            Ok(Some(kept)) => {
                let revision = kept.snapshot.revision;
                // A clock that was wrong when it was written must not make it young for ever.
                let heard_at = kept.heard_at.min(now());
                self.in_force.put(Arc::new(Live::compile(&kept.snapshot, &self.hub_key)), heard_at);
                self.feed.applied(revision);
                events::config_from_disk(revision, heard_at);
            }
            Ok(None) => {}
            Err(error) => events::config_copy_unreadable(&error),
        }
    }

    /// Follows for as long as the returned future is polled.
    pub async fn run(self) {
        let mut was_fine = true;
        loop {
            let after = match self.step().await {
                Ok(step) => {
                    was_fine = told(step, was_fine);
                    self.after()
                }
                Err(error) => {
                    // Told once, not with each try.
                    if was_fine {
                        events::config_feed_failed(error);
                    }
                    was_fine = false;
                    sleep(RETRY).await;
                    self.after()
                }
            };
            // Past the time it looks by itself.
            let _ = timeout(POLL, self.feed.changed(after)).await;
        }
    }

    /// Looks once and applies what is there.
    pub async fn step(&self) -> Result<Step, PortError> {
        let after = self.after();
        match self.feed.read(after).await {
            Ok(ConfigNews::Deltas(deltas)) => match self.go_on(deltas) {
                Some(step) => Ok(step),
                None => self.whole().await,
            },
            Err(PortError::Unreadable) if after.is_some() => self.whole().await,
            Ok(news) => self.take(news).await,
            Err(error) => Err(error),
        }
    }

    async fn whole(&self) -> Result<Step, PortError> {
        let news = self.feed.read(None).await?;
        self.take(news).await
    }

    async fn take(&self, news: ConfigNews) -> Result<Step, PortError> {
        let after = self.after();
        match news {
            ConfigNews::Nothing => Ok(Step::Behind(None)),
            ConfigNews::Level(revision) if Some(revision) == after => {
                self.in_force.heard(now());
                Ok(Step::Confirmed)
            }
            ConfigNews::Level(revision) => Ok(Step::Behind(Some(revision))),
            ConfigNews::Deltas(deltas) => self.go_on(deltas).ok_or(PortError::Unreadable),
            ConfigNews::Whole(snapshot) => {
                check_schema(snapshot.schema, SNAPSHOT_SCHEMA).map_err(|_| PortError::Unreadable)?;
                if Some(snapshot.revision) < after {
                    return Ok(Step::Behind(Some(snapshot.revision)));
                }
                Ok(self.apply_whole(snapshot).await)
            }
        }
    }

    /// Twenty thousand keys take some tens of milliseconds: not on a thread that serves.
    async fn apply_whole(&self, snapshot: Arc<Snapshot>) -> Step {
        let revision = snapshot.revision;
        let hub_key = self.hub_key.clone();
        let compiling = tokio::task::spawn_blocking(move || Live::compile(&snapshot, &hub_key));
        // Only a panic in there, a bug, ends it without a result; the next look tries again.
        let Ok(live) = compiling.await else { return Step::Behind(Some(revision)) };
        self.put(Arc::new(live))
    }

    /// `None`: they do not lead on from here.
    fn go_on(&self, deltas: Vec<Delta>) -> Option<Step> {
        let mut live = self.in_force.load_full();
        for delta in deltas {
            if delta.from != live.revision() || check_schema(delta.schema, SNAPSHOT_SCHEMA).is_err() {
                events::config_gap(live.revision(), delta.from);
                return None;
            }
            live = Arc::new(live.after(delta, &self.hub_key));
        }
        Some(self.put(live))
    }

    fn put(&self, live: Arc<Live>) -> Step {
        let revision = live.revision();
        self.in_force.put(live, now());
        self.feed.applied(revision);
        events::config_applied(revision);
        Step::Applied(revision)
    }

    /// Where we stand; `None` before the first configuration.
    fn after(&self) -> Option<Revision> {
        let revision = self.in_force.load().revision();
        (revision != Revision(0)).then_some(revision)
    }
}

/// Reports what a step found, where that is news; true when it was fine.
fn told(step: Step, was_fine: bool) -> bool {
    match step {
        Step::Applied(_) | Step::Confirmed => {
            if !was_fine {
                events::config_feed_back();
            }
            true
        }
        Step::Behind(found) => {
            if was_fine {
                events::config_behind(found);
            }
            false
        }
    }
}

/// How late a lost announcement is noticed (design §9).
const POLL: Duration = Duration::from_secs(2);
/// Between tries while the feed fails.
const RETRY: Duration = Duration::from_millis(500);
