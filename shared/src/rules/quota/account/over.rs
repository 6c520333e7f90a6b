//! Holds that are over, for as long as a word about one may still come.

use super::CORRECTED_WITHIN_MS;
use crate::rules::quota::words::HoldId;
use crate::time::UnixMillis;
use std::collections::BTreeMap;

/// Each until when it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Over {
    /// What they were for never began: that is so in every epoch.
    given_up: BTreeMap<HoldId, UnixMillis>,
    /// What they were for is charged. Under another epoch it is not, and is put aside again until the books have it.
    charged: BTreeMap<HoldId, UnixMillis>,
}

impl Over {
    pub(super) fn has(&self, id: HoldId) -> bool {
        self.given_up.contains_key(&id) || self.charged.contains_key(&id)
    }

    pub(super) fn give_up(&mut self, id: HoldId, now: UnixMillis) {
        remember(&mut self.given_up, id, now.plus_ms(TOMBSTONE_MS));
    }

    pub(super) fn charge(&mut self, id: HoldId, is_interrupted: bool, now: UnixMillis) {
        let for_ms = if is_interrupted { CORRECTED_WITHIN_MS } else { TOMBSTONE_MS };
        remember(&mut self.charged, id, now.plus_ms(for_ms));
    }

    /// What is left of it in another epoch.
    pub(super) fn without_charges(self) -> Self {
        Self { charged: BTreeMap::new(), ..self }
    }

    pub(super) fn expire(&mut self, now: UnixMillis) {
        for over in [&mut self.given_up, &mut self.charged] {
            over.retain(|_, until| now < *until);
        }
    }
}

fn remember(over: &mut BTreeMap<HoldId, UnixMillis>, id: HoldId, until: UnixMillis) {
    let kept = over.entry(id).or_default();
    *kept = until.max(*kept);
}

/// How long a hold is remembered of which words still come at once: longer than any of them can travel.
const TOMBSTONE_MS: u64 = 600_000;
