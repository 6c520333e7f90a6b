//! News on its way from a store to its one follower.

use crate::ports::SessionNews;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A bounded list of news that somebody waits for. When it is full, all that is left of it is that something was missed.
#[derive(Debug, Default)]
pub struct NewsQueue {
    waiting: Mutex<Vec<SessionNews>>,
    arrived: Notify,
}

impl NewsQueue {
    /// Nothing waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece of news. Once something was missed, what came before it says nothing more.
    pub fn push(&self, news: SessionNews) {
        let mut waiting = self.lock();
        if news == SessionNews::Missed || waiting.len() >= BOUND {
            waiting.clear();
            waiting.push(SessionNews::Missed);
        } else {
            waiting.push(news);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Waits until there is some, then takes all, in its order. Nothing is lost when it is given up.
    pub async fn take(&self) -> Vec<SessionNews> {
        loop {
            let news = std::mem::take(&mut *self.lock());
            if !news.is_empty() {
                return news;
            }
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SessionNews>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Half a megabyte: a provider with so many sessions failed.
const BOUND: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::session::SessionKey;

    fn ended(n: u8) -> SessionNews {
        SessionNews::Ended { key: SessionKey::from_bytes([n; 16]), generation: u64::from(n) }
    }

    #[tokio::test]
    async fn news_comes_in_order_and_a_full_queue_says_that_some_was_missed() {
        let queue = NewsQueue::new();
        queue.push(ended(1));
        queue.push(ended(2));
        assert_eq!(queue.take().await, [ended(1), ended(2)]);
        for _ in 0..=BOUND {
            queue.push(ended(3));
        }
        queue.push(ended(4));
        assert_eq!(queue.take().await, [SessionNews::Missed, ended(4)]);
        queue.push(ended(5));
        queue.push(SessionNews::Missed);
        assert_eq!(queue.take().await, [SessionNews::Missed]);
    }
}
