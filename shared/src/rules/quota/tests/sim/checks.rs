//! What must hold, after each step and at the end.

use super::node::Node;
use super::truth;
use super::world::World;
use crate::money::NanoUsd;
use crate::rules::quota::{Refusal, What};
use crate::time::UnixMillis;
use rand::Rng;

impl World {
    pub(super) fn is_no_false_refusal(&self, refusal: &Refusal) {
        let Refusal { scope, what: What::Money { kind, limit, need, .. }, .. } = *refusal else {
            panic!("{refusal:?}")
        };
        let window = self.terms(scope, self.now).window(kind).unwrap();
        let spent = truth::spent(&self.requests, scope, &window, self.now, true).unwrap();
        let most = spent + truth::unresolved(&self.requests, scope);
        let is_right = most + need.0 > limit.0 || spent >= limit.0;
        assert!(is_right || self.is_loose, "{refusal:?}: {most} at most");
    }

    pub(super) fn is_right(&self) {
        for scope in self.limits.keys() {
            for window in self.terms(*scope, self.now).windows() {
                let Some(spent) = truth::spent(&self.requests, *scope, &window, self.now, false) else {
                    continue;
                };
                let running = truth::running(&self.requests, *scope, &window, self.now).unwrap_or(0);
                let limit = window.limit.0;
                if self.is_strict {
                    assert!(
                        spent + running <= limit,
                        "{scope:?} {window:?}: {spent} spent, {running} running"
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
            match self.rng.random_range(0..8) {
                0 => self.begin(i),
                1 => self.end(i),
                2 | 3 => self.tell(i),
                4 => self.book(),
                5 => self.adopt(i),
                6 => self.notice(),
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
                && node.acked == node.disk.last_seq
        };
        self.dead.is_empty() && self.is_open && !self.is_lost && self.nodes.iter().all(is_idle)
    }

    pub(super) fn counts_right(&mut self) {
        for scope in self.limits.keys().copied().collect::<Vec<_>>() {
            // A word that was lost may have left a hold that nobody knows of: it is charged, and corrected by nobody.
            assert_eq!(self.store.held(scope), NanoUsd(0), "{scope:?}: nothing is held any more");
            let terms = self.terms(scope, self.now);
            for (window, now) in
                terms.windows().zip(self.store.standing(&[(scope, terms.clone())], UnixMillis(self.now)))
            {
                let exact = truth::spent(&self.requests, scope, &window, self.now, false);
                let most = truth::spent(&self.requests, scope, &window, self.now, true).unwrap();
                let spent = now.spent.0;
                let is_right = spent <= most || self.is_loose;
                assert!(is_right, "{scope:?} {window:?}: {spent} counted, {most} at most");
                assert!(
                    spent >= exact.unwrap_or(0),
                    "{scope:?} {window:?}: {spent} counted, {exact:?} spent"
                );
            }
        }
    }
}
