//! Hands the records over: this process's own and those that dead ones left. Nobody waits for it.

use super::keeper::is_over;
use super::left::Left;
use super::{Cache, LOCK_PATIENCE, UsageJournal};
use crate::events;
use shared::journal::{Handover, Step, last_patience_ms};
use shared::ports::{PortError, UsageBatch, UsageStream};
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
    handover: Handover,
    cache: Cache,
    left: VecDeque<Left>,
    /// A look for more of them. A disk that does not answer holds it up, and nothing else.
    adopting: Option<JoinHandle<Vec<Left>>>,
    adopt_at: Instant,
    was_fine: bool,
}

impl Shipper {
    /// From this journal, and from those beside it, into this stream.
    #[must_use]
    pub fn new(journal: Arc<UsageJournal>, stream: Arc<dyn UsageStream>) -> Self {
        Self {
            journal,
            stream,
            handover: Handover::default(),
            cache: Cache::default(),
            left: VecDeque::new(),
            adopting: None,
            adopt_at: Instant::now(),
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

    /// Hands over what there still is, for a while: a disk that does not answer, or has the journal, holds up no end.
    async fn finish(mut self) {
        let is_safe = self.journal.try_locked(LOCK_PATIENCE).is_some_and(|journal| journal.is_on_disk());
        let patience = Duration::from_millis(last_patience_ms(is_safe));
        let _ = timeout(patience, async {
            loop {
                let is_settled = self.journal.try_locked(Duration::ZERO).map(|journal| journal.is_settled());
                match is_settled {
                    Some(true) => return,
                    Some(false) => {
                        // It must hear the end of it: asks at each turn.
                        self.handover.hurry();
                        if !matches!(self.step().await, Ok(Step::Moved)) {
                            sleep(IDLE_PAUSE).await;
                        }
                    }
                    None => sleep(IDLE_PAUSE).await,
                }
            }
        })
        .await;
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
                events::usage_waits(error, self.journal.marks.unbooked());
            }
            Ok(_) | Err(_) => {}
        }
        stepped
    }

    async fn step(&mut self) -> Result<Step, PortError> {
        // One that is written to by a disk that does not answer is not waited for on this thread.
        let Some(floor) = self.journal.journal.try_lock_for(LOCK_PATIENCE).map(|it| it.watermark()) else {
            return Ok(Step::Stuck);
        };
        let first = self.handover.first();
        let records = self.journal.read(first, BATCH, &mut self.cache).await?;
        let (last, now_ms) = (self.journal.marks.last(), self.journal.now_ms());
        if !self.handover.asks(!records.is_empty(), last, now_ms) {
            return Ok(Step::Idle);
        }
        let batch = UsageBatch { journal: self.journal.id(), floor, first, records };
        let progress = self.stream.append(batch).await?;
        // Not noted it is handed over again, and known there.
        if self.journal.advance(progress) { Ok(self.handover.heard(progress)) } else { Ok(Step::Stuck) }
    }

    async fn step_left(&mut self) -> Result<Step, PortError> {
        let Some(oldest) = self.left.front_mut() else { return Ok(Step::Idle) };
        let (own, now_ms) = (self.journal.marks.level(), self.journal.now_ms());
        let step = oldest.step(own, (BATCH, now_ms), &self.stream).await?;
        if oldest.is_done() {
            if let Some(done) = self.left.pop_front() {
                let journal = self.journal.clone();
                let _ = spawn_blocking(move || done.remove(&journal)).await;
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
