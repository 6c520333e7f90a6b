//! Which provider serves the next attempt, and why not the others (design §5).
//!
//! Pure: facts and chance in, a [`Selection`] with its [`Trace`] out. Knows nothing of attempts, budgets or
//! the wire; a caller that failed somewhere adds the provider to [`SelectFacts::out`] and asks again, which
//! makes the draws *without replacement* with true proportions among the rest.
//!
//! The filters, in order; a provider is counted under the first that stops it:
//! group → enabled → schedule → dialect → model → client → another one made the response → breaker and cool-downs → out for
//! this request (its budget has no room, it was tried) → weight 0 → overloaded where somebody is not → not in the lowest tier
//! (the caller's group may have its own).
//!
//! Invariants: whoever any filter stops is never chosen; a tier serves only when every lower-numbered one
//! is empty; a choice takes exactly one number from the rng, an exhausted pool none. A [`Pool`] is in the order of
//! its ids, so the same facts and seed give the same choice whatever the order of rows.

mod course;
mod draws;
mod pool;
mod reasons;

pub use course::{Course, course};
pub use draws::Draws;
pub use pool::Pool;
pub use reasons::{Excluded, Reason};

use pool::{Access, Member};

use crate::contract::breaker::CoolKind;
use crate::contract::usage::{Candidate, ChainStep, DecisionChain};
use crate::ids::ProviderId;
use crate::model::GroupSet;
use crate::model::client::{self, Client};
use crate::model::rules::allows;
use crate::protocol::Dialect;
use crate::rules::breaker::table::{Standing, Table};
use crate::rules::cooldown::Preference;
use crate::time::UnixMillis;
use rand::{Rng, RngCore};

/// What a choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct SelectFacts<'a> {
    /// All providers of the snapshot.
    pub pool: &'a Pool,
    /// The groups of the caller ([`crate::rules::access::effective_groups`]).
    pub groups: &'a GroupSet,
    /// What the caller speaks.
    pub dialect: Dialect,
    /// The requested model, before any redirect; `None` passes every model rule.
    pub model: Option<&'a str>,
    /// What calls; `None`: it does not say.
    pub client: Option<Client<'a>>,
    /// The request's moment: schedules go by it.
    pub at: UnixMillis,
    /// How the providers stand, and the moment of the choice; `None`: nothing is held against anybody.
    pub table: Option<(&'a Table, UnixMillis)>,
    /// Who is out for the rest of this request.
    pub out: &'a [Out],
    /// The only one that may serve ([`crate::rules::response::follow`]), whatever its weight; `None`: all may.
    pub only: Option<ProviderId>,
}

/// A provider that is out for the rest of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out {
    /// Who.
    pub provider_id: ProviderId,
    /// Why.
    pub why: OutReason,
}

/// Why a provider is out for the rest of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutReason {
    /// It was tried and failed.
    AlreadyTried,
    /// Its breaker is half open, and somebody else got the permit.
    Probing,
    /// Its budget has no room for the request.
    LimitReached,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Try this one.
    Chosen(Chosen),
    /// Nobody is left.
    Exhausted(Excluded),
}

/// A drawn provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its id.
    pub provider_id: ProviderId,
    /// How it stands: one whose breaker is half open is asked with the permit alone.
    pub standing: Standing,
    /// Among whom it was drawn, and who was out.
    pub trace: Trace,
}

/// How a draw came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The tier that served the draw.
    pub priority: u32,
    /// The tier in full, by id.
    pub candidates: Vec<Candidate>,
    /// Everybody else.
    pub excluded: Excluded,
}

/// Draws the next provider.
pub fn select(facts: &SelectFacts<'_>, rng: &mut impl Rng) -> Selection {
    let mut sieve = Sieve::new(facts);
    let mut excluded = Excluded::default();
    let mut able: Vec<Able> = Vec::new();
    for member in &facts.pool.members {
        match sieve.obstacle(member) {
            Err(reason) => excluded.add(reason, member.id),
            Ok(standing) => {
                // The only one is drawn even with the weight of one that only running sessions use: it is the same case.
                let weight = if facts.only.is_some() { member.weight.max(1) } else { member.weight };
                let candidate = Candidate { provider_id: member.id, weight };
                able.push(Able { candidate, standing, priority: sieve.access.priority(member) });
            }
        }
    }
    // An overload falls on all accounts of a vendor alike: who has one comes last, over all tiers.
    let best = Preference::best(able.iter().map(|able| able.standing.preference()));
    able.retain(|able| {
        let is_best = Some(able.standing.preference()) == best;
        if !is_best {
            excluded.add(Reason::CoolingOverload, able.candidate.provider_id);
        }
        is_best
    });
    let Some(priority) = able.iter().map(|able| able.priority).min() else {
        return Selection::Exhausted(excluded);
    };
    able.retain(|able| {
        let is_in_tier = able.priority == priority;
        if !is_in_tier {
            excluded.add(Reason::LowerPriority, able.candidate.provider_id);
        }
        is_in_tier
    });
    let candidates: Vec<Candidate> = able.iter().map(|able| able.candidate).collect();
    match draw(&candidates, rng).and_then(|at| able.get(at)) {
        Some(drawn) => Selection::Chosen(Chosen {
            provider_id: drawn.candidate.provider_id,
            standing: drawn.standing,
            trace: Trace { priority, candidates, excluded },
        }),
        // Not reached: a candidate weighs at least 1, see `obstacle`.
        None => Selection::Exhausted(excluded),
    }
}

/// May the provider serve that a running session is bound to? Neither weight nor tier is asked.
pub fn reuse(facts: &SelectFacts<'_>, id: ProviderId) -> Result<Standing, Reason> {
    let place = facts.pool.members.binary_search_by_key(&id, |member| member.id);
    match place.ok().and_then(|place| facts.pool.members.get(place)) {
        Some(member) => Sieve::new(facts).hindrance(member),
        None => Err(Reason::OtherGroup),
    }
}

/// Who may serve a request at all, whoever rests or is out just now: over these goes what it can cost.
#[must_use]
pub fn may_serve(facts: &SelectFacts<'_>) -> Vec<ProviderId> {
    let facts = SelectFacts { table: None, out: &[], ..*facts };
    let mut sieve = Sieve::new(&facts);
    let members = facts.pool.members.iter();
    members.filter(|member| sieve.hindrance(member).is_ok()).map(|member| member.id).collect()
}

/// Who can be drawn.
struct Able {
    candidate: Candidate,
    standing: Standing,
    priority: u32,
}

/// The filters, for one choice. What many providers share is asked once.
struct Sieve<'a> {
    facts: &'a SelectFacts<'a>,
    access: Access,
    /// Whether the lists of model rules of the pool let the model through, as far as it was asked.
    models: Vec<Option<bool>>,
    /// The same of client rules.
    clients: Vec<Option<bool>>,
    /// What the clock of the pool's zone shows, once it was asked.
    minute: Option<u16>,
}

impl<'a> Sieve<'a> {
    fn new(facts: &'a SelectFacts<'a>) -> Self {
        Self {
            facts,
            access: facts.pool.access(facts.groups),
            models: vec![None; facts.pool.model_rules.len()],
            clients: vec![None; facts.pool.client_rules.len()],
            minute: None,
        }
    }

    /// The first filter that keeps it from being drawn; else how it stands.
    fn obstacle(&mut self, member: &Member) -> Result<Standing, Reason> {
        let standing = self.hindrance(member)?;
        if member.weight == 0 && self.facts.only.is_none() {
            return Err(Reason::WeightZero);
        }
        Ok(standing)
    }

    /// The first filter that keeps it from serving at all; else how it stands.
    fn hindrance(&mut self, member: &Member) -> Result<Standing, Reason> {
        if !self.access.may_use(member) {
            return Err(Reason::OtherGroup);
        }
        if !member.is_enabled {
            return Err(Reason::Disabled);
        }
        if !self.is_active(member) {
            return Err(Reason::OutsideSchedule);
        }
        if member.dialect != self.facts.dialect {
            return Err(Reason::OtherDialect);
        }
        if !self.serves_model(member) {
            return Err(Reason::ModelNotServed);
        }
        if !self.serves_client(member) {
            return Err(Reason::ClientNotAllowed);
        }
        if self.facts.only.is_some_and(|only| only != member.id) {
            return Err(Reason::OtherResponse);
        }
        let facts = self.facts;
        let standing = facts.table.map_or(Standing::Ready, |(table, now)| {
            table.standing(member.id, &member.terms, facts.model, now)
        });
        match standing {
            Standing::Ready | Standing::NeedsPermit | Standing::Overloaded { .. } => {}
            Standing::Open { .. } => return Err(Reason::BreakerOpen),
            Standing::Probing => return Err(Reason::BreakerProbing),
            Standing::Cooling { kind, .. } => return Err(cooling(kind)),
        }
        if let Some(out) = self.facts.out.iter().find(|out| out.provider_id == member.id) {
            return Err(match out.why {
                OutReason::AlreadyTried => Reason::AlreadyTried,
                OutReason::Probing => Reason::BreakerProbing,
                OutReason::LimitReached => Reason::LimitReached,
            });
        }
        if !member.is_usable {
            return Err(Reason::Unusable);
        }
        Ok(standing)
    }

    fn is_active(&mut self, member: &Member) -> bool {
        let facts = self.facts;
        member.active_time.is_none_or(|span| {
            span.contains(*self.minute.get_or_insert_with(|| facts.pool.zone.minute_of_day(facts.at)))
        })
    }

    fn serves_model(&mut self, member: &Member) -> bool {
        let (Some(model), Some(list)) = (self.facts.model, member.model_rules) else { return true };
        let rules = self.facts.pool.model_rules.get(list);
        asked_once(&mut self.models, list, || rules.is_none_or(|rules| allows(rules, model)))
    }

    fn serves_client(&mut self, member: &Member) -> bool {
        let Some(place) = member.client_rules else { return true };
        let rules = self.facts.pool.client_rules.get(place);
        let client = self.facts.client;
        asked_once(&mut self.clients, place, || {
            rules.is_none_or(|rules| client::check(&rules.allowed, &rules.blocked, client).is_ok())
        })
    }
}

fn cooling(kind: CoolKind) -> Reason {
    match kind {
        CoolKind::Credential => Reason::CoolingCredential,
        CoolKind::RateLimit => Reason::CoolingRateLimit,
        CoolKind::ModelMissing => Reason::CoolingModelMissing,
        CoolKind::Overload => Reason::CoolingOverload,
    }
}

fn asked_once(answers: &mut [Option<bool>], place: usize, ask: impl FnOnce() -> bool) -> bool {
    match answers.get_mut(place) {
        Some(answer) => *answer.get_or_insert_with(ask),
        None => ask(),
    }
}

/// The place of the drawn candidate, in proportion to the weights; `None` when they add up to 0.
fn draw(candidates: &[Candidate], rng: &mut impl Rng) -> Option<usize> {
    let total: u64 = candidates.iter().map(|c| u64::from(c.weight)).sum();
    if total == 0 {
        return None;
    }
    // Spelled out instead of `random_range`, whose algorithm may change with `rand`: stored chains must
    // replay for ever. The bias is below total ÷ 2⁶⁴.
    let scaled = (u128::from(rng.next_u64()) * u128::from(total)) >> 64;
    let mut point = u64::try_from(scaled).unwrap_or(0);
    candidates.iter().position(|c| {
        let weight = u64::from(c.weight);
        let is_hit = point < weight;
        point = point.saturating_sub(weight);
        is_hit
    })
}

impl From<Chosen> for ChainStep {
    fn from(chosen: Chosen) -> Self {
        Self::Selected {
            provider_id: chosen.provider_id,
            priority: chosen.trace.priority,
            candidates: chosen.trace.candidates,
            candidates_left_out: 0,
            excluded: chosen.trace.excluded.into_exclusions(),
        }
    }
}

impl From<Excluded> for ChainStep {
    fn from(excluded: Excluded) -> Self {
        Self::Exhausted { excluded: excluded.into_exclusions() }
    }
}

/// What the draws of a stored chain give when drawn again from its seed, candidates and weights: one id per
/// `Selected` step, in order; `None` where its candidates were cut. They equal the stored ones, or the chain
/// was not made by [`select`].
#[must_use]
pub fn replay(chain: &DecisionChain) -> Vec<Option<ProviderId>> {
    let mut draws = Draws::new(chain.seed);
    let replay = |candidates: Option<Vec<Candidate>>| {
        let candidates = candidates.unwrap_or_default();
        // Who draws from nobody takes no chance, so a cut draw still takes its number.
        let at = draw(&candidates, &mut draws).or_else(|| {
            draws.next_u64();
            None
        });
        at.and_then(|at| candidates.get(at)).map(|c| c.provider_id)
    };
    chain.draws().map(replay).collect()
}

#[cfg(test)]
mod tests;
