//! Tells the store what requests have cost, in the order of the journals, as soon as it is written down; and what this node
//! holds, when the store does not know it (any more).
//!
//! ```text
//!  a round: new configuration → new epoch: declare all, begin anew → what was let in alone → adopted journals →
//!           a stretch of each journal → journals that are told and booked to their end
//! ```
//! Who is to be told what is decided in [`shared::rules::quota::telling`]. While nothing is limited anywhere nothing is read.

mod adopted;

use super::declare::{AT_A_TIME, BATCH, Declarations, Declared};
use super::figures::Word;
use super::limits::Limited;
use super::{Budgets, ahead, releases};
use crate::events;
use crate::hub::now;
use crate::journal::source::{Source, Stretch};
use futures::stream::{self, StreamExt as _};
use shared::ids::{JournalId, Revision};
use shared::rules::quota::telling::{Due, Governed, Moment};
use shared::rules::quota::{Owed, Said, ScopeId, Settle, Terms, epoch_of};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Tells what there is to tell.
pub struct Teller {
    budgets: Arc<Budgets>,
    /// This process's own first.
    sources: Vec<Source>,
    declarations: Declarations,
    revision: watch::Receiver<Revision>,
    /// The configuration is confirmed: who is governed is known from then on.
    is_confirmed: watch::Receiver<bool>,
    stored: watch::Receiver<Option<u64>>,
    is_away: watch::Receiver<bool>,
    was_away: bool,
    forget_at: Instant,
    /// Journals of dead processes that wait for the books alone, since when; with the epoch under which what they held was given up.
    waiting: HashMap<JournalId, (Instant, Option<u64>)>,
}

/// Tells until `stop` is true, then what there still is, for a while.
pub async fn run(budgets: Arc<Budgets>, mut stop: watch::Receiver<bool>) {
    let mut teller = Teller::new(budgets);
    while !*stop.borrow() {
        if teller.round().await {
            continue;
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = teller.something() => {}
        }
    }
    teller.finish().await;
}

impl Teller {
    fn new(budgets: Arc<Budgets>) -> Self {
        Self {
            sources: vec![Source::own(budgets.journal.clone())],
            declarations: Declarations::default(),
            revision: budgets.live.revision(),
            is_confirmed: budgets.live.confirmed(),
            stored: budgets.epochs.stored.subscribe(),
            is_away: budgets.epochs.is_away.subscribe(),
            was_away: false,
            forget_at: Instant::now() + FORGET_EVERY,
            waiting: HashMap::new(),
            budgets,
        }
    }

    /// Waits until there may be something to do.
    async fn something(&mut self) {
        let budgets = &self.budgets;
        // What is written says nothing to anybody while nothing is limited.
        let is_governed = !budgets.tellings.governed().is_empty();
        let asked = *budgets.epochs.asked.borrow();
        let can_tell = is_governed && asked.is_some() && !*self.is_away.borrow();
        let wake_at_ms = budgets.tellings.wake_at_ms().filter(|_| can_tell);
        let until_wake =
            wake_at_ms.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(budgets.now_ms())));
        let stored = *self.stored.borrow();
        // The store was to be told something else, and did not answer; or the books are on their way through a journal that was
        // adopted.
        let is_late = (stored.is_some() && stored != asked)
            || (is_governed && budgets.has_alone.load(Ordering::Acquire));
        let longest = if is_late || self.sources.len() > 1 { AGAIN_AFTER } else { LONGEST_PAUSE };
        let pause = until_wake.unwrap_or(longest).clamp(SHORTEST_PAUSE, longest);
        tokio::select! {
            () = budgets.news(), if is_governed => {}
            () = self.budgets.journal.adopts() => {}
            () = self.budgets.wake.notified() => {}
            _ = self.revision.changed() => {}
            Ok(()) = self.is_confirmed.changed() => {}
            _ = self.stored.changed() => {}
            _ = self.is_away.changed() => {}
            () = sleep(pause) => {}
        }
    }

    /// Whatever there is to do now; true when it may not have been all.
    async fn round(&mut self) -> bool {
        self.budgets.notice();
        self.forget();
        for adopted in self.budgets.journal.take_adopted() {
            self.budgets.tellings.adopt(adopted.id, adopted.marks().clone());
            self.sources.push(Source::adopted(adopted));
        }
        let is_away = *self.is_away.borrow_and_update();
        if std::mem::replace(&mut self.was_away, is_away) && !is_away {
            self.budgets.tellings.retry(|_| true);
        }
        let epoch = self.follow().await;
        if let Some(epoch) = epoch
            && self.budgets.has_alone.swap(false, Ordering::AcqRel)
            && self.budgets.declare_alone(epoch).await.is_err()
        {
            self.budgets.has_alone.store(true, Ordering::Release);
        }
        self.budgets.pace().goes();
        let mut has_moved = false;
        for n in 0..self.sources.len() {
            has_moved |= self.step(n, epoch).await;
        }
        if let Some(epoch) = epoch {
            self.take_in_hands(epoch).await;
            self.give_up_holds(epoch).await;
        }
        self.let_go(epoch).await;
        has_moved
    }

    /// The epoch to tell under. A new one begins with all that this node holds.
    async fn follow(&mut self) -> Option<u64> {
        let epochs = &self.budgets.epochs;
        let stored = *self.stored.borrow_and_update();
        let asked = *epochs.asked.borrow();
        if stored != asked {
            // Whoever is let in from now on under the one before asks again.
            epochs.asked.send_replace(None);
            let epoch = stored?;
            // The first that a process sees may be an old one: what a dead process did not tell under it still counts.
            if epochs.declared.borrow().is_some() {
                self.budgets.tellings.begin_anew();
            }
            self.budgets.local().begin_anew();
            self.declarations = Declarations::default();
            if self.budgets.declare_all(&mut self.sources, epoch).await.is_err() {
                return None;
            }
            epochs.asked.send_replace(stored);
            epochs.declared.send_replace(stored);
        }
        stored.filter(|_| !*epochs.is_away.borrow())
    }

    /// Tells a stretch of a journal; true when there may be more.
    async fn step(&mut self, n: usize, epoch: Option<u64>) -> bool {
        let Some(source) = self.sources.get_mut(n) else { return false };
        let (id, marks) = (source.id(), source.marks().clone());
        let budgets = self.budgets.clone();
        let moment = || Moment { last: marks.last(), now_ms: budgets.now_ms(), can_tell: epoch.is_some() };
        let Some((from, governed)) = budgets.tellings.next(id, moment()) else { return false };
        // A disk that does not answer is asked again with the next round.
        let Ok(Stretch { first, records }) = source.read(from + 1, BATCH).await else { return false };
        if first > from + 1 {
            if from > marks.floor() {
                events::budgets_untold(id, from + 1, first - 1);
            }
            budgets.tellings.with(id, |telling, _| telling.lift(from, first - 1));
        }
        if records.is_empty() {
            return first > from + 1;
        }
        let (from, to) = (first - 1, first - 1 + records.len() as u64);
        let mut charges = Vec::new();
        let mut silent = Vec::new();
        for (seq, record) in (first..).zip(&records) {
            // One that cannot be read is set aside by the books as well.
            let Said { owed, silent: of_record } = budgets.sayings.take(record);
            charges.extend(owed.into_iter().map(|owed| (seq, owed)));
            silent.extend(of_record.into_iter().map(|silent| (seq, silent)));
        }
        let passed = budgets
            .tellings
            .with(id, |telling, governed| telling.pass((from, to), &charges, governed, moment()));
        let Some(pass) = passed else { return false };
        for (_, (account, hold)) in silent.into_iter().filter(|(seq, _)| *seq > pass.news_above) {
            // It was declared after it had been let in alone, and has come to nothing.
            if budgets.local().holds(account, hold) {
                budgets.give_up(account, hold);
            }
        }
        let are_told = self.tell(id, &pass.due, &charges, epoch).await;
        self.declare_untold(id, &are_told, &pass.due, &charges, &governed, epoch).await;
        budgets.tellings.passed(id, &pass, &are_told, moment());
        // What is written by now says so itself.
        to - from >= BATCH as u64
    }

    /// Tells each account what is due to it, some accounts at a time.
    async fn tell(
        &self,
        id: JournalId,
        due: &[Due],
        charges: &[(u64, Owed)],
        epoch: Option<u64>,
    ) -> Vec<bool> {
        let live = self.budgets.live.load_full();
        let mut limited = Limited::new(&self.budgets, &live, now());
        let scopes: Vec<Vec<(ScopeId, Terms)>> = {
            let mut of = |(_, owed): &(u64, Owed)| limited.scopes(owed.account, owed.key);
            // In the order of the charges; nothing is looked up for those that are not due.
            let mut all = vec![Vec::new(); charges.len()];
            for n in due.iter().flat_map(|due| &due.charges) {
                if let (Some(place), Some(charge)) = (all.get_mut(*n), charges.get(*n)) {
                    *place = of(charge);
                }
            }
            all
        };
        let scopes = &scopes;
        let tell = |due: &'_ Due| {
            let due = due.clone();
            async move { self.tell_one(id, &due, charges, scopes, epoch).await }
        };
        stream::iter(due).map(tell).buffered(AT_A_TIME).collect().await
    }

    /// True when it has heard all that is due to it.
    async fn tell_one(
        &self,
        id: JournalId,
        due: &Due,
        charges: &[(u64, Owed)],
        scopes: &[Vec<(ScopeId, Terms)>],
        epoch: Option<u64>,
    ) -> bool {
        let budgets = &self.budgets;
        let Some(epoch) = epoch.filter(|_| !*budgets.epochs.is_away.borrow()) else { return false };
        let told: Vec<_> = due.charges.iter().filter_map(|n| charges.get(*n).zip(scopes.get(*n))).collect();
        let epoch = epoch_of(epoch, due.generation);
        let (charges, backs) = budgets.words(due.account, &told, epoch);
        let words = Settle { journal: id, charges, backs };
        budgets.tally.say(Word::Settle);
        let heard = budgets.store.settle(due.account, &words, epoch).await.map(|at| at.said);
        match heard {
            Ok(true) => {
                budgets.charged(&told, &words);
                return true;
            }
            Ok(false) => {
                let _ = budgets.store.want(due.account).await;
            }
            Err(_) => {}
        }
        budgets.epochs.look.notify_one();
        false
    }

    /// What cannot be told to an account that is not open is put aside there meanwhile, once: its request may not have run
    /// when all was declared.
    async fn declare_untold(
        &mut self,
        id: JournalId,
        are_told: &[bool],
        due: &[Due],
        charges: &[(u64, Owed)],
        governed: &Governed,
        epoch: Option<u64>,
    ) {
        let Some(epoch) = epoch else { return };
        let mut declared = Vec::new();
        let mut noted = Vec::new();
        {
            let live = self.budgets.live.load_full();
            let mut limited = Limited::new(&self.budgets, &live, now());
            for (due, _) in due.iter().zip(are_told).filter(|(_, is_told)| !**is_told) {
                let Some(generation) = governed.generation(due.account) else { continue };
                let whose = (due.account, generation);
                let of = due.charges.iter().filter_map(|n| charges.get(*n));
                for (seq, owed) in of.filter(|(seq, _)| !self.declarations.have(id, whose, *seq)) {
                    declared.push(Declared::of_record(id, owed, generation, &mut limited));
                    noted.push((whose, *seq));
                }
            }
        }
        if self.budgets.declare(declared, epoch).await.is_ok() {
            noted.into_iter().for_each(|(whose, seq)| self.declarations.note(id, whose, seq));
        }
    }

    /// What is so old that nothing can be heard of it any more.
    fn forget(&mut self) {
        if self.forget_at <= Instant::now() {
            self.forget_at = Instant::now() + FORGET_EVERY;
            let governed = self.budgets.tellings.governed();
            self.budgets.forget(&governed);
        }
    }

    /// A node that stops tells what there is to tell, and leaves no hold behind. What the time is not enough for is told by
    /// whoever adopts the journal.
    async fn finish(mut self) {
        let _ = timeout(FINISH_PATIENCE, async {
            while !self.budgets.tellings.is_told(self.budgets.journal.marks().last()) {
                if !self.round().await {
                    sleep(SHORTEST_PAUSE).await;
                }
            }
        })
        .await;
        ahead::finish(&self.budgets, FINISH_PATIENCE).await;
        releases::finish(&self.budgets, FINISH_PATIENCE).await;
    }
}

/// Whoever is behind is tried again after a while; nothing is tried more often.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// Shorter than what the journal waits for the books.
const FINISH_PATIENCE: Duration = Duration::from_millis(1_500);
