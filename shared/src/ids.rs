//! Typed identifiers: a user's id can never be passed where a provider's is meant.

use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

row_id!(
    /// A person or a team.
    UserId
);
row_id!(
    /// A seat's credential.
    KeyId
);
row_id!(
    /// One upstream account.
    ProviderId
);
row_id!(
    /// A named set of providers.
    GroupId
);
row_id!(
    /// A rule on the errors of upstreams.
    ErrorRuleId
);

/// The number of a configuration: each committed change of the admin side adds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One client call. A UUIDv7: sorts by time, is the log row's id and the `x-request-id` of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Uuid);

impl RequestId {
    /// Makes an id from the time of the request (Unix milliseconds) and ten bytes of chance.
    #[must_use]
    pub fn from_parts(unix_ms: u64, chance: &[u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, chance).into_uuid())
    }

    /// Its sixteen bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The id of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The milliseconds since the Unix epoch that the id carries.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let b = self.0.as_bytes();
        u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }
}

/// The usage journal of one start of a gateway: a UUIDv7, the name of its directory and of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JournalId(Uuid);

impl JournalId {
    /// Makes an id from the time of the start and ten bytes of chance.
    #[must_use]
    pub fn from_parts(now: UnixMillis, chance: &[u8; 10]) -> Self {
        Self(RequestId::from_parts(u64::try_from(now.0).unwrap_or(0), chance).0)
    }
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for JournalId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A name for something that is made once: a process, a directory. Sorts by time like [`RequestId`].
#[must_use]
pub fn unique_id(now: UnixMillis, chance: &[u8; 10]) -> String {
    RequestId::from_parts(u64::try_from(now.0).unwrap_or(0), chance).to_string()
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_carries_its_time_and_sorts_by_it() {
        let early = RequestId::from_parts(1_700_000_000_000, &[0xff; 10]);
        let late = RequestId::from_parts(1_700_000_000_001, &[0; 10]);
        assert_eq!(early.unix_ms(), 1_700_000_000_000);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<RequestId>().unwrap(), early);
    }
}
