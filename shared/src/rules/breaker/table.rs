//! What a node knows of all providers: read for each request, without a lock and without a call.
//!
//! A value that is swapped whole (`ArcSwap`): it changes when something fails or heals, never with a request that is
//! served by a healthy provider. With the store away it is the store, for this node alone: [`Table::report_here`] and
//! [`Table::ask_here`] run the same rules, [`Table::unsaved`] is told when the store is back ([`super::merged`]), and one
//! probe *a node* is out meanwhile.

use super::fleet::{is_kept, next_number};
use super::{after_ask, after_report, merged};
use crate::contract::breaker::{Circuit, CircuitDoc, CoolKind, Mark, Pass, PermitAsk, Report, Taken, Terms};
use crate::ids::ProviderId;
use crate::ports::{CircuitNews, Since};
use crate::rules::cooldown::{self, Preference};
use crate::time::UnixMillis;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A node's knowledge.
#[derive(Clone, Debug, Default)]
pub struct Table {
    docs: HashMap<ProviderId, Arc<CircuitDoc>>,
    since: Since,
    floor: u64,
    /// The newest number heard of or given out here.
    seen: u64,
    /// What the store does not know yet.
    unsaved: BTreeSet<ProviderId>,
}

/// May a provider be asked?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Ready,
    /// Yes, with the permit ([`PermitAsk`]).
    NeedsPermit,
    /// When nobody else can: it has no capacity.
    Overloaded {
        /// When it is worth a try.
        until: UnixMillis,
    },
    /// Not while another's probe is out.
    Probing,
    /// No: its breaker is open.
    Open {
        /// When a probe is due.
        until: UnixMillis,
    },
    /// No: it said so.
    Cooling {
        /// Why.
        kind: CoolKind,
        /// Until when.
        until: UnixMillis,
    },
}

impl Standing {
    /// Where it comes among the others.
    #[must_use]
    pub fn preference(self) -> Preference {
        match self {
            Self::Ready | Self::NeedsPermit => Preference::First,
            Self::Overloaded { .. } => Preference::Last,
            Self::Probing | Self::Open { .. } | Self::Cooling { .. } => Preference::Never,
        }
    }

    /// The name used in decision chains, metrics and explanations.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NeedsPermit => "breaker_half_open",
            Self::Overloaded { .. } => "cooling_overload",
            Self::Probing => "breaker_probing",
            Self::Open { .. } => "breaker_open",
            Self::Cooling { kind: CoolKind::Credential, .. } => "cooling_credential",
            Self::Cooling { kind: CoolKind::RateLimit, .. } => "cooling_rate_limit",
            Self::Cooling { kind: CoolKind::ModelMissing, .. } => "cooling_model_missing",
            // Never made: an overload does not exclude.
            Self::Cooling { kind: CoolKind::Overload, .. } => "cooling_overload",
        }
    }

    /// When there may be another answer, where that is known: what a seat is told to wait for.
    #[must_use]
    pub fn until(self) -> Option<UnixMillis> {
        match self {
            Self::Overloaded { until } | Self::Open { until } | Self::Cooling { until, .. } => Some(until),
            Self::Ready | Self::NeedsPermit | Self::Probing => None,
        }
    }
}

impl Table {
    /// May this provider be asked for this requested model?
    #[must_use]
    pub fn standing(&self, id: ProviderId, terms: &Terms, model: Option<&str>, now: UnixMillis) -> Standing {
        let Some(doc) = self.docs.get(&id) else { return Standing::Ready };
        if doc.terms != *terms {
            return Standing::Ready;
        }
        let circuit = if terms.failure_threshold == 0 { None } else { Some(&doc.circuit) };
        if let Some(Circuit::Open { until }) = circuit
            && now < *until
        {
            return Standing::Open { until: *until };
        }
        let cooling = cooldown::current(&doc.cooldowns, model, now);
        if let Some(cooling) = cooling
            && cooling.excludes()
        {
            return Standing::Cooling { kind: cooling.kind, until: cooling.until };
        }
        match circuit {
            Some(Circuit::HalfOpen { permit: Some(permit), .. }) if now < permit.until => Standing::Probing,
            Some(Circuit::HalfOpen { .. } | Circuit::Open { .. }) => Standing::NeedsPermit,
            Some(Circuit::Closed { .. }) | None => {
                cooling.map_or(Standing::Ready, |c| Standing::Overloaded { until: c.until })
            }
        }
    }

    /// What an attempt that begins now is admitted by.
    #[must_use]
    pub fn pass(&self) -> Pass {
        Pass { seen: self.seen, fence: None }
    }

    /// True when the store must hear of it. Of a success at a provider that nothing is held against it must not.
    #[must_use]
    pub fn is_news(&self, report: &Report, now: UnixMillis) -> bool {
        match self.docs.get(&report.provider_id) {
            // The permit goes back, whatever this node knows by now.
            _ if report.pass.fence.is_some() => true,
            Some(doc) => after_report(doc, report, now, self.seen).is_some(),
            None => {
                let counts = report.mark == Mark::Failure && report.terms.failure_threshold > 0;
                counts || report.cool.is_some()
            }
        }
    }

    /// What is known of a provider.
    #[must_use]
    pub fn doc(&self, id: ProviderId) -> Option<&CircuitDoc> {
        self.docs.get(&id).map(Arc::as_ref)
    }

    /// All that is known.
    pub fn docs(&self) -> impl Iterator<Item = &CircuitDoc> {
        self.docs.values().map(Arc::as_ref)
    }

    /// From where to read on: from the beginning, when this node went on by itself meanwhile.
    #[must_use]
    pub fn since(&self) -> Since {
        self.since
    }

    /// Takes in what the store said of one provider.
    pub fn put(&mut self, doc: CircuitDoc, now: UnixMillis) {
        let id = doc.provider_id;
        self.seen = self.seen.max(doc.version);
        match self.docs.get(&id) {
            Some(ours) if self.unsaved.contains(&id) => {
                if let Some(ours) = merged(&doc, ours, now, ours.version.max(doc.version)) {
                    self.docs.insert(id, Arc::new(ours));
                    return;
                }
                self.unsaved.remove(&id);
            }
            // An answer that was overtaken.
            Some(known) if known.version > doc.version => return,
            Some(_) | None => {}
        }
        self.docs.insert(id, Arc::new(doc));
    }

    /// Takes in what was read. What only this node knows, because the store was away or lost it, stays, and is told.
    pub fn take_in(&mut self, news: CircuitNews, now: UnixMillis) {
        if news.is_whole {
            let ours = std::mem::take(&mut self.docs);
            self.unsaved = ours.keys().copied().collect();
            let known: BTreeSet<ProviderId> = news.docs.iter().map(|doc| doc.provider_id).collect();
            for (id, doc) in ours {
                let nothing = CircuitDoc::fresh(id, doc.terms, news.floor);
                if known.contains(&id) || merged(&nothing, &doc, now, doc.version).is_some() {
                    self.docs.insert(id, doc);
                } else {
                    self.unsaved.remove(&id);
                }
            }
        }
        self.since = news.upto;
        self.floor = news.floor;
        self.seen = self.seen.max(news.upto.upto);
        for doc in news.docs {
            self.put(doc, now);
        }
        self.docs.retain(|_, doc| doc.generation >= news.floor && is_kept(doc, now));
        self.unsaved.retain(|id| self.docs.contains_key(id));
    }

    /// The store is away: how an attempt ended. True when this made a transition.
    pub fn report_here(&mut self, report: &Report, now: UnixMillis) -> bool {
        let doc = self.find(report.provider_id, report.terms);
        let number = next_number(self.seen, now);
        let Some(next) = after_report(&doc, report, now, number) else { return false };
        let has_moved = next.generation != doc.generation;
        self.keep(next);
        has_moved
    }

    /// The store is away: somebody wants to probe. Other nodes' permits are believed until they lapse.
    pub fn ask_here(&mut self, ask: &PermitAsk, now: UnixMillis) -> Taken {
        let doc = self.find(ask.provider_id, ask.terms);
        let (taken, next) = after_ask(&doc, ask, now, next_number(self.seen, now), |_| true);
        if let Some(next) = next {
            self.keep(next);
        }
        taken
    }

    /// What the store must be told ([`crate::ports::BreakerStore::merge`]), as soon as it is back.
    #[must_use]
    pub fn unsaved(&self) -> Vec<CircuitDoc> {
        self.unsaved.iter().filter_map(|id| self.doc(*id)).cloned().collect()
    }

    /// The store was told these; the next read, of all there is, says what came of it.
    pub fn saved(&mut self, told: &[CircuitDoc]) {
        self.since = Since::default();
        for doc in told {
            // What changed meanwhile is told next time.
            if self.doc(doc.provider_id) == Some(doc) {
                self.unsaved.remove(&doc.provider_id);
            }
        }
    }

    fn find(&self, id: ProviderId, terms: Terms) -> CircuitDoc {
        self.doc(id).cloned().unwrap_or_else(|| CircuitDoc::fresh(id, terms, self.floor))
    }

    fn keep(&mut self, doc: CircuitDoc) {
        self.since = Since::default();
        self.seen = self.seen.max(doc.version);
        self.unsaved.insert(doc.provider_id);
        self.docs.insert(doc.provider_id, Arc::new(doc));
    }
}
