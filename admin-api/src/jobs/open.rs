//! Keeps the epoch of the store of budgets, and opens the accounts that gateways ask for from the ledger.
//!
//! A store that has lost what it had answers no question about money before the account is opened again. When that may be is
//! in `shared::rules::quota::barrier`, for what dead gateways have left in `custody` beside it, what it is opened with in
//! `opening`. Several admin-apis may run this at once: one of them begins an epoch, and an account is opened by whoever took it,
//! once in an epoch. What cannot be opened yet is wanted again; what is lost on the way gateways want again themselves.

use crate::error::Error;
use crate::repo::db::{Db, may_pass};
use crate::repo::{budget_epoch, budget_journals, revision};
use crate::service::budgets::Moment;
use crate::service::now;
use crate::telemetry::Metrics;
use futures::future::join_all;
use shared::contract::keys::NODE_TTL_SECS;
use shared::contract::node::NodeBeat;
use shared::ids::Revision;
use shared::ports::{At, NodeRegistry, PortError, QuotaStore};
use shared::rules::quota::barrier::{HeldUp, barrier};
use shared::rules::quota::custody::{self, Custody};
use shared::rules::quota::{AccountId, EpochNow, epoch_now, epoch_of};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Why a step failed. The next one tries again.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store of budgets, or the registry of nodes, cannot be reached.
    #[error("store of budgets: {0}")]
    Store(#[from] PortError),
    /// The database refuses or is away.
    #[error(transparent)]
    Database(#[from] Error),
    /// The database did not answer in time.
    #[error("the database did not answer within {} s", READ_DEADLINE.as_secs())]
    Deadline,
}

/// What a step came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Accounts that it opened.
    pub accounts: usize,
    /// Why it opened no more, though there may be some to open.
    pub held_up: Option<HeldUp>,
    /// There may be more to open at once.
    pub has_more: bool,
}

/// Opens budgets.
pub struct Opener {
    db: Db,
    quotas: Arc<dyn QuotaStore>,
    nodes: Arc<dyn NodeRegistry>,
    metrics: Option<Arc<Metrics>>,
    /// The epoch it goes by.
    epoch: Option<u64>,
    custody: Custody,
    /// What the last look has found: why nothing may be opened.
    missing: Option<HeldUp>,
    looked_at_ms: Option<u64>,
    /// Until when a gateway may be there that nobody has heard of.
    unheard_until_ms: Option<u64>,
    is_held_up: bool,
}

impl Opener {
    /// One that has not looked yet.
    #[must_use]
    pub fn new(db: Db, quotas: Arc<dyn QuotaStore>, nodes: Arc<dyn NodeRegistry>) -> Self {
        Self {
            db,
            quotas,
            nodes,
            metrics: None,
            epoch: None,
            custody: Custody::default(),
            missing: None,
            looked_at_ms: None,
            unheard_until_ms: None,
            is_held_up: false,
        }
    }

    /// The same, counted here.
    #[must_use]
    pub fn counted(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Steps ten times a second, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let began = Instant::now();
        let mut teller = Teller::default();
        let mut pause = TICK;
        while !stop.is_cancelled() {
            let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let step = self.step(now_ms).await;
            teller.tell(step.as_ref(), now_ms);
            pause = match step {
                Ok(Opened { has_more: true, .. }) => continue,
                Ok(_) => TICK,
                Err(_) => (pause * 2).min(LONGEST_PAUSE),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Opens some of the accounts that are wanted. `now_ms` is of a clock that never goes back.
    pub async fn step(&mut self, now_ms: u64) -> Result<Opened, OpenError> {
        let opened = self.open_some(now_ms).await;
        if let Some(metrics) = &self.metrics {
            metrics.count_openings(opened.as_ref());
        }
        opened
    }

    async fn open_some(&mut self, now_ms: u64) -> Result<Opened, OpenError> {
        let Some(epoch) = in_time(self.keep_epoch(now_ms)).await? else { return Ok(Opened::default()) };
        if self.missing.is_some() || self.looked_at_ms.is_none_or(|at| at + LOOK_MS <= now_ms) {
            in_time(self.look(now_ms)).await?;
        }
        if let Some(held_up) = self.missing.clone() {
            return Ok(Opened { held_up: Some(held_up), ..Opened::default() });
        }
        if self.is_held_up {
            // Nothing is taken that would only be given back.
            let newest = in_time(self.newest()).await?;
            let nodes = in_time(self.look(now_ms)).await?;
            if let Err(held_up) = self.may_open(&nodes, newest, epoch) {
                return Ok(Opened { held_up: Some(held_up), ..Opened::default() });
            }
            self.is_held_up = false;
        }
        let wanted = self.quotas.take_wanted(AT_ONCE).await?;
        if wanted.is_empty() {
            return Ok(Opened::default());
        }
        let opened = self.open_singly_if_refused(epoch, &wanted, now_ms).await;
        match &opened {
            Ok(Opened { held_up: None, .. }) => {}
            Ok(_) => {
                self.is_held_up = true;
                self.want(&wanted).await;
            }
            Err(_) => self.want(&wanted).await,
        }
        Ok(Opened { has_more: wanted.len() == AT_ONCE && !self.is_held_up, ..opened? })
    }

    async fn newest(&self) -> Result<Revision, OpenError> {
        Ok(revision::newest(self.db.reader()).await.map_err(Error::from)?)
    }

    /// The epoch that is in force, begun here if need be; `None`: another admin-api was faster, or the store changes just now.
    async fn keep_epoch(&mut self, now_ms: u64) -> Result<Option<u64>, OpenError> {
        let said = self.quotas.epoch().await?;
        if said.is_some() && said == self.epoch {
            return Ok(said);
        }
        let kept = budget_epoch::kept(self.db.reader()).await.map_err(Error::from)?;
        let last = self.quotas.last_epoch().await?;
        let epoch = match epoch_now(kept, said, last) {
            EpochNow::InForce(epoch) => epoch,
            EpochNow::Begins(epoch) if self.begin(kept, said, epoch).await? => epoch,
            EpochNow::Begins(_) => return Ok(None),
        };
        // Before the first one there was nothing to lose, and who has looked until now knows all that have beaten.
        let is_first = kept == 0 && said.is_none();
        let is_blind = self.looked_at_ms.is_none_or(|at| at.saturating_add(BLIND_MS) < now_ms);
        if (self.epoch.is_none() || is_blind) && !is_first && !self.nodes.is_in_process() {
            self.unheard_until_ms = Some(now_ms.saturating_add(UNHEARD_MS));
        }
        tracing::info!(epoch, before = self.epoch, "the store of budgets is in another epoch");
        (self.epoch, self.is_held_up) = (Some(epoch), false);
        Ok(Some(epoch))
    }

    /// False: not by this process. The store is told while the row is locked, so that nobody else begins one meanwhile.
    async fn begin(&self, kept: u64, said: Option<u64>, epoch: u64) -> Result<bool, OpenError> {
        let tx = self.db.write().await.map_err(Error::from)?;
        let raised = budget_epoch::raise(&tx, kept, epoch).await.map_err(Error::from)?;
        // It may have been told while this one waited for the row.
        if !raised || self.quotas.epoch().await? != said {
            tx.rollback().await.map_err(Error::from)?;
            return Ok(false);
        }
        let begun = self.quotas.begin(epoch).await;
        // A number that the store may have heard is used up.
        tx.commit().await.map_err(Error::from)?;
        begun?;
        Ok(true)
    }

    /// Who is there, and in whose hands journals are by that.
    async fn look(&mut self, now_ms: u64) -> Result<Vec<NodeBeat>, OpenError> {
        // Nobody has seen what they say now.
        self.missing = Some(HeldUp::NotLooked);
        // First: what another admin-api writes meanwhile is of a gateway that beats.
        let kept = budget_journals::all(self.db.reader()).await.map_err(Error::from)?;
        let nodes = self.nodes.nodes().await?;
        let is_in_process = self.nodes.is_in_process();
        let moment = custody::Moment { now: now(), ticks_ms: now_ms, is_in_process };
        let look = self.custody.look(&kept, &nodes, moment);
        for journal in &look.given_up {
            tracing::warn!(%journal, "a journal is in nobody's hands for too long: budgets are opened without what is in it");
        }
        if !look.changes.is_empty() {
            let tx = self.db.write().await.map_err(Error::from)?;
            budget_journals::keep(&tx, &look.changes).await.map_err(Error::from)?;
            tx.commit().await.map_err(Error::from)?;
        }
        let is_unheard = self.unheard_until_ms.is_some_and(|until_ms| now_ms < until_ms);
        self.missing = look.missing.map(HeldUp::Unadopted).or(is_unheard.then_some(HeldUp::Unheard));
        self.looked_at_ms = Some(now_ms);
        Ok(nodes)
    }

    /// By what the last look has found: these nodes.
    fn may_open(&self, nodes: &[NodeBeat], revision: Revision, epoch: u64) -> Result<(), HeldUp> {
        self.missing.clone().map_or(Ok(()), Err)?;
        barrier(nodes, revision, epoch)
    }

    /// Opens these together; one at a time where the database refuses something of them, so that it holds up nobody else.
    async fn open_singly_if_refused(
        &mut self,
        epoch: u64,
        wanted: &[AccountId],
        now_ms: u64,
    ) -> Result<Opened, OpenError> {
        match self.open(epoch, wanted, now_ms).await {
            Err(OpenError::Database(Error::Database(error))) if wanted.len() > 1 && !may_pass(&error) => {}
            opened => return opened,
        }
        let mut all = Opened::default();
        for account in wanted {
            match self.open(epoch, std::slice::from_ref(account), now_ms).await {
                Ok(Opened { accounts, held_up, .. }) => {
                    all.accounts += accounts;
                    all.held_up = all.held_up.or(held_up);
                }
                Err(OpenError::Database(Error::Database(error))) if !may_pass(&error) => {
                    tracing::error!(?account, %error, "a budget cannot be read from the ledger");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn open(&mut self, epoch: u64, wanted: &[AccountId], now_ms: u64) -> Result<Opened, OpenError> {
        // Before the moment: what they know they knew then.
        let nodes = in_time(self.look(now_ms)).await?;
        let reading = async {
            let moment = Moment::begin(&self.db).await?;
            let is_same = if moment.epoch == epoch { Ok(()) } else { Err(HeldUp::OtherEpoch) };
            if let Err(held_up) = is_same.and_then(|()| self.may_open(&nodes, moment.revision, epoch)) {
                moment.end().await?;
                return Ok(Err(held_up));
            }
            let budgets = moment.budgets(wanted).await?;
            let epochs: Vec<_> = budgets
                .iter()
                .map(|(account, budget)| (*account, epoch_of(epoch, budget.generation)))
                .collect();
            let asks = epochs.iter().map(|(account, epoch)| self.quotas.life(*account, *epoch));
            let mut due = Vec::with_capacity(epochs.len());
            let mut places = HashMap::with_capacity(epochs.len());
            for (asked, ((account, epoch), (_, budget))) in
                join_all(asks).await.into_iter().zip(epochs.iter().zip(budgets))
            {
                let At { at, said } = asked?;
                if let Some(life) = said {
                    places.insert(*account, (*epoch, life));
                    due.push((*account, budget, at));
                }
            }
            let openings = moment.openings(due).await?;
            moment.end().await?;
            Ok(Ok((places, openings)))
        };
        let (places, openings) = match in_time(reading).await? {
            Ok(read) => read,
            Err(held_up) => return Ok(Opened { held_up: Some(held_up), ..Opened::default() }),
        };
        // The same as before the moment: what it has named lives since then, and what is lost from here on refuses.
        if self.quotas.epoch().await? != Some(epoch) {
            return Ok(Opened { held_up: Some(HeldUp::OtherEpoch), ..Opened::default() });
        }
        let opens = openings.iter().filter_map(|(account, opening)| {
            let (epoch, life) = places.get(account)?;
            Some(self.quotas.open(*account, *epoch, life, opening))
        });
        let mut opened = Opened::default();
        for said in join_all(opens).await {
            match said?.said {
                true => opened.accounts += 1,
                false => opened.held_up = Some(HeldUp::OtherEpoch),
            }
        }
        Ok(opened)
    }

    /// Gives back what was taken. What the store does not hear gateways will say themselves.
    async fn want(&self, accounts: &[AccountId]) {
        let wants = accounts.iter().map(|account| self.quotas.want(*account));
        let lost = join_all(wants).await.iter().filter(|wanted| wanted.is_err()).count();
        if lost > 0 {
            tracing::debug!(lost, "the store of budgets did not hear which accounts are still to be opened");
        }
    }
}

/// A database that does not answer holds up no step for longer.
async fn in_time<T>(asked: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    timeout(READ_DEADLINE, asked).await.map_err(|_| OpenError::Deadline)?
}

/// Tells what happens once, not with each step.
#[derive(Default)]
struct Teller {
    is_broken: bool,
    held_up_since_ms: Option<u64>,
    is_told: bool,
}

impl Teller {
    fn tell(&mut self, step: Result<&Opened, &OpenError>, now_ms: u64) {
        match step {
            Ok(opened) => {
                if std::mem::take(&mut self.is_broken) {
                    tracing::info!("budgets are opened again");
                }
                if opened.accounts > 0 {
                    tracing::debug!(accounts = opened.accounts, "budgets are opened");
                }
                match &opened.held_up {
                    Some(held_up) => self.tell_held_up(held_up, now_ms),
                    None => (self.held_up_since_ms, self.is_told) = (None, false),
                }
            }
            Err(error) if !self.is_broken => {
                tracing::error!(%error, "budgets cannot be opened; trying again");
                self.is_broken = true;
            }
            Err(_) => {}
        }
    }

    /// A moment of it is nothing to tell: each start and each change has one.
    fn tell_held_up(&mut self, held_up: &HeldUp, now_ms: u64) {
        let since_ms = *self.held_up_since_ms.get_or_insert(now_ms);
        if !self.is_told && since_ms + NODE_TTL_SECS * 1_000 < now_ms {
            let (reason, node) = (held_up.as_str(), held_up.node());
            tracing::warn!(reason, node, "budgets wait to be opened");
            self.is_told = true;
        }
    }
}

/// Accounts opened together: read in one moment, told at once.
const AT_ONCE: usize = 16;
/// Requests wait for an account to be opened.
const TICK: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often the nodes are looked at while nothing is to be opened, so that each journal is known before its gateway can die.
const LOOK_MS: u64 = 1_000;
/// So long after its last look one does not know all gateways any more: the database was away.
const BLIND_MS: u64 = 3 * LOOK_MS;
/// Longer than a beat takes ([`BEAT_MS`](shared::contract::node::BEAT_MS)).
const UNHEARD_MS: u64 = 3_000;
const READ_DEADLINE: Duration = Duration::from_secs(30);
