//! Why providers could not be drawn: the list of reasons, and who was out for which.

use crate::contract::usage::Exclusion;
use crate::ids::ProviderId;

/// Why a provider could not be drawn, in the order of the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// None of the caller's groups has it.
    OtherGroup,
    /// Switched off.
    Disabled,
    /// Its schedule has it rest now.
    OutsideSchedule,
    /// It speaks another API.
    OtherDialect,
    /// Its model rules leave the requested model out.
    ModelNotServed,
    /// Its client rules leave the caller's program out.
    ClientNotAllowed,
    /// Another provider made the response that the request goes on from.
    OtherResponse,
    /// Its breaker is open.
    BreakerOpen,
    /// Its breaker is half open, and another request probes it.
    BreakerProbing,
    /// Its account was refused a while ago.
    CoolingCredential,
    /// It is at its rate.
    CoolingRateLimit,
    /// It said that it does not have the model.
    CoolingModelMissing,
    /// Its budget has no room for this request.
    LimitReached,
    /// It was tried for this request and failed.
    AlreadyTried,
    /// It cannot be asked at all: its secret does not open, its URL is broken.
    Unusable,
    /// Weight 0: only a running session uses it.
    WeightZero,
    /// It is overloaded, and somebody else could serve.
    CoolingOverload,
    /// A better tier could serve.
    LowerPriority,
}

impl Reason {
    /// All reasons, in the order of the filters.
    pub const ALL: [Self; 18] = [
        Self::OtherGroup,
        Self::Disabled,
        Self::OutsideSchedule,
        Self::OtherDialect,
        Self::ModelNotServed,
        Self::ClientNotAllowed,
        Self::OtherResponse,
        Self::BreakerOpen,
        Self::BreakerProbing,
        Self::CoolingCredential,
        Self::CoolingRateLimit,
        Self::CoolingModelMissing,
        Self::LimitReached,
        Self::AlreadyTried,
        Self::Unusable,
        Self::WeightZero,
        Self::CoolingOverload,
        Self::LowerPriority,
    ];

    /// The name used in decision chains, metrics and explanations.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::OtherGroup => "other_group",
            Self::Disabled => "disabled",
            Self::OutsideSchedule => "outside_schedule",
            Self::OtherDialect => "other_dialect",
            Self::ModelNotServed => "model_not_served",
            Self::ClientNotAllowed => "client_not_allowed",
            Self::OtherResponse => "other_response",
            Self::BreakerOpen => "breaker_open",
            Self::BreakerProbing => "breaker_probing",
            Self::CoolingCredential => "cooling_credential",
            Self::CoolingRateLimit => "cooling_rate_limit",
            Self::CoolingModelMissing => "cooling_model_missing",
            Self::LimitReached => "limit_reached",
            Self::AlreadyTried => "already_tried",
            Self::Unusable => "unusable",
            Self::WeightZero => "weight_zero",
            Self::CoolingOverload => "cooling_overload",
            Self::LowerPriority => "lower_priority",
        }
    }
}

/// Who was out, by reason: how many, and the first 20 of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excluded([Tally; Reason::ALL.len()]);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u32,
    first: Vec<ProviderId>,
}

impl Excluded {
    pub(super) fn add(&mut self, reason: Reason, id: ProviderId) {
        // In the order of their declaration, which is that of `Reason::ALL`: a test holds them to it.
        if let Some(tally) = self.0.get_mut(reason as usize) {
            tally.count = tally.count.saturating_add(1);
            if tally.first.len() < FIRST_IDS {
                tally.first.push(id);
            }
        }
    }

    /// The reasons that stopped anybody, in the order of the filters, with how many they stopped.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u32)> {
        Reason::ALL.into_iter().zip(&self.0).filter(|(_, t)| t.count > 0).map(|(r, t)| (r, t.count))
    }

    /// How many a reason stopped.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u32 {
        self.reasons().find(|(r, _)| *r == reason).map_or(0, |(_, count)| count)
    }

    /// The reasons a seat is told when nobody is left: of the providers it may use and whose API it
    /// speaks, if there are any; else why there are none. Of those that did not make the response it goes on from
    /// nothing is said, as if its maker were alone. Never a provider's name or id.
    pub fn public_reasons(&self) -> impl Iterator<Item = &'static str> {
        let is_telling = |r: Reason| r != Reason::OtherGroup && r != Reason::OtherDialect;
        let has_telling = self.reasons().any(|(r, _)| is_telling(r));
        let has_other_dialect = self.count(Reason::OtherDialect) > 0;
        self.reasons()
            .map(|(r, _)| r)
            .filter(move |r| match r {
                Reason::OtherGroup => !has_telling && !has_other_dialect,
                Reason::OtherDialect => !has_telling,
                Reason::OtherResponse => false,
                _ => true,
            })
            .map(Reason::label)
    }

    /// The first of the providers that are at their rate, when nobody else is there who might serve the same request at
    /// another moment; else nobody.
    #[must_use]
    pub fn all_at_their_rate(&self) -> &[ProviderId] {
        let may_pass = |reason: Reason| match reason {
            Reason::BreakerOpen
            | Reason::BreakerProbing
            | Reason::CoolingCredential
            | Reason::CoolingModelMissing
            | Reason::AlreadyTried
            | Reason::OutsideSchedule
            | Reason::CoolingOverload
            | Reason::LowerPriority => true,
            Reason::CoolingRateLimit
            | Reason::LimitReached
            | Reason::OtherGroup
            | Reason::Disabled
            | Reason::OtherDialect
            | Reason::ModelNotServed
            | Reason::ClientNotAllowed
            | Reason::OtherResponse
            | Reason::Unusable
            | Reason::WeightZero => false,
        };
        let has_others = self.reasons().any(|(reason, _)| may_pass(reason));
        let limited = self.0.get(Reason::CoolingRateLimit as usize).filter(|_| !has_others);
        limited.map_or(&[], |tally| tally.first.as_slice())
    }

    pub(super) fn into_exclusions(self) -> Vec<Exclusion> {
        Reason::ALL
            .into_iter()
            .zip(self.0)
            .filter(|(_, tally)| tally.count > 0)
            .map(|(reason, tally)| Exclusion {
                reason: reason.label().to_owned(),
                count: tally.count,
                provider_ids: tally.first,
            })
            .collect()
    }
}

/// How many ids an exclusion lists.
const FIRST_IDS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_at_their_rate_when_whoever_else_might_serve_is_not_there() {
        let of = |reasons: &[Reason]| {
            let mut excluded = Excluded::default();
            for (reason, id) in reasons.iter().zip(1..) {
                excluded.add(*reason, ProviderId(id));
            }
            excluded.all_at_their_rate().to_vec()
        };
        let limited = Reason::CoolingRateLimit;
        assert_eq!(of(&[limited, Reason::Disabled, limited]), [ProviderId(1), ProviderId(3)]);
        assert_eq!(of(&[Reason::OtherGroup, Reason::OtherResponse, limited]), [ProviderId(3)]);
        for other in [Reason::BreakerOpen, Reason::CoolingCredential, Reason::OutsideSchedule] {
            assert_eq!(of(&[limited, other]), []);
        }
        assert_eq!(of(&[]), []);
    }
}
