//! Cool-downs: for how long a provider, or a model of it, is not asked, because it said so (design §5).
//!
//! | kind | of | how long | repetition |
//! |---|---|---|---|
//! | credential | provider | 5 min | doubles up to 1 h; forgotten after a success, or a day |
//! | rate limit | model | what the upstream says, 1 s to 6 h; without a word 30 s | doubles up to 5 min (without a word) |
//! | overload | model | about 2 s | doubles up to 8 s; forgotten after a minute |
//! | model missing | model | 10 min | – |
//!
//! A rate limit that names no model is of the provider. The longest that an upstream is believed is 6 h: to ask again
//! costs one refusal, and quotas are reset early. Overloads are jittered, so that a fleet does not come back at once.
//!
//! A repetition is a cool-down that is asked for after the last one was over and before it was forgotten. What arrives
//! while one runs belongs to it (a hundred requests in flight are refused together), and changes nothing, unless an
//! upstream now names a later moment.
//!
//! Credential, rate limit and model missing exclude. **Overload only comes last**: it is the vendor's and falls on all
//! accounts alike, so a pool whose members all cool down for it would otherwise refuse what one of them could have
//! served. [`Preference`] is the answer for a pool. A 529 that counted for the breaker would be the same mistake.
//!
//! Pure; kept in [`CircuitDoc::cooldowns`](crate::contract::breaker::CircuitDoc), at most [`MAX_COOLDOWNS`] for each
//! provider: what is over first makes room. `contract/lua/breaker_common_v1.lua` does the same.

use super::classify::{FailureClass, Verdict};
use crate::contract::breaker::{CoolAsk, CoolKind, Cooldown, Sample};
use crate::time::UnixMillis;
use rand::Rng;

/// What a failure asks for. `hint_ms` is how long the upstream said to wait, `model` what the seat asked for.
pub fn ask(
    verdict: &Verdict,
    model: Option<&str>,
    hint_ms: Option<u64>,
    rng: &mut impl Rng,
) -> Option<CoolAsk> {
    let model = match model {
        Some(name) => Some(kept_model(name)?),
        None => None,
    };
    let of = |kind, model, (first_ms, longest_ms, memory_ms): Tariff| {
        Some(CoolAsk { kind, model, first_ms, longest_ms, memory_ms })
    };
    match verdict.class {
        FailureClass::Credential => of(CoolKind::Credential, None, CREDENTIAL),
        FailureClass::RateLimit => {
            let said = hint_ms.map(|ms| ms.clamp(SHORTEST_HINT_MS, LONGEST_HINT_MS));
            of(CoolKind::RateLimit, model, said.map_or(RATE_LIMIT, |ms| (ms, ms, 0)))
        }
        FailureClass::Overload => {
            // Three quarters to five quarters.
            let permille = 750 + rng.next_u64() % 501;
            let (first, longest, memory) = OVERLOAD;
            of(CoolKind::Overload, model, (first * permille / 1_000, longest * permille / 1_000, memory))
        }
        FailureClass::ModelMissing if model.is_some() => of(CoolKind::ModelMissing, model, MODEL_MISSING),
        FailureClass::ModelMissing
        | FailureClass::NotFound
        | FailureClass::RequestFault
        | FailureClass::Server
        | FailureClass::Timeout
        | FailureClass::FakeSuccess
        | FailureClass::Transport
        | FailureClass::Ours => None,
    }
}

/// A requested model's name, to be kept. Names come from seats; `None` when it is longer than any real one.
#[must_use]
pub fn kept_model(name: &str) -> Option<String> {
    (name.len() <= MAX_MODEL_BYTES).then(|| name.to_owned())
}

/// When to ask whom: among several, whoever has the first of these that anybody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Preference {
    /// Ask.
    First,
    /// Ask when nobody is [`Preference::First`]. It cools down for an overload.
    Last,
    /// Do not ask.
    Never,
}

impl Preference {
    /// What to draw from; `None` when nobody may be asked.
    #[must_use]
    pub fn best(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().min().filter(|best| *best != Self::Never)
    }
}

impl Cooldown {
    /// True until it is over.
    #[must_use]
    pub fn is_running(&self, now: UnixMillis) -> bool {
        now < self.until
    }

    /// True while another one would be a repetition.
    #[must_use]
    pub fn is_remembered(&self, now: UnixMillis) -> bool {
        now < self.until.plus_ms(self.memory_ms)
    }

    /// True when it is of this model, or of all.
    #[must_use]
    pub fn concerns(&self, model: Option<&str>) -> bool {
        self.model.is_none() || self.model.as_deref() == model
    }

    /// True for those that exclude.
    #[must_use]
    pub fn excludes(&self) -> bool {
        match self.kind {
            CoolKind::Credential | CoolKind::RateLimit | CoolKind::ModelMissing => true,
            CoolKind::Overload => false,
        }
    }
}

/// The cool-down that counts for a request: of those that exclude, the last to end; else the overload.
#[must_use]
pub fn current<'a>(all: &'a [Cooldown], model: Option<&str>, now: UnixMillis) -> Option<&'a Cooldown> {
    let counts = |c: &&Cooldown| c.is_running(now) && c.concerns(model);
    all.iter().filter(counts).max_by_key(|c| (c.excludes(), c.until))
}

/// Sets what is asked for. False when that changes nothing.
pub(super) fn set(
    all: &mut Vec<Cooldown>,
    ask: &CoolAsk,
    sample: &Sample,
    now: UnixMillis,
    number: u64,
) -> bool {
    let known = all.iter_mut().find(|c| c.kind == ask.kind && c.model == ask.model);
    let strikes = match &known {
        Some(known) if known.is_running(now) => known.strikes,
        Some(known) if known.is_remembered(now) => known.strikes.saturating_add(1),
        Some(_) | None => 1,
    };
    let until = now.plus_ms(duration_ms(ask, strikes));
    let made = || Cooldown {
        kind: ask.kind,
        model: ask.model.clone(),
        until,
        memory_ms: ask.memory_ms,
        strikes,
        number,
        sample: sample.clone(),
    };
    match known {
        Some(known) => {
            let names_later = ask.kind == CoolKind::RateLimit && until > known.until.plus_ms(SAME_MOMENT_MS);
            if known.is_running(now) && !names_later {
                return false;
            }
            *known = made();
        }
        None => all.push(made()),
    }
    tidy(all, now);
    true
}

/// Adds what another node knows: of each the one that ends later. False when that changes nothing.
pub(super) fn join(all: &mut Vec<Cooldown>, others: &[Cooldown], now: UnixMillis) -> bool {
    let mut has_changed = false;
    for other in others.iter().filter(|c| c.is_remembered(now)) {
        match all.iter_mut().find(|c| c.kind == other.kind && c.model == other.model) {
            Some(known) if known.until >= other.until => continue,
            Some(known) => *known = other.clone(),
            None => all.push(other.clone()),
        }
        has_changed = true;
    }
    if has_changed {
        tidy(all, now);
    }
    has_changed
}

/// A success that was admitted when this number was known: refusals of the account from before it are over. False when
/// there are none.
pub(super) fn succeeded(all: &mut Vec<Cooldown>, seen: u64) -> bool {
    let count = all.len();
    all.retain(|c| c.kind != CoolKind::Credential || c.number > seen);
    all.len() != count
}

fn duration_ms(ask: &CoolAsk, strikes: u32) -> u64 {
    let factor = 1_u64.checked_shl(strikes.saturating_sub(1)).unwrap_or(u64::MAX);
    ask.first_ms.saturating_mul(factor).min(ask.longest_ms)
}

/// Forgets, and makes room.
fn tidy(all: &mut Vec<Cooldown>, now: UnixMillis) {
    all.retain(|c| c.is_remembered(now));
    while all.len() > MAX_COOLDOWNS {
        let soonest = all.iter().enumerate().min_by_key(|(_, c)| c.until).map(|(place, _)| place);
        all.remove(soonest.unwrap_or(0));
    }
}

/// First, longest, memory; all in milliseconds.
type Tariff = (u64, u64, u64);

const CREDENTIAL: Tariff = (300_000, 3_600_000, 86_400_000);
const RATE_LIMIT: Tariff = (30_000, 300_000, 300_000);
const OVERLOAD: Tariff = (2_000, 8_000, 60_000);
const MODEL_MISSING: Tariff = (600_000, 600_000, 0);
const SHORTEST_HINT_MS: u64 = 1_000;
const LONGEST_HINT_MS: u64 = 6 * 3_600_000;
/// Two answers that say the same moment, as seen from different nodes.
pub(crate) const SAME_MOMENT_MS: u64 = 1_000;
/// For each provider.
pub const MAX_COOLDOWNS: usize = 64;
const MAX_MODEL_BYTES: usize = 200;

#[cfg(test)]
mod tests;
