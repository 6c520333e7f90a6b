//! One escrow: what a node has promised of it, and what goes back.

use super::{Drawing, Grant};
use crate::money::NanoUsd;
use crate::rules::quota::window::Terms;
use crate::rules::quota::words::{Back, HoldId, ScopeId, Standing};
use crate::time::UnixMillis;

/// Amounts are nano-USD.
#[derive(Debug)]
pub(super) struct Escrow {
    pub(super) id: HoldId,
    pub(super) epoch: u64,
    pub(super) scopes: Vec<(ScopeId, Terms)>,
    /// When it was put aside, by the store's clock and by the node's own.
    pub(super) at: UnixMillis,
    pub(super) since_ms: u64,
    pub(super) drawn_ms: u64,
    pub(super) standing: Standing,
    pub(super) granted: i64,
    pub(super) running: i64,
    pub(super) ended: i64,
    pub(super) returned: i64,
    /// Needs of those that cost more than there was: charged by themselves, and given back with that.
    pub(super) beside: i64,
    /// Draws that run.
    pub(super) under_way: usize,
    /// Draws that ended, and of which the store was not told what they cost.
    pub(super) untold: usize,
    pub(super) is_closed: bool,
    /// The store knows how much is given back.
    pub(super) is_told: bool,
    /// Somebody waits for what is given back.
    pub(super) is_recalled: bool,
}

impl Escrow {
    /// One that was just granted.
    pub(super) fn of(grant: Grant, now_ms: u64) -> Self {
        Self {
            id: grant.id,
            epoch: grant.epoch,
            scopes: grant.scopes,
            at: grant.at,
            since_ms: now_ms,
            drawn_ms: now_ms,
            standing: grant.standing,
            granted: grant.amount.0,
            running: 0,
            ended: 0,
            returned: 0,
            beside: 0,
            under_way: 0,
            untold: 0,
            is_closed: false,
            is_told: true,
            is_recalled: false,
        }
    }

    /// What may still be promised.
    pub(super) fn free(&self) -> i64 {
        self.granted - self.running - self.ended - self.beside - self.returned
    }

    /// Is it of the scopes and the epoch, and young enough?
    pub(super) fn can_be_drawn_from(&self, drawing: &Drawing<'_>, now_ms: u64) -> bool {
        let is_young = now_ms.saturating_sub(self.since_ms) < DRAWN_FOR_MS;
        // Past its deadline it is charged when it was put aside: not in a window that began since.
        let is_of_before = || {
            let now = self.now(now_ms);
            drawing.scopes.iter().any(|(_, terms)| terms.begin_between(self.at, now))
        };
        let is_of_it = !self.is_closed && self.epoch == drawing.epoch && self.scopes == drawing.scopes;
        is_young && is_of_it && !is_of_before()
    }

    /// By the store's clock.
    pub(super) fn now(&self, now_ms: u64) -> UnixMillis {
        self.at.plus_ms(now_ms.saturating_sub(self.since_ms))
    }

    /// Nothing is drawn from it any more; what is free goes back.
    pub(super) fn close(&mut self) {
        let free = self.free().max(0);
        if free > 0 {
            self.returned += free;
            self.is_told = false;
        }
        self.is_closed = true;
    }

    /// What goes back with the settle of so many of its draws, which needed so much more than it had.
    pub(super) fn back_with(&self, (told, beside): (usize, i64)) -> Option<Back> {
        let is_over = self.is_closed && self.under_way == 0 && self.untold == told;
        match is_over {
            true => Some(Back::Whole(self.id)),
            false if self.is_told && beside == 0 => None,
            false => Some(Back::Part(self.id, NanoUsd(self.returned + beside))),
        }
    }

    /// How its scopes stand, as far as this node knows.
    pub(super) fn standing(&self) -> Standing {
        // Before it was granted, what was spent did not count what has ended since; held did, in all.
        // How many requests and sessions there are now only the store knows: nothing is said of them.
        let mut standing = Standing { windows: self.standing.windows.clone(), ..Standing::default() };
        let (ended, gone) = (NanoUsd(self.ended), NanoUsd(self.ended + self.returned));
        for window in &mut standing.windows {
            window.spent += ended;
            (window.held, window.escrowed) = (window.held - gone, window.escrowed - gone);
        }
        standing
    }
}

/// How long an escrow is drawn from.
pub(super) const DRAWN_FOR_MS: u64 = 8_000;
