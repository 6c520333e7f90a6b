//! One question: may this go on?

use super::figures::{Came, Word};
use super::{Answer, Budgets, Held, Wish};
use crate::hub::now;
use shared::ids::KeyId;
use shared::money::NanoUsd;
use shared::ports::At;
use shared::rules::quota::escrow::{self, Drawing, Grant};
use shared::rules::quota::local::{Asked, Doubt, Fleet, LiveHold};
use shared::rules::quota::outage::Verdict;
use shared::rules::quota::recalls::Next;
use shared::rules::quota::{AccountId, Admission, Ahead, Ask, Refusal, ScopeId, Standing, epoch_of};
use shared::time::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

impl Budgets {
    /// Asks the store, or decides by what this node knows: when the store does not answer, and when the account is not opened
    /// in time. Takes two seconds at most.
    pub async fn ask(self: &Arc<Self>, wish: Wish<'_>) -> Answer {
        let ahead = match self.draw(&wish) {
            Drew::Answer(answer) => {
                self.tally.count(Came::Drawn);
                return *answer;
            }
            Drew::Nothing(ahead) => ahead,
        };
        let answer = self.decide(wish, ahead).await;
        self.tally.count((&answer).into());
        answer
    }

    async fn decide(self: &Arc<Self>, wish: Wish<'_>, ahead: Option<Ahead>) -> Answer {
        let mut ask = Ask {
            hold: wish.hold,
            owner: self.journal.id(),
            need: wish.need,
            lives_ms: HOLD_LIVES_MS,
            scopes: wish.scopes.to_vec(),
            is_counted: wish.is_counted,
            session: wish.session,
            escrow: ahead,
        };
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        let mut asked_back = AskedBack::default();
        loop {
            let Some(epoch) = self.epoch(until).await else {
                return self.alone(&wish, Doubt::None);
            };
            let in_epoch = epoch_of(epoch, wish.generation);
            // Given up unless it comes to something: an answer that does not come may have let it in, and who waits may leave.
            let mut held = self.held(&wish, None);
            let mut escrow = ask.escrow.map(|_| self.put_aside_ahead(&wish));
            let mut keep = |held: &mut Held| {
                held.keep();
                escrow.iter_mut().for_each(Held::keep);
            };
            self.tally.say(Word::Admit);
            match self.store.admit(wish.account, &ask, in_epoch).await {
                Ok(At { said: Admission::Admitted { at, escrowed, standing }, .. }) => {
                    keep(&mut held);
                    if self.note(&wish, at, escrowed, &standing, epoch) {
                        let held = self.held(&wish, Some(at));
                        return Answer::Admitted { hold: held, standing };
                    }
                    // The store has lost it since: it is asked anew, under the same name.
                }
                Ok(At { said: Admission::Refused(refusal), .. }) => {
                    keep(&mut held);
                    if !self.may_have_room(wish.account, &refusal, &mut asked_back).await {
                        return Answer::Refused(refusal);
                    }
                    ask.escrow = None;
                }
                Ok(At { said: Admission::Unseeded, .. }) => {
                    keep(&mut held);
                    self.epochs.look.notify_one();
                    let _ = self.store.want(wish.account).await;
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return self.alone(&wish, Doubt::None);
                    }
                    sleep(pause.min(left)).await;
                    pause *= 2;
                }
                Ok(At { said: Admission::Over, .. }) => {
                    keep(&mut held);
                    return self.alone(&wish, Doubt::None);
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

    /// Lets it in from what this node has put aside ahead, without a question; or says how much it would put aside with one.
    fn draw(self: &Arc<Self>, wish: &Wish<'_>) -> Drew {
        let (is_counted, has_session) = (wish.is_counted, wish.session.is_some());
        let mut local = self.local();
        local.asked(wish.account, wish.scopes);
        if !escrow::is_enough(wish.scopes, is_counted, has_session) {
            return Drew::Nothing(None);
        }
        let now_ms = self.now_ms();
        // Behind the lock: what is drawn now is declared in the epoch that comes next.
        let Some(epoch) = *self.epochs.asked.borrow() else { return Drew::Nothing(None) };
        let epoch = epoch_of(epoch, wish.generation);
        let drawing = Drawing { hold: wish.hold, need: wish.need, scopes: wish.scopes, epoch };
        if local.is_worth(wish.account, &drawing, now_ms) && !*self.epochs.is_away.borrow() {
            let nodes = self.nodes.load(Ordering::Relaxed);
            return Drew::Nothing(Some(Ahead { worth: escrow::worth(wish.need), nodes }));
        }
        match local.draw(wish.account, &drawing, key_of(wish), now_ms) {
            Some(drawn) => {
                drop(local);
                let (hold, standing) = (self.held(wish, Some(drawn.at)), drawn.standing);
                Drew::Answer(Box::new(Answer::Admitted { hold, standing }))
            }
            None => Drew::Nothing(None),
        }
    }

    /// What the store puts aside ahead with a question: given up as the hold is.
    fn put_aside_ahead(self: &Arc<Self>, wish: &Wish<'_>) -> Held {
        let mut held = self.held(wish, None);
        held.id = wish.hold.escrow();
        held
    }

    /// Keeps what was let in; false when the epoch it was let in under is over, so that nobody has declared it.
    fn note(
        &self,
        wish: &Wish<'_>,
        at: UnixMillis,
        escrowed: NanoUsd,
        standing: &Standing,
        epoch: u64,
    ) -> bool {
        let mut local = self.local();
        let is_current = *self.epochs.asked.borrow() == Some(epoch);
        if is_current {
            local.admitted(wish.account, live_hold(wish, at), standing);
            if escrowed > NanoUsd::ZERO {
                let grant = Grant {
                    id: wish.hold.escrow(),
                    amount: escrowed,
                    scopes: wish.scopes.to_vec(),
                    epoch: epoch_of(epoch, wish.generation),
                    at,
                    standing: standing.clone(),
                };
                local.granted(wish.account, grant, self.now_ms());
            }
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
        let asked = Asked { hold, doubt, is_strict: wish.is_strict, scopes: wish.scopes };
        let verdict = self.local().alone(wish.account, &asked, fleet);
        match verdict {
            Verdict::Go => {
                self.has_alone.store(true, Ordering::Release);
                self.wake.notify_one();
                Answer::Admitted { hold: self.held(wish, None), standing: Standing::default() }
            }
            Verdict::UsedUp(window) => Answer::UsedUp(window),
            Verdict::Unreachable => Answer::Unreachable,
        }
    }

    fn held(self: &Arc<Self>, wish: &Wish<'_>, at: Option<UnixMillis>) -> Held {
        Held { budgets: self.clone(), account: wish.account, id: wish.hold, at, bound: None, is_kept: false }
    }

    /// Is it worth asking once more? Of what is held some may have ended, or wait ahead of requests: here first, then at other nodes.
    async fn may_have_room(&self, account: AccountId, refusal: &Refusal, asked: &mut AskedBack) -> bool {
        if !std::mem::replace(&mut asked.is_here, true) && self.makes_room_here(account, refusal).await {
            return true;
        }
        self.waits_for_others(account, refusal, &mut asked.waits).await
    }

    /// What this node can do by itself, without a wait. False: there was nothing.
    async fn makes_room_here(&self, account: AccountId, refusal: &Refusal) -> bool {
        let has_told = refusal.is_money() && self.tell_now(account).await;
        // What was asked for while the store was slow may be held there, and nobody has it.
        let has_released = refusal.is_money() && self.releases.told(account, RELEASE_WITHIN).await;
        let has_given = refusal.may_be_in_escrow() && self.give_back_own(account).await;
        has_told || has_released || has_given
    }

    /// Recalls what other nodes have put aside ahead, and leaves them the time to give it back. False: there is nothing to wait for.
    async fn waits_for_others(&self, account: AccountId, refusal: &Refusal, waits: &mut u32) -> bool {
        let next = self.local().refused(account, refusal, *waits, self.now_ms());
        let Next::Wait { recalls, for_ms } = next else { return false };
        if recalls && self.store.recall(account).await.is_err() {
            return false;
        }
        *waits += 1;
        sleep(Duration::from_millis(for_ms)).await;
        true
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

/// What was done about a refusal so far.
#[derive(Default)]
struct AskedBack {
    /// What this node could give is given.
    is_here: bool,
    /// How often others were waited for.
    waits: u32,
}

/// What came of a look at what was put aside ahead.
enum Drew {
    /// There was enough.
    Answer(Box<Answer>),
    /// The store is asked, and for so much more.
    Nothing(Option<Ahead>),
}

fn live_hold(wish: &Wish<'_>, at: UnixMillis) -> LiveHold {
    LiveHold { id: wish.hold, key: key_of(wish), need: wish.need, at }
}

fn key_of(wish: &Wish<'_>) -> Option<KeyId> {
    wish.scopes.iter().find_map(|(scope, _)| match scope {
        ScopeId::Key(key) => Some(*key),
        ScopeId::Owner => None,
    })
}

/// How long a hold is believed in of which nothing is heard.
pub(super) const HOLD_LIVES_MS: u64 = 15 * 60_000;
/// For an account that is not open, and for an epoch that nobody has begun.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is to be told takes a millisecond; a request waits for it that would be refused.
const TELL_WITHIN: Duration = Duration::from_millis(200);
/// What is to be released waits for a store that is slow: a little longer than one question to it takes at most.
const RELEASE_WITHIN: Duration = Duration::from_millis(300);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
