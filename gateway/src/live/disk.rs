//! The last configuration, kept on disk: a gateway starts from it when nobody is there to ask.
//!
//! One file, readable by its owner alone, secrets still sealed. Its first line says when the configuration was last
//! confirmed and is written over in place; the rest is the packed snapshot, replaced whole by a rename. The line is
//! only renewed while the file holds what is in force: an old configuration must not look young.

use super::InForce;
use crate::events;
use shared::contract::codec::{self, DecodeError};
use shared::contract::snapshot::{SNAPSHOT_SCHEMA, Snapshot};
use shared::ids::Revision;
use shared::time::UnixMillis;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Where it is kept.
#[derive(Debug, Clone)]
pub struct Disk {
    path: PathBuf,
}

/// What was kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// The configuration.
    pub snapshot: Snapshot,
    /// When it was last confirmed to be the newest.
    pub heard_at: UnixMillis,
}

/// Why what was kept cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Its first line is none of ours.
    #[error("is no kept configuration")]
    Head,
    /// What follows is broken, or from a later release.
    #[error(transparent)]
    Document(#[from] DecodeError),
}

impl Disk {
    /// Kept in this file; its directory must exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What is there; `None` before the first save.
    pub fn load(&self) -> Result<Option<Kept>, DiskError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (head, document) = bytes.split_at_checked(HEAD_BYTES).ok_or(DiskError::Head)?;
        let heard_at = parse_head(head).ok_or(DiskError::Head)?;
        let snapshot: Snapshot = codec::unpack(document)?;
        codec::check_schema(snapshot.schema, SNAPSHOT_SCHEMA)?;
        Ok(Some(Kept { snapshot, heard_at }))
    }

    /// Replaces what is there.
    pub fn save(&self, snapshot: &Snapshot, heard_at: UnixMillis) -> io::Result<()> {
        let document = codec::pack(snapshot)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        // Made for its owner alone, and gone again if anything below fails.
        let mut file = tempfile::Builder::new().prefix(".config-").tempfile_in(directory)?;
        file.write_all(head(heard_at).as_bytes())?;
        file.write_all(&document)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    }

    /// Notes that what is there was confirmed again.
    pub fn confirm(&self, heard_at: UnixMillis) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.write_all_at(head(heard_at).as_bytes(), 0)
    }
}

/// Saves what is in force whenever it changes, and notes now and then that it was confirmed, until `stop` is true;
/// then once more if needed.
pub async fn keep(disk: Disk, in_force: Arc<InForce>, mut stop: watch::Receiver<bool>) {
    let mut keeper = Keeper { disk, saved: None, confirmed: UnixMillis(0), was_fine: true };
    let mut revision = in_force.revision();
    loop {
        let took = keeper.step(&in_force).await;
        // A large configuration that changes all the time must not cost more than a twentieth of a core.
        let pause = (took * 20).min(LONGEST_PAUSE);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = sleep(pause) => {}
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = revision.changed() => {}
            () = sleep(CONFIRM_EVERY) => {}
        }
    }
    keeper.step(&in_force).await;
}

struct Keeper {
    disk: Disk,
    saved: Option<Revision>,
    confirmed: UnixMillis,
    was_fine: bool,
}

impl Keeper {
    /// Brings the file up to date; answers how long that took.
    async fn step(&mut self, in_force: &Arc<InForce>) -> Duration {
        let began = Instant::now();
        let live = in_force.load_full();
        let (revision, heard_at) = (live.revision(), in_force.heard_at());
        if revision == Revision(0) || (self.saved == Some(revision) && self.confirmed == heard_at) {
            return Duration::ZERO;
        }
        let (disk, is_saved) = (self.disk.clone(), self.saved == Some(revision));
        let work = move || {
            if is_saved { disk.confirm(heard_at) } else { disk.save(&live.to_snapshot(), heard_at) }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => {
                (self.saved, self.confirmed, self.was_fine) = (Some(revision), heard_at, true);
            }
            Ok(Err(error)) => {
                // Told once. What is there now may be anything: the next step saves all of it.
                if self.was_fine {
                    events::config_copy_failed(&error);
                }
                (self.saved, self.was_fine) = (None, false);
            }
            // The runtime is going down.
            Err(_) => self.saved = None,
        }
        began.elapsed()
    }
}

fn head(heard_at: UnixMillis) -> String {
    format!("{HEAD}{:020}\n", heard_at.0.max(0))
}

fn parse_head(head: &[u8]) -> Option<UnixMillis> {
    let digits = std::str::from_utf8(head).ok()?.strip_prefix(HEAD)?.strip_suffix('\n')?;
    digits.parse().ok().map(UnixMillis)
}

const HEAD: &str = "cch-config 1 confirmed_at_ms=";
const HEAD_BYTES: usize = HEAD.len() + 20 + 1;
/// How much older than it is a kept configuration may look after a crash.
const CONFIRM_EVERY: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use shared::testing::{provider, snapshot};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_kept_comes_back_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path().join("config.snapshot"));
        assert!(disk.load().unwrap().is_none());
        let snapshot = snapshot(vec![provider(1)]);
        disk.save(&snapshot, UnixMillis(1_790_000_000_000)).unwrap();
        let kept = disk.load().unwrap().unwrap();
        assert_eq!(kept, Kept { snapshot: snapshot.clone(), heard_at: UnixMillis(1_790_000_000_000) });
        disk.confirm(UnixMillis(1_790_000_060_000)).unwrap();
        let kept = disk.load().unwrap().unwrap();
        assert_eq!(kept, Kept { snapshot, heard_at: UnixMillis(1_790_000_060_000) });
        let mode = fs::metadata(&disk.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let bytes = fs::read(&disk.path).unwrap();
        assert!(!bytes.windows(15).any(|w| w == b"upstream-secret"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_broken_is_told_and_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path().join("config.snapshot"));
        fs::write(&disk.path, "short").unwrap();
        assert!(matches!(disk.load(), Err(DiskError::Head)));
        disk.save(&snapshot(vec![]), UnixMillis(1)).unwrap();
        let mut bytes = fs::read(&disk.path).unwrap();
        bytes.truncate(bytes.len() - 4);
        fs::write(&disk.path, bytes).unwrap();
        assert!(matches!(disk.load(), Err(DiskError::Document(_))));
        let later = Snapshot { schema: SNAPSHOT_SCHEMA + 1, ..snapshot(vec![]) };
        disk.save(&later, UnixMillis(1)).unwrap();
        assert!(matches!(disk.load(), Err(DiskError::Document(DecodeError::TooNew { .. }))));
    }
}
