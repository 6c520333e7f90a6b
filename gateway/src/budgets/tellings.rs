//! Who is to be told what of which journal: the state that the teller works on, and that a new configuration changes.

use crate::journal::source::Marks;
use crate::live::Live;
use parking_lot::Mutex;
use shared::ids::{JournalId, Revision};
use shared::rules::quota::AccountId;
use shared::rules::quota::hands::{Extent, Hands, may_take};
use shared::rules::quota::telling::{Governed, Moment, Pass, Telling};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// Under one lock, because a new configuration comes in while the teller is on its way.
pub struct Tellings {
    state: Mutex<State>,
    /// Changes with all that was told.
    moved: watch::Sender<()>,
    /// Changes when a journal that was adopted is in this node's hands.
    taken: watch::Sender<()>,
}

struct State {
    revision: Revision,
    /// The far side has confirmed a configuration since this process started. Before, nobody knows who is governed: there is none, or
    /// a kept one that may be old. Nothing goes until then.
    is_confirmed: bool,
    governed: Arc<Governed>,
    /// The first is this process's own.
    journals: Vec<Told>,
    /// Adopted ones of which nothing is left to tell. Their directories may still be there.
    released: BTreeSet<JournalId>,
}

struct Told {
    id: JournalId,
    marks: Arc<Marks>,
    telling: Telling,
    hands: Hands,
}

impl Tellings {
    /// Of a process with this journal.
    pub fn new(id: JournalId, marks: Arc<Marks>) -> Self {
        marks.set_told(0);
        let own = Told { id, marks, telling: Telling::default(), hands: Hands::default() };
        let state = State {
            revision: Revision(0),
            is_confirmed: false,
            governed: Arc::default(),
            journals: vec![own],
            released: BTreeSet::new(),
        };
        Self { state: Mutex::new(state), moved: watch::Sender::new(()), taken: watch::Sender::new(()) }
    }

    /// Goes by this configuration from now on, unless by a later one already. When this returns nothing goes any more that
    /// is to be told to those whom it governs: a beat that names its revision says so. `None`: they are the same.
    pub fn notice(&self, live: &Live, is_confirmed: bool) -> Option<Arc<Governed>> {
        let mut state = self.state.lock();
        let was_confirmed = state.is_confirmed;
        state.is_confirmed |= is_confirmed && live.revision() > Revision(0);
        let is_news = live.revision() > state.revision;
        if !is_news && state.is_confirmed == was_confirmed {
            return None;
        }
        let before = state.governed.clone();
        let after = if is_news { Arc::new(live.governed()) } else { before.clone() };
        state.revision = state.revision.max(live.revision());
        if before == after && was_confirmed {
            return None;
        }
        state.governed = after.clone();
        let known = state.known();
        for told in &mut state.journals {
            // Those that a process finds governed at its start may be open, and not told yet what the books have of the dead.
            let floor = if was_confirmed { told.marks.floor() } else { 0 };
            told.telling.govern(&before, &after, floor);
            told.keep(known.as_deref());
        }
        Some(after)
    }

    /// Who is governed.
    pub fn governed(&self) -> Arc<Governed> {
        self.state.lock().governed.clone()
    }

    /// Is a configuration in force that surely says who is governed?
    pub fn know_who_is_governed(&self) -> bool {
        self.state.lock().is_confirmed
    }

    /// A journal that was adopted is told as well, from what is left of it on.
    pub fn adopt(&self, id: JournalId, marks: Arc<Marks>) {
        let mut state = self.state.lock();
        let told = Told { id, marks, telling: Telling::default(), hands: Hands::default() };
        told.keep(state.known().as_deref());
        state.journals.push(told);
    }

    /// Nothing of this journal is left.
    pub fn forget(&self, id: JournalId) {
        let mut state = self.state.lock();
        state.journals.retain(|told| told.id != id);
        state.released.insert(id);
    }

    /// Adopted journals that are not in this node's hands yet, and may be, once what is not told of them is declared; and who is
    /// governed. `handed_on`: the last number of our own journal by which what was cut with such a one has ended. `None`: nobody knows
    /// who is governed.
    pub fn for_hands(
        &self,
        epoch: u64,
        handed_on: impl Fn(JournalId) -> Option<u64>,
    ) -> Option<(Arc<Governed>, Vec<JournalId>)> {
        let state = self.state.lock();
        let governed = state.known()?;
        let (own, adopted) = state.journals.split_first()?;
        let may_take = |told: &Told| {
            let own = Extent { telling: &own.telling, last: handed_on(told.id)? };
            let dead = Extent { telling: &told.telling, last: told.marks.last() };
            may_take(&governed, dead, own).then_some(told.id)
        };
        let strange = adopted.iter().filter(|told| !told.hands.hold(epoch, &governed));
        let ids = strange.filter_map(may_take).collect();
        Some((governed, ids))
    }

    /// All of this adopted journal is told or declared under this epoch to those who are governed so.
    pub fn take_in_hands(&self, id: JournalId, epoch: u64, governed: Arc<Governed>) {
        if let Some(told) = self.state.lock().journals.iter_mut().find(|told| told.id == id) {
            told.hands.take(epoch, governed);
        }
        self.taken.send_replace(());
    }

    /// The adopted journals in this node's hands, by what was declared under this epoch; with those that are done, until its
    /// last look does not find them `there` any more.
    pub fn in_hands(&self, epoch: Option<u64>, there: &[JournalId]) -> Vec<JournalId> {
        let mut state = self.state.lock();
        state.released.retain(|id| there.contains(id));
        let known = epoch.zip(state.known());
        let adopted =
            state.journals.iter().skip(1).filter(|told| {
                known.as_ref().is_some_and(|(epoch, governed)| told.hands.hold(*epoch, governed))
            });
        adopted.map(|told| told.id).chain(state.released.iter().copied()).collect()
    }

    /// Changes when an adopted journal comes into this node's hands.
    pub fn taken(&self) -> watch::Receiver<()> {
        self.taken.subscribe()
    }

    /// The store has lost everything: all that may not be in the books yet is told again.
    pub fn begin_anew(&self) {
        let mut state = self.state.lock();
        let known = state.known();
        for told in &mut state.journals {
            told.telling = Telling::from(told.marks.floor());
            told.keep(known.as_deref());
        }
    }

    /// From where this journal is read on now, and for whom; `None`: there is nothing to do.
    pub fn next(&self, id: JournalId, moment: Moment) -> Option<(u64, Arc<Governed>)> {
        let state = self.state.lock();
        if state.governed.is_empty() {
            return None;
        }
        let told = state.journals.iter().find(|told| told.id == id)?;
        told.telling.next(moment).map(|from| (from, state.governed.clone()))
    }

    /// Changes how far a journal is told.
    pub fn with<T>(&self, id: JournalId, change: impl FnOnce(&mut Telling, &Governed) -> T) -> Option<T> {
        let mut state = self.state.lock();
        let (known, governed) = (state.known(), state.governed.clone());
        let told = state.journals.iter_mut().find(|told| told.id == id)?;
        let changed = change(&mut told.telling, &governed);
        told.keep(known.as_deref());
        Some(changed)
    }

    /// What came of a pass.
    pub fn passed(&self, id: JournalId, pass: &Pass, are_told: &[bool], moment: Moment) {
        self.with(id, |telling, governed| telling.passed(pass, are_told, governed, moment));
        self.moved.send_replace(());
    }

    /// Those that are behind are told at once.
    pub fn retry(&self, is_meant: impl Fn(AccountId) -> bool) {
        for told in &mut self.state.lock().journals {
            told.telling.retry(&is_meant);
        }
    }

    /// Records of which somebody who is to be told was not told yet.
    pub fn untold(&self) -> u64 {
        let state = self.state.lock();
        let known = state.known();
        let untold = |told: &Told| {
            let needless = told.telling.told(known.as_deref()).max(told.marks.floor());
            told.marks.last().saturating_sub(needless)
        };
        state.journals.iter().map(untold).sum()
    }

    /// When there may be something to do although nothing is written, in milliseconds by the node's own clock.
    pub fn wake_at_ms(&self) -> Option<u64> {
        self.state.lock().journals.iter().filter_map(|told| told.telling.wake_at_ms()).min()
    }

    /// Is this account behind in any journal?
    pub fn is_behind(&self, account: AccountId) -> bool {
        self.state.lock().journals.iter().any(|told| told.telling.is_behind(account))
    }

    /// Has everybody been told all that is in this process's journal up to this number?
    pub fn is_told(&self, last: u64) -> bool {
        let state = self.state.lock();
        state.journals.first().is_none_or(|own| own.telling.told(Some(&state.governed)) >= last)
    }

    /// Has all of it up to this number been looked at, and this account been told what is its own?
    pub fn has_heard(&self, account: AccountId, last: u64) -> bool {
        let state = self.state.lock();
        state.journals.first().is_none_or(|own| own.telling.is_read(last) && !own.telling.is_behind(account))
    }

    /// Changes whenever something was told.
    pub fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }
}

impl State {
    /// Who is governed, where that is sure.
    fn known(&self) -> Option<Arc<Governed>> {
        self.is_confirmed.then(|| self.governed.clone())
    }
}

impl Told {
    fn keep(&self, known: Option<&Governed>) {
        self.marks.set_told(self.telling.told(known));
    }
}
