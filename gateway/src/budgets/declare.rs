//! What this node holds, told to a store that does not know it: all of it under a new epoch; what it let in alone when the
//! store is back.

use super::Budgets;
use super::ask::HOLD_LIVES_MS;
use super::limits::Limited;
use crate::hub::now;
use crate::journal::source::Source;
use futures::stream::{self, StreamExt as _};
use shared::ids::JournalId;
use shared::ports::PortError;
use shared::rules::quota::local::{LiveHold, Local};
use shared::rules::quota::telling::Governed;
use shared::rules::quota::{AccountId, Ask, HoldId, Owed, epoch_of, said_by};
use shared::time::UnixMillis;
use std::collections::HashMap;

/// A hold that is put aside again.
pub struct Declared {
    account: AccountId,
    generation: u32,
    ask: Ask,
    at: UnixMillis,
}

impl Declared {
    fn of_live(
        owner: JournalId,
        account: AccountId,
        generation: u32,
        hold: LiveHold,
        limited: &mut Limited<'_>,
    ) -> Self {
        let LiveHold { id, key, need, at } = hold;
        let scopes = limited.scopes(account, key);
        let ask = Ask {
            hold: id,
            owner,
            need,
            lives_ms: HOLD_LIVES_MS,
            scopes,
            is_counted: false,
            session: None,
            escrow: None,
        };
        Self { account, generation, ask, at }
    }

    /// What a record says was spent is held until it is settled.
    pub fn of_record(owner: JournalId, owed: &Owed, generation: u32, limited: &mut Limited<'_>) -> Self {
        let hold = LiveHold { id: owed.hold, key: owed.key, need: owed.cost, at: owed.at };
        Self::of_live(owner, owed.account, generation, hold, limited)
    }
}

/// What was declared of accounts that are not open, under the epoch in force.
#[derive(Default)]
pub struct Declarations(HashMap<(JournalId, AccountId), Until>);

/// Up to which number, and under which generation of the account: a later one knows nothing of it.
#[derive(Clone, Copy)]
struct Until {
    generation: u32,
    seq: u64,
}

impl Declarations {
    /// Is what this record of a journal says of an account declared?
    pub fn have(&self, journal: JournalId, (account, generation): (AccountId, u32), seq: u64) -> bool {
        let until = self.0.get(&(journal, account));
        until.is_some_and(|until| until.generation == generation && seq <= until.seq)
    }

    /// It is, and all that was to be declared of it before.
    pub fn note(&mut self, journal: JournalId, (account, generation): (AccountId, u32), seq: u64) {
        self.0.insert((journal, account), Until { generation, seq });
    }

    /// Nothing of this journal is left.
    pub fn forget(&mut self, journal: JournalId) {
        self.0.retain(|(id, _), _| *id != journal);
    }
}

impl Budgets {
    /// Declares all that this node may hold, and what is not known to be in the books. Nothing of the latter goes meanwhile.
    pub async fn declare_all(&self, sources: &mut [Source], epoch: u64) -> Result<(), PortError> {
        let governed = self.tellings.governed();
        let live = self.live_holds(&governed, |local, account| local.under_way(account));
        self.declare(live, epoch).await?;
        for source in sources {
            let last = source.marks().last();
            self.declare_records(source, last, &governed, epoch, |_, _, _| true).await?;
        }
        Ok(())
    }

    /// Declares what is neither told nor declared yet of a journal's records up to this number.
    pub async fn declare_untold(
        &self,
        source: &mut Source,
        last: u64,
        governed: &Governed,
        declarations: &Declarations,
        epoch: u64,
    ) -> Result<(), PortError> {
        let id = source.id();
        if self.tellings.with(id, |telling, _| telling.told(Some(governed)) >= last) == Some(true) {
            return Ok(());
        }
        let is_untold = |account, generation, seq| {
            !declarations.have(id, (account, generation), seq)
                && self.tellings.with(id, |telling, _| telling.is_untold(account, seq)).unwrap_or(true)
        };
        self.declare_records(source, last, governed, epoch, is_untold).await
    }

    async fn declare_records(
        &self,
        source: &mut Source,
        last: u64,
        governed: &Governed,
        epoch: u64,
        is_meant: impl Fn(AccountId, u32, u64) -> bool,
    ) -> Result<(), PortError> {
        let id = source.id();
        let mut next = source.marks().floor() + 1;
        while next <= last && !governed.is_empty() {
            let stretch = match source.read(next, BATCH).await {
                Ok(stretch) => stretch,
                // Nobody could tell it either, and as long as it is not declared no account of anybody is opened.
                Err(PortError::Unreadable) => {
                    next = source.past(next);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if stretch.records.is_empty() {
                break;
            }
            next = stretch.first + stretch.records.len() as u64;
            let declared: Vec<Declared> = {
                let live = self.live.load_full();
                let mut limited = Limited::new(self, &live, now());
                let numbered = (stretch.first..=last).zip(&stretch.records);
                let said = numbered.filter_map(|(seq, record)| Some((seq, said_by(record)?)));
                let owed = said.flat_map(|(seq, said)| said.owed.into_iter().map(move |owed| (seq, owed)));
                owed.filter_map(|(seq, owed)| {
                    let generation = governed.generation(owed.account)?;
                    is_meant(owed.account, generation, seq)
                        .then(|| Declared::of_record(id, &owed, generation, &mut limited))
                })
                .collect()
            };
            self.declare(declared, epoch).await?;
        }
        Ok(())
    }

    /// Declares what this node let in alone, so that all nodes count it.
    pub async fn declare_alone(&self, epoch: u64) -> Result<(), PortError> {
        let governed = self.tellings.governed();
        let alone = self.live_holds(&governed, |local, account| local.let_in_alone(account));
        let declared: Vec<(AccountId, HoldId)> =
            alone.iter().map(|declared| (declared.account, declared.ask.hold)).collect();
        self.declare(alone, epoch).await?;
        let mut local = self.local();
        declared.into_iter().for_each(|(account, hold)| local.declared(account, hold));
        Ok(())
    }

    fn live_holds(
        &self,
        governed: &Governed,
        of: impl Fn(&mut Local, AccountId) -> Vec<LiveHold>,
    ) -> Vec<Declared> {
        let holds: Vec<(AccountId, u32, Vec<LiveHold>)> = {
            let mut local = self.local();
            governed
                .accounts()
                .map(|(account, generation)| (account, generation, of(&mut local, account)))
                .collect()
        };
        let live = self.live.load_full();
        let mut limited = Limited::new(self, &live, now());
        let owner = self.journal.id();
        let each = holds.into_iter().flat_map(|(account, generation, holds)| {
            holds.into_iter().map(move |hold| (account, generation, hold))
        });
        each.map(|(account, generation, hold)| {
            Declared::of_live(owner, account, generation, hold, &mut limited)
        })
        .collect()
    }

    /// Tells the store of them, some at a time. A later try begins anew: it knows those that it has heard of.
    pub async fn declare(&self, declared: Vec<Declared>, epoch: u64) -> Result<(), PortError> {
        let tell = |declared: Declared| async move {
            let Declared { account, generation, ask, at } = declared;
            self.store.declare(account, &ask, at, epoch_of(epoch, generation)).await.map(|_| ())
        };
        let mut told = stream::iter(declared).map(tell).buffer_unordered(AT_A_TIME);
        while let Some(told) = told.next().await {
            told?;
        }
        Ok(())
    }
}

/// Records that are read at a time.
pub(super) const BATCH: usize = 256;
/// Calls under way at a time.
pub(super) const AT_A_TIME: usize = 8;
