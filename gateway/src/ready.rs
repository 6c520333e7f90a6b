//! Should this node get new requests? One answer for `/ready` and for the heartbeat.

use crate::hub::{Hub, now};
use crate::live::Unusable;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// The node is on its way out.
    Draining,
    /// It could only refuse.
    Unusable(Unusable),
}

impl Readiness {
    /// The answer now.
    #[must_use]
    pub fn of(hub: &Hub, is_draining: bool) -> Self {
        if is_draining {
            return Self::Draining;
        }
        match hub.live.check(&hub.live.load(), now()) {
            Ok(()) => Self::Ready,
            Err(unusable) => Self::Unusable(unusable),
        }
    }

    /// A line for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Ready => "ready\n",
            Self::Draining => "draining\n",
            Self::Unusable(Unusable::Missing) => "waiting for the first configuration\n",
            Self::Unusable(Unusable::Stale) => "config_stale: nothing was heard for CONFIG_MAX_AGE_SECS\n",
        }
    }
}
