//! Budgets as this gateway asks them: whether a request may go on, and what it has cost.
//!
//! What is decided is in [`shared::rules::quota`]: by the store while it answers, by what this node knows ([`Local`]) while
//! it is away. Only accounts that are under limits come here; for all others nothing is asked, told or kept.

mod ahead;
mod ask;
mod declare;
mod figures;
mod follower;
mod history;
mod limits;
pub mod need;
mod pace;
mod releases;
mod sayings;
mod settling;
mod teller;
mod tellings;
#[cfg(test)]
mod tests;

pub use figures::Figures;

use crate::hub::now;
use crate::journal::UsageJournal;
use crate::live::{InForce, Live};
use figures::Tally;
use history::Histories;
use parking_lot::{Mutex, MutexGuard};
use releases::Releases;
use sayings::Sayings;
use shared::contract::usage::UsageRecord;
use shared::ids::JournalId;
use shared::money::NanoUsd;
use shared::ports::{NodeRegistry, QuotaStore};
use shared::rules::quota::local::Local;
use shared::rules::quota::outage::OutagePolicy;
use shared::rules::quota::pace::Pace;
use shared::rules::quota::telling::Governed;
use shared::rules::quota::{AccountId, Calendar, HoldId, Refusal, Said, ScopeId, Standing, Terms, WindowNow};
use shared::time::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Instant;
use tellings::Tellings;
use tokio::sync::{Notify, watch};

/// What this node knows of budgets, and where they are kept.
pub struct Budgets {
    store: Arc<dyn QuotaStore>,
    journal: Arc<UsageJournal>,
    live: Arc<InForce>,
    policy: OutagePolicy,
    local: Mutex<Local>,
    releases: Releases,
    epochs: Epochs,
    tellings: Tellings,
    /// Something was let in without the store that it has not heard of.
    has_alone: AtomicBool,
    /// There is something to tell that is in no journal.
    wake: Notify,
    clock: Instant,
    /// Gateways that were there when they were last counted, this one included.
    nodes: AtomicU32,
    /// What records say that are not told yet.
    sayings: Sayings,
    /// When they are told.
    pace: Mutex<Pace>,
    /// Where days, weeks and months begin.
    calendar: Mutex<Calendar>,
    tally: Tally,
    /// What requests have cost lately.
    pub histories: Histories,
}

/// Which epoch of the store this node goes by.
struct Epochs {
    /// What the store said last.
    stored: watch::Sender<Option<u64>>,
    /// Under which accounts are asked. `None`: there is none, or what this node holds is not declared under it yet.
    asked: watch::Sender<Option<u64>>,
    /// The last one in which all was declared.
    declared: watch::Sender<Option<u64>>,
    /// The store does not answer.
    is_away: watch::Sender<bool>,
    /// Somebody has a reason to look at once.
    look: Notify,
}

/// What one decision is asked for.
pub struct Wish<'a> {
    /// Of which account.
    pub account: AccountId,
    /// Its generation; never 0, which is an account without limits.
    pub generation: u32,
    /// What the hold is called.
    pub hold: HoldId,
    /// What it may cost.
    pub need: NanoUsd,
    /// The need is a bound: nothing is let in that could pass a limit.
    pub is_strict: bool,
    /// Whose limits count, in the order in which they are looked at.
    pub scopes: &'a [(ScopeId, Terms)],
    /// Whether it counts for the requests of a minute.
    pub is_counted: bool,
    /// Its conversation, and for how many milliseconds one that is not seen any more counts.
    pub session: Option<(u64, u64)>,
}

/// What becomes of a [`Wish`].
pub enum Answer {
    /// It may go on: said by the store or, while that is away, by this node alone.
    Admitted {
        /// Its money.
        hold: Held,
        /// How its scopes stand; empty when the store was not heard.
        standing: Standing,
    },
    /// A limit stands against it.
    Refused(Refusal),
    /// The store is away, and this node's share of what was left in a window is used up.
    UsedUp(WindowNow),
    /// The store is away, and nobody can say what is left: 429 `quota_unreachable`.
    Unreachable,
}

/// A hold under way. Dropped without a word it is given up, and the store is told so.
pub struct Held {
    budgets: Arc<Budgets>,
    account: AccountId,
    id: HoldId,
    at: Option<UnixMillis>,
    /// The most that it can cost; `None`: nobody has said so.
    bound: Option<NanoUsd>,
    is_kept: bool,
}

impl Held {
    /// When it was let in, by the store's clock; `None` when this node decided alone.
    #[must_use]
    pub fn at(&self) -> Option<UnixMillis> {
        self.at
    }

    /// What is put aside is the most that it can cost.
    #[must_use]
    pub fn bounded(mut self, bound: NanoUsd) -> Self {
        self.bound = Some(bound);
        self
    }

    /// The most that it was to cost, and which attempt that is; 0: the whole request.
    #[must_use]
    pub fn bound(&self) -> Option<(u32, NanoUsd)> {
        self.bound.map(|bound| (self.id.1, bound))
    }

    /// A record of the journal will say what it cost: it is not given up any more.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_kept {
            self.budgets.give_up(self.account, self.id);
        }
    }
}

impl Budgets {
    /// A node that knows nothing yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn QuotaStore>,
        journal: Arc<UsageJournal>,
        live: Arc<InForce>,
        policy: OutagePolicy,
    ) -> Arc<Self> {
        Arc::new(Self {
            tellings: Tellings::new(journal.id(), journal.marks().clone()),
            has_alone: AtomicBool::new(false),
            wake: Notify::new(),
            clock: Instant::now(),
            store,
            journal,
            live,
            policy,
            local: Mutex::default(),
            releases: Releases::default(),
            epochs: Epochs {
                stored: watch::Sender::new(None),
                asked: watch::Sender::new(None),
                declared: watch::Sender::new(None),
                is_away: watch::Sender::new(false),
                look: Notify::new(),
            },
            nodes: AtomicU32::new(1),
            sayings: Sayings::default(),
            pace: Mutex::default(),
            calendar: Mutex::default(),
            tally: Tally::default(),
            histories: Histories::default(),
        })
    }

    /// The epoch of the store in which all that this node may hold was declared, for its beat.
    #[must_use]
    pub fn quota_epoch(&self) -> watch::Receiver<Option<u64>> {
        self.epochs.declared.subscribe()
    }

    /// The journals in this node's hands, its own first, by what was declared under this epoch, for its beat. `there` are
    /// those that its last look has found.
    #[must_use]
    pub fn journals(&self, epoch: Option<u64>, there: &[JournalId]) -> Vec<JournalId> {
        let mut journals = vec![self.journal.id()];
        journals.extend(self.tellings.in_hands(epoch, there));
        journals
    }

    /// Changes when an adopted journal comes into this node's hands.
    #[must_use]
    pub fn taken(&self) -> watch::Receiver<()> {
        self.tellings.taken()
    }

    /// A request has ended, and its record is about to be written down. Nothing is done about those that no budget let in.
    pub fn will_say(&self, record: &UsageRecord) {
        let is_admitted = record.request.admitted_at.is_some()
            || record.attempts.iter().any(|attempt| attempt.admitted_at.is_some());
        if is_admitted {
            let said = Said::of(record);
            let (mut can_wait, now_ms) = (true, self.now_ms());
            {
                let mut local = self.local();
                for owed in &said.owed {
                    can_wait &= local.ended(owed.account, owed.hold, owed.cost, now_ms);
                }
            }
            self.pace().ended(can_wait, now_ms);
            self.sayings.put(record.request.id, said);
        }
    }

    /// For whoever asks whose limits count.
    pub fn calendar(&self) -> MutexGuard<'_, Calendar> {
        self.calendar.lock()
    }

    /// Goes by the configuration in force from now on. When it returns, all that is to be told to those whom it governs stays until
    /// it is: a beat may name its revision then, which is that of what is returned.
    pub fn notice(&self) -> Arc<Live> {
        // Asked before the configuration is taken: what was confirmed then is that one or one before it.
        let is_confirmed = self.live.is_confirmed();
        let live = self.live.load_full();
        if let Some(governed) = self.tellings.notice(&live, is_confirmed) {
            self.forget(&governed);
        }
        live
    }

    /// Forgets accounts that are not governed any more, and holds of which nothing can be heard any more.
    fn forget(&self, governed: &Governed) {
        let oldest = UnixMillis(now().0.saturating_sub(HOLDS_KNOWN_MS));
        self.local().forget(|account| governed.generation(account).is_some(), oldest);
    }

    /// Nothing is under way, given up without the store's having heard, or put aside ahead.
    fn holds_nothing(&self) -> bool {
        let local = self.local();
        local.held().0 == 0 && local.backs(None).is_empty() && self.releases.are_all_heard()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn give_up(&self, account: AccountId, id: HoldId) {
        if self.local().given_up(account, id) {
            self.releases.put(account, id);
        }
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock()
    }
}

/// Watches the store, tells it what requests have cost, and takes back what was given up, until `stop` is true; then it tells
/// what there still is, for a while. True when it holds nothing then, as far as this process knows.
pub async fn run(budgets: Arc<Budgets>, nodes: Arc<dyn NodeRegistry>, stop: watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = teller::run(budgets.clone(), stop) => {}
        () = follower::run(&budgets, nodes) => {}
        () = releases::run(&budgets) => {}
        () = ahead::run(&budgets) => {}
    }
    budgets.holds_nothing()
}

/// A day: no request runs for so long.
const HOLDS_KNOWN_MS: i64 = 86_400_000;
