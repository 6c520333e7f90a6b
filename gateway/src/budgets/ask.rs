//! One question: may this go on?

use super::{Answer, Budgets, Held, Wish};
use crate::hub::now;
use shared::ports::At;
use shared::rules::quota::local::{Doubt, Fleet, LiveHold};
use shared::rules::quota::outage::Verdict;
use shared::rules::quota::{AccountId, Admission, Ask, ScopeId, Standing, epoch_of};
use shared::time::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

impl Budgets {
    /// Asks the store, or decides by what this node knows: when the store does not answer, and when the account is not opened
    /// in time. Takes two seconds at most.
    pub async fn ask(self: &Arc<Self>, wish: Wish<'_>) -> Answer {
        let answer = self.decide(wish).await;
        self.tally.count((&answer).into());
        answer
    }

    async fn decide(self: &Arc<Self>, wish: Wish<'_>) -> Answer {
        self.local().asked(wish.account, wish.scopes);
        let ask = Ask {
            hold: wish.hold,
            owner: self.journal.id(),
            need: wish.need,
            lives_ms: HOLD_LIVES_MS,
            scopes: wish.scopes.to_vec(),
            is_counted: wish.is_counted,
            session: wish.session,
        };
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        let mut has_told = false;
        loop {
            let Some(epoch) = self.epoch(until).await else {
                return self.alone(&wish, Doubt::None);
            };
            let in_epoch = epoch_of(epoch, wish.generation);
            // Given up unless it comes to something: an answer that does not come may have let it in, and who waits may leave.
            let mut held = self.held(&wish, None);
            match self.store.admit(wish.account, &ask, in_epoch).await {
                Ok(At { said: Admission::Admitted { at, standing }, .. }) => {
                    if self.note(&wish, at, &standing, epoch) {
                        held.at = Some(at);
                        return Answer::Admitted { hold: held, standing };
                    }
                    // The store has lost it since: it is asked anew, under the same name.
                    held.keep();
                }
                Ok(At { said: Admission::Refused(refusal), .. }) => {
                    held.keep();
                    let may_help = !has_told && refusal.is_money();
                    if !(may_help && self.tell_now(wish.account).await) {
                        return Answer::Refused(refusal);
                    }
                    has_told = true;
                }
                Ok(At { said: Admission::Unseeded, .. }) => {
                    held.keep();
                    self.epochs.look.notify_one();
                    let _ = self.store.want(wish.account).await;
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return self.alone(&wish, Doubt::None);
                    }
                    sleep(pause.min(left)).await;
                    pause *= 2;
                }
                Err(_) => {
                    self.epochs.look.notify_one();
                    let answer = self.alone(&wish, Doubt::MayBeHeld);
                    if matches!(answer, Answer::Admitted { .. }) {
                        // It goes on under the same name, whether the store has it or not.
                        held.keep();
                    }
                    return answer;
                }
            }
        }
    }

    /// The epoch to ask under; `None` when the store is away, or has none for too long.
    async fn epoch(&self, until: Instant) -> Option<u64> {
        if *self.epochs.is_away.borrow() || !self.releases.has_room() {
            return None;
        }
        let known = *self.epochs.asked.borrow();
        if known.is_some() {
            return known;
        }
        self.epochs.look.notify_one();
        let mut asked = self.epochs.asked.subscribe();
        let mut is_away = self.epochs.is_away.subscribe();
        tokio::select! {
            epoch = timeout_at(until, asked.wait_for(Option::is_some)) => *epoch.ok()?.ok()?,
            _ = is_away.wait_for(|is_away| *is_away) => None,
        }
    }

    /// Keeps what was let in; false when the epoch it was let in under is over, so that nobody has declared it.
    fn note(&self, wish: &Wish<'_>, at: UnixMillis, standing: &Standing, epoch: u64) -> bool {
        let mut local = self.local();
        let is_current = *self.epochs.asked.borrow() == Some(epoch);
        if is_current {
            local.admitted(wish.account, live_hold(wish, at), standing);
        }
        drop(local);
        if is_current && self.tellings.is_behind(wish.account) {
            // It is open: what it was not told before can be told now.
            self.tellings.retry(|behind| behind == wish.account);
            self.wake.notify_one();
        }
        is_current
    }

    fn alone(self: &Arc<Self>, wish: &Wish<'_>, doubt: Doubt) -> Answer {
        let fleet = Fleet { policy: self.policy, nodes: self.nodes.load(Ordering::Relaxed) };
        let at = now();
        let hold = live_hold(wish, at);
        let verdict = self.local().alone(wish.account, hold, doubt, wish.is_strict, fleet);
        match verdict {
            Verdict::Go => {
                self.has_alone.store(true, Ordering::Release);
                self.wake.notify_one();
                Answer::Admitted { hold: self.held(wish, None), standing: Standing::new() }
            }
            Verdict::UsedUp(window) => Answer::UsedUp(window),
            Verdict::Unreachable => Answer::Unreachable,
        }
    }

    fn held(self: &Arc<Self>, wish: &Wish<'_>, at: Option<UnixMillis>) -> Held {
        Held { budgets: self.clone(), account: wish.account, id: wish.hold, at, bound: None, is_kept: false }
    }

    /// A request that ended may still be held, because the store has not heard of it. True when there was something to tell.
    async fn tell_now(&self, account: AccountId) -> bool {
        let last = self.journal.marks().last();
        if self.tellings.has_heard(account, last) {
            return false;
        }
        let mut moved = self.tellings.moved();
        self.tellings.retry(|behind| behind == account);
        self.wake.notify_one();
        let heard =
            async { while !self.tellings.has_heard(account, last) && moved.changed().await.is_ok() {} };
        let _ = timeout(TELL_WITHIN, heard).await;
        true
    }
}

fn live_hold(wish: &Wish<'_>, at: UnixMillis) -> LiveHold {
    let key = wish.scopes.iter().find_map(|(scope, _)| match scope {
        ScopeId::Key(key) => Some(*key),
        ScopeId::Owner => None,
    });
    LiveHold { id: wish.hold, key, need: wish.need, at }
}

/// How long a hold is believed in of which nothing is heard.
pub(super) const HOLD_LIVES_MS: u64 = 15 * 60_000;
/// For an account that is not open, and for an epoch that nobody has begun.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is to be told takes a millisecond; a request waits for it that would be refused.
const TELL_WITHIN: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
