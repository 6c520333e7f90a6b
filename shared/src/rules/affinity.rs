//! Which provider a conversation stays with (design §6). Its prompt cache is there, so it goes there for as long as it
//! can, and moves only for what will not pass by itself.
//!
//! A request asks three times: what does the binding mean for it ([`standing`]), how did it come to the provider that
//! served it ([`course`]), and what is to be done after it ([`after`]).
//!
//! | course | the bound provider | after a verified success |
//! |---|---|---|
//! | drawn | there was none | bind |
//! | reused | served | keep, or drop after three slow turns in a row |
//! | spilled | could not serve this request, which passes: no such model there, cooling down, breaker, limit, schedule, overload, a short rate limit | keep: it goes back there |
//! | failed over | was tried and failed, or is rate limited for longer than a session lives | move, once |
//! | replaced | is gone: deleted, disabled, another account by now, not the caller's any more | move |
//!
//! Nothing is done after what was no success, or only counted tokens. A binding has a generation; it is moved and dropped
//! only by who names the one in force, so that of several requests that fail over at once one moves it, and none of them
//! undoes what another did. Knows nothing of where bindings are kept ([`crate::ports::SessionStore`]) or cached
//! ([`cache`]).

pub mod cache;
pub mod served;

use super::classify::FailureClass;
use super::session::SessionKey;
use crate::ids::ProviderId;
use crate::model::{GroupSet, Provider};
use crate::protocol::detect::Family;
use crate::time::UnixMillis;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A conversation's provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Who.
    pub provider_id: ProviderId,
    /// Which account it was at that time.
    pub identity: Identity,
    /// Which binding of the conversation it is: a later one has a higher number, from 1 to below 2^53.
    pub generation: u64,
    /// Slow turns since the last quick one.
    pub slow_turns: u32,
}

/// What makes a provider the account that it is: type, URL and sealed secret. Two are equal as long as only other things
/// about a provider were edited. A secret that is sealed again counts as another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub u64);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Identity {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

// As text: neither Lua nor JavaScript has whole numbers of 64 bits.
impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Provider {
    /// Which account it is now. Some microseconds: make it once for each snapshot.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let mut hash = Context::new(&SHA256);
        for part in [self.provider_type.as_str(), &self.url, &self.secret.0] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
        Identity(first_u64(hash.finish().as_ref()))
    }
}

/// What a binding means for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The request goes there, unless something passing is in the way.
    Usable,
    /// It never will again.
    Gone(GoneReason),
}

/// Why a bound provider is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoneReason {
    /// There is none with this id.
    Deleted,
    /// Switched off.
    Disabled,
    /// It has another type, URL or secret by now.
    OtherAccount,
    /// The caller's groups have it no more.
    OtherGroup,
}

impl GoneReason {
    /// The name used by `explain`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Disabled => "disabled",
            Self::OtherAccount => "other_account",
            Self::OtherGroup => "other_group",
        }
    }
}

/// Asks what a binding means for a request. `provider` is the bound one in the request's snapshot with its identity,
/// `groups` are the caller's ([`crate::rules::access::effective_groups`]).
#[must_use]
pub fn standing(binding: &Binding, provider: Option<(&Provider, Identity)>, groups: &GroupSet) -> Standing {
    let Some((provider, identity)) = provider else {
        return Standing::Gone(GoneReason::Deleted);
    };
    if !provider.is_enabled {
        return Standing::Gone(GoneReason::Disabled);
    }
    if identity != binding.identity {
        return Standing::Gone(GoneReason::OtherAccount);
    }
    if !groups.may_use(&provider.group_tag) {
        return Standing::Gone(GoneReason::OtherGroup);
    }
    Standing::Usable
}

/// The seed of a request's draws. One whose session is bound draws only while the bound provider cannot serve it: then
/// always with the same seed, so that all requests of the session go to the same other provider, and find their cache
/// there. `chance` is for all others.
#[must_use]
pub fn draw_seed(key: &SessionKey, standing: Option<Standing>, chance: u64) -> u64 {
    match standing {
        Some(Standing::Usable) => first_u64(&key.to_bytes()),
        Some(Standing::Gone(_)) | None => chance,
    }
}

/// The first eight bytes as a number.
pub(crate) fn first_u64(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// What a request's course depends on.
#[derive(Clone, Copy, Debug)]
pub struct CourseFacts<'a> {
    /// The binding it began with and what that meant; `None` = there was none.
    pub bound: Option<(Binding, Standing)>,
    /// Who served it.
    pub served: ProviderId,
    /// How each of its attempts at the bound provider ended that failed.
    pub failures: &'a [BoundFailure],
    /// `SESSION_TTL`, in milliseconds.
    pub ttl_ms: u64,
}

/// A failed attempt at the bound provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundFailure {
    /// Whose fault it was.
    pub class: FailureClass,
    /// How long the upstream asked to wait.
    pub retry_after_secs: Option<u64>,
}

/// How a request came to the provider that served it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// There was no binding.
    Drawn,
    /// By its binding.
    Reused,
    /// The bound provider could not serve this one.
    Spilled,
    /// The bound provider failed.
    FailedOver,
    /// The bound provider is gone.
    Replaced,
}

/// Tells how a request came to the provider that served it.
#[must_use]
pub fn course(facts: &CourseFacts<'_>) -> Course {
    let Some((binding, standing)) = facts.bound else {
        return Course::Drawn;
    };
    if let Standing::Gone(_) = standing {
        return Course::Replaced;
    }
    if binding.provider_id == facts.served {
        return Course::Reused;
    }
    // Whoever was usable and was not tried was excluded, and no exclusion of a usable one is for ever.
    let is_moving = facts.failures.iter().any(|failure| !passes(failure, facts.ttl_ms));
    if is_moving { Course::FailedOver } else { Course::Spilled }
}

/// True for a failure that will be over while the session lives.
fn passes(failure: &BoundFailure, ttl_ms: u64) -> bool {
    match failure.class {
        FailureClass::Overload => true,
        FailureClass::RateLimit => {
            failure.retry_after_secs.is_none_or(|wait| wait.saturating_mul(1_000) <= ttl_ms)
        }
        // It does not have *this*: what its settings say of other models, learnt by trying. A session that also asks for
        // a small model would go to and fro.
        FailureClass::ModelMissing | FailureClass::NotFound => true,
        FailureClass::Credential
        | FailureClass::RequestFault
        | FailureClass::Server
        | FailureClass::Timeout
        | FailureClass::FakeSuccess
        | FailureClass::Transport
        | FailureClass::Ours => false,
    }
}

/// What is known when a request has ended.
#[derive(Clone, Copy, Debug)]
pub struct TurnFacts {
    /// How it came to its provider.
    pub course: Course,
    /// The binding it began with, and when its life was last prolonged.
    pub known: Option<Known>,
    /// How it ended.
    pub end: TurnEnd,
    /// Now.
    pub now: UnixMillis,
    /// `SESSION_TTL`, in milliseconds.
    pub ttl_ms: u64,
}

/// A binding as a node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The binding.
    pub binding: Binding,
    /// When its life was last prolonged, as far as this node knows.
    pub slid_at: UnixMillis,
    /// True when the store does not have it: it was away when it should have been told. The generation is then that of
    /// the binding which this one replaced; 0 when there was none.
    pub stands_in: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnEnd {
    /// What was asked for.
    pub family: Family,
    /// True for an answer that was verified to be one, to its end.
    pub is_success: bool,
    /// Milliseconds from the attempt's start until its head and the first event that says something had come; `None`
    /// where there are no events: a whole body takes as long as it takes.
    pub first_event_ms: Option<u64>,
}

/// What is to be done about a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Keep,
    /// Bind to who served, if nobody is bound.
    Bind,
    /// Bind to who served instead, if this generation is in force, or none.
    Move {
        /// Which.
        expected: u64,
    },
    /// End it, if this generation is in force.
    Drop {
        /// Which.
        generation: u64,
    },
    /// Prolong its life, if this generation is in force, and count.
    Touch {
        /// Which.
        generation: u64,
        /// How the turn was; `None`: it says nothing.
        pace: Option<Pace>,
    },
}

/// How quickly a bound provider answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// In less than [`SLOW_MS`].
    Quick,
    /// Not.
    Slow,
}

/// Decides what is to be done after a request.
#[must_use]
pub fn after(facts: &TurnFacts) -> After {
    let is_count = matches!(facts.end.family, Family::AnthropicCountTokens | Family::GeminiCountTokens);
    if !facts.end.is_success || is_count {
        return After::Keep;
    }
    let Some(Known { binding, slid_at, stands_in }) = facts.known else {
        return After::Bind;
    };
    let generation = binding.generation;
    match facts.course {
        Course::Drawn => After::Bind,
        Course::FailedOver | Course::Replaced => After::Move { expected: generation },
        Course::Reused | Course::Spilled => {
            let age_ms = facts.now.since(slid_at);
            let pace = pace(facts);
            let count = count(&binding, pace);
            if facts.course == Course::Reused && stands_in {
                After::Move { expected: generation }
            } else if count >= MAX_SLOW_TURNS {
                After::Drop { generation }
            } else if facts.course == Course::Reused && age_ms >= facts.ttl_ms {
                // Forgotten by the store, during a long answer.
                After::Bind
            } else if count != binding.slow_turns || age_ms >= facts.ttl_ms / TOUCHES_PER_TTL {
                After::Touch { generation, pace }
            } else {
                After::Keep
            }
        }
    }
}

/// Only the bound provider's own turns are counted.
fn pace(facts: &TurnFacts) -> Option<Pace> {
    let first_event_ms = facts.end.first_event_ms.filter(|_| facts.course == Course::Reused)?;
    Some(if first_event_ms >= SLOW_MS { Pace::Slow } else { Pace::Quick })
}

/// The slow turns of a binding after another turn.
fn count(binding: &Binding, pace: Option<Pace>) -> u32 {
    match pace {
        Some(Pace::Slow) => binding.slow_turns.saturating_add(1),
        Some(Pace::Quick) => 0,
        None => binding.slow_turns,
    }
}

/// From here on, a turn is slow (demand 21: 14 to 50 seconds for as long as the session lived).
pub const SLOW_MS: u64 = 15_000;

/// So many slow turns in a row, and the session looks for another provider.
pub const MAX_SLOW_TURNS: u32 = 3;

/// How often a session's life is prolonged at most: a store is not told of each turn.
const TOUCHES_PER_TTL: u64 = 5;

#[cfg(test)]
mod tests;
