//! One account: what was spent, what is held, and the decisions over both.
//!
//! Every word may come twice or late, because replies are lost and connections break: an admission is known by its hold, a
//! charge by its journal and number, and what comes for a hold that is over finds its tombstone.

mod open;
mod over;

use super::escrow;
use super::scope::Scope;
use super::spent::plus;
use super::window::{Kind, Terms};
use super::words::{Admission, Ask, Back, Charge, HoldId, Life, Opening, Refusal, ScopeId, Settle, Standing};
use crate::ids::JournalId;
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use over::Over;
use std::collections::{BTreeMap, BTreeSet};

/// A user with its keys, or a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The epoch of the store that it belongs to.
    epoch: u64,
    /// False while only what is held is told: what was spent is not known yet.
    is_open: bool,
    /// Since when nothing of it was lost, for who has asked.
    life: Option<Life>,
    scopes: BTreeMap<ScopeId, Scope>,
    holds: BTreeMap<HoldId, Hold>,
    journals: BTreeMap<JournalId, u64>,
    over: Over,
    /// Journals of which nothing more can come, until when.
    gone: BTreeMap<JournalId, UnixMillis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hold {
    owner: JournalId,
    scopes: BTreeSet<ScopeId>,
    amount: i64,
    at: UnixMillis,
    deadline: UnixMillis,
    /// Its deadline is over: it was charged, until its settle corrects that.
    is_charged: bool,
    /// It was put aside anew after the store had lost it, maybe by a word that comes again.
    is_declared: bool,
    /// What its node has given back of it in all: nothing but of an escrow.
    returned: i64,
}

impl Account {
    /// One that nobody has spent anything of.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self { epoch, is_open: true, ..Self::default() }
    }

    /// One of which nobody has said anything but what the ledger says.
    #[must_use]
    pub fn opened(epoch: u64, opening: &Opening, now: UnixMillis) -> Self {
        let mut account = Self { epoch, ..Self::default() };
        account.seed(opening, now);
        account
    }

    /// True when what was spent is known, under this epoch of the store.
    #[must_use]
    pub fn is_open(&self, epoch: u64) -> bool {
        self.is_open && self.epoch == epoch
    }

    /// Lets a request in, or says why not. All or nothing; asked again with the same hold it answers the same.
    pub fn admit(&mut self, ask: &Ask, epoch: u64, now: UnixMillis) -> Admission {
        self.expire(now);
        if !self.is_open(epoch) {
            return Admission::Unseeded;
        }
        self.keep(&ask.scopes, now);
        if let Some(at) = self.holds.get(&ask.hold).map(|hold| hold.at) {
            return self.admitted(ask, at, now);
        }
        if self.over.has(ask.hold) || self.gone.contains_key(&ask.owner) {
            return Admission::Over;
        }
        if let Some(refusal) = self.refusal(ask, now) {
            return Admission::Refused(refusal);
        }
        self.let_in(ask, now, false);
        self.put_aside_ahead(ask, now);
        self.admitted(ask, now, now)
    }

    fn admitted(&self, ask: &Ask, at: UnixMillis, now: UnixMillis) -> Admission {
        let escrow = ask.escrow.and_then(|_| self.holds.get(&ask.hold.escrow()));
        let escrowed = NanoUsd(escrow.map_or(0, |hold| hold.amount));
        Admission::Admitted { at, escrowed, standing: self.standing(&ask.scopes, now) }
    }

    /// Puts aside what later requests of the node may be let in from, where there is room for it.
    fn put_aside_ahead(&mut self, ask: &Ask, now: UnixMillis) {
        let (Some(ahead), id) = (ask.escrow, ask.hold.escrow()) else { return };
        let is_over = self.holds.contains_key(&id) || self.over.has(id);
        let rooms = ask.scopes.iter().filter_map(|(id, terms)| self.scopes.get(id)?.room(terms, now));
        let Some(room) = rooms.min().filter(|_| !is_over) else { return };
        let amount = escrow::granted(ahead, ask.need, room);
        if amount > NanoUsd::ZERO {
            let escrow = Ask { hold: id, need: amount, is_counted: false, session: None, ..ask.clone() };
            self.let_in(&escrow, now, false);
        }
    }

    /// Keeps what these scopes spend from now on apart, where a window begins: told with each reset, because a node that does
    /// not know of it yet may be the next one that asks. What is not told is counted as if it were a little more.
    pub fn keep(&mut self, scopes: &[(ScopeId, Terms)], now: UnixMillis) {
        for (id, terms) in scopes {
            self.scopes.entry(*id).or_default().spent.keep_sums(terms, now);
        }
    }

    fn let_in(&mut self, ask: &Ask, now: UnixMillis, is_declared: bool) {
        let amount = plus(0, ask.need.0);
        let mut scopes = BTreeSet::new();
        for (id, _) in &ask.scopes {
            let scope = self.scopes.entry(*id).or_default();
            scope.put_aside(amount, ask.hold.is_escrow());
            if ask.is_counted {
                scope.count(now);
            }
            if let Some((session, ttl_ms)) = ask.session {
                scope.see(session, ttl_ms, now);
            }
            scopes.insert(*id);
        }
        let deadline = now.plus_ms(ask.lives_ms);
        let owner = ask.owner;
        let hold =
            Hold { owner, scopes, amount, at: now, deadline, is_charged: false, is_declared, returned: 0 };
        self.holds.insert(ask.hold, hold);
    }

    /// The first limit that stands against it: what comes back last is looked at first, then what costs nothing.
    fn refusal(&self, ask: &Ask, now: UnixMillis) -> Option<Refusal> {
        let each = |check: &dyn Fn(ScopeId, &Terms, &Scope) -> Option<Refusal>| {
            ask.scopes.iter().find_map(|(id, terms)| check(*id, terms, self.scopes.get(id)?))
        };
        let money = |kind| each(&|id, terms, scope| scope.no_money(id, &terms.window(kind)?, ask.need, now));
        let sessions = || {
            let (session, ttl_ms) = ask.session?;
            each(&|id, terms, scope| {
                scope.no_session(id, terms.limits.concurrent_sessions?, (session, ttl_ms), now)
            })
        };
        let requests = || {
            let limit = |terms: &Terms| terms.limits.requests_per_minute.filter(|_| ask.is_counted);
            each(&|id, terms, scope| scope.no_request(id, limit(terms)?, now))
        };
        let [total, rest @ ..] = Kind::ALL;
        money(total).or_else(sessions).or_else(requests).or_else(|| rest.into_iter().find_map(money))
    }

    /// How the limits of these scopes stand.
    #[must_use]
    pub fn standing(&self, scopes: &[(ScopeId, Terms)], now: UnixMillis) -> Standing {
        let nothing = Scope::default();
        let mut standing = Standing::default();
        for (id, terms) in scopes {
            let scope = self.scopes.get(id).unwrap_or(&nothing);
            standing.windows.extend(terms.windows().map(|window| scope.window_now(*id, &window, now)));
            standing
                .requests
                .extend(terms.limit_of_requests().map(|most| scope.requests_now(*id, most, now)));
            standing
                .sessions
                .extend(terms.limit_of_sessions().map(|most| scope.sessions_now(*id, most, now)));
        }
        standing
    }

    /// From when on spending counts in the five hours that a spending of this scope begins, also what is heard of late.
    #[cfg(test)]
    pub(super) fn first_counts_from(&self, scope: ScopeId, now: UnixMillis) -> UnixMillis {
        let scope = self.scopes.get(&scope);
        scope.map_or(super::window::EVER, |scope| scope.spent.first_counts_from(now))
    }

    /// Charges what each record says, unless it is known. False: nothing was done, because the account is not open, or under
    /// another epoch; whoever tells begins anew when it knows that one.
    #[must_use]
    pub fn settle(&mut self, settle: &Settle, epoch: u64, now: UnixMillis) -> bool {
        self.expire(now);
        if !self.is_open(epoch) {
            return false;
        }
        let last = self.journals.entry(settle.journal).or_default();
        let known = *last;
        *last = settle.charges.iter().map(|charge| charge.seq).fold(known, u64::max);
        for charge in &settle.charges {
            if charge.seq <= known {
                // The ledger had it when the account was opened; its hold was put aside again meanwhile.
                self.charge_no_more(charge.hold, false, now);
            } else {
                self.charge(charge, now);
            }
        }
        settle.backs.iter().for_each(|back| self.take_back(*back, now));
        true
    }

    fn charge(&mut self, charge: &Charge, now: UnixMillis) {
        let hold = self.holds.remove(&charge.hold);
        if hold.is_none() && charge.is_interrupted && self.over.has(charge.hold) {
            return;
        }
        let mut amount = plus(0, charge.cost.0);
        // Nothing is spent tomorrow, whatever a node's clock says.
        let mut at = charge.at.min(now);
        match &hold {
            Some(hold) => {
                at = hold.at;
                if hold.is_charged {
                    amount -= hold.amount;
                } else {
                    self.let_go(charge.hold, hold);
                }
                self.bury(charge.hold, Some(hold), charge.is_interrupted, now);
            }
            None => match charge.from.and_then(|escrow| self.take(escrow, amount, now)) {
                // Nor before its money was put aside: of that window nobody asked whether it has room.
                Some(put_aside_at) => at = at.max(put_aside_at),
                None => self.bury(charge.hold, None, charge.is_interrupted, now),
            },
        }
        for (id, terms) in &charge.scopes {
            let scope = self.scopes.entry(*id).or_default();
            scope.spent.keep_sums(terms, now);
            scope.spent.add(at, amount, now);
        }
    }

    /// Takes so much of an escrow, or what is left of it; says when it was put aside. `None`: there is none.
    fn take(&mut self, escrow: HoldId, amount: i64, now: UnixMillis) -> Option<UnixMillis> {
        let hold = self.holds.get_mut(&escrow).filter(|_| escrow.is_escrow())?;
        let amount = amount.min(hold.amount);
        hold.amount -= amount;
        let part = Hold { amount, ..hold.clone() };
        self.forget(escrow, &part, now);
        Some(part.at)
    }

    /// A node gives back what it had put aside ahead.
    pub fn give_back(&mut self, backs: &[Back], now: UnixMillis) {
        self.expire(now);
        backs.iter().for_each(|back| self.take_back(*back, now));
    }

    fn take_back(&mut self, back: Back, now: UnixMillis) {
        let (escrow, returned) = match back {
            Back::Whole(escrow) => return self.release(escrow, now),
            Back::Part(escrow, returned) => (escrow, plus(0, returned.0)),
        };
        if let Some(hold) = self.holds.get_mut(&escrow).filter(|_| escrow.is_escrow())
            && returned > hold.returned
        {
            let more = returned - std::mem::replace(&mut hold.returned, returned);
            self.take(escrow, more, now);
        }
    }

    /// Remembers what is charged, where a word about it may still be under way.
    fn bury(&mut self, id: HoldId, hold: Option<&Hold>, is_interrupted: bool, now: UnixMillis) {
        if is_interrupted || is_unsure(hold) {
            self.over.charge(id, is_interrupted, now);
        }
    }

    /// The books have it: whatever is held for it is let go.
    fn charge_no_more(&mut self, id: HoldId, is_interrupted: bool, now: UnixMillis) {
        let held = self.holds.remove(&id);
        self.bury(id, held.as_ref(), is_interrupted, now);
        if let Some(held) = held {
            self.forget(id, &held, now);
        }
    }

    /// Gives a hold up: what it was for never began. Without one, an admission still on its way will find that out.
    pub fn release(&mut self, hold: HoldId, now: UnixMillis) {
        self.expire(now);
        let held = self.holds.remove(&hold);
        if is_unsure(held.as_ref()) {
            self.over.give_up(hold, now);
        }
        if let Some(held) = held {
            self.forget(hold, &held, now);
        }
    }

    /// Gives up all that a journal holds: all its records are settled under this epoch, so none of these ever began.
    pub fn release_holds(&mut self, owner: JournalId, epoch: u64, now: UnixMillis) {
        if self.is_open(epoch) {
            self.forget_holds(owner, now);
        }
    }

    /// The same for good: its records are in the books, too, and nothing more of it can come.
    pub fn release_owner(&mut self, owner: JournalId, now: UnixMillis) {
        self.forget_holds(owner, now);
        self.gone.insert(owner, now.plus_ms(CORRECTED_WITHIN_MS));
    }

    fn forget_holds(&mut self, owner: JournalId, now: UnixMillis) {
        let gone = self.holds.extract_if(.., |_, hold| hold.owner == owner);
        for (id, hold) in gone.collect::<Vec<_>>() {
            self.forget(id, &hold, now);
        }
    }

    fn forget(&mut self, id: HoldId, hold: &Hold, now: UnixMillis) {
        if hold.is_charged {
            for id in &hold.scopes {
                if let Some(scope) = self.scopes.get_mut(id) {
                    scope.spent.add(hold.at, -hold.amount, now);
                }
            }
        } else {
            self.let_go(id, hold);
        }
    }

    fn let_go(&mut self, id: HoldId, hold: &Hold) {
        for scope in &hold.scopes {
            if let Some(scope) = self.scopes.get_mut(scope) {
                scope.put_aside(-hold.amount, id.is_escrow());
            }
        }
    }

    /// Puts aside what a node says is under way, without a question: under a new epoch, in which the store has forgotten it.
    pub fn declare(&mut self, ask: &Ask, at: UnixMillis, epoch: u64) {
        self.reach(epoch);
        if epoch != self.epoch {
            return;
        }
        if let Some(hold) = self.holds.get_mut(&ask.hold) {
            // This word may come again, when it is settled.
            hold.is_declared = true;
        } else if !self.over.has(ask.hold) && !self.gone.contains_key(&ask.owner) {
            self.let_in(&Ask { is_counted: false, session: None, escrow: None, ..ask.clone() }, at, true);
        }
    }

    /// A new epoch knows nothing of the one before, but for what was given up: a word about it may still be under way.
    fn reach(&mut self, epoch: u64) {
        if epoch > self.epoch {
            let old = std::mem::take(self);
            let Self { life, over, gone, .. } = old;
            *self = Self { epoch, life, over: over.without_charges(), gone, ..Self::default() };
        }
    }

    /// Charges what nobody settles any more, and forgets what is too old to come.
    fn expire(&mut self, now: UnixMillis) {
        let (scopes, is_open) = (&mut self.scopes, self.is_open);
        self.holds.retain(|id, hold| {
            if is_open && !hold.is_charged && hold.deadline <= now {
                for scope in &hold.scopes {
                    let scope = scopes.entry(*scope).or_default();
                    scope.put_aside(-hold.amount, id.is_escrow());
                    scope.spent.add(hold.at, hold.amount, now);
                }
                hold.is_charged = true;
            }
            !hold.is_charged || now < hold.deadline.plus_ms(CORRECTED_WITHIN_MS)
        });
        self.over.expire(now);
        let journals = &mut self.journals;
        self.gone.retain(|journal, until| {
            let is_kept = now < *until;
            if !is_kept {
                // Whoever adopts it anew by then, because its end was not heard, tells what is known here.
                journals.remove(journal);
            }
            is_kept
        });
    }

    /// What is put aside for a scope.
    #[must_use]
    pub fn held(&self, scope: ScopeId) -> NanoUsd {
        NanoUsd(self.scopes.get(&scope).map_or(0, |scope| scope.held))
    }
}

/// May a word about what was held so still put it aside? Not where it was let in once, by a question that is answered.
fn is_unsure(hold: Option<&Hold>) -> bool {
    hold.is_none_or(|hold| hold.is_declared)
}

/// How long after its deadline a charge can still be corrected.
const CORRECTED_WITHIN_MS: u64 = 8 * 86_400_000;
