//! Keeps the journal's files: syncs what was written, takes away what nobody needs, and notices when the disk is full,
//! broken or does not answer.

use super::directory::Unsynced;
use super::{SYNC_EVERY, UsageJournal};
use crate::events;
use shared::journal::Health;
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
        keep(&journal, &mut synced).await;
        let health = journal.journal.lock().health();
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
async fn keep(journal: &Arc<UsageJournal>, synced: &mut u64) {
    let is_dirty = journal.is_dirty.swap(false, Ordering::AcqRel);
    let unsynced = {
        let mut inner = journal.journal.lock();
        let was_fine = inner.health() == Health::Fine;
        inner.catch_up(journal.now_ms());
        if is_dirty || !was_fine { inner.disk_mut().take_unsynced() } else { None }
    };
    if let Some(unsynced) = unsynced {
        let newest = unsynced.newest;
        if let Err(error) = sync(journal, unsynced).await {
            let is_news = {
                let mut inner = journal.journal.lock();
                // Removed meanwhile, because nothing of it is needed any more: the process ends.
                !inner.disk().is_removed() && inner.sync_failed(journal.now_ms())
            };
            if is_news {
                events::journal_sync_failed(&error);
            }
            return;
        }
        *synced = newest;
    }
    let needless = {
        let mut inner = journal.locked();
        let numbers = inner.take_removable(*synced);
        numbers.into_iter().map(|number| inner.disk().segment(number)).collect::<Vec<_>>()
    };
    for path in needless {
        // One that stays is handed over again by the next process: nothing is booked twice.
        let _ = tokio::fs::remove_file(path).await;
    }
}

/// Syncs. While the disk does not answer, it is not written to either: that would stop a thread that serves seats.
async fn sync(journal: &UsageJournal, unsynced: Unsynced) -> io::Result<()> {
    let mut syncing: JoinHandle<io::Result<()>> = spawn_blocking(move || unsynced.sync());
    if let Ok(synced) = timeout(STALLED_AFTER, &mut syncing).await {
        return synced?;
    }
    journal.journal.lock().stall(true);
    events::journal_health(Health::Stalled);
    let synced = syncing.await;
    journal.journal.lock().stall(false);
    synced?
}

/// How often the journal is looked at when nothing is written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A disk that takes longer for a sync is taken to be gone.
const STALLED_AFTER: Duration = Duration::from_secs(2);
