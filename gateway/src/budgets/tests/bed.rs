//! A node with its journal, a store of budgets that can be cut off, and an admin side that opens accounts.

use super::super::{Answer, Budgets, Held, Wish, run};
use crate::hub::now;
use crate::journal::farewell::let_go;
use crate::journal::ship::Shipper;
use crate::journal::{JournalConfig, UsageJournal, keeper};
use crate::live::{InForce, Live};
use async_trait::async_trait;
use shared::contract::usage::{AttemptEntry, CostBreakdown, Outcome, TokenUsage, UsageFlags, UsageRecord};
use shared::ids::{JournalId, KeyId, ProviderId, RequestId, Revision, UserId};
use shared::memory::{MemoryNodes, MemoryQuotas, MemoryUsage};
use shared::model::Limits;
use shared::money::NanoUsd;
use shared::ports::{At, NodeRegistry, PortError, QuotaStore};
use shared::rules::quota::outage::OutagePolicy;
use shared::rules::quota::{
    AccountId, Admission, Ask, Back, HoldId, Life, Opening, ScopeId, Settle, Spends, Standing, Terms,
    WindowNow, epoch_of,
};
use shared::testing;
use shared::time::{UnixMillis, Zone};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub const USER: AccountId = AccountId::User(UserId(1));
/// How long anything in a test may take before the test says so.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// What the user may spend, for good.
pub const LIMIT: i64 = 100;

/// A store that does not answer, or whose answers are lost.
pub struct Cut {
    pub quotas: MemoryQuotas,
    pub is_away: AtomicBool,
    pub loses_admissions: AtomicBool,
    /// So many releases more are not heard.
    pub loses_releases: AtomicUsize,
    /// Settles and declarations so far.
    pub told: AtomicUsize,
    /// Admissions that it was asked for.
    pub asked: AtomicUsize,
    /// Recalls of what is put aside ahead.
    pub recalled: AtomicUsize,
    pub gone: Mutex<BTreeSet<JournalId>>,
}

impl Cut {
    fn check(&self) -> Result<(), PortError> {
        if self.is_away.load(Ordering::SeqCst) { Err(PortError::Unavailable) } else { Ok(()) }
    }
}

#[async_trait]
impl QuotaStore for Cut {
    async fn epoch(&self) -> Result<Option<u64>, PortError> {
        self.check()?;
        self.quotas.epoch().await
    }

    async fn last_epoch(&self) -> Result<Option<u64>, PortError> {
        self.quotas.last_epoch().await
    }

    async fn begin(&self, epoch: u64) -> Result<(), PortError> {
        self.quotas.begin(epoch).await
    }

    async fn want(&self, account: AccountId) -> Result<(), PortError> {
        self.check()?;
        self.quotas.want(account).await
    }

    async fn take_wanted(&self, at_most: usize) -> Result<Vec<AccountId>, PortError> {
        self.quotas.take_wanted(at_most).await
    }

    async fn admit(&self, account: AccountId, ask: &Ask, epoch: u64) -> Result<At<Admission>, PortError> {
        self.check()?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let said = self.quotas.admit(account, ask, epoch).await;
        if self.loses_admissions.load(Ordering::SeqCst) { Err(PortError::Unavailable) } else { said }
    }

    async fn settle(&self, account: AccountId, settle: &Settle, epoch: u64) -> Result<At<bool>, PortError> {
        self.check()?;
        self.told.fetch_add(1, Ordering::SeqCst);
        self.quotas.settle(account, settle, epoch).await
    }

    async fn give_back(&self, account: AccountId, backs: &[Back]) -> Result<At<()>, PortError> {
        self.check()?;
        self.quotas.give_back(account, backs).await
    }

    async fn recall(&self, account: AccountId) -> Result<(), PortError> {
        self.check()?;
        self.recalled.fetch_add(1, Ordering::SeqCst);
        self.quotas.recall(account).await
    }

    fn recalls(&self) -> broadcast::Receiver<AccountId> {
        self.quotas.recalls()
    }

    async fn release(&self, account: AccountId, hold: HoldId) -> Result<At<()>, PortError> {
        self.check()?;
        let one_less = |left: usize| left.checked_sub(1);
        if self.loses_releases.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(PortError::Unavailable);
        }
        self.quotas.release(account, hold).await
    }

    async fn release_holds(
        &self,
        account: AccountId,
        owner: JournalId,
        epoch: u64,
    ) -> Result<At<()>, PortError> {
        self.check()?;
        self.quotas.release_holds(account, owner, epoch).await
    }

    async fn release_owner(&self, account: AccountId, owner: JournalId) -> Result<At<()>, PortError> {
        self.check()?;
        self.gone.lock().unwrap().insert(owner);
        self.quotas.release_owner(account, owner).await
    }

    async fn declare(
        &self,
        account: AccountId,
        ask: &Ask,
        at: UnixMillis,
        epoch: u64,
    ) -> Result<At<()>, PortError> {
        self.check()?;
        self.told.fetch_add(1, Ordering::SeqCst);
        self.quotas.declare(account, ask, at, epoch).await
    }

    async fn life(&self, account: AccountId, epoch: u64) -> Result<At<Option<Life>>, PortError> {
        self.quotas.life(account, epoch).await
    }

    async fn open(
        &self,
        account: AccountId,
        epoch: u64,
        life: &Life,
        opening: &Opening,
    ) -> Result<At<bool>, PortError> {
        self.quotas.open(account, epoch, life, opening).await
    }

    async fn keep(&self, account: AccountId, scopes: &[(ScopeId, Terms)]) -> Result<At<()>, PortError> {
        self.quotas.keep(account, scopes).await
    }

    async fn standing(
        &self,
        account: AccountId,
        scopes: &[(ScopeId, Terms)],
        epoch: u64,
    ) -> Result<At<(bool, Standing)>, PortError> {
        self.quotas.standing(account, scopes, epoch).await
    }
}

/// A node.
pub struct Bed {
    pub store: Arc<Cut>,
    pub budgets: Arc<Budgets>,
    pub journal: Arc<UsageJournal>,
    pub usage: Arc<MemoryUsage>,
    live: Arc<InForce>,
    generation: AtomicU32,
    stop: watch::Sender<bool>,
    telling: JoinHandle<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Bed {
    /// One user with one limit, under an epoch that has begun.
    pub async fn governed(policy: OutagePolicy) -> Self {
        Self::governed_at(policy, None).await
    }

    /// The same with its journal in this directory.
    pub async fn governed_at(policy: OutagePolicy, root: Option<&Path>) -> Self {
        let bed = Self::start(policy, root.map(Path::to_owned)).await;
        bed.store.begin(1).await.unwrap();
        bed.govern(1);
        bed.declares(1).await;
        bed
    }

    /// A second node over the same store.
    pub async fn beside(other: &Self) -> Self {
        let bed = Self::start_on(OutagePolicy::Bounded, None, other.store.clone()).await;
        bed.govern(1);
        bed.declares(1).await;
        bed
    }

    /// Nothing is limited yet. Its journal is in this directory.
    pub async fn start(policy: OutagePolicy, root: Option<PathBuf>) -> Self {
        let store = Arc::new(Cut {
            quotas: MemoryQuotas::new(now),
            is_away: AtomicBool::new(false),
            loses_admissions: AtomicBool::new(false),
            loses_releases: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            recalled: AtomicUsize::new(0),
            gone: Mutex::default(),
        });
        Self::start_on(policy, root, store).await
    }

    pub async fn start_on(policy: OutagePolicy, root: Option<PathBuf>, store: Arc<Cut>) -> Self {
        let id = JournalId::from_parts(now(), &rand::random());
        let journal = Arc::new(UsageJournal::new(id, &JournalConfig { root, total_bytes: 1 << 30 }));
        let live = Arc::new(InForce::new(Duration::from_secs(3_600)));
        let budgets = Budgets::new(store.clone(), journal.clone(), live.clone(), policy);
        let usage = Arc::new(MemoryUsage::new(10_000));
        let nodes = Arc::new(MemoryNodes::new());
        for id in ["one", "two"] {
            nodes.beat(testing::node_beat(id), None).await.unwrap();
        }
        let (stop, is_over) = watch::channel(false);
        let telling = tokio::spawn(run(budgets.clone(), nodes, is_over.clone()));
        let tasks = vec![
            tokio::spawn(keeper::run(journal.clone(), is_over.clone())),
            tokio::spawn(Shipper::new(journal.clone(), usage.clone()).run(is_over)),
        ];
        let generation = AtomicU32::new(0);
        Self { store, budgets, journal, usage, live, generation, stop, telling, tasks }
    }

    /// A configuration comes in force in which the user's account has this generation.
    pub fn govern(&self, generation: u32) {
        self.starts_by(generation);
        self.confirms();
    }

    /// What is in force is what is published.
    pub fn confirms(&self) {
        self.live.note_confirmed();
    }

    /// The same, kept from an earlier process: it may be old.
    pub fn starts_by(&self, generation: u32) {
        let mut snapshot = testing::snapshot(vec![]);
        snapshot.revision = Revision(self.live.load().revision().0 + 1);
        snapshot.principals.users[0].limits = limits();
        snapshot.principals.users[0].budget_generation = generation;
        self.generation.store(generation, Ordering::SeqCst);
        self.live.put(Arc::new(Live::compile(&snapshot, &testing::hub_key())), now());
    }

    pub async fn declares(&self, epoch: u64) {
        let mut declared = self.budgets.quota_epoch();
        let declared = declared.wait_for(|declared| *declared == Some(epoch));
        tokio::time::timeout(PATIENCE, declared).await.expect("it declares in time").unwrap();
    }

    fn epoch(&self, store: u64) -> u64 {
        epoch_of(store, self.generation.load(Ordering::SeqCst))
    }

    /// The admin side opens the user's account, with what was spent by the books up to a record of this node.
    pub async fn open(&self, epoch: u64, spent: i64, booked: u64) {
        let terms = scopes().remove(0).1;
        let opening = Opening {
            spends: vec![Spends { scope: ScopeId::Owner, terms, at: vec![(now(), spent)] }],
            journals: [(self.journal.id(), booked)].into(),
            interrupted: Vec::new(),
        };
        assert!(testing::open_account(&*self.store, USER, self.epoch(epoch), &opening).await.unwrap());
    }

    pub fn request(&self) -> RequestId {
        // Of all nodes together: two that count for themselves say the same within a millisecond, and the store takes one's
        // question for the other's.
        static REQUESTS: AtomicU32 = AtomicU32::new(0);
        let n = REQUESTS.fetch_add(1, Ordering::SeqCst);
        RequestId::from_parts(
            now().0.unsigned_abs(),
            &[[0; 6].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap(),
        )
    }

    pub async fn ask(&self, request: RequestId, need: i64, is_strict: bool) -> Answer {
        let scopes = scopes();
        let wish = Wish {
            account: USER,
            generation: self.generation.load(Ordering::SeqCst),
            hold: HoldId(request, 0),
            need: NanoUsd(need),
            is_strict,
            scopes: &scopes,
            is_counted: true,
            session: None,
        };
        self.budgets.ask(wish).await
    }

    /// Lets a request in.
    pub async fn admitted(&self, request: RequestId, need: i64) -> Held {
        match self.ask(request, need, false).await {
            Answer::Admitted { hold, .. } => hold,
            Answer::Refused(refusal) => panic!("refused: {refusal:?}"),
            Answer::UsedUp(window) => panic!("used up: {window:?}"),
            Answer::Unreachable => panic!("unreachable"),
        }
    }

    /// A request ends with its record.
    pub async fn end(&self, request: RequestId, mut held: Held, cost: i64) {
        held.keep();
        let record = record(request, held.at(), cost);
        self.budgets.will_say(&record);
        self.journal.end(&record).await;
    }

    /// What the account says of itself.
    pub async fn window(&self, epoch: u64) -> WindowNow {
        windows(&self.store, self.epoch(epoch)).await[0]
    }

    /// Waits until so much is spent and held.
    pub async fn stands(&self, epoch: u64, spent: i64, held: i64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let window = self.window(epoch).await;
            if (window.spent.0, window.held.0) == (spent, held) {
                return;
            }
            assert!(Instant::now() < until, "{spent} spent, {held} held in time: {window:?}");
            tokio::task::yield_now().await;
        }
    }

    pub fn cut(&self, is_away: bool) {
        self.store.is_away.store(is_away, Ordering::SeqCst);
    }

    /// Dies, and takes nothing back.
    pub async fn die(self) -> Arc<Cut> {
        self.telling.abort();
        for task in &self.tasks {
            task.abort();
        }
        let _ = self.telling.await;
        for task in self.tasks {
            let _ = task.await;
        }
        self.store
    }

    /// Stops in good order.
    pub async fn stop(self) -> Arc<Cut> {
        self.stop.send(true).unwrap();
        for task in self.tasks {
            task.await.unwrap();
        }
        let_go(&self.journal, self.telling.await.unwrap()).await;
        self.store
    }
}

/// How the user's account stands.
pub async fn windows(store: &Cut, epoch: u64) -> Vec<WindowNow> {
    store.standing(USER, &scopes(), epoch).await.unwrap().said.1.windows
}

pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} in time");
        tokio::task::yield_now().await;
    }
}

fn limits() -> Limits {
    Limits { total: Some(NanoUsd(LIMIT)), ..Limits::default() }
}

fn scopes() -> Vec<(ScopeId, Terms)> {
    let of = |limits: &Limits| Terms::of(limits, &Zone::default(), now());
    vec![(ScopeId::Owner, of(&limits())), (ScopeId::Key(KeyId(1)), of(&Limits::default()))]
}

/// The record of a request that one provider served.
pub fn record(request: RequestId, admitted_at: Option<UnixMillis>, cost: i64) -> UsageRecord {
    let mut record = testing::usage_record(1);
    (record.request.id, record.request.admitted_at, record.request.started_at) =
        (request, admitted_at, now());
    record.attempts = vec![AttemptEntry {
        attempt: 1,
        provider_id: ProviderId(1),
        upstream_model: None,
        outcome: Outcome::Served,
        usage: TokenUsage::default(),
        cost: CostBreakdown { total: NanoUsd(cost), ..CostBreakdown::default() },
        flags: UsageFlags::default(),
        admitted_at: None,
        held: NanoUsd(0),
        is_covered: false,
    }];
    record
}
