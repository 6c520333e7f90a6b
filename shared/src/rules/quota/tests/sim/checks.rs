//! What must hold, after each step and at the end.

use super::node::Node;
use super::truth;
use super::world::World;
use crate::ids::JournalId;
use crate::money::NanoUsd;
use crate::rules::quota::window::EVER;
use crate::rules::quota::{Refusal, ScopeId, Span, What};
use crate::time::UnixMillis;
use rand::Rng;
use std::collections::BTreeSet;

impl World {
    /// A refusal is right when what may count and the need are more than the limit. What may count is what was spent, what is
    /// held for requests of which the store has not heard the end, and `in_escrow`: what it may keep besides of money that was
    /// put aside ahead ([`World::kept`]).
    pub(super) fn is_no_false_refusal(&self, refusal: &Refusal, in_escrow: i64) {
        let Refusal { scope, what: What::Money { kind, limit, need, .. }, .. } = *refusal else {
            panic!("{refusal:?}")
        };
        let window = self.terms(scope, self.now).window(kind).unwrap();
        let spent = truth::spent(&self.requests, scope, truth::earliest(&window, self.now));
        let most = spent + truth::unresolved(&self.requests, scope) + in_escrow;
        // Where limits have changed, who knows it has forgotten what was put aside under the old ones; who does not refuses by these.
        let is_by_old_ones = !self.is_lost && self.store.is_open(self.epoch - 1);
        let is_right = most + need.0.max(1) > limit.0 || spent >= limit.0 || is_by_old_ones;
        assert!(is_right || self.is_loose, "{refusal:?}: {most} at most, {in_escrow} of it in escrow");
    }

    /// Whoever recalls nothing is told that nothing is in escrow, or that all of it would not be enough.
    pub(super) fn is_nothing_to_recall(&self, refusal: &Refusal) {
        let Refusal { scope, what: What::Money { limit, spent, held, need, .. }, .. } = *refusal else {
            return;
        };
        let asides = self.asides.values().filter(|aside| aside.is_of(scope) && !aside.is_overdue);
        let left: i64 = asides.map(|aside| aside.left).sum();
        let is_too_little = spent >= limit || spent + held + need > limit + NanoUsd(left);
        assert!(left == 0 || is_too_little, "{refusal:?}: {left} in escrow");
    }

    /// What the store may keep of idle escrows: of each that its node did not give back, exactly what nobody has drawn of it.
    /// Nothing of one whose node is in `gave_back`: it heard the recall, and its word arrived. But for those that it does not
    /// know of, because the reply was lost: they are kept until it has given them up. Those of the dead are kept as they
    /// are: what was drawn of them is charged beside them, until their journal is told to its end.
    pub(super) fn kept(&self, scope: ScopeId, gave_back: &BTreeSet<JournalId>) -> i64 {
        let kept = self.asides.iter().filter(|(_, aside)| aside.is_of(scope)).map(|(id, aside)| {
            match self.nodes.iter().find(|node| node.disk.journal == aside.owner) {
                None => aside.left,
                Some(node) if node.to_release.contains(id) => aside.left,
                Some(_) if gave_back.contains(&aside.owner) => 0,
                Some(_) => aside.idle(*id, &self.requests),
            }
        });
        kept.sum()
    }

    /// What nodes may let in without a question: as good as spent.
    fn drawable(&self, scope: ScopeId) -> i64 {
        let nodes = self.nodes.iter();
        nodes.map(|node| node.escrows.drawable(scope, node.epoch, node.clock_ms(self.now)).0).sum()
    }

    pub(super) fn is_right(&self) {
        let now = UnixMillis(self.now);
        for scope in self.limits.keys() {
            let drawable = self.drawable(*scope);
            for window in self.terms(*scope, self.now).windows() {
                // Only the store knows when these began: while it knows nothing, nobody does.
                if window.span == Span::FirstSpend && (self.is_lost || !self.is_open) {
                    continue;
                }
                let first = self
                    .store
                    .first_counts_from(*scope, now)
                    .max(self.first_from.get(scope).copied().unwrap_or(EVER));
                let start = truth::start(&window, self.now, first);
                let spent = truth::spent(&self.requests, *scope, start);
                let running = truth::running(&self.requests, *scope, start);
                let limit = window.limit.0;
                if self.is_strict {
                    assert!(
                        spent + running + drawable <= limit,
                        "{scope:?} {window:?}: {spent} spent, {running} running, {drawable} to be drawn"
                    );
                } else {
                    let excess = self.excess.get(scope).copied().unwrap_or(0);
                    assert!(spent <= limit + excess, "{scope:?} {window:?}: {spent} spent, {excess} over");
                }
            }
        }
    }

    /// Everything that was broken is mended, and everything ends. Then nothing is held, and what the store counts is what was
    /// spent.
    pub(super) fn ends_well(&mut self) {
        self.is_up = true;
        let mut left = 20_000;
        while !self.is_over() {
            left -= 1;
            assert!(left > 0, "it comes to rest");
            let i = self.rng.random_range(0..self.nodes.len());
            self.pass(10);
            match self.rng.random_range(0..9) {
                0 => self.begin(i),
                1 => self.end(i),
                2 | 3 => self.tell(i),
                4 => self.book(),
                5 => self.adopt(i),
                6 => self.notice(),
                7 => self.rest(i),
                _ => {
                    self.learn(i);
                    self.open();
                }
            }
            self.is_right();
        }
        self.pass(120_000);
        self.counts_right();
    }

    pub(super) fn is_over(&self) -> bool {
        let is_idle = |node: &Node| {
            node.epoch == self.epoch
                && node.let_in.is_empty()
                && node.disk.begins.is_empty()
                && node.to_release.is_empty()
                && node.to_declare.is_empty()
                && node.adopted.is_empty()
                && node.escrows.is_empty()
                && node.acked == node.disk.last_seq
        };
        self.dead.is_empty() && self.is_open && !self.is_lost && self.nodes.iter().all(is_idle)
    }

    pub(super) fn counts_right(&mut self) {
        assert!(self.asides.is_empty(), "what was put aside ahead goes back: {:?}", self.asides);
        for scope in self.limits.keys().copied().collect::<Vec<_>>() {
            // A word that was lost may have left a hold that nobody knows of: it is charged, and corrected by nobody.
            assert_eq!(self.store.held(scope), NanoUsd(0), "{scope:?}: nothing is held any more");
            let terms = self.terms(scope, self.now);
            for (window, now) in terms
                .windows()
                .zip(self.store.standing(&[(scope, terms.clone())], UnixMillis(self.now)).windows)
            {
                assert_eq!(now.escrowed, NanoUsd(0), "{scope:?}: nothing is in escrow any more");
                let start = truth::start(
                    &window,
                    self.now,
                    self.store.first_counts_from(scope, UnixMillis(self.now)),
                );
                let exact = truth::spent(&self.requests, scope, start);
                let most = truth::spent(&self.requests, scope, truth::earliest(&window, self.now));
                let spent = now.spent.0;
                let is_right = spent <= most || self.is_loose;
                assert!(is_right, "{scope:?} {window:?}: {spent} counted, {most} at most");
                assert!(spent >= exact, "{scope:?} {window:?}: {spent} counted, {exact} spent");
            }
        }
    }
}
