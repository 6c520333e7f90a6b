//! Keeps the journal's files: syncs what was written, takes away what nobody needs, and notices when the disk is full,
//! broken or does not answer.

use super::directory::Directory;
use super::{LOCK_PATIENCE, SYNC_EVERY, UsageJournal};
use crate::events;
use parking_lot::MutexGuard;
use shared::journal::{Health, Journal};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

/// Keeps them until `stop` is true, and once more then.
pub async fn run(journal: Arc<UsageJournal>, mut stop: watch::Receiver<bool>) {
    let mut told = Health::Fine;
    let mut synced = 0;
    loop {
        let is_over = tokio::select! {
            true = is_over(&mut stop) => true,
            () = journal.written.notified() => {
                // What is written until then is synced together.
                sleep(SYNC_EVERY).await;
                false
            }
            () = sleep(LOOK_EVERY) => false,
        };
        keep(&journal, &mut synced, &mut stop).await;
        let health = look(&journal).map_or(Health::Stalled, |inner| inner.health());
        if health != told && journal.root.is_some() {
            events::journal_health(health);
        }
        told = health;
        if is_over {
            return;
        }
    }
}

/// Waits for the end.
pub(super) async fn is_over(stop: &mut watch::Receiver<bool>) -> bool {
    // The sender gone is the end as well. What it sent is not kept: it is locked.
    stop.wait_for(|stop| *stop).await.map_or(true, |stop| *stop)
}

/// One look; `synced` is the newest segment that has reached the disk.
async fn keep(journal: &Arc<UsageJournal>, synced: &mut u64, stop: &mut watch::Receiver<bool>) {
    let is_dirty = journal.is_dirty.swap(false, Ordering::AcqRel);
    let unsynced = {
        let Some(mut inner) = look(journal) else {
            journal.is_dirty.fetch_or(is_dirty, Ordering::AcqRel);
            return;
        };
        let was_fine = inner.health() == Health::Fine;
        inner.catch_up(journal.now_ms());
        if is_dirty || !was_fine { inner.disk_mut().take_unsynced() } else { None }
    };
    if let Some(unsynced) = unsynced {
        let newest = unsynced.newest;
        let synced_now = sync(journal, move || unsynced.sync(), STALLED_AFTER, stop).await;
        if let Err(error) = synced_now {
            let is_news = {
                let inner = look(journal);
                // Removed meanwhile, because nothing of it is needed any more: the process ends.
                inner.is_some_and(|mut inner| !inner.disk().is_empty() && inner.sync_failed(journal.now_ms()))
            };
            if is_news {
                events::journal_sync_failed(&error);
            }
            return;
        }
        *synced = newest;
    }
    let needless = {
        let Some(mut inner) = journal.try_locked(LOCK_PATIENCE) else { return };
        let numbers = inner.take_removable(*synced);
        numbers.into_iter().map(|number| inner.disk().segment(number)).collect::<Vec<_>>()
    };
    for path in needless {
        // One that stays is handed over again by the next process: nothing is booked twice.
        let _ = tokio::fs::remove_file(path).await;
    }
}

/// Syncs. While the disk does not answer, it is not written to either: that would stop a thread that serves seats. A process
/// that ends does not wait for it.
async fn sync(
    journal: &UsageJournal,
    unsynced: impl FnOnce() -> io::Result<()> + Send + 'static,
    patience: Duration,
    stop: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    let mut syncing: JoinHandle<io::Result<()>> = spawn_blocking(unsynced);
    if let Ok(synced) = timeout(patience, &mut syncing).await {
        return synced?;
    }
    if let Some(mut inner) = look(journal) {
        inner.stall(true);
    }
    events::journal_health(Health::Stalled);
    let synced = tokio::select! {
        synced = &mut syncing => synced,
        _ = is_over(stop) => return Err(io::ErrorKind::TimedOut.into()),
    };
    // A write may hang beside it.
    while look(journal).map(|mut inner| inner.stall(false)).is_none() {
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            _ = is_over(stop) => break,
        }
    }
    synced?
}

/// The journal, unless a disk that does not answer has it: this is not waited for on a thread that serves.
fn look(journal: &UsageJournal) -> Option<MutexGuard<'_, Journal<Directory>>> {
    journal.journal.try_lock_for(LOCK_PATIENCE)
}

/// How often the journal is looked at when nothing is written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A disk that takes longer for a sync is taken to be gone.
const STALLED_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::JournalConfig;
    use shared::ids::JournalId;
    use shared::time::UnixMillis;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_sync_that_hangs_holds_up_no_stop_and_nothing_is_written_meanwhile() {
        let config = JournalConfig { root: None, total_bytes: 1 << 30 };
        let journal = UsageJournal::new(JournalId::from_parts(UnixMillis(1), &[1; 10]), &config);
        let (stop, mut stopped) = watch::channel(false);
        let (answer, waits) = mpsc::channel::<()>();
        let hangs = move || {
            // Until the test is over.
            let _ = waits.recv();
            Ok(())
        };
        let syncing = sync(&journal, hangs, Duration::from_millis(1), &mut stopped);
        let stopping = async {
            while journal.standing().unwrap().health != Health::Stalled {
                tokio::task::yield_now().await;
            }
            stop.send(true).unwrap();
        };
        let (synced, ()) = tokio::join!(syncing, stopping);
        assert_eq!(synced.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(journal.standing().unwrap().health, Health::Stalled);
        drop(answer);
    }
}
