//! Hands the records over: this process's own and those that dead ones left. Nobody waits for it.

use super::keeper::is_over;
use super::left::{Left, Step};
use super::{ASK_EVERY, Cache, UsageJournal};
use crate::events;
use shared::ports::{PortError, Progress, UsageBatch, UsageStream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

/// Moves records from journals into the stream.
pub struct Shipper {
    journal: Arc<UsageJournal>,
    stream: Arc<dyn UsageStream>,
    progress: Progress,
    cache: Cache,
    left: VecDeque<Left>,
    /// A look for more of them. A disk that does not answer holds it up, and nothing else.
    adopting: Option<JoinHandle<Vec<Left>>>,
    adopt_at: Instant,
    asked_at: Option<Instant>,
    was_fine: bool,
}

impl Shipper {
    /// From this journal, and from those beside it, into this stream.
    #[must_use]
    pub fn new(journal: Arc<UsageJournal>, stream: Arc<dyn UsageStream>) -> Self {
        Self {
            journal,
            stream,
            progress: Progress::default(),
            cache: Cache::default(),
            left: VecDeque::new(),
            adopting: None,
            adopt_at: Instant::now(),
            asked_at: None,
            was_fine: true,
        }
    }

    /// Ships until `stop` is true, then what there still is, for a while.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            self.adopt().await;
            let pause = match self.round().await {
                Ok(Step::Moved) => continue,
                Ok(Step::Idle | Step::Stuck) => IDLE_PAUSE,
                Err(_) => FAILED_PAUSE,
            };
            tokio::select! {
                _ = is_over(&mut stop) => {}
                () = sleep(pause) => {}
            }
        }
        self.finish().await;
    }

    /// What the disk has can wait for the next process; what only memory has is worth some patience.
    async fn finish(mut self) {
        let is_safe = self.journal.journal.lock().is_on_disk();
        let patience = if is_safe { SHORT_PATIENCE } else { LONG_PATIENCE };
        let _ = timeout(patience, async {
            while !self.journal.locked().is_settled() {
                // It must hear the end of it: asks at each turn.
                self.asked_at = None;
                if !matches!(self.step().await, Ok(Step::Moved)) {
                    sleep(IDLE_PAUSE).await;
                }
            }
        })
        .await;
        let mut journal = self.journal.locked();
        if journal.is_settled() {
            // One that stays is adopted by the next process, and found to be in the books.
            let _ = journal.disk_mut().remove();
            events::journal_done(self.journal.id());
        } else {
            events::journal_stays(journal.last_seq() - journal.watermark(), journal.is_on_disk());
        }
    }

    /// Looks now and then for journals whose processes are gone; never waits for the disk.
    async fn adopt(&mut self) {
        let Some(root) = self.journal.root.clone() else { return };
        match self.adopting.take_if(|adopting| adopting.is_finished()) {
            Some(adopting) => {
                self.left.extend(adopting.await.unwrap_or_default());
                self.adopt_at = Instant::now() + ADOPT_EVERY;
            }
            None if self.adopting.is_none() && Instant::now() >= self.adopt_at => {
                let journal = self.journal.clone();
                self.adopting = Some(spawn_blocking(move || Left::adopt(&journal, &root)));
            }
            None => {}
        }
    }

    /// One batch of our own, and one of the oldest that was left.
    async fn round(&mut self) -> Result<Step, PortError> {
        let stepped = match self.step().await {
            Ok(step) => self.step_left().await.map(|left| if left == Step::Moved { left } else { step }),
            Err(error) => Err(error),
        };
        match stepped {
            Ok(_) if !self.was_fine => {
                self.was_fine = true;
                events::usage_moves_again();
            }
            Err(error) if self.was_fine => {
                // Told once, not with each try.
                self.was_fine = false;
                events::usage_waits(error, self.journal.standing().unbooked);
            }
            Ok(_) | Err(_) => {}
        }
        stepped
    }

    async fn step(&mut self) -> Result<Step, PortError> {
        let first = self.progress.taken + 1;
        let records = self.journal.read(first, BATCH, &mut self.cache).await?;
        let is_level = self.progress.watermark == self.progress.taken;
        if records.is_empty() && (is_level || self.asked_at.is_some_and(|at| at.elapsed() < ASK_EVERY)) {
            return Ok(Step::Idle);
        }
        self.asked_at = Some(Instant::now());
        let floor = self.journal.journal.lock().watermark();
        let batch = UsageBatch { journal: self.journal.id(), floor, first, records };
        let progress = self.stream.append(batch).await?;
        self.journal.advance(progress);
        let before = std::mem::replace(&mut self.progress, progress).taken;
        Ok(if progress.taken == before { Step::Idle } else { Step::Moved })
    }

    async fn step_left(&mut self) -> Result<Step, PortError> {
        let Some(oldest) = self.left.front_mut() else { return Ok(Step::Idle) };
        let own_done = self.journal.locked().watermark().min(self.journal.marks().told());
        let step = oldest.step(own_done, BATCH, &self.stream).await?;
        if oldest.is_done() {
            if let Some(done) = self.left.pop_front() {
                let _ = spawn_blocking(move || done.remove()).await;
            }
        } else if step != Step::Moved {
            // It holds up nobody: the others have their turns.
            self.left.rotate_left(1);
        }
        Ok(if step == Step::Moved { step } else { Step::Idle })
    }
}

/// Records a call: some hundred kilobytes.
const BATCH: usize = 256;
const IDLE_PAUSE: Duration = Duration::from_millis(20);
const FAILED_PAUSE: Duration = Duration::from_millis(250);
/// A process that shares the directory may end at any time.
const ADOPT_EVERY: Duration = Duration::from_secs(2);
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
const LONG_PATIENCE: Duration = Duration::from_secs(10);
