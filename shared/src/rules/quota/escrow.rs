//! Escrow: money that a node puts aside ahead of its requests, so that it asks the store once for many of them.
//!
//! A node whose requests with the same scopes come one close upon the other asks for more than the next one needs. What it is
//! granted is one hold, its *escrow*. From then on it lets requests in by itself, each for what it needs, as long as there is
//! something free:
//!
//! ```text
//!  granted = free + running (needs) + ended (costs) + given back
//!                                     └─ told: charged, and taken from the hold in the store
//! ```
//! so that for the store nothing is different: `spent + held` counts every nano once, at any moment, and whatever was promised
//! is held. A request that cost more than it needed takes the rest from what is free; when that is not enough, it is charged
//! beside the escrow, what it needed goes back with its settle, and what others were promised stays held. When half of it is gone,
//! one request asks for the next while others draw on.
//!
//! An escrow is drawn from for eight seconds at most, less than a node's silence is waited for
//! ([`NODE_TTL_SECS`](crate::contract::keys::NODE_TTL_SECS)): before an account is opened anew, all that could be drawn unseen is
//! over. Nor is it drawn from for other limits than it was granted under. What is free goes back when nobody drew for five
//! seconds, and when it is recalled, because somebody else was refused.

mod one;

use super::window::Terms;
use super::words::{Ahead, Back, HoldId, ScopeId, Standing};
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use one::{DRAWN_FOR_MS, Escrow};
use std::collections::HashMap;

/// How much is put aside ahead, of so much room: what is worth the while or a fiftieth of the room, whichever is more, but no more
/// than half of this node's share; nothing, when that is hardly more than one request (design §7).
#[must_use]
pub fn granted(ahead: Ahead, need: NanoUsd, room: i64) -> NanoUsd {
    let share = room / (2 * i64::from(ahead.nodes.max(1)));
    let amount = ahead.worth.0.max(room / 50).min(share);
    if amount < need.0.saturating_mul(LEAST_NEEDS).max(1) { NanoUsd::ZERO } else { NanoUsd(amount) }
}

/// True when money is all that stands against requests of these scopes: what counts requests or conversations is asked each time.
#[must_use]
pub fn is_enough(scopes: &[(ScopeId, Terms)], is_counted: bool, has_session: bool) -> bool {
    let is_limited = |limit: Option<u32>| limit.is_some_and(|limit| limit > 0);
    scopes.iter().any(|(_, terms)| terms.limit_money())
        && !scopes.iter().any(|(_, Terms { limits, .. })| {
            (is_counted && is_limited(limits.requests_per_minute))
                || (has_session && is_limited(limits.concurrent_sessions))
        })
}

/// What so much need makes worth the while.
#[must_use]
pub fn worth(need: NanoUsd) -> NanoUsd {
    NanoUsd(need.0.saturating_mul(WORTH_NEEDS))
}

/// What a node has put aside ahead in one account.
#[derive(Debug, Default)]
pub struct Escrows {
    all: Vec<Escrow>,
    draws: HashMap<HoldId, Draw>,
    /// By the first scope: the key's, where there is one.
    habits: HashMap<Option<ScopeId>, Habit>,
    /// Nothing is put aside ahead before this moment: it was recalled.
    not_before_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Draw {
    from: HoldId,
    need: i64,
    has_ended: bool,
    /// It cost more than there was for it: nothing is taken from what others were promised.
    is_beside: bool,
}

/// When the last requests came.
#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    at_ms: [Option<u64>; OFTEN],
    next: usize,
    /// Somebody asks for more already, or nothing was granted lately: nobody else does before this moment.
    not_before_ms: u64,
}

/// A request that may be let in from what was put aside.
#[derive(Clone, Copy, Debug)]
pub struct Drawing<'a> {
    /// What its hold would be called.
    pub hold: HoldId,
    /// What it may cost.
    pub need: NanoUsd,
    /// Whose limits count.
    pub scopes: &'a [(ScopeId, Terms)],
    /// The account's epoch that is in force.
    pub epoch: u64,
}

/// It was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// When, by the store's clock.
    pub at: UnixMillis,
    /// How its scopes stand, as far as this node knows.
    pub standing: Standing,
}

/// What the store granted.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What it is called.
    pub id: HoldId,
    /// How much.
    pub amount: NanoUsd,
    /// Whose limits it counts in.
    pub scopes: Vec<(ScopeId, Terms)>,
    /// The account's epoch it is of.
    pub epoch: u64,
    /// When, by the store's clock.
    pub at: UnixMillis,
    /// How its scopes stand, with it.
    pub standing: Standing,
}

impl Escrows {
    /// A request comes. Would the node do well to ask the store, and to put something aside with that? One at a time is asked for,
    /// before what there is runs out: meanwhile others draw from it.
    pub fn is_worth(&mut self, drawing: &Drawing<'_>, now_ms: u64) -> bool {
        let open = self.all.iter().filter(|escrow| escrow.can_be_drawn_from(drawing, now_ms));
        let (free, last) =
            open.fold((0, 0), |(free, _), escrow| (free + escrow.free().max(0), escrow.granted));
        let is_low = free < drawing.need.0.max(1) + last / 2;
        let habit = self.habits.entry(drawing.scopes.first().map(|(scope, _)| *scope)).or_default();
        let oldest = habit.at_ms[habit.next].replace(now_ms);
        habit.next = (habit.next + 1) % OFTEN;
        let is_often = oldest.is_some_and(|oldest| now_ms < oldest + OFTEN_WITHIN_MS);
        let is_worth = is_low && is_often && self.not_before_ms.max(habit.not_before_ms) <= now_ms;
        if is_worth {
            habit.not_before_ms = now_ms.saturating_add(AGAIN_AFTER_MS);
        }
        is_worth
    }

    /// The store has put this aside.
    pub fn granted(&mut self, grant: Grant, now_ms: u64) {
        let habit = self.habits.entry(grant.scopes.first().map(|(scope, _)| *scope)).or_default();
        habit.not_before_ms = 0;
        // Of what is left of the one before last nothing is worth the while.
        for before in self.all.iter_mut().filter(|before| before.scopes == grant.scopes) {
            if before.free() < before.granted / 4 {
                before.close();
            }
        }
        self.all.push(Escrow::of(grant, now_ms));
    }

    /// Lets a request in from what is free; `None`: the store is to be asked, and puts another one aside.
    pub fn draw(&mut self, drawing: &Drawing<'_>, now_ms: u64) -> Option<Drawn> {
        let need = drawing.need.0.max(0);
        let mut open = self.all.iter_mut().filter(|escrow| escrow.can_be_drawn_from(drawing, now_ms));
        let escrow = open.find(|escrow| escrow.free() >= need)?;
        let at = escrow.now(now_ms);
        (escrow.running, escrow.under_way) = (escrow.running + need, escrow.under_way + 1);
        escrow.drawn_ms = now_ms;
        let draw = Draw { from: escrow.id, need, has_ended: false, is_beside: false };
        let drawn = Drawn { at, standing: escrow.standing() };
        self.draws.insert(drawing.hold, draw);
        Some(drawn)
    }

    fn of_draw(&mut self, hold: HoldId) -> Option<(&mut Draw, &mut Escrow)> {
        let draw = self.draws.get_mut(&hold)?;
        let escrow = self.all.iter_mut().find(|escrow| escrow.id == draw.from)?;
        Some((draw, escrow))
    }

    /// A request that was let in has come to nothing. False: not from here.
    pub fn given_up(&mut self, hold: HoldId) -> bool {
        let Some((draw, escrow)) = self.of_draw(hold) else { return false };
        if !draw.has_ended {
            escrow.running -= draw.need;
            escrow.under_way -= 1;
            self.draws.remove(&hold);
        }
        true
    }

    /// A request has ended and cost so much. False: it was not let in from here.
    pub fn ended(&mut self, hold: HoldId, cost: NanoUsd) -> bool {
        let Some((draw, escrow)) = self.of_draw(hold) else { return false };
        if !draw.has_ended {
            draw.has_ended = true;
            escrow.running -= draw.need;
            draw.is_beside = cost.0 > escrow.free();
            match draw.is_beside {
                true => escrow.beside += draw.need,
                false => escrow.ended += cost.0.max(0),
            }
            (escrow.under_way, escrow.untold) = (escrow.under_way - 1, escrow.untold + 1);
        }
        true
    }

    /// What a request was drawn from, for its settle in this epoch. `None`, too, when it cost more than there was for it.
    #[must_use]
    pub fn drawn_from(&self, hold: HoldId, epoch: u64) -> Option<HoldId> {
        let from = self.draws.get(&hold).filter(|draw| !draw.is_beside)?.from;
        self.all.iter().find(|escrow| escrow.id == from && escrow.epoch == epoch).map(|escrow| escrow.id)
    }

    /// What goes back with the settle of these requests, which have ended.
    pub fn backs_with(&mut self, holds: &[HoldId], epoch: u64) -> Vec<Back> {
        let mut told: HashMap<HoldId, (usize, i64)> = HashMap::new();
        for draw in holds.iter().filter_map(|hold| self.draws.get(hold)) {
            let (count, beside) = told.entry(draw.from).or_default();
            (*count, *beside) = (*count + 1, *beside + if draw.is_beside { draw.need } else { 0 });
        }
        let back = |escrow: &mut Escrow| {
            let told = told.get(&escrow.id)?;
            if escrow.is_closed {
                escrow.close();
            }
            escrow.back_with(*told)
        };
        self.all.iter_mut().filter(|escrow| escrow.epoch == epoch).filter_map(back).collect()
    }

    /// The store has charged these requests.
    pub fn told(&mut self, holds: &[HoldId]) {
        for hold in holds {
            if let Some((draw, escrow)) = self.of_draw(*hold) {
                if draw.has_ended {
                    escrow.untold -= 1;
                    let beside = draw.need * i64::from(draw.is_beside);
                    (escrow.beside, escrow.returned) = (escrow.beside - beside, escrow.returned + beside);
                    escrow.is_told &= !draw.is_beside;
                } else {
                    // Told by who adopted its record, or by an end that was not heard here.
                    (escrow.running, escrow.under_way) = (escrow.running - draw.need, escrow.under_way - 1);
                }
                self.draws.remove(hold);
            }
        }
    }

    /// Nothing more is drawn from what nobody drew from for a while, and from what is old.
    pub fn rest(&mut self, now_ms: u64) {
        for escrow in &mut self.all {
            let is_old = now_ms >= escrow.since_ms.saturating_add(DRAWN_FOR_MS);
            let is_idle = now_ms >= escrow.drawn_ms.saturating_add(IDLE_MS);
            if escrow.is_closed || is_old || is_idle {
                escrow.close();
            }
        }
    }

    /// Somebody was refused: what is free goes back, and nothing is put aside ahead for a while.
    pub fn recall(&mut self, now_ms: u64) {
        self.not_before_ms = now_ms.saturating_add(RECALLED_FOR_MS);
        for escrow in &mut self.all {
            escrow.close();
            escrow.is_recalled = !escrow.is_told;
        }
    }

    /// What the store is to be told by itself. What can wait goes with the settle of what has ended.
    #[must_use]
    pub fn backs(&self) -> Vec<Back> {
        let closed = self.all.iter().filter(|escrow| escrow.is_closed);
        let waits_for_none = closed.filter(|escrow| escrow.untold == 0 || escrow.is_recalled);
        waits_for_none.filter_map(|escrow| escrow.back_with((0, 0))).collect()
    }

    /// The store has heard these: first [`Self::told`], where they went with a settle.
    pub fn heard(&mut self, backs: &[Back]) {
        for back in backs {
            match back {
                Back::Whole(id) => {
                    self.all.retain(|escrow| escrow.id != *id);
                    self.draws.retain(|_, draw| draw.from != *id);
                }
                Back::Part(id, returned) => {
                    for escrow in self.all.iter_mut().filter(|escrow| escrow.id == *id) {
                        escrow.is_told = escrow.returned == returned.0;
                        escrow.is_recalled &= !escrow.is_told;
                    }
                }
            }
        }
    }

    /// Another epoch is in force: the store knows nothing of what was put aside in the one before. What was drawn from it is
    /// declared, each by itself.
    pub fn begin_anew(&mut self) {
        (self.all, self.draws) = Default::default();
    }

    /// Forgets what was put aside before `oldest`: the end of what was drawn from it is not heard any more.
    pub fn forget(&mut self, oldest: UnixMillis) {
        self.all.retain(|escrow| escrow.at >= oldest);
        let all = &self.all;
        self.draws.retain(|_, draw| all.iter().any(|escrow| escrow.id == draw.from));
    }

    /// What may still be let in without a question.
    #[must_use]
    pub fn free(&self) -> NanoUsd {
        let open = self.all.iter().filter(|escrow| !escrow.is_closed);
        NanoUsd(open.map(|escrow| escrow.free().max(0)).sum())
    }

    /// How much of what the store has put aside in a scope is surely this node's: whatever it may have said since is not counted.
    #[must_use]
    pub fn put_aside(&self, scope: ScopeId) -> NanoUsd {
        let of_it = self.all.iter().filter(|escrow| escrow.scopes.iter().any(|(id, _)| *id == scope));
        NanoUsd(of_it.map(|escrow| (escrow.granted - escrow.ended - escrow.returned).max(0)).sum())
    }

    /// True where requests come so close upon each other that something is, or was just, put aside: the store can hear of them
    /// together; but not where somebody was refused just now, and waits for what they did not cost.
    #[must_use]
    pub fn can_wait(&self, now_ms: u64) -> bool {
        !self.all.is_empty() && self.not_before_ms <= now_ms
    }

    /// True when there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// How many needs are worth a hold of their own.
const WORTH_NEEDS: i64 = 64;
/// How many it must hold at least.
const LEAST_NEEDS: i64 = 4;
/// So many requests …
const OFTEN: usize = 8;
/// … within so long are worth it.
const OFTEN_WITHIN_MS: u64 = 2_000;
/// How long one is kept that nobody draws from.
const IDLE_MS: u64 = 5_000;
/// How long one waits for an answer, and after one that granted nothing.
const AGAIN_AFTER_MS: u64 = 500;
/// How long nothing is put aside ahead in an account where somebody was refused.
const RECALLED_FOR_MS: u64 = 2_000;

#[cfg(test)]
mod tests;
