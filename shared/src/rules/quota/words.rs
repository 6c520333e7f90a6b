//! What is said to an account, and what it answers.

use super::window::{Kind, Terms};
use crate::ids::{JournalId, KeyId, ProviderId, RequestId, UserId};
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use std::collections::BTreeMap;

/// Over what one decision is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountId {
    /// A user with its keys.
    User(UserId),
    /// A provider.
    Provider(ProviderId),
}

/// Whose limits: within an account all are looked at together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeId {
    /// The user's or the provider's own.
    Owner,
    /// One of the user's keys.
    Key(KeyId),
}

/// What money is put aside for: a request, and of it an attempt; 0 where the whole request is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub RequestId, pub u32);

impl HoldId {
    /// What is put aside ahead in one word with this hold.
    #[must_use]
    pub fn escrow(self) -> Self {
        Self(self.0, self.1 | ESCROW)
    }

    /// Is this money that a node put aside ahead of its requests?
    #[must_use]
    pub fn is_escrow(self) -> bool {
        self.1 & ESCROW != 0
    }
}

/// No request has so many attempts.
const ESCROW: u32 = 1 << 31;

/// A request that asks to be let in.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What its hold is called.
    pub hold: HoldId,
    /// The journal that will say what it cost.
    pub owner: JournalId,
    /// What it may cost.
    pub need: NanoUsd,
    /// From when on it is taken for lost, from its admission on.
    pub lives_ms: u64,
    /// Whose limits count, in the order in which they are looked at.
    pub scopes: Vec<(ScopeId, Terms)>,
    /// Whether it counts for the requests of a minute.
    pub is_counted: bool,
    /// Its conversation, and for how long one that is not seen any more counts.
    pub session: Option<(u64, u64)>,
    /// What is put aside for later requests of the same scopes with it, if there is room; named after the hold.
    pub escrow: Option<Ahead>,
}

/// How much a node would put aside ahead: see [`escrow`](super::escrow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// So much is worth the while.
    pub worth: NanoUsd,
    /// Gateways among which the rest is shared, at least one.
    pub nodes: u32,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may go on; its money is held. It counts at `at`, by the store's clock.
    Admitted {
        /// When it was let in.
        at: UnixMillis,
        /// What was put aside ahead with it, beside its own hold; nothing, where there is too little room.
        escrowed: NanoUsd,
        /// How its scopes stand now, its own hold and what was put aside with it included.
        standing: Standing,
    },
    /// It may not; nothing of it is kept.
    Refused(Refusal),
    /// Nobody knows what was spent: the store has lost it.
    Unseeded,
    /// The hold was given up before, or nothing more can come of its journal: nothing was put aside. Nobody waits for this
    /// answer, but who asks again under a name that it has given up, or was taken for dead.
    Over,
}

/// How the limits of an account stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Windows that have a limit of money.
    pub windows: Vec<WindowNow>,
    /// Scopes that have a limit on the requests of a minute.
    pub requests: Vec<RequestsNow>,
    /// Scopes that have a limit on conversations at a time.
    pub sessions: Vec<SessionsNow>,
}

/// The requests of the last minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestsNow {
    /// Whose.
    pub scope: ScopeId,
    /// How many there may be.
    pub limit: u32,
    /// How many there were.
    pub current: u32,
    /// When none of them counts any more, if no other comes; `None`: none does.
    pub resets_at: Option<UnixMillis>,
}

/// The conversations that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsNow {
    /// Whose.
    pub scope: ScopeId,
    /// How many there may be.
    pub limit: u32,
    /// How many there are.
    pub current: u32,
}

/// A window of a scope at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowNow {
    /// Whose.
    pub scope: ScopeId,
    /// Which.
    pub kind: Kind,
    /// What may be spent.
    pub limit: NanoUsd,
    /// What was.
    pub spent: NanoUsd,
    /// What is put aside for requests under way.
    pub held: NanoUsd,
    /// How much of that is put aside ahead of requests, or for those that nodes let in from it.
    pub escrowed: NanoUsd,
    /// When it began; `None`: it did not, or never ends.
    pub starts_at: Option<UnixMillis>,
    /// When it begins anew; `None`: gradually, or never.
    pub resets_at: Option<UnixMillis>,
}

/// What stands against a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose limit.
    pub scope: ScopeId,
    /// Which.
    pub what: What,
    /// When it may be let in, if nothing else happens; `None`: nobody knows, or never.
    pub resets_at: Option<UnixMillis>,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// That of a window.
    Money {
        /// Which window.
        kind: Kind,
        /// What may be spent.
        limit: NanoUsd,
        /// What was.
        spent: NanoUsd,
        /// What is put aside.
        held: NanoUsd,
        /// How much of that is put aside ahead: nodes give it back when they are asked.
        escrowed: NanoUsd,
        /// What this request needs.
        need: NanoUsd,
    },
    /// Requests of a minute.
    Requests {
        /// How many there may be.
        limit: u32,
        /// How many there were.
        current: u32,
    },
    /// Conversations at a time.
    Sessions {
        /// How many there may be.
        limit: u32,
        /// How many there are.
        current: u32,
    },
}

/// What records of a journal say about an account.
#[derive(Clone, Debug)]
pub struct Settle {
    /// The journal.
    pub journal: JournalId,
    /// What is charged, in the order of the records; all of one record come together, and none is left out between them.
    pub charges: Vec<Charge>,
    /// What goes back of what was put aside ahead, after these charges.
    pub backs: Vec<Back>,
}

/// What a node gives back of what it put aside ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// So much in all, since it was put aside; it may come twice, and late.
    Part(HoldId, NanoUsd),
    /// All that is left: nothing is drawn from it any more, and all that was is charged.
    Whole(HoldId),
}

/// What something under way has cost.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The record's number in its journal: what is not above the last one that was heard before this settle is known, however
    /// the records were divided when they were told.
    pub seq: u64,
    /// Its hold. It needs none: it may have been let in while the store was away.
    pub hold: HoldId,
    /// What it cost; nothing, when it failed or never began.
    pub cost: NanoUsd,
    /// When it was let in, for one without a hold.
    pub at: UnixMillis,
    /// It was cut with its process, and says so in the journal of whoever adopted that: of each one who tried.
    pub is_interrupted: bool,
    /// What it was drawn from, where its node let it in from what it had put aside ahead.
    pub from: Option<HoldId>,
    /// Whose money it is.
    pub scopes: Vec<(ScopeId, Terms)>,
}

/// What a scope spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spends {
    /// Whose.
    pub scope: ScopeId,
    /// Its limits.
    pub terms: Terms,
    /// When, and how much in nano-USD; the oldest first. What is more than a day old may come summed, at any moment before
    /// which the same windows have begun: see [`opening`](super::opening).
    pub at: Vec<(UnixMillis, i64)>,
}

/// From when on a store has kept all that it heard of an account: what it lost takes this name along. Each has another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life(pub String);

/// What is known of an account whose store was empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// What each scope spent.
    pub spends: Vec<Spends>,
    /// Up to which record of each journal that is.
    pub journals: BTreeMap<JournalId, u64>,
    /// What is in it of requests that were cut with their process: several journals may say so, each once.
    pub interrupted: Vec<HoldId>,
}
