//! One scope of an account: what it spent, what is put aside for it, its requests of a minute and its conversations.

use super::spent::{Spent, plus};
use super::window::{Terms, Window};
use super::words::{Refusal, RequestsNow, ScopeId, SessionsNow, What, WindowNow};
use crate::money::NanoUsd;
use crate::time::UnixMillis;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) spent: Spent,
    pub(super) held: i64,
    /// What of it is in escrow.
    escrowed: i64,
    /// Requests by the bucket of [`MINUTE_CELL_MS`] they came in.
    requests: BTreeMap<i64, u32>,
    /// When each conversation was last seen.
    sessions: BTreeMap<u64, UnixMillis>,
    /// For how long each of them counts, as it was last said.
    session_ttl_ms: u64,
}

impl Scope {
    /// Puts so much aside, or takes so much back.
    pub(super) fn put_aside(&mut self, amount: i64, is_escrow: bool) {
        self.held = plus(self.held, amount);
        if is_escrow {
            self.escrowed = plus(self.escrowed, amount);
        }
    }

    /// What is left in the window that has the least; `None`: none is limited.
    pub(super) fn room(&self, terms: &Terms, now: UnixMillis) -> Option<i64> {
        let rooms = terms.windows().map(|window| {
            plus(0, window.limit.0.saturating_sub(plus(self.spent.within(&window, now), self.held)))
        });
        rooms.min()
    }

    pub(super) fn window_now(&self, scope: ScopeId, window: &Window, now: UnixMillis) -> WindowNow {
        let (starts_at, resets_at) = self.spent.stretch(window, now);
        WindowNow {
            scope,
            kind: window.kind,
            limit: window.limit,
            spent: NanoUsd(self.spent.within(window, now)),
            held: NanoUsd(self.held),
            escrowed: NanoUsd(self.escrowed),
            starts_at,
            resets_at,
        }
    }

    pub(super) fn no_money(
        &self,
        scope: ScopeId,
        window: &Window,
        need: NanoUsd,
        now: UnixMillis,
    ) -> Option<Refusal> {
        let spent = self.spent.within(window, now);
        let wanted = plus(plus(spent, self.held), plus(0, need.0));
        // What is used up is used up, also for a request that costs nothing.
        if wanted <= window.limit.0 && spent < window.limit.0 {
            return None;
        }
        let what = What::Money {
            kind: window.kind,
            limit: window.limit,
            spent: NanoUsd(spent),
            held: NanoUsd(self.held),
            escrowed: NanoUsd(self.escrowed),
            need,
        };
        let surplus = (wanted - window.limit.0).max(1);
        // More than there ever is. Then nothing that ends makes room for it.
        let is_hopeless = need.0 > window.limit.0;
        let resets_at = if is_hopeless { None } else { self.spent.room_at(window, surplus, now) };
        Some(Refusal { scope, what, resets_at })
    }

    pub(super) fn no_request(&self, scope: ScopeId, limit: u32, now: UnixMillis) -> Option<Refusal> {
        let first = (now.0 - MINUTE_MS).div_euclid(MINUTE_CELL_MS);
        let mut cells = self.requests.range(first..);
        let current: u32 = cells.clone().map(|(_, count)| count).sum();
        if limit == 0 || current < limit {
            return None;
        }
        let mut leaving = current - limit + 1;
        let room = cells.find_map(|(cell, count)| {
            leaving = leaving.saturating_sub(*count);
            (leaving == 0).then(|| UnixMillis((cell + 1) * MINUTE_CELL_MS + MINUTE_MS))
        });
        Some(Refusal { scope, what: What::Requests { limit, current }, resets_at: room })
    }

    pub(super) fn requests_now(&self, scope: ScopeId, limit: u32, now: UnixMillis) -> RequestsNow {
        let first = (now.0 - MINUTE_MS).div_euclid(MINUTE_CELL_MS);
        let cells = self.requests.range(first..);
        let last = cells.clone().next_back();
        RequestsNow {
            scope,
            limit,
            current: cells.map(|(_, count)| count).sum(),
            resets_at: last.map(|(cell, _)| UnixMillis((cell + 1) * MINUTE_CELL_MS + MINUTE_MS)),
        }
    }

    pub(super) fn sessions_now(&self, scope: ScopeId, limit: u32, now: UnixMillis) -> SessionsNow {
        let running = self.sessions.values().filter(|seen| now < seen.plus_ms(self.session_ttl_ms)).count();
        SessionsNow { scope, limit, current: u32::try_from(running).unwrap_or(u32::MAX) }
    }

    pub(super) fn no_session(
        &self,
        scope: ScopeId,
        limit: u32,
        (session, ttl_ms): (u64, u64),
        now: UnixMillis,
    ) -> Option<Refusal> {
        let is_there = |seen: &UnixMillis| now < seen.plus_ms(ttl_ms);
        if limit == 0 || self.sessions.get(&session).is_some_and(is_there) {
            return None;
        }
        let running: Vec<_> = self.sessions.values().filter(|seen| is_there(seen)).collect();
        let current = u32::try_from(running.len()).unwrap_or(u32::MAX);
        if current < limit {
            return None;
        }
        let first_gone = running.into_iter().min().map(|seen| seen.plus_ms(ttl_ms));
        Some(Refusal { scope, what: What::Sessions { limit, current }, resets_at: first_gone })
    }

    pub(super) fn count(&mut self, now: UnixMillis) {
        let first = (now.0 - MINUTE_MS).div_euclid(MINUTE_CELL_MS);
        self.requests = self.requests.split_off(&first);
        *self.requests.entry(now.0.div_euclid(MINUTE_CELL_MS)).or_default() += 1;
    }

    pub(super) fn see(&mut self, session: u64, ttl_ms: u64, now: UnixMillis) {
        self.sessions.retain(|_, seen| now < seen.plus_ms(ttl_ms));
        self.sessions.insert(session, now);
        self.session_ttl_ms = ttl_ms;
    }
}

const MINUTE_MS: i64 = 60_000;
/// Requests of a minute are counted by these: one is let in up to five seconds late, never early.
const MINUTE_CELL_MS: i64 = 5_000;
