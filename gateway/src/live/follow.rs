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
                    self.in_force.note_answer();
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
        let step = self.look().await?;
        if self.is_newest(step) {
            self.in_force.note_confirmed();
        }
        Ok(step)
    }

    /// Is nothing newer published than what is in force? Where nothing is, nobody knows what was.
    fn is_newest(&self, step: Step) -> bool {
        match step {
            Step::Applied(_) | Step::Confirmed => true,
            Step::Behind(found) => found.is_some() && found < self.after(),
        }
    }

    async fn look(&self) -> Result<Step, PortError> {
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
        if deltas.is_empty() {
            return None;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use shared::contract::delta::between;
    use shared::testing::{hub_key, key_doc, provider, snapshot, user_doc};
    use shared::time::UnixMillis;
    use std::sync::{Mutex, PoisonError};

    /// A feed that answers what it is told to.
    struct Scripted(Mutex<Result<ConfigNews, PortError>>, Mutex<Result<ConfigNews, PortError>>);

    #[async_trait]
    impl ConfigFeed for Scripted {
        async fn changed(&self, _after: Option<Revision>) {}

        async fn read(&self, after: Option<Revision>) -> Result<ConfigNews, PortError> {
            let answer = if after.is_some() { &self.0 } else { &self.1 };
            answer.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn applied(&self, _revision: Revision) {}
    }

    fn follower() -> (Arc<Scripted>, Follower) {
        let feed =
            Arc::new(Scripted(Mutex::new(Ok(ConfigNews::Nothing)), Mutex::new(Ok(ConfigNews::Nothing))));
        let in_force = Arc::new(InForce::new(Duration::from_secs(60)));
        (feed.clone(), Follower::new(feed, Arc::new(hub_key()), in_force))
    }

    fn whole(snapshot: &Snapshot) -> Result<ConfigNews, PortError> {
        Ok(ConfigNews::Whole(Arc::new(snapshot.clone())))
    }

    fn at(revision: u64) -> Snapshot {
        Snapshot { revision: Revision(revision), ..snapshot(vec![provider(1)]) }
    }

    #[tokio::test]
    async fn only_the_newest_revision_itself_confirms_what_is_in_force() {
        let (feed, follower) = follower();
        *feed.1.lock().unwrap() = whole(&at(5));
        assert_eq!(follower.step().await, Ok(Step::Applied(Revision(5))));
        let heard = |ms: i64| follower.in_force.heard(UnixMillis(ms));
        for (answer, found) in [
            (Ok(ConfigNews::Nothing), Ok(Step::Behind(None))),
            (Ok(ConfigNews::Level(Revision(4))), Ok(Step::Behind(Some(Revision(4))))),
            (whole(&at(4)), Ok(Step::Behind(Some(Revision(4))))),
            (Err(PortError::Unavailable), Err(PortError::Unavailable)),
        ] {
            heard(7);
            *feed.0.lock().unwrap() = answer;
            assert_eq!(follower.step().await, found);
            assert_eq!(follower.in_force.heard_at(), UnixMillis(7), "not confirmed by {found:?}");
            assert_eq!(follower.in_force.load().revision(), Revision(5));
        }
        *feed.0.lock().unwrap() = Ok(ConfigNews::Level(Revision(5)));
        assert_eq!(follower.step().await, Ok(Step::Confirmed));
        assert!(follower.in_force.heard_at() > UnixMillis(7));
    }

    /// Of a copy that was kept on disk nobody knows whether it is old, as long as nothing is published.
    #[tokio::test]
    async fn what_is_kept_is_as_good_as_published_when_nothing_newer_is() {
        for (answer, is_confirmed) in [
            (Ok(ConfigNews::Nothing), false),
            (Err(PortError::Unavailable), false),
            (Ok(ConfigNews::Level(Revision(6))), false),
            (Ok(ConfigNews::Level(Revision(5))), true),
            (Ok(ConfigNews::Level(Revision(4))), true),
            (whole(&at(4)), true),
            (whole(&at(6)), true),
        ] {
            let (feed, follower) = follower();
            follower.in_force.put(Arc::new(Live::compile(&at(5), &hub_key())), UnixMillis(1));
            *feed.0.lock().unwrap() = answer.clone();
            let _ = follower.step().await;
            assert_eq!(follower.in_force.is_confirmed(), is_confirmed, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_gap_or_a_broken_delta_is_followed_by_the_whole() {
        for answer in [
            Ok(ConfigNews::Deltas(vec![between(&at(4), &at(9))])),
            Ok(ConfigNews::Deltas(vec![between(&at(5), &at(6)), between(&at(7), &at(9))])),
            Ok(ConfigNews::Deltas(vec![Delta { schema: SNAPSHOT_SCHEMA + 1, ..between(&at(5), &at(9)) }])),
            Err(PortError::Unreadable),
        ] {
            let (feed, follower) = follower();
            *feed.1.lock().unwrap() = whole(&at(5));
            follower.step().await.unwrap();
            *feed.0.lock().unwrap() = answer;
            *feed.1.lock().unwrap() = whole(&at(9));
            assert_eq!(follower.step().await, Ok(Step::Applied(Revision(9))));
        }
        let (feed, follower) = follower();
        *feed.1.lock().unwrap() = whole(&Snapshot { schema: SNAPSHOT_SCHEMA + 1, ..at(5) });
        assert_eq!(follower.step().await, Err(PortError::Unreadable));
    }

    /// Whatever the feed does on the way: what is in force is always one of the published revisions, whole, it never
    /// goes back, and one good answer makes it the newest.
    #[tokio::test]
    async fn it_is_always_at_one_revision_and_ends_at_the_newest() {
        for seed in 0..64 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (feed, follower) = follower();
            let mut published = vec![at(1)];
            for _ in 0..60 {
                if rng.random_bool(0.6) {
                    let last = published.last().unwrap();
                    let mut next = last.clone();
                    next.revision = Revision(last.revision.0 + rng.random_range(1..4));
                    change(&mut next, &mut rng);
                    published.push(next);
                }
                let before = follower.in_force.load().revision();
                *feed.0.lock().unwrap() = answer(&published, &mut rng);
                *feed.1.lock().unwrap() = match rng.random_range(0..4) {
                    0 => Err(PortError::Unavailable),
                    _ => whole(&published[rng.random_range(0..published.len())]),
                };
                let _ = follower.step().await;
                let live = follower.in_force.load_full();
                assert!(live.revision() >= before, "seed {seed}");
                if live.revision() != Revision(0) {
                    let expected = published.iter().find(|s| s.revision == live.revision());
                    assert_eq!(Some(&live.to_snapshot()), expected, "seed {seed}");
                }
            }
            let newest = published.last().unwrap();
            *feed.0.lock().unwrap() = whole(newest);
            *feed.1.lock().unwrap() = whole(newest);
            follower.step().await.unwrap();
            assert_eq!(&follower.in_force.load().to_snapshot(), newest, "seed {seed}");
        }
    }

    fn change(snapshot: &mut Snapshot, rng: &mut StdRng) {
        let id = rng.random_range(2..9);
        match rng.random_range(0..4) {
            0 => {
                snapshot.principals.users.retain(|user| user.id.0 != id);
                snapshot.principals.users.push(user_doc(id));
                snapshot.principals.users.sort_by_key(|user| user.id);
            }
            1 => {
                snapshot.principals.keys.retain(|key| key.id.0 != id);
                snapshot.principals.keys.push(key_doc(id, rng.random_range(1..5)));
                snapshot.principals.keys.sort_by_key(|key| key.id);
            }
            2 => snapshot.principals.keys.retain(|key| key.id.0 != id),
            _ => snapshot.core.providers[0].weight += 1,
        }
    }

    /// Something that a feed could say: the truth, an old truth, half of it, or nothing.
    fn answer(published: &[Snapshot], rng: &mut StdRng) -> Result<ConfigNews, PortError> {
        let from = rng.random_range(0..published.len());
        let to = rng.random_range(from..published.len());
        let deltas = published[from..=to].windows(2).map(|pair| between(&pair[0], &pair[1]));
        match rng.random_range(0..6) {
            0 => Err(PortError::Unavailable),
            1 => Err(PortError::Unreadable),
            2 => Ok(ConfigNews::Nothing),
            3 => Ok(ConfigNews::Level(published[to].revision)),
            4 => whole(&published[to]),
            _ => Ok(ConfigNews::Deltas(deltas.filter(|_| rng.random_bool(0.9)).collect())),
        }
    }
}
