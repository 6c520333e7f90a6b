//! What a request may cost, for whoever puts it aside.

use super::history::Histories;
use crate::ctx::{Arrival, Asked};
use crate::live::{Live, Principal};
use shared::ids::ProviderId;
use shared::model::rules::redirected;
use shared::model::{Provider, QuotaReservation};
use shared::money::NanoUsd;
use shared::protocol::reach::reach;
use shared::rules::access::effective_groups;
use shared::rules::pricing::{Catalogue, billing_model, factors};
use shared::rules::quota::need::{Guess, Size, Tariff, Tariffs, Unbounded};
use shared::rules::select::{SelectFacts, may_serve};
use std::sync::OnceLock;

/// What a request may cost. Nothing is looked at before somebody asks: most requests are under no limit.
pub struct Need<'a> {
    histories: &'a Histories,
    arrival: &'a Arrival,
    principal: &'a Principal,
    asked: &'a Asked,
    size: OnceLock<Size>,
    guess: OnceLock<Guess>,
}

impl<'a> Need<'a> {
    /// Of this request.
    #[must_use]
    pub fn of(
        histories: &'a Histories,
        arrival: &'a Arrival,
        principal: &'a Principal,
        asked: &'a Asked,
    ) -> Self {
        Self { histories, arrival, principal, asked, size: OnceLock::new(), guess: OnceLock::new() }
    }

    /// True when the most that it can cost is put aside.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        let of_all = self.live().terms().settings.quota_reservation;
        self.principal.user.quota_reservation.unwrap_or(of_all) == QuotaReservation::Strict
    }

    /// Whoever serves it: the dearest of those that may. `only`: that one alone may.
    pub fn of_whoever_serves(&self, only: Option<ProviderId>) -> Result<NanoUsd, Unbounded> {
        let facts = SelectFacts {
            pool: self.live().pool(),
            groups: effective_groups(&self.principal.user, &self.principal.key),
            dialect: self.asked.family.dialect(),
            model: Some(&self.asked.model),
            client: self.arrival.origin.client(),
            at: self.arrival.at,
            table: None,
            out: &[],
            only,
        };
        let ids = may_serve(&facts).into_iter();
        let providers = ids.filter_map(|id| self.live().provider(id)).map(|(provider, _)| provider);
        self.over(&providers.map(|provider| self.tariff(provider)).collect())
    }

    /// When this provider serves it, and whether that is the most that it can cost. One whose prices have no bound gets what is
    /// expected: a provider's budget refuses nobody for what a model does not say.
    #[must_use]
    pub fn at(&self, provider: &Provider) -> (NanoUsd, bool) {
        let tariffs: Tariffs<'_> = [self.tariff(provider)].into_iter().collect();
        match self.over(&tariffs) {
            Ok(need) => (need, self.is_strict()),
            Err(_) => (self.expected(&tariffs), false),
        }
    }

    fn over(&self, tariffs: &Tariffs<'_>) -> Result<NanoUsd, Unbounded> {
        if self.is_strict() { tariffs.bound(self.size()) } else { Ok(self.expected(tariffs)) }
    }

    fn expected(&self, tariffs: &Tariffs<'_>) -> NanoUsd {
        let guess = self.guess.get_or_init(|| self.histories.guess(self.principal.key.id, &self.asked.model));
        tariffs.expected(*guess, u64::try_from(self.asked.body.bytes.len()).unwrap_or(u64::MAX))
    }

    fn size(&self) -> &Size {
        self.size.get_or_init(|| {
            let Asked { family, body, facts, .. } = self.asked;
            Size::of(*family, &facts.work, body.bytes.len(), reach(&body.bytes))
        })
    }

    fn tariff(&self, provider: &Provider) -> Tariff<'a> {
        let terms = self.live().terms();
        let asked = self.asked.model.as_str();
        let upstream_model = redirected(&provider.model_redirects, asked).unwrap_or(asked);
        let catalogue = Catalogue::new(terms.prices);
        let priced = billing_model(catalogue, terms.settings, Some(asked), Some(upstream_model));
        let groups = effective_groups(&self.principal.user, &self.principal.key);
        let factors = factors(provider, groups, |name| terms.group_multiplier(name));
        Tariff { model: priced.map(|(_, model)| model), factors }
    }

    fn live(&self) -> &'a Live {
        &self.arrival.live
    }
}
