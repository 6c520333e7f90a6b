//! The journal of a process that ends goes last, when all others are done with it.

use super::{LOCK_PATIENCE, UsageJournal};
use crate::events;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Takes the journal of a process that ends from the disk, if nobody needs anything of it: it is in the books and told, and
/// nothing is held for its process (`is_free`). True when nothing of it is left. One that stays is adopted by the next process, which
/// gives back what is held. To be called when all others are done with it.
pub async fn let_go(journal: &Arc<UsageJournal>, is_free: bool) -> bool {
    let its = journal.clone();
    let going = spawn_blocking(move || {
        let mut journal = its.try_locked(LOCK_PATIENCE)?;
        if !journal.is_settled() {
            return Some(Going::Unsettled(
                journal.last_seq() - journal.watermark(),
                journal.in_memory_alone(),
            ));
        }
        // Of one that no disk ever had, nothing could stay.
        if !is_free && journal.disk().is_claimed() {
            return Some(Going::Holds);
        }
        Some(if journal.disk_mut().remove().is_ok() { Going::Gone } else { Going::Left })
    });
    let id = journal.id();
    match timeout(REMOVE_PATIENCE, going).await {
        Ok(Ok(Some(Going::Gone))) => {
            events::journal_done(id);
            return true;
        }
        Ok(Ok(Some(Going::Holds))) => events::journal_still_holds(id),
        Ok(Ok(Some(Going::Unsettled(unbooked, in_memory)))) => events::journal_stays(unbooked, in_memory),
        Ok(Ok(Some(Going::Left))) => events::journal_left(id),
        // The disk does not answer.
        Ok(Ok(None) | Err(_)) | Err(_) => match journal.try_locked(LOCK_PATIENCE) {
            Some(journal) if journal.is_settled() => events::journal_left(id),
            Some(_) | None => events::journal_held(journal.marks.unbooked()),
        },
    }
    false
}

/// What becomes of a journal at the end of its process.
enum Going {
    /// It is gone.
    Gone,
    /// Nothing of it is needed, and the disk did not let it go.
    Left,
    /// Something is held for its process.
    Holds,
    /// So many records are not in the books, or not told; so many of them memory alone has.
    Unsettled(u64, usize),
}

/// For a directory that is taken away.
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);
