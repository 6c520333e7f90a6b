//! What operators are told of budgets: what asks came to, and how this node stands with the store.

use super::{Answer, Budgets};
use shared::money::NanoUsd;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an ask came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The store let it in.
    Admitted,
    /// A limit stood against it.
    Refused,
    /// This node let it in without the store.
    Alone,
    /// Without the store, this node's share was used up.
    UsedUp,
    /// Without the store, nobody could say.
    Unreachable,
}

impl Came {
    const ALL: [Self; 5] = [Self::Admitted, Self::Refused, Self::Alone, Self::UsedUp, Self::Unreachable];

    fn label(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Alone => "alone",
            Self::UsedUp => "used_up",
            Self::Unreachable => "unreachable",
        }
    }
}

impl From<&Answer> for Came {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Admitted { hold, .. } if hold.at().is_some() => Self::Admitted,
            Answer::Admitted { .. } => Self::Alone,
            Answer::Refused(_) => Self::Refused,
            Answer::UsedUp(_) => Self::UsedUp,
            Answer::Unreachable => Self::Unreachable,
        }
    }
}

/// How often asks came to what, since the process started.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; Came::ALL.len()]);

impl Tally {
    /// Counts an ask.
    pub fn count(&self, came: Came) {
        for (counted, count) in Came::ALL.into_iter().zip(&self.0) {
            if counted == came {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// How it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Asks so far by what they came to.
    pub asks: [(&'static str, u64); Came::ALL.len()],
    /// The store answered when it was last asked.
    pub does_store_answer: bool,
    /// Holds of what is under way.
    pub holds: u64,
    /// How much money that is.
    pub held: NanoUsd,
    /// Records of which some budget was not told yet.
    pub untold: u64,
}

impl Budgets {
    /// How it stands now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let (holds, held) = self.under_way();
        let mut asks = Came::ALL.map(|came| (came.label(), 0));
        for ((_, asks), count) in asks.iter_mut().zip(&self.tally.0) {
            *asks = count.load(Ordering::Relaxed);
        }
        let does_store_answer = !*self.epochs.is_away.borrow();
        Figures { asks, does_store_answer, holds, held, untold: self.tellings.untold() }
    }

    /// What is put aside for what is under way here: how many holds, and how much money.
    #[must_use]
    pub fn under_way(&self) -> (u64, NanoUsd) {
        self.local().held()
    }
}
