//! Which provider a follow-up goes to (design §4): a request with a `previous_response_id` goes to the account that made
//! that response, because no other one has it, or to nobody.
//!
//! | what is known of the id | the request |
//! |---|---|
//! | who made it, and that one still serves this caller | goes there; whatever passes (cool-down, breaker, schedule) is waited for |
//! | who made it, and that one is gone: deleted, disabled, of another type, not the caller's any more | is refused |
//! | nothing, or nobody could be asked, and there is one provider alone for this caller | goes there: it made it, or says itself that it did not |
//! | nothing, and there are several | is refused |
//! | nobody could be asked, and there are several | is refused for now |
//!
//! An id is known by the caller's key alone ([`ResponseKey`]). What an account forgot, it says itself. Knows nothing of
//! where ids are kept ([`crate::ports::ResponseStore`]) and of draws ([`crate::rules::select`]).

mod makers;

pub use makers::Makers;

use super::session::first_half;
use crate::ids::{KeyId, ProviderId};
use crate::model::{GroupSet, Provider};
use crate::protocol::Dialect;
use std::fmt;

/// A response made for one key: 16 bytes of a hash, 32 characters of hex in Redis. No text of a vendor's is a name there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseKey([u8; 16]);

impl ResponseKey {
    /// The first 16 bytes of SHA-256 of `response`, the caller's key and the vendor's id, a zero byte between them.
    #[must_use]
    pub fn of(key_id: KeyId, response_id: &str) -> Self {
        Self(first_half(&[b"response", key_id.to_string().as_bytes(), response_id.as_bytes()]))
    }

    /// The key of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The first of its bytes: evenly spread, whatever the ids were.
    #[must_use]
    pub fn first_byte(self) -> u8 {
        let [first, ..] = self.0;
        first
    }
}

impl fmt::Display for ResponseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ResponseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is known of who made a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// This one did.
    Known(ProviderId),
    /// No response of this id was made here for this key, or it was too long ago.
    Unknown,
    /// Nobody could be asked.
    Untold,
}

/// What it depends on where a follow-up goes.
#[derive(Clone, Copy, Debug)]
pub struct FollowUpFacts<'a> {
    /// Who made the response it names.
    pub maker: Maker,
    /// The maker as the request's snapshot has it; `None`: it is not there, or nobody is known.
    pub provider: Option<&'a Provider>,
    /// The one provider that there is for this caller ([`super::select::Pool::sole`]); `None`: there are none or several.
    pub sole: Option<ProviderId>,
    /// The caller's ([`super::access::effective_groups`]).
    pub groups: &'a GroupSet,
    /// What the caller speaks.
    pub dialect: Dialect,
}

/// Why a follow-up has nobody to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its maker is not there any more.
    Deleted,
    /// Its maker is switched off.
    Disabled,
    /// Its maker speaks another API by now.
    OtherType,
    /// The caller's groups have its maker no more.
    OtherGroup,
    /// Nobody is known to have made what it names.
    Unknown,
    /// It is not known now; it may be in a moment.
    Untold,
}

impl Lost {
    /// The name used in logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Disabled => "disabled",
            Self::OtherType => "other_type",
            Self::OtherGroup => "other_group",
            Self::Unknown => "unknown",
            Self::Untold => "store_away",
        }
    }
}

/// The only provider that a follow-up may go to.
pub fn follow(facts: &FollowUpFacts<'_>) -> Result<ProviderId, Lost> {
    let maker = match facts.maker {
        Maker::Known(maker) => maker,
        Maker::Unknown => return facts.sole.ok_or(Lost::Unknown),
        Maker::Untold => return facts.sole.ok_or(Lost::Untold),
    };
    let provider = facts.provider.ok_or(Lost::Deleted)?;
    if !provider.is_enabled {
        return Err(Lost::Disabled);
    }
    if provider.provider_type.dialect() != facts.dialect {
        return Err(Lost::OtherType);
    }
    if !facts.groups.may_use(&provider.group_tag) {
        return Err(Lost::OtherGroup);
    }
    Ok(maker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProviderType;
    use crate::testing::provider;

    fn codex(id: i64) -> Provider {
        Provider { provider_type: ProviderType::Codex, ..provider(id) }
    }

    fn followed(maker: Maker, provider: Option<&Provider>, sole: Option<i64>) -> Result<i64, Lost> {
        let groups = GroupSet::default();
        let sole = sole.map(ProviderId);
        let facts =
            FollowUpFacts { maker, provider, sole, groups: &groups, dialect: Dialect::OpenaiResponses };
        follow(&facts).map(|id| id.0)
    }

    #[test]
    fn a_follow_up_goes_to_the_maker_or_to_nobody() {
        let known = Maker::Known(ProviderId(1));
        assert_eq!(followed(known, Some(&codex(1)), None), Ok(1));
        // Never to the only other one.
        assert_eq!(followed(known, None, Some(2)), Err(Lost::Deleted));
        let gone = [
            (Provider { is_enabled: false, ..codex(1) }, Lost::Disabled),
            (Provider { provider_type: ProviderType::OpenaiCompatible, ..codex(1) }, Lost::OtherType),
            (Provider { group_tag: GroupSet::parse("fast"), ..codex(1) }, Lost::OtherGroup),
        ];
        for (provider, why) in gone {
            assert_eq!(followed(known, Some(&provider), Some(2)), Err(why));
        }
        // What passes is no reason to give it up, nor is a secret that was changed: the account may be the same.
        let edited = Provider { weight: 0, url: "http://127.0.0.1:10".to_owned(), ..codex(1) };
        assert_eq!(followed(known, Some(&edited), None), Ok(1));
    }

    #[test]
    fn an_id_that_is_not_known_goes_to_the_only_one_there_is() {
        for (maker, lost) in [(Maker::Unknown, Lost::Unknown), (Maker::Untold, Lost::Untold)] {
            assert_eq!(followed(maker, None, Some(2)), Ok(2));
            assert_eq!(followed(maker, None, None), Err(lost));
        }
    }

    #[test]
    fn an_id_says_nothing_to_another_key() {
        let of = |key: i64, id: &str| ResponseKey::of(KeyId(key), id);
        assert_eq!(of(1, "resp_1"), of(1, "resp_1"));
        assert_ne!(of(1, "resp_1"), of(2, "resp_1"));
        assert_ne!(of(1, "1resp"), of(11, "resp"));
        assert_eq!(of(1, "resp_1").to_string().len(), 32);
        assert!(!of(1, "resp_1").to_string().contains("resp"));
    }
}
